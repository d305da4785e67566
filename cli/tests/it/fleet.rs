//! A Hub and Workers as processes, each Worker with its own part of the traffic.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{Hub, Process, kubeshark, run, wait_until, worker};
use crate::traffic;

#[test]
fn three_workers_answer_as_one_that_has_everything() {
    let fleet = Fleet::start(3);
    let alone = Fleet::start(1);
    let question = json!({ "sql": QUESTION });
    let (many, one) = (fleet.hub.ask(&question), alone.hub.ask(&question));

    assert_eq!(many["rows"], one["rows"], "{many:#} {one:#}");
    let rows = many["rows"].as_array().unwrap();
    let count =
        |status: u64| rows.iter().find(|it| it["status"] == status).map(|it| it["n"].clone());
    assert_eq!(count(200), Some(json!(EXCHANGES * 7 / 10)), "{many:#}");
    assert_eq!(count(503), Some(json!(EXCHANGES / 10)), "{many:#}");
    assert_eq!(rows.len(), 4, "{many:#}");

    let accounting = &many["accounting"];
    assert_eq!(accounting["complete"], true, "{accounting:#}");
    assert_eq!(states(&many), ["node-0 answered", "node-1 answered", "node-2 answered"]);
    // The aggregates were made where the rows are.
    assert!(accounting["rows_scanned"].as_u64().unwrap() >= EXCHANGES, "{accounting:#}");
    let moved = accounting["bytes_moved"].as_u64().unwrap();
    assert!(moved > 0 && moved < EXCHANGES, "{accounting:#}");
    for node in accounting["nodes"].as_array().unwrap() {
        assert!(node["bytes_moved"].as_u64().unwrap() > 0, "{accounting:#}");
        assert!(node["rows_scanned"].as_u64().unwrap() >= EXCHANGES / 3, "{accounting:#}");
    }
}

#[test]
fn who_asked_for_what_stands_in_the_hubs_log() {
    let mut hub = kubeshark();
    hub.args(["hub", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = hub.spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let (_process, mut said) = (Process::of(child), said.map(Result::unwrap));
    let url = said.by_ref().find_map(|line| {
        let word = line.split_whitespace().find(|it| it.starts_with("http://"))?;
        Some(word.trim_end_matches(['/', '.', ',']).to_owned())
    });
    let route = format!("{}/api/query", url.unwrap());
    let question = "sql=select count(*) from http\n2026 INFO audit: forged";
    run(Command::new("curl").args(["-sG", "--data-urlencode", question, &route]));
    let mut audit = said.filter(|it| it.contains(" audit: "));
    let line = audit.next().unwrap();
    for part in [
        "kind=\"query\"",
        "caller=\"127.0.0.1\"",
        "what=\"select count(*) from http\\n2026 INFO audit: forged\"",
        "outcome=\"failed\"",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn a_limit_and_a_selective_filter_move_little() {
    let fleet = Fleet::start(3);
    for sql in [
        "select * from http order by duration desc limit 5",
        "select * from http where target = '/items/77?page=9'",
        "select target, response_body from http limit 3",
    ] {
        let answer = fleet.hub.ask(&json!({ "sql": sql }));
        let rows = answer["rows"].as_array().unwrap().len();
        assert!((1..=5).contains(&rows), "{sql}: {answer:#}");
        let moved = answer["accounting"]["bytes_moved"].as_u64().unwrap();
        // Far less than one in a thousand of the rows, which weigh half a kilobyte each.
        assert!(moved < 200_000, "{sql}: {moved} bytes moved");
    }
}

#[test]
fn a_worker_killed_in_mid_query_is_named_and_the_others_answer() {
    let fleet = Fleet::start(3);
    let unlucky = &fleet.workers[1];
    // Stopped, it can't answer before it is killed, however quick it is.
    unlucky.signal("STOP");
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| fleet.hub.ask(&json!({ "sql": QUESTION })));
        wait_until("the query runs", || fleet.hub.get("/api/health")["queries_running"] == 1);
        std::thread::sleep(Duration::from_millis(300));
        unlucky.signal("KILL");
        asked.join().unwrap()
    });
    assert_eq!(answer["accounting"]["complete"], false, "{answer:#}");
    assert_eq!(states(&answer), ["node-0 answered", "node-1 failed", "node-2 answered"]);
    assert_eq!(counted(&answer), EXCHANGES / 3 * 2, "{answer:#}");

    // Asked again, it is known to be gone, and said to be missing.
    wait_until("the worker is known to be gone", || {
        let workers = fleet.hub.get("/api/workers");
        workers["workers"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["node"] == "node-1" && it["status"] == "gone")
    });
    let answer = fleet.hub.ask(&json!({ "sql": QUESTION }));
    assert_eq!(states(&answer), ["node-0 answered", "node-1 missing", "node-2 answered"]);

    // The command line says so and exits with 3.
    let output =
        run(kubeshark().args(["query", "--hub", &fleet.hub.url, "--format", "csv"]).arg(QUESTION));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("node-1"), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 5);
}

#[test]
fn a_worker_that_hangs_costs_its_deadline_and_is_named() {
    let fleet = Fleet::start(3);
    fleet.workers[2].signal("STOP");
    let start = Instant::now();
    let answer = fleet.hub.ask(&json!({ "sql": QUESTION, "deadline_ms": 4_000 }));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(answer["accounting"]["complete"], false, "{answer:#}");
    let states = states(&answer);
    assert!(states.contains(&"node-0 answered".to_owned()), "{states:?}");
    assert!(!states.contains(&"node-2 answered".to_owned()), "{states:?}");
    assert!(states.iter().any(|it| it.starts_with("node-2 ")), "{states:?}");

    // Awake again, it takes part again.
    fleet.workers[2].signal("CONT");
    wait_until("the worker is back", || {
        let answer = fleet.hub.ask(&json!({ "sql": QUESTION }));
        answer["accounting"]["complete"] == true && counted(&answer) == EXCHANGES
    });
}

#[test]
fn an_asker_who_goes_away_stops_the_query_on_every_node_within_a_second() {
    let fleet = Fleet::start(2);
    // It answers with more rows than anybody reads.
    let endless = "select a.response_body, b.response_body from http a cross join http b";
    let mut socket = fleet.ask_apart(endless);
    let mut head = [0; 2_000];
    let read = socket.read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    let id =
        head.lines().find_map(|it| it.strip_prefix("kubeshark-query-id: ")).unwrap().to_owned();
    drop(socket);
    let left = Instant::now();
    // Until then, its accounting is not there.
    wait_until("the hub has noticed", || fleet.hub.get("/api/health")["queries_running"] == 0);
    wait_until("the nodes have stopped", || {
        let accounting = fleet.hub.get(&format!("/api/queries/{id}"));
        let nodes = accounting["nodes"].as_array().unwrap();
        assert_eq!(accounting["error"]["message"], "the asker went away", "{accounting:#}");
        nodes.len() == 2 && nodes.iter().all(|it| it["reason"] == "it has stopped")
    });
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}

#[test]
fn an_explanation_shows_the_scan_of_every_node() {
    let fleet = Fleet::start(3);
    let sql =
        "explain analyze select status, count(*) from http where duration > 1000000 group by 1";
    let question = ["query", "--hub", &fleet.hub.url, "--format", "json", sql];
    let output = run(kubeshark().args(question));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The Hub is a fourth place, which has no rows.
    for place in ["t0", "t1", "t2", "t3"] {
        assert!(text.contains(&format!("{place}: DataSourceExec")), "{place}: {text}");
    }
    assert!(text.contains("AggregateExec: mode=Partial"), "{text}");
    assert!(text.contains("elapsed_compute="), "{text}");
}

#[test]
fn an_answer_says_which_time_it_is_about_and_what_was_lost_in_it() {
    let folder = TempDir::new().unwrap();
    let capture = folder.path().join("traffic.pcap");
    traffic::write(&capture, (0..1_000).map(traffic::exchange));
    // The file breaks off within a packet, which the worker enters as a loss.
    let file = std::fs::OpenOptions::new().append(true).open(&capture).unwrap();
    file.set_len(file.metadata().unwrap().len() - 7).unwrap();
    let hub = Hub::start();
    let _worker = worker(&hub, "node-0", &capture, &folder.path().join("store"));
    wait_until("the worker has read its capture", || {
        let answer = hub.ask(&json!({ "sql": "select sum(count) as n from losses" }));
        answer["rows"][0]["n"].as_u64().is_some_and(|it| it > 0)
    });
    let sql = "select cast(min(ts) as bigint) / 1000000 as oldest, cast(max(ts) as bigint) / 1000000 as newest \
               from http";
    let answer = hub.ask(&json!({ "sql": sql }));
    let (row, accounting) = (&answer["rows"][0], &answer["accounting"]);
    assert_eq!(accounting["oldest_ms"], row["oldest"], "{answer:#}");
    assert_eq!(accounting["newest_ms"], row["newest"], "{answer:#}");
    assert_eq!(accounting["nodes"][0]["oldest_ms"], row["oldest"], "{answer:#}");
    assert!(accounting["stages"]["planning_us"].as_u64().unwrap() > 0, "{answer:#}");
    assert!(accounting["nodes"][0]["busy_us"].as_u64().unwrap() > 0, "{answer:#}");

    let sums = hub
        .ask(&json!({ "sql": "select stage, sum(count) as n from losses group by 1 order by 1" }));
    let sums = sums["rows"].as_array().unwrap().iter().map(|it| (&it["stage"], &it["n"]));
    let losses = accounting["losses"].as_array().unwrap();
    let losses = losses.iter().map(|it| (&it["stage"], &it["count"]));
    assert_eq!(losses.collect::<Vec<_>>(), sums.collect::<Vec<_>>(), "{answer:#}");

    // Asked about a time, it says what there is of that, and what was lost then.
    let middle = (row["oldest"].as_i64().unwrap() + row["newest"].as_i64().unwrap()) / 2;
    let filter = format!("http and ts >= to_timestamp_millis({middle})");
    let answer = hub.ask(&json!({ "filter": filter, "limit": 1 }));
    assert_eq!(answer["accounting"]["oldest_ms"], middle, "{answer:#}");
    let filter = "http and ts < '2001-01-01T00:00:00Z'";
    let answer = hub.ask(&json!({ "filter": filter }));
    assert!(answer["accounting"]["oldest_ms"].is_null(), "{answer:#}");
    assert!(answer["accounting"]["losses"].is_null(), "{answer:#}");
}

#[test]
fn a_worker_outlives_its_hub() {
    let folder = TempDir::new().unwrap();
    let capture = folder.path().join("traffic.pcap");
    traffic::write(&capture, (0..1_000).map(traffic::exchange));
    let mut hub = Hub::start();
    let port = hub.url.rsplit(':').next().unwrap().to_owned();
    let _worker = worker(&hub, "node-0", &capture, &folder.path().join("store"));
    hub.wait_for(1, 1_000);
    hub.process.signal("KILL");
    hub.process.wait(Duration::from_secs(10));
    let hub = Hub::of(kubeshark().args(["hub", "--listen", &format!("127.0.0.1:{port}")]));
    hub.wait_for(1, 1_000);
    assert_eq!(counted(&hub.ask(&json!({ "sql": QUESTION }))), 1_000);
}

struct Fleet {
    hub: Hub,
    workers: Vec<Process>,
    _folder: TempDir,
}

impl Fleet {
    /// So many Workers share the exchanges.
    fn start(n: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let hub = Hub::start();
        let mut workers = Vec::new();
        for part in 0..n {
            let capture = folder.path().join(format!("part-{part}.pcap"));
            let size = EXCHANGES / n;
            traffic::write(&capture, (part * size..(part + 1) * size).map(traffic::exchange));
            let store = folder.path().join(format!("store-{part}"));
            workers.push(worker(&hub, &format!("node-{part}"), &capture, Path::new(&store)));
        }
        hub.wait_for(workers.len(), EXCHANGES);
        Self { hub, workers, _folder: folder }
    }

    /// Asks over a socket of its own, and waits until the query runs.
    fn ask_apart(&self, sql: &str) -> TcpStream {
        let address = self.hub.url.trim_start_matches("http://");
        let body = json!({ "sql": sql, "format": "ndjson" }).to_string();
        let mut socket = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            socket,
            "POST /api/query HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}",
        )
        .unwrap();
        wait_until("the query runs", || self.hub.get("/api/health")["queries_running"] == 1);
        socket
    }
}

/// Each node asked, with what came of it.
fn states(answer: &Value) -> Vec<String> {
    let nodes = answer["accounting"]["nodes"].as_array().unwrap();
    let mut states: Vec<_> = nodes
        .iter()
        .map(|it| format!("{} {}", it["node"].as_str().unwrap(), it["state"].as_str().unwrap()))
        .collect();
    states.sort();
    states
}

/// The exchanges that the rows of `QUESTION` count.
fn counted(answer: &Value) -> u64 {
    let rows = answer["rows"].as_array();
    rows.map_or(0, |rows| rows.iter().map(|it| it["n"].as_u64().unwrap()).sum())
}

const QUESTION: &str = "select status, count(*) as n, approx_percentile_cont(duration, 0.99) as p99 \
                        from http group by status order by status";
/// Enough that their aggregates weigh less than a byte each.
const EXCHANGES: u64 = 90_000;
