//! Where the rows come from.

use api::{InputKind, WorkerState, WorkerStatus};
use dioxus::prelude::*;

use crate::{
    browser,
    client::Failure,
    components::error::ErrorNote,
    state::{Catalog, Pulse, hue},
    value::{duration, grouped, size, time},
};

#[component]
pub(crate) fn Workers() -> Element {
    let pulse = use_context::<Pulse>();
    let now_ms = browser::now_ms() as i64;
    let state = pulse.workers.read();
    rsx! {
        section { class: "workers", id: "workers", "data-testid": "workers",
            match &*state {
                None => rsx! { div { class: "empty", role: "status", h2 { "Asking the Hub" } } },
                Some(Err(failure @ Failure::Token)) => rsx! { ErrorNote { text: "", error: failure.error(), testid: "workers-error" } },
                Some(Err(failure)) => rsx! { ErrorNote { text: "", error: failure.error(), testid: "workers-error" } },
                Some(Ok(workers)) if workers.workers.is_empty() => rsx! {
                    div { class: "empty", role: "status", h2 { "No Worker has dialled this Hub" }
                        p { "Start one beside the traffic, with this Hub's address and token. " code { "kubeshark worker --help" } " says how." } }
                },
                Some(Ok(workers)) => rsx! {
                    for worker in workers.workers.iter() {
                        Worker { key: "{worker.node}", worker: worker.clone(), now_ms }
                    }
                },
            }
        }
    }
}

#[component]
fn Worker(worker: WorkerState, now_ms: i64) -> Element {
    let catalog = use_context::<Catalog>();
    let zone = use_hook(browser::zone_secs);
    let health = &worker.health;
    let ago = |ms: i64| duration((now_ms - ms).max(0).saturating_mul(1_000_000));
    let (class, state) = match (worker.status, health.capturing) {
        (WorkerStatus::Gone, _) => ("chip bad", "gone".to_owned()),
        (WorkerStatus::Connected, true) => ("chip good", "capturing".to_owned()),
        (WorkerStatus::Connected, false) => ("chip warn", "not capturing".to_owned()),
    };
    let dropped = health.dropped_kernel + health.dropped_interface;
    let share = dropped as f64 * 100.0 / (dropped + health.packets).max(1) as f64;
    let at = |ms: Option<i64>| {
        ms.map_or_else(
            || "–".to_owned(),
            |ms| time(ms.saturating_mul(1_000_000), zone).chars().take(19).collect(),
        )
    };
    rsx! {
        article { class: if worker.status == WorkerStatus::Gone { "worker gone" } else { "worker" }, "data-testid": "worker",
            header {
                h2 { "{worker.node}" }
                span { class, span { class: "dot" } "{state}" }
                span { class: "fact", "version {worker.version}" }
                if worker.status == WorkerStatus::Connected {
                    span { class: "fact", "connected for {ago(worker.connected_since_ms)}" }
                } else {
                    span { class: "fact bad", "last heard {ago(worker.last_heard_ms)} ago" }
                }
                span { class: "fact", {worker.address.clone().unwrap_or_else(|| "in the Hub's process".to_owned())} }
            }
            for reason in [&worker.reason, &health.empty_because, &health.last_error].into_iter().flatten() {
                p { class: "reason", "{reason}" }
            }
            dl { class: "gauges",
                Gauge { name: "packets", value: format!("{}/s", grouped(health.packets_per_s as u64)), note: grouped(health.packets) }
                Gauge { name: "traffic", value: format!("{}/s", size(health.bytes_per_s as u64)), note: size(health.bytes) }
                Gauge { name: "rows", value: format!("{}/s", grouped(health.rows_per_s as u64)),
                    note: grouped(health.tables.iter().map(|table| table.rows).sum()) }
                Gauge { name: "dropped", value: grouped(dropped), note: format!("{share:.2} % of packets"), bad: dropped > 0 }
                Gauge { name: "open flows", value: grouped(health.flows), note: format!("{} live tails", health.tails) }
                Gauge { name: "disk", value: size(health.disk_bytes), note: format!("{} segments", health.tables.iter().map(|table| table.segments).sum::<u64>()) }
                Gauge { name: "memory", value: size(health.memory_bytes), note: "resident" }
                Gauge { name: "link", value: size(worker.link_received_bytes), note: format!("{} sent", size(worker.link_sent_bytes)) }
            }
            div { class: "columns",
                table {
                    caption { "captures from" }
                    thead { tr { th { "input" } th { "filter" } th { "state" } } }
                    tbody {
                        for input in health.inputs.iter() {
                            tr {
                                td { code { "{input.name}" } " "
                                    span { class: "kind", match input.kind { InputKind::Interface => "interface", InputKind::File => "file", InputKind::Stdin => "standard input" } } }
                                td { code { {input.filter.clone().unwrap_or_else(|| "–".to_owned())} } }
                                td {
                                    if let Some(error) = &input.error {
                                        span { class: "bad", "{error}" }
                                    } else if input.active {
                                        span { class: "good", "reading" }
                                    } else {
                                        "ended"
                                    }
                                    if let (Some(read), Some(total)) = (input.read_bytes, input.total_bytes) {
                                        " "
                                        progress { max: "{total.max(1)}", value: "{read}", "aria-label": "read" }
                                        " {size(read)} of {size(total)}"
                                    }
                                }
                            }
                        }
                        if health.inputs.is_empty() {
                            tr { td { colspan: 3, class: "null", "nothing: it was started without an input, or has not said yet" } }
                        }
                    }
                    if !health.losses.is_empty() {
                        thead { tr { th { colspan: 2, "not seen or not kept" } th { class: "right", "count" } } }
                        tbody {
                            for (stage , count) in health.losses.iter() {
                                tr { td { colspan: 2, "{stage}" } td { class: "right warn", "{grouped(*count)}" } }
                            }
                        }
                    }
                }
                table {
                    caption { "tables" }
                    thead { tr { th { "table" } th { class: "right", "rows" } th { class: "right", "on disk" } th { class: "right", "segments" } th { "oldest" } th { "newest" } } }
                    tbody {
                        for table in health.tables.iter() {
                            tr {
                                td { class: "name {hue(&catalog.tables.read(), &table.name)}", "{table.name}" }
                                td { class: "right", "{grouped(table.rows)}" }
                                td { class: "right", "{size(table.bytes)}" }
                                td { class: "right", "{table.segments}" }
                                td { "{at(table.oldest_ms)}" }
                                td { "{at(table.newest_ms)}" }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn Gauge(name: &'static str, value: String, note: String, #[props(default)] bad: bool) -> Element {
    rsx! {
        div { class: if bad { "gauge bad" } else { "gauge" },
            dt { "{name}" }
            dd { "{value}" }
            dd { class: "note", "{note}" }
        }
    }
}

#[cfg(test)]
mod tests {
    use api::{Input, NodeHealth, TableState};

    use super::*;
    use crate::state::Catalog;

    #[test]
    fn a_worker_says_what_it_captures_and_what_it_lost() {
        #[component]
        fn Show() -> Element {
            let tables = use_signal(std::rc::Rc::default);
            use_context_provider(|| Catalog { tables });
            let worker = WorkerState {
                node: "node-1".into(),
                status: WorkerStatus::Connected,
                health: NodeHealth {
                    capturing: true,
                    packets: 900,
                    dropped_kernel: 100,
                    inputs: vec![Input {
                        name: "eth7".into(),
                        error: Some(api::ApiError::new("it does not exist")),
                        ..Input::default()
                    }],
                    tables: vec![TableState {
                        name: "gopher".into(),
                        rows: 12_345,
                        ..TableState::default()
                    }],
                    losses: [("fragments".to_owned(), 3)].into(),
                    ..NodeHealth::default()
                },
                ..WorkerState::default()
            };
            rsx! { Worker { worker, now_ms: 0 } }
        }
        let mut dom = VirtualDom::new(Show);
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        for part in [
            "node-1",
            "capturing",
            "eth7",
            "it does not exist",
            "gopher",
            "12,345",
            "10.00 % of packets",
            "fragments",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
