//! `kubeshark`: packets in, SQL out.
//!
//! One executable with roles. [`commands`] has one file a verb, [`settings`] what stands below its flags; this file
//! installs what a process has once (allocator, log, how many files may be open), and turns what a verb returns into an
//! exit code.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

mod allocator;
mod capture;
mod cluster;
mod commands;
mod format;
mod hub;
mod link_tls;
mod local;
mod output;
mod place;
mod progress;
mod screen;
mod settings;

/// See your network's traffic, and ask it questions in SQL.
#[derive(Debug, Parser)]
#[command(name = "kubeshark", version, max_term_width = 100, subcommand_required = true)]
#[command(after_help = "Exit codes: 0 done; 1 it failed; 2 the command line is wrong; \
                        3 the answer is incomplete (standard error says why).")]
struct Cli {
    /// What to log on standard error, such as `info` or `worker=debug,warn`; else warnings for `worker` and `hub`, of
    /// `hub` also who asked for what, and only errors for the others, which say what matters by themselves.
    #[arg(long, global = true, env = "KUBESHARK_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// The file of settings; else kubeshark/config.yaml in ~/.config, if it is there.
    #[arg(long, global = true, env = "KUBESHARK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: commands::Command,
}

/// How a command ended when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All that was asked was done.
    Done,
    /// Rows were given, but not all there are: a worker was missing, a file was torn, the deadline came first.
    /// What is missing was said on standard error.
    Incomplete,
    /// What was good was given, but an input was damaged; it was said on standard error.
    Damaged,
    /// What was asked can't be done as it was written; why was said on standard error.
    Refused,
}

fn main() -> ExitCode {
    let (cli, settings) = match settings::parse() {
        Ok(parsed) => parsed,
        Err(why) => {
            fail(&why);
            return ExitCode::from(2);
        }
    };
    let level = cli.log.as_deref().unwrap_or_else(|| cli.command.usual_log());
    if let Err(why) = log(level) {
        return fail(&why);
    }
    source::process::open_many_files();
    match cli.command.run(&settings) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Damaged) => ExitCode::from(1),
        Ok(Outcome::Refused) => ExitCode::from(2),
        Ok(Outcome::Incomplete) => ExitCode::from(3),
        // `kubeshark query … | head`: the reader has what it wanted.
        Err(_) if output::reader_is_gone() => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

/// One sentence on standard error.
fn fail(why: &anyhow::Error) -> ExitCode {
    commands::complain(format_args!("{why:#}"));
    ExitCode::from(1)
}

fn log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|why| {
        anyhow::anyhow!("--log {filter}: {why} (try `info` or `worker=debug,warn`)")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}
