//! Link layers, down to the IP packet in a frame.
use crate::carrier::{Carrier, Outer};
use crate::packet::u16_at;

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
    /// Another; of these PPP, Cisco HDLC, frame relay, FDDI, 802.11 (with radiotap or without) and
    /// Linux netfilter's log are read.
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

/// The IP packet within a frame, if there is one; what it is wrapped in goes to `outer`.
pub(crate) fn ip_of<'a>(link: Link, data: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    match link {
        Link::Raw | Link::Ipv4 | Link::Ipv6 => Some(data),
        Link::Ethernet => ethernet(data, outer),
        Link::LinuxSll => ether(u16_at(data, 14)?, data.get(16..)?, outer),
        Link::LinuxSll2 => ether(u16_at(data, 0)?, data.get(20..)?, outer),
        // The family's number differs between systems, so the IP version decides.
        Link::Null | Link::Loop => data.get(4..),
        Link::Other(9 | 50) => ppp(data),
        Link::Other(10) => llc(data.get(13..)?, outer),
        Link::Other(104) => ether(u16_at(data, 2)?, data.get(4..)?, outer),
        Link::Other(105) => wireless(data, outer),
        Link::Other(107) => frame_relay(data, outer),
        Link::Other(127) => {
            let header = usize::from(u16::from_le_bytes([*data.get(2)?, *data.get(3)?]));
            wireless(data.get(header..)?, outer)
        }
        Link::Other(239) => netfilter_log(data),
        Link::Other(_) => None,
    }
}

/// Of an Ethernet frame (IEEE 802.3).
pub(crate) fn ethernet<'a>(frame: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    ether(u16_at(frame, 12)?, frame.get(14..)?, outer)
}

/// What follows an EtherType, or a length: VLAN tags (802.1Q, 802.1ad and their older numbers), other
/// tags, MPLS labels and PPPoE sessions are looked through.
pub(crate) fn ether<'a>(mut kind: u16, mut rest: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    for _ in 0..TAGS {
        match kind {
            0x0800 | 0x86dd => return Some(rest),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                outer.vlan = Some(u16_at(rest, 0)? & 0x0fff);
                kind = u16_at(rest, 2)?;
                rest = rest.get(4..)?;
            }
            0x8847 | 0x8848 => {
                let [a, b, c, _] = *rest.first_chunk()?;
                outer.within(Carrier::Mpls, Some(u32::from_be_bytes([0, a, b, c]) >> 4));
                rest = rest.get(4..)?;
                if c & 1 == 1 {
                    return labelled(rest, outer);
                }
            }
            // Cisco's metadata, such as security group tags: version, length in words, words.
            0x8909 => {
                let words = 2 + 4 * usize::from(*rest.get(1)?);
                kind = u16_at(rest, words)?;
                rest = rest.get(words + 2..)?;
            }
            // The interface of a virtual machine (802.1BR's forerunner).
            0x8926 => {
                kind = u16_at(rest, 4)?;
                rest = rest.get(6..)?;
            }
            0x8864 => {
                outer.within(Carrier::Pppoe, Some(u32::from(u16_at(rest, 2)?)));
                return ppp(rest.get(6..)?);
            }
            length if usize::from(length) <= LONGEST_LLC => return llc(rest, outer),
            _ => return None,
        }
    }
    None
}

/// Labels do not say what they carry: an IP packet, an Ethernet frame (RFC 4448), or one behind a
/// control word, whose first four bits are zero.
fn labelled<'a>(rest: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    match rest.first()? >> 4 {
        4 | 6 => Some(rest),
        0 => {
            let mut inner = *outer;
            match ethernet(rest.get(4..)?, &mut inner) {
                Some(found) => {
                    *outer = inner;
                    Some(found)
                }
                None => ethernet(rest, outer),
            }
        }
        _ => ethernet(rest, outer),
    }
}

/// PPP (RFC 1661), with its HDLC address or without; a protocol below 256 may be sent in one byte,
/// whose lowest bit is then set as in every last byte of a protocol number.
fn ppp(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes) {
        [0x21 | 0x57, inner @ ..] | [0, 0x21 | 0x57, inner @ ..] => Some(inner),
        _ => None,
    }
}

/// IEEE 802.2 with its SNAP extension (RFC 1042).
fn llc<'a>(bytes: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    let rest = bytes.strip_prefix(&[0xaa, 0xaa, 0x03, 0, 0, 0])?;
    let kind = u16_at(rest, 0)?;
    (usize::from(kind) > LONGEST_LLC).then(|| ether(kind, rest.get(2..)?, outer)).flatten()
}

/// RFC 2427: an address of two bytes, then a control byte and a network layer id.
fn frame_relay<'a>(data: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    match data.get(2..)? {
        [0x03, 0xcc | 0x8e, inner @ ..] | [0x03, 0, 0xcc | 0x8e, inner @ ..] => Some(inner),
        [0x03, 0x80, 0, 0, 0, rest @ ..] | [0x03, 0, 0x80, 0, 0, 0, rest @ ..] => {
            ether(u16_at(rest, 0)?, rest.get(2..)?, outer)
        }
        // Cisco's own: an EtherType right away.
        rest => ether(u16_at(rest, 0)?, rest.get(2..)?, outer),
    }
}

/// An IEEE 802.11 data frame that is not encrypted.
fn wireless<'a>(frame: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    let (kind, flags) = (*frame.first()?, *frame.get(1)?);
    let is_data = kind & 0b1100 == 0b1000;
    let (has_no_data, is_quality, is_protected) =
        (kind & 0x40 != 0, kind & 0x80 != 0, flags & 0x40 != 0);
    if !is_data || has_no_data || is_protected {
        return None;
    }
    let four_addresses = flags & 3 == 3;
    let header = 24 + if four_addresses { 6 } else { 0 } + if is_quality { 2 } else { 0 };
    llc(frame.get(header..)?, outer)
}

/// Linux's NFLOG: a header, then fields of length, type and value; the packet is one of them.
fn netfilter_log(data: &[u8]) -> Option<&[u8]> {
    let mut rest = data.get(4..)?;
    for _ in 0..LOG_FIELDS {
        let length = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?]);
        if kind == 9 {
            return rest.get(4..length.max(4).min(rest.len()));
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

/// Tags looked through: QinQ has two, a provider bridge may add a third, labels stand behind them.
const TAGS: usize = 8;

/// Up to here, what stands in an EtherType's place is a length (IEEE 802.3 §3.2.6).
const LONGEST_LLC: usize = 1500;

/// More than the kernel writes before the packet.
const LOG_FIELDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_looked_through() {
        for tag in [
            &b"\x81\0\0\x07\x08\0"[..],
            b"\x89\x09\x01\x01\0\x01\0\x05\x08\0",
            b"\x89\x09\x01\x01\0\x01\0\x05\x81\0\0\x07\x08\0",
            b"\x89\x26\x80\0\0\x02\x81\0\0\x07\x08\0",
        ] {
            let frame = [&[0; 12][..], tag, b"\x45packet"].concat();
            let found = ip_of(Link::Ethernet, &frame, &mut Outer::default());
            assert_eq!(found, Some(&b"\x45packet"[..]), "{}", tag.escape_ascii());
            for cut in 0..12 + tag.len() {
                let found = ip_of(Link::Ethernet, &frame[..cut], &mut Outer::default());
                assert!(found.is_none_or(<[u8]>::is_empty));
            }
        }
    }
}
