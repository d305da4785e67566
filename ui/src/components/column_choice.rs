//! Which columns the list shows, and in which order.

use dioxus::prelude::*;

use super::icon::Icon;
use crate::{
    columns::{DEFAULT, ENDS, SIZE, shown_columns, title},
    state::Catalog,
};

#[component]
pub(crate) fn ColumnChoice(columns: String, onchoose: EventHandler<String>) -> Element {
    let catalog = use_context::<Catalog>();
    let mut is_open = use_signal(|| false);
    let mut search = use_signal(String::new);
    let now = shown_columns(if columns.is_empty() { DEFAULT } else { &columns }, f64::INFINITY);
    let tables = catalog.tables.read();
    let known: Vec<(String, String)> = tables
        .iter()
        .find(|table| table.name == "traffic")
        .map(|table| {
            table
                .fields
                .iter()
                .map(|field| (field.name.to_string(), field.doc.to_string()))
                .collect()
        })
        .unwrap_or_default();
    let words = search.read().to_lowercase();
    let others: Vec<(String, String)> = [
        (ENDS.to_owned(), "Who asked whom, by the best name known.".to_owned()),
        (SIZE.to_owned(), "Bytes of request and response.".to_owned()),
    ]
    .into_iter()
    .chain(known.clone())
    .filter(|(name, _)| !now.contains(name) && (words.is_empty() || name.contains(&words)))
    .collect();
    let choose = use_callback(move |names: Vec<String>| {
        let text = names.join(",");
        onchoose.call(if text == DEFAULT { String::new() } else { text });
    });
    let swapped = |at: usize, with: usize| {
        let mut names = now.clone();
        if with < names.len() {
            names.swap(at, with);
        }
        names
    };
    rsx! {
        div { class: "menu",
            onkeydown: move |event| {
                if event.key() == Key::Escape && is_open() {
                    event.stop_propagation();
                    is_open.set(false);
                }
            },
            button { class: "tool", r#type: "button", "aria-expanded": is_open(), "data-testid": "columns", title: "which columns", onclick: move |_| is_open.toggle(),
                Icon { name: "columns" } "Columns"
            }
            if is_open() {
                div { class: "shade", onclick: move |_| is_open.set(false) }
                div { class: "popover right columns", role: "dialog", "aria-label": "columns",
                    ul {
                        for (at , name) in now.iter().enumerate() {
                            li {
                                label { input { r#type: "checkbox", checked: true,
                                        onchange: { let mut rest = now.clone(); rest.remove(at); move |_| if !rest.is_empty() { choose.call(rest.clone()) } } }
                                    "{title(name)}" }
                                button { class: "bare", r#type: "button", title: "earlier", "aria-label": "move {name} earlier", disabled: at == 0,
                                    onclick: { let names = swapped(at, at.saturating_sub(1)); move |_| choose.call(names.clone()) }, Icon { name: "up" } }
                                button { class: "bare", r#type: "button", title: "later", "aria-label": "move {name} later", disabled: at + 1 == now.len(),
                                    onclick: { let names = swapped(at, at + 1); move |_| choose.call(names.clone()) }, Icon { name: "down-line" } }
                            }
                        }
                    }
                    input { r#type: "search", class: "search", placeholder: "add a column", "aria-label": "search columns", value: "{search}", oninput: move |event| search.set(event.value()) }
                    ul { class: "others",
                        for (name , doc) in others {
                            li { title: "{doc}",
                                label { input { r#type: "checkbox", checked: false,
                                        onchange: { let mut names = now.clone(); names.push(name.clone()); move |_| choose.call(names.clone()) } }
                                    "{title(&name)}" span { class: "doc", "{doc}" } }
                            }
                        }
                    }
                    button { class: "tool", r#type: "button", onclick: move |_| choose.call(Vec::new()), "As at first" }
                }
            }
        }
    }
}
