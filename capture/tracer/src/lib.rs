//! What processes say to their TLS libraries, and whose sockets are whose, read by programs in the kernel (eBPF).
//!
//! Nothing is traced until cgroups are targeted, and then only their processes. The programs attach to the functions
//! of OpenSSL and GnuTLS by which a process reads and writes; each piece of plaintext comes with the two ends of its
//! connection, its place in the stream, and the process. The traced program never waits: what the reader is too slow
//! for is lost, and counted.
//!
//! ```no_run
//! # fn main() -> Result<(), tracer::Error> {
//! use std::time::Duration;
//! let mut tracer = tracer::Tracer::start(&tracer::Options::default())?;
//! tracer.targets().set(&[tracer::cgroup_id("/sys/fs/cgroup/mine".as_ref())?])?;
//! let mut dissection = dissect::Dissection::new(dissect::Config::default());
//! tracer.read(Duration::from_millis(20), &mut |event| event.feed(&mut dissection));
//! # Ok(())
//! # }
//! ```
//!
//! `unsafe` is allowed here for two calls of the kernel that the standard library has no safe form of (`sys`).

mod capabilities;
mod event;
mod feed;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod elsewhere;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux;

pub use capabilities::{Capabilities, Hook, Purpose};
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub use elsewhere::{Targets, Tracer, cgroup_id, cgroup_root, cgroups_below, pod_cgroups};
pub use event::{
    Counters, Ended, Ends, Event, Library, Plaintext, Process, Role, Running, Socket, What,
};
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use linux::{Targets, Tracer, cgroup_id, cgroup_root, cgroups_below, pod_cgroups};

/// How to trace.
#[derive(Debug, Clone)]
pub struct Options {
    /// Room in the kernel for events that were not read yet, for all processors together. Rounded up to a power of two.
    pub ring_bytes: u32,
    /// How often new processes and libraries are looked for, beside the moments at which a program starts.
    pub rescan: std::time::Duration,
}

impl Default for Options {
    fn default() -> Self {
        // One write of 16 MB, and a reader that is late by as much.
        Self { ring_bytes: 32 << 20, rescan: std::time::Duration::from_secs(1) }
    }
}

/// Why there is no tracing. Every message is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine can't.
    #[error("processes can't be traced here: {reason}")]
    Unsupported {
        /// What is missing.
        reason: String,
    },
    /// The process may not.
    #[error(
        "no permission to trace processes: run as root, or with the capabilities SYS_ADMIN, SYS_PTRACE, BPF and PERFMON \
         (missing: {missing})"
    )]
    Permission {
        /// The capabilities that are missing.
        missing: String,
    },
    /// Something else went wrong.
    #[error("can't {what}: {cause}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What the kernel says.
        cause: String,
    },
}
