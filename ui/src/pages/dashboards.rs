//! Dashboards: panels of SQL over one time, refreshed together.

use std::collections::BTreeMap;

use api::{ApiError, QueryRequest};
use dioxus::prelude::*;

use crate::{
    Route,
    address::Param,
    browser::{self, Abort},
    client::Session,
    components::{
        chart::UnitChoice,
        grid::{Grid, Rows},
        icon::Icon,
        range_choice::RangeChoice,
        result::{Drawn, Figure, Looks},
    },
    dashboard::{self, Asked, Dashboard, Panel, Variable},
    histogram::span,
    parallel::Turnstile,
    plot::Look,
    range::Range,
    state::Pulse,
    value::{read, shown},
};

#[component]
pub(crate) fn Dashboards(
    name: Param,
    from: Param,
    to: Param,
    vars: Param,
    every: Param,
) -> Element {
    let pulse = use_context::<Pulse>();
    use_context_provider(Turnstile::default);
    let mut own = use_signal(dashboard::own);
    let mut is_editing = use_signal(|| false);
    let mut edited = use_signal(|| None::<Option<usize>>);
    let mut exchange = use_signal(|| None::<String>);
    let mut tick = use_signal(|| 0_u64);
    let all = dashboard::all(&own.read());
    let current =
        all.iter().find(|it| it.name == *name).or_else(|| all.first()).cloned().unwrap_or_default();
    let range = Range::new(&from, &to);
    let values = dashboard::values(&vars);
    let go = use_callback(
        move |(name, range, values, every): (String, Range, BTreeMap<String, String>, String)| {
            navigator().push(Route::Dashboards {
                name: name.into(),
                from: range.from.into(),
                to: range.to.into(),
                vars: dashboard::written(&values).into(),
                every: every.into(),
            });
        },
    );
    let period = every.parse::<u32>().unwrap_or_default();
    use_effect(use_reactive(&period, move |period| {
        let mine = *tick.peek();
        if period == 0 {
            return;
        }
        spawn(async move {
            // a newer wish ends this loop: it moves the clock on by itself
            let mut at = mine;
            while *tick.peek() == at {
                browser::sleep(period.saturating_mul(1_000)).await;
                if *tick.peek() == at && !browser::is_hidden() {
                    tick += 1;
                    at += 1;
                }
            }
        });
    }));
    // What is asked is settled once a tick: all panels are about the same time.
    let mut asked = use_signal(|| None::<Asked>);
    let workers_known = matches!(&*pulse.workers.read(), Some(Ok(_)));
    use_effect(use_reactive(
        (&range, &values, &tick(), &workers_known),
        move |(range, values, _, _)| {
            let span = pulse
                .workers
                .peek()
                .as_ref()
                .and_then(|it| it.as_ref().ok())
                .and_then(|it| span(&range, &it.workers, browser::now_ms()));
            let next = span.map(|(low, high)| Asked { low, high, values });
            if *asked.peek() != next {
                asked.set(next);
            }
        },
    ));
    let save = use_callback(move |changed: Dashboard| {
        dashboard::put(&mut own.write(), changed);
        dashboard::keep(&own.peek());
    });
    let (for_brush, for_range, for_every) = (
        (current.name.clone(), values.clone(), every.text()),
        (current.name.clone(), values.clone(), every.text()),
        (current.name.clone(), range.clone(), values.clone()),
    );
    let brushed = use_callback(move |(low, high): (f64, f64)| {
        let (name, values, every) = for_brush.clone();
        go.call((name, Range::between(low as i64, high as i64), values, every));
    });
    let is_own = own.read().iter().any(|it| it.name == current.name);
    let is_shipped = dashboard::shipped().iter().any(|it| it.name == current.name);
    rsx! {
        section { class: "dashboards", "data-testid": "dashboards",
            header { class: "status-line",
                label { class: "choice", "dashboard "
                    select { "data-testid": "dashboard-choice", "aria-label": "dashboard",
                        onchange: { let (range, every) = (range.clone(), every.text()); move |event| go.call((event.value(), range.clone(), BTreeMap::new(), every.clone())) },
                        for it in all.iter() {
                            option { value: "{it.name}", selected: it.name == current.name, "{it.name}" }
                        }
                    }
                }
                span { class: "note", title: "{current.doc}", "{current.doc}" }
                for variable in current.variables.clone() {
                    Choice { variable: variable.clone(), asked: asked(), chosen: values.get(&variable.name).cloned().unwrap_or_default(),
                        onchoose: { let (name, range, values, every) = (current.name.clone(), range.clone(), values.clone(), every.text()); move |value: String| {
                            let mut values = values.clone();
                            values.insert(variable.name.clone(), value);
                            go.call((name.clone(), range.clone(), values, every.clone()));
                        } } }
                }
                span { class: "tools",
                    RangeChoice { range: range.clone(), onrange: move |range: Range| { let (name, values, every) = for_range.clone(); go.call((name, range, values, every)) } }
                    label { class: "choice", "refresh "
                        select { "aria-label": "refresh", "data-testid": "refresh", onchange: move |event| { let (name, range, values) = for_every.clone(); go.call((name, range, values, event.value())) },
                            for (value , text) in EVERY {
                                option { value, selected: *every == **value, "{text}" }
                            }
                        }
                    }
                    button { class: "tool", title: "ask again now", "aria-label": "ask again now", onclick: move |_| tick += 1, Icon { name: "refresh" } }
                    button { class: "tool", "aria-pressed": is_editing(), "data-testid": "edit", onclick: move |_| is_editing.toggle(), Icon { name: "edit" } if is_editing() { "Done" } else { "Edit" } }
                    button { class: "tool", title: "export or import as JSON", "data-testid": "exchange", onclick: { let current = current.clone(); move |_| exchange.set(Some(serde_json::to_string_pretty(&current).unwrap_or_default())) }, "JSON" }
                }
            }
            if is_editing() {
                div { class: "status-line edit-line",
                    span { class: "fact", if is_own && is_shipped { "This is your own version of a dashboard that comes with the page." } else if is_own { "This dashboard is kept in this browser." } else { "The first change makes this your own, kept in this browser." } }
                    button { class: "tool", "data-testid": "add-panel", onclick: move |_| edited.set(Some(None)), Icon { name: "plus" } "Add a panel" }
                    button { class: "tool", onclick: { let mut copy = current.clone(); move |_| {
                            copy.name = format!("{} (copy)", copy.name);
                            let name = copy.name.clone();
                            save.call(copy.clone());
                            go.call((name, Range::default(), BTreeMap::new(), String::new()));
                        } }, Icon { name: "copy" } "Copy it" }
                    if is_own {
                        button { class: "tool", onclick: { let name = current.name.clone(); move |_| {
                                own.write().retain(|it| it.name != name);
                                dashboard::keep(&own.peek());
                            } },
                            Icon { name: "close" }
                            if is_shipped { "As it came" } else { "Delete it" }
                        }
                    }
                }
            }
            match asked() {
                None => rsx! { div { class: "empty", role: "status", h2 { "Asking for the time there is" } p { "Panels are asked as soon as a Worker has said which rows it has." } } },
                Some(asked) => rsx! {
                    div { class: "panels",
                        for (at , panel) in current.panels.clone().into_iter().enumerate() {
                            PanelView { key: "{current.name}-{at}-{panel.title}", panel, asked: asked.clone(), tick: tick(), onbrush: brushed, is_editing: is_editing(),
                                onedit: move |()| edited.set(Some(Some(at))),
                                onmove: { let current = current.clone(); move |by: isize| {
                                    let mut changed = current.clone();
                                    let to = at.saturating_add_signed(by).min(changed.panels.len().saturating_sub(1));
                                    let panel = changed.panels.remove(at);
                                    changed.panels.insert(to, panel);
                                    save.call(changed);
                                } },
                                onremove: { let current = current.clone(); move |()| {
                                    let mut changed = current.clone();
                                    changed.panels.remove(at);
                                    save.call(changed);
                                } }
                            }
                        }
                    }
                },
            }
        }
        if let Some(at) = edited() {
            Editor { panel: at.and_then(|at| current.panels.get(at).cloned()).unwrap_or_else(new_panel), onclose: move |()| edited.set(None),
                onsave: { let current = current.clone(); move |panel: Panel| {
                    let mut changed = current.clone();
                    match at.and_then(|at| changed.panels.get_mut(at)) {
                        Some(it) => *it = panel,
                        None => changed.panels.push(panel),
                    }
                    save.call(changed);
                    edited.set(None);
                } } }
        }
        if let Some(json) = exchange() {
            Exchange { json, onclose: move |()| exchange.set(None), onimport: move |it: Dashboard| {
                let name = it.name.clone();
                save.call(it);
                exchange.set(None);
                go.call((name, Range::default(), BTreeMap::new(), String::new()));
            } }
        }
    }
}

fn new_panel() -> Panel {
    Panel {
        title: "New panel".to_owned(),
        sql: "SELECT $bucket AS t, protocol, count(*) / $seconds AS rate\nFROM traffic\nWHERE $range\nGROUP BY 1, 2\nORDER BY 1".to_owned(),
        look: Look::Line,
        ..Panel::default()
    }
}

/// The choice of a variable's value.
#[component]
fn Choice(
    variable: Variable,
    asked: Option<Asked>,
    chosen: String,
    onchoose: EventHandler<String>,
) -> Element {
    let session = use_context::<Session>();
    let turnstile = use_context::<Turnstile>();
    let sql = asked.map(|asked| Asked { values: BTreeMap::new(), ..asked }.sql(&variable.sql));
    let values = use_resource(use_reactive(&sql, move |sql| {
        let turnstile = turnstile.clone();
        async move {
            let sql = sql?;
            let _pass = turnstile.enter().await;
            let answer = session.ask(QueryRequest::sql(sql), &Abort::new()).await.ok()?;
            let mut values = Vec::new();
            for batch in &answer.batches {
                let Some(column) = batch.columns().first() else { continue };
                values.extend(
                    (0..batch.num_rows().min(MOST_VALUES))
                        .map(|at| shown(&read(column, at), None, 0)),
                );
            }
            Some(values)
        }
    }));
    let mut values = values().flatten().unwrap_or_default();
    if !chosen.is_empty() && !values.contains(&chosen) {
        values.insert(0, chosen.clone());
    }
    rsx! {
        label { class: "choice", "{variable.name} "
            select { "aria-label": "{variable.name}", "data-testid": "variable-{variable.name}", onchange: move |event| onchoose.call(event.value()),
                option { value: "", selected: chosen.is_empty(), "all" }
                for value in values {
                    option { value: "{value}", selected: value == chosen, "{value}" }
                }
            }
        }
    }
}

/// What a panel knows of its answer.
#[derive(Clone, PartialEq)]
struct Known {
    rows: Option<(Drawn, Rows)>,
    asked: Asked,
    incomplete: Option<String>,
    error: Option<ApiError>,
}

#[component]
fn PanelView(
    panel: Panel,
    asked: Asked,
    tick: u64,
    is_editing: bool,
    onbrush: EventHandler<(f64, f64)>,
    onedit: EventHandler<()>,
    onmove: EventHandler<isize>,
    onremove: EventHandler<()>,
) -> Element {
    let session = use_context::<Session>();
    let turnstile = use_context::<Turnstile>();
    let mut known = use_signal(|| None::<Known>);
    let mut is_asking = use_signal(|| false);
    let mut turn = use_signal(|| 0_u64);
    let mut running = use_signal(Abort::new);
    // a query nobody waits for any more gives its place back
    use_drop(move || running.peek().abort());
    let sql = asked.sql(&panel.sql);
    use_effect(use_reactive((&sql, &asked, &tick), move |(sql, asked, _)| {
        turn += 1;
        let mine = *turn.peek();
        let turnstile = turnstile.clone();
        is_asking.set(true);
        running.peek().abort();
        let abort = Abort::new();
        running.set(abort.clone());
        spawn(async move {
            let pass = turnstile.enter().await;
            if *turn.peek() != mine {
                return;
            }
            let question = QueryRequest {
                max_rows: Some(MOST_ROWS),
                deadline_ms: Some(DEADLINE_MS),
                ..QueryRequest::sql(sql)
            };
            let answer = session.ask(question, &abort).await;
            drop(pass);
            if *turn.peek() != mine {
                return;
            }
            is_asking.set(false);
            known.set(Some(match answer {
                Ok(answer) => {
                    let incomplete =
                        answer.accounting.as_ref().filter(|it| !it.complete).map(|it| {
                            let silent = it
                                .nodes
                                .iter()
                                .filter(|node| node.state != api::NodeState::Answered);
                            silent.map(|node| node.node.clone()).collect::<Vec<_>>().join(", ")
                        });
                    let error = answer.broken.as_ref().map(ApiError::new);
                    let rows = answer.schema.map(|schema| {
                        let rows = Rows::new(
                            arrow_schema::SchemaRef::clone(&schema),
                            answer.batches.clone(),
                        );
                        (Drawn { schema, batches: answer.batches, turn: mine }, rows)
                    });
                    Known { rows, asked, incomplete, error }
                }
                Err(failure) => {
                    Known { rows: None, asked, incomplete: None, error: Some(failure.error()) }
                }
            }));
        });
    }));
    let (width, height) = (panel.width.clamp(2, 12), panel.height.clamp(1, 12));
    let state = known.read();
    rsx! {
        article { class: "panel", "data-testid": "panel", "aria-label": "{panel.title}", "aria-busy": is_asking(), style: "grid-column: span {width}; grid-row: span {height}",
            header {
                h3 { title: "{panel.doc}", "{panel.title}" }
                if is_asking() { span { class: "spinner small", role: "status", "aria-label": "asking" } }
                if let Some(nodes) = state.as_ref().and_then(|it| it.incomplete.clone()) {
                    span { class: "chip warn", title: "no answer from: {nodes}", "incomplete" }
                }
                span { class: "tools",
                    if is_editing {
                        button { class: "bare", title: "earlier", "aria-label": "move {panel.title} earlier", onclick: move |_| onmove.call(-1), Icon { name: "left" } }
                        button { class: "bare", title: "later", "aria-label": "move {panel.title} later", onclick: move |_| onmove.call(1), Icon { name: "right" } }
                        button { class: "bare", title: "edit", "aria-label": "edit {panel.title}", "data-testid": "edit-panel", onclick: move |_| onedit.call(()), Icon { name: "edit" } }
                        button { class: "bare", title: "remove", "aria-label": "remove {panel.title}", onclick: move |_| onremove.call(()), Icon { name: "close" } }
                    } else {
                        Link { to: Route::Sql { q: sql.clone().into(), view: format!("{},{}", panel.look.name(), panel.unit.name()).into() }, class: "bare", title: "open as SQL", "aria-label": "open {panel.title} as SQL", Icon { name: "prompt" } }
                    }
                }
            }
            match &*state {
                None => rsx! { div { class: "chart wait", role: "status", "Asking…" } },
                Some(Known { error: Some(error), .. }) => rsx! {
                    div { class: "chart wait bad", role: "alert", p { "{error.message}" } if let Some(hint) = &error.hint { p { class: "note", "{hint}" } } }
                },
                Some(Known { rows: Some((drawn, rows)), asked, .. }) => rsx! {
                    if panel.look == Look::Table {
                        if rows.count == 0 {
                            div { class: "chart wait", role: "status", "No rows in this time" }
                        } else {
                            Grid { rows: rows.clone(), open: None, onopen: |_| {}, id: "" }
                        }
                    } else {
                        Figure { rows: drawn.clone(), look: panel.look, unit: panel.unit, stacked: panel.stacked, label: panel.title.clone(), span: (asked.low, asked.high), onbrush }
                    }
                },
                Some(_) => rsx! { div { class: "chart wait", role: "status", "The answer has no columns" } },
            }
        }
    }
}

/// A panel's title, statement and look.
#[component]
fn Editor(panel: Panel, onclose: EventHandler<()>, onsave: EventHandler<Panel>) -> Element {
    let mut draft = use_signal(|| panel);
    use_effect(|| browser::focus("panel-name"));
    let number = |text: String, most: u8| text.parse::<u8>().unwrap_or(1).clamp(1, most);
    rsx! {
        div { class: "veil",
            form { class: "dialog editor-dialog", role: "dialog", "aria-modal": "true", "aria-labelledby": "panel-title", "data-testid": "panel-editor",
                onkeydown: move |event| if event.key() == Key::Escape { onclose.call(()) },
                onsubmit: move |event| { event.prevent_default(); onsave.call(draft.peek().clone()) },
                h2 { id: "panel-title", "Panel" }
                label { "Title" input { id: "panel-name", "data-testid": "panel-name", value: "{draft.read().title}", autofocus: true, oninput: move |event| draft.write().title = event.value() } }
                label { "Statement"
                    textarea { "data-testid": "panel-sql", spellcheck: "false", rows: 10, value: "{draft.read().sql}", oninput: move |event| draft.write().sql = event.value() } }
                p { class: "note", code { "$range" } " is the time, " code { "$bucket" } " a row's time in steps, " code { "$seconds" } " the length of a step, " code { "[[column = $name]]" } " holds for the value chosen." }
                Looks { look: draft.read().look, onchoose: move |look| draft.write().look = look }
                div { class: "fields",
                    UnitChoice { unit: draft.read().unit, onchoose: move |unit| draft.write().unit = unit }
                    label { class: "choice", input { r#type: "checkbox", checked: draft.read().stacked, onchange: move |event| draft.write().stacked = event.checked() } " stacked" }
                    label { class: "choice", "columns of 12 " input { r#type: "number", min: 2, max: 12, value: "{draft.read().width}", oninput: move |event| draft.write().width = number(event.value(), 12) } }
                    label { class: "choice", "rows " input { r#type: "number", min: 1, max: 12, value: "{draft.read().height}", oninput: move |event| draft.write().height = number(event.value(), 12) } }
                }
                div { class: "actions",
                    button { class: "tool", r#type: "button", onclick: move |_| onclose.call(()), "Cancel" }
                    button { class: "primary", r#type: "submit", "data-testid": "panel-save", "Save" }
                }
            }
        }
    }
}

/// A dashboard as JSON, to be taken away or brought in.
#[component]
fn Exchange(json: String, onclose: EventHandler<()>, onimport: EventHandler<Dashboard>) -> Element {
    let mut draft = use_signal(|| json);
    use_effect(|| browser::focus("exchange-json"));
    let mut wrong = use_signal(|| None::<String>);
    rsx! {
        div { class: "veil",
            form { class: "dialog editor-dialog", role: "dialog", "aria-modal": "true", "aria-labelledby": "exchange-title", "data-testid": "exchange-dialog",
                onkeydown: move |event| if event.key() == Key::Escape { onclose.call(()) },
                onsubmit: move |event| {
                    event.prevent_default();
                    match dashboard::read(&draft.peek()) {
                        Ok(it) => onimport.call(it),
                        Err(why) => wrong.set(Some(why)),
                    }
                },
                h2 { id: "exchange-title", "Dashboard as JSON" }
                textarea { id: "exchange-json", "aria-label": "the dashboard as JSON", "data-testid": "exchange-json", spellcheck: "false", rows: 20, value: "{draft}", oninput: move |event| draft.set(event.value()) }
                if let Some(why) = &*wrong.read() { p { class: "bad", role: "alert", "{why}" } }
                div { class: "actions",
                    button { class: "tool", r#type: "button", onclick: move |_| browser::copy(&draft.peek()), Icon { name: "copy" } "Copy" }
                    button { class: "tool", r#type: "button", onclick: move |_| browser::save("dashboard.json", api::media::JSON, draft.peek().as_bytes()), Icon { name: "download" } "Download" }
                    button { class: "tool", r#type: "button", onclick: move |_| onclose.call(()), "Close" }
                    button { class: "primary", r#type: "submit", title: "keep what stands here as one of your own", "Import" }
                }
            }
        }
    }
}

const EVERY: &[(&str, &str)] =
    &[("", "off"), ("5", "5 s"), ("10", "10 s"), ("30", "30 s"), ("60", "1 m"), ("300", "5 m")];
const MOST_ROWS: u64 = 20_000;
const MOST_VALUES: usize = 200;
const DEADLINE_MS: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_editor_shows_what_the_panel_is() {
        let panel = Panel {
            title: "<b>Rate</b>".into(),
            sql: "SELECT 1 WHERE $range".into(),
            look: Look::Area,
            ..Panel::default()
        };
        #[component]
        fn Show(panel: Panel) -> Element {
            let onclose = use_callback(|()| {});
            let onsave = use_callback(|_: Panel| {});
            rsx! { Editor { panel, onclose, onsave } }
        }
        let mut dom = VirtualDom::new_with_props(Show, ShowProps { panel });
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        for part in ["$range", "aria-pressed=true data-testid=\"look-area\"", "&#60;b&#62;Rate"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
