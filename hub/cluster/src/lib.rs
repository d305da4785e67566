//! The Kubernetes cluster: what runs in it.
//!
//! [`Cluster`] is the only watcher of the API: one watch per kind, for all Workers. What it sees becomes
//! facts (`facts.rs`), which it keeps, and tells to whoever subscribes: first all it knows, then what
//! changes; and they are tables, which tell of what was seen ([`tables()`]).

mod about;
mod access;
mod events;
mod facts;
mod follow;
mod objects;
mod settings;
mod subscription;
mod tables;
mod targeting;
mod watched;

pub use access::{Access, AccessError, GROUP, User};
pub use settings::NotChanged;
pub use subscription::Subscription;
pub use tables::tables;
pub use targeting::{Candidate, Matcher, Meant, Targeting, Unclear};
pub use watched::{Cluster, Kind, KindState, State};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The API of the cluster that this process runs in, or else of the kubeconfig's present context.
/// An error says why there is neither.
pub async fn connect() -> Result<kube::Client, ConnectError> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(CONNECT);
    Ok(kube::Client::try_from(config)?)
}

/// Why there is no API server to ask.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither in a cluster, nor is there a kubeconfig that can be read.
    #[error("this is no pod of a cluster, and there is no kubeconfig: {0}")]
    Nowhere(#[from] kube::config::InferConfigError),
    /// It can't be used.
    #[error("the kubeconfig can't be used: {0}")]
    Unusable(#[from] kube::Error),
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The longest that a connection to the API server may take to stand.
const CONNECT: Duration = Duration::from_secs(5);
