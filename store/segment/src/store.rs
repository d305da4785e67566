//! The store: rows in memory, rows in segments, and the thread that moves them from one to the
//! other.
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use schema::Table;

use crate::catalog::Footers;
use crate::disk::{Disk, Faults, Step};
use crate::hot::Rows;
use crate::journal::{Entry, Journal};
use crate::recover::{self, Found, Recovery};
use crate::writer::{self, Draft};
use crate::{Error, Loss, Segment, hot, retention, stage};

/// How much the store keeps, where, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows in memory, all tables together, take at most this many bytes. Sealing starts at half
    /// of it, so that appending goes on meanwhile. A larger bound makes larger segments.
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
    /// Zstandard's level.
    pub zstd_level: i32,
    /// The store goes with the process: segments are written to be read soon, neither compressed
    /// nor indexed nor synced.
    pub scratch: bool,
    /// A row group has at most this many rows.
    pub row_group_rows: usize,
    /// A row group has about at most this many bytes; one is held in memory while it is written.
    pub row_group_bytes: usize,
    /// Parsed footers take at most this many bytes of memory.
    pub footer_bytes: usize,
    /// How many bytes of the newest segments are compared with their checksums before the store
    /// opens; the rest is checked in the background.
    pub verify_bytes: u64,
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
            zstd_level: 3,
            scratch: false,
            row_group_rows: 128 << 10,
            row_group_bytes: 32 << 20,
            footer_bytes: 32 << 20,
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
    /// Bytes of segments.
    pub segment_bytes: u64,
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
    /// Bytes of segments.
    pub bytes: u64,
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
        Self::open_on(dir, tables, options, None)
    }

    /// [`Store::open`] on a disk that may fail.
    pub(crate) fn open_on(
        dir: &Path,
        tables: &[Table],
        options: Options,
        faults: Option<Arc<dyn Faults>>,
    ) -> Result<(Self, Recovery), Error> {
        create_private(dir)?;
        let dir = dir.canonicalize().map_err(Error::io("open", dir))?;
        let lock = lock(&dir)?;
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
        let (journal, last) = Journal::open(&disk)?;
        let footers = Footers::new(options.footer_bytes);
        let found = recover::recover(&disk, &declared, last, &footers, &options)?;
        let Found { recovery, segments, unverified, next_seq } = found;
        for segment in segments {
            let held = states.entry(segment.table.clone());
            let held = held.or_insert_with(|| Held::new(Arc::clone(&segment.schema), None));
            held.segments.push(segment);
        }
        let state = State {
            tables: states,
            journal,
            hot_bytes: 0,
            next_seq,
            waiting: 0,
            failure: None,
            failures: 0,
            losses: Vec::new(),
            unverified: unverified.iter().map(Arc::downgrade).collect(),
            closing: false,
        };
        let shared = Arc::new(Shared {
            disk,
            options,
            footers,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("segments".to_owned());
        let sealer = Arc::clone(&shared);
        let thread = thread.spawn(move || sealer.run());
        let thread = thread.map_err(Error::io("start the writer of", &shared.disk.dir))?;
        let owner = Owner { shared, thread: Mutex::new(Some(thread)), lock };
        Ok((Self { owner: Arc::new(owner) }, recovery))
    }

    /// Adds rows to a table. The next snapshot has them. Waits while memory is at its bound and
    /// the disk is behind.
    pub fn append(&self, table: &str, batch: RecordBatch) -> Result<(), Error> {
        self.owner.shared.append(table, batch)
    }

    /// A table's rows as of now. A table that isn't there has none.
    pub fn snapshot(&self, table: &str) -> Snapshot {
        let state = self.owner.shared.lock();
        let Some(held) = state.tables.get(table) else {
            let schema = Arc::new(Schema::empty());
            return Snapshot { schema, hot: Vec::new(), segments: Vec::new() };
        };
        Snapshot {
            schema: Arc::clone(&held.schema),
            hot: held.in_memory().map(|it| it.batch.clone()).collect(),
            segments: held.segments.clone(),
        }
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
    /// lost since the last call, by whatever cause. Call it every few seconds.
    pub fn maintain(&self, now: i64) -> Vec<Loss> {
        self.owner.shared.retain(now);
        let mut state = self.owner.shared.lock();
        let losses = std::mem::take(&mut state.losses);
        if !losses.is_empty() {
            state.write_journal();
        }
        losses
    }

    /// The store in numbers.
    pub fn state(&self) -> StoreState {
        let state = self.owner.shared.lock();
        let tables = state.tables.iter().map(|(name, held)| held.state(name)).collect::<Vec<_>>();
        StoreState {
            hot_bytes: state.hot_bytes as u64,
            segment_bytes: tables.iter().map(|it| it.bytes).sum(),
            failing: state.failure.as_ref().map(|it| it.reason.clone()),
            tables,
        }
    }
}

/// Held by every clone of a store; its end is the store's.
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    lock: File,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        self.shared.room.notify_all();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|it| it.join().is_err()) {
            tracing::error!("the thread that writes segments panicked");
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
    state: Mutex<State>,
    /// There may be something to seal.
    work: Condvar,
    /// Something was sealed, or failed to be.
    room: Condvar,
}

struct State {
    tables: BTreeMap<String, Held>,
    journal: Journal,
    /// Bytes of all rows in memory, those being sealed among them.
    hot_bytes: usize,
    next_seq: u64,
    /// How many appends wait for room.
    waiting: usize,
    failure: Option<Failure>,
    /// How often writing failed, ever.
    failures: u64,
    losses: Vec<Loss>,
    unverified: VecDeque<Weak<Segment>>,
    closing: bool,
}

/// The last attempt to write failed.
struct Failure {
    reason: String,
    retry_at: Instant,
}

/// One table.
struct Held {
    schema: SchemaRef,
    /// The index of column `ts`; none if the table can't be appended to.
    ts: Option<usize>,
    hot: Vec<Rows>,
    /// When the first of the rows in memory came.
    since: Option<Instant>,
    /// Rows that are being written, and the number of their segment. Until that is in the list of
    /// segments they are served from here.
    sealing: Option<(u64, Arc<[Rows]>)>,
    /// In the order of sealing.
    segments: Vec<Arc<Segment>>,
    /// Rows appended, ever.
    appended: u64,
    /// Of those, rows that are sealed or lost.
    settled: u64,
    /// Rows up to this many are to be sealed at once.
    seal_to: u64,
}

/// Rows to seal.
struct Job {
    table: String,
    schema: SchemaRef,
    ts: usize,
    seq: u64,
    rows: Arc<[Rows]>,
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
        let crossed = before < self.threshold() && before + bytes >= self.threshold();
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

    fn threshold(&self) -> usize {
        self.options.hot_bytes / 2
    }

    fn seal(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let failures = state.failures;
        let mut goals = Vec::new();
        for (name, held) in &mut state.tables {
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
            table: &job.table,
            schema: &job.schema,
            ts: job.ts,
            rows: &job.rows,
            seq: job.seq,
            sealed_at: now(),
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
        }
        drop(state);
        // The files go here, outside the lock.
        drop(expired);
    }

    /// Compares a segment with its checksum; sets it aside if they differ.
    fn verify(&self, segment: &Arc<Segment>) {
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
            (_, Some(loss)) => {
                state.remove(segment);
                state.lose(loss);
                state.write_journal();
            }
            // It is served on, for what is read of it is checked, and tried again.
            (_, None) => segment.suspect_after(&error),
        }
    }
}

impl State {
    /// The rows to seal next: those asked for, those of the largest table when memory is at its
    /// threshold, those that waited long enough.
    fn pick(&mut self, options: &Options, now: Instant) -> Option<Job> {
        if self.failure.as_ref().is_some_and(|it| now < it.retry_at) {
            return None;
        }
        let pressed = self.waiting > 0 || self.hot_bytes >= options.hot_bytes / 2;
        let due = |it: &Held| {
            self.closing
                || it.settled < it.seal_to
                || it.since.is_some_and(|since| now.duration_since(since) >= options.seal_after)
        };
        let candidates = self.tables.iter().filter(|it| !it.1.hot.is_empty());
        let (name, _) = candidates
            .filter(|it| pressed || due(it.1))
            .max_by_key(|it| (due(it.1), bytes_of(&it.1.hot)))?;
        let name = name.clone();
        let seq = self.next_seq;
        self.next_seq += 1;
        let held = self.tables.get_mut(&name)?;
        let rows = Arc::<[Rows]>::from(std::mem::take(&mut held.hot));
        held.since = None;
        held.sealing = Some((seq, Arc::clone(&rows)));
        let job = Job { table: name, schema: Arc::clone(&held.schema), ts: held.ts?, seq, rows };
        self.write_journal();
        Some(job)
    }

    /// How long nothing will be due, if nothing is appended.
    fn idle(&self, options: &Options, now: Instant) -> Duration {
        let since = self.tables.values().filter_map(|it| it.since);
        let due = since.map(|it| it + options.seal_after).min();
        let retry = self.failure.as_ref().map(|it| it.retry_at).filter(|it| *it > now);
        let next = retry.or(due);
        next.map_or(IDLE, |it| it.saturating_duration_since(now)).min(IDLE)
    }

    /// Drops the oldest rows in memory of the largest table. False if there are none.
    fn drop_oldest(&mut self) -> bool {
        let largest = self.tables.iter_mut().max_by_key(|it| bytes_of(&it.1.hot));
        let Some((name, held)) = largest.filter(|it| !it.1.hot.is_empty()) else { return false };
        let rows = held.hot.remove(0);
        held.settled += rows.len();
        let loss = Loss {
            table: name.clone(),
            from_ts: rows.from,
            to_ts: rows.to,
            stage: stage::DISK,
            rows: rows.len(),
            bytes: rows.bytes as u64,
            detail: "could not be written while memory was full".to_owned(),
        };
        self.hot_bytes -= rows.bytes;
        self.lose(loss);
        true
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        self.tables.values().flat_map(|it| it.segments.iter().cloned()).collect()
    }

    fn holds(&self, segment: &Arc<Segment>) -> bool {
        let held = self.tables.get(&segment.table);
        held.is_some_and(|it| it.segments.iter().any(|it| Arc::ptr_eq(it, segment)))
    }

    /// False if it is gone already.
    fn remove(&mut self, segment: &Arc<Segment>) -> bool {
        let Some(held) = self.tables.get_mut(&segment.table) else { return false };
        let at = held.segments.iter().position(|it| Arc::ptr_eq(it, segment));
        at.map(|it| held.segments.remove(it)).is_some()
    }

    fn expire(&mut self, segment: &Arc<Segment>, stage: &'static str, detail: &str) {
        if !self.remove(segment) {
            return;
        }
        segment.expire();
        self.lose(Loss {
            table: segment.table.clone(),
            from_ts: segment.min_ts,
            to_ts: segment.max_ts,
            stage,
            rows: segment.rows,
            bytes: segment.bytes,
            detail: detail.to_owned(),
        });
    }

    /// Queues a loss. Those of one table, stage and detail are one, so that the queue is bounded
    /// even if nobody asks for it.
    fn lose(&mut self, loss: Loss) {
        let same = |it: &&mut Loss| {
            it.table == loss.table && it.stage == loss.stage && it.detail == loss.detail
        };
        if let Some(before) = self.losses.iter_mut().find(same) {
            before.from_ts = before.from_ts.min(loss.from_ts);
            before.to_ts = before.to_ts.max(loss.to_ts);
            before.rows += loss.rows;
            before.bytes += loss.bytes;
            return;
        }
        if self.losses.len() < QUEUED_LOSSES {
            self.losses.push(loss);
        } else if let Some(last) = self.losses.last_mut() {
            last.rows += loss.rows;
            last.bytes += loss.bytes;
        }
    }

    /// Says in the journal what is in memory, and what nobody was told of yet.
    fn write_journal(&mut self) {
        let mut entries = self.untold();
        for (table, held) in &self.tables {
            let mut add = |seq: Option<u64>, rows: &[Rows]| {
                let (Some(from), Some(to)) =
                    (rows.iter().map(|it| it.from).min(), rows.iter().map(|it| it.to).max())
                else {
                    return;
                };
                let bytes = bytes_of(rows) as u64;
                let rows = rows.iter().map(Rows::len).sum();
                let table = table.clone();
                entries.push(Entry { table, seq, lost: None, rows, bytes, from, to });
            };
            if let Some((seq, rows)) = &held.sealing {
                add(Some(*seq), rows);
            }
            add(None, &held.hot);
        }
        self.journal.write(&entries);
    }

    /// The losses that wait to be told, one for each table and stage.
    fn untold(&self) -> Vec<Entry> {
        let mut entries = Vec::<Entry>::new();
        for loss in self.losses.iter().filter(|it| it.rows > 0) {
            let same =
                |it: &&mut Entry| it.table == loss.table && it.lost.as_deref() == Some(loss.stage);
            if let Some(before) = entries.iter_mut().find(same) {
                before.rows += loss.rows;
                before.bytes += loss.bytes;
                before.from = before.from.min(loss.from_ts);
                before.to = before.to.max(loss.to_ts);
                continue;
            }
            entries.push(Entry {
                table: loss.table.clone(),
                seq: None,
                lost: Some(loss.stage.into()),
                rows: loss.rows,
                bytes: loss.bytes,
                from: loss.from_ts,
                to: loss.to_ts,
            });
        }
        entries
    }
}

impl Held {
    fn new(schema: SchemaRef, ts: Option<usize>) -> Self {
        Self {
            schema,
            ts,
            hot: Vec::new(),
            since: None,
            sealing: None,
            segments: Vec::new(),
            appended: 0,
            settled: 0,
            seal_to: 0,
        }
    }

    /// Rows that are in no segment yet, oldest first.
    fn in_memory(&self) -> impl Iterator<Item = &Rows> {
        self.sealing.iter().flat_map(|it| it.1.iter()).chain(&self.hot)
    }

    fn state(&self, name: &str) -> TableState {
        let hot_rows = self.in_memory().map(Rows::len).sum::<u64>();
        let from = self.in_memory().map(|it| it.from);
        let to = self.in_memory().map(|it| it.to);
        TableState {
            name: name.to_owned(),
            rows: hot_rows + self.segments.iter().map(|it| it.rows).sum::<u64>(),
            hot_rows,
            hot_bytes: self.in_memory().map(|it| it.bytes as u64).sum(),
            bytes: self.segments.iter().map(|it| it.bytes).sum(),
            segments: self.segments.len(),
            oldest: from.chain(self.segments.iter().map(|it| it.min_ts)).min(),
            newest: to.chain(self.segments.iter().map(|it| it.max_ts)).max(),
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

/// The table's schema and the index of its column `ts`.
fn check(table: &Table) -> Result<(SchemaRef, usize), Error> {
    let refused =
        |reason: &str| Error::Table { table: table.name.to_string(), reason: reason.to_owned() };
    let plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let taken = [recover::TORN, "lock", "journal"].contains(&&*table.name);
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

fn bytes_of(rows: &[Rows]) -> usize {
    rows.iter().map(|it| it.bytes).sum()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// After a failed write, nothing is tried for this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The writer's thread looks about at least this often.
const IDLE: Duration = Duration::from_secs(60);
/// Losses kept for whoever asks.
const QUEUED_LOSSES: usize = 1000;

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, StringViewArray, TimestampNanosecondArray};
    use schema::{Field, Kind};

    use super::*;

    fn table(name: &'static str) -> Table {
        let field = |name: &'static str, kind| Field {
            name: name.into(),
            doc: "What it says.".into(),
            kind,
            nullable: false,
        };
        let fields = vec![field("ts", Kind::Time), field("text", Kind::Text)];
        Table { name: name.into(), doc: "Rows.".into(), fields: fields.into() }
    }

    /// `rows` rows that don't compress.
    fn batch(ts: i64, rows: usize) -> RecordBatch {
        let mut state = ts as u64 * 2 + 1;
        let text = (0..rows).map(|_| {
            let word = |_| {
                state =
                    state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                format!("{:016x}", state ^ (state >> 29))
            };
            (0..8).map(word).collect::<String>()
        });
        let text = Arc::new(text.map(Some).collect::<StringViewArray>()) as ArrayRef;
        let ts = TimestampNanosecondArray::from(vec![ts; rows]).with_timezone("UTC");
        RecordBatch::try_new(table("http").arrow(), vec![Arc::new(ts), text]).unwrap()
    }

    fn open(dir: &Path, capacity: u64) -> Store {
        let options = Options {
            hot_bytes: 256 << 10,
            append_wait: Duration::from_secs(30),
            ..Options::default()
        };
        let tables = [table("http"), table("packets")];
        let full = Arc::new(crate::faults::Full(capacity));
        Store::open_on(dir, &tables, options, Some(full)).unwrap().0
    }

    fn rows(store: &Store) -> u64 {
        store.state().tables.iter().map(|it| it.rows).sum()
    }

    #[test]
    fn a_full_disk_costs_the_oldest_segments_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 600 << 10);
        for part in 0..100 {
            let table = if part % 2 == 0 { "http" } else { "packets" };
            store.append(table, batch(part, 200)).unwrap();
        }
        store.seal().unwrap();
        assert!(writer_used(dir.path()) <= 600 << 10);
        let losses = store.maintain(0);
        assert!(losses.iter().all(|it| it.stage == stage::DISK), "{losses:?}");
        let lost = losses.iter().map(|it| it.rows).sum::<u64>();
        assert!(lost > 0);
        assert_eq!(lost + rows(&store), 20_000);
        // The newest are there, of both.
        assert!(store.state().tables.iter().all(|it| it.newest >= Some(98)));
        assert_eq!(store.state().failing, None);
    }

    #[test]
    fn no_disk_at_all_costs_the_oldest_rows_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 0);
        for part in 0..20 {
            store.append("http", batch(part, 200)).unwrap();
        }
        assert!(matches!(store.seal(), Err(Error::NotSealed(_))));
        assert!(store.state().failing.is_some());
        let losses = store.maintain(0);
        let lost = losses.iter().map(|it| it.rows).sum::<u64>();
        assert!(lost > 0 && rows(&store) > 0);
        assert_eq!(lost + rows(&store), 4_000);
        assert!(store.state().hot_bytes <= 256 << 10);
        assert_eq!(store.state().tables[0].newest, Some(19), "the newest stay");
        let left = rows(&store);
        drop(store);
        // What could not be written was in memory only: the next process says so.
        let (_, recovery) = Store::open(dir.path(), &[table("http")], Options::default()).unwrap();
        let lost = recovery.losses.iter().map(|it| it.rows).sum::<u64>();
        assert_eq!((lost, recovery.rows), (left, 0));
    }

    #[test]
    fn a_segment_under_a_scan_survives_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 400 << 10);
        store.append("http", batch(0, 200)).unwrap();
        store.seal().unwrap();
        let scan = store.snapshot("http");
        for part in 1..30 {
            store.append("http", batch(part, 200)).unwrap();
        }
        store.seal().unwrap();
        let read = scan.segments[0].read(None).unwrap();
        assert_eq!(read.map(|it| it.unwrap().num_rows()).sum::<usize>(), 200);
    }

    #[test]
    fn rows_whose_segment_was_finished_before_the_crash_are_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), &[table("http")], Options::default()).unwrap();
        let (store, _) = open();
        store.append("http", batch(1, 10)).unwrap();
        store.seal().unwrap();
        let seq = store.snapshot("http").segments[0].seq;
        drop(store);
        for (said, lost) in [(seq, 0), (seq + 1, 10)] {
            // As the process left it that died after renaming the segment, or before.
            let table = "http".to_owned();
            let seq = Some(said);
            let entry = Entry { table, seq, lost: None, rows: 10, bytes: 1, from: 1, to: 1 };
            let disk = Disk::new(dir.path(), None);
            Journal::open(&disk).unwrap().0.write(&[entry]);
            let (store, recovery) = open();
            assert_eq!(recovery.losses.iter().map(|it| it.rows).sum::<u64>(), lost);
            assert_eq!(rows(&store), 10);
        }
    }

    fn writer_used(dir: &Path) -> u64 {
        let entries = std::fs::read_dir(dir).unwrap().flatten();
        let used = entries.map(|it| match it.metadata().unwrap() {
            found if found.is_dir() => writer_used(&it.path()),
            found => found.len(),
        });
        used.sum()
    }
}
