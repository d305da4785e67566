//! NTP, versions 1 to 4: RFC 5905, its predecessors, and the control messages of RFC 9327.
use std::borrow::Cow;
use std::net::Ipv4Addr;

use schema::value::{Code, Duration, Label, Time, text};

use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::SECOND;

/// Clocks being compared: a client's question with the server's answer, what servers broadcast, and
/// control messages. `verb` is the mode, `status` the stratum of whoever answers. How far the
/// clocks are apart is
/// `((receive_time - request_time) + (transmit_time - arrival)) / 2`, where `arrival` is `ts` plus
/// `duration` if the capture was taken at a client whose clock is the one in question.
#[derive(schema::Record)]
pub(super) struct Ntp<'a> {
    /// Who speaks: `client`, `server`, `symmetric active`, `symmetric passive`, `broadcast`,
    /// `control` or `private`.
    mode: Label<'a>,
    /// The protocol's version, 1 to 4.
    version: Code,
    /// Of a control message: what it asks, such as `READVAR`.
    operation: Option<Label<'a>>,
    /// Announced leap second: `none`, `61 s`, `59 s`, or `unsynchronized`.
    leap: Option<Label<'a>>,
    /// How many steps the server is from a reference clock; 0 in a kiss of death, 16 if it is not
    /// synchronized.
    stratum: Option<Code>,
    /// What the server follows: a clock such as `GPS`, an IPv4 address, or a hash of another address.
    reference_id: Option<Label<'a>>,
    /// Why the server wants to be left alone, such as `RATE`.
    kiss_code: Option<Label<'a>>,
    /// How long the sender waits between two questions.
    poll: Option<Duration>,
    /// How exact the sender's clock is.
    precision: Option<Duration>,
    /// How long a packet takes from the server to the reference clock and back.
    root_delay: Option<Duration>,
    /// How far the server may be off the reference clock.
    root_dispersion: Option<Duration>,
    /// When the server's clock was last set.
    reference_time: Option<Time>,
    /// When the client asked, by its own clock; many clients send noise instead.
    request_time: Option<Time>,
    /// When the question arrived, by the server's clock.
    receive_time: Option<Time>,
    /// When the answer left, by the server's clock.
    transmit_time: Option<Time>,
    /// How long the server had the question.
    processing: Option<Duration>,
    /// The key that the message is signed by, if it is.
    key_id: Option<u64>,
}

/// Remembers nothing: each message says what it answers.
#[derive(Debug, Default)]
pub(super) struct Dissector;

/// One message: the part that all have, and what may follow.
#[derive(Debug)]
pub(super) struct Packet {
    flags: u8,
    bytes: Box<[u8]>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "ntp";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp];
    const PORTS: &'static [u16] = &[123];
    type Body = Packet;
    type Columns = NtpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        judge(head.bytes, head.side)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Packet>,
    ) -> Result<Message<Packet>, Stop> {
        let bytes = input.take(input.rest().len())?;
        let packet = Packet::of(bytes).ok_or(Stop::Lost)?;
        let (asks, answers) = (packet.transmit(), packet.originate());
        let message = match packet.mode() {
            CLIENT => Message::request(packet).key(asks),
            SERVER | PASSIVE => Message::response(packet).key(answers),
            // Each of two such peers answers what the other said last.
            ACTIVE if answers != 0 && open.oldest(answers).is_some() => {
                Message::response(packet).key(answers)
            }
            ACTIVE => Message::request(packet).key(asks),
            BROADCAST => Message::notice(packet),
            CONTROL | PRIVATE => {
                let key = packet.control_key();
                match packet.is_answer() {
                    true => Message::response(packet).key(key),
                    false => Message::request(packet).key(key),
                }
            }
            // RFC 1059: a client of version 1 sends no mode, and asks from another port.
            _ if side == Side::Client => Message::request(packet).key(asks),
            _ => Message::response(packet).key(answers),
        };
        Ok(message)
    }

    fn record(exchange: Exchange<'_, Packet>) -> (Summary<'_>, Ntp<'_>) {
        record(exchange.request, exchange.response)
    }

    fn weight(packet: &Packet) -> usize {
        size_of::<Packet>() + packet.bytes.len()
    }
}

impl Packet {
    fn of(bytes: &[u8]) -> Option<Self> {
        let flags = *bytes.first()?;
        let (version, mode) = (flags >> 3 & 7, flags & 7);
        let least = match mode {
            CONTROL => CONTROL_BYTES,
            PRIVATE => PRIVATE_BYTES,
            _ => PLAIN_BYTES,
        };
        let is_sound = (1..=4).contains(&version) && bytes.len() >= least;
        // Answers to control messages may be long; only their beginning is looked at.
        let kept = bytes.get(..KEPT_BYTES).unwrap_or(bytes);
        is_sound.then(|| Self { flags, bytes: kept.into() })
    }

    fn mode(&self) -> u8 {
        self.flags & 7
    }

    fn version(&self) -> u8 {
        self.flags >> 3 & 7
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or_default()
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.byte(at), self.byte(at + 1)])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }

    fn originate(&self) -> u64 {
        self.u64(24)
    }

    fn transmit(&self) -> u64 {
        self.u64(40)
    }

    fn is_control(&self) -> bool {
        matches!(self.mode(), CONTROL | PRIVATE)
    }

    fn is_answer(&self) -> bool {
        match self.mode() {
            CONTROL => self.byte(1) & 0x80 != 0,
            _ => self.flags & 0x80 != 0,
        }
    }

    /// Pairs control messages: by sequence number and operation, and never by order.
    fn control_key(&self) -> u64 {
        let mode = u64::from(self.mode()) << 32;
        match self.mode() {
            CONTROL => mode | u64::from(self.byte(1) & 0x1f) << 16 | u64::from(self.u16(2)),
            _ => mode | u64::from(self.byte(1) & 0x7f) << 16 | u64::from(self.u16(2)),
        }
    }

    fn operation(&self) -> Option<Cow<'static, str>> {
        match self.mode() {
            CONTROL => {
                let code = self.byte(1) & 0x1f;
                let name = OPERATIONS.get(usize::from(code)).copied();
                Some(name.map_or_else(|| code.to_string().into(), Cow::from))
            }
            PRIVATE => Some(match self.byte(3) {
                20 => "MON_GETLIST".into(),
                42 => "MON_GETLIST_1".into(),
                other => other.to_string().into(),
            }),
            _ => None,
        }
    }

    /// Four letters, an address, or part of a hash.
    fn reference(&self) -> Option<String> {
        let id = self.bytes.get(12..16)?;
        if id == [0; 4] {
            return None;
        }
        let end = id.iter().rposition(|it| *it != 0).map_or(0, |it| it + 1);
        let name = id.get(..end)?;
        let is_name = matches!(self.byte(1), 0 | 1 | 16) && name.iter().all(u8::is_ascii_graphic);
        Some(match (is_name, id) {
            (true, _) => text(name).into_owned(),
            (false, [a, b, c, d]) => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
            (false, _) => return None,
        })
    }

    fn key_id(&self) -> Option<u64> {
        // A key's number and a digest; other ends are extensions, in which it comes last.
        matches!(self.bytes.len(), 68 | 72 | 80).then(|| self.u32(PLAIN_BYTES).into())
    }
}

fn record<'a>(request: Option<&'a Packet>, response: Option<&'a Packet>) -> (Summary<'a>, Ntp<'a>) {
    let first = request.or(response);
    let mode = first.map_or(CLIENT, Packet::mode);
    let mode = MODES.get(usize::from(mode)).copied().unwrap_or("reserved");
    let operation = first.and_then(Packet::operation);
    // What tells the time: the answer, and what is broadcast.
    let broadcast = request.filter(|it| it.mode() == BROADCAST);
    let told = response.or(broadcast).filter(|it| !it.is_control());
    let asked = request.filter(|it| !it.is_control() && it.mode() != BROADCAST);
    let any = told.or(asked);
    let stratum = told.map(|it| it.byte(1));
    let reference = told.and_then(Packet::reference);
    let kiss = reference.clone().filter(|_| stratum == Some(0));
    let leap = any.map(|it| it.flags >> 6);
    let is_lost = told.is_some_and(|it| it.flags >> 6 == 3 || it.byte(1) >= 16);
    let wants_answer = request.is_some_and(|it| it.mode() != BROADCAST);
    let control_error = response.filter(|it| it.mode() == CONTROL && it.byte(1) & 0x40 != 0);
    let error = if let Some(kiss) = &kiss {
        Some(format!("kiss of death: {kiss}").into())
    } else if is_lost {
        Some("not synchronized".into())
    } else if let Some(it) = control_error {
        Some(format!("control error {}", it.byte(4)).into())
    } else if wants_answer && response.is_none() {
        Some("no response".into())
    } else {
        None
    };
    let received = told.and_then(|it| time(it.u64(32)));
    let transmitted = told.and_then(|it| time(it.transmit()));
    let asked_at = asked.and_then(|it| time(it.transmit()));
    let asked_at = asked_at.or_else(|| told.and_then(|it| time(it.originate())));
    let version = first.map_or(0, Packet::version);
    let summary = Summary {
        verb: mode.into(),
        target: operation.clone().or_else(|| reference.clone().map(Cow::Owned)).unwrap_or_default(),
        status: stratum.map(i32::from),
        failed: error.is_some(),
        error,
    };
    let row = Ntp {
        mode: mode.into(),
        version: Code(version.into()),
        operation: operation.map(Label),
        leap: leap.map(|it| LEAPS.get(usize::from(it)).copied().unwrap_or_default().into()),
        stratum: stratum.map(|it| Code(it.into())),
        reference_id: reference.filter(|_| kiss.is_none()).map(Label::from),
        kiss_code: kiss.map(Label::from),
        poll: any.and_then(|it| power(it.byte(2))).map(Duration),
        precision: any.and_then(|it| power(it.byte(3))).map(Duration),
        root_delay: told.map(|it| Duration(short(it.u32(4)))),
        root_dispersion: told.map(|it| Duration(short(it.u32(8)))),
        reference_time: told.and_then(|it| time(it.u64(16))).map(Time),
        request_time: asked_at.map(Time),
        receive_time: received.map(Time),
        transmit_time: transmitted.map(Time),
        processing: received.zip(transmitted).map(|(from, to)| Duration(to.saturating_sub(from))),
        key_id: any.and_then(Packet::key_id),
    };
    (summary, row)
}

/// A timestamp: seconds since 1900, or since 2036 if the first bit is not set, and their fraction.
fn time(stamp: u64) -> Option<i64> {
    if stamp == 0 {
        return None;
    }
    let seconds = i64::try_from(stamp >> 32).ok()?;
    let era = if stamp >> 63 == 0 { 1 << 32 } else { 0 };
    let nanos = ((stamp & 0xffff_ffff) * SECOND.unsigned_abs()) >> 32;
    (seconds + era - UNIX_EPOCH).checked_mul(SECOND)?.checked_add_unsigned(nanos)
}

/// A span in 16 bits of seconds and 16 bits of their fraction.
fn short(span: u32) -> i64 {
    (i64::from(span) * SECOND) >> 16
}

/// A power of two of seconds.
fn power(exponent: u8) -> Option<i64> {
    match exponent.cast_signed() {
        it @ 0..=17 => Some(SECOND << it),
        it @ -32..=-1 => Some((SECOND >> it.unsigned_abs()).max(1)),
        _ => None,
    }
}

/// How much a datagram looks like one that `side` would send.
fn judge(bytes: &[u8], side: Side) -> Guess {
    let Some(packet) = Packet::of(bytes) else { return Guess::No };
    let mode = packet.mode();
    let is_asking = match mode {
        CONTROL | PRIVATE => !packet.is_answer(),
        CLIENT => true,
        SERVER | PASSIVE => false,
        _ => side == Side::Client,
    };
    if is_asking != (side == Side::Client) {
        return if mode == BROADCAST { Guess::Maybe } else { Guess::No };
    }
    if packet.is_control() {
        return Guess::Maybe;
    }
    let (stratum, precision) = (packet.byte(1), packet.byte(3).cast_signed());
    let is_length = bytes.len().is_multiple_of(4);
    let is_sound = stratum <= 16 && packet.byte(2) <= 17 && (-32..=0).contains(&precision);
    if !is_length || (mode == SERVER && !is_sound) {
        return Guess::No;
    }
    let (received, sent) = (packet.u64(32), packet.transmit());
    let is_now = (FIRST_YEAR..LAST_YEAR).contains(&(received >> 32));
    // A server that has the time says when it got the question and when it answered.
    let is_prompt = received <= sent && sent - received < 1 << 32;
    let is_synchronized = (1..16).contains(&stratum) && packet.flags >> 6 != 3;
    match mode == SERVER && is_now && is_prompt && is_synchronized && precision < 0 {
        true => Guess::Sure,
        false => Guess::Maybe,
    }
}

const ACTIVE: u8 = 1;
const PASSIVE: u8 = 2;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
const BROADCAST: u8 = 5;
const CONTROL: u8 = 6;
const PRIVATE: u8 = 7;

const MODES: [&str; 8] = [
    "reserved",
    "symmetric active",
    "symmetric passive",
    "client",
    "server",
    "broadcast",
    "control",
    "private",
];

const LEAPS: [&str; 4] = ["none", "61 s", "59 s", "unsynchronized"];

/// RFC 9327 §2.
const OPERATIONS: [&str; 13] = [
    "UNSPEC",
    "READSTAT",
    "READVAR",
    "WRITEVAR",
    "READCLOCK",
    "WRITECLOCK",
    "SETTRAP",
    "ASYNCMSG",
    "CONFIGURE",
    "SAVECONFIG",
    "READ_MRU",
    "READ_ORDLIST",
    "REQ_NONCE",
];

/// What every message but control ones has.
const PLAIN_BYTES: usize = 48;
const CONTROL_BYTES: usize = 12;
const PRIVATE_BYTES: usize = 8;

/// With a key and the longest digest in use.
const KEPT_BYTES: usize = 128;

/// Seconds from 1900 to 1970.
const UNIX_EPOCH: i64 = 2_208_988_800;

/// 1990 and 2036 in seconds since 1900: what a clock in use may say.
const FIRST_YEAR: u64 = 2_840_140_800;
const LAST_YEAR: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive;

    fn packet(mode: u8, stratum: u8, id: &[u8; 4], stamps: [u64; 4]) -> Vec<u8> {
        let mut bytes = vec![4 << 3 | mode, stratum, 6, 0xe9, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(id);
        bytes.extend(stamps.iter().flat_map(|it| it.to_be_bytes()));
        bytes
    }

    fn rows(steps: &[drive::Step]) -> Vec<String> {
        let rows = drive::datagrams::<Dissector>(steps);
        let text = |row: &serde_json::Value, name: &str| match &row[name] {
            serde_json::Value::String(it) => it.clone(),
            other => other.to_string(),
        };
        let names = ["verb", "target", "status", "error", "processing"];
        rows.iter().map(|row| names.map(|it| text(row, it)).join(" ")).collect()
    }

    /// 2024 and a bit.
    const NOW: u64 = 3_913_056_000 << 32;

    #[test]
    fn answers_find_their_questions_by_time() {
        let (first, second) = (NOW | 1, NOW | 2);
        let answer = |to| packet(4, 1, b"GPS\0", [NOW, to, NOW, NOW + (1 << 31)]);
        let steps = [
            drive::client(packet(3, 0, &[0; 4], [0, 0, 0, first])),
            drive::client(packet(3, 0, &[0; 4], [0, 0, 0, second])),
            drive::server(answer(second)),
            drive::server(answer(NOW | 3)),
            drive::server(packet(4, 0, b"RATE", [0, first, first, first])),
        ];
        let expected = [
            "client GPS 1 null 500000000",
            "server GPS 1 null 500000000",
            "client RATE 0 kiss of death: RATE 0",
        ];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn what_is_broadcast_tells_the_time() {
        let steps = [drive::client(packet(5, 2, &[192, 0, 2, 9], [NOW, 0, 0, NOW]))];
        assert_eq!(rows(&steps), ["broadcast 192.0.2.9 2 null null"]);
    }

    #[test]
    fn stamps_are_read_in_both_eras() {
        assert_eq!(time(0), None);
        assert_eq!(time((UNIX_EPOCH as u64) << 32 | 1 << 31), Some(SECOND / 2));
        assert_eq!(time(1 << 32), Some(((1 << 32) + 1 - UNIX_EPOCH) * SECOND));
        assert_eq!(power(0xec), Some(953));
        assert_eq!(power(6), Some(64 * SECOND));
        assert_eq!(power(99), None);
    }

    #[test]
    fn recognised_by_content() {
        let answer = packet(4, 1, b"GPS\0", [NOW, NOW, NOW, NOW]);
        assert_eq!(judge(&answer, Side::Server), Guess::Sure);
        assert_eq!(judge(&answer, Side::Client), Guess::No);
        assert_eq!(judge(&packet(3, 0, &[0; 4], [0; 4]), Side::Client), Guess::Maybe);
        assert_eq!(judge(&answer[..47], Side::Server), Guess::No);
        assert_eq!(judge(&packet(4, 1, &[0; 4], [0; 4]), Side::Server), Guess::Maybe);
        assert_eq!(judge(&[0; 48], Side::Client), Guess::No);
    }
}
