//! Where a message ends, and what looks like one.
use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::{Fields, Partial};
use crate::body::Payload;
use crate::exchange::Side;
use crate::input::{Input, Stop};
use crate::protocol::Guess;

/// A message without its head.
pub(super) struct Raw<'i> {
    pub(super) kind: u8,
    /// All of it, or what was kept of a long one.
    pub(super) body: Cow<'i, [u8]>,
    /// Bytes of the whole body.
    pub(super) size: u64,
    pub(super) incomplete: bool,
}

/// The next message of `side`. A long one is used up as it comes, and so are rows that nobody keeps.
pub(super) fn next<'i>(
    slot: &mut Option<Partial>,
    side: Side,
    skips_rows: bool,
    input: &mut Input<'i>,
) -> Result<Raw<'i>, Stop> {
    if slot.is_none() {
        let (kind, length) = head(side, input.rest())?.ok_or(Stop::More)?;
        let whole = size(length) + 1;
        if input.rest().len() >= whole {
            let bytes = input.take(whole)?;
            let body = bytes.get(HEAD_BYTES..).unwrap_or_default();
            let size = body.len() as u64;
            return Ok(Raw { kind, body: Cow::Borrowed(body), size, incomplete: false });
        }
        let is_row = kind == b'D' && side == Side::Server;
        let streams = kind == b'd' || is_row && skips_rows || whole > WAIT_BYTES;
        if !streams {
            return Err(Stop::More);
        }
        input.take(HEAD_BYTES)?;
        let left = u64::from(length) - 4;
        *slot = Some(Partial { kind, left, payload: Payload::default(), incomplete: false });
        input.commit();
    }
    let partial = slot.as_mut().ok_or(Stop::Lost)?;
    if partial.left > 0 {
        let bytes = input.some(partial.left)?;
        partial.left -= bytes.len() as u64;
        let is_kept = !(partial.kind == b'd' || partial.kind == b'D' && side == Side::Server);
        partial.payload.push(bytes, if is_kept { input.limits().body_bytes } else { 0 });
        input.commit();
    }
    if partial.left > 0 {
        return Err(Stop::More);
    }
    let partial = slot.take().ok_or(Stop::Lost)?;
    Ok(Raw {
        kind: partial.kind,
        body: Cow::Owned(partial.payload.bytes().to_vec()),
        size: partial.payload.size(),
        incomplete: partial.incomplete,
    })
}

/// The type and length that `bytes` begin with; `None` if they are too few.
fn head(side: Side, bytes: &[u8]) -> Result<Option<(u8, u32)>, Stop> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let is_known = match side {
        Side::Client => CLIENT_KINDS.contains(kind),
        Side::Server => SERVER_KINDS.contains(kind),
    };
    let Some([_, a, b, c, d]) = bytes.get(..HEAD_BYTES) else {
        // No message is as long as 256 MB times 4.
        let fits = bytes.get(1).is_none_or(|it| *it < 0x40);
        return if is_known && fits { Ok(None) } else { Err(Stop::Lost) };
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    let fits = match (side, kind) {
        (Side::Client, b'S' | b'H' | b'X' | b'c')
        | (Side::Server, b'1' | b'2' | b'3' | b'n' | b'I' | b's' | b'c') => length == 4,
        (_, b'd') => (4..MOST_BYTES).contains(&length),
        (Side::Client, b'E') => (9..MOST_SHORT_BYTES).contains(&length),
        (Side::Client, b'D' | b'C') => (6..MOST_SHORT_BYTES).contains(&length),
        (Side::Client, b'p') => (4..MOST_SHORT_BYTES).contains(&length),
        (Side::Server, b'D') => (6..MOST_BYTES).contains(&length),
        (Side::Server, b'K') => (8..300).contains(&length),
        (Side::Server, b'Z') => length == 5,
        (Side::Server, b'R') => (8..MOST_SHORT_BYTES).contains(&length),
        (Side::Server, b'C') => (5..1000).contains(&length),
        (Side::Server, b'S' | b'E' | b'N' | b'A' | b'v') => (5..MOST_LONG_BYTES).contains(&length),
        (Side::Server, _) => (4..MOST_LONG_BYTES).contains(&length),
        (Side::Client, _) => (5..MOST_BYTES).contains(&length),
    };
    if is_known && fits { Ok(Some((*kind, length))) } else { Err(Stop::Lost) }
}

/// How much a message looks like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    No,
    /// Its type and length fit.
    Weak,
    /// Everything in it fits too.
    Strong,
}

/// What the inside of a whole message says.
fn evidence(side: Side, kind: u8, body: &[u8]) -> Evidence {
    let mut fields = Fields(body);
    let fits = match (side, kind) {
        (Side::Client, b'Q') => is_text(body),
        (Side::Client, b'P') => fits_parse(fields),
        (Side::Client, b'B') => fits_bind(fields),
        (Side::Client, b'D' | b'C') => {
            let is_name = matches!(body, [b'S' | b'P', rest @ ..] if ends_name(rest));
            return if is_name { Evidence::Weak } else { Evidence::No };
        }
        (Side::Client, b'E') => {
            let fits = fields.name().is_some() && fields.u32().is_some() && fields.0.is_empty();
            return if fits { Evidence::Weak } else { Evidence::No };
        }
        (Side::Server, b'T') => {
            let count = fields.u16().unwrap_or(0);
            (0..count).all(|_| fields.name().is_some() && fields.take(18).is_some())
                && fields.0.is_empty()
        }
        (Side::Server, b'D') => {
            let count = fields.u16().unwrap_or(u16::MAX);
            let fits = (0..count).all(|_| fields.value().is_some()) && fields.0.is_empty();
            if fits && count == 0 {
                return Evidence::Weak;
            }
            fits
        }
        (Side::Server, b't') => {
            let fits = fields.u16().is_some_and(|it| fields.0.len() == 4 * usize::from(it));
            return if fits { Evidence::Weak } else { Evidence::No };
        }
        (Side::Server, b'C') => is_tag(body),
        (Side::Server, b'E' | b'N') => fits_error(body),
        (Side::Server, b'S') => {
            let name = fields.name().unwrap_or_default();
            let is_name = |it: &u8| it.is_ascii_alphanumeric() || b"_.".contains(it);
            !name.is_empty()
                && name.iter().all(is_name)
                && fields.name().is_some()
                && fields.0.is_empty()
        }
        (Side::Server, b'A') => {
            fields.u32().is_some()
                && fields.name().is_some_and(|it| !it.is_empty())
                && fields.name().is_some()
                && fields.0.is_empty()
        }
        (Side::Server, b'Z') => matches!(body, [b'I' | b'T' | b'E']),
        (Side::Server, b'R') => match fields.u32() {
            Some(0 | 2 | 3 | 6 | 7 | 9) => fields.0.is_empty(),
            Some(5) => fields.0.len() == 4,
            Some(10) => fields.0.ends_with(b"\0\0"),
            Some(8 | 11 | 12) => return Evidence::Weak,
            _ => false,
        },
        _ => return Evidence::Weak,
    };
    if fits { Evidence::Strong } else { Evidence::No }
}

/// A statement: text and a zero byte.
fn is_text(body: &[u8]) -> bool {
    body.len() > 1 && memchr(0, body) == Some(body.len() - 1) && is_printable(body)
}

/// Whether a text begins without control characters, but for those that lay it out.
fn is_printable(text: &[u8]) -> bool {
    let start = text.get(..64).unwrap_or(text);
    !start.iter().any(|it| *it < b' ' && !b"\t\n\r\0".contains(it))
}

fn ends_name(bytes: &[u8]) -> bool {
    memchr(0, bytes) == Some(bytes.len().wrapping_sub(1)) && is_printable(bytes)
}

fn fits_parse(mut fields: Fields<'_>) -> bool {
    fields.name().is_some_and(is_printable)
        && fields.name().is_some_and(is_printable)
        && fields.u16().is_some_and(|it| fields.0.len() == 4 * usize::from(it))
}

fn fits_bind(mut fields: Fields<'_>) -> bool {
    fields.name().is_some_and(is_printable)
        && fields.name().is_some_and(is_printable)
        && fields.u16_list().is_some()
        && fields.u16().is_some_and(|count| (0..count).all(|_| fields.value().is_some()))
        && fields.u16_list().is_some()
        && fields.0.is_empty()
}

/// `INSERT 0 1` and a zero byte.
fn is_tag(body: &[u8]) -> bool {
    let Some((0, tag)) = body.split_last() else { return false };
    let fits = |it: &u8| it.is_ascii_uppercase() || it.is_ascii_digit() || b" _-".contains(it);
    tag.first().is_some_and(u8::is_ascii_uppercase) && tag.iter().all(fits)
}

/// Fields with a type each, the severity first.
fn fits_error(body: &[u8]) -> bool {
    body.first() == Some(&b'S')
        && body.ends_with(b"\0\0")
        && body.get(1).is_some_and(|it| it.is_ascii_uppercase() || !it.is_ascii())
        && [&b"\0M"[..], b"\0C"].iter().any(|it| memmem::find(body, it).is_some())
}

/// Do these bytes begin a connection? Its first message has no type, but a number that says what it is.
pub(super) fn guess_startup(bytes: &[u8]) -> Guess {
    let Some([a, b, c, d, e, f, g, h]) = bytes.get(..8) else {
        let fits = match bytes {
            [0, 0, length, _, major, rest @ ..] => {
                *length < 40 && matches!((major, rest), (0, [] | [3, ..]) | (4, [] | [0xd2, ..]))
            }
            [0, 0, length, ..] => *length < 40,
            _ => bytes.iter().all(|it| *it == 0),
        };
        return if fits { Guess::More } else { Guess::No };
    };
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    match (u32::from_be_bytes([*e, *f, *g, *h]), length) {
        (SSL_REQUEST | GSS_REQUEST, 8) | (CANCEL_REQUEST, 12..300) => Guess::Sure,
        (version, 9..=STARTUP_BYTES) if version >> 16 == 3 && version & 0xffff < 100 => {
            let rest = bytes.get(8..).unwrap_or_default();
            match rest.first() {
                None => Guess::More,
                Some(it) if it.is_ascii_lowercase() => {
                    let word = rest.get(..5).unwrap_or(rest);
                    if word == b"user\0" { Guess::Sure } else { Guess::Maybe }
                }
                Some(_) => Guess::No,
            }
        }
        _ => Guess::No,
    }
}

/// Do these bytes begin with messages of `side`?
pub(super) fn guess(side: Side, bytes: &[u8]) -> Guess {
    let (mut rest, mut weak) = (bytes, 0);
    loop {
        match head(side, rest) {
            Err(_) => return Guess::No,
            Ok(None) if rest.is_empty() && weak > 0 => return Guess::Maybe,
            Ok(None) => return if weak > 0 { Guess::Maybe } else { Guess::More },
            // What is not whole says little; a message of megabytes says nothing.
            Ok(Some((_, length))) if length > 1 << 24 => return Guess::No,
            Ok(Some((kind, length))) => {
                let Some((message, behind)) = rest.split_at_checked(size(length) + 1) else {
                    let start = rest.get(HEAD_BYTES..).unwrap_or_default();
                    let is_text = side == Side::Client && matches!(kind, b'Q' | b'P');
                    return match is_text && !is_printable(start) {
                        true => Guess::No,
                        false => Guess::Maybe,
                    };
                };
                match evidence(side, kind, message.get(HEAD_BYTES..).unwrap_or_default()) {
                    Evidence::No => return Guess::No,
                    Evidence::Strong => return Guess::Sure,
                    Evidence::Weak => weak += 1,
                }
                if weak > 1 {
                    return Guess::Sure;
                }
                rest = behind;
            }
        }
    }
}

/// Uses up what lies before the next place where a message of the client may begin.
pub(super) fn resync_client(input: &mut Input<'_>) -> Result<(), Stop> {
    let rest = input.rest();
    let place = (0..rest.len()).find_map(|at| {
        let rest = rest.get(at..)?;
        match head(Side::Client, rest) {
            Err(_) => None,
            Ok(None) => Some((at, false)),
            Ok(Some((_, length))) if size(length) > WAIT_BYTES => None,
            Ok(Some(_)) => match guess(Side::Client, rest) {
                Guess::Sure => Some((at, true)),
                // A message alone in the rest of the bytes.
                Guess::Maybe => Some((at, ends_with_it(rest))),
                Guess::More | Guess::No => None,
            },
        }
    });
    let (at, found) = place.unwrap_or((rest.len(), false));
    input.take(at)?;
    input.commit();
    if found { Ok(()) } else { Err(Stop::More) }
}

/// Whether a short message is all there is.
fn ends_with_it(rest: &[u8]) -> bool {
    match head(Side::Client, rest) {
        Ok(Some((_, length))) => rest.len() == size(length) + 1,
        _ => false,
    }
}

/// The same for the server: at once if what comes next is a message from its start, else where an
/// answer ends. What the server tells by itself is passed over if it is told to.
pub(super) fn resync_server(passes_told: bool, input: &mut Input<'_>) -> Result<(), Stop> {
    while passes_told && let Ok(Some((b'A', length))) = head(Side::Server, input.rest()) {
        if size(length) > TAIL_BYTES {
            break;
        }
        input.take(size(length) + 1)?;
        input.commit();
    }
    let rest = input.rest();
    match (head(Side::Server, rest), guess(Side::Server, rest)) {
        (Ok(_), Guess::Sure) => return Ok(()),
        (Ok(_), Guess::Maybe) if rest.len() < WAIT_BYTES && !has_end(rest) => {
            return Err(Stop::More);
        }
        (Ok(None), _) => return Err(Stop::More),
        _ => {}
    }
    let Some(end) = find_end(rest) else {
        // The tail may hold the start of it.
        input.take(rest.len().saturating_sub(TAIL_BYTES))?;
        input.commit();
        return Err(Stop::More);
    };
    let window = end.saturating_sub(TAIL_BYTES);
    let last = (window..end).rev().find(|at| {
        let Some(message) = rest.get(*at..end) else { return false };
        let is_last = matches!(message.first(), Some(b'C' | b'E'));
        is_last
            && matches!(head(Side::Server, message), Ok(Some((_, length))) if message.len() == size(length) + 1)
            && message.first().is_some_and(|kind| {
                let body = message.get(HEAD_BYTES..).unwrap_or_default();
                evidence(Side::Server, *kind, body) == Evidence::Strong
            })
    });
    input.take(last.unwrap_or(end))?;
    input.commit();
    Ok(())
}

fn has_end(bytes: &[u8]) -> bool {
    find_end(bytes).is_some()
}

/// Where the next ReadyForQuery lies.
fn find_end(bytes: &[u8]) -> Option<usize> {
    memmem::find_iter(bytes, b"Z\0\0\0\x05")
        .find(|at| matches!(bytes.get(at + 5), Some(b'I' | b'T' | b'E')))
}

/// A length as an index; what does not fit is out of reach anyway.
pub(super) fn size(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX >> 1)
}

pub(super) const SSL_REQUEST: u32 = 80_877_103;
pub(super) const GSS_REQUEST: u32 = 80_877_104;
pub(super) const CANCEL_REQUEST: u32 = 80_877_102;

/// What PostgreSQL itself takes for a first message.
pub(super) const STARTUP_BYTES: u32 = 10_000;

/// Bytes of a ReadyForQuery.
pub(super) const READY_BYTES: u8 = 6;

/// A type and a length.
const HEAD_BYTES: usize = 5;

/// A message up to this long is waited for; what is kept of a longer one is no more.
const WAIT_BYTES: usize = 64 << 10;

/// What may stand between the end of an answer's rows and the answer's end.
const TAIL_BYTES: usize = 4 << 10;

/// PostgreSQL's own bounds: a gigabyte for what carries values, 30,000 bytes for errors and the like
/// (which may be longer in other servers), and 10,000 for names.
const MOST_BYTES: u32 = 0x3fff_ffff;
const MOST_LONG_BYTES: u32 = 1 << 20;
const MOST_SHORT_BYTES: u32 = 65_536;

const CLIENT_KINDS: &[u8] = b"QPBDECSHFXdcfp";
const SERVER_KINDS: &[u8] = b"RSKZTDCIEN123ntsAVGHWdcv";
