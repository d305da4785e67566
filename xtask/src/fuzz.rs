//! Fuzzing, with the compiler that is there: libFuzzer's coverage comes from stable flags, so neither a nightly
//! compiler nor a tool is needed.

mod seeds;

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    call,
    check::{cargo, target},
    output, root, say,
};

/// The folders that hold fuzz targets; each is a workspace of its own.
const FOLDERS: &[&str] = &["capture/dissect/fuzz"];

/// `cargo xtask fuzz [SECONDS]`: every target for that long, starting from the fixtures, and from the
/// shared captures where they are.
pub(crate) fn run(rest: &[String]) -> Result<()> {
    let seconds: u32 = match rest {
        [] => SECONDS,
        [seconds, ..] => {
            seconds.parse().with_context(|| format!("`{seconds}` is no number of seconds"))?
        }
    };
    let target = target()?.join("fuzz");
    // Named, so that the flags are for the targets alone: build scripts run without libFuzzer.
    let host = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    for folder in FOLDERS {
        let folder = root().join(folder);
        ensure!(
            folder.join("Cargo.toml").is_file(),
            "there are no fuzz targets in {}",
            folder.display()
        );
        call(
            cargo()
                .current_dir(&folder)
                .args(["build", "--release", "--target", &host, "--target-dir"])
                .arg(&target)
                .env("RUSTFLAGS", COVERAGE.join(" ")),
        )?;
        for name in names(&folder)? {
            say(&format!("fuzzing {name} for {seconds} s"));
            let binary = target.join(&host).join("release").join(&name);
            fuzz(&folder, &target, &binary, &name, seconds)?;
        }
    }
    Ok(())
}

fn fuzz(folder: &Path, target: &Path, binary: &Path, name: &str, seconds: u32) -> Result<()> {
    let work = target.join("corpus").join(name);
    let found = target.join("found").join(name);
    fs::create_dir_all(&work)?;
    fs::create_dir_all(&found)?;
    let begin = target.join("seeds").join(name);
    seeds::write(name, &folder.join("../fixtures"), &root().join("../shared/corpus/pcap"), &begin)?;
    let mut command = Command::new(binary);
    // New inputs go to the first folder; the seeds are only read.
    command.arg(&work).arg(&begin);
    call(
        command
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"])
            .arg(format!("-artifact_prefix={}/", found.display())),
    )
    .with_context(|| format!("{name}: the input that broke it lies in {}", found.display()))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let text =
        output(cargo().current_dir(folder).args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let targets = metadata["packages"].as_array().into_iter().flatten();
    let targets = targets.flat_map(|it| it["targets"].as_array().into_iter().flatten());
    let names: Vec<String> = targets
        .filter(|it| it["kind"].as_array().is_some_and(|it| it.iter().any(|kind| kind == "bin")))
        .filter_map(|it| it["name"].as_str().map(str::to_owned))
        .collect();
    ensure!(!names.is_empty(), "{} declares no fuzz target", folder.display());
    Ok(names)
}

/// What libFuzzer needs to see: edges and comparisons; and arithmetic that must not wrap.
const COVERAGE: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

const SECONDS: u32 = 30;
