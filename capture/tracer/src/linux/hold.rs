//! Plaintext that came before its connection was known: it waits for the next piece of the same TLS object that
//! knows it.
use std::collections::HashMap;

use super::abi::Head;

type Piece = (Head, Vec<u8>);

#[derive(Debug, Default)]
pub(super) struct Held {
    /// By process and TLS object.
    waiting: HashMap<(u32, u64), Vec<Piece>>,
    bytes: usize,
    /// Pieces that waited in vain, or found no room.
    pub(super) unplaced: u64,
    pub(super) unplaced_bytes: u64,
}

impl Held {
    /// Tells of a piece, and before it of those that waited for it.
    pub(super) fn place(&mut self, head: &Head, data: &[u8], tell: &mut dyn FnMut(&Head, &[u8])) {
        let key = (head.pid, head.session);
        let Some(ends) = head.ends else {
            if self.bytes + data.len() + OVERHEAD > MOST_BYTES {
                self.give_up(data.len());
            } else {
                self.bytes += data.len() + OVERHEAD;
                self.waiting.entry(key).or_default().push((head.clone(), data.to_vec()));
            }
            return;
        };
        if !self.waiting.is_empty() {
            for (mut waited, data) in self.waiting.remove(&key).unwrap_or_default() {
                self.bytes -= data.len() + OVERHEAD;
                waited.ends = Some(ends);
                waited.role = head.role;
                waited.from_start = head.from_start;
                tell(&waited, &data);
            }
        }
        tell(head, data);
    }

    /// Gives up on what has waited too long at `now`.
    pub(super) fn expire(&mut self, now: u64) {
        let mut gone = Vec::new();
        self.waiting.retain(|_, pieces| {
            let late = |it: &Piece| now.saturating_sub(it.0.ts) > LONGEST;
            let late = pieces.first().is_some_and(late);
            if late {
                gone.extend(pieces.iter().map(|it| it.1.len()));
            }
            !late
        });
        for length in gone {
            self.bytes -= length + OVERHEAD;
            self.give_up(length);
        }
    }

    fn give_up(&mut self, length: usize) {
        self.unplaced += 1;
        self.unplaced_bytes += length as u64;
    }
}

/// The next call of a library that does not do its own reading comes within a round trip.
const LONGEST: u64 = 2_000_000_000;
/// What is not placed by then is not going to be.
const MOST_BYTES: usize = 1 << 20;
/// About what a piece costs beside its bytes.
const OVERHEAD: usize = 256;
