//! What the controllers and the kubelets of a cluster would do.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Shared;
use crate::kinds::Kind;
use crate::objects::Key;

/// What of the cluster does not work.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    pub(crate) images: Vec<String>,
    pub(crate) nodes: BTreeMap<String, String>,
}

/// An object was changed by a request: DaemonSets and Deployments get their pods.
pub(crate) fn changed(shared: &Arc<Shared>, key: &Key) {
    if key.group == "apps" && ["daemonsets", "deployments"].contains(&key.plural.as_str()) {
        reconcile(shared, key);
    }
}

pub(crate) fn add_node(shared: &Arc<Shared>, name: &str, address: &str) {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": {"kernelVersion": "6.1.0", "osImage": "double", "architecture": "amd64",
                "containerRuntimeVersion": "containerd://2.0", "kubeletVersion": "v1.33.0",
                "operatingSystem": "linux", "bootID": "", "machineID": "", "systemUUID": "",
                "kubeProxyVersion": ""},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    put(shared, node);
    let sets = {
        let state = shared.lock();
        state.all_of("DaemonSet")
    };
    sets.iter().for_each(|it| reconcile(shared, it));
}

pub(crate) fn remove_node(shared: &Arc<Shared>, name: &str) {
    {
        let mut state = shared.lock();
        let pods = state.objects.of(pods()).filter(|it| it.1["spec"]["nodeName"] == name);
        let pods = pods.map(|it| it.0.clone()).collect::<Vec<_>>();
        // What is gone already need not go.
        pods.iter().for_each(|it| drop(state.objects.delete(it)));
        drop(state.objects.delete(&Key::new("", "nodes", "", name)));
    }
    shared.tell();
}

fn pods() -> &'static Kind {
    match Kind::of("v1", "Pod") {
        Some(kind) => kind,
        None => unreachable!("pods are served"),
    }
}

impl crate::State {
    fn all_of(&self, kind: &str) -> Vec<Key> {
        let kind = Kind::of("apps/v1", kind);
        kind.into_iter().flat_map(|it| self.objects.of(it)).map(|it| it.0.clone()).collect()
    }
}

fn put(shared: &Arc<Shared>, object: Value) {
    // A namespace may have gone meanwhile; then so has this.
    drop(shared.lock().objects.put(object, "controller"));
    shared.tell();
}

/// Makes the pods that are missing, of the template as it is now.
fn reconcile(shared: &Arc<Shared>, key: &Key) {
    let Some(set) = shared.lock().objects.get(key).cloned() else { return };
    let template = set["spec"]["template"].clone();
    let revision = fingerprint(&template.to_string());
    let nodes = {
        let state = shared.lock();
        let nodes = Kind::of("v1", "Node").into_iter().flat_map(|it| state.objects.of(it));
        nodes.map(|it| it.0.name.clone()).collect::<Vec<_>>()
    };
    let (owner, places) = if key.plural == "daemonsets" {
        (set.clone(), nodes)
    } else {
        let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
        let places = (0..replicas).filter_map(|it| nodes.get(it % nodes.len().max(1)).cloned());
        (replica_set(shared, &set, &revision), places.collect())
    };
    let reference = json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": true,
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]);
    let wanted = places.iter().enumerate().map(|(n, node)| {
        let name = format!("{}-{revision}-{n}", key.name);
        (name, node.clone())
    });
    let wanted = wanted.collect::<BTreeMap<_, _>>();
    // Those of an earlier template go, and so do those of nodes that are gone.
    let old = {
        let state = shared.lock();
        let prefix = format!("{}-", key.name);
        let of = state.objects.of(pods()).filter(|(it, pod)| {
            let ours = pod["metadata"]["ownerReferences"][0]["name"].as_str();
            it.namespace == key.namespace
                && it.name.starts_with(&prefix)
                && ours.is_some_and(|it| it == key.name || it.starts_with(&prefix))
                && !wanted.contains_key(&it.name)
        });
        of.map(|it| it.0.clone()).collect::<Vec<_>>()
    };
    for it in old {
        drop(shared.lock().objects.delete(&it));
    }
    for (name, node) in &wanted {
        let pod = Key::new("", "pods", &key.namespace, name);
        if shared.lock().objects.get(&pod).is_some() {
            continue;
        }
        let mut labels = template["metadata"]["labels"].clone();
        if !labels.is_object() {
            labels = json!({});
        }
        labels["pod-template-hash"] = revision.clone().into();
        put(
            shared,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": key.namespace, "labels": labels,
                    "annotations": template["metadata"]["annotations"], "ownerReferences": reference},
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            }),
        );
        tokio::spawn(come_up(Arc::clone(shared), key.clone(), pod, node.clone()));
    }
    count(shared, key);
}

fn replica_set(shared: &Arc<Shared>, deployment: &Value, revision: &str) -> Value {
    let metadata = &deployment["metadata"];
    let name = format!("{}-{revision}", metadata["name"].as_str().unwrap_or_default());
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "Deployment", "controller": true,
            "name": metadata["name"], "uid": metadata["uid"]}]},
        "spec": {"replicas": deployment["spec"]["replicas"], "selector": deployment["spec"]["selector"],
            "template": deployment["spec"]["template"]},
    });
    put(shared, set.clone());
    let there =
        shared.lock().objects.get(&Key::new("apps", "replicasets", namespace, &name)).cloned();
    there.unwrap_or(set)
}

/// Scheduled, without an address, with one, ready: each a change of its own.
async fn come_up(shared: Arc<Shared>, set: Key, pod: Key, node: String) {
    let patch = |patch: &Value| {
        // It may be gone by now.
        drop(shared.lock().objects.patch(&pod, patch, "kubelet"));
        shared.tell();
    };
    let step = || tokio::time::sleep(STEP);
    step().await;
    let reason = shared.lock().broken.nodes.get(&node).cloned();
    if let Some(reason) = reason {
        patch(&json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": reason}]}}));
        return;
    }
    patch(&json!({"spec": {"nodeName": node},
        "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}));
    step().await;
    let (containers, address, host, bad) = {
        let state = shared.lock();
        let Some(pod) = state.objects.get(&pod) else { return };
        let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
        let image = |it: &Value| it["image"].as_str().unwrap_or_default().to_owned();
        let bad = containers.iter().map(image);
        let bad =
            bad.into_iter().find(|it| state.broken.images.iter().any(|part| it.contains(part)));
        let node = state.objects.get(&Key::new("", "nodes", "", &node));
        let host = node.and_then(|it| it["status"]["addresses"][0]["address"].as_str());
        let host = host.unwrap_or_default().to_owned();
        let own = pod["spec"]["hostNetwork"] == true;
        let n = state.objects.version();
        let address =
            if own { host.clone() } else { format!("10.244.{}.{}", n / 250 % 250, n % 250 + 1) };
        (containers, address, host, bad)
    };
    let statuses = |state: &Value, ready: bool| {
        let status = containers.iter().map(|it| {
            json!({"name": it["name"], "image": it["image"], "imageID": "", "ready": ready,
                "restartCount": 0, "state": state})
        });
        status.collect::<Vec<_>>()
    };
    if let Some(image) = bad {
        let message = format!("Back-off pulling image \"{image}\"");
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
        patch(&json!({"status": {"containerStatuses": statuses(&waiting, false), "hostIP": host}}));
        return;
    }
    let creating = json!({"waiting": {"reason": "ContainerCreating"}});
    patch(&json!({"status": {"containerStatuses": statuses(&creating, false), "hostIP": host}}));
    step().await;
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    patch(&json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "hostIP": host, "startTime": "2026-01-01T00:00:00Z",
        "containerStatuses": statuses(&running, false)}}));
    step().await;
    patch(&json!({"status": {"containerStatuses": statuses(&running, true), "conditions": [
        {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]}}));
    count(&shared, &set);
}

/// Says in a set's status how many of its pods there are.
fn count(shared: &Arc<Shared>, key: &Key) {
    let status = {
        let state = shared.lock();
        let Some(set) = state.objects.get(key) else { return };
        let prefix = format!("{}-", key.name);
        let of = state
            .objects
            .of(pods())
            .filter(|(it, _)| it.namespace == key.namespace && it.name.starts_with(&prefix));
        let of = of.map(|it| it.1).collect::<Vec<_>>();
        let ready = |it: &&&Value| {
            let conditions = it["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|it| it["type"] == "Ready" && it["status"] == "True")
        };
        let (all, ready) = (of.len(), of.iter().filter(ready).count());
        let generation = set["metadata"]["generation"].clone();
        if key.plural == "daemonsets" {
            json!({"desiredNumberScheduled": all, "currentNumberScheduled": all, "numberReady": ready,
                "updatedNumberScheduled": all, "numberAvailable": ready, "numberMisscheduled": 0,
                "observedGeneration": generation})
        } else {
            json!({"replicas": all, "updatedReplicas": all, "readyReplicas": ready,
                "availableReplicas": ready, "observedGeneration": generation})
        }
    };
    drop(shared.lock().objects.patch(key, &json!({"status": status}), "controller"));
    shared.tell();
}

fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, it| {
        (hash ^ u64::from(it)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:08x}", hash as u32)
}

/// Between two changes of a pod that comes up.
const STEP: Duration = Duration::from_millis(20);
