//! A thread that puts probes where targeted processes run TLS libraries, and takes them out again.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use aya::maps::{Array, HashMap as BpfMap, MapData};

use super::{
    about,
    find::{self, Containers, FileId},
    hooks::{Hooks, Links, places, words},
    sys,
};
use crate::{Ended, Error, Library, Running};

/// What the thread is asked to do.
pub(super) enum Ask {
    /// Trace these cgroups and no others.
    Set(Vec<u64>, mpsc::Sender<Result<(), Error>>),
    /// Trace nothing for now, or go on.
    Pause(bool, mpsc::Sender<Result<(), Error>>),
    /// A targeted process runs another program now.
    Exec(u32),
    Stop,
}

/// What the thread tells.
#[derive(Default)]
pub(super) struct Told {
    pub(super) libraries: Mutex<Vec<Library>>,
    pub(super) running: Mutex<Vec<Arc<Running>>>,
    containers: Mutex<Arc<Containers>>,
    pub(super) ended: Mutex<Ended>,
    pub(super) attached: AtomicU64,
    pub(super) attach_failed: AtomicU64,
}

impl Told {
    /// The containers of the targets.
    pub(super) fn containers(&self) -> Arc<Containers> {
        Arc::clone(&self.containers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Watch {
    pub(super) hooks: Hooks,
    pub(super) targets: BpfMap<MapData, u64, u8>,
    pub(super) enabled: Array<MapData, [u8; 4]>,
    pub(super) told: Arc<Told>,
    pub(super) rescan: Duration,
    pub(super) root: PathBuf,
    state: State,
}

#[derive(Default)]
struct State {
    paused: bool,
    wanted: BTreeSet<u64>,
    folders: HashMap<u64, PathBuf>,
    processes: HashMap<u32, Process>,
    /// Files by the kernel's name of them; `None` for those without a function we read.
    names: HashMap<String, Option<FileId>>,
    files: HashMap<FileId, Known>,
    /// Files that were looked through for a library's traces, and have none.
    plain: HashSet<Version>,
    /// The TLS libraries in the file systems of targeted processes.
    shelves: HashMap<u64, Vec<FileId>>,
    /// Processes to be looked at again soon: a program loads its libraries after it has started.
    soon: Vec<(Instant, u32)>,
}

struct Process {
    began: u64,
    /// The kernel's names of the files whose code it runs.
    names: Vec<String>,
    running: Arc<Running>,
    shelf: Option<u64>,
    /// When to look again, and after how long the time after.
    next: Instant,
    wait: Duration,
}

/// A file with a TLS library in it.
struct Known {
    library: Arc<dissect::Library>,
    links: Result<Links, String>,
    unused_since: Option<Instant>,
}

impl Watch {
    pub(super) fn new(
        hooks: Hooks,
        targets: BpfMap<MapData, u64, u8>,
        enabled: Array<MapData, [u8; 4]>,
        told: Arc<Told>,
        rescan: Duration,
        root: PathBuf,
    ) -> Self {
        Self { hooks, targets, enabled, told, rescan, root, state: State::default() }
    }

    /// Works until it is told to stop; then all probes go.
    pub(super) fn run(mut self, asked: &mpsc::Receiver<Ask>) {
        let mut next_scan = Instant::now();
        loop {
            let soon = self.state.soon.iter().map(|it| it.0).min();
            let until = soon.map_or(next_scan, |it| it.min(next_scan));
            let wait = match self.state.wanted.is_empty() {
                true => Duration::from_secs(3600),
                false => until.saturating_duration_since(Instant::now()),
            };
            match asked.recv_timeout(wait) {
                Ok(Ask::Set(ids, done)) => {
                    let result = self.retarget(&ids);
                    next_scan = Instant::now() + self.rescan;
                    // Whoever asked may have gone.
                    done.send(result).unwrap_or_default();
                }
                Ok(Ask::Pause(pause, done)) => {
                    self.state.paused = pause;
                    let result = self.switch();
                    done.send(result).unwrap_or_default();
                }
                Ok(Ask::Exec(pid)) => {
                    self.look(pid, true);
                    let now = Instant::now();
                    if self.state.soon.len() < MOST_SOON {
                        self.state.soon.extend(AFTER_EXEC.iter().map(|it| (now + *it, pid)));
                    }
                }
                Ok(Ask::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            let due = |it: &(Instant, u32)| it.0 <= now;
            let pids: BTreeSet<u32> =
                self.state.soon.iter().filter(|it| due(it)).map(|it| it.1).collect();
            self.state.soon.retain(|it| !due(it));
            for pid in pids {
                self.look(pid, true);
            }
            if now >= next_scan && !self.state.wanted.is_empty() {
                self.scan();
                next_scan = Instant::now() + self.rescan;
            }
        }
        if let Err(error) = self.enabled.set(0, [0; 4], 0) {
            tracing::warn!(%error, "tracing can't be switched off; its programs are taken out");
        }
    }

    fn retarget(&mut self, ids: &[u64]) -> Result<(), Error> {
        let wanted: BTreeSet<u64> = ids.iter().copied().collect();
        if wanted.len() > MOST_TARGETS {
            let cause = format!("there are {}, and no more than {MOST_TARGETS} fit", wanted.len());
            return Err(Error::Kernel { what: "target cgroups".to_owned(), cause });
        }
        let failed = |cause: aya::maps::MapError| Error::Kernel {
            what: "target a cgroup".to_owned(),
            cause: words(&cause),
        };
        // Whose container it is, is known before anything is told of it.
        self.state.folders = self.folders_of(&wanted);
        for gone in self.state.wanted.difference(&wanted) {
            self.targets.remove(gone).map_err(failed)?;
        }
        for new in wanted.difference(&self.state.wanted) {
            self.targets.insert(new, 1, 0).map_err(failed)?;
        }
        self.state.wanted = wanted;
        self.switch()?;
        if self.state.wanted.is_empty() {
            // Nothing is targeted: no probe is left that could fire.
            let files = std::mem::take(&mut self.state).files;
            for links in files.into_values().filter_map(|it| it.links.ok()) {
                self.hooks.detach(links);
            }
            self.hooks.disarm();
            self.tell();
            return Ok(());
        }
        self.hooks.arm()?;
        self.scan();
        Ok(())
    }

    /// Switches the programs on or off.
    fn switch(&mut self) -> Result<(), Error> {
        let on = u32::from(!self.state.paused && !self.state.wanted.is_empty());
        self.enabled.set(0, on.to_ne_bytes(), 0).map_err(|cause| Error::Kernel {
            what: "switch tracing".to_owned(),
            cause: words(&cause),
        })
    }

    /// Looks for processes that came and went.
    fn scan(&mut self) {
        let known = |it: &u64| self.state.folders.get(it).is_some_and(|it| it.exists());
        if !self.state.wanted.iter().all(known) {
            self.state.folders = self.folders_of(&self.state.wanted);
        }
        let pids: HashSet<u32> =
            self.state.folders.values().flat_map(|it| find::processes(it)).collect();
        self.bury(&pids);
        self.state.processes.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            self.look(pid, false);
        }
        self.forget();
        self.tell();
    }

    /// The cgroups' folders; tells the containers they are of.
    fn folders_of(&self, wanted: &BTreeSet<u64>) -> HashMap<u64, PathBuf> {
        let folders = find::folders(&self.root, &|id| wanted.contains(&id));
        let containers = Arc::new(find::containers(&folders));
        *self.told.containers.lock().unwrap_or_else(PoisonError::into_inner) = containers;
        folders
    }

    /// Notes those that have ended.
    fn bury(&self, alive: &HashSet<u32>) {
        let dead = self.state.processes.iter().filter(|it| !alive.contains(it.0));
        let dead = dead.map(|it| &it.1.running).filter(|it| it.library.is_some());
        let mut ended = self.told.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for it in dead {
            match ended.processes.len() < MOST_ENDED {
                true => ended.processes.push(Arc::clone(it)),
                false => ended.more += 1,
            }
        }
    }

    /// Looks which libraries a process has loaded, if it is time to.
    fn look(&mut self, pid: u32, now_at_all_events: bool) {
        let now = Instant::now();
        let Some(began) = find::began(pid) else { return };
        let known = self.state.processes.get(&pid).filter(|it| it.began == began);
        if known.is_some_and(|it| it.next > now) && !now_at_all_events {
            return;
        }
        let wait = match known {
            Some(it) if !now_at_all_events => (it.wait * 2).min(LONGEST_WAIT),
            _ => self.rescan,
        };
        let Ok(mapped) = find::mapped(pid) else { return };
        let shelf = find::mount_namespace(pid);
        if let Some(shelf) = shelf
            && !self.state.shelves.contains_key(&shelf)
        {
            let found = find::shelved(pid).into_iter();
            let found = found.filter_map(|it| self.file(pid, &it.path, &it.way, false).ok()?);
            let found = found.collect();
            self.state.shelves.insert(shelf, found);
        }
        let mut names = Vec::with_capacity(mapped.len());
        for it in mapped {
            if !self.state.names.contains_key(&it.name) {
                // One that can't be opened may have gone with its process: it is tried again if it comes again.
                let Ok(found) = self.file(pid, it.path(), &it.way, true) else { continue };
                self.state.names.insert(it.name.clone(), found);
            }
            names.push(it.name);
        }
        let known = self.state.processes.get(&pid).filter(|it| it.began == began);
        let running = match known.filter(|it| it.names == names) {
            Some(it) => Arc::clone(&it.running),
            None => Arc::new(self.running(pid, began, &names)),
        };
        let process = Process { began, names, running, shelf, next: now + wait, wait };
        self.state.processes.insert(pid, process);
    }

    /// Who it is, and what it has to speak TLS with.
    fn running(&self, pid: u32, began: u64, names: &[String]) -> Running {
        let files = names.iter().filter_map(|it| (*self.state.names.get(it)?).as_ref());
        let files = files.filter_map(|it| self.state.files.get(it));
        let (read, unread): (Vec<_>, Vec<_>) = files.partition(|it| it.links.is_ok());
        // Of several, GnuTLS is as a rule one that other libraries (librtmp's, LDAP's) have brought along.
        let read_first = read.iter().min_by_key(|it| it.library.kind == "gnutls");
        let library = read_first.or_else(|| unread.first()).map(|it| Arc::clone(&it.library));
        let problem = unread.first().and_then(|it| {
            let why = it.links.as_ref().err()?;
            Some(match read.is_empty() {
                true => why.clone(),
                false => format!("{} is not read: {why}", it.library.path),
            })
        });
        let find::Identity { name, executable, pod_uid, container_id } = find::identity(pid);
        let started = sys::since_boot(began);
        let is_read = !read.is_empty();
        Running { pid, started, name, executable, pod_uid, container_id, library, is_read, problem }
    }

    /// Puts probes into a file of a process, unless they are there; nothing if it has no TLS library in it.
    fn file(
        &mut self,
        pid: u32,
        path: &str,
        way: &Path,
        follow: bool,
    ) -> std::io::Result<Option<FileId>> {
        let (id, file) = find::open(way, follow)?;
        if self.state.files.contains_key(&id) {
            return Ok(Some(id));
        }
        let (kind, links) = if let Some((kind, places)) = places(&file) {
            let links = self.hooks.attach(way, &places);
            match &links {
                Ok(_) => self.told.attached.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    tracing::warn!(path, error, "a TLS library can't be read");
                    self.told.attach_failed.fetch_add(1, Ordering::Relaxed)
                }
            };
            (kind, links)
        } else {
            let version = version(id, &file)?;
            if self.state.plain.contains(&version) {
                return Ok(None);
            }
            let Some((kind, why)) = about::unreadable(&file, path) else {
                if self.state.plain.len() >= MOST_PLAIN {
                    self.state.plain.clear();
                }
                self.state.plain.insert(version);
                return Ok(None);
            };
            (kind, Err(why))
        };
        let mut library = about::library(&file, path, kind);
        if library.version.is_none() && !library.is_static {
            library.version = find::beside(pid, path).and_then(|it| about::openssl_version(&it));
        }
        let known = Known { library: Arc::new(library), links, unused_since: None };
        self.state.files.insert(id, known);
        Ok(Some(id))
    }

    /// Takes the probes out of files that no targeted process has loaded, or might load.
    fn forget(&mut self) {
        let state = &mut self.state;
        let used: HashSet<&String> = state.processes.values().flat_map(|it| &it.names).collect();
        state.names.retain(|name, _| used.contains(name));
        let shelves: HashSet<u64> = state.processes.values().filter_map(|it| it.shelf).collect();
        // Where nobody lives at the moment, somebody may move in again in a moment.
        let mut live: HashSet<FileId> = state.names.values().filter_map(|it| *it).collect();
        for (shelf, files) in &state.shelves {
            if shelves.contains(shelf) {
                live.extend(files);
            }
        }
        let now = Instant::now();
        let mut gone = Vec::new();
        for (id, known) in &mut state.files {
            if live.contains(id) {
                known.unused_since = None;
            } else if now.saturating_duration_since(*known.unused_since.get_or_insert(now))
                >= self.rescan * GRACE
            {
                gone.push(*id);
            }
        }
        for id in &gone {
            if let Some(Known { links: Ok(links), .. }) = state.files.remove(id) {
                self.hooks.detach(links);
            }
        }
        let files = &state.files;
        state.shelves.retain(|shelf, held| {
            shelves.contains(shelf) || held.iter().any(|it| files.contains_key(it))
        });
    }

    fn tell(&self) {
        let mut users: BTreeMap<FileId, Vec<u32>> = BTreeMap::new();
        for (pid, process) in &self.state.processes {
            for name in &process.names {
                if let Some(Some(id)) = self.state.names.get(name) {
                    users.entry(*id).or_default().push(*pid);
                }
            }
        }
        let library = |(id, it): (&FileId, &Known)| Library {
            path: it.library.path.clone(),
            kind: it.library.kind,
            processes: users.remove(id).unwrap_or_default(),
            problem: it.links.as_ref().err().cloned(),
        };
        let libraries = self.state.files.iter().map(library).collect();
        *self.told.libraries.lock().unwrap_or_else(PoisonError::into_inner) = libraries;
        let running = self.state.processes.values().map(|it| Arc::clone(&it.running)).collect();
        *self.told.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

/// What tells a file's content from what it was before, as far as that can be told without reading it.
type Version = (FileId, u64, i64, i64);

fn version(id: FileId, file: &File) -> std::io::Result<Version> {
    let about = file.metadata()?;
    Ok((id, about.len(), about.mtime(), about.mtime_nsec()))
}

/// After a program has started: when it may have loaded its libraries.
const AFTER_EXEC: [Duration; 4] = [
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];
const MOST_SOON: usize = 16_384;
/// Processes that have ended, and that nobody has asked about: as many as end within a second, as a rule.
const MOST_ENDED: usize = 256;
/// A node's programs and libraries.
const MOST_PLAIN: usize = 16_384;
/// As many as the kernel's map holds.
const MOST_TARGETS: usize = 16_384;
/// Processes rarely load libraries once they run.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Scans that find a file unused before its probes go.
const GRACE: u32 = 5;
