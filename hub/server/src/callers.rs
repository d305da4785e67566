//! Who runs how many queries, or has how many tails, at once, so that one caller leaves room for the others.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Whoever asks. Whom the cluster knows are told apart by their names; there is one token for all others, so those by the
/// address they ask from; without one, as over a pipe, they are one caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    pub(crate) user: Option<Arc<str>>,
    pub(crate) address: Option<IpAddr>,
}

impl Caller {
    pub(crate) fn new(user: Option<Arc<str>>, address: Option<IpAddr>) -> Self {
        Self { user, address: address.map(|it| it.to_canonical()) }
    }

    /// What it is counted as.
    fn one(self) -> Self {
        let address = self.address.filter(|_| self.user.is_none());
        Self { address, ..self }
    }
}

/// The callers that have queries running. Bounded: each has at least one of the Hub's places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Callers(Arc<Mutex<HashMap<Caller, usize>>>);

/// A caller's query, as long as it runs.
#[derive(Debug)]
pub(crate) struct Running {
    callers: Callers,
    caller: Caller,
}

impl Callers {
    /// One query more of that caller, unless so many run already.
    pub(crate) fn admit(&self, caller: Caller, most: usize) -> Option<Running> {
        let caller = caller.one();
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = running.get(&caller).copied().unwrap_or_default();
        if own >= most {
            return None;
        }
        running.insert(caller.clone(), own + 1);
        drop(running);
        Some(Running { callers: self.clone(), caller })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.callers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = running.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                running.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Caller {
        Caller::new(None, Some(address.parse().unwrap()))
    }

    #[test]
    fn a_caller_has_its_places_and_no_others() {
        let callers = Callers::default();
        let here = || from("127.0.0.1");
        let first = callers.admit(here(), 2).unwrap();
        let _second = callers.admit(here(), 2).unwrap();
        assert!(callers.admit(here(), 2).is_none());
        // The same address as IPv6 writes it.
        assert!(callers.admit(from("::ffff:127.0.0.1"), 2).is_none());
        let other = callers.admit(from("10.0.0.1"), 2);
        assert!(other.is_some() && callers.admit(Caller::default(), 2).is_some());
        drop(first);
        let _third = callers.admit(here(), 2).unwrap();
        assert!(callers.admit(here(), 2).is_none());
        drop(other);
        assert_eq!(callers.0.lock().unwrap().len(), 1, "who has none is forgotten");
    }

    #[test]
    fn a_user_is_one_caller_wherever_she_asks_from() {
        let callers = Callers::default();
        let ann = |address: [u8; 4]| Caller::new(Some("ann".into()), Some(address.into()));
        let _one = callers.admit(ann([10, 0, 0, 1]), 1).unwrap();
        assert!(callers.admit(ann([10, 0, 0, 2]), 1).is_none());
        assert!(callers.admit(from("10.0.0.1"), 1).is_some());
    }
}
