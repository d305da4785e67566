//! Ports of pods, over a web socket: a channel of bytes and one of errors, each beginning with the port.
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::Response;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Shared;
use crate::objects::{Key, Status, missing};

/// Joins the web socket with whatever plays the pod.
pub(crate) fn forward(
    shared: &Arc<Shared>,
    key: &Key,
    ports: &str,
    upgrade: Option<WebSocketUpgrade>,
) -> Result<Response<Body>, Status> {
    let bad = |it: &str| Status::new(400, "BadRequest", it);
    let upgrade = upgrade.ok_or_else(|| bad("this is for web sockets"))?;
    let port = ports.parse::<u16>().map_err(|_| bad("one port at a time"))?;
    let address = {
        let state = shared.lock();
        let pod = state.objects.get(key).ok_or_else(|| missing(key))?;
        if pod["status"]["phase"] != "Running" {
            return Err(bad("the pod is not running"));
        }
        state.forward_to
    };
    let mut cut = shared.cut.subscribe();
    cut.mark_unchanged();
    Ok(upgrade.protocols([PROTOCOL]).on_upgrade(move |mut socket| async move {
        for channel in [BYTES, ERRORS] {
            let [low, high] = port.to_le_bytes();
            say(&mut socket, channel, &[low, high]).await;
        }
        let connection = match address {
            Some(address) => TcpStream::connect(address).await.ok(),
            None => None,
        };
        match connection {
            Some(connection) => {
                tokio::select! {
                    () = join(socket, connection) => {}
                    _ = cut.changed() => {}
                }
            }
            None => {
                say(&mut socket, ERRORS, b"connection refused").await;
                // As a kubelet does, the socket is left to the one who asked.
                while let Some(Ok(_)) = socket.recv().await {}
            }
        }
    }))
}

/// Both ways at once: one that is full must not stop the other.
async fn join(socket: WebSocket, connection: TcpStream) {
    let (mut to_asker, mut from_asker) = socket.split();
    let (mut from_pod, mut to_pod) = connection.into_split();
    let there = async move {
        while let Some(Ok(message)) = from_asker.next().await {
            let Message::Binary(message) = message else { continue };
            let Some((&BYTES, bytes)) = message.split_first() else { continue };
            if to_pod.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    let back = async move {
        let mut bytes = vec![BYTES; 32 << 10];
        while let Some(room) = bytes.get_mut(1..) {
            let Ok(read @ 1..) = from_pod.read(room).await else { return };
            let message = bytes.get(..=read).unwrap_or_default().to_vec();
            if to_asker.send(Message::Binary(message.into())).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// Whoever is gone needs to hear nothing.
async fn say(socket: &mut WebSocket, channel: u8, bytes: &[u8]) {
    let mut message = vec![channel];
    message.extend_from_slice(bytes);
    drop(socket.send(Message::Binary(Bytes::from(message))).await);
}

const PROTOCOL: &str = "v4.channel.k8s.io";
const BYTES: u8 = 0;
const ERRORS: u8 = 1;
