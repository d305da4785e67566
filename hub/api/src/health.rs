//! How the Hub and its Workers do. Times are milliseconds since 1970, UTC.

use crate::{ApiError, Dissection};
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
    /// How the Kubernetes cluster is known, if it is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterState>,
}

/// How a Kubernetes cluster is known, whose pods and Services are named in rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterState {
    /// All was listed once, so that names can be told to Workers.
    pub ready: bool,
    /// Pods that have an address.
    pub pods: u64,
    /// Services.
    pub services: u64,
    /// Of those, the ones whose traffic is kept, if not that of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tapped: Option<u64>,
    /// What is wrong with the settings: those before are in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// Addresses behind Services.
    pub endpoints: u64,
    /// Nodes.
    pub nodes: u64,
    /// Events that are known.
    pub events: u64,
    /// Objects and events that are gone and not known any more: there were too many, or it was too long ago.
    pub forgotten: u64,
    /// Since when names may be out of date, as the API server does not tell what changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since_ms: Option<i64>,
    /// What is not told, and why: one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a Worker knows of a cluster's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NameState {
    /// Pods, Services, endpoints and nodes, those gone lately included.
    pub objects: u64,
    /// Those gone long ago that were forgotten to have room.
    pub forgotten: u64,
    /// Those not taken, for want of room or because they make no sense.
    pub refused: u64,
    /// Since when names may be out of date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since_ms: Option<i64>,
}

/// What a Worker reads in processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TracingState {
    /// Why nothing is read, or not all that could be: one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Cgroups whose processes are read.
    pub cgroups: u64,
    /// Reads and writes of those processes in their TLS libraries.
    pub calls: u64,
    /// Bytes of plaintext that were read.
    pub bytes: u64,
    /// Bytes of plaintext that were not.
    pub lost_bytes: u64,
    /// The TLS libraries of those processes.
    pub libraries: Vec<TracedLibrary>,
}

/// A file whose functions processes call to read and write within TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TracedLibrary {
    /// Its path, in its processes' file system.
    pub path: String,
    /// `openssl` (and its kin), `gnutls` or `go`.
    pub kind: String,
    /// How many of the processes have it loaded.
    pub processes: u64,
    /// Why it can't be read, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
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
    /// Packets of which nothing was kept, as they are nobody's whose traffic is to be.
    pub left_out: u64,
    /// Packets that were captured before, on another interface or before an address was translated: nothing more of them
    /// was kept.
    pub copies: u64,
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
    /// When it dissects packets.
    pub dissection: Dissection,
    /// What it knows of the cluster's names, if a Hub told it of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<NameState>,
    /// What it reads in processes, if it was told to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingState>,
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
    /// How an interface's packets are got from the kernel: `ring` or `libpcap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
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
