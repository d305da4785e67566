//! Stored packets → rows of a stretch of time.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use arrow_array::{BooleanArray, RecordBatch, cast::AsArray, types::TimestampNanosecondType};
use arrow_select::filter::filter_record_batch;
use dissect::{Dissection, FlowId, PARSER_VERSION};
use segment::Replacement;

use super::{Asker, SECOND, Shared, floor};
use crate::packets::{PACKETS, Packets, Wanted, conversations};

/// Why it ended early.
pub(super) enum Stop {
    /// Nobody waits any more.
    Unwanted,
    Failed(segment::Error),
}

impl From<segment::Error> for Stop {
    fn from(error: segment::Error) -> Self {
        Self::Failed(error)
    }
}

/// What was dissected although more of it may come.
#[derive(Default)]
pub(super) struct Seen {
    span: Range<i64>,
    /// Packets that had been captured.
    packets: u64,
}

/// Rows of the stretch that are not on disk yet.
struct Rows {
    batches: Vec<(&'static str, RecordBatch)>,
    bytes: usize,
    /// The latest row that was written ahead of its commit.
    written_to: i64,
}

impl Shared {
    /// Dissects a stretch from the stored packets and puts its rows in the place of those that are there.
    /// Conversations that reach into it are read from their beginning, and until their exchanges end, within
    /// bounds. Returns how many packets the stretch has.
    pub(super) fn replay(
        &self,
        tables: &[String],
        stretch: &Range<i64>,
        asker: &Asker,
        seen: &mut Seen,
    ) -> Result<u64, Stop> {
        let captured = self.state.packets.load(Relaxed);
        let open = self.state.open().filter(|it| it.0 < stretch.end);
        let again = seen.span.start <= stretch.start && stretch.end <= seen.span.end;
        if again && seen.packets == captured && open.is_some() {
            return Ok(0);
        }
        let names = tables.iter().map(String::as_str).collect::<Vec<_>>();
        // Whatever comes from here on is noticed.
        // What was read in processes can't be made of packets again.
        let replacement = self.store.replace(&names, stretch.clone());
        let mut replacement = replacement.keeping("capture", dissect::PLAINTEXT);
        let snapshot = self.store.snapshot(PACKETS);

        // Conversations that were under way before, and where the first of them begins.
        let before = stretch.start.saturating_sub(BEFORE);
        let mut earlier: HashSet<FlowId> = HashSet::new();
        conversations(&snapshot, &(before..stretch.end), |flow| {
            if flow.began() < before && earlier.len() < EARLIER {
                earlier.insert(flow);
            }
        })?;
        let first = earlier.iter().map(|it| it.began()).min().unwrap_or(before);
        let first = first.max(stretch.start.saturating_sub(LOOKBACK));
        let wanted: Wanted =
            Arc::new(move |ts, flow| ts >= before || flow.is_some_and(|it| earlier.contains(&it)));

        let mut dissection = Dissection::new(self.config.clone());
        let mut rows = Rows { batches: Vec::new(), bytes: 0, written_to: i64::MIN };
        let mut alive: Option<HashSet<FlowId>> = None;
        let (mut packets, mut looked, mut committed) = (0_u64, 0_u32, 0_u64);
        let mut worked = Instant::now();
        let mut stop = None;
        let reach = first..stretch.end.saturating_add(LOOKAHEAD);
        Packets::new(&snapshot, reach, wanted).each(|packet, flow| {
            if packet.ts >= stretch.end {
                let alive = alive.get_or_insert_with(|| dissection.conversations().collect());
                if flow.is_some_and(|it| !alive.contains(&it)) {
                    return true;
                }
            }
            dissection.again(packet, flow);
            packets += u64::from(stretch.contains(&packet.ts));
            looked += 1;
            if looked < LOOK {
                return true;
            }
            looked = 0;
            let full =
                dissection.pending_rows() >= TAKE_ROWS || dissection.pending_bytes() >= TAKE_BYTES;
            if full {
                rows.take(&mut dissection, stretch);
            }
            let due = rows.bytes >= HELD_BYTES || packets - committed >= COMMIT_PACKETS;
            let done = if due {
                committed = packets;
                let end = floor(packet.ts.saturating_sub(LATE), self.slice);
                rows.take(&mut dissection, stretch);
                rows.part(&mut replacement, end, &dissection)
            } else {
                Ok(())
            };
            if let Err(error) = done {
                stop = Some(Stop::Failed(error));
            } else if !self.is_wanted(stretch, asker) {
                stop = Some(Stop::Unwanted);
            } else if worked.elapsed() >= WORK {
                if open.is_some() {
                    std::thread::sleep(REST);
                }
                worked = Instant::now();
            }
            stop.is_none()
        })?;
        if let Some(stop) = stop {
            return Err(stop);
        }
        // As long as packets come, conversations go on, and what they have under way has no row yet.
        let settled = match open {
            Some((_, to)) if stretch.end.saturating_add(LOOKAHEAD) > to => {
                dissection.tick(to);
                let under_way = dissection.unfinished_since().unwrap_or(i64::MAX);
                let settled = to.saturating_sub(LOOKAHEAD).min(under_way);
                floor(settled, self.slice).clamp(stretch.start, stretch.end)
            }
            _ => stretch.end,
        };
        if settled == stretch.end {
            while !dissection.finish_some(CONVERSATIONS) {
                rows.take(&mut dissection, stretch);
            }
        }
        rows.take(&mut dissection, stretch);
        if settled < stretch.end {
            // Rows after `settled` are told, but are not all: the next question makes them anew.
            rows.part(&mut replacement, settled, &dissection)?;
            rows.write(&mut replacement, i64::MAX)?;
            replacement.commit(stretch.end, None)?;
            *seen = Seen { span: settled..stretch.end, packets: captured };
        } else {
            rows.write(&mut replacement, i64::MAX)?;
            replacement.commit(stretch.end, Some(PARSER_VERSION))?;
        }
        Ok(packets)
    }
}

impl Rows {
    /// Takes what the dissection has made, as far as it lies in the stretch.
    fn take(&mut self, dissection: &mut Dissection, stretch: &Range<i64>) {
        for (table, batch) in dissection.take() {
            let Some(times) = times(&batch) else { continue };
            // What is not of a protocol was entered when it was captured.
            if table.name == "losses" {
                continue;
            }
            let within =
                times.iter().map(|it| Some(stretch.contains(it))).collect::<BooleanArray>();
            let Ok(batch) = filter_record_batch(&batch, &within) else { continue };
            if batch.num_rows() > 0 {
                self.bytes += batch.get_array_memory_size();
                self.batches.push((table.name.as_ref(), batch));
            }
        }
    }

    /// Commits what lies before `end` and before what has no row yet, if nothing after it is on disk; writes
    /// all there is, for later, if that is much.
    fn part(
        &mut self,
        replacement: &mut Replacement,
        end: i64,
        dissection: &Dissection,
    ) -> Result<(), segment::Error> {
        let end = end.min(dissection.unfinished_since().unwrap_or(i64::MAX));
        if end > replacement.span().start && end > self.written_to {
            self.write(replacement, end)?;
            replacement.commit(end, Some(PARSER_VERSION))?;
            self.written_to = i64::MIN;
        }
        if self.bytes >= HELD_BYTES {
            self.write(replacement, i64::MAX)?;
        }
        Ok(())
    }

    /// Writes the rows before `end`.
    fn write(&mut self, replacement: &mut Replacement, end: i64) -> Result<(), segment::Error> {
        let mut by_table: std::collections::BTreeMap<&'static str, Vec<RecordBatch>> =
            Default::default();
        let mut left = Vec::new();
        self.bytes = 0;
        for (table, batch) in self.batches.drain(..) {
            let Some(times) = times(&batch) else { continue };
            let latest = times.iter().copied().max().unwrap_or(i64::MIN);
            let (now, later) = if latest < end {
                self.written_to = self.written_to.max(latest);
                (Some(batch), None)
            } else {
                let early = times.iter().map(|it| Some(*it < end)).collect::<BooleanArray>();
                let late = times.iter().map(|it| Some(*it >= end)).collect::<BooleanArray>();
                (filter_record_batch(&batch, &early).ok(), filter_record_batch(&batch, &late).ok())
            };
            by_table.entry(table).or_default().extend(now.filter(|it| it.num_rows() > 0));
            if let Some(later) = later.filter(|it| it.num_rows() > 0) {
                self.bytes += later.get_array_memory_size();
                left.push((table, later));
            }
        }
        self.batches = left;
        by_table.into_iter().try_for_each(|(table, batches)| replacement.add(table, &batches))
    }
}

fn times(batch: &RecordBatch) -> Option<&[i64]> {
    let column = batch.column_by_name("ts")?.as_primitive_opt::<TimestampNanosecondType>()?;
    Some(column.values())
}

/// Conversations that may announce others which reach into a stretch (FTP's data) are read from that long
/// before, whole: an announcement holds as long.
const BEFORE: i64 = 60 * SECOND;
/// How far back a conversation is read to its beginning. One that is older is read from its middle.
const LOOKBACK: i64 = 3_600 * SECOND;
/// How long after the stretch an answer may come: no longer than live dissection waits for one.
const LOOKAHEAD: i64 = 60 * SECOND;
/// What live dissection may have under way when it stops.
pub(super) const UNDER_WAY: i64 = LOOKAHEAD;
/// As long as a hole in a conversation may hold back what was captured after it.
const LATE: i64 = 11 * SECOND;
/// Conversations read from before the stretch: as many as are followed at once.
const EARLIER: usize = 65_536;
/// Packets between two looks at the clock and at who waits.
const LOOK: u32 = 64;
/// Rows taken over at a time, or bytes of them.
const TAKE_ROWS: usize = 8_192;
const TAKE_BYTES: usize = 4 << 20;
/// Rows held before they are written.
const HELD_BYTES: usize = 32 << 20;
/// Packets after which what is done is kept, even if the asker goes away.
const COMMIT_PACKETS: u64 = 1_000_000;
/// Conversations ended at a time.
const CONVERSATIONS: usize = 1_024;
/// While packets are captured, work pauses that long after that long: half a processor is left in any case.
const WORK: Duration = Duration::from_millis(5);
const REST: Duration = Duration::from_millis(5);
