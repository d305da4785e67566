//! Checksums of a segment's rows, block by block: whatever part of a file is read is checked before
//! it is parsed.
//!
//! Parquet's own checksums (of pages) leave out page headers and bloom filters, and a checksum of
//! the whole file would have to read the whole file.
use std::fmt;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use twox_hash::XxHash64;

use crate::footers::Footer;
use crate::{Error, Segment};

/// The part of a file before the page index, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Its length in bytes.
    pub(crate) len: u64,
    /// The lower half of the XXH64 of each [`BLOCK_BYTES`], the last of which may be shorter.
    sums: Box<[u32]>,
}

impl Blocks {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (len, text) = text.split_once(':')?;
        let (block, text) = text.split_once(':')?;
        let len = len.parse::<u64>().ok()?;
        if block.parse() != Ok(BLOCK_BYTES) || text.len() as u64 != 8 * len.div_ceil(BLOCK_BYTES) {
            return None;
        }
        let sum = |digits: &[u8]| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
        let sums = text.as_bytes().chunks(8).map(sum).collect::<Option<_>>()?;
        Some(Self { len, sums })
    }

    /// The whole blocks that a range lies in; none if the range is not in the rows' part.
    pub(crate) fn around(&self, range: &Range<u64>) -> Option<Range<u64>> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        let from = range.start - range.start % BLOCK_BYTES;
        Some(from..range.end.next_multiple_of(BLOCK_BYTES).min(self.len))
    }

    /// Whether `bytes`, which begin a block at `from`, are what was written there.
    pub(crate) fn match_at(&self, from: u64, bytes: &[u8]) -> bool {
        let first = usize::try_from(from / BLOCK_BYTES).unwrap_or(usize::MAX);
        let mut sums = self.sums.iter().skip(first);
        bytes.chunks(BLOCK_BYTES as usize).all(|block| sums.next() == Some(&sum(block)))
    }

    pub(crate) fn memory_size(&self) -> usize {
        size_of_val(&*self.sums)
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{BLOCK_BYTES}:", self.len)?;
        self.sums.iter().try_for_each(|it| write!(f, "{it:08x}"))
    }
}

/// Makes the checksums of what is written.
#[derive(Debug, Default)]
pub(crate) struct Summing {
    len: u64,
    block: XxHash64,
    sums: Vec<u32>,
}

impl Summing {
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.len % BLOCK_BYTES;
            let taken = bytes.len().min(room as usize);
            let (part, rest) = bytes.split_at(taken);
            self.block.write(part);
            self.len += taken as u64;
            if self.len.is_multiple_of(BLOCK_BYTES) {
                self.end_block();
            }
            bytes = rest;
        }
    }

    pub(crate) fn finish(&mut self) -> Blocks {
        if !self.len.is_multiple_of(BLOCK_BYTES) {
            self.end_block();
        }
        Blocks { len: self.len, sums: std::mem::take(&mut self.sums).into() }
    }

    fn end_block(&mut self) {
        self.sums.push(self.block.finish() as u32);
        self.block = XxHash64::default();
    }
}

fn sum(block: &[u8]) -> u32 {
    XxHash64::oneshot(0, block) as u32
}

impl Segment {
    /// Bytes of the rows' part of the file, which `file` is. They are compared with their checksums;
    /// if they differ, the segment is set aside when the store is next maintained.
    pub(crate) fn bytes_at(
        &self,
        file: &File,
        blocks: &Blocks,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        let around = blocks.around(&range).ok_or_else(|| self.outside(&range))?;
        let at = |it: u64| usize::try_from(it - around.start).map_err(|_| self.outside(&range));
        let mut bytes = vec![0; at(around.end)?];
        let read = file.read_exact_at(&mut bytes, around.start);
        let read = read.map_err(Error::io("read", &self.named()));
        let read = read.and_then(|()| {
            if blocks.match_at(around.start, &bytes) { Ok(()) } else { Err(self.mismatch()) }
        });
        read.inspect_err(|it| self.suspect_after(it))?;
        Ok(Bytes::from(bytes).slice(at(range.start)?..at(range.end)?))
    }

    /// Reads the whole file and compares it with its checksums.
    pub fn verify(&self) -> Result<(), Error> {
        let path = self.disk()?;
        let file = File::open(path).map_err(Error::io("open", path))?;
        let blocks = self.load(&file, path)?.blocks;
        let mut at = 0;
        while at < blocks.len {
            let end = blocks.len.min(at + VERIFIED_BYTES);
            self.bytes_at(&file, &blocks, at..end)?;
            at = end;
        }
        Ok(())
    }

    pub(crate) fn outside(&self, range: &Range<u64>) -> Error {
        let reason = format!("it has no bytes {} to {}", range.start, range.end);
        Error::Damaged { path: self.named(), reason }
    }

    pub(crate) fn mismatch(&self) -> Error {
        let reason = "its rows don't match their checksum".to_owned();
        Error::Damaged { path: self.named(), reason }
    }
}

/// A segment's file as the Parquet reader asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    segment: Arc<Segment>,
    file: Arc<File>,
    footer: Arc<Footer>,
}

impl Checked {
    pub(crate) fn open(segment: &Arc<Segment>) -> Result<Self, Error> {
        let path = segment.disk()?;
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self { segment: Arc::clone(segment), file: Arc::new(file), footer: segment.footer()? })
    }

    fn bytes(&self, range: Range<u64>) -> Result<Bytes, Error> {
        self.segment.bytes_at(&self.file, &self.footer.blocks, range)
    }
}

impl Length for Checked {
    fn len(&self) -> u64 {
        self.segment.bytes
    }
}

impl ChunkReader for Checked {
    type T = From;

    fn get_read(&self, start: u64) -> Result<From, ParquetError> {
        Ok(From { file: self.clone(), at: start, block: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let range = start..start.saturating_add(length as u64);
        let bytes = self.bytes(range);
        bytes.map_err(|it| ParquetError::External(Box::new(it)))
    }
}

/// What comes from some place on, read by the block.
#[derive(Debug)]
pub(crate) struct From {
    file: Checked,
    at: u64,
    block: Bytes,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() {
            let end = (self.at + 1).next_multiple_of(BLOCK_BYTES);
            let end = end.min(self.file.footer.blocks.len).max(self.at);
            let block = self.file.bytes(self.at..end);
            self.block = block.map_err(io::Error::other)?;
            self.at = end;
        }
        let taken = buffer.len().min(self.block.len());
        let part = self.block.split_to(taken);
        if let Some(buffer) = buffer.get_mut(..taken) {
            buffer.copy_from_slice(&part);
        }
        Ok(taken)
    }
}

/// Small beside what a query reads of a column at least, and large enough that four bytes for each
/// weigh nothing.
const BLOCK_BYTES: u64 = 16 << 10;
/// Read at once where the whole file is; a multiple of a block.
const VERIFIED_BYTES: u64 = 16 * BLOCK_BYTES;
