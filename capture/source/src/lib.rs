//! Where packets come from: capture files, standard input and live interfaces.
//!
//! Both sources lend each packet out of their own buffer, so that reading copies nothing:
//!
//! ```no_run
//! # fn main() -> Result<(), source::Error> {
//! let mut file = source::open_file("trace.pcapng.zst".as_ref())?;
//! while let Some(packet) = file.next()? {
//!     let _length = packet.wire_len;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `unsafe` is allowed here, and in few other places (ARCHITECTURE.md): waiting for a descriptor with a time limit
//! (`poll`), memory shared with the kernel and the options of its sockets, a thread's priority and a process's limits have
//! no safe form in the standard library.
#![allow(unsafe_code, reason = "calls of the kernel; see `wait`, `live/ring` and `process`")]

mod error;
mod file;
mod live;
pub mod process;
mod wait;

pub use error::Error;
pub use file::{FileSource, Item, open_file};
pub use live::{Drops, Interface, Live, LiveConfig, Way, interfaces};

/// The largest packet that is accepted from a file whose header does not announce a larger one. What libpcap
/// and Wireshark take for the largest that any tool writes.
pub const PACKET_BYTES: usize = 256 << 10;
