//! The block format: sections, each with its own byte order and interfaces.

use dissect::Link;

use super::{
    Found, Step,
    window::{Fault, Order, WINDOW_BYTES, Window},
};
use crate::{Drops, PACKET_BYTES};
use ::pcapng::block::{
    BYTE_ORDER, DECRYPTION_SECRETS, ENHANCED_PACKET, INTERFACE, INTERFACE_STATISTICS,
    OBSOLETE_PACKET, OPTION_END, OPTION_TSOFFSET, OPTION_TSRESOL, SECTION, SIMPLE_PACKET,
};

/// How every file begins: the one block type that reads the same in both byte orders.
pub(super) const SECTION_HEADER: [u8; 4] = SECTION.to_le_bytes();

/// Reads blocks.
#[derive(Debug)]
pub(super) struct Reader {
    order: Order,
    interfaces: Vec<Interface>,
    /// Interfaces of the sections before this one: a packet's interface is counted through the file.
    earlier: u32,
    earlier_drops: Drops,
    /// For the packets that have no time of their own.
    last_ts: i64,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            order: Order::Little,
            interfaces: Vec::new(),
            earlier: 0,
            earlier_drops: Drops::default(),
            last_ts: 0,
        }
    }

    pub(super) fn next(&mut self, window: &mut Window) -> Result<Option<Step>, Fault> {
        loop {
            let at = window.offset();
            if !window.fill(BLOCK_HEADER)? {
                return if window.peek(1).is_empty() { Ok(None) } else { Err(Fault::Torn { at }) };
            }
            if window.peek(4) == SECTION_HEADER {
                self.order = section_order(window, at)?;
            }
            let head = window.peek(BLOCK_HEADER);
            let (kind, length) = (self.order.u32(head, 0), self.order.u32(head, 4));
            if length < BLOCK_HEADER as u32 + 4 || !length.is_multiple_of(4) {
                return Err(corrupt(at, format!("a block claims {length} bytes")));
            }
            if kind == DECRYPTION_SECRETS {
                match self.secrets(window, at, length)? {
                    Some(log) => return Ok(Some(Step::Secrets(log))),
                    None => continue,
                }
            }
            let wanted = matches!(
                kind,
                SECTION
                    | INTERFACE
                    | OBSOLETE_PACKET
                    | SIMPLE_PACKET
                    | ENHANCED_PACKET
                    | INTERFACE_STATISTICS
            );
            if !wanted {
                self.skip(window, at, length)?;
                continue;
            }
            let length = length as usize;
            if length > WINDOW_BYTES {
                return Err(corrupt(at, format!("a block of kind {kind} claims {length} bytes")));
            }
            if !window.fill(length)? {
                return Err(Fault::Torn { at });
            }
            let block = window.peek(length);
            if self.order.u32(block, length - 4) as usize != length {
                return Err(corrupt(at, "a block's two lengths differ".to_owned()));
            }
            let body = &block[BLOCK_HEADER..length - 4];
            let packet = match kind {
                SECTION => {
                    self.section(body, at)?;
                    None
                }
                INTERFACE => {
                    self.interface(body, at)?;
                    None
                }
                INTERFACE_STATISTICS => {
                    self.statistics(body);
                    None
                }
                SIMPLE_PACKET => Some(self.simple(body, at)?),
                kind => Some(self.packet(body, kind, at)?),
            };
            let Some(mut packet) = packet else {
                window.take(length);
                continue;
            };
            let block = window.take(length);
            let begin = block.start + BLOCK_HEADER;
            packet.data = begin + packet.data.start..begin + packet.data.end;
            self.last_ts = packet.ts;
            return Ok(Some(Step::Packet(packet)));
        }
    }

    /// Whether the next block is in memory (or is one that needs no waiting to be refused).
    pub(super) fn buffered(&self, window: &Window) -> bool {
        let head = window.peek(BLOCK_HEADER + 4);
        if head.len() < BLOCK_HEADER + 4 {
            return false;
        }
        let order = match head {
            [0x0a, 0x0d, 0x0d, 0x0a, _, _, _, _, 0x1a, ..] => Order::Big,
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => Order::Little,
            _ => self.order,
        };
        let length = order.u32(head, 4) as usize;
        length > WINDOW_BYTES || window.peek(length).len() == length
    }

    pub(super) fn drops(&self) -> Drops {
        let mut sum = self.earlier_drops;
        for interface in &self.interfaces {
            sum.received += interface.drops.received;
            sum.dropped_kernel += interface.drops.dropped_kernel;
            sum.dropped_interface += interface.drops.dropped_interface;
        }
        sum
    }

    fn section(&mut self, body: &[u8], at: u64) -> Result<(), Fault> {
        if body.len() < 16 {
            return Err(corrupt(at, "a section header is too short".to_owned()));
        }
        let (major, minor) = (self.order.u16(body, 4), self.order.u16(body, 6));
        if major != 1 {
            return Err(corrupt(at, format!("version {major}.{minor} of the format is not known")));
        }
        self.earlier_drops = self.drops();
        self.earlier =
            self.earlier.saturating_add(u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX));
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, body: &[u8], at: u64) -> Result<(), Fault> {
        if body.len() < 8 {
            return Err(corrupt(at, "an interface description is too short".to_owned()));
        }
        if self.interfaces.len() == MOST_INTERFACES {
            return Err(corrupt(
                at,
                format!("a section has more than {MOST_INTERFACES} interfaces"),
            ));
        }
        let mut interface = Interface {
            link: Link::from_dlt(u32::from(self.order.u16(body, 0))),
            snaplen: self.order.u32(body, 4),
            scale: Scale::Multiply(1_000),
            offset: 0,
            drops: Drops::default(),
        };
        for (code, value) in options(self.order, &body[8..]) {
            match (code, value) {
                (OPTION_TSRESOL, [resolution, ..]) => interface.scale = Scale::of(*resolution),
                (OPTION_TSOFFSET, value) if value.len() >= 8 => {
                    interface.offset = self.order.u64(value, 0).cast_signed();
                }
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn statistics(&mut self, body: &[u8]) {
        if body.len() < 12 {
            return;
        }
        let order = self.order;
        let Some(interface) = self.interfaces.get_mut(order.u32(body, 0) as usize) else { return };
        // A later block holds later totals, not more to add.
        for (code, value) in options(order, &body[12..]) {
            if value.len() < 8 {
                continue;
            }
            let value = order.u64(value, 0);
            match code {
                OPTION_RECEIVED => interface.drops.received = value,
                OPTION_DROPPED_INTERFACE => interface.drops.dropped_interface = value,
                OPTION_DROPPED_SYSTEM => interface.drops.dropped_kernel = value,
                _ => {}
            }
        }
    }

    /// Enhanced packets and the block they replaced, which differ in their first eight bytes.
    fn packet(&self, body: &[u8], kind: u32, at: u64) -> Result<Found, Fault> {
        if body.len() < PACKET_HEADER {
            return Err(corrupt(at, "a packet block is too short".to_owned()));
        }
        let id = if kind == OBSOLETE_PACKET {
            u32::from(self.order.u16(body, 0))
        } else {
            self.order.u32(body, 0)
        };
        let interface = self.described(id, at)?;
        let captured = self.order.u32(body, 12) as usize;
        if captured > interface.largest() {
            let what = format!("a packet claims {captured} bytes, more than any capture has");
            return Err(corrupt(at, what));
        }
        if captured > body.len() - PACKET_HEADER {
            return Err(corrupt(
                at,
                format!("a packet claims {captured} bytes, more than its block has"),
            ));
        }
        Ok(Found {
            ts: interface.time(self.order.halves(body, 4)),
            link: interface.link,
            interface: self.earlier.saturating_add(id),
            wire_len: self.order.u32(body, 16),
            data: PACKET_HEADER..PACKET_HEADER + captured,
        })
    }

    /// A packet without a time: it gets that of the packet before it.
    fn simple(&self, body: &[u8], at: u64) -> Result<Found, Fault> {
        if body.len() < 4 {
            return Err(corrupt(at, "a packet block is too short".to_owned()));
        }
        let interface = self.described(0, at)?;
        let wire_len = self.order.u32(body, 0);
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let captured = wire_len.min(snaplen) as usize;
        if captured > body.len() - 4 {
            return Err(corrupt(
                at,
                format!("a packet claims {captured} bytes, more than its block has"),
            ));
        }
        Ok(Found {
            ts: self.last_ts,
            link: interface.link,
            interface: self.earlier,
            wire_len,
            data: 4..4 + captured,
        })
    }

    fn described(&self, id: u32, at: u64) -> Result<&Interface, Fault> {
        self.interfaces.get(id as usize).ok_or_else(|| {
            let known = self.interfaces.len();
            corrupt(at, format!("a packet names interface {id}, and {known} are described"))
        })
    }

    /// The TLS secrets of a block; `None` if it has others (pcapng, "Decryption Secrets Block").
    fn secrets(&self, window: &mut Window, at: u64, length: u32) -> Result<Option<Vec<u8>>, Fault> {
        const HEAD: usize = BLOCK_HEADER + 8;
        let known = length as usize >= HEAD + 4 && window.fill(HEAD)?;
        let head = window.peek(HEAD);
        if !known || self.order.u32(head, BLOCK_HEADER) != TLS_KEY_LOG {
            self.skip(window, at, length)?;
            return Ok(None);
        }
        let mut left = self.order.u32(head, BLOCK_HEADER + 4) as usize;
        let room = length as usize - HEAD - 4;
        if left > room {
            return Err(corrupt(
                at,
                format!("a block has room for {room} bytes of secrets, and claims {left}"),
            ));
        }
        if left > MOST_SECRET_BYTES {
            return Err(corrupt(at, format!("a block claims {left} bytes of secrets")));
        }
        window.take(HEAD);
        let mut rest = length - HEAD as u32;
        let mut log = Vec::new();
        while left > 0 {
            let part = left.min(WINDOW_BYTES);
            if !window.fill(part)? {
                return Err(Fault::Torn { at });
            }
            let part = window.take(part);
            left -= part.len();
            rest -= part.len() as u32;
            log.extend_from_slice(window.slice(part));
        }
        self.leave(window, at, length, rest)?;
        Ok(Some(log))
    }

    /// Steps over a block of any length without holding it.
    fn skip(&self, window: &mut Window, at: u64, length: u32) -> Result<(), Fault> {
        self.leave(window, at, length, length)
    }

    /// Steps over what is left of a block.
    fn leave(&self, window: &mut Window, at: u64, length: u32, left: u32) -> Result<(), Fault> {
        if !window.skip(u64::from(left) - 4)? || !window.fill(4)? {
            return Err(Fault::Torn { at });
        }
        if self.order.u32(window.peek(4), 0) != length {
            return Err(corrupt(at, "a block's two lengths differ".to_owned()));
        }
        window.take(4);
        Ok(())
    }
}

#[derive(Debug)]
struct Interface {
    link: Link,
    /// Zero if there is no limit.
    snaplen: u32,
    scale: Scale,
    /// Seconds to add to every time.
    offset: i64,
    drops: Drops,
}

impl Interface {
    fn largest(&self) -> usize {
        (self.snaplen as usize).max(PACKET_BYTES)
    }

    /// Nanoseconds since 1970; what lies outside the range is put at its edge.
    fn time(&self, raw: u64) -> i64 {
        let raw = i128::from(raw);
        let ns = match self.scale {
            Scale::Multiply(by) => raw * i128::from(by),
            Scale::Divide(by) => raw / i128::from(by),
            Scale::Shift(by) => (raw * NANOS) >> by,
        };
        let ns = ns + i128::from(self.offset) * NANOS;
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    }
}

/// How a time becomes nanoseconds.
#[derive(Debug, Clone, Copy)]
enum Scale {
    Multiply(u64),
    Divide(u64),
    /// Units of 2⁻ⁿ seconds.
    Shift(u32),
}

impl Scale {
    fn of(resolution: u8) -> Self {
        let n = u32::from(resolution & 0x7f);
        if resolution & 0x80 != 0 {
            Self::Shift(n)
        } else if n <= 9 {
            Self::Multiply(10u64.pow(9 - n))
        } else {
            // So fine that 64 bits of it are no nanosecond.
            10u64.checked_pow(n - 9).map_or(Self::Multiply(0), Self::Divide)
        }
    }
}

/// The byte order that a section's header declares.
fn section_order(window: &mut Window, at: u64) -> Result<Order, Fault> {
    if !window.fill(BLOCK_HEADER + 4)? {
        return Err(Fault::Torn { at });
    }
    let mark = &window.peek(BLOCK_HEADER + 4)[BLOCK_HEADER..];
    [Order::Little, Order::Big]
        .into_iter()
        .find(|order| order.u32(mark, 0) == BYTE_ORDER)
        .ok_or_else(|| corrupt(at, "a section header has no byte order".to_owned()))
}

/// Code and value of each option, as far as they make sense.
fn options(order: Order, mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(4)?;
        let (code, length) = (order.u16(head, 0), usize::from(order.u16(head, 2)));
        if code == OPTION_END {
            return None;
        }
        let value = rest.get(..length)?;
        bytes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

fn corrupt(at: u64, what: String) -> Fault {
    Fault::Corrupt { at, what }
}

const NANOS: i128 = 1_000_000_000;
/// Kind and length.
const BLOCK_HEADER: usize = 8;
/// Interface, time and lengths.
const PACKET_HEADER: usize = 20;
/// More than a section of any real file describes; a hostile one gets no more memory than this.
const MOST_INTERFACES: usize = 65_536;
/// Some 40,000 sessions: more than any tool puts into a block, and a hostile file gets no more memory than this.
const MOST_SECRET_BYTES: usize = 16 << 20;
/// The kind of secrets that a key log has (`TLSK`).
const TLS_KEY_LOG: u32 = 0x544c_534b;
const OPTION_RECEIVED: u16 = 4;
const OPTION_DROPPED_INTERFACE: u16 = 5;
const OPTION_DROPPED_SYSTEM: u16 = 7;
