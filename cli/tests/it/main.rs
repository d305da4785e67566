//! The binary as a user meets it: processes, files, sockets, and real programs talking on loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test asks where it runs, shows what programs said, and fails by panicking"
)]

mod crash;
mod fleet;
mod live;
mod memory;
mod page;
mod processes;
mod query;
mod traffic;
mod transcripts;
mod truth;
