//! Which keys do what.

use dioxus::prelude::*;

use super::icon::Icon;
use crate::browser;

#[component]
pub(crate) fn Help(onclose: EventHandler<()>) -> Element {
    use_effect(|| browser::focus("help-close"));
    rsx! {
        div { class: "veil", onclick: move |_| onclose.call(()),
            section { class: "dialog help", role: "dialog", "aria-modal": "true", "aria-labelledby": "help-title", "data-testid": "help", onclick: move |event| event.stop_propagation(),
                header { h2 { id: "help-title", "Keys and clicks" }
                    button { class: "bare", id: "help-close", title: "close (esc)", "aria-label": "close", onclick: move |_| onclose.call(()), Icon { name: "close" } } }
                dl {
                    for (keys , what) in KEYS {
                        dt { for key in keys.split(' ') { kbd { "{key}" } } }
                        dd { "{what}" }
                    }
                }
            }
        }
    }
}

const KEYS: [(&str, &str); 16] = [
    ("j k", "the next row, the row before"),
    ("↓ ↑", "the same"),
    ("↵", "open the row"),
    ("x", "pick the row, or leave it out again"),
    ("c", "compare two picked rows; of more, the last two"),
    ("esc", "close what is open, forget what is picked; then follow the newest"),
    ("/", "write a filter"),
    ("p", "hold the list still, or let it follow"),
    ("g", "back to the newest row"),
    ("?", "this list"),
    ("click", "open a row; in its details: only rows with that value"),
    ("ctrl+click shift+click", "pick a row; all rows up to it"),
    ("right-click", "a cell of the list: only these, without these, copy, sort"),
    ("drag", "over bars or charts: set the time"),
    ("tab", "in the filter: take what is offered"),
    ("ctrl+↵", "in SQL: run the statement"),
];
