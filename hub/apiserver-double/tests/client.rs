//! The double, asked by the client that Kubeshark has.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
use std::pin::pin;
use std::time::Duration;

use apiserver_double::{Double, Fault, Key};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

async fn start() -> (Double, Client) {
    let double = Double::start().await.unwrap();
    let config = Config::new(double.url().parse().unwrap());
    (double, Client::try_from(config).unwrap())
}

fn pod(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "x"}]}})
}

#[tokio::test]
async fn lists_by_labels_and_in_pages() {
    let (double, client) = start().await;
    for n in 0..7 {
        double.put(pod(&format!("p{n}"), if n < 5 { "shop" } else { "other" }));
    }
    let pods = Api::<Pod>::all(client);
    let of = |it: &str| ListParams::default().labels(it);
    assert_eq!(pods.list(&of("app=shop")).await.unwrap().items.len(), 5);
    assert_eq!(pods.list(&of("app in (other, none)")).await.unwrap().items.len(), 2);
    let first = pods.list(&of("app=shop").limit(3)).await.unwrap();
    let next = first.metadata.continue_.unwrap();
    let rest = pods.list(&of("app=shop").limit(3).continue_token(&next)).await.unwrap();
    assert_eq!((first.items.len(), rest.items.len()), (3, 2));
}

#[tokio::test]
async fn a_watch_goes_on_after_it_was_cut_and_after_its_version_expired() {
    let (double, client) = start().await;
    double.put(pod("first", "shop"));
    let pods = Api::<Pod>::all(client);
    let mut events = pin!(watcher::watcher(pods, watcher::Config::default()));
    let mut told = async |until: &str| {
        let wait = async {
            while let Some(event) = events.next().await {
                // Errors are told too; the watcher goes on by itself.
                if let Ok(Event::Apply(it) | Event::InitApply(it)) = event
                    && it.metadata.name.as_deref() == Some(until)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it is told");
    };
    told("first").await;
    double.put(pod("second", "shop"));
    told("second").await;
    double.fail("watch", "pods", Fault::CutMidLine, 1);
    double.cut();
    double.put(pod("third", "shop"));
    told("third").await;
    double.cut();
    double.expire();
    double.put(pod("fourth", "shop"));
    told("fourth").await;
}

#[tokio::test]
async fn what_is_applied_is_owned_and_a_daemon_set_gets_its_pods() {
    let (double, client) = start().await;
    double.add_node("a", "192.168.0.1");
    double.add_node("b", "192.168.0.2");
    double.break_node("b", "0/2 nodes are available");
    let sets = Api::<DaemonSet>::namespaced(client.clone(), "default");
    let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "worker"},
        "spec": {"selector": {"matchLabels": {"app": "w"}}, "template": {
            "metadata": {"labels": {"app": "w"}},
            "spec": {"hostNetwork": true, "containers": [{"name": "w", "image": "w:1"}]}}}});
    let us = PatchParams::apply("us");
    sets.patch("worker", &us, &Patch::Apply(&set)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    let ready = pods.iter().filter(|it| it.status.as_ref().is_some_and(|it| it.pod_ip.is_some()));
    assert_eq!((pods.items.len(), ready.count()), (2, 1));
    let set = sets.get("worker").await.unwrap();
    assert_eq!(set.status.unwrap().number_ready, 1);

    let maps = Api::<ConfigMap>::namespaced(client, "default");
    let map = |value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"},
        "data": {"a": value}})
    };
    maps.patch("m", &us, &Patch::Apply(map("1"))).await.unwrap();
    double.patch(&Key::new("", "configmaps", "default", "m"), &json!({"data": {"a": "2"}}), "them");
    let refused = maps.patch("m", &us, &Patch::Apply(map("3"))).await.unwrap_err().to_string();
    assert!(refused.contains("conflict with \"them\""), "{refused}");
    assert!(double.delete(&Key::new("apps", "daemonsets", "default", "worker")));
    assert_eq!(double.all().iter().filter(|it| it.0.plural == "pods").count(), 0);
}
