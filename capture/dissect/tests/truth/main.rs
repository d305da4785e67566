//! Rows against what tshark says of the same captures, by the corpus's counting rule. Skipped
//! where the corpus isn't there.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it compared"
)]
mod capture;
#[path = "../support/json.rs"]
mod json;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

type Row = Map<String, Value>;

/// One exchange: who with whom, when, and what was asked, of what, and how it ended.
#[derive(Clone, Debug)]
struct Claim {
    ends: [String; 4],
    ts: Vec<i64>,
    said: [Option<String>; 3],
}

/// Known differences: what we don't unpack. Tunnels (`GrePackets` frame 6, `gtp` frames 6 and 7), link
/// layers (`radiotap` and `wlanmon`: 802.11, `dns-inverse-query`: FDDI), and an answer in
/// HTTP/2 that comes after its stream was reset (`app-layer-protocol-exact` frame 22).
#[test]
fn dns() {
    check("dns", |row| {
        let name = match text(&row["target"]) {
            Some(root) if root == "." => Some("<Root>".to_owned()),
            name => name,
        };
        let code = row.get("status").and_then(Value::as_i64).map(|it| (it % 16).to_string());
        claim(row, [text(&row["opcode"]), name, code])
    });
}

/// Known differences: the two AUTH commands of `redis-50-pings` and `redis_exposed_creds`, of which
/// tshark shows the password and we don't.
#[test]
fn redis() {
    check("redis", |row| {
        let column = |name: &str| row.get(name).and_then(text);
        let (verb, target) = (clip(column("verb"), 40), clip(column("target"), 240));
        let told = verb.as_deref() == Some("PUSH")
            && (column("reply_kind").as_deref() == Some("push")
                || ["message", "pmessage", "smessage"].contains(&&*column("command").unwrap()));
        if !told {
            return claim(row, [verb, target, column("reply_kind")]);
        }
        // What a subscriber is told counts as sent by the server as a client.
        let mut claim = claim(row, [verb, target, column("command")]);
        claim.ends.rotate_left(2);
        claim
    });
}

/// Known differences. Not unpacked: TLS whose keys stand in the capture (`rec_tls_0_dsb`), NFLOG
/// (`nflog-http`), GTP (`gtp1_gn_normal_incl_fragmentation`); a head cut by the snap length
/// (`SllPacket`); HTTP/0.9, a request without a version (`mixed-vlan-mpls` frame 37). Tshark's own: in
/// `rec_http_0`, `100 Continue` counts as an answer of its own (frame 272), and an answer that comes
/// before its request has ended (519) goes to no request and shifts those after it; it shows no
/// message whose last bytes were not captured (`decapsulate_erspan1`), nor the last of `rec_loss_0`.
#[test]
fn http() {
    check_some("http", "http", |row| (row["version"] != "2").then(|| http_claim(row)));
}

/// Known differences. Not unpacked: TLS whose keys stand in the capture (`rec_tls_0_dsb`, `ja4__*`).
/// An answer that comes after its client has reset the stream (`app-layer-protocol-exact` frame 21)
/// comes too late for us. Of `rec_loss_0`, tshark shows no answer on a connection once it has missed
/// a part of it, and says of four that they came when a lost segment before them did.
#[test]
fn http2() {
    check_some("http2", "http", |row| {
        (row["version"] == "2" && !is_grpc(row)).then(|| http_claim(row))
    });
}

#[test]
fn grpc() {
    check_some("grpc", "http", |row| {
        (row["version"] == "2" && is_grpc(row)).then(|| http_claim(row))
    });
}

/// In the truth, whoever sent a frame stands as the client.
#[test]
fn websocket() {
    check("websocket", |row| {
        let mut claim = claim(row, [text(&row["opcode"]), None, None]);
        if row["sender"] == "server" {
            claim.ends.rotate_left(2);
        }
        claim
    });
}

fn http_claim(row: &Row) -> Claim {
    let said = |name: &str| text(&row[name]).filter(|it| !it.is_empty());
    let status = row.get("status").and_then(text);
    claim(row, [said("verb"), clip(said("target"), 400), status])
}

fn is_grpc(row: &Row) -> bool {
    ["request_content_type", "response_content_type"].iter().any(|it| {
        let content_type = row.get(*it).and_then(Value::as_str).unwrap_or_default();
        content_type.starts_with("application/grpc")
            && !content_type.starts_with("application/grpc-web")
    })
}

/// At least 99 % of what tshark says, and nothing else.
fn check(protocol: &str, said: impl Fn(&Row) -> Claim) {
    check_some(protocol, protocol, |row| Some(said(row)));
}

/// The same of some rows of a table.
fn check_some(protocol: &str, table: &str, said: impl Fn(&Row) -> Option<Claim>) {
    let Some(corpus) = corpus() else { return };
    let (mut n_truth, mut n_equal, mut n_invented, mut n_times) = (0, 0, 0, 0);
    for (name, truth) in truths(&corpus, protocol) {
        let bytes = std::fs::read(corpus.join("pcap").join(&name)).unwrap();
        let rows = capture::rows(&bytes);
        let rows = rows.iter().filter(|it| it.0 == table).filter_map(|it| said(&it.1)).collect();
        n_truth += truth.len();
        let (equal, times, missed, invented) = compare(truth, rows);
        n_equal += equal;
        n_times += times;
        n_invented += invented.len();
        for (what, some) in [("missed", missed), ("invented", invented)] {
            for it in some.iter().take(5) {
                println!(
                    "{what:8} {name} {} {:?} ({} in all)",
                    it.ends.join(" "),
                    it.said,
                    some.len()
                );
            }
        }
    }
    println!(
        "{protocol}: {n_equal} of {n_truth}, {n_times} with the same time, {n_invented} invented"
    );
    assert!(n_equal * 100 >= n_truth * 99, "{n_equal} of {n_truth} found");
    assert!(n_invented * 100 <= n_truth, "{n_invented} invented");
}

/// Each exchange of the truth takes one row that agrees in all it states.
fn compare(mut truth: Vec<Claim>, rows: Vec<Claim>) -> (usize, usize, Vec<Claim>, Vec<Claim>) {
    let mut waiting: HashMap<[String; 4], Vec<Claim>> = HashMap::new();
    for row in rows {
        waiting.entry(row.ends.clone()).or_default().push(row);
    }
    truth.sort_by_key(|it| it.said.iter().filter(|it| it.is_none()).count());
    let (mut equal, mut times, mut missed) = (0, 0, Vec::new());
    for want in truth {
        let rows = waiting.entry(want.ends.clone()).or_default();
        let agrees = |it: &Claim| {
            want.said.iter().zip(&it.said).all(|(want, it)| want.is_none() || want == it)
        };
        let same_time = rows.iter().position(|it| agrees(it) && want.ts.contains(&it.ts[0]));
        match same_time.or_else(|| rows.iter().position(agrees)) {
            Some(place) => {
                rows.remove(place);
                equal += 1;
                times += usize::from(same_time.is_some());
            }
            None => missed.push(want),
        }
    }
    (equal, times, missed, waiting.into_values().flatten().collect())
}

fn truths(corpus: &Path, protocol: &str) -> BTreeMap<String, Vec<Claim>> {
    let mut truths = BTreeMap::new();
    for file in std::fs::read_dir(corpus.join("truth")).unwrap().map(|it| it.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().replace(".jsonl", "");
        let text = std::fs::read_to_string(&file).unwrap();
        let quoted = format!("{{\"p\":\"{protocol}\",");
        let claims: Vec<_> = text
            .lines()
            .filter(|it| it.starts_with(&quoted))
            .map(|it| truth(&serde_json::from_str(it).unwrap()))
            .collect();
        if !claims.is_empty() {
            truths.insert(name, claims);
        }
    }
    truths
}

fn truth(row: &Row) -> Claim {
    let column = |name: &str| row.get(name).and_then(text);
    let end = |name: &str| column(name).unwrap_or_default();
    Claim {
        ends: [end("src"), end("sport"), end("dst"), end("dport")],
        ts: ["ts", "ts0"].iter().filter_map(|it| row.get(*it)?.as_i64()).collect(),
        said: [column("op"), column("res"), column("code")],
    }
}

fn claim(row: &Row, said: [Option<String>; 3]) -> Claim {
    let end = |name: &str| text(&row[name]).unwrap_or_default();
    let ends = [end("client_ip"), end("client_port"), end("server_ip"), end("server_port")];
    Claim { ends, ts: vec![row["ts"].as_i64().unwrap()], said }
}

fn clip(text: Option<String>, bound: usize) -> Option<String> {
    text.map(|it| match it.chars().count() {
        length if length > bound => {
            format!("{}~{length}", it.chars().take(bound).collect::<String>())
        }
        _ => it,
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The captures with ground truth, which are no part of the project.
fn corpus() -> Option<PathBuf> {
    let folder = PathBuf::from("../../../shared/corpus");
    if !folder.is_dir() {
        println!("skipped: the corpus of captures is not in {}", folder.display());
        return None;
    }
    Some(folder)
}
