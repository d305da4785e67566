//! The head of a mail: RFC 5322, with the words of RFC 2047 decoded.
use std::borrow::Cow;

use schema::value::text;

use crate::protocol::common::fields::{Fields, head_end};

/// What a row says of a mail.
#[derive(Debug, Default)]
pub(super) struct Mail<'a> {
    pub(super) headers: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    pub(super) from: Option<Cow<'a, str>>,
    pub(super) to: Option<Cow<'a, str>>,
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) message_id: Option<Cow<'a, str>>,
    pub(super) content_type: Option<Cow<'a, str>>,
    pub(super) body: &'a [u8],
}

impl<'a> Mail<'a> {
    /// Of all that was kept of the data.
    pub(super) fn of(data: &'a [u8]) -> Self {
        let (head, body) = match head_end(data) {
            // A mail without a head.
            _ if data.starts_with(b"\r\n") => (0, 2),
            Some(it) => it,
            None => (data.len(), data.len()),
        };
        let head = data.get(..head).unwrap_or_default();
        let mut mail = Self { body: data.get(body..).unwrap_or_default(), ..Self::default() };
        // What does not begin like a head is all body.
        let is_head = head.split(|it| *it == b'\n').next().is_some_and(|line| {
            let name = line.split(|it| *it == b':').next().unwrap_or_default();
            name.len() < line.len() && name.iter().all(u8::is_ascii_graphic)
        });
        if !is_head && !head.is_empty() {
            mail.body = data;
            return mail;
        }
        for (name, value) in Fields(head) {
            let decoded = |value: &Cow<'a, [u8]>| match value {
                Cow::Borrowed(value) => decode(value),
                Cow::Owned(value) => Cow::Owned(decode(value).into_owned()),
            };
            let slot = match name.len() {
                2 if name.eq_ignore_ascii_case(b"to") => &mut mail.to,
                4 if name.eq_ignore_ascii_case(b"from") => &mut mail.from,
                7 if name.eq_ignore_ascii_case(b"subject") => &mut mail.subject,
                10 if name.eq_ignore_ascii_case(b"message-id") => &mut mail.message_id,
                12 if name.eq_ignore_ascii_case(b"content-type") => &mut mail.content_type,
                _ => {
                    mail.headers.push((name, value));
                    continue;
                }
            };
            if slot.is_none() {
                *slot = Some(decoded(&value));
            }
            mail.headers.push((name, value));
        }
        mail
    }
}

/// A value with its encoded words, `=?charset?B?…?=` or `=?charset?Q?…?=`, read.
fn decode(value: &[u8]) -> Cow<'_, str> {
    if memchr::memmem::find(value, b"=?").is_none() {
        return text(value);
    }
    let mut out = String::new();
    let mut rest = value;
    let mut after_word = false;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (before, word) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        match encoded_word(word) {
            Some((decoded, after)) => {
                // Space between two encoded words only keeps them apart.
                if !(after_word && before.trim_ascii().is_empty()) {
                    out += &text(before);
                }
                out += &decoded;
                rest = after;
                after_word = true;
            }
            None => {
                out += &text(before);
                out += "=?";
                rest = word.get(2..).unwrap_or_default();
                after_word = false;
            }
        }
    }
    out += &text(rest);
    Cow::Owned(out)
}

/// One encoded word, and what follows it; `None` if it is none, or in a character set we don't know.
fn encoded_word(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut parts = bytes.get(2..)?.splitn(3, |it| *it == b'?');
    let (charset, encoding, coded) = (parts.next()?, parts.next()?, parts.next()?);
    let end = memchr::memmem::find(coded, b"?=")?;
    let (coded, after) = coded.split_at_checked(end)?;
    let plain = match encoding {
        b"B" | b"b" => from_base64(coded)?,
        b"Q" | b"q" => from_quoted(coded),
        _ => return None,
    };
    // RFC 2231 lets a language follow the character set.
    let charset = text(charset.split(|it| *it == b'*').next().unwrap_or_default());
    let decoded = match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" => text(&plain).into_owned(),
        "iso-8859-1" | "latin1" | "windows-1252" | "cp1252" | "iso-8859-15" => {
            plain.iter().map(|it| char::from(*it)).collect()
        }
        _ => return None,
    };
    Some((decoded, after.get(2..)?))
}

/// RFC 2047 §4.2.
fn from_quoted(coded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(coded.len());
    let mut rest = coded;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = |it: u8| char::from(it).to_digit(16);
        match (first, after) {
            (b'_', _) => out.push(b' '),
            (b'=', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(u8::try_from(high << 4 | low).unwrap_or_default());
                    rest = after;
                }
                _ => out.push(b'='),
            },
            (other, _) => out.push(*other),
        }
    }
    out
}

/// RFC 4648 §4; `None` if it is something else.
pub(super) fn from_base64(coded: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(coded.len() / 4 * 3);
    let (mut bits, mut n_bits) = (0_u32, 0);
    for byte in coded.iter().take_while(|it| **it != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b' ' | b'\r' | b'\n' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            out.push((bits >> n_bits & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_read() {
        for (value, expected) in [
            (&b"plain"[..], "plain"),
            (b"=?UTF-8?B?R3LDvMOfZQ==?= an alle", "Grüße an alle"),
            (b"=?utf-8?q?Gr=C3=BC=C3=9Fe_an?= =?utf-8?Q?_alle?=", "Grüße an alle"),
            (b"Re: =?iso-8859-1*de?Q?=FCber?= x", "Re: über x"),
            (b"=?big5?B?pKSk5Q==?=", "=?big5?B?pKSk5Q==?="),
            (b"=?UTF-8?B?", "=?UTF-8?B?"),
            (b"=?UTF-8?Q?a=zb=?=", "a=zb="),
            (b"a =?", "a =?"),
        ] {
            assert_eq!(decode(value), expected);
        }
    }

    #[test]
    fn a_mail_has_a_head_and_a_body() {
        let mail = Mail::of(b"From: a@b\r\nSubject: =?utf-8?q?x?=\r\n y\r\n\r\nHello\r\n");
        assert_eq!(mail.from.as_deref(), Some("a@b"));
        assert_eq!(mail.subject.as_deref(), Some("x y"));
        assert_eq!((mail.headers.len(), mail.body), (2, &b"Hello\r\n"[..]));
        assert_eq!(Mail::of(b"Hello, Alice\r\n").body, b"Hello, Alice\r\n");
        assert_eq!(Mail::of(b"\r\nHello: Alice\r\n").body, b"Hello: Alice\r\n");
        assert!(Mail::of(b"").body.is_empty());
    }
}
