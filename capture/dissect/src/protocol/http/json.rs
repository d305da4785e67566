//! Just enough of JSON (RFC 8259) to find a value in a body, and to write one.
use std::borrow::Cow;

/// The members of an object: names, and values as sent.
pub(in crate::protocol) fn members(object: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
    let mut rest = inside(object, b'{');
    std::iter::from_fn(move || {
        let (name, after) = next(rest)?;
        let after = after.trim_ascii_start().strip_prefix(b":")?;
        let (value, after) = next(after)?;
        rest = after_comma(after);
        Some((string(name)?, value))
    })
}

/// The elements of an array, as sent.
pub(in crate::protocol) fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = inside(array, b'[');
    std::iter::from_fn(move || {
        let (value, after) = next(rest)?;
        rest = after_comma(after);
        Some(value)
    })
}

/// The value of an object's member.
pub(in crate::protocol) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(object).find(|it| it.0 == name).map(|it| it.1)
}

/// What a string says.
pub(in crate::protocol) fn string(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let text = std::str::from_utf8(text).ok()?;
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next()? {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'u' => {
                let mut unit = hex(&mut chars)?;
                if (0xd800..0xdc00).contains(&unit) {
                    let mut pair = chars.clone();
                    let low = (pair.next() == Some('\\') && pair.next() == Some('u'))
                        .then(|| hex(&mut pair))
                        .flatten()
                        .filter(|it| (0xdc00..0xe000).contains(it));
                    if let Some(low) = low {
                        unit = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        chars = pair;
                    }
                }
                out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => out.push(other),
        }
    }
    Some(Cow::Owned(out))
}

/// Writes a text as a string.
pub(in crate::protocol) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                out.push_str("\\u00");
                out.push(if control < '\u{10}' { '0' } else { '1' });
                out.extend(char::from_digit(u32::from(control) & 15, 16));
            }
            char => out.push(char),
        }
    }
    out.push('"');
}

/// A value as sent, with secrets replaced.
pub(in crate::protocol) fn masked(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(first) = rest.first() {
        if *first != b'"' {
            let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
            let (plain, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            out.push_str(&String::from_utf8_lossy(plain));
            rest = after;
            continue;
        }
        let Some((text, after)) = next(rest) else { break };
        out.push_str(&String::from_utf8_lossy(text));
        rest = after;
        let value = after.trim_ascii_start().strip_prefix(b":").filter(|_| is_secret(text));
        if let Some((_, after)) = value.and_then(next) {
            out.push_str(":\"***\"");
            rest = after;
        }
    }
    out
}

/// Whether a name says that its value is not to be kept.
pub(in crate::protocol) fn is_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let holds = |it: &&[u8]| memchr::memmem::find(&name, it).is_some();
    SECRETS.iter().any(holds)
}

fn hex(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |sum, _| Some(sum * 16 + chars.next()?.to_digit(16)?))
}

/// What follows an opening bracket.
fn inside(value: &[u8], bracket: u8) -> &[u8] {
    value.trim_ascii_start().strip_prefix(&[bracket]).unwrap_or_default()
}

fn after_comma(rest: &[u8]) -> &[u8] {
    rest.trim_ascii_start().strip_prefix(b",").unwrap_or_default()
}

/// The next value, and what follows it. Brackets are counted, not matched.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.trim_ascii_start();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                loop {
                    let rest = bytes.get(at..)?;
                    at += memchr::memchr2(b'"', b'\\', rest)?;
                    if bytes.get(at) == Some(&b'"') {
                        break;
                    }
                    at += 2;
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => break,
            b'}' | b']' => {
                depth -= 1;
            }
            b',' | b':' if depth == 0 => break,
            byte if byte.is_ascii_whitespace() && depth == 0 => break,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    if depth > 0 || at == 0 {
        return None;
    }
    bytes.split_at_checked(at)
}

const SECRETS: &[&[u8]] = &[
    b"password",
    b"passwd",
    b"secret",
    b"token",
    b"apikey",
    b"api_key",
    b"credential",
    b"authorization",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found() {
        let object =
            br#" {"a" : 1, "b":"x\"y", "c":{"d":[1,"}",{}]}, "e\u00e9\ud83d\ude00":null,"f":[] } "#;
        let found: Vec<_> = members(object)
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
            .collect();
        assert_eq!(found, ["a=1", "b=\"x\\\"y\"", "c={\"d\":[1,\"}\",{}]}", "eé😀=null", "f=[]"]);
        assert_eq!(string(member(object, "b").unwrap()).unwrap(), "x\"y");
        assert_eq!(elements(b"[1, [2] ,\"3\"]").collect::<Vec<_>>(), [&b"1"[..], b"[2]", b"\"3\""]);
        for cut in 0..object.len() {
            members(&object[..cut]).for_each(drop);
        }
    }

    #[test]
    fn texts_are_quoted() {
        let mut out = String::new();
        quote("a\"\\\n\u{1}\u{1f}é", &mut out);
        assert_eq!(out, r#""a\"\\\n\u0001\u001fé""#);
    }

    #[test]
    fn secrets_are_masked() {
        let value = br#"{"user":"x","userPassword":"y\"","in":{"TOKEN":{"a":[1]},"n":2}}"#;
        assert_eq!(
            masked(value),
            r#"{"user":"x","userPassword":"***","in":{"TOKEN":"***","n":2}}"#
        );
    }
}
