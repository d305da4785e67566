//! The binary as a user meets it: processes, files, sockets, and real programs talking on loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test asks where it runs, shows what programs said, and fails by panicking"
)]

mod chart;
mod config;
mod crash;
mod demand;
mod fleet;
mod live;
mod memory;
mod page;
mod pods;
mod processes;
mod query;
mod traced;
mod traffic;
mod transcripts;
mod truth;
mod watched;
