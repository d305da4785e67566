//! The corridor: packets in, rows out.
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use arrow_array::RecordBatch;
use schema::Table;
use schema::value::{Body, Code, Id, Label, Size, Time};

use crate::carrier::Outer;
use crate::connection::State;
use crate::copies::{Copies, Sight};
use crate::expected::Expected;
use crate::flow::{Flow, Flows, Key, List, Shared, Tally};
use crate::fragment::Fragments;
use crate::limits::{Limits, SECOND};
use crate::loss::Loss;
use crate::names::Gate;
use crate::packet::{Carried, Datagram, Ends, Packet, Tcp, decode, transport};
use crate::packet_row::Packets;
use crate::plaintext::{self, Early, Owner, Owners, Piece, Plaintext, Shaken, Word};
use crate::process_row::Process;
use crate::protocol::{Secrets, Transport};
use crate::tables::{CONNECTIONS, LOSSES, PACKETS, PROCESSES, TS, Tables, tables};
use schema::FlowId;

/// What a dissection needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node that every row names.
    pub node: String,
    /// Its bounds.
    pub limits: Limits,
    /// Which tables it fills.
    pub keep: Keep,
    /// Who knows the names of the ends of conversations, if anybody does.
    pub names: Option<std::sync::Arc<dyn crate::Names>>,
    /// Whether a packet counts once that was captured on several interfaces, or before and after an address of it was
    /// translated.
    pub merge_copies: bool,
    /// What opens TLS.
    pub secrets: Secrets,
}

/// Which tables are filled. `losses` always is, with all its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The raw packets.
    pub packets: bool,
    /// The conversations.
    pub connections: bool,
    /// The protocols' exchanges.
    pub protocols: bool,
    /// Of all of these only some tables, by name, and of those only some columns.
    pub only: Option<BTreeMap<String, BTreeSet<String>>>,
}

impl Default for Keep {
    fn default() -> Self {
        Self { packets: true, connections: true, protocols: true, only: None }
    }
}

impl Keep {
    /// The tables as they are filled. Those that stay empty for other reasons than
    /// [`only`](Self::only) are among them.
    pub fn tables(&self) -> Vec<Table> {
        let known = |it: &&Table| it.name == LOSSES || self.names(&it.name);
        tables().iter().filter(known).map(|it| self.table(it)).collect()
    }

    /// The table with the columns that are filled.
    pub(crate) fn table(&self, table: &Table) -> Table {
        let fields = table.fields.iter();
        let fields = fields.filter(|it| self.fills_column(&table.name, &it.name)).cloned();
        Table { fields: Cow::Owned(fields.collect()), ..table.clone() }
    }

    fn names(&self, table: &str) -> bool {
        self.only.as_ref().is_none_or(|it| it.contains_key(table))
    }

    /// Whether the table is filled.
    pub(crate) fn fills(&self, table: &str) -> bool {
        match table {
            LOSSES => return true,
            PACKETS if !self.packets => return false,
            CONNECTIONS if !self.connections => return false,
            PACKETS | CONNECTIONS | PROCESSES => {}
            _ if !self.protocols => return false,
            _ => {}
        }
        self.names(table)
    }

    /// Whether the column is, of a table that is. `ts` always is: rows are kept by their time.
    pub(crate) fn fills_column(&self, table: &str, column: &str) -> bool {
        let only = self.only.as_ref().filter(|_| table != LOSSES && column != TS);
        only.is_none_or(|it| it.get(table).is_some_and(|it| it.contains(column)))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "local".to_owned(),
            limits: Limits::default(),
            keep: Keep::default(),
            names: None,
            merge_copies: false,
            secrets: Secrets::default(),
        }
    }
}

/// What was seen and what went missing, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets seen.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets of which only the bytes are kept: neither TCP, UDP, SCTP nor ICMP over IP.
    pub other: u64,
    /// Packets that are nobody's whose traffic is kept: nothing of them is.
    pub left_out: u64,
    /// Packets that were captured before, on another interface or under another address: nothing more of them is kept.
    pub copies: u64,
    /// Packets whose headers are cut off or make no sense.
    pub malformed: u64,
    /// Conversations seen.
    pub flows: u64,
    /// Conversations given up because there were too many, or held too much.
    pub evicted: u64,
    /// Holes in conversations that never filled.
    pub gaps: u64,
    /// Bytes in those holes.
    pub gap_bytes: u64,
    /// Places where bytes made no sense to the protocol, or were missed by it.
    pub strays: u64,
    /// IP packets of which pieces were missing.
    pub fragments: u64,
}

/// Turns packets into rows. One per capture; it knows no other clock than the packets' times and
/// those given to [`Dissection::tick`].
pub struct Dissection {
    config: Config,
    flows: Flows,
    fragments: Fragments,
    tables: Tables,
    counters: Counters,
    tally: Tally,
    expected: Expected,
    owners: Owners,
    early: Early,
    shaken: Shaken,
    /// The name that the packet at hand was given when it was captured, while packets are read again.
    named: Option<FlowId>,
    /// It is read again.
    again: bool,
    gate: Gate,
    copies: Option<Copies>,
    /// The latest time seen.
    now: i64,
    /// When the ledger was last written.
    ledger: Option<i64>,
    swept: i64,
}

impl std::fmt::Debug for Dissection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dissection").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Dissection {
    /// An empty one.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut tables = Tables::new(&config.node, &config.keep);
        tables.names.clone_from(&config.names);
        let copies = config.merge_copies.then(Copies::default);
        Self {
            config,
            flows: Flows::default(),
            fragments: Fragments::default(),
            tables,
            counters: Counters::default(),
            tally: Tally::default(),
            expected: Expected::default(),
            owners: Owners::default(),
            early: Early::default(),
            shaken: Shaken::default(),
            named: None,
            again: false,
            gate: Gate::default(),
            copies,
            now: i64::MIN,
            ledger: None,
            swept: i64::MIN,
        }
    }

    /// Reads a packet.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.counters.packets += 1;
        self.counters.bytes += u64::from(packet.wire_len);
        self.passes(packet.ts);
        let (carried, outer) = decode(packet);
        // What is read again was let through when it was captured.
        if let Some(names) = &self.config.names
            && !self.again
            && !self.gate.lets(names.as_ref(), carried.ends())
        {
            self.counters.left_out += 1;
            return;
        }
        if self.is_copy(packet, &carried) {
            self.counters.copies += 1;
            return;
        }
        let place = self.carried(packet.ts, carried, outer);
        if self.tables.keeps_packets {
            self.keep(packet, place);
        }
        self.sweep();
    }

    fn is_copy(&mut self, packet: &Packet<'_>, carried: &Carried<'_>) -> bool {
        let Some(copies) = self.copies.as_mut().filter(|_| !self.again) else { return false };
        match copies.look(packet, carried, |key| self.flows.find(key).is_some()) {
            Sight::First => false,
            Sight::Copy => true,
            Sight::InsteadOf(before) => {
                let kept = copies.kept(&before, 0);
                // It has but begun. What was read in its processes stays, and whose it is.
                if let Some(place) = self.flows.find(&before)
                    && self.flows.get(place).is_some_and(|it| !it.is_read_in_processes())
                    && let (Some(flow), Some((now, low))) = (self.flows.remove(place), kept)
                {
                    self.owners.put(now, flow.owners(packet.ts, low != 0));
                }
                false
            }
        }
    }

    /// Reads a packet that was captured earlier, and was found then to belong to the conversation
    /// `flow_id`. Conversations begin and end where those names say, so that rows get the names they
    /// would have got then, whatever of the capture is read again. A conversation read from its middle
    /// numbers its rows by the nanoseconds since it began, so that no two readings give a row one place.
    pub fn again(&mut self, packet: &Packet<'_>, flow_id: Option<FlowId>) {
        (self.named, self.again) = (flow_id, true);
        self.packet(packet);
        (self.named, self.again) = (None, false);
    }

    /// Reads what a process said or heard within TLS. It belongs to the conversation whose encrypted packets have the
    /// same ends, and bears its name; where there are none, as when an address was translated on the way, it is a
    /// conversation of its own.
    pub fn plaintext(&mut self, it: &Plaintext<'_>) {
        self.passes(it.ts);
        self.say_early(self.now);
        let is_early = || {
            let key = self.between(it.local, it.remote).0;
            self.flows.find(&key).is_none() || self.early.has(it.local, it.remote)
        };
        if self.copies.is_some() && is_early() {
            self.early.push(Word::Said(Piece::of(it)));
            return;
        }
        self.say(it);
    }

    /// Reads what waited for packets, if it has long enough.
    fn say_early(&mut self, now: i64) {
        while let Some(word) = self.early.due(now) {
            match word {
                Word::Said(it) => self.say(&it.said()),
                Word::Closed(ts, local, remote) => self.close(ts, local, remote),
            }
        }
    }

    fn say(&mut self, it: &Plaintext<'_>) {
        let (key, way) = self.between(it.local, it.remote);
        let mut found = self.flows.find(&key);
        if let Some(place) = found
            && self.flows.get(place).is_some_and(|flow| flow.is_over_for(way, it))
        {
            self.end(place, State::Closed);
            found = None;
        }
        let place = found.unwrap_or_else(|| {
            let client = plaintext::client(way, it.side);
            // As by a SYN, one knows who called.
            let answered = client.map(|it| it != way);
            self.begin(Flow::new(key, way, it.ts, answered, Outer::default()))
        });
        self.with(place, |flow, shared| flow.plaintext(shared, way, it));
        self.sweep();
    }

    /// Learns secrets with which what TLS sessions say can be opened from here on, as a key log has them; how many.
    pub fn learn_secrets(&mut self, log: &[u8]) -> usize {
        self.config.secrets.learn(log)
    }

    /// Notes whose an end of a connection is; there may have been no packet of it so far.
    pub fn owner(&mut self, it: &Owner<'_>) {
        self.passes(it.ts);
        let (key, way) = self.between(it.local, it.remote);
        let alive = self.flows.find(&key).and_then(|it| self.flows.get(it));
        match alive.filter(|flow| !flow.is_over_at(it.ts)) {
            Some(flow) => {
                flow.own(way, it.process, plaintext::client(way, it.side));
                self.shaken.note(flow.shaken());
            }
            None => self.owners.insert(key, way, it),
        }
    }

    /// The processes of whose connections a TLS handshake was seen in packets, since this was last asked: those that
    /// [`owner`](Self::owner) told of.
    pub fn shaken(&mut self) -> BTreeSet<u32> {
        self.shaken.take()
    }

    /// Notes that the process at `local` has closed its socket.
    pub fn closed(&mut self, ts: i64, local: SocketAddr, remote: SocketAddr) {
        self.passes(ts);
        match self.early.has(local, remote) {
            true => self.early.push(Word::Closed(ts, local, remote)),
            false => self.close(ts, local, remote),
        }
    }

    fn close(&mut self, ts: i64, local: SocketAddr, remote: SocketAddr) {
        let (key, way) = self.between(local, remote);
        if let Some(place) = self.flows.find(&key) {
            self.with(place, |flow, shared| flow.closed(shared, way, ts));
        }
    }

    /// The conversation between two ends as it is known here, and the direction in which `local` sends.
    fn between(&self, local: SocketAddr, remote: SocketAddr) -> (Key, usize) {
        let (key, way) = plaintext::key(local, remote);
        if self.flows.find(&key).is_some() {
            return (key, way);
        }
        let kept = self.copies.as_ref().and_then(|it| it.kept(&key, way));
        kept.unwrap_or((key, way))
    }

    fn passes(&mut self, ts: i64) {
        self.ledger.get_or_insert(ts);
        self.now = self.now.max(ts);
    }

    fn sweep(&mut self) {
        if self.now.saturating_sub(self.swept) >= SWEEP_NANOS {
            self.tick(self.now);
        }
    }

    /// The conversations followed at the moment.
    pub fn conversations(&self) -> impl Iterator<Item = FlowId> {
        self.flows.ids()
    }

    /// When the oldest exchange began of those that have no row yet, of all conversations.
    #[must_use]
    pub fn unfinished_since(&self) -> Option<i64> {
        self.flows.since()
    }

    /// Starts or stops reading protocols of packets; conversations are followed all the same. What is under way
    /// when it stops gives no row; what is under way when it starts is read from its middle, and its
    /// rows are numbered as [`again`](Self::again) says.
    pub fn read_protocols(&mut self, read: bool) {
        if std::mem::replace(&mut self.config.keep.protocols, read) == read {
            return;
        }
        let now = self.now;
        self.flows.each(|flow| if read { flow.resume(now) } else { flow.mute() });
    }

    /// Lets time pass, as far as `now`: what waited too long is given up.
    pub fn tick(&mut self, now: i64) {
        self.now = self.now.max(now);
        self.swept = self.now;
        self.say_early(self.now);
        while let Some((place, state)) = self.flows.idle(self.now, &self.config.limits) {
            self.end(place, state);
        }
        self.enter_losses(false);
    }

    /// There are no more packets: everything still held becomes rows.
    pub fn finish(&mut self) {
        while !self.finish_some(usize::MAX) {}
    }

    /// The same, a part at a time, so that rows may be taken in between: ends so many conversations;
    /// true once nothing is held any more.
    pub fn finish_some(&mut self, conversations: usize) -> bool {
        self.say_early(i64::MAX);
        for _ in 0..conversations {
            let Some(place) = self.flows.any() else { break };
            self.end(place, State::Open);
        }
        if self.flows.len() > 0 {
            return false;
        }
        self.tally.fragments += self.fragments.waiting();
        self.fragments = Fragments::default();
        self.enter_losses(true);
        true
    }

    /// Enters a loss that happened elsewhere in the ledger.
    pub fn loss(&mut self, loss: &Loss) {
        let node = std::sync::Arc::clone(&self.tables.node);
        self.tables.losses.push(loss.row(&node));
    }

    /// Enters how a process stands.
    pub fn process(&mut self, process: &Process) {
        if self.config.keep.fills(PROCESSES) {
            let node = std::sync::Arc::clone(&self.tables.node);
            self.tables.processes.push(process.row(&node));
        }
    }

    /// How many rows wait to be taken.
    #[must_use]
    pub fn pending_rows(&self) -> usize {
        self.tables.rows()
    }

    /// About how many bytes they take.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.tables.bytes()
    }

    /// Takes the rows so far, a batch for each table that has any.
    pub fn take(&mut self) -> Vec<(&'static Table, RecordBatch)> {
        self.tables.take()
    }

    /// What was seen and what went missing, since the beginning.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (sum, open) = (&self.counters, &self.tally);
        Counters {
            evicted: sum.evicted + open.evicted,
            gaps: sum.gaps + open.gaps,
            gap_bytes: sum.gap_bytes + open.gap_bytes,
            strays: sum.strays + open.strays,
            fragments: sum.fragments + open.fragments,
            malformed: sum.malformed + open.malformed,
            ..*sum
        }
    }

    /// Conversations followed at the moment.
    #[must_use]
    pub fn live_flows(&self) -> usize {
        self.flows.len()
    }

    /// About how many bytes conversations hold on to at the moment.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.flows.held()
    }

    fn carried(&mut self, ts: i64, carried: Carried<'_>, mut outer: Outer) -> Option<u32> {
        match carried {
            Carried::Tcp(ends, it) => Some(self.tcp(ts, &ends, &it, outer)),
            Carried::Datagram(ends, it) => Some(self.datagram(ts, &ends, &it, outer)),
            Carried::Fragment(piece) => match self.fragments.add(ts, &piece) {
                Ok(Some(whole)) => {
                    let sent = whole.data.len();
                    let ends = (whole.source, whole.destination);
                    let carried = transport(whole.number, ends, &whole.data, sent, &mut outer);
                    self.carried(ts, carried, outer)
                }
                Ok(None) => None,
                Err(given_up) => {
                    self.tally.fragments += given_up;
                    None
                }
            },
            Carried::Other => {
                self.counters.other += 1;
                None
            }
            Carried::Malformed => {
                self.tally.malformed += 1;
                None
            }
        }
    }

    fn tcp(&mut self, ts: i64, ends: &Ends, it: &Tcp<'_>, outer: Outer) -> u32 {
        let (key, way) = Key::of(ends, Transport::Tcp);
        let named = self.named;
        let mut found = self.flows.find(&key);
        if let Some(place) = found
            && self.flows.get(place).is_some_and(|flow| match named {
                Some(id) => *flow.id() != id,
                None => flow.is_reused(way, it),
            })
        {
            self.end(place, State::Open);
            found = None;
        }
        let place = found.unwrap_or_else(|| {
            let syn = it.syn.then_some(it.ack.is_some());
            let mut flow = Flow::new(key, way, ts, syn, outer);
            named.into_iter().for_each(|id| flow.rename(id, ts));
            if let Some((listens, it)) = self.expected.take(key.ends(), ts) {
                flow.announced(listens, &it);
            }
            self.begin(flow)
        });
        self.with(place, |flow, shared| {
            flow.wrap(outer, way);
            flow.segment(shared, way, ts, it);
        });
        place
    }

    fn datagram(&mut self, ts: i64, ends: &Ends, it: &Datagram<'_>, outer: Outer) -> u32 {
        let (key, way) = Key::of(ends, it.transport);
        let named = self.named;
        let mut found = self.flows.find(&key);
        if let (Some(place), Some(id)) = (found, named)
            && self.flows.get(place).is_some_and(|flow| *flow.id() != id)
        {
            self.end(place, State::Open);
            found = None;
        }
        let place = found.unwrap_or_else(|| {
            let mut flow = Flow::new(key, way, ts, None, outer);
            named.into_iter().for_each(|id| flow.rename(id, ts));
            self.begin(flow)
        });
        self.with(place, |flow, shared| flow.datagram(shared, way, ts, it));
        place
    }

    fn begin(&mut self, mut flow: Box<Flow>) -> u32 {
        self.counters.flows += 1;
        if let Some(owned) = self.owners.take(&flow.key, flow.last) {
            flow.owned(owned);
        }
        if self.flows.len() >= self.config.limits.flows {
            self.evict();
        }
        self.flows.insert(flow)
    }

    fn with(&mut self, place: u32, work: impl FnOnce(&mut Flow, &mut Shared<'_>)) {
        let mut shared = Shared {
            protocols: self.config.keep.protocols,
            connections: self.tables.keeps_connections,
            tables: &mut self.tables,
            limits: &self.config.limits,
            tally: &mut self.tally,
            expected: &mut self.expected,
            secrets: &self.config.secrets,
            shaken: &mut self.shaken,
        };
        let Some(flow) = self.flows.get(place) else { return };
        let (list, held): (List, usize) = (flow.list, flow.held);
        work(flow, &mut shared);
        self.flows.touch(place, list, held);
        while self.flows.held() > self.config.limits.held_bytes && self.flows.len() > 1 {
            self.evict();
        }
    }

    fn evict(&mut self) {
        if let Some(oldest) = self.flows.oldest() {
            self.tally.evicted += 1;
            self.end(oldest, State::Evicted);
        }
    }

    fn end(&mut self, place: u32, state: State) {
        let Some(flow) = self.flows.remove(place) else { return };
        let mut shared = Shared {
            protocols: self.config.keep.protocols,
            connections: self.tables.keeps_connections,
            tables: &mut self.tables,
            limits: &self.config.limits,
            tally: &mut self.tally,
            expected: &mut self.expected,
            secrets: &self.config.secrets,
            shaken: &mut self.shaken,
        };
        flow.finish(&mut shared, state);
    }

    fn keep(&mut self, packet: &Packet<'_>, place: Option<u32>) {
        let flow = place.and_then(|it| self.flows.get(it));
        let code = |number: u32| Code(i32::try_from(number).unwrap_or(i32::MAX));
        self.tables.packets.push(Packets {
            ts: Time(packet.ts),
            link: code(packet.link.dlt()),
            interface: code(packet.interface),
            wire_bytes: Size(u64::from(packet.wire_len)),
            data: Body(Cow::Borrowed(packet.data)),
            flow_id: flow.as_ref().map(|it| Id(it.id().as_str())),
            node: Label(Cow::Borrowed(&self.tables.node)),
        });
    }

    /// What went missing since the last time becomes rows, once a second.
    fn enter_losses(&mut self, all: bool) {
        let Some(from) = self.ledger else { return };
        if !all && self.now.saturating_sub(from) < SECOND {
            return;
        }
        let until = self.now;
        self.ledger = Some(until);
        let it = std::mem::take(&mut self.tally);
        let sum = &mut self.counters;
        sum.evicted += it.evicted;
        sum.gaps += it.gaps;
        sum.gap_bytes += it.gap_bytes;
        sum.strays += it.strays;
        sum.fragments += it.fragments;
        sum.malformed += it.malformed;
        let entries = [
            ("reassembly", it.gaps, Some(it.gap_bytes)),
            ("parser", it.strays, None),
            ("flows", it.evicted, None),
            ("fragment", it.fragments, None),
            ("packet", it.malformed, None),
        ];
        for (stage, count, bytes) in entries {
            if count > 0 {
                self.loss(&Loss { from, until, stage, count, bytes, detail: None });
            }
        }
    }
}

/// How often, in time of the packets, idle conversations are looked for.
const SWEEP_NANOS: i64 = SECOND / 10;
