//! What the last process left: whole segments are catalogued, everything else is set aside.
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_schema::SchemaRef;

use crate::disk::{Disk, Step};
use crate::footers::Footers;
use crate::journal::{Entry, Last};
use crate::name::{Covers, Name, Seals};
use crate::{Error, Loss, Options, Segment, merge, stage};

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
    /// The highest number of a seal of each table.
    pub(crate) last_seqs: HashMap<String, u64>,
    /// This store's own number.
    pub(crate) origin: u64,
    /// What is lost unless the bucket has it; nothing without a bucket.
    pub(crate) doubts: Vec<Doubt>,
    has_bucket: bool,
}

/// A segment that is gone from the disk, and may be in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) name: Name,
    /// The store that numbered it.
    pub(crate) origin: u64,
    /// Whose rows it had; of one that could not be read, all seals that its name has room for.
    pub(crate) seals: Seals,
    /// What is lost if it is not.
    pub(crate) loss: Loss,
}

impl Doubt {
    pub(crate) fn of(segment: &Segment, loss: Loss) -> Self {
        Self { name: segment.name, origin: segment.origin, seals: segment.seals.clone(), loss }
    }
}

/// Looks through the folders of the declared tables, and through others that hold segments of ours
/// (from another version, with other tables). Files in a declared table's folder that are not
/// whole segments are set aside; other people's folders are left alone.
pub(crate) fn recover(
    disk: &Disk,
    tables: &BTreeMap<String, SchemaRef>,
    origin: u64,
    last: Last,
    footers: &Arc<Footers>,
    options: &Options,
) -> Result<Found, Error> {
    let mut found = Found {
        recovery: Recovery::default(),
        segments: Vec::new(),
        unverified: Vec::new(),
        last_seqs: HashMap::new(),
        origin,
        doubts: Vec::new(),
        has_bucket: options.bucket.is_some(),
    };
    let mut broken = Vec::new();
    for entry in list(&disk.dir)? {
        let Ok(folder) = entry.file_name().into_string() else { continue };
        if folder == TORN || !entry.path().is_dir() {
            continue;
        }
        let known = tables.get(&folder);
        for entry in list(&entry.path())? {
            let path = entry.path();
            let text = entry.file_name().into_string().ok();
            let name = text.as_deref().and_then(Name::parse);
            if known.is_some() && text.as_deref().is_some_and(merge::is_unfinished) {
                // What was being merged is there as it was.
                if let Err(error) = disk.remove(&path) {
                    tracing::warn!(%error, "an unfinished merge is left behind");
                }
                continue;
            }
            if name.is_none() && known.is_none() {
                continue;
            }
            if let Some(name) = name {
                let last = found.last_seqs.entry(folder.clone()).or_default();
                *last = name.covers.last.max(*last);
            }
            let read = disk.may(Step::Read, &path);
            match read.and_then(|()| Segment::catalogue(&path, &folder, known, footers)) {
                Ok(segment) => found.segments.push(Arc::new(segment)),
                Err(error) => broken.push((folder.clone(), path, name, reason(&error))),
            }
        }
    }
    // The widest first, so that the rows of what lies within it are counted once.
    broken.sort_by_key(|it| it.2.map(|it| widest_first(it.covers)));
    let mut torn = Torns::default();
    for (table, path, name, reason) in broken {
        found.set_aside(disk, &table, &path, name, &reason, &torn);
        torn.extend(name.map(|it| (table, it)));
    }
    found.settle_merges(disk, &mut torn);
    found.segments.sort_by_key(|it| (it.sealed_at, it.covers().first));
    found.verify(disk, options, &mut torn);
    found.count_lost(last, &torn);
    let recovery = &mut found.recovery;
    recovery.segments = found.segments.len();
    recovery.rows = found.segments.iter().map(|it| it.rows).sum();
    recovery.bytes = found.segments.iter().map(|it| it.bytes).sum();
    Ok(found)
}

/// What was set aside, by table.
type Torns = HashSet<(String, Name)>;

impl Found {
    /// Where the process died between finishing a merged segment and deleting what was merged into
    /// it, only one of the two may stay: the merged one, if it is whole.
    fn settle_merges(&mut self, disk: &Disk, torn: &mut Torns) {
        let mut merged = self.segments.clone();
        merged.retain(|it| it.covers().first < it.covers().last);
        // The widest first: it may have come of others that were merged before.
        merged.sort_by_key(|it| widest_first(it.covers()));
        for segment in merged {
            let inside = self.inside(&segment.table, |it| {
                let other = it.origin == segment.origin && !Arc::ptr_eq(it, &segment);
                other && segment.seals.contain_all(&it.seals)
            });
            let gone = !self.segments.iter().any(|it| Arc::ptr_eq(it, &segment));
            if gone || inside.is_empty() {
                continue;
            }
            let Err(error) = segment.verify() else {
                for it in inside {
                    it.expire();
                    self.segments.retain(|other| !Arc::ptr_eq(other, &it));
                }
                continue;
            };
            torn.insert((segment.table.clone(), segment.name));
            self.segments.retain(|it| !Arc::ptr_eq(it, &segment));
            let (aside, loss) = retire(disk, &segment, &reason(&error));
            if loss.is_none() {
                keep_apart(&inside);
            }
            self.recovery.torn.push(aside);
            if let Some(mut loss) = loss {
                loss.rows = loss.rows.saturating_sub(rows_once(&inside));
                self.lose(Doubt::of(&segment, loss));
            }
        }
    }

    /// A table's segments that were merged into another one, widest first.
    fn inside(&self, table: &str, is_inside: impl Fn(&Arc<Segment>) -> bool) -> Vec<Arc<Segment>> {
        let of = |it: &&Arc<Segment>| it.table == table && is_inside(it);
        let mut inside = self.segments.iter().filter(of).cloned().collect::<Vec<_>>();
        inside.sort_by_key(|it| widest_first(it.covers()));
        inside
    }

    /// Checks the newest rows now, up to a bound; the rest is for the background.
    fn verify(&mut self, disk: &Disk, options: &Options, torn: &mut Torns) {
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
            torn.insert((segment.table.clone(), segment.name));
            self.segments.retain(|it| !Arc::ptr_eq(it, &segment));
            let (aside, loss) = retire(disk, &segment, &reason);
            self.recovery.torn.push(aside);
            if let Some(loss) = loss {
                self.lose(Doubt::of(&segment, loss));
            }
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
        before: &Torns,
    ) {
        let torn = set_aside(disk, table, path, reason);
        if let Some(name) = name {
            // Died while merging: what was merged into it may be there still.
            let inside = self.inside(table, |it| {
                it.covers() != name.covers && name.covers.contains(it.covers())
            });
            if !torn.is_aside() {
                keep_apart(&inside);
            } else if !self.has(table, name.covers, before) {
                let loss = Loss {
                    table: table.to_owned(),
                    from_ts: name.min_ts,
                    to_ts: name.min_ts,
                    stage: stage::TORN,
                    rows: name.rows.saturating_sub(rows_once(&inside)),
                    bytes: torn.bytes,
                    detail: format!("{}: {reason}", torn.file),
                };
                let (origin, seals) = (self.origin, Seals::one(name.covers));
                self.lose(Doubt { name, origin, seals, loss });
            }
        }
        self.recovery.torn.push(torn);
    }

    fn lose(&mut self, doubt: Doubt) {
        if doubt.loss.rows == 0 {
            return;
        }
        if self.has_bucket {
            self.doubts.push(doubt);
        } else {
            self.recovery.losses.push(doubt.loss);
        }
    }

    /// Whether the rows of a segment with these numbers are in another one, that is whole or was
    /// counted.
    fn has(&self, table: &str, covers: Covers, torn: &Torns) -> bool {
        let mut own = self.segments.iter().filter(|it| it.origin == self.origin);
        let whole =
            own.any(|it| it.table == table && it.covers() != covers && it.seals.contain(covers));
        let mut torn = torn.iter().filter(|it| it.0 == table && it.1.covers != covers);
        whole || torn.any(|it| it.1.covers.contains(covers))
    }

    /// Rows that were in memory are lost, but for those whose segment was finished.
    fn count_lost(&mut self, last: Last, torn: &Torns) {
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
        // A segment that was to go may not have gone.
        let is_there = |entry: &Entry| {
            let of_table = self.segments.iter().filter(|it| it.table == entry.table);
            let mut torn = torn.iter().filter(|it| it.0 == entry.table).map(|it| it.1);
            if let Some(name) = entry.file.as_deref().and_then(Name::parse) {
                let of_store = |it: &Segment| Some(it.origin) == entry.origin;
                let seals = seals_of(entry, name);
                of_table
                    .clone()
                    .any(|it| it.name == name || of_store(it) && it.seals.contain_all(&seals))
                    || torn.any(|it| it == name)
            } else if let Some(seal) = entry.seq.map(Covers::one) {
                of_table.clone().any(|it| it.seals.contain(seal))
                    || torn.any(|it| it.covers.contains(seal))
            } else {
                false
            }
        };
        let entries = entries.into_iter().filter(|it| it.rows > 0 && !is_there(it));
        for entry in entries.collect::<Vec<_>>() {
            let name = entry.file.as_deref().and_then(Name::parse);
            let seals = name.map(|it| seals_of(&entry, it));
            let (stage, detail) = match &entry.lost {
                None => (stage::CRASH, "in memory when the process died"),
                Some(stage) => (stage::known(stage), "not yet told when the process died"),
            };
            let loss = Loss {
                detail: detail.to_owned(),
                table: entry.table,
                from_ts: entry.from,
                to_ts: entry.to,
                stage,
                rows: entry.rows,
                bytes: entry.bytes,
            };
            match name.zip(seals) {
                Some((name, seals)) if !entry.sure => {
                    let origin = entry.origin.unwrap_or(self.origin);
                    self.lose(Doubt { name, origin, seals, loss });
                }
                _ => self.recovery.losses.push(loss),
            }
        }
    }
}

/// The seals of the segment of that name that an entry is about.
fn seals_of(entry: &Entry, name: Name) -> Seals {
    let said = entry.seals.as_deref().and_then(Seals::parse);
    said.unwrap_or_else(|| Seals::one(name.covers))
}

/// The rows of segments sorted by where they begin, widest first, without those of segments that
/// lie within others.
fn rows_once(segments: &[Arc<Segment>]) -> u64 {
    let mut end = None;
    let rows = segments.iter().map(|it| {
        if end.is_some_and(|end| it.covers().last <= end) {
            return 0;
        }
        end = Some(it.covers().last);
        it.rows
    });
    rows.sum()
}

/// What contains others comes before them.
fn widest_first(covers: Covers) -> (u64, Reverse<u64>) {
    (covers.first, Reverse(covers.last))
}

/// Their rows are also in a file that is not served and yet stays where it is. It may be read one
/// day, and then takes the place of just those: they are not merged with others.
fn keep_apart(segments: &[Arc<Segment>]) {
    segments.iter().for_each(|it| it.ripe.store(true, Ordering::Relaxed));
}

/// Sets a catalogued segment aside, and says what is lost with it once it is.
pub(crate) fn retire(disk: &Disk, segment: &Segment, reason: &str) -> (Torn, Option<Loss>) {
    let torn = set_aside(disk, &segment.table, &segment.named(), reason);
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
