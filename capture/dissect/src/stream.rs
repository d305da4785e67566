//! One direction of a TCP connection, put in order (RFC 9293 §3.4).
//!
//! Bytes count from 0 at the first one sent; sequence numbers, which wrap, are turned into such
//! offsets at once. Where bytes overlap, those that came first stay.
use std::collections::VecDeque;

use crate::session::Arrival;

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The sequence number of offset 0; unknown until the side has sent something.
    base: Option<u32>,
    /// All before was handed on, or given up.
    pub(crate) next: u64,
    /// Up to where the other side has acknowledged.
    pub(crate) acked: u64,
    /// When the other side first acknowledged bytes that are not here.
    acked_since: Option<Since>,
    /// Where the side said that it ends.
    pub(crate) end: Option<u64>,
    pub(crate) ended: bool,
    pending: VecDeque<Piece>,
    pending_bytes: usize,
}

/// Bytes that wait for those before them.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
    /// How many bytes were sent; more than `data` holds if the capture cut the packet.
    pub(crate) sent: usize,
    pub(crate) at: Arrival,
    since: Since,
}

/// A moment, as a time and as a count of the flow's packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    pub(crate) ts: i64,
    pub(crate) packet: u64,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.sent as u64
    }

    /// A piece costs more than its bytes.
    fn weight(&self) -> usize {
        self.data.len() + size_of::<Self>()
    }
}

impl Stream {
    pub(crate) fn started(&self) -> bool {
        self.base.is_some()
    }

    /// Sets where the stream begins, unless that is known.
    pub(crate) fn start(&mut self, seq: u32) {
        self.base.get_or_insert(seq);
    }

    pub(crate) fn begins_at(&self, seq: u32) -> bool {
        self.base == Some(seq)
    }

    /// A sequence number as an offset; negative if it lies before the beginning.
    pub(crate) fn offset(&self, seq: u32) -> Option<i64> {
        #[allow(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2³²")]
        let expected = self.base?.wrapping_add(self.next as u32);
        let ahead = seq.wrapping_sub(expected).cast_signed();
        i64::try_from(self.next).ok()?.checked_add(i64::from(ahead))
    }

    /// Notes what the other side has acknowledged.
    pub(crate) fn acknowledge(&mut self, to: u64, now: Since) {
        self.acked = self.acked.max(to);
        // One byte more is what a FIN counts for, captured or not.
        if self.acked > self.next + 1 {
            self.acked_since.get_or_insert(now);
        } else {
            self.acked_since = None;
        }
    }

    pub(crate) fn idle(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn held(&self) -> usize {
        self.pending_bytes
    }

    /// Moves on to `to`: all before was handed on.
    pub(crate) fn advance(&mut self, to: u64) {
        self.next = to;
        if self.acked <= to + 1 {
            self.acked_since = None;
        }
    }

    /// Keeps bytes for later, where none are kept yet.
    pub(crate) fn hold(
        &mut self,
        offset: u64,
        data: &[u8],
        sent: usize,
        at: Arrival,
        since: Since,
    ) {
        let end = offset + sent as u64;
        let mut from = offset.max(self.next);
        // Most pieces come in order, behind all that wait.
        let mut place = match self.pending.back() {
            Some(last) if last.end() <= from => self.pending.len(),
            _ => 0,
        };
        while from < end {
            while self.pending.get(place).is_some_and(|it| it.end() <= from) {
                place += 1;
            }
            let taken = self.pending.get(place).map(|it| (it.offset, it.end()));
            let until = taken.map_or(end, |(start, _)| start.clamp(from, end));
            if until > from {
                let part = size(from - offset)..size(until - offset);
                let part = part.start.min(data.len())..part.end.min(data.len());
                let data = data.get(part).unwrap_or_default().to_vec();
                let piece = Piece { offset: from, data, sent: size(until - from), at, since };
                self.pending_bytes += piece.weight();
                self.pending.insert(place, piece);
                place += 1;
            }
            from = taken.map_or(end, |(_, stop)| stop.max(until));
        }
    }

    /// The next bytes, if they are here and what their sender had seen by then was handed on too:
    /// a packet of the other direction may just be late.
    pub(crate) fn ready(&mut self, other_next: Option<u64>) -> Option<Piece> {
        let first = self.pending.front()?;
        let waits = other_next.is_some_and(|next| first.at.seen > next);
        if first.offset > self.next || waits {
            return None;
        }
        let piece = self.pending.pop_front()?;
        self.pending_bytes = self.pending_bytes.saturating_sub(piece.weight());
        Some(piece)
    }

    /// When the first of the bytes that wait came.
    pub(crate) fn waits_since(&self) -> Option<i64> {
        self.pending.front().map(|it| it.at.ts)
    }

    /// How many bytes have to be given up now, if any: those that are missing and will not come.
    pub(crate) fn missing(&self, now: Since, bound: usize, force: bool) -> Option<u64> {
        let (until, since) = match self.pending.front() {
            Some(first) if first.offset > self.next => (first.offset, first.since),
            // Here, but waiting for the other direction.
            Some(_) => return None,
            None if self.acked > self.next + 1 => (self.acked, self.acked_since?),
            None => return None,
        };
        let waited = now.ts.saturating_sub(since.ts);
        let passed = now.packet.saturating_sub(since.packet);
        // What the receiver has, but we have not, was lost by the capture: it comes late or never.
        let not_captured = self.acked >= until && (passed > LATE_PACKETS || waited > LATE_NANOS);
        let given_up = waited > WAIT_NANOS;
        let crowded = self.pending_bytes > bound || self.pending.len() > PIECES;
        (force || not_captured || given_up || crowded).then(|| until - self.next)
    }
}

/// A length within one packet, which fits.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// How far a capture that gathers from several queues may be out of order.
const LATE_PACKETS: u64 = 64;
/// The same as a time.
const LATE_NANOS: i64 = 1_000_000_000;
/// How long a retransmission is waited for.
const WAIT_NANOS: i64 = 10_000_000_000;
/// Pieces that wait in one direction; more is an attack, not a window.
const PIECES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Arrival = Arrival { ts: 0, seen: 0 };
    const NOW: Since = Since { ts: 0, packet: 0 };

    fn drain(stream: &mut Stream) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = stream.ready(None) {
            all.extend_from_slice(&piece.data);
            stream.advance(piece.offset + piece.sent as u64);
        }
        all
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut stream = Stream::default();
        stream.start(u32::MAX - 2);
        assert_eq!(stream.offset(u32::MAX - 2), Some(0));
        assert_eq!(stream.offset(1), Some(4));
        stream.advance(4);
        assert_eq!(stream.offset(0), Some(3));
        stream.advance(1 << 33);
        assert_eq!(stream.offset((u32::MAX - 2).wrapping_add(5)), Some((1 << 33) + 5));
    }

    #[test]
    fn overlapping_bytes_that_came_first_stay() {
        let mut stream = Stream::default();
        stream.hold(3, b"DEF", 3, AT, NOW);
        stream.hold(1, b"bcdefgh", 7, AT, NOW);
        stream.hold(0, b"a", 1, AT, NOW);
        assert_eq!(drain(&mut stream), b"abcDEFgh");
        assert_eq!(stream.held(), 0);
    }

    #[test]
    fn a_hole_is_given_up_when_the_receiver_has_its_bytes() {
        let mut stream = Stream::default();
        stream.start(0);
        stream.hold(10, b"later", 5, AT, NOW);
        let soon = Since { ts: 1, packet: LATE_PACKETS + 1 };
        assert_eq!(stream.missing(soon, 1 << 20, false), None, "a retransmission may come");
        stream.acknowledge(15, NOW);
        assert_eq!(stream.missing(soon, 1 << 20, false), Some(10));
    }
}
