//! DHCP for IPv4: RFC 2131 and 2132, relayed (RFC 3046), and BOOTP (RFC 951) underneath.
use std::borrow::Cow;
use std::net::Ipv4Addr;

use schema::value::{Address, Code, Duration, Json, Label, Texts, text};

use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::SECOND;
use crate::render::hex;

/// Hosts asking for their addresses, and what servers say. `verb` is the message's type, `target`
/// the host's hardware address. A host without an address asks all, so that question and answer
/// are different conversations and different rows, which `xid` joins; what is relayed or renewed
/// stands in one row.
#[derive(schema::Record)]
pub(super) struct Dhcp<'a> {
    /// What was asked, such as `DISCOVER` or `REQUEST`; of a lone answer, the answer. `BOOTREQUEST`
    /// and `BOOTREPLY` where no type is said.
    message_type: Label<'a>,
    /// What was answered, such as `OFFER`, `ACK` or `NAK`.
    response_type: Option<Label<'a>>,
    /// The host's hardware address.
    client_mac: Option<Label<'a>>,
    /// The address the host has already.
    client_address: Option<Address<'a>>,
    /// The address the host would like.
    requested_address: Option<Address<'a>>,
    /// The address that the server gives.
    offered_address: Option<Address<'a>>,
    /// The server, as it names itself or as the host chose it.
    server_id: Option<Address<'a>>,
    /// Where the host loads its system from.
    next_server: Option<Address<'a>>,
    /// The relay that passed it on.
    relay: Option<Address<'a>>,
    /// The host's name, as it says or is told.
    host_name: Option<Cow<'a, str>>,
    /// What the host says it is, such as `MSFT 5.0`.
    vendor_class: Option<Label<'a>>,
    /// What the host is called instead of its hardware address, in hexadecimal.
    client_id: Option<Cow<'a, str>>,
    /// How long the host may keep the address.
    lease: Option<Duration>,
    /// The mask of the host's network.
    subnet_mask: Option<Address<'a>>,
    /// The ways out of that network.
    routers: Texts<'a>,
    /// The name servers to ask.
    dns_servers: Texts<'a>,
    /// The host's domain.
    domain_name: Option<Cow<'a, str>>,
    /// The file to load.
    boot_file: Option<Cow<'a, str>>,
    /// The number that joins question and answer.
    xid: u64,
    /// How long the host has been trying, as it says.
    elapsed: Duration,
    /// How many relays it passed.
    hops: Code,
    /// The question's options, as an object by name.
    request_options: Option<Json<'a>>,
    /// The answer's options, as an object by name.
    response_options: Option<Json<'a>>,
}

/// Remembers nothing: each message says what it answers.
#[derive(Debug, Default)]
pub(super) struct Dissector;

/// One message as it was sent, with its addresses written out.
#[derive(Debug)]
pub(super) struct Packet {
    bytes: Box<[u8]>,
    texts: Texts4,
}

/// Addresses as text, empty where there is none.
#[derive(Debug, Default)]
struct Texts4 {
    client: String,
    offered: String,
    next: String,
    relay: String,
    requested: String,
    server: String,
    mask: String,
}

impl Dissect for Dissector {
    const NAME: &'static str = "dhcp";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp];
    const PORTS: &'static [u16] = &[67, 4011];
    type Body = Packet;
    type Columns = DhcpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        let Some(packet) = View::of(head.bytes) else { return Guess::No };
        match (packet.is_request(), head.side) {
            (true, Side::Client) | (false, Side::Server) if packet.has_cookie() => Guess::Sure,
            (true, Side::Client) | (false, Side::Server) => Guess::Maybe,
            _ => Guess::No,
        }
    }

    fn parse(
        &mut self,
        _: Side,
        input: &mut Input<'_>,
        open: &Open<Packet>,
    ) -> Result<Message<Packet>, Stop> {
        let bytes = input.take(input.rest().len())?;
        let view = View::of(bytes).ok_or(Stop::Lost)?;
        let (kind, is_request) = (view.kind(), view.is_request());
        let incomplete = bytes.len() < HEADER_BYTES || view.has_cookie() && !view.is_whole();
        let key = |group: u64| group << 32 | u64::from(view.xid());
        let kept = bytes.get(..KEPT_BYTES).unwrap_or(bytes);
        let packet = Packet { texts: Texts4::of(&view), bytes: kept.into() };
        let message = match kind {
            // The server is told, and says nothing.
            Some(DECLINE | RELEASE | FORCE_RENEW) => Message::notice(packet),
            kind if is_request => Message::request(packet).key(key(group(kind))),
            kind => {
                // The latest step that such an answer may belong to; a question may skip steps.
                let steps: &[Option<u8>] = match kind {
                    Some(OFFER) => &[Some(DISCOVER)],
                    Some(ACK) => &[Some(REQUEST), Some(INFORM), Some(DISCOVER)],
                    Some(NAK) => &[Some(REQUEST)],
                    Some(LEASE_UNASSIGNED | LEASE_UNKNOWN | LEASE_ACTIVE) => &[Some(LEASE_QUERY)],
                    _ => &[None],
                };
                let mut keys = steps.iter().map(|it| key(group(*it)));
                let first = keys.clone().next().unwrap_or_default();
                let asked = keys.find(|it| open.oldest(*it).is_some());
                Message::response(packet).key(asked.unwrap_or(first))
            }
        };
        Ok(message.incomplete(incomplete))
    }

    fn record(exchange: Exchange<'_, Packet>) -> (Summary<'_>, Dhcp<'_>) {
        record(exchange.request, exchange.response)
    }

    fn weight(packet: &Packet) -> usize {
        size_of::<Packet>() + packet.bytes.len()
    }
}

/// Which questions an answer may belong to: each with its own key beside the number.
fn group(kind: Option<u8>) -> u64 {
    kind.map_or(1, |it| u64::from(it) + 1)
}

/// A message being read.
#[derive(Clone, Copy)]
struct View<'m> {
    bytes: &'m [u8],
}

impl<'m> View<'m> {
    /// `None` if it is no such message.
    fn of(bytes: &'m [u8]) -> Option<Self> {
        let [op @ 1..=2, kind, length, hops, ..] = bytes else { return None };
        // A capture that keeps only the beginning of packets still has the addresses.
        let is_sound = *length <= 16 && *hops <= 32 && bytes.len() >= ADDRESSES_BYTES;
        // Ethernet above all; what else has addresses of six bytes.
        let is_known = *kind != 1 || matches!(length, 0 | 6);
        let flags = bytes.get(10..12)?;
        let is_clean = matches!(flags, [0 | 0x80, 0]) && *op <= 2;
        (is_sound && is_known && is_clean).then_some(Self { bytes })
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or_default()
    }

    fn is_request(&self) -> bool {
        self.byte(0) == 1
    }

    fn has_cookie(&self) -> bool {
        self.bytes.get(HEADER_BYTES..HEADER_BYTES + 4) == Some(&COOKIE)
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.byte(at), self.byte(at + 1)])
    }

    fn xid(&self) -> u32 {
        u32::from(self.u16(4)) << 16 | u32::from(self.u16(6))
    }

    fn address(&self, at: usize) -> String {
        self.bytes.get(at..at + 4).map(address).unwrap_or_default()
    }

    fn hardware(&self) -> Option<String> {
        let length = usize::from(self.byte(2));
        let bytes = self.bytes.get(28..28 + length).filter(|it| !it.is_empty())?;
        Some(bytes.iter().map(|it| format!("{it:02x}")).collect::<Vec<_>>().join(":"))
    }

    /// Codes and values; those of a kind that comes again are joined where they stand.
    fn options(&self) -> Options<'m> {
        let rest = match self.has_cookie() {
            true => self.bytes.get(HEADER_BYTES + 4..).unwrap_or_default(),
            false => &[],
        };
        Options { rest, ended: false }
    }

    fn option(&self, wanted: u8) -> Option<&'m [u8]> {
        self.options().find(|it| it.0 == wanted).map(|it| it.1)
    }

    fn kind(&self) -> Option<u8> {
        self.option(MESSAGE_TYPE)?.first().copied()
    }

    /// Whether the options end where they say.
    fn is_whole(&self) -> bool {
        let mut options = self.options();
        options.by_ref().for_each(drop);
        options.ended || options.rest.is_empty()
    }

    /// A text of the header, where no option takes its place.
    fn field(&self, from: usize, to: usize) -> Option<&'m [u8]> {
        let field = self.bytes.get(from..to)?;
        let end = field.iter().position(|it| *it == 0).unwrap_or(field.len());
        let overloaded = self.option(OVERLOAD).is_some();
        field.get(..end).filter(|it| !it.is_empty() && !overloaded)
    }

    fn kind_name(&self) -> Cow<'static, str> {
        match self.kind() {
            Some(kind) => match TYPES.get(usize::from(kind)) {
                Some(name) if kind > 0 => (*name).into(),
                _ => kind.to_string().into(),
            },
            None if self.is_request() => "BOOTREQUEST".into(),
            None => "BOOTREPLY".into(),
        }
    }

    fn json(&self) -> Option<String> {
        let mut json = String::from("{");
        let mut names = [false; 256];
        for (code, value) in self.options() {
            if code == MESSAGE_TYPE || json.len() > JSON_BYTES {
                continue;
            }
            // An object names each only once.
            let Some(seen) = names.get_mut(usize::from(code)) else { continue };
            if std::mem::replace(seen, true) {
                continue;
            }
            if json.len() > 1 {
                json.push(',');
            }
            write_option(&mut json, code, value);
        }
        json.push('}');
        self.has_cookie().then_some(json)
    }
}

/// The options of one message (RFC 2132 §2).
struct Options<'m> {
    rest: &'m [u8],
    ended: bool,
}

impl<'m> Iterator for Options<'m> {
    type Item = (u8, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rest {
                [0, rest @ ..] => self.rest = rest,
                [255, ..] => {
                    self.ended = true;
                    return None;
                }
                [code, length, rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                    self.rest = rest;
                    return Some((*code, value));
                }
                _ => return None,
            }
        }
    }
}

impl Texts4 {
    fn of(view: &View<'_>) -> Self {
        let option = |code| view.option(code).and_then(|it| it.get(..4)).map(address);
        Self {
            client: view.address(12),
            offered: view.address(16),
            next: view.address(20),
            relay: view.address(24),
            requested: option(REQUESTED_ADDRESS).unwrap_or_default(),
            server: option(SERVER_ID).unwrap_or_default(),
            mask: option(SUBNET_MASK).unwrap_or_default(),
        }
    }
}

/// As text; empty if there is none.
fn address(bytes: &[u8]) -> String {
    match bytes {
        [0, 0, 0, 0] => String::new(),
        [a, b, c, d] => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        _ => String::new(),
    }
}

fn record<'a>(
    request: Option<&'a Packet>,
    response: Option<&'a Packet>,
) -> (Summary<'a>, Dhcp<'a>) {
    // A notice of a server, or an answer whose question went another way.
    let asked = request.map(|it| View { bytes: &it.bytes });
    let told = response.map(|it| View { bytes: &it.bytes });
    let first = asked.or(told).unwrap_or(View { bytes: &[] });
    let either = [asked, told];
    let option = |code| either.into_iter().flatten().find_map(|it| it.option(code));
    let answer_first = |code| [told, asked].into_iter().flatten().find_map(|it| it.option(code));
    let named = |of: fn(&Texts4) -> &String| {
        let texts = [request, response].into_iter().flatten().map(|it| of(&it.texts).as_str());
        texts.into_iter().find(|it| !it.is_empty()).map(Address)
    };
    let from_answer = |of: fn(&Texts4) -> &String| {
        response.map(|it| of(&it.texts).as_str()).filter(|it| !it.is_empty()).map(Address)
    };
    let plain = |bytes: &'a [u8]| text(bytes.split(|it| *it == 0).next().unwrap_or_default());
    let addresses = |code| -> Vec<Cow<'a, str>> {
        let list = told.and_then(|it| it.option(code)).unwrap_or_default();
        list.chunks_exact(4).map(|it| address(it).into()).collect()
    };
    let hardware = first.hardware();
    let is_nak = told.is_some_and(|it| it.kind() == Some(NAK));
    let unanswered = told.is_none() && !matches!(first.kind(), Some(DECLINE | RELEASE));
    // Only a relay gets its answer the way it asked; what a host without one gets may be another
    // conversation.
    let is_relayed = request.is_some_and(|it| !it.texts.relay.is_empty());
    let why = option(MESSAGE).map(plain);
    let error = match () {
        () if is_nak => Some(why.unwrap_or_else(|| "NAK".into())),
        () if first.kind() == Some(DECLINE) => Some(why.unwrap_or_else(|| "address in use".into())),
        () if unanswered && is_relayed => Some("no response".into()),
        () => None,
    };
    let summary = Summary {
        verb: first.kind_name(),
        target: hardware.clone().unwrap_or_default().into(),
        status: None,
        failed: error.is_some(),
        error,
    };
    let boot_file = option(BOOT_FILE)
        .or_else(|| told.and_then(|it| it.field(108, 236)))
        .map(plain)
        .filter(|it| !it.is_empty());
    let lease = answer_first(LEASE).and_then(|it| <[u8; 4]>::try_from(it).ok());
    let row = Dhcp {
        message_type: Label(first.kind_name()),
        response_type: asked.and(told).map(|it| Label(it.kind_name())),
        client_mac: hardware.map(Label::from),
        client_address: named(|it| &it.client),
        requested_address: named(|it| &it.requested),
        offered_address: from_answer(|it| &it.offered),
        server_id: from_answer(|it| &it.server).or_else(|| named(|it| &it.server)),
        next_server: from_answer(|it| &it.next),
        relay: named(|it| &it.relay),
        host_name: option(HOST_NAME).map(plain),
        vendor_class: asked.and_then(|it| it.option(VENDOR_CLASS)).map(|it| Label(plain(it))),
        client_id: option(CLIENT_ID).map(hex).map(Cow::Owned),
        lease: lease.map(|it| Duration(i64::from(u32::from_be_bytes(it)) * SECOND)),
        subnet_mask: from_answer(|it| &it.mask),
        routers: Texts(addresses(ROUTERS)),
        dns_servers: Texts(addresses(DNS_SERVERS)),
        domain_name: answer_first(DOMAIN_NAME).map(plain),
        boot_file,
        xid: first.xid().into(),
        elapsed: Duration(i64::from(first.u16(8)) * SECOND),
        hops: Code(first.byte(3).into()),
        request_options: asked.and_then(|it| it.json()).map(|it| Json(it.into())),
        response_options: told.and_then(|it| it.json()).map(|it| Json(it.into())),
    };
    (summary, row)
}

/// One member of an object: the option's name and what it says.
fn write_option(json: &mut String, code: u8, value: &[u8]) {
    let known = OPTIONS.iter().find(|it| it.0 == code);
    match known {
        Some((_, name, _)) => write_text(json, name),
        None => write_text(json, &format!("option_{code}")),
    }
    json.push(':');
    let shape = known.map_or(Shape::Bytes, |it| it.2);
    match (shape, value) {
        (Shape::Address, [_, _, _, _]) => write_text(json, &address(value)),
        (Shape::Addresses, _) if value.len().is_multiple_of(4) => {
            json.push('[');
            for (place, it) in value.chunks_exact(4).enumerate() {
                if place > 0 {
                    json.push(',');
                }
                write_text(json, &address(it));
            }
            json.push(']');
        }
        (Shape::Number, [_, ..]) if value.len() <= 8 => {
            let number = value.iter().fold(0_u64, |sum, it| sum << 8 | u64::from(*it));
            json.push_str(&number.to_string());
        }
        (Shape::Numbers, _) => {
            let list: Vec<_> = value.iter().map(u8::to_string).collect();
            json.push('[');
            json.push_str(&list.join(","));
            json.push(']');
        }
        (Shape::Text, _) => write_text(json, &text(value.strip_suffix(b"\0").unwrap_or(value))),
        _ => write_text(json, &hex(value)),
    }
}

fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for it in text.chars() {
        match it {
            '"' | '\\' => {
                json.push('\\');
                json.push(it);
            }
            it if it.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(it))),
            it => json.push(it),
        }
    }
    json.push('"');
}

/// What an option holds.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Address,
    Addresses,
    Number,
    Numbers,
    Text,
    Bytes,
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;
const RELEASE: u8 = 7;
const INFORM: u8 = 8;
const FORCE_RENEW: u8 = 9;
const LEASE_QUERY: u8 = 10;
const LEASE_UNASSIGNED: u8 = 11;
const LEASE_UNKNOWN: u8 = 12;
const LEASE_ACTIVE: u8 = 13;

/// RFC 2132 §9.6, RFC 3203, RFC 4388.
const TYPES: [&str; 14] = [
    "",
    "DISCOVER",
    "OFFER",
    "REQUEST",
    "DECLINE",
    "ACK",
    "NAK",
    "RELEASE",
    "INFORM",
    "FORCERENEW",
    "LEASEQUERY",
    "LEASEUNASSIGNED",
    "LEASEUNKNOWN",
    "LEASEACTIVE",
];

const SUBNET_MASK: u8 = 1;
const ROUTERS: u8 = 3;
const DNS_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const DOMAIN_NAME: u8 = 15;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE: u8 = 51;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const MESSAGE: u8 = 56;
const VENDOR_CLASS: u8 = 60;
const CLIENT_ID: u8 = 61;
const BOOT_FILE: u8 = 67;

/// What options are called; the others stand by number.
const OPTIONS: &[(u8, &str, Shape)] = &[
    (1, "subnet_mask", Shape::Address),
    (2, "time_offset", Shape::Number),
    (3, "routers", Shape::Addresses),
    (4, "time_servers", Shape::Addresses),
    (6, "dns_servers", Shape::Addresses),
    (7, "log_servers", Shape::Addresses),
    (12, "host_name", Shape::Text),
    (15, "domain_name", Shape::Text),
    (17, "root_path", Shape::Text),
    (23, "ip_ttl", Shape::Number),
    (26, "interface_mtu", Shape::Number),
    (28, "broadcast_address", Shape::Address),
    (33, "static_routes", Shape::Addresses),
    (42, "ntp_servers", Shape::Addresses),
    (43, "vendor_options", Shape::Bytes),
    (44, "netbios_name_servers", Shape::Addresses),
    (46, "netbios_node_type", Shape::Number),
    (50, "requested_address", Shape::Address),
    (51, "lease_seconds", Shape::Number),
    (52, "overload", Shape::Number),
    (54, "server_id", Shape::Address),
    (55, "parameter_list", Shape::Numbers),
    (56, "message", Shape::Text),
    (57, "max_message_size", Shape::Number),
    (58, "renewal_seconds", Shape::Number),
    (59, "rebinding_seconds", Shape::Number),
    (60, "vendor_class", Shape::Text),
    (61, "client_id", Shape::Bytes),
    (66, "tftp_server", Shape::Text),
    (67, "boot_file", Shape::Text),
    (77, "user_class", Shape::Text),
    (80, "rapid_commit", Shape::Bytes),
    (81, "client_fqdn", Shape::Bytes),
    (82, "relay_agent", Shape::Bytes),
    (93, "client_architecture", Shape::Number),
    (100, "timezone", Shape::Text),
    (101, "tz_database", Shape::Text),
    (114, "captive_portal", Shape::Text),
    (118, "subnet_selection", Shape::Address),
    (119, "domain_search", Shape::Bytes),
    (121, "classless_routes", Shape::Bytes),
    (150, "tftp_server_addresses", Shape::Addresses),
    (252, "proxy_auto_config", Shape::Text),
];

/// What BOOTP has up to the host's hardware address.
const ADDRESSES_BYTES: usize = 44;

/// What BOOTP has before its options.
const HEADER_BYTES: usize = 236;

/// What options begin with.
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// How much of a message is kept; a packet has no more.
const KEPT_BYTES: usize = 2048;

/// How long an object of options grows.
const JSON_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive;

    fn message(op: u8, xid: u8, kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&[op, 1, 6, 0, 0, 0, 0, xid]);
        bytes[16..20].copy_from_slice(if op == 2 { &[192, 0, 2, 100] } else { &[0; 4] });
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        bytes.extend_from_slice(&COOKIE);
        if kind > 0 {
            bytes.extend_from_slice(&[53, 1, kind]);
        }
        bytes.extend_from_slice(options);
        bytes.push(255);
        bytes
    }

    fn rows(steps: &[drive::Step]) -> Vec<String> {
        let rows = drive::datagrams::<Dissector>(steps);
        let text = |row: &serde_json::Value, name: &str| match &row[name] {
            serde_json::Value::String(it) => it.clone(),
            other => other.to_string(),
        };
        let names = ["verb", "response_type", "offered_address", "error"];
        rows.iter().map(|row| names.map(|it| text(row, it)).join(" ")).collect()
    }

    #[test]
    fn each_step_has_its_answer() {
        let steps = [
            drive::client(message(1, 7, DISCOVER, &[])),
            drive::client(message(1, 8, DISCOVER, &[])),
            drive::server(message(2, 8, OFFER, &[])),
            drive::client(message(1, 8, REQUEST, &[])),
            drive::server(message(2, 8, NAK, b"\x38\x04busy")),
            drive::client(message(1, 9, DISCOVER, &[80, 0])),
            drive::server(message(2, 9, ACK, &[])),
            drive::client(message(1, 10, RELEASE, &[])),
            drive::server(message(2, 11, ACK, &[])),
            drive::client(message(1, 12, 0, &[])),
            drive::server(message(2, 12, 0, &[])),
        ];
        let expected = [
            "DISCOVER OFFER 192.0.2.100 null",
            "REQUEST NAK 192.0.2.100 busy",
            "DISCOVER ACK 192.0.2.100 null",
            "RELEASE null null null",
            "ACK null 192.0.2.100 null",
            "BOOTREQUEST BOOTREPLY 192.0.2.100 null",
            "DISCOVER null null null",
        ];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn options_are_an_object() {
        let options = b"\x0c\x04a\"b\\\x33\x04\0\0\x0e\x10\x06\x08\x01\x02\x03\x04\x05\x06\x07\x08\xe0\x01\xff\x0c\x01z";
        let rows = drive::datagrams::<Dissector>(&[drive::server(message(2, 1, ACK, options))]);
        let json: serde_json::Value =
            serde_json::from_str(rows[0]["response_options"].as_str().unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "host_name": "a\"b\\", "lease_seconds": 3600,
                "dns_servers": ["1.2.3.4", "5.6.7.8"], "option_224": "ff",
            })
        );
        assert_eq!(rows[0]["lease"], 3_600_000_000_000_i64);
    }

    #[test]
    fn what_is_cut_is_incomplete() {
        let mut cut = message(1, 1, DISCOVER, b"\x0c\x20name");
        cut.pop();
        let rows = drive::datagrams::<Dissector>(&[drive::client(cut)]);
        assert_eq!((&rows[0]["verb"], &rows[0]["incomplete"]), (&"DISCOVER".into(), &true.into()));
    }

    #[test]
    fn recognised_by_content() {
        let guess = |bytes: &[u8], side| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Udp, port: 67 })
        };
        let asked = message(1, 1, DISCOVER, &[]);
        assert_eq!(guess(&asked, Side::Client), Guess::Sure);
        assert_eq!(guess(&asked, Side::Server), Guess::No);
        assert_eq!(guess(&asked[..HEADER_BYTES], Side::Client), Guess::Maybe);
        assert_eq!(guess(&asked[..100], Side::Client), Guess::Maybe);
        assert_eq!(guess(&asked[..40], Side::Client), Guess::No);
        assert_eq!(guess(&[1; 300], Side::Client), Guess::No);
    }
}
