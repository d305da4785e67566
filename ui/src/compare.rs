//! Two rows, field by field: what each says, and where they differ.

use api::Kind;
use arrow_schema::Field;

use crate::{
    decode::{self, Node},
    value::{Row, Value, duration, grouped, kind, shown, size},
};

/// A column of either row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compared {
    pub(crate) column: String,
    pub(crate) pairs: Vec<Pair>,
    /// What has parts (headers, a payload), compared part by part; else there is one pair.
    pub(crate) has_parts: bool,
}

/// What the left row says of something and what the right one does; nothing if it does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) left: Option<String>,
    pub(crate) right: Option<String>,
    /// How much more the right one has, of what can be counted.
    pub(crate) more: Option<String>,
}

impl Pair {
    pub(crate) fn differs(&self) -> bool {
        self.left != self.right
    }
}

impl Compared {
    pub(crate) fn differs(&self) -> bool {
        self.pairs.iter().any(Pair::differs)
    }
}

/// Every column that at least one of two rows has a value in: in the left one's order, then what only the right one has.
pub(crate) fn compare(left: &Row<'_>, right: &Row<'_>, zone: i64) -> Vec<Compared> {
    let (ours, theirs) = (left.batch.schema(), right.batch.schema());
    let only_theirs = theirs.fields().iter().filter(|it| ours.field_with_name(it.name()).is_err());
    ours.fields()
        .iter()
        .chain(only_theirs)
        .filter_map(|field| column(field, left, right, zone))
        .collect()
}

fn column(field: &Field, left: &Row<'_>, right: &Row<'_>, zone: i64) -> Option<Compared> {
    let name = field.name();
    let (a, b) = (left.value(name), right.value(name));
    if a == Value::Null && b == Value::Null {
        return None;
    }
    let kind = kind(field);
    let parts = match (&a, &b) {
        (Value::Pairs(a), Value::Pairs(b)) => Some(by_name(a, b)),
        (Value::Pairs(a), Value::Null) => Some(by_name(a, &[])),
        (Value::Null, Value::Pairs(b)) => Some(by_name(&[], b)),
        _ => payload(bytes(&a), bytes(&b)),
    };
    Some(match parts {
        Some(pairs) => Compared { column: name.clone(), pairs, has_parts: true },
        None => {
            let (left, right) = plain(&a, &b, kind, zone);
            let more = more(&a, &b, kind);
            let pair = Pair { name: String::new(), left, right, more };
            Compared { column: name.clone(), pairs: vec![pair], has_parts: false }
        }
    })
}

fn bytes<'a>(value: &'a Value<'_>) -> Option<&'a [u8]> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Text(text) if text.contains('\n') || text.starts_with(['{', '[']) => {
            Some(text.as_bytes())
        }
        Value::Null => Some(&[]),
        _ => None,
    }
}

/// Payloads part by part: JSON by where its values stand, other text line by line.
fn payload(left: Option<&[u8]>, right: Option<&[u8]>) -> Option<Vec<Pair>> {
    let (left, right) = (left?, right?);
    if left.len().max(right.len()) > MOST_BYTES {
        return None;
    }
    let (left, right) = (std::str::from_utf8(left).ok()?, std::str::from_utf8(right).ok()?);
    let tree = |text: &str| {
        if text.is_empty() { Some(Vec::new()) } else { decode::tree(text).map(|it| flat(&it)) }
    };
    match (tree(left), tree(right)) {
        (Some(a), Some(b)) => Some(by_name(&a, &b)),
        _ => lines(left, right),
    }
}

/// The values of a tree, each with the way to it.
fn flat(node: &Node) -> Vec<(String, String)> {
    fn walk(node: &Node, way: &str, out: &mut Vec<(String, String)>) {
        if out.len() >= MOST_PARTS {
            return;
        }
        let below = |name: &str| {
            if way.is_empty() { name.to_owned() } else { format!("{way}.{name}") }
        };
        match node {
            Node::Object(members) if !members.is_empty() => {
                members.iter().for_each(|(name, node)| walk(node, &below(name), out));
            }
            Node::List(items) if !items.is_empty() => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, node)| walk(node, &format!("{way}[{at}]"), out));
            }
            Node::Object(_) => out.push((way.to_owned(), "{}".to_owned())),
            Node::List(_) => out.push((way.to_owned(), "[]".to_owned())),
            // a text and a number that read alike are not the same
            Node::Text(text) => out.push((way.to_owned(), format!("\"{text}\""))),
            Node::Plain(text) => out.push((way.to_owned(), text.clone())),
        }
    }
    let mut out = Vec::new();
    walk(node, "", &mut out);
    out
}

/// Names with what both say of them. A name that stands several times is compared in its order.
fn by_name(left: &[(String, String)], right: &[(String, String)]) -> Vec<Pair> {
    let left = left.get(..MOST_PARTS).unwrap_or(left);
    let right = right.get(..MOST_PARTS).unwrap_or(right);
    let mut rest: Vec<Option<&(String, String)>> = right.iter().map(Some).collect();
    let mut pairs: Vec<Pair> = left
        .iter()
        .map(|(name, text)| {
            let other = rest.iter_mut().find(|it| it.is_some_and(|(other, _)| other == name));
            let other = other.and_then(Option::take);
            Pair {
                name: name.clone(),
                left: Some(cut(text)),
                right: other.map(|(_, text)| cut(text)),
                more: None,
            }
        })
        .collect();
    pairs.extend(rest.into_iter().flatten().map(|(name, text)| Pair {
        name: name.clone(),
        right: Some(cut(text)),
        ..Pair::default()
    }));
    pairs
}

/// Texts line by line, aligned where they agree; nothing if they are too long for that.
fn lines(left: &str, right: &str) -> Option<Vec<Pair>> {
    let (a, b): (Vec<&str>, Vec<&str>) = (left.lines().collect(), right.lines().collect());
    if a.len().max(b.len()) > MOST_LINES {
        return None;
    }
    // how many lines the rests have in common, from each place on
    let width = b.len() + 1;
    let mut common = vec![0_u16; (a.len() + 1) * width];
    let at = |common: &[u16], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    for (i, ours) in a.iter().enumerate().rev() {
        for (j, theirs) in b.iter().enumerate().rev() {
            let longest = if ours == theirs {
                at(&common, i + 1, j + 1).saturating_add(1)
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(place) = common.get_mut(i * width + j) {
                *place = longest;
            }
        }
    }
    let mut pairs = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let (ours, theirs) = (a.get(i), b.get(j));
        let (take_left, take_right) = match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => (true, true),
            (Some(_), Some(_)) => {
                let (skip_left, skip_right) = (at(&common, i + 1, j), at(&common, i, j + 1));
                // a line in the place of another stands beside it
                if at(&common, i + 1, j + 1) >= skip_left.max(skip_right) {
                    (true, true)
                } else {
                    (skip_left >= skip_right, skip_left < skip_right)
                }
            }
            (ours, theirs) => (ours.is_some(), theirs.is_some()),
        };
        let number = if take_left { i } else { j } + 1;
        let text =
            |line: Option<&&str>, is_taken: bool| line.filter(|_| is_taken).map(|it| cut(it));
        pairs.push(Pair {
            name: number.to_string(),
            left: text(ours, take_left),
            right: text(theirs, take_right),
            more: None,
        });
        i += usize::from(take_left);
        j += usize::from(take_right);
    }
    Some(pairs)
}

/// Two values as they read; of payloads that don't, how long they are and from where on they differ.
fn plain(
    a: &Value<'_>,
    b: &Value<'_>,
    kind: Option<Kind>,
    zone: i64,
) -> (Option<String>, Option<String>) {
    let first = match (a, b) {
        (Value::Bytes(a), Value::Bytes(b)) => a
            .iter()
            .zip(b.iter())
            .position(|(a, b)| a != b)
            .or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len()))),
        _ => None,
    };
    let text = |value: &Value<'_>| match value {
        Value::Null => None,
        Value::Bytes(bytes) => {
            let length = size(bytes.len() as u64);
            Some(match first {
                Some(at) => {
                    let shown: Vec<_> =
                        bytes.iter().skip(at).take(12).map(|it| format!("{it:02x}")).collect();
                    format!("{length}, from byte {}: {}", grouped(at as u64), shown.join(" "))
                }
                None => length,
            })
        }
        Value::List(values) => {
            Some(cut(&values.iter().map(|it| shown(it, None, zone)).collect::<Vec<_>>().join(", ")))
        }
        other => Some(cut(&shown(other, kind, zone))),
    };
    (text(a), text(b))
}

/// How much more the second value is than the first.
fn more(a: &Value<'_>, b: &Value<'_>, kind: Option<Kind>) -> Option<String> {
    let signed = |ns: i64| match ns {
        0 => None,
        ns if ns < 0 => Some(format!("−{}", duration(ns.saturating_neg()))),
        ns => Some(format!("+{}", duration(ns))),
    };
    match (a, b, kind) {
        (Value::Time(a), Value::Time(b), _) => signed(b.saturating_sub(*a)),
        (Value::Int(a), Value::Int(b), Some(Kind::Duration)) => signed(b.saturating_sub(*a)),
        (Value::Uint(a), Value::Uint(b), Some(Kind::Size)) if a != b => {
            let sign = if b > a { '+' } else { '−' };
            Some(format!("{sign}{}", size(a.abs_diff(*b))))
        }
        _ => None,
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MOST_CHARS {
        return text.to_owned();
    }
    text.chars().take(MOST_CHARS).chain(['…']).collect()
}

/// Above that, payloads are told apart by their first difference only.
const MOST_BYTES: usize = 256 << 10;
const MOST_LINES: usize = 500;
const MOST_PARTS: usize = 1_000;
const MOST_CHARS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn seen(pairs: &[Pair]) -> Vec<String> {
        let text = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".to_owned());
        pairs
            .iter()
            .map(|it| format!("{}: {} | {}", it.name, text(&it.left), text(&it.right)))
            .collect()
    }

    #[test]
    fn rows_are_compared_column_by_column() {
        let batch = fixture::traffic(3);
        let (left, right) = (Row { batch: &batch, at: 0 }, Row { batch: &batch, at: 2 });
        let all = compare(&left, &right, 0);
        let differing: Vec<_> =
            all.iter().filter(|it| it.differs()).map(|it| it.column.as_str()).collect();
        assert_eq!(
            differing,
            [
                "ts",
                "duration",
                "target",
                "status",
                "failed",
                "request_bytes",
                "response_bytes",
                "seq"
            ]
        );
        let of = |name: &str| all.iter().find(|it| it.column == name).map(|it| &it.pairs);
        let more = |name: &str| of(name).and_then(|it| it.first()?.more.clone());
        assert_eq!(more("ts").as_deref(), Some("+2.00 s"));
        assert_eq!(more("response_bytes").as_deref(), Some("+2 B"));
        assert_eq!(of("status").map(|it| seen(it)), Some(vec![": 200 | 503".to_owned()]));
        assert!(compare(&left, &left, 0).iter().all(|it| !it.differs()));
    }

    #[test]
    fn rows_of_different_tables_have_the_columns_of_both() {
        let (one, other) = (fixture::traffic(1), fixture::gopher());
        let all = compare(&Row { batch: &one, at: 0 }, &Row { batch: &other, at: 0 }, 0);
        let headers = all.iter().find(|it| it.column == "request_headers").expect("it has headers");
        assert!(headers.has_parts && headers.differs());
        assert_eq!(
            seen(&headers.pairs).first().map(String::as_str),
            Some("accept: - | text/plain")
        );
    }

    #[test]
    fn headers_are_paired_by_name_and_json_by_where_a_value_stands() {
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let pairs = by_name(
            &[pair("cookie", "a=1"), pair("cookie", "b=2"), pair("te", "x")],
            &[pair("te", "x"), pair("cookie", "a=2"), pair("via", "y")],
        );
        assert_eq!(
            seen(&pairs),
            ["cookie: a=1 | a=2", "cookie: b=2 | -", "te: x | x", "via: - | y"]
        );
        let pairs = payload(
            Some(br#"{"user":{"id":1,"tags":["a","b"]},"n":[]}"#),
            Some(br#"{"n":[],"user":{"tags":["a","c"],"id":"1"}}"#),
        );
        assert_eq!(
            seen(&pairs.expect("both are JSON")),
            [
                "user.id: 1 | \"1\"",
                "user.tags[0]: \"a\" | \"a\"",
                "user.tags[1]: \"b\" | \"c\"",
                "n: [] | []"
            ]
        );
    }

    #[test]
    fn text_is_aligned_line_by_line() {
        let pairs = lines("a\nb\nc\nd", "a\nB\nc\nx\nd").expect("it is short");
        assert_eq!(seen(&pairs), ["1: a | a", "2: b | B", "3: c | c", "4: - | x", "4: d | d"]);
        assert_eq!(seen(&lines("", "a").expect("it is short")), ["1: - | a"]);
        assert!(lines(&"x\n".repeat(MOST_LINES + 1), "").is_none());
    }

    #[test]
    fn bytes_are_told_apart_by_where_they_first_differ() {
        let (a, b) = (Value::Bytes(b"\xff\x01\x02"), Value::Bytes(b"\xff\x01\x03\x04"));
        let (left, right) = plain(&a, &b, None, 0);
        assert_eq!(left.as_deref(), Some("3 B, from byte 2: 02"));
        assert_eq!(right.as_deref(), Some("4 B, from byte 2: 03 04"));
        assert!(payload(bytes(&a), bytes(&b)).is_none());
    }
}
