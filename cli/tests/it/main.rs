//! The binary as a user meets it: processes, files, sockets, and real programs talking on loopback.
#![allow(clippy::disallowed_methods, reason = "a test asks where it runs")]

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
