//! `kubeshark hub`.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Args;

use super::{complain, interrupted, runtime};
use crate::Outcome;
use crate::link_tls::Link;

/// Run a Hub: workers dial it, people and tools ask it.
#[derive(Debug, Args)]
pub(crate) struct Hub {
    /// Where to listen; away from 127.0.0.1 it needs a token.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8899")]
    listen: SocketAddr,
    /// What workers must know, and callers who may see everything. With --cluster, callers may show a token of
    /// the cluster instead, and see what its rules allow them.
    #[arg(long, env = "KUBESHARK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Watch the Kubernetes cluster that this runs in, or that of the kubeconfig, and have workers name
    /// pods, workloads, Services and nodes beside their addresses.
    #[arg(long)]
    cluster: bool,
    /// The ConfigMap that says whose traffic is kept, in the Hub's namespace.
    #[arg(long, env = "KUBESHARK_SETTINGS", value_name = "NAME", requires = "cluster")]
    settings: Option<String>,
    /// The Hub's namespace.
    #[arg(long, env = "KUBESHARK_NAMESPACE", value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    link: Link,
}

impl Hub {
    pub(crate) fn run(self) -> Result<Outcome> {
        let link = self.link.certificates();
        let bare = link.is_none() && !self.listen.ip().is_loopback();
        runtime()?.block_on(async {
            let client = match self.cluster {
                true => match cluster::connect().await {
                    Ok(client) => Some(client),
                    Err(error) => {
                        complain(format_args!(
                            "no cluster is watched, so nothing is named: {error}"
                        ));
                        None
                    }
                },
                false => None,
            };
            let cluster = client.as_ref().map(|client| match &self.settings {
                Some(name) => cluster::Cluster::watch_with(client, &self.namespace, name),
                None => cluster::Cluster::watch(client),
            });
            let mut hub = server::start(server::Config {
                token: self.token,
                cluster,
                link,
                access: client.as_ref().map(cluster::Access::new),
                ..server::Config::new(self.listen)
            })
            .await?;
            complain(format_args!("look at http://{}", hub.address()));
            if bare {
                complain(format_args!(
                    "workers' links are not encrypted: who sees the network sees rows and the token \
                     (--link-ca, --link-cert and --link-key seal them)"
                ));
            }
            tokio::select! {
                () = interrupted() => hub.stop().await,
                ended = hub.ended() => ended?,
            }
            Ok(Outcome::Done)
        })
    }
}
