//! An SCTP association (RFC 9260): its chunks, and the messages its DATA chunks hold.
use std::collections::BTreeMap;

use crate::exchange::Side;
use crate::protocol::PROTOCOLS;
use crate::session::{Arrival, Context, Work};

/// What an association remembers between packets.
#[derive(Default)]
pub(crate) struct Association {
    chunks: Option<Box<dyn Work>>,
    ways: [Way; 2],
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Pieces of messages of which others are missing, by transmission sequence number.
    pieces: BTreeMap<u32, Piece>,
    bytes: usize,
    /// The latest numbers, so that what is sent again is not read again.
    recent: std::collections::VecDeque<u32>,
}

struct Piece {
    first: bool,
    last: bool,
    data: Vec<u8>,
}

/// One chunk of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) value: &'a [u8],
}

/// The chunks of a packet, as far as they were captured.
pub(crate) fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let [kind, flags, high, low] = *bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Chunk { kind, flags, value })
    })
}

impl Association {
    /// Whether the packet's sender opens the association (INIT) or answers (INIT ACK); `None` if it
    /// does neither.
    pub(crate) fn opens(&self, packet: &[u8]) -> Option<bool> {
        match chunks(packet).next()?.kind {
            INIT | COOKIE_ECHO => Some(true),
            INIT_ACK | COOKIE_ACK => Some(false),
            _ => None,
        }
    }

    /// Writes the rows of a packet's chunks.
    pub(crate) fn rows(&mut self, cx: &mut Context<'_>, side: Side, packet: &[u8], at: Arrival) {
        if self.chunks.is_none() {
            let place = PROTOCOLS.iter().position(|it| it.name == "sctp");
            self.chunks = place.and_then(|it| Some((PROTOCOLS.get(it)?.open)(it)));
        }
        if let Some(chunks) = &mut self.chunks {
            // What is no chunk ends the packet, not the association: the next one is read anew.
            if chunks.bytes(cx, side, packet, at).is_err() {
                *cx.lost += 1;
            }
            chunks.abandon(cx, Some(at.ts.saturating_sub(cx.limits.answer)));
        }
    }

    /// Hands on each message that a packet completes.
    pub(crate) fn messages(
        &mut self,
        way: usize,
        packet: &[u8],
        limit: usize,
        mut hand_on: impl FnMut(&[u8]),
    ) {
        let Some(way) = self.ways.get_mut(way) else { return };
        for chunk in chunks(packet).filter(|it| it.kind == DATA) {
            let (Some(number), Some(data)) =
                (chunk.value.first_chunk::<4>(), chunk.value.get(12..))
            else {
                continue;
            };
            let number = u32::from_be_bytes(*number);
            if way.recent.contains(&number) {
                continue;
            }
            if way.recent.len() >= RECENT {
                way.recent.pop_front();
            }
            way.recent.push_back(number);
            let (first, last) = (chunk.flags & 2 != 0, chunk.flags & 1 != 0);
            if first && last {
                hand_on(data);
                continue;
            }
            if way.bytes + data.len() > limit || way.pieces.len() >= RECENT {
                way.pieces.clear();
                way.bytes = 0;
            }
            way.bytes += data.len();
            way.pieces.insert(number, Piece { first, last, data: data.to_vec() });
            if let Some(whole) = way.whole(number) {
                hand_on(&whole);
            }
        }
    }

    /// Chunks that get no answer any more become rows.
    pub(crate) fn abandon(&mut self, cx: &mut Context<'_>) {
        if let Some(chunks) = &mut self.chunks {
            chunks.abandon(cx, None);
        }
    }

    /// About how many bytes wait here.
    pub(crate) fn held(&self) -> usize {
        let chunks = self.chunks.as_ref().map_or(0, |it| it.held());
        self.ways.iter().map(|it| it.bytes).sum::<usize>() + chunks
    }
}

impl Way {
    /// The message that the piece with this number completes.
    fn whole(&mut self, number: u32) -> Option<Vec<u8>> {
        let mut from = number;
        while !self.pieces.get(&from)?.first {
            from = from.wrapping_sub(1);
        }
        let mut to = number;
        while !self.pieces.get(&to)?.last {
            to = to.wrapping_add(1);
        }
        let mut whole = Vec::new();
        let mut next = from;
        loop {
            let piece = self.pieces.remove(&next)?;
            self.bytes = self.bytes.saturating_sub(piece.data.len());
            whole.extend_from_slice(&piece.data);
            if next == to {
                return Some(whole);
            }
            next = next.wrapping_add(1);
        }
    }
}

pub(crate) const DATA: u8 = 0;
pub(crate) const INIT: u8 = 1;
pub(crate) const INIT_ACK: u8 = 2;
pub(crate) const COOKIE_ECHO: u8 = 10;
pub(crate) const COOKIE_ACK: u8 = 11;

/// Numbers remembered, and pieces kept, of one direction.
const RECENT: usize = 256;
