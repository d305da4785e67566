//! The filter bar. Enter asks the Hub whether the text is a filter; only then it is in force.

use api::{ApiError, Span};
use dioxus::prelude::*;

use super::{
    error::ErrorNote,
    icon::Icon,
    offers::{OfferList, Offers, Pressed},
};
use crate::{
    browser,
    client::{Failure, Session},
    filter::{
        complete::complete,
        lex::{Token, lex},
    },
    range::Range,
    saved::{FILTERS, Shelf},
    state::Catalog,
    tail::{Line, Live},
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
    let offers = Offers::new("filter");
    let mut scrolled = use_signal(|| 0.0_f64);
    let mut doubt = use_signal(|| None::<ApiError>);
    let mut asked = use_signal(|| range.clone());
    use_effect(use_reactive(&range, move |range| {
        offers.forget_values();
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
        let text = draft.peek().clone();
        let cursor = browser::cursor("filter").unwrap_or(text.len());
        let offer = complete(&text, cursor, &catalog.tables.peek());
        let clause = asked.peek().clause(browser::now_ms());
        let mine = offers.show(offer, session, clause);
        spawn(async move {
            browser::sleep(CHECK_MS).await;
            if offers.is_turn(mine) {
                let verdict = session.check(text.trim()).await;
                if offers.is_turn(mine) {
                    doubt.set(match verdict {
                        Err(Failure::Refused(error)) => Some(error),
                        _ => None,
                    });
                }
            }
        });
    });
    let take = use_callback(move |at: usize| {
        let Some((whole, cursor)) = offers.taken(at, &draft.peek()) else { return };
        draft.set(whole.clone());
        browser::set_field("filter", &whole, cursor);
        suggest.call(());
    });
    let refused = match live.line() {
        Line::Refused(error) if *draft.read() == live.filter() => Some((live.filter(), error)),
        _ => None,
    };
    let error = wrong.cloned().or(refused);
    let described = if error.is_some() { "filter-error" } else { "filter-hint" };
    let text = draft.read().clone();
    let at = doubt.read().as_ref().filter(|_| error.is_none()).and_then(|it| it.at);
    let pieces = painted(&text, at);
    let is_open = offers.is_open();
    rsx! {
        form { class: "filter", role: "search",
            onsubmit: move |event| {
                event.prevent_default();
                offers.close();
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
                        "aria-expanded": is_open, "aria-controls": offers.list(), "aria-autocomplete": "list", "aria-activedescendant": offers.active(),
                        placeholder: "filter rows, e.g.  failed  ·  duration > 100ms  ·  client_ip = '10.0.0.7' and status >= 500",
                        spellcheck: "false", autocomplete: "off", autocapitalize: "off",
                        oninput: move |event| {
                            draft.set(event.value());
                            doubt.set(None);
                            suggest.call(());
                        },
                        onclick: move |_| suggest.call(()),
                        onscroll: move |event| scrolled.set(event.scroll_left()),
                        onblur: move |_| offers.close(),
                        onkeydown: move |event| {
                            match offers.key(&event) {
                                Pressed::Take(at) => return take.call(at),
                                Pressed::Used => return,
                                Pressed::Unused => {}
                            }
                            match event.key() {
                                Key::ArrowDown => suggest.call(()),
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
                    OfferList { offers, ontake: take,
                        kbd { "↵" } " apply "
                        if let Some(doubt) = &*doubt.read() { span { class: "bad", "{doubt.message}" } }
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

const CHECK_MS: u32 = 350;

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
}
