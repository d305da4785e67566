//! Kills processes that write to a store, many times, and sees what is left.

use anyhow::{Context as _, Result, bail};

use crate::{call, check::cargo};

/// `cargo xtask crash [--rounds N] [--seed S]`: so many rounds from that seed; the tests do a dozen.
pub(crate) fn run(rest: &[String]) -> Result<()> {
    let (mut rounds, mut seed) = (1_000_u64, 1_u64);
    for pair in rest.chunks(2) {
        let number = pair.get(1).context("a number is missing")?;
        let number = number.parse().with_context(|| format!("{number} is no number"))?;
        match pair.first().map(String::as_str) {
            Some("--rounds") => rounds = number,
            Some("--seed") => seed = number,
            other => bail!("{} is no option: --rounds N, --seed S", other.unwrap_or_default()),
        }
    }
    let mut test = cargo();
    test.args(["test", "--package", "segment", "--test", "it", "--", "--nocapture", "--exact"]);
    test.arg("rounds::whenever_a_process_is_killed_every_row_is_there_or_counted");
    call(test.env("ROUNDS", rounds.to_string()).env("SEED", seed.to_string()))
}
