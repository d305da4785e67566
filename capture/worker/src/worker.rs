//! A worker as its owner sees it.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use api::{Dissection, Input, InputKind, NodeHealth};
use segment::{Recovery, Store};
use source::Live;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    Config, Error, Inputs,
    demand::Demand,
    mode::Modes,
    names::Names,
    pipeline::{Opened, Pipeline, Report, Watched},
    processes::{self, Chooser},
    state::State,
    tails::Tails,
};

/// A running worker. Clones are the same one; it stops when the last is dropped, or at [`stop`](Self::stop).
#[derive(Clone, Debug)]
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) node: String,
    pub(crate) store: Store,
    pub(crate) state: Arc<State>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) engine: query::node::Service,
    pub(crate) modes: Arc<Modes>,
    pub(crate) demand: Arc<Demand>,
    pub(crate) names: Arc<Names>,
    recovery: Recovery,
    imported: watch::Receiver<bool>,
    thread: Mutex<Option<Thread>>,
    chooser: Mutex<Option<Chooser>>,
    /// A temporary store's folder.
    folder: Mutex<Option<TempDir>>,
}

struct Thread {
    handle: JoinHandle<()>,
    stop: mpsc::Sender<()>,
}

/// What came of reading files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Import {
    /// Packets read.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Rows made of them, in all tables.
    pub rows: u64,
    /// A sentence for each file that could not be read, or not to its end.
    pub errors: Vec<String>,
}

impl Worker {
    /// Opens the store and the interface and begins. A file that can't be read is no error here: it is told by
    /// [`imported`](Self::imported) and in the worker's state.
    pub fn start(config: Config, report: Option<Report>) -> Result<Self, Error> {
        let Config { node, store, inputs, limits, keep, mut storage, dissection, secrets, tracing } =
            config;
        if matches!(inputs, Inputs::Files(_)) {
            // A file waits for a slow disk; an interface doesn't.
            storage.append_wait = storage.append_wait.max(PATIENCE);
        }
        let (opened, inputs) = match inputs {
            Inputs::None => (Opened::None, Vec::new()),
            Inputs::Files(paths) => {
                let inputs = paths.iter().map(|path| file(path)).collect();
                (Opened::Files(paths), inputs)
            }
            Inputs::Live(live) => {
                let opened = Live::open(&live)?;
                let input = Input {
                    kind: InputKind::Interface,
                    name: live.interface,
                    filter: live.filter,
                    way: Some(opened.way().to_string()),
                    active: true,
                    ..Input::default()
                };
                (Opened::Live(Box::new(opened)), vec![input])
            }
        };
        let folder = match &store {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new().prefix("kubeshark-").tempdir().map_err(Error::Folder)?,
            ),
        };
        let path = folder
            .as_ref()
            .map(TempDir::path)
            .or(store.as_deref())
            .unwrap_or_else(|| Path::new("."));
        let kept = store.is_some();
        let (store, recovery) = Store::open(path, &keep.tables(), storage)?;
        let modes = Modes::open(kept.then(|| store.dir()), dissection.mode)?;
        let modes = Arc::new(modes);

        let state = Arc::new(State::new(inputs));
        let tails = Arc::new(Tails::default());
        let (stop, stopped) = mpsc::channel();
        let (done, imported) = watch::channel(false);
        let names = Arc::new(Names::default());
        let (reader, chooser) = processes::start(tracing, &node, &names, &state)?.unzip();
        state.capturing.store(reader.is_some() || !matches!(opened, Opened::None), Relaxed);
        let config = dissect::Config {
            node: node.clone(),
            limits,
            keep,
            names: Some(Arc::clone(&names) as _),
            merge_copies: matches!(opened, Opened::Live(_)),
            secrets,
        };
        let demand = Demand::start(
            store.clone(),
            &config,
            Arc::clone(&modes),
            Arc::clone(&state),
            dissection.slice,
        )?;
        let supply: Arc<dyn query::Supply> = Arc::clone(&demand) as _;
        let options = query::Options::default();
        let engine = query::node::Service::supplied(store.clone(), Some(supply), &options)?;
        let mut pipeline = Pipeline::new(
            config,
            store.clone(),
            Arc::clone(&state),
            Arc::clone(&tails),
            report,
            Watched {
                stop: stopped,
                modes: Arc::clone(&modes),
                arrivals: demand.arrivals(),
                processes: reader,
            },
        );
        pipeline.inherit(recovery.losses.clone());
        let handle = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || pipeline.run(opened, || _ = done.send_replace(true)))
            .map_err(Error::Thread)?;
        let thread = Mutex::new(Some(Thread { handle, stop }));
        let folder = Mutex::new(folder);
        let shared = Shared {
            node,
            store,
            state,
            tails,
            engine,
            modes,
            demand,
            names,
            recovery,
            imported,
            thread,
            chooser: Mutex::new(chooser),
            folder,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Its node's name.
    pub fn node_name(&self) -> &str {
        &self.shared.node
    }

    /// When it dissects packets.
    pub fn dissection(&self) -> Dissection {
        self.shared.modes.now()
    }

    /// Changes when it dissects packets, from the next packets on.
    pub fn set_dissection(&self, mode: Dissection) -> Result<(), Error> {
        self.shared.modes.set(mode)
    }

    /// What makes rows of packets that were not dissected, for an engine on this worker's store.
    pub fn supply(&self) -> Arc<dyn query::Supply> {
        Arc::clone(&self.shared.demand) as _
    }

    /// Its rows.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// What it found of an earlier process.
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// How it does, now.
    pub fn health(&self) -> NodeHealth {
        self.shared.health()
    }

    /// Waits until all files are read (or the capture has ended) and every row of them can be asked for.
    pub async fn imported(&self) -> Import {
        let mut imported = self.shared.imported.clone();
        // An error means that the thread is gone, so there is no more to wait for.
        drop(imported.wait_for(|done| *done).await);
        self.import()
    }

    /// [`imported`](Self::imported), where there is nothing async.
    pub fn import_so_far(&self) -> Import {
        self.import()
    }

    /// Whether all there is to read has been read.
    pub fn is_imported(&self) -> bool {
        *self.shared.imported.borrow()
    }

    /// Ends capture, makes every row durable and lets go of the store. Rows of a temporary store go with it.
    pub fn stop(&self) -> Result<(), Error> {
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Thread { handle, stop }) = thread else { return Ok(()) };
        drop(self.shared.chooser.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(stop);
        let joined = handle.join();
        self.shared.demand.stop();
        let folder = self.shared.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        match folder {
            Some(folder) => drop(folder),
            None => self.shared.store.seal()?,
        }
        joined.map_err(|_| Error::Defect)
    }

    fn import(&self) -> Import {
        let state = &self.shared.state;
        let errors = state
            .slow()
            .inputs
            .iter()
            .filter_map(|it| it.error.as_ref())
            .map(|it| it.message.clone())
            .collect();
        Import {
            packets: state.packets.load(Relaxed),
            bytes: state.bytes.load(Relaxed),
            rows: state.rows.load(Relaxed),
            errors,
        }
    }
}

impl Shared {
    pub(crate) fn health(&self) -> NodeHealth {
        let health = self.state.health(&self.store, &self.tails, self.modes.now());
        NodeHealth { names: self.names.health(), ..health }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Thread { handle, stop }) = thread else { return };
        drop(stop);
        if handle.join().is_err() {
            tracing::error!("the capture thread panicked");
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("node", &self.node)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

fn file(path: &Path) -> Input {
    let stdin = path.as_os_str() == "-";
    Input {
        kind: if stdin { InputKind::Stdin } else { InputKind::File },
        name: if stdin { "standard input".to_owned() } else { path.display().to_string() },
        ..Input::default()
    }
}

/// How long an import waits for the disk before rows are dropped, and counted.
const PATIENCE: Duration = Duration::from_secs(300);
