//! What happens in the cluster is told to Workers.

use crate::{
    Hub, config,
    fake::{Fake, row},
};
use api::{Health, JsonAnswer, Tables, Targets, route};
use apiserver_double::{Double, Key};
use cluster::Cluster;
use identity::Index;
use serde_json::{Value, json};
use server::Config;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

type Names = Arc<Mutex<Index>>;

async fn until(what: &str, within: Duration, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < within, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pod_at(names: &Names, ip: &str) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let now = i64::try_from(now).unwrap();
    let answer = names.lock().unwrap().who(ip.parse().unwrap(), 80, now);
    answer.who?.pod.as_ref().map(|it| it.to_string())
}

fn pod(name: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "podIP": ip,
            "podIPs": [{"ip": ip}]}})
}

async fn watched() -> (Double, Config) {
    let double = Double::start().await.unwrap();
    let client = kube::Config::new(double.url().parse().unwrap());
    let client = kube::Client::try_from(client).unwrap();
    let cluster = Cluster::watch_for(&client, Duration::from_secs(1), None);
    (double, Config { cluster: Some(cluster), ..config() })
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_know_within_a_second_and_after_they_come_back() {
    let (double, config) = watched().await;
    for n in 0..1_200 {
        double.put(pod(&format!("p{n}"), &format!("10.244.{}.{}", n / 250, n % 250 + 1)));
    }
    let fake = Fake::new("n1");
    let names = fake.names();
    let hub = Hub::start(&config, [fake]).await;
    let patience = Duration::from_secs(20);
    until("all is told, in pieces", patience, || names.lock().unwrap().facts().count() >= 1_200)
        .await;
    assert_eq!(pod_at(&names, "10.244.0.1").as_deref(), Some("p0"));

    let mut slowest = Duration::ZERO;
    for n in 0..20 {
        let ip = format!("10.245.0.{n}");
        double.put(pod(&format!("late{n}"), &ip));
        let began = Instant::now();
        until("a new pod is told", patience, || pod_at(&names, &ip).is_some()).await;
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "told after {slowest:?}");
    double.delete(&Key::new("", "pods", "default", "p0"));
    until("it is gone", patience, || pod_at(&names, "10.244.0.1").is_none()).await;

    // The node comes back with nothing in mind, and what it once knew of is gone.
    hub.clients[0].end("a test");
    let fake = Fake::new("n1");
    let names = fake.names();
    let client = fake.attach();
    hub.registry.attach(client.clone());
    until("all is told again", patience, || {
        pod_at(&names, "10.244.0.2").is_some() && pod_at(&names, "10.245.0.19").is_some()
    })
    .await;
    assert_eq!(pod_at(&names, "10.244.0.1"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stale_is_said() {
    let (double, config) = watched().await;
    double.put(pod("a", "10.244.0.1"));
    let fake = Fake::new("n1");
    let names = fake.names();
    let hub = Hub::start(&config, [fake]).await;
    let patience = Duration::from_secs(20);
    until("it is told", patience, || pod_at(&names, "10.244.0.1").is_some()).await;
    let cluster = async || hub.get(route::HEALTH).await.json::<Health>().cluster.unwrap();
    let now = cluster().await;
    assert!(now.ready && now.pods == 1 && now.stale_since_ms.is_none(), "{now:?}");
    let metrics = hub.get(route::METRICS).await;
    for line in ["kubeshark_cluster_pods 1", "kubeshark_cluster_stale_milliseconds 0"] {
        assert!(metrics.text().contains(line), "{line} is missing in\n{}", metrics.text());
    }
    double.away(true);
    let mut now = now;
    let began = Instant::now();
    while now.stale_since_ms.is_none() && began.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
        now = cluster().await;
    }
    assert!(now.stale_since_ms.is_some(), "{now:?}");
    assert!(now.reason.unwrap().contains(" are not watched: "));
    assert!(!hub.get(route::METRICS).await.text().contains("cluster_stale_milliseconds 0\n"));
    assert_eq!(pod_at(&names, "10.244.0.1").as_deref(), Some("a"), "names are kept");
    double.away(false);
    double.put(pod("b", "10.244.0.2"));
    until("it is told again", patience, || pod_at(&names, "10.244.0.2").is_some()).await;
}

#[tokio::test]
async fn without_a_cluster_nothing_is_said() {
    let fake = Fake::new("n1");
    let names = fake.names();
    let hub = Hub::with([fake]).await;
    assert_eq!(hub.get(route::HEALTH).await.json::<Health>().cluster, None);
    assert!(!hub.get(route::METRICS).await.text().contains("kubeshark_cluster"));
    assert_eq!(names.lock().unwrap().facts().count(), 0);
}

fn seconds() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A pod that has been up since that second.
fn up(name: &str, ip: &str, since: i64) -> Value {
    let since = k8s_openapi::jiff::Timestamp::from_second(since).unwrap().to_string();
    let mut pod = pod(name, ip);
    pod["status"]["startTime"] = json!(since);
    pod["status"]["containerStatuses"] = json!([{"name": "main", "image": "x", "imageID": "",
        "ready": true, "restartCount": 0, "state": {"running": {"startedAt": since}}}]);
    pod
}

async fn asked(hub: &Hub, sql: &str) -> (Vec<Value>, JsonAnswer) {
    let reply = hub.post(json!({ "sql": sql })).await;
    assert!(reply.status.is_success(), "{}", reply.text());
    let answer: JsonAnswer = reply.json();
    (answer.rows.iter().cloned().map(Value::from).collect(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_joined_as_of_its_time_finds_who_had_the_address_then() {
    let now = seconds();
    let (double, config) = watched().await;
    let ip = "10.244.0.7";
    double.put(up("old", ip, now - 100));
    double.put(up("other", "10.244.0.8", now - 100));
    // Nobody's, the first one's, and (from the future) the second one's.
    let at = [now - 200, now - 50, now + 1_000].map(|it| row(u64::try_from(it).unwrap()));
    // Rows are of their node, which is called like an address here.
    let hub = Hub::start(&config, [Fake::new(ip).rows(at), Fake::new("n2").rows([row(1)])]).await;
    let known = async |n: i64| {
        let began = Instant::now();
        let sql = "select count(*) as n from pods";
        while asked(&hub, sql).await.0[0]["n"] != n {
            assert!(began.elapsed() < Duration::from_secs(20), "in vain: {n} are known");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    known(2).await;
    double.delete(&Key::new("", "pods", "default", "old"));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    double.put(up("new", ip, seconds()));
    known(3).await;

    let join = "select n.seq, p.name from notes n left join pods p on p.ip = n.node and n.ts >= p.valid_from \
                and (p.valid_to is null or n.ts < p.valid_to) where n.node = '10.244.0.7' order by n.seq";
    let (rows, answer) = asked(&hub, join).await;
    assert_eq!(
        rows,
        [
            json!({"seq": now - 200, "name": null}),
            json!({"seq": now - 50, "name": "old"}),
            json!({"seq": now + 1_000, "name": "new"}),
        ]
    );
    // Those who capture were asked; the Hub is none of them.
    let nodes: Vec<_> = answer.accounting.nodes.iter().map(|it| it.node.as_str()).collect();
    assert_eq!((nodes, answer.accounting.complete), (vec![ip, "n2"], true));
    let workers = hub.registry.workers().workers;
    assert_eq!(workers.len(), 2);

    // The other way round, with an aggregate, and with the Hub's table alone.
    let sql = "select p.name, count(n.seq) as n from pods p left join notes n on p.ip = n.node and \
               n.ts >= p.valid_from and (p.valid_to is null or n.ts < p.valid_to) group by 1 order by 1";
    let expected = [("new", 1), ("old", 1), ("other", 0)];
    let expected = expected.map(|(name, n)| json!({"name": name, "n": n}));
    assert_eq!(asked(&hub, sql).await.0, expected);
    let sql = "select name from pods where valid_to is null order by name limit 1";
    let (rows, answer) = asked(&hub, sql).await;
    assert_eq!(rows, [json!({"name": "new"})]);
    assert!(answer.accounting.nodes.is_empty() && answer.accounting.complete);
    let sql = "select table_name from tables where table_name in ('pods', 'services', 'nodes', 'events', 'notes')";
    assert_eq!(asked(&hub, sql).await.0.len(), 5);
    // `node` is there, so that rows of Workers can be of a node of the cluster.
    let sql = "select distinct p.node, e.reason from pods p left join events e on e.uid = p.uid";
    assert_eq!(asked(&hub, sql).await.0, [json!({"node": "n1", "reason": null})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clusters_tables_need_no_worker_and_are_not_there_without_a_cluster() {
    let (double, config) = watched().await;
    double.put(pod("a", "10.244.0.1"));
    let hub = Hub::start(&config, []).await;
    let began = Instant::now();
    let sql = "select name, labels from pods";
    while asked(&hub, sql).await.0.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asked(&hub, sql).await.0, [json!({"name": "a", "labels": "{}"})]);
    let tables = hub.get(route::TABLES).await.json::<Tables>().tables;
    let names: Vec<_> = tables.iter().map(|it| it.name.as_ref()).collect();
    assert_eq!(names, ["pods", "services", "nodes", "events"]);
    assert!(hub.get(route::METRICS).await.text().contains("kubeshark_cluster_forgotten 0"));
    for sql in ["select * from notes", "select 1", "select * from podds"] {
        let reply = hub.post(json!({ "sql": sql })).await;
        assert_eq!(reply.status, http::StatusCode::SERVICE_UNAVAILABLE, "{sql}: {}", reply.text());
    }

    let hub = Hub::with([Fake::new("n1")]).await;
    let reply = hub.post(json!({"sql": "select * from pods"})).await;
    assert_eq!(reply.status, http::StatusCode::BAD_REQUEST, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_gone_does_not_make_the_clusters_tables_incomplete() {
    let (double, config) = watched().await;
    double.put(pod("a", "10.244.0.1"));
    let hub = Hub::start(&config, [Fake::new("n1").rows([row(1)]), Fake::new("n2")]).await;
    hub.clients[1].end("a test");
    hub.until(|it| it.workers.iter().any(|it| it.status == api::WorkerStatus::Gone)).await;
    let (_, answer) = asked(&hub, "select count(*) from notes").await;
    assert!(!answer.accounting.complete);
    let (_, answer) = asked(&hub, "select count(*) from pods").await;
    assert!(answer.accounting.complete && answer.accounting.nodes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_traffic_is_kept_is_looked_at_tried_and_changed_over_the_api() {
    let double = Double::start().await.unwrap();
    double.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    double.put(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop"},
        "data": {"targeting.json": "{}"}}));
    double.put(pod("cart-1", "10.244.0.1"));
    double.put(pod("pay-1", "10.244.0.2"));
    let client = kube::Config::new(double.url().parse().unwrap());
    let client = kube::Client::try_from(client).unwrap();
    let cluster = Cluster::watch_for(&client, Duration::from_secs(1), Some(("shop", "settings")));
    let config = Config { cluster: Some(cluster), ..config() };
    let fake = Fake::new("n1");
    let names = fake.names();
    let hub = Hub::start(&config, [fake]).await;
    let patience = Duration::from_secs(20);
    until("both are told", patience, || {
        ["10.244.0.1", "10.244.0.2"].iter().all(|ip| pod_at(&names, ip).is_some())
    })
    .await;
    let taps = |ip: &str| names.lock().unwrap().taps(ip.parse().unwrap());

    let now: Targets = hub.get(route::TARGETING).await.json();
    assert_eq!((now.tapped, now.left_out, &now.fixed), (2, 0, &None));
    let version = now.version.unwrap();
    let put = async |body: Value| hub.put(route::TARGETING, body).await;
    let only = json!({"pods": "^cart"});

    let preview = put(json!({"targeting": only, "preview": true})).await;
    let preview: Targets = preview.json();
    assert_eq!((preview.tapped, preview.left_out), (1, 1));
    assert_eq!(preview.pods[1].against, ["its name does not match `^cart`"]);
    assert!(taps("10.244.0.2"), "nothing was changed");

    let change = json!({"targeting": only, "version": version});
    let began = Instant::now();
    let changed = put(change.clone()).await;
    assert!(changed.status.is_success(), "{}", changed.text());
    until("the Worker knows", Duration::from_secs(2), || !taps("10.244.0.2")).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(taps("10.244.0.1"));
    assert_eq!(hub.get(route::TARGETING).await.json::<Targets>().tapped, 1);

    let late = put(change).await;
    assert_eq!(late.status, http::StatusCode::CONFLICT, "{}", late.text());
    let wrong = put(json!({"targeting": {"selector": "a in b"}})).await;
    assert_eq!(wrong.status, http::StatusCode::BAD_REQUEST, "{}", wrong.text());
    assert!(wrong.text().contains("is no label selector"), "{}", wrong.text());

    let hub = Hub::with([Fake::new("n1")]).await;
    let none = hub.get(route::TARGETING).await;
    assert_eq!(none.status, http::StatusCode::NOT_FOUND);
    assert!(none.text().contains("no Kubernetes cluster is watched"), "{}", none.text());
}
