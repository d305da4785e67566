//! What can go wrong, by what the caller can do about it.
use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the directory open. Stop it, or use another directory.
    #[error("{} is in use by {}: stop it or choose another directory", dir.display(), owner(*pid))]
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// The process that holds it, if it said so.
        pid: Option<u32>,
    },
    /// The table was not declared when the store was opened.
    #[error("no table is named {0:?}")]
    UnknownTable(String),
    /// The table's declaration can't be stored.
    #[error("table {table:?} can't be stored: {reason}")]
    Table {
        /// The table's name.
        table: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The batch is not of the table's columns.
    #[error("rows don't fit table {table}: {reason}")]
    Rows {
        /// The table's name.
        table: String,
        /// What differs.
        reason: String,
    },
    /// The disk did not take rows fast enough. These rows were dropped, and are counted as lost.
    #[error("{rows} rows of {table} were dropped because the disk did not keep up")]
    Behind {
        /// The table's name.
        table: String,
        /// How many rows were dropped.
        rows: u64,
    },
    /// Rows in memory could not be sealed. They stay in memory and are tried again.
    #[error("could not seal rows: {0}")]
    NotSealed(String),
    /// A segment is damaged or was not written by this program.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Parquet could not be written or read.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What Parquet says.
        source: ParquetError,
    },
    /// The bucket is named wrongly, or does not do what is asked of it.
    #[error("bucket {url}: {reason}")]
    Bucket {
        /// As it was named.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The operating system refused.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: what was tried, on which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    /// For `map_err`: an I/O error or one of ours that went through Parquet comes out as such.
    pub(crate) fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> Self {
        let path = path.to_path_buf();
        move |source| match source {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(source) => Self::Io { doing: "read or write", path, source: *source },
                Err(inner) => match inner.downcast::<Self>() {
                    Ok(ours) => *ours,
                    Err(inner) => Self::Parquet { path, source: ParquetError::External(inner) },
                },
            },
            source => Self::Parquet { path, source },
        }
    }

    /// Whether freeing space would help.
    pub(crate) fn is_full_disk(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the file's content is at fault, and not the process or the machine.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
            }
            Self::Damaged { .. } | Self::Parquet { .. } => true,
            _ => false,
        }
    }

    /// Whether trying again with the same rows could help.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

fn owner(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
