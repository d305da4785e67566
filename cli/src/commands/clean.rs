//! `kubeshark clean`.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use deploy::News;

use super::{complain, runtime};
use crate::Outcome;
use crate::capture::Age;
use crate::cluster::{Shape, Where};

/// Remove everything of Kubeshark from a cluster, and nothing else.
///
/// What was installed with Helm is left to Helm. Rows that Workers keep in a folder of their nodes
/// (worker.storage.kind=hostPath) stay there.
#[derive(Debug, Args)]
pub(crate) struct Clean {
    #[command(flatten)]
    place: Where,
    /// How long to wait until pods are gone.
    #[arg(long, value_name = "TIME", default_value = "2m")]
    timeout: Age,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    output: Shape,
}

impl Clean {
    pub(crate) fn run(self) -> Result<Outcome> {
        runtime()?.block_on(async {
            let cluster = self.place.connect().await?;
            let (mut removed, mut left) = (Vec::new(), Vec::new());
            let mut tell = |news: News| {
                complain(format_args!("{news}"));
                match news {
                    News::Removed(it) => removed.push(it),
                    News::Left(it, why) => left.push(format!("{it}: {why}")),
                    _ => {}
                }
            };
            let gone = cluster.uninstall(self.timeout.0, &mut tell).await?;
            let result = serde_json::json!({"removed": removed, "left": left, "gone": gone});
            self.output.write(&result, |_, out| match removed.len() {
                0 => writeln!(out, "there is nothing of Kubeshark in {}", cluster.namespace()),
                n => writeln!(out, "removed {n} objects"),
            })?;
            if !gone {
                bail!("some of it is still ending: `kubeshark clean` again sees to the rest");
            }
            Ok(Outcome::Done)
        })
    }
}
