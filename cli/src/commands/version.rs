//! `kubeshark version`.

use std::io::Write;

use clap::Args;

use crate::{Outcome, output};

/// Print the version.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// As text or as one JSON object.
    #[arg(long, value_enum, default_value_t = Shape::Text)]
    format: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    Text,
    Json,
}

impl Version {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let version = env!("CARGO_PKG_VERSION");
        let mut out = output::stdout();
        match self.format {
            Shape::Text => writeln!(out, "kubeshark {version}")?,
            Shape::Json => writeln!(out, "{}", serde_json::json!({ "version": version }))?,
        }
        out.flush()?;
        Ok(Outcome::Done)
    }
}
