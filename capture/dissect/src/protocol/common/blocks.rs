//! LZ4 and Snappy blocks, opened as far as they were captured: the decoders that others wrote give
//! nothing of a block whose end is missing, though its start has the command.
//!
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>,
//! <https://github.com/google/snappy/blob/main/format_description.txt>.

/// What a block held, at most `limit` bytes, and whether that is all of it.
pub(in crate::protocol) fn lz4(block: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let mut opened = Vec::with_capacity(block.len().saturating_mul(3).min(limit));
    let whole = lz4_into(block, &mut opened, 0, limit).is_some();
    (opened, whole)
}

/// Appends what a block held, until `to` has `limit` bytes; `None` if that is not all of it. It may
/// repeat what came before it, from `base` on.
pub(in crate::protocol) fn lz4_into(
    block: &[u8],
    to: &mut Vec<u8>,
    base: usize,
    limit: usize,
) -> Option<()> {
    let mut from = Bytes(block);
    loop {
        let token = from.next()?;
        let literals = from.lz4_length(token >> 4)?;
        copy(&mut from, to, literals, limit)?;
        if from.0.is_empty() {
            // The last sequence has only literals.
            return Some(());
        }
        let offset = from.little_endian(2)?;
        let length = from.lz4_length(token & 15)?.saturating_add(4);
        repeat(to, base, offset, length, limit)?;
    }
}

/// What a block held, at most `limit` bytes, and whether that is all of it.
pub(in crate::protocol) fn snappy(block: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let mut opened = Vec::new();
    let whole = snappy_into(block, &mut opened, limit).is_some();
    (opened, whole)
}

/// Appends what a block held, until `to` has `limit` bytes; `None` if that is not all of it.
pub(in crate::protocol) fn snappy_into(block: &[u8], to: &mut Vec<u8>, limit: usize) -> Option<()> {
    let mut from = Bytes(block);
    let size = from.varint()?;
    let base = to.len();
    let room = limit.saturating_sub(base);
    to.reserve_exact(size.min(block.len().saturating_mul(4)).min(room));
    while let Some(tag) = from.next() {
        let high = usize::from(tag >> 2);
        match tag & 3 {
            0 => {
                let length = if high < 60 { high } else { from.little_endian(high - 59)? };
                copy(&mut from, to, length.saturating_add(1), limit)?;
            }
            1 => {
                let offset = usize::from(tag >> 5) << 8 | from.little_endian(1)?;
                repeat(to, base, offset, (high & 7) + 4, limit)?;
            }
            2 => {
                let offset = from.little_endian(2)?;
                repeat(to, base, offset, high + 1, limit)?;
            }
            _ => {
                let offset = from.little_endian(4)?;
                repeat(to, base, offset, high + 1, limit)?;
            }
        }
    }
    (to.len() - base == size).then_some(())
}

/// Bytes that stand for themselves. `None` if some are missing, or there is no room for all.
fn copy(from: &mut Bytes<'_>, to: &mut Vec<u8>, length: usize, limit: usize) -> Option<()> {
    let there = length.min(from.0.len());
    let (bytes, rest) = from.0.split_at_checked(there)?;
    let room = limit.saturating_sub(to.len());
    to.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    from.0 = rest;
    (there == length && there <= room).then_some(())
}

/// Bytes that came `offset` bytes ago, but not before `base`; they may overlap with what they become.
fn repeat(to: &mut Vec<u8>, base: usize, offset: usize, length: usize, limit: usize) -> Option<()> {
    if offset == 0 || offset > to.len() - base {
        return None;
    }
    let mut left = length.min(limit.saturating_sub(to.len()));
    let fits = left == length;
    while left > 0 {
        let n = left.min(offset);
        let start = to.len() - offset;
        to.extend_from_within(start..start + n);
        left -= n;
    }
    fits.then_some(())
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn little_endian(&mut self, n: usize) -> Option<usize> {
        let (bytes, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(bytes.iter().rev().fold(0, |number, it| number << 8 | usize::from(*it)))
    }

    /// Fifteen means that more follows, and so does each byte of 255.
    fn lz4_length(&mut self, nibble: u8) -> Option<usize> {
        let mut length = usize::from(nibble);
        let mut last = nibble == 15;
        while last {
            let more = self.next()?;
            length = length.saturating_add(usize::from(more));
            last = more == 255;
        }
        Some(length)
    }

    fn varint(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in 0..5 {
            let byte = self.next()?;
            number |= usize::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snap(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    fn numbers() -> Vec<u8> {
        (0..4000).flat_map(|it| format!("{{\"n\":{it}}}").into_bytes()).collect()
    }

    #[test]
    fn keeps_what_a_cut_block_holds() {
        let text = numbers();
        for (packed, open) in [
            (lz4_flex::block::compress(&text), lz4 as fn(&[u8], usize) -> (Vec<u8>, bool)),
            (snap(&text), snappy),
        ] {
            assert_eq!(open(&packed, 1 << 20), (text.clone(), true));
            let (opened, whole) = open(&packed[..packed.len() / 2], 1 << 20);
            assert!(!whole && opened.len() > text.len() / 4 && text.starts_with(&opened));
            let (opened, whole) = open(&packed, 1000);
            assert!(!whole && opened == text[..1000]);
        }
    }

    proptest! {
        #[test]
        fn opens_what_others_packed(bytes in proptest::collection::vec(0_u8..4, 0..2000)) {
            prop_assert_eq!(snappy(&snap(&bytes), 4000), (bytes.clone(), true));
            prop_assert_eq!(lz4(&lz4_flex::block::compress(&bytes), 4000), (bytes, true));
        }

        #[test]
        fn noise_is_only_noise(noise: Vec<u8>, limit in 0_usize..5000) {
            prop_assert!(lz4(&noise, limit).0.len() <= limit);
            prop_assert!(snappy(&noise, limit).0.len() <= limit);
        }
    }
}
