//! Which segments exist, and what is known of each without touching its file.
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::hash::Hasher;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use twox_hash::XxHash64;

use crate::Error;
use crate::blocks::Blocks;

/// A Parquet file on this node. It never changes; when it expires, the file goes once the last
/// holder of the segment has let go, so a scan that has begun can finish.
pub struct Segment {
    /// The table whose rows these are.
    pub table: String,
    /// The file, relative to the store's directory, with `/` between its parts.
    pub file: String,
    /// The size of the file.
    pub bytes: u64,
    /// The number of rows.
    pub rows: u64,
    /// The earliest `ts`, nanoseconds since 1970.
    pub min_ts: i64,
    /// The latest `ts`.
    pub max_ts: i64,
    /// The columns, with docs and kinds, as they were when the segment was written.
    pub schema: SchemaRef,
    /// When the segment was sealed, nanoseconds since 1970.
    pub sealed_at: i64,
    pub(crate) seq: u64,
    path: PathBuf,
    pub(crate) blocks: Blocks,
    checks: Checks,
    footers: Arc<Footers>,
    expired: AtomicBool,
    /// Something that was read of it was damaged.
    suspect: AtomicBool,
}

/// The key-value pairs of a segment's footer.
pub mod keys {
    /// The table's name.
    pub const TABLE: &str = "kubeshark.table";
    /// The earliest `ts`, nanoseconds since 1970.
    pub const MIN_TS: &str = "kubeshark.min_ts";
    /// The latest `ts`.
    pub const MAX_TS: &str = "kubeshark.max_ts";
    /// When the segment was sealed, nanoseconds since 1970.
    pub const SEALED_AT: &str = "kubeshark.sealed_at";
    /// The length of what comes before the page index, the length of its blocks, and of each block
    /// the lower half of its XXH64 (hex): `LENGTH:BLOCK:SUMS`.
    pub const BLOCKS: &str = "kubeshark.blocks";
}

impl Segment {
    /// Opens a segment's file outside of any store, for exports and tests. Checks the footer and
    /// the page index; [`Segment::verify`] checks the rest.
    pub fn open(path: &Path) -> Result<Arc<Self>, Error> {
        let table = path.parent().and_then(Path::file_name).and_then(|it| it.to_str());
        let table = table.unwrap_or_default().to_owned();
        Ok(Arc::new(Self::catalogue(path, &table, None, &Footers::new(usize::MAX))?))
    }

    /// Reads what the catalogue keeps of the file at `path`. A schema equal to `known` is shared.
    pub(crate) fn catalogue(
        path: &Path,
        table: &str,
        known: Option<&SchemaRef>,
        footers: &Arc<Footers>,
    ) -> Result<Self, Error> {
        let damaged =
            |reason: &str| Error::Damaged { path: path.to_path_buf(), reason: reason.into() };
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let name = Name::parse(name).ok_or_else(|| damaged("it has not the name of a segment"))?;
        let file = File::open(path).map_err(Error::io("open", path))?;
        let bytes = file.metadata().map_err(Error::io("read", path))?.len();
        let (metadata, blocks) = load(&file, path, bytes, name.checks)?;
        let pairs = metadata.file_metadata().key_value_metadata();
        let number = |key| pair(pairs, key)?.parse::<i64>().ok();
        if pair(pairs, keys::TABLE) != Some(table) {
            return Err(damaged("it is of another table"));
        }
        let min_ts = number(keys::MIN_TS).ok_or_else(|| damaged("its footer has no first time"))?;
        let max_ts = number(keys::MAX_TS).ok_or_else(|| damaged("its footer has no last time"))?;
        let sealed_at = number(keys::SEALED_AT);
        let sealed_at = sealed_at.ok_or_else(|| damaged("its footer has no time of sealing"))?;
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default();
        if rows != name.rows {
            return Err(damaged("its name has another number of rows"));
        }
        let metadata = Arc::new(metadata);
        let arrow = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new());
        let arrow = arrow.map_err(Error::parquet(path))?;
        // The footer's own pairs are no part of what the table is.
        let mut found = Schema::clone(arrow.schema());
        found.metadata.retain(|key, _| !key.starts_with("kubeshark."));
        let schema = match known {
            Some(known) if **known == found => Arc::clone(known),
            _ => Arc::new(found),
        };
        footers.put(name.seq, metadata);
        Ok(Self {
            table: table.to_owned(),
            file: format!("{table}/{name}"),
            bytes,
            rows,
            min_ts,
            max_ts,
            schema,
            sealed_at,
            seq: name.seq,
            path: path.to_path_buf(),
            blocks,
            checks: name.checks,
            footers: Arc::clone(footers),
            expired: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The footer with the page index, parsed. It is cached: a footer is parsed again only if the
    /// store has more of them than its bound.
    pub fn metadata(&self) -> Result<Arc<ParquetMetaData>, Error> {
        if let Some(metadata) = self.footers.find(self.seq) {
            return Ok(metadata);
        }
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        let metadata = Arc::new(self.load(&file)?);
        self.footers.put(self.seq, Arc::clone(&metadata));
        Ok(metadata)
    }

    /// Parses footer and page index again.
    pub(crate) fn load(&self, file: &File) -> Result<ParquetMetaData, Error> {
        let loaded = load(file, &self.path, self.bytes, self.checks);
        Ok(loaded.inspect_err(|it| self.suspect_after(it))?.0)
    }

    /// Notes that the file may be damaged, if that is what the error says.
    pub(crate) fn suspect_after(&self, error: &Error) {
        if error.is_damage() {
            self.suspect.store(true, Ordering::Release);
        }
    }

    /// Whether something damaged was read of it since this was asked last.
    pub(crate) fn take_suspicion(&self) -> bool {
        self.suspect.swap(false, Ordering::AcqRel)
    }

    /// The file goes with the last holder.
    pub(crate) fn expire(&self) {
        self.expired.store(true, Ordering::Release);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.footers.forget(self.seq);
        if *self.expired.get_mut()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "could not delete a segment");
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("file", &self.file)
            .field("bytes", &self.bytes)
            .field("rows", &self.rows)
            .field("min_ts", &self.min_ts)
            .field("max_ts", &self.max_ts)
            .finish_non_exhaustive()
    }
}

/// A segment's file name: what must be known of it even when its content is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The earliest `ts`; times before 1970 stand as 0.
    pub(crate) min_ts: i64,
    pub(crate) seq: u64,
    pub(crate) rows: u64,
    pub(crate) checks: Checks,
}

/// Checksums of what is read before a query, and so is checked before it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checks {
    pub(crate) footer: u32,
    pub(crate) index: u32,
}

impl Name {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".parquet")?.split('-');
        let min_ts = parts.next()?.parse().ok()?;
        let seq = parts.next()?.parse().ok()?;
        let rows = parts.next()?.parse().ok()?;
        let checks = u64::from_str_radix(parts.next()?, 16).ok()?;
        let (footer, index) = ((checks >> 32) as u32, checks as u32);
        let found = Self { min_ts, seq, rows, checks: Checks { footer, index } };
        (parts.next().is_none() && found.to_string() == name).then_some(found)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min_ts, seq, rows, checks: Checks { footer, index } } = self;
        let min_ts = (*min_ts).max(0);
        write!(f, "{min_ts:020}-{seq:08}-{rows}-{footer:08x}{index:08x}.parquet")
    }
}

/// The checksums of a file's end: `tail` starts where the page index does.
pub(crate) fn checks(tail: &[u8]) -> Option<Checks> {
    let footer = tail.len().checked_sub(footer_bytes(tail)?)?;
    let (index, footer) = tail.split_at(footer);
    Some(Checks { footer: check(footer), index: check(index) })
}

/// Reads footer and page index, which are checked before they are parsed.
fn load(
    file: &File,
    path: &Path,
    size: u64,
    expected: Checks,
) -> Result<(ParquetMetaData, Blocks), Error> {
    let damaged = |reason: &str| Error::Damaged { path: path.to_path_buf(), reason: reason.into() };
    let read = |from: u64, to: u64| {
        let mut bytes = vec![0; usize::try_from(to - from).unwrap_or_default()];
        file.read_exact_at(&mut bytes, from).map_err(Error::io("read", path))?;
        Ok(bytes)
    };
    // The magic at both ends and eight bytes of trailer are the least a Parquet file has.
    if size < 12 {
        return Err(damaged("it is cut short"));
    }
    let trailer = read(size - 8, size)?;
    let footer_len = footer_bytes(&trailer).ok_or_else(|| damaged("it has no footer"))? as u64;
    if footer_len > size {
        return Err(damaged("its footer is cut short"));
    }
    let footer = read(size - footer_len, size)?;
    if expected.footer != check(&footer) {
        return Err(damaged("its footer does not match its name"));
    }
    let metadata = ParquetMetaDataReader::decode_metadata(&footer[..footer.len() - 8]);
    let metadata = metadata.map_err(Error::parquet(path))?;
    let blocks = pair(metadata.file_metadata().key_value_metadata(), keys::BLOCKS);
    let blocks = blocks.and_then(Blocks::parse).filter(|it| it.len <= size - footer_len);
    let blocks = blocks.ok_or_else(|| damaged("its footer has no checksums of its rows"))?;
    let index = read(blocks.len, size - footer_len)?;
    if expected.index != check(&index) {
        return Err(damaged("its page index does not match its name"));
    }
    let tail = Bytes::from([index, footer].concat());
    let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
        .with_page_index_policy(PageIndexPolicy::Optional);
    reader.read_page_indexes_sized(&tail, size).map_err(Error::parquet(path))?;
    let metadata = reader.finish().map_err(Error::parquet(path))?;
    Ok((metadata, blocks))
}

/// The length of footer and trailer, from the trailer at the end of `tail`.
fn footer_bytes(tail: &[u8]) -> Option<usize> {
    let [len, magic] = tail.last_chunk::<8>()?.as_chunks::<4>().0 else { return None };
    (magic == b"PAR1").then(|| u32::from_le_bytes(*len) as usize + 8)
}

fn check(bytes: &[u8]) -> u32 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(bytes);
    hasher.finish() as u32
}

fn pair<'a>(
    pairs: Option<&'a Vec<parquet::file::metadata::KeyValue>>,
    key: &str,
) -> Option<&'a str> {
    pairs?.iter().find(|it| it.key == key)?.value.as_deref()
}

/// Parsed footers, up to a bound in bytes; the one not asked for longest goes first.
#[derive(Debug)]
pub(crate) struct Footers {
    bound: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    asked: u64,
    footers: HashMap<u64, Footer>,
}

#[derive(Debug)]
struct Footer {
    metadata: Arc<ParquetMetaData>,
    bytes: usize,
    asked: u64,
}

impl Footers {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound, held: Mutex::default() })
    }

    fn find(&self, seq: u64) -> Option<Arc<ParquetMetaData>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.asked += 1;
        let asked = held.asked;
        let footer = held.footers.get_mut(&seq)?;
        footer.asked = asked;
        Some(Arc::clone(&footer.metadata))
    }

    fn put(&self, seq: u64, metadata: Arc<ParquetMetaData>) {
        let bytes = metadata.memory_size();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.asked += 1;
        let footer = Footer { metadata, bytes, asked: held.asked };
        held.bytes += bytes;
        if let Some(before) = held.footers.insert(seq, footer) {
            held.bytes -= before.bytes;
        }
        while held.bytes > self.bound && held.footers.len() > 1 {
            let oldest = held.footers.iter().min_by_key(|it| it.1.asked).map(|it| *it.0);
            let Some(gone) = oldest.and_then(|it| held.footers.remove(&it)) else { return };
            held.bytes -= gone.bytes;
        }
    }

    fn forget(&self, seq: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = held.footers.remove(&seq) {
            held.bytes -= gone.bytes;
        }
    }
}
