//! MQTT 3.1, 3.1.1 and 5: <https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html>.
use std::borrow::Cow;
use std::fmt::Write;

use schema::value::{Body as Bytes, Code, Duration, Json, Label, Size, Texts, text};

use super::common::brokers::{Members, Order, SECRET, quote, sender, string};
use super::{Dissect, Guess, Head, Transport};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::SECOND;

/// Packets between MQTT clients and brokers, each with the packet that answers it. A message that a
/// broker delivers is a `PUBLISH` whose sender is `server`. Of a QoS 2 delivery, the `PUBLISH` has
/// its `PUBCOMP`; the steps between, `PUBREC` and `PUBREL`, have rows of their own. Passwords and
/// authentication data are replaced by `***` before anything is kept.
#[derive(schema::Record)]
pub(super) struct Mqtt<'a> {
    /// Type of the packet, such as `PUBLISH`; of an answer without its request, the answer's.
    /// OpenTelemetry: `messaging.operation.name`.
    packet: Label<'a>,
    /// Which side sent it, `client` or `server`; of an answer without its request, the side that it
    /// was sent to.
    sender: Label<'a>,
    /// Type of the packet that answers it, such as `PUBACK`.
    response_packet: Option<Label<'a>>,
    /// Version of the protocol, once the connection has said so: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.
    protocol_version: Option<Code>,
    /// What the packet and its answer have in common. OpenTelemetry: `messaging.message.id`.
    packet_id: Option<Code>,
    /// Topic of a `PUBLISH`, and of the `PUBREC` and `PUBREL` that follow it; where a topic alias was
    /// sent, the topic that it stands for.
    /// OpenTelemetry: `messaging.destination.name`.
    topic: Option<Cow<'a, str>>,
    /// Topic filters of a `SUBSCRIBE` or `UNSUBSCRIBE`.
    topic_filters: Texts<'a>,
    /// Greatest quality of service that a `SUBSCRIBE` asks for, for each topic filter.
    requested_qos: Texts<'a>,
    /// Quality of service of a `PUBLISH`: 0 at most once, 1 at least once, 2 exactly once.
    qos: Option<Code>,
    /// Whether a `PUBLISH` is to be retained, or was.
    retain: Option<bool>,
    /// Whether a `PUBLISH` may have been sent before.
    duplicate: Option<bool>,
    /// What the message is, as far as it was kept.
    payload: Option<Bytes<'a>>,
    /// Bytes of the message. OpenTelemetry: `messaging.message.body.size`.
    payload_size: Option<Size>,
    /// Of a `CONNECT`: the client's name; empty if the server is to choose one.
    /// OpenTelemetry: `messaging.client.id`.
    client_id: Option<Cow<'a, str>>,
    /// Of a `CONNECT`: whom it logs in as. OpenTelemetry: `user.name`.
    user_name: Option<Cow<'a, str>>,
    /// Of a `CONNECT` with a password: `***`.
    password: Option<Label<'a>>,
    /// Of a `CONNECT`: the longest silence, in nanoseconds.
    keep_alive: Option<Duration>,
    /// Of a `CONNECT`: whether an earlier session is given up.
    clean_start: Option<bool>,
    /// Of a `CONNECT`: topic of the message that the server sends when the client is gone.
    will_topic: Option<Cow<'a, str>>,
    /// That message.
    will_payload: Option<Bytes<'a>>,
    /// Its quality of service.
    will_qos: Option<Code>,
    /// Whether it is to be retained.
    will_retain: Option<bool>,
    /// Whether the server goes on with an earlier session of the client.
    session_present: Option<bool>,
    /// What the answer says, as numbers: one, or one for each topic filter; of a `DISCONNECT` or
    /// `AUTH`, what it says itself.
    reason_codes: Texts<'a>,
    /// Of MQTT 5: the packet's properties, by the names that the specification gives them.
    properties: Option<Json<'a>>,
    /// Of MQTT 5: the answer's properties.
    response_properties: Option<Json<'a>>,
    /// Of MQTT 5: properties of the will of a `CONNECT`.
    will_properties: Option<Json<'a>>,
}

/// What a connection has said so far.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    /// Of the protocol; 0 if it is not known.
    version: u8,
    client: Half,
    server: Half,
    order: Order,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    under_way: Option<UnderWay>,
    /// Topics by their aliases.
    aliases: Vec<(u16, Box<str>)>,
    /// Looks for a packet's start, and not for the first time.
    is_searching: bool,
}

/// A PUBLISH whose payload has not all arrived.
#[derive(Debug)]
struct UnderWay {
    body: Body,
    left: u64,
    incomplete: bool,
}

/// A packet, as it was sent up to a bound.
#[derive(Debug)]
pub(super) struct Body {
    /// Type and flags.
    first: u8,
    /// Of the protocol; 0 if it is not known.
    version: u8,
    side: Side,
    /// Whether it answers a packet of the other side.
    answers: bool,
    /// What follows the length, without a PUBLISH's payload and without a CONNECT's password.
    head: Vec<u8>,
    payload: Payload,
    /// What a topic alias stands for.
    topic: Option<Box<str>>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "mqtt";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[1883];
    type Body = Body;
    type Columns = MqttColumns;

    fn guess(head: &Head<'_>) -> Guess {
        if head.side == Side::Client {
            match guess_connect(head.bytes) {
                Guess::No => {}
                guess => return guess,
            }
        }
        // Two bytes may be a packet: only on the port that is made for it.
        let is_port = Self::PORTS.contains(&head.port);
        match is_port && chain(head.side, head.bytes, 0).is_some() {
            true => Guess::Maybe,
            false => Guess::No,
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        if self.half(side).under_way.is_none() {
            let (first, length) = fixed_header(input)?;
            if first >> 4 != PUBLISH {
                return self.packet(side, first, length, input, open);
            }
            let under_way = self.publish(side, first, length, input)?;
            self.half(side).under_way = Some(under_way);
            input.commit();
        }
        let limit = input.limits().body_bytes;
        let slot = &mut self.half(side).under_way;
        while let Some(it) = slot.as_mut().filter(|it| it.left > 0) {
            let some = input.some(it.left)?;
            it.body.payload.push(some, limit);
            it.left -= some.len() as u64;
            input.commit();
        }
        let done = slot.take().ok_or(Stop::Lost)?;
        Ok(message(done.body).incomplete(done.incomplete))
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Mqtt<'_>) {
        let told = exchange.response.filter(|it| !it.answers);
        let asked = exchange.request.or(told);
        let answer = exchange.response.filter(|it| it.answers);
        let first = asked.or(answer);
        let from = match (asked, answer) {
            (Some(it), _) => it.side,
            (None, Some(it)) => it.side.other(),
            (None, None) => Side::Client,
        };
        let packet = asked.map(Packet::of).unwrap_or_default();
        let reply = answer.map(Packet::of).unwrap_or_default();
        let codes = if answer.is_some() { &reply.codes } else { &packet.codes };
        let failing = codes.iter().find(|it| is_failure(**it, answer.or(asked))).copied();
        let version = answer.or(asked).map_or(0, |it| it.version);
        let reason = if answer.is_some() { &reply.properties } else { &packet.properties };

        let name = first.map_or("", |it| name(it.first >> 4));
        let summary = Summary {
            verb: name.into(),
            target: match (&packet.topic, packet.filters.as_slice(), &packet.client_id) {
                (Some(topic), ..) => topic.clone(),
                (None, [], Some(client)) => client.clone(),
                (None, [one], _) => one.clone(),
                (None, filters, _) => filters.join(" ").into(),
            },
            status: failing.or_else(|| codes.first().copied()).map(i32::from),
            failed: failing.is_some(),
            error: failing.map(|code| error(code, version, reason.as_deref().unwrap_or_default())),
        };
        let publish = asked.filter(|it| it.first >> 4 == PUBLISH);
        let flag = |bit: u8| publish.map(|it| it.first & bit != 0);
        let id = packet.id.or(reply.id).map(|it| Code(it.into()));
        let record = Mqtt {
            packet: name.into(),
            sender: sender(from),
            response_packet: answer.map(|it| self::name(it.first >> 4).into()),
            protocol_version: first
                .map(|it| it.version)
                .filter(|it| *it > 0)
                .map(|it| Code(it.into())),
            packet_id: id,
            qos: publish.map(|it| Code(i32::from(it.first >> 1 & 3))),
            retain: flag(1),
            duplicate: flag(8),
            payload: publish.map(|it| Bytes(it.payload.bytes().into())),
            payload_size: publish.map(|it| Size(it.payload.size())),
            topic: packet.topic,
            topic_filters: Texts(packet.filters),
            requested_qos: Texts(packet.qos.iter().map(|it| it.to_string().into()).collect()),
            client_id: packet.client_id,
            user_name: packet.user_name,
            password: packet.has_password.then(|| SECRET.into()),
            keep_alive: packet.keep_alive.map(|it| Duration(i64::from(it) * SECOND)),
            clean_start: packet.connect_flags.map(|it| it & 2 != 0),
            will_qos: packet
                .will_topic
                .as_ref()
                .and(packet.connect_flags)
                .map(|it| Code(i32::from(it >> 3 & 3))),
            will_retain: packet
                .will_topic
                .as_ref()
                .and(packet.connect_flags)
                .map(|it| it & 0x20 != 0),
            will_topic: packet.will_topic,
            will_payload: packet.will_payload.map(|it| Bytes(it.into())),
            will_properties: packet.will_properties.map(|it| Json(it.into())),
            session_present: reply.session_present,
            reason_codes: Texts(codes.iter().map(|it| it.to_string().into()).collect()),
            properties: packet.properties.map(|it| Json(it.into())),
            response_properties: reply.properties.map(|it| Json(it.into())),
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        size_of::<Body>() + body.head.capacity() + body.payload.held()
    }

    fn held(&self) -> usize {
        let halves = [&self.client, &self.server].into_iter();
        halves
            .map(|it| {
                let aliases: usize = it.aliases.iter().map(|it| it.1.len() + size_of_val(it)).sum();
                aliases + it.under_way.as_ref().map_or(0, |it| Self::weight(&it.body))
            })
            .sum()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let it = self.half(side).under_way.as_mut().filter(|it| it.left >= missing);
        let it = it.ok_or(Stop::Lost)?;
        it.left -= missing;
        it.body.payload.skip(missing);
        it.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        let version = self.version;
        let half = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        half.under_way = None;
        let rest = input.rest();
        // What comes after a gap is a packet's start, as a rule; elsewhere two bytes prove nothing.
        let is_searching = std::mem::replace(&mut half.is_searching, true);
        if !is_searching {
            self.order.lose(side);
        }
        let is_start = |at: &usize| match rest.get(*at..).and_then(|it| chain(side, it, version)) {
            Some(chain) => *at == 0 && !is_searching || chain.is_strong || chain.is_closed,
            None => false,
        };
        match (0..rest.len()).find(is_start) {
            Some(at) => {
                half.is_searching = false;
                input.take(at)?;
                input.commit();
                Ok(())
            }
            None => {
                input.take(rest.len().saturating_sub(START_BYTES))?;
                input.commit();
                Err(Stop::More)
            }
        }
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let it = self.half(side).under_way.take()?;
        Some(message(it.body).incomplete(true))
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Whether `side` may send such a packet. Where the connection is known, flags that are not as
    /// they should be are the sender's business.
    fn may_send(&self, side: Side, first: u8) -> bool {
        is_first(side, first) || self.version > 0 && is_from(side, first) && first & 0xf6 != 0x36
    }

    /// A PUBLISH up to its payload.
    fn publish(
        &mut self,
        side: Side,
        first: u8,
        length: u64,
        input: &mut Input<'_>,
    ) -> Result<UnderWay, Stop> {
        if !self.may_send(side, first) {
            return Err(Stop::Lost);
        }
        let before = input.used();
        let rest = input.rest();
        let topic_bytes = u64::from(input.u16()?);
        let fixed = 2 + topic_bytes + if first & 6 == 0 { 0 } else { 2 };
        if fixed > length {
            return Err(Stop::Lost);
        }
        let topic = input.take(usize::try_from(topic_bytes).map_err(|_| Stop::Lost)?)?;
        // An empty topic needs an alias, and with it version 5.
        let may_be_alias = topic.is_empty() && matches!(self.version, 0 | 5);
        if !is_topic(topic) && !may_be_alias {
            return Err(Stop::Lost);
        }
        if first & 6 != 0 && input.u16()? == 0 {
            return Err(Stop::Lost);
        }
        if topic.is_empty() {
            self.version = 5;
        }
        let mut properties: &[u8] = &[];
        if self.version == 5 {
            let size = varint(input)?;
            if size > length || size > input.limits().body_bytes as u64 {
                return Err(Stop::Lost);
            }
            properties = input.take(usize::try_from(size).map_err(|_| Stop::Lost)?)?;
        }
        let used = input.used() - before;
        let left = length.checked_sub(used as u64).ok_or(Stop::Lost)?;
        let is_alias = topic.is_empty();
        let topic = self.alias(side, topic, properties);
        let mut payload = Payload::default();
        payload.expect(left, input.limits().body_bytes);
        let head = rest.get(..used).unwrap_or_default().to_vec();
        let version = self.version;
        let body = Body { first, version, side, answers: false, head, payload, topic };
        // What the alias stands for was said before the capture began, or not captured.
        let incomplete = is_alias && body.topic.is_none();
        Ok(UnderWay { body, left, incomplete })
    }

    /// Notes which topic an alias stands for, or tells it.
    fn alias(&mut self, side: Side, topic: &[u8], properties: &[u8]) -> Option<Box<str>> {
        let alias = Properties(Reader(properties)).find_map(|it| match it {
            (TOPIC_ALIAS, Value::Number(alias)) => u16::try_from(alias).ok(),
            _ => None,
        })?;
        let aliases = &mut self.half(side).aliases;
        let known = aliases.iter().position(|it| it.0 == alias);
        let known = known.and_then(|it| aliases.get_mut(it));
        if topic.is_empty() {
            return known.map(|it| it.1.clone());
        }
        let name: Box<str> = text(topic.get(..TOPIC_BYTES).unwrap_or(topic)).into();
        if let Some(known) = known {
            known.1 = name;
        } else if aliases.len() < ALIASES {
            aliases.push((alias, name));
        }
        None
    }

    /// Any packet but a PUBLISH: it comes whole.
    fn packet(
        &mut self,
        side: Side,
        first: u8,
        length: u64,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        let limits = input.limits();
        let length = usize::try_from(length).map_err(|_| Stop::Lost)?;
        if !self.may_send(side, first)
            || length >= limits.message_bytes
            || !fits_length(first, length as u64)
        {
            return Err(Stop::Lost);
        }
        let bytes = input.take(length)?;
        let version = version_of(first >> 4, bytes, self.version).ok_or(Stop::Lost)?;
        self.version = version;
        let mut head = bytes.get(..limits.body_bytes).unwrap_or(bytes).to_vec();
        hide_secrets(first >> 4, version, &mut head);
        let answers = match first >> 4 {
            CONNACK | PUBACK | PUBCOMP | SUBACK | UNSUBACK | PINGRESP => true,
            // One that refuses ends the delivery.
            PUBREC => head.get(2).is_some_and(|it| *it >= FAILURE),
            _ => false,
        };
        let payload = Payload::default();
        let mut body = Body { first, version, side, answers, head, payload, topic: None };
        if matches!(first >> 4, PUBREC | PUBREL) && !answers {
            let asker = if first >> 4 == PUBREC { side.other() } else { side };
            let key = delivery_key(PUBCOMP, asker, packet_id(&body).unwrap_or_default());
            body.topic = open.oldest(key).and_then(topic_of);
        }
        let message = message(body);
        // These have no id.
        Ok(match first >> 4 {
            PINGREQ => message.key(self.order.ask(side, PINGREQ.into(), open)),
            PINGRESP => message.key(self.order.answer(side.other(), PINGREQ.into(), open)),
            _ => message,
        })
    }
}

fn message(body: Body) -> Message<Body> {
    let asker = if body.answers { body.side.other() } else { body.side };
    let id = || packet_id(&body).unwrap_or_default();
    let key = |kind, id| delivery_key(kind, asker, id);
    let key = match body.first >> 4 {
        CONNECT | CONNACK => key(CONNECT, 0),
        PINGREQ | PINGRESP => key(PINGREQ, 0),
        SUBSCRIBE | SUBACK => key(SUBSCRIBE, id()),
        UNSUBSCRIBE | UNSUBACK => key(UNSUBSCRIBE, id()),
        PUBLISH if body.first & 6 == 2 => key(PUBACK, id()),
        PUBLISH if body.first & 6 == 4 => key(PUBCOMP, id()),
        PUBACK => key(PUBACK, id()),
        PUBREC | PUBCOMP => key(PUBCOMP, id()),
        _ => 0,
    };
    if body.answers {
        Message::response(body).key(key)
    } else if key == 0 || body.first >> 4 == PUBREC {
        Message::notice(body)
    } else {
        Message::request(body).key(key)
    }
}

/// What a packet and its answer have in common.
fn delivery_key(kind: u8, asker: Side, id: u16) -> u64 {
    u64::from(kind) << 32 | u64::from(asker == Side::Server) << 16 | u64::from(id)
}

/// The topic of a PUBLISH.
fn topic_of(publish: &Body) -> Option<Box<str>> {
    let known = publish.topic.as_deref().map(Cow::Borrowed);
    let topic = known.or_else(|| Reader(&publish.head).string().map(text))?;
    let end = (0..=TOPIC_BYTES).rev().find(|it| topic.is_char_boundary(*it)).unwrap_or_default();
    Some(topic.get(..end.min(topic.len())).unwrap_or(&topic).into())
}

fn packet_id(body: &Body) -> Option<u16> {
    let mut it = Reader(&body.head);
    if body.first >> 4 == PUBLISH {
        it.string()?;
    }
    it.u16()
}

/// Type, flags, and how many bytes follow.
fn fixed_header(input: &mut Input<'_>) -> Result<(u8, u64), Stop> {
    let first = input.u8()?;
    if !matches!(first, 0x10..=0xf0) {
        return Err(Stop::Lost);
    }
    Ok((first, varint(input)?))
}

/// A number whose bytes say whether more follow; at most four do.
fn varint(input: &mut Input<'_>) -> Result<u64, Stop> {
    let mut number = 0;
    for shift in [0, 7, 14, 21] {
        let byte = input.u8()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Stop::Lost)
}

/// Whether `side` may send a packet of this type.
fn is_from(side: Side, first: u8) -> bool {
    match first >> 4 {
        CONNECT | SUBSCRIBE | UNSUBSCRIBE | PINGREQ => side == Side::Client,
        CONNACK | SUBACK | UNSUBACK | PINGRESP => side == Side::Server,
        kind => matches!(kind, PUBLISH..=PUBCOMP | DISCONNECT | AUTH),
    }
}

/// Whether `side` may send a packet of this type with these flags.
fn is_first(side: Side, first: u8) -> bool {
    let flags_fit = match first >> 4 {
        // Version 3.1 has flags in all packets of QoS 1: a repeated one has bit 3.
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => first & 7 == 2,
        PUBLISH => first & 6 != 6 && first & 0x0e != 8,
        _ => first & 15 == 0,
    };
    is_from(side, first) && flags_fit
}

fn fits_length(first: u8, length: u64) -> bool {
    match first >> 4 {
        CONNECT => length >= 12,
        PUBLISH => length >= 2,
        CONNACK | PUBACK..=PUBCOMP | UNSUBACK => length >= 2,
        SUBACK => length >= 3,
        SUBSCRIBE => length >= 6,
        UNSUBSCRIBE => length >= 5,
        PINGREQ | PINGRESP => length == 0,
        _ => true,
    }
}

/// The version that a packet is of, if it is well-formed; `known` is the connection's, or 0.
fn version_of(kind: u8, bytes: &[u8], known: u8) -> Option<u8> {
    let fits = |version| is_well_formed(kind, bytes, version).then_some(version);
    match (kind, known) {
        (CONNECT, _) => {
            let level = connect_level(bytes)?;
            is_well_formed(kind, bytes, level).then_some(level)
        }
        (_, 1..) => fits(known),
        // These look alike in all versions while they are short.
        (PUBACK..=PUBCOMP, _) if bytes.len() == 2 => Some(0),
        (PINGREQ | PINGRESP, _) => Some(0),
        (DISCONNECT, _) if bytes.is_empty() => Some(0),
        _ => fits(4).or_else(|| fits(5)),
    }
}

fn is_well_formed(kind: u8, bytes: &[u8], version: u8) -> bool {
    let is_5 = version == 5;
    let mut it = Reader(bytes);
    let mut well = || -> Option<bool> {
        if matches!(kind, PUBACK..=UNSUBACK) && it.u16()? == 0 {
            return Some(false);
        }
        Some(match kind {
            CONNECT => connect(bytes, version).is_some(),
            CONNACK if is_5 => {
                it.u8()? <= 1 && it.u8().is_some() && it.block().is_some() && it.0.is_empty()
            }
            CONNACK => it.u8()? <= 1 && it.u8()? <= 5 && it.0.is_empty(),
            PUBACK..=PUBCOMP => {
                it.0.is_empty() || is_5 && reason(&mut it).is_some() && it.0.is_empty()
            }
            SUBSCRIBE | UNSUBSCRIBE => {
                if is_5 {
                    it.block()?;
                }
                while !it.0.is_empty() {
                    if !is_filter(it.string()?)
                        || kind == SUBSCRIBE && it.u8()? & if is_5 { 0xc3 } else { 0xff } > 2
                    {
                        return Some(false);
                    }
                }
                true
            }
            SUBACK if !is_5 => it.0.iter().all(|it| matches!(it, 0..=2 | 0x80)),
            UNSUBACK if !is_5 => it.0.is_empty(),
            SUBACK | UNSUBACK => it.block().is_some() && !it.0.is_empty(),
            DISCONNECT | AUTH => {
                it.0.is_empty() || is_5 && reason(&mut it).is_some() && it.0.is_empty()
            }
            _ => it.0.is_empty(),
        })
    };
    well().unwrap_or(false)
}

/// A reason code and properties, both of which may be left out.
fn reason<'b>(it: &mut Reader<'b>) -> Option<(u8, &'b [u8])> {
    let code = it.u8()?;
    let properties = if it.0.is_empty() { &[] } else { it.block()? };
    Some((code, properties))
}

/// Replaces authentication data, and cuts off a password: it comes last.
fn hide_secrets(kind: u8, version: u8, head: &mut Vec<u8>) {
    if kind == CONNECT
        && let Some(it) = connect(head, version)
        && let Some(at) = it.password_at
    {
        head.truncate(at);
    }
    if version != 5 || !matches!(kind, CONNECT | CONNACK | AUTH) {
        return;
    }
    let whole: &[u8] = head;
    let mut it = Reader(whole);
    match kind {
        CONNECT => {
            it.string();
            it.take(4);
        }
        CONNACK => drop(it.take(2)),
        _ => drop(it.take(1)),
    }
    let Some(block) = it.block() else { return };
    let start = whole.len() - it.0.len() - block.len();
    let mut properties = Properties(Reader(block));
    let mut secrets = Vec::new();
    while let Some((id, value)) = properties.next() {
        if let (AUTHENTICATION_DATA, Value::Bytes(data)) = (id, value) {
            let end = start + block.len() - properties.0.0.len();
            secrets.push(end - data.len()..end);
        }
    }
    for place in secrets {
        if let Some(bytes) = head.get_mut(place) {
            bytes.fill(b'*');
        }
    }
}

/// What a packet says.
#[derive(Debug, Default)]
struct Packet<'b> {
    id: Option<u16>,
    topic: Option<Cow<'b, str>>,
    filters: Vec<Cow<'b, str>>,
    qos: Vec<u8>,
    client_id: Option<Cow<'b, str>>,
    user_name: Option<Cow<'b, str>>,
    has_password: bool,
    keep_alive: Option<u16>,
    connect_flags: Option<u8>,
    will_topic: Option<Cow<'b, str>>,
    will_payload: Option<&'b [u8]>,
    will_properties: Option<String>,
    session_present: Option<bool>,
    codes: Vec<u8>,
    properties: Option<String>,
}

impl<'b> Packet<'b> {
    fn of(body: &'b Body) -> Self {
        let mut packet = Self::default();
        packet.read(body);
        packet
    }

    /// Reads as far as the bytes go: a long packet was cut.
    fn read(&mut self, body: &'b Body) -> Option<()> {
        let (kind, is_5) = (body.first >> 4, body.version == 5);
        let mut it = Reader(&body.head);
        match kind {
            CONNECT => {
                let connect = connect(&body.head, body.version)?;
                self.connect_flags = Some(connect.flags);
                self.keep_alive = Some(connect.keep_alive);
                self.properties = json(connect.properties);
                self.client_id = connect.client_id.map(text);
                self.will_properties = json(connect.will_properties);
                self.will_topic = connect.will_topic.map(text);
                self.will_payload = connect.will_payload;
                self.user_name = connect.user_name.map(text);
                self.has_password = connect.flags & 0x40 != 0;
            }
            CONNACK => {
                self.session_present = Some(it.u8()? & 1 != 0);
                self.codes.push(it.u8()?);
                self.properties = json(it.block().filter(|_| is_5));
            }
            PUBLISH => {
                let topic = it.string()?;
                self.topic = Some(match &body.topic {
                    Some(known) => Cow::Borrowed(&**known),
                    None => text(topic),
                });
                if body.first & 6 != 0 {
                    self.id = it.u16();
                }
                self.properties = json(it.block().filter(|_| is_5));
            }
            PUBACK..=PUBCOMP => {
                self.topic = body.topic.as_deref().map(Cow::Borrowed);
                self.id = it.u16();
                let (code, properties) = reason(&mut it)?;
                self.codes.push(code);
                self.properties = json(Some(properties));
            }
            SUBSCRIBE | UNSUBSCRIBE => {
                self.id = it.u16();
                if is_5 {
                    self.properties = json(it.block());
                }
                while !it.0.is_empty() && self.filters.len() < FILTERS {
                    self.filters.push(text(it.string()?));
                    if kind == SUBSCRIBE {
                        self.qos.push(it.u8()? & 3);
                    }
                }
            }
            SUBACK | UNSUBACK => {
                self.id = it.u16();
                if is_5 {
                    self.properties = json(it.block());
                }
                self.codes.extend(it.0.iter().take(FILTERS));
            }
            DISCONNECT | AUTH => {
                let (code, properties) = reason(&mut it)?;
                self.codes.push(code);
                self.properties = json(Some(properties));
            }
            _ => {}
        }
        Some(())
    }
}

/// What a CONNECT says.
#[derive(Default)]
struct Connect<'b> {
    flags: u8,
    keep_alive: u16,
    properties: Option<&'b [u8]>,
    client_id: Option<&'b [u8]>,
    will_properties: Option<&'b [u8]>,
    will_topic: Option<&'b [u8]>,
    will_payload: Option<&'b [u8]>,
    user_name: Option<&'b [u8]>,
    /// Where the password begins.
    password_at: Option<usize>,
}

/// The protocol's level, without the bit that bridges set.
fn connect_level(bytes: &[u8]) -> Option<u8> {
    let mut it = Reader(bytes);
    let name = it.string()?;
    let level = it.u8()? & 0x7f;
    matches!((name, level), (b"MQTT", 3..=5) | (b"MQIsdp", 3)).then_some(level)
}

/// Reads a CONNECT; what is cut off is left out.
fn connect(bytes: &[u8], version: u8) -> Option<Connect<'_>> {
    let mut it = Reader(bytes);
    it.string()?;
    it.u8()?;
    let mut connect = Connect { flags: it.u8()?, keep_alive: it.u16()?, ..Connect::default() };
    if version == 5 {
        connect.properties = Some(it.block()?);
    }
    let mut rest = || -> Option<()> {
        connect.client_id = Some(it.string()?);
        if connect.flags & 4 != 0 {
            if version == 5 {
                connect.will_properties = Some(it.block()?);
            }
            connect.will_topic = Some(it.string()?);
            connect.will_payload = Some(it.string()?);
        }
        if connect.flags & 0x80 != 0 {
            connect.user_name = Some(it.string()?);
        }
        Some(())
    };
    let is_whole = rest().is_some();
    if connect.flags & 0x40 != 0 && is_whole {
        connect.password_at = Some(bytes.len() - it.0.len());
    }
    Some(connect)
}

/// Reads what lies in memory.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
    fn varint(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
    /// Bytes behind their length.
    fn string(&mut self) -> Option<&'b [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
    /// Properties behind their length.
    fn block(&mut self) -> Option<&'b [u8]> {
        let length = self.varint()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// One property's value.
enum Value<'b> {
    Number(u32),
    Text(&'b [u8]),
    Bytes(&'b [u8]),
    Pair(&'b [u8], &'b [u8]),
}

/// The properties in a block, up to the first that is unknown or cut.
struct Properties<'b>(Reader<'b>);

impl<'b> Iterator for Properties<'b> {
    type Item = (u8, Value<'b>);

    fn next(&mut self) -> Option<Self::Item> {
        let it = &mut self.0;
        let id = it.u8()?;
        let (.., kind) = PROPERTIES.iter().find(|it| it.0 == id)?;
        let value = match kind {
            Type::Byte => Value::Number(it.u8()?.into()),
            Type::Two => Value::Number(it.u16()?.into()),
            Type::Four => Value::Number(it.u32()?),
            Type::Varint => Value::Number(it.varint()?),
            Type::Text => Value::Text(it.string()?),
            Type::Bytes => Value::Bytes(it.string()?),
            Type::Pair => Value::Pair(it.string()?, it.string()?),
        };
        Some((id, value))
    }
}

/// A block of properties as a JSON object; `None` if there are none.
fn json(block: Option<&[u8]>) -> Option<String> {
    let block = block.filter(|it| !it.is_empty())?;
    let mut json = String::from("{");
    let mut pairs = String::new();
    let mut subscriptions = String::new();
    for (id, value) in Properties(Reader(block)) {
        if json.len() + pairs.len() + subscriptions.len() > JSON_BYTES {
            break;
        }
        match value {
            Value::Pair(name, value) => {
                if !pairs.is_empty() {
                    pairs.push(',');
                }
                quote(&mut pairs, name);
                pairs.push(':');
                quote(&mut pairs, value);
                continue;
            }
            Value::Number(number) if id == SUBSCRIPTION_IDENTIFIER => {
                let comma = if subscriptions.is_empty() { "" } else { "," };
                write!(subscriptions, "{comma}{number}").unwrap_or_default();
                continue;
            }
            _ => {}
        }
        member(&mut json, PROPERTIES.iter().find(|it| it.0 == id).map_or("", |it| it.1));
        match value {
            Value::Number(number) => write!(json, "{number}").unwrap_or_default(),
            Value::Bytes(_) if id == AUTHENTICATION_DATA => quote(&mut json, SECRET.as_bytes()),
            Value::Text(bytes) | Value::Bytes(bytes) => quote(&mut json, bytes),
            Value::Pair(..) => {}
        }
    }
    if !subscriptions.is_empty() {
        member(&mut json, "subscription_identifiers");
        write!(json, "[{subscriptions}]").unwrap_or_default();
    }
    if !pairs.is_empty() {
        member(&mut json, "user_properties");
        write!(json, "{{{pairs}}}").unwrap_or_default();
    }
    json.push('}');
    Some(json)
}

fn member(json: &mut String, name: &str) {
    if json.len() > 1 {
        json.push(',');
    }
    write!(json, "\"{name}\":").unwrap_or_default();
}

fn is_failure(code: u8, packet: Option<&Body>) -> bool {
    let is_old_connack = packet.is_some_and(|it| it.first >> 4 == CONNACK && it.version < 5);
    code >= FAILURE || is_old_connack && code > 0
}

/// What a code says, with the reason that the sender gives.
fn error(code: u8, version: u8, properties: &str) -> Cow<'static, str> {
    let reasons = if version == 5 { REASONS } else { OLD_REASONS };
    let known = reasons.iter().find(|it| it.0 == code).map(|it| it.1);
    let name = known.map_or_else(|| format!("code {code}").into(), Cow::Borrowed);
    let said = Members::of(properties.as_bytes())
        .find(|it| it.0 == b"reason_string")
        .and_then(|it| string(it.1));
    match said {
        Some(said) => format!("{name}: {said}").into(),
        None => name,
    }
}

fn name(kind: u8) -> &'static str {
    NAMES.get(usize::from(kind)).copied().unwrap_or_default()
}

/// Whether a name may be published to.
fn is_topic(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.iter().any(|it| matches!(it, b'#' | b'+' | 0))
        && std::str::from_utf8(name).is_ok()
}

fn is_filter(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&0) && std::str::from_utf8(name).is_ok()
}

fn guess_connect(bytes: &[u8]) -> Guess {
    let mut it = Reader(bytes);
    match it.u8() {
        None => return Guess::More,
        Some(0x10) => {}
        Some(_) => return Guess::No,
    }
    let Some(length) = it.varint() else {
        return if bytes.len() < 5 { Guess::More } else { Guess::No };
    };
    if length < 12 {
        return Guess::No;
    }
    let fits = |name: &[u8]| match it.0.get(..name.len()) {
        Some(start) if start == name => Guess::Sure,
        None if name.starts_with(it.0) => Guess::More,
        _ => Guess::No,
    };
    fits(b"\x00\x04MQTT").max(fits(b"\x00\x06MQIsdp"))
}

/// What packets in a row say of where they stand.
struct Chain {
    /// One has a shape that does not come about by chance.
    is_strong: bool,
    /// The last one ends where the bytes do.
    is_closed: bool,
}

/// Reads packets in a row; `None` if one of them is none.
fn chain(side: Side, bytes: &[u8], version: u8) -> Option<Chain> {
    let mut chain = Chain { is_strong: false, is_closed: false };
    let mut rest = bytes;
    for _ in 0..CHAIN {
        let mut it = Reader(rest);
        let Some(first) = it.u8() else { break };
        let kind = first >> 4;
        if !is_first(side, first) {
            return None;
        }
        let Some(length) = it.varint() else {
            return (rest.len() < 5 && rest.len() < bytes.len()).then_some(chain);
        };
        if !fits_length(first, length.into()) || length > MOST_BYTES {
            return None;
        }
        let length = usize::try_from(length).ok()?;
        let there = it.0.get(..length);
        let start = there.unwrap_or(it.0);
        if kind == PUBLISH {
            let mut it = Reader(start);
            let topic_bytes = usize::from(it.u16()?);
            if topic_bytes + 2 > length {
                return None;
            }
            let topic = it.0.get(..topic_bytes).unwrap_or(it.0);
            let topic = topic.get(..LONG_TOPIC_BYTES).unwrap_or(topic);
            let is_cut = topic.len() < topic_bytes;
            let is_alias = topic_bytes == 0 && version == 5;
            if !is_alias && !is_cut && !is_topic(topic) || topic.iter().any(u8::is_ascii_control) {
                return None;
            }
            chain.is_strong |= topic_bytes > 2 && topic.is_ascii() && topic.len() > 2;
        } else if let Some(there) = there {
            version_of(kind, there, version)?;
            chain.is_strong |= matches!(kind, CONNECT | SUBSCRIBE | UNSUBSCRIBE);
        }
        match there {
            Some(_) => rest = it.0.get(length..).unwrap_or_default(),
            // Only what may be long is cut.
            None => return (kind == PUBLISH || length > 127 || chain.is_strong).then_some(chain),
        }
        chain.is_closed = rest.is_empty();
    }
    (rest.len() < bytes.len()).then_some(chain)
}

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

const NAMES: [&str; 16] = [
    "",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// Of MQTT 5, the least code that says what went wrong.
const FAILURE: u8 = 0x80;

/// Of MQTT 3: what CONNACK and SUBACK say.
const OLD_REASONS: &[(u8, &str)] = &[
    (1, "unacceptable protocol version"),
    (2, "identifier rejected"),
    (3, "server unavailable"),
    (4, "bad user name or password"),
    (5, "not authorized"),
    (0x80, "failure"),
];

/// MQTT 5, table 2-6.
const REASONS: &[(u8, &str)] = &[
    (0x80, "unspecified error"),
    (0x81, "malformed packet"),
    (0x82, "protocol error"),
    (0x83, "implementation specific error"),
    (0x84, "unsupported protocol version"),
    (0x85, "client identifier not valid"),
    (0x86, "bad user name or password"),
    (0x87, "not authorized"),
    (0x88, "server unavailable"),
    (0x89, "server busy"),
    (0x8a, "banned"),
    (0x8b, "server shutting down"),
    (0x8c, "bad authentication method"),
    (0x8d, "keep alive timeout"),
    (0x8e, "session taken over"),
    (0x8f, "topic filter invalid"),
    (0x90, "topic name invalid"),
    (0x91, "packet identifier in use"),
    (0x92, "packet identifier not found"),
    (0x93, "receive maximum exceeded"),
    (0x94, "topic alias invalid"),
    (0x95, "packet too large"),
    (0x96, "message rate too high"),
    (0x97, "quota exceeded"),
    (0x98, "administrative action"),
    (0x99, "payload format invalid"),
    (0x9a, "retain not supported"),
    (0x9b, "QoS not supported"),
    (0x9c, "use another server"),
    (0x9d, "server moved"),
    (0x9e, "shared subscriptions not supported"),
    (0x9f, "connection rate exceeded"),
    (0xa0, "maximum connect time"),
    (0xa1, "subscription identifiers not supported"),
    (0xa2, "wildcard subscriptions not supported"),
];

enum Type {
    Byte,
    Two,
    Four,
    Varint,
    Text,
    Bytes,
    Pair,
}

const SUBSCRIPTION_IDENTIFIER: u8 = 11;
const AUTHENTICATION_DATA: u8 = 22;
const TOPIC_ALIAS: u8 = 35;

/// MQTT 5, table 2-4.
const PROPERTIES: &[(u8, &str, Type)] = &[
    (1, "payload_format_indicator", Type::Byte),
    (2, "message_expiry_interval", Type::Four),
    (3, "content_type", Type::Text),
    (8, "response_topic", Type::Text),
    (9, "correlation_data", Type::Bytes),
    (SUBSCRIPTION_IDENTIFIER, "subscription_identifiers", Type::Varint),
    (17, "session_expiry_interval", Type::Four),
    (18, "assigned_client_identifier", Type::Text),
    (19, "server_keep_alive", Type::Two),
    (21, "authentication_method", Type::Text),
    (AUTHENTICATION_DATA, "authentication_data", Type::Bytes),
    (23, "request_problem_information", Type::Byte),
    (24, "will_delay_interval", Type::Four),
    (25, "request_response_information", Type::Byte),
    (26, "response_information", Type::Text),
    (28, "server_reference", Type::Text),
    (31, "reason_string", Type::Text),
    (33, "receive_maximum", Type::Two),
    (34, "topic_alias_maximum", Type::Two),
    (TOPIC_ALIAS, "topic_alias", Type::Two),
    (36, "maximum_qos", Type::Byte),
    (37, "retain_available", Type::Byte),
    (38, "user_properties", Type::Pair),
    (39, "maximum_packet_size", Type::Four),
    (40, "wildcard_subscription_available", Type::Byte),
    (41, "subscription_identifiers_available", Type::Byte),
    (42, "shared_subscription_available", Type::Byte),
];

/// Topics remembered by alias, for one direction.
const ALIASES: usize = 256;

/// Bytes of a topic remembered by alias.
const TOPIC_BYTES: usize = 1 << 10;

/// Topic filters of one packet that are kept.
const FILTERS: usize = 256;

/// Bytes of properties written as JSON.
const JSON_BYTES: usize = 32 << 10;

/// Packets looked at to tell whether a place is where one begins.
const CHAIN: usize = 8;

/// The longest packet that is believed in where a place may be any.
const MOST_BYTES: u32 = 16 << 20;

/// Bytes of a topic looked at where a place may be any.
const LONG_TOPIC_BYTES: usize = 256;

/// Bytes that tell whether a packet begins.
const START_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    fn packet(first: u8, content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        let mut bytes = vec![first];
        let mut left = content.len();
        loop {
            let more = if left > 0x7f { 0x80 } else { 0 };
            bytes.push(u8::try_from(left & 0x7f).unwrap() | more);
            left >>= 7;
            if left == 0 {
                break;
            }
        }
        [bytes, content].concat()
    }

    fn string(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
    }

    fn connect(level: u8) -> Vec<u8> {
        let empty: &[u8] = if level == 5 { &[0] } else { &[] };
        packet(0x10, &[&string("MQTT"), &[level, 2, 0, 60], empty, &string("me")])
    }

    fn publish(first: u8, topic: &str, id: &[u8], payload: &[u8]) -> Vec<u8> {
        packet(first, &[&string(topic), id, payload])
    }

    fn rows(steps: &[Step]) -> Vec<Value> {
        drive::however_cut::<Dissector>(steps)
    }

    /// Of each row, what the columns named say.
    fn columns(rows: &[Value], names: &[&str]) -> Value {
        rows.iter().map(|row| names.iter().map(|it| row[it].clone()).collect::<Value>()).collect()
    }

    #[test]
    fn who_logs_in_is_told_and_not_with_what() {
        let bytes = packet(
            0x10,
            &[
                &string("MQTT"),
                &[4, 0xee, 0, 60],
                &string("me"),
                &string("will/t"),
                &string("bye"),
                &string("user"),
                &string("secret"),
            ],
        );
        let rows = rows(&[client(&bytes), server([0x20, 2, 0, 5])]);
        assert_eq!(
            rows,
            [json!({
                "verb": "CONNECT", "target": "me", "status": 5, "failed": true, "error": "not authorized",
                "packet": "CONNECT", "sender": "client", "response_packet": "CONNACK", "protocol_version": 4,
                "topic_filters": [], "requested_qos": [], "client_id": "me", "user_name": "user",
                "password": "***", "keep_alive": 60_000_000_000_i64, "clean_start": true,
                "will_topic": "will/t", "will_payload": "627965", "will_qos": 1, "will_retain": true,
                "session_present": false, "reason_codes": ["5"],
            })]
        );
        let mut head = bytes.get(2..).unwrap().to_vec();
        hide_secrets(CONNECT, 4, &mut head);
        assert!(!text(&head).contains("secret"));
    }

    #[test]
    fn deliveries_are_answered_by_whoever_gets_them() {
        let rows = rows(&[
            client(connect(4)),
            server([0x20, 2, 0, 0]),
            client(publish(0x30, "a", b"", b"0")),
            client(publish(0x33, "b", b"\0\x01", b"1")),
            server([0x40, 2, 0, 1]),
            server(publish(0x3a, "c", b"\0\x01", b"2")),
            client([0x40, 2, 0, 1]),
            server(publish(0x34, "d", b"\0\x02", b"3")),
            client([0x50, 2, 0, 2]),
            server([0x62, 2, 0, 2]),
            client([0x70, 2, 0, 2]),
            client([0xc0, 0]),
            server([0xd0, 0]),
            client([0xe0, 0]),
        ]);
        let names = ["verb", "target", "sender", "response_packet", "qos", "retain", "duplicate"];
        assert_eq!(
            columns(&rows, &names),
            json!([
                ["CONNECT", "me", "client", "CONNACK", null, null, null],
                ["PUBLISH", "a", "client", null, 0, false, false],
                ["PUBLISH", "b", "client", "PUBACK", 1, true, false],
                ["PUBLISH", "c", "server", "PUBACK", 1, false, true],
                ["PUBREC", "d", "client", null, null, null, null],
                ["PUBREL", "d", "server", null, null, null, null],
                ["PUBLISH", "d", "server", "PUBCOMP", 2, false, false],
                ["PINGREQ", "", "client", "PINGRESP", null, null, null],
                ["DISCONNECT", "", "client", null, null, null, null],
            ])
        );
    }

    #[test]
    fn topics_have_codes_of_their_own() {
        let rows = rows(&[
            client(connect(4)),
            client(packet(0x82, &[&[0, 9], &string("a/#"), &[0], &string("b"), &[2]])),
            server([0x90, 4, 0, 9, 0, 0x80]),
            client(packet(0xa2, &[&[0, 10], &string("a/#")])),
            server([0xb0, 2, 0, 10]),
        ]);
        let names = ["verb", "target", "requested_qos", "reason_codes", "status", "error"];
        assert_eq!(
            columns(&rows, &names),
            json!([
                ["SUBSCRIBE", "a/# b", ["0", "2"], ["0", "128"], 128, "failure"],
                ["UNSUBSCRIBE", "a/#", [], [], null, null],
                ["CONNECT", "me", [], [], null, null],
            ])
        );
    }

    #[test]
    fn version_5_has_properties_by_name() {
        let alias = |topic: &str| publish(0x32, topic, b"\0\x01", b"\x03\x23\0\x05x");
        let user = [
            &[38][..],
            &string("trace"),
            &string("t1"),
            &[9, 0, 2, 0xff, 0],
            &[11, 0x80, 1, 11, 2],
        ]
        .concat();
        let length = [u8::try_from(user.len()).unwrap()];
        let rows = rows(&[
            client(connect(5)),
            server(packet(0x20, &[&[1, 0, 3, 33, 0, 10]])),
            client(alias("sensors/1")),
            server(packet(0x40, &[&[0, 1, 0x97, 6, 31], &string("day")])),
            client(alias("")),
            server([0x40, 2, 0, 1]),
            server(publish(0x30, "b", &length, &[&user[..], b"payload"].concat())),
            client([0x50, 3, 0, 7, 0x92]),
            server([0xe0, 2, 0x8e, 0]),
        ]);
        let names = ["verb", "target", "status", "error", "properties", "response_properties"];
        assert_eq!(
            columns(&rows, &names),
            json!([
                ["CONNECT", "me", 0, null, null, r#"{"receive_maximum":10}"#],
                [
                    "PUBLISH",
                    "sensors/1",
                    0x97,
                    "quota exceeded: day",
                    r#"{"topic_alias":5}"#,
                    r#"{"reason_string":"day"}"#
                ],
                ["PUBLISH", "sensors/1", null, null, r#"{"topic_alias":5}"#, null],
                [
                    "PUBLISH",
                    "b",
                    null,
                    null,
                    r#"{"correlation_data":"ff00","subscription_identifiers":[128,2],"user_properties":{"trace":"t1"}}"#,
                    null
                ],
                ["PUBREC", "", 0x92, "packet identifier not found", null, null],
                ["DISCONNECT", "", 0x8e, "session taken over", null, null],
            ])
        );
    }

    #[test]
    fn authentication_data_is_not_kept() {
        let data = [&[21][..], &string("SCRAM"), &[22], &string("secret")].concat();
        let block = [&[u8::try_from(data.len()).unwrap()], &data[..]].concat();
        let bytes = packet(0xf0, &[&[0x18], &block]);
        let mut head = bytes.get(2..).unwrap().to_vec();
        hide_secrets(AUTH, 5, &mut head);
        assert!(!text(&head).contains("secret"));
        let rows = rows(&[client(connect(5)), client(&bytes)]);
        assert_eq!(
            rows[0]["properties"],
            r#"{"authentication_method":"SCRAM","authentication_data":"***"}"#
        );
    }

    #[test]
    fn loss_costs_what_it_touches() {
        let long = publish(0x32, "a/b", b"\0\x01", &[b'x'; 300]);
        let within = [
            client(connect(4)),
            client(&long[..100]),
            Step::Loses(Side::Client, 100),
            client(&long[200..]),
            client([0xc0, 0]),
        ];
        let names = ["verb", "target", "payload_size", "incomplete"];
        let expected = json!([
            ["CONNECT", "me", null, null],
            ["PUBLISH", "a/b", 300, true],
            ["PINGREQ", "", null, null]
        ]);
        assert_eq!(columns(&rows(&within), &names), expected);
        let across = [
            client(connect(4)),
            client(&long[..100]),
            Step::Loses(Side::Client, 5000),
            client(b"text of a payload"),
            client(&long),
        ];
        let rows = drive::stream::<Dissector>(&across, usize::MAX);
        assert_eq!(
            columns(&rows, &names),
            json!([
                ["CONNECT", "me", null, null],
                ["PUBLISH", "a/b", 90, true],
                ["PUBLISH", "a/b", 300, null]
            ])
        );
    }

    #[test]
    fn only_its_own_bytes_are_taken_for_it() {
        let guess = |bytes: &[u8], side, port| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port })
        };
        assert_eq!(guess(&connect(4), Side::Client, 1), Guess::Sure);
        assert_eq!(guess(&connect(4)[..5], Side::Client, 1), Guess::More);
        assert_eq!(guess(&[0xc0, 0], Side::Client, 1), Guess::No);
        assert_eq!(guess(&[0xc0, 0], Side::Client, 1883), Guess::Maybe);
        assert_eq!(guess(&[0xc0, 0], Side::Server, 1883), Guess::No);
        assert_eq!(guess(b"GET / HTTP/1.1\r\n", Side::Client, 1883), Guess::No);
        assert_eq!(
            guess(&publish(0x30, "a/b", b"", &[0; 3000])[..1000], Side::Server, 1883),
            Guess::Maybe
        );
        assert_eq!(guess(&publish(0x36, "a/b", b"", b""), Side::Server, 1883), Guess::No);
    }
}
