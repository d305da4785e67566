//! A node and its Hub, over memory and over a real WebSocket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sealed;

use api::{ApiError, NodeHealth, Span, TailRequest};
use arrow_array::{RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use axum::{
    Router,
    extract::WebSocketUpgrade,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::any,
};
use futures::{StreamExt as _, stream};
use link::{
    CallError, Client, DialError, DialState, Dialer, Heartbeat, Hello, Node, Routes, Tail, Work,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};

/// A node with one column, whose tails yield rows until nobody listens.
#[derive(Default)]
struct Fake {
    tail_dropped: Arc<AtomicBool>,
}

fn schema() -> SchemaRef {
    let doc = [("doc".to_owned(), "What it says.".to_owned())].into();
    Arc::new(Schema::new(vec![Field::new("word", DataType::Utf8View, true).with_metadata(doc)]))
}

#[async_trait::async_trait]
impl Node for Fake {
    async fn hello(&self) -> Hello {
        Hello { node: "n1".into(), version: "1.2.3".into(), tables: Vec::new() }
    }

    async fn health(&self) -> NodeHealth {
        NodeHealth { packets: 42, ..NodeHealth::default() }
    }

    async fn accounting(&self, query_id: &str) -> Option<Work> {
        (query_id == "q1").then_some(Work { rows_scanned: 7, ..Work::default() })
    }

    async fn tail(&self, request: TailRequest, _: &str) -> Result<Tail, ApiError> {
        if request.filter == "nonsense" {
            return Err(ApiError {
                at: Some(Span { start: 0, end: 8 }),
                ..ApiError::new("no such column")
            });
        }
        let word = request.filter;
        let skipped = Arc::new(AtomicU64::new(0));
        let (count, gone) = (Arc::clone(&skipped), SetOnDrop(Arc::clone(&self.tail_dropped)));
        let rows = stream::unfold(0, move |n: usize| {
            let (word, count) = (word.clone(), Arc::clone(&count));
            let _held = &gone;
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                count.fetch_add(2, SeqCst);
                // A slice of a large batch, as a filter leaves it.
                let words = StringViewArray::from_iter_values(
                    (0..1000).map(|_| format!("{word}, longer than a view")),
                );
                let batch = RecordBatch::try_new(schema(), vec![Arc::new(words)]).unwrap();
                Some((Ok(batch.slice(n % 1000, 1)), n + 1))
            }
        });
        Ok(Tail { schema: schema(), rows: rows.boxed(), skipped })
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// What a node must be like, however it is linked.
async fn check(client: &Client, tail_dropped: &AtomicBool) {
    let hello = client.hello().await.unwrap();
    assert_eq!((hello.node.as_str(), hello.version.as_str()), ("n1", "1.2.3"));
    assert_eq!(client.health().await.unwrap().packets, 42);
    assert_eq!(client.accounting("q1").await.unwrap().unwrap().rows_scanned, 7);
    assert_eq!(client.accounting("q2").await.unwrap(), None);

    let wrong = client.tail(&TailRequest { filter: "nonsense".into() }, "").await.unwrap_err();
    let CallError::Refused(error) = wrong else { panic!("{wrong}") };
    assert_eq!(
        (error.message.as_str(), error.at),
        ("no such column", Some(Span { start: 0, end: 8 }))
    );

    let before = client.traffic();
    let mut tail = client.tail(&TailRequest { filter: "shark".into() }, "").await.unwrap();
    assert_eq!(tail.schema, schema());
    for _ in 0..10 {
        assert_eq!(tail.rows.next().await.unwrap().unwrap().num_rows(), 1);
    }
    assert!(tail.skipped.load(SeqCst) >= 10, "the node's count of skipped rows comes along");
    let moved = client.traffic().received_bytes - before.received_bytes;
    assert!(
        moved > 0 && moved < 20_000,
        "{moved} bytes for some rows: their batches came along whole"
    );

    drop(tail);
    for _ in 0..200 {
        if tail_dropped.load(SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the node goes on with a tail nobody reads");
}

#[tokio::test]
async fn in_one_process() {
    let fake = Fake::default();
    let dropped = Arc::clone(&fake.tail_dropped);
    let client = link::attach(Arc::new(fake), Routes::default());
    check(&client, &dropped).await;
    client.end("enough");
    assert_eq!(client.ended().await, "enough");
    assert!(matches!(client.health().await, Err(CallError::Gone(_))));
}

#[tokio::test]
async fn over_a_websocket() {
    let mut hub = Hub::start(None).await;
    let fake = Fake::default();
    let dropped = Arc::clone(&fake.tail_dropped);
    let node = dial(hub.address, None, fake);
    let client = hub.next().await;
    check(&client, &dropped).await;

    node.task.abort();
    let reason = timeout(Duration::from_secs(2), client.ended())
        .await
        .expect("a node that goes is missed at once");
    assert!(!reason.is_empty());
}

#[tokio::test]
async fn the_hub_can_say_why_it_ends_a_link_and_the_node_dials_again() {
    let mut hub = Hub::start(None).await;
    let mut node = dial(hub.address, None, Fake::default());
    let first = hub.next().await;
    first.hello().await.unwrap();
    first.end("that name is taken");
    let waiting = |state: &DialState| *state == DialState::Waiting("that name is taken".into());
    timeout(Duration::from_secs(2), node.state.wait_for(waiting)).await.unwrap().unwrap();
    let second = hub.next().await;
    second.hello().await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_is_final_and_a_right_one_is_not_asked_twice() {
    let mut hub = Hub::start(Some("right")).await;
    let wrong = dial(hub.address, Some("wrong"), Fake::default());
    let error = timeout(Duration::from_secs(5), wrong.task).await.unwrap().unwrap();
    assert!(matches!(error, DialError::Refused { .. }), "{error}");
    let _right = dial(hub.address, Some("right"), Fake::default());
    hub.next().await.hello().await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_said_and_waited_for() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut node = dial(free, None, Fake::default());
    let waiting = |state: &DialState| matches!(state, DialState::Waiting(reason) if reason.contains("nothing listens"));
    timeout(Duration::from_secs(5), node.state.wait_for(waiting)).await.unwrap().unwrap();
    assert!(!node.task.is_finished());
}

/// A stopped process keeps its sockets open and says nothing: so does this wire.
#[tokio::test]
async fn a_hung_node_is_noticed_within_three_seconds() {
    let mut hub = Hub::start(None).await;
    let wire = Wire::to(hub.address).await;
    let _node = dial(wire.address, None, Fake::default());
    let client = hub.next().await;
    client.hello().await.unwrap();
    let mut tail = client.tail(&TailRequest { filter: "shark".into() }, "").await.unwrap();
    tail.rows.next().await.unwrap().unwrap();

    // It is patient with one that merely has nothing to say.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(client.has_ended(), None);

    wire.cut();
    let cut = Instant::now();
    let reason = timeout(Duration::from_secs(4), client.ended()).await.expect("nobody noticed");
    assert!(cut.elapsed() <= Duration::from_millis(3_300), "{:?}", cut.elapsed());
    assert!(reason.contains("silent"), "{reason}");
    // Whoever waited for it is told, too.
    let end = async { while let Some(Ok(_)) = tail.rows.next().await {} };
    timeout(Duration::from_secs(1), end).await.expect("a tail of a dropped link hangs");
}

/// A Hub that only takes links.
struct Hub {
    address: SocketAddr,
    clients: mpsc::Receiver<Client>,
}

impl Hub {
    async fn start(token: Option<&'static str>) -> Self {
        let (sender, clients) = mpsc::channel(8);
        let take = move |headers: HeaderMap, upgrade: WebSocketUpgrade| {
            let sender = sender.clone();
            async move {
                let given = headers
                    .get("authorization")
                    .and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "));
                if given != token {
                    return StatusCode::UNAUTHORIZED.into_response();
                }
                let response: Response = link::accept(upgrade, Heartbeat::HUB, move |client| {
                    sender.try_send(client).unwrap()
                });
                response
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/worker", any(take));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, clients }
    }

    async fn next(&mut self) -> Client {
        timeout(Duration::from_secs(10), self.clients.recv())
            .await
            .expect("nobody dialled")
            .unwrap()
    }
}

struct Dialled {
    task: tokio::task::JoinHandle<DialError>,
    state: watch::Receiver<DialState>,
}

fn dial(address: SocketAddr, token: Option<&str>, node: Fake) -> Dialled {
    let dialer = Dialer::new(&address.to_string(), token, None).unwrap();
    let state = dialer.state();
    Dialled { task: tokio::spawn(dialer.run(Arc::new(node), Routes::default())), state }
}

/// A TCP connection that can fall silent without closing.
struct Wire {
    address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Wire {
    async fn to(hub: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = watch::Sender::new(false);
        let watched = cut.subscribe();
        tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(hub).await.unwrap();
            let ((near_read, near_write), (far_read, far_write)) =
                (near.into_split(), far.into_split());
            tokio::join!(
                Self::carry(near_read, far_write, watched.clone()),
                Self::carry(far_read, near_write, watched)
            );
        });
        Self { address, cut }
    }

    async fn carry(
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
        mut cut: watch::Receiver<bool>,
    ) {
        let mut buffer = vec![0; 4096];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read.unwrap_or(0),
                _ = async { cut.wait_for(|cut| *cut).await.is_ok() } => std::future::pending().await,
            };
            if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    fn cut(&self) {
        self.cut.send_replace(true);
    }
}
