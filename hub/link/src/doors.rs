//! The Hub's port: what comes to it by TLS is sorted from what does not.
//!
//! It stays one port, so that Workers know their own traffic by it, and whoever asks needs to know only one.

use crate::{
    Certificates,
    tls::{self, BadCertificates, Read},
};
use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsStream, rustls::ServerConfig};
use tracing::{debug, info, warn};

/// Takes connections; those by TLS only from who shows a certificate.
#[derive(Debug)]
pub struct Doors {
    listener: TcpListener,
    keyring: Option<Arc<Keyring>>,
    /// Who has not said anything yet, or shakes hands.
    waiting: JoinSet<Option<(Socket, Peer)>>,
}

/// Who came, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// From where.
    pub address: SocketAddr,
    /// By TLS, with a certificate of the link's CA.
    pub certified: bool,
}

impl Doors {
    /// Opens them. Without certificates everything is taken as it comes.
    pub fn open(
        listener: TcpListener,
        certificates: Option<&Certificates>,
    ) -> Result<Self, BadCertificates> {
        let keyring = certificates.map(Keyring::new).transpose()?.map(Arc::new);
        Ok(Self { listener, keyring, waiting: JoinSet::new() })
    }
}

impl Listener for Doors {
    type Io = Socket;
    type Addr = Peer;

    async fn accept(&mut self) -> (Socket, Peer) {
        let Self { listener, keyring, waiting } = self;
        loop {
            tokio::select! {
                Some(sorted) = waiting.join_next() => {
                    if let Ok(Some(came)) = sorted {
                        return came;
                    }
                }
                (socket, address) = Listener::accept(listener), if waiting.len() < WAITING => {
                    if let Err(error) = socket.set_nodelay(true) {
                        debug!(%error, "a socket keeps small writes back");
                    }
                    match keyring.clone() {
                        None => return (Socket::Plain(socket), Peer { address, certified: false }),
                        Some(keyring) => _ = waiting.spawn(shown(socket, address, keyring)),
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let address = self.listener.local_addr()?;
        Ok(Peer { address, certified: false })
    }
}

impl Connected<IncomingStream<'_, Doors>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Doors>) -> Self {
        *stream.remote_addr()
    }
}

/// The connection, once it is known what it is; nothing if it is refused.
async fn shown(
    socket: TcpStream,
    address: SocketAddr,
    keyring: Arc<Keyring>,
) -> Option<(Socket, Peer)> {
    match tokio::time::timeout(HANDSHAKE, sort(socket, address, &keyring)).await {
        Ok(Ok(came)) => came,
        Ok(Err(reason)) => {
            keyring.refused(address, &reason);
            None
        }
        Err(_) => {
            debug!(%address, "nothing was said for {HANDSHAKE:?}");
            None
        }
    }
}

/// Looks at the first byte: requests begin with a letter, TLS does not.
async fn sort(
    socket: TcpStream,
    address: SocketAddr,
    keyring: &Keyring,
) -> Result<Option<(Socket, Peer)>, String> {
    let mut first = [0];
    match socket.peek(&mut first).await {
        Ok(1) => {}
        // A probe, which only wants to know whether somebody listens.
        _ => return Ok(None),
    }
    if first != [TLS_HANDSHAKE] {
        return Ok(Some((Socket::Plain(socket), Peer { address, certified: false })));
    }
    match TlsAcceptor::from(keyring.config()).accept(socket).into_fallible().await {
        Ok(stream) => {
            let socket = Socket::Tls(Box::new(stream.into()));
            Ok(Some((socket, Peer { address, certified: true })))
        }
        Err((error, mut socket)) => {
            // Closed at once, what it said meanwhile would take the reason from the other side's hands.
            let farewell = async {
                socket.shutdown().await?;
                tokio::io::copy(&mut socket.take(FAREWELL_BYTES), &mut tokio::io::sink()).await
            };
            let _gone = tokio::time::timeout(FAREWELL, farewell).await.is_ok();
            Err(tls::why(&error, "the worker"))
        }
    }
}

/// What the Hub shows and wants to be shown, as the files say now.
#[derive(Debug)]
struct Keyring {
    certificates: Certificates,
    now: Mutex<Now>,
    refused: Mutex<Refused>,
}

#[derive(Debug)]
struct Now {
    config: Arc<ServerConfig>,
    read: Read,
    looked: Instant,
}

#[derive(Debug, Default)]
struct Refused {
    told: Option<Instant>,
    untold: u64,
}

impl Keyring {
    fn new(certificates: &Certificates) -> Result<Self, BadCertificates> {
        let read = certificates.read()?;
        let now = Now { config: read.server()?, read, looked: Instant::now() };
        Ok(Self {
            certificates: certificates.clone(),
            now: Mutex::new(now),
            refused: Mutex::default(),
        })
    }

    /// Certificates are renewed in their files; who has a link keeps it.
    fn config(&self) -> Arc<ServerConfig> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.looked.elapsed() > LOOK_AGAIN {
            now.looked = Instant::now();
            let changed = self.certificates.read().and_then(|read| {
                if read == now.read { Ok(None) } else { Ok(Some((read.server()?, read))) }
            });
            match changed {
                Ok(None) => {}
                Ok(Some((config, read))) => {
                    info!("the link's certificates were renewed");
                    (now.config, now.read) = (config, read);
                }
                // Maybe one file is new and another is not yet.
                Err(error) => warn!(%error, "the link's certificates stay as they were"),
            }
        }
        Arc::clone(&now.config)
    }

    /// A thousand Workers that dial every few seconds are not a thousand lines.
    fn refused(&self, address: SocketAddr, reason: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.told.is_some_and(|it| it.elapsed() < TELL_EVERY) {
            refused.untold += 1;
            return;
        }
        let others = std::mem::take(&mut refused.untold);
        refused.told = Some(Instant::now());
        warn!(from = %address, others, "a worker's link was refused: {reason}");
    }
}

/// A connection, by TLS or not.
#[derive(Debug)]
pub enum Socket {
    /// As the network has it.
    Plain(TcpStream),
    /// Sealed.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_read(context, buffer),
            Self::Tls(it) => Pin::new(it).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_write(context, bytes),
            Self::Tls(it) => Pin::new(it).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_write_vectored(context, bytes),
            Self::Tls(it) => Pin::new(it).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(it) => it.is_write_vectored(),
            Self::Tls(it) => it.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_flush(context),
            Self::Tls(it) => Pin::new(it).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_shutdown(context),
            Self::Tls(it) => Pin::new(it).poll_shutdown(context),
        }
    }
}

/// What TLS begins with: a record of its handshake.
const TLS_HANDSHAKE: u8 = 22;
/// How long who came may take to say something, and to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that have said nothing yet, or shake hands.
const WAITING: usize = 4096;
/// How often the files are looked at, while Workers dial.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is told that somebody was refused.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long who was refused may take to hear why.
const FAREWELL: Duration = Duration::from_millis(500);
const FAREWELL_BYTES: u64 = 64 << 10;
