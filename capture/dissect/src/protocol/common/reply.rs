//! What servers of the old text protocols answer: three digits and text, on one line or several
//! (RFC 5321 §4.2, RFC 959 §4.2).
use std::borrow::Cow;

use schema::value::text;

use crate::input::{Input, Stop};

/// One reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) struct Reply {
    /// Its three digits.
    pub(in crate::protocol) code: u16,
    /// What stands behind them, a line each, up to a bound.
    pub(in crate::protocol) text: Vec<u8>,
    /// Whether it may have begun before these lines.
    pub(in crate::protocol) incomplete: bool,
}

impl Reply {
    /// Its text, if it has one.
    pub(in crate::protocol) fn text(&self) -> Option<Cow<'_, str>> {
        (!self.text.is_empty()).then(|| text(&self.text))
    }

    /// Whether it says that the command was not carried out.
    pub(in crate::protocol) fn is_failure(&self) -> bool {
        self.code >= 400
    }

    /// What it says went wrong, if something did.
    pub(in crate::protocol) fn error(&self) -> Option<Cow<'_, str>> {
        if !self.is_failure() {
            return None;
        }
        let line = self.text.split(|it| *it == b'\n').next().unwrap_or_default();
        Some(if line.is_empty() { self.code.to_string().into() } else { text(line) })
    }

    /// How many bytes it holds on to.
    pub(in crate::protocol) fn held(&self) -> usize {
        self.text.capacity()
    }

    fn add(&mut self, line: &[u8]) {
        if !self.text.is_empty() {
            self.text.push(b'\n');
        }
        let room = TEXT_BYTES.saturating_sub(self.text.len());
        self.text.extend_from_slice(line.get(..room).unwrap_or(line));
    }
}

/// How the lines between the first and the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Between {
    /// Each with the code and a dash.
    Coded,
    /// Any way that is not the last line's.
    Free,
}

/// The reply that a server is in the middle of.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Replies {
    under_way: Option<Reply>,
    /// What comes may be the end of a reply whose beginning was missed.
    resumed: bool,
}

impl Replies {
    /// The next reply, once its last line is there.
    pub(in crate::protocol) fn read(
        &mut self,
        input: &mut Input<'_>,
        between: Between,
    ) -> Result<Reply, Stop> {
        loop {
            let line = input.until(b"\n", LINE_BYTES)?;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let coded = Coded::of(line);
            match self.under_way.take() {
                None => {
                    let coded = coded.ok_or(Stop::Lost)?;
                    let incomplete = std::mem::take(&mut self.resumed);
                    let mut reply = Reply { code: coded.code, text: Vec::new(), incomplete };
                    reply.add(coded.text);
                    if coded.last {
                        return Ok(reply);
                    }
                    self.under_way = Some(reply);
                }
                Some(mut reply) => {
                    let same = coded.filter(|it| it.code == reply.code);
                    match same {
                        Some(coded) => reply.add(coded.text),
                        None if between == Between::Coded => return Err(Stop::Lost),
                        None => reply.add(line.trim_ascii_start()),
                    }
                    if same.is_some_and(|it| it.last) {
                        return Ok(reply);
                    }
                    self.under_way = Some(reply);
                }
            }
            input.commit();
        }
    }

    /// Bytes were missed: uses up what lies before the next line that may begin a reply.
    pub(in crate::protocol) fn resync(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        self.under_way = None;
        self.resumed = true;
        next_line(input, |line| Coded::of(line).is_some())
    }

    /// How many bytes it holds on to.
    pub(in crate::protocol) fn held(&self) -> usize {
        self.under_way.as_ref().map_or(0, Reply::held)
    }
}

/// Uses up what lies before the first whole line that `starts`, which bytes before it need not end
/// with.
pub(in crate::protocol) fn next_line(
    input: &mut Input<'_>,
    starts: impl Fn(&[u8]) -> bool,
) -> Result<(), Stop> {
    loop {
        let rest = input.rest();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            // Too long for a line, and not the start of one.
            if rest.len() > LINE_BYTES {
                input.take(rest.len())?;
                input.commit();
            }
            return Err(Stop::More);
        };
        let line = rest.get(..end).unwrap_or_default();
        if starts(line.strip_suffix(b"\r").unwrap_or(line)) {
            return Ok(());
        }
        input.take(end + 1)?;
        input.commit();
    }
}

/// A line that begins with a reply's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) struct Coded<'a> {
    pub(in crate::protocol) code: u16,
    /// Whether no line follows.
    pub(in crate::protocol) last: bool,
    pub(in crate::protocol) text: &'a [u8],
}

impl<'a> Coded<'a> {
    /// `None` if the line does not begin with a code.
    pub(in crate::protocol) fn of(line: &'a [u8]) -> Option<Self> {
        let (digits, after) = line.split_at_checked(3)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let code = digits.iter().fold(0, |sum, it| sum * 10 + u16::from(it - b'0'));
        let (last, text) = match after {
            [] => (true, after),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return None,
        };
        (100..700).contains(&code).then_some(Self { code, last, text })
    }
}

/// The command a line begins with, in capitals, and what follows the space after it.
pub(in crate::protocol) fn command(line: &[u8]) -> (String, &[u8]) {
    let end = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    let word = word.get(..WORD_BYTES).unwrap_or(word);
    (text(word).to_ascii_uppercase(), rest.get(1..).unwrap_or_default().trim_ascii_end())
}

/// The longest line that is waited for; the standards allow 512 bytes, and more for some commands.
pub(in crate::protocol) const LINE_BYTES: usize = 16 << 10;

/// How much of a reply's text is kept.
const TEXT_BYTES: usize = 16 << 10;

/// How much of a word that should be a command is kept.
const WORD_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn read(bytes: &[u8], between: Between) -> Result<Reply, Stop> {
        let limits = Limits::default();
        let mut input = Input::new(bytes, false, &limits);
        Replies::default().read(&mut input, between)
    }

    #[test]
    fn lines_between_need_a_code_only_where_it_is_said() {
        let free = read(b"211-Features:\n MDTM\n211x\r\n211 End\r\n", Between::Free).unwrap();
        assert_eq!((free.code, &free.text[..]), (211, &b"Features:\nMDTM\n211x\nEnd"[..]));
        assert_eq!(read(b"250-a\r\nb\r\n250 c\r\n", Between::Coded), Err(Stop::Lost));
        let coded = read(b"250-a\r\n250-\r\n250\r\n", Between::Coded).unwrap();
        assert_eq!((coded.code, &coded.text[..]), (250, &b"a\n\n"[..]));
        assert_eq!(read(b"250-a\r\n250 b", Between::Coded), Err(Stop::More));
        assert_eq!(read(b"hello\r\n", Between::Coded), Err(Stop::Lost));
        assert_eq!(read(b"2500 a\r\n", Between::Coded), Err(Stop::Lost));
        assert_eq!(read(b"099 a\r\n", Between::Coded), Err(Stop::Lost));
    }

    #[test]
    fn commands_are_told_from_arguments() {
        assert_eq!(command(b"mail FROM:<a@b> "), ("MAIL".to_owned(), &b"FROM:<a@b>"[..]));
        assert_eq!(command(b"QUIT"), ("QUIT".to_owned(), &b""[..]));
    }
}
