//! Real programs talk within TLS while `kubeshark tap --trace` listens; what it read is what they said.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{Hub, kubeshark, run, wait_until};

#[test]
fn what_is_said_within_tls_is_rows_beside_the_encrypted_packets() {
    let folder = TempDir::new().unwrap();
    let Some(tapped) = Tapped::start(&["-i", "lo"], folder.path()) else { return };
    let (tap, port) = (&tapped.hub, tapped.port);
    tapped.curl("/item/[1-20]");
    let sql = format!(
        "select target, status, length(response_body) as bytes, capture, encrypted, client_process, server_process, \
         flow_id from http where server_port = {port} order by ts"
    );
    let rows = || tap.ask(&json!({ "sql": sql }))["rows"].as_array().unwrap().clone();
    wait_until("all exchanges are read", || rows().len() >= 20);
    std::thread::sleep(Duration::from_secs(1));
    let rows = rows();
    assert_eq!(rows.len(), 20, "each once: {rows:#?}");
    for (n, row) in rows.iter().enumerate() {
        let wanted = json!({
            "target": format!("/item/{}", n + 1), "status": 200, "bytes": n + 1, "capture": "plaintext",
            "encrypted": true, "client_process": "curl", "server_process": "python3", "flow_id": row["flow_id"],
        });
        assert_eq!(*row, wanted);
    }
    // The packets of the same conversation are there too, and say whose they are.
    let flow = &rows[0]["flow_id"];
    wait_until("the connection has ended", || {
        let sql = format!(
            "select client_process, server_process, encrypted, server_packets > 3 as more from connections \
             where flow_id = '{}' and state = 'closed'",
            flow.as_str().unwrap()
        );
        let found = tap.ask(&json!({ "sql": sql }))["rows"].clone();
        found
            == json!([{ "client_process": "curl", "server_process": "python3", "encrypted": true, "more": true }])
    });
    let sql = format!("select capture from tls where flow_id = '{}'", flow.as_str().unwrap());
    assert_eq!(tap.ask(&json!({ "sql": sql }))["rows"], json!([{ "capture": "packet" }]));

    let state = tapped.tracing();
    let libraries = state["libraries"].as_array().unwrap();
    assert!(libraries.iter().any(|it| it["kind"] == "openssl"), "{state:#}");
    assert_eq!((&state["lost_bytes"], &state["problem"]), (&json!(0), &Value::Null), "{state:#}");
}

#[test]
fn what_was_read_in_processes_stays_when_packets_are_dissected_later() {
    let folder = TempDir::new().unwrap();
    let modes = &["-i", "lo", "--dissection", "on-demand"];
    let Some(tapped) = Tapped::start(modes, folder.path()) else { return };
    let (tap, port) = (&tapped.hub, tapped.port);
    let count = |table: &str| {
        let sql = format!("select count(*) as n from {table} where server_port = {port}");
        tap.ask(&json!({ "sql": sql }))["rows"][0]["n"].as_u64().unwrap()
    };
    let mut names = BTreeSet::new();
    for round in 1..=3 {
        tapped.curl("/item/[1-5]");
        wait_until("all exchanges are read", || count("http") >= 5 * round);
        wait_until("packets are dissected when they are asked for", || count("tls") >= round);
        assert_eq!((count("http"), count("tls")), (5 * round, round));
    }
    let sql = format!(
        "select flow_id, seq from http where server_port = {port} union all select flow_id, seq from tls \
         where server_port = {port}"
    );
    for row in tap.ask(&json!({ "sql": sql }))["rows"].as_array().unwrap() {
        assert!(names.insert(row.to_string()), "two rows are called {row}");
    }
    assert_eq!(names.len(), 18);
}

#[test]
fn without_packets_plaintext_is_enough() {
    let folder = TempDir::new().unwrap();
    let hub = Hub::start();
    let Some(cgroup) = Cgroup::new() else { return };
    let mut worker = kubeshark();
    worker.args(["worker", "--node", "n", "--hub", &hub.url.replacen("http", "ws", 1), "--trace"]);
    let _worker = crate::processes::Process::start(worker.arg(&cgroup.path));
    let Some(tapped) = Tapped::over(hub, cgroup, folder.path()) else { return };
    let port = tapped.port;
    tapped.curl("/item/[1-5]");
    wait_until("all exchanges are read", || {
        let sql =
            format!("select count(*) as n from http where server_port = {port} and status = 200");
        tapped.hub.ask(&json!({ "sql": sql }))["rows"] == json!([{ "n": 5 }])
    });
}

/// A Hub that watches a cluster speaks TLS by rustls, and tries again and again.
#[test]
fn of_each_process_it_is_told_whether_its_tls_is_read_and_why_not() {
    let folder = TempDir::new().unwrap();
    let Some(mut tapped) = Tapped::start(&["-i", "lo"], folder.path()) else { return };
    tapped.curl("/item/1");
    let config = folder.path().join("kubeconfig");
    let cluster = json!({ "server": format!("https://127.0.0.1:{}", tapped.port), "insecure-skip-tls-verify": true });
    let written = json!({
        "clusters": [{ "name": "c", "cluster": cluster }], "users": [{ "name": "u", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }], "current-context": "x",
    });
    std::fs::write(&config, written.to_string()).unwrap();
    let mut hub = tapped.cgroup.command(env!("CARGO_BIN_EXE_kubeshark"));
    hub.args(["hub", "--listen", "127.0.0.1:0", "--cluster"]).env("KUBECONFIG", &config);
    let hub = hub.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    tapped.cgroup.servers.push(hub);
    let status = |output: &str| {
        let hub = ["status", "--hub", &tapped.hub.url, "--output", output];
        let said = run(kubeshark().args(hub));
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    };
    let processes = || {
        let told: Value = serde_json::from_str(&status("json")).unwrap();
        told["tls"]["processes"].as_array().unwrap().clone()
    };
    let of = |rows: &[Value], name: &str| rows.iter().find(|it| it["name"] == name).cloned();
    wait_until("both are told of, and a handshake was seen", || {
        let rows = processes();
        let rust = of(&rows, "kubeshark").is_some_and(|it| it["coverage"] == "handshake");
        rust && of(&rows, "python3").is_some()
    });
    let rows = processes();
    let (python, rust) = (of(&rows, "python3").unwrap(), of(&rows, "kubeshark").unwrap());
    let wanted = |it: &Value, name: &str, value: Value| assert_eq!(it[name], value, "{it:#}");
    for (name, value) in [
        ("coverage", json!("plaintext")),
        ("reason", Value::Null),
        ("library", json!("openssl")),
        ("library_static", json!(false)),
        ("until", Value::Null),
    ] {
        wanted(&python, name, value);
    }
    wanted(&rust, "library", json!("rustls"));
    wanted(&rust, "library_static", json!(true));
    wanted(&rust, "reason", json!("rustls has no functions that could be read from outside"));
    let text = status("text");
    assert!(text.starts_with("TLS of processes: 1 plaintext, 1 handshake, 0 opaque\n"), "{text}");
    assert!(text.contains(": handshake, rustls 0."), "{text}");
    // What has ended is known to have ended, and stays.
    wait_until("curl is told of", || {
        let sql = "select coverage, until is not null as over from processes where name = 'curl'";
        tapped.hub.ask(&json!({ "sql": sql }))["rows"]
            == json!([{ "coverage": "plaintext", "over": true }])
    });
    let mut server = tapped.cgroup.servers.remove(0);
    server.kill().unwrap();
    server.wait().unwrap();
    wait_until("the server is no longer there", || of(&processes(), "python3").is_none());
}

/// Each is over before anything about it could be looked up, and before its packets are handed over.
#[test]
fn a_thousand_short_processes_with_a_connection_each_are_all_named() {
    let folder = TempDir::new().unwrap();
    let Some(tapped) = Tapped::start(&["-i", "lo"], folder.path()) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    // Nobody listens there any more.
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (port, count, states) in
        [(port, 1_000, "('closed', 'reset')"), (refusing, 100, "('reset')")]
    {
        let mut shell = tapped.cgroup.command("bash");
        shell.arg("-c").arg(format!(
            "for n in $(seq {count}); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; done; true"
        ));
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let sql = format!(
            "select count(*) as found, count(client_process) as named, min(client_process) as name from connections \
             where server_port = {port} and state in {states}"
        );
        let counted = || tapped.hub.ask(&json!({ "sql": sql }))["rows"][0].clone();
        wait_until("all connections have ended", || counted()["found"].as_u64() >= Some(count));
        let wanted = json!({ "found": count, "named": count, "name": "bash" });
        assert_eq!(counted(), wanted, "on port {port}");
    }
}

/// A hub with a worker that traces a cgroup, and a TLS server in there.
struct Tapped {
    hub: Hub,
    cgroup: Cgroup,
    port: u16,
}

impl Tapped {
    fn start(arguments: &[&str], folder: &Path) -> Option<Self> {
        let cgroup = Cgroup::new()?;
        let mut tap = kubeshark();
        tap.args(["tap", "--no-browser", "--port", "0", "--store"]).arg(folder.join("store"));
        let hub = Hub::of(tap.args(arguments).arg("--trace").arg(&cgroup.path));
        Self::over(hub, cgroup, folder)
    }

    /// Nothing, and a word why, where nothing can be traced.
    fn over(hub: Hub, cgroup: Cgroup, folder: &Path) -> Option<Self> {
        let mut tapped = Self { hub, cgroup, port: 0 };
        wait_until("the tap captures", || {
            tapped.tracing()["cgroups"] == 1 || { !tapped.tracing()["problem"].is_null() }
        });
        let problem = &tapped.tracing()["problem"];
        if !problem.is_null() {
            println!("skipped: {problem}");
            return None;
        }
        certificate(folder);
        let mut server = tapped.cgroup.command("python3");
        server.args(["../capture/tracer/tests/peers/server.py", "127.0.0.1"]);
        server.args([folder.join("cert.pem"), folder.join("key.pem")]).arg("threads");
        // It tells of requests that it can't make sense of, and of who hangs up.
        let mut child = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        tapped.port = line.trim().parse().unwrap();
        tapped.cgroup.servers.push(child);
        wait_until("its library is read", || {
            tapped.tracing()["libraries"].as_array().is_some_and(|it| !it.is_empty())
        });
        Some(tapped)
    }

    /// What the worker says of its tracing.
    fn tracing(&self) -> Value {
        self.hub.get("/api/workers")["workers"][0]["health"]["tracing"].clone()
    }

    fn curl(&self, path: &str) {
        let mut curl = self.cgroup.command("curl");
        curl.args(["--silent", "--fail", "--insecure", "--http1.1"]);
        let url = format!("https://127.0.0.1:{}{path}", self.port);
        let output = curl.arg(url).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// Makes `cert.pem` and `key.pem`.
pub(crate) fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A cgroup; its processes end with it.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
    pub(crate) servers: Vec<Child>,
}

impl Cgroup {
    /// Nothing, and a word why, where there are none.
    pub(crate) fn new() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts.lines().find(|it| it.contains(" - cgroup2 "));
        let root = Path::new(root.and_then(|it| it.split(' ').nth(4)).unwrap_or("/nonexistent"));
        match tempfile::Builder::new().prefix("kubeshark-test-").tempdir_in(root) {
            // A cgroup is removed as an empty folder, whatever its files.
            Ok(folder) => Some(Self { path: folder.keep(), servers: Vec::new() }),
            Err(why) => {
                println!("skipped: no cgroup can be made: {why}");
                None
            }
        }
    }

    /// A program that is in the cgroup from its beginning.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.path.display());
        command.args(["-c", &enter, "sh", program]);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for server in &mut self.servers {
            server.kill().ok();
            server.wait().ok();
        }
        std::fs::remove_dir(&self.path).ok();
    }
}
