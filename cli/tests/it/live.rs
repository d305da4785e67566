//! Real programs talk on loopback while `kubeshark tap` listens; what it saw is counted against what was sent.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{Hub, Process, free_port, kubeshark, run, wait_until};

#[test]
fn what_real_programs_send_on_loopback_is_seen() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    let (web, redis, dns) = (Web::start(folder.path()), Redis::start(folder.path()), Dns::start());

    // Over one connection each, then over one connection per request.
    curl(&format!("http://127.0.0.1:{}/hello.txt?n=[1-60]", web.port), &[]);
    curl(&format!("http://127.0.0.1:{}/missing/[1-15]", web.port), &["-H", "Connection: close"]);
    curl(&format!("http://127.0.0.1:{}/hello.txt?head=[1-5]", web.port), &["--head"]);
    let mut commands = String::new();
    for n in 1..=100 {
        commands.push_str(&format!("SET key:{n} value-{n}\nGET key:{n}\n"));
    }
    commands.push_str("INCR key:1\nLPUSH list a b c\nLRANGE list 0 -1\n");
    redis.say(&commands);
    let names: Vec<_> = (1..=40).map(|n| format!("host-{n}.kubeshark.test")).collect();
    dns.ask(&names, &[]);
    dns.ask(&names[..10], &["+tcp"]);

    let count = |table: &str, port: u16, key: &str| -> BTreeMap<String, u64> {
        let sql = format!(
            "select {key} as key, count(*) as n from {table} where server_port = {port} group by 1"
        );
        let answer = tap.ask(&json!({ "sql": sql }));
        let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
        let key =
            |it: &Value| it["key"].as_str().map_or_else(|| it["key"].to_string(), str::to_owned);
        rows.iter().map(|it| (key(it), it["n"].as_u64().unwrap())).collect()
    };
    let total = |counts: BTreeMap<String, u64>| counts.values().sum::<u64>();
    wait_until("all exchanges are seen", || {
        total(count("http", web.port, "status")) >= 80
            && total(count("redis", redis.port, "verb")) >= 203
            && total(count("dns", dns.port, "verb")) >= 50
    });
    // No more come after that: nothing is seen twice.
    std::thread::sleep(Duration::from_secs(2));
    let of = |pairs: &[(&str, u64)]| {
        pairs.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(count("http", web.port, "status"), of(&[("200", 65), ("404", 15)]));
    assert_eq!(count("http", web.port, "verb"), of(&[("GET", 75), ("HEAD", 5)]));
    let mut commands = count("redis", redis.port, "verb");
    // What redis-cli asks for itself when it starts, as some of its versions do.
    commands.remove("COMMAND");
    assert_eq!(
        commands,
        of(&[("GET", 100), ("INCR", 1), ("LPUSH", 1), ("LRANGE", 1), ("SET", 100)])
    );
    let expected: BTreeMap<_, _> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.clone(), if n < 10 { 2 } else { 1 }))
        .collect();
    assert_eq!(count("dns", dns.port, "target"), expected);
    // What failed is marked.
    let failed = tap.ask(&json!({ "filter": format!("failed and server_port = {}", redis.port) }));
    assert_eq!(failed["rows"].as_array().unwrap().len(), 1, "INCR of a text fails: {failed:#}");
}

#[test]
fn a_tail_shows_rows_as_they_come() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    let web = Web::start(folder.path());
    let filter = format!("http.status = 404 and server_port = {}", web.port);
    let tail = |arguments: &[&str]| {
        let mut command = kubeshark();
        command.args(["tail", "--hub", &tap.url, &filter]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let table = tail(&["--limit", "3"]);
    let lines = tail(&["--limit", "5", "--format", "ndjson", "--columns", "target,status"]);
    wait_until("both listen", || tap.get("/api/health")["tails_open"] == 2);
    curl(&format!("http://127.0.0.1:{}/hello.txt", web.port), &[]);
    curl(&format!("http://127.0.0.1:{}/missing/[1-7]", web.port), &[]);
    let output = lines.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let wanted = (1..=5).map(|n| json!({ "target": format!("/missing/{n}"), "status": 404 }));
    assert_eq!(crate::processes::json_lines(&output), wanted.collect::<Vec<_>>());
    let output = table.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // A header, a rule, and a line each.
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.lines().last().unwrap().contains("/missing/3"), "{text}");

    let wrong = run(kubeshark().args(["tail", "--hub", &tap.url, "statu = 1"]));
    let stderr = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("no column statu"), "{stderr}");
}

#[test]
fn capture_goes_before_questions() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    tap.ask(&json!({ "sql": "select count(*) from packets" }));
    let threads = tap.process.threads();
    let of = |name: &str| {
        let found: Vec<_> =
            threads.iter().filter(|it| it.0.starts_with(name)).map(|it| it.1).collect();
        assert!(!found.is_empty(), "no thread named {name} in {threads:?}");
        found
    };
    // Whatever this test runs at, what answers comes behind what captures and what writes.
    let capture = of("capture");
    assert_eq!(capture, of("segments"));
    assert!(of("tokio").iter().all(|it| *it > capture[0]), "{threads:?}");
}

/// `kubeshark tap -i lo`; nothing where this process may not capture, except in CI, where that is a failure.
pub(crate) fn tap_loopback(folder: &Path) -> Option<Hub> {
    let probe =
        run(kubeshark().args(["tap", "-i", "lo", "--no-browser", "--port", "0", "--for", "0s"]));
    let stderr = String::from_utf8_lossy(&probe.stderr).into_owned();
    if !probe.status.success() && stderr.contains("permission") && std::env::var_os("CI").is_none()
    {
        println!("skipped: {stderr}");
        return None;
    }
    assert!(probe.status.success(), "{stderr}");
    let tap = Hub::of(
        kubeshark()
            .args(["tap", "-i", "lo", "--no-browser", "--port", "0", "--store"])
            .arg(folder.join("store")),
    );
    wait_until("the tap captures", || tap.get("/api/health")["workers_capturing"] == 1);
    Some(tap)
}

/// nginx with a page.
pub(crate) struct Web {
    pub(crate) port: u16,
    _process: Process,
}

impl Web {
    pub(crate) fn start(folder: &Path) -> Self {
        let (port, root) = (free_port(), folder.join("web"));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("hello.txt"), "hello from a real server\n").unwrap();
        let shown = folder.display();
        let config = format!(
            "daemon off; master_process off; pid {shown}/nginx.pid; error_log {shown}/nginx.log;\n\
             events {{}}\n\
             http {{\n\
               types {{ text/plain txt; }} access_log off;\n\
               client_body_temp_path {shown}/t1; proxy_temp_path {shown}/t2; fastcgi_temp_path {shown}/t3;\n\
               uwsgi_temp_path {shown}/t4; scgi_temp_path {shown}/t5;\n\
               server {{ listen 127.0.0.1:{port}; root {}; }}\n\
             }}\n",
            root.display()
        );
        std::fs::write(folder.join("nginx.conf"), config).unwrap();
        let mut nginx = program("nginx");
        nginx.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).stderr(Stdio::null());
        let process = Process::start(&mut nginx);
        wait_until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _process: process }
    }
}

struct Redis {
    port: u16,
    _process: Process,
}

impl Redis {
    fn start(folder: &Path) -> Self {
        let port = free_port();
        let mut redis = program("redis-server");
        redis.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
            "--dir",
        ]);
        let process = Process::start(redis.arg(folder).stdout(Stdio::null()));
        wait_until("redis listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _process: process }
    }

    fn say(&self, commands: &str) {
        let mut cli = program("redis-cli");
        let mut child = cli
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

struct Dns {
    port: u16,
    _process: Process,
}

impl Dns {
    fn start() -> Self {
        let port = free_port();
        let mut dnsmasq = program("dnsmasq");
        dnsmasq.args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--pid-file=",
        ]);
        dnsmasq.args([
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--user=root",
            "--group=root",
        ]);
        dnsmasq.args(["--address=/kubeshark.test/10.1.2.3", &format!("--port={port}")]);
        let process = Process::start(dnsmasq.stderr(Stdio::null()));
        wait_until("dnsmasq listens", || UdpSocket::bind(("127.0.0.1", port)).is_err());
        Self { port, _process: process }
    }

    fn ask(&self, names: &[String], options: &[&str]) {
        for name in names {
            let output = run(program("dig")
                .args(["@127.0.0.1", "-p", &self.port.to_string(), "+short", "+tries=1", name])
                .args(options));
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "10.1.2.3", "{name}");
        }
    }
}

/// Makes every request that `url` stands for, in one run of curl.
pub(crate) fn curl(url: &str, options: &[&str]) {
    let output =
        run(program("curl").args(["--silent", "--output", "/dev/null"]).args(options).arg(url));
    assert!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program that this test needs, wherever Debian puts it.
pub(crate) fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    let found = folders.map(|it| Path::new(it).join(name)).find(|it| it.is_file());
    let mut command =
        Command::new(found.unwrap_or_else(|| panic!("{name} is missing: ./dev test installs it")));
    command.stdin(Stdio::null());
    command
}
