//! The name of a conversation.
use std::fmt;

/// Names a conversation: 42 bits of when it began in milliseconds, 18 bits of who talks, in twelve
/// letters that sort by time. The same packets always give the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId([u8; LETTERS]);

impl FlowId {
    /// Of a conversation that began at `ts`, nanoseconds since 1970, between those whose `hash` this is.
    #[must_use]
    pub fn new(ts: i64, hash: u64) -> Self {
        let millis = ts.div_euclid(MILLI).max(0).cast_unsigned() & ((1 << 42) - 1);
        let bits = (millis << HASH_BITS) | (hash & ((1 << HASH_BITS) - 1));
        Self(std::array::from_fn(|place| {
            let index = (bits >> (BITS - 5 * (place + 1))) & 31;
            ALPHABET.get(index as usize).copied().unwrap_or(b'0')
        }))
    }

    /// Reads a name as it stands in the column `flow_id`; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let letters = <[u8; LETTERS]>::try_from(text.as_bytes()).ok()?;
        letters.iter().all(|it| ALPHABET.contains(it)).then_some(Self(letters))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// When the conversation began, nanoseconds since 1970; up to a millisecond before it did.
    #[must_use]
    pub fn began(&self) -> i64 {
        let bits = self.0.iter().fold(0_u64, |bits, letter| {
            let index = ALPHABET.iter().position(|it| it == letter).unwrap_or_default();
            (bits << 5) | index as u64
        });
        (bits >> HASH_BITS).cast_signed().saturating_mul(MILLI)
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LETTERS: usize = 12;
const BITS: usize = 5 * LETTERS;
const HASH_BITS: usize = 18;
/// Nanoseconds of a millisecond.
const MILLI: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_its_conversation_began() {
        for (ts, hash) in [(0, 0), (1_763_805_600_123_456_789, 77), (4_000_000_000_999_999, !0)] {
            let id = FlowId::new(ts, hash);
            assert_eq!(id.began(), ts / MILLI * MILLI);
            assert_eq!(FlowId::parse(id.as_str()), Some(id));
        }
        assert!(FlowId::new(1_000_000, !0) < FlowId::new(2_000_000, 0));
        for other in ["", "0123456789ab0", "0123456789aU", "01234567é9a"] {
            assert_eq!(FlowId::parse(other), None, "{other}");
        }
    }
}
