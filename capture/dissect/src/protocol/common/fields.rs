//! Header fields as mail and SIP have them: a name, a colon and a value that may go on on lines
//! which begin with a space (RFC 5322 §2.2).
use std::borrow::Cow;

use memchr::memchr;

/// The fields of a head, in order: names as sent, values without the space around them.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct Fields<'a>(pub(in crate::protocol) &'a [u8]);

impl<'a> Fields<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.line()?;
            let parts = memchr(b':', line).and_then(|at| line.split_at_checked(at));
            let (name, value) = parts.unwrap_or_default();
            let name = name.trim_ascii();
            let mut value = Cow::Borrowed(value.get(1..).unwrap_or_default().trim_ascii());
            while matches!(self.0, [b' ' | b'\t', ..]) {
                let more = self.line().unwrap_or_default().trim_ascii();
                let value = value.to_mut();
                value.push(b' ');
                value.extend_from_slice(more);
            }
            if !name.is_empty() {
                return Some((name, value));
            }
        }
    }
}

/// Where a head ends, and where what follows the empty line after it begins.
pub(in crate::protocol) fn head_end(bytes: &[u8]) -> Option<(usize, usize)> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some((at + 1, at + 2)),
        [b'\r', b'\n', ..] => Some((at + 1, at + 3)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_go_on() {
        let fields: Vec<_> = Fields(b"A: 1\r\nno field\r\nB :\r\n two\r\n\tthree \r\nC:").collect();
        let expected: [(&[u8], &[u8]); 3] = [(b"A", b"1"), (b"B", b" two three"), (b"C", b"")];
        assert_eq!(fields.len(), 3);
        for (field, expected) in fields.iter().zip(expected) {
            assert_eq!((field.0, &*field.1), expected);
        }
    }

    #[test]
    fn a_head_ends_at_an_empty_line() {
        assert_eq!(head_end(b"A: 1\r\n\r\nbody"), Some((6, 8)));
        assert_eq!(head_end(b"A: 1\n\nbody"), Some((5, 6)));
        assert_eq!(head_end(b"A: 1\r\n"), None);
    }
}
