//! What a reader of the store would notice.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a test tells its child by the environment")]
#[path = "it/buckets.rs"]
mod buckets;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/damage.rs"]
mod damage;
#[path = "it/flood.rs"]
mod flood;
#[path = "it/kinds.rs"]
mod kinds;
#[path = "it/merges.rs"]
mod merges;
#[path = "it/peers.rs"]
mod peers;
#[path = "it/replace.rs"]
mod replace;
#[path = "it/rounds.rs"]
mod rounds;
#[path = "it/rows.rs"]
mod rows;
#[path = "it/snapshots.rs"]
mod snapshots;
