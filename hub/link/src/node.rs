//! What a Worker is to its Hub, besides the query engine.

use api::{ApiError, DissectionChange, Loss, NodeDissection, NodeHealth, Table, TailRequest};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

/// What a Worker is to its Hub, besides the query engine.
#[async_trait::async_trait]
pub trait Node: Send + Sync + 'static {
    /// Who it is. Asked once per link.
    async fn hello(&self) -> Hello;

    /// How it does. Asked every second or so.
    async fn health(&self) -> NodeHealth;

    /// What it did for a query; nothing if it does not know the query.
    async fn accounting(&self, query_id: &str) -> Option<Work>;

    /// Changes when it dissects packets, and says how that stands. Without a change it only says so.
    async fn dissection(&self, change: DissectionChange) -> Result<NodeDissection, ApiError> {
        let DissectionChange { mode, again } = change;
        match (mode, again) {
            (None, None) => Ok(NodeDissection::default()),
            _ => Err(ApiError::new("this node does not dissect packets")),
        }
    }

    /// Takes what the Hub knows of the cluster: updates come in order, one after the other. False if it
    /// has no use for them.
    async fn identity(&self, update: identity::Update) -> bool {
        drop(update);
        false
    }

    /// Rows from now on that match, as far as the asker may see them; the error says where the filter is wrong. What
    /// `rights` says is between the Hub's query engine and the node's.
    async fn tail(&self, request: TailRequest, rights: &str) -> Result<Tail, ApiError>;
}

/// Who a node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Its name: rows carry it in the column `node`.
    pub node: String,
    /// Its version, which is its query engine's too: plans are understood between equal ones only.
    pub version: String,
    /// Its tables with their docs, not the views over them.
    pub tables: Vec<Table>,
}

/// What a node did for one query, so far or in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// Rows read.
    pub rows_scanned: u64,
    /// Bytes read, from memory and segments.
    pub bytes_scanned: u64,
    /// Segments opened.
    pub segments: u64,
    /// From the beginning of the first scan to the end of the last, in microseconds.
    pub elapsed_us: u64,
    /// What the scans took, summed over their streams, in microseconds.
    pub busy_us: u64,
    /// The oldest time in what was asked that there are rows of, nanoseconds since 1970.
    pub oldest: Option<i64>,
    /// The newest.
    pub newest: Option<i64>,
    /// What was lost in the time that was asked about, by stage.
    pub losses: Vec<Loss>,
    /// Whether losses longer ago are not among them.
    pub losses_cut: bool,
    /// Packets dissected because the query asked for their rows.
    pub dissected_packets: u64,
    /// Why rows are lacking that could be made of packets, if they are.
    pub lacks: Option<String>,
    /// Parts of the query that still run here; a cancelled query comes to zero.
    pub unfinished: u64,
}

/// A live tail: rows as they come, until it is dropped.
pub struct Tail {
    /// Every batch has it.
    pub schema: SchemaRef,
    /// The rows, in batches of whatever size is at hand.
    pub rows: BoxStream<'static, Result<RecordBatch, ApiError>>,
    /// Matching rows left out so far because the reader was too slow. Written by who makes the tail.
    pub skipped: Arc<AtomicU64>,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("schema", &self.schema)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}
