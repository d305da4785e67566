//! Snappy, LZ4 and short gzip, opened up to a bound, and as far as they go: what was kept of a batch may lack
//! its end, which the decoders made for whole payloads refuse.
use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use crate::protocol::common::blocks::{lz4_into, snappy_into};

/// Undoes gzip (RFC 1952) in one go, if it is one plain member as Kafka's clients write it and opens
/// to no more than `limit` bytes; `None` if it takes more than that.
pub(super) fn gzip(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    let ([0x1f, 0x8b, 8, 0, ..], Some(deflated)) = (bytes, bytes.get(10..)) else { return None };
    // The length comes last.
    let size = usize::try_from(u32::from_le_bytes(*deflated.last_chunk()?)).ok()?;
    if size > limit {
        return None;
    }
    let mut opened = Vec::with_capacity(size);
    let status = INFLATE.with_borrow_mut(|it| {
        it.reset(false);
        it.decompress_vec(deflated, &mut opened, FlushDecompress::Finish)
    });
    let is_whole = matches!(status, Ok(Status::StreamEnd)) && opened.len() == size;
    is_whole.then_some(opened)
}

/// Undoes Snappy, plain or in the blocks that Java's library writes.
pub(super) fn snappy(bytes: &[u8], limit: usize) -> Vec<u8> {
    let mut opened = Vec::with_capacity(bytes.len().saturating_mul(2).min(limit));
    match bytes.strip_prefix(XERIAL) {
        // Two versions, then blocks behind their lengths.
        Some(rest) => {
            let mut rest = rest.get(8..).unwrap_or_default();
            while let Some((length, behind)) = rest.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                let block = behind.get(..length).unwrap_or(behind);
                if snappy_into(block, &mut opened, limit).is_none() {
                    break;
                }
                rest = behind.get(length..).unwrap_or_default();
            }
        }
        None => {
            snappy_into(bytes, &mut opened, limit);
        }
    }
    opened
}

/// Undoes LZ4 frames: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>. Checksums are
/// not looked at: Kafka's first clients got that of the header wrong.
pub(super) fn lz4(bytes: &[u8], limit: usize) -> Vec<u8> {
    let mut opened = Vec::with_capacity(bytes.len().saturating_mul(2).min(limit));
    lz4_frames(bytes, &mut opened, limit);
    opened
}

fn lz4_frames(mut rest: &[u8], opened: &mut Vec<u8>, limit: usize) -> Option<()> {
    while let Some(behind) = rest.strip_prefix(LZ4_FRAME) {
        let (flags, _) = behind.split_first()?;
        let (has_block_checksums, has_size) = (flags & 0x10 != 0, flags & 8 != 0);
        let (has_checksum, has_dictionary) = (flags & 4 != 0, flags & 1 != 0);
        let head = 3 + if has_size { 8 } else { 0 } + if has_dictionary { 4 } else { 0 };
        rest = behind.get(head..)?;
        let base = opened.len();
        loop {
            let (size, behind) = rest.split_first_chunk()?;
            let size = u32::from_le_bytes(*size);
            if size == 0 {
                rest = behind.get(if has_checksum { 4 } else { 0 }..)?;
                break;
            }
            let length = (size & 0x7fff_ffff) as usize;
            let block = behind.get(..length).unwrap_or(behind);
            if size & 0x8000_0000 != 0 {
                let room = limit.saturating_sub(opened.len());
                opened.extend_from_slice(block.get(..room).unwrap_or(block));
            } else {
                lz4_into(block, opened, base, limit)?;
            }
            if opened.len() >= limit {
                return None;
            }
            rest = behind.get(length + if has_block_checksums { 4 } else { 0 }..)?;
        }
    }
    Some(())
}

thread_local! {
    /// Room to work in: to make it takes as long as to open a few records.
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// How blocks of Java's library begin.
const XERIAL: &[u8] = b"\x82SNAPPY\0";

/// How a frame begins.
const LZ4_FRAME: &[u8] = &[0x04, 0x22, 0x4d, 0x18];

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn text() -> Vec<u8> {
        (0..20_000).flat_map(|it| format!("{{\"n\":{it}}}").into_bytes()).collect()
    }

    fn packed_lz4(text: &[u8], linked: bool) -> Vec<u8> {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        let mode = if linked { BlockMode::Linked } else { BlockMode::Independent };
        let info = FrameInfo::new().block_mode(mode).block_size(BlockSize::Max64KB);
        let mut to = FrameEncoder::with_frame_info(info, Vec::new());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn xerial(text: &[u8]) -> Vec<u8> {
        let mut packed = [XERIAL, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for block in text.chunks(32 << 10) {
            let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
            packed.extend_from_slice(&(block.len() as u32).to_be_bytes());
            packed.extend_from_slice(&block);
        }
        packed
    }

    #[test]
    fn opens_what_others_packed() {
        let text = text();
        let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        assert!(snappy(&raw, 1 << 20) == text);
        assert!(snappy(&xerial(&text), 1 << 20) == text);
        assert!(lz4(&packed_lz4(&text, true), 1 << 20) == text);
        assert!(lz4(&packed_lz4(&text, false), 1 << 20) == text);
        assert!(lz4(&packed_lz4(&vec![b'x'; 300_000], true), 1 << 20) == vec![b'x'; 300_000]);
    }

    #[test]
    fn opens_the_start_of_what_was_cut() {
        let text = text();
        let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        let packed = [raw, xerial(&text), packed_lz4(&text, true)];
        for (open, packed) in [snappy, snappy, lz4].iter().zip(&packed) {
            let opened = open(&packed[..packed.len() / 2], 1 << 20);
            assert!(opened.len() > text.len() / 4 && text.starts_with(&opened));
            let opened = open(packed, 1000);
            assert!(opened == text[..1000]);
        }
    }

    proptest! {
        #[test]
        fn noise_is_only_noise(noise: Vec<u8>, at in 0..500_usize, with: u8, limit in 0..3000_usize) {
            prop_assert!(snappy(&noise, limit).len() <= limit);
            prop_assert!(lz4(&[LZ4_FRAME, &noise].concat(), limit).len() <= limit);
            prop_assert!(snappy(&[XERIAL, &noise].concat(), limit).len() <= limit);
            let text = &text()[..2000];
            for (open, mut packed) in [(snappy as fn(&[u8], usize) -> Vec<u8>, xerial(text)), (lz4, packed_lz4(text, true))] {
                let length = packed.len();
                packed[at % length] ^= with;
                prop_assert!(open(&packed, limit).len() <= limit);
            }
        }
    }
}
