//! Batches → one segment, which exists whole or not at all.
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use schema::{Field, Kind};

use crate::blocks::Summing;
use crate::catalog::{Checks, Name, checks, keys};
use crate::disk::Disk;
use crate::hot::{Rows, times};
use crate::{Error, Options};

/// What a segment is to be written from.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) table: &'a str,
    pub(crate) schema: &'a SchemaRef,
    /// The index of the column `ts`.
    pub(crate) ts: usize,
    pub(crate) rows: &'a [Rows],
    pub(crate) seq: u64,
    /// Now, nanoseconds since 1970.
    pub(crate) sealed_at: i64,
}

/// Writes a segment: under a temporary name, synced, renamed, the directory synced. Returns its
/// path. What it wrote before an error is removed.
pub(crate) fn write(disk: &Disk, draft: &Draft<'_>, options: &Options) -> Result<PathBuf, Error> {
    let dir = disk.dir.join(draft.table);
    let temporary = dir.join(format!("{:08}.tmp", draft.seq));
    let written = fill(disk, &temporary, draft, options).and_then(|checks| {
        let rows = draft.rows.iter().map(Rows::len).sum();
        let name = Name { min_ts: from(draft.rows), seq: draft.seq, rows, checks };
        let path = dir.join(name.to_string());
        disk.rename(&temporary, &path)?;
        if !options.scratch
            && let Err(error) = disk.sync_dir(&dir)
        {
            // Tried again, the rows must not come back twice: they are in this file or in memory.
            match disk.remove(&path) {
                Ok(()) => return Err(error),
                Err(kept) => {
                    tracing::warn!(%error, %kept, "a segment may not outlive the machine");
                }
            }
        }
        Ok(path)
    });
    if written.is_err()
        && temporary.exists()
        && let Err(error) = disk.remove(&temporary)
    {
        // The next start sets it aside.
        tracing::warn!(%error, "an unfinished segment is left behind");
    }
    written
}

fn fill(disk: &Disk, path: &Path, draft: &Draft<'_>, options: &Options) -> Result<Checks, Error> {
    let sink =
        Sink { file: disk.create(path)?, disk: disk.clone(), rows: Summing::default(), tail: None };
    let properties = properties(draft, options);
    let failed = Error::parquet;
    let writer = ArrowWriter::try_new(sink, Arc::clone(draft.schema), Some(properties));
    let mut writer = writer.map_err(failed(path))?;
    in_order(draft, options, |batch| writer.write(batch).map_err(failed(path)))?;

    // The last row group goes out; what follows is page index and footer.
    writer.flush().map_err(failed(path))?;
    writer.sync().map_err(Error::io("write", path))?;
    let sink = writer.inner_mut();
    let blocks = sink.rows.finish();
    sink.tail = Some(Vec::new());
    let to = draft.rows.iter().map(|it| it.to).max().unwrap_or_default();
    for (key, value) in [
        (keys::TABLE, draft.table.to_owned()),
        (keys::MIN_TS, from(draft.rows).to_string()),
        (keys::MAX_TS, to.to_string()),
        (keys::SEALED_AT, draft.sealed_at.to_string()),
        (keys::BLOCKS, blocks.to_string()),
    ] {
        writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }
    let sink = writer.into_inner().map_err(failed(path))?;
    if !options.scratch {
        disk.sync(&sink.file, path)?;
    }
    let checks = sink.tail.as_deref().and_then(checks);
    checks.ok_or_else(|| Error::Damaged { path: path.into(), reason: "it has no footer".into() })
}

fn from(rows: &[Rows]) -> i64 {
    rows.iter().map(|it| it.from).min().unwrap_or_default()
}

/// Hands the rows to `write` in the order of `ts`; rows of the same time keep theirs. What is
/// handed over at once is small beside a row group, which is cut between two calls.
fn in_order(
    draft: &Draft<'_>,
    options: &Options,
    mut write: impl FnMut(&RecordBatch) -> Result<(), Error>,
) -> Result<(), Error> {
    let ordered = draft.rows.iter().all(|it| times(&it.batch, draft.ts).is_sorted())
        && draft.rows.is_sorted_by(|a, b| a.to <= b.from);
    let rows = draft.rows.iter().map(|it| it.batch.num_rows()).sum::<usize>();
    let bytes = draft.rows.iter().map(|it| it.bytes).sum::<usize>();
    let step = options.row_group_bytes / 8 / (bytes / rows.max(1)).max(1);
    let step = step.clamp(1, STEP_ROWS);
    if ordered {
        for Rows { batch, .. } in draft.rows {
            for from in (0..batch.num_rows()).step_by(step) {
                write(&batch.slice(from, step.min(batch.num_rows() - from)))?;
            }
        }
        return Ok(());
    }
    let mut order = Vec::with_capacity(rows);
    for (batch, rows) in draft.rows.iter().enumerate() {
        let times = times(&rows.batch, draft.ts).iter();
        order.extend(times.enumerate().map(|(row, ts)| (*ts, batch as u32, row as u32)));
    }
    order.sort_unstable();
    let batches = draft.rows.iter().map(|it| &it.batch).collect::<Vec<_>>();
    for part in order.chunks(step) {
        let part = part.iter().map(|it| (it.1 as usize, it.2 as usize)).collect::<Vec<_>>();
        let batch = interleave_record_batch(&batches, &part);
        write(&batch.map_err(|it| Error::Rows {
            table: draft.table.to_owned(),
            reason: it.to_string(),
        })?)?;
    }
    Ok(())
}

/// How a table is laid out in Parquet: see each line's reason.
fn properties(draft: &Draft<'_>, options: &Options) -> WriterProperties {
    if options.scratch {
        return WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
            .set_max_row_group_bytes(Some(options.row_group_bytes.max(1)))
            .build();
    }
    let level = ZstdLevel::try_new(options.zstd_level).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("kubeshark segment ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_max_row_group_bytes(Some(options.row_group_bytes.max(1)))
        // Bounds of each page: the page index.
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: leaf(draft.schema, draft.ts),
            descending: false,
            nulls_first: false,
        }]));
    let Ok(leaves) = ArrowSchemaConverter::new().convert(draft.schema) else {
        return properties.build();
    };
    for (index, leaf) in leaves.columns().iter().enumerate() {
        let field = Field::from_arrow(draft.schema.field(leaves.get_column_root_idx(index)));
        let path = leaf.path().clone();
        properties = match field.kind {
            // One payload is fetched by reading one page; bounds of payloads prune nothing.
            Kind::Body => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_data_page_size_limit(path.clone(), BODY_PAGE_BYTES)
                .set_column_statistics_enabled(path, EnabledStatistics::Chunk),
            // The same names and values come again and again, but a row's page should be small.
            Kind::Headers | Kind::Texts | Kind::Json => properties
                .set_column_data_page_size_limit(path.clone(), NESTED_PAGE_BYTES)
                .set_column_statistics_enabled(path, EnabledStatistics::Chunk),
            // Times in order differ little from one to the next.
            Kind::Time => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Kind::Id => properties
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), 0.01)
                .set_column_bloom_filter_max_ndv(path, options.row_group_rows as u64),
            // Dictionaries, which are given up where values don't repeat.
            Kind::Label | Kind::Address | Kind::Text | Kind::Flag | Kind::Code => properties,
            Kind::Port | Kind::Count | Kind::Size | Kind::Duration => properties,
        };
    }
    properties.build()
}

/// The Parquet leaf of a column that is not nested.
fn leaf(schema: &Schema, column: usize) -> i32 {
    let Ok(leaves) = ArrowSchemaConverter::new().convert(schema) else { return 0 };
    let leaf = (0..leaves.num_columns()).find(|it| leaves.get_column_root_idx(*it) == column);
    leaf.unwrap_or_default() as i32
}

/// The file, summed on its way.
struct Sink {
    file: File,
    disk: Disk,
    rows: Summing,
    /// What comes after the rows, once it does.
    tail: Option<Vec<u8>>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.disk.write(&self.file, bytes)?;
        let bytes = bytes.get(..written).unwrap_or(bytes);
        match &mut self.tail {
            Some(tail) => tail.extend_from_slice(bytes),
            None => self.rows.write(bytes),
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Rows put in order at a time.
const STEP_ROWS: usize = 8192;
/// A page of payloads: fetching one reads this much.
const BODY_PAGE_BYTES: usize = 32 << 10;
/// A page of headers.
const NESTED_PAGE_BYTES: usize = 64 << 10;
