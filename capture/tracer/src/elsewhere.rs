//! Where the kernel has no such programs, or none that were built for this processor.
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    Capabilities, Counters, Ended, Error, Event, Hook, Library, Options, Purpose, Running,
};

/// Reads what processes say; nobody has one here.
#[derive(Debug)]
pub struct Tracer(std::convert::Infallible);

/// Which cgroups are traced; nobody has one here.
#[derive(Debug, Clone)]
pub struct Targets(std::convert::Infallible);

impl Tracer {
    /// Says that there is nothing.
    #[must_use]
    pub fn probe() -> Capabilities {
        let missing = Some(REASON.to_owned());
        Capabilities { hooks: vec![Hook { name: "ebpf", purpose: Purpose::All, missing }] }
    }

    /// Says that there is nothing.
    pub fn start(_: &Options) -> Result<Self, Error> {
        Err(unsupported())
    }

    /// Which cgroups are traced.
    #[must_use]
    pub fn targets(&self) -> &Targets {
        match self.0 {}
    }

    /// What can be traced.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        match self.0 {}
    }

    /// Hands over what happened.
    pub fn read(&mut self, _: Duration, _: &mut dyn FnMut(Event<'_>)) -> usize {
        match self.0 {}
    }

    /// What was seen and lost.
    #[must_use]
    pub fn counters(&self) -> Counters {
        match self.0 {}
    }

    /// What is read, and what is not.
    #[must_use]
    pub fn libraries(&self) -> Vec<Library> {
        match self.0 {}
    }

    /// The processes that are targeted.
    #[must_use]
    pub fn running(&self) -> Vec<Arc<Running>> {
        match self.0 {}
    }

    /// Those that have ended.
    #[must_use]
    pub fn ended(&self) -> Ended {
        match self.0 {}
    }
}

impl Targets {
    /// Traces these cgroups, and no others.
    pub fn set(&self, _: &[u64]) -> Result<(), Error> {
        match self.0 {}
    }
}

/// The cgroup that is the folder `path`.
pub fn cgroup_id(_: &Path) -> Result<u64, Error> {
    Err(unsupported())
}

/// The cgroup that is the folder `path`, and all below it.
pub fn cgroups_below(_: &Path) -> io::Result<Vec<u64>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The cgroups of pods.
pub fn pod_cgroups(_: &dyn Fn(&str) -> bool) -> Result<Vec<u64>, Error> {
    Err(unsupported())
}

/// Where the cgroups of version 2 are mounted.
pub fn cgroup_root() -> Option<PathBuf> {
    None
}

fn unsupported() -> Error {
    Error::Unsupported { reason: REASON.to_owned() }
}

const REASON: &str = "it takes Linux on x86_64 or aarch64";
