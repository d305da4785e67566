//! The Hub's side: a pipe that arrived becomes a [`Client`].

use crate::{
    CHUNK_BYTES, Client, Heartbeat, LINK_WINDOW, MESSAGE_BYTES, Node, PIPE_BYTES, READ_BYTES,
    Routes, STREAM_WINDOW,
    pipe::{self, End, Incoming, Message, State},
    service,
};
use axum::extract::ws::{CloseFrame, Message as Axum, WebSocket, WebSocketUpgrade};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::io::DuplexStream;
use tonic::transport::{Channel, Endpoint};

/// Takes a Worker that dialled: gives `then` its client once the WebSocket stands.
pub fn accept<F>(
    upgrade: WebSocketUpgrade,
    heartbeat: Heartbeat,
    then: F,
) -> axum::response::Response
where
    F: FnOnce(Client) + Send + 'static,
{
    let upgrade = upgrade
        .read_buffer_size(READ_BYTES)
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .write_buffer_size(CHUNK_BYTES);
    upgrade.on_upgrade(move |socket: WebSocket| async move {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let state = State::new();
        then(client(near, Arc::clone(&state), Some(heartbeat)));
        pipe::pump(socket, far, state).await;
    })
}

/// Links a node in this very process: the same connection, over memory.
///
/// There is no heartbeat, as a process that hangs does so with all its parts.
pub fn attach(node: Arc<dyn Node>, engine: Routes) -> Client {
    attach_with(node, engine, None)
}

/// [`attach`] with a heartbeat.
pub fn attach_with(node: Arc<dyn Node>, engine: Routes, heartbeat: Option<Heartbeat>) -> Client {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(service::serve(node, engine, far, None));
    over(near, heartbeat)
}

/// The Hub's end of a pipe that has a node at its other, whatever carries the bytes between them: see
/// [`serve`](crate::serve).
pub fn over(pipe: DuplexStream, heartbeat: Option<Heartbeat>) -> Client {
    client(pipe, State::new(), heartbeat)
}

fn client(io: DuplexStream, state: Arc<State>, heartbeat: Option<Heartbeat>) -> Client {
    // The name is never looked up: whatever is asked for, the connection is this pipe.
    let mut endpoint = Endpoint::from_static("http://node.link")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINK_WINDOW);
    if let Some(heartbeat) = heartbeat {
        endpoint = endpoint
            .http2_keep_alive_interval(heartbeat.every)
            .keep_alive_timeout(heartbeat.patience)
            .keep_alive_while_idle(true);
    }
    let patience = heartbeat.map_or(std::time::Duration::MAX, |heartbeat| heartbeat.patience);
    let end = Arc::new(Mutex::new(Some(End::new(io, Arc::clone(&state), patience))));
    let channel: Channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        // There is one pipe and it is taken once; a connection that broke does not come back.
        let end = end.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            end.map(TokioIo::new)
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the link is gone"))
        }
    }));
    Client::new(channel, state)
}

impl Message for Axum {
    fn binary(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }

    fn close(reason: &str) -> Self {
        Self::Close(Some(CloseFrame {
            code: axum::extract::ws::close_code::AWAY,
            reason: pipe::close_reason(reason).into(),
        }))
    }

    fn read(self) -> Incoming {
        match self {
            Self::Binary(bytes) => Incoming::Bytes(bytes),
            Self::Close(frame) => Incoming::Close(frame.map(|frame| frame.reason.to_string())),
            Self::Text(_) | Self::Ping(_) | Self::Pong(_) => Incoming::Other,
        }
    }
}
