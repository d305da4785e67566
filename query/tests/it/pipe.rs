//! A node behind a pipe that can be cut or stalled.
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use query::fleet::{Accounts, Channel, Fleet, Member};
use query::node::{NodeAccounting, Service};
use query::{Engine, Tables};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::AbortHandle;
use tonic::transport::{Endpoint, Server};

use crate::fixture::{Data, Where, fill, open, options, tables};

pub(crate) struct Node {
    pub(crate) service: Service,
    pub(crate) member: Member,
    pub(crate) stalled: Arc<AtomicBool>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) tasks: Vec<AbortHandle>,
    #[expect(dead_code, reason = "the rows go when it is dropped")]
    data: Data,
}

/// What went over a node's pipe, framing and all.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) to_node: AtomicU64,
    pub(crate) from_node: AtomicU64,
    /// The pipe breaks once the node has sent that many bytes.
    pub(crate) breaks_at: AtomicU64,
}

impl Wire {
    pub(crate) fn bytes(&self) -> u64 {
        self.to_node.load(Relaxed) + self.from_node.load(Relaxed)
    }
}

impl Node {
    pub(crate) fn new(name: &str, data: Data) -> Self {
        let service = Service::new(data.store.clone(), &options()).unwrap();
        let (near, near_end) = tokio::io::duplex(1 << 20);
        let (far, far_end) = tokio::io::duplex(1 << 20);
        let stalled = Arc::new(AtomicBool::new(false));
        let wire = Arc::new(Wire {
            to_node: AtomicU64::new(0),
            from_node: AtomicU64::new(0),
            breaks_at: AtomicU64::new(u64::MAX),
        });
        let (near_read, near_write) = tokio::io::split(near_end);
        let (far_read, far_write) = tokio::io::split(far_end);
        let server = Server::builder().add_service(service.server());
        let served = server.serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(far)));
        let tasks = vec![
            tokio::spawn(pump(near_read, far_write, Arc::clone(&stalled), {
                let wire = Arc::clone(&wire);
                move |n| {
                    wire.to_node.fetch_add(n, Relaxed);
                    true
                }
            }))
            .abort_handle(),
            tokio::spawn(pump(far_read, near_write, Arc::clone(&stalled), {
                let wire = Arc::clone(&wire);
                move |n| wire.from_node.fetch_add(n, Relaxed) + n < wire.breaks_at.load(Relaxed)
            }))
            .abort_handle(),
            tokio::spawn(async move {
                served.await.ok();
            })
            .abort_handle(),
        ];
        let slot = Arc::new(Mutex::new(Some(near)));
        let channel = Endpoint::from_static("http://node").connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let pipe = slot.lock().unwrap().take();
                async move {
                    pipe.map(TokioIo::new).ok_or_else(|| std::io::Error::other("the pipe is gone"))
                }
            }),
        );
        let member = Member {
            node: name.to_owned(),
            channel: Channel::new(channel),
            version: query::version(),
        };
        Self { service, member, stalled, wire, tasks, data }
    }

    pub(crate) fn kill(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }

    pub(crate) fn stall(&self) {
        self.stalled.store(true, Relaxed);
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    stalled: Arc<AtomicBool>,
    goes_on: impl Fn(u64) -> bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(n) = from.read(&mut buffer).await else { return };
        if n == 0 || !goes_on(n as u64) {
            return;
        }
        while stalled.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

pub(crate) struct Books(Vec<(String, Service)>);

#[async_trait]
impl Accounts for Books {
    async fn accounting(&self, node: &str, query_id: &str) -> Option<NodeAccounting> {
        self.0.iter().find(|it| it.0 == node)?.1.accounting(query_id).await
    }
}

/// Three nodes with their own rows, and an engine over them.
pub(crate) fn fleet(count: i64, place: Where) -> (Vec<Node>, Engine) {
    let nodes: Vec<Node> = (0..3)
        .map(|i| {
            let data = open();
            fill(&data.store, &[i], count, place);
            Node::new(&format!("node-{i}"), data)
        })
        .collect();
    let engine = over(&nodes);
    (nodes, engine)
}

pub(crate) fn over(nodes: &[Node]) -> Engine {
    let members = nodes.iter().map(|it| it.member.clone()).collect();
    let books =
        Books(nodes.iter().map(|it| (it.member.node.clone(), it.service.clone())).collect());
    let fleet = Fleet::new(members, Tables::new(tables()), Some(Arc::new(books)));
    Engine::fleet(fleet, options())
}
