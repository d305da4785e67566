//! The filter bar. Enter asks the Hub whether the text is a filter; only then it is in force.

use std::collections::HashMap;

use api::{ApiError, Kind, QueryRequest, Span};
use dioxus::prelude::*;

use super::{error::ErrorNote, icon::Icon};
use crate::{
    browser::{self, Abort},
    client::{Failure, Session},
    filter::{
        complete::{Column, Item, complete},
        lex::{Token, lex},
    },
    range::Range,
    saved::{FILTERS, Shelf},
    state::Catalog,
    tail::{Line, Live},
    value::{literal, read, shown},
};

#[component]
pub(crate) fn FilterBar(
    filter: String,
    range: Range,
    wrong: Signal<Option<(String, ApiError)>>,
    onapply: EventHandler<String>,
) -> Element {
    let session = use_context::<Session>();
    let live = use_context::<Live>();
    let catalog = use_context::<Catalog>();
    let mut draft = use_signal(|| filter.clone());
    let mut wrong = wrong;
    let mut shelf = use_signal(|| Shelf::load(FILTERS));
    let mut offers = use_signal(Vec::<Item>::new);
    let mut place = use_signal(|| 0..0_usize);
    let mut chosen = use_signal(|| None::<usize>);
    let mut scrolled = use_signal(|| 0.0_f64);
    let mut doubt = use_signal(|| None::<ApiError>);
    // grows with each key: what was asked before it is not shown
    let mut turn = use_signal(|| 0_u64);
    let mut values = use_signal(HashMap::<Column, Vec<Item>>::new);
    let mut asked = use_signal(|| range.clone());
    use_effect(use_reactive(&range, move |range| {
        values.write().clear();
        asked.set(range);
    }));
    use_effect(move || {
        if let Some((tried, _)) = &*wrong.read() {
            draft.set(tried.clone());
        }
    });
    use_effect(use_reactive(&filter, move |filter| {
        draft.set(filter);
        wrong.set(None);
        doubt.set(None);
    }));
    let mut close = move || {
        turn += 1;
        offers.set(Vec::new());
        chosen.set(None);
    };
    let apply = use_callback(move |text: String| async move {
        let text = text.trim().to_owned();
        match session.check(&text).await {
            Err(Failure::Refused(error)) => wrong.set(Some((text, error))),
            // the tail says so itself if the Hub is away
            Ok(()) | Err(_) => {
                wrong.set(None);
                shelf.write().used(&text);
                shelf.peek().save(FILTERS);
                onapply.call(text);
            }
        }
    });
    // What could stand at the cursor, and a little later whether the Hub would take the whole.
    let suggest = use_callback(move |()| {
        turn += 1;
        let mine = *turn.peek();
        let text = draft.peek().clone();
        let cursor = browser::cursor("filter").unwrap_or(text.len());
        let offer = complete(&text, cursor, &catalog.tables.peek());
        place.set(offer.at);
        chosen.set(None);
        let known = offer.values.as_ref().and_then(|column| values.peek().get(column).cloned());
        offers.set(known.clone().unwrap_or(offer.items));
        spawn(async move {
            if let (Some(column), None) = (offer.values, known) {
                browser::sleep(VALUES_MS).await;
                if *turn.peek() != mine {
                    return;
                }
                let clause = asked.peek().clause(browser::now_ms());
                let question = QueryRequest {
                    deadline_ms: Some(VALUES_DEADLINE_MS),
                    ..QueryRequest::sql(column.sql(&clause))
                };
                if let Ok(answer) = session.ask(question, &Abort::new()).await {
                    let found = found(&answer.batches, column.kind);
                    let mut values = values.write();
                    if values.len() >= MOST_COLUMNS {
                        values.clear();
                    }
                    values.insert(column, found.clone());
                    drop(values);
                    if *turn.peek() == mine {
                        offers.set(found);
                    }
                }
            }
            browser::sleep(CHECK_MS).await;
            if *turn.peek() == mine {
                let verdict = session.check(text.trim()).await;
                if *turn.peek() == mine {
                    doubt.set(match verdict {
                        Err(Failure::Refused(error)) => Some(error),
                        _ => None,
                    });
                }
            }
        });
    });
    let take = use_callback(move |at: usize| {
        let Some(item) = offers.peek().get(at).cloned() else { return };
        let text = draft.peek().clone();
        let place = place.peek().clone();
        let (before, after) = (
            text.get(..place.start).unwrap_or_default(),
            text.get(place.end..).unwrap_or_default(),
        );
        let gap = if after.starts_with([' ', ')', ',']) { "" } else { " " };
        let put = format!("{before}{}{gap}", item.text);
        let whole = format!("{put}{after}");
        draft.set(whole.clone());
        browser::set_field("filter", &whole, put.len());
        suggest.call(());
    });
    let refused = match &live.read().line {
        Line::Refused(error) if *draft.read() == live.filter() => {
            Some((live.filter(), error.clone()))
        }
        _ => None,
    };
    let error = wrong.cloned().or(refused);
    let described = if error.is_some() { "filter-error" } else { "filter-hint" };
    let text = draft.read().clone();
    let at = doubt.read().as_ref().filter(|_| error.is_none()).and_then(|it| it.at);
    let pieces = painted(&text, at);
    let is_open = !offers.read().is_empty();
    let active = chosen().map(|at| format!("filter-offer-{at}"));
    rsx! {
        form { class: "filter", role: "search",
            onsubmit: move |event| {
                event.prevent_default();
                close();
                let text = draft.peek().clone();
                spawn(async move { apply.call(text).await });
            },
            SavedFilters { filter: filter.clone(), shelf, onapply: move |text: String| {
                draft.set(text.clone());
                spawn(async move { apply.call(text).await });
            } }
            div { class: if error.is_some() { "field wrong" } else { "field" },
                Icon { name: "search" }
                div { class: "paint",
                    pre { "aria-hidden": "true", style: "transform: translateX(-{scrolled}px)",
                        for (class , text) in pieces {
                            span { class, "{text}" }
                        }
                    }
                    input { id: "filter", "data-testid": "filter", r#type: "text", value: "{draft}", role: "combobox",
                        "aria-label": "filter", "aria-describedby": described, "aria-invalid": if error.is_some() { "true" } else { "false" },
                        "aria-expanded": is_open, "aria-controls": "filter-offers", "aria-autocomplete": "list", "aria-activedescendant": active,
                        placeholder: "filter rows, e.g.  failed  ·  duration > 100ms  ·  client_ip = '10.0.0.7' and status >= 500",
                        spellcheck: "false", autocomplete: "off", autocapitalize: "off",
                        oninput: move |event| {
                            draft.set(event.value());
                            doubt.set(None);
                            suggest.call(());
                        },
                        onclick: move |_| suggest.call(()),
                        onscroll: move |event| scrolled.set(event.scroll_left()),
                        onblur: move |_| {
                            turn += 1;
                            offers.set(Vec::new());
                        },
                        onkeydown: move |event| {
                            let count = offers.peek().len();
                            match event.key() {
                                Key::ArrowDown if count == 0 => suggest.call(()),
                                Key::ArrowDown | Key::ArrowUp if count > 0 => {
                                    event.prevent_default();
                                    let next = match (chosen.peek().as_ref(), event.key()) {
                                        (None, Key::ArrowDown) => 0,
                                        (None, _) => count - 1,
                                        (Some(at), Key::ArrowDown) => (at + 1) % count,
                                        (Some(at), _) => (at + count - 1) % count,
                                    };
                                    chosen.set(Some(next));
                                    browser::reveal(&format!("filter-offer-{next}"));
                                }
                                Key::Tab if count > 0 && !event.modifiers().shift() => {
                                    event.prevent_default();
                                    take.call(chosen.peek().unwrap_or_default());
                                }
                                Key::Enter => {
                                    if let Some(at) = *chosen.peek() {
                                        event.prevent_default();
                                        take.call(at);
                                    }
                                }
                                Key::Escape if count > 0 => {
                                    event.stop_propagation();
                                    turn += 1;
                                    offers.set(Vec::new());
                                    chosen.set(None);
                                }
                                Key::Escape => {
                                    draft.set(live.filter());
                                    wrong.set(None);
                                    doubt.set(None);
                                    browser::focus("rows");
                                }
                                _ => {}
                            }
                        }
                    }
                }
                if !draft.read().is_empty() {
                    button { class: "bare", r#type: "button", title: if shelf.read().is_kept(text.trim()) { "no favourite any more" } else { "keep as a favourite" }, "aria-label": "favourite", "aria-pressed": shelf.read().is_kept(text.trim()),
                        onclick: move |_| {
                            let text = draft.peek().trim().to_owned();
                            let is_kept = shelf.peek().is_kept(&text);
                            if is_kept { shelf.write().forget(&text) } else { shelf.write().keep(&text, &text) }
                            shelf.peek().save(FILTERS);
                        },
                        Icon { name: "star" }
                    }
                    button { class: "bare", r#type: "button", title: "clear the filter", "aria-label": "clear the filter",
                        onclick: move |_| {
                            draft.set(String::new());
                            spawn(async move { apply.call(String::new()).await });
                        },
                        Icon { name: "close" }
                    }
                } else {
                    kbd { title: "press / to write a filter", "/" }
                }
                if is_open {
                    div { class: "popover offers",
                        ul { id: "filter-offers", role: "listbox", "aria-label": "what could come next", "data-testid": "filter-offers",
                            for (at , item) in offers.read().iter().enumerate() {
                                li { id: "filter-offer-{at}", role: "option", "aria-selected": chosen() == Some(at), class: if chosen() == Some(at) { "on" } else { "" },
                                    // the field keeps the focus
                                    onmousedown: move |event| {
                                        event.prevent_default();
                                        take.call(at);
                                    },
                                    code { "{item.text}" }
                                    span { class: "kind", "{item.what}" }
                                    span { class: "doc", "{item.doc}" }
                                }
                            }
                        }
                        p { class: "note", kbd { "↓" } kbd { "↑" } " choose " kbd { "tab" } " take " kbd { "↵" } " apply "
                            if let Some(doubt) = &*doubt.read() { span { class: "bad", "{doubt.message}" } }
                        }
                    }
                }
            }
            button { class: "primary", r#type: "submit", id: "filter-apply", "data-testid": "filter-apply", "Apply" }
        }
        if let Some((text, error)) = &error {
            ErrorNote { text: text.clone(), error: error.clone(), testid: "filter-error",
                on_instead: move |instead: String| {
                    draft.set(instead.clone());
                    spawn(async move { apply.call(instead).await });
                }
            }
        }
    }
}

/// Filters to begin with, those kept, and those used lately.
#[component]
fn SavedFilters(filter: String, shelf: Signal<Shelf>, onapply: EventHandler<String>) -> Element {
    let catalog = use_context::<Catalog>();
    let mut shelf = shelf;
    let mut is_open = use_signal(|| false);
    let presets = presets(&catalog.tables.read());
    let mut pick = move |text: String| {
        is_open.set(false);
        onapply.call(text);
    };
    rsx! {
        div { class: "menu",
            onkeydown: move |event| {
                if event.key() == Key::Escape && is_open() {
                    event.stop_propagation();
                    is_open.set(false);
                }
            },
            button { class: "tool", r#type: "button", "aria-expanded": is_open(), title: "presets, favourites and history", "data-testid": "saved-filters",
                onclick: move |_| is_open.toggle(),
                Icon { name: "star" } Icon { name: "down" }
            }
            if is_open() {
                div { class: "shade", onclick: move |_| is_open.set(false) }
                div { class: "popover saved", role: "dialog", "aria-label": "saved filters",
                    h3 { "Presets" }
                    ul {
                        for (name , text) in presets {
                            li { button { r#type: "button", onclick: move |_| pick(text.to_owned()), "{name}" code { "{text}" } } }
                        }
                    }
                    h3 { "Favourites" }
                    if shelf.read().favourites.is_empty() {
                        p { class: "note", "The star beside a filter keeps it here, in this browser." }
                    }
                    ul {
                        for kept in shelf.read().favourites.clone() {
                            li {
                                button { r#type: "button", onclick: { let text = kept.text.clone(); move |_| pick(text.clone()) }, code { "{kept.text}" } }
                                button { r#type: "button", class: "bare", title: "forget it", "aria-label": "forget {kept.text}",
                                    onclick: { let text = kept.text.clone(); move |_| {
                                        shelf.write().favourites.retain(|it| it.text != text);
                                        shelf.peek().save(FILTERS);
                                    } },
                                    Icon { name: "close" }
                                }
                            }
                        }
                    }
                    h3 { "Used lately" }
                    if shelf.read().history.is_empty() {
                        p { class: "note", "Nothing yet." }
                    }
                    ul {
                        for text in shelf.read().history.clone() {
                            li { button { r#type: "button", class: if text == filter { "on" } else { "" }, onclick: { let text = text.clone(); move |_| pick(text.clone()) }, code { "{text}" } } }
                        }
                    }
                }
            }
        }
    }
}

/// Presets over the columns that there are.
fn presets(tables: &[api::Table]) -> Vec<(&'static str, &'static str)> {
    let traffic = tables.iter().find(|table| table.name == "traffic");
    let has = |name| traffic.is_some_and(|table| table.field(name).is_some());
    [
        ("failed", "failed", "What failed"),
        ("status", "status >= 500", "Answered with 500 and above"),
        ("duration", "duration > 100ms", "Slower than 100 ms"),
        ("duration", "duration > 1s", "Slower than a second"),
        ("duration", "duration is null", "Without an answer"),
        ("incomplete", "incomplete", "Not captured whole"),
        ("encrypted", "encrypted", "Encrypted on the wire"),
        ("response_bytes", "response_bytes > 1000000", "Answers above 1 MB"),
    ]
    .into_iter()
    .filter(|(column, ..)| has(column))
    .map(|(_, text, name)| (name, text))
    .collect()
}

/// The text in colours, with the place the Hub doubts marked.
fn painted(text: &str, doubt: Option<Span>) -> Vec<(String, String)> {
    let mut pieces = Vec::new();
    for (token, at) in lex(text) {
        let is_doubted =
            doubt.is_some_and(|it| at.start < it.end.max(it.start + 1) && at.end > it.start);
        let class = match (token, is_doubted) {
            (Token::Space, _) | (_, false) => token.class().to_owned(),
            (_, true) => format!("{} doubt", token.class()),
        };
        pieces.push((class, text.get(at).unwrap_or_default().to_owned()));
    }
    pieces
}

/// Values and how often they stand there.
fn found(batches: &[arrow_array::RecordBatch], kind: Kind) -> Vec<Item> {
    let mut items = Vec::new();
    for batch in batches {
        let [values, counts] = batch.columns() else { continue };
        for at in 0..batch.num_rows() {
            let value = read(values, at);
            let Some(text) = literal(&value, Some(kind)).filter(|text| text.len() < MOST_VALUE)
            else {
                continue;
            };
            let count = shown(&read(counts, at), Some(Kind::Count), 0);
            items.push(Item { text, what: "value", doc: format!("{count} rows") });
        }
    }
    items
}

const VALUES_MS: u32 = 150;
const VALUES_DEADLINE_MS: u64 = 3_000;
const CHECK_MS: u32 = 350;
const MOST_COLUMNS: usize = 50;
const MOST_VALUE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_painted_whole_and_its_doubtful_place_is_marked() {
        let text = "statsu = 'ü<b>'";
        let pieces = painted(text, Some(Span { start: 0, end: 6 }));
        assert_eq!(pieces.iter().map(|(_, text)| text.as_str()).collect::<String>(), text);
        assert_eq!(pieces.first(), Some(&("name doubt".to_owned(), "statsu".to_owned())));
        assert_eq!(pieces.last().map(|(class, _)| class.as_str()), Some("string"));
    }

    #[test]
    fn presets_are_of_columns_that_there_are() {
        let presets = presets(&crate::fixture::tables());
        assert!(presets.iter().any(|(_, text)| *text == "failed"));
        assert!(!presets.iter().any(|(_, text)| *text == "encrypted"));
    }

    #[test]
    fn values_are_offered_as_the_filter_reads_them() {
        let batch = crate::fixture::traffic(1);
        let at = |name| batch.schema().index_of(name).expect("it is there");
        let batch = batch.project(&[at("verb"), at("seq")]).expect("both are there");
        let items = found(&[batch], Kind::Label);
        assert_eq!(items, [Item { text: "'FETCH'".into(), what: "value", doc: "0 rows".into() }]);
    }
}
