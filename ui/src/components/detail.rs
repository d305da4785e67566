//! One exchange, with everything known about it and the conversation it belongs to.

use api::{QueryRequest, RowKey};
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
    state::{Catalog, hue},
    value::Row,
};

#[component]
pub(crate) fn Detail(
    row: RowKey,
    onclose: EventHandler<()>,
    onfilter: EventHandler<String>,
) -> Element {
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let exchange = use_resource(use_reactive(&row, move |row| one(session, row.sql())));
    let connection =
        use_resource(use_reactive(&row, move |row| one(session, row.connection_sql())));
    let sql = row.sql();
    let copied = sql.clone();
    let state = exchange.read();
    let (verb, target, status, failed) = match &*state {
        Some(Ok(Some(shown))) => {
            let row = Row { batch: &shown.batch, at: shown.at };
            (
                row.text("verb").into_owned(),
                row.text("target").into_owned(),
                row.text("status").into_owned(),
                row.flag("failed"),
            )
        }
        _ => Default::default(),
    };
    rsx! {
        aside { class: "detail", id: "detail", "data-testid": "detail", "aria-label": "details of a row",
            header {
                span { class: "protocol {hue(&catalog.tables.read(), &row.protocol)}", "{row.protocol}" }
                span { class: "verb", "{verb}" }
                span { class: "target", title: "{target}", "{target}" }
                if !status.is_empty() {
                    span { class: if failed { "status bad" } else { "status good" }, "{status}" }
                }
                span { class: "tools",
                    Link { to: Route::Sql { q: sql }, class: "bare", title: "open as SQL", "aria-label": "open as SQL", Icon { name: "prompt" } }
                    button { class: "bare", title: "copy as SQL", "aria-label": "copy as SQL", onclick: move |_| browser::copy(&copied), Icon { name: "copy" } }
                    button { class: "bare", id: "detail-close", "data-testid": "detail-close", title: "close (esc)", "aria-label": "close", onclick: move |_| onclose.call(()), Icon { name: "close" } }
                }
            }
            div { class: "scroll",
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
                match &*connection.read() {
                    Some(Ok(Some(shown))) => rsx! {
                        details { class: "group nested",
                            summary { "connection" }
                            Record { row: shown.clone(), table: "connections" }
                        }
                    },
                    Some(Ok(None)) => rsx! {
                        p { class: "note", "The connection is still open: its own row is written when it ends." }
                    },
                    Some(Err(_)) | None => rsx! {},
                }
            }
        }
    }
}

/// The only row of an answer; the last one if there are several, as of a connection reported twice.
async fn one(session: Session, sql: String) -> Result<Option<Shown>, Failure> {
    // who walks through rows with a key held down means the row they stop at
    browser::sleep(SETTLE_MS).await;
    let answer = session.ask(QueryRequest::sql(sql), &Abort::new()).await?;
    let batch = answer.batches.into_iter().rfind(|batch| batch.num_rows() > 0);
    Ok(batch.map(|batch| Shown { at: batch.num_rows() - 1, batch }))
}

const SETTLE_MS: u32 = 40;
