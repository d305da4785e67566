//! IP packets in pieces (RFC 791 §3.2, RFC 8200 §4.5), put together again.
use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpSlice};
use rustc_hash::FxHashMap;

use crate::packet::Ip;

/// One piece of an IP packet.
#[derive(Debug, Hash)]
pub(crate) struct Fragment<'a> {
    key: Key,
    at: usize,
    last: bool,
    data: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: Ip,
    destination: Ip,
    id: u32,
    number: u8,
}

impl<'a> Fragment<'a> {
    pub(crate) fn ends(&self) -> (Ip, Ip) {
        (self.key.source, self.key.destination)
    }

    /// From an IP packet that says it is a fragment.
    pub(crate) fn of(slice: &LaxIpSlice<'a>, source: Ip, destination: Ip, id: u32) -> Option<Self> {
        let payload = slice.payload();
        let (id, at, more) = match slice {
            LaxIpSlice::Ipv4(it) => {
                let header = it.header();
                (id, header.fragments_offset().byte_offset(), header.more_fragments())
            }
            LaxIpSlice::Ipv6(it) => {
                let found = it.extensions().clone().into_iter().find_map(|it| match it {
                    Ipv6ExtensionSlice::Fragment(it) => Some(it),
                    _ => None,
                })?;
                (
                    found.identification(),
                    found.fragment_offset().byte_offset(),
                    found.more_fragments(),
                )
            }
        };
        let key = Key { source, destination, id, number: payload.ip_number.0 };
        Some(Self { key, at: usize::from(at), last: !more, data: payload.payload })
    }
}

/// IP packets of which some pieces are missing.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    packets: FxHashMap<Key, Partial>,
    bytes: usize,
}

#[derive(Debug)]
struct Partial {
    since: i64,
    /// Where pieces lie in `data`, sorted, never overlapping.
    have: Vec<(usize, usize)>,
    data: Vec<u8>,
    end: Option<usize>,
}

/// An IP payload put together.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) source: Ip,
    pub(crate) destination: Ip,
    pub(crate) number: IpNumber,
    pub(crate) data: Vec<u8>,
}

impl Fragments {
    /// Adds a piece; the whole payload once none is missing. `Err` counts packets given up.
    pub(crate) fn add(&mut self, ts: i64, piece: &Fragment<'_>) -> Result<Option<Whole>, u64> {
        let end = piece.at + piece.data.len();
        if piece.data.is_empty() || end > PACKET_BYTES {
            return Err(1);
        }
        let gone = self.make_room(ts, piece.data.len());
        let it = self.packets.entry(piece.key).or_insert_with(|| Partial {
            since: ts,
            have: Vec::new(),
            data: Vec::new(),
            end: None,
        });
        if piece.last {
            it.end.get_or_insert(end);
        }
        let grown = it.add(piece.at, piece.data);
        self.bytes += grown;
        if it.have.len() > PIECES || it.end.is_some_and(|total| it.data.len() > total) {
            self.forget(piece.key);
            return Err(gone + 1);
        }
        if it.have.first() == it.end.map(|total| (0, total)).as_ref() {
            let whole = self.forget(piece.key).map(|data| Whole {
                source: piece.key.source,
                destination: piece.key.destination,
                number: IpNumber(piece.key.number),
                data,
            });
            return Ok(whole);
        }
        if gone > 0 { Err(gone) } else { Ok(None) }
    }

    /// Packets still waiting for pieces.
    pub(crate) fn waiting(&self) -> u64 {
        self.packets.len() as u64
    }

    fn forget(&mut self, key: Key) -> Option<Vec<u8>> {
        let it = self.packets.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(it.data.len());
        Some(it.data)
    }

    /// Drops what waited too long, and then the oldest until there is room.
    fn make_room(&mut self, now: i64, need: usize) -> u64 {
        if self.bytes + need <= TOTAL_BYTES && self.packets.len() < PACKETS {
            return 0;
        }
        let before = self.packets.len();
        self.packets.retain(|_, it| now.saturating_sub(it.since) < WAIT_NANOS);
        self.bytes = self.packets.values().map(|it| it.data.len()).sum();
        while self.bytes + need > TOTAL_BYTES || self.packets.len() >= PACKETS {
            let Some(oldest) =
                self.packets.iter().min_by_key(|(_, it)| it.since).map(|(key, _)| *key)
            else {
                break;
            };
            self.forget(oldest);
        }
        (before - self.packets.len()) as u64
    }
}

impl Partial {
    /// Adds bytes where none are yet: what came first stays. Says by how much `data` grew.
    fn add(&mut self, at: usize, bytes: &[u8]) -> usize {
        let end = at + bytes.len();
        let before = self.data.len();
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        let mut from = at;
        let mut fill = |from: usize, until: usize| {
            if let (Some(to), Some(new)) =
                (self.data.get_mut(from..until), bytes.get(from - at..until - at))
            {
                to.copy_from_slice(new);
            }
        };
        for &(start, stop) in self.have.iter().filter(|it| it.1 > at && it.0 < end) {
            if start > from {
                fill(from, start);
            }
            from = from.max(stop);
        }
        if from < end {
            fill(from, end);
        }
        self.have.push((at, end));
        self.have.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(self.have.len());
        for &(start, stop) in &self.have {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(stop),
                _ => merged.push((start, stop)),
            }
        }
        self.have = merged;
        self.data.len() - before
    }
}

/// The longest IP payload.
const PACKET_BYTES: usize = 65_535;
/// Packets in pieces at a time: an attacker can start as many as they like.
const PACKETS: usize = 1024;
/// Pieces of one packet that do not touch: real ones arrive nearly in order.
const PIECES: usize = 64;
/// Bytes of all packets in pieces.
const TOTAL_BYTES: usize = 8 << 20;
/// How long Linux waits for pieces by default (`net.ipv4.ipfrag_time`).
const WAIT_NANOS: i64 = 30_000_000_000;
