//! The part of a stream that is in memory, and the byte order its numbers are in.

use std::{
    fmt,
    io::{self, Read},
    ops::Range,
};

use crate::Error;

/// A sliding window on a stream. Grows to [`WINDOW_BYTES`] only if a record needs it.
pub(super) struct Window {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the stream `start` is.
    offset: u64,
}

impl Window {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, buffer: vec![0; FIRST_BYTES], start: 0, end: 0, offset: 0 }
    }

    /// Where in the stream the next byte stands.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Makes at least `n` bytes readable; false if the stream ends before. `n` is at most [`WINDOW_BYTES`].
    #[inline]
    pub(super) fn fill(&mut self, n: usize) -> Result<bool, Fault> {
        if self.end - self.start >= n { Ok(true) } else { self.refill(n) }
    }

    /// What is in memory, `n` bytes at most.
    #[inline]
    pub(super) fn peek(&self, n: usize) -> &[u8] {
        &self.buffer[self.start..self.end.min(self.start + n)]
    }

    /// Steps over `n` bytes that are in memory. They stay there until the next call that fills.
    #[inline]
    pub(super) fn take(&mut self, n: usize) -> Range<usize> {
        let range = self.start..self.start + n;
        self.start += n;
        self.offset += n as u64;
        range
    }

    /// The bytes of a range that [`take`](Self::take) gave.
    #[inline]
    pub(super) fn slice(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Steps over `n` bytes of the stream, in memory or not; false if it ends before.
    pub(super) fn skip(&mut self, mut n: u64) -> Result<bool, Fault> {
        while n > 0 {
            let step = usize::try_from(n).unwrap_or(usize::MAX).min(FIRST_BYTES);
            if !self.fill(1)? {
                return Ok(false);
            }
            let step = step.min(self.end - self.start);
            self.take(step);
            n -= step as u64;
        }
        Ok(true)
    }

    #[cold]
    fn refill(&mut self, n: usize) -> Result<bool, Fault> {
        debug_assert!(n <= WINDOW_BYTES, "the caller checks lengths before asking for them");
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if n > self.buffer.len() {
            self.buffer.resize(n.next_power_of_two(), 0);
        }
        while self.end < n {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A compressed stream that stops short.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Fault::Torn { at: self.offset });
                }
                Err(cause) => return Err(Fault::Io { at: self.offset, cause }),
            }
        }
        Ok(true)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("offset", &self.offset)
            .field("buffered", &(self.end - self.start))
            .finish()
    }
}

/// What is wrong with a stream, before it has a name.
pub(super) enum Fault {
    Torn { at: u64 },
    Corrupt { at: u64, what: String },
    Io { at: u64, cause: io::Error },
}

impl Fault {
    pub(super) fn named(self, name: &str, packets: u64) -> Error {
        let name = name.to_owned();
        match self {
            Self::Torn { at } => Error::Torn { name, offset: at, packets },
            Self::Corrupt { at, what } => Error::Corrupt { name, offset: at, what, packets },
            Self::Io { at, cause } => Error::Read { name, offset: at, cause, packets },
        }
    }
}

/// The byte order of the machine that wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    #[inline]
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let bytes = [bytes[at], bytes[at + 1]];
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    #[inline]
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// Two 32-bit halves, as pcapng writes its times: the high one first in either order.
    #[inline]
    pub(super) fn halves(self, bytes: &[u8], at: usize) -> u64 {
        u64::from(self.u32(bytes, at)) << 32 | u64::from(self.u32(bytes, at + 4))
    }

    #[inline]
    pub(super) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let (first, second) = (u64::from(self.u32(bytes, at)), u64::from(self.u32(bytes, at + 4)));
        match self {
            Self::Little => second << 32 | first,
            Self::Big => first << 32 | second,
        }
    }
}

/// A window as it begins, and the most that is read at once.
const FIRST_BYTES: usize = 256 << 10;
/// The largest window, so the largest record that can be read.
pub(super) const WINDOW_BYTES: usize = 1 << 20;
