//! The watcher against a double of an API server: what a Worker would know.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apiserver_double::{Double, Fault, Key};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{TimestampNanosecondType, UInt64Type};
use arrow_array::{Array as _, ArrayRef};
use cluster::{Cluster, Kind, NotChanged, Targeting, Unclear};
use identity::{Index, Who};
use serde_json::{Value, json};

/// A cluster that is watched, and what a Worker made of it.
struct Watched {
    double: Double,
    cluster: Cluster,
    index: Arc<Mutex<Index>>,
    stale: Arc<Mutex<Option<i64>>>,
}

impl Watched {
    async fn start(prepare: impl FnOnce(&Double)) -> Self {
        let double = Double::start().await.unwrap();
        double.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
        prepare(&double);
        let config = kube::Config::new(double.url().parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let settings = Some(("shop", "settings")).filter(|_| double.get(&maps()).is_some());
        let cluster = Cluster::watch_for(&client, Duration::from_secs(1), settings);
        let (index, stale) = (Arc::<Mutex<Index>>::default(), Arc::default());
        let watched = Self { double, cluster, index, stale };
        watched.listen();
        until("all is listed", || watched.cluster.state().ready).await;
        watched
    }

    /// A Worker whose link is new.
    fn listen(&self) {
        let mut told = self.cluster.subscribe();
        let (index, stale) = (Arc::clone(&self.index), Arc::clone(&self.stale));
        tokio::spawn(async move {
            while let Some(update) = told.next().await {
                *stale.lock().unwrap() = update.stale_since;
                index.lock().unwrap().update(update);
            }
        });
    }

    fn who(&self, ip: &str, port: u16, ts: i64) -> Who {
        let answer = self.index.lock().unwrap().who(ip.parse().unwrap(), port, ts);
        answer.who.map(|it| (*it).clone()).unwrap_or_default()
    }

    fn pod(&self, ip: &str, ts: i64) -> Option<String> {
        self.who(ip, 1, ts).pod.map(|it| it.to_string())
    }

    /// All rows of a table, as JSON; times as they are.
    fn rows(&self, table: &str) -> Vec<Value> {
        let batch = self.cluster.rows(table).unwrap();
        let row = |row: usize| {
            let columns = batch.schema_ref().fields().iter().zip(batch.columns());
            columns.map(|(field, column)| (field.name().clone(), value(column, row))).collect()
        };
        (0..batch.num_rows()).map(row).map(Value::Object).collect()
    }

    async fn named(&self, ip: &str, name: &str) {
        let is = || self.pod(ip, now()).as_deref() == Some(name);
        until(&format!("{ip} is {name}"), is).await;
    }

    async fn nobody(&self, ip: &str) {
        until(&format!("{ip} is nobody's"), || self.pod(ip, now()).is_none()).await;
    }
}

fn value(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    if let Some(it) = column.as_primitive_opt::<TimestampNanosecondType>() {
        return it.value(row).into();
    }
    if let Some(it) = column.as_primitive_opt::<UInt64Type>() {
        return it.value(row).into();
    }
    if let Some(it) = column.as_boolean_opt() {
        return it.value(row).into();
    }
    if let Some(it) = column.as_list_opt::<i32>() {
        let texts = it.value(row);
        return texts.as_string::<i32>().iter().map(Option::unwrap).collect();
    }
    column.as_string_view().value(row).into()
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap()
}

async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("in vain: {what}");
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// So many seconds ago, as the API tells times.
fn ago(seconds: i64) -> String {
    let second = now() / 1_000_000_000 - seconds;
    let (days, rest) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    // Days since 1970 to a date (Howard Hinnant's algorithm).
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (day, hour) = (doy - (153 * mp + 2) / 5 + 1, rest / 3_600);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{:02}:{:02}Z", rest / 60 % 60, rest % 60)
}

fn maps() -> Key {
    Key::new("", "configmaps", "shop", "settings")
}

fn settings(targeting: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop"},
        "data": {"targeting.json": targeting}})
}

fn pods(name: &str) -> Key {
    Key::new("", "pods", "shop", name)
}

/// A pod that has been up for so many seconds.
fn pod(name: &str, ip: &str, seconds: i64) -> Value {
    let running = json!({"running": {"startedAt": ago(seconds)}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Running", "startTime": ago(seconds), "podIP": ip, "podIPs": [{"ip": ip}],
            "containerStatuses": [{"name": "main", "image": "x", "imageID": "", "ready": true,
                "restartCount": 0, "state": running}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_named_once_it_has_its_address() {
    let it = Watched::start(|double| {
        double.add_node("n1", "192.168.0.1");
        double.put(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {
            "name": "cart-5d9", "namespace": "shop", "ownerReferences": [{"apiVersion": "apps/v1",
            "kind": "Deployment", "controller": true, "name": "cart", "uid": "u"}]}}));
    })
    .await;
    let set = it.double.get(&Key::new("apps", "replicasets", "shop", "cart-5d9")).unwrap();
    let begun = now();
    it.double.put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cart-5d9-x",
        "namespace": "shop", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "controller": true, "name": "cart-5d9", "uid": set["metadata"]["uid"]}]},
        "spec": {"containers": [{"name": "main", "image": "x", "ports": [{"containerPort": 80}]}]},
        "status": {"phase": "Pending"}}));
    let patch = |patch: Value| it.double.patch(&pods("cart-5d9-x"), &patch, "kubelet");
    patch(json!({"spec": {"nodeName": "n1"}, "status": {"startTime": ago(0)}}));
    let waiting = json!([{"name": "main", "image": "x", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}]);
    patch(json!({"status": {"containerStatuses": waiting}}));
    patch(json!({"status": {"phase": "Pending", "hostIP": "192.168.0.1"}}));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(it.who("10.244.0.7", 80, now()), Who::default());
    patch(json!({"status": {"podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}]}}));
    it.named("10.244.0.7", "cart-5d9-x").await;
    let pod = it.double.get(&pods("cart-5d9-x")).unwrap();
    it.double.put(json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80}]}}));
    it.double.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "cart-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}},
        "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.244.0.7"], "targetRef": {"kind": "Pod",
            "name": "cart-5d9-x", "namespace": "shop", "uid": pod["metadata"]["uid"]}}]}));
    let named = || it.who("10.244.0.7", 8080, now()).service.is_some();
    until("the slice is told", named).await;
    let who = it.who("10.244.0.7", 8080, now());
    assert_eq!(who.namespace.as_deref(), Some("shop"));
    assert_eq!(who.workload.as_deref(), Some("cart"));
    assert_eq!(who.node.as_deref(), Some("n1"));
    assert_eq!(who.service.as_deref(), Some("cart"));
    assert_eq!(it.who("10.96.0.9", 80, now()).service.as_deref(), Some("cart"));
    assert_eq!(it.pod("10.244.0.7", begun - 3_000_000_000), None, "before it was there");
    let who = it.who("192.168.0.1", 4_000, now());
    assert_eq!((who.node.as_deref(), who.pod), (Some("n1"), None));
    for kind in Kind::ALL {
        assert_eq!(it.double.watches(kind.name()), 1, "{kind}");
    }
    let asked = it.double.requests();
    let lists =
        |kind: Kind| asked.iter().filter(move |it| it.verb == "list" && it.resource == kind.name());
    assert!(Kind::ALL.into_iter().all(|kind| lists(kind).count() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_hosts_network_a_declared_port_tells() {
    let it = Watched::start(|double| {
        double.add_node("n1", "192.168.0.1");
        let host = |name: &str, port: i32| {
            let mut pod = pod(name, "192.168.0.1", 100);
            pod["spec"]["hostNetwork"] = true.into();
            pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": port}]);
            pod
        };
        double.put(host("proxy", 10_256));
        double.put(host("agent", 9_100));
    })
    .await;
    let named = || it.who("192.168.0.1", 9_100, now()).pod.as_deref() == Some("agent");
    until("the agent is told", named).await;
    assert_eq!(it.who("192.168.0.1", 10_256, now()).pod.as_deref(), Some("proxy"));
    let other = it.who("192.168.0.1", 50_000, now());
    assert_eq!((other.node.as_deref(), other.pod), (Some("n1"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_its_next_holders() {
    let it = Watched::start(|double| double.put(pod("old", "10.244.0.7", 100))).await;
    it.named("10.244.0.7", "old").await;
    let then = now();
    it.double.delete(&pods("old"));
    it.nobody("10.244.0.7").await;
    let between = now();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    it.double.put(pod("new", "10.244.0.7", 0));
    it.named("10.244.0.7", "new").await;
    assert_eq!(it.pod("10.244.0.7", then).as_deref(), Some("old"));
    assert_eq!(it.pod("10.244.0.7", between), None);
    // Its work is done; it goes on telling its address.
    let done = json!([{"name": "main", "image": "x", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"terminated": {"exitCode": 0, "finishedAt": ago(0)}}}]);
    let done = json!({"status": {"phase": "Succeeded", "containerStatuses": done}});
    it.double.patch(&pods("new"), &done, "kubelet");
    it.nobody("10.244.0.7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_tells_who_had_an_address_when_also_after_it_is_anothers() {
    let it = Watched::start(|double| {
        double.add_node("n1", "192.168.0.1");
        let mut old = pod("old", "10.244.0.7", 100);
        old["metadata"]["labels"] = json!({"app": "cart", "tier": "\"web\""});
        double.put(old);
    })
    .await;
    until("it has an address", || it.rows("pods").len() == 1).await;
    let [old] = &it.rows("pods")[..] else { panic!("one row") };
    assert_eq!((text(old, "name"), text(old, "ip")), ("old", "10.244.0.7"));
    assert_eq!((text(old, "node"), text(old, "phase")), ("n1", "Running"));
    assert_eq!(text(old, "labels"), r#"{"app":"cart","tier":"\"web\""}"#);
    assert_eq!((old["valid_to"].clone(), old["tapped"].clone()), (Value::Null, true.into()));

    it.double.delete(&pods("old"));
    // Told in whole seconds, as if it had begun before the other one ended.
    it.double.put(pod("new", "10.244.0.7", 1));
    until("both are known", || it.rows("pods").len() == 2).await;
    let of =
        |name: &str| it.rows("pods").into_iter().find(|row| text(row, "name") == name).unwrap();
    until("one has ended", || !of("old")["valid_to"].is_null()).await;
    let (old, new) = (of("old"), of("new"));
    assert!(old["valid_from"].as_i64() < old["valid_to"].as_i64(), "{old}");
    assert!(old["valid_to"].as_i64() <= new["valid_from"].as_i64(), "{old} {new}");
    assert_eq!(new["valid_to"], Value::Null);

    // Another address, and then none.
    it.double.patch(
        &pods("new"),
        &json!({"status": {"podIP": "10.244.0.8", "podIPs": [{"ip": "10.244.0.8"}]}}),
        "kubelet",
    );
    until("it has another", || it.rows("pods").len() == 3).await;
    let held = |ip: &str| {
        let rows = it.rows("pods").into_iter();
        rows.filter(|row| text(row, "name") == "new").find(|row| text(row, "ip") == ip).unwrap()
    };
    assert!(!held("10.244.0.7")["valid_to"].is_null());
    assert!(held("10.244.0.8")["valid_to"].is_null());
    it.double.delete(&pods("new"));
    until("it has ended", || !held("10.244.0.8")["valid_to"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_an_address_is_in_the_table_as_long_as_it_is_there() {
    let it = Watched::start(|_| {}).await;
    it.double.put(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "stuck", "namespace": "shop"},
        "spec": {"containers": [{"name": "main", "image": "x"}]}, "status": {"phase": "Pending"}}));
    until("it is known", || it.rows("pods").len() == 1).await;
    let row = &it.rows("pods")[0];
    assert_eq!(
        (text(row, "name"), text(row, "phase"), &row["ip"]),
        ("stuck", "Pending", &Value::Null)
    );
    it.double.delete(&pods("stuck"));
    until("it is gone", || it.rows("pods").is_empty()).await;
    // And if nobody told that.
    it.double.put(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "stuck", "namespace": "shop"},
        "spec": {"containers": [{"name": "main", "image": "x"}]}, "status": {"phase": "Pending"}}));
    until("it is known again", || it.rows("pods").len() == 1).await;
    it.double.away(true);
    it.double.delete(&pods("stuck"));
    it.double.expire();
    it.double.away(false);
    until("it is gone again", || it.rows("pods").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_nodes_and_events_are_tables_too() {
    let it = Watched::start(|double| {
        double.add_node("n1", "192.168.0.1");
        double.put(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
                "selector": {"app": "cart"},
                "ports": [{"port": 80, "nodePort": 30_080}, {"port": 53, "protocol": "UDP"}]}}));
        double.put(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "headless", "namespace": "shop"}, "spec": {"clusterIP": "None"}}));
    })
    .await;
    let rows = it.rows("services");
    let of = |name: &str| rows.iter().find(|row| text(row, "name") == name).unwrap();
    let cart = of("cart");
    assert_eq!((text(cart, "ip"), text(cart, "service_type")), ("10.96.0.9", "NodePort"));
    assert_eq!(cart["ports"], json!(["80/TCP", "53/UDP"]));
    assert_eq!(cart["node_ports"], json!(["30080/TCP"]));
    assert_eq!(text(cart, "selector"), r#"{"app":"cart"}"#);
    assert_eq!((&of("headless")["ip"], &of("headless")["selector"]), (&Value::Null, &Value::Null));
    let rows = it.rows("nodes");
    assert_eq!((text(&rows[0], "name"), text(&rows[0], "ip")), ("n1", "192.168.0.1"));

    let event = |name: &str, seconds: i64, count: i32, message: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "shop"},
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "cart-1", "uid": "u1"},
            "reason": "BackOff", "message": message, "type": "Warning", "count": count,
            "firstTimestamp": ago(60), "lastTimestamp": ago(seconds),
            "source": {"component": "kubelet", "host": "n1"}})
    };
    it.double.put(event("cart-1.1", 30, 1, "Back-off"));
    it.double.put(event("cart-1.2", 50, 2, &"ä".repeat(5_000)));
    until("both are known", || it.rows("events").len() == 2).await;
    it.double.put(event("cart-1.1", 10, 7, "Back-off restarting"));
    until("it happened again", || it.rows("events").iter().any(|row| row["count"] == 7)).await;
    let rows = it.rows("events");
    assert_eq!(rows.len(), 2, "that is one row still");
    // In the order in which they happened.
    let (long, last) = (&rows[0], &rows[1]);
    assert_eq!(text(long, "message"), "ä".repeat(512));
    for (column, value) in [
        ("event_type", "Warning"),
        ("reason", "BackOff"),
        ("kind", "Pod"),
        ("name", "cart-1"),
        ("namespace", "shop"),
        ("uid", "u1"),
        ("component", "kubelet"),
        ("node", "n1"),
    ] {
        assert_eq!(text(last, column), value, "{column}");
    }
    assert!(last["first_seen"].as_i64() < last["ts"].as_i64());
    it.double.delete(&Key::new("", "events", "shop", "cart-1.1"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        it.rows("events").len(),
        2,
        "what happened did, also once the API server forgets it"
    );
    assert!(it.cluster.rows("secrets").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_read_events_still_knows_the_names() {
    let it = Watched::start(|double| {
        double.deny("watch", "", "events");
        double.deny("list", "", "events");
        double.put(pod("a", "10.244.0.1", 100));
    })
    .await;
    it.named("10.244.0.1", "a").await;
    until("it is refused", || it.cluster.state().kinds[&Kind::Events].refused).await;
    let state = it.cluster.state();
    assert!(state.ready && state.stale_since.is_none(), "{state:?}");
    assert!(state.reason.unwrap().starts_with("events are not watched: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_off_goes_on() {
    let it = Watched::start(|double| double.put(pod("a", "10.244.0.1", 100))).await;
    it.named("10.244.0.1", "a").await;
    it.double.fail("watch", "pods", Fault::CutMidLine, 1);
    it.double.cut();
    tokio::time::sleep(Duration::from_millis(300)).await;
    it.double.put(pod("b", "10.244.0.2", 100));
    it.double.put(pod("c", "10.244.0.3", 100));
    it.named("10.244.0.2", "b").await;
    it.named("10.244.0.3", "c").await;
    let pods = it.cluster.state().kinds[&Kind::Pods].clone();
    assert!(pods.watches >= 2, "{pods:?}");
    assert_eq!(pods.relists, 0, "the version is still known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_forgotten_makes_a_new_list() {
    let it = Watched::start(|double| {
        double.put(pod("a", "10.244.0.1", 100));
        double.put(pod("b", "10.244.0.2", 100));
    })
    .await;
    it.named("10.244.0.2", "b").await;
    it.double.away(true);
    it.double.delete(&pods("a"));
    it.double.expire();
    it.double.away(false);
    it.nobody("10.244.0.1").await;
    it.named("10.244.0.2", "b").await;
    assert!(it.cluster.state().kinds[&Kind::Pods].relists > 0);
    let lists = it.double.requests();
    let lists = lists.iter().filter(|it| it.verb == "list" && it.resource == "pods").count();
    assert!(lists >= 2, "{lists}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_is_away_it_is_said_and_no_name_is_wrong_after() {
    let it = Watched::start(|double| double.put(pod("old", "10.244.0.7", 100))).await;
    it.named("10.244.0.7", "old").await;
    it.double.away(true);
    until("it is said", || it.stale.lock().unwrap().is_some()).await;
    let state = it.cluster.state();
    assert!(state.ready && state.stale_since.is_some() && state.reason.is_some(), "{state:?}");
    it.named("10.244.0.7", "old").await;
    it.double.delete(&pods("old"));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    it.double.put(pod("new", "10.244.0.7", 0));
    let taken = now() + 1_000_000_000;
    // A Worker that links itself meanwhile is told what is known.
    let late = Index::default();
    *it.index.lock().unwrap() = late;
    it.listen();
    it.named("10.244.0.7", "old").await;
    it.double.away(false);
    it.named("10.244.0.7", "new").await;
    assert_eq!(it.pod("10.244.0.7", taken).as_deref(), Some("new"), "although told later");
    assert_eq!(it.pod("10.244.0.7", taken - 3_500_000_000).as_deref(), Some("old"));
    until("all is well", || it.stale.lock().unwrap().is_none()).await;
    assert_eq!(it.cluster.state().reason, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_read_costs_its_names_only() {
    let it = Watched::start(|double| {
        double.deny("*", "apps", "replicasets");
        let mut pod = pod("cart-5d9-x", "10.244.0.7", 100);
        pod["metadata"]["labels"] = json!({"pod-template-hash": "5d9"});
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "controller": true, "name": "cart-5d9", "uid": "u"}]);
        double.put(pod);
    })
    .await;
    it.named("10.244.0.7", "cart-5d9-x").await;
    assert_eq!(it.who("10.244.0.7", 1, now()).workload.as_deref(), Some("cart"));
    let state = it.cluster.state();
    let sets = &state.kinds[&Kind::ReplicaSets];
    assert!(sets.refused && !sets.listed, "{sets:?}");
    assert!(state.reason.unwrap().starts_with("replicasets are not watched: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_or_falls_silent_is_asked_again() {
    let it = Watched::start(|double| {
        double.fail("list", "services", Fault::Status(429), 1);
        double.fail("list", "nodes", Fault::Status(500), 2);
        double.fail("watch", "pods", Fault::Stall, 1);
        double.put(pod("a", "10.244.0.1", 100));
    })
    .await;
    it.double.put(pod("b", "10.244.0.2", 100));
    it.named("10.244.0.2", "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_pods_of_which_a_hundred_change_each_second() {
    let ip = |n: usize| format!("10.{}.{}.{}", n / 62_500, n / 250 % 250, n % 250 + 1);
    let it = Watched::start(|double| {
        for n in 0..5_000 {
            double.put(pod(&format!("p{n}"), &ip(n), 1_000));
        }
    })
    .await;
    it.named(&ip(4_999), "p4999").await;
    // One goes, and its address is another's, as fast as that can be.
    let mut told = it.cluster.subscribe();
    let waiting: Arc<Mutex<std::collections::HashMap<String, std::time::Instant>>> = Arc::default();
    let waits = Arc::clone(&waiting);
    let listener = tokio::spawn(async move {
        let mut lags = Vec::new();
        while lags.len() < CHANGES {
            for fact in told.next().await.unwrap().facts {
                let (identity::Of::Pod(pod), false) = (&fact.of, fact.gone().is_some()) else {
                    continue;
                };
                lags.extend(waits.lock().unwrap().remove(&pod.name).map(|it| it.elapsed()));
            }
        }
        lags
    });
    let mut every = tokio::time::interval(Duration::from_millis(10));
    for n in 0..CHANGES {
        every.tick().await;
        it.double.delete(&pods(&format!("p{n}")));
        let name = format!("q{n}");
        waiting.lock().unwrap().insert(name.clone(), std::time::Instant::now());
        it.double.put(pod(&name, &ip(n), 0));
    }
    let mut lags = tokio::time::timeout(Duration::from_secs(30), listener).await.unwrap().unwrap();
    lags.sort();
    let p99 = lags[CHANGES * 99 / 100];
    // Without optimisation, and with a double that is not optimised either, it takes longer.
    let bound = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
    assert!(p99 < bound, "half are told in {:?}, 99 % in {p99:?}", lags[CHANGES / 2]);
    // Each is certain a second after it began.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    for n in 0..CHANGES {
        assert_eq!(it.pod(&ip(n), now()), Some(format!("q{n}")));
    }
    assert_eq!(it.cluster.state().pods, 5_000);
    for kind in Kind::ALL {
        assert_eq!(it.double.watches(kind.name()), 1, "{kind}");
    }
}

/// Pods that change: ten seconds' worth.
const CHANGES: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn whose_traffic_is_kept_follows_the_settings_and_garbage_changes_nothing() {
    let it = Watched::start(|double| {
        double.add_node("n1", "192.168.0.1");
        double.put(settings(r#"{"pods": "^cart"}"#));
        double.put(pod("cart-1", "10.1.0.1", 60));
        double.put(pod("pay-1", "10.1.0.2", 60));
    })
    .await;
    let taps = |ip: &str| it.index.lock().unwrap().taps(ip.parse().unwrap());
    it.named("10.1.0.2", "pay-1").await;
    until("only cart is", || taps("10.1.0.1") && !taps("10.1.0.2")).await;
    assert!(!taps("8.8.8.8"), "nobody that is known");
    it.double.put(pod("cart-2", "10.1.0.3", 1));
    until("a new one is", || taps("10.1.0.3")).await;
    assert_eq!(it.cluster.state().tapped, Some(2));

    let began = std::time::Instant::now();
    it.double.patch(
        &maps(),
        &json!({"data": {"targeting.json": r#"{"selector": "app=x"}"#}}),
        "me",
    );
    until("none is", || !taps("10.1.0.1") && !taps("10.1.0.3")).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    for garbage in ["no json", r#"{"pods": "("}"#, r#"{"selector": "a in b"}"#] {
        it.double.patch(&maps(), &json!({"data": {"targeting.json": garbage}}), "me");
        until("it is told", || it.cluster.state().settings.is_some()).await;
        assert!(!taps("10.1.0.1"), "{garbage}");
        it.double.patch(&maps(), &json!({"data": {"targeting.json": r#"{"pods": "^pay"}"#}}), "me");
        until("pay is", || taps("10.1.0.2") && !taps("10.1.0.1")).await;
        until("all is well", || it.cluster.state().settings.is_none()).await;
    }
    it.double.patch(&maps(), &json!({"data": {"targeting.json": "{}"}}), "me");
    until("all are", || taps("10.1.0.1") && taps("8.8.8.8")).await;
    assert_eq!(it.cluster.state().tapped, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_traffic_is_kept_is_changed_for_good_and_by_one_at_a_time() {
    let it = Watched::start(|double| {
        let mut map = settings(r#"{"pods": "^cart"}"#);
        map["metadata"]["labels"] = json!({"whose": "ours"});
        map["data"]["else"] = json!("stays");
        double.put(map);
        double.put(pod("cart-1", "10.1.0.1", 60));
        double.put(pod("pay-1", "10.1.0.2", 60));
    })
    .await;
    let taps = |ip: &str| it.index.lock().unwrap().taps(ip.parse().unwrap());
    it.named("10.1.0.2", "pay-1").await;
    until("only cart is", || taps("10.1.0.1") && !taps("10.1.0.2")).await;

    // What a choice would mean is said before it is made, and changes nothing.
    let of = |pods: &str| Targeting { pods: pods.to_owned(), ..Targeting::default() };
    let meant = it.cluster.meant(&of("^pay")).unwrap();
    let look = meant.iter().map(|it| (it.name.as_str(), it.against.concat())).collect::<Vec<_>>();
    let against = "its name does not match `^pay`".to_owned();
    assert_eq!(look, [("cart-1", against), ("pay-1", String::new())]);
    assert!(matches!(it.cluster.meant(&of("(")), Err(Unclear::Pods(..))));
    assert!(taps("10.1.0.1") && !taps("10.1.0.2"));

    let (before, version) = it.cluster.targeting();
    assert_eq!(before, of("^cart"));
    let began = std::time::Instant::now();
    it.cluster.retarget(&of("^pay"), version.as_deref()).await.unwrap();
    until("only pay is", || !taps("10.1.0.1") && taps("10.1.0.2")).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(it.cluster.targeting().0, of("^pay"));
    // It stands where the next Hub reads it, and the rest of the ConfigMap is as it was.
    let map = it.double.get(&maps()).unwrap();
    let kept: Targeting =
        serde_json::from_str(map["data"]["targeting.json"].as_str().unwrap()).unwrap();
    assert_eq!(kept, of("^pay"));
    assert_eq!(
        (&map["metadata"]["labels"]["whose"], &map["data"]["else"]),
        (&json!("ours"), &json!("stays"))
    );

    // Who looked at the settings before somebody else changed them changes nothing.
    let late = it.cluster.retarget(&of("^cart"), version.as_deref()).await;
    assert!(matches!(late, Err(NotChanged::Conflict)), "{late:?}");
    assert!(!taps("10.1.0.1") && taps("10.1.0.2"));
    let wrong = it.cluster.retarget(&of("("), None).await;
    assert!(matches!(wrong, Err(NotChanged::Unclear(_))), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_settings_nothing_is_changed() {
    let it = Watched::start(|_| {}).await;
    let refused = it.cluster.retarget(&Targeting::default(), None).await;
    assert!(matches!(refused, Err(NotChanged::Nowhere)), "{refused:?}");
    assert!(it.double.get(&maps()).is_none());
}
