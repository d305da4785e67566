//! The store's directory, as far as it is written: the one place where a test makes a disk fail.
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;

/// A directory. Every step that changes what is in it, or reads what was changed, goes through here.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) dir: PathBuf,
    /// None outside of tests.
    faults: Option<Arc<dyn Faults>>,
}

/// What is done on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Sync,
    SyncDir,
    Rename,
    Remove,
    Read,
}

/// A disk that fails.
pub(crate) trait Faults: fmt::Debug + Send + Sync {
    /// An error, in place of a step.
    fn step(&self, step: Step, path: &Path) -> io::Result<()>;

    /// How many of so many new bytes are written, in a store in `dir`.
    fn write(&self, dir: &Path, bytes: usize) -> io::Result<usize>;

    /// How many of so many bytes are written over others.
    fn overwrite(&self, bytes: usize) -> io::Result<usize>;
}

impl Disk {
    pub(crate) fn new(dir: &Path, faults: Option<Arc<dyn Faults>>) -> Self {
        Self { dir: dir.to_path_buf(), faults }
    }

    /// An error if the step is to fail.
    pub(crate) fn may(&self, step: Step, path: &Path) -> Result<(), Error> {
        let Some(faults) = &self.faults else { return Ok(()) };
        faults.step(step, path).map_err(Error::io(step.verb(), path))
    }

    /// A new file, or the one of that name made empty.
    pub(crate) fn create(&self, path: &Path) -> Result<File, Error> {
        self.may(Step::Create, path)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        file.map_err(Error::io(Step::Create.verb(), path))
    }

    pub(crate) fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        let Some(faults) = &self.faults else { return file.write(bytes) };
        let taken = faults.write(&self.dir, bytes.len())?;
        file.write(bytes.get(..taken).unwrap_or(bytes))
    }

    pub(crate) fn write_all(&self, file: &File, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(file, bytes)?;
            let left = bytes.get(written..).filter(|_| written > 0);
            bytes = left.ok_or(io::ErrorKind::WriteZero)?;
        }
        Ok(())
    }

    /// Writes over what was written before.
    pub(crate) fn overwrite(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let Some(faults) = &self.faults else { return file.write_all_at(bytes, at) };
        let taken = faults.overwrite(bytes.len())?;
        file.write_all_at(bytes.get(..taken).unwrap_or(bytes), at)?;
        if taken < bytes.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    pub(crate) fn sync(&self, file: &File, path: &Path) -> Result<(), Error> {
        self.may(Step::Sync, path)?;
        file.sync_all().map_err(Error::io(Step::Sync.verb(), path))
    }

    /// Makes what was created, renamed or removed in `dir` durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), Error> {
        self.may(Step::SyncDir, dir)?;
        File::open(dir).and_then(|it| it.sync_all()).map_err(Error::io(Step::SyncDir.verb(), dir))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.may(Step::Rename, from)?;
        std::fs::rename(from, to).map_err(Error::io(Step::Rename.verb(), from))
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        self.may(Step::Remove, path)?;
        std::fs::remove_file(path).map_err(Error::io(Step::Remove.verb(), path))
    }
}

impl Step {
    const fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Sync | Self::SyncDir => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Read => "read",
        }
    }
}
