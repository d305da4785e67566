//! Memcached's protocols: the text one with its meta commands
//! (<https://github.com/memcached/memcached/blob/master/doc/protocol.txt>) and the binary one
//! (<https://github.com/memcached/memcached/wiki/BinaryProtocolRevamped>), over TCP and UDP.
use std::borrow::Cow;
use std::hash::Hasher;

use memchr::memchr;
use rustc_hash::FxHasher;
use schema::value::{self, Code, Json, Label, Size, Texts};

use super::{Dissect, Guess, Head, Transport};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Role, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::Limits;

/// Commands sent to memcached and other servers that speak its protocols, with their replies. What
/// a login says is replaced by `***` before anything is kept: the payloads of SASL, and of the text
/// protocol two words stored by a connection's first command, which is how it logs in.
#[derive(schema::Record)]
pub(super) struct Memcached<'a> {
    /// The command as the text protocol has it, such as `get`, `cas` or `mg`; of the binary
    /// protocol the operation's name, such as `getkq`. OpenTelemetry: `db.operation.name`.
    command: Option<Label<'a>>,
    /// Which of the protocols: `text`, `meta` or `binary`.
    format: Label<'a>,
    /// The first key.
    key: Option<Cow<'a, str>>,
    /// The keys asked for, the first 64 of them.
    keys: Texts<'a>,
    /// How many keys were asked for.
    key_count: Option<u64>,
    /// Keys that were found, if the command reads.
    hits: Option<u64>,
    /// Keys that were not found, if the command reads.
    misses: Option<u64>,
    /// Bytes of the value stored, or of all values read.
    value_size: Option<Size>,
    /// The value to store, cut at 64 KiB.
    request_value: Option<value::Body<'a>>,
    /// The value read, of several the first, cut at 64 KiB.
    response_value: Option<value::Body<'a>>,
    /// The number that the client stores beside the value: what it is encoded in.
    flags: Option<u64>,
    /// When the value shall expire, as sent: seconds from now, of more than thirty days seconds
    /// since 1970; zero is never.
    exptime: Option<Code>,
    /// The value's version, to store only if nobody else has, or as read.
    cas: Option<u64>,
    /// What to add or take away.
    delta: Option<u64>,
    /// The number that is left after adding or taking away.
    number: Option<u64>,
    /// Whether the client wants no reply, or only a reply that says something new.
    quiet: Option<bool>,
    /// First word of the reply, such as `STORED`, `NOT_FOUND`, `HD` or `SERVER_ERROR`; `VALUE` if
    /// keys were found, `END` if none was; of the binary protocol the status's name.
    reply: Option<Label<'a>>,
    /// Status of the binary protocol, zero for success. OpenTelemetry:
    /// `db.response.status_code`.
    response_status: Option<Code>,
    /// What the server says beside that: its version, or what went wrong.
    message: Option<Cow<'a, str>>,
    /// Statistics by name, of those asked for the first 64 KiB.
    statistics: Option<Json<'a>>,
    /// What else the command says: flags of meta commands, what to show statistics of.
    arguments: Texts<'a>,
    /// The number by which the client of the binary protocol, or of UDP, knows the reply.
    opaque: Option<u64>,
}

/// What the connection is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<Partial>,
    server: Option<Partial>,
    /// Whether a command was seen, or may have been missed.
    has_begun: bool,
    is_binary: bool,
    /// Replies in several datagrams.
    parts: Vec<Parts>,
}

/// What is kept of a command or a reply.
#[derive(Debug, Default)]
pub(super) struct Body {
    format: Format,
    command: Cow<'static, str>,
    keys: Vec<Box<[u8]>>,
    key_count: u64,
    value: Option<Payload>,
    /// Of all values in a reply.
    value_size: Option<u64>,
    flags: Option<u64>,
    exptime: Option<i32>,
    cas: Option<u64>,
    number: Option<u64>,
    quiet: bool,
    opaque: Option<u64>,
    arguments: Vec<Box<str>>,
    status: Option<u16>,
    message: Option<Box<str>>,
    statistics: String,
    failed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Text,
    Meta,
    Binary,
}

/// A message that has not all arrived.
#[derive(Debug)]
struct Partial {
    body: Body,
    role: Role,
    key: u64,
    /// Bytes of a value still to come.
    left: u64,
    /// Whether a line end comes behind the value.
    has_line_end: bool,
    /// Whether more lines come behind the value.
    is_list: bool,
    /// Whether this value is kept: the first one.
    keeps: bool,
    hides: Hides,
    incomplete: bool,
}

/// Whether a value may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hides {
    Nothing,
    /// If it is two words.
    Login,
    All,
}

/// A reply in several datagrams.
#[derive(Debug)]
struct Parts {
    id: u16,
    pieces: Vec<Option<Vec<u8>>>,
    bytes: usize,
}

impl Dissect for Dissector {
    const NAME: &'static str = "memcached";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp, Transport::Udp];
    const PORTS: &'static [u16] = &[11211, 11210];
    type Body = Body;
    type Columns = MemcachedColumns;

    fn guess(head: &Head<'_>) -> Guess {
        if head.transport == Transport::Tcp {
            return judge(head.bytes, head.side);
        }
        let Some((frame, bytes)) = Frame::of(head.bytes) else { return Guess::No };
        match judge(bytes, head.side) {
            // A later part of an answer may begin with anything.
            _ if frame.total > 1 => Guess::No,
            // It is all there is.
            Guess::More => Guess::No,
            guess => guess,
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        if !input.datagram() {
            return self.next(side, input, open);
        }
        let (frame, bytes) = Frame::of(input.rest()).ok_or(Stop::Lost)?;
        let mut found = None;
        if frame.total == 1 {
            found = Some(Cow::Borrowed(bytes));
        } else if side == Side::Server {
            found = self.assemble(frame, bytes, input.limits()).map(Cow::Owned);
        }
        input.take(input.rest().len())?;
        input.commit();
        let found = found.ok_or(Stop::More)?;
        let mut whole = Input::new(&found, true, input.limits());
        let message = self.next(side, &mut whole, open);
        (self.client, self.server) = (None, None);
        let mut message = message?;
        message.body.opaque.get_or_insert_with(|| frame.id.into());
        Ok(message.key(UDP | u64::from(frame.id)))
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Memcached<'_>) {
        let (asked, told) = (exchange.request, exchange.response);
        let key = asked.or(told).and_then(|it| it.keys.first()).map(|it| value::text(it));
        let reads = asked.map_or_else(
            || told.is_some_and(|it| matches!(&*it.command, "VALUE" | "VA")),
            |it| READS.contains(&&*it.command),
        );
        let answered = told.filter(|it| reads && !it.failed);
        let hits = answered.map(|it| match &*it.command {
            "VALUE" | "END" => it.key_count,
            "VA" | "HD" | "TOUCHED" | "SUCCESS" => 1,
            _ => 0,
        });
        let misses = match (hits, asked) {
            (Some(hits), Some(asked)) => Some(asked.key_count.max(1).saturating_sub(hits)),
            _ => None,
        };
        let size = |it: &Body| it.value_size.or_else(|| it.value.as_ref().map(Payload::size));
        let bytes = |it: &'_ Body| it.value.as_ref().map(|it| it.bytes().to_vec());
        let format = asked.or(told).map(|it| it.format).unwrap_or_default();
        let error = told.filter(|it| it.failed);

        let summary = Summary {
            verb: asked.map(|it| Cow::Borrowed(&*it.command)).unwrap_or_default(),
            target: key.clone().unwrap_or_default(),
            status: told.and_then(|it| it.status).map(i32::from),
            failed: error.is_some(),
            error: error.map(|it| match &it.message {
                Some(message) => Cow::Borrowed(&**message),
                None => Cow::Borrowed(&*it.command),
            }),
        };
        let either = |field: fn(&Body) -> Option<u64>| {
            asked.and_then(field).or_else(|| told.and_then(field))
        };
        let record =
            Memcached {
                command: asked.map(|it| Label(Cow::Borrowed(&*it.command))),
                format: match format {
                    Format::Text => "text",
                    Format::Meta => "meta",
                    Format::Binary => "binary",
                }
                .into(),
                key,
                keys: Texts(asked.or(told).map_or_else(Vec::new, |it| {
                    it.keys.iter().map(|it| value::text(it)).collect()
                })),
                key_count: asked.map(|it| it.key_count),
                hits,
                misses,
                value_size: asked.and_then(size).or_else(|| told.and_then(size)).map(Size),
                request_value: asked.and_then(bytes).map(|it| value::Body(it.into())),
                response_value: told.and_then(bytes).map(|it| value::Body(it.into())),
                flags: either(|it| it.flags),
                exptime: asked.and_then(|it| it.exptime).map(Code),
                cas: either(|it| it.cas),
                delta: asked.and_then(|it| it.number),
                number: told.and_then(|it| it.number),
                quiet: asked.map(|it| it.quiet),
                reply: told.map(|it| Label(Cow::Borrowed(&*it.command))),
                response_status: told.and_then(|it| it.status).map(|it| Code(it.into())),
                message: told.and_then(|it| it.message.as_deref()).map(Cow::Borrowed),
                statistics: told
                    .filter(|it| !it.statistics.is_empty())
                    .map(|it| Json(format!("{{{}}}", it.statistics).into())),
                arguments: Texts(asked.map_or_else(Vec::new, |it| {
                    it.arguments.iter().map(|it| Cow::Borrowed(&**it)).collect()
                })),
                opaque: either(|it| it.opaque),
            };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        size_of::<Body>()
            + body.keys.iter().map(|it| it.len() + 16).sum::<usize>()
            + body.value.as_ref().map_or(0, Payload::held)
            + body.statistics.capacity()
    }

    fn held(&self) -> usize {
        let partials = [&self.client, &self.server].into_iter().flatten();
        partials.map(|it| Self::weight(&it.body)).sum::<usize>()
            + self.parts.iter().map(|it| it.bytes).sum::<usize>()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let partial = self.partial(side).as_mut().ok_or(Stop::Lost)?;
        partial.left = partial.left.checked_sub(missing).ok_or(Stop::Lost)?;
        partial.incomplete = true;
        partial.hides = if partial.hides == Hides::Nothing { Hides::Nothing } else { Hides::All };
        if let Some(value) = partial.body.value.as_mut().filter(|_| partial.keeps) {
            value.skip(missing);
        }
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.partial(side) = None;
        self.has_begun = true;
        let rest = input.rest();
        let is_start = |at: &usize| {
            let Some(bytes) = rest.get(*at..).filter(|it| !it.is_empty()) else { return false };
            if self.is_binary {
                judge_binary(bytes, side) == Guess::Sure
            } else {
                judge_text(bytes, side) >= Guess::Maybe
            }
        };
        let found = if self.is_binary {
            (0..rest.len()).find(is_start)
        } else {
            std::iter::once(0)
                .chain(memchr::memchr_iter(b'\n', rest).map(|at| at + 1))
                .find(is_start)
        };
        // The tail may be the start of one.
        let tail = if self.is_binary { HEADER_BYTES } else { LINE_START_BYTES };
        input.take(found.unwrap_or_else(|| rest.len().saturating_sub(tail)))?;
        input.commit();
        found.map(|_| ()).ok_or(Stop::More)
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let mut partial = self.partial(side).take()?;
        partial.hide();
        Some(partial.message().incomplete(true))
    }
}

impl Dissector {
    fn partial(&mut self, side: Side) -> &mut Option<Partial> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn next(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        loop {
            let slot = self.partial(side);
            if let Some(partial) = slot.as_mut().filter(|it| it.left > 0 || it.has_line_end) {
                partial.read(input)?;
                if !partial.is_list {
                    let partial = slot.take().ok_or(Stop::Lost)?;
                    return Ok(partial.message());
                }
            }
            let is_list = slot.is_some();
            let magic = if side == Side::Client { REQUEST } else { RESPONSE };
            let first = *input.rest().first().ok_or_else(|| input.short())?;
            let mut partial = if !is_list && first == magic {
                let partial = binary(side, input)?;
                self.is_binary = true;
                partial
            } else if side == Side::Client {
                let Some(partial) = self.command(input)? else { continue };
                self.is_binary = false;
                partial
            } else {
                match self.reply(input, open)? {
                    Some(partial) => partial,
                    None => continue,
                }
            };
            self.has_begun = true;
            if partial.body.quiet && open.len() >= QUIET_WAITING {
                // Most of them get no reply, and would only push others out that wait for one.
                partial.role = Role::Notice;
            }
            if partial.left == 0 && !partial.has_line_end && !partial.is_list {
                return Ok(partial.message());
            }
            *self.partial(side) = Some(partial);
            input.commit();
        }
    }

    /// A line of the text protocol that a client sends; `None` if it says nothing.
    fn command(&mut self, input: &mut Input<'_>) -> Result<Option<Partial>, Stop> {
        let line = line(input)?;
        let words: Vec<&[u8]> = words(line).take(WORDS).collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let Some(name) = words.first() else {
            input.commit();
            return Ok(None);
        };
        let command = match Command::named(name) {
            Some(it) => it,
            None if is_printable(line) && name.first().is_some_and(u8::is_ascii_alphabetic) => {
                Command { name: "", shape: Shape::Other }
            }
            None => return Err(Stop::Lost),
        };
        let mut body = Body {
            command: match command.name {
                "" => value::text(name).into_owned().to_ascii_lowercase().into(),
                name => name.into(),
            },
            ..Body::default()
        };
        let has_noreply = words.last() == Some(&&b"noreply"[..]);
        let mut partial_key = 0;
        let mut left = None;
        body.quiet = has_noreply;
        match command.shape {
            Shape::Store => {
                body.add_key(word(1));
                body.flags = number(word(2));
                body.exptime = signed(word(3));
                left = number(word(4));
                if command.name == "cas" {
                    body.cas = number(word(5));
                }
            }
            Shape::Read | Shape::Touch => {
                let mut first = 1;
                if matches!(command.name, "gat" | "gats") {
                    body.exptime = signed(word(1));
                    first = 2;
                }
                let until = if command.shape == Shape::Touch { 2 } else { usize::MAX };
                // All words of the line, also those that are not kept.
                for key in self::words(line).take(until).skip(first) {
                    body.add_key(key);
                }
                if command.name == "touch" {
                    body.exptime = signed(word(2));
                }
                body.quiet = false;
            }
            Shape::Count => {
                body.add_key(word(1));
                body.number = number(word(2));
            }
            Shape::Key => body.add_key(word(1)),
            Shape::Meta => {
                body.format = Format::Meta;
                let mut flags = 2;
                if command.name == "mn" {
                    flags = 1;
                } else {
                    body.add_key(word(1));
                }
                if command.name == "ms" {
                    // Once the length stood among the flags.
                    left = number(word(2)).or_else(|| {
                        words.iter().find_map(|it| it.strip_prefix(b"S")).and_then(number)
                    });
                    flags = 3;
                }
                partial_key = body.meta_flags(words.get(flags..).unwrap_or_default());
            }
            Shape::Other => {
                for word in words.iter().skip(1).take(ARGUMENTS).filter(|it| **it != b"noreply") {
                    let word = word.get(..KEY_BYTES).unwrap_or(word);
                    body.arguments.push(value::text(word).into());
                }
                if body.command == "flush_all" {
                    body.exptime = signed(word(1));
                }
            }
        }
        if command.shape == Shape::Touch {
            body.quiet = has_noreply;
        }
        let is_mute = matches!(&*body.command, "quit" | "shutdown") || has_noreply && body.quiet;
        let hides =
            if body.command == "set" && !self.has_begun { Hides::Login } else { Hides::Nothing };
        if left.is_some() {
            body.value = Some(Payload::default());
        }
        Ok(Some(Partial {
            body,
            role: if is_mute { Role::Notice } else { Role::Request },
            key: partial_key,
            left: left.unwrap_or_default(),
            has_line_end: left.is_some(),
            is_list: false,
            keeps: true,
            hides,
            incomplete: false,
        }))
    }

    /// A line of the text protocol that a server sends; `None` if the reply goes on.
    fn reply(&mut self, input: &mut Input<'_>, open: &Open<Body>) -> Result<Option<Partial>, Stop> {
        let line = line(input)?;
        let words: Vec<&[u8]> = words(line).take(ARGUMENTS).collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let reply = Reply::of(word(0), line).ok_or(Stop::Lost)?;
        if self.server.is_some()
            && !matches!(reply.shape, Answer::Value | Answer::Listed | Answer::End | Answer::Error)
        {
            return Err(Stop::Lost);
        }
        let mut partial = self.server.take().unwrap_or_else(|| Partial {
            body: Body { command: reply.name.into(), ..Body::default() },
            role: Role::Response,
            key: 0,
            left: 0,
            has_line_end: false,
            is_list: false,
            keeps: false,
            hides: Hides::Nothing,
            incomplete: false,
        });
        let body = &mut partial.body;
        match reply.shape {
            Answer::Value => {
                let Some(size) = number(word(3)) else { return Err(Stop::Lost) };
                partial.keeps = body.value.is_none();
                if partial.keeps {
                    body.value = Some(Payload::default());
                    body.flags = number(word(2));
                    body.cas = number(word(4));
                }
                body.add_key(word(1));
                body.value_size = Some(body.value_size.unwrap_or_default().saturating_add(size));
                partial.left = size;
                partial.has_line_end = true;
                partial.is_list = true;
            }
            Answer::Meta => {
                body.format = Format::Meta;
                let mut flags = 1;
                if reply.name == "VA" {
                    let Some(size) = number(word(1)) else { return Err(Stop::Lost) };
                    partial.left = size;
                    partial.has_line_end = true;
                    partial.keeps = true;
                    body.value = Some(Payload::default());
                    flags = 2;
                }
                if reply.name == "ME" {
                    body.message = Some(value::text(line.get(3..).unwrap_or_default()).into());
                } else {
                    let key = body.meta_reply(words.get(flags..).unwrap_or_default());
                    partial.key = key.filter(|it| open.oldest(*it).is_some()).unwrap_or(0);
                }
            }
            Answer::Listed => {
                let (name, rest) = match reply.name {
                    "STAT" => {
                        let rest = line.get(5..).unwrap_or_default();
                        let end = memchr(b' ', rest).unwrap_or(rest.len());
                        (word(1), rest.get(end + 1..).unwrap_or_default())
                    }
                    "ITEM" => (word(1), line.get(6 + word(1).len()..).unwrap_or_default()),
                    _ => {
                        let end = memchr(b' ', line).unwrap_or(line.len());
                        (
                            line.get(4..end).unwrap_or_default(),
                            line.get(end + 1..).unwrap_or_default(),
                        )
                    }
                };
                body.statistic(name, rest, input.limits());
                partial.is_list = true;
            }
            Answer::End => {
                partial.is_list = false;
            }
            Answer::Error => {
                body.failed = true;
                body.command = reply.name.into();
                let message = line.get(reply.name.len() + 1..).unwrap_or_default();
                body.message = (!message.is_empty()).then(|| value::text(message).into());
                partial.is_list = false;
            }
            Answer::Number => body.number = number(word(0)),
            Answer::Says => {
                let message = line.get(reply.name.len() + 1..).unwrap_or_default();
                body.message = (!message.is_empty()).then(|| value::text(message).into());
            }
            Answer::Log => {
                partial.role = Role::Notice;
                body.message = Some(value::text(line).into());
            }
        }
        Ok(Some(partial))
    }

    /// Adds a datagram of an answer; all of it once nothing is missing.
    fn assemble(&mut self, frame: Frame, bytes: &[u8], limits: &Limits) -> Option<Vec<u8>> {
        let place = match self.parts.iter().position(|it| it.id == frame.id) {
            Some(place) => place,
            None => {
                let held: usize = self.parts.iter().map(|it| it.bytes).sum();
                if self.parts.len() >= ASSEMBLIES || held > limits.message_bytes {
                    self.parts.remove(0);
                }
                let pieces = vec![None; frame.total.into()];
                self.parts.push(Parts { id: frame.id, pieces, bytes: 0 });
                self.parts.len() - 1
            }
        };
        let parts = self.parts.get_mut(place)?;
        parts.bytes += bytes.len();
        let is_too_much = parts.bytes > limits.message_bytes;
        if let Some(piece) = parts.pieces.get_mut(usize::from(frame.place)) {
            *piece = Some(bytes.to_vec());
        }
        if is_too_much {
            self.parts.remove(place);
            return None;
        }
        if parts.pieces.iter().any(Option::is_none) {
            return None;
        }
        let parts = self.parts.remove(place);
        Some(parts.pieces.into_iter().flatten().flatten().collect())
    }
}

impl Partial {
    /// More of the value.
    fn read(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let keep = input.limits().body_bytes;
        while self.left > 0 {
            let bytes = input.some(self.left)?;
            self.left -= bytes.len() as u64;
            if let Some(value) = self.body.value.as_mut().filter(|_| self.keeps) {
                let keep = if self.hides == Hides::All { 0 } else { keep };
                value.push(bytes, keep);
            }
            input.commit();
        }
        if self.has_line_end {
            if input.take(2)? != b"\r\n" {
                return Err(Stop::Lost);
            }
            self.has_line_end = false;
            input.commit();
        }
        self.hide();
        Ok(())
    }

    /// Forgets the value if it may be a password.
    fn hide(&mut self) {
        let Some(value) = &mut self.body.value else { return };
        let hides = match self.hides {
            Hides::Nothing => false,
            Hides::All => true,
            Hides::Login => {
                let bytes = value.bytes();
                let is_short = value.size() <= LOGIN_BYTES;
                is_short && is_printable(bytes) && words(bytes).count() == 2
            }
        };
        if hides {
            let mut hidden = Payload::default();
            hidden.push(b"***", 3);
            self.body.value_size.get_or_insert_with(|| value.size());
            *value = hidden;
        }
    }

    fn message(self) -> Message<Body> {
        let message = match self.role {
            Role::Request => Message::request(self.body),
            Role::Response => Message::response(self.body),
            Role::Notice | Role::Part => Message::notice(self.body),
        };
        message.key(self.key).incomplete(self.incomplete)
    }
}

impl Body {
    fn add_key(&mut self, key: &[u8]) {
        self.key_count += 1;
        if self.keys.len() < KEYS {
            self.keys.push(key.get(..KEY_BYTES).unwrap_or(key).into());
        }
    }

    /// Takes what a meta command's flags say; the key of the reply if it need not come.
    fn meta_flags(&mut self, flags: &[&[u8]]) -> u64 {
        let mut names = (None, false);
        for flag in flags.iter().take(ARGUMENTS) {
            let flag = flag.get(..KEY_BYTES).unwrap_or(flag);
            self.arguments.push(value::text(flag).into());
            let Some((name, rest)) = flag.split_first() else { continue };
            match name {
                b'q' => self.quiet = true,
                b'k' => names.1 = true,
                b'O' => names.0 = Some(rest),
                b'T' => self.exptime = signed(rest),
                b'F' => self.flags = number(rest),
                b'C' => self.cas = number(rest),
                b'D' => self.number = number(rest),
                _ => {}
            }
        }
        match names {
            _ if !self.quiet => 0,
            (Some(opaque), _) => hash(b'O', opaque),
            (None, true) => hash(b'k', self.keys.first().map(|it| &**it).unwrap_or_default()),
            (None, false) => QUIET,
        }
    }

    /// Takes what a meta reply's flags say; the key of the request if that may have gone without.
    fn meta_reply(&mut self, flags: &[&[u8]]) -> Option<u64> {
        let (mut opaque, mut named) = (None, None);
        for flag in flags {
            let Some((name, rest)) = flag.split_first() else { continue };
            match name {
                b'k' => {
                    self.add_key(rest);
                    named = Some(hash(b'k', rest));
                }
                b'O' => opaque = Some(hash(b'O', rest)),
                b'f' => self.flags = number(rest),
                b'c' => self.cas = number(rest),
                b's' => self.value_size = number(rest),
                _ => {}
            }
        }
        opaque.or(named)
    }

    fn statistic(&mut self, name: &[u8], told: &[u8], limits: &Limits) {
        if self.statistics.len() > limits.body_bytes {
            return;
        }
        if !self.statistics.is_empty() {
            self.statistics.push(',');
        }
        quote(name, &mut self.statistics);
        self.statistics.push(':');
        match number(told) {
            Some(number) => self.statistics.push_str(&number.to_string()),
            None => quote(told, &mut self.statistics),
        }
    }
}

/// A message of the binary protocol, up to its value.
fn binary(side: Side, input: &mut Input<'_>) -> Result<Partial, Stop> {
    let header = Header::of(input.take(HEADER_BYTES)?).ok_or(Stop::Lost)?;
    let name = header.name();
    let left = header.value_bytes().ok_or(Stop::Lost)?;
    if header.is_request != (side == Side::Client) {
        return Err(Stop::Lost);
    }
    let mut extras = Numbers(input.take(header.extras.into())?);
    let key = input.take(header.key.into())?;
    let mut body = Body {
        format: Format::Binary,
        opaque: Some(header.opaque.into()),
        cas: (header.cas != 0).then_some(header.cas),
        ..Body::default()
    };
    if header.key > 0 {
        body.add_key(key);
    }
    let is_login = matches!(header.opcode, 0x21 | 0x22);
    let mut role = Role::Request;
    if header.is_request {
        body.quiet = is_quiet(header.opcode);
        match header.opcode {
            // A set has flags, and then when it expires.
            0x01..=0x03 | 0x11..=0x13 => {
                body.flags = extras.u32().map(u64::from);
                body.exptime = extras.u32().and_then(|it| it.try_into().ok());
            }
            0x05 | 0x06 | 0x15 | 0x16 => {
                body.number = extras.u64();
                // What to begin with where there is nothing yet.
                extras.u64();
                body.exptime = extras.u32().and_then(|it| it.try_into().ok());
            }
            0x1c | 0x1d | 0x1e | 0x23 | 0x24 | 0x08 | 0x18 => {
                body.exptime = extras.u32().and_then(|it| it.try_into().ok());
            }
            _ => {}
        }
        body.command = name;
    } else {
        role = Role::Response;
        body.status = Some(header.status);
        body.command = status_name(header.status);
        body.failed = !matches!(header.status, 0 | 1 | 2 | 5 | 0x21);
        if header.status == 0 && header.extras >= 4 {
            body.flags = extras.u32().map(u64::from);
        }
        if header.status == 0 && matches!(header.opcode, 0x05 | 0x06 | 0x15 | 0x16) && left == 8 {
            body.number = Numbers(input.take(8)?).u64();
        }
    }
    let is_told = body.number.is_some() && !header.is_request;
    let left = if is_told { 0 } else { left };
    let is_text = header.opcode == 0x0b || header.status != 0 || header.opcode == 0x10;
    if !header.is_request && is_text && left <= MESSAGE_BYTES {
        let text = input.take(usize::try_from(left).map_err(|_| Stop::Lost)?)?;
        match header.opcode {
            0x10 if header.status == 0 && header.key > 0 => {
                body.statistic(key, text, input.limits());
            }
            _ if is_login => {}
            _ if !text.is_empty() => body.message = Some(value::text(text).into()),
            _ => {}
        }
        return Ok(Partial::binary(body, role, header.pair(), 0, Hides::Nothing));
    }
    if left > 0 {
        body.value = Some(Payload::default());
    }
    let hides = if is_login { Hides::All } else { Hides::Nothing };
    Ok(Partial::binary(body, role, header.pair(), left, hides))
}

impl Partial {
    fn binary(body: Body, role: Role, key: u64, left: u64, hides: Hides) -> Self {
        Self {
            body,
            role,
            key,
            left,
            has_line_end: false,
            is_list: false,
            keeps: true,
            hides,
            incomplete: false,
        }
    }
}

/// What every message of the binary protocol begins with.
struct Header {
    is_request: bool,
    opcode: u8,
    key: u16,
    extras: u8,
    kind: u8,
    status: u16,
    total: u32,
    opaque: u32,
    cas: u64,
}

impl Header {
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut from = Numbers(bytes);
        let magic = from.u8()?;
        let header = Self {
            is_request: magic == REQUEST,
            opcode: from.u8()?,
            key: from.u16()?,
            extras: from.u8()?,
            kind: from.u8()?,
            status: from.u16()?,
            total: from.u32()?,
            opaque: from.u32()?,
            cas: from.u64()?,
        };
        (matches!(magic, REQUEST | RESPONSE) && header.kind <= 7 && header.total <= LONGEST)
            .then_some(header)
    }

    fn value_bytes(&self) -> Option<u64> {
        let before = u32::from(self.key) + u32::from(self.extras);
        self.total.checked_sub(before).map(u64::from)
    }

    fn name(&self) -> Cow<'static, str> {
        match OPCODES.get(usize::from(self.opcode)).filter(|it| !it.is_empty()) {
            Some(name) => (*name).into(),
            None => OTHER_OPCODES
                .iter()
                .find(|it| it.0 == self.opcode)
                .map_or_else(|| format!("0x{:02x}", self.opcode).into(), |it| it.1.into()),
        }
    }

    /// Clients that number nothing send the same number always; then order and kind decide.
    fn pair(&self) -> u64 {
        BINARY | u64::from(self.opcode) << 32 | u64::from(self.opaque)
    }
}

/// What every datagram begins with.
#[derive(Clone, Copy)]
struct Frame {
    id: u16,
    place: u16,
    total: u16,
}

impl Frame {
    fn of(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut from = Numbers(bytes);
        let frame = Self { id: from.u16()?, place: from.u16()?, total: from.u16()? };
        let reserved = from.u16()?;
        let is_one = reserved == 0 && frame.place < frame.total && frame.total <= MOST_PARTS;
        is_one.then_some((frame, from.0))
    }
}

/// Bytes in big endian.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.fixed().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.fixed().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_be_bytes)
    }
}

/// A command of the text protocol.
#[derive(Clone, Copy)]
struct Command {
    name: &'static str,
    shape: Shape,
}

/// What follows a command's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A key, flags, when it expires, a length and a value.
    Store,
    /// Keys.
    Read,
    /// A key and when it expires.
    Touch,
    /// A key and a number.
    Count,
    Key,
    Meta,
    Other,
}

impl Command {
    fn named(name: &[u8]) -> Option<Self> {
        let shape = match name {
            b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => Shape::Store,
            b"get" | b"gets" | b"gat" | b"gats" => Shape::Read,
            b"touch" => Shape::Touch,
            b"incr" | b"decr" => Shape::Count,
            b"delete" => Shape::Key,
            b"mg" | b"ms" | b"md" | b"ma" | b"me" | b"mn" => Shape::Meta,
            _ => Shape::Other,
        };
        let name = NAMES.iter().find(|it| it.as_bytes() == name)?;
        Some(Self { name, shape })
    }
}

/// The first line of a reply in the text protocol.
struct Reply {
    name: &'static str,
    shape: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Value,
    Listed,
    End,
    Meta,
    Error,
    Number,
    Says,
    /// What `watch` shows.
    Log,
}

impl Reply {
    fn of(word: &[u8], line: &[u8]) -> Option<Self> {
        let (name, shape) = match word {
            b"VALUE" => ("VALUE", Answer::Value),
            b"CONFIG" => ("CONFIG", Answer::Value),
            b"STAT" => ("STAT", Answer::Listed),
            b"ITEM" => ("ITEM", Answer::Listed),
            b"END" if line.len() == 3 => ("END", Answer::End),
            b"HD" => ("HD", Answer::Meta),
            b"VA" => ("VA", Answer::Meta),
            b"EN" => ("EN", Answer::Meta),
            b"NF" => ("NF", Answer::Meta),
            b"NS" => ("NS", Answer::Meta),
            b"EX" => ("EX", Answer::Meta),
            b"MN" => ("MN", Answer::Meta),
            b"ME" => ("ME", Answer::Meta),
            b"ERROR" => ("ERROR", Answer::Error),
            b"CLIENT_ERROR" => ("CLIENT_ERROR", Answer::Error),
            b"SERVER_ERROR" => ("SERVER_ERROR", Answer::Error),
            b"STORED" | b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND" | b"DELETED" | b"TOUCHED"
                if line.len() != word.len() =>
            {
                return None;
            }
            b"STORED" => ("STORED", Answer::Says),
            b"NOT_STORED" => ("NOT_STORED", Answer::Says),
            b"EXISTS" => ("EXISTS", Answer::Says),
            b"NOT_FOUND" => ("NOT_FOUND", Answer::Says),
            b"DELETED" => ("DELETED", Answer::Says),
            b"TOUCHED" => ("TOUCHED", Answer::Says),
            b"OK" => ("OK", Answer::Says),
            b"RESET" => ("RESET", Answer::Says),
            b"BUSY" => ("BUSY", Answer::Says),
            b"BADCLASS" => ("BADCLASS", Answer::Says),
            b"VERSION" => ("VERSION", Answer::Says),
            _ if word.starts_with(b"key=") => ("ITEM", Answer::Listed),
            _ if word.starts_with(b"ts=") => ("LOG", Answer::Log),
            // After a decrement, spaces stand where digits were.
            _ if number(line.trim_ascii_end()).is_some() => ("NUMBER", Answer::Number),
            _ => return None,
        };
        Some(Self { name, shape })
    }
}

/// How much the first bytes look like what `side` would send.
fn judge(bytes: &[u8], side: Side) -> Guess {
    judge_binary(bytes, side).max(judge_text(bytes, side))
}

fn judge_binary(bytes: &[u8], side: Side) -> Guess {
    let magic = if side == Side::Client { REQUEST } else { RESPONSE };
    let known = |opcode: u8| {
        OPCODES.get(usize::from(opcode)).is_some_and(|it| !it.is_empty())
            || OTHER_OPCODES.iter().any(|it| it.0 == opcode)
    };
    match bytes {
        [] => return Guess::More,
        [first, ..] if *first != magic => return Guess::No,
        [_, opcode, ..] if !known(*opcode) => return Guess::No,
        [_, _, _, _, _, kind, ..] if *kind > 7 => return Guess::No,
        _ => {}
    }
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Guess::More };
    let Some(header) = Header::of(header) else { return Guess::No };
    let Some(value) = header.value_bytes() else { return Guess::No };
    if header.key > 250 {
        return Guess::No;
    }
    let extras = header.extras;
    let fits = match (header.is_request, header.opcode) {
        (true, 0x00 | 0x09 | 0x0c | 0x0d) => extras == 0 && header.key > 0 && value == 0,
        (true, 0x01..=0x03 | 0x11..=0x13) => extras == 8 && header.key > 0,
        (true, 0x04 | 0x14) => extras == 0 && header.key > 0 && value == 0,
        (true, 0x05 | 0x06 | 0x15 | 0x16) => extras == 20 && header.key > 0 && value == 0,
        (true, 0x07 | 0x0a | 0x0b | 0x17 | 0x20) => header.total == 0,
        (true, 0x08 | 0x18) => matches!(extras, 0 | 4) && header.key == 0 && value == 0,
        (true, 0x0e | 0x0f | 0x19 | 0x1a) => extras == 0 && header.key > 0,
        (true, 0x1c..=0x1e | 0x23 | 0x24) => extras == 4 && header.key > 0 && value == 0,
        (true, 0x21 | 0x22) => extras == 0 && header.key > 0,
        (true, _) => extras <= 24,
        (false, 0x05 | 0x06 | 0x15 | 0x16) => extras == 0 && (header.status != 0 || value == 8),
        (false, _) => extras <= 16 && (header.status < 0x100),
    };
    match fits {
        true if header.kind == 0 => Guess::Sure,
        true => Guess::Maybe,
        false => Guess::No,
    }
}

fn judge_text(bytes: &[u8], side: Side) -> Guess {
    let Some(end) = memchr(b'\n', bytes) else {
        let is_start = match side {
            Side::Client => NAMES.iter().any(|it| begins(bytes, it)),
            Side::Server => {
                ANSWERS.iter().any(|it| begins(bytes, it))
                    || bytes.len() < 22 && bytes.iter().all(u8::is_ascii_digit)
            }
        };
        let is_short = bytes.len() < LINE_START_BYTES
            && is_printable(bytes.strip_suffix(b"\r").unwrap_or(bytes));
        return if is_start && is_short { Guess::More } else { Guess::No };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let all: Vec<&[u8]> = words(line).take(8).collect();
    let word = |at: usize| all.get(at).copied().unwrap_or_default();
    let is_number = |at: usize| number(word(at)).is_some();
    if line.len() > LINE_BYTES || !is_printable(line) || all.is_empty() {
        return Guess::No;
    }
    if side == Side::Client {
        let Some(command) = Command::named(word(0)) else { return Guess::No };
        return match command.shape {
            Shape::Store => {
                let fits = is_number(2) && signed(word(3)).is_some() && is_number(4);
                let least = if command.name == "cas" { 6 } else { 5 };
                let has_end =
                    all.len() == least || all.len() == least + 1 && word(least) == b"noreply";
                if fits && has_end { Guess::Sure } else { Guess::No }
            }
            Shape::Count => match all.len() {
                3 | 4 if is_number(2) => Guess::Maybe,
                _ => Guess::No,
            },
            Shape::Touch if all.len() >= 3 && signed(word(2)).is_some() => Guess::Maybe,
            Shape::Touch => Guess::No,
            Shape::Read | Shape::Key if all.len() >= 2 => Guess::Maybe,
            Shape::Read | Shape::Key => Guess::No,
            Shape::Meta if command.name == "mn" => Guess::Maybe,
            Shape::Meta if all.len() < 2 => Guess::No,
            Shape::Meta => {
                let flags = all.get(if command.name == "ms" { 3 } else { 2 }..).unwrap_or_default();
                let is_flag = |it: &&[u8]| it.first().is_some_and(u8::is_ascii_alphabetic);
                match flags.iter().all(is_flag) {
                    true if command.name == "ms" && is_number(2) => Guess::Sure,
                    true => Guess::Maybe,
                    false => Guess::No,
                }
            }
            Shape::Other => Guess::Maybe,
        };
    }
    match Reply::of(word(0), line).map(|it| it.shape) {
        None => Guess::No,
        Some(Answer::Value) if matches!(all.len(), 4 | 5) && is_number(2) && is_number(3) => {
            Guess::Sure
        }
        Some(Answer::Value) => Guess::No,
        Some(Answer::Listed) if word(0) == b"STAT" && all.len() >= 3 => Guess::Sure,
        Some(Answer::Says) if SURE_ANSWERS.contains(&word(0)) => Guess::Sure,
        Some(_) => Guess::Maybe,
    }
}

/// Whether one of them begins with the other.
fn begins(bytes: &[u8], word: &str) -> bool {
    let word = word.as_bytes();
    match bytes.get(..word.len()) {
        Some(start) => start == word && bytes.get(word.len()).is_none_or(|it| b" \r".contains(it)),
        None => word.starts_with(bytes),
    }
}

/// The next line, without its end.
fn line<'i>(input: &mut Input<'i>) -> Result<&'i [u8], Stop> {
    let line = input.until(b"\n", LINE_BYTES)?;
    Ok(line.strip_suffix(b"\r").unwrap_or(line))
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|it| *it == b' ').filter(|it| !it.is_empty())
}

fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|it| *it >= b' ' && *it != 0x7f)
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

fn signed(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Never zero, which would mean that order decides.
fn hash(kind: u8, bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u8(kind);
    hasher.write(bytes);
    hasher.finish() | QUIET
}

fn quote(bytes: &[u8], to: &mut String) {
    to.push('"');
    for letter in value::text(bytes).chars() {
        match letter {
            '"' | '\\' => to.extend(['\\', letter]),
            it if it < ' ' => to.push(' '),
            it => to.push(it),
        }
    }
    to.push('"');
}

fn status_name(status: u16) -> Cow<'static, str> {
    let name = match status {
        0x00 => "SUCCESS",
        0x01 => "KEY_NOT_FOUND",
        0x02 => "KEY_EXISTS",
        0x03 => "VALUE_TOO_LARGE",
        0x04 => "INVALID_ARGUMENTS",
        0x05 => "ITEM_NOT_STORED",
        0x06 => "NON_NUMERIC_VALUE",
        0x07 => "WRONG_VBUCKET",
        0x08 => "AUTHENTICATION_ERROR",
        0x09 => "AUTHENTICATION_CONTINUE",
        0x20 => "AUTHENTICATION_REQUIRED",
        0x21 => "FURTHER_AUTHENTICATION_NEEDED",
        0x24 => "NO_ACCESS",
        0x81 => "UNKNOWN_COMMAND",
        0x82 => "OUT_OF_MEMORY",
        0x83 => "NOT_SUPPORTED",
        0x84 => "INTERNAL_ERROR",
        0x85 => "BUSY",
        0x86 => "TEMPORARY_FAILURE",
        other => return format!("0x{other:02x}").into(),
    };
    name.into()
}

/// Whether only a reply that says something new comes.
fn is_quiet(opcode: u8) -> bool {
    matches!(opcode, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24)
        || matches!(opcode, 0x32 | 0x34 | 0x36 | 0x38 | 0x3a | 0x3c)
}

/// Names of the binary protocol's operations, by number; "" where there is none.
const OPCODES: &[&str] = &[
    "get",
    "set",
    "add",
    "replace",
    "delete",
    "incr",
    "decr",
    "quit",
    "flush",
    "getq",
    "noop",
    "version",
    "getk",
    "getkq",
    "append",
    "prepend",
    "stat",
    "setq",
    "addq",
    "replaceq",
    "deleteq",
    "incrq",
    "decrq",
    "quitq",
    "flushq",
    "appendq",
    "prependq",
    "verbosity",
    "touch",
    "gat",
    "gatq",
    "hello",
    "sasl_list_mechs",
    "sasl_auth",
    "sasl_step",
    "gatk",
    "gatkq",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "rget",
    "rset",
    "rsetq",
    "rappend",
    "rappendq",
    "rprepend",
    "rprependq",
    "rdelete",
    "rdeleteq",
    "rincr",
    "rincrq",
    "rdecr",
    "rdecrq",
];

/// Operations of Couchbase that its clients begin with or send most.
const OTHER_OPCODES: &[(u8, &str)] = &[
    (0x3d, "set_vbucket"),
    (0x83, "get_replica"),
    (0x89, "select_bucket"),
    (0x91, "observe_seqno"),
    (0x92, "observe"),
    (0x94, "get_locked"),
    (0x95, "unlock_key"),
    (0xb5, "get_cluster_config"),
    (0xba, "get_collections_manifest"),
    (0xbb, "get_collection_id"),
    (0xc5, "subdoc_get"),
    (0xd0, "subdoc_multi_lookup"),
    (0xd1, "subdoc_multi_mutation"),
    (0xfe, "get_error_map"),
];

/// Commands of the text protocol.
const NAMES: &[&str] = &[
    "get",
    "gets",
    "gat",
    "gats",
    "set",
    "add",
    "replace",
    "append",
    "prepend",
    "cas",
    "incr",
    "decr",
    "delete",
    "touch",
    "mg",
    "ms",
    "md",
    "ma",
    "me",
    "mn",
    "stats",
    "flush_all",
    "version",
    "verbosity",
    "quit",
    "cache_memlimit",
    "lru",
    "lru_crawler",
    "slabs",
    "watch",
    "config",
    "refresh_certs",
    "misbehave",
    "shutdown",
];

/// First words of replies in the text protocol.
const ANSWERS: &[&str] = &[
    "VALUE",
    "CONFIG",
    "STAT",
    "ITEM",
    "END",
    "HD",
    "VA",
    "EN",
    "NF",
    "NS",
    "EX",
    "MN",
    "ME",
    "ERROR",
    "CLIENT_ERROR",
    "SERVER_ERROR",
    "STORED",
    "NOT_STORED",
    "EXISTS",
    "NOT_FOUND",
    "DELETED",
    "TOUCHED",
    "OK",
    "RESET",
    "BUSY",
    "BADCLASS",
    "VERSION",
];

/// Those that nobody else says.
const SURE_ANSWERS: &[&[u8]] = &[b"STORED", b"NOT_STORED", b"DELETED", b"TOUCHED"];

/// Commands that find keys, or not.
const READS: &[&str] =
    &["get", "gets", "gat", "gats", "mg", "getq", "getk", "getkq", "gatq", "gatk", "gatkq"];

const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;
const HEADER_BYTES: usize = 24;

/// What a value may have where servers are told to take it.
const LONGEST: u32 = 1 << 30;

/// A line with a few thousand keys.
const LINE_BYTES: usize = 64 << 10;

/// By then a line has shown what it is.
const LINE_START_BYTES: usize = 2048;

/// Requests that wait while quiet ones are still waited for.
const QUIET_WAITING: usize = 256;

/// What a server says in words.
const MESSAGE_BYTES: u64 = 8 << 10;

/// A user's name and password.
const LOGIN_BYTES: u64 = 256;

/// What keys may have.
const KEY_BYTES: usize = 250;

/// Keys kept of a command.
const KEYS: usize = 64;

/// Other words kept of a command.
const ARGUMENTS: usize = 64;

/// Words looked at of a command.
const WORDS: usize = 64;

/// Replies in several datagrams that come at once.
const ASSEMBLIES: usize = 8;

/// A megabyte in datagrams.
const MOST_PARTS: u16 = 1024;

/// Marks keys: of quiet commands, of the binary protocol, and of datagrams.
const QUIET: u64 = 1 << 63;
const BINARY: u64 = 1 << 40;
const UDP: u64 = 1 << 41;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::drive::{self, Step, client, server};

    fn rows(steps: &[Step]) -> Vec<Value> {
        drive::however_cut::<Dissector>(steps)
    }

    /// Columns of each row, as text; nothing where there is null.
    fn columns(rows: &[Value], names: &str) -> Vec<String> {
        let shown = |it: &Value| match it {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let row =
            |row: &Value| names.split(' ').map(|it| shown(&row[it])).collect::<Vec<_>>().join(" ");
        rows.iter().map(row).collect()
    }

    fn hexed(text: &str) -> String {
        text.bytes().map(|it| format!("{it:02x}")).collect()
    }

    fn packet(magic: u8, opcode: u8, status: u16, opaque: u32, parts: [&[u8]; 3]) -> Vec<u8> {
        let total = parts.iter().map(|it| it.len()).sum::<usize>() as u32;
        let mut bytes = vec![magic, opcode];
        bytes.extend((parts[1].len() as u16).to_be_bytes());
        bytes.extend([parts[0].len() as u8, 0]);
        bytes.extend(status.to_be_bytes());
        bytes.extend(total.to_be_bytes());
        bytes.extend(opaque.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(parts.concat());
        bytes
    }

    #[test]
    fn answers_come_in_the_order_of_commands() {
        let rows = rows(&[
            client(
                "set a 5 60 3\r\nxyz\r\nget a b c\r\nincr n 2\r\ndelete a\r\ncas a 0 0 1 9\r\nx\r\n",
            ),
            server(
                "STORED\r\nVALUE a 5 3\r\nxyz\r\nVALUE c 0 2\r\n\r\n\r\nEND\r\n7\r\nDELETED\r\nEXISTS\r\n",
            ),
            client("get none\r\ntouch a 10\r\n"),
            server("END\r\nNOT_FOUND\r\n"),
        ]);
        let names = "command key key_count hits misses value_size reply number failed";
        let expected = [
            "set a 1 - - 3 STORED - -",
            "get a 3 2 1 5 VALUE - -",
            "incr n 1 - - - NUMBER 7 -",
            "delete a 1 - - - DELETED - -",
            "cas a 1 - - 1 EXISTS - -",
            "get none 1 0 1 - END - -",
            "touch a 1 - - - NOT_FOUND - -",
        ];
        assert_eq!(columns(&rows, names), expected);
        assert_eq!(rows[0]["request_value"], hexed("xyz"));
        assert_eq!(rows[1]["response_value"], hexed("xyz"));
        assert_eq!(columns(&rows[..1], "flags exptime"), ["5 60"]);
        assert_eq!(rows[4]["cas"], 9);
    }

    #[test]
    fn errors_and_statistics_are_told() {
        let rows = rows(&[
            client("incr a 1\r\nbogus\r\nstats\r\nversion\r\n"),
            server(
                "CLIENT_ERROR no number\r\nERROR\r\nSTAT pid 7\r\nSTAT v a \"b\r\nEND\r\nVERSION 1.6\r\n",
            ),
        ]);
        let names = "command reply failed error message statistics";
        let expected = [
            "incr CLIENT_ERROR true no number no number -",
            "bogus ERROR true ERROR - -",
            r#"stats STAT - - - {"pid":7,"v":"a \"b"}"#,
            "version VERSION - - 1.6 -",
        ];
        assert_eq!(columns(&rows, names), expected);
    }

    #[test]
    fn quiet_commands_do_not_wait() {
        let rows = rows(&[
            client("set a 0 0 1 noreply\r\nx\r\nget a\r\nquit\r\n"),
            server("VALUE a 0 1\r\nx\r\nEND\r\n"),
        ]);
        let expected = ["set true -", "quit false -", "get false VALUE"];
        let mut shown = columns(&rows, "command quiet reply");
        shown.sort_by_key(|it| expected.iter().position(|other| other == it));
        assert_eq!(shown, expected);
    }

    #[test]
    fn quiet_meta_commands_are_known_by_what_comes_back() {
        let rows = rows(&[
            client("mg a v k q\r\nmg b v k q\r\nms c 1 q O5\r\nx\r\nmd d q O6\r\nmn\r\n"),
            server("VA 2 kb\r\nhi\r\nNS O5\r\nMN\r\n"),
        ]);
        let expected = ["mg b VA 1 0", "ms c NS - -", "mn - MN - -", "mg a - - -", "md d - - -"];
        assert_eq!(columns(&rows, "command key reply hits misses"), expected);
    }

    #[test]
    fn thousands_of_quiet_commands_push_nobody_out() {
        let set = |n: u32| packet(0x80, 0x11, 0, n, [&[0; 8], b"k", b"v"]);
        let asked: Vec<u8> = (0..2000).flat_map(set).collect();
        let noop = packet(0x80, 0x0a, 0, 7, [b"", b"", b""]);
        let told = packet(0x81, 0x0a, 0, 7, [b"", b"", b""]);
        let steps =
            [client(packet(0x80, 0x0b, 0, 1, [b"", b"", b""])), client([asked, noop].concat())];
        let version = packet(0x81, 0x0b, 0, 1, [b"", b"", b"1.6"]);
        let rows = drive::stream::<Dissector>(
            &[&steps[..], &[server([version, told].concat())]].concat(),
            1460,
        );
        assert_eq!(rows.len(), 2002);
        let answered: Vec<_> = rows.iter().filter(|it| it["reply"] == "SUCCESS").cloned().collect();
        assert_eq!(columns(&answered, "command message"), ["version 1.6", "noop -"]);
    }

    #[test]
    fn binary_messages_are_paired_by_number_and_kind() {
        let asked = [
            packet(0x80, 0x0d, 0, 1, [b"", b"a", b""]),
            packet(0x80, 0x0d, 0, 2, [b"", b"b", b""]),
            packet(0x80, 0x01, 0, 3, [&[0, 0, 0, 7, 0, 0, 0, 60], b"c", b"value"]),
            packet(0x80, 0x05, 0, 4, [&[0; 20], b"n", b""]),
            packet(0x80, 0x0a, 0, 5, [b"", b"", b""]),
        ];
        let told = [
            packet(0x81, 0x0d, 0, 2, [&[0, 0, 0, 9], b"b", b"found"]),
            packet(0x81, 0x01, 3, 3, [b"", b"", b"Too large."]),
            packet(0x81, 0x05, 0, 4, [b"", b"", &[0, 0, 0, 0, 0, 0, 0, 8]]),
            packet(0x81, 0x0a, 0, 5, [b"", b"", b""]),
        ];
        let rows = rows(&[client(asked.concat()), server(told.concat())]);
        let names = "command key reply response_status flags hits number value_size error";
        let expected = [
            "getkq b SUCCESS 0 9 1 - 5 -",
            "set c VALUE_TOO_LARGE 3 7 - - 5 Too large.",
            "incr n SUCCESS 0 - - 8 - -",
            "noop - SUCCESS 0 - - - - -",
            "getkq a - - - - - - -",
        ];
        assert_eq!(columns(&rows, names), expected);
    }

    #[test]
    fn datagrams_are_put_together() {
        let frame = |id: u8, place: u8, total: u8, text: &str| {
            [&[0, id, 0, place, 0, total, 0, 0], text.as_bytes()].concat()
        };
        let rows = drive::datagrams::<Dissector>(&[
            client(frame(1, 0, 1, "get a\r\n")),
            client(frame(2, 0, 1, "get b\r\n")),
            server(frame(1, 1, 2, "6789\r\nEND\r\n")),
            server(frame(2, 0, 1, "END\r\n")),
            server(frame(1, 0, 2, "VALUE a 0 10\r\n012345")),
        ]);
        let expected = ["get b 0 - 2", "get a 1 10 1"];
        assert_eq!(columns(&rows, "command key hits value_size opaque"), expected);
        assert_eq!(rows[1]["response_value"], hexed("0123456789"));
    }

    #[test]
    fn logins_are_not_kept() {
        let asked = packet(0x80, 0x21, 0, 1, [b"", b"PLAIN", b"\0bob\0s3cret"]);
        let binary = rows(&[client(asked)]);
        assert_eq!(binary[0]["request_value"], hexed("***"));
        let steps = [client("set a 0 0 10\r\nbob s3cret\r\nset b 0 0 3\r\nx y\r\n")];
        let text = rows(&steps);
        assert_eq!(
            columns(&text, "request_value value_size"),
            [format!("{} 10", hexed("***")), format!("{} 3", hexed("x y")),]
        );
    }

    #[test]
    fn huge_values_need_little_room_and_holes_in_them_are_absorbed() {
        let value = vec![b'x'; 3 << 20];
        let rows = drive::stream::<Dissector>(
            &[
                client(
                    [format!("set a 0 0 {}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat(),
                ),
                server("STORED\r\n"),
                client("get a\r\n"),
                server(format!("VALUE a 0 {}\r\n0123", value.len())),
                Step::Loses(Side::Server, (value.len() - 8) as u64),
                server("0123\r\nEND\r\n"),
            ],
            1460,
        );
        let shown = columns(&rows, "command value_size incomplete");
        assert_eq!(shown, ["set 3145728 -", "get 3145728 true"]);
        assert!(rows[0]["request_value"].as_str().unwrap().len() <= 128 << 10);
        assert_eq!(rows[1]["response_value"], hexed("0123"));
    }

    #[test]
    fn after_a_hole_the_next_answer_is_found() {
        let rows = rows(&[
            client("get a\r\nget b\r\n"),
            server("VALUE a 0 5\r\n"),
            Step::Loses(Side::Server, 20),
            server("rest\r\nVALUE b 0 1\r\nx\r\nEND\r\n"),
        ]);
        // Which of the two it answers is not to be told in a test without times.
        assert_eq!(rows.iter().filter(|it| it["reply"] == "VALUE").count(), 2);
    }

    #[test]
    fn recognised_by_content() {
        let text = |bytes: &str, side| judge(bytes.as_bytes(), side);
        for (bytes, guess) in [
            ("set a 0 0 3\r\n", Guess::Sure),
            ("cas a 0 0 3 9 noreply\r\n", Guess::Sure),
            ("ms a 3 T0\r\n", Guess::Sure),
            ("get a\r\n", Guess::Maybe),
            ("stats\r\n", Guess::Maybe),
            ("se", Guess::More),
            ("", Guess::More),
            ("set a b c\r\n", Guess::No),
            ("GET / HTTP/1.1\r\n", Guess::No),
            ("settle this\r\n", Guess::No),
        ] {
            assert_eq!(text(bytes, Side::Client), guess, "{bytes:?}");
        }
        assert_eq!(text("VALUE a 0 3\r\nx", Side::Server), Guess::Sure);
        assert_eq!(text("STORED\r\n", Side::Server), Guess::Sure);
        assert_eq!(text("220 hello\r\n", Side::Server), Guess::No);
        let asked = packet(0x80, 0x00, 0, 1, [b"", b"key", b""]);
        assert_eq!(judge(&asked, Side::Client), Guess::Sure);
        assert_eq!(judge(&asked[..20], Side::Client), Guess::More);
        assert_eq!(judge(&asked, Side::Server), Guess::No);
    }

    proptest! {
        #[test]
        fn damage_is_no_accident(
            order in proptest::collection::vec(0_usize..64, 1..12),
            bent in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
            side in any::<bool>(), piece in 1_usize..200, missing in 0_u64..40,
        ) {
            let messages = [
                b"set a 0 0 3\r\nxyz\r\n".to_vec(),
                b"get a b\r\nmg a v k q O1\r\n".to_vec(),
                b"ms a 2 T0\r\nhi\r\nincr a 1\r\n".to_vec(),
                b"VALUE a 0 3\r\nxyz\r\nEND\r\nSTORED\r\n".to_vec(),
                b"VA 2 f1 ka\r\nhi\r\nHD\r\nSTAT a b\r\nEND\r\n".to_vec(),
                b"ITEM a [3 b; 0 s]\r\nkey=a exp=0\r\nEND\r\n7\r\nERROR\r\n".to_vec(),
                packet(0x80, 0x01, 0, 3, [&[0, 0, 0, 7, 0, 0, 0, 60], b"c", b"value"]),
                packet(0x80, 0x05, 0, 4, [&[0; 20], b"n", b""]),
                packet(0x81, 0x05, 0, 4, [b"", b"", &[0, 0, 0, 0, 0, 0, 0, 8]]),
                packet(0x81, 0x00, 0, 4, [&[0, 0, 0, 1], b"", b"value"]),
                packet(0x81, 0x10, 0, 4, [b"", b"pid", b"7"]),
            ];
            let mut bytes: Vec<u8> =
                order.iter().flat_map(|it| messages[it % messages.len()].clone()).collect();
            for (at, with) in bent {
                let at = usize::from(at) % bytes.len();
                bytes[at] = with;
            }
            let side = if side { Side::Client } else { Side::Server };
            let sends = |side| Step::Sends(side, bytes.clone());
            let steps =
                [sends(side), sends(side.other()), Step::Loses(side, missing), sends(side), Step::Ends(side)];
            drive::stream::<Dissector>(&steps, piece);
            let frame = [&[0, 1, 0, 0, 0, 1, 0, 0][..], &bytes].concat();
            drive::datagrams::<Dissector>(&[Step::Sends(side, frame)]);
        }
    }
}
