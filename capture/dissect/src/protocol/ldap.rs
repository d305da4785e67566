//! LDAP over TCP and, as Active Directory's clients find their servers, over UDP (CLDAP): RFC 4511
//! with the filters of RFC 4515, SASL's layers (RFC 4752, RFC 4121, RFC 1964, RFC 2831), and the
//! NTLM binds of MS-ADTS.
use std::borrow::Cow;
use std::cell::Cell;

use schema::value::{Code, Json, Label, Texts, text};

use super::{Dissect, Guess, Head, Transport};
use crate::ber::{self, ENUMERATED, INTEGER, OCTETS, Reader, SEQUENCE, SET, Value};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::render::{SECRET, put, quote};

/// What directories are asked and what they answer. A search is one row, however many entries it
/// finds. Passwords are never kept.
#[derive(schema::Record)]
pub(super) struct Ldap<'a> {
    /// What is wanted: `bind`, `search`, `modify`, `add`, `delete`, `modifyDN`, `compare`,
    /// `extended`, `abandon`, `unbind`.
    operation: Label<'a>,
    /// The distinguished name it is about: of a search the base, of a bind who it is.
    name: Option<Cow<'a, str>>,
    /// How far below the base a search looks: `base`, `one`, `sub` or `subordinate`.
    scope: Option<Label<'a>>,
    /// What a search looks for, as in `(&(objectClass=person)(uid=u1))`; of a comparison, what is
    /// compared.
    filter: Option<Cow<'a, str>>,
    /// The attributes a search asks for, or a modification or addition names.
    attributes: Texts<'a>,
    /// What is modified or added: a list of objects with `operation`, `attribute` and `values`.
    /// Passwords are left out; the list is cut at 16 KiB.
    changes: Option<Json<'a>>,
    /// The name an entry is renamed to, with the entry that it is moved below.
    new_name: Option<Cow<'a, str>>,
    /// How a bind proves who it is: `anonymous`, `unauthenticated` (a name without a password),
    /// `simple` (a password), `sasl` or `ntlm`.
    authentication: Option<Label<'a>>,
    /// The SASL mechanism of a bind, such as `GSS-SPNEGO`.
    mechanism: Option<Label<'a>>,
    /// What a mechanism that only negotiates, such as `GSS-SPNEGO`, has come to: `kerberos` or
    /// `ntlm`.
    negotiated: Option<Label<'a>>,
    /// Who an NTLM bind says it is, such as `DOMAIN\\alice`.
    user: Option<Cow<'a, str>>,
    /// What an extended operation does, such as `StartTLS` or `Who am I?`; null if it isn't known.
    extended_name: Option<Label<'a>>,
    /// The number of an extended operation.
    extended_oid: Option<Label<'a>>,
    /// The controls that come with the request, by name, or by number where there is none.
    controls: Texts<'a>,
    /// The most entries that the client wants; null if it says nothing.
    size_limit: Option<u64>,
    /// The most seconds that the client waits; null if it says nothing.
    time_limit: Option<u64>,
    /// How many entries were found.
    entry_count: Option<u64>,
    /// How many references to other servers came instead of entries.
    reference_count: Option<u64>,
    /// How many interim answers came before the last one.
    interim_count: Option<u64>,
    /// The names of the entries found: the first sixteen.
    entry_names: Texts<'a>,
    /// How it ended, such as `success` or `noSuchObject`; null without an answer.
    result: Option<Label<'a>>,
    /// What the server says about the result.
    diagnostic: Option<Cow<'a, str>>,
    /// The part of the name that exists, where the name doesn't.
    matched_name: Option<Cow<'a, str>>,
    /// Where else to ask.
    referrals: Texts<'a>,
    /// Who the server takes the client for: the answer to `Who am I?`.
    authorization: Option<Cow<'a, str>>,
    /// The number of the request that is to be abandoned.
    abandoned_id: Option<Code>,
    /// The number that pairs answer and request.
    message_id: Code,
    /// What carried it: `tcp`, or `udp` (CLDAP).
    transport: Label<'a>,
    /// It was signed by a security layer that a bind set up. What is encrypted gives no rows.
    signed: bool,
}

/// What a connection has said so far.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Half,
    server: Half,
    /// A bind succeeded after which messages may come wrapped.
    layered: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// A message of which not all is kept.
    long: Option<Long>,
    layer: Option<Layer>,
    /// How often bytes went missing.
    gaps: u32,
}

/// A message too long to wait for.
#[derive(Debug)]
struct Long {
    head: MessageHead,
    payload: Payload,
    left: u64,
    /// It comes in pieces that are wrapped.
    layered: bool,
    incomplete: bool,
}

/// A wrapped piece: bytes that can be read, and bytes that follow them and cannot.
#[derive(Clone, Copy, Debug)]
struct Layer {
    readable: u64,
    rest: u64,
}

/// One message, read.
pub(super) enum Body {
    Asked(Box<Asked>),
    Told(Box<Told>),
}

/// What a client sends.
#[derive(Default)]
pub(super) struct Asked {
    carried: Carried,
    name: Option<String>,
    scope: Option<&'static str>,
    filter: Option<String>,
    attributes: Vec<Box<str>>,
    changes: Option<String>,
    new_name: Option<String>,
    authentication: Option<&'static str>,
    mechanism: Option<String>,
    negotiated: Option<&'static str>,
    user: Option<String>,
    extended: Option<String>,
    controls: Vec<Cow<'static, str>>,
    size_limit: Option<u64>,
    time_limit: Option<u64>,
    abandoned: Option<i32>,
    /// What has come of it before its answer ended.
    found: Cell<Found>,
    /// The gaps there had been in what the server sent.
    gaps: u32,
}

/// What a server sends.
#[derive(Debug, Default)]
pub(super) struct Told {
    carried: Carried,
    /// Of a lone entry.
    name: Option<String>,
    result: Option<i32>,
    matched: Option<String>,
    diagnostic: Option<String>,
    referrals: Vec<Box<str>>,
    extended: Option<String>,
    authorization: Option<String>,
}

/// What both have.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    operation: u8,
    id: i32,
    datagram: bool,
    signed: bool,
}

/// What a search has found.
#[derive(Debug, Default)]
struct Found {
    entries: u64,
    references: u64,
    interim: u64,
    names: Vec<Box<str>>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "ldap";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp, Transport::Udp];
    const PORTS: &'static [u16] = &[389, 3268];
    type Body = Body;
    type Columns = LdapColumns;

    fn guess(head: &Head<'_>) -> Guess {
        judge(head.bytes, head.side)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        let mut unfinished = None;
        loop {
            if input.datagram()
                && input.rest().is_empty()
                && let Some(carried) = unfinished
            {
                // Entries, and the result in a datagram of its own or lost.
                let told = Told { carried, ..Told::default() };
                return Ok(Message::response(Body::Told(Box::new(told))).key(key(carried.id)));
            }
            match self.step(side, input, open)? {
                Step::Message(message) => return Ok(message),
                Step::Silent(carried) => unfinished = Some(carried),
                Step::Partial => {}
            }
            input.commit();
        }
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Ldap<'_>) {
        let asked = match exchange.request {
            Some(Body::Asked(asked)) => Some(&**asked),
            _ => None,
        };
        let told = match exchange.response {
            Some(Body::Told(told)) => Some(&**told),
            _ => None,
        };
        let carried =
            asked.map(|it| it.carried).or_else(|| told.map(|it| it.carried)).unwrap_or_default();
        let operation = operation_name(carried.operation);
        let found = asked.map(|it| it.found.take());
        let is_search = asked.is_some_and(|it| it.carried.operation == SEARCH);
        let lone = told.filter(|_| asked.is_none());
        let counted = |count: u64, tag: u8| match lone {
            Some(told) => (told.carried.operation == tag).then_some(1),
            None => (is_search || count > 0).then_some(count),
        };
        let counts = found.as_ref().map_or((0, 0, 0), |it| (it.entries, it.references, it.interim));
        let (entry_count, reference_count) =
            (counted(counts.0, ENTRY), counted(counts.1, REFERENCE));
        let name = asked
            .and_then(|it| it.name.as_deref())
            .or_else(|| lone.and_then(|it| it.name.as_deref()))
            .filter(|it| !it.is_empty());
        let extended = asked
            .and_then(|it| it.extended.as_deref())
            .or_else(|| told.and_then(|it| it.extended.as_deref()));
        let extended_name = extended.and_then(|it| named(EXTENDED, it));
        let filter = asked.and_then(|it| it.filter.as_deref());
        let mechanism = asked.and_then(|it| it.mechanism.as_deref());
        let status = told.and_then(|it| it.result);
        let result = status.map(result_name);
        let failed = status.is_some_and(|it| !NO_FAILURE.contains(&it));
        let diagnostic = told.and_then(|it| it.diagnostic.as_deref()).filter(|it| !it.is_empty());

        let user = asked.and_then(|it| it.user.as_deref());
        let target = name.or(user).or(extended_name).or(extended).or(mechanism).or(filter);
        let summary = Summary {
            verb: operation.into(),
            target: target.unwrap_or_default().into(),
            status,
            failed,
            error: result.clone().filter(|_| failed).map(|result| match diagnostic {
                Some(diagnostic) => format!("{result}: {diagnostic}").into(),
                None => result,
            }),
        };
        let record = Ldap {
            operation: operation.into(),
            name: name.map(Cow::Borrowed),
            scope: asked.and_then(|it| it.scope).map(Label::from),
            filter: filter.map(Cow::Borrowed),
            attributes: borrowed(asked.map(|it| &it.attributes)),
            changes: asked.and_then(|it| it.changes.as_deref()).map(|it| Json(it.into())),
            new_name: asked.and_then(|it| it.new_name.as_deref()).map(Cow::Borrowed),
            authentication: asked.and_then(|it| it.authentication).map(Label::from),
            mechanism: mechanism.map(Label::from),
            negotiated: asked.and_then(|it| it.negotiated).map(Label::from),
            user: asked.and_then(|it| it.user.as_deref()).map(Cow::Borrowed),
            extended_name: extended_name.map(Label::from),
            extended_oid: extended.map(Label::from),
            controls: Texts(asked.map(|it| it.controls.clone()).unwrap_or_default()),
            size_limit: asked.and_then(|it| it.size_limit),
            time_limit: asked.and_then(|it| it.time_limit),
            entry_count,
            reference_count,
            interim_count: Some(counts.2).filter(|it| *it > 0),
            entry_names: Texts(
                found
                    .into_iter()
                    .flat_map(|it| it.names)
                    .map(|it| Cow::Owned(it.into_string()))
                    .collect(),
            ),
            result: result.map(Label),
            diagnostic: diagnostic.map(Cow::Borrowed),
            matched_name: told
                .and_then(|it| it.matched.as_deref())
                .filter(|it| !it.is_empty())
                .map(Cow::Borrowed),
            referrals: borrowed(told.map(|it| &it.referrals)),
            authorization: told.and_then(|it| it.authorization.as_deref()).map(Cow::Borrowed),
            abandoned_id: asked.and_then(|it| it.abandoned).map(Code),
            message_id: Code(carried.id),
            transport: if carried.datagram { "udp" } else { "tcp" }.into(),
            signed: carried.signed,
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        let length = |it: &Option<String>| it.as_ref().map_or(0, String::len);
        let list = |it: &[Box<str>]| it.iter().map(|it| it.len() + size_of_val(it)).sum::<usize>();
        match body {
            Body::Asked(it) => {
                let texts = [&it.name, &it.filter, &it.changes, &it.new_name, &it.mechanism];
                let texts =
                    texts.into_iter().chain([&it.extended, &it.user]).map(length).sum::<usize>();
                let controls = it.controls.len() * CONTROL_BYTES;
                size_of::<Asked>() + texts + list(&it.attributes) + controls
            }
            Body::Told(it) => {
                let texts = [&it.name, &it.matched, &it.diagnostic, &it.extended];
                let texts = texts.into_iter().chain([&it.authorization]).map(length).sum::<usize>();
                size_of::<Told>() + texts + list(&it.referrals)
            }
        }
    }

    fn held(&self) -> usize {
        let halves = [&self.client, &self.server];
        halves.iter().filter_map(|it| it.long.as_ref()).map(|it| it.payload.held()).sum()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let half = self.half(side);
        half.gaps = half.gaps.wrapping_add(1);
        match &mut half.long {
            Some(long) if !long.layered && missing <= long.left => {
                long.payload.skip(missing);
                long.left -= missing;
                long.incomplete = true;
                Ok(())
            }
            _ => Err(Stop::Lost),
        }
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        let half = self.half(side);
        *half = Half { gaps: half.gaps.wrapping_add(1), ..Half::default() };
        let rest = input.rest();
        if input.datagram() {
            input.take(rest.len())?;
            input.commit();
            return Ok(());
        }
        for at in memchr::memchr_iter(SEQUENCE, rest) {
            let found = judge(rest.get(at..).unwrap_or_default(), side);
            if found == Guess::No {
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

/// What became of the next bytes.
enum Step {
    Message(Message<Body>),
    /// A message was read that is part of an answer.
    Silent(Carried),
    /// Bytes were used that are no whole message.
    Partial,
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn step(&mut self, side: Side, input: &mut Input<'_>, open: &Open<Body>) -> Result<Step, Stop> {
        let may_be_layered = self.layered && !input.datagram();
        let half = self.half(side);
        if half.long.as_ref().is_some_and(|it| it.left == 0) {
            return Ok(self.long_done(side, input, open));
        }
        let rest = input.rest();
        let Some(first) = rest.first() else { return Err(input.short()) };
        let begins_layer = match &half.long {
            Some(long) => long.layered,
            None => *first != SEQUENCE,
        };
        match &mut half.layer {
            Some(Layer { readable: 0, rest }) => {
                *rest = rest.saturating_sub(input.some(*rest)?.len() as u64);
                half.leave_layer();
                return Ok(Step::Partial);
            }
            Some(_) => {}
            None if !begins_layer => {}
            None if may_be_layered => return half.enter_layer(side, input),
            None => return Err(Stop::Lost),
        }
        if half.long.is_some() {
            half.read_long(input)?;
            return Ok(Step::Partial);
        }

        let readable = half.layer.map_or(u64::MAX, |it| it.readable);
        let window = usize::try_from(readable).ok().and_then(|it| rest.get(..it));
        let (there, is_all) = (window.unwrap_or(rest), window.is_some());
        let head = match MessageHead::of(there) {
            Ok(head) if head.is_from(side) => head,
            Err(Stop::More) if !is_all => return Err(input.short()),
            _ => {
                // Padding, or what we don't know how to unwrap.
                let layer = half.layer.as_mut().ok_or(Stop::Lost)?;
                layer.rest = layer.rest.saturating_add(std::mem::take(&mut layer.readable));
                half.leave_layer();
                return Ok(Step::Partial);
            }
        };
        let size = usize::try_from(head.total).unwrap_or(usize::MAX);
        let layered = half.layer.is_some();
        if size > there.len() && !input.datagram() {
            if !is_all && size <= input.limits().body_bytes {
                return Err(Stop::More);
            }
            let (payload, left) = (Payload::default(), head.total);
            half.long = Some(Long { head, payload, left, layered, incomplete: false });
            half.read_long(input)?;
            return Ok(Step::Partial);
        }
        // Of a datagram, the end may not have been captured.
        let incomplete = size > there.len();
        let message = input.take(size.min(there.len()))?;
        half.use_layer(size as u64);
        Ok(self.finish(side, &head, message, incomplete, layered, input, open))
    }

    fn long_done(&mut self, side: Side, input: &Input<'_>, open: &Open<Body>) -> Step {
        match self.half(side).long.take() {
            Some(Long { head, payload, layered, incomplete, .. }) => {
                self.finish(side, &head, payload.bytes(), incomplete, layered, input, open)
            }
            None => Step::Partial,
        }
    }

    /// A message that has ended; `message` may be only its start.
    #[allow(clippy::too_many_arguments, reason = "all that is known of a message")]
    fn finish(
        &mut self,
        side: Side,
        head: &MessageHead,
        message: &[u8],
        incomplete: bool,
        signed: bool,
        input: &Input<'_>,
        open: &Open<Body>,
    ) -> Step {
        let carried =
            Carried { operation: head.operation, id: head.id, datagram: input.datagram(), signed };
        let mut parts = Reader::new(message.get(head.start..).unwrap_or_default());
        let operation =
            parts.next().unwrap_or(Value { tag: head.operation, bytes: &[], cut: true });
        let key = key(head.id);
        if side == Side::Client {
            let asked = Asked {
                carried,
                controls: parts.expect(CONTROLS).map(|it| controls(&it)).unwrap_or_default(),
                gaps: self.server.gaps,
                ..Asked::of(&operation)
            };
            let wants_answer = !matches!(head.operation, UNBIND | ABANDON);
            let body = Body::Asked(Box::new(asked));
            let message = if wants_answer { Message::request(body) } else { Message::notice(body) };
            return Step::Message(message.key(key).incomplete(incomplete));
        }
        let request = match open.oldest(key) {
            Some(Body::Asked(asked)) => Some(&**asked),
            _ => None,
        };
        if matches!(head.operation, ENTRY | REFERENCE | INTERIM) {
            if let Some(asked) = request {
                let mut found = asked.found.take();
                found.add(&operation);
                asked.found.set(found);
                return Step::Silent(carried);
            }
            if head.operation == INTERIM {
                return Step::Silent(carried);
            }
            let told = Told { carried, ..Told::entry(&operation) };
            let message = Message::notice(Body::Told(Box::new(told))).key(key);
            return Step::Message(message.incomplete(incomplete));
        }
        let told = Told { carried, ..Told::of(&operation, request) };
        let succeeded = told.result == Some(0);
        let proof = request.map(|it| it.authentication);
        if head.operation == BIND_ANSWER && succeeded {
            self.layered |=
                !matches!(proof, Some(Some("simple" | "anonymous" | "unauthenticated")));
        }
        let starts_tls = request.is_some_and(|it| it.extended.as_deref() == Some(START_TLS));
        let lost_some = request.is_some_and(|it| it.gaps != self.server.gaps);
        let message = Message::response(Body::Told(Box::new(told)))
            .key(key)
            .incomplete(incomplete || lost_some);
        Step::Message(if starts_tls && succeeded { message.becomes("tls") } else { message })
    }
}

impl Half {
    /// SASL: a length, and what a mechanism makes of that many bytes.
    fn enter_layer(&mut self, side: Side, input: &mut Input<'_>) -> Result<Step, Stop> {
        let [a, b, c, d, token @ ..] = input.rest() else {
            let is_small = input.rest().first() == Some(&0);
            return Err(if is_small { Stop::More } else { Stop::Lost });
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        if length == 0 || length > LAYER_BYTES {
            return Err(Stop::Lost);
        }
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        let enough = whole.min(TOKEN_BYTES);
        let token = token.get(..enough).ok_or(Stop::More)?;
        let length = u64::from(length);
        let part = readable_part(token, length).filter(|(start, _)| {
            let start = usize::try_from(*start).unwrap_or(usize::MAX);
            let inside = token.get(start..).unwrap_or_default();
            self.long.is_some() || !inside.is_empty() && judge(inside, side) != Guess::No
        });
        let (start, end) = part.unwrap_or((0, 0));
        input.take(LENGTH_BYTES)?;
        input.take(usize::try_from(start).unwrap_or_default())?;
        self.layer = Some(Layer { readable: end - start, rest: length - end });
        Ok(Step::Partial)
    }

    fn use_layer(&mut self, used: u64) {
        if let Some(layer) = &mut self.layer {
            layer.readable = layer.readable.saturating_sub(used);
        }
        self.leave_layer();
    }

    fn leave_layer(&mut self) {
        self.layer.take_if(|it| it.readable == 0 && it.rest == 0);
    }

    /// Reads on in a long message.
    fn read_long(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let Some(long) = &mut self.long else { return Ok(()) };
        let most = self.layer.map_or(u64::MAX, |it| it.readable);
        let piece = input.some(long.left.min(most))?;
        long.payload.push(piece, input.limits().body_bytes);
        long.left -= piece.len() as u64;
        self.use_layer(piece.len() as u64);
        Ok(())
    }
}

/// Where in a wrapped piece of this length a message can be read: only where it was signed and not
/// encrypted. Whether there is one in that place, its own head says.
fn readable_part(token: &[u8], length: u64) -> Option<(u64, u64)> {
    let (start, after) = match token {
        // Kerberos, RFC 4121: a head, and a checksum which is behind the message or was rotated to
        // its front.
        [5, 4, flags, 0xff, extra_high, extra_low, rotated_high, rotated_low, ..] => {
            let extra = u64::from(u16::from_be_bytes([*extra_high, *extra_low]));
            match u64::from(u16::from_be_bytes([*rotated_high, *rotated_low])) {
                _ if flags & KERBEROS_SEALED != 0 => return None,
                0 => (16, extra),
                rotated if rotated == extra => (16 + extra, 0),
                _ => return None,
            }
        }
        // NTLM: a version, a checksum and a number.
        [1, 0, 0, 0, ..] => (16, 0),
        // Kerberos, RFC 1964: behind the mechanism's number, algorithms, a number, a checksum and
        // something random.
        [0x60, ..] => {
            let wrapped = Reader::new(token).next()?;
            let mut inside = wrapped.inside();
            inside.expect(OBJECT_IDENTIFIER)?;
            match inside.rest() {
                [2, 1, _, _, 0xff, 0xff, ..] => {}
                _ => return None,
            }
            let before = token.len() - inside.rest().len();
            (before as u64 + 32, 0)
        }
        // DIGEST-MD5: a checksum behind it.
        _ => (0, 16),
    };
    let end = length.checked_sub(after)?;
    (start < end).then_some((start, end))
}

/// What stands at the beginning of every message.
#[derive(Clone, Copy, Debug)]
struct MessageHead {
    id: i32,
    operation: u8,
    /// Where the operation begins.
    start: usize,
    /// Where its contents begin.
    inside: usize,
    /// Where it ends.
    end: u64,
    /// Where the message ends.
    total: u64,
}

impl MessageHead {
    fn of(bytes: &[u8]) -> Result<Self, Stop> {
        let message = ber::Head::of(bytes)?;
        if message.tag != SEQUENCE || message.length > u64::from(u32::MAX) {
            return Err(Stop::Lost);
        }
        let after = bytes.get(message.size..).unwrap_or_default();
        let head = ber::Head::of(after)?;
        if head.tag != INTEGER || !(1..=4).contains(&head.length) {
            return Err(Stop::Lost);
        }
        let id = Reader::new(after).next().filter(|it| !it.cut).ok_or(Stop::More)?.integer();
        let id = id.and_then(|it| i32::try_from(it).ok()).filter(|it| *it >= 0);
        let id = id.ok_or(Stop::Lost)?;
        let start = message.size + usize::try_from(head.total()).map_err(|_| Stop::Lost)?;
        let operation = ber::Head::of(bytes.get(start..).unwrap_or_default())?;
        let end = operation.total().saturating_add(start as u64);
        let is_empty = operation.length == 0;
        if end > message.total()
            || !OPERATIONS.iter().any(|it| it.0 == operation.tag)
            || is_empty != (operation.tag == UNBIND)
        {
            return Err(Stop::Lost);
        }
        Ok(Self {
            id,
            operation: operation.tag,
            start,
            inside: start + operation.size,
            end,
            total: message.total(),
        })
    }

    fn is_from(&self, side: Side) -> bool {
        OPERATIONS.iter().any(|it| it.0 == self.operation && it.2 == side)
    }
}

/// How much these bytes look like a message that `side` would send.
fn judge(bytes: &[u8], side: Side) -> Guess {
    let head = match MessageHead::of(bytes) {
        Ok(head) => head,
        Err(Stop::More) => return Guess::More,
        Err(Stop::Lost) => return Guess::No,
    };
    let first = match head.operation {
        BIND | INTERIM => INTEGER,
        BIND_ANSWER | RESULT | 0x67 | 0x69 | 0x6b | 0x6d | 0x6f | EXTENDED_ANSWER => ENUMERATED,
        SEARCH | ENTRY | REFERENCE | MODIFY | ADD | RENAME | COMPARE => OCTETS,
        _ => EXTENDED_NAME,
    };
    let is_text = matches!(head.operation, UNBIND | DELETE | ABANDON);
    let fits = match bytes.get(head.inside) {
        Some(tag) => is_text || *tag == first || (head.operation == INTERIM && tag & 0xf0 == 0x80),
        None if head.operation == UNBIND => true,
        None => return Guess::More,
    };
    let behind = usize::try_from(head.end).ok().and_then(|it| bytes.get(it));
    let ends = head.end == head.total || behind.is_none_or(|it| *it == CONTROLS);
    if head.is_from(side) && fits && ends { Guess::Sure } else { Guess::No }
}

/// Numbers begin at zero, which would mean that order decides.
fn key(id: i32) -> u64 {
    u64::from(id.unsigned_abs()) + 1
}

impl Asked {
    fn of(operation: &Value<'_>) -> Self {
        let mut asked = Self::default();
        let mut parts = operation.inside();
        match operation.tag {
            BIND => asked.bind(parts),
            SEARCH => asked.search(parts),
            MODIFY | ADD => {
                asked.name = parts.expect(OCTETS).map(words);
                asked.change(operation.tag, &mut parts);
            }
            DELETE => asked.name = Some(words(*operation)),
            RENAME => {
                asked.name = parts.expect(OCTETS).map(words);
                asked.new_name = parts.expect(OCTETS).map(words);
                parts.expect(ber::BOOLEAN);
                if let (Some(name), Some(superior)) = (&mut asked.new_name, parts.expect(SUPERIOR))
                {
                    name.push(',');
                    name.push_str(&text(superior.bytes));
                }
            }
            COMPARE => {
                asked.name = parts.expect(OCTETS).map(words);
                if let Some(assertion) = parts.expect(SEQUENCE) {
                    let mut filter = Filter::default();
                    filter.item(&assertion, "=");
                    asked.filter = Some(filter.done());
                }
            }
            ABANDON => {
                let id = operation.integer().and_then(|it| i32::try_from(it).ok());
                asked.abandoned = id;
            }
            EXTENDED_REQUEST => asked.extended = parts.expect(EXTENDED_NAME).map(words),
            _ => {}
        }
        asked
    }

    fn bind(&mut self, mut parts: Reader<'_>) {
        parts.expect(INTEGER);
        let name = parts.expect(OCTETS).map(words);
        let proof = parts.next();
        self.authentication = proof.map(|it| match it.tag {
            SIMPLE if !it.bytes.is_empty() || it.cut => "simple",
            SIMPLE if name.as_ref().is_none_or(String::is_empty) => "anonymous",
            SIMPLE => "unauthenticated",
            SASL => "sasl",
            0x89..=0x8b => "ntlm",
            _ => "unknown",
        });
        let mut sasl = proof.filter(|it| it.tag == SASL).map(|it| it.inside());
        self.mechanism = sasl.as_mut().and_then(|it| it.expect(OCTETS)).map(words);
        let token = match &mut sasl {
            Some(parts)
                if self
                    .mechanism
                    .as_deref()
                    .is_some_and(|it| it.starts_with("GSS") || it == "NTLM") =>
            {
                parts.expect(OCTETS)
            }
            Some(_) => None,
            None => proof.filter(|it| it.tag != SIMPLE),
        };
        if let Some(token) = token.map(|it| it.bytes) {
            self.negotiated = negotiated(token);
            self.user = ntlm_user(token);
        }
        self.name = name;
    }

    fn search(&mut self, mut parts: Reader<'_>) {
        self.name = parts.expect(OCTETS).map(words);
        let mut number = |tag| parts.expect(tag).and_then(|it| it.integer());
        let scope = number(ENUMERATED).and_then(|it| usize::try_from(it).ok());
        self.scope = scope.and_then(|it| SCOPES.get(it)).copied();
        number(ENUMERATED);
        let mut limit = || number(INTEGER).and_then(|it| u64::try_from(it).ok());
        self.size_limit = limit().filter(|it| *it > 0);
        self.time_limit = limit().filter(|it| *it > 0);
        parts.expect(ber::BOOLEAN);
        if let Some(value) = parts.next() {
            let mut filter = Filter::default();
            filter.add(&value, 0);
            self.filter = Some(filter.done());
        }
        let asked = parts.expect(SEQUENCE);
        let asked = asked.iter().flat_map(Value::inside).take(MOST_ATTRIBUTES);
        self.attributes = asked.map(|it| text(it.bytes).into()).collect();
    }

    /// The changes of a modification, or the attributes of an addition.
    fn change(&mut self, operation: u8, parts: &mut Reader<'_>) {
        let mut json = "[".to_owned();
        let list = parts.expect(SEQUENCE);
        for change in list.iter().flat_map(Value::inside) {
            let mut inside = change.inside();
            let kind = match operation {
                MODIFY => inside.expect(ENUMERATED).and_then(|it| it.integer()),
                _ => Some(0),
            };
            let attribute = match operation {
                MODIFY => inside.expect(SEQUENCE),
                _ => Some(change),
            };
            let Some(mut attribute) = attribute.map(|it| it.inside()) else { continue };
            let Some(name) = attribute.expect(OCTETS).map(|it| text(it.bytes)) else { continue };
            if self.attributes.len() < MOST_ATTRIBUTES {
                self.attributes.push(name.as_ref().into());
            }
            if json.len() > CHANGES_BYTES {
                continue;
            }
            if json.len() > 1 {
                json.push(',');
            }
            let kind = kind.and_then(|it| usize::try_from(it).ok());
            json.push_str("{\"operation\":");
            quote(&mut json, kind.and_then(|it| CHANGES.get(it)).unwrap_or(&"unknown"));
            json.push_str(",\"attribute\":");
            quote(&mut json, &name);
            json.push_str(",\"values\":[");
            let is_secret = is_secret(&name);
            let values = attribute.expect(SET);
            for (place, value) in values.iter().flat_map(Value::inside).enumerate() {
                if json.len() > CHANGES_BYTES {
                    break;
                }
                if place > 0 {
                    json.push(',');
                }
                match is_secret {
                    true => quote(&mut json, SECRET),
                    false => quote(&mut json, &crate::render::words(value.bytes)),
                }
            }
            json.push_str("]}");
        }
        json.push(']');
        self.changes = Some(json);
    }
}

impl Told {
    fn of(operation: &Value<'_>, request: Option<&Asked>) -> Self {
        let mut told = Self::default();
        let mut parts = operation.inside();
        let result = parts.expect(ENUMERATED).and_then(|it| it.integer());
        told.result = result.and_then(|it| i32::try_from(it).ok());
        // NTLM's challenge stands where the matched name would.
        let matched = parts.expect(OCTETS).filter(|it| !it.bytes.starts_with(NTLM));
        told.matched = matched.map(words);
        told.diagnostic = parts.expect(OCTETS).map(|it| {
            // Active Directory ends its texts as C does.
            text(it.bytes).trim_end_matches(['\0', '\n', ' ']).to_owned()
        });
        for part in parts {
            match part.tag {
                REFERRALS => {
                    let some = part.inside().take(MOST_REFERRALS);
                    told.referrals = some.map(|it| text(it.bytes).into()).collect();
                }
                ANSWER_NAME if operation.tag == EXTENDED_ANSWER => {
                    told.extended = Some(words(part));
                }
                ANSWER_VALUE if operation.tag == EXTENDED_ANSWER => {
                    let is_name =
                        request.is_some_and(|it| it.extended.as_deref() == Some(WHO_AM_I));
                    told.authorization = is_name.then(|| words(part));
                }
                _ => {}
            }
        }
        told
    }

    /// An entry or a reference of a search that we did not see.
    fn entry(operation: &Value<'_>) -> Self {
        let mut parts = operation.inside();
        match operation.tag {
            ENTRY => Self { name: parts.expect(OCTETS).map(words), ..Self::default() },
            _ => Self {
                referrals: parts.take(MOST_REFERRALS).map(|it| text(it.bytes).into()).collect(),
                ..Self::default()
            },
        }
    }
}

impl Found {
    fn add(&mut self, operation: &Value<'_>) {
        match operation.tag {
            ENTRY => {
                self.entries += 1;
                let name = operation.inside().expect(OCTETS);
                if let Some(name) =
                    name.filter(|it| self.names.len() < MOST_NAMES && !it.bytes.is_empty())
                {
                    let name = name.bytes.get(..NAME_BYTES).unwrap_or(name.bytes);
                    self.names.push(text(name).into());
                }
            }
            REFERENCE => self.references += 1,
            _ => self.interim += 1,
        }
    }
}

/// A filter being written down as RFC 4515 has it.
#[derive(Debug, Default)]
struct Filter {
    text: String,
    full: bool,
}

impl Filter {
    fn done(mut self) -> String {
        if self.full {
            self.text.push('…');
        }
        self.text
    }

    fn add(&mut self, filter: &Value<'_>, depth: usize) {
        self.full |= self.text.len() > FILTER_BYTES || depth > FILTER_DEPTH;
        if self.full {
            return;
        }
        match filter.tag {
            0xa0..=0xa2 => {
                self.text.push('(');
                self.text.push(match filter.tag {
                    0xa0 => '&',
                    0xa1 => '|',
                    _ => '!',
                });
                for inner in filter.inside() {
                    self.add(&inner, depth + 1);
                }
                self.text.push(')');
            }
            0xa3 => self.item(filter, "="),
            0xa4 => self.substrings(filter),
            0xa5 => self.item(filter, ">="),
            0xa6 => self.item(filter, "<="),
            0x87 => {
                self.text.push('(');
                self.text.push_str(&text(filter.bytes));
                self.text.push_str("=*)");
            }
            0xa8 => self.item(filter, "~="),
            0xa9 => self.extensible(filter),
            _ => self.text.push_str("(?)"),
        }
    }

    /// An attribute and a value.
    fn item(&mut self, assertion: &Value<'_>, relation: &str) {
        let mut parts = assertion.inside();
        let name = parts.next().map(|it| text(it.bytes)).unwrap_or_default();
        self.text.push('(');
        self.text.push_str(&name);
        self.text.push_str(relation);
        self.value(&name, parts.next().map_or(&[], |it| it.bytes));
        self.text.push(')');
    }

    fn substrings(&mut self, filter: &Value<'_>) {
        let mut parts = filter.inside();
        let name = parts.next().map(|it| text(it.bytes)).unwrap_or_default();
        self.text.push('(');
        self.text.push_str(&name);
        self.text.push('=');
        let pieces = parts.expect(SEQUENCE);
        let mut open = false;
        for piece in pieces.iter().flat_map(Value::inside) {
            if self.text.len() > FILTER_BYTES {
                self.full = true;
                break;
            }
            // First, any, last.
            open = match piece.tag {
                0x80 => true,
                _ => {
                    self.text.push('*');
                    piece.tag != 0x82
                }
            };
            self.value(&name, piece.bytes);
        }
        if open {
            self.text.push('*');
        }
        self.text.push(')');
    }

    fn extensible(&mut self, filter: &Value<'_>) {
        let (mut rule, mut name, mut value, mut dn) = (None, None, &[][..], false);
        for part in filter.inside() {
            match part.tag {
                0x81 => rule = Some(text(part.bytes)),
                0x82 => name = Some(text(part.bytes)),
                0x83 => value = part.bytes,
                0x84 => dn = part.bytes.iter().any(|it| *it != 0),
                _ => {}
            }
        }
        self.text.push('(');
        self.text.push_str(name.as_deref().unwrap_or_default());
        if dn {
            self.text.push_str(":dn");
        }
        if let Some(rule) = rule {
            self.text.push(':');
            self.text.push_str(&rule);
        }
        self.text.push_str(":=");
        self.value(name.as_deref().unwrap_or_default(), value);
        self.text.push(')');
    }

    /// A value, with what could be mistaken or not be read as numbers.
    fn value(&mut self, attribute: &str, value: &[u8]) {
        if is_secret(attribute) {
            return self.text.push_str(SECRET);
        }
        let kept = value.get(..FILTER_BYTES).unwrap_or(value);
        self.full |= kept.len() < value.len();
        let escape = |out: &mut String, bytes: &[u8]| {
            for byte in bytes {
                put(out, format_args!("\\{byte:02x}"));
            }
        };
        for chunk in kept.utf8_chunks() {
            for char in chunk.valid().chars() {
                if char.is_control() || matches!(char, '*' | '(' | ')' | '\\') {
                    escape(&mut self.text, char.encode_utf8(&mut [0; 4]).as_bytes());
                } else {
                    self.text.push(char);
                }
            }
            escape(&mut self.text, chunk.invalid());
        }
    }
}

/// What a token of GSSAPI or SPNEGO (RFC 4178) is for; the first choice, where several are offered.
fn negotiated(token: &[u8]) -> Option<&'static str> {
    if memchr::memmem::find(token, NTLM).is_some() {
        return Some("ntlm");
    }
    let mut inside = Reader::new(token).next().filter(|it| it.tag == 0x60)?.inside();
    let mut mechanism = inside.expect(OBJECT_IDENTIFIER)?;
    if mechanism.oid()? == "1.3.6.1.5.5.2" {
        let offer = inside.expect(0xa0)?.inside().expect(SEQUENCE)?.inside().expect(0xa0)?;
        mechanism = offer.inside().expect(SEQUENCE)?.inside().expect(OBJECT_IDENTIFIER)?;
    }
    match mechanism.oid()?.as_str() {
        "1.2.840.113554.1.2.2" | "1.2.840.48018.1.2.2" | "1.3.5.1.5.2" => Some("kerberos"),
        "1.3.6.1.4.1.311.2.2.10" => Some("ntlm"),
        _ => None,
    }
}

/// Who the last message of an NTLM dialogue is from (MS-NLMP 2.2.1.3).
fn ntlm_user(token: &[u8]) -> Option<String> {
    let message = token.get(memchr::memmem::find(token, NTLM)?..)?;
    if message.get(8..12)? != [3, 0, 0, 0] {
        return None;
    }
    let number = |at: usize| {
        let bytes = message.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let is_wide = number(60)? & 1 == 1;
    let field = |at: usize| {
        let length = (number(at)? & 0xffff).min(NAME_BYTES);
        let start = number(at + 4)?;
        let bytes = message.get(start..start.checked_add(length)?)?;
        Some(match is_wide {
            true => {
                let units = bytes.chunks_exact(2).map(|it| match it {
                    [low, high] => u16::from_le_bytes([*low, *high]),
                    _ => 0,
                });
                char::decode_utf16(units).map(|it| it.unwrap_or('\u{fffd}')).collect()
            }
            false => text(bytes).into_owned(),
        })
    };
    let (domain, user): (String, String) = (field(28)?, field(36)?);
    match domain.is_empty() {
        true => Some(user).filter(|it| !it.is_empty()),
        false => Some(format!("{domain}\\{user}")),
    }
}

/// Whether an attribute's values are passwords or keys.
fn is_secret(attribute: &str) -> bool {
    let name = attribute.split(';').next().unwrap_or_default().to_ascii_lowercase();
    let ends = ["password", "passwd", "pwd", "rootpw", "secret"];
    ends.iter().any(|it| name.ends_with(it)) || SECRETS.contains(&name.as_str())
}

fn controls(list: &Value<'_>) -> Vec<Cow<'static, str>> {
    let ids = list.inside().take(MOST_CONTROLS).filter_map(|it| it.inside().expect(OCTETS));
    ids.map(|it| {
        let id = text(it.bytes.get(..CONTROL_BYTES).unwrap_or(it.bytes));
        named(CONTROL_NAMES, &id).map_or_else(|| id.into_owned().into(), Cow::Borrowed)
    })
    .collect()
}

fn words(value: Value<'_>) -> String {
    text(value.bytes).into_owned()
}

fn borrowed(some: Option<&Vec<Box<str>>>) -> Texts<'_> {
    Texts(some.into_iter().flatten().map(|it| Cow::Borrowed(&**it)).collect())
}

fn named(table: &[(&str, &'static str)], id: &str) -> Option<&'static str> {
    table.iter().find(|it| it.0 == id).map(|it| it.1)
}

fn operation_name(tag: u8) -> &'static str {
    OPERATIONS.iter().find(|it| it.0 == tag).map_or("", |it| it.1)
}

fn result_name(code: i32) -> Cow<'static, str> {
    match RESULTS.iter().find(|it| it.0 == code) {
        Some((_, name)) => (*name).into(),
        None => code.to_string().into(),
    }
}

const BIND: u8 = 0x60;
const BIND_ANSWER: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const RESULT: u8 = 0x65;
const MODIFY: u8 = 0x66;
const ADD: u8 = 0x68;
const DELETE: u8 = 0x4a;
const RENAME: u8 = 0x6c;
const COMPARE: u8 = 0x6e;
const ABANDON: u8 = 0x50;
const REFERENCE: u8 = 0x73;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_ANSWER: u8 = 0x78;
const INTERIM: u8 = 0x79;

/// Tags, what they are part of, and who sends them.
const OPERATIONS: &[(u8, &str, Side)] = &[
    (BIND, "bind", Side::Client),
    (BIND_ANSWER, "bind", Side::Server),
    (UNBIND, "unbind", Side::Client),
    (SEARCH, "search", Side::Client),
    (ENTRY, "search", Side::Server),
    (RESULT, "search", Side::Server),
    (MODIFY, "modify", Side::Client),
    (0x67, "modify", Side::Server),
    (ADD, "add", Side::Client),
    (0x69, "add", Side::Server),
    (DELETE, "delete", Side::Client),
    (0x6b, "delete", Side::Server),
    (RENAME, "modifyDN", Side::Client),
    (0x6d, "modifyDN", Side::Server),
    (COMPARE, "compare", Side::Client),
    (0x6f, "compare", Side::Server),
    (ABANDON, "abandon", Side::Client),
    (REFERENCE, "search", Side::Server),
    (EXTENDED_REQUEST, "extended", Side::Client),
    (EXTENDED_ANSWER, "extended", Side::Server),
    (INTERIM, "extended", Side::Server),
];

/// Tags inside messages.
const CONTROLS: u8 = 0xa0;
const SIMPLE: u8 = 0x80;
const SASL: u8 = 0xa3;
const SUPERIOR: u8 = 0x80;
const EXTENDED_NAME: u8 = 0x80;
const REFERRALS: u8 = 0xa3;
const ANSWER_NAME: u8 = 0x8a;
const ANSWER_VALUE: u8 = 0x8b;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// How each message of NTLM begins.
const NTLM: &[u8] = b"NTLMSSP\0";

const SCOPES: &[&str] = &["base", "one", "sub", "subordinate"];
const CHANGES: &[&str] = &["add", "delete", "replace", "increment"];

/// RFC 4511, RFC 3062, RFC 4532 and what products add.
const EXTENDED: &[(&str, &str)] = &[
    (START_TLS, "StartTLS"),
    (WHO_AM_I, "Who am I?"),
    ("1.3.6.1.4.1.4203.1.11.1", "Modify Password"),
    ("1.3.6.1.1.8", "Cancel"),
    ("1.3.6.1.1.21.1", "Start Transaction"),
    ("1.3.6.1.1.21.3", "End Transaction"),
    ("1.3.6.1.4.1.1466.101.119.1", "Refresh"),
    ("1.3.6.1.1.17.1", "Start Local Batch"),
    ("1.3.6.1.4.1.1466.20036", "Notice of Disconnection"),
    ("1.2.840.113556.1.4.1781", "Fast Bind"),
    ("1.2.840.113556.1.4.2212", "Batch"),
    ("1.3.6.1.4.1.4203.1.11.2", "Verify Credentials"),
    ("1.3.6.1.4.1.4203.666.6.5", "Verify Credentials"),
    ("2.16.840.1.113730.3.5.3", "Transaction Response"),
    ("2.16.840.1.113730.3.5.12", "Start Replication"),
    ("2.16.840.1.113730.3.5.5", "End Replication"),
    ("2.16.840.1.113730.3.8.10.1", "Keytab Set"),
    ("2.16.840.1.113730.3.8.10.5", "Keytab Get"),
];

const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";

const CONTROL_NAMES: &[(&str, &str)] = &[
    ("1.2.840.113556.1.4.319", "pagedResults"),
    ("1.2.840.113556.1.4.473", "serverSideSort"),
    ("1.2.840.113556.1.4.474", "serverSideSortResponse"),
    ("2.16.840.1.113730.3.4.9", "virtualListView"),
    ("2.16.840.1.113730.3.4.2", "manageDsaIT"),
    ("2.16.840.1.113730.3.4.3", "persistentSearch"),
    ("2.16.840.1.113730.3.4.7", "entryChange"),
    ("2.16.840.1.113730.3.4.12", "proxiedAuthorizationV1"),
    ("2.16.840.1.113730.3.4.18", "proxiedAuthorization"),
    ("2.16.840.1.113730.3.4.16", "authorizationIdentity"),
    ("2.16.840.1.113730.3.4.4", "passwordExpired"),
    ("2.16.840.1.113730.3.4.5", "passwordExpiring"),
    ("1.3.6.1.4.1.42.2.27.8.5.1", "passwordPolicy"),
    ("1.3.6.1.4.1.42.2.27.9.5.8", "accountUsable"),
    ("1.3.6.1.4.1.4203.1.9.1.1", "sync"),
    ("1.3.6.1.4.1.4203.1.10.1", "subentries"),
    ("1.3.6.1.4.1.4203.1.10.2", "noOp"),
    ("1.3.6.1.4.1.4203.666.5.12", "relax"),
    ("1.3.6.1.4.1.4203.666.5.2", "noOp"),
    ("1.3.6.1.1.12", "assertion"),
    ("1.3.6.1.1.13.1", "preRead"),
    ("1.3.6.1.1.13.2", "postRead"),
    ("1.3.6.1.1.22", "dontUseCopy"),
    ("1.3.6.1.1.21.2", "transaction"),
    ("1.2.826.0.1.3344810.2.3", "matchedValues"),
    ("1.2.840.113556.1.4.417", "showDeleted"),
    ("1.2.840.113556.1.4.528", "notification"),
    ("1.2.840.113556.1.4.529", "extendedDN"),
    ("1.2.840.113556.1.4.801", "securityDescriptorFlags"),
    ("1.2.840.113556.1.4.805", "treeDelete"),
    ("1.2.840.113556.1.4.841", "dirSync"),
    ("1.2.840.113556.1.4.1338", "verifyName"),
    ("1.2.840.113556.1.4.1339", "domainScope"),
    ("1.2.840.113556.1.4.1340", "searchOptions"),
    ("1.2.840.113556.1.4.1413", "permissiveModify"),
    ("1.2.840.113556.1.4.1504", "attributeScopedQuery"),
    ("1.2.840.113556.1.4.2064", "showRecycled"),
    ("1.2.840.113556.1.4.2065", "showDeactivatedLink"),
    ("1.2.840.113556.1.4.2239", "policyHints"),
];

/// Success, the two answers of a comparison, elsewhere, and a step of a bind.
const NO_FAILURE: &[i32] = &[0, 5, 6, 10, 14];

/// RFC 4511, RFC 3909, RFC 3928, RFC 4370, RFC 4528, RFC 4533.
const RESULTS: &[(i32, &str)] = &[
    (0, "success"),
    (1, "operationsError"),
    (2, "protocolError"),
    (3, "timeLimitExceeded"),
    (4, "sizeLimitExceeded"),
    (5, "compareFalse"),
    (6, "compareTrue"),
    (7, "authMethodNotSupported"),
    (8, "strongerAuthRequired"),
    (10, "referral"),
    (11, "adminLimitExceeded"),
    (12, "unavailableCriticalExtension"),
    (13, "confidentialityRequired"),
    (14, "saslBindInProgress"),
    (16, "noSuchAttribute"),
    (17, "undefinedAttributeType"),
    (18, "inappropriateMatching"),
    (19, "constraintViolation"),
    (20, "attributeOrValueExists"),
    (21, "invalidAttributeSyntax"),
    (32, "noSuchObject"),
    (33, "aliasProblem"),
    (34, "invalidDNSyntax"),
    (35, "isLeaf"),
    (36, "aliasDereferencingProblem"),
    (48, "inappropriateAuthentication"),
    (49, "invalidCredentials"),
    (50, "insufficientAccessRights"),
    (51, "busy"),
    (52, "unavailable"),
    (53, "unwillingToPerform"),
    (54, "loopDetect"),
    (60, "sortControlMissing"),
    (61, "offsetRangeError"),
    (64, "namingViolation"),
    (65, "objectClassViolation"),
    (66, "notAllowedOnNonLeaf"),
    (67, "notAllowedOnRDN"),
    (68, "entryAlreadyExists"),
    (69, "objectClassModsProhibited"),
    (71, "affectsMultipleDSAs"),
    (76, "virtualListViewError"),
    (80, "other"),
    (118, "canceled"),
    (119, "noSuchOperation"),
    (120, "tooLate"),
    (121, "cannotCancel"),
    (122, "assertionFailed"),
    (123, "authorizationDenied"),
    (4096, "syncRefreshRequired"),
];

/// Attributes that are secret and whose names don't end like a password's.
const SECRETS: &[&str] = &[
    "krbprincipalkey",
    "supplementalcredentials",
    "currentvalue",
    "priorvalue",
    "initialauthincoming",
    "initialauthoutgoing",
    "trustauthincoming",
    "trustauthoutgoing",
    "ntpwdhistory",
    "lmpwdhistory",
    "pwdhistory",
    "sambapasswordhistory",
    "krbpwdhistory",
    "ipanthash",
    "ipatokenotpkey",
    "olcdbbindpw",
    "userpkcs12",
];

/// Of an RFC 4121 token: it is encrypted.
const KERBEROS_SEALED: u8 = 2;

/// A wrapped piece may be no longer; Cyrus SASL's own bound is the same.
const LAYER_BYTES: u32 = 0xff_ffff;

/// The length in front of a wrapped piece.
const LENGTH_BYTES: usize = 4;

/// So much of a wrapped piece tells whether it can be read.
const TOKEN_BYTES: usize = 128;

const FILTER_BYTES: usize = 8 << 10;
const FILTER_DEPTH: usize = 64;
const CHANGES_BYTES: usize = 16 << 10;
const MOST_ATTRIBUTES: usize = 256;
const MOST_REFERRALS: usize = 16;
const MOST_CONTROLS: usize = 16;
const CONTROL_BYTES: usize = 64;
const MOST_NAMES: usize = 16;
const NAME_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::drive::{self, Step as Act, client, server};
    use crate::limits::Limits;

    /// A value around others.
    fn ber(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let inside = parts.concat();
        let length = inside.len() as u32;
        let head = match length {
            0..=0x7f => vec![tag, length as u8],
            // As Active Directory writes them.
            _ => [&[tag, 0x84][..], &length.to_be_bytes()].concat(),
        };
        [head, inside].concat()
    }

    fn octets(text: &str) -> Vec<u8> {
        ber(OCTETS, &[text.as_bytes()])
    }

    fn message(id: u8, operation: u8, parts: &[&[u8]]) -> Vec<u8> {
        ber(SEQUENCE, &[&[2, 1, id], &ber(operation, parts)])
    }

    fn result(id: u8, operation: u8, code: u8, diagnostic: &str) -> Vec<u8> {
        message(id, operation, &[&[10, 1, code], &octets(""), &octets(diagnostic)])
    }

    fn bind(id: u8, name: &str, proof: &[u8]) -> Vec<u8> {
        message(id, BIND, &[&[2, 1, 3], &octets(name), proof])
    }

    fn search(id: u8, filter: &[u8]) -> Vec<u8> {
        let head = [10, 1, 2, 10, 1, 0, 2, 1, 5, 2, 1, 0, 1, 1, 0];
        let asked = ber(SEQUENCE, &[&octets("cn"), &octets("mail")]);
        message(id, SEARCH, &[&octets("dc=x"), &head, filter, &asked])
    }

    fn entry(id: u8, name: &str, size: usize) -> Vec<u8> {
        message(id, ENTRY, &[&octets(name), &ber(SEQUENCE, &[&octets(&"a".repeat(size))])])
    }

    fn rows(acts: &[Act]) -> Vec<Json> {
        let mut rows = drive::however_cut::<Dissector>(acts);
        for row in rows.iter_mut().filter_map(Json::as_object_mut) {
            // Names that say little here, and what is empty.
            row.retain(|_, it| *it != json!([]) && *it != json!(false) && *it != json!(""));
            for name in ["verb", "target", "transport", "message_id"] {
                row.remove(name);
            }
        }
        rows
    }

    const PRESENT: &[u8] = b"\x87\x0bobjectClass";

    #[test]
    fn a_search_is_one_row() {
        let acts = [
            client(search(2, PRESENT)),
            server(entry(2, "cn=a", 10)),
            server(
                [entry(2, "cn=b", 200), message(2, REFERENCE, &[&octets("ldap://h/")])].concat(),
            ),
            server(result(2, RESULT, 4, "only two")),
        ];
        let expected = json!([{
            "operation": "search", "name": "dc=x", "scope": "sub", "filter": "(objectClass=*)",
            "attributes": ["cn", "mail"], "size_limit": 5, "entry_count": 2, "reference_count": 1,
            "entry_names": ["cn=a", "cn=b"], "result": "sizeLimitExceeded", "diagnostic": "only two",
            "status": 4, "failed": true, "error": "sizeLimitExceeded: only two",
        }]);
        assert_eq!(Json::from(rows(&acts)), expected);
    }

    #[test]
    fn answers_come_in_any_order() {
        let acts = [
            client([search(2, PRESENT), search(3, PRESENT)].concat()),
            server(entry(3, "cn=three", 1)),
            server(entry(2, "cn=two", 1)),
            server([result(3, RESULT, 0, ""), result(2, RESULT, 32, "")].concat()),
        ];
        let told = rows(&acts);
        let told: Vec<_> = told.iter().map(|it| (&it["entry_names"][0], &it["result"])).collect();
        let (three, two) = (json!("cn=three"), json!("cn=two"));
        assert_eq!(told, [(&three, &json!("success")), (&two, &json!("noSuchObject"))]);
    }

    #[test]
    fn a_search_without_an_end_still_says_what_it_found() {
        let acts = [client(search(2, PRESENT)), server(entry(2, "cn=a", 1))];
        let told = rows(&acts);
        assert_eq!((told.len(), &told[0]["entry_count"]), (1, &json!(1)));
        // And entries of a search that was not seen are rows of their own.
        let acts =
            [server([entry(2, "cn=a", 1), entry(2, "cn=b", 1), result(2, RESULT, 0, "")].concat())];
        let told = rows(&acts);
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], json!({"operation": "search", "name": "cn=a", "entry_count": 1}));
        assert_eq!(told[2], json!({"operation": "search", "result": "success", "status": 0}));
    }

    #[test]
    fn binds_say_how_and_not_with_what() {
        let sasl = ber(SASL, &[&octets("PLAIN"), &octets("\0me\0s3cret")]);
        let acts = [
            client(bind(1, "", b"\x80\0")),
            client(bind(2, "cn=a", b"\x80\0")),
            client(bind(3, "cn=a", b"\x80\x06s3cret")),
            client(bind(4, "", &sasl)),
            client(bind(5, "me", b"\x8a\x0cNTLMSSP\0\x01\0\0\0")),
            server(result(3, BIND_ANSWER, 49, "no\0")),
            server(result(4, BIND_ANSWER, 14, "")),
            server(message(5, BIND_ANSWER, &[&[10, 1, 0], &octets("NTLMSSP\0\x02"), &octets("")])),
        ];
        let told = rows(&acts);
        assert!(!Json::from(told.clone()).to_string().contains("s3cret"));
        let ways: Vec<_> = told.iter().map(|it| it["authentication"].as_str().unwrap()).collect();
        assert_eq!(ways, ["simple", "sasl", "ntlm", "anonymous", "unauthenticated"]);
        assert_eq!(told[0]["error"], "invalidCredentials: no");
        assert_eq!(
            (&told[1]["mechanism"], &told[1]["result"]),
            (&json!("PLAIN"), &json!("saslBindInProgress"))
        );
        assert_eq!(told[1].get("failed"), None);
        assert_eq!((told[2].get("matched_name"), &told[2]["name"]), (None, &json!("me")));
    }

    #[test]
    fn negotiated_binds_say_what_came_of_it() {
        let oid = |it: &[u8]| ber(OBJECT_IDENTIFIER, &[it]);
        let kerberos = oid(&[0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 1, 2, 2]);
        let offer = ber(0xa0, &[&ber(SEQUENCE, &[&ber(0xa0, &[&ber(SEQUENCE, &[&kerberos])])])]);
        let spnego = ber(0x60, &[&oid(&[0x2b, 6, 1, 5, 5, 2]), &offer]);
        // Where the domain and the user stand: behind the head.
        let mut ntlm = [NTLM, &[3, 0, 0, 0], &[0; 52]].concat();
        ntlm[28..36].copy_from_slice(&[4, 0, 4, 0, 64, 0, 0, 0]);
        ntlm[36..44].copy_from_slice(&[6, 0, 6, 0, 68, 0, 0, 0]);
        ntlm[60] = 1;
        ntlm.extend(b"D\0M\0b\0o\0b\0");
        let sasl = |token: &[u8]| ber(SASL, &[&octets("GSS-SPNEGO"), &ber(OCTETS, &[token])]);
        let told = rows(&[client(bind(1, "", &sasl(&spnego))), client(bind(2, "", &sasl(&ntlm)))]);
        assert_eq!((&told[0]["negotiated"], told[0].get("user")), (&json!("kerberos"), None));
        assert_eq!((&told[1]["negotiated"], &told[1]["user"]), (&json!("ntlm"), &json!("DM\\bob")));
    }

    #[test]
    fn changes_are_listed_without_passwords() {
        let change = |kind: u8, name: &str, value: &str| {
            let attribute = ber(SEQUENCE, &[&octets(name), &ber(SET, &[&octets(value)])]);
            ber(SEQUENCE, &[&[10, 1, kind], &attribute])
        };
        let changes = [change(2, "mail", "a@x"), change(2, "userPassword;x", "s3cret")].concat();
        let added = ber(SEQUENCE, &[&octets("cn"), &ber(SET, &[&octets("a"), b"\x04\x02\0\xff"])]);
        let compared = ber(SEQUENCE, &[&octets("userPassword"), &octets("s3cret")]);
        let acts = [
            client(message(1, MODIFY, &[&octets("cn=a"), &ber(SEQUENCE, &[&changes])])),
            client(message(2, ADD, &[&octets("cn=b"), &ber(SEQUENCE, &[&added])])),
            client(message(
                3,
                RENAME,
                &[&octets("cn=b"), &octets("cn=c"), &[1, 1, 255], b"\x80\x04dc=y"],
            )),
            client(message(4, COMPARE, &[&octets("cn=b"), &compared])),
            client(message(5, DELETE, &[b"cn=b"])),
            server(result(5, 0x6b, 0, "")),
            server(result(4, 0x6f, 6, "")),
            server(result(3, 0x6d, 0, "")),
            server(result(2, 0x69, 68, "")),
            server(result(1, 0x67, 0, "")),
        ];
        let told = rows(&acts);
        let told: Vec<_> = told.iter().rev().collect();
        let changes = r#"[{"operation":"replace","attribute":"mail","values":["a@x"]},{"operation":"replace","attribute":"userPassword;x","values":["***"]}]"#;
        assert_eq!(told[0]["changes"], changes);
        assert_eq!(told[0]["attributes"], json!(["mail", "userPassword;x"]));
        let added = r#"[{"operation":"add","attribute":"cn","values":["a","0x00ff"]}]"#;
        assert_eq!(
            (&told[1]["changes"], &told[1]["error"]),
            (&json!(added), &json!("entryAlreadyExists"))
        );
        assert_eq!(
            (&told[2]["operation"], &told[2]["new_name"]),
            (&json!("modifyDN"), &json!("cn=c,dc=y"))
        );
        assert_eq!(
            (&told[3]["filter"], &told[3]["result"]),
            (&json!("(userPassword=***)"), &json!("compareTrue"))
        );
        assert_eq!((told[3].get("failed"), &told[4]["name"]), (None, &json!("cn=b")));
    }

    #[test]
    fn filters_read_as_they_are_typed() {
        let item =
            |tag: u8, name: &str, value: &[u8]| ber(tag, &[&octets(name), &ber(OCTETS, &[value])]);
        let parts = ber(SEQUENCE, &[b"\x80\x01a", b"\x81\x01b", b"\x82\x01c"]);
        let middle = ber(SEQUENCE, &[b"\x81\x01b"]);
        let filters = [
            (item(0xa3, "cn", "é(*)\\\0".as_bytes()), r"(cn=é\28\2a\29\5c\00)"),
            (item(0xa3, "NtVer", b"\x06\xff"), r"(NtVer=\06\ff)"),
            (item(0xa5, "n", b"7"), "(n>=7)"),
            (item(0xa6, "n", b"7"), "(n<=7)"),
            (item(0xa8, "n", b"7"), "(n~=7)"),
            (ber(0xa4, &[&octets("cn"), &parts]), "(cn=a*b*c)"),
            (ber(0xa4, &[&octets("cn"), &middle]), "(cn=*b*)"),
            (
                ber(0xa9, &[b"\x81\x03r.1", b"\x82\x02cn", b"\x83\x01v", b"\x84\x01\xff"]),
                "(cn:dn:r.1:=v)",
            ),
            (
                ber(0xa2, &[&ber(0xa1, &[PRESENT, &item(0xa3, "userPassword", b"s")])]),
                "(!(|(objectClass=*)(userPassword=***)))",
            ),
            (ber(0xa0, &[]), "(&)"),
        ];
        for (filter, expected) in filters {
            let told = drive::stream::<Dissector>(&[client(search(1, &filter))], usize::MAX);
            assert_eq!(told[0]["filter"], expected);
        }
        let deep = (0..2000).fold(PRESENT.to_vec(), |inner, _| ber(0xa2, &[&inner]));
        let told = drive::stream::<Dissector>(&[client(search(1, &deep))], usize::MAX);
        assert!(told[0]["filter"].as_str().unwrap().len() < 300);
    }

    #[test]
    fn extended_operations_have_names() {
        let whoami = |id: u8| message(id, EXTENDED_REQUEST, &[&ber(0x80, &[WHO_AM_I.as_bytes()])]);
        let odd = message(3, EXTENDED_REQUEST, &[b"\x80\x051.2.3", b"\x81\x06s3cret"]);
        let answer = message(2, EXTENDED_ANSWER, &[&[10, 1, 0], b"\x04\0\x04\0\x8b\x04dn:a"]);
        let acts = [
            client(whoami(2)),
            server(answer),
            client(odd),
            server(message(3, INTERIM, &[b"\x80\x011"])),
            server(result(3, EXTENDED_ANSWER, 2, "")),
            client(message(4, ABANDON, &[&[3]])),
            client(message(5, UNBIND, &[])),
            server(message(
                0,
                EXTENDED_ANSWER,
                &[&[10, 1, 52], b"\x04\0\x04\0\x8a\x161.3.6.1.4.1.1466.20036"],
            )),
        ];
        let expected = json!([
            {"operation": "extended", "extended_oid": WHO_AM_I, "extended_name": "Who am I?",
             "authorization": "dn:a", "result": "success", "status": 0},
            {"operation": "extended", "extended_oid": "1.2.3", "interim_count": 1,
             "result": "protocolError", "status": 2, "failed": true, "error": "protocolError"},
            {"operation": "abandon", "abandoned_id": 3},
            {"operation": "unbind"},
            {"operation": "extended", "extended_oid": "1.3.6.1.4.1.1466.20036",
             "extended_name": "Notice of Disconnection", "result": "unavailable",
             "status": 52, "failed": true, "error": "unavailable"},
        ]);
        assert_eq!(Json::from(rows(&acts)), expected);
    }

    #[test]
    fn start_tls_hands_over() {
        let asked = message(1, EXTENDED_REQUEST, &[&ber(0x80, &[START_TLS.as_bytes()])]);
        let told =
            rows(&[client(&asked), server(result(1, EXTENDED_ANSWER, 0, "")), client("\x16\x03")]);
        assert_eq!(
            (&told[0]["extended_name"], &told[1]),
            (&json!("StartTLS"), &json!("becomes tls"))
        );
        // Not if it was refused.
        let told = rows(&[
            client(&asked),
            server(result(1, EXTENDED_ANSWER, 2, "")),
            client(search(2, PRESENT)),
        ]);
        assert_eq!(told.len(), 2);
    }

    fn wrapped(token: &[u8], message: &[u8]) -> Vec<u8> {
        let length = (token.len() + message.len()) as u32;
        [&length.to_be_bytes(), token, message].concat()
    }

    #[test]
    fn what_is_only_signed_is_read() {
        let proof = ber(SASL, &[&octets("GSS-SPNEGO"), &octets("token")]);
        let kerberos = [&[5, 4, 4, 0xff, 0, 12, 0, 12][..], &[0; 8], &[7; 12]].concat();
        let sealed = [&[5, 4, 6, 0xff, 0, 0, 0, 28][..], &[9; 60]].concat();
        let ntlm = [&[1, 0, 0, 0][..], &[7; 12]].concat();
        let long = search(9, &ber(0xa3, &[&octets("cn"), &octets(&"b".repeat(90_000))]));
        let (front, back) = long.split_at(50_000);
        let acts = [
            client(bind(1, "", &proof)),
            server(result(1, BIND_ANSWER, 0, "")),
            client(wrapped(&kerberos, &search(2, PRESENT))),
            server(wrapped(&kerberos, &[entry(2, "cn=a", 1), result(2, RESULT, 0, "")].concat())),
            client(wrapped(&sealed, b"")),
            server(wrapped(&sealed, b"")),
            client(wrapped(&ntlm, &search(3, PRESENT))),
            // In two pieces.
            client(wrapped(&kerberos, front)),
            client(wrapped(&kerberos, back)),
            client(wrapped(&ntlm, &message(4, UNBIND, &[]))),
        ];
        let told = rows(&acts);
        let signed: Vec<_> = told.iter().map(|it| it.get("signed").is_some()).collect();
        assert_eq!(signed, [false, true, true, true, true]);
        assert_eq!((&told[1]["entry_count"], &told[1]["result"]), (&json!(1), &json!("success")));
        assert_eq!(told[2]["operation"], "unbind");
        assert_eq!(told[4]["filter"].as_str().unwrap().chars().last(), Some('…'));
        // Without a bind before, such bytes are nonsense.
        let told = rows(&[client(wrapped(&kerberos, &search(2, PRESENT)))]);
        assert_eq!(told, ["lost"]);
    }

    #[test]
    fn a_datagram_answers_at_once() {
        let acts = [
            client(search(7, PRESENT)),
            server([entry(7, "", 3), result(7, RESULT, 0, "")].concat()),
            client(search(8, PRESENT)),
            server(entry(8, "", 3)),
        ];
        let told = drive::datagrams::<Dissector>(&acts);
        assert_eq!(told.len(), 2);
        assert_eq!((&told[0]["transport"], &told[0]["entry_count"]), (&json!("udp"), &json!(1)));
        assert_eq!((told[1].get("result"), &told[1]["entry_count"]), (None, &json!(1)));
    }

    #[test]
    fn huge_messages_need_little_room() {
        let photo = "j".repeat(3 << 20);
        let change = ber(SEQUENCE, &[&octets("jpegPhoto"), &ber(SET, &[&octets(&photo)])]);
        let change = ber(SEQUENCE, &[&[10, 1, 2], &change]);
        let acts = [
            client(message(1, MODIFY, &[&octets("cn=a"), &ber(SEQUENCE, &[&change])])),
            server(result(1, 0x67, 0, "")),
            client(search(2, PRESENT)),
            server(
                [entry(2, "cn=a", 3 << 20), entry(2, "cn=b", 1), result(2, RESULT, 0, "")].concat(),
            ),
        ];
        let told = drive::stream::<Dissector>(&acts, 1460);
        assert_eq!((told.len(), &told[0]["attributes"]), (2, &json!(["jpegPhoto"])));
        assert_eq!(told[1]["entry_count"], 2);
        // A hole inside one is absorbed.
        let long = entry(2, "cn=a", 100_000);
        let (front, back) = (&long[..70_000], &long[80_000..]);
        let acts = [
            client(search(2, PRESENT)),
            server(front),
            Act::Loses(Side::Server, 10_000),
            server([back, &entry(2, "cn=b", 1), &result(2, RESULT, 0, "")].concat()),
        ];
        let told = drive::stream::<Dissector>(&acts, 1460);
        assert_eq!((&told[0]["entry_count"], &told[0]["incomplete"]), (&json!(2), &json!(true)));
    }

    #[test]
    fn after_a_hole_the_next_message_is_found() {
        let first = search(2, PRESENT);
        let acts = [
            client([&first[..], &first[..9]].concat()),
            Act::Loses(Side::Client, 20),
            client([&first[29..], &search(4, PRESENT)].concat()),
        ];
        let told = rows(&acts);
        assert_eq!((told.len(), told.iter().any(|it| it.get("incomplete").is_some())), (2, false));
        let acts = [
            client(search(4, PRESENT)),
            server(&entry(4, "cn=a", 30)[..20]),
            Act::Loses(Side::Server, 50),
            server(
                [&entry(4, "cn=b", 30)[9..], &entry(4, "cn=c", 1), &result(4, RESULT, 0, "")]
                    .concat(),
            ),
        ];
        let told = rows(&acts);
        assert_eq!((told.len(), &told[0]["incomplete"]), (1, &json!(true)));
        assert_eq!(told[0]["entry_names"], json!(["cn=c"]));
    }

    #[test]
    fn recognised_by_content() {
        let limits = Limits::default();
        for (bytes, side) in [
            (search(2, PRESENT), Side::Client),
            (bind(1, "cn=a", b"\x80\x01s"), Side::Client),
            (message(3, UNBIND, &[]), Side::Client),
            (entry(2, "cn=a", 300), Side::Server),
            (result(2, 0x67, 0, ""), Side::Server),
        ] {
            assert_eq!(judge(&bytes, side), Guess::Sure);
            assert_eq!(judge(&bytes, side.other()), Guess::No);
            for n in 0..7 {
                assert_eq!(judge(&bytes[..n], side), Guess::More, "{n} of {bytes:02x?}");
            }
            let mut input = Input::new(&bytes, false, &limits);
            assert!(Dissector::default().parse(side, &mut input, &Open::default()).is_ok());
        }
        // SNMP, a certificate, text.
        for noise in [
            &b"0\x26\x02\x01\x01\x04\x06public\xa0\x19"[..],
            b"0\x82\x03\x24\x30\x82\x02\x0c",
            b"0 OK\r\n",
        ] {
            assert_eq!(judge(noise, Side::Client), Guess::No);
        }
    }

    proptest! {
        #[test]
        fn noise_is_no_accident(
            pieces in proptest::collection::vec((any::<bool>(), 0_usize..9, 0_usize..40, any::<u8>()), 0..30),
            piece in 1_usize..60,
        ) {
            let known = [
                search(2, PRESENT), bind(1, "", &ber(SASL, &[&octets("GSSAPI")])), entry(2, "a", 5), result(2, RESULT, 0, ""),
                result(1, BIND_ANSWER, 0, ""), vec![0, 0, 0, 40, 5, 4, 4, 0xff, 0, 12, 0, 12], vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
                message(2, MODIFY, &[&octets("a"), &ber(SEQUENCE, &[&ber(SEQUENCE, &[&[10, 1, 2]])])]), vec![0xa2; 300],
            ];
            let acts: Vec<_> = pieces.iter().map(|(is_client, place, cut, odd)| {
                let mut bytes = known[*place].clone();
                if let Some(byte) = bytes.get_mut(*cut) { *byte = *odd }
                if *is_client { client(bytes) } else { server(bytes) }
            }).collect();
            drive::stream::<Dissector>(&acts, piece);
            drive::datagrams::<Dissector>(&acts);
        }
    }
}
