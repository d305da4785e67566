//! Kind → widget: the only place that knows how a value looks in full.

use api::Kind;
use dioxus::prelude::*;

use super::icon::Icon;
use crate::{
    browser,
    value::{Value, grouped, hex, literal, pretty, shown, size, time},
};

/// A value in full. A click on it calls `onfilter` with a clause that says so, if it can be compared.
pub(crate) fn widget(
    value: &Value<'_>,
    kind: Option<Kind>,
    column: &str,
    zone: i64,
    onfilter: Option<EventHandler<String>>,
) -> Element {
    let text = shown(value, kind, zone);
    let clause = literal(value, kind).map(|literal| match kind {
        Some(Kind::Duration) => format!("{column} >= {literal}"),
        Some(Kind::Flag) => {
            if literal == "true" {
                column.to_owned()
            } else {
                format!("not {column}")
            }
        }
        _ => format!("{column} = {literal}"),
    });
    match (value, kind) {
        (Value::Null, _) => rsx! { span { class: "null", "–" } },
        (Value::Flag(flag), _) => {
            plain(text, if *flag { "flag yes" } else { "flag no" }, None, clause, onfilter)
        }
        (Value::Time(ns), _) => {
            plain(time(*ns, zone), "number", Some(format!("{ns} ns since 1970")), clause, onfilter)
        }
        (Value::Int(ns), Some(Kind::Duration)) => plain(
            text,
            "number",
            Some(format!("{} ns", grouped(ns.unsigned_abs()))),
            clause,
            onfilter,
        ),
        (Value::Uint(bytes), Some(Kind::Size)) => {
            plain(text, "number", Some(format!("{} bytes", grouped(*bytes))), clause, onfilter)
        }
        (Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Duration(_), _) => {
            plain(text, "number", None, clause, onfilter)
        }
        (Value::Text(text), Some(Kind::Json)) => rsx! { Body { bytes: text.as_bytes().to_vec() } },
        (Value::Text(full), _) if full.len() > 200 || full.contains('\n') => {
            rsx! { Body { bytes: full.as_bytes().to_vec() } }
        }
        (Value::Text(_), _) => plain(text, "text", None, clause, onfilter),
        (Value::Bytes(bytes), _) => rsx! { Body { bytes: bytes.to_vec() } },
        (Value::Pairs(pairs), _) => headers(pairs, column, onfilter),
        (Value::List(values), _) => rsx! {
            ul { class: "texts",
                for value in values.iter() {
                    li { "{shown(value, None, zone)}" }
                }
            }
        },
    }
}

fn plain(
    text: String,
    class: &'static str,
    exact: Option<String>,
    clause: Option<String>,
    onfilter: Option<EventHandler<String>>,
) -> Element {
    let copied = text.clone();
    let copy = rsx! {
        button { class: "bare copy", r#type: "button", title: "copy", "aria-label": "copy the value",
            onclick: move |_| browser::copy(&copied), Icon { name: "copy" } }
    };
    match (clause, onfilter) {
        (Some(clause), Some(onfilter)) => {
            let title = match exact {
                Some(exact) => format!("{exact}\nclick: and {clause}"),
                None => format!("click: and {clause}"),
            };
            rsx! {
                button { class: "value {class}", r#type: "button", title, onclick: move |_| onfilter.call(clause.clone()), "{text}" }
                {copy}
            }
        }
        _ => rsx! {
            span { class: "value {class}", title: exact, "{text}" }
            {copy}
        },
    }
}

fn headers(
    pairs: &[(String, String)],
    column: &str,
    onfilter: Option<EventHandler<String>>,
) -> Element {
    if pairs.is_empty() {
        return rsx! { span { class: "null", "none" } };
    }
    rsx! {
        table { class: "headers",
            tbody {
                for (name , value) in pairs.iter().take(MOST_HEADERS) {
                    tr {
                        th { scope: "row", "{name}" }
                        td {
                            {
                                let clause = pair_clause(column, name, value);
                                let text: String = value.chars().take(MOST_CHARS).collect();
                                plain(text, "text", None, Some(clause), onfilter)
                            }
                        }
                    }
                }
            }
        }
        if pairs.len() > MOST_HEADERS {
            p { class: "note", "{pairs.len() - MOST_HEADERS} more are not shown" }
        }
    }
}

/// A header's name and value as the filter bar reads them: it takes a subscript of a bare column only.
fn pair_clause(column: &str, name: &str, value: &str) -> String {
    let (name, value) = (api::quote_text(name), api::quote_text(value));
    match column.split_once('.') {
        Some((table, column)) => format!("{table} and {column}[{name}] = {value}"),
        None => format!("{column}[{name}] = {value}"),
    }
}

/// A payload: pretty if it is JSON, as text if it is text, and as bytes.
#[component]
pub(crate) fn Body(bytes: Vec<u8>) -> Element {
    let mut look = use_signal(|| None::<Look>);
    let mut whole = use_signal(|| false);
    let text = std::str::from_utf8(&bytes).ok();
    let json = text.filter(|text| text.len() <= MOST_JSON).and_then(pretty);
    let looks: Vec<Look> =
        [(Look::Pretty, json.is_some()), (Look::Text, text.is_some()), (Look::Bytes, true)]
            .into_iter()
            .filter_map(|(look, can)| can.then_some(look))
            .collect();
    let is_readable = text.is_some_and(|text| {
        !text.chars().take(MOST_CHARS).any(|char| char.is_control() && !"\t\r\n".contains(char))
    });
    let first = match (&json, is_readable) {
        (Some(_), _) => Look::Pretty,
        (None, true) => Look::Text,
        (None, false) => Look::Bytes,
    };
    let current = look().filter(|look| looks.contains(look)).unwrap_or(first);
    let limit = if whole() { usize::MAX } else { MOST_CHARS };
    let (content, is_cut) = match current {
        Look::Pretty => cut(json.as_deref().unwrap_or_default(), limit),
        Look::Text => cut(text.unwrap_or_default(), limit),
        Look::Bytes => {
            let most = limit.min(MOST_HEX);
            (hex(bytes.get(..most).unwrap_or(&bytes)), bytes.len() > most)
        }
    };
    if bytes.is_empty() {
        return rsx! { span { class: "null", "empty" } };
    }
    let copied = if current == Look::Bytes { hex(&bytes) } else { content.clone() };
    let length = size(bytes.len() as u64);
    let pieces = if current == Look::Pretty { colored(&content) } else { vec![("", content)] };
    rsx! {
        div { class: "body", "data-testid": "body",
            div { class: "looks", role: "group", "aria-label": "how to show it",
                for it in looks {
                    button { class: if it == current { "on" } else { "" }, r#type: "button", "aria-pressed": it == current,
                        onclick: move |_| look.set(Some(it)), "{it.name()}" }
                }
                span { class: "note", "{length}" }
                button { class: "bare", r#type: "button", title: "copy", "aria-label": "copy the body", onclick: move |_| browser::copy(&copied), Icon { name: "copy" } }
            }
            pre { tabindex: 0,
                for (class , text) in pieces {
                    if class.is_empty() { "{text}" } else { span { class, "{text}" } }
                }
            }
            if is_cut && current != Look::Bytes {
                button { class: "tool", r#type: "button", onclick: move |_| whole.set(true), "Show all of it" }
            }
            if is_cut && current == Look::Bytes {
                p { class: "note", "only the first {size(MOST_HEX as u64)} are shown" }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    Pretty,
    Text,
    Bytes,
}

impl Look {
    fn name(self) -> &'static str {
        match self {
            Self::Pretty => "JSON",
            Self::Text => "text",
            Self::Bytes => "hex",
        }
    }
}

fn cut(text: &str, limit: usize) -> (String, bool) {
    if text.len() <= limit {
        return (text.to_owned(), false);
    }
    (text.chars().take(limit).collect(), true)
}

/// Pretty JSON in pieces, each with its class.
fn colored(json: &str) -> Vec<(&'static str, String)> {
    let mut pieces: Vec<(&'static str, String)> = Vec::new();
    let mut push = |class: &'static str, text: &str| match pieces.last_mut() {
        Some((last, all)) if *last == class => all.push_str(text),
        _ => pieces.push((class, text.to_owned())),
    };
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let (class, length) = match first {
            '"' => {
                let length = string_length(rest);
                let is_name = rest.get(length..).is_some_and(|after| after.starts_with(':'));
                (if is_name { "name" } else { "string" }, length)
            }
            '-' | '0'..='9' | 't' | 'f' | 'n' => {
                ("literal", rest.find([',', '\n', ']', '}']).unwrap_or(rest.len()))
            }
            other => ("", other.len_utf8()),
        };
        let (piece, after) = rest.split_at_checked(length.max(1)).unwrap_or((rest, ""));
        push(class, piece);
        rest = after;
    }
    pieces
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

const MOST_HEADERS: usize = 500;
const MOST_CHARS: usize = 16_384;
const MOST_HEX: usize = 8_192;
const MOST_JSON: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn look(value: Value<'static>, kind: Kind) -> String {
        #[component]
        fn Show(html: Callback<(), Element>) -> Element {
            html.call(())
        }
        let mut dom = VirtualDom::new_with_props(
            move |(value, kind): (Value<'static>, Kind)| {
                let onfilter = use_callback(|_: String| {});
                widget(&value, Some(kind), "gopher.column", 0, Some(onfilter))
            },
            (value, kind),
        );
        dom.rebuild_in_place();
        dioxus_ssr::render(&dom)
    }

    #[test]
    fn every_kind_has_a_widget() {
        let text = |text: &'static str| Value::Text(text.into());
        for kind in Kind::ALL {
            let (value, part) = match kind {
                Kind::Flag => (Value::Flag(true), "and gopher.column\""),
                Kind::Code => (Value::Int(503), "and gopher.column = 503"),
                Kind::Port => (Value::Uint(70), ">70<"),
                Kind::Count => (Value::Uint(70_000), ">70,000<"),
                Kind::Size => (Value::Uint(70_000), "70,000 bytes"),
                Kind::Label => (text("a"), ">a<"),
                Kind::Text => (text("<i>"), "&#60;i&#62;"),
                Kind::Json => (text("{\"a\":1}"), "class=\"name\""),
                Kind::Texts => (Value::List(vec![text("a")]), "<li>a</li>"),
                Kind::Body => (Value::Bytes(&[0xff, 0xfe]), "ff fe"),
                Kind::Headers => (Value::Pairs(vec![("accept".into(), "x".into())]), "accept</th>"),
                Kind::Address => (text("::1"), ">::1<"),
                Kind::Time => (Value::Time(0), "1970-01-01"),
                Kind::Duration => (Value::Int(1_500), "1,500 ns"),
                Kind::Id => (text("0abc"), ">0abc<"),
            };
            let html = look(value, kind);
            assert!(html.contains(part), "{}: {html}", kind.name());
        }
    }

    #[test]
    fn a_header_becomes_a_filter() {
        assert_eq!(pair_clause("headers", "x-a", "it's"), "headers['x-a'] = 'it''s'");
        assert_eq!(pair_clause("gopher.headers", "x", "1"), "gopher and headers['x'] = '1'");
    }

    #[test]
    fn a_body_that_does_not_read_is_a_dump() {
        let html = dioxus_ssr::render_element(rsx! { Body { bytes: b"\x01\x02ab".to_vec() } });
        assert!(html.contains("000000  01 02 61 62"), "{html}");
    }

    #[test]
    fn markup_in_a_body_is_text() {
        let html = dioxus_ssr::render_element(
            rsx! { Body { bytes: b"<script>alert(1)</script>".to_vec() } },
        );
        assert!(!html.contains("<script>"), "{html}");
    }

    #[test]
    fn json_is_colored_piece_by_piece() {
        let json = "{\n  \"a\\\"\": -1.5,\n  \"b\": \"x: y\"\n}";
        let pieces = colored(json);
        assert_eq!(pieces.iter().map(|(_, text)| text.as_str()).collect::<String>(), json);
        let classes: Vec<_> = pieces
            .iter()
            .filter(|(class, _)| !class.is_empty())
            .map(|(class, text)| (*class, text.as_str()))
            .collect();
        assert_eq!(
            classes,
            [("name", "\"a\\\"\""), ("literal", "-1.5"), ("name", "\"b\""), ("string", "\"x: y\"")]
        );
    }
}
