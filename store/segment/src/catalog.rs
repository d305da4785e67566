//! Which segments exist, and what is known of each without touching its file.
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::ParquetMetaData;

use crate::Error;
use crate::blocks::Checked;
use crate::bloom::Blooms;
use crate::bucket::Objects;
use crate::footers::{self, Footer, Footers, Wrong, footer_bytes, keys, pair};
use crate::name::{Covers, Name, Seals};

/// A Parquet file of this node, on its disk or in the bucket. It never changes; when it expires,
/// the file goes once the last holder of the segment has let go, so a scan that has begun can
/// finish.
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
    /// When the segment was sealed, nanoseconds since 1970; of merged ones, when the last was.
    pub sealed_at: i64,
    pub(crate) name: Name,
    pub(crate) seals: Seals,
    /// The store that numbered them.
    pub(crate) origin: u64,
    pub(crate) place: Place,
    /// The length of its rows' part: the rest is page index and footer.
    pub(crate) data: u64,
    /// It is being merged or uploaded.
    pub(crate) taken: AtomicBool,
    /// Its rows are about to be replaced: it is neither merged nor uploaded.
    pub(crate) wanted: AtomicBool,
    /// It will not be merged with others any more: it was with all that were old enough.
    pub(crate) ripe: AtomicBool,
    /// The bucket may have it, though nobody said so.
    pub(crate) tried: AtomicBool,
    /// The bucket has it, or had it.
    pub(crate) uploaded: AtomicBool,
    /// The bucket had it for as long as it keeps segments.
    pub(crate) outlived: AtomicBool,
    key: u64,
    footers: Arc<Footers>,
    expired: AtomicBool,
    /// Something that was read of it was damaged.
    suspect: AtomicBool,
}

/// Where a segment's bytes are.
pub(crate) enum Place {
    Disk(PathBuf),
    Bucket(Arc<Objects>),
}

/// What is known of a segment from elsewhere than its file.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) table: String,
    pub(crate) name: Name,
    pub(crate) bytes: u64,
    pub(crate) min_ts: i64,
    pub(crate) max_ts: i64,
    pub(crate) schema: SchemaRef,
    pub(crate) sealed_at: i64,
    pub(crate) seals: Seals,
    pub(crate) origin: u64,
    pub(crate) data: u64,
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
        let footer = load(&file, path, bytes, name)?;
        let known = Known::read(&footer, table, name, bytes, known);
        let known = known.map_err(|it| it.of(path))?;
        let segment = Self::new(known, Place::Disk(path.to_path_buf()), footers);
        footers.put(segment.key, Arc::new(footer));
        Ok(segment)
    }

    pub(crate) fn new(known: Known, place: Place, footers: &Arc<Footers>) -> Self {
        Self {
            file: format!("{}/{}", known.table, known.name),
            table: known.table,
            bytes: known.bytes,
            rows: known.name.rows,
            min_ts: known.min_ts,
            max_ts: known.max_ts,
            schema: known.schema,
            sealed_at: known.sealed_at,
            name: known.name,
            seals: known.seals,
            origin: known.origin,
            uploaded: AtomicBool::new(matches!(place, Place::Bucket(_))),
            tried: AtomicBool::new(false),
            outlived: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            ripe: AtomicBool::new(false),
            place,
            data: known.data,
            taken: AtomicBool::new(false),
            key: footers.key(),
            footers: Arc::clone(footers),
            expired: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
        }
    }

    /// What [`Segment::new`] was told.
    pub(crate) fn known(&self) -> Known {
        Known {
            table: self.table.clone(),
            name: self.name,
            bytes: self.bytes,
            min_ts: self.min_ts,
            max_ts: self.max_ts,
            schema: Arc::clone(&self.schema),
            sealed_at: self.sealed_at,
            seals: self.seals.clone(),
            origin: self.origin,
            data: self.data,
        }
    }

    /// The same segment, to be read from the bucket only.
    pub(crate) fn in_bucket(&self, objects: &Arc<Objects>) -> Self {
        let segment = Self::new(self.known(), Place::Bucket(Arc::clone(objects)), &self.footers);
        if let Some(footer) = self.cached_footer() {
            self.footers.put(segment.key, footer);
        }
        segment
    }

    /// The file on this node's disk; none if only the bucket has it.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Disk(path) => Some(path),
            Place::Bucket(_) => None,
        }
    }

    /// Whether the segment is on this node's disk.
    pub fn is_local(&self) -> bool {
        self.path().is_some()
    }

    /// Whether it may be merged or uploaded.
    pub(crate) fn is_free(&self) -> bool {
        let flags = [&self.taken, &self.wanted, &self.ripe, &self.tried, &self.uploaded];
        self.is_local() && flags.into_iter().all(|it| !it.load(Ordering::Relaxed))
    }

    /// Whether it can be read from the bucket.
    pub(crate) fn is_in_bucket(&self) -> bool {
        self.uploaded.load(Ordering::Relaxed) && !self.outlived.load(Ordering::Relaxed)
    }

    /// The file, where only one on the disk will do.
    pub(crate) fn disk(&self) -> Result<&Path, Error> {
        self.path().ok_or_else(|| Error::Bucket {
            url: self.file.clone(),
            reason: "it is in the bucket, and read from there by a Reader only".to_owned(),
        })
    }

    /// Its name in an error.
    pub(crate) fn named(&self) -> PathBuf {
        self.path().map_or_else(|| PathBuf::from(&self.file), Path::to_path_buf)
    }

    pub(crate) fn covers(&self) -> Covers {
        self.name.covers
    }

    /// The footer with the page index, parsed. It is cached: a footer is parsed again only if the
    /// store has more of them than its bound. Of a segment in the bucket, ask a
    /// [`Reader`](crate::Reader).
    pub fn metadata(&self) -> Result<Arc<ParquetMetaData>, Error> {
        Ok(Arc::clone(&self.footer()?.metadata))
    }

    /// The bloom filters of its ids, from the file the first time. They are kept with the footer. Of
    /// a segment in the bucket there are none here.
    pub fn blooms(self: &Arc<Self>) -> Result<Arc<Blooms>, Error> {
        let path = self.disk()?;
        let footer = self.footer()?;
        if let Some(blooms) = footer.blooms.get() {
            return Ok(Arc::clone(blooms));
        }
        let file = Checked::open(self)?;
        let blooms = Blooms::read(&file, &footer.metadata).map_err(Error::parquet(path))?;
        Ok(Arc::clone(footer.blooms.get_or_init(|| Arc::new(blooms))))
    }

    pub(crate) fn footer(&self) -> Result<Arc<Footer>, Error> {
        if let Some(footer) = self.cached_footer() {
            return Ok(footer);
        }
        let path = self.disk()?;
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(self.keep_footer(self.load(&file, path)?))
    }

    /// Reads and parses the end of the file again.
    pub(crate) fn load(&self, file: &File, path: &Path) -> Result<Footer, Error> {
        let loaded = load(file, path, self.bytes, self.name);
        loaded.inspect_err(|it| self.suspect_after(it))
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

    pub(crate) fn cached_footer(&self) -> Option<Arc<Footer>> {
        self.footers.find(self.key)
    }

    pub(crate) fn keep_footer(&self, footer: Footer) -> Arc<Footer> {
        let footer = Arc::new(footer);
        self.footers.put(self.key, Arc::clone(&footer));
        footer
    }

    /// Whether the file goes with the last holder.
    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }

    /// The file goes with the last holder.
    pub(crate) fn expire(&self) {
        self.expired.store(true, Ordering::Release);
    }
}

impl Known {
    /// What a parsed footer says, if it is of the segment that its name says.
    pub(crate) fn read(
        footer: &Footer,
        table: &str,
        name: Name,
        bytes: u64,
        known: Option<&SchemaRef>,
    ) -> Result<Self, Wrong> {
        let metadata = &footer.metadata;
        let pairs = metadata.file_metadata().key_value_metadata();
        let number = |key| pair(pairs, key)?.parse::<i64>().ok();
        if pair(pairs, keys::TABLE) != Some(table) {
            return Err(Wrong::Said("it is of another table"));
        }
        let min_ts = number(keys::MIN_TS).ok_or(Wrong::Said("its footer has no first time"))?;
        let max_ts = number(keys::MAX_TS).ok_or(Wrong::Said("its footer has no last time"))?;
        let sealed_at = number(keys::SEALED_AT);
        let sealed_at = sealed_at.ok_or(Wrong::Said("its footer has no time of sealing"))?;
        let origin = pair(pairs, keys::STORE).and_then(|it| u64::from_str_radix(it, 16).ok());
        let origin = origin.ok_or(Wrong::Said("its footer does not name its store"))?;
        let seals = pair(pairs, keys::SEALS).and_then(Seals::parse);
        let seals = seals.filter(|it| it.covers() == Some(name.covers));
        let seals = seals.ok_or(Wrong::Said("its name has other seals"))?;
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default();
        if rows != name.rows {
            return Err(Wrong::Said("its name has another number of rows"));
        }
        let arrow = ArrowReaderMetadata::try_new(Arc::clone(metadata), ArrowReaderOptions::new());
        let arrow = arrow.map_err(Wrong::Parquet)?;
        // The footer's own pairs are no part of what the table is.
        let mut found = Schema::clone(arrow.schema());
        found.metadata.retain(|key, _| !key.starts_with("kubeshark."));
        let schema = match known {
            Some(known) if **known == found => Arc::clone(known),
            _ => Arc::new(found),
        };
        let (table, data) = (table.to_owned(), footer.blocks.len);
        Ok(Self { table, name, bytes, min_ts, max_ts, schema, sealed_at, seals, origin, data })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.footers.forget(self.key);
        if !*self.expired.get_mut() {
            return;
        }
        match &self.place {
            Place::Disk(path) => {
                if let Err(error) = std::fs::remove_file(path) {
                    tracing::warn!(path = %path.display(), %error, "could not delete a segment");
                }
            }
            Place::Bucket(objects) => objects.forget(&self.known()),
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

/// Reads footer and page index, each checked before it is parsed.
fn load(file: &File, path: &Path, size: u64, name: Name) -> Result<Footer, Error> {
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
    let decoded = footers::decode(&footer, name.checks).map_err(|it| it.of(path))?;
    let data = decoded.1.len;
    if data > size - footer_len {
        return Err(damaged("its footer is of a longer file"));
    }
    let index = read(data, size - footer_len)?;
    let tail = Bytes::from([index, footer].concat());
    footers::complete(decoded, &tail, size, name.checks).map_err(|it| it.of(path))
}
