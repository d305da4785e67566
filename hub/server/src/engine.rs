//! A request as a question to the query engine, and the engine's answer as the API tells it.

use crate::{
    error::Error,
    workers::{Merged, now_ms},
};
use api::{Accounting, Loss, NodeAccounting, NodeState, QueryRequest, Stages};
use arrow_cast::parse::string_to_timestamp_nanos;
use query::{
    Answer, Ask, Engine, Limits, Options, Query, Rights,
    fleet::{Accounts, Channel, Fleet, Member},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// What one query may cost, however it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of memory for sorting, grouping and joining on the Hub.
    pub memory: usize,
    /// The longest a query may take, and what it may take if it doesn't say.
    pub deadline: Duration,
    /// The most rows a query may return.
    pub max_rows: usize,
    /// The rows a query returns if it doesn't say.
    pub rows: usize,
    /// The most bytes a query may return, as they are in memory.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            deadline: Duration::from_secs(60),
            max_rows: 10_000_000,
            rows: 1_000_000,
            // More than anybody looks at; whoever wants all packets of a day asks in parts.
            bytes: 4 << 30,
        }
    }
}

/// An id no other query has had or will have: it names the query in the logs of every node.
pub(crate) fn query_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("q{:011x}-{:x}", now_ms(), NEXT.fetch_add(1, Relaxed))
}

/// Reads the request, or says what is wrong with it.
pub(crate) fn question(
    id: String,
    request: &QueryRequest,
    bounds: &Bounds,
) -> Result<Query, Error> {
    let ask = match (&request.sql, &request.filter) {
        (Some(sql), None) => {
            let only_filters = [
                ("columns", !request.columns.is_empty()),
                ("limit", request.limit.is_some()),
                ("since", request.since.is_some()),
                ("until", request.until.is_some()),
            ];
            if let Some((name, _)) = only_filters.iter().find(|(_, given)| *given) {
                return Err(Error::Request(format!(
                    "`{name}` goes with `filter`; in SQL, write it into the statement"
                )));
            }
            Ask::Sql(sql.clone())
        }
        (None, Some(filter)) => Ask::Filter {
            filter: filter.clone(),
            limit: request.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            from: request.since.as_deref().map(moment).transpose()?,
            to: request.until.as_deref().map(moment).transpose()?,
        },
        (None, None) => return Err(Error::Request("a query needs `sql` or `filter`".to_owned())),
        (Some(_), Some(_)) => {
            return Err(Error::Request(
                "a query has either `sql` or `filter`, not both".to_owned(),
            ));
        }
    };
    let rows =
        request.max_rows.map_or(bounds.rows, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
    let limits = Limits {
        memory: bounds.memory,
        deadline: request
            .deadline_ms
            .map_or(bounds.deadline, Duration::from_millis)
            .min(bounds.deadline),
        rows: rows.min(bounds.max_rows),
        bytes: bounds.bytes,
    };
    Ok(Query { id, ask, limits })
}

/// Asks everybody who can be asked.
pub(crate) async fn ask(
    merged: &Merged,
    query: Query,
    rights: &Arc<Rights>,
) -> Result<Answer, Error> {
    let nobody = merged.members.is_empty();
    if nobody && merged.own.is_none() {
        return Err(Error::NoWorkers);
    }
    let members = merged
        .members
        .iter()
        .map(|member| Member {
            node: member.node.clone(),
            channel: Channel::new(member.client.channel()),
            version: member.version.clone(),
        })
        .collect();
    let clients =
        merged.members.iter().map(|member| (member.node.clone(), member.client.clone())).collect();
    let fleet = Fleet::new(members, merged.tables.clone(), Some(Arc::new(Costs(clients))));
    let mut fleet = fleet.for_whom(Arc::clone(rights));
    if let Some(own) = &merged.own {
        fleet = fleet.with_own(Arc::clone(own));
    }
    let engine = Engine::fleet(fleet, Options::default());
    match Box::pin(engine.run(query)).await {
        // Without Workers nobody knows which tables there would be.
        Err(_) if nobody => Err(Error::NoWorkers),
        Ok(answer) if nobody && !answer.own => Err(Error::NoWorkers),
        answered => Ok(answered?),
    }
}

/// The engine's accounting as the API tells it.
#[must_use]
pub fn accounting(engine: query::Accounting) -> Accounting {
    let nodes: Vec<NodeAccounting> = engine.nodes.into_iter().map(node).collect();
    let mut losses: BTreeMap<&str, Loss> = BTreeMap::new();
    for it in nodes.iter().flat_map(|node| &node.losses) {
        let sum = losses.entry(&it.stage).or_default();
        sum.count += it.count;
        sum.bytes += it.bytes;
    }
    let losses = losses.into_iter().map(|(stage, sum)| Loss { stage: stage.to_owned(), ..sum });
    Accounting {
        query_id: engine.query_id,
        elapsed_ms: engine.elapsed_us / 1_000,
        rows: engine.rows,
        rows_scanned: nodes.iter().map(|node| node.rows_scanned).sum(),
        bytes_scanned: nodes.iter().map(|node| node.bytes_scanned).sum(),
        bytes_moved: engine.bytes_moved,
        oldest_ms: nodes.iter().filter_map(|node| node.oldest_ms).min(),
        newest_ms: nodes.iter().filter_map(|node| node.newest_ms).max(),
        losses: losses.collect(),
        stages: Stages {
            planning_us: engine.planning_us,
            scanning_us: nodes.iter().map(|node| node.elapsed_us).max().unwrap_or_default(),
            merging_us: engine.merging_us,
        },
        complete: engine.complete,
        truncated: engine.truncated,
        nodes,
        error: None,
    }
}

fn node(it: query::NodeReport) -> NodeAccounting {
    let cost = it.cost;
    let losses = cost.losses.into_iter();
    NodeAccounting {
        node: it.node,
        state: match it.state {
            query::NodeState::Answered => NodeState::Answered,
            query::NodeState::Failed => NodeState::Failed,
            query::NodeState::Missing => NodeState::Missing,
        },
        reason: it.reason,
        rows_scanned: cost.rows_scanned,
        bytes_scanned: cost.bytes_scanned,
        bytes_moved: it.bytes_moved,
        segments: cost.segments_scanned,
        elapsed_us: cost.elapsed_us,
        busy_us: cost.busy_us,
        oldest_ms: cost.oldest.map(|ns| ns.div_euclid(1_000_000)),
        newest_ms: cost.newest.map(|ns| ns.div_euclid(1_000_000)),
        losses: losses
            .map(|it| Loss { stage: it.stage, count: it.count, bytes: it.bytes })
            .collect(),
        losses_cut: cost.losses_cut,
        dissected_packets: cost.dissected_packets,
    }
}

/// The same with the nodes that could not be asked at all. Of a node whose link ended meanwhile, the
/// link's own reason says more than that a call failed. Where only the Hub itself was asked, nobody is missed.
pub(crate) fn accounting_with(engine: query::Accounting, merged: &Merged) -> Accounting {
    let ended = |node: &str| {
        let member = merged.members.iter().find(|member| member.node == node)?;
        member.client.has_ended()
    };
    if engine.own {
        return accounting(engine);
    }
    let mut accounting = accounting(engine);
    for node in &mut accounting.nodes {
        let reason = node.reason.take();
        node.reason = reason.map(|reason| ended(&node.node).unwrap_or(reason));
    }
    for (node, reason) in &merged.missing {
        if accounting.nodes.iter().all(|known| known.node != *node) {
            accounting.nodes.push(NodeAccounting {
                node: node.clone(),
                state: NodeState::Missing,
                reason: Some(reason.clone()),
                ..NodeAccounting::default()
            });
        }
    }
    accounting.nodes.sort_by(|a, b| a.node.cmp(&b.node));
    accounting.complete &= merged.missing.is_empty();
    accounting
}

/// What a node did for a query that nobody waits for any more.
pub(crate) fn given_up(node: String, work: link::Work, reason: &str) -> NodeAccounting {
    let state = query::NodeState::Failed;
    let reason = Some(reason.to_owned());
    self::node(query::NodeReport { node, state, reason, bytes_moved: 0, cost: cost(work) })
}

/// Asks nodes what a query cost them.
struct Costs(HashMap<String, link::Client>);

#[async_trait::async_trait]
impl Accounts for Costs {
    async fn accounting(&self, node: &str, query_id: &str) -> Option<query::node::NodeAccounting> {
        let work = self.0.get(node)?.accounting(query_id).await.ok().flatten()?;
        Some(cost(work))
    }
}

fn cost(work: link::Work) -> query::node::NodeAccounting {
    let losses = work.losses.into_iter();
    query::node::NodeAccounting {
        rows_scanned: work.rows_scanned,
        bytes_scanned: work.bytes_scanned,
        segments_scanned: work.segments,
        elapsed_us: work.elapsed_us,
        busy_us: work.busy_us,
        oldest: work.oldest,
        newest: work.newest,
        losses: losses
            .map(|it| query::node::Loss { stage: it.stage, count: it.count, bytes: it.bytes })
            .collect(),
        losses_cut: work.losses_cut,
        dissected_packets: work.dissected_packets,
        lacks: work.lacks,
        finished: work.unfinished == 0,
    }
}

/// An RFC 3339 time, or an age such as `15m`, as nanoseconds since 1970.
pub(crate) fn moment(text: &str) -> Result<i64, Error> {
    let text = text.trim();
    if let Some(age) = age(text) {
        return Ok(now_ms().saturating_mul(1_000_000).saturating_sub(age));
    }
    string_to_timestamp_nanos(text).map_err(|_| {
        Error::Request(format!(
            "{text:?} is neither a time such as 2026-01-31T12:00:00Z nor an age such as 15m"
        ))
    })
}

fn age(text: &str) -> Option<i64> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit)?;
    let nanos: i64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: QueryRequest) -> Result<Query, String> {
        question("q".into(), &request, &Bounds::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_request_asks_one_thing() {
        assert!(ask(QueryRequest::default()).unwrap_err().contains("needs"));
        assert!(
            ask(QueryRequest { filter: Some(String::new()), ..QueryRequest::sql("x") })
                .unwrap_err()
                .contains("both")
        );
        let limited = QueryRequest { limit: Some(3), ..QueryRequest::sql("SELECT 1") };
        assert!(ask(limited).unwrap_err().contains("`limit`"));
    }

    #[test]
    fn nobody_gets_more_than_the_bounds() {
        let greedy = QueryRequest {
            deadline_ms: Some(u64::MAX),
            max_rows: Some(u64::MAX),
            ..QueryRequest::sql("x")
        };
        let limits = ask(greedy).unwrap().limits;
        let bounds = Bounds::default();
        assert_eq!((limits.deadline, limits.rows), (bounds.deadline, bounds.max_rows));
    }

    #[test]
    fn times_and_ages() {
        assert_eq!(moment("1970-01-01T00:00:01Z").unwrap(), 1_000_000_000);
        assert_eq!(moment("1970-01-01T01:00:00.000000001+01:00").unwrap(), 1);
        let hour = moment("1h").unwrap();
        let expected = now_ms() * 1_000_000 - 3_600_000_000_000;
        assert!((hour - expected).abs() < 5_000_000_000);
        for wrong in ["", "soon", "5x", "m", "99999999999999999d"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_differ() {
        assert_ne!(query_id(), query_id());
    }

    #[test]
    fn an_answer_without_a_known_node_is_not_complete() {
        let engine = query::Accounting {
            query_id: "q".into(),
            nodes: Vec::new(),
            rows: 0,
            bytes_moved: 0,
            elapsed_us: 0,
            planning_us: 0,
            merging_us: 0,
            complete: true,
            truncated: false,
            own: false,
        };
        assert!(accounting_with(engine.clone(), &Merged::default()).complete);
        let mut merged = Merged::default();
        merged.missing.push(("n1".into(), "hung".into()));
        let accounting = accounting_with(engine, &merged);
        assert!(!accounting.complete);
        assert_eq!(accounting.nodes[0].reason.as_deref(), Some("hung"));
    }
}
