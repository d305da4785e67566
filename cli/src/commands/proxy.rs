//! `kubeshark proxy`.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::{complain, runtime};
use crate::cluster::{Shape, Where, keep_way, open_way};
use crate::{Outcome, screen::Screen};

/// Open the page of a Kubeshark that is in a cluster, and keep the way to it open.
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    #[command(flatten)]
    place: Where,
    /// The port of the page on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8899)]
    port: u16,
    #[command(flatten)]
    screen: Screen,
    /// How the address is written.
    #[arg(long, value_enum, default_value_t)]
    output: Shape,
}

impl Proxy {
    pub(crate) fn run(self) -> Result<Outcome> {
        runtime()?.block_on(async {
            let cluster = self.place.connect().await?;
            let status = cluster.status().await?;
            if !status.is_ready() {
                complain(format_args!("{status}"));
            }
            let (forward, url) = open_way(&cluster, self.port).await?;
            self.output
                .write(&serde_json::json!({ "url": url }), |_, out| writeln!(out, "{url}"))?;
            self.screen.show(&url);
            keep_way(forward).await;
            Ok(Outcome::Done)
        })
    }
}
