//! What could come next in a filter: tables and columns as the Hub describes them, operators by kind,
//! and which column's values to ask for.

use std::ops::Range;

use api::{Field, Kind, Table};

use super::lex::{Token, lex};

/// Something that could stand at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) text: String,
    /// What it is, in a word.
    pub(crate) what: &'static str,
    pub(crate) doc: String,
}

/// What could stand at the cursor, the likeliest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) items: Vec<Item>,
    /// The bytes it replaces.
    pub(crate) at: Range<usize>,
    /// The column whose values could stand here, with what is typed of one so far.
    pub(crate) values: Option<Column>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Column {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) typed: String,
}

impl Column {
    /// Its most frequent values in a time.
    pub(crate) fn sql(&self, clause: &str) -> String {
        let name = api::quote_name(&self.name);
        let like = match self.kind {
            Kind::Label | Kind::Text | Kind::Address | Kind::Id if !self.typed.is_empty() => {
                format!(" AND position({} IN {name}) > 0", api::quote_text(&self.typed))
            }
            _ => String::new(),
        };
        format!(
            "SELECT {name} AS value, count(*) AS n FROM {} WHERE {clause} AND {name} IS NOT NULL{like} GROUP BY 1 ORDER BY n DESC, 1 LIMIT 30",
            api::quote_name(&self.table)
        )
    }
}

/// What could stand at byte `cursor` of a filter.
pub(crate) fn complete(text: &str, cursor: usize, tables: &[Table]) -> Offer {
    let before = text.get(..cursor).unwrap_or(text);
    let mut pieces: Vec<_> = lex(before)
        .into_iter()
        .filter_map(|(token, at)| Some((token, before.get(at.clone())?, at)))
        .collect();
    // the word the cursor is in is what is replaced
    let typed = match pieces.last() {
        Some((Token::Name | Token::Keyword | Token::Number | Token::Operator, word, at)) => {
            Some(((*word).to_owned(), at.clone()))
        }
        Some((Token::Text, word, at)) if is_open(word) => Some(((*word).to_owned(), at.clone())),
        _ => None,
    };
    if typed.is_some() {
        pieces.pop();
    }
    let (word, at) = typed.unwrap_or_else(|| (String::new(), before.len()..before.len()));
    let said: Vec<_> = pieces.iter().filter(|(token, ..)| *token != Token::Space).collect();
    let column = said
        .iter()
        .rev()
        .find(|(token, ..)| *token == Token::Name)
        .and_then(|(_, name, _)| column(name, tables));
    let offer = |items: Vec<Item>| Offer { items, at: at.clone(), values: None };
    let last = said.last().map(|(token, text, _)| (*token, text.to_lowercase()));
    match last.as_ref().map(|(token, text)| (*token, text.as_str())) {
        Some((Token::Name, name)) => {
            // right behind a column stands an operator; behind a table's name, what joins
            let found = self::column(name, tables);
            let choices = match &found {
                Some(column) => operators(column.kind),
                None => JOINS,
            };
            offer(
                choices
                    .iter()
                    .filter(|(text, _)| text.starts_with(&word.to_lowercase()))
                    .map(|(text, doc)| item(text, "operator", doc))
                    .collect(),
            )
        }
        Some((Token::Operator, _))
        | Some((Token::Keyword, "like" | "ilike" | "between" | "in")) => {
            values(column, &word, offer(Vec::new()))
        }
        Some((Token::Mark, "(" | ","))
            if is_list(&said.iter().map(|(_, text, _)| *text).collect::<Vec<_>>()) =>
        {
            values(column, &word, offer(Vec::new()))
        }
        Some((Token::Keyword, "is")) => offer(
            [("null", "has no value"), ("not null", "has a value")]
                .into_iter()
                .filter(|(text, _)| text.starts_with(&word.to_lowercase()))
                .map(|(text, doc)| item(text, "operator", doc))
                .collect(),
        ),
        Some((Token::Number | Token::Text, _))
        | Some((Token::Mark, ")"))
        | Some((Token::Keyword, "null" | "true" | "false")) => offer(
            JOINS
                .iter()
                .filter(|(text, _)| text.starts_with(&word.to_lowercase()))
                .map(|(text, doc)| item(text, "operator", doc))
                .collect(),
        ),
        _ => offer(names(&word.to_lowercase(), tables)),
    }
}

/// Does a text in quotes go on?
pub(super) fn is_open(text: &str) -> bool {
    let quote = text.chars().next().unwrap_or_default();
    text.len() == 1 || !text.ends_with(quote)
}

/// Is the last bracket open, and opened behind `in`?
pub(super) fn is_list(said: &[&str]) -> bool {
    let Some(open) = said.iter().rposition(|text| *text == "(") else { return false };
    let is_closed = said.iter().skip(open).any(|text| *text == ")");
    !is_closed
        && open
            .checked_sub(1)
            .and_then(|at| said.get(at))
            .is_some_and(|text| text.eq_ignore_ascii_case("in"))
}

pub(super) fn values(column: Option<Column>, word: &str, mut offer: Offer) -> Offer {
    let Some(mut column) = column else { return offer };
    column.typed = word.trim_matches(['\'', '"']).to_owned();
    match column.kind {
        Kind::Flag => offer.items = vec![item("true", "value", ""), item("false", "value", "")],
        Kind::Duration => {
            offer.items = ["1ms", "10ms", "100ms", "500ms", "1s", "10s"]
                .into_iter()
                .filter(|text| text.starts_with(word))
                .map(|text| item(text, "value", ""))
                .collect();
        }
        Kind::Label | Kind::Text | Kind::Address | Kind::Code | Kind::Port => {
            offer.values = Some(column)
        }
        Kind::Body
        | Kind::Headers
        | Kind::Json
        | Kind::Texts
        | Kind::Time
        | Kind::Id
        | Kind::Count
        | Kind::Size => {}
    }
    offer
}

fn names(word: &str, tables: &[Table]) -> Vec<Item> {
    let Some(traffic) = tables.iter().find(|table| table.name == "traffic") else {
        return Vec::new();
    };
    let protocols = || tables.iter().filter(|table| crate::state::is_protocol(traffic, table));
    let fits = |field: &&Field, word: &str| field.name.starts_with(word);
    let column = |name: String, field: &Field| item(&name, field.kind.name(), &field.doc);
    let mut found = Vec::new();
    if let Some((table, rest)) = word.split_once('.')
        && let Some(table) = protocols().find(|it| it.name == table)
    {
        let rest = rest.replace('.', "_");
        let own = |field: &&Field| traffic.field(&field.name).is_none();
        let (mine, shared): (Vec<_>, Vec<_>) =
            table.fields.iter().filter(|field| fits(field, &rest)).partition(own);
        found.extend(
            mine.into_iter()
                .chain(shared)
                .map(|field| column(format!("{}.{}", table.name, field.name), field)),
        );
        return found;
    }
    let flat = word.replace('.', "_");
    if !word.is_empty() {
        found.extend(
            protocols()
                .filter(|it| it.name.starts_with(word))
                .map(|it| item(&it.name, "protocol", &it.doc)),
        );
    }
    found.extend(
        traffic
            .fields
            .iter()
            .filter(|field| fits(field, &flat))
            .map(|field| column(field.name.to_string(), field)),
    );
    if word.is_empty() {
        found.extend(protocols().map(|it| item(&it.name, "protocol", &it.doc)));
    } else {
        for table in protocols() {
            let own = table.fields.iter().filter(|field| traffic.field(&field.name).is_none());
            found.extend(
                own.filter(|field| fits(field, &flat))
                    .map(|field| column(format!("{}.{}", table.name, field.name), field)),
            );
        }
    }
    if found.is_empty() && word.len() > 2 {
        // nobody remembers how a name begins
        found.extend(
            traffic
                .fields
                .iter()
                .filter(|field| field.name.contains(&flat))
                .map(|field| column(field.name.to_string(), field)),
        );
        for table in protocols() {
            let own = table.fields.iter().filter(|field| traffic.field(&field.name).is_none());
            found.extend(
                own.filter(|field| field.name.contains(&flat))
                    .map(|field| column(format!("{}.{}", table.name, field.name), field)),
            );
        }
    }
    found.truncate(MOST);
    found
}

/// The column a filter means by a name.
fn column(name: &str, tables: &[Table]) -> Option<Column> {
    let name = name.to_lowercase();
    let flat = name.replace('.', "_");
    let traffic = tables.iter().find(|table| table.name == "traffic")?;
    let of = |table: &Table, field: &Field| Column {
        table: table.name.to_string(),
        name: field.name.to_string(),
        kind: field.kind,
        typed: String::new(),
    };
    if let Some(field) = traffic.field(&flat) {
        return Some(of(traffic, field));
    }
    let protocols = || tables.iter().filter(|table| crate::state::is_protocol(traffic, table));
    if let Some((table, rest)) = name.split_once('.') {
        let table = protocols().find(|it| it.name == table)?;
        return Some(of(table, table.field(&rest.replace('.', "_"))?));
    }
    protocols().find_map(|table| Some(of(table, table.field(&flat)?)))
}

pub(super) fn item(text: &str, what: &'static str, doc: &str) -> Item {
    Item { text: text.to_owned(), what, doc: doc.to_owned() }
}

/// The operators that make sense for a kind.
fn operators(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Code | Kind::Port | Kind::Count | Kind::Size | Kind::Time | Kind::Duration => &[
            ("=", "equal to"),
            ("!=", "other than"),
            (">=", "at least"),
            (">", "more than"),
            ("<=", "at most"),
            ("<", "less than"),
            ("between", "from … and …, both included"),
            ("is null", "has no value"),
            ("is not null", "has a value"),
        ],
        Kind::Label | Kind::Address | Kind::Id => &[
            ("=", "equal to"),
            ("!=", "other than"),
            ("in", "one of a list"),
            ("like", "matches a pattern with % and _"),
            ("is null", "has no value"),
            ("is not null", "has a value"),
        ],
        Kind::Text | Kind::Json | Kind::Body => &[
            ("like", "matches a pattern with % and _"),
            ("ilike", "the same in any case"),
            ("=", "equal to"),
            ("!=", "other than"),
            ("~", "matches a regular expression"),
            ("is null", "has no value"),
            ("is not null", "has a value"),
        ],
        Kind::Flag => JOINS,
        Kind::Texts | Kind::Headers => {
            &[("is null", "has no value"), ("is not null", "has a value")]
        }
    }
}

const JOINS: &[(&str, &str)] = &[("and", "and also"), ("or", "or else")];
/// More than a list on the screen shows.
const MOST: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn texts(text: &str) -> Vec<String> {
        complete(text, text.len(), &fixture::tables())
            .items
            .into_iter()
            .map(|item| item.text)
            .collect()
    }

    fn values_of(text: &str) -> Option<(String, String)> {
        let column = complete(text, text.len(), &fixture::tables()).values?;
        Some((format!("{}.{}", column.table, column.name), column.typed))
    }

    #[test]
    fn columns_then_operators_then_values_then_what_joins() {
        assert_eq!(texts("client_p"), ["client_port"]);
        assert_eq!(texts("client.p"), ["client_port"]);
        assert_eq!(texts("gopher.sel"), ["gopher.selector"]);
        assert_eq!(texts("sel"), ["gopher.selector"]);
        assert_eq!(texts("goph"), ["gopher"]);
        assert_eq!(texts("elector"), ["gopher.selector"]);
        assert_eq!(texts("status ").first().map(String::as_str), Some("="));
        assert_eq!(texts("selector li"), ["like"]);
        assert_eq!(texts("failed a"), ["and"]);
        assert_eq!(texts("gopher "), ["and", "or"]);
        assert_eq!(texts("status = 500 "), ["and", "or"]);
        assert_eq!(texts("verb is "), ["null", "not null"]);
        assert_eq!(texts("status = 500 and client_po"), ["client_port"]);
        assert_eq!(texts("duration > 10"), ["10ms", "100ms", "10s"]);
    }

    #[test]
    fn values_are_asked_of_the_column_that_is_compared() {
        let pair = |column: &str, typed: &str| Some((column.to_owned(), typed.to_owned()));
        assert_eq!(values_of("verb = "), pair("traffic.verb", ""));
        assert_eq!(values_of("verb = 'FE"), pair("traffic.verb", "FE"));
        assert_eq!(values_of("failed and gopher.selector like 'x"), pair("gopher.selector", "x"));
        assert_eq!(values_of("client_ip in ('a', '"), pair("traffic.client_ip", ""));
        assert_eq!(values_of("verb = 'x' "), None);
        assert_eq!(values_of("flow_id = '"), None);
    }

    #[test]
    fn what_is_typed_is_replaced_and_quotes_are_safe() {
        let offer = complete("verb = 'FE and x", 10, &fixture::tables());
        assert_eq!(offer.at, 7..10);
        let column =
            Column { typed: "it's".into(), ..offer.values.expect("a value could stand there") };
        assert!(column.sql("true").contains("position('it''s' IN \"verb\") > 0"));
    }

    #[test]
    fn any_text_and_cursor_are_taken() {
        let text = "ü = 'ä and ((x in (,";
        for cursor in 0..=text.len() + 2 {
            complete(text, cursor, &fixture::tables());
        }
    }
}
