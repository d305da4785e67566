//! What a certificate says: RFC 5280, as much of DER (X.690) as it needs, names by RFC 4514.
use std::borrow::Cow;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use schema::value::text;

use crate::limits::SECOND;
use crate::render::hex;

/// A certificate, read where it lies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Certificate<'a> {
    serial: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    /// When it begins to hold, in nanoseconds since 1970.
    pub(super) not_before: Option<i64>,
    /// When it ends to hold; null if that is as good as never.
    pub(super) not_after: Option<i64>,
    key: &'a [u8],
    names: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(super) fn of(der: &'a [u8]) -> Option<Self> {
        let mut outer = Der(Der(der).expect(SEQUENCE)?);
        let mut fields = Der(outer.expect(SEQUENCE)?);
        let (mut tag, mut serial) = fields.next()?;
        if tag == VERSION {
            (tag, serial) = fields.next()?;
        }
        if tag != INTEGER {
            return None;
        }
        fields.expect(SEQUENCE)?;
        let issuer = fields.expect(SEQUENCE)?;
        let mut validity = Der(fields.expect(SEQUENCE)?);
        let not_before = validity.next().and_then(time);
        let not_after = validity.next().and_then(time);
        let subject = fields.expect(SEQUENCE)?;
        let key = fields.expect(SEQUENCE)?;
        let mut names: &[u8] = &[];
        while let Some((tag, content)) = fields.next() {
            if tag == EXTENSIONS {
                names = alternative_names(content).unwrap_or_default();
            }
        }
        Some(Self { serial, issuer, subject, not_before, not_after, key, names })
    }

    /// The number its issuer gave it, in hexadecimal.
    pub(super) fn serial(&self) -> String {
        // A zero in front only says that the number is not negative.
        let digits = match self.serial {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        hex(digits)
    }

    pub(super) fn issuer(&self) -> String {
        name(self.issuer)
    }

    pub(super) fn subject(&self) -> String {
        name(self.subject)
    }

    /// The names and addresses it holds for.
    pub(super) fn names(&self) -> Vec<Cow<'a, str>> {
        let mut list = Der(self.names);
        let mut names = Vec::new();
        while let Some((tag, content)) = list.next() {
            match tag {
                EMAIL | DNS_NAME | URI => names.push(text(content)),
                ADDRESS => names.extend(address(content).map(Cow::Owned)),
                _ => {}
            }
            if names.len() >= MOST_NAMES {
                break;
            }
        }
        names
    }

    /// What kind of key it holds and how long that is, such as `RSA 2048` or `EC P-256`.
    pub(super) fn key(&self) -> Option<Cow<'static, str>> {
        let mut parts = Der(self.key);
        let mut algorithm = Der(parts.expect(SEQUENCE)?);
        let kind = algorithm.expect(OBJECT)?;
        if kind == RSA {
            let bits = parts.expect(BIT_STRING)?.get(1..)?;
            let modulus = Der(Der(bits).expect(SEQUENCE)?).expect(INTEGER)?;
            let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
            let unused = modulus.first()?.leading_zeros() as usize;
            return Some(format!("RSA {}", modulus.len() * 8 - unused).into());
        }
        if kind == ELLIPTIC {
            let curve = algorithm.expect(OBJECT).unwrap_or_default();
            let known = CURVES.iter().find(|it| it.0 == curve);
            return Some(known.map_or("EC", |it| it.1).into());
        }
        KEYS.iter().find(|it| it.0 == kind).map(|it| it.1.into())
    }
}

/// Tags, lengths and values.
#[derive(Clone, Copy, Debug)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, rest) = match *length {
            short @ ..0x80 => (usize::from(short), rest),
            long => {
                let width = usize::from(long & 0x7f);
                let (digits, rest) =
                    rest.split_at_checked(width).filter(|_| (1..=4).contains(&width))?;
                (digits.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|it| it.0 == tag).map(|it| it.1)
    }
}

/// The list of names among the extensions.
fn alternative_names(extensions: &[u8]) -> Option<&[u8]> {
    let mut list = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some(extension) = list.expect(SEQUENCE) {
        let mut parts = Der(extension);
        if parts.expect(OBJECT)? != ALTERNATIVE_NAMES {
            continue;
        }
        let mut value = parts.next()?;
        if value.0 == BOOLEAN {
            value = parts.next()?;
        }
        return Der(value.1).expect(SEQUENCE);
    }
    None
}

/// A name as RFC 4514 writes it: the last part first.
fn name(der: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut list = Der(der);
    while let Some(set) = list.expect(SET) {
        let mut several = Der(set);
        let mut part = String::new();
        while let Some(pair) = several.expect(SEQUENCE) {
            let mut pair = Der(pair);
            let (Some(kind), Some((tag, value))) = (pair.expect(OBJECT), pair.next()) else {
                break;
            };
            if !part.is_empty() {
                part.push('+');
            }
            match ATTRIBUTES.iter().find(|it| it.0 == kind) {
                Some((_, name)) => part.push_str(name),
                None => part += &object(kind),
            }
            part.push('=');
            push_escaped(&mut part, &string(tag, value));
        }
        parts.push(part);
        if parts.len() >= MOST_PARTS {
            break;
        }
    }
    parts.reverse();
    parts.join(",")
}

fn string(tag: u8, value: &[u8]) -> Cow<'_, str> {
    match tag {
        BMP_STRING => {
            let units = value.chunks_exact(2).filter_map(|it| it.try_into().ok());
            char::decode_utf16(units.map(u16::from_be_bytes))
                .map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        LATIN_STRING if std::str::from_utf8(value).is_err() => {
            value.iter().map(|it| char::from(*it)).collect()
        }
        _ => text(value),
    }
}

/// RFC 4514 §2.4.
fn push_escaped(to: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (place, it) in value.chars().enumerate() {
        let is_edge = (it == ' ' && (place == 0 || place == last)) || (it == '#' && place == 0);
        if is_edge || matches!(it, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            to.push('\\');
        }
        match it {
            '\0'..' ' | '\u{7f}' => {
                // Writing into a text does not fail.
                write!(to, "\\{:02x}", u32::from(it)).unwrap_or_default();
            }
            _ => to.push(it),
        }
    }
}

/// The numbers of an object's name, with dots.
fn object(der: &[u8]) -> String {
    let mut out = String::new();
    let mut number: u64 = 0;
    for byte in der {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if out.is_empty() {
            // The first two numbers stand in one.
            let first = (number / 40).min(2);
            write!(out, "{first}.{}", number - first * 40).unwrap_or_default();
        } else {
            write!(out, ".{number}").unwrap_or_default();
        }
        number = 0;
    }
    out
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|it| Ipv6Addr::from(it).to_string())
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, in nanoseconds since 1970.
fn time((tag, content): (u8, &[u8])) -> Option<i64> {
    let digits = content.strip_suffix(b"Z")?;
    let number = |from: usize, to: usize| {
        let part = digits.get(from..to)?;
        part.iter()
            .try_fold(0_i64, |sum, it| it.is_ascii_digit().then(|| sum * 10 + i64::from(it - b'0')))
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |place: usize| number(at + 2 * place, at + 2 * place + 2);
    let (month, day) = (part(0)?, part(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970, of years that begin in March so that a leap day is a year's last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?;
    seconds.checked_mul(SECOND)
}

/// Names shown of one certificate; those of large sites have a few hundred.
const MOST_NAMES: usize = 1000;
/// Parts of a name; no one's has more than a dozen.
const MOST_PARTS: usize = 32;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
const LATIN_STRING: u8 = 0x14;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// 1.2.840.113549.1.1.1 and 1.2.840.10045.2.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const ELLIPTIC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

const CURVES: &[(&[u8], &str)] = &[
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], "EC P-256"),
    (&[0x2b, 0x81, 0x04, 0, 0x22], "EC P-384"),
    (&[0x2b, 0x81, 0x04, 0, 0x23], "EC P-521"),
    (&[0x2b, 0x81, 0x04, 0, 0x0a], "EC secp256k1"),
];

const KEYS: &[(&[u8], &str)] = &[
    (&[0x2b, 0x65, 0x70], "Ed25519"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], "DSA"),
    (&[0x2a, 0x86, 0x48, 0xf7, 0x0d, 1, 1, 10], "RSA-PSS"),
];

const ATTRIBUTES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 15], "businessCategory"),
    (&[0x55, 4, 17], "postalCode"),
    (&[0x55, 4, 42], "GN"),
    (&[0x55, 4, 97], "organizationIdentifier"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x3c, 2, 1, 3], "jurisdictionC"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = |tag, text: &str| time((tag, text.as_bytes())).map(|it| it / SECOND);
        assert_eq!(at(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(at(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(at(UTC_TIME, "500101000000Z"), Some(-631_152_000));
        assert_eq!(at(GENERALIZED_TIME, "20240229120000Z"), Some(1_709_208_000));
        // For ever, as RFC 5280 §4.1.2.5 writes it.
        assert_eq!(at(GENERALIZED_TIME, "99991231235959Z"), None);
        assert_eq!(at(UTC_TIME, "241301000000Z"), None);
        assert_eq!(at(UTC_TIME, "2401010000Z"), None);
    }

    #[test]
    fn names_are_escaped() {
        let mut out = String::new();
        push_escaped(&mut out, " Sue, Grabbit+Runn\0 ");
        assert_eq!(out, "\\ Sue\\, Grabbit\\+Runn\\00\\ ");
        assert_eq!(object(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]), "1.2.840.113549");
        assert_eq!(object(&[0x88, 0x37, 3]), "2.999.3");
    }
}
