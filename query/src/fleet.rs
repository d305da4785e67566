//! A Hub's side: one plan over the rows of many nodes.
//!
//! Every scan is pinned to the nodes that have the rows: each gets the same part of the plan, with
//! filters, projections, limits and partial aggregates in it, and puts its own rows under it. What
//! lies above the first exchange runs on the Hub. A node that fails or hangs is left out and
//! named; the engine underneath would fail the query. The Hub is one place more, with tables of its own.
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as DfResult, exec_datafusion_err, exec_err};
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion_distributed::{
    BroadcastExec, ChannelResolver, CoordinatorToWorkerMsg, DesiredTaskCountEvent,
    DesiredTaskCountEventResponse, DistributedExt, DistributedLeafExec, ExecuteTaskRequest,
    GetWorkerInfoRequest, GetWorkerInfoResponse, MaybeEncoded, NetworkBoundaryExt,
    NetworkCoalesceExec, RouteTasksEvent, RouteTasksEventResponse, ScaleUpLeafNodeEvent,
    ScaleUpLeafNodeEventResponse, SessionStateBuilderExt, SetPlanRequest, Worker, WorkerChannel,
    WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext, WorkerResolver,
    WorkerToCoordinatorMsg, grpc,
};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue};
use schema::Table;
use url::Url;

use crate::error::{about_the_question, plain};
use crate::node::{NodeAccounting, QUERY, RIGHTS, settle};
use crate::rights::Rights;
use crate::scan::{Meter, Source, bind};
use crate::session;
use crate::table::{narrow, template};
use crate::tables::Tables;
use crate::wire::{self, Moved};

/// How a Hub reaches a node: a gRPC channel to the server that has its [`crate::node::Service`].
pub use datafusion_distributed::grpc::BoxCloneSyncChannel as Channel;

/// A node that is connected now.
#[derive(Clone)]
pub struct Member {
    /// Its name, by which answers name it.
    pub node: String,
    /// How to reach it.
    pub channel: Channel,
    /// The [`crate::version`] it runs. Plans are understood by the same version only.
    pub version: String,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Member");
        f.field("node", &self.node).field("version", &self.version).finish_non_exhaustive()
    }
}

/// Asks a node what a query cost there: [`crate::node::Service::accounting`] over the wire.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// What the query cost at that node; `None` if it doesn't say.
    async fn accounting(&self, node: &str, query_id: &str) -> Option<NodeAccounting>;
}

/// Tables of the Hub itself: what it knows and no node does. Their rows are made when they are asked
/// for, so that a row may change as long as it is known.
pub trait Own: fmt::Debug + Send + Sync {
    /// The tables. No node has one of the same name.
    fn tables(&self) -> &[Table];

    /// All rows of one at this moment; nothing if there is no such table.
    fn rows(&self, table: &str) -> Option<RecordBatch>;
}

/// The nodes to ask, as they are now, and the tables they have.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) members: Arc<Vec<Member>>,
    pub(crate) tables: Tables,
    pub(crate) accounts: Option<Arc<dyn Accounts>>,
    pub(crate) own: Option<Arc<dyn Own>>,
    /// What whoever asks may see.
    pub(crate) rights: Arc<Rights>,
}

impl Fleet {
    /// Those members. `accounts` asks them for their costs after a query.
    pub fn new(members: Vec<Member>, tables: Tables, accounts: Option<Arc<dyn Accounts>>) -> Self {
        let rights = Arc::new(Rights::all());
        Self { members: Arc::new(members), tables, accounts, own: None, rights }
    }

    /// The same for an asker who may see no more than that.
    #[must_use]
    pub fn for_whom(self, rights: Arc<Rights>) -> Self {
        Self { rights, ..self }
    }

    /// The same with tables of the Hub's own, which are among those that it was made with.
    #[must_use]
    pub fn with_own(self, own: Arc<dyn Own>) -> Self {
        Self { own: Some(own), ..self }
    }

    /// Whether the table is the Hub's own.
    pub(crate) fn is_own(&self, table: &str) -> bool {
        self.own.as_ref().is_some_and(|it| it.tables().iter().any(|it| it.name == table))
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("members", &self.members).finish_non_exhaustive()
    }
}

/// A session whose plans run over `members`; its plans are of use for one query only.
pub(crate) fn state(
    members: &[Member],
    (own, rights): (Option<&Arc<dyn Own>>, &Arc<Rights>),
    track: &Arc<Track>,
    query_id: &str,
    partitions: usize,
    runtime: Arc<RuntimeEnv>,
    metrics: bool,
) -> DfResult<SessionState> {
    let hub = Url::parse(HUB).map_err(|it| exec_datafusion_err!("{it}"))?;
    let mut urls = Vec::with_capacity(members.len() + 1);
    for i in 0..members.len() {
        let url = Url::parse(&format!("http://n{i}.fleet/"));
        urls.push(url.map_err(|it| exec_datafusion_err!("{it}"))?);
    }
    let channels = members.iter().map(|it| it.channel.clone());
    let channels = urls.iter().cloned().zip(channels).collect();
    let directory = Directory {
        hub: hub.clone(),
        channels: Arc::new(channels),
        track: Arc::clone(track),
        plans: Arc::default(),
    };
    // The Hub is one of the places, with rows of its own tables or with none: a boundary between one
    // task and one task would be left out, and the scan would run here.
    urls.push(hub.clone());
    let urls: Arc<[Url]> = urls.into();

    let (nested, own, may) = (directory.clone(), own.cloned(), Arc::clone(rights));
    let local = Worker::from_session_builder(move |context: WorkerQueryContext| {
        let (nested, own, may) = (nested.clone(), own.clone(), Arc::clone(&may));
        async move {
            let mut builder = context.builder;
            settle(&mut builder, partitions);
            let builder = builder
                .with_distributed_channel_resolver(nested)
                .with_distributed_worker_plan_rewrite_handler(
                move |event: WorkerPlanRewriteEvent<'_>| -> DfResult<WorkerPlanRewriteEventResponse> {
                    let own = Source::own(own.as_ref());
                    let plan = bind(event.plan, own, &Arc::new(Meter::default()), &may)?;
                    Ok(WorkerPlanRewriteEventResponse::new(plan))
                },
            );
            Ok(session::state(builder))
        }
    })
    .with_runtime_env(Arc::clone(&runtime));

    let mut headers = HeaderMap::new();
    let id = HeaderValue::from_str(query_id).map_err(|it| exec_datafusion_err!("{it}"))?;
    headers.insert(QUERY, id);
    let may = HeaderValue::from_str(&rights.to_text());
    headers.insert(RIGHTS, may.map_err(|it| exec_datafusion_err!("{it}"))?);
    let builder = SessionStateBuilder::new()
        .with_config(session::config(partitions))
        .with_runtime_env(runtime)
        .with_distributed_worker_resolver(directory.clone())
        .with_distributed_channel_resolver(directory)
        .with_distributed_planner()
        .with_distributed_desired_task_count_handler(desired(urls.len()))
        .with_distributed_scale_up_leaf_node_handler(scale_up(urls.len()))
        .with_distributed_route_tasks_handler(route(hub.clone(), urls))
        // Else a union gives each of its inputs to some of the nodes only.
        .with_distributed_children_isolator_unions(false)?
        .with_distributed_metrics_collection(metrics)?
        // A node sends each group once, not once for each of its streams.
        .with_distributed_partial_reduce(true)?
        // All that is sent is compressed, rows as well: see `wire`.
        .with_distributed_compression(None)?
        .with_distributed_passthrough_headers(headers)?
        .with_distributed_local_worker_context(local.to_local_worker_context(hub));
    Ok(session::state(builder))
}

/// Scans run everywhere; what stands above an exchange runs once.
fn desired(
    places: usize,
) -> impl Fn(DesiredTaskCountEvent<'_>) -> Option<DfResult<DesiredTaskCountEventResponse>> {
    move |event| {
        if template(event.plan.as_ref()).is_some() {
            return Some(Ok(DesiredTaskCountEventResponse::desired(places)));
        }
        let above = event.plan.children().into_iter().try_fold(false, |above, child| {
            Ok::<_, DataFusionError>(above || child.exists(|it| Ok(is_exchange(it)))?)
        });
        match above {
            Ok(true) => Some(Ok(DesiredTaskCountEventResponse::maximum(1))),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

fn is_exchange(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let hash = plan
        .downcast_ref::<RepartitionExec>()
        .is_some_and(|it| matches!(it.partitioning(), Partitioning::Hash(..)));
    hash || plan.is::<BroadcastExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is_network_boundary()
}

/// One scan becomes one for each place.
fn scale_up(
    places: usize,
) -> impl Fn(ScaleUpLeafNodeEvent<'_>) -> Option<DfResult<ScaleUpLeafNodeEventResponse>> {
    move |event| {
        let config = template(event.plan.as_ref())?;
        let everywhere = || -> DfResult<Arc<dyn ExecutionPlan>> {
            let scan = narrow(config)?;
            let variants = std::iter::repeat_n(Arc::clone(&scan), places);
            let leaf = Arc::new(DistributedLeafExec::try_new(scan, variants)?);
            if event.task_count == places {
                return Ok(leaf);
            }
            if event.task_count == 1 {
                // A neighbour can run only once (VALUES, a join that collects one side): the
                // exchange goes right above the scan.
                return Ok(Arc::new(NetworkCoalesceExec::try_new(leaf, places, 1)?));
            }
            exec_err!("a scan over {places} places in {} tasks", event.task_count)
        };
        Some(everywhere().map(ScaleUpLeafNodeEventResponse::new))
    }
}

/// The n-th part of a scan goes to the n-th place; everything else runs on the Hub.
fn route(
    hub: Url,
    urls: Arc<[Url]>,
) -> impl Fn(RouteTasksEvent<'_>) -> Option<DfResult<RouteTasksEventResponse>> {
    move |event| {
        let mut scans = false;
        let found = event.plan.apply(|node| {
            if node.is_network_boundary() {
                return Ok(TreeNodeRecursion::Jump);
            }
            scans |= node.is::<DistributedLeafExec>();
            Ok(TreeNodeRecursion::Continue)
        });
        let to = match found {
            Err(error) => return Some(Err(error)),
            Ok(_) if scans => urls.to_vec(),
            Ok(_) => vec![hub.clone(); event.task_count],
        };
        Some(Ok(RouteTasksEventResponse::new(to)))
    }
}

/// Who is asked in one attempt, and how to reach them.
#[derive(Clone)]
struct Directory {
    hub: Url,
    channels: Arc<Vec<(Url, Channel)>>,
    track: Arc<Track>,
    plans: Arc<Plans>,
}

impl Directory {
    /// The node of that URL, by the number in it.
    fn place(&self, url: &Url) -> Option<(usize, &Channel)> {
        let i = url.host_str()?.strip_prefix('n')?.strip_suffix(".fleet")?.parse().ok()?;
        Some((i, &self.channels.get(i).filter(|it| it.0 == *url)?.1))
    }
}

/// The parts of a plan as they are sent. Every node gets the same part of a stage, so that it is
/// encoded once, not a thousand times.
#[derive(Default)]
struct Plans(Mutex<HashMap<usize, Arc<[u8]>>>);

impl Plans {
    fn encode(
        &self,
        stage: usize,
        plan: MaybeEncoded<Arc<dyn ExecutionPlan>>,
        context: &Arc<TaskContext>,
    ) -> DfResult<MaybeEncoded<Arc<dyn ExecutionPlan>>> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plans.get(&stage) {
            return Ok(MaybeEncoded::Encoded(known.to_vec()));
        }
        let encoded = plan.encode(context)?;
        plans.insert(stage, encoded.as_slice().into());
        Ok(MaybeEncoded::Encoded(encoded))
    }
}

impl WorkerResolver for Directory {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        let nodes = self.channels.iter().map(|it| it.0.clone());
        Ok(nodes.chain([self.hub.clone()]).collect())
    }
}

#[async_trait]
impl ChannelResolver for Directory {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        let Some((i, channel)) = self.place(url) else {
            return exec_err!("{url} is not part of this query");
        };
        let moved = self.track.nodes.get(i).map(|it| Arc::clone(&it.moved));
        let channel = wire::channel(channel.clone(), moved.unwrap_or_default());
        let inner = grpc::create_worker_client(channel);
        let (track, plans) = (Arc::clone(&self.track), Arc::clone(&self.plans));
        Ok(Box::new(Tracked { inner, i, track, plans }))
    }
}

/// What each node of an attempt is doing, as seen from here.
#[derive(Debug)]
pub(crate) struct Track {
    nodes: Vec<NodeTrack>,
}

#[derive(Debug, Default)]
struct NodeTrack {
    /// Calls and streams on which the Hub waits for the node right now.
    waiting: AtomicUsize,
    /// Streams of rows that have not come to their end; none yet if there was none.
    open: Mutex<Option<usize>>,
    failed: Mutex<Option<String>>,
    moved: Moved,
}

impl Track {
    pub(crate) fn new(nodes: usize) -> Arc<Self> {
        Arc::new(Self { nodes: (0..nodes).map(|_| NodeTrack::default()).collect() })
    }

    /// The nodes the Hub waits for. One whose rows the Hub has not asked for yet is not among
    /// them: a join reads one side first.
    pub(crate) fn waiting(&self) -> Vec<usize> {
        let all = self.nodes.iter().enumerate();
        all.filter(|it| it.1.waiting.load(Relaxed) > 0).map(|it| it.0).collect()
    }

    /// The nodes whose rows have not all come.
    pub(crate) fn unfinished(&self) -> Vec<usize> {
        let open = |it: &NodeTrack| *it.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.nodes.iter().enumerate();
        all.filter(|it| open(it.1) != Some(0)).map(|it| it.0).collect()
    }

    /// The nodes that failed, and why.
    pub(crate) fn failed(&self) -> Vec<(usize, String)> {
        let reason =
            |it: &NodeTrack| it.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.nodes.iter().enumerate().filter_map(|(i, it)| Some((i, reason(it)?))).collect()
    }

    /// Bytes moved between the Hub and that node.
    pub(crate) fn moved(&self, i: usize) -> u64 {
        self.nodes.get(i).map_or(0, |it| it.moved.load(Relaxed))
    }

    fn fail(&self, i: usize, error: &DataFusionError) {
        let Some(node) = self.nodes.get(i) else { return };
        let mut failed = node.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert_with(|| plain(error));
    }

    fn begin(&self, i: usize, streams: usize) {
        let Some(node) = self.nodes.get(i) else { return };
        let mut open = node.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = Some(open.unwrap_or_default() + streams);
    }

    fn end(&self, i: usize) {
        let Some(node) = self.nodes.get(i) else { return };
        let mut open = node.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.map(|it| it.saturating_sub(1));
    }

    fn wait(&self, i: usize) {
        if let Some(it) = self.nodes.get(i) {
            it.waiting.fetch_add(1, Relaxed);
        }
    }

    fn proceed(&self, i: usize) {
        if let Some(it) = self.nodes.get(i) {
            it.waiting.fetch_sub(1, Relaxed);
        }
    }
}

/// A node's channel that notes whom the Hub waits for, who failed, and how much was moved.
struct Tracked {
    inner: Box<dyn WorkerChannel>,
    i: usize,
    track: Arc<Track>,
    plans: Arc<Plans>,
}

#[async_trait]
impl WorkerChannel for Tracked {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        mut set_plan_request: SetPlanRequest,
        c2w_stream: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        task_ctx: &Arc<TaskContext>,
    ) -> DfResult<BoxStream<'static, DfResult<WorkerToCoordinatorMsg>>> {
        let stage = set_plan_request.task_key.stage_id;
        set_plan_request.plan = self.plans.encode(stage, set_plan_request.plan, task_ctx)?;
        let waiting = Waiting::new(&self.track, self.i);
        let opened = self
            .inner
            .coordinator_channel(headers, set_plan_request, c2w_stream, metrics, task_ctx)
            .await;
        drop(waiting);
        match opened {
            Ok(stream) => {
                let (track, i) = (Arc::clone(&self.track), self.i);
                Ok(stream
                    .inspect(move |it| {
                        if let Err(error) = it {
                            track.fail(i, error)
                        }
                    })
                    .boxed())
            }
            Err(error) => {
                self.track.fail(self.i, &error);
                Err(error)
            }
        }
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        task_ctx: &Arc<TaskContext>,
    ) -> DfResult<Vec<BoxStream<'static, DfResult<RecordBatch>>>> {
        let waiting = Waiting::new(&self.track, self.i);
        let streams = self.inner.execute_task(headers, request, metrics, task_ctx).await;
        drop(waiting);
        let streams = streams.inspect_err(|it| self.track.fail(self.i, it))?;
        self.track.begin(self.i, streams.len());
        let tracked = streams.into_iter().map(|inner| {
            TrackedRows { inner, i: self.i, track: Arc::clone(&self.track), waiting: None }.boxed()
        });
        Ok(tracked.collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> DfResult<GetWorkerInfoResponse> {
        self.inner.get_worker_info(request).await
    }
}

/// As long as it lives, the Hub waits for the node.
struct Waiting {
    i: usize,
    track: Arc<Track>,
}

impl Waiting {
    fn new(track: &Arc<Track>, i: usize) -> Self {
        track.wait(i);
        Self { i, track: Arc::clone(track) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.track.proceed(self.i);
    }
}

struct TrackedRows {
    inner: BoxStream<'static, DfResult<RecordBatch>>,
    i: usize,
    track: Arc<Track>,
    waiting: Option<Waiting>,
}

impl Stream for TrackedRows {
    type Item = DfResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.poll_next_unpin(cx);
        match &polled {
            Poll::Pending if self.waiting.is_none() => {
                self.waiting = Some(Waiting::new(&self.track, self.i));
            }
            Poll::Pending => {}
            Poll::Ready(it) => {
                self.waiting = None;
                match it {
                    Some(Err(error)) if !about_the_question(error) => {
                        self.track.fail(self.i, error);
                    }
                    Some(_) => {}
                    None => self.track.end(self.i),
                }
            }
        }
        polled
    }
}

const HUB: &str = "http://hub.fleet/";
