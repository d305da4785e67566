//! The loss ledger.
use std::borrow::Cow;

use schema::Record;
use schema::value::{Label, Size, Time};

/// What was not seen or not kept, by node, interval and stage.
#[derive(Record)]
pub(crate) struct Losses<'a> {
    /// When the interval began.
    ts: Time,
    /// When it ended.
    until: Time,
    /// Where it was lost: `kernel`, `interface`, `file`, `reassembly`, `fragment`, `parser`, `flows`,
    /// `packet` (unreadable headers), `tracer` (plaintext read in processes), `crash`, `torn`, `quota` or `tail`.
    stage: Label<'a>,
    /// How many units of that stage: packets, gaps, messages, conversations or rows.
    count: u64,
    /// How many bytes, where that is known.
    bytes: Option<Size>,
    /// What happened, in a sentence.
    detail: Option<Cow<'a, str>>,
    /// The node that lost it.
    node: Label<'a>,
}

/// A loss to be entered in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When the interval began, in nanoseconds since 1970.
    pub from: i64,
    /// When it ended.
    pub until: i64,
    /// Where it was lost.
    pub stage: &'static str,
    /// How many units of that stage.
    pub count: u64,
    /// How many bytes, where that is known.
    pub bytes: Option<u64>,
    /// What happened, in a sentence.
    pub detail: Option<String>,
}

impl Loss {
    pub(crate) fn row<'a>(&'a self, node: &'a str) -> Losses<'a> {
        Losses {
            ts: Time(self.from),
            until: Time(self.until),
            stage: self.stage.into(),
            count: self.count,
            bytes: self.bytes.map(Size),
            detail: self.detail.as_deref().map(Cow::Borrowed),
            node: node.into(),
        }
    }
}
