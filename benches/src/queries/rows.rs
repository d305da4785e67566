//! Synthetic traffic of a small cluster, as rows of the real tables: HTTP exchanges with headers and bodies, and the
//! connections they went over. The same seed gives the same rows.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::builder::{
    BinaryViewBuilder, ListBuilder, MapBuilder, StringBuilder, StringViewBuilder,
};
use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampNanosecondArray,
    UInt16Array, UInt64Array,
};
use schema::{Field, Kind, Table};
use segment::Store;

/// Writes that many exchanges, and their connections, to a store.
pub(super) fn fill(store: &Store, exchanges: u64) -> Result<()> {
    let http = table("http")?;
    let connections = table("connections")?;
    let mut traffic = Traffic::new(exchanges);
    let (mut rows, mut closed) = (Vec::with_capacity(BATCH_ROWS), Vec::new());
    let mut left = exchanges;
    while left > 0 {
        let n = left.min(BATCH_ROWS as u64);
        (0..n).for_each(|_| rows.push(traffic.exchange(&mut closed)));
        left -= n;
        if left == 0 {
            closed.append(&mut traffic.open);
        }
        store.append(&http.name, batch(&http, &rows)?)?;
        rows.clear();
        if !closed.is_empty() {
            closed.sort_by_key(|it| it.ts);
            store.append(&connections.name, batch(&connections, &closed)?)?;
            closed.clear();
        }
    }
    store.seal()?;
    Ok(())
}

/// The id of a conversation that is there: of the first exchanges, so that it costs little to find out.
pub(super) fn needle(exchanges: u64) -> String {
    let mut traffic = Traffic::new(exchanges);
    let mut closed = Vec::new();
    let mut last = String::new();
    for _ in 0..exchanges.min(NEEDLE_AT) {
        last = traffic.exchange(&mut closed).flow_id;
        closed.clear();
    }
    last
}

/// The first and the last time of the rows, nanoseconds since 1970: about, but always the same.
pub(super) fn span(exchanges: u64) -> (i64, i64) {
    (T0, T0 + GAP * i64::try_from(exchanges).unwrap_or(i64::MAX / GAP))
}

fn table(name: &str) -> Result<Table> {
    dissect::tables()
        .iter()
        .find(|it| it.name == name)
        .cloned()
        .with_context(|| format!("no table {name}"))
}

/// The values of a row, by the names of its columns. What it does not know is null, zero or empty.
trait Row {
    fn text(&self, column: &str) -> Option<&str>;
    fn number(&self, column: &str) -> Option<i64>;
    fn flag(&self, _column: &str) -> bool {
        false
    }
    fn body(&self, _column: &str) -> Option<&[u8]> {
        None
    }
    fn pairs(&self, _column: &str, _to: &mut Vec<(&'static str, String)>) -> bool {
        false
    }
}

fn batch(table: &Table, rows: &[impl Row]) -> Result<RecordBatch> {
    let columns = table.fields.iter().map(|it| column(it, rows)).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(table.arrow(), columns)?)
}

fn column(field: &Field, rows: &[impl Row]) -> Result<ArrayRef> {
    let name = field.name.as_ref();
    let number = |row| Row::number(row, name).or_else(|| (!field.nullable).then_some(0));
    Ok(match field.kind {
        Kind::Flag => Arc::new(rows.iter().map(|it| Some(it.flag(name))).collect::<BooleanArray>()),
        Kind::Code => {
            Arc::new(rows.iter().map(|it| number(it).map(|it| it as i32)).collect::<Int32Array>())
        }
        Kind::Port => {
            Arc::new(rows.iter().map(|it| number(it).map(|it| it as u16)).collect::<UInt16Array>())
        }
        Kind::Count | Kind::Size => {
            Arc::new(rows.iter().map(|it| number(it).map(|it| it as u64)).collect::<UInt64Array>())
        }
        Kind::Duration => Arc::new(rows.iter().map(number).collect::<Int64Array>()),
        Kind::Time => Arc::new(
            rows.iter().map(number).collect::<TimestampNanosecondArray>().with_timezone("UTC"),
        ),
        Kind::Label | Kind::Text | Kind::Json | Kind::Address | Kind::Id => {
            let mut built = StringViewBuilder::with_capacity(rows.len());
            rows.iter().for_each(|it| {
                built.append_option(it.text(name).or_else(|| (!field.nullable).then_some("")))
            });
            Arc::new(built.finish())
        }
        Kind::Body => {
            let mut built = BinaryViewBuilder::with_capacity(rows.len());
            rows.iter().for_each(|it| built.append_option(it.body(name)));
            Arc::new(built.finish())
        }
        Kind::Texts => {
            let mut built = ListBuilder::new(StringBuilder::new());
            rows.iter().for_each(|_| built.append(!field.nullable));
            Arc::new(built.finish())
        }
        Kind::Headers => {
            let mut built = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
            let mut pairs = Vec::new();
            for row in rows {
                let there = row.pairs(name, &mut pairs);
                for (name, value) in pairs.drain(..) {
                    built.keys().append_value(name);
                    built.values().append_value(value);
                }
                built.append(there || !field.nullable)?;
            }
            Arc::new(built.finish())
        }
    })
}

/// The cluster at work.
struct Traffic {
    random: Random,
    now: i64,
    open: Vec<Connection>,
}

/// One request with its response.
struct Exchange {
    ts: i64,
    duration: i64,
    verb: &'static str,
    target: String,
    /// Where the target's query begins, if it has one.
    query_at: Option<usize>,
    status: i64,
    client: Arc<Pod>,
    server: Arc<Pod>,
    client_port: i64,
    server_port: i64,
    agent: &'static str,
    trace: String,
    request_id: String,
    flow_id: String,
    seq: i64,
    request_body: Option<String>,
    response_body: Option<String>,
}

/// What a conversation was like.
struct Connection {
    ts: i64,
    last: i64,
    client: Arc<Pod>,
    server: Arc<Pod>,
    client_port: i64,
    server_port: i64,
    agent: &'static str,
    flow_id: String,
    exchanges: i64,
    sent: i64,
    received: i64,
    rtt: i64,
    retransmissions: i64,
}

struct Pod {
    ip: String,
    name: String,
    namespace: &'static str,
    service: &'static str,
    node: String,
}

impl Pod {
    fn new(i: usize, server: bool) -> Arc<Self> {
        let service = SERVICES.get(i % SERVICES.len()).copied().unwrap_or_default();
        let namespace = NAMESPACES.get(i % NAMESPACES.len()).copied().unwrap_or_default();
        let kind = if server { "7c9f" } else { "client" };
        Arc::new(Self {
            ip: format!("10.42.{}.{}", i / 200, 1 + i % 200),
            name: format!("{service}-{kind}-{i}"),
            namespace,
            service,
            node: format!("node-{}", i % 5),
        })
    }
}

impl Traffic {
    fn new(exchanges: u64) -> Self {
        Self { random: Random(SEED ^ exchanges), now: T0, open: Vec::new() }
    }

    /// The next exchange. Connections that end with it are added to `closed`.
    fn exchange(&mut self, closed: &mut Vec<Connection>) -> Exchange {
        let random = &mut self.random;
        self.now += random.below(2 * GAP as u64) as i64;
        if self.open.len() < OPEN {
            let id = random.next() >> 4;
            self.open.push(Connection {
                ts: self.now,
                last: self.now,
                client: Pod::new(random.below(120) as usize, false),
                server: Pod::new(random.below(16) as usize, true),
                client_port: 32_768 + random.below(28_000) as i64,
                server_port: *random.of(&[80, 8080, 8080, 9000]),
                agent: random.of::<&str>(&AGENTS),
                flow_id: text_of(id),
                exchanges: 0,
                sent: 0,
                received: 0,
                rtt: random.log_normal(12.5, 0.8) as i64,
                retransmissions: i64::from(random.below(10) == 0) * (1 + random.below(5) as i64),
            });
        }
        let at = random.below(self.open.len() as u64) as usize;
        let flow = &mut self.open[at];
        let service = flow.server.service;
        let verb = random.of(&VERBS);
        let id = (random.pareto(0.6) as u64) % 5_000_000;
        let mut target = format!("/api/v1/{service}/{id}");
        let query_at = (random.below(10) < 3).then(|| {
            let at = target.len() + 1;
            let (limit, cursor) = (random.of(&[10, 20, 50]), random.next());
            write!(target, "?limit={limit}&cursor={cursor:016x}").expect("a String takes any text");
            at
        });
        let status = match random.below(100) {
            0..84 => 200,
            84..89 => 201,
            89 => 204,
            90 | 91 => 304,
            92 | 93 => 400,
            94..98 => 404,
            98 => 500,
            _ => 503,
        };
        let request_body = matches!(*verb, "POST" | "PUT").then(|| body(random, service));
        let response_body = match status {
            204 | 304 => None,
            200 | 201 => Some(body(random, service)),
            _ => Some(format!("{{\"error\":\"{status}\"}}")),
        };
        let exchange = Exchange {
            ts: self.now,
            duration: (random.log_normal(7.5, 1.0) * 1000.0) as i64,
            verb,
            target,
            query_at,
            status,
            client: Arc::clone(&flow.client),
            server: Arc::clone(&flow.server),
            client_port: flow.client_port,
            server_port: flow.server_port,
            agent: flow.agent,
            trace: format!("{:016x}{:016x}", random.next(), random.next()),
            request_id: format!("{:08x}-{:016x}", random.next() as u32, random.next()),
            flow_id: flow.flow_id.clone(),
            seq: flow.exchanges,
            request_body,
            response_body,
        };
        flow.exchanges += 1;
        flow.last = self.now + exchange.duration;
        flow.sent += exchange.request_bytes();
        flow.received += exchange.response_bytes();
        if flow.exchanges == EXCHANGES_PER_FLOW {
            closed.push(self.open.swap_remove(at));
        }
        exchange
    }
}

fn body(random: &mut Random, service: &str) -> String {
    let mut text =
        format!("{{\"service\":\"{service}\",\"request\":\"{:016x}\",\"items\":[", random.next());
    for i in 0..*random.of(&[1, 2, 3, 5, 8]) {
        let comma = if i > 0 { "," } else { "" };
        let (sku, quantity, cents) =
            (random.below(40_000), 1 + random.below(8), random.below(50_000));
        let (a, b, c) = (random.of(&WORDS), random.of(&WORDS), random.of(&WORDS));
        write!(
            text,
            "{comma}{{\"sku\":\"SKU-{sku:06}\",\"quantity\":{quantity},\"price\":{}.{:02},\"currency\":\"USD\",\
             \"note\":\"{a} {b} {c}\"}}",
            cents / 100,
            cents % 100
        )
        .expect("a String takes any text");
    }
    text.push_str("]}");
    text
}

impl Exchange {
    fn path(&self) -> &str {
        self.query_at.and_then(|at| self.target.get(..at - 1)).unwrap_or(&self.target)
    }

    fn request_bytes(&self) -> i64 {
        420 + (self.target.len() + self.request_body.as_ref().map_or(0, String::len)) as i64
    }

    fn response_bytes(&self) -> i64 {
        180 + self.response_body.as_ref().map_or(0, String::len) as i64
    }
}

impl Row for Exchange {
    fn text(&self, column: &str) -> Option<&str> {
        Some(match column {
            "protocol" => "http",
            "verb" => self.verb,
            "target" => &self.target,
            "client_ip" => &self.client.ip,
            "client_pod" => &self.client.name,
            "client_namespace" => self.client.namespace,
            "client_workload" => self.client.service,
            "client_node" => &self.client.node,
            "server_ip" => &self.server.ip,
            "server_pod" => &self.server.name,
            "server_namespace" => self.server.namespace,
            "server_workload" | "server_service" => self.server.service,
            "server_node" => &self.server.node,
            "capture" => "packet",
            "flow_id" => &self.flow_id,
            "node" => NODE,
            "version" => "1.1",
            "host" => self.server.service,
            "path" => self.path(),
            "query" => self.target.get(self.query_at?..)?,
            "user_agent" => self.agent,
            "reason" => {
                if self.status < 300 {
                    "OK"
                } else {
                    "Error"
                }
            }
            "request_content_type" => self.request_body.as_ref().map(|_| "application/json")?,
            "response_content_type" => self.response_body.as_ref().map(|_| "application/json")?,
            _ => return None,
        })
    }

    fn number(&self, column: &str) -> Option<i64> {
        Some(match column {
            "ts" => self.ts,
            "duration" => self.duration,
            "status" => self.status,
            "client_port" => self.client_port,
            "server_port" => self.server_port,
            "request_bytes" => self.request_bytes(),
            "response_bytes" => self.response_bytes(),
            "seq" => self.seq,
            "request_body_bytes" => self.request_body.as_ref()?.len() as i64,
            "response_body_bytes" => self.response_body.as_ref()?.len() as i64,
            _ => return None,
        })
    }

    fn flag(&self, column: &str) -> bool {
        column == "failed" && self.status >= 400
    }

    fn body(&self, column: &str) -> Option<&[u8]> {
        match column {
            "request_body" => self.request_body.as_ref().map(String::as_bytes),
            "response_body" => self.response_body.as_ref().map(String::as_bytes),
            _ => None,
        }
    }

    fn pairs(&self, column: &str, to: &mut Vec<(&'static str, String)>) -> bool {
        match column {
            "request_headers" => {
                to.push(("host", format!("{}.prod.svc.cluster.local", self.server.service)));
                to.push(("user-agent", self.agent.to_owned()));
                to.push(("accept", "application/json".to_owned()));
                to.push(("traceparent", format!("00-{}-{}-01", self.trace, self.flow_id)));
                to.push(("x-request-id", self.request_id.clone()));
                to.push(("authorization", "Bearer ***".to_owned()));
                if let Some(body) = &self.request_body {
                    to.push(("content-type", "application/json".to_owned()));
                    to.push(("content-length", body.len().to_string()));
                }
            }
            "response_headers" => {
                to.push(("content-type", "application/json".to_owned()));
                to.push((
                    "date",
                    format!("Thu, 01 Jan 2026 08:{:02}:00 GMT", self.ts / 60_000_000_000 % 60),
                ));
                to.push(("server", "envoy".to_owned()));
                to.push(("x-envoy-upstream-service-time", (self.duration / 1_000_000).to_string()));
                if let Some(body) = &self.response_body {
                    to.push(("content-length", body.len().to_string()));
                }
            }
            _ => return false,
        }
        true
    }
}

impl Row for Connection {
    fn text(&self, column: &str) -> Option<&str> {
        Some(match column {
            "transport" => "tcp",
            "protocol" => "http",
            "state" => {
                if self.retransmissions > 3 {
                    "reset"
                } else {
                    "closed"
                }
            }
            "client_ip" => &self.client.ip,
            "server_ip" => &self.server.ip,
            "flow_id" => &self.flow_id,
            "node" => NODE,
            _ => return None,
        })
    }

    fn number(&self, column: &str) -> Option<i64> {
        Some(match column {
            "ts" => self.ts,
            "duration" => self.last - self.ts,
            "client_port" => self.client_port,
            "server_port" => self.server_port,
            "client_packets" | "rtt_samples" => self.exchanges * 2,
            "server_packets" => self.exchanges * 3,
            "client_bytes" => self.sent,
            "server_bytes" => self.received,
            "goodput_bytes" => self.sent + self.received,
            "initial_rtt" | "handshake_time" | "rtt_min" => self.rtt,
            "rtt_avg" => self.rtt * 5 / 4,
            "rtt_max" => self.rtt * 3,
            "client_retransmissions" => self.retransmissions,
            "client_window_scale" | "server_window_scale" => 7,
            "fins" => 2,
            "completeness" => 31,
            _ => return None,
        })
    }
}

/// SplitMix64: small, even, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// From 0, inclusive, to 1, exclusive.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn pareto(&mut self, alpha: f64) -> f64 {
        (1.0 - self.unit()).powf(-1.0 / alpha)
    }

    fn log_normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let (a, b) = (1.0 - self.unit(), self.unit());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        (mean + deviation * normal).exp()
    }
}

/// Twelve letters and digits: ids that have nothing to do with the time, unlike real ones, so that only bloom filters
/// find them.
fn text_of(id: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    (0..12).map(|i| DIGITS[(id >> (5 * i)) as usize % 32] as char).collect()
}

const SEED: u64 = 0x6b73_6861_726b;
const NODE: &str = "node-1";
/// 2026-01-01.
const T0: i64 = 1_767_225_600_000_000_000;
/// From one exchange to the next, on average.
const GAP: i64 = 4_000_000;
/// Connections that are open at the same time.
const OPEN: usize = 64;
const EXCHANGES_PER_FLOW: i64 = 20;
/// Where the needle lies.
const NEEDLE_AT: u64 = 100_000;
const BATCH_ROWS: usize = 8192;
const SERVICES: [&str; 8] =
    ["cart", "checkout", "catalog", "payments", "users", "search", "recommendations", "frontend"];
const NAMESPACES: [&str; 3] = ["shop", "prod", "edge"];
const VERBS: [&str; 10] = ["GET", "GET", "GET", "GET", "GET", "GET", "GET", "POST", "POST", "PUT"];
const AGENTS: [&str; 4] =
    ["Go-http-client/1.1", "okhttp/4.9.3", "python-requests/2.31", "axios/1.6.2"];
const WORDS: [&str; 16] = [
    "order", "item", "price", "quantity", "currency", "user", "email", "status", "created",
    "updated", "address", "city", "country", "note", "sku", "discount",
];
