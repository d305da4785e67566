//! What the capture thread writes about itself, and what it becomes when someone asks.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use api::{Dissection, Input, NodeHealth, TableState, TracingState};
use segment::Store;

use crate::tails::Tails;

/// Written by the capture thread, read by anyone.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) packets: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) flows: AtomicU64,
    pub(crate) dropped_kernel: AtomicU64,
    pub(crate) dropped_interface: AtomicU64,
    pub(crate) left_out: AtomicU64,
    pub(crate) copies: AtomicU64,
    pub(crate) capturing: AtomicBool,
    started_ms: i64,
    slow: Mutex<Slow>,
    open: Mutex<Option<(i64, i64)>>,
}

/// What changes once a second or less.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    pub(crate) inputs: Vec<Input>,
    /// Units lost, by stage.
    pub(crate) losses: BTreeMap<String, u64>,
    pub(crate) packets_per_s: f64,
    pub(crate) bytes_per_s: f64,
    pub(crate) rows_per_s: f64,
    pub(crate) tracing: Option<TracingState>,
    pub(crate) last_error: Option<String>,
}

impl State {
    pub(crate) fn new(inputs: Vec<Input>) -> Self {
        Self {
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            flows: AtomicU64::new(0),
            dropped_kernel: AtomicU64::new(0),
            dropped_interface: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            capturing: AtomicBool::new(false),
            started_ms: now_ns() / 1_000_000,
            slow: Mutex::new(Slow { inputs, ..Slow::default() }),
            open: Mutex::new(None),
        }
    }

    /// The times of the first and the latest packet, as long as conversations are followed that began then.
    pub(crate) fn open(&self) -> Option<(i64, i64)> {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packets of that span were read, or conversations have ended.
    pub(crate) fn read(&self, span: Option<(i64, i64)>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = span.map(|(from, to)| open.map_or((from, to), |it| (it.0.min(from), it.1.max(to))));
    }

    pub(crate) fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything about the worker, now.
    pub(crate) fn health(&self, store: &Store, tails: &Tails, mode: Dissection) -> NodeHealth {
        let stored = store.state();
        let tables: Vec<_> = stored.tables.into_iter().map(extent).collect();
        let disk_bytes = tables.iter().map(|table| table.bytes).sum();
        let slow = self.slow();
        let mut health = NodeHealth {
            inputs: slow.inputs.clone(),
            capturing: self.capturing.load(Relaxed),
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            dropped_kernel: self.dropped_kernel.load(Relaxed),
            dropped_interface: self.dropped_interface.load(Relaxed),
            left_out: self.left_out.load(Relaxed),
            copies: self.copies.load(Relaxed),
            losses: slow.losses.clone(),
            packets_per_s: slow.packets_per_s,
            bytes_per_s: slow.bytes_per_s,
            rows_per_s: slow.rows_per_s,
            flows: self.flows.load(Relaxed),
            tails: tails.count() as u64,
            tables,
            disk_bytes,
            memory_bytes: resident_bytes(),
            started_ms: self.started_ms,
            dissection: mode,
            names: None,
            tracing: slow.tracing.clone(),
            // The bucket's failure is told for as long as it lasts.
            last_error: stored.bucket_failing.or_else(|| slow.last_error.clone()),
            empty_because: None,
        };
        health.empty_because = empty_because(&health);
        health
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
}

/// Why there is nothing to see, if there is nothing, and what would change that.
fn empty_because(health: &NodeHealth) -> Option<String> {
    let exchanges = health.tables.iter().filter(|table| !OTHERS.contains(&table.name.as_str()));
    if exchanges.map(|table| table.rows).sum::<u64>() > 0 {
        return None;
    }
    let Some(input) = health.inputs.first() else {
        if let Some(tracing) = &health.tracing {
            let nothing = || match tracing.cgroups {
                0 => "no process is read yet, for none is meant".to_owned(),
                some => format!("no process of {some} cgroups has said anything within TLS yet"),
            };
            return Some(tracing.problem.clone().unwrap_or_else(nothing));
        }
        return Some("no input was given: capture an interface or read a file".to_owned());
    };
    let failed = health.inputs.iter().find_map(|input| input.error.as_ref());
    if let (0, Some(error)) = (health.packets, failed) {
        return Some(error.message.clone());
    }
    Some(match (health.capturing, health.packets, input.kind) {
        (true, 0, api::InputKind::Interface) => {
            let filter = input.filter.as_ref().map(|it| format!(" that passes the filter `{it}`"));
            format!("no packet{} came on {} yet", filter.unwrap_or_default(), input.name)
        }
        (true, 0, _) => format!("no packet was read from {} yet", input.name),
        (false, 0, api::InputKind::Interface) => {
            format!("the capture on {} has stopped", input.name)
        }
        (false, 0, _) => format!("{} has no packets", input.name),
        (_, packets, _) if health.dissection != Dissection::Live => {
            let mode = health.dissection;
            let how = match mode {
                Dissection::Off => "`kubeshark dissection on-demand` changes that",
                _ => "ask for exchanges and they are",
            };
            format!("{packets} packets were read and not dissected: dissection is {mode}; {how}")
        }
        (_, packets, _) => {
            let already = if health.capturing { " so far" } else { "" };
            format!(
                "{packets} packets were read{already}, and none belongs to an exchange of a protocol that is \
                 understood: see the tables connections and losses"
            )
        }
    })
}

fn extent(table: segment::TableState) -> TableState {
    let millis = |ns: i64| ns.div_euclid(1_000_000);
    TableState {
        name: table.name,
        rows: table.rows,
        bytes: table.bytes,
        segments: table.segments as u64,
        oldest_ms: table.oldest.map(millis),
        newest_ms: table.newest.map(millis),
    }
}

/// Memory in use, where the system tells.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Tables of something else than exchanges.
const OTHERS: [&str; 4] = ["connections", "packets", "processes", "losses"];

#[cfg(test)]
mod tests {
    use api::{ApiError, InputKind};

    use super::*;

    fn check(change: impl FnOnce(&mut NodeHealth), wanted: Option<&str>) {
        let input = Input { name: "eth0".to_owned(), active: true, ..Input::default() };
        let mut health =
            NodeHealth { inputs: vec![input], capturing: true, ..NodeHealth::default() };
        change(&mut health);
        assert_eq!(empty_because(&health).as_deref(), wanted);
    }

    #[test]
    fn emptiness_has_a_reason() {
        check(|_| {}, Some("no packet came on eth0 yet"));
        check(
            |it| it.inputs[0].filter = Some("port 1".to_owned()),
            Some("no packet that passes the filter `port 1` came on eth0 yet"),
        );
        check(
            |it| it.inputs.clear(),
            Some("no input was given: capture an interface or read a file"),
        );
        check(|it| it.capturing = false, Some("the capture on eth0 has stopped"));
        check(
            |it| {
                it.inputs[0].kind = InputKind::File;
                it.inputs[0].error = Some(ApiError::new("eth0 is not a capture"));
            },
            Some("eth0 is not a capture"),
        );
        check(
            |it| it.packets = 7,
            Some(
                "7 packets were read so far, and none belongs to an exchange of a protocol that is \
                 understood: see the tables connections and losses",
            ),
        );
        check(
            |it| (it.packets, it.dissection) = (7, Dissection::OnDemand),
            Some(
                "7 packets were read and not dissected: dissection is on-demand; ask for exchanges and \
                 they are",
            ),
        );
        let table =
            |name: &str| TableState { name: name.to_owned(), rows: 1, ..TableState::default() };
        check(|it| it.tables = vec![table("dns")], None);
        check(|it| it.tables = vec![table("packets")], Some("no packet came on eth0 yet"));
    }

    #[test]
    fn memory_is_known_on_linux() {
        assert!(!cfg!(target_os = "linux") || resident_bytes() > 1 << 20);
    }
}
