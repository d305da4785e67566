//! `kill -9` in the middle of an import: what is sealed is whole, what was not is counted.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use arrow_array::{cast::AsArray, types::TimestampNanosecondType, types::UInt64Type};
use worker::{Inputs, Worker};

use crate::{capture, config, rows};

const CHILD: &str = "KUBESHARK_TEST_IMPORTS_INTO";

#[test]
#[allow(clippy::disallowed_methods, reason = "how a test tells its child that it is the child")]
fn a_killed_import_leaves_whole_segments_and_a_count() {
    let Some(path) = capture("rec_mix_0.pcap") else { return };
    if let Some(folder) = std::env::var_os(CHILD) {
        import_until_killed(folder.as_ref(), &path);
    }
    let mut sealed_once = false;
    for killed_after in [1, 6, 14] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "kill::a_killed_import_leaves_whole_segments_and_a_count",
                "--nocapture",
            ])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        let progress: Vec<u64> =
            said.map_while(|line| line.unwrap().parse().ok()).take(killed_after).collect();
        assert_eq!(progress.len(), killed_after, "the child ended early");
        child.kill().unwrap();
        child.wait().unwrap();

        let mut config = config(Inputs::None);
        config.store = Some(folder.path().to_owned());
        let worker = Worker::start(config, None).unwrap();
        let recovery = worker.recovery();
        sealed_once |= recovery.rows > 0;
        let lost = |table: &str| -> u64 {
            recovery.losses.iter().filter(|it| it.table == table).map(|it| it.rows).sum()
        };
        let losses: u64 = recovery.losses.iter().map(|it| it.rows).sum();
        // Nothing that was told is missing in both places.
        let last = progress.last().unwrap();
        assert!(recovery.rows + losses >= *last, "{} and {losses} of {last}", recovery.rows);

        // Packets are kept in their order, so what is there is how the file begins.
        let mut kept = 0;
        let mut source = source::open_file(&path).unwrap();
        for batch in rows(worker.store(), "packets") {
            let ts = batch.column_by_name("ts").unwrap().as_primitive::<TimestampNanosecondType>();
            let data = batch.column_by_name("data").unwrap().as_binary_view();
            for row in 0..batch.num_rows() {
                let packet = source.next().unwrap().unwrap();
                assert_eq!((ts.value(row), data.value(row)), (packet.ts, packet.data));
            }
            kept += batch.num_rows() as u64;
        }
        assert!(kept + lost("packets") <= 78_416 * 50);

        // The ledger says so, once the worker has published it.
        if losses > 0 {
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            let mut ledger = 0;
            while ledger < losses && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
                ledger = 0;
                for batch in rows(worker.store(), "losses") {
                    let stage = batch.column_by_name("stage").unwrap().as_string_view();
                    let count = batch.column_by_name("count").unwrap().as_primitive::<UInt64Type>();
                    let crash = stage.iter().zip(count).filter(|it| it.0 == Some("crash"));
                    ledger += crash.filter_map(|it| it.1).sum::<u64>();
                }
            }
            assert_eq!(ledger, losses);
        }
    }
    assert!(sealed_once, "no import got as far as a segment");
}

/// Imports the capture over and over into small segments, and tells the parent how many rows there are.
fn import_until_killed(folder: &Path, path: &Path) -> ! {
    let mut config = config(Inputs::Files(vec![path.to_owned(); 50]));
    config.store = Some(folder.to_owned());
    config.storage.hot_bytes = 4 << 20;
    let worker = Worker::start(config, None).unwrap();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let rows = worker.import_so_far().rows;
        writeln!(std::io::stderr(), "{rows}").unwrap();
    }
}
