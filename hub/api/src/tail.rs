//! Live tails.

use crate::ApiError;
use serde::{Deserialize, Serialize};

/// Begins a live tail: the first and only message the client sends on [`route::TAIL`](crate::route::TAIL), as text.
///
/// The Hub answers with binary messages, the parts of one Arrow IPC stream (its schema first, then record
/// batches, at least every 50 ms while rows arrive), and with text messages, each a [`TailStatus`].
/// A row has the columns of `traffic`; all its columns are fetched with [`RowKey::sql`](crate::RowKey::sql).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TailRequest {
    /// The same filter as in a query; empty text lets everything through.
    #[serde(default)]
    pub filter: String,
}

/// What the Hub says about a tail, between its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TailStatus {
    /// The filter was understood and these nodes were asked.
    Started {
        /// By name.
        nodes: Vec<String>,
    },
    /// Sent every second.
    Rate {
        /// Rows that matched in the last second, sent or skipped.
        rows_per_s: f64,
        /// Rows that matched since the start.
        rows: u64,
        /// Of those, rows left out since the start because the client or a node could not keep up.
        skipped: u64,
    },
    /// A node joined, or came back.
    NodeJoined {
        /// Its name.
        node: String,
    },
    /// A node's rows stopped coming.
    NodeGone {
        /// Its name.
        node: String,
        /// Why, one sentence.
        reason: String,
    },
    /// The tail ends here; with the place in the filter if that is wrong.
    Error(ApiError),
}
