//! Where the rows come from.

use api::{
    ClusterState, Dissection, InputKind, QueryRequest, TracingState, WorkerState, WorkerStatus,
    processes_sql,
};
use dioxus::prelude::*;

use crate::{
    browser::{self, Abort},
    client::{Answer, Failure, Session},
    components::{error::ErrorNote, targeting::Targeted},
    settings::zone,
    state::{Catalog, Pulse, hue},
    value::{Row, duration, grouped, size, time},
};

#[component]
pub(crate) fn Workers() -> Element {
    let pulse = use_context::<Pulse>();
    let now_ms = browser::now_ms() as i64;
    let state = pulse.workers.read();
    let cluster = match &*pulse.health.read() {
        Some(Ok(health)) => health.cluster.clone(),
        _ => None,
    };
    let is_known = matches!(&*pulse.health.read(), Some(Ok(_)));
    rsx! {
        section { class: "workers", id: "workers", tabindex: 0, "data-testid": "workers",
            if let Some(cluster) = cluster {
                Cluster { cluster, now_ms }
            } else if is_known {
                p { class: "note alone", "data-testid": "no-cluster", "No Kubernetes cluster is watched (", code { "hub --cluster" }, "): addresses have no names, and traffic is kept of whatever the Workers capture." }
            }
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
                    if workers.workers.iter().any(|it| it.health.tracing.is_some()) {
                        Traced {}
                    }
                },
            }
        }
    }
}

/// Where names of pods and Services come from, and whether they are up to date.
#[component]
fn Cluster(cluster: ClusterState, now_ms: i64) -> Element {
    let ClusterState {
        ready, pods, tapped, settings, services, nodes, stale_since_ms, reason, ..
    } = cluster;
    let (class, state) = match (ready, stale_since_ms) {
        (false, _) => ("chip warn", "not listed yet".to_owned()),
        (true, None) => ("chip good", "watched".to_owned()),
        (true, Some(since)) => {
            let ago = duration((now_ms - since).max(0).saturating_mul(1_000_000));
            ("chip warn", format!("names may be out of date for {ago}"))
        }
    };
    rsx! {
        article { class: "worker", "data-testid": "cluster",
            header {
                h2 { "Kubernetes" }
                span { class, span { class: "dot" } "{state}" }
                span { class: "fact", "{grouped(pods)} pods" }
                if let Some(tapped) = tapped {
                    span { class: "fact", "traffic kept of {grouped(tapped)}" }
                }
                span { class: "fact", "{grouped(services)} Services" }
                span { class: "fact", "{grouped(nodes)} nodes" }
            }
            for it in reason.into_iter().chain(settings) {
                p { class: "reason", "{it}" }
            }
            Targeted {}
        }
    }
}

#[component]
fn Worker(worker: WorkerState, now_ms: i64) -> Element {
    let catalog = use_context::<Catalog>();
    let zone = zone();
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
                span { class: if health.dissection == Dissection::Live { "fact" } else { "fact warn" }, "dissection {health.dissection}" }
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
                                    span { class: "kind", match input.kind { InputKind::Interface => "interface", InputKind::File => "file", InputKind::Stdin => "standard input" } }
                                    if let Some(way) = &input.way {
                                        " "
                                        span { class: "kind", title: "how its packets are got from the kernel", "{way}" }
                                    }
                                }
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
                if let Some(tracing) = &health.tracing {
                    Tracing { tracing: tracing.clone() }
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

/// Of which processes what is said within TLS is read, asked again while it is looked at.
#[component]
fn Traced() -> Element {
    let session = use_context::<Session>();
    let mut answer = use_signal(|| None);
    use_future(move || async move {
        loop {
            let question = QueryRequest::sql(processes_sql(None));
            answer.set(Some(session.ask(question, &Abort::new()).await));
            browser::sleep(AGAIN_MS).await;
        }
    });
    match &*answer.read() {
        None => rsx! { p { class: "note", "Fetching…" } },
        Some(Err(failure)) => {
            rsx! { ErrorNote { text: "", error: failure.error(), testid: "processes-error" } }
        }
        Some(Ok(answer)) => processes(answer),
    }
}

fn processes(answer: &Answer) -> Element {
    let rows = answer.batches.iter();
    let rows = rows.flat_map(|batch| (0..batch.num_rows()).map(move |at| Row { batch, at }));
    rsx! {
        article { class: "worker",
            table { "data-testid": "processes",
                caption { "what processes say within TLS" }
                thead { tr { th { "node" } th { "pod" } th { "process" } th { "library" } th { "read" } th { "why not" } } }
                tbody {
                    for (index , row) in rows.take(MOST_PROCESSES).enumerate() {
                        {
                            let text = |name: &str| row.text(name).into_owned();
                            let pod = [text("namespace"), text("pod")].join("/");
                            let class = match text("coverage").as_str() { "plaintext" => "good", "handshake" => "warn", _ => "bad" };
                            rsx! {
                                tr { key: "{index}",
                                    td { {text("node")} }
                                    td { if pod == "/" { "–" } else { "{pod}" } }
                                    td { title: text("executable"), {text("name")} " " span { class: "kind", {text("pid")} } }
                                    td { title: text("library_path"), {text("library")} " " {text("library_version")} }
                                    td { class, {text("coverage")} }
                                    td { {text("reason")} }
                                }
                            }
                        }
                    }
                    if answer.rows == 0 {
                        tr { td { colspan: 6, class: "null", "no process that is traced has a TLS library, or speaks TLS" } }
                    }
                }
            }
            if answer.rows > MOST_PROCESSES {
                p { class: "note", "and {answer.rows - MOST_PROCESSES} more: see the table processes" }
            }
        }
    }
}

/// How often it is asked how processes stand.
const AGAIN_MS: u32 = 5_000;
const MOST_PROCESSES: usize = 500;

/// What is read within TLS, where processes say it.
#[component]
fn Tracing(tracing: TracingState) -> Element {
    let TracingState { problem, cgroups, calls, bytes, lost_bytes, libraries } = tracing;
    rsx! {
        table { "data-testid": "tracing",
            caption { "reads within TLS" }
            if let Some(problem) = problem {
                tbody { tr { td { colspan: 4, class: "bad", "{problem}" } } }
            } else {
                tbody { tr { td { colspan: 4,
                    "cgroups: {grouped(cgroups)}, reads and writes: {grouped(calls)}, {size(bytes)}"
                    if lost_bytes > 0 { span { class: "bad", ", {size(lost_bytes)} lost" } }
                } } }
            }
            thead { tr { th { "library" } th { "kind" } th { class: "right", "processes" } th { "state" } } }
            tbody {
                for (index , library) in libraries.iter().enumerate() {
                    tr { key: "{index}",
                        td { code { "{library.path}" } }
                        td { "{library.kind}" }
                        td { class: "right", "{grouped(library.processes)}" }
                        match &library.problem {
                            Some(problem) => rsx! { td { class: "bad", "{problem}" } },
                            None => rsx! { td { class: "good", "read" } },
                        }
                    }
                }
                if libraries.is_empty() {
                    tr { td { colspan: 4, class: "null", "no process that is meant has a TLS library that is known" } }
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
    use api::{Input, NodeHealth, TableState, TracedLibrary};

    use super::*;
    use crate::state::Catalog;

    #[test]
    fn a_cluster_that_is_not_watched_says_since_when_and_why() {
        #[component]
        fn Show() -> Element {
            let cluster = ClusterState {
                ready: true,
                pods: 1_234,
                stale_since_ms: Some(1_000),
                reason: Some("pods are not watched: no answer".to_owned()),
                ..ClusterState::default()
            };
            rsx! { Cluster { cluster, now_ms: 61_000 } }
        }
        let mut dom = VirtualDom::new(Show);
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        for part in
            ["1,234 pods", "names may be out of date for", "pods are not watched: no answer"]
        {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn a_process_whose_tls_is_not_read_is_named_with_its_pod_and_the_reason() {
        use arrow_array::{ArrayRef, RecordBatch, StringArray};
        fn show() -> Element {
            let column =
                |text: &str| std::sync::Arc::new(StringArray::from(vec![text])) as ArrayRef;
            let columns = [
                ("node", "n1"),
                ("namespace", "shop"),
                ("pod", "cart-1"),
                ("name", "cart"),
                ("library", "rustls"),
                ("library_version", "0.23.46"),
                ("coverage", "handshake"),
                ("reason", "rustls has no functions"),
            ];
            let columns = columns.map(|(name, text)| (name, column(text)));
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            processes(&Answer { batches: vec![batch], rows: 1, ..Answer::default() })
        }
        let mut dom = VirtualDom::new(show);
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        for part in ["shop/cart-1", "cart", "rustls 0.23.46", "handshake", "has no functions"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

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
                        way: Some("ring".into()),
                        error: Some(api::ApiError::new("it does not exist")),
                        ..Input::default()
                    }],
                    tables: vec![TableState {
                        name: "gopher".into(),
                        rows: 12_345,
                        ..TableState::default()
                    }],
                    losses: [("fragments".to_owned(), 3)].into(),
                    dissection: Dissection::OnDemand,
                    tracing: Some(TracingState {
                        lost_bytes: 7,
                        libraries: vec![TracedLibrary {
                            path: "/usr/lib/libssl.so.9".into(),
                            problem: Some("it has no symbols".into()),
                            ..TracedLibrary::default()
                        }],
                        ..TracingState::default()
                    }),
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
            ">ring<",
            "it does not exist",
            "gopher",
            "12,345",
            "10.00 % of packets",
            "fragments",
            "dissection on-demand",
            "7 B lost",
            "/usr/lib/libssl.so.9",
            "it has no symbols",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
