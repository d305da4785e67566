//! Payloads, kept up to a bound; compressed ones are opened up to another.
use std::borrow::Cow;
use std::io::Read;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The start of a payload, and how long all of it was.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    bytes: Vec<u8>,
    size: u64,
    holed: bool,
}

impl Payload {
    /// Adds what came next; keeps it while the whole stays under `limit`.
    pub(crate) fn push(&mut self, bytes: &[u8], limit: usize) {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.holed {
            return;
        }
        let room = limit.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.holed = bytes.len() > room;
    }

    /// Counts bytes that were not captured. What comes after them is not kept: it would look as
    /// if it followed what came before.
    pub(crate) fn skip(&mut self, missing: u64) {
        self.size = self.size.saturating_add(missing);
        self.holed |= missing > 0;
    }

    /// Says that what comes next is missing, however much it is.
    pub(crate) fn cut(&mut self) {
        self.holed = true;
    }

    /// Makes room for what is said to come; not for more than a few packets of it, for it is only
    /// said.
    pub(crate) fn expect(&mut self, size: u64, limit: usize) {
        let most = limit.min(EXPECTED_BYTES);
        self.bytes.reserve_exact(usize::try_from(size).map_or(most, |it| it.min(most)));
    }

    /// What is kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How long it was, with what was not kept.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether all of it is kept.
    pub(crate) fn is_whole(&self) -> bool {
        !self.holed
    }

    /// How many bytes it holds on to.
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What [`decompress`] made of a payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    /// The bytes; as they came if nothing could be opened.
    pub(crate) bytes: Cow<'a, [u8]>,
    /// Whether compressed bytes were opened to their end.
    pub(crate) whole: bool,
}

/// Undoes the `codings` (names as in HTTP, in the order in which they were applied) of `bytes`, to
/// at most `limit` bytes. Of a payload that is cut or broken, it gives what could be opened; a
/// payload that no coding fits stays as it is.
pub(crate) fn decompress<'a>(codings: &[&[u8]], bytes: &'a [u8], limit: usize) -> Opened<'a> {
    let mut opened = Opened { bytes: Cow::Borrowed(bytes), whole: true };
    for coding in codings.iter().rev().take(MOST_CODINGS) {
        let Some(coding) = Coding::named(coding) else { break };
        let (bytes, whole) = coding.open(&opened.bytes, limit);
        if bytes.is_empty() && !opened.bytes.is_empty() && !whole {
            break;
        }
        opened = Opened { bytes: Cow::Owned(bytes), whole: opened.whole && whole };
    }
    opened
}

/// A way to compress.
#[derive(Clone, Copy)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    fn named(name: &[u8]) -> Option<Self> {
        let names: [(&[u8], Self); 6] = [
            (b"gzip", Self::Gzip),
            (b"x-gzip", Self::Gzip),
            (b"deflate", Self::Deflate),
            (b"br", Self::Brotli),
            (b"zstd", Self::Zstd),
            (b"x-zstd", Self::Zstd),
        ];
        names.iter().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1)
    }

    /// What `bytes` hold, and whether that is all.
    fn open(self, bytes: &[u8], limit: usize) -> (Vec<u8>, bool) {
        match self {
            Self::Gzip => drain(MultiGzDecoder::new(bytes), bytes.len(), limit),
            // The name means zlib, but many senders leave its two bytes out.
            Self::Deflate if is_zlib(bytes) => drain(ZlibDecoder::new(bytes), bytes.len(), limit),
            Self::Deflate => drain(DeflateDecoder::new(bytes), bytes.len(), limit),
            Self::Brotli => open_brotli(bytes, limit),
            Self::Zstd => open_zstd(bytes, limit),
        }
    }
}

/// All that comes out, at most `limit` bytes, and whether that was all.
fn drain(from: impl Read, compressed: usize, limit: usize) -> (Vec<u8>, bool) {
    let mut bytes = Vec::with_capacity(compressed.saturating_mul(4).min(limit));
    // What came out before an error stays in `bytes`.
    let read = from.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes);
    let whole = read.is_ok() && bytes.len() <= limit;
    bytes.truncate(limit);
    (bytes, whole)
}

/// RFC 1950: deflate in the low half of the first byte, and a check over the first two.
fn is_zlib(bytes: &[u8]) -> bool {
    match bytes {
        [first, second, ..] => {
            first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
        }
        _ => false,
    }
}

/// By hand: the reader that comes with the decoder forgets, at the end of a cut payload, what it
/// had opened. Strict: no windows of a gigabyte.
fn open_brotli(bytes: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let alloc = StandardAlloc::default;
    let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
    let most = limit.saturating_add(1);
    let mut opened = vec![0; bytes.len().saturating_mul(4).clamp(1, most)];
    let (mut left, mut read, mut written, mut total) = (bytes.len(), 0, 0, 0);
    let whole = loop {
        let mut room = opened.len() - written;
        match BrotliDecompressStream(
            &mut left,
            &mut read,
            bytes,
            &mut room,
            &mut written,
            &mut opened,
            &mut total,
            &mut state,
        ) {
            BrotliResult::ResultSuccess => break true,
            BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => break false,
            BrotliResult::NeedsMoreOutput if opened.len() < most => {
                opened.resize(opened.len().saturating_mul(2).min(most), 0);
            }
            BrotliResult::NeedsMoreOutput => break false,
        }
    };
    opened.truncate(written.min(limit));
    (opened, whole && written <= limit)
}

/// Block by block: the reader that comes with the decoder forgets, at the end of a cut frame,
/// everything in its window.
fn open_zstd(mut bytes: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(ZSTD_WINDOW_BYTES);
    let mut opened = Vec::new();
    let mut whole = true;
    while whole && !bytes.is_empty() {
        match decoder.reset(&mut bytes) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                bytes = usize::try_from(length).ok().and_then(|it| bytes.get(it..)).unwrap_or(&[]);
                continue;
            }
            Err(_) => return (opened, false),
        }
        while whole && !decoder.is_finished() {
            let one = BlockDecodingStrategy::UptoBlocks(1);
            if decoder.decode_blocks(&mut bytes, one).is_err() {
                whole = false;
                // Ends the frame, so that the decoder hands out its window.
                let one = BlockDecodingStrategy::UptoBlocks(1);
                if decoder.decode_blocks(ZSTD_LAST_BLOCK, one).is_err() {
                    break;
                }
            }
            // Writing into a vector does not fail.
            whole &= decoder.collect_to_writer(&mut opened).is_ok() && opened.len() <= limit;
        }
    }
    opened.truncate(limit);
    (opened, whole)
}

/// Room made for a payload before it comes.
const EXPECTED_BYTES: usize = 8 << 10;

/// More codings than anyone applies; a list of thousands fits into a header.
const MOST_CODINGS: usize = 3;

/// What RFC 9659 lets a sender of `zstd` ask for.
const ZSTD_WINDOW_BYTES: u64 = 8 << 20;

/// An empty raw block, marked as the last, and room for a checksum.
const ZSTD_LAST_BLOCK: &[u8] = &[1, 0, 0, 0, 0, 0, 0];

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    /// `{"n":0}{"n":1}…`, about four hundred kilobytes.
    fn text() -> Vec<u8> {
        numbers(40_000)
    }

    fn numbers(n: u32) -> Vec<u8> {
        (0..n).flat_map(|it| format!("{{\"n\":{it}}}").into_bytes()).collect()
    }

    fn packed(coding: &str, text: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match coding {
            "gzip" => {
                let mut to = GzEncoder::new(Vec::new(), level);
                to.write_all(text).unwrap();
                to.finish().unwrap()
            }
            "zlib" => {
                let mut to = ZlibEncoder::new(Vec::new(), level);
                to.write_all(text).unwrap();
                to.finish().unwrap()
            }
            "raw" => {
                let mut to = DeflateEncoder::new(Vec::new(), level);
                to.write_all(text).unwrap();
                to.finish().unwrap()
            }
            "zstd" => {
                use ruzstd::encoding::{CompressionLevel, compress_to_vec};
                compress_to_vec(text, CompressionLevel::Fastest)
            }
            other => panic!("{other}"),
        }
    }

    /// "0 1 2 … 149 " by node's `brotliCompressSync`.
    const BROTLI: &[u8] =
        b"1be901f81d0976ecc22217e48d7470481ae05e8fc1606c6eb411c443d200f6ee9424d1050047512a2aabaa6b\
        6aebea0b20c28466588e1710141216112d46ac38f1129252d232b2e5c895275f4151495945b51ab5ead46b68\
        6a69ebe8d6a3579f7e0343236313d366cc9a336f6169656d63db8e5d7bf61d1c9d9c5d5cbb71ebcebd87a797\
        b78f6f3f7efdf907011214683060c101173cf061c084051b0e5c78e0850f7e142851a14683161d74d1431f07\
        4e5cb8f1e0c5075ffcf027419214693264c921973c1f";

    #[test]
    fn opens_brotli() {
        let text: String = (0..150).map(|it| format!("{it} ")).collect();
        let digits = BROTLI.chunks(2).map(|it| std::str::from_utf8(it).unwrap());
        let packed: Vec<_> = digits.map(|it| u8::from_str_radix(it, 16).unwrap()).collect();
        let opened = decompress(&[b"br"], &packed, 1 << 20);
        assert_eq!(opened, Opened { bytes: Cow::Borrowed(text.as_bytes()), whole: true });
        let opened = decompress(&[b"br"], &packed, 100);
        assert_eq!(opened, Opened { bytes: Cow::Borrowed(&text.as_bytes()[..100]), whole: false });
        let opened = decompress(&[b"br"], &packed[..packed.len() / 2], 1 << 20);
        assert!(!opened.whole && text.as_bytes().starts_with(&opened.bytes), "{opened:?}");
        assert!(opened.bytes.len() > 100, "{opened:?}");
    }

    #[test]
    fn opens_each_coding() {
        let text = text();
        for (name, coding) in [
            ("gzip", "gzip"),
            ("x-gzip", "gzip"),
            ("deflate", "zlib"),
            ("DEFLATE", "raw"),
            ("zstd", "zstd"),
        ] {
            let packed = packed(coding, &text);
            let opened = decompress(&[name.as_bytes()], &packed, 1 << 20);
            assert_eq!(opened, Opened { bytes: Cow::Borrowed(&text), whole: true }, "{name}");
        }
    }

    #[test]
    fn keeps_what_a_cut_payload_holds() {
        let text = text();
        for (name, coding) in [("gzip", "gzip"), ("deflate", "raw"), ("zstd", "zstd")] {
            let packed = packed(coding, &text);
            let cut = packed.get(..packed.len() * 3 / 4).unwrap();
            let opened = decompress(&[name.as_bytes()], cut, 1 << 20);
            assert!(!opened.whole, "{name}");
            assert!(text.starts_with(&opened.bytes), "{name}");
            // zstd opens only whole blocks, of up to 128 KiB each.
            let most = if coding == "zstd" { 128 << 10 } else { text.len() / 2 };
            assert!(opened.bytes.len() >= most, "{name}: {}", opened.bytes.len());
        }
    }

    #[test]
    fn stops_at_the_limit() {
        let text = text();
        for (name, coding) in [("gzip", "gzip"), ("deflate", "raw"), ("zstd", "zstd")] {
            let opened_bytes = packed(coding, &text);
            let opened = decompress(&[name.as_bytes()], &opened_bytes, 1000);
            assert!(!opened.whole, "{name}");
            assert_eq!(opened.bytes.as_ref(), &text[..1000], "{name}");
        }
    }

    #[test]
    fn leaves_alone_what_is_not_compressed() {
        for names in [&[][..], &[&b"identity"[..]], &[b"exi"], &[b"gzip"], &[b"zstd"]] {
            let opened = decompress(names, b"plain text", 100);
            assert_eq!(opened, Opened { bytes: Cow::Borrowed(b"plain text"), whole: true });
        }
    }

    #[test]
    fn undoes_several_codings_last_first() {
        let twice = packed("gzip", &packed("zlib", b"hello"));
        let opened = decompress(&[b"deflate", b"gzip"], &twice, 100);
        assert_eq!(opened.bytes.as_ref(), b"hello");
    }

    #[test]
    fn keeps_the_start_and_counts_the_rest() {
        let mut payload = Payload::default();
        payload.push(b"abc", 5);
        assert!(payload.is_whole());
        payload.push(b"defg", 5);
        payload.push(b"h", 5);
        assert_eq!(
            (payload.bytes(), payload.size(), payload.is_whole()),
            (&b"abcde"[..], 8, false)
        );

        let mut payload = Payload::default();
        payload.push(b"abc", 100);
        payload.skip(10);
        payload.push(b"def", 100);
        assert_eq!((payload.bytes(), payload.size(), payload.is_whole()), (&b"abc"[..], 16, false));
    }

    proptest! {
        #[test]
        fn noise_is_only_noise(mut noise: Vec<u8>, coding in 0..6_usize, limit in 0..5000_usize) {
            let names: [&[u8]; 6] = [b"gzip", b"deflate", b"br", b"zstd", b"x-gzip", b"gzip"];
            let magic: [&[u8]; 6] = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0], &[0x78, 0x9c], &[], &[0x28, 0xb5, 0x2f, 0xfd], &[], &[]];
            noise.splice(..0, magic[coding].iter().copied());
            let opened = decompress(&[names[coding]], &noise, limit);
            prop_assert!(opened.bytes.len() <= limit.max(noise.len()));
        }

        #[test]
        fn a_bent_payload_is_only_noise(at in 0..2000_usize, with: u8, coding in 0..3_usize) {
            let name = ["gzip", "zlib", "zstd"][coding];
            let mut packed = packed(name, &numbers(400));
            let len = packed.len();
            packed[at % len] ^= with;
            decompress(&[name.as_bytes()], &packed, 8000);
        }
    }
}
