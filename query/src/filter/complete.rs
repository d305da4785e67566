//! What could come next in a filter.
use std::ops::Range;

use schema::Kind;

use crate::tables::Tables;

/// Something that could stand at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What is put there.
    pub text: String,
    /// What it is.
    pub kind: CompletionKind,
    /// What it means.
    pub doc: String,
    /// The bytes it replaces.
    pub at: Range<usize>,
}

/// What a completion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompletionKind {
    /// A protocol's name.
    Protocol,
    /// A column.
    Column,
    /// An operator.
    Operator,
    /// A function.
    Function,
}

/// What could stand at byte `cursor` of the filter `text`, the likeliest first.
pub fn complete(text: &str, cursor: usize, tables: &Tables) -> Vec<Completion> {
    let before = text.get(..cursor).unwrap_or(text);
    let is_word = |it: char| it.is_alphanumeric() || it == '_' || it == '.';
    let start = before.rfind(|it| !is_word(it)).map_or(0, |it| {
        it + before.get(it..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
    });
    let word = before.get(start..).unwrap_or_default().to_lowercase();
    let at = start..before.len();
    let previous = before.get(..start).unwrap_or_default().split_whitespace().next_back();
    if word.is_empty()
        && let Some(kind) = previous.and_then(|it| kind_of(it, tables))
    {
        return operators(kind)
            .iter()
            .map(|(text, doc)| Completion {
                text: (*text).to_owned(),
                kind: CompletionKind::Operator,
                doc: (*doc).to_owned(),
                at: at.clone(),
            })
            .collect();
    }
    names(&word, tables)
        .into_iter()
        .map(|(text, kind, doc)| Completion { text, kind, doc, at: at.clone() })
        .take(MOST)
        .collect()
}

fn names(word: &str, tables: &Tables) -> Vec<(String, CompletionKind, String)> {
    let mut found = Vec::new();
    if let Some((table, column)) = word.split_once('.')
        && let Some(it) = tables.protocols().find(|it| it.name == table)
    {
        for field in it.fields.iter().filter(|it| it.name.starts_with(&column.replace('.', "_"))) {
            let text = format!("{table}.{}", field.name);
            found.push((text, CompletionKind::Column, field.doc.to_string()));
        }
        return found;
    }
    let flat = word.replace('.', "_");
    for table in tables.protocols().filter(|it| it.name.starts_with(word)) {
        found.push((table.name.to_string(), CompletionKind::Protocol, table.doc.to_string()));
    }
    for field in tables.envelope().iter().filter(|it| it.name.starts_with(&flat)) {
        found.push((field.name.to_string(), CompletionKind::Column, field.doc.to_string()));
    }
    for table in tables.protocols() {
        let own = table.fields.iter().filter(|it| tables.envelope_field(&it.name).is_none());
        for field in own.filter(|it| it.name.starts_with(&flat)) {
            let text = format!("{}.{}", table.name, field.name);
            found.push((text, CompletionKind::Column, field.doc.to_string()));
        }
    }
    for it in crate::functions::functions().into_iter().filter(|it| it.name.starts_with(word)) {
        found.push((it.syntax, CompletionKind::Function, it.doc));
    }
    found
}

fn kind_of(name: &str, tables: &Tables) -> Option<Kind> {
    let name = name.trim_start_matches('(').to_lowercase();
    let flat = name.replace('.', "_");
    if let Some(it) = tables.envelope_field(&flat) {
        return Some(it.kind);
    }
    let own = match name.split_once('.') {
        Some((table, column)) => {
            let table = tables.protocols().find(|it| it.name == table);
            table.and_then(|it| it.field(&column.replace('.', "_")))
        }
        None => None,
    };
    own.or_else(|| tables.protocols().find_map(|it| it.field(&flat))).map(|it| it.kind)
}

/// The operators that make sense for a kind.
pub(crate) fn operators(kind: Kind) -> &'static [(&'static str, &'static str)] {
    const ORDER: &[(&str, &str)] = &[
        (">=", "at least"),
        (">", "more than"),
        ("<=", "at most"),
        ("<", "less than"),
        ("=", "equal to"),
        ("!=", "other than"),
        ("between", "from … to, both included"),
        ("is null", "has no value"),
        ("is not null", "has a value"),
    ];
    const NAMES: &[(&str, &str)] = &[
        ("=", "equal to"),
        ("!=", "other than"),
        ("in", "one of a list"),
        ("like", "matches a pattern with % and _"),
        ("is null", "has no value"),
        ("is not null", "has a value"),
    ];
    const TEXTS: &[(&str, &str)] = &[
        ("like", "matches a pattern with % and _"),
        ("ilike", "the same in any case"),
        ("=", "equal to"),
        ("!=", "other than"),
        ("~", "matches a regular expression"),
        ("is null", "has no value"),
        ("is not null", "has a value"),
    ];
    const FLAGS: &[(&str, &str)] =
        &[("and", "and also"), ("or", "or else"), ("= false", "does not hold")];
    const LISTS: &[(&str, &str)] = &[("is null", "has no value"), ("is not null", "has a value")];
    match kind {
        Kind::Code | Kind::Port | Kind::Count | Kind::Size | Kind::Time | Kind::Duration => ORDER,
        Kind::Label | Kind::Address | Kind::Id => NAMES,
        Kind::Text | Kind::Json | Kind::Body => TEXTS,
        Kind::Flag => FLAGS,
        Kind::Texts | Kind::Headers => LISTS,
    }
}

/// More than a list on the screen shows.
const MOST: usize = 50;
