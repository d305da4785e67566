//! A protocol at work on one flow: finds messages in bytes, pairs them, writes rows.
use crate::envelope::{Envelope, Facts, Occurrence};
use crate::exchange::{Exchange, Learned, Message, Moment, Open, Role, Side, Times, Waiting};
use crate::input::{Input, Stop};
use crate::limits::Limits;
use crate::protocol::Dissect;
use crate::tables::{Also, Own, Tables};

/// What a session works with and does not own.
pub(crate) struct Context<'a> {
    pub(crate) tables: &'a mut Tables,
    pub(crate) facts: &'a Facts,
    pub(crate) limits: &'a Limits,
    pub(crate) seq: &'a mut u64,
    pub(crate) datagram: bool,
    /// Places where bytes made no sense or were missed.
    pub(crate) lost: &'a mut u64,
    /// What messages told of conversations.
    pub(crate) learned: &'a mut Vec<Learned>,
}

/// When bytes were captured, and up to where their sender had seen the other side's stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) ts: i64,
    pub(crate) seen: u64,
}

/// How the session ended.
pub(crate) enum Ended {
    /// The bytes are not this protocol. If no message came before, another may try.
    Lost,
    /// The flow speaks something else from here.
    Becomes {
        name: &'static str,
        /// What it should know.
        note: String,
        /// How many of the bytes are left.
        left: usize,
        /// What the other side has sent already, and when.
        other: (Vec<u8>, Arrival),
    },
}

/// A [`Session`] with its types erased.
pub(crate) trait Work: Send {
    /// Reads what `side` sent next.
    fn bytes(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        bytes: &[u8],
        at: Arrival,
    ) -> Result<(), Ended>;
    /// `missing` bytes of `side` were not captured.
    fn gap(&mut self, cx: &mut Context<'_>, side: Side, missing: u64) -> Result<(), Ended>;
    /// `side` sends no more.
    fn end(&mut self, cx: &mut Context<'_>, side: Side);
    /// Another protocol led here and left a note.
    fn handed(&mut self, note: &str);
    /// Writes rows for requests that get no answer any more: all, or those sent before a time.
    fn abandon(&mut self, cx: &mut Context<'_>, before: Option<i64>);
    /// About how many bytes wait here.
    fn held(&self) -> usize;
    /// How many messages were read.
    fn messages(&self) -> u64;
    /// When the oldest exchange began of those that have no row yet.
    fn since(&self) -> Option<i64>;
}

/// One protocol on one flow.
pub(crate) struct Session<D: Dissect> {
    dissector: D,
    client: Half,
    server: Half,
    open: Open<D::Body>,
    open_bytes: usize,
    /// Answers that came before their requests had ended, as HTTP allows.
    early: Vec<Waiting<D::Body>>,
    /// Answers went missing while several requests waited: which one is answered is a guess.
    unsure: bool,
    messages: u64,
    strayed: u32,
    table: usize,
}

/// What one side has sent and no message has used.
#[derive(Default)]
struct Half {
    held: Vec<u8>,
    /// When the first of these bytes came.
    held_at: Arrival,
    /// When the message under way began, and what its sender had seen then.
    begun: Option<Arrival>,
    /// Bytes of the message under way that are used already.
    used: u64,
    /// Where in the stream `held` begins.
    offset: u64,
    resync: bool,
    /// Bytes went missing since the last message: order alone no longer pairs.
    gapped: bool,
    last: i64,
}

impl<D: Dissect> Session<D> {
    pub(crate) fn new(table: usize) -> Self {
        Self {
            dissector: D::default(),
            client: Half::default(),
            server: Half::default(),
            open: Open::default(),
            open_bytes: 0,
            early: Vec::new(),
            unsure: false,
            messages: 0,
            strayed: 0,
            table,
        }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Reads messages from `bytes`; how many of them were used.
    fn run(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        bytes: &[u8],
        earlier: usize,
        at: Arrival,
    ) -> Result<usize, Ended> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|it| !it.is_empty()) {
            let half = self.half(side);
            let (arrivals, offset) = ([half.held_at, at], half.offset);
            let detailed =
                cx.tables.own(self.table) == Own::All || cx.tables.keeps_others(self.table);
            let mut input = Input::new(rest, cx.datagram, cx.limits)
                .arrived(earlier.saturating_sub(done), arrivals, offset)
                .detailed(detailed);
            if self.half(side).resync {
                let found = self.dissector.resync(side, &mut input);
                let used = if found.is_ok() { input.used() } else { input.committed() };
                done += used;
                self.half(side).offset += used as u64;
                match found {
                    Ok(()) => self.half(side).resync = false,
                    Err(Stop::More) => break,
                    Err(Stop::Lost) => return Err(Ended::Lost),
                }
                continue;
            }
            if self.half(side).begun.is_none() {
                self.begin(cx, side, at);
            }
            let half = self.half(side);
            let begun = *half.begun.get_or_insert(at);
            half.last = at.ts;
            let parsed = self.dissector.parse(side, &mut input, &self.open);
            let used = if parsed.is_ok() { input.used() } else { input.committed() };
            done += used;
            let half = self.half(side);
            half.offset += used as u64;
            half.used += used as u64;
            match parsed {
                Ok(message) if used == 0 && half.used == 0 && message.becomes.is_none() => {
                    // A message of nothing would come again and again.
                    drop(message);
                    self.stray(cx, side)?;
                }
                Ok(mut message) => {
                    let becomes = message.becomes;
                    let note = std::mem::take(&mut message.note);
                    self.message(cx, side, message, begun, at.ts);
                    self.more(cx, side, begun, at.ts);
                    if let Some(name) = becomes {
                        // What the other side is in the middle of goes no further.
                        self.end(cx, side.other());
                        let other = self.half(side.other());
                        let other = (std::mem::take(&mut other.held), other.held_at);
                        return Err(Ended::Becomes { name, note, left: bytes.len() - done, other });
                    }
                }
                Err(Stop::More) => break,
                Err(Stop::Lost) if cx.datagram => {
                    self.half(side).begun = None;
                    self.half(side).used = 0;
                    self.strayed += 1;
                    if self.messages == 0 || self.strayed > STRAYS {
                        return Err(Ended::Lost);
                    }
                    *cx.lost += 1;
                    return Ok(bytes.len());
                }
                Err(Stop::Lost) => self.stray(cx, side)?,
            }
        }
        Ok(done)
    }

    /// Nonsense where a message should be: looks for the next one, but not for ever.
    fn stray(&mut self, cx: &mut Context<'_>, side: Side) -> Result<(), Ended> {
        self.strayed += 1;
        if self.messages == 0 || self.strayed > STRAYS {
            return Err(Ended::Lost);
        }
        *cx.lost += 1;
        let half = self.half(side);
        half.resync = true;
        half.gapped = true;
        half.begun = None;
        half.used = 0;
        Ok(())
    }

    /// Messages that ended where the last one did.
    fn more(&mut self, cx: &mut Context<'_>, side: Side, begun: Arrival, last: i64) {
        for _ in 0..MORE {
            let Some(message) = self.dissector.more(side) else { break };
            self.message(cx, side, message, begun, last);
        }
    }

    fn message(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        message: Message<D::Body>,
        begun: Arrival,
        last: i64,
    ) {
        self.messages += 1;
        self.strayed = 0;
        if message.role == Role::Part {
            return self.part(cx, side, message, begun);
        }
        cx.learned.extend(D::learned(&message.body));
        let half = self.half(side);
        half.begun = None;
        let bytes = std::mem::take(&mut half.used);
        let offset = half.offset.saturating_sub(bytes);
        let begun = message.begun.unwrap_or(Moment { arrival: begun, offset });
        let it = Waiting {
            key: message.key,
            turned: message.sender.is_some_and(|it| it != side),
            body: message.body,
            times: Times { first: begun.arrival.ts, last: message.ended.unwrap_or(last) },
            bytes: message.bytes.unwrap_or(bytes),
            incomplete: message.incomplete,
            start: begun.offset,
            seen: begun.arrival.seen,
        };
        match message.role {
            Role::Request => self.ask(cx, it),
            Role::Response => self.answer(cx, it),
            Role::Notice if message.sender.unwrap_or(side) == Side::Client => {
                self.row(cx, Some(&it), None)
            }
            Role::Notice | Role::Part => self.row(cx, None, Some(&it)),
        }
    }

    /// Rows of what has come so far; the message itself goes on.
    fn part(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        message: Message<D::Body>,
        begun: Arrival,
    ) {
        if !cx.tables.keeps_others(self.table) {
            return;
        }
        let request = self.open.oldest(message.key).filter(|_| side == Side::Server);
        let occurrence = Occurrence {
            ts: message.begun.map_or(begun.ts, Moment::ts),
            duration: None,
            request_bytes: 0,
            response_bytes: 0,
            incomplete: message.incomplete,
            seq: *cx.seq,
        };
        let mut also =
            Also { tables: &mut *cx.tables, facts: cx.facts, occurrence, seq: &mut *cx.seq };
        D::also(&Exchange { request, response: Some(&message.body) }, &mut also);
    }

    fn ask(&mut self, cx: &mut Context<'_>, request: Waiting<D::Body>) {
        if let Some(at) = self.early.iter().position(|it| it.key == request.key) {
            let response = self.early.remove(at);
            self.row(cx, Some(&request), Some(&response));
            return;
        }
        if self.open.len() >= cx.limits.open_requests
            && let Some(oldest) = self.open.requests.pop_front()
        {
            *cx.lost += 1;
            self.alone(cx, &oldest);
        }
        self.open_bytes += D::weight(&request.body);
        self.open.requests.push_back(request);
        while self.open_bytes > cx.limits.flow_bytes && self.open.len() > 1 {
            let Some(oldest) = self.open.requests.pop_front() else { break };
            *cx.lost += 1;
            self.alone(cx, &oldest);
        }
    }

    fn answer(&mut self, cx: &mut Context<'_>, response: Waiting<D::Body>) {
        match self.open.take(response.key) {
            Some(request) => {
                self.open_bytes = self.open_bytes.saturating_sub(D::weight(&request.body));
                let response =
                    Waiting { incomplete: response.incomplete || self.unsure, ..response };
                self.row(cx, Some(&request), Some(&response));
            }
            None if self.asking(cx, &response) => self.early.push(response),
            None => self.row(cx, None, Some(&response)),
        }
        if self.open.is_empty() {
            // Most conversations are idle most of the time.
            if self.open.requests.capacity() * size_of::<Waiting<D::Body>>() > IDLE_BYTES {
                self.open.requests.shrink_to_fit();
            }
            self.client.gapped = false;
            self.unsure = false;
        }
    }

    /// Whether the answer belongs to the request under way, of which a part was read.
    fn asking(&self, cx: &Context<'_>, response: &Waiting<D::Body>) -> bool {
        if response.key != 0 {
            let room = self.early.len() < cx.limits.open_requests;
            return room && self.dissector.under_way(Side::Client, response.key);
        }
        let under_way = self.client.begun.is_some() && self.client.used > 0;
        under_way && self.early.is_empty() && !self.client.gapped
    }

    /// Whether the answer to this request has begun; of those without a key, to the oldest.
    fn answering(&self, request: &Waiting<D::Body>) -> bool {
        match request.key {
            0 => self.server.begun.is_some() && self.server.used > 0,
            key => self.dissector.under_way(Side::Server, key),
        }
    }

    /// A message begins. After a gap, order alone no longer tells which request an answer belongs
    /// to, but what each side had seen of the other does.
    fn begin(&mut self, cx: &mut Context<'_>, side: Side, at: Arrival) {
        if side == Side::Client {
            return;
        }
        self.open.reach = if self.client.gapped { at.seen } else { u64::MAX };
        if std::mem::take(&mut self.server.gapped) {
            self.skip_unanswered(cx);
        }
    }

    /// After lost answers: a client that waits for each answer has seen all earlier ones when it
    /// asks, so the latest request sent before this answer is the one it answers.
    fn skip_unanswered(&mut self, cx: &mut Context<'_>) {
        let start = self.server.offset;
        let in_order = |it: &&Waiting<D::Body>| it.key == 0 && it.seen <= start;
        let Some(latest) = self.open.requests.iter().filter(in_order).map(|it| it.seen).max()
        else {
            return;
        };
        let skipped = |it: &Waiting<D::Body>| it.key == 0 && it.seen < latest;
        while let Some(at) = self.open.requests.iter().position(skipped) {
            if let Some(request) = self.open.requests.remove(at) {
                self.alone(cx, &request);
            }
        }
        self.unsure = self.open.requests.iter().filter(|it| it.key == 0).count() > 1;
    }

    /// A request that gets no answer.
    fn alone(&mut self, cx: &mut Context<'_>, request: &Waiting<D::Body>) {
        self.open_bytes = self.open_bytes.saturating_sub(D::weight(&request.body));
        self.row(cx, Some(request), None);
    }

    fn row(
        &self,
        cx: &mut Context<'_>,
        request: Option<&Waiting<D::Body>>,
        response: Option<&Waiting<D::Body>>,
    ) {
        let Some(first) = request.or(response) else { return };
        let both = request.zip(response);
        let occurrence = Occurrence {
            ts: first.times.first,
            duration: both
                .map(|(request, response)| response.times.last - request.times.first)
                .map(|it| it.max(0)),
            request_bytes: request.map_or(0, |it| it.bytes),
            response_bytes: response.map_or(0, |it| it.bytes),
            incomplete: request.is_some_and(|it| it.incomplete)
                || response.is_some_and(|it| it.incomplete),
            seq: *cx.seq,
        };
        *cx.seq += 1;
        let exchange = || Exchange {
            request: request.map(|it| &it.body),
            response: response.map(|it| &it.body),
        };
        let turned = first.turned.then(|| cx.facts.turned());
        let facts = turned.as_ref().unwrap_or(cx.facts);
        if cx.tables.keeps(self.table) {
            let row = match cx.tables.own(self.table) {
                Own::Nothing => None,
                Own::Brief => Some(D::brief(exchange())),
                Own::All => Some(D::record(exchange())),
            };
            let (summary, own) = match row {
                Some((summary, own)) => (summary, Some(own)),
                None => (D::summary(exchange()), None),
            };
            let node = std::sync::Arc::clone(&cx.tables.node);
            let both = facts.both(cx.tables.names.as_deref(), occurrence.ts);
            let envelope = Envelope::new(D::SPOKEN, &node, facts, &both, &occurrence, summary);
            cx.tables.push::<D::Columns>(self.table, envelope, own);
        }
        if cx.tables.keeps_others(self.table) {
            let mut also = Also { tables: &mut *cx.tables, facts, occurrence, seq: &mut *cx.seq };
            D::also(&exchange(), &mut also);
        }
    }
}

impl<D: Dissect> Work for Session<D> {
    fn bytes(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        bytes: &[u8],
        at: Arrival,
    ) -> Result<(), Ended> {
        if self.half(side).held.is_empty() {
            let used = self.run(cx, side, bytes, 0, at)?;
            if let Some(rest) = bytes.get(used..).filter(|it| !it.is_empty()) {
                let half = self.half(side);
                half.held.extend_from_slice(rest);
                half.held_at = at;
            }
        } else {
            let mut held = std::mem::take(&mut self.half(side).held);
            let earlier = held.len();
            held.extend_from_slice(bytes);
            let used = self.run(cx, side, &held, earlier, at)?;
            if used >= earlier {
                self.half(side).held_at = at;
            }
            if used == held.len() {
                held = Vec::new();
            } else {
                held.drain(..used);
            }
            self.half(side).held = held;
        }
        if self.half(side).held.len() > cx.limits.message_bytes {
            let half = self.half(side);
            half.offset += std::mem::take(&mut half.held).len() as u64;
            self.stray(cx, side)?;
        }
        Ok(())
    }

    fn gap(&mut self, cx: &mut Context<'_>, side: Side, missing: u64) -> Result<(), Ended> {
        *cx.lost += 1;
        let half = self.half(side);
        let held = std::mem::take(&mut half.held).len() as u64;
        let under_way = half.begun.map(|begun| (begun, half.last));
        if let Some((begun, last)) = under_way
            && held == 0
            && self.dissector.gap(side, missing).is_ok()
        {
            let half = self.half(side);
            half.offset += missing;
            half.used += missing;
            // The message may end where the gap does.
            let latest = Arrival { ts: last, ..begun };
            let mut nothing = Input::new(&[], cx.datagram, cx.limits).arrived(
                0,
                [latest; 2],
                self.half(side).offset,
            );
            if let Ok(message) = self.dissector.parse(side, &mut nothing, &self.open) {
                self.message(cx, side, message, begun, last);
                self.more(cx, side, begun, last);
            }
            return Ok(());
        }
        let last = self.half(side).last;
        let begun = under_way.map_or(Arrival { ts: last, seen: 0 }, |it| it.0);
        if let Some(message) = self.dissector.cut(side) {
            self.message(cx, side, message.incomplete(true), begun, last);
        }
        let half = self.half(side);
        half.offset += held + missing;
        half.begun = None;
        half.used = 0;
        half.gapped = true;
        half.resync = true;
        Ok(())
    }

    fn end(&mut self, cx: &mut Context<'_>, side: Side) {
        let half = self.half(side);
        let last = half.last;
        let begun = half.begun.unwrap_or(Arrival { ts: last, seen: 0 });
        for _ in 0..MORE {
            let Some(message) = self.dissector.end(side) else { break };
            self.message(cx, side, message, begun, last);
        }
    }

    fn handed(&mut self, note: &str) {
        self.dissector.handed(note);
    }

    fn abandon(&mut self, cx: &mut Context<'_>, before: Option<i64>) {
        let due = |it: &Waiting<D::Body>| before.is_none_or(|before| it.times.last < before);
        let mut at = 0;
        while let Some(request) = self.open.requests.get(at).filter(|it| due(it)) {
            if before.is_some() && self.answering(request) {
                at += 1;
            } else if let Some(request) = self.open.requests.remove(at) {
                self.alone(cx, &request);
            }
        }
        let mut at = 0;
        while let Some(response) = self.early.get(at) {
            let waits = before.is_some() && self.dissector.under_way(Side::Client, response.key);
            if due(response) && !waits {
                let response = self.early.remove(at);
                self.row(cx, None, Some(&response));
            } else {
                at += 1;
            }
        }
    }

    fn held(&self) -> usize {
        let early: usize = self.early.iter().map(|it| D::weight(&it.body)).sum();
        let held = self.client.held.len() + self.server.held.len();
        held + early + self.open_bytes + self.dissector.held()
    }

    fn messages(&self) -> u64 {
        self.messages
    }

    fn since(&self) -> Option<i64> {
        let asked = self.open.requests.iter().map(|it| it.times.first);
        let early = self.early.iter().map(|it| it.times.first);
        let halves = [&self.client, &self.server].into_iter();
        asked.chain(early).chain(halves.filter_map(|it| Some(it.begun?.ts))).min()
    }
}

/// What a protocol does that is never spoken: nothing.
pub(crate) struct Silence;

impl Work for Silence {
    fn bytes(&mut self, _: &mut Context<'_>, _: Side, _: &[u8], _: Arrival) -> Result<(), Ended> {
        Err(Ended::Lost)
    }
    fn gap(&mut self, _: &mut Context<'_>, _: Side, _: u64) -> Result<(), Ended> {
        Err(Ended::Lost)
    }
    fn end(&mut self, _: &mut Context<'_>, _: Side) {}
    fn handed(&mut self, _: &str) {}
    fn abandon(&mut self, _: &mut Context<'_>, _: Option<i64>) {}
    fn held(&self) -> usize {
        0
    }
    fn messages(&self) -> u64 {
        0
    }
    fn since(&self) -> Option<i64> {
        None
    }
}

/// Strays in a row after which a flow is given up: it speaks something else.
const STRAYS: u32 = 16;

/// Messages that may end in one place: more is an attack.
const MORE: usize = 4096;

/// Room for requests that an idle conversation may keep.
const IDLE_BYTES: usize = 1 << 10;
