//! `kubeshark status`.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::runtime;
use crate::Outcome;
use crate::cluster::{Shape, Where};

/// Say how Kubeshark does in a cluster, or whether a pod is tapped, and why.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// A pod to say it of.
    pod: Option<String>,
    /// The pod's namespace.
    #[arg(short, long, value_name = "NAME", default_value = "default", requires = "pod")]
    namespace: String,
    #[command(flatten)]
    place: Where,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    output: Shape,
}

impl Status {
    pub(crate) fn run(self) -> Result<Outcome> {
        runtime()?.block_on(async {
            let cluster = self.place.connect().await?;
            if let Some(pod) = &self.pod {
                let verdict = cluster.verdict(&self.namespace, pod).await?;
                self.output.write(&verdict, |it, out| {
                    let tapped = if it.tapped { "is tapped" } else { "is not tapped" };
                    writeln!(out, "{pod} {tapped}: {}", it.why.join("; "))
                })?;
                return Ok(Outcome::Done);
            }
            let status = cluster.status().await?;
            self.output.write(&status, |it, out| {
                writeln!(out, "{it} (version {}, by {})", it.version, it.managed_by)?;
                for pod in &it.pods {
                    let node = pod.node.as_deref().unwrap_or("no node");
                    let state = if pod.ready { "ready" } else { "not ready" };
                    let again = match pod.restarts {
                        0 => String::new(),
                        n => format!(", began anew {n} times"),
                    };
                    writeln!(out, "  {} on {node}: {state}{again}", pod.name)?;
                }
                it.reasons.iter().try_for_each(|it| writeln!(out, "  {it}"))
            })?;
            Ok(if status.is_ready() { Outcome::Done } else { Outcome::Incomplete })
        })
    }
}
