//! Which stretches of time have been made into records, and by which version of what makes them.
//!
//! It is kept in one small file, `coverage`, together with the replacement of segments that is
//! under way: what is in the file is decided, and is carried out when the store is opened next if
//! the process died before it was. So records and what is said of them change at one moment.
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::{Error, Loss};

/// A stretch of time, from its first nanosecond to before `to`, whose records were made by one
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its beginning, nanoseconds since 1970.
    pub from: i64,
    /// Its end, which is not part of it.
    pub to: i64,
    /// What made its records.
    pub version: u32,
}

/// The stretches that are covered: in order, none touching another of the same version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Coverage {
    stretches: Vec<Stretch>,
    /// The last replacement.
    pub(crate) replaced: Replaced,
}

/// A replacement of segments, decided and perhaps not carried out to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replaced {
    /// Files and the names they are to have, relative to the store's directory.
    pub(crate) names: Vec<(String, String)>,
    /// Files that are replaced. They may be read until the last reader lets go.
    pub(crate) gone: Vec<String>,
}

impl Coverage {
    /// Reads what the last process decided, and carries it out. What was written and not decided goes.
    pub(crate) fn open(disk: &Disk, folders: &[String]) -> Result<Self, Error> {
        let path = disk.dir.join(FILE);
        let mut coverage = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Self>(&bytes).unwrap_or_else(|error| {
                // All is made again from packets, which costs time and nothing else.
                tracing::warn!(path = %path.display(), %error, "not read; nothing counts as covered");
                Self::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let decided = std::mem::take(&mut coverage.replaced);
        decided.carry_out(disk)?;
        for folder in folders {
            for file in drafts(&disk.dir.join(folder))? {
                disk.remove(&file)?;
            }
        }
        if decided != Replaced::default() {
            coverage.save(disk, true)?;
        }
        Ok(coverage)
    }

    /// Writes it, whole or not at all.
    pub(crate) fn save(&self, disk: &Disk, durable: bool) -> Result<(), Error> {
        let (path, temporary) = (disk.dir.join(FILE), disk.dir.join(TEMPORARY));
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let file = disk.create(&temporary)?;
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            let written = disk.write(&file, left).map_err(Error::io("write", &temporary))?;
            if written == 0 {
                let none = std::io::ErrorKind::WriteZero.into();
                return Err(Error::io("write", &temporary)(none));
            }
            left = left.get(written..).unwrap_or_default();
        }
        if durable {
            disk.sync(&file, &temporary)?;
        }
        disk.rename(&temporary, &path)?;
        if durable { disk.sync_dir(&disk.dir) } else { Ok(()) }
    }

    /// Rows were lost: of their time nothing counts as made, so that it is made again. But where rows of
    /// `source`, which it would be made of, were lost too, making it again would cost records that are
    /// there and bring none back. True if that is news.
    pub(crate) fn lose(&mut self, losses: &[&Loss], source: &str) -> bool {
        let before = self.clone();
        let spans = |of_source: bool| {
            let those = losses.iter().filter(move |it| (it.table == source) == of_source);
            those.filter(|it| it.to_ts > 0).map(|it| it.from_ts..it.to_ts.saturating_add(1))
        };
        for span in spans(false) {
            self.set(&span, None);
        }
        for span in spans(true) {
            let near = span.start.saturating_sub(NEAR)..span.end.saturating_add(NEAR);
            for it in &before.stretches {
                self.set(&(it.from.max(near.start)..it.to.min(near.end)), Some(it.version));
            }
        }
        *self != before
    }

    pub(crate) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// Says that a stretch was made by `version`, or that it was not made. True if that is news.
    pub(crate) fn set(&mut self, span: &Range<i64>, version: Option<u32>) -> bool {
        if span.start >= span.end {
            return false;
        }
        let mut stretches: Vec<Stretch> = Vec::with_capacity(self.stretches.len() + 2);
        for it in &self.stretches {
            let before = Stretch { to: it.to.min(span.start), ..*it };
            let after = Stretch { from: it.from.max(span.end), ..*it };
            stretches.extend([before, after].into_iter().filter(|it| it.from < it.to));
        }
        stretches.extend(version.map(|version| Stretch {
            from: span.start,
            to: span.end,
            version,
        }));
        stretches.sort_by_key(|it| it.from);
        stretches.dedup_by(|next, it| {
            let one = it.to == next.from && it.version == next.version;
            if one {
                it.to = next.to;
            }
            one
        });
        // What is forgotten is made again if anyone asks for it.
        let many = stretches.len().saturating_sub(STRETCHES);
        stretches.drain(..many);
        let news = stretches != self.stretches;
        self.stretches = stretches;
        news
    }
}

impl Replaced {
    fn carry_out(&self, disk: &Disk) -> Result<(), Error> {
        let mut folders = std::collections::BTreeSet::new();
        for (from, to) in &self.names {
            let (from, to) = (disk.dir.join(from), disk.dir.join(to));
            // Renamed before, or expired since.
            if from.exists() {
                disk.rename(&from, &to)?;
                folders.extend(to.parent().map(Path::to_path_buf));
            }
        }
        for gone in &self.gone {
            let gone = disk.dir.join(gone);
            if gone.exists() {
                disk.remove(&gone)?;
                folders.extend(gone.parent().map(Path::to_path_buf));
            }
        }
        folders.iter().try_for_each(|it| disk.sync_dir(it))
    }
}

/// The segments in a folder that are part of no table.
fn drafts(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(files(folder)?.into_iter().filter(|it| ends(it, DRAFT)).collect())
}

fn ends(path: &Path, with: &str) -> bool {
    path.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.ends_with(with))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    let paths = entries.map(|it| it.map(|it| it.path())).collect::<Result<_, _>>();
    paths.map_err(Error::io("list", folder))
}

/// The file in the store's directory.
pub(crate) const FILE: &str = "coverage";
const TEMPORARY: &str = "coverage.tmp";
/// At the end of the name of a segment that is part of no table yet.
pub(crate) const DRAFT: &str = ".draft";
/// As far as a record may reach, in nanoseconds: making it needs all that it is made of.
const NEAR: i64 = 60_000_000_000;
/// Stretches remembered; those of one version that touch are one, so that this is a matter of how
/// often someone switched.
const STRETCHES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(coverage: &Coverage) -> Vec<(i64, i64, u32)> {
        coverage.stretches().iter().map(|it| (it.from, it.to, it.version)).collect()
    }

    #[test]
    fn a_stretch_replaces_what_was_said_of_its_time_and_joins_its_neighbours() {
        let mut it = Coverage::default();
        assert!(it.set(&(10..20), Some(1)));
        assert!(!it.set(&(12..15), Some(1)));
        it.set(&(30..40), Some(1));
        it.set(&(20..30), Some(1));
        assert_eq!(covered(&it), [(10, 40, 1)]);
        it.set(&(15..25), Some(2));
        assert_eq!(covered(&it), [(10, 15, 1), (15, 25, 2), (25, 40, 1)]);
        it.set(&(12..38), None);
        assert_eq!(covered(&it), [(10, 12, 1), (38, 40, 1)]);
        assert!(!it.set(&(12..38), None));
        assert!(!it.set(&(5..5), Some(3)));
    }

    #[test]
    fn what_was_lost_with_its_source_is_not_made_again() {
        const SECOND: i64 = 1_000_000_000;
        let loss = |table: &str, from: i64, to: i64| Loss {
            table: table.to_owned(),
            from_ts: from * SECOND,
            to_ts: to * SECOND - 1,
            stage: crate::stage::CRASH,
            rows: 1,
            bytes: 1,
            detail: String::new(),
        };
        let after = |losses: &[&Loss]| {
            let mut it = Coverage::default();
            it.set(&(0..1_350 * SECOND), Some(1));
            assert_eq!(it.lose(losses, "packets"), !losses.is_empty());
            let said = covered(&it).into_iter();
            said.map(|(from, to, _)| (from / SECOND, to / SECOND)).collect::<Vec<_>>()
        };
        let (rows, far) = (loss("http", 1_000, 1_500), loss("packets", 2_000, 2_100));
        assert_eq!(after(&[]), [(0, 1_350)]);
        assert_eq!(after(&[&rows]), [(0, 1_000)]);
        assert_eq!(after(&[&rows, &far]), [(0, 1_000)]);
        // Nothing counts as made that did not before.
        assert_eq!(after(&[&rows, &loss("packets", 1_300, 1_400)]), [(0, 1_000), (1_240, 1_350)]);
    }

    #[test]
    fn what_is_said_is_read_again_and_what_was_decided_is_carried_out() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path(), None);
        let table = dir.path().join("http");
        std::fs::create_dir(&table).unwrap();
        let write = |name: &str| std::fs::write(table.join(name), name).unwrap();
        let folders = ["http".to_owned()];
        let files = || {
            let mut names: Vec<_> = files(&table).unwrap();
            names.sort();
            names.iter().map(|it| it.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let wanted = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();

        // Not decided: the drafts go, what there was stays.
        ["1.draft", "2.draft", "old"].iter().for_each(|it| write(it));
        let mut coverage = Coverage::open(&disk, &folders).unwrap();
        let found: Vec<String> = files();
        assert_eq!(found, wanted(&["old"]));
        coverage.set(&(0..10), Some(1));
        coverage.save(&disk, true).unwrap();
        assert_eq!(covered(&Coverage::open(&disk, &folders).unwrap()), [(0, 10, 1)]);

        // Decided, and one of two renamed.
        ["1.draft", "new2"].iter().for_each(|it| write(it));
        let name = |from: &str, to: &str| (format!("http/{from}"), format!("http/{to}"));
        coverage.replaced = Replaced {
            names: vec![name("1.draft", "new1"), name("2.draft", "new2")],
            gone: vec!["http/old".to_owned(), "http/older".to_owned()],
        };
        coverage.save(&disk, true).unwrap();
        let opened = Coverage::open(&disk, &folders).unwrap();
        let found: Vec<String> = files();
        assert_eq!(found, wanted(&["new1", "new2"]));
        assert_eq!(opened.replaced, Replaced::default());
        assert_eq!(std::fs::read(table.join("new1")).unwrap(), b"1.draft");
    }
}
