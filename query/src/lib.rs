//! SQL and filters over segments, here or on many nodes.
//!
//! [`Engine::local`] answers from one node's [`segment::Store`]; [`Engine::fleet`] from many nodes,
//! each of which runs a [`node::Service`]. The same plan is made for both; only where its scans
//! find their rows differs. Tables are learnt at run time ([`Tables`]): nothing here knows a
//! protocol.

mod bodies;
mod coverage;
mod engine;
mod error;
pub mod filter;
pub mod fleet;
mod functions;
pub mod kfl;
mod late;
mod names;
pub mod node;
mod rights;
mod scan;
mod session;
mod supply;
mod table;
mod tables;
mod wire;

pub use engine::{
    Accounting, AccountingFuture, Answer, Ask, Engine, Limits, NodeReport, NodeState, Plan, Query,
    Rows,
};
pub use error::Error;
pub use functions::{Function, all_functions, functions};
pub use rights::{Grant, Rights};
pub use session::Options;
pub use supply::{Supplied, Supply};
pub use tables::{COLUMNS, Conflict, TABLE_NAME, TABLES, TRAFFIC, Tables};

/// What plans depend on: only nodes of the same version understand each other's.
pub fn version() -> String {
    let engine = datafusion::DATAFUSION_VERSION;
    format!("{}+calls.{CALLS}.datafusion.{engine}", env!("CARGO_PKG_VERSION"))
}

/// Grows with what a Hub tells a node beside a plan, so that no node is asked that would not heed it. 2: what the asker
/// may see.
const CALLS: u32 = 2;
