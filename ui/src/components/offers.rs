//! What could come next, under the field that is written in: the filter bar's and the SQL editor's list.

use std::{collections::HashMap, ops::Range};

use api::{Kind, QueryRequest};
use dioxus::prelude::*;

use crate::{
    browser::{self, Abort},
    client::Session,
    filter::complete::{Column, Item, Offer},
    value::{literal, read, shown},
};

/// What is offered to a field now.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Offers {
    /// The field.
    id: &'static str,
    items: Signal<Vec<Item>>,
    place: Signal<Range<usize>>,
    chosen: Signal<Option<usize>>,
    /// Grows with each key: what was asked before it is not shown.
    turn: Signal<u64>,
    values: Signal<HashMap<Column, Vec<Item>>>,
}

/// What a key did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pressed {
    /// It takes this one.
    Take(usize),
    /// It moved within the list or closed it.
    Used,
    /// Nothing: it is the field's.
    Unused,
}

impl Offers {
    pub(crate) fn new(id: &'static str) -> Self {
        Self {
            id,
            items: use_signal(Vec::new),
            place: use_signal(|| 0..0),
            chosen: use_signal(|| None),
            turn: use_signal(|| 0),
            values: use_signal(HashMap::new),
        }
    }

    pub(crate) fn is_open(self) -> bool {
        !self.items.read().is_empty()
    }

    /// Where in the text it belongs.
    pub(crate) fn place(self) -> Range<usize> {
        self.place.read().clone()
    }

    /// The id of the list.
    pub(crate) fn list(self) -> String {
        format!("{}-offers", self.id)
    }

    /// The id of what is chosen in it.
    pub(crate) fn active(self) -> Option<String> {
        (self.chosen)().map(|at| self.item(at))
    }

    fn item(self, at: usize) -> String {
        format!("{}-offer-{at}", self.id)
    }

    pub(crate) fn close(mut self) {
        self.turn += 1;
        self.items.set(Vec::new());
        self.chosen.set(None);
    }

    /// Values that are known are of another time, or no longer the likeliest.
    pub(crate) fn forget_values(mut self) {
        self.values.write().clear();
    }

    pub(crate) fn is_turn(self, turn: u64) -> bool {
        *self.turn.peek() == turn
    }

    /// Shows an offer, and a moment later the values of its column that stand in rows of which `clause` is true.
    /// The turn that this is.
    pub(crate) fn show(mut self, offer: Offer, session: Session, clause: String) -> u64 {
        self.turn += 1;
        let mine = *self.turn.peek();
        self.place.set(offer.at);
        self.chosen.set(None);
        let known =
            offer.values.as_ref().and_then(|column| self.values.peek().get(column).cloned());
        self.items.set(known.clone().unwrap_or(offer.items));
        if let (Some(column), None) = (offer.values, known) {
            spawn(async move {
                browser::sleep(VALUES_MS).await;
                if !self.is_turn(mine) {
                    return;
                }
                let question = QueryRequest {
                    deadline_ms: Some(VALUES_DEADLINE_MS),
                    ..QueryRequest::sql(column.sql(&clause))
                };
                let Ok(answer) = session.ask(question, &Abort::new()).await else { return };
                let found = found(&answer.batches, column.kind);
                let mut values = self.values.write();
                if values.len() >= MOST_COLUMNS {
                    values.clear();
                }
                values.insert(column, found.clone());
                drop(values);
                if self.is_turn(mine) {
                    self.items.set(found);
                }
            });
        }
        mine
    }

    /// The text with one of the offered in its place, and where the cursor is then.
    pub(crate) fn taken(self, at: usize, text: &str) -> Option<(String, usize)> {
        let item = self.items.peek().get(at).cloned()?;
        let place = self.place.peek().clone();
        let before = text.get(..place.start).unwrap_or_default();
        let after = text.get(place.end..).unwrap_or_default();
        let is_close = after.starts_with([' ', ')', ',', '\n']) || item.text.ends_with(['(', '.']);
        let put = format!("{before}{}{}", item.text, if is_close { "" } else { " " });
        Some((format!("{put}{after}"), put.len()))
    }

    /// What a key does to the list.
    pub(crate) fn key(mut self, event: &Event<KeyboardData>) -> Pressed {
        let count = self.items.peek().len();
        if count == 0 {
            return Pressed::Unused;
        }
        let chosen = *self.chosen.peek();
        match event.key() {
            key @ (Key::ArrowDown | Key::ArrowUp) => {
                event.prevent_default();
                let next = match (chosen, key) {
                    (None, Key::ArrowDown) => 0,
                    (None, _) => count - 1,
                    (Some(at), Key::ArrowDown) => (at + 1) % count,
                    (Some(at), _) => (at + count - 1) % count,
                };
                self.chosen.set(Some(next));
                browser::reveal(&self.item(next));
                Pressed::Used
            }
            Key::Tab if !event.modifiers().shift() => {
                event.prevent_default();
                Pressed::Take(chosen.unwrap_or_default())
            }
            Key::Enter if !event.modifiers().ctrl() && !event.modifiers().meta() => match chosen {
                Some(at) => {
                    event.prevent_default();
                    Pressed::Take(at)
                }
                None => Pressed::Unused,
            },
            Key::Escape => {
                event.stop_propagation();
                self.close();
                Pressed::Used
            }
            _ => Pressed::Unused,
        }
    }
}

/// The list itself; what stands under it comes from the field.
#[component]
pub(crate) fn OfferList(
    offers: Offers,
    ontake: EventHandler<usize>,
    #[props(default)] place: String,
    children: Element,
) -> Element {
    let chosen = (offers.chosen)();
    rsx! {
        div { class: "popover offers", style: place,
            ul { id: offers.list(), role: "listbox", "aria-label": "what could come next", "data-testid": offers.list(),
                for (at , item) in offers.items.read().iter().enumerate() {
                    li { id: offers.item(at), role: "option", "aria-selected": chosen == Some(at), class: if chosen == Some(at) { "on" } else { "" },
                        title: "{item.doc}",
                        // the field keeps the focus
                        onmousedown: move |event| {
                            event.prevent_default();
                            ontake.call(at);
                        },
                        code { "{item.text}" }
                        span { class: "kind", "{item.what}" }
                        span { class: "doc", "{item.doc}" }
                    }
                }
            }
            p { class: "note", kbd { "↓" } kbd { "↑" } " choose " kbd { "tab" } " take " {children} }
        }
    }
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
const MOST_COLUMNS: usize = 50;
const MOST_VALUE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_offered_as_the_filter_reads_them() {
        let batch = crate::fixture::traffic(1);
        let at = |name| batch.schema().index_of(name).expect("it is there");
        let batch = batch.project(&[at("verb"), at("seq")]).expect("both are there");
        let items = found(&[batch], Kind::Label);
        assert_eq!(items, [Item { text: "'FETCH'".into(), what: "value", doc: "0 rows".into() }]);
    }
}
