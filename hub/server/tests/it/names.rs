//! What happens in the cluster is told to Workers.

use crate::{Hub, config, fake::Fake};
use api::{Health, route};
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
