//! An empty list that says why it is empty.

use api::QueryRequest;
use dioxus::prelude::*;

use crate::{
    Route,
    browser::Abort,
    client::Session,
    range::Range,
    state::{Pulse, emptiness},
    tail::{Line, Live},
    value::{Value, read},
};

#[component]
pub(crate) fn Empty(
    filter: String,
    range: Range,
    onrange: EventHandler<Range>,
    onfilter: EventHandler<String>,
) -> Element {
    let session = use_context::<Session>();
    let pulse = use_context::<Pulse>();
    let live = use_context::<Live>();
    // asked once a filter: how much there would be without it
    let asked = range.clone();
    let unfiltered =
        use_resource(use_reactive((&filter, &asked), move |(filter, range)| async move {
            if filter.is_empty() && range.is_all() {
                return None;
            }
            let question = QueryRequest::sql("SELECT count(*) FROM traffic");
            let answer = session.ask(question, &Abort::new()).await.ok()?;
            let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0)?;
            match read(batch.columns().first()?, 0) {
                Value::Int(rows) => u64::try_from(rows).ok(),
                Value::Uint(rows) => Some(rows),
                _ => None,
            }
        }));
    let line = live.line();
    let has_history = live.read().has_history;
    if let Line::Refused(_) = line {
        return rsx! {
            section { class: "empty", role: "status", "data-testid": "empty",
                h2 { "The Hub does not take this filter" }
                p { "What is wrong stands above." }
                p { class: "actions", button { class: "button", onclick: move |_| onfilter.call(String::new()), "Clear the filter" } }
            }
        };
    }
    if !has_history && !matches!(line, Line::Waiting { .. } | Line::Refused(_)) {
        return rsx! {
            section { class: "empty", role: "status", "data-testid": "empty", h2 { "Asking for the newest rows" } }
        };
    }
    // whoever did not get an answer does not know whether there are rows
    let missing = live.read().history_error.clone();
    if let (Some(error), true) = (missing, has_history) {
        return rsx! {
            section { class: "empty", role: "status", "data-testid": "empty",
                h2 { "The rows that are kept could not be fetched" }
                p { "{error.message}" }
                if let Some(hint) = &error.hint { p { "{hint}" } }
                p { class: "actions",
                    button { class: "button", "data-testid": "ask-again", onclick: move |_| { let mut live = live.clone(); live.retry() }, "Ask again" }
                }
            }
        };
    }
    let workers = pulse.workers.read();
    let known = workers.as_ref().and_then(|it| it.as_ref().ok());
    let known = known.map_or(&[][..], |known| known.workers.as_slice());
    let is_narrow = !filter.is_empty() || !range.is_all();
    let why = emptiness(
        pulse.health.read().as_ref(),
        known,
        is_narrow.then_some(range.is_all()),
        unfiltered().flatten(),
    );
    rsx! {
        section { class: "empty", role: "status", "data-testid": "empty",
            h2 { "{why.title}" }
            p { "{why.text}" }
            if !why.nodes.is_empty() {
                dl { class: "reasons",
                    for (node , reason) in why.nodes {
                        dt { "{node}" }
                        dd { "{reason}" }
                    }
                }
            }
            p { class: "actions",
                if !range.is_all() {
                    button { class: "button", onclick: move |_| onrange.call(Range::default()), "Look at any time" }
                }
                if !filter.is_empty() {
                    button { class: "button", onclick: move |_| onfilter.call(String::new()), "Clear the filter" }
                }
                Link { to: Route::Workers {}, class: "button", "See the Workers" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api::ApiError;

    use super::*;
    use crate::{client::Failure, tail::Tail};

    #[test]
    fn who_got_no_answer_does_not_say_that_nothing_matches() {
        #[component]
        fn Show() -> Element {
            Session::provide();
            let health = use_signal(|| None);
            let workers = use_signal(|| None);
            use_context_provider(|| Pulse { health, workers });
            use_context_provider(|| {
                let mut tail = Tail::new();
                tail.history(Err(Failure::Refused(ApiError::new("no answer within 10 s"))));
                tail.line = Line::Past;
                Live::with(tail)
            });
            let onrange = use_callback(|_: Range| {});
            let onfilter = use_callback(|_: String| {});
            rsx! { Empty { filter: "failed", range: Range::default(), onrange, onfilter } }
        }
        let mut dom = VirtualDom::new(Show);
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        assert!(
            html.contains("could not be fetched") && html.contains("no answer within 10 s"),
            "{html}"
        );
        assert!(!html.contains("No row matches"), "{html}");
    }
}
