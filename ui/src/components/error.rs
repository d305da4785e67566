//! How the Hub's no looks: the text, the place in it, what is wrong, what to do.

use api::ApiError;
use dioxus::prelude::*;

use crate::filter::marked;

#[component]
pub(crate) fn ErrorNote(
    text: String,
    error: ApiError,
    testid: &'static str,
    /// Takes what could be asked instead.
    on_instead: Option<EventHandler<String>>,
) -> Element {
    let place = error.at.filter(|_| !text.is_empty()).map(|at| marked(&text, at));
    rsx! {
        div { class: "error", role: "alert", id: testid, "data-testid": testid,
            if let Some((before, place, after)) = place {
                pre { class: "place", "{before}" mark { "{place}" } "{after}" }
            }
            p { class: "message", "{error.message}" }
            if let Some(instead) = error.instead.clone() {
                p { class: "instead",
                    "This is KFL; as a filter: "
                    code { "{instead}" }
                    if let Some(take) = on_instead {
                        button { class: "tool", r#type: "button", "data-testid": "{testid}-use",
                            onclick: move |_| take.call(instead.clone()),
                            "Use"
                        }
                    }
                }
            } else if let Some(hint) = &error.hint {
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
            instead: None,
        };
        let html = dioxus_ssr::render_element(
            rsx! { ErrorNote { text: "abc = 1", error, testid: "filter-error" } },
        );
        assert!(html.contains("<mark>abc</mark>"), "{html}");
        assert!(!html.contains("<b>"), "{html}");
        assert!(html.contains("try"), "{html}");
    }

    #[test]
    fn a_filter_that_is_kfl_is_offered_as_one_of_ours() {
        let error = ApiError {
            hint: Some("did you mean status?".into()),
            instead: Some("http.status >= 500".into()),
            ..ApiError::new("there is no column status_code")
        };
        let html = dioxus_ssr::render_element(
            rsx! { ErrorNote { text: "status_code >= 500", error, testid: "filter-error" } },
        );
        assert!(html.contains("as a filter: <code>http.status &#62;= 500</code>"), "{html}");
        assert!(!html.contains("did you mean"), "{html}");
        // Where nobody takes it, there is nothing to press.
        assert!(!html.contains("<button"), "{html}");
    }
}
