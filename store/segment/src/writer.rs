//! Batches → one segment, which exists whole or not at all.
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave_record_batch;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;

use crate::blocks::Summing;
use crate::disk::Disk;
use crate::footers::{checks, keys};
use crate::hot::{Rows, times};
use crate::name::{Checks, Covers, Name, Seals};
use crate::{Error, Layout, Options, layout};

/// What the rows of a segment are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) table: &'a str,
    pub(crate) schema: &'a SchemaRef,
    /// The index of the column `ts`.
    pub(crate) ts: usize,
}

/// What is known of a segment once its rows are written.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The earliest `ts`.
    pub(crate) from: i64,
    /// The latest `ts`.
    pub(crate) to: i64,
    /// Nanoseconds since 1970.
    pub(crate) sealed_at: i64,
    pub(crate) seals: Seals,
    /// The store's number.
    pub(crate) origin: u64,
}

/// Rows in memory that are to be a segment.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) target: Target<'a>,
    pub(crate) rows: &'a [Rows],
    pub(crate) seq: u64,
    /// Now, nanoseconds since 1970.
    pub(crate) sealed_at: i64,
    pub(crate) origin: u64,
}

/// Writes a segment and returns its path.
pub(crate) fn write(disk: &Disk, draft: &Draft<'_>, options: &Options) -> Result<PathBuf, Error> {
    let temporary = format!("{:08}.tmp", draft.seq);
    let (layout, scratch) = (&options.sealed, options.scratch);
    let mut unfinished = Unfinished::begin(disk, draft.target, &temporary, layout, scratch)?;
    in_order(draft, options, |batch| unfinished.write(batch))?;
    unfinished.finish(draft.facts())
}

/// Writes rows to a file of that name, which is no segment before it is renamed. Returns its path,
/// and the checks that its name must have then.
pub(crate) fn write_aside(
    disk: &Disk,
    draft: &Draft<'_>,
    name: &str,
    options: &Options,
) -> Result<(PathBuf, Checks), Error> {
    let (layout, scratch) = (&options.sealed, options.scratch);
    let mut unfinished = Unfinished::begin(disk, draft.target, name, layout, scratch)?;
    in_order(draft, options, |batch| unfinished.write(batch))?;
    unfinished.keep(&draft.facts())
}

impl Draft<'_> {
    fn facts(&self) -> Facts {
        Facts {
            from: from(self.rows),
            to: self.rows.iter().map(|it| it.to).max().unwrap_or_default(),
            sealed_at: self.sealed_at,
            seals: Seals::one(Covers::one(self.seq)),
            origin: self.origin,
        }
    }
}

/// A segment that is being written under a temporary name. Dropped before it is finished, it is
/// gone.
pub(crate) struct Unfinished<'a> {
    disk: &'a Disk,
    target: Target<'a>,
    temporary: PathBuf,
    writer: Option<ArrowWriter<Sink>>,
    rows: u64,
    scratch: bool,
}

impl<'a> Unfinished<'a> {
    pub(crate) fn begin(
        disk: &'a Disk,
        target: Target<'a>,
        name: &str,
        layout: &Layout,
        scratch: bool,
    ) -> Result<Self, Error> {
        let path = disk.dir.join(target.table).join(name);
        let (file, rows) = (disk.create(&path)?, Summing::default());
        let sink = Sink { file, disk: disk.clone(), rows, tail: None };
        let mut unfinished = Self { disk, target, temporary: path, writer: None, rows: 0, scratch };
        let properties = layout::properties(target, layout, scratch);
        let writer = ArrowWriter::try_new(sink, Arc::clone(target.schema), Some(properties));
        unfinished.writer = Some(writer.map_err(Error::parquet(&unfinished.temporary))?);
        Ok(unfinished)
    }

    /// Adds rows, which come in the order of `ts`.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(batch).map_err(Error::parquet(&self.temporary))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Writes the footer and makes the segment durable under its name, which is returned.
    pub(crate) fn finish(mut self, facts: Facts) -> Result<PathBuf, Error> {
        let checks = self.end(&facts)?;
        let dir = self.disk.dir.join(self.target.table);
        let covers = facts.seals.covers().unwrap_or_else(|| Covers::one(0));
        let name = Name { min_ts: facts.from, covers, rows: self.rows, checks };
        let path = dir.join(name.to_string());
        let temporary = std::mem::take(&mut self.temporary);
        let renamed = self.disk.rename(&temporary, &path);
        if renamed.is_err() {
            self.temporary = temporary;
        }
        renamed?;
        if !self.scratch
            && let Err(error) = self.disk.sync_dir(&dir)
        {
            // The caller keeps the rows, and they must not come back twice: they are in this file or
            // where they were.
            match self.disk.remove(&path) {
                Ok(()) => return Err(error),
                Err(kept) => {
                    tracing::warn!(%error, %kept, "a segment may not outlive the machine");
                }
            }
        }
        Ok(path)
    }

    /// Writes the footer and leaves the file under the name that it was begun with, which is
    /// returned with the checks that its final name must have.
    pub(crate) fn keep(mut self, facts: &Facts) -> Result<(PathBuf, Checks), Error> {
        let checks = self.end(facts)?;
        Ok((std::mem::take(&mut self.temporary), checks))
    }

    fn end(&mut self, facts: &Facts) -> Result<Checks, Error> {
        let path = &self.temporary;
        let damaged =
            |reason: &str| Error::Damaged { path: path.clone(), reason: reason.to_owned() };
        let writer = self.writer.take();
        let mut writer = writer.ok_or_else(|| damaged("it was written before"))?;
        // The last row group goes out; what follows is page index and footer.
        writer.flush().map_err(Error::parquet(path))?;
        writer.sync().map_err(Error::io("write", path))?;
        let sink = writer.inner_mut();
        let blocks = sink.rows.finish();
        sink.tail = Some(Vec::new());
        for (key, value) in [
            (keys::TABLE, self.target.table.to_owned()),
            (keys::MIN_TS, facts.from.to_string()),
            (keys::MAX_TS, facts.to.to_string()),
            (keys::SEALED_AT, facts.sealed_at.to_string()),
            (keys::BLOCKS, blocks.to_string()),
            (keys::SEALS, facts.seals.to_string()),
            (keys::STORE, format!("{:016x}", facts.origin)),
        ] {
            writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        writer.finish().map_err(Error::parquet(path))?;
        // `into_inner` would flush what is left, too, but makes a text of the system's error: a full
        // disk would not be known for one.
        writer.sync().map_err(Error::io("write", path))?;
        let sink = writer.inner();
        if !self.scratch {
            self.disk.sync(&sink.file, path)?;
        }
        sink.tail.as_deref().and_then(checks).ok_or_else(|| damaged("it has no footer"))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.temporary.as_os_str().is_empty() {
            return;
        }
        if self.temporary.exists()
            && let Err(error) = self.disk.remove(&self.temporary)
        {
            // The next start deals with it.
            tracing::warn!(%error, "an unfinished segment is left behind");
        }
    }
}

fn from(rows: &[Rows]) -> i64 {
    rows.iter().map(|it| it.from).min().unwrap_or_default()
}

/// Hands the rows to `write` in the order of `ts`; rows of the same time keep theirs. What is
/// handed over at once is small beside a row group, which is cut between two calls.
fn in_order(
    draft: &Draft<'_>,
    options: &Options,
    mut write: impl FnMut(&RecordBatch) -> Result<(), Error>,
) -> Result<(), Error> {
    let ordered = draft.rows.iter().all(|it| times(&it.batch, draft.target.ts).is_sorted())
        && draft.rows.is_sorted_by(|a, b| a.to <= b.from);
    let rows = draft.rows.iter().map(|it| it.batch.num_rows()).sum::<usize>();
    let bytes = draft.rows.iter().map(|it| it.bytes).sum::<usize>();
    let step = options.sealed.row_group_bytes / 8 / (bytes / rows.max(1)).max(1);
    let step = step.clamp(1, STEP_ROWS);
    if ordered {
        for Rows { batch, .. } in draft.rows {
            for from in (0..batch.num_rows()).step_by(step) {
                write(&batch.slice(from, step.min(batch.num_rows() - from)))?;
            }
        }
        return Ok(());
    }
    let mut order = Vec::with_capacity(rows);
    for (batch, rows) in draft.rows.iter().enumerate() {
        let times = times(&rows.batch, draft.target.ts).iter();
        order.extend(times.enumerate().map(|(row, ts)| (*ts, batch as u32, row as u32)));
    }
    order.sort_unstable();
    let batches = draft.rows.iter().map(|it| &it.batch).collect::<Vec<_>>();
    for part in order.chunks(step) {
        let part = part.iter().map(|it| (it.1 as usize, it.2 as usize)).collect::<Vec<_>>();
        let batch = interleave_record_batch(&batches, &part);
        write(&batch.map_err(|it| Error::Rows {
            table: draft.target.table.to_owned(),
            reason: it.to_string(),
        })?)?;
    }
    Ok(())
}

/// The file, summed on its way.
struct Sink {
    file: File,
    disk: Disk,
    rows: Summing,
    /// What comes after the rows, once it does.
    tail: Option<Vec<u8>>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.disk.write(&self.file, bytes)?;
        let bytes = bytes.get(..written).unwrap_or(bytes);
        match &mut self.tail {
            Some(tail) => tail.extend_from_slice(bytes),
            None => self.rows.write(bytes),
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Rows put in order at a time.
pub(crate) const STEP_ROWS: usize = 8192;
