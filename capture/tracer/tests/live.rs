//! On this machine's kernel: what was really said is read, once, whole, and of nobody else. Skipped, with a word why,
//! where the kernel or the user can't trace.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says why it is skipped, and fails by panicking"
)]

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use arrow_array::{RecordBatch, cast::AsArray};
use dissect::Dissection;
use sha2::{Digest, Sha256};
use support::{Cgroup, Talk, Talks, certificate, has, options, peer, turn};
use tracer::{Role, Tracer, What};

/// What the servers answer.
fn body(path: &str) -> Vec<u8> {
    let length: usize = path.rsplit('/').next().unwrap().parse().unwrap();
    path.bytes().cycle().take(length).collect()
}

/// The bodies that a server sent, by the lengths it announced.
fn bodies(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = stream;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let end = rest.windows(4).position(|it| it == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&rest[..end]).to_lowercase();
        let length = head.split("content-length: ").nth(1).expect("a length");
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        found.push(rest[end..end + length].to_vec());
        rest = &rest[end + length..];
    }
    found
}

/// What a client asked for.
fn paths(stream: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stream);
    let lines = text.lines().filter(|it| it.starts_with("GET "));
    lines.map(|it| it.split(' ').nth(1).unwrap().to_owned()).collect()
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// Both ends say the same, and it is what was asked and answered, each once.
fn check(client: &Talk, server: &Talk, asked: &[String]) {
    assert_eq!(hash(&client.sent), hash(&server.received), "what was asked");
    assert_eq!(hash(&client.received), hash(&server.sent), "what was answered");
    assert_eq!(paths(&client.sent), asked);
    let answered: Vec<_> = bodies(&client.received).iter().map(|it| hash(it)).collect();
    let expected: Vec<_> = asked.iter().map(|it| hash(&body(it))).collect();
    assert_eq!(answered, expected);
    assert_eq!((client.role, server.role), (Some(Role::Client), Some(Role::Server)));
    assert_ne!(client.pid, server.pid);
}

#[test]
fn every_body_is_read_whole_at_both_ends() {
    let Some(_turn) = turn() else { return };
    let cgroup = Cgroup::new();
    let mut tracer = Tracer::start(&options()).unwrap();
    for host in ["127.0.0.1", "::1"] {
        let port = cgroup.python(host, "threads");
        tracer.targets().set(&[cgroup.id()]).unwrap();
        let mut talks = Talks::default();
        let mut asked = Vec::new();
        let name = if host.contains(':') { "[::1]" } else { host };
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 16_385, 100_000, 1 << 20, 10_000_000] {
            let path = format!("/item/{length}");
            let mut curl = cgroup.command("curl");
            let url = format!("https://{name}:{port}{path}");
            let curl =
                curl.args(["-skf", "--http1.1", &url]).stdout(Stdio::null()).spawn().unwrap();
            talks.read(&mut tracer, vec![curl]);
            asked.push(path);
        }
        let pairs = talks.pairs(port);
        assert_eq!(pairs.len(), asked.len());
        for (client, server) in &pairs {
            let path = paths(&client.sent);
            check(client, server, &path);
            assert_eq!((&*client.comm, &*server.comm), ("curl", "python3"));
            assert_eq!(client.cgroup_ids, [cgroup.id(); 2]);
        }
        let mut found: Vec<_> = pairs.iter().flat_map(|it| paths(&it.0.sent)).collect();
        found.sort();
        asked.sort();
        assert_eq!(found, asked);
        let told = |what, by: &str| {
            let sockets = talks.sockets.iter();
            sockets.filter(|it| it.0 == what && it.3.as_deref() == Some(by)).count()
        };
        assert_eq!(told(What::Connect, "curl"), asked.len());
        assert_eq!(told(What::Accept, "python3"), asked.len());
        assert_eq!(told(What::Close, "curl") + told(What::Close, "python3"), 2 * asked.len());
    }
    let counters = tracer.counters();
    assert_eq!((counters.lost, counters.cut_bytes, counters.faults), (0, 0, 0), "{counters:?}");
    assert_eq!((counters.unbound, counters.unplaced), (0, 0), "{counters:?}");
}

/// A large body that goes up in one write, and comes back.
#[test]
fn what_is_posted_is_read_as_well() {
    let Some(_turn) = turn() else { return };
    let cgroup = Cgroup::new();
    let port = cgroup.python("127.0.0.1", "threads");
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let content = body("/posted/3000000");
    std::fs::write(&file, &content).unwrap();
    let data = format!("@{}", file.path().display());
    let url = format!("https://127.0.0.1:{port}/");
    let mut curl = cgroup.command("curl");
    curl.args(["-skf", "--http1.1", "-H", "Expect:", "--data-binary", &data, &url]);
    let mut talks = Talks::default();
    talks.read(&mut tracer, vec![curl.stdout(Stdio::null()).spawn().unwrap()]);
    let [(client, server)] = talks.pairs(port)[..] else { panic!("one connection") };
    assert!(client.sent.ends_with(&content));
    assert_eq!(hash(&client.sent), hash(&server.received));
    assert_eq!(hash(&bodies(&client.received)[0]), hash(&content));
    assert_eq!(hash(&client.received), hash(&server.sent));
}

#[test]
fn a_hundred_connections_at_once_are_told_apart() {
    let Some(_turn) = turn() else { return };
    let cgroup = Cgroup::new();
    let mut tracer = Tracer::start(&options()).unwrap();
    // OpenSSL reads the socket itself, or is given what a loop has read.
    for kind in ["threads", "asyncio"] {
        let port = cgroup.python("127.0.0.1", kind);
        tracer.targets().set(&[cgroup.id()]).unwrap();
        let mut client = cgroup.command("python3");
        let port_word = port.to_string();
        client.args([
            &peer("client.py"),
            "127.0.0.1",
            &port_word,
            "100",
            "/a/@/10",
            "/b/@/3000",
            "/c/@/50000",
        ]);
        let mut talks = Talks::default();
        talks.read(&mut tracer, vec![client.spawn().unwrap()]);
        let pairs = talks.pairs(port);
        assert_eq!(pairs.len(), 100, "{kind}");
        let mut seen: Vec<_> = Vec::new();
        for (client, server) in pairs {
            let asked = paths(&client.sent);
            assert_eq!(asked.len(), 3);
            let number = asked[0].split('/').nth(2).unwrap().to_owned();
            assert!(asked.iter().all(|it| it.split('/').nth(2) == Some(&number)), "{asked:?}");
            check(client, server, &asked);
            seen.push(number);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 100, "{kind}");
    }
    let counters = tracer.counters();
    assert_eq!((counters.lost, counters.unplaced), (0, 0), "{counters:?}");
}

/// Node has OpenSSL within itself, and hands it what it has read.
#[test]
fn node_is_read_as_client_and_as_server() {
    let Some(_turn) = turn() else { return };
    if !has("node") {
        return;
    }
    let cgroup = Cgroup::new();
    let [certificate, key] = certificate();
    let port = cgroup.server("node", &[&peer("node.js"), "serve", "127.0.0.1", &certificate, &key]);
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let mut client = cgroup.command("node");
    let port_word = port.to_string();
    client.args([&peer("node.js"), "ask", "127.0.0.1", &port_word, "20"]);
    client.args(["/a/@/0", "/b/@/3000", "/c/@/200000", "/d/@/10"]);
    let mut talks = Talks::default();
    talks.read(&mut tracer, vec![client.spawn().unwrap()]);
    let pairs = talks.pairs(port);
    assert_eq!(pairs.len(), 20);
    for (client, server) in pairs {
        let asked = paths(&client.sent);
        assert_eq!(asked.len(), 4);
        check(client, server, &asked);
    }
    assert_eq!(tracer.counters().unplaced, 0);
}

#[test]
fn gnutls_is_read() {
    let Some(_turn) = turn() else { return };
    if !has("wget") {
        return;
    }
    let cgroup = Cgroup::new();
    let port = cgroup.python("127.0.0.1", "threads");
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let url = format!("https://127.0.0.1:{port}/item/700000");
    let mut wget = cgroup.command("wget");
    wget.args(["-q", "-O", "/dev/null", "--no-check-certificate", &url]);
    let mut talks = Talks::default();
    talks.read(&mut tracer, vec![wget.spawn().unwrap()]);
    let [(client, server)] = talks.pairs(port)[..] else { panic!("one connection") };
    check(client, server, &["/item/700000".to_owned()]);
    assert_eq!(client.comm, "wget");
}

#[test]
fn nothing_is_read_of_those_who_are_not_targeted() {
    let Some(_turn) = turn() else { return };
    let (cgroup, other) = (Cgroup::new(), Cgroup::new());
    let port = other.python("127.0.0.1", "threads");
    let mut tracer = Tracer::start(&options()).unwrap();
    let mut events = 0;
    let mut ask = |cgroup: &Cgroup, tracer: &mut Tracer| {
        let url = format!("https://127.0.0.1:{port}/secret/1000");
        let mut curl = cgroup.command("curl");
        assert!(curl.args(["-skf", &url]).stdout(Stdio::null()).status().unwrap().success());
        while tracer.read(Duration::from_millis(200), &mut |_| ()) > 0 {
            events += 1;
        }
        std::mem::take(&mut events)
    };
    // No target; then others.
    assert_eq!(ask(&other, &mut tracer), 0);
    assert_eq!(tracer.libraries(), []);
    tracer.targets().set(&[cgroup.id()]).unwrap();
    assert_eq!(ask(&other, &mut tracer), 0);
    assert_eq!(tracer.counters().calls, 0);
    // A client that is targeted, and a server that is not: the client's side is read. (Something must live in a cgroup
    // for its libraries to be found before the client needs them.)
    cgroup.keep(cgroup.command("sleep").arg("600").spawn().unwrap());
    cgroup.wait_for_life();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    assert!(ask(&cgroup, &mut tracer) > 0);
    let calls = tracer.counters().calls;
    assert!(calls > 0);
    // Switched off, on, and no target any more.
    tracer.targets().pause(true).unwrap();
    assert_eq!(ask(&cgroup, &mut tracer), 0);
    tracer.targets().pause(false).unwrap();
    assert!(ask(&cgroup, &mut tracer) > 0);
    let calls = tracer.counters().calls;
    tracer.targets().set(&[]).unwrap();
    assert_eq!(ask(&cgroup, &mut tracer), 0);
    assert_eq!(tracer.counters().calls, calls);
    assert_eq!(tracer.libraries(), []);
}

#[test]
fn a_reader_that_is_behind_loses_events_and_nothing_else() {
    let Some(_turn) = turn() else { return };
    let cgroup = Cgroup::new();
    let port = cgroup.python("127.0.0.1", "threads");
    let options = tracer::Options { ring_bytes: 64 << 10, ..options() };
    let mut tracer = Tracer::start(&options).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let mut curl = cgroup.command("curl");
    let url = format!("https://127.0.0.1:{port}/item/20000000");
    // It gets all of it although nobody reads.
    assert!(curl.args(["-skf", &url]).stdout(Stdio::null()).status().unwrap().success());
    let (mut read, mut next, mut gaps) = (0, std::collections::BTreeMap::new(), 0);
    let mut note = |event: tracer::Event<'_>| {
        if let tracer::Event::Plaintext(it) = event {
            read += it.bytes.len() as u64;
            let next = next.entry((it.ends.local, it.sent)).or_insert(0);
            assert!(it.offset >= *next);
            gaps += it.offset - *next;
            *next = it.offset + it.bytes.len() as u64;
        }
    };
    while tracer.read(Duration::from_millis(100), &mut note) > 0 {}
    // A last request, whose place tells what is missing before it.
    let counters = tracer.counters();
    assert!(counters.lost > 0, "{counters:?}");
    assert_eq!(counters.bytes, read, "{counters:?}");
    let (heads, all) = (counters.bytes + counters.lost_bytes, 2 * 20_000_000);
    assert!(heads > all && heads < all + 2000, "every byte is counted: {counters:?}");
}

#[test]
fn connections_that_were_open_before_are_read_from_then_on() {
    let Some(_turn) = turn() else { return };
    let cgroup = Cgroup::new();
    let port = cgroup.python("127.0.0.1", "threads");
    let mut client = cgroup.command("python3");
    let port_word = port.to_string();
    client.args([
        &peer("client.py"),
        "127.0.0.1",
        &port_word,
        "1",
        "/before/10",
        "wait",
        "/after/5000",
    ]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    client.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut talks = Talks::default();
    talks.read(&mut tracer, vec![client]);
    let [(client, server)] = talks.pairs(port)[..] else { panic!("one connection") };
    assert_eq!(paths(&client.sent), ["/after/5000"]);
    // The server's read had begun before, and can't be caught any more.
    assert!(server.received.is_empty());
    assert_eq!(hash(&bodies(&server.sent)[0]), hash(&body("/after/5000")));
    assert_eq!(hash(&client.received), hash(&server.sent));
    assert_eq!((client.role, server.role), (None, None));
}

#[test]
fn many_short_processes_are_each_read_and_leave_nothing_behind() {
    let Some(_turn) = turn() else { return };
    let cgroup = Cgroup::new();
    let port = cgroup.python("127.0.0.1", "threads");
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let mut talks = Talks::default();
    for round in 0..20 {
        let children = (0..5).map(|number| {
            let url = format!("https://127.0.0.1:{port}/{round}/{number}/100");
            let mut curl = cgroup.command("curl");
            curl.args(["-skf", "--http1.1", &url]).stdout(Stdio::null()).spawn().unwrap()
        });
        talks.read(&mut tracer, children.collect());
    }
    let mut asked: Vec<_> = talks.pairs(port).iter().flat_map(|it| paths(&it.0.sent)).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 100);
    assert_eq!(descriptors(), before);
}

/// A server that starts later, from a file system of its own: its library is found as it starts, and let go of when
/// it ends.
#[test]
fn probes_come_with_processes_and_go_with_them() {
    let Some(_turn) = turn() else { return };
    if !has("node") {
        return;
    }
    let cgroup = Cgroup::new();
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let until = |what: &str, tracer: &mut Tracer, good: &dyn Fn(&[tracer::Library]) -> bool| {
        let late = Instant::now() + Duration::from_secs(20);
        while !good(&tracer.libraries()) {
            tracer.read(Duration::from_millis(20), &mut |_| ());
            assert!(Instant::now() < late, "{what}: {:?}", tracer.libraries());
        }
    };
    let is_node = |it: &tracer::Library| it.path.ends_with("/node") && it.problem.is_none();
    assert!(!tracer.libraries().iter().any(is_node));
    let mut node =
        cgroup.command("node").args(["-e", "setTimeout(() => {}, 60000)"]).spawn().unwrap();
    until("found", &mut tracer, &|it| it.iter().any(|it| is_node(it) && !it.processes.is_empty()));
    node.kill().unwrap();
    node.wait().unwrap();
    until("let go of", &mut tracer, &|it| !it.iter().any(is_node));
}

#[test]
fn nothing_is_left_in_the_kernel() {
    let Some(_turn) = turn() else { return };
    // Those that hold programs have descriptors of a kind that says so.
    let held = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let names = links.filter_map(|it| std::fs::read_link(it.path()).ok());
        let names = names.map(|it| it.to_string_lossy().into_owned());
        names.filter(|it| it.contains("bpf") || it.contains("perf_event")).count()
    };
    let ours = || {
        let programs = aya::programs::loaded_programs().flatten();
        programs
            .filter(|it| {
                it.name_as_str().is_some_and(|it| it.starts_with("tls_re") || it == "socket_state")
            })
            .count()
    };
    let (held_before, ours_before) = (held(), ours());
    let cgroup = Cgroup::new();
    cgroup.python("127.0.0.1", "threads");
    let tracer = Tracer::start(&options()).unwrap();
    let idle = held();
    assert!(ours() > ours_before);
    tracer.targets().set(&[cgroup.id()]).unwrap();
    assert!(held() > idle + 10, "probes are in");
    tracer.targets().set(&[]).unwrap();
    assert_eq!(held(), idle, "without targets no probe is in");
    tracer.targets().set(&[cgroup.id()]).unwrap();
    drop(tracer);
    assert_eq!(held(), held_before);
    // The kernel frees them once nobody can be in the middle of one.
    let late = Instant::now() + Duration::from_secs(10);
    while ours() != ours_before {
        assert!(Instant::now() < late, "programs are left");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(cgroup);
    assert!(Command::new("true").status().unwrap().success());
}

/// From a process's mouth to a row.
#[test]
fn what_is_said_over_tls_is_a_row() {
    let Some(_turn) = turn() else { return };
    let container = format!("{:064x}", std::process::id());
    let cgroup = Cgroup::named(&format!("cri-containerd-{container}.scope"));
    let port = cgroup.python("127.0.0.1", "threads");
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let mut dissection = Dissection::new(dissect::Config::default());
    let url = format!("https://127.0.0.1:{port}/item/70000");
    let mut curl = cgroup.command("curl");
    let curl = curl.args(["-skf", "--http1.1", &url, &url]).stdout(Stdio::null()).spawn().unwrap();
    let pid = curl.id().cast_signed();
    let mut talks = Talks::default();
    talks.read_with(&mut tracer, vec![curl], &mut |event| event.feed(&mut dissection));
    let rows = Rows::of(dissection);
    let http = rows.table("http");
    assert_eq!(http.num_rows(), 2);
    let text = |column: &str| text(http, column);
    assert_eq!(text("capture"), ["plaintext"; 2]);
    assert_eq!(text("path"), ["/item/70000"; 2]);
    assert_eq!(
        (text("client_process"), text("server_process")),
        (vec!["curl".to_owned(); 2], vec!["python3".to_owned(); 2],)
    );
    for (side, pid) in [("client", Some(pid)), ("server", None)] {
        assert_eq!(text(&format!("{side}_container_id")), vec![container.clone(); 2]);
        let pids = http.column_by_name(&format!("{side}_pid")).unwrap();
        let pids = pids.as_primitive::<arrow_array::types::Int32Type>();
        assert!(pids.iter().all(|it| it.is_some() && (pid.is_none() || it == pid)), "{pids:?}");
    }
    let encrypted = http.column_by_name("encrypted").unwrap().as_boolean();
    assert_eq!(encrypted.true_count(), 2);
    let incomplete = http.column_by_name("incomplete").unwrap().as_boolean();
    assert_eq!(incomplete.true_count(), 0);
    // One connection, which both rows name.
    let connections = rows.table("connections");
    assert_eq!(connections.num_rows(), 1);
    let flow = self::text(connections, "flow_id").remove(0);
    assert_eq!(text("flow_id"), [flow.clone(), flow]);
    let counters = tracer.counters();
    assert_eq!(counters.losses(&tracer::Counters::default(), 0, 1), []);
}

struct Rows(Vec<(String, RecordBatch)>);

impl Rows {
    fn of(mut dissection: Dissection) -> Self {
        dissection.finish();
        Self(dissection.take().into_iter().map(|it| (it.0.name.to_string(), it.1)).collect())
    }

    fn table(&self, name: &str) -> &RecordBatch {
        let found = self.0.iter().find(|it| it.0 == name);
        &found.unwrap_or_else(|| panic!("no rows of {name}")).1
    }
}

fn text(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap().as_string_view();
    column.iter().map(|it| it.unwrap_or_default().to_owned()).collect()
}

/// nginx forks its workers, and speaks HTTP/2.
#[test]
fn http2_within_tls_is_rows_too() {
    let Some(_turn) = turn() else { return };
    if !has("nginx") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [certificate, key] = certificate();
    let root = folder.path().display();
    // Readable to the workers, who are somebody else.
    let config = format!(
        "daemon off; user root; pid {root}/pid; error_log stderr; worker_processes 2; events {{}}
        http {{ access_log off; server {{ listen 127.0.0.1:{port} ssl http2; root {root};
        ssl_certificate {certificate}; ssl_certificate_key {key}; }} }}"
    );
    std::fs::write(folder.path().join("conf"), config).unwrap();
    let lengths = [0, 1_000, 50_000, 1 << 20];
    for length in lengths {
        std::fs::write(folder.path().join(format!("{length}")), body(&format!("/{length}")))
            .unwrap();
    }
    let cgroup = Cgroup::new();
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let conf = folder.path().join("conf").display().to_string();
    cgroup.keep(
        cgroup.command("nginx").args(["-p", &root.to_string(), "-c", &conf]).spawn().unwrap(),
    );
    let late = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < late, "nginx does not listen");
        tracer.read(Duration::from_millis(20), &mut |_| ());
    }
    let mut dissection = Dissection::new(dissect::Config::default());
    let mut curl = cgroup.command("curl");
    curl.args(["-skf", "--http2", "--parallel"]);
    curl.args(lengths.map(|it| format!("https://127.0.0.1:{port}/{it}")));
    let mut talks = Talks::default();
    let curl = curl.stdout(Stdio::null()).spawn().unwrap();
    talks.read_with(&mut tracer, vec![curl], &mut |event| event.feed(&mut dissection));
    for (client, server) in talks.pairs(port) {
        assert_eq!(hash(&client.sent), hash(&server.received));
        assert_eq!(hash(&client.received), hash(&server.sent));
    }
    let rows = Rows::of(dissection);
    let http = rows.table("http");
    let mut found: Vec<_> = text(http, "path");
    found.sort();
    let mut expected = lengths.map(|it| format!("/{it}"));
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(text(http, "version"), ["2"; 4]);
    assert_eq!(text(http, "client_process"), ["curl"; 4]);
    assert_eq!(text(http, "server_process"), ["nginx"; 4]);
    assert_eq!(http.column_by_name("incomplete").unwrap().as_boolean().true_count(), 0);
}

/// Go has a TLS of its own, and goroutines in place of threads.
#[test]
#[cfg(target_arch = "x86_64")]
fn go_is_read_with_its_symbols_and_without() {
    let Some(_turn) = turn() else { return };
    let Some(go) = support::go() else { return };
    let folder = tempfile::tempdir().unwrap();
    for flags in ["", "-s -w"] {
        let program = folder.path().join("peer").display().to_string();
        let mut build = Command::new(&go);
        build.args(["build", "-ldflags", flags, "-o", &program, &peer("peer.go")]);
        build.env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go")).env("GO111MODULE", "off");
        assert!(build.status().unwrap().success());
        let cgroup = Cgroup::new();
        let [certificate, key] = certificate();
        let port = cgroup.server(&program, &["serve", "127.0.0.1", &certificate, &key]);
        let mut tracer = Tracer::start(&options()).unwrap();
        tracer.targets().set(&[cgroup.id()]).unwrap();
        assert!(tracer.libraries().iter().any(|it| it.kind == "go" && it.problem.is_none()));
        let port_word = port.to_string();
        // Connections that come and go: their addresses in the process's memory are used again.
        for round in 0..3 {
            let mut client = cgroup.command(&program);
            client.args(["ask", "127.0.0.1", &port_word, "20"]);
            client.args(["/a/@/0", "/b/@/3000", "/c/@/200000", "/d/@/10"]);
            let mut talks = Talks::default();
            talks.read(&mut tracer, vec![client.spawn().unwrap()]);
            let pairs = talks.pairs(port);
            // Go's client may call again although it has a connection.
            let called = talks.sockets.iter().filter(|it| it.0 == What::Connect).count();
            assert_eq!(pairs.len(), called, "round {round}");
            let mut asked = Vec::new();
            for (client, server) in pairs {
                let of_one = paths(&client.sent);
                check(client, server, &of_one);
                asked.extend(of_one);
            }
            asked.sort();
            let letters = [("a", 0), ("b", 3000), ("c", 200_000), ("d", 10)];
            let numbers =
                (0..20).flat_map(|number| letters.map(|it| format!("/{}/{number}/{}", it.0, it.1)));
            let mut expected: Vec<_> = numbers.collect();
            expected.sort();
            assert_eq!(asked, expected, "round {round}");
        }
        let counters = tracer.counters();
        assert_eq!((counters.lost, counters.unplaced, counters.faults), (0, 0, 0), "{counters:?}");
    }
}

/// What the tracer says of a process; it looks once in a while.
fn wait_for(tracer: &mut Tracer, name: &str) -> std::sync::Arc<tracer::Running> {
    let late = Instant::now() + Duration::from_secs(20);
    loop {
        tracer.read(Duration::from_millis(20), &mut |_| ());
        let running = tracer.running();
        if let Some(it) = running.iter().find(|it| it.name == name && it.library.is_some()) {
            return std::sync::Arc::clone(it);
        }
        assert!(Instant::now() < late, "{name}: {running:#?}");
    }
}

#[test]
fn a_processs_library_is_told_with_its_version_and_so_is_that_it_ended() {
    let Some(_turn) = turn() else { return };
    let cgroup = Cgroup::new();
    let port = cgroup.python("127.0.0.1", "threads");
    let mut tracer = Tracer::start(&options()).unwrap();
    tracer.targets().set(&[cgroup.id()]).unwrap();
    let server = wait_for(&mut tracer, "python3");
    let library = server.library.clone().unwrap();
    assert!(server.is_read && library.kind == "openssl" && !library.is_static, "{server:#?}");
    let said = Command::new("openssl").arg("version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(library.version.as_deref(), said.split(' ').nth(1), "{said}");
    assert!(library.build_id.as_ref().is_some_and(|it| it.len() == 40), "{library:#?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_nanos() as i64 - server.started;
    assert!((0..60_000_000_000).contains(&age), "{age}");
    // One that ends before anybody looks is told all the same.
    let mut curl = cgroup.command("curl");
    let url = format!("https://127.0.0.1:{port}/item/1");
    let curl = curl.args(["-skf", "--http1.1", &url]).stdout(Stdio::null()).spawn().unwrap();
    Talks::default().read(&mut tracer, vec![curl]);
    let late = Instant::now() + Duration::from_secs(20);
    let mut ended = Vec::new();
    while ended.is_empty() {
        tracer.read(Duration::from_millis(20), &mut |_| ());
        ended = tracer.ended().processes;
        assert!(Instant::now() < late, "nobody has ended");
    }
    assert!(ended.iter().any(|it| it.name == "curl" && it.is_read), "{ended:#?}");
}

/// rustls has no functions that could be read: that it is there, and which one, is told.
#[test]
fn a_library_that_cant_be_read_is_told_with_the_reason() {
    let Some(_turn) = turn() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cgroup = Cgroup::new();
    // Programs as they are built on a machine without the libraries: what is told is told of the file alone.
    let sleep = std::fs::read("/bin/sleep").unwrap();
    for (name, text, kind, version, problem) in [
        (
            "ferris",
            "/rustls-0.23.46/src/lib.rs",
            "rustls",
            Some("0.23.46"),
            "rustls has no functions",
        ),
        (
            "old",
            "crypto: ssl/ssl_lib.c OpenSSL 1.1.1w  11 Sep",
            "openssl",
            Some("1.1.1w"),
            "it is stripped",
        ),
        ("boring", "external/boringssl/src/ssl/ssl_lib.cc", "boringssl", None, "it is stripped"),
    ] {
        let program = folder.path().join(name);
        std::fs::write(&program, with_text(&sleep, text)).unwrap();
        let executable =
            <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(&program, executable).unwrap();
        let path = program.display().to_string();
        cgroup.keep(cgroup.command(&path).arg("600").spawn().unwrap());
        cgroup.wait_for_life();
        let mut tracer = Tracer::start(&options()).unwrap();
        tracer.targets().set(&[cgroup.id()]).unwrap();
        let it = wait_for(&mut tracer, name);
        let library = it.library.clone().unwrap();
        assert!(!it.is_read && library.is_static && library.is_stripped, "{it:#?}");
        assert_eq!((library.kind, library.version.as_deref()), (kind, version));
        assert!(it.problem.as_ref().is_some_and(|it| it.contains(problem)), "{it:#?}");
        assert_eq!((it.executable.as_deref(), &library.path), (Some(&*path), &path));
    }
}

/// A program with another text among those that it has.
fn with_text(program: &[u8], text: &str) -> Vec<u8> {
    let word = |at: usize, n: usize| {
        let bytes = program[at..at + n].iter().rev();
        bytes.fold(0_usize, |sum, it| (sum << 8) | usize::from(*it))
    };
    let section = |number: usize| word(40, 8) + 64 * number;
    let names = word(section(word(62, 2)) + 24, 8);
    let rodata = (0..word(60, 2))
        .map(section)
        .find(|it| program[names + word(*it, 4)..].starts_with(b".rodata\0"));
    let (offset, length) = rodata.map(|it| (word(it + 24, 8), word(it + 32, 8))).unwrap();
    // In place of what it says when asked for help.
    let texts = program[offset..offset + length].windows(text.len());
    let is_text = |it: &[u8]| it.iter().all(|it| (b' '..=b'~').contains(it) || *it == b'\n');
    let at = offset + texts.into_iter().position(is_text).unwrap();
    let mut changed = program.to_vec();
    changed[at..at + text.len()].copy_from_slice(text.as_bytes());
    changed
}
