//! A cursor over the bytes one side has sent and no message has used yet.
use memchr::memmem;

use crate::Limits;
use crate::exchange::Moment;
use crate::session::Arrival;

/// Why parsing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The message has not all arrived. Everything since the last [`Input::commit`] is offered again.
    More,
    /// These bytes are not this protocol.
    Lost,
}

/// What a dissector reads. Every method returns [`Stop::More`] at the end of a stream, and
/// [`Stop::Lost`] at the end of a datagram, which has no more.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    kept: usize,
    datagram: bool,
    limits: &'a Limits,
    /// How many of the bytes came earlier than the rest, and when the first of either came.
    earlier: usize,
    arrivals: [Arrival; 2],
    /// Where in the stream the bytes begin.
    offset: u64,
    detailed: bool,
}

impl<'a> Input<'a> {
    /// Over bytes of a stream, or over one datagram.
    pub fn new(bytes: &'a [u8], datagram: bool, limits: &'a Limits) -> Self {
        let arrivals = [Arrival::default(); 2];
        Self {
            bytes,
            at: 0,
            kept: 0,
            datagram,
            limits,
            earlier: 0,
            arrivals,
            offset: 0,
            detailed: true,
        }
    }

    /// See [`Input::is_detailed`].
    pub(crate) fn detailed(self, detailed: bool) -> Self {
        Self { detailed, ..self }
    }

    /// Whether anyone will look at more than [`crate::Dissect::brief`] tells. If not, what only the
    /// row's other columns say need not be kept.
    pub fn is_detailed(&self) -> bool {
        self.detailed
    }

    /// Of which the first so many came earlier than the rest, and which begin there in the stream.
    pub(crate) fn arrived(self, earlier: usize, arrivals: [Arrival; 2], offset: u64) -> Self {
        Self { earlier, arrivals, offset, ..self }
    }

    /// When the next byte came. What begins with the bytes read now need not ask.
    pub fn now(&self) -> Moment {
        let [earlier, latest] = self.arrivals;
        let arrival = if self.at < self.earlier { earlier } else { latest };
        Moment { arrival, offset: self.offset + self.at as u64 }
    }

    /// Whether this is a datagram: one whole unit, without a length in front.
    pub fn datagram(&self) -> bool {
        self.datagram
    }

    /// The bounds that apply.
    pub fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// How many bytes were used.
    pub fn used(&self) -> usize {
        self.at
    }

    /// Keeps the progress made: what lies before is never offered again.
    pub fn commit(&mut self) {
        self.kept = self.at;
    }

    /// How many bytes are used for good.
    pub fn committed(&self) -> usize {
        self.kept
    }

    /// All that is there and not used.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// What the end of the bytes means.
    pub fn short(&self) -> Stop {
        if self.datagram { Stop::Lost } else { Stop::More }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        let taken = self.rest().get(..n).ok_or_else(|| self.short())?;
        self.at += n;
        Ok(taken)
    }

    /// Whatever is there, at most `n` bytes, at least one.
    pub fn some(&mut self, n: u64) -> Result<&'a [u8], Stop> {
        let there = self.rest().len();
        match usize::try_from(n).unwrap_or(there).min(there) {
            0 => Err(self.short()),
            n => self.take(n),
        }
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Stop> {
        self.take(1)?.first().copied().ok_or(Stop::Lost)
    }

    /// The next two bytes, big endian.
    pub fn u16(&mut self) -> Result<u16, Stop> {
        let bytes = self.take(2)?.try_into().map_err(|_| Stop::Lost)?;
        Ok(u16::from_be_bytes(bytes))
    }

    /// The next four bytes, big endian.
    pub fn u32(&mut self) -> Result<u32, Stop> {
        let bytes = self.take(4)?.try_into().map_err(|_| Stop::Lost)?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// Up to the next `end`, which is used and not returned; at most `limit` bytes before it.
    pub fn until(&mut self, end: &[u8], limit: usize) -> Result<&'a [u8], Stop> {
        let rest = self.rest();
        let window = rest.get(..limit.saturating_add(end.len())).unwrap_or(rest);
        match memmem::find(window, end) {
            Some(n) => {
                let found = self.take(n)?;
                self.take(end.len())?;
                Ok(found)
            }
            None if rest.len() <= limit => Err(self.short()),
            None => Err(Stop::Lost),
        }
    }

    /// Up to the next CRLF, which is used and not returned.
    pub fn line(&mut self, limit: usize) -> Result<&'a [u8], Stop> {
        self.until(b"\r\n", limit)
    }
}
