//! `kubeshark completion`.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, Outcome, output};

/// Print a completion script for a shell.
///
/// For bash: `kubeshark completion bash > ~/.local/share/bash-completion/completions/kubeshark`
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell it is for.
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        // Generated into memory first: the generator panics when its output is closed.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "kubeshark", &mut script);
        let mut out = output::stdout();
        out.write_all(&script)?;
        out.flush()?;
        Ok(Outcome::Done)
    }
}
