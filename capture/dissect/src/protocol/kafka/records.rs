//! What producers wrote: batches (magic 2) and the older message sets (magic 0 and 1), as JSON.
//! <https://kafka.apache.org/documentation/#messageformat>
use std::borrow::Cow;

use schema::value::text;

use super::json;
use super::unpack::{gzip, lz4, snappy};
use crate::body::decompress;

/// Records as a JSON array, up to a bound, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The array; without its end as long as it may grow.
    text: Vec<u8>,
    /// Bytes that `text` may grow to.
    most: usize,
    /// How many records there were, kept or not.
    pub(super) count: u64,
    /// How many bytes they took, as sent.
    pub(super) bytes: u64,
    /// How the first batch was compressed.
    pub(super) codec: Option<u8>,
    /// Whether their offsets are known: a producer doesn't know them.
    pub(super) with_offsets: bool,
}

/// The start of a batch, which tells how long it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Bytes of the whole batch.
    pub(super) size: u64,
    offset: i64,
    magic: u8,
    attributes: u16,
    /// Records, of a batch; a message is one.
    count: u32,
}

impl Head {
    /// Bytes that say it all; fewer at the end of the records.
    pub(super) const BYTES: usize = 61;

    /// `None` if this is not the start of a batch.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let offset = i64_at(bytes, 0)?;
        let length = u32::try_from(i32_at(bytes, 8)?).ok()?;
        let magic = *bytes.get(16)?;
        let (attributes, count, least) = match magic {
            0 | 1 => (u16::from(*bytes.get(17)?), 1, 14),
            2 => (u16_at(bytes, 21)?, u32::try_from(i32_at(bytes, 57)?).ok()?, 49),
            _ => return None,
        };
        let size = u64::from(length) + 12;
        (length >= least).then_some(Self { size, offset, magic, attributes, count })
    }

    fn codec(self) -> u8 {
        u8::try_from(self.attributes & 7).unwrap_or_default()
    }

    /// Marks of transactions, written by brokers.
    fn is_control(self) -> bool {
        self.magic == 2 && self.attributes & 0x20 != 0
    }
}

impl Kept {
    pub(super) fn new(most: usize, with_offsets: bool) -> Self {
        Self { most, with_offsets, ..Self::default() }
    }

    /// Whether nothing more is kept.
    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= self.most
    }

    pub(super) fn held(&self) -> usize {
        self.text.capacity()
    }

    /// The array; `None` if nothing was kept.
    pub(super) fn json(&self) -> Option<&str> {
        (!self.text.is_empty()).then(|| json::text(&self.text))
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self) {
        if self.text.ends_with(b"}") {
            self.text.push(b']');
        }
    }

    /// A batch begins.
    pub(super) fn begin(&mut self, head: Head) {
        if head.is_control() {
            return;
        }
        if self.codec.is_none() {
            self.codec = Some(head.codec());
        }
        if head.magic == 2 || head.codec() == 0 {
            self.count += u64::from(head.count);
        }
    }

    /// Keeps the records of a batch, as many as there is room for. `bytes` are the batch, or its
    /// start if that is all that could be kept.
    pub(super) fn batch(
        &mut self,
        head: Head,
        bytes: &[u8],
        topic: &str,
        partition: i32,
        decompressed: usize,
    ) {
        if head.is_control() {
            return;
        }
        if head.magic < 2 {
            self.messages(bytes, topic, partition, decompressed);
            return;
        }
        let Some(packed) = bytes.get(Head::BYTES..) else { return };
        // JSON is longer than what it holds: more is not needed.
        let room = self.most.saturating_sub(self.text.len()).min(decompressed);
        let records = unpack(head.codec(), packed, room);
        // Names, quotes and a few backslashes come to what was sent.
        let expected = records.len() + records.len() / 4 + 128 * head.count as usize;
        self.text.reserve(expected.min(room));
        let first = i64_at(bytes, 27).unwrap_or_default();
        let appended = (head.attributes & 8 != 0).then(|| i64_at(bytes, 35)).flatten();
        let mut rest = &*records;
        for _ in 0..head.count {
            if self.is_full() {
                break;
            }
            let Some(record) = Record::next(&mut rest) else { break };
            self.begin_record(topic, partition, head.offset.wrapping_add(record.offset_delta));
            let time = appended.unwrap_or_else(|| first.wrapping_add(record.time_delta));
            self.time(time);
            self.value("key", record.key, record.key_size);
            self.value("value", record.value, record.value_size);
            self.headers(record.headers, record.n_headers);
            self.text.push(b'}');
        }
    }

    /// Messages of an older set; one may hold a compressed set.
    fn messages(&mut self, bytes: &[u8], topic: &str, partition: i32, decompressed: usize) {
        let Some(outer) = OldMessage::next(&mut &*bytes) else { return };
        let codec = outer.attributes & 7;
        if codec == 0 {
            return self.message(&outer, outer.offset, topic, partition);
        }
        let inner = unpack(codec, outer.value.unwrap_or_default(), decompressed);
        // Since magic 1, a compressed message has the offset of the last one inside it.
        let (mut rest, mut last) = (&*inner, 0);
        while let Some(message) = OldMessage::next(&mut rest) {
            self.count += 1;
            last = message.offset;
        }
        let base = if outer.magic == 0 { 0 } else { outer.offset.wrapping_sub(last) };
        let mut rest = &*inner;
        while let Some(message) = OldMessage::next(&mut rest).filter(|_| !self.is_full()) {
            self.message(&message, message.offset.wrapping_add(base), topic, partition);
        }
    }

    fn message(&mut self, message: &OldMessage<'_>, offset: i64, topic: &str, partition: i32) {
        if self.is_full() {
            return;
        }
        self.begin_record(topic, partition, offset);
        if let Some(time) = message.time {
            self.time(time);
        }
        self.value("key", message.key, message.key_size);
        self.value("value", message.value, message.value_size);
        self.text.push(b'}');
    }

    fn begin_record(&mut self, topic: &str, partition: i32, offset: i64) {
        self.text.push(if self.text.is_empty() { b'[' } else { b',' });
        self.text.extend_from_slice(b"{\"topic\":\"");
        json::escape(&mut self.text, topic);
        self.text.extend_from_slice(b"\",\"partition\":");
        json::number(&mut self.text, i64::from(partition));
        if self.with_offsets {
            self.text.extend_from_slice(b",\"offset\":");
            json::number(&mut self.text, offset);
        }
    }

    fn time(&mut self, time: i64) {
        if time >= 0 {
            self.text.extend_from_slice(b",\"timestamp\":");
            json::number(&mut self.text, time);
        }
    }

    /// A key or value: as text, or what is none in base 64. A value that isn't there deletes.
    fn value(&mut self, name: &str, bytes: Option<&[u8]>, size: usize) {
        match bytes {
            Some(bytes) => {
                self.text.push(b',');
                let room = self.most.saturating_sub(self.text.len());
                let is_cut = json::bytes(&mut self.text, name, bytes, room) || bytes.len() < size;
                if is_cut {
                    // How long it was, as the rest is not kept.
                    self.text.extend_from_slice(b",\"");
                    self.text.extend_from_slice(name.as_bytes());
                    self.text.extend_from_slice(b"_bytes\":");
                    json::number(&mut self.text, i64::try_from(size).unwrap_or(i64::MAX));
                }
            }
            None if name == "value" => self.text.extend_from_slice(b",\"value\":null"),
            None => {}
        }
    }

    fn headers(&mut self, mut rest: &[u8], n: usize) {
        if n == 0 {
            return;
        }
        self.text.extend_from_slice(b",\"headers\":{");
        for place in 0..n {
            if self.is_full() {
                break;
            }
            let (Some(Some(name)), Some(value)) = (chunk(&mut rest), chunk(&mut rest)) else {
                break;
            };
            if place > 0 {
                self.text.push(b',');
            }
            self.text.push(b'"');
            json::escape(&mut self.text, json::start(&text(name), HEADER_BYTES));
            self.text.extend_from_slice(b"\":");
            match value {
                Some(value) => {
                    let value = value.get(..HEADER_BYTES).unwrap_or(value);
                    self.text.push(b'"');
                    json::escape(&mut self.text, &text(value));
                    self.text.push(b'"');
                }
                None => self.text.extend_from_slice(b"null"),
            }
        }
        self.text.push(b'}');
    }
}

/// One record of a batch. What is cut off at its end is left out.
struct Record<'a> {
    time_delta: i64,
    offset_delta: i64,
    key: Option<&'a [u8]>,
    key_size: usize,
    value: Option<&'a [u8]>,
    value_size: usize,
    headers: &'a [u8],
    n_headers: usize,
}

impl<'a> Record<'a> {
    fn next(rest: &mut &'a [u8]) -> Option<Self> {
        let length = usize::try_from(varint(rest)?).ok()?;
        let mut body = match rest.get(..length) {
            Some(body) => {
                *rest = rest.get(length..)?;
                body
            }
            None => std::mem::take(rest),
        };
        body = body.get(1..)?;
        let time_delta = varint(&mut body)?;
        let offset_delta = varint(&mut body)?;
        let (key, key_size) = cut_chunk(&mut body)?;
        let (value, value_size) = cut_chunk(&mut body).unwrap_or_default();
        let n_headers = varint(&mut body).and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
        let n_headers = n_headers.min(body.len());
        Some(Self {
            time_delta,
            offset_delta,
            key,
            key_size,
            value,
            value_size,
            headers: body,
            n_headers,
        })
    }
}

/// One message of magic 0 or 1. What is cut off at its end is left out.
struct OldMessage<'a> {
    offset: i64,
    magic: u8,
    attributes: u8,
    time: Option<i64>,
    key: Option<&'a [u8]>,
    key_size: usize,
    value: Option<&'a [u8]>,
    value_size: usize,
}

impl<'a> OldMessage<'a> {
    fn next(rest: &mut &'a [u8]) -> Option<Self> {
        let offset = i64_at(rest, 0)?;
        let size = usize::try_from(i32_at(rest, 8)?).ok()?;
        let behind = rest.get(12..)?;
        let message = behind.get(..size).unwrap_or(behind);
        *rest = behind.get(size..).unwrap_or_default();
        let (magic, attributes) = (*message.get(4)?, *message.get(5)?);
        let (time, mut body) = match magic {
            0 => (None, message.get(6..)?),
            1 => (i64_at(message, 6), message.get(14..)?),
            _ => return None,
        };
        let (key, key_size) = old_chunk(&mut body)?;
        let (value, value_size) = old_chunk(&mut body).unwrap_or_default();
        Some(Self { offset, magic, attributes, time, key, key_size, value, value_size })
    }
}

/// What `packed` holds, at most `limit` bytes of it.
fn unpack(codec: u8, packed: &[u8], limit: usize) -> Cow<'_, [u8]> {
    match codec {
        0 => Cow::Borrowed(packed),
        1 => match gzip(packed, limit) {
            Some(opened) => Cow::Owned(opened),
            None => opened(&[b"gzip"], packed, limit),
        },
        2 => Cow::Owned(snappy(packed, limit)),
        3 => Cow::Owned(lz4(packed, limit)),
        4 => opened(&[b"zstd"], packed, limit),
        _ => Cow::Borrowed(&[]),
    }
}

/// Nothing, if nothing could be opened.
fn opened<'a>(codings: &[&[u8]], packed: &'a [u8], limit: usize) -> Cow<'a, [u8]> {
    match decompress(codings, packed, limit).bytes {
        Cow::Borrowed(_) => Cow::Borrowed(&[]),
        opened => opened,
    }
}

/// Bytes behind their length; `Some(None)` for none at all.
#[allow(clippy::option_option, reason = "there is no such thing, or it says that it is nothing")]
fn chunk<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(size) = usize::try_from(varint(rest)?) else { return Some(None) };
    let (bytes, behind) = rest.split_at_checked(size)?;
    *rest = behind;
    Some(Some(bytes))
}

/// The same, of bytes whose end may be cut off; and how many there should be.
fn cut_chunk<'a>(rest: &mut &'a [u8]) -> Option<(Option<&'a [u8]>, usize)> {
    let size = varint(rest)?;
    Some(up_to(rest, usize::try_from(size).ok()))
}

fn old_chunk<'a>(rest: &mut &'a [u8]) -> Option<(Option<&'a [u8]>, usize)> {
    let size = i32_at(rest, 0)?;
    *rest = rest.get(4..)?;
    Some(up_to(rest, usize::try_from(size).ok()))
}

fn up_to<'a>(rest: &mut &'a [u8], size: Option<usize>) -> (Option<&'a [u8]>, usize) {
    let Some(size) = size else { return (None, 0) };
    let (bytes, behind) = rest.split_at_checked(size).unwrap_or((rest, &[]));
    *rest = behind;
    (Some(bytes), size)
}

/// A zigzag number of up to ten bytes.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for (place, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place).min(63);
        if byte & 0x80 == 0 {
            *rest = rest.get(place + 1..)?;
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Bytes kept of a header's name and of its value.
const HEADER_BYTES: usize = 1024;
