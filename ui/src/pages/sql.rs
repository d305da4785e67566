//! SQL over everything the Workers keep.

use std::rc::Rc;

use api::{ApiError, Format, QueryRequest};
use dioxus::prelude::*;

use crate::{
    Route,
    address::Param,
    browser,
    browser::Abort,
    client::{Answer, Failure, Session},
    components::{
        accounting::Cost,
        chart::UnitChoice,
        editor::{EDITOR, SqlEditor},
        error::ErrorNote,
        grid::{Grid, Rows},
        icon::Icon,
        record::Record,
        reference::Reference,
        result::{Drawn, Figure, Looks},
    },
    dashboard::{self, Panel},
    plot::Look,
    saved::{STATEMENTS, Shelf},
    scale::Unit,
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
    Done(Rc<Answer>, Option<Rows>, u64),
}

#[component]
pub(crate) fn Sql(q: Param, view: Param) -> Element {
    let q = q.text();
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let (chosen_look, unit) = chosen(&view);
    let mut shelf = use_signal(|| Shelf::load(STATEMENTS));
    let mut text = use_signal(|| {
        if q.is_empty() { browser::stored(DRAFT).unwrap_or_default() } else { q.clone() }
    });
    let mut is_naming = use_signal(|| false);
    let mut name = use_signal(String::new);
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
                    Outcome::Done(Rc::new(answer), rows, mine)
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
    let run = use_callback(move |()| {
        let sql = text.peek().trim().to_owned();
        if sql.is_empty() {
            return;
        }
        browser::store(DRAFT, &sql);
        shelf.write().used(&sql);
        shelf.peek().save(STATEMENTS);
        let now = router().current::<Route>();
        let view = match &now {
            Route::Sql { view, .. } => view.clone(),
            _ => Param::default(),
        };
        let here = Route::Sql { q: sql.as_str().into(), view };
        if now == here {
            ask.call(sql);
        } else {
            navigator().push(here);
        }
    });
    let mut cancel = move || {
        if let Outcome::Running(abort) = &*outcome.peek() {
            abort.abort();
        } else {
            return;
        }
        turn += 1;
        outcome.set(Outcome::Canceled);
    };
    let show_as = use_callback(move |look: Look| {
        if let Route::Sql { q, view } = router().current::<Route>() {
            navigator().replace(Route::Sql { q, view: said(Some(look), chosen(&view).1) });
        }
    });
    let measure = use_callback(move |unit: Unit| {
        if let Route::Sql { q, view } = router().current::<Route>() {
            navigator().replace(Route::Sql { q, view: said(chosen(&view).0, Some(unit)) });
        }
    });
    let to_dashboard = use_callback(move |look: Look| {
        if let Route::Sql { q, view } = router().current::<Route>() {
            let unit = chosen(&view).1;
            let panel = Panel {
                title: "From SQL".to_owned(),
                sql: q.text(),
                look,
                unit: unit.unwrap_or_default(),
                ..Panel::default()
            };
            let name = dashboard::add(panel);
            navigator().push(Route::dashboard(&name));
        }
    });
    let look = chosen_look.unwrap_or_else(|| match &*outcome.read() {
        Outcome::Done(answer, ..) => {
            answer.schema.as_ref().map(|it| Look::suited(it, &answer.batches)).unwrap_or_default()
        }
        _ => Look::Table,
    });
    let is_running = matches!(&*outcome.read(), Outcome::Running(_));
    let examples = examples(&catalog.tables.read());
    rsx! {
        section { class: "sql",
            div { class: "work",
                div { class: "editor",
                    SqlEditor { text, onrun: run }
                    div { class: "bar",
                        if is_running {
                            button { class: "primary stop", id: "cancel", "data-testid": "cancel", onclick: move |_| cancel(), Icon { name: "stop" } "Cancel" }
                        } else {
                            button { class: "primary", id: "run", "data-testid": "run", onclick: move |_| run.call(()), Icon { name: "play" } "Run" kbd { "Ctrl ↵" } }
                        }
                        Statements { shelf, examples, text, onpick: move |sql: String| {
                            text.set(sql.clone());
                            navigator().push(Route::Sql { q: sql.into(), view: Param::default() });
                        } }
                        button { class: "tool", title: "keep this statement in this browser", "data-testid": "keep", onclick: move |_| is_naming.set(true), Icon { name: "star" } "Keep" }
                        if is_naming() {
                            form { class: "inline", onsubmit: move |event| {
                                    event.prevent_default();
                                    let name = name.peek().trim().to_owned();
                                    let sql = text.peek().trim().to_owned();
                                    if !name.is_empty() && !sql.is_empty() {
                                        shelf.write().keep(&name, &sql);
                                        shelf.peek().save(STATEMENTS);
                                        is_naming.set(false);
                                    }
                                },
                                input { "aria-label": "name", placeholder: "name", autofocus: true, value: "{name}", oninput: move |event| name.set(event.value()) }
                                button { class: "tool", r#type: "submit", "Keep it" }
                            }
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
                    Outcome::Done(answer, rows, turn) => rsx! {
                        if let Some(why) = &answer.broken {
                            ErrorNote { text: "", testid: "sql-error",
                                error: ApiError::new(format!("the answer broke off after {} rows: {why}", answer.rows)) }
                        } else if let Some(error) = answer.accounting.as_ref().and_then(|it| it.error.clone()) {
                            ErrorNote { text: "", testid: "sql-error", error }
                        }
                        div { class: "bar results",
                            Looks { look, onchoose: show_as }
                            if look != Look::Table {
                                UnitChoice { unit: unit.unwrap_or_default(), onchoose: measure }
                                button { class: "tool", "data-testid": "to-dashboard", title: "add it to a dashboard as a panel", onclick: move |_| to_dashboard.call(look), Icon { name: "plus" } "To a dashboard" }
                            }
                        }
                        if let (Some(schema), true) = (&answer.schema, look != Look::Table) {
                            div { class: "figure",
                                Figure { rows: Drawn { schema: arrow_schema::SchemaRef::clone(schema), batches: answer.batches.clone(), turn: *turn }, look, unit, label: "the answer as a chart" }
                            }
                        } else if let Some(rows) = rows {
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
                let whole = browser::insert_at_cursor(EDITOR, &name);
                let grown = whole.unwrap_or_else(|| format!("{} {name}", text.peek()));
                text.set(grown);
            } }
        }
    }
}

/// Statements to begin with, those kept and those run lately.
#[component]
fn Statements(
    shelf: Signal<Shelf>,
    examples: Vec<(&'static str, String)>,
    text: Signal<String>,
    onpick: EventHandler<String>,
) -> Element {
    let mut shelf = shelf;
    let mut is_open = use_signal(|| false);
    let mut pick = move |sql: String| {
        is_open.set(false);
        onpick.call(sql);
    };
    let one_line = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    rsx! {
        div { class: "menu",
            button { class: "tool", r#type: "button", "aria-expanded": is_open(), "data-testid": "statements", onclick: move |_| is_open.toggle(), "Statements" Icon { name: "down" } }
            if is_open() {
                div { class: "shade", onclick: move |_| is_open.set(false) }
                div { class: "popover saved", role: "dialog", "aria-label": "statements",
                    h3 { "To begin with" }
                    ul {
                        for (name , sql) in examples {
                            li { button { r#type: "button", title: "{sql}", onclick: move |_| pick(sql.clone()), "{name}" } }
                        }
                    }
                    h3 { "Kept" }
                    if shelf.read().favourites.is_empty() {
                        p { class: "note", "“Keep” puts the statement here, in this browser." }
                    }
                    ul {
                        for kept in shelf.read().favourites.clone() {
                            li {
                                button { r#type: "button", title: "{kept.text}", onclick: { let sql = kept.text.clone(); move |_| pick(sql.clone()) }, "{kept.name}" code { {one_line(&kept.text)} } }
                                button { r#type: "button", class: "bare", title: "forget it", "aria-label": "forget {kept.name}",
                                    onclick: { let sql = kept.text.clone(); move |_| {
                                        shelf.write().forget(&sql);
                                        shelf.peek().save(STATEMENTS);
                                    } },
                                    Icon { name: "close" }
                                }
                            }
                        }
                    }
                    h3 { "Run lately" }
                    ul {
                        for sql in shelf.read().history.clone() {
                            li { button { r#type: "button", title: "{sql}", onclick: { let sql = sql.clone(); move |_| pick(sql.clone()) }, code { {one_line(&sql)} } } }
                        }
                    }
                }
            }
        }
    }
}

/// How the answer is shown, as the address says it: a look, and a unit behind a comma. Without a look, what suits the answer.
fn chosen(view: &str) -> (Option<Look>, Option<Unit>) {
    let (look, unit) = view.split_once(',').unwrap_or((view, ""));
    (
        Look::ALL.into_iter().find(|it| it.name() == look),
        Unit::ALL.into_iter().find(|it| it.name() == unit),
    )
}

fn said(look: Option<Look>, unit: Option<Unit>) -> Param {
    let look = look.map(Look::name).unwrap_or_default();
    match unit {
        Some(unit) => format!("{look},{}", unit.name()).into(),
        None => look.into(),
    }
}

/// The statement in the address, as a file.
#[component]
fn Export() -> Element {
    let session = use_context::<Session>();
    let mut failure = use_signal(|| None::<ApiError>);
    let Route::Sql { q, .. } = use_route::<Route>() else { return rsx! {} };
    let q = q.text();
    rsx! {
        span { class: "export",
            if let Some(error) = &*failure.read() {
                span { class: "fact bad", role: "alert", "{error.message}" }
            }
            "export"
            for (name , format , file) in [("CSV", Format::Csv, "result.csv"), ("JSON", Format::Ndjson, "result.ndjson"), ("Arrow", Format::Arrow, "result.arrows"), ("Parquet", Format::Parquet, "result.parquet"), ("packets", Format::Pcapng, "result.pcapng")] {
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
        examples.push(("rate by protocol, as lines", "SELECT date_bin(INTERVAL '1 second', ts) AS t, protocol, count(*) AS rows\nFROM traffic\nGROUP BY t, protocol\nORDER BY t".to_owned()));
        examples.push(("latency by server", "SELECT server_ip, approx_percentile_cont(duration, 0.5) AS p50_duration,\n       approx_percentile_cont(duration, 0.95) AS p95_duration, approx_percentile_cont(duration, 0.99) AS p99_duration, count(*) AS n\nFROM traffic\nWHERE duration IS NOT NULL\nGROUP BY server_ip\nORDER BY n DESC\nLIMIT 50".to_owned()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_how_the_answer_is_shown() {
        for look in Look::ALL.into_iter().map(Some).chain([None]) {
            for unit in Unit::ALL.into_iter().map(Some).chain([None]) {
                assert_eq!(chosen(&said(look, unit)), (look, unit));
            }
        }
        assert_eq!(chosen("hologram"), (None, None));
    }
}
