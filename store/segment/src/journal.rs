//! How many rows are in memory only, so that after a crash their number is known.
//!
//! The file has two slots, written in turn, each with a checksum: a torn write leaves the other.
//! It is written at every append (one `pwrite`, no sync): the kernel keeps it when the process is
//! killed, and what it says is then exact. When the machine itself dies it may be some seconds
//! old. Rows that are being sealed carry their segment's number; if that segment is there after a
//! crash, they are not lost. Losses that nobody was told of yet stand there too.
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::Error;
use crate::disk::Disk;

/// Rows of one table that are in memory only, or were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) table: String,
    /// The segment they are being sealed into.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) seq: Option<u64>,
    /// The stage at which they were lost.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) lost: Option<Cow<'static, str>>,
    /// The name of their segment, where the bucket may have it or its file may not be gone yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) file: Option<String>,
    /// The seals that it had.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) seals: Option<String>,
    /// Whether they are lost even if the bucket has it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) sure: bool,
    /// The store that numbered that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) origin: Option<u64>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    disk: Disk,
    generation: u64,
    slot: Vec<u8>,
    failing: bool,
}

/// What a journal said when it was opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// There was none: the store is new.
    New,
    /// These rows were in memory only.
    Said(Vec<Entry>),
    /// Neither slot is whole.
    Unreadable,
}

impl Journal {
    /// Opens the journal on `disk` and says what the last process left there. It keeps saying so
    /// until the next [`Journal::write`].
    pub(crate) fn open(disk: &Disk) -> Result<(Self, Last), Error> {
        let path = disk.dir.join("journal");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::io("open", &path))?;
        let found = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let slots = [found.get(..SLOT), found.get(SLOT..2 * SLOT)];
        let newest = slots.into_iter().flatten().filter_map(parse).max_by_key(|it| it.0);
        // The space is taken now, so that a full disk can't keep the journal from being written.
        if found.len() < 2 * SLOT {
            let missing = vec![0; 2 * SLOT - found.len()];
            let written = file.write_all_at(&missing, found.len() as u64);
            written.map_err(Error::io("write", &path))?;
        }
        let generation = newest.as_ref().map_or(0, |it| it.0);
        let (disk, slot) = (disk.clone(), Vec::new());
        let mut journal = Self { file, path, disk, generation, slot, failing: false };
        let last = match newest {
            Some((_, entries)) => Last::Said(entries),
            None if found.is_empty() => {
                journal.write(&[]);
                Last::New
            }
            None => Last::Unreadable,
        };
        Ok((journal, last))
    }

    /// Replaces what the journal says. A failure is logged, not returned: capture goes on.
    pub(crate) fn write(&mut self, entries: &[Entry]) {
        self.generation += 1;
        if !fill(&mut self.slot, self.generation, entries) {
            fill(&mut self.slot, self.generation, &[sum(entries)]);
        }
        let at = (self.generation % 2) * SLOT as u64;
        match self.disk.overwrite(&self.file, &self.slot, at) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(path = %self.path.display(), %error, "could not write the journal");
            }
            Err(_) => {}
        }
    }
}

/// One slot: checksum, generation and length in hex, then the entries. False if it is too long.
fn fill(slot: &mut Vec<u8>, generation: u64, entries: &[Entry]) -> bool {
    slot.clear();
    slot.resize(HEAD, b' ');
    if serde_json::to_writer(&mut *slot, entries).is_err() || slot.len() > SLOT {
        return false;
    }
    let len = slot.len() - HEAD;
    let head = format!("{generation:016x} {len:08x}\n");
    slot[17..HEAD].copy_from_slice(head.as_bytes());
    let sum = format!("{:016x} ", hash(&slot[17..]));
    slot[..17].copy_from_slice(sum.as_bytes());
    true
}

fn parse(slot: &[u8]) -> Option<(u64, Vec<Entry>)> {
    let number = |range| u64::from_str_radix(std::str::from_utf8(slot.get(range)?).ok()?, 16).ok();
    let sum = number(0..16)?;
    let generation = number(17..33)?;
    let len = usize::try_from(number(34..42)?).ok()?;
    let end = HEAD.checked_add(len)?;
    if slot.get(16) != Some(&b' ') || hash(slot.get(17..end)?) != sum {
        return None;
    }
    Some((generation, serde_json::from_slice(slot.get(HEAD..end)?).ok()?))
}

/// All entries as one, of no table: less is known, but the number is right.
fn sum(entries: &[Entry]) -> Entry {
    Entry {
        rows: entries.iter().map(|it| it.rows).sum(),
        bytes: entries.iter().map(|it| it.bytes).sum(),
        from: entries.iter().map(|it| it.from).min().unwrap_or_default(),
        to: entries.iter().map(|it| it.to).max().unwrap_or_default(),
        ..Entry::default()
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(bytes);
    hasher.finish()
}

/// Enough for more than a hundred tables, and a hundred segments that expire at once.
const SLOT: usize = 64 << 10;
/// `checksum generation length\n`.
const HEAD: usize = 16 + 1 + 16 + 1 + 8 + 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(table: &str, rows: u64) -> Entry {
        let table = table.to_owned();
        Entry { table, rows, bytes: 10 * rows, from: 1, to: 2, ..Entry::default() }
    }

    #[test]
    fn says_what_was_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path(), None);
        let (mut journal, last) = Journal::open(&disk).unwrap();
        assert_eq!(last, Last::New);
        for rows in 0..5 {
            journal.write(&[entry("http", rows), entry("dns", 7)]);
            let (_, last) = Journal::open(&disk).unwrap();
            assert_eq!(last, Last::Said(vec![entry("http", rows), entry("dns", 7)]));
        }
    }

    #[test]
    fn a_damaged_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path(), None);
        let (mut journal, _) = Journal::open(&disk).unwrap();
        journal.write(&[entry("http", 1)]);
        journal.write(&[entry("http", 2)]);
        let path = dir.path().join("journal");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..60 {
            let mut bytes = whole.clone();
            bytes[SLOT + at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let (_, last) = Journal::open(&disk).unwrap();
            assert_eq!(last, Last::Said(vec![entry("http", 1)]), "byte {at}");
        }
        std::fs::write(&path, &whole[..30]).unwrap();
        assert_eq!(Journal::open(&disk).unwrap().1, Last::Unreadable);
    }

    #[test]
    fn too_many_tables_are_summed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path(), None);
        let (mut journal, _) = Journal::open(&disk).unwrap();
        let entries = (0..4000).map(|it| entry(&format!("table{it}"), 3)).collect::<Vec<_>>();
        journal.write(&entries);
        let (_, Last::Said(said)) = Journal::open(&disk).unwrap() else { panic!() };
        assert_eq!(said, [entry("", 12_000)]);
    }
}
