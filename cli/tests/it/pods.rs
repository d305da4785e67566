//! Network namespaces as a node and its pods: what they really say to each other is seen once, wherever it passes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{Process, json_lines, kubeshark, run, said_url, wait_until};
use crate::traced::{Cgroup, certificate};

#[test]
fn each_exchange_between_pods_is_one_row_and_a_services_is_its_pods() {
    let Some(node) = Node::start() else { return };
    // a and b share a bridge; c, and what is outside, are reached through the node.
    let (a, b, c) = ("10.99.1.2", "10.99.1.3", "10.99.2.2");
    let outside = "10.99.3.2";
    let _servers = [("b", b), ("c", c), ("out", outside)].map(|(space, address)| {
        let words = ["python3", "-m", "http.server", "8080", "--bind", address];
        Process::start(quiet(&mut node.within(space, &words)))
    });
    let dns = ["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--port=53"];
    let mut dns = node.within("c", &dns);
    let _dns = Process::start(quiet(dns.args(["--address=/shop/10.0.0.7", "--user=root"])));
    for address in [b, c, outside] {
        wait_until("servers answer", || node.curl(&format!("http://{address}:8080/?ready")));
    }
    let tap = node.tap(&[]);
    for n in 1..=5 {
        for address in [format!("{b}:8080"), format!("{SERVICE}:80"), format!("{outside}:8080")] {
            assert!(node.curl(&format!("http://{address}/?n={n}")), "{address}");
        }
    }
    for n in 1..=10 {
        let name = format!("n{n}.shop");
        let mut dig = node.within("a", &["dig", "+short", &format!("@{SERVICE}"), &name]);
        let said = dig.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "10.0.0.7", "{said:?}");
    }
    let http =
        "select client_ip, server_ip, server_port, count(*) as n from http group by all order by 2";
    let of = |server: &str, n: u64| json!({ "client_ip": a, "server_ip": server, "server_port": 8080, "n": n });
    let expected = [of(b, 5), of(c, 5), of(outside, 5)];
    // A connection's row comes when it has been closed for a while.
    wait_until("all exchanges are seen, and their connections have ended", || {
        let both = "select count(*) as n from http join connections using (flow_id)";
        tap.ask(both)[0]["n"].as_u64() >= Some(15)
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(tap.ask(http), expected);
    let dns = "select client_ip, server_ip, count(*) as n from dns group by all";
    assert_eq!(tap.ask(dns), [json!({ "client_ip": a, "server_ip": c, "n": 10 })]);
    let connections = "select server_ip, count(*) as n, sum(client_retransmissions + server_retransmissions) as again \
                       from connections where server_port = 8080 group by 1 order by 1";
    let of = |server: &str| json!({ "server_ip": server, "n": 5, "again": 0 });
    assert_eq!(tap.ask(connections), [of(b), of(c), of(outside)]);
    // The packets are there once, too.
    let packets = "select count(*) as n, count(distinct data) as distinct from packets where flow_id in \
                   (select flow_id from http where server_ip = '10.99.1.3')";
    let packets = tap.ask(packets);
    assert_eq!(packets[0]["n"], packets[0]["distinct"], "{packets:?}");
}

#[test]
fn what_is_said_within_tls_to_a_service_is_said_once_to_its_pod() {
    let (Some(node), Some(mut cgroup)) = (Node::start(), Cgroup::new()) else { return };
    let folder = TempDir::new().unwrap();
    certificate(folder.path());
    let mut server = cgroup.command("nsenter");
    server.args([&node.entry("c"), "python3"]);
    server.args(["../capture/tracer/tests/peers/server.py", "10.99.2.2"]);
    server.args([folder.path().join("cert.pem"), folder.path().join("key.pem")]).arg("threads");
    let mut child = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    cgroup.servers.push(child);
    let rule = format!("ip daddr {SERVICE} tcp dport 443 dnat to 10.99.2.2:{}", port.trim());
    done(&mut node.within("node", &["nft", &format!("add rule ip nat to {rule}")])).unwrap();

    let tap = node.tap(&["--trace", cgroup.path.to_str().unwrap()]);
    let tracing = || tap.get("/api/workers")["workers"][0]["health"]["tracing"].clone();
    wait_until("the server's library is read, or can't be", || {
        !tracing()["problem"].is_null()
            || tracing()["libraries"].as_array().is_some_and(|it| !it.is_empty())
    });
    if !tracing()["problem"].is_null() {
        println!("skipped: {}", tracing()["problem"]);
        return;
    }
    for n in 1..=10 {
        let mut curl = cgroup.command("nsenter");
        curl.args([&node.entry("a"), "curl", "--silent", "--fail", "--insecure"]);
        curl.args(["--http1.1", "--output", "/dev/null", &format!("https://{SERVICE}/item/{n}")]);
        assert!(curl.status().unwrap().success());
    }
    // A connection's row comes when it has been closed for a while.
    wait_until("all exchanges are seen, and their connections have ended", || {
        let both = "select count(*) as n from http join connections using (flow_id)";
        tap.ask(both)[0]["n"].as_u64() >= Some(10)
    });
    std::thread::sleep(Duration::from_secs(2));
    let sql = "select client_ip, server_ip, client_process, server_process, capture, count(*) as n, \
               count(distinct c.flow_id) as connections from http join connections c using (flow_id) group by all";
    let sql = sql.replace("client_", "http.client_").replace("server_", "http.server_");
    let wanted = json!({
        "client_ip": "10.99.1.2", "server_ip": "10.99.2.2", "client_process": "curl",
        "server_process": "python3", "capture": "plaintext", "n": 10, "connections": 10,
    });
    assert_eq!(tap.ask(&sql), [wanted]);
}

/// A node with three pods, and a place outside.
struct Node {
    name: String,
}

/// Where c is found, too.
const SERVICE: &str = "10.98.0.1";

impl Node {
    /// Nothing, and a word why, where there can be no such thing.
    fn start() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let node = Self { name: format!("ks{}-{number}", std::process::id()) };
        match node.build() {
            Ok(()) => Some(node),
            Err(why) => {
                println!("skipped: {why}");
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        for space in SPACES {
            self.ip(None, &format!("netns add {}", self.space(space)))?;
            self.ip(Some(space), "link set lo up")?;
        }
        self.ip(Some("node"), "link add br0 type bridge")?;
        self.ip(Some("node"), "addr add 10.99.1.1/24 dev br0")?;
        self.ip(Some("node"), "link set br0 up")?;
        for (space, address) in
            [("a", "10.99.1.2"), ("b", "10.99.1.3"), ("c", "10.99.2.2"), ("out", "10.99.3.2")]
        {
            let peer = self.space(space);
            self.ip(
                Some("node"),
                &format!("link add v-{space} type veth peer name eth0 netns {peer}"),
            )?;
            self.ip(Some("node"), &format!("link set v-{space} up"))?;
            let gateway = format!("{}.1", address.rsplit_once('.').unwrap().0);
            if ["a", "b"].contains(&space) {
                self.ip(Some("node"), &format!("link set v-{space} master br0"))?;
            } else {
                self.ip(Some("node"), &format!("addr add {gateway}/24 dev v-{space}"))?;
            }
            self.ip(Some(space), &format!("addr add {address}/24 dev eth0"))?;
            self.ip(Some(space), "link set eth0 up")?;
            // Who is outside knows no pods.
            if space != "out" {
                self.ip(Some(space), &format!("route add default via {gateway}"))?;
            }
        }
        let forward = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
        done(&mut self.within("node", &forward))?;
        let tcp = format!("ip daddr {SERVICE} tcp dport 80 dnat to 10.99.2.2:8080");
        let udp = format!("ip daddr {SERVICE} udp dport 53 dnat to 10.99.2.2:53");
        for rule in [
            "add table ip nat",
            "add chain ip nat to { type nat hook prerouting priority -100; }",
            "add chain ip nat from { type nat hook postrouting priority 100; }",
            &format!("add rule ip nat to {tcp}"),
            &format!("add rule ip nat to {udp}"),
            "add rule ip nat from oifname v-out masquerade",
        ] {
            done(&mut self.within("node", &["nft", rule]))?;
        }
        Ok(())
    }

    fn space(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    fn ip(&self, within: Option<&str>, words: &str) -> Result<(), String> {
        let mut command = Command::new("ip");
        if let Some(space) = within {
            command.args(["-n", &self.space(space)]);
        }
        done(command.args(words.split(' ')))
    }

    /// A program in one of the namespaces. `ip netns exec` would also hide the cgroups.
    fn within(&self, space: &str, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.entry(space)).args(words);
        command
    }

    fn entry(&self, space: &str) -> String {
        format!("--net=/run/netns/{}", self.space(space))
    }

    fn curl(&self, url: &str) -> bool {
        let words = ["curl", "--silent", "--fail", "--max-time", "5", "--output", "/dev/null", url];
        self.within("a", &words).status().unwrap().success()
    }

    /// `kubeshark tap` on the node, on all interfaces.
    fn tap(&self, options: &[&str]) -> Tap<'_> {
        let program = kubeshark().get_program().to_str().unwrap().to_owned();
        let words = [&program, "tap", "-i", "any", "--no-browser", "--port", "0"];
        let mut tap = self.within("node", &words);
        tap.args(options);
        let mut child = tap.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let process = Process::of(child);
        let tap = Tap { node: self, program, url: said_url(stderr), _process: process };
        wait_until("the tap captures", || tap.ask("select 1 as one")[0]["one"] == 1);
        std::thread::sleep(Duration::from_millis(500));
        tap
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for space in SPACES {
            Command::new("ip").args(["netns", "del", &self.space(space)]).status().ok();
        }
    }
}

const SPACES: [&str; 5] = ["node", "a", "b", "c", "out"];

struct Tap<'a> {
    node: &'a Node,
    program: String,
    url: String,
    _process: Process,
}

impl Tap<'_> {
    /// `GET` of a route, as JSON.
    fn get(&self, route: &str) -> Value {
        let url = format!("{}{route}", self.url);
        let output = self.node.within("node", &["curl", "--silent", &url]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Asked on the node: it listens nowhere else.
    fn ask(&self, sql: &str) -> Vec<Value> {
        let words = [&self.program, "query", "--hub", &self.url, "--format", "ndjson", sql];
        let output = run(&mut self.node.within("node", &words));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json_lines(&output)
    }
}

/// Runs it; an error is what it says.
fn done(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|why| format!("{command:?}: {why}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::null())
}
