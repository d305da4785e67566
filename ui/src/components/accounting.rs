//! What an answer cost, and whether it is whole.

use api::{Accounting, NodeState};
use dioxus::prelude::*;

use crate::{
    settings::zone,
    value::{duration, grouped, size, time},
};

#[component]
pub(crate) fn Cost(accounting: Accounting) -> Element {
    let count = |state| accounting.nodes.iter().filter(|node| node.state == state).count();
    let (answered, asked) = (count(NodeState::Answered), accounting.nodes.len());
    let silent: Vec<_> =
        accounting.nodes.iter().filter(|node| node.state != NodeState::Answered).collect();
    let names = accounting.nodes.iter().map(|node| {
        format!(
            "{}: {} rows and {} scanned in {}, {} moved{}",
            node.node,
            grouped(node.rows_scanned),
            size(node.bytes_scanned),
            microseconds(node.elapsed_us),
            size(node.bytes_moved),
            range(node.oldest_ms, node.newest_ms)
                .map(|it| format!(", rows {it}"))
                .unwrap_or_default()
        )
    });
    let stages = accounting.stages;
    let stages = format!(
        "planning {}, scanning {}, merging {}",
        microseconds(stages.planning_us),
        microseconds(stages.scanning_us),
        microseconds(stages.merging_us)
    );
    let late = accounting.nodes.iter().filter_map(|node| {
        let since = node.oldest_ms?;
        (since - accounting.oldest_ms? >= LATE_MS).then(|| (node.node.clone(), moment(since)))
    });
    let late: Vec<_> = late.collect();
    let losses = accounting.losses.iter().map(|it| match it.bytes {
        0 => format!("{}: {}", it.stage, grouped(it.count)),
        bytes => format!("{}: {}, {}", it.stage, grouped(it.count), size(bytes)),
    });
    let losses: Vec<_> = losses.collect();
    let lost = accounting.losses.iter().map(|it| it.count).sum::<u64>();
    rsx! {
        span { class: if accounting.complete { "chip good" } else { "chip bad" }, "data-testid": "complete",
            span { class: "dot" }
            if accounting.complete { "complete" } else { "incomplete" }
        }
        if accounting.truncated {
            span { class: "chip warn", title: "a bound on rows cut the answer", span { class: "dot" } "truncated: there is more" }
        }
        span { class: "fact", b { "{grouped(accounting.rows)}" } " rows" }
        span { class: "fact", title: stages, b { "{grouped(accounting.elapsed_ms)}" } " ms" }
        if asked == 0 && accounting.complete {
            // Its own tables need nobody else.
            span { class: "fact", "the hub answered" }
        } else {
            span { class: "fact", title: names.collect::<Vec<_>>().join("\n"), b { "{answered}/{asked}" } " nodes answered" }
        }
        span { class: "fact", b { "{grouped(accounting.rows_scanned)}" } " rows scanned" }
        span { class: "fact", b { "{size(accounting.bytes_scanned)}" } " scanned" }
        span { class: "fact", b { "{size(accounting.bytes_moved)}" } " moved" }
        if let Some(range) = range(accounting.oldest_ms, accounting.newest_ms) {
            span { class: "fact", "data-testid": "covered", title: "what was asked about that there are rows of", "rows {range}" }
        }
        for (node, since) in late {
            span { class: "fact warn", b { "{node}" } " has rows only since {since}" }
        }
        if !losses.is_empty() {
            span { class: "fact warn", "data-testid": "lost", title: losses.join("\n"), b { "{grouped(lost)}" } " lost in that time" }
        }
        for node in silent {
            span { class: "fact bad", title: node.reason.clone(),
                b { "{node.node}" }
                if node.state == NodeState::Failed { " failed" } else { " is missing" }
                if let Some(reason) = &node.reason { ": {reason}" }
            }
        }
    }
}

fn range(oldest_ms: Option<i64>, newest_ms: Option<i64>) -> Option<String> {
    Some(format!("{} to {}", moment(oldest_ms?), moment(newest_ms?)))
}

/// To the second, in this place's time.
fn moment(ms: i64) -> String {
    let text = time(ms.saturating_mul(1_000_000), zone());
    text.split('.').next().unwrap_or_default().to_owned()
}

fn microseconds(us: u64) -> String {
    duration(i64::try_from(us).unwrap_or(i64::MAX).saturating_mul(1_000))
}

/// A node that has rows so much less far back than another is named.
const LATE_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use api::{Loss, NodeAccounting};

    use super::*;

    #[test]
    fn a_node_that_failed_is_named() {
        let accounting = Accounting {
            rows: 1234,
            nodes: vec![
                NodeAccounting {
                    node: "a".into(),
                    state: NodeState::Answered,
                    oldest_ms: Some(0),
                    ..NodeAccounting::default()
                },
                NodeAccounting {
                    node: "c".into(),
                    state: NodeState::Answered,
                    oldest_ms: Some(3_600_000),
                    ..NodeAccounting::default()
                },
                NodeAccounting {
                    node: "b".into(),
                    state: NodeState::Failed,
                    reason: Some("killed".into()),
                    ..NodeAccounting::default()
                },
            ],
            oldest_ms: Some(0),
            newest_ms: Some(7_200_000),
            losses: vec![Loss { stage: "kernel".into(), count: 12, bytes: 0 }],
            ..Accounting::default()
        };
        let html = dioxus_ssr::render_element(rsx! { Cost { accounting } });
        for part in [
            "incomplete",
            "1,234",
            "2/3",
            "<b>c</b> has rows only since",
            "<b>12</b> lost",
            "kernel: 12",
            "<b>b</b> failed: killed",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
