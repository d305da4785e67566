//! Where a template stood, the rows of this place: batches in memory, then segments, newest first.
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringViewArray, new_null_array,
};
use datafusion::arrow::compute::{cast, filter_record_batch, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_err};
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
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::coop::{CooperativeExec, cooperative};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use segment::{Reader, Segment, Snapshot, Store};

use crate::coverage::Coverage;
use crate::fleet::Own;
use crate::node::NodeAccounting;
use crate::table::{table_of, template};
use crate::tables::{TABLE_NAME, Tables};

mod distinct;
mod prune;

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
    /// Packets that were dissected before the scans could begin.
    pub(crate) dissected: AtomicU64,
    /// Why rows are lacking that could be made of packets.
    pub(crate) lacks: Mutex<Option<String>>,
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
            dissected_packets: self.dissected.load(Relaxed),
            lacks: self.lacks.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            finished: self.begun.get().is_some() && self.open.load(Relaxed) == 0,
        }
    }

    /// What was asked about, and what there is of it.
    pub(crate) fn coverage(&self) -> Coverage {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn cover(&self, store: &Store, asked: &[(String, Option<Arc<dyn PhysicalExpr>>)]) {
        let state = store.state();
        let mut coverage = self.coverage.lock().unwrap_or_else(PoisonError::into_inner);
        for (table, predicate) in asked {
            coverage.ask(&state, table, predicate.as_ref());
        }
    }
}

impl Meter {
    /// As long as what it returns lives, the query runs here.
    pub(crate) fn wait(self: &Arc<Self>) -> Running {
        self.begun.get_or_init(Instant::now);
        self.open.fetch_add(1, Relaxed);
        Running(Arc::clone(self))
    }
}

/// A part of a query that runs.
#[derive(Debug)]
pub(crate) struct Running(Arc<Meter>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Where a place's rows are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) tables: Tables,
}

/// Whose rows a plan's scans are given.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Nobody's: there are none.
    Nothing,
    /// Those in a store.
    Place(&'a Place),
    /// Those that a Hub makes.
    Own(&'a dyn Own),
}

impl<'a> Source<'a> {
    /// What `own` has, if there is one.
    pub(crate) fn own(own: Option<&'a Arc<dyn Own>>) -> Self {
        own.map_or(Self::Nothing, |it| Self::Own(it.as_ref()))
    }

    /// The real tables behind one of that name.
    fn behind(self, table: &str) -> Vec<Cow<'a, str>> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Place(it) => {
                let behind = it.tables.behind(table).into_iter();
                behind.map(|it| Cow::Borrowed(it.name.as_ref())).collect()
            }
            Self::Own(own) => {
                let has = own.tables().iter().any(|it| it.name == table);
                has.then(|| Cow::Owned(table.to_owned())).into_iter().collect()
            }
        }
    }

    /// That table as it is at this moment.
    fn snapshot(self, table: &str) -> Option<Snapshot> {
        match self {
            Self::Nothing => None,
            Self::Place(it) => Some(it.store.snapshot(table)),
            Self::Own(own) => {
                let rows = own.rows(table)?;
                Some(Snapshot { schema: rows.schema(), hot: vec![rows], segments: Vec::new() })
            }
        }
    }
}

/// Puts the rows of `source` where templates stand.
pub(crate) fn bind(
    plan: Arc<dyn ExecutionPlan>,
    source: Source<'_>,
    meter: &Arc<Meter>,
) -> Result<Arc<dyn ExecutionPlan>> {
    // One snapshot per table: a query that names a table twice sees the same rows twice.
    let mut snapshots: HashMap<String, Arc<Snapshot>> = HashMap::new();
    let mut asked = Vec::new();
    let bound = plan.transform_up(|node| {
        if let Some(scan) = distinct::wanted(node.as_ref()) {
            let scan = distinct::of(scan);
            let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            return Ok(Transformed::yes(node.replace_children(vec![scan], same)?));
        }
        let Some(config) = template(node.as_ref()) else { return Ok(Transformed::no(node)) };
        let mut rows = Vec::new();
        for name in source.behind(table_of(config)?) {
            if !snapshots.contains_key(name.as_ref()) {
                let Some(taken) = source.snapshot(&name) else { continue };
                snapshots.insert(name.to_string(), Arc::new(taken));
            }
            let Some(it) = snapshots.get(name.as_ref()) else { continue };
            rows.push((Arc::from(name.as_ref()), Arc::clone(it)));
            asked.push((name.into_owned(), config.file_source().filter()));
        }
        let scan = Scan::new(config, &rows, meter)?;
        Ok(Transformed::yes(Arc::new(scan) as Arc<dyn ExecutionPlan>))
    })?;
    if let Source::Place(place) = source {
        meter.cover(&place.store, &asked);
    }
    Ok(bound.data)
}

/// So few rows of a batch are copied sooner than the rest is kept.
const FEW_ROWS: usize = 512;
/// What is smaller is not worth dividing.
const PIECE_BYTES: u64 = 4 << 20;

/// A scan of one table at this place, or of `traffic`.
#[derive(Clone)]
pub(crate) struct Scan {
    table: String,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    /// Per partition.
    hot: Vec<Vec<Hot>>,
    hot_reader: Arc<HotReader>,
    files: Option<Arc<dyn ExecutionPlan>>,
    n_files: usize,
    limit: Option<usize>,
    /// Whether rows may be left out that are the same as others.
    distinct: bool,
    /// What is read of no rows, but of what is said of them: a distinct scan's texts.
    said: distinct::Said,
    /// How `files` were made, if all of their rows are wanted, of one column as it is.
    plain: Option<distinct::Plain>,
    meter: Arc<Meter>,
}

/// Rows in memory, and the table they are of.
#[derive(Clone, Debug)]
pub(crate) struct Hot {
    pub(crate) table: Arc<str>,
    pub(crate) batch: RecordBatch,
}

impl Scan {
    pub(crate) fn new(
        config: &FileScanConfig,
        rows: &[(Arc<str>, Arc<Snapshot>)],
        meter: &Arc<Meter>,
    ) -> Result<Self> {
        let table = table_of(config)?.to_owned();
        let Some(source) = config.file_source().downcast_ref::<ParquetSource>() else {
            return exec_err!("a scan of something other than segments");
        };
        let template = DataSourceExec::from_data_source(config.clone());
        let partitions = template.properties().partitioning.partition_count();
        let schema = template.schema();
        let known = config.file_source().table_schema();
        let (in_files, columns) = (known.file_schema(), known.table_schema());
        // The name of the table is in no file, but is known of each.
        let named = !known.table_partition_cols().is_empty();
        let predicate = config.file_source().filter();
        let projection = match config.file_source().projection() {
            Some(it) => it.clone(),
            None => {
                let all: Vec<usize> = (0..columns.fields().len()).collect();
                ProjectionExprs::from_indices(&all, columns)
            }
        };
        let pruning = predicate.as_ref().and_then(|it| {
            let builder = PruningPredicateBuilder::new();
            builder.with_file_schema(Arc::clone(columns)).build(Arc::clone(it))
        });
        let pruning = pruning.as_deref();

        let mut hot = vec![Vec::new(); partitions];
        let all = rows.iter().flat_map(|(table, snapshot)| {
            snapshot.hot.iter().map(|it| Hot { table: Arc::clone(table), batch: it.clone() })
        });
        let kept = prune::hot(all.collect(), pruning, named);
        for (i, it) in kept.into_iter().rev().enumerate() {
            hot[i % partitions].push(it);
        }

        let mut groups = vec![Vec::new(); partitions];
        let mut segments = BTreeMap::new();
        let all: Vec<_> = rows.iter().flat_map(|it| &it.1.segments).collect();
        let (mut kept, filtered) = prune::segments(all, pruning, columns, named);
        kept.sort_by_key(|it| std::cmp::Reverse(it.segment.max_ts));
        // Few large segments are read in pieces, so that every partition has its share.
        let pieces = partitions.div_ceil(kept.len().max(1)) as u64;
        let mut turn = 0;
        for part in kept {
            let segment = part.segment;
            let mut file = PartitionedFile::new(segment.file.clone(), segment.bytes);
            if named {
                let name = ScalarValue::Utf8View(Some(segment.table.clone()));
                file.partition_values = vec![name];
            }
            let mut file = file.with_statistics(Arc::new(prune::statistics(segment, in_files)));
            if let Some(row_groups) = part.row_groups {
                file = file.with_extension(row_groups);
            }
            segments.insert(file.object_meta.location.to_string(), Arc::clone(segment));
            let pieces = if part.bytes < PIECE_BYTES { 1 } else { pieces.min(part.n_row_groups) };
            for piece in 0..pieces {
                let mut file = file.clone();
                if pieces > 1 {
                    let at = |piece: u64| i64::try_from(segment.bytes * piece / pieces);
                    let to = at(piece + 1).unwrap_or(i64::MAX);
                    file = file.with_range(at(piece).unwrap_or(i64::MAX), to);
                }
                groups[turn % partitions].push(file);
                turn += 1;
            }
        }
        let n_files = segments.len();
        let segments = Arc::new(segments);
        let config_of_files = (n_files > 0).then(|| {
            let segments = Arc::clone(&segments);
            let readers = Readers { segments, meter: Arc::clone(meter) };
            let mut source = source.clone().with_parquet_file_reader_factory(Arc::new(readers));
            if filtered {
                source = source.with_bloom_filter_on_read(false);
            }
            let mut config = config.clone();
            config.file_source = Arc::new(source);
            config.file_groups = groups.into_iter().map(FileGroup::new).collect();
            config
        });
        let plain = match &config_of_files {
            Some(it) if predicate.as_ref().is_none_or(distinct::is_advice) => {
                distinct::plain(&projection, it, segments)
            }
            _ => None,
        };
        let files = config_of_files.map(|it| DataSourceExec::from_data_source(it) as _);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            table,
            hot_reader: Arc::new(HotReader::new(columns, named, &schema, predicate, projection)?),
            schema,
            properties: Arc::new(properties),
            hot,
            files,
            n_files,
            limit: config.limit,
            distinct: false,
            said: distinct::Said::default(),
            plain,
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
        if self.distinct {
            write!(f, ", distinct")?;
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
            .flat_map(move |it| {
                let parts = slices(&it.batch, rows).into_iter();
                futures::stream::iter(parts.map(move |batch| (Arc::clone(&it.table), batch)))
            })
            .filter_map(move |(table, batch)| {
                let read = reader.read(&table, &batch, &meter).transpose();
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
        let said = self.said.stream(partition, &self.schema, &self.meter);
        let mut rows = hot.chain(said).chain(files.map(|it| it.map(lean))).boxed();
        if self.distinct {
            let mut seen = distinct::Seen::default();
            rows = rows.map(move |it| it.and_then(|it| seen.fresh(it))).boxed();
        }
        Ok(Box::pin(cooperative(ScanStream {
            schema: Arc::clone(&self.schema),
            rows,
            left: self.limit,
            done: Done { partition, files: self.files.clone(), meter: Arc::clone(&self.meter) },
        })))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.files.as_ref().and_then(|it| it.metrics())
    }
}

/// The few rows that a filter left of many, without the pages that they were read from: whoever keeps them
/// would keep those.
fn lean(batch: RecordBatch) -> RecordBatch {
    if batch.num_rows() > FEW_ROWS {
        return batch;
    }
    let columns = batch.columns().iter().map(|it| -> ArrayRef {
        match it.data_type() {
            DataType::Utf8View => Arc::new(it.as_string_view().gc()),
            DataType::BinaryView => Arc::new(it.as_binary_view().gc()),
            _ => Arc::clone(it),
        }
    });
    let (schema, rows) = (batch.schema(), Some(batch.num_rows()));
    let options = RecordBatchOptions::new().with_row_count(rows);
    // The same columns fit the same schema.
    RecordBatch::try_new_with_options(schema, columns.collect(), &options).unwrap_or(batch)
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
    /// Whether the name of the table is a column.
    named: bool,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    narrow: Option<Arc<dyn PhysicalExpr>>,
    projector: Projector,
    schema: SchemaRef,
}

impl HotReader {
    fn new(
        table: &SchemaRef,
        named: bool,
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
        Ok(Self { columns, named, predicate, narrow, projector, schema: Arc::clone(output) })
    }

    fn read(&self, table: &str, batch: &RecordBatch, meter: &Meter) -> Result<Option<RecordBatch>> {
        let mut batch = adapt(batch, &self.columns, self.named.then_some(table))?;
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

/// The batch with exactly these columns: what it lacks is null, what it has besides is dropped. In
/// `traffic`, the name of its table is a column.
pub(crate) fn adapt(
    batch: &RecordBatch,
    to: &SchemaRef,
    table: Option<&str>,
) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = to
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            None if field.name() == TABLE_NAME && table.is_some() => {
                let name = std::iter::repeat_n(table.unwrap_or_default(), rows);
                Ok(Arc::new(StringViewArray::from_iter_values(name)) as ArrayRef)
            }
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
            reader: Reader::new(Arc::clone(segment)),
            begun: false,
            meter: Arc::clone(&self.meter),
            bytes_scanned,
        }))
    }
}

/// Counts what is read of a segment.
struct SegmentReader {
    reader: Reader,
    begun: bool,
    meter: Arc<Meter>,
    bytes_scanned: datafusion::physical_plan::metrics::Count,
}

impl SegmentReader {
    async fn read(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, ParquetError> {
        let total: u64 = ranges.iter().map(|it| it.end.saturating_sub(it.start)).sum();
        self.meter.bytes.fetch_add(total, Relaxed);
        self.bytes_scanned.add(usize::try_from(total).unwrap_or(usize::MAX));
        if !std::mem::replace(&mut self.begun, true) {
            self.meter.segments.fetch_add(1, Relaxed);
        }
        self.reader.get_byte_ranges(ranges).await
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
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        self.reader.get_metadata(options)
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
