//! Where a packet ends, what looks like one, and the fields in it.
use std::borrow::Cow;

use memchr::memchr;

use super::name_of;
use crate::body::Payload;
use crate::exchange::Side;
use crate::input::{Input, Stop};
use crate::protocol::Guess;

/// A packet without its head; what was sent in several because of its length is one.
pub(super) struct Packet<'i> {
    /// Its place among the packets of a command and its answer.
    pub(super) number: u8,
    /// All of it, or what was kept of a long one.
    pub(super) body: Cow<'i, [u8]>,
    /// Bytes of the whole body.
    pub(super) size: u64,
    pub(super) incomplete: bool,
}

impl Packet<'_> {
    pub(super) fn is_whole(&self) -> bool {
        self.body.len() as u64 == self.size
    }
}

/// A packet too long to wait for.
#[derive(Debug)]
pub(super) struct Partial {
    number: u8,
    left: u64,
    /// Whether another packet goes on with it.
    goes_on: bool,
    pub(super) payload: Payload,
    incomplete: bool,
    is_kept: bool,
}

impl Partial {
    /// Bytes of it were not captured.
    pub(super) fn skip(&mut self, missing: u64) -> Result<(), Stop> {
        self.left = self.left.checked_sub(missing).ok_or(Stop::Lost)?;
        self.payload.skip(missing);
        self.incomplete = true;
        Ok(())
    }
}

/// The next packet. A long one is used up as it comes, and so is one that nobody keeps.
pub(super) fn next<'i>(
    slot: &mut Option<Partial>,
    skips: bool,
    input: &mut Input<'i>,
) -> Result<Packet<'i>, Stop> {
    if slot.is_none() {
        let Some((length, number)) = head(input.rest()) else { return Err(Stop::More) };
        let whole = HEAD_BYTES + length;
        if input.rest().len() >= whole && length < MOST_BYTES {
            let body = input.take(whole)?.get(HEAD_BYTES..).unwrap_or_default();
            let size = body.len() as u64;
            return Ok(Packet { number, body: Cow::Borrowed(body), size, incomplete: false });
        }
        // The first bytes of a row that nobody keeps still say whether it is one.
        if whole <= WAIT_BYTES && !(skips && length > SKIPPED_BYTES) {
            return Err(Stop::More);
        }
        input.take(HEAD_BYTES)?;
        *slot = Some(Partial {
            number,
            left: length as u64,
            goes_on: length == MOST_BYTES,
            payload: Payload::default(),
            incomplete: false,
            is_kept: !skips,
        });
        input.commit();
    }
    loop {
        let partial = slot.as_mut().ok_or(Stop::Lost)?;
        if partial.left == 0 && partial.goes_on {
            let (length, _) = head(input.rest()).ok_or(Stop::More)?;
            input.take(HEAD_BYTES)?;
            partial.left = length as u64;
            partial.goes_on = length == MOST_BYTES;
            input.commit();
        }
        if partial.left > 0 {
            let bytes = input.some(partial.left)?;
            partial.left -= bytes.len() as u64;
            let keep = if partial.is_kept { input.limits().body_bytes } else { 16 };
            partial.payload.push(bytes, keep);
            input.commit();
        }
        match (partial.left, partial.goes_on) {
            (0, false) => break,
            (0, true) => {}
            _ => return Err(Stop::More),
        }
    }
    let partial = slot.take().ok_or(Stop::Lost)?;
    Ok(Packet {
        number: partial.number,
        body: Cow::Owned(partial.payload.bytes().to_vec()),
        size: partial.payload.size(),
        incomplete: partial.incomplete,
    })
}

/// A length and a number.
fn head(bytes: &[u8]) -> Option<(usize, u8)> {
    let [a, b, c, number] = bytes.get(..HEAD_BYTES)? else { return None };
    Some((length(*a, *b, *c), *number))
}

fn length(a: u8, b: u8, c: u8) -> usize {
    usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16
}

/// Whether the next packet begins an answer, rather than going on with one.
pub(super) fn begins_answer(bytes: &[u8]) -> Result<bool, Stop> {
    head(bytes).map(|(_, number)| number <= 1).ok_or(Stop::More)
}

/// A compressed frame.
pub(super) struct Frame {
    /// Bytes of all of it.
    pub(super) length: usize,
    /// Bytes in it when opened; zero if it is not compressed.
    pub(super) opened: u64,
}

/// The frame that `bytes` begin with; `None` while it is not all there.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<Frame>, Stop> {
    let Some([a, b, c, _, d, e, f]) = bytes.get(..FRAME_HEAD_BYTES) else { return Ok(None) };
    let length = FRAME_HEAD_BYTES + length(*a, *b, *c);
    let opened = self::length(*d, *e, *f) as u64;
    if length == FRAME_HEAD_BYTES || length > MOST_FRAME_BYTES {
        return Err(Stop::Lost);
    }
    Ok((bytes.len() >= length).then_some(Frame { length, opened }))
}

/// Reads the fields of a packet. `None` at its end.
#[derive(Clone, Copy)]
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl<'b> Fields<'b> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// An integer in as many bytes as it needs.
    pub(super) fn length(&mut self) -> Option<u64> {
        match self.u8()? {
            0xfb | 0xff => None,
            0xfc => self.u16().map(u64::from),
            0xfd => match self.take(3)? {
                [a, b, c] => Some(length(*a, *b, *c) as u64),
                _ => None,
            },
            0xfe => self.u64(),
            it => Some(it.into()),
        }
    }

    /// A length and so many bytes.
    pub(super) fn text(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.length()?).ok()?;
        self.take(length)
    }

    /// Up to the next zero byte, or all that is left.
    pub(super) fn name(&mut self) -> &'b [u8] {
        match memchr(0, self.0) {
            Some(end) => {
                let name = self.take(end).unwrap_or_default();
                self.take(1);
                name
            }
            None => std::mem::take(&mut self.0),
        }
    }
}

/// Do these bytes begin with a packet of `side`?
pub(super) fn guess(side: Side, bytes: &[u8]) -> Guess {
    let Some((length, number)) = head(bytes) else {
        return if bytes.get(2).is_none_or(|it| *it < 0x20) { Guess::More } else { Guess::No };
    };
    if length == 0 || number > 1 {
        return Guess::No;
    }
    let rest = bytes.get(HEAD_BYTES..).unwrap_or_default();
    let (body, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    let is_whole = body.len() == length;
    if body.is_empty() {
        return Guess::More;
    }
    match side {
        Side::Client if number == 1 => guess_login(length, body),
        Side::Client => guess_command(length, body, behind, is_whole),
        Side::Server => guess_answer(number, length, body, behind, is_whole),
    }
}

fn guess_login(length: usize, body: &[u8]) -> Guess {
    let Some(head) = body.get(..32.min(length)) else { return Guess::More };
    let flags = match head {
        [a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => return Guess::No,
    };
    // Zeros that the protocol keeps for later, but for what MariaDB put there.
    match head.get(9..28) {
        Some(zeros) if flags & 0x200 != 0 && zeros.iter().all(|it| *it == 0) => Guess::Sure,
        _ => Guess::No,
    }
}

fn guess_command(length: usize, body: &[u8], behind: &[u8], is_whole: bool) -> Guess {
    let Some((command, rest)) = body.split_first() else { return Guess::More };
    if name_of(*command).is_none() {
        return Guess::No;
    }
    match command {
        0x03 | 0x16 => {
            let statement = match rest {
                [0, 1, statement @ ..] => statement,
                statement => statement,
            };
            let start = statement.get(..64).unwrap_or(statement);
            if start.iter().any(|it| *it < b' ' && !b"\t\r\n".contains(it)) {
                return Guess::No;
            }
            let text = String::from_utf8_lossy(start);
            let operation = crate::protocol::common::sql::operation(&text);
            let is_known = STATEMENTS.contains(&&*operation);
            match (is_known, is_whole && behind.is_empty()) {
                (true, true) => Guess::Sure,
                _ => Guess::Maybe,
            }
        }
        // Nothing but the command.
        0x01 | 0x09 | 0x0d | 0x0e | 0x1f if length == 1 => Guess::Maybe,
        0x01 | 0x09 | 0x0d | 0x0e | 0x1f => Guess::No,
        0x19 | 0x1a if length != 5 => Guess::No,
        0x02 | 0x04 | 0x11 | 0x12 | 0x15 | 0x17..=0x1c | 0x1e | 0xfa => Guess::Maybe,
        _ => Guess::No,
    }
}

fn guess_answer(number: u8, length: usize, body: &[u8], behind: &[u8], is_whole: bool) -> Guess {
    let mut fields = Fields(body);
    match (number, fields.u8()) {
        (0, Some(10)) => {
            let Some(end) = memchr(0, fields.0) else {
                return if is_whole || fields.0.len() > 100 { Guess::No } else { Guess::More };
            };
            let version = fields.0.get(..end).unwrap_or_default();
            let is_version = version.first().is_some_and(u8::is_ascii_digit)
                && version.contains(&b'.')
                && version.iter().all(|it| it.is_ascii_graphic() || *it == b' ');
            if is_version && length > end + 14 { Guess::Sure } else { Guess::No }
        }
        // The host is blocked, or the answer to a command.
        (_, Some(0xff)) => {
            let Some(code) = fields.u16() else { return Guess::More };
            let is_state = fields.0.first() == Some(&b'#');
            match (1000..20_000).contains(&code) && is_whole && length > 9 {
                true if is_state => Guess::Sure,
                true => Guess::Maybe,
                false => Guess::No,
            }
        }
        (1, Some(0)) if is_whole && length >= 7 => {
            let counts = (fields.length(), fields.length());
            let state = (fields.u16(), fields.u16());
            let ((Some(_), Some(_)), (Some(status), Some(warnings))) = (counts, state) else {
                return Guess::No;
            };
            // In a transaction, autocommit, or both, and flags that are seen with an OK.
            let is_plain = status & 0x3 != 0 && status & !0x422f == 0 && warnings < 100;
            match is_plain {
                true if behind.is_empty() => Guess::Sure,
                true => Guess::Maybe,
                false => Guess::No,
            }
        }
        (1, Some(0xfb)) => Guess::Maybe,
        (1, Some(1..=0xfa)) if length <= 2 => {
            // The first column's definition follows.
            match (head(behind), behind.get(HEAD_BYTES..HEAD_BYTES + 4)) {
                (Some((_, 2)), Some([3, b'd', b'e', b'f'])) => Guess::Sure,
                (Some((_, 2)), _) if behind.len() > HEAD_BYTES + 4 => Guess::Maybe,
                (Some(_), _) if behind.len() > HEAD_BYTES => Guess::No,
                _ => Guess::More,
            }
        }
        _ if is_whole => Guess::No,
        _ => Guess::Maybe,
    }
}

/// Uses up what lies before the next place where a command or an answer may begin. Only the start of
/// what was captured behind a gap is looked at: a packet's head says too little to search for it.
pub(super) fn resync(side: Side, is_compressed: bool, input: &mut Input<'_>) -> Result<(), Stop> {
    let rest = input.rest();
    if is_compressed {
        // What was lost may have held any part of what is packed.
        return Err(Stop::Lost);
    }
    match guess(side, rest) {
        Guess::Sure => return Ok(()),
        // Alone in the rest of the bytes.
        Guess::Maybe
            if side == Side::Client
                && head(rest).is_some_and(|(length, _)| rest.len() == HEAD_BYTES + length) =>
        {
            return Ok(());
        }
        Guess::Maybe | Guess::More
            if head(rest).is_none_or(|(length, _)| {
                length <= WAIT_BYTES && rest.len() < 2 * HEAD_BYTES + length + 4
            }) =>
        {
            return Err(Stop::More);
        }
        _ => {}
    }
    input.take(rest.len())?;
    input.commit();
    Err(Stop::More)
}

const HEAD_BYTES: usize = 4;

/// The most that one packet holds; more goes on in the next.
const MOST_BYTES: usize = 0xff_ffff;

/// The head of a compressed frame.
pub(super) const FRAME_HEAD_BYTES: usize = 7;

/// A longer frame is not waited for.
const MOST_FRAME_BYTES: usize = 1 << 20;

/// A packet up to this long is waited for; what is kept of a longer one is no more.
const WAIT_BYTES: usize = 64 << 10;

/// A row longer than this is not waited for if nobody keeps it.
const SKIPPED_BYTES: usize = 1024;

/// First words of statements that leave no doubt.
const STATEMENTS: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "REPLACE",
    "SET",
    "SHOW",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "START",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "USE",
    "CALL",
    "WITH",
    "EXPLAIN",
    "DESCRIBE",
    "DESC",
    "LOCK",
    "UNLOCK",
    "GRANT",
    "REVOKE",
    "ANALYZE",
    "FLUSH",
    "LOAD",
    "PREPARE",
    "EXECUTE",
    "SAVEPOINT",
    "RELEASE",
    "KILL",
    "OPTIMIZE",
    "RENAME",
    "DEALLOCATE",
];
