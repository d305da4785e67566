//! NATS: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
use std::borrow::Cow;

use memchr::memmem;
use schema::value::{Body as Bytes, Headers, Json, Label, Size, text};

use super::common::brokers::{Members, sender, string, without_secrets};
use super::{Dissect, Guess, Head, Transport};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

/// Lines of the NATS protocol, one a row, with the message that follows a `PUB` or `MSG`. NATS pairs
/// nothing: a request's reply is a message whose subject is the request's `reply_to`. Passwords,
/// tokens and signatures are replaced by `***` before anything is kept.
#[derive(schema::Record)]
pub(super) struct Nats<'a> {
    /// The line's first word in capitals, such as `PUB`. OpenTelemetry: `messaging.operation.name`.
    operation: Label<'a>,
    /// Which side sent it: `client` or `server`.
    sender: Label<'a>,
    /// What a message is about, or a subscription asks for.
    /// OpenTelemetry: `messaging.destination.name`.
    subject: Option<Cow<'a, str>>,
    /// The subject that an answer is to be sent to.
    reply_to: Option<Cow<'a, str>>,
    /// Of a `SUB`: the group of subscribers among which one gets each message.
    /// OpenTelemetry: `messaging.consumer.group.name`.
    queue_group: Option<Cow<'a, str>>,
    /// The client's name for a subscription. OpenTelemetry: `messaging.destination.subscription.name`.
    subscription_id: Option<Cow<'a, str>>,
    /// Of an `UNSUB`: after how many messages the subscription ends.
    max_messages: Option<u64>,
    /// Headers of an `HPUB` or `HMSG`.
    headers: Option<Headers<'a>>,
    /// What the message is, as far as it was kept, without its headers.
    payload: Option<Bytes<'a>>,
    /// Bytes of the message without its headers. OpenTelemetry: `messaging.message.body.size`.
    payload_size: Option<Size>,
    /// Of an `INFO` or `CONNECT`: what the server offers or the client asks for, as it was sent.
    options: Option<Json<'a>>,
    /// Of an `INFO` or `CONNECT`: the server's or the client's name. OpenTelemetry, of a client:
    /// `messaging.client.id`.
    name: Option<Cow<'a, str>>,
    /// Of an `INFO` or `CONNECT`: version of the server's or the client's software.
    version: Option<Label<'a>>,
    /// Of a `CONNECT`: the language that the client is written in.
    language: Option<Label<'a>>,
    /// Of a `CONNECT`: whom it logs in as. OpenTelemetry: `user.name`.
    user_name: Option<Cow<'a, str>>,
}

/// What a connection is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<UnderWay>,
    server: Option<UnderWay>,
    /// A line that only NATS has was read: what else stands on a line is NATS, too.
    is_known: bool,
    /// The client has said something in clear: there will be no handshake.
    is_clear: bool,
}

/// A message that has not all arrived.
#[derive(Debug)]
struct UnderWay {
    body: Body,
    left: u64,
    incomplete: bool,
}

/// A line, and what follows it.
#[derive(Debug)]
pub(super) struct Body {
    side: Side,
    /// Without its end and without secrets.
    line: Vec<u8>,
    /// Headers and payload, up to a bound.
    payload: Payload,
}

impl Dissect for Dissector {
    const NAME: &'static str = "nats";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[4222];
    type Body = Body;
    type Columns = NatsColumns;

    fn guess(head: &Head<'_>) -> Guess {
        let greeting: &[u8] = match head.side {
            Side::Client => b"CONNECT {",
            Side::Server => b"INFO {",
        };
        if head.bytes.starts_with(greeting) {
            return Guess::Sure;
        }
        if greeting.starts_with(head.bytes) {
            return Guess::More;
        }
        let Some(end) = line_end(head.bytes) else { return Guess::No };
        let Some(line) = head.bytes.get(..end).and_then(Line::of) else { return Guess::No };
        if !line.is_from(head.side) {
            return Guess::No;
        }
        let rest = head.bytes.get(end + 2..).unwrap_or_default();
        match line.headers {
            Some(_) if rest.starts_with(b"NATS/1.0") => Guess::Sure,
            // Other protocols have such lines.
            _ if Self::PORTS.contains(&head.port) => Guess::Maybe,
            _ => Guess::No,
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        _open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        if self.half(side).is_none() {
            while input.rest().starts_with(b"\r\n") {
                input.take(2)?;
                input.commit();
            }
            let bytes = read_line(input)?;
            let line = match Line::of(bytes) {
                Some(line) if line.is_from(side) => line,
                // The server says what it thinks of it.
                _ if self.is_known && is_words(bytes) => Line::other(bytes),
                _ => return Err(Stop::Lost),
            };
            self.is_known |= line.is_telling;
            let is_options = matches!(line.verb, b"INFO" | b"CONNECT");
            let kept = match is_options {
                true => options_without_secrets(bytes),
                false => bytes.to_vec(),
            };
            let is_greeting = line.verb == b"INFO" && side == Side::Server && !self.is_clear;
            let wants_tls = is_greeting && wants_tls(bytes);
            self.is_clear |= side == Side::Client;
            let mut body = Body { side, line: kept, payload: Payload::default() };
            let Some(size) = line.size else {
                let message = Message::notice(body);
                return Ok(if wants_tls { message.becomes("tls") } else { message });
            };
            body.payload.expect(size, input.limits().body_bytes);
            *self.half(side) = Some(UnderWay { body, left: size + END, incomplete: false });
            input.commit();
        }
        let limit = input.limits().body_bytes;
        let slot = self.half(side);
        while let Some(it) = slot.as_mut().filter(|it| it.left > END) {
            let some = input.some(it.left - END)?;
            it.body.payload.push(some, limit);
            it.left -= some.len() as u64;
            input.commit();
        }
        if slot.as_ref().is_some_and(|it| it.left == END) && input.take(2)? != b"\r\n" {
            *slot = None;
            return Err(Stop::Lost);
        }
        let done = slot.take().ok_or(Stop::Lost)?;
        Ok(Message::notice(done.body).incomplete(done.incomplete))
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Nats<'_>) {
        let told = exchange.request.or(exchange.response);
        let Some(body) = told else { return (Summary::default(), empty()) };
        let line = Line::of(&body.line).unwrap_or_else(|| Line::other(&body.line));
        let verb = match line.verb {
            b"" => Cow::Owned(text(first_word(&body.line)).to_ascii_uppercase()),
            verb => text(verb),
        };
        let words = &line.words;
        let word = |place: Option<usize>| place.and_then(|it| words.get(it)).map(|it| text(it));
        let places = Places::of(line.verb, words.len());
        let subject = word(places.subject);

        let bytes = body.payload.bytes();
        let header_size = line.headers.and_then(|it| usize::try_from(it).ok()).unwrap_or_default();
        let (head, payload) = bytes.split_at_checked(header_size).unwrap_or((bytes, &[]));
        let head = line.headers.map(|_| head);
        let status = head.and_then(inline_status);
        let failure = status.as_ref().filter(|it| it.0 >= 400);
        let error = match line.verb {
            b"-ERR" => Some(text(line.rest.trim_ascii()).trim_matches('\'').to_owned().into()),
            _ => failure.map(|(code, said)| match said.is_empty() {
                true => status_name(*code).into(),
                false => said.clone(),
            }),
        };
        let members = || Members::of(line.rest);
        let said = |name: &[u8]| {
            let is_options = matches!(line.verb, b"INFO" | b"CONNECT");
            let value = members().find(|it| it.0 == name && is_options)?.1;
            string(value).filter(|it| !it.is_empty())
        };
        let is_info = line.verb == b"INFO";
        let summary = Summary {
            target: subject.clone().or_else(|| word(places.sid)).unwrap_or_default(),
            verb: verb.clone(),
            status: status.as_ref().map(|it| it.0),
            failed: error.is_some(),
            error,
        };
        let record = Nats {
            operation: Label(verb),
            sender: sender(body.side),
            reply_to: word(places.reply_to),
            queue_group: word(places.queue_group),
            subscription_id: word(places.sid),
            max_messages: places.max.and_then(|it| number(words.get(it)?)),
            headers: head.map(headers),
            payload: line.size.map(|_| Bytes(payload.into())),
            payload_size: line.size.map(|it| Size(it.saturating_sub(line.headers.unwrap_or(0)))),
            options: matches!(line.verb, b"INFO" | b"CONNECT")
                .then(|| Json(text(line.rest.trim_ascii()))),
            name: said(if is_info { b"server_name" } else { b"name" }),
            version: said(b"version").map(Label),
            language: said(b"lang").map(Label),
            user_name: said(b"user"),
            subject,
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        size_of::<Body>() + body.line.capacity() + body.payload.held()
    }

    fn held(&self) -> usize {
        let halves = [&self.client, &self.server].into_iter().flatten();
        halves.map(|it| Self::weight(&it.body)).sum()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let it = self.half(side).as_mut().filter(|it| it.left >= missing).ok_or(Stop::Lost)?;
        // The last two bytes are the line's end; they are missing with the payload's.
        it.body.payload.skip(missing.min(it.left.saturating_sub(END)));
        it.left -= missing;
        it.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.half(side) = None;
        let rest = input.rest();
        let starts = std::iter::once(0).chain(memmem::find_iter(rest, b"\r\n").map(|at| at + 2));
        let is_start = |at: &usize| {
            let line = rest.get(*at..).unwrap_or_default();
            let line = line_end(line).and_then(|end| line.get(..end));
            line.and_then(Line::of).is_some_and(|it| it.is_from(side))
        };
        let found = starts.clone().find(is_start);
        // The last line has no end yet.
        let last = starts.last().unwrap_or_default();
        let last = last.max(rest.len().saturating_sub(LINE_BYTES));
        input.take(found.unwrap_or(last))?;
        input.commit();
        if found.is_some() { Ok(()) } else { Err(Stop::More) }
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let it = self.half(side).take()?;
        Some(Message::notice(it.body).incomplete(true))
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Option<UnderWay> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// A line of the protocol, taken apart.
struct Line<'b> {
    /// In capitals; empty if it is none that we know.
    verb: &'static [u8],
    /// What follows it.
    rest: &'b [u8],
    words: Vec<&'b [u8]>,
    /// Bytes of the message that follows, with its headers.
    size: Option<u64>,
    /// Bytes of its headers.
    headers: Option<u64>,
    /// Whether only NATS has such a line.
    is_telling: bool,
}

impl<'b> Line<'b> {
    /// A line that keeps to the protocol.
    fn of(bytes: &'b [u8]) -> Option<Self> {
        let first = first_word(bytes);
        let (verb, ..) = VERBS.iter().find(|it| it.0.eq_ignore_ascii_case(first))?;
        let rest = bytes.get(first.len()..).unwrap_or_default();
        let mut line =
            Self { verb, rest, words: Vec::new(), size: None, headers: None, is_telling: true };
        match *verb {
            b"INFO" | b"CONNECT" => {
                let json = rest.trim_ascii();
                return (json.starts_with(b"{") || json == b"\"***\"").then_some(line);
            }
            b"-ERR" => return Some(line),
            _ => {}
        }
        line.words = words(rest);
        let range = match *verb {
            b"PUB" => 2..=3,
            b"HPUB" | b"MSG" => 3..=4,
            b"HMSG" => 4..=5,
            b"SUB" => 2..=3,
            b"UNSUB" => 1..=2,
            b"RMSG" | b"LMSG" => 2..=WORDS,
            b"RS+" | b"RS-" | b"LS+" | b"LS-" => 1..=4,
            _ => 0..=0,
        };
        if !range.contains(&line.words.len()) {
            return None;
        }
        line.is_telling = !range.contains(&0);
        if matches!(*verb, b"PUB" | b"HPUB" | b"MSG" | b"HMSG" | b"RMSG" | b"LMSG") {
            let size = number(line.words.last()?)?;
            line.size = Some(size).filter(|it| *it <= MESSAGE_BYTES);
            line.size?;
            if verb.first() == Some(&b'H') {
                let place = line.words.len().checked_sub(2)?;
                line.headers = number(line.words.get(place)?).filter(|it| *it <= size);
                line.headers?;
            }
        } else if *verb == b"UNSUB" && line.words.len() == 2 {
            number(line.words.last()?)?;
        }
        Some(line)
    }

    /// Any other line.
    fn other(bytes: &'b [u8]) -> Self {
        let rest = bytes.get(first_word(bytes).len()..).unwrap_or_default();
        Self { verb: b"", rest, words: Vec::new(), size: None, headers: None, is_telling: false }
    }

    /// Whether `side` may say it.
    fn is_from(&self, side: Side) -> bool {
        let known = VERBS.iter().find(|it| it.0 == self.verb);
        known.is_some_and(|it| it.1.is_none_or(|it| it == side))
    }
}

/// Which word of a line is what.
#[derive(Default)]
struct Places {
    subject: Option<usize>,
    reply_to: Option<usize>,
    queue_group: Option<usize>,
    sid: Option<usize>,
    max: Option<usize>,
}

impl Places {
    fn of(verb: &[u8], words: usize) -> Self {
        let none = Self::default();
        match verb {
            b"PUB" => Self { subject: Some(0), reply_to: (words > 2).then_some(1), ..none },
            b"HPUB" => Self { subject: Some(0), reply_to: (words > 3).then_some(1), ..none },
            b"MSG" => {
                Self { subject: Some(0), sid: Some(1), reply_to: (words > 3).then_some(2), ..none }
            }
            b"HMSG" => {
                Self { subject: Some(0), sid: Some(1), reply_to: (words > 4).then_some(2), ..none }
            }
            b"SUB" => Self {
                subject: Some(0),
                queue_group: (words > 2).then_some(1),
                sid: words.checked_sub(1),
                ..none
            },
            b"UNSUB" => Self { sid: Some(0), max: Some(1), ..none },
            // Between servers: the account comes first.
            b"RMSG" | b"RS+" | b"RS-" => Self { subject: Some(1), ..none },
            b"LMSG" | b"LS+" | b"LS-" => Self { subject: Some(0), ..none },
            _ => none,
        }
    }
}

/// The next line without its end.
fn read_line<'i>(input: &mut Input<'i>) -> Result<&'i [u8], Stop> {
    let rest = input.rest();
    let Some(end) = line_end(rest) else {
        // A wrong guess is told early, by the first word.
        let word = first_word(rest);
        let is_word = word.len() <= WORD_BYTES && word.iter().all(|it| is_word_byte(*it));
        let is_short = rest.len() < LINE_BYTES;
        return Err(if is_word && is_short { input.short() } else { Stop::Lost });
    };
    let line = input.take(end)?;
    input.take(2)?;
    Ok(line)
}

/// Where the first line's end is.
fn line_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes.get(..LINE_BYTES).unwrap_or(bytes), b"\r\n")
}

fn first_word(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|it| matches!(it, b' ' | b'\t' | b'\r' | b'\n'));
    line.get(..end.unwrap_or(line.len())).unwrap_or_default()
}

fn words(rest: &[u8]) -> Vec<&[u8]> {
    rest.split(|it| matches!(it, b' ' | b'\t')).filter(|it| !it.is_empty()).take(WORDS).collect()
}

/// Whether a line could be a verb with words behind it.
fn is_words(line: &[u8]) -> bool {
    let word = first_word(line);
    (1..=WORD_BYTES).contains(&word.len())
        && word.iter().all(|it| is_word_byte(*it))
        && line.len() < CONTROL_BYTES
        && !line.iter().any(|it| it.is_ascii_control() && *it != b'\t')
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'_')
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

fn options_without_secrets(line: &[u8]) -> Vec<u8> {
    let word = first_word(line);
    let json = line.get(word.len()..).unwrap_or_default();
    [word, b" ", &without_secrets(json, SECRETS)].concat()
}

/// Whether the server goes on only with TLS.
fn wants_tls(line: &[u8]) -> bool {
    let json = line.get(first_word(line).len()..).unwrap_or_default();
    Members::of(json).any(|it| it == (b"tls_required", b"true"))
}

/// A number and words behind `NATS/1.0`: how a server says that there is no message.
fn inline_status(head: &[u8]) -> Option<(i32, Cow<'_, str>)> {
    let line = head.split(|it| *it == b'\r').next()?.strip_prefix(b"NATS/1.0")?.trim_ascii();
    let digits = line.get(..3).filter(|it| it.iter().all(u8::is_ascii_digit))?;
    let code = number(digits).and_then(|it| i32::try_from(it).ok())?;
    Some((code, text(line.get(3..).unwrap_or_default().trim_ascii())))
}

fn status_name(code: i32) -> &'static str {
    match code {
        400 => "Bad Request",
        404 => "No Messages",
        408 => "Request Timeout",
        409 => "Consumer Deleted",
        503 => "No Responders",
        _ => "Error",
    }
}

fn headers(head: &[u8]) -> Headers<'_> {
    let lines =
        head.split(|it| *it == b'\n').skip(1).map(|it| it.strip_suffix(b"\r").unwrap_or(it));
    let fields = lines.filter_map(|line| {
        let colon = line.iter().position(|it| *it == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        Some((name.trim_ascii(), value.get(1..)?.trim_ascii().into()))
    });
    Headers(fields.take(HEADERS).collect())
}

fn empty() -> Nats<'static> {
    Nats {
        operation: "".into(),
        sender: sender(Side::Client),
        subject: None,
        reply_to: None,
        queue_group: None,
        subscription_id: None,
        max_messages: None,
        headers: None,
        payload: None,
        payload_size: None,
        options: None,
        name: None,
        version: None,
        language: None,
        user_name: None,
    }
}

/// What may stand at a line's start, and who says so. The last ones pass between servers.
const VERBS: &[(&[u8], Option<Side>)] = &[
    (b"PUB", Some(Side::Client)),
    (b"HPUB", Some(Side::Client)),
    (b"SUB", Some(Side::Client)),
    (b"UNSUB", Some(Side::Client)),
    (b"CONNECT", None),
    (b"INFO", None),
    (b"MSG", Some(Side::Server)),
    (b"HMSG", None),
    (b"PING", None),
    (b"PONG", None),
    (b"+OK", Some(Side::Server)),
    (b"-ERR", None),
    (b"RMSG", None),
    (b"RS+", None),
    (b"RS-", None),
    (b"LMSG", None),
    (b"LS+", None),
    (b"LS-", None),
];

/// Members of a `CONNECT` that let someone in.
const SECRETS: &[&[u8]] =
    &[b"pass", b"password", b"auth_token", b"token", b"jwt", b"sig", b"proxy_sig", b"seed"];

/// Bytes of a line's end.
const END: u64 = 2;

/// Bytes of a line; an INFO names all servers of a cluster.
const LINE_BYTES: usize = 64 << 10;

/// Bytes of a line that we do not know.
const CONTROL_BYTES: usize = 4 << 10;

/// Bytes of a message: what a server may be told to take at most.
const MESSAGE_BYTES: u64 = 64 << 20;

/// Bytes of a line's first word.
const WORD_BYTES: usize = 16;

/// Words of a line.
const WORDS: usize = 64;

/// Headers of a message.
const HEADERS: usize = 256;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    fn rows(steps: &[Step]) -> Vec<Value> {
        drive::however_cut::<Dissector>(steps)
    }

    /// Of each row, what the columns named say.
    fn columns(rows: &[Value], names: &[&str]) -> Value {
        rows.iter().map(|row| names.iter().map(|it| row[it].clone()).collect::<Value>()).collect()
    }

    #[test]
    fn each_line_is_a_row() {
        let rows = rows(&[
            server("INFO {\"server_name\":\"n1\",\"version\":\"2.9.1\"} \r\n"),
            client("CONNECT {\"lang\":\"go\",\"user\":\"me\",\"pass\":\"secret\"}\r\nping\r\n"),
            server("PONG\r\n+OK\r\n"),
            client("SUB a.> group 7\r\nUNSUB 7 5\r\n"),
            client("PUB\ta.b  _INBOX.1 5\r\nhello\r\n"),
            server("MSG a.b 7 _INBOX.1 5\r\nhello\r\n-ERR 'Slow Consumer'\r\n"),
        ]);
        let names =
            ["verb", "sender", "target", "subscription_id", "queue_group", "reply_to", "payload"];
        assert_eq!(
            columns(&rows, &names),
            json!([
                ["INFO", "server", "", null, null, null, null],
                ["CONNECT", "client", "", null, null, null, null],
                ["PING", "client", "", null, null, null, null],
                ["PONG", "server", "", null, null, null, null],
                ["+OK", "server", "", null, null, null, null],
                ["SUB", "client", "a.>", "7", "group", null, null],
                ["UNSUB", "client", "7", "7", null, null, null],
                ["PUB", "client", "a.b", null, null, "_INBOX.1", "68656c6c6f"],
                ["MSG", "server", "a.b", "7", null, "_INBOX.1", "68656c6c6f"],
                ["-ERR", "server", "", null, null, null, null],
            ])
        );
        assert_eq!(rows[1]["options"], r#"{"lang":"go","user":"me","pass":"***"}"#);
        assert_eq!(
            columns(&rows[..2], &["name", "version", "user_name"]),
            json!([["n1", "2.9.1", null], [null, null, "me"]])
        );
        assert_eq!(
            (&rows[6]["max_messages"], &rows[9]["error"]),
            (&json!(5), &json!("Slow Consumer"))
        );
    }

    #[test]
    fn headers_are_split_off() {
        let rows = rows(&[
            client("HPUB a 22 27\r\nNATS/1.0\r\nTrace: t\r\n\r\nhello\r\n"),
            server("HMSG b 1 30 30\r\nNATS/1.0 503 No Responders\r\n\r\n\r\n"),
        ]);
        assert_eq!(rows[0]["headers"], json!({"trace": "t"}));
        assert_eq!(
            columns(&rows, &["payload_size", "status", "error"]),
            json!([[5, null, null], [0, 503, "No Responders"]])
        );
    }

    #[test]
    fn a_server_that_wants_tls_gets_it() {
        let rows = rows(&[server("INFO {\"tls_required\":true}\r\n"), client(b"\x16\x03\x01")]);
        assert_eq!(rows[1], "becomes tls");
    }

    #[test]
    fn unknown_words_are_rows_where_nats_is_spoken() {
        let rows = rows(&[
            client("SUB a 1\r\n\r\nbogus x\r\n"),
            server("-ERR 'Unknown Protocol Operation'\r\n"),
        ]);
        assert_eq!(
            columns(&rows, &["verb", "failed"]),
            json!([["SUB", null], ["BOGUS", null], ["-ERR", true]])
        );
        assert_eq!(self::rows(&[client("EHLO a\r\n")]), ["lost"]);
        assert_eq!(self::rows(&[client("PUB a x\r\n")]), ["lost"]);
    }

    #[test]
    fn loss_costs_what_it_touches() {
        let rows = rows(&[
            client("PUB a 10\r\n01234"),
            Step::Loses(Side::Client, 3),
            client("89\r\nPUB b 3\r\nab"),
            Step::Loses(Side::Client, 30),
            client("some text\r\nSUB c\r\nSUB d 1\r\n"),
        ]);
        assert_eq!(
            columns(&rows, &["verb", "target", "payload_size", "incomplete"]),
            json!([["PUB", "a", 10, true], ["PUB", "b", 3, true], ["SUB", "d", null, null]])
        );
    }

    #[test]
    fn long_payloads_are_cut_and_counted() {
        let text = [&b"PUB a 200000\r\n"[..], &[b'x'; 200_000], b"\r\nPING\r\n"].concat();
        let rows = drive::stream::<Dissector>(&[client(&text)], 1000);
        assert_eq!(rows[0]["payload_size"], 200_000);
        assert_eq!(rows[0]["payload"].as_str().unwrap().len(), 2 * (64 << 10));
        assert_eq!(rows[1]["verb"], "PING");
    }

    #[test]
    fn only_its_own_bytes_are_taken_for_it() {
        let guess = |text: &str, side, port| {
            Dissector::guess(&Head {
                bytes: text.as_bytes(),
                side,
                transport: Transport::Tcp,
                port,
            })
        };
        assert_eq!(guess("INFO {\"a\"", Side::Server, 1), Guess::Sure);
        assert_eq!(guess("CONNECT {", Side::Client, 1), Guess::Sure);
        assert_eq!(guess("CONNECT example.org:443 HTTP/1.1\r\n", Side::Client, 4222), Guess::No);
        assert_eq!(guess("CONN", Side::Client, 1), Guess::More);
        assert_eq!(guess("PING\r\n", Side::Client, 6379), Guess::No);
        assert_eq!(guess("PING\r\n", Side::Client, 4222), Guess::Maybe);
        assert_eq!(guess("MSG a 1 2\r\nab\r\n", Side::Client, 4222), Guess::No);
        assert_eq!(guess("HMSG a 1 12 12\r\nNATS/1.0\r\n\r\n\r\n", Side::Server, 1), Guess::Sure);
    }
}
