//! Bytes that come in pieces: in any order, overlapping, some twice.

/// A message or stream being put together. What lies past a bound is dropped.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Pieces {
    bytes: Vec<u8>,
    /// What is there: where each stretch begins and ends, in order and apart.
    there: Vec<(usize, usize)>,
}

impl Pieces {
    /// Adds a piece that belongs `at` a place, unless it ends past `most`.
    pub(in crate::protocol) fn put(&mut self, at: usize, piece: &[u8], most: usize) {
        let Some(end) = at.checked_add(piece.len()).filter(|end| *end <= most) else { return };
        if piece.is_empty() || self.there.len() >= MOST_STRETCHES {
            return;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(at..end) {
            place.copy_from_slice(piece);
        }
        let (mut start, mut stop) = (at, end);
        self.there.retain(|(from, to)| {
            let touches = *from <= stop && *to >= start;
            if touches {
                start = start.min(*from);
                stop = stop.max(*to);
            }
            !touches
        });
        let place = self.there.partition_point(|(from, _)| *from < start);
        self.there.insert(place, (start, stop));
    }

    /// All from the start up to the first hole.
    pub(in crate::protocol) fn front(&self) -> &[u8] {
        match self.there.first() {
            Some((0, end)) => self.bytes.get(..*end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// How many bytes it holds on to.
    pub(in crate::protocol) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A hello in more stretches than that is an attack.
const MOST_STRETCHES: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_what_is_there_up_to_the_first_hole() {
        let mut pieces = Pieces::default();
        pieces.put(3, b"def", 100);
        assert_eq!(pieces.front(), b"");
        pieces.put(0, b"ab", 100);
        assert_eq!(pieces.front(), b"ab");
        pieces.put(1, b"bcd", 100);
        assert_eq!(pieces.front(), b"abcdef");
        pieces.put(6, b"g", 6);
        assert_eq!(pieces.front(), b"abcdef");
    }

    proptest! {
        #[test]
        fn order_does_not_matter(cuts in prop::collection::vec((0_usize..60, 1_usize..30), 1..40)) {
            let whole: Vec<u8> = (0..100).collect();
            let mut pieces = Pieces::default();
            let mut has = [false; 100];
            for (at, length) in cuts {
                let piece = &whole[at..at + length];
                pieces.put(at, piece, 100);
                has[at..at + length].fill(true);
            }
            let end = has.iter().position(|it| !it).unwrap_or(100);
            prop_assert_eq!(pieces.front(), &whole[..end]);
        }
    }
}
