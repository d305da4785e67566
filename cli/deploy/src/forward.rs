//! A port of this machine that leads to the Hub, wherever it is at the moment.

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use kube::{Api, ResourceExt as _};
use tokio::io::{DuplexStream, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::cluster::Cluster;
use crate::error::chain;

/// Whether the way to the Hub is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The last connection came through, or none was tried yet.
    Open,
    /// The last one did not, for that reason; the next one looks again.
    Closed(String),
}

/// A forwarded port. It is closed when this is dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    way: watch::Receiver<Way>,
    _connections: JoinSet<()>,
}

impl Forward {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the way opens or closes, and says which. Never returns if it does neither.
    pub async fn changed(&mut self) -> Way {
        if self.way.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.way.borrow_and_update().clone()
    }
}

impl Cluster {
    /// Leads connections to `listen` to the Hub. Every connection looks for the Hub's pod anew, and waits a while for
    /// one to be ready: so it heals when the Hub, its node or the API server come back.
    pub async fn forward(&self, listen: SocketAddr) -> Result<Forward, Error> {
        let here = |why| Error::Here { what: format!("listening on {listen}"), why };
        let listener = TcpListener::bind(listen).await.map_err(here)?;
        let address = listener.local_addr().map_err(here)?;
        let (tell, way) = watch::channel(Way::Open);
        let cluster = self.clone();
        let mut running = JoinSet::new();
        running.spawn(async move { cluster.accept(listener, tell).await });
        Ok(Forward { address, way, _connections: running })
    }

    async fn accept(self, listener: TcpListener, tell: watch::Sender<Way>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((connection, _)) if connections.len() < CONNECTIONS => {
                        let (cluster, tell) = (self.clone(), tell.clone());
                        connections.spawn(async move { cluster.serve(connection, &tell).await });
                    }
                    // Nobody has that many tabs; the connection is closed.
                    Ok(_) => {}
                    // Too many open files, for one: others have to end first.
                    Err(_) => sleep(PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn serve(self, mut connection: TcpStream, tell: &watch::Sender<Way>) {
        let end = Instant::now() + PATIENCE;
        let mut reached = loop {
            let why = match self.reach().await {
                Ok(reached) => break reached,
                Err(why) => why,
            };
            say(tell, Way::Closed(why));
            if Instant::now() >= end {
                return;
            }
            sleep(PAUSE).await;
        };
        say(tell, Way::Open);
        tokio::select! {
            // Whoever ends first ends it; why is nobody's business any more.
            _ = copy_bidirectional(&mut connection, &mut reached.stream) => {}
            why = reached.refused => say(tell, Way::Closed(why)),
        }
        reached.forwarder.abort();
    }

    /// A stream to the Hub that is there now.
    async fn reach(&self) -> Result<Reached, String> {
        let pods = self.pods().await.map_err(|why| why.to_string())?;
        let (pod, port) = pods
            .iter()
            .find_map(|it| ready_hub(it).map(|port| (it.name_any(), port)))
            .ok_or_else(|| "no Hub is ready".to_owned())?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let forwarder = tokio::time::timeout(OPENING, api.portforward(&pod, &[port])).await;
        let mut forwarder = forwarder
            .map_err(|_| format!("forwarding to {pod} takes too long"))?
            .map_err(|why| format!("forwarding to {pod}: {}", chain(&why)))?;
        let taken = forwarder.take_stream(port).zip(forwarder.take_error(port));
        let (stream, error) = taken.ok_or_else(|| format!("{pod} has no port {port}"))?;
        let refused = async move {
            match error.await {
                Some(why) => format!("{pod} refuses: {why}"),
                // It ends as the stream does.
                None => std::future::pending().await,
            }
        };
        Ok(Reached { stream, refused: refused.boxed(), forwarder })
    }
}

/// A connection to a pod.
struct Reached {
    stream: DuplexStream,
    /// What the node says when nobody listens there.
    refused: BoxFuture<'static, String>,
    forwarder: Portforwarder,
}

/// The Hub's port, if the pod is a Hub that is ready.
fn ready_hub(pod: &Pod) -> Option<u16> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
    let hub = pod.labels().get("app.kubernetes.io/component")? == "hub";
    let going = pod.metadata.deletion_timestamp.is_some();
    let port = pod.spec.as_ref()?.containers.first()?.ports.as_ref()?.first()?.container_port;
    (ready && hub && !going).then(|| u16::try_from(port).ok()).flatten()
}

fn say(tell: &watch::Sender<Way>, way: Way) {
    tell.send_if_modified(|it| {
        let news = *it != way;
        *it = way;
        news
    });
}

/// How long a connection waits for a Hub: a browser shows its page as soon as one is there.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);
const OPENING: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 256;
