//! The benchmarks: numbers and their meaning stand in `benches/README.md`.

use anyhow::Result;

use crate::{call, check::cargo};

/// `cargo xtask bench [ARGUMENTS]`: builds what is measured, then measures.
pub(crate) fn run(rest: &[String]) -> Result<()> {
    call(cargo().args(["build", "--release", "--package", "cli", "--package", "benches"]))?;
    call(cargo().args(["run", "--release", "--quiet", "--package", "benches", "--"]).args(rest))
}
