//! The benchmarks: numbers and their meaning stand in `benches/README.md`.

use anyhow::Result;

use crate::{call, check::cargo};

/// `cargo xtask bench [queries] [ARGUMENTS]`: builds what is measured, then measures.
pub(crate) fn run(rest: &[String]) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "benches"]);
    // The query engine is measured without the executable.
    if rest.first().is_none_or(|it| it != "queries") {
        build.args(["--package", "cli"]);
    }
    call(&mut build)?;
    call(cargo().args(["run", "--release", "--quiet", "--package", "benches", "--"]).args(rest))
}
