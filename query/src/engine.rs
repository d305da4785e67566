//! A question, and its answer.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use futures::future::join_all;
use futures::{Stream, StreamExt};
use segment::Store;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{Error, plain};
use crate::filter;
use crate::fleet::{self, Fleet, Member, Track};
use crate::late::Late;
use crate::node::{NodeAccounting, account};
use crate::rights::Rights;
use crate::scan::{self, Meter, Source, bind, breathe, scans_here};
use crate::session::{self, Options};
use crate::tables::Tables;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Names it, here and at the nodes.
    pub id: String,
    /// What is asked.
    pub ask: Ask,
    /// What it may cost.
    pub limits: Limits,
}

impl Query {
    /// How many rows may be told, and whether it is the asker who wants no more.
    fn most(&self) -> (u64, bool) {
        match self.ask {
            Ask::Filter { limit: Some(it), .. } if it <= self.limits.rows => (it as u64, true),
            _ => (self.limits.rows as u64, false),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// SQL that only reads.
    Sql(String),
    /// The newest exchanges that match a filter: rows of `traffic`.
    Filter {
        /// The filter; empty for every exchange.
        filter: String,
        /// How many rows at most.
        limit: Option<usize>,
        /// Only from this time on, nanoseconds since 1970.
        from: Option<i64>,
        /// Only before this time.
        to: Option<i64>,
    },
}

/// What a question may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for sorting, grouping and joining here.
    pub memory: usize,
    /// The time from the question to the last row.
    pub deadline: Duration,
    /// Rows; what is beyond is cut off, and the answer says so.
    pub rows: usize,
    /// Bytes of the answer in memory, likewise.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 256 << 20, deadline: Duration::from_secs(30), rows: 100_000, bytes: 1 << 30 }
    }
}

/// An answer: rows as they come, and in the end what they cost.
pub struct Answer {
    /// The question's id.
    pub id: String,
    /// The columns.
    pub schema: SchemaRef,
    /// The rows. Dropping them cancels the query, on every node.
    pub rows: Rows,
    /// What the answer cost and what it lacks; ready once the rows have ended.
    pub accounting: AccountingFuture,
    /// Whether no node was asked, because only tables of the Hub's own were.
    pub own: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What an answer cost, and whether it is whole.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Accounting {
    /// The question's id.
    pub query_id: String,
    /// Every node that was, or should have been, asked.
    pub nodes: Vec<NodeReport>,
    /// Rows in the answer.
    pub rows: u64,
    /// Bytes moved between the Hub and the nodes.
    pub bytes_moved: u64,
    /// From the question to the last row, in microseconds.
    pub elapsed_us: u64,
    /// What of it passed before the plan ran.
    pub planning_us: u64,
    /// What putting the nodes' parts together took here, in microseconds; of one store, all that
    /// was done with its rows.
    pub merging_us: u64,
    /// Whether every node's rows are in the answer, to the end.
    pub complete: bool,
    /// Whether rows were cut off at a limit of rows or bytes.
    pub truncated: bool,
    /// Whether no node was asked, because only tables of the Hub's own were.
    pub own: bool,
}

/// What became of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub node: String,
    /// Whether its rows are in the answer.
    pub state: NodeState,
    /// Why not, or why they are not all it could have.
    pub reason: Option<String>,
    /// Bytes moved between it and the Hub.
    pub bytes_moved: u64,
    /// What it did, and what it had to do it with.
    pub cost: NodeAccounting,
}

/// Whether a node's rows are in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// They are.
    Answered,
    /// It was asked, and failed.
    Failed,
    /// It was not asked, or did not answer in time.
    #[default]
    Missing,
}

/// Answers questions, from one store or from a fleet. Cheap to clone and to make.
#[derive(Clone, Debug)]
pub struct Engine {
    place: Place,
    options: Arc<Options>,
    /// The question that it answers is about tables of the Hub's own only.
    is_own: bool,
}

#[derive(Clone)]
enum Place {
    Local { node: String, rows: scan::Place },
    Fleet(Fleet),
}

impl Place {
    /// What whoever asks may see. Of a store of one's own that is all.
    fn rights(&self) -> Arc<Rights> {
        match self {
            Self::Local { .. } => Arc::new(Rights::all()),
            Self::Fleet(it) => Arc::clone(&it.rights),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { node, .. } => write!(f, "Local({node})"),
            Self::Fleet(it) => it.fmt(f),
        }
    }
}

impl Engine {
    /// Answers from the rows of one store, which stand in accountings as `node`'s.
    pub fn local(node: impl Into<String>, store: Store, tables: Tables, options: Options) -> Self {
        let place = Place::Local { node: node.into(), rows: scan::Place { store, tables } };
        Self { place, options: Arc::new(options), is_own: false }
    }

    /// Answers from the rows of those nodes.
    pub fn fleet(fleet: Fleet, options: Options) -> Self {
        Self { place: Place::Fleet(fleet), options: Arc::new(options), is_own: false }
    }

    /// The tables that can be asked.
    pub fn tables(&self) -> &Tables {
        match &self.place {
            Place::Local { rows, .. } => &rows.tables,
            Place::Fleet(it) => &it.tables,
        }
    }

    /// Answers a question. An error here means that there are no rows at all; one among the rows
    /// ends them.
    pub async fn run(&self, query: Query) -> Result<Answer, Error> {
        let begun = Instant::now();
        let store = match &self.place {
            Place::Local { rows, .. } => Some(&rows.store),
            Place::Fleet(_) => None,
        };
        let state = session::knowing(self.tables(), store, self.options.partitions);
        let plan = Plan::with(state, query, self.tables(), &self.options).await?;
        self.begin(plan, begun).await
    }

    /// Answers a question that was made into a plan before.
    pub async fn answer(&self, plan: Plan) -> Result<Answer, Error> {
        self.begin(plan, Instant::now()).await
    }

    async fn begin(&self, plan: Plan, begun: Instant) -> Result<Answer, Error> {
        let Plan { query, state, logical, .. } = plan;
        let deadline = begun + query.limits.deadline;
        let late = || Error::Deadline { seconds: query.limits.deadline.as_secs_f64() };
        let mut run = Run {
            engine: self.narrowed(&logical)?,
            query: query.clone(),
            begun,
            deadline,
            state,
            plan: logical,
            whole: None,
            out: BTreeMap::new(),
            moved: BTreeMap::new(),
            rows: 0,
            bytes: 0,
            most: query.most(),
            attempts: 0,
        };
        let other = |it: &&Member| it.version != crate::version();
        for member in run.engine.members().filter(other).cloned().collect::<Vec<_>>() {
            let reason =
                format!("it runs version {}, the hub {}", member.version, crate::version());
            run.out.insert(member.node.clone(), (NodeState::Missing, reason));
        }
        let first = async {
            run.fetch_late().await?;
            run.attempt().await
        };
        let attempt = timeout_at(deadline, first).await.map_err(|_| late())??;
        let schema = attempt.rows.schema();
        let (send, rows) = mpsc::channel(2);
        let (account, accounting) = oneshot::channel();
        let unheard = Accounting {
            query_id: query.id.clone(),
            nodes: Vec::new(),
            rows: 0,
            bytes_moved: 0,
            elapsed_us: 0,
            planning_us: 0,
            merging_us: 0,
            complete: false,
            truncated: false,
            own: run.engine.is_own,
        };
        let own = run.engine.is_own;
        let task = tokio::spawn(async move {
            let accounting = run.drive(attempt, send).await;
            if account.send(accounting).is_err() {
                tracing::debug!("nobody asked what the query cost");
            }
        });
        Ok(Answer {
            id: query.id,
            schema,
            own,
            rows: Rows { rows, task },
            accounting: AccountingFuture {
                inner: accounting,
                unheard: Some(unheard),
                before: None,
            },
        })
    }

    /// The same, which asks no node if the question is about the Hub's own tables only: none has rows
    /// of them, and none need be waited for.
    fn narrowed(&self, plan: &LogicalPlan) -> Result<Self, Error> {
        let is_own = match &self.place {
            Place::Fleet(fleet) if fleet.own.is_some() => {
                let tables = scanned(plan)?;
                !tables.is_empty() && tables.iter().all(|it| fleet.is_own(it))
            }
            _ => false,
        };
        Ok(Self { is_own, ..self.clone() })
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        match &self.place {
            Place::Fleet(it) if !self.is_own => it.members.iter(),
            _ => [].iter(),
        }
    }
}

/// A question that makes sense, and how it will be answered. No row was looked at for it.
#[derive(Clone, Debug)]
pub struct Plan {
    query: Query,
    tables: Tables,
    /// What it was planned with.
    state: SessionState,
    logical: LogicalPlan,
}

impl Plan {
    /// Plans the answer to a question about `tables`.
    pub async fn of(query: Query, tables: &Tables, options: &Options) -> Result<Self, Error> {
        let state = session::knowing(tables, None, options.partitions);
        Self::with(state, query, tables, options).await
    }

    async fn with(
        state: SessionState,
        query: Query,
        tables: &Tables,
        options: &Options,
    ) -> Result<Self, Error> {
        let logical = Self::logical(&state, &query, tables, options);
        let planned = timeout(query.limits.deadline, logical).await;
        let late = |_| Error::Deadline { seconds: query.limits.deadline.as_secs_f64() };
        let logical = planned.map_err(late)??;
        Ok(Self { query, tables: tables.clone(), state, logical })
    }

    /// The question.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The real tables that it reads, and the columns of each.
    pub fn reads(&self) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
        let plan = self.state.optimize(&self.logical).map_err(Error::planning)?;
        let mut reads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let visited = plan.apply_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = node else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let fields = scan.projected_schema.fields().iter().map(|it| it.name().clone());
            let filters = scan.filters.iter().flat_map(Expr::column_refs);
            let columns: BTreeSet<String> =
                fields.chain(filters.map(|it| it.name.clone())).collect();
            for table in self.tables.behind(scan.table_name.table()) {
                reads.entry(table.name.to_string()).or_default().extend(columns.iter().cloned());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        visited.map_err(Error::planning)?;
        Ok(reads)
    }

    async fn logical(
        state: &SessionState,
        query: &Query,
        tables: &Tables,
        options: &Options,
    ) -> Result<LogicalPlan, Error> {
        let partitions = options.partitions;
        let plan = match &query.ask {
            Ask::Sql(sql) => session::plan(state, tables, sql).await?,
            Ask::Filter { filter, limit, from, to } => {
                let filter = filter::parse(filter, tables)?;
                let most = query.limits.rows.saturating_add(1);
                let limit = limit.map_or(most, |it| it.min(most));
                let limit = (limit <= LIMIT_IN_PLAN).then_some(limit);
                let plan = filter.plan(partitions, limit, *from, *to);
                plan.map_err(Error::planning)?
            }
        };
        let cut = matches!(
            plan,
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
        );
        if cut || query.limits.rows > LIMIT_IN_PLAN {
            return Ok(plan);
        }
        // One more than may be told, to know whether there are more.
        let limited = LogicalPlanBuilder::from(plan).limit(0, Some(query.limits.rows + 1));
        limited.and_then(LogicalPlanBuilder::build).map_err(Error::planning)
    }
}

/// The names of the tables that a plan scans.
fn scanned(plan: &LogicalPlan) -> Result<BTreeSet<String>, Error> {
    let mut tables = BTreeSet::new();
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            tables.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map_err(Error::planning)?;
    Ok(tables)
}

/// Above this, a limit in the plan costs more than it saves: that many rows are kept in memory,
/// where a sort without a limit would spill. Rows are counted as they are told all the same.
const LIMIT_IN_PLAN: usize = 200_000;

/// A query on its way.
struct Run {
    engine: Engine,
    query: Query,
    begun: Instant,
    deadline: Instant,
    /// What the question was planned with.
    state: SessionState,
    plan: LogicalPlan,
    /// If the plan has a condition found out before: how many rows it must give, and the plan
    /// without it.
    whole: Option<(u64, LogicalPlan)>,
    /// The nodes that are left out, and why.
    out: BTreeMap<String, (NodeState, String)>,
    /// Bytes moved between the Hub and each node so far.
    moved: BTreeMap<String, u64>,
    rows: u64,
    bytes: u64,
    /// How many rows may be told, and whether it is the asker who wants no more.
    most: (u64, bool),
    attempts: usize,
}

/// One go at the query, with the nodes that are left.
struct Attempt {
    rows: SendableRecordBatchStream,
    asked: Asked,
}

/// Who is asked in an attempt, and what it costs.
struct Asked {
    id: String,
    members: Vec<Member>,
    track: Arc<Track>,
    meter: Arc<Meter>,
    begun: Instant,
    /// Nanoseconds that the stream of its rows was busy here.
    busy: Arc<AtomicU64>,
}

/// How an attempt ended.
enum End {
    /// All rows were told, or as many as may be.
    Whole {
        truncated: bool,
    },
    /// Rows were told, and then it broke off.
    Broken,
    /// No row was told yet: another attempt may do better.
    Again,
    /// Nobody wants the rows any more.
    Unwanted,
    Error(Error),
}

/// The limit at which an answer was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Rows,
    Bytes,
}

/// Bytes that the rows themselves take, without what their buffers hold of others.
fn weight(batch: &RecordBatch) -> u64 {
    let views = |views: &[u128]| {
        // A view begins with the length of its value.
        #[expect(clippy::cast_possible_truncation, reason = "these are the lower 32 bits")]
        views.iter().map(|it| 16 + u64::from(*it as u32)).sum::<u64>()
    };
    let column = |it: &ArrayRef| match it.data_type() {
        DataType::Utf8View => views(it.as_string_view().views()),
        DataType::BinaryView => views(it.as_binary_view().views()),
        _ => it.to_data().get_slice_memory_size().unwrap_or_default() as u64,
    };
    batch.columns().iter().map(column).sum()
}

/// Runs a stream in a task of its own: whoever waits for its rows must be able to stop waiting,
/// however long a step takes. The task ends when the rows are dropped. `busy` counts the
/// nanoseconds that the stream did something.
fn apart(mut rows: SendableRecordBatchStream, busy: Arc<AtomicU64>) -> SendableRecordBatchStream {
    let mut builder = RecordBatchReceiverStreamBuilder::new(rows.schema(), 1);
    let send = builder.tx();
    builder.spawn(async move {
        let mut next = std::future::poll_fn(|cx| {
            let begun = Instant::now();
            let polled = rows.poll_next_unpin(cx);
            let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            busy.fetch_add(nanos, Relaxed);
            polled
        });
        while let Some(batch) = (&mut next).await {
            if send.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    builder.build()
}

impl Run {
    async fn attempt(&mut self) -> Result<Attempt, Error> {
        self.attempts += 1;
        let id = match self.attempts {
            1 => self.query.id.clone(),
            n => format!("{}.{n}", self.query.id),
        };
        let options = &self.engine.options;
        let runtime =
            session::runtime(options, self.query.limits.memory).map_err(Error::planning)?;
        let members = self.engine.members().filter(|it| !self.out.contains_key(&it.node));
        let members: Vec<Member> = members.cloned().collect();
        let track = Track::new(members.len());
        let meter = Arc::new(Meter::default());
        let analyze = matches!(self.plan, LogicalPlan::Analyze(_));
        let (plan, task) = if members.is_empty() {
            let plan = self.state.create_physical_plan(&self.plan).await;
            let source = match &self.engine.place {
                Place::Local { rows, .. } => Source::Place(rows),
                Place::Fleet(it) => Source::own(it.own.as_ref()),
            };
            let plan = plan.map_err(Error::planning)?;
            let plan = bind(plan, source, &meter, &self.engine.place.rights());
            let plan = plan.and_then(breathe).map_err(|it| Error::running(&it))?;
            (plan, session::task(&self.state, runtime))
        } else {
            let own = match &self.engine.place {
                Place::Local { .. } => None,
                Place::Fleet(it) => it.own.as_ref(),
            };
            let own = (own, &self.engine.place.rights());
            let partitions = options.partitions;
            let state = fleet::state(&members, own, &track, &id, partitions, runtime, analyze);
            let mut state = state.map_err(Error::planning)?;
            let began = self.state.execution_props().query_execution_start_time;
            state.execution_props_mut().query_execution_start_time = began;
            let plan = state.create_physical_plan(&self.plan).await.map_err(Error::planning)?;
            if scans_here(&plan).map_err(Error::planning)? {
                return Err(Error::Failed("the plan of this query does not spread".to_owned()));
            }
            (plan, state.task_ctx())
        };
        let begun = Instant::now();
        let rows = execute_stream(plan, task).map_err(|it| Error::running(&it))?;
        let busy = Arc::new(AtomicU64::new(0));
        let rows = apart(rows, Arc::clone(&busy));
        Ok(Attempt { rows, asked: Asked { id, members, track, meter, begun, busy } })
    }

    /// If the answer is the first rows in some order, of many nodes or wide ones: finds out which rows
    /// those are, so that no others are sent whole, or held.
    async fn fetch_late(&mut self) -> Result<(), Error> {
        let nodes = self.engine.members().filter(|it| !self.out.contains_key(&it.node)).count();
        if nodes == 0 && matches!(self.engine.place, Place::Fleet(_)) {
            return Ok(());
        }
        let plan = self.state.optimize(&self.plan).map_err(Error::planning)?;
        let Some(late) = Late::new(plan, nodes).map_err(Error::planning)? else { return Ok(()) };
        let mut keys = Self {
            engine: self.engine.clone(),
            query: self.query.clone(),
            begun: self.begun,
            deadline: self.deadline,
            state: self.state.clone(),
            plan: late.keys.clone(),
            whole: None,
            out: self.out.clone(),
            moved: BTreeMap::new(),
            rows: 0,
            bytes: 0,
            most: (late.most as u64, true),
            attempts: 0,
        };
        let first = keys.attempt().await?;
        let (send, mut receive) = mpsc::channel(2);
        let ended = async {
            let ended = keys.tell_all(first, &send).await;
            drop(send);
            ended
        };
        let gathered = async {
            let mut batches = Vec::new();
            while let Some(batch) = receive.recv().await {
                batches.push(batch?);
            }
            Ok::<_, Error>(batches)
        };
        let (_, batches) = futures::join!(ended, gathered);
        let batches = batches?;
        let found = keys.rows;
        (self.out, self.moved) = (keys.out, keys.moved);
        let last = batches.iter().rev().find(|it| it.num_rows() > 0);
        let Some(last) = last.filter(|_| found == late.most as u64) else { return Ok(()) };
        let row = last.num_rows() - 1;
        let last = last.columns().iter().map(|it| ScalarValue::try_from_array(it, row));
        let last = last.collect::<Result<Vec<_>, _>>().map_err(Error::planning)?;
        let rows = late.rows(&last).map_err(Error::planning)?;
        self.whole = Some((found, std::mem::replace(&mut self.plan, rows)));
        Ok(())
    }

    /// Leaves out more nodes before another attempt. Nodes tend to go in company, and one that hangs
    /// is found out late: those whose rows had not all come are asked whether they are there, so that
    /// not each of them costs an attempt.
    async fn leave_out_the_silent(&mut self, asked: &Asked) {
        let Place::Fleet(Fleet { accounts: Some(accounts), .. }) = &self.engine.place else {
            return;
        };
        let Asked { id, members, track, .. } = asked;
        let unfinished = track.unfinished().into_iter().filter_map(|i| members.get(i));
        let asked = unfinished.filter(|it| !self.out.contains_key(&it.node)).map(|it| async {
            let answer = timeout(THERE, accounts.accounting(&it.node, id)).await;
            answer.is_err().then(|| it.node.clone())
        });
        let silent = join_all(asked).await;
        let reason = format!("no answer within {:.1} s", self.begun.elapsed().as_secs_f64());
        for node in silent.into_iter().flatten() {
            self.out.insert(node, (NodeState::Missing, reason.clone()));
        }
    }

    async fn drive(
        mut self,
        first: Attempt,
        send: mpsc::Sender<Result<RecordBatch, Error>>,
    ) -> Accounting {
        let (asked, whole, truncated) = self.tell_all(first, &send).await;
        // The rows end now; what they cost may take the nodes a moment more.
        drop(send);
        self.account(&asked, whole, truncated).await
    }

    /// Tells the rows, in as many attempts as it takes. Returns the last one, whether all rows were
    /// told, and whether some were cut off.
    async fn tell_all(
        &mut self,
        first: Attempt,
        send: &mpsc::Sender<Result<RecordBatch, Error>>,
    ) -> (Asked, bool, bool) {
        let mut attempt = first;
        let (whole, truncated) = loop {
            let end = self.tell(&mut attempt, send).await;
            for (i, member) in attempt.asked.members.iter().enumerate() {
                let moved = attempt.asked.track.moved(i);
                *self.moved.entry(member.node.clone()).or_default() += moved;
            }
            let error = match end {
                End::Again => {
                    let deadline = self.deadline;
                    let next = async {
                        self.leave_out_the_silent(&attempt.asked).await;
                        self.attempt().await
                    };
                    match timeout_at(deadline, next).await {
                        Ok(Ok(next)) => {
                            attempt = next;
                            continue;
                        }
                        Ok(Err(error)) => error,
                        Err(_) => self.late(),
                    }
                }
                End::Error(error) => error,
                End::Whole { truncated } => break (true, truncated),
                End::Broken | End::Unwanted => break (false, false),
            };
            // The reader may be slow, but it will not be waited for.
            if timeout(Duration::from_secs(1), send.send(Err(error))).await.is_err() {
                tracing::debug!(query = %self.query.id, "nobody read why the query failed");
            }
            break (false, false);
        };
        let Attempt { rows, asked } = attempt;
        drop(rows);
        (asked, whole, truncated)
    }

    /// Tells an attempt's rows. They are held back until there are many: as long as none was
    /// told, a node that fails can be left out and the others asked again.
    async fn tell(
        &mut self,
        attempt: &mut Attempt,
        send: &mpsc::Sender<Result<RecordBatch, Error>>,
    ) -> End {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let mut patience = Some(Instant::now() + remaining.mul_f64(PATIENCE));
        let mut held: Vec<RecordBatch> = Vec::new();
        let (mut held_rows, mut held_bytes) = (0, 0);
        let mut holding = true;
        let most = self.most.0;
        loop {
            let until = patience.filter(|_| holding).unwrap_or(self.deadline);
            let next = tokio::select! {
                next = timeout_at(until, attempt.rows.next()) => next,
                () = send.closed() => return End::Unwanted,
            };
            let batch = match next {
                Ok(Some(Ok(batch))) => batch,
                Ok(None) => {
                    let told = self.rows + held_rows;
                    if let Some((least, _)) = &self.whole
                        && told < *least
                        && holding
                        && let Some((_, plan)) = self.whole.take()
                    {
                        // Some of the rows that were found have expired meanwhile.
                        self.plan = plan;
                        return End::Again;
                    }
                    return match self.hand_over(&mut held, send).await {
                        Ok(cut) => End::Whole { truncated: self.is_less(cut) },
                        Err(end) => end,
                    };
                }
                Ok(Some(Err(error))) => return self.on_error(attempt, &error, holding),
                Err(_) => match self.on_silence(attempt, holding, patience.is_some()) {
                    Some(end) => return end,
                    None => {
                        patience = None;
                        continue;
                    }
                },
            };
            held_rows += batch.num_rows() as u64;
            held_bytes += batch.get_array_memory_size();
            held.push(batch);
            if self.rows + held_rows > most
                || held_rows >= HELD_ROWS
                || held_bytes >= HELD_BYTES
                || !holding
            {
                holding = false;
                held_rows = 0;
                match self.hand_over(&mut held, send).await {
                    Ok(Some(cut)) => return End::Whole { truncated: self.is_less(Some(cut)) },
                    Ok(None) => {}
                    Err(end) => return end,
                }
            }
        }
    }

    /// Hands rows over, up to the limits; says at which, if some were cut off.
    async fn hand_over(
        &mut self,
        held: &mut Vec<RecordBatch>,
        send: &mpsc::Sender<Result<RecordBatch, Error>>,
    ) -> Result<Option<Cut>, End> {
        for batch in held.drain(..) {
            let all = batch.num_rows() as u64;
            let mut rows = all.min(self.most.0.saturating_sub(self.rows));
            let mut cut = (rows < all).then_some(Cut::Rows);
            let bytes = weight(&batch);
            let left = self.query.limits.bytes.saturating_sub(self.bytes);
            if bytes > left {
                // As many as weigh that much on average.
                let fit = u128::from(all) * u128::from(left) / u128::from(bytes);
                rows = rows.min(u64::try_from(fit).unwrap_or(u64::MAX));
                cut = Some(Cut::Bytes);
            }
            let batch = batch.slice(0, usize::try_from(rows).unwrap_or(usize::MAX));
            if rows > 0 {
                match timeout_at(self.deadline, send.send(Ok(batch))).await {
                    Ok(Ok(())) => self.rows += rows,
                    Ok(Err(_)) => return Err(End::Unwanted),
                    Err(_) => return Err(End::Error(self.late())),
                }
            }
            self.bytes = self.bytes.saturating_add(bytes);
            if cut.is_some() {
                return Ok(cut);
            }
        }
        Ok(None)
    }

    /// Whether the answer has less than was asked for.
    fn is_less(&self, cut: Option<Cut>) -> bool {
        match cut {
            None => false,
            Some(Cut::Rows) => !self.most.1,
            Some(Cut::Bytes) => true,
        }
    }

    fn on_error(&mut self, attempt: &Attempt, error: &DataFusionError, holding: bool) -> End {
        let failed = attempt.asked.track.failed();
        if failed.is_empty() {
            return End::Error(Error::running(error));
        }
        for (i, reason) in failed {
            tracing::warn!(node = %attempt.asked.members[i].node, query = %attempt.asked.id, %reason, "node failed");
            self.leave_out(attempt, i, NodeState::Failed, reason);
        }
        let all = self.engine.members().all(|it| self.out.contains_key(&it.node));
        if !holding {
            End::Broken
        } else if all {
            End::Error(Error::Failed(format!("no node could answer: {}", plain(error))))
        } else if self.attempts >= ATTEMPTS {
            End::Error(Error::Failed(format!("{ATTEMPTS} attempts failed: {}", plain(error))))
        } else {
            End::Again
        }
    }

    /// Time is up: for the nodes of this attempt, if some have answered, or for the query.
    fn on_silence(&mut self, attempt: &Attempt, holding: bool, patient: bool) -> Option<End> {
        let waiting = attempt.asked.track.waiting();
        let over = Instant::now() >= self.deadline;
        let some_answered = waiting.len() < attempt.asked.members.len();
        let can_retry = holding && patient && !over && self.attempts < ATTEMPTS;
        let retry = can_retry && some_answered && !waiting.is_empty();
        if !over && !retry {
            // All are slow, or the Hub itself is: the query is heavy, not a node lost.
            return None;
        }
        let waited = self.begun.elapsed().as_secs_f64();
        for &i in &waiting {
            let reason = format!("no answer within {waited:.1} s");
            tracing::warn!(node = %attempt.asked.members[i].node, query = %attempt.asked.id, %reason, "node left out");
            self.leave_out(attempt, i, NodeState::Missing, reason);
        }
        Some(match (over, holding) {
            (false, _) => End::Again,
            (true, false) if !waiting.is_empty() => End::Broken,
            (true, _) => End::Error(self.late()),
        })
    }

    fn leave_out(&mut self, attempt: &Attempt, i: usize, state: NodeState, reason: String) {
        if let Some(it) = attempt.asked.members.get(i) {
            self.out.insert(it.node.clone(), (state, reason));
        }
    }

    fn late(&self) -> Error {
        Error::Deadline { seconds: self.query.limits.deadline.as_secs_f64() }
    }

    async fn account(&self, asked: &Asked, whole: bool, truncated: bool) -> Accounting {
        let Asked { id, members, meter, begun, busy, .. } = asked;
        let elapsed = self.begun.elapsed();
        let report =
            |node: &str, state, reason: Option<String>, cost: NodeAccounting, bytes_moved| {
                NodeReport {
                    node: node.to_owned(),
                    state,
                    reason: reason.or_else(|| cost.lacks.clone()),
                    bytes_moved,
                    cost,
                }
            };
        let mut nodes = Vec::new();
        match &self.engine.place {
            Place::Local { node, rows } => {
                let cost = account(meter, &rows.store).await;
                nodes.push(report(node, NodeState::Answered, None, cost, 0));
            }
            Place::Fleet(fleet) => {
                let costs = members.iter().map(|it| async {
                    if self.out.contains_key(&it.node) {
                        return NodeAccounting::default();
                    }
                    let Some(accounts) = &fleet.accounts else { return NodeAccounting::default() };
                    let asked = timeout(ASKING, accounts.accounting(&it.node, id)).await;
                    asked.ok().flatten().unwrap_or_default()
                });
                let costs = join_all(costs).await;
                // Once rows were told and then broke off, some of any node may be missing.
                let (state, broken) = match whole {
                    true => (NodeState::Answered, None),
                    false => (NodeState::Missing, Some("the answer broke off".to_owned())),
                };
                for (member, cost) in members.iter().zip(costs) {
                    if !self.out.contains_key(&member.node) {
                        let moved = self.moved.get(&member.node).copied().unwrap_or_default();
                        nodes.push(report(&member.node, state, broken.clone(), cost, moved));
                    }
                }
                for (node, (state, reason)) in &self.out {
                    let reason = Some(reason.clone());
                    nodes.push(report(node, *state, reason, NodeAccounting::default(), 0));
                }
                nodes.sort_by(|a, b| a.node.cmp(&b.node));
            }
        }
        Accounting {
            query_id: self.query.id.clone(),
            rows: self.rows,
            bytes_moved: nodes.iter().map(|it| it.bytes_moved).sum(),
            elapsed_us: microseconds(elapsed),
            planning_us: microseconds(begun.saturating_duration_since(self.begun)),
            merging_us: busy.load(Relaxed) / 1_000,
            complete: whole
                && nodes.iter().all(|it| it.state == NodeState::Answered && it.reason.is_none()),
            truncated,
            nodes,
            own: self.engine.is_own,
        }
    }
}

fn microseconds(it: Duration) -> u64 {
    u64::try_from(it.as_micros()).unwrap_or(u64::MAX)
}

/// Rows held back before the first is told.
const HELD_ROWS: u64 = 10_000;
/// Bytes held back before the first row is told.
const HELD_BYTES: usize = 8 << 20;
/// The part of the time left that an attempt's nodes get, as long as another can follow.
const PATIENCE: f64 = 0.5;
/// Each leaves out at least one node more; as long as there is time.
const ATTEMPTS: usize = 8;
/// How long a node may take to say that it is there, once others have failed.
const THERE: Duration = Duration::from_secs(1);
/// How long a node may take to say what a query cost.
const ASKING: Duration = Duration::from_secs(2);

/// The rows of an answer.
#[derive(Debug)]
pub struct Rows {
    rows: mpsc::Receiver<Result<RecordBatch, Error>>,
    task: JoinHandle<()>,
}

impl Stream for Rows {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rows.poll_recv(cx)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // Not once the rows have ended: then it still asks the nodes for their costs.
        if !self.rows.is_closed() {
            self.task.abort();
        }
    }
}

/// What an answer cost. Ready once the rows have ended; if they were dropped before, it says only
/// that the answer is not whole.
#[derive(Debug)]
pub struct AccountingFuture {
    inner: oneshot::Receiver<Accounting>,
    unheard: Option<Accounting>,
    before: Option<Accounting>,
}

impl AccountingFuture {
    /// The same, of an answer that was asked for because of another: it is that one's, and whole only if that one was.
    #[must_use]
    pub fn after(mut self, before: Accounting) -> Self {
        self.before = Some(before);
        self
    }

    fn told(&mut self, mut it: Accounting) -> Accounting {
        if let Some(before) = self.before.take() {
            it.query_id = before.query_id;
            it.complete &= before.complete && !before.truncated;
            it.elapsed_us += before.elapsed_us;
            it.planning_us += before.planning_us;
            it.merging_us += before.merging_us;
            it.bytes_moved += before.bytes_moved;
            for node in &mut it.nodes {
                let Some(first) = before.nodes.iter().find(|it| it.node == node.node) else {
                    continue;
                };
                node.reason = node.reason.take().or_else(|| first.reason.clone());
                node.cost.dissected_packets += first.cost.dissected_packets;
                node.cost.rows_scanned += first.cost.rows_scanned;
                node.cost.bytes_scanned += first.cost.bytes_scanned;
                node.cost.segments_scanned += first.cost.segments_scanned;
                node.bytes_moved += first.bytes_moved;
            }
            let known = it.nodes.iter().map(|it| it.node.clone()).collect::<Vec<_>>();
            it.nodes.extend(before.nodes.into_iter().filter(|it| !known.contains(&it.node)));
        }
        it
    }
}

impl Future for AccountingFuture {
    type Output = Accounting;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Accounting> {
        match Pin::new(&mut self.inner).poll(cx) {
            Poll::Ready(Ok(it)) => Poll::Ready(self.told(it)),
            Poll::Ready(Err(_)) => match self.unheard.take() {
                Some(it) => Poll::Ready(self.told(it)),
                None => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    }
}
