//! What a reader of the store would notice.
#[path = "it/crash.rs"]
mod crash;
#[path = "it/flood.rs"]
mod flood;
#[path = "it/kinds.rs"]
mod kinds;
#[path = "it/rows.rs"]
mod rows;
#[path = "it/snapshots.rs"]
mod snapshots;
