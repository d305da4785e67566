//! gRPC over HTTP/2, and gRPC-Web: messages with a length, and a status in the trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
mod protobuf;

use std::borrow::Cow;

use schema::value::{Headers, Json, Label, Size, text};

use super::http::json::{is_secret, quote};
use super::http::message::{Fields, Read, Sent, Target, Timed};
use crate::body::decompress;
use crate::exchange::Summary;
use crate::tables::Also;

/// gRPC calls; each is a row of `http`, too. `verb` is the method, `target` the service, `status`
/// gRPC's own code; every code but 0 counts as failed.
#[derive(schema::Record)]
pub(super) struct Grpc<'a> {
    /// The service with its package, such as `helloworld.Greeter` (OpenTelemetry `rpc.service`).
    service: Label<'a>,
    /// The method (OpenTelemetry `rpc.method`).
    method: Label<'a>,
    /// The status by name, such as `NOT_FOUND`; null if none was sent (OpenTelemetry `rpc.response.status_code`).
    status_name: Option<Label<'a>>,
    /// What the server says of the status.
    message: Option<Cow<'a, str>>,
    /// How long the client would wait, such as `10S` or `500m`.
    timeout: Option<Label<'a>>,
    /// What the client says it is (OpenTelemetry `user_agent.original`).
    user_agent: Option<Cow<'a, str>>,
    /// How messages are encoded, from the header `content-type`.
    content_type: Option<Label<'a>>,
    /// How the client compresses its messages.
    request_encoding: Option<Label<'a>>,
    /// How many messages the client sent.
    request_messages: Option<u64>,
    /// The size of the client's messages as sent, without their lengths.
    request_message_bytes: Option<Size>,
    /// What the client sent beside its messages; values that look like secrets by name are `***`
    /// (OpenTelemetry `rpc.request.metadata.<key>`).
    request_metadata: Option<Headers<'a>>,
    /// How the server compresses its messages.
    response_encoding: Option<Label<'a>>,
    /// How many messages the server sent.
    response_messages: Option<u64>,
    /// The size of the server's messages as sent, without their lengths.
    response_message_bytes: Option<Size>,
    /// What the server sent beside its messages, before and after them (OpenTelemetry `rpc.response.metadata.<key>`).
    response_metadata: Option<Headers<'a>>,
    /// Whether any message was compressed.
    compressed: bool,
    /// The messages in the order in which they were sent: `from` (`client` or `server`), `offset`
    /// (nanoseconds after `ts`), `size` (bytes as sent), and `body`, with protobuf's field numbers
    /// as names, as no schema is known.
    messages: Option<Json<'a>>,
    /// Whether `messages` lacks some, or some bodies.
    messages_truncated: bool,
}

/// Finds messages in a payload as it comes.
#[derive(Debug, Default)]
pub(super) struct Framing {
    head: [u8; HEAD_BYTES],
    have: usize,
    left: u64,
    begun: i64,
    list: Vec<Framed>,
    count: u64,
    bytes: u64,
    compressed: bool,
    /// Of gRPC-Web, where the trailers stand.
    trailers: Option<(u64, u64)>,
    /// Where the next message begins is not known any more.
    broken: bool,
}

/// One message.
#[derive(Clone, Copy, Debug)]
struct Framed {
    ts: i64,
    /// Where it stands in the payload.
    at: u64,
    size: u64,
    compressed: bool,
}

impl Framing {
    /// The payload goes on with these bytes, which begin `at` there.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut at: u64, ts: i64) {
        while !bytes.is_empty() && !self.broken {
            if self.left > 0 {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(n..).unwrap_or_default();
                self.left -= n as u64;
                at += n as u64;
                continue;
            }
            if self.have == 0 {
                self.begun = ts;
            }
            if let (Some((byte, rest)), Some(to)) =
                (bytes.split_first(), self.head.get_mut(self.have))
            {
                *to = *byte;
                bytes = rest;
                at += 1;
                self.have += 1;
            }
            if self.have == HEAD_BYTES {
                self.have = 0;
                let [flags, size @ ..] = self.head;
                self.begin(flags, u64::from(u32::from_be_bytes(size)), at);
            }
        }
    }

    fn begin(&mut self, flags: u8, size: u64, at: u64) {
        self.left = size;
        match flags {
            0 | 1 => {
                self.count += 1;
                self.bytes += size;
                self.compressed |= flags == 1;
                if self.list.len() < MOST_MESSAGES {
                    self.list.push(Framed { ts: self.begun, at, size, compressed: flags == 1 });
                }
            }
            0x80 | 0x81 => self.trailers = Some((at, size)),
            _ => self.broken = true,
        }
    }

    /// So many bytes were not captured.
    pub(super) fn skip(&mut self, missing: u64) {
        match self.left.checked_sub(missing) {
            Some(left) => self.left = left,
            None => self.broken = true,
        }
    }

    /// Some bytes were not captured.
    pub(super) fn cut(&mut self) {
        self.broken = true;
    }

    /// About how many bytes it holds on to.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.list.capacity() * size_of::<Framed>()
    }
}

/// The row of a call.
pub(super) fn also(request: Option<&Sent>, response: Option<&Sent>, also: &mut Also<'_>) {
    let asked = request.map(|it| Read::of(it, b"")).unwrap_or_default();
    let answered = response.map(|it| Read::of(it, b"")).unwrap_or_default();
    let (method, target, _) = asked.request();
    let path = Target::of(method, target).path.unwrap_or_default();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let at = memchr::memrchr(b'/', path).unwrap_or_default();
    let (service, method) = path.split_at_checked(at).unwrap_or_default();
    let method = method.strip_prefix(b"/").unwrap_or(method);

    let (asks, answers) = (request.and_then(framing), response.and_then(framing));
    let web =
        response.zip(answers).and_then(|(sent, it)| web_trailers(sent, it)).unwrap_or_default();
    let trailer = |name: &[u8]| {
        let named = Fields(web).find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1);
        named.or_else(|| answered.header(name).map(Cow::Borrowed))
    };
    let status = trailer(b"grpc-status");
    let status: Option<i32> =
        status.as_deref().and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
    let message =
        trailer(b"grpc-message").map(|it| percent_decoded(&it)).filter(|it| !it.is_empty());
    let name = status.and_then(|it| STATUS.get(usize::try_from(it).ok()?));
    let reset = request.into_iter().chain(response).find_map(|it| it.reset);

    let error = match (status, reset) {
        (Some(0), _) => None,
        (Some(code), _) => Some(message.clone().unwrap_or_else(|| {
            name.map_or_else(|| format!("status {code}"), |it| (*it).to_owned())
        })),
        (None, Some(_)) => Some("reset before a status was sent".to_owned()),
        (None, None) if response.is_none() => Some("no response".to_owned()),
        (None, None) => match answered.status().1 {
            Some(200) | None => Some("no status".to_owned()),
            Some(http) => Some(format!("HTTP status {http}")),
        },
    };
    let summary = Summary {
        verb: text(method),
        target: text(service),
        status,
        failed: error.is_some(),
        error: error.map(Cow::Owned),
    };
    let encoding = |read: &Read<'_>| read.header(b"grpc-encoding").map(|it| text(it).into_owned());
    let (request_encoding, response_encoding) = (encoding(&asked), encoding(&answered));
    let mut list = List { out: "[".to_owned(), ts: also.ts(), cut: false };
    let parts = [
        (request, asks, request_encoding.as_deref(), "client"),
        (response, answers, response_encoding.as_deref(), "server"),
    ];
    list.write(parts);
    let row = Grpc {
        service: Label(text(service)),
        method: Label(text(method)),
        status_name: name.map(|it| Label(Cow::Borrowed(it))),
        message: message.map(Cow::Owned),
        timeout: asked.header(b"grpc-timeout").map(|it| Label(text(it))),
        user_agent: asked.user_agent.as_deref().map(Cow::Borrowed),
        content_type: asked
            .content_type
            .as_deref()
            .or(answered.content_type.as_deref())
            .map(|it| Label(Cow::Borrowed(it))),
        request_encoding: request_encoding.as_deref().map(Label::from),
        request_messages: asks.map(|it| it.count),
        request_message_bytes: asks.map(|it| Size(it.bytes)),
        request_metadata: metadata(&asked),
        response_encoding: response_encoding.as_deref().map(Label::from),
        response_messages: answers.map(|it| it.count),
        response_message_bytes: answers.map(|it| Size(it.bytes)),
        response_metadata: metadata(&answered),
        compressed: asks.into_iter().chain(answers).any(|it| it.compressed),
        messages_truncated: list.cut,
        messages: (list.out.len() > 1).then(|| Json(Cow::Owned(list.out + "]"))),
    };
    also.row::<GrpcColumns>("grpc", summary, row);
}

fn framing(sent: &Sent) -> Option<&Framing> {
    match sent.timed.as_deref() {
        Some(Timed::Calls(framing)) => Some(framing),
        _ => None,
    }
}

/// gRPC-Web sends its trailers as a last message.
fn web_trailers<'a>(sent: &'a Sent, framing: &Framing) -> Option<&'a [u8]> {
    let (at, size) = framing.trailers?;
    part(sent, at, size)
}

/// A part of the payload, if it was kept.
fn part(sent: &Sent, at: u64, size: u64) -> Option<&[u8]> {
    let (at, size) = (usize::try_from(at).ok()?, usize::try_from(size).ok()?);
    sent.payload.bytes().get(at..at.checked_add(size)?)
}

/// Headers that are not the protocol's own.
fn metadata<'a>(read: &'a Read<'_>) -> Option<Headers<'a>> {
    let own = |name: &[u8]| OWN.contains(&name) || name.starts_with(b"grpc-");
    let custom = read.headers.iter().filter(|it| !own(it.0) || it.0.ends_with(b"-bin"));
    let value = |it: &'a (&[u8], Cow<'_, [u8]>)| -> &'a [u8] {
        if is_secret(it.0) { b"***" } else { it.1.as_ref() }
    };
    let custom: Vec<_> = custom.map(|it| (it.0, Cow::Borrowed(value(it)))).collect();
    (!custom.is_empty()).then_some(Headers(custom))
}

/// What stands in a header for bytes it cannot hold.
fn percent_decoded(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let decoded =
            digits.and_then(|it| u8::from_str_radix(it, 16).ok()).filter(|_| *byte == b'%');
        out.push(decoded.unwrap_or(*byte));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    text(&out).into_owned()
}

/// The messages of a call as JSON.
struct List {
    out: String,
    ts: i64,
    cut: bool,
}

type Half<'a> = (Option<&'a Sent>, Option<&'a Framing>, Option<&'a str>, &'static str);

impl List {
    fn write(&mut self, [client, server]: [Half<'_>; 2]) {
        let of = |half: &Half<'_>| half.1.map_or(&[][..], |it| it.list.as_slice()).to_vec();
        let (asks, answers) = (of(&client), of(&server));
        let (mut asks, mut answers) = (asks.iter().peekable(), answers.iter().peekable());
        loop {
            let first = match (asks.peek(), answers.peek()) {
                (Some(a), Some(b)) => a.ts <= b.ts,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            let (half, framed) =
                if first { (&client, asks.next()) } else { (&server, answers.next()) };
            let Some(framed) = framed else { break };
            if self.out.len() > JSON_BYTES {
                self.cut = true;
                break;
            }
            self.one(half, framed);
        }
        for (_, framing, ..) in [client, server] {
            self.cut |= framing.is_some_and(|it| it.broken || it.count > it.list.len() as u64);
        }
    }

    fn one(&mut self, (sent, _, encoding, from): &Half<'_>, framed: &Framed) {
        let Framed { ts, at, size, compressed } = *framed;
        if self.out.len() > 1 {
            self.out.push(',');
        }
        let offset = ts - self.ts;
        self.out.push_str(&format!("{{\"from\":\"{from}\",\"offset\":{offset},\"size\":{size}"));
        let Some((sent, bytes)) = sent.and_then(|it| Some((it, part(it, at, size)?))) else {
            self.cut = true;
            self.out.push('}');
            return;
        };
        let codings = [encoding.unwrap_or_default().as_bytes()];
        let codings = if compressed { &codings[..] } else { &[] };
        let opened = decompress(codings, bytes, sent.decompressed_bytes);
        let before = self.out.len();
        self.out.push_str(",\"body\":");
        // What is left compressed, or was cut, is no message of ours to read.
        let readable = opened.whole && (!compressed || matches!(opened.bytes, Cow::Owned(_)));
        let written = readable && protobuf::write(&opened.bytes, &mut self.out);
        if !written {
            match std::str::from_utf8(&opened.bytes) {
                Ok(text) if readable => quote(text, &mut self.out),
                _ => {
                    self.out.truncate(before);
                    self.cut = true;
                }
            }
        }
        self.out.push('}');
    }
}

/// The codes by name.
const STATUS: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Headers of HTTP that every call has.
const OWN: &[&[u8]] = &[b"content-type", b"te", b"user-agent", b"host", b"accept-encoding"];

/// A flag and a length.
const HEAD_BYTES: usize = 5;

/// Messages of one side of a call of which more is kept than their number.
const MOST_MESSAGES: usize = 1024;

/// Of a call's messages as JSON, more or less.
const JSON_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let payload =
            [&[0, 0, 0, 0, 3][..], b"abc", &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat();
        for piece in 1..payload.len() {
            let mut framing = Framing::default();
            let mut at = 0;
            for part in payload.chunks(piece) {
                framing.push(part, at, i64::try_from(at).unwrap());
                at += part.len() as u64;
            }
            let found: Vec<_> =
                framing.list.iter().map(|it| (it.at, it.size, it.compressed)).collect();
            assert_eq!(found, [(5, 3, false), (13, 0, true), (18, 256, false)], "{piece}");
            assert_eq!((framing.count, framing.bytes), (3, 259));
            assert!(framing.compressed && !framing.broken);
        }
        let mut framing = Framing::default();
        framing.push(&[0, 0, 0, 0, 10, 1, 2], 0, 0);
        framing.skip(8);
        framing.push(&[0, 0, 0, 0, 0], 15, 0);
        assert_eq!((framing.count, framing.broken), (2, false));
        framing.push(b"nonsense", 20, 0);
        assert!(framing.broken);
    }

    #[test]
    fn texts_are_decoded() {
        assert_eq!(percent_decoded(b"no%20%C3%A9 100%"), "no \u{e9} 100%");
    }
}
