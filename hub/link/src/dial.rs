//! The Worker's side of the WebSocket: dial, serve, and dial again.

use crate::{
    CHUNK_BYTES, Heartbeat, MESSAGE_BYTES, Node, PIPE_BYTES, READ_BYTES, Routes,
    pipe::{self, Incoming, Message, State},
    service,
};
use bytes::Bytes;
use std::{
    hash::{BuildHasher as _, Hasher as _},
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{
    self,
    client::IntoClientRequest as _,
    http::{HeaderValue, StatusCode, header::AUTHORIZATION},
    protocol::{CloseFrame, Message as Tungstenite, WebSocketConfig, frame::coding::CloseCode},
};
use url::Url;

/// Keeps a node linked to one Hub.
#[derive(Debug)]
pub struct Dialer {
    request: tungstenite::handshake::client::Request,
    hub: Url,
    heartbeat: Heartbeat,
    state: watch::Sender<DialState>,
}

/// How it stands with the Hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DialState {
    /// The first attempt has not come back yet.
    #[default]
    Dialing,
    /// The link stands.
    Linked,
    /// It does not; the sentence says why.
    Waiting(String),
}

/// Why it makes no sense to dial.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is no address.
    #[error("{address:?} is not a Hub's address: {reason}; it looks like ws://HOST:PORT")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token cannot be sent.
    #[error("the token contains characters that a header cannot carry")]
    Token,
    /// The Hub does not want this node.
    #[error("the Hub at {hub} refused this node's token")]
    Refused {
        /// The Hub dialled.
        hub: Url,
    },
}

impl Dialer {
    /// A Hub's address such as `ws://hub:8898`, with or without scheme or the path `/worker`.
    pub fn new(address: &str, token: Option<&str>) -> Result<Self, DialError> {
        let hub = hub(address)
            .map_err(|reason| DialError::Address { address: address.to_owned(), reason })?;
        let mut request = hub.as_str().into_client_request().map_err(|error| {
            DialError::Address { address: address.to_owned(), reason: error.to_string() }
        })?;
        if let Some(token) = token {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| DialError::Token)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(Self {
            request,
            hub,
            heartbeat: Heartbeat::WORKER,
            state: watch::Sender::new(DialState::Dialing),
        })
    }

    /// Another heartbeat than [`Heartbeat::WORKER`].
    #[must_use]
    pub const fn with_heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Where it dials.
    #[must_use]
    pub const fn hub(&self) -> &Url {
        &self.hub
    }

    /// How it stands, now and at every change.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DialState> {
        self.state.subscribe()
    }

    /// Dials and serves until dropped. Returns only if the very first Hub it reaches refuses the token:
    /// later the Hub may be restarting with another one.
    pub async fn run(self, node: Arc<dyn Node>, engine: Routes) -> DialError {
        let mut attempt = 0;
        let mut linked = false;
        loop {
            let started = Instant::now();
            let reason = match self.dial().await {
                Ok(socket) => {
                    linked = true;
                    tracing::info!(hub = %self.hub, "linked to the hub");
                    self.state.send_replace(DialState::Linked);
                    let (near, far) = tokio::io::duplex(PIPE_BYTES);
                    let state = State::new();
                    service::serve(Arc::clone(&node), engine.clone(), near, Some(self.heartbeat))
                        .await;
                    pipe::pump(socket, far, Arc::clone(&state)).await;
                    state.has_ended().unwrap_or_default()
                }
                Err(Refusal::Token) if !linked => return DialError::Refused { hub: self.hub },
                Err(Refusal::Token) => "the Hub refused this node's token".to_owned(),
                Err(Refusal::Other(reason)) => reason,
            };
            if started.elapsed() > STEADY {
                attempt = 0;
            }
            let wait = backoff(attempt, std::hash::RandomState::new().build_hasher().finish());
            attempt += 1;
            tracing::warn!(hub = %self.hub, %reason, ?wait, "not linked to the hub; dialling again");
            self.state.send_replace(DialState::Waiting(reason));
            tokio::time::sleep(wait).await;
        }
    }

    async fn dial(&self) -> Result<Socket, Refusal> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES))
            .write_buffer_size(CHUNK_BYTES);
        let dialled =
            tokio_tungstenite::connect_async_with_config(self.request.clone(), Some(config), true);
        match tokio::time::timeout(DIAL, dialled).await {
            Err(_) => Err(Refusal::Other(format!("no answer from {} in {DIAL:?}", self.hub))),
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(tungstenite::Error::Http(answer))) => match answer.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Refusal::Token),
                StatusCode::NOT_FOUND => Err(Refusal::Other(format!("{} is not a Hub", self.hub))),
                status => Err(Refusal::Other(format!("{} answered {status}", self.hub))),
            },
            Ok(Err(tungstenite::Error::Io(error)))
                if error.kind() == io::ErrorKind::ConnectionRefused =>
            {
                Err(Refusal::Other(format!("nothing listens at {}", self.hub)))
            }
            Ok(Err(error)) => Err(Refusal::Other(format!("cannot reach {}: {error}", self.hub))),
        }
    }
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

enum Refusal {
    Token,
    Other(String),
}

fn hub(address: &str) -> Result<Url, String> {
    let address =
        if address.contains("://") { address.to_owned() } else { format!("ws://{address}") };
    let address = match address.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        _ => address,
    };
    let mut url = Url::parse(&address).map_err(|error| error.to_string())?;
    match url.scheme() {
        "ws" => {}
        "wss" | "https" => {
            return Err("this build has no TLS of its own, use ws:// behind a TLS proxy".to_owned());
        }
        other => return Err(format!("the scheme is {other}")),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".to_owned());
    }
    if matches!(url.path(), "" | "/") {
        url.set_path(api::route::WORKER);
    }
    Ok(url)
}

/// How long to wait before dialling again: doubling up to a bound, and somewhere in the upper half of
/// that, so that a Hub that restarts does not meet all its Workers at once.
fn backoff(attempt: u32, random: u64) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(1 << attempt.min(10)).min(LONGEST_WAIT);
    let half = whole / 2;
    let jitter = random % (half.as_millis().max(1) as u64);
    half + Duration::from_millis(jitter)
}

impl Message for Tungstenite {
    fn binary(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }

    fn close(reason: &str) -> Self {
        Self::Close(Some(CloseFrame {
            code: CloseCode::Away,
            reason: pipe::close_reason(reason).into(),
        }))
    }

    fn read(self) -> Incoming {
        match self {
            Self::Binary(bytes) => Incoming::Bytes(bytes),
            Self::Close(frame) => Incoming::Close(frame.map(|frame| frame.reason.to_string())),
            Self::Text(_) | Self::Ping(_) | Self::Pong(_) | Self::Frame(_) => Incoming::Other,
        }
    }
}

/// The longest a Hub may take to take the WebSocket.
const DIAL: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A link that stood this long was a good one: the next wait is short again.
const STEADY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_given_as_people_write_it() {
        for (given, meant) in [
            ("hub:8898", "ws://hub:8898/worker"),
            ("ws://hub:8898", "ws://hub:8898/worker"),
            ("http://hub:8898/", "ws://hub:8898/worker"),
            ("ws://hub/elsewhere", "ws://hub/elsewhere"),
            ("[::1]:8898", "ws://[::1]:8898/worker"),
        ] {
            assert_eq!(Dialer::new(given, None).unwrap().hub().as_str(), meant, "{given}");
        }
        for wrong in ["", "ftp://hub", "wss://hub", "ws://", "a b"] {
            assert!(matches!(Dialer::new(wrong, None), Err(DialError::Address { .. })), "{wrong}");
        }
        assert!(matches!(Dialer::new("hub:1", Some("a\nb")), Err(DialError::Token)));
    }

    #[test]
    fn waits_grow_to_a_bound_and_never_vanish() {
        for attempt in 0..40 {
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                let wait = backoff(attempt, random);
                assert!(wait >= FIRST_WAIT / 2 && wait <= LONGEST_WAIT, "{attempt} {wait:?}");
            }
        }
        assert!(backoff(9, 0) > backoff(0, u64::MAX));
    }
}
