//! Protocol buffers without their schema: fields by number, and a guess at what the bytes in them
//! are (<https://protobuf.dev/programming-guides/encoding/>).
use crate::protocol::http::json::quote;

/// Writes a message as a JSON object: a field's number is its name; one that is repeated is an
/// array. Says whether the bytes are a message; if not, nothing is written.
pub(super) fn write(bytes: &[u8], out: &mut String) -> bool {
    let mut budget = MOST_FIELDS;
    let Some(fields) = message(bytes, 0, &mut budget) else { return false };
    object(fields, out);
    true
}

enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Text(&'a str),
    Bytes(&'a [u8]),
    Message(Vec<(u32, Self)>),
}

fn message<'a>(
    mut bytes: &'a [u8],
    depth: usize,
    budget: &mut usize,
) -> Option<Vec<(u32, Value<'a>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        *budget = budget.checked_sub(1)?;
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).ok().filter(|it| (1..=MOST_NUMBER).contains(it))?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => {
                let (value, rest) = bytes.split_first_chunk::<8>()?;
                bytes = rest;
                Value::Fixed64(u64::from_le_bytes(*value))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                delimited(value, depth, budget)
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk::<4>()?;
                bytes = rest;
                Value::Fixed32(u32::from_le_bytes(*value))
            }
            _ => return None,
        };
        fields.push((number, value));
    }
    Some(fields)
}

/// Text if it can be; else a message if it is one to its last byte; else bytes. A message that
/// looks like text begins with a line feed or a tab, which few texts do.
fn delimited<'a>(bytes: &'a [u8], depth: usize, budget: &mut usize) -> Value<'a> {
    let readable = |it: &char| !it.is_control() || matches!(it, '\t' | '\n' | '\r');
    let text = std::str::from_utf8(bytes).ok().filter(|it| it.chars().all(|it| readable(&it)));
    match text {
        Some(text) if !text.starts_with(char::is_control) => return Value::Text(text),
        _ => {}
    }
    let mut left = *budget;
    if depth < MOST_DEPTH
        && let Some(fields) = message(bytes, depth + 1, &mut left)
    {
        *budget = left;
        return Value::Message(fields);
    }
    text.map_or(Value::Bytes(bytes), Value::Text)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn object(mut fields: Vec<(u32, Value<'_>)>, out: &mut String) {
    // Stable: what is repeated stays in order.
    fields.sort_by_key(|it| it.0);
    out.push('{');
    let mut rest = fields.into_iter().peekable();
    let mut first = true;
    while let Some((number, one)) = rest.next() {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        out.push('"');
        out.push_str(&number.to_string());
        out.push_str("\":");
        let same = |it: &(u32, Value<'_>)| it.0 == number;
        if !rest.peek().is_some_and(same) {
            value(one, out);
            continue;
        }
        out.push('[');
        value(one, out);
        while let Some((_, more)) = rest.next_if(same) {
            out.push(',');
            value(more, out);
        }
        out.push(']');
    }
    out.push('}');
}

fn value(it: Value<'_>, out: &mut String) {
    match it {
        // Numbers below zero are sent as large ones.
        Value::Varint(it) => out.push_str(&it.cast_signed().to_string()),
        Value::Fixed64(it) => {
            let float = f64::from_bits(it);
            if is_usual(float) {
                out.push_str(&float.to_string());
            } else {
                out.push_str(&it.cast_signed().to_string());
            }
        }
        Value::Fixed32(it) => {
            let float = f32::from_bits(it);
            if is_usual(f64::from(float)) {
                out.push_str(&float.to_string());
            } else {
                out.push_str(&it.cast_signed().to_string());
            }
        }
        Value::Text(it) => quote(it, out),
        Value::Bytes(it) => {
            out.push_str("\"0x");
            for byte in it.iter().take(SHOWN_BYTES) {
                for half in [byte >> 4, byte & 15] {
                    out.extend(char::from_digit(u32::from(half), 16));
                }
            }
            out.push_str(if it.len() > SHOWN_BYTES { "…\"" } else { "\"" });
        }
        Value::Message(fields) => object(fields, out),
    }
}

/// Whether eight or four bytes are a fraction rather than a count.
fn is_usual(float: f64) -> bool {
    float == 0.0 || (1e-6..1e15).contains(&float.abs())
}

/// Fields of one message with those inside it.
const MOST_FIELDS: usize = 4096;

/// Messages inside messages.
const MOST_DEPTH: usize = 16;

/// What the format allows is a lot more; nobody counts so far.
const MOST_NUMBER: u32 = 1 << 20;

/// Of a field that is neither text nor a message.
const SHOWN_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(bytes: &[u8]) -> Option<String> {
        let mut out = String::new();
        write(bytes, &mut out).then_some(out)
    }

    #[test]
    fn fields_by_number() {
        assert_eq!(json(b"").unwrap(), "{}");
        assert_eq!(json(b"\x08\x96\x01\x12\x07testing").unwrap(), r#"{"1":150,"2":"testing"}"#);
        assert_eq!(
            json(b"\x1a\x03\x08\x96\x01\x1a\x00\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
                .unwrap(),
            r#"{"3":[{"1":150},""],"4":-1}"#
        );
        assert_eq!(json(b"\x0a\x07\x0a\x05world").unwrap(), r#"{"1":{"1":"world"}}"#);
        assert_eq!(json(b"\x0a\x02\xff\xfe").unwrap(), r#"{"1":"0xfffe"}"#);
        assert_eq!(
            json(b"\x0d\x00\x00\xc0\x3f\x11\x01\0\0\0\0\0\0\0").unwrap(),
            r#"{"1":1.5,"2":1}"#
        );
        assert_eq!(json(b"\x0a\x0bline\n\x01two"), None);
        assert_eq!(json(b"\x0a\x08line\ntwo").unwrap(), r#"{"1":"line\ntwo"}"#);
        for broken in [&b"\x08"[..], b"\x0a\x05abc", b"\x00\x01", b"\x0b", b"plain text"] {
            assert_eq!(json(broken), None);
        }
    }

    proptest! {
        #[test]
        fn noise_is_only_noise(noise: Vec<u8>) {
            if let Some(text) = json(&noise) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            }
        }

        #[test]
        fn messages_in_messages_end(depth in 0..300_usize) {
            let mut bytes = vec![8, 1];
            for _ in 0..depth {
                if bytes.len() > 127 { break; }
                bytes.splice(..0, [0x0a, u8::try_from(bytes.len()).unwrap()]);
            }
            json(&bytes).unwrap();
        }
    }
}
