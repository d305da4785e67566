//! JSON, written piece by piece.

/// Appends text as it stands between quotes.
pub(super) fn escape(to: &mut String, text: &str) {
    to.reserve(text.len());
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        to.push_str(text.get(from..at).unwrap_or_default());
        from = at + 1;
        match byte {
            b'"' => to.push_str("\\\""),
            b'\\' => to.push_str("\\\\"),
            b'\n' => to.push_str("\\n"),
            b'\r' => to.push_str("\\r"),
            b'\t' => to.push_str("\\t"),
            _ => {
                to.push_str("\\u00");
                to.push(hex(byte >> 4));
                to.push(hex(byte & 15));
            }
        }
    }
    to.push_str(text.get(from..).unwrap_or_default());
}

/// Appends `"name":"text"`, or `"name_base64":"…"` of what is no text, at most about `room` bytes;
/// whether it was cut.
pub(super) fn bytes(to: &mut String, name: &str, bytes: &[u8], room: usize) -> bool {
    let (kept, is_cut) = match bytes.get(..room) {
        Some(kept) if kept.len() < bytes.len() => (kept, true),
        _ => (bytes, false),
    };
    let text = match std::str::from_utf8(kept) {
        Ok(text) => Some(text),
        // A character that was cut in two is no sign of anything.
        Err(error) if is_cut && error.error_len().is_none() => {
            kept.get(..error.valid_up_to()).and_then(|it| std::str::from_utf8(it).ok())
        }
        Err(_) => None,
    };
    to.push('"');
    to.push_str(name);
    match text {
        Some(text) => {
            to.push_str("\":\"");
            escape(to, text);
        }
        None => {
            to.push_str("_base64\":\"");
            base64(to, kept, STANDARD, true);
        }
    }
    to.push('"');
    is_cut
}

/// Appends a number.
pub(super) fn number(to: &mut String, value: i64) {
    if value < 0 {
        to.push('-');
    }
    let mut value = value.unsigned_abs();
    let mut digits = [b'0'; 20];
    let mut n = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        n += 1;
        if value == 0 {
            break;
        }
    }
    let digits = digits.get(digits.len() - n..).unwrap_or_default();
    to.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

/// Appends a UUID as Kafka writes one.
pub(super) fn uuid(to: &mut String, uuid: &[u8]) {
    base64(to, uuid, URL_SAFE, false);
}

/// At most the first `most` bytes of a text, and no half character.
pub(super) fn start(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

fn base64(to: &mut String, bytes: &[u8], alphabet: &[u8; 64], is_padded: bool) {
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4_u32 {
            if place as usize <= chunk.len() {
                let at = (bits >> (18 - 6 * place)) & 63;
                to.push(alphabet.get(at as usize).copied().unwrap_or_default().into());
            } else if is_padded {
                to.push('=');
            }
        }
    }
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('0')
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_json() {
        for value in [0, -1, 7, 10, 1_700_000_000_000, i64::MAX, i64::MIN] {
            let mut text = String::new();
            number(&mut text, value);
            assert_eq!(text, value.to_string());
        }
        let said = "a\"b\\c\n\u{1}é\u{1f980}";
        let mut text = "\"".to_owned();
        escape(&mut text, said);
        text.push('"');
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), said);
    }

    #[test]
    fn what_is_no_text_is_base_64() {
        let written = |it: &[u8], room| {
            let mut text = String::new();
            let is_cut = bytes(&mut text, "k", it, room);
            (text, is_cut)
        };
        assert_eq!(written(b"abc", 99), ("\"k\":\"abc\"".to_owned(), false));
        assert_eq!(written("aé".as_bytes(), 2), ("\"k\":\"a\"".to_owned(), true));
        assert_eq!(written(b"\xff\0", 99), ("\"k_base64\":\"/wA=\"".to_owned(), false));
        assert_eq!(written(b"\xff\0\x01", 99).0, "\"k_base64\":\"/wAB\"");
        let mut text = String::new();
        uuid(&mut text, &[0xff; 16]);
        assert_eq!(text, "_____________________w");
    }
}
