//! JSON, written piece by piece.

/// Appends text as it stands between quotes.
pub(super) fn escape(to: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    to.reserve(rest.len());
    // Most texts are JSON themselves, with a quote in nearly every word: word by word is fastest.
    while let Some((word, behind)) = rest.split_first_chunk() {
        to.extend_from_slice(word);
        let odd = odd_bytes(u64::from_le_bytes(*word));
        if odd == 0 {
            rest = behind;
            continue;
        }
        let plain = odd.trailing_zeros() as usize / 8;
        to.truncate(to.len() - word.len() + plain);
        let Some((byte, behind)) = rest.get(plain..).and_then(<[u8]>::split_first) else { break };
        if *byte == b'"' {
            to.extend_from_slice(b"\\\"");
        } else {
            escape_byte(to, *byte);
        }
        rest = behind;
    }
    for byte in rest {
        if *byte < b' ' || matches!(byte, b'"' | b'\\') {
            escape_byte(to, *byte);
        } else {
            to.push(*byte);
        }
    }
}

/// The high bit of the first byte that must be escaped; bits of bytes behind it say nothing.
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7)
}

fn escape_byte(to: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => to.extend_from_slice(b"\\\""),
        b'\\' => to.extend_from_slice(b"\\\\"),
        b'\n' => to.extend_from_slice(b"\\n"),
        b'\r' => to.extend_from_slice(b"\\r"),
        b'\t' => to.extend_from_slice(b"\\t"),
        _ => {
            to.extend_from_slice(b"\\u00");
            to.extend([byte >> 4, byte & 15].map(hex));
        }
    }
}

/// Appends `"name":"text"`, or `"name_base64":"…"` of what is no text, at most about `room` bytes;
/// whether it was cut.
pub(super) fn bytes(to: &mut Vec<u8>, name: &str, bytes: &[u8], room: usize) -> bool {
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
    to.push(b'"');
    to.extend_from_slice(name.as_bytes());
    match text {
        Some(text) => {
            to.extend_from_slice(b"\":\"");
            escape(to, text);
        }
        None => {
            to.extend_from_slice(b"_base64\":\"");
            base64(to, kept, STANDARD, true);
        }
    }
    to.push(b'"');
    is_cut
}

/// Appends a number.
pub(super) fn number(to: &mut Vec<u8>, value: i64) {
    if let Ok(digit @ 0..10) = u8::try_from(value) {
        to.push(b'0' + digit);
        return;
    }
    if value < 0 {
        to.push(b'-');
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
    to.extend_from_slice(digits.get(digits.len() - n..).unwrap_or_default());
}

/// The text of what was written.
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Appends a UUID as Kafka writes one.
pub(super) fn uuid(to: &mut Vec<u8>, uuid: &[u8]) {
    base64(to, uuid, URL_SAFE, false);
}

/// At most the first `most` bytes of a text, and no half character.
pub(super) fn start(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

fn base64(to: &mut Vec<u8>, bytes: &[u8], alphabet: &[u8; 64], is_padded: bool) {
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4_u32 {
            if place as usize <= chunk.len() {
                let at = (bits >> (18 - 6 * place)) & 63;
                to.push(alphabet.get(at as usize).copied().unwrap_or_default());
            } else if is_padded {
                to.push(b'=');
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_json() {
        for value in [0, -1, 7, 10, 1_700_000_000_000, i64::MAX, i64::MIN] {
            let mut text = Vec::new();
            number(&mut text, value);
            assert_eq!(super::text(&text), value.to_string());
        }
        let said = "a\"b\\c\n\u{1}é\u{1f980}".repeat(9) + &"{\"n\":1}\t".repeat(30);
        let mut text = b"\"".to_vec();
        escape(&mut text, &said);
        text.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), said);
    }

    #[test]
    fn what_is_no_text_is_base_64() {
        let written = |it: &[u8], room| {
            let mut text = Vec::new();
            let is_cut = bytes(&mut text, "k", it, room);
            (super::text(&text).to_owned(), is_cut)
        };
        assert_eq!(written(b"abc", 99), ("\"k\":\"abc\"".to_owned(), false));
        assert_eq!(written("aé".as_bytes(), 2), ("\"k\":\"a\"".to_owned(), true));
        assert_eq!(written(b"\xff\0", 99), ("\"k_base64\":\"/wA=\"".to_owned(), false));
        assert_eq!(written(b"\xff\0\x01", 99).0, "\"k_base64\":\"/wAB\"");
        let mut text = Vec::new();
        uuid(&mut text, &[0xff; 16]);
        assert_eq!(super::text(&text), "_____________________w");
    }
}
