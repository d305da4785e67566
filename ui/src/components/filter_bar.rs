//! The filter bar. Enter asks the Hub whether the text is a filter; only then it is in force.

use api::ApiError;
use dioxus::prelude::*;

use super::{error::ErrorNote, icon::Icon};
use crate::{
    Route, browser,
    client::{Failure, Session},
    tail::{Line, Live},
};

#[component]
pub(crate) fn FilterBar(filter: String, wrong: Signal<Option<(String, ApiError)>>) -> Element {
    let session = use_context::<Session>();
    let live = use_context::<Live>();
    let mut draft = use_signal(|| filter.clone());
    let mut wrong = wrong;
    use_effect(move || {
        if let Some((tried, _)) = &*wrong.read() {
            draft.set(tried.clone());
        }
    });
    use_effect(use_reactive(&filter, move |filter| {
        draft.set(filter);
        wrong.set(None);
    }));
    let apply = use_callback(move |text: String| async move {
        let text = text.trim().to_owned();
        match session.check(&text).await {
            Err(Failure::Refused(error)) => wrong.set(Some((text, error))),
            // the tail says so itself if the Hub is away
            Ok(()) | Err(_) => {
                wrong.set(None);
                navigator().push(Route::traffic(&text));
            }
        }
    });
    let refused = match &live.read().line {
        Line::Refused(error) if *draft.read() == live.filter() => {
            Some((live.filter(), error.clone()))
        }
        _ => None,
    };
    let error = wrong.cloned().or(refused);
    let described = if error.is_some() { "filter-error" } else { "filter-hint" };
    rsx! {
        form { class: "filter", role: "search",
            onsubmit: move |event| {
                event.prevent_default();
                let text = draft.peek().clone();
                spawn(async move { apply.call(text).await });
            },
            div { class: if error.is_some() { "field wrong" } else { "field" },
                Icon { name: "search" }
                input { id: "filter", "data-testid": "filter", r#type: "text", value: "{draft}",
                    "aria-label": "filter", "aria-describedby": described, "aria-invalid": if error.is_some() { "true" } else { "false" },
                    placeholder: "filter rows, e.g.  failed  ·  duration > 100ms  ·  client_ip = '10.0.0.7' and status >= 500",
                    spellcheck: "false", autocomplete: "off", autocapitalize: "off",
                    oninput: move |event| draft.set(event.value()),
                    onkeydown: move |event| {
                        if event.key() == Key::Escape {
                            draft.set(live.filter());
                            wrong.set(None);
                            browser::focus("rows");
                        }
                    }
                }
                if !draft.read().is_empty() {
                    button { class: "bare", r#type: "button", title: "clear the filter", "aria-label": "clear the filter",
                        onclick: move |_| {
                            draft.set(String::new());
                            spawn(async move { apply.call(String::new()).await });
                        },
                        Icon { name: "close" }
                    }
                } else {
                    kbd { title: "press / to write a filter", "/" }
                }
            }
            button { class: "primary", r#type: "submit", id: "filter-apply", "data-testid": "filter-apply", "Apply" }
        }
        if let Some((text, error)) = &error {
            ErrorNote { text: text.clone(), error: error.clone(), testid: "filter-error",
                on_instead: move |instead: String| {
                    draft.set(instead.clone());
                    spawn(async move { apply.call(instead).await });
                }
            }
        }
    }
}
