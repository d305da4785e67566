//! Many small segments → one, in the background.
//!
//! Neighbours in the order of sealing are merged, sixteen or more at a time, so that every rewrite
//! of a row makes the segment it lies in some times larger: a row is rewritten once or twice, and
//! of a table with much traffic once. One merge runs at a time, on a thread of its own that rests
//! in proportion to what it works, and lets go when the disk is full. The merged segment's name
//! says which it replaces, so that a crash at any point leaves either those or it.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave_record_batch;

use crate::disk::Disk;
use crate::hot::times;
use crate::name::Seals;
use crate::reader::Batches;
use crate::retention::{Class, nanoseconds};
use crate::writer::{Facts, Target, Unfinished};
use crate::{Error, Options, Segment};

/// Whether a table's segments, `inputs` of which are merged next, come faster than they are merged.
pub(crate) fn is_behind(segments: &[Arc<Segment>], inputs: usize, options: &Options) -> bool {
    let small = segments.iter().filter(|it| it.is_free() && !is_large(it, options));
    small.count() >= inputs + BEHIND_MERGES * options.merge_inputs.max(2)
}

/// Segments that are to become one.
#[derive(Debug)]
pub(crate) struct Merge {
    pub(crate) table: String,
    pub(crate) schema: SchemaRef,
    pub(crate) ts: usize,
    /// Neighbours, in the order of sealing.
    pub(crate) inputs: Vec<Arc<Segment>>,
    /// What comes of it goes to the bucket.
    pub(crate) ripe: bool,
    /// More waits than can be merged well.
    pub(crate) hurried: bool,
}

/// Which of a table's segments, given in the order of sealing, to merge next: the newest
/// neighbours that are small, enough of them, and none so large that it would be rewritten for
/// little.
pub(crate) fn choose(
    segments: &[Arc<Segment>],
    table: &str,
    options: &Options,
) -> Option<Vec<Arc<Segment>>> {
    let bytes = options.merge_bytes.min(Class::of(table).quota(options) / QUOTA_PARTS);
    let spread = options.keep_age.map_or(i64::MAX, |it| nanoseconds(it) / AGE_PARTS);
    for last in (0..segments.len()).rev() {
        let (mut sum, mut largest) = (0, 0);
        for (n, it) in segments[..=last].iter().rev().take(MAX_INPUTS).enumerate() {
            let newest = &segments[last];
            sum += it.bytes;
            largest = largest.max(it.bytes);
            let fits = it.bytes <= bytes / SMALL_PARTS
                && sum <= bytes
                && it.schema == newest.schema
                && newest.sealed_at.abs_diff(it.sealed_at) <= spread.unsigned_abs()
                && it.origin == newest.origin
                && it.is_free();
            if !fits {
                break;
            }
            if n + 1 >= options.merge_inputs.max(2) && largest <= sum / LARGEST_PART {
                return Some(segments[last - n..=last].to_vec());
            }
        }
    }
    None
}

/// Small segments that have waited for long enough, from the oldest on, given in the order of
/// sealing: what of them is neighbours goes to the bucket as one. Those half as old come along.
pub(crate) fn ripe(
    segments: &[Arc<Segment>],
    options: &Options,
    after: Duration,
    now: i64,
) -> Vec<Arc<Segment>> {
    let old = |it: &Segment, age: i64| it.sealed_at <= now.saturating_sub(age);
    let age = nanoseconds(after);
    let Some(first) = segments.iter().position(|it| it.is_free() && old(it, age)) else {
        return Vec::new();
    };
    let (mut sum, oldest) = (0, &segments[first]);
    let together = segments[first..].iter().take(MAX_INPUTS).take_while(|it| {
        sum += it.bytes;
        options.merge_bytes > 0
            && sum <= options.merge_bytes
            && it.is_free()
            && !is_large(it, options)
            && old(it, age / 2)
            && it.schema == oldest.schema
            && it.origin == oldest.origin
    });
    let together = together.cloned().collect::<Vec<_>>();
    if together.is_empty() { vec![Arc::clone(oldest)] } else { together }
}

/// Whether a segment is not merged with others for its size.
pub(crate) fn is_large(segment: &Segment, options: &Options) -> bool {
    segment.bytes > options.merge_bytes / SMALL_PARTS
}

/// Whether a file is a merge that was not finished.
pub(crate) fn is_unfinished(name: &str) -> bool {
    let number = name.strip_suffix(UNFINISHED);
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
}

/// Writes the merged segment and returns its path. `rest` is called often; merging stops when it
/// says so.
pub(crate) fn merge(
    disk: &Disk,
    merge: &Merge,
    options: &Options,
    mut rest: impl FnMut() -> bool,
) -> Result<Option<PathBuf>, Error> {
    let inputs = &merge.inputs;
    let seals = Seals::join(inputs.iter().map(|it| &it.seals));
    // Whose seals they are: not of this process's store, if the disk did not keep its number.
    let origin = inputs.first().map(|it| it.origin);
    let Some((covers, origin)) = seals.covers().zip(origin) else { return Ok(None) };
    let target = Target { table: &merge.table, schema: &merge.schema, ts: merge.ts };
    let temporary = format!("{:08}{UNFINISHED}", covers.first);
    let mut layout = options.merged;
    if merge.hurried {
        layout.zstd_level = layout.zstd_level.min(HURRIED_LEVEL);
    }
    let mut unfinished = Unfinished::begin(disk, target, &temporary, &layout, false)?;
    let mut ordered = Ordered::new(merge);
    let mut rows = 0;
    while let Some(batch) = ordered.next()? {
        unfinished.write(&batch)?;
        rows += batch.num_rows() as u64;
        if !rest() {
            return Ok(None);
        }
    }
    if rows != inputs.iter().map(|it| it.rows).sum::<u64>() {
        let path = disk.dir.join(&merge.table).join(temporary);
        return Err(Error::Damaged { path, reason: "rows were lost while merging".to_owned() });
    }
    let path = unfinished.finish(Facts {
        from: inputs.iter().map(|it| it.min_ts).min().unwrap_or_default(),
        to: inputs.iter().map(|it| it.max_ts).max().unwrap_or_default(),
        sealed_at: inputs.iter().map(|it| it.sealed_at).max().unwrap_or_default(),
        seals,
        origin,
    })?;
    Ok(Some(path))
}

/// The rows of several segments in the order of `ts`. Those of the same time come in the order of
/// sealing. A segment is opened when the first of its rows is due and closed after the last.
struct Ordered<'a> {
    merge: &'a Merge,
    /// Segments that are not open yet, the earliest last.
    closed: Vec<usize>,
    open: Vec<Cursor>,
    /// The next row's time of each open segment, and which it is.
    next: BinaryHeap<Reverse<(i64, usize)>>,
}

/// An open segment.
struct Cursor {
    input: usize,
    batches: Batches,
    batch: RecordBatch,
    row: usize,
}

impl<'a> Ordered<'a> {
    fn new(merge: &'a Merge) -> Self {
        let mut closed = (0..merge.inputs.len()).collect::<Vec<_>>();
        closed.sort_by_key(|it| Reverse((merge.inputs[*it].min_ts, *it)));
        Self { merge, closed, open: Vec::new(), next: BinaryHeap::new() }
    }

    /// The next rows, [`STEP_ROWS`] of them or fewer.
    fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        // Whole batches are held until rows of them are copied; most often they come from one.
        let mut held: Vec<RecordBatch> = Vec::new();
        let mut holds = Vec::new();
        let mut order: Vec<(usize, usize)> = Vec::with_capacity(STEP_ROWS);
        while order.len() < STEP_ROWS {
            let Some(at) = self.earliest()? else { break };
            let ts = self.merge.ts;
            let cursor = &mut self.open[at];
            let n = match holds.iter().position(|it| *it == cursor.input) {
                Some(n) => n,
                None => {
                    holds.push(cursor.input);
                    held.push(cursor.batch.clone());
                    held.len() - 1
                }
            };
            order.push((n, cursor.row));
            cursor.row += 1;
            if cursor.row < cursor.batch.num_rows() {
                let next = times(&cursor.batch, ts)[cursor.row];
                self.next.push(Reverse((next, cursor.input)));
                continue;
            }
            // Its place in `held` is taken; the rows of the next batch get another.
            if let Some(gone) = holds.iter_mut().find(|it| **it == cursor.input) {
                *gone = usize::MAX;
            }
            self.advance(at)?;
        }
        let batch = match (order.first(), held.as_slice()) {
            (None, _) => return Ok(None),
            (Some((_, first)), [only]) => only.slice(*first, order.len()),
            _ => {
                let held = held.iter().collect::<Vec<_>>();
                interleave_record_batch(&held, &order).map_err(|it| Error::Rows {
                    table: self.merge.table.clone(),
                    reason: it.to_string(),
                })?
            }
        };
        Ok(Some(batch))
    }

    /// The open segment whose row is next.
    fn earliest(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let due = self.closed.last().map(|it| (self.merge.inputs[*it].min_ts, *it));
            let open = self.next.peek().map(|it| it.0);
            match (due, open) {
                (Some(due), open) if open.is_none_or(|it| due <= it) => {
                    self.closed.pop();
                    self.start(due.1)?;
                }
                (_, Some((_, input))) => {
                    self.next.pop();
                    return Ok(self.open.iter().position(|it| it.input == input));
                }
                (_, None) => return Ok(None),
            }
        }
    }

    fn start(&mut self, input: usize) -> Result<(), Error> {
        let mut batches = self.merge.inputs[input].read_by(None, STEP_ROWS)?;
        if let Some(batch) = batches.next().transpose()? {
            let first = times(&batch, self.merge.ts)[0];
            self.open.push(Cursor { input, batches, batch, row: 0 });
            self.next.push(Reverse((first, input)));
        }
        Ok(())
    }

    /// Goes to a segment's next batch, or closes it.
    fn advance(&mut self, at: usize) -> Result<(), Error> {
        let cursor = &mut self.open[at];
        match cursor.batches.next().transpose()? {
            Some(batch) => {
                let first = times(&batch, self.merge.ts)[0];
                (cursor.batch, cursor.row) = (batch, 0);
                self.next.push(Reverse((first, cursor.input)));
            }
            None => drop(self.open.swap_remove(at)),
        }
        Ok(())
    }
}

/// How long to rest after `worked`, so that work takes at most `share` of the time.
pub(crate) fn rest(worked: Duration, share: f64) -> Duration {
    worked.mul_f64(1.0 / share.clamp(MIN_SHARE, 1.0) - 1.0)
}

/// At the end of the name of a merge that is not finished.
const UNFINISHED: &str = ".merge";
/// Rows copied at a time: few, because a batch is held of each segment that is read.
const STEP_ROWS: usize = 1024;
/// At most this many segments become one: what is read at a time is bounded.
const MAX_INPUTS: usize = 64;
/// A segment of more than this part of what merging makes is large enough.
const SMALL_PARTS: u64 = 8;
/// A segment larger than this part of the result is not rewritten for it.
const LARGEST_PART: u64 = 3;
/// A merged segment is at most this part of what is kept: it expires as a whole.
const QUOTA_PARTS: u64 = 16;
/// Its rows were sealed within this part of the time for which they are kept.
const AGE_PARTS: i64 = 16;
/// With this many more merges to do, they are done quickly.
const BEHIND_MERGES: usize = 2;
/// Zstandard's level then: a fifth of the time, and a twelfth more bytes.
const HURRIED_LEVEL: i32 = 6;
/// A share of nothing would never end.
const MIN_SHARE: f64 = 0.01;
