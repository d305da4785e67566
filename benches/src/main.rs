//! Measures Kubeshark beside other readers of the same file in the same run: `cargo xtask bench`.
//!
//! `queries` measures the query engine beside DuckDB; without it, the capture side is measured beside other readers.
//! There, what is compared is CPU time, user and system, of a whole process from its start to its end. Each contestant is a
//! process of its own, this program's own measuring modes too (`pcap-loop`, `dissect`, `import`).
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use tempfile::TempDir;

mod capture;
mod cost;
mod fleet;
mod flow;
mod layout;
mod live;
mod mirror;
mod modes;
mod page;
mod queries;
mod tracing;

use cost::Cost;

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks beside other readers.
#[derive(Debug, Parser)]
struct Bench {
    /// HTTP exchanges in the synthetic capture; 200000 make 283 MB, for which tshark takes minutes.
    #[arg(long, default_value_t = 50_000)]
    exchanges: u32,
    /// Copies of the recorded mix; 10 make about 200 MB.
    #[arg(long, default_value_t = 10)]
    copies: u32,
    /// Copies of each protocol's part of the mix, where protocols are measured one by one: so many that starting a
    /// program matters little.
    #[arg(long, default_value_t = 40)]
    protocol_copies: u32,
    /// How often everything is measured; the run in the middle counts.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Also run tshark over the recorded mix, for which it takes minutes.
    #[arg(long)]
    tshark_mix: bool,
    /// The folder of captures and their tools.
    #[arg(long, default_value = "../shared/corpus")]
    corpus: PathBuf,
    #[command(subcommand)]
    mode: Option<Mode>,
}

/// What this program does as a contestant.
#[derive(Debug, Subcommand)]
enum Mode {
    /// Reads every packet with libpcap and does nothing with it.
    PcapLoop { file: PathBuf },
    /// Makes rows of every packet and drops them.
    Dissect {
        file: PathBuf,
        /// Only of this table and these columns, as in `http:ts,verb`.
        #[arg(long)]
        only: Option<String>,
    },
    /// Makes rows of every packet and writes them to segments.
    Import { file: PathBuf, store: PathBuf },
    /// Asks a store nine kinds of questions, and DuckDB the same files.
    Queries(queries::Queries),
    /// Asks a Hub and so many Workers, some of which then fail.
    Fleet {
        #[arg(long, default_value_t = 1_000)]
        workers: usize,
        /// How often each question is asked.
        #[arg(long, default_value_t = 50)]
        queries: usize,
    },
    /// Captures loopback, left alone and while it answers heavy questions.
    Capture {
        #[arg(long, default_value_t = 20_000)]
        packets_per_s: u32,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Has a browser look at the live tail of a steady load.
    Page {
        #[arg(long, default_value_t = 5_000)]
        rows_per_s: u32,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Has a TLS server asked, alone, captured, and read within TLS.
    Tracing {
        #[arg(long, default_value_t = 20_000)]
        requests: u32,
    },
    /// Takes packets from the kernel, libpcap's way and ours, at rising rates. As root.
    Live {
        #[arg(long, default_value_t = 2)]
        seconds: u64,
    },
    /// Is the one who takes them.
    #[command(hide = true)]
    Take { interface: String, way: String },
    /// Is the one who sends them.
    #[command(hide = true)]
    Send { to: std::net::SocketAddr, packets_per_s: u64, bytes: usize, seconds: u64 },
    /// Is the Workers of `fleet`.
    #[command(hide = true)]
    Workers { count: usize, capture: PathBuf, hub: String },
    /// Writes the HTTP rows of a capture in every layout that was thought of, and prints their sizes and times.
    Layout { file: PathBuf },
    /// Fetches the packets of single rows from a store of many, which it makes.
    Packets {
        store: PathBuf,
        #[arg(long, default_value_t = 10_000_000)]
        packets: u64,
    },
}

fn main() -> Result<()> {
    let bench = Bench::parse();
    match bench.mode {
        Some(Mode::PcapLoop { ref file }) => modes::pcap_loop(file),
        Some(Mode::Dissect { ref file, ref only }) => modes::dissect(file, only.as_deref()),
        Some(Mode::Import { ref file, ref store }) => modes::import(file, store),
        Some(Mode::Queries(ref options)) => queries::compare(options),
        Some(Mode::Layout { ref file }) => layout::compare(file),
        Some(Mode::Packets { ref store, packets }) => flow::packets_of_a_row(store, packets),
        Some(Mode::Fleet { workers, queries }) => many(&bench, workers, queries),
        Some(Mode::Capture { packets_per_s, seconds }) => {
            let work = TempDir::new()?;
            println!("machine: {}", machine());
            capture::compare(&binary()?, work.path(), packets_per_s, seconds)
        }
        Some(Mode::Page { rows_per_s, seconds }) => {
            let work = TempDir::new()?;
            println!("machine: {}", machine());
            page::compare(&binary()?, work.path(), rows_per_s, seconds)
        }
        Some(Mode::Tracing { requests }) => {
            let work = TempDir::new()?;
            println!("machine: {}", machine());
            tracing::compare(&binary()?, work.path(), requests, bench.runs)
        }
        Some(Mode::Live { seconds }) => {
            println!("machine: {}", machine());
            live::compare(seconds, bench.runs)
        }
        Some(Mode::Take { ref interface, ref way }) => live::take(interface, way),
        Some(Mode::Send { to, packets_per_s, bytes, seconds }) => {
            live::send(to, packets_per_s, bytes, seconds)
        }
        Some(Mode::Workers { count, ref capture, ref hub }) => fleet::workers(count, capture, hub),
        None => compare(&bench),
    }
}

fn compare(bench: &Bench) -> Result<()> {
    let tools = bench.corpus.join("tools");
    if !tools.join("httpgen.py").is_file() {
        bail!(
            "the captures to measure are made by tools in {}, which is not there",
            tools.display()
        );
    }
    let binary = binary()?;
    println!("machine: {}", machine());
    let work = TempDir::new()?;
    http(bench, &tools, &binary, work.path())?;
    mix(bench, &tools, &binary, work.path())?;
    protocols(bench, &binary, work.path())
}

/// A Hub and many Workers, each with the rows of a small capture.
fn many(bench: &Bench, workers: usize, queries: usize) -> Result<()> {
    let binary = binary()?;
    println!("machine: {}", machine());
    let work = TempDir::new()?;
    let file = work.path().join("http.pcap");
    generate(&bench.corpus.join("tools"), EXCHANGES_EACH, &file)?;
    fleet::compare(workers, queries, &file, &binary)
}

/// The program that is measured.
fn binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("kubeshark");
    ensure!(binary.is_file(), "{} is not there: cargo xtask bench builds it", binary.display());
    Ok(binary)
}

/// What each of many Workers has.
const EXCHANGES_EACH: u32 = 200;

/// Makes a capture of so many HTTP exchanges.
fn generate(tools: &Path, exchanges: u32, file: &Path) -> Result<()> {
    let made = Command::new("python3")
        .arg(tools.join("httpgen.py"))
        .arg(exchanges.to_string())
        .arg(file)
        .arg("/dev/null")
        .stdout(Stdio::null())
        .status()
        .context("python3 makes the capture")?;
    ensure!(made.success(), "httpgen.py: {made}");
    Ok(())
}

fn http(bench: &Bench, tools: &Path, binary: &Path, work: &Path) -> Result<()> {
    let file = work.join("http.pcap");
    generate(tools, bench.exchanges, &file)?;
    // It ends with a whole connection, so that there are a few more than asked for.
    let sql = "select count(*) as n from http";
    let exchanges = count(binary, &file, sql)?;
    ensure!(
        exchanges >= u64::from(bench.exchanges),
        "only {exchanges} of {} exchanges found",
        bench.exchanges
    );
    let table = Table::begin("HTTP", &file, exchanges, bench.runs)?;

    let ours = table.line("kubeshark query --read, HTTP rows", |_| query(binary, &file, sql))?;
    let bodies = "select sum(octet_length(request_body)) + sum(octet_length(response_body)) as n \
                  from http";
    let summed = table.line("the same, all bodies summed up", |_| query(binary, &file, bodies))?;
    let all = "select count(*) as n from http union all select count(*) from connections \
               union all select count(*) from packets";
    table.line("connections and packets, too", |_| query(binary, &file, all))?;
    table.line("dissect alone: rows made and dropped", |_| own("dissect", &file))?;
    table.line("import: rows in durable segments", |run| import(&file, run))?;
    let bytes = folder_bytes(&store(&file, 0).join("http"))?;
    println!("{:44} {:8.0} bytes on disk per exchange, http table", "", per(bytes, exchanges));
    if let Some(tshark) = peer("tshark", &["tshark"]) {
        let fields =
            PROTOCOLS.iter().find(|it| it.display == "http").map_or(&[][..], |it| it.fields);
        let theirs = table.line("tshark, HTTP fields", |_| ask(&tshark, &file, "http", fields))?;
        println!(
            "\nHTTP: {:.1} × tshark's rows per CPU second; with all bodies summed up, {:.1} ×",
            theirs.cpu_seconds / ours.cpu_seconds,
            theirs.cpu_seconds / summed.cpu_seconds
        );
    }
    Ok(())
}

fn mix(bench: &Bench, tools: &Path, binary: &Path, work: &Path) -> Result<()> {
    let file = work.join("mix.pcap");
    let tool = work.join(MULTIPLIER);
    let built = Command::new("cc")
        .args(["-O2", "-w", "-o"])
        .arg(&tool)
        .arg(tools.join("bigmul.c"))
        .status();
    ensure!(built.context("cc builds bigmul")?.success(), "bigmul.c does not compile");
    multiply(work, &recorded(bench), &file, bench.copies)?;
    let sql = "select count(*) as n from traffic";
    let table = Table::begin("mix", &file, count(binary, &file, sql)?, bench.runs)?;

    let floor = table.line("libpcap read loop", |_| own("pcap-loop", &file))?;
    let with = |program: &Path, options: &[&str]| {
        let mut command = Command::new(program);
        command.args(options).arg(&file);
        command
    };
    let ndpi = match peer("ndpiReader", &["libndpi-bin"]) {
        Some(ndpi) => Some(table.line("nDPI's ndpiReader, flows", |_| with(&ndpi, &["-q", "-i"]))?),
        None => None,
    };
    let ours = table.line("dissect alone: rows made and dropped", |_| own("dissect", &file))?;
    table.line("kubeshark query --read, traffic", |_| query(binary, &file, sql))?;
    table.line("import: rows in durable segments", |run| import(&file, run))?;
    if bench.tshark_mix
        && let Some(tshark) = peer("tshark", &["tshark"])
    {
        table.line("tshark, one line a packet", |_| with(&tshark, &["-n", "-r"]))?;
    }
    println!(
        "\nmix: {:.1} × the CPU of a libpcap read loop",
        ours.cpu_seconds / floor.cpu_seconds.max(0.01)
    );
    if let Some(ndpi) = ndpi {
        println!(
            "mix: {:.1} × the CPU of nDPI's reader",
            ours.cpu_seconds / ndpi.cpu_seconds.max(0.01)
        );
    }
    Ok(())
}

/// Each protocol of the mix in a capture of its own: who, when, what, of what, how it ended, as tshark prints it and as
/// `kubeshark query` does.
fn protocols(bench: &Bench, binary: &Path, work: &Path) -> Result<()> {
    let Some(tshark) = peer("tshark", &["tshark"]) else { return Ok(()) };
    println!(
        "\n{:12} {:>8} {:>9} {:>14} {:>14} {:>8}",
        "protocol", "MB", "exchanges", "µs/exchange", "tshark's", "ratio"
    );
    for it in PROTOCOLS {
        let file = work.join(format!("{}.pcap", it.name.replace('/', "")));
        let part = work.join("part.pcap");
        modes::part(&recorded(bench), &part, it.packets)?;
        multiply(work, &part, &file, bench.protocol_copies)?;
        let from = format!("from {} {}", it.table, it.rows);
        let exchanges = count(binary, &file, &format!("select count(*) as n {from}"))?;
        ensure!(exchanges > 0, "no {} exchange found", it.name);
        let sql = format!("select ts, client_ip, server_ip, verb, target, status, duration {from}");
        let ours = Cost::median(bench.runs, |_| query(binary, &file, &sql))?;
        let theirs = Cost::median(bench.runs, |_| ask(&tshark, &file, it.display, it.fields))?;
        #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
        let megabytes = std::fs::metadata(&file)?.len() as f64 / 1e6;
        let micros = |cost: &Cost| cost.cpu_seconds * 1e6 / per(exchanges, 1);
        println!(
            "{:12} {megabytes:8.1} {exchanges:9} {:14.1} {:14.1} {:8.1}",
            it.name,
            micros(&ours),
            micros(&theirs),
            theirs.cpu_seconds / ours.cpu_seconds
        );
        std::fs::remove_file(&file)?;
    }
    Ok(())
}

/// A protocol that is measured by itself.
struct Measured {
    name: &'static str,
    /// Its packets in the mix, as libpcap's filter says it.
    packets: &'static str,
    table: &'static str,
    rows: &'static str,
    display: &'static str,
    fields: &'static [&'static str],
}

const PROTOCOLS: &[Measured] = &[
    Measured {
        name: "HTTP/1",
        packets: "tcp port 80 or tcp port 8080",
        table: "http",
        rows: "where version <> '2'",
        display: "http",
        fields: &["http.request.method", "http.request.uri", "http.response.code", "http.time"],
    },
    Measured {
        name: "HTTP/2",
        packets: "tcp port 8082 or tcp port 50051",
        table: "http",
        rows: "where version = '2'",
        display: "http2",
        fields: &[
            "http2.headers.method",
            "http2.headers.path",
            "http2.headers.status",
            "http2.streamid",
        ],
    },
    Measured {
        name: "Kafka",
        packets: "tcp port 9092",
        table: "kafka",
        rows: "",
        display: "kafka",
        fields: &["kafka.api_key", "kafka.topic_name", "kafka.error", "kafka.correlation_id"],
    },
    Measured {
        name: "PostgreSQL",
        packets: "tcp port 5432",
        table: "postgresql",
        rows: "",
        display: "pgsql",
        fields: &["pgsql.type", "pgsql.query", "pgsql.tag", "pgsql.code"],
    },
    Measured {
        name: "DNS",
        packets: "port 53",
        table: "dns",
        rows: "",
        display: "dns",
        fields: &["dns.qry.type", "dns.qry.name", "dns.flags.rcode", "dns.time"],
    },
    Measured {
        name: "Redis",
        packets: "tcp port 6379",
        table: "redis",
        rows: "",
        display: "resp",
        fields: &["resp.bulk_string.value", "resp.string", "resp.error", "resp.integer"],
    },
];

/// A file, and what every reader of it is measured by.
struct Table {
    megabytes: f64,
    exchanges: u64,
    runs: u32,
}

impl Table {
    fn begin(name: &str, file: &Path, exchanges: u64, runs: u32) -> Result<Self> {
        let bytes = std::fs::metadata(file)?.len();
        #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
        let megabytes = bytes as f64 / 1e6;
        println!("\n{name}: {megabytes:.0} MB, {exchanges} exchanges");
        println!(
            "{:44} {:>8} {:>8} {:>8} {:>12} {:>8}",
            "", "CPU s", "wall s", "MB/CPU s", "rows/CPU s", "MiB"
        );
        Ok(Self { megabytes, exchanges, runs })
    }

    fn line(&self, name: &str, command: impl FnMut(u32) -> Command) -> Result<Cost> {
        let cost = Cost::median(self.runs, command)?;
        let cpu = cost.cpu_seconds.max(0.01);
        println!(
            "{name:44} {cpu:8.2} {:8.2} {:8.0} {:12.0} {:8}",
            cost.wall_seconds,
            self.megabytes / cpu,
            per(self.exchanges, 1) / cpu,
            cost.peak_bytes >> 20
        );
        Ok(cost)
    }
}

fn query(binary: &Path, file: &Path, sql: &str) -> Command {
    let mut command = Command::new(binary);
    command.args(["query", "--format", "csv", "--read"]).arg(file).arg(sql);
    command
}

/// tshark, asked for a protocol alone.
fn ask(tshark: &Path, file: &Path, display: &str, fields: &[&str]) -> Command {
    let mut command = Command::new(tshark);
    command.args(["-n", "-r"]).arg(file).args(["-Y", display, "-T", "fields"]);
    for field in ["frame.time_epoch", "ip.src", "ip.dst"].iter().chain(fields) {
        command.args(["-e", field]);
    }
    command
}

fn own(mode: &str, file: &Path) -> Command {
    let mut command =
        Command::new(std::env::current_exe().unwrap_or_else(|_| PathBuf::from("benches")));
    command.arg(mode).arg(file);
    command
}

/// Each run has a store of its own.
fn import(file: &Path, run: u32) -> Command {
    let mut command = own("import", file);
    command.arg(store(file, run));
    command
}

fn store(file: &Path, run: u32) -> PathBuf {
    file.with_extension(format!("store{run}"))
}

fn recorded(bench: &Bench) -> PathBuf {
    bench.corpus.join("pcap/rec_mix_0.pcap")
}

/// Writes so many copies of a capture, each with addresses of its own.
fn multiply(work: &Path, from: &Path, to: &Path, copies: u32) -> Result<()> {
    let made = Command::new(work.join(MULTIPLIER))
        .arg(from)
        .arg(to)
        .args([copies.to_string().as_str(), "1", "0", KAFKA])
        .stdout(Stdio::null())
        .status()?;
    ensure!(made.success(), "bigmul: {made}");
    Ok(())
}

/// What bigmul must be told: without, it takes Kafka's answers for requests to somebody else.
const KAFKA: &str = "9092=9092:1";

/// What `mix` builds.
const MULTIPLIER: &str = "bigmul";

fn count(binary: &Path, file: &Path, sql: &str) -> Result<u64> {
    let output = query(binary, file, sql).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8(output.stdout)?;
    text.lines().nth(1).context("a count")?.parse().context("a number")
}

/// Another reader, if it is installed.
fn peer(program: &str, packages: &[&str]) -> Option<PathBuf> {
    let found =
        ["/usr/bin", "/usr/local/bin", "/usr/sbin"].iter().map(|it| Path::new(it).join(program));
    let found = found.into_iter().find(|it| it.is_file());
    if found.is_none() {
        println!("{program} is not installed (apt-get install {}): left out", packages.join(" "));
    }
    found
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn per(some: u64, units: u64) -> f64 {
    some as f64 / units.max(1) as f64
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|it| it.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = info.lines().filter(|it| it.starts_with("processor")).count();
    format!("{}, {cores} cores", model.trim_start_matches([' ', '\t', ':']))
}
