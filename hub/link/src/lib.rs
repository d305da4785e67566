//! The link between a Worker and its Hub.
//!
//! The Worker dials `ws://HUB/worker`, or `wss://` where both sides have certificates ([`Certificates`]), so that only the
//! Hub needs an address. The WebSocket is a pipe
//! of bytes and nothing more; on it runs one HTTP/2 connection with the Hub as the client and the
//! Worker as the gRPC server, so multiplexing, flow control and cancellation come from HTTP/2. A Worker
//! in the Hub's own process uses the same connection over memory ([`attach`]).
//!
//! Two services answer on it: the query engine's, which the Worker hands in as [`tonic::service::Routes`],
//! and Arrow Flight for everything else, which this crate makes of whatever implements [`Node`]:
//!
//! | Flight call | what |
//! |---|---|
//! | `DoAction` `hello` | the node's name, version and tables |
//! | `DoAction` `health` | counters, inputs, tables' extents |
//! | `DoAction` `accounting` | what the node did for a query, and whether it still does |
//! | `DoGet` with a tail as ticket | the live tail: Arrow batches until the Hub drops it |
//!
//! ```text
//!  Hub: Client ── tonic Channel ── End ══ WebSocket or memory ══ tonic Server ── Node, engine :Worker
//! ```

mod accept;
mod client;
mod dial;
mod doors;
mod node;
mod pipe;
mod service;
mod tls;

pub use accept::{accept, attach, attach_with, over};
pub use client::{CallError, Client, Traffic};
pub use dial::{DialError, DialState, Dialer};
pub use doors::{Doors, Peer, Socket};
pub use node::{Hello, Node, Tail, Work};
pub use service::{compact, serve};
pub use tls::{BadCertificates, Certificates};
pub use tonic::{service::Routes, transport::Channel};

use std::time::Duration;

/// How long nobody may be silent. A stopped process still holds its sockets, so only this finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// How often the other side is asked, when nothing else arrives.
    pub every: Duration,
    /// How long it may take to answer.
    pub patience: Duration,
}

impl Heartbeat {
    /// The Hub's for its Workers: a hung one is noticed within three seconds.
    pub const HUB: Self =
        Self { every: Duration::from_millis(900), patience: Duration::from_millis(1_900) };
    /// A Worker's for its Hub: it has nobody else to turn to, so it waits longer before it dials again.
    pub const WORKER: Self =
        Self { every: Duration::from_secs(3), patience: Duration::from_secs(6) };
}

/// Bytes one stream may have on the way: enough for a batch of rows without waiting for the window.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes all streams of a link may have on the way: bounds the Hub's memory per Worker.
const LINK_WINDOW: u32 = 16 << 20;
/// Bytes between HTTP/2 and the socket, each way.
const PIPE_BYTES: usize = 256 << 10;
/// The largest piece put into one WebSocket message.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes a WebSocket reads at a time: held per link, also by one that is idle.
const READ_BYTES: usize = 16 << 10;
/// The largest WebSocket message taken: a few pieces, so that another version may choose larger ones.
const MESSAGE_BYTES: usize = 1 << 20;
/// Headers of one call: what an asker may see of thousands of namespaces stands there.
const HEADER_BYTES: u32 = 1 << 20;
/// Calls at once on one link.
const STREAMS: u32 = 1_024;
