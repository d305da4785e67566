//! HTTP/1.0 and HTTP/1.1: RFC 9110 and 9112, and what senders make of them.
//!
//! A message is its head, kept as sent, and its payload. Framing reads the head once when it
//! arrives; the row reads it again and borrows from it, so no header is copied in between.
use memchr::{memchr, memchr_iter, memmem, memrchr};
use schema::value::text;

use self::message::{Fields, Http, HttpColumns, Sent, is_timed, list, record, split_head};
use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::tables::Also;

pub(super) mod json;
pub(super) mod message;
mod names;

/// Reads HTTP/1.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<UnderWay>,
    server: Option<UnderWay>,
    /// The client asked to speak something else, and the server has not answered yet.
    asked_switch: bool,
}

/// A message whose head has arrived.
#[derive(Debug)]
struct UnderWay {
    sent: Sent,
    left: Left,
    incomplete: bool,
    becomes: Option<&'static str>,
    /// What the next protocol should know: the heads of the request and of the answer.
    note: String,
}

/// What must still come to end a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Bytes(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Everything until the connection closes.
    Close,
}

impl Dissect for Dissector {
    const NAME: &'static str = "http";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[80, 8080, 8000, 8008, 8081, 3000, 5000, 9090, 9200, 3128];
    type Body = Sent;
    type Columns = HttpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        opening(head.side, head.bytes)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Sent>,
    ) -> Result<Message<Sent>, Stop> {
        let mut under_way = match self.half(side).take() {
            Some(it) => it,
            None => self.begin(side, input, open)?,
        };
        match under_way.read(input) {
            Ok(None) => Ok(under_way.message(side)),
            Ok(Some(part)) => {
                *self.half(side) = Some(under_way);
                Ok(Message::part(part))
            }
            Err(stop) => {
                *self.half(side) = Some(under_way);
                Err(stop)
            }
        }
    }

    fn record(exchange: Exchange<'_, Sent>) -> (Summary<'_>, Http<'_>) {
        record(exchange.request, exchange.response)
    }

    fn summary(exchange: Exchange<'_, Sent>) -> Summary<'_> {
        message::summary(exchange.request, exchange.response)
    }

    const BRIEF: &'static [&'static str] = message::BRIEF;

    fn brief(exchange: Exchange<'_, Sent>) -> (Summary<'_>, Http<'_>) {
        message::brief(exchange.request, exchange.response)
    }

    fn also(exchange: &Exchange<'_, Sent>, also: &mut Also<'_>) {
        message::also(exchange, also);
    }

    /// The end of a message of which the last part was told before.
    fn more(&mut self, side: Side) -> Option<Message<Sent>> {
        self.half(side)
            .take_if(|it| matches!(it.left, Left::Nothing | Left::Bytes(0)))
            .map(|it| it.message(side))
    }

    fn weight(sent: &Sent) -> usize {
        sent.weight()
    }

    fn held(&self) -> usize {
        [&self.client, &self.server].into_iter().flatten().map(|it| Self::weight(&it.sent)).sum()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let under_way = self.half(side).as_mut().ok_or(Stop::Lost)?;
        match &mut under_way.left {
            Left::Close if missing < u64::MAX => {}
            Left::Bytes(left) | Left::Chunk(left) if missing <= *left => *left -= missing,
            _ => return Err(Stop::Lost),
        }
        under_way.sent.skip(missing);
        under_way.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.half(side) = None;
        let rest = input.rest();
        let (at, found) = match side {
            Side::Client => find_request(rest),
            Side::Server => find_response(rest),
        };
        input.take(at)?;
        input.commit();
        if found { Ok(()) } else { Err(Stop::More) }
    }

    fn end(&mut self, side: Side) -> Option<Message<Sent>> {
        let mut under_way = self.half(side).take()?;
        let complete = matches!(under_way.left, Left::Close | Left::Nothing | Left::Bytes(0));
        under_way.incomplete |= !complete;
        Some(under_way.message(side))
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Option<UnderWay> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Reads a head, and interim responses before it; from here on its bytes are used.
    fn begin(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Sent>,
    ) -> Result<UnderWay, Stop> {
        loop {
            let waits = side == Side::Client && self.asked_switch && !open.is_empty();
            if waits && opening(side, input.rest()) == Guess::No {
                // Whether this is HTTP at all, the answer will say.
                return Err(Stop::More);
            }
            let head = read_head(side, input)?;
            let request = open.oldest(0).map(|it| it.head.as_slice());
            let framed = match side {
                Side::Client => frame_request(head).ok_or(Stop::Lost)?,
                Side::Server => frame_response(head, request).ok_or(Stop::Lost)?,
            };
            self.asked_switch = match side {
                Side::Client => framed.asks_switch,
                Side::Server => self.asked_switch && framed.interim,
            };
            input.commit();
            if !framed.interim {
                let mut under_way = UnderWay::new(head, framed, input);
                if under_way.becomes.is_some_and(|it| !it.is_empty()) {
                    let parts = [request.unwrap_or_default(), b"\r\n", head];
                    under_way.note = text(&parts.concat()).into_owned();
                }
                return Ok(under_way);
            }
        }
    }
}

impl UnderWay {
    fn new(head: &[u8], framed: Framed, input: &Input<'_>) -> Self {
        let limits = input.limits();
        // Of what nobody looks at, the first line, and what another protocol may have to know.
        let kept = match memchr(b'\n', head).and_then(|it| head.get(..=it)) {
            Some(line) if !input.is_detailed() && !framed.asks_switch => line,
            _ => head,
        };
        let mut sent = Sent::new(kept.to_vec(), 0, limits);
        if let Left::Bytes(size) = framed.left {
            sent.payload.expect(size, body_bytes(input));
        }
        if framed.timed
            && input.is_detailed()
            && let Some((_, value)) =
                split_head(head).1.find(|it| it.0.eq_ignore_ascii_case(b"content-type"))
        {
            sent.expect_type(&value);
        }
        let (left, becomes) = (framed.left, framed.becomes);
        Self { sent, left, incomplete: false, becomes, note: String::new() }
    }

    /// Uses up what belongs to the message, to its end or to a part that is to be told.
    fn read(&mut self, input: &mut Input<'_>) -> Result<Option<Sent>, Stop> {
        let limit = body_bytes(input);
        loop {
            match self.left {
                Left::Nothing | Left::Bytes(0) => return Ok(None),
                Left::Bytes(left) => {
                    let ts = input.now().ts();
                    let some = input.some(left)?;
                    self.sent.push(some, limit, ts);
                    self.left = Left::Bytes(left.saturating_sub(some.len() as u64));
                }
                Left::Close => {
                    let ts = input.now().ts();
                    self.sent.push(input.some(u64::MAX)?, limit, ts);
                }
                Left::Chunk(0) => self.left = Left::ChunkEnd,
                Left::Chunk(left) => {
                    let ts = input.now().ts();
                    let some = input.some(left)?;
                    self.sent.push(some, limit, ts);
                    self.left = Left::Chunk(left.saturating_sub(some.len() as u64));
                }
                Left::ChunkSize => match read_line(input)?.and_then(chunk_size) {
                    Some(0) => self.left = Left::Trailers,
                    Some(size) => self.left = Left::Chunk(size),
                    None => self.break_off(),
                },
                Left::ChunkEnd => {
                    let end = input.rest();
                    let n = if end.starts_with(b"\n") { 1 } else { 2 };
                    match end.get(..n) {
                        None if !end.starts_with(b"\r") && !end.is_empty() => self.break_off(),
                        Some(b"\n" | b"\r\n") | None => {
                            input.take(n)?;
                            self.left = Left::ChunkSize;
                        }
                        Some(_) => self.break_off(),
                    }
                }
                Left::Trailers => match read_line(input)? {
                    Some([]) => self.left = Left::Nothing,
                    Some(line) if self.sent.head.len() + line.len() < HEAD_BYTES => {
                        self.sent.head.extend_from_slice(line);
                        self.sent.head.push(b'\n');
                    }
                    Some(_) => {}
                    None => self.break_off(),
                },
            }
            input.commit();
            if let Some(part) = self.sent.part() {
                return Ok(Some(part));
            }
        }
    }

    /// Where it would go on cannot be told.
    fn break_off(&mut self) {
        self.left = Left::Nothing;
        self.incomplete = true;
    }

    fn message(mut self, side: Side) -> Message<Sent> {
        self.sent.end();
        if self.incomplete {
            self.sent.payload.cut();
        }
        let message = match side {
            Side::Client => Message::request(self.sent),
            Side::Server => Message::response(self.sent),
        };
        Message { incomplete: self.incomplete, becomes: self.becomes, note: self.note, ..message }
    }
}

/// Bytes of a payload that are kept.
pub(super) fn body_bytes(input: &Input<'_>) -> usize {
    if input.is_detailed() { input.limits().body_bytes } else { 0 }
}

/// How much the start of a side's bytes looks like the first line of a message.
fn opening(side: Side, bytes: &[u8]) -> Guess {
    let bytes = bytes.trim_ascii_start();
    match side {
        Side::Server => match bytes.get(..STATUS.len()) {
            Some(start) if status_line(start).is_some() => Guess::Sure,
            Some(_) => Guess::No,
            None if fits_status(bytes) => Guess::More,
            None => Guess::No,
        },
        Side::Client => match memchr(b'\n', bytes) {
            Some(end) => match bytes.get(..end).and_then(request_line) {
                Some(_) => Guess::Sure,
                None => Guess::No,
            },
            None => opening_cut(bytes),
        },
    }
}

/// The same for a request whose first line has not all arrived.
fn opening_cut(bytes: &[u8]) -> Guess {
    let Some(space) = memchr(b' ', bytes) else {
        return match bytes.len() <= METHOD_BYTES && bytes.iter().all(|it| is_token(*it)) {
            true => Guess::More,
            false => Guess::No,
        };
    };
    let (method, target) = bytes.split_at(space);
    if !is_method(method) || target.iter().any(|it| it.is_ascii_control() && *it != b'\r') {
        return Guess::No;
    }
    // A target longer than what a guess may look at.
    match METHODS.contains(&method) && target.starts_with(b" /") && target.len() > LONG_TARGET_BYTES
    {
        true => Guess::Sure,
        false => Guess::More,
    }
}

/// Uses up a head and the empty line after it, which is not returned, and empty lines before it.
fn read_head<'a>(side: Side, input: &mut Input<'a>) -> Result<&'a [u8], Stop> {
    let blank = input.rest().iter().take_while(|it| matches!(it, b'\r' | b'\n')).count();
    input.take(blank)?;
    input.commit();
    let rest = input.rest();
    let limit = HEAD_BYTES.min(input.limits().message_bytes);
    match head_end(rest.get(..limit).unwrap_or(rest)) {
        Some((end, next)) => {
            let head = input.take(next)?;
            Ok(head.get(..end).unwrap_or(head))
        }
        None if opening(side, rest) == Guess::No => Err(Stop::Lost),
        None if rest.len() >= limit => {
            // Else the same head would be found again.
            input.take(limit)?;
            input.commit();
            Err(Stop::Lost)
        }
        None => Err(Stop::More),
    }
}

/// Where a head ends, and where the empty line after it does.
fn head_end(bytes: &[u8]) -> Option<(usize, usize)> {
    memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some((at + 1, at + 2)),
        [b'\r', b'\n', ..] => Some((at + 1, at + 3)),
        _ => None,
    })
}

/// How a message goes on after its head.
struct Framed {
    left: Left,
    /// The final answer is still to come.
    interim: bool,
    becomes: Option<&'static str>,
    asks_switch: bool,
    /// It matters when the parts of the payload come.
    timed: bool,
}

fn frame_request(head: &[u8]) -> Option<Framed> {
    let (line, fields) = split_head(head);
    let (method, ..) = request_line(line)?;
    let lengths = Lengths::of(fields);
    let left = lengths.left().unwrap_or(Left::Nothing);
    let asks_switch = method == b"CONNECT" || lengths.upgrade.is_some();
    let timed = lengths.timed;
    Some(Framed { left, interim: false, becomes: None, asks_switch, timed })
}

fn frame_response(head: &[u8], request: Option<&[u8]>) -> Option<Framed> {
    let (line, fields) = split_head(head);
    let (_, status, _) = status_line(line)?;
    let lengths = Lengths::of(fields);
    let to = |method: &[u8]| request.is_some_and(|it| it.starts_with(method));
    let mut becomes = None;
    let left = match status {
        101 => {
            becomes = Some(lengths.upgrade.unwrap_or(""));
            Left::Nothing
        }
        100..=199 | 204 | 304 => Left::Nothing,
        200..=299 if to(b"CONNECT ") => {
            becomes = Some("");
            Left::Nothing
        }
        _ if to(b"HEAD ") => Left::Nothing,
        _ => lengths.left().unwrap_or(Left::Close),
    };
    let interim = matches!(status, 100 | 102..=199);
    let timed = lengths.timed && left != Left::Nothing;
    Some(Framed { left, interim, becomes, asks_switch: false, timed })
}

/// What the headers say of where a message ends.
#[derive(Default)]
struct Lengths {
    length: Option<u64>,
    chunked: bool,
    /// A transfer coding other than chunks: its end is the connection's.
    coded: bool,
    /// The protocol that `upgrade` names.
    upgrade: Option<&'static str>,
    /// The type is one whose parts are timed.
    timed: bool,
}

impl Lengths {
    fn of(fields: Fields<'_>) -> Self {
        let mut it = Self::default();
        for (name, value) in fields {
            if name.eq_ignore_ascii_case(b"content-length") {
                it.length = it.length.or_else(|| list(&value).next().and_then(length));
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                for coding in list(&value) {
                    it.chunked = coding.eq_ignore_ascii_case(b"chunked");
                    it.coded |= !it.chunked && !coding.eq_ignore_ascii_case(b"identity");
                }
            } else if name.eq_ignore_ascii_case(b"content-type") {
                it.timed = is_timed(&value);
            } else if name.eq_ignore_ascii_case(b"upgrade") {
                it.upgrade = Some(match list(&value).next().unwrap_or_default() {
                    it if it.eq_ignore_ascii_case(b"websocket") => "websocket",
                    it if it.eq_ignore_ascii_case(b"h2c") => "http2",
                    _ => "",
                });
            }
        }
        it
    }

    /// RFC 9112 6.3: chunks win over a length.
    fn left(&self) -> Option<Left> {
        match self {
            Self { chunked: true, .. } => Some(Left::ChunkSize),
            Self { coded: true, .. } => Some(Left::Close),
            Self { length, .. } => length.map(Left::Bytes),
        }
    }
}

/// A length that someone could mean.
fn length(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok().filter(|it| !it.starts_with('+'))?;
    digits.parse().ok().filter(|it| *it <= i64::MAX as u64)
}

/// The size before a chunk, and whatever extensions follow it.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|it| *it == b';').next().unwrap_or_default().trim_ascii();
    let digits = std::str::from_utf8(digits).ok().filter(|it| !it.starts_with('+'))?;
    u64::from_str_radix(digits, 16).ok().filter(|it| *it <= i64::MAX as u64)
}

/// The next line without its end; `None` if none ends within bounds.
fn read_line<'a>(input: &mut Input<'a>) -> Result<Option<&'a [u8]>, Stop> {
    match input.until(b"\n", LINE_BYTES) {
        Ok(line) => Ok(Some(line.strip_suffix(b"\r").unwrap_or(line))),
        Err(Stop::More) => Err(Stop::More),
        Err(Stop::Lost) => Ok(None),
    }
}

/// Method, target and version.
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let line = line.trim_ascii_end();
    let space = memchr(b' ', line).filter(|it| is_method(line.get(..*it).unwrap_or_default()))?;
    let (line, version) = line.split_at_checked(line.len().checked_sub(VERSION.len())?)?;
    let (method, target) = line.split_at_checked(space)?;
    let target = target.trim_ascii();
    let is_version = version.get(..VERSION.len() - 1)?.eq_ignore_ascii_case(b"HTTP/1.")
        && version.last()?.is_ascii_digit()
        && line.ends_with(b" ");
    (is_version && !target.is_empty())
        .then(|| (method, target, version.get(5..).unwrap_or_default()))
}

/// Version, status and reason.
fn status_line(line: &[u8]) -> Option<(&[u8], i32, &[u8])> {
    let (start, after) = line.split_at_checked(STATUS.len())?;
    if !fits_status(start) {
        return None;
    }
    let (version, status) = start.get(5..)?.split_at_checked(3)?;
    let status =
        status.iter().skip(1).fold(0, |sum, it| sum * 10 + i32::from(it.wrapping_sub(b'0')));
    let ends = after.first().is_none_or(|it| it.is_ascii_whitespace());
    (ends && status >= 100).then(|| (version, status, after.trim_ascii()))
}

/// Whether these bytes can begin a status line.
fn fits_status(bytes: &[u8]) -> bool {
    bytes.iter().zip(STATUS).all(|(byte, like)| match like {
        b'0' => byte.is_ascii_digit(),
        like => byte.eq_ignore_ascii_case(like),
    })
}

fn is_method(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() <= METHOD_BYTES && bytes.iter().all(|it| is_token(*it))
}

/// RFC 9110 5.6.2, without those no method has.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Where the next request begins, and whether it does; if not, how many bytes are of no use.
fn find_request(bytes: &[u8]) -> (usize, bool) {
    for version in memmem::find_iter(bytes, b" HTTP/1.") {
        let start = memrchr(b'\n', bytes.get(..version).unwrap_or_default()).map_or(0, |it| it + 1);
        let end = memchr(b'\n', bytes.get(version..).unwrap_or_default());
        let line = bytes.get(start..end.map_or(bytes.len(), |it| version + it)).unwrap_or_default();
        let before = line.get(..version - start).unwrap_or_default();
        // A body need not end with a line, so the request may begin in the middle of this one.
        let Some((body, _)) = memrchr(b' ', before).and_then(|at| before.split_at_checked(at))
        else {
            continue;
        };
        let method = METHODS.iter().filter(|it| body.ends_with(it)).max_by_key(|it| it.len());
        let Some(skip) = method.map(|it| body.len() - it.len()) else { continue };
        if end.is_none() {
            return (start + skip, false);
        }
        if line.get(skip..).and_then(request_line).is_some() {
            return (start + skip, true);
        }
    }
    // The line under way may be the first of a request.
    let tail = bytes.get(bytes.len().saturating_sub(LINE_BYTES)..).unwrap_or_default();
    let line = memrchr(b'\n', tail).map_or(0, |it| it + 1);
    (bytes.len() - tail.len() + line, false)
}

/// The same for responses.
fn find_response(bytes: &[u8]) -> (usize, bool) {
    for at in memmem::find_iter(bytes, b"HTTP/1.") {
        match bytes.get(at..=at + STATUS.len()) {
            Some(start) if status_line(start).is_some() => return (at, true),
            Some(_) => {}
            None if bytes.get(at..).is_some_and(fits_status) => return (at, false),
            None => {}
        }
    }
    // The last bytes may be the first of a response.
    let mut tails = (1..STATUS.len()).rev().filter_map(|n| bytes.len().checked_sub(n));
    let tail = tails.find(|at| bytes.get(*at..).is_some_and(fits_status));
    (tail.unwrap_or(bytes.len()), false)
}

/// What a status line begins with; `0` stands for any digit.
const STATUS: &[u8] = b"HTTP/1.0 000";

const VERSION: &[u8] = b"HTTP/1.0";

/// Methods that a request may be recognised by before its first line is complete.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"SEARCH",
    b"REPORT",
    b"PURGE",
    b"LINK",
    b"UNLINK",
    b"NOTIFY",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"QUERY",
];

/// Longer than any method in use.
const METHOD_BYTES: usize = 32;

/// A target longer than this, after a known method, is taken for one before its line ends.
const LONG_TARGET_BYTES: usize = 1024;

/// Bytes of a head. Servers refuse more than 8 to 32 KiB.
const HEAD_BYTES: usize = 64 << 10;

/// Bytes of a chunk's size with its extensions, or of one trailer.
const LINE_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use schema::value::Size;

    use super::*;
    use crate::Limits;
    use crate::exchange::{Times, Waiting};
    use crate::protocol::Transport;

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

    /// A flow, as the session leads it, without its clocks.
    #[derive(Default)]
    struct Flow {
        dissector: Dissector,
        open: Open<Sent>,
        held: [Vec<u8>; 2],
        resync: [bool; 2],
        rows: Vec<String>,
        limits: Limits,
        tunnel: bool,
    }

    impl Flow {
        fn of(steps: &[Step<'_>], piece: usize) -> Self {
            let mut flow = Self::default();
            for step in steps {
                match step {
                    Step::Sends(side, bytes) => {
                        bytes.chunks(piece).for_each(|it| flow.bytes(*side, it));
                    }
                    Step::Loses(side, missing) => flow.gap(*side, *missing),
                }
            }
            flow.end();
            flow
        }

        fn bytes(&mut self, side: Side, bytes: &[u8]) {
            if self.tunnel {
                return;
            }
            let place = side as usize;
            self.held[place].extend_from_slice(bytes);
            let bytes = std::mem::take(&mut self.held[place]);
            let mut done = 0;
            while done < bytes.len() {
                let limits = self.limits.clone();
                let mut input = Input::new(&bytes[done..], false, &limits);
                if self.resync[place] {
                    let found = self.dissector.resync(side, &mut input);
                    done += input.committed();
                    self.resync[place] = found.is_err();
                    if found == Err(Stop::More) {
                        break;
                    }
                    continue;
                }
                match self.dissector.parse(side, &mut input, &self.open) {
                    Ok(message) => {
                        done += input.used();
                        self.message(message);
                    }
                    Err(Stop::More) => {
                        done += input.committed();
                        break;
                    }
                    Err(Stop::Lost) => {
                        done += input.committed();
                        self.rows.push("lost".to_owned());
                        self.resync[place] = true;
                    }
                }
            }
            self.held[place] = bytes[done..].to_vec();
        }

        fn gap(&mut self, side: Side, missing: u64) {
            if self.dissector.gap(side, missing).is_err() {
                self.held[side as usize].clear();
                self.resync[side as usize] = true;
                if let Some(message) = self.dissector.end(side) {
                    self.message(message);
                }
            }
        }

        fn message(&mut self, message: Message<Sent>) {
            if let Some(name) = message.becomes {
                self.tunnel = true;
                self.rows.push(format!("becomes {name:?}"));
            }
            let (body, incomplete) = (message.body, message.incomplete);
            if message.role == crate::Role::Request {
                let times = Times { first: 0, last: 0 };
                self.open.requests.push_back(Waiting {
                    key: 0,
                    body,
                    times,
                    bytes: 0,
                    incomplete,
                    start: 0,
                    turned: false,
                    seen: 0,
                });
            } else {
                let request = self.open.take(0);
                self.row(request.map(|it| (it.body, it.incomplete)), Some((body, incomplete)));
            }
        }

        fn row(&mut self, request: Option<(Sent, bool)>, response: Option<(Sent, bool)>) {
            let incomplete = [&request, &response].into_iter().flatten().any(|it| it.1);
            let (summary, row) =
                record(request.as_ref().map(|it| &it.0), response.as_ref().map(|it| &it.0));
            let mut text = format!("{} {}", summary.verb, summary.target);
            if let Some(status) = summary.status {
                text += &format!(" {status}");
            }
            for (mark, body, truncated) in [
                (">", &row.request_body, row.request_body_truncated),
                ("<", &row.response_body, row.response_body_truncated),
            ] {
                if let Some(body) = body {
                    text += &format!(" {mark}{}", String::from_utf8_lossy(&body.0));
                }
                if truncated {
                    text += "…";
                }
            }
            if incomplete {
                text += " incomplete";
            }
            self.rows.push(text);
        }

        fn end(&mut self) {
            for side in [Side::Client, Side::Server] {
                if let Some(message) = self.dissector.end(side) {
                    self.message(message);
                }
            }
            while let Some(request) = self.open.take(0) {
                self.row(Some((request.body, request.incomplete)), None);
            }
        }
    }

    /// The rows are these however the bytes are cut.
    #[track_caller]
    fn check(steps: &[Step<'_>], rows: &[&str]) {
        for piece in [usize::MAX >> 1, 1, 2, 3, 7, 16, 61] {
            assert_eq!(Flow::of(steps, piece).rows, rows, "in pieces of {piece}");
        }
    }

    #[test]
    fn request_and_response() {
        check(
            &[
                client("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
                client("POST /b HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\nabc"),
                server("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
            ],
            &["GET /a?b=c 200 <hello", "POST /b 201 >abc"],
        );
    }

    #[test]
    fn of_credentials_only_the_scheme_is_kept() {
        let asked =
            "GET / HTTP/1.1\r\nAuthorization: Bearer abc.def\r\nProxy-Authorization: x\r\n\r\n";
        let rows = crate::drive::stream::<Dissector>(&[crate::drive::client(asked)], 1 << 10);
        let headers = &rows[0]["request_headers"];
        assert_eq!(headers["authorization"], "Bearer ***");
        assert_eq!(headers["proxy-authorization"], "***");
        assert!(!rows[0].to_string().contains("abc.def"));
    }

    #[test]
    fn pipelined() {
        check(
            &[
                client(
                    "GET /1 HTTP/1.1\r\n\r\nPUT /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\n\r\n",
                ),
                server(
                    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n3",
                ),
            ],
            &["GET /1 200 <1", "PUT /2 204 >hi", "GET /3 404 <3"],
        );
    }

    #[test]
    fn chunks_with_extensions_and_trailers() {
        let steps = [
            client(
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0010 ; c\r\n0123456789abcdef\r\n0\r\n\r\n",
            ),
            server(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nContent-Length: 99\r\n\r\n1\r\nx\r\nA\r\n0123456789\r\n0\r\nChecksum: 7\r\nEtag: z\r\n\r\n",
            ),
            client("GET /next HTTP/1.1\r\n\r\n"),
            server("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ];
        check(&steps, &["POST / 200 >abc0123456789abcdef <x0123456789", "GET /next 200"]);
        let body = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nChecksum: 7\r\n\r\n";
        let row = response(body.as_bytes());
        assert_eq!(header(&row, "checksum"), ["7"]);
    }

    #[test]
    fn chunks_that_make_no_sense_end_the_message() {
        check(
            &[
                client("GET / HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"),
            ],
            &["GET / 200 <ab… incomplete"],
        );
        check(
            &[
                client("GET / HTTP/1.1\r\n\r\n"),
                server(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabHTTP/1.1 200 OK\r\n",
                ),
            ],
            &["GET / 200 <ab… incomplete"],
        );
    }

    #[test]
    fn body_until_close() {
        check(
            &[
                client("GET / HTTP/1.0\r\n\r\n"),
                server(
                    "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it\r\n\r\nand this",
                ),
            ],
            &["GET / 200 <all of it\r\n\r\nand this"],
        );
        check(
            &[
                client("GET / HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nnot gzip"),
            ],
            &["GET / 200 <not gzip"],
        );
    }

    #[test]
    fn body_cut_by_close() {
        check(
            &[
                client("GET / HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"),
            ],
            &["GET / 200 <only this… incomplete"],
        );
    }

    #[test]
    fn responses_without_a_body() {
        check(
            &[
                client("HEAD / HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
                client("GET /cached HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
                client("DELETE / HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 204 No Content\r\n\r\n"),
                client("GET /end HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ],
            &["HEAD / 200", "GET /cached 304", "DELETE / 204", "GET /end 200"],
        );
    }

    #[test]
    fn interim_responses_end_nothing() {
        check(
            &[
                client("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
                server("HTTP/1.1 100 Continue\r\n\r\n"),
                client("ok"),
                server(
                    "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!",
                ),
            ],
            &["POST / 200 >ok <!"],
        );
    }

    #[test]
    fn upgrade() {
        let steps = [
            client("GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
            server([0x81, 2, b'h', b'i'].as_slice()),
        ];
        check(&steps, &["becomes \"websocket\"", "GET /chat 101"]);
    }

    #[test]
    fn refused_upgrade_goes_on() {
        check(
            &[
                client("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"),
                client("GET /2 HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"),
            ],
            &["GET / 200 <1", "GET /2 200 <2"],
        );
    }

    #[test]
    fn tunnel() {
        // The client's first bytes inside may be captured before the answer.
        check(
            &[
                client("CONNECT example.org:443 HTTP/1.1\r\n\r\n"),
                client([0x16, 3, 1, 0, 0, 1].as_slice()),
                server("HTTP/1.1 200 Connection established\r\nContent-Length: 9\r\n\r\n"),
            ],
            &["becomes \"\"", "CONNECT example.org:443 200"],
        );
        check(
            &[
                client("CONNECT example.org:443 HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
            ],
            &["CONNECT example.org:443 403 <no"],
        );
    }

    #[test]
    fn oddities_are_read() {
        // Empty lines between messages, bare line feeds, a folded header, no reason, spaces.
        check(
            &[
                client(
                    "\r\n\r\nGET /a HTTP/1.1\nHost: x\nX-Folded: a\n\tb\n\n\r\nget  /b c  http/1.0 \r\nbroken line\r\n: none\r\nContent-Length : 1\r\n\r\n1",
                ),
                server(
                    "HTTP/1.1 200\nCONTENT-LENGTH:2\n\nok\r\nHTTP/1.0 500 \r\nContent-Length: 1\r\n\r\n!",
                ),
            ],
            &["GET /a 200 <ok", "get /b c 500 >1 <!"],
        );
    }

    #[test]
    fn lengths_that_disagree() {
        check(
            &[client(
                "POST /1 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxPOST /2 HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\nyyPOST /3 HTTP/1.1\r\nContent-Length: +1\r\n\r\nPOST /4 HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\nGET /5 HTTP/1.1\r\n\r\n",
            )],
            &["POST /1 >x", "POST /2 >yy", "POST /3", "POST /4", "GET /5"],
        );
    }

    #[test]
    fn response_alone() {
        check(&[server("HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n?")], &["  404 <?"]);
    }

    #[test]
    fn gap_inside_a_body() {
        check(
            &[
                client("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
                Step::Loses(Side::Server, 4),
                server("hijHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nab"),
                Step::Loses(Side::Server, 4),
                server("\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nab"),
                Step::Loses(Side::Server, 1000),
                server("cd"),
            ],
            &[
                "GET /1 200 <abc… incomplete",
                "GET /2 200 <ab… incomplete",
                "GET /3 200 <ab… incomplete",
            ],
        );
    }

    #[test]
    fn gap_over_a_head_goes_on_at_the_next() {
        check(
            &[
                client("POST /1 HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"),
                Step::Loses(Side::Client, 100),
                client("cept: HTTP/1.1 or /\r\nA: b\r\n\r\n{\"n\":1}GET /2 HTTP/1.1\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
                Step::Loses(Side::Server, 100),
                server("says HTTP/1.1 is fine HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n2"),
            ],
            &["POST /1 200 >ab… <ab… incomplete", "GET /2 201 <2"],
        );
    }

    #[test]
    fn nonsense_goes_on_at_the_next() {
        check(
            &[
                client("GET / HTTP/1.1\r\n\r\nnon-sense\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"),
                server(
                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n<html>\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2",
                ),
            ],
            &["lost", "GET / 200", "lost", "GET /2 200 <2"],
        );
    }

    #[test]
    fn bounded_head() {
        let mut flow = Flow::default();
        flow.bytes(Side::Client, b"GET / HTTP/1.1\r\n");
        for _ in 0..10_000 {
            flow.bytes(Side::Client, b"X-More: of the same\r\n");
        }
        assert!(flow.rows.contains(&"lost".to_owned()));
        assert!(flow.held[0].len() <= HEAD_BYTES);
    }

    #[test]
    fn bounded_body() {
        let mut flow = Flow::default();
        flow.bytes(Side::Client, b"PUT / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n");
        for _ in 0..1000 {
            flow.bytes(Side::Client, &[b'x'; 1000]);
        }
        assert!(flow.dissector.held() < 2 * flow.limits.body_bytes + 10_000);
        assert!(flow.held[0].is_empty());
        let sent = flow.dissector.end(Side::Client).unwrap().body;
        let (_, row) = record(Some(&sent), None);
        assert_eq!(row.request_body_bytes, Some(Size(1_000_000)));
        assert_eq!(row.request_body.unwrap().0.len(), flow.limits.body_bytes);
        assert!(row.request_body_truncated);
    }

    fn sent(side: Side, bytes: &[u8]) -> Sent {
        let limits = Limits::default();
        let mut dissector = Dissector::default();
        let parsed =
            dissector.parse(side, &mut Input::new(bytes, false, &limits), &Open::default());
        parsed.ok().or_else(|| dissector.end(side)).unwrap().body
    }

    fn request(bytes: &[u8]) -> (Summary<'static>, Http<'static>) {
        record(Some(Box::leak(Box::new(sent(Side::Client, bytes)))), None)
    }

    fn response(bytes: &[u8]) -> Http<'static> {
        record(None, Some(Box::leak(Box::new(sent(Side::Server, bytes))))).1
    }

    fn header(row: &Http<'_>, name: &str) -> Vec<String> {
        let headers = row.response_headers.as_ref().or(row.request_headers.as_ref()).unwrap();
        let named = headers.0.iter().filter(|it| it.0.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|it| String::from_utf8_lossy(&it.1).into_owned()).collect()
    }

    #[test]
    fn columns_of_a_request() {
        let (summary, row) = request(
            b"PATCH http://shop.example:8080/cart?id=1&x=? HTTP/1.1\r\nHOST: other\r\nUser-Agent: me\xff/1\r\n\
              Cookie: a=1; B=x=y;c\r\nAccept: a\r\nACCEPT: b,\r\n  c\r\nContent-Type: text/plain\r\n\r\n",
        );
        assert_eq!(summary.verb, "PATCH");
        assert_eq!(summary.target, "http://shop.example:8080/cart?id=1&x=?");
        assert_eq!((summary.status, summary.failed), (None, true));
        assert_eq!(summary.error.as_deref(), Some("no response"));
        assert_eq!(row.version.0, "1.1");
        assert_eq!(row.host.as_ref().unwrap().0, "shop.example:8080");
        assert_eq!(row.path.as_deref(), Some("/cart"));
        assert_eq!(row.query.as_deref(), Some("id=1&x=?"));
        assert_eq!(row.user_agent.as_deref(), Some("me\u{fffd}/1"));
        assert_eq!(row.request_content_type.as_ref().unwrap().0, "text/plain");
        assert_eq!(header(&row, "accept"), ["a", "b, c"]);
        let cookies = row.request_cookies.unwrap().0;
        let cookies: Vec<_> = cookies.iter().map(|it| (it.0, it.1.as_ref())).collect();
        assert_eq!(cookies, [(&b"a"[..], &b"1"[..]), (b"B", b"x=y"), (b"c", b"")]);
        assert_eq!(row.request_body_bytes, Some(Size(0)));
        assert!(row.response_headers.is_none() && row.request_body.is_none());

        let (_, row) = request(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!((row.host.unwrap().0.as_ref(), row.path.as_deref()), ("h", Some("*")));
        let (_, row) = request(b"CONNECT h:1 HTTP/1.1\r\n\r\n");
        assert_eq!((row.host.unwrap().0.as_ref(), row.path), ("h:1", None));
    }

    #[test]
    fn columns_of_a_response() {
        let row = response(
            b"HTTP/1.0 500 It broke\r\nSet-Cookie: s=1; Path=/\r\nset-cookie: t=2\r\n\r\n",
        );
        assert_eq!(
            (row.version.0.as_ref(), row.reason.as_ref().unwrap().0.as_ref()),
            ("1.0", "It broke")
        );
        let cookies = row.response_cookies.unwrap().0;
        let cookies: Vec<_> = cookies.iter().map(|it| (it.0, it.1.as_ref())).collect();
        assert_eq!(cookies, [(&b"s"[..], &b"1"[..]), (b"t", b"2")]);
        assert!(row.request_headers.is_none() && row.request_body_bytes.is_none());
    }

    #[test]
    fn compressed_body() {
        use std::io::Write;
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        to.write_all(b"hello hello hello").unwrap();
        let body = to.finish().unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let row = response(&[head.as_bytes(), &body].concat());
        assert_eq!(row.response_body.unwrap().0.as_ref(), b"hello hello hello");
        assert_eq!(row.response_body_bytes, Some(Size(body.len() as u64)));
        assert!(!row.response_body_truncated);
    }

    #[test]
    fn guesses() {
        let guess = |side, bytes: &[u8]| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port: 80 })
        };
        let long = [b"GET /".as_slice(), &[b'a'; 2000]].concat();
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Guess::Sure),
            (b"\r\nGET / HTTP/1.1\r\n", Guess::Sure),
            (b"FROB /x HTTP/1.0\n", Guess::Sure),
            (b"GET /a", Guess::More),
            (b"GE", Guess::More),
            (b"", Guess::More),
            (&long, Guess::Sure),
            (b"GET /a\r\n", Guess::No),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Guess::No),
            (b"OPTIONS rtsp://h RTSP/1.0\r\n", Guess::No),
            (b"PING\r\n", Guess::No),
            (b"*1\r\n$4\r\nPING\r\n", Guess::No),
            (b"\x16\x03\x01\x02\x00", Guess::No),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Guess::No),
            (b"HTTP/1.1 200 OK\r\n", Guess::No),
        ] {
            assert_eq!(guess(Side::Client, bytes), expected, "{}", bytes.escape_ascii());
        }
        for (bytes, expected) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Guess::Sure),
            (b"HTTP/1.0 404", Guess::Sure),
            (b"HTTP/1.", Guess::More),
            (b"HTTP/2 200 OK\r\n", Guess::No),
            (b"HTTP/1.1 2x0", Guess::No),
            (b"HTTP/1.1 099 No", Guess::No),
            (b"RTSP/1.0 200 OK\r\n", Guess::No),
        ] {
            assert_eq!(guess(Side::Server, bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        /// Noise, and noise that looks like HTTP, ends in no panic and no endless loop.
        #[test]
        fn noise(steps in proptest::collection::vec((any::<bool>(), 0..12_usize, any::<Vec<u8>>(), 0..200_u64), 0..30)) {
            let starts: [&[u8]; 12] = [
                b"", b"", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n", b"5\r\nab",
                b"Transfer-Encoding: chunked\r\n\r\n", b"Content-Length: 40\r\n\r\n", b" HTTP/1.1\r\n",
                b"Content-Encoding: br\r\n", b"0\r\n\r\n", b"CONNECT a HTTP/1.1\r\nUpgrade: x\r\n\r\n",
            ];
            let mut flow = Flow::default();
            for (client, start, noise, missing) in &steps {
                let side = if *client { Side::Client } else { Side::Server };
                flow.bytes(side, starts[*start]);
                flow.bytes(side, noise);
                if *missing < 20 {
                    flow.gap(side, *missing * 7);
                }
            }
            flow.end();
        }
    }
}
