//! What past queries cost, for a while.

use api::Accounting;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// The accounting of the last queries, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<String, Accounting>,
    order: VecDeque<String>,
}

impl Accounts {
    pub(crate) fn keep(&self, accounting: Accounting) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = accounting.query_id.clone();
        if kept.by_id.insert(id.clone(), accounting).is_none() {
            kept.order.push_back(id);
        }
        while kept.order.len() > KEPT {
            if let Some(oldest) = kept.order.pop_front() {
                kept.by_id.remove(&oldest);
            }
        }
    }

    pub(crate) fn find(&self, id: &str) -> Option<Accounting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }
}

/// A thousand nodes' accounting is some hundred kilobytes.
const KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let accounts = Accounts::default();
        for n in 0..=KEPT {
            accounts.keep(Accounting { query_id: n.to_string(), ..Accounting::default() });
        }
        assert_eq!(accounts.find("0"), None);
        assert!(accounts.find("1").is_some() && accounts.find(&KEPT.to_string()).is_some());
    }
}
