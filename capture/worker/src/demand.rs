//! Dissection on demand: what was captured and not dissected becomes rows when somebody asks for them.
//!
//! Time is cut into slices, and the store keeps, with the rows themselves, which of them have been dissected
//! and by which version of the dissectors ([`segment::Store::coverage`]). Whatever is not covered can be
//! dissected at any time, from the packets in the store, and once more when it was disturbed or done half:
//! a slice's rows are always replaced as a whole. One thread does it, behind all others.

mod replay;

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use api::{Again, Dissection, NodeDissection};
use dissect::{Keep, PARSER_VERSION, Secrets};
use query::{Supplied, Supply};
use segment::{Store, Stretch};
use tokio::sync::oneshot;

use crate::{Error, mode::Modes, packets::PACKETS, state::State};

/// Dissects what is asked for. It ends when the last clone of the worker does.
pub(crate) struct Demand {
    shared: Arc<Shared>,
    tables: HashSet<String>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: Store,
    config: dissect::Config,
    modes: Arc<Modes>,
    state: Arc<State>,
    /// Nanoseconds of a slice.
    slice: i64,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    busy: bool,
    closing: bool,
}

/// What somebody waits for.
struct Job {
    stretches: Vec<Range<i64>>,
    asker: Asker,
}

enum Asker {
    /// Gone when nobody waits any more.
    Query(oneshot::Sender<Supplied>),
    /// Nobody waits, and it is done all the same.
    Background,
}

impl Asker {
    fn wants(&self) -> bool {
        match self {
            Self::Query(sender) => !sender.is_closed(),
            Self::Background => true,
        }
    }
}

impl Demand {
    pub(crate) fn start(
        store: Store,
        config: &dissect::Config,
        modes: Arc<Modes>,
        state: Arc<State>,
        slice: Duration,
    ) -> Result<Arc<Self>, Error> {
        let keep =
            Keep { packets: false, connections: false, protocols: true, ..config.keep.clone() };
        let tables = query::Tables::new(dissect::tables().iter().cloned());
        let tables = tables.protocols().map(|it| it.name.to_string()).collect::<HashSet<_>>();
        let shared = Arc::new(Shared {
            store,
            // What was opened of TLS was when it came, and stays.
            config: dissect::Config { keep, secrets: Secrets::default(), ..config.clone() },
            modes,
            state,
            slice: i64::try_from(slice.as_nanos()).unwrap_or(i64::MAX).max(1),
            queue: Mutex::default(),
            work: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let names = tables.iter().cloned().collect::<Vec<_>>();
        let thread = std::thread::Builder::new().name("dissection".to_owned());
        let thread = thread.spawn(move || worker.run(&names)).map_err(Error::Thread)?;
        Ok(Arc::new(Self { shared, tables, thread: Mutex::new(Some(thread)) }))
    }

    /// What tells where rows are lacking, for the capture thread.
    pub(crate) fn arrivals(&self) -> Arrivals {
        Arrivals {
            store: self.shared.store.clone(),
            slice: self.shared.slice,
            known: 0..0,
            live_from: i64::MIN,
        }
    }

    /// Makes rows of older versions anew, in the background. Says how many seconds of traffic that is.
    pub(crate) fn again(&self, again: &Again) -> Result<u64, Error> {
        let shared = &self.shared;
        let span = again.from.unwrap_or(i64::MIN)..again.to.unwrap_or(i64::MAX);
        let outdated = |it: &Stretch| again.all || it.version != PARSER_VERSION;
        let (mut stretches, extents) = (Vec::new(), shared.extents());
        for it in shared.store.coverage().iter().filter(|it| outdated(it)) {
            let (from, to) = (it.from.max(span.start), it.to.min(span.end));
            for extent in &extents {
                let part = from.max(extent.start)..to.min(extent.end);
                if part.start < part.end {
                    // Its rows stay until the new ones take their place.
                    shared.store.cover(part.clone(), None)?;
                    stretches.push(part);
                }
            }
        }
        let seconds = stretches.iter().map(seconds).sum();
        if !stretches.is_empty() {
            shared.push(Job { stretches, asker: Asker::Background });
        }
        Ok(seconds)
    }

    /// How it stands.
    pub(crate) fn describe(&self, node: &str) -> NodeDissection {
        let shared = &self.shared;
        let (coverage, extents) = (shared.store.coverage(), shared.extents());
        let outdated = coverage.iter().filter(|it| it.version != PARSER_VERSION);
        let outdated = outdated.flat_map(|it| {
            extents.iter().map(|extent| extent.start.max(it.from)..extent.end.min(it.to))
        });
        NodeDissection {
            node: node.to_owned(),
            mode: shared.modes.now(),
            parser_version: PARSER_VERSION,
            undissected_s: without(&extents, &coverage).iter().map(seconds).sum(),
            outdated_s: outdated.map(|it| seconds(&it)).sum(),
            busy: shared.queue().busy,
            error: None,
        }
    }

    /// Ends the thread, in the middle of what it does.
    pub(crate) fn stop(&self) {
        {
            let mut queue = self.shared.queue();
            queue.closing = true;
            queue.jobs.clear();
        }
        self.shared.work.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|it| it.join().is_err()) {
            tracing::error!("the thread that dissects on demand panicked");
        }
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait::async_trait]
impl Supply for Demand {
    fn tables(&self) -> &HashSet<String> {
        &self.tables
    }

    fn lacking(&self) -> Vec<Range<i64>> {
        let raw = self.shared.raw();
        let total =
            raw.iter().map(|it| it.end.saturating_sub(it.start)).fold(0, i64::saturating_add);
        // As many pieces as a filter is worth asking about.
        let slices = total / self.shared.slice / PIECES + 1;
        let piece = self.shared.slice.saturating_mul(slices);
        let mut pieces = Vec::new();
        for mut stretch in raw {
            while stretch.start < stretch.end {
                let end = stretch.start.saturating_add(piece).min(stretch.end);
                pieces.push(stretch.start..end);
                stretch.start = end;
            }
        }
        pieces
    }

    async fn supply(&self, stretches: Vec<Range<i64>>) -> Supplied {
        let shared = &self.shared;
        let ends = stretches.first().map(|it| it.start).zip(stretches.last().map(|it| it.end));
        let Some((from, to)) = ends else { return Supplied::default() };
        if shared.modes.now() == Dissection::Off {
            let lacks = format!(
                "dissection is off here, and packets of {} were not dissected: \
                 `kubeshark dissection on-demand` has them dissected when they are asked for",
                span_text(from, to)
            );
            return Supplied { packets: 0, lacks: Some(lacks) };
        }
        let (sender, supplied) = oneshot::channel();
        shared.push(Job { stretches: joined(stretches), asker: Asker::Query(sender) });
        supplied.await.unwrap_or_else(|_| Supplied {
            packets: 0,
            lacks: Some("the worker stops, and did not dissect all that was asked for".to_owned()),
        })
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.queue().jobs.push_back(job);
        self.work.notify_one();
    }

    fn run(&self, tables: &[String]) {
        source::process::give_way();
        // What was dissected last although more may come: it need not be again if nothing came.
        let mut seen = replay::Seen::default();
        loop {
            let job = {
                let mut queue = self.queue();
                queue.busy = false;
                loop {
                    if queue.closing {
                        return;
                    }
                    if let Some(job) = queue.jobs.pop_front() {
                        queue.busy = true;
                        break job;
                    }
                    queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let mut supplied = Supplied::default();
            'stretches: for stretch in &job.stretches {
                // Others may have asked for it meanwhile.
                for raw in without(std::slice::from_ref(stretch), &self.store.coverage()) {
                    match self.replay(tables, &raw, &job.asker, &mut seen) {
                        Ok(packets) => supplied.packets += packets,
                        Err(replay::Stop::Unwanted) => break 'stretches,
                        Err(replay::Stop::Failed(error)) => {
                            tracing::warn!(%error, "packets were not dissected");
                            let lacks = format!("its packets could not be dissected: {error}");
                            supplied.lacks.get_or_insert(lacks);
                        }
                    }
                }
            }
            if let Asker::Query(sender) = job.asker
                && sender.send(supplied).is_err()
            {
                tracing::debug!("nobody waits any more for what was dissected");
            }
        }
    }

    /// Whether somebody wants a stretch: who asked, or who waits in line.
    fn is_wanted(&self, stretch: &Range<i64>, asker: &Asker) -> bool {
        if asker.wants() {
            return !self.queue().closing;
        }
        let overlaps = |it: &Range<i64>| it.start < stretch.end && stretch.start < it.end;
        let queue = self.queue();
        let mut waiting = queue.jobs.iter().filter(|it| it.asker.wants());
        !queue.closing && waiting.any(|it| it.stretches.iter().any(overlaps))
    }

    /// When the stored packets are from, in whole slices.
    fn extents(&self) -> Vec<Range<i64>> {
        let extents = self.store.extents(PACKETS).into_iter();
        let slices = extents.map(|(from, to)| {
            floor(from, self.slice)..floor(to, self.slice).saturating_add(self.slice)
        });
        let mut slices = slices.collect::<Vec<_>>();
        slices.sort_by_key(|it| it.start);
        joined(slices)
    }

    /// Packets of which no rows were made, in whole slices.
    fn raw(&self) -> Vec<Range<i64>> {
        without(&self.extents(), &self.store.coverage())
    }
}

/// What the capture thread says of packets as it stores them.
pub(crate) struct Arrivals {
    store: Store,
    slice: i64,
    /// Known to be covered, so that most packets cost no more than a look.
    known: Range<i64>,
    /// Packets from then on are dissected as they come.
    live_from: i64,
}

impl Arrivals {
    /// Packets of that span come, or have come, and are dissected at once or not. Called before and after
    /// they are stored.
    pub(crate) fn note(&mut self, from: i64, to: i64, live: bool) {
        let span = floor(from, self.slice)..floor(to, self.slice).saturating_add(self.slice);
        self.store.disturb(&span);
        let told = if live { self.covered(&span) } else { self.uncovered(&span) };
        if let Err(error) = told {
            tracing::warn!(%error, "what was dissected could not be written down");
        }
    }

    /// From `ts` on, packets are dissected as they come, or no longer are.
    pub(crate) fn switch(&mut self, live: bool, ts: i64) {
        self.known = 0..0;
        let slice = floor(ts, self.slice);
        if live {
            // The slice in which it begins is dissected whole when somebody asks for it.
            self.live_from = slice.saturating_add(self.slice);
            return;
        }
        // What was under way gave no rows: it is dissected again from its packets.
        let span = slice.saturating_sub(replay::UNDER_WAY)..i64::MAX;
        if let Err(error) = self.store.cover(span, None) {
            tracing::warn!(%error, "what was dissected could not be written down");
        }
    }

    fn covered(&mut self, span: &Range<i64>) -> Result<(), segment::Error> {
        if self.known.start <= span.start && span.end <= self.known.end {
            return Ok(());
        }
        let ahead = span.end.saturating_add(AHEAD);
        let wanted = span.start.max(self.live_from)..ahead;
        // Packets that were stored before and not dissected are not covered by those that are.
        let stored = self.store.extents(PACKETS).into_iter().map(|(from, to)| Stretch {
            from: floor(from, self.slice),
            to: floor(to, self.slice).saturating_add(self.slice),
            version: 0,
        });
        let mut taken = self.store.coverage();
        taken.extend(stored);
        taken.sort_by_key(|it| it.from);
        for gap in without(std::slice::from_ref(&wanted), &taken) {
            self.store.cover(gap, Some(PARSER_VERSION))?;
        }
        self.known = span.start..ahead;
        Ok(())
    }

    fn uncovered(&self, span: &Range<i64>) -> Result<(), segment::Error> {
        let coverage = self.store.coverage();
        if coverage.iter().any(|it| it.from < span.end && span.start < it.to) {
            self.store.cover(span.clone(), None)?;
        }
        Ok(())
    }
}

/// The beginning of the slice that `ts` lies in.
fn floor(ts: i64, slice: i64) -> i64 {
    ts.saturating_sub(ts.rem_euclid(slice))
}

/// Stretches in order, those that touch as one.
fn joined(stretches: Vec<Range<i64>>) -> Vec<Range<i64>> {
    let mut joined: Vec<Range<i64>> = Vec::with_capacity(stretches.len());
    for it in stretches {
        match joined.last_mut() {
            Some(last) if it.start <= last.end => last.end = last.end.max(it.end),
            _ => joined.push(it),
        }
    }
    joined
}

/// What of the stretches none of the others has; both are in order.
fn without(stretches: &[Range<i64>], covered: &[Stretch]) -> Vec<Range<i64>> {
    let mut left = Vec::new();
    for stretch in stretches {
        let mut start = stretch.start;
        for it in covered.iter().filter(|it| it.to > stretch.start && it.from < stretch.end) {
            if it.from > start {
                left.push(start..it.from);
            }
            start = start.max(it.to);
        }
        if start < stretch.end {
            left.push(start..stretch.end);
        }
    }
    left
}

fn seconds(it: &Range<i64>) -> u64 {
    u64::try_from(it.end.saturating_sub(it.start) / SECOND).unwrap_or_default()
}

/// A span for a person: its length, and that it is not now.
fn span_text(from: i64, to: i64) -> String {
    let seconds = to.saturating_sub(from) / SECOND;
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

const SECOND: i64 = 1_000_000_000;
/// How far ahead of its packets live dissection says that it covers them: one small file is written so often.
const AHEAD: i64 = 600 * SECOND;
/// Pieces of time that a query's filter is asked about.
const PIECES: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_is_left_out() {
        let covered = |spans: &[(i64, i64)]| -> Vec<Stretch> {
            spans.iter().map(|&(from, to)| Stretch { from, to, version: 1 }).collect()
        };
        let check = |spans: &[(i64, i64)], wanted: &[Range<i64>]| {
            assert_eq!(without(&[0..10, 20..30], &covered(spans)), wanted);
        };
        check(&[], &[0..10, 20..30]);
        check(&[(-5, 3), (5, 7), (25, 40)], &[3..5, 7..10, 20..25]);
        check(&[(0, 30)], &[]);
        check(&[(2, 3), (2, 8)], &[0..2, 8..10, 20..30]);
        assert_eq!(joined(vec![0..5, 5..7, 6..9, 10..12]), [0..9, 10..12]);
    }

    #[test]
    fn slices_hold_at_the_ends_of_time() {
        assert_eq!(floor(-1, 10), -10);
        assert_eq!(floor(19, 10), 10);
        assert_eq!(floor(i64::MIN, 10), i64::MIN);
        assert_eq!(floor(i64::MAX, 10), i64::MAX - 7);
    }
}
