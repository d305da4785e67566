//! What is read in processes: whose, and how that goes.
//!
//! The capture thread has the [`Reader`] and takes what the kernel tells, between packets; a thread of its own, the
//! [`Chooser`], says whose processes are meant, for looking at their libraries takes time.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use api::{TracedLibrary, TracingState};
use dissect::Dissection;
use tracer::{Counters, Event, Library, Targets, Tracer};

use crate::{
    Error, TracingConfig,
    coverage::{Now, Told, unlisted},
    names::Names,
    state::{State, now_ns},
};

/// Starts to read in processes. Without the permission, or on a kernel that can't, nothing is read, and the state says
/// why.
pub(crate) fn start(
    config: TracingConfig,
    node: &str,
    names: &Arc<Names>,
    state: &Arc<State>,
) -> Result<Option<(Reader, Chooser)>, Error> {
    if config.is_empty() {
        return Ok(None);
    }
    // Each probe takes a descriptor.
    source::process::open_many_files();
    let tracer = match Tracer::start(&tracer::Options::default()) {
        Ok(tracer) => tracer,
        Err(error) => {
            tracing::warn!(%error, "nothing is read in processes");
            let problem = Some(error.to_string());
            state.slow().tracing = Some(TracingState { problem, ..TracingState::default() });
            return Ok(None);
        }
    };
    let missing = tracer.capabilities();
    let missing = missing.no_plaintext().or_else(|| missing.no_sockets()).map(str::to_owned);
    state.slow().tracing =
        Some(TracingState { problem: missing.clone(), ..TracingState::default() });
    let choice = Choice {
        config,
        node: node.to_owned(),
        names: Arc::clone(names),
        state: Arc::clone(state),
        targets: tracer.targets().clone(),
        missing,
    };
    let kernel = tracer.capabilities().no_plaintext().map(str::to_owned);
    let names = Arc::clone(names);
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::Builder::new().name("choose".to_owned());
    let thread = thread.spawn(move || choice.run(&stopped)).map_err(Error::Thread)?;
    let (lost, told) = (Counters::default(), Told::default());
    let reader = Reader { tracer, lost, since: now_ns(), told, names, kernel };
    Ok(Some((reader, Chooser { stop: Some(stop), thread: Some(thread) })))
}

/// Takes what the kernel tells.
pub(crate) struct Reader {
    tracer: Tracer,
    /// What was lost by then has been entered as lost.
    lost: Counters,
    since: i64,
    /// What rows say of processes.
    told: Told,
    names: Arc<Names>,
    /// Why nothing that is said can be read on this kernel.
    kernel: Option<String>,
}

impl Reader {
    /// Gives what happened to a dissection, without plaintext if nothing is to be dissected; waits for `timeout` if
    /// nothing has happened. Returns how much it was.
    pub(crate) fn read(
        &mut self,
        timeout: Duration,
        plaintext: bool,
        to: &mut Dissection,
    ) -> usize {
        self.tracer.read(timeout, &mut |event| match event {
            Event::Plaintext(_) if !plaintext => {}
            event => event.feed(to),
        })
    }

    /// Gives a dissection what was lost since the last time, and how processes stand; says how it goes.
    pub(crate) fn each_second(&mut self, state: &State, to: &mut Dissection) {
        let counters = self.tracer.counters();
        if let Some(tracing) = &mut state.slow().tracing {
            tracing.calls = counters.calls;
            tracing.bytes = counters.bytes;
            tracing.lost_bytes = counters.lost_bytes + counters.cut_bytes + counters.unplaced_bytes;
            let libraries = self.tracer.libraries();
            tracing.libraries = libraries.into_iter().take(MOST_LIBRARIES).map(library).collect();
        }
        let before = std::mem::replace(&mut self.lost, counters);
        let (from, until) = (std::mem::replace(&mut self.since, now_ns()), now_ns());
        let (running, ended) = (self.tracer.running(), self.tracer.ended());
        let losses = counters.losses(&before, from, until).into_iter();
        losses.chain(unlisted(&ended, from, until)).for_each(|it| to.loss(&it));
        let now = Now {
            ts: until,
            running,
            ended,
            shaken: to.shaken(),
            kernel: self.kernel.as_deref(),
            names: &|uid| self.names.of_pod(uid),
        };
        self.told.due(now).iter().for_each(|it| to.process(it));
    }
}

fn library(it: Library) -> TracedLibrary {
    TracedLibrary {
        path: it.path,
        kind: it.kind.to_owned(),
        processes: it.processes.len() as u64,
        problem: it.problem,
    }
}

/// The thread that says whose processes are meant; it ends when this is dropped.
pub(crate) struct Chooser {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Chooser {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|it| it.join().is_err()) {
            tracing::error!("the thread that chooses processes panicked");
        }
    }
}

struct Choice {
    config: TracingConfig,
    node: String,
    names: Arc<Names>,
    state: Arc<State>,
    targets: Targets,
    /// What this kernel can't do.
    missing: Option<String>,
}

impl Choice {
    fn run(self, stop: &mpsc::Receiver<()>) {
        let mut chosen = Vec::new();
        loop {
            let (cgroups, mut problem) = self.cgroups();
            if cgroups != chosen {
                match self.targets.set(&cgroups) {
                    Ok(()) => chosen = cgroups,
                    Err(error) => problem = Some(error.to_string()),
                }
            }
            if let Some(tracing) = &mut self.state.slow().tracing {
                tracing.cgroups = chosen.len() as u64;
                if tracing.problem != problem {
                    problem
                        .iter()
                        .for_each(|it| tracing::warn!(problem = %it, "processes are not read"));
                    tracing.problem = problem;
                }
            }
            if stop.recv_timeout(AGAIN) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// The cgroups that are meant, in order, and what is wrong.
    fn cgroups(&self) -> (Vec<u64>, Option<String>) {
        let (mut found, mut problem) = (Vec::new(), self.missing.clone());
        for named in &self.config.cgroups {
            let folder = tracer::cgroup_root().unwrap_or_else(|| PathBuf::from("/")).join(named);
            match tracer::cgroups_below(&folder) {
                Ok(below) => found.extend(below),
                Err(why) => {
                    let folder = folder.display();
                    problem = Some(format!("the cgroup {folder} can't be traced: {why}"));
                }
            }
        }
        if self.config.pods {
            let pods = self.names.tapped_on(&self.node);
            match tracer::pod_cgroups(&|uid| pods.contains(uid)) {
                Ok(below) => found.extend(below),
                Err(why) => problem = Some(why.to_string()),
            }
        }
        found.sort_unstable();
        found.dedup();
        (found, problem)
    }
}

/// How often it is looked for cgroups that came or went.
const AGAIN: Duration = Duration::from_secs(1);
/// Libraries that are told of; a node has a handful, unless every container has its own.
const MOST_LIBRARIES: usize = 256;
