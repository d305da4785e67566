//! Rows that a node could make, and makes when it is asked for them.
//!
//! A node may hold packets of which no protocol's rows were made yet. A scan that wants rows from
//! such a stretch of time waits until they are made, and only then takes its snapshot: all scans of
//! a plan take it together.
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, TimestampNanosecondArray, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue, exec_err};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt};
use segment::Snapshot;
use tokio::sync::OnceCell;

use crate::rights::Rights;
use crate::scan::{self, Gates, Meter, Place, Scan, Source};
use crate::table::{table_of, template};
use crate::tables::Tables;

/// Makes rows that a node does not have yet.
#[async_trait]
pub trait Supply: Send + Sync {
    /// The tables whose rows it makes.
    fn tables(&self) -> &HashSet<String>;

    /// The stretches of time (nanoseconds since 1970) of which rows could be made and were not, in
    /// order. Long ones come in pieces.
    fn lacking(&self) -> Vec<Range<i64>>;

    /// Makes the rows of these stretches, once, however many ask at a time. Whoever no longer wants
    /// them drops the future.
    async fn supply(&self, stretches: Vec<Range<i64>>) -> Supplied;
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supplied {
    /// Packets that were read.
    pub packets: u64,
    /// Why rows are still lacking, if they are.
    pub lacks: Option<String>,
}

/// Like [`scan::bind`], but where rows are lacking that the plan's scans want, those wait for them.
pub(crate) fn bind(
    plan: Arc<dyn ExecutionPlan>,
    place: &Place,
    supply: Option<&Arc<dyn Supply>>,
    meter: &Arc<Meter>,
    rights: &Arc<Rights>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let source = Source::Place(place);
    let Some(supply) = supply else { return scan::bind(plan, source, meter, rights) };
    let Wanted { tables, stretches, asked } = wanted(&plan, &place.tables, supply.as_ref())?;
    if stretches.is_empty() {
        return scan::bind(plan, source, meter, rights);
    }
    let gates = Gates::of(rights, source, meter);
    let moment = Arc::new(Moment {
        place: place.clone(),
        supply: Arc::clone(supply),
        stretches,
        tables,
        asked,
        meter: Arc::clone(meter),
        gates,
        snapshots: OnceCell::new(),
    });
    let bound = plan.transform_up(|node| {
        let Some(config) = template(node.as_ref()) else { return Ok(Transformed::no(node)) };
        let late = Late::new(config, Arc::clone(&moment))?;
        Ok(Transformed::yes(Arc::new(late) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(bound.data)
}

/// What a plan wants.
struct Wanted {
    /// The real tables that it scans.
    tables: Vec<String>,
    /// The lacking stretches that its scans want.
    stretches: Vec<Range<i64>>,
    /// What each scan asks of which real table.
    asked: Vec<Asked>,
}

type Asked = (String, Option<Arc<dyn PhysicalExpr>>);

fn wanted(plan: &Arc<dyn ExecutionPlan>, known: &Tables, supply: &dyn Supply) -> Result<Wanted> {
    let (mut tables, mut asked) = (Vec::new(), Vec::new());
    let mut lacking: Option<Vec<Range<i64>>> = None;
    let mut keep: Vec<bool> = Vec::new();
    plan.apply(|node| {
        let Some(config) = template(node.as_ref()) else { return Ok(TreeNodeRecursion::Continue) };
        let behind = known.behind(table_of(config)?);
        let mut lacks = false;
        for table in behind.iter().map(|it| it.name.as_ref()) {
            if !tables.iter().any(|it| it == table) {
                tables.push(table.to_owned());
            }
            asked.push((table.to_owned(), config.file_source().filter()));
            lacks |= supply.tables().contains(table);
        }
        if lacks {
            let lacking = lacking.get_or_insert_with(|| supply.lacking());
            keep.resize(lacking.len(), false);
            for (keep, wants) in keep.iter_mut().zip(wants(config, lacking)) {
                *keep |= wants;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let lacking = lacking.unwrap_or_default().into_iter().zip(keep);
    let stretches = lacking.filter(|it| it.1).map(|it| it.0).collect();
    Ok(Wanted { tables, stretches, asked })
}

/// Whether a scan could find rows in each of the stretches, by what its filter says of `ts`.
fn wants(config: &FileScanConfig, stretches: &[Range<i64>]) -> Vec<bool> {
    let schema = Arc::clone(config.file_source().table_schema().table_schema());
    let pruning = config
        .file_source()
        .filter()
        .and_then(|it| PruningPredicateBuilder::new().with_file_schema(schema).build(it));
    let kept = pruning.and_then(|it| it.prune(&Stretches(stretches)).ok());
    kept.unwrap_or_else(|| vec![true; stretches.len()])
}

struct Stretches<'a>(&'a [Range<i64>]);

impl Stretches<'_> {
    fn times(&self, column: &Column, of: impl Fn(&Range<i64>) -> i64) -> Option<ArrayRef> {
        let times = || TimestampNanosecondArray::from_iter_values(self.0.iter().map(of));
        (column.name == "ts").then(|| Arc::new(times().with_timezone("UTC")) as ArrayRef)
    }
}

impl PruningStatistics for Stretches<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |it| it.start)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |it| it.end.saturating_sub(1))
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        // Nobody knows before they are made; there may be some.
        Some(Arc::new(UInt64Array::from(vec![u64::from(u32::MAX); self.0.len()])))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// What the scans of one plan wait for, and then see.
struct Moment {
    place: Place,
    supply: Arc<dyn Supply>,
    stretches: Vec<Range<i64>>,
    tables: Vec<String>,
    asked: Vec<Asked>,
    meter: Arc<Meter>,
    gates: Option<Gates>,
    snapshots: OnceCell<BTreeMap<String, Arc<Snapshot>>>,
}

impl Moment {
    async fn come(&self) -> &BTreeMap<String, Arc<Snapshot>> {
        let come = async {
            let supplied = self.supply.supply(self.stretches.clone()).await;
            self.meter.supplied(&supplied);
            let store = &self.place.store;
            self.meter.cover(store, &self.asked);
            let taken = store.snapshots(self.tables.iter().map(String::as_str)).into_iter();
            taken.map(|(table, it)| (table, Arc::new(it))).collect()
        };
        self.snapshots.get_or_init(|| come).await
    }
}

/// A scan that is made once there is something to scan.
struct Late {
    table: String,
    config: FileScanConfig,
    moment: Arc<Moment>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    scan: Arc<OnceCell<Arc<Scan>>>,
}

impl Late {
    fn new(config: &FileScanConfig, moment: Arc<Moment>) -> Result<Self> {
        let table = table_of(config)?.to_owned();
        // The same scan over nothing says what it will look like.
        let empty = Scan::new(config, &[], &Arc::new(Meter::default()), moment.gates.as_ref())?;
        let schema = empty.schema();
        let partitions = empty.properties().partitioning.partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        let (config, scan) = (config.clone(), Arc::default());
        Ok(Self { table, config, moment, schema, properties, scan })
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late").field("table", &self.table).finish_non_exhaustive()
    }
}

impl DisplayAs for Late {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scan.get() {
            Some(scan) => scan.fmt_as(kind, f),
            None if self.moment.gates.is_some() => write!(f, "Scan: table={}", self.table),
            None => write!(
                f,
                "Scan: table={}, once {} stretches of packets are dissected",
                self.table,
                self.moment.stretches.len()
            ),
        }
    }
}

impl ExecutionPlan for Late {
    fn name(&self) -> &str {
        "Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match self.config.file_source().filter() {
            Some(predicate) => f(&predicate),
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
        let (moment, scan) = (Arc::clone(&self.moment), Arc::clone(&self.scan));
        let (table, config) = (self.table.clone(), self.config.clone());
        // The query is under way from now on, not from its first row on.
        let waiting = moment.meter.wait();
        let rows = async move {
            let snapshots = moment.come().await;
            let make = || async {
                let mut rows = Vec::new();
                for table in moment.place.tables.behind(&table) {
                    let name = table.name.as_ref();
                    let Some(snapshot) = snapshots.get(name) else {
                        return exec_err!("no moment of {name} was taken");
                    };
                    rows.push((Arc::from(name), Arc::clone(snapshot)));
                }
                let gates = moment.gates.as_ref();
                Scan::new(&config, &rows, &moment.meter, gates).map(Arc::new)
            };
            let scan = Arc::clone(scan.get_or_try_init(make).await?);
            let rows = scan.execute(partition, context);
            drop(waiting);
            rows
        };
        let rows = futures::stream::once(rows).try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.scan.get().and_then(|it| it.metrics())
    }
}

impl Meter {
    /// Notes what was made for the query.
    fn supplied(&self, it: &Supplied) {
        self.dissected.fetch_add(it.packets, Relaxed);
        if let Some(lacks) = &it.lacks {
            let mut noted = self.lacks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            noted.get_or_insert_with(|| lacks.clone());
        }
    }
}
