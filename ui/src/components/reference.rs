//! Which tables and columns there are. A click on a name writes it into the editor.

use dioxus::prelude::*;

use crate::state::{Catalog, hue};

#[component]
pub(crate) fn Reference(onname: EventHandler<String>) -> Element {
    let catalog = use_context::<Catalog>();
    let mut search = use_signal(String::new);
    let tables = catalog.tables.read();
    let words = search.read().to_lowercase();
    rsx! {
        aside { class: "reference", "aria-label": "tables and columns",
            input { r#type: "search", class: "search", placeholder: "search tables and columns", "aria-label": "search tables and columns", value: "{search}",
                oninput: move |event| search.set(event.value()) }
            div { class: "scroll",
                if tables.is_empty() {
                    p { class: "note", "No Worker has announced a table yet." }
                }
                for table in tables.iter() {
                    {
                        let fields: Vec<_> = table.fields.iter()
                            .filter(|field| words.is_empty() || table.name.to_lowercase().contains(&words) || field.name.to_lowercase().contains(&words) || field.doc.to_lowercase().contains(&words))
                            .collect();
                        let name = table.name.to_string();
                        rsx! {
                            if !fields.is_empty() {
                                details { key: "{table.name}", open: !words.is_empty(),
                                    summary {
                                        span { class: "name {hue(&tables, &table.name)}", "{table.name}" }
                                        span { class: "count", "{table.fields.len()}" }
                                    }
                                    p { class: "doc", "{table.doc}" }
                                    button { class: "tool", onclick: move |_| onname.call(name.clone()), "insert the name" }
                                    ul {
                                        for field in fields {
                                            {
                                                let name = field.name.to_string();
                                                rsx! {
                                                    li { title: "{field.doc}",
                                                        button { class: "bare column", onclick: move |_| onname.call(name.clone()), "{field.name}" }
                                                        span { class: "kind", "{field.kind.name()}" }
                                                    }
                                                }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
