//! How the Hub's no looks: the text, the place in it, what is wrong, what to do.

use api::ApiError;
use dioxus::prelude::*;

use crate::filter::marked;

#[component]
pub(crate) fn ErrorNote(text: String, error: ApiError, testid: &'static str) -> Element {
    let place = error.at.filter(|_| !text.is_empty()).map(|at| marked(&text, at));
    rsx! {
        div { class: "error", role: "alert", id: testid, "data-testid": testid,
            if let Some((before, place, after)) = place {
                pre { class: "place", "{before}" mark { "{place}" } "{after}" }
            }
            p { class: "message", "{error.message}" }
            if let Some(hint) = &error.hint {
                p { class: "hint", "{hint}" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_marked_and_text_stays_text() {
        let error = ApiError {
            message: "no column <b>".into(),
            at: Some(api::Span { start: 0, end: 3 }),
            hint: Some("try".into()),
        };
        let html = dioxus_ssr::render_element(
            rsx! { ErrorNote { text: "abc = 1", error, testid: "filter-error" } },
        );
        assert!(html.contains("<mark>abc</mark>"), "{html}");
        assert!(!html.contains("<b>"), "{html}");
        assert!(html.contains("try"), "{html}");
    }
}
