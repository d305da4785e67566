//! Asks for the Hub's token.

use dioxus::prelude::*;

use crate::client::Session;

#[component]
pub(crate) fn Token(session: Session) -> Element {
    let mut draft = use_signal(String::new);
    rsx! {
        div { class: "veil",
            form { class: "dialog", role: "dialog", "aria-modal": "true", "aria-labelledby": "token-title",
                onsubmit: move |event| {
                    event.prevent_default();
                    let token = draft.peek().trim().to_owned();
                    if !token.is_empty() {
                        session.give(token);
                    }
                },
                h2 { id: "token-title", "This Hub asks for a token" }
                p { "It is the one the Hub was started with. This tab keeps it until it is closed." }
                label { r#for: "token", "Token" }
                input { id: "token", "data-testid": "token", r#type: "password", autofocus: true, autocomplete: "off", value: "{draft}",
                    oninput: move |event| draft.set(event.value()) }
                button { class: "primary", r#type: "submit", "Continue" }
            }
        }
    }
}
