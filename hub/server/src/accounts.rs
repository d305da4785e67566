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
    /// With who asked, if the cluster knows her.
    by_id: HashMap<String, (Option<Arc<str>>, Accounting)>,
    order: VecDeque<String>,
}

impl Accounts {
    pub(crate) fn keep(&self, user: Option<Arc<str>>, accounting: Accounting) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = accounting.query_id.clone();
        if kept.by_id.insert(id.clone(), (user, accounting)).is_none() {
            kept.order.push_back(id);
        }
        while kept.order.len() > KEPT {
            if let Some(oldest) = kept.order.pop_front() {
                kept.by_id.remove(&oldest);
            }
        }
    }

    /// A query's accounting, for `user` if she asked for it herself; for nobody in particular, anybody's.
    pub(crate) fn find(&self, user: Option<&str>, id: &str) -> Option<Accounting> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asker, accounting) = kept.by_id.get(id)?;
        (user.is_none() || user == asker.as_deref()).then(|| accounting.clone())
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
            accounts.keep(None, Accounting { query_id: n.to_string(), ..Accounting::default() });
        }
        assert_eq!(accounts.find(None, "0"), None);
        assert!(accounts.find(None, "1").is_some());
        assert!(accounts.find(None, &KEPT.to_string()).is_some());
    }

    #[test]
    fn a_user_is_told_of_her_own_queries_only() {
        let accounts = Accounts::default();
        let of = |id: &str| Accounting { query_id: id.to_owned(), ..Accounting::default() };
        accounts.keep(Some("ann".into()), of("hers"));
        accounts.keep(None, of("the owner's"));
        assert!(accounts.find(Some("ann"), "hers").is_some());
        assert!(accounts.find(None, "hers").is_some());
        assert_eq!(accounts.find(Some("ben"), "hers"), None);
        assert_eq!(accounts.find(Some("ann"), "the owner's"), None);
    }
}
