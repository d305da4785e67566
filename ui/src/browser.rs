//! All that the page needs of a browser, in one place. Natively it is a browser without a network,
//! so that everything else builds and is tested as ordinary Rust.

#[cfg(not(target_arch = "wasm32"))]
mod absent;
#[cfg(target_arch = "wasm32")]
mod present;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use absent::*;
#[cfg(target_arch = "wasm32")]
pub(crate) use present::*;

/// What a request asks.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only a browser reads it"))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// Path and parameters, on the page's own origin.
    pub(crate) path: String,
    /// JSON to send; without it the request is a `GET`.
    pub(crate) json: Option<String>,
    /// What is sent takes the place of what is there, rather than asking something.
    pub(crate) is_put: bool,
    pub(crate) accept: &'static str,
}

/// What came back, whatever its status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) query_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What happens on a WebSocket.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only a browser makes it"))]
#[derive(Clone, Debug)]
pub(crate) enum SocketEvent {
    Text(String),
    Bytes(Vec<u8>),
    /// The last event: the reason given, or none if the line just broke.
    Closed(String),
}
