//! What the store knows at a moment, under one lock.
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arrow_schema::{Schema, SchemaRef};

use super::{Snapshot, TableState};
use crate::bucket::Objects;
use crate::catalog::Known;
use crate::hot::Rows;
use crate::journal::{Entry, Journal};
use crate::merge::{self, Merge};
use crate::recover::Doubt;
use crate::retention::nanoseconds;
use crate::{Loss, Options, Segment, stage};

pub(super) struct State {
    pub(super) tables: BTreeMap<String, Held>,
    pub(super) journal: Journal,
    /// Bytes of all rows in memory, those being sealed among them.
    pub(super) hot_bytes: usize,
    /// How many appends wait for room.
    pub(super) waiting: usize,
    pub(super) failure: Option<Failure>,
    /// How often writing failed, ever.
    pub(super) failures: u64,
    pub(super) losses: Vec<Loss>,
    /// What is lost unless the bucket has it, until that is known.
    pub(super) doubts: Vec<Doubt>,
    /// What is lost once its file is gone: somebody may still read it, and a process that dies
    /// before it is gone leaves it to be served by the next.
    pub(super) leaving: Vec<Doubt>,
    pub(super) unverified: VecDeque<Weak<Segment>>,
    /// Nothing is merged before.
    pub(super) merge_at: Instant,
    /// Where segments are that expired here, if there is such a place.
    pub(super) objects: Option<Arc<Objects>>,
    /// What the bucket has is known.
    pub(super) tier_listed: bool,
    /// Why the bucket does not do what is asked of it.
    pub(super) tier_failure: Option<String>,
    /// Segments that were merged into others, ever, and their bytes.
    pub(super) merged: (u64, u64),
    pub(super) closing: bool,
}

/// The last attempt to write failed.
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) retry_at: Instant,
}

/// One table.
pub(super) struct Held {
    pub(super) schema: SchemaRef,
    /// The index of column `ts`; none if the table can't be appended to.
    pub(super) ts: Option<usize>,
    pub(super) hot: Vec<Rows>,
    /// When the first of the rows in memory came.
    pub(super) since: Option<Instant>,
    /// Rows that are being written, and the number of their segment. Until that is in the list of
    /// segments they are served from here.
    pub(super) sealing: Option<(u64, Arc<[Rows]>)>,
    /// In the order of sealing.
    pub(super) segments: Vec<Arc<Segment>>,
    /// The number of the next seal: each has its own, within the table and for ever.
    pub(super) next_seq: u64,
    /// Rows appended, ever.
    pub(super) appended: u64,
    /// Of those, rows that are sealed or lost.
    pub(super) settled: u64,
    /// Rows up to this many are to be sealed at once.
    pub(super) seal_to: u64,
}

/// Rows to seal.
pub(super) struct Job {
    pub(super) table: String,
    pub(super) schema: SchemaRef,
    pub(super) ts: usize,
    pub(super) seq: u64,
    pub(super) rows: Arc<[Rows]>,
}

impl State {
    pub(super) fn snapshot(&self, table: &str) -> Snapshot {
        let Some(held) = self.tables.get(table) else {
            let schema = Arc::new(Schema::empty());
            return Snapshot { schema, hot: Vec::new(), segments: Vec::new() };
        };
        Snapshot {
            schema: Arc::clone(&held.schema),
            hot: held.in_memory().map(|it| it.batch.clone()).collect(),
            segments: held.segments.clone(),
        }
    }

    /// The rows to seal next: those asked for, those of the largest table when memory is at its
    /// threshold, those that waited long enough.
    pub(super) fn pick(&mut self, options: &Options, now: Instant) -> Option<Job> {
        if self.failure.as_ref().is_some_and(|it| now < it.retry_at) {
            return None;
        }
        let pressed = self.waiting > 0 || self.hot_bytes >= options.threshold();
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
        let held = self.tables.get_mut(&name)?;
        let seq = held.next_seq;
        held.next_seq += 1;
        let mut bytes = 0;
        let taken = held.hot.iter().take_while(|it| {
            let more = bytes < options.sealed_bytes();
            bytes += it.bytes;
            more
        });
        let taken = taken.count();
        let rows = held.hot.drain(..taken).collect::<Arc<[Rows]>>();
        if held.hot.is_empty() {
            held.since = None;
        }
        held.sealing = Some((seq, Arc::clone(&rows)));
        let job = Job { table: name, schema: Arc::clone(&held.schema), ts: held.ts?, seq, rows };
        self.write_journal();
        Some(job)
    }

    /// The segments to merge next, of the table that has most of them to merge.
    pub(super) fn pick_merge(&mut self, options: &Options, now: Instant) -> Option<Merge> {
        if self.closing || self.failure.is_some() || now < self.merge_at {
            return None;
        }
        let after = options.bucket.as_ref().map(|it| it.after);
        let tables = self.tables.iter().filter_map(|(name, held)| {
            let few = || {
                let ripe = merge::ripe(&held.segments, options, after?, super::now());
                (ripe.len() > 1).then_some((ripe, true))
            };
            let many = merge::choose(&held.segments, name, options);
            let (inputs, ripe) = many.map(|it| (it, false)).or_else(few)?;
            let (schema, table) = (Arc::clone(&inputs.first()?.schema), name.clone());
            let hurried = merge::is_behind(&held.segments, inputs.len(), options);
            Some(Merge { table, ts: schema.index_of("ts").ok()?, schema, inputs, ripe, hurried })
        });
        let merge = tables.max_by_key(|it| it.inputs.len())?;
        merge.inputs.iter().for_each(|it| it.taken.store(true, Ordering::Relaxed));
        Some(merge)
    }

    /// Puts a merged segment in the place of what it was made of. False if a part of that is gone:
    /// it expired, or was found damaged, and has been counted.
    pub(super) fn replace(&mut self, merge: &Merge, merged: &Arc<Segment>) -> bool {
        let Some(held) = self.tables.get_mut(&merge.table) else { return false };
        let place = |it: &Arc<Segment>| held.segments.iter().position(|at| Arc::ptr_eq(at, it));
        let Some(places) = merge.inputs.iter().map(place).collect::<Option<Vec<_>>>() else {
            return false;
        };
        let Some(first) = places.iter().copied().min() else { return false };
        held.segments[first] = Arc::clone(merged);
        held.segments.retain(|it| !merge.inputs.iter().any(|input| Arc::ptr_eq(it, input)));
        merged.ripe.store(merge.ripe, Ordering::Relaxed);
        merge.inputs.iter().for_each(|it| it.expire());
        self.merged.0 += merge.inputs.len() as u64;
        self.merged.1 += merge.inputs.iter().map(|it| it.bytes).sum::<u64>();
        true
    }

    /// The segment to upload next: one that is large, was merged for it, or is old and has no
    /// neighbours to be merged with; the one sealed first.
    pub(super) fn pick_upload(&mut self, options: &Options, now: i64) -> Option<Arc<Segment>> {
        let bucket = options.bucket.as_ref()?;
        let oldest = bucket.keep_age.map_or(i64::MIN, |it| now.saturating_sub(nanoseconds(it)));
        let tables = self.tables.values().flat_map(|held| {
            let ready = |it: &&Arc<Segment>| {
                let ripe = it.ripe.load(Ordering::Relaxed);
                let free = it.is_local()
                    && !it.wanted.load(Ordering::Relaxed)
                    && !it.taken.load(Ordering::Relaxed)
                    && !it.uploaded.load(Ordering::Relaxed);
                free && (ripe || merge::is_large(it, options))
            };
            let alone = merge::ripe(&held.segments, options, bucket.after, now);
            let alone = if alone.len() == 1 { alone } else { Vec::new() };
            held.segments.iter().filter(ready).cloned().chain(alone)
        });
        let kept = tables.filter(|it| it.sealed_at >= oldest);
        let segment = kept.min_by_key(|it| it.sealed_at)?;
        segment.taken.store(true, Ordering::Relaxed);
        Some(segment)
    }

    /// Adds a segment where its number belongs. Those of other stores come first.
    pub(super) fn insert(&mut self, segment: Arc<Segment>, own: u64) {
        let held = self.tables.entry(segment.table.clone());
        let held = held.or_insert_with(|| Held::new(Arc::clone(&segment.schema), None));
        let place = |it: &Segment| (it.origin == own, it.covers().first);
        let at = held.segments.partition_point(|it| place(it) <= place(&segment));
        held.segments.insert(at, segment);
    }

    /// The bucket keeps a segment no longer.
    pub(super) fn expire_in_bucket(&mut self, segment: &Arc<Segment>, detail: &str) {
        segment.outlived.store(true, Ordering::Relaxed);
        if segment.is_local() {
            if let Some(objects) = &self.objects {
                objects.forget(&segment.known());
            }
            return;
        }
        if self.remove(segment) {
            segment.expire();
            self.lose(lost(segment, stage::QUOTA, detail));
        }
    }

    /// A segment is not where the bucket's manifest said.
    pub(super) fn lose_known(&mut self, segment: &Known, detail: &str) {
        let on_disk = self.tables.get(&segment.table).is_some_and(|held| {
            held.segments.iter().any(|it| it.is_local() && it.name == segment.name)
        });
        let mut doubts = self.doubts.iter();
        // Of those, it will be said otherwise.
        let doubted = doubts.any(|it| it.name == segment.name && it.loss.table == segment.table);
        if on_disk || doubted {
            return;
        }
        self.lose(Loss {
            table: segment.table.clone(),
            from_ts: segment.min_ts,
            to_ts: segment.max_ts,
            stage: stage::TORN,
            rows: segment.name.rows,
            bytes: segment.bytes,
            detail: detail.to_owned(),
        });
    }

    /// How long nothing will be due, if nothing is appended.
    pub(super) fn idle(&self, options: &Options, now: Instant) -> Duration {
        let since = self.tables.values().filter_map(|it| it.since);
        let due = since.map(|it| it + options.seal_after).min();
        let retry = self.failure.as_ref().map(|it| it.retry_at).filter(|it| *it > now);
        let next = retry.or(due);
        next.map_or(IDLE, |it| it.saturating_duration_since(now)).min(IDLE)
    }

    /// Drops the oldest rows in memory of the largest table. False if there are none.
    pub(super) fn drop_oldest(&mut self) -> bool {
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

    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.tables.values().flat_map(|it| it.segments.iter().cloned()).collect()
    }

    pub(super) fn holds(&self, segment: &Arc<Segment>) -> bool {
        let held = self.tables.get(&segment.table);
        held.is_some_and(|it| it.segments.iter().any(|it| Arc::ptr_eq(it, segment)))
    }

    /// False if it is gone already.
    pub(super) fn remove(&mut self, segment: &Arc<Segment>) -> bool {
        let Some(held) = self.tables.get_mut(&segment.table) else { return false };
        let at = held.segments.iter().position(|it| Arc::ptr_eq(it, segment));
        at.map(|it| held.segments.remove(it)).is_some()
    }

    pub(super) fn expire(&mut self, segment: &Arc<Segment>, stage: &'static str, detail: &str) {
        if self.move_to_bucket(segment) {
            segment.expire();
            return;
        }
        if !self.remove(segment) {
            return;
        }
        segment.expire();
        self.lose_local(segment, lost(segment, stage, detail));
    }

    /// Queues the loss of a segment that is gone from the disk.
    pub(super) fn lose_local(&mut self, segment: &Segment, loss: Loss) {
        let Some(objects) = &self.objects else {
            self.leaving.push(Doubt::of(segment, loss));
            return;
        };
        // The bucket may have it all the same, or what it was merged of: it is lost once it surely
        // has not.
        if segment.tried.load(Ordering::Relaxed) {
            objects.forget(&segment.known());
        }
        self.doubt(Doubt::of(segment, loss));
    }

    /// Takes what was lost since the last call, by whatever cause, but for segments whose files are
    /// still in `dir`.
    pub(super) fn take_losses(&mut self, dir: &Path) -> Vec<Loss> {
        let is_gone = |it: &Doubt| !dir.join(&it.loss.table).join(it.name.to_string()).exists();
        let gone = self.leaving.extract_if(.., |it| is_gone(it)).collect::<Vec<_>>();
        gone.into_iter().for_each(|it| self.lose(it.loss));
        let losses = std::mem::take(&mut self.losses);
        if !losses.is_empty() {
            self.write_journal();
        }
        losses
    }

    fn doubt(&mut self, doubt: Doubt) {
        if self.doubts.len() < QUEUED_LOSSES {
            self.doubts.push(doubt);
        } else {
            self.leaving.push(doubt);
        }
    }

    /// Now it is known how many of their rows the bucket has.
    pub(super) fn settle(&mut self, doubts: &[Doubt], rows: impl Fn(&Doubt) -> u64) {
        let settled = self.doubts.extract_if(.., |it| doubts.contains(it)).collect::<Vec<_>>();
        let any = !settled.is_empty();
        for mut doubt in settled {
            doubt.loss.rows = doubt.loss.rows.saturating_sub(rows(&doubt));
            if doubt.loss.rows > 0 {
                self.leaving.push(doubt);
            }
        }
        if any {
            self.write_journal();
        }
    }

    /// From now on a segment is read from the bucket. False if it has not got it.
    pub(super) fn move_to_bucket(&mut self, segment: &Arc<Segment>) -> bool {
        if segment.is_local()
            && segment.is_in_bucket()
            && let Some(objects) = &self.objects
            && let Some(held) = self.tables.get_mut(&segment.table)
            && let Some(place) = held.segments.iter_mut().find(|it| Arc::ptr_eq(it, segment))
        {
            *place = Arc::new(segment.in_bucket(objects));
            return true;
        }
        false
    }

    /// Queues a loss. Those of one table, stage and detail are one, so that the queue is bounded
    /// even if nobody asks for it.
    pub(super) fn lose(&mut self, loss: Loss) {
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
    pub(super) fn write_journal(&mut self) {
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
                entries.push(Entry { table, seq, rows, bytes, from, to, ..Entry::default() });
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
        let unsure = self.doubts.iter().map(|it| (it, false));
        let named = unsure.chain(self.leaving.iter().map(|it| (it, true)));
        let named = named.map(|(Doubt { name, origin, seals, loss }, sure)| Entry {
            table: loss.table.clone(),
            seq: None,
            seals: Some(seals.to_string()),
            lost: Some(loss.stage.into()),
            file: Some(name.to_string()),
            origin: Some(*origin),
            sure,
            rows: loss.rows,
            bytes: loss.bytes,
            from: loss.from_ts,
            to: loss.to_ts,
        });
        let mut entries = named.collect::<Vec<_>>();
        for loss in self.losses.iter().filter(|it| it.rows > 0) {
            let same = |it: &&mut Entry| {
                it.table == loss.table
                    && it.lost.as_deref() == Some(loss.stage)
                    && it.file.is_none()
            };
            if let Some(before) = entries.iter_mut().find(same) {
                before.rows += loss.rows;
                before.bytes += loss.bytes;
                before.from = before.from.min(loss.from_ts);
                before.to = before.to.max(loss.to_ts);
                continue;
            }
            entries.push(Entry {
                table: loss.table.clone(),
                lost: Some(loss.stage.into()),
                rows: loss.rows,
                bytes: loss.bytes,
                from: loss.from_ts,
                to: loss.to_ts,
                ..Entry::default()
            });
        }
        entries
    }
}

impl Held {
    pub(super) fn new(schema: SchemaRef, ts: Option<usize>) -> Self {
        Self {
            schema,
            ts,
            hot: Vec::new(),
            since: None,
            sealing: None,
            segments: Vec::new(),
            next_seq: 0,
            appended: 0,
            settled: 0,
            seal_to: 0,
        }
    }

    /// Rows that are in no segment yet, oldest first.
    pub(super) fn in_memory(&self) -> impl Iterator<Item = &Rows> {
        self.sealing.iter().flat_map(|it| it.1.iter()).chain(&self.hot)
    }

    pub(super) fn state(&self, name: &str) -> TableState {
        let hot_rows = self.in_memory().map(Rows::len).sum::<u64>();
        let from = self.in_memory().map(|it| it.from);
        let to = self.in_memory().map(|it| it.to);
        TableState {
            name: name.to_owned(),
            rows: hot_rows + self.segments.iter().map(|it| it.rows).sum::<u64>(),
            hot_rows,
            hot_bytes: self.in_memory().map(|it| it.bytes as u64).sum(),
            bytes: self.segments.iter().filter(|it| it.is_local()).map(|it| it.bytes).sum(),
            bucket_bytes: self
                .segments
                .iter()
                .filter(|it| it.is_in_bucket())
                .map(|it| it.bytes)
                .sum(),
            segments: self.segments.len(),
            oldest: from.chain(self.segments.iter().map(|it| it.min_ts)).min(),
            newest: to.chain(self.segments.iter().map(|it| it.max_ts)).max(),
        }
    }
}

fn lost(segment: &Segment, stage: &'static str, detail: &str) -> Loss {
    Loss {
        table: segment.table.clone(),
        from_ts: segment.min_ts,
        to_ts: segment.max_ts,
        stage,
        rows: segment.rows,
        bytes: segment.bytes,
        detail: detail.to_owned(),
    }
}

pub(super) fn bytes_of(rows: &[Rows]) -> usize {
    rows.iter().map(|it| it.bytes).sum()
}

/// The writer's thread looks about at least this often.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Losses kept for whoever asks.
const QUEUED_LOSSES: usize = 1000;
