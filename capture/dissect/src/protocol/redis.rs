//! Redis, Valkey and what else speaks RESP2 or RESP3:
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
use std::borrow::Cow;
use std::fmt::Write;

use memchr::{memchr, memmem};
use schema::value::{Code, Label, Size, Texts, text};

use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

/// Commands sent to Redis, Valkey and other servers that speak RESP, with their replies, and what
/// the server pushes to subscribers (verb `PUSH`). Passwords in commands are replaced by `***`
/// before anything is kept.
#[derive(schema::Record)]
pub(super) struct Redis<'a> {
    /// The command in capitals, with its subcommand, such as `CONFIG SET`; of a push, its kind as
    /// sent, such as `message`. OpenTelemetry: `db.operation.name`.
    command: Label<'a>,
    /// The first key the command works on, where it has one.
    key: Option<Cow<'a, str>>,
    /// What follows the command's first word: the first 64 arguments, each cut at 1 KiB.
    arguments: Texts<'a>,
    /// How many arguments were sent.
    argument_count: u64,
    /// Type of the reply: `string`, `bulk`, `integer`, `array`, `error`, and in RESP3 also `null`,
    /// `boolean`, `double`, `bignum`, `map`, `set`, `push`. A RESP2 null is a `bulk` or `array`.
    reply_kind: Option<Label<'a>>,
    /// The reply: a string or number as it is, lists and maps as JSON, cut at 16 KiB; null if it
    /// is Redis's null.
    reply: Option<Cow<'a, str>>,
    /// Whether the reply is Redis's null: of a GET, that there was no such key.
    reply_null: Option<bool>,
    /// Bytes of the value, if the reply is a string.
    reply_length: Option<Size>,
    /// Elements of the reply (pairs of a map), if it is a list.
    reply_count: Option<u64>,
    /// First word of the error, such as `WRONGTYPE`. OpenTelemetry: `db.response.status_code`.
    error_code: Option<Label<'a>>,
    /// Number of the database, once the connection has chosen one. OpenTelemetry: `db.namespace`.
    database: Option<Code>,
    /// Version of the protocol that the connection speaks: 2 or 3.
    resp_version: Code,
}

/// What a connection has agreed on so far.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<Partial>,
    server: Option<Partial>,
    /// CLIENT REPLY OFF.
    is_mute: bool,
    /// CLIENT REPLY SKIP: the next command gets no reply.
    skips: bool,
    is_subscribed: bool,
    is_monitor: bool,
    /// A replica's connection: a snapshot and a stream of changes, not commands and replies.
    is_replica: bool,
    database: Option<i32>,
    is_resp3: bool,
}

/// A command or value as it was sent, up to a bound.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    command: Command,
    is_push: bool,
    is_resp3: bool,
    /// Of a command: the database it works on.
    database: Option<i32>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "redis";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[6379];
    type Body = Body;
    type Columns = RedisColumns;

    fn guess(head: &Head<'_>) -> Guess {
        match head.side {
            Side::Client => guess_command(head.bytes),
            Side::Server => guess_reply(head.bytes),
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        if self.is_replica {
            input.take(input.rest().len())?;
            input.commit();
            return Err(Stop::More);
        }
        match side {
            Side::Client => self.parse_command(input),
            Side::Server => self.parse_reply(input, open),
        }
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Redis<'_>) {
        let request = exchange.request.map(|it| it.bytes.get());
        let reply = exchange.response.map(|it| it.bytes.get());
        let push = exchange.response.filter(|it| it.is_push).and(reply);

        let mut words = Words::default();
        match (request, push) {
            (Some(command), _) => words = Words::of(command),
            (None, Some(value)) if !value.starts_with(b"+") => words = Words::of(value),
            _ => {}
        }
        let first = words.kept.first().copied().unwrap_or_default();
        let (verb, command) = match push {
            Some(_) => ("PUSH".into(), text(first)),
            None => {
                let verb = capitals(first);
                let second = words.kept.get(1).filter(|_| CONTAINERS.contains(&&*verb));
                let command = match second {
                    Some(second) => Cow::Owned(format!("{verb} {}", capitals(second))),
                    None => verb.clone(),
                };
                (verb, command)
            }
        };
        let arguments = words.kept.get(1..).unwrap_or_default();
        let key = match push {
            Some(_) => None,
            None => key(&verb, arguments).map(cut_text),
        };
        let reply = reply.and_then(|it| Reply::of(it, push.is_some()));
        let error = reply.as_ref().filter(|it| it.kind == "error").map(|it| it.plain.clone());
        let is_resp3 = exchange.response.or(exchange.request).is_some_and(|it| it.is_resp3);

        let summary = Summary {
            target: arguments.first().map(|it| cut_text(it)).unwrap_or_default(),
            verb,
            status: None,
            failed: error.is_some(),
            error: error.clone().flatten(),
        };
        let record = Redis {
            command: Label(command),
            key,
            arguments: Texts(arguments.iter().map(|it| cut_text(it)).collect()),
            argument_count: words.count.saturating_sub(1),
            reply_kind: reply.as_ref().map(|it| it.kind.into()),
            reply_null: reply.as_ref().map(|it| it.is_null),
            reply_length: reply.as_ref().and_then(|it| it.length).map(Size),
            reply_count: reply.as_ref().and_then(|it| it.count),
            error_code: error.flatten().map(|it| Label(first_word(it))),
            reply: reply.and_then(|it| it.plain),
            database: exchange.request.and_then(|it| it.database).map(Code),
            resp_version: Code(if is_resp3 { 3 } else { 2 }),
        };
        (summary, record)
    }

    fn summary(exchange: Exchange<'_, Body>) -> Summary<'_> {
        let push = exchange.response.filter(|it| it.is_push);
        let words = match (exchange.request, push.map(|it| it.bytes.get())) {
            (Some(command), _) => Few::of(command.bytes.get()),
            (None, Some(value)) if !value.starts_with(b"+") => Few::of(value),
            _ => Few::default(),
        };
        let is_error = |it: &&Body| matches!(it.bytes.get(), [b'-' | b'!', ..]);
        let error = exchange.response.filter(is_error);
        let error = error.and_then(|it| Reply::of(it.bytes.get(), push.is_some()));
        Summary {
            verb: if push.is_some() { "PUSH".into() } else { capitals(words.word(0)) },
            target: cut_text(words.word(1)),
            status: None,
            failed: error.is_some(),
            error: error.and_then(|it| it.plain),
        }
    }

    fn weight(body: &Body) -> usize {
        size_of::<Body>() + body.bytes.heap()
    }

    fn held(&self) -> usize {
        let parts = [&self.client, &self.server];
        parts.into_iter().flatten().map(|it| it.kept.capacity()).sum()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        if self.is_replica {
            return Ok(());
        }
        let partial = self.partial(side).as_mut().ok_or(Stop::Lost)?;
        partial.scan.skip(missing)?;
        partial.is_cut = true;
        partial.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.partial(side) = None;
        let rest = input.rest();
        let is_start = match side {
            Side::Client => starts_command,
            Side::Server => starts_reply,
        };
        let found = std::iter::once(0)
            .chain(memmem::find_iter(rest, b"\r\n").map(|at| at + 2))
            .find(|at| rest.get(*at..).is_some_and(|it| !it.is_empty() && is_start(it)));
        match found {
            Some(at) => {
                input.take(at)?;
                input.commit();
                Ok(())
            }
            None => {
                // The tail may be the start of one.
                input.take(rest.len().saturating_sub(START_BYTES))?;
                input.commit();
                Err(Stop::More)
            }
        }
    }
}

impl Dissector {
    fn partial(&mut self, side: Side) -> &mut Option<Partial> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn parse_command(&mut self, input: &mut Input<'_>) -> Result<Message<Body>, Stop> {
        loop {
            let raw = match input.rest().first() {
                _ if self.client.is_some() => self.value(Side::Client, input)?,
                None => return Err(Stop::More),
                Some(b'*') => self.value(Side::Client, input)?,
                Some(_) => inline(input)?,
            };
            let words = Few::of(&raw.bytes);
            if words.found == 0 {
                // Nothing between two line ends, or a list of nothing: the server says nothing either.
                input.commit();
                continue;
            }
            return Ok(self.command(&raw, &words));
        }
    }

    fn command(&mut self, raw: &Raw<'_>, words: &Few<'_>) -> Message<Body> {
        let command = Command::of(words.word(0));
        let is = |place: usize, word: &str| words.word(place).eq_ignore_ascii_case(word.as_bytes());
        let mut wants_reply = !self.is_mute;
        if command == Command::Client && is(1, "REPLY") && words.count > 2 {
            wants_reply = is(2, "ON");
            if wants_reply {
                self.is_mute = false;
            } else if is(2, "OFF") {
                self.is_mute = true;
            } else {
                self.skips = true;
            }
        } else if std::mem::take(&mut self.skips) {
            wants_reply = false;
        }
        // As they were before the command. What it asks for holds from here on, though its reply may
        // refuse it, or may not be captured.
        let (database, is_resp3) = (self.database, self.is_resp3);
        match command {
            Command::Hello if words.count > 1 => self.is_resp3 = words.word(1) == b"3",
            Command::Subscribe => self.is_subscribed = true,
            Command::Sync => self.is_replica = true,
            Command::Select => {
                let number = std::str::from_utf8(words.word(1)).ok().and_then(|it| it.parse().ok());
                self.database = number.or(self.database);
            }
            Command::Reset => {
                (self.is_subscribed, self.is_monitor) = (false, false);
                self.database = Some(0);
            }
            _ => {}
        }
        let bytes = match without_secrets(command, &raw.bytes) {
            Some(clean) => Bytes::of(&clean),
            None => Bytes::of(&raw.bytes),
        };
        let body = Body { bytes, command, is_push: false, is_resp3, database };
        let message = if wants_reply { Message::request(body) } else { Message::notice(body) };
        message.incomplete(raw.incomplete)
    }

    fn parse_reply(
        &mut self,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        // A master that prepares a snapshot sends line ends to stay in touch.
        while self.server.is_none() && input.rest().first() == Some(&b'\n') {
            input.u8()?;
            input.commit();
        }
        let raw = self.value(Side::Server, input)?;
        let value = without_attribute(&raw.bytes);
        let kind = value.first().copied().unwrap_or_default();
        let oldest = open.oldest(0);
        let asked = oldest.map_or(Command::Other, |it| it.command);

        self.is_resp3 |= matches!(kind, b'%' | b'~' | b'>' | b'_' | b'#' | b',' | b'(');
        let is_push = self.is_push(kind, value, oldest);
        if !is_push {
            match (asked, kind) {
                (Command::Hello, b'*') => self.is_resp3 = false,
                (Command::Reset, b'+') => self.is_resp3 = false,
                (Command::Monitor, b'+') => self.is_monitor = true,
                (Command::Psync, b'+') => self.is_replica = true,
                (Command::Select, b'-') => self.database = oldest.and_then(|it| it.database),
                (Command::Hello, b'-') => self.is_resp3 = oldest.is_some_and(|it| it.is_resp3),
                _ => {}
            }
        }
        // Passwords, or hashes of them.
        let is_secret = match asked {
            Command::Config => SECRETS.iter().any(|it| memmem::find(value, it).is_some()),
            Command::Acl => kind != b'-',
            _ => self.is_monitor && SECRETS.iter().any(|it| memmem::find(value, it).is_some()),
        };
        let bytes = match is_secret {
            true if matches!(kind, b'+' | b'-') => Bytes::of(b"+***\r\n"),
            true => Bytes::of(value.get(..line_end(value)).unwrap_or_default()),
            false => Bytes::of(value),
        };
        let is_resp3 = self.is_resp3;
        let body = Body { bytes, command: Command::Other, is_push, is_resp3, database: None };
        let message = if is_push { Message::notice(body) } else { Message::response(body) };
        Ok(message.incomplete(raw.incomplete))
    }

    /// Whether the server says this by itself, not in answer to a command.
    fn is_push(&mut self, kind: u8, value: &[u8], oldest: Option<&Body>) -> bool {
        match kind {
            b'>' | b'*' => {
                let words = Few::of(value);
                let first = words.word(0);
                // What confirms a subscription answers the command of that name, once; a command
                // with several channels gets one confirmation for each.
                if CONFIRMATIONS.contains(&first) {
                    let answers = oldest.is_some_and(|it| {
                        Few::of(it.bytes.get()).word(0).eq_ignore_ascii_case(first)
                    });
                    return !answers && (kind == b'>' || self.is_subscribed);
                }
                let is_message = match first {
                    b"message" | b"smessage" => words.count == 3,
                    b"pmessage" => words.count == 4,
                    _ => false,
                };
                if kind == b'*' && is_message && oldest.is_none() {
                    self.is_subscribed = true;
                }
                kind == b'>' || is_message && self.is_subscribed
            }
            // `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`
            b'+' => self.is_monitor && value.get(1).is_some_and(u8::is_ascii_digit),
            _ => false,
        }
    }

    /// The next value that `side` sends, whole: in one go if it is all there, else piece by piece.
    fn value<'i>(&mut self, side: Side, input: &mut Input<'i>) -> Result<Raw<'i>, Stop> {
        let keep = input.limits().body_bytes;
        let slot = self.partial(side);
        let Some(partial) = slot else {
            let mut scan = Scan::new(side);
            let (used, is_whole) = scan.run(input.rest())?;
            let bytes = input.take(used)?;
            let kept = bytes.get(..keep).unwrap_or(bytes);
            if is_whole {
                return Ok(Raw { bytes: kept.into(), incomplete: false });
            }
            if used > 0 {
                let is_cut = kept.len() < used;
                *slot = Some(Partial { scan, kept: kept.to_vec(), is_cut, incomplete: false });
                input.commit();
            }
            return Err(Stop::More);
        };
        let (used, is_whole) = partial.scan.run(input.rest())?;
        partial.keep(input.take(used)?, keep);
        input.commit();
        if !is_whole {
            return Err(Stop::More);
        }
        let partial = slot.take().ok_or(Stop::Lost)?;
        Ok(Raw { bytes: partial.kept.into(), incomplete: partial.incomplete })
    }
}

/// A value, cut at a bound.
struct Raw<'i> {
    bytes: Cow<'i, [u8]>,
    incomplete: bool,
}

/// A value that has not all arrived.
#[derive(Debug)]
struct Partial {
    scan: Scan,
    kept: Vec<u8>,
    is_cut: bool,
    incomplete: bool,
}

impl Partial {
    fn keep(&mut self, bytes: &[u8], bound: usize) {
        if self.is_cut {
            return;
        }
        let room = bound.saturating_sub(self.kept.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.kept.extend_from_slice(kept);
        self.is_cut = kept.len() < bytes.len();
    }
}

/// Finds where a value ends. Nothing is kept of it, however large it is or says it is.
#[derive(Debug)]
struct Scan {
    /// Values still to come in the list that we are in.
    left: u64,
    /// The same of the lists around it.
    outer: Vec<u64>,
    /// Whether the outermost list has begun.
    is_open: bool,
    /// Bytes still to come of a string, before its line end.
    bulk: Option<u64>,
    is_command: bool,
}

impl Scan {
    fn new(side: Side) -> Self {
        let is_command = side == Side::Client;
        Self { left: 1, outer: Vec::new(), is_open: false, bulk: None, is_command }
    }

    /// How many bytes were used, and whether the value ends there.
    fn run(&mut self, bytes: &[u8]) -> Result<(usize, bool), Stop> {
        let mut at = 0;
        loop {
            if let Some(bulk) = &mut self.bulk {
                let there = bytes.len() - at;
                let n = usize::try_from(*bulk).unwrap_or(there).min(there);
                *bulk -= n as u64;
                at += n;
                if *bulk > 0 {
                    return Ok((at, false));
                }
                match bytes.get(at..at + 2) {
                    Some(b"\r\n") => at += 2,
                    Some(_) => return Err(Stop::Lost),
                    None => return Ok((at, false)),
                }
                self.bulk = None;
            }
            while self.left == 0 {
                match self.outer.pop() {
                    Some(left) => self.left = left,
                    None => return Ok((at, true)),
                }
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let Some((kind, line, used)) = header(rest)? else { return Ok((at, false)) };
            self.begin(kind, line)?;
            at += used;
        }
    }

    /// One value begins.
    fn begin(&mut self, kind: u8, line: &[u8]) -> Result<(), Stop> {
        match (self.left, kind) {
            (CHUNKS, b';') => {}
            (CHUNKS, _) | (_, b';') => return Err(Stop::Lost),
            (UNTIL_DOT, b'.') if line.is_empty() => {
                self.left = 0;
                return Ok(());
            }
            (_, b'.') => return Err(Stop::Lost),
            (UNTIL_DOT, _) => {}
            _ if kind == b'|' => {}
            _ => self.left -= 1,
        }
        let depth = self.outer.len() + usize::from(self.is_open);
        if self.is_command && kind != [b'*', b'$'].get(depth).copied().unwrap_or_default() {
            return Err(Stop::Lost);
        }
        match kind {
            b'$' | b'!' | b'=' if line == b"?" && !self.is_command => self.enter(CHUNKS)?,
            b'$' if line == b"-1" && !self.is_command => {}
            b'$' | b'!' | b'=' => self.bulk = Some(number(line, BULK_BYTES)?),
            b';' => match number(line, BULK_BYTES)? {
                0 => self.left = 0,
                n => self.bulk = Some(n),
            },
            b'*' if line == b"-1" => {}
            b'*' | b'~' | b'%' | b'>' if line == b"?" && !self.is_command => {
                self.enter(UNTIL_DOT)?
            }
            b'*' | b'~' | b'>' => self.enter(number(line, ELEMENTS)?)?,
            b'%' | b'|' => self.enter(2 * number(line, ELEMENTS)?)?,
            b'+' | b'-' => {}
            b':' | b'(' => {
                let digits = match line {
                    [b'+' | b'-', digits @ ..] => digits,
                    digits => digits,
                };
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                    return Err(Stop::Lost);
                }
            }
            b',' => {
                let is_number = |it: &u8| it.is_ascii_alphanumeric() || b"+-.".contains(it);
                if line.is_empty() || !line.iter().all(is_number) {
                    return Err(Stop::Lost);
                }
            }
            b'_' if line.is_empty() => {}
            b'#' if matches!(line, b"t" | b"f") => {}
            _ => return Err(Stop::Lost),
        }
        Ok(())
    }

    fn enter(&mut self, count: u64) -> Result<(), Stop> {
        // The outermost list needs no place to come back to.
        if self.left > 0 || self.is_open || !self.outer.is_empty() {
            self.outer.push(self.left);
        } else {
            self.is_open = true;
        }
        self.left = count;
        if self.outer.len() < DEPTH { Ok(()) } else { Err(Stop::Lost) }
    }

    /// Goes on behind bytes that are not there.
    fn skip(&mut self, missing: u64) -> Result<(), Stop> {
        let bulk = self.bulk.as_mut().ok_or(Stop::Lost)?;
        *bulk = bulk.checked_sub(missing).ok_or(Stop::Lost)?;
        Ok(())
    }
}

/// The first line of a value: its type, what it says, and how long it is with its end.
type Line<'b> = (u8, &'b [u8], usize);

fn header(bytes: &[u8]) -> Result<Option<Line<'_>>, Stop> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let limit = match kind {
        b'$' | b'*' | b'%' | b'~' | b'>' | b'|' | b'!' | b'=' | b';' | b'.' | b'_' | b'#' => 24,
        b'+' | b'-' | b':' | b'(' | b',' => LINE_BYTES,
        _ => return Err(Stop::Lost),
    };
    let window = bytes.get(..limit).unwrap_or(bytes);
    // Most such lines are of a digit or two.
    let end = if limit < LINE_BYTES {
        window.iter().position(|it| *it == b'\n')
    } else {
        memchr(b'\n', window)
    };
    match end {
        Some(end) => match bytes.get(1..end) {
            Some([line @ .., b'\r']) => Ok(Some((*kind, line, end + 1))),
            _ => Err(Stop::Lost),
        },
        None if bytes.len() < limit => Ok(None),
        None => Err(Stop::Lost),
    }
}

fn number(digits: &[u8], bound: u64) -> Result<u64, Stop> {
    if digits.is_empty() || digits.len() > 12 {
        return Err(Stop::Lost);
    }
    let mut number = 0;
    for digit in digits {
        match digit {
            b'0'..=b'9' => number = number * 10 + u64::from(digit - b'0'),
            _ => return Err(Stop::Lost),
        }
    }
    if number <= bound { Ok(number) } else { Err(Stop::Lost) }
}

/// A command typed by hand: words on a line. It is kept as if it had been sent as a list.
fn inline<'i>(input: &mut Input<'i>) -> Result<Raw<'i>, Stop> {
    let rest = input.rest();
    let window = rest.get(..LINE_BYTES).unwrap_or(rest);
    let end = memchr(b'\n', window);
    let line = window.get(..end.unwrap_or(window.len())).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !is_inline(line) || end.is_none() && rest.len() >= LINE_BYTES {
        return Err(Stop::Lost);
    }
    input.take(end.ok_or(Stop::More)? + 1)?;
    let words = split(line);
    Ok(Raw { bytes: encode(words.len() as u64, &words).into(), incomplete: false })
}

/// Whether a line can be a command: it begins with a word, and holds no control characters.
fn is_inline(line: &[u8]) -> bool {
    let word = line.split(|it| *it == b' ').next().unwrap_or_default();
    let is_name = |it: &u8| it.is_ascii_alphanumeric() || b"._-".contains(it);
    line.is_empty()
        || word.first().is_some_and(u8::is_ascii_alphabetic)
            && word.iter().all(is_name)
            && line.iter().all(|it| *it >= b' ' || *it == b'\t')
}

/// The words of a line, which may stand in quotes.
fn split(line: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(first) = rest.first() {
        if !matches!(first, b'"' | b'\'') {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            words.push(Cow::Borrowed(rest.get(..end).unwrap_or_default()));
            rest = rest.get(end..).unwrap_or_default().trim_ascii_start();
            continue;
        }
        let mut word = Vec::new();
        let mut bytes = rest.get(1..).unwrap_or_default().iter();
        while let Some(byte) = bytes.next().filter(|it| *it != first) {
            match (byte, first) {
                (b'\\', b'"') => match bytes.next() {
                    Some(b'n') => word.push(b'\n'),
                    Some(b'r') => word.push(b'\r'),
                    Some(b't') => word.push(b'\t'),
                    Some(b'x') => {
                        let digits =
                            bytes.as_slice().get(..2).and_then(|it| std::str::from_utf8(it).ok());
                        if let Some(byte) = digits.and_then(|it| u8::from_str_radix(it, 16).ok()) {
                            word.push(byte);
                            bytes.nth(1);
                        } else {
                            word.push(b'x');
                        }
                    }
                    Some(other) => word.push(*other),
                    None => {}
                },
                (b'\\', _) if bytes.as_slice().starts_with(b"'") => {
                    word.push(b'\'');
                    bytes.next();
                }
                (byte, _) => word.push(*byte),
            }
        }
        words.push(Cow::Owned(word));
        rest = bytes.as_slice().trim_ascii_start();
    }
    words
}

fn encode(count: u64, words: &[Cow<'_, [u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{count}\r\n").into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Commands that change what a connection does, or carry secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Acl,
    Auth,
    Client,
    Config,
    Hello,
    Migrate,
    Monitor,
    Psync,
    Reset,
    Select,
    Sentinel,
    Subscribe,
    Sync,
    Other,
}

impl Command {
    fn of(word: &[u8]) -> Self {
        let known = COMMANDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        known.map_or(Self::Other, |(_, command)| *command)
    }
}

/// The command again, with its secrets replaced; `None` if it has none.
fn without_secrets(command: Command, bytes: &[u8]) -> Option<Vec<u8>> {
    let has_secrets = matches!(
        command,
        Command::Acl
            | Command::Auth
            | Command::Config
            | Command::Hello
            | Command::Migrate
            | Command::Sentinel
    );
    if !has_secrets {
        return None;
    }
    let words = &Words::of(bytes);
    let mut clean: Vec<Cow<'_, [u8]>> = words.kept.iter().map(|it| Cow::Borrowed(*it)).collect();
    let mut hide = |place: usize| {
        if let Some(word) = clean.get_mut(place) {
            *word = Cow::Borrowed(SECRET);
        }
    };
    let is = |place: usize, name: &str| words.word(place).eq_ignore_ascii_case(name.as_bytes());
    let sounds_secret = |place: usize| {
        let name = words.word(place).to_ascii_lowercase();
        [&b"pass"[..], b"auth"].iter().any(|it| memmem::find(&name, it).is_some())
    };
    match command {
        // AUTH password, or AUTH user password.
        Command::Auth => (if words.count > 2 { 2 } else { 1 }..words.kept.len()).for_each(hide),
        Command::Hello => {
            (2..words.kept.len()).filter(|it| is(*it, "AUTH")).for_each(|it| hide(it + 2));
        }
        Command::Migrate => {
            for place in 1..words.kept.len() {
                if is(place, "AUTH") {
                    hide(place + 1);
                } else if is(place, "AUTH2") {
                    hide(place + 2);
                }
            }
        }
        Command::Config if is(1, "SET") => {
            (2..words.kept.len())
                .step_by(2)
                .filter(|it| sounds_secret(*it))
                .for_each(|it| hide(it + 1));
        }
        Command::Sentinel => {
            (1..words.kept.len()).filter(|it| sounds_secret(*it)).for_each(|it| hide(it + 1));
        }
        Command::Acl => {
            for word in clean.iter_mut().skip(3) {
                if let Some(sign @ (b'>' | b'<' | b'#' | b'!')) = word.first().copied() {
                    *word = Cow::Owned([&[sign], SECRET].concat());
                }
            }
        }
        _ => {}
    }
    Some(encode(words.count, &clean))
}

/// The value behind an attribute, which says something about the value and is not part of it.
fn without_attribute(bytes: &[u8]) -> &[u8] {
    let mut value = bytes;
    while value.first() == Some(&b'|') {
        let Ok(Some((_, line, used))) = header(value) else { break };
        let Ok(pairs) = number(line, ELEMENTS) else { break };
        let mut scan = Scan { left: 2 * pairs, is_open: true, ..Scan::new(Side::Server) };
        let rest = value.get(used..).unwrap_or_default();
        let Ok((skipped, true)) = scan.run(rest) else { break };
        value = rest.get(skipped..).unwrap_or_default();
    }
    value
}

fn line_end(value: &[u8]) -> usize {
    memchr(b'\n', value).map_or(value.len(), |it| it + 1)
}

/// The strings of a list, as far as they were kept.
#[derive(Debug, Default)]
struct Words<'b> {
    kept: Vec<&'b [u8]>,
    /// How many there were.
    count: u64,
}

impl<'b> Words<'b> {
    fn of(bytes: &'b [u8]) -> Self {
        let mut kept = Vec::new();
        let count = words(bytes, WORDS, |word| kept.push(word));
        Self { kept, count }
    }

    fn word(&self, place: usize) -> &'b [u8] {
        self.kept.get(place).copied().unwrap_or_default()
    }
}

/// The first words of a command, which is all that most are asked for.
#[derive(Default)]
struct Few<'b> {
    first: [&'b [u8]; 3],
    /// How many of these there are.
    found: usize,
    /// How many words there were in all.
    count: u64,
}

impl<'b> Few<'b> {
    fn of(bytes: &'b [u8]) -> Self {
        let mut few = Self::default();
        few.count = words(bytes, few.first.len(), |word| {
            if let Some(slot) = few.first.get_mut(few.found) {
                *slot = word;
                few.found += 1;
            }
        });
        few
    }

    fn word(&self, place: usize) -> &'b [u8] {
        self.first.get(place).copied().unwrap_or_default()
    }
}

/// Hands the words of a list to `each`, at most so many; how many it has.
fn words<'b>(bytes: &'b [u8], most: usize, mut each: impl FnMut(&'b [u8])) -> u64 {
    let Ok(Some((_, line, used))) = header(bytes) else { return 0 };
    let count = number(line, ELEMENTS).unwrap_or_default();
    let mut rest = bytes.get(used..).unwrap_or_default();
    for _ in 0..usize::try_from(count).unwrap_or(most).min(most) {
        let Ok(Some((kind, line, used))) = header(rest) else { break };
        rest = rest.get(used..).unwrap_or_default();
        match kind {
            b'$' | b'=' | b'!' if line != b"-1" => {
                let Ok(length) = number(line, BULK_BYTES) else { break };
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                // Its end was not kept, perhaps.
                each(rest.get(..length).unwrap_or(rest));
                rest = rest.get(length.saturating_add(2)..).unwrap_or_default();
            }
            b'*' | b'~' | b'%' | b'>' | b'|' => break,
            _ => each(line),
        }
    }
    count
}

/// What a reply says.
struct Reply<'b> {
    kind: &'static str,
    is_null: bool,
    plain: Option<Cow<'b, str>>,
    length: Option<u64>,
    count: Option<u64>,
}

impl<'b> Reply<'b> {
    fn of(bytes: &'b [u8], is_push: bool) -> Option<Self> {
        let (kind, line, used) = header(bytes).ok()??;
        let rest = bytes.get(used..).unwrap_or_default();
        let mut reply = Self {
            kind: kind_name(kind),
            is_null: kind == b'_' || line == b"-1" && matches!(kind, b'$' | b'*'),
            plain: None,
            length: None,
            count: None,
        };
        match kind {
            _ if reply.is_null => {}
            b'+' => {
                reply.length = Some(line.len() as u64);
                reply.plain = Some(text(cut(line, REPLY_BYTES)));
            }
            b'-' | b':' | b'(' | b',' => reply.plain = Some(text(cut(line, REPLY_BYTES))),
            b'#' => reply.plain = Some(if line == b"t" { "true" } else { "false" }.into()),
            b'$' | b'=' | b'!' => match number(line, BULK_BYTES) {
                Ok(length) => {
                    reply.length = Some(length);
                    let value = cut(rest, usize::try_from(length).unwrap_or(usize::MAX));
                    // A text that says in its first three letters what kind of text it is.
                    let value =
                        if kind == b'=' { value.get(4..).unwrap_or_default() } else { value };
                    reply.plain = Some(text(cut(value, REPLY_BYTES)));
                }
                Err(_) => {
                    reply.plain = Some(String::from_utf8_lossy(&chunks(rest)).into_owned().into())
                }
            },
            _ => {
                reply.count = number(line, ELEMENTS).ok();
                // What a subscriber is told stands in the arguments.
                if !is_push {
                    let mut json = String::new();
                    write_json(&mut { bytes }, &mut json);
                    reply.plain = Some(json.into());
                }
            }
        }
        Some(reply)
    }
}

/// A string that was sent in pieces.
fn chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Ok(Some((b';', line, used))) = header(rest) {
        let Ok(length @ 1..) = number(line, BULK_BYTES) else { break };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        rest = rest.get(used..).unwrap_or_default();
        whole.extend_from_slice(cut(rest, length.min(REPLY_BYTES.saturating_sub(whole.len()))));
        rest = rest.get(length.saturating_add(2)..).unwrap_or_default();
    }
    whole
}

/// Writes the value that `bytes` begins with; `None` where it was cut. Lists lie in each other at
/// most [`DEPTH`] deep: [`Scan`] has seen to that.
fn write_json(bytes: &mut &[u8], json: &mut String) -> Option<()> {
    let Ok(Some((kind, line, used))) = header(bytes) else {
        json.push_str(CUT_JSON);
        return None;
    };
    *bytes = bytes.get(used..).unwrap_or_default();
    match kind {
        _ if kind == b'_' || line == b"-1" && matches!(kind, b'$' | b'*') => json.push_str("null"),
        b'#' => json.push_str(if line == b"t" { "true" } else { "false" }),
        b':' | b'(' => {
            let digits = line.strip_prefix(b"+").unwrap_or(line);
            let (sign, digits) = match digits.strip_prefix(b"-") {
                Some(digits) => ("-", digits),
                None => ("", digits),
            };
            let start = digits.iter().position(|it| *it != b'0').unwrap_or(digits.len() - 1);
            json.push_str(sign);
            json.push_str(&text(digits.get(start..).unwrap_or_default()));
        }
        b'$' | b'!' | b'=' if line == b"?" => {
            quote_json(json, &chunks(bytes));
            let mut scan = Scan { left: CHUNKS, is_open: true, ..Scan::new(Side::Server) };
            let skipped = scan.run(bytes).map_or(bytes.len(), |(used, _)| used);
            *bytes = bytes.get(skipped..).unwrap_or_default();
        }
        b'$' | b'!' | b'=' => {
            let length = usize::try_from(number(line, BULK_BYTES).ok()?).ok()?;
            let value = cut(bytes, length);
            quote_json(json, if kind == b'=' { value.get(4..).unwrap_or_default() } else { value });
            *bytes = bytes.get(length.saturating_add(2)..).unwrap_or_default();
            return (value.len() == length).then_some(());
        }
        b'%' => return write_list(bytes, number(line, ELEMENTS).ok(), ["{", "}"], json),
        b'*' | b'~' | b'>' => {
            return write_list(bytes, number(line, ELEMENTS).ok(), ["[", "]"], json);
        }
        b'|' => {
            for _ in 0..2 * number(line, ELEMENTS).ok()? {
                let length = json.len();
                let written = write_json(bytes, json);
                json.truncate(length);
                written?;
            }
            return write_json(bytes, json);
        }
        _ => quote_json(json, line),
    }
    Some(())
}

fn write_list(
    bytes: &mut &[u8],
    count: Option<u64>,
    [open, close]: [&str; 2],
    json: &mut String,
) -> Option<()> {
    let is_map = open == "{";
    let mut whole = Some(());
    json.push_str(open);
    for place in 0..count.unwrap_or(u64::MAX) {
        if count.is_none() && bytes.starts_with(b".") {
            *bytes = bytes.get(line_end(bytes)..).unwrap_or_default();
            break;
        }
        if place > 0 {
            json.push(',');
        }
        if json.len() > REPLY_BYTES {
            json.push_str(if is_map { CUT_JSON_PAIR } else { CUT_JSON });
            whole = None;
            break;
        }
        if is_map {
            let from = json.len();
            let key = write_json(bytes, json);
            // A key is a string, whatever it was before.
            if json.get(from..).is_some_and(|it| !it.starts_with('"')) {
                let key = json.split_off(from);
                quote_json(json, key.as_bytes());
            }
            json.push(':');
            whole = whole.and(key);
            if whole.is_none() {
                json.push_str(CUT_JSON);
                break;
            }
        }
        whole = whole.and_then(|()| write_json(bytes, json));
        if whole.is_none() {
            break;
        }
    }
    json.push_str(close);
    whole
}

fn quote_json(json: &mut String, bytes: &[u8]) {
    json.push('"');
    let whole = text(cut(bytes, REPLY_BYTES));
    let mut plain = 0;
    for (at, byte) in whole.bytes().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        json.push_str(whole.get(plain..at).unwrap_or_default());
        match byte {
            b'"' | b'\\' => json.extend(['\\', char::from(byte)]),
            _ => write!(json, "\\u{byte:04x}").unwrap_or_default(),
        }
        plain = at + 1;
    }
    json.push_str(whole.get(plain..).unwrap_or_default());
    json.push('"');
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        b'+' => "string",
        b'-' | b'!' => "error",
        b':' => "integer",
        b'$' | b'=' => "bulk",
        b'*' => "array",
        b'_' => "null",
        b'#' => "boolean",
        b',' => "double",
        b'(' => "bignum",
        b'%' => "map",
        b'~' => "set",
        _ => "push",
    }
}

/// The first key among a command's arguments.
fn key<'b>(verb: &str, arguments: &[&'b [u8]]) -> Option<&'b [u8]> {
    let place = match KEYS.iter().find(|(names, _)| names.contains(&verb)) {
        None => 0,
        Some((_, Place::None)) => return None,
        Some((_, Place::At(place))) => *place,
        Some((_, Place::Counted(place))) => match *arguments.get(*place)? {
            b"0" => return None,
            _ => place + 1,
        },
        Some((_, Place::After(word))) => {
            arguments.iter().position(|it| it.eq_ignore_ascii_case(word.as_bytes()))? + 1
        }
    };
    arguments.get(place).copied()
}

fn guess_command(bytes: &[u8]) -> Guess {
    match bytes {
        [] => Guess::More,
        [b'*', ..] => match command_start(bytes) {
            Start::Yes => Guess::Sure,
            Start::Perhaps => Guess::More,
            Start::No => Guess::No,
        },
        [first, ..] if first.is_ascii_alphabetic() => {
            let end = memchr(b'\n', bytes);
            let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            match is_inline(line.strip_suffix(b"\r").unwrap_or(line)) {
                true if end.is_some() => Guess::Maybe,
                true => Guess::More,
                false => Guess::No,
            }
        }
        _ => Guess::No,
    }
}

fn guess_reply(bytes: &[u8]) -> Guess {
    let Some(kind) = bytes.first() else { return Guess::More };
    match Scan::new(Side::Server).run(bytes) {
        Err(_) => Guess::No,
        Ok((0, _)) => Guess::More,
        // Others say +OK, too.
        Ok(_) if matches!(kind, b'+' | b'-' | b':') => Guess::Maybe,
        Ok((used, true)) if used > START_BYTES / 4 => Guess::Sure,
        Ok(_) => Guess::Maybe,
    }
}

enum Start {
    No,
    Perhaps,
    Yes,
}

/// Whether a command sent as a list begins here: `*2`, `$3`, and the letters of a word.
fn command_start(bytes: &[u8]) -> Start {
    let mut rest = bytes;
    for kind in [b'*', b'$'] {
        match header(rest) {
            Ok(Some((it, line, used))) => {
                if it != kind || !matches!(number(line, ELEMENTS), Ok(1..)) {
                    return Start::No;
                }
                rest = rest.get(used..).unwrap_or_default();
            }
            Ok(None) => {
                let is_digits = |it: &[u8]| it.iter().all(|it| it.is_ascii_digit() || *it == b'\r');
                return match rest {
                    [] => Start::Perhaps,
                    [it, digits @ ..] if *it == kind && is_digits(digits) => Start::Perhaps,
                    _ => Start::No,
                };
            }
            Err(_) => return Start::No,
        }
    }
    match rest.first() {
        None => Start::Perhaps,
        Some(it) if it.is_ascii_alphabetic() => Start::Yes,
        Some(_) => Start::No,
    }
}

fn starts_command(bytes: &[u8]) -> bool {
    matches!(command_start(bytes), Start::Yes) && Scan::new(Side::Client).run(bytes).is_ok()
}

/// Whether a whole reply stands here, with nothing or another one behind it.
fn starts_reply(bytes: &[u8]) -> bool {
    match bytes {
        [b'+', second, ..] if !second.is_ascii_alphanumeric() => return false,
        [b'-', second, ..] if !second.is_ascii_uppercase() => return false,
        _ => {}
    }
    match Scan::new(Side::Server).run(bytes) {
        Ok((used, true)) => bytes.get(used).is_none_or(|it| b"+-:$*%~>_#,(=!|".contains(it)),
        Ok((used, false)) => used > 0,
        Err(_) => false,
    }
}

/// Bytes kept of a message; most replies are so short that they need no allocation.
#[derive(Debug)]
enum Bytes {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(to), Ok(length)) => {
                to.copy_from_slice(bytes);
                Self::Short(length, short)
            }
            _ => Self::Long(bytes.into()),
        }
    }

    fn get(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }

    fn heap(&self) -> usize {
        match self {
            Self::Short(..) => 0,
            Self::Long(bytes) => bytes.len(),
        }
    }
}

fn cut(bytes: &[u8], bound: usize) -> &[u8] {
    bytes.get(..bound).unwrap_or(bytes)
}

fn cut_text(bytes: &[u8]) -> Cow<'_, str> {
    text(cut(bytes, WORD_BYTES))
}

fn capitals(word: &[u8]) -> Cow<'_, str> {
    match cut_text(word) {
        text if text.bytes().any(|it| it.is_ascii_lowercase()) => text.to_ascii_uppercase().into(),
        text => text,
    }
}

fn first_word(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => text.split(' ').next().unwrap_or_default().into(),
        Cow::Owned(text) => text.split(' ').next().unwrap_or_default().to_owned().into(),
    }
}

/// Where a command's first key stands.
enum Place {
    None,
    /// At this argument.
    At(usize),
    /// Behind this argument, which says how many there are.
    Counted(usize),
    /// Behind this word.
    After(&'static str),
}

/// Commands whose first key is not their first argument.
const KEYS: &[(&[&str], Place)] = &[
    (
        &[
            "ACL",
            "AUTH",
            "BGREWRITEAOF",
            "BGSAVE",
            "CLIENT",
            "CLUSTER",
            "COMMAND",
            "CONFIG",
            "DBSIZE",
            "DISCARD",
            "ECHO",
            "EXEC",
            "FAILOVER",
            "FLUSHALL",
            "FLUSHDB",
            "FUNCTION",
            "HELLO",
            "INFO",
            "KEYS",
            "LASTSAVE",
            "LATENCY",
            "MODULE",
            "MONITOR",
            "MULTI",
            "PING",
            "PSUBSCRIBE",
            "PSYNC",
            "PUBLISH",
            "PUBSUB",
            "PUNSUBSCRIBE",
            "QUIT",
            "RANDOMKEY",
            "READONLY",
            "READWRITE",
            "REPLCONF",
            "REPLICAOF",
            "RESET",
            "ROLE",
            "SAVE",
            "SCAN",
            "SCRIPT",
            "SELECT",
            "SENTINEL",
            "SHUTDOWN",
            "SLAVEOF",
            "SLOWLOG",
            "SPUBLISH",
            "SSUBSCRIBE",
            "SUBSCRIBE",
            "SUNSUBSCRIBE",
            "SWAPDB",
            "SYNC",
            "TIME",
            "UNSUBSCRIBE",
            "UNWATCH",
            "WAIT",
            "WAITAOF",
            "",
        ],
        Place::None,
    ),
    (&["DEBUG", "MEMORY", "OBJECT", "XGROUP", "XINFO", "BITOP"], Place::At(1)),
    (&["MIGRATE"], Place::At(2)),
    (
        &["LMPOP", "SINTERCARD", "ZDIFF", "ZINTER", "ZINTERCARD", "ZMPOP", "ZUNION"],
        Place::Counted(0),
    ),
    (
        &["BLMPOP", "BZMPOP", "EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"],
        Place::Counted(1),
    ),
    (&["XREAD", "XREADGROUP"], Place::After("STREAMS")),
];

/// Commands whose first argument is a command of its own.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY",
    "MODULE", "OBJECT", "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO",
];

const COMMANDS: &[(&[u8], Command)] = &[
    (b"ACL", Command::Acl),
    (b"AUTH", Command::Auth),
    (b"CLIENT", Command::Client),
    (b"CONFIG", Command::Config),
    (b"HELLO", Command::Hello),
    (b"MIGRATE", Command::Migrate),
    (b"MONITOR", Command::Monitor),
    (b"PSUBSCRIBE", Command::Subscribe),
    (b"PSYNC", Command::Psync),
    (b"RESET", Command::Reset),
    (b"SELECT", Command::Select),
    (b"SENTINEL", Command::Sentinel),
    (b"SSUBSCRIBE", Command::Subscribe),
    (b"SUBSCRIBE", Command::Subscribe),
    (b"SYNC", Command::Sync),
];

/// First words of what tells a subscriber that the list of its channels has changed.
const CONFIRMATIONS: [&[u8]; 6] =
    [b"subscribe", b"psubscribe", b"ssubscribe", b"unsubscribe", b"punsubscribe", b"sunsubscribe"];

/// Settings whose values are secret.
const SECRETS: [&[u8]; 3] = [b"requirepass", b"masterauth", b"key-file-pass"];
/// What stands in place of a secret.
const SECRET: &[u8] = b"***";

/// Values of a list that ends with a dot, and pieces of a string that ends with an empty one.
const UNTIL_DOT: u64 = u64::MAX;
const CHUNKS: u64 = u64::MAX - 1;

/// Lists in lists. Redis's own clients stop at 7 to 9.
const DEPTH: usize = 32;
/// What a list or a string may say it holds: Redis's own bounds. Nothing is reserved for it.
const ELEMENTS: u64 = i32::MAX as u64;
const BULK_BYTES: u64 = 512 << 20;
/// The longest line, as in Redis.
const LINE_BYTES: usize = 64 << 10;
/// A command's first two lines and the beginning of its name.
const START_BYTES: usize = 32;
/// Arguments kept, and bytes of each.
const WORDS: usize = 65;
const WORD_BYTES: usize = 1024;
/// Bytes of a reply that become a row.
const REPLY_BYTES: usize = 16 << 10;
/// Bytes kept without an allocation: +OK, :1, $-1 and short keys.
const SHORT: usize = 38;
const CUT_JSON: &str = "\"…\"";
const CUT_JSON_PAIR: &str = "\"…\":\"…\"";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Limits;
    use crate::exchange::{Role, Times, Waiting};

    /// What one side did.
    enum Step<'a> {
        Sends(Side, &'a [u8]),
        Loses(Side, u64),
    }

    fn client(bytes: &(impl AsRef<[u8]> + ?Sized)) -> Step<'_> {
        Step::Sends(Side::Client, bytes.as_ref())
    }

    fn server(bytes: &(impl AsRef<[u8]> + ?Sized)) -> Step<'_> {
        Step::Sends(Side::Server, bytes.as_ref())
    }

    /// A connection, as the session leads it, without its clocks.
    #[derive(Default)]
    struct Flow {
        dissector: Dissector,
        open: Open<Body>,
        held: [Vec<u8>; 2],
        resync: [bool; 2],
        limits: Limits,
        rows: Vec<String>,
        n_lost: usize,
        most_held: usize,
    }

    impl Flow {
        fn of(steps: &[Step<'_>], piece: usize) -> Self {
            let mut flow = Self::default();
            for step in steps {
                match step {
                    Step::Sends(side, bytes) => {
                        bytes.chunks(piece).for_each(|it| flow.bytes(*side, it));
                    }
                    Step::Loses(side, missing) => {
                        if flow.dissector.gap(*side, *missing).is_err() {
                            flow.resync[*side as usize] = true;
                        }
                    }
                }
            }
            for it in std::mem::take(&mut flow.open.requests) {
                flow.row(Some(&it.body), None, it.incomplete);
            }
            flow
        }

        fn bytes(&mut self, side: Side, bytes: &[u8]) {
            let mut held = std::mem::take(&mut self.held[side as usize]);
            held.extend_from_slice(bytes);
            while !held.is_empty() {
                let limits = self.limits.clone();
                let mut input = Input::new(&held, false, &limits);
                if self.resync[side as usize] {
                    let found = self.dissector.resync(side, &mut input);
                    let used = if found.is_ok() { input.used() } else { input.committed() };
                    held.drain(..used);
                    match found {
                        Ok(()) => self.resync[side as usize] = false,
                        Err(_) => break,
                    }
                    continue;
                }
                let parsed = self.dissector.parse(side, &mut input, &self.open);
                let used = if parsed.is_ok() { input.used() } else { input.committed() };
                held.drain(..used);
                match parsed {
                    Ok(message) => self.message(side, message),
                    Err(Stop::More) => break,
                    Err(Stop::Lost) => {
                        self.n_lost += 1;
                        self.resync[side as usize] = true;
                        assert!(self.n_lost < 1000, "it goes round in circles");
                    }
                }
            }
            self.most_held = self.most_held.max(held.len() + self.dissector.held());
            self.held[side as usize] = held;
        }

        fn message(&mut self, side: Side, message: Message<Body>) {
            match (message.role, side) {
                (Role::Request, _) => self.open.requests.push_back(Waiting {
                    key: 0,
                    body: message.body,
                    times: Times { first: 0, last: 0 },
                    bytes: 0,
                    incomplete: message.incomplete,
                    start: 0,
                    turned: false,
                    seen: 0,
                }),
                (Role::Response, _) => {
                    let request = self.open.requests.pop_front();
                    let incomplete =
                        message.incomplete || request.as_ref().is_some_and(|it| it.incomplete);
                    self.row(request.as_ref().map(|it| &it.body), Some(&message.body), incomplete);
                }
                (Role::Part, _) => {}
                (Role::Notice, Side::Client) => {
                    self.row(Some(&message.body), None, message.incomplete)
                }
                (Role::Notice, Side::Server) => {
                    self.row(None, Some(&message.body), message.incomplete)
                }
            }
        }

        fn row(&mut self, request: Option<&Body>, response: Option<&Body>, incomplete: bool) {
            let (summary, row) = Dissector::record(Exchange { request, response });
            let mut text = format!("{} {}", row.command.0, row.arguments.0.join(" "));
            if let Some(kind) = row.reply_kind {
                let reply = row.reply.as_deref().unwrap_or("-");
                text += &format!(" = {} {}", kind.0, reply);
            }
            assert_eq!(summary.failed, summary.error.is_some());
            if incomplete {
                text += " (incomplete)";
            }
            self.rows.push(text);
        }
    }

    /// The rows of a connection, the same however its bytes are cut.
    fn rows(steps: &[Step<'_>]) -> Vec<String> {
        let whole = Flow::of(steps, usize::MAX);
        for piece in [1, 2, 3, 5, 7, 11, 64] {
            assert_eq!(Flow::of(steps, piece).rows, whole.rows, "in pieces of {piece}");
        }
        whole.rows
    }

    /// A command as clients send it.
    fn command(words: &str) -> Vec<u8> {
        let words: Vec<_> = words.split(' ').map(|it| Cow::Borrowed(it.as_bytes())).collect();
        encode(words.len() as u64, &words)
    }

    #[test]
    fn pipelined_commands_get_their_replies() {
        let asked =
            [command("set a 1"), command("GET a"), command("GET b"), command("INCR x")].concat();
        let steps = [
            client(&asked),
            server("+OK\r\n$1\r\n1\r\n$-1\r\n-WRONGTYPE Operation against a key\r\n"),
        ];
        let expected = [
            "SET a 1 = string OK",
            "GET a = bulk 1",
            "GET b = bulk -",
            "INCR x = error WRONGTYPE Operation against a key",
        ];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn commands_may_be_typed() {
        let steps = [
            client(
                "PING\r\n\r\nset \"a b\" 'it\\'s' \"\\x41\\n\"\nECHO  hi \r\n*0\r\n*-1\r\nPING\r\n",
            ),
            server("+PONG\r\n+OK\r\n$2\r\nhi\r\n+PONG\r\n"),
        ];
        let expected = [
            "PING  = string PONG",
            "SET a b it's A\n = string OK",
            "ECHO hi = bulk hi",
            "PING  = string PONG",
        ];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn every_type_has_its_words() {
        let types = [
            ("*3\r\n:1\r\n$1\r\nb\r\n*-1\r\n", r#"array [1,"b",null]"#),
            ("*0\r\n", "array []"),
            ("*-1\r\n", "array -"),
            ("%1\r\n+a\r\n*1\r\n,1.5\r\n", r#"map {"a":["1.5"]}"#),
            ("%2\r\n:1\r\n+x\r\n*1\r\n+k\r\n#t\r\n", r#"map {"1":"x","[\"k\"]":true}"#),
            ("~2\r\n+a\r\n:-07\r\n", r#"set ["a",-7]"#),
            ("_\r\n", "null -"),
            ("#t\r\n", "boolean true"),
            (",inf\r\n", "double inf"),
            (
                "(3492890328409238509324850943850943825024385\r\n",
                "bignum 3492890328409238509324850943850943825024385",
            ),
            ("=8\r\ntxt:some\r\n", "bulk some"),
            ("!10\r\nERR broken\r\n", "error ERR broken"),
            ("|1\r\n+ttl\r\n:10\r\n$1\r\nx\r\n", "bulk x"),
            ("*1\r\n|1\r\n+ttl\r\n:10\r\n$1\r\nx\r\n", r#"array ["x"]"#),
            ("$?\r\n;3\r\nfoo\r\n;3\r\nbar\r\n;0\r\n", "bulk foobar"),
            ("*?\r\n:1\r\n$?\r\n;1\r\na\r\n;0\r\n*?\r\n.\r\n.\r\n", r#"array [1,"a",[]]"#),
            ("%?\r\n+a\r\n:1\r\n.\r\n", r#"map {"a":1}"#),
        ];
        for (bytes, expected) in types {
            let steps =
                [client("PING\r\n"), server(bytes), client("PING\r\n"), server("+PONG\r\n")];
            assert_eq!(
                rows(&steps),
                [format!("PING  = {expected}"), "PING  = string PONG".to_owned()]
            );
        }
    }

    #[test]
    fn subscribers_are_told_without_asking() {
        let asked = [command("SUBSCRIBE a b"), command("PSUBSCRIBE c*")].concat();
        let steps = [
            client(&asked),
            server(
                "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n",
            ),
            server("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"),
            server("*3\r\n$10\r\npsubscribe\r\n$2\r\nc*\r\n:3\r\n"),
            client("*1\r\n$4\r\nPING\r\n"),
            server(
                "*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\nc1\r\n$2\r\nho\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            ),
        ];
        let expected = [
            r#"SUBSCRIBE a b = array ["subscribe","a",1]"#,
            "subscribe b 2 = array -",
            "message a hi = array -",
            r#"PSUBSCRIBE c* = array ["psubscribe","c*",3]"#,
            "pmessage c* c1 ho = array -",
            r#"PING  = array ["pong",""]"#,
        ];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn a_list_that_looks_like_a_message_is_a_reply() {
        let asked = command("LRANGE l 0 -1");
        let told = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n";
        let expected = [r#"LRANGE l 0 -1 = array ["message","a","hi"]"#];
        assert_eq!(rows(&[client(&asked), server(told)]), expected);
        // But where nothing was asked, it is one.
        assert_eq!(rows(&[server(told)]), ["message a hi = array -"]);
    }

    #[test]
    fn resp3_pushes_come_between_replies() {
        let (hello, get) = (command("HELLO 3"), command("GET a"));
        let steps = [
            client(&hello),
            server("%1\r\n+proto\r\n:3\r\n"),
            client(&get),
            server(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ];
        let expected = [r#"HELLO 3 = map {"proto":3}"#, "invalidate  = push -", "GET a = bulk 1"];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn monitors_see_what_others_do() {
        let steps = [
            client("MONITOR\r\n"),
            server("+OK\r\n+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n"),
        ];
        let expected = [
            "MONITOR  = string OK",
            " = string 1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"",
        ];
        assert_eq!(
            rows(&steps).iter().map(|it| it.trim()).collect::<Vec<_>>(),
            expected.map(str::trim)
        );
    }

    #[test]
    fn silenced_replies_are_not_waited_for() {
        let words = "PING|CLIENT REPLY SKIP|PING|CLIENT REPLY OFF|PING|CLIENT REPLY ON|GET a";
        let asked: Vec<u8> = words.split('|').flat_map(command).collect();
        let told = "+PONG\r\n+OK\r\n$1\r\n1\r\n";
        let mut rows = rows(&[client(&asked), server(told)]);
        rows.sort();
        let expected = [
            "CLIENT REPLY REPLY OFF",
            "CLIENT REPLY REPLY ON = string OK",
            "CLIENT REPLY REPLY SKIP",
            "GET a = bulk 1",
            "PING ",
            "PING ",
            "PING  = string PONG",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn secrets_are_not_kept() {
        let words = [
            "AUTH s3cret",
            "auth bob s3cret",
            "HELLO 3 AUTH bob s3cret SETNAME me",
            "CONFIG SET maxmemory 1 requirepass s3cret",
            "ACL SETUSER bob on >s3cret ~*",
            "MIGRATE h 6379 k 0 9 AUTH2 bob s3cret KEYS a",
            "SENTINEL SET m auth-pass s3cret",
        ];
        for words in words {
            let asked = [command(words), format!("{words}\r\n").into_bytes()].concat();
            let limits = Limits::default();
            let mut input = Input::new(&asked, false, &limits);
            let mut dissector = Dissector::default();
            for _ in 0..2 {
                let body =
                    dissector.parse(Side::Client, &mut input, &Open::default()).unwrap().body;
                let text = String::from_utf8_lossy(body.bytes.get()).into_owned();
                assert!(!text.contains("s3cret") && text.contains("***"), "{text}");
                let (_, row) = Dissector::record(Exchange { request: Some(&body), response: None });
                assert_eq!(row.argument_count as usize, words.split(' ').count() - 1);
            }
        }
        let asked = command("CONFIG GET *");
        let told = "*2\r\n$11\r\nrequirepass\r\n$6\r\ns3cret\r\n";
        assert_eq!(rows(&[client(&asked), server(told)]), [r#"CONFIG GET GET * = array ["…"]"#]);
        // The user's name is not secret.
        let asked = command("AUTH bob s3cret");
        assert_eq!(rows(&[client(&asked), server("+OK\r\n")]), ["AUTH bob *** = string OK"]);
    }

    #[test]
    fn replication_is_left_alone() {
        let asked = [command("PSYNC ? -1"), command("REPLCONF ACK 1")];
        let steps = [
            client(&asked[0]),
            server("+FULLRESYNC 8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb 1\r\n"),
            server(b"$100\r\nREDIS0009\xfa anything"),
            client(&asked[1]),
        ];
        for piece in [1, 10, 999] {
            let flow = Flow::of(&steps, piece);
            assert_eq!((flow.rows.len(), flow.n_lost), (1, 0));
            assert!(flow.rows[0].starts_with("PSYNC ? -1 = string FULLRESYNC"));
        }
    }

    #[test]
    fn the_database_is_the_one_that_was_chosen() {
        let mut dissector = Dissector::default();
        let limits = Limits::default();
        let mut database = |words: &str| {
            let asked = command(words);
            let mut input = Input::new(&asked, false, &limits);
            dissector.parse(Side::Client, &mut input, &Open::default()).unwrap().body.database
        };
        assert_eq!(database("GET a"), None);
        assert_eq!(database("SELECT 3"), None);
        assert_eq!(database("GET a"), Some(3));
    }

    #[test]
    fn keys_stand_where_the_command_says() {
        let keys = [
            ("GET a", Some("a")),
            ("PING", None),
            ("EVAL script 1 k v", Some("k")),
            ("EVAL script 0 v", None),
            ("XREAD COUNT 1 STREAMS s 0", Some("s")),
            ("OBJECT ENCODING o", Some("o")),
            ("PUBLISH c m", None),
            ("ZUNION 2 x y", Some("x")),
        ];
        for (words, expected) in keys {
            let (_, row) = record(&command(words));
            assert_eq!(row.as_deref(), expected, "{words}");
        }
        assert_eq!(record(&command("client setname x")).0, "CLIENT SETNAME");
    }

    fn record(bytes: &[u8]) -> (String, Option<String>) {
        let body = Body {
            bytes: Bytes::of(bytes),
            command: Command::Other,
            is_push: false,
            is_resp3: false,
            database: None,
        };
        let (_, row) = Dissector::record(Exchange { request: Some(&body), response: None });
        (row.command.0.into_owned(), row.key.map(Cow::into_owned))
    }

    #[test]
    fn huge_values_need_little_room() {
        let value = vec![b'x'; 3 << 20];
        let asked = encode(3, &[b"SET"[..].into(), b"k"[..].into(), value.into()]);
        let told = [b"*2000000\r\n".to_vec(), b":1\r\n".repeat(2_000_000)].concat();
        let steps = [client(&asked), server("+OK\r\n"), client("PING\r\n"), server(&told)];
        let flow = Flow::of(&steps, 1460);
        assert_eq!(flow.rows.len(), 2);
        assert!(flow.most_held < 200 << 10, "{} held", flow.most_held);
        assert!(flow.rows.iter().all(|it| it.len() < 20 << 10));
    }

    #[test]
    fn a_hole_inside_a_string_is_absorbed() {
        let asked = command("GET big");
        let steps = [
            client(&asked),
            server("$1000\r\n0123456789"),
            Step::Loses(Side::Server, 980),
            server("0123456789\r\n"),
            client("PING\r\n"),
            server("+PONG\r\n"),
        ];
        let expected = ["GET big = bulk 0123456789 (incomplete)", "PING  = string PONG"];
        assert_eq!(Flow::of(&steps, 999).rows, expected);
    }

    #[test]
    fn after_a_hole_the_next_command_is_found() {
        let asked = command("GET a");
        let steps = [
            client("*2\r\n$3\r\nGET\r\n"),
            Step::Loses(Side::Client, 20),
            client("rest of it\r\n"),
            client(&asked),
            server("$1\r\n1\r\n"),
        ];
        assert_eq!(rows(&steps), ["GET a = bulk 1"]);
    }

    #[test]
    fn lists_in_lists_have_a_bound() {
        let told = b"*1\r\n".repeat(100_000);
        let flow = Flow::of(&[client("PING\r\n"), server(&told)], 1460);
        assert_eq!(flow.rows, ["PING "]);
        assert!(flow.n_lost > 0);
        let deep = [b"*1\r\n".repeat(DEPTH), b":1\r\n".to_vec()].concat();
        assert_eq!(rows(&[client("PING\r\n"), server(&deep)]).len(), 1);
    }

    #[test]
    fn recognised_by_content() {
        let guess = |bytes: &[u8], side| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port: 6379 })
        };
        let asked = command("GET a");
        for n in 0..9 {
            assert_eq!(guess(asked.get(..n).unwrap(), Side::Client), Guess::More, "{n} bytes");
        }
        assert_eq!(guess(&asked, Side::Client), Guess::Sure);
        assert_eq!(guess(b"PING\r\n", Side::Client), Guess::Maybe);
        assert_eq!(guess(b"+OK\r\n", Side::Server), Guess::Maybe);
        for noise in
            [&b"* OK IMAP4 ready\r\n"[..], b"\x16\x03\x01\x02\x00", b"<xml>", b"*a", b"*1\r\n:1"]
        {
            assert_eq!(guess(noise, Side::Client), Guess::No, "{noise:?}");
        }
    }

    const PIECES: &[&[u8]] = &[
        b"*2\r\n",
        b"$3\r\nGET\r\n",
        b"$-1\r\n",
        b"%1\r\n",
        b"|1\r\n",
        b"*?\r\n",
        b".\r\n",
        b"$?\r\n",
        b";2\r\nab\r\n",
        b";0\r\n",
        b":7\r\n",
        b"_\r\n",
        b"+OK\r\n",
        b"\xff\0",
        b"\r\n",
        b"-\r\n",
        b"CLIENT REPLY OFF\r\n",
        b"$9\r\nsubscribe\r\n",
        b"=3\r\nt\xf0:\r\n",
    ];

    proptest! {
        #[test]
        fn noise_is_no_accident(
            pieces in proptest::collection::vec(
                proptest::sample::select(PIECES),
                0..40,
            ),
            client in any::<bool>(), piece in 1_usize..30, missing in 0_u64..9,
        ) {
            let side = if client { Side::Client } else { Side::Server };
            let bytes = pieces.concat();
            let steps = [Step::Sends(side, &bytes), Step::Loses(side, missing), Step::Sends(side, &bytes)];
            Flow::of(&steps, piece);
            guess_command(&bytes);
            guess_reply(&bytes);
        }

        #[test]
        fn cuts_change_nothing(pieces in proptest::collection::vec(0_usize..8, 1..12), cut in 1_usize..9) {
            let replies = [
                "+OK\r\n", ":12\r\n", "$3\r\nabc\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "$-1\r\n", "%1\r\n+a\r\n+b\r\n", "_\r\n",
                "-ERR x\r\n",
            ];
            let asked: Vec<u8> = pieces.iter().flat_map(|it| command(&format!("GET k{it}"))).collect();
            let told: String = pieces.iter().map(|it| replies[*it]).collect();
            let steps = [client(&asked), server(&told)];
            let rows = Flow::of(&steps, cut).rows;
            prop_assert_eq!(rows.len(), pieces.len());
            prop_assert_eq!(rows, Flow::of(&steps, usize::MAX).rows);
        }
    }
}
