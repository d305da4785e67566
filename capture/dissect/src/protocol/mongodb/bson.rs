//! BSON (<https://bsonspec.org/spec.html>), and what it says as relaxed Extended JSON
//! (<https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md>).
use std::fmt::Write;

use memchr::memchr;
use schema::value;

/// A list of names and values; of one that is cut, as many as are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document<'a> {
    /// Behind the length, and without the zero at the end if that is there.
    bytes: &'a [u8],
}

/// A value with its name.
pub(super) struct Element<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Double(f64),
    Text(&'a [u8]),
    /// A text whose end is not there.
    CutText(&'a [u8]),
    Document(Document<'a>),
    Array(Document<'a>),
    Binary(u8, &'a [u8]),
    Undefined,
    ObjectId(&'a [u8]),
    Flag(bool),
    Date(i64),
    Null,
    Regex(&'a [u8], &'a [u8]),
    Pointer(&'a [u8], &'a [u8]),
    Code(&'a [u8]),
    Symbol(&'a [u8]),
    CodeWithScope(&'a [u8], Document<'a>),
    Int(i64),
    Timestamp {
        time: u32,
        increment: u32,
    },
    Decimal(u128),
    MinKey,
    MaxKey,
}

impl<'a> Document<'a> {
    /// The document that `bytes` begin with, and how long it says it is.
    pub(super) fn of(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let length = usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
        if !(SHORTEST..=LONGEST).contains(&length) {
            return None;
        }
        match bytes.get(4..length) {
            Some([bytes @ .., 0]) => Some((Self { bytes }, length)),
            Some(_) => None,
            None => Some((Self { bytes: bytes.get(4..)? }, length)),
        }
    }

    pub(super) fn elements(self) -> Elements<'a> {
        Elements { rest: self.bytes }
    }

    pub(super) fn first(self) -> Option<Element<'a>> {
        self.elements().next()
    }

    pub(super) fn get(self, name: &str) -> Option<Value<'a>> {
        self.elements().find(|it| it.name == name.as_bytes()).map(|it| it.value)
    }

    pub(super) fn text(self, name: &str) -> Option<&'a [u8]> {
        self.get(name)?.text()
    }

    pub(super) fn document(self, name: &str) -> Option<Self> {
        match self.get(name)? {
            Value::Document(it) | Value::Array(it) => Some(it),
            _ => None,
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(it) | Self::CutText(it) | Self::Symbol(it) => Some(it),
            _ => None,
        }
    }

    /// As a whole number, where it is one; drivers send counts as any type.
    pub(super) fn number(self) -> Option<i64> {
        match self {
            Self::Int(it) => Some(it),
            Self::Flag(it) => Some(it.into()),
            #[allow(clippy::cast_possible_truncation, reason = "what a count may be is inside")]
            Self::Double(it) if it.abs() < 9e15 => Some(it as i64),
            _ => None,
        }
    }
}

/// The elements of a document; ends at the first that makes no sense.
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let element = self.element();
        if element.is_none() {
            self.rest = &[];
        }
        element
    }
}

impl<'a> Elements<'a> {
    fn element(&mut self) -> Option<Element<'a>> {
        let kind = *self.take(1)?.first()?;
        let name = self.name()?;
        let value = match kind {
            0x01 => Value::Double(f64::from_le_bytes(self.fixed()?)),
            0x02 => {
                let length = self.rest.first_chunk().map(|it| i32::from_le_bytes(*it))?;
                match self.text()? {
                    text if usize::try_from(length) == Ok(text.len() + 1) => Value::Text(text),
                    text => Value::CutText(text),
                }
            }
            0x03 => Value::Document(self.document()?),
            0x04 => Value::Array(self.document()?),
            0x05 => {
                let length = usize::try_from(i32::from_le_bytes(self.fixed()?)).ok()?;
                let kind = *self.take(1)?.first()?;
                Value::Binary(kind, self.some(length))
            }
            0x06 => Value::Undefined,
            0x07 => Value::ObjectId(self.take(12)?),
            0x08 => Value::Flag(self.take(1)? != [0]),
            0x09 => Value::Date(i64::from_le_bytes(self.fixed()?)),
            0x0a => Value::Null,
            0x0b => Value::Regex(self.name()?, self.name()?),
            0x0c => Value::Pointer(self.text()?, self.take(12)?),
            0x0d => Value::Code(self.text()?),
            0x0e => Value::Symbol(self.text()?),
            0x0f => {
                self.take(4)?;
                Value::CodeWithScope(self.text()?, self.document()?)
            }
            0x10 => Value::Int(i32::from_le_bytes(self.fixed()?).into()),
            0x11 => Value::Timestamp {
                increment: u32::from_le_bytes(self.fixed()?),
                time: u32::from_le_bytes(self.fixed()?),
            },
            0x12 => Value::Int(i64::from_le_bytes(self.fixed()?)),
            0x13 => Value::Decimal(u128::from_le_bytes(self.fixed()?)),
            0xff => Value::MinKey,
            0x7f => Value::MaxKey,
            _ => return None,
        };
        Some(Element { name, value })
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    /// As many as are there of so many.
    fn some(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let name = self.take(memchr(0, self.rest)?)?;
        self.take(1)?;
        Some(name)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(i32::from_le_bytes(self.fixed()?)).ok()?;
        let text = self.some(length);
        if text.len() < length {
            return Some(text);
        }
        text.strip_suffix(&[0])
    }

    fn document(&mut self) -> Option<Document<'a>> {
        let (document, length) = Document::of(self.rest)?;
        self.some(length);
        Some(document)
    }
}

/// Writes JSON up to a bound. What comes past it is left out and `…` says so; it stays JSON.
#[derive(Debug)]
pub(super) struct Json {
    out: String,
    limit: usize,
}

impl Json {
    pub(super) fn new(limit: usize) -> Self {
        Self { out: String::new(), limit }
    }

    pub(super) fn finish(self) -> Box<str> {
        self.out.into()
    }

    /// A document, and behind its elements lists of documents with their names, as a message's
    /// sections have them.
    pub(super) fn document<'a>(
        &mut self,
        document: Option<Document<'_>>,
        lists: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) {
        let written = self.try_document(document, lists);
        debug_assert!(written.is_ok(), "writing into a string does not fail");
    }

    fn try_document<'a>(
        &mut self,
        document: Option<Document<'_>>,
        lists: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> std::fmt::Result {
        self.out.push('{');
        let mut is_first = true;
        if let Some(document) = document {
            is_first = self.fields(document, 0)?;
        }
        for (name, list) in lists {
            if !std::mem::take(&mut is_first) {
                self.out.push(',');
            }
            self.text(name)?;
            self.out.push_str(":[");
            let mut rest = list;
            let mut is_first = true;
            while let Some((document, length)) = Document::of(rest) {
                if !std::mem::take(&mut is_first) {
                    self.out.push(',');
                }
                if self.is_full() {
                    self.out.push_str("\"…\"");
                    break;
                }
                self.value(Value::Document(document), 1)?;
                rest = rest.get(length..).unwrap_or_default();
            }
            self.out.push(']');
        }
        self.out.write_char('}')
    }

    /// Documents with their names, as one.
    pub(super) fn documents<'a>(
        &mut self,
        list: impl IntoIterator<Item = (&'a [u8], Document<'a>)>,
    ) {
        let written = self.try_documents(list);
        debug_assert!(written.is_ok(), "writing into a string does not fail");
    }

    fn try_documents<'a>(
        &mut self,
        list: impl IntoIterator<Item = (&'a [u8], Document<'a>)>,
    ) -> std::fmt::Result {
        for (place, (name, document)) in list.into_iter().enumerate() {
            self.out.push(if place == 0 { '{' } else { ',' });
            self.text(name)?;
            self.out.push(':');
            self.value(Value::Document(document), 1)?;
        }
        self.out.write_char('}')
    }

    fn is_full(&self) -> bool {
        self.out.len() >= self.limit
    }

    /// The elements of an object, without its braces; whether there was none.
    fn fields(&mut self, document: Document<'_>, depth: usize) -> Result<bool, std::fmt::Error> {
        let mut is_first = true;
        for element in document.elements() {
            if !std::mem::take(&mut is_first) {
                self.out.push(',');
            }
            if self.is_full() {
                self.out.push_str("\"…\":null");
                return Ok(false);
            }
            self.text(element.name)?;
            self.out.push(':');
            if is_secret(&element, document) {
                self.out.push_str("\"***\"");
            } else {
                self.value(element.value, depth + 1)?;
            }
        }
        Ok(is_first)
    }

    fn value(&mut self, value: Value<'_>, depth: usize) -> std::fmt::Result {
        match value {
            Value::Document(_) | Value::Array(_) if depth > DEEPEST => self.out.write_str("\"…\""),
            Value::Document(document) => {
                self.out.push('{');
                self.fields(document, depth)?;
                self.out.write_char('}')
            }
            Value::Array(array) => {
                self.out.push('[');
                for (place, element) in array.elements().enumerate() {
                    if place > 0 {
                        self.out.push(',');
                    }
                    if self.is_full() {
                        self.out.push_str("\"…\"");
                        break;
                    }
                    self.value(element.value, depth + 1)?;
                }
                self.out.write_char(']')
            }
            Value::Double(it) if it.is_finite() => write!(self.out, "{it:?}"),
            Value::Double(it) => {
                let name = match it {
                    it if it.is_nan() => "NaN",
                    it if it > 0.0 => "Infinity",
                    _ => "-Infinity",
                };
                write!(self.out, "{{\"$numberDouble\":\"{name}\"}}")
            }
            Value::Text(it) => self.text(it),
            Value::CutText(it) => {
                self.text(it)?;
                self.out.pop();
                self.out.write_str("…\"")
            }
            Value::Symbol(it) => self.wrapped("$symbol", it),
            Value::Code(it) => self.wrapped("$code", it),
            Value::CodeWithScope(code, scope) => {
                self.out.push_str("{\"$code\":");
                self.text(code)?;
                self.out.push_str(",\"$scope\":");
                self.value(Value::Document(scope), depth + 1)?;
                self.out.write_char('}')
            }
            Value::Binary(4, bytes) if bytes.len() == 16 => {
                self.out.push_str("{\"$uuid\":\"");
                for (place, byte) in bytes.iter().enumerate() {
                    if matches!(place, 4 | 6 | 8 | 10) {
                        self.out.push('-');
                    }
                    write!(self.out, "{byte:02x}")?;
                }
                self.out.write_str("\"}")
            }
            Value::Binary(kind, bytes) => {
                self.out.push_str("{\"$binary\":{\"base64\":\"");
                let room = self.limit.saturating_sub(self.out.len()) / 4 * 3;
                base64(bytes.get(..room).unwrap_or(bytes), &mut self.out);
                write!(self.out, "\",\"subType\":\"{kind:02x}\"}}}}")
            }
            Value::Undefined => self.out.write_str("{\"$undefined\":true}"),
            Value::ObjectId(id) => {
                self.out.push_str("{\"$oid\":\"");
                self.hex(id)?;
                self.out.write_str("\"}")
            }
            Value::Pointer(name, id) => {
                self.out.push_str("{\"$dbPointer\":{\"$ref\":");
                self.text(name)?;
                self.out.push_str(",\"$id\":{\"$oid\":\"");
                self.hex(id)?;
                self.out.write_str("\"}}}")
            }
            Value::Flag(it) => write!(self.out, "{it}"),
            Value::Date(ms) => match date(ms) {
                Some(date) => write!(self.out, "{{\"$date\":\"{date}\"}}"),
                None => write!(self.out, "{{\"$date\":{{\"$numberLong\":\"{ms}\"}}}}"),
            },
            Value::Null => self.out.write_str("null"),
            Value::Regex(pattern, options) => {
                self.out.push_str("{\"$regularExpression\":{\"pattern\":");
                self.text(pattern)?;
                self.out.push_str(",\"options\":");
                self.text(options)?;
                self.out.write_str("}}")
            }
            Value::Int(it) => write!(self.out, "{it}"),
            Value::Timestamp { time, increment } => {
                write!(self.out, "{{\"$timestamp\":{{\"t\":{time},\"i\":{increment}}}}}")
            }
            Value::Decimal(bits) => {
                write!(self.out, "{{\"$numberDecimal\":\"{}\"}}", decimal(bits))
            }
            Value::MinKey => self.out.write_str("{\"$minKey\":1}"),
            Value::MaxKey => self.out.write_str("{\"$maxKey\":1}"),
        }
    }

    fn wrapped(&mut self, name: &str, text: &[u8]) -> std::fmt::Result {
        write!(self.out, "{{\"{name}\":")?;
        self.text(text)?;
        self.out.write_char('}')
    }

    fn hex(&mut self, bytes: &[u8]) -> std::fmt::Result {
        bytes.iter().try_for_each(|byte| write!(self.out, "{byte:02x}"))
    }

    fn text(&mut self, bytes: &[u8]) -> std::fmt::Result {
        let room = self.limit.saturating_sub(self.out.len()).max(NAME_BYTES);
        let kept = bytes.get(..room).unwrap_or(bytes);
        let mut is_cut = kept.len() < bytes.len();
        // What must be escaped takes more room than it had.
        let end = self.limit.max(self.out.len() + NAME_BYTES);
        self.out.push('"');
        for letter in value::text(kept).chars() {
            if self.out.len() > end {
                is_cut = true;
                break;
            }
            match letter {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                it if it < ' ' => write!(self.out, "\\u{:04x}", u32::from(it))?,
                it => self.out.push(it),
            }
        }
        if is_cut {
            self.out.push('…');
        }
        self.out.write_char('"')
    }
}

/// Passwords, what is derived from them, and what a login exchanges.
fn is_secret(element: &Element<'_>, around: Document<'_>) -> bool {
    if SECRETS.iter().any(|it| element.name.eq_ignore_ascii_case(it)) {
        return matches!(
            element.value,
            Value::Text(_) | Value::CutText(_) | Value::Binary(..) | Value::Document(_)
        );
    }
    match element.name {
        b"payload" => {
            matches!(element.value, Value::Text(_) | Value::CutText(_) | Value::Binary(..))
                && around.elements().any(|it| LOGINS.contains(&it.name))
        }
        b"key" | b"nonce" => around.first().is_some_and(|it| it.name == b"authenticate"),
        _ => false,
    }
}

/// Milliseconds since 1970, as ISO 8601; only what Extended JSON writes so.
fn date(ms: i64) -> Option<String> {
    let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    if !(0..2_932_897).contains(&days) {
        return None;
    }
    // Years that begin in March end with the leap day; 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = 400 * era + year + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let part = if ms % 1000 == 0 { String::new() } else { format!(".{:03}", ms % 1000) };
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{part}Z"))
}

/// IEEE 754-2008's 128 bits with a binary integer, as text.
fn decimal(bits: u128) -> String {
    let sign = if bits >> 127 == 1 { "-" } else { "" };
    match bits >> 122 & 0x1f {
        0x1f => return "NaN".to_owned(),
        0x1e => return format!("{sign}Infinity"),
        _ => {}
    }
    // With both bits set the number would have more digits than fit, which means zero.
    let (exponent, digits) = match bits >> 125 & 3 {
        3 => (bits >> 111 & 0x3fff, 0),
        _ => (bits >> 113 & 0x3fff, bits & ((1 << 113) - 1)),
    };
    let digits = if digits >= 10_u128.pow(34) { 0 } else { digits }.to_string();
    let exponent = i32::try_from(exponent).unwrap_or_default() - 6176;
    let count = i32::try_from(digits.len()).unwrap_or_default();
    let scientific = exponent + count - 1;
    if exponent > 0 || scientific < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}E{scientific:+}");
    }
    let decimals = usize::try_from(-exponent).unwrap_or_default();
    match digits.len().checked_sub(decimals) {
        _ if decimals == 0 => format!("{sign}{digits}"),
        Some(at) if at > 0 => {
            let (whole, part) = digits.split_at(at);
            format!("{sign}{whole}.{part}")
        }
        _ => format!("{sign}0.{digits:0>decimals$}"),
    }
}

fn base64(bytes: &[u8], to: &mut String) {
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |it, byte| it << 8 | u32::from(*byte));
        let number = number << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = (number >> (18 - 6 * place) & 63) as usize;
            let letter = BASE64.get(digit).filter(|_| place <= three.len());
            to.push(letter.map_or('=', |it| char::from(*it)));
        }
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A length and a zero.
const SHORTEST: usize = 5;

/// A message may have 48 MB.
const LONGEST: usize = 48_000_000;

/// As deep as servers let documents be.
const DEEPEST: usize = 100;

/// What a name may have when the room is used up.
const NAME_BYTES: usize = 64;

const SECRETS: &[&[u8]] = &[b"pwd", b"password", b"passwd", b"storedKey", b"serverKey"];

/// Names that stand beside the payload of a login.
const LOGINS: &[&[u8]] = &[b"saslStart", b"saslContinue", b"conversationId", b"mechanism"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_read_as_people_write_them() {
        let of = |digits: u128, exponent: i32| digits | ((exponent + 6176) as u128) << 113;
        assert_eq!(decimal(of(123, -2)), "1.23");
        assert_eq!(decimal(of(5, -3)), "0.005");
        assert_eq!(decimal(of(0, 0)), "0");
        assert_eq!(decimal(of(12, 3)), "1.2E+4");
        assert_eq!(decimal(of(1, -7)), "1E-7");
        assert_eq!(decimal(of(1, 0) | 1 << 127), "-1");
        assert_eq!(decimal(0x1f << 122), "NaN");
        assert_eq!(decimal(0x1e << 122), "Infinity");
    }

    #[test]
    fn dates_read_as_people_write_them() {
        assert_eq!(date(0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(date(1_709_210_096_789).unwrap(), "2024-02-29T12:34:56.789Z");
        assert_eq!(date(253_402_300_799_999).unwrap(), "9999-12-31T23:59:59.999Z");
        assert_eq!(date(-1), None);
        assert_eq!(date(253_402_300_800_000), None);
        assert_eq!(date(i64::MIN), None);
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            let mut text = String::new();
            base64(bytes.as_bytes(), &mut text);
            assert_eq!(text, expected);
        }
    }
}
