//! A packet, and what its headers say.
use etherparse::{IpNumber, LaxIpSlice, TcpHeaderSlice, TcpOptionElement, UdpHeaderSlice};

use crate::fragment::Fragment;

/// Captured bytes, a time, a place seen.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was captured: nanoseconds since 1970, UTC.
    pub ts: i64,
    /// What the bytes begin with.
    pub link: Link,
    /// The capture's number of the interface it was seen on.
    pub interface: u32,
    /// Its length on the wire; more than `data` holds if the capture cut it.
    pub wire_len: u32,
    /// What was captured of it.
    pub data: &'a [u8],
}

/// The link layer a capture begins at: a LINKTYPE of <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// Ethernet (1).
    Ethernet,
    /// Linux cooked capture, version 1 (113).
    LinuxSll,
    /// Linux cooked capture, version 2 (276).
    LinuxSll2,
    /// BSD loopback, the family in the byte order of the writer (0).
    Null,
    /// OpenBSD loopback, the family in network byte order (108).
    Loop,
    /// An IP packet, its version in the first four bits (101).
    Raw,
    /// An IPv4 packet (228).
    Ipv4,
    /// An IPv6 packet (229).
    Ipv6,
    /// One that we do not read.
    Other(u16),
}

impl Link {
    /// From a LINKTYPE or DLT number. Raw IP has several numbers, by operating system.
    #[must_use]
    pub const fn from_dlt(number: u32) -> Self {
        match number {
            0 => Self::Null,
            1 => Self::Ethernet,
            12 | 14 | 101 => Self::Raw,
            108 => Self::Loop,
            113 => Self::LinuxSll,
            228 => Self::Ipv4,
            229 => Self::Ipv6,
            276 => Self::LinuxSll2,
            #[allow(clippy::cast_possible_truncation, reason = "a LINKTYPE has 16 bits")]
            it => Self::Other(it as u16),
        }
    }

    /// The LINKTYPE number.
    #[must_use]
    pub const fn dlt(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::Raw => 101,
            Self::Loop => 108,
            Self::LinuxSll => 113,
            Self::Ipv4 => 228,
            Self::Ipv6 => 229,
            Self::LinuxSll2 => 276,
            Self::Other(it) => it as u32,
        }
    }
}

/// An IPv4 or IPv6 address in 16 bytes, IPv4 as `::ffff:a.b.c.d`.
pub(crate) type Ip = [u8; 16];

/// What a packet carries, as far as its headers could be read.
#[derive(Debug)]
pub(crate) enum Carried<'a> {
    /// A TCP segment.
    Tcp(Ends, Tcp<'a>),
    /// A UDP datagram.
    Udp(Ends, Udp<'a>),
    /// Part of a fragmented IP packet.
    Fragment(Fragment<'a>),
    /// Something else, such as ARP or ICMP.
    Other,
    /// Headers that are cut off or make no sense.
    Malformed,
}

/// Who sent it to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: (Ip, u16),
    pub(crate) destination: (Ip, u16),
}

/// A TCP segment (RFC 9293).
#[derive(Debug)]
pub(crate) struct Tcp<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) window: u16,
    /// The window scale option, only meaningful with SYN.
    pub(crate) window_scale: Option<u8>,
    /// What was captured of the payload.
    pub(crate) payload: &'a [u8],
    /// How many payload bytes were sent; more than `payload` holds if the capture cut the packet.
    pub(crate) sent: usize,
}

/// A UDP datagram (RFC 768).
#[derive(Debug)]
pub(crate) struct Udp<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) sent: usize,
}

/// Reads a packet's headers down to TCP or UDP.
pub(crate) fn decode<'a>(packet: &Packet<'a>) -> Carried<'a> {
    match ip_of(packet) {
        Some(bytes) => ip(bytes, TUNNELS),
        None => Carried::Other,
    }
}

/// The IP packet within, if there is one.
fn ip_of<'a>(packet: &Packet<'a>) -> Option<&'a [u8]> {
    let data = packet.data;
    match packet.link {
        Link::Raw | Link::Ipv4 | Link::Ipv6 => Some(data),
        Link::Ethernet => ethernet(data),
        Link::LinuxSll => ether(u16_at(data, 14)?, data.get(16..)?),
        Link::LinuxSll2 => ether(u16_at(data, 0)?, data.get(20..)?),
        // The family's number differs between systems, so the IP version decides.
        Link::Null | Link::Loop => data.get(4..),
        Link::Other(_) => None,
    }
}

fn ethernet(frame: &[u8]) -> Option<&[u8]> {
    ether(u16_at(frame, 12)?, frame.get(14..)?)
}

/// What follows an EtherType: VLAN tags (802.1Q, 802.1ad and their older numbers), MPLS labels and
/// PPPoE sessions are looked through.
fn ether(mut kind: u16, mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..TAGS {
        match kind {
            0x0800 | 0x86dd => return Some(rest),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                kind = u16_at(rest, 2)?;
                rest = rest.get(4..)?;
            }
            0x8847 | 0x8848 => {
                let last = rest.get(2)? & 1 == 1;
                rest = rest.get(4..)?;
                if last {
                    // Labels do not say what they carry; an IP packet says it is one.
                    return matches!(rest.first()? >> 4, 4 | 6).then_some(rest);
                }
            }
            0x8864 => {
                // A protocol below 256 may be sent in one byte; only the last byte is odd.
                return match rest.get(6..)? {
                    [0x21 | 0x57, inner @ ..] | [0, 0x21 | 0x57, inner @ ..] => Some(inner),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
    None
}

/// The IP packet in a GRE tunnel (RFC 2784 and 2890), or in a mirrored frame that it carries
/// (ERSPAN I, II and III).
fn gre(bytes: &[u8]) -> Option<&[u8]> {
    let (flags, kind) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    let (sum, routing, key, sequence) = (0x8000, 0x4000, 0x2000, 0x1000);
    // Version 1 is PPTP's own.
    if flags & (routing | 7) != 0 {
        return None;
    }
    let fields = [sum, key, sequence].into_iter().filter(|it| flags & it != 0).count();
    let rest = bytes.get(4 + 4 * fields..)?;
    match kind {
        0x6558 => ethernet(rest),
        0x88be if flags & sequence == 0 => ethernet(rest),
        0x88be => ethernet(rest.get(8..)?),
        0x22eb => {
            let more = rest.get(11)? & 1 == 1;
            ethernet(rest.get(if more { 20 } else { 12 }..)?)
        }
        kind => ether(kind, rest),
    }
}

/// `tunnels` is how many more may lie inside.
fn ip(bytes: &[u8], tunnels: u8) -> Carried<'_> {
    let Ok((slice, _)) = LaxIpSlice::from_slice(bytes) else { return Carried::Malformed };
    let (source, destination, sent, id) = match &slice {
        LaxIpSlice::Ipv4(it) => {
            let header = it.header();
            let ends = (mapped(header.source()), mapped(header.destination()));
            // Zero is what offloading network cards leave: then the capture's length counts.
            let total = usize::from(header.total_len());
            let length = total.checked_sub(header.slice().len());
            (ends.0, ends.1, length, u32::from(header.identification()))
        }
        LaxIpSlice::Ipv6(it) => {
            let header = it.header();
            let options = it.extensions().slice().len();
            let length = usize::from(header.payload_length()).checked_sub(options);
            (header.source(), header.destination(), length, 0)
        }
    };
    let payload = slice.payload();
    let sent = sent.unwrap_or(payload.payload.len()).max(payload.payload.len());
    if payload.fragmented {
        return Fragment::of(&slice, source, destination, id)
            .map_or(Carried::Malformed, Carried::Fragment);
    }
    carried(payload.ip_number, source, destination, payload.payload, sent, tunnels)
}

/// Reads the transport header of an IP payload; `sent` is the payload's length on the wire.
pub(crate) fn transport(
    number: IpNumber,
    source: Ip,
    destination: Ip,
    bytes: &[u8],
    sent: usize,
) -> Carried<'_> {
    carried(number, source, destination, bytes, sent, TUNNELS)
}

fn carried(
    number: IpNumber,
    source: Ip,
    destination: Ip,
    bytes: &[u8],
    sent: usize,
    tunnels: u8,
) -> Carried<'_> {
    match (number, tunnels.checked_sub(1)) {
        (IpNumber::TCP, _) => tcp(source, destination, bytes, sent).unwrap_or(Carried::Malformed),
        (IpNumber::UDP, _) => udp(source, destination, bytes).unwrap_or(Carried::Malformed),
        (IpNumber::IPV4 | IpNumber::IPV6, Some(tunnels)) => ip(bytes, tunnels),
        (IpNumber::GRE, Some(tunnels)) => gre(bytes).map_or(Carried::Other, |it| ip(it, tunnels)),
        _ => Carried::Other,
    }
}

fn tcp(source: Ip, destination: Ip, bytes: &[u8], sent: usize) -> Option<Carried<'_>> {
    let header = TcpHeaderSlice::from_slice(bytes).ok()?;
    let length = header.slice().len();
    let window_scale = header.syn().then(|| {
        header.options_iterator().find_map(|option| match option {
            Ok(TcpOptionElement::WindowScale(shift)) => Some(shift.min(14)),
            _ => None,
        })
    });
    let ends = Ends {
        source: (source, header.source_port()),
        destination: (destination, header.destination_port()),
    };
    let segment = Tcp {
        seq: header.sequence_number(),
        ack: header.ack().then(|| header.acknowledgment_number()),
        syn: header.syn(),
        fin: header.fin(),
        rst: header.rst(),
        window: header.window_size(),
        window_scale: window_scale.flatten(),
        payload: bytes.get(length..)?,
        sent: sent.saturating_sub(length),
    };
    Some(Carried::Tcp(ends, segment))
}

fn udp(source: Ip, destination: Ip, bytes: &[u8]) -> Option<Carried<'_>> {
    let header = UdpHeaderSlice::from_slice(bytes).ok()?;
    let rest = bytes.get(header.slice().len()..)?;
    // A length of zero stands for a jumbogram (RFC 2675) or an offloading card.
    let sent = usize::from(header.length()).checked_sub(header.slice().len()).unwrap_or(rest.len());
    let ends = Ends {
        source: (source, header.source_port()),
        destination: (destination, header.destination_port()),
    };
    Some(Carried::Udp(ends, Udp { payload: rest.get(..sent).unwrap_or(rest), sent }))
}

fn mapped([a, b, c, d]: [u8; 4]) -> Ip {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

/// Tags looked through: QinQ has two, a provider bridge may add a third, labels stand behind them.
const TAGS: usize = 8;

/// Tunnels looked through: one in another is a mirrored tunnel.
const TUNNELS: u8 = 3;
