use std::{io, path::PathBuf};

/// Why a worker can't do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input can't be opened.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The store can't be opened or written.
    #[error(transparent)]
    Store(#[from] segment::Error),
    /// The query engine doesn't start.
    #[error(transparent)]
    Query(#[from] query::Error),
    /// There is no place for the rows.
    #[error("can't make a temporary folder for the rows: {0}")]
    Folder(io::Error),
    /// The mode of dissection can't be remembered.
    #[error("can't write {}: {source}", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The system has no thread left.
    #[error("can't start a thread: {0}")]
    Thread(io::Error),
    /// The capture thread panicked: a defect.
    #[error("the capture thread stopped unexpectedly")]
    Defect,
    /// The Hub's address is none, or the Hub doesn't want this worker.
    #[error(transparent)]
    Hub(#[from] link::DialError),
}
