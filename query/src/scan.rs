//! Where a template stood, the rows of this place: batches in memory, then segments, newest first.
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringViewArray,
    TimestampNanosecondArray, UInt64Array, new_null_array,
};
use datafusion::arrow::compute::{self, cast, filter_record_batch, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue, Statistics, exec_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::projection::{ProjectionExprs, Projector};
use datafusion::physical_expr::utils::reassign_expr_columns;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::physical_plan::coop::{CooperativeExec, cooperative};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use segment::{Segment, Snapshot, Store};

use crate::coverage::Coverage;
use crate::node::NodeAccounting;
use crate::table::{table_of, template};

/// What the scans of one query cost at one place.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    rows: AtomicU64,
    bytes: AtomicU64,
    segments: AtomicU64,
    open: AtomicUsize,
    begun: OnceLock<Instant>,
    /// From then to the end of the last scan so far, in microseconds.
    elapsed: AtomicU64,
    /// What the scans took, summed over their streams, in nanoseconds.
    busy: AtomicU64,
    coverage: Mutex<Coverage>,
}

impl Meter {
    /// What it comes to so far, but for what was lost.
    pub(crate) fn read(&self) -> NodeAccounting {
        let range = self.coverage().range();
        NodeAccounting {
            rows_scanned: self.rows.load(Relaxed),
            bytes_scanned: self.bytes.load(Relaxed),
            segments_scanned: self.segments.load(Relaxed),
            elapsed_us: self.elapsed.load(Relaxed),
            busy_us: self.busy.load(Relaxed) / 1_000,
            oldest: range.map(|it| it.0),
            newest: range.map(|it| it.1),
            losses: Vec::new(),
            losses_cut: false,
            finished: self.begun.get().is_some() && self.open.load(Relaxed) == 0,
        }
    }

    /// What was asked about, and what there is of it.
    pub(crate) fn coverage(&self) -> Coverage {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn cover(&self, store: &Store, asked: &[(String, Option<Arc<dyn PhysicalExpr>>)]) {
        let state = store.state();
        let mut coverage = self.coverage.lock().unwrap_or_else(PoisonError::into_inner);
        for (table, predicate) in asked {
            coverage.ask(&state, table, predicate.as_ref());
        }
    }
}

/// Puts the rows of `store` where templates stand; no rows without one.
pub(crate) fn bind(
    plan: Arc<dyn ExecutionPlan>,
    store: Option<&Store>,
    meter: &Arc<Meter>,
) -> Result<Arc<dyn ExecutionPlan>> {
    // One snapshot per table: a query that names a table twice sees the same rows twice.
    let mut snapshots: HashMap<String, Arc<Snapshot>> = HashMap::new();
    let mut asked = Vec::new();
    let bound = plan.transform_up(|node| {
        let Some(config) = template(node.as_ref()) else { return Ok(Transformed::no(node)) };
        let table = table_of(config)?.to_owned();
        let snapshot = store.map(|store| {
            let it = snapshots.entry(table.clone());
            Arc::clone(it.or_insert_with(|| Arc::new(store.snapshot(&table))))
        });
        asked.push((table.clone(), config.file_source().filter()));
        let scan = Scan::new(table, config, snapshot.as_deref(), meter)?;
        Ok(Transformed::yes(Arc::new(scan) as Arc<dyn ExecutionPlan>))
    })?;
    if let Some(store) = store {
        meter.cover(store, &asked);
    }
    Ok(bound.data)
}

/// Smaller segments are not worth dividing.
const PIECE_BYTES: u64 = 4 << 20;

/// A scan of one table at this place.
pub(crate) struct Scan {
    table: String,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    /// Per partition.
    hot: Vec<Vec<RecordBatch>>,
    hot_reader: Arc<HotReader>,
    files: Option<Arc<dyn ExecutionPlan>>,
    n_files: usize,
    limit: Option<usize>,
    meter: Arc<Meter>,
}

impl Scan {
    fn new(
        table: String,
        config: &FileScanConfig,
        snapshot: Option<&Snapshot>,
        meter: &Arc<Meter>,
    ) -> Result<Self> {
        let Some(source) = config.file_source().downcast_ref::<ParquetSource>() else {
            return exec_err!("a scan of something other than segments");
        };
        let template = DataSourceExec::from_data_source(config.clone());
        let partitions = template.properties().partitioning.partition_count();
        let schema = template.schema();
        let table_schema = Arc::clone(config.file_schema());
        let predicate = config.file_source().filter();
        let projection = match config.file_source().projection() {
            Some(it) => it.clone(),
            None => {
                let all: Vec<usize> = (0..table_schema.fields().len()).collect();
                ProjectionExprs::from_indices(&all, &table_schema)
            }
        };
        let pruning = predicate.as_ref().and_then(|it| {
            let builder = PruningPredicateBuilder::new();
            builder.with_file_schema(Arc::clone(&table_schema)).build(Arc::clone(it))
        });
        let pruning = pruning.as_deref();

        let mut hot = vec![Vec::new(); partitions];
        let mut groups = vec![Vec::new(); partitions];
        let mut segments = BTreeMap::new();
        if let Some(snapshot) = snapshot {
            let kept = prune_hot(&snapshot.hot, pruning);
            for (i, batch) in kept.into_iter().rev().enumerate() {
                hot[i % partitions].push(batch.clone());
            }
            let mut kept = prune_segments(&snapshot.segments, pruning);
            kept.sort_by_key(|it| std::cmp::Reverse(it.max_ts));
            // Few large segments are read in pieces, so that every partition has its share.
            let pieces = partitions.div_ceil(kept.len().max(1)) as u64;
            let mut turn = 0;
            for segment in kept {
                let known = Arc::new(statistics(segment, &table_schema));
                let pieces = if segment.bytes < PIECE_BYTES { 1 } else { pieces };
                for piece in 0..pieces {
                    let mut file = PartitionedFile::new(segment.file.clone(), segment.bytes);
                    if pieces > 1 {
                        let at = |piece: u64| i64::try_from(segment.bytes * piece / pieces);
                        let to = at(piece + 1).unwrap_or(i64::MAX);
                        file = file.with_range(at(piece).unwrap_or(i64::MAX), to);
                    }
                    let file = file.with_statistics(Arc::clone(&known));
                    segments.insert(file.object_meta.location.to_string(), Arc::clone(segment));
                    groups[turn % partitions].push(file);
                    turn += 1;
                }
            }
        }
        let n_files = segments.len();
        let files = (n_files > 0).then(|| {
            let readers = Readers { segments: Arc::new(segments), meter: Arc::clone(meter) };
            let source = source.clone().with_parquet_file_reader_factory(Arc::new(readers));
            let mut config = config.clone();
            config.file_source = Arc::new(source);
            config.file_groups = groups.into_iter().map(FileGroup::new).collect();
            DataSourceExec::from_data_source(config) as Arc<dyn ExecutionPlan>
        });
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            table,
            hot_reader: Arc::new(HotReader::new(&table_schema, &schema, predicate, projection)?),
            schema,
            properties: Arc::new(properties),
            hot,
            files,
            n_files,
            limit: config.limit,
            meter: Arc::clone(meter),
        })
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("table", &self.table).finish_non_exhaustive()
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hot: usize = self.hot.iter().map(Vec::len).sum();
        write!(f, "Scan: table={}, batches={hot}, segments={}", self.table, self.n_files)?;
        if let Some(it) = &self.hot_reader.predicate {
            write!(f, ", predicate={it}")?;
        }
        if let Some(it) = self.limit {
            write!(f, ", limit={it}")?;
        }
        let columns: Vec<_> = self.schema.fields().iter().map(|it| it.name().as_str()).collect();
        write!(f, ", columns=[{}]", columns.join(", "))
    }
}

impl ExecutionPlan for Scan {
    fn name(&self) -> &str {
        "Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    // The files are no child: to the planner that counts nodes a scan is one leaf, as the
    // template was.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.hot_reader.predicate {
            Some(predicate) => f(predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = context.session_config().batch_size().max(1);
        let reader = Arc::clone(&self.hot_reader);
        let meter = Arc::clone(&self.meter);
        let hot = futures::stream::iter(self.hot.get(partition).cloned().unwrap_or_default())
            .flat_map(move |batch| futures::stream::iter(slices(&batch, rows)))
            .filter_map(move |batch| {
                let read = reader.read(&batch, &meter).transpose();
                futures::future::ready(read)
            });
        let files = match &self.files {
            Some(it) => it.execute(partition, context)?,
            None => Box::pin(datafusion::physical_plan::EmptyRecordBatchStream::new(Arc::clone(
                &self.schema,
            ))),
        };
        self.meter.begun.get_or_init(Instant::now);
        self.meter.open.fetch_add(1, Relaxed);
        Ok(Box::pin(cooperative(ScanStream {
            schema: Arc::clone(&self.schema),
            rows: hot.chain(files).boxed(),
            left: self.limit,
            done: Done { partition, files: self.files.clone(), meter: Arc::clone(&self.meter) },
        })))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.files.as_ref().and_then(|it| it.metrics())
    }
}

/// One partition's rows, at most as many as the plan's limit.
struct ScanStream {
    schema: SchemaRef,
    rows: Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>,
    left: Option<usize>,
    done: Done,
}

impl Stream for ScanStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let begun = Instant::now();
        let polled = self.rows.poll_next_unpin(cx);
        let busy = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.done.meter.busy.fetch_add(busy, Relaxed);
        if let (Poll::Ready(Some(Ok(batch))), Some(left)) = (&polled, &mut self.left) {
            let rows = batch.num_rows().min(*left);
            *left -= rows;
            if rows < batch.num_rows() {
                return Poll::Ready(Some(Ok(batch.slice(0, rows))));
            }
        }
        polled
    }
}

impl RecordBatchStream for ScanStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// Counts what a partition's files cost once its stream is let go, finished or not.
struct Done {
    partition: usize,
    files: Option<Arc<dyn ExecutionPlan>>,
    meter: Arc<Meter>,
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(metrics) = self.files.as_ref().and_then(|it| it.metrics()) {
            let rows: usize = metrics
                .iter()
                .filter(|it| it.partition() == Some(self.partition))
                .filter(|it| ["output_rows", "pushdown_rows_pruned"].contains(&it.value().name()))
                .map(|it| it.value().as_usize())
                .sum();
            self.meter.rows.fetch_add(rows as u64, Relaxed);
        }
        let elapsed = self.meter.begun.get().map_or(Duration::ZERO, Instant::elapsed);
        let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.meter.elapsed.fetch_max(elapsed, Relaxed);
        self.meter.open.fetch_sub(1, Relaxed);
    }
}

/// Reads batches from memory as the Parquet reader reads files: filter, then project.
///
/// With filters pushed down there is no filter above the scan any more, so that what the files'
/// reader does must be done here as well.
struct HotReader {
    /// The columns that are read, as the table has them.
    columns: SchemaRef,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    narrow: Option<Arc<dyn PhysicalExpr>>,
    projector: Projector,
    schema: SchemaRef,
}

impl HotReader {
    fn new(
        table: &SchemaRef,
        output: &SchemaRef,
        predicate: Option<Arc<dyn PhysicalExpr>>,
        projection: ProjectionExprs,
    ) -> Result<Self> {
        let mut needed = projection.column_indices();
        if let Some(it) = &predicate {
            let columns = datafusion::physical_expr::utils::collect_columns(it);
            needed.extend(columns.iter().map(|it| it.index()));
        }
        needed.sort_unstable();
        needed.dedup();
        let columns = Arc::new(table.project(&needed)?);
        let narrow = predicate
            .as_ref()
            .map(|it| reassign_expr_columns(Arc::clone(it), &columns))
            .transpose()?;
        let projection = projection.try_map_exprs(|it| reassign_expr_columns(it, &columns))?;
        let projector = projection.make_projector(&columns)?;
        Ok(Self { columns, predicate, narrow, projector, schema: Arc::clone(output) })
    }

    fn read(&self, batch: &RecordBatch, meter: &Meter) -> Result<Option<RecordBatch>> {
        let mut batch = adapt(batch, &self.columns)?;
        meter.rows.fetch_add(batch.num_rows() as u64, Relaxed);
        meter.bytes.fetch_add(bytes(&batch), Relaxed);
        if let Some(predicate) = &self.narrow {
            let mask = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
            let Some(mask) = mask.as_boolean_opt() else {
                return exec_err!("the filter of a scan is no condition");
            };
            let hits = mask.true_count();
            if hits == 0 {
                return Ok(None);
            }
            if hits < batch.num_rows() {
                let mask =
                    if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
                batch = filter_record_batch(&batch, &mask)?;
            }
        }
        let rows = batch.num_rows();
        let projected = self.projector.project_batch(&batch)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = projected.columns().to_vec();
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?))
    }
}

/// The batch with exactly these columns: what it lacks is null, what it has besides is dropped.
pub(crate) fn adapt(batch: &RecordBatch, to: &SchemaRef) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = to
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), rows)),
            Some(it) if it.data_type() == field.data_type() => Ok(Arc::clone(it)),
            Some(it) => cast(it, field.data_type()),
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(to), columns, &options)?)
}

fn slices(batch: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    let total = batch.num_rows();
    (0..total).step_by(rows).map(|at| batch.slice(at, rows.min(total - at))).collect()
}

fn bytes(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(|it| it.to_data().get_slice_memory_size().unwrap_or(0) as u64).sum()
}

fn prune_hot<'a>(
    batches: &'a [RecordBatch],
    pruning: Option<&PruningPredicate>,
) -> Vec<&'a RecordBatch> {
    let keep = pruning.and_then(|it| it.prune(&HotStatistics(batches)).ok());
    match keep {
        Some(keep) => batches.iter().zip(keep).filter(|(_, keep)| *keep).map(|it| it.0).collect(),
        None => batches.iter().collect(),
    }
}

fn prune_segments<'a>(
    segments: &'a [Arc<Segment>],
    pruning: Option<&PruningPredicate>,
) -> Vec<&'a Arc<Segment>> {
    let keep = pruning.and_then(|it| it.prune(&SegmentStatistics(segments)).ok());
    match keep {
        Some(keep) => segments.iter().zip(keep).filter(|(_, keep)| *keep).map(|it| it.0).collect(),
        None => segments.iter().collect(),
    }
}

/// What is known of a segment without touching its file, for the columns `table` has.
fn statistics(segment: &Segment, table: &SchemaRef) -> Statistics {
    let mut statistics = Statistics::new_unknown(table);
    statistics.num_rows = Precision::Exact(usize::try_from(segment.rows).unwrap_or(usize::MAX));
    if let Some(ts) =
        table.index_of("ts").ok().and_then(|it| statistics.column_statistics.get_mut(it))
    {
        let at =
            |ns| Precision::Exact(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        (ts.min_value, ts.max_value) = (at(segment.min_ts), at(segment.max_ts));
        ts.null_count = Precision::Exact(0);
    }
    statistics
}

struct SegmentStatistics<'a>(&'a [Arc<Segment>]);

impl SegmentStatistics<'_> {
    fn times(&self, column: &Column, of: impl Fn(&Segment) -> i64) -> Option<ArrayRef> {
        (column.name == "ts").then(|| {
            let times = self.0.iter().map(|it| of(it));
            Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
                as ArrayRef
        })
    }
}

impl PruningStatistics for SegmentStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |it| it.min_ts)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |it| it.max_ts)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.0.iter().map(|it| it.rows))))
    }

    fn contained(
        &self,
        _: &Column,
        _: &std::collections::HashSet<ScalarValue>,
    ) -> Option<BooleanArray> {
        None
    }
}

/// A batch in memory has no statistics, but two are found faster than a filter is evaluated: the
/// range of `ts`, and the one value of a column that has only one, such as `protocol`.
struct HotStatistics<'a>(&'a [RecordBatch]);

impl HotStatistics<'_> {
    fn of(&self, column: &Column, max: bool) -> Option<ArrayRef> {
        let values: Vec<ArrayRef> = self
            .0
            .iter()
            .map(|batch| {
                let column = batch.column_by_name(&column.name)?;
                match column.data_type() {
                    DataType::Timestamp(..) if column.null_count() == 0 => {
                        let times = column.as_primitive_opt::<datafusion::arrow::datatypes::TimestampNanosecondType>()?;
                        let it = if max { compute::max(times) } else { compute::min(times) };
                        Some(TimestampNanosecondArray::from(vec![it]).with_timezone("UTC"))
                            .map(|it| Arc::new(it) as ArrayRef)
                    }
                    DataType::Utf8View => only_value(column.as_string_view_opt()?),
                    _ => None,
                }
            })
            .collect::<Option<_>>()?;
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        compute::concat(&values).ok()
    }
}

/// The column's first value, if all the others are the same; null if they are not.
fn only_value(column: &StringViewArray) -> Option<ArrayRef> {
    let views = column.views();
    let first = views.first()?;
    // Up to 12 bytes stand in the view itself, so that equal views are equal texts.
    let inline = (*first as u32) <= 12;
    let one = inline && column.null_count() == 0 && views.iter().all(|it| it == first);
    Some(if one { column.slice(0, 1) } else { StringViewArray::new_null(1) })
        .map(|it| Arc::new(it) as _)
}

impl PruningStatistics for HotStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, false)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, true)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.0.iter().map(|it| it.num_rows() as u64))))
    }

    fn contained(
        &self,
        _: &Column,
        _: &std::collections::HashSet<ScalarValue>,
    ) -> Option<BooleanArray> {
        None
    }
}

/// Reads segments by the handle the snapshot gave, never by a path from a plan.
#[derive(Debug)]
struct Readers {
    segments: Arc<BTreeMap<String, Arc<Segment>>>,
    meter: Arc<Meter>,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        _: usize,
        file: PartitionedFile,
        _: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let path = file.object_meta.location.as_ref();
        let Some(segment) = self.segments.get(path) else {
            return exec_err!("{path} is no segment of this scan");
        };
        let bytes_scanned = datafusion::physical_plan::metrics::MetricBuilder::new(metrics)
            .global_counter("bytes_scanned");
        Ok(Box::new(SegmentReader {
            segment: Arc::clone(segment),
            file: None,
            meter: Arc::clone(&self.meter),
            bytes_scanned,
        }))
    }
}

struct SegmentReader {
    segment: Arc<Segment>,
    file: Option<Arc<File>>,
    meter: Arc<Meter>,
    bytes_scanned: datafusion::physical_plan::metrics::Count,
}

impl SegmentReader {
    async fn read(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, ParquetError> {
        let total: u64 = ranges.iter().map(|it| it.end.saturating_sub(it.start)).sum();
        self.meter.bytes.fetch_add(total, Relaxed);
        self.bytes_scanned.add(usize::try_from(total).unwrap_or(usize::MAX));
        if self.file.is_none() {
            self.meter.segments.fetch_add(1, Relaxed);
        }
        let (segment, file) = (Arc::clone(&self.segment), self.file.take());
        let read = tokio::task::spawn_blocking(move || {
            let at = |error: std::io::Error| {
                let text = format!("reading segment {}: {error}", segment.path().display());
                ParquetError::External(text.into())
            };
            let file = match file {
                Some(it) => it,
                None => Arc::new(File::open(segment.path()).map_err(at)?),
            };
            let parts = ranges.into_iter().map(|range| segment.bytes_at(&file, range));
            let parts = parts.collect::<Result<Vec<_>, segment::Error>>();
            let parts = parts.map_err(|it| ParquetError::External(Box::new(it)))?;
            Ok::<_, ParquetError>((file, parts))
        });
        let (file, parts) = read.await.map_err(|it| ParquetError::External(Box::new(it)))??;
        self.file = Some(file);
        Ok(parts)
    }
}

impl AsyncFileReader for SegmentReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { Ok(self.read(vec![range]).await?.pop().unwrap_or_default()) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        self.read(ranges).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let segment = Arc::clone(&self.segment);
        async move {
            // In the cache as a rule; if not, it is read from the file.
            let read = tokio::task::spawn_blocking(move || segment.metadata());
            let read = read.await.map_err(|it| ParquetError::External(Box::new(it)))?;
            read.map_err(|it| ParquetError::External(Box::new(it)))
        }
        .boxed()
    }
}

/// Makes joins without keys let others run: what they yield is so much more than what they read
/// that the scans under them, which do, are asked too seldom.
pub(crate) fn breathe(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let breathing = plan.transform_up(|node| {
        if node.is::<CrossJoinExec>() || node.is::<NestedLoopJoinExec>() {
            return Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as _));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(breathing.data)
}

/// Whether the plan would scan here: a template stands outside of the part that is spread.
pub(crate) fn scans_here(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        if node.is::<datafusion_distributed::DistributedExec>() {
            return Ok(TreeNodeRecursion::Jump);
        }
        found |= template(node.as_ref()).is_some();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
