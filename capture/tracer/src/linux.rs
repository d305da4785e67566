//! Tracing on Linux.
mod abi;
mod about;
mod elf;
mod find;
#[cfg(target_arch = "x86_64")]
mod golang;
mod hold;
mod hooks;
mod sys;
mod watch;

use std::{
    fmt,
    os::fd::AsFd,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};

use self::{
    abi::{Head, counter},
    find::Containers,
    hold::Held,
    hooks::Hooks,
    watch::{Ask, Told, Watch},
};
use crate::{
    Capabilities, Counters, Ended, Error, Event, Hook, Library, Options, Plaintext, Purpose,
    Running, Socket, What,
};

pub use find::{cgroup_id, cgroup_root, cgroups_below, pod_cgroups};

/// Reads what targeted processes say. Dropping it takes every probe out of the kernel.
pub struct Tracer {
    events: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
    held: Held,
    told: Arc<Told>,
    targets: Targets,
    capabilities: Capabilities,
    watch: Option<JoinHandle<()>>,
}

/// Which cgroups are traced. May be given to other threads.
#[derive(Clone)]
pub struct Targets {
    ask: mpsc::SyncSender<Ask>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Targets").finish_non_exhaustive()
    }
}

impl Tracer {
    /// Finds out what this process can trace on this kernel, by trying to load the programs. Nothing is traced.
    #[must_use]
    pub fn probe() -> Capabilities {
        match Hooks::load(4096) {
            Ok((_, capabilities)) => capabilities,
            Err(error) => {
                let missing = Some(error.to_string());
                Capabilities { hooks: vec![Hook { name: "bpf", purpose: Purpose::All, missing }] }
            }
        }
    }

    /// Loads the programs. Nothing is traced until there are [targets](Self::targets).
    pub fn start(options: &Options) -> Result<Self, Error> {
        let (mut hooks, capabilities) = Hooks::load(options.ring_bytes)?;
        let events = map(&mut hooks, "events")?;
        let counters = map(&mut hooks, "counters")?;
        let targets: HashMap<MapData, u64, u8> = map(&mut hooks, "targets")?;
        let enabled: Array<MapData, [u8; 4]> = map(&mut hooks, ".bss")?;
        let told = Arc::new(Told::default());
        let root = cgroup_root().unwrap_or_default();
        let watch = Watch::new(hooks, targets, enabled, Arc::clone(&told), options.rescan, root);
        let (ask, asked) = mpsc::sync_channel(QUEUE);
        let watch = thread::Builder::new()
            .name("tracer".to_owned())
            .spawn(move || watch.run(&asked))
            .map_err(|cause| Error::Kernel {
                what: "start a thread".to_owned(),
                cause: cause.to_string(),
            })?;
        let held = Held::default();
        let targets = Targets { ask };
        Ok(Self { events, counters, held, told, targets, capabilities, watch: Some(watch) })
    }

    /// Which cgroups are traced.
    #[must_use]
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// What can be traced, and what is missing.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Hands over what happened, a few thousand events at most, in the order in which it happened; waits as long as
    /// `timeout` if nothing has. Returns how many there were.
    pub fn read(&mut self, timeout: Duration, each: &mut dyn FnMut(Event<'_>)) -> usize {
        let Self { events, held, targets, told: known, .. } = self;
        // The one that is asked for wakes the reader up; what is there already does not.
        let mut told = drain(events, held, targets, known, each);
        if told == 0 && sys::readable(events.as_fd(), timeout) {
            told = drain(events, held, targets, known, each);
        }
        told
    }

    /// What was seen and what was lost since the beginning.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let sum =
            |which: u32| -> u64 { self.counters.get(&which, 0).map_or(0, |it| it.iter().sum()) };
        Counters {
            calls: sum(counter::CALLS),
            pieces: sum(counter::PIECES),
            bytes: sum(counter::BYTES),
            lost: sum(counter::LOST),
            lost_bytes: sum(counter::LOST_BYTES),
            cut_bytes: sum(counter::CUT_BYTES),
            faults: sum(counter::FAULTS),
            unbound: sum(counter::UNBOUND),
            unplaced: self.held.unplaced,
            unplaced_bytes: self.held.unplaced_bytes,
            orphans: sum(counter::ORPHANS),
            rebound: sum(counter::REBOUND),
            attached: self.told.attached.load(Ordering::Relaxed),
            attach_failed: self.told.attach_failed.load(Ordering::Relaxed),
        }
    }

    /// The TLS libraries of targeted processes, as of the last scan.
    #[must_use]
    pub fn libraries(&self) -> Vec<Library> {
        self.told.libraries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The processes that are targeted, as of the last scan, whether they have a TLS library or not.
    #[must_use]
    pub fn running(&self) -> Vec<Arc<Running>> {
        self.told.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The processes with a TLS library that have ended since this was last asked.
    #[must_use]
    pub fn ended(&self) -> Ended {
        std::mem::take(&mut self.told.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // If the thread has gone, so have its probes.
        self.targets.ask.send(Ask::Stop).unwrap_or_default();
        if let Some(watch) = self.watch.take()
            && watch.join().is_err()
        {
            tracing::error!("the thread that places probes has failed");
        }
    }
}

impl Targets {
    /// Traces the processes of these cgroups, and no others; returns once the libraries that they have loaded are read.
    /// Each cgroup is one of its own: those below it are not traced unless they are named ([`cgroups_below`]).
    pub fn set(&self, cgroup_ids: &[u64]) -> Result<(), Error> {
        self.asks(|done| Ask::Set(cgroup_ids.to_vec(), done))
    }

    /// Stops reading at once, and goes on when told so; the probes stay where they are.
    pub fn pause(&self, pause: bool) -> Result<(), Error> {
        self.asks(|done| Ask::Pause(pause, done))
    }

    fn asks(&self, ask: impl FnOnce(mpsc::Sender<Result<(), Error>>) -> Ask) -> Result<(), Error> {
        let gone = || Error::Kernel {
            what: "target cgroups".to_owned(),
            cause: "the tracer has stopped".to_owned(),
        };
        let (done, told) = mpsc::channel();
        self.ask.send(ask(done)).map_err(|_| gone())?;
        told.recv().unwrap_or_else(|_| Err(gone()))
    }
}

fn drain(
    events: &mut RingBuf<MapData>,
    held: &mut Held,
    targets: &Targets,
    known: &Told,
    each: &mut dyn FnMut(Event<'_>),
) -> usize {
    let containers = &*known.containers();
    let epoch = sys::boot_to_epoch();
    let mut told = 0;
    let mut latest = None;
    for _ in 0..MOST_EVENTS {
        let Some(event) = events.next() else { break };
        told += 1;
        let Some((head, data)) = Head::read(&event) else { continue };
        latest = Some(head.ts);
        match head.kind {
            abi::PLAINTEXT => {
                held.place(&head, data, &mut |head, data| {
                    plaintext(epoch, head, data, containers, each);
                });
            }
            // If there is no room, the next scan finds it.
            abi::EXEC => targets.ask.try_send(Ask::Exec(head.pid)).unwrap_or_default(),
            _ => socket(epoch, &head, containers, each),
        }
    }
    if let Some(latest) = latest {
        held.expire(latest);
    }
    told
}

fn plaintext(
    epoch: i64,
    head: &Head,
    bytes: &[u8],
    containers: &Containers,
    each: &mut dyn FnMut(Event<'_>),
) {
    let Some(ends) = head.ends else { return };
    each(Event::Plaintext(Plaintext {
        ts: epoch.saturating_add_unsigned(head.ts),
        ends,
        role: head.role,
        sent: head.sent,
        session: head.session,
        from_start: head.from_start,
        offset: head.offset,
        seen: head.seen,
        bytes,
        process: head.process(containers),
    }));
}

fn socket(epoch: i64, head: &Head, containers: &Containers, each: &mut dyn FnMut(Event<'_>)) {
    let what = match head.kind {
        abi::CONNECT => What::Connect,
        abi::ACCEPT => What::Accept,
        abi::OPEN => What::Open,
        abi::CLOSE => What::Close,
        _ => return,
    };
    let Some(ends) = head.ends else { return };
    each(Event::Socket(Socket {
        ts: epoch.saturating_add_unsigned(head.ts),
        what,
        ends,
        role: head.role,
        process: (head.pid != 0).then(|| head.process(containers)),
    }));
}

fn map<T: TryFrom<Map, Error = MapError>>(hooks: &mut Hooks, name: &str) -> Result<T, Error> {
    let map = hooks.take_map(name)?;
    map.try_into().map_err(|cause: MapError| Error::Kernel {
        what: format!("use the map {name} of the programs"),
        cause: hooks::words(&cause),
    })
}

/// Between two looks at the clock.
const MOST_EVENTS: usize = 4096;
/// Requests and notices that wait for the thread that places probes.
const QUEUE: usize = 1024;
