//! What the last process left: whole segments are catalogued, everything else is set aside.
use std::collections::{BTreeMap, HashSet};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::SchemaRef;

use crate::catalog::{Footers, Name};
use crate::disk::{Disk, Step};
use crate::journal::{Entry, Last};
use crate::{Error, Loss, Options, Segment, stage};

/// What was found when a store was opened.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// How many segments are whole and served.
    pub segments: usize,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was set aside.
    pub torn: Vec<Torn>,
    /// What the last process lost: rows in memory when it died, rows of damaged segments.
    pub losses: Vec<Loss>,
}

/// A file that is not served any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it was, relative to the store's directory.
    pub file: String,
    /// Where it is now, relative to the store's directory: where it was, if the disk refused to move it.
    pub now: String,
    /// Its size.
    pub bytes: u64,
    /// Why it was set aside.
    pub reason: String,
}

impl Torn {
    /// Whether it is out of the way, so that it is counted once.
    fn is_aside(&self) -> bool {
        self.now != self.file
    }
}

/// What recovery hands to the store.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) recovery: Recovery,
    /// In the order of sealing.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The segments whose rows are yet to be checked.
    pub(crate) unverified: Vec<Arc<Segment>>,
    pub(crate) next_seq: u64,
}

/// Looks through the folders of the declared tables, and through others that hold segments of ours
/// (from another version, with other tables). Files in a declared table's folder that are not
/// whole segments are set aside; other people's folders are left alone.
pub(crate) fn recover(
    disk: &Disk,
    tables: &BTreeMap<String, SchemaRef>,
    last: Last,
    footers: &Arc<Footers>,
    options: &Options,
) -> Result<Found, Error> {
    let mut found = Found {
        recovery: Recovery::default(),
        segments: Vec::new(),
        unverified: Vec::new(),
        next_seq: 1,
    };
    let mut torn_seqs = HashSet::new();
    for entry in list(&disk.dir)? {
        let Ok(folder) = entry.file_name().into_string() else { continue };
        if folder == TORN || !entry.path().is_dir() {
            continue;
        }
        let known = tables.get(&folder);
        for entry in list(&entry.path())? {
            let path = entry.path();
            let name = entry.file_name().into_string().ok();
            let name = name.as_deref().and_then(Name::parse);
            if name.is_none() && known.is_none() {
                continue;
            }
            if let Some(name) = name {
                found.next_seq = found.next_seq.max(name.seq.saturating_add(1));
            }
            let read = disk.may(Step::Read, &path);
            match read.and_then(|()| Segment::catalogue(&path, &folder, known, footers)) {
                Ok(segment) => found.segments.push(Arc::new(segment)),
                Err(error) => {
                    torn_seqs.extend(name.map(|it| it.seq));
                    found.set_aside(disk, &folder, &path, name, &reason(&error));
                }
            }
        }
    }
    found.segments.sort_by_key(|it| (it.sealed_at, it.seq));
    found.verify(disk, options, &mut torn_seqs);
    found.count_lost(last, &torn_seqs);
    let recovery = &mut found.recovery;
    recovery.segments = found.segments.len();
    recovery.rows = found.segments.iter().map(|it| it.rows).sum();
    recovery.bytes = found.segments.iter().map(|it| it.bytes).sum();
    Ok(found)
}

impl Found {
    /// Checks the newest rows now, up to a bound; the rest is for the background.
    fn verify(&mut self, disk: &Disk, options: &Options, torn_seqs: &mut HashSet<u64>) {
        let mut left = options.verify_bytes;
        let mut damaged = Vec::new();
        for segment in self.segments.iter().rev() {
            if left < segment.bytes {
                self.unverified.push(Arc::clone(segment));
                continue;
            }
            left -= segment.bytes;
            if let Err(error) = segment.verify() {
                damaged.push((Arc::clone(segment), reason(&error)));
            }
        }
        for (segment, reason) in damaged {
            torn_seqs.insert(segment.seq);
            self.segments.retain(|it| it.seq != segment.seq || it.file != segment.file);
            let (torn, loss) = retire(disk, &segment, &reason);
            self.recovery.torn.push(torn);
            self.recovery.losses.extend(loss);
        }
    }

    /// Moves a file that can't be catalogued. A segment's name says how many rows went with it.
    fn set_aside(
        &mut self,
        disk: &Disk,
        table: &str,
        path: &Path,
        name: Option<Name>,
        reason: &str,
    ) {
        let torn = set_aside(disk, table, path, reason);
        if let Some(name) = name.filter(|_| torn.is_aside()) {
            self.recovery.losses.push(Loss {
                table: table.to_owned(),
                from_ts: name.min_ts,
                to_ts: name.min_ts,
                stage: stage::TORN,
                rows: name.rows,
                bytes: torn.bytes,
                detail: format!("{}: {reason}", torn.file),
            });
        }
        self.recovery.torn.push(torn);
    }

    /// Rows that were in memory are lost, but for those whose segment was finished.
    fn count_lost(&mut self, last: Last, torn_seqs: &HashSet<u64>) {
        let entries = match last {
            Last::New => return,
            Last::Said(entries) => entries,
            Last::Unreadable => {
                self.recovery.losses.push(Loss {
                    table: String::new(),
                    from_ts: 0,
                    to_ts: 0,
                    stage: stage::CRASH,
                    rows: 0,
                    bytes: 0,
                    detail: "the journal is damaged: rows in memory are lost uncounted".to_owned(),
                });
                return;
            }
        };
        let sealed = self.segments.iter().map(|it| it.seq).collect::<HashSet<_>>();
        let is_sealed = |it: &Entry| {
            it.seq.is_some_and(|seq| sealed.contains(&seq) || torn_seqs.contains(&seq))
        };
        for entry in entries.into_iter().filter(|it| it.rows > 0 && !is_sealed(it)) {
            let (stage, detail) = match &entry.lost {
                None => (stage::CRASH, "in memory when the process died"),
                Some(stage) => (stage::known(stage), "not yet told when the process died"),
            };
            self.recovery.losses.push(Loss {
                detail: detail.to_owned(),
                table: entry.table,
                from_ts: entry.from,
                to_ts: entry.to,
                stage,
                rows: entry.rows,
                bytes: entry.bytes,
            });
        }
    }
}

/// Sets a catalogued segment aside, and says what is lost with it once it is.
pub(crate) fn retire(disk: &Disk, segment: &Segment, reason: &str) -> (Torn, Option<Loss>) {
    let torn = set_aside(disk, &segment.table, segment.path(), reason);
    let loss = torn.is_aside().then(|| Loss {
        table: segment.table.clone(),
        from_ts: segment.min_ts,
        to_ts: segment.max_ts,
        stage: stage::TORN,
        rows: segment.rows,
        bytes: segment.bytes,
        detail: format!("{}: {reason}", segment.file),
    });
    (torn, loss)
}

/// Renames a file to `torn/TABLE/NAME`, or `NAME.2` and so on if that is taken. On a disk that does
/// not even do that it stays where it is, unserved, and the next start tries again.
fn set_aside(disk: &Disk, table: &str, path: &Path, reason: &str) -> Torn {
    let folder = disk.dir.join(TORN).join(table);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut free = name.clone();
    for n in 2.. {
        if folder.join(&free).symlink_metadata().is_err() {
            break;
        }
        free = format!("{name}.{n}");
    }
    let bytes = path.symlink_metadata().map_or(0, |it| it.len());
    let moved = disk.may(Step::Create, &folder).and_then(|()| {
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        disk.rename(path, &folder.join(&free))
    });
    let file = format!("{table}/{name}");
    let now = if moved.is_ok() { format!("{TORN}/{table}/{free}") } else { file.clone() };
    // Should the machine die before this is durable, the next start sets the file aside again.
    let synced = moved.and_then(|()| {
        disk.sync_dir(&folder)?;
        path.parent().map_or(Ok(()), |from| disk.sync_dir(from))
    });
    if let Err(error) = synced {
        tracing::warn!(file, %error, "the disk fails while a file is set aside");
    }
    tracing::warn!(file, now, reason, "a file is not served");
    Torn { file, now, bytes, reason: reason.to_owned() }
}

fn list(dir: &Path) -> Result<Vec<DirEntry>, Error> {
    let mut entries = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(Error::io("list", dir))?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

/// The error without the path, which stands beside it.
fn reason(error: &Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason.clone(),
        Error::Parquet { source, .. } => source.to_string(),
        Error::Io { doing, source, .. } => format!("could not {doing} it: {source}"),
        other => other.to_string(),
    }
}

/// The folder of what is set aside.
pub(crate) const TORN: &str = "torn";

/// The folder, as a path.
pub(crate) fn torn_dir(dir: &Path) -> PathBuf {
    dir.join(TORN)
}
