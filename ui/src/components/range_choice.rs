//! The choice of a time, as on every page that asks about one.

use dioxus::prelude::*;

use super::icon::Icon;
use crate::{
    range::{PRESETS, Range},
    settings::zone,
};

#[component]
pub(crate) fn RangeChoice(range: Range, onrange: EventHandler<Range>) -> Element {
    let mut is_open = use_signal(|| false);
    let mut from = use_signal(|| range.from.clone());
    let mut to = use_signal(|| range.to.clone());
    use_effect(use_reactive(&range, move |range| {
        from.set(range.from);
        to.set(range.to);
    }));
    let draft = Range::new(from.read().trim(), to.read().trim());
    let is_valid = draft.is_valid();
    rsx! {
        div { class: "menu",
            onkeydown: move |event| {
                if event.key() == Key::Escape && is_open() {
                    event.stop_propagation();
                    is_open.set(false);
                }
            },
            button { class: "tool", r#type: "button", "aria-expanded": is_open(), "aria-haspopup": "dialog", "data-testid": "range", title: "which time",
                onclick: move |_| is_open.toggle(),
                Icon { name: "clock" }
                "{range.label(zone())}"
                Icon { name: "down" }
            }
            if is_open() {
                div { class: "shade", onclick: move |_| is_open.set(false) }
                div { class: "popover range", role: "dialog", "aria-label": "time",
                    ul {
                        for (age , name) in PRESETS {
                            li {
                                button { r#type: "button", class: if range.to.is_empty() && range.from == age { "on" } else { "" },
                                    onclick: move |_| {
                                        is_open.set(false);
                                        onrange.call(Range::new(age, ""));
                                    },
                                    "{name}"
                                }
                            }
                        }
                    }
                    form {
                        onsubmit: move |event| {
                            event.prevent_default();
                            let draft = Range::new(from.peek().trim(), to.peek().trim());
                            if draft.is_valid() {
                                is_open.set(false);
                                onrange.call(draft);
                            }
                        },
                        label { "from"
                            input { "aria-label": "from", value: "{from}", placeholder: "15m or 2026-11-22T07:47:10Z", spellcheck: "false", oninput: move |event| from.set(event.value()) }
                        }
                        label { "to"
                            input { "aria-label": "to", value: "{to}", placeholder: "now", spellcheck: "false", oninput: move |event| to.set(event.value()) }
                        }
                        p { class: if is_valid { "note" } else { "note bad" }, "An age such as 90s, 15m, 24h, 7d, or a time in UTC. Left empty it is open." }
                        button { class: "primary", r#type: "submit", disabled: !is_valid, "Set" }
                    }
                }
            }
        }
    }
}
