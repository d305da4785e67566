//! The verbs of the command line, one file each.

use std::fmt;
use std::io::{self, Write};

use clap::Subcommand;

use crate::Outcome;

mod completion;
mod hub;
mod query;
mod tables;
mod tap;
mod version;
mod worker;

/// What `kubeshark` can be asked to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Tap(tap::Tap),
    Query(query::Query),
    Tables(tables::Tables),
    Worker(worker::Worker),
    Hub(hub::Hub),
    Version(version::Version),
    Completion(completion::Completion),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self {
            Self::Tap(it) => it.run(),
            Self::Query(it) => it.run(),
            Self::Tables(it) => it.run(),
            Self::Worker(it) => it.run(),
            Self::Hub(it) => it.run(),
            Self::Version(it) => it.run(),
            Self::Completion(it) => it.run(),
        }
    }
}

/// Says something on standard error that a person should know. A closed standard error is nobody's trouble.
pub(crate) fn complain(what: fmt::Arguments<'_>) {
    writeln!(io::stderr(), "kubeshark: {what}").ok();
}
