//! The classic format: one header, then records.

use dissect::Link;

use super::{
    Found,
    window::{Fault, Order, WINDOW_BYTES, Window},
};
use crate::PACKET_BYTES;

/// Whether a file that begins like this is pcap of any kind.
pub(super) fn is_magic(head: &[u8]) -> bool {
    kind(head).is_some()
}

/// Reads records after the file's header.
#[derive(Debug)]
pub(super) struct Reader {
    order: Order,
    /// Nanoseconds in one unit of a time's second half.
    unit: i64,
    record_header: usize,
    lengths: Lengths,
    link: Link,
    largest: usize,
}

impl Reader {
    pub(super) fn new(window: &mut Window) -> Result<Self, Fault> {
        if !window.fill(FILE_HEADER)? {
            return Err(Fault::Torn { at: 0 });
        }
        let head = window.peek(FILE_HEADER);
        let Some((order, unit, record_header)) = kind(head) else {
            return Err(Fault::Corrupt { at: 0, what: "its signature changed".to_owned() });
        };
        let (major, minor) = (order.u16(head, 4), order.u16(head, 6));
        if major != 2 {
            let what = format!("version {major}.{minor} of the format is not known");
            return Err(Fault::Corrupt { at: 4, what });
        }
        let lengths = match minor {
            0..=2 => Lengths::Swapped,
            3 => Lengths::Either,
            _ => Lengths::CapturedFirst,
        };
        let snaplen = order.u32(head, 16) as usize;
        // The upper bits say how long a frame's checksum is.
        let link = Link::from_dlt(order.u32(head, 20) & 0x03ff_ffff);
        window.take(FILE_HEADER);
        let largest = snaplen.clamp(PACKET_BYTES, WINDOW_BYTES - record_header);
        Ok(Self { order, unit, record_header, lengths, link, largest })
    }

    #[inline]
    pub(super) fn next(&mut self, window: &mut Window) -> Result<Option<Found>, Fault> {
        let at = window.offset();
        if !window.fill(self.record_header)? {
            return if window.peek(1).is_empty() { Ok(None) } else { Err(Fault::Torn { at }) };
        }
        let record = self.record(window.peek(self.record_header));
        if record.captured > self.largest {
            let what =
                format!("a packet claims {} bytes, more than any capture has", record.captured);
            return Err(Fault::Corrupt { at, what });
        }
        if !window.fill(self.record_header + record.captured)? {
            return Err(Fault::Torn { at });
        }
        window.take(self.record_header);
        let data = window.take(record.captured);
        Ok(Some(Found {
            ts: record.ts,
            link: self.link,
            interface: 0,
            wire_len: record.wire_len,
            data,
        }))
    }

    /// Whether the next record is in memory (or is one that needs no waiting to be refused).
    pub(super) fn buffered(&self, window: &Window) -> bool {
        let head = window.peek(self.record_header);
        head.len() == self.record_header && {
            let whole = self.record_header.saturating_add(self.record(head).captured);
            whole > WINDOW_BYTES || window.peek(whole).len() == whole
        }
    }

    #[inline]
    fn record(&self, head: &[u8]) -> Record {
        let (seconds, fraction) = (self.order.u32(head, 0), self.order.u32(head, 4));
        let (mut captured, mut wire_len) = (self.order.u32(head, 8), self.order.u32(head, 12));
        let swap = match self.lengths {
            Lengths::CapturedFirst => false,
            Lengths::Swapped => true,
            Lengths::Either => captured > wire_len,
        };
        if swap {
            std::mem::swap(&mut captured, &mut wire_len);
        }
        let ts = i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * self.unit;
        Record { ts, captured: captured as usize, wire_len }
    }
}

struct Record {
    ts: i64,
    captured: usize,
    wire_len: u32,
}

/// Which of a record's two lengths is the captured one: very old versions had them the other way round.
#[derive(Debug, Clone, Copy)]
enum Lengths {
    CapturedFirst,
    Swapped,
    Either,
}

/// Byte order, nanoseconds in a unit of time, length of a record's header.
fn kind(head: &[u8]) -> Option<(Order, i64, usize)> {
    [Order::Little, Order::Big].into_iter().find_map(|order| match order.u32(head, 0) {
        0xa1b2_c3d4 => Some((order, 1_000, 16)),
        0xa1b2_3c4d => Some((order, 1, 16)),
        // Alexey Kuznetzov's libpcap: interface, protocol and direction follow each record's header.
        0xa1b2_cd34 => Some((order, 1_000, 24)),
        _ => None,
    })
}

const FILE_HEADER: usize = 24;
