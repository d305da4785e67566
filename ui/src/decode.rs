//! Payloads as a person reads them: forms, markup, JSON as a tree, images; and a request as `curl` takes it.

pub(crate) mod packet;
mod protobuf;
mod statement;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::value::{Row, Value};

pub(crate) use protobuf::protobuf;
pub(crate) use statement::statement;

/// The names and values of a form, or of an address behind its `?`; nothing if it is neither.
pub(crate) fn form(text: &str) -> Option<Vec<(String, String)>> {
    let text = text.trim();
    let is_form = text.contains('=')
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80)
        && !text.starts_with(['{', '[', '<']);
    is_form.then(|| {
        text.split('&')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (plain(name), plain(value))
            })
            .collect()
    })
}

/// The names and values of a `cookie` header, or the parts of a `set-cookie`; nothing of any other.
pub(crate) fn cookies(header: &str, value: &str) -> Option<Vec<(String, String)>> {
    let is_cookie = ["cookie", "set-cookie"].iter().any(|it| it.eq_ignore_ascii_case(header));
    let parts = value.split(';').map(str::trim).filter(|it| !it.is_empty());
    let parts: Vec<_> = parts
        .map(|it| {
            let (name, value) = it.split_once('=').unwrap_or((it, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect();
    (is_cookie && parts.len() > 1).then_some(parts)
}

/// Without percent signs and plus signs; what is no UTF-8 then stays as it was.
fn plain(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.as_slice()) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high * 16 + low);
                    bytes.nth(1);
                }
                _ => out.push(*byte),
            },
            _ => out.push(*byte),
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// XML or HTML, a tag a line; nothing if it is neither. It is text all the same.
pub(crate) fn markup(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.starts_with('<') || !text.contains('>') {
        return None;
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = if rest.starts_with("<!--") {
            rest.split_at_checked(rest.find("-->").map_or(rest.len(), |at| at + 3))?
        } else if rest.starts_with('<') {
            rest.split_at_checked(rest.find('>').map_or(rest.len(), |at| at + 1))?
        } else {
            rest.split_at_checked(rest.find('<').unwrap_or(rest.len()))?
        };
        rest = after;
        let piece = piece.trim();
        if piece.is_empty() {
            continue;
        }
        let is_tag = piece.starts_with('<');
        if piece.starts_with("</") {
            depth = depth.saturating_sub(1);
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.extend(std::iter::repeat_n("  ", depth.min(MOST_DEPTH)));
        out.push_str(piece);
        let name: String = piece.chars().skip(1).take_while(char::is_ascii_alphanumeric).collect();
        let is_alone = piece.ends_with("/>")
            || piece.starts_with("</")
            || piece.starts_with("<!")
            || piece.starts_with("<?")
            || ALONE.contains(&name.to_ascii_lowercase().as_str());
        if is_tag && !is_alone {
            depth += 1;
        }
    }
    Some(out)
}

/// What a browser can show as an image, by its first bytes. Drawings that may hold scripts are not among them.
pub(crate) fn image(bytes: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if starts(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Some("image/gif")
    } else if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}

/// An image as an address that holds all of it.
pub(crate) fn data_url(media: &str, bytes: &[u8]) -> String {
    let mut out = format!("data:{media};base64,");
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4_usize {
            let letter = (bits >> (18 - 6 * place) & 63) as usize;
            let letter = BASE64.get(letter).copied().unwrap_or(b'=');
            out.push(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    out
}

/// A JSON document as a tree, its members in their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Object(Vec<(String, Self)>),
    List(Vec<Self>),
    Text(String),
    /// A number, a truth or null, as it is written.
    Plain(String),
}

/// Reads JSON that is worth a tree.
pub(crate) fn tree(text: &str) -> Option<Node> {
    let node: Node = serde_json::from_str(text).ok()?;
    matches!(node, Node::Object(_) | Node::List(_)).then_some(node)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, it: bool) -> Result<Node, E> {
                Ok(Node::Plain(it.to_string()))
            }

            fn visit_i64<E>(self, it: i64) -> Result<Node, E> {
                Ok(Node::Plain(it.to_string()))
            }

            fn visit_u64<E>(self, it: u64) -> Result<Node, E> {
                Ok(Node::Plain(it.to_string()))
            }

            fn visit_f64<E>(self, it: f64) -> Result<Node, E> {
                Ok(Node::Plain(it.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Plain("null".to_owned()))
            }

            fn visit_str<E>(self, it: &str) -> Result<Node, E> {
                Ok(Node::Text(it.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Object(members))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// Where a text stands in another, in any case of ASCII letters.
pub(crate) fn places(text: &str, wanted: &str) -> Vec<usize> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let (text, wanted) = (text.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    text.match_indices(&wanted).map(|(at, _)| at).take(MOST_PLACES).collect()
}

/// Coloured pieces cut up where a text stands; the flag says that a piece is (part of) a place.
pub(crate) fn marked<'a>(
    pieces: Vec<(&'a str, String)>,
    places: &[usize],
    length: usize,
) -> Vec<(&'a str, bool, String)> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut next = places.iter().peekable();
    for (class, text) in pieces {
        let end = start + text.len();
        let mut at = start;
        while at < end {
            while next.peek().is_some_and(|place| **place + length <= at) {
                next.next();
            }
            let (until, is_place) = match next.peek() {
                Some(place) if **place <= at => ((**place + length).min(end), true),
                Some(place) => ((**place).min(end), false),
                None => (end, false),
            };
            let Some(piece) = text.get(at - start..until - start) else { break };
            out.push((class, is_place, piece.to_owned()));
            at = until;
        }
        start = end;
    }
    out
}

/// The request of a row as a command for a shell; nothing if the row's table doesn't say how it was asked.
pub(crate) fn curl(row: &Row<'_>) -> Option<String> {
    let Value::Pairs(headers) = row.value("request_headers") else { return None };
    let (host, path) = (row.text("host"), row.text("path"));
    if host.is_empty() || path.is_empty() {
        return None;
    }
    let scheme = if row.flag("encrypted") { "https" } else { "http" };
    let query = row.text("query");
    let mark = if query.is_empty() { "" } else { "?" };
    let mut out = format!("curl {}", quoted(&format!("{scheme}://{host}{path}{mark}{query}")));
    let verb = row.text("verb");
    if verb != "GET" && !verb.is_empty() {
        out.push_str(&format!(" \\\n  -X {}", quoted(&verb)));
    }
    for (name, value) in headers {
        // curl says these itself
        if !["host", "content-length", "connection", "transfer-encoding"].contains(&name.as_str()) {
            out.push_str(&format!(" \\\n  -H {}", quoted(&format!("{name}: {value}"))));
        }
    }
    if let Value::Bytes(body) = row.value("request_body")
        && !body.is_empty()
        && let Ok(text) = std::str::from_utf8(body)
    {
        out.push_str(&format!(" \\\n  --data-binary {}", quoted(text)));
    }
    Some(out)
}

/// As a POSIX shell reads it back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

const ALONE: [&str; 8] = ["br", "hr", "img", "input", "link", "meta", "source", "wbr"];
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const MOST_PLACES: usize = 2_000;
const MOST_DEPTH: usize = 60;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray, builder};

    use super::*;

    #[test]
    fn a_form_is_read_and_what_is_none_is_not() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            form("a=1&b=x+y%20%C3%BC&c&=&"),
            Some(vec![pair("a", "1"), pair("b", "x y ü"), pair("c", ""), pair("", "")])
        );
        assert_eq!(form("q=%zz%f"), Some(vec![pair("q", "%zz%f")]));
        assert_eq!(form("q=%ff"), Some(vec![pair("q", "%ff")]));
        for text in ["", "plain", "{\"a=\":1}", "a = b\nc"] {
            assert_eq!(form(text), None, "{text}");
        }
    }

    #[test]
    fn cookies_are_told_by_name() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            cookies("cookie", "a=1; b=x=y; c"),
            Some(vec![pair("a", "1"), pair("b", "x=y"), pair("c", "")])
        );
        assert_eq!(cookies("Set-Cookie", "sid=7; Path=/; HttpOnly").map(|it| it.len()), Some(3));
        assert_eq!(cookies("accept", "a=1; b=2"), None);
        assert_eq!(cookies("cookie", "a=1"), None);
    }

    #[test]
    fn markup_gets_its_lines() {
        let look =
            markup("<?xml?><a x='1'><b>text</b><br><c/><!-- <d> --></a>").expect("it is markup");
        assert_eq!(
            look,
            "<?xml?>\n<a x='1'>\n  <b>\n    text\n  </b>\n  <br>\n  <c/>\n  <!-- <d> -->\n</a>"
        );
        assert_eq!(markup("a < b > c"), None);
        for broken in ["<", "<a", "<!--", "<é>é</é", "</a></a>", "<>"] {
            markup(broken);
        }
    }

    #[test]
    fn a_tree_keeps_the_order_of_members() {
        let Some(Node::Object(members)) = tree("{\"b\":[1,null],\"a\":{\"c\":\"x\"}}") else {
            panic!("it is an object")
        };
        assert_eq!(
            members.first(),
            Some(&(
                "b".to_owned(),
                Node::List(vec![Node::Plain("1".into()), Node::Plain("null".into())])
            ))
        );
        assert_eq!(tree("17"), None);
        assert_eq!(tree(&"[".repeat(100_000)), None);
    }

    #[test]
    fn a_text_is_found_and_marked_across_pieces() {
        let pieces = vec![("name", "ab".to_owned()), ("", "Cab".to_owned())];
        let places = places("abCab", "bc");
        assert_eq!(places, [1]);
        let look: Vec<_> = marked(pieces, &places, 2);
        assert_eq!(
            look,
            [
                ("name", false, "a".to_owned()),
                ("name", true, "b".to_owned()),
                ("", true, "C".to_owned()),
                ("", false, "ab".to_owned())
            ]
        );
        assert!(super::places("x", "").is_empty());
    }

    #[test]
    fn images_are_known_by_their_bytes() {
        assert_eq!(image(b"\x89PNG\r\n\x1a\n..."), Some("image/png"));
        assert_eq!(image(b"<svg>"), None);
        assert_eq!(data_url("image/gif", b"GIF8"), "data:image/gif;base64,R0lGOA==");
        assert_eq!(data_url("image/gif", b"GIF"), "data:image/gif;base64,R0lG");
    }

    #[test]
    fn a_request_is_written_for_a_shell() {
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let mut headers = builder::MapBuilder::new(
            None,
            builder::StringBuilder::new(),
            builder::StringBuilder::new(),
        );
        for (name, value) in [("host", "shop"), ("x-a", "it's $(rm)")] {
            headers.keys().append_value(name);
            headers.values().append_value(value);
        }
        headers.append(true).expect("as many keys as values");
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("verb", text("POST")),
            ("host", text("shop")),
            ("path", text("/cart")),
            ("query", text("a=1")),
            ("encrypted", Arc::new(BooleanArray::from(vec![false]))),
            ("request_headers", Arc::new(headers.finish())),
            ("request_body", Arc::new(BinaryArray::from(vec![b"x=1".as_slice()]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("one row");
        let command = curl(&Row { batch: &batch, at: 0 }).expect("it was asked over HTTP");
        assert_eq!(
            command,
            "curl 'http://shop/cart?a=1' \\\n  -X 'POST' \\\n  -H 'x-a: it'\\''s $(rm)' \\\n  --data-binary 'x=1'"
        );
        assert_eq!(curl(&Row { batch: &crate::fixture::gopher(), at: 0 }), None);
    }
}
