//! `kubeshark hub`.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Args;

use super::{complain, interrupted, runtime};
use crate::Outcome;

/// Run a Hub: workers dial it, people and tools ask it.
#[derive(Debug, Args)]
pub(crate) struct Hub {
    /// Where to listen; away from 127.0.0.1 it needs a token.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8899")]
    listen: SocketAddr,
    /// What workers and callers must know.
    #[arg(long, env = "KUBESHARK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Hub {
    pub(crate) fn run(self) -> Result<Outcome> {
        runtime()?.block_on(async {
            let mut hub = server::start(server::Config {
                token: self.token,
                ..server::Config::new(self.listen)
            })
            .await?;
            complain(format_args!("look at http://{}", hub.address()));
            tokio::select! {
                () = interrupted() => hub.stop().await,
                ended = hub.ended() => ended?,
            }
            Ok(Outcome::Done)
        })
    }
}
