//! One exchange, with everything known about it and the conversation it belongs to.

use api::{Kind, QueryRequest, RowKey};
use dioxus::prelude::*;

use super::{
    error::ErrorNote,
    icon::Icon,
    packets::Packets,
    record::{Record, Shown},
    talk::Talk,
};
use crate::{
    Route, browser,
    browser::Abort,
    client::{Failure, Session},
    decode,
    settings::zone,
    state::{Catalog, hue},
    talk::Shape,
    value::{Row, Value, duration, shown},
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

/// What else was said on the same connection: as messages where the table has such, or as a list of all.
#[component]
fn Conversation(row: RowKey, onrow: EventHandler<RowKey>) -> Element {
    let catalog = use_context::<Catalog>();
    let shape = use_memo(use_reactive(&row.protocol, move |protocol| {
        let tables = catalog.tables.read();
        tables.iter().find(|it| it.name == protocol).map(Shape::of).unwrap_or_default()
    }));
    let mut is_open = use_signal(|| None::<bool>);
    let mut wants_list = use_signal(|| None::<bool>);
    let is_talk = shape.read().is_talk();
    let as_list = wants_list().unwrap_or(!is_talk);
    // of messages one wants to see what was said before and after
    let open = is_open().unwrap_or(is_talk);
    rsx! {
        details { class: "group nested", "data-testid": "conversation", open,
            summary {
                onclick: move |event| {
                    event.prevent_default();
                    is_open.set(Some(!open));
                },
                "conversation"
            }
            if open {
                div { class: "choose", span { class: "segments",
                    for (name , is_list) in [("messages", false), ("list", true)] {
                        button { class: if as_list == is_list { "on" } else { "" }, r#type: "button", "aria-pressed": as_list == is_list, "data-testid": "conversation-{name}",
                            onclick: move |_| wants_list.set(Some(is_list)), "{name}" }
                    }
                } }
            }
            if open && as_list {
                Listed { row, onrow }
            } else if open {
                Messages { row, shape: shape(), onrow }
            }
        }
    }
}

/// The messages of a conversation, around a row.
#[component]
fn Messages(row: RowKey, shape: Shape, onrow: EventHandler<RowKey>) -> Element {
    let session = use_context::<Session>();
    let mut from = use_signal(|| row.seq.saturating_sub(BEFORE));
    // walking along a conversation doesn't ask for it again, unless it leaves what is shown
    use_effect(use_reactive(&row.seq, move |seq| {
        let is_shown = (*from.peek()..from.peek().saturating_add(MOST_ROWS as u64)).contains(&seq);
        if !is_shown {
            from.set(seq.saturating_sub(BEFORE));
        }
    }));
    let key = (row.protocol.clone(), row.flow_id.clone(), row.node.clone());
    let asked = (row.clone(), shape.clone());
    let rows = use_resource(use_reactive((&key, &from()), move |(_, from)| {
        let sql = asked.1.sql(&asked.0, from, MOST_ROWS);
        async move { session.ask(QueryRequest::sql(sql), &Abort::new()).await }
    }));
    let zone = zone();
    let state = rows.read();
    match &*state {
        Some(Ok(answer)) => {
            let rows = answer
                .batches
                .iter()
                .flat_map(|batch| (0..batch.num_rows()).map(move |at| Row { batch, at }));
            let said: Vec<_> = rows.clone().flat_map(|row| shape.said(&row)).collect();
            let last = rows.filter_map(|row| row.number("seq")).max().unwrap_or_default();
            let is_cut = answer.rows >= MOST_ROWS;
            rsx! {
                if from() > 0 {
                    p { class: "note", button { class: "tool", r#type: "button", onclick: move |_| { let now = from.peek().saturating_sub(MOST_ROWS as u64 - BEFORE); from.set(now); }, Icon { name: "up" } "Earlier" } }
                }
                Talk { said, zone, on: row.clone(), onrow }
                if is_cut {
                    p { class: "note", button { class: "tool", r#type: "button", onclick: move |_| from.set(last), Icon { name: "down-line" } "Later" } }
                }
            }
        }
        Some(Err(failure)) => {
            rsx! { ErrorNote { text: "", error: failure.error(), testid: "conversation-error" } }
        }
        None => rsx! { p { class: "note", "Fetching…" } },
    }
}

/// All exchanges of a conversation, of whatever protocol, a line each.
#[component]
fn Listed(row: RowKey, onrow: EventHandler<RowKey>) -> Element {
    let session = use_context::<Session>();
    let key = (row.flow_id.clone(), row.node.clone());
    // walking along a conversation doesn't ask for it again
    let rows = use_resource(use_reactive(&key, move |(flow, node)| async move {
        let sql = format!(
            "SELECT ts, protocol, verb, target, status, failed, duration, node, flow_id, seq FROM traffic WHERE flow_id = {} AND node = {} ORDER BY ts, seq LIMIT {MOST_ROWS}",
            api::quote_text(&flow),
            api::quote_text(&node)
        );
        session.ask(QueryRequest::sql(sql), &Abort::new()).await
    }));
    let zone = zone();
    rsx! {
        match &*rows.read() {
            Some(Ok(answer)) => rsx! {
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
            Some(Err(failure)) => rsx! { ErrorNote { text: "", error: failure.error(), testid: "conversation-error" } },
            None => rsx! { p { class: "note", "Fetching…" } },
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
/// Messages shown before a row's own.
const BEFORE: u64 = 50;
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
