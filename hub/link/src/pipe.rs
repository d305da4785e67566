//! Bytes through a WebSocket, counted, and the one place that knows why a link ended.

use crate::{CHUNK_BYTES, Traffic};
use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    sync::watch,
};

/// What both ends of this side's pipe share.
#[derive(Debug)]
pub(crate) struct State {
    received: AtomicU64,
    sent: AtomicU64,
    heard: Mutex<Instant>,
    ended: watch::Sender<Option<String>>,
}

impl State {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            heard: Mutex::new(Instant::now()),
            ended: watch::Sender::new(None),
        })
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            received_bytes: self.received.load(Relaxed),
            sent_bytes: self.sent.load(Relaxed),
            silent: self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed(),
        }
    }

    /// Ends the link; the first reason stands.
    pub(crate) fn end(&self, reason: impl Into<String>) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(reason.into());
            }
            first
        });
    }

    /// Why the link ended, once it has.
    pub(crate) async fn ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // Unreachable while `self` holds the sender; an answer all the same.
            Err(_) => String::new(),
        }
    }

    pub(crate) fn has_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    fn hear(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// The end of a pipe that HTTP/2 reads and writes. Dropping it ends the link: HTTP/2 does so when the
/// heartbeat goes unanswered.
pub(crate) struct End {
    io: DuplexStream,
    state: Arc<State>,
    patience: Duration,
}

impl End {
    pub(crate) const fn new(io: DuplexStream, state: Arc<State>, patience: Duration) -> Self {
        Self { io, state, patience }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let silent = self.state.traffic().silent;
        if silent >= self.patience {
            self.state.end(format!("silent for {:.1} s: hung or cut off", silent.as_secs_f64()));
        } else {
            self.state.end("the connection was closed");
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        match buf.filled().len() - before {
            0 => {}
            read => self.state.hear(read),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.state.sent.fetch_add(written as u64, Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A message of either WebSocket library.
pub(crate) trait Message: Sized {
    fn binary(bytes: Bytes) -> Self;
    fn close(reason: &str) -> Self;
    fn read(self) -> Incoming;
}

/// What a message means to a pipe.
pub(crate) enum Incoming {
    Bytes(Bytes),
    Close(Option<String>),
    /// Pings and pongs, which the library answers, and texts, which nobody sends.
    Other,
}

/// Carries bytes between `socket` and `io` until one of them ends or [`State::end`] is called, and
/// leaves the reason in `state`.
pub(crate) async fn pump<S, M, E>(socket: S, io: DuplexStream, state: Arc<State>)
where
    S: Stream<Item = Result<M, E>> + Sink<M>,
    M: Message,
    E: fmt::Display,
{
    let (mut sink, mut stream) = socket.split();
    let (mut read, mut write) = tokio::io::split(io);
    let out = async {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        loop {
            buffer.reserve(CHUNK_BYTES);
            match read.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return "the connection was closed".to_owned(),
                Ok(_) => {}
            }
            let piece = buffer.split().freeze();
            if sink.send(M::binary(piece)).await.is_err() {
                return "the other side went away".to_owned();
            }
        }
    };
    let into = async {
        loop {
            let message = match stream.next().await {
                None => return "the other side went away".to_owned(),
                Some(Err(error)) => return format!("the connection broke: {error}"),
                Some(Ok(message)) => message,
            };
            match message.read() {
                Incoming::Bytes(bytes) => {
                    if write.write_all(&bytes).await.is_err() {
                        return "the connection was closed".to_owned();
                    }
                }
                Incoming::Close(reason) => {
                    return reason
                        .filter(|reason| !reason.is_empty())
                        .unwrap_or_else(|| "the other side closed".into());
                }
                Incoming::Other => {}
            }
        }
    };
    let reason = tokio::select! {
        reason = out => reason,
        reason = into => reason,
        reason = state.ended() => reason,
    };
    state.end(reason.clone());
    // Courtesy, so that the other side can say why; a hung one does not read it.
    let close = async { sink.send(M::close(&reason)).await.is_ok() && sink.close().await.is_ok() };
    if tokio::time::timeout(CLOSE, close).await.is_err() {
        tracing::debug!("the other side did not take the farewell");
    }
}

/// A close frame's reason may be 123 bytes long.
pub(crate) fn close_reason(reason: &str) -> String {
    let end = (0..=reason.len().min(CLOSE_BYTES))
        .rev()
        .find(|&at| reason.is_char_boundary(at))
        .unwrap_or(0);
    reason.get(..end).unwrap_or_default().to_owned()
}

const CLOSE: Duration = Duration::from_millis(500);
const CLOSE_BYTES: usize = 123;
