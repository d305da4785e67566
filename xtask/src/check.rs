//! Everything that must hold before a change lands; CI runs this and nothing else.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{call, fuzz, output, root, say, toolchain, ui};

/// Every step, in order: the cheap ones first, and what others need before them.
const STEPS: &[Step] = &[
    Step { name: "format", run: |_| call(cargo().args(["fmt", "--all", "--check"])) },
    Step { name: "versions", run: |_| one_version() },
    Step { name: "page", run: |_| ui::run(&[]) },
    Step { name: "lints", run: |_| lints() },
    Step { name: "docs", run: |_| docs() },
    Step { name: "wasm", run: |_| wasm() },
    Step { name: "deny", run: |_| deny() },
    Step { name: "test-pure", run: |tests| test_pure(tests, &[]) },
    Step { name: "test", run: |tests| test_whole(tests, &[]) },
    Step { name: "fuzz", run: |_| fuzz::run(&[]) },
];

/// Crates that need no query engine: tested as they are developed, with overflow checks.
const PURE: &[&str] = &[
    "schema",
    "schema-derive",
    "api",
    "identity",
    "apiserver-double",
    "cluster",
    "deploy",
    "dissect",
    "pcapng",
    "source",
    "segment",
    "tracer",
    "ui",
    "xtask",
];

/// Crates on top of the query engine, which is built once, with optimisation: a second build of it for tests
/// would take longer than all tests together.
const WHOLE: &[&str] = &["formats", "link", "query", "worker", "server", "cli", "benches"];

struct Step {
    name: &'static str,
    run: fn(&mut Tests) -> Result<()>,
}

/// How many tests ran.
#[derive(Debug, Default)]
pub(crate) struct Tests {
    passed: u64,
    failed: u64,
}

/// `cargo xtask check [STEP…]`: the named steps, or all.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let known: Vec<_> = STEPS.iter().map(|it| it.name).collect();
    if let Some(wrong) = names.iter().find(|it| !known.contains(&it.as_str())) {
        bail!("there is no step `{wrong}`; there are: {}", known.join(", "));
    }
    let mut tests = Tests::default();
    let mut lines = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for step in
        STEPS.iter().filter(|it| names.is_empty() || names.iter().any(|name| name == it.name))
    {
        say(&format!("── {}", step.name));
        let start = Instant::now();
        let result = (step.run)(&mut tests);
        let seconds = start.elapsed().as_secs();
        lines.push(match result {
            Ok(()) => {
                passed += 1;
                format!("ok      {:10} {seconds:5} s", step.name)
            }
            Err(why) => {
                failed += 1;
                say(&format!("{}: {why:#}", step.name));
                let first = format!("{why:#}");
                let first = first.lines().next().unwrap_or_default();
                format!("FAILED  {:10} {seconds:5} s  {first}", step.name)
            }
        });
    }
    say("");
    lines.iter().for_each(|line| say(line));
    tell(&format!("steps: {passed} passed, {failed} failed"));
    if tests.passed + tests.failed > 0 {
        tell(&format!("tests: {} passed, {} failed", tests.passed, tests.failed));
    }
    ensure!(failed == 0, "{failed} of {} steps failed", passed + failed);
    Ok(())
}

/// `cargo xtask test [ARGUMENTS]`: all tests; arguments go to `cargo test`.
pub(crate) fn test(rest: &[String]) -> Result<()> {
    let mut tests = Tests::default();
    let pure = test_pure(&mut tests, rest);
    let whole = test_whole(&mut tests, rest);
    tell(&format!("{} passed, {} failed", tests.passed, tests.failed));
    pure.and(whole)
}

/// `cargo xtask fix`: formats, and mends what the compiler and its lints can mend by themselves.
pub(crate) fn fix(_: &[String]) -> Result<()> {
    call(cargo().args([
        "clippy",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
        "--workspace",
        "--all-targets",
    ]))?;
    call(cargo().args(["fmt", "--all"]))
}

/// Cargo, in the checkout.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Where cargo builds.
pub(crate) fn target() -> Result<PathBuf> {
    let text = output(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(target))
}

fn lints() -> Result<()> {
    call(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn docs() -> Result<()> {
    call(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// What must stay a function of its input builds where there is no operating system.
fn wasm() -> Result<()> {
    let target = target()?;
    let toolchain = toolchain::Toolchain::find(&target)?;
    call(
        toolchain
            .cargo()
            .current_dir(root())
            .arg("check")
            .args(["schema", "dissect", "api", "identity"].map(|it| format!("--package={it}")))
            .args(["--target", toolchain::TARGET, "--target-dir"])
            .arg(target.join("wasm")),
    )
}

/// Licences, sources and who may know whom: `deny.toml`. Advisories need the network, so they are not asked here.
fn deny() -> Result<()> {
    let tools = target()?.join("tools");
    let deny = tools.join("bin").join("cargo-deny");
    if !deny.is_file() {
        say("installing cargo-deny, once");
        call(
            cargo()
                .args([
                    "install",
                    "--locked",
                    "--debug",
                    "cargo-deny",
                    "--version",
                    CARGO_DENY,
                    "--root",
                ])
                .arg(&tools)
                .arg("--target-dir")
                .arg(tools.join("build")),
        )?;
        fs::remove_dir_all(tools.join("build")).context("tidying after the installation")?;
    }
    call(
        Command::new(deny)
            .current_dir(root())
            .args(["--workspace", "--all-features", "check", "--hide-inclusion-graph"])
            .args(["bans", "licenses", "sources"]),
    )
}

const CARGO_DENY: &str = "^0.20";

/// Rows pass from crate to crate as Arrow: two versions of it would not fit each other.
fn one_version() -> Result<()> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("reading Cargo.lock")?;
    for name in [
        "arrow-array",
        "arrow-schema",
        "arrow-ipc",
        "parquet",
        "datafusion",
        "object_store",
        "tonic",
        "axum",
    ] {
        let versions = versions(&lock, name);
        ensure!(
            versions.len() == 1,
            "Cargo.lock has {name} {} times: {}",
            versions.len(),
            versions.join(", ")
        );
    }
    Ok(())
}

fn versions<'a>(lock: &'a str, name: &str) -> Vec<&'a str> {
    let named = format!("name = \"{name}\"");
    let mut lines = lock.lines();
    let mut versions = Vec::new();
    while lines.any(|line| line == named) {
        versions.extend(lines.next().and_then(|it| it.strip_prefix("version = ")));
    }
    versions
}

fn test_pure(tests: &mut Tests, rest: &[String]) -> Result<()> {
    tests.run(cargo().args(["test", "--no-fail-fast"]).args(packages(PURE)).args(rest))
}

fn test_whole(tests: &mut Tests, rest: &[String]) -> Result<()> {
    tests
        .run(cargo().args(["test", "--release", "--no-fail-fast"]).args(packages(WHOLE)).args(rest))
}

fn packages(names: &[&'static str]) -> impl Iterator<Item = &'static str> {
    names.iter().flat_map(|name| ["--package", name])
}

impl Tests {
    /// Runs cargo's tests, shows what they print and counts them.
    fn run(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let stdout = child.stdout.take().context("the output was piped")?;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            self.count(&line);
            tell(&line);
        }
        let status = child.wait()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    }

    fn count(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let words: Vec<_> = rest.split([' ', ';']).collect();
        for pair in words.windows(2) {
            let n = pair[0].parse().unwrap_or(0);
            match pair[1] {
                "passed" => self.passed += n,
                "failed" => self.failed += n,
                _ => {}
            }
        }
    }
}

/// A line of the result itself, on standard output.
#[allow(clippy::print_stdout, reason = "a task talks to a terminal")]
fn tell(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_cargo_says() {
        let mut tests = Tests::default();
        tests.count("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s");
        tests.count(
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        tests.count("7 passed");
        assert_eq!((tests.passed, tests.failed), (13, 2));
    }

    #[test]
    fn finds_every_version() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1\"\n\n[[package]]\nname = \"a\"\nversion = \"2\"\n\
                    [[package]]\nname = \"ab\"\nversion = \"3\"\n";
        assert_eq!(versions(lock, "a"), ["\"1\"", "\"2\""]);
        assert!(versions(lock, "b").is_empty());
    }
}
