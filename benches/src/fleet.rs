//! A thousand Workers and a Hub: how long a question to all of them takes, what it costs the Hub, and what becomes of
//! it when some of them die and others hang.
//!
//! The Hub is a process of its own, the Workers are another: real ones, each with a store and rows that it dissected,
//! that dial the Hub as they would from a thousand machines.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use worker::{
    Config, DissectionConfig, Hub, Inputs, Keep, Limits, Secrets, StoreOptions, TracingConfig,
    Worker,
};

use crate::cost::{Usage, usage};

/// Starts everything, asks, and prints what came of it.
pub(crate) fn compare(workers: usize, queries: usize, capture: &Path, binary: &Path) -> Result<()> {
    let mut command = Command::new(binary);
    let (hub, url) = started(command.args(["hub", "--listen", "127.0.0.1:0", "--log", "error"]))?;
    let begun = Instant::now();
    let mut fleet = Fleet::start(workers, capture, &url)?;
    let hub_id = hub.0.id();
    let idle = usage(hub_id)?;
    println!(
        "\n{workers} workers, linked within {:.1} s of starting the first; the hub: {:.1} s CPU, {} MiB resident",
        begun.elapsed().as_secs_f64(),
        idle.cpu_seconds,
        idle.resident_bytes >> 20
    );
    let quiet = Instant::now();
    std::thread::sleep(Duration::from_secs(5));
    let after = usage(hub_id)?;
    println!(
        "at rest the hub takes {:.1} % of a core",
        100.0 * (after.cpu_seconds - idle.cpu_seconds) / quiet.elapsed().as_secs_f64()
    );
    println!(
        "\n{:10} {:>8} {:>8} {:>12} {:>12} {:>12} {:>10}",
        "", "p50 s", "p99 s", "hub CPU s", "fleet CPU s", "bytes moved", "hub MiB"
    );
    for (name, sql) in QUESTIONS {
        let (hub_before, fleet_before) = (usage(hub_id)?, usage(fleet.process.0.id())?);
        let mut times = Vec::new();
        let mut moved = 0;
        for _ in 0..queries {
            let begun = Instant::now();
            let answer = ask(&url, sql, Duration::from_secs(60))?;
            times.push(begun.elapsed());
            let accounting = &answer["accounting"];
            ensure!(accounting["complete"] == true, "{name} is not whole: {}", summary(&answer));
            moved = accounting["bytes_moved"].as_u64().unwrap_or_default();
        }
        times.sort();
        let (hub_after, fleet_after) = (usage(hub_id)?, usage(fleet.process.0.id())?);
        println!(
            "{name:10} {:8.2} {:8.2} {:12.3} {:12.3} {moved:12} {:10}",
            at(&times, 0.5),
            at(&times, 0.99),
            each(&hub_before, &hub_after, queries),
            each(&fleet_before, &fleet_after, queries),
            hub_after.peak_bytes >> 20
        );
    }
    fail(&mut fleet, workers, &url)?;
    let end = usage(hub_id)?;
    println!("\nthe hub had {} MiB resident at most", end.peak_bytes >> 20);
    Ok(())
}

/// One in a hundred dies, another hangs, and a question is asked at once.
fn fail(fleet: &mut Fleet, workers: usize, url: &str) -> Result<()> {
    let some = (workers / 100).max(1);
    fleet.say(&format!("fail {some}"))?;
    let expected: BTreeSet<_> = (0..2 * some).map(name).collect();
    let sql = QUESTIONS[0].1;
    for (when, deadline) in
        [("at once", Duration::from_secs(5)), ("once they are known", Duration::from_secs(5))]
    {
        let begun = Instant::now();
        let answer = ask(url, sql, deadline)?;
        let took = begun.elapsed();
        let nodes = answer["accounting"]["nodes"].as_array().context("an accounting of nodes")?;
        let missing: BTreeSet<_> = nodes
            .iter()
            .filter(|it| it["state"] != "answered")
            .filter_map(|it| Some(it["node"].as_str()?.to_owned()))
            .collect();
        println!(
            "{some} workers died and {some} hang, asked {when}: {:.2} s of {} s, {} answered, {} are named as missing",
            took.as_secs_f64(),
            deadline.as_secs(),
            nodes.len() - missing.len(),
            missing.len()
        );
        ensure!(took <= deadline, "the answer came after its deadline");
        ensure!(missing == expected, "named as missing are {missing:?}");
        let rows = answer["rows"].as_array().context("rows")?;
        let counted = rows.iter().filter_map(|it| it["n"].as_u64()).sum::<u64>();
        ensure!(counted > 0 && counted % (workers - 2 * some) as u64 == 0, "{counted} rows");
        std::thread::sleep(Duration::from_secs(4));
    }
    Ok(())
}

const QUESTIONS: &[(&str, &str)] = &[
    (
        "group by",
        "select status, count(*) as n, sum(request_bytes) as bytes from http group by status order by status",
    ),
    ("p99", "select verb, approx_percentile_cont(duration, 0.99) as p99 from http group by verb"),
    ("top 10", "select ts, node, target, duration from http order by duration desc, node limit 10"),
    ("needle", "select ts, node from http where target = '/no/such/thing'"),
];

pub(crate) fn ask(url: &str, sql: &str, deadline: Duration) -> Result<Value> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let post = agent.post(format!("{url}/api/query")).header("accept", "application/json");
    let asked = json!({ "sql": sql, "deadline_ms": deadline.as_millis() });
    // A thousand nodes' accounting is longer than ureq reads by itself.
    Ok(post.send_json(asked)?.body_mut().with_config().limit(64 << 20).read_json()?)
}

fn summary(answer: &Value) -> String {
    let text = answer.to_string();
    text.chars().take(300).collect()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank"
)]
fn at(times: &[Duration], part: f64) -> f64 {
    let rank = (times.len() as f64 * part).ceil() as usize;
    times.get(rank.clamp(1, times.len()) - 1).map_or(0.0, Duration::as_secs_f64)
}

fn each(before: &Usage, after: &Usage, queries: usize) -> f64 {
    (after.cpu_seconds - before.cpu_seconds) / u32::try_from(queries).map_or(1.0, f64::from)
}

/// A Hub that says on its standard error where it listens.
pub(crate) fn started(command: &mut Command) -> Result<(Killed, String)> {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let said = child.stderr.take().context("its standard error")?;
    let hub = Killed(child);
    let mut lines = BufReader::new(said).lines();
    let url = loop {
        let line = lines.next().context("the hub ended")??;
        if let Some(url) = line.split_whitespace().find(|it| it.starts_with("http://")) {
            break url.to_owned();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    Ok((hub, url))
}

/// A process that ends with its owner.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

/// The process of all Workers.
struct Fleet {
    process: Killed,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Fleet {
    fn start(workers: usize, capture: &Path, url: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("workers").arg(workers.to_string()).arg(capture).arg(url);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its standard output")?).lines();
        let mut fleet = Self { process: Killed(child), lines };
        fleet.heard("linked")?;
        Ok(fleet)
    }

    /// Says it to the process and waits until that is done.
    fn say(&mut self, what: &str) -> Result<()> {
        let stdin = self.process.0.stdin.as_mut().context("its standard input")?;
        writeln!(stdin, "{what}")?;
        stdin.flush()?;
        self.heard("done")
    }

    fn heard(&mut self, word: &str) -> Result<()> {
        let line = self.lines.next().context("the workers ended")??;
        ensure!(line == word, "the workers say {line:?}");
        Ok(())
    }
}

fn name(n: usize) -> String {
    format!("node-{n:04}")
}

/// The process of all Workers: links them, and does what its standard input says until that ends.
pub(crate) fn workers(count: usize, capture: &Path, hub: &str) -> Result<()> {
    source::process::open_many_files();
    let folder = tempfile::tempdir()?;
    // A few threads for a thousand nodes.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let address: SocketAddr = hub.trim_start_matches("http://").parse()?;
        let mut nodes = Vec::new();
        for n in 0..count {
            let config = Config {
                node: name(n),
                store: Some(folder.path().join(name(n))),
                inputs: Inputs::Files(vec![capture.to_path_buf()]),
                limits: Limits::default(),
                keep: Keep { packets: false, ..Keep::default() },
                storage: StoreOptions {
                    scratch: true,
                    seal_after: Duration::from_secs(3_600),
                    ..StoreOptions::default()
                },
                dissection: DissectionConfig::default(),
                secrets: Secrets::default(),
                tracing: TracingConfig::default(),
            };
            let worker = Worker::start(config, None)?;
            worker.imported().await;
            // Those that are to hang have a wire that can.
            let wire =
                if n < 2 * (count / 100).max(1) { Some(Wire::to(address).await?) } else { None };
            let dialled = wire.as_ref().map_or(address, |it| it.address);
            let link = tokio::spawn({
                let worker = worker.clone();
                async move {
                    let hub =
                        Hub { address: format!("ws://{dialled}"), token: None, certificates: None };
                    worker::serve(&worker, &hub).await
                }
            });
            nodes.push(Linked { _worker: worker, link, wire });
        }
        let url = format!("{hub}/api/health");
        while linked(&url)? < count {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("linked");
        let lines = std::io::stdin().lines();
        for line in lines {
            let line = line?;
            let some: usize = line.strip_prefix("fail ").context("a word it knows")?.parse()?;
            for (n, node) in nodes.iter().enumerate().take(2 * some) {
                if n < some {
                    node.link.abort();
                }
                if let Some(wire) = &node.wire {
                    wire.state.send_replace(if n < some { State::Cut } else { State::Still });
                }
            }
            println!("done");
        }
        anyhow::Ok(())
    })
}

fn linked(url: &str) -> Result<usize> {
    let health: Value = ureq::get(url).call()?.body_mut().read_json()?;
    Ok(health["workers_connected"].as_u64().and_then(|it| it.try_into().ok()).unwrap_or_default())
}

struct Linked {
    _worker: Worker,
    link: JoinHandle<worker::Error>,
    wire: Option<Wire>,
}

/// A TCP connection that can fall silent, or break.
struct Wire {
    address: SocketAddr,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Still,
    Cut,
}

impl Wire {
    async fn to(hub: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State::Open);
        let watched = state.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let watched = watched.clone();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(hub).await else { return };
                    far.set_nodelay(true).and_then(|()| near.set_nodelay(true)).ok();
                    let (near, far) = (near.into_split(), far.into_split());
                    let mut cut = watched.clone();
                    tokio::select! {
                        _ = cut.wait_for(|it| *it == State::Cut) => {}
                        () = carry(near.0, far.1, watched.clone()) => {}
                        () = carry(far.0, near.1, watched) => {}
                    }
                });
            }
        });
        Ok(Self { address, state })
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        let open = state.wait_for(|it| *it == State::Open).await.is_ok();
        if read == 0 || !open || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
