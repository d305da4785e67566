//! The Hub: the one door through which people and tools ask all nodes at once.
//!
//! Workers dial in ([`link`]); their tables become one set ([`Registry`]); a question goes to all of
//! them through the query engine, and the answer streams out in the form the asker likes. The Hub
//! knows no protocol and keeps no rows but of what it saw of the cluster.
//!
//! ```no_run
//! # async fn example() -> Result<(), server::StartError> {
//! let hub = server::start(server::Config::new(([127, 0, 0, 1], 8899).into())).await?;
//! // A worker in this process would be linked with `hub.workers().attach(link::attach(node, engine))`.
//! hub.stop().await;
//! # Ok(())
//! # }
//! ```

mod accounts;
mod audit;
mod auth;
mod callers;
mod engine;
mod error;
mod format;
mod live;
mod metrics;
mod page;
mod reviews;
mod routes;
mod workers;

pub use engine::{Bounds, accounting};
pub use error::told;
pub use workers::Registry;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

/// What a Hub needs to know.
#[derive(Clone)]
pub struct Config {
    /// Where it listens. Off loopback it needs a token.
    pub listen: SocketAddr,
    /// What callers and Workers must know.
    pub token: Option<String>,
    /// What runs at once.
    pub limits: Limits,
    /// What one query may cost.
    pub bounds: Bounds,
    /// The Kubernetes cluster whose names Workers are told, if there is one.
    pub cluster: Option<cluster::Cluster>,
    /// Says whose the cluster's tokens are and what they admit to, besides the Hub's own. It goes with `cluster`.
    pub access: Option<cluster::Access>,
    /// How long holds what `access` said. So long may a right last that was taken away, and in an open tail half as long
    /// again while the API server can't be asked.
    pub answers_hold: Duration,
    /// What Workers must show a certificate of, and what they are shown; without it, they come without TLS.
    pub link: Option<link::Certificates>,
}

impl Config {
    /// A Hub at that address, without a token.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            token: None,
            limits: Limits::default(),
            bounds: Bounds::default(),
            cluster: None,
            access: None,
            answers_hold: Duration::from_secs(60),
            link: None,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A token does not belong into a log.
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("token", &token)
            .field("limits", &self.limits)
            .field("bounds", &self.bounds)
            .field("cluster", &self.cluster.is_some())
            .field("access", &self.access.is_some())
            .field("answers_hold", &self.answers_hold)
            .field("link", &self.link)
            .finish()
    }
}

/// What runs at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries; one more is turned away.
    pub queries: usize,
    /// Queries of one caller, by the address it asks from; one more is turned away.
    pub queries_of_one: usize,
    /// Live tails; one more is turned away.
    pub tails: usize,
    /// Live tails of one caller; one more is turned away.
    pub tails_of_one: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queries: 8, queries_of_one: 6, tails: 64, tails_of_one: 16 }
    }
}

/// Why a Hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Others could reach it, and anybody of them could ask.
    #[error(
        "{0} can be reached from other machines, so the hub needs a token: give one, or listen on 127.0.0.1"
    )]
    NoToken(SocketAddr),
    /// A token that admits nobody, or anybody.
    #[error("the token is empty")]
    EmptyToken,
    /// Workers can't be shown what they are to be shown.
    #[error(transparent)]
    Certificates(#[from] link::BadCertificates),
    /// Somebody else listens there, or it is not an address of this machine.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        reason: io::Error,
    },
}

/// A running Hub. It stops when it is told to, not when this is dropped.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    workers: Registry,
    stop: tokio::sync::watch::Sender<bool>,
    served: JoinHandle<io::Result<()>>,
}

impl Handle {
    /// Where it listens, with the port that was chosen if none was given.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who is linked; the place to attach a Worker of this process to.
    #[must_use]
    pub const fn workers(&self) -> &Registry {
        &self.workers
    }

    /// Takes no more requests, gives those that run a moment, and ends.
    pub async fn stop(self) {
        self.workers.end("the hub is stopping");
        self.stop.send_replace(true);
        let abort = self.served.abort_handle();
        if tokio::time::timeout(STOP, self.served).await.is_err() {
            abort.abort();
        }
    }

    /// Waits until it ends by itself, which it does only if its socket fails.
    pub async fn ended(&mut self) -> io::Result<()> {
        (&mut self.served).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// Starts a Hub.
pub async fn start(config: Config) -> Result<Handle, StartError> {
    check(&config)?;
    let failed = |reason| StartError::Listen { address: config.listen, reason };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (router, workers) = router(&config);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let service = router.into_make_service_with_connect_info::<link::Peer>();
    let doors = link::Doors::open(listener, config.link.as_ref())?;
    let served = tokio::spawn(async move {
        let stopped = async move {
            // An error means that the handle is gone: then nobody will ever stop it.
            if stopped.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        axum::serve(doors, service).with_graceful_shutdown(stopped).await
    });
    tracing::info!(%address, "the hub listens");
    Ok(Handle { address, workers, stop, served })
}

/// The Hub without its socket: for tests, and to put it behind another one.
pub fn router(config: &Config) -> (axum::Router, Registry) {
    let workers = Registry::new(config.cluster.clone());
    let server = Server(Arc::new(Shared {
        workers: workers.clone(),
        guard: auth::Guard::new(
            config.token.as_deref(),
            config.listen.ip().is_loopback(),
            config.access.clone().zip(config.cluster.clone()).map(|(access, cluster)| {
                reviews::Reviews::new(access, cluster, config.answers_hold)
            }),
        ),
        accounts: accounts::Accounts::default(),
        meters: metrics::Meters::new(workers.clone()),
        queries: Arc::new(Semaphore::new(config.limits.queries)),
        callers: callers::Callers::default(),
        tails: Arc::new(Semaphore::new(config.limits.tails)),
        watchers: callers::Callers::default(),
        limits: config.limits,
        bounds: config.bounds,
        started_ms: workers::now_ms(),
    }));
    (routes::router(server, config.link.is_some()), workers)
}

fn check(config: &Config) -> Result<(), StartError> {
    match &config.token {
        Some(token) if token.trim().is_empty() => Err(StartError::EmptyToken),
        None if !config.listen.ip().is_loopback() => Err(StartError::NoToken(config.listen)),
        _ => Ok(()),
    }
}

/// What every route has at hand.
#[derive(Clone, Debug)]
pub(crate) struct Server(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    workers: Registry,
    guard: auth::Guard,
    accounts: accounts::Accounts,
    meters: metrics::Meters,
    queries: Arc<Semaphore>,
    callers: callers::Callers,
    tails: Arc<Semaphore>,
    watchers: callers::Callers,
    limits: Limits,
    bounds: Bounds,
    started_ms: i64,
}

impl std::ops::Deref for Server {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// How long what runs may take to end when the Hub does.
const STOP: Duration = Duration::from_secs(2);
