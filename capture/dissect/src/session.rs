//! A protocol at work on one flow: finds messages in bytes, pairs them, writes rows.
use crate::envelope::{Envelope, Facts, Occurrence};
use crate::exchange::{Exchange, Message, Open, Role, Side, Times, Waiting};
use crate::input::{Input, Stop};
use crate::limits::Limits;
use crate::protocol::Dissect;
use crate::tables::Tables;

/// What a session works with and does not own.
pub(crate) struct Context<'a> {
    pub(crate) tables: &'a mut Tables,
    pub(crate) facts: &'a Facts,
    pub(crate) limits: &'a Limits,
    pub(crate) seq: &'a mut u64,
    pub(crate) datagram: bool,
    /// Places where bytes made no sense or were missed.
    pub(crate) lost: &'a mut u64,
}

/// When bytes were captured, and up to where their sender had seen the other side's stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) ts: i64,
    pub(crate) seen: u64,
}

/// How the session ended.
pub(crate) enum Ended {
    /// The bytes are not this protocol. If no message came before, another may try.
    Lost,
    /// The flow speaks something else from here: its name, and how many of the bytes are left.
    Becomes { name: &'static str, left: usize },
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
    /// Writes rows for requests that get no answer any more: all, or those sent before a time.
    fn abandon(&mut self, cx: &mut Context<'_>, before: Option<i64>);
    /// About how many bytes wait here.
    fn held(&self) -> usize;
    /// How many messages were read.
    fn messages(&self) -> u64;
}

/// One protocol on one flow.
pub(crate) struct Session<D: Dissect> {
    dissector: D,
    client: Half,
    server: Half,
    open: Open<D::Body>,
    open_bytes: usize,
    /// An answer that came before its request had ended, as HTTP allows.
    early: Option<Waiting<D::Body>>,
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
            early: None,
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
        at: Arrival,
    ) -> Result<usize, Ended> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|it| !it.is_empty()) {
            let mut input = Input::new(rest, cx.datagram, cx.limits);
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
                Ok(message) if used == 0 && half.used == 0 => {
                    // A message of nothing would come again and again.
                    drop(message);
                    self.stray(cx, side)?;
                }
                Ok(message) => {
                    let becomes = message.becomes;
                    self.message(cx, side, message, begun, at.ts);
                    if let Some(name) = becomes {
                        return Err(Ended::Becomes { name, left: bytes.len() - done });
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
        let half = self.half(side);
        half.begun = None;
        let bytes = std::mem::take(&mut half.used);
        let it = Waiting {
            key: message.key,
            side,
            body: message.body,
            times: Times { first: begun.ts, last },
            bytes,
            incomplete: message.incomplete,
            start: half.offset.saturating_sub(bytes),
            seen: begun.seen,
        };
        match message.role {
            Role::Request => self.ask(cx, it),
            Role::Response => self.answer(cx, it),
            Role::Notice if side == Side::Client || message.as_client => {
                self.row(cx, Some(&it), None)
            }
            Role::Notice => self.row(cx, None, Some(&it)),
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>, request: Waiting<D::Body>) {
        if let Some(response) = self.early.take() {
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
    }

    fn answer(&mut self, cx: &mut Context<'_>, response: Waiting<D::Body>) {
        match self.open.take(response.key) {
            Some(request) => {
                self.open_bytes = self.open_bytes.saturating_sub(D::weight(&request.body));
                let response =
                    Waiting { incomplete: response.incomplete || self.unsure, ..response };
                self.row(cx, Some(&request), Some(&response));
            }
            None if self.asking(&response) => self.early = Some(response),
            None => self.row(cx, None, Some(&response)),
        }
        if self.open.is_empty() {
            self.client.gapped = false;
            self.unsure = false;
        }
    }

    /// Whether the answer belongs to the request under way, of which a part was read.
    fn asking(&self, response: &Waiting<D::Body>) -> bool {
        let under_way = self.client.begun.is_some() && self.client.used > 0;
        under_way && response.key == 0 && self.early.is_none() && !self.client.gapped
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
        let exchange =
            Exchange { request: request.map(|it| &it.body), response: response.map(|it| &it.body) };
        let (summary, own) = D::record(exchange);
        let node = std::sync::Arc::clone(&cx.tables.node);
        // Whoever asks is the client, whichever side opened the conversation.
        let asker = request.map_or_else(|| first.side.other(), |it| it.side);
        let turned = (asker == Side::Server).then(|| cx.facts.turned());
        let facts = turned.as_ref().unwrap_or(cx.facts);
        let envelope = Envelope::new(D::NAME, &node, facts, &occurrence, summary);
        cx.tables.push::<D::Columns>(self.table, envelope, own);
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
            let used = self.run(cx, side, bytes, at)?;
            if let Some(rest) = bytes.get(used..).filter(|it| !it.is_empty()) {
                self.half(side).held.extend_from_slice(rest);
            }
        } else {
            let mut held = std::mem::take(&mut self.half(side).held);
            held.extend_from_slice(bytes);
            let used = self.run(cx, side, &held, at)?;
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
        if let Some((begun, last)) = under_way {
            if held == 0 && self.dissector.gap(side, missing).is_ok() {
                let half = self.half(side);
                half.offset += missing;
                half.used += missing;
                // The message may end where the gap does.
                let mut nothing = Input::new(&[], cx.datagram, cx.limits);
                if let Ok(message) = self.dissector.parse(side, &mut nothing, &self.open) {
                    self.message(cx, side, message, begun, last);
                }
                return Ok(());
            }
            if let Some(message) = self.dissector.end(side) {
                self.message(cx, side, message.incomplete(true), begun, last);
            }
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
        let Some(begun) = half.begun else { return };
        let last = half.last;
        if let Some(message) = self.dissector.end(side) {
            self.message(cx, side, message, begun, last);
        }
    }

    fn abandon(&mut self, cx: &mut Context<'_>, before: Option<i64>) {
        let due = |it: &Waiting<D::Body>| before.is_none_or(|before| it.times.last < before);
        while self.open.requests.front().is_some_and(due) {
            if let Some(request) = self.open.requests.pop_front() {
                self.alone(cx, &request);
            }
        }
        if let Some(response) = self.early.take_if(|it| due(it)) {
            self.row(cx, None, Some(&response));
        }
    }

    fn held(&self) -> usize {
        let early = self.early.as_ref().map_or(0, |it| D::weight(&it.body));
        let held = self.client.held.len() + self.server.held.len();
        held + early + self.open_bytes + self.dissector.held()
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}

/// Strays in a row after which a flow is given up: it speaks something else.
const STRAYS: u32 = 16;
