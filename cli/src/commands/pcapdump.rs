//! `kubeshark pcapdump`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use api::QueryRequest;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use clap::Args;

use super::query::{Query, judge};
use crate::Outcome;
use crate::capture::Age;
use crate::format::{self, Format, Rows, pcapng::COLUMNS};
use crate::hub::Hub;
use crate::local::moment;
use crate::output;
use crate::place::Place;

/// Write the packets of all workers to one capture file, in the order of their times.
///
/// With a filter, those of the conversations that have such rows. It is a pcapng file, as for Wireshark; each node is an
/// interface of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubeshark pcapdump --since 5m -o incident.pcapng
  kubeshark pcapdump --since 2026-01-01T10:00:00Z --until 2026-01-01T10:05:00Z -o cart.pcapng \"http.target like '/cart%'\"")]
pub(crate) struct Pcapdump {
    /// A filter such as `http.status >= 500`; without one, all packets.
    filter: Option<String>,
    #[command(flatten)]
    hub: Hub,
    /// The file to write to; else standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Packets from then on: an RFC 3339 time, or an age such as `15m`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Packets until then: an RFC 3339 time, or an age such as `5m`.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// When to give up, such as `30s`.
    #[arg(long, value_name = "TIME")]
    deadline: Option<Age>,
}

impl Pcapdump {
    pub(crate) fn run(self) -> Result<Outcome> {
        if let Some(filter) = self.filter {
            let mut query = Query::packets_of(filter, self.hub);
            (query.since, query.until) = (self.since, self.until);
            (query.output, query.deadline) = (self.output, self.deadline);
            return query.run();
        }
        let from = self.since.as_deref().map(moment).transpose()?;
        let to = self.until.as_deref().map(moment).transpose()?;
        let mut dump = Dump {
            place: &self.hub,
            deadline_ms: self.deadline.map(Age::milliseconds),
            out: Some(output::open(self.output.as_deref())?),
            rows: None,
            outcome: Outcome::Done,
        };
        let all = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
        dump.time(all, SECOND)?;
        if dump.rows.is_none() {
            // A capture without a packet is one, too.
            dump.pieces((0, 0))?;
        }
        if let Some(rows) = dump.rows {
            rows.finish()?;
        }
        Ok(dump.outcome)
    }
}

/// Packets of a long time are asked for piece by piece, so that no piece is more than can be sorted in memory.
struct Dump<'a> {
    place: &'a dyn Place,
    deadline_ms: Option<u64>,
    out: Option<output::Output>,
    rows: Option<Box<dyn Rows>>,
    outcome: Outcome,
}

impl Dump<'_> {
    /// Writes the packets from a time on until before another, in nanoseconds since 1970, in pieces of whole steps.
    fn time(&mut self, (from, to): (i64, i64), step: i64) -> Result<()> {
        let bounds = within(from, to);
        let mut steps: Vec<(i64, u64)> = Vec::new();
        self.each(
            format!(
                "select arrow_cast(ts, 'Int64') / {step} as step, \
                 arrow_cast(sum(octet_length(data)), 'Int64') as bytes from packets where {bounds} group by 1 order by 1"
            ),
            &mut |_, batch| {
                let column = |name| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
                let (Some(at), Some(each)) = (column("step"), column("bytes")) else {
                    bail!("the Hub did not answer with the packets' times and sizes");
                };
                let bytes = |it: i64| u64::try_from(it).unwrap_or_default();
                let both = at.values().iter().zip(each.values());
                steps.extend(both.map(|(step, it)| (*step, bytes(*it))));
                Ok(())
            },
        )?;
        let mut steps = steps.into_iter().peekable();
        while let Some((first, mut bytes)) = steps.next() {
            let mut last = first;
            while let Some((next, more)) = steps.next_if(|it| bytes + it.1 <= PIECE_BYTES) {
                (last, bytes) = (next, bytes + more);
            }
            let piece = (
                first.saturating_mul(step).max(from),
                last.saturating_add(1).saturating_mul(step).min(to),
            );
            if bytes > PIECE_BYTES && step > FINEST {
                self.time(piece, step / 1_000)?;
            } else {
                self.pieces(piece)?;
            }
        }
        Ok(())
    }

    fn pieces(&mut self, (from, to): (i64, i64)) -> Result<()> {
        let columns = COLUMNS.join(", ");
        let bounds = within(from, to);
        let sql =
            format!("select {columns}, flow_id, node from packets where {bounds} order by ts");
        self.each(sql, &mut |dump, batch| {
            if let Some(out) = dump.out.take() {
                dump.rows = Some(format::rows(Format::Pcapng, &batch.schema(), out, None)?);
            }
            dump.rows.as_mut().map_or(Ok(()), |rows| Ok(rows.write(&batch)?))
        })
    }

    fn each(
        &mut self,
        sql: String,
        each: &mut dyn FnMut(&mut Self, RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let request = QueryRequest { deadline_ms: self.deadline_ms, ..QueryRequest::sql(sql) };
        let mut answer = self.place.ask(&request)?;
        let schema = answer.schema();
        each(self, RecordBatch::new_empty(schema))?;
        while let Some(batch) = answer.next()? {
            each(self, batch)?;
        }
        let accounting = answer.accounting()?;
        if self.outcome == Outcome::Done {
            // Said once; the next piece lacks the same.
            self.outcome = judge(accounting.as_ref(), false, &request);
        }
        Ok(())
    }
}

/// The condition for packets of that time.
fn within(from: i64, to: i64) -> String {
    format!("ts >= to_timestamp_nanos({from}) and ts < to_timestamp_nanos({to})")
}

const SECOND: i64 = 1_000_000_000;
/// Nanoseconds in which no more comes than can be sorted.
const FINEST: i64 = 1_000;
/// Bytes of packets that are asked for at once.
const PIECE_BYTES: u64 = 16 << 20;
