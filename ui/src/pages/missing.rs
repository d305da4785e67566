//! An address that leads nowhere.

use dioxus::prelude::*;

use crate::Route;

#[component]
pub(crate) fn Missing(path: Vec<String>) -> Element {
    let path = path.join("/");
    rsx! {
        section { class: "empty", role: "status",
            h2 { "There is no page here" }
            p { "Nothing lies at " code { "/{path}" } "." }
            Link { to: Route::traffic("", &Default::default()), class: "button", "To the traffic" }
        }
    }
}
