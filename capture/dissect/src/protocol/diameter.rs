//! Diameter over TCP: RFC 6733, with credit control (RFC 8506), network access (RFC 7155), EAP
//! (RFC 4072), SIP (RFC 4740) and the commonest of 3GPP's interfaces (TS 29.229, 29.272, 29.212).
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use schema::value::{Code, Json, Label, text};

use super::{Dissect, Guess, Head, Transport, radius};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::render::{SECRET, digits, put, quote, words};

/// What Diameter nodes ask each other about users, sessions and credit. Either side may ask.
#[derive(schema::Record)]
pub(super) struct Diameter<'a> {
    /// What is asked, such as `Credit-Control` or `Device-Watchdog`; null if the command isn't
    /// known.
    command: Option<Label<'a>>,
    /// The command's number.
    command_code: Code,
    /// What it is asked for, such as `Gx` or `S6a`; null if the application isn't known.
    application: Option<Label<'a>>,
    /// The application's number.
    application_id: u64,
    /// The session it belongs to.
    session_id: Option<Cow<'a, str>>,
    /// Who asks.
    origin_host: Option<Cow<'a, str>>,
    /// The realm of who asks.
    origin_realm: Option<Cow<'a, str>>,
    /// Who is asked, if the request names a host.
    destination_host: Option<Cow<'a, str>>,
    /// The realm of who is asked.
    destination_realm: Option<Cow<'a, str>>,
    /// Who answers.
    response_host: Option<Cow<'a, str>>,
    /// The user it is about.
    user: Option<Cow<'a, str>>,
    /// The subscriber it is about: a telephone number, IMSI or SIP address.
    subscription: Option<Cow<'a, str>>,
    /// What kind of request for credit, policy or accounting it is: `INITIAL`, `UPDATE`,
    /// `TERMINATION`, `EVENT`, …
    request_type: Option<Label<'a>>,
    /// The place of a request among those of its session.
    request_number: Option<u64>,
    /// How it ended, such as `SUCCESS` or `UNABLE_TO_DELIVER`; of a vendor's code that isn't known,
    /// its number; null without an answer.
    result: Option<Label<'a>>,
    /// The vendor whose own code the result is.
    result_vendor: Option<u64>,
    /// What the answer says about an error.
    error_message: Option<Cow<'a, str>>,
    /// It may be passed on by agents.
    proxiable: bool,
    /// The same request may have been sent before (T).
    retransmission: bool,
    /// The answer is about the protocol, not the application (E).
    protocol_error: bool,
    /// The server's end of the connection asked, and the client's answered.
    server_initiated: bool,
    /// All of the request, as a list of objects with `name` and `value`; a group's value is a list
    /// in turn. The list is cut at 32 KiB.
    request_avps: Option<Json<'a>>,
    /// All of the response, likewise.
    response_avps: Option<Json<'a>>,
    /// The number that pairs answer and request on this connection.
    hop_by_hop_id: u64,
    /// The number by which duplicates are told on the whole way.
    end_to_end_id: u64,
}

/// The messages of both sides that are too long to wait for.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<Long>,
    server: Option<Long>,
}

#[derive(Debug)]
struct Long {
    payload: Payload,
    left: u64,
    incomplete: bool,
}

/// One message, read.
#[derive(Debug)]
pub(super) struct Body {
    header: Header,
    sender: Side,
    fields: Box<Fields>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "diameter";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp, Transport::Sctp];
    const PORTS: &'static [u16] = &[3868];
    type Body = Body;
    type Columns = DiameterColumns;

    fn guess(head: &Head<'_>) -> Guess {
        judge(head.bytes, head.side)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        _: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        if self.long(side).is_none() {
            let header = match Header::of(input.rest()) {
                Err(Stop::More) => return Err(input.short()),
                header => header?,
            };
            let length = usize::try_from(header.length).map_err(|_| Stop::Lost)?;
            if length <= input.limits().body_bytes || input.datagram() {
                // Of a datagram, the end may not have been captured.
                let there = if input.datagram() { length.min(input.rest().len()) } else { length };
                let message = input.take(there)?;
                let fields = Fields::of(message).ok_or(Stop::Lost)?;
                return Ok(message_of(header, side, fields, there < length));
            }
            let left = u64::from(header.length);
            *self.long(side) = Some(Long { payload: Payload::default(), left, incomplete: false });
        }
        // Only the start of a long message is kept.
        while let Some(long) = self.long(side)
            && long.left > 0
        {
            let piece = input.some(long.left)?;
            long.payload.push(piece, input.limits().body_bytes);
            long.left -= piece.len() as u64;
            input.commit();
        }
        let long = self.long(side).take().ok_or(Stop::Lost)?;
        let header = Header::of(long.payload.bytes()).map_err(|_| Stop::Lost)?;
        let fields = Fields::of(long.payload.bytes()).ok_or(Stop::Lost)?;
        Ok(message_of(header, side, fields, long.incomplete))
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Diameter<'_>) {
        let (request, response) = (exchange.request, exchange.response);
        let first = request.or(response);
        let header = first.map(|it| it.header).unwrap_or_default();
        let sender = request.map(|it| it.sender).or_else(|| response.map(|it| it.sender.other()));
        let asked = request.map(|it| &*it.fields);
        let told = response.map(|it| &*it.fields);
        let either = |of: fn(&Fields) -> &Option<String>| {
            let text = asked.and_then(|it| of(it).as_deref());
            text.or_else(|| told.and_then(|it| of(it).as_deref())).map(Cow::Borrowed)
        };
        let of_request = |of: fn(&Fields) -> &Option<String>| {
            asked.and_then(|it| of(it).as_deref()).map(Cow::Borrowed)
        };
        let command = named(COMMANDS, header.command);
        let status = told.and_then(|it| it.result);
        let names = match told.and_then(|it| it.result_vendor) {
            None => RESULTS,
            Some(THREE_GPP) => THREE_GPP_RESULTS,
            Some(_) => &[],
        };
        let result = status.map(|it| match named(names, it) {
            Some(name) => Cow::Borrowed(name),
            None => it.to_string().into(),
        });
        // Four-digit codes: 1 more is needed, 2 success, 3 to 5 failures.
        let failed = status.is_some_and(|it| it >= 3000)
            || response.is_some_and(|it| it.header.has(ERROR) && status.is_none());
        let error_message = told.and_then(|it| it.error_message.as_deref());
        let destination_host = of_request(|it| &it.destination_host);
        let destination_realm = of_request(|it| &it.destination_realm);
        let subscription = either(|it| &it.subscription);
        let user = either(|it| &it.user);
        let target = user.clone().or_else(|| subscription.clone());
        let target = target.or_else(|| destination_host.clone());
        let target = target.or_else(|| destination_realm.clone());

        let summary = Summary {
            verb: match command {
                Some(name) => name.into(),
                None => header.command.to_string().into(),
            },
            target: target.or_else(|| either(|it| &it.origin_host)).unwrap_or_default(),
            status: status.and_then(|it| i32::try_from(it).ok()),
            failed,
            error: result.clone().filter(|_| failed).map(|result| match error_message {
                Some(message) => format!("{result}: {message}").into(),
                None => result,
            }),
        };
        let record = Diameter {
            command: command.map(Label::from),
            command_code: Code(i32::try_from(header.command).unwrap_or_default()),
            application: named(APPLICATIONS, header.application).map(Label::from),
            application_id: header.application.into(),
            session_id: either(|it| &it.session_id),
            origin_host: of_request(|it| &it.origin_host),
            origin_realm: of_request(|it| &it.origin_realm),
            destination_host,
            destination_realm,
            response_host: told.and_then(|it| it.origin_host.as_deref()).map(Cow::Borrowed),
            user,
            subscription,
            request_type: asked.or(told).and_then(|it| it.request_type).map(Label::from),
            request_number: asked.or(told).and_then(|it| it.request_number).map(u64::from),
            result: result.map(Label),
            result_vendor: told.and_then(|it| it.result_vendor).map(u64::from),
            error_message: error_message.map(Cow::Borrowed),
            proxiable: header.has(PROXIABLE),
            retransmission: request.is_some_and(|it| it.header.has(RETRANSMITTED)),
            protocol_error: response.is_some_and(|it| it.header.has(ERROR)),
            server_initiated: sender == Some(Side::Server),
            request_avps: asked.map(|it| Json(Cow::Borrowed(&*it.json))),
            response_avps: told.map(|it| Json(Cow::Borrowed(&*it.json))),
            hop_by_hop_id: header.hop_by_hop.into(),
            end_to_end_id: header.end_to_end.into(),
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        let it = &body.fields;
        let texts = [
            &it.session_id,
            &it.origin_host,
            &it.origin_realm,
            &it.destination_host,
            &it.destination_realm,
            &it.user,
            &it.subscription,
            &it.error_message,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::capacity).sum();
        size_of::<Body>() + size_of::<Fields>() + texts + it.json.capacity()
    }

    fn held(&self) -> usize {
        [&self.client, &self.server].into_iter().flatten().map(|it| it.payload.held()).sum()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        match self.long(side) {
            Some(long) if missing <= long.left => {
                long.payload.skip(missing);
                long.left -= missing;
                long.incomplete = true;
                Ok(())
            }
            _ => Err(Stop::Lost),
        }
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.long(side) = None;
        let rest = input.rest();
        if input.datagram() {
            input.take(rest.len())?;
            input.commit();
            return Ok(());
        }
        for at in memchr::memchr_iter(VERSION, rest) {
            let found = judge(rest.get(at..).unwrap_or_default(), side);
            if !matches!(found, Guess::Sure | Guess::More) {
                continue;
            }
            input.take(at)?;
            input.commit();
            return if found == Guess::More { Err(Stop::More) } else { Ok(()) };
        }
        input.take(rest.len())?;
        input.commit();
        Err(Stop::More)
    }
}

impl Dissector {
    fn long(&mut self, side: Side) -> &mut Option<Long> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

fn message_of(header: Header, side: Side, fields: Fields, incomplete: bool) -> Message<Body> {
    let asks = header.has(REQUEST);
    let asker = if asks { side } else { side.other() };
    // Each side numbers its own requests.
    let key = 1 << 60
        | u64::from(asker == Side::Server) << 56
        | u64::from(header.command) << 32
        | u64::from(header.hop_by_hop);
    let body = Body { header, sender: side, fields: Box::new(fields) };
    let message = if asks { Message::request(body) } else { Message::response(body) };
    message.key(key).incomplete(incomplete)
}

/// What stands before every message.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    length: u32,
    flags: u8,
    command: u32,
    application: u32,
    hop_by_hop: u32,
    end_to_end: u32,
}

impl Header {
    fn of(bytes: &[u8]) -> Result<Self, Stop> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(_) => return Err(Stop::Lost),
            None => return Err(Stop::More),
        }
        let mut words = bytes.get(..HEADER_BYTES).ok_or(Stop::More)?.chunks_exact(4).map(word);
        let mut next = || words.next().ok_or(Stop::Lost);
        let (first, second) = (next()?, next()?);
        let [flags, ..] = second.to_be_bytes();
        let header = Self {
            length: first & 0xff_ffff,
            flags,
            command: second & 0xff_ffff,
            application: next()?,
            hop_by_hop: next()?,
            end_to_end: next()?,
        };
        let asks_and_fails = header.has(REQUEST) && header.has(ERROR);
        let is_sound = header.length as usize >= HEADER_BYTES
            && header.length.is_multiple_of(4)
            && header.flags & RESERVED == 0
            && !asks_and_fails;
        if is_sound { Ok(header) } else { Err(Stop::Lost) }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// How much these bytes look like a message.
fn judge(bytes: &[u8], side: Side) -> Guess {
    let header = match Header::of(bytes) {
        Ok(header) => header,
        Err(Stop::More) => return Guess::More,
        Err(Stop::Lost) => return Guess::No,
    };
    // Who connects says first who it is.
    let is_greeting = header.command == CAPABILITIES_EXCHANGE;
    if is_greeting && header.has(REQUEST) != (side == Side::Client) {
        return Guess::No;
    }
    let rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
    if header.length as usize == HEADER_BYTES {
        return Guess::Maybe;
    }
    let Some((first, _)) = rest.split_at_checked(AVP_BYTES) else { return Guess::More };
    let mut words = first.chunks_exact(4).map(word);
    let (code, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let [flags, ..] = second.to_be_bytes();
    let length = second & 0xff_ffff;
    let room = (header.length as usize).saturating_sub(HEADER_BYTES);
    let is_sound = (AVP_BYTES..=room).contains(&(length as usize)) && flags & AVP_RESERVED == 0;
    let is_usual = FIRST_AVPS.contains(&code) && flags & VENDOR == 0;
    match is_sound {
        true if is_usual => Guess::Sure,
        true if named(COMMANDS, header.command).is_some() => Guess::Maybe,
        _ => Guess::No,
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map(u32::from_be_bytes).unwrap_or_default()
}

/// What of a message stands in columns, and all of it as text.
#[derive(Debug, Default)]
struct Fields {
    session_id: Option<String>,
    origin_host: Option<String>,
    origin_realm: Option<String>,
    destination_host: Option<String>,
    destination_realm: Option<String>,
    user: Option<String>,
    subscription: Option<String>,
    request_type: Option<&'static str>,
    request_number: Option<u32>,
    result: Option<u32>,
    result_vendor: Option<u32>,
    error_message: Option<String>,
    json: String,
}

impl Fields {
    /// `None` if the first attribute makes no sense: it was no message.
    fn of(message: &[u8]) -> Option<Self> {
        let mut fields = Self::default();
        let avps = message.get(HEADER_BYTES..)?;
        if !avps.is_empty() && Avps(avps).next().is_none() && avps.len() >= AVP_BYTES {
            return None;
        }
        for avp in Avps(avps) {
            fields.note(&avp);
        }
        write_list(&mut fields.json, avps, 0);
        Some(fields)
    }

    fn note(&mut self, avp: &Avp<'_>) {
        let own = || Some(text(avp.value).into_owned());
        if avp.vendor != 0 {
            return;
        }
        match avp.code {
            1 => self.user = own(),
            263 => self.session_id = own(),
            264 => self.origin_host = own(),
            296 => self.origin_realm = own(),
            293 => self.destination_host = own(),
            283 => self.destination_realm = own(),
            281 => self.error_message = own(),
            268 => self.result = avp.number(),
            297 if self.result.is_none() => {
                let number = |code| Avps(avp.value).find(|it| it.code == code)?.number();
                self.result = number(298);
                self.result_vendor = number(266);
            }
            443 if self.subscription.is_none() => {
                let data = Avps(avp.value).find(|it| it.code == 444);
                self.subscription = data.map(|it| text(it.value).into_owned());
            }
            416 => self.request_type = avp.number().and_then(|it| named(CREDIT_REQUESTS, it)),
            480 => self.request_type = avp.number().and_then(|it| named(RECORDS, it)),
            415 | 485 => self.request_number = avp.number(),
            _ => {}
        }
    }
}

/// One attribute-value pair.
#[derive(Clone, Copy, Debug)]
struct Avp<'a> {
    code: u32,
    /// Zero where there is none.
    vendor: u32,
    value: &'a [u8],
}

impl Avp<'_> {
    fn number(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.value.try_into().ok()?))
    }

    fn name(&self) -> Option<(&'static str, Kind)> {
        let table = match self.vendor {
            0 => AVPS,
            THREE_GPP => THREE_GPP_AVPS,
            _ => &[],
        };
        let known = table.iter().find(|it| it.0 == self.code).map(|it| (it.1, it.2));
        // The numbers below 256 are RADIUS's.
        known.or_else(|| {
            let radius = u8::try_from(self.code).ok().filter(|_| self.vendor == 0)?;
            let (_, name, kind) = radius::attribute_of(radius)?;
            Some((*name, Kind::of_radius(*kind)))
        })
    }
}

/// Attribute-value pairs, one after the other. Ends where they make no sense.
struct Avps<'a>(&'a [u8]);

impl<'a> Iterator for Avps<'a> {
    type Item = Avp<'a>;

    fn next(&mut self) -> Option<Avp<'a>> {
        let (head, _) = self.0.split_at_checked(AVP_BYTES)?;
        let mut words = head.chunks_exact(4).map(word);
        let (code, second) = (words.next()?, words.next()?);
        let [flags, ..] = second.to_be_bytes();
        let length = usize::try_from(second & 0xff_ffff).ok()?;
        let has_vendor = flags & VENDOR != 0;
        let start = if has_vendor { AVP_BYTES + 4 } else { AVP_BYTES };
        // The message may be cut.
        let value = self.0.get(start..length.min(self.0.len()))?;
        let vendor = if has_vendor { word(self.0.get(AVP_BYTES..start)?) } else { 0 };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Avp { code, vendor, value })
    }
}

/// All of a group, as a JSON list.
fn write_list(json: &mut String, avps: &[u8], depth: usize) {
    json.push('[');
    for (place, avp) in Avps(avps).enumerate() {
        if json.len() > JSON_BYTES {
            break;
        }
        if place > 0 {
            json.push(',');
        }
        json.push_str("{\"name\":");
        let (name, kind) = match avp.name() {
            Some((name, kind)) => (Cow::Borrowed(name), kind),
            None if avp.vendor == 0 => (avp.code.to_string().into(), Kind::Octets),
            None => (format!("{}.{}", avp.vendor, avp.code).into(), Kind::Octets),
        };
        quote(json, &name);
        if avp.vendor != 0 {
            put(json, format_args!(",\"vendor\":{}", avp.vendor));
        }
        json.push_str(",\"value\":");
        match kind {
            Kind::Group if depth < DEPTH => write_list(json, avp.value, depth + 1),
            kind => write_value(json, kind, avp.value),
        }
        json.push('}');
    }
    json.push(']');
}

fn write_value(json: &mut String, kind: Kind, value: &[u8]) {
    let number = || Some(u32::from_be_bytes(value.try_into().ok()?));
    let large = || Some(u64::from_be_bytes(value.try_into().ok()?));
    let shown: Option<Cow<'_, str>> = match kind {
        Kind::Text => Some(words(value)),
        Kind::Number | Kind::Time => match number() {
            // Seconds since 1900.
            Some(it) if matches!(kind, Kind::Time) => {
                return put(json, format_args!("{}", i64::from(it) - NTP_EPOCH));
            }
            Some(it) => return put(json, format_args!("{it}")),
            None => None,
        },
        Kind::Signed => match number() {
            Some(it) => return put(json, format_args!("{}", it.cast_signed())),
            None => None,
        },
        Kind::Large => match large() {
            Some(it) => return put(json, format_args!("{it}")),
            None => None,
        },
        Kind::SignedLarge => match large() {
            Some(it) => return put(json, format_args!("{}", it.cast_signed())),
            None => None,
        },
        Kind::Named(names) => match number() {
            Some(it) => match named(names, it) {
                Some(name) => Some(name.into()),
                None => return put(json, format_args!("{it}")),
            },
            None => None,
        },
        Kind::Address => address(value).map(Cow::Owned),
        Kind::Secret => Some(SECRET.into()),
        Kind::Bcd => Some(bcd(value).into()),
        Kind::Octets | Kind::Group => None,
    };
    match shown {
        Some(shown) => quote(json, &shown),
        None if matches!(kind, Kind::Group) => quote(json, &digits(value)),
        None => quote(json, &words(value)),
    }
}

/// An address with its family in front, as Diameter has them, or without, as RADIUS does.
fn address(bytes: &[u8]) -> Option<String> {
    let plain = match bytes {
        [0, 1, rest @ ..] if rest.len() == 4 => rest,
        [0, 2, rest @ ..] if rest.len() == 16 => rest,
        plain => plain,
    };
    match plain.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?).to_string()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?).to_string()),
        _ => None,
    }
}

/// Digits in half bytes, the low half first.
fn bcd(bytes: &[u8]) -> String {
    let halves = bytes.iter().take(BCD_BYTES).flat_map(|it| [it & 0xf, it >> 4]);
    halves.filter_map(|it| char::from_digit(it.into(), 10)).collect()
}

fn named(table: &[(u32, &'static str)], number: u32) -> Option<&'static str> {
    table.iter().find(|it| it.0 == number).map(|it| it.1)
}

/// What an attribute's value is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Octets,
    Number,
    Signed,
    Large,
    SignedLarge,
    Time,
    Named(&'static [(u32, &'static str)]),
    Address,
    /// Digits in half bytes.
    Bcd,
    Group,
    Secret,
}

impl Kind {
    fn of_radius(kind: radius::Kind) -> Self {
        match kind {
            radius::Kind::Text => Self::Text,
            radius::Kind::Number | radius::Kind::Time => Self::Number,
            radius::Kind::Named(names) | radius::Kind::TaggedNumber(names) => Self::Named(names),
            radius::Kind::Address => Self::Address,
            radius::Kind::Secret => Self::Secret,
            _ => Self::Octets,
        }
    }
}

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 20;
const AVP_BYTES: usize = 8;

/// The flags of a message.
const REQUEST: u8 = 0x80;
const PROXIABLE: u8 = 0x40;
const ERROR: u8 = 0x20;
const RETRANSMITTED: u8 = 0x10;
const RESERVED: u8 = 0x0f;

/// The flags of an attribute-value pair.
const VENDOR: u8 = 0x80;
const AVP_RESERVED: u8 = 0x1f;

const CAPABILITIES_EXCHANGE: u32 = 257;
const THREE_GPP: u32 = 10415;

/// Session-Id, Origin-Host, Result-Code, Origin-Realm: what messages begin with.
const FIRST_AVPS: &[u32] = &[263, 264, 268, 296];

const JSON_BYTES: usize = 32 << 10;
const DEPTH: usize = 16;
const BCD_BYTES: usize = 32;

/// Seconds from 1900 to 1970.
const NTP_EPOCH: i64 = 2_208_988_800;

const COMMANDS: &[(u32, &str)] = &[
    (257, "Capabilities-Exchange"),
    (258, "Re-Auth"),
    (260, "AA-Mobile-Node"),
    (262, "Home-Agent-MIP"),
    (265, "AA"),
    (268, "Diameter-EAP"),
    (271, "Accounting"),
    (272, "Credit-Control"),
    (274, "Abort-Session"),
    (275, "Session-Termination"),
    (280, "Device-Watchdog"),
    (282, "Disconnect-Peer"),
    (283, "User-Authorization"),
    (284, "Server-Assignment"),
    (285, "Location-Info"),
    (286, "Multimedia-Auth"),
    (287, "Registration-Termination"),
    (288, "Push-Profile"),
    (300, "User-Authorization"),
    (301, "Server-Assignment"),
    (302, "Location-Info"),
    (303, "Multimedia-Auth"),
    (304, "Registration-Termination"),
    (305, "Push-Profile"),
    (306, "User-Data"),
    (307, "Profile-Update"),
    (308, "Subscribe-Notifications"),
    (309, "Push-Notification"),
    (310, "Bootstrapping-Info"),
    (311, "Message-Process"),
    (316, "Update-Location"),
    (317, "Cancel-Location"),
    (318, "Authentication-Information"),
    (319, "Insert-Subscriber-Data"),
    (320, "Delete-Subscriber-Data"),
    (321, "Purge-UE"),
    (322, "Reset"),
    (323, "Notify"),
    (324, "ME-Identity-Check"),
    (325, "MIP6"),
    (8_388_620, "Provide-Location"),
    (8_388_621, "Location-Report"),
    (8_388_622, "LCS-Routing-Info"),
    (8_388_635, "Spending-Limit"),
    (8_388_636, "Spending-Status-Notification"),
    (8_388_637, "TDF-Session"),
    (8_388_638, "Update-VCSG-Location"),
    (8_388_639, "Device-Action"),
    (8_388_640, "Device-Notification"),
    (8_388_641, "Subscriber-Information"),
    (8_388_645, "MO-Forward-Short-Message"),
    (8_388_646, "MT-Forward-Short-Message"),
    (8_388_647, "Send-Routing-Info-for-SM"),
    (8_388_648, "Alert-Service-Centre"),
    (8_388_649, "Report-SM-Delivery-Status"),
];

const APPLICATIONS: &[(u32, &str)] = &[
    (0, "Base"),
    (1, "NASREQ"),
    (2, "Mobile IPv4"),
    (3, "Accounting"),
    (4, "Credit Control"),
    (5, "EAP"),
    (6, "SIP"),
    (7, "MIP6I"),
    (8, "MIP6A"),
    (16_777_216, "Cx"),
    (16_777_217, "Sh"),
    (16_777_218, "Re"),
    (16_777_219, "Wx"),
    (16_777_220, "Zn"),
    (16_777_221, "Zh"),
    (16_777_222, "Gq"),
    (16_777_223, "Gmb"),
    (16_777_224, "Gx"),
    (16_777_225, "Gx over Gy"),
    (16_777_226, "MM10"),
    (16_777_229, "Rx"),
    (16_777_230, "Pr"),
    (16_777_236, "Rx"),
    (16_777_238, "Gx"),
    (16_777_250, "STa"),
    (16_777_251, "S6a"),
    (16_777_252, "S13"),
    (16_777_255, "SLg"),
    (16_777_264, "SWm"),
    (16_777_265, "SWx"),
    (16_777_266, "Gxx"),
    (16_777_267, "S9"),
    (16_777_272, "S6b"),
    (16_777_291, "SLh"),
    (16_777_302, "Sy"),
    (16_777_303, "Sd"),
    (16_777_308, "S7a"),
    (16_777_309, "Tsp"),
    (16_777_310, "S6m"),
    (16_777_311, "T4"),
    (16_777_312, "S6c"),
    (16_777_313, "SGd"),
    (16_777_346, "S6t"),
    (0xffff_ffff, "Relay"),
];

/// RFC 6733, RFC 7155, RFC 8506, RFC 4740.
const RESULTS: &[(u32, &str)] = &[
    (1001, "MULTI_ROUND_AUTH"),
    (2001, "SUCCESS"),
    (2002, "LIMITED_SUCCESS"),
    (2003, "FIRST_REGISTRATION"),
    (2004, "SUBSEQUENT_REGISTRATION"),
    (2005, "UNREGISTERED_SERVICE"),
    (2006, "SUCCESS_SERVER_NAME_NOT_STORED"),
    (2007, "SERVER_SELECTION"),
    (2008, "SUCCESS_AUTH_SENT_SERVER_NOT_STORED"),
    (3001, "COMMAND_UNSUPPORTED"),
    (3002, "UNABLE_TO_DELIVER"),
    (3003, "REALM_NOT_SERVED"),
    (3004, "TOO_BUSY"),
    (3005, "LOOP_DETECTED"),
    (3006, "REDIRECT_INDICATION"),
    (3007, "APPLICATION_UNSUPPORTED"),
    (3008, "INVALID_HDR_BITS"),
    (3009, "INVALID_AVP_BITS"),
    (3010, "UNKNOWN_PEER"),
    (4001, "AUTHENTICATION_REJECTED"),
    (4002, "OUT_OF_SPACE"),
    (4003, "ELECTION_LOST"),
    (4010, "END_USER_SERVICE_DENIED"),
    (4011, "CREDIT_CONTROL_NOT_APPLICABLE"),
    (4012, "CREDIT_LIMIT_REACHED"),
    (4013, "USER_NAME_REQUIRED"),
    (5001, "AVP_UNSUPPORTED"),
    (5002, "UNKNOWN_SESSION_ID"),
    (5003, "AUTHORIZATION_REJECTED"),
    (5004, "INVALID_AVP_VALUE"),
    (5005, "MISSING_AVP"),
    (5006, "RESOURCES_EXCEEDED"),
    (5007, "CONTRADICTING_AVPS"),
    (5008, "AVP_NOT_ALLOWED"),
    (5009, "AVP_OCCURS_TOO_MANY_TIMES"),
    (5010, "NO_COMMON_APPLICATION"),
    (5011, "UNSUPPORTED_VERSION"),
    (5012, "UNABLE_TO_COMPLY"),
    (5013, "INVALID_BIT_IN_HEADER"),
    (5014, "INVALID_AVP_LENGTH"),
    (5015, "INVALID_MESSAGE_LENGTH"),
    (5016, "INVALID_AVP_BIT_COMBO"),
    (5017, "NO_COMMON_SECURITY"),
    (5030, "USER_UNKNOWN"),
    (5031, "RATING_FAILED"),
    (5032, "ERROR_USER_UNKNOWN"),
    (5033, "ERROR_IDENTITIES_DONT_MATCH"),
    (5034, "ERROR_IDENTITY_NOT_REGISTERED"),
    (5035, "ERROR_ROAMING_NOT_ALLOWED"),
    (5036, "ERROR_IDENTITY_ALREADY_REGISTERED"),
    (5037, "ERROR_AUTH_SCHEME_NOT_SUPPORTED"),
    (5038, "ERROR_IN_ASSIGNMENT_TYPE"),
    (5039, "ERROR_TOO_MUCH_DATA"),
    (5040, "ERROR_NOT_SUPPORTED_USER_DATA"),
];

/// TS 29.230.
const THREE_GPP_RESULTS: &[(u32, &str)] = &[
    (2001, "FIRST_REGISTRATION"),
    (2002, "SUBSEQUENT_REGISTRATION"),
    (2003, "UNREGISTERED_SERVICE"),
    (2004, "SUCCESS_SERVER_NAME_NOT_STORED"),
    (4100, "USER_DATA_NOT_AVAILABLE"),
    (4101, "PRIOR_UPDATE_IN_PROGRESS"),
    (4181, "AUTHENTICATION_DATA_UNAVAILABLE"),
    (4182, "ERROR_CAMEL_SUBSCRIPTION_PRESENT"),
    (5001, "ERROR_USER_UNKNOWN"),
    (5002, "ERROR_IDENTITIES_DONT_MATCH"),
    (5003, "ERROR_IDENTITY_NOT_REGISTERED"),
    (5004, "ERROR_ROAMING_NOT_ALLOWED"),
    (5005, "ERROR_IDENTITY_ALREADY_REGISTERED"),
    (5006, "ERROR_AUTH_SCHEME_NOT_SUPPORTED"),
    (5007, "ERROR_IN_ASSIGNMENT_TYPE"),
    (5008, "ERROR_TOO_MUCH_DATA"),
    (5009, "ERROR_NOT_SUPPORTED_USER_DATA"),
    (5011, "ERROR_FEATURE_UNSUPPORTED"),
    (5012, "ERROR_SERVING_NODE_FEATURE_UNSUPPORTED"),
    (5061, "INVALID_SERVICE_INFORMATION"),
    (5062, "FILTER_RESTRICTIONS"),
    (5063, "REQUESTED_SERVICE_NOT_AUTHORIZED"),
    (5064, "DUPLICATED_AF_SESSION"),
    (5065, "IP_CAN_SESSION_NOT_AVAILABLE"),
    (5066, "UNAUTHORIZED_NON_EMERGENCY_SESSION"),
    (5067, "UNAUTHORIZED_SPONSORED_DATA_CONNECTIVITY"),
    (5100, "ERROR_USER_DATA_NOT_RECOGNIZED"),
    (5101, "ERROR_OPERATION_NOT_ALLOWED"),
    (5140, "ERROR_INITIAL_PARAMETERS"),
    (5141, "ERROR_TRIGGER_EVENT"),
    (5142, "PCC_RULE_EVENT"),
    (5143, "ERROR_BEARER_NOT_AUTHORIZED"),
    (5144, "ERROR_TRAFFIC_MAPPING_INFO_REJECTED"),
    (5420, "ERROR_UNKNOWN_EPS_SUBSCRIPTION"),
    (5421, "ERROR_RAT_NOT_ALLOWED"),
    (5422, "ERROR_EQUIPMENT_UNKNOWN"),
    (5423, "ERROR_UNKNOWN_SERVING_NODE"),
    (5450, "ERROR_USER_NO_NON_3GPP_SUBSCRIPTION"),
    (5451, "ERROR_USER_NO_APN_SUBSCRIPTION"),
    (5452, "ERROR_RAT_TYPE_NOT_ALLOWED"),
    (5570, "ERROR_UNKNOWN_POLICY_COUNTERS"),
];

const CREDIT_REQUESTS: &[(u32, &str)] =
    &[(1, "INITIAL"), (2, "UPDATE"), (3, "TERMINATION"), (4, "EVENT")];

const RECORDS: &[(u32, &str)] = &[(1, "EVENT"), (2, "START"), (3, "INTERIM"), (4, "STOP")];

const DISCONNECT_CAUSES: &[(u32, &str)] =
    &[(0, "REBOOTING"), (1, "BUSY"), (2, "DO_NOT_WANT_TO_TALK_TO_YOU")];

const SECURITIES: &[(u32, &str)] = &[(0, "NO_INBAND_SECURITY"), (1, "TLS")];

const AUTH_REQUESTS: &[(u32, &str)] =
    &[(1, "AUTHENTICATE_ONLY"), (2, "AUTHORIZE_ONLY"), (3, "AUTHORIZE_AUTHENTICATE")];

const SESSION_STATES: &[(u32, &str)] = &[(0, "STATE_MAINTAINED"), (1, "NO_STATE_MAINTAINED")];

const RE_AUTHS: &[(u32, &str)] = &[(0, "AUTHORIZE_ONLY"), (1, "AUTHORIZE_AUTHENTICATE")];

const TERMINATIONS: &[(u32, &str)] = &[
    (1, "LOGOUT"),
    (2, "SERVICE_NOT_PROVIDED"),
    (3, "BAD_ANSWER"),
    (4, "ADMINISTRATIVE"),
    (5, "LINK_BROKEN"),
    (6, "AUTH_EXPIRED"),
    (7, "USER_MOVED"),
    (8, "SESSION_TIMEOUT"),
];

const SUBSCRIPTIONS: &[(u32, &str)] = &[
    (0, "END_USER_E164"),
    (1, "END_USER_IMSI"),
    (2, "END_USER_SIP_URI"),
    (3, "END_USER_NAI"),
    (4, "END_USER_PRIVATE"),
];

const REQUESTED_ACTIONS: &[(u32, &str)] =
    &[(0, "DIRECT_DEBITING"), (1, "REFUND_ACCOUNT"), (2, "CHECK_BALANCE"), (3, "PRICE_ENQUIRY")];

const FINAL_ACTIONS: &[(u32, &str)] = &[(0, "TERMINATE"), (1, "REDIRECT"), (2, "RESTRICT_ACCESS")];

const RAT_TYPES: &[(u32, &str)] = &[
    (0, "WLAN"),
    (1, "VIRTUAL"),
    (1000, "UTRAN"),
    (1001, "GERAN"),
    (1002, "GAN"),
    (1003, "HSPA_EVOLUTION"),
    (1004, "EUTRAN"),
    (1005, "EUTRAN-NB-IoT"),
    (1006, "NR"),
];

/// RFC 6733, RFC 8506, RFC 7155, RFC 4072, RFC 4740.
const AVPS: &[(u32, &str, Kind)] = &[
    (55, "Event-Timestamp", Kind::Time),
    (79, "EAP-Message", Kind::Secret),
    (257, "Host-IP-Address", Kind::Address),
    (258, "Auth-Application-Id", Kind::Named(APPLICATIONS)),
    (259, "Acct-Application-Id", Kind::Named(APPLICATIONS)),
    (260, "Vendor-Specific-Application-Id", Kind::Group),
    (261, "Redirect-Host-Usage", Kind::Number),
    (262, "Redirect-Max-Cache-Time", Kind::Number),
    (263, "Session-Id", Kind::Text),
    (264, "Origin-Host", Kind::Text),
    (265, "Supported-Vendor-Id", Kind::Number),
    (266, "Vendor-Id", Kind::Number),
    (267, "Firmware-Revision", Kind::Number),
    (268, "Result-Code", Kind::Named(RESULTS)),
    (269, "Product-Name", Kind::Text),
    (270, "Session-Binding", Kind::Number),
    (271, "Session-Server-Failover", Kind::Number),
    (272, "Multi-Round-Time-Out", Kind::Number),
    (273, "Disconnect-Cause", Kind::Named(DISCONNECT_CAUSES)),
    (274, "Auth-Request-Type", Kind::Named(AUTH_REQUESTS)),
    (276, "Auth-Grace-Period", Kind::Number),
    (277, "Auth-Session-State", Kind::Named(SESSION_STATES)),
    (278, "Origin-State-Id", Kind::Number),
    (279, "Failed-AVP", Kind::Group),
    (280, "Proxy-Host", Kind::Text),
    (281, "Error-Message", Kind::Text),
    (282, "Route-Record", Kind::Text),
    (283, "Destination-Realm", Kind::Text),
    (284, "Proxy-Info", Kind::Group),
    (285, "Re-Auth-Request-Type", Kind::Named(RE_AUTHS)),
    (287, "Accounting-Sub-Session-Id", Kind::Large),
    (291, "Authorization-Lifetime", Kind::Number),
    (292, "Redirect-Host", Kind::Text),
    (293, "Destination-Host", Kind::Text),
    (294, "Error-Reporting-Host", Kind::Text),
    (295, "Termination-Cause", Kind::Named(TERMINATIONS)),
    (296, "Origin-Realm", Kind::Text),
    (297, "Experimental-Result", Kind::Group),
    (298, "Experimental-Result-Code", Kind::Number),
    (299, "Inband-Security-Id", Kind::Named(SECURITIES)),
    (363, "Accounting-Input-Octets", Kind::Large),
    (364, "Accounting-Output-Octets", Kind::Large),
    (365, "Accounting-Input-Packets", Kind::Large),
    (366, "Accounting-Output-Packets", Kind::Large),
    (368, "SIP-Accounting-Information", Kind::Group),
    (376, "SIP-Authenticate", Kind::Group),
    (377, "SIP-Authorization", Kind::Secret),
    (379, "SIP-Auth-Data-Item", Kind::Group),
    (401, "NAS-Filter-Rule", Kind::Text),
    (402, "CHAP-Auth", Kind::Secret),
    (404, "CHAP-Response", Kind::Secret),
    (411, "CC-Correlation-Id", Kind::Octets),
    (412, "CC-Input-Octets", Kind::Large),
    (413, "CC-Money", Kind::Group),
    (414, "CC-Output-Octets", Kind::Large),
    (415, "CC-Request-Number", Kind::Number),
    (416, "CC-Request-Type", Kind::Named(CREDIT_REQUESTS)),
    (417, "CC-Service-Specific-Units", Kind::Large),
    (418, "CC-Session-Failover", Kind::Number),
    (419, "CC-Sub-Session-Id", Kind::Large),
    (420, "CC-Time", Kind::Number),
    (421, "CC-Total-Octets", Kind::Large),
    (422, "Check-Balance-Result", Kind::Number),
    (423, "Cost-Information", Kind::Group),
    (424, "Cost-Unit", Kind::Text),
    (425, "Currency-Code", Kind::Number),
    (426, "Credit-Control", Kind::Number),
    (427, "Credit-Control-Failure-Handling", Kind::Number),
    (428, "Direct-Debiting-Failure-Handling", Kind::Number),
    (429, "Exponent", Kind::Signed),
    (430, "Final-Unit-Indication", Kind::Group),
    (431, "Granted-Service-Unit", Kind::Group),
    (432, "Rating-Group", Kind::Number),
    (433, "Redirect-Address-Type", Kind::Number),
    (434, "Redirect-Server", Kind::Group),
    (435, "Redirect-Server-Address", Kind::Text),
    (436, "Requested-Action", Kind::Named(REQUESTED_ACTIONS)),
    (437, "Requested-Service-Unit", Kind::Group),
    (438, "Restriction-Filter-Rule", Kind::Text),
    (439, "Service-Identifier", Kind::Number),
    (440, "Service-Parameter-Info", Kind::Group),
    (441, "Service-Parameter-Type", Kind::Number),
    (442, "Service-Parameter-Value", Kind::Octets),
    (443, "Subscription-Id", Kind::Group),
    (444, "Subscription-Id-Data", Kind::Text),
    (445, "Unit-Value", Kind::Group),
    (446, "Used-Service-Unit", Kind::Group),
    (447, "Value-Digits", Kind::SignedLarge),
    (448, "Validity-Time", Kind::Number),
    (449, "Final-Unit-Action", Kind::Named(FINAL_ACTIONS)),
    (450, "Subscription-Id-Type", Kind::Named(SUBSCRIPTIONS)),
    (451, "Tariff-Time-Change", Kind::Time),
    (452, "Tariff-Change-Usage", Kind::Number),
    (453, "G-S-U-Pool-Identifier", Kind::Number),
    (454, "CC-Unit-Type", Kind::Number),
    (455, "Multiple-Services-Indicator", Kind::Number),
    (456, "Multiple-Services-Credit-Control", Kind::Group),
    (457, "G-S-U-Pool-Reference", Kind::Group),
    (458, "User-Equipment-Info", Kind::Group),
    (459, "User-Equipment-Info-Type", Kind::Number),
    (460, "User-Equipment-Info-Value", Kind::Octets),
    (461, "Service-Context-Id", Kind::Text),
    (462, "EAP-Payload", Kind::Secret),
    (463, "EAP-Reissued-Payload", Kind::Secret),
    (464, "EAP-Master-Session-Key", Kind::Secret),
    (465, "Accounting-EAP-Auth-Method", Kind::Large),
    (480, "Accounting-Record-Type", Kind::Named(RECORDS)),
    (483, "Accounting-Realtime-Required", Kind::Number),
    (485, "Accounting-Record-Number", Kind::Number),
    (621, "OC-Supported-Features", Kind::Group),
    (623, "OC-OLR", Kind::Group),
];

/// TS 29.229, 29.272, 29.212, 29.061, 32.299.
const THREE_GPP_AVPS: &[(u32, &str, Kind)] = &[
    (1, "3GPP-IMSI", Kind::Text),
    (2, "3GPP-Charging-Id", Kind::Octets),
    (3, "3GPP-PDP-Type", Kind::Number),
    (5, "3GPP-GPRS-Negotiated-QoS-Profile", Kind::Text),
    (6, "3GPP-SGSN-Address", Kind::Address),
    (7, "3GPP-GGSN-Address", Kind::Address),
    (8, "3GPP-IMSI-MCC-MNC", Kind::Text),
    (9, "3GPP-GGSN-MCC-MNC", Kind::Text),
    (10, "3GPP-NSAPI", Kind::Text),
    (12, "3GPP-Selection-Mode", Kind::Text),
    (13, "3GPP-Charging-Characteristics", Kind::Text),
    (18, "3GPP-SGSN-MCC-MNC", Kind::Text),
    (21, "3GPP-RAT-Type", Kind::Octets),
    (22, "3GPP-User-Location-Info", Kind::Octets),
    (23, "3GPP-MS-TimeZone", Kind::Octets),
    (515, "Max-Requested-Bandwidth-DL", Kind::Number),
    (516, "Max-Requested-Bandwidth-UL", Kind::Number),
    (517, "Media-Component-Description", Kind::Group),
    (519, "Media-Sub-Component", Kind::Group),
    (600, "Visited-Network-Identifier", Kind::Text),
    (601, "Public-Identity", Kind::Text),
    (602, "Server-Name", Kind::Text),
    (603, "Server-Capabilities", Kind::Group),
    (606, "User-Data", Kind::Text),
    (607, "SIP-Number-Auth-Items", Kind::Number),
    (608, "SIP-Authentication-Scheme", Kind::Text),
    (609, "SIP-Authenticate", Kind::Secret),
    (610, "SIP-Authorization", Kind::Secret),
    (612, "SIP-Auth-Data-Item", Kind::Group),
    (614, "Server-Assignment-Type", Kind::Number),
    (615, "Deregistration-Reason", Kind::Group),
    (618, "Charging-Information", Kind::Group),
    (623, "User-Authorization-Type", Kind::Number),
    (624, "User-Data-Already-Available", Kind::Number),
    (625, "Confidentiality-Key", Kind::Secret),
    (626, "Integrity-Key", Kind::Secret),
    (628, "Supported-Features", Kind::Group),
    (629, "Feature-List-ID", Kind::Number),
    (630, "Feature-List", Kind::Number),
    (700, "User-Identity", Kind::Group),
    (701, "MSISDN", Kind::Bcd),
    (873, "Service-Information", Kind::Group),
    (874, "PS-Information", Kind::Group),
    (876, "IMS-Information", Kind::Group),
    (1001, "Charging-Rule-Install", Kind::Group),
    (1002, "Charging-Rule-Remove", Kind::Group),
    (1003, "Charging-Rule-Definition", Kind::Group),
    (1004, "Charging-Rule-Base-Name", Kind::Text),
    (1005, "Charging-Rule-Name", Kind::Text),
    (1006, "Event-Trigger", Kind::Number),
    (1009, "Online", Kind::Number),
    (1010, "Access-Network-Charging-Identifier-Gx", Kind::Group),
    (1016, "QoS-Information", Kind::Group),
    (1018, "Charging-Rule-Report", Kind::Group),
    (1024, "Network-Request-Support", Kind::Number),
    (1027, "IP-CAN-Type", Kind::Number),
    (1028, "QoS-Class-Identifier", Kind::Number),
    (1032, "RAT-Type", Kind::Named(RAT_TYPES)),
    (1034, "Allocation-Retention-Priority", Kind::Group),
    (1040, "APN-Aggregate-Max-Bitrate-DL", Kind::Number),
    (1041, "APN-Aggregate-Max-Bitrate-UL", Kind::Number),
    (1045, "Session-Release-Cause", Kind::Number),
    (1046, "Priority-Level", Kind::Number),
    (1049, "Default-EPS-Bearer-QoS", Kind::Group),
    (1400, "Subscription-Data", Kind::Group),
    (1401, "Terminal-Information", Kind::Group),
    (1402, "IMEI", Kind::Text),
    (1403, "Software-Version", Kind::Text),
    (1405, "ULR-Flags", Kind::Number),
    (1406, "ULA-Flags", Kind::Number),
    (1407, "Visited-PLMN-Id", Kind::Octets),
    (1408, "Requested-EUTRAN-Authentication-Info", Kind::Group),
    (1409, "Requested-UTRAN-GERAN-Authentication-Info", Kind::Group),
    (1410, "Number-Of-Requested-Vectors", Kind::Number),
    (1411, "Re-Synchronization-Info", Kind::Secret),
    (1412, "Immediate-Response-Preferred", Kind::Number),
    (1413, "Authentication-Info", Kind::Group),
    (1414, "E-UTRAN-Vector", Kind::Group),
    (1415, "UTRAN-Vector", Kind::Group),
    (1416, "GERAN-Vector", Kind::Group),
    (1417, "Network-Access-Mode", Kind::Number),
    (1419, "Item-Number", Kind::Number),
    (1420, "Cancellation-Type", Kind::Number),
    (1421, "DSR-Flags", Kind::Number),
    (1423, "Context-Identifier", Kind::Number),
    (1424, "Subscriber-Status", Kind::Number),
    (1428, "All-APN-Configurations-Included-Indicator", Kind::Number),
    (1429, "APN-Configuration-Profile", Kind::Group),
    (1430, "APN-Configuration", Kind::Group),
    (1431, "EPS-Subscribed-QoS-Profile", Kind::Group),
    (1435, "AMBR", Kind::Group),
    (1441, "IDA-Flags", Kind::Number),
    (1442, "PUA-Flags", Kind::Number),
    (1443, "NOR-Flags", Kind::Number),
    (1446, "Regional-Subscription-Zone-Code", Kind::Octets),
    (1447, "RAND", Kind::Secret),
    (1448, "XRES", Kind::Secret),
    (1449, "AUTN", Kind::Secret),
    (1450, "KASME", Kind::Secret),
    (1453, "Kc", Kind::Secret),
    (1454, "SRES", Kind::Secret),
    (1456, "PDN-Type", Kind::Number),
    (1490, "IDR-Flags", Kind::Number),
    (1615, "UE-SRVCC-Capability", Kind::Number),
    (1638, "CLR-Flags", Kind::Number),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    fn avp(code: u32, value: &[u8]) -> Vec<u8> {
        vendor_avp(code, 0, value)
    }

    fn vendor_avp(code: u32, vendor: u32, value: &[u8]) -> Vec<u8> {
        let head = if vendor == 0 { 8 } else { 12 };
        let flags = if vendor == 0 { 0x40 } else { 0xc0_u32 };
        let length = (head + value.len()) as u32;
        let mut avp = [code.to_be_bytes(), (flags << 24 | length).to_be_bytes()].concat();
        if vendor != 0 {
            avp.extend(vendor.to_be_bytes());
        }
        avp.extend(value);
        avp.resize(avp.len().next_multiple_of(4), 0);
        avp
    }

    fn message(flags: u32, command: u32, id: u32, avps: &[Vec<u8>]) -> Vec<u8> {
        let avps = avps.concat();
        let length = (HEADER_BYTES + avps.len()) as u32;
        let words = [1 << 24 | length, flags << 24 | command, 4, id, id];
        [words.map(u32::to_be_bytes).concat(), avps].concat()
    }

    fn ask(command: u32, id: u32) -> Vec<u8> {
        message(0x80, command, id, &[avp(264, b"a.x"), avp(1, b"bob")])
    }

    fn answer(command: u32, id: u32, code: u32) -> Vec<u8> {
        message(0, command, id, &[avp(268, &code.to_be_bytes()), avp(264, b"b.x")])
    }

    fn rows(steps: &[Step]) -> Vec<Value> {
        drive::however_cut::<Dissector>(steps)
    }

    /// Command, number, who asked, and what came of it.
    fn outline(rows: &[Value]) -> Vec<String> {
        let text = |it: &Value| it.as_str().unwrap_or("-").to_owned();
        rows.iter()
            .map(|it| {
                let from = if it["server_initiated"] == true { "server" } else { "client" };
                format!(
                    "{} {} {from} {}",
                    text(&it["verb"]),
                    it["hop_by_hop_id"],
                    text(&it["result"])
                )
            })
            .collect()
    }

    #[test]
    fn both_sides_ask() {
        let steps = [
            client(ask(257, 1)),
            server(answer(257, 1, 2001)),
            client(ask(280, 7)),
            server(ask(280, 7)),
            client(answer(280, 7, 2001)),
            server([answer(280, 7, 3004), ask(258, 8)].concat()),
            client([ask(272, 9), ask(272, 10), answer(258, 8, 5002)].concat()),
            server([answer(272, 10, 4012), answer(272, 9, 2001)].concat()),
        ];
        let expected = [
            "Capabilities-Exchange 1 client SUCCESS",
            "Device-Watchdog 7 server SUCCESS",
            "Device-Watchdog 7 client TOO_BUSY",
            "Re-Auth 8 server UNKNOWN_SESSION_ID",
            "Credit-Control 10 client CREDIT_LIMIT_REACHED",
            "Credit-Control 9 client SUCCESS",
        ];
        assert_eq!(outline(&rows(&steps)), expected);
    }

    #[test]
    fn halves_stand_alone() {
        let steps = [server(answer(272, 3, 5012)), client(ask(999, 4))];
        assert_eq!(
            outline(&rows(&steps)),
            ["Credit-Control 3 client UNABLE_TO_COMPLY", "999 4 client -"]
        );
    }

    #[test]
    fn groups_names_and_secrets() {
        let kasme = vendor_avp(1450, THREE_GPP, b"s3cret");
        let vector = vendor_avp(1414, THREE_GPP, &[kasme, vendor_avp(9, 42, b"\0\xff")].concat());
        let request = message(
            0xd0,
            318,
            5,
            &[avp(263, b"s;1"), avp(293, b"h"), avp(2, b"s3cret"), avp(416, &[0, 0, 0, 4])],
        );
        let failure =
            [avp(266, &THREE_GPP.to_be_bytes()), avp(298, &5001_u32.to_be_bytes())].concat();
        let response =
            message(0x40, 318, 5, &[avp(263, b"s;1"), avp(297, &failure), avp(281, b"no"), vector]);
        let told = rows(&[client(request), server(response)]);
        let told = &told[0];
        assert!(!told.to_string().contains("s3cret"));
        let asked = json!([
            {"name": "Session-Id", "value": "s;1"}, {"name": "Destination-Host", "value": "h"},
            {"name": "User-Password", "value": "***"}, {"name": "CC-Request-Type", "value": "EVENT"},
        ]);
        let shown: Value = serde_json::from_str(told["request_avps"].as_str().unwrap()).unwrap();
        assert_eq!(shown, asked);
        let shown: Value = serde_json::from_str(told["response_avps"].as_str().unwrap()).unwrap();
        let keys = json!([{"name": "KASME", "vendor": 10415, "value": "***"}, {"name": "42.9", "vendor": 42, "value": "0x00ff"}]);
        assert_eq!(shown[3], json!({"name": "E-UTRAN-Vector", "vendor": 10415, "value": keys}));
        assert_eq!(told["error"], "ERROR_USER_UNKNOWN: no");
        assert_eq!((&told["result_vendor"], &told["status"]), (&json!(10415), &json!(5001)));
        assert_eq!(
            (&told["retransmission"], &told["request_type"]),
            (&json!(true), &json!("EVENT"))
        );
        assert_eq!((&told["target"], &told["session_id"]), (&json!("h"), &json!("s;1")));
    }

    #[test]
    fn a_datagram_is_a_message() {
        let told =
            drive::datagrams::<Dissector>(&[client(ask(272, 1)), server(answer(272, 1, 2001))]);
        assert_eq!(outline(&told), ["Credit-Control 1 client SUCCESS"]);
    }

    #[test]
    fn huge_messages_need_little_room_and_holes_are_absorbed() {
        let long = message(0x80, 272, 1, &[avp(264, b"a.x"), avp(999, &vec![b'x'; 300_000])]);
        let steps = [
            client(&long[..200_000]),
            Step::Loses(Side::Client, 50_000),
            client([&long[250_000..], &ask(272, 2)].concat()),
            Step::Loses(Side::Client, 9),
            client([&ask(272, 3)[9..], &ask(272, 4)].concat()),
        ];
        let told = drive::stream::<Dissector>(&steps, 1460);
        assert_eq!(
            outline(&told),
            ["Credit-Control 1 client -", "Credit-Control 2 client -", "Credit-Control 4 client -"]
        );
        assert_eq!((&told[0]["incomplete"], told[1].get("incomplete")), (&json!(true), None));
        assert!(told[0]["request_avps"].as_str().unwrap().len() < 2 * JSON_BYTES);
    }

    #[test]
    fn groups_in_groups_have_a_bound() {
        let deep = (0..3000).fold(Vec::new(), |inner, _| avp(456, &inner));
        let told = rows(&[client(message(0x80, 272, 1, &[avp(264, b"a"), deep]))]);
        assert!(told[0]["request_avps"].as_str().unwrap().len() < 3000);
    }

    #[test]
    fn recognised_by_content() {
        let bytes = ask(272, 1);
        assert_eq!(judge(&bytes, Side::Client), Guess::Sure);
        for n in 0..HEADER_BYTES + AVP_BYTES {
            assert_eq!(judge(&bytes[..n], Side::Client), Guess::More);
        }
        assert_eq!(judge(&ask(257, 1), Side::Server), Guess::No);
        let odd = message(0x80, 272, 1, &[avp(12345, b"a")]);
        assert_eq!(judge(&odd, Side::Client), Guess::Maybe);
        for noise in [&b"\x01\0\0\x13aaaaaaaaaaaaaaaaaaaaaaaa"[..], b"GET /", &[1; 60]] {
            assert_eq!(judge(noise, Side::Client), Guess::No);
        }
    }

    proptest! {
        #[test]
        fn noise_is_no_accident(
            pieces in proptest::collection::vec((any::<bool>(), 0_usize..5, 0_usize..50, any::<u8>()), 0..30),
            piece in 1_usize..60,
        ) {
            let known = [
                ask(272, 1), answer(272, 1, 2001), message(0x80, 272, 1, &[avp(456, &avp(456, b"abc"))]),
                message(0, 280, 1, &[]), vec![1, 0xff, 0xff, 0xfc],
            ];
            let steps: Vec<_> = pieces.iter().map(|(is_client, place, cut, odd)| {
                let mut bytes = known[*place].clone();
                if let Some(byte) = bytes.get_mut(*cut) { *byte = *odd }
                if *is_client { client(bytes) } else { server(bytes) }
            }).collect();
            drive::stream::<Dissector>(&steps, piece);
            drive::datagrams::<Dissector>(&steps);
        }
    }
}
