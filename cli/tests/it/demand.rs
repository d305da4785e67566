//! Workers that dissect when they are asked, and packets of what is asked for, over a Hub.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{Hub, Process, kubeshark, run, wait_until};
use crate::traffic;

#[test]
fn workers_dissect_when_they_are_asked_and_packets_come_from_all_of_them() {
    let fleet = Fleet::start("on-demand");
    let ask = |sql: &str| fleet.hub.ask(&json!({ "sql": sql }));
    let dissected = |answer: &Value| -> u64 {
        let nodes = answer["accounting"]["nodes"].as_array().unwrap();
        nodes.iter().filter_map(|it| it["dissected_packets"].as_u64()).sum()
    };
    let count = "select count(*) as n from http where status = 503";
    let first = ask(count);
    assert_eq!(
        (&first["rows"][0]["n"], &first["accounting"]["complete"]),
        (&json!(100), &json!(true)),
        "{first:#}"
    );
    assert_eq!(dissected(&first), fleet.packets.len() as u64, "{first:#}");
    let second = ask(count);
    assert_eq!((&second["rows"][0]["n"], dissected(&second)), (&json!(100), 0), "{second:#}");
    let said = fleet.dissection(&[]);
    assert_eq!(
        said,
        "node-0: on-demand, dissectors of version 1\nnode-1: on-demand, dissectors of version 1\n"
    );

    // Packets: all of them, and those of conversations, the nodes' in one order of time.
    let file = fleet.folder.path().join("all.pcapng");
    let written = |arguments: &[&str]| {
        let mut command = kubeshark();
        command.args(arguments).args(["--hub", &fleet.hub.url, "-o"]);
        let output = run(command.arg(&file));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let packets = packets(&file);
        assert!(packets.is_sorted_by_key(|it| it.0), "in the order of time");
        sorted(packets)
    };
    let export = |question: &str| written(&["query", "--format", "pcapng", question]);
    assert_eq!(export("select * from packets order by ts"), fleet.packets);
    assert_eq!(written(&["pcapdump"]), fleet.packets);
    assert_eq!(written(&["pcapdump", "--until", "1970-01-02T00:00:00Z"]), []);
    let failed =
        "select flow_id, node, ts from http where status = 503 and target like '/items/%7%'";
    let of_failed = export(failed);
    assert!(!of_failed.is_empty() && of_failed.len() < fleet.packets.len());
    assert!(of_failed.iter().all(|it| fleet.packets.contains(it)));
    let filter = "http.status = 503 and target like '/items/%7%'";
    assert_eq!(written(&["pcapdump", filter]), of_failed);
    // The same from the API, by either way of asking.
    for (address, accept) in [("format=pcapng&", "*/*"), ("", "application/x-pcapng")] {
        let sql: String = failed.bytes().map(|it| format!("%{it:02X}")).collect();
        let get = ureq::get(format!("{}/api/query?{address}sql={sql}", fleet.hub.url));
        let mut response = get.header("accept", accept).call().unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-pcapng");
        let bytes = response.body_mut().read_to_vec().unwrap();
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(sorted(packets(&file)), of_failed);
    }
    comments_name_node_and_conversation(&file);
}

#[test]
fn what_is_not_dissected_is_said_to_be_lacking() {
    let fleet = Fleet::start("off");
    let query = || {
        run(kubeshark().args([
            "query",
            "--hub",
            &fleet.hub.url,
            "--format",
            "ndjson",
            "select count(*) as n from http",
        ]))
    };
    let output = query();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("node-0: dissection is off here"), "{stderr}");
    assert!(fleet.dissection(&[]).contains("s of packets not dissected"));

    // Of one node it is changed, and by the next question its rows are there.
    assert!(fleet.dissection(&["on-demand", "--node", "node-1"]).starts_with("node-1: on-demand"));
    let output = query();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("node-0: ") && !stderr.contains("node-1: "), "{stderr}");
    assert_eq!(output.stdout, b"{\"n\":500}\n");
    fleet.dissection(&["on-demand"]);
    let output = query();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"{\"n\":1000}\n"[..]));
    // The Hub asks its Workers how they are every few seconds.
    wait_until("the Hub knows", || {
        let workers = fleet.hub.get("/api/workers");
        workers["workers"][0]["health"]["dissection"] == "on-demand"
    });

    let refused =
        run(kubeshark().args(["dissection", "--hub", &fleet.hub.url, "live", "--node", "nobody"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("no worker named \"nobody\" is linked")
    );
}

/// Two Workers, each with half of a thousand exchanges.
struct Fleet {
    hub: Hub,
    folder: TempDir,
    packets: Vec<Packet>,
    _workers: Vec<Process>,
}

type Packet = (i64, u32, u32, Vec<u8>);

impl Fleet {
    fn start(mode: &str) -> Self {
        let (hub, folder) = (Hub::start(), TempDir::new().unwrap());
        let mut all = Vec::new();
        let mut workers = Vec::new();
        for n in 0..2 {
            let node = format!("node-{n}");
            let capture: PathBuf = folder.path().join(format!("{node}.pcap"));
            traffic::write(&capture, (n * 500..(n + 1) * 500).map(traffic::exchange));
            all.extend(packets(&capture));
            let dial = hub.url.replacen("http", "ws", 1);
            let arguments =
                ["worker", "--hub", &dial, "--node", &node, "--dissection", mode, "--read"];
            let mut command = kubeshark();
            command.args(arguments).arg(&capture).arg("--store").arg(folder.path().join(&node));
            workers.push(Process::start(&mut command));
        }
        let all = sorted(all);
        let count = json!({ "sql": "select count(*) as n from packets" });
        wait_until("the workers have read their captures", || {
            let state = hub.get("/api/workers");
            let ready = state["workers"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|it| it["health"]["capturing"] == false);
            ready.count() == 2 && hub.ask(&count)["rows"][0]["n"] == all.len()
        });
        Self { hub, folder, packets: all, _workers: workers }
    }

    fn dissection(&self, arguments: &[&str]) -> String {
        let output = run(kubeshark().args(["dissection", "--hub", &self.hub.url]).args(arguments));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Time, link, length and bytes of each packet.
fn packets(path: &Path) -> Vec<Packet> {
    let mut file = source::open_file(path).unwrap();
    let mut packets = Vec::new();
    while let Some(it) = file.next().unwrap() {
        packets.push((it.ts, it.link.dlt(), it.wire_len, it.data.to_vec()));
    }
    packets
}

/// By time, then by content: two nodes may have packets of one time.
fn sorted(mut packets: Vec<Packet>) -> Vec<Packet> {
    packets.sort();
    packets
}

fn comments_name_node_and_conversation(file: &Path) {
    let text = std::fs::read(file).unwrap();
    let text = String::from_utf8_lossy(&text);
    for node in ["node-0", "node-1"] {
        assert!(text.contains(&format!(", seen by node {node}")), "{node}");
        assert!(text.contains(&format!("{node} interface 0")), "{node}");
    }
}
