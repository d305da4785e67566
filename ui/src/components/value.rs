//! Kind → widget: the only place that knows how a value looks in full.

use api::Kind;
use dioxus::prelude::*;

use super::{icon::Icon, talk::Talk};
use crate::{
    browser,
    decode::{self, Node, data_url, marked, places},
    filter::statement::words,
    talk::messages,
    value::{Value, clauses, grouped, hex, pretty, shown, size, time},
};

/// A value in full. A click on it calls `onfilter` with a clause that says so, if it can be compared.
pub(crate) fn widget(
    value: &Value<'_>,
    kind: Option<Kind>,
    column: &str,
    zone: i64,
    onfilter: Option<EventHandler<String>>,
    media: &str,
) -> Element {
    let text = shown(value, kind, zone);
    let clause = if *value == Value::Null { None } else { clauses(column, value, kind) };
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
        (Value::Text(text), Some(Kind::Json)) => match messages(text) {
            Some(said) => rsx! {
                Talk { said }
                details { class: "raw",
                    summary { "as JSON" }
                    Body { bytes: text.as_bytes().to_vec() }
                }
            },
            None => rsx! { Body { bytes: text.as_bytes().to_vec() } },
        },
        (Value::Text(full), _) if full.len() > 200 || full.contains('\n') => {
            rsx! { Body { bytes: full.as_bytes().to_vec() } }
        }
        (Value::Text(full), _) if decode::statement(full).is_some() => {
            rsx! { Body { bytes: full.as_bytes().to_vec() } }
        }
        // what stands behind the `?` of an address, by name
        (Value::Text(full), Some(Kind::Text)) if is_query(column) => rsx! {
            {plain(text, "text", None, clause, onfilter)}
            if let Some(pairs) = decode::form(full) {
                table { class: "headers", tbody {
                    for (name , value) in pairs.into_iter().take(MOST_HEADERS) {
                        tr { th { scope: "row", "{name}" } td { span { class: "value", "{value}" } } }
                    }
                } }
            }
        },
        (Value::Text(_), _) => plain(text, "text", None, clause, onfilter),
        (Value::Bytes(bytes), _) => {
            rsx! { Body { bytes: bytes.to_vec(), media: media.to_owned() } }
        }
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

fn is_query(column: &str) -> bool {
    column == "query" || column.ends_with(".query")
}

fn plain(
    text: String,
    class: &'static str,
    exact: Option<String>,
    clause: Option<(String, String)>,
    onfilter: Option<EventHandler<String>>,
) -> Element {
    let copied = text.clone();
    let copy = rsx! {
        button { class: "bare copy", r#type: "button", title: "copy", "aria-label": "copy the value",
            onclick: move |_| browser::copy(&copied), Icon { name: "copy" } }
    };
    match (clause, onfilter) {
        (Some((clause, out)), Some(onfilter)) => {
            let title = match exact {
                Some(exact) => format!("{exact}\nclick: and {clause}"),
                None => format!("click: and {clause}"),
            };
            rsx! {
                button { class: "value {class}", r#type: "button", title, onclick: move |_| onfilter.call(clause.clone()), "{text}" }
                button { class: "bare copy", r#type: "button", title: "and {out}", "aria-label": "keep these rows out", onclick: move |_| onfilter.call(out.clone()), Icon { name: "minus" } }
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
                                let clause = pair_clauses(column, name, value);
                                let text: String = value.chars().take(MOST_CHARS).collect();
                                rsx! {
                                    {plain(text, "text", None, Some(clause), onfilter)}
                                    if let Some(cookies) = decode::cookies(name, value) {
                                        table { class: "headers cookies", tbody {
                                            for (name , value) in cookies.into_iter().take(MOST_HEADERS) {
                                                tr { th { scope: "row", "{name}" } td { span { class: "value", "{value}" } } }
                                            }
                                        } }
                                    }
                                }
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
fn pair_clauses(column: &str, name: &str, value: &str) -> (String, String) {
    let (name, value) = (api::quote_text(name), api::quote_text(value));
    match column.split_once('.') {
        Some((table, column)) => (
            format!("{table} and {column}[{name}] = {value}"),
            format!("{table} and {column}[{name}] != {value}"),
        ),
        None => (format!("{column}[{name}] = {value}"), format!("{column}[{name}] != {value}")),
    }
}

/// A payload in the looks that suit it, with a search in it.
#[component]
pub(crate) fn Body(
    bytes: Vec<u8>,
    /// Its media type, if another column says so.
    #[props(default)]
    media: String,
) -> Element {
    let mut look = use_signal(|| None::<Look>);
    let mut whole = use_signal(|| false);
    let mut wanted = use_signal(String::new);
    // what it can be is found out once for each payload, not for each letter searched
    let known =
        use_memo(use_reactive((&bytes, &media), |(bytes, media)| Known::new(&bytes, &media)));
    let known = known.read();
    if bytes.is_empty() {
        return rsx! { span { class: "null", "empty" } };
    }
    let text = std::str::from_utf8(&bytes).ok();
    let looks = known.looks.clone();
    let current = look().filter(|look| looks.contains(look)).unwrap_or(known.first);
    let limit = if whole() { usize::MAX } else { MOST_CHARS };
    let (content, is_cut) = match current {
        Look::Pretty => cut(known.json.as_deref().unwrap_or_default(), limit),
        Look::Statement => cut(known.statement.as_deref().unwrap_or_default(), limit),
        Look::Markup => cut(known.markup.as_deref().unwrap_or_default(), limit),
        Look::Text => cut(text.unwrap_or_default(), limit),
        Look::Bytes => {
            let most = limit.min(MOST_HEX);
            (hex(bytes.get(..most).unwrap_or(&bytes)), bytes.len() > most)
        }
        Look::Tree | Look::Fields | Look::Form | Look::Image => {
            (text.unwrap_or_default().to_owned(), false)
        }
    };
    let copied = if current == Look::Bytes { hex(&bytes) } else { content.clone() };
    let length = size(bytes.len() as u64);
    let is_text = !matches!(current, Look::Tree | Look::Fields | Look::Form | Look::Image);
    let places = if is_text { places(&content, &wanted.read()) } else { Vec::new() };
    let count = places.len();
    let pieces = match current {
        Look::Pretty => colored(&content),
        Look::Statement => words(&content)
            .into_iter()
            .map(|(token, at)| (token.class(), content.get(at).unwrap_or_default().to_owned()))
            .collect(),
        _ => vec![("", content)],
    };
    let pieces = marked(pieces, &places, wanted.read().len());
    rsx! {
        div { class: "body", "data-testid": "body",
            div { class: "looks", role: "group", "aria-label": "how to show it",
                for it in looks {
                    button { class: if it == current { "on" } else { "" }, r#type: "button", "aria-pressed": it == current,
                        onclick: move |_| look.set(Some(it)), "{it.name()}" }
                }
                if is_text {
                    input { r#type: "search", placeholder: "search", "aria-label": "search in it", "data-testid": "body-search", value: "{wanted}", oninput: move |event| wanted.set(event.value()) }
                    if !wanted.read().is_empty() {
                        span { class: if count == 0 { "note bad" } else { "note" }, role: "status", "{count} found" }
                    }
                }
                span { class: "note size", "{length}" }
                button { class: "bare", r#type: "button", title: "copy", "aria-label": "copy the body", onclick: move |_| browser::copy(&copied), Icon { name: "copy" } }
            }
            match current {
                Look::Tree => rsx! {
                    div { class: "tree", if let Some(node) = &known.tree { {branch(node, 0, &mut { MOST_NODES })} } }
                },
                Look::Fields => rsx! {
                    div { class: "tree", if let Some(node) = &known.fields { {branch(node, 0, &mut { MOST_NODES })} } }
                },
                Look::Form => rsx! {
                    table { class: "headers", tbody {
                        for (name , value) in known.form.iter().flatten().take(MOST_HEADERS) {
                            tr { th { scope: "row", "{name}" } td { span { class: "value", "{value}" } } }
                        }
                    } }
                },
                Look::Image => rsx! {
                    img { alt: "the payload as an image", src: data_url(known.image.unwrap_or_default(), &bytes) }
                },
                Look::Pretty | Look::Statement | Look::Markup | Look::Text | Look::Bytes => rsx! {
                    pre { tabindex: 0,
                        for (class , is_place , text) in pieces {
                            if is_place {
                                mark { "{text}" }
                            } else if class.is_empty() {
                                "{text}"
                            } else {
                                span { class, "{text}" }
                            }
                        }
                    }
                },
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

/// What a payload can be shown as.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    looks: Vec<Look>,
    first: Look,
    json: Option<String>,
    tree: Option<Node>,
    statement: Option<String>,
    /// Of Protocol Buffers.
    fields: Option<Node>,
    markup: Option<String>,
    form: Option<Vec<(String, String)>>,
    image: Option<&'static str>,
}

impl Known {
    fn new(bytes: &[u8], media: &str) -> Self {
        let text = std::str::from_utf8(bytes).ok();
        let short = text.filter(|text| text.len() <= MOST_JSON);
        let json = short.and_then(pretty);
        let tree = short.filter(|_| json.is_some()).and_then(decode::tree);
        let markup = short.and_then(decode::markup);
        let form = short.filter(|_| media.contains("form-urlencoded")).and_then(decode::form);
        let image = decode::image(bytes);
        let statement = short.and_then(decode::statement);
        let is_readable = text.is_some_and(|text| {
            !text.chars().take(MOST_CHARS).any(|char| char.is_control() && !"\t\r\n".contains(char))
        });
        // what reads as text is no binary message
        let fields = (!is_readable && image.is_none()).then(|| decode::protobuf(bytes)).flatten();
        let looks = [
            (Look::Image, image.is_some()),
            (Look::Pretty, json.is_some()),
            (Look::Tree, tree.is_some()),
            (Look::Fields, fields.is_some()),
            (Look::Statement, statement.is_some()),
            (Look::Form, form.is_some()),
            (Look::Markup, markup.is_some()),
            (Look::Text, text.is_some()),
            (Look::Bytes, true),
        ];
        let looks: Vec<Look> =
            looks.into_iter().filter_map(|(look, can)| can.then_some(look)).collect();
        let first = looks.first().copied().filter(|look| *look != Look::Text || is_readable);
        Self {
            first: first.unwrap_or(Look::Bytes),
            looks,
            json,
            tree,
            statement,
            fields,
            markup,
            form,
            image,
        }
    }
}

/// A node of a tree, with all below it as far as there is room left.
fn branch(node: &Node, depth: usize, left: &mut usize) -> Element {
    if *left == 0 {
        return rsx! { span { class: "null", "…" } };
    }
    *left -= 1;
    let (open, close, count) = match node {
        Node::Text(text) => {
            let (text, is_cut) = cut(text, MOST_CHARS);
            let dots = if is_cut { "…" } else { "" };
            return rsx! { span { class: "string", "\"{text}{dots}\"" } };
        }
        Node::Plain(text) => return rsx! { span { class: "literal", "{text}" } },
        Node::Object(members) => ("{", "}", members.len()),
        Node::List(items) => ("[", "]", items.len()),
    };
    if count == 0 {
        return rsx! { span { "{open}{close}" } };
    }
    let parts: Vec<(String, Element)> = match node {
        Node::Object(members) => members
            .iter()
            .take(MOST_MEMBERS)
            .map(|(name, node)| (name.clone(), branch(node, depth + 1, left)))
            .collect(),
        Node::List(items) => items
            .iter()
            .take(MOST_MEMBERS)
            .enumerate()
            .map(|(at, node)| (at.to_string(), branch(node, depth + 1, left)))
            .collect(),
        Node::Text(_) | Node::Plain(_) => Vec::new(),
    };
    rsx! {
        details { open: depth < 2,
            summary { "{open} " span { class: "null", "{count}" } " {close}" }
            ul {
                for (name , part) in parts {
                    li { span { class: "name", "{name}" } ": " {part} }
                }
                if count > MOST_MEMBERS {
                    li { class: "null", "{count - MOST_MEMBERS} more" }
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    Image,
    Pretty,
    Tree,
    Fields,
    Statement,
    Form,
    Markup,
    Text,
    Bytes,
}

impl Look {
    fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Pretty => "JSON",
            Self::Tree => "tree",
            Self::Fields => "protobuf",
            Self::Statement => "statement",
            Self::Form => "form",
            Self::Markup => "markup",
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
const MOST_NODES: usize = 3_000;
const MOST_MEMBERS: usize = 500;

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
                widget(&value, Some(kind), "gopher.column", 0, Some(onfilter), "")
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
        assert_eq!(pair_clauses("headers", "x-a", "it's").0, "headers['x-a'] = 'it''s'");
        assert_eq!(pair_clauses("gopher.headers", "x", "1").0, "gopher and headers['x'] = '1'");
    }

    #[test]
    fn a_body_that_does_not_read_is_a_dump() {
        let html = dioxus_ssr::render_element(rsx! { Body { bytes: b"\x01\x02ab".to_vec() } });
        assert!(html.contains("000000  01 02 61 62"), "{html}");
    }

    #[test]
    fn a_body_is_shown_as_what_it_is() {
        let look = |bytes: &[u8], media: &str| {
            let (bytes, media) = (bytes.to_vec(), media.to_owned());
            dioxus_ssr::render_element(rsx! { Body { bytes, media } })
        };
        let html = look(b"a=1&b=x%20y", "application/x-www-form-urlencoded");
        assert!(html.contains("<th scope=\"row\">b</th>") && html.contains("x y"), "{html}");
        let html = look(b"<a><b>1</b></a>", "");
        assert!(html.contains("&#60;a&#62;\n  &#60;b&#62;"), "{html}");
        let html = look(b"\x89PNG\r\n\x1a\n", "");
        assert!(html.contains("src=\"data:image/png;base64,"), "{html}");
        let html = look(b"\x08\x96\x01\x12\x03tea", "");
        assert!(html.contains(">protobuf</button>") && html.contains("150"), "{html}");
        let sql = b"SELECT id, total FROM orders WHERE total > 5 ORDER BY id";
        let html = look(sql, "");
        assert!(
            html.contains(">statement</button>") && html.contains("class=\"keyword\">WHERE"),
            "{html}"
        );
        let html = look(b"{\"a\":[1]}", "");
        assert!(html.contains(">tree</button>") && html.contains("body-search"), "{html}");
    }

    #[test]
    fn a_tree_is_bounded() {
        let list =
            Node::List((0..2_000).map(|_| Node::List(vec![Node::Plain("1".into()); 3])).collect());
        let html = dioxus_ssr::render_element(rsx! { {branch(&list, 0, &mut 1_000)} });
        assert!(html.contains("1500 more") && html.contains("…"));
        assert!(html.matches("<details").count() <= 1_000);
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
