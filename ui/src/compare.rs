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
    /// How much more the right one has, of what can be counted; or that they differ, where what is shown does not tell.
    pub(crate) more: Option<String>,
    /// What they say is not the same, though it may read the same: it is rounded and cut to be shown.
    pub(crate) differs: bool,
}

impl Compared {
    pub(crate) fn differs(&self) -> bool {
        self.pairs.iter().any(|it| it.differs)
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
        (Value::Pairs(a), Value::Pairs(b)) => Some(headers(a, b)),
        (Value::Pairs(a), Value::Null) => Some(headers(a, &[])),
        (Value::Null, Value::Pairs(b)) => Some(headers(&[], b)),
        _ => payload(bytes(&a), bytes(&b)),
    };
    // what is empty has no parts, and is not the same as nothing
    let parts = parts.filter(|it| !it.is_empty());
    let has_parts = parts.is_some();
    let mut pairs = parts.unwrap_or_else(|| {
        let (left, right) = plain(&a, &b, kind, zone);
        let more = more(&a, &b, kind);
        vec![Pair { name: String::new(), left, right, more, differs: !is_same(&a, &b) }]
    });
    for pair in pairs.iter_mut().filter(|it| it.differs && it.left == it.right) {
        pair.more.get_or_insert_with(|| "differs in what is not shown".to_owned());
    }
    Some(Compared { column: name.clone(), pairs, has_parts })
}

fn is_same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        // what is no number (NaN) is not even equal to itself
        (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        _ => a == b,
    }
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
    let differs = left != right;
    let tree = |text: &str| {
        if text.is_empty() { Some(Vec::new()) } else { decode::tree(text).map(|it| flat(&it)) }
    };
    match (tree(left), tree(right)) {
        (Some(a), Some(b)) => Some(whole(by_name(&a, &b), is_cut(&a, &b), differs)),
        _ => lines(left, right).map(|pairs| whole(pairs, false, differs)),
    }
}

fn headers(left: &[(String, String)], right: &[(String, String)]) -> Vec<Pair> {
    whole(by_name(left, right), is_cut(left, right), left != right)
}

fn is_cut(left: &[(String, String)], right: &[(String, String)]) -> bool {
    left.len().max(right.len()) > MOST_PARTS
}

/// Adds what the pairs do not say of two wholes that differ: there are more parts than are compared, or the parts are
/// the same and differ in how they are put together.
fn whole(mut pairs: Vec<Pair>, is_cut: bool, differs: bool) -> Vec<Pair> {
    let is_told = pairs.iter().any(|it| it.differs);
    if !differs || (is_told && !is_cut) || (pairs.is_empty() && !is_cut) {
        return pairs;
    }
    let (name, left, right) = if is_cut {
        let first = grouped(MOST_PARTS as u64);
        ("…", format!("only the first {first} parts are compared"), "the whole differs")
    } else {
        (
            "as written",
            "the parts are the same".to_owned(),
            "order, spaces, line ends or digits differ",
        )
    };
    pairs.push(Pair {
        name: name.to_owned(),
        left: Some(left),
        right: Some(right.to_owned()),
        more: None,
        differs,
    });
    pairs
}

/// The values of a tree, each with the way to it; of too many, one more than are compared.
fn flat(node: &Node) -> Vec<(String, String)> {
    fn walk(node: &Node, way: &str, out: &mut Vec<(String, String)>) {
        if out.len() > MOST_PARTS {
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
                differs: other.is_none_or(|(_, other)| other != text),
            }
        })
        .collect();
    pairs.extend(rest.into_iter().flatten().map(|(name, text)| Pair {
        name: name.clone(),
        right: Some(cut(text)),
        differs: true,
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
            differs: !(take_left && take_right && ours == theirs),
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

    fn rows(
        name: &str,
        kind: Option<&str>,
        column: arrow_array::ArrayRef,
    ) -> arrow_array::RecordBatch {
        let mut field = Field::new(name, column.data_type().clone(), true);
        if let Some(kind) = kind {
            field = field.with_metadata([("kind".to_owned(), kind.to_owned())].into());
        }
        let schema = std::sync::Arc::new(arrow_schema::Schema::new(vec![field]));
        arrow_array::RecordBatch::try_new(schema, vec![column]).expect("one column of its type")
    }

    fn both(batch: &arrow_array::RecordBatch) -> Compared {
        let row = |at| Row { batch, at };
        compare(&row(0), &row(1), 0).pop().expect("they have values")
    }

    #[test]
    fn what_reads_the_same_may_differ() {
        let sizes = std::sync::Arc::new(arrow_array::UInt64Array::from(vec![12_345, 12_346]));
        let it = both(&rows("size", Some("size"), sizes));
        assert!(it.differs());
        assert_eq!(it.pairs.first().and_then(|it| it.more.as_deref()), Some("+1 B"));
        // far behind what is shown
        let long = |end: &str| format!("{}{end}", "x".repeat(3_000));
        let texts = |a: &str, b: &str| {
            let column = std::sync::Arc::new(arrow_array::StringArray::from(vec![a, b]));
            both(&rows("text", None, column))
        };
        let it = texts(&long("a"), &long("b"));
        let more = |it: &Compared| it.pairs.last().and_then(|it| it.more.clone());
        assert_eq!((it.differs(), it.has_parts), (true, false));
        assert_eq!(more(&it).as_deref(), Some("differs in what is not shown"));
        let json = |end: &str| format!("{{\"cookie\":\"{}\"}}", long(end));
        let it = texts(&json("a"), &json("b"));
        assert_eq!((it.differs(), it.has_parts), (true, true));
        assert_eq!(more(&it).as_deref(), Some("differs in what is not shown"));
        assert!(!texts(&json("a"), &json("a")).differs());
        let it = texts(&format!("a\n{}", long("a")), &format!("a\n{}", long("b")));
        assert_eq!(it.pairs.iter().map(|it| it.differs).collect::<Vec<_>>(), [false, true]);
        // parts that are the same, written in another way
        for (a, b) in [("a\nb\n", "a\nb\n\n"), ("a\nb\n", "a\r\nb\n"), ("{\"a\":1}", "{\"a\": 1}")]
        {
            assert!(texts(a, b).differs(), "{a:?} {b:?}");
        }
        let empty = arrow_array::BinaryArray::from(vec![None, Some(b"".as_slice())]);
        assert!(both(&rows("body", None, std::sync::Arc::new(empty))).differs());
        let nan = arrow_array::Float64Array::from(vec![f64::NAN, f64::NAN]);
        assert!(!both(&rows("ratio", None, std::sync::Arc::new(nan))).differs());
    }

    #[test]
    fn parts_that_are_too_many_are_not_said_to_be_the_same() {
        let said = "…: only the first 1,000 parts are compared | the whole differs";
        let list = |end: usize| {
            let parts = (0..MOST_PARTS).chain([end]).map(|it| it.to_string());
            format!("[{}]", parts.collect::<Vec<_>>().join(","))
        };
        let (a, b) = (list(1), list(2));
        let pairs = payload(Some(a.as_bytes()), Some(b.as_bytes())).expect("both are JSON");
        assert_eq!(pairs.iter().filter(|it| it.differs).count(), 1);
        assert_eq!(seen(&pairs).last().map(String::as_str), Some(said));
        let pairs = payload(Some(a.as_bytes()), Some(a.as_bytes())).expect("both are JSON");
        assert_eq!((pairs.len(), pairs.iter().any(|it| it.differs)), (MOST_PARTS, false));
        let many = |end: &str| {
            let name = |at: usize| (format!("x-{at}"), "1".to_owned());
            let last = ("x-last".to_owned(), end.to_owned());
            (0..MOST_PARTS).map(name).chain([last]).collect::<Vec<_>>()
        };
        let pairs = headers(&many("a"), &many("b"));
        assert_eq!(seen(&pairs).last().map(String::as_str), Some(said));
        assert!(headers(&many("a"), &many("a")).iter().all(|it| !it.differs));
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
