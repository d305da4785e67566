//! Where a template stood, the rows of this place: batches in memory, then segments, newest first.
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringViewArray, new_null_array,
};
use datafusion::arrow::compute::{cast, filter_record_batch, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::projection::{ProjectionExprs, Projector};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{
    EquivalenceProperties, Partitioning, PhysicalExpr, split_conjunction,
};
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
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use segment::{Reader, Segment, Snapshot, Store};

use crate::coverage::{Coverage, is_bound};
use crate::fleet::Own;
use crate::node::NodeAccounting;
use crate::rights::{CONNECTIONS, Gate, Permitted, Rights};
use crate::scan::flows::Flows;
use crate::table::{table_of, template};
use crate::tables::{TABLE_NAME, Tables};

mod distinct;
mod flows;
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
    /// The asker may not see everything, so what was done tells no more than the rows let through.
    gated: AtomicBool,
}

impl Meter {
    /// What it comes to so far, but for what was lost.
    pub(crate) fn read(&self) -> NodeAccounting {
        let range = self.coverage().range();
        let gated = self.is_gated();
        let told = |it: &AtomicU64| if gated { 0 } else { it.load(Relaxed) };
        let lacks = self.lacks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        NodeAccounting {
            rows_scanned: self.rows.load(Relaxed),
            bytes_scanned: told(&self.bytes),
            segments_scanned: told(&self.segments),
            elapsed_us: self.elapsed.load(Relaxed),
            busy_us: self.busy.load(Relaxed) / 1_000,
            oldest: range.map(|it| it.0),
            newest: range.map(|it| it.1),
            losses: Vec::new(),
            losses_cut: false,
            dissected_packets: told(&self.dissected),
            // It would say of which time there are packets.
            lacks: lacks
                .map(|it| if gated { "not all packets were dissected".to_owned() } else { it }),
            finished: self.begun.get().is_some() && self.open.load(Relaxed) == 0,
        }
    }

    /// What was asked about, and what there is of it.
    pub(crate) fn coverage(&self) -> Coverage {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the asker may not see everything.
    pub(crate) fn is_gated(&self) -> bool {
        self.gated.load(Relaxed)
    }

    /// The asker may not see everything.
    pub(crate) fn gate(&self) {
        self.gated.store(true, Relaxed);
    }

    pub(crate) fn cover(&self, store: &Store, asked: &[(String, Option<Arc<dyn PhysicalExpr>>)]) {
        // What there is and was lost is everybody's.
        if self.is_gated() {
            return;
        }
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

/// What the scans of a plan let through, whose asker may not see everything.
#[derive(Clone)]
pub(crate) struct Gates {
    rights: Arc<Rights>,
    /// As they are declared here, not as the plan has them.
    tables: Tables,
    /// The place's conversations.
    conversations: Option<Arc<Snapshot>>,
}

impl Gates {
    /// Those for the rows of `source`; none if the asker may see all of them.
    pub(crate) fn of(rights: &Arc<Rights>, source: Source<'_>, meter: &Meter) -> Option<Self> {
        if rights.is_all() {
            return None;
        }
        meter.gate();
        let tables = match source {
            Source::Nothing => Tables::default(),
            Source::Place(it) => it.tables.clone(),
            Source::Own(own) => Tables::new(own.tables().iter().cloned()),
        };
        let conversations = source.snapshot(CONNECTIONS).map(Arc::new);
        Some(Self { rights: Arc::clone(rights), tables, conversations })
    }
}

/// Puts the rows of `source` where templates stand: those that may be seen with these rights.
pub(crate) fn bind(
    plan: Arc<dyn ExecutionPlan>,
    source: Source<'_>,
    meter: &Arc<Meter>,
    rights: &Arc<Rights>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let gates = Gates::of(rights, source, meter);
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
        let scan = Scan::new(config, &rows, meter, gates.as_ref())?;
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

/// So many columns, none of them of long values, are read sooner than it is found out which of their rows are wanted.
fn are_light(columns: &Schema) -> bool {
    let is_short = |it: &Arc<Field>| !it.data_type().is_nested() && !it.data_type().is_binary();
    columns.fields().len() <= LIGHT_COLUMNS && columns.fields().iter().all(is_short)
}

/// Of those, the most.
const LIGHT_COLUMNS: usize = 6;

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
    /// Conversations that may be seen, where rows name no more than theirs.
    flows: Option<Arc<Flows>>,
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
        gates: Option<&Gates>,
    ) -> Result<Self> {
        let table = table_of(config)?.to_owned();
        let Some(source) = config.file_source().downcast_ref::<ParquetSource>() else {
            return exec_err!("a scan of something other than segments");
        };
        let template = DataSourceExec::from_data_source(config.clone());
        let partitions = template.properties().partitioning.partition_count();
        let schema = template.schema();
        let known = config.file_source().table_schema();
        let columns = known.table_schema();
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
        let behind = rows.iter().map(|it| it.0.as_ref());
        let hot_reader = HotReader::new(
            columns,
            named,
            &schema,
            predicate.clone(),
            projection,
            (gates, behind),
        )?;
        // What is kept from the asker must not be told by what is read, nor by how long that takes.
        let pruning = match &hot_reader.gate {
            None => predicate.clone(),
            Some(_) => predicate.as_ref().and_then(|it| harmless(it, named)),
        };
        let pruning = pruning.and_then(|it| {
            let builder = PruningPredicateBuilder::new();
            builder.with_file_schema(Arc::clone(columns)).build(it)
        });
        let pruning = pruning.as_deref();
        let in_files = match &hot_reader.gate {
            None => known.clone(),
            Some(gated) => gated.table_schema(known),
        };
        let in_files = in_files.file_schema();
        let flows = hot_reader.gate.as_ref().filter(|it| it.gate.asks_for_flows()).map(|_| {
            let gates = gates.into_iter();
            gates.filter_map(|it| {
                let conversations = Arc::clone(it.conversations.as_ref()?);
                Some(Flows::new(&it.rights, &it.tables, conversations, predicate.as_ref()))
            })
        });
        let flows = flows.and_then(|mut it| it.next()).map(Arc::new);

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
        let mut plain = None;
        let files = (n_files > 0).then(|| {
            let all = Arc::clone(&segments);
            let readers = Arc::new(Readers { segments: all, meter: Arc::clone(meter) });
            let groups = groups.into_iter().map(FileGroup::new).collect();
            if let Some(gated) = &hot_reader.gate {
                return gated.files(config, source, predicate.as_ref(), readers, groups);
            }
            let mut source = source.clone().with_parquet_file_reader_factory(readers);
            if filtered {
                source = source.with_bloom_filter_on_read(false);
            }
            let advised = predicate.as_ref().is_none_or(distinct::is_advice);
            // Whoever advises looks at each row again.
            if advised && are_light(&schema) {
                source = source.with_pushdown_filters(false);
            }
            let mut config = config.clone();
            config.file_source = Arc::new(source);
            config.file_groups = groups;
            if advised {
                plain = distinct::plain(&config, &segments);
            }
            Ok(DataSourceExec::from_data_source(config) as Arc<dyn ExecutionPlan>)
        });
        let files = files.transpose()?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            table,
            hot_reader: Arc::new(hot_reader),
            schema,
            properties: Arc::new(properties),
            hot,
            files,
            n_files,
            limit: config.limit,
            distinct: false,
            said: distinct::Said::default(),
            plain,
            flows,
            meter: Arc::clone(meter),
        })
    }

    /// A partition's rows, without the plan's limit.
    fn rows(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
        permitted: Option<Arc<Permitted>>,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>> {
        let rows = context.session_config().batch_size().max(1);
        let reader = Arc::clone(&self.hot_reader);
        let (meter, may) = (Arc::clone(&self.meter), permitted.clone());
        let hot = futures::stream::iter(self.hot.get(partition).cloned().unwrap_or_default())
            .flat_map(move |it| {
                let parts = slices(&it.batch, rows).into_iter();
                futures::stream::iter(parts.map(move |batch| (Arc::clone(&it.table), batch)))
            })
            .filter_map(move |(table, batch)| {
                let read = reader.read(&table, &batch, &meter, may.as_deref()).transpose();
                futures::future::ready(read)
            });
        // Of a gated scan there is nothing that stands for rows.
        let hot = hot.chain(self.said.stream(partition, &self.schema, &self.meter));
        let Some(files) = &self.files else { return Ok(hot.boxed()) };
        let files = files.execute(partition, Arc::clone(context))?;
        if self.hot_reader.gate.is_none() {
            return Ok(hot.chain(files.map(|it| it.map(lean))).boxed());
        }
        let (reader, meter) = (Arc::clone(&self.hot_reader), Arc::clone(&self.meter));
        let files = files.filter_map(move |it| {
            let read = it.and_then(|it| reader.read("", &it, &meter, permitted.as_deref()));
            futures::future::ready(read.transpose())
        });
        Ok(hot.chain(files).boxed())
    }
}

/// What of a condition may decide what is read though not everything may be seen: times, which rows that are kept
/// back tell nothing by, and names of tables.
fn harmless(predicate: &Arc<dyn PhysicalExpr>, named: bool) -> Option<Arc<dyn PhysicalExpr>> {
    let about_table = |it: &Arc<dyn PhysicalExpr>| {
        let columns = collect_columns(it);
        named && !columns.is_empty() && columns.iter().all(|it| it.name() == TABLE_NAME)
    };
    let parts = split_conjunction(predicate).into_iter();
    let parts = parts.filter(|it| is_bound(it) || about_table(it)).cloned();
    parts.reduce(|a, b| Arc::new(BinaryExpr::new(a, Operator::And, b)))
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("table", &self.table).finish_non_exhaustive()
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan: table={}", self.table)?;
        if self.hot_reader.gate.is_none() {
            let hot: usize = self.hot.iter().map(Vec::len).sum();
            write!(f, ", batches={hot}, segments={}", self.n_files)?;
        }
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
        let mut rows = match &self.flows {
            None => self.rows(partition, &context, None)?,
            Some(flows) => {
                let (flows, scan) = (Arc::clone(flows), self.clone());
                let rows = async move {
                    let permitted = flows.come(&context).await?;
                    scan.rows(partition, &context, Some(permitted))
                };
                futures::stream::once(rows).try_flatten().boxed()
            }
        };
        self.meter.begun.get_or_init(Instant::now);
        self.meter.open.fetch_add(1, Relaxed);
        if self.distinct {
            let mut seen = distinct::Seen::default();
            rows = rows.map(move |it| it.and_then(|it| seen.fresh(it))).boxed();
        }
        Ok(Box::pin(cooperative(ScanStream {
            schema: Arc::clone(&self.schema),
            rows,
            left: self.limit,
            done: Done {
                partition,
                files: self.counted().cloned(),
                meter: Arc::clone(&self.meter),
            },
        })))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.counted().and_then(|it| it.metrics())
    }
}

impl Scan {
    /// The files, unless what is counted of them tells of rows that are kept back.
    fn counted(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        self.files.as_ref().filter(|_| self.hot_reader.gate.is_none())
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
    /// Stands before the filter, if not everything may be seen.
    gate: Option<Gated>,
}

/// A gate, and what is read for it.
struct Gated {
    gate: Gate,
    /// The columns that come out of it, and those that it needs.
    wide: SchemaRef,
}

impl Gated {
    /// What is read of files.
    fn table_schema(&self, known: &TableSchema) -> TableSchema {
        let constants = known.table_partition_cols();
        let constant = |name: &str| constants.iter().any(|it| it.name() == name);
        let fields = self.wide.fields().iter().filter(|it| !constant(it.name())).cloned();
        TableSchema::builder(Arc::new(Schema::new(fields.collect::<Fields>())))
            .with_table_partition_cols(constants.clone())
            .build()
    }

    /// Reads files for the gate: no condition of the asker's is looked at there, but times.
    fn files(
        &self,
        config: &FileScanConfig,
        source: &ParquetSource,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
        readers: Arc<Readers>,
        groups: Vec<FileGroup>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.table_schema(config.file_source().table_schema());
        let columns = Arc::clone(schema.table_schema());
        let mut condition = self.gate.condition(&columns)?;
        for part in predicate.map(split_conjunction).into_iter().flatten().filter(|it| is_bound(it))
        {
            let part = reassign_expr_columns(Arc::clone(part), &columns)?;
            condition = Some(match condition {
                None => part,
                Some(it) => Arc::new(BinaryExpr::new(it, Operator::And, part)),
            });
        }
        let options = source.table_parquet_options().clone();
        let mut source = ParquetSource::new(schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(readers)
            .with_bloom_filter_on_read(false);
        if let Some(condition) = condition {
            source = source.with_predicate(condition);
        }
        let url = config.object_store_url.clone();
        let config = FileScanConfigBuilder::new(url, Arc::new(source)).with_file_groups(groups);
        Ok(DataSourceExec::from_data_source(config.build()))
    }
}

impl HotReader {
    /// `gates` with the names of the tables behind the scan.
    fn new<'a>(
        table: &SchemaRef,
        named: bool,
        output: &SchemaRef,
        predicate: Option<Arc<dyn PhysicalExpr>>,
        projection: ProjectionExprs,
        (gates, behind): (Option<&Gates>, impl Iterator<Item = &'a str>),
    ) -> Result<Self> {
        let mut needed = projection.column_indices();
        if let Some(it) = &predicate {
            let columns = collect_columns(it);
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
        let gate = gates.map(|it| {
            let behind: Vec<_> = behind.filter_map(|name| it.tables.get(name)).collect();
            let gate = Gate::new(&it.rights, behind, &columns);
            let mut wide = columns.fields().to_vec();
            for name in gate.needs() {
                if wide.iter().all(|it| it.name() != name) {
                    wide.push(Arc::new(Field::new(*name, DataType::Utf8View, true)));
                }
            }
            Gated { gate, wide: Arc::new(Schema::new(wide)) }
        });
        let schema = Arc::clone(output);
        Ok(Self { columns, named, predicate, narrow, projector, schema, gate })
    }

    fn read(
        &self,
        table: &str,
        batch: &RecordBatch,
        meter: &Meter,
        permitted: Option<&Permitted>,
    ) -> Result<Option<RecordBatch>> {
        let table = self.named.then_some(table);
        let mut batch = match &self.gate {
            None => adapt(batch, &self.columns, table)?,
            Some(gated) => gated.gate.pass(&adapt(batch, &gated.wide, table)?, permitted)?,
        };
        if self.gate.is_some() && batch.num_rows() == 0 {
            // Batches are counted, too, those that are empty as well.
            return Ok(None);
        }
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
