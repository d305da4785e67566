//! Packets in packets: what carries them is noted, what they carry is read.
use crate::link::{ether, ethernet};
use crate::packet::{Ip, u16_at};

/// A way to carry packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Carrier {
    #[default]
    None,
    Mpls,
    Pppoe,
    Ip,
    Gre,
    Erspan,
    Vxlan,
    Geneve,
    Gtp,
    Teredo,
}

impl Carrier {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Mpls => "mpls",
            Self::Pppoe => "pppoe",
            Self::Ip => "ip",
            Self::Gre => "gre",
            Self::Erspan => "erspan",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gtp => "gtp",
            Self::Teredo => "teredo",
        }
    }
}

/// What a packet was wrapped in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outer {
    /// From the outermost; what does not fit is left out.
    layers: [Carrier; 4],
    /// The innermost carrier's number: network id, key, label, session or endpoint.
    pub(crate) id: Option<u32>,
    /// The innermost VLAN.
    pub(crate) vlan: Option<u16>,
    /// The addresses of the outermost IP packet, if another lies within: source, destination.
    pub(crate) ends: Option<(Ip, Ip)>,
}

impl Outer {
    /// Notes a carrier around what is read next.
    pub(crate) fn within(&mut self, carrier: Carrier, id: Option<u32>) {
        if let Some(free) = self.layers.iter_mut().find(|it| **it == Carrier::None) {
            *free = carrier;
        }
        self.id = id.or(self.id);
    }

    /// Notes the addresses of an IP packet that carries another.
    pub(crate) fn between(&mut self, source: Ip, destination: Ip) {
        self.ends.get_or_insert((source, destination));
    }

    /// The carriers, from the outermost, such as `gre+erspan`; `None` if there is none.
    pub(crate) fn name(&self) -> Option<String> {
        let layers = self.layers.iter().filter(|it| **it != Carrier::None);
        let names: Vec<_> = layers.map(|it| it.name()).collect();
        (!names.is_empty()).then(|| names.join("+"))
    }
}

/// The IP packet in a GRE tunnel (RFC 2784 and 2890), or in a mirrored frame that it carries
/// (ERSPAN I, II and III).
pub(crate) fn gre<'a>(bytes: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    let (flags, kind) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    let (sum, routing, key, sequence) = (0x8000, 0x4000, 0x2000, 0x1000);
    // Version 1 is PPTP's own.
    if flags & (routing | 7) != 0 {
        return None;
    }
    let fields = [sum, key, sequence].into_iter().filter(|it| flags & it != 0).count();
    let rest = bytes.get(4 + 4 * fields..)?;
    let key_at = if flags & sum == 0 { 4 } else { 8 };
    let id = (flags & key != 0).then(|| u32_at(bytes, key_at)).flatten();
    outer.within(Carrier::Gre, id);
    match kind {
        0x6558 => ethernet(rest, outer),
        0x88be if flags & sequence == 0 => {
            outer.within(Carrier::Erspan, None);
            ethernet(rest, outer)
        }
        0x88be => {
            outer.within(Carrier::Erspan, Some(u32::from(u16_at(rest, 2)? & 0x03ff)));
            ethernet(rest.get(8..)?, outer)
        }
        0x22eb => {
            outer.within(Carrier::Erspan, Some(u32::from(u16_at(rest, 2)? & 0x03ff)));
            let more = rest.get(11)? & 1 == 1;
            ethernet(rest.get(if more { 20 } else { 12 }..)?, outer)
        }
        kind => ether(kind, rest, outer),
    }
}

/// The IP packet that a datagram to a carrier's port holds. What does not look like that carrier
/// is left to the protocols.
pub(crate) fn datagram<'a>(port: u16, bytes: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    match port {
        // The second is what Linux used before a number was given.
        4789 | 8472 => vxlan(bytes, outer),
        6081 => geneve(bytes, outer),
        2152 => gtp(bytes, outer),
        4754 => {
            let mut inside = *outer;
            plausible(gre(bytes, &mut inside), inside, outer)
        }
        3544 => teredo(bytes, outer),
        _ => None,
    }
}

/// RFC 7348, and its extension that says what it carries (draft-ietf-nvo3-vxlan-gpe).
fn vxlan<'a>(bytes: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    let ([flags, .., next], [a, b, c, _]) =
        (*bytes.first_chunk::<4>()?, *bytes.get(4..)?.first_chunk::<4>()?);
    // Group policy (0x80 first) and GPE (0x04) add flags; the network id's is always there. What is
    // reserved is ignored, as the receiver must.
    if flags & 0x08 == 0 {
        return None;
    }
    let mut inside = *outer;
    inside.within(Carrier::Vxlan, Some(u32::from_be_bytes([0, a, b, c])));
    let rest = bytes.get(8..)?;
    let found = match (flags & 0x04 != 0, next) {
        (true, 1 | 2) => Some(rest),
        _ => ethernet(rest, &mut inside),
    };
    plausible(found, inside, outer)
}

/// RFC 8926.
fn geneve<'a>(bytes: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    let [first, ..] = *bytes.first_chunk::<8>()?;
    if first >> 6 != 0 {
        return None;
    }
    let options = 4 * usize::from(first & 0x3f);
    let mut inside = *outer;
    inside.within(Carrier::Geneve, Some(u32_at(bytes, 4)? >> 8));
    let rest = bytes.get(8 + options..)?;
    let found = match u16_at(bytes, 2)? {
        0x6558 => ethernet(rest, &mut inside),
        kind => ether(kind, rest, &mut inside),
    };
    plausible(found, inside, outer)
}

/// GTP-U version 1 (3GPP TS 29.281 §5): the user's packet.
fn gtp<'a>(bytes: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    let [flags, kind, ..] = *bytes.first_chunk::<8>()?;
    let (is_first_version, is_packet) = (flags & 0xf0 == 0x30, kind == 0xff);
    if !is_first_version || !is_packet {
        return None;
    }
    let mut inside = *outer;
    inside.within(Carrier::Gtp, u32_at(bytes, 4));
    let mut rest = bytes.get(8..)?;
    if flags & 7 != 0 {
        let mut next = *rest.get(3)?;
        rest = rest.get(4..)?;
        for _ in 0..GTP_EXTENSIONS {
            if next == 0 {
                break;
            }
            let length = 4 * usize::from(*rest.first()?).max(1);
            next = *rest.get(length - 1)?;
            rest = rest.get(length..)?;
        }
    }
    plausible(Some(rest), inside, outer)
}

/// RFC 4380: an IPv6 packet, behind an indication of where its sender is or without.
fn teredo<'a>(mut bytes: &'a [u8], outer: &mut Outer) -> Option<&'a [u8]> {
    if let [0, 1, id, secret, ..] = *bytes {
        bytes = bytes.get(13 + usize::from(id) + usize::from(secret)..)?;
    }
    if let [0, 0, ..] = *bytes {
        bytes = bytes.get(8..)?;
    }
    let mut inside = *outer;
    inside.within(Carrier::Teredo, None);
    plausible(Some(bytes).filter(|it| it.first().is_some_and(|it| it >> 4 == 6)), inside, outer)
}

/// What was found, if it begins as an IP packet does; only then it counts as carried.
fn plausible<'a>(found: Option<&'a [u8]>, inside: Outer, outer: &mut Outer) -> Option<&'a [u8]> {
    let found = found.filter(|it| it.first().is_some_and(|it| matches!(it >> 4, 4 | 6)))?;
    *outer = inside;
    Some(found)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|it| u32::from_be_bytes(*it))
}

/// Extension headers looked through.
const GTP_EXTENSIONS: usize = 8;
