//! The store: rows in memory, rows in segments, and the thread that moves them from one to the
//! other.
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use schema::Table;
use tokio::sync::Notify;

mod replace;
mod state;
mod tier;

pub use self::replace::Replacement;

use self::replace::Covering;
use self::state::{Failure, Held, IDLE, Job, State, bytes_of};
use self::tier::Tier;
use crate::bucket::{Bucket, Objects};
use crate::coverage::{self, Coverage};
use crate::disk::{Disk, Faults, Step};
use crate::footers::Footers;
use crate::hot::Rows;
use crate::journal::Journal;
use crate::merge::{self, Merge};
use crate::recover::{self, Found, Recovery};
use crate::writer::{self, Draft, Target};
use crate::{Error, Layout, Loss, Segment, hot, retention, stage};

/// How much the store keeps, where, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows in memory, all tables together, take at most this many bytes. Sealing starts at half
    /// of it, so that appending goes on meanwhile. A larger bound makes larger segments. A `scratch`
    /// store seals from three quarters on, and only the oldest quarter.
    pub hot_bytes: usize,
    /// Rows are in memory only for about this long: what a crash can cost.
    pub seal_after: Duration,
    /// How long an append waits for the disk before its rows are dropped, and counted.
    pub append_wait: Duration,
    /// Segments of all tables but `packets` take at most this many bytes.
    pub keep_bytes_records: u64,
    /// Segments of `packets` take at most this many bytes.
    pub keep_bytes_packets: u64,
    /// Segments are kept this long from sealing; `None`: as long as the quota allows.
    pub keep_age: Option<Duration>,
    /// How sealed segments are laid out.
    pub sealed: Layout,
    /// How merged segments are laid out.
    pub merged: Layout,
    /// The store goes with the process: segments are written to be read soon, neither compressed
    /// nor indexed nor synced.
    pub scratch: bool,
    /// Small segments are merged in the background into ones of up to about this many bytes; 0
    /// merges none. Merging takes about twice that in memory, and once on the disk.
    pub merge_bytes: u64,
    /// It takes this many small segments to merge them: more make less work and more files.
    pub merge_inputs: usize,
    /// Merging takes at most this share of one core's time.
    pub merge_share: f64,
    /// Parsed footers take at most this many bytes of memory.
    pub footer_bytes: usize,
    /// Where sealed segments go for long.
    pub bucket: Option<Bucket>,
    /// How many bytes of the newest segments are compared with their checksums before the store
    /// opens; the rest is checked in the background.
    pub verify_bytes: u64,
}

impl Options {
    /// So many bytes in memory are when sealing starts.
    pub(crate) fn threshold(&self) -> usize {
        if self.scratch { self.hot_bytes / 4 * 3 } else { self.hot_bytes / 2 }
    }

    /// What is sealed at a time, about. Large segments are read faster; but of what is read soon and
    /// once, the less is written the better.
    pub(crate) fn sealed_bytes(&self) -> usize {
        if self.scratch { self.hot_bytes / 4 } else { usize::MAX }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hot_bytes: 20 << 20,
            seal_after: Duration::from_secs(30),
            append_wait: Duration::from_secs(30),
            keep_bytes_records: 4 << 30,
            keep_bytes_packets: 4 << 30,
            keep_age: None,
            sealed: Layout::SEALED,
            merged: Layout::MERGED,
            scratch: false,
            merge_bytes: 32 << 20,
            merge_inputs: 16,
            merge_share: 0.25,
            footer_bytes: 32 << 20,
            bucket: None,
            verify_bytes: 256 << 20,
        }
    }
}

/// Tables on this node. Clones are the same store; the last one to go seals what is in memory.
#[derive(Clone, Debug)]
pub struct Store {
    owner: Arc<Owner>,
}

/// A table at one moment: each row once, in memory or in a segment. Keep it for as long as its
/// segments are read: it keeps their files.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The table's columns as they are declared now. A segment has the columns of its own time.
    pub schema: SchemaRef,
    /// The rows in memory, newest last.
    pub hot: Vec<RecordBatch>,
    /// The segments in the order of sealing.
    pub segments: Vec<Arc<Segment>>,
}

/// The store in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Every table, by name.
    pub tables: Vec<TableState>,
    /// Bytes of rows in memory.
    pub hot_bytes: u64,
    /// Bytes of segments on this node's disk.
    pub segment_bytes: u64,
    /// Segments that were merged into others since the store was opened.
    pub merged_segments: u64,
    /// Their bytes.
    pub merged_bytes: u64,
    /// Bytes of segments in the bucket.
    pub bucket_bytes: u64,
    /// Whether the rows that only the bucket has can be read already; always, without a bucket.
    pub bucket_listed: bool,
    /// Rows that are gone from the disk, and lost unless the bucket turns out to have them.
    pub doubtful_rows: u64,
    /// Why the bucket does not do what is asked of it, until it does.
    pub bucket_failing: Option<String>,
    /// Why the last segment could not be written, until one is.
    pub failing: Option<String>,
}

/// A table in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableState {
    /// The table's name.
    pub name: String,
    /// Rows in memory and in segments.
    pub rows: u64,
    /// Rows in memory.
    pub hot_rows: u64,
    /// Bytes of rows in memory.
    pub hot_bytes: u64,
    /// Bytes of segments on this node's disk.
    pub bytes: u64,
    /// Bytes of segments in the bucket.
    pub bucket_bytes: u64,
    /// The number of segments.
    pub segments: usize,
    /// The earliest `ts`, nanoseconds since 1970.
    pub oldest: Option<i64>,
    /// The latest `ts`.
    pub newest: Option<i64>,
}

impl Store {
    /// Opens the store in `dir`, which is created if it isn't there, and recovers what the last
    /// process left. Only one process can have it open. `tables` are the tables to append to; the
    /// others found on disk are served and expire all the same.
    pub fn open(dir: &Path, tables: &[Table], options: Options) -> Result<(Self, Recovery), Error> {
        Self::open_on(dir, tables, options, None, None)
    }

    /// [`Store::open`] on a disk that may fail.
    pub(crate) fn open_on(
        dir: &Path,
        tables: &[Table],
        options: Options,
        faults: Option<Arc<dyn Faults>>,
        store: Option<Arc<dyn object_store::ObjectStore>>,
    ) -> Result<(Self, Recovery), Error> {
        create_private(dir)?;
        let dir = dir.canonicalize().map_err(Error::io("open", dir))?;
        let lock = lock(&dir)?;
        let tier = tier(options.bucket.as_ref(), &dir, store)?;
        let mut declared = BTreeMap::new();
        let mut states = BTreeMap::new();
        for table in tables {
            let (schema, ts) = check(table)?;
            let folder = dir.join(&*table.name);
            create_private(&folder)?;
            declared.insert(table.name.to_string(), Arc::clone(&schema));
            states.insert(table.name.to_string(), Held::new(schema, Some(ts)));
        }
        let disk = Disk::new(&dir, faults);
        disk.sync_dir(&dir)?;
        let folders = declared.keys().cloned().collect::<Vec<_>>();
        let mut coverage = Coverage::open(&disk, &folders)?;
        let (journal, last) = Journal::open(&disk)?;
        let footers = Footers::new(options.footer_bytes);
        let Identity { origin, kept, lives } = Identity::next(&disk);
        let found = recover::recover(&disk, &declared, kept, last, &footers, &options)?;
        let Found { recovery, segments, unverified, last_seqs, doubts, .. } = found;
        // What was lost, or may be.
        let lost = recovery.losses.iter().chain(doubts.iter().map(|it| &it.loss));
        if coverage.lose(&lost.collect::<Vec<_>>(), PACKETS)
            && let Err(error) = coverage.save(&disk, !options.scratch)
        {
            // What was set aside is counted now or never: it is out of the next one's sight.
            tracing::warn!(%error, "what lacks records is not written down before it changes again");
        }
        for segment in segments {
            let held = states.entry(segment.table.clone());
            let held = held.or_insert_with(|| Held::new(Arc::clone(&segment.schema), None));
            held.segments.push(segment);
        }
        // The clock may have been set back between two of them.
        states.values_mut().for_each(|it| it.segments.sort_by_key(|it| it.covers().first));
        for (name, held) in &mut states {
            let last = last_seqs.get(name).copied().filter(|it| *it < STRAY_LIVES * LIFE_SEALS);
            let first = lives.saturating_mul(LIFE_SEALS);
            held.next_seq = last.unwrap_or_default().max(first).saturating_add(1);
        }
        let state = State {
            tables: states,
            journal,
            hot_bytes: 0,
            waiting: 0,
            failure: None,
            failures: 0,
            losses: Vec::new(),
            doubts,
            leaving: Vec::new(),
            unverified: unverified.iter().map(Arc::downgrade).collect(),
            merge_at: Instant::now(),
            merged: (0, 0),
            objects: tier.as_ref().map(|it| Arc::clone(&it.readers)),
            tier_failure: None,
            tier_listed: false,
            closing: false,
        };
        let shared = Arc::new(Shared {
            disk,
            options,
            footers,
            origin,
            state: Mutex::new(state),
            covering: Mutex::new(Covering::new(coverage)),
            saving: Mutex::new(()),
            work: Condvar::new(),
            room: Condvar::new(),
            sealed: Condvar::new(),
            replaced: Condvar::new(),
            changed: Notify::new(),
            closes: Notify::new(),
        });
        let mut owner = Owner { shared: Arc::clone(&shared), threads: Vec::new(), lock };
        let start = |name: &str, run: fn(&Shared)| {
            let (thread, shared) = (std::thread::Builder::new(), Arc::clone(&shared));
            thread.name(name.to_owned()).spawn(move || run(&shared))
        };
        let failed = || Error::io("start the writer of", &shared.disk.dir);
        owner.threads.push(start("segments", Shared::run).map_err(failed())?);
        if shared.options.merge_bytes > 0 && !shared.options.scratch {
            owner.threads.push(start("merge", Shared::run_merges).map_err(failed())?);
        }
        if let Some(tier) = tier {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("bucket".to_owned());
            let thread = thread.spawn(move || shared.run_tier(&tier));
            owner.threads.push(thread.map_err(failed())?);
        }
        Ok((Self { owner: Arc::new(owner) }, recovery))
    }

    /// Adds rows to a table. The next snapshot has them. Waits while memory is at its bound and
    /// the disk is behind.
    pub fn append(&self, table: &str, batch: RecordBatch) -> Result<(), Error> {
        self.owner.shared.append(table, batch)
    }

    /// A table's rows as of now. A table that isn't there has none.
    pub fn snapshot(&self, table: &str) -> Snapshot {
        self.owner.shared.lock().snapshot(table)
    }

    /// The rows of several tables, all as of one moment.
    pub fn snapshots<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, Snapshot> {
        let state = self.owner.shared.lock();
        tables.into_iter().map(|it| (it.to_owned(), state.snapshot(it))).collect()
    }

    /// Every table's declaration: those given when the store was opened, and those found on disk.
    pub fn tables(&self) -> Vec<Table> {
        let state = self.owner.shared.lock();
        state.tables.iter().map(|(name, held)| Table::from_arrow(name, &held.schema)).collect()
    }

    /// A table's columns.
    pub fn schema(&self, table: &str) -> Option<SchemaRef> {
        Some(Arc::clone(&self.owner.shared.lock().tables.get(table)?.schema))
    }

    /// The directory; [`Segment::file`] is relative to it.
    pub fn dir(&self) -> &Path {
        &self.owner.shared.disk.dir
    }

    /// The folder of files that were set aside.
    pub fn torn_dir(&self) -> PathBuf {
        recover::torn_dir(self.dir())
    }

    /// What the store was opened with.
    pub fn options(&self) -> &Options {
        &self.owner.shared.options
    }

    /// Seals every row that was appended before, and waits for it.
    pub fn seal(&self) -> Result<(), Error> {
        self.owner.shared.seal()
    }

    /// Expires what is not to be kept at `now` (nanoseconds since 1970), and hands over what was
    /// lost since the last call, by whatever cause; what expires is lost once nobody reads it any
    /// more and its file is gone. Call it every few seconds.
    pub fn maintain(&self, now: i64) -> Vec<Loss> {
        self.owner.shared.retain(now);
        self.owner.shared.lock().take_losses(self.dir())
    }

    /// The store in numbers.
    pub fn state(&self) -> StoreState {
        let state = self.owner.shared.lock();
        let tables = state.tables.iter().map(|(name, held)| held.state(name)).collect::<Vec<_>>();
        StoreState {
            hot_bytes: state.hot_bytes as u64,
            segment_bytes: tables.iter().map(|it| it.bytes).sum(),
            bucket_bytes: tables.iter().map(|it| it.bucket_bytes).sum(),
            bucket_listed: state.objects.is_none() || state.tier_listed,
            doubtful_rows: state.doubts.iter().map(|it| it.loss.rows).sum(),
            bucket_failing: state.tier_failure.clone(),
            merged_segments: state.merged.0,
            merged_bytes: state.merged.1,
            failing: state.failure.as_ref().map(|it| it.reason.clone()),
            tables,
        }
    }
}

/// Held by every clone of a store; its end is the store's.
struct Owner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    lock: File,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        self.shared.room.notify_all();
        self.shared.sealed.notify_all();
        self.shared.closes.notify_waiters();
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread of the store panicked");
            }
        }
        // Closing the file would do, but for a child that is being forked just now and has it too.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(dir = %self.shared.disk.dir.display(), %error, "could not unlock");
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("dir", &self.shared.disk.dir).finish_non_exhaustive()
    }
}

/// What callers and the writer's thread share.
struct Shared {
    disk: Disk,
    options: Options,
    footers: Arc<Footers>,
    /// Tells this store's segments from those of one that was here before.
    origin: u64,
    state: Mutex<State>,
    covering: Mutex<Covering>,
    saving: Mutex<()>,
    /// There may be something to seal.
    work: Condvar,
    /// Something was sealed, or failed to be.
    room: Condvar,
    /// There may be something to merge.
    sealed: Condvar,
    /// A replacement was made, or given up.
    replaced: Condvar,
    /// There may be something to upload.
    changed: Notify,
    /// The store closes.
    closes: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, table: &str, batch: RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let rejected = |reason: String| Error::Rows { table: table.to_owned(), reason };
        let (schema, ts) = {
            let state = self.lock();
            let held = state.tables.get(table).and_then(|it| Some((it, it.ts?)));
            let (held, ts) = held.ok_or_else(|| Error::UnknownTable(table.to_owned()))?;
            (Arc::clone(&held.schema), ts)
        };
        same_columns(&schema, batch.schema_ref()).map_err(rejected)?;
        let batch = RecordBatch::try_new(schema, batch.columns().to_vec());
        let rows = batch.and_then(|it| Rows::new(it, ts)).map_err(|it| rejected(it.to_string()))?;
        let bytes = rows.bytes;

        let mut state = self.wait_for_room(table, &rows)?;
        let before = state.hot_bytes;
        let Some(held) = state.tables.get_mut(table) else { return Ok(()) };
        held.appended += rows.len();
        held.since.get_or_insert_with(Instant::now);
        let hot_before = bytes_of(&held.hot);
        hot::push(&mut held.hot, rows);
        let hot_after = bytes_of(&held.hot);
        state.hot_bytes = before + hot_after - hot_before;
        state.write_journal();
        let threshold = self.options.threshold();
        let crossed = before < threshold && before + bytes >= threshold;
        drop(state);
        if crossed || before == 0 {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Waits until `rows` fit beside the rows in memory. When writing fails, the oldest rows in
    /// memory give way; when it is merely too slow, in the end `rows` do.
    fn wait_for_room(&self, table: &str, rows: &Rows) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.lock();
        let fits = |state: &State| {
            state.hot_bytes == 0 || state.hot_bytes + rows.bytes <= self.options.hot_bytes
        };
        if fits(&state) {
            return Ok(state);
        }
        let until = Instant::now() + self.options.append_wait;
        state.waiting += 1;
        self.work.notify_one();
        loop {
            if state.failure.is_some() {
                while !fits(&state) && state.drop_oldest() {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if fits(&state) || left.is_zero() {
                break;
            }
            let waited = self.room.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        if fits(&state) {
            return Ok(state);
        }
        state.lose(Loss {
            table: table.to_owned(),
            from_ts: rows.from,
            to_ts: rows.to,
            stage: stage::DISK,
            rows: rows.len(),
            bytes: rows.bytes as u64,
            detail: "the disk did not keep up".to_owned(),
        });
        state.write_journal();
        Err(Error::Behind { table: table.to_owned(), rows: rows.len() })
    }

    fn seal(&self) -> Result<(), Error> {
        self.seal_where(|_, _| true)
    }

    /// Seals the rows of those tables.
    fn seal_where(&self, which: impl Fn(&str, &Held) -> bool) -> Result<(), Error> {
        let mut state = self.lock();
        let failures = state.failures;
        let mut goals = Vec::new();
        for (name, held) in state.tables.iter_mut().filter(|it| which(it.0, it.1)) {
            held.seal_to = held.appended;
            goals.push((name.clone(), held.appended));
        }
        // A failure before is no reason not to try now.
        if let Some(failure) = &mut state.failure {
            failure.retry_at = Instant::now();
        }
        self.work.notify_one();
        loop {
            let done = |it: &(String, u64)| {
                state.tables.get(&it.0).is_none_or(|held| held.settled >= it.1)
            };
            if goals.iter().all(done) {
                return Ok(());
            }
            if let Some(failure) = &state.failure
                && state.failures > failures
            {
                return Err(Error::NotSealed(failure.reason.clone()));
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The writer's thread.
    fn run(&self) {
        while let Some(job) = self.next_job() {
            let sealed = self.write(&job);
            self.finish(&job, sealed);
            self.retain(now());
        }
    }

    /// Waits for rows to seal; uses the time to check segments. None once the store closes.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            // A folder that was removed before the store was closed was not meant to be kept.
            if state.closing && !self.disk.dir.exists() {
                return None;
            }
            if let Some(job) = state.pick(&self.options, now) {
                return Some(job);
            }
            // What could not be written by now stands in the journal, and is counted as lost by
            // the next process.
            if state.closing {
                state.write_journal();
                return None;
            }
            if let Some(segment) = state.unverified.pop_front() {
                drop(state);
                if let Some(segment) = segment.upgrade() {
                    self.verify(&segment);
                }
                state = self.lock();
                continue;
            }
            let wait = state.idle(&self.options, now);
            let waited = self.work.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the rows; makes room for them on a full disk.
    fn write(&self, job: &Job) -> Result<Segment, Error> {
        let written = catch_unwind(AssertUnwindSafe(|| self.write_or_panic(job)));
        written.unwrap_or_else(|_| {
            let path = self.disk.dir.join(&job.table);
            Err(Error::Damaged { path, reason: "the Parquet writer panicked".to_owned() })
        })
    }

    fn write_or_panic(&self, job: &Job) -> Result<Segment, Error> {
        let draft = Draft {
            target: Target { table: &job.table, schema: &job.schema, ts: job.ts },
            rows: &job.rows,
            seq: job.seq,
            sealed_at: now(),
            origin: self.origin,
        };
        let path = loop {
            match writer::write(&self.disk, &draft, &self.options) {
                Ok(path) => break path,
                Err(error) => {
                    let full = error.is_full_disk();
                    if !full || !self.shed(bytes_of(&job.rows) as u64) {
                        return Err(error);
                    }
                }
            }
        };
        let read = self.disk.may(Step::Read, &path);
        let segment = read
            .and_then(|()| Segment::catalogue(&path, &job.table, Some(&job.schema), &self.footers));
        if let Err(error) = &segment
            && let Err(kept) = self.disk.remove(&path)
        {
            // Sealed again, its rows would come back twice if it can be read one day: they are
            // given up.
            let reason = format!("it can be neither read nor removed: {error}; {kept}");
            return Err(Error::Damaged { path, reason });
        }
        segment
    }

    /// Puts the segment in the place of its rows, or the rows back.
    fn finish(&self, job: &Job, sealed: Result<Segment, Error>) {
        let mut state = self.lock();
        let bytes = bytes_of(&job.rows);
        let rows = job.rows.iter().map(Rows::len).sum::<u64>();
        let Some(held) = state.tables.get_mut(&job.table) else { return };
        held.sealing = None;
        match sealed {
            Ok(segment) => {
                held.segments.push(Arc::new(segment));
                held.settled += rows;
                state.hot_bytes -= bytes;
                state.failure = None;
            }
            Err(error) => {
                if !self.options.scratch || self.disk.dir.exists() {
                    tracing::warn!(table = job.table, %error, "could not seal rows");
                }
                if error.is_passing() {
                    held.hot.splice(0..0, job.rows.iter().cloned());
                    held.since.get_or_insert_with(Instant::now);
                } else {
                    held.settled += rows;
                    state.hot_bytes -= bytes;
                    state.lose(Loss {
                        table: job.table.clone(),
                        from_ts: job.rows.iter().map(|it| it.from).min().unwrap_or_default(),
                        to_ts: job.rows.iter().map(|it| it.to).max().unwrap_or_default(),
                        stage: stage::DISK,
                        rows,
                        bytes: bytes as u64,
                        detail: error.to_string(),
                    });
                }
                let retry_at = Instant::now() + RETRY_AFTER;
                state.failure = Some(Failure { reason: error.to_string(), retry_at });
                state.failures += 1;
            }
        }
        state.write_journal();
        drop(state);
        self.room.notify_all();
        self.sealed.notify_one();
        self.changed.notify_one();
    }

    /// The thread that merges.
    fn run_merges(&self) {
        while let Some(merge) = self.next_merge() {
            let merged = catch_unwind(AssertUnwindSafe(|| self.merge(&merge)));
            let merged = merged.unwrap_or_else(|_| {
                let path = self.disk.dir.join(&merge.table);
                Err(Error::Damaged { path, reason: "merging panicked".to_owned() })
            });
            self.finish_merge(&merge, merged);
        }
    }

    /// Waits for segments to merge. None once the store closes.
    fn next_merge(&self) -> Option<Merge> {
        let mut state = self.lock();
        while !state.closing {
            if let Some(merge) = state.pick_merge(&self.options, Instant::now()) {
                return Some(merge);
            }
            let waited = self.sealed.wait_timeout(state, IDLE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    fn merge(&self, merge: &Merge) -> Result<Option<Segment>, Error> {
        let mut began = Instant::now();
        let rest = || {
            let pause = merge::rest(began.elapsed(), self.options.merge_share);
            let go_on = self.rest(pause);
            began = Instant::now();
            // What has expired, or is to be replaced, need not be written once more.
            let leave = |it: &Arc<Segment>| it.is_expired() || it.wanted.load(Ordering::Relaxed);
            go_on && !merge.inputs.iter().any(leave)
        };
        let path = merge::merge(&self.disk, merge, &self.options, rest)?;
        let Some(path) = path else { return Ok(None) };
        let read = self.disk.may(Step::Read, &path);
        let merged = read.and_then(|()| {
            Segment::catalogue(&path, &merge.table, Some(&merge.schema), &self.footers)
        });
        if merged.is_err()
            && let Err(error) = self.disk.remove(&path)
        {
            // Its rows are still where they were. If it can be read one day, it takes the place of
            // just those, and so they are not merged with others.
            tracing::warn!(%error, "a merged segment can be neither read nor removed");
            merge.inputs.iter().for_each(|it| it.ripe.store(true, Ordering::Relaxed));
        }
        merged.map(Some)
    }

    /// Lets others have the processor. False if what is being done is better left: the store
    /// closes, or the disk fails and needs the room.
    fn rest(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.closing || state.failure.is_some() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            let waited = self.sealed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn finish_merge(&self, merge: &Merge, merged: Result<Option<Segment>, Error>) {
        let failed = merged.is_err();
        if let Err(error) = &merged {
            tracing::warn!(table = merge.table, %error, "could not merge segments");
            if error.is_damage() {
                merge.inputs.iter().for_each(|it| self.verify(it));
            }
        }
        let mut state = self.lock();
        merge.inputs.iter().for_each(|it| it.taken.store(false, Ordering::Relaxed));
        if failed {
            state.merge_at = Instant::now() + MERGE_AFTER;
        }
        if let Ok(Some(merged)) = merged {
            let merged = Arc::new(merged);
            if !state.replace(merge, &merged) {
                // It has rows that were counted as gone.
                merged.expire();
            }
            drop(state);
            self.changed.notify_one();
            tracing::debug!(
                table = merge.table,
                segments = merge.inputs.len(),
                bytes = merged.bytes,
                "merged segments"
            );
        }
    }

    /// Gives up segments for rows of about that size. False if there are none to give up.
    fn shed(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        let shed = retention::shed(state.segments(), &self.options, bytes);
        let any = !shed.is_empty();
        for segment in &shed {
            state.expire(segment, stage::DISK, "given up on a full disk");
        }
        if any {
            state.write_journal();
        }
        drop(state);
        // The files go here, outside the lock.
        drop(shed);
        any
    }

    /// Expires what is not to be kept, and has those segments checked that a reader found damaged.
    fn retain(&self, now: i64) {
        let mut state = self.lock();
        let segments = state.segments();
        let before = state.unverified.len();
        state
            .unverified
            .extend(segments.iter().filter(|it| it.take_suspicion()).map(Arc::downgrade));
        if state.unverified.len() > before {
            self.work.notify_one();
        }
        let expired = retention::expired(segments, &self.options, now);
        for (segment, reason) in &expired {
            state.expire(segment, stage::QUOTA, reason);
        }
        if !expired.is_empty() {
            state.write_journal();
            self.changed.notify_one();
        }
        drop(state);
        // The files go here, outside the lock.
        drop(expired);
    }

    /// Compares a segment with its checksums; sets it aside if they differ.
    fn verify(&self, segment: &Arc<Segment>) {
        if !segment.is_local() {
            return;
        }
        let Err(error) = segment.verify() else { return };
        if !error.is_damage() {
            tracing::warn!(file = segment.file, %error, "could not check a segment");
            return;
        }
        let mut state = self.lock();
        if !state.holds(segment) {
            return;
        }
        match recover::retire(&self.disk, segment, &error.to_string()) {
            // The bucket has it as it was.
            (_, Some(_)) if state.move_to_bucket(segment) => {}
            (_, Some(loss)) => {
                state.remove(segment);
                state.lose_local(segment, loss);
                state.write_journal();
            }
            // It is served on, for what is read of it is checked, and tried again.
            (_, None) => segment.suspect_after(&error),
        }
    }
}

/// Creates a folder that is nobody else's to read: captured traffic holds secrets.
fn create_private(dir: &Path) -> Result<(), Error> {
    let mut folder = DirBuilder::new();
    folder.recursive(true).mode(0o700).create(dir).map_err(Error::io("create", dir))
}

/// Takes the directory for this process.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = file.map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = file.read_to_string(&mut pid).is_ok();
            let pid = read.then(|| pid.trim().parse().ok()).flatten();
            return Err(Error::Locked { dir: dir.to_path_buf(), pid });
        }
        Err(std::fs::TryLockError::Error(source)) => {
            return Err(Error::Io { doing: "lock", path, source });
        }
    }
    file.set_len(0).map_err(Error::io("write", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(Error::io("write", &path))?;
    Ok(file)
}

/// What the thread of the bucket works with; tests bring the store.
fn tier(
    bucket: Option<&Bucket>,
    dir: &Path,
    store: Option<Arc<dyn object_store::ObjectStore>>,
) -> Result<Option<Tier>, Error> {
    let Some(bucket) = bucket else { return Ok(None) };
    let cache = dir.join("cache");
    let open = |cache| match &store {
        Some(store) => {
            Objects::on(Arc::clone(store), &object_store::path::Path::default(), bucket, cache)
        }
        None => Objects::open(bucket, cache),
    };
    let (objects, readers) = (Arc::new(open(None)?), Arc::new(open(Some(cache))?));
    Ok(Some(Tier { bucket: bucket.clone(), objects, readers }))
}

/// What tells a store's segments from all others, in the file `id`: `ORIGIN LIVES`.
struct Identity {
    /// The store's own number, which its segments carry; a new store takes one by chance.
    origin: u64,
    /// The number that it has on this disk: a file of which nothing can be read is taken for one of that.
    kept: u64,
    /// How often it was opened before. Numbers of seals begin anew with each, so that none is taken
    /// twice even where nothing is left of the last one but what is in the bucket.
    lives: u64,
}

impl Identity {
    /// This process's. On a disk that does not keep it, it is that of another store, with numbers of seals that no
    /// other life takes: what is not merged together is all that costs.
    fn next(disk: &Disk) -> Self {
        let found = std::fs::read(disk.dir.join("id"));
        let found = found.ok().and_then(|it| Self::parse(&String::from_utf8_lossy(&it)));
        let chance = || RandomState::new().hash_one(now());
        let new = chance();
        let next = found.map(|it| Self { lives: it.lives.saturating_add(1), ..it });
        let next = next.unwrap_or(Self { origin: new, kept: new, lives: 0 });
        match next.write(disk) {
            Ok(()) => next,
            Err(error) => {
                tracing::warn!(%error, "the store takes another number until it is opened again");
                let lives = STRAY_LIVES + (chance() >> 33);
                Self { origin: new, kept: next.kept, lives }
            }
        }
    }

    fn write(&self, disk: &Disk) -> Result<(), Error> {
        let (path, temporary) = (disk.dir.join("id"), disk.dir.join("id.tmp"));
        let file = disk.create(&temporary)?;
        let text = format!("{:016x} {}\n", self.origin, self.lives);
        let written = disk.write_all(&file, text.as_bytes());
        written.map_err(Error::io("write", &temporary))?;
        disk.sync(&file, &temporary)?;
        disk.rename(&temporary, &path)?;
        disk.sync_dir(&disk.dir)
    }

    fn parse(text: &str) -> Option<Self> {
        let (origin, lives) = text.strip_suffix('\n')?.split_once(' ')?;
        let origin = u64::from_str_radix(origin, 16).ok()?;
        Some(Self { origin, kept: origin, lives: lives.parse().ok()? })
    }
}

/// The table's schema and the index of its column `ts`.
fn check(table: &Table) -> Result<(SchemaRef, usize), Error> {
    let refused =
        |reason: &str| Error::Table { table: table.name.to_string(), reason: reason.to_owned() };
    let plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let taken =
        [recover::TORN, "lock", "journal", "id", "cache", coverage::FILE].contains(&&*table.name);
    if table.name.is_empty() || !table.name.chars().all(plain) || taken {
        return Err(refused("its name does not do for a folder"));
    }
    let schema = table.arrow();
    let (ts, field) =
        schema.column_with_name("ts").ok_or_else(|| refused("it has no column ts"))?;
    let time = matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _));
    if !time || field.is_nullable() {
        return Err(refused("its column ts is not a time, or may be null"));
    }
    Ok((schema, ts))
}

/// Batches may come with other docs, but not with other columns.
fn same_columns(table: &Schema, batch: &Schema) -> Result<(), String> {
    let (ours, theirs) = (table.fields(), batch.fields());
    if ours.len() != theirs.len() {
        return Err(format!("{} columns instead of {}", theirs.len(), ours.len()));
    }
    for (ours, theirs) in ours.iter().zip(theirs) {
        if ours.name() != theirs.name() {
            return Err(format!("column {} instead of {}", theirs.name(), ours.name()));
        }
    }
    Ok(())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The table of what records are made of.
const PACKETS: &str = "packets";
/// A process seals fewer times than this: once a second, it takes three years.
const LIFE_SEALS: u64 = 100_000_000;
/// No store is opened so often; from here on stand the lives of those that could not keep their number.
const STRAY_LIVES: u64 = 1 << 32;
/// After a failed write, nothing is tried for this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After a failed merge, none is tried for this long.
const MERGE_AFTER: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 60_000 });

#[cfg(test)]
mod tests;
