//! What it costs a TLS server to be captured, and to be read within TLS: nginx and curl over loopback, without, with packets
//! captured, and traced as well.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cost::usage;
use crate::fleet::{Killed, ask, started};

/// One phase of one run.
#[derive(Clone, Copy, Default)]
struct Phase {
    requests_per_s: f64,
    median_ms: f64,
    p99_ms: f64,
    /// CPU of nginx, and of Kubeshark.
    server_us: f64,
    ours_us: f64,
    /// What our programs in the kernel ran for, in the server's and the client's time, and how often.
    probes_us: f64,
    probes: f64,
    rows: u64,
}

/// Asks so many times in each phase, all phases so many times in turn, and prints the run in the middle of each.
pub(crate) fn compare(binary: &Path, work: &Path, requests: u32, runs: u32) -> Result<()> {
    let cgroup = Cgroup::new()?;
    let _counted = Counted::begin()?;
    let server = Server::start(work, &cgroup)?;
    let phases = ["alone", "packets captured", "and TLS read in processes"];
    let mut measured = vec![Vec::new(); phases.len()];
    for run in 0..runs.max(1) {
        for (at, phases) in measured.iter_mut().enumerate() {
            let store = work.join(format!("store-{run}-{at}"));
            let mut tap = Command::new(binary);
            tap.args(["tap", "-i", "lo", "--port", "0", "--no-browser", "--store"]).arg(&store);
            if at == 2 {
                tap.arg("--trace").arg(&cgroup.0);
            }
            let tap = (at > 0).then(|| started(&mut tap)).transpose()?;
            phases.push(server.asked(&cgroup, tap.as_ref(), requests)?);
        }
    }
    println!("\n{requests} requests of 1 KiB over one TLS connection, the middle of {runs} runs");
    println!(
        "{:28} {:>10} {:>10} {:>10} {:>14} {:>12} {:>14} {:>11} {:>9}",
        "",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "server µs/req",
        "ours µs/req",
        "probes µs/req",
        "probes/req",
        "rows"
    );
    for (name, mut runs) in phases.iter().zip(measured) {
        runs.sort_by(|a, b| a.requests_per_s.total_cmp(&b.requests_per_s));
        let it = runs.get(runs.len() / 2).copied().unwrap_or_default();
        println!(
            "{name:28} {:10.0} {:10.3} {:10.3} {:14.1} {:12.1} {:14.1} {:11.1} {:9}",
            it.requests_per_s,
            it.median_ms,
            it.p99_ms,
            it.server_us,
            it.ours_us,
            it.probes_us,
            it.probes,
            it.rows
        );
    }
    println!(
        "A uprobe traps into the kernel, and out of a virtual machine inside another costs more than on metal. The trap is \
         in the server's time and not in that of the probes, which is what our programs ran for."
    );
    Ok(())
}

struct Server {
    port: u16,
    process: Killed,
}

impl Server {
    fn start(work: &Path, cgroup: &Cgroup) -> Result<Self> {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(work)
            .output()
            .context("openssl makes a certificate")?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        fs::create_dir_all(work.join("web"))?;
        fs::write(work.join("web/item"), "0123456789abcdef".repeat(64))?;
        let here = work.display();
        let config = format!(
            "daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/nginx.log;
             events {{}}
             http {{
               access_log off; keepalive_requests 10000000; keepalive_timeout 600s;
               client_body_temp_path {here}/t1; proxy_temp_path {here}/t2; fastcgi_temp_path {here}/t3;
               uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;
               server {{
                 listen 127.0.0.1:{port} ssl; root {here}/web;
                 ssl_certificate {here}/cert.pem; ssl_certificate_key {here}/key.pem;
               }}
             }}"
        );
        fs::write(work.join("nginx.conf"), config)?;
        let mut nginx = cgroup.command("nginx");
        nginx.arg("-p").arg(work).arg("-c").arg(work.join("nginx.conf"));
        let child = nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self { port, process: Killed(child.context("nginx")?) };
        let late = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(Instant::now() < late, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn asked(
        &self,
        cgroup: &Cgroup,
        tap: Option<&(Killed, String)>,
        requests: u32,
    ) -> Result<Phase> {
        // What is to be attached has been.
        std::thread::sleep(Duration::from_secs(3));
        let cpu = |it: &Killed| usage(it.0.id()).map(|it| it.cpu_seconds);
        let probes = || tap.map_or(Ok([0.0; 2]), |it| probes(it.0.0.id()));
        let ran = probes()?;
        let before = (cpu(&self.process)?, tap.map(|it| cpu(&it.0)).transpose()?);
        let began = Instant::now();
        let mut curl = cgroup.command("curl");
        curl.args(["--silent", "--fail", "--insecure", "--http1.1", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{time_total}\\n"]);
        let output =
            curl.arg(format!("https://127.0.0.1:{}/item?[1-{requests}]", self.port)).output()?;
        let seconds = began.elapsed().as_secs_f64();
        ensure!(output.status.success(), "curl: {}", output.status);
        // Its rows are there by then, and what they cost is counted.
        std::thread::sleep(Duration::from_secs(3));
        let after = (cpu(&self.process)?, tap.map(|it| cpu(&it.0)).transpose()?);
        let ran = [probes()?, ran].map(|it| it.map(|it| it / f64::from(requests)));
        let text = String::from_utf8_lossy(&output.stdout);
        // Of one connection, the first request has the handshake in it.
        let times = text.lines().skip(1).filter_map(|it| it.parse::<f64>().ok());
        let mut times = times.map(|it| it * 1e3).collect::<Vec<_>>();
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        let each = |seconds: f64| seconds * 1e6 / f64::from(requests);
        let rows = match tap {
            Some((_, url)) => {
                let answer = ask(url, "select count(*) as n from http", Duration::from_secs(30))?;
                answer["rows"][0]["n"].as_u64().context("the tap counts")?
            }
            None => 0,
        };
        Ok(Phase {
            requests_per_s: f64::from(requests) / seconds,
            median_ms: at(50),
            p99_ms: at(99),
            server_us: each(after.0 - before.0),
            ours_us: each(after.1.unwrap_or_default() - before.1.unwrap_or_default()),
            probes_us: (ran[0][0] - ran[1][0]) / 1e3,
            probes: ran[0][1] - ran[1][1],
            rows,
        })
    }
}

/// For how many nanoseconds, and how often, the programs that a process has in the kernel have run.
fn probes(process: u32) -> Result<[f64; 2]> {
    let mut programs = BTreeMap::new();
    for file in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // Descriptors come and go.
        let about = fs::read_to_string(file?.path()).unwrap_or_default();
        let of = |name| about.lines().find_map(|it| it.strip_prefix(name))?.trim().parse().ok();
        if let (Some(id), Some(ran), Some(times)) =
            (of("prog_id:"), of("run_time_ns:"), of("run_cnt:"))
        {
            programs.insert(id, [ran, times]);
        }
    }
    let sum = |which: fn(&[u64; 2]) -> u64| programs.values().map(which).sum::<u64>() as f64;
    Ok([sum(|it| it[0]), sum(|it| it[1])])
}

/// Has the kernel count what its programs run for, until this is dropped.
struct Counted(String);

impl Counted {
    fn begin() -> Result<Self> {
        let before = fs::read_to_string(STATS)?;
        fs::write(STATS, "1").context("having the kernel count what programs run for")?;
        Ok(Self(before))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if fs::write(STATS, self.0.trim()).is_err() {
            println!("{STATS} is not what it was");
        }
    }
}

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// A cgroup, removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = mounts.lines().find(|it| it.contains(" - cgroup2 "));
        let root = root.and_then(|it| it.split(' ').nth(4)).context("there is no cgroup2")?;
        let path = Path::new(root).join(format!("kubeshark-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self(path))
    }

    /// A program that is in it from its beginning.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        command.args(["-c", &enter, "sh", program]);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("{} is still there", self.0.display());
    }
}
