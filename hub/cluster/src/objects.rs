//! Objects of the API, as facts.

use identity::{Endpoint, Held, Node, Pod, Service, Workload};
use k8s_openapi::{
    api::{core::v1 as core, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use std::net::IpAddr;

/// A pod, and who owns it.
pub(crate) struct Seen {
    pub(crate) pod: Pod,
    pub(crate) owner: Option<Owner>,
}

/// The controller of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: String,
    pub(crate) workload: Workload,
    /// What it is a part of itself, as far as its name says.
    pub(crate) above: Option<Workload>,
}

/// A pod that has an address or had one. `before` is what was known of it.
pub(crate) fn pod(pod: &core::Pod, before: Option<&Pod>, now: i64) -> Option<Seen> {
    let uid = pod.metadata.uid.clone()?;
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref());
    let ips = status.and_then(|it| it.pod_ips.as_ref()).into_iter().flatten();
    let ips = ips.map(|it| it.ip.as_str()).chain(status.and_then(|it| it.pod_ip.as_deref()));
    let ended = status.and_then(|it| ended(it, now));
    let born = created(&pod.metadata).unwrap_or(now);
    let (from, sure) = status.map_or((born, now), |it| began(it, born, now));
    let mut held = before.map(|it| it.held.clone()).unwrap_or_default();
    if ended.is_none() || held.is_empty() {
        hold(&mut held, addresses(ips), now, (from, sure));
    }
    if held.is_empty() {
        return None;
    }
    if let Some(ended) = ended {
        // Its address is given to others, although it still says that it is its own.
        held.iter_mut().for_each(|it| it.close(ended));
    }
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|it| it.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|it| it.ports.iter().flatten());
    let ports = sorted(ports.filter_map(|it| port(it.container_port)));
    let hash = pod.metadata.labels.as_ref().and_then(|it| it.get("pod-template-hash"));
    Some(Seen {
        owner: owner(&pod.metadata, hash.map(String::as_str)),
        pod: Pod {
            uid,
            name: pod.metadata.name.clone()?,
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            node: spec.node_name.clone(),
            workload: before.and_then(|it| it.workload.clone()),
            host_network: spec.host_network == Some(true),
            left_out: false,
            ports,
            held,
        },
    })
}

/// From when on its addresses may be a pod's, and from when on they certainly are. Its network is there
/// before its first container begins, and not before its node took it; times are told in seconds.
fn began(status: &core::PodStatus, born: i64, now: i64) -> (i64, i64) {
    let taken = status.start_time.as_ref().map_or(born, time);
    let states = [&status.init_container_statuses, &status.container_statuses];
    let states = states.into_iter().flat_map(|it| it.iter().flatten());
    let states = states.flat_map(|it| [it.state.as_ref(), it.last_state.as_ref()]).flatten();
    let started = states.flat_map(|it| {
        let running = it.running.as_ref().and_then(|it| it.started_at.as_ref());
        let ended = it.terminated.as_ref().and_then(|it| it.started_at.as_ref());
        running.into_iter().chain(ended)
    });
    let network = status.conditions.iter().flatten();
    let network =
        network.filter(|it| it.type_ == "PodReadyToStartContainers" && it.status == "True");
    let network = network.filter_map(|it| it.last_transition_time.as_ref());
    let evidence = started.chain(network).map(time).min();
    let sure = evidence.map_or(now, |it| it.saturating_add(SECOND));
    (taken.min(sure), sure)
}

/// When a pod ended that will not run again: its address is free then.
fn ended(status: &core::PodStatus, now: i64) -> Option<i64> {
    if !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let states = status.container_statuses.iter().flatten().filter_map(|it| it.state.as_ref());
    let ended = states.filter_map(|it| it.terminated.as_ref()?.finished_at.as_ref());
    // Seconds are cut off: it ended within the one that follows.
    let ended = ended.map(time).max().map(|it| it.saturating_add(SECOND));
    Some(ended.map_or(now, |it| it.min(now)))
}

pub(crate) fn service(it: &core::Service, before: Option<&Service>, now: i64) -> Option<Service> {
    let from = created(&it.metadata).unwrap_or(now);
    let spec = it.spec.as_ref()?;
    let inside = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let balancers = it.status.as_ref().and_then(|it| it.load_balancer.as_ref());
    let balancers = balancers.and_then(|it| it.ingress.as_ref()).into_iter().flatten();
    let outside = spec.external_ips.iter().flatten().map(String::as_str);
    let outside = outside.chain(balancers.filter_map(|it| it.ip.as_deref()));
    let mut held = before.map(|it| it.held.clone()).unwrap_or_default();
    hold(&mut held, addresses(inside.map(String::as_str)), now, (from, from));
    let mut others = before.map(|it| it.outside.clone()).unwrap_or_default();
    // Those are given after the Service was made.
    let since = if before.is_some() { now } else { from };
    hold(&mut others, addresses(outside), now, (since, since));
    let ports = spec.ports.iter().flatten();
    Some(Service {
        uid: it.metadata.uid.clone()?,
        name: it.metadata.name.clone()?,
        namespace: it.metadata.namespace.clone().unwrap_or_default(),
        ports: sorted(ports.clone().filter_map(|it| port(it.port))),
        node_ports: sorted(ports.filter_map(|it| port(it.node_port?))),
        from,
        to: None,
        held,
        outside: others,
    })
}

/// The addresses in a slice. `before` finds what was known of one.
pub(crate) fn endpoints(
    slice: &EndpointSlice,
    before: impl Fn(IpAddr, &str) -> Option<Held>,
    now: i64,
) -> Vec<Endpoint> {
    let Some(uid) = &slice.metadata.uid else { return Vec::new() };
    let labels = slice.metadata.labels.as_ref();
    let Some(service) = labels.and_then(|it| it.get("kubernetes.io/service-name")) else {
        return Vec::new();
    };
    let ports = sorted(slice.ports.iter().flatten().filter_map(|it| port(it.port?)));
    let from = created(&slice.metadata).unwrap_or(now);
    let mut found: Vec<Endpoint> = Vec::new();
    for endpoint in &slice.endpoints {
        let pod = endpoint.target_ref.as_ref().filter(|it| it.kind.as_deref() == Some("Pod"));
        let pod = pod.and_then(|it| it.uid.clone());
        for ip in addresses(endpoint.addresses.iter().map(String::as_str)) {
            // Of a pod, its own times say when the address was what it is here.
            let held = match before(ip, pod.as_deref().unwrap_or_default()) {
                Some(it) if it.to.is_none() || pod.is_some() => Held { to: None, ..it },
                Some(_) => Held::open(ip, now, now),
                None => Held::open(ip, from, from),
            };
            found.push(Endpoint {
                slice: uid.clone(),
                service: service.clone(),
                namespace: slice.metadata.namespace.clone().unwrap_or_default(),
                ports: ports.clone(),
                pod: pod.clone(),
                held,
            });
        }
    }
    found
}

pub(crate) fn node(node: &core::Node, before: Option<&Node>, now: i64) -> Option<Node> {
    let from = created(&node.metadata).unwrap_or(now);
    let ips = node.status.iter().flat_map(|it| it.addresses.iter().flatten());
    let ips = ips.filter(|it| matches!(it.type_.as_str(), "InternalIP" | "ExternalIP"));
    let mut held = before.map(|it| it.held.clone()).unwrap_or_default();
    hold(&mut held, addresses(ips.map(|it| it.address.as_str())), now, (from, from));
    if held.is_empty() {
        return None;
    }
    Some(Node { uid: node.metadata.uid.clone()?, name: node.metadata.name.clone()?, held })
}

/// Its controller. A ReplicaSet's name is its Deployment's and the hash of its template.
pub(crate) fn owner(of: &ObjectMeta, hash: Option<&str>) -> Option<Owner> {
    let controller = |it: &&OwnerReference| it.controller == Some(true);
    let it = of.owner_references.iter().flatten().find(controller)?;
    // A static pod is its node's.
    if it.kind == "Node" {
        return None;
    }
    let above = hash.filter(|_| it.kind == "ReplicaSet");
    let above = above.and_then(|hash| it.name.strip_suffix(hash)?.strip_suffix('-'));
    Some(Owner {
        uid: it.uid.clone(),
        workload: Workload { kind: it.kind.clone(), name: it.name.clone() },
        above: above.map(|name| Workload { kind: "Deployment".to_owned(), name: name.to_owned() }),
    })
}

/// The addresses now: those that are there no more end, and new ones begin; the first of all at `first`.
fn hold(held: &mut Vec<Held>, ips: Vec<IpAddr>, now: i64, first: (i64, i64)) {
    let (from, sure) = if held.is_empty() { first } else { (now, now) };
    for it in held.iter_mut().filter(|it| it.to.is_none() && !ips.contains(&it.ip)) {
        it.close(now);
    }
    for ip in ips {
        if !held.iter().any(|it| it.ip == ip && it.to.is_none()) {
            held.push(Held::open(ip, from, sure));
        }
    }
    let more = held.len().saturating_sub(HELD);
    held.drain(..more);
}

fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    // "None" and "" are no addresses.
    sorted(texts.filter_map(|it| it.parse::<IpAddr>().ok()).map(|it| it.to_canonical()))
}

fn sorted<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.sort();
    all.dedup();
    all
}

fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|it| *it > 0)
}

pub(crate) fn created(of: &ObjectMeta) -> Option<i64> {
    of.creation_timestamp.as_ref().map(time)
}

pub(crate) fn time(it: &Time) -> i64 {
    i64::try_from(it.0.as_nanosecond()).unwrap_or(i64::MAX)
}

const SECOND: i64 = 1_000_000_000;
/// Addresses remembered of one object, with those it had.
const HELD: usize = 32;
