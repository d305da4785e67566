//! Asks capture files in this process: the worker's corridor into a temporary store, and the query engine on it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use api::{Accounting, QueryRequest};
use arrow_array::RecordBatch;
use arrow_cast::parse::string_to_timestamp_nanos;
use arrow_schema::{Schema, SchemaRef};
use futures::StreamExt;
use query::{Ask, Engine, Limits, Options, Tables};
use schema::Kind;
use tokio::runtime::Runtime;
use worker::{Config, Inputs, Keep, StoreOptions, Worker};

use crate::capture::{self, Age, Size};
use crate::hub;
use crate::place::{Answer, Place};
use crate::progress;

/// Files that were read, ready to be asked.
pub(crate) struct Local {
    runtime: Runtime,
    worker: Worker,
    engine: Engine,
    damage: Vec<String>,
}

impl Local {
    /// Reads the files, keeping what the question can be about. `packets`: the answer is to be packets.
    pub(crate) fn read(
        files: &[PathBuf],
        request: &QueryRequest,
        packets: bool,
        body_bytes: Size,
    ) -> Result<Self> {
        let node = capture::host()?;
        let runtime = crate::commands::runtime()?;
        let config = Config {
            node: node.clone(),
            store: None,
            inputs: Inputs::Files(files.to_vec()),
            limits: capture::limits(body_bytes),
            keep: keep(request, packets),
            storage: StoreOptions {
                keep_bytes_records: u64::MAX,
                keep_bytes_packets: u64::MAX,
                // Nobody else looks at it, and a crash takes it along: only its size seals a segment, late and quickly.
                seal_after: Duration::from_secs(24 * 3_600),
                hot_bytes: HOT_BYTES,
                scratch: true,
                row_group_bytes: 8 << 20,
                ..StoreOptions::default()
            },
        };
        let bar = progress::Bar::new();
        let worker = Worker::start(config, bar.report())?;
        stop_when_interrupted(&runtime, &worker);
        let import = runtime.block_on(worker.imported());
        bar.end();
        if import.packets == 0
            && let [first, ..] = import.errors.as_slice()
        {
            bail!("{first}");
        }
        let tables = Tables::new(dissect::tables().iter().cloned());
        let engine = Engine::local(node, worker.store().clone(), tables, Options::default());
        Ok(Self { runtime, worker, engine, damage: import.errors })
    }

    /// A sentence for each file that was not read to its end.
    pub(crate) fn damage(&self) -> &[String] {
        &self.damage
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Err(why) = self.worker.stop() {
            tracing::warn!(%why, "the temporary store did not close");
        }
    }
}

impl Place for Local {
    fn ask(&self, request: &QueryRequest) -> Result<Box<dyn Answer + '_>> {
        let asked = request.sql.as_ref().or(request.filter.as_ref()).cloned().unwrap_or_default();
        let query = question(request)?;
        let answer =
            self.runtime.block_on(self.engine.run(query)).map_err(|why| wrong(&why, &asked))?;
        let columns = request.columns.iter().map(|name| {
            let place = answer.schema.index_of(name).ok();
            place.with_context(|| {
                format!("a filter's rows have no column {name}: see `kubeshark tables traffic`")
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let schema = if columns.is_empty() {
            SchemaRef::clone(&answer.schema)
        } else {
            Schema::project(&answer.schema, &columns)?.into()
        };
        Ok(Box::new(Rows { runtime: &self.runtime, answer, asked, columns, schema }))
    }
}

struct Rows<'a> {
    runtime: &'a Runtime,
    answer: query::Answer,
    asked: String,
    /// Which columns are wanted; none for all.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Answer for Rows<'_> {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.runtime.block_on(self.answer.rows.next()) else { return Ok(None) };
        let batch = batch.map_err(|why| wrong(&why, &self.asked))?;
        Ok(Some(if self.columns.is_empty() { batch } else { batch.project(&self.columns)? }))
    }

    fn accounting(self: Box<Self>) -> Result<Option<Accounting>> {
        Ok(Some(server::accounting(self.runtime.block_on(self.answer.accounting))))
    }
}

/// Which tables the question can be about: rows that nobody asks for are not written.
fn keep(request: &QueryRequest, packets: bool) -> Keep {
    let Some(sql) = &request.sql else {
        // The rows of a filter are those of `traffic`, which has no wide columns.
        let filter = request.filter.as_deref().unwrap_or_default();
        let wide = names_wide(&words(&filter.to_ascii_lowercase()));
        return Keep { packets, connections: false, protocols: true, wide };
    };
    let sql = sql.to_ascii_lowercase();
    let words = words(&sql);
    let others = [PACKETS, CONNECTIONS, LOSSES];
    let protocols =
        dissect::tables().iter().map(|it| it.name.as_ref()).filter(|it| !others.contains(it));
    Keep {
        packets: packets || words.contains(PACKETS),
        connections: words.contains(CONNECTIONS),
        protocols: words.contains(query::TRAFFIC)
            || protocols.into_iter().any(|it| words.contains(it)),
        // All columns are asked for by a star, unless it counts, or by a join over all of them.
        wide: names_wide(&words)
            || sql.replace("count(*)", "").contains('*')
            || ["natural", "table", "describe"].iter().any(|it| words.contains(it)),
    }
}

fn words(sql: &str) -> HashSet<&str> {
    sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

/// Whether a payload, headers or a list is named.
fn names_wide(words: &HashSet<&str>) -> bool {
    let fields = dissect::tables().iter().flat_map(|it| it.fields.iter());
    fields
        .filter(|it| matches!(it.kind, Kind::Body | Kind::Headers | Kind::Texts))
        .any(|it| words.contains(it.name.as_ref()))
}

fn question(request: &QueryRequest) -> Result<query::Query> {
    let ask = match (&request.sql, &request.filter) {
        (Some(sql), _) => Ask::Sql(sql.clone()),
        (None, filter) => Ask::Filter {
            filter: filter.clone().unwrap_or_default(),
            limit: request.limit.map(saturated),
            from: request.since.as_deref().map(moment).transpose()?,
            to: request.until.as_deref().map(moment).transpose()?,
        },
    };
    let limits = Limits {
        deadline: request.deadline_ms.map_or(DEADLINE, Duration::from_millis),
        rows: request.max_rows.map_or(usize::MAX, saturated),
        bytes: u64::MAX,
        ..Limits::default()
    };
    Ok(query::Query { id: "local".to_owned(), ask, limits })
}

fn saturated(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// An RFC 3339 time, or an age such as `15m`, as nanoseconds since 1970.
fn moment(text: &str) -> Result<i64> {
    if let Ok(Age(age)) = text.parse() {
        let then = SystemTime::now()
            .checked_sub(age)
            .and_then(|it| it.duration_since(SystemTime::UNIX_EPOCH).ok());
        return i64::try_from(then.context("that is before 1970")?.as_nanos())
            .context("that is too late");
    }
    string_to_timestamp_nanos(text).ok().with_context(|| {
        format!("{text:?} is neither a time such as 2026-01-31T12:00:00Z nor an age such as 15m")
    })
}

fn wrong(why: &query::Error, asked: &str) -> anyhow::Error {
    anyhow::anyhow!("{}", hub::sentence(&server::told(&why), Some(asked)))
}

/// Interrupted, the program takes its temporary folder along.
fn stop_when_interrupted(runtime: &Runtime, worker: &Worker) {
    let worker = worker.clone();
    runtime.spawn(async move {
        crate::commands::interrupted().await;
        if let Err(why) = worker.stop() {
            tracing::warn!(%why, "the temporary store did not close");
        }
        std::process::exit(INTERRUPTED);
    });
}

const PACKETS: &str = "packets";
const CONNECTIONS: &str = "connections";
const LOSSES: &str = "losses";
/// Rows in memory; with what reading and asking take, the process stays below 300 MiB.
const HOT_BYTES: usize = 16 << 20;
/// Nobody else waits for this process; whoever started it can interrupt it.
const DEADLINE: Duration = Duration::from_secs(3_600);
/// What shells say of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_that_the_question_names_are_filled() {
        let kept = |sql: &str| {
            let it = keep(&QueryRequest::sql(sql), false);
            (it.packets, it.connections, it.protocols)
        };
        let wide = |sql: &str| keep(&QueryRequest::sql(sql), false).wide;
        assert!(!wide("select count(*), max(duration) from http"));
        assert!(wide("select * from http") && wide("select h.* from http h"));
        assert!(wide("select text(Request_Body) from http"));
        assert!(wide("select target from redis where array_has(arguments, 'x')"));
        assert_eq!(kept("select count(*) from HTTP"), (false, false, true));
        assert_eq!(kept("select * from \"packets\""), (true, false, false));
        assert_eq!(kept("select client_packets from connections"), (false, true, false));
        assert_eq!(
            kept("select 1 from traffic t join connections c on t.flow_id=c.flow_id"),
            (false, true, true)
        );
        assert_eq!(kept("select * from losses"), (false, false, false));
        let filter = keep(&QueryRequest::filter("packets"), true);
        assert_eq!((filter.packets, filter.connections, filter.protocols), (true, false, true));
    }

    #[test]
    fn times_are_read_or_refused() {
        assert_eq!(moment("1970-01-01T00:00:01Z").unwrap(), 1_000_000_000);
        assert!(moment("15m").unwrap() > 1_700_000_000_000_000_000);
        assert!(moment("yesterday").unwrap_err().to_string().contains("neither a time"));
    }
}
