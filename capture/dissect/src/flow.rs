//! One conversation, and the table of those that are alive.
use std::hash::{Hash, Hasher};

use hashbrown::HashMap;

use crate::association::Association;
use crate::carrier::Outer;
use crate::connection::{Known, Metrics, State, Wrapping};
use crate::envelope::Facts;
use crate::exchange::{Learned, Side};
use crate::expected::{Announcement, Expected};
use crate::limits::Limits;
use crate::packet::{Datagram, Ends, Ip, Tcp};
use crate::plaintext::{
    Acting, Actor, FIRST_SEQ, Fits, Owned, Plain, Plaintext, Shaken, client, sender,
};
use crate::protocol::{Decryption, PROTOCOLS, Said, Secrets, Transport};
use crate::session::{Arrival, Context};
use crate::speech::Speech;
use crate::stream::{Since, Stream};
use crate::tables::Tables;
use schema::FlowId;

/// A conversation's two ends, in an order that does not depend on the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    low: (Ip, u16),
    high: (Ip, u16),
    transport: Transport,
}

/// In five words instead of a field at a time: it is done for every packet.
impl Hash for Key {
    fn hash<H: Hasher>(&self, to: &mut H) {
        for ip in [self.low.0, self.high.0] {
            let ip = u128::from_ne_bytes(ip);
            to.write_u64((ip >> 64) as u64);
            #[allow(clippy::cast_possible_truncation, reason = "its lower half")]
            to.write_u64(ip as u64);
        }
        let ports = u64::from(self.low.1) << 32 | u64::from(self.high.1) << 16;
        to.write_u64(ports | self.transport as u64);
    }
}

impl Key {
    /// Both ends; a direction of 0 comes from the first.
    pub(crate) fn ends(&self) -> [(Ip, u16); 2] {
        [self.low, self.high]
    }

    /// The key, and the direction of a packet: 0 from the low end to the high one, or 1.
    pub(crate) fn of(ends: &Ends, transport: Transport) -> (Self, usize) {
        if ends.source <= ends.destination {
            (Self { low: ends.source, high: ends.destination, transport }, 0)
        } else {
            (Self { low: ends.destination, high: ends.source, transport }, 1)
        }
    }

    fn end(&self, way: usize) -> (Ip, u16) {
        if way == 0 { self.low } else { self.high }
    }
}

/// One conversation between a client and a server.
pub(crate) struct Flow {
    pub(crate) key: Key,
    facts: Facts,
    /// The direction in which the client sends.
    client: usize,
    /// Whether a handshake said so.
    known_client: bool,
    streams: [Stream; 2],
    speech: Speech,
    seq: u64,
    /// Of rows of its plaintext.
    plain_seq: u64,
    metrics: Metrics,
    packets: u64,
    pub(crate) last: i64,
    /// What its first packet was wrapped in, and that packet's direction.
    outer: (Outer, usize),
    /// What messages told of it, and who announced it.
    about: About,
    /// Of SCTP: what tells its chunks apart.
    association: Option<Box<Association>>,
    /// What opens what it says within TLS.
    decryption: Option<Box<Decryption>>,
    /// What is read within TLS: in its processes' libraries, or opened of its packets.
    plain: Option<Box<(Plain, Facts)>>,
    /// Its processes, by the direction in which they send.
    processes: [Option<Acting>; 2],
    /// Since when it is over, and how.
    closing: Option<(i64, State)>,
    pub(crate) held: usize,
    pub(crate) list: List,
    older: u32,
    newer: u32,
}

/// What is known of a conversation from its messages.
#[derive(Default)]
struct About {
    learned: Vec<Learned>,
    server_name: Option<Box<str>>,
    alpn: Option<Box<str>>,
    encrypted: bool,
    /// A TLS handshake was seen in its packets.
    shaken: bool,
    /// What is spoken within TLS.
    within: Option<&'static str>,
    parent: Option<FlowId>,
}

/// What flows work with.
pub(crate) struct Shared<'a> {
    pub(crate) tables: &'a mut Tables,
    pub(crate) limits: &'a Limits,
    pub(crate) tally: &'a mut Tally,
    pub(crate) expected: &'a mut Expected,
    pub(crate) secrets: &'a Secrets,
    pub(crate) shaken: &'a mut Shaken,
    /// Whether protocols are read, or only connections.
    pub(crate) protocols: bool,
    pub(crate) connections: bool,
}

/// What went missing, since the ledger was last written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) gaps: u64,
    pub(crate) gap_bytes: u64,
    pub(crate) strays: u64,
    pub(crate) evicted: u64,
    pub(crate) fragments: u64,
    pub(crate) malformed: u64,
}

impl Flow {
    /// Boxed where it is made: it is large, and moves from hand to hand.
    pub(crate) fn new(key: Key, way: usize, ts: i64, syn: Option<bool>, outer: Outer) -> Box<Self> {
        let transport = key.transport;
        let client = match syn {
            Some(is_answer) => {
                if is_answer {
                    1 - way
                } else {
                    way
                }
            }
            None => likely_client(&key, way),
        };
        let mut flow = Box::new(Self {
            key,
            facts: Facts {
                id: flow_id(&key, ts),
                client: (String::new(), 0),
                server: (String::new(), 0),
                asked: std::cell::RefCell::default(),
                processes: (None, None),
                plaintext: false,
            },
            client,
            known_client: syn.is_some(),
            streams: [Stream::default(), Stream::default()],
            speech: Speech::new(transport),
            seq: 0,
            plain_seq: FIRST_SEQ,
            metrics: Metrics::default(),
            packets: 0,
            last: ts,
            outer: (outer, way),
            about: About::default(),
            association: (transport == Transport::Sctp).then(Box::default),
            decryption: None,
            plain: None,
            processes: [None, None],
            closing: None,
            held: 0,
            list: List::of(transport),
            older: NONE,
            newer: NONE,
        });
        flow.name_ends();
        flow
    }

    pub(crate) fn id(&self) -> &FlowId {
        &self.facts.id
    }

    /// Gives it the name it got when its packets were captured. Where that was not at `ts`, it is
    /// read from its middle.
    pub(crate) fn rename(&mut self, id: FlowId, ts: i64) {
        if std::mem::replace(&mut self.facts.id, id) != id {
            self.resume(ts);
        }
    }

    /// Its exchanges are read from `ts` on, and not from its beginning. They are numbered by the
    /// nanoseconds since then, so that those of several readings have numbers of their own.
    pub(crate) fn resume(&mut self, ts: i64) {
        let since = ts.saturating_sub(self.facts.id.began()).max(0).cast_unsigned();
        self.seq = self.seq.max(since);
    }

    /// When the oldest exchange began of those that have no row yet.
    fn since(&self) -> Option<i64> {
        let plain = self.plain.as_ref().and_then(|it| it.0.speech.since());
        [self.speech.since(), plain].into_iter().flatten().min()
    }

    /// Forgets what its protocol held; its plaintext is read on.
    pub(crate) fn mute(&mut self) {
        self.speech = Speech::new(self.key.transport);
        self.association = (self.key.transport == Transport::Sctp).then(Box::default);
        self.weigh();
    }

    fn name_ends(&mut self) {
        let text =
            |(ip, port): (Ip, u16)| (std::net::Ipv6Addr::from(ip).to_canonical().to_string(), port);
        self.facts.asked = std::cell::RefCell::default();
        self.facts.client = text(self.key.end(self.client));
        self.facts.server = text(self.key.end(1 - self.client));
        self.name_processes();
    }

    fn name_processes(&mut self) {
        let process = |way: usize| self.processes.get(way).cloned().flatten();
        self.facts.processes = (process(self.client), process(1 - self.client));
        if let Some(plain) = &mut self.plain {
            plain.1 = Facts { plaintext: true, ..self.facts.clone() };
        }
    }

    /// The processes that shook hands in its packets.
    pub(crate) fn shaken(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().flatten().map(|it| it.pid).filter(|_| self.about.shaken)
    }

    /// The process that sends in direction `way`, and which side it is.
    pub(crate) fn own(&mut self, way: usize, process: Actor<'_>, client: Option<usize>) {
        if let Some(client) = client.filter(|_| !self.known_client) {
            self.known_client = true;
            if self.client != client {
                self.client = client;
                self.name_ends();
            }
        }
        if let Some(known) = self.processes.get_mut(way)
            && known.as_ref().map(Acting::get) != Some(process)
        {
            *known = Some(process.into());
            self.name_processes();
        }
    }

    /// What was told of it before its first packet.
    pub(crate) fn owned(&mut self, it: Owned) {
        for (way, process) in it.processes.iter().enumerate() {
            if let Some(process) = process {
                self.own(way, process.get(), it.client);
            }
        }
    }

    /// Whether it is over, so that what comes now belongs to another one between the same ends.
    fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether it was over by then, so that what a process did then was about another one. What is told of the last packet
    /// comes a moment after it.
    pub(crate) fn is_over_at(&self, ts: i64) -> bool {
        self.closing.is_some_and(|(end, _)| ts.saturating_sub(end) > MOMENT)
    }

    /// Whether all that is known of it was read in processes.
    pub(crate) fn is_without_packets(&self) -> bool {
        self.packets == 0
    }

    /// Whose it is, for a conversation that takes its place, of which the low end may be the high one here.
    pub(crate) fn owners(&self, ts: i64, turned: bool) -> Owned {
        let mut processes = self.processes.clone();
        if turned {
            processes.reverse();
        }
        Owned { ts, processes, client: None }
    }

    /// Whether something of it was read in processes.
    pub(crate) fn is_read_in_processes(&self) -> bool {
        self.plain.is_some()
    }

    /// Before its first packet, where there was something else before: what that packet is wrapped in.
    pub(crate) fn wrap(&mut self, outer: Outer, way: usize) {
        if self.packets == 0 {
            self.outer = (outer, way);
        }
    }

    /// Whether a piece of plaintext begins another conversation between the same ends.
    pub(crate) fn is_over_for(&self, way: usize, it: &Plaintext<'_>) -> bool {
        let Some(plain) = &self.plain else { return false };
        let anew = matches!(plain.0.fits(way, it), Fits::Anew);
        anew && (self.is_without_packets() || self.is_closing())
    }

    /// Reads what the process that sends in direction `way` gave to its TLS library, or got from it.
    pub(crate) fn plaintext(&mut self, shared: &mut Shared<'_>, way: usize, it: &Plaintext<'_>) {
        self.last = self.last.max(it.ts);
        self.about.encrypted = true;
        self.own(way, it.process, client(way, it.side));
        if self.packets == 0 {
            self.metrics.without_packets(it.ts);
        }
        // Whatever becomes of packets: they can be read again, and this can't.
        self.read_plaintext(shared, way, it);
        self.learn(shared, it.ts);
        self.report(shared, it.ts);
    }

    fn read_plaintext(&mut self, shared: &mut Shared<'_>, way: usize, it: &Plaintext<'_>) {
        let known = self.plain.as_ref().map(|plain| plain.0.fits(way, it));
        let (missing, known) = match known {
            Some(Fits::Yes { missing, known }) => (missing, known),
            Some(Fits::No) => return,
            Some(Fits::Anew) | None => {
                self.end_plaintext(shared);
                let facts = Facts { plaintext: true, ..self.facts.clone() };
                self.plain = Some(Box::new((Plain::new(way, it), facts)));
                (0, 0)
            }
        };
        let sender = sender(way, it);
        self.orient_plaintext(sender, it.bytes);
        let side = self.side(sender);
        let data = it.bytes.get(known..).unwrap_or_default();
        if missing > 0 {
            shared.tally.gaps += 1;
            shared.tally.gap_bytes += missing;
        }
        let Some((mut cx, plain)) = self.plain_context(shared) else { return };
        let at = Arrival { ts: it.ts, seen: plain.read(sender, it) };
        if missing > 0 {
            plain.speech.gap(&mut cx, side, missing);
        }
        if !data.is_empty() {
            plain.speech.bytes(&mut cx, side, data, at);
        }
    }

    /// Who speaks like a client, where nobody saw who called.
    fn orient_plaintext(&mut self, sender: usize, bytes: &[u8]) {
        let unsettled = self.plain.as_ref().filter(|it| it.0.speech.unsettled());
        let Some(plain) = unsettled.filter(|_| !self.known_client) else { return };
        let (port, other) = (self.key.end(sender).1, self.key.end(1 - sender).1);
        if let Some(client) = client(sender, plain.0.speech.orient(bytes, port, other)) {
            self.known_client = true;
            self.client = client;
            self.name_ends();
        }
    }

    fn plain_context<'a>(
        &'a mut self,
        shared: &'a mut Shared<'_>,
    ) -> Option<(Context<'a>, &'a mut Plain)> {
        let (plain, facts) = &mut **self.plain.as_mut()?;
        let cx = Context {
            tables: shared.tables,
            facts,
            limits: shared.limits,
            seq: &mut self.plain_seq,
            datagram: false,
            lost: &mut shared.tally.strays,
            learned: &mut self.about.learned,
        };
        Some((cx, plain))
    }

    /// Its TLS session is over: what was held of it becomes rows.
    fn end_plaintext(&mut self, shared: &mut Shared<'_>) {
        let sides = [self.side(0), self.side(1)];
        if let Some((mut cx, plain)) = self.plain_context(shared) {
            for side in sides {
                plain.speech.end(&mut cx, side);
            }
            plain.speech.abandon(&mut cx, None);
        }
        if let Some(plain) = self.plain.take() {
            self.about.within = plain.0.speech.name().or(self.about.within);
        }
    }

    /// The process that sends in direction `way` has closed its socket.
    pub(crate) fn closed(&mut self, shared: &mut Shared<'_>, way: usize, ts: i64) {
        if self.plain.as_ref().is_some_and(|it| it.0.is_observed_from(way)) {
            self.end_plaintext(shared);
        }
        if self.packets == 0 {
            self.last = self.last.max(ts);
            self.closing.get_or_insert((ts, State::Closed));
            self.list = List::Closing;
        }
        self.weigh();
    }

    fn side(&self, way: usize) -> Side {
        if way == self.client { Side::Client } else { Side::Server }
    }

    fn context<'a>(&'a mut self, shared: &'a mut Shared<'_>) -> (Context<'a>, &'a mut Speech) {
        let cx = Context {
            tables: shared.tables,
            facts: &self.facts,
            limits: shared.limits,
            seq: &mut self.seq,
            datagram: self.key.transport.is_datagram(),
            lost: &mut shared.tally.strays,
            learned: &mut self.about.learned,
        };
        (cx, &mut self.speech)
    }

    fn count(&mut self, ts: i64) -> Since {
        self.packets += 1;
        self.last = self.last.max(ts);
        Since { ts, packet: self.packets }
    }

    /// Before the first bytes are read: who speaks like a client, where no handshake told.
    fn orient(&mut self, way: usize, bytes: &[u8]) {
        if self.known_client || !self.speech.unsettled() || bytes.is_empty() {
            return;
        }
        let (port, other) = (self.key.end(way).1, self.key.end(1 - way).1);
        let client = match self.speech.orient(bytes, port, other) {
            Some(Side::Client) => way,
            Some(Side::Server) => 1 - way,
            None => return,
        };
        self.known_client = true;
        if client != self.client {
            self.client = client;
            self.name_ends();
        }
    }

    pub(crate) fn datagram(
        &mut self,
        shared: &mut Shared<'_>,
        way: usize,
        ts: i64,
        it: &Datagram<'_>,
    ) {
        self.count(ts);
        self.metrics.datagram(way, ts, it.sent);
        if let Some(association) = self.association.take().filter(|_| shared.protocols) {
            self.chunks(shared, way, ts, it.payload, association);
        } else if shared.protocols && !self.speech.silent() {
            self.unit(shared, way, ts, it.payload);
        }
        self.learn(shared, ts);
        self.report(shared, ts);
    }

    /// A datagram's payload, or a message that SCTP carried.
    fn unit(&mut self, shared: &mut Shared<'_>, way: usize, ts: i64, payload: &[u8]) {
        self.orient(way, payload);
        let side = self.side(way);
        let due = ts.saturating_sub(shared.limits.answer);
        let (mut cx, speech) = self.context(shared);
        speech.bytes(&mut cx, side, payload, Arrival { ts, seen: 0 });
        speech.abandon(&mut cx, Some(due));
    }

    /// An SCTP packet: its chunks are rows, the messages in them are read like datagrams.
    fn chunks(
        &mut self,
        shared: &mut Shared<'_>,
        way: usize,
        ts: i64,
        payload: &[u8],
        mut association: Box<Association>,
    ) {
        if let Some(opens) = association.opens(payload)
            && self.speech.unsettled()
            && !self.known_client
        {
            self.known_client = true;
            self.client = if opens { way } else { 1 - way };
            self.name_ends();
        }
        let side = self.side(way);
        let (mut cx, _) = self.context(shared);
        association.rows(&mut cx, side, payload, Arrival { ts, seen: 0 });
        let limit = shared.limits.message_bytes;
        association.messages(way, payload, limit, |message| {
            if !self.speech.silent() {
                self.unit(shared, way, ts, message);
            }
        });
        self.association = Some(association);
    }

    /// Whether a SYN begins another conversation between the same ends.
    pub(crate) fn is_reused(&self, way: usize, it: &Tcp<'_>) -> bool {
        if !it.syn {
            return false;
        }
        let known = self
            .streams
            .get(way)
            .is_some_and(|stream| stream.begins_at(it.seq.wrapping_add(1)) || !stream.started());
        match it.ack {
            None => !known || (self.closing.is_some() && !self.begins(way, it)),
            // The answer to a SYN that we have seen belongs to it, whatever else it says.
            Some(_) => !known && self.closing.is_some(),
        }
    }

    fn begins(&self, way: usize, it: &Tcp<'_>) -> bool {
        self.streams.get(way).is_some_and(|stream| stream.begins_at(it.seq.wrapping_add(1)))
    }

    pub(crate) fn segment(&mut self, shared: &mut Shared<'_>, way: usize, ts: i64, it: &Tcp<'_>) {
        let now = self.count(ts);
        let first_seq = it.seq.wrapping_add(u32::from(it.syn));
        let Some(stream) = self.streams.get_mut(way) else { return };
        // A bare acknowledgement or a probe may lie before what comes next.
        if it.syn || it.sent > 0 || it.fin {
            stream.start(first_seq);
        }
        let offset = stream.offset(first_seq).unwrap_or(0);
        let end = offset.saturating_add_unsigned(it.sent as u64);
        let next = stream.next;
        let new = end > 0 && end.cast_unsigned() > next;
        if shared.connections {
            self.metrics.segment(way, ts, it, new);
        } else {
            self.metrics.begin(ts);
        }
        if it.fin && end >= 0 {
            stream.end.get_or_insert_with(|| end.cast_unsigned());
        }
        let seen = self.acknowledge(way, it.ack, now);
        let at = Arrival { ts, seen };
        if new && self.packets == 1 {
            self.orient(way, it.payload);
        }
        if new {
            self.payload(shared, way, offset, it, at, now);
        }
        self.settle_holes(shared, now, false);
        if it.rst || (it.fin && self.closing.is_none()) || self.is_ended() {
            self.close(it.rst, ts);
        }
        self.learn(shared, ts);
        self.report(shared, ts);
    }

    /// Notes what `way` has seen of the other side; where that is in the other side's stream.
    fn acknowledge(&mut self, way: usize, ack: Option<u32>, now: Since) -> u64 {
        let Some(other) = self.streams.get_mut(1 - way) else { return 0 };
        let seen = ack.and_then(|ack| other.offset(ack)).unwrap_or(0).max(0).cast_unsigned();
        // A stray or forged number would make us wait for what was never sent.
        if seen < other.next.saturating_add(MAX_WINDOW) {
            other.acknowledge(seen, now);
            seen.min(other.end.unwrap_or(u64::MAX))
        } else {
            other.next
        }
    }

    fn payload(
        &mut self,
        shared: &mut Shared<'_>,
        way: usize,
        offset: i64,
        it: &Tcp<'_>,
        at: Arrival,
        now: Since,
    ) {
        let other = self.other_next(1 - way);
        let is_read = self.is_read(shared);
        let Some(stream) = self.streams.get_mut(way) else { return };
        let skip = stream.next.saturating_sub(offset.max(0).cast_unsigned())
            + offset.min(0).unsigned_abs();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let data = it.payload.get(skip..).unwrap_or_default();
        let sent = it.sent.saturating_sub(skip);
        let start = offset.max(0).cast_unsigned().max(stream.next);
        let waits = other.is_some_and(|next| at.seen > next);
        self.metrics.goodput += sent as u64;
        if start == stream.next && stream.idle() && !waits {
            stream.advance(start + sent as u64);
            self.hand_on(shared, way, data, sent, at);
            self.drain(shared);
        } else if is_read {
            stream.hold(start, data, sent, at, now);
            self.drain(shared);
        } else {
            // Nobody reads on: only the end of it matters.
            stream.advance(stream.next.max(start + sent as u64));
        }
    }

    /// Whether anybody reads on.
    fn is_read(&self, shared: &Shared<'_>) -> bool {
        (shared.protocols && !self.speech.silent()) || self.is_opened(shared)
    }

    /// Whether what it says within TLS may be opened.
    fn is_opened(&self, shared: &Shared<'_>) -> bool {
        let is_closed = self.decryption.as_ref().is_some_and(|it| it.is_closed());
        let is_others = self.plain.as_ref().is_some_and(|it| !it.0.is_opened());
        !shared.secrets.is_empty()
            && !is_closed
            && !is_others
            && self.key.transport == Transport::Tcp
    }

    /// Opens what `way` sent next, if it is TLS and its secrets are known.
    fn open(&mut self, shared: &mut Shared<'_>, way: usize, data: &[u8], missing: u64, ts: i64) {
        if !self.is_opened(shared) {
            return;
        }
        let mut decryption = self.decryption.take().unwrap_or_default();
        let secrets = shared.secrets;
        if !data.is_empty() {
            let mut hear = |way, said: Said<'_>| self.opened(shared, way, said, ts);
            decryption.bytes(secrets, way, data, &mut hear);
        }
        if missing > 0 {
            decryption.gap(way, missing);
        }
        self.decryption = Some(decryption);
    }

    /// Reads what `way` said within TLS.
    fn opened(&mut self, shared: &mut Shared<'_>, way: usize, said: Said<'_>, ts: i64) {
        let (data, missing) = match said {
            Said::Alpn(name) => {
                self.about.alpn = Some(String::from_utf8_lossy(name).into());
                return;
            }
            Said::Bytes(data) => (data, 0),
            Said::Missing(missing) => (&[][..], missing),
        };
        if self.plain.is_none() {
            let facts = Facts { plaintext: true, ..self.facts.clone() };
            self.plain = Some(Box::new((Plain::opened(), facts)));
        }
        self.orient_plaintext(way, data);
        let side = self.side(way);
        let Some((mut cx, plain)) = self.plain_context(shared) else { return };
        let seen = plain.advance(way, data.len() as u64 + missing);
        if missing > 0 {
            plain.speech.gap(&mut cx, side, missing);
        }
        if !data.is_empty() {
            plain.speech.bytes(&mut cx, side, data, Arrival { ts, seen });
        }
    }

    /// How far a direction was handed on, if it is seen at all.
    fn other_next(&self, way: usize) -> Option<u64> {
        self.streams.get(way).filter(|it| it.started()).map(|it| it.next)
    }

    fn hand_on(
        &mut self,
        shared: &mut Shared<'_>,
        way: usize,
        data: &[u8],
        sent: usize,
        at: Arrival,
    ) {
        let silent = !shared.protocols || self.speech.silent();
        if !silent && self.streams.iter().all(|it| it.next <= sent as u64) {
            self.orient(way, data);
        }
        let side = self.side(way);
        if !silent {
            let (mut cx, speech) = self.context(shared);
            if !data.is_empty() {
                speech.bytes(&mut cx, side, data, at);
            }
            if sent > data.len() {
                speech.gap(&mut cx, side, (sent - data.len()) as u64);
            }
        }
        self.open(shared, way, data, sent.saturating_sub(data.len()) as u64, at.ts);
        if sent > data.len() {
            let missing = (sent - data.len()) as u64;
            shared.tally.gaps += 1;
            shared.tally.gap_bytes += missing;
        }
    }

    /// Hands on all that is in order now.
    fn drain(&mut self, shared: &mut Shared<'_>) {
        loop {
            let mut moved = false;
            for way in [0, 1] {
                let other = self.other_next(1 - way);
                while let Some(piece) = self.streams.get_mut(way).and_then(|it| it.ready(other)) {
                    let Some(stream) = self.streams.get_mut(way) else { break };
                    let done = usize::try_from(stream.next.saturating_sub(piece.offset));
                    let done = done.unwrap_or(usize::MAX);
                    stream.advance(stream.next.max(piece.offset + piece.sent as u64));
                    let data = piece.data.get(done..).unwrap_or_default();
                    let sent = piece.sent.saturating_sub(done);
                    self.hand_on(shared, way, data, sent, piece.at);
                    moved = true;
                }
                self.end_side(shared, way);
            }
            if !moved {
                break;
            }
        }
    }

    fn end_side(&mut self, shared: &mut Shared<'_>, way: usize) {
        let Some(stream) = self.streams.get_mut(way) else { return };
        if stream.ended || stream.end.is_none_or(|end| stream.next < end) {
            return;
        }
        stream.ended = true;
        let side = self.side(way);
        let (mut cx, speech) = self.context(shared);
        speech.end(&mut cx, side);
        if let Some((mut cx, plain)) = self.plain_context(shared)
            && plain.is_opened()
        {
            plain.speech.end(&mut cx, side);
        }
    }

    /// Gives up on bytes that are missing and will not come.
    fn settle_holes(&mut self, shared: &mut Shared<'_>, now: Since, force: bool) {
        loop {
            let mut moved = false;
            for way in [0, 1] {
                let Some(stream) = self.streams.get_mut(way) else { continue };
                if stream.idle() && stream.acked <= stream.next + 1 {
                    self.end_side(shared, way);
                    continue;
                }
                let Some(missing) = stream.missing(now, shared.limits.pending_bytes, force) else {
                    continue;
                };
                let since = stream.waits_since().unwrap_or(now.ts);
                stream.advance(stream.next + missing);
                moved = true;
                self.metrics.missed(way, missing, since);
                shared.tally.gaps += 1;
                shared.tally.gap_bytes += missing;
                let side = self.side(way);
                let (mut cx, speech) = self.context(shared);
                speech.gap(&mut cx, side, missing);
                self.open(shared, way, &[], missing, since);
                self.drain(shared);
            }
            if force && !moved {
                // What waits for the other direction waits no longer.
                moved = self.force_one(shared);
            }
            if !moved {
                break;
            }
        }
    }

    fn force_one(&mut self, shared: &mut Shared<'_>) -> bool {
        for way in [0, 1] {
            if let Some(piece) = self.streams.get_mut(way).and_then(|it| it.ready(None)) {
                if let Some(stream) = self.streams.get_mut(way) {
                    stream.advance(stream.next.max(piece.offset + piece.sent as u64));
                }
                self.hand_on(shared, way, &piece.data, piece.sent, piece.at);
                self.drain(shared);
                return true;
            }
        }
        false
    }

    fn is_ended(&self) -> bool {
        self.streams.iter().all(|it| it.ended)
    }

    fn close(&mut self, reset: bool, ts: i64) {
        if reset {
            self.closing.get_or_insert((ts, State::Reset));
        } else if self.is_ended() {
            self.closing.get_or_insert((ts, State::Closed));
        }
        if self.closing.is_some() {
            self.list = List::Closing;
        }
    }

    /// Takes note of what messages told.
    fn learn(&mut self, shared: &mut Shared<'_>, ts: i64) {
        if self.about.learned.is_empty() {
            return;
        }
        for it in self.about.learned.drain(..) {
            self.about.encrypted |= it.encrypted;
            if it.encrypted && self.packets > 0 {
                self.about.shaken = true;
                shared.shaken.note(self.processes.iter().flatten().map(|it| it.pid));
            }
            if let Some(name) = it.server_name {
                self.about.server_name = Some(name.into());
            }
            if let Some(name) = it.alpn {
                self.about.alpn = Some(name.into());
            }
            if let Some((ip, port, protocol)) = it.announces {
                let ip = match ip {
                    std::net::IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
                    std::net::IpAddr::V6(it) => it.octets(),
                };
                let parent = self.facts.id;
                shared.expected.insert((ip, port), Announcement { ts, protocol, parent });
                // Behind a translating router the address announced is not the one called.
                for (own, _) in [self.key.low, self.key.high] {
                    shared.expected.insert((own, port), Announcement { ts, protocol, parent });
                }
            }
        }
    }

    /// Another conversation announced this one, and who listens in it.
    pub(crate) fn announced(&mut self, listens: usize, it: &Announcement) {
        self.about.parent = Some(it.parent);
        self.client = 1 - listens;
        self.known_client = true;
        self.speech.presume(it.protocol);
        self.name_ends();
    }

    /// A row for each interval of a conversation that stays open.
    fn report(&mut self, shared: &mut Shared<'_>, ts: i64) {
        if ts.saturating_sub(self.metrics.first) >= shared.limits.report {
            let due = ts.saturating_sub(shared.limits.answer);
            let (mut cx, speech) = self.context(shared);
            speech.abandon(&mut cx, Some(due));
            if let Some((mut cx, plain)) = self.plain_context(shared) {
                plain.speech.abandon(&mut cx, Some(due));
            }
            self.row(shared, State::Open);
            self.metrics.next_part();
            self.metrics.first = ts;
        }
        self.weigh();
    }

    fn weigh(&mut self) {
        let streams: usize = self.streams.iter().map(Stream::held).sum();
        let association = self.association.as_ref().map_or(0, |it| it.held());
        let plain = self.plain.as_ref().map_or(0, |it| it.0.speech.held());
        let decryption = self.decryption.as_ref().map_or(0, |it| it.held());
        self.held = self.speech.held() + streams + association + plain + decryption;
    }

    /// What is spoken within TLS, where the packets that carry it were not seen.
    fn spoken_within(&self) -> Option<&'static str> {
        let within = self.plain.as_ref().and_then(|it| it.0.speech.name()).or(self.about.within);
        within.filter(|_| self.packets == 0)
    }

    fn row(&self, shared: &mut Shared<'_>, state: State) {
        if !shared.connections {
            return;
        }
        let node = std::sync::Arc::clone(&shared.tables.node);
        let (outer, way) = &self.outer;
        let carrier =
            (*outer != Outer::default()).then(|| Wrapping::of(outer, *way != self.client));
        let known = Known {
            transport: self.key.transport.name(),
            protocol: self.speech.name().or_else(|| self.spoken_within()),
            wrapping: carrier.as_ref(),
            server_name: self.about.server_name.as_deref(),
            alpn: self.about.alpn.as_deref(),
            encrypted: self.about.encrypted,
            parent: self.about.parent.as_ref().map(FlowId::as_str),
        };
        let both = self.facts.both(shared.tables.names.as_deref(), self.metrics.first);
        let row = self.metrics.row(&self.facts, &both, self.client, &known, state, &node);
        shared.tables.connections.push(row);
    }

    /// The conversation is over: everything it holds becomes rows.
    pub(crate) fn finish(mut self: Box<Self>, shared: &mut Shared<'_>, otherwise: State) {
        let now = Since { ts: self.last, packet: self.packets };
        self.settle_holes(shared, now, true);
        for way in [0, 1] {
            let side = self.side(way);
            if let Some(stream) = self.streams.get_mut(way)
                && !stream.ended
            {
                stream.ended = true;
                let (mut cx, speech) = self.context(shared);
                speech.end(&mut cx, side);
            }
        }
        let (mut cx, speech) = self.context(shared);
        speech.abandon(&mut cx, None);
        self.end_plaintext(shared);
        let association = self.association.take();
        let (mut cx, _) = self.context(shared);
        if let Some(mut association) = association {
            association.abandon(&mut cx);
        }
        self.row(shared, self.closing.map_or(otherwise, |(_, state)| state));
    }
}

/// Without a handshake: the one that called is likelier to use a port nobody listens on.
fn likely_client(key: &Key, way: usize) -> usize {
    let known = |way: usize| PROTOCOLS.iter().any(|it| it.ports.contains(&key.end(way).1));
    let low = |way: usize| key.end(way).1 < 1024;
    for listens in [&known as &dyn Fn(usize) -> bool, &low] {
        match (listens(way), listens(1 - way)) {
            (true, false) => return 1 - way,
            (false, true) => return way,
            _ => {}
        }
    }
    way
}

fn flow_id(key: &Key, ts: i64) -> FlowId {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let ports = [key.low.1.to_be_bytes(), key.high.1.to_be_bytes()].concat();
    let nanos = (ts % 1_000_000).to_be_bytes();
    let transport = [key.transport as u8];
    let parts = [&key.low.0[..], &key.high.0, &ports, &nanos, &transport];
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    FlowId::new(ts, hash ^ (hash >> 29))
}

/// Which list of the table a flow is in: each has its own time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Tcp,
    Udp,
    Closing,
}

impl List {
    const ALL: [Self; 3] = [Self::Closing, Self::Udp, Self::Tcp];

    const fn of(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            _ => Self::Udp,
        }
    }
}

/// The conversations that are alive; each list runs from the one idle longest to the latest.
#[derive(Default)]
pub(crate) struct Flows {
    by_key: HashMap<Key, u32>,
    /// Boxed: a kilobyte each, which growing would move.
    slots: Vec<Option<Box<Flow>>>,
    free: Vec<u32>,
    ends: [(u32, u32); 3],
    begun: bool,
    held: usize,
}

impl Flows {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn find(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn get(&mut self, place: u32) -> Option<&mut Flow> {
        self.slots.get_mut(place as usize)?.as_deref_mut()
    }

    /// The names of those that are alive.
    pub(crate) fn ids(&self) -> impl Iterator<Item = FlowId> {
        self.slots.iter().flatten().map(|it| *it.id())
    }

    /// When the oldest exchange began of those that have no row yet.
    pub(crate) fn since(&self) -> Option<i64> {
        self.slots.iter().flatten().filter_map(|it| it.since()).min()
    }

    /// Changes every conversation.
    pub(crate) fn each(&mut self, mut change: impl FnMut(&mut Flow)) {
        for flow in self.slots.iter_mut().flatten() {
            let before = flow.held;
            change(flow);
            self.held = (self.held + flow.held).saturating_sub(before);
        }
    }

    pub(crate) fn insert(&mut self, flow: Box<Flow>) -> u32 {
        if !self.begun {
            self.begun = true;
            self.ends = [(NONE, NONE); 3];
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        });
        self.by_key.insert(flow.key, place);
        let list = flow.list;
        if let Some(slot) = self.slots.get_mut(place as usize) {
            *slot = Some(flow);
        }
        self.link(place, list);
        place
    }

    pub(crate) fn remove(&mut self, place: u32) -> Option<Box<Flow>> {
        let list = self.get(place)?.list;
        self.unlink(place, list);
        let flow = self.slots.get_mut(place as usize)?.take()?;
        self.by_key.remove(&flow.key);
        self.free.push(place);
        self.held = self.held.saturating_sub(flow.held);
        Some(flow)
    }

    /// Notes that a flow was used: it is the latest of its list now. `list` and `held` are what
    /// they were before.
    pub(crate) fn touch(&mut self, place: u32, list: List, held: usize) {
        let Some(flow) = self.get(place) else { return };
        let (now_list, now_held) = (flow.list, flow.held);
        self.held = (self.held + now_held).saturating_sub(held);
        if list == now_list && self.end(list).1 == place {
            return;
        }
        self.unlink(place, list);
        self.link(place, now_list);
    }

    /// A flow that has been idle for longer than its list allows.
    pub(crate) fn idle(&mut self, now: i64, limits: &Limits) -> Option<(u32, State)> {
        for list in List::ALL {
            let (bound, state) = match list {
                List::Tcp => (limits.tcp_idle, State::Timeout),
                List::Udp => (limits.udp_idle, State::Timeout),
                List::Closing => (limits.linger, State::Closed),
            };
            let oldest = self.end(list).0;
            if let Some(flow) = self.get(oldest)
                && now.saturating_sub(flow.last) > bound
            {
                return Some((oldest, state));
            }
        }
        None
    }

    /// The flow to give up when there is no room: a closed one, else the one idle longest.
    pub(crate) fn oldest(&mut self) -> Option<u32> {
        let [closing, udp, tcp] = List::ALL.map(|list| self.end(list).0);
        if closing != NONE {
            return Some(closing);
        }
        let last = |flows: &mut Self, place| flows.get(place).map(|it| it.last);
        match (last(self, udp), last(self, tcp)) {
            (Some(a), Some(b)) => Some(if a <= b { udp } else { tcp }),
            (Some(_), None) => Some(udp),
            (None, Some(_)) => Some(tcp),
            (None, None) => None,
        }
    }

    /// Any flow, in the order in which they were found.
    pub(crate) fn any(&mut self) -> Option<u32> {
        self.oldest()
    }

    fn end(&self, list: List) -> (u32, u32) {
        if !self.begun {
            return (NONE, NONE);
        }
        self.ends.get(list as usize).copied().unwrap_or((NONE, NONE))
    }

    fn end_mut(&mut self, list: List) -> &mut (u32, u32) {
        let [tcp, udp, closing] = &mut self.ends;
        match list {
            List::Tcp => tcp,
            List::Udp => udp,
            List::Closing => closing,
        }
    }

    fn link(&mut self, place: u32, list: List) {
        let newest = self.end(list).1;
        if let Some(flow) = self.get(place) {
            flow.older = newest;
            flow.newer = NONE;
        }
        match self.get(newest) {
            Some(flow) => flow.newer = place,
            None => self.end_mut(list).0 = place,
        }
        self.end_mut(list).1 = place;
    }

    fn unlink(&mut self, place: u32, list: List) {
        let Some(flow) = self.get(place) else { return };
        let (older, newer) = (flow.older, flow.newer);
        match self.get(older) {
            Some(flow) => flow.newer = newer,
            None => self.end_mut(list).0 = newer,
        }
        match self.get(newer) {
            Some(flow) => flow.older = older,
            None => self.end_mut(list).1 = older,
        }
    }
}

const NONE: u32 = u32::MAX;
/// Nanoseconds between a packet and the time at which a process is told to have been sent it, and fewer than pass until
/// ports are used again.
const MOMENT: i64 = crate::limits::SECOND / 100;
/// The largest window that TCP can announce (RFC 7323 §2.3).
const MAX_WINDOW: u64 = 1 << 30;
