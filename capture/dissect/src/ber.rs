//! Values in BER and DER (X.690), read without trust: what is not there is not read, and nothing
//! is copied.
use crate::input::Stop;

/// Reads one value after the other. At the end of the bytes, or where no value begins, there is
/// none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    /// Its identifier octet; of a tag above 30, which takes several octets, the first.
    pub(crate) tag: u8,
    /// What is inside, as far as it is there.
    pub(crate) bytes: &'a [u8],
    /// More was said to be inside.
    pub(crate) cut: bool,
}

/// What stands before a value's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The identifier octet.
    pub(crate) tag: u8,
    /// How many bytes the identifier and the length take.
    pub(crate) size: usize,
    /// How many bytes the contents take.
    pub(crate) length: u64,
}

impl Head {
    /// Of the value that begins here. `More` if its head is not all there, `Lost` if there cannot
    /// be one: a length left open (which neither LDAP nor DER allows) or of more than eight octets.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Stop> {
        let (tag, mut rest) = bytes.split_first().ok_or(Stop::More)?;
        if tag & LONG_TAG == LONG_TAG {
            for place in 0.. {
                let (octet, after) = rest.split_first().ok_or(Stop::More)?;
                rest = after;
                match octet & 0x80 {
                    0 => break,
                    _ if place == TAG_OCTETS => return Err(Stop::Lost),
                    _ => {}
                }
            }
        }
        let (first, mut rest) = rest.split_first().ok_or(Stop::More)?;
        let mut length = u64::from(*first);
        match *first {
            0x80 | 0x89.. => return Err(Stop::Lost),
            0x81..=0x88 => {
                let octets = usize::from(first & 0x7f);
                let (octets, after) = rest.split_at_checked(octets).ok_or(Stop::More)?;
                length = octets.iter().fold(0, |length, it| length << 8 | u64::from(*it));
                rest = after;
            }
            _ => {}
        }
        Ok(Self { tag: *tag, size: bytes.len() - rest.len(), length })
    }

    /// The whole value's size.
    pub(crate) fn total(&self) -> u64 {
        self.length.saturating_add(self.size as u64)
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next value, if it has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Value<'a>> {
        let mut after = *self;
        let value = after.next().filter(|it| it.tag == tag)?;
        *self = after;
        Some(value)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let head = Head::of(self.bytes).ok()?;
        let there = self.bytes.get(head.size..)?;
        let inside = usize::try_from(head.length).ok().and_then(|it| there.split_at_checked(it));
        let (bytes, rest) = inside.unwrap_or((there, &[]));
        self.bytes = rest;
        Some(Value { tag: head.tag, bytes, cut: inside.is_none() })
    }
}

impl<'a> Value<'a> {
    /// Reads what is inside.
    pub(crate) fn inside(&self) -> Reader<'a> {
        Reader::new(self.bytes)
    }

    /// An INTEGER or ENUMERATED of at most eight octets.
    pub(crate) fn integer(&self) -> Option<i64> {
        let first = *self.bytes.first().filter(|_| !self.cut)?;
        let start = if first & 0x80 == 0 { 0 } else { -1 };
        (self.bytes.len() <= 8)
            .then(|| self.bytes.iter().fold(start, |number, it| number << 8 | i64::from(*it)))
    }

    /// An OBJECT IDENTIFIER, in numbers.
    pub(crate) fn oid(&self) -> Option<String> {
        if self.cut || self.bytes.len() > OID_OCTETS {
            return None;
        }
        let mut text = String::new();
        let mut arc = 0_u64;
        let mut whole = false;
        for octet in self.bytes {
            arc = arc.checked_mul(128)? | u64::from(octet & 0x7f);
            whole = octet & 0x80 == 0;
            if !whole {
                continue;
            }
            if text.is_empty() {
                // The first octets hold two numbers, of which the first is at most 2.
                let first = (arc / 40).min(2);
                text = format!("{first}.{}", arc - first * 40);
            } else {
                text.push('.');
                text.push_str(&arc.to_string());
            }
            arc = 0;
        }
        whole.then_some(text)
    }
}

/// The tags that every module shares.
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// A tag of more than one octet.
const LONG_TAG: u8 = 0x1f;

/// Octets after the first that a tag may have, so that a number fits 32 bits.
const TAG_OCTETS: u32 = 4;

/// More than any object identifier in use.
const OID_OCTETS: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(bytes: &[u8]) -> Value<'_> {
        Reader::new(bytes).next().unwrap()
    }

    #[test]
    fn lengths_come_in_several_forms() {
        for head in [&b"\x04\x03"[..], b"\x04\x81\x03", b"\x04\x84\0\0\0\x03"] {
            let bytes = [head, b"abc\x05\0"].concat();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.next().unwrap().bytes, b"abc");
            assert_eq!(reader.next().unwrap().tag, 5);
            assert_eq!(reader.next(), None);
            for n in 0..head.len() {
                assert_eq!(Head::of(&head[..n]), Err(Stop::More));
            }
            let head = Head::of(head).unwrap();
            assert_eq!(head.total(), head.size as u64 + 3);
        }
        assert_eq!(Head::of(b"\x30\x80"), Err(Stop::Lost));
        assert_eq!(Head::of(b"\x30\x89"), Err(Stop::Lost));
        assert_eq!(
            Head::of(b"\x04\x88\xff\xff\xff\xff\xff\xff\xff\xff").unwrap().total(),
            u64::MAX
        );
    }

    #[test]
    fn long_tags_are_passed_over() {
        assert_eq!(Head::of(b"\x7f\x21\x02ab"), Ok(Head { tag: 0x7f, size: 3, length: 2 }));
        assert_eq!(Head::of(b"\x7f\x81\x82"), Err(Stop::More));
        assert_eq!(Head::of(b"\x1f\xff\xff\xff\xff\xff\x01"), Err(Stop::Lost));
    }

    #[test]
    fn what_is_cut_says_so() {
        let cut = value(b"\x30\x09\x04\x07abc");
        assert!(cut.cut);
        let inner = cut.inside().next().unwrap();
        assert_eq!((inner.bytes, inner.cut), (&b"abc"[..], true));
    }

    #[test]
    fn numbers_have_a_sign() {
        let numbers = [
            (&b"\x02\x01\x05"[..], Some(5)),
            (b"\x02\x01\xff", Some(-1)),
            (b"\x02\x02\x00\xff", Some(255)),
            (b"\x02\x00", None),
            (b"\x02\x09\x01\0\0\0\0\0\0\0\0", None),
        ];
        for (bytes, expected) in numbers {
            assert_eq!(value(bytes).integer(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn object_identifiers_have_numbers() {
        let names = [
            (&b"\x06\x06\x2b\x06\x01\x05\x05\x02"[..], Some("1.3.6.1.5.5.2")),
            (b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02", Some("1.2.840.113554.1.2.2")),
            (b"\x06\x03\x88\x37\x03", Some("2.999.3")),
            (b"\x06\x02\x2b\x86", None),
            (b"\x06\x00", None),
        ];
        for (bytes, expected) in names {
            assert_eq!(value(bytes).oid().as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn only_the_expected_value_is_taken() {
        let mut reader = Reader::new(b"\x02\x01\x07\x04\x01a");
        assert_eq!(reader.expect(OCTETS), None);
        assert_eq!(reader.expect(INTEGER).and_then(|it| it.integer()), Some(7));
        assert_eq!(reader.expect(OCTETS).unwrap().bytes, b"a");
    }

    proptest! {
        #[test]
        fn noise_ends(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for value in Reader::new(&bytes) {
                value.integer();
                value.oid();
                prop_assert!(value.inside().count() <= bytes.len());
            }
        }
    }
}
