//! SQL that is the same for everyone who asks the Hub.

use schema::FlowId;
use serde::{Deserialize, Serialize};

/// The statement that tells how processes stand now: of whom what is said within TLS can be read. Of one pod, if that is
/// named, by its namespace and its name.
///
/// ```
/// let all = api::processes_sql(None);
/// assert_eq!(api::processes_sql(Some(("shop", "cart-1"))), all.replace(
///     "until IS NULL", "until IS NULL AND namespace = 'shop' AND pod = 'cart-1'"
/// ));
/// ```
#[must_use]
pub fn processes_sql(pod: Option<(&str, &str)>) -> String {
    let of = pod.map(|(namespace, name)| {
        format!(" AND namespace = {} AND pod = {}", quote_text(namespace), quote_text(name))
    });
    let of = of.unwrap_or_default();
    // Who runs has said so within ten minutes.
    format!(
        "SELECT * FROM (SELECT DISTINCT ON (node, pid) * FROM processes WHERE ts > now() - INTERVAL '15 minutes' \
         ORDER BY node, pid, ts DESC) WHERE until IS NULL{of} ORDER BY namespace, pod, node, name, pid LIMIT 10000"
    )
}

/// What makes a row the one it is, over all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RowKey {
    /// The table that holds the whole row: `table_name` in `traffic`, as a rule the protocol.
    pub protocol: String,
    /// Where it was seen.
    pub node: String,
    /// The conversation it belongs to.
    pub flow_id: String,
    /// Its place there.
    pub seq: u64,
}

impl RowKey {
    /// The statement that fetches the row with all its columns.
    ///
    /// ```
    /// let key = api::RowKey { protocol: "http".into(), node: "n'1".into(), flow_id: "0abc".into(), seq: 3 };
    /// assert_eq!(key.sql(), r#"SELECT * FROM "http" WHERE node = 'n''1' AND flow_id = '0abc' AND seq = 3"#);
    /// ```
    #[must_use]
    pub fn sql(&self) -> String {
        format!(
            "SELECT * FROM {} WHERE node = {} AND flow_id = {} AND seq = {}",
            quote_name(&self.protocol),
            quote_text(&self.node),
            quote_text(&self.flow_id),
            self.seq
        )
    }

    /// The statement that fetches the packets of the row's conversation; with the row's time and duration, those of
    /// that time only.
    #[must_use]
    pub fn packets_sql(&self, during: Option<(i64, i64)>) -> String {
        let (node, flow) = (quote_text(&self.node), quote_text(&self.flow_id));
        let (from, to) = match during {
            Some((ts, duration)) => (Some(ts), Some(ts.saturating_add(duration.max(0)))),
            None => (FlowId::parse(&self.flow_id).map(|it| it.began()), None),
        };
        let from = from.map(|it| format!(" AND ts >= to_timestamp_nanos({it})"));
        let to = to.map(|it| format!(" AND ts <= to_timestamp_nanos({it})"));
        format!(
            "SELECT {PACKET} FROM packets WHERE node = {node} AND flow_id = {flow}{}{} ORDER BY ts",
            from.unwrap_or_default(),
            to.unwrap_or_default()
        )
    }

    /// The statement that fetches the conversation the row belongs to, from `connections`.
    #[must_use]
    pub fn connection_sql(&self) -> String {
        format!(
            "SELECT * FROM connections WHERE node = {} AND flow_id = {}",
            quote_text(&self.node),
            quote_text(&self.flow_id)
        )
    }
}

/// Conversations whose packets are wanted. A bounded number: a statement names each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversations {
    flows: std::collections::BTreeSet<String>,
}

impl Conversations {
    /// How many may be named.
    pub const MOST: usize = 2_000;

    /// Adds one; false if there are too many.
    pub fn insert(&mut self, flow_id: &str) -> bool {
        self.flows.contains(flow_id)
            || (self.flows.len() < Self::MOST && self.flows.insert(flow_id.to_owned()))
    }

    /// The statement that fetches their packets, in the order of time. None of them was captured before the
    /// first conversation began, which its name says.
    ///
    /// ```
    /// let mut it = api::Conversations::default();
    /// it.insert("01k9x3v2m00a");
    /// let wanted = "FROM packets WHERE flow_id IN ('01k9x3v2m00a') AND ts >= to_timestamp_nanos(6886669706000000) ORDER BY ts";
    /// assert!(it.sql().ends_with(wanted), "{}", it.sql());
    /// ```
    #[must_use]
    pub fn sql(&self) -> String {
        let list: Vec<_> = self.flows.iter().map(|it| quote_text(it)).collect();
        let list = if list.is_empty() { "NULL".to_owned() } else { list.join(", ") };
        let began = self.flows.iter().map(|it| FlowId::parse(it).map(|it| it.began()));
        // One that says nothing may be of any time.
        let began = began.collect::<Option<Vec<_>>>().and_then(|it| it.into_iter().min());
        let since = began.map(|it| format!(" AND ts >= to_timestamp_nanos({it})"));
        format!(
            "SELECT {PACKET} FROM packets WHERE flow_id IN ({list}){} ORDER BY ts",
            since.unwrap_or_default()
        )
    }
}

/// The columns that a capture file is made of.
const PACKET: &str = "ts, link, interface, wire_bytes, data, flow_id, node";

/// A table's or column's name as SQL reads it.
#[must_use]
pub fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL reads it.
#[must_use]
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
