//! A Worker without packets: a store, the query engine over it, and tails of what a test publishes.

use api::{ApiError, Field, Kind, NodeHealth, Span, Table, TailRequest};
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Int32Array, RecordBatch, StringViewArray,
    TimestampNanosecondArray, UInt64Array,
    builder::{MapBuilder, MapFieldNames, StringBuilder},
};
use arrow_cast::cast;
use futures::{StreamExt as _, stream};
use link::{Client, DialError, Dialer, Hello, Node, Routes, Tail, Work};
use query::node::Service;
use segment::Store;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicU64},
};
use tempfile::TempDir;
use tokio::{sync::broadcast, task::JoinHandle};

pub(crate) struct Fake {
    node: String,
    version: String,
    tables: Vec<Table>,
    store: Store,
    service: Service,
    published: broadcast::Sender<(String, RecordBatch)>,
    names: Arc<Mutex<identity::Index>>,
    _dir: Arc<TempDir>,
}

/// What a row of `notes` is made of.
#[derive(Clone)]
pub(crate) struct Row {
    seq: u64,
    status: i32,
    body: Vec<u8>,
}

pub(crate) fn row(seq: u64) -> Row {
    Row { seq, status: 200, body: Vec::new() }
}

impl Row {
    pub(crate) fn status(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn body(self, body: &str) -> Self {
        self.bytes(body.as_bytes())
    }

    pub(crate) fn bytes(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }
}

impl Fake {
    pub(crate) fn new(node: &str) -> Self {
        Self::of(node, notes())
    }

    fn of(node: &str, table: Table) -> Self {
        Self::with(node, vec![table])
    }

    /// One with these tables, and no rows yet.
    pub(crate) fn with(node: &str, tables: Vec<Table>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &tables, segment::Options::default()).unwrap();
        let service = Service::new(store.clone(), &query::Options::default()).unwrap();
        let published = broadcast::Sender::new(64);
        let version = query::version().to_string();
        let names = Arc::default();
        Self {
            node: node.into(),
            version,
            tables,
            store,
            service,
            published,
            names,
            _dir: Arc::new(dir),
        }
    }

    pub(crate) fn rows(self, rows: impl IntoIterator<Item = Row>) -> Self {
        self.append(rows);
        self
    }

    pub(crate) fn append(&self, rows: impl IntoIterator<Item = Row>) {
        self.store.append("notes", batch(&self.node, rows)).unwrap();
    }

    /// The same node in another process: it has the same rows, and knows of no query.
    pub(crate) fn restarted(&self) -> Self {
        let (node, version, tables) =
            (self.node.clone(), self.version.clone(), self.tables.clone());
        let (store, published) = (self.store.clone(), self.published.clone());
        let service = Service::new(store.clone(), &query::Options::default()).unwrap();
        let (names, dir) = (Arc::clone(&self.names), Arc::clone(&self._dir));
        Self { node, version, tables, store, service, published, names, _dir: dir }
    }

    /// Where its rows are.
    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Sends rows of a table to whoever listens.
    pub(crate) fn publisher_of(&self, table: &str) -> impl Fn(RecordBatch) + use<> {
        let (table, published) = (table.to_owned(), self.published.clone());
        move |rows| {
            published.send((table.clone(), rows)).expect("nobody listens");
        }
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// The same table with a column of another kind.
    pub(crate) fn with_status_as_text(self) -> Self {
        let mut table = notes();
        table
            .fields
            .to_mut()
            .iter_mut()
            .filter(|it| it.name == "status")
            .for_each(|it| it.kind = Kind::Text);
        Self::of(&self.node, table)
    }

    /// Sends rows to whoever listens.
    pub(crate) fn publisher(&self) -> impl Fn(Vec<Row>) + use<> {
        let (node, publish) = (self.node.clone(), self.publisher_of("notes"));
        move |rows| publish(batch(&node, rows))
    }

    /// What it is told of the cluster.
    pub(crate) fn names(&self) -> Arc<Mutex<identity::Index>> {
        Arc::clone(&self.names)
    }

    /// What answers the query engine of a Hub.
    pub(crate) fn engine(&self) -> Routes {
        Routes::new(self.service.server())
    }

    pub(crate) fn attach(self) -> Client {
        let engine = self.engine();
        link::attach(Arc::new(self), engine)
    }

    pub(crate) fn dial(self, hub: SocketAddr, token: Option<&str>) -> JoinHandle<DialError> {
        let engine = self.engine();
        tokio::spawn(
            Dialer::new(&hub.to_string(), token, None).unwrap().run(Arc::new(self), engine),
        )
    }
}

#[async_trait::async_trait]
impl Node for Fake {
    async fn hello(&self) -> Hello {
        Hello {
            node: self.node.clone(),
            version: self.version.clone(),
            tables: self.tables.clone(),
        }
    }

    async fn health(&self) -> NodeHealth {
        NodeHealth {
            packets: 42,
            losses: [("kernel".to_owned(), 3)].into(),
            ..NodeHealth::default()
        }
    }

    async fn accounting(&self, query_id: &str) -> Option<Work> {
        let cost = self.service.accounting(query_id).await?;
        Some(Work {
            rows_scanned: cost.rows_scanned,
            bytes_scanned: cost.bytes_scanned,
            segments: cost.segments_scanned,
            dissected_packets: cost.dissected_packets,
            lacks: cost.lacks,
            unfinished: u64::from(!cost.finished),
            oldest: cost.oldest,
            newest: cost.newest,
            losses: cost
                .losses
                .into_iter()
                .map(|it| api::Loss { stage: it.stage, count: it.count, bytes: it.bytes })
                .collect(),
            ..Work::default()
        })
    }

    async fn identity(&self, update: identity::Update) -> bool {
        self.names.lock().unwrap().update(update);
        true
    }

    async fn tail(&self, request: TailRequest, rights: &str) -> Result<Tail, ApiError> {
        let rights = Arc::new(query::Rights::from_text(rights).unwrap());
        let tables = query::Tables::new(self.tables.clone());
        let filter = query::filter::parse(&request.filter, &tables).map_err(|wrong| ApiError {
            message: wrong.message,
            at: Some(Span { start: wrong.at.start, end: wrong.at.end }),
            hint: wrong.hint,
            instead: wrong.instead,
        })?;
        let live = filter.live(&rights).unwrap();
        let schema = Arc::clone(live.schema());
        let rows =
            stream::unfold((self.published.subscribe(), live), |(mut published, live)| async {
                loop {
                    let (table, batch) = published.recv().await.ok()?;
                    if let Some(rows) = live.apply(&table, &batch).unwrap() {
                        return Some((Ok(rows), (published, live)));
                    }
                }
            });
        Ok(Tail { schema, rows: rows.boxed(), skipped: Arc::new(AtomicU64::new(0)) })
    }
}

fn notes() -> Table {
    let fields = [
        ("ts", Kind::Time),
        ("protocol", Kind::Label),
        ("verb", Kind::Label),
        ("target", Kind::Text),
        ("status", Kind::Code),
        ("failed", Kind::Flag),
        ("flow_id", Kind::Id),
        ("seq", Kind::Count),
        ("node", Kind::Label),
        ("body", Kind::Body),
        ("headers", Kind::Headers),
    ];
    let field = |(name, kind)| Field {
        name: String::from(name).into(),
        doc: "A column.".into(),
        kind,
        nullable: name != "ts",
    };
    let fields: Vec<_> = fields.map(field).into();
    Table { name: "notes".into(), doc: "What a test needs.".into(), fields: fields.into() }
}

fn batch(node: &str, rows: impl IntoIterator<Item = Row>) -> RecordBatch {
    let rows: Vec<Row> = rows.into_iter().collect();
    let word = |word: &str| {
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|_| word))) as ArrayRef
    };
    let nanos = rows.iter().map(|row| i64::try_from(row.seq).unwrap() * 1_000_000_001);
    let names =
        MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let mut headers = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for _ in &rows {
        for (name, value) in [("host", "a"), ("set-cookie", "x=1"), ("set-cookie", "y=2")] {
            headers.keys().append_value(name);
            headers.values().append_value(value);
        }
        headers.append(true).unwrap();
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_iter_values(nanos).with_timezone("UTC")),
        word("notes"),
        word("GET"),
        word("/"),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.status))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.status >= 500)))),
        word("flow"),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.seq))),
        word(node),
        Arc::new(BinaryViewArray::from_iter_values(rows.iter().map(|row| &row.body))),
        Arc::new(headers.finish()),
    ];
    let schema = notes().arrow();
    let columns = columns
        .iter()
        .zip(schema.fields())
        .map(|(it, field)| cast(it, field.data_type()).unwrap())
        .collect();
    RecordBatch::try_new(schema, columns).unwrap()
}
