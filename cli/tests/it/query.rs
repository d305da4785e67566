//! `kubeshark query --read`: files in, rows out, no server.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::processes::{json_lines, kubeshark, rows, run};
use crate::traffic;

#[test]
fn sql_filters_and_several_files_are_answered() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (folder.path().join("one.pcap"), folder.path().join("two.pcap"));
    traffic::write(&one, (0..1_000).map(traffic::exchange));
    traffic::write(&two, (1_000..1_500).map(traffic::exchange));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());

    let all = rows(&["--read", one, "--read", two, "select count(*) as n from http"]);
    assert_eq!(all[0]["n"], 1_500);
    // Several files may follow one --read, the question behind them.
    let all = rows(&["select count(*) as n from http", "--read", one, two]);
    assert_eq!(all[0]["n"], 1_500);

    let failed = rows(&["--read", one, "http.status >= 500"]);
    assert_eq!(failed.len(), 100);
    assert!(failed.iter().all(|it| it["status"] == 503 && it["failed"] == true));
    assert_eq!(rows(&["--read", one, "--filter", "http.status >= 500", "--limit", "7"]).len(), 7);

    let slow =
        rows(&["--read", one, "select target, duration from http where duration > 50000000"]);
    assert_eq!(slow.len(), 100);
    assert!(slow.iter().all(|it| it["duration"].as_i64().unwrap() >= 80_000_000), "{:?}", slow[0]);
}

#[test]
fn compressed_files_and_standard_input_are_read() {
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("one.pcap");
    traffic::write(&plain, (0..100).map(traffic::exchange));
    let bytes = std::fs::read(&plain).unwrap();
    let zipped = run(Command::new("gzip").arg("-c").arg(&plain)).stdout;
    for input in [bytes, zipped] {
        let mut child = kubeshark()
            .args(["query", "--format", "ndjson", "--read", "-", "select count(*) as n from http"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(json_lines(&output)[0]["n"], 100);
    }
}

#[test]
fn what_is_said_within_tls_is_read_with_its_secrets() {
    let fixture = |name: &str| format!("../capture/dissect/fixtures/tls/{name}");
    let (capture, log) = (fixture("turns.pcap"), fixture("turns.keys"));
    let question = "select query, capture, encrypted from http order by ts";
    assert!(rows(&["--read", &capture, question]).is_empty());
    let found = rows(&["--read", &capture, "--tls-keylog", &log, question]);
    let said: Vec<_> = found.iter().map(|it| it["query"].as_str().unwrap()).collect();
    let wanted = [
        "mac-then-encrypt",
        "before",
        "after",
        "after-both",
        "first",
        "early",
        "late",
        "ticket",
        "resumed",
    ];
    assert_eq!(said, wanted);
    assert!(found.iter().all(|it| it["capture"] == "plaintext" && it["encrypted"] == true));
    // They are of the conversations whose packets are there, and its handshakes say what is spoken.
    let together = "select count(distinct http.flow_id) as n from http join tls \
                    on http.flow_id = tls.flow_id where tls.established";
    assert_eq!(rows(&["--read", &capture, "--tls-keylog", &log, together])[0]["n"], 6);

    let fails = |arguments: &[&str]| {
        let output = run(kubeshark().arg("query").args(arguments));
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = fails(&["--read", &capture, "--tls-keylog", &capture, question]);
    assert!(said.contains("turns.pcap has no secrets of TLS 1.2 or 1.3"), "{said}");
    let said = fails(&["--read", &capture, "--tls-keylog", "nowhere.keys", question]);
    assert!(said.contains("nowhere.keys: No such file"), "{said}");
}

#[test]
fn packets_are_exported_bit_by_bit() {
    let folder = TempDir::new().unwrap();
    let (capture, copy) = (folder.path().join("one.pcap"), folder.path().join("copy.pcapng"));
    traffic::write(&capture, (0..200).map(traffic::exchange));
    let read = capture.to_str().unwrap();
    let export = |question: &str| {
        let arguments = ["query", "--read", read, "--format", "pcapng", question, "-o"];
        let output = run(kubeshark().args(arguments).arg(&copy));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        packets(&copy)
    };
    let all = packets(&capture);
    assert_eq!(export("select * from packets order by ts"), all);

    // Rows of another table: the packets of their conversations, whole.
    let conversation = export("http.target = '/items/77?page=9'");
    let by_sql = export("select flow_id from http where target = '/items/77?page=9'");
    assert_eq!(conversation, by_sql);
    // 20 exchanges of 3 packets, and 6 to open and close.
    assert_eq!(conversation.len(), 66);
    assert!(conversation.iter().all(|it| all.contains(it)));
    copied_answers_the_same(&copy);
}

fn copied_answers_the_same(copy: &Path) {
    let rows = rows(&["--read", copy.to_str().unwrap(), "select count(*) as n from http"]);
    assert_eq!(rows[0]["n"], 20);
}

#[test]
fn what_was_good_before_a_torn_end_is_answered() {
    let folder = TempDir::new().unwrap();
    let (whole, torn) = (folder.path().join("whole.pcap"), folder.path().join("torn.pcap"));
    traffic::write(&whole, (0..100).map(traffic::exchange));
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&torn, &bytes[..bytes.len() - 7]).unwrap();
    let mut query = kubeshark();
    query
        .args(["query", "--format", "ndjson", "select count(*) as n from http", "--read"])
        .arg(&torn);
    let output = run(&mut query);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(json_lines(&output)[0]["n"], 100, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("kubeshark: ") && stderr.contains("torn.pcap"), "{stderr}");
}

#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let capture = folder.path().join("one.pcap");
    traffic::write(&capture, (0..20_000).map(traffic::exchange));
    let mut child = kubeshark()
        .args(["query", "--format", "ndjson", "select * from http", "--read"])
        .arg(&capture)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(line.starts_with('{'), "{line}");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn nothing_is_left_in_the_temporary_folder() {
    let folder = TempDir::new().unwrap();
    let capture = folder.path().join("one.pcap");
    traffic::write(&capture, (0..10).map(traffic::exchange));
    let temporary = TempDir::new().unwrap();
    let output = run(kubeshark()
        .env("TMPDIR", temporary.path())
        .args(["query", "select count(*) from traffic", "--read"])
        .arg(&capture));
    assert!(output.status.success());
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

/// Time, link and bytes of each packet.
fn packets(path: &Path) -> Vec<(i64, u32, u32, Vec<u8>)> {
    let mut file = source::open_file(path).unwrap();
    let mut packets = Vec::new();
    while let Some(it) = file.next().unwrap() {
        packets.push((it.ts, it.link.dlt(), it.wire_len, it.data.to_vec()));
    }
    packets
}
