//! The Worker's side of the WebSocket: dial, serve, and dial again.

use crate::{
    CHUNK_BYTES, Certificates, Heartbeat, MESSAGE_BYTES, Node, PIPE_BYTES, READ_BYTES, Routes,
    doors::Socket,
    pipe::{self, Incoming, Message, State},
    service,
    tls::{self, BadCertificates},
};
use bytes::Bytes;
use std::{
    hash::{BuildHasher as _, Hasher as _},
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tokio_tungstenite::WebSocketStream;
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
    certificates: Option<Certificates>,
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
    /// What is to be shown to the Hub can't be.
    #[error(transparent)]
    Certificates(#[from] BadCertificates),
    /// The Hub does not want this node.
    #[error("the Hub at {hub} refused this node's token")]
    Refused {
        /// The Hub dialled.
        hub: Url,
    },
}

impl Dialer {
    /// A Hub's address such as `ws://hub:8899`, with or without scheme or the path `/worker`; with certificates,
    /// `wss://hub:8899`.
    pub fn new(
        address: &str,
        token: Option<&str>,
        certificates: Option<Certificates>,
    ) -> Result<Self, DialError> {
        if let Some(certificates) = &certificates {
            // They are read again at every attempt, but a mistake is told at once.
            certificates.read()?.client()?;
        }
        let hub = hub(address, certificates.is_some())
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
            certificates,
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

    async fn dial(&self) -> Result<WebSocketStream<Socket>, Refusal> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES))
            .write_buffer_size(CHUNK_BYTES);
        let dialled = async {
            let socket = self.connect().await?;
            tokio_tungstenite::client_async_with_config(self.request.clone(), socket, Some(config))
                .await
                .map_err(|error| self.refusal(error))
        };
        match tokio::time::timeout(DIAL, dialled).await {
            Err(_) => Err(Refusal::Other(format!("no answer from {} in {DIAL:?}", self.hub))),
            Ok(dialled) => dialled.map(|(socket, _)| socket),
        }
    }

    /// The connection below the WebSocket.
    async fn connect(&self) -> Result<Socket, Refusal> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                Refusal::Other(format!("nothing listens at {}", self.hub))
            }
            _ => Refusal::Other(format!("cannot reach {}: {error}", self.hub)),
        };
        let host = self.hub.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.hub.port_or_known_default().unwrap_or_default();
        let socket = TcpStream::connect((host, port)).await.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let Some(certificates) = &self.certificates else { return Ok(Socket::Plain(socket)) };
        let config = certificates
            .read()
            .and_then(|read| read.client())
            .map_err(|error| Refusal::Other(error.to_string()))?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Refusal::Other(format!("{host} is no name that a certificate has")))?;
        let stream = TlsConnector::from(config).connect(name, socket).await.map_err(|error| {
            Refusal::Other(format!("{}: {}", self.hub, tls::why(&error, "the hub")))
        })?;
        Ok(Socket::Tls(Box::new(stream.into())))
    }

    fn refusal(&self, error: tungstenite::Error) -> Refusal {
        match error {
            tungstenite::Error::Http(answer) => match answer.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Token,
                StatusCode::NOT_FOUND => Refusal::Other(format!("{} is not a Hub", self.hub)),
                StatusCode::UPGRADE_REQUIRED => Refusal::Other(format!(
                    "{} takes workers by TLS only: dial wss:// and give certificates",
                    self.hub
                )),
                status => Refusal::Other(format!("{} answered {status}", self.hub)),
            },
            // Whether it takes a certificate, a Hub says only after the handshake.
            tungstenite::Error::Io(error) if self.certificates.is_some() => {
                Refusal::Other(format!("{}: {}", self.hub, tls::why(&error, "the hub")))
            }
            error => Refusal::Other(format!("cannot reach {}: {error}", self.hub)),
        }
    }
}

enum Refusal {
    Token,
    Other(String),
}

fn hub(address: &str, certified: bool) -> Result<Url, String> {
    let usual = if certified { "wss" } else { "ws" };
    let (scheme, rest) = address.split_once("://").unwrap_or((usual, address));
    let scheme = match scheme {
        "ws" | "http" if certified => {
            return Err("ws:// is without TLS, for which certificates were given".to_owned());
        }
        "wss" | "https" if !certified => {
            return Err("TLS takes a CA, a certificate and its key".to_owned());
        }
        "http" => "ws",
        "https" => "wss",
        other => other,
    };
    let mut url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err(format!("the scheme is {}", url.scheme()));
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
            assert_eq!(Dialer::new(given, None, None).unwrap().hub().as_str(), meant, "{given}");
        }
        for wrong in ["", "ftp://hub", "wss://hub", "ws://", "a b"] {
            let wrong_address = Dialer::new(wrong, None, None);
            assert!(matches!(wrong_address, Err(DialError::Address { .. })), "{wrong}");
        }
        assert!(matches!(Dialer::new("hub:1", Some("a\nb"), None), Err(DialError::Token)));
        for (given, meant) in [("hub:1", "wss://hub:1/worker"), ("https://h/", "wss://h/worker")] {
            assert_eq!(hub(given, true).unwrap().as_str(), meant);
        }
        assert!(hub("ws://hub:1", true).is_err(), "certificates are not left unused");
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
