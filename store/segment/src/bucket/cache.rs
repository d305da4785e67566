//! What was read of a bucket, on this node's disk, up to a bound. It goes with the process.
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::Error;
use crate::footers::check;

/// Pieces of objects in files of their own; the one not asked for longest goes first.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    bound: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    /// Counts up with every question and every file.
    turn: u64,
    units: HashMap<(String, u64), Unit>,
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    /// The file's name.
    file: u64,
    bytes: u64,
    /// So that a damaged file is a missing one.
    check: u32,
    asked: u64,
}

impl Cache {
    /// Opens an empty cache.
    pub(crate) fn open(dir: PathBuf, bound: u64) -> Result<Self, Error> {
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(Error::io("empty", &dir))?;
        }
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        Ok(Self { dir, bound, held: Mutex::default() })
    }

    /// The piece of that number of an object, if it is here.
    pub(crate) fn find(&self, object: &str, unit: u64) -> Option<Bytes> {
        let key = (object.to_owned(), unit);
        let found = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.turn += 1;
            let asked = held.turn;
            let unit = held.units.get_mut(&key)?;
            unit.asked = asked;
            *unit
        };
        let bytes = std::fs::read(self.path(found.file)).ok().map(Bytes::from);
        let whole = bytes.filter(|it| it.len() as u64 == found.bytes && check(it) == found.check);
        if whole.is_none() {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.units.get(&key).is_some_and(|it| it.file == found.file) {
                held.units.remove(&key);
                held.bytes -= found.bytes;
                drop(held);
                self.delete(&[found]);
            }
        }
        whole
    }

    /// Keeps a piece. It need not succeed.
    pub(crate) fn put(&self, object: &str, unit: u64, bytes: &[u8]) {
        if bytes.len() as u64 > self.bound {
            return;
        }
        let turn = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.turn += 1;
            held.turn
        };
        let new = Unit { file: turn, bytes: bytes.len() as u64, check: check(bytes), asked: turn };
        if let Err(error) = std::fs::write(self.path(new.file), bytes) {
            tracing::debug!(%error, "could not keep what was read of the bucket");
            self.delete(&[new]);
            return;
        }
        let mut gone = Vec::new();
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.bytes += new.bytes;
            if let Some(before) = held.units.insert((object.to_owned(), unit), new) {
                held.bytes -= before.bytes;
                gone.push(before);
            }
            while held.bytes > self.bound {
                let oldest = held.units.iter().min_by_key(|it| it.1.asked);
                let Some(oldest) = oldest.map(|it| it.0.clone()) else { break };
                let Some(unit) = held.units.remove(&oldest) else { break };
                held.bytes -= unit.bytes;
                gone.push(unit);
            }
        }
        self.delete(&gone);
    }

    /// Drops a piece that is not what was written.
    pub(crate) fn remove(&self, object: &str, unit: u64) {
        let gone = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = held.units.remove(&(object.to_owned(), unit));
            held.bytes -= gone.map_or(0, |it| it.bytes);
            gone
        };
        self.delete(gone.as_slice());
    }

    fn delete(&self, units: &[Unit]) {
        for unit in units {
            let path = self.path(unit.file);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "could not delete from the cache");
            }
        }
    }

    fn path(&self, file: u64) -> PathBuf {
        self.dir.join(format!("{file:016}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_was_asked_for_last_within_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 1_000).unwrap();
        for unit in 0..4 {
            cache.put("a", unit, &[unit as u8; 300]);
            assert_eq!(cache.find("a", 0).unwrap(), vec![0; 300], "asked for all the time");
        }
        assert_eq!(cache.find("a", 1), None);
        assert_eq!(cache.find("a", 3).unwrap(), vec![3; 300]);
        assert_eq!(cache.find("b", 3), None);
        let files = || std::fs::read_dir(dir.path().join("cache")).unwrap().count();
        assert_eq!(files(), 3);
        cache.put("b", 0, &[0; 1_001]);
        assert_eq!((cache.find("b", 0), files()), (None, 3), "larger than all of it");
        // The same piece again takes no more room.
        cache.put("a", 3, &[9; 300]);
        assert_eq!((cache.find("a", 3).unwrap(), files()), (vec![9; 300].into(), 3));
    }

    #[test]
    fn a_damaged_piece_is_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 1_000).unwrap();
        cache.put("a", 0, &[7; 100]);
        let file = std::fs::read_dir(dir.path().join("cache")).unwrap().next().unwrap().unwrap();
        std::fs::write(file.path(), [7; 99]).unwrap();
        assert_eq!(cache.find("a", 0), None);
        cache.put("a", 0, &[7; 100]);
        assert_eq!(cache.find("a", 0).unwrap(), vec![7; 100]);
    }
}
