//! HTTP/2: RFC 9113, with prior knowledge or after an upgrade from HTTP/1.
//!
//! Frames of many streams come interleaved; a stream's headers and data gather in a [`Sent`], which
//! becomes a message where the side ends the stream. Its headers are put into HTTP/1's shape, so
//! that both versions have one table and one way to read it.
use std::collections::VecDeque;

use hashbrown::HashMap;
use schema::value::text;

use self::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEAD_BYTES, HEADERS, LIKELY_BYTES, PADDED,
    PRIORITISED, PUSH_PROMISE, RST_STREAM, SETTINGS, chain,
};
use super::http;
use super::http::message::{self, Http, HttpColumns, Sent, Timed, split_head};
use super::websocket;
use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Moment, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::Limits;
use crate::tables::Also;

mod frame;
mod hpack;

/// Reads HTTP/2.
#[derive(Default)]
pub(super) struct Dissector {
    client: Half,
    server: Half,
    streams: HashMap<u32, Stream, rustc_hash::FxBuildHasher>,
    /// Messages that ended where another did.
    more: VecDeque<Message<Sent>>,
    /// The request of stream 1, if it came before an upgrade.
    upgraded: Option<Box<Sent>>,
    /// Streams that were reset not long ago: what comes on them is late.
    reset: VecDeque<u32>,
    scratch: Scratch,
    /// What the messages under way weigh.
    held: usize,
}

/// One direction.
#[derive(Default)]
struct Half {
    table: hpack::Table,
    /// Whether anything was read, so that no preface comes any more.
    started: bool,
    /// Whether a preface, or settings, said that this is HTTP/2.
    sure: bool,
    /// Data or what is of no use, of which a part was read.
    frame: Option<Frame>,
    block: Option<Block>,
    /// Bytes went missing, and the next frame was not found.
    lost: bool,
}

/// A frame whose payload is used up as it comes.
#[derive(Debug)]
struct Frame {
    /// Zero if its payload is of no use.
    stream: u32,
    left: usize,
    padding: usize,
    ends: bool,
}

/// Headers that go on in the next frame.
#[derive(Debug)]
struct Block {
    stream: u32,
    /// The stream that was promised; else zero.
    promised: u32,
    bytes: Vec<u8>,
    ends: bool,
    begun: Moment,
    size: u64,
}

/// One exchange under way.
#[derive(Debug, Default)]
struct Stream {
    request: Part,
    response: Part,
    /// What is spoken in it instead of HTTP, from the answer on.
    tunnel: Option<Box<websocket::Tunnel>>,
}

/// How far one side of a stream is.
#[derive(Debug, Default)]
enum Part {
    #[default]
    Idle,
    UnderWay(Box<UnderWay>),
    Ended,
}

#[derive(Debug)]
struct UnderWay {
    sent: Sent,
    begun: Moment,
    latest: Moment,
    bytes: u64,
    /// Whether its headers were read.
    headed: bool,
    incomplete: bool,
}

/// A header block taken apart.
#[derive(Debug, Default)]
struct Scratch {
    method: Vec<u8>,
    target: Vec<u8>,
    authority: Vec<u8>,
    status: Vec<u8>,
    fields: Vec<u8>,
    /// How long `fields` is, or would be.
    fields_bytes: usize,
    /// Whether fields are kept: else nobody looks at them.
    detailed: bool,
    /// Where in `fields` the type's value stands.
    content_type: Option<(usize, usize)>,
    host: bool,
    /// There was more than is kept.
    cut: bool,
}

impl Dissect for Dissector {
    const NAME: &'static str = "http2";
    const SPOKEN: &'static str = "http";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[80, 8080, 50051, 50052, 9000, 9090, 4317, 15010, 2379, 2380];
    type Body = Sent;
    type Columns = HttpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        guess(head.side, head.bytes)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Sent>,
    ) -> Result<Message<Sent>, Stop> {
        loop {
            let done = match self.half(side).frame.is_some() {
                true => self.read_data(side, input, open)?,
                false => self.read_frame(side, input, open)?,
            };
            if let Some(message) = done.or_else(|| self.more.pop_front()) {
                return Ok(message);
            }
        }
    }

    fn record(exchange: Exchange<'_, Sent>) -> (Summary<'_>, Http<'_>) {
        message::record(exchange.request, exchange.response)
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

    /// The request of stream 1 was sent before the upgrade (RFC 7540 3.2, since deprecated).
    fn handed(&mut self, note: &str) {
        let end = note.find("\r\n\r\n").or_else(|| note.find("\n\n")).unwrap_or(note.len());
        let head = note.as_bytes().get(..end).unwrap_or_default().to_vec();
        self.upgraded = Some(Box::new(Sent::new(head, 0, &Limits::default())));
        let stream = Stream { request: Part::Ended, ..Stream::default() };
        self.streams.insert(1, stream);
    }

    fn more(&mut self, _side: Side) -> Option<Message<Sent>> {
        self.more.pop_front()
    }

    fn under_way(&self, side: Side, key: u64) -> bool {
        let stream = u32::try_from(key).ok().and_then(|it| self.streams.get(&it));
        matches!(stream.map(|it| it.part(side)), Some(Part::UnderWay(_)))
    }

    fn weight(sent: &Sent) -> usize {
        sent.weight()
    }

    fn held(&self) -> usize {
        let tables = self.client.table.held() + self.server.table.held();
        let blocks = [&self.client, &self.server].map(|it| &it.block);
        let blocks: usize = blocks.into_iter().flatten().map(|it| it.bytes.capacity()).sum();
        self.held + tables + blocks + self.streams.capacity() * size_of::<(u32, Stream)>()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let frame = self.half(side).frame.as_mut().ok_or(Stop::Lost)?;
        let missing_here = usize::try_from(missing).map_err(|_| Stop::Lost)?;
        if missing_here > frame.left {
            return Err(Stop::Lost);
        }
        frame.left -= missing_here;
        let stream = frame.stream;
        let Some(stream) = self.streams.get_mut(&stream) else { return Ok(()) };
        if let Some(tunnel) = &mut stream.tunnel {
            tunnel.gap(side, Some(missing));
        }
        if let Part::UnderWay(it) = stream.part_mut(side) {
            it.sent.skip(missing);
            it.bytes += missing;
            it.incomplete = true;
        }
        Ok(())
    }

    /// Other streams go on, whatever is missing of this one.
    fn cut(&mut self, side: Side) -> Option<Message<Sent>> {
        self.lose(side);
        None
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        self.lose(side);
        let rest = input.rest();
        for at in 0..rest.len() {
            let from = rest.get(at..).unwrap_or_default();
            match chain(from, CHAIN) {
                Some(false) => {}
                Some(true) => {
                    input.take(at)?;
                    input.commit();
                    self.half(side).lost = false;
                    return Ok(());
                }
                None => {
                    input.take(at)?;
                    input.commit();
                    return Err(Stop::More);
                }
            }
        }
        input.take(rest.len())?;
        input.commit();
        Err(Stop::More)
    }

    fn end(&mut self, side: Side) -> Option<Message<Sent>> {
        if let Some(message) = self.more.pop_front() {
            return Some(message);
        }
        let ids = self.streams.iter().filter(|it| matches!(it.1.part(side), Part::UnderWay(_)));
        // In order, so that rows do not depend on how a map is arranged.
        let id = ids.map(|it| *it.0).min()?;
        let mut under_way = self.take(id, side)?;
        under_way.incomplete = true;
        under_way.sent.payload.cut();
        let latest = under_way.latest;
        Some(under_way.message(id, side).ended(latest))
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn part(&mut self, stream: u32, side: Side) -> Option<&mut Part> {
        self.streams.get_mut(&stream).map(|it| it.part_mut(side))
    }

    /// Uses up one frame, or the head of one with data.
    fn read_frame(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Sent>,
    ) -> Result<Option<Message<Sent>>, Stop> {
        if side == Side::Client && !self.client.started {
            let start = input.rest();
            let start = start.get(..PREFACE.len()).unwrap_or(start);
            if start == PREFACE {
                input.take(PREFACE.len())?;
                input.commit();
                self.client.started = true;
                self.client.sure = true;
            } else if PREFACE.starts_with(start) {
                return Err(Stop::More);
            }
        }
        let now = input.now();
        let head = frame::Head::of(input.take(HEAD_BYTES)?).ok_or(Stop::Lost)?;
        let half = self.half(side);
        let goes_on = half.block.as_ref().map(|it| it.stream);
        let in_order = match goes_on {
            Some(stream) => head.kind == CONTINUATION && head.stream == stream,
            None => head.kind != CONTINUATION || !half.sure,
        };
        let most = match head.kind {
            DATA => FRAME_BYTES,
            _ if half.sure => MOST_BLOCK_BYTES,
            _ => LIKELY_BYTES,
        };
        if !head.is_possible() || !in_order || head.length > most {
            return Err(Stop::Lost);
        }
        if !half.started {
            // Seen from its beginning, a server begins with settings; else headers may refer to
            // what we have not seen.
            half.sure = side == Side::Server && head.kind == SETTINGS && !head.has(ACK);
            half.started = true;
            if !half.sure {
                half.table.forget();
            }
        }
        match head.kind {
            DATA => {
                let padding = if head.has(PADDED) { usize::from(input.u8()?) } else { 0 };
                let left = head.length.saturating_sub(usize::from(head.has(PADDED)));
                if padding > left {
                    return Err(Stop::Lost);
                }
                let (stream, ends) = (head.stream, head.has(END_STREAM));
                self.half(side).frame = Some(Frame { stream, left, padding, ends });
                input.commit();
                self.data_begins(side, &head, now, input.limits());
                Ok(None)
            }
            HEADERS | PUSH_PROMISE => {
                let payload = input.take(head.length)?;
                let (bytes, promised) = block_of(&head, payload).ok_or(Stop::Lost)?;
                input.commit();
                let block = Block {
                    stream: head.stream,
                    promised,
                    bytes: Vec::new(),
                    ends: head.kind == HEADERS && head.has(END_STREAM),
                    begun: now,
                    size: (HEAD_BYTES + head.length) as u64,
                };
                if head.has(END_HEADERS) {
                    return self.headers(side, block, bytes, input, open);
                }
                self.half(side).block = Some(Block { bytes: bytes.to_vec(), ..block });
                Ok(None)
            }
            CONTINUATION => {
                let payload = input.take(head.length)?;
                input.commit();
                let half = self.half(side);
                let Some(mut block) = half.block.take() else {
                    // Its beginning is missing.
                    half.table.forget();
                    return Ok(None);
                };
                block.bytes.extend_from_slice(payload);
                block.size += (HEAD_BYTES + head.length) as u64;
                if block.bytes.len() > BLOCK_BYTES {
                    half.table.forget();
                    block.bytes.clear();
                }
                if head.has(END_HEADERS) {
                    let bytes = std::mem::take(&mut block.bytes);
                    return self.headers(side, block, &bytes, input, open);
                }
                half.block = Some(block);
                Ok(None)
            }
            RST_STREAM => {
                let code = input.u32()?;
                input.commit();
                Ok(self.reset(side, head.stream, code, now))
            }
            _ => {
                self.half(side).frame =
                    Some(Frame { stream: 0, left: head.length, padding: 0, ends: false });
                input.commit();
                Ok(None)
            }
        }
    }

    /// Finds the message that data belongs to.
    fn data_begins(&mut self, side: Side, head: &frame::Head, now: Moment, limits: &Limits) {
        let id = head.stream;
        if self.reset.contains(&id) {
            return;
        }
        let sure = self.client.sure && !self.client.lost && self.server.sure && !self.server.lost;
        if !self.streams.contains_key(&id) && (sure || !self.has_room(limits)) {
            return;
        }
        let part = self.streams.entry(id).or_default().part_mut(side);
        if matches!(part, Part::Idle) {
            // Its headers were not captured.
            let it = UnderWay::new(Sent::new(Vec::new(), id, limits), now);
            self.held += it.weight();
            *part = Part::UnderWay(Box::new(UnderWay { incomplete: true, ..it }));
        }
        if let Part::UnderWay(it) = part {
            it.bytes += (HEAD_BYTES + usize::from(head.has(PADDED))) as u64;
            it.latest = now;
        }
    }

    /// Uses up data.
    fn read_data(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Sent>,
    ) -> Result<Option<Message<Sent>>, Stop> {
        let limit = http::body_bytes(input);
        let mut part = None;
        let half = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let Some(frame) = half.frame.as_mut() else { return Ok(None) };
        let stream = frame.stream;
        if frame.left > 0 {
            let now = input.now();
            let some = input.some(frame.left as u64)?;
            let data = frame.left.saturating_sub(frame.padding);
            frame.left = frame.left.saturating_sub(some.len());
            let left = frame.left;
            input.commit();
            if stream > 0
                && let Some(Stream { request, response, tunnel }) = self.streams.get_mut(&stream)
                && let Part::UnderWay(it) = if side == Side::Client { request } else { response }
            {
                let before = it.weight() + tunnel.as_ref().map_or(0, |it| it.held());
                let data = some.get(..data).unwrap_or(some);
                it.bytes += some.len() as u64;
                it.latest = now;
                if let Some(tunnel) = tunnel {
                    let frames = tunnel.push(side, data, now.ts(), input.limits());
                    if !frames.is_empty() {
                        part = Some(Sent::told(stream, Timed::Frames(frames)));
                    }
                } else {
                    it.sent.push(data, limit, now.ts());
                    part = it.sent.part();
                }
                let after = it.weight() + tunnel.as_ref().map_or(0, |it| it.held());
                self.held = (self.held + after).saturating_sub(before);
            }
            if left > 0 && part.is_none() {
                return Err(input.short());
            }
            if left > 0 {
                return Ok(part.map(|it| Message::part(it).key(u64::from(stream))));
            }
        }
        let ends = self.half(side).frame.take().is_some_and(|it| it.ends);
        input.commit();
        let ended = if ends && stream > 0 { self.finish(side, stream, open) } else { None };
        let Some(part) = part else { return Ok(ended) };
        if let Some(ended) = ended {
            self.more.push_front(ended);
        }
        Ok(Some(Message::part(part).key(u64::from(stream))))
    }

    /// A header block is there.
    fn headers(
        &mut self,
        side: Side,
        block: Block,
        bytes: &[u8],
        input: &Input<'_>,
        open: &Open<Sent>,
    ) -> Result<Option<Message<Sent>>, Stop> {
        let limits = input.limits();
        let half = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let scratch = &mut self.scratch;
        scratch.clear(input.is_detailed());
        let read = half.table.read(bytes, |name, value| scratch.add(name, value));
        if read == hpack::Block::Broken && !half.sure {
            return Err(Stop::Lost);
        }
        let whole = read == hpack::Block::Whole && !scratch.cut && block.size < BLOCK_BYTES as u64;
        if block.promised > 0 {
            return Ok(self.promise(block, whole, limits));
        }
        let id = block.stream;
        if self.reset.contains(&id) {
            return Ok(None);
        }
        let interim = matches!(self.scratch.status.as_slice(), [b'1', _, _]);
        if interim && !block.ends {
            return Ok(None);
        }
        if !self.streams.contains_key(&id) && !self.has_room(limits) {
            return Ok(None);
        }
        let first = self.scratch.asks() || !self.scratch.status.is_empty();
        if side == Side::Server && input.is_detailed() && !block.ends {
            self.open_tunnel(id);
        }
        let scratch = &self.scratch;
        let part = self.streams.entry(id).or_default().part_mut(side);
        if let Part::UnderWay(it) = part {
            // Trailers; or the answer's head after data whose own was lost.
            self.held = self.held.saturating_sub(it.weight());
            if it.headed || !first {
                it.headed = true;
                it.sent.head.extend_from_slice(&scratch.fields);
            }
            it.bytes += block.size;
            it.incomplete |= !whole;
            it.latest = block.begun;
            self.held += it.weight();
        } else if matches!(part, Part::Idle) {
            let mut sent = Sent::new(scratch.head(), id, limits);
            if let Some((from, to)) = scratch.content_type
                && input.is_detailed()
                && let Some(value) = scratch.fields.get(from..to)
            {
                sent.expect_type(value);
            }
            let mut it = UnderWay::new(sent, block.begun);
            it.bytes = block.size;
            // Trailers alone: the head was not captured.
            it.incomplete = !whole || !first;
            it.headed = true;
            self.held += it.weight();
            *part = Part::UnderWay(Box::new(it));
        }
        if block.ends { Ok(self.finish(side, id, open)) } else { Ok(None) }
    }

    /// What the answer just read makes of its stream, if it was asked to speak WebSocket (RFC 8441).
    fn open_tunnel(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id).filter(|it| it.tunnel.is_none()) else {
            return;
        };
        let Part::UnderWay(asked) = &stream.request else { return };
        let head = &asked.sent.head;
        if !self.scratch.status.starts_with(b"2") || !head.starts_with(b"CONNECT /") {
            return;
        }
        let (_, mut fields) = split_head(head);
        if fields.any(|it| it.0 == b"protocol" && it.1.eq_ignore_ascii_case(b"websocket")) {
            let note = [head.as_slice(), b"\nHTTP/1.", &self.scratch.head()].concat();
            let tunnel = websocket::Tunnel::new(&text(&note));
            self.held += tunnel.held();
            stream.tunnel = Some(Box::new(tunnel));
        }
    }

    /// The server announces what it will answer without having been asked.
    fn promise(&mut self, block: Block, whole: bool, limits: &Limits) -> Option<Message<Sent>> {
        if !self.has_room(limits) {
            return None;
        }
        let sent = Sent::new(self.scratch.head(), block.promised, limits);
        self.streams.entry(block.promised).or_default().request = Part::Ended;
        let mut it = UnderWay::new(sent, block.begun);
        it.bytes = block.size;
        it.incomplete = !whole;
        Some(it.message(block.promised, Side::Client))
    }

    /// One side ended a stream.
    fn finish(&mut self, side: Side, id: u32, open: &Open<Sent>) -> Option<Message<Sent>> {
        let mut under_way = self.take(id, side)?;
        under_way.sent.end();
        let stream = self.streams.get(&id)?;
        let other = stream.part(side.other());
        match side {
            Side::Client => {
                if matches!(other, Part::Ended) {
                    self.forget(id);
                }
                under_way.headed.then(|| under_way.message(id, side))
            }
            Side::Server => {
                if id == 1 {
                    under_way.sent.asked = self.upgraded.take();
                }
                let asking = match other {
                    Part::UnderWay(it) => Some(it.incomplete),
                    _ => None,
                };
                if asking.is_none() {
                    self.forget(id);
                }
                // Without its headers, an answer says something only to a request that is known.
                let known =
                    under_way.headed || asking.is_some() || open.oldest(u64::from(id)).is_some();
                if !known {
                    return None;
                }
                let answer = under_way.message(id, side);
                if asking == Some(true)
                    && let Some(request) = self.take(id, Side::Client)
                {
                    // Its end may be among what was not captured.
                    self.forget(id);
                    if request.headed {
                        self.more.push_back(answer);
                        let latest = request.latest;
                        return Some(request.message(id, Side::Client).ended(latest));
                    }
                }
                Some(answer)
            }
        }
    }

    /// One side gave a stream up: both messages end here, however far they are.
    fn reset(&mut self, side: Side, id: u32, code: u32, now: Moment) -> Option<Message<Sent>> {
        let request = self.take(id, Side::Client);
        let response = self.take(id, Side::Server);
        let stream = self.forget(id)?;
        self.reset.push_back(id);
        if self.reset.len() > LATE_STREAMS {
            self.reset.pop_front();
        }
        if matches!(stream.response, Part::Ended) && response.is_none() && request.is_none() {
            return None;
        }
        let answered = matches!(stream.response, Part::Ended) && response.is_none();
        if let Some(mut it) = request {
            it.sent.payload.cut();
            it.sent.reset = answered.then_some((side, code));
            it.bytes += if side == Side::Client { RST_BYTES } else { 0 };
            if it.headed {
                self.more.push_back(it.message(id, Side::Client));
            }
        } else if matches!(stream.request, Part::Idle) && response.is_none() {
            return self.more.pop_front();
        }
        if !answered {
            let mut it = response.unwrap_or_else(|| {
                Box::new(UnderWay::new(Sent::new(Vec::new(), id, &Limits::default()), now))
            });
            it.sent.payload.cut();
            it.sent.reset = Some((side, code));
            // An answer may have been among what was not captured.
            it.incomplete |= !self.server.sure;
            it.bytes += if side == Side::Server { RST_BYTES } else { 0 };
            if id == 1 {
                it.sent.asked = self.upgraded.take();
            }
            self.more.push_back(it.message(id, Side::Server));
        }
        self.more.pop_front()
    }

    /// Both sides of a stream have ended.
    fn forget(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        if let Some(tunnel) = &stream.tunnel {
            self.held = self.held.saturating_sub(tunnel.held());
        }
        Some(stream)
    }

    /// Takes the message of a side, which has ended then.
    fn take(&mut self, id: u32, side: Side) -> Option<Box<UnderWay>> {
        let part = self.part(id, side)?;
        match std::mem::replace(part, Part::Ended) {
            Part::UnderWay(it) => {
                self.held = self.held.saturating_sub(it.weight());
                Some(it)
            }
            other => {
                *part = other;
                None
            }
        }
    }

    /// Bytes of a side went missing: any of its messages may lack some of them.
    fn lose(&mut self, side: Side) {
        let half = self.half(side);
        if half.lost {
            return;
        }
        half.lost = true;
        half.sure = false;
        half.started = true;
        half.frame = None;
        half.block = None;
        half.table.forget();
        for stream in self.streams.values_mut() {
            if let Some(tunnel) = &mut stream.tunnel {
                tunnel.gap(side, None);
            }
            if let Part::UnderWay(it) = stream.part_mut(side) {
                it.incomplete = true;
                it.sent.cut();
            }
        }
    }

    fn has_room(&self, limits: &Limits) -> bool {
        self.streams.len() < limits.open_requests
    }
}

impl Stream {
    fn part(&self, side: Side) -> &Part {
        match side {
            Side::Client => &self.request,
            Side::Server => &self.response,
        }
    }

    fn part_mut(&mut self, side: Side) -> &mut Part {
        match side {
            Side::Client => &mut self.request,
            Side::Server => &mut self.response,
        }
    }
}

impl UnderWay {
    fn new(sent: Sent, begun: Moment) -> Self {
        Self { sent, begun, latest: begun, bytes: 0, headed: false, incomplete: false }
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.sent.weight()
    }

    fn message(self, id: u32, side: Side) -> Message<Sent> {
        let message = match side {
            Side::Client => Message::request(self.sent),
            Side::Server => Message::response(self.sent),
        };
        message.key(u64::from(id)).begun(self.begun).bytes(self.bytes).incomplete(self.incomplete)
    }
}

impl Scratch {
    fn clear(&mut self, detailed: bool) {
        for it in [
            &mut self.method,
            &mut self.target,
            &mut self.authority,
            &mut self.status,
            &mut self.fields,
        ] {
            it.clear();
        }
        self.fields_bytes = 0;
        self.detailed = detailed;
        self.content_type = None;
        self.host = false;
        self.cut = false;
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        if self.fields_bytes + self.target.len() + name.len() + value.len() > BLOCK_BYTES {
            self.cut = true;
            return;
        }
        if let [b':', name @ ..] = name {
            let to = match name {
                b"method" => &mut self.method,
                b"path" => &mut self.target,
                b"authority" => &mut self.authority,
                b"status" => &mut self.status,
                b"protocol" => {
                    self.field(b"protocol", value);
                    return;
                }
                _ => return,
            };
            to.clear();
            append(to, value);
            return;
        }
        if !self.detailed {
            self.fields_bytes += name.len() + value.len() + FIELD_BYTES;
            return;
        }
        self.host |= name == b"host";
        let from = self.fields.len() + name.len() + 2;
        self.field(name, value);
        if name == b"content-type" {
            self.content_type = Some((from, self.fields.len() - 1));
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        append(&mut self.fields, name);
        self.fields.extend_from_slice(b": ");
        append(&mut self.fields, value);
        self.fields.push(b'\n');
        self.fields_bytes += name.len() + value.len() + FIELD_BYTES;
    }

    /// Whether it is a request's; some of what says so may not be known.
    fn asks(&self) -> bool {
        [&self.method, &self.target, &self.authority].iter().any(|it| !it.is_empty())
    }

    /// The block as a head: see [`Sent::head`].
    fn head(&self) -> Vec<u8> {
        let Self { method, target, authority, status, fields, .. } = self;
        let target = if method == b"CONNECT" && target.is_empty() { authority } else { target };
        let asks = self.asks();
        let host = self.detailed && !self.host && !authority.is_empty();
        let parts: [&[u8]; 8] = [
            if asks { method } else { status },
            if asks { b" " } else { b"" },
            target,
            b"\n",
            if host { b"host: " } else { b"" },
            if host { authority } else { b"" },
            if host { b"\n" } else { b"" },
            fields,
        ];
        parts.concat()
    }
}

/// What [`Scratch::field`] puts between and behind a name and a value.
const FIELD_BYTES: usize = 3;

/// Adds what stands in one line: no sender may break it, and who does gains nothing.
fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    let from = to.len();
    to.extend_from_slice(bytes);
    if memchr::memchr2(b'\r', b'\n', bytes).is_some() {
        for byte in to.iter_mut().skip(from).filter(|it| matches!(it, b'\r' | b'\n')) {
            *byte = b' ';
        }
    }
}

/// The header block in a frame, and the stream that is promised with it, if any.
fn block_of<'a>(head: &frame::Head, payload: &'a [u8]) -> Option<(&'a [u8], u32)> {
    let mut rest = payload;
    let mut padding = 0;
    if head.has(PADDED) {
        let (first, after) = rest.split_first()?;
        (padding, rest) = (usize::from(*first), after);
    }
    let mut promised = 0;
    if head.kind == PUSH_PROMISE {
        let (id, after) = rest.split_first_chunk::<4>()?;
        (promised, rest) = (u32::from_be_bytes(*id) & 0x7fff_ffff, after);
        if promised == 0 {
            return None;
        }
    } else if head.has(PRIORITISED) {
        rest = rest.get(5..)?;
    }
    rest.get(..rest.len().checked_sub(padding)?).map(|it| (it, promised))
}

fn guess(side: Side, bytes: &[u8]) -> Guess {
    if side == Side::Client {
        let start = bytes.get(..PREFACE.len()).unwrap_or(bytes);
        if start == PREFACE {
            return Guess::Sure;
        }
        if PREFACE.starts_with(start) {
            return Guess::More;
        }
    }
    let Some(head) = frame::Head::of(bytes) else {
        let small = bytes.first().is_some_and(|it| *it == 0);
        return if small && bytes.len() < HEAD_BYTES { Guess::More } else { Guess::No };
    };
    // Settings have a name of two bytes, of which the first is zero, and a value of four.
    let settings = bytes.get(HEAD_BYTES..).unwrap_or_default();
    let known = settings.chunks(6).take(head.length / 6).all(|it| it.starts_with(&[0]));
    let begins = head.kind == SETTINGS && head.flags == 0 && head.stream == 0 && known;
    match chain(bytes, CHAIN) {
        Some(false) => Guess::No,
        None if begins && head.length > 0 => Guess::Maybe,
        None => Guess::More,
        Some(true) if begins && side == Side::Server => Guess::Sure,
        // In the middle: headers that name a method or a status leave no doubt.
        Some(true) if frames(bytes).any(|(head, payload)| says(side, &head, payload)) => {
            Guess::Sure
        }
        Some(true) => Guess::Maybe,
    }
}

/// The frames that lie in these bytes.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (frame::Head, &[u8])> {
    std::iter::from_fn(move || {
        let head = frame::Head::of(bytes)?;
        let (payload, rest) = bytes.get(HEAD_BYTES..)?.split_at_checked(head.length)?;
        bytes = rest;
        Some((head, payload))
    })
}

/// Whether a header block begins as those of this side do: all libraries send the method, or the
/// status, among the first, and refer to the static table for it.
fn says(side: Side, head: &frame::Head, payload: &[u8]) -> bool {
    if head.kind != HEADERS || !head.has(END_HEADERS) {
        return false;
    }
    let Some((block, _)) = block_of(head, payload) else { return false };
    let (mut method, mut status, mut path, mut plain) = (false, false, false, true);
    let read = hpack::Table::default().read(block, |name, _| {
        method |= name == b":method";
        status |= name == b":status";
        path |= name == b":path" || name == b":scheme";
        plain &= name.iter().all(|it| it.is_ascii_graphic() && !it.is_ascii_uppercase());
    });
    let said = match side {
        Side::Client => method && path && !status,
        Side::Server => status && !method,
    };
    read != hpack::Block::Broken && plain && said
}

/// RFC 9113 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames in a row that are no accident.
const CHAIN: usize = 3;

/// Longer than frames that anyone sends; their heads could say 16 MiB.
const FRAME_BYTES: usize = 8 << 20;

/// Bytes of any other frame, which is read as a whole.
const MOST_BLOCK_BYTES: usize = 256 << 10;

/// Bytes of a header block, compressed or not.
const BLOCK_BYTES: usize = 64 << 10;

/// Streams that were reset and are remembered.
const LATE_STREAMS: usize = 64;

/// A frame that resets a stream.
const RST_BYTES: u64 = 13;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::drive::{Step, client, however_cut, server, stream};

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Literal headers; those whose name begins with `+` are added to the table.
    fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in headers {
            let plain = name.trim_start_matches('+');
            out.push(if plain == *name { 0 } else { 0x40 });
            for text in [plain, value] {
                out.push(u8::try_from(text.len()).unwrap());
                out.extend_from_slice(text.as_bytes());
            }
        }
        out
    }

    fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
    }

    fn get(stream: u32, path: &str) -> Vec<u8> {
        headers(stream, END_STREAM, &[(":method", "GET"), (":path", path), (":authority", "h:1")])
    }

    fn answer(stream: u32, body: &str) -> Vec<u8> {
        let data = frame(DATA, END_STREAM, stream, body.as_bytes());
        [headers(stream, 0, &[(":status", "200")]), data].concat()
    }

    fn preface(more: &[Vec<u8>]) -> Step {
        client([PREFACE, &frame(SETTINGS, 0, 0, &[]), &more.concat()].concat())
    }

    fn settings(more: &[Vec<u8>]) -> Step {
        server([frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]), more.concat()].concat())
    }

    fn of(steps: &[Step]) -> Vec<String> {
        however_cut::<Dissector>(steps).iter().map(said).collect()
    }

    /// A row in a line: what was asked, how it ended, the bodies, and what is wrong with it.
    fn said(row: &Value) -> String {
        if row.is_string() || row.get("protocol").is_some() {
            return row.as_str().unwrap_or("derived").to_owned();
        }
        let text =
            |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let body = |name: &str| {
            let digits = text(name);
            let pairs = digits.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).unwrap());
            pairs.map(|it| char::from(u8::from_str_radix(it, 16).unwrap())).collect::<String>()
        };
        let mut out = format!("{} {}", text("verb"), text("target"));
        if let Some(status) = row.get("status") {
            out += &format!(" {status}");
        }
        for (mark, name) in [(">", "request_body"), ("<", "response_body")] {
            if row.get(name).is_some() {
                out += &format!(" {mark}{}", body(name));
            }
        }
        if row.get("error").is_some() {
            out += &format!(" ({})", text("error"));
        }
        if row.get("incomplete").is_some() {
            out += " incomplete";
        }
        out
    }

    #[test]
    fn streams_are_interleaved() {
        let post = [(":method", "POST"), (":path", "/2"), ("content-type", "text/plain")];
        let rows = of(&[
            preface(&[get(1, "/1?a"), headers(3, 0, &post), frame(DATA, 0, 3, b"ab")]),
            settings(&[headers(1, 0, &[(":status", "200")]), frame(DATA, 0, 1, b"on")]),
            client([frame(DATA, END_STREAM, 3, b"cd"), get(5, "/3")].concat()),
            server(
                [answer(5, "three"), answer(3, "two"), frame(DATA, END_STREAM, 1, b"e")].concat(),
            ),
        ]);
        assert_eq!(rows, ["GET /3 200 <three", "POST /2 200 >abcd <two", "GET /1?a 200 <one"]);
    }

    #[test]
    fn columns() {
        let ask = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a?b=c"),
            (":authority", "shop:80"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("user-agent", "me"),
            ("x-broken", "a\r\nb: c"),
        ];
        let rows = however_cut::<Dissector>(&[
            preface(&[headers(1, END_STREAM, &ask)]),
            settings(&[
                headers(1, 0, &[(":status", "204"), ("set-cookie", "s=1; Path=/")]),
                headers(1, END_STREAM, &[("x-sum", "7")]),
            ]),
        ]);
        let row = &rows[0];
        for (name, value) in [
            ("version", "2"),
            ("host", "shop:80"),
            ("path", "/a"),
            ("query", "b=c"),
            ("user_agent", "me"),
        ] {
            assert_eq!(row[name], value, "{name}");
        }
        assert_eq!(row["request_cookies"].as_object().unwrap().len(), 2);
        assert_eq!(row["request_headers"]["x-broken"], "a  b: c");
        assert_eq!(row["request_headers"]["host"], "shop:80");
        assert_eq!(row["response_headers"]["x-sum"], "7");
        assert_eq!(row["response_cookies"]["s"], "1");
        assert_eq!((&row["stream"], &row["status"]), (&1.into(), &204.into()));
    }

    #[test]
    fn a_stream_that_speaks_websocket() {
        let ask = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", "/chat?room=1"),
            (":authority", "shop"),
        ];
        let masked = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
        let (first, rest) = masked.split_at(3);
        let closes = frame(DATA, END_STREAM, 1, b"\x88\x02\x03\xe8");
        let steps = [
            preface(&[headers(1, 0, &ask), get(3, "/")]),
            settings(&[
                headers(1, 0, &[(":status", "200"), ("sec-websocket-protocol", "talk")]),
                frame(DATA, 0, 1, b"\x81\x05hel"),
            ]),
            client([frame(DATA, 0, 1, first), frame(DATA, 0, 1, rest)].concat()),
            server([frame(DATA, 0, 1, b"lo\x8a\0"), answer(3, "page"), closes].concat()),
            client(frame(DATA, END_STREAM, 1, b"")),
        ];
        let rows = however_cut::<Dissector>(&steps);
        let (frames, exchanges): (Vec<_>, Vec<_>) =
            rows.iter().partition(|it| it.get("protocol").is_some());
        let exchanges: Vec<_> = exchanges.into_iter().map(said).collect();
        assert_eq!(exchanges, ["GET / 200 <page", "CONNECT /chat?room=1 200"]);
        let frames: Vec<_> = frames
            .into_iter()
            .map(|it| [&it["sender"], &it["opcode"], &it["payload"]].map(|it| it.as_str()))
            .collect();
        assert_eq!(
            frames,
            [
                [Some("client"), Some("text"), Some("6869")],
                [Some("server"), Some("text"), Some("68656c6c6f")],
                [Some("server"), Some("pong"), None],
                [Some("server"), Some("close"), None],
            ]
        );
        for it in rows.iter().filter(|it| it.get("protocol").is_some()) {
            assert_eq!((&it["protocol"], &it["path"]), (&"websocket".into(), &"/chat".into()));
            assert_eq!((&it["host"], &it["subprotocol"]), (&"shop".into(), &"talk".into()));
        }
    }

    #[test]
    fn loss_in_a_stream_that_speaks_websocket() {
        let ask = [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/")];
        let data = frame(DATA, 0, 1, b"\x82\x0bhole within\x89\0");
        let rows = of(&[
            preface(&[headers(1, 0, &ask)]),
            settings(&[headers(1, 0, &[(":status", "200")])]),
            server(&data[..15]),
            Step::Loses(Side::Server, 3),
            server(&data[18..]),
            Step::Ends(Side::Client),
            Step::Ends(Side::Server),
        ]);
        assert_eq!(rows, ["CONNECT / 200 incomplete", "derived", "derived"]);
    }

    #[test]
    fn headers_in_several_frames_padded_and_prioritised() {
        let whole = block(&[(":method", "GET"), (":path", "/long")]);
        let (first, rest) = whole.split_at(7);
        let (second, third) = rest.split_at(3);
        let padded = [&[3, 0, 0, 0, 0, 9], first, &[0, 0, 0]].concat();
        let flags = END_STREAM | PADDED | PRIORITISED;
        let data = frame(DATA, END_STREAM | PADDED, 1, b"\x04body\0\0\0\0");
        let rows = of(&[
            preface(&[
                frame(2, 0, 1, &[0; 5]),
                frame(HEADERS, flags, 1, &padded),
                frame(CONTINUATION, 0, 1, second),
                frame(CONTINUATION, END_HEADERS, 1, third),
            ]),
            settings(&[frame(8, 0, 0, &[0; 4]), headers(1, 0, &[(":status", "200")]), data]),
        ]);
        assert_eq!(rows, ["GET /long 200 <body"]);
    }

    #[test]
    fn interim_answers_and_pushes() {
        let promise =
            [&2_u32.to_be_bytes()[..], &block(&[(":method", "GET"), (":path", "/pushed")])];
        let rows = of(&[
            preface(&[get(1, "/")]),
            settings(&[
                headers(1, 0, &[(":status", "103"), ("link", "x")]),
                frame(PUSH_PROMISE, END_HEADERS, 1, &promise.concat()),
                answer(1, "page"),
                answer(2, "style"),
            ]),
        ]);
        assert_eq!(rows, ["GET / 200 <page", "GET /pushed 200 <style"]);
    }

    #[test]
    fn streams_that_are_reset() {
        let cancel = 8_u32.to_be_bytes();
        let rows = of(&[
            preface(&[get(1, "/1"), get(3, "/2"), get(5, "/3"), get(7, "/4")]),
            settings(&[
                frame(RST_STREAM, 0, 1, &2_u32.to_be_bytes()),
                headers(3, 0, &[(":status", "200")]),
            ]),
            server(frame(DATA, 0, 3, b"some")),
            client([frame(RST_STREAM, 0, 3, &cancel), frame(RST_STREAM, 0, 5, &cancel)].concat()),
            // What was on its way when the client gave up.
            server(
                [frame(DATA, END_STREAM, 3, b"more"), answer(5, "late"), answer(7, "four")]
                    .concat(),
            ),
        ]);
        assert_eq!(
            rows,
            [
                "GET /1 (reset by server: INTERNAL_ERROR)",
                "GET /2 200 <some (reset by client: CANCEL)",
                "GET /3 (reset by client: CANCEL)",
                "GET /4 200 <four"
            ]
        );
    }

    #[test]
    fn an_answer_before_the_request_has_ended() {
        let put = headers(1, 0, &[(":method", "PUT"), (":path", "/early")]);
        let rows = of(&[
            preface(&[put.clone(), frame(DATA, 0, 1, b"first ")]),
            settings(&[answer(1, "no")]),
            client(frame(DATA, END_STREAM, 1, b"second")),
        ]);
        assert_eq!(rows, ["PUT /early 200 >first second <no"]);
        let rows = of(&[
            preface(&[put, frame(DATA, 0, 1, b"first ")]),
            settings(&[answer(1, "no"), frame(RST_STREAM, 0, 1, &[0; 4])]),
            client(frame(DATA, END_STREAM, 1, b"late")),
        ]);
        assert_eq!(rows, ["PUT /early 200 >first  <no"]);
    }

    #[test]
    fn the_request_before_an_upgrade() {
        let mut dissector = Dissector::default();
        dissector.handed("GET /old HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\nHTTP/1.1 101 X\r\nUpgrade: h2c\r\n");
        let limits = Limits::default();
        let bytes = [frame(SETTINGS, 0, 0, &[]), answer(1, "new")].concat();
        let mut input = Input::new(&bytes, false, &limits);
        let message = dissector.parse(Side::Server, &mut input, &Open::default()).unwrap();
        let (summary, row) = message::record(None, Some(&message.body));
        assert_eq!((summary.verb, summary.target), ("GET".into(), "/old".into()));
        assert_eq!((summary.status, row.version.0.as_ref()), (Some(200), "2"));
        assert_eq!(row.host.unwrap().0, "h");
    }

    #[test]
    fn what_the_end_cuts_off() {
        let rows = of(&[
            preface(&[get(1, "/1"), headers(3, 0, &[(":method", "POST"), (":path", "/2")])]),
            settings(&[headers(1, 0, &[(":status", "200")]), frame(DATA, 0, 1, b"some")]),
            Step::Ends(Side::Client),
            Step::Ends(Side::Server),
        ]);
        assert_eq!(rows, ["GET /1 200 <some incomplete", "POST /2 (no response) incomplete"]);
    }

    #[test]
    fn a_start_in_the_middle() {
        // Entry 62 was added before.
        let ask = [&block(&[(":method", "GET"), ("+:path", "/known")])[..], &[0xbf]].concat();
        let again = [&block(&[(":method", "GET")])[..], &[0xbe]].concat();
        let rows = of(&[
            client(frame(HEADERS, END_STREAM | END_HEADERS, 101, &ask)),
            server([frame(DATA, END_STREAM, 99, b"late"), answer(101, "one")].concat()),
            client(frame(HEADERS, END_STREAM | END_HEADERS, 103, &again)),
            server(answer(103, "two")),
        ]);
        assert_eq!(rows, ["GET /known 200 <one incomplete", "GET /known 200 <two"]);
    }

    #[test]
    fn loss_inside_data() {
        let rows = of(&[
            preface(&[get(1, "/1"), get(3, "/2")]),
            settings(&[headers(1, 0, &[(":status", "200")])]),
            server(&frame(DATA, END_STREAM, 1, b"one and more")[..12]),
            Step::Loses(Side::Server, 5),
            server([b"more".as_slice(), &answer(3, "two")].concat()),
        ]);
        assert_eq!(rows, ["GET /1 200 <one incomplete", "GET /2 200 <two"]);
    }

    #[test]
    fn loss_of_frames() {
        let known = headers(1, END_STREAM, &[(":method", "GET"), ("+:path", "/1")]);
        let refers = [&block(&[(":method", "GET")])[..], &[0xbe]].concat();
        let rows = of(&[
            preface(&[known, get(3, "/2")]),
            settings(&[headers(1, 0, &[(":status", "200")]), answer(3, "two")]),
            Step::Loses(Side::Server, 100),
            server(
                [b"\0\0 rest of something".as_slice(), &answer(5, "three"), &answer(7, "four")]
                    .concat(),
            ),
            Step::Loses(Side::Client, 1000),
            client([frame(HEADERS, END_STREAM | END_HEADERS, 9, &refers), get(11, "/6")].concat()),
            server([answer(9, "five"), answer(11, "six")].concat()),
            Step::Ends(Side::Server),
        ]);
        assert_eq!(
            rows,
            [
                "GET /2 200 <two",
                "  200 <three",
                "  200 <four",
                "GET  200 <five incomplete",
                "GET /6 200 <six",
                "GET /1 200 incomplete"
            ]
        );
    }

    #[test]
    fn nonsense_is_given_up() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\0\0\x04\x08\0\0\0\0",
            b"\0\0\x01\x01\x04\0\0\0\x01\xff",
        ] {
            let rows = stream::<Dissector>(&[client([bytes, &[9; 40]].concat())], 1000);
            assert_eq!(rows, ["lost"], "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn guesses() {
        let frames = |it: &[Vec<u8>]| it.concat();
        let path = [(":method", "GET"), (":path", "/")];
        for (side, bytes, expected) in [
            (Side::Client, PREFACE.to_vec(), Guess::Sure),
            (Side::Client, b"PRI * HT".to_vec(), Guess::More),
            (Side::Client, b"PRINT".to_vec(), Guess::No),
            (Side::Client, headers(7, END_STREAM, &path), Guess::Sure),
            (Side::Server, headers(7, END_STREAM, &path), Guess::Maybe),
            (Side::Server, frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]), Guess::Sure),
            (Side::Server, frame(SETTINGS, 0, 0, &[7, 3, 0, 0, 0, 100]), Guess::Maybe),
            (Side::Server, answer(7, "x"), Guess::Sure),
            (
                Side::Server,
                frames(&[frame(6, 1, 0, &[0; 8]), frame(8, 0, 0, &[0; 4])]),
                Guess::Maybe,
            ),
            (Side::Server, vec![0, 0, 1], Guess::More),
            (Side::Server, b"HTTP/1.1 200".to_vec(), Guess::No),
            (Side::Client, vec![0, 0, 0, 40, 0, 1, 0, 9, 0, 0, 0, 1, 0, 0], Guess::No),
        ] {
            assert_eq!(guess(side, &bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        /// Frames of any kind in any order, with noise in them, and losses.
        #[test]
        fn noise(steps in proptest::collection::vec(
            (any::<bool>(), 0..12_u8, any::<u8>(), 0..8_u32, proptest::collection::vec(any::<u8>(), 0..40), 0..9_u8),
            0..60,
        )) {
            let mut script = vec![preface(&[get(1, "/1")]), settings(&[answer(1, "x")])];
            for (client, kind, flags, id, payload, extra) in steps {
                let side = if client { Side::Client } else { Side::Server };
                let bytes = match extra {
                    0 => payload.clone(),
                    1 => get(id, "/"),
                    2 => answer(id, "a"),
                    _ => frame(kind, flags, id, &payload),
                };
                script.push(Step::Sends(side, bytes));
                if extra == 8 {
                    script.push(Step::Loses(side, u64::from(flags)));
                }
            }
            script.extend([Step::Ends(Side::Client), Step::Ends(Side::Server)]);
            stream::<Dissector>(&script, 7);
            stream::<Dissector>(&script, 1000);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let limits = Limits::default();
        let mut dissector = Dissector::default();
        let mut held = 0;
        for id in (1..20_001).step_by(2) {
            let open =
                headers(id, 0, &[(":method", "PUT"), (":path", "/x"), ("+x-more", "of the same")]);
            let bytes = [open, frame(DATA, 0, id, &[b'x'; 100])].concat();
            let mut input = Input::new(&bytes, false, &limits);
            assert!(dissector.parse(Side::Client, &mut input, &Open::default()).is_err());
            held = held.max(dissector.held());
        }
        assert!(dissector.streams.len() <= limits.open_requests);
        assert!(held < 2 << 20, "{held}");
        while dissector.end(Side::Client).is_some() {}
        let tables = dissector.client.table.held() + dissector.server.table.held();
        assert!(dissector.held() - tables < 200 << 10, "{}", dissector.held());
        assert_eq!(dissector.held, 0);
    }
}
