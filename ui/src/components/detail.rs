//! One exchange, with everything known about it and the conversation it belongs to.

use api::{ApiError, Format, Kind, QueryRequest, RowKey};
use dioxus::prelude::*;

use super::{
    error::ErrorNote,
    icon::Icon,
    record::{Record, Shown},
};
use crate::{
    Route, browser,
    browser::Abort,
    client::{Failure, Session},
    decode,
    settings::zone,
    state::{Catalog, hue},
    value::{Row, Value, duration, hex, kind, read, shown},
};

#[component]
pub(crate) fn Detail(
    row: RowKey,
    onclose: EventHandler<()>,
    onfilter: EventHandler<String>,
    /// Shows another row of the conversation.
    onrow: EventHandler<RowKey>,
) -> Element {
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let mut is_wide = use_signal(|| browser::stored(WIDE).is_some_and(|it| it == "yes"));
    let exchange = use_resource(use_reactive(&row, move |row| one(session, row.sql())));
    let connection =
        use_resource(use_reactive(&row, move |row| one(session, row.connection_sql())));
    let sql = row.sql();
    let clause = clause(&row);
    let state = exchange.read();
    let known = match &*state {
        Some(Ok(Some(shown))) => Some(Row { batch: &shown.batch, at: shown.at }),
        _ => None,
    };
    let text = |name: &str| known.map(|row| row.text(name).into_owned()).unwrap_or_default();
    let (verb, target, status) = (text("verb"), text("target"), text("status"));
    let failed = known.is_some_and(|row| row.flag("failed"));
    let curl = known.and_then(|row| decode::curl(&row));
    let connected = connection.read();
    let flow = match &*connected {
        Some(Ok(Some(shown))) => Some(Row { batch: &shown.batch, at: shown.at }),
        _ => None,
    };
    let spans = known.map(|row| spans(&row, flow.as_ref())).unwrap_or_default();
    rsx! {
        aside { class: if is_wide() { "detail wide" } else { "detail" }, id: "detail", "data-testid": "detail", "aria-label": "details of a row",
            header {
                span { class: "protocol {hue(&catalog.tables.read(), &row.protocol)}", "{row.protocol}" }
                span { class: "verb", "{verb}" }
                span { class: "target", title: "{target}", "{target}" }
                if !status.is_empty() {
                    span { class: if failed { "status bad" } else { "status good" }, "{status}" }
                }
                span { class: "tools",
                    if let Some(curl) = curl {
                        button { class: "tool", "data-testid": "copy-curl", title: "copy the request as a command", onclick: move |_| browser::copy(&curl), "curl" }
                    }
                    button { class: "tool", "data-testid": "copy-filter", title: "copy a filter that matches this row: {clause}", onclick: { let clause = clause.clone(); move |_| browser::copy(&clause) }, "filter" }
                    button { class: "tool", "data-testid": "copy-sql", title: "copy as SQL", "aria-label": "copy as SQL", onclick: { let sql = sql.clone(); move |_| browser::copy(&sql) }, "SQL" }
                    Link { to: Route::sql(&sql), class: "bare", title: "open as SQL", "aria-label": "open as SQL", Icon { name: "prompt" } }
                    button { class: "bare", title: if is_wide() { "beside the list" } else { "all of the width" }, "aria-label": "wide", "aria-pressed": is_wide(), "data-testid": "detail-wide",
                        onclick: move |_| {
                            is_wide.toggle();
                            browser::store(WIDE, if *is_wide.peek() { "yes" } else { "no" });
                        },
                        Icon { name: "wide" } }
                    button { class: "bare", id: "detail-close", "data-testid": "detail-close", title: "close (esc)", "aria-label": "close", onclick: move |_| onclose.call(()), Icon { name: "close" } }
                }
            }
            div { class: "scroll",
                if !spans.is_empty() {
                    Waterfall { spans }
                }
                match &*state {
                    None => rsx! { p { class: "note", "Fetching the row…" } },
                    Some(Err(failure)) => rsx! { ErrorNote { text: "", error: failure.error(), testid: "detail-error" } },
                    Some(Ok(None)) => rsx! {
                        p { class: "note", "The Workers no longer have this row: it is older than what they keep, or its Worker is away." }
                    },
                    Some(Ok(Some(shown))) => rsx! {
                        Record { row: shown.clone(), table: row.protocol.clone(), onfilter }
                    },
                }
                match &*connected {
                    Some(Ok(Some(shown))) => rsx! {
                        details { class: "group nested", "data-testid": "connection",
                            summary { "connection" }
                            Record { row: shown.clone(), table: "connections" }
                        }
                    },
                    Some(Ok(None)) => rsx! {
                        p { class: "note", "The connection is still open: its own row is written when it ends." }
                    },
                    Some(Err(_)) | None => rsx! {},
                }
                Conversation { row: row.clone(), onrow }
                Packets { row: row.clone() }
            }
        }
    }
}

/// A stretch of time with its name, its class, its beginning and its length.
type Span = (&'static str, &'static str, i64, i64);

/// When what happened, as far as the row and its connection say.
fn spans(row: &Row<'_>, flow: Option<&Row<'_>>) -> Vec<Span> {
    let time = |row: &Row<'_>, name| match row.value(name) {
        Value::Time(ns) => Some(ns),
        _ => None,
    };
    let length = |row: &Row<'_>, name| match row.value(name) {
        Value::Int(ns) => Some(ns),
        _ => None,
    };
    let mut spans = Vec::new();
    if let Some(flow) = flow
        && let (Some(from), Some(long)) = (time(flow, "ts"), length(flow, "duration"))
    {
        spans.push(("connection", "whole", from, long));
        if let Some(long) = length(flow, "handshake_time") {
            spans.push(("handshake", "hand", from, long));
        }
    }
    if let (Some(from), Some(long)) = (time(row, "ts"), length(row, "duration")) {
        spans.push(("this exchange", if row.flag("failed") { "bad" } else { "good" }, from, long));
    }
    spans
}

#[component]
fn Waterfall(spans: Vec<Span>) -> Element {
    let low = spans.iter().map(|(_, _, from, _)| *from).min().unwrap_or_default();
    let high =
        spans.iter().map(|(_, _, from, long)| from.saturating_add(*long)).max().unwrap_or_default();
    let all = high.saturating_sub(low).max(1) as f64;
    rsx! {
        section { class: "waterfall", "aria-label": "timing", "data-testid": "timing",
            for (name , class , from , long) in spans {
                span { class: "what", "{name}" }
                span { class: "track",
                    span { class: "bar {class}", left: "{(from - low) as f64 * 100.0 / all:.3}%", width: "max(2px, {long as f64 * 100.0 / all:.3}%)" }
                }
                span { class: "how", "{duration(long)}" }
                span { class: "how dim", if from > low { "+{duration(from - low)}" } }
            }
        }
    }
}

/// What else was said on the same connection.
#[component]
fn Conversation(row: RowKey, onrow: EventHandler<RowKey>) -> Element {
    let session = use_context::<Session>();
    let mut is_open = use_signal(|| false);
    let key = (row.flow_id.clone(), row.node.clone());
    // walking along a conversation doesn't ask for it again
    let rows = use_resource(use_reactive(
        (&key, &is_open()),
        move |((flow, node), is_open)| async move {
            if !is_open {
                return None;
            }
            let sql = format!(
                "SELECT ts, protocol, verb, target, status, failed, duration, node, flow_id, seq FROM traffic WHERE flow_id = {} AND node = {} ORDER BY ts, seq LIMIT {MOST_ROWS}",
                api::quote_text(&flow),
                api::quote_text(&node)
            );
            Some(session.ask(QueryRequest::sql(sql), &Abort::new()).await)
        },
    ));
    let zone = zone();
    rsx! {
        details { class: "group nested", "data-testid": "conversation", ontoggle: move |_| is_open.toggle(),
            summary { "conversation" }
            match &*rows.read() {
                Some(Some(Ok(answer))) => rsx! {
                    table { class: "said", tbody {
                        for batch in answer.batches.iter() {
                            for at in 0..batch.num_rows() {
                                {
                                    let it = Row { batch, at };
                                    let key = it.key();
                                    let is_this = key.seq == row.seq && key.protocol == row.protocol;
                                    let failed = it.flag("failed");
                                    let class = match (is_this, failed) { (true, _) => "on", (false, true) => "failed", _ => "" };
                                    rsx! {
                                        tr { class,
                                            td { class: "dim", {shown(&it.value("ts"), Some(Kind::Time), zone).chars().skip(11).collect::<String>()} }
                                            td { button { r#type: "button", disabled: is_this, onclick: move |_| onrow.call(key.clone()), b { {it.text("verb").into_owned()} } " " {shown(&it.value("target"), Some(Kind::Text), zone)} } }
                                            td { class: if failed { "bad right" } else { "right" }, {it.text("status").into_owned()} }
                                            td { class: "dim right", {shown(&it.value("duration"), Some(Kind::Duration), zone)} }
                                        }
                                    }
                                }
                            }
                        }
                    } }
                    if answer.rows >= MOST_ROWS { p { class: "note", "only the first {MOST_ROWS} are shown" } }
                },
                Some(Some(Err(failure))) => rsx! { ErrorNote { text: "", error: failure.error(), testid: "conversation-error" } },
                Some(None) | None => rsx! { p { class: "note", "Fetching…" } },
            }
        }
    }
}

/// The packets of the conversation, as far as they are kept.
#[component]
fn Packets(row: RowKey) -> Element {
    let session = use_context::<Session>();
    let mut is_open = use_signal(|| false);
    let mut chosen = use_signal(|| None::<(usize, usize)>);
    let mut refused = use_signal(|| None::<ApiError>);
    let key = (row.flow_id.clone(), row.node.clone());
    let (all, file) = (row.packets_sql(None), format!("{}.pcapng", row.flow_id));
    let download = move |_| {
        let (sql, name) = (all.clone(), file.clone());
        spawn(async move {
            let saved = session.export(sql, Format::Pcapng, &name).await;
            refused.set(saved.err().map(|it| it.error()));
        });
    };
    let sql = format!(
        "SELECT ts, wire_bytes, data FROM packets WHERE flow_id = {} AND node = {} ORDER BY ts LIMIT {MOST_ROWS}",
        api::quote_text(&row.flow_id),
        api::quote_text(&row.node)
    );
    let asked = sql.clone();
    let rows = use_resource(use_reactive((&key, &is_open()), move |(_, is_open)| {
        let sql = asked.clone();
        async move {
            if !is_open {
                return None;
            }
            Some(session.ask(QueryRequest::sql(sql), &Abort::new()).await)
        }
    }));
    let zone = zone();
    rsx! {
        details { class: "group nested", "data-testid": "packets", ontoggle: move |_| is_open.toggle(),
            summary { "packets" }
            match &*rows.read() {
                Some(Some(Ok(answer))) if answer.rows == 0 => rsx! {
                    p { class: "note", "No packet of this conversation is kept: they were not stored, or have gone to make room." }
                },
                Some(Some(Ok(answer))) => rsx! {
                    table { class: "said", tbody {
                        for (part , batch) in answer.batches.iter().enumerate() {
                            for at in 0..batch.num_rows() {
                                {
                                    let it = Row { batch, at };
                                    let is_chosen = chosen() == Some((part, at));
                                    let schema = batch.schema();
                                    let dump = is_chosen.then(|| batch.column_by_name("data").map(|data| match read(data, at) {
                                        Value::Bytes(bytes) => hex(bytes.get(..MOST_BYTES).unwrap_or(bytes)),
                                        _ => String::new(),
                                    })).flatten();
                                    let size = schema.fields().get(1).and_then(|field| kind(field));
                                    rsx! {
                                        tr { class: if is_chosen { "on" } else { "" },
                                            td { class: "dim", {shown(&it.value("ts"), Some(Kind::Time), zone).chars().skip(11).collect::<String>()} }
                                            td { button { r#type: "button", "aria-expanded": is_chosen, onclick: move |_| chosen.set((!is_chosen).then_some((part, at))), {shown(&it.value("wire_bytes"), size.or(Some(Kind::Size)), zone)} } }
                                        }
                                        if let Some(dump) = dump {
                                            tr { td { colspan: 2, pre { class: "dump", tabindex: 0, "{dump}" } } }
                                        }
                                    }
                                }
                            }
                        }
                    } }
                    if answer.rows >= MOST_ROWS { p { class: "note", "only the first {MOST_ROWS} are shown" } }
                    p { class: "note",
                        button { r#type: "button", "data-testid": "packets-download", onclick: download, "download as pcapng" }
                        " "
                        Link { to: Route::sql(&sql), "open as SQL" }
                    }
                    if let Some(error) = refused() {
                        ErrorNote { text: "", error, testid: "packets-refused" }
                    }
                },
                Some(Some(Err(failure))) => rsx! { ErrorNote { text: "", error: failure.error(), testid: "packets-error" } },
                Some(None) | None => rsx! { p { class: "note", "Fetching…" } },
            }
        }
    }
}

/// A filter that only this row passes.
pub(crate) fn clause(row: &RowKey) -> String {
    format!(
        "{} and node = {} and flow_id = {} and seq = {}",
        row.protocol,
        api::quote_text(&row.node),
        api::quote_text(&row.flow_id),
        row.seq
    )
}

/// The only row of an answer; the last one if there are several, as of a connection reported twice.
pub(super) async fn one(session: Session, sql: String) -> Result<Option<Shown>, Failure> {
    // who walks through rows with a key held down means the row they stop at
    browser::sleep(SETTLE_MS).await;
    let answer = session.ask(QueryRequest::sql(sql), &Abort::new()).await?;
    let batch = answer.batches.into_iter().rfind(|batch| batch.num_rows() > 0);
    Ok(batch.map(|batch| Shown { at: batch.num_rows() - 1, batch }))
}

const SETTLE_MS: u32 = 40;
const MOST_ROWS: usize = 200;
const MOST_BYTES: usize = 4_096;
const WIDE: &str = "kubeshark.detail.wide";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn an_exchange_stands_within_its_connection() {
        let batch = fixture::traffic(1);
        let row = Row { batch: &batch, at: 0 };
        let spans = spans(&row, Some(&row));
        let names: Vec<_> = spans.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["connection", "this exchange"]);
        let html = dioxus_ssr::render_element(rsx! { Waterfall { spans } });
        assert!(html.contains("1.23 ms") && html.contains("left:0.000%"), "{html}");
    }

    #[test]
    fn a_row_has_a_filter_of_its_own() {
        let key = RowKey {
            protocol: "gopher".into(),
            node: "n'1".into(),
            flow_id: "0abc".into(),
            seq: 3,
        };
        assert_eq!(clause(&key), "gopher and node = 'n''1' and flow_id = '0abc' and seq = 3");
    }
}
