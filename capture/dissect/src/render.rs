//! Bytes and texts from the wire as JSON and as words.
use std::borrow::Cow;
use std::fmt::Write;

/// Writes `text` as a JSON string.
pub(crate) fn quote(json: &mut String, text: &str) {
    json.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => json.extend(['\\', char]),
            '\0'..='\x1f' => put(json, format_args!("\\u{:04x}", u32::from(char))),
            _ => json.push(char),
        }
    }
    json.push('"');
}

/// Writes to a string, which cannot fail.
pub(crate) fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).unwrap_or_default();
}

/// The bytes if they are text that can be read, else their digits, such as `0x00ff`. Many bytes
/// are cut.
pub(crate) fn words(bytes: &[u8]) -> Cow<'_, str> {
    let kept = bytes.get(..WORDS_BYTES).unwrap_or(bytes);
    let is_cut = kept.len() < bytes.len();
    let read = match std::str::from_utf8(kept) {
        // A character may be cut in the middle.
        Err(broken) if is_cut && broken.error_len().is_none() => {
            kept.get(..broken.valid_up_to()).and_then(|it| std::str::from_utf8(it).ok())
        }
        read => read.ok(),
    };
    match read
        .filter(|it| !it.chars().any(|it| it.is_control() && !matches!(it, '\n' | '\r' | '\t')))
    {
        Some(text) if is_cut => format!("{text}…").into(),
        Some(text) => text.into(),
        None => digits(bytes).into(),
    }
}

/// Bytes as digits, such as `0x00ff`; many are cut.
pub(crate) fn digits(bytes: &[u8]) -> String {
    let kept = bytes.get(..DIGITS_BYTES).unwrap_or(bytes);
    let mut text = String::with_capacity(2 + 2 * kept.len());
    text.push_str("0x");
    for byte in kept {
        put(&mut text, format_args!("{byte:02x}"));
    }
    if kept.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// Bytes as hexadecimal digits, all of them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |it: u8| char::from_digit(u32::from(it), 16).unwrap_or('0');
    bytes.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect()
}

/// The bytes that hexadecimal digits stand for; none if there is anything else among them.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// What stands where a password stood.
pub(crate) const SECRET: &str = "***";

/// Of a text, so much is shown.
const WORDS_BYTES: usize = 4 << 10;

/// Of bytes that are no text, so much is shown.
const DIGITS_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_sound() {
        let mut json = String::new();
        quote(&mut json, "a\"b\\c\n\u{1}é");
        assert_eq!(json, "\"a\\\"b\\\\c\\u000a\\u0001é\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "a\"b\\c\n\u{1}é");
    }

    #[test]
    fn bytes_are_words_or_digits() {
        assert_eq!(words("héllo".as_bytes()), "héllo");
        assert_eq!(words(b"\x00\xff"), "0x00ff");
        assert_eq!(words(b"\x01a"), "0x0161");
        let long = "é".repeat(WORDS_BYTES);
        let shown = words(long.get(..).unwrap().as_bytes());
        assert!(shown.ends_with("é…") && shown.len() <= WORDS_BYTES + 3);
        let odd = format!("a{long}");
        assert!(words(odd.as_bytes()).ends_with("é…"));
        assert_eq!(digits(&[0; 1000]).len(), 2 + 2 * DIGITS_BYTES + '…'.len_utf8());
    }
}
