//! HTTP/2's frames (RFC 9113 4.1): what their heads say, and where one may begin.

/// The nine bytes before each frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<HEAD_BYTES>()?;
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a frame can be like this. Unknown flags are to be ignored.
    pub(super) fn is_possible(&self) -> bool {
        let on_stream = self.stream > 0;
        match self.kind {
            DATA | CONTINUATION => on_stream,
            HEADERS => on_stream && self.length > 0,
            PRIORITY => on_stream && self.length == 5,
            RST_STREAM => on_stream && self.length == 4,
            SETTINGS => !on_stream && self.length.is_multiple_of(6),
            PUSH_PROMISE => on_stream && self.length >= 4,
            PING => !on_stream && self.length == 8,
            GOAWAY => !on_stream && self.length >= 8,
            WINDOW_UPDATE => self.length == 4,
            ALTSVC => self.length >= 2,
            ORIGIN => true,
            PRIORITY_UPDATE => !on_stream && self.length >= 4,
            // Sent to make sure that readers ignore what they do not know.
            kind => kind % 0x1f == 0x0b,
        }
    }

    /// Whether a frame of what is in use is likely to be like this: strict, to find one among
    /// other bytes.
    fn is_likely(&self) -> bool {
        let known = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | PRIORITISED,
            SETTINGS | PING => ACK,
            PUSH_PROMISE => END_HEADERS | PADDED,
            CONTINUATION => END_HEADERS,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE | PRIORITY_UPDATE => 0,
            _ => return false,
        };
        let bounded = match self.kind {
            SETTINGS => self.length <= 16 * 6 && (!self.has(ACK) || self.length == 0),
            PUSH_PROMISE => self.stream % 2 == 1,
            _ => self.length <= LIKELY_BYTES,
        };
        self.is_possible() && self.flags & !known == 0 && self.stream < LIKELY_STREAM && bounded
    }
}

/// Whether frames begin here: one after the other up to where the bytes end, or `many` of them.
/// `None` if it takes more bytes to tell.
pub(super) fn chain(bytes: &[u8], many: usize) -> Option<bool> {
    let mut rest = bytes;
    for _ in 0..many {
        if rest.is_empty() && rest.len() < bytes.len() {
            return Some(true);
        }
        let Some(head) = Head::of(rest) else { return begins(rest) };
        // The reserved bit is never set.
        if !head.is_likely() || rest.get(5).is_some_and(|it| *it > 0x7f) {
            return Some(false);
        }
        match rest.get(HEAD_BYTES + head.length..) {
            Some(after) => rest = after,
            None => return None,
        }
    }
    Some(true)
}

/// Whether a head that is cut may be one: `None`, or it may not.
fn begins(bytes: &[u8]) -> Option<bool> {
    let small = bytes.first().is_none_or(|it| *it == 0);
    let known = bytes.get(3).is_none_or(|it| *it <= CONTINUATION);
    if small && known { None } else { Some(false) }
}

pub(super) const HEAD_BYTES: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
const ALTSVC: u8 = 10;
const ORIGIN: u8 = 12;
const PRIORITY_UPDATE: u8 = 16;

pub(super) const END_STREAM: u8 = 0x01;
pub(super) const ACK: u8 = 0x01;
pub(super) const END_HEADERS: u8 = 0x04;
pub(super) const PADDED: u8 = 0x08;
pub(super) const PRIORITISED: u8 = 0x20;

/// What a receiver allows unless it says otherwise; few do.
pub(super) const LIKELY_BYTES: usize = 16 << 10;

/// Connections end long before.
const LIKELY_STREAM: u32 = 1 << 26;
