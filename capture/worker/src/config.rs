use std::path::PathBuf;

use dissect::{Keep, Limits};
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
    /// Such as `ws://hub:8898`.
    pub address: String,
    /// What it asks of its workers, if it does.
    pub token: Option<String>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("address", &self.address).finish_non_exhaustive()
    }
}
