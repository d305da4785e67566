//! What is known, told to one who listens.

use crate::{now, watched::Inner};
use identity::Update;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// All that is known of the cluster, in pieces, and then what changes.
#[derive(Debug)]
pub struct Subscription {
    inner: Arc<Inner>,
    changes: watch::Receiver<u64>,
    /// All that became known up to then was told.
    told: i64,
    stage: Stage,
    stale_since: Option<i64>,
    targeted: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was told.
    New,
    /// A part of the whole was.
    Part,
    /// All was.
    Whole,
}

impl Subscription {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        let changes = inner.changes();
        Self {
            inner,
            changes,
            told: i64::MIN,
            stage: Stage::New,
            stale_since: None,
            targeted: false,
        }
    }

    /// What is to be told next; waits until there is something. Nothing once nobody watches any more.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            self.changes.borrow_and_update();
            if let Some(update) = self.update() {
                return Some(update);
            }
            self.changes.changed().await.ok()?;
            // What comes together is told together.
            tokio::time::sleep(TOGETHER).await;
        }
    }

    fn update(&mut self) -> Option<Update> {
        let (ready, stale_since) = self.inner.standing();
        if self.stage == Stage::New && !ready {
            return None;
        }
        // Before the facts are read: what isn't among them by then is not there.
        let at = now();
        let (facts, targeted) = {
            let facts = self.inner.facts();
            (facts.since(self.told, PIECE), facts.is_targeted())
        };
        let changed = stale_since != self.stale_since || targeted != self.targeted;
        if self.stage == Stage::Whole && facts.is_empty() && !changed {
            return None;
        }
        let first = self.stage == Stage::New;
        let last = self.stage != Stage::Whole && facts.len() < PIECE;
        self.stage = if last || self.stage == Stage::Whole { Stage::Whole } else { Stage::Part };
        self.told = facts.last().map_or(self.told, |it| it.at);
        self.stale_since = stale_since;
        self.targeted = targeted;
        Some(Update { first, whole: last.then_some(at), facts, targeted, stale_since })
    }
}

/// Facts told at a time: some hundred KiB.
const PIECE: usize = 500;
/// How long changes are gathered.
const TOGETHER: Duration = Duration::from_millis(100);
