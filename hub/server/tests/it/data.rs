//! Rows whose every word carries whose it is, and who may see them.

use crate::fake::Fake;
use api::{Field, Kind, Table};
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampNanosecondArray, UInt16Array, UInt64Array,
    builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder},
};
use arrow_cast::cast;
use schema::FlowId;
use segment::Store;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// A small generator of numbers that look random, and are the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// Whether it is the one case in `n`.
    pub(crate) fn one_of(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) rows: bool,
    pub(crate) payload: bool,
    pub(crate) packets: bool,
}

/// What somebody may see; said here once more, so that a mistake there is not made here too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) everywhere: Grant,
    pub(crate) namespaces: BTreeMap<String, Grant>,
}

impl Rights {
    pub(crate) fn all() -> Self {
        let everywhere = Grant { rows: true, payload: true, packets: true };
        Self { everywhere, ..Self::default() }
    }

    pub(crate) fn of(namespace: &str, rows: bool, payload: bool, packets: bool) -> Self {
        let grant = Grant { rows, payload, packets };
        Self { namespaces: [(namespace.to_owned(), grant)].into(), ..Self::default() }
    }

    pub(crate) fn any(dice: &mut Dice) -> Self {
        let mut rights = Self::default();
        if dice.one_of(10) {
            rights.everywhere =
                Grant { rows: true, payload: dice.one_of(3), packets: dice.one_of(3) };
        }
        for it in NAMESPACES {
            let grant = match dice.below(20) {
                0..8 => continue,
                8..12 => Grant { rows: true, ..Grant::default() },
                12..15 => Grant { rows: true, payload: true, packets: false },
                15 => Grant { rows: true, payload: false, packets: true },
                _ => Grant { rows: true, payload: true, packets: true },
            };
            rights.namespaces.insert(it.to_owned(), grant);
        }
        rights
    }

    pub(crate) fn grant(&self, namespace: Option<&str>) -> Grant {
        let Some(own) = namespace.and_then(|it| self.namespaces.get(it)) else {
            return self.everywhere;
        };
        Grant {
            rows: own.rows | self.everywhere.rows,
            payload: own.payload | self.everywhere.payload,
            packets: own.packets | self.everywhere.packets,
        }
    }
}

/// No two begin with the same letter.
pub(crate) const NAMESPACES: [&str; 4] = ["alpha", "bravo", "charlie", "delta"];

type End = Option<&'static str>;

/// One exchange, and what else there is of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) table: &'static str,
    pub(crate) id: u64,
    node: usize,
    pub(crate) client: End,
    pub(crate) server: End,
    /// The ends as a second row of its conversation has them, if there is one.
    later: Option<(End, End)>,
}

/// As it stands in marks.
pub(crate) fn short(namespace: &str) -> &str {
    namespace.get(..2).unwrap_or(namespace)
}

fn name(end: End) -> &'static str {
    end.unwrap_or("outside")
}

impl Row {
    fn ts(&self) -> i64 {
        T0 + i64::try_from(self.id).unwrap() * 1_000_003
    }

    pub(crate) fn flow(&self) -> String {
        FlowId::new(self.ts(), self.id).as_str().to_owned()
    }

    fn padded(&self, word: String) -> String {
        // Texts of up to twelve bytes lie elsewhere in memory than longer ones.
        if self.id.is_multiple_of(3) { word } else { format!("{word} and so on and so forth") }
    }

    /// What the client said.
    pub(crate) fn by_client(&self) -> String {
        self.padded(format!("<c{}{}>", short(name(self.client)), self.id))
    }

    /// What the server said.
    pub(crate) fn by_server(&self) -> String {
        self.padded(format!("<s{}{}>", short(name(self.server)), self.id))
    }

    /// What both did.
    pub(crate) fn by_both(&self) -> String {
        let (client, server) = (short(name(self.client)), short(name(self.server)));
        self.padded(format!("<b{client}{server}{}>", self.id))
    }

    fn is_visible(&self, rights: &Rights) -> bool {
        rights.grant(self.client).rows || rights.grant(self.server).rows
    }

    /// Whether she may have its packets.
    fn has_packets(&self, rights: &Rights) -> bool {
        let may = |end| rights.grant(end).packets && rights.grant(end).payload;
        let both = |(client, server): (End, End)| may(client) && may(server);
        both((self.client, self.server)) && self.later.is_none_or(both)
    }
}

/// The first word in the bytes that may not be read with these rights, and that is not in `known`.
pub(crate) fn forbidden_word(bytes: &[u8], rights: &Rights, known: &str) -> Option<String> {
    let ends = NAMESPACES.iter().map(|it| Some(*it)).chain([None]);
    let hidden: Vec<[u8; 2]> = ends
        .filter(|it| !rights.grant(*it).payload)
        .map(|it| name(it).as_bytes()[..2].try_into().unwrap())
        .collect();
    let is_hidden = |it: &[u8]| hidden.iter().any(|hidden| it == hidden);
    for (at, _) in bytes.iter().enumerate().filter(|it| *it.1 == b'<') {
        let word = &bytes[at..];
        let found = match word {
            [_, b'c' | b's', a, b, ..] => is_hidden(&[*a, *b]),
            [_, b'b', a, b, c, d, ..] => {
                let letters = [a, b, c, d].iter().all(|it| it.is_ascii_lowercase());
                letters && (is_hidden(&[*a, *b]) || is_hidden(&[*c, *d]))
            }
            _ => false,
        };
        if found {
            let end = word.iter().position(|it| *it == b'>').unwrap_or(7).min(16);
            let word = String::from_utf8_lossy(&word[..=end.min(word.len() - 1)]).into_owned();
            if !known.contains(&word) {
                return Some(word);
            }
        }
    }
    None
}

type Publish = Box<dyn Fn() + Send>;

/// Three nodes' rows.
pub(crate) struct Nodes {
    pub(crate) rows: Vec<Row>,
    publish: Mutex<Vec<Publish>>,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let mut dice = Dice::new(7);
        let end = |dice: &mut Dice| match dice.below(9) {
            it @ 0..8 => Some(NAMESPACES[it as usize / 2]),
            _ => None,
        };
        let rows = (0..240).map(|id| {
            let table = if dice.one_of(3) { "dns" } else { "http" };
            let (client, server) = (end(&mut dice), end(&mut dice));
            let later = dice.one_of(8).then(|| (end(&mut dice), server));
            Row { table, id, node: dice.below(3) as usize, client, server, later }
        });
        Self { rows: rows.collect(), publish: Mutex::default() }
    }

    /// Nodes with all of it, some in memory and some in segments.
    pub(crate) fn fakes(&self) -> Vec<Fake> {
        let all = (0..3).map(|node| {
            let fake = Fake::with(&format!("n{node}"), tables());
            let rows: Vec<_> = self.rows.iter().filter(|it| it.node == node).cloned().collect();
            let (older, newer) = rows.split_at(rows.len() * 2 / 3);
            let all = &Rights::all();
            fill(&fake.store(), older, all);
            fake.store().seal().unwrap();
            fill(&fake.store(), newer, all);
            for table in ["http", "dns"] {
                let publish = fake.publisher_of(table);
                let batch = exchanges(table, &rows, all);
                self.publish.lock().unwrap().push(Box::new(move || publish(batch.clone())));
            }
            fake
        });
        all.collect()
    }

    /// A node with what may be seen, and nothing else.
    pub(crate) fn only(&self, rights: &Rights) -> Fake {
        let fake = Fake::with("all", tables());
        fill(&fake.store(), &self.rows, rights);
        fake
    }

    /// Sends every exchange to whoever listens.
    pub(crate) fn publish(&self) {
        self.publish.lock().unwrap().iter().for_each(|it| it());
    }

    /// How many exchanges may be seen.
    pub(crate) fn traffic(&self, rights: &Rights) -> usize {
        self.rows.iter().filter(|it| it.is_visible(rights)).count()
    }

    pub(crate) fn http(&self, rights: &Rights) -> usize {
        self.rows.iter().filter(|it| it.table == "http" && it.is_visible(rights)).count()
    }

    /// How many rows of all tables may be seen.
    pub(crate) fn visible(&self, rights: &Rights) -> usize {
        let rows = |it: &Row| {
            [
                exchanges(it.table, std::slice::from_ref(it), rights).num_rows(),
                connections(std::slice::from_ref(it), rights).num_rows(),
                packets(std::slice::from_ref(it), rights).num_rows(),
            ]
            .iter()
            .sum::<usize>()
        };
        let rest = processes(&self.rows, rights).num_rows() + losses(&self.rows, rights).num_rows();
        self.rows.iter().map(rows).sum::<usize>() + rest
    }
}

fn fill(store: &Store, rows: &[Row], rights: &Rights) {
    for table in ["http", "dns"] {
        store.append(table, exchanges(table, rows, rights)).unwrap();
    }
    store.append("connections", connections(rows, rights)).unwrap();
    store.append("packets", packets(rows, rights)).unwrap();
    store.append("processes", processes(rows, rights)).unwrap();
    store.append("losses", losses(rows, rights)).unwrap();
}

fn table(name: &'static str, fields: &[(&'static str, Kind)]) -> Table {
    let field = |(name, kind): &(&'static str, Kind)| Field {
        name: (*name).into(),
        doc: "A column.".into(),
        kind: *kind,
        nullable: *name != "ts",
    };
    let fields: Vec<_> = fields.iter().map(field).collect();
    Table { name: name.into(), doc: "What a test needs.".into(), fields: fields.into() }
}

pub(crate) fn tables() -> Vec<Table> {
    use Kind::{Address, Body, Code, Count, Duration, Flag, Headers, Id, Label, Port, Size, Text};
    use Kind::{Json, Texts, Time};
    let envelope = [
        ("ts", Time),
        ("duration", Duration),
        ("protocol", Label),
        ("verb", Label),
        ("target", Text),
        ("status", Code),
        ("failed", Flag),
        ("error", Text),
        ("client_ip", Address),
        ("client_port", Port),
        ("client_pod", Label),
        ("client_namespace", Label),
        ("server_ip", Address),
        ("server_pod", Label),
        ("server_namespace", Label),
        ("request_bytes", Size),
        ("flow_id", Id),
        ("seq", Count),
        ("node", Label),
    ];
    let with = |own: &[(&'static str, Kind)]| [&envelope[..], own].concat();
    vec![
        table(
            "http",
            &with(&[
                ("method", Label),
                ("size", Count),
                ("request_headers", Headers),
                ("request_body", Body),
                ("response_headers", Headers),
                ("response_body", Body),
                ("response_tags", Texts),
            ]),
        ),
        table("dns", &with(&[("question", Text), ("records", Json), ("response_answers", Texts)])),
        table(
            "connections",
            &[
                ("ts", Time),
                ("client_namespace", Label),
                ("server_namespace", Label),
                ("state", Label),
                ("bytes", Size),
                ("part", Count),
                ("flow_id", Id),
                ("node", Label),
            ],
        ),
        table(
            "packets",
            &[
                ("ts", Time),
                ("link", Code),
                ("interface", Code),
                ("wire_bytes", Size),
                ("data", Body),
                ("flow_id", Id),
                ("node", Label),
            ],
        ),
        table(
            "processes",
            &[("ts", Time), ("pid", Code), ("name", Text), ("namespace", Label), ("node", Label)],
        ),
        table(
            "losses",
            &[
                ("ts", Time),
                ("until", Time),
                ("stage", Label),
                ("count", Count),
                ("bytes", Size),
                ("node", Label),
            ],
        ),
    ]
}

fn batch(name: &str, columns: Vec<ArrayRef>) -> RecordBatch {
    let schema = tables().iter().find(|it| it.name == name).unwrap().arrow();
    let columns = columns.iter().zip(schema.fields());
    let columns = columns.map(|(it, field)| cast(it, field.data_type()).unwrap()).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn times(of: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(of).with_timezone("UTC"))
}

fn texts<T: AsRef<str>>(of: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(of.collect::<StringViewArray>())
}

fn bodies(of: impl Iterator<Item = Option<String>>) -> ArrayRef {
    let of: Vec<_> = of.collect();
    Arc::new(of.iter().map(|it| it.as_ref().map(String::as_bytes)).collect::<BinaryViewArray>())
}

fn headers(of: impl Iterator<Item = Option<String>>) -> ArrayRef {
    let names =
        MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let mut built = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for it in of {
        if let Some(it) = &it {
            for (name, value) in [("x", it), (it, it)] {
                built.keys().append_value(name);
                built.values().append_value(value);
            }
        }
        built.append(it.is_some()).unwrap();
    }
    Arc::new(built.finish())
}

fn lists(of: impl Iterator<Item = Option<String>>) -> ArrayRef {
    let mut built = ListBuilder::new(StringBuilder::new());
    for it in of {
        if let Some(it) = &it {
            built.values().append_value(it);
            built.values().append_value("same");
        }
        built.append(it.is_some());
    }
    Arc::new(built.finish())
}

/// The exchanges of a table as they may be seen.
fn exchanges(table: &str, rows: &[Row], rights: &Rights) -> RecordBatch {
    let rows: Vec<&Row> =
        rows.iter().filter(|it| it.table == table && it.is_visible(rights)).collect();
    let all = || rows.iter().copied();
    let client = |it: &Row| rights.grant(it.client).payload.then(|| it.by_client());
    let server = |it: &Row| rights.grant(it.server).payload.then(|| it.by_server());
    let may_both = |it: &Row| rights.grant(it.client).payload && rights.grant(it.server).payload;
    let both = |it: &Row| may_both(it).then(|| it.by_both());
    let number = |it: &Row| it.id;
    let pod = |end: End, it: &Row| end.map(|end| format!("{end}-{}", it.id % 3));
    let mut columns: Vec<ArrayRef> = vec![
        times(all().map(Row::ts)),
        Arc::new(all().map(|it| Some(it.id as i64 * 7 % 50)).collect::<Int64Array>()),
        texts(all().map(|it| Some(it.table))),
        texts(all().map(|it| Some(if it.id.is_multiple_of(2) { "GET" } else { "PUT" }))),
        texts(all().map(client)),
        Arc::new(all().map(|it| Some([200, 404, 500][it.id as usize % 3])).collect::<Int32Array>()),
        Arc::new(all().map(|it| Some(it.id % 3 == 2)).collect::<BooleanArray>()),
        texts(all().map(|it| server(it).filter(|_| it.id % 3 == 2))),
        texts(all().map(|it| Some(format!("10.0.0.{}", it.id % 200)))),
        Arc::new(all().map(|it| Some(1000 + it.id as u16)).collect::<UInt16Array>()),
        texts(all().map(|it| pod(it.client, it))),
        texts(all().map(|it| it.client)),
        texts(all().map(|it| Some(format!("10.1.0.{}", it.id % 200)))),
        texts(all().map(|it| pod(it.server, it))),
        texts(all().map(|it| it.server)),
        Arc::new(all().map(|it| Some(it.id * 11)).collect::<UInt64Array>()),
        texts(all().map(|it| Some(it.flow()))),
        Arc::new(all().map(|it| Some(number(it))).collect::<UInt64Array>()),
        texts(all().map(|it| Some(format!("n{}", it.node)))),
    ];
    if table == "http" {
        columns.extend([
            texts(all().map(both)),
            Arc::new(all().map(|it| may_both(it).then_some(it.id)).collect::<UInt64Array>()) as _,
            headers(all().map(client)),
            bodies(all().map(client)),
            headers(all().map(server)),
            bodies(all().map(server)),
            lists(all().map(server)),
        ]);
    } else {
        let json = |it: &Row| both(it).map(|it| format!("[\"{it}\"]"));
        columns.extend([texts(all().map(both)), texts(all().map(json)), lists(all().map(server))]);
    }
    batch(table, columns)
}

fn connections(rows: &[Row], rights: &Rights) -> RecordBatch {
    let parts = rows.iter().flat_map(|it| {
        let later = it.later.map(|ends| (it, ends, 1));
        [(it, (it.client, it.server), 0)].into_iter().chain(later)
    });
    let parts: Vec<_> = parts
        .filter(|(_, (client, server), _)| rights.grant(*client).rows || rights.grant(*server).rows)
        .collect();
    let state = |it: &Row| if it.id.is_multiple_of(2) { "open" } else { "closed" };
    batch(
        "connections",
        vec![
            times(parts.iter().map(|it| it.0.ts() + it.2)),
            texts(parts.iter().map(|it| it.1.0)),
            texts(parts.iter().map(|it| it.1.1)),
            texts(parts.iter().map(|it| Some(state(it.0)))),
            Arc::new(parts.iter().map(|it| Some(it.0.id * 13)).collect::<UInt64Array>()),
            Arc::new(parts.iter().map(|it| Some(it.2 as u64)).collect::<UInt64Array>()),
            texts(parts.iter().map(|it| Some(it.0.flow()))),
            texts(parts.iter().map(|it| Some(format!("n{}", it.0.node)))),
        ],
    )
}

fn packets(rows: &[Row], rights: &Rights) -> RecordBatch {
    let packets: Vec<(&Row, i64)> = rows
        .iter()
        .filter(|it| it.has_packets(rights))
        .flat_map(|it| (0..2).map(move |n| (it, n)))
        .collect();
    let number =
        |n: i32| Arc::new(packets.iter().map(|_| Some(n)).collect::<Int32Array>()) as ArrayRef;
    batch(
        "packets",
        vec![
            times(packets.iter().map(|it| it.0.ts() + it.1)),
            number(1),
            number(0),
            Arc::new(packets.iter().map(|it| Some(it.0.id + 60)).collect::<UInt64Array>()),
            bodies(packets.iter().map(|it| Some(it.0.by_both()))),
            texts(packets.iter().map(|it| Some(it.0.flow()))),
            texts(packets.iter().map(|it| Some(format!("n{}", it.0.node)))),
        ],
    )
}

fn processes(rows: &[Row], rights: &Rights) -> RecordBatch {
    let rows: Vec<_> =
        rows.iter().filter(|it| it.id.is_multiple_of(10) && rights.grant(it.client).rows).collect();
    batch(
        "processes",
        vec![
            times(rows.iter().map(|it| it.ts())),
            Arc::new(rows.iter().map(|it| Some(it.id as i32)).collect::<Int32Array>()),
            texts(rows.iter().map(|it| Some(format!("process of {}", name(it.client))))),
            texts(rows.iter().map(|it| it.client)),
            texts(rows.iter().map(|it| Some(format!("n{}", it.node)))),
        ],
    )
}

fn losses(rows: &[Row], rights: &Rights) -> RecordBatch {
    let everybodys = |it: &&Row| it.id.is_multiple_of(20) && rights.everywhere.rows;
    let rows: Vec<_> = rows.iter().filter(everybodys).collect();
    batch(
        "losses",
        vec![
            times(rows.iter().map(|it| it.ts())),
            times(rows.iter().map(|it| it.ts() + 5)),
            texts(rows.iter().map(|_| Some("kernel"))),
            Arc::new(rows.iter().map(|it| Some(it.id)).collect::<UInt64Array>()),
            Arc::new(rows.iter().map(|it| Some(it.id * 3)).collect::<UInt64Array>()),
            texts(rows.iter().map(|it| Some(format!("n{}", it.node)))),
        ],
    )
}

pub(crate) const T0: i64 = 1_790_000_000_000_000_000;
