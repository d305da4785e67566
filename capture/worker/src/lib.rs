//! What runs on every node: packets in, rows in the store, answers to the Hub.
//!
//! ```text
//!  tracer ─ plaintext ─▶┐
//!  source ─ packets ─▶ dissect ─ batches ─▶ segment::Store ─▶ query ─▶ link ─▶ Hub
//!                                    └────▶ Tails (live) ────────────▲
//! ```
//!
//! Packets that are not dissected as they come are when somebody asks for their rows: `demand.rs`.
//!
//! [`Worker::start`] opens store and inputs and runs the corridor on a thread of its own, without async;
//! [`Worker::node`] and [`Worker::engine`] are what a Hub sees of it, over a socket ([`serve`]) or in the
//! same process.

mod config;
mod coverage;
mod demand;
mod error;
mod mode;
mod names;
mod node;
mod packets;
mod pipeline;
mod processes;
mod progress;
mod state;
mod tails;
mod worker;

pub use api::Dissection;
pub use config::{Config, DissectionConfig, Hub, Inputs, TracingConfig};
pub use dissect::{Keep, Limits, Secrets};
pub use error::Error;
pub use node::serve;
pub use progress::Progress;
pub use segment::{Bucket, Layout, Options as StoreOptions};
pub use source::{LiveConfig, Way};
pub use worker::{Import, Worker};
