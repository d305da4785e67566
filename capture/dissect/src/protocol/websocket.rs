//! WebSocket: RFC 6455, and messages compressed as in RFC 7692.
use std::borrow::Cow;

use flate2::{Decompress, FlushDecompress, Status};
use schema::value::{Body, Code, Label, Size, text};

use super::http::message::{Fields, Target, list};
use super::{Dissect, Guess, Head, Transport};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::Limits;
use crate::tables::Also;

/// WebSocket frames, one a row, over HTTP/1 and HTTP/2; the request that led to them is a row of
/// `http`. `verb` is what a frame is, `target` the path that was asked for.
#[derive(Default, schema::Record)]
pub(super) struct Websocket<'a> {
    /// Who sent the frame: `client` or `server`.
    sender: Label<'a>,
    /// What it is: `text`, `binary`, `continuation`, `close`, `ping` or `pong`.
    opcode: Label<'a>,
    /// Whether it is the last of its message.
    fin: bool,
    /// Whether its payload was compressed.
    compressed: bool,
    /// Whether its payload was masked, as a client's must be.
    masked: bool,
    /// The host that was asked for.
    host: Option<Label<'a>>,
    /// The path that was asked for (OpenTelemetry `url.path`).
    path: Option<Cow<'a, str>>,
    /// The subprotocol that the server chose.
    subprotocol: Option<Label<'a>>,
    /// The start of the payload: unmasked, decompressed, and without the code of a `close`.
    payload: Option<Body<'a>>,
    /// The size of the payload as sent.
    payload_bytes: Size,
    /// Whether `payload` is not all of it.
    payload_truncated: bool,
    /// Why the connection is closed, as a number.
    close_code: Option<Code>,
    /// Why the connection is closed, in the sender's words.
    close_reason: Option<Cow<'a, str>>,
}

/// Reads WebSocket.
#[derive(Default)]
pub(super) struct Dissector {
    client: Half,
    server: Half,
    /// Whether the upgrade was seen.
    is_handed: bool,
    asked: std::sync::Arc<Asked>,
}

/// What the upgrade said.
#[derive(Debug, Default)]
struct Asked {
    host: String,
    target: String,
    subprotocol: String,
    deflate: Option<Deflate>,
}

/// Which sides forget their window after each message.
#[derive(Clone, Copy, Debug, Default)]
struct Deflate {
    client_forgets: bool,
    server_forgets: bool,
}

/// One direction.
#[derive(Default)]
struct Half {
    under_way: Option<UnderWay>,
    /// The message under way, of which frames are to come, is compressed.
    compressed: bool,
    inflate: Option<Box<Decompress>>,
    /// Bytes went missing, so that the window is not what it should be.
    broken: bool,
}

/// A frame whose head has arrived.
#[derive(Debug)]
struct UnderWay {
    frame: Frame,
    left: u64,
    mask: Option<[u8; 4]>,
    /// How many of the payload's bytes were read, to go on with the mask.
    read: usize,
    incomplete: bool,
}

/// A frame, as it is kept until its row is written.
#[derive(Debug)]
pub(super) struct Frame {
    opcode: u8,
    fin: bool,
    compressed: bool,
    masked: bool,
    length: u64,
    payload: Payload,
    sender: Side,
    asked: std::sync::Arc<Asked>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "websocket";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[];
    type Body = Frame;
    type Columns = WebsocketColumns;

    /// As a rule an upgrade says that frames come; without it, only several in a row, or one that
    /// is text, are no accident.
    fn guess(head: &Head<'_>) -> Guess {
        guess(head.side, head.bytes)
    }

    fn handed(&mut self, note: &str) {
        self.is_handed = true;
        self.asked = std::sync::Arc::new(Asked::of(note));
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        _open: &Open<Frame>,
    ) -> Result<Message<Frame>, Stop> {
        if self.half(side).under_way.is_none() {
            let deflate = self.may_deflate();
            let head = FrameHead::read(input, deflate)?;
            let asked = std::sync::Arc::clone(&self.asked);
            let half = self.half(side);
            if matches!(head.opcode, TEXT | BINARY) {
                half.compressed = head.compressed;
            }
            let compressed = head.opcode < CLOSE && half.compressed;
            let mut payload = Payload::default();
            if !compressed {
                payload.expect(head.length, input.limits().body_bytes);
            }
            input.commit();
            let frame = Frame {
                opcode: head.opcode,
                fin: head.fin,
                compressed,
                masked: head.mask.is_some(),
                length: head.length,
                payload,
                sender: side,
                asked,
            };
            let (left, mask) = (head.length, head.mask);
            half.under_way = Some(UnderWay { frame, left, mask, read: 0, incomplete: false });
        }
        self.read(side, input)
    }

    fn record(exchange: Exchange<'_, Frame>) -> (Summary<'_>, Websocket<'_>) {
        exchange.request.or(exchange.response).map(Frame::row).unwrap_or_default()
    }

    fn weight(frame: &Frame) -> usize {
        size_of::<Frame>() + frame.payload.held()
    }

    fn held(&self) -> usize {
        let of = |half: &Half| {
            let inflate = if half.inflate.is_some() { WINDOW_BYTES } else { 0 };
            inflate + half.under_way.as_ref().map_or(0, |it| Self::weight(&it.frame))
        };
        of(&self.client) + of(&self.server)
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let half = self.half(side);
        let under_way = half.under_way.as_mut().ok_or(Stop::Lost)?;
        under_way.left = under_way.left.checked_sub(missing).ok_or(Stop::Lost)?;
        let turned = missing.wrapping_add(under_way.read as u64) % 4;
        under_way.read = usize::try_from(turned).unwrap_or_default();
        under_way.frame.payload.skip(missing);
        under_way.incomplete = true;
        half.broken |= under_way.frame.compressed;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        let deflate = self.may_deflate();
        let half = self.half(side);
        half.under_way = None;
        half.broken = deflate;
        half.compressed = false;
        let rest = input.rest();
        for at in 0..rest.len() {
            match chain(rest.get(at..).unwrap_or_default(), side, deflate, input) {
                Some(false) => {}
                found => {
                    input.take(at)?;
                    input.commit();
                    return if found.is_some() { Ok(()) } else { Err(Stop::More) };
                }
            }
        }
        input.take(rest.len())?;
        input.commit();
        Err(Stop::More)
    }

    fn end(&mut self, side: Side) -> Option<Message<Frame>> {
        let under_way = self.half(side).under_way.take()?;
        Some(UnderWay { incomplete: true, ..under_way }.message())
    }
}

impl Dissector {
    /// Whether messages may be compressed: as agreed, or for all that is known.
    fn may_deflate(&self) -> bool {
        !self.is_handed || self.asked.deflate.is_some()
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Uses up a payload, to its end.
    fn read(&mut self, side: Side, input: &mut Input<'_>) -> Result<Message<Frame>, Stop> {
        let limits = input.limits();
        let forgets = self.asked.deflate.is_some_and(|it| match side {
            Side::Client => it.client_forgets,
            Side::Server => it.server_forgets,
        });
        let is_handed = self.is_handed;
        let half = self.half(side);
        // What was sent before the capture began may be what a message repeats.
        half.broken |= !is_handed;
        let Some(mut under_way) = half.under_way.take() else { return Err(Stop::Lost) };
        while under_way.left > 0 {
            let some = match input.some(under_way.left.min(PIECE_BYTES)) {
                Ok(some) => some,
                Err(stop) => {
                    half.under_way = Some(under_way);
                    return Err(stop);
                }
            };
            under_way.left -= some.len() as u64;
            let plain = match under_way.mask {
                None => Cow::Borrowed(some),
                Some(mask) => {
                    let keys = mask.iter().cycle().skip(under_way.read % 4);
                    Cow::Owned(some.iter().zip(keys).map(|(byte, key)| byte ^ key).collect())
                }
            };
            under_way.read = (under_way.read + some.len()) % 4;
            let payload = &mut under_way.frame.payload;
            if under_way.frame.compressed {
                half.inflate(&plain, payload, limits.decompressed_bytes);
            } else {
                payload.push(&plain, limits.body_bytes);
            }
            input.commit();
        }
        if under_way.frame.compressed && under_way.frame.fin {
            // What a sender leaves out at the end of each message (RFC 7692 7.2.1).
            half.inflate(
                &[0, 0, 0xff, 0xff],
                &mut under_way.frame.payload,
                limits.decompressed_bytes,
            );
            if forgets {
                half.inflate = None;
                half.broken = false;
            }
        }
        Ok(under_way.message())
    }
}

/// A conversation in a stream of HTTP/2 (RFC 8441).
#[derive(Default)]
pub(super) struct Tunnel {
    dissector: Dissector,
    client: Held,
    server: Held,
}

/// What one side of a tunnel has sent.
#[derive(Debug, Default)]
struct Held {
    /// A frame's head that has not all come, and when it began.
    bytes: Vec<u8>,
    at: i64,
    /// When the frame under way began, and how many of its bytes are used.
    begun: Option<i64>,
    used: u64,
    /// Where the next frame begins is not known.
    lost: bool,
}

/// A frame that is to be a row.
#[derive(Debug)]
pub(super) struct Shown {
    frame: Frame,
    ts: i64,
    bytes: u64,
    incomplete: bool,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Tunnel").field("held", &self.held()).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// See [`Dissect::handed`].
    pub(super) fn new(note: &str) -> Self {
        let mut it = Self::default();
        it.dissector.handed(note);
        it
    }

    fn half(&mut self, side: Side) -> &mut Held {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// The frames that end with what `side` sent next.
    pub(super) fn push(
        &mut self,
        side: Side,
        bytes: &[u8],
        ts: i64,
        limits: &Limits,
    ) -> Vec<Shown> {
        let mut half = std::mem::take(self.half(side));
        let mut shown = Vec::new();
        let earlier = half.bytes.len();
        half.bytes.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(rest) = half.bytes.get(done..).filter(|it| !it.is_empty() && !half.lost) {
            let at = if done < earlier { half.at } else { ts };
            let begun = *half.begun.get_or_insert(at);
            let mut input = Input::new(rest, false, limits);
            let parsed = self.dissector.parse(side, &mut input, &Open::default());
            let used = if parsed.is_ok() { input.used() } else { input.committed() };
            done += used;
            half.used += used as u64;
            match parsed {
                Ok(it) => {
                    half.begun = None;
                    let bytes = std::mem::take(&mut half.used);
                    shown.push(Shown {
                        frame: it.body,
                        ts: begun,
                        bytes,
                        incomplete: it.incomplete,
                    });
                }
                Err(Stop::More) => break,
                Err(Stop::Lost) => half.lost = true,
            }
        }
        if half.lost {
            half.bytes = Vec::new();
        } else {
            half.bytes.drain(..done);
            half.at = if done < earlier { half.at } else { ts };
        }
        *self.half(side) = half;
        shown
    }

    /// Bytes of `side` are missing; so many, if that is known.
    pub(super) fn gap(&mut self, side: Side, missing: Option<u64>) {
        let within = self.half(side).bytes.is_empty()
            && missing.is_some_and(|it| self.dissector.gap(side, it).is_ok());
        let half = self.half(side);
        half.used += missing.unwrap_or_default();
        half.lost |= !within;
    }

    pub(super) fn held(&self) -> usize {
        let bytes = self.client.bytes.capacity() + self.server.bytes.capacity();
        size_of::<Self>() + self.dissector.held() + bytes
    }
}

/// A row for each of these frames.
pub(super) fn also(frames: &[Shown], also: &mut Also<'_>) {
    for it in frames {
        let (summary, row) = it.frame.row();
        match it.frame.sender {
            Side::Client => also.bytes(it.bytes, 0),
            Side::Server => also.bytes(0, it.bytes),
        }
        also.occurrence.incomplete = it.incomplete;
        also.row_at::<WebsocketColumns>(Dissector::NAME, Some(it.ts), summary, row);
    }
}

impl Half {
    /// Adds to the payload what these bytes hold.
    fn inflate(&mut self, mut bytes: &[u8], payload: &mut Payload, limit: usize) {
        if self.broken {
            payload.cut();
            return;
        }
        let inflate = self.inflate.get_or_insert_with(|| Box::new(Decompress::new(false)));
        let mut out = [0; 4096];
        loop {
            let (read, written) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(bytes, &mut out, FlushDecompress::Sync);
            let read = usize::try_from(inflate.total_in() - read).unwrap_or_default();
            let written = usize::try_from(inflate.total_out() - written).unwrap_or_default();
            payload.push(out.get(..written).unwrap_or_default(), limit);
            bytes = bytes.get(read..).unwrap_or_default();
            let bomb = payload.size() > (limit as u64).saturating_mul(MOST_GROWTH);
            match status {
                Err(_) => self.broken = true,
                Ok(Status::StreamEnd) => {
                    // A sender may end its stream with any message, and begin another.
                    inflate.reset(false);
                    if bytes.is_empty() || read == 0 {
                        return;
                    }
                }
                Ok(_) if bomb => self.broken = true,
                Ok(_) if read == 0 && written == 0 => return,
                Ok(_) if bytes.is_empty() && written < out.len() => return,
                Ok(_) => {}
            }
            if self.broken {
                self.inflate = None;
                payload.cut();
                return;
            }
        }
    }
}

impl UnderWay {
    fn message(mut self) -> Message<Frame> {
        if self.incomplete {
            self.frame.payload.cut();
        }
        let incomplete = self.incomplete;
        Message::notice(self.frame).incomplete(incomplete)
    }
}

impl Frame {
    fn row(&self) -> (Summary<'_>, Websocket<'_>) {
        let opcode = match self.opcode {
            CONTINUATION => "continuation",
            TEXT => "text",
            BINARY => "binary",
            CLOSE => "close",
            PING => "ping",
            PONG => "pong",
            _ => "reserved",
        };
        let asked = &*self.asked;
        let mut payload = self.payload.bytes();
        let mut close_code = None;
        if self.opcode == CLOSE
            && let Some((code, reason)) = payload.split_first_chunk::<2>()
        {
            close_code = Some(i32::from(u16::from_be_bytes(*code)));
            payload = reason;
        }
        let path = Target::of(b"GET", asked.target.as_bytes()).path.map(text);
        let reason = close_code.is_some().then(|| text(payload)).filter(|it| !it.is_empty());
        // 1000 is the end of the work, 1001 of one side; without a code there was none to say.
        let failed = close_code.is_some_and(|it| !matches!(it, 1000 | 1001 | 1005));
        let summary = Summary {
            verb: opcode.into(),
            target: path.clone().unwrap_or_default(),
            status: close_code,
            failed,
            error: if failed { reason.clone() } else { None },
        };
        let some = |it: &'_ str| (!it.is_empty()).then(|| it.to_owned());
        let row = Websocket {
            sender: match self.sender {
                Side::Client => "client".into(),
                Side::Server => "server".into(),
            },
            opcode: opcode.into(),
            fin: self.fin,
            compressed: self.compressed,
            masked: self.masked,
            host: some(&asked.host).map(Label::from),
            path,
            subprotocol: some(&asked.subprotocol).map(Label::from),
            payload: (!payload.is_empty()).then_some(Body(Cow::Borrowed(payload))),
            payload_bytes: Size(self.length),
            payload_truncated: !self.payload.is_whole(),
            close_code: close_code.map(Code),
            close_reason: reason,
        };
        (summary, row)
    }
}

impl Asked {
    /// From the heads of the request and the answer, one after the other.
    fn of(note: &str) -> Self {
        let mut it = Self::default();
        let first = note.lines().find(|it| !it.is_empty()).unwrap_or_default();
        it.target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = note.find("\nHTTP/1.").map_or(0, |it| it + 1);
        let (request, answer) = note.split_at_checked(answer).unwrap_or_default();
        for (name, value) in Fields(request.as_bytes()) {
            if name.eq_ignore_ascii_case(b"host") {
                it.host = text(&value).into_owned();
            }
        }
        for (name, value) in Fields(answer.as_bytes()) {
            if name.eq_ignore_ascii_case(b"sec-websocket-protocol") {
                it.subprotocol = text(&value).into_owned();
            } else if name.eq_ignore_ascii_case(b"sec-websocket-extensions") {
                it.deflate = it.deflate.or_else(|| list(&value).find_map(Deflate::of));
            }
        }
        it
    }
}

impl Deflate {
    fn of(extension: &[u8]) -> Option<Self> {
        let mut parts = extension.split(|it| *it == b';').map(<[u8]>::trim_ascii);
        if !parts.next()?.eq_ignore_ascii_case(b"permessage-deflate") {
            return None;
        }
        let mut it = Self::default();
        for part in parts {
            it.client_forgets |= part.eq_ignore_ascii_case(b"client_no_context_takeover");
            it.server_forgets |= part.eq_ignore_ascii_case(b"server_no_context_takeover");
        }
        Some(it)
    }
}

/// What stands before a payload (RFC 6455 5.2).
#[derive(Debug)]
struct FrameHead {
    opcode: u8,
    fin: bool,
    compressed: bool,
    length: u64,
    mask: Option<[u8; 4]>,
}

impl FrameHead {
    fn read(input: &mut Input<'_>, deflate: bool) -> Result<Self, Stop> {
        let [first, second] = <[u8; 2]>::try_from(input.take(2)?).map_err(|_| Stop::Lost)?;
        let (opcode, fin) = (first & 0x0f, first & 0x80 != 0);
        let compressed = first & 0x40 != 0;
        let length = match second & 0x7f {
            126 => u64::from(input.u16()?),
            127 => u64::from(input.u32()?) << 32 | u64::from(input.u32()?),
            length => u64::from(length),
        };
        let control = opcode >= CLOSE;
        let known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        let whole = !control || (fin && second & 0x7f < 126);
        let reserved =
            first & 0x30 != 0 || (compressed && !(deflate && matches!(opcode, TEXT | BINARY)));
        if !known || !whole || reserved || length > i64::MAX as u64 {
            return Err(Stop::Lost);
        }
        let mask = if second & 0x80 == 0 {
            None
        } else {
            Some(input.take(4)?.try_into().map_err(|_| Stop::Lost)?)
        };
        Ok(Self { opcode, fin, compressed, length, mask })
    }
}

/// How much a side's first bytes look like frames: a text, or several masked frames in a row. What
/// a server sends without a mask, and is no text, could be anything.
fn guess(side: Side, bytes: &[u8]) -> Guess {
    let limits = Limits::default();
    let mut input = Input::new(bytes, false, &limits);
    for _ in 0..CHAIN {
        // A capture may begin in the middle of a message, but what we take for one does not.
        let begins =
            matches!(input.rest().first(), None | Some(0x81 | 0x82 | 0xc1 | 0xc2 | 0x89 | 0x8a));
        if !begins {
            return Guess::No;
        }
        let head = match FrameHead::read(&mut input, true) {
            Ok(head) => head,
            Err(Stop::More) => return Guess::More,
            Err(Stop::Lost) => return Guess::No,
        };
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if head.mask.is_some() != (side == Side::Client) || length > LIKELY_BYTES {
            return Guess::No;
        }
        let rest = input.rest();
        let there = rest.get(..length).unwrap_or(rest);
        let is_plain_text = head.opcode == TEXT && !head.compressed;
        if is_plain_text {
            match is_text(there, head.mask.unwrap_or_default()) {
                Some(letters) if letters >= TEXT_LETTERS => return Guess::Sure,
                Some(_) => {}
                None => return Guess::No,
            }
        } else if side == Side::Server {
            return Guess::No;
        }
        if input.take(length).is_err() {
            return Guess::More;
        }
    }
    Guess::Sure
}

/// How many letters the bytes are, if they are text; the last may be cut.
fn is_text(bytes: &[u8], mask: [u8; 4]) -> Option<usize> {
    let looked = bytes.iter().take(LOOKED_BYTES).zip(mask.iter().cycle());
    let plain: Vec<u8> = looked.map(|(byte, key)| byte ^ key).collect();
    let plain = match std::str::from_utf8(&plain) {
        Ok(plain) => plain,
        Err(cut) if cut.error_len().is_none() => {
            plain.get(..cut.valid_up_to()).and_then(|it| std::str::from_utf8(it).ok())?
        }
        Err(_) => return None,
    };
    let is_control = |it: char| it.is_control() && !matches!(it, '\t' | '\r' | '\n' | '\x1e');
    (!plain.contains(is_control)).then(|| plain.chars().count())
}

/// Whether frames of this side begin here: up to where the bytes end, or a few of them. `None` if
/// it takes more bytes to tell.
fn chain(bytes: &[u8], side: Side, deflate: bool, like: &Input<'_>) -> Option<bool> {
    let mut input = Input::new(bytes, false, like.limits());
    for _ in 0..CHAIN {
        if input.rest().is_empty() && input.used() > 0 {
            return Some(true);
        }
        match FrameHead::read(&mut input, deflate) {
            Ok(head) if head.mask.is_some() == (side == Side::Client) => {
                let length = usize::try_from(head.length).ok().filter(|it| *it <= LIKELY_BYTES);
                let Some(length) = length else { return Some(false) };
                if input.take(length).is_err() {
                    return None;
                }
            }
            Ok(_) | Err(Stop::Lost) => return Some(false),
            Err(Stop::More) => return None,
        }
    }
    Some(true)
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Unmasked at once.
const PIECE_BYTES: u64 = 16 << 10;

/// What a window and its tables hold on to.
const WINDOW_BYTES: usize = 48 << 10;

/// How many times the kept size a message may grow to before it is an attack.
const MOST_GROWTH: u64 = 32;

/// Frames in a row that are no accident.
const CHAIN: usize = 4;

/// Letters that are no accident behind a frame's head; a length and, of a client, a mask fit too.
const TEXT_LETTERS: usize = 8;

/// How much of a text is looked at.
const LOOKED_BYTES: usize = 256;

/// Longer frames are not looked for after a loss, or without an upgrade.
const LIKELY_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use serde_json::Value;

    use super::*;
    use crate::drive::{Step, client, datagrams, however_cut, server, stream};

    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![first];
        match payload.len() {
            length @ 0..126 => out.push(bit | u8::try_from(length).unwrap()),
            length @ 126..0x1_0000 => {
                out.push(bit | 126);
                out.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                out.push(bit | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        out.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
        let keys = mask.unwrap_or_default();
        out.extend(payload.iter().zip(keys.iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        frame(first, payload, Some([1, 2, 3, 200]))
    }

    fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
        frame(first, payload, None)
    }

    fn said(row: &Value) -> String {
        if let Some(text) = row.as_str() {
            return text.to_owned();
        }
        let digits = row.get("payload").and_then(Value::as_str).unwrap_or_default();
        let pairs = digits.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).unwrap());
        let text: String =
            pairs.map(|it| char::from(u8::from_str_radix(it, 16).unwrap())).collect();
        let mut out = format!(
            "{} {} {text}",
            row["sender"].as_str().unwrap(),
            row["opcode"].as_str().unwrap()
        );
        if row.get("close_code").is_some() {
            out += &format!(" {}", row["close_code"]);
        }
        for (name, mark) in
            [("fin", "…"), ("payload_truncated", " cut"), ("incomplete", " incomplete")]
        {
            if (row.get(name) == Some(&Value::Bool(true))) != (name == "fin") {
                out += mark;
            }
        }
        out
    }

    #[test]
    fn frames_are_recognised_without_their_upgrade() {
        let look = |side, bytes: &[u8]| guess(side, bytes);
        let said = masked(0x81, br#"{"op":"subscribe"}"#);
        let told = plain(0x81, br#"{"ok":true}"#);
        assert_eq!(look(Side::Client, &said), Guess::Sure);
        assert_eq!(look(Side::Client, &said[..1]), Guess::More);
        assert_eq!(look(Side::Client, &said[..10]), Guess::More);
        assert_eq!(look(Side::Server, &told), Guess::Sure);
        // Only clients mask.
        assert_eq!(look(Side::Server, &said), Guess::No);
        assert_eq!(look(Side::Client, &told), Guess::No);
        let binary = masked(0x82, &[0, 255, 3, 7]);
        assert_eq!(look(Side::Client, &binary), Guess::More);
        assert_eq!(look(Side::Client, &binary.repeat(CHAIN)), Guess::Sure);
        for other in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\0\x05",
            b"\x81\0\0\x44 CKFDENECFD",
            b"*1\r\n",
        ] {
            assert_eq!(look(Side::Client, other), Guess::No, "{}", other.escape_ascii());
        }
        assert_eq!(look(Side::Server, b"\x81\x0a\xff\xfe\x01\x02"), Guess::No);
    }

    #[test]
    fn what_was_compressed_before_the_capture_is_not_guessed() {
        let compressed = deflated(&mut Compress::new(Compression::default(), false), b"hello");
        let rows = however_cut::<Dissector>(&[
            client(masked(0x81, b"plain")),
            server(plain(0xc1, &compressed)),
            client(masked(0x81, b"on")),
        ]);
        let shown: Vec<_> = rows.iter().map(said).collect();
        assert_eq!(shown, ["client text plain", "server text  cut", "client text on"]);
    }

    #[test]
    fn frames_of_both_sides() {
        let long = vec![b'x'; 300];
        let rows = however_cut::<Dissector>(&[
            client(masked(0x81, b"hello")),
            server([plain(0x01, b"in "), plain(0x89, b"?"), plain(0x80, b"parts")].concat()),
            client([masked(0x8a, b"?"), masked(0x82, &long)].concat()),
            server(plain(0x88, b"\x03\xe8bye")),
            client(masked(0x88, b"\x0f\xa1enough")),
        ]);
        let rows: Vec<_> = rows.iter().map(said).collect();
        assert_eq!(
            rows,
            [
                "client text hello",
                "server text in …",
                "server ping ?",
                "server continuation parts",
                "client pong ?",
                &format!("client binary {}", "x".repeat(300)),
                "server close bye 1000",
                "client close enough 4001",
            ]
        );
    }

    /// A message as permessage-deflate sends it.
    fn deflated(to: &mut Compress, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1000);
        to.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        out
    }

    /// Frames that a dissector reads after an upgrade with these extensions.
    fn after(extensions: &str, frames: &[(Side, Vec<u8>)]) -> Vec<String> {
        let mut dissector = Dissector::default();
        dissector.handed(&format!(
            "GET /chat?a=b HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n\
             HTTP/1.1 101 Go\r\nSec-WebSocket-Protocol: p\r\nSec-WebSocket-Extensions: {extensions}\r\n"
        ));
        let limits = Limits::default();
        let mut rows = Vec::new();
        for (side, bytes) in frames {
            let mut input = Input::new(bytes, false, &limits);
            while !input.rest().is_empty() {
                let message = dissector.parse(*side, &mut input, &Open::default()).unwrap();
                let (summary, row) = message.body.row();
                assert_eq!(
                    (row.host.unwrap().0.as_ref(), row.subprotocol.unwrap().0.as_ref()),
                    ("h", "p")
                );
                let payload = row.payload.map(|it| String::from_utf8_lossy(&it.0).into_owned());
                let cut = if row.payload_truncated { " cut" } else { "" };
                let payload = payload.unwrap_or_default();
                rows.push(format!("{} {} {payload}{cut}", summary.target, summary.verb));
            }
        }
        rows
    }

    #[test]
    fn compressed_messages_share_a_window() {
        let (mut ask, mut answer) =
            (Compress::new(Compression::best(), false), Compress::new(Compression::best(), false));
        let first = deflated(&mut ask, b"hello hello hello");
        let second = deflated(&mut ask, b"hello hello hello");
        assert!(second.len() < first.len());
        let (start, rest) = second.split_at(2);
        let frames = [
            (Side::Client, masked(0xc1, &first)),
            (Side::Server, plain(0xc1, &deflated(&mut answer, b"yes"))),
            (Side::Client, [masked(0x41, start), masked(0x89, b"!"), masked(0x80, rest)].concat()),
            (Side::Client, masked(0x81, b"plain")),
        ];
        let rows = after("permessage-deflate; client_max_window_bits=12", &frames);
        assert_eq!(rows[..2], ["/chat text hello hello hello", "/chat text yes"]);
        assert_eq!(rows[3], "/chat ping !");
        let parts = [&rows[2], &rows[4]].map(|it| it.splitn(3, ' ').nth(2).unwrap().to_owned());
        assert_eq!(parts.concat(), "hello hello hello");
        assert_eq!(rows[5], "/chat text plain");

        let fresh = || deflated(&mut Compress::new(Compression::best(), false), b"again again");
        let frames =
            [(Side::Client, masked(0xc1, &fresh())), (Side::Client, masked(0xc1, &fresh()))];
        let rows = after("permessage-deflate; client_no_context_takeover", &frames);
        assert_eq!(rows, ["/chat text again again", "/chat text again again"]);
    }

    #[test]
    fn a_bomb_is_cut() {
        let mut to = Compress::new(Compression::fast(), false);
        let mut out = Vec::with_capacity(1 << 20);
        to.compress_vec(&vec![0; 9 << 20], &mut out, FlushCompress::Sync).unwrap();
        let frames = [(Side::Server, plain(0xc2, &out)), (Side::Server, plain(0xc2, &[1, 2, 3]))];
        let rows = after("permessage-deflate", &frames);
        assert!(rows.iter().all(|it| it.ends_with(" cut")));
        assert!(rows[0].len() <= Limits::default().decompressed_bytes + 100);
    }

    #[test]
    fn loss() {
        let rows = stream::<Dissector>(
            &[
                client(&masked(0x82, &[b'a'; 100])[..20]),
                Step::Loses(Side::Client, 50),
                client(&masked(0x82, &[b'a'; 100])[70..]),
                client(&masked(0x82, &[b'b'; 100])[..20]),
                Step::Loses(Side::Client, 200),
                client([&[7; 30][..], &masked(0x81, b"found"), &masked(0x81, b"again")].concat()),
                Step::Ends(Side::Client),
            ],
            1000,
        );
        let rows: Vec<_> = rows.iter().map(said).collect();
        let (first, second) = ("a".repeat(14), "b".repeat(14));
        assert_eq!(
            rows,
            [
                format!("client binary {first} cut incomplete"),
                format!("client binary {second} cut incomplete"),
                "client text found".to_owned(),
                "client text again".to_owned(),
            ]
        );
    }

    #[test]
    fn nonsense_is_given_up() {
        for bytes in [
            &b"\x83\0"[..],
            b"\xb1\0",
            b"\xc9\0",
            b"\x09\0",
            b"\x88\x7e\0\0",
            b"\x82\x7f\xff\0\0\0\0\0\0\0",
        ] {
            assert_eq!(
                stream::<Dissector>(&[client(bytes)], 100),
                ["lost"],
                "{}",
                bytes.escape_ascii()
            );
        }
        assert!(datagrams::<Dissector>(&[]).is_empty());
        // Compressed, though an upgrade was seen and agreed on nothing.
        let mut agreed = Dissector::default();
        agreed.handed("GET /a HTTP/1.1\r\n\r\nHTTP/1.1 101 Fine\r\n\r\n");
        let limits = Limits::default();
        let read = agreed.parse(
            Side::Server,
            &mut Input::new(b"\xc1\0", false, &limits),
            &Open::default(),
        );
        assert_eq!(read.err(), Some(Stop::Lost));
    }
}
