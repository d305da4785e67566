//! No browser: requests fail, nothing is stored.

use super::{Request, Response, SocketEvent};

/// Cancels a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abort;

impl Abort {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn abort(&self) {}
}

#[allow(clippy::unused_async, reason = "the browser's is async")]
pub(crate) async fn fetch(request: Request, _: &Abort) -> Result<Response, String> {
    Err(format!("no network to ask for {}", request.path))
}

/// A WebSocket, closed when dropped.
#[derive(Debug)]
pub(crate) struct Socket;

impl Socket {
    pub(crate) fn open(
        _: &str,
        _: String,
        _: impl FnMut(SocketEvent) + 'static,
    ) -> Result<Self, String> {
        Err("no network".to_owned())
    }

    pub(crate) fn close(self) {}
}

/// Never: there is no clock to wait for.
pub(crate) async fn sleep(_: u32) {
    std::future::pending().await
}

pub(crate) fn now_ms() -> f64 {
    0.0
}

pub(crate) fn zone_secs() -> i64 {
    0
}

pub(crate) fn stored(_: &str) -> Option<String> {
    None
}

pub(crate) fn store(_: &str, _: &str) {}

pub(crate) fn remembered(_: &str) -> Option<String> {
    None
}

pub(crate) fn remember(_: &str, _: &str) {}

pub(crate) fn set_root(_: &str, _: &str) {}

pub(crate) fn cursor(_: &str) -> Option<usize> {
    None
}

pub(crate) fn set_field(_: &str, _: &str, _: usize) {}

pub(crate) fn reveal(_: &str) {}

pub(crate) fn is_hidden() -> bool {
    false
}

pub(crate) fn address() -> String {
    String::new()
}

pub(crate) fn copy(_: &str) {}

pub(crate) fn focus(_: &str) {}

pub(crate) fn scroll_to(_: &str, _: f64) {}

pub(crate) fn insert_at_cursor(_: &str, _: &str) -> Option<String> {
    None
}

pub(crate) fn save(_: &str, _: &str, _: &[u8]) {}

/// Keys pressed anywhere in the page, until dropped.
#[derive(Debug)]
pub(crate) struct Keys;

impl Keys {
    pub(crate) fn listen(_: impl FnMut(&str) -> bool + 'static) -> Self {
        Self
    }
}
