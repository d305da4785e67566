//! Who asked for what, in the log: a line for each question, tail and change, once it has ended. They go to the target
//! `audit`, which `--log audit=off` silences.

use crate::callers::Caller;
use std::time::Instant;

/// One thing that somebody asked for. It is told of when this is dropped.
pub(crate) struct Asked {
    kind: &'static str,
    caller: Caller,
    /// In the asker's words.
    what: Box<str>,
    id: String,
    begun: Instant,
    outcome: &'static str,
    rows: u64,
}

impl Asked {
    /// `what` is cut if it is long. Until [`ended`](Self::ended) says otherwise, the asker went away.
    pub(crate) fn new(kind: &'static str, caller: Caller, what: &str, id: &str) -> Self {
        let what = what.get(..what.floor_char_boundary(LONGEST)).unwrap_or_default().into();
        let id = id.to_owned();
        Self { kind, caller, what, id, begun: Instant::now(), outcome: "cancelled", rows: 0 }
    }

    pub(crate) fn ended(&mut self, outcome: &'static str, rows: u64) {
        (self.outcome, self.rows) = (outcome, rows);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let caller = self.caller.address.map_or_else(|| "local".to_owned(), |it| it.to_string());
        // As `Debug` writes it, it can't pretend to be another line.
        tracing::info!(
            target: "audit",
            kind = self.kind,
            caller,
            // Whom the cluster knows; without, it is whoever has the Hub's own token, or is on its machine.
            user = self.caller.user.as_deref().map(tracing::field::debug),
            what = ?self.what,
            outcome = self.outcome,
            rows = self.rows,
            ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            id = self.id,
        );
    }
}

/// Bytes of a question; the parser takes more.
const LONGEST: usize = 4 << 10;
