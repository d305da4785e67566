//! What a request or response is in every version of HTTP, and the rows it becomes.
//!
//! It is kept as its head and its payload. HTTP/1 sends the head as it is kept; HTTP/2's is put
//! into the same shape when it is decompressed.
use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem};
use schema::value::{Body, Headers, Label, Size, text};

use super::{names, request_line, status_line};
use crate::body::{Opened, Payload, decompress};
use crate::exchange::{Exchange, Side, Summary};
use crate::limits::Limits;
use crate::protocol::{graphql, grpc, sse, websocket};
use crate::tables::Also;

/// Requests and responses of HTTP, whatever its version. `verb` is the method, `target` the request's
/// target as sent, `status` the status code; a status from 400 on counts as failed.
#[derive(schema::Record)]
pub(in crate::protocol) struct Http<'a> {
    /// The protocol's version, such as `1.1` or `2` (OpenTelemetry `network.protocol.version`).
    pub(in crate::protocol) version: Label<'a>,
    /// The host asked for, with its port if one was sent: from the target, else the header `host`.
    pub(in crate::protocol) host: Option<Label<'a>>,
    /// The target's path (OpenTelemetry `url.path`); null for `CONNECT`.
    pub(in crate::protocol) path: Option<Cow<'a, str>>,
    /// The target's query without its `?` (OpenTelemetry `url.query`).
    pub(in crate::protocol) query: Option<Cow<'a, str>>,
    /// What the client says it is (OpenTelemetry `user_agent.original`).
    pub(in crate::protocol) user_agent: Option<Cow<'a, str>>,
    /// What the server says of the status, such as `Not Found`.
    pub(in crate::protocol) reason: Option<Label<'a>>,
    /// The request's headers as sent, then its trailers; of HTTP/2 without those that begin with a
    /// colon, but with `:authority` as `host` (OpenTelemetry `http.request.header.<name>`). Of
    /// `authorization` and `proxy-authorization`, only the scheme: `Bearer ***`.
    pub(in crate::protocol) request_headers: Option<Headers<'a>>,
    /// The cookies the client sent, by name.
    pub(in crate::protocol) request_cookies: Option<Headers<'a>>,
    /// The media type of the request's body, from its header `content-type`.
    pub(in crate::protocol) request_content_type: Option<Label<'a>>,
    /// The start of the request's body, decompressed.
    pub(in crate::protocol) request_body: Option<Body<'a>>,
    /// The size of the request's body as sent, without chunk headers (OpenTelemetry `http.request.body.size`).
    pub(in crate::protocol) request_body_bytes: Option<Size>,
    /// Whether `request_body` is not all of it.
    pub(in crate::protocol) request_body_truncated: bool,
    /// The response's headers as sent, then its trailers (OpenTelemetry `http.response.header.<name>`).
    pub(in crate::protocol) response_headers: Option<Headers<'a>>,
    /// The cookies the server set, by name; their attributes stand in the header `set-cookie`.
    pub(in crate::protocol) response_cookies: Option<Headers<'a>>,
    /// The media type of the response's body, from its header `content-type`.
    pub(in crate::protocol) response_content_type: Option<Label<'a>>,
    /// The start of the response's body, decompressed.
    pub(in crate::protocol) response_body: Option<Body<'a>>,
    /// The size of the response's body as sent, without chunk headers (OpenTelemetry `http.response.body.size`).
    pub(in crate::protocol) response_body_bytes: Option<Size>,
    /// Whether `response_body` is not all of it.
    pub(in crate::protocol) response_body_truncated: bool,
    /// The stream it had on its connection; null before HTTP/2.
    pub(in crate::protocol) stream: Option<u64>,
}

/// A request or response, as it is kept until its row is written.
#[derive(Debug)]
pub(in crate::protocol) struct Sent {
    /// The first line, the headers and the trailers, without the empty line. HTTP/2's first line
    /// is the method and the target, or the status.
    pub(in crate::protocol) head: Vec<u8>,
    pub(in crate::protocol) payload: Payload,
    /// When the parts of the payload came, where that is of interest.
    pub(in crate::protocol) timed: Option<Box<Timed>>,
    /// Bytes that the payload may grow to when opened.
    pub(in crate::protocol) decompressed_bytes: usize,
    /// The HTTP/2 stream; zero before.
    pub(in crate::protocol) stream: u32,
    /// Who ended the HTTP/2 stream early, and with which code.
    pub(in crate::protocol) reset: Option<(Side, u32)>,
    /// The request, if it came before an upgrade.
    pub(in crate::protocol) asked: Option<Box<Self>>,
}

/// When the parts of a payload came.
#[derive(Debug)]
pub(in crate::protocol) enum Timed {
    /// Server-sent events.
    Events(sse::Stream),
    /// gRPC messages.
    Calls(grpc::Framing),
    /// Of a response that goes on: events that have come.
    Told(Vec<sse::Event>),
    /// Of a stream that goes on: frames of WebSocket that have come.
    Frames(Vec<websocket::Shown>),
}

impl Sent {
    pub(in crate::protocol) fn new(head: Vec<u8>, stream: u32, limits: &Limits) -> Self {
        Self {
            head,
            payload: Payload::default(),
            timed: None,
            decompressed_bytes: limits.decompressed_bytes,
            stream,
            reset: None,
            asked: None,
        }
    }

    /// Says what the payload is. Of some it matters when their parts come.
    pub(in crate::protocol) fn expect_type(&mut self, content_type: &[u8]) {
        if is_type(content_type, EVENTS) {
            let coded = split_head(&self.head).1.any(|(name, value)| {
                let plain = [&b"chunked"[..], b"identity"];
                let coding = name.eq_ignore_ascii_case(b"content-encoding")
                    || name.eq_ignore_ascii_case(b"transfer-encoding");
                coding
                    && list(&value)
                        .any(|it| !plain.iter().any(|name| it.eq_ignore_ascii_case(name)))
            });
            self.timed = Some(Box::new(Timed::Events(sse::Stream::new(coded))));
        } else if is_type(content_type, GRPC) && !is_type(content_type, GRPC_TEXT) {
            self.timed = Some(Box::new(Timed::Calls(grpc::Framing::default())));
        }
    }

    /// Adds a part of the payload.
    pub(in crate::protocol) fn push(&mut self, bytes: &[u8], limit: usize, ts: i64) {
        match self.timed.as_deref_mut() {
            None => {}
            Some(Timed::Calls(framing)) => framing.push(bytes, self.payload.size(), ts),
            Some(Timed::Events(stream)) => stream.push(bytes, Some(ts)),
            Some(Timed::Told(_) | Timed::Frames(_)) => {}
        }
        self.payload.push(bytes, limit);
    }

    /// What of the payload is to be told before it ends; see [`Message::part`].
    pub(in crate::protocol) fn part(&mut self) -> Option<Self> {
        let Some(Timed::Events(stream)) = self.timed.as_deref_mut() else { return None };
        let events = stream.take();
        (!events.is_empty()).then(|| Self::told(self.stream, Timed::Told(events)))
    }

    /// What has come so far on a stream.
    pub(in crate::protocol) fn told(stream: u32, timed: Timed) -> Self {
        Self {
            head: Vec::new(),
            payload: Payload::default(),
            timed: Some(Box::new(timed)),
            decompressed_bytes: 0,
            stream,
            reset: None,
            asked: None,
        }
    }

    /// The payload has ended.
    pub(in crate::protocol) fn end(&mut self) {
        if let Some(Timed::Events(stream)) = self.timed.as_deref_mut() {
            stream.end();
        }
    }

    /// Counts bytes of the payload that were not captured.
    pub(in crate::protocol) fn skip(&mut self, missing: u64) {
        match self.timed.as_deref_mut() {
            Some(Timed::Calls(framing)) => framing.skip(missing),
            Some(Timed::Events(stream)) => stream.cut(),
            _ => {}
        }
        self.payload.skip(missing);
    }

    /// Says that parts of the payload are missing, however many.
    pub(in crate::protocol) fn cut(&mut self) {
        match self.timed.as_deref_mut() {
            Some(Timed::Calls(framing)) => framing.cut(),
            Some(Timed::Events(stream)) => stream.cut(),
            _ => {}
        }
        self.payload.cut();
    }

    /// About how many bytes it holds on to.
    pub(in crate::protocol) fn weight(&self) -> usize {
        let timed = self.timed.as_deref().map_or(0, |it| match it {
            Timed::Events(stream) => stream.held(),
            Timed::Calls(framing) => framing.held(),
            // Told at once, and dropped.
            Timed::Told(_) | Timed::Frames(_) => 0,
        });
        size_of::<Self>() + self.head.capacity() + self.payload.held() + timed
    }
}

/// Whether it matters when the parts of a payload of this type come.
pub(in crate::protocol) fn is_timed(content_type: &[u8]) -> bool {
    is_type(content_type, EVENTS) || is_type(content_type, GRPC)
}

fn is_type(value: &[u8], name: &[u8]) -> bool {
    value.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name))
}

/// What first lines say.
pub(in crate::protocol) fn summary<'a>(
    request: Option<&'a Sent>,
    response: Option<&'a Sent>,
) -> Summary<'a> {
    let request = asked(request, response);
    let reset = request.into_iter().chain(response).find_map(|it| it.reset);
    let response = answered(response);
    let (method, target, _) = request.map(Read::first_line).unwrap_or_default().request();
    let (_, status, reason) = response.map(Read::first_line).unwrap_or_default().status();
    let error = match (status, reset) {
        (_, Some((side, code))) if code != NO_ERROR || status.is_none() => {
            Some(reset_text(side, code).into())
        }
        (None, _) if response.is_none() => Some("no response".into()),
        (Some(400..), _) if !reason.is_empty() => Some(text(reason)),
        _ => None,
    };
    let failed = error.is_some() || status.is_some_and(|it| it >= 400);
    Summary { verb: text(method), target: text(target), status, failed, error }
}

/// Columns that first lines tell.
pub(in crate::protocol) const BRIEF: &[&str] =
    &["version", "path", "query", "reason", "request_body_bytes", "response_body_bytes", "stream"];

/// A request and its response, or one of them alone, as a row.
pub(in crate::protocol) fn record<'a>(
    request: Option<&'a Sent>,
    response: Option<&'a Sent>,
) -> (Summary<'a>, Http<'a>) {
    row(request, response, Read::of)
}

/// The same with no other columns than [`BRIEF`].
pub(in crate::protocol) fn brief<'a>(
    request: Option<&'a Sent>,
    response: Option<&'a Sent>,
) -> (Summary<'a>, Http<'a>) {
    row(request, response, |sent, _| Read::first_line(sent))
}

fn row<'a>(
    request: Option<&'a Sent>,
    response: Option<&'a Sent>,
    read: impl Fn(&'a Sent, &[u8]) -> Read<'a>,
) -> (Summary<'a>, Http<'a>) {
    let summary = summary(request, response);
    let request = asked(request, response);
    let stream = response.or(request).map(|it| it.stream).filter(|it| *it > 0);
    let response = answered(response);
    let asked = request.map(|it| read(it, b"cookie")).unwrap_or_default();
    let answered = response.map(|it| read(it, b"set-cookie")).unwrap_or_default();
    let (method, target, version) = asked.request();
    let (answer_version, _, reason) = answered.status();
    let target = Target::of(method, target);
    let version = match (stream, version) {
        (Some(_), _) => b"2",
        (None, b"") => answer_version,
        (None, version) => version,
    };
    let row = Http {
        version: Label(text(version)),
        host: target.authority.map(text).or(asked.host).map(Label),
        path: target.path.map(text),
        query: target.query.map(text),
        user_agent: asked.user_agent,
        reason: (!reason.is_empty()).then(|| Label(text(reason))),
        request_headers: request.map(|_| Headers(asked.headers)),
        request_cookies: (!asked.cookies.is_empty()).then_some(Headers(asked.cookies)),
        request_content_type: asked.content_type.map(Label),
        request_body: asked.body.map(Body),
        request_body_bytes: request.map(|it| Size(it.payload.size())),
        request_body_truncated: asked.truncated,
        response_headers: response.map(|_| Headers(answered.headers)),
        response_cookies: (!answered.cookies.is_empty()).then_some(Headers(answered.cookies)),
        response_content_type: answered.content_type.map(Label),
        response_body: answered.body.map(Body),
        response_body_bytes: response.map(|it| Size(it.payload.size())),
        response_body_truncated: answered.truncated,
        stream: stream.map(u64::from),
    };
    (summary, row)
}

/// The rows that an exchange gives besides its own.
pub(in crate::protocol) fn also(exchange: &Exchange<'_, Sent>, also: &mut Also<'_>) {
    let response = exchange.response;
    let request = asked(exchange.request, response);
    match response.and_then(|it| it.timed.as_deref()) {
        Some(Timed::Told(events)) => return sse::also(request, events, also),
        Some(Timed::Frames(frames)) => return websocket::also(frames, also),
        _ => {}
    }
    for sent in response.into_iter().chain(request) {
        match sent.timed.as_deref() {
            Some(Timed::Calls(_)) => return grpc::also(request, response, also),
            Some(Timed::Events(stream)) => return sse::end(request, sent, stream, also),
            Some(Timed::Told(_) | Timed::Frames(_)) | None => {}
        }
    }
    if request.into_iter().chain(response).any(names::carries) {
        names::also(request, response, also);
    }
    if request.is_some_and(graphql::asks) {
        graphql::also(request, response, also);
    }
}

/// The request; of an answer to one that came before an upgrade, that one.
fn asked<'a>(request: Option<&'a Sent>, response: Option<&'a Sent>) -> Option<&'a Sent> {
    request.or_else(|| response.and_then(|it| it.asked.as_deref()))
}

/// The answer: a stream may be reset before there is anything of one.
fn answered(response: Option<&Sent>) -> Option<&Sent> {
    response.filter(|it| it.stream == 0 || !it.head.is_empty() || it.payload.size() > 0)
}

fn reset_text(side: Side, code: u32) -> String {
    let by = match side {
        Side::Client => "client",
        Side::Server => "server",
    };
    let name = usize::try_from(code).ok().and_then(|it| RESET_CODES.get(it));
    name.map_or_else(|| format!("reset by {by}: {code}"), |it| format!("reset by {by}: {it}"))
}

/// A head's first line and its headers.
pub(in crate::protocol) fn split_head(head: &[u8]) -> (&[u8], Fields<'_>) {
    let mut rest = Fields(head);
    (rest.line().unwrap_or_default(), rest)
}

/// The headers of a head: names as sent, values without the space around them.
#[derive(Clone)]
pub(in crate::protocol) struct Fields<'a>(pub(in crate::protocol) &'a [u8]);

impl<'a> Fields<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.line()?;
            let mut parts = memchr(b':', line).and_then(|at| line.split_at_checked(at));
            let folded = |rest: &[u8]| matches!(rest, [b' ' | b'\t', ..]);
            let mut value = match &mut parts {
                Some((name, value)) => {
                    *name = name.trim_ascii();
                    Cow::Borrowed(value.get(1..).unwrap_or_default().trim_ascii())
                }
                None => Cow::default(),
            };
            // A line that begins with a space goes on with the one before.
            while folded(self.0) {
                let more = self.line().unwrap_or_default().trim_ascii();
                let value = value.to_mut();
                value.push(b' ');
                value.extend_from_slice(more);
            }
            match parts {
                Some((name, _)) if !name.is_empty() => return Some((name, value)),
                _ => {}
            }
        }
    }
}

/// The parts of a value that is a list.
pub(in crate::protocol) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|it| *it == b',').map(<[u8]>::trim_ascii).filter(|it| !it.is_empty())
}

/// What a row says of one message.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Read<'a> {
    two: bool,
    answer: bool,
    pub(in crate::protocol) line: &'a [u8],
    pub(in crate::protocol) headers: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    pub(in crate::protocol) cookies: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    pub(in crate::protocol) host: Option<Cow<'a, str>>,
    pub(in crate::protocol) user_agent: Option<Cow<'a, str>>,
    pub(in crate::protocol) content_type: Option<Cow<'a, str>>,
    pub(in crate::protocol) body: Option<Cow<'a, [u8]>>,
    pub(in crate::protocol) truncated: bool,
}

impl<'a> Read<'a> {
    /// No more than the line that it begins with.
    pub(in crate::protocol) fn first_line(sent: &'a Sent) -> Self {
        let line = split_head(&sent.head).0;
        Self { two: sent.stream > 0, answer: true, line, ..Self::default() }
    }

    /// `cookie` is the header in which this side names its cookies.
    pub(in crate::protocol) fn of(sent: &'a Sent, cookie: &[u8]) -> Self {
        let (line, fields) = split_head(&sent.head);
        let mut it = Self {
            two: sent.stream > 0,
            answer: true,
            line,
            headers: Vec::with_capacity(USUAL_HEADERS),
            ..Self::default()
        };
        let (mut contents, mut transfers) = (None, None);
        for (name, value) in fields {
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => keep(&mut it.host, value.clone()),
                10 if name.eq_ignore_ascii_case(b"user-agent") => {
                    keep(&mut it.user_agent, value.clone())
                }
                12 if name.eq_ignore_ascii_case(b"content-type") => {
                    keep(&mut it.content_type, value.clone());
                }
                16 if name.eq_ignore_ascii_case(b"content-encoding") => {
                    contents = Some(value.clone())
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    transfers = Some(value.clone());
                }
                _ if name.eq_ignore_ascii_case(cookie) => {
                    it.cookies(value.clone(), cookie == b"cookie")
                }
                _ => {}
            }
            let value = if is_secret(name) { hidden(&value) } else { value };
            it.headers.push((name, value));
        }
        let payload = &sent.payload;
        it.truncated = !payload.is_whole();
        if payload.bytes().is_empty() {
            return it;
        }
        // Codings of the content were applied before those of its transfer.
        let codings = [contents.as_deref(), transfers.as_deref()];
        let codings = codings.into_iter().flatten().flat_map(list);
        let codings: Vec<_> = codings.filter(|it| !it.eq_ignore_ascii_case(b"chunked")).collect();
        let Opened { bytes, whole } =
            decompress(&codings, payload.bytes(), sent.decompressed_bytes);
        it.body = Some(bytes);
        it.truncated |= !whole;
        it
    }

    /// Method, target and version.
    pub(in crate::protocol) fn request(&self) -> (&'a [u8], &'a [u8], &'a [u8]) {
        if !self.two {
            return request_line(self.line).unwrap_or_default();
        }
        let at = memchr(b' ', self.line).unwrap_or(self.line.len());
        let (method, target) = self.line.split_at_checked(at).unwrap_or_default();
        (method, target.get(1..).unwrap_or_default(), b"2")
    }

    /// Version, status and reason.
    pub(in crate::protocol) fn status(&self) -> (&'a [u8], Option<i32>, &'a [u8]) {
        if !self.answer {
            return Default::default();
        }
        if self.two {
            let status = std::str::from_utf8(self.line).ok().and_then(|it| it.parse().ok());
            return (b"2", status, b"");
        }
        let (version, status, reason) = status_line(self.line).unwrap_or_default();
        (version, Some(status), reason)
    }

    /// The value of a header; names are in lower case.
    pub(in crate::protocol) fn header(&self, name: &[u8]) -> Option<&[u8]> {
        let named = |it: &&(&[u8], Cow<'a, [u8]>)| it.0.eq_ignore_ascii_case(name);
        // A trailer stands behind what it corrects.
        self.headers.iter().rev().find(named).map(|it| it.1.as_ref())
    }

    /// A client sends all its cookies in one header; a server one in each, followed by attributes.
    fn cookies(&mut self, value: Cow<'a, [u8]>, all: bool) {
        // A folded line has no bytes of its own to borrow; no one folds cookies.
        let Cow::Borrowed(value) = value else { return };
        for pair in value.split(|it| *it == b';').take(if all { usize::MAX } else { 1 }) {
            let pair = pair.trim_ascii();
            let at = memchr(b'=', pair).unwrap_or(pair.len());
            let Some((name, value)) = pair.split_at_checked(at) else { continue };
            if !pair.is_empty() {
                self.cookies.push((name, Cow::Borrowed(value.get(1..).unwrap_or_default())));
            }
        }
    }
}

/// The first of several values counts.
fn keep<'a>(to: &mut Option<Cow<'a, str>>, value: Cow<'a, [u8]>) {
    if to.is_none() {
        *to = Some(match value {
            Cow::Borrowed(value) => text(value),
            Cow::Owned(value) => Cow::Owned(text(&value).into_owned()),
        });
    }
}

/// The parts of a request's target (RFC 9112 3.2).
#[derive(Default)]
pub(in crate::protocol) struct Target<'a> {
    pub(in crate::protocol) authority: Option<&'a [u8]>,
    pub(in crate::protocol) path: Option<&'a [u8]>,
    pub(in crate::protocol) query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    pub(in crate::protocol) fn of(method: &[u8], whole: &'a [u8]) -> Self {
        if whole.is_empty() {
            return Self::default();
        }
        // One that asks for a protocol (RFC 8441) has a path.
        if method == b"CONNECT" && !whole.starts_with(b"/") {
            return Self { authority: Some(whole), ..Self::default() };
        }
        let mut rest = whole;
        let mut authority = None;
        let scheme = if whole.starts_with(b"/") { None } else { memmem::find(whole, b"://") };
        if let Some(after) = scheme.and_then(|it| whole.get(it + 3..)) {
            let end = memchr2(b'/', b'?', after).unwrap_or(after.len());
            (authority, rest) =
                after.split_at_checked(end).map_or((None, rest), |it| (Some(it.0), it.1));
        }
        let end = memchr(b'?', rest).unwrap_or(rest.len());
        let (path, query) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        let path = if path.is_empty() { b"/" } else { path };
        Self { authority, path: Some(path), query: query.get(1..) }
    }
}

/// RFC 9113 7.
const RESET_CODES: &[&str] = &[
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

const NO_ERROR: u32 = 0;

const EVENTS: &[u8] = b"text/event-stream";

const GRPC: &[u8] = b"application/grpc";

/// In base64, which we leave as it is.
const GRPC_TEXT: &[u8] = b"application/grpc-web-text";

/// Headers whose value lets whoever reads it in.
fn is_secret(name: &[u8]) -> bool {
    matches!(name.len(), 13 | 19)
        && (name.eq_ignore_ascii_case(b"authorization")
            || name.eq_ignore_ascii_case(b"proxy-authorization"))
}

/// Of such a value, the scheme alone (RFC 9110 §11.4), such as `Bearer ***`.
fn hidden(value: &[u8]) -> Cow<'static, [u8]> {
    let scheme = value.split(|it| *it == b' ').next().filter(|it| it.len() < value.len());
    Cow::Owned([scheme.unwrap_or_default(), b" ***"].concat().trim_ascii_start().to_vec())
}

/// Headers that a message has as a rule.
const USUAL_HEADERS: usize = 16;
