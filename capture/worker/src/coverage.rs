//! Of which processes what is said within TLS can be read, as rows: when that is found out, when it changes, once in a
//! while as long as it lasts, and when the process has ended.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use dissect::{Coverage, Loss, Process, Who};
use tracer::{Ended, Running};

/// What was told of processes so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    processes: HashMap<u32, Entry>,
    /// Of whose connections a handshake was seen in packets, and when that was told.
    shaken: HashMap<u32, i64>,
}

#[derive(Debug)]
struct Entry {
    row: Process,
    /// As the tracer tells it: as long as it is the same, so is the row.
    running: Arc<Running>,
}

/// How processes stand now.
pub(crate) struct Now<'a> {
    pub(crate) ts: i64,
    pub(crate) running: Vec<Arc<Running>>,
    pub(crate) ended: Ended,
    /// Of whose connections a handshake was seen since the last time.
    pub(crate) shaken: BTreeSet<u32>,
    /// Why this kernel lets nobody read plaintext, if it does not.
    pub(crate) kernel: Option<&'a str>,
    /// Whose a pod is, by its uid.
    pub(crate) names: &'a dyn Fn(&str) -> Who,
}

impl Told {
    /// The rows that are due, no more than so many at a time: those left come the next time.
    pub(crate) fn due(&mut self, now: Now<'_>) -> Vec<Process> {
        let mut rows = Vec::new();
        self.shaken.extend(now.shaken.iter().map(|it| (*it, now.ts)));
        let alive: HashMap<u32, &Arc<Running>> =
            now.running.iter().map(|it| (it.pid, it)).collect();
        self.bury(&now, &alive, &mut rows);
        // The packets of a process may be told of before it is.
        let fresh = |ts: i64| now.ts.saturating_sub(ts) < PATIENCE;
        self.shaken.retain(|pid, ts| alive.contains_key(pid) || fresh(*ts));
        for it in &now.running {
            if rows.len() >= MOST_ROWS {
                break;
            }
            rows.extend(self.look(&now, it));
        }
        rows
    }

    /// Those that have ended, whether they were told of before or not.
    fn bury(
        &mut self,
        now: &Now<'_>,
        alive: &HashMap<u32, &Arc<Running>>,
        rows: &mut Vec<Process>,
    ) {
        for it in &now.ended.processes {
            let is_known =
                self.processes.get(&it.pid).is_some_and(|known| known.row.started == it.started);
            if !is_known {
                let row = self.row(now, it);
                rows.extend(row.map(|row| Process { until: Some(now.ts), ..row }));
                self.shaken.remove(&it.pid);
            }
        }
        let is_over = |pid: &u32, it: &Entry| {
            alive.get(pid).is_none_or(|alive| alive.started.abs_diff(it.row.started) > SAME)
        };
        let over: Vec<u32> =
            self.processes.iter().filter(|it| is_over(it.0, it.1)).map(|it| *it.0).collect();
        for pid in over {
            if rows.len() < MOST_ROWS
                && let Some(it) = self.processes.remove(&pid)
            {
                self.shaken.remove(&pid);
                rows.push(Process { ts: now.ts, until: Some(now.ts), ..it.row });
            }
        }
    }

    /// The row of a process that runs, if it is due.
    fn look(&mut self, now: &Now<'_>, it: &Arc<Running>) -> Option<Process> {
        let known = self.processes.get(&it.pid);
        let fresh = known.is_some_and(|known| now.ts.saturating_sub(known.row.ts) < AGAIN);
        if let Some(known) = known
            && fresh
            && Arc::ptr_eq(&known.running, it)
            && (known.row.coverage != Coverage::Opaque || !self.shaken.contains_key(&it.pid))
            && (known.row.who.pod.is_some() || it.pod_uid.is_none())
        {
            return None;
        }
        let known = known.map(|it| it.row.clone());
        let mut row = self.row(now, it)?;
        if let Some(known) = known {
            let same = known.coverage == row.coverage && known.reason == row.reason;
            row.since = if same { known.since } else { now.ts };
            // The clock by which its beginning is reckoned is set now and then.
            row.started = known.started;
            if fresh && row == (Process { ts: row.ts, ..known }) {
                return None;
            }
        } else if self.processes.len() >= MOST_PROCESSES {
            return None;
        }
        self.processes.insert(it.pid, Entry { row: row.clone(), running: Arc::clone(it) });
        Some(row)
    }

    /// How a process stands; nothing if it has nothing to do with TLS.
    fn row(&self, now: &Now<'_>, it: &Running) -> Option<Process> {
        let shaken = self.shaken.contains_key(&it.pid);
        if it.library.is_none() && !shaken {
            return None;
        }
        let is_read = it.is_read && now.kernel.is_none();
        let coverage = match (is_read, shaken) {
            (true, _) => Coverage::Plaintext,
            (false, true) => Coverage::Handshake,
            (false, false) => Coverage::Opaque,
        };
        let kernel = now.kernel.filter(|_| it.library.is_some());
        let kernel = kernel.map(|it| format!("this kernel does not let it be read: {it}"));
        let none = || it.library.is_none().then(|| UNKNOWN.to_owned());
        let reason = kernel.or_else(|| it.problem.clone()).or_else(none);
        Some(Process {
            ts: now.ts,
            until: None,
            pid: it.pid,
            name: it.name.clone(),
            executable: it.executable.clone(),
            started: it.started,
            who: it.pod_uid.as_deref().map(now.names).unwrap_or_default(),
            pod_uid: it.pod_uid.clone(),
            container_id: it.container_id.clone(),
            coverage,
            reason,
            since: now.ts,
            library: it.library.as_deref().cloned(),
        })
    }
}

/// Those that ended and that there was no room for.
pub(crate) fn unlisted(ended: &Ended, from: i64, until: i64) -> Option<Loss> {
    (ended.more > 0).then(|| Loss {
        from,
        until,
        stage: "tracer",
        count: ended.more,
        bytes: None,
        detail: Some("processes that ended are not in `processes`: there were too many".to_owned()),
    })
}

/// Why what is said is not read where no library is known.
const UNKNOWN: &str = "no TLS library that is known was found in it";
/// A row is said again after that many nanoseconds: whoever looks back longer sees all that run.
const AGAIN: i64 = 600 * 1_000_000_000;
/// Rows at a time: once a second.
const MOST_ROWS: usize = 512;
/// Processes with TLS at a time.
const MOST_PROCESSES: usize = 16_384;
/// How long after its packets a process may be told of, in nanoseconds.
const PATIENCE: i64 = 10 * 1_000_000_000;
/// Two reckonings of a process's beginning differ by less; two processes of one number by more.
const SAME: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn running(pid: u32, library: Option<&'static str>, is_read: bool) -> Arc<Running> {
        let library = library.map(|kind| dissect::Library { kind, ..dissect::Library::default() });
        Arc::new(Running {
            pid,
            started: i64::from(pid),
            name: format!("p{pid}"),
            executable: None,
            pod_uid: None,
            container_id: None,
            problem: library.as_ref().filter(|_| !is_read).map(|it| format!("no {}", it.kind)),
            library: library.map(Arc::new),
            is_read,
        })
    }

    fn ask(told: &mut Told, ts: i64, all: &[Arc<Running>], shaken: &[u32]) -> Vec<String> {
        let rows = told.due(Now {
            ts,
            running: all.to_vec(),
            ended: Ended::default(),
            shaken: shaken.iter().copied().collect(),
            kernel: None,
            names: &|_| Who::default(),
        });
        let show = |it: Process| {
            let over = if it.until.is_some() { " over" } else { "" };
            let reason = it.reason.map(|it| format!(": {it}")).unwrap_or_default();
            format!("{} {} since {}{over}{reason}", it.name, it.coverage.word(), it.since)
        };
        let mut rows: Vec<_> = rows.into_iter().map(show).collect();
        rows.sort();
        rows
    }

    #[test]
    fn a_row_comes_when_something_is_new_and_when_it_has_long_been_so() {
        let mut told = Told::default();
        let [read, unread, plain] = [
            running(1, Some("openssl"), true),
            running(2, Some("rustls"), false),
            running(3, None, false),
        ];
        let all = [read, unread, plain];
        let first = ["p1 plaintext since 0", "p2 opaque since 0: no rustls"];
        assert_eq!(ask(&mut told, 0, &all, &[]), first);
        assert!(ask(&mut told, 1, &all, &[]).is_empty(), "nothing is new");
        let seen = ["p2 handshake since 2: no rustls", &format!("p3 handshake since 2: {UNKNOWN}")];
        assert_eq!(ask(&mut told, 2, &all, &[1, 2, 3]), seen);
        assert!(ask(&mut told, 3, &all, &[2]).is_empty());
        assert_eq!(ask(&mut told, AGAIN + 1, &all, &[]), [first[0]]);
        assert_eq!(ask(&mut told, AGAIN + 2, &all, &[]), seen);
        let over = [
            "p1 plaintext since 0 over",
            "p3 handshake since 2 over: no TLS library that is known was found in it",
        ];
        assert_eq!(ask(&mut told, AGAIN + 3, &all[1..2], &[]), over);
        assert!(ask(&mut told, AGAIN + 4, &all[1..2], &[]).is_empty());
    }

    #[test]
    fn many_processes_take_their_turn_and_those_without_tls_have_no_row() {
        let mut told = Told::default();
        let n = 3 * MOST_ROWS as u32;
        let all: Vec<_> = (0..n).map(|pid| running(pid, Some("go"), true)).collect();
        let counts: Vec<_> = (0..4).map(|ts| ask(&mut told, ts, &all, &[]).len()).collect();
        assert_eq!(counts, [MOST_ROWS, MOST_ROWS, MOST_ROWS, 0]);
        let plain: Vec<_> = (n..2 * n).map(|pid| running(pid, None, false)).collect();
        let counts: Vec<_> = (4..8).map(|ts| ask(&mut told, ts, &plain, &[]).len()).collect();
        assert_eq!(counts, [MOST_ROWS, MOST_ROWS, MOST_ROWS, 0], "those before have ended");
        assert!(told.processes.is_empty() && told.shaken.is_empty());
    }

    #[test]
    fn where_the_kernel_does_not_let_plaintext_be_read_it_is_the_reason() {
        let mut told = Told::default();
        let rows = told.due(Now {
            ts: 0,
            running: vec![running(1, Some("openssl"), true)],
            ended: Ended { processes: vec![running(2, Some("go"), true)], more: 7 },
            shaken: BTreeSet::from([1]),
            kernel: Some("no uprobes"),
            names: &|_| Who::default(),
        });
        let said: Vec<_> = rows.iter().map(|it| (it.pid, it.coverage, it.until)).collect();
        assert_eq!(said, [(2, Coverage::Opaque, Some(0)), (1, Coverage::Handshake, None)]);
        assert!(
            rows.iter().all(|it| it.reason.as_ref().is_some_and(|it| it.contains("no uprobes")))
        );
        let loss = unlisted(&Ended { processes: Vec::new(), more: 7 }, 0, 1).unwrap();
        assert_eq!((loss.stage, loss.count), ("tracer", 7));
    }
}
