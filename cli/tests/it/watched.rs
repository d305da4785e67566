//! A Hub that watches a cluster: what it saw, asked from the command line beside the traffic.

use apiserver_double::{Double, Key};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{Hub, kubeshark, rows, run, wait_until, worker};
use crate::traffic;

#[test]
fn pods_come_and_go_and_traffic_is_joined_to_the_one_that_was_there() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let double = runtime.block_on(Double::start()).unwrap();
    double.put(pod("cart-1", Some("2020-01-01T00:00:00Z")));
    double.put(json!({"apiVersion": "v1", "kind": "Event",
        "metadata": {"name": "cart-1.1", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "cart-1"},
        "reason": "Unhealthy", "message": "Readiness probe failed", "type": "Warning", "count": 3,
        // Whoever told that has a wrong clock: it is known since now.
        "lastTimestamp": "2099-01-01T00:00:00Z"}));
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("kubeconfig");
    std::fs::write(&config, double.kubeconfig(None)).unwrap();
    let mut command = kubeshark();
    command.args(["hub", "--cluster", "--listen", "127.0.0.1:0"]).env("KUBECONFIG", &config);
    let hub = Hub::of(&mut command);
    let ask = |sql: &str| rows(&["--hub", &hub.url, sql]);

    // Before any Worker is there.
    wait_until("a pod is known", || {
        let known = run(kubeshark().args(["query", "--hub", &hub.url, "select * from pods"]));
        String::from_utf8_lossy(&known.stdout).contains("cart-1")
    });
    let capture = folder.path().join("some.pcap");
    traffic::write(&capture, (0..100).map(traffic::exchange));
    let _worker = worker(&hub, "n1", &capture, &folder.path().join("store"));
    hub.wait_for(1, 100);

    let joined = "select p.name, count(*) as n from http h join pods p on p.ip = h.server_ip and h.ts >= p.valid_from \
                  and (p.valid_to is null or h.ts < p.valid_to) group by 1";
    assert_eq!(ask(joined), [json!({"name": "cart-1", "n": 100})]);

    // Gone, and its address is another's: what was said was said to the first one.
    double.delete(&Key::new("", "pods", "default", "cart-1"));
    double.put(pod("pay-1", None));
    let names = "select name, valid_to is null as there from pods order by name";
    let both = [json!({"name": "cart-1", "there": false}), json!({"name": "pay-1", "there": true})];
    wait_until("both are known", || ask(names) == both);
    assert_eq!(ask(joined), [json!({"name": "cart-1", "n": 100})]);
    let events = "select e.reason, e.count, p.ip from events e join pods p using (name)";
    assert_eq!(ask(events), [json!({"reason": "Unhealthy", "count": 3, "ip": "10.9.0.1"})]);

    let output = run(kubeshark().args(["query", "--hub", &hub.url, "--format", "table", names]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let tables = run(kubeshark().args(["tables", "--hub", &hub.url]));
    let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
    for table in ["pods", "services", "nodes", "events", "http", "traffic"] {
        assert!(tables.lines().any(|it| it.starts_with(table)), "{table} in {tables}");
    }
    // Who captures is one; the Hub is no node.
    assert_eq!(hub.get("/api/workers")["workers"].as_array().unwrap().len(), 1);
}

/// A pod with the address that is asked in the traffic, since a time or since now.
fn pod(name: &str, since: Option<&str>) -> Value {
    let ip = "10.9.0.1";
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Running", "startTime": since, "podIP": ip, "podIPs": [{"ip": ip}],
            "containerStatuses": since.map(|since| json!([{"name": "main", "image": "x", "imageID": "",
                "ready": true, "restartCount": 0, "state": {"running": {"startedAt": since}}}]))}})
}
