//! A field for SQL: coloured as it is written, with what could come next.

use std::rc::Rc;

use api::Function;
use dioxus::prelude::*;

use super::offers::{OfferList, Offers, Pressed};
use crate::{
    browser,
    client::{Failure, Session},
    filter::statement::{complete, words},
    range::Range,
    state::Catalog,
};

#[component]
pub(crate) fn SqlEditor(text: Signal<String>, onrun: EventHandler<()>) -> Element {
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let mut text = text;
    let offers = Offers::new(EDITOR);
    let mut scrolled = use_signal(|| (0.0_f64, 0.0_f64));
    // asked once, as long as there is no answer
    let functions = use_resource(move || async move {
        loop {
            match session.functions().await {
                Ok(answer) => return Rc::new(answer.functions),
                // an older Hub does not tell them
                Err(Failure::Refused(_)) => return Rc::default(),
                Err(_) => {}
            }
            browser::sleep(AGAIN_MS).await;
        }
    });
    let suggest = use_callback(move |is_wanted: bool| {
        let text = text.peek().clone();
        let cursor = browser::cursor(EDITOR).unwrap_or(text.len());
        let known: Rc<Vec<Function>> = functions.peek().clone().unwrap_or_default();
        let offer = complete(&text, cursor, &catalog.tables.peek(), &known, is_wanted);
        offers.show(offer, session, Range::default().clause(browser::now_ms()));
    });
    let take = use_callback(move |at: usize| {
        let Some((whole, cursor)) = offers.taken(at, &text.peek()) else { return };
        text.set(whole.clone());
        browser::set_field(EDITOR, &whole, cursor);
        suggest.call(false);
    });
    let shown = text.read().clone();
    let (left, top) = scrolled();
    let place = {
        let before = shown.get(..offers.place().start).unwrap_or_default();
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        format!(
            "left: clamp(0px, calc({column}ch + 10px - {left}px), calc(100% - 500px)); top: {}px",
            (line + 1) as f64 * LINE + 14.0 - top
        )
    };
    rsx! {
        div { class: "sql-field",
            div { class: "sql-paint", "aria-hidden": "true",
                pre { style: "transform: translate(-{left}px, -{top}px)",
                    for (token , at) in words(&shown) {
                        span { class: token.class(), {shown.get(at).unwrap_or_default()} }
                    }
                }
            }
            textarea { id: EDITOR, "data-testid": EDITOR, "aria-label": "SQL", spellcheck: "false", autocomplete: "off", autocapitalize: "off", wrap: "off",
                "aria-autocomplete": "list", "aria-controls": offers.is_open().then(|| offers.list()), "aria-activedescendant": offers.active(),
                placeholder: "SELECT …   Ctrl-Enter runs it, Ctrl-Space offers what could come next", value: "{shown}",
                oninput: move |event| {
                    text.set(event.value());
                    suggest.call(false);
                },
                onscroll: move |event| scrolled.set((event.scroll_left(), event.scroll_top())),
                onclick: move |_| offers.close(),
                onblur: move |_| offers.close(),
                onkeydown: move |event| {
                    let is_ctrl = event.modifiers().ctrl() || event.modifiers().meta();
                    match offers.key(&event) {
                        Pressed::Take(at) => return take.call(at),
                        Pressed::Used => return,
                        Pressed::Unused => {}
                    }
                    match event.key() {
                        Key::Enter if is_ctrl => {
                            event.prevent_default();
                            offers.close();
                            onrun.call(());
                        }
                        Key::Character(key) if key == " " && is_ctrl => {
                            event.prevent_default();
                            suggest.call(true);
                        }
                        Key::ArrowLeft | Key::ArrowRight | Key::Home | Key::End => offers.close(),
                        _ => {}
                    }
                }
            }
            if offers.is_open() {
                OfferList { offers, ontake: take, place, kbd { "esc" } " close" }
            }
        }
    }
}

pub(crate) const EDITOR: &str = "sql-editor";
/// The height of a line, as the style sheet has it.
const LINE: f64 = 20.0;
const AGAIN_MS: u32 = 3_000;
