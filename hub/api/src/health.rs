//! How the Hub and its Workers do. Times are milliseconds since 1970, UTC.

use crate::ApiError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The Hub's own state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// The Hub's version.
    pub version: String,
    /// When it started.
    pub started_ms: i64,
    /// Workers connected now.
    pub workers_connected: usize,
    /// Workers known, but gone or silent.
    pub workers_gone: usize,
    /// Workers that capture now.
    pub workers_capturing: usize,
    /// Queries running now.
    pub queries_running: usize,
    /// Live tails open now.
    pub tails_open: usize,
    /// Why there is nothing to see, if so: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_because: Option<String>,
}

/// Every Worker that dialled since the Hub started, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Workers {
    /// Connected ones and those that went.
    pub workers: Vec<WorkerState>,
}

/// One Worker as the Hub sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerState {
    /// Its node's name.
    pub node: String,
    /// Its version.
    pub version: String,
    /// Is it there?
    pub status: WorkerStatus,
    /// Why it is gone or refused, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When its link was made.
    pub connected_since_ms: i64,
    /// When it was last heard of.
    pub last_heard_ms: i64,
    /// Where it dialled from; nothing if it runs in the Hub's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Bytes the link carried to the Hub.
    pub link_received_bytes: u64,
    /// Bytes the link carried to the Worker.
    pub link_sent_bytes: u64,
    /// What it said last about itself.
    pub health: NodeHealth,
}

/// Is a Worker there?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WorkerStatus {
    /// Yes, and it takes part in queries.
    Connected,
    /// Its link closed or fell silent.
    #[default]
    Gone,
}

/// What a Worker says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeHealth {
    /// Where its packets come from.
    pub inputs: Vec<Input>,
    /// Packets arrive, or could: an interface is open, or a file is being read.
    pub capturing: bool,
    /// Packets read since the start.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Packets the kernel dropped before we could read them.
    pub dropped_kernel: u64,
    /// Packets the interface or its driver dropped.
    pub dropped_interface: u64,
    /// Everything else not seen or not kept since the start, by stage: rows, packets or gaps, as the stage counts.
    pub losses: BTreeMap<String, u64>,
    /// Packets in the last second.
    pub packets_per_s: f64,
    /// Bytes in the last second.
    pub bytes_per_s: f64,
    /// Rows in the last second, of all tables.
    pub rows_per_s: f64,
    /// Conversations open now.
    pub flows: u64,
    /// Live tails it serves.
    pub tails: u64,
    /// Each table's extent.
    pub tables: Vec<TableState>,
    /// Bytes of all segments on its disk.
    pub disk_bytes: u64,
    /// Memory it uses.
    pub memory_bytes: u64,
    /// When it started.
    pub started_ms: i64,
    /// The last thing that went wrong, one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Why it has no rows, if so: one sentence and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_because: Option<String>,
}

/// One place packets come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Input {
    /// What it is.
    pub kind: InputKind,
    /// The interface's name or the file's path.
    pub name: String,
    /// The BPF filter in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// It is being read now.
    pub active: bool,
    /// Bytes of the file read so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Bytes of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Why it cannot be read, or could not be read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// What packets come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum InputKind {
    /// A network interface.
    #[default]
    Interface,
    /// A capture file.
    File,
    /// Standard input.
    Stdin,
}

/// How much of a table a node holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TableState {
    /// The table.
    pub name: String,
    /// Rows, in memory and on disk.
    pub rows: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Its segments.
    pub segments: u64,
    /// Its oldest row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
    /// Its newest row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_ms: Option<i64>,
}
