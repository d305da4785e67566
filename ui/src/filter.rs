//! The text of the filter bar. Only the Hub understands it; the page adds to it and marks places in it.

pub(crate) mod complete;
pub(crate) mod lex;
pub(crate) mod sql;
pub(crate) mod statement;

use api::Span;

/// A text in three parts: before the place meant, the place, and after it. The place is never
/// empty: at the end of the text it is a blank.
pub(crate) fn marked(text: &str, span: Span) -> (String, String, String) {
    let start = floor(text, span.start);
    let end = floor(text, span.end.max(start));
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
    let (before, mut place, mut after) = (part(0..start), part(start..end), part(end..text.len()));
    if place.is_empty() {
        place = after.chars().next().unwrap_or(' ').to_string();
        after = after.chars().skip(1).collect();
    }
    (before, place, after)
}

/// The filter with one more thing to hold.
pub(crate) fn and(filter: &str, clause: &str) -> String {
    let filter = filter.trim();
    if filter.is_empty() {
        return clause.to_owned();
    }
    if filter == clause
        || filter.ends_with(&format!(" and {clause}"))
        || filter.starts_with(&format!("{clause} and "))
    {
        return filter.to_owned();
    }
    let words = filter.split(|char: char| !char.is_alphanumeric());
    if words.into_iter().any(|word| word.eq_ignore_ascii_case("or")) {
        return format!("({filter}) and {clause}");
    }
    format!("{filter} and {clause}")
}

fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, start: usize, end: usize, look: &str) {
        let (before, place, after) = marked(text, Span { start, end });
        assert_eq!(format!("{before}[{place}]{after}"), look);
    }

    #[test]
    fn a_place_is_found_in_any_text() {
        check("http.stauts = 500", 5, 11, "http.[stauts] = 500");
        check("status >=", 9, 9, "status >=[ ]");
        check("a b", 1, 1, "a[ ]b");
        check("größe = 1", 3, 5, "gr[ö]ße = 1");
        check("x", 7, 99, "x[ ]");
        check("", 0, 0, "[ ]");
    }

    #[test]
    fn clauses_add_up() {
        assert_eq!(and("", "a = 1"), "a = 1");
        assert_eq!(and("b = 2 ", "a = 1"), "b = 2 and a = 1");
        assert_eq!(and("b = 2 OR c", "a = 1"), "(b = 2 OR c) and a = 1");
        assert_eq!(and("b = 2 and a = 1", "a = 1"), "b = 2 and a = 1");
        assert_eq!(and("color = 2", "a = 1"), "color = 2 and a = 1");
    }
}
