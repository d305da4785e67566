//! Conversations that others announced, such as FTP's for data.
use hashbrown::HashMap;

use crate::packet::Ip;
use schema::FlowId;

/// Who will listen where, and for whom.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    by_end: HashMap<(Ip, u16), Announcement>,
}

/// One conversation to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) ts: i64,
    /// What it will speak.
    pub(crate) protocol: &'static str,
    /// The conversation that announced it.
    pub(crate) parent: FlowId,
}

impl Expected {
    /// Notes that somebody will listen there. Past its bound, all that is known is forgotten.
    pub(crate) fn insert(&mut self, end: (Ip, u16), announcement: Announcement) {
        if self.by_end.len() >= MOST {
            self.by_end.retain(|_, it| announcement.ts.saturating_sub(it.ts) < LIFETIME);
            if self.by_end.len() >= MOST {
                self.by_end.clear();
            }
        }
        self.by_end.insert(end, announcement);
    }

    /// What was announced for a conversation between these ends, and which of them listens.
    pub(crate) fn take(&mut self, ends: [(Ip, u16); 2], ts: i64) -> Option<(usize, Announcement)> {
        if self.by_end.is_empty() {
            return None;
        }
        let found = ends.iter().position(|it| self.by_end.contains_key(it))?;
        let announcement = self.by_end.remove(ends.get(found)?)?;
        (ts.saturating_sub(announcement.ts) < LIFETIME).then_some((found, announcement))
    }
}

/// Far more than a node's servers announce within a minute.
const MOST: usize = 4096;

/// Nanoseconds after which nobody comes any more.
const LIFETIME: i64 = 60 * crate::limits::SECOND;
