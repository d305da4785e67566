//! Rows on a node: the newest in memory, the rest in Parquet segments that never change.
//!
//! [`Store::append`] makes rows visible at once; a background thread seals them into segments by
//! size and by age, another merges small segments, a third moves them to a [`Bucket`].
//! [`Store::snapshot`] gives a table's rows, each exactly once: batches from memory and segments
//! from wherever they are, which a [`Reader`] reads. Nothing here needs a query engine, and what
//! is on disk needs nothing of ours:
//!
//! ```text
//! DIR/
//!   lock                                     held by the one process that uses DIR
//!   id                                       the store's own number, and how often it was opened
//!   journal                                  how many rows are in memory only (see `journal.rs`)
//!   coverage                                 whose records were made (see `coverage.rs`)
//!   http/01763805600000000000-00000042-8192-5f0c9e71a2b3d4e6.parquet
//!     │     │                 │        │    └ checks of the footer and of the page index
//!     │     │                 │        └ rows
//!     │     │                 └ the order of sealing; 00000042_00000057 was merged of such
//!     │     └ the first row's time, nanoseconds since 1970
//!     └ the table
//!   cache/                                   what was read of the bucket, for as long as we run
//!   torn/                                    set aside: damaged, half written, or not ours
//! ```
//!
//! So `select * from 'DIR/http/*.parquet'` is a query in DuckDB, with or without Kubeshark. Rows
//! are in the order of `ts` within a file. What was merged goes as soon as nobody reads it; who
//! looks on from outside may see its rows twice until then. Columns keep their docs and kinds in the
//! Arrow schema of the footer (`ARROW:schema`); the footer's own key-value pairs are listed in
//! [`keys`]. A bucket has the same files: see `bucket.rs`.

mod blocks;
mod bloom;
mod bucket;
mod catalog;
mod coverage;
mod dictionary;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod footers;
mod hot;
mod journal;
mod layout;
mod merge;
mod name;
mod reader;
mod recover;
mod retention;
mod store;
mod writer;

pub use bloom::Blooms;
pub use bucket::Bucket;
pub use catalog::Segment;
pub use coverage::Stretch;
pub use dictionary::Dictionaries;
pub use error::Error;
pub use footers::keys;
pub use layout::Layout;
pub use reader::{Batches, Reader};
pub use recover::{Recovery, Torn};
pub use store::{Options, Replacement, Snapshot, Store, StoreState, TableState};

/// Rows that were captured and are no longer, or never were, to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The table they belonged to.
    pub table: String,
    /// The time of the first lost row, nanoseconds since 1970.
    pub from_ts: i64,
    /// The time of the last one.
    pub to_ts: i64,
    /// Where they were lost: one of [`stage`].
    pub stage: &'static str,
    /// How many; 0 where it can't be known.
    pub rows: u64,
    /// How many bytes they took, in memory or on disk.
    pub bytes: u64,
    /// What happened, for a reader.
    pub detail: String,
}

/// Where rows are lost.
pub mod stage {
    /// They were in memory only when the process died.
    pub const CRASH: &str = "crash";
    /// Their segment was damaged and is set aside.
    pub const TORN: &str = "torn";
    /// Their segment was older, or the table's class larger, than is to be kept.
    pub const QUOTA: &str = "quota";
    /// The disk was full, failed, or was too slow.
    pub const DISK: &str = "disk";

    /// The one that is written so.
    pub(crate) fn known(stage: &str) -> &'static str {
        [TORN, QUOTA, DISK].into_iter().find(|it| *it == stage).unwrap_or(CRASH)
    }
}
