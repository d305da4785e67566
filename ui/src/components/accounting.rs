//! What an answer cost, and whether it is whole.

use api::{Accounting, NodeState};
use dioxus::prelude::*;

use crate::value::{grouped, size};

#[component]
pub(crate) fn Cost(accounting: Accounting) -> Element {
    let count = |state| accounting.nodes.iter().filter(|node| node.state == state).count();
    let (answered, asked) = (count(NodeState::Answered), accounting.nodes.len());
    let silent: Vec<_> =
        accounting.nodes.iter().filter(|node| node.state != NodeState::Answered).collect();
    let names = accounting.nodes.iter().map(|node| {
        format!(
            "{}: {} rows and {} scanned, {} moved",
            node.node,
            grouped(node.rows_scanned),
            size(node.bytes_scanned),
            size(node.bytes_moved)
        )
    });
    rsx! {
        span { class: if accounting.complete { "chip good" } else { "chip bad" }, "data-testid": "complete",
            span { class: "dot" }
            if accounting.complete { "complete" } else { "incomplete" }
        }
        if accounting.truncated {
            span { class: "chip warn", title: "a bound on rows cut the answer", span { class: "dot" } "truncated: there is more" }
        }
        span { class: "fact", b { "{grouped(accounting.rows)}" } " rows" }
        span { class: "fact", b { "{grouped(accounting.elapsed_ms)}" } " ms" }
        span { class: "fact", title: names.collect::<Vec<_>>().join("\n"), b { "{answered}/{asked}" } " nodes answered" }
        span { class: "fact", b { "{grouped(accounting.rows_scanned)}" } " rows scanned" }
        span { class: "fact", b { "{size(accounting.bytes_scanned)}" } " scanned" }
        span { class: "fact", b { "{size(accounting.bytes_moved)}" } " moved" }
        for node in silent {
            span { class: "fact bad", title: node.reason.clone(),
                b { "{node.node}" }
                if node.state == NodeState::Failed { " failed" } else { " is missing" }
                if let Some(reason) = &node.reason { ": {reason}" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api::NodeAccounting;

    use super::*;

    #[test]
    fn a_node_that_failed_is_named() {
        let accounting = Accounting {
            rows: 1234,
            nodes: vec![
                NodeAccounting {
                    node: "a".into(),
                    state: NodeState::Answered,
                    ..NodeAccounting::default()
                },
                NodeAccounting {
                    node: "b".into(),
                    state: NodeState::Failed,
                    reason: Some("killed".into()),
                    ..NodeAccounting::default()
                },
            ],
            ..Accounting::default()
        };
        let html = dioxus_ssr::render_element(rsx! { Cost { accounting } });
        for part in ["incomplete", "1,234", "1/2", "<b>b</b> failed: killed"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
