//! The capture thread: source → dissection → store and live tails.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use api::ApiError;
use arrow_array::{
    RecordBatch,
    cast::AsArray,
    types::{TimestampNanosecondType, UInt64Type},
};
use dissect::{Dissection, Loss, Secrets};
use segment::Store;
use source::{Drops, FileSource, Item, Live};

use crate::{
    Progress,
    demand::Arrivals,
    mode::Modes,
    packets::PACKETS,
    processes::Reader,
    state::{State, now_ns},
    tails::Tails,
};

/// Where the thread's packets come from, opened as far as that can be done before it starts.
pub(crate) enum Opened {
    None,
    Files(Vec<std::path::PathBuf>),
    Live(Box<Live>),
}

/// What the owner of the thread gets told as files are read.
pub(crate) type Report = Box<dyn Fn(Progress) + Send>;

pub(crate) struct Pipeline {
    config: dissect::Config,
    dissection: Dissection,
    store: Store,
    state: Arc<State>,
    tails: Arc<Tails>,
    report: Option<Report>,
    /// Closed, or told something, when it is time to stop.
    stop: Receiver<()>,
    modes: Arc<Modes>,
    arrivals: Arrivals,
    /// What is read in processes.
    processes: Option<Reader>,
    /// Until when all was taken that processes did.
    heard: i64,
    /// Whether packets are dissected as they come.
    live: bool,
    /// Packets and their bytes since anyone looked at the clock and at what is pending.
    unseen: (u32, usize),
    published: Instant,
    second: Second,
    /// The latest packet's time.
    last_ts: Option<i64>,
    drops: Drops,
    skipped: u64,
}

/// What others have to say to the thread, and what it has to say of packets.
pub(crate) struct Watched {
    pub(crate) stop: Receiver<()>,
    pub(crate) modes: Arc<Modes>,
    pub(crate) arrivals: Arrivals,
    pub(crate) processes: Option<Reader>,
}

/// What the counters were when the current second began.
struct Second {
    began: Instant,
    packets: u64,
    bytes: u64,
    rows: u64,
}

/// A file that is being read, for progress.
struct Reading<'a> {
    index: usize,
    files: usize,
    source: &'a FileSource,
}

impl Pipeline {
    pub(crate) fn new(
        config: dissect::Config,
        store: Store,
        state: Arc<State>,
        tails: Arc<Tails>,
        report: Option<Report>,
        watched: Watched,
    ) -> Self {
        let now = Instant::now();
        let Watched { stop, modes, arrivals, processes } = watched;
        let live = modes.now() == api::Dissection::Live;
        Self {
            dissection: begun(&config, &modes),
            config,
            store,
            state,
            tails,
            report,
            stop,
            modes,
            arrivals,
            processes,
            heard: i64::MIN,
            live,
            unseen: (0, 0),
            published: now,
            second: Second { began: now, packets: 0, bytes: 0, rows: 0 },
            last_ts: None,
            drops: Drops::default(),
            skipped: 0,
        }
    }

    /// What an earlier process lost, for the ledger.
    pub(crate) fn inherit(&mut self, losses: Vec<segment::Loss>) {
        losses.into_iter().for_each(|loss| self.stored_loss(loss));
    }

    /// Reads everything, calls `imported`, and keeps the store in order until told to stop.
    pub(crate) fn run(mut self, opened: Opened, imported: impl FnOnce()) {
        match opened {
            Opened::None if self.processes.is_some() => {
                while !self.processes(TICK) {}
                self.finish();
            }
            Opened::None => {}
            Opened::Files(paths) => {
                let files = paths.len();
                for (index, path) in paths.iter().enumerate() {
                    if self.stopped() {
                        break;
                    }
                    self.file(index, files, path);
                }
                self.finish();
            }
            Opened::Live(live) => {
                self.live(*live);
                self.finish();
            }
        }
        self.state.capturing.store(false, Relaxed);
        self.publish();
        self.state.read(None);
        imported();
        while let Err(RecvTimeoutError::Timeout) = self.stop.recv_timeout(SECOND) {
            self.each_second();
            self.publish();
        }
        self.each_second();
        self.publish();
    }

    fn file(&mut self, index: usize, files: usize, path: &Path) {
        self.input(index, |input| input.active = true);
        let mut source = match source::open_file(path) {
            Ok(source) => source,
            Err(error) => return self.file_failed(index, &error),
        };
        let mut first = true;
        loop {
            if !source.ready(TICK) {
                // A pipe that is silent for now: let time pass.
                if self.tend(Some(&Reading { index, files, source: &source })) {
                    return;
                }
                continue;
            }
            let packet = match source.next_item() {
                Ok(Some(Item::Packet(packet))) => packet,
                Ok(Some(Item::Secrets(log))) => {
                    self.secrets(&log);
                    continue;
                }
                Ok(None) => break,
                Err(error) => {
                    self.file_failed(index, &error);
                    break;
                }
            };
            if std::mem::take(&mut first)
                && self.last_ts.is_some_and(|last| !continues(last, packet.ts))
            {
                // Conversations of the file before don't go on in one of another day, and its time says
                // nothing about this one's.
                self.begin_anew();
            }
            let due = self.packet(&packet);
            if due && self.tend(Some(&Reading { index, files, source: &source })) {
                break;
            }
        }
        let missed = source.drops();
        self.dropped(missed, &format!(", says the file {}", source.name()));
        self.progress(&Reading { index, files, source: &source });
        self.input(index, |input| input.active = false);
    }

    /// Learns what opens TLS in packets that follow. They may be those of a capture that goes on in another file.
    fn secrets(&mut self, log: &[u8]) {
        self.config.secrets.learn(log);
        if self.modes.now() != api::Dissection::Off {
            self.dissection.learn_secrets(log);
        }
    }

    fn begin_anew(&mut self) {
        self.finish();
        self.publish();
        self.dissection = begun(&self.config, &self.modes);
        self.last_ts = None;
        self.state.read(None);
    }

    fn file_failed(&mut self, index: usize, error: &source::Error) {
        let message = error.to_string();
        tracing::warn!(error = %message, "a file could not be read to its end");
        self.dissection.loss(&Loss {
            from: self.last_ts.unwrap_or_default(),
            until: self.last_ts.unwrap_or_default(),
            stage: "file",
            count: 1,
            bytes: None,
            detail: Some(message.clone()),
        });
        self.input(index, |input| {
            input.active = false;
            input.error = Some(ApiError::new(message.clone()));
        });
        self.state.slow().last_error = Some(message);
    }

    fn live(&mut self, mut live: Live) {
        self.input(0, |input| input.active = true);
        let mut counted = Instant::now();
        loop {
            let due = match live.next() {
                Ok(Some(packet)) => {
                    // Packets come in blocks, a little late: by then a short conversation is over, and the process has
                    // gone that it is to be named after.
                    if packet.ts >= self.heard {
                        self.hear(Duration::ZERO);
                    }
                    self.packet(&packet)
                }
                Ok(None) => true,
                Err(error) => {
                    let message = error.to_string();
                    tracing::error!(error = %message, "the capture stopped");
                    self.input(0, |input| input.error = Some(ApiError::new(message.clone())));
                    self.state.slow().last_error = Some(message);
                    break;
                }
            };
            if !due {
                continue;
            }
            if counted.elapsed() >= SECOND {
                counted = Instant::now();
                self.kernel_drops(&mut live);
            }
            if self.processes(Duration::ZERO) {
                break;
            }
        }
        self.kernel_drops(&mut live);
        self.input(0, |input| input.active = false);
    }

    /// Takes what processes did and said meanwhile.
    fn hear(&mut self, mut timeout: Duration) {
        self.heard = if self.processes.is_some() { now_ns() } else { i64::MAX };
        let plaintext = self.modes.now() != api::Dissection::Off;
        while let Some(reader) = &mut self.processes
            && reader.read(timeout, plaintext, &mut self.dissection) > 0
            && self.dissection.pending_bytes() < PUBLISH_BYTES
        {
            timeout = Duration::ZERO;
        }
    }

    /// [Hears](Self::hear), and lets time pass; true if it is time to stop.
    fn processes(&mut self, timeout: Duration) -> bool {
        self.hear(timeout);
        self.dissection.tick(now_ns());
        self.tend(None)
    }

    /// Takes a packet in; true if it is time to [`tend`](Self::tend).
    fn packet(&mut self, packet: &dissect::Packet<'_>) -> bool {
        self.dissection.packet(packet);
        self.last_ts = Some(self.last_ts.map_or(packet.ts, |last| last.max(packet.ts)));
        let (packets, bytes) = &mut self.unseen;
        *packets += 1;
        *bytes += packet.data.len();
        *packets >= LOOK_PACKETS || *bytes >= LOOK_BYTES
    }

    /// Publishes if there is enough or it is old enough; true if it is time to stop.
    fn tend(&mut self, reading: Option<&Reading<'_>>) -> bool {
        self.count();
        self.switch();
        let patience = if self.tails.is_empty() { PUBLISH_AFTER } else { PUBLISH_AFTER_WATCHED };
        let late = self.published.elapsed() >= patience;
        if late || self.is_enough() {
            self.publish();
        }
        if late {
            reading.into_iter().for_each(|reading| self.progress(reading));
        }
        if self.second.began.elapsed() >= SECOND {
            self.each_second();
        }
        self.stopped()
    }

    /// Dissects, or no longer does, if somebody changed that.
    fn switch(&mut self) {
        let live = self.modes.now() == api::Dissection::Live;
        if live == self.live {
            return;
        }
        // What was dissected so far is told as it was.
        self.publish();
        self.live = live;
        self.dissection.read_protocols(live && self.config.keep.protocols);
        if let Some(ts) = self.last_ts {
            self.arrivals.switch(live, ts);
        }
    }

    /// Ends all conversations; their rows do not all wait at once.
    fn finish(&mut self) {
        while !self.dissection.finish_some(CONVERSATIONS) {
            if self.is_enough() {
                self.publish();
            }
        }
    }

    /// Whether so much waits that it should be handed on.
    fn is_enough(&self) -> bool {
        self.dissection.pending_rows() >= PUBLISH_ROWS
            || self.dissection.pending_bytes() >= PUBLISH_BYTES
    }

    /// Makes every row so far visible to queries, then to live tails.
    fn publish(&mut self) {
        self.count();
        self.published = Instant::now();
        let batches = self.dissection.take();
        let packets = batches.iter().find(|it| it.0.name == PACKETS);
        let span = packets.and_then(|it| span(&it.1)).filter(|_| self.config.keep.protocols);
        if self.state.capturing.load(Relaxed) && span.is_some() {
            self.state.read(span);
        }
        // Before they can be seen, and, as they may be dissected by then, once they can.
        span.into_iter().for_each(|(from, to)| self.arrivals.note(from, to, self.live));
        self.append(batches);
        span.into_iter().for_each(|(from, to)| self.arrivals.note(from, to, self.live));
    }

    fn append(&self, batches: Vec<(&'static schema::Table, RecordBatch)>) {
        for (table, batch) in batches {
            let rows = batch.num_rows() as u64;
            if table.name == LOSSES {
                self.count_losses(&batch);
            }
            match self.store.append(&table.name, batch.clone()) {
                Ok(()) => {
                    self.state.rows.fetch_add(rows, Relaxed);
                    self.tails.publish(&table.name, &batch);
                }
                Err(error) => {
                    tracing::warn!(table = %table.name, rows, %error, "rows were not stored");
                    self.state.slow().last_error = Some(error.to_string());
                }
            }
        }
    }

    /// Brings the counters up to date.
    fn count(&mut self) {
        let (packets, bytes) = std::mem::take(&mut self.unseen);
        self.state.packets.fetch_add(packets.into(), Relaxed);
        self.state.bytes.fetch_add(bytes as u64, Relaxed);
        let counters = self.dissection.counters();
        self.state.left_out.store(counters.left_out, Relaxed);
        self.state.copies.store(counters.copies, Relaxed);
    }

    fn each_second(&mut self) {
        let seconds = self.second.began.elapsed().as_secs_f64().max(f64::EPSILON);
        let now = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        let next = Second {
            began: Instant::now(),
            packets: now(&self.state.packets),
            bytes: now(&self.state.bytes),
            rows: now(&self.state.rows),
        };
        let before = std::mem::replace(&mut self.second, next);
        {
            let mut slow = self.state.slow();
            slow.packets_per_s = (self.second.packets - before.packets) as f64 / seconds;
            slow.bytes_per_s = (self.second.bytes - before.bytes) as f64 / seconds;
            slow.rows_per_s = (self.second.rows - before.rows) as f64 / seconds;
        }
        self.state.flows.store(self.dissection.live_flows() as u64, Relaxed);
        for loss in self.store.maintain(now_ns()) {
            self.stored_loss(loss);
        }
        if let Some(reader) = &mut self.processes {
            reader.each_second(&self.state, &mut self.dissection);
        }
        let skipped = self.tails.skipped();
        let more = skipped - std::mem::replace(&mut self.skipped, skipped);
        if more > 0 {
            let detail = "a live tail was too slow for them; they are stored".to_owned();
            self.dissection.loss(&Loss {
                from: now_ns() - SECOND.as_nanos() as i64,
                until: now_ns(),
                stage: "tail",
                count: more,
                bytes: None,
                detail: Some(detail),
            });
        }
    }

    /// Rows the store could not keep, or keeps no longer.
    fn stored_loss(&mut self, loss: segment::Loss) {
        let segment::Loss { table, from_ts, to_ts, stage, rows, bytes, detail } = loss;
        // What is known only to be lost stands where it was found out.
        let (from_ts, to_ts) = if to_ts == 0 { (now_ns(), now_ns()) } else { (from_ts, to_ts) };
        let detail = if table.is_empty() { detail } else { format!("{table}: {detail}") };
        self.dissection.loss(&Loss {
            from: from_ts,
            until: to_ts,
            stage,
            count: rows,
            bytes: Some(bytes),
            detail: Some(detail),
        });
    }

    fn kernel_drops(&mut self, live: &mut Live) {
        match live.stats() {
            Ok(drops) => self.dropped(drops, ""),
            Err(error) => tracing::debug!(%error, "no drop counters"),
        }
    }

    /// Enters what was dropped since the last look, and who says so.
    fn dropped(&mut self, drops: Drops, witness: &str) {
        let before = std::mem::replace(&mut self.drops, drops);
        let live =
            self.state.slow().inputs.first().is_some_and(|it| it.kind == api::InputKind::Interface);
        let now = if live { now_ns() } else { self.last_ts.unwrap_or_default() };
        let since = if live { now - SECOND.as_nanos() as i64 } else { now };
        for (stage, reason, before, drops, counter) in [
            (
                "kernel",
                "the kernel's buffer was full",
                before.dropped_kernel,
                drops.dropped_kernel,
                &self.state.dropped_kernel,
            ),
            (
                "interface",
                "the interface or its driver dropped them",
                before.dropped_interface,
                drops.dropped_interface,
                &self.state.dropped_interface,
            ),
        ] {
            // Each file counts from zero.
            let count = if live { drops - before } else { drops };
            if count > 0 {
                counter.fetch_add(count, Relaxed);
                let detail = Some(format!("{reason}{witness}"));
                self.dissection.loss(&Loss {
                    from: since,
                    until: now,
                    stage,
                    count,
                    bytes: None,
                    detail,
                });
            }
        }
    }

    /// Sums the ledger's new rows by stage, for the state.
    fn count_losses(&self, batch: &RecordBatch) {
        let stages = batch.column_by_name("stage").and_then(|it| it.as_string_view_opt());
        let counts =
            batch.column_by_name("count").and_then(|it| it.as_primitive_opt::<UInt64Type>());
        let (Some(stages), Some(counts)) = (stages, counts) else { return };
        let mut slow = self.state.slow();
        for (stage, count) in stages.iter().zip(counts) {
            if let (Some(stage), Some(count)) = (stage, count) {
                *slow.losses.entry(stage.to_owned()).or_default() += count;
            }
        }
    }

    fn progress(&self, reading: &Reading<'_>) {
        let (read_bytes, total_bytes) = reading.source.progress();
        self.input(reading.index, |input| {
            input.read_bytes = Some(read_bytes);
            input.total_bytes = total_bytes;
        });
        if let Some(report) = &self.report {
            report(Progress {
                file: reading.source.name().to_owned(),
                index: reading.index,
                files: reading.files,
                read_bytes,
                total_bytes,
                packets: self.state.packets.load(Relaxed) + u64::from(self.unseen.0),
                rows: self.state.rows.load(Relaxed),
            });
        }
    }

    fn input(&self, index: usize, change: impl FnOnce(&mut api::Input)) {
        if let Some(input) = self.state.slow().inputs.get_mut(index) {
            change(input);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.try_recv() != Err(TryRecvError::Empty)
    }
}

/// A dissection from the beginning.
fn begun(config: &dissect::Config, modes: &Modes) -> Dissection {
    let mode = modes.now();
    let secrets = match mode {
        api::Dissection::Off => Secrets::default(),
        _ => config.secrets.clone(),
    };
    let mut dissection = Dissection::new(dissect::Config { secrets, ..config.clone() });
    dissection.read_protocols(mode == api::Dissection::Live && config.keep.protocols);
    dissection
}

/// The times of the earliest and the latest row.
fn span(batch: &RecordBatch) -> Option<(i64, i64)> {
    let times = batch.column_by_name("ts")?.as_primitive_opt::<TimestampNanosecondType>()?;
    Some((*times.values().iter().min()?, *times.values().iter().max()?))
}

/// Whether a file that begins at `ts` may go on where another ended, as rotated captures do.
fn continues(last: i64, ts: i64) -> bool {
    (-1..=60).contains(&ts.saturating_sub(last).div_euclid(1_000_000_000))
}

/// The store's name for the ledger.
const LOSSES: &str = "losses";
/// Conversations ended at a time: each may have a thousand requests that got no answer.
const CONVERSATIONS: usize = 16;
/// Rows are handed on when they are this many,
const PUBLISH_ROWS: usize = 8_192;
/// or this large,
const PUBLISH_BYTES: usize = 4 << 20;
/// or this old.
const PUBLISH_AFTER: Duration = Duration::from_millis(100);
/// The same while someone watches.
const PUBLISH_AFTER_WATCHED: Duration = Duration::from_millis(40);
/// How many packets, or bytes of them, come between two looks at the clock and at what is pending.
const LOOK_PACKETS: u32 = 64;
const LOOK_BYTES: usize = 256 << 10;
/// How long a pipe may keep us from looking at the clock.
const TICK: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_capture_goes_on_and_another_does_not() {
        let second = 1_000_000_000;
        let last = 1_700_000_000 * second;
        for (ts, wanted) in [
            (last, true),
            (last + 60 * second, true),
            (last - second / 2, true),
            (last - 2 * second, false),
            (last + 3_600 * second, false),
            (0, false),
        ] {
            assert_eq!(continues(last, ts), wanted, "{ts}");
        }
        assert!(!continues(i64::MIN, i64::MAX) && !continues(i64::MAX, i64::MIN));
    }
}
