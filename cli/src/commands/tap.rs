//! `kubeshark tap`.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use clap::Args;
use worker::Worker;

use super::{complain, interrupted, readable, runtime};
use crate::Outcome;
use crate::capture::{Age, Capture};
use crate::progress;

/// Capture traffic on this machine, or read capture files, and show it in the browser.
///
/// A worker, a Hub and the page in one process, on loopback. Rows go when it ends, unless --store names a folder.
#[derive(Debug, Args)]
pub(crate) struct Tap {
    #[command(flatten)]
    capture: Capture,
    /// The port of the page on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8899)]
    port: u16,
    /// Don't open the browser.
    #[arg(long)]
    no_browser: bool,
    /// End after that time, such as `30s`.
    #[arg(long = "for", value_name = "TIME")]
    time: Option<Age>,
    /// Set where there is a screen for a browser.
    #[arg(long, env = "DISPLAY", hide = true)]
    display: Option<String>,
    /// The same, of newer desktops.
    #[arg(long, env = "WAYLAND_DISPLAY", hide = true)]
    wayland_display: Option<String>,
}

impl Tap {
    pub(crate) fn run(mut self) -> Result<Outcome> {
        if self.capture.is_empty() {
            self.capture.interface = Some("any".to_owned());
        }
        readable(&self.capture.read)?;
        runtime()?.block_on(self.serve())
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
        let screen =
            [&self.display, &self.wayland_display].into_iter().flatten().any(|it| !it.is_empty());
        if screen
            && !self.no_browser
            && let Err(why) = open::that_detached(&url)
        {
            tracing::info!(%why, "no browser opened");
        }
        let time = self.time;
        let enough = async move {
            match time {
                Some(Age(time)) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let import = async {
            let import = worker.imported().await;
            bar.end();
            import.errors.iter().for_each(|it| complain(format_args!("{it}")));
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            () = interrupted() => Ok(()),
            () = enough => Ok(()),
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
