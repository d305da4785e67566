//! SQL over everything the Workers keep.

use std::rc::Rc;

use api::{ApiError, Format, QueryRequest};
use dioxus::prelude::*;

use crate::{
    Route, browser,
    browser::Abort,
    client::{Answer, Failure, Session},
    components::{
        accounting::Cost,
        error::ErrorNote,
        grid::{Grid, Rows},
        icon::Icon,
        record::Record,
        reference::Reference,
    },
    state::Catalog,
    value::grouped,
};

/// What came of a statement.
#[derive(Clone)]
enum Outcome {
    Nothing,
    Running(Rc<Abort>),
    Canceled,
    Failed(String, ApiError),
    Done(Rc<Answer>, Option<Rows>),
}

#[component]
pub(crate) fn Sql(q: String) -> Element {
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let mut text = use_signal(|| {
        if q.is_empty() { browser::stored(DRAFT).unwrap_or_default() } else { q.clone() }
    });
    let mut outcome = use_signal(|| Outcome::Nothing);
    let mut open = use_signal(|| None::<usize>);
    // grows with each statement: an answer to an older one is not shown
    let mut turn = use_signal(|| 0_u64);

    let ask = use_callback(move |sql: String| {
        turn += 1;
        let mine = *turn.peek();
        if let Outcome::Running(before) = &*outcome.peek() {
            before.abort();
        }
        let abort = Rc::new(Abort::new());
        outcome.set(Outcome::Running(Rc::clone(&abort)));
        open.set(None);
        spawn(async move {
            let question =
                QueryRequest { max_rows: Some(MOST_ROWS), ..QueryRequest::sql(sql.clone()) };
            let answer = session.ask(question, &abort).await;
            if *turn.peek() != mine {
                return;
            }
            outcome.set(match answer {
                Ok(answer) => {
                    let rows = answer
                        .schema
                        .clone()
                        .map(|schema| Rows::new(schema, answer.batches.clone()));
                    Outcome::Done(Rc::new(answer), rows)
                }
                Err(Failure::Refused(error)) => Outcome::Failed(sql, error),
                Err(failure) => Outcome::Failed(String::new(), failure.error()),
            });
        });
    });
    // an address that holds a statement shows its answer
    use_effect(use_reactive(&q, move |q| {
        if !q.is_empty() {
            text.set(q.clone());
            ask.call(q);
        }
    }));
    let run = move || {
        let sql = text.peek().trim().to_owned();
        if sql.is_empty() {
            return;
        }
        browser::store(DRAFT, &sql);
        let here = Route::Sql { q: sql.clone() };
        if router().current::<Route>() == here {
            ask.call(sql);
        } else {
            navigator().push(here);
        }
    };
    let mut cancel = move || {
        if let Outcome::Running(abort) = &*outcome.peek() {
            abort.abort();
        } else {
            return;
        }
        turn += 1;
        outcome.set(Outcome::Canceled);
    };
    let is_running = matches!(&*outcome.read(), Outcome::Running(_));
    let examples = examples(&catalog.tables.read());
    rsx! {
        section { class: "sql",
            div { class: "work",
                div { class: "editor",
                    textarea { id: "sql-editor", "data-testid": "sql-editor", "aria-label": "SQL", spellcheck: "false", autocomplete: "off",
                        placeholder: "SELECT …   Ctrl-Enter runs it", value: "{text}",
                        oninput: move |event| text.set(event.value()),
                        onkeydown: move |event| {
                            if event.key() == Key::Enter && (event.modifiers().ctrl() || event.modifiers().meta()) {
                                event.prevent_default();
                                run();
                            }
                        }
                    }
                    div { class: "bar",
                        if is_running {
                            button { class: "primary stop", id: "cancel", "data-testid": "cancel", onclick: move |_| cancel(), Icon { name: "stop" } "Cancel" }
                        } else {
                            button { class: "primary", id: "run", "data-testid": "run", onclick: move |_| run(), Icon { name: "play" } "Run" kbd { "Ctrl ↵" } }
                        }
                        for (name , sql) in examples {
                            button { class: "tool", onclick: move |_| text.set(sql.clone()), "{name}" }
                        }
                        span { class: "keys", "read-only · answers stop at {grouped(MOST_ROWS)} rows" }
                    }
                }
                match &*outcome.read() {
                    Outcome::Nothing => rsx! {
                        div { class: "empty", h2 { "Ask SQL of the traffic" }
                            p { "Every table on the right can be asked, joined and aggregated. What the Workers still hold answers; nothing is copied before it is asked for." } }
                    },
                    Outcome::Running(_) => rsx! { div { class: "empty", role: "status", div { class: "spinner" } h2 { "Running" } } },
                    Outcome::Canceled => rsx! { div { class: "empty", role: "status", h2 { "Canceled" } p { "No rows are shown; the Workers were told to stop." } } },
                    Outcome::Failed(sql, error) => rsx! { ErrorNote { text: sql.clone(), error: error.clone(), testid: "sql-error" } },
                    Outcome::Done(answer, rows) => rsx! {
                        if let Some(why) = &answer.broken {
                            ErrorNote { text: "", testid: "sql-error",
                                error: ApiError::new(format!("the answer broke off after {} rows: {why}", answer.rows)) }
                        } else if let Some(error) = answer.accounting.as_ref().and_then(|it| it.error.clone()) {
                            ErrorNote { text: "", testid: "sql-error", error }
                        }
                        if let Some(rows) = rows {
                            div { class: if open().is_some() { "split detailed" } else { "split" },
                                Grid { rows: rows.clone(), open: open(), onopen: move |number| open.set(if *open.peek() == Some(number) { None } else { Some(number) }) }
                                if let Some(row) = open().and_then(|number| rows.get(number)) {
                                    aside { class: "detail", "aria-label": "a row of the result",
                                        header { span { class: "target", "row {open().unwrap_or_default() + 1}" }
                                            span { class: "tools", button { class: "bare", title: "close", "aria-label": "close", onclick: move |_| open.set(None), Icon { name: "close" } } } }
                                        div { class: "scroll", Record { row, table: "" } }
                                    }
                                }
                            }
                        }
                        footer { class: "status-line", "data-testid": "accounting",
                            match &answer.accounting {
                                Some(accounting) => rsx! { Cost { accounting: accounting.clone() } },
                                None => rsx! { span { class: "fact", b { "{grouped(answer.rows as u64)}" } " rows" } },
                            }
                            Export {}
                        }
                    },
                }
            }
            Reference { onname: move |name: String| {
                let whole = browser::insert_at_cursor("sql-editor", &name);
                let grown = whole.unwrap_or_else(|| format!("{} {name}", text.peek()));
                text.set(grown);
            } }
        }
    }
}

/// The statement in the address, as a file.
#[component]
fn Export() -> Element {
    let session = use_context::<Session>();
    let mut failure = use_signal(|| None::<ApiError>);
    let Route::Sql { q } = use_route::<Route>() else { return rsx! {} };
    rsx! {
        span { class: "export",
            if let Some(error) = &*failure.read() {
                span { class: "fact bad", role: "alert", "{error.message}" }
            }
            "export"
            for (name , format , file) in [("CSV", Format::Csv, "result.csv"), ("JSON", Format::Ndjson, "result.ndjson"), ("Arrow", Format::Arrow, "result.arrows")] {
                button { class: "tool",
                    onclick: {
                        let q = q.clone();
                        move |_| {
                            let q = q.clone();
                            spawn(async move { failure.set(session.export(q, format, file).await.err().map(|it| it.error())) });
                        }
                    },
                    "{name}"
                }
            }
        }
    }
}

/// Statements to begin with, made from the tables there are.
fn examples(tables: &[api::Table]) -> Vec<(&'static str, String)> {
    let has = |name: &str| tables.iter().any(|table| table.name == name);
    let mut examples = Vec::new();
    if has("traffic") {
        examples.push(("protocols", "SELECT protocol, count(*) AS exchanges, count(*) FILTER (WHERE failed) AS failed,\n       sum(response_bytes) AS response_bytes\nFROM traffic\nGROUP BY protocol\nORDER BY exchanges DESC".to_owned()));
        examples.push(("slowest", "SELECT ts, duration, protocol, verb, target, status, client_ip, server_ip, server_port\nFROM traffic\nWHERE duration IS NOT NULL\nORDER BY duration DESC\nLIMIT 100".to_owned()));
        examples.push(("failures", "SELECT protocol, verb, status, error, count(*) AS n, max(ts) AS last_seen\nFROM traffic\nWHERE failed\nGROUP BY protocol, verb, status, error\nORDER BY n DESC\nLIMIT 100".to_owned()));
    }
    if has("losses") {
        examples.push(("losses", "SELECT * FROM losses ORDER BY ts DESC LIMIT 100".to_owned()));
    }
    examples
}

const MOST_ROWS: u64 = 100_000;
const DRAFT: &str = "kubeshark.sql";
