//! `cargo xtask <verb>`: every recipe of this project, in Rust. One verb, one module.
#![allow(clippy::disallowed_methods, reason = "a task reads cargo's variables")]

mod bench;
mod check;
mod crash;
mod fuzz;
mod toolchain;
mod ui;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};

const USAGE: &str = "usage: cargo xtask <verb>

  ui [--dev]    build the page into hub/server/page; --dev is quicker to build and slower to run
  check [STEP]  everything CI runs, or the named steps of it
  test [ARG]    all tests; arguments go to `cargo test`
  fix           format, and mend what the compiler can mend by itself
  bench [ARG]   the benchmarks, tshark beside us, or with `queries` DuckDB; see benches/README.md
  fuzz [SECS]   every fuzz target for that long
  crash [--rounds N] [--seed S]
                kills processes that write to a store, 1000 times by default, and counts rows
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let (verb, rest) = args.split_first().map_or(("help", args), |(v, rest)| (v.as_str(), rest));
    match verb {
        "bench" => bench::run(rest),
        "check" => check::run(rest),
        "crash" => crash::run(rest),
        "fix" => check::fix(rest),
        "fuzz" => fuzz::run(rest),
        "test" => check::test(rest),
        "ui" => ui::run(rest),
        "help" | "--help" | "-h" => {
            say(USAGE);
            Ok(())
        }
        other => bail!("there is no task `{other}`\n\n{USAGE}"),
    }
}

/// The checkout: as cargo says now, for the executable may have been built in another one.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| "xtask".into());
    Path::new(&here).parent().expect("xtask lies in the checkout").into()
}

/// A line for whoever runs the task.
#[allow(clippy::print_stderr, reason = "a task talks to a terminal")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn call(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// What a command printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
