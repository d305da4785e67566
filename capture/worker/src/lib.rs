//! What runs on every node: packets in, rows in the store, answers to the Hub.
//!
//! ```text
//!  source ─ packets ─▶ dissect ─ batches ─▶ segment::Store ─▶ query ─▶ link ─▶ Hub
//!                                    └────▶ Tails (live) ────────────▲
//! ```
//!
//! [`Worker::start`] opens store and inputs and runs the corridor on a thread of its own, without async;
//! [`Worker::node`] and [`Worker::engine`] are what a Hub sees of it, over a socket ([`serve`]) or in the
//! same process.

mod config;
mod error;
mod node;
mod pipeline;
mod progress;
mod state;
mod tails;
mod worker;

pub use config::{Config, Hub, Inputs};
pub use dissect::{Keep, Limits};
pub use error::Error;
pub use node::serve;
pub use progress::Progress;
pub use segment::Options as StoreOptions;
pub use source::LiveConfig;
pub use worker::{Import, Worker};
