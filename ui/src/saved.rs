//! Texts this browser keeps for its user: filters and statements, used lately or marked to be kept.

use serde::{Deserialize, Serialize};

use crate::browser;

/// A shelf of texts, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shelf {
    pub(crate) favourites: Vec<Kept>,
    pub(crate) history: Vec<String>,
}

/// A text with a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Shelf {
    pub(crate) fn load(place: &str) -> Self {
        browser::remembered(place)
            .and_then(|json| serde_json::from_str(&json).ok())
            .unwrap_or_default()
    }

    pub(crate) fn save(&self, place: &str) {
        if let Ok(json) = serde_json::to_string(self) {
            browser::remember(place, &json);
        }
    }

    /// Notes that a text was used.
    pub(crate) fn used(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() || text.len() > MOST_BYTES {
            return;
        }
        self.history.retain(|it| it != text);
        self.history.insert(0, text.to_owned());
        self.history.truncate(MOST_HISTORY);
    }

    pub(crate) fn is_kept(&self, text: &str) -> bool {
        self.favourites.iter().any(|it| it.text == text)
    }

    pub(crate) fn keep(&mut self, name: &str, text: &str) {
        self.favourites.retain(|it| it.text != text && it.name != name);
        self.favourites.insert(0, Kept { name: name.to_owned(), text: text.to_owned() });
        self.favourites.truncate(MOST_KEPT);
    }

    pub(crate) fn forget(&mut self, text: &str) {
        self.favourites.retain(|it| it.text != text);
        self.history.retain(|it| it != text);
    }
}

pub(crate) const FILTERS: &str = "kubeshark.filters";
pub(crate) const STATEMENTS: &str = "kubeshark.statements";
const MOST_HISTORY: usize = 30;
const MOST_KEPT: usize = 100;
const MOST_BYTES: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stands_first_and_nothing_stands_twice() {
        let mut shelf = Shelf::default();
        for text in ["a", "b", " a ", ""] {
            shelf.used(text);
        }
        assert_eq!(shelf.history, ["a", "b"]);
        for k in 0..100 {
            shelf.used(&k.to_string());
        }
        assert_eq!(shelf.history.len(), MOST_HISTORY);
        shelf.keep("slow", "x");
        shelf.keep("slower", "x");
        assert_eq!(shelf.favourites.len(), 1);
        assert!(shelf.is_kept("x"));
        shelf.forget("x");
        assert!(shelf.favourites.is_empty());
    }

    #[test]
    fn what_an_older_page_kept_is_read() {
        let shelf: Shelf =
            serde_json::from_str("{\"history\":[\"a\"],\"else\":1}").expect("members may lack");
        assert_eq!(shelf.history, ["a"]);
    }
}
