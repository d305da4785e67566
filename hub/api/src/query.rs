//! Questions, and what an answer cost.

use crate::{ApiError, Field};
use serde::{Deserialize, Deserializer, Serialize};

/// One question. Exactly one of `sql` and `filter` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueryRequest {
    /// A read-only SQL statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// The filter bar's language: `http.status >= 500 and client_ip = '10.0.0.7'`. Empty text matches every row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// With `filter`: the columns to return, of the table `traffic`; every one if empty. As a parameter: separated by commas.
    #[serde(default, deserialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// With `filter`: how many rows, newest first.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// With `filter`: no row before this, an RFC 3339 time or an age such as `15m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// With `filter`: no row from this on, an RFC 3339 time or an age such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When to stop, in milliseconds from now; the Hub's own bound holds too.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// After how many rows to stop and say `truncated`; the Hub's own bound holds too.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// The form of the answer; overrides `Accept`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// With [`Format::Ndjson`]: end with a line `{"accounting": …}`. As a parameter: `1` or `true`.
    #[serde(default, deserialize_with = "flag", skip_serializing_if = "std::ops::Not::not")]
    pub accounting: bool,
}

impl QueryRequest {
    /// Ask SQL.
    pub fn sql(sql: impl Into<String>) -> Self {
        Self { sql: Some(sql.into()), ..Self::default() }
    }

    /// Ask for the rows of `traffic` a filter matches.
    pub fn filter(filter: impl Into<String>) -> Self {
        Self { filter: Some(filter.into()), ..Self::default() }
    }
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Format {
    /// [`JsonAnswer`]: everything in one object.
    #[default]
    Json,
    /// One row a line.
    Ndjson,
    /// Comma separated values, RFC 4180.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file. If it breaks off, it is none.
    Parquet,
    /// The packets themselves: those that are the rows, or of the conversations that the rows name by `flow_id`.
    Pcapng,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow, Self::Parquet, Self::Pcapng];

    /// Its media type.
    #[must_use]
    pub const fn media(self) -> &'static str {
        match self {
            Self::Json => crate::media::JSON,
            Self::Ndjson => crate::media::NDJSON,
            Self::Csv => crate::media::CSV,
            Self::Arrow => crate::media::ARROW,
            Self::Parquet => crate::media::PARQUET,
            Self::Pcapng => crate::media::PCAPNG,
        }
    }

    /// The format with that media type.
    #[must_use]
    pub fn of_media(media: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.media().eq_ignore_ascii_case(media))
    }
}

/// An answer as one JSON object.
///
/// A time is an RFC 3339 text, a duration is nanoseconds, headers are an object of
/// lists (`{"host": ["a"]}`), and a body is text if it is UTF-8 and `{"base64": "…"}` if not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JsonAnswer {
    /// The columns, in order.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::tables::openapi::Field>))]
    pub columns: Vec<Field>,
    /// The rows, each an object with a member per column.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub rows: Vec<serde_json::Map<String, serde_json::Value>>,
    /// What it cost, and whether it is whole.
    pub accounting: Accounting,
    /// Why the rows break off, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// The last line of an answer in [`Format::Ndjson`], if it is not a row: told apart by having one member of these names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AnswerLine {
    /// What it cost; sent when asked for.
    Accounting(Accounting),
    /// The rows before this line are right, but not all there are.
    Error(ApiError),
}

/// What an answer cost, and whether it is whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Accounting {
    /// The query's id, also in the header `kubeshark-query-id` and in the logs of every node.
    pub query_id: String,
    /// From the question's arrival to the last row.
    pub elapsed_ms: u64,
    /// Rows returned.
    pub rows: u64,
    /// Rows read at the nodes to find them.
    pub rows_scanned: u64,
    /// Bytes read at the nodes, from memory and segments.
    pub bytes_scanned: u64,
    /// Bytes that travelled from the nodes to the Hub.
    pub bytes_moved: u64,
    /// The oldest time in what was asked that any node has rows of, milliseconds since 1970; each node's
    /// own stands with the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
    /// The newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_ms: Option<i64>,
    /// What was lost in the time asked about, by stage, at all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    /// Where the time went.
    #[serde(default)]
    pub stages: Stages,
    /// Every node that was asked answered all of it.
    pub complete: bool,
    /// A bound on rows or bytes cut the answer; there is more.
    pub truncated: bool,
    /// Each node asked, by name.
    pub nodes: Vec<NodeAccounting>,
    /// Why the answer breaks off, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// What one node gave to an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeAccounting {
    /// Its name.
    pub node: String,
    /// What came of it.
    pub state: NodeState,
    /// Why it failed or is missing, or why it could not give all it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Rows read there.
    pub rows_scanned: u64,
    /// Bytes read there.
    pub bytes_scanned: u64,
    /// Bytes it sent.
    pub bytes_moved: u64,
    /// Segments opened there.
    pub segments: u64,
    /// From the beginning of its first scan to the end of the last.
    #[serde(default)]
    pub elapsed_us: u64,
    /// What its scans took, summed over the streams that run at once.
    #[serde(default)]
    pub busy_us: u64,
    /// The oldest time in what was asked that its tables have a row of, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
    /// The newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_ms: Option<i64>,
    /// What it lost in the time asked about, by stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    /// Losses longer ago are not among them: there were too many to read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub losses_cut: bool,
    /// Packets it dissected because the question asked for their rows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dissected_packets: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What was lost at one stage: see the table `losses`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Loss {
    /// Where, such as `kernel` or `quota`.
    pub stage: String,
    /// How many units of that stage: packets, gaps, messages, conversations or rows.
    pub count: u64,
    /// How many bytes, as far as that is known.
    pub bytes: u64,
}

/// Where the time of a query went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stages {
    /// Until the plan ran.
    pub planning_us: u64,
    /// The scans at the node that took longest, from the first one's beginning to the last one's end.
    pub scanning_us: u64,
    /// Putting the parts together, where the question was asked.
    pub merging_us: u64,
}

/// What came of asking a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NodeState {
    /// All it had is in the answer.
    Answered,
    /// It began, then died, hung or refused; none of its rows can be relied on to be there.
    Failed,
    /// It is known but was not connected.
    #[default]
    Missing,
}

/// A list, or one text separated by commas.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Names::deserialize(deserializer)? {
        Names::List(list) => list,
        Names::Text(text) => text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// A number, or a text holding one: parameters are always text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Text(String),
        None,
    }
    match Number::deserialize(deserializer)? {
        Number::Whole(number) => Ok(Some(number)),
        Number::None => Ok(None),
        Number::Text(text) => text.trim().parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// A truth, or a text saying it.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Truth(bool),
        Text(String),
    }
    match Flag::deserialize(deserializer)? {
        Flag::Truth(flag) => Ok(flag),
        Flag::Text(text) => match text.trim() {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            other => Err(serde::de::Error::custom(format!("{other:?} is neither true nor false"))),
        },
    }
}
