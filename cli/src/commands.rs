//! The verbs of the command line, one file each.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;

mod completion;
mod hub;
mod kfl;
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
    Kfl(kfl::Kfl),
    Worker(worker::Worker),
    Hub(hub::Hub),
    Version(version::Version),
    Completion(completion::Completion),
}

impl Command {
    /// Whether nobody looks on while it runs.
    pub(crate) fn is_daemon(&self) -> bool {
        matches!(self, Self::Worker(_) | Self::Hub(_))
    }

    /// Does it.
    pub(crate) fn run(self) -> Result<Outcome> {
        match self {
            Self::Tap(it) => it.run(),
            Self::Query(it) => it.run(),
            Self::Tables(it) => it.run(),
            Self::Kfl(it) => it.run(),
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

/// What runs everything that waits.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}

/// Waits until someone wants the program to end.
pub(crate) async fn interrupted() {
    let asked = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await.unwrap_or_default(),
            // Then the signal does what it does by itself: it ends the program.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = asked(SignalKind::interrupt()) => {}
        () = asked(SignalKind::terminate()) => {}
    }
}

/// Says at once what is wrong with a file that can't be read, rather than serving nothing.
fn readable(files: &[PathBuf]) -> Result<()> {
    // A pipe is read once.
    for file in files.iter().filter(|it| it.as_os_str() != "-" && !is_pipe(it)) {
        source::open_file(file)?;
    }
    Ok(())
}

fn is_pipe(file: &std::path::Path) -> bool {
    file.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir())
}
