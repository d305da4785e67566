//! A node's side: runs the parts of plans that a Hub sends, over the rows this node has.
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DfResult, exec_err};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, SortOrderPushdownResult,
};
use datafusion_distributed::{
    DistributedExt, Worker, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse,
    WorkerQueryContext,
};
use segment::Store;
use tonic::body::Body;
use tonic::server::NamedService;

pub use crate::coverage::Loss;
use crate::rights::Rights;
use crate::scan::{Meter, Place};
use crate::session::{self, Options};
use crate::supply::{Supply, bind};
use crate::table::template;
use crate::{Error, Tables, wire};

/// What a query cost at one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeAccounting {
    /// Rows that were looked at.
    pub rows_scanned: u64,
    /// Bytes read from segments, and of batches in memory.
    pub bytes_scanned: u64,
    /// Segments that were read from.
    pub segments_scanned: u64,
    /// From the beginning of the first scan to the end of the last, in microseconds.
    pub elapsed_us: u64,
    /// What the scans took, summed over their streams, in microseconds.
    pub busy_us: u64,
    /// The oldest time in what was asked that the scanned tables have a row of, nanoseconds since 1970.
    pub oldest: Option<i64>,
    /// The newest.
    pub newest: Option<i64>,
    /// What was lost in the time that was asked about, by stage.
    pub losses: Vec<Loss>,
    /// Whether losses longer ago are not among them: there were too many to read.
    pub losses_cut: bool,
    /// Packets that were dissected because the query asked for their rows.
    pub dissected_packets: u64,
    /// Why rows are lacking that could be made of packets, if they are.
    pub lacks: Option<String>,
    /// Whether nothing of the query runs any more.
    pub finished: bool,
}

/// Answers Hubs from a node's store.
#[derive(Clone)]
pub struct Service {
    worker: Worker,
    ledger: Arc<Ledger>,
    store: Store,
}

impl Service {
    /// A service over the rows of `store`.
    pub fn new(store: Store, options: &Options) -> Result<Self, Error> {
        Self::supplied(store, None, options)
    }

    /// A service over the rows of `store`, and those that `supply` makes of what is in it.
    pub fn supplied(
        store: Store,
        supply: Option<Arc<dyn Supply>>,
        options: &Options,
    ) -> Result<Self, Error> {
        let runtime = session::runtime(options, options.node_memory_bytes)
            .map_err(|it| Error::Failed(crate::error::plain(&it)))?;
        let ledger = Arc::new(Ledger::default());
        let partitions = options.partitions;
        let meters = Arc::clone(&ledger);
        let kept = store.clone();
        let tables = Tables::new(store.tables());
        let place = Place { store, tables };
        let worker = Worker::from_session_builder(move |context: WorkerQueryContext| {
            let (place, supply) = (place.clone(), supply.clone());
            let meters = Arc::clone(&meters);
            async move { state(context, partitions, place, supply, &meters) }
        });
        let worker = worker.with_runtime_env(runtime).with_version(crate::version());
        Ok(Self { worker, ledger, store: kept })
    }

    /// The gRPC service, to add to the server that Hubs reach.
    pub fn server(
        &self,
    ) -> impl tower::Service<
        http::Request<Body>,
        Response = http::Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + NamedService
    + Clone
    + Send
    + Sync
    + 'static {
        wire::Server(self.worker.clone().into_worker_server())
    }

    /// What a recent query cost here so far; `None` if it never ran here or is long gone.
    pub async fn accounting(&self, query_id: &str) -> Option<NodeAccounting> {
        Some(account(&*self.ledger.find(query_id)?, &self.store).await)
    }
}

/// What the scans cost, with what was lost in the time they asked about.
pub(crate) async fn account(meter: &Meter, store: &Store) -> NodeAccounting {
    if meter.is_gated() {
        return meter.read();
    }
    let (coverage, store) = (meter.coverage(), store.clone());
    let losses = tokio::task::spawn_blocking(move || coverage.losses(&store));
    let (losses, losses_cut) = losses.await.unwrap_or_default();
    NodeAccounting { losses, losses_cut, ..meter.read() }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// The header that carries a query's id to its nodes.
pub(crate) const QUERY: &str = "x-kubeshark-query";
/// The header that carries what a query's asker may see.
pub(crate) const RIGHTS: &str = "x-kubeshark-rights";

/// What the asker may see, as the Hub says with every call. Where it doesn't, nothing is done.
fn rights(context: &WorkerQueryContext) -> DfResult<Arc<Rights>> {
    let told = context.headers.get(RIGHTS).and_then(|it| it.to_str().ok());
    match told.and_then(Rights::from_text) {
        Some(rights) => Ok(Arc::new(rights)),
        None => exec_err!("the hub didn't say what the asker may see"),
    }
}

fn state(
    context: WorkerQueryContext,
    partitions: usize,
    place: Place,
    supply: Option<Arc<dyn Supply>>,
    meters: &Ledger,
) -> DfResult<datafusion::execution::session_state::SessionState> {
    let rights = rights(&context)?;
    let id = context.headers.get(QUERY).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let meter = meters.open(id);
    let mut builder = context.builder;
    settle(&mut builder, partitions);
    let builder = builder.with_distributed_worker_plan_rewrite_handler(
        move |event: WorkerPlanRewriteEvent<'_>| -> DfResult<WorkerPlanRewriteEventResponse> {
            check(&event.plan)?;
            let plan = in_order(event.plan)?;
            let plan = bind(plan, &place, supply.as_ref(), &meter, &rights)?;
            Ok(WorkerPlanRewriteEventResponse::new(plan))
        },
    );
    Ok(session::state(builder))
}

/// Tells scans in which order their rows are wanted, so that row groups that have the first ones are
/// read first. The Hub's planner did so, but it is lost on the way here.
fn in_order(plan: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    let ordered = plan.transform_up(|node| {
        let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
        if template(sort.input().as_ref()).is_none() {
            return Ok(Transformed::no(node));
        }
        match sort.input().try_pushdown_sort(sort.expr())? {
            SortOrderPushdownResult::Inexact { inner } => {
                let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
                Ok(Transformed::yes(node.replace_children(vec![inner], same)?))
            }
            SortOrderPushdownResult::Exact { .. } | SortOrderPushdownResult::Unsupported => {
                Ok(Transformed::no(node))
            }
        }
    })?;
    Ok(ordered.data)
}

/// Puts our settings beside those that came with the query.
pub(crate) fn settle(
    builder: &mut datafusion::execution::session_state::SessionStateBuilder,
    partitions: usize,
) {
    let ours = session::config(partitions);
    let config = builder.config().get_or_insert_default();
    let options = config.options_mut();
    options.execution = ours.options().execution.clone();
    options.optimizer = ours.options().optimizer.clone();
}

/// Refuses what no Hub of ours sends: a plan may read the rows of this node and compute, nothing
/// else. It may not read files or other nodes, and it may not write.
fn check(plan: &Arc<dyn ExecutionPlan>) -> DfResult<()> {
    plan.apply(|node| {
        let leaf = node.children().is_empty();
        let known = if leaf {
            template(node.as_ref()).is_some() || LEAVES.contains(&node.name())
        } else {
            // A sort that keeps the first rows only says so in brackets.
            let name = node.name().split('(').next().unwrap_or_default();
            NODES.contains(&name)
        };
        if !known {
            return exec_err!("a plan with {} is not run here", node.name());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

const LEAVES: [&str; 2] = ["EmptyExec", "PlaceholderRowExec"];

const NODES: [&str; 24] = [
    "AggregateExec",
    "BoundedWindowAggExec",
    "BroadcastExec",
    "BufferExec",
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
    "CrossJoinExec",
    "FilterExec",
    "GlobalLimitExec",
    "HashJoinExec",
    "InterleaveExec",
    "LocalLimitExec",
    "NestedLoopJoinExec",
    "PartialSortExec",
    "ProjectionExec",
    "RepartitionExec",
    "SortExec",
    "SortMergeJoinExec",
    "SortPreservingMergeExec",
    "SymmetricHashJoinExec",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
];

/// What recent queries cost. Bounded: the oldest is forgotten first.
#[derive(Debug, Default)]
struct Ledger(Mutex<VecDeque<(String, Arc<Meter>)>>);

impl Ledger {
    fn open(&self, id: &str) -> Arc<Meter> {
        let mut queries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, meter)) = queries.iter().find(|it| it.0 == id) {
            return Arc::clone(meter);
        }
        if queries.len() >= RECENT {
            queries.pop_front();
        }
        let meter = Arc::new(Meter::default());
        queries.push_back((id.to_owned(), Arc::clone(&meter)));
        meter
    }

    fn find(&self, id: &str) -> Option<Arc<Meter>> {
        let queries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queries.iter().find(|it| it.0 == id).map(|it| Arc::clone(&it.1))
    }
}

/// A Hub asks right after its query; this is minutes of queries.
const RECENT: usize = 1024;
