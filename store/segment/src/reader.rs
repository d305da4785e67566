//! Segment → batches, and segment → bytes. What is read is checked before it is decoded.
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use crate::blocks::Checked;
use crate::bucket::blocking;
use crate::catalog::Place;
use crate::footers::{self, Footer};
use crate::{Error, Segment};

impl Segment {
    /// The rows, in batches of at most 8192, with the named columns (all of them with `None`) in
    /// the table's order. Names the segment has not are left out. Damage is an error that names the
    /// file.
    pub fn read(self: &Arc<Self>, columns: Option<&[&str]>) -> Result<Batches, Error> {
        self.read_by(columns, BATCH_ROWS)
    }

    /// The same, in batches of at most so many rows.
    pub(crate) fn read_by(
        self: &Arc<Self>,
        columns: Option<&[&str]>,
        batch_rows: usize,
    ) -> Result<Batches, Error> {
        self.batches(columns, batch_rows, Ok)
    }

    /// The rows of the row groups that `span` reaches into which `keep` wants, in the order of `ts`.
    /// It is asked with the columns `by`; the other columns are read of what it wants only.
    pub fn select(
        self: &Arc<Self>,
        columns: &[&str],
        span: &Range<i64>,
        by: &[&str],
        mut keep: impl FnMut(&RecordBatch) -> BooleanArray + Send + 'static,
    ) -> Result<Batches, Error> {
        let roots = |wanted: &[&str]| {
            let fields = self.schema.fields().iter().enumerate();
            let wanted = fields.filter(|it| wanted.contains(&it.1.name().as_str()));
            wanted.map(|it| it.0).collect::<Vec<_>>()
        };
        let (ts, by) = (roots(&["ts"]), roots(by));
        self.batches(Some(columns), BATCH_ROWS, |reader| {
            let leaves = reader.parquet_schema();
            let ts =
                (0..leaves.num_columns()).find(|it| ts.contains(&leaves.get_column_root_idx(*it)));
            let groups = reader.metadata().row_groups().iter().enumerate();
            let within = groups.filter(|(_, group)| {
                match ts.and_then(|it| group.column(it).statistics()) {
                    Some(Statistics::Int64(times)) => {
                        times.min_opt().is_none_or(|it| *it < span.end)
                            && times.max_opt().is_none_or(|it| *it >= span.start)
                    }
                    // What is written to be read soon has no statistics.
                    _ => true,
                }
            });
            let within = within.map(|it| it.0).collect();
            let by = ProjectionMask::roots(leaves, by);
            let keep = ArrowPredicateFn::new(by, move |batch| Ok(keep(&batch)));
            let filter = RowFilter::new(vec![Box::new(keep)]);
            Ok(reader.with_row_groups(within).with_row_filter(filter))
        })
    }

    fn batches(
        self: &Arc<Self>,
        columns: Option<&[&str]>,
        batch_rows: usize,
        narrow: impl FnOnce(Builder) -> Result<Builder, Error>,
    ) -> Result<Batches, Error> {
        let path = self.disk()?;
        let file = Checked::open(self)?;
        let metadata = ArrowReaderMetadata::try_new(self.metadata()?, ArrowReaderOptions::new());
        let metadata = metadata.map_err(Error::parquet(path))?;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(batch_rows);
        let reader = narrow(reader)?;
        let roots = self.schema.fields().iter().enumerate();
        let wanted = |name: &str| columns.is_none_or(|it| it.contains(&name));
        let roots = roots.filter(|it| wanted(it.1.name())).map(|it| it.0).collect::<Vec<_>>();
        let schema = self
            .schema
            .project(&roots)
            .map_err(|it| Error::Rows { table: self.table.clone(), reason: it.to_string() })?;
        let mask = ProjectionMask::roots(reader.parquet_schema(), roots);
        let reader = reader.with_projection(mask).build().map_err(Error::parquet(path))?;
        Ok(Batches { reader, schema: Arc::new(schema), path: path.to_path_buf() })
    }
}

type Builder = ParquetRecordBatchReaderBuilder<Checked>;

/// A segment's rows.
#[derive(Debug)]
pub struct Batches {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    path: PathBuf,
}

impl Batches {
    /// The columns that were asked for.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.and_then(|it| {
            let rows = RecordBatchOptions::new().with_row_count(Some(it.num_rows()));
            let columns = it.columns().to_vec();
            RecordBatch::try_new_with_options(self.schema(), columns, &rows)
        });
        Some(batch.map_err(|it| Error::parquet(&self.path)(it.into())))
    }
}

/// Bytes of a segment, from this node's disk or from the bucket, whichever has it. What was
/// damaged since it was written is an error.
#[derive(Clone, Debug)]
pub struct Reader {
    segment: Arc<Segment>,
    file: Option<Arc<File>>,
}

impl Reader {
    /// Opens nothing yet.
    pub fn new(segment: Arc<Segment>) -> Self {
        Self { segment, file: None }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The footer with the page index, parsed; from the store's cache, as a rule.
    pub async fn metadata(&self) -> Result<Arc<ParquetMetaData>, Error> {
        Ok(Arc::clone(&self.footer().await?.metadata))
    }

    /// The bytes of each range, all of which must be of the rows' part of the file.
    pub async fn read(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, Error> {
        let segment = Arc::clone(&self.segment);
        let footer = self.footer().await?;
        let around = ranges.iter().map(|it| {
            let around = footer.blocks.around(it);
            around.ok_or_else(|| segment.outside(it))
        });
        let spans = spans(around.collect::<Result<_, _>>()?);
        let parts = match &segment.place {
            Place::Bucket(objects) => {
                let parts = objects.read(&segment, &spans).await?;
                let mut each = spans.iter().zip(&parts);
                if !each.all(|it| footer.blocks.match_at(it.0.start, it.1)) {
                    // Asked again, the bucket may give what was written.
                    objects.forget_read(&segment, &spans).await?;
                    return Err(segment.mismatch());
                }
                parts
            }
            Place::Disk(path) => {
                let (segment, file) = (Arc::clone(&segment), self.file.take());
                let (path, spans) = (path.clone(), spans.clone());
                let read = blocking(move || {
                    let file = match file {
                        Some(file) => file,
                        None => Arc::new(File::open(&path).map_err(Error::io("open", &path))?),
                    };
                    let parts = spans.into_iter();
                    let parts = parts.map(|it| segment.bytes_at(&file, &footer.blocks, it));
                    let parts = parts.collect::<Result<Vec<_>, _>>()?;
                    Ok::<_, Error>((file, parts))
                });
                let (file, parts) = read.await??;
                self.file = Some(file);
                parts
            }
        };
        let cut = ranges.iter().map(|range| {
            let at = spans.partition_point(|it| it.start <= range.start).checked_sub(1)?;
            let (span, part) = (spans.get(at)?, parts.get(at)?);
            let from = usize::try_from(range.start - span.start).ok()?;
            let to = usize::try_from(range.end.checked_sub(span.start)?).ok()?;
            (to <= part.len()).then(|| part.slice(from..to))
        });
        let cut = cut.collect::<Option<Vec<_>>>();
        cut.ok_or_else(|| segment.mismatch())
    }

    async fn footer(&self) -> Result<Arc<Footer>, Error> {
        if let Some(footer) = self.segment.cached_footer() {
            return Ok(footer);
        }
        let segment = Arc::clone(&self.segment);
        match &segment.place {
            Place::Disk(_) => blocking(move || segment.footer()).await?,
            Place::Bucket(objects) => {
                let range = segment.data..segment.bytes;
                let tail = objects.read(&segment, std::slice::from_ref(&range)).await?;
                let tail = tail.into_iter().next().unwrap_or_default();
                let parsed = footers::parse(&tail, segment.bytes, segment.name.checks);
                match parsed {
                    Ok(footer) => Ok(segment.keep_footer(footer)),
                    Err(wrong) => {
                        objects.forget_read(&segment, std::slice::from_ref(&range)).await?;
                        Err(wrong.of(&segment.named()))
                    }
                }
            }
        }
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let read = self.read(vec![range]).await.map_err(outer)?;
            Ok(read.into_iter().next().unwrap_or_default())
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.read(ranges).await.map_err(outer) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move { self.metadata().await.map_err(outer) }.boxed()
    }
}

fn outer(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Sorted, those that touch joined.
fn spans(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|it| (it.start, it.end));
    let mut spans: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match spans.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => spans.push(range),
        }
    }
    spans
}

const BATCH_ROWS: usize = 8192;
