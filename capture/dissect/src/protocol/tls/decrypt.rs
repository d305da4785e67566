//! Opens what the two sides of a connection say within TLS 1.2 or 1.3, where their secrets are known: RFC 8446 §5,
//! RFC 5246 §6.2.
//!
//! Where bytes are missing, it looks for the next record and finds out by trying how many there were between: what
//! authenticates a record says which one it is. The same tells when the keys have changed.
use std::collections::VecDeque;

use self::cipher::{Opener, Record, Suite};
pub use self::secrets::Secrets;
use self::secrets::{Label, Session};
use super::hello::{CLIENT_HELLO, Carrier, ClientHello, Reader, SERVER_HELLO, ServerHello};
use super::{
    APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, HEAD_BYTES, could_be_head, record_of,
};

mod cipher;
mod secrets;

/// What was said within TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Bytes(&'a [u8]),
    /// So many bytes of it are missing, or about so many.
    Missing(u64),
    /// What the two sides speak inside.
    Alpn(&'a [u8]),
}

/// Who hears what was said, in which direction.
pub(crate) type Hear<'a> = dyn FnMut(usize, Said<'_>) + 'a;

/// One connection.
#[derive(Default)]
pub(crate) struct Decryption {
    state: State,
    /// By direction.
    halves: [Half; 2],
    /// The direction in which the client sends.
    client: usize,
    /// Bytes that came, and bytes that were tried to be opened in vain.
    came: u64,
    tried: u64,
}

#[derive(Default)]
enum State {
    /// No client has said hello.
    #[default]
    Silent,
    /// One has, with this random, and sends data before the server answers, or doesn't.
    Asked([u8; 32], bool),
    /// The server has answered; of early data, not whether it takes it.
    Answered,
    /// All is known.
    Open,
    /// It can't be opened.
    Closed,
}

/// What one side sends.
#[derive(Default)]
struct Half {
    /// Bytes of a record that has not all come.
    held: Vec<u8>,
    /// A handshake message in the clear, as far as it came; the server's first one that is not.
    message: Vec<u8>,
    /// It said that what follows is encrypted: true of TLS 1.2 alone.
    changed: bool,
    is_classic: bool,
    /// What opens its records now, and what after that.
    openers: VecDeque<Opener>,
    /// Of the next record.
    number: u64,
    /// Bytes since the last record that could be read, of records that could not.
    lost: u64,
    /// Bytes left of a record of which others are missing.
    skip: usize,
    /// Where the next record begins is not known.
    seeks: bool,
    /// Records in a row that could not be opened.
    failures: u32,
}

enum Read {
    /// So many bytes are used.
    Used(usize),
    /// More must come, or the other side must say something first.
    Waits,
}

impl Decryption {
    /// Whether nothing more can be read.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// About how many bytes wait here.
    pub(crate) fn held(&self) -> usize {
        self.halves.iter().map(|it| it.held.len() + it.message.len()).sum()
    }

    /// Reads what was sent next in direction `way`.
    pub(crate) fn bytes(
        &mut self,
        secrets: &Secrets,
        way: usize,
        bytes: &[u8],
        hear: &mut Hear<'_>,
    ) {
        if self.is_closed() {
            return;
        }
        self.came += bytes.len() as u64;
        let Some(half) = self.halves.get_mut(way) else { return };
        if half.held.is_empty() {
            let used = self.read(secrets, way, bytes, hear);
            let rest = bytes.get(used..).unwrap_or_default();
            if let Some(half) = self.halves.get_mut(way) {
                half.held.extend_from_slice(rest);
            }
        } else {
            half.held.extend_from_slice(bytes);
            self.read_held(secrets, way, hear);
        }
        if self.is_closed() {
            *self = Self { state: State::Closed, ..Self::default() };
        }
    }

    /// `missing` bytes were not captured in direction `way`.
    pub(crate) fn gap(&mut self, way: usize, missing: u64) {
        if let Some(half) = self.halves.get_mut(way) {
            half.gap(missing);
        }
    }

    fn read_held(&mut self, secrets: &Secrets, way: usize, hear: &mut Hear<'_>) {
        let held = self.halves.get_mut(way).map(|it| std::mem::take(&mut it.held));
        let Some(mut held) = held else { return };
        let used = self.read(secrets, way, &held, hear);
        held.drain(..used.min(held.len()));
        if let Some(half) = self.halves.get_mut(way) {
            half.held = held;
        }
    }

    /// Reads records; how many of the bytes were used.
    fn read(&mut self, secrets: &Secrets, way: usize, bytes: &[u8], hear: &mut Hear<'_>) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|it| !it.is_empty()) {
            match self.record(secrets, way, rest, hear) {
                _ if self.is_closed() => return bytes.len(),
                Read::Used(n) => done += n,
                Read::Waits => break,
            }
        }
        done
    }

    fn record(&mut self, secrets: &Secrets, way: usize, bytes: &[u8], hear: &mut Hear<'_>) -> Read {
        let Some(half) = self.halves.get_mut(way) else { return Read::Used(bytes.len()) };
        if half.skip > 0 {
            let skipped = half.skip.min(bytes.len());
            half.skip -= skipped;
            return Read::Used(skipped);
        }
        if let State::Silent = self.state {
            // Something else was spoken first, as before STARTTLS: each piece may be where it begins.
            let begins = bytes.first() == Some(&HANDSHAKE) && could_be_head(bytes);
            if !begins {
                return Read::Used(bytes.len());
            }
        } else if half.seeks {
            let at = (0..bytes.len())
                .find(|at| bytes.get(*at..).is_some_and(could_be_record))
                .unwrap_or(bytes.len());
            if at > 0 {
                half.lost += at as u64;
                return Read::Used(at);
            }
        }
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Read::Waits;
        };
        let Some((kind, length)) = record_of(head) else {
            if let State::Silent = self.state {
                return Read::Used(bytes.len());
            }
            // Nonsense where a record should be.
            half.seeks = true;
            half.lost += 1;
            return Read::Used(1);
        };
        let Some(body) = rest.get(..length) else { return Read::Waits };
        let hidden = kind == APPLICATION_DATA || (half.is_classic && half.changed);
        if hidden && kind != CHANGE_CIPHER_SPEC {
            return self.hidden(secrets, way, Record { head: *head, body }, hear);
        }
        let used = HEAD_BYTES + length;
        match kind {
            HANDSHAKE => self.clear(secrets, way, body, hear),
            CHANGE_CIPHER_SPEC => half.changed = true,
            _ => {}
        }
        Read::Used(used)
    }

    /// A part of a handshake in the clear.
    fn clear(&mut self, secrets: &Secrets, way: usize, part: &[u8], hear: &mut Hear<'_>) {
        let is_over = match self.state {
            State::Silent => false,
            State::Asked(..) => way == self.client,
            State::Answered | State::Open | State::Closed => true,
        };
        let Some(half) = self.halves.get_mut(way).filter(|_| !is_over) else { return };
        let mut message = std::mem::take(&mut half.message);
        message.extend_from_slice(part);
        let mut from = Reader(&message);
        let (kind, length) = (from.u8(), from.number(3));
        if length.is_some_and(|it| it > MOST_HELLO_BYTES) {
            return self.refuse();
        }
        let (Some(kind), Some(body)) = (kind, length.and_then(|it| from.take(it))) else {
            half.message = message;
            return;
        };
        match (&self.state, kind) {
            (State::Silent, CLIENT_HELLO) => {
                let hello = ClientHello::of(Carrier::Tls, body);
                let random = hello.and_then(|it| it.random.try_into().ok());
                let early = hello.is_some_and(|it| it.has_early_data());
                if let Some(random) = random {
                    self.client = way;
                    self.state = State::Asked(random, early);
                }
            }
            (State::Asked(random, early), SERVER_HELLO) => {
                let (random, early) = (*random, *early);
                let hello = ServerHello::of(body);
                if hello.is_some_and(|it| it.is_retry()) {
                    // Another hello of the same client follows, and no early data any more.
                    self.state = State::Asked(random, false);
                    return;
                }
                let keys =
                    hello.and_then(|it| keys(&it, secrets.session(&random)?, &random, early));
                let Some(keys) = keys else { return self.refuse() };
                self.state = if early { State::Answered } else { State::Open };
                for (side, openers) in [self.client, 1 - self.client].into_iter().zip(keys.openers)
                {
                    if let Some(half) = self.halves.get_mut(side) {
                        half.openers = openers;
                        half.is_classic = keys.is_classic;
                    }
                }
                if let Some(alpn) = hello.and_then(|it| it.alpn()) {
                    hear(way, Said::Alpn(alpn));
                }
                if !early {
                    self.read_held(secrets, self.client, hear);
                }
            }
            _ => {}
        }
    }

    /// A record that is encrypted.
    fn hidden(
        &mut self,
        secrets: &Secrets,
        way: usize,
        record: Record<'_>,
        hear: &mut Hear<'_>,
    ) -> Read {
        let waits = match self.state {
            State::Asked(..) | State::Answered => way == self.client,
            _ => false,
        };
        if waits && self.held() > MOST_EARLY_BYTES {
            self.refuse();
        }
        if waits {
            return Read::Waits;
        }
        if !matches!(self.state, State::Answered | State::Open) {
            // Its hello was not captured.
            self.refuse();
            return Read::Used(record.body.len());
        }
        let used = HEAD_BYTES + record.body.len();
        let Some(half) = self.halves.get_mut(way) else { return Read::Used(used) };
        let Some((kind, text)) = half.open(record, &mut self.tried, way, hear) else {
            // What only looked like a record is none.
            let passed = if half.seeks { 1 } else { used };
            half.failures += u32::from(!half.seeks);
            half.lost += passed as u64;
            let is_enough = half.failures > MOST_FAILURES
                || self.tried > FREE_TRIES + self.came.saturating_mul(TRIES);
            if is_enough {
                self.refuse();
            }
            return Read::Used(passed);
        };
        let is_told = way != self.client && !half.is_classic;
        match kind {
            APPLICATION_DATA if !text.is_empty() => hear(way, Said::Bytes(&text)),
            HANDSHAKE if is_told && (half.number == 1 || !half.message.is_empty()) => {
                half.message.extend_from_slice(&text);
                self.extensions(way, hear);
            }
            _ => {}
        }
        if way != self.client && matches!(self.state, State::Answered) {
            let is_told = self.halves.get(way).is_some_and(|it| it.message.is_empty());
            if is_told || kind == APPLICATION_DATA {
                self.state = State::Open;
                self.read_held(secrets, self.client, hear);
            }
        }
        Read::Used(used)
    }

    /// What the server says first that is encrypted (EncryptedExtensions, RFC 8446 §4.3.1).
    fn extensions(&mut self, way: usize, hear: &mut Hear<'_>) {
        let client = self.client;
        let Some(half) = self.halves.get_mut(way) else { return };
        let message = std::mem::take(&mut half.message);
        let mut from = Reader(&message);
        if from.u8() != Some(ENCRYPTED_EXTENSIONS) {
            return;
        }
        let Some(extensions) = from.list(3) else {
            if message.len() < MOST_HELLO_BYTES {
                half.message = message;
            }
            return;
        };
        let mut takes_early_data = false;
        let mut list = Reader(Reader(extensions).list(2).unwrap_or_default());
        while let (Some(code), Some(content)) = (list.u16(), list.list(2)) {
            match code {
                super::hello::ALPN => {
                    let name = Reader(content).list(2).and_then(|it| Reader(it).list(1));
                    name.into_iter().for_each(|it| hear(way, Said::Alpn(it)));
                }
                super::hello::EARLY_DATA => takes_early_data = true,
                _ => {}
            }
        }
        if let State::Answered = self.state
            && !takes_early_data
            && let Some(half) = self.halves.get_mut(client)
        {
            // The client says it again, with other keys.
            half.openers.pop_front();
            half.failures = 0;
        }
    }

    /// Its records stay closed: there is nothing to open them with.
    fn refuse(&mut self) {
        self.state = State::Closed;
    }
}

impl Half {
    fn gap(&mut self, missing: u64) {
        let missing_bytes = usize::try_from(missing).unwrap_or(usize::MAX);
        let held = std::mem::take(&mut self.held);
        let of_record = match held.get(..HEAD_BYTES).and_then(record_of) {
            Some((_, length)) if !self.seeks => {
                let left = (HEAD_BYTES + length).saturating_sub(held.len());
                self.lost += held.len() as u64;
                left
            }
            _ if held.is_empty() => self.skip,
            _ => {
                self.lost += held.len() as u64;
                0
            }
        };
        // Of the record under way, all is lost, and what comes of it is passed over.
        if self.skip == 0 {
            self.lost += of_record as u64;
        }
        self.skip = of_record.saturating_sub(missing_bytes);
        if missing_bytes > of_record || of_record == 0 {
            self.lost += missing.saturating_sub(of_record as u64);
            self.seeks = true;
        }
        self.message = Vec::new();
    }

    /// What a record says, and of which kind it is: by the keys of this moment, or by those that follow.
    fn open(
        &mut self,
        record: Record<'_>,
        tried: &mut u64,
        way: usize,
        hear: &mut Hear<'_>,
    ) -> Option<(u8, Vec<u8>)> {
        let most = match self.lost {
            0 => 0,
            lost => (1 + lost / LEAST_RECORD_BYTES).min(MOST_LOST_RECORDS),
        };
        let mut found = None;
        let mut attempt = |opener: &Opener, first: u64| {
            (first..=first.saturating_add(most)).find_map(|number| {
                let opened = opener.open(number, record);
                if opened.is_none() {
                    *tried += record.body.len() as u64 + 1;
                }
                Some((number - first, number, opened?))
            })
        };
        for (place, opener) in self.openers.iter().enumerate() {
            let first = if place == 0 { self.number } else { 0 };
            if let Some(it) = attempt(opener, first) {
                found = Some((place, it));
                break;
            }
        }
        if found.is_none()
            && let [last] = self.openers.make_contiguous()
            && let Some(next) = last.updated()
            && let Some(it) = attempt(&next, 0)
        {
            self.openers.push_back(next);
            found = Some((1, it));
        }
        let (place, (skipped, number, opened)) = found?;
        self.openers.drain(..place);
        self.number = number + 1;
        self.failures = 0;
        self.seeks = false;
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 && skipped > 0 {
            let overhead = self.openers.front().and_then(Opener::overhead);
            let missing = overhead.map_or(UNKNOWN, |it| lost.saturating_sub(skipped * it));
            if missing > 0 {
                hear(way, Said::Missing(missing));
            }
        }
        Some(opened)
    }
}

/// What opens the records of the client and of the server.
struct Keys {
    openers: [VecDeque<Opener>; 2],
    is_classic: bool,
}

fn keys(
    hello: &ServerHello<'_>,
    session: &Session,
    client_random: &[u8; 32],
    early: bool,
) -> Option<Keys> {
    let suite = Suite::of(hello.cipher)?;
    if hello.hides_the_rest() {
        let all = |labels: &[Label]| -> VecDeque<Opener> {
            let secrets = labels.iter().filter_map(|it| session.secret(*it));
            secrets.filter_map(|it| Opener::sealed(suite, it)).collect()
        };
        let client = [Label::ClientEarly, Label::ClientHandshake, Label::ClientApplication];
        let client = all(client.get(usize::from(!early)..)?);
        let server = all(&[Label::ServerHandshake, Label::ServerApplication]);
        let is_known = !client.is_empty() || !server.is_empty();
        return is_known.then_some(Keys { openers: [client, server], is_classic: false });
    }
    if hello.chosen() != TLS_1_2 {
        return None;
    }
    let randoms = [client_random, hello.random.try_into().ok()?];
    let master = session.secret(Label::Master)?;
    let [client, server] = Opener::classic(suite, master, randoms, hello.encrypts_first())?;
    Some(Keys { openers: [[client].into(), [server].into()], is_classic: true })
}

/// Whether a record may begin here that is encrypted.
fn could_be_record(bytes: &[u8]) -> bool {
    match bytes.get(..HEAD_BYTES) {
        Some(head) => record_of(head)
            .is_some_and(|(kind, length)| kind != CHANGE_CIPHER_SPEC && length as u64 > LEAST_TEXT),
        None => could_be_head(bytes),
    }
}

const TLS_1_2: u16 = 0x0303;
const ENCRYPTED_EXTENSIONS: u8 = 8;
/// A byte more than no byte at all needs, with the shortest of all tags.
const LEAST_TEXT: u64 = 8;
/// Head, tag and a byte.
const LEAST_RECORD_BYTES: u64 = 14;
/// Records that may be missing in one place: 4 MiB of the longest.
const MOST_LOST_RECORDS: u64 = 256;
/// Post-quantum keys make hellos of two kilobytes.
const MOST_HELLO_BYTES: usize = 64 << 10;
/// What a client may send before its server has answered: four times what servers take by default.
const MOST_EARLY_BYTES: usize = 64 << 10;
/// Records in a row that can't be opened, after which none is tried.
const MOST_FAILURES: u32 = 16;
/// Bytes that may be tried in vain: so many, and so many for each that came.
const FREE_TRIES: u64 = 64 << 20;
const TRIES: u64 = 8;
/// More than any message has left: whoever reads on must look for the next one.
const UNKNOWN: u64 = 1 << 40;
