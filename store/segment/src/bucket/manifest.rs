//! Which segments a node has in the bucket, so that a start reads a file per day and no footer.
//!
//! `NODE/manifest-v1/DAY.json` names the segments whose first row is of that day (UTC):
//!
//! ```json
//! {
//!   "version": 1,
//!   "tables": [{ "name": "http", "doc": "…", "fields": [{ "name": "ts", "kind": "time", … }] }],
//!   "segments": [{
//!     "file": "http/2026-11-22/01763805600000000000-00000042-8192-5f0c9e71a2b3d4e6.parquet",
//!     "table": 0, "bytes": 1401312, "rows": 8192,
//!     "min_ts": 1763805600000000000, "max_ts": 1763805629000000000,
//!     "sealed_at": 1763805630000000000, "store": "1f0c9e71a2b3d4e6", "seals": "42",
//!     "data": 1380000
//!   }]
//! }
//! ```
//!
//! `table` is an index into `tables`: the columns of that time. `data` is the length of the file
//! before its page index.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutPayload};
use schema::Table;
use serde::{Deserialize, Serialize};

use super::Objects;
use crate::Error;
use crate::catalog::Known;
use crate::name::{Name, Seals};

/// Every segment of a node in the bucket, by day.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    days: BTreeMap<String, Day>,
}

#[derive(Debug, Default)]
struct Day {
    segments: Vec<Known>,
    /// The bucket has it otherwise.
    changed: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    tables: Vec<Table>,
    segments: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    file: String,
    table: usize,
    bytes: u64,
    rows: u64,
    min_ts: i64,
    max_ts: i64,
    sealed_at: i64,
    store: String,
    seals: String,
    data: u64,
}

impl Manifests {
    pub(super) async fn load(
        objects: &Objects,
        known: &dyn Fn(&str) -> Option<SchemaRef>,
    ) -> Result<Self, Error> {
        let folder = objects.root.clone().join(FOLDER);
        let listed = objects.store.list(Some(&folder)).try_collect::<Vec<_>>().await;
        let mut days = BTreeMap::new();
        for meta in listed.map_err(objects.failed())? {
            let day = meta.location.filename().and_then(|it| it.strip_suffix(".json"));
            let Some(day) = day.map(str::to_owned) else { continue };
            if meta.size > MAX_BYTES {
                return Err(wrong(objects, &day, "it is larger than any that was written"));
            }
            let got = objects.store.get(&meta.location).await.map_err(objects.failed())?;
            let bytes = got.bytes().await.map_err(objects.failed())?;
            let segments = match parse(&bytes, known) {
                Ok(segments) => segments,
                // Its segments are found in the listing, but another program's are left to it.
                Err(Unread::Damaged(reason)) => {
                    tracing::warn!(day, reason, "a manifest of the bucket is made anew");
                    Vec::new()
                }
                Err(Unread::Newer(version)) => {
                    let reason = format!("it is of version {version}: use a newer program");
                    return Err(wrong(objects, &day, &reason));
                }
            };
            days.insert(day, Day { segments, changed: false });
        }
        Ok(Self { days })
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Known> {
        self.days.values().flat_map(|it| &it.segments)
    }

    pub(crate) fn add(&mut self, segment: Known) {
        let day = self.days.entry(day(segment.min_ts)).or_default();
        day.segments.retain(|it| !it.is(&segment));
        day.segments.push(segment);
        day.changed = true;
    }

    /// Drops those for which `keep` is false, and returns them.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Known) -> bool) -> Vec<Known> {
        let mut gone = Vec::new();
        for day in self.days.values_mut() {
            let before = gone.len();
            gone.extend(day.segments.extract_if(.., |it| !keep(it)));
            day.changed |= gone.len() > before;
        }
        gone
    }

    /// Writes what has changed. What could not be written is tried again the next time.
    pub(crate) async fn save(&mut self, objects: &Objects) -> Result<(), Error> {
        for (name, day) in self.days.iter_mut().filter(|it| it.1.changed) {
            let path = objects.root.clone().join(FOLDER).join(format!("{name}.json"));
            if day.segments.is_empty() {
                match objects.store.delete(&path).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(objects.failed()(error)),
                }
            } else {
                let bytes =
                    write(&day.segments).map_err(|it| wrong(objects, name, &it.to_string()))?;
                let put = objects.store.put(&path, PutPayload::from(bytes)).await;
                put.map_err(objects.failed())?;
            }
            day.changed = false;
        }
        self.days.retain(|_, it| !it.segments.is_empty() || it.changed);
        Ok(())
    }
}

enum Unread {
    Damaged(String),
    Newer(u32),
}

fn parse(bytes: &Bytes, known: &dyn Fn(&str) -> Option<SchemaRef>) -> Result<Vec<Known>, Unread> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let damaged = |it: serde_json::Error| Unread::Damaged(it.to_string());
    let Version { version } = serde_json::from_slice(bytes).map_err(damaged)?;
    if version != VERSION {
        return Err(Unread::Newer(version));
    }
    let file: File = serde_json::from_slice(bytes).map_err(damaged)?;
    // Segments with the same columns share their schema.
    let schemas = file.tables.iter().map(|table| {
        let schema = table.arrow();
        known(&table.name).filter(|it| **it == *schema).unwrap_or(schema)
    });
    let schemas = schemas.collect::<Vec<_>>();
    let known = |it: Entry| {
        let (table, schema) = (file.tables.get(it.table)?, schemas.get(it.table)?);
        let name = Name::parse(it.file.rsplit('/').next()?)?;
        let seals = Seals::parse(&it.seals).filter(|it| it.covers() == Some(name.covers))?;
        (name.rows == it.rows).then_some(())?;
        Some(Known {
            table: table.name.to_string(),
            name,
            bytes: it.bytes,
            min_ts: it.min_ts,
            max_ts: it.max_ts,
            schema: Arc::clone(schema),
            sealed_at: it.sealed_at,
            seals,
            origin: u64::from_str_radix(&it.store, 16).ok()?,
            data: Some(it.data).filter(|data| {
                let end = it.bytes.checked_sub(*data);
                end.is_some_and(|it| (1..=super::MAX_TAIL_BYTES).contains(&it))
            })?,
        })
    };
    let segments = file.segments.into_iter().map(known).collect::<Option<Vec<_>>>();
    segments.ok_or_else(|| Unread::Damaged("it names what is no segment".to_owned()))
}

fn write(segments: &[Known]) -> serde_json::Result<Vec<u8>> {
    let mut tables: Vec<(&str, &SchemaRef)> = Vec::new();
    let entries = segments.iter().map(|it| {
        let same = |at: &(&str, &SchemaRef)| at.0 == it.table && **at.1 == *it.schema;
        let table = tables.iter().position(same).unwrap_or_else(|| {
            tables.push((&it.table, &it.schema));
            tables.len() - 1
        });
        Entry {
            file: format!("{}/{}/{}", it.table, day(it.min_ts), it.name),
            table,
            bytes: it.bytes,
            rows: it.name.rows,
            min_ts: it.min_ts,
            max_ts: it.max_ts,
            sealed_at: it.sealed_at,
            store: format!("{:016x}", it.origin),
            seals: it.seals.to_string(),
            data: it.data,
        }
    });
    let segments = entries.collect();
    let tables = tables.iter().map(|(name, schema)| Table::from_arrow(name, schema)).collect();
    serde_json::to_vec(&File { version: VERSION, tables, segments })
}

fn wrong(objects: &Objects, day: &str, reason: &str) -> Error {
    let url = objects.url.clone();
    Error::Bucket { url, reason: format!("the manifest of {day} can't be used: {reason}") }
}

impl Known {
    /// Whether two are the same segment.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.table == other.table && self.name == other.name
    }

    /// Whether two are of one store, one of them with the other's rows.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.table == other.table
            && self.origin == other.origin
            && self.seals.contain_all(&other.seals)
    }
}

/// The day of a time, UTC, such as `2026-11-22`.
pub(crate) fn day(ts: i64) -> String {
    // Civil from days: years begin in March, so that the leap day is the last of one.
    let days = ts.div_euclid(86_400_000_000_000) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

const FOLDER: &str = "manifest-v1";
const VERSION: u32 = 1;
/// A day's manifest has some hundred bytes a segment; this is more than a hundred thousand.
const MAX_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let hour = 3_600_000_000_000;
        for (ts, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (1_763_805_600_000_000_000, "2025-11-22"),
            (951_782_400_000_000_000, "2000-02-29"),
            (951_782_400_000_000_000 + 24 * hour, "2000-03-01"),
            (1_709_164_800_000_000_000 + 23 * hour, "2024-02-29"),
            (4_107_542_400_000_000_000, "2100-03-01"),
            (4_107_542_400_000_000_000 - 1, "2100-02-28"),
            (i64::MIN, "1677-09-21"),
            (i64::MAX, "2262-04-11"),
        ] {
            assert_eq!(day(ts), expected, "{ts}");
        }
    }
}
