//! All columns of one row, in groups.

use api::Kind;
use arrow_array::RecordBatch;
use arrow_schema::Field;
use dioxus::prelude::*;

use super::value::widget;
use crate::{
    settings::zone,
    state::Catalog,
    value::{Value, kind, read, shown},
};

/// A batch of which one row is shown. Batches are equal if they are the same.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) batch: RecordBatch,
    pub(crate) at: usize,
}

impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
            && self.batch.num_rows() == other.batch.num_rows()
            && std::ptr::eq(self.batch.columns(), other.batch.columns())
    }
}

#[component]
pub(crate) fn Record(row: Shown, table: String, onfilter: Option<EventHandler<String>>) -> Element {
    let catalog = use_context::<Catalog>();
    let zone = zone();
    let schema = row.batch.schema();
    let fields = schema.fields();
    let value =
        |at: usize| row.batch.columns().get(at).map_or(Value::Null, |column| read(column, row.at));
    let mut absent = Vec::new();
    let groups: Vec<_> = groups(fields.iter().map(|field| field.name().as_str()))
        .into_iter()
        .filter_map(|(name, members)| {
            let (there, not): (Vec<_>, Vec<_>) =
                members.into_iter().partition(|(_, at)| value(*at) != Value::Null);
            absent.extend(not.iter().filter_map(|(_, at)| Some(fields.get(*at)?.name().clone())));
            (!there.is_empty()).then_some((name, there))
        })
        .collect();
    // what was asked and what was answered stand side by side where there is room
    let (sides, others): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|(name, _)| matches!(name.as_str(), "request" | "response"));
    let (first, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|(name, _)| name.is_empty());
    let show = |(name, members): (String, Vec<(String, usize)>)| {
        rsx! {
            details { class: "group", open: true,
                summary { if name.is_empty() { {if table.is_empty() { "row" } else { table.as_str() }} } else { "{name}" } }
                dl {
                    for (label , at) in members {
                        if let Some(field) = fields.get(at) {
                            {
                                let kind = kind(field);
                                let column = catalog.name(&table, field.name());
                                let media = media(fields.iter().map(|field| field.name().as_str()), field.name());
                                let media = media.map(|at| shown(&value(at), None, zone)).unwrap_or_default();
                                rsx! {
                                    div { class: class(field, kind, &value(at)),
                                        dt { title: doc(field, catalog.doc(&table, field.name())), "{label}" }
                                        dd { {widget(&value(at), kind, &column, zone, onfilter, &media)} }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    rsx! {
        for group in first {
            {show(group)}
        }
        if !sides.is_empty() {
            div { class: "sides",
                for group in sides {
                    div { class: "side", {show(group)} }
                }
            }
        }
        if !others.is_empty() {
            div { class: "sides",
                for group in others {
                    div { class: "side", {show(group)} }
                }
            }
        }
        if !absent.is_empty() {
            p { class: "absent", title: absent.join(", "), "without: {absent.join(\", \")}" }
        }
    }
}

/// Big things take the whole width.
fn class(field: &Field, kind: Option<Kind>, value: &Value<'_>) -> &'static str {
    let is_big = matches!(kind, Some(Kind::Body | Kind::Headers | Kind::Json))
        || matches!(value, Value::Text(text) if text.len() > 200 || text.contains('\n'))
        || field.data_type().is_nested();
    if is_big { "item big" } else { "item" }
}

fn doc(field: &Field, known: Option<String>) -> String {
    let doc = field.metadata().get("doc").filter(|doc| !doc.is_empty()).cloned();
    let doc = doc.or(known).unwrap_or_default();
    if doc.is_empty() { field.name().clone() } else { format!("{}\n{doc}", field.name()) }
}

/// The column that says of what media type a payload is: `request_content_type` of `request_body`.
fn media<'a>(mut names: impl Iterator<Item = &'a str>, name: &str) -> Option<usize> {
    let prefix = name.strip_suffix("_body")?;
    names.position(|other| other.strip_prefix(prefix) == Some("_content_type"))
}

/// Columns by the first word of their names where at least two share it, in their order; what was
/// asked and what was answered come first after what stands alone.
fn groups<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, Vec<(String, usize)>)> {
    let names: Vec<&str> = names.collect();
    let prefix = |name: &'a str| name.split_once('_').map_or("", |(prefix, _)| prefix);
    let mut groups: Vec<(String, Vec<(String, usize)>)> = vec![(String::new(), Vec::new())];
    for (at, name) in names.iter().enumerate() {
        let mut group = prefix(name);
        if names.iter().filter(|other| prefix(other) == group).count() < 2 {
            group = "";
        }
        let label =
            name.strip_prefix(group).unwrap_or(name).trim_start_matches('_').replace('_', " ");
        match groups.iter_mut().find(|(name, _)| name == group) {
            Some((_, members)) => members.push((label, at)),
            None => groups.push((group.to_owned(), vec![(label, at)])),
        }
    }
    groups.sort_by_key(|(name, _)| match name.as_str() {
        "" => 0,
        "request" => 1,
        "response" => 2,
        _ => 3,
    });
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_gather_by_their_first_word() {
        let names = [
            "ts",
            "client_ip",
            "client_port",
            "flow_id",
            "response_bytes",
            "request_bytes",
            "request_headers",
            "response_body",
        ];
        let groups = groups(names.into_iter());
        let look: Vec<_> = groups
            .iter()
            .map(|(name, members)| {
                format!(
                    "{name}: {}",
                    members.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>().join(", ")
                )
            })
            .collect();
        assert_eq!(
            look,
            [
                ": ts, flow id",
                "request: bytes, headers",
                "response: bytes, body",
                "client: ip, port"
            ]
        );
    }

    #[test]
    fn the_media_type_stands_in_the_same_group() {
        let names = ["request_body", "response_content_type", "response_body"];
        assert_eq!(media(names.into_iter(), "response_body"), Some(1));
        assert_eq!(media(names.into_iter(), "request_body"), None);
        assert_eq!(media(names.into_iter(), "response_content_type"), None);
    }

    #[test]
    fn a_row_of_an_unknown_protocol_is_shown_by_its_kinds() {
        #[component]
        fn Show() -> Element {
            let tables = use_signal(|| std::rc::Rc::new(crate::fixture::tables()));
            use_context_provider(|| Catalog { tables });
            let onfilter = use_callback(|_: String| {});
            let row = Shown { batch: crate::fixture::gopher(), at: 0 };
            rsx! { Record { row, table: "gopher", onfilter } }
        }
        let mut dom = VirtualDom::new(Show);
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        for part in [
            "What ts says.",
            ">request<",
            ">response<",
            "accept</th>",
            "&#34;menu&#34;",
            "and client_ip = ",
            "and selector = ",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("<script>"), "{html}");
    }
}
