//! `kubeshark check`.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use deploy::Grade;

use super::runtime;
use crate::Outcome;
use crate::cluster::{Installation, Shape};

/// Say what stands in the way of Kubeshark in a cluster, and what to do about it.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    installation: Installation,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    output: Shape,
}

impl Check {
    pub(crate) fn run(self) -> Result<Outcome> {
        runtime()?.block_on(async {
            let (cluster, options) = self.installation.connect().await?;
            let plan = deploy::render(&options, &|_, _, _, _| None)?;
            let findings = cluster.check(&plan).await?;
            self.output.write(&findings, |it, out| {
                for it in it {
                    let mark = match it.verdict {
                        Grade::Good => "good",
                        Grade::Warning => "note",
                        Grade::Bad => "BAD ",
                    };
                    writeln!(out, "{mark}  {}: {}", it.about, it.found)?;
                    if let Some(fix) = &it.fix {
                        writeln!(out, "      {fix}")?;
                    }
                }
                Ok(())
            })?;
            match findings.iter().filter(|it| it.verdict == Grade::Bad).count() {
                0 => Ok(Outcome::Done),
                1 => bail!("one thing stands in the way"),
                n => bail!("{n} things stand in the way"),
            }
        })
    }
}
