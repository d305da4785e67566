//! Candidates of the layout of segments: what a row takes on disk, what writing it costs, and how fast one is found.
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch, StringViewArray};
use dissect::Keep;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
    RowFilter, RowSelection, RowSelector,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use segment::{Layout, Options, Segment, Store};
use tempfile::TempDir;

use crate::cost::cpu_seconds;
use crate::modes::rows_of;

/// Writes the HTTP rows of a capture once per candidate, and says what came of it.
pub(crate) fn compare(file: &Path) -> Result<()> {
    let mut rows = Vec::new();
    rows_of(file, Keep::default(), |dissection| {
        rows.extend(dissection.take().into_iter().filter(|it| it.0.name == "http").map(|it| it.1));
        Ok(())
    })?;
    println!(
        "{:42} {:>8} {:>9} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "B/row", "metadata", "bloom", "µs/row", "hit ms", "miss ms", "all ms", "body ms"
    );
    let base = Layout::MERGED;
    for (name, layout) in candidates() {
        let found = write(&rows, layout, false)?;
        print(name, &found)?;
        if layout == base {
            columns(&found)?;
        }
    }
    let found = write(&rows, base, true)?;
    print("as a worker does: sealed, then merged", &found)
}

/// The two defaults, levels, and what else was thought of, each beside the default for what is merged.
fn candidates() -> Vec<(&'static str, Layout)> {
    let base = Layout::MERGED;
    let level = |zstd_level| Layout { zstd_level, ..base };
    vec![
        ("merged: the default", base),
        ("sealed: the default", Layout::SEALED),
        ("zstd 3", level(3)),
        ("zstd 6", level(6)),
        ("zstd 9", level(9)),
        ("zstd 12", level(12)),
        ("zstd 15", level(15)),
        ("zstd 16", level(16)),
        ("zstd 17", level(17)),
        ("zstd 19", level(19)),
        ("payload pages of 32 KiB", Layout { body_page_bytes: 32 << 10, ..base }),
        ("payload pages of 128 KiB", Layout { body_page_bytes: 128 << 10, ..base }),
        ("payload pages of 512 KiB", Layout { body_page_bytes: 512 << 10, ..base }),
        ("payload pages of 1 MiB", Layout { body_page_bytes: 1 << 20, ..base }),
        ("header pages of 64 KiB", Layout { headers_page_bytes: 64 << 10, ..base }),
        ("header pages of 512 KiB", Layout { headers_page_bytes: 512 << 10, ..base }),
        ("header pages of 1 MiB", Layout { headers_page_bytes: 1 << 20, ..base }),
        ("header values in a dictionary", Layout { headers_dictionary: true, ..base }),
        ("lengths beside texts", Layout { lengths_apart: false, ..base }),
        ("dictionaries of 1 MiB", Layout { dictionary_bytes: 1 << 20, ..base }),
        ("dictionaries of 4 MiB", Layout { dictionary_bytes: 4 << 20, ..base }),
        ("texts share beginnings", Layout { text_prefixes: true, ..base }),
        ("numbers as differences", Layout { number_deltas: true, ..base }),
        ("row groups of 32k rows", Layout { row_group_rows: 32 << 10, ..base }),
        ("pages of 4k rows", Layout { page_rows: 4 << 10, ..base }),
        ("Bloom filters wrong once in 1000", Layout { bloom_fpp: 0.001, ..base }),
        ("no Bloom filters", Layout { bloom_fpp: 0.0, ..base }),
    ]
}

/// What a candidate made of the rows.
struct Written {
    #[expect(dead_code, reason = "its end is that of the segments")]
    folder: TempDir,
    segments: Vec<Arc<Segment>>,
    rows: u64,
    cpu_seconds: f64,
}

/// Writes the rows as one segment, or as a worker does with all its defaults.
fn write(rows: &[RecordBatch], layout: Layout, as_worker: bool) -> Result<Written> {
    let folder = TempDir::new()?;
    let one = Options { sealed: layout, hot_bytes: 8 << 30, merge_bytes: 0, ..Options::default() };
    let options = if as_worker { Options { merge_share: 1.0, ..Options::default() } } else { one };
    let options = Options { seal_after: Duration::from_secs(3_600), ..options };
    let inputs = options.merge_inputs;
    let (store, _) = Store::open(folder.path(), dissect::tables(), options)?;
    let began = cpu_seconds();
    for batch in rows {
        store.append("http", batch.clone())?;
    }
    store.seal()?;
    let until = Instant::now() + Duration::from_secs(120);
    while as_worker && small(&store) >= inputs {
        ensure!(Instant::now() < until, "merging takes longer than two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
    let cpu_seconds = cpu_seconds() - began;
    let segments = store.snapshot("http").segments;
    let rows = segments.iter().map(|it| it.rows).sum();
    Ok(Written { folder, segments, rows, cpu_seconds })
}

/// Segments that were not merged yet.
fn small(store: &Store) -> usize {
    store.snapshot("http").segments.iter().filter(|it| it.bytes < 4 << 20).count()
}

fn print(name: &str, written: &Written) -> Result<()> {
    let (mut wide, mut bloom) = (0, 0);
    for segment in &written.segments {
        for group in segment.metadata()?.row_groups() {
            for column in group.columns() {
                let parts = column.column_path().parts();
                if is_wide(parts.first().map_or("", String::as_str)) {
                    wide += column.compressed_size();
                }
                bloom += i64::from(column.bloom_filter_length().unwrap_or_default());
            }
        }
    }
    let bytes = written.segments.iter().map(|it| it.bytes).sum::<u64>();
    let each = |it: u64| crate::per(it, written.rows);
    let segment = written.segments.last().context("a segment")?;
    let id = middle_id(segment)?;
    let hit = timed(|| needle(segment, &id, true))?;
    let miss = timed(|| needle(segment, "zzzzzzzzzzzz", true))?;
    let all = timed(|| needle(segment, &id, false))?;
    let body = timed(|| body(segment))?;
    println!(
        "{name:42} {:8.1} {:9.1} {:6.2} {:8.1} {hit:8.2} {miss:8.2} {all:8.2} {body:8.2}",
        each(bytes),
        each(bytes - wide.unsigned_abs()),
        each(bloom.unsigned_abs()),
        written.cpu_seconds * 1e6 / crate::per(written.rows, 1),
    );
    Ok(())
}

/// What each column takes.
fn columns(written: &Written) -> Result<()> {
    let mut sums = std::collections::BTreeMap::<String, i64>::new();
    let mut all = 0;
    for segment in &written.segments {
        for group in segment.metadata()?.row_groups() {
            for column in group.columns() {
                *sums.entry(column.column_path().string()).or_default() += column.compressed_size();
                all += column.compressed_size().unsigned_abs();
            }
        }
    }
    let mut sums = sums.into_iter().collect::<Vec<_>>();
    sums.sort_by_key(|it| -it.1);
    for (name, bytes) in sums.iter().take(20) {
        println!("    {name:38} {:8.2}", crate::per(bytes.unsigned_abs(), written.rows));
    }
    let bytes = written.segments.iter().map(|it| it.bytes).sum::<u64>();
    println!("    {:38} {:8.2}", "footer, indexes, filters", crate::per(bytes - all, written.rows));
    Ok(())
}

/// Payloads and headers: what a row has besides its metadata.
fn is_wide(column: &str) -> bool {
    ["body", "headers", "cookies"].iter().any(|it| column.ends_with(it))
}

/// The CPU time of a question in milliseconds, the least of some.
fn timed(mut ask: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..3 {
        let (began, mut times) = (cpu_seconds(), 0);
        // The clock ticks a hundred times a second.
        while times < 3 || cpu_seconds() - began < 0.1 {
            ask()?;
            times += 1;
        }
        least = least.min((cpu_seconds() - began) * 1e3 / f64::from(times));
    }
    Ok(least)
}

/// The id of a conversation in the middle of a segment.
fn middle_id(segment: &Arc<Segment>) -> Result<String> {
    let mut left = segment.rows / 2;
    for batch in segment.read(Some(&["flow_id"]))? {
        let batch = batch?;
        let rows = batch.num_rows() as u64;
        if left < rows {
            let ids = batch.column(0).as_string_view();
            return Ok(ids.value(usize::try_from(left)?).to_owned());
        }
        left -= rows;
    }
    anyhow::bail!("the segment has fewer rows than it says")
}

/// Every column of the rows of a conversation: row groups by their bounds and Bloom filters, pages by their bounds, rows
/// by their value, and only then the other columns. Without `indexed`, all values of the column are looked at.
fn needle(segment: &Segment, id: &str, indexed: bool) -> Result<()> {
    let metadata = segment.metadata()?;
    let file = File::open(segment.path().context("a file")?)?;
    let arrow = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new())?;
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, arrow);
    let leaves = builder.parquet_schema().columns().iter();
    let column =
        leaves.enumerate().find(|it| it.1.path().string() == "flow_id").context("flow_id")?.0;
    let mut groups = Vec::new();
    let mut selectors = Vec::new();
    for (group, rows) in metadata.row_groups().iter().enumerate() {
        let within = rows.column(column).statistics().is_none_or(|it| {
            it.min_bytes_opt().is_none_or(|it| it <= id.as_bytes())
                && it.max_bytes_opt().is_none_or(|it| it >= id.as_bytes())
        });
        if indexed && !within {
            continue;
        }
        if indexed
            && let Some(filter) = builder.get_row_group_column_bloom_filter(group, column)?
            && !filter.check(&id)
        {
            continue;
        }
        groups.push(group);
        let all = usize::try_from(rows.num_rows())?;
        let pages = metadata.offset_index().map(|it| it[group][column].page_locations());
        let bounds = metadata.column_index().map(|it| &it[group][column]);
        match (pages, bounds) {
            (Some(pages), Some(ColumnIndexMetaData::BYTE_ARRAY(bounds))) if indexed => {
                for (page, at) in pages.iter().enumerate() {
                    let next = pages.get(page + 1).map_or(all, |it| it.first_row_index as usize);
                    let len = next - at.first_row_index as usize;
                    let within = bounds.min_value(page).is_some_and(|it| it <= id.as_bytes())
                        && bounds.max_value(page).is_some_and(|it| it >= id.as_bytes());
                    selectors.push(if within {
                        RowSelector::select(len)
                    } else {
                        RowSelector::skip(len)
                    });
                }
            }
            _ => selectors.push(RowSelector::select(all)),
        }
    }
    let mask = ProjectionMask::leaves(builder.parquet_schema(), [column]);
    let wanted = id.to_owned();
    let equal = ArrowPredicateFn::new(mask, move |batch: RecordBatch| {
        let ids: &StringViewArray = batch.column(0).as_string_view();
        Ok(ids.iter().map(|it| Some(it == Some(wanted.as_str()))).collect::<BooleanArray>())
    });
    builder = builder
        .with_row_groups(groups)
        .with_row_selection(RowSelection::from(selectors))
        .with_row_filter(RowFilter::new(vec![Box::new(equal)]));
    for batch in builder.build()? {
        std::hint::black_box(batch?);
    }
    Ok(())
}

/// One payload, by the number of its row.
fn body(segment: &Segment) -> Result<()> {
    let metadata = segment.metadata()?;
    let file = File::open(segment.path().context("a file")?)?;
    let arrow = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, arrow);
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["response_body"]);
    let row = usize::try_from(segment.rows / 2)?;
    let selection = vec![RowSelector::skip(row), RowSelector::select(1)];
    for batch in
        builder.with_projection(mask).with_row_selection(RowSelection::from(selection)).build()?
    {
        std::hint::black_box(batch?.column(0).len());
    }
    Ok(())
}
