//! A packet, and what its headers say.
use etherparse::{IpNumber, LaxIpSlice, TcpHeaderSlice, TcpOptionElement, UdpHeaderSlice};

use crate::carrier::{self, Carrier, Outer};
use crate::fragment::Fragment;
use crate::link::{Link, ip_of};
use crate::protocol::Transport;

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

/// An IPv4 or IPv6 address in 16 bytes, IPv4 as `::ffff:a.b.c.d`.
pub(crate) type Ip = [u8; 16];

/// What a packet carries, as far as its headers could be read.
#[derive(Debug)]
pub(crate) enum Carried<'a> {
    /// A TCP segment.
    Tcp(Ends, Tcp<'a>),
    /// A UDP datagram, or a packet of another protocol over IP that keeps such units.
    Datagram(Ends, Datagram<'a>),
    /// Part of a fragmented IP packet.
    Fragment(Fragment<'a>),
    /// Something else, such as ARP.
    Other,
    /// Headers that are cut off or make no sense.
    Malformed,
}

impl Carried<'_> {
    /// The addresses of who sent it to whom, if there are any.
    pub(crate) fn ends(&self) -> Option<(Ip, Ip)> {
        match self {
            Self::Tcp(ends, _) | Self::Datagram(ends, _) => {
                Some((ends.source.0, ends.destination.0))
            }
            Self::Fragment(it) => Some(it.ends()),
            Self::Other | Self::Malformed => None,
        }
    }
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

/// A UDP datagram (RFC 768), an ICMP message (RFC 792, RFC 4443), or what an SCTP packet (RFC 9260)
/// has behind its header.
#[derive(Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) transport: Transport,
    pub(crate) payload: &'a [u8],
    pub(crate) sent: usize,
}

/// Reads a packet's headers down to the transport, and what it was wrapped in.
pub(crate) fn decode<'a>(packet: &Packet<'a>) -> (Carried<'a>, Outer) {
    let mut outer = Outer::default();
    let carried = match ip_of(packet.link, packet.data, &mut outer) {
        Some(bytes) => ip(bytes, TUNNELS, &mut outer),
        None => Carried::Other,
    };
    (carried, outer)
}

/// `tunnels` is how many more may lie inside.
fn ip<'a>(bytes: &'a [u8], tunnels: u8, outer: &mut Outer) -> Carried<'a> {
    if let Some((number, ends, payload)) = plain(bytes) {
        return carried(number, ends, payload, payload.len(), tunnels, outer);
    }
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
    let ends = (source, destination);
    carried(payload.ip_number, ends, payload.payload, sent, tunnels, outer)
}

/// What nearly every packet is: IPv4 without options, whole and in one piece. The number of what it
/// carries, its ends and its payload.
fn plain(bytes: &[u8]) -> Option<(IpNumber, (Ip, Ip), &[u8])> {
    let [0x45, _, a, b, _, _, c, d, _, number, _, _, ends @ ..] = bytes.first_chunk::<20>()? else {
        return None;
    };
    // The flag that forbids fragments says nothing.
    if u16::from_be_bytes([*c, *d]) & 0xbfff != 0 {
        return None;
    }
    let payload = bytes.get(20..usize::from(u16::from_be_bytes([*a, *b])))?;
    let [a, b, c, d, e, f, g, h] = *ends;
    Some((IpNumber(*number), (mapped([a, b, c, d]), mapped([e, f, g, h])), payload))
}

/// Reads the transport header of an IP payload; `sent` is the payload's length on the wire.
pub(crate) fn transport<'a>(
    number: IpNumber,
    ends: (Ip, Ip),
    bytes: &'a [u8],
    sent: usize,
    outer: &mut Outer,
) -> Carried<'a> {
    carried(number, ends, bytes, sent, TUNNELS, outer)
}

fn carried<'a>(
    number: IpNumber,
    (source, destination): (Ip, Ip),
    bytes: &'a [u8],
    sent: usize,
    tunnels: u8,
    outer: &mut Outer,
) -> Carried<'a> {
    let whole = |transport| {
        let ends = Ends { source: (source, 0), destination: (destination, 0) };
        Carried::Datagram(ends, Datagram { transport, payload: bytes, sent })
    };
    match (number, tunnels.checked_sub(1)) {
        (IpNumber::TCP, _) => tcp(source, destination, bytes, sent).unwrap_or(Carried::Malformed),
        (IpNumber::UDP, tunnels) => {
            let Some((ends, it)) = udp(source, destination, bytes) else {
                return Carried::Malformed;
            };
            let ports = [ends.destination.1, ends.source.1];
            let inner = tunnels.and_then(|tunnels| {
                let within = |port| carrier::datagram(port, it.payload, outer);
                ports.into_iter().find_map(within).map(|inner| (inner, tunnels))
            });
            match inner {
                Some((inner, tunnels)) => {
                    outer.between(source, destination);
                    ip(inner, tunnels, outer)
                }
                None => Carried::Datagram(ends, it),
            }
        }
        (IpNumber::ICMP, _) => whole(Transport::Icmp),
        (IpNumber::IPV6_ICMP, _) => whole(Transport::Icmpv6),
        (IpNumber::SCTP, _) => match (u16_at(bytes, 0), u16_at(bytes, 2), bytes.get(12..)) {
            (Some(from), Some(to), Some(payload)) => {
                let ends = Ends { source: (source, from), destination: (destination, to) };
                let sent = sent.saturating_sub(12);
                Carried::Datagram(ends, Datagram { transport: Transport::Sctp, payload, sent })
            }
            _ => Carried::Malformed,
        },
        (IpNumber::IPV4 | IpNumber::IPV6, Some(tunnels)) => {
            outer.within(Carrier::Ip, None);
            outer.between(source, destination);
            ip(bytes, tunnels, outer)
        }
        (IpNumber::GRE, Some(tunnels)) => match carrier::gre(bytes, outer) {
            Some(inner) => {
                outer.between(source, destination);
                ip(inner, tunnels, outer)
            }
            None => Carried::Other,
        },
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

fn udp(source: Ip, destination: Ip, bytes: &[u8]) -> Option<(Ends, Datagram<'_>)> {
    let header = UdpHeaderSlice::from_slice(bytes).ok()?;
    let rest = bytes.get(header.slice().len()..)?;
    // A length of zero stands for a jumbogram (RFC 2675) or an offloading card.
    let sent = usize::from(header.length()).checked_sub(header.slice().len()).unwrap_or(rest.len());
    let ends = Ends {
        source: (source, header.source_port()),
        destination: (destination, header.destination_port()),
    };
    let payload = rest.get(..sent).unwrap_or(rest);
    Some((ends, Datagram { transport: Transport::Udp, payload, sent }))
}

fn mapped([a, b, c, d]: [u8; 4]) -> Ip {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

/// Tunnels looked through: one in another is a mirrored tunnel.
const TUNNELS: u8 = 3;
