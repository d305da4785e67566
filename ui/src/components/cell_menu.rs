//! What can be done with a value of the list: let it through, keep it out, copy it.

use dioxus::prelude::*;

use super::icon::Icon;
use crate::{
    browser,
    columns::{kind, parts, title},
    settings::zone,
    state::Catalog,
    value::{Row, Value, clauses, shown},
};

/// A cell that was asked about, and where it is on the screen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) column: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// One for each column behind the cell.
    values: Vec<Said>,
}

/// A column, its value, and what lets it through and keeps it out.
type Said = (String, String, Option<(String, String)>);

impl Asked {
    pub(crate) fn new(row: &Row<'_>, column: String, x: f64, y: f64, catalog: Catalog) -> Self {
        let tables = catalog.tables.peek();
        let zone = zone();
        let values = parts(&column)
            .into_iter()
            .filter_map(|name| {
                let value = row.value(name);
                let is_part = parts(&column).len() > 1;
                if value == Value::Null && is_part {
                    return None;
                }
                let kind = kind(name, &tables);
                let text = if value == Value::Null {
                    "null".to_owned()
                } else {
                    shown(&value, kind, zone)
                };
                Some((name.to_owned(), text, clauses(name, &value, kind)))
            })
            .collect();
        Self { column, x, y, values }
    }
}

#[component]
pub(crate) fn CellMenu(
    asked: Asked,
    onfilter: EventHandler<String>,
    onsort: EventHandler<String>,
    onclose: EventHandler<()>,
) -> Element {
    let place = format!(
        "left: min({}px, calc(100vw - 420px)); top: min({}px, calc(100vh - {}px))",
        asked.x,
        asked.y,
        70 + asked.values.len() * 84
    );
    rsx! {
        div { class: "shade", onclick: move |_| onclose.call(()), oncontextmenu: move |event| { event.prevent_default(); onclose.call(()) } }
        div { class: "popover cell-menu", role: "menu", "aria-label": "this value", "data-testid": "cell-menu", style: place,
            for (name , text , clause) in asked.values.clone() {
                p { class: "what", b { "{name}" } " " code { "{text}" } }
                if let Some((pass, keep_out)) = clause {
                    button { r#type: "button", role: "menuitem", "data-testid": "filter-in", onclick: move |_| { onclose.call(()); onfilter.call(pass.clone()) }, Icon { name: "plus" } "Only " code { "{pass}" } }
                    button { r#type: "button", role: "menuitem", "data-testid": "filter-out", onclick: move |_| { onclose.call(()); onfilter.call(keep_out.clone()) }, Icon { name: "minus" } "Without: " code { "{keep_out}" } }
                }
                button { r#type: "button", role: "menuitem", onclick: move |_| { browser::copy(&text); onclose.call(()) }, Icon { name: "copy" } "Copy" }
            }
            button { r#type: "button", role: "menuitem", onclick: { let column = asked.column.clone(); move |_| { onclose.call(()); onsort.call(column.clone()) } }, Icon { name: "down-line" } "Sort by {title(&asked.column)}" }
        }
    }
}
