//! A filter as a condition over `traffic` in SQL, where it says nothing that only one protocol's table knows.

use api::Table;

use super::lex::{Token, lex};

/// The condition; nothing if the filter must be asked as a filter.
pub(crate) fn condition(filter: &str, tables: &[Table]) -> Option<String> {
    if filter.trim().is_empty() {
        return Some("true".to_owned());
    }
    let traffic = tables.iter().find(|table| table.name == "traffic")?;
    let pieces: Vec<_> = lex(filter)
        .into_iter()
        .filter(|(token, _)| *token != Token::Space)
        .filter_map(|(token, at)| Some((token, filter.get(at)?)))
        .collect();
    let mut parts = Vec::with_capacity(pieces.len());
    for (place, (token, text)) in pieces.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|place| pieces.get(place));
        let after = pieces.get(place + 1);
        let part = match token {
            Token::Name => {
                let flat = text.to_lowercase().replace('.', "_");
                let is_call = after.is_some_and(|(_, next)| *next == "(");
                let stands_alone = !before.is_some_and(|(token, _)| *token == Token::Operator)
                    && after.is_none_or(|(token, text)| {
                        *text == ")"
                            || (*token == Token::Keyword
                                && ["and", "or"].iter().any(|word| word.eq_ignore_ascii_case(text)))
                    });
                if traffic.field(&flat).is_some() && !is_call {
                    api::quote_name(&flat)
                } else if stands_alone && tables.iter().any(|table| table.name == **text) {
                    format!("table_name = {}", api::quote_text(text))
                } else {
                    return None;
                }
            }
            Token::Number => number(text)?,
            Token::Text => {
                let quote = text.chars().next()?;
                let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
                api::quote_text(&inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
            }
            Token::Operator => match *text {
                "=" | "==" => "=".to_owned(),
                "!=" | "<>" | "<" | "<=" | ">" | ">=" => (*text).to_owned(),
                "&&" => "AND".to_owned(),
                _ => return None,
            },
            Token::Mark if matches!(*text, "(" | ")" | ",") => (*text).to_owned(),
            Token::Mark => return None,
            Token::Keyword => text.to_uppercase(),
            Token::Space => continue,
        };
        parts.push(part);
    }
    Some(parts.join(" "))
}

/// `100ms` is a number of nanoseconds.
fn number(text: &str) -> Option<String> {
    let digits =
        text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (value, unit) = text.split_at_checked(digits)?;
    if unit.is_empty() {
        return Some(value.to_owned());
    }
    let scale = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3_600e9,
        _ => return None,
    };
    Some(format!("{:.0}", value.parse::<f64>().ok()? * scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_filter_over_shared_columns_is_sql() {
        let tables = fixture::tables();
        let check = |filter: &str, sql: &str| {
            assert_eq!(condition(filter, &tables).as_deref(), Some(sql), "{filter}");
        };
        check("", "true");
        check("failed and duration > 1.5s", "\"failed\" AND \"duration\" > 1500000000");
        check(
            "not (gopher or verb == \"it's\")",
            "NOT ( table_name = 'gopher' OR \"verb\" = 'it''s' )",
        );
        check("client.ip in ('a', 'b')", "\"client_ip\" IN ( 'a' , 'b' )");
    }

    #[test]
    fn what_only_a_table_knows_is_left_to_the_hub() {
        let tables = fixture::tables();
        for filter in [
            "gopher.selector = 'x'",
            "selector = 'x'",
            "request_headers['a'] = 'b'",
            "verb ~ 'x'",
            "lower(verb) = 'x'",
            "verb = 'open",
            "protocol = gopher",
            "verb || 'x' = 'y'",
            "duration > 5 parsecs",
        ] {
            assert_eq!(condition(filter, &tables), None, "{filter}");
        }
        assert_eq!(condition("failed", &[]), None);
    }
}
