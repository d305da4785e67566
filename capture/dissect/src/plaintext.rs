//! The second door into the corridor: what processes gave to their TLS libraries, and got from them. What packets
//! say within TLS, where its secrets are known, comes in by it, too.
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use hashbrown::HashMap;

use crate::exchange::Side;
use crate::flow::Key;
use crate::packet::{Ends, Ip};
use crate::protocol::Transport;
use crate::speech::Speech;

/// What `capture` says of rows that were read in a process's TLS library, or opened with the secrets of a session.
pub const PLAINTEXT: &str = "plaintext";

/// A piece of what a process said or heard within TLS.
#[derive(Clone, Copy, Debug)]
pub struct Plaintext<'a> {
    /// When, in nanoseconds since 1970.
    pub ts: i64,
    /// The process's end of the connection.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Which side the process is, if that is known.
    pub side: Option<Side>,
    /// Whether the process sent this, or received it.
    pub sent: bool,
    /// What tells two TLS sessions of one process apart.
    pub session: u64,
    /// Where it begins in what was sent, or received, in this session.
    pub offset: u64,
    /// How far the other direction had come by then.
    pub seen: u64,
    /// The bytes.
    pub bytes: &'a [u8],
    /// The process.
    pub process: Actor<'a>,
}

/// A process that does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor<'a> {
    /// Its number on the node.
    pub pid: u32,
    /// Its name.
    pub name: &'a str,
    /// Its container, if it is known to be in one.
    pub container_id: Option<&'a str>,
}

/// The same, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acting {
    pub(crate) pid: u32,
    name: Box<str>,
    container_id: Option<Box<str>>,
}

impl Acting {
    pub(crate) fn get(&self) -> Actor<'_> {
        let Self { pid, name, container_id } = self;
        Actor { pid: *pid, name, container_id: container_id.as_deref() }
    }
}

impl From<Actor<'_>> for Acting {
    fn from(it: Actor<'_>) -> Self {
        Self { pid: it.pid, name: it.name.into(), container_id: it.container_id.map(Box::from) }
    }
}

/// Whose a connection's end is.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// When that was seen, in nanoseconds since 1970.
    pub ts: i64,
    /// The process's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Which side the process is, if that is known.
    pub side: Option<Side>,
    /// The process.
    pub process: Actor<'a>,
}

/// The conversation between two ends, and the direction in which `local` sends.
pub(crate) fn key(local: SocketAddr, remote: SocketAddr) -> (Key, usize) {
    let end = |it: SocketAddr| (ip(it), it.port());
    Key::of(&Ends { source: end(local), destination: end(remote) }, Transport::Tcp)
}

fn ip(it: SocketAddr) -> Ip {
    match it.ip() {
        std::net::IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(it) => it.octets(),
    }
}

/// What is read of a conversation's plaintext. Where both its processes are traced, the same bytes come twice: those of
/// the process that came first are read, of the other one only the name.
pub(crate) struct Plain {
    /// The direction in which that process sends.
    observer: usize,
    session: u64,
    /// What has come of each direction.
    streams: [Stretch; 2],
    pub(crate) speech: Speech,
}

#[derive(Clone, Copy)]
struct Stretch {
    start: u64,
    next: u64,
}

/// What to do with a piece.
pub(crate) enum Fits {
    /// Read on, after so many bytes that are missing, without so many that are known.
    Yes { missing: u64, known: usize },
    /// The same was read of another process, or another session is read.
    No,
    /// A new connection between the same ends.
    Anew,
}

impl Plain {
    pub(crate) fn new(way: usize, it: &Plaintext<'_>) -> Self {
        // What came before the first piece was lost, or was said before the trace began.
        let at = |next| Stretch { start: next, next };
        let (sender, mut streams) = (sender(way, it), [at(it.seen); 2]);
        if let Some(stream) = streams.get_mut(sender) {
            *stream = at(it.offset);
        }
        let speech = Speech::new(Transport::Tcp);
        Self { observer: way, session: it.session, streams, speech }
    }

    /// What is opened of packets: no process's.
    pub(crate) fn opened() -> Self {
        let streams = [Stretch { start: 0, next: 0 }; 2];
        Self { observer: NOBODY, session: 0, streams, speech: Speech::new(Transport::Tcp) }
    }

    pub(crate) fn is_opened(&self) -> bool {
        self.observer == NOBODY
    }

    /// Notes that so much was opened of a direction; how far the other one had come by then.
    pub(crate) fn advance(&mut self, way: usize, bytes: u64) -> u64 {
        if let Some(stream) = self.streams.get_mut(way) {
            stream.next = stream.next.saturating_add(bytes);
        }
        self.streams.get(1 - way).map_or(0, |it| it.next)
    }

    pub(crate) fn is_observed_from(&self, way: usize) -> bool {
        self.observer == way
    }

    /// Where a piece belongs that the process whose direction is `way` sent or received.
    pub(crate) fn fits(&self, way: usize, it: &Plaintext<'_>) -> Fits {
        if way != self.observer {
            return Fits::No;
        }
        let begins = it.offset == 0;
        if it.session != self.session {
            return if begins { Fits::Anew } else { Fits::No };
        }
        let next = self.streams.get(sender(way, it)).map_or(0, |it| it.next);
        let missing = it.offset.saturating_sub(next);
        // More than a terabyte is a count that makes no sense.
        if (begins && next > 0) || missing > LONGEST_GAP {
            return Fits::Anew;
        }
        let known = usize::try_from(next.saturating_sub(it.offset)).unwrap_or(usize::MAX);
        Fits::Yes { missing, known }
    }

    /// Notes that a piece was read; how far the other direction had come by then, as it is read here.
    pub(crate) fn read(&mut self, sender: usize, it: &Plaintext<'_>) -> u64 {
        if let Some(stream) = self.streams.get_mut(sender) {
            stream.next = stream.next.max(it.offset.saturating_add(it.bytes.len() as u64));
        }
        let other = self.streams.get(1 - sender);
        other.map_or(0, |other| it.seen.saturating_sub(other.start))
    }
}

/// The direction of a piece that the process whose direction is `way` sent or received.
pub(crate) fn sender(way: usize, it: &Plaintext<'_>) -> usize {
    if it.sent { way } else { 1 - way }
}

/// What was read in processes before a packet of its conversation was: packets come a little later, and say by which
/// name the conversation goes. It waits for them a moment.
#[derive(Default)]
pub(crate) struct Early {
    waiting: VecDeque<Word>,
    bytes: usize,
}

/// What waits.
pub(crate) enum Word {
    Said(Piece),
    /// Closed, when and between whom.
    Closed(i64, SocketAddr, SocketAddr),
}

/// A [`Plaintext`] of its own.
pub(crate) struct Piece {
    ts: i64,
    ends: (SocketAddr, SocketAddr),
    side: Option<Side>,
    sent: bool,
    session: u64,
    offset: u64,
    seen: u64,
    bytes: Box<[u8]>,
    process: Acting,
}

impl Piece {
    pub(crate) fn of(it: &Plaintext<'_>) -> Self {
        Self {
            ts: it.ts,
            ends: (it.local, it.remote),
            side: it.side,
            sent: it.sent,
            session: it.session,
            offset: it.offset,
            seen: it.seen,
            bytes: it.bytes.into(),
            process: it.process.into(),
        }
    }

    pub(crate) fn said(&self) -> Plaintext<'_> {
        Plaintext {
            ts: self.ts,
            local: self.ends.0,
            remote: self.ends.1,
            side: self.side,
            sent: self.sent,
            session: self.session,
            offset: self.offset,
            seen: self.seen,
            bytes: &self.bytes,
            process: self.process.get(),
        }
    }
}

impl Early {
    /// Whether something waits that was said between these ends.
    pub(crate) fn has(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.waiting.iter().any(|it| match it {
            Word::Said(it) => it.ends == (local, remote),
            Word::Closed(..) => false,
        })
    }

    pub(crate) fn push(&mut self, it: Word) {
        self.bytes += it.len();
        self.waiting.push_back(it);
    }

    /// What has waited long enough by `now`, or must for want of room.
    pub(crate) fn due(&mut self, now: i64) -> Option<Word> {
        let first = self.waiting.front()?;
        let full = self.bytes > MOST_WAITING_BYTES || self.waiting.len() > MOST_WAITING;
        if !full && now.saturating_sub(first.ts()) < WAITS {
            return None;
        }
        self.bytes -= first.len();
        self.waiting.pop_front()
    }
}

impl Word {
    fn ts(&self) -> i64 {
        match self {
            Self::Said(it) => it.ts,
            Self::Closed(ts, ..) => *ts,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Said(it) => it.bytes.len(),
            Self::Closed(..) => 0,
        }
    }
}

/// Owners that were told of before there was a packet of their conversations.
#[derive(Default)]
pub(crate) struct Owners {
    by_key: HashMap<Key, Owned>,
}

/// What is known of a conversation's processes.
pub(crate) struct Owned {
    pub(crate) ts: i64,
    /// By the direction in which they send.
    pub(crate) processes: [Option<Acting>; 2],
    /// The direction in which the client sends.
    pub(crate) client: Option<usize>,
}

impl Owners {
    pub(crate) fn insert(&mut self, key: Key, way: usize, it: &Owner<'_>) {
        if self.by_key.len() >= MOST {
            self.by_key.retain(|_, known| it.ts.saturating_sub(known.ts) < LIFETIME);
            if self.by_key.len() >= MOST {
                self.by_key.clear();
            }
        }
        let owned = || Owned { ts: it.ts, processes: [None, None], client: None };
        let owned = self.by_key.entry(key).or_insert_with(owned);
        owned.ts = it.ts;
        if let Some(process) = owned.processes.get_mut(way) {
            *process = Some(it.process.into());
        }
        owned.client = client(way, it.side).or(owned.client);
    }

    /// Notes both at once.
    pub(crate) fn put(&mut self, key: Key, owned: Owned) {
        if owned.processes.iter().any(Option::is_some) && self.by_key.len() < MOST {
            self.by_key.insert(key, owned);
        }
    }

    pub(crate) fn take(&mut self, key: &Key, ts: i64) -> Option<Owned> {
        if self.by_key.is_empty() {
            return None;
        }
        self.by_key.remove(key).filter(|it| ts.saturating_sub(it.ts) < LIFETIME)
    }
}

/// Processes of whose connections a TLS handshake was seen in packets, since they were last taken.
#[derive(Default)]
pub(crate) struct Shaken {
    pids: BTreeSet<u32>,
}

impl Shaken {
    pub(crate) fn note(&mut self, pids: impl Iterator<Item = u32>) {
        for pid in pids {
            if self.pids.len() < MOST {
                self.pids.insert(pid);
            }
        }
    }

    pub(crate) fn take(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.pids)
    }
}

/// The direction in which the client sends, if the process that sends in direction `way` is `side`.
pub(crate) fn client(way: usize, side: Option<Side>) -> Option<usize> {
    side.map(|it| if it == Side::Client { way } else { 1 - way })
}

/// The rows of a conversation's plaintext are numbered from there on, so that its packets can be read again and their
/// rows numbered anew.
pub(crate) const FIRST_SEQ: u64 = 1 << 32;

/// Nanoseconds that packets come later than what processes say: a block of the kernel's ring is handed over when it is
/// full, or after 20 ms.
const WAITS: i64 = crate::limits::SECOND / 16;
/// First words of conversations, at once.
const MOST_WAITING: usize = 1_024;
const MOST_WAITING_BYTES: usize = 8 << 20;
/// The direction in which a process sends that there is not.
const NOBODY: usize = 2;
const LONGEST_GAP: u64 = 1 << 40;
/// More than a node's connections that began within a second and had no packet yet.
const MOST: usize = 16_384;
/// Nanoseconds after which the packets don't come any more.
const LIFETIME: i64 = 10 * crate::limits::SECOND;
