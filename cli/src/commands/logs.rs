//! `kubeshark logs`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::{complain, runtime};
use crate::Outcome;
use crate::cluster::{Shape, Where};

/// Collect logs, events and state of a Kubeshark in a cluster, as a zip file for a report.
///
/// Tokens and the values of environment variables are left out.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The file to write.
    #[arg(value_name = "FILE", default_value = "kubeshark-logs.zip")]
    file: PathBuf,
    #[command(flatten)]
    place: Where,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    output: Shape,
}

impl Logs {
    pub(crate) fn run(self) -> Result<Outcome> {
        runtime()?.block_on(async {
            let cluster = self.place.connect().await?;
            let name = self.file.display().to_string();
            let file = File::create(&self.file).with_context(|| format!("can't write {name}"))?;
            let collected = cluster.logs(file).await?;
            for it in &collected.missing {
                complain(format_args!("{it}"));
            }
            self.output
                .write(&collected, |it, out| writeln!(out, "{name}: {} files", it.files.len()))?;
            let whole = collected.missing.is_empty();
            Ok(if whole { Outcome::Done } else { Outcome::Incomplete })
        })
    }
}
