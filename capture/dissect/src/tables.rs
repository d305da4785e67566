//! Where rows gather, a builder for each table.
use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use schema::Table;
use schema::value::Columns;

use crate::connection::ConnectionsColumns;
use crate::dissection::Keep;
use crate::envelope::{Envelope, EnvelopeColumns, Facts, Occurrence};
use crate::exchange::Summary;
use crate::loss::LossesColumns;
use crate::names::Names;
use crate::packet_row::PacketsColumns;
use crate::process_row::ProcessesColumns;
use crate::protocol::PROTOCOLS;

/// Every table, protocols first, in the order of [`PROTOCOLS`].
pub fn tables() -> &'static [Table] {
    &TABLES
}

static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let mut tables: Vec<Table> = Vec::new();
    for (builder, protocol) in BUILDERS.iter().zip(PROTOCOLS) {
        let mut table = (protocol.table)();
        // Several protocols may share one.
        if *builder < tables.len() {
            continue;
        }
        let envelope = EnvelopeColumns::TABLE.fields;
        table.fields = Cow::Owned([envelope.as_ref(), table.fields.as_ref()].concat());
        tables.push(table);
    }
    tables.extend([
        ConnectionsColumns::TABLE,
        PacketsColumns::TABLE,
        ProcessesColumns::TABLE,
        LossesColumns::TABLE,
    ]);
    tables
});

/// The builder of each of [`PROTOCOLS`]: those that declare the same table share one.
static BUILDERS: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut names: Vec<Cow<'static, str>> = Vec::new();
    let mut builders = Vec::with_capacity(PROTOCOLS.len());
    for protocol in PROTOCOLS {
        let name = (protocol.table)().name;
        builders.push(names.iter().position(|it| *it == name).unwrap_or(names.len()));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    builders
});

/// Which builder a protocol's rows go to, by its place in [`PROTOCOLS`].
pub(crate) fn builder_of(place: usize) -> usize {
    BUILDERS.get(place).copied().unwrap_or(usize::MAX)
}

/// Rows of one protocol: the envelope's columns and its own.
#[derive(Default)]
pub(crate) struct Rows<C> {
    envelope: EnvelopeColumns,
    own: C,
    len: usize,
}

/// [`Rows`] with its type erased.
pub(crate) trait AnyRows: Any + Send {
    fn len(&self) -> usize;
    fn bytes(&self) -> usize;
    fn finish(&mut self) -> Vec<ArrayRef>;
    /// From here on leaves out the columns that `keeps` refuses.
    fn keep_only(&mut self, keeps: &dyn Fn(&str) -> bool);
}

impl<C: Columns> AnyRows for Rows<C> {
    fn len(&self) -> usize {
        self.len
    }
    fn bytes(&self) -> usize {
        self.envelope.bytes() + self.own.bytes()
    }
    fn finish(&mut self) -> Vec<ArrayRef> {
        self.len = 0;
        let mut columns = self.envelope.finish();
        columns.extend(self.own.finish());
        columns
    }
    fn keep_only(&mut self, keeps: &dyn Fn(&str) -> bool) {
        self.envelope.keep_only(keeps);
        self.own.keep_only(keeps);
    }
}

/// Rows without an envelope.
#[derive(Default)]
pub(crate) struct Plain<C> {
    own: C,
    len: usize,
}

impl<C: Columns> Plain<C> {
    pub(crate) fn push(&mut self, row: C::Row<'_>) {
        self.len += 1;
        self.own.push(row);
    }
}

impl<C: Columns> AnyRows for Plain<C> {
    fn len(&self) -> usize {
        self.len
    }
    fn bytes(&self) -> usize {
        self.own.bytes()
    }
    fn finish(&mut self) -> Vec<ArrayRef> {
        self.len = 0;
        self.own.finish()
    }
    fn keep_only(&mut self, keeps: &dyn Fn(&str) -> bool) {
        self.own.keep_only(keeps);
    }
}

/// The rows of a protocol's table.
struct Slot {
    columns: TypeId,
    /// Made with the first of them: most tables have none.
    rows: Option<Box<dyn AnyRows>>,
    filled: bool,
    /// Which of its own columns are, beside the envelope's.
    own: Own,
    /// Whether others are that an exchange of this one may have a row in, or a number from.
    others_filled: bool,
}

/// How much of a row is looked at, beside the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Nothing,
    /// No more than [`crate::Dissect::BRIEF`].
    Brief,
    All,
}

/// A builder for each table.
pub(crate) struct Tables {
    protocols: Vec<Slot>,
    pub(crate) connections: Plain<ConnectionsColumns>,
    pub(crate) packets: Plain<PacketsColumns>,
    pub(crate) processes: Plain<ProcessesColumns>,
    pub(crate) losses: Plain<LossesColumns>,
    /// Rows of protocols.
    n_rows: usize,
    /// How many rows there were when their bytes were summed up, and the sum.
    weighed: Cell<(usize, usize)>,
    /// The node that every row names.
    pub(crate) node: Arc<str>,
    /// Knows the names of both ends, if anybody does.
    pub(crate) names: Option<Arc<dyn Names>>,
    keep: Keep,
    /// Every table's columns that are filled.
    schemas: Vec<SchemaRef>,
    pub(crate) keeps_connections: bool,
    pub(crate) keeps_packets: bool,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Tables").field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl Tables {
    pub(crate) fn new(node: &str, keep: &Keep) -> Self {
        let mut protocols: Vec<Slot> = Vec::with_capacity(PROTOCOLS.len());
        for (builder, protocol) in BUILDERS.iter().zip(PROTOCOLS) {
            if *builder == protocols.len() {
                let table = tables().get(*builder).filter(|it| keep.fills(&it.name));
                let own = table.and_then(|it| it.fields.get(EnvelopeColumns::TABLE.fields.len()..));
                let own = table.into_iter().zip(own).flat_map(|(table, own)| {
                    own.iter().filter(move |it| keep.fills_column(&table.name, &it.name))
                });
                let own =
                    own.fold(Own::Nothing, |own, it| match protocol.brief.contains(&&*it.name) {
                        true if own != Own::All => Own::Brief,
                        _ => Own::All,
                    });
                protocols.push(Slot {
                    columns: protocol.columns,
                    rows: None,
                    filled: table.is_some(),
                    own,
                    others_filled: false,
                });
            }
        }
        let filled = protocols.iter().filter(|it| it.filled).count();
        // A row's number counts those of other tables, too.
        let numbered = tables()
            .iter()
            .zip(&protocols)
            .any(|(table, slot)| slot.filled && keep.fills_column(&table.name, SEQ));
        for slot in &mut protocols {
            slot.others_filled = numbered || filled > usize::from(slot.filled);
        }
        let mut connections = Plain::<ConnectionsColumns>::default();
        connections.keep_only(&|column| keep.fills_column(CONNECTIONS, column));
        let mut packets = Plain::<PacketsColumns>::default();
        packets.keep_only(&|column| keep.fills_column(PACKETS, column));
        let mut processes = Plain::<ProcessesColumns>::default();
        processes.keep_only(&|column| keep.fills_column(PROCESSES, column));
        let schemas = tables().iter().map(|table| match keep.fills(&table.name) {
            true => keep.table(table).arrow(),
            false => Arc::new(Schema::empty()),
        });
        Self {
            protocols,
            connections,
            packets,
            processes,
            losses: Plain::default(),
            n_rows: 0,
            weighed: Cell::default(),
            node: node.into(),
            names: None,
            schemas: schemas.collect(),
            keeps_connections: keep.fills(CONNECTIONS),
            keeps_packets: keep.fills(PACKETS),
            keep: keep.clone(),
        }
    }

    /// Whether rows of the table, see [`builder_of`], are kept.
    pub(crate) fn keeps(&self, table: usize) -> bool {
        self.protocols.get(table).is_some_and(|it| it.filled)
    }

    /// How much of those rows is, beside the envelope.
    pub(crate) fn own(&self, table: usize) -> Own {
        self.protocols.get(table).map_or(Own::Nothing, |it| it.own)
    }

    /// Whether it matters which rows an exchange of the table gives in others.
    pub(crate) fn keeps_others(&self, table: usize) -> bool {
        self.protocols.get(table).is_some_and(|it| it.others_filled)
    }

    /// Adds a row to the protocol's table, see [`builder_of`]; the envelope alone if no more is kept.
    pub(crate) fn push<C: Columns>(
        &mut self,
        table: usize,
        envelope: Envelope<'_>,
        row: Option<C::Row<'_>>,
    ) {
        let Some(slot) = self.protocols.get_mut(table).filter(|it| it.filled) else { return };
        let rows = slot.rows.get_or_insert_with(|| {
            let mut rows = Rows::<C>::default();
            let name = tables().get(table).map_or("", |it| &*it.name);
            rows.keep_only(&|column| self.keep.fills_column(name, column));
            Box::new(rows) as Box<dyn AnyRows>
        });
        if let Some(rows) = (&mut **rows as &mut dyn Any).downcast_mut::<Rows<C>>() {
            self.n_rows += 1;
            rows.len += 1;
            rows.envelope.push(envelope);
            if let Some(row) = row {
                rows.own.push(row);
            }
        }
    }

    /// The table with these columns.
    fn place<C: Columns>(&self) -> Option<usize> {
        self.protocols.iter().position(|it| it.columns == TypeId::of::<C>())
    }

    pub(crate) fn rows(&self) -> usize {
        let plain = self.connections.len + self.packets.len + self.processes.len + self.losses.len;
        self.n_rows + plain
    }

    /// About how many bytes the rows take. Asked for every packet, so it is summed up, over some
    /// thousand columns, only once in a while.
    pub(crate) fn bytes(&self) -> usize {
        let (rows, (weighed, bytes)) = (self.rows(), self.weighed.get());
        if rows < weighed + WEIGHED_ROWS {
            return bytes;
        }
        let bytes = self.each().filter(|it| it.len() > 0).map(AnyRows::bytes).sum();
        self.weighed.set((rows, bytes));
        bytes
    }

    fn each(&self) -> impl Iterator<Item = &dyn AnyRows> {
        let plain: [&dyn AnyRows; 4] =
            [&self.connections, &self.packets, &self.processes, &self.losses];
        self.protocols.iter().filter_map(|it| it.rows.as_deref()).chain(plain)
    }

    /// Takes the rows so far, a batch for each table that has any.
    pub(crate) fn take(&mut self) -> Vec<(&'static Table, RecordBatch)> {
        let plain: [&mut dyn AnyRows; 4] =
            [&mut self.connections, &mut self.packets, &mut self.processes, &mut self.losses];
        let rows = self.protocols.iter_mut().map(|it| it.rows.as_deref_mut());
        let rows = rows.chain(plain.map(Some));
        let mut batches = Vec::new();
        self.n_rows = 0;
        self.weighed = Cell::default();
        for ((table, schema), rows) in tables().iter().zip(&self.schemas).zip(rows) {
            let Some(rows) = rows.filter(|it| it.len() > 0) else { continue };
            // The derive makes columns and schema from one declaration, so they agree.
            if let Ok(batch) = RecordBatch::try_new(Arc::clone(schema), rows.finish()) {
                batches.push((table, batch));
            }
        }
        batches
    }
}

/// Takes the rows that an exchange gives in other tables than its own. They have its addresses and
/// its times, and positions of their own.
#[derive(Debug)]
pub struct Also<'a> {
    pub(crate) tables: &'a mut Tables,
    pub(crate) facts: &'a Facts,
    pub(crate) occurrence: Occurrence,
    pub(crate) seq: &'a mut u64,
}

impl Also<'_> {
    /// Adds a row. `protocol` is what it says was spoken.
    pub fn row<C: Columns>(
        &mut self,
        protocol: &'static str,
        summary: Summary<'_>,
        row: C::Row<'_>,
    ) {
        self.row_at::<C>(protocol, None, summary, row);
    }

    /// Adds a row of something that lasted no time, at a moment of its own if there is one.
    pub fn row_at<C: Columns>(
        &mut self,
        protocol: &'static str,
        ts: Option<i64>,
        summary: Summary<'_>,
        row: C::Row<'_>,
    ) {
        let Some(table) = self.tables.place::<C>() else { return };
        let mut occurrence = Occurrence { seq: *self.seq, ..self.occurrence };
        if let Some(ts) = ts {
            occurrence.ts = ts;
            occurrence.duration = None;
        }
        *self.seq += 1;
        if !self.tables.keeps(table) {
            return;
        }
        let node = Arc::clone(&self.tables.node);
        let both = self.facts.both(self.tables.names.as_deref(), occurrence.ts);
        let envelope = Envelope::new(protocol, &node, self.facts, &both, &occurrence, summary);
        self.tables.push::<C>(table, envelope, Some(row));
    }

    /// When the exchange began: nanoseconds since 1970.
    pub fn ts(&self) -> i64 {
        self.occurrence.ts
    }

    /// Whether parts of the exchange were not captured.
    pub fn is_incomplete(&self) -> bool {
        self.occurrence.incomplete
    }

    /// Says that parts were not captured, of the rows that come now.
    pub fn incomplete(&mut self) {
        self.occurrence.incomplete = true;
    }

    /// Counts bytes of their own for the rows that come now.
    pub fn bytes(&mut self, request: u64, response: u64) {
        self.occurrence.request_bytes = request;
        self.occurrence.response_bytes = response;
    }
}

pub(crate) const CONNECTIONS: &str = "connections";
pub(crate) const PACKETS: &str = "packets";
pub(crate) const PROCESSES: &str = "processes";
pub(crate) const LOSSES: &str = "losses";
/// The column that every table is sorted by.
pub(crate) const TS: &str = "ts";
/// A row's position among its conversation's.
const SEQ: &str = "seq";

/// Rows after which their bytes are summed up anew.
const WEIGHED_ROWS: usize = 16;
