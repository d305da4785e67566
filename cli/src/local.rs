//! Asks capture files in this process: the worker's corridor into a temporary store, and the query engine on it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use api::{Accounting, QueryRequest};
use arrow_array::RecordBatch;
use arrow_cast::parse::string_to_timestamp_nanos;
use arrow_schema::{Schema, SchemaRef};
use futures::StreamExt;
use query::{Ask, Engine, Limits, Options, Plan, Tables};
use tokio::runtime::Runtime;
use worker::{Config, DissectionConfig, Inputs, Keep, Layout, StoreOptions, TracingConfig, Worker};

use crate::capture::{self, Age, Keys, Size};
use crate::hub;
use crate::place::{Answer, Place};
use crate::progress;

/// Files that were read, ready to be asked.
pub(crate) struct Local {
    runtime: Runtime,
    worker: Worker,
    engine: Engine,
    damage: Vec<String>,
    /// The question that the files were read for, until it is answered.
    planned: Cell<Option<Plan>>,
}

impl Local {
    /// Reads the files, keeping what the question reads. `packets`: it is about packets, and so is the next one.
    pub(crate) fn read(
        files: &[PathBuf],
        request: &QueryRequest,
        packets: bool,
        body_bytes: Size,
        keys: &Keys,
    ) -> Result<Self> {
        let secrets = keys.secrets()?;
        let node = capture::host()?;
        let runtime = crate::commands::runtime()?;
        let tables = Tables::new(dissect::tables().iter().cloned());
        let options = Options::default();
        let plan = runtime.block_on(Plan::of(question(request)?, &tables, &options));
        let plan = plan.map_err(|why| wrong(&why, &asked(request)))?;
        let config = Config {
            node: node.clone(),
            store: None,
            inputs: Inputs::Files(files.to_vec()),
            limits: capture::limits(body_bytes),
            keep: keep(plan.reads()?, packets),
            storage: StoreOptions {
                keep_bytes_records: u64::MAX,
                keep_bytes_packets: u64::MAX,
                // Nobody else looks at it, and a crash takes it along: only its size seals a segment, late and quickly.
                seal_after: Duration::from_secs(24 * 3_600),
                hot_bytes: HOT_BYTES,
                scratch: true,
                sealed: Layout { row_group_bytes: 8 << 20, ..Layout::SEALED },
                ..StoreOptions::default()
            },
            dissection: DissectionConfig::default(),
            secrets,
            tracing: TracingConfig::default(),
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
        let engine = Engine::local(node, worker.store().clone(), tables, options);
        let planned = Cell::new(Some(plan));
        Ok(Self { runtime, worker, engine, damage: import.errors, planned })
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
        let asked = asked(request);
        let query = question(request)?;
        let answer = self.runtime.block_on(async {
            match self.planned.take().filter(|it| *it.query() == query) {
                Some(plan) => self.engine.answer(plan).await,
                None => self.engine.run(query).await,
            }
        });
        let answer = answer.map_err(|why| wrong(&why, &asked))?;
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

/// The tables and columns that are read: what nobody asks for is not written.
fn keep(mut reads: BTreeMap<String, BTreeSet<String>>, packets: bool) -> Keep {
    if packets {
        let table = dissect::tables().iter().find(|it| it.name == PACKETS);
        let columns =
            table.into_iter().flat_map(|it| it.fields.iter()).map(|it| it.name.to_string());
        reads.insert(PACKETS.to_owned(), columns.collect());
    }
    // Conversations and losses depend on what is spoken; packets do not.
    let protocols = reads.keys().any(|it| it != PACKETS);
    Keep { protocols, only: Some(reads), ..Keep::default() }
}

fn asked(request: &QueryRequest) -> String {
    request.sql.as_ref().or(request.filter.as_ref()).cloned().unwrap_or_default()
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
pub(crate) fn moment(text: &str) -> Result<i64> {
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
    anyhow::anyhow!("{}", hub::sentence(&server::told(why), Some(asked)))
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
/// Rows in memory; with what reading and asking take, the process stays below 300 MiB.
const HOT_BYTES: usize = 64 << 20;
/// Nobody else waits for this process; whoever started it can interrupt it.
const DEADLINE: Duration = Duration::from_secs(3_600);
/// What shells say of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_question_reads_is_kept() {
        let kept = |request: QueryRequest, packets| {
            let tables = Tables::new(dissect::tables().iter().cloned());
            let options = Options::default();
            let plan = Plan::of(question(&request).unwrap(), &tables, &options);
            let runtime = crate::commands::runtime().unwrap();
            keep(runtime.block_on(plan).unwrap().reads().unwrap(), packets)
        };
        let columns = |sql: &str| {
            let only = kept(QueryRequest::sql(sql), false).only.unwrap();
            let columns = only.into_iter().map(|(table, columns)| {
                format!("{table}: {}", columns.into_iter().collect::<Vec<_>>().join(" "))
            });
            columns.collect::<Vec<_>>().join("; ")
        };
        assert_eq!(columns("select count(*) from HTTP"), "http: ");
        assert_eq!(columns("select text(Request_Body) from http h"), "http: request_body");
        assert_eq!(
            columns("select h.target from http h where client.port > 9 order by duration"),
            "http: client_port duration target"
        );
        assert_eq!(
            columns(
                "with a as (select * from redis) select key from a where 'x' = (select max(verb) from dns)"
            ),
            "dns: verb; redis: key"
        );
        assert_eq!(
            columns("select 1 from \"packets\" p join connections c using (flow_id)"),
            "connections: flow_id; packets: flow_id"
        );
        let all = dissect::tables().iter().find(|it| it.name == "http").unwrap().fields.len();
        let of_http = |sql: &str| kept(QueryRequest::sql(sql), false).only.unwrap()["http"].len();
        assert_eq!(of_http("select * from http"), all);
        assert_eq!(of_http("explain analyze select h.* from http h"), all);
        assert!(of_http("select count(*) from traffic") < 3);

        assert!(!kept(QueryRequest::sql("select count(*) from packets"), false).protocols);
        assert!(kept(QueryRequest::sql("select sum(resets) from connections"), false).protocols);
        assert!(kept(QueryRequest::sql("select * from losses"), false).protocols);
        let only = kept(QueryRequest::filter("dns.failed"), true).only.unwrap();
        assert!(only["packets"].contains("data") && only["dns"].contains("flow_id"), "{only:?}");
    }

    #[test]
    fn times_are_read_or_refused() {
        assert_eq!(moment("1970-01-01T00:00:01Z").unwrap(), 1_000_000_000);
        assert!(moment("15m").unwrap() > 1_700_000_000_000_000_000);
        assert!(moment("yesterday").unwrap_err().to_string().contains("neither a time"));
    }
}
