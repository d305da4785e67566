//! What dissectors of databases share: statements without their secrets, and values as JSON.
use std::borrow::Cow;
use std::fmt::Write;

use memchr::{memchr, memchr2};

/// The first word of a statement in capitals, such as `SELECT`; empty if it has none.
pub(in crate::protocol) fn operation(statement: &str) -> Cow<'_, str> {
    let mut rest = statement;
    let word = loop {
        rest = rest.trim_start_matches(|it: char| it.is_whitespace() || it == '(' || it == ';');
        let comment = match rest.as_bytes() {
            [b'-', b'-', ..] | [b'#', ..] => rest.split_once('\n'),
            // What stands in `/*! … */` is executed by MySQL and MariaDB.
            [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => {
                let behind = rest.split_once('!').map_or("", |it| it.1);
                Some(("", behind.trim_start_matches(|it: char| it.is_ascii_digit())))
            }
            [b'/', b'*', ..] => rest.split_once("*/"),
            _ => {
                let end = rest.bytes().position(|it| !it.is_ascii_alphabetic() && it != b'_');
                break rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            }
        };
        match comment {
            Some((_, behind)) => rest = behind,
            None => return Cow::Borrowed(""),
        }
    };
    let word = word.get(..OPERATION_BYTES).unwrap_or(word);
    if word.bytes().any(|it| it.is_ascii_lowercase()) {
        Cow::Owned(word.to_ascii_uppercase())
    } else {
        Cow::Borrowed(word)
    }
}

/// A statement with what stands behind `PASSWORD`, `IDENTIFIED BY` and the like replaced by `***`.
pub(in crate::protocol) fn without_secrets(statement: &str) -> Cow<'_, str> {
    let bytes = statement.as_bytes();
    let mut clean: Option<String> = None;
    let (mut kept, mut at) = (0, 0);
    // Quotes up to the word: an odd number says that it stands inside of a string.
    let (mut quotes, mut counted) = (0, 0);
    while let Some(word) = next_secret_word(bytes, at) {
        at = word;
        quotes +=
            bytes.get(counted..word).map_or(0, |it| it.iter().filter(|it| **it == b'\'').count());
        counted = word;
        let Some((start, end)) = secret_behind(bytes, word, quotes % 2 == 1) else { continue };
        // Both ends lie beside ASCII.
        let (Some(before), Some(_)) = (statement.get(kept..start), statement.get(end..)) else {
            continue;
        };
        let clean = clean.get_or_insert_with(|| String::with_capacity(statement.len()));
        clean.push_str(before);
        clean.push_str("***");
        (kept, at) = (end, end);
    }
    match clean {
        None => Cow::Borrowed(statement),
        Some(mut clean) => {
            clean.push_str(statement.get(kept..).unwrap_or_default());
            Cow::Owned(clean)
        }
    }
}

/// The end of the next word at or behind `from` that a secret may follow.
fn next_secret_word(bytes: &[u8], from: usize) -> Option<usize> {
    let may_begin = |it: &u8| matches!(it | 0x20, b'p' | b'i' | b's');
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(may_begin)?;
        let rest = bytes.get(at..)?;
        let is =
            |word: &&&[u8]| rest.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        if let Some(word) = SECRET_WORDS.iter().find(is) {
            return Some(at + word.len());
        }
        at += 1;
    }
}

/// Where the secret behind a word lies, without its quotes.
fn secret_behind(bytes: &[u8], word: usize, is_in_string: bool) -> Option<(usize, usize)> {
    let last = bytes.get(word.saturating_sub(IDENTIFIED.len())..word)?;
    let is_identified = last.eq_ignore_ascii_case(IDENTIFIED);
    let mut at = word;
    if bytes.get(at) == Some(&b'"') || bytes.get(at) == Some(&b'`') {
        at += 1;
    }
    if is_identified {
        // IDENTIFIED [WITH plugin | VIA plugin] [BY | AS | USING] [PASSWORD] 'secret'
        let rest = bytes.get(at..)?;
        let window = rest.get(..IDENTIFIED_BYTES).unwrap_or(rest);
        let quote = memchr2(b'\'', b'"', window)?;
        let words = window.get(..quote)?;
        let is_word = |it: &u8| it.is_ascii_alphanumeric() || b" \t\r\n_(".contains(it);
        if !words.iter().all(is_word) {
            return None;
        }
        return quoted(bytes, at + quote);
    }
    let is_direct = bytes.get(at) == Some(&b'=');
    let mut assigned = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b'(' => {}
            b'=' | b':' if !assigned => assigned = true,
            _ => break,
        }
        at += 1;
    }
    match bytes.get(at)? {
        b'\'' | b'"' => quoted(bytes, at),
        b'E' | b'e' | b'N' | b'n' if bytes.get(at + 1) == Some(&b'\'') => quoted(bytes, at + 1),
        // `password=secret` inside of a connection string.
        byte if is_direct && !b"$?:@%".contains(byte) => {
            let rest = bytes.get(at..)?;
            let end =
                rest.iter().position(|it| it.is_ascii_whitespace() || b"'\";&,)".contains(it));
            is_in_string.then_some((at, at + end.unwrap_or(rest.len())))
        }
        _ => None,
    }
}

/// What stands between the quote at `at` and the one that ends it.
fn quoted(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let quote = *bytes.get(at)?;
    let start = at + 1;
    let mut end = start;
    loop {
        let Some(found) = memchr(quote, bytes.get(end..)?) else {
            return Some((start, bytes.len()));
        };
        let escapes =
            bytes.get(start..end + found)?.iter().rev().take_while(|it| **it == b'\\').count();
        let is_doubled = bytes.get(end + found + 1) == Some(&quote);
        match (escapes % 2 == 1, is_doubled) {
            (true, _) => end += found + 1,
            (false, true) => end += found + 2,
            (false, false) => return Some((start, end + found)),
        }
    }
}

/// At most `bound` bytes of a text, cut between characters.
pub(in crate::protocol) fn cut(text: &str, bound: usize) -> &str {
    let mut end = bound.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The summary's target: a statement in one line, cut.
pub(in crate::protocol) fn headline(statement: &str) -> Cow<'_, str> {
    let text = cut(statement.trim(), HEADLINE_BYTES);
    if text.contains(['\n', '\t', '\r']) {
        Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "))
    } else {
        Cow::Borrowed(text)
    }
}

/// A list of values or of lists, as JSON, up to a bound.
#[derive(Debug, Default)]
pub(in crate::protocol) struct List {
    json: String,
    count: usize,
    /// More came than is kept.
    full: bool,
}

impl List {
    /// Whether one more may be added.
    pub(in crate::protocol) fn has_room(&self) -> bool {
        !self.full
    }

    /// Adds what `write` writes, and says whether it was kept: nothing is once `most` or `bound` is
    /// reached.
    pub(in crate::protocol) fn add(
        &mut self,
        most: usize,
        bound: usize,
        write: impl FnOnce(&mut String),
    ) {
        if self.full || self.count >= most {
            self.full = true;
            return;
        }
        let before = self.json.len();
        self.json.push(if before == 0 { '[' } else { ',' });
        write(&mut self.json);
        if self.json.len() > bound {
            self.json.truncate(before);
            self.full = true;
        } else {
            self.count += 1;
        }
    }

    /// Takes no more.
    pub(in crate::protocol) fn close(&mut self) {
        self.full = true;
    }

    /// The list as text; `None` if nothing was added.
    pub(in crate::protocol) fn finished(&self) -> Option<String> {
        let mut json = String::with_capacity(self.json.len() + 1);
        json.push_str(&self.json);
        json.push(']');
        (!self.json.is_empty()).then_some(json)
    }

    pub(in crate::protocol) fn heap(&self) -> usize {
        self.json.capacity()
    }
}

/// A text as a JSON string, cut.
pub(in crate::protocol) fn json_text(to: &mut String, text: &str) {
    to.push('"');
    let text = cut(text, CELL_BYTES);
    if text.bytes().all(|it| it >= b' ' && it != b'"' && it != b'\\') {
        to.push_str(text);
    } else {
        for it in text.chars() {
            match it {
                '"' => to.push_str("\\\""),
                '\\' => to.push_str("\\\\"),
                '\n' => to.push_str("\\n"),
                '\t' => to.push_str("\\t"),
                '\r' => to.push_str("\\r"),
                it if it < ' ' => {
                    // Writing into a string does not fail.
                    write!(to, "\\u{:04x}", u32::from(it)).ok();
                }
                it => to.push(it),
            }
        }
    }
    to.push('"');
}

/// Bytes as a JSON string: text if they are, else hexadecimal digits as PostgreSQL writes them.
pub(in crate::protocol) fn json_bytes(to: &mut String, bytes: &[u8]) {
    let window = bytes.get(..CELL_BYTES).unwrap_or(bytes);
    let text = match std::str::from_utf8(window) {
        Ok(text) => Some(text),
        // Cut inside of a character.
        Err(error) if error.error_len().is_none() => {
            window.get(..error.valid_up_to()).and_then(|it| std::str::from_utf8(it).ok())
        }
        Err(_) => None,
    };
    match text {
        Some(text) if !text.bytes().any(|it| it < b'\t') => json_text(to, text),
        _ => json_hex(to, bytes),
    }
}

/// Bytes as hexadecimal digits behind `\x`, cut.
pub(in crate::protocol) fn json_hex(to: &mut String, bytes: &[u8]) {
    to.push_str("\"\\\\x");
    for byte in bytes.iter().take(CELL_BYTES / 2) {
        for digit in [byte >> 4, byte & 15] {
            to.push(char::from(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }));
        }
    }
    to.push('"');
}

/// A number in digits as a JSON number if it is one, else as a string.
pub(in crate::protocol) fn json_digits(to: &mut String, digits: &[u8]) {
    match std::str::from_utf8(digits) {
        Ok(text) if is_number(digits) => to.push_str(text),
        _ => json_bytes(to, digits),
    }
}

/// A number as JSON; what JSON has no number for, as a string.
pub(in crate::protocol) fn json_float(to: &mut String, number: f64) {
    // Writing into a string does not fail.
    if number.is_finite() {
        write!(to, "{number}").ok()
    } else {
        write!(to, "\"{number}\"").ok()
    };
}

/// Any integer as JSON.
pub(in crate::protocol) fn json_integer(to: &mut String, number: impl std::fmt::Display) {
    // Writing into a string does not fail.
    write!(to, "{number}").ok();
}

/// Whether JSON would read these digits as a number.
fn is_number(digits: &[u8]) -> bool {
    let digits = digits.strip_prefix(b"-").unwrap_or(digits);
    let (whole, fraction) = match memchr(b'.', digits) {
        Some(dot) => (digits.get(..dot), digits.get(dot + 1..)),
        None => (Some(digits), None),
    };
    let (Some(whole), fraction) = (whole, fraction) else { return false };
    let all_digits = |it: &[u8]| !it.is_empty() && it.iter().all(u8::is_ascii_digit);
    all_digits(whole)
        && (whole.len() == 1 || whole.first() != Some(&b'0'))
        && fraction.is_none_or(all_digits)
        && digits.len() <= NUMBER_BYTES
}

/// The day that lies `days` behind 1970-01-01, as year, month and day.
pub(in crate::protocol) fn civil(days: i64) -> (i64, u32, u32) {
    // Days are counted from 0000-03-01, so that a leap day ends a year of four, and those a cycle of
    // 400 years.
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = u32::try_from(of_year - (153 * month + 2) / 5 + 1).unwrap_or_default();
    let month = u32::try_from(if month < 10 { month + 3 } else { month - 9 }).unwrap_or_default();
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Bytes kept of a value in a row, or of a parameter.
const CELL_BYTES: usize = 1024;

/// More digits than JSON readers take for a number.
const NUMBER_BYTES: usize = 40;

/// No operation's name is longer.
const OPERATION_BYTES: usize = 32;

/// What a list of traffic can show of a statement.
const HEADLINE_BYTES: usize = 200;

/// More than any `WITH plugin BY` takes.
const IDENTIFIED_BYTES: usize = 100;

/// Words a secret may follow, in lower case.
const SECRET_WORDS: &[&[u8]] = &[b"password", b"passwd", IDENTIFIED, b"secret", b"pwd"];

const IDENTIFIED: &[u8] = b"identified";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_a_statement_does() {
        for (statement, expected) in [
            ("select 1", "SELECT"),
            ("  (SELECT 1)", "SELECT"),
            ("-- note\n/* and */ update t set a = 1", "UPDATE"),
            ("/*!40101 SET NAMES utf8 */", "SET"),
            ("/*M!100 SET x=1 */", "SET"),
            ("BEGIN;", "BEGIN"),
            ("", ""),
            ("/* never ends", ""),
        ] {
            assert_eq!(operation(statement), expected, "{statement}");
        }
    }

    #[test]
    fn hides_secrets() {
        for (statement, expected) in [
            ("create role a password 'pw'; select 1", "create role a password '***'; select 1"),
            (
                "ALTER USER a WITH ENCRYPTED PASSWORD E'it\\'s'",
                "ALTER USER a WITH ENCRYPTED PASSWORD E'***'",
            ),
            (
                "create user a identified by 'x''y', b identified with p by \"z\"",
                "create user a identified by '***', b identified with p by \"***\"",
            ),
            ("SET PASSWORD FOR a = PASSWORD('x')", "SET PASSWORD FOR a = PASSWORD('***')"),
            (
                "CHANGE MASTER TO MASTER_PASSWORD='x', MASTER_PORT=1",
                "CHANGE MASTER TO MASTER_PASSWORD='***', MASTER_PORT=1",
            ),
            (
                "select dblink('host=a password=b user=c')",
                "select dblink('host=a password=*** user=c')",
            ),
            ("select * from t where password = $1", "select * from t where password = $1"),
            ("insert into t(password) values ('a')", "insert into t(password) values ('a')"),
            ("identified by 'never ends", "identified by '***"),
            ("select 'é' as password", "select 'é' as password"),
        ] {
            assert_eq!(without_secrets(statement), expected);
        }
    }

    #[test]
    fn lists_stay_json() {
        let mut list = List::default();
        for it in 0..100 {
            list.add(50, 40, |to| json_integer(to, it * 1000));
        }
        assert_eq!(list.finished().unwrap(), "[0,1000,2000,3000,4000,5000,6000,7000]");
        let mut to = String::new();
        json_bytes(&mut to, b"a\"\\\n\x0b");
        json_bytes(&mut to, b"\xff\x00");
        json_digits(&mut to, b"12.50");
        json_digits(&mut to, b"012");
        assert_eq!(to, "\"a\\\"\\\\\\n\\u000b\"\"\\\\xff00\"12.50\"012\"");
    }

    #[test]
    fn tells_days() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(10_957), (2000, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(-1), (1969, 12, 31));
    }
}
