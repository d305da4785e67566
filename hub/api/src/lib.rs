//! What the Hub says: routes and JSON types, nothing else.
//!
//! The server answers with these types, the page and the command line read them. The crate knows no
//! I/O and builds for the browser.
//!
//! Two things are not JSON: rows asked for as [`media::ARROW`], and the rows of a live tail. Both are
//! one Arrow IPC stream (schema first, then record batches) whose field metadata carries `doc` and `kind`.

mod dissection;
mod error;
mod health;
mod query;
mod sql;
mod tables;
mod tail;
mod targeting;

pub use dissection::{
    Again, Dissection, DissectionChange, DissectionRequest, Dissections, NodeDissection,
};
pub use error::{ApiError, Span};
pub use health::{
    ClusterState, Health, Input, InputKind, NameState, NodeHealth, TableState, TracedLibrary,
    TracingState, WorkerState, WorkerStatus, Workers,
};
pub use query::{
    Accounting, AnswerLine, Format, JsonAnswer, Loss, NodeAccounting, NodeState, QueryRequest,
    Stages,
};
pub use schema::{Field, Kind, Table};
pub use sql::{Conversations, RowKey, processes_sql, quote_name, quote_text};
pub use tables::{Function, Functions, RefusedTable, Tables};
pub use tail::{TailRequest, TailStatus};
pub use targeting::{TargetedPod, Targeting, TargetingRequest, Targets};

/// Every address of the Hub.
pub mod route {
    /// `POST` a [`QueryRequest`](crate::QueryRequest) as JSON, or `GET` with the same names as parameters.
    pub const QUERY: &str = "/api/query";
    /// `GET` the [`Accounting`](crate::Accounting) of a finished query; `{id}` is its [`header::QUERY_ID`](crate::header::QUERY_ID).
    pub const ACCOUNTING: &str = "/api/queries/{id}";
    /// `GET ?filter=`: is this a filter? 204, or 400 with an [`ApiError`](crate::ApiError) saying where it is wrong.
    pub const CHECK: &str = "/api/check";
    /// WebSocket: a live tail. See [`TailRequest`](crate::TailRequest).
    pub const TAIL: &str = "/api/tail";
    /// `GET` the [`Tables`](crate::Tables) that can be asked.
    pub const TABLES: &str = "/api/tables";
    /// `GET` the [`Functions`](crate::Functions) that a statement may call.
    pub const FUNCTIONS: &str = "/api/functions";
    /// `GET` the [`Workers`](crate::Workers) and how they do.
    pub const WORKERS: &str = "/api/workers";
    /// `GET` the [`Dissections`](crate::Dissections), or change them: `PUT` a [`DissectionRequest`](crate::DissectionRequest).
    pub const DISSECTION: &str = "/api/dissection";
    /// `GET` the [`Targets`](crate::Targets): whose traffic is kept. `PUT` a [`TargetingRequest`](crate::TargetingRequest)
    /// to change it, or to be told what that would mean.
    pub const TARGETING: &str = "/api/targeting";
    /// `GET` the Hub's own [`Health`](crate::Health).
    pub const HEALTH: &str = "/api/health";
    /// `GET` the OpenAPI description of all this.
    pub const OPENAPI: &str = "/api/openapi.json";
    /// `GET` metrics in Prometheus' text format.
    pub const METRICS: &str = "/metrics";
    /// WebSocket: the link a Worker dials.
    pub const WORKER: &str = "/worker";

    /// The address of one query's accounting.
    #[must_use]
    pub fn accounting(id: &str) -> String {
        ACCOUNTING.replace("{id}", id)
    }
}

/// Media types of an answer, for `Accept`.
pub mod media {
    /// One JSON object a line.
    pub const NDJSON: &str = "application/x-ndjson";
    /// One [`JsonAnswer`](crate::JsonAnswer).
    pub const JSON: &str = "application/json";
    /// Comma separated, with a header line.
    pub const CSV: &str = "text/csv";
    /// An Arrow IPC stream.
    pub const ARROW: &str = "application/vnd.apache.arrow.stream";
    /// A Parquet file.
    pub const PARQUET: &str = "application/vnd.apache.parquet";
    /// A capture file.
    pub const PCAPNG: &str = "application/x-pcapng";
}

/// Header names.
pub mod header {
    /// On every answer of [`route::QUERY`](crate::route::QUERY): the id under which its accounting is kept.
    pub const QUERY_ID: &str = "kubeshark-query-id";
}

#[cfg(test)]
mod tests;
