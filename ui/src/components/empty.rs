//! An empty list that says why it is empty.

use api::QueryRequest;
use dioxus::prelude::*;

use crate::{
    Route,
    browser::Abort,
    client::Session,
    state::{Pulse, emptiness},
    tail::{Line, Live},
    value::{Value, read},
};

#[component]
pub(crate) fn Empty(filter: String) -> Element {
    let session = use_context::<Session>();
    let pulse = use_context::<Pulse>();
    let live = use_context::<Live>();
    // asked once a filter: how much there would be without it
    let unfiltered = use_resource(use_reactive(&filter, move |filter| async move {
        if filter.is_empty() {
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
    let line = live.read().line.clone();
    let has_history = live.read().has_history;
    if let Line::Refused(_) = line {
        return rsx! {
            section { class: "empty", role: "status", "data-testid": "empty",
                h2 { "The Hub does not take this filter" }
                p { "What is wrong stands above." }
                p { class: "actions", Link { to: Route::traffic(""), class: "button", "Clear the filter" } }
            }
        };
    }
    if !has_history && !matches!(line, Line::Waiting { .. } | Line::Refused(_)) {
        return rsx! {
            section { class: "empty", role: "status", "data-testid": "empty", h2 { "Asking for the newest rows" } }
        };
    }
    let workers = pulse.workers.read();
    let known = workers.as_ref().and_then(|it| it.as_ref().ok());
    let known = known.map_or(&[][..], |known| known.workers.as_slice());
    let why = emptiness(pulse.health.read().as_ref(), known, &filter, unfiltered().flatten());
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
                if !filter.is_empty() {
                    Link { to: Route::traffic(""), class: "button", "Clear the filter" }
                }
                Link { to: Route::Workers {}, class: "button", "See the Workers" }
            }
        }
    }
}
