//! `kubeshark worker`.

use anyhow::Result;
use clap::Args;
use worker::Worker as Running;

use super::{complain, interrupted, readable, runtime_beside_capture};
use crate::Outcome;
use crate::capture::Capture;
use crate::link_tls::Link;
use crate::progress;

/// Run a worker: it captures, keeps the rows, and answers a Hub about them.
///
/// With neither --interface nor --read it serves what its store holds.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The Hub to dial, such as `ws://hub:8899`; `wss://hub:8899` with certificates.
    #[arg(long, env = "KUBESHARK_HUB", value_name = "URL")]
    hub: String,
    /// What the Hub asks of its workers.
    #[arg(long, env = "KUBESHARK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    link: Link,
    #[command(flatten)]
    capture: Capture,
}

impl Worker {
    pub(crate) fn run(self) -> Result<Outcome> {
        readable(&self.capture.read)?;
        runtime_beside_capture()?.block_on(async {
            // The link is not for its own eyes.
            let port =
                self.hub.rsplit(':').next().and_then(|it| it.trim_end_matches('/').parse().ok());
            let bar = progress::Bar::new();
            let worker =
                Running::start(self.capture.config(port.into_iter().collect())?, bar.report())?;
            let hub = worker::Hub {
                address: self.hub,
                token: self.token,
                certificates: self.link.certificates(),
            };
            let import = async {
                let import = worker.imported().await;
                bar.end();
                import.errors.iter().for_each(|it| complain(format_args!("{it}")));
                std::future::pending::<()>().await;
            };
            let ended = tokio::select! {
                () = interrupted() => Ok(()),
                () = import => Ok(()),
                why = worker::serve(&worker, &hub) => Err(why),
            };
            bar.end();
            worker.stop()?;
            ended?;
            let damaged = !worker.import_so_far().errors.is_empty();
            Ok(if damaged { Outcome::Damaged } else { Outcome::Done })
        })
    }
}
