//! Messages as two ends said them: the client's to the left, the server's to the right.

use api::RowKey;
use dioxus::{core::current_scope_id, prelude::*};

use super::value::Body;
use crate::{
    browser,
    talk::{Said, Word},
    value::{duration, grouped, size, time},
};

#[component]
pub(crate) fn Talk(
    said: Vec<Said>,
    /// Whose clock times are told by; without it, times are told from the beginning on.
    zone: Option<i64>,
    /// The row whose messages are marked.
    on: Option<RowKey>,
    /// Opens a row.
    onrow: Option<EventHandler<RowKey>>,
) -> Element {
    let list = use_hook(|| format!("talk-{}", current_scope_id().0));
    let marked = said.iter().position(|it| it.key.is_some() && it.key == on);
    use_effect({
        let list = list.clone();
        use_reactive(&marked, move |marked| {
            if let Some(at) = marked {
                browser::reveal(&format!("{list}-{at}"));
            }
        })
    });
    // what all are about needs not be said with each
    let first = said.first().map(|it| about(&it.title)).unwrap_or_default().to_owned();
    let is_same = said.len() > 1 && said.iter().all(|it| about(&it.title) == first);
    rsx! {
        div { class: "talk", role: "log", tabindex: 0, "aria-label": "messages, the client's to the left", "data-testid": "talk",
            for (at , it) in said.iter().enumerate() {
                {
                    let before = at.checked_sub(1).and_then(|at| said.get(at)).map(|it| it.at);
                    let since = before.map(|before| it.at.saturating_sub(before)).filter(|it| *it >= 0);
                    let who = if it.by_server { "server" } else { "client" };
                    let class = format!(
                        "message {who}{}{}",
                        if it.failed { " failed" } else { "" },
                        if marked == Some(at) || (it.key.is_some() && it.key == on) { " on" } else { "" }
                    );
                    let title = if is_same { verb(&it.title) } else { it.title.as_str() };
                    let when = match zone {
                        Some(zone) => time(it.at, zone).chars().skip(11).take(12).collect(),
                        None => format!("+{}", duration(it.at)),
                    };
                    let key = it.key.clone();
                    rsx! {
                        div { class, id: "{list}-{at}", "data-testid": "message",
                            div { class: "who",
                                span { class: "side", "{who}" }
                                if let (Some(onrow), Some(key)) = (onrow, key) {
                                    button { r#type: "button", title: "open this row", onclick: move |_| onrow.call(key.clone()), if title.is_empty() { "row" } else { "{title}" } }
                                } else {
                                    span { "{title}" }
                                }
                                span { class: "dim", title: since.map(|it| format!("{} after the one before", duration(it))), "{when}" }
                                if let Some(bytes) = it.size {
                                    span { class: "dim", title: "{grouped(bytes)} bytes", "{size(bytes)}" }
                                }
                            }
                            for word in it.words.iter() {
                                {words(word)}
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A message's text: short ones as they are, others in the looks that suit them.
fn words(word: &Word) -> Element {
    let text = std::str::from_utf8(&word.bytes).ok().filter(|text| {
        let is_plain = |char: char| !char.is_control() || matches!(char, '\n' | '\t');
        text.len() <= MOST_PLAIN
            && !text.trim_start().starts_with(['{', '[', '<'])
            && text.chars().all(is_plain)
    });
    rsx! {
        if !word.name.is_empty() {
            span { class: "note", "{word.name}" }
        }
        match text {
            Some(text) => rsx! { pre { class: "text", "{text}" } },
            None => rsx! { Body { bytes: word.bytes.clone(), media: word.media.clone() } },
        }
    }
}

fn verb(title: &str) -> &str {
    title.split_once(' ').map_or(title, |(verb, _)| verb)
}

fn about(title: &str) -> &str {
    title.split_once(' ').map_or("", |(_, about)| about)
}

const MOST_PLAIN: usize = 400;
