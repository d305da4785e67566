//! A packet as its headers: what each says, and which of the packet's bytes say so.

use std::ops::Range;

use etherparse::{
    ArpOperation, ArpPacketSlice, EtherType, Ethernet2HeaderSlice, Icmpv4Slice, Icmpv6Slice,
    IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, SingleVlanSlice, TcpHeaderSlice, TcpOptionElement,
    UdpHeaderSlice, ether_type,
};

/// A header, or what comes behind the last of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    /// It in one line.
    pub(crate) short: String,
    pub(crate) range: Range<usize>,
    pub(crate) parts: Vec<Part>,
}

/// A field of a header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) range: Range<usize>,
}

/// The layers of a packet that begins as the LINKTYPE of that number says. What can't be read is the last one's bytes.
pub(crate) fn layers(link: u64, data: &[u8]) -> Vec<Layer> {
    let mut walk = Walk { data, at: 0, end: data.len(), layers: Vec::new() };
    let mut next = match link {
        0 | 108 => Next::Loopback,
        1 => Next::Ethernet,
        12 | 14 | 101 | 228 | 229 => Next::Ip,
        113 => Next::Cooked,
        276 => Next::Cooked2,
        _ => Next::Payload,
    };
    while next != Next::Payload && walk.at < walk.end && walk.layers.len() < MOST_LAYERS {
        let Some(then) = walk.step(next) else { break };
        next = then;
    }
    walk.rest()
}

/// A packet in one line: its innermost header, and what it carries where that reads as text.
pub(crate) fn summary(layers: &[Layer]) -> String {
    let Some(told) = layers.iter().rposition(|it| it.name != PAYLOAD && it.name != TRAILER) else {
        return layers.first().map(|it| it.short.clone()).unwrap_or_default();
    };
    let mut text = layers.get(told).map(|it| format!("{} {}", it.name, it.short));
    if let (Some(text), Some(payload)) = (&mut text, layers.get(told + 1))
        && let Some((_, line)) = payload.short.split_once(": ")
    {
        let head = text.split_once(", seq").map_or(text.as_str(), |(head, _)| head);
        *text = format!("{head}: {line}");
    }
    text.unwrap_or_default()
}

/// What the bytes that come next are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Ethernet,
    /// Linux's cooked captures, which have no Ethernet header.
    Cooked,
    Cooked2,
    Loopback,
    /// What an EtherType says.
    Ether(EtherType),
    Ip,
    /// What an IP header says.
    Inner(IpNumber),
    Vxlan,
    Geneve,
    Payload,
}

struct Walk<'a> {
    data: &'a [u8],
    at: usize,
    /// Where the packet ends by its own words; what follows is padding.
    end: usize,
    layers: Vec<Layer>,
}

impl<'a> Walk<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.data.get(self.at..self.end).unwrap_or_default()
    }

    /// Reads a header; nothing if it is cut off or makes no sense.
    fn step(&mut self, next: Next) -> Option<Next> {
        match next {
            Next::Ethernet => self.ethernet(),
            Next::Cooked => self.cooked(),
            Next::Cooked2 => self.cooked2(),
            Next::Loopback => {
                self.bytes().get(..4)?;
                self.layer("loopback", String::new(), 4, Vec::new());
                Some(Next::Ip)
            }
            Next::Ether(kind) => self.ether(kind),
            Next::Ip => match self.bytes().first()? >> 4 {
                4 => self.ipv4(),
                6 => self.ipv6(),
                _ => None,
            },
            Next::Inner(number) => self.inner(number),
            Next::Vxlan => self.vxlan(),
            Next::Geneve => self.geneve(),
            Next::Payload => None,
        }
    }

    /// Takes so many bytes as a layer; its parts say where in it they stand.
    fn layer(&mut self, name: &'static str, short: String, length: usize, parts: Vec<Part>) {
        let until = (self.at + length).min(self.end);
        let parts = parts.into_iter().map(|part| {
            let place = |at: usize| (self.at + at).min(until);
            Part { range: place(part.range.start)..place(part.range.end), ..part }
        });
        let layer = Layer { name, short, range: self.at..until, parts: parts.collect() };
        self.layers.push(layer);
        self.at = until;
    }

    /// What is left: the payload, and what pads the frame.
    fn rest(mut self) -> Vec<Layer> {
        let bytes = self.bytes();
        if !bytes.is_empty() {
            self.layer(PAYLOAD, first_line(bytes), bytes.len(), Vec::new());
        }
        let padding = self.data.len() - self.end;
        if padding > 0 {
            (self.at, self.end) = (self.end, self.data.len());
            self.layer(TRAILER, size(padding), padding, Vec::new());
        }
        self.layers
    }

    fn ethernet(&mut self) -> Option<Next> {
        let it = Ethernet2HeaderSlice::from_slice(self.bytes()).ok()?;
        let (to, from) = (mac(&it.destination()), mac(&it.source()));
        let parts = vec![
            part("destination", to.clone(), 0..6),
            part("source", from.clone(), 6..12),
            part("type", ether_name(it.ether_type()), 12..14),
        ];
        self.layer("Ethernet", format!("{from} → {to}"), 14, parts);
        Some(Next::Ether(it.ether_type()))
    }

    fn cooked(&mut self) -> Option<Next> {
        let bytes = self.bytes();
        let (way, kind) = (u16_at(bytes, 0)?, EtherType(u16_at(bytes, 14)?));
        let length = usize::from(u16_at(bytes, 4)?).min(8);
        let from = mac(bytes.get(6..6 + length)?);
        let parts = vec![
            part("packet type", way_name(way), 0..2),
            part("hardware", u16_at(bytes, 2)?.to_string(), 2..4),
            part("address", from.clone(), 6..6 + length),
            part("type", ether_name(kind), 14..16),
        ];
        self.layer("Linux cooked", format!("{} {from}", way_name(way)), 16, parts);
        Some(Next::Ether(kind))
    }

    fn cooked2(&mut self) -> Option<Next> {
        let bytes = self.bytes();
        let (kind, interface) = (EtherType(u16_at(bytes, 0)?), u32_at(bytes, 4)?);
        let (way, length) = (u16::from(*bytes.get(10)?), usize::from(*bytes.get(11)?).min(8));
        let from = mac(bytes.get(12..12 + length)?);
        let parts = vec![
            part("type", ether_name(kind), 0..2),
            part("interface", interface.to_string(), 4..8),
            part("hardware", u16_at(bytes, 8)?.to_string(), 8..10),
            part("packet type", way_name(way), 10..11),
            part("address", from.clone(), 12..12 + length),
        ];
        let short = format!("{} {from}, interface {interface}", way_name(way));
        self.layer("Linux cooked", short, 20, parts);
        Some(Next::Ether(kind))
    }

    fn ether(&mut self, kind: EtherType) -> Option<Next> {
        match kind {
            ether_type::IPV4 | ether_type::IPV6 => Some(Next::Ip),
            ether_type::ARP => self.arp(),
            ether_type::VLAN_TAGGED_FRAME
            | ether_type::PROVIDER_BRIDGING
            | ether_type::VLAN_DOUBLE_TAGGED_FRAME => {
                let it = SingleVlanSlice::from_slice(self.bytes()).ok()?;
                let id = it.vlan_identifier().value();
                let parts = vec![
                    part("priority", it.priority_code_point().value().to_string(), 0..1),
                    part("identifier", id.to_string(), 0..2),
                    part("type", ether_name(it.ether_type()), 2..4),
                ];
                self.layer("VLAN", id.to_string(), 4, parts);
                Some(Next::Ether(it.ether_type()))
            }
            EtherType(0x8847 | 0x8848) => {
                let word = u32_at(self.bytes(), 0)?;
                let (label, is_last) = (word >> 12, word & 0x100 != 0);
                let parts = vec![
                    part("label", label.to_string(), 0..3),
                    part("bottom of the stack", yes(is_last), 2..3),
                    part("time to live", (word & 0xff).to_string(), 3..4),
                ];
                self.layer("MPLS", format!("label {label}"), 4, parts);
                Some(if is_last { Next::Ip } else { Next::Ether(kind) })
            }
            EtherType(0x8864) => {
                let bytes = self.bytes();
                let (session, protocol) = (u16_at(bytes, 2)?, u16_at(bytes, 6)?);
                let parts = vec![
                    part("session", session.to_string(), 2..4),
                    part("length", u16_at(bytes, 4)?.to_string(), 4..6),
                    part("protocol", format!("0x{protocol:04x}"), 6..8),
                ];
                self.layer("PPPoE", format!("session {session}"), 8, parts);
                Some(if matches!(protocol, 0x21 | 0x57) { Next::Ip } else { Next::Payload })
            }
            _ => Some(Next::Payload),
        }
    }

    fn arp(&mut self) -> Option<Next> {
        let slice = ArpPacketSlice::from_slice(self.bytes()).ok()?;
        let length = slice.slice().len();
        let it = slice.to_packet();
        let address = |bytes: &[u8]| match *bytes {
            [a, b, c, d] => format!("{a}.{b}.{c}.{d}"),
            _ => mac(bytes),
        };
        let (hardware, protocol) = (it.sender_hw_addr().len(), it.sender_protocol_addr().len());
        let mut end = 8;
        let mut places = vec![end];
        for length in [hardware, protocol, hardware, protocol] {
            end += length;
            places.push(end);
        }
        let place = |at: usize| {
            let of = |at: usize| places.get(at).copied().unwrap_or(length);
            of(at)..of(at + 1)
        };
        let (asker, asked) =
            (address(it.sender_protocol_addr()), address(it.target_protocol_addr()));
        let short = match it.operation {
            ArpOperation::REQUEST => format!("who has {asked}? tell {asker}"),
            ArpOperation::REPLY => format!("{asker} is at {}", mac(it.sender_hw_addr())),
            other => format!("operation {}", other.0),
        };
        let parts = vec![
            part("operation", it.operation.0.to_string(), 6..8),
            part("sender's hardware address", mac(it.sender_hw_addr()), place(0)),
            part("sender's address", asker, place(1)),
            part("target's hardware address", mac(it.target_hw_addr()), place(2)),
            part("target's address", asked, place(3)),
        ];
        self.layer("ARP", short, length, parts);
        Some(Next::Payload)
    }

    fn ipv4(&mut self) -> Option<Next> {
        let it = Ipv4HeaderSlice::from_slice(self.bytes()).ok()?;
        let length = it.slice().len();
        let (from, to) = (it.source_addr().to_string(), it.destination_addr().to_string());
        let offset = usize::from(it.fragments_offset().value()) * 8;
        let flags = [(it.dont_fragment(), "don't fragment"), (it.more_fragments(), "more follow")];
        let mut parts = vec![
            part("header length", size(length), 0..1),
            part("service class", it.dcp().value().to_string(), 1..2),
            part("congestion", it.ecn().value().to_string(), 1..2),
            part("total length", size(it.total_len().into()), 2..4),
            part("identification", format!("0x{:04x}", it.identification()), 4..6),
            part("flags", named(&flags), 6..7),
            part("fragment's offset", offset.to_string(), 6..8),
            part("time to live", it.ttl().to_string(), 8..9),
            part("protocol", number_name(it.protocol()), 9..10),
            part("checksum", format!("0x{:04x}", it.header_checksum()), 10..12),
            part("source", from.clone(), 12..16),
            part("destination", to.clone(), 16..20),
        ];
        if length > 20 {
            parts.push(part("options", size(length - 20), 20..length));
        }
        // 0 where the network card cuts large packets into what fits
        let total = usize::from(it.total_len());
        if total >= length {
            self.end = self.end.min(self.at + total);
        }
        let is_part = it.is_fragmenting_payload();
        let mut short = format!("{from} → {to}");
        if is_part {
            short.push_str(&format!(", fragment at {offset}"));
        }
        let (next, is_first) = (it.protocol(), offset == 0);
        self.layer("IPv4", short, length, parts);
        Some(if is_first { Next::Inner(next) } else { Next::Payload })
    }

    fn ipv6(&mut self) -> Option<Next> {
        let it = Ipv6HeaderSlice::from_slice(self.bytes()).ok()?;
        let (from, to) = (it.source_addr(), it.destination_addr());
        let length = usize::from(it.payload_length());
        let parts = vec![
            part("traffic class", it.traffic_class().to_string(), 0..2),
            part("flow label", format!("0x{:05x}", it.flow_label().value()), 1..4),
            part("payload length", size(length), 4..6),
            part("next header", number_name(it.next_header()), 6..7),
            part("hop limit", it.hop_limit().to_string(), 7..8),
            part("source", from.to_string(), 8..24),
            part("destination", to.to_string(), 24..40),
        ];
        if length > 0 {
            self.end = self.end.min(self.at + 40 + length);
        }
        let next = it.next_header();
        self.layer("IPv6", format!("{from} → {to}"), 40, parts);
        Some(Next::Inner(next))
    }

    fn inner(&mut self, number: IpNumber) -> Option<Next> {
        match number {
            IpNumber::TCP => self.tcp(),
            IpNumber::UDP => self.udp(),
            IpNumber::ICMP => {
                let it = Icmpv4Slice::from_slice(self.bytes()).ok()?;
                self.icmp("ICMP", icmp_name(it.type_u8()), it.type_u8(), it.code_u8());
                Some(Next::Payload)
            }
            IpNumber::IPV6_ICMP => {
                let it = Icmpv6Slice::from_slice(self.bytes()).ok()?;
                self.icmp("ICMPv6", icmpv6_name(it.type_u8()), it.type_u8(), it.code_u8());
                Some(Next::Payload)
            }
            IpNumber::IPV4 | IpNumber::IPV6 => Some(Next::Ip),
            IpNumber::GRE => self.gre(),
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS => self.extension(number, 8, 8),
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let is_first = u16_at(self.bytes(), 2)? >> 3 == 0;
                let next = self.extension(number, 8, 0)?;
                Some(if is_first { next } else { Next::Payload })
            }
            IpNumber::AUTHENTICATION_HEADER => self.extension(number, 8, 4),
            _ => Some(Next::Payload),
        }
    }

    /// A header that says what comes next in its first byte, and how many units it has more than so many bytes in its second.
    fn extension(&mut self, number: IpNumber, least: usize, unit: usize) -> Option<Next> {
        let [next, units, ..] = *self.bytes() else { return None };
        let length = least + usize::from(units) * unit;
        self.bytes().get(..length)?;
        let parts = vec![
            part("next header", number_name(IpNumber(next)), 0..1),
            part("length", size(length), 1..2),
        ];
        self.layer("IP extension", number_name(number), length, parts);
        Some(Next::Inner(IpNumber(next)))
    }

    fn tcp(&mut self) -> Option<Next> {
        let it = TcpHeaderSlice::from_slice(self.bytes()).ok()?;
        let length = it.slice().len();
        let (from, to) = (it.source_port(), it.destination_port());
        let flags = [
            (it.syn(), "SYN"),
            (it.fin(), "FIN"),
            (it.rst(), "RST"),
            (it.psh(), "PSH"),
            (it.ack(), "ACK"),
            (it.urg(), "URG"),
            (it.ece(), "ECE"),
            (it.cwr(), "CWR"),
            (it.ns(), "AE"),
        ];
        let flags = named(&flags);
        let carried = self.bytes().len() - length;
        let mut parts = vec![
            part("source port", from.to_string(), 0..2),
            part("destination port", to.to_string(), 2..4),
            part("sequence number", it.sequence_number().to_string(), 4..8),
            part("acknowledgment", it.acknowledgment_number().to_string(), 8..12),
            part("header length", size(length), 12..13),
            part("flags", flags.clone(), 12..14),
            part("window", it.window_size().to_string(), 14..16),
            part("checksum", format!("0x{:04x}", it.checksum()), 16..18),
            part("urgent pointer", it.urgent_pointer().to_string(), 18..20),
        ];
        let mut options = it.options_iterator();
        let place = |left: usize| length - left;
        let mut at = place(options.rest().len());
        while let Some(option) = options.next() {
            let until = place(options.rest().len());
            let (name, value) = match option {
                Ok(option) => option_text(&option),
                Err(_) => ("option", "not known".to_owned()),
            };
            let is_filler = matches!(name, "no operation");
            // an unknown option ends the iterator, and the rest is not told apart
            let until = if until > at { until } else { length };
            if !is_filler {
                parts.push(part(name, value, at..until));
            }
            at = until;
        }
        let ack = format!(" ack {}", it.acknowledgment_number());
        let short = format!(
            "{from} → {to} [{flags}] {}, seq {}{} win {}",
            size(carried),
            it.sequence_number(),
            if it.ack() { ack.as_str() } else { "" },
            it.window_size()
        );
        self.layer("TCP", short, length, parts);
        Some(Next::Payload)
    }

    fn udp(&mut self) -> Option<Next> {
        let it = UdpHeaderSlice::from_slice(self.bytes()).ok()?;
        let (from, to, length) =
            (it.source_port(), it.destination_port(), usize::from(it.length()));
        let parts = vec![
            part("source port", from.to_string(), 0..2),
            part("destination port", to.to_string(), 2..4),
            part("length", size(length), 4..6),
            part("checksum", format!("0x{:04x}", it.checksum()), 6..8),
        ];
        if length >= 8 {
            self.end = self.end.min(self.at + length);
        }
        let carried = self.bytes().len().saturating_sub(8);
        self.layer("UDP", format!("{from} → {to}, {}", size(carried)), 8, parts);
        // The usual ports of overlays, where what follows looks like one.
        let head = self.bytes().first();
        Some(match (to, head) {
            (4789 | 8472, Some(0x08)) => Next::Vxlan,
            (6081, Some(0..=0x3f)) => Next::Geneve,
            _ => Next::Payload,
        })
    }

    fn icmp(&mut self, layer: &'static str, name: &'static str, kind: u8, code: u8) {
        let parts = vec![
            part("type", format!("{kind} {name}").trim_end().to_owned(), 0..1),
            part("code", code.to_string(), 1..2),
            part("checksum", format!("0x{:04x}", u16_at(self.bytes(), 2).unwrap_or(0)), 2..4),
            part("rest of the header", mac(self.bytes().get(4..8).unwrap_or_default()), 4..8),
        ];
        let short = if name.is_empty() { format!("type {kind}") } else { name.to_owned() };
        self.layer(layer, format!("{short}, code {code}"), 8, parts);
    }

    fn gre(&mut self) -> Option<Next> {
        let bytes = self.bytes();
        let (flags, kind) = (u16_at(bytes, 0)?, EtherType(u16_at(bytes, 2)?));
        // Checksum, key and sequence number, each of four bytes, if the flags say so; version 1 is another header.
        let length = 4 + [0x8000, 0x2000, 0x1000].iter().filter(|it| flags & **it != 0).count() * 4;
        if flags & 7 != 0 {
            return None;
        }
        bytes.get(..length)?;
        let mut parts = vec![
            part("flags", format!("0x{flags:04x}"), 0..2),
            part("type", ether_name(kind), 2..4),
        ];
        if flags & 0x2000 != 0 {
            let at = if flags & 0x8000 != 0 { 8 } else { 4 };
            parts.push(part("key", u32_at(bytes, at)?.to_string(), at..at + 4));
        }
        self.layer("GRE", ether_name(kind), length, parts);
        Some(bridged(kind))
    }

    fn vxlan(&mut self) -> Option<Next> {
        let id = u32_at(self.bytes(), 4)? >> 8;
        let parts = vec![
            part("flags", format!("0x{:02x}", self.bytes().first()?), 0..1),
            part("network identifier", id.to_string(), 4..7),
        ];
        self.layer("VXLAN", format!("network {id}"), 8, parts);
        Some(Next::Ethernet)
    }

    fn geneve(&mut self) -> Option<Next> {
        let bytes = self.bytes();
        let options = usize::from(bytes.first()? & 0x3f) * 4;
        let (kind, id) = (EtherType(u16_at(bytes, 2)?), u32_at(bytes, 4)? >> 8);
        bytes.get(..8 + options)?;
        let mut parts = vec![
            part("type", ether_name(kind), 2..4),
            part("network identifier", id.to_string(), 4..7),
        ];
        if options > 0 {
            parts.push(part("options", size(options), 8..8 + options));
        }
        self.layer("GENEVE", format!("network {id}"), 8 + options, parts);
        Some(bridged(kind))
    }
}

fn part(name: &'static str, value: String, range: Range<usize>) -> Part {
    Part { name, value, range }
}

/// What an overlay's type says: a frame of Ethernet, or what EtherTypes say.
fn bridged(kind: EtherType) -> Next {
    if kind == EtherType(0x6558) { Next::Ethernet } else { Next::Ether(kind) }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn size(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

fn named(flags: &[(bool, &str)]) -> String {
    let set: Vec<_> = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(" ") }
}

fn ether_name(kind: EtherType) -> String {
    let name = match kind {
        ether_type::IPV4 => "IPv4",
        ether_type::IPV6 => "IPv6",
        ether_type::ARP => "ARP",
        ether_type::VLAN_TAGGED_FRAME | ether_type::PROVIDER_BRIDGING => "VLAN",
        EtherType(0x8847 | 0x8848) => "MPLS",
        EtherType(0x8863 | 0x8864) => "PPPoE",
        EtherType(0x6558) => "Ethernet",
        EtherType(0x88cc) => "LLDP",
        _ => return format!("0x{:04x}", kind.0),
    };
    format!("{name} (0x{:04x})", kind.0)
}

fn number_name(number: IpNumber) -> String {
    match number.keyword_str() {
        Some(name) => format!("{name} ({})", number.0),
        None => number.0.to_string(),
    }
}

fn way_name(way: u16) -> String {
    match way {
        0 => "to this host".to_owned(),
        1 => "broadcast".to_owned(),
        2 => "multicast".to_owned(),
        3 => "to another host".to_owned(),
        4 => "from this host".to_owned(),
        other => other.to_string(),
    }
}

fn icmp_name(kind: u8) -> &'static str {
    match kind {
        0 => "echo reply",
        3 => "destination unreachable",
        5 => "redirect",
        8 => "echo request",
        11 => "time exceeded",
        12 => "parameter problem",
        _ => "",
    }
}

fn icmpv6_name(kind: u8) -> &'static str {
    match kind {
        1 => "destination unreachable",
        2 => "packet too big",
        3 => "time exceeded",
        4 => "parameter problem",
        128 => "echo request",
        129 => "echo reply",
        133 => "router solicitation",
        134 => "router advertisement",
        135 => "neighbour solicitation",
        136 => "neighbour advertisement",
        _ => "",
    }
}

fn option_text(option: &TcpOptionElement) -> (&'static str, String) {
    match option {
        TcpOptionElement::Noop => ("no operation", String::new()),
        TcpOptionElement::MaximumSegmentSize(most) => ("largest segment", size(usize::from(*most))),
        TcpOptionElement::WindowScale(shift) => {
            ("window scale", format!("× {}", 1_u64.checked_shl((*shift).into()).unwrap_or(0)))
        }
        TcpOptionElement::SelectiveAcknowledgementPermitted => {
            ("selective acknowledgment", "permitted".to_owned())
        }
        TcpOptionElement::SelectiveAcknowledgement(first, more) => {
            let more = more.iter().flatten();
            let all = std::iter::once(first).chain(more);
            let all: Vec<_> = all.map(|(from, to)| format!("{from}–{to}")).collect();
            ("selective acknowledgment", all.join(", "))
        }
        TcpOptionElement::Timestamp(value, echo) => ("timestamps", format!("{value}, echo {echo}")),
    }
}

/// The size of a payload, and its first line if it reads as text.
fn first_line(bytes: &[u8]) -> String {
    let head = bytes.get(..MOST_LINE).unwrap_or(bytes);
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let is_text = line.len() > 3 && line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    match std::str::from_utf8(line) {
        Ok(line) if is_text => format!("{}: {line}", size(bytes.len())),
        _ => size(bytes.len()),
    }
}

const PAYLOAD: &str = "payload";
const TRAILER: &str = "padding";
const MOST_LAYERS: usize = 16;
const MOST_LINE: usize = 80;

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn look(layers: &[Layer]) -> Vec<String> {
        layers
            .iter()
            .map(|it| format!("{}..{} {}: {}", it.range.start, it.range.end, it.name, it.short))
            .collect()
    }

    fn http() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(51_234, 80, 1_000, 512)
            .ack(77)
            .psh()
            .options(&[TcpOptionElement::Noop, TcpOptionElement::MaximumSegmentSize(1_460)])
            .expect("options fit");
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"GET /cart HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is written");
        bytes
    }

    #[test]
    fn every_byte_of_a_packet_stands_in_one_layer_and_its_fields_where_they_are() {
        let mut bytes = http();
        bytes.extend([0; 4]);
        let layers = layers(1, &bytes);
        assert_eq!(
            look(&layers),
            [
                "0..14 Ethernet: 01:02:03:04:05:06 → 07:08:09:0a:0b:0c",
                "14..34 IPv4: 10.0.0.1 → 10.0.0.2",
                "34..62 TCP: 51234 → 80 [PSH ACK] 31 bytes, seq 1000 ack 77 win 512",
                "62..93 payload: 31 bytes: GET /cart HTTP/1.1",
                "93..97 padding: 4 bytes",
            ]
        );
        let field = |layer: usize, name: &str| {
            let part = layers[layer].parts.iter().find(|it| it.name == name).expect("it is there");
            (part.value.clone(), bytes[part.range.clone()].to_vec())
        };
        assert_eq!(field(1, "source"), ("10.0.0.1".to_owned(), vec![10, 0, 0, 1]));
        assert_eq!(field(1, "time to live"), ("64".to_owned(), vec![64]));
        assert_eq!(field(2, "destination port"), ("80".to_owned(), vec![0, 80]));
        assert_eq!(field(2, "largest segment"), ("1460 bytes".to_owned(), vec![2, 4, 5, 180]));
        assert_eq!(summary(&layers), "TCP 51234 → 80 [PSH ACK] 31 bytes: GET /cart HTTP/1.1");
        assert_eq!(summary(&layers[..3]), format!("TCP {}", layers[2].short));
    }

    #[test]
    fn what_it_is_wrapped_in_is_told_too() {
        let inner = http();
        let mut vxlan = vec![8, 0, 0, 0, 0, 0, 42, 0];
        vxlan.extend(&inner);
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .single_vlan(7.try_into().expect("it has 12 bits"))
            .ipv6([1; 16], [2; 16], 64)
            .udp(40_000, 8_472)
            .write(&mut bytes, &vxlan)
            .expect("it is written");
        let names = |layers: &[Layer]| layers.iter().map(|it| it.name).collect::<Vec<_>>();
        let found = layers(1, &bytes);
        let wrapped = ["Ethernet", "VLAN", "IPv6", "UDP", "VXLAN"];
        assert_eq!(names(&found)[..5], wrapped);
        assert_eq!(names(&found)[5..], ["Ethernet", "IPv4", "TCP", "payload"]);
        // Without Ethernet, as on all interfaces together; and IP alone.
        let mut cooked = vec![0, 4, 0, 1, 0, 6, 7, 8, 9, 10, 11, 12, 0, 0, 8, 0];
        cooked.extend(&inner[14..]);
        assert_eq!(names(&layers(113, &cooked)), ["Linux cooked", "IPv4", "TCP", "payload"]);
        assert_eq!(names(&layers(101, &inner[14..])), ["IPv4", "TCP", "payload"]);
        assert_eq!(names(&layers(147, &inner)), ["payload"]);
    }

    #[test]
    fn bytes_that_are_cut_or_senseless_are_layers_all_the_same() {
        let whole = http();
        for link in [0, 1, 101, 113, 276] {
            for length in 0..=whole.len() {
                // every prefix, and every byte of it turned
                let mut bytes = whole[..length].to_vec();
                for at in 0..=length {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 0xff;
                    }
                    let found = layers(link, &bytes);
                    let mut end = 0;
                    for layer in &found {
                        assert_eq!(layer.range.start, end, "{found:?}");
                        end = layer.range.end;
                        let of = |part: &Part| {
                            layer.range.start <= part.range.start && part.range.end <= end
                        };
                        assert!(layer.parts.iter().all(of), "{layer:?}");
                    }
                    assert_eq!(end, length);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 0xff;
                    }
                }
            }
        }
    }
}
