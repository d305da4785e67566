//! The query engine beside DuckDB: the same questions over the same Parquet files, warm, in the same run.
//!
//! What is compared is CPU time, user and system, of all threads, from the question to the last row. Both have the
//! same number of threads. Their answers must be equal, but for percentiles, which both only estimate.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt16Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use futures::StreamExt;
use query::{Ask, Engine, Limits, Query, Tables};
use segment::Store;
use serde_json::{Value, json};

mod rows;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Queries {
    /// HTTP exchanges in the store; it is made if it is not there.
    #[arg(long, default_value_t = 5_000_000)]
    rows: u64,
    /// The store's folder; else one beside this program, which is kept for the next time.
    #[arg(long)]
    store: Option<PathBuf>,
    /// How often each question is asked; what counts is the median.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Threads each of the two has.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only the questions whose names begin like this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only Kubeshark, with the plan of each question and what its parts cost.
    #[arg(long)]
    explain: bool,
}

/// A question in both dialects.
struct Question {
    name: &'static str,
    sql: String,
    /// Where DuckDB needs another wording.
    theirs: Option<String>,
    /// The columns of the answer that are compared; all without.
    columns: &'static [&'static str],
    /// Percentiles are estimates: how far apart they may be.
    tolerance: f64,
    /// The CPU time the question may take at most, in milliseconds.
    most_ms: Option<f64>,
}

impl Question {
    fn new(name: &'static str, sql: impl Into<String>) -> Self {
        Self { name, sql: sql.into(), theirs: None, columns: &[], tolerance: 0.0, most_ms: None }
    }
}

fn questions(exchanges: u64) -> Vec<Question> {
    let (from, to) = rows::span(exchanges);
    let (at, one_percent) = (from + (to - from) / 3, (to - from) / 100);
    let time = |ns: i64| format!("to_timestamp_micros({})", ns / 1000);
    let theirs = |ns: i64| format!("make_timestamptz({})", ns / 1000);
    let range = |time: &dyn Fn(i64) -> String| {
        format!(
            "select count(*), sum(response_bytes), max(duration) from http \
             where ts >= {} and ts < {} and status >= 500",
            time(at),
            time(at + one_percent)
        )
    };
    let row = "select ts, verb, target, status, duration, client_ip, client_pod, server_ip, server_pod, seq, \
               request_headers, response_headers, request_body, response_body from http where flow_id =";
    let needle = rows::needle(exchanges);
    vec![
        Question {
            columns: &[
                "verb", "target", "status", "duration", "client_ip", "client_pod", "server_ip", "server_pod", "seq",
            ],
            most_ms: Some(20.0),
            ..Question::new("needle, hit", format!("{row} '{needle}'"))
        },
        Question { most_ms: Some(3.0), ..Question::new("needle, miss", format!("{row} '{}'", needle.to_uppercase())) },
        Question { theirs: Some(range(&theirs)), ..Question::new("range scan, 1 % of the time", range(&time)) },
        Question::new(
            "LIKE over all targets",
            "select count(*), max(duration) from http where target like '%/checkout/%limit=50%' and status >= 400",
        ),
        Question::new(
            "group by service and status",
            "select server_service, status, count(*), sum(response_bytes), max(duration) from http group by 1, 2",
        ),
        Question {
            theirs: Some(
                "select server_service, count(*), approx_quantile(duration, 0.99) from http group by 1".to_owned(),
            ),
            // Two estimates in a long tail.
            tolerance: 0.05,
            ..Question::new(
                "p99 by service",
                "select server_service, count(*), approx_percentile_cont(duration, 0.99) from http group by 1",
            )
        },
        Question {
            columns: &["duration", "flow_id", "seq"],
            ..Question::new("top-k: the slowest, whole rows", "select * from http order by duration desc limit 100")
        },
        Question::new("count distinct paths", "select count(distinct path) from http"),
        Question::new(
            "time buckets",
            "select date_trunc('minute', ts) as minute, count(*), sum(request_bytes), avg(duration) \
             from http group by 1",
        ),
        Question::new(
            "join with connections",
            "select h.server_service, count(*), sum(h.response_bytes), max(c.rtt_max) from http h \
             join connections c on h.flow_id = c.flow_id where c.client_retransmissions > 0 group by 1",
        ),
    ]
}

/// Fills the store, asks both, compares.
pub(crate) fn compare(options: &Queries) -> Result<()> {
    let beside = std::env::current_exe()?.parent().context("a folder")?.to_path_buf();
    let folder = options.store.clone();
    let folder = folder.unwrap_or_else(|| beside.join(format!("bench-store-{}", options.rows)));
    let store = store(&folder, options.rows)?;
    println!("machine: {}, {} threads each", crate::machine(), options.threads);
    for table in store.state().tables.iter().filter(|it| it.rows > 0) {
        println!(
            "{}: {} rows in {} segments, {:.1} bytes each",
            table.name,
            table.rows,
            table.segments,
            crate::per(table.bytes, table.rows)
        );
    }
    let questions = questions(options.rows);
    let questions: Vec<_> =
        questions.into_iter().filter(|it| it.name.starts_with(&options.only)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        // What ended threads have used could no longer be read.
        .thread_keep_alive(Duration::from_secs(3_600))
        .enable_all()
        .build()?;
    let engine = Engine::local(
        "node-1",
        store,
        Tables::new(dissect::tables().iter().cloned()),
        query::Options { partitions: options.threads, ..query::Options::default() },
    );
    if options.explain {
        for question in &questions {
            let plan =
                runtime.block_on(ask(&engine, &format!("explain analyze {}", question.sql)))?;
            for line in plan.iter().flat_map(text_lines) {
                println!("{line}");
            }
            println!(
                "{:34} {:9.1} ms\n",
                question.name,
                ours(&runtime, &engine, question, options.runs)?.0
            );
        }
        return Ok(());
    }
    let theirs = peer(&beside, &folder, options, &questions)?;
    println!("\n{:34} {:>9} {:>9} {:>7}", "CPU ms", "Kubeshark", "DuckDB", "ratio");
    let (mut logs, mut missed) = (0.0, Vec::new());
    for (question, (their_ms, their_rows)) in questions.iter().zip(theirs) {
        let (ms, rows) = ours(&runtime, &engine, question, options.runs)?;
        let ratio = ms / their_ms.max(0.001);
        logs += ratio.ln();
        println!("{:34} {ms:9.1} {their_ms:9.1} {ratio:7.2}", question.name);
        same(&rows, &their_rows, question.tolerance).with_context(|| question.name)?;
        if ratio > WORST {
            missed.push(format!("{}: {ratio:.2} × DuckDB", question.name));
        }
        if let Some(most) = question.most_ms.filter(|it| ms > *it) {
            missed.push(format!("{}: {ms:.1} ms of {most}", question.name));
        }
    }
    let mean = (logs / questions.len().max(1) as f64).exp();
    println!("{:34} {:>9} {:>9} {mean:7.2}", "geometric mean", "", "");
    if mean > MEAN {
        missed.push(format!("geometric mean: {mean:.2}"));
    }
    match missed.as_slice() {
        [] => println!("all targets met: mean ≤ {MEAN}, none above {WORST}, answers equal"),
        missed => println!("missed: {}", missed.join("; ")),
    }
    Ok(())
}

/// The store in that folder, made if it is not there.
fn store(folder: &Path, exchanges: u64) -> Result<Store> {
    let options = segment::Options {
        // Segments as large as compaction leaves them.
        hot_bytes: 1 << 30,
        seal_after: Duration::from_secs(3_600),
        keep_bytes_records: u64::MAX,
        // Before the store opens, not while queries are measured.
        verify_bytes: u64::MAX,
        ..segment::Options::default()
    };
    // With the columns it has: of a version with others it is made anew.
    let complete = folder.join("complete");
    let columns = |it: &schema::Table| {
        let names: Vec<_> = it.fields.iter().map(|it| it.name.as_ref()).collect();
        format!("{}: {}\n", it.name, names.join(", "))
    };
    let columns: String = dissect::tables().iter().map(columns).collect();
    let is_complete = || std::fs::read_to_string(&complete).is_ok_and(|it| it == columns);
    if folder.exists() && !is_complete() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    if !is_complete() {
        println!("making {exchanges} exchanges in {}", folder.display());
        let (store, _) = Store::open(folder, dissect::tables(), options.clone())?;
        rows::fill(&store, exchanges)?;
        drop(store);
        std::fs::write(&complete, &columns)?;
    }
    let (store, recovery) = Store::open(folder, dissect::tables(), options)?;
    ensure!(recovery.losses.is_empty(), "{} is damaged: remove it", folder.display());
    Ok(store)
}

/// The median of the CPU time in milliseconds, and the rows.
fn ours(
    runtime: &tokio::runtime::Runtime,
    engine: &Engine,
    question: &Question,
    runs: usize,
) -> Result<(f64, Vec<Vec<Value>>)> {
    let mut batches = runtime.block_on(ask(engine, &question.sql))?;
    let mut costs = Vec::new();
    for _ in 0..runs.max(1) {
        let before = cpu_ms()?;
        batches = runtime.block_on(ask(engine, &question.sql))?;
        costs.push(cpu_ms()? - before);
    }
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = match question.columns {
            [] => batch.columns().iter().collect(),
            some => some.iter().filter_map(|it| batch.column_by_name(it)).collect(),
        };
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|it| plain(it, row)).collect::<Result<_>>()?);
        }
    }
    Ok((median(&mut costs), rows))
}

async fn ask(engine: &Engine, sql: &str) -> Result<Vec<RecordBatch>> {
    // On a busy machine, time passes without anything being done.
    let limits = Limits { deadline: Duration::from_secs(3_600), ..Limits::default() };
    let query = Query { id: "bench".to_owned(), ask: Ask::Sql(sql.to_owned()), limits };
    let mut answer = engine.run(query).await?;
    let mut batches = Vec::new();
    while let Some(batch) = answer.rows.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// Milliseconds that this process's threads have run, from the kernel's scheduler.
fn cpu_ms() -> Result<f64> {
    let mut ns = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path().join("schedstat");
        let stat = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ns += stat.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(ns / 1e6)
}

/// DuckDB's medians and rows.
fn peer(
    beside: &Path,
    folder: &Path,
    options: &Queries,
    questions: &[Question],
) -> Result<Vec<(f64, Vec<Vec<Value>>)>> {
    let python = environment(&beside.join("bench-duckdb"))?;
    let mut child = Command::new(python)
        .args(["-c", include_str!("queries/duckdb.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let job = json!({
        "threads": options.threads,
        "runs": options.runs,
        "store": folder,
        "tables": ["http", "connections"],
        "questions": questions
            .iter()
            .map(|it| json!({ "sql": it.theirs.as_ref().unwrap_or(&it.sql), "columns": it.columns }))
            .collect::<Vec<_>>(),
    });
    child.stdin.take().context("standard input")?.write_all(job.to_string().as_bytes())?;
    let mut answers = Vec::new();
    for line in BufReader::new(child.stdout.take().context("standard output")?).lines() {
        let answer: Value = serde_json::from_str(&line?)?;
        let numbers = |it: &Value| {
            it.as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<_>>()
        };
        let rows = answer["rows"].as_array().into_iter().flatten();
        let rows = rows.map(|it| it.as_array().cloned().unwrap_or_default()).collect();
        if answers.is_empty() {
            println!("peer: DuckDB {}", answer["version"].as_str().unwrap_or_default());
        }
        answers.push((median(&mut numbers(&answer["runs"])), rows));
    }
    ensure!(child.wait()?.success(), "DuckDB failed");
    ensure!(answers.len() == questions.len(), "DuckDB did not answer every question");
    Ok(answers)
}

/// Python with DuckDB in it, made once.
fn environment(folder: &Path) -> Result<PathBuf> {
    let python = folder.join("bin/python3");
    let has = |python: &Path| {
        let import =
            Command::new(python).args(["-c", "import duckdb"]).stderr(Stdio::null()).status();
        import.is_ok_and(|it| it.success())
    };
    if !has(&python) {
        for (program, arguments) in [
            (
                Path::new("python3"),
                vec!["-m", "venv", folder.to_str().context("a folder in UTF-8")?],
            ),
            (&python, vec!["-m", "pip", "install", "--quiet", PEER]),
        ] {
            let done = Command::new(program).args(arguments).status();
            ensure!(
                done.context("python3 with venv and pip")?.success(),
                "{PEER} could not be installed"
            );
        }
    }
    Ok(python)
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A value as DuckDB's side of the comparison writes it; times are microseconds.
fn plain(column: &dyn Array, row: usize) -> Result<Value> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Utf8View => column.as_string_view().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            (column.as_primitive::<TimestampNanosecondType>().value(row) / 1000).into()
        }
        other => bail!("{other} is not compared"),
    })
}

/// Whether two answers are the same rows, in whatever order.
fn same(ours: &[Vec<Value>], theirs: &[Vec<Value>], tolerance: f64) -> Result<()> {
    ensure!(ours.len() == theirs.len(), "{} rows, but DuckDB has {}", ours.len(), theirs.len());
    let sorted = |rows: &[Vec<Value>]| {
        let mut rows = rows.to_vec();
        rows.sort_by_cached_key(|it| json!(it).to_string());
        rows
    };
    for (a, b) in sorted(ours).iter().zip(sorted(theirs)) {
        let equal = a.len() == b.len()
            && a.iter().zip(&b).all(|(a, b)| match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() <= (tolerance + 1e-9) * a.abs().max(b.abs()),
                _ => a == b,
            });
        ensure!(equal, "a row {a:?}, but DuckDB has {b:?}");
    }
    Ok(())
}

fn text_lines(batch: &RecordBatch) -> Vec<String> {
    let Some(column) = batch.columns().last() else { return Vec::new() };
    (0..batch.num_rows())
        .filter_map(|it| plain(column, it).ok()?.as_str().map(str::to_owned))
        .flat_map(|it| it.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The version that was measured.
const PEER: &str = "duckdb==2.0.1";
/// Of DuckDB's CPU time, at most: on geometric average, and for any one question.
const MEAN: f64 = 0.7;
const WORST: f64 = 1.3;
