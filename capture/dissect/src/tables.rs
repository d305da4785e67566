//! Where rows gather, a builder for each table.
use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use schema::Table;
use schema::value::Columns;

use crate::connection::ConnectionsColumns;
use crate::envelope::{Envelope, EnvelopeColumns, Facts, Occurrence};
use crate::exchange::Summary;
use crate::loss::LossesColumns;
use crate::packet_row::PacketsColumns;
use crate::protocol::PROTOCOLS;

/// Every table, protocols first, in the order of [`PROTOCOLS`].
pub fn tables() -> &'static [Table] {
    &TABLES.0
}

static TABLES: LazyLock<(Vec<Table>, Vec<SchemaRef>)> = LazyLock::new(|| {
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
    tables.extend([ConnectionsColumns::TABLE, PacketsColumns::TABLE, LossesColumns::TABLE]);
    let schemas = tables.iter().map(Table::arrow).collect();
    (tables, schemas)
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
    fn leave_wide_out(&mut self);
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
    fn leave_wide_out(&mut self) {
        self.own.leave_wide_out();
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
    fn leave_wide_out(&mut self) {
        self.own.leave_wide_out();
    }
}

/// A builder for each table.
pub(crate) struct Tables {
    protocols: Vec<Box<dyn AnyRows>>,
    pub(crate) connections: Plain<ConnectionsColumns>,
    pub(crate) packets: Plain<PacketsColumns>,
    pub(crate) losses: Plain<LossesColumns>,
    /// Rows of protocols.
    n_rows: usize,
    /// How many rows there were when their bytes were summed up, and the sum.
    weighed: Cell<(usize, usize)>,
    /// The node that every row names.
    pub(crate) node: Arc<str>,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Tables").field("rows", &self.rows()).finish_non_exhaustive()
    }
}

impl Tables {
    pub(crate) fn new(node: &str, wide: bool) -> Self {
        let mut protocols: Vec<Box<dyn AnyRows>> = Vec::with_capacity(PROTOCOLS.len());
        for (builder, protocol) in BUILDERS.iter().zip(PROTOCOLS) {
            if *builder == protocols.len() {
                protocols.push((protocol.rows)());
            }
        }
        if !wide {
            protocols.iter_mut().for_each(|it| it.leave_wide_out());
        }
        Self {
            protocols,
            connections: Plain::default(),
            packets: Plain::default(),
            losses: Plain::default(),
            n_rows: 0,
            weighed: Cell::default(),
            node: node.into(),
        }
    }

    /// Adds a row to the protocol's table, see [`builder_of`].
    pub(crate) fn push<C: Columns>(
        &mut self,
        table: usize,
        envelope: Envelope<'_>,
        row: C::Row<'_>,
    ) {
        let rows = self.protocols.get_mut(table).map(|it| &mut **it as &mut dyn Any);
        if let Some(rows) = rows.and_then(|it| it.downcast_mut::<Rows<C>>()) {
            self.n_rows += 1;
            rows.len += 1;
            rows.envelope.push(envelope);
            rows.own.push(row);
        }
    }

    /// The table with these columns.
    fn place<C: Columns>(&self) -> Option<usize> {
        self.protocols.iter().position(|it| (&**it as &dyn Any).is::<Rows<C>>())
    }

    pub(crate) fn rows(&self) -> usize {
        self.n_rows + self.connections.len + self.packets.len + self.losses.len
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
        let plain: [&dyn AnyRows; 3] = [&self.connections, &self.packets, &self.losses];
        self.protocols.iter().map(|it| &**it).chain(plain)
    }

    /// Takes the rows so far, a batch for each table that has any.
    pub(crate) fn take(&mut self) -> Vec<(&'static Table, RecordBatch)> {
        let plain: [&mut dyn AnyRows; 3] =
            [&mut self.connections, &mut self.packets, &mut self.losses];
        let rows = self.protocols.iter_mut().map(|it| &mut **it).chain(plain);
        let (tables, schemas) = &*TABLES;
        let mut batches = Vec::new();
        self.n_rows = 0;
        self.weighed = Cell::default();
        for ((table, schema), rows) in tables.iter().zip(schemas).zip(rows) {
            if rows.len() == 0 {
                continue;
            }
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
        let node = Arc::clone(&self.tables.node);
        let envelope = Envelope::new(protocol, &node, self.facts, &occurrence, summary);
        self.tables.push::<C>(table, envelope, row);
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

/// Rows after which their bytes are summed up anew.
const WEIGHED_ROWS: usize = 16;
