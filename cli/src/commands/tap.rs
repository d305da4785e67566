//! `kubeshark tap`.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, bail};
use clap::Args;
use worker::Worker;

use super::deploy::dry_run;
use super::{complain, enough, interrupted, readable, runtime, runtime_beside_capture};
use crate::Outcome;
use crate::capture::{Age, Capture};
use crate::cluster::{Installation, PATIENCE, Shape, bring_up, keep_way, name_targets, open_way};
use crate::progress;
use crate::screen::Screen;

/// Capture traffic of a cluster, of this machine, or of capture files, and show it in the browser.
///
/// Of a cluster, if one of its options is given: Kubeshark is installed or upgraded there, and stays when this ends
/// (`kubeshark clean` removes it). Else of this machine: a worker, a Hub and the page in one process, on loopback; rows
/// go when it ends, unless --store names a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubeshark tap --cluster
  kubeshark tap -n shop '^(cart|pay)-'
  kubeshark tap -i eth0
  kubeshark tap --read day.pcapng")]
pub(crate) struct Tap {
    #[command(flatten)]
    capture: Capture,
    /// Tap this machine, which is what happens without any option of a cluster.
    #[arg(long)]
    local: bool,
    /// Tap the cluster of the kubeconfig.
    #[arg(long, conflicts_with = "local", help_heading = "Cluster")]
    cluster: bool,
    #[command(flatten)]
    installation: Installation,
    /// Print what would be applied, and which pods are meant, and change nothing.
    #[arg(long, help_heading = "Cluster")]
    dry_run: bool,
    /// How the result is written, of a cluster.
    #[arg(long, value_enum, default_value_t, help_heading = "Cluster")]
    output: Shape,
    /// The port of the page on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8899)]
    port: u16,
    #[command(flatten)]
    screen: Screen,
    /// End after that time, such as `30s`.
    #[arg(long = "for", value_name = "TIME")]
    time: Option<Age>,
}

impl Tap {
    pub(crate) fn run(mut self) -> Result<Outcome> {
        if self.wants_cluster() {
            if self.local || self.capture.is_named() {
                bail!(
                    "--local, --interface, --read and --trace are about this machine, other options \
                     given here about a cluster: it is one or the other"
                );
            }
            return runtime()?.block_on(self.tap_cluster());
        }
        if !self.capture.is_named() && !self.local {
            complain(format_args!(
                "tapping this machine; `kubeshark tap --cluster` taps a cluster"
            ));
        }
        if self.capture.is_empty() {
            self.capture.interface = Some("any".to_owned());
        }
        readable(&self.capture.read)?;
        runtime_beside_capture()?.block_on(self.serve())
    }

    fn wants_cluster(&self) -> bool {
        self.cluster || self.dry_run || self.installation.is_named()
    }

    async fn tap_cluster(self) -> Result<Outcome> {
        let (cluster, plan, targets) = self.installation.plan().await?;
        if self.dry_run {
            return dry_run(&plan, &targets, self.output);
        }
        let status = bring_up(&cluster, &plan, PATIENCE).await?;
        name_targets(&targets);
        let (forward, url) = open_way(&cluster, self.port).await?;
        complain(format_args!("look at {url}"));
        let result = serde_json::json!({
            "namespace": cluster.namespace(), "status": status, "targets": targets, "url": url,
        });
        if self.output == Shape::Json {
            self.output.write(&result, |_, _| Ok(()))?;
        }
        self.screen.show(&url);
        tokio::select! {
            () = keep_way(forward) => {}
            () = enough(self.time) => {}
        }
        complain(format_args!("Kubeshark is still in the cluster: `kubeshark clean` removes it"));
        Ok(Outcome::Done)
    }

    async fn serve(self) -> Result<Outcome> {
        let mut hub =
            server::start(server::Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))))
                .await?;
        // Its own page would show itself.
        let config = self.capture.config(vec![hub.address().port()])?;
        let bar = progress::Bar::new();
        let worker = Worker::start(config, bar.report())?;
        hub.workers().attach(link::attach(worker.node(), worker.engine()));
        hub.workers().linked(1).await;

        let url = format!("http://{}", hub.address());
        complain(format_args!("look at {url}"));
        self.screen.show(&url);
        let import = async {
            let import = worker.imported().await;
            bar.end();
            import.errors.iter().for_each(|it| complain(format_args!("{it}")));
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            () = interrupted() => Ok(()),
            () = enough(self.time) => Ok(()),
            () = import => Ok(()),
            ended = hub.ended() => ended,
        };
        bar.end();
        hub.stop().await;
        worker.stop()?;
        ended?;
        let damaged = !worker.import_so_far().errors.is_empty();
        Ok(if damaged { Outcome::Damaged } else { Outcome::Done })
    }
}
