//! Tables, rows and stores to ask.
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanArray, Int32Array, Int64Array, ListBuilder, MapBuilder,
    RecordBatch, StringBuilder, StringViewArray, TimestampNanosecondArray, UInt16Array,
    UInt64Array,
};
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::StreamExt;
use query::{Accounting, Ask, Engine, Error, Limits, Options, Query, Tables};
use schema::{Field, Kind, Table};
use segment::Store;
use tempfile::TempDir;

/// The time of the first row: 2026-01-01 00:00:00 UTC.
pub(crate) const T0: i64 = 1_767_225_600_000_000_000;
pub(crate) const MS: i64 = 1_000_000;

#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Null,
    Flag(bool),
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<String>),
    Pairs(Vec<(String, String)>),
}

impl From<&str> for Cell {
    fn from(it: &str) -> Self {
        Self::Text(it.to_owned())
    }
}

impl From<String> for Cell {
    fn from(it: String) -> Self {
        Self::Text(it)
    }
}

impl From<i64> for Cell {
    fn from(it: i64) -> Self {
        Self::Number(it)
    }
}

impl From<bool> for Cell {
    fn from(it: bool) -> Self {
        Self::Flag(it)
    }
}

fn field(name: &'static str, kind: Kind, nullable: bool) -> Field {
    let doc = format!("The {name}.");
    Field { name: name.into(), doc: doc.into(), kind, nullable }
}

fn envelope() -> Vec<Field> {
    use Kind::{Address, Code, Count, Duration, Flag, Id, Label, Port, Size, Text, Time};
    vec![
        field("ts", Time, false),
        field("duration", Duration, true),
        field("protocol", Label, false),
        field("verb", Label, false),
        field("target", Text, false),
        field("status", Code, true),
        field("failed", Flag, false),
        field("error", Text, true),
        field("client_ip", Address, false),
        field("client_port", Port, false),
        field("client_namespace", Label, true),
        field("server_ip", Address, false),
        field("server_port", Port, false),
        field("server_namespace", Label, true),
        field("request_bytes", Size, false),
        field("response_bytes", Size, false),
        field("flow_id", Id, false),
        field("seq", Count, false),
        field("node", Label, false),
    ]
}

fn table(name: &'static str, own: Vec<Field>) -> Table {
    let fields = envelope().into_iter().chain(own).collect::<Vec<_>>();
    Table { name: name.into(), doc: format!("Rows of {name}.").into(), fields: fields.into() }
}

pub(crate) fn tables() -> Vec<Table> {
    use Kind::{Address, Body, Count, Headers, Id, Label, Size, Text, Texts, Time};
    vec![
        table(
            "http",
            vec![
                field("method", Label, false),
                field("path", Text, false),
                field("request_headers", Headers, true),
                field("response_headers", Headers, true),
                field("response_body", Body, true),
            ],
        ),
        table("dns", vec![field("question", Text, false), field("answers", Texts, true)]),
        table("redis", vec![field("command", Label, false), field("key", Text, true)]),
        Table {
            name: "connections".into(),
            doc: "Conversations.".into(),
            fields: vec![
                field("ts", Time, false),
                field("flow_id", Id, false),
                field("client_ip", Address, false),
                field("state", Label, false),
                field("bytes", Size, false),
                field("packets", Count, false),
                field("node", Label, false),
            ]
            .into(),
        },
    ]
}

pub(crate) fn batch(table: &Table, rows: &[Vec<Cell>]) -> RecordBatch {
    let columns = table.fields.iter().enumerate().map(|(i, field)| {
        let cells: Vec<&Cell> = rows.iter().map(|it| &it[i]).collect();
        column(field.kind, &cells)
    });
    RecordBatch::try_new(table.arrow(), columns.collect()).unwrap()
}

fn column(kind: Kind, cells: &[&Cell]) -> ArrayRef {
    let numbers = || {
        cells.iter().map(|it| match it {
            Cell::Number(it) => Some(*it),
            _ => None,
        })
    };
    match kind {
        Kind::Flag => Arc::new(
            cells
                .iter()
                .map(|it| if let Cell::Flag(it) = it { Some(*it) } else { None })
                .collect::<BooleanArray>(),
        ),
        Kind::Code => Arc::new(numbers().map(|it| it.map(|it| it as i32)).collect::<Int32Array>()),
        Kind::Port => Arc::new(numbers().map(|it| it.map(|it| it as u16)).collect::<UInt16Array>()),
        Kind::Count | Kind::Size => {
            Arc::new(numbers().map(|it| it.map(|it| it as u64)).collect::<UInt64Array>())
        }
        Kind::Duration => Arc::new(numbers().collect::<Int64Array>()),
        Kind::Time => {
            Arc::new(numbers().collect::<TimestampNanosecondArray>().with_timezone("UTC"))
        }
        Kind::Label | Kind::Text | Kind::Json | Kind::Address | Kind::Id => Arc::new(
            cells
                .iter()
                .map(|it| if let Cell::Text(it) = it { Some(it.as_str()) } else { None })
                .collect::<StringViewArray>(),
        ),
        Kind::Body => {
            let mut built = BinaryViewBuilder::new();
            for it in cells {
                built.append_option(if let Cell::Bytes(it) = it { Some(it) } else { None });
            }
            Arc::new(built.finish())
        }
        Kind::Texts => {
            let mut built = ListBuilder::new(StringBuilder::new());
            for it in cells {
                if let Cell::List(it) = it {
                    it.iter().for_each(|it| built.values().append_value(it));
                    built.append(true);
                } else {
                    built.append(false);
                }
            }
            Arc::new(built.finish())
        }
        Kind::Headers => {
            let mut built = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
            for it in cells {
                if let Cell::Pairs(it) = it {
                    for (name, value) in it {
                        built.keys().append_value(name);
                        built.values().append_value(value);
                    }
                    built.append(true).unwrap();
                } else {
                    built.append(false).unwrap();
                }
            }
            let built: ArrayRef = Arc::new(built.finish());
            datafusion::arrow::compute::cast(&built, &kind.data_type()).unwrap()
        }
    }
}

/// The envelope of the i-th exchange on a node.
fn exchange(
    protocol: &str,
    node: usize,
    i: i64,
    verb: &str,
    target: String,
    status: Option<i64>,
    error: Option<&str>,
) -> Vec<Cell> {
    let null = |it: Option<Cell>| it.unwrap_or(Cell::Null);
    vec![
        (T0 + i * MS + node as i64).into(),
        if i % 50 == 7 { Cell::Null } else { ((i * 37 % 500) * MS).into() },
        protocol.into(),
        verb.into(),
        target.into(),
        null(status.map(Cell::from)),
        (error.is_some() || status.is_some_and(|it| it >= 500)).into(),
        null(error.map(Cell::from)),
        format!("10.0.{node}.{}", i % 250).into(),
        (40_000 + i % 1000).into(),
        if i % 3 == 0 { Cell::Null } else { "shop".into() },
        "10.1.0.1".into(),
        80.into(),
        "prod".into(),
        (100 + i % 10).into(),
        (1000 + i % 100).into(),
        format!("{node:02}{:010}", i / 10).into(),
        (i % 10).into(),
        format!("node-{node}").into(),
    ]
}

fn pairs(it: &[(&str, &str)]) -> Cell {
    Cell::Pairs(it.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
}

/// Rows `range` of every table on a node.
pub(crate) fn rows(node: usize, range: std::ops::Range<i64>) -> Vec<(Table, RecordBatch)> {
    let tables = tables();
    let mut all: Vec<Vec<Vec<Cell>>> = vec![Vec::new(); 4];
    for i in range {
        let status = [200, 200, 200, 404, 500][(i % 5) as usize];
        let verb = if i % 4 == 0 { "POST" } else { "GET" };
        let target = format!("/items/{}", i % 7);
        let error = (status == 500).then_some("boom");
        let mut http = exchange("http", node, i, verb, target.clone(), Some(status), error);
        http.push(verb.into());
        http.push(target.into());
        let sid = format!("sid=s{i}; theme=dark");
        http.push(pairs(&[("host", "shop.local"), ("user-agent", "curl/8"), ("cookie", &sid)]));
        http.push(if i % 10 == 9 {
            Cell::Null
        } else {
            pairs(&[
                ("content-type", "application/json"),
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2; Path=/"),
            ])
        });
        http.push(Cell::Bytes(match i % 11 {
            0 => vec![0xff, 0xfe, b'e', b'r', b'r', b'o', b'r'],
            _ => format!("{{\"id\": {i}, \"name\": \"item\"}}").into_bytes(),
        }));
        all[0].push(http);
        if i % 2 == 0 {
            let name = format!("svc-{}.local", i % 4);
            let mut dns = exchange(
                "dns",
                node,
                i,
                "A",
                name.clone(),
                Some(if i % 6 == 0 { 3 } else { 0 }),
                None,
            );
            dns.push(name.into());
            dns.push(if i % 6 == 0 {
                Cell::Null
            } else {
                Cell::List(vec!["10.1.0.1".into(), "10.1.0.2".into()])
            });
            all[1].push(dns);
        }
        if i % 3 == 0 {
            let error = (i % 4 == 0).then_some("WRONGTYPE");
            let mut redis =
                exchange("redis", node, i, "GET", format!("key:{}", i % 9), None, error);
            redis.push("GET".into());
            redis.push(format!("key:{}", i % 9).into());
            all[2].push(redis);
        }
        if i % 10 == 0 {
            all[3].push(vec![
                (T0 + i * MS + node as i64).into(),
                format!("{node:02}{:010}", i / 10).into(),
                format!("10.0.{node}.{}", i % 250).into(),
                if i % 20 == 0 { "closed" } else { "open" }.into(),
                (i * 1000).into(),
                (i + 3).into(),
                format!("node-{node}").into(),
            ]);
        }
    }
    let batches =
        tables.iter().zip(&all).map(|(table, rows)| batch(table, rows)).collect::<Vec<_>>();
    tables.into_iter().zip(batches).filter(|it| it.1.num_rows() > 0).collect()
}

/// Where a store's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Hot,
    Segments,
    Mixed,
}

pub(crate) struct Data {
    pub(crate) store: Store,
    #[expect(dead_code, reason = "the directory goes when it is dropped")]
    dir: TempDir,
}

pub(crate) fn open() -> Data {
    open_with(&tables())
}

pub(crate) fn open_with(tables: &[Table]) -> Data {
    let dir = tempfile::tempdir().unwrap();
    let options = segment::Options { seal_after: Duration::from_secs(3600), ..Default::default() };
    let (store, _) = Store::open(dir.path(), tables, options).unwrap();
    Data { store, dir }
}

/// Puts `count` rows of each of `nodes` into the store, in several batches.
pub(crate) fn fill(store: &Store, nodes: &[usize], count: i64, place: Where) {
    let parts = 4;
    for part in 0..parts {
        for node in nodes {
            let range = count * part / parts..count * (part + 1) / parts;
            for (table, batch) in rows(*node, range) {
                store.append(&table.name, batch).unwrap();
            }
        }
        let seal = match place {
            Where::Hot => false,
            Where::Segments => true,
            Where::Mixed => part < 2,
        };
        if seal {
            store.seal().unwrap();
        }
    }
}

pub(crate) fn local(count: i64, place: Where) -> (Data, Engine) {
    let data = open();
    fill(&data.store, &[0], count, place);
    let engine = engine(&data);
    (data, engine)
}

pub(crate) fn engine(data: &Data) -> Engine {
    Engine::local("node-0", data.store.clone(), Tables::new(tables()), options())
}

pub(crate) fn options() -> Options {
    Options { partitions: 2, ..Options::default() }
}

pub(crate) fn sql(text: &str) -> Query {
    Query {
        id: format!("q{}", text.len()),
        ask: Ask::Sql(text.to_owned()),
        limits: Limits::default(),
    }
}

pub(crate) fn filter(text: &str) -> Query {
    let ask = Ask::Filter { filter: text.to_owned(), limit: None, from: None, to: None };
    Query { id: "f".to_owned(), ask, limits: Limits::default() }
}

/// All rows of an answer, and what it cost.
pub(crate) async fn ask(
    engine: &Engine,
    query: Query,
) -> Result<(Vec<RecordBatch>, Accounting), Error> {
    let mut answer = engine.run(query).await?;
    let mut batches = Vec::new();
    while let Some(batch) = answer.rows.next().await {
        batches.push(batch?);
    }
    Ok((batches, answer.accounting.await))
}

pub(crate) fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// The rows as text, sorted: the order of rows without ORDER BY is anybody's.
pub(crate) fn table_of(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|it| it.starts_with("| "))
        .map(|it| it.split('|').map(str::trim).collect::<Vec<_>>().join("|"))
        .collect();
    lines.sort();
    lines
}
