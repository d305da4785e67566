//! Real captures, whose exchanges another program has listed.

use std::path::Path;
use std::process::Command;

use crate::processes::{corpus, run};

#[test]
fn rows_agree_with_the_ground_truth() {
    let Some(corpus) = corpus() else { return };
    let sql = Path::new("tests/truth/sql");
    let output = run(Command::new("python3")
        .arg(corpus.join("check.py"))
        .args([
            "--bin",
            env!("CARGO_BIN_EXE_kubeshark"),
            "--min-recall",
            "0.99",
            "--show",
            "3",
            "--sql",
        ])
        .arg(sql));
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}");
    assert!(output.status.success(), "{stdout}{stderr}");
    for protocol in ["http", "dns", "redis"] {
        assert!(
            stdout.lines().any(|it| it.starts_with(&format!("{protocol} "))),
            "{protocol} was not checked"
        );
    }
}
