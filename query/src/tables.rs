//! What tables there are. They are learnt at run time, from the nodes that have them.
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field as ArrowField, Schema, SchemaRef};
use schema::{Field, Kind, Table};

/// The view over the envelope of every protocol table.
pub const TRAFFIC: &str = "traffic";
/// In `traffic` and in a filter's answer, the table that holds the whole row.
pub const TABLE_NAME: &str = "table_name";
/// The table of tables.
pub const TABLES: &str = "tables";
/// The table of columns.
pub const COLUMNS: &str = "columns";

/// The tables that can be asked.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    real: Arc<Vec<Entry>>,
    envelope: Arc<Vec<Field>>,
}

#[derive(Debug)]
struct Entry {
    table: Table,
    schema: SchemaRef,
    /// Its rows are exchanges, so that it is part of `traffic`.
    protocol: bool,
}

/// Two nodes disagree about a column, so that one of them can't be asked about that table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The node whose column differs from the others'.
    pub node: String,
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
}

impl Tables {
    /// The tables of one place.
    pub fn new(tables: impl IntoIterator<Item = Table>) -> Self {
        let mut real: Vec<Entry> = Vec::new();
        for table in tables {
            let taken = [TRAFFIC, TABLES, COLUMNS].contains(&table.name.as_ref())
                || real.iter().any(|it| it.table.name == table.name);
            if !taken {
                let protocol = envelope_of(&table).is_some();
                real.push(Entry { schema: scan_schema(&table.fields), protocol, table });
            }
        }
        let mut envelopes = real.iter().filter_map(|it| envelope_of(&it.table));
        let mut envelope = envelopes.next().unwrap_or_default().to_vec();
        for other in envelopes {
            envelope.retain(|it| other.iter().any(|o| o.name == it.name && o.kind == it.kind));
        }
        Self { real: Arc::new(real), envelope: Arc::new(envelope) }
    }

    /// The tables of several nodes as one: a table has every column any node knows. Docs may
    /// differ, kinds may not: the first to name a column settles it, and who disagrees is returned.
    pub fn merge<'a>(
        nodes: impl IntoIterator<Item = (&'a str, &'a [Table])>,
    ) -> (Self, Vec<Conflict>) {
        let mut order: Vec<String> = Vec::new();
        let mut merged: BTreeMap<String, Table> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for (node, tables) in nodes {
            for table in tables {
                let Some(known) = merged.get_mut(table.name.as_ref()) else {
                    order.push(table.name.to_string());
                    merged.insert(table.name.to_string(), table.clone());
                    continue;
                };
                for field in table.fields.iter() {
                    match known.field(&field.name) {
                        Some(it) if it.kind == field.kind => {}
                        Some(_) => conflicts.push(Conflict {
                            node: node.to_owned(),
                            table: table.name.to_string(),
                            column: field.name.to_string(),
                        }),
                        None => known.fields.to_mut().push(field.clone()),
                    }
                }
            }
        }
        (Self::new(order.iter().filter_map(|it| merged.remove(it))), conflicts)
    }

    /// Every real table.
    pub fn iter(&self) -> impl Iterator<Item = &Table> {
        self.real.iter().map(|it| &it.table)
    }

    /// Every table that can be asked: the real ones, then `traffic`.
    pub fn all(&self) -> Vec<Table> {
        self.iter().cloned().chain(self.traffic()).collect()
    }

    /// The tables whose rows are exchanges: `traffic` is made of them.
    pub fn protocols(&self) -> impl Iterator<Item = &Table> {
        self.real.iter().filter(|it| it.protocol).map(|it| &it.table)
    }

    /// The real tables whose rows a table of that name has: its own, or every protocol's.
    pub(crate) fn behind(&self, name: &str) -> Vec<&Table> {
        match name {
            TRAFFIC => self.protocols().collect(),
            name => self.real.iter().map(|it| &it.table).filter(|it| it.name == name).collect(),
        }
    }

    /// The columns that every protocol table begins with.
    pub fn envelope(&self) -> &[Field] {
        &self.envelope
    }

    /// The view over all protocols; `None` as long as no protocol is known.
    pub fn traffic(&self) -> Option<Table> {
        if self.envelope.is_empty() {
            return None;
        }
        let mut fields = self.envelope.to_vec();
        fields.push(Field {
            name: TABLE_NAME.into(),
            doc: "The table that holds the whole row.".into(),
            kind: Kind::Label,
            nullable: false,
        });
        Some(Table {
            name: TRAFFIC.into(),
            doc: "Every exchange of every protocol, with the columns all protocols share.".into(),
            fields: fields.into(),
        })
    }

    /// The real table of that name.
    pub fn get(&self, name: &str) -> Option<&Table> {
        self.iter().find(|it| it.name == name)
    }

    /// Whether `name` is a protocol table.
    pub fn is_protocol(&self, name: &str) -> bool {
        self.protocols().any(|it| it.name == name)
    }

    /// The schema a scan of the table yields.
    pub(crate) fn schema(&self, name: &str) -> Option<&SchemaRef> {
        self.real.iter().find(|it| it.table.name == name).map(|it| &it.schema)
    }

    /// The schema of the envelope, as a scan yields it; `None` as long as no protocol is known.
    pub(crate) fn envelope_schema(&self) -> Option<SchemaRef> {
        (!self.envelope.is_empty()).then(|| scan_schema(&self.envelope))
    }

    /// The column of that name in the envelope.
    pub(crate) fn envelope_field(&self, name: &str) -> Option<&Field> {
        self.envelope.iter().find(|it| it.name == name)
    }

    /// Whether any table has a column of that name.
    pub(crate) fn knows_column(&self, name: &str) -> bool {
        name == TABLE_NAME || self.iter().any(|it| it.field(name).is_some())
    }

    /// Whether every table that has a column of that name has it as a body.
    pub(crate) fn is_body(&self, name: &str) -> bool {
        let mut kinds = self.iter().filter_map(|it| it.field(name)).map(|it| it.kind).peekable();
        kinds.peek().is_some() && kinds.all(|it| it == Kind::Body)
    }
}

/// The columns as they are scanned. A segment written before a column existed lacks it, so that
/// every column may be null; docs stay behind, they would travel with every plan.
fn scan_schema(fields: &[Field]) -> SchemaRef {
    let fields: Vec<_> = fields
        .iter()
        .map(|it| {
            ArrowField::new(it.name.as_ref(), it.kind.data_type(), true)
                .with_metadata([("kind".to_owned(), it.kind.name().to_owned())].into())
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The columns up to and with `node`, if the table's rows are exchanges.
fn envelope_of(table: &Table) -> Option<&[Field]> {
    const MARKS: [&str; 6] = ["ts", "protocol", "verb", "target", "flow_id", "seq"];
    let last = table.fields.iter().position(|it| it.name == "node")?;
    let envelope = table.fields.get(..=last)?;
    MARKS.iter().all(|mark| envelope.iter().any(|it| it.name == *mark)).then_some(envelope)
}

/// The name among `known` that `name` was most likely meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let bound = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|it| (distance(&name, it), it))
        .filter(|(far, it)| *far <= bound || (name.len() >= 3 && it.ends_with(&format!("_{name}"))))
        .min()
        .map(|(_, it)| it)
}

/// How many letters differ (insertions, deletions, replacements, neighbours swapped).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, first) in rows[0].iter_mut().enumerate() {
        *first = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &'static str, columns: &[(&'static str, Kind)]) -> Table {
        let field = |(name, kind): &(&'static str, Kind)| Field {
            name: (*name).into(),
            doc: "".into(),
            kind: *kind,
            nullable: false,
        };
        let fields: Vec<_> = columns.iter().map(field).collect();
        Table { name: name.into(), doc: "".into(), fields: fields.into() }
    }

    #[test]
    fn nodes_of_several_versions_have_one_set_of_tables() {
        let old = [table("http", &[("ts", Kind::Time), ("status", Kind::Code)])];
        let new = [
            table("http", &[("ts", Kind::Time), ("status", Kind::Text), ("grade", Kind::Count)]),
            table("kafka", &[("ts", Kind::Time)]),
        ];
        let (tables, conflicts) = Tables::merge([("a", &old[..]), ("b", &new[..])]);
        let http: Vec<_> =
            tables.get("http").unwrap().fields.iter().map(|it| it.name.as_ref()).collect();
        assert_eq!(http, ["ts", "status", "grade"]);
        assert!(tables.get("kafka").is_some());
        let (node, table, column) = ("b".to_owned(), "http".to_owned(), "status".to_owned());
        assert_eq!(conflicts, [Conflict { node, table, column }]);
        assert!(tables.traffic().is_none());
    }

    #[test]
    fn a_table_is_a_protocol_by_its_columns() {
        let marks = ["ts", "protocol", "verb", "target", "flow_id", "seq", "node"];
        let kinds = marks.map(|it| (it, if it == "ts" { Kind::Time } else { Kind::Label }));
        let own: Vec<_> = kinds.into_iter().chain([("method", Kind::Label)]).collect();
        let tables = Tables::new([table("http", &own), table("connections", &kinds[..1])]);
        assert_eq!(tables.protocols().map(|it| it.name.as_ref()).collect::<Vec<_>>(), ["http"]);
        assert_eq!(tables.envelope().len(), marks.len());
        assert_eq!(tables.traffic().unwrap().fields.len(), marks.len() + 1);
    }

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let known = ["status", "client_ip", "client_namespace", "http"];
        assert_eq!(nearest("statsu", known), Some("status"));
        assert_eq!(nearest("htp", known), Some("http"));
        assert_eq!(nearest("namespace", known), Some("client_namespace"));
        assert_eq!(nearest("zzzzzz", known), None);
    }
}
