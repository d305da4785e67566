//! Asks for the Hub's token.

use dioxus::prelude::*;

use crate::client::{Failure, Session};

#[component]
pub(crate) fn Token(session: Session) -> Element {
    let mut draft = use_signal(String::new);
    let mut wrong = use_signal(|| None::<String>);
    let submit = move |event: FormEvent| {
        event.prevent_default();
        let token = draft.peek().trim().to_owned();
        if token.is_empty() {
            return;
        }
        spawn(async move {
            wrong.set(match session.give(&token).await {
                Ok(()) => None,
                Err(Failure::Token) => Some("That is not the token of this Hub.".to_owned()),
                Err(failure) => Some(failure.error().to_string()),
            });
        });
    };
    rsx! {
        div { class: "veil",
            form { class: "dialog", role: "dialog", "aria-modal": "true", "aria-labelledby": "token-title", onsubmit: submit,
                h2 { id: "token-title", "This Hub asks for a token" }
                p { "It is the one the Hub was started with. The browser keeps it for this Hub alone." }
                label { r#for: "token", "Token" }
                input { id: "token", "data-testid": "token", r#type: "password", autofocus: true, autocomplete: "off", value: "{draft}",
                    oninput: move |event| draft.set(event.value()) }
                if let Some(wrong) = &*wrong.read() {
                    p { class: "bad", role: "alert", "{wrong}" }
                }
                button { class: "primary", r#type: "submit", "Continue" }
            }
        }
    }
}
