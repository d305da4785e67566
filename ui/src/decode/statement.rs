//! SQL and GraphQL on lines of their own.

use crate::filter::{lex::Token, statement::words};

/// A statement of either language with a clause a line; nothing if the text is none, or needs no more lines.
pub(crate) fn statement(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() < FEWEST || text.len() > MOST_BYTES || text.contains('\n') {
        return None;
    }
    let first = text.split(|it: char| !it.is_alphabetic()).next().unwrap_or_default();
    let is = |words: &[&str]| words.iter().any(|it| it.eq_ignore_ascii_case(first));
    if is(&SQL) {
        Some(sql(text))
    } else if text.contains('{') && (is(&GRAPHQL) || text.starts_with('{')) && !text.contains("\":")
    {
        Some(graphql(text))
    } else {
        None
    }
}

fn sql(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut depth = 0_usize;
    let mut before = "";
    for (token, at) in words(text) {
        let word = text.get(at).unwrap_or_default();
        let is = |words: &[&str]| words.iter().any(|it| it.eq_ignore_ascii_case(word));
        match word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_word = matches!(token, Token::Keyword | Token::Name);
        // what belongs to the word before it stays beside it
        let is_joined = JOINED.iter().any(|it| it.eq_ignore_ascii_case(before));
        if is_word && depth == 0 && !out.is_empty() && !is_joined {
            let indent =
                if is(&["AND", "OR", "ON"]) { Some("  ") } else { is(&LINES).then_some("") };
            if let Some(indent) = indent {
                out.truncate(out.trim_end().len());
                out.push('\n');
                out.push_str(indent);
            }
        }
        if token != Token::Space {
            before = word;
        }
        out.push_str(word);
    }
    out
}

fn graphql(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut brackets) = (0_usize, 0_usize);
    let line = |out: &mut String, depth: usize| {
        out.truncate(out.trim_end().len());
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let length = match char {
            '"' => quoted(rest),
            ' ' | ',' => rest.len() - rest.trim_start_matches([' ', ',']).len(),
            _ => char.len_utf8(),
        };
        let (piece, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = behind;
        match char {
            '(' | '[' => {
                brackets += 1;
                out.push(char);
            }
            ')' | ']' => {
                brackets = brackets.saturating_sub(1);
                out.push(char);
            }
            '{' if brackets == 0 => {
                depth += 1;
                out.truncate(out.trim_end().len());
                if !out.is_empty() {
                    out.push(' ');
                }
                out.push('{');
                line(&mut out, depth);
            }
            '}' if brackets == 0 => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push('}');
                line(&mut out, depth);
            }
            // a name ends a line, unless more belongs to it
            ' ' | ',' if brackets == 0 && depth > 0 => {
                let is_on = [" on", "\non", "...on"].iter().any(|it| out.ends_with(it));
                if out.ends_with([' ', '\n', '@']) || behind.starts_with(':') {
                    continue;
                }
                if is_on || out.ends_with([':', '.']) || behind.starts_with('@') {
                    out.push(' ');
                } else {
                    line(&mut out, depth);
                }
            }
            _ => out.push_str(piece),
        }
    }
    out.trim_end().to_owned()
}

/// The length of a text in one or three quotes, with both ends; to the end if it is not closed.
fn quoted(text: &str) -> usize {
    let quotes = if text.starts_with("\"\"\"") { "\"\"\"" } else { "\"" };
    let mut at = quotes.len();
    while let Some(rest) = text.get(at..).filter(|it| !it.is_empty()) {
        if rest.starts_with(quotes) {
            return at + quotes.len();
        }
        // what stands behind a backslash ends nothing
        let skipped = if rest.starts_with('\\') { 2 } else { 1 };
        at += rest.chars().take(skipped).map(char::len_utf8).sum::<usize>();
    }
    text.len()
}

const SQL: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "MERGE"];
/// What follows one of these stays on its line.
const JOINED: [&str; 9] =
    ["LEFT", "RIGHT", "INNER", "FULL", "CROSS", "OUTER", "DELETE", "UNION", "DO"];
const GRAPHQL: [&str; 4] = ["query", "mutation", "subscription", "fragment"];
const LINES: [&str; 17] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "LEFT",
    "RIGHT",
    "INNER",
    "JOIN",
    "UNION",
    "SET",
    "VALUES",
    "RETURNING",
    "WINDOW",
    "FOR",
];
/// What is shorter is read on one line.
const FEWEST: usize = 48;
const MOST_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_has_a_clause_a_line() {
        let text = "SELECT id, (SELECT max(x) FROM y WHERE z = 1) FROM orders o LEFT JOIN users u ON u.id = o.user WHERE state = 'a AND b' AND total > 5 ORDER BY id LIMIT 3";
        assert_eq!(
            statement(text).as_deref(),
            Some(
                "SELECT id, (SELECT max(x) FROM y WHERE z = 1)\nFROM orders o\nLEFT JOIN users u\n  ON u.id = o.user\nWHERE state = 'a AND b'\n  AND total > 5\nORDER BY id\nLIMIT 3"
            )
        );
        for text in [
            "SELECT 1",
            "selective reading of the text that is long enough to be one",
            "{\"query\": \"a longer JSON document than that\"}",
        ] {
            assert_eq!(statement(text), None, "{text}");
        }
    }

    #[test]
    fn a_statement_of_many_words_is_read_once() {
        // with a look at all words before it for each word this would not end
        let text = "SELECT 1".to_owned() + &",1".repeat(100_000);
        assert_eq!(statement(&text).as_deref(), Some(text.as_str()));
        let text = format!("query {{ {} }}", "a @b() ".repeat(30_000));
        assert_eq!(statement(&text).map(|it| it.lines().count()), Some(30_002));
    }

    #[test]
    fn graphql_directives_stay_with_what_they_are_of() {
        let text = "query Cart { cart { items @client total ... @include(if: $all) { tax } ... on Gift { from } } }";
        assert_eq!(
            statement(text).as_deref(),
            Some(
                "query Cart {\n  cart {\n    items @client\n    total\n    ... @include(if: $all) {\n      tax\n    }\n    ... on Gift {\n      from\n    }\n  }\n}"
            )
        );
    }

    #[test]
    fn graphql_texts_are_left_as_they_are() {
        let text =
            r#"mutation { say(text: "a \"quoted { one", more: """b "c" { \""" d""") { id name } }"#;
        assert_eq!(
            statement(text).as_deref(),
            Some(
                "mutation {\n  say(text: \"a \\\"quoted { one\", more: \"\"\"b \"c\" { \\\"\"\" d\"\"\") {\n    id\n    name\n  }\n}"
            )
        );
    }

    #[test]
    fn graphql_is_indented() {
        let text = "query Cart($id: ID!) { cart(id: $id, first: 3) { items { sku count } total } }";
        assert_eq!(
            statement(text).as_deref(),
            Some(
                "query Cart($id: ID!) {\n  cart(id: $id, first: 3) {\n    items {\n      sku\n      count\n    }\n    total\n  }\n}"
            )
        );
    }

    #[test]
    fn any_text_is_taken() {
        for text in [
            "{".repeat(60),
            "query }}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}{".to_owned(),
            format!("SELECT {}", ")".repeat(60)),
            format!("WITH 'ä{}", "é".repeat(50)),
            format!("query {{ a(b: \"{}\\", "é".repeat(50)),
            format!("query {{ a(b: \"\"\"{}\"\"", "é".repeat(50)),
        ] {
            statement(&text);
        }
    }
}
