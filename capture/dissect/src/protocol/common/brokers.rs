//! What the dissectors of message brokers share: who sent a message, and values as JSON.
use std::borrow::Cow;
use std::fmt::Write;

use schema::value::{Label, text};

use crate::exchange::{Open, Side};

/// Takes the place of a secret.
pub(in crate::protocol) const SECRET: &str = "***";

/// A side's name in the columns.
pub(in crate::protocol) fn sender(side: Side) -> Label<'static> {
    match side {
        Side::Client => "client".into(),
        Side::Server => "server".into(),
    }
}

/// Finds the request of an answer where only order tells: answers come in the order of their
/// requests, unless some went missing.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Order {
    /// How often bytes of the client, and of the server, went missing.
    losses: [u8; 2],
}

impl Order {
    /// Bytes of `side` went missing, and answers with them.
    pub(in crate::protocol) fn lose(&mut self, side: Side) {
        let losses = &mut self.losses;
        let [client, server] = losses;
        let it = if side == Side::Client { client } else { server };
        *it = it.wrapping_add(1);
    }

    /// The key of a request; `kind` must leave the upper sixteen bits alone.
    pub(in crate::protocol) fn ask<B>(&self, asker: Side, kind: u64, open: &Open<B>) -> u64 {
        let first = self.key(asker, kind, 0);
        let waits = [first, first | LATER].iter().any(|it| open.oldest(*it).is_some());
        if waits { first | LATER } else { first }
    }

    /// The key of its answer. Who waits for each answer has seen all earlier ones when it asks: after
    /// a loss, the later request is the one that is answered.
    pub(in crate::protocol) fn answer<B>(&self, asker: Side, kind: u64, open: &Open<B>) -> u64 {
        let (now, before) = (self.key(asker, kind, 0), self.key(asker, kind, 1));
        let keys = [now, now | LATER, before | LATER, before];
        keys.into_iter().find(|it| open.oldest(*it).is_some()).unwrap_or(now)
    }

    fn key(&self, asker: Side, kind: u64, ago: u8) -> u64 {
        let [client, server] = self.losses;
        let (losses, bit) = if asker == Side::Client { (server, 0) } else { (client, 1) };
        1 << 63 | bit << 62 | u64::from(losses.wrapping_sub(ago)) << 48 | kind
    }
}

/// Marks a request that follows another before its answer.
const LATER: u64 = 1 << 61;

/// Writes bytes as a JSON string: as text if they are, else their hexadecimal digits.
pub(in crate::protocol) fn quote(json: &mut String, bytes: &[u8]) {
    let kept = bytes.get(..STRING_BYTES).unwrap_or(bytes);
    json.push('"');
    let whole = printable(kept);
    let mut plain = 0;
    for (at, byte) in whole.bytes().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        json.push_str(whole.get(plain..at).unwrap_or_default());
        match byte {
            b'"' | b'\\' => json.extend(['\\', char::from(byte)]),
            _ => write!(json, "\\u{byte:04x}").unwrap_or_default(),
        }
        plain = at + 1;
    }
    json.push_str(whole.get(plain..).unwrap_or_default());
    json.push('"');
}

/// Text as it is; what is no text as hexadecimal digits.
fn printable(bytes: &[u8]) -> Cow<'_, str> {
    let is_text = match std::str::from_utf8(bytes) {
        Ok(it) => !it.chars().any(|it| it.is_control() && !it.is_whitespace()),
        // Cut within a letter.
        Err(why) => why.error_len().is_none() && bytes.len() == STRING_BYTES,
    };
    if is_text {
        return text(bytes);
    }
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(digits, "{byte:02x}").unwrap_or_default();
    }
    digits.into()
}

/// The members of a JSON object: their names with what stands between the quotes, their values as
/// they were sent. Ends at what is not JSON; `whole` says whether that was the object's end.
pub(in crate::protocol) struct Members<'a> {
    rest: &'a [u8],
    pub(in crate::protocol) whole: bool,
}

impl<'a> Members<'a> {
    pub(in crate::protocol) fn of(json: &'a [u8]) -> Self {
        let rest = json.trim_ascii().strip_prefix(b"{").unwrap_or_default();
        Self { rest, whole: false }
    }

    fn member(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let rest = self.rest.trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        if rest.first() == Some(&b'}') {
            self.whole = rest.len() == 1;
            return None;
        }
        let (name, rest) = rest.split_at_checked(value_end(rest)?)?;
        let name = name.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let (value, rest) = rest.split_at_checked(value_end(rest)?)?;
        self.rest = rest;
        Some((name, value.trim_ascii_end()))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.member();
        if member.is_none() {
            self.rest = &[];
        }
        member
    }
}

/// Where the JSON value ends that `json` begins with. Lists and objects are skipped, not checked.
fn value_end(json: &[u8]) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => {
                quoted = !quoted;
                if !quoted && depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return (at > 0).then_some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The text of a member's value, if it is a string.
pub(in crate::protocol) fn string(value: &[u8]) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inner.contains(&b'\\') {
        return Some(text(inner));
    }
    let mut plain = String::new();
    let whole = text(inner);
    let mut letters = whole.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next()? {
                'n' => plain.push('\n'),
                't' => plain.push('\t'),
                'r' => plain.push('\r'),
                'u' => {
                    let digits: String = letters.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).ok()?;
                    plain.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => plain.push(other),
            },
            (letter, false) => plain.push(letter),
        }
    }
    Some(plain.into())
}

/// The object again, with the values of the members named `secrets` replaced. What is not wholly
/// an object is not kept at all: a secret might stand anywhere in it.
pub(in crate::protocol) fn without_secrets(json: &[u8], secrets: &[&[u8]]) -> Vec<u8> {
    let mut clean = vec![b'{'];
    let mut members = Members::of(json);
    for (name, value) in members.by_ref() {
        if clean.len() > 1 {
            clean.push(b',');
        }
        clean.push(b'"');
        clean.extend_from_slice(name);
        clean.extend_from_slice(b"\":");
        // A name with an escape may be any name.
        let is_secret =
            name.contains(&b'\\') || secrets.iter().any(|it| it.eq_ignore_ascii_case(name));
        if is_secret && !matches!(value, b"\"\"" | b"null") {
            clean.extend_from_slice(b"\"***\"");
        } else {
            clean.extend_from_slice(value);
        }
    }
    if !members.whole {
        return b"\"***\"".to_vec();
    }
    clean.push(b'}');
    clean
}

/// Bytes of one string in JSON.
const STRING_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(json: &str) -> String {
        String::from_utf8(without_secrets(json.as_bytes(), &[b"pass", b"jwt"])).unwrap()
    }

    #[test]
    fn secrets_are_replaced_wherever_they_stand() {
        assert_eq!(clean(r#"{"user":"a","pass":"b"}"#), r#"{"user":"a","pass":"***"}"#);
        assert_eq!(
            clean(r#" { "Pass" : "b\"c" , "x" : [1,{"y":"}"}] } "#),
            r#"{"Pass":"***","x":[1,{"y":"}"}]}"#
        );
        assert_eq!(clean(r#"{"p\u0061ss":"b"}"#), r#"{"p\u0061ss":"***"}"#);
        assert_eq!(clean(r#"{"jwt":"","pass":{"a":1},"n":3}"#), r#"{"jwt":"","pass":"***","n":3}"#);
        assert_eq!(clean("{}"), "{}");
        for broken in ["", "{", r#"{"pass":"b""#, r#"{"pass":"b"} "x""#, r#"{"a" "b"}"#, "[1]"] {
            assert_eq!(clean(broken), "\"***\"", "{broken}");
        }
    }

    #[test]
    fn strings_are_read_with_their_escapes() {
        assert_eq!(string(br#""a\"b\u0041\n""#).unwrap(), "a\"bA\n");
        assert_eq!(string(b"3"), None);
    }

    #[test]
    fn what_is_no_text_is_written_as_digits() {
        let mut json = String::new();
        quote(&mut json, b"a\"b");
        quote(&mut json, b"\x00\xff");
        assert_eq!(json, r#""a\"b""00ff""#);
    }
}
