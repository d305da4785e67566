//! Processes that a test starts: each ends with the test, however that ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The binary under test.
pub(crate) fn kubeshark() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubeshark"));
    for name in ["KUBESHARK_HUB", "KUBESHARK_TOKEN", "KUBESHARK_LOG", "KUBESHARK_CONFIG"] {
        command.env_remove(name);
    }
    // Whoever runs the tests may have settings of their own.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdin(Stdio::null());
    command
}

/// Runs to the end; fails the test if that takes too long.
pub(crate) fn run(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let stdout = read(Box::new(child.stdout.take().unwrap()));
    let stderr = read(Box::new(child.stderr.take().unwrap()));
    let mut process = Process(child);
    let status = process.wait(PATIENCE);
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Runs `kubeshark query` and returns its rows as JSON; the test fails if the command does.
pub(crate) fn rows(arguments: &[&str]) -> Vec<Value> {
    let output = run(kubeshark().arg("query").args(["--format", "ndjson"]).args(arguments));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {stderr}", output.status);
    json_lines(&output)
}

/// Standard output as JSON, line by line.
pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// One that was started elsewhere.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// Starts it; what it prints is read away.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(
            command.stdin(Stdio::null()).spawn().unwrap_or_else(|why| panic!("{command:?}: {why}")),
        )
    }

    /// Sends a signal by name, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill -s {name}");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "still running after {patience:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Its threads: each one's name, and by how much it gives way to others.
    pub(crate) fn threads(&self) -> Vec<(String, i32)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let stats =
            tasks.filter_map(|it| std::fs::read_to_string(it.unwrap().path().join("stat")).ok());
        let thread = |stat: String| {
            let (name, rest) = stat.split_once(" (").unwrap().1.rsplit_once(") ").unwrap();
            (name.to_owned(), rest.split(' ').nth(16).unwrap().parse().unwrap())
        };
        stats.map(thread).collect()
    }

    /// The most memory it ever had resident, in bytes.
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be stopped, or gone already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A Hub, alone or as part of `kubeshark tap`, and what it is asked by.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Hub {
    /// `kubeshark hub` on a free port.
    pub(crate) fn start() -> Self {
        Self::of(kubeshark().args(["hub", "--listen", "127.0.0.1:0"]))
    }

    /// Any command that says on its standard error where it listens.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let process = Process(child);
        Self { url: said_url(stderr), process }
    }

    /// `GET` of a route, as JSON.
    pub(crate) fn get(&self, route: &str) -> Value {
        let mut response = ureq::get(format!("{}{route}", self.url)).call().unwrap();
        response.body_mut().read_json().unwrap()
    }

    /// The answer to a question, with its accounting.
    pub(crate) fn ask(&self, request: &Value) -> Value {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let post =
            agent.post(format!("{}/api/query", self.url)).header("accept", "application/json");
        post.send_json(request).unwrap().body_mut().read_json().unwrap()
    }

    /// Waits until so many Workers are connected and have so many HTTP exchanges between them.
    pub(crate) fn wait_for(&self, workers: usize, exchanges: u64) {
        wait_until("the workers have read their captures", || {
            let state = self.get("/api/workers");
            let connected = state["workers"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|it| it["status"] == "connected");
            if connected.count() < workers {
                return false;
            }
            let answer = self.ask(&json!({ "sql": "select count(*) as n from http" }));
            let n = answer["rows"][0]["n"].as_u64().unwrap_or_else(|| panic!("{answer:#}"));
            assert!(n <= exchanges, "{n} exchanges of {exchanges}");
            n == exchanges
        });
    }
}

/// `kubeshark worker` that reads a capture into a store and serves it.
pub(crate) fn worker(hub: &Hub, node: &str, capture: &Path, store: &Path) -> Process {
    let dial = hub.url.replacen("http", "ws", 1);
    let mut command = kubeshark();
    command
        .args(["worker", "--hub", &dial, "--node", node, "--read"])
        .arg(capture)
        .arg("--store")
        .arg(store);
    Process::start(&mut command)
}

/// Asks again and again.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The folder of captures with known content that lies beside a checkout; a test that needs it says so and passes
/// where it is missing.
pub(crate) fn corpus() -> Option<PathBuf> {
    let folder = std::path::absolute("../../shared/corpus").unwrap();
    if folder.join("check.py").is_file() {
        return Some(folder);
    }
    let line = format!("skipped: the corpus of captures is not in {}\n", folder.display());
    // Past the capture of the test's output: a skipped test must be seen.
    std::io::Write::write_all(
        &mut File::options().append(true).open("/dev/stderr").unwrap(),
        line.as_bytes(),
    )
    .ok();
    None
}

pub(crate) fn said_url(stderr: ChildStderr) -> String {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let url = line.split_whitespace().find(|it| it.starts_with("http://127.0.0.1:"));
            if let Some(url) = url {
                send.send(Ok(url.trim_end_matches(['/', '.', ',']).to_owned())).ok();
            }
            said.push_str(&line);
            said.push('\n');
            // Shown with the output of a failed test.
            eprintln!("{line}");
        }
        send.send(Err(said)).ok();
    });
    match receive.recv_timeout(PATIENCE) {
        Ok(Ok(url)) => url,
        Ok(Err(said)) => panic!("it ended without saying where it listens: {said}"),
        Err(_) => panic!("it did not say where it listens"),
    }
}

/// On a busy machine of two cores everything takes a while; what takes this long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
