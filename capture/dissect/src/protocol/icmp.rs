//! ICMP (RFC 792) and ICMPv6 (RFC 4443, neighbour discovery: RFC 4861, multicast listeners: RFC
//! 2710 and 3810).
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use schema::value::{Code, Label, Size};

use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

/// ICMP messages: an echo with its reply in one row, every other message in one of its own.
#[derive(schema::Record)]
pub(super) struct Icmp<'a> {
    /// Number of the message's type, such as 8 for an echo request.
    message_type: Code,
    /// Its code, which says more about the type.
    message_code: Code,
    /// Type of the reply: 0 for an echo's.
    response_type: Option<Code>,
    /// Identifier of an echo: as a rule one per running `ping`.
    echo_id: Option<Code>,
    /// Which of its echoes it is.
    echo_seq: Option<Code>,
    /// Bytes of the message behind type, code and checksum.
    payload_bytes: Size,
    /// Of an error: what sent the packet it is about.
    original_source_ip: Option<Cow<'a, str>>,
    /// Of an error: to whom that packet went.
    original_destination_ip: Option<Cow<'a, str>>,
    /// Of an error: the IP protocol of that packet: `tcp`, `udp`, `icmp`, or its number.
    original_protocol: Option<Label<'a>>,
    /// Of an error: the port that packet came from.
    original_source_port: Option<u16>,
    /// Of an error: the port that packet went to.
    original_destination_port: Option<u16>,
    /// Largest packet that fits the next link, where a packet was too big.
    mtu: Option<u64>,
    /// Of a redirect: the better gateway.
    gateway: Option<Cow<'a, str>>,
}

/// ICMPv6 messages: an echo with its reply in one row, every other message in one of its own.
#[derive(schema::Record)]
pub(super) struct Icmpv6<'a> {
    /// Number of the message's type, such as 128 for an echo request.
    message_type: Code,
    /// Its code, which says more about the type.
    message_code: Code,
    /// Type of the reply: 129 for an echo's.
    response_type: Option<Code>,
    /// Identifier of an echo: as a rule one per running `ping`.
    echo_id: Option<Code>,
    /// Which of its echoes it is.
    echo_seq: Option<Code>,
    /// Bytes of the message behind type, code and checksum.
    payload_bytes: Size,
    /// Of an error: what sent the packet it is about.
    original_source_ip: Option<Cow<'a, str>>,
    /// Of an error: to whom that packet went.
    original_destination_ip: Option<Cow<'a, str>>,
    /// Of an error: the IP protocol of that packet: `tcp`, `udp`, `icmpv6`, or its number.
    original_protocol: Option<Label<'a>>,
    /// Of an error: the port that packet came from.
    original_source_port: Option<u16>,
    /// Of an error: the port that packet went to.
    original_destination_port: Option<u16>,
    /// Largest packet that fits the next link, where a packet was too big.
    mtu: Option<u64>,
    /// Of neighbour discovery: the address asked for, announced or redirected to.
    target_ip: Option<Cow<'a, str>>,
    /// Of neighbour discovery: the link-layer address that came along.
    link_address: Option<Cow<'a, str>>,
}

/// Messages stand alone: nothing to remember.
#[derive(Debug, Default)]
pub(super) struct Dissector;

/// The same for ICMPv6.
#[derive(Debug, Default)]
pub(super) struct DissectorV6;

/// A message as it was sent; what a row needs of it lies in its first bytes.
#[derive(Debug)]
pub(super) struct Body {
    kind: u8,
    code: u8,
    /// What follows the checksum.
    size: u64,
    kept: Vec<u8>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "icmp";
    const TRANSPORTS: &'static [Transport] = &[Transport::Icmp];
    const PORTS: &'static [u16] = &[];
    type Body = Body;
    type Columns = IcmpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        guess(head, &[0, 14, 16, 18])
    }

    fn parse(
        &mut self,
        _: Side,
        input: &mut Input<'_>,
        _: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        message(input, 8, 0)
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Icmp<'_>) {
        let Some(it) = exchange.request.or(exchange.response) else {
            return (Summary::default(), Icmp::of(&NOTHING, None));
        };
        let reply = exchange.request.and(exchange.response);
        let (name, is_error) = name(it.kind);
        let row = Icmp::of(it, reply);
        let target = row.original_destination_ip.clone().unwrap_or_default();
        let target = with_port(target, row.original_destination_port);
        let error = is_error.then(|| Cow::Borrowed(reason(it.kind, it.code)));
        (summary(name, target, it, error), row)
    }

    fn weight(body: &Body) -> usize {
        body.kept.capacity()
    }
}

impl Dissect for DissectorV6 {
    const NAME: &'static str = "icmpv6";
    const TRANSPORTS: &'static [Transport] = &[Transport::Icmpv6];
    const PORTS: &'static [u16] = &[];
    type Body = Body;
    type Columns = Icmpv6Columns;

    fn guess(head: &Head<'_>) -> Guess {
        guess(head, &[129])
    }

    fn parse(
        &mut self,
        _: Side,
        input: &mut Input<'_>,
        _: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        message(input, 128, 129)
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Icmpv6<'_>) {
        let Some(it) = exchange.request.or(exchange.response) else {
            return (Summary::default(), Icmpv6::of(&NOTHING, None));
        };
        let reply = exchange.request.and(exchange.response);
        let (name, is_error) = name_v6(it.kind);
        let row = Icmpv6::of(it, reply);
        let original = row.original_destination_ip.clone();
        let target = original.or_else(|| row.target_ip.clone()).unwrap_or_default();
        let target = with_port(target, row.original_destination_port);
        let error = is_error.then(|| Cow::Borrowed(reason_v6(it.kind, it.code)));
        (summary(name, target, it, error), row)
    }

    fn weight(body: &Body) -> usize {
        body.kept.capacity()
    }
}

/// Whoever sends anything but a reply asks.
fn guess(head: &Head<'_>, replies: &[u8]) -> Guess {
    match head.bytes {
        [kind, ..] if replies.contains(kind) == (head.side == Side::Server) => Guess::Sure,
        [_, ..] => Guess::Maybe,
        [] => Guess::No,
    }
}

fn message(input: &mut Input<'_>, echo: u8, reply: u8) -> Result<Message<Body>, Stop> {
    let kind = input.u8()?;
    let rest = input.rest();
    input.take(rest.len())?;
    let code = rest.first().copied().unwrap_or_default();
    let is_cut = rest.len() < 7;
    let rest = rest.get(3..).unwrap_or_default();
    let kept = rest.get(..KEPT_BYTES).unwrap_or(rest).to_vec();
    let id = kept.first_chunk::<4>().map_or(0, |it| u64::from(u32::from_be_bytes(*it)));
    let body = Body { kind, code, size: rest.len() as u64, kept };
    let message = if !is_cut && kind == echo {
        Message::request(body).key(id).by_client()
    } else if !is_cut && kind == reply {
        Message::response(body).key(id).by_server()
    } else {
        Message::notice(body).by_client()
    };
    Ok(message.incomplete(is_cut))
}

fn summary<'a>(
    name: &'static str,
    target: Cow<'a, str>,
    it: &Body,
    error: Option<Cow<'a, str>>,
) -> Summary<'a> {
    Summary {
        verb: name.into(),
        target,
        status: Some(i32::from(it.code)),
        failed: error.is_some(),
        error,
    }
}

fn with_port(address: Cow<'_, str>, port: Option<u16>) -> Cow<'_, str> {
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}").into(),
        Some(port) => format!("{address}:{port}").into(),
        None => address,
    }
}

/// The packet that an error is about, as far as it was sent back.
struct Original {
    source: String,
    destination: String,
    protocol: u8,
    ports: Option<(u16, u16)>,
}

impl Original {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (source, destination, protocol, rest) = match bytes.first()? >> 4 {
            4 => {
                let header = 4 * usize::from(bytes.first()? & 15);
                let source = Ipv4Addr::from(*bytes.get(12..)?.first_chunk::<4>()?).to_string();
                let destination = Ipv4Addr::from(*bytes.get(16..)?.first_chunk::<4>()?).to_string();
                (source, destination, *bytes.get(9)?, bytes.get(header..))
            }
            6 => {
                let source = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?).to_string();
                let destination = Ipv6Addr::from(*bytes.get(24..)?.first_chunk::<16>()?);
                (source, destination.to_string(), *bytes.get(6)?, bytes.get(40..))
            }
            _ => return None,
        };
        let ports =
            rest.and_then(<[u8]>::first_chunk::<4>).filter(|_| matches!(protocol, 6 | 17 | 132));
        let ports =
            ports.map(|[a, b, c, d]| (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
        Some(Self { source, destination, protocol, ports })
    }

    fn protocol(&self) -> Cow<'static, str> {
        match self.protocol {
            1 => "icmp".into(),
            6 => "tcp".into(),
            17 => "udp".into(),
            58 => "icmpv6".into(),
            132 => "sctp".into(),
            other => other.to_string().into(),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    let two = bytes.get(at..)?.first_chunk::<2>()?;
    Some(i32::from(u16::from_be_bytes(*two)))
}

impl<'a> Icmp<'a> {
    fn of(it: &'a Body, reply: Option<&Body>) -> Self {
        let is_echo = matches!(it.kind, 0 | 8);
        let original = matches!(it.kind, 3 | 4 | 5 | 11 | 12)
            .then(|| Original::of(it.kept.get(4..)?))
            .flatten();
        let gateway = (it.kind == 5).then(|| it.kept.first_chunk::<4>()).flatten();
        let mtu = ((it.kind, it.code) == (3, 4)).then(|| number(&it.kept, 2)).flatten();
        Self {
            message_type: Code(i32::from(it.kind)),
            message_code: Code(i32::from(it.code)),
            response_type: reply.map(|it| Code(i32::from(it.kind))),
            echo_id: is_echo.then(|| number(&it.kept, 0)).flatten().map(Code),
            echo_seq: is_echo.then(|| number(&it.kept, 2)).flatten().map(Code),
            payload_bytes: Size(it.size),
            original_protocol: original.as_ref().map(|it| Label(it.protocol())),
            original_source_port: original.as_ref().and_then(|it| it.ports).map(|it| it.0),
            original_destination_port: original.as_ref().and_then(|it| it.ports).map(|it| it.1),
            original_source_ip: original.as_ref().map(|it| it.source.clone().into()),
            original_destination_ip: original.map(|it| it.destination.into()),
            mtu: mtu.filter(|it| *it > 0).map(|it| u64::from(it.unsigned_abs())),
            gateway: gateway.map(|it| Ipv4Addr::from(*it).to_string().into()),
        }
    }
}

impl<'a> Icmpv6<'a> {
    fn of(it: &'a Body, reply: Option<&Body>) -> Self {
        let is_echo = matches!(it.kind, 128 | 129);
        let original = (it.kind < 128).then(|| Original::of(it.kept.get(4..)?)).flatten();
        let mtu = (it.kind == 2).then(|| it.kept.first_chunk::<4>()).flatten();
        let target = matches!(it.kind, 135..=137)
            .then(|| it.kept.get(4..)?.first_chunk::<16>())
            .flatten()
            .map(|it| Ipv6Addr::from(*it).to_string().into());
        let options = match it.kind {
            133 => 4,
            134 => 12,
            135 | 136 => 20,
            137 => 36,
            _ => usize::MAX,
        };
        Self {
            message_type: Code(i32::from(it.kind)),
            message_code: Code(i32::from(it.code)),
            response_type: reply.map(|it| Code(i32::from(it.kind))),
            echo_id: is_echo.then(|| number(&it.kept, 0)).flatten().map(Code),
            echo_seq: is_echo.then(|| number(&it.kept, 2)).flatten().map(Code),
            payload_bytes: Size(it.size),
            original_protocol: original.as_ref().map(|it| Label(it.protocol())),
            original_source_port: original.as_ref().and_then(|it| it.ports).map(|it| it.0),
            original_destination_port: original.as_ref().and_then(|it| it.ports).map(|it| it.1),
            original_source_ip: original.as_ref().map(|it| it.source.clone().into()),
            original_destination_ip: original.map(|it| it.destination.into()),
            mtu: mtu.map(|it| u64::from(u32::from_be_bytes(*it))),
            target_ip: target,
            link_address: it.kept.get(options..).and_then(link_address).map(Cow::Owned),
        }
    }
}

/// Of the options of neighbour discovery (RFC 4861 §4.6), the source's or target's address.
fn link_address(mut options: &[u8]) -> Option<String> {
    loop {
        let [kind, units, ..] = *options else { return None };
        let length = 8 * usize::from(units.max(1));
        if matches!(kind, 1 | 2) {
            let bytes: Vec<_> = options.get(2..8)?.iter().map(|it| format!("{it:02x}")).collect();
            return Some(bytes.join(":"));
        }
        options = options.get(length..)?;
    }
}

/// A type's name, and whether it tells of an error.
fn name(kind: u8) -> (&'static str, bool) {
    match kind {
        0 => ("Echo Reply", false),
        3 => ("Destination Unreachable", true),
        4 => ("Source Quench", true),
        5 => ("Redirect", false),
        8 => ("Echo", false),
        9 => ("Router Advertisement", false),
        10 => ("Router Solicitation", false),
        11 => ("Time Exceeded", true),
        12 => ("Parameter Problem", true),
        13 => ("Timestamp", false),
        14 => ("Timestamp Reply", false),
        17 => ("Address Mask Request", false),
        18 => ("Address Mask Reply", false),
        42 => ("Extended Echo Request", false),
        43 => ("Extended Echo Reply", false),
        _ => ("Unknown", false),
    }
}

fn reason(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 5) => "source route failed",
        (3, 6) => "network unknown",
        (3, 7) => "host unknown",
        (3, 9 | 10 | 13) => "administratively prohibited",
        (3, 11 | 12) => "unreachable for this type of service",
        (3, _) => "destination unreachable",
        (4, _) => "source quench",
        (11, 0) => "time to live exceeded in transit",
        (11, _) => "fragment reassembly time exceeded",
        _ => "parameter problem",
    }
}

/// A type's name, and whether it tells of an error.
fn name_v6(kind: u8) -> (&'static str, bool) {
    match kind {
        1 => ("Destination Unreachable", true),
        2 => ("Packet Too Big", true),
        3 => ("Time Exceeded", true),
        4 => ("Parameter Problem", true),
        128 => ("Echo Request", false),
        129 => ("Echo Reply", false),
        130 => ("Multicast Listener Query", false),
        131 => ("Multicast Listener Report", false),
        132 => ("Multicast Listener Done", false),
        133 => ("Router Solicitation", false),
        134 => ("Router Advertisement", false),
        135 => ("Neighbor Solicitation", false),
        136 => ("Neighbor Advertisement", false),
        137 => ("Redirect", false),
        143 => ("Multicast Listener Report v2", false),
        160 => ("Extended Echo Request", false),
        161 => ("Extended Echo Reply", false),
        _ => ("Unknown", false),
    }
}

fn reason_v6(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (1, 0) => "no route to destination",
        (1, 1) => "administratively prohibited",
        (1, 2) => "beyond scope of source address",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed policy",
        (1, 6) => "reject route to destination",
        (1, _) => "destination unreachable",
        (2, _) => "packet too big",
        (3, 0) => "hop limit exceeded in transit",
        (3, _) => "fragment reassembly time exceeded",
        _ => "parameter problem",
    }
}

/// What a row of nothing would be made of.
static NOTHING: Body = Body { kind: 0, code: 0, size: 0, kept: Vec::new() };

/// Kept of a message: an IPv6 header and the ports behind it, or an advertisement's options.
const KEPT_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::drive::{client, datagrams, server};

    fn echo(kind: u8, seq: u8) -> Vec<u8> {
        [&[kind, 0, 0, 0, 0, 7, 0, seq][..], b"abcdefgh"].concat()
    }

    #[test]
    fn an_echo_gets_its_reply_whoever_sends_it() {
        let rows = datagrams::<Dissector>(&[
            client(echo(8, 1)),
            client(echo(8, 2)),
            server(echo(0, 2)),
            server(echo(8, 3)),
            client(echo(0, 3)),
            server(echo(0, 1)),
        ]);
        let seen: Vec<_> = rows.iter().map(|it| (&it["echo_seq"], &it["response_type"])).collect();
        assert_eq!(seen, [(&json!(2), &json!(0)), (&json!(3), &json!(0)), (&json!(1), &json!(0))]);
    }

    #[test]
    fn an_error_says_what_it_is_about() {
        let packet = [
            0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x9c, 0x40, 0,
            53, 0, 12, 0, 0,
        ];
        let error = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &packet].concat();
        let rows = datagrams::<Dissector>(&[server(error)]);
        assert_eq!(
            rows,
            [json!({
                "verb": "Destination Unreachable", "target": "192.0.2.2:53", "status": 3, "failed": true,
                "error": "port unreachable", "message_type": 3, "message_code": 3, "payload_bytes": 32,
                "original_source_ip": "192.0.2.1", "original_destination_ip": "192.0.2.2",
                "original_protocol": "udp", "original_source_port": 40000,
                "original_destination_port": 53
            })]
        );
    }

    #[test]
    fn a_neighbour_is_asked_for() {
        let target = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets();
        let asked = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target, &[1, 1, 2, 0, 0, 0, 0, 9]].concat();
        let rows = datagrams::<DissectorV6>(&[client(asked)]);
        assert_eq!(rows[0]["target"], "2001:db8::1");
        assert_eq!(rows[0]["link_address"], "02:00:00:00:00:09");
    }
}
