//! Settles which protocol a flow speaks, by content, and takes it back when that was wrong.
use crate::exchange::Side;
use crate::protocol::{Guess, Head, PROTOCOLS, Protocol, Transport};
use crate::session::{Arrival, Context, Ended, Work};

/// What a flow speaks.
pub(crate) struct Speech {
    state: State,
    /// What was sent before the protocol was sure, to be read again by another.
    early: Vec<Early>,
    early_bytes: usize,
    /// Protocols that were tried, by place in [`PROTOCOLS`].
    tried: u64,
    /// The protocol of the row that the flow gets; stays when the flow goes on to something else.
    name: Option<&'static str>,
    transport: Transport,
    /// How often the bytes said nothing.
    misses: u32,
}

enum State {
    /// Not settled.
    Open,
    /// Settled, perhaps wrongly as long as no message was read.
    Speaking { work: Box<dyn Work>, protocol: usize, sure: bool },
    /// Nothing that we read.
    Silent,
}

enum Early {
    Bytes { side: Side, bytes: Vec<u8>, at: Arrival },
    Gap { side: Side, missing: u64 },
}

impl Speech {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            state: State::Open,
            early: Vec::new(),
            early_bytes: 0,
            tried: 0,
            name: None,
            transport,
            misses: 0,
        }
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Another conversation said what this one speaks.
    pub(crate) fn presume(&mut self, name: &'static str) {
        match PROTOCOLS.iter().position(|it| it.name == name) {
            Some(place) => self.speak(place),
            None => {
                self.name = Some(name);
                self.silence();
            }
        }
    }

    /// Whether nobody listens any more.
    pub(crate) fn silent(&self) -> bool {
        matches!(self.state, State::Silent)
    }

    /// Whether nothing was read yet, so that the sides may still be exchanged.
    pub(crate) fn unsettled(&self) -> bool {
        matches!(self.state, State::Open)
    }

    pub(crate) fn held(&self) -> usize {
        let work = match &self.state {
            State::Speaking { work, .. } => work.held(),
            State::Open | State::Silent => 0,
        };
        work + self.early_bytes
    }

    /// When the oldest exchange began of those that have no row yet.
    pub(crate) fn since(&self) -> Option<i64> {
        let work = match &self.state {
            State::Speaking { work, .. } => work.since(),
            State::Open | State::Silent => None,
        };
        let early = self.early.iter().find_map(|it| match it {
            Early::Bytes { at, .. } => Some(at.ts),
            Early::Gap { .. } => None,
        });
        [work, early].into_iter().flatten().min()
    }

    /// Which side the first bytes say sent them: `None` if they say nothing.
    pub(crate) fn orient(&self, bytes: &[u8], port: u16, other_port: u16) -> Option<Side> {
        let ask = |side, port| {
            let head = Head { bytes, side, transport: self.transport, port };
            PROTOCOLS
                .iter()
                .filter(|it| it.transports.contains(&self.transport))
                .map(|it| rank((it.guess)(&head), it.ports.contains(&port)))
                .max()
                .unwrap_or_default()
        };
        let (client, server) = (ask(Side::Client, other_port), ask(Side::Server, port));
        match client.cmp(&server) {
            std::cmp::Ordering::Greater => Some(Side::Client),
            std::cmp::Ordering::Less => Some(Side::Server),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// Reads what `side` sent next.
    pub(crate) fn bytes(&mut self, cx: &mut Context<'_>, side: Side, bytes: &[u8], at: Arrival) {
        match &mut self.state {
            State::Silent => {}
            State::Speaking { work, sure: true, .. } => {
                if let Err(ended) = work.bytes(cx, side, bytes, at) {
                    self.ended(cx, ended, side, bytes, at);
                }
            }
            State::Speaking { .. } => {
                self.keep_early(cx, Early::Bytes { side, bytes: bytes.to_vec(), at });
                if let State::Speaking { work, sure: true, .. } = &mut self.state {
                    if let Err(ended) = work.bytes(cx, side, bytes, at) {
                        self.ended(cx, ended, side, bytes, at);
                    }
                } else {
                    self.try_work(cx, side, bytes, at);
                }
            }
            State::Open if self.early.is_empty() => match self.settle(cx, side, bytes) {
                Settled::Yes => self.try_first(cx, side, bytes, at),
                Settled::Wait => {
                    self.keep_early(cx, Early::Bytes { side, bytes: bytes.to_vec(), at });
                }
                Settled::No => self.miss(cx),
            },
            State::Open => {
                self.keep_early(cx, Early::Bytes { side, bytes: bytes.to_vec(), at });
                self.settle_early(cx);
            }
        }
    }

    /// `missing` bytes of `side` were not captured.
    pub(crate) fn gap(&mut self, cx: &mut Context<'_>, side: Side, missing: u64) {
        match &mut self.state {
            State::Silent => {}
            State::Open if self.early.is_empty() => {}
            State::Open => self.keep_early(cx, Early::Gap { side, missing }),
            State::Speaking { work, .. } => {
                if work.gap(cx, side, missing).is_err() {
                    self.give_up(cx);
                }
            }
        }
    }

    /// `side` sends no more.
    pub(crate) fn end(&mut self, cx: &mut Context<'_>, side: Side) {
        if let State::Speaking { work, .. } = &mut self.state {
            work.end(cx, side);
        }
    }

    /// Requests that get no answer any more become rows: all, or those sent before a time.
    pub(crate) fn abandon(&mut self, cx: &mut Context<'_>, before: Option<i64>) {
        if let State::Speaking { work, .. } = &mut self.state {
            work.abandon(cx, before);
        }
    }

    /// The first bytes of a protocol just settled on, which nobody has copied yet.
    fn try_first(&mut self, cx: &mut Context<'_>, side: Side, bytes: &[u8], at: Arrival) {
        let State::Speaking { work, sure, .. } = &mut self.state else { return };
        let result = work.bytes(cx, side, bytes, at);
        *sure = work.messages() > 0;
        let is_sure = *sure;
        match result {
            Ok(()) if is_sure => self.confirm(),
            Ok(()) => self.keep_early(cx, Early::Bytes { side, bytes: bytes.to_vec(), at }),
            Err(Ended::Lost) if !is_sure => {
                self.keep_early(cx, Early::Bytes { side, bytes: bytes.to_vec(), at });
                self.retract(cx);
            }
            Err(ended) => self.ended(cx, ended, side, bytes, at),
        }
    }

    /// Bytes of a protocol settled on without a message so far; they were kept.
    fn try_work(&mut self, cx: &mut Context<'_>, side: Side, bytes: &[u8], at: Arrival) {
        let State::Speaking { work, sure, .. } = &mut self.state else { return };
        let result = work.bytes(cx, side, bytes, at);
        *sure = work.messages() > 0;
        match (result, *sure) {
            (Ok(()), true) => self.confirm(),
            (Ok(()), false) => {}
            (Err(Ended::Lost), false) => self.retract(cx),
            (Err(ended), _) => self.ended(cx, ended, side, bytes, at),
        }
    }

    fn ended(&mut self, cx: &mut Context<'_>, ended: Ended, side: Side, bytes: &[u8], at: Arrival) {
        match ended {
            Ended::Lost => self.give_up(cx),
            Ended::Becomes { name, note, left, other } => {
                self.confirm();
                self.abandon(cx, None);
                self.early.clear();
                self.early_bytes = 0;
                let next = PROTOCOLS.iter().position(|it| it.name == name);
                match (next, name) {
                    (Some(place), _) => self.speak(place),
                    // Inside a tunnel anything may come.
                    (None, "") => {
                        self.tried = 0;
                        self.state = State::Open;
                    }
                    (None, _) => self.silence(),
                }
                if let State::Speaking { work, .. } = &mut self.state
                    && !note.is_empty()
                {
                    work.handed(&note);
                }
                // It may have gone on before this side agreed.
                if !other.0.is_empty() {
                    self.bytes(cx, side.other(), &other.0, other.1);
                }
                let from = bytes.len().saturating_sub(left);
                if let Some(rest) = bytes.get(from..).filter(|it| !it.is_empty()) {
                    self.bytes(cx, side, rest, at);
                }
            }
        }
    }

    fn settle(&mut self, cx: &Context<'_>, side: Side, bytes: &[u8]) -> Settled {
        let head = Head { bytes, side, transport: self.transport, port: cx.facts.server.1 };
        let best = PROTOCOLS
            .iter()
            .enumerate()
            .filter(|(place, it)| {
                self.tried & (1 << place) == 0 && it.transports.contains(&self.transport)
            })
            .map(|(place, it)| (place, (it.guess)(&head), it.ports.contains(&head.port)))
            .max_by_key(|(_, guess, port)| rank(*guess, *port));
        let enough = cx.datagram || bytes.len() >= cx.limits.guess_bytes;
        match best {
            Some((place, Guess::Sure, _)) => {
                self.speak(place);
                Settled::Yes
            }
            Some((place, Guess::Maybe, true)) if self.misses == 0 => {
                self.speak(place);
                Settled::Yes
            }
            Some((_, Guess::More | Guess::Maybe, _)) if !enough => Settled::Wait,
            // A datagram that says nothing leaves it to the next one.
            _ if cx.datagram && self.tried == 0 => Settled::Wait,
            _ => Settled::No,
        }
    }

    /// Settles by all that was kept, and reads it.
    fn settle_early(&mut self, cx: &mut Context<'_>) {
        let mut heads: [(Side, Vec<u8>); 2] =
            [(Side::Client, Vec::new()), (Side::Server, Vec::new())];
        let mut order = Vec::with_capacity(2);
        for it in &self.early {
            if let Early::Bytes { side, bytes, .. } = it {
                let place = usize::from(*side == Side::Server);
                if !order.contains(&place) {
                    order.push(place);
                } else if cx.datagram {
                    // Of datagrams, the latest is looked at.
                    if let Some(head) = heads.get_mut(place) {
                        head.1.clear();
                    }
                }
                if let Some(head) = heads.get_mut(place) {
                    head.1.extend_from_slice(bytes);
                }
            }
        }
        let mut outcome = Settled::No;
        for place in order {
            let Some((side, bytes)) = heads.get(place) else { continue };
            match self.settle(cx, *side, bytes) {
                Settled::Yes => {
                    outcome = Settled::Yes;
                    break;
                }
                Settled::Wait => outcome = Settled::Wait,
                Settled::No => {}
            }
        }
        match outcome {
            Settled::Yes => self.replay(cx),
            Settled::Wait if self.settle_last(cx) => self.replay(cx),
            Settled::Wait => {}
            Settled::No => self.miss(cx),
        }
    }

    /// Weak evidence must not hide strong evidence: if what came last leaves no doubt, what came
    /// before was something else.
    fn settle_last(&mut self, cx: &Context<'_>) -> bool {
        let Some(Early::Bytes { side, bytes, .. }) = self.early.last() else { return false };
        if cx.datagram || self.early.len() < 2 {
            return false;
        }
        let head = Head { bytes, side: *side, transport: self.transport, port: cx.facts.server.1 };
        let fits = |it: &Protocol| it.transports.contains(&self.transport);
        let sure = |it: &Protocol| fits(it) && (it.guess)(&head) == Guess::Sure;
        let Some(place) = PROTOCOLS.iter().position(sure) else { return false };
        self.early_bytes = bytes.len();
        self.early.drain(..self.early.len() - 1);
        self.tried = 0;
        self.speak(place);
        true
    }

    /// These bytes say nothing. The capture may have begun in the middle of a message, or something
    /// else was spoken first, such as a proxy's handshake: what came last, or comes next, may say
    /// more.
    fn miss(&mut self, cx: &mut Context<'_>) {
        let last = self.early.pop();
        let alone = self.early.is_empty();
        self.early = Vec::new();
        self.early_bytes = 0;
        self.tried = 0;
        self.misses += 1;
        if cx.datagram || self.misses > MISSES {
            self.silence();
        } else if let Some(last @ Early::Bytes { .. }) = last
            && !alone
        {
            self.keep_early(cx, last);
            self.settle_early(cx);
        }
    }

    /// Reads again what was kept, by the protocol just settled on.
    fn replay(&mut self, cx: &mut Context<'_>) {
        let early = std::mem::take(&mut self.early);
        for (place, it) in early.iter().enumerate() {
            let State::Speaking { work, sure, .. } = &mut self.state else { return };
            let result = match it {
                Early::Bytes { side, bytes, at } => work.bytes(cx, *side, bytes, *at),
                Early::Gap { side, missing } => work.gap(cx, *side, *missing),
            };
            *sure |= work.messages() > 0;
            match (result, *sure, it) {
                (Ok(()), ..) => {}
                (Err(Ended::Lost), false, _) => {
                    self.early = early;
                    return self.retract(cx);
                }
                (Err(ended), _, Early::Bytes { side, bytes, at }) => {
                    self.early_bytes = 0;
                    self.ended(cx, ended, *side, bytes, *at);
                    for it in early.get(place + 1..).unwrap_or_default() {
                        match it {
                            Early::Bytes { side, bytes, at } => self.bytes(cx, *side, bytes, *at),
                            Early::Gap { side, missing } => self.gap(cx, *side, *missing),
                        }
                    }
                    return;
                }
                (Err(_), ..) => return self.give_up(cx),
            }
        }
        self.early = early;
        if matches!(self.state, State::Speaking { sure: true, .. }) {
            self.confirm();
        }
    }

    /// The guess was wrong: another protocol may try.
    fn retract(&mut self, cx: &mut Context<'_>) {
        if let State::Speaking { protocol, .. } = self.state {
            self.tried |= 1 << protocol;
        }
        self.state = State::Open;
        self.name = None;
        self.settle_early(cx);
    }

    fn speak(&mut self, place: usize) {
        let Some(protocol) = PROTOCOLS.get(place) else { return };
        let Protocol { name, open, .. } = protocol;
        self.name = Some(name);
        self.state = State::Speaking { work: open(place), protocol: place, sure: false };
    }

    fn confirm(&mut self) {
        if let State::Speaking { sure, .. } = &mut self.state {
            *sure = true;
        }
        self.early = Vec::new();
        self.early_bytes = 0;
    }

    fn keep_early(&mut self, cx: &Context<'_>, it: Early) {
        if let Early::Bytes { bytes, .. } = &it {
            self.early_bytes += bytes.len();
        }
        self.early.push(it);
        // From here on, a wrong guess is not taken back any more.
        let bound = 4 * cx.limits.guess_bytes;
        if self.early_bytes > bound || self.early.len() > EARLY_PIECES {
            match self.state {
                State::Speaking { .. } => self.confirm(),
                State::Open | State::Silent => self.silence(),
            }
        }
    }

    fn give_up(&mut self, cx: &mut Context<'_>) {
        self.abandon(cx, None);
        if matches!(self.state, State::Speaking { sure: false, .. }) {
            self.name = None;
        }
        self.silence();
    }

    fn silence(&mut self) {
        self.early = Vec::new();
        self.early_bytes = 0;
        self.state = State::Silent;
    }
}

enum Settled {
    Yes,
    Wait,
    No,
}

/// Sure beats all; a known port lifts weak evidence above waiting for more.
fn rank(guess: Guess, known_port: bool) -> u8 {
    match (guess, known_port) {
        (Guess::No, _) => 0,
        (Guess::Maybe, false) => 1,
        (Guess::More, false) => 2,
        (Guess::More, true) => 3,
        (Guess::Maybe, true) => 4,
        (Guess::Sure, false) => 5,
        (Guess::Sure, true) => 6,
    }
}

/// Pieces without a sign of any protocol after which a flow is given up.
const MISSES: u32 = 16;

/// Pieces kept while a protocol is not sure; a handshake byte by byte has no more.
const EARLY_PIECES: usize = 4096;
