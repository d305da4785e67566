//! SIP over UDP and TCP: RFC 3261, with session descriptions of RFC 8866.
use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::{memchr, memmem};
use rustc_hash::{FxHashMap, FxHasher};
use schema::value::{Body, Headers, Label, Size, Texts, text};

use super::common::fields::{Fields, head_end};
use super::{Dissect, Guess, Head, Transport};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Moment, Open, Side, Summary};
use crate::input::{Input, Stop};

/// Requests of calls and registrations with their final responses. `verb` is the method, `target`
/// the request's URI, `status` the status code; from 300 on it counts as failed, but for the 401 and
/// 407 that ask who calls. A request sent again is no row of its own, and an ACK is a row without
/// a response. Either side asks: `requested_by` says which. Credentials are replaced by `***`
/// before anything is kept.
#[derive(schema::Record)]
pub(super) struct Sip<'a> {
    /// The method; of a lone response, the one it answers.
    method: Label<'a>,
    /// Whom the request is for, such as `sip:bob@example.org`.
    uri: Option<Cow<'a, str>>,
    /// Who sent the request: `client` or `server` of the conversation.
    requested_by: Label<'a>,
    /// What the status means, in the server's words.
    reason: Option<Label<'a>>,
    /// Who calls: the address in the header `From`.
    from_uri: Option<Cow<'a, str>>,
    /// Who is called: the address in the header `To`.
    to_uri: Option<Cow<'a, str>>,
    /// Where the requester can be reached: the address in its header `Contact`.
    contact_uri: Option<Cow<'a, str>>,
    /// What the requester says it is; without a request, the responder (OpenTelemetry `user_agent.original`).
    user_agent: Option<Cow<'a, str>>,
    /// The call or registration it belongs to: the header `Call-ID`.
    call_id: Option<Cow<'a, str>>,
    /// Its number within the call: of the header `CSeq`.
    cseq: Option<u64>,
    /// The transaction it belongs to: `branch` of the topmost header `Via`.
    branch: Option<Cow<'a, str>>,
    /// Status codes of the responses on the way to the final one, such as 100 and 180.
    provisional: Texts<'a>,
    /// How often the request was sent again before it was answered.
    retransmissions: u64,
    /// Media that the request offers, each as kind, address and port, such as `audio 192.0.2.1:49170`.
    request_media: Texts<'a>,
    /// Media that the response accepts, in the same words.
    response_media: Texts<'a>,
    /// The request's headers as sent.
    request_headers: Option<Headers<'a>>,
    /// The media type of the request's body.
    request_content_type: Option<Label<'a>>,
    /// The start of the request's body.
    request_body: Option<Body<'a>>,
    /// The size of the request's body.
    request_body_bytes: Option<Size>,
    /// The response's headers as sent.
    response_headers: Option<Headers<'a>>,
    /// The media type of the response's body.
    response_content_type: Option<Label<'a>>,
    /// The start of the response's body.
    response_body: Option<Body<'a>>,
    /// The size of the response's body.
    response_body_bytes: Option<Size>,
}

/// What two ends have asked each other lately.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<UnderWay>,
    server: Option<UnderWay>,
    transactions: FxHashMap<u64, Transaction>,
    /// The keys of `transactions`, oldest first.
    order: VecDeque<u64>,
}

/// One request, however often it was sent.
#[derive(Debug)]
struct Transaction {
    progress: Arc<Mutex<Progress>>,
    is_answered: bool,
}

/// What happened to a request before its final response.
#[derive(Debug, Default)]
struct Progress {
    provisional: Vec<u16>,
    retransmissions: u64,
    /// Some of it may have been missed.
    is_cut: bool,
}

/// A request or response, as it is kept until its row is written.
#[derive(Debug)]
pub(super) struct Sent {
    /// The first line and the headers.
    head: Vec<u8>,
    payload: Payload,
    side: Side,
    is_request: bool,
    progress: Option<Arc<Mutex<Progress>>>,
}

/// A message whose head has arrived.
#[derive(Debug)]
struct UnderWay {
    sent: Sent,
    begun: Moment,
    left: u64,
    incomplete: bool,
}

impl Dissect for Dissector {
    const NAME: &'static str = "sip";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp, Transport::Tcp];
    const PORTS: &'static [u16] = &[5060, 5061, 5080];
    type Body = Sent;
    type Columns = SipColumns;

    fn guess(head: &Head<'_>) -> Guess {
        match (opening(head.bytes), head.side) {
            // Whoever asks first is the client.
            (Opening::Request, Side::Client) | (Opening::Response, Side::Server) => Guess::Sure,
            (Opening::Request, Side::Server) | (Opening::Response, Side::Client) => Guess::Maybe,
            (Opening::More, _) if head.transport == Transport::Tcp => Guess::More,
            (Opening::More | Opening::No, _) => Guess::No,
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        _: &Open<Sent>,
    ) -> Result<Message<Sent>, Stop> {
        loop {
            let mut under_way = match self.half(side).take() {
                Some(it) => it,
                None => begin(side, input)?,
            };
            match under_way.read(input) {
                Ok(()) => {}
                Err(stop) => {
                    *self.half(side) = Some(under_way);
                    return Err(stop);
                }
            }
            // Without what came between: a ringing that was noted and forgotten.
            let begun = under_way.begun;
            if let Some(message) = self.message(under_way) {
                return Ok(message.begun(begun));
            }
            // Sent again, or on the way to the final response: part of a row, but none.
            input.commit();
            if input.datagram() {
                return Err(Stop::More);
            }
        }
    }

    fn record(exchange: Exchange<'_, Sent>) -> (Summary<'_>, Sip<'_>) {
        // What wants no answer stands on the side that sent it.
        let both = [exchange.request, exchange.response];
        let request = both.into_iter().flatten().find(|it| it.is_request);
        let response = both.into_iter().flatten().find(|it| !it.is_request);
        record(request, response)
    }

    fn weight(sent: &Sent) -> usize {
        size_of::<Sent>() + sent.head.capacity() + sent.payload.held()
    }

    fn held(&self) -> usize {
        let halves = [&self.client, &self.server].into_iter().flatten();
        let halves: usize = halves.map(|it| Self::weight(&it.sent)).sum();
        halves + self.order.len() * TRANSACTION_BYTES
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let under_way = self.half(side).as_mut().filter(|it| missing <= it.left);
        let under_way = under_way.ok_or(Stop::Lost)?;
        under_way.left -= missing;
        under_way.sent.payload.skip(missing);
        under_way.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.half(side) = None;
        for it in self.transactions.values().filter(|it| !it.is_answered) {
            it.progress.lock().unwrap_or_else(PoisonError::into_inner).is_cut = true;
        }
        loop {
            let rest = input.rest();
            match opening(rest) {
                Opening::Request | Opening::Response => return Ok(()),
                Opening::More if !input.datagram() => return Err(Stop::More),
                Opening::More | Opening::No => {}
            }
            let next = memchr(b'\n', rest).map_or(rest.len(), |it| it + 1);
            input.take(next)?;
            input.commit();
            if input.rest().is_empty() {
                return Err(Stop::More);
            }
        }
    }

    fn end(&mut self, side: Side) -> Option<Message<Sent>> {
        let under_way = self.half(side).take()?;
        let message = self.message(under_way)?;
        Some(message.incomplete(true))
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Option<UnderWay> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// `None` if it only adds to a message that came before.
    fn message(&mut self, under_way: UnderWay) -> Option<Message<Sent>> {
        let UnderWay { mut sent, mut incomplete, .. } = under_way;
        let (line, fields) = split_head(&sent.head);
        let ids = Ids::of(fields);
        if let Some((_, status, _)) = status_line(line) {
            let key = ids.key(sent.side.other());
            if let Some(it) = self.transactions.get_mut(&key) {
                let mut progress = it.progress.lock().unwrap_or_else(PoisonError::into_inner);
                incomplete |= progress.is_cut;
                if status < 200 {
                    if progress.provisional.len() < PROVISIONAL {
                        progress.provisional.push(status);
                    }
                    return None;
                }
                if std::mem::replace(&mut it.is_answered, true) {
                    return None;
                }
            }
            return Some(Message::response(sent).key(key).incomplete(incomplete));
        }
        let wants_answer = !line.starts_with(b"ACK ");
        let key = ids.key(sent.side);
        if !wants_answer {
            return Some(Message::notice(sent).incomplete(incomplete));
        }
        // A request without what names it can't be told from others.
        if let Some(it) = self.transactions.get(&key)
            && !ids.method.is_empty()
        {
            let mut progress = it.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.retransmissions += 1;
            return None;
        }
        let progress = Arc::<Mutex<Progress>>::default();
        sent.progress = Some(Arc::clone(&progress));
        if self.order.len() >= TRANSACTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.transactions.remove(&oldest);
        }
        let transaction = Transaction { progress, is_answered: false };
        if self.transactions.insert(key, transaction).is_none() {
            self.order.push_back(key);
        }
        Some(Message::request(sent).key(key).incomplete(incomplete))
    }
}

/// Reads a head; from here on its bytes are used.
fn begin(side: Side, input: &mut Input<'_>) -> Result<UnderWay, Stop> {
    // Line ends and zeros between messages keep ways through firewalls open.
    let blank = input.rest().iter().take_while(|it| matches!(it, b'\r' | b'\n' | 0)).count();
    input.take(blank)?;
    input.commit();
    let rest = input.rest();
    if rest.is_empty() {
        return Err(Stop::More);
    }
    let begun = input.now();
    let is_request = match opening(rest) {
        Opening::Request => true,
        Opening::Response => false,
        Opening::More if !input.datagram() => return Err(Stop::More),
        Opening::More | Opening::No => return Err(Stop::Lost),
    };
    let limit = HEAD_BYTES.min(input.limits().message_bytes);
    let (end, next) = match head_end(rest.get(..limit).unwrap_or(rest)) {
        Some(it) => it,
        // What a datagram cuts off will not come.
        None if input.datagram() => (rest.len(), rest.len()),
        None if rest.len() >= limit => {
            input.take(limit)?;
            input.commit();
            return Err(Stop::Lost);
        }
        None => return Err(Stop::More),
    };
    let cut = input.datagram() && end == next;
    let head = input.take(next)?.get(..end).unwrap_or_default();
    let length = Fields(head).find(|(name, _)| is_named(name, b"content-length", b"l"));
    let length = length.and_then(|(_, it)| std::str::from_utf8(&it).ok()?.parse::<u64>().ok());
    let left = match length {
        _ if input.datagram() => {
            let rest = input.rest().len() as u64;
            length.filter(|it| *it < rest).unwrap_or(rest)
        }
        length => length.unwrap_or(0),
    };
    let incomplete = cut || input.datagram() && length.is_some_and(|it| it > left && it < 1 << 16);
    input.commit();
    let mut payload = Payload::default();
    if left > 0 {
        payload.expect(left, input.limits().body_bytes);
    }
    let sent = Sent { head: without_secrets(head), payload, side, is_request, progress: None };
    Ok(UnderWay { sent, begun, left, incomplete })
}

impl UnderWay {
    /// Uses up what belongs to the message, to its end.
    fn read(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        while self.left > 0 {
            let some = input.some(self.left)?;
            self.left -= some.len() as u64;
            self.sent.payload.push(some, input.limits().body_bytes);
            input.commit();
        }
        // A datagram holds one message.
        if input.datagram() {
            input.take(input.rest().len())?;
        }
        Ok(())
    }
}

/// What names a transaction.
#[derive(Debug, Default)]
struct Ids {
    call: Vec<u8>,
    number: u64,
    method: Vec<u8>,
}

impl Ids {
    fn of(fields: Fields<'_>) -> Self {
        let mut ids = Self::default();
        for (name, value) in fields {
            if is_named(name, b"call-id", b"i") {
                ids.call = value.into_owned();
            } else if is_named(name, b"cseq", b"cseq") {
                let (number, method) = cseq(&value);
                ids.number = number.unwrap_or_default();
                ids.method = method.to_vec();
            }
        }
        ids
    }

    /// What pairs the request that `side` sent with its responses; never zero, which would pair by
    /// order.
    fn key(&self, side: Side) -> u64 {
        let mut hasher = FxHasher::default();
        hasher.write(&self.call);
        hasher.write_u64(self.number);
        hasher.write(&self.method);
        hasher.write_u8(u8::from(side == Side::Server));
        hasher.finish().max(1)
    }
}

fn cseq(value: &[u8]) -> (Option<u64>, &[u8]) {
    let mut parts = value.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
    let number = parts.next().and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
    (number, parts.next().unwrap_or_default())
}

/// How bytes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Request,
    Response,
    /// Too few to tell.
    More,
    No,
}

fn opening(bytes: &[u8]) -> Opening {
    let bytes = bytes.trim_ascii_start();
    let window = bytes.get(..LINE_BYTES).unwrap_or(bytes);
    match memchr(b'\n', window) {
        Some(end) => {
            let line = window.get(..end).unwrap_or_default().trim_ascii_end();
            if status_line(line).is_some() {
                Opening::Response
            } else if request_line(line).is_some() {
                Opening::Request
            } else {
                Opening::No
            }
        }
        None if window.len() >= LINE_BYTES => Opening::No,
        None => {
            let is_status = window.iter().zip(VERSION).all(|(byte, like)| byte == like);
            let end = memchr(b' ', window).unwrap_or(window.len());
            let method = window.get(..end).unwrap_or_default();
            let is_method = match end == window.len() {
                true => method.len() <= METHOD_BYTES && method.iter().all(u8::is_ascii_uppercase),
                false => {
                    is_method(method)
                        && window.iter().all(|it| !it.is_ascii_control() || *it == b'\r')
                }
            };
            if is_status || is_method { Opening::More } else { Opening::No }
        }
    }
}

/// Method and URI.
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_end().strip_suffix(VERSION)?.strip_suffix(b" ")?;
    let (method, uri) = line.split_at_checked(memchr(b' ', line)?)?;
    let uri = uri.trim_ascii();
    (is_method(method) && !uri.is_empty()).then_some((method, uri))
}

/// Version, status and reason.
fn status_line(line: &[u8]) -> Option<(&[u8], u16, &[u8])> {
    let after = line.strip_prefix(VERSION)?.strip_prefix(b" ")?;
    let (digits, reason) = after.split_at_checked(3)?;
    let is_status = digits.iter().all(u8::is_ascii_digit)
        && matches!(reason, [] | [b' ', ..])
        && matches!(digits, [b'1'..=b'6', ..]);
    let status = digits.iter().fold(0, |sum, it| sum * 10 + u16::from(it.wrapping_sub(b'0')));
    is_status.then_some((VERSION, status, reason.trim_ascii()))
}

fn is_method(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.len() <= METHOD_BYTES
        && bytes.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.'))
}

/// A head's first line and its headers.
fn split_head(head: &[u8]) -> (&[u8], Fields<'_>) {
    let head = head.trim_ascii_start();
    let end = memchr(b'\n', head).unwrap_or(head.len());
    let (line, rest) = head.split_at_checked(end).unwrap_or((head, &[]));
    (line.trim_ascii_end(), Fields(rest.get(1..).unwrap_or_default()))
}

/// Whether a header has this name, or its short form; both in lower case.
fn is_named(name: &[u8], long: &[u8], short: &[u8]) -> bool {
    name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short)
}

/// The head with what proves who someone is replaced; lines of values that go on are joined.
fn without_secrets(head: &[u8]) -> Vec<u8> {
    let is_secret = |name: &[u8]| SECRETS.iter().any(|it| name.eq_ignore_ascii_case(it));
    if !Fields(head).any(|(name, _)| is_secret(name)) {
        return head.to_vec();
    }
    let (line, fields) = split_head(head);
    let mut clean = line.to_vec();
    for (name, value) in fields {
        clean.extend_from_slice(b"\r\n");
        clean.extend_from_slice(name);
        clean.extend_from_slice(b": ");
        if is_secret(name) {
            let scheme = value.split(|it| *it == b' ').next().unwrap_or_default();
            clean.extend_from_slice(scheme);
            clean.extend_from_slice(b" ***");
        } else {
            clean.extend_from_slice(&value);
        }
    }
    clean.extend_from_slice(b"\r\n");
    clean
}

fn record<'a>(request: Option<&'a Sent>, response: Option<&'a Sent>) -> (Summary<'a>, Sip<'a>) {
    let asked = request.map(Read::of).unwrap_or_default();
    let told = response.map(Read::of).unwrap_or_default();
    let (method, uri) = request_line(asked.line).unwrap_or_default();
    let status = status_line(told.line);
    let code = status.map(|it| it.1);
    let reason = status.map(|it| it.2).filter(|it| !it.is_empty()).map(text);
    let method = match method {
        [] => told.method.clone().unwrap_or_default(),
        method => text(method),
    };
    let wants_answer = method != "ACK";
    let failed = match code {
        Some(401 | 407) => false,
        Some(code) => code >= 300,
        None => wants_answer,
    };
    let requested_by = match (request, response) {
        (Some(it), _) => it.side,
        (None, Some(it)) => it.side.other(),
        (None, None) => Side::Client,
    };
    let (mut provisional, mut retransmissions) = (Vec::new(), 0);
    if let Some(progress) = request.and_then(|it| it.progress.as_ref()) {
        let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        provisional = progress.provisional.iter().map(|it| it.to_string().into()).collect();
        retransmissions = progress.retransmissions;
    }
    let summary = Summary {
        verb: method.clone(),
        target: text(uri),
        status: code.map(i32::from),
        failed,
        error: match code {
            Some(_) if failed => reason.clone(),
            None if failed => Some("no final response".into()),
            Some(_) | None => None,
        },
    };
    let row = Sip {
        method: Label(method),
        uri: (!uri.is_empty()).then(|| text(uri)),
        requested_by: Label::from(match requested_by {
            Side::Client => "client",
            Side::Server => "server",
        }),
        reason: reason.map(Label),
        from_uri: asked.from.or(told.from),
        to_uri: asked.to.or(told.to),
        contact_uri: asked.contact,
        user_agent: match request {
            Some(_) => asked.user_agent,
            None => told.user_agent,
        },
        call_id: asked.call_id.or(told.call_id),
        cseq: asked.cseq.or(told.cseq),
        branch: asked.branch.or(told.branch),
        provisional: Texts(provisional),
        retransmissions,
        request_media: Texts(request.map(media).unwrap_or_default()),
        response_media: Texts(response.map(media).unwrap_or_default()),
        request_headers: request.map(|_| Headers(asked.headers)),
        request_content_type: asked.content_type.map(Label),
        request_body: request.and_then(body),
        request_body_bytes: request.map(|it| Size(it.payload.size())),
        response_headers: response.map(|_| Headers(told.headers)),
        response_content_type: told.content_type.map(Label),
        response_body: response.and_then(body),
        response_body_bytes: response.map(|it| Size(it.payload.size())),
    };
    (summary, row)
}

fn body(sent: &Sent) -> Option<Body<'_>> {
    let bytes = sent.payload.bytes();
    (!bytes.is_empty()).then(|| Body(bytes.into()))
}

/// What a row says of one message.
#[derive(Debug, Default)]
struct Read<'a> {
    line: &'a [u8],
    headers: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    from: Option<Cow<'a, str>>,
    to: Option<Cow<'a, str>>,
    contact: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
    call_id: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    branch: Option<Cow<'a, str>>,
    cseq: Option<u64>,
    method: Option<Cow<'a, str>>,
}

impl<'a> Read<'a> {
    fn of(sent: &'a Sent) -> Self {
        let (line, fields) = split_head(&sent.head);
        let mut it = Self { line, ..Self::default() };
        for (name, value) in fields {
            let named = |long: &[u8], short: &[u8]| is_named(name, long, short);
            let whole = |value: &Cow<'a, [u8]>| match value {
                Cow::Borrowed(value) => text(value),
                Cow::Owned(value) => Cow::Owned(text(value).into_owned()),
            };
            let address = |value: &Cow<'a, [u8]>| match value {
                Cow::Borrowed(value) => text(address(value)),
                Cow::Owned(value) => Cow::Owned(text(address(value)).into_owned()),
            };
            if named(b"from", b"f") {
                it.from.get_or_insert_with(|| address(&value));
            } else if named(b"to", b"t") {
                it.to.get_or_insert_with(|| address(&value));
            } else if named(b"contact", b"m") {
                it.contact.get_or_insert_with(|| address(&value));
            } else if named(b"user-agent", b"user-agent")
                || !sent.is_request && named(b"server", b"server")
            {
                it.user_agent.get_or_insert_with(|| whole(&value));
            } else if named(b"call-id", b"i") {
                it.call_id.get_or_insert_with(|| whole(&value));
            } else if named(b"content-type", b"c") {
                it.content_type.get_or_insert_with(|| whole(&value));
            } else if named(b"via", b"v") && it.branch.is_none() {
                let first = value.split(|it| *it == b',').next().unwrap_or_default();
                let at = memmem::find(first, b"branch=").map(|it| it + 7);
                let branch = at.and_then(|at| first.get(at..)?.split(|it| *it == b';').next());
                it.branch = branch.map(|it| text(it.trim_ascii()).into_owned().into());
            } else if named(b"cseq", b"cseq") {
                let (number, method) = cseq(&value);
                it.cseq = number;
                it.method = Some(text(method).into_owned().into());
            }
            it.headers.push((name, value));
        }
        it
    }
}

/// The URI in `"Bob" <sip:bob@example.org>;tag=1` or `sip:bob@example.org;tag=1`.
fn address(value: &[u8]) -> &[u8] {
    let inner = match memchr(b'<', value).and_then(|at| value.get(at + 1..)) {
        Some(inner) => inner.split(|it| *it == b'>').next(),
        None => value.split(|it| *it == b';').next(),
    };
    inner.unwrap_or_default().trim_ascii()
}

/// What a session description offers: its media with their addresses and ports.
fn media(sent: &Sent) -> Vec<Cow<'_, str>> {
    let body = sent.payload.bytes();
    let mut media: Vec<(&[u8], &[u8], &[u8])> = Vec::new();
    if !body.starts_with(b"v=") {
        return Vec::new();
    }
    let mut session: &[u8] = b"";
    for line in body.split(|it| *it == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut words = line.get(2..).unwrap_or_default().split(|it| *it == b' ');
        match line.get(..2) {
            Some(b"c=") => {
                let address = words.nth(2).unwrap_or_default();
                let address = address.split(|it| *it == b'/').next().unwrap_or_default();
                match media.last_mut() {
                    Some(it) => it.1 = address,
                    None => session = address,
                }
            }
            Some(b"m=") if media.len() < MEDIA => {
                let (kind, port) = (words.next(), words.next());
                if let Some((kind, port)) = kind.zip(port) {
                    media.push((
                        kind,
                        session,
                        port.split(|it| *it == b'/').next().unwrap_or(port),
                    ));
                }
            }
            _ => {}
        }
    }
    let media = media.into_iter().map(|(kind, address, port)| {
        let (kind, address, port) = (text(kind), text(address), text(port));
        match address.contains(':') {
            true => format!("{kind} [{address}]:{port}").into(),
            false => format!("{kind} {address}:{port}").into(),
        }
    });
    media.collect()
}

const VERSION: &[u8] = b"SIP/2.0";

/// Headers that prove who someone is.
const SECRETS: &[&[u8]] = &[b"authorization", b"proxy-authorization"];

/// Longer than any method in use.
const METHOD_BYTES: usize = 32;

/// The longest first line; a URI may carry many parameters.
const LINE_BYTES: usize = 8 << 10;

/// The longest head; long ways through proxies leave a header each.
const HEAD_BYTES: usize = 64 << 10;

/// Requests of one conversation that are remembered, to tell which are sent again: between two
/// exchanges of a provider, all calls are one conversation.
const TRANSACTIONS: usize = 4096;

/// About what remembering one takes.
const TRANSACTION_BYTES: usize = 96;

/// Provisional responses of one request that are kept; a phone that rings repeats itself.
const PROVISIONAL: usize = 32;

/// Media of one description that are shown.
const MEDIA: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::{self, Step, client, server};

    fn request(line: &str, cseq: &str, more: &str, body: &str) -> String {
        let method = line.split(' ').next().unwrap_or_default();
        format!(
            "{line} SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK{cseq};rport\r\nFrom: \"A\" <sip:a@x>;tag=1\r\n\
             t: sip:b@y;tag=2\r\nCall-ID: c\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn response(status: &str, cseq: &str) -> String {
        format!("SIP/2.0 {status}\r\nCall-ID: c\r\nCSeq: {cseq}\r\nl: 2\r\n\r\nok")
    }

    fn lines(rows: &[serde_json::Value]) -> Vec<String> {
        let text = |row: &serde_json::Value, name: &str| match &row[name] {
            serde_json::Value::String(it) => it.clone(),
            other => other.to_string(),
        };
        let names = ["verb", "target", "status", "requested_by", "provisional", "retransmissions"];
        rows.iter().map(|row| names.map(|it| text(row, it)).join(" ")).collect()
    }

    #[test]
    fn a_call_has_one_row_a_request() {
        let invite = request("INVITE sip:b@y", "1", "", "");
        let steps = [
            client(&invite),
            server(response("100 Trying", "1 INVITE")),
            client(&invite),
            server(response("180 Ringing", "1 INVITE")),
            client(request("CANCEL sip:b@y", "1", "", "")),
            server(response("200 OK", "1 CANCEL")),
            server(response("487 Terminated", "1 INVITE")),
            server(response("487 Terminated", "1 INVITE")),
            client(request("ACK sip:b@y", "1", "", "")),
            server(request("OPTIONS sip:a@x", "1", "", "")),
            client(response("200 OK", "1 OPTIONS")),
            server(response("200 OK", "9 BYE")),
        ];
        let expected = [
            r#"CANCEL sip:b@y 200 client [] 0"#,
            r#"INVITE sip:b@y 487 client ["100","180"] 1"#,
            r#"ACK sip:b@y null client [] 0"#,
            r#"OPTIONS sip:a@x 200 server [] 0"#,
            r#"BYE  200 client [] 0"#,
        ];
        assert_eq!(lines(&drive::datagrams::<Dissector>(&steps)), expected);
        assert_eq!(lines(&drive::however_cut::<Dissector>(&steps)), expected);
    }

    #[test]
    fn what_rang_and_was_never_answered_says_so() {
        let steps = [
            client(request("INVITE sip:b@y", "1", "", "")),
            server(response("180 Ringing", "1 INVITE")),
        ];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!(lines(&rows), [r#"INVITE sip:b@y null client ["180"] 0"#]);
        assert_eq!(rows[0]["error"], "no final response");
    }

    #[test]
    fn credentials_are_not_kept() {
        let more = "Authorization: Digest username=\"a\",\r\n response=\"s3cret\"\r\nProxy-Authorization: Basic s3cret\r\n";
        let steps = [client(request("REGISTER sip:y", "1", more, ""))];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert!(!rows[0].to_string().contains("s3cret"), "{}", rows[0]);
        assert_eq!(rows[0]["request_headers"]["authorization"], "Digest ***");
        assert_eq!((&rows[0]["call_id"], &rows[0]["cseq"]), (&"c".into(), &1.into()));
        assert_eq!(
            (&rows[0]["from_uri"], &rows[0]["to_uri"]),
            (&"sip:a@x".into(), &"sip:b@y".into())
        );
        assert_eq!(rows[0]["branch"], "z9hG4bK1");
    }

    #[test]
    fn media_are_listed() {
        let body = "v=0\r\nc=IN IP4 192.0.2.1/127\r\nm=audio 4000/2 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\nc=IN IP6 ::1\r\n";
        let steps = [client(request("INVITE sip:b@y", "1", "", body))];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!(
            rows[0]["request_media"],
            serde_json::json!(["audio 192.0.2.1:4000", "video [::1]:0"])
        );
    }

    #[test]
    fn a_stream_goes_on_after_a_hole() {
        let first = request("OPTIONS sip:b@y", "1", "", "0123456789").into_bytes();
        let steps = [
            client(&first[..first.len() - 8]),
            Step::Loses(Side::Client, 4),
            client(&first[first.len() - 4..]),
            server(response("200 OK", "1 OPTIONS")),
            client(request("OPTIONS sip:b@y", "2", "", "")),
            server("SIP/2.0 200 OK\r\nVia"),
            Step::Loses(Side::Server, 40),
            server("x: y\r\n\r\n\r\n\r\n"),
            client(request("OPTIONS sip:b@y", "3", "", "")),
            server(response("200 OK", "3 OPTIONS")),
        ];
        let rows = drive::however_cut::<Dissector>(&steps);
        let expected = [
            "OPTIONS sip:b@y 200 client [] 0",
            "OPTIONS sip:b@y 200 client [] 0",
            "OPTIONS sip:b@y null client [] 0",
        ];
        assert_eq!(lines(&rows), expected);
        assert_eq!(
            (&rows[0]["incomplete"], &rows[0]["request_body_bytes"]),
            (&true.into(), &10.into())
        );
    }

    #[test]
    fn recognised_by_content() {
        for (bytes, expected) in [
            (&b"INVITE sip:a SIP/2.0\r\n"[..], Opening::Request),
            (b"SIP/2.0 200 OK\r\n", Opening::Response),
            (b"\r\nSIP/2.0 200\r\n", Opening::Response),
            (b"SIP/2.0 999 OK\r\n", Opening::No),
            (b"INVITE si", Opening::More),
            (b"SIP/", Opening::More),
            (b"GET / HTTP/1.1\r\n", Opening::No),
            (b"OPTIONS rtsp://a RTSP/1.0\r\n", Opening::No),
            (b"\x16\x03\x01", Opening::No),
        ] {
            assert_eq!(opening(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    const PIECES: &[&str] = &[
        "INVITE sip:a SIP/2.0\r\n",
        "OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n",
        "ACK sip:a SIP/2.0\r\n\r\n",
        "SIP/2.0 180 Ringing\r\n",
        "SIP/2.0 200 OK\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n",
        "Call-ID: 1\r\n",
        "CSeq: 1 INVITE\r\n",
        "l: 5\r\n",
        "Content-Length: 0\r\n",
        "\r\n",
        "\r\n\r\n",
        "v=0\r\n",
        "m=audio 1 a\r\n",
        "Authorization: a b\r\n",
        "x",
        "\0",
        " y\r\n",
    ];

    proptest::proptest! {
        /// Whatever either side says, in whatever order, makes the same rows however it is cut.
        #[test]
        fn noise_is_no_accident(
            said in proptest::collection::vec(
                (proptest::prelude::any::<bool>(), proptest::sample::select(PIECES)),
                0..40,
            ),
            piece in 1_usize..30,
            missing in 0_u64..40,
        ) {
            let step = |(is_client, bytes): &(bool, &str)| match is_client {
                true => client(bytes),
                false => server(bytes),
            };
            let steps: Vec<Step> = said.iter().map(step).collect();
            let whole = drive::stream::<Dissector>(&steps, usize::MAX);
            proptest::prop_assert_eq!(drive::stream::<Dissector>(&steps, piece), whole);
            let lossy = said.iter().enumerate().flat_map(|(place, it)| {
                let side = if it.0 { Side::Client } else { Side::Server };
                let lost = (place % 5 == 4).then_some(Step::Loses(side, missing));
                lost.into_iter().chain([step(it)])
            });
            let lossy: Vec<Step> = lossy.chain([Step::Ends(Side::Client), Step::Ends(Side::Server)]).collect();
            drive::stream::<Dissector>(&lossy, piece);
        }
    }
}
