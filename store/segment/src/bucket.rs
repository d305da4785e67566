//! Segments in a bucket: S3, GCS, Azure, a WebDAV server or a folder.
//!
//! ```text
//! URL/NODE/
//!   manifest-v1/2026-11-22.json       the segments whose first row is of that day (see `manifest.rs`)
//!   http/2026-11-22/01763805600000000000-00000042_00000057-131072-5f0c9e71a2b3d4e6.parquet
//! ```
//!
//! The files are those of the node's disk, so that `select * from 'URL/*/http/*/*.parquet'` is a
//! query in DuckDB. Objects appear whole or not at all. One is put before a manifest names it and
//! deleted after none does any more, so that a crash in between leaves an object without a
//! manifest: the next process finds it in the listing and names it. A segment that is gone from the
//! disk is counted as lost only once it is known that the bucket has not got it; what the bucket
//! lets expire may be counted once more if the process dies right then.
mod cache;
mod manifest;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use url::Url;

use self::cache::Cache;
pub(crate) use self::manifest::{Manifests, day};
use crate::catalog::Known;
use crate::footers::{self, footer_bytes};
use crate::name::Name;
use crate::{Error, Segment};

/// A bucket for sealed segments, and what goes there.
#[derive(Clone)]
pub struct Bucket {
    /// Where: `s3://BUCKET/PATH`, `gs://BUCKET/PATH`, `az://CONTAINER/PATH`, `https://…` for a
    /// WebDAV server, `file:///FOLDER`.
    pub url: String,
    /// Credentials and the like, by the names that the environment has for them, such as
    /// `AWS_ACCESS_KEY_ID`; those that don't concern the bucket are ignored.
    pub settings: Vec<(String, String)>,
    /// The folder in it: the name of this node.
    pub node: String,
    /// A segment is uploaded this long after it was sealed, or before that once it is large.
    pub after: Duration,
    /// How long segments are kept there from sealing; `None`: for ever.
    pub keep_age: Option<Duration>,
    /// How many bytes of this node are kept there; `None`: any number.
    pub keep_bytes: Option<u64>,
    /// What is read of the bucket is kept on this node's disk, up to so many bytes.
    pub cache_bytes: u64,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings are secrets.
        f.debug_struct("Bucket")
            .field("url", &self.url)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// One node's part of a bucket.
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    root: ObjectPath,
    /// As it was named, for people.
    url: String,
    cache: Option<Cache>,
    /// Objects that nobody needs any more.
    gone: Mutex<Vec<ObjectPath>>,
}

impl Objects {
    /// Understands where the bucket is; nothing is asked of it yet.
    pub(crate) fn open(bucket: &Bucket, cache: Option<PathBuf>) -> Result<Self, Error> {
        let refused = |reason: String| Error::Bucket { url: bucket.url.clone(), reason };
        let url = Url::parse(&bucket.url).map_err(|it| refused(it.to_string()))?;
        let settings = bucket.settings.iter().map(|it| (it.0.as_str(), it.1.clone()));
        let (store, root) =
            object_store::parse_url_opts(&url, settings).map_err(|it| refused(it.to_string()))?;
        if let Ok(folder) = url.to_file_path() {
            let mut private = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
            let made = private.recursive(true).create(&folder);
            made.map_err(Error::io("create", &folder))?;
        }
        Self::on(Arc::from(store), &root, bucket, cache)
    }

    /// The same, in a store that is open.
    pub(crate) fn on(
        store: Arc<dyn ObjectStore>,
        root: &ObjectPath,
        bucket: &Bucket,
        cache: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let cache = cache.map(|it| Cache::open(it, bucket.cache_bytes)).transpose()?;
        Ok(Self {
            store,
            root: root.clone().join(bucket.node.as_str()),
            url: bucket.url.clone(),
            cache,
            gone: Mutex::default(),
        })
    }

    /// Where a segment is, or would be.
    pub(crate) fn path(&self, segment: &Known) -> ObjectPath {
        let Known { table, name, min_ts, .. } = segment;
        self.root.clone().join(table.as_str()).join(day(*min_ts)).join(name.to_string())
    }

    /// Uploads a segment's file.
    pub(crate) async fn put(&self, segment: &Segment) -> Result<(), Error> {
        let known = segment.known();
        let (path, failed) = (self.path(&known), self.failed());
        // What is damaged does not get a second life.
        segment.verify()?;
        let disk = segment.disk()?;
        let open = std::fs::File::open(disk).map_err(Error::io("open", disk))?;
        let part = |at: u64| {
            let len = usize::try_from((segment.bytes - at).min(PART_BYTES)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; len];
            std::os::unix::fs::FileExt::read_exact_at(&open, &mut bytes, at)
                .map_err(Error::io("read", disk))?;
            Ok::<_, Error>(PutPayload::from(bytes))
        };
        if segment.bytes <= PART_BYTES {
            self.store.put(&path, part(0)?).await.map_err(&failed)?;
            return Ok(());
        }
        let mut upload = match self.store.put_multipart(&path).await {
            Ok(upload) => upload,
            // A WebDAV server takes a file in one piece.
            Err(object_store::Error::NotImplemented { .. }) => {
                let whole = std::fs::read(disk).map_err(Error::io("read", disk))?;
                self.store.put(&path, whole.into()).await.map_err(&failed)?;
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        for at in (0..segment.bytes).step_by(PART_BYTES as usize) {
            // One part at a time: that is all the memory it takes.
            let sent = match part(at) {
                Ok(part) => upload.put_part(part).await.map_err(&failed),
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                // What is left of an upload that was given up costs money and serves nobody.
                if let Err(left) = upload.abort().await {
                    tracing::debug!(%path, error = %left, "could not abort an upload");
                }
                return Err(error);
            }
        }
        upload.complete().await.map_err(&failed)?;
        Ok(())
    }

    /// Bytes of a segment, by the cache or the bucket.
    pub(crate) async fn read(
        self: &Arc<Self>,
        segment: &Segment,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, Error> {
        let key = segment.file.clone();
        let mut units = ranges.iter().flat_map(|it| units(it, segment.bytes)).collect::<Vec<_>>();
        units.sort_unstable();
        units.dedup();
        let (this, asked) = (Arc::clone(self), units.clone());
        let found = blocking(move || {
            let find = |it| this.cache.as_ref()?.find(&key, it);
            asked.into_iter().map(|it| (it, find(it))).collect::<Vec<_>>()
        });
        let (mut have, missing): (Vec<_>, Vec<_>) =
            found.await?.into_iter().partition(|it| it.1.is_some());
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (unit, _) in missing {
            match runs.last_mut() {
                Some(run) if run.end == unit && run.end - run.start < RUN_UNITS => run.end += 1,
                _ => runs.push(unit..unit + 1),
            }
        }
        let path = self.path(&segment.known());
        let fetched = futures::stream::iter(runs)
            .map(|run| {
                let bytes = run.start * UNIT_BYTES..(run.end * UNIT_BYTES).min(segment.bytes);
                let path = &path;
                async move {
                    // It asks again by itself, for minutes if need be; a query would rather know.
                    let got = self.store.get_range(path, bytes);
                    let got = tokio::time::timeout(READ_WAIT, got).await;
                    let got = got.map_err(|_| self.error("it does not answer".to_owned()))?;
                    Ok::<_, Error>((run, got.map_err(self.failed())?))
                }
            })
            .buffered(REQUESTS)
            .try_collect::<Vec<_>>()
            .await?;
        let mut new = Vec::new();
        for (run, got) in fetched {
            for unit in run.clone() {
                let from = usize::try_from((unit - run.start) * UNIT_BYTES).unwrap_or(usize::MAX);
                let to = from.saturating_add(UNIT_BYTES as usize).min(got.len());
                if from < to {
                    new.push((unit, got.slice(from..to)));
                }
            }
        }
        if !new.is_empty() {
            have.extend(new.iter().map(|it| (it.0, Some(it.1.clone()))));
            let (this, key) = (Arc::clone(self), segment.file.clone());
            blocking(move || {
                let Some(cache) = &this.cache else { return };
                new.iter().for_each(|it| cache.put(&key, it.0, &it.1));
            })
            .await?;
        }
        have.sort_unstable_by_key(|it| it.0);
        let cut = |range: &Range<u64>| {
            let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
            for unit in units_of(range) {
                let at = have.binary_search_by_key(&unit, |it| it.0).ok()?;
                let part = have[at].1.as_ref()?;
                let begin = unit * UNIT_BYTES;
                let from = range.start.saturating_sub(begin) as usize;
                let to = ((range.end - begin) as usize).min(part.len());
                bytes.extend_from_slice(part.get(from..to)?);
            }
            (bytes.len() as u64 == range.end - range.start).then(|| Bytes::from(bytes))
        };
        let cut = ranges.iter().map(cut).collect::<Option<Vec<_>>>();
        cut.ok_or_else(|| self.error(format!("{path} is shorter than its manifest says")))
    }

    /// Drops pieces of a segment from the cache, that are not what was written.
    pub(crate) async fn forget_read(
        self: &Arc<Self>,
        segment: &Segment,
        ranges: &[Range<u64>],
    ) -> Result<(), Error> {
        let units = ranges.iter().flat_map(|it| units(it, segment.bytes)).collect::<Vec<_>>();
        let (this, key) = (Arc::clone(self), segment.file.clone());
        blocking(move || {
            let Some(cache) = &this.cache else { return };
            units.into_iter().for_each(|it| cache.remove(&key, it));
        })
        .await
    }

    /// What the bucket has of this node: what manifests name, and what the listing has besides.
    /// Segments that are gone from it, though named, are told apart.
    pub(crate) async fn survey(
        &self,
        known: &dyn Fn(&str) -> Option<SchemaRef>,
    ) -> Result<(Manifests, Vec<Known>), Error> {
        let mut manifests = Manifests::load(self, known).await?;
        let mut listed = self.store.list(Some(&self.root));
        let mut there = std::collections::HashMap::new();
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(self.failed())?;
            there.insert(meta.location, meta.size);
        }
        let missing = manifests.retain(|it| there.remove(&self.path(it)) == Some(it.bytes));
        for (path, bytes) in there {
            let mut parts = path.parts().rev();
            let name = parts.next().and_then(|it| Name::parse(it.as_ref()));
            let table = parts.nth(1).map(|it| it.as_ref().to_owned());
            let (Some(name), Some(table)) = (name, table) else { continue };
            match self.look(&path, bytes, &table, name, known(&table).as_ref()).await {
                Ok(segment) if self.path(&segment) == path => {
                    tracing::info!(%path, "a segment that no manifest named");
                    manifests.add(segment);
                }
                Ok(_) => tracing::warn!(%path, "a segment in the wrong place is left alone"),
                Err(error) if error.is_damage() => {
                    tracing::warn!(%path, %error, "what is no segment is left alone");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((manifests, missing))
    }

    /// What an object's footer says.
    async fn look(
        &self,
        path: &ObjectPath,
        bytes: u64,
        table: &str,
        name: Name,
        known: Option<&SchemaRef>,
    ) -> Result<Known, Error> {
        let place = PathBuf::from(path.to_string());
        let damaged = |reason: &str| Error::Damaged { path: place.clone(), reason: reason.into() };
        // The magic at both ends and eight bytes of trailer are the least a Parquet file has.
        if bytes < 12 {
            return Err(damaged("it is cut short"));
        }
        let from = bytes.saturating_sub(TAIL_BYTES);
        let mut tail = self.store.get_range(path, from..bytes).await.map_err(self.failed())?;
        let len = footer_bytes(&tail).ok_or_else(|| damaged("it has no footer"))? as u64;
        if len > bytes || len > MAX_TAIL_BYTES {
            return Err(damaged("its footer is cut short"));
        }
        if len > tail.len() as u64 {
            let range = bytes - len..bytes;
            tail = self.store.get_range(path, range).await.map_err(self.failed())?;
        }
        let cut = || damaged("its footer is cut short");
        let footer = last(&tail, len).ok_or_else(cut)?;
        let (_, blocks) = footers::decode(&footer, name.checks).map_err(|it| it.of(&place))?;
        let end = bytes.checked_sub(blocks.len).filter(|it| *it >= len && *it <= MAX_TAIL_BYTES);
        let end = end.ok_or_else(|| damaged("its footer is of another file"))?;
        if end > tail.len() as u64 {
            let range = blocks.len..bytes;
            tail = self.store.get_range(path, range).await.map_err(self.failed())?;
        }
        let tail = last(&tail, end).ok_or_else(cut)?;
        let footer = footers::parse(&tail, bytes, name.checks).map_err(|it| it.of(&place))?;
        Known::read(&footer, table, name, bytes, known).map_err(|it| it.of(&place))
    }

    /// The object goes at the next [`Objects::sweep`].
    pub(crate) fn forget(&self, segment: &Known) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.push(self.path(segment));
    }

    /// What was forgotten, for another to delete.
    pub(crate) fn take_gone(&self) -> Vec<ObjectPath> {
        std::mem::take(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What another was to delete.
    pub(crate) fn add_gone(&self, paths: Vec<ObjectPath>) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).extend(paths);
    }

    /// Deletes what was forgotten.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        loop {
            let next = self.gone.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(path) = next else { return Ok(()) };
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(path);
                    return Err(self.failed()(error));
                }
            }
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::Bucket { url: self.url.clone(), reason }
    }

    fn failed(&self) -> impl Fn(object_store::Error) -> Error + Clone + use<> {
        let url = self.url.clone();
        move |error| Error::Bucket { url: url.clone(), reason: error.to_string() }
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("root", &self.root).finish_non_exhaustive()
    }
}

/// So many bytes from the end of these.
fn last(bytes: &Bytes, len: u64) -> Option<Bytes> {
    let from = bytes.len().checked_sub(usize::try_from(len).ok()?)?;
    Some(bytes.slice(from..))
}

fn units_of(range: &Range<u64>) -> Range<u64> {
    range.start / UNIT_BYTES..range.end.div_ceil(UNIT_BYTES)
}

fn units(range: &Range<u64>, bytes: u64) -> Range<u64> {
    units_of(&(range.start.min(bytes)..range.end.min(bytes)))
}

/// Files are read and written where that may take its time.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|it| Error::NotSealed(it.to_string()))
}

/// What is asked of a bucket, and kept of it, at a time: a request takes some ten milliseconds,
/// in which this much could have come.
const UNIT_BYTES: u64 = 256 << 10;
/// Neighbours are asked for together, up to this many.
const RUN_UNITS: u64 = 32;
/// How long a read waits for an answer.
const READ_WAIT: Duration = Duration::from_secs(60);
/// Requests of one read that are under way at a time.
const REQUESTS: usize = 4;
/// A part of an upload; S3 takes none but the last of less than 5 MiB.
const PART_BYTES: u64 = 8 << 20;
/// What is read first of the end of an object that no manifest names.
const TAIL_BYTES: u64 = 64 << 10;
/// The end of a segment of ours is not longer.
const MAX_TAIL_BYTES: u64 = 64 << 20;
