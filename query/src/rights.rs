//! What a caller may see, and how rows are told apart by it.
//!
//! A [`Gate`] stands between a place's rows and all that a question does with them: rows that may not be seen are
//! gone, and words that may not be read are null, before a filter, an aggregate or an expression of the asker's looks at
//! anything. Rows are copied through it, so that no byte of others is in a buffer that leaves the node.
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, MutableArrayData, RecordBatch, RecordBatchOptions, StringViewArray,
    UInt32Array, make_array, new_null_array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, in_list, lit};
use schema::{Field, FlowId, Kind, Table, Words};
use serde::{Deserialize, Serialize};

/// What may be seen of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Rows: who spoke with whom, when, how much, and how it ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rows: bool,
    /// What was said.
    #[serde(default, skip_serializing_if = "is_false")]
    pub payload: bool,
    /// Packets as they were captured.
    #[serde(default, skip_serializing_if = "is_false")]
    pub packets: bool,
}

impl Grant {
    /// Everything.
    pub const ALL: Self = Self { rows: true, payload: true, packets: true };
}

/// What a caller may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Of every namespace, and of what is in none.
    #[serde(default)]
    pub everywhere: Grant,
    /// Of single namespaces, besides.
    #[serde(default)]
    pub namespaces: BTreeMap<String, Grant>,
}

impl Rights {
    /// All there is.
    #[must_use]
    pub fn all() -> Self {
        Self { everywhere: Grant::ALL, namespaces: BTreeMap::new() }
    }

    /// Whether nothing is kept from the caller.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.everywhere == Grant::ALL
    }

    /// What may be seen of a namespace, or of what is in none.
    #[must_use]
    pub fn of(&self, namespace: Option<&str>) -> Grant {
        let own = namespace.and_then(|it| self.namespaces.get(it)).copied().unwrap_or_default();
        let everywhere = self.everywhere;
        Grant {
            rows: own.rows || everywhere.rows,
            payload: own.payload || everywhere.payload,
            packets: own.packets || everywhere.packets,
        }
    }

    /// As text, to be told to a node.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From that text; `None` if it is none.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_false(it: &bool) -> bool {
    !it
}

/// Conversations whose packets may be seen.
pub(crate) type Permitted = HashSet<FlowId>;

/// How a table's rows say whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Two ends, each in a namespace or in none.
    Ends,
    /// One namespace.
    Namespace,
    /// The conversation only.
    Flow,
    /// Not at all: they are about everybody.
    Nothing,
}

impl By {
    fn of(table: &Table) -> Self {
        let has = |name: &str, kind| table.field(name).is_some_and(|it| it.kind == kind);
        if has(CLIENT, Kind::Label) && has(SERVER, Kind::Label) {
            Self::Ends
        } else if has(NAMESPACE, Kind::Label) {
            Self::Namespace
        } else if has(FLOW, Kind::Id) {
            Self::Flow
        } else {
            Self::Nothing
        }
    }

    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Ends => &[CLIENT, SERVER],
            Self::Namespace => &[NAMESPACE],
            Self::Flow => &[FLOW],
            Self::Nothing => &[],
        }
    }
}

/// Lets through what a caller may see of the rows of some tables, which are scanned as one.
#[derive(Clone)]
pub(crate) struct Gate {
    by: By,
    rights: Arc<Rights>,
    /// The columns that come out.
    columns: SchemaRef,
    words: Vec<Words>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("by", &self.by).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate for scans of these tables' `columns`. Where tables differ, what less can be seen by holds.
    pub(crate) fn new<'a>(
        rights: &Arc<Rights>,
        tables: impl IntoIterator<Item = &'a Table>,
        columns: &SchemaRef,
    ) -> Self {
        let mut by = None;
        let mut words: Option<Vec<Words>> = None;
        for table in tables {
            let its = By::of(table);
            by = Some(by.map_or(its, |it| if it == its { it } else { By::Nothing }));
            let its = columns.fields().iter().map(|it| words_of(table, it.name()));
            words = Some(match words {
                None => its.collect(),
                Some(words) => {
                    let pairs = words.into_iter().zip(its);
                    pairs.map(|(a, b)| if a == b { a } else { Words::Both }).collect()
                }
            });
        }
        Self {
            by: by.unwrap_or(By::Nothing),
            rights: Arc::clone(rights),
            columns: Arc::clone(columns),
            words: words.unwrap_or_else(|| vec![Words::Both; columns.fields().len()]),
        }
    }

    /// The columns by which it tells rows apart.
    pub(crate) fn needs(&self) -> &'static [&'static str] {
        self.by.columns()
    }

    /// Whether it asks for conversations that are permitted.
    pub(crate) fn asks_for_flows(&self) -> bool {
        self.by == By::Flow
    }

    /// What comes through of a batch that has the gate's columns, and those it needs.
    pub(crate) fn pass(
        &self,
        batch: &RecordBatch,
        permitted: Option<&Permitted>,
    ) -> Result<RecordBatch> {
        let mut kept = Kept::default();
        let text = |name: &str| batch.column_by_name(name).and_then(|it| it.as_string_view_opt());
        match self.by {
            By::Ends => {
                if let (Some(client), Some(server)) = (text(CLIENT), text(SERVER)) {
                    self.by_ends(client, server, &mut kept);
                }
            }
            By::Namespace => {
                for (row, it) in (0..).zip(text(NAMESPACE).into_iter().flatten()) {
                    if self.rights.of(it).rows {
                        kept.push(row, true, true);
                    }
                }
            }
            By::Flow => {
                for (row, it) in (0..).zip(text(FLOW).into_iter().flatten()) {
                    let flow = it.and_then(FlowId::parse);
                    if flow.is_some_and(|it| permitted.is_some_and(|all| all.contains(&it))) {
                        kept.push(row, true, true);
                    }
                }
            }
            By::Nothing if self.rights.everywhere.rows => {
                (0..).take(batch.num_rows()).for_each(|row| kept.push(row, true, true));
            }
            By::Nothing => {}
        }
        self.copy(batch, &kept)
    }

    fn by_ends(&self, client: &StringViewArray, server: &StringViewArray, kept: &mut Kept) {
        let mut last: Option<(Option<&str>, Option<&str>, Grant, Grant)> = None;
        for (row, (client, server)) in (0..).zip(client.iter().zip(server)) {
            // Rows of the same two come together.
            let (of_client, of_server) = match last {
                Some((c, s, of_client, of_server)) if c == client && s == server => {
                    (of_client, of_server)
                }
                _ => (self.rights.of(client), self.rights.of(server)),
            };
            last = Some((client, server, of_client, of_server));
            if of_client.rows || of_server.rows {
                kept.push(row, of_client.payload, of_server.payload);
            }
        }
    }

    fn copy(&self, batch: &RecordBatch, kept: &Kept) -> Result<RecordBatch> {
        let all = UInt32Array::from(kept.rows.clone());
        let of_client = kept.where_said(&kept.client);
        let of_server = kept.where_said(&kept.server);
        let both: Vec<bool> =
            kept.client.iter().zip(&kept.server).map(|it| *it.0 && *it.1).collect();
        let of_both = kept.where_said(&both);
        let fields = self.columns.fields().iter().zip(&self.words);
        let columns = fields.map(|(field, words)| -> Result<ArrayRef> {
            let Some(column) = batch.column_by_name(field.name()) else {
                return datafusion::common::exec_err!("{} is not at the gate", field.name());
            };
            let rows = match (self.by, words) {
                (By::Ends, Words::Client) => &of_client,
                (By::Ends, Words::Server) => &of_server,
                (By::Ends, Words::Both) => &of_both,
                _ => &all,
            };
            let taken = match rows.null_count() {
                0 if column.null_count() == 0 => take(column.as_ref(), rows, None)?,
                all if all == rows.len() => new_null_array(column.data_type(), all),
                _ => with_nulls(column, rows)?,
            };
            Ok(match taken.data_type() {
                // Views would keep the bytes of all rows.
                DataType::Utf8View => Arc::new(taken.as_string_view().gc()),
                DataType::BinaryView => Arc::new(taken.as_binary_view().gc()),
                _ => taken,
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.columns), columns, &options)?)
    }

    /// A condition that holds for all rows that may come through, and spares reading others; none if it
    /// would hold for all. `schema` has the columns that the gate needs.
    pub(crate) fn condition(&self, schema: &SchemaRef) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        if self.rights.everywhere.rows || matches!(self.by, By::Flow | By::Nothing) {
            return Ok(None);
        }
        let named = self.rights.namespaces.iter().filter(|it| it.1.rows);
        let named: Vec<_> =
            named.map(|it| lit(ScalarValue::Utf8View(Some(it.0.clone())))).collect();
        let mut condition: Option<Arc<dyn PhysicalExpr>> = None;
        for name in self.needs() {
            let column = Arc::new(Column::new_with_schema(name, schema)?);
            let is_one = match named.is_empty() {
                true => lit(false),
                false => in_list(column, named.clone(), &false, schema)?,
            };
            condition = Some(match condition {
                None => is_one,
                Some(it) => Arc::new(BinaryExpr::new(it, Operator::Or, is_one)),
            });
        }
        Ok(condition)
    }
}

/// Those rows of the column, and nothing at all where there is to be null or is: `take` would leave a value there, and
/// what reads files leaves another row's where there is none.
fn with_nulls(column: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef> {
    let data = column.to_data();
    let mut built = MutableArrayData::new(vec![&data], true, rows.len());
    for row in rows {
        match row {
            Some(row) if column.is_valid(row as usize) => {
                built.try_extend(0, row as usize, row as usize + 1)?;
            }
            _ => built.try_extend_nulls(1)?,
        }
    }
    Ok(make_array(built.freeze()))
}

/// Rows that come through, and whose words in them may be read.
#[derive(Default)]
struct Kept {
    rows: Vec<u32>,
    client: Vec<bool>,
    server: Vec<bool>,
}

impl Kept {
    fn push(&mut self, row: u32, client: bool, server: bool) {
        self.rows.push(row);
        self.client.push(client);
        self.server.push(server);
    }

    fn where_said(&self, may: &[bool]) -> UInt32Array {
        self.rows.iter().zip(may).map(|(row, may)| may.then_some(*row)).collect()
    }
}

/// `traffic` says of its rows besides which table they are of.
fn words_of(table: &Table, column: &str) -> Words {
    match column {
        crate::tables::TABLE_NAME => Words::Nobody,
        column => table.words(column),
    }
}

/// Sorts the conversations of a batch into those whose packets may be seen and those whose may not; if some are `wanted`,
/// no others.
pub(crate) fn permit(
    rights: &Rights,
    batch: &RecordBatch,
    wanted: Option<&Permitted>,
    permitted: &mut Permitted,
    forbidden: &mut Permitted,
) {
    let text = |name: &str| batch.column_by_name(name).and_then(|it| it.as_string_view_opt());
    let (Some(flow), Some(client), Some(server)) = (text(FLOW), text(CLIENT), text(SERVER)) else {
        return;
    };
    for (flow, (client, server)) in flow.iter().zip(client.iter().zip(server)) {
        let Some(flow) = flow.and_then(FlowId::parse) else { continue };
        if wanted.is_some_and(|it| !it.contains(&flow)) {
            continue;
        }
        // Packets have in them what was said.
        let may = |it| rights.of(it).packets && rights.of(it).payload;
        if may(client) && may(server) {
            permitted.insert(flow);
        } else {
            forbidden.insert(flow);
        }
    }
}

/// Whether conversations of that table can be told apart.
pub(crate) fn tells_flows(table: &Table) -> bool {
    By::of(table) == By::Ends && table.field(FLOW).is_some_and(|it: &Field| it.kind == Kind::Id)
}

/// The columns that conversations are told apart by.
pub(crate) const FLOW_COLUMNS: [&str; 3] = [FLOW, CLIENT, SERVER];
/// The table of conversations.
pub(crate) const CONNECTIONS: &str = "connections";
pub(crate) const FLOW: &str = "flow_id";
const CLIENT: &str = "client_namespace";
const SERVER: &str = "server_namespace";
const NAMESPACE: &str = "namespace";
