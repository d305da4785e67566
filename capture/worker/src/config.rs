use std::{path::PathBuf, time::Duration};

use api::Dissection;
use dissect::{Keep, Limits, Secrets};
use segment::Options;
use source::LiveConfig;

/// What a worker reads, and what it keeps of it.
#[derive(Debug)]
pub struct Config {
    /// The node's name, which every row carries.
    pub node: String,
    /// The store's folder. Without one the rows live in a temporary folder, which goes with the worker.
    pub store: Option<PathBuf>,
    /// Where packets come from.
    pub inputs: Inputs,
    /// The bounds of the capture path.
    pub limits: Limits,
    /// Which tables are filled.
    pub keep: Keep,
    /// The store's bounds and retention. For old captures, leave the age open: it is counted from now.
    pub storage: Options,
    /// When packets are dissected.
    pub dissection: DissectionConfig,
    /// What opens TLS in files; those that files carry come on top.
    pub secrets: Secrets,
    /// Whose TLS is read in the processes themselves.
    pub tracing: TracingConfig,
}

/// Whose TLS is read in the processes themselves, and whose names connections get: nobody's, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracingConfig {
    /// Processes of these cgroups and of those below them: folders, or their paths below the root of all cgroups.
    pub cgroups: Vec<PathBuf>,
    /// Processes of the pods on this node whose traffic is kept, as the Hub tells.
    pub pods: bool,
}

impl TracingConfig {
    /// Nothing is to be read.
    pub const fn is_empty(&self) -> bool {
        self.cgroups.is_empty() && !self.pods
    }
}

/// When packets are dissected.
#[derive(Clone, Copy, Debug)]
pub struct DissectionConfig {
    /// The mode to begin with; else the one that the store's folder remembers, else live.
    pub mode: Option<Dissection>,
    /// What is dissected on demand is dissected in slices of this length, each once.
    pub slice: Duration,
}

impl Default for DissectionConfig {
    fn default() -> Self {
        // Short beside what a question is about, long beside what reading a segment costs.
        Self { mode: None, slice: Duration::from_secs(10) }
    }
}

/// Where packets come from.
#[derive(Debug, Default)]
pub enum Inputs {
    /// Nowhere: the worker serves what its store holds.
    #[default]
    None,
    /// Capture files, read once and in this order; `-` is standard input.
    Files(Vec<PathBuf>),
    /// An interface.
    Live(LiveConfig),
}

/// The Hub to link to.
#[derive(Clone)]
pub struct Hub {
    /// Such as `ws://hub:8899`.
    pub address: String,
    /// What it asks of its workers, if it does.
    pub token: Option<String>,
    /// What it is shown and must show, where the link is by TLS.
    pub certificates: Option<link::Certificates>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("address", &self.address).finish_non_exhaustive()
    }
}
