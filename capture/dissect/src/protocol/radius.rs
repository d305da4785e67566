//! RADIUS over UDP: authentication (RFC 2865), accounting (RFC 2866), the extensions of RFC 2869,
//! and the changes that servers ask for (RFC 5176).
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use rustc_hash::FxHashMap;
use schema::value::{Code, Duration, Json, Label, Size, text};

use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::SECOND;
use crate::render::{SECRET, digits, put, quote, words};

/// What network access servers ask about users and report of their sessions. Each transmission is
/// a row. Passwords and keys are never kept.
#[derive(schema::Record)]
pub(super) struct Radius<'a> {
    /// What was asked, such as `Access-Request` or `Accounting-Request`.
    request_code: Option<Label<'a>>,
    /// What was answered, such as `Access-Accept`, `Access-Reject` or `Access-Challenge`.
    response_code: Option<Label<'a>>,
    /// Who wants access, or whose session it is.
    user: Option<Cow<'a, str>>,
    /// How the user proves who it is: `pap`, `chap`, `ms-chap`, `ms-chap-v2`, `eap` or `digest`.
    authentication: Option<Label<'a>>,
    /// What the EAP message in the request is, such as `Response Identity` or `Response PEAP`.
    eap: Option<Label<'a>>,
    /// The address of the access server.
    nas_ip: Option<Cow<'a, str>>,
    /// The access server's name.
    nas_identifier: Option<Cow<'a, str>>,
    /// The access server's port that the user is on.
    nas_port: Option<u64>,
    /// What kind of service is asked for or given, such as `Framed`.
    service_type: Option<Label<'a>>,
    /// The address that the user has or gets.
    framed_ip: Option<Cow<'a, str>>,
    /// Where the user comes from: a telephone number or hardware address.
    calling_station: Option<Cow<'a, str>>,
    /// What the user reached: a telephone number, or an access point with its network's name.
    called_station: Option<Cow<'a, str>>,
    /// What is reported of a session: `Start`, `Stop`, `Interim-Update`, `Accounting-On`, ….
    accounting_status: Option<Label<'a>>,
    /// The number of the session that is reported of.
    session_id: Option<Cow<'a, str>>,
    /// How long the session has lasted.
    session_time: Option<Duration>,
    /// What the user has sent in the session.
    session_input_bytes: Option<Size>,
    /// What the user has received in the session.
    session_output_bytes: Option<Size>,
    /// Why the session ended, such as `User-Request`.
    terminate_cause: Option<Label<'a>>,
    /// What the user is told.
    reply_message: Option<Cow<'a, str>>,
    /// Why a change was refused (RFC 5176).
    error_cause: Option<Label<'a>>,
    /// The same request was sent before.
    retransmission: bool,
    /// The server's end of the conversation asked, and the client's answered.
    server_initiated: bool,
    /// All attributes of the request, as a list of objects with `name` and `value`; of a vendor's,
    /// also `vendor`.
    request_attributes: Option<Json<'a>>,
    /// All attributes of the response, likewise.
    response_attributes: Option<Json<'a>>,
    /// The number that pairs answer and request.
    id: Code,
}

/// The last requests of both sides.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    latest: FxHashMap<(Side, u8), Latest>,
}

/// The last request with one id.
#[derive(Debug)]
struct Latest {
    authenticator: [u8; 16],
    /// Tells it from earlier requests with the same id.
    generation: u32,
    is_answered: bool,
}

/// One packet as it was sent, without its secrets.
#[derive(Debug)]
pub(super) struct Body {
    packet: Box<[u8]>,
    sender: Side,
    retransmission: bool,
}

impl Dissect for Dissector {
    const NAME: &'static str = "radius";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp];
    const PORTS: &'static [u16] = &[1812, 1813, 1645, 1646, 1700, 3799];
    type Body = Body;
    type Columns = RadiusColumns;

    fn guess(head: &Head<'_>) -> Guess {
        let Some(packet) = Packet::of(head.bytes) else { return Guess::No };
        let is_known = CODES.iter().any(|it| it.0 == packet.code);
        if !is_known || packet.asks() != (head.side == Side::Client) || !packet.whole {
            return Guess::No;
        }
        let count = packet.attributes().count();
        let is_plain = packet.attributes().all(|it| {
            let length = it.value.len();
            match attribute_of(it.kind).map(|it| it.2) {
                Some(Kind::Number | Kind::Named(_) | Kind::Address | Kind::Time) => length == 4,
                Some(Kind::Authenticator) => length == 16,
                Some(_) => length > 0,
                None => false,
            }
        });
        if is_plain && count >= SURE_ATTRIBUTES { Guess::Sure } else { Guess::Maybe }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        let packet = Packet::of(input.rest()).ok_or(Stop::Lost)?;
        let asks = packet.asks();
        let asker = if asks { side } else { side.other() };
        let latest = self.latest.get(&(asker, packet.id));
        let generation = latest.map_or(0, |it| it.generation);
        let same = latest.filter(|it| asks && it.authenticator == packet.authenticator);
        let retransmission = same.is_some();
        let generation =
            if asks && !retransmission { generation.wrapping_add(1) } else { generation };
        let key = 1 << 48
            | u64::from(generation) << 16
            | u64::from(asker == Side::Server) << 8
            | u64::from(packet.id);
        let is_repeated = !asks && latest.is_some_and(|it| it.is_answered);
        let incomplete = !packet.whole;
        let body = Body { packet: packet.redacted(), sender: side, retransmission };
        if asks {
            let latest =
                Latest { authenticator: packet.authenticator, generation, is_answered: false };
            self.latest.insert((asker, packet.id), latest);
        } else if let Some(latest) = self.latest.get_mut(&(asker, packet.id)) {
            latest.is_answered = true;
        }
        input.take(input.rest().len())?;
        if is_repeated && open.oldest(key).is_none() {
            // Nobody asked for it again: the answer was given already.
            input.commit();
            return Err(Stop::More);
        }
        let message = if asks { Message::request(body) } else { Message::response(body) };
        Ok(message.key(key).incomplete(incomplete))
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Radius<'_>) {
        let is_request = |it: &&Body| it.view().asks();
        let (request, response) = match (exchange.request, exchange.response) {
            // A notice of the server stands as a response.
            (None, Some(body)) if is_request(&body) => (Some(body), None),
            sides => sides,
        };
        let asked = request.map(Body::view).map(Fields::of).unwrap_or_default();
        let told = response.map(Body::view).map(Fields::of).unwrap_or_default();
        let request_code = request.map(|it| code_name(it.view().code));
        let response_code = response.map(|it| code_name(it.view().code));
        let status = response.map(|it| it.view().code);
        let failed = status.is_some_and(|it| REFUSALS.contains(&it));
        let error_cause = told.named(101);
        let reply_message = told.text(18);
        let said = error_cause.clone().or_else(|| reply_message.clone());
        let user = asked.text(1).or_else(|| told.text(1));
        let nas_ip = asked.text(4).or_else(|| asked.text(95));
        let calling_station = asked.text(31);
        let session_id = asked.text(44);
        let target = [&user, &calling_station, &session_id, &nas_ip];
        let target = target.into_iter().flatten().next().cloned();
        let octets = |low: u8, high: u8| {
            let low = asked.number(low)?;
            Some(Size(low | asked.number(high).unwrap_or(0) << 32))
        };
        let sender = request.map(|it| it.sender).or_else(|| response.map(|it| it.sender.other()));

        let summary = Summary {
            verb: request_code.clone().or_else(|| response_code.clone()).unwrap_or_default(),
            target: target.unwrap_or_default(),
            status: status.map(i32::from),
            failed,
            error: response_code.clone().filter(|_| failed).map(|code| match said {
                Some(said) => format!("{code}: {said}").into(),
                None => code,
            }),
        };
        let record = Radius {
            authentication: asked.authentication().map(Label::from),
            eap: asked.eap().map(Label),
            nas_identifier: asked.text(32),
            nas_port: asked.number(5),
            service_type: asked.named(6).or_else(|| told.named(6)).map(Label),
            framed_ip: asked
                .text(8)
                .or_else(|| told.text(8))
                .or_else(|| asked.text(168))
                .or_else(|| told.text(168)),
            called_station: asked.text(30),
            accounting_status: asked.named(40).map(Label),
            session_time: asked
                .number(46)
                .and_then(|it| i64::try_from(it).ok())
                .map(|it| Duration(it.saturating_mul(SECOND))),
            session_input_bytes: octets(42, 52),
            session_output_bytes: octets(43, 53),
            terminate_cause: asked.named(49).map(Label),
            error_cause: error_cause.map(Label),
            retransmission: request.is_some_and(|it| it.retransmission),
            server_initiated: sender == Some(Side::Server),
            request_attributes: asked.json().map(|it| Json(it.into())),
            response_attributes: told.json().map(|it| Json(it.into())),
            id: Code(request.or(response).map_or(0, |it| it.view().id).into()),
            request_code: request_code.map(Label),
            response_code: response_code.map(Label),
            user,
            nas_ip,
            calling_station,
            session_id,
            reply_message,
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        size_of::<Body>() + body.packet.len()
    }

    fn held(&self) -> usize {
        self.latest.capacity() * size_of::<((Side, u8), Latest)>()
    }

    fn resync(&mut self, _: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        input.take(input.rest().len())?;
        input.commit();
        Ok(())
    }
}

impl Body {
    fn view(&self) -> Packet<'_> {
        Packet::of(&self.packet).unwrap_or_default()
    }
}

/// A packet's parts.
#[derive(Clone, Copy, Debug, Default)]
struct Packet<'a> {
    code: u8,
    id: u8,
    authenticator: [u8; 16],
    bytes: &'a [u8],
    /// All of it was captured.
    whole: bool,
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
struct Attribute<'a> {
    kind: u8,
    value: &'a [u8],
    /// Where the value begins.
    at: usize,
}

impl<'a> Packet<'a> {
    /// `None` if it is no packet: the attributes must fill the length it gives itself.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [code, id, high, low, authenticator @ ..] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(HEADER_BYTES..=PACKET_BYTES).contains(&length) || code == 0 {
            return None;
        }
        let whole = rest.len() + HEADER_BYTES >= length;
        let bytes = bytes.get(..length).unwrap_or(bytes);
        let packet = Self { code, id, authenticator, bytes, whole };
        let used = packet.attributes().last().map_or(HEADER_BYTES, |it| it.at + it.value.len());
        // What comes behind the length is padding; a capture may end early.
        (used == length || !whole && bytes.len() > HEADER_BYTES).then_some(packet)
    }

    fn asks(&self) -> bool {
        CODES.iter().find(|it| it.0 == self.code).is_none_or(|it| it.2)
    }

    fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = HEADER_BYTES;
        std::iter::from_fn(move || {
            let [kind, length, ..] = *bytes.get(at..)? else { return None };
            let value = bytes.get(at + 2..at + usize::from(length))?;
            let attribute = Attribute { kind, value, at: at + 2 };
            at += usize::from(length.max(2));
            Some(attribute)
        })
    }

    /// A copy in which zeros stand for what is secret.
    fn redacted(&self) -> Box<[u8]> {
        let mut copy: Box<[u8]> = self.bytes.into();
        let mut in_eap = false;
        for it in self.attributes() {
            let secret = match it.kind {
                // A password may stand in it. What kind of message it is stays.
                EAP_MESSAGE if in_eap => 0,
                EAP_MESSAGE => EAP_HEAD_BYTES,
                VENDOR_SPECIFIC => match vendor(it.value) {
                    Some(vendor) if vendor.is_secret() => VENDOR_HEAD_BYTES,
                    Some(_) => it.value.len(),
                    None => it.value.len(),
                },
                kind if is_secret(kind) => 0,
                _ => it.value.len(),
            };
            in_eap |= it.kind == EAP_MESSAGE;
            if let Some(secret) = copy.get_mut(it.at + secret..it.at + it.value.len()) {
                secret.fill(0);
            }
        }
        copy
    }
}

/// A vendor's own attribute.
struct Vendor<'a> {
    id: u32,
    kind: u8,
    value: &'a [u8],
}

/// The first one inside, in the form that RFC 2865 recommends.
fn vendor(value: &[u8]) -> Option<Vendor<'_>> {
    let [a, b, c, d, kind, length, value @ ..] = value else { return None };
    let value = value.get(..usize::from(*length).checked_sub(2)?)?;
    Some(Vendor { id: u32::from_be_bytes([*a, *b, *c, *d]), kind: *kind, value })
}

impl Vendor<'_> {
    fn is_secret(&self) -> bool {
        match self.id {
            MICROSOFT => matches!(self.kind, 1 | 3..=6 | 12 | 16 | 17 | 25..=27),
            _ => {
                let value = self.value.to_ascii_lowercase();
                ["password=", "key=", "secret=", "psk="]
                    .iter()
                    .any(|it| memchr::memmem::find(&value, it.as_bytes()).is_some())
            }
        }
    }

    fn name(&self) -> Option<&'static str> {
        let names: &[(u8, &str)] = match self.id {
            MICROSOFT => MICROSOFT_NAMES,
            CISCO => &[(1, "Cisco-AVPair"), (2, "Cisco-NAS-Port")],
            WISPR => WISPR_NAMES,
            THREE_GPP => THREE_GPP_NAMES,
            _ => &[],
        };
        names.iter().find(|it| it.0 == self.kind).map(|it| it.1)
    }
}

/// A packet's attributes, to be asked for by number.
#[derive(Default)]
struct Fields<'a> {
    packet: Option<Packet<'a>>,
}

impl<'a> Fields<'a> {
    fn of(packet: Packet<'a>) -> Self {
        Self { packet: Some(packet) }
    }

    fn find(&self, kind: u8) -> Option<&'a [u8]> {
        self.packet?.attributes().find(|it| it.kind == kind).map(|it| it.value)
    }

    fn has(&self, kind: u8) -> bool {
        self.find(kind).is_some()
    }

    fn text(&self, kind: u8) -> Option<Cow<'a, str>> {
        Some(value(attribute_of(kind).map(|it| it.2), self.find(kind)?))
    }

    fn number(&self, kind: u8) -> Option<u64> {
        number(self.find(kind)?).map(u64::from)
    }

    fn named(&self, kind: u8) -> Option<Cow<'static, str>> {
        let number = number(self.find(kind)?)?;
        Some(match attribute_of(kind).map(|it| it.2) {
            Some(Kind::Named(names)) => number_name(names, number),
            _ => number.to_string().into(),
        })
    }

    fn authentication(&self) -> Option<&'static str> {
        let microsoft = |kind: u8| {
            let mut all = self.packet.iter().flat_map(Packet::attributes);
            all.any(|it| {
                let vendor = vendor(it.value).filter(|_| it.kind == VENDOR_SPECIFIC);
                vendor.is_some_and(|it| (it.id, it.kind) == (MICROSOFT, kind))
            })
        };
        Some(match () {
            () if self.has(EAP_MESSAGE) => "eap",
            () if self.has(2) => "pap",
            () if self.has(3) => "chap",
            () if microsoft(25) => "ms-chap-v2",
            () if microsoft(1) => "ms-chap",
            () if self.has(103) => "digest",
            () => return None,
        })
    }

    fn eap(&self) -> Option<Cow<'static, str>> {
        self.find(EAP_MESSAGE).and_then(eap_name)
    }

    /// All of them, with the values as text.
    fn json(&self) -> Option<String> {
        let mut json = "[".to_owned();
        let mut in_eap = false;
        for it in self.packet?.attributes() {
            if json.len() > 1 {
                json.push(',');
            }
            let vendor = vendor(it.value).filter(|_| it.kind == VENDOR_SPECIFIC);
            let attribute = attribute_of(it.kind);
            let (name, shown): (Cow<'_, str>, Cow<'_, str>) = match (&vendor, attribute) {
                (Some(vendor), _) => {
                    let name = vendor.name().map_or_else(
                        || format!("{}.{}", vendor.id, vendor.kind).into(),
                        Cow::Borrowed,
                    );
                    let is_secret = vendor.is_secret() || vendor.value.iter().all(|it| *it == 0);
                    let is_secret = is_secret && vendor.value.len() > 4;
                    (name, if is_secret { SECRET.into() } else { words(vendor.value) })
                }
                (None, Some((_, name, kind))) if it.kind == EAP_MESSAGE => {
                    let shown = eap_name(it.value).filter(|_| !in_eap);
                    in_eap = true;
                    let shown = shown.unwrap_or_else(|| value(Some(*kind), it.value));
                    ((*name).into(), shown)
                }
                (None, Some((_, name, kind))) => ((*name).into(), value(Some(*kind), it.value)),
                (None, None) => (it.kind.to_string().into(), value(None, it.value)),
            };
            json.push_str("{\"name\":");
            quote(&mut json, &name);
            if let Some(vendor) = vendor {
                put(&mut json, format_args!(",\"vendor\":{}", vendor.id));
            }
            json.push_str(",\"value\":");
            let is_number = matches!(attribute, Some((_, _, Kind::Number | Kind::Time)));
            match number(it.value).filter(|_| is_number) {
                Some(number) => put(&mut json, format_args!("{number}")),
                None => quote(&mut json, &shown),
            }
            json.push('}');
        }
        json.push(']');
        Some(json)
    }
}

/// An attribute's value as text.
fn value(kind: Option<Kind>, bytes: &[u8]) -> Cow<'_, str> {
    let plain = match kind {
        Some(Kind::Text) => Some(text(bytes)),
        Some(Kind::Number) => number(bytes).map(|it| it.to_string().into()),
        Some(Kind::Named(names)) => number(bytes).map(|it| number_name(names, it)),
        Some(Kind::Time) => number(bytes).map(|it| it.to_string().into()),
        Some(Kind::Address) => match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(|it| Ipv4Addr::from(it).to_string().into()),
            _ => <[u8; 16]>::try_from(bytes).ok().map(|it| Ipv6Addr::from(it).to_string().into()),
        },
        Some(Kind::Prefix) => prefix(bytes).map(Cow::Owned),
        Some(Kind::Tagged) => match bytes {
            // A small first byte groups the attributes of one tunnel.
            [0..=0x1f, rest @ ..] => Some(words(rest)),
            _ => None,
        },
        Some(Kind::TaggedNumber(names)) => match bytes {
            [_, rest @ ..] if rest.len() == 3 => {
                let number = rest.iter().fold(0, |number, it| number << 8 | u32::from(*it));
                Some(number_name(names, number))
            }
            _ => None,
        },
        Some(Kind::Secret) => Some(SECRET.into()),
        Some(Kind::Octets | Kind::Authenticator) => Some(digits(bytes).into()),
        Some(Kind::Vendor) | None => None,
    };
    plain.unwrap_or_else(|| words(bytes))
}

fn prefix(bytes: &[u8]) -> Option<String> {
    let [_, length, address @ ..] = bytes else { return None };
    let mut whole = [0; 16];
    whole.get_mut(..address.len())?.copy_from_slice(address);
    Some(format!("{}/{length}", Ipv6Addr::from(whole)))
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// What kind of EAP message begins here (RFC 3748).
fn eap_name(bytes: &[u8]) -> Option<Cow<'static, str>> {
    let code = match bytes.first()? {
        1 => "Request",
        2 => "Response",
        3 => return Some("Success".into()),
        4 => return Some("Failure".into()),
        _ => return None,
    };
    let kind = u32::from(*bytes.get(EAP_HEAD_BYTES - 1)?);
    Some(format!("{code} {}", number_name(EAP_TYPES, kind)).into())
}

fn number_name(names: &[(u32, &'static str)], number: u32) -> Cow<'static, str> {
    match names.iter().find(|it| it.0 == number) {
        Some((_, name)) => (*name).into(),
        None => number.to_string().into(),
    }
}

fn code_name(code: u8) -> Cow<'static, str> {
    match CODES.iter().find(|it| it.0 == code) {
        Some((_, name, _)) => (*name).into(),
        None => code.to_string().into(),
    }
}

pub(super) fn attribute_of(kind: u8) -> Option<&'static (u8, &'static str, Kind)> {
    ATTRIBUTES.iter().find(|it| it.0 == kind)
}

pub(super) fn is_secret(kind: u8) -> bool {
    matches!(attribute_of(kind), Some((_, _, Kind::Secret)))
}

/// What an attribute's value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Octets,
    Number,
    Named(&'static [(u32, &'static str)]),
    Time,
    Address,
    Prefix,
    Tagged,
    TaggedNumber(&'static [(u32, &'static str)]),
    Secret,
    Authenticator,
    Vendor,
}

const HEADER_BYTES: usize = 20;

/// RFC 2865: no packet is longer.
const PACKET_BYTES: usize = 4096;

/// So many well-formed attributes are no accident.
const SURE_ATTRIBUTES: usize = 3;

const VENDOR_SPECIFIC: u8 = 26;
const EAP_MESSAGE: u8 = 79;

/// A code, a number, a length and a type.
const EAP_HEAD_BYTES: usize = 5;

/// A vendor's number, a type and a length.
const VENDOR_HEAD_BYTES: usize = 6;

const CISCO: u32 = 9;
const MICROSOFT: u32 = 311;
const THREE_GPP: u32 = 10415;
const WISPR: u32 = 14122;

const REFUSALS: &[u8] = &[3, 42, 45];

/// Codes, and whether they ask.
const CODES: &[(u8, &str, bool)] = &[
    (1, "Access-Request", true),
    (2, "Access-Accept", false),
    (3, "Access-Reject", false),
    (4, "Accounting-Request", true),
    (5, "Accounting-Response", false),
    (11, "Access-Challenge", false),
    (12, "Status-Server", true),
    (13, "Status-Client", true),
    (40, "Disconnect-Request", true),
    (41, "Disconnect-ACK", false),
    (42, "Disconnect-NAK", false),
    (43, "CoA-Request", true),
    (44, "CoA-ACK", false),
    (45, "CoA-NAK", false),
    (52, "Protocol-Error", false),
];

const MICROSOFT_NAMES: &[(u8, &str)] = &[
    (1, "MS-CHAP-Response"),
    (2, "MS-CHAP-Error"),
    (7, "MS-MPPE-Encryption-Policy"),
    (8, "MS-MPPE-Encryption-Types"),
    (10, "MS-CHAP-Domain"),
    (11, "MS-CHAP-Challenge"),
    (12, "MS-CHAP-MPPE-Keys"),
    (16, "MS-MPPE-Send-Key"),
    (17, "MS-MPPE-Recv-Key"),
    (25, "MS-CHAP2-Response"),
    (26, "MS-CHAP2-Success"),
    (28, "MS-Primary-DNS-Server"),
    (29, "MS-Secondary-DNS-Server"),
];

const WISPR_NAMES: &[(u8, &str)] = &[
    (1, "WISPr-Location-ID"),
    (2, "WISPr-Location-Name"),
    (3, "WISPr-Logoff-URL"),
    (4, "WISPr-Redirection-URL"),
    (5, "WISPr-Bandwidth-Min-Up"),
    (6, "WISPr-Bandwidth-Min-Down"),
    (7, "WISPr-Bandwidth-Max-Up"),
    (8, "WISPr-Bandwidth-Max-Down"),
];

const THREE_GPP_NAMES: &[(u8, &str)] = &[
    (1, "3GPP-IMSI"),
    (2, "3GPP-Charging-Id"),
    (3, "3GPP-PDP-Type"),
    (5, "3GPP-GPRS-Negotiated-QoS-Profile"),
    (6, "3GPP-SGSN-Address"),
    (7, "3GPP-GGSN-Address"),
    (8, "3GPP-IMSI-MCC-MNC"),
    (9, "3GPP-GGSN-MCC-MNC"),
    (10, "3GPP-NSAPI"),
    (12, "3GPP-Selection-Mode"),
    (13, "3GPP-Charging-Characteristics"),
    (18, "3GPP-SGSN-MCC-MNC"),
    (20, "3GPP-IMEISV"),
    (21, "3GPP-RAT-Type"),
    (22, "3GPP-User-Location-Info"),
    (23, "3GPP-MS-TimeZone"),
];

const EAP_TYPES: &[(u32, &str)] = &[
    (1, "Identity"),
    (2, "Notification"),
    (3, "Nak"),
    (4, "MD5-Challenge"),
    (5, "OTP"),
    (6, "GTC"),
    (13, "TLS"),
    (17, "LEAP"),
    (18, "SIM"),
    (21, "TTLS"),
    (23, "AKA"),
    (25, "PEAP"),
    (26, "MS-CHAP-V2"),
    (43, "FAST"),
    (47, "PSK"),
    (50, "AKA'"),
    (52, "PWD"),
    (55, "TEAP"),
    (254, "Expanded"),
];

const SERVICE_TYPES: &[(u32, &str)] = &[
    (1, "Login"),
    (2, "Framed"),
    (3, "Callback-Login"),
    (4, "Callback-Framed"),
    (5, "Outbound"),
    (6, "Administrative"),
    (7, "NAS-Prompt"),
    (8, "Authenticate-Only"),
    (9, "Callback-NAS-Prompt"),
    (10, "Call-Check"),
    (11, "Callback-Administrative"),
    (17, "Authorize-Only"),
    (18, "Framed-Management"),
];

const PROTOCOLS: &[(u32, &str)] = &[
    (1, "PPP"),
    (2, "SLIP"),
    (3, "ARAP"),
    (4, "Gandalf"),
    (5, "Xylogics"),
    (6, "X.75"),
    (7, "GPRS-PDP-Context"),
];

const ROUTINGS: &[(u32, &str)] = &[(0, "None"), (1, "Send"), (2, "Listen"), (3, "Send-and-Listen")];

const COMPRESSIONS: &[(u32, &str)] =
    &[(0, "None"), (1, "Van-Jacobson-TCP-IP"), (2, "IPX-Header"), (3, "Stac-LZS")];

const LOGIN_SERVICES: &[(u32, &str)] = &[
    (0, "Telnet"),
    (1, "Rlogin"),
    (2, "TCP-Clear"),
    (3, "PortMaster"),
    (4, "LAT"),
    (5, "X25-PAD"),
    (6, "X25-T3POS"),
    (8, "TCP-Clear-Quiet"),
];

const TERMINATION_ACTIONS: &[(u32, &str)] = &[(0, "Default"), (1, "RADIUS-Request")];

const STATUS_TYPES: &[(u32, &str)] = &[
    (1, "Start"),
    (2, "Stop"),
    (3, "Interim-Update"),
    (7, "Accounting-On"),
    (8, "Accounting-Off"),
    (9, "Tunnel-Start"),
    (10, "Tunnel-Stop"),
    (11, "Tunnel-Reject"),
    (12, "Tunnel-Link-Start"),
    (13, "Tunnel-Link-Stop"),
    (14, "Tunnel-Link-Reject"),
    (15, "Failed"),
];

const AUTHENTICS: &[(u32, &str)] = &[(1, "RADIUS"), (2, "Local"), (3, "Remote"), (4, "Diameter")];

const TERMINATE_CAUSES: &[(u32, &str)] = &[
    (1, "User-Request"),
    (2, "Lost-Carrier"),
    (3, "Lost-Service"),
    (4, "Idle-Timeout"),
    (5, "Session-Timeout"),
    (6, "Admin-Reset"),
    (7, "Admin-Reboot"),
    (8, "Port-Error"),
    (9, "NAS-Error"),
    (10, "NAS-Request"),
    (11, "NAS-Reboot"),
    (12, "Port-Unneeded"),
    (13, "Port-Preempted"),
    (14, "Port-Suspended"),
    (15, "Service-Unavailable"),
    (16, "Callback"),
    (17, "User-Error"),
    (18, "Host-Request"),
    (19, "Supplicant-Restart"),
    (20, "Reauthentication-Failure"),
    (21, "Port-Reinitialized"),
    (22, "Port-Administratively-Disabled"),
    (23, "Lost-Power"),
];

const PORT_TYPES: &[(u32, &str)] = &[
    (0, "Async"),
    (1, "Sync"),
    (2, "ISDN"),
    (3, "ISDN-V120"),
    (4, "ISDN-V110"),
    (5, "Virtual"),
    (6, "PIAFS"),
    (7, "HDLC-Clear-Channel"),
    (8, "X.25"),
    (9, "X.75"),
    (10, "G.3-Fax"),
    (11, "SDSL"),
    (12, "ADSL-CAP"),
    (13, "ADSL-DMT"),
    (14, "IDSL"),
    (15, "Ethernet"),
    (16, "xDSL"),
    (17, "Cable"),
    (18, "Wireless-Other"),
    (19, "Wireless-802.11"),
    (20, "Token-Ring"),
    (21, "FDDI"),
    (22, "Wireless-CDMA2000"),
    (23, "Wireless-UMTS"),
    (24, "Wireless-1X-EV"),
    (25, "IAPP"),
    (32, "PPPoA"),
    (33, "PPPoEoA"),
    (34, "PPPoEoE"),
    (35, "PPPoEoVLAN"),
];

const TUNNEL_TYPES: &[(u32, &str)] = &[
    (1, "PPTP"),
    (2, "L2F"),
    (3, "L2TP"),
    (4, "ATMP"),
    (5, "VTP"),
    (6, "AH"),
    (7, "IP-IP"),
    (8, "MIN-IP-IP"),
    (9, "ESP"),
    (10, "GRE"),
    (11, "DVS"),
    (12, "IP-in-IP"),
    (13, "VLAN"),
];

const TUNNEL_MEDIA: &[(u32, &str)] = &[(1, "IPv4"), (2, "IPv6"), (6, "802")];

const ERROR_CAUSES: &[(u32, &str)] = &[
    (201, "Residual-Session-Context-Removed"),
    (202, "Invalid-EAP-Packet"),
    (401, "Unsupported-Attribute"),
    (402, "Missing-Attribute"),
    (403, "NAS-Identification-Mismatch"),
    (404, "Invalid-Request"),
    (405, "Unsupported-Service"),
    (406, "Unsupported-Extension"),
    (407, "Invalid-Attribute-Value"),
    (501, "Administratively-Prohibited"),
    (502, "Request-Not-Routable"),
    (503, "Session-Context-Not-Found"),
    (504, "Session-Context-Not-Removable"),
    (505, "Proxy-Processing-Error"),
    (506, "Resources-Unavailable"),
    (507, "Request-Initiated"),
    (508, "Multiple-Session-Selection-Unsupported"),
];

/// Numbers, names and kinds of the standard attributes.
const ATTRIBUTES: &[(u8, &str, Kind)] = &[
    (1, "User-Name", Kind::Text),
    (2, "User-Password", Kind::Secret),
    (3, "CHAP-Password", Kind::Secret),
    (4, "NAS-IP-Address", Kind::Address),
    (5, "NAS-Port", Kind::Number),
    (6, "Service-Type", Kind::Named(SERVICE_TYPES)),
    (7, "Framed-Protocol", Kind::Named(PROTOCOLS)),
    (8, "Framed-IP-Address", Kind::Address),
    (9, "Framed-IP-Netmask", Kind::Address),
    (10, "Framed-Routing", Kind::Named(ROUTINGS)),
    (11, "Filter-Id", Kind::Text),
    (12, "Framed-MTU", Kind::Number),
    (13, "Framed-Compression", Kind::Named(COMPRESSIONS)),
    (14, "Login-IP-Host", Kind::Address),
    (15, "Login-Service", Kind::Named(LOGIN_SERVICES)),
    (16, "Login-TCP-Port", Kind::Number),
    (18, "Reply-Message", Kind::Text),
    (19, "Callback-Number", Kind::Text),
    (20, "Callback-Id", Kind::Text),
    (22, "Framed-Route", Kind::Text),
    (23, "Framed-IPX-Network", Kind::Number),
    (24, "State", Kind::Octets),
    (25, "Class", Kind::Octets),
    (26, "Vendor-Specific", Kind::Vendor),
    (27, "Session-Timeout", Kind::Number),
    (28, "Idle-Timeout", Kind::Number),
    (29, "Termination-Action", Kind::Named(TERMINATION_ACTIONS)),
    (30, "Called-Station-Id", Kind::Text),
    (31, "Calling-Station-Id", Kind::Text),
    (32, "NAS-Identifier", Kind::Text),
    (33, "Proxy-State", Kind::Octets),
    (34, "Login-LAT-Service", Kind::Text),
    (35, "Login-LAT-Node", Kind::Text),
    (36, "Login-LAT-Group", Kind::Octets),
    (37, "Framed-AppleTalk-Link", Kind::Number),
    (38, "Framed-AppleTalk-Network", Kind::Number),
    (39, "Framed-AppleTalk-Zone", Kind::Text),
    (40, "Acct-Status-Type", Kind::Named(STATUS_TYPES)),
    (41, "Acct-Delay-Time", Kind::Number),
    (42, "Acct-Input-Octets", Kind::Number),
    (43, "Acct-Output-Octets", Kind::Number),
    (44, "Acct-Session-Id", Kind::Text),
    (45, "Acct-Authentic", Kind::Named(AUTHENTICS)),
    (46, "Acct-Session-Time", Kind::Number),
    (47, "Acct-Input-Packets", Kind::Number),
    (48, "Acct-Output-Packets", Kind::Number),
    (49, "Acct-Terminate-Cause", Kind::Named(TERMINATE_CAUSES)),
    (50, "Acct-Multi-Session-Id", Kind::Text),
    (51, "Acct-Link-Count", Kind::Number),
    (52, "Acct-Input-Gigawords", Kind::Number),
    (53, "Acct-Output-Gigawords", Kind::Number),
    (55, "Event-Timestamp", Kind::Time),
    (56, "Egress-VLANID", Kind::Number),
    (57, "Ingress-Filters", Kind::Number),
    (58, "Egress-VLAN-Name", Kind::Text),
    (59, "User-Priority-Table", Kind::Octets),
    (60, "CHAP-Challenge", Kind::Octets),
    (61, "NAS-Port-Type", Kind::Named(PORT_TYPES)),
    (62, "Port-Limit", Kind::Number),
    (63, "Login-LAT-Port", Kind::Text),
    (64, "Tunnel-Type", Kind::TaggedNumber(TUNNEL_TYPES)),
    (65, "Tunnel-Medium-Type", Kind::TaggedNumber(TUNNEL_MEDIA)),
    (66, "Tunnel-Client-Endpoint", Kind::Tagged),
    (67, "Tunnel-Server-Endpoint", Kind::Tagged),
    (68, "Acct-Tunnel-Connection", Kind::Text),
    (69, "Tunnel-Password", Kind::Secret),
    (70, "ARAP-Password", Kind::Secret),
    (71, "ARAP-Features", Kind::Octets),
    (72, "ARAP-Zone-Access", Kind::Number),
    (73, "ARAP-Security", Kind::Number),
    (74, "ARAP-Security-Data", Kind::Secret),
    (75, "Password-Retry", Kind::Number),
    (76, "Prompt", Kind::Number),
    (77, "Connect-Info", Kind::Text),
    (78, "Configuration-Token", Kind::Text),
    (79, "EAP-Message", Kind::Secret),
    (80, "Message-Authenticator", Kind::Authenticator),
    (81, "Tunnel-Private-Group-Id", Kind::Tagged),
    (82, "Tunnel-Assignment-Id", Kind::Tagged),
    (83, "Tunnel-Preference", Kind::TaggedNumber(&[])),
    (84, "ARAP-Challenge-Response", Kind::Secret),
    (85, "Acct-Interim-Interval", Kind::Number),
    (86, "Acct-Tunnel-Packets-Lost", Kind::Number),
    (87, "NAS-Port-Id", Kind::Text),
    (88, "Framed-Pool", Kind::Text),
    (89, "CUI", Kind::Octets),
    (90, "Tunnel-Client-Auth-Id", Kind::Tagged),
    (91, "Tunnel-Server-Auth-Id", Kind::Tagged),
    (92, "NAS-Filter-Rule", Kind::Text),
    (94, "Originating-Line-Info", Kind::Octets),
    (95, "NAS-IPv6-Address", Kind::Address),
    (96, "Framed-Interface-Id", Kind::Octets),
    (97, "Framed-IPv6-Prefix", Kind::Prefix),
    (98, "Login-IPv6-Host", Kind::Address),
    (99, "Framed-IPv6-Route", Kind::Text),
    (100, "Framed-IPv6-Pool", Kind::Text),
    (101, "Error-Cause", Kind::Named(ERROR_CAUSES)),
    (102, "EAP-Key-Name", Kind::Octets),
    (103, "Digest-Response", Kind::Secret),
    (104, "Digest-Realm", Kind::Text),
    (105, "Digest-Nonce", Kind::Text),
    (106, "Digest-Response-Auth", Kind::Secret),
    (107, "Digest-Nextnonce", Kind::Text),
    (108, "Digest-Method", Kind::Text),
    (109, "Digest-URI", Kind::Text),
    (110, "Digest-Qop", Kind::Text),
    (111, "Digest-Algorithm", Kind::Text),
    (112, "Digest-Entity-Body-Hash", Kind::Text),
    (113, "Digest-CNonce", Kind::Text),
    (114, "Digest-Nonce-Count", Kind::Text),
    (115, "Digest-Username", Kind::Text),
    (116, "Digest-Opaque", Kind::Text),
    (117, "Digest-Auth-Param", Kind::Text),
    (118, "Digest-AKA-Auts", Kind::Text),
    (119, "Digest-Domain", Kind::Text),
    (120, "Digest-Stale", Kind::Text),
    (121, "Digest-HA1", Kind::Secret),
    (122, "SIP-AOR", Kind::Text),
    (123, "Delegated-IPv6-Prefix", Kind::Prefix),
    (126, "Operator-Name", Kind::Text),
    (161, "EAP-Peer-Id", Kind::Octets),
    (162, "EAP-Server-Id", Kind::Octets),
    (168, "Framed-IPv6-Address", Kind::Address),
    (169, "DNS-Server-IPv6-Address", Kind::Address),
    (171, "Delegated-IPv6-Prefix-Pool", Kind::Text),
    (172, "Stateful-IPv6-Address-Pool", Kind::Text),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    fn attribute(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind, value.len() as u8 + 2][..], value].concat()
    }

    fn packet(code: u8, id: u8, authenticator: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let attributes = attributes.concat();
        let length = (HEADER_BYTES + attributes.len()) as u16;
        [&[code, id][..], &length.to_be_bytes(), &[authenticator; 16], &attributes].concat()
    }

    fn access(id: u8, authenticator: u8) -> Vec<u8> {
        let attributes =
            [attribute(1, b"bob"), attribute(2, b"s3cret"), attribute(5, &[0, 0, 0, 7])];
        packet(1, id, authenticator, &attributes)
    }

    fn rows(steps: &[Step]) -> Vec<Value> {
        drive::datagrams::<Dissector>(steps)
    }

    /// What was asked, whether again, and what was answered.
    fn outline(rows: &[Value]) -> Vec<String> {
        let text = |it: &Value| it.as_str().unwrap_or("-").to_owned();
        rows.iter()
            .map(|it| {
                let again = if it["retransmission"] == true { " again" } else { "" };
                format!(
                    "{}{again} {} {}",
                    text(&it["request_code"]),
                    it["id"],
                    text(&it["response_code"])
                )
            })
            .collect()
    }

    fn shown(row: &Value, column: &str) -> Value {
        serde_json::from_str(row[column].as_str().unwrap()).unwrap()
    }

    #[test]
    fn each_transmission_is_a_row() {
        let reject = packet(3, 9, 0, &[]);
        let steps = [
            client(access(9, 1)),
            client(access(9, 1)),
            server(&reject),
            server(&reject),
            client(access(9, 1)),
            server(&reject),
            // Said once too often: nobody asked.
            server(&reject),
            client(access(9, 2)),
        ];
        let expected = [
            "Access-Request 9 Access-Reject",
            "Access-Request again 9 Access-Reject",
            "Access-Request again 9 Access-Reject",
            "Access-Request 9 -",
        ];
        assert_eq!(outline(&rows(&steps)), expected);
    }

    #[test]
    fn a_number_used_again_is_another_request() {
        // The first gets no answer; the second has the same number.
        let steps = [client(access(9, 1)), client(access(9, 2)), server(packet(2, 9, 0, &[]))];
        assert_eq!(
            outline(&rows(&steps)),
            ["Access-Request 9 Access-Accept", "Access-Request 9 -"]
        );
    }

    #[test]
    fn either_side_may_ask() {
        let steps = [
            client(access(1, 1)),
            server(packet(40, 1, 5, &[attribute(44, b"s")])),
            client(packet(42, 1, 0, &[attribute(101, &[0, 0, 1, 0xf7])])),
            server(packet(11, 1, 0, &[attribute(18, b"token?")])),
        ];
        let told = rows(&steps);
        let expected = ["Disconnect-Request 1 Disconnect-NAK", "Access-Request 1 Access-Challenge"];
        assert_eq!(outline(&told), expected);
        assert_eq!(
            (&told[0]["server_initiated"], &told[1]["server_initiated"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(told[0]["error"], "Disconnect-NAK: Session-Context-Not-Found");
        assert_eq!(
            (&told[1]["reply_message"], &told[1]["failed"]),
            (&json!("token?"), &Value::Null)
        );
    }

    #[test]
    fn a_lone_answer_is_a_row() {
        let told = rows(&[server(packet(3, 7, 0, &[attribute(18, b"no")]))]);
        assert_eq!(outline(&told), ["- 7 Access-Reject"]);
        assert_eq!(
            (&told[0]["verb"], &told[0]["error"]),
            (&json!("Access-Reject"), &json!("Access-Reject: no"))
        );
    }

    #[test]
    fn secrets_are_not_kept() {
        let vendor = |id: u32, kind: u8, value: &[u8]| {
            let value = [&id.to_be_bytes()[..], &attribute(kind, value)].concat();
            attribute(VENDOR_SPECIFIC, &value)
        };
        let request = [
            attribute(2, b"s3cret"),
            attribute(3, b"\x01s3cret"),
            attribute(69, b"s3cret"),
            attribute(EAP_MESSAGE, b"\x02\x01\0\x0b\x06s3cret"),
            attribute(EAP_MESSAGE, b"more s3cret"),
            vendor(MICROSOFT, 25, b"s3cret"),
            vendor(MICROSOFT, 10, b"DOM"),
            vendor(CISCO, 1, b"psk=s3cret"),
            vendor(CISCO, 1, b"ssid=cafe"),
            vendor(42, 3, b"\x01\x02"),
        ];
        let request = packet(1, 1, 1, &request);
        let body = Packet::of(&request).unwrap().redacted();
        assert!(memchr::memmem::find(&body, b"s3cret").is_none());
        let told = rows(&[client(request)]);
        let names = [
            ("User-Password", "***"),
            ("CHAP-Password", "***"),
            ("Tunnel-Password", "***"),
            ("EAP-Message", "Response GTC"),
            ("EAP-Message", "***"),
            ("MS-CHAP2-Response", "***"),
            ("MS-CHAP-Domain", "DOM"),
            ("Cisco-AVPair", "***"),
            ("Cisco-AVPair", "ssid=cafe"),
            ("42.3", "0x0102"),
        ];
        let list = shown(&told[0], "request_attributes");
        for (it, (name, value)) in list.as_array().unwrap().iter().zip(names) {
            assert_eq!((&it["name"], &it["value"]), (&json!(name), &json!(value)));
        }
        assert_eq!(
            (&told[0]["eap"], &told[0]["authentication"]),
            (&json!("Response GTC"), &json!("eap"))
        );
    }

    #[test]
    fn values_have_words() {
        let request = [
            attribute(1, "bob é".as_bytes()),
            attribute(4, &[10, 0, 0, 1]),
            attribute(40, &[0, 0, 0, 2]),
            attribute(42, &[0, 0, 0, 5]),
            attribute(52, &[0, 0, 0, 1]),
            attribute(46, &[0, 0, 0, 9]),
            attribute(61, &[0, 0, 0, 200]),
            attribute(64, &[1, 0, 0, 13]),
            attribute(81, b"\x0142"),
            attribute(97, &[0, 32, 0x20, 1, 0xd, 0xb8]),
            attribute(25, b"class"),
            attribute(250, b"new"),
        ];
        let told = rows(&[client(packet(4, 1, 1, &request)), server(packet(5, 1, 0, &[]))]);
        let told = &told[0];
        assert_eq!(told["session_input_bytes"], (1_u64 << 32) + 5);
        assert_eq!(told["session_time"], 9_000_000_000_i64);
        assert_eq!((&told["accounting_status"], &told["user"]), (&json!("Stop"), &json!("bob é")));
        let list = shown(told, "request_attributes");
        let values: Vec<_> =
            list.as_array().unwrap().iter().map(|it| it["value"].clone()).collect();
        let expected = json!([
            "bob é",
            "10.0.0.1",
            "Stop",
            5,
            1,
            9,
            "200",
            "VLAN",
            "42",
            "2001:db8::/32",
            "0x636c617373",
            "new"
        ]);
        assert_eq!(Value::from(values), expected);
    }

    #[test]
    fn recognised_by_content() {
        let guess = |bytes: &[u8], side| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Udp, port: 1812 })
        };
        assert_eq!(guess(&access(1, 1), Side::Client), Guess::Sure);
        assert_eq!(guess(&access(1, 1), Side::Server), Guess::No);
        assert_eq!(guess(&packet(5, 1, 1, &[]), Side::Server), Guess::Maybe);
        let mut short = access(1, 1);
        short.pop();
        assert_eq!(guess(&short, Side::Client), Guess::No);
        assert_eq!(guess(&[1; 40], Side::Client), Guess::No);
        // Padding is not looked at.
        assert_eq!(guess(&[access(1, 1), vec![0; 9]].concat(), Side::Client), Guess::Sure);
    }

    proptest! {
        #[test]
        fn noise_is_no_accident(
            pieces in proptest::collection::vec((any::<bool>(), 0_usize..40, any::<u8>(), 0_usize..50), 0..30),
        ) {
            let steps: Vec<_> = pieces.iter().map(|(is_client, at, odd, length)| {
                let mut bytes = access(1, 1);
                if let Some(byte) = bytes.get_mut(*at) { *byte = *odd }
                bytes.truncate((*length).max(20));
                if *is_client { client(bytes) } else { server(bytes) }
            }).collect();
            rows(&steps);
        }
    }
}
