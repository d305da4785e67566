//! Records in the place of others, all at one moment.
//!
//! The new segments are written beside the tables, then the decision is made durable in one step
//! (`coverage.rs`), then they take their places. Before the decision the old records are there,
//! after it the new ones are, also after a crash.
//!
//! Segments that are replaced are left alone by merging and by the bucket from the moment on that
//! they are wanted. What the bucket has already is not replaced: it is not ours alone any more.
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;

use super::{Shared, Store, now};
use crate::coverage::{Coverage, DRAFT, Replaced};
use crate::hot::Rows;
use crate::name::{Checks, Covers, Name};
use crate::writer::{self, Draft, Target};
use crate::{Error, Segment, Stretch};

/// What is covered, and who is about to change it.
#[derive(Debug, Default)]
pub(super) struct Covering {
    pub(super) coverage: Coverage,
    /// The stretch that is being replaced, and whether rows came meanwhile that it was to be made of.
    replacing: Option<(Range<i64>, bool)>,
    /// Segments that were replaced, as long as somebody reads them.
    gone: Vec<(String, Weak<Segment>)>,
}

impl Store {
    /// The stretches of time whose records were made, and by what, in order.
    pub fn coverage(&self) -> Vec<Stretch> {
        self.owner.shared.covering().coverage.stretches().to_vec()
    }

    /// Says that the records of a stretch were made by `version`, or that they were not made.
    pub fn cover(&self, span: Range<i64>, version: Option<u32>) -> Result<(), Error> {
        let shared = &self.owner.shared;
        let saving = shared.saving();
        let coverage = {
            let mut covering = shared.covering();
            if !covering.coverage.set(&span, version) {
                return Ok(());
            }
            covering.coverage.clone()
        };
        let saved = coverage.save(&shared.disk, !shared.options.scratch);
        drop(saving);
        saved
    }

    /// Says that rows come of which records are made, so that a replacement under way that has not
    /// seen them does not count as all there is.
    pub fn disturb(&self, span: &Range<i64>) {
        let mut covering = self.owner.shared.covering();
        if let Some((replacing, disturbed)) = &mut covering.replacing {
            *disturbed |= replacing.start < span.end && span.start < replacing.end;
        }
    }

    /// When a table's rows are from: the earliest and the latest `ts` of each segment and of each
    /// batch in memory.
    pub fn extents(&self, table: &str) -> Vec<(i64, i64)> {
        let state = self.owner.shared.lock();
        let Some(held) = state.tables.get(table) else { return Vec::new() };
        let hot = held.in_memory().map(|it| (it.from, it.to));
        held.segments.iter().map(|it| (it.min_ts, it.max_ts)).chain(hot).collect()
    }

    /// Begins to replace the rows of `tables` in a stretch of time. One replacement is made at a
    /// time; the next waits for it.
    pub fn replace(&self, tables: &[&str], span: Range<i64>) -> Replacement {
        let shared = Arc::clone(&self.owner.shared);
        let mut covering = shared.covering();
        while covering.replacing.is_some() {
            let waited = shared.replaced.wait(covering);
            covering = waited.unwrap_or_else(PoisonError::into_inner);
        }
        covering.replacing = Some((span.clone(), false));
        drop(covering);
        let tables = tables.iter().map(|it| (*it).to_owned()).collect();
        Replacement { store: self.clone(), tables, span, keeps: None, parts: Vec::new() }
    }
}

/// Rows that are to take the place of others; what is not [committed](Self::commit) never does.
#[derive(Debug)]
pub struct Replacement {
    store: Store,
    tables: Vec<String>,
    span: Range<i64>,
    keeps: Option<Keeps>,
    parts: Vec<Part>,
}

/// Which rows of the stretch are to stay, or which of them are not.
fn within(
    batch: &RecordBatch,
    span: &Range<i64>,
    keeps: Option<Keeps>,
    stay: bool,
) -> BooleanArray {
    let times = batch.column_by_name("ts");
    let Some(times) = times.and_then(|it| it.as_primitive_opt::<TimestampNanosecondType>()) else {
        return BooleanArray::from(vec![false; batch.num_rows()]);
    };
    let within = times.values().iter().map(|it| span.contains(it));
    let column = keeps.and_then(|it| batch.column_by_name(it.0)?.as_string_view_opt());
    let Some((column, (_, value))) = column.zip(keeps) else {
        return within.map(|it| Some(it && !stay)).collect();
    };
    within.zip(column).map(|(within, it)| Some(within && (it == Some(value)) == stay)).collect()
}

/// A column, and the value in it of rows that are not replaced.
type Keeps = (&'static str, &'static str);

/// A segment that is part of no table yet.
#[derive(Debug)]
struct Part {
    table: String,
    path: PathBuf,
    min_ts: i64,
    seq: u64,
    rows: u64,
    checks: Checks,
}

impl Replacement {
    /// Rows with `value` in the text column `column` stay, for they were made of something else.
    #[must_use]
    pub fn keeping(mut self, column: &'static str, value: &'static str) -> Self {
        self.keeps = Some((column, value));
        self
    }

    /// Writes rows to disk. Those that are not in the stretch are added to what the table has.
    pub fn add(&mut self, table: &str, batches: &[RecordBatch]) -> Result<(), Error> {
        self.write(table, batches, now())
    }

    /// What is left to be replaced.
    pub fn span(&self) -> Range<i64> {
        self.span.clone()
    }

    /// Puts the rows written so far in the place of those that the tables have in the stretch up to
    /// `end`, which is made by `version` from then on. It counts as not made without one, or if rows
    /// came since the beginning. What is written after that is for the rest of the stretch.
    pub fn commit(&mut self, end: i64, version: Option<u32>) -> Result<(), Error> {
        let shared = Arc::clone(&self.store.owner.shared);
        let span = self.span.start..end.clamp(self.span.start, self.span.end);
        let fresh = self.parts.len();
        for _ in 0..ATTEMPTS {
            shared.seal_where(|name, held| {
                let overlaps = |it: &Rows| it.from < span.end && span.start <= it.to;
                self.tables.iter().any(|it| it == name) && held.in_memory().any(overlaps)
            })?;
            let there = self.overlapping(&span);
            let old = self.touched(&there, &span)?;
            let _wanted = self.take(&old)?;
            for segment in &old {
                let reaches_out = segment.min_ts < span.start || segment.max_ts >= span.end;
                if reaches_out || (self.keeps.is_some() && self.has(segment, &span, true)?) {
                    self.keep(segment, &span)?;
                }
            }
            if self.decide(&span, &there, &old, version)? {
                self.span.start = span.end;
                return Ok(());
            }
            // Rows were sealed or expired meanwhile: what is to stay is looked at anew.
            self.discard(fresh);
        }
        Err(Error::NotSealed("rows came faster than they were replaced".to_owned()))
    }

    /// The segments with rows in the stretch.
    fn overlapping(&self, span: &Range<i64>) -> Vec<Arc<Segment>> {
        let state = self.store.owner.shared.lock();
        let tables = self.tables.iter().filter_map(|it| state.tables.get(it));
        let segments = tables.flat_map(|it| &it.segments);
        let within = |it: &&Arc<Segment>| it.min_ts < span.end && span.start <= it.max_ts;
        segments.filter(within).cloned().collect()
    }

    /// Those of them that have rows in the stretch: a merged segment may reach far beyond it on both
    /// sides and have none.
    fn touched(
        &self,
        there: &[Arc<Segment>],
        span: &Range<i64>,
    ) -> Result<Vec<Arc<Segment>>, Error> {
        let mut touched = Vec::new();
        for segment in there {
            if segment.is_local() && !self.has(segment, span, false)? {
                continue;
            }
            self.is_ours(segment)?;
            touched.push(Arc::clone(segment));
        }
        Ok(touched)
    }

    /// Whether a segment has rows in the stretch that are to stay, or such that are not.
    fn has(&self, segment: &Arc<Segment>, span: &Range<i64>, stay: bool) -> Result<bool, Error> {
        let (stretch, keeps) = (span.clone(), self.keeps);
        let by = ["ts"].into_iter().chain(keeps.map(|it| it.0)).collect::<Vec<_>>();
        let wanted = move |it: &RecordBatch| within(it, &stretch, keeps, stay);
        for batch in segment.select(&["ts"], span, &by, wanted)? {
            if batch?.num_rows() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the bucket has, or may have, would come back from there.
    fn is_ours(&self, segment: &Segment) -> Result<(), Error> {
        let refused = |reason: &str| {
            let (url, reason) = (segment.file.clone(), reason.to_owned());
            Err(Error::Bucket { url, reason })
        };
        let there = [&segment.uploaded, &segment.tried].map(|it| it.load(Ordering::Relaxed));
        let state = self.store.owner.shared.lock();
        if !segment.is_local() || there.contains(&true) {
            return refused("it has rows of that time, and is not replaced any more");
        }
        if state.objects.is_some() && !state.tier_listed {
            return refused(
                "it has rows of that time, and the bucket has not said yet what it has",
            );
        }
        Ok(())
    }

    /// Has segments left alone by merging and the bucket, and waits until they are.
    fn take(&self, segments: &[Arc<Segment>]) -> Result<Wanted, Error> {
        let wanted = Wanted(segments.to_vec());
        segments.iter().for_each(|it| it.wanted.store(true, Ordering::Relaxed));
        let shared = &self.store.owner.shared;
        let until = Instant::now() + PATIENCE;
        let mut state = shared.lock();
        while segments.iter().any(|it| it.taken.load(Ordering::Relaxed)) {
            if state.closing || Instant::now() >= until {
                let reason = "rows that were to be replaced were being merged or uploaded";
                return Err(Error::NotSealed(reason.to_owned()));
            }
            shared.sealed.notify_all();
            let waited = shared.sealed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        // One may have been uploaded meanwhile.
        segments.iter().try_for_each(|it| self.is_ours(it))?;
        Ok(wanted)
    }

    /// Writes what of a segment lies outside the stretch, or is to stay in it.
    fn keep(&mut self, segment: &Arc<Segment>, span: &Range<i64>) -> Result<(), Error> {
        let (mut kept, mut bytes) = (Vec::new(), 0);
        let wrong = |reason: String| Error::Rows { table: segment.table.clone(), reason };
        for batch in segment.read(None)? {
            let batch = batch?;
            let gives_way = within(&batch, span, self.keeps, false);
            let stays: BooleanArray = gives_way.values().iter().map(|it| Some(!it)).collect();
            let batch = filter_record_batch(&batch, &stays);
            let batch = batch.map_err(|it| wrong(it.to_string()))?;
            bytes += batch.get_array_memory_size();
            kept.push(batch);
            if bytes >= PART_BYTES {
                self.write(&segment.table, &std::mem::take(&mut kept), segment.sealed_at)?;
                bytes = 0;
            }
        }
        self.write(&segment.table, &kept, segment.sealed_at)
    }

    fn write(&mut self, table: &str, batches: &[RecordBatch], at: i64) -> Result<(), Error> {
        let shared = &self.store.owner.shared;
        let filled = batches.iter().filter(|it| it.num_rows() > 0);
        let Some(schema) = filled.clone().next().map(RecordBatch::schema) else { return Ok(()) };
        let wrong = |reason: String| Error::Rows { table: table.to_owned(), reason };
        let ts = schema.index_of("ts").map_err(|it| wrong(it.to_string()))?;
        let rows = filled.map(|it| Rows::new(it.clone(), ts)).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|it| wrong(it.to_string()))?;
        let seq = {
            let mut state = shared.lock();
            let held = state.tables.get_mut(table);
            let held = held.ok_or_else(|| Error::UnknownTable(table.to_owned()))?;
            held.next_seq += 1;
            held.next_seq - 1
        };
        let name = format!("{seq:08}{DRAFT}");
        let target = Target { table, schema: &schema, ts };
        let draft = Draft { target, rows: &rows, seq, sealed_at: at, origin: shared.origin };
        let (path, checks) = writer::write_aside(&shared.disk, &draft, &name, &shared.options)?;
        self.parts.push(Part {
            table: table.to_owned(),
            path,
            min_ts: rows.iter().map(|it| it.from).min().unwrap_or_default(),
            seq,
            rows: rows.iter().map(Rows::len).sum(),
            checks,
        });
        Ok(())
    }

    /// Puts the parts in the place of `old`, unless other segments than `there` are in the stretch by
    /// now.
    fn decide(
        &mut self,
        span: &Range<i64>,
        there: &[Arc<Segment>],
        old: &[Arc<Segment>],
        version: Option<u32>,
    ) -> Result<bool, Error> {
        let shared = Arc::clone(&self.store.owner.shared);
        let dir = &shared.disk.dir;
        let name = |part: &Part| {
            let Part { min_ts, seq, rows, checks, .. } = *part;
            let name = Name { min_ts, covers: Covers::one(seq), rows, checks };
            format!("{}/{name}", part.table)
        };
        let named = self.parts.iter().map(name).collect::<Vec<_>>();
        let now_there = self.overlapping(span);
        let same = now_there.len() == there.len()
            && now_there.iter().zip(there).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            return Ok(false);
        }
        let relative = |part: &Part| {
            let file = part.path.file_name().unwrap_or_default().to_string_lossy();
            format!("{}/{file}", part.table)
        };
        let saving = shared.saving();
        let (before, mut coverage) = {
            let mut covering = shared.covering();
            covering.gone.retain(|it| it.1.strong_count() > 0);
            let gone = old.iter().map(|it| (it.file.clone(), Arc::downgrade(it)));
            covering.gone.extend(gone);
            let mut coverage = covering.coverage.clone();
            coverage.set(span, version.filter(|_| !covering.is_disturbed()));
            coverage.replaced = Replaced {
                names: self.parts.iter().map(relative).zip(named.iter().cloned()).collect(),
                gone: covering.gone.iter().map(|it| it.0.clone()).collect(),
            };
            (covering.coverage.clone(), coverage)
        };
        let durable = !shared.options.scratch;
        coverage.save(&shared.disk, durable)?;
        let parts = std::mem::take(&mut self.parts);
        let segments = match self.place(&parts, &named) {
            Ok(segments) => segments,
            Err(error) => {
                // It was decided, but can't be: what there was stays.
                before.save(&shared.disk, durable)?;
                let named = named.iter().map(|it| dir.join(it));
                for path in parts.iter().map(|it| it.path.clone()).chain(named) {
                    if path.exists() {
                        shared.disk.remove(&path)?;
                    }
                }
                return Err(error);
            }
        };
        let disturbed = {
            let mut covering = shared.covering();
            // Rows that came while it was written down are not in it.
            let disturbed = covering.is_disturbed() && coverage.set(span, None);
            covering.coverage = coverage.clone();
            disturbed
        };
        if disturbed {
            coverage.save(&shared.disk, durable)?;
        }
        drop(saving);
        let mut state = shared.lock();
        for segment in old {
            if state.remove(segment) {
                segment.expire();
            }
        }
        for segment in segments {
            state.insert(Arc::new(segment), shared.origin);
        }
        drop(state);
        shared.sealed.notify_all();
        Ok(true)
    }

    /// Gives the parts their names.
    fn place(&self, parts: &[Part], named: &[String]) -> Result<Vec<Segment>, Error> {
        let shared = &self.store.owner.shared;
        let dir = &shared.disk.dir;
        let mut segments = Vec::with_capacity(named.len());
        for (part, name) in parts.iter().zip(named) {
            let path = dir.join(name);
            shared.disk.rename(&part.path, &path)?;
            let schema = self.store.schema(&part.table);
            let segment = Segment::catalogue(&path, &part.table, schema.as_ref(), &shared.footers);
            segments.push(segment?);
        }
        if !shared.options.scratch {
            let folders = parts.iter().map(|it| dir.join(&it.table)).collect::<BTreeSet<_>>();
            folders.iter().try_for_each(|it| shared.disk.sync_dir(it))?;
        }
        Ok(segments)
    }

    /// Removes what was written, but for the first `keep` parts.
    fn discard(&mut self, keep: usize) {
        for part in self.parts.drain(keep.min(self.parts.len())..) {
            if let Err(error) = self.store.owner.shared.disk.remove(&part.path) {
                tracing::warn!(path = %part.path.display(), %error, "could not delete a draft");
            }
        }
    }
}

/// Segments that are left alone as long as this lives.
struct Wanted(Vec<Arc<Segment>>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.iter().for_each(|it| it.wanted.store(false, Ordering::Relaxed));
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        self.discard(0);
        let shared = &self.store.owner.shared;
        shared.covering().replacing = None;
        shared.replaced.notify_all();
    }
}

impl Shared {
    pub(super) fn covering(&self) -> MutexGuard<'_, Covering> {
        self.covering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by whoever writes the coverage down, so that looking at it waits for no disk.
    fn saving(&self) -> MutexGuard<'_, ()> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Covering {
    fn is_disturbed(&self) -> bool {
        self.replacing.as_ref().is_some_and(|it| it.1)
    }

    pub(super) fn new(coverage: Coverage) -> Self {
        Self { coverage, ..Self::default() }
    }
}

/// How long segments may be in other hands.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(20);
/// How often what stays outside the stretch is looked at anew.
const ATTEMPTS: usize = 5;
/// Rows of a segment that are copied at a time.
const PART_BYTES: usize = 16 << 20;
