//! DHCP for IPv6: RFC 8415, relayed or not.
use std::borrow::Cow;
use std::net::Ipv6Addr;

use schema::value::{Address, Code, Duration, Label, Texts, text};

use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::SECOND;
use crate::render::hex;

/// Hosts asking for IPv6 addresses, prefixes or settings, and what servers say. `verb` is the
/// message's type, `target` who asks. A host asks all servers, so that question and answer are
/// different conversations and different rows, which `xid` joins; what is relayed stands in one
/// row.
#[derive(schema::Record)]
pub(super) struct DhcpV6<'a> {
    /// What was asked, such as `SOLICIT` or `RENEW`; of a lone answer, the answer.
    message_type: Label<'a>,
    /// What was answered: `ADVERTISE` or `REPLY`.
    response_type: Option<Label<'a>>,
    /// The host's identifier (DUID), in hexadecimal.
    client_duid: Option<Cow<'a, str>>,
    /// The hardware address in that identifier, if it has one.
    client_mac: Option<Label<'a>>,
    /// The server's identifier, in hexadecimal.
    server_duid: Option<Cow<'a, str>>,
    /// The addresses that are given, or, without an answer, asked for.
    addresses: Texts<'a>,
    /// The same of prefixes, such as `2001:db8:1::/48`.
    prefixes: Texts<'a>,
    /// How long the first of them may be kept.
    lease: Option<Duration>,
    /// The name servers to ask.
    dns_servers: Texts<'a>,
    /// The host's name.
    host_name: Option<Cow<'a, str>>,
    /// How it ended: a status code's name such as `NoAddrsAvail`; null if all is well.
    status_code: Option<Label<'a>>,
    /// What the server says of it.
    status_message: Option<Cow<'a, str>>,
    /// The relay's address towards the host.
    link_address: Option<Address<'a>>,
    /// The host's, or the next relay's, address as the relay sees it.
    peer_address: Option<Address<'a>>,
    /// How many relays it passed.
    hops: Code,
    /// The number that joins question and answer.
    xid: u64,
    /// How long the host has been trying, as it says.
    elapsed: Option<Duration>,
}

/// Remembers nothing: each message says what it answers.
#[derive(Debug, Default)]
pub(super) struct Dissector;

/// One message as it was sent.
#[derive(Debug)]
pub(super) struct Packet {
    bytes: Box<[u8]>,
    link: String,
    peer: String,
}

impl Dissect for Dissector {
    const NAME: &'static str = "dhcpv6";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp];
    const PORTS: &'static [u16] = &[547];
    type Body = Packet;
    type Columns = DhcpV6Columns;

    fn guess(head: &Head<'_>) -> Guess {
        let Some(view) = View::of(head.bytes) else { return Guess::No };
        if view.is_answer() != (head.side == Side::Server) || !view.is_whole {
            return Guess::No;
        }
        let has_id = [CLIENT_ID, SERVER_ID].iter().any(|it| view.duid(*it).is_some());
        if has_id { Guess::Sure } else { Guess::Maybe }
    }

    fn parse(
        &mut self,
        _: Side,
        input: &mut Input<'_>,
        _: &Open<Packet>,
    ) -> Result<Message<Packet>, Stop> {
        let bytes = input.take(input.rest().len())?;
        let view = View::of(bytes).ok_or(Stop::Lost)?;
        let key = u64::from(view.xid()) | 1 << 32;
        let packet = Packet {
            bytes: bytes.get(..KEPT_BYTES).unwrap_or(bytes).into(),
            link: view.link.map(|it| it.to_string()).unwrap_or_default(),
            peer: view.peer.map(|it| it.to_string()).unwrap_or_default(),
        };
        let message = match view.is_answer() {
            true if view.kind() == RECONFIGURE => Message::notice(packet),
            true => Message::response(packet),
            false => Message::request(packet),
        };
        Ok(message.key(key).incomplete(!view.is_whole))
    }

    fn record(exchange: Exchange<'_, Packet>) -> (Summary<'_>, DhcpV6<'_>) {
        record(exchange.request, exchange.response)
    }

    fn weight(packet: &Packet) -> usize {
        size_of::<Packet>() + packet.bytes.len() + packet.link.len() + packet.peer.len()
    }
}

/// A message, out of what relays put around it.
#[derive(Clone, Copy)]
struct View<'m> {
    /// From the type on.
    message: &'m [u8],
    /// Of the relay nearest to the host.
    link: Option<Ipv6Addr>,
    peer: Option<Ipv6Addr>,
    hops: u8,
    /// Whether all options end where they say.
    is_whole: bool,
}

impl<'m> View<'m> {
    /// `None` if it is no such message.
    fn of(bytes: &'m [u8]) -> Option<Self> {
        let mut view = Self { message: bytes, link: None, peer: None, hops: 0, is_whole: true };
        while let [RELAY_FORWARD | RELAY_REPLY, ..] = view.message {
            view.hops += 1;
            let (link, peer) = (view.message.get(2..18)?, view.message.get(18..34)?);
            view.link = <[u8; 16]>::try_from(link).ok().map(Ipv6Addr::from);
            view.peer = <[u8; 16]>::try_from(peer).ok().map(Ipv6Addr::from);
            let mut options = Options(view.message.get(34..)?);
            let inner = options.by_ref().find(|it| it.0 == RELAY_MESSAGE)?;
            view.message = inner.1;
            if view.hops > MOST_HOPS {
                return None;
            }
        }
        let is_known = matches!(view.message, [1..=11, _, _, _, ..]);
        let mut options = view.options();
        options.by_ref().for_each(drop);
        view.is_whole = options.0.is_empty();
        is_known.then_some(view)
    }

    fn kind(&self) -> u8 {
        self.message.first().copied().unwrap_or_default()
    }

    fn is_answer(&self) -> bool {
        matches!(self.kind(), ADVERTISE | REPLY | RECONFIGURE)
    }

    fn kind_name(&self) -> &'static str {
        TYPES.get(usize::from(self.kind())).copied().unwrap_or_default()
    }

    fn xid(&self) -> u32 {
        match self.message {
            [_, a, b, c, ..] => u32::from_be_bytes([0, *a, *b, *c]),
            _ => 0,
        }
    }

    fn options(&self) -> Options<'m> {
        Options(self.message.get(4..).unwrap_or_default())
    }

    fn option(&self, wanted: u16) -> Option<&'m [u8]> {
        self.options().find(|it| it.0 == wanted).map(|it| it.1)
    }

    /// An identifier of one of the kinds that there are.
    fn duid(&self, option: u16) -> Option<&'m [u8]> {
        self.option(option).filter(|it| matches!(it, [0, 1..=4, _, ..]) && it.len() <= 130)
    }

    /// What is given or asked for, as text; how long the first may be kept; what went wrong.
    fn leases(&self) -> Leases<'m> {
        let mut leases = Leases { status: self.option(STATUS), ..Leases::default() };
        for (code, value) in self.options() {
            let inner = match code {
                IA_NA | IA_PD => value.get(12..),
                IA_TA => value.get(4..),
                _ => None,
            };
            for (code, value) in Options(inner.unwrap_or_default()) {
                match code {
                    IA_ADDRESS => leases.address(value),
                    IA_PREFIX => leases.prefix(value),
                    STATUS => {
                        leases.status.get_or_insert(value);
                    }
                    _ => {}
                }
            }
        }
        leases
    }
}

/// Codes and values.
#[derive(Clone, Copy)]
struct Options<'m>(&'m [u8]);

impl<'m> Iterator for Options<'m> {
    type Item = (u16, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d, rest @ ..] = self.0 else { return None };
        let length = u16::from_be_bytes([*c, *d]);
        let (value, rest) = rest.split_at_checked(length.into())?;
        self.0 = rest;
        Some((u16::from_be_bytes([*a, *b]), value))
    }
}

/// What a host gets.
#[derive(Default)]
struct Leases<'m> {
    addresses: Vec<Cow<'static, str>>,
    prefixes: Vec<Cow<'static, str>>,
    lease: Option<u32>,
    status: Option<&'m [u8]>,
}

impl Leases<'_> {
    fn address(&mut self, value: &[u8]) {
        let Some((address, times)) = value.split_first_chunk::<16>() else { return };
        self.addresses.push(Ipv6Addr::from(*address).to_string().into());
        self.lease = self.lease.or_else(|| number(times.get(4..8)?));
    }

    fn prefix(&mut self, value: &[u8]) {
        let (Some(times), Some(length)) = (value.get(..8), value.get(8)) else { return };
        let Some(prefix) = value.get(9..).and_then(<[u8]>::first_chunk::<16>) else { return };
        self.prefixes.push(format!("{}/{length}", Ipv6Addr::from(*prefix)).into());
        self.lease = self.lease.or_else(|| number(times.get(4..8)?));
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

fn record<'a>(
    request: Option<&'a Packet>,
    response: Option<&'a Packet>,
) -> (Summary<'a>, DhcpV6<'a>) {
    let asked = request.and_then(|it| View::of(&it.bytes));
    let told = response.and_then(|it| View::of(&it.bytes));
    let both = [asked, told];
    let first = asked.or(told);
    let leases = told.or(asked).map(|it| it.leases()).unwrap_or_default();
    let duid = |code| both.into_iter().flatten().find_map(|it| it.duid(code)).map(hex);
    let client_mac = both.into_iter().flatten().find_map(|it| it.duid(CLIENT_ID)).and_then(mac);
    let client_duid = duid(CLIENT_ID);
    let status = leases.status.and_then(|it| it.split_first_chunk::<2>());
    let status = status.map(|(code, why)| (u16::from_be_bytes(*code), why));
    let status_code = status.map(|(code, _)| match STATUSES.get(usize::from(code)) {
        Some(name) => Cow::Borrowed(*name),
        None => code.to_string().into(),
    });
    let status_message = status.map(|it| text(it.1)).filter(|it| !it.is_empty());
    let failed = status.is_some_and(|it| it.0 != 0);
    let is_relayed = request.is_some_and(|it| !it.link.is_empty());
    let error = match () {
        () if failed => status_message.clone().or_else(|| status_code.clone()),
        () if is_relayed && told.is_none() => Some("no response".into()),
        () => None,
    };
    let fqdn = both.into_iter().flatten().find_map(|it| it.option(FQDN)).and_then(name);
    let dns = told.and_then(|it| it.option(DNS_SERVERS)).unwrap_or_default();
    let dns = dns.chunks_exact(16).filter_map(|it| <[u8; 16]>::try_from(it).ok());
    let elapsed =
        asked.and_then(|it| it.option(ELAPSED)).and_then(|it| <[u8; 2]>::try_from(it).ok());
    let packet = request.or(response);
    let named = |it: &'a str| (!it.is_empty()).then_some(Address(it));
    let kind = first.map_or("", |it| it.kind_name());
    let summary = Summary {
        verb: kind.into(),
        target: client_mac.clone().or_else(|| client_duid.clone()).unwrap_or_default().into(),
        status: status.map(|it| it.0.into()),
        failed: error.is_some(),
        error,
    };
    let row = DhcpV6 {
        message_type: kind.into(),
        response_type: asked.and(told).map(|it| it.kind_name().into()),
        client_duid: client_duid.map(Cow::Owned),
        client_mac: client_mac.map(Label::from),
        server_duid: duid(SERVER_ID).map(Cow::Owned),
        addresses: Texts(leases.addresses),
        prefixes: Texts(leases.prefixes),
        lease: leases.lease.map(|it| Duration(i64::from(it) * SECOND)),
        dns_servers: Texts(dns.map(|it| Ipv6Addr::from(it).to_string().into()).collect()),
        host_name: fqdn.map(Cow::Owned),
        status_code: status_code.filter(|_| failed).map(Label),
        status_message,
        link_address: packet.and_then(|it| named(&it.link)),
        peer_address: packet.and_then(|it| named(&it.peer)),
        hops: Code(first.map_or(0, |it| it.hops.into())),
        xid: first.map_or(0, |it| it.xid().into()),
        elapsed: elapsed.map(|it| Duration(i64::from(u16::from_be_bytes(it)) * SECOND / 100)),
    };
    (summary, row)
}

/// The hardware address in an identifier: with a time before it, or without.
fn mac(duid: &[u8]) -> Option<String> {
    let ([0, 1, _, _, _, _, _, _, address @ ..] | [0, 3, _, _, address @ ..]) = duid else {
        return None;
    };
    let pairs: Vec<_> = address.iter().map(|it| format!("{it:02x}")).collect();
    Some(pairs.join(":"))
}

/// A name in labels, behind a byte of flags (RFC 4704).
fn name(value: &[u8]) -> Option<String> {
    let mut rest = value.get(1..)?;
    let mut labels = Vec::new();
    while let [length @ 1..=63, after @ ..] = rest {
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        labels.push(text(label));
        rest = after;
    }
    (!labels.is_empty()).then(|| labels.join("."))
}

const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;
const RECONFIGURE: u8 = 10;
const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;

const TYPES: [&str; 12] = [
    "",
    "SOLICIT",
    "ADVERTISE",
    "REQUEST",
    "CONFIRM",
    "RENEW",
    "REBIND",
    "REPLY",
    "RELEASE",
    "DECLINE",
    "RECONFIGURE",
    "INFORMATION-REQUEST",
];

/// RFC 8415 §21.13.
const STATUSES: [&str; 7] = [
    "Success",
    "UnspecFail",
    "NoAddrsAvail",
    "NoBinding",
    "NotOnLink",
    "UseMulticast",
    "NoPrefixAvail",
];

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_TA: u16 = 4;
const IA_ADDRESS: u16 = 5;
const ELAPSED: u16 = 8;
const RELAY_MESSAGE: u16 = 9;
const STATUS: u16 = 13;
const DNS_SERVERS: u16 = 23;
const IA_PD: u16 = 25;
const IA_PREFIX: u16 = 26;
const FQDN: u16 = 39;

/// Relays that a message may pass (RFC 8415 §7.6).
const MOST_HOPS: u8 = 8;

/// How much of a message is kept; a packet has no more.
const KEPT_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive;

    fn option(code: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap();
        [&code.to_be_bytes(), &length.to_be_bytes(), value].concat()
    }

    fn message(kind: u8, xid: u8, options: &[Vec<u8>]) -> Vec<u8> {
        let duid = option(CLIENT_ID, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1]);
        [vec![kind, 0, 0, xid], duid, options.concat()].concat()
    }

    fn lease(address: Ipv6Addr) -> Vec<u8> {
        let inner = [&address.octets()[..], &[0, 0, 7, 8], &[0, 0, 14, 16]].concat();
        option(IA_NA, &[vec![0; 12], option(IA_ADDRESS, &inner)].concat())
    }

    fn rows(steps: &[drive::Step]) -> Vec<String> {
        let rows = drive::datagrams::<Dissector>(steps);
        let text = |row: &serde_json::Value, name: &str| match &row[name] {
            serde_json::Value::String(it) => it.clone(),
            other => other.to_string(),
        };
        let names = ["verb", "target", "response_type", "addresses", "lease", "error"];
        rows.iter().map(|row| names.map(|it| text(row, it)).join(" ")).collect()
    }

    #[test]
    fn questions_have_answers() {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
        let steps = [
            drive::client(message(1, 1, &[])),
            drive::client(message(3, 2, &[])),
            drive::server(message(7, 2, &[lease(address)])),
            drive::server(message(7, 1, &[option(STATUS, b"\0\x02none left")])),
            drive::client(message(8, 3, &[])),
        ];
        let expected = [
            r#"REQUEST 02:00:00:00:00:01 REPLY ["2001:db8::5"] 3600000000000 null"#,
            "SOLICIT 02:00:00:00:00:01 REPLY [] null none left",
            "RELEASE 02:00:00:00:00:01 null [] null null",
        ];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn relays_are_looked_through() {
        let around = |kind: u8, inner: &[u8]| {
            [&[kind, 0][..], &[0x20; 16], &[0xfe; 16], &option(RELAY_MESSAGE, inner)].concat()
        };
        let steps = [
            drive::client(around(12, &around(12, &message(1, 1, &[])))),
            drive::server(around(13, &around(13, &message(2, 1, &[])))),
        ];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!((&rows[0]["verb"], &rows[0]["hops"]), (&"SOLICIT".into(), &2.into()));
        assert_eq!(rows[0]["response_type"], "ADVERTISE");
        let mut deep = message(1, 1, &[]);
        for _ in 0..40 {
            deep = around(12, &deep);
        }
        assert_eq!(drive::datagrams::<Dissector>(&[drive::client(deep)]), ["lost"]);
    }

    #[test]
    fn recognised_by_content() {
        let guess = |bytes: &[u8], side| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Udp, port: 547 })
        };
        let asked = message(1, 1, &[]);
        assert_eq!(guess(&asked, Side::Client), Guess::Sure);
        assert_eq!(guess(&asked, Side::Server), Guess::No);
        assert_eq!(guess(&asked[..asked.len() - 1], Side::Client), Guess::No);
        assert_eq!(guess(&[11, 0, 0, 1], Side::Client), Guess::Maybe);
        assert_eq!(guess(&[0; 40], Side::Client), Guess::No);
    }
}
