//! A worker killed while it writes: what was sealed is read again, what was lost is counted.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::processes::{Hub, Process, kubeshark, wait_until};
use crate::traffic;

#[test]
fn a_worker_killed_while_importing_serves_what_it_had_sealed() {
    let folder = TempDir::new().unwrap();
    let capture = folder.path().join("traffic.pcap");
    traffic::write(&capture, (0..150_000).map(traffic::exchange));
    let hub = Hub::start();

    // Each time in a store of its own: the same packets read twice are the same exchanges.
    let stores = (0..3).map(|n| folder.path().join(format!("store-{n}")));
    let killed = stores.filter_map(|store| {
        let mut worker = start(&hub, &store, Some(&capture));
        wait_until("some segments are sealed", || {
            (segments(&store) >= 2 && sealed_rows(&store) > 0) || !worker.is_running()
        });
        worker.signal("KILL");
        worker.wait(Duration::from_secs(10));
        let sealed = sealed_rows(&store);
        (sealed > 0).then_some((store, sealed))
    });
    let mut killed = killed.collect::<Vec<_>>();
    let (store, sealed) = killed.pop().expect("a segment was sealed");

    // Something torn lies there too, as after a crash of the machine.
    let torn =
        parquet_files(&store).into_iter().find(|it| it.to_string_lossy().contains("http")).unwrap();
    let whole = std::fs::read(&torn).unwrap();
    let name = torn.file_name().unwrap().to_str().unwrap();
    let mut parts: Vec<_> = name.split('-').collect();
    parts[1] = "99999999";
    let half = torn.with_file_name(parts.join("-"));
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();

    // Nothing new is read: what it serves is what it had.
    let _worker = start(&hub, &store, None);
    wait_until("the worker is back", || {
        let workers = hub.get("/api/workers");
        workers["workers"].as_array().unwrap().iter().any(|it| it["status"] == "connected")
    });
    let ask = |sql: &str| hub.ask(&json!({ "sql": sql }));
    // Every column of every row is read, so that a damaged page could not hide.
    let answer = ask(
        "select count(*) as n, sum(length(target)) as t, count(response_body) as b, min(ts) as first from http",
    );
    assert_eq!(answer["accounting"]["complete"], true, "{answer:#}");
    assert!(answer["rows"][0]["n"].as_u64().unwrap() > 0, "{answer:#}");
    let wrong = ask("select count(*) as n from http where status not in (200, 201, 404, 503)");
    assert_eq!(wrong["rows"][0]["n"], 0, "{wrong:#}");
    // Small segments are merged meanwhile, but every sealed row is there.
    let found = answer["rows"][0]["n"].as_u64().unwrap();
    assert!(found >= sealed, "{found} rows of {sealed} that were sealed");

    // The rows that were only in memory are in the ledger, and so is the torn file.
    let losses = ask("select stage, sum(count) as n from losses group by stage");
    let text = losses["rows"].to_string();
    assert!(losses["rows"].as_array().is_some_and(|it| !it.is_empty()), "{losses:#}");
    assert!(text.contains("crash"), "{text}");
    assert!(text.contains("torn"), "{text}");
    // Set aside, not deleted.
    let kept = walk(&store)
        .into_iter()
        .any(|it| std::fs::metadata(&it).is_ok_and(|it| it.len() == (whole.len() / 2) as u64));
    assert!(kept, "the torn segment was deleted");
}

/// The rows of `http` that are in segments, by their names: `MIN_TS-NUMBERS-ROWS-CHECKS`. What was
/// merged into another and is still there counts once.
fn sealed_rows(store: &Path) -> u64 {
    let named = parse_names(store);
    let inside = |a: &(u64, u64, u64), b: &(u64, u64, u64)| a != b && b.0 <= a.0 && a.1 <= b.1;
    named.iter().filter(|it| !named.iter().any(|other| inside(it, other))).map(|it| it.2).sum()
}

fn parse_names(store: &Path) -> Vec<(u64, u64, u64)> {
    let files = parquet_files(&store.join("http")).into_iter();
    let named = files.filter_map(|it| {
        let name = it.file_name()?.to_str()?.to_owned();
        let mut parts = name.split('-').skip(1);
        let numbers = parts.next()?;
        let (first, last) = numbers.split_once('_').unwrap_or((numbers, numbers));
        Some((first.parse().ok()?, last.parse().ok()?, parts.next()?.parse().ok()?))
    });
    named.collect()
}

fn start(hub: &Hub, store: &Path, capture: Option<&Path>) -> Process {
    let mut command = kubeshark();
    let dial = hub.url.replacen("http", "ws", 1);
    command.args(["worker", "--hub", &dial, "--node", "node-0", "--store"]).arg(store);
    if let Some(capture) = capture {
        command.arg("--read").arg(capture);
    }
    Process::start(&mut command)
}

fn segments(store: &Path) -> usize {
    parquet_files(store).len()
}

fn parquet_files(store: &Path) -> Vec<std::path::PathBuf> {
    walk(store).into_iter().filter(|it| it.extension().is_some_and(|it| it == "parquet")).collect()
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.flatten().map(|it| it.path()) {
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
