//! What could come next in an SQL statement: tables, their columns, functions, keywords, and values of a column.

use std::ops::Range;

use api::{Function, Kind, Table};

use super::{
    complete::{Column, Item, Offer, is_list, is_open, item, values},
    lex::{Token, lex},
};

/// The words of a statement, for colouring it.
pub(crate) fn words(text: &str) -> Vec<(Token, Range<usize>)> {
    let mut words = lex(text);
    for (token, at) in &mut words {
        let word = text.get(at.clone()).unwrap_or_default();
        if *token == Token::Name && is_keyword(word) {
            *token = Token::Keyword;
        }
    }
    words
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS
        .iter()
        .flat_map(|it| it.split(' '))
        .any(|it| it.trim_end_matches('(').eq_ignore_ascii_case(word))
}

/// What could stand at byte `cursor` of a statement. Where nothing is typed, only what is `wanted` is offered.
pub(crate) fn complete(
    text: &str,
    cursor: usize,
    tables: &[Table],
    functions: &[Function],
    wanted: bool,
) -> Offer {
    let before = text.get(..cursor).unwrap_or(text);
    let mut said: Vec<_> = words(before)
        .into_iter()
        .filter_map(|(token, at)| Some((token, before.get(at.clone())?, at)))
        .collect();
    let is_typed = match said.last() {
        Some((Token::Name | Token::Keyword, ..)) => true,
        Some((Token::Text, word, _)) => is_open(word),
        _ => false,
    };
    let (word, at) = match said.pop() {
        Some((_, word, at)) if is_typed => (word, at),
        Some(last) => {
            said.push(last);
            ("", before.len()..before.len())
        }
        None => ("", 0..0),
    };
    said.retain(|(token, ..)| *token != Token::Space);
    let none = Offer { at: at.clone(), ..Offer::default() };
    let sources = sources(text, tables);
    let last = said.last().map(|(token, text, _)| (*token, text.to_lowercase()));
    let last = last.as_ref().map(|(token, text)| (*token, text.as_str()));
    let is_compared = matches!(
        last,
        Some((Token::Operator, "=" | "!=" | "<>" | "~" | "!~"))
            | Some((Token::Keyword, "like" | "ilike" | "in"))
    ) || (matches!(last, Some((Token::Mark, "(" | ",")))
        && is_list(&said.iter().map(|(_, text, _)| *text).collect::<Vec<_>>()));
    if is_compared && (word.is_empty() || word.starts_with('\'')) {
        let name = said.iter().rev().find(|(token, ..)| *token == Token::Name);
        let column = name.and_then(|(_, name, _)| column(name, &sources));
        // durations have no unit in SQL
        let column = column.filter(|it| it.kind != Kind::Duration);
        return values(column, word, none);
    }
    if word.starts_with(['\'', '"']) {
        return none;
    }
    let clause = said.iter().rev().find(|(token, word, _)| {
        *token == Token::Keyword && CLAUSES.iter().any(|it| it.eq_ignore_ascii_case(word))
    });
    let clause = clause.map(|(_, word, _)| word.to_lowercase());
    let is_from = clause.as_deref().is_some_and(|it| matches!(it, "from" | "join"));
    let typed = word.to_lowercase();
    if is_from && matches!(last, Some((Token::Keyword, _) | (Token::Mark, ","))) {
        let fits = |it: &&Table| it.name.to_lowercase().starts_with(&typed);
        let items = tables.iter().filter(fits).map(|it| item(&it.name, "table", &it.doc));
        return offer(items.collect(), word, at);
    }
    if let Some((alias, rest)) = typed.split_once('.') {
        let of = sources.iter().find(|(name, _)| name.eq_ignore_ascii_case(alias));
        let fields = of.map(|(_, table)| table.fields.iter()).into_iter().flatten();
        let items = fields.filter(|it| it.name.starts_with(rest)).map(|it| {
            let alias = word.get(..alias.len()).unwrap_or_default();
            item(&format!("{alias}.{}", it.name), it.kind.name(), &it.doc)
        });
        return offer(items.collect(), word, at);
    }
    let keywords = |items: &mut Vec<Item>| {
        items.extend(
            KEYWORDS
                .iter()
                .filter(|it| !typed.is_empty() && it.to_lowercase().starts_with(&typed))
                .map(|it| item(it, "keyword", "")),
        );
    };
    let mut items = Vec::new();
    // behind a table stands what goes on with it
    if is_from && matches!(last, Some((Token::Name, _))) {
        keywords(&mut items);
        return offer(items, word, at);
    }
    let is_place = matches!(
        last,
        Some((Token::Mark, "(" | ",") | (Token::Operator, _))
            | Some((
                Token::Keyword,
                "select" | "by" | "where" | "and" | "or" | "not" | "on" | "having" | "distinct"
            ))
    );
    if typed.is_empty() && !(is_place && wanted) {
        return none;
    }
    let mut columns = |fits: &dyn Fn(&str) -> bool| {
        for (_, table) in &sources {
            for field in table.fields.iter().filter(|it| fits(&it.name)) {
                if !items.iter().any(|it: &Item| it.text == *field.name) {
                    items.push(item(&field.name, field.kind.name(), &field.doc));
                }
            }
        }
    };
    columns(&|name| name.starts_with(&typed));
    if typed.len() > 2 {
        columns(&|name| name.contains(&typed));
    }
    if !typed.is_empty() {
        keywords(&mut items);
        items.extend(functions.iter().filter(|it| it.name.starts_with(&typed)).map(|it| {
            let doc = it.doc.trim().lines().next().unwrap_or_default();
            let syntax = if it.syntax.is_empty() { &it.name } else { &it.syntax };
            item(&format!("{}(", it.name), "function", &format!("{syntax} · {doc}"))
        }));
        let fits = |it: &&Table| it.name.starts_with(&typed);
        items.extend(tables.iter().filter(fits).map(|it| item(&it.name, "table", &it.doc)));
    }
    offer(items, word, at)
}

fn offer(mut items: Vec<Item>, word: &str, at: Range<usize>) -> Offer {
    // what stands there already is no news
    items.retain(|it| !it.text.eq_ignore_ascii_case(word));
    items.truncate(MOST);
    Offer { items, at, values: None }
}

/// The tables that a statement reads, each with what it is called there; `traffic` as long as it names none.
fn sources<'a>(text: &str, tables: &'a [Table]) -> Vec<(String, &'a Table)> {
    let table = |name: &str| tables.iter().find(|it| it.name.eq_ignore_ascii_case(name));
    let said: Vec<_> = words(text)
        .into_iter()
        .filter(|(token, _)| *token != Token::Space)
        .filter_map(|(token, at)| Some((token, text.get(at)?)))
        .collect();
    let mut found = Vec::new();
    let mut is_next = false;
    for (at, (token, word)) in said.iter().enumerate() {
        match token {
            Token::Keyword => {
                is_next = ["from", "join"].iter().any(|it| it.eq_ignore_ascii_case(word))
            }
            Token::Name if is_next => {
                is_next = false;
                let Some(table) = table(word) else { continue };
                let is_as = |it: &(Token, &str)| it.1.eq_ignore_ascii_case("as");
                let next = at + 1 + usize::from(said.get(at + 1).is_some_and(is_as));
                let (alias, end) = match said.get(next) {
                    Some((Token::Name, alias)) => (*alias, next),
                    _ => (*word, at),
                };
                found.push((alias.to_owned(), table));
                is_next = matches!(said.get(end + 1), Some((Token::Mark, ",")));
            }
            _ => {}
        }
    }
    if found.is_empty() {
        found.extend(table("traffic").map(|it| ("traffic".to_owned(), it)));
    }
    found
}

/// The column that a name means.
fn column(name: &str, sources: &[(String, &Table)]) -> Option<Column> {
    let (alias, name) = name.split_once('.').map_or((None, name), |(a, b)| (Some(a), b));
    let mut fitting =
        sources.iter().filter(|(it, _)| alias.is_none_or(|alias| it.eq_ignore_ascii_case(alias)));
    fitting.find_map(|(_, table)| {
        let field = table.field(&name.to_lowercase())?;
        Some(Column {
            table: table.name.to_string(),
            name: field.name.to_string(),
            kind: field.kind,
            typed: String::new(),
        })
    })
}

const CLAUSES: [&str; 9] =
    ["select", "from", "join", "where", "group", "order", "having", "on", "limit"];
const KEYWORDS: [&str; 50] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "LEFT JOIN",
    "INNER JOIN",
    "FULL JOIN",
    "CROSS JOIN",
    "ON",
    "USING",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "ILIKE",
    "BETWEEN",
    "IS NULL",
    "IS NOT NULL",
    "EXISTS",
    "DISTINCT",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "WITH",
    "UNION ALL",
    "EXCEPT",
    "INTERSECT",
    "FILTER (WHERE",
    "OVER",
    "PARTITION BY",
    "ASC",
    "DESC",
    "NULLS LAST",
    "NULLS FIRST",
    "INTERVAL",
    "CAST(",
    "EXPLAIN ANALYZE",
    "VALUES",
    "TRUE",
    "FALSE",
    "TABLE",
];
/// More than a list on the screen shows.
const MOST: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn functions() -> Vec<Function> {
        let function = |name: &str| Function { name: name.into(), ..Function::default() };
        vec![function("count"), function("date_bin")]
    }

    /// The cursor is where the bar stands.
    fn at(text: &str) -> Offer {
        let cursor = text.find('|').expect("a cursor");
        complete(&text.replace('|', ""), cursor, &fixture::tables(), &functions(), true)
    }

    fn texts(text: &str) -> Vec<String> {
        at(text).items.into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn each_place_has_its_words() {
        assert_eq!(texts("SEL|"), ["SELECT"]);
        assert_eq!(texts("SELECT * FROM |"), ["traffic", "gopher"]);
        assert_eq!(texts("SELECT * FROM go|"), ["gopher"]);
        assert_eq!(texts("SELECT * FROM traffic, |"), ["traffic", "gopher"]);
        assert_eq!(texts("SELECT * FROM gopher WHE|"), ["WHERE", "WHEN"]);
        assert_eq!(texts("SELECT coun|"), ["count("]);
        assert_eq!(texts("SELECT * FROM gopher WHERE sele|"), ["selector", "SELECT"]);
        assert_eq!(texts("SELECT sele| FROM gopher"), ["selector", "SELECT"]);
        assert_eq!(texts("SELECT g.sele| FROM gopher AS g"), ["g.selector"]);
        assert_eq!(
            texts("select t.status, g.sel| from traffic t join gopher g on true"),
            ["g.selector"]
        );
        assert_eq!(texts("SELECT verb FROM traffic |"), [""; 0]);
        assert!(texts("SELECT |").contains(&"verb".to_owned()));
        assert_eq!(texts("SELECT verb|"), [""; 0], "what stands there is no news");
    }

    #[test]
    fn values_are_asked_of_the_column_that_is_compared() {
        let values = |text: &str| at(text).values.map(|it| (it.table, it.name, it.typed));
        let some = |table: &str, name: &str, typed: &str| {
            Some((table.to_owned(), name.to_owned(), typed.to_owned()))
        };
        assert_eq!(values("SELECT * FROM gopher g WHERE g.verb = '|"), some("gopher", "verb", ""));
        assert_eq!(
            values("SELECT * FROM traffic WHERE verb IN ('GET', 'P|"),
            some("traffic", "verb", "P")
        );
        assert_eq!(values("SELECT * FROM traffic WHERE duration = |"), None);
        assert_eq!(values("SELECT 'a|"), None);
    }

    #[test]
    fn any_text_and_cursor_are_taken() {
        let text = "sélect 'ä from, , join a.b.c as from (((,";
        for cursor in 0..=text.len() + 2 {
            complete(text, cursor, &fixture::tables(), &functions(), cursor % 2 == 0);
        }
    }
}
