//! What happened in the cluster, the last of it.

use crate::about::Happening;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Events by uid, a bounded number: the oldest make room.
#[derive(Debug, Default)]
pub(crate) struct Events {
    all: HashMap<Arc<str>, Happening>,
    /// By when they happened last.
    order: BTreeSet<(i64, Arc<str>)>,
    forgotten: u64,
}

impl Events {
    /// An event, or one that happened again.
    pub(crate) fn put(&mut self, uid: &str, it: Happening) {
        let uid: Arc<str> = uid.into();
        let at = it.at;
        if let Some(before) = self.all.insert(Arc::clone(&uid), it) {
            self.order.remove(&(before.at, Arc::clone(&uid)));
        }
        self.order.insert((at, uid));
        while self.order.len() > EVENTS {
            self.forget_first();
        }
    }

    /// Lets go of those that happened last before that time.
    pub(crate) fn forget(&mut self, since: i64) {
        while self.order.first().is_some_and(|it| it.0 < since) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, uid)) = self.order.pop_first() {
            self.all.remove(&uid);
            self.forgotten += 1;
        }
    }

    /// From the oldest on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Happening> {
        self.order.iter().filter_map(|it| self.all.get(&it.1))
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many there were besides, as far as they were told.
    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// A few thousand pods' worth of a bad hour, in some ten MiB.
const EVENTS: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: i64) -> Happening {
        Happening { at, ..Happening::default() }
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut events = Events::default();
        let n = i64::try_from(EVENTS).unwrap();
        for i in 0..n + 10 {
            events.put(&format!("e{i}"), at(i));
        }
        assert_eq!((events.len(), events.forgotten()), (EVENTS, 10));
        assert_eq!(events.iter().next().unwrap().at, 10);
        // The oldest happened again: it is the newest now.
        events.put("e10", at(n * 2));
        events.put("new", at(n));
        assert_eq!((events.len(), events.forgotten()), (EVENTS, 11));
        assert_eq!(events.iter().last().unwrap().at, n * 2);
        events.forget(n * 2);
        assert_eq!((events.len(), events.all.len(), events.order.len()), (1, 1, 1));
    }
}
