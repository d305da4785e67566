//! What a segment's file says of itself at its end: parsed once, checked before it is parsed.
use std::collections::HashMap;
use std::hash::Hasher;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use twox_hash::XxHash64;

use crate::Error;
use crate::blocks::Blocks;
use crate::bloom::Blooms;
use crate::name::Checks;

/// The key-value pairs of a segment's footer.
pub mod keys {
    /// The table's name.
    pub const TABLE: &str = "kubeshark.table";
    /// The earliest `ts`, nanoseconds since 1970.
    pub const MIN_TS: &str = "kubeshark.min_ts";
    /// The latest `ts`.
    pub const MAX_TS: &str = "kubeshark.max_ts";
    /// When the segment was sealed, nanoseconds since 1970; of merged ones, when the last was.
    pub const SEALED_AT: &str = "kubeshark.sealed_at";
    /// The length of what comes before the page index, the length of its blocks, and of each block
    /// the lower half of its XXH64 (hex): `LENGTH:BLOCK:SUMS`.
    pub const BLOCKS: &str = "kubeshark.blocks";
    /// The numbers of the seals whose rows it has: `1-16 18`.
    pub const SEALS: &str = "kubeshark.seals";
    /// The store that numbered them (16 hex digits).
    pub const STORE: &str = "kubeshark.store";
}

/// A parsed end of a file.
#[derive(Debug)]
pub(crate) struct Footer {
    /// With the page index.
    pub(crate) metadata: Arc<ParquetMetaData>,
    pub(crate) blocks: Blocks,
    /// The bloom filters, once somebody asked for them.
    pub(crate) blooms: OnceLock<Arc<Blooms>>,
}

impl Footer {
    /// About how many bytes it takes, with its bloom filters.
    fn memory_size(&self) -> usize {
        let chunks = self.metadata.row_groups().iter().flat_map(|it| it.columns());
        let blooms = chunks.filter_map(|it| usize::try_from(it.bloom_filter_length()?).ok());
        self.metadata.memory_size() + self.blocks.memory_size() + blooms.sum::<usize>()
    }
}

/// Why the end of a file is not a segment's.
#[derive(Debug)]
pub(crate) enum Wrong {
    Said(&'static str),
    Parquet(ParquetError),
}

impl Wrong {
    /// The error, of the file at `path`.
    pub(crate) fn of(self, path: &Path) -> Error {
        match self {
            Self::Said(reason) => {
                Error::Damaged { path: path.to_path_buf(), reason: reason.to_owned() }
            }
            Self::Parquet(source) => Error::parquet(path)(source),
        }
    }
}

/// The length of the footer with its trailer, from the trailer at the end of `tail`.
pub(crate) fn footer_bytes(tail: &[u8]) -> Option<usize> {
    let [len, magic] = tail.last_chunk::<8>()?.as_chunks::<4>().0 else { return None };
    (magic == b"PAR1").then(|| u32::from_le_bytes(*len) as usize + 8)
}

/// The checksums of a file's end: `tail` starts where the page index does.
pub(crate) fn checks(tail: &[u8]) -> Option<Checks> {
    let footer = tail.len().checked_sub(footer_bytes(tail)?)?;
    let (index, footer) = tail.split_at(footer);
    Some(Checks { footer: check(footer), index: check(index) })
}

/// Parses a footer, trailer and all, after checking it.
pub(crate) fn decode(footer: &[u8], expected: Checks) -> Result<(ParquetMetaData, Blocks), Wrong> {
    if expected.footer != check(footer) {
        return Err(Wrong::Said("its footer does not match its name"));
    }
    let metadata = footer.split_last_chunk::<8>().map(|it| it.0).unwrap_or_default();
    let metadata = ParquetMetaDataReader::decode_metadata(metadata).map_err(Wrong::Parquet)?;
    let blocks = pair(metadata.file_metadata().key_value_metadata(), keys::BLOCKS);
    let blocks = blocks.and_then(Blocks::parse);
    let blocks = blocks.ok_or(Wrong::Said("its footer has no checksums of its rows"))?;
    Ok((metadata, blocks))
}

/// Adds the page index, after checking it. `tail` is all of a file of `size` bytes that comes
/// after its rows.
pub(crate) fn complete(
    (metadata, blocks): (ParquetMetaData, Blocks),
    tail: &Bytes,
    size: u64,
    expected: Checks,
) -> Result<Footer, Wrong> {
    let whole = blocks.len.checked_add(tail.len() as u64) == Some(size);
    let index = footer_bytes(tail).and_then(|it| tail.get(..tail.len().checked_sub(it)?));
    index
        .filter(|it| whole && expected.index == check(it))
        .ok_or(Wrong::Said("its page index does not match its name"))?;
    let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
        .with_page_index_policy(PageIndexPolicy::Optional);
    reader.read_page_indexes_sized(tail, size).map_err(Wrong::Parquet)?;
    let metadata = reader.finish().map_err(Wrong::Parquet)?;
    Ok(Footer { metadata: Arc::new(metadata), blocks, blooms: OnceLock::new() })
}

/// Parses all of a file of `size` bytes that comes after its rows.
pub(crate) fn parse(tail: &Bytes, size: u64, expected: Checks) -> Result<Footer, Wrong> {
    let footer = footer_bytes(tail).and_then(|it| tail.len().checked_sub(it));
    let footer = footer.and_then(|it| tail.get(it..)).ok_or(Wrong::Said("it has no footer"))?;
    complete(decode(footer, expected)?, tail, size, expected)
}

pub(crate) fn check(bytes: &[u8]) -> u32 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(bytes);
    hasher.finish() as u32
}

pub(crate) fn pair<'a>(pairs: Option<&'a Vec<KeyValue>>, key: &str) -> Option<&'a str> {
    pairs?.iter().find(|it| it.key == key)?.value.as_deref()
}

/// Parsed footers, up to a bound in bytes; the one not asked for longest goes first.
#[derive(Debug)]
pub(crate) struct Footers {
    bound: usize,
    next_key: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    asked: u64,
    footers: HashMap<u64, Kept>,
}

#[derive(Debug)]
struct Kept {
    footer: Arc<Footer>,
    bytes: usize,
    asked: u64,
}

impl Footers {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound, next_key: AtomicU64::new(0), held: Mutex::default() })
    }

    /// What a segment's footer is found by.
    pub(crate) fn key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn find(&self, key: u64) -> Option<Arc<Footer>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.asked += 1;
        let asked = held.asked;
        let kept = held.footers.get_mut(&key)?;
        kept.asked = asked;
        Some(Arc::clone(&kept.footer))
    }

    pub(crate) fn put(&self, key: u64, footer: Arc<Footer>) {
        let bytes = footer.memory_size();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.asked += 1;
        let kept = Kept { footer, bytes, asked: held.asked };
        held.bytes += bytes;
        if let Some(before) = held.footers.insert(key, kept) {
            held.bytes -= before.bytes;
        }
        while held.bytes > self.bound && held.footers.len() > 1 {
            let oldest = held.footers.iter().min_by_key(|it| it.1.asked).map(|it| *it.0);
            let Some(gone) = oldest.and_then(|it| held.footers.remove(&it)) else { return };
            held.bytes -= gone.bytes;
        }
    }

    pub(crate) fn forget(&self, key: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = held.footers.remove(&key) {
            held.bytes -= gone.bytes;
        }
    }
}
