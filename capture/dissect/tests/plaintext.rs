//! What processes say within TLS becomes rows, beside the packets that carry it encrypted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::net::SocketAddr;
use std::path::Path;

use dissect::{Actor, Config, Dissection, Keep, Link, Owner, Packet, Plaintext, Side};
use support::{Frame, Row, objects, read};

const CLIENT: &str = "10.0.0.1:40000";
const SERVER: &str = "10.0.0.2:443";
const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn actor(name: &str) -> Actor<'_> {
    Actor { pid: 7, name, container_id: Some("c0ffee") }
}

#[derive(Clone)]
struct Process {
    local: SocketAddr,
    remote: SocketAddr,
    side: Option<Side>,
    session: u64,
    name: &'static str,
    offsets: [u64; 2],
}

impl Process {
    fn new(local: &str, remote: &str, side: Option<Side>, name: &'static str) -> Self {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Self { local, remote, side, session: 1, name, offsets: [0; 2] }
    }

    fn client() -> Self {
        Self::new(CLIENT, SERVER, Some(Side::Client), "curl")
    }

    fn server() -> Self {
        Self::new(SERVER, CLIENT, Some(Side::Server), "nginx")
    }

    fn says(&mut self, to: &mut Dissection, ts: i64, sent: bool, bytes: &[u8]) {
        let seen = self.offsets[usize::from(!sent)];
        let offset = &mut self.offsets[usize::from(sent)];
        let (local, remote) = (self.local, self.remote);
        let (side, session, process) = (self.side, self.session, actor(self.name));
        let piece = Plaintext {
            ts,
            local,
            remote,
            side,
            sent,
            session,
            offset: *offset,
            seen,
            bytes,
            process,
        };
        *offset += bytes.len() as u64;
        to.plaintext(&piece);
    }

    fn exchange(&mut self, to: &mut Dissection, ts: i64) {
        let asks = self.side != Some(Side::Server);
        self.says(to, ts, asks, REQUEST);
        self.says(to, ts + 1_000, !asks, RESPONSE);
    }
}

fn dissection() -> Dissection {
    let keep = Keep { packets: false, ..Keep::default() };
    Dissection::new(Config { keep, ..Config::default() })
}

fn rows(mut of: Dissection, table: &str) -> (Vec<Row>, Vec<(String, Vec<Row>)>) {
    of.finish();
    let all = of.take().into_iter().map(|(table, rows)| (table.name.to_string(), objects(&rows)));
    let all: Vec<_> = all.collect();
    let found = all.iter().filter(|it| it.0 == table).flat_map(|it| it.1.clone()).collect();
    (found, all)
}

fn table(all: &[(String, Vec<Row>)], name: &str) -> Vec<Row> {
    all.iter().filter(|it| it.0 == name).flat_map(|it| it.1.clone()).collect()
}

#[test]
fn a_process_alone_is_a_conversation() {
    let mut dissection = dissection();
    let mut curl = Process::client();
    curl.exchange(&mut dissection, 1_000_000);
    dissection.closed(2_000_000, curl.local, curl.remote);
    let (http, all) = rows(dissection, "http");
    let [row] = &http[..] else { panic!("{http:?}") };
    assert_eq!(row["capture"], "plaintext");
    assert_eq!(row["encrypted"], true);
    assert_eq!((&row["client_process"], row.get("server_process")), (&"curl".into(), None));
    assert_eq!((&row["client_ip"], &row["server_port"]), (&"10.0.0.1".into(), &443.into()));
    assert_eq!((&row["status"], &row["duration"]), (&200.into(), &1_000.into()));
    assert_eq!(row["response_bytes"], RESPONSE.len());
    let connections = table(&all, "connections");
    let [connection] = &connections[..] else { panic!("{connections:?}") };
    assert_eq!(connection["flow_id"], row["flow_id"]);
    assert_eq!(connection["client_process"], "curl");
    assert_eq!((&connection["protocol"], &connection["state"]), (&"http".into(), &"closed".into()));
    assert_eq!(
        (&connection["client_packets"], &connection["encrypted"]),
        (&0.into(), &true.into())
    );
    assert_eq!(table(&all, "losses"), Vec::<Row>::new());
}

#[test]
fn what_both_processes_tell_is_one_row_with_both_their_names() {
    let mut dissection = dissection();
    let (mut curl, mut nginx) = (Process::client(), Process::server());
    for ts in [1_000, 2_000_000] {
        curl.says(&mut dissection, ts, true, REQUEST);
        nginx.says(&mut dissection, ts + 10, false, REQUEST);
        nginx.says(&mut dissection, ts + 20, true, RESPONSE);
        curl.says(&mut dissection, ts + 30, false, RESPONSE);
    }
    let (http, _) = rows(dissection, "http");
    assert_eq!(http.len(), 2);
    for row in &http {
        assert_eq!(
            (&row["client_process"], &row["server_process"]),
            (&"curl".into(), &"nginx".into())
        );
        assert_eq!((&row["status"], &row["incomplete"]), (&200.into(), &false.into()));
    }
}

#[test]
fn the_same_rows_however_it_is_cut() {
    let whole = |cut: usize| {
        let mut dissection = dissection();
        let mut curl = Process::client();
        for (sent, bytes) in
            [(true, REQUEST), (false, RESPONSE), (true, REQUEST), (false, RESPONSE)]
        {
            bytes.chunks(cut).for_each(|piece| curl.says(&mut dissection, 1_000, sent, piece));
        }
        rows(dissection, "http").0
    };
    let expected = whole(usize::MAX);
    assert_eq!(expected.len(), 2);
    for cut in 1..60 {
        assert_eq!(whole(cut), expected, "{cut}");
    }
}

fn packets(dissection: &mut Dissection, frames: &[Frame]) {
    for frame in frames {
        let wire_len = u32::try_from(frame.data.len()).unwrap();
        let data = &frame.data;
        dissection.packet(&Packet {
            ts: frame.ts,
            link: Link::Ethernet,
            interface: 0,
            wire_len,
            data,
        });
    }
}

/// Whichever comes first: packets wait in one buffer of the kernel, plaintext in another.
#[test]
fn plaintext_bears_the_name_of_the_packets_that_carry_it() {
    let frames = read(Path::new("fixtures/tls/handshakes.pcap"));
    for early in [false, true] {
        let mut dissection = dissection();
        let (before, after) = frames.split_at(if early { 0 } else { 7 });
        packets(&mut dissection, before);
        let ends = ("127.0.0.1:45858", "127.0.0.1:19443");
        let mut curl = Process::new(ends.0, ends.1, Some(Side::Client), "curl");
        curl.exchange(&mut dissection, frames[0].ts);
        packets(&mut dissection, after);
        let (http, all) = rows(dissection, "http");
        let http: Vec<_> = http.iter().filter(|it| it["capture"] == "plaintext").collect();
        let [row] = &http[..] else { panic!("{http:?}") };
        let connections = table(&all, "connections");
        let of_row: Vec<_> = connections.iter().filter(|it| it["client_port"] == 45858).collect();
        let [connection] = &of_row[..] else { panic!("{of_row:?}") };
        assert_eq!(connection["flow_id"], row["flow_id"]);
        assert_eq!(connection["client_process"], "curl");
        assert_eq!(
            (&connection["protocol"], &connection["encrypted"]),
            (&"tls".into(), &true.into())
        );
        assert_eq!(
            (&connection["client_packets"], &connection["completeness"]),
            (&7.into(), &31.into())
        );
        let tls = table(&all, "tls");
        let tls: Vec<_> = tls.iter().filter(|it| it["flow_id"] == row["flow_id"]).collect();
        let [handshake] = &tls[..] else { panic!("{tls:?}") };
        assert_eq!(
            (&handshake["capture"], &handshake["client_process"]),
            (&"packet".into(), &"curl".into())
        );
        assert_ne!(handshake["seq"], row["seq"]);
    }
}

#[test]
fn what_was_lost_on_the_way_is_marked_and_counted() {
    let mut dissection = dissection();
    let mut curl = Process::client();
    curl.exchange(&mut dissection, 1_000);
    // A response is lost whole; later, a part of a request.
    curl.says(&mut dissection, 3_000, true, REQUEST);
    curl.offsets[0] += RESPONSE.len() as u64;
    curl.exchange(&mut dissection, 4_000);
    curl.says(&mut dissection, 6_000, true, &REQUEST[..10]);
    curl.offsets[1] += (REQUEST.len() - 10) as u64;
    curl.says(&mut dissection, 7_000, false, RESPONSE);
    curl.exchange(&mut dissection, 8_000);
    assert_eq!(dissection.counters().gaps, 2);
    assert_eq!(dissection.counters().gap_bytes, (RESPONSE.len() + REQUEST.len() - 10) as u64);
    let (http, all) = rows(dissection, "http");
    let whole =
        |it: &&Row| it["incomplete"] == false && it["verb"] == "GET" && it.get("status").is_some();
    let whole: Vec<_> = http.iter().filter(whole).map(|it| it["ts"].as_i64().unwrap()).collect();
    assert_eq!(whole, [1_000, 4_000, 8_000], "{http:?}");
    let losses = table(&all, "losses");
    assert!(losses.iter().any(|it| it["stage"] == "reassembly" && it["count"] == 2), "{losses:?}");
}

#[test]
fn ends_that_are_used_again_are_another_conversation() {
    let mut dissection = dissection();
    for (session, ts) in [(1, 1_000), (1, 5_000_000), (2, 9_000_000)] {
        let mut curl = Process { session, ..Process::client() };
        curl.exchange(&mut dissection, ts);
    }
    let (http, all) = rows(dissection, "http");
    let names: std::collections::BTreeSet<_> =
        http.iter().map(|it| it["flow_id"].to_string()).collect();
    assert_eq!((http.len(), names.len()), (3, 3));
    assert_eq!(table(&all, "connections").len(), 3);
}

/// Connections older than the trace: nobody saw who called.
#[test]
fn who_asks_is_the_client_even_where_nobody_saw_the_call() {
    for (local, remote, asks) in [
        ("10.0.0.1:9001", "10.0.0.2:9000", true),
        ("10.0.0.1:9000", "10.0.0.2:9001", true),
        ("10.0.0.1:9001", "10.0.0.2:9000", false),
        ("10.0.0.1:9000", "10.0.0.2:9001", false),
    ] {
        let mut dissection = dissection();
        let mut process = Process::new(local, remote, None, "it");
        process.says(&mut dissection, 1_000, asks, REQUEST);
        process.says(&mut dissection, 2_000, !asks, RESPONSE);
        let (http, _) = rows(dissection, "http");
        let [row] = &http[..] else { panic!("{http:?}") };
        let client = if asks { local } else { remote };
        assert_eq!(
            format!("{}:{}", row["client_ip"].as_str().unwrap(), row["client_port"]),
            client
        );
        let named = if asks { "client_process" } else { "server_process" };
        assert_eq!((&row[named], row["status"].as_u64()), (&"it".into(), Some(200)));
    }
}

#[test]
fn packets_in_the_clear_get_their_processes() {
    let frames = read(Path::new("fixtures/http/exchanges.pcap"));
    let (plain, _) = {
        let mut dissection = dissection();
        packets(&mut dissection, &frames);
        rows(dissection, "http")
    };
    let first = &plain[0];
    let end = |side: &str| -> SocketAddr {
        let ip = first[&format!("{side}_ip")].as_str().unwrap().parse().unwrap();
        let port = first[&format!("{side}_port")].as_u64().unwrap();
        SocketAddr::new(ip, port.try_into().unwrap())
    };
    let (client, server) = (end("client"), end("server"));
    let owners = [(client, server, Side::Client, "curl"), (server, client, Side::Server, "nginx")];
    let mut dissection = dissection();
    for (local, remote, side, process) in owners {
        let ts = frames[0].ts;
        dissection.owner(&Owner { ts, local, remote, side: Some(side), process: actor(process) });
    }
    packets(&mut dissection, &frames);
    let (named, _) = rows(dissection, "http");
    assert_eq!(named.len(), plain.len());
    for (mut named, plain) in named.into_iter().zip(plain) {
        if plain["client_port"] == client.port() {
            assert_eq!(named.remove("client_process"), Some("curl".into()));
            assert_eq!(named.remove("server_process"), Some("nginx".into()));
            for side in ["client", "server"] {
                assert_eq!(named.remove(&format!("{side}_pid")), Some(7.into()));
                let container = named.remove(&format!("{side}_container_id"));
                assert_eq!(container, Some("c0ffee".into()));
            }
        }
        assert_eq!(named, plain);
    }
}

/// Packets and what processes did come by different ways: a short conversation may be over when it is told whose it was.
#[test]
fn a_conversation_that_is_over_gets_its_process_and_not_the_next_ones() {
    let frames = read(Path::new("fixtures/http/exchanges.pcap"));
    let connections = |owner: Option<&Owner<'_>>| {
        let mut dissection = dissection();
        packets(&mut dissection, &frames);
        owner.into_iter().for_each(|it| dissection.owner(it));
        rows(dissection, "connections").0
    };
    let plain = connections(None);
    // The one that ended last is remembered still.
    let ended = |it: &&Row| it["ts"].as_i64().unwrap() + it["duration"].as_i64().unwrap();
    let row = plain.iter().filter(|it| it["state"] == "closed").max_by_key(ended).unwrap();
    let end = |side: &str| {
        let ip = row[&format!("{side}_ip")].as_str().unwrap().parse().unwrap();
        SocketAddr::new(ip, row[&format!("{side}_port")].as_u64().unwrap().try_into().unwrap())
    };
    let (local, remote, side) = (end("client"), end("server"), Some(Side::Client));
    let of = |ts| Owner { ts, local, remote, side, process: actor("curl") };
    for (ts, wanted) in [(ended(&row), Some("curl")), (ended(&row) + 1_000_000_000, None)] {
        let rows = connections(Some(&of(ts)));
        let named: Vec<_> = rows.iter().filter(|it| it.contains_key("client_process")).collect();
        let name = |it: &&Row| it["client_process"].as_str().unwrap().to_owned();
        assert_eq!(named.first().map(name).as_deref(), wanted);
        let about = |it: &&Row| (it["client_pid"].as_u64(), it["client_container_id"].clone());
        let container = "c0ffee".into();
        assert_eq!(named.first().map(about), wanted.map(|_| (Some(7), container)));
        assert!(named.iter().all(|it| it["flow_id"] == row["flow_id"]));
    }
}

#[test]
fn it_is_read_whatever_becomes_of_packets() {
    let mut dissection = dissection();
    let mut curl = Process::client();
    dissection.read_protocols(false);
    curl.exchange(&mut dissection, 1_000);
    dissection.read_protocols(true);
    curl.exchange(&mut dissection, 2_000);
    let (http, all) = rows(dissection, "http");
    assert_eq!(http.len(), 2);
    assert_eq!(table(&all, "connections").len(), 1);
}

/// Offsets and sessions that make no sense end in no panic, and no memory.
#[test]
fn nonsense_is_borne() {
    let mut dissection = dissection();
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for ts in 0..20_000 {
        let curl = Process::client();
        let (local, remote) =
            if next() % 2 == 0 { (curl.local, curl.remote) } else { (curl.remote, curl.local) };
        let offset = [0, next() % 100, next(), u64::MAX, u64::MAX - 1][(next() % 5) as usize];
        let seen = [0, next()][(next() % 2) as usize];
        let side = [None, Some(Side::Client), Some(Side::Server)][(next() % 3) as usize];
        let (sent, session) = (next() % 2 == 0, next() % 3);
        let bytes = [REQUEST, RESPONSE, b"", b"\xff"][(next() % 4) as usize];
        let piece = Plaintext {
            ts,
            local,
            remote,
            side,
            sent,
            session,
            offset,
            seen,
            bytes,
            process: actor("x"),
        };
        dissection.plaintext(&piece);
        if next() % 100 == 0 {
            dissection.closed(ts, local, remote);
        }
        assert!(dissection.held_bytes() < 1 << 20 && dissection.live_flows() <= 1);
        if dissection.pending_rows() > 1000 {
            drop(dissection.take());
        }
    }
}
