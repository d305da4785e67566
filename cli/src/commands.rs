//! The verbs of the command line, one file each.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;
use crate::capture::Age;
use crate::settings::Settings;

mod check;
mod clean;
mod completion;
mod config;
mod deploy;
mod dissection;
mod hub;
mod kfl;
mod logs;
mod pcapdump;
mod proxy;
mod query;
mod status;
mod tables;
mod tail;
mod tap;
mod version;
mod worker;

/// What `kubeshark` can be asked to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Tap(Box<tap::Tap>),
    Deploy(deploy::Deploy),
    Clean(clean::Clean),
    Proxy(proxy::Proxy),
    Status(status::Status),
    Check(check::Check),
    Logs(logs::Logs),
    Query(Box<query::Query>),
    Tail(tail::Tail),
    Pcapdump(pcapdump::Pcapdump),
    Tables(tables::Tables),
    Kfl(kfl::Kfl),
    Worker(worker::Worker),
    Hub(hub::Hub),
    Dissection(dissection::Dissection),
    Config(config::Config),
    Version(version::Version),
    Completion(completion::Completion),
}

impl Command {
    /// What it logs, unless told otherwise.
    pub(crate) fn usual_log(&self) -> &'static str {
        match self {
            // Who asked for what is wanted wherever many ask.
            Self::Hub(_) => "warn,audit=info",
            Self::Worker(_) => "warn",
            // Somebody looks on.
            _ => "error",
        }
    }

    /// Does it.
    pub(crate) fn run(self, settings: &Settings) -> Result<Outcome> {
        match self {
            Self::Tap(it) => it.run(),
            Self::Deploy(it) => it.run(),
            Self::Clean(it) => it.run(),
            Self::Proxy(it) => it.run(),
            Self::Status(it) => it.run(),
            Self::Check(it) => it.run(),
            Self::Logs(it) => it.run(),
            Self::Query(it) => it.run(),
            Self::Tail(it) => it.run(),
            Self::Pcapdump(it) => it.run(),
            Self::Tables(it) => it.run(),
            Self::Kfl(it) => it.run(),
            Self::Worker(it) => it.run(),
            Self::Hub(it) => it.run(),
            Self::Dissection(it) => it.run(),
            Self::Config(it) => it.run(settings),
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
    build(&mut Builder::new_multi_thread())
}

/// The same beside a capture, which has threads of its own and goes first.
pub(crate) fn runtime_beside_capture() -> Result<Runtime> {
    build(Builder::new_multi_thread().on_thread_start(source::process::give_way))
}

fn build(runtime: &mut Builder) -> Result<Runtime> {
    runtime.enable_all().build().context("starting the runtime")
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

/// Waits for that long; without a time, for ever.
async fn enough(time: Option<Age>) {
    match time {
        Some(Age(time)) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
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
