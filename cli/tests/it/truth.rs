//! Real captures, whose exchanges another program has listed.

use std::path::Path;
use std::process::Command;

use crate::processes::{corpus, run};

/// Protocols with more differences than one in two hundred, and why; each difference is named at the head of the
/// protocol's SQL file.
const KNOWN: &[(&str, Differences, &str)] = &[
    (
        "ftp",
        Differences { missed: 2, invented: 2 },
        "tshark takes each segment of a command for a command, and misses the second of two in one",
    ),
    (
        "icmpv6",
        Differences { missed: 1, invented: 0 },
        "fragments within fragments, which tshark reads as a message",
    ),
    (
        "quic",
        Differences { missed: 1, invented: 3 },
        "hellos sent again from another address are listed once",
    ),
];

/// How many exchanges of the list have no row, and how many rows are not in the list.
#[derive(Debug)]
struct Differences {
    missed: u64,
    invented: u64,
}

#[test]
fn rows_agree_with_the_ground_truth() {
    let Some(corpus) = corpus() else { return };
    let sql = Path::new("tests/truth/sql");
    let output = run(Command::new("python3")
        .arg(corpus.join("check.py"))
        .args(["--bin", env!("CARGO_BIN_EXE_kubeshark"), "--min-recall", "0", "--show", "3"])
        .arg("--sql")
        .arg(sql));
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}");
    assert!(output.status.success(), "{stdout}{stderr}");
    for file in std::fs::read_dir(sql).unwrap() {
        let path = file.unwrap().path();
        let protocol = path.file_stem().unwrap().to_str().unwrap();
        let line = stdout.lines().find(|it| it.split_whitespace().next() == Some(protocol));
        let line = line.unwrap_or_else(|| panic!("{protocol} was not checked"));
        let numbers: Vec<_> = line.split_whitespace().skip(1).collect();
        let number = |place: usize| numbers[place].parse::<u64>().unwrap();
        let (listed, found, invented) = (number(1), number(2), number(4));
        let known = KNOWN.iter().find(|it| it.0 == protocol);
        let bound = known.map_or(listed / 200, |it| it.1.missed);
        assert!(listed - found <= bound, "{} missed: {line}", listed - found);
        let bound = known.map_or(listed / 200, |it| it.1.invented);
        assert!(invented <= bound, "{invented} invented: {line}");
    }
}
