//! What was seen of the cluster, as tables.
//!
//! Their rows are made of what is known at the moment at which they are asked for: what has not ended
//! yet is without an end.

use crate::{
    about::{Happening, Labels, NodeAbout, PodAbout, ServiceAbout},
    facts::Facts,
};
use arrow_array::RecordBatch;
use identity::{Held, Key, Of, Pod};
use schema::{
    Record, Table,
    value::{Address, Columns, Id, Json, Label, Texts, Time},
};
use std::{borrow::Cow, collections::HashMap, net::IpAddr, sync::LazyLock};

/// A pod at one of its addresses, from when to when it had it; no two have one address at a time, but for
/// those on their node's network. Known by the Hub of a cluster, since it began to watch: what is gone for a week at most.
#[derive(Record)]
pub(crate) struct Pods<'a> {
    /// Since when it has the address; if it has none yet, when it was made.
    valid_from: Time,
    /// Since when it has it no more, because it ended, is gone, or has another one; null as long as it has it.
    valid_to: Option<Time>,
    /// The address (OpenTelemetry `k8s.pod.ip`); null as long as it has none.
    ip: Option<Address<'a>>,
    /// Its name (OpenTelemetry `k8s.pod.name`).
    name: Label<'a>,
    /// Its namespace (OpenTelemetry `k8s.namespace.name`).
    namespace: Label<'a>,
    /// The node that it runs on (OpenTelemetry `k8s.node.name`).
    node: Option<Label<'a>>,
    /// The name of what it is a part of (OpenTelemetry `k8s.deployment.name`, `k8s.job.name` and so on).
    workload: Option<Label<'a>>,
    /// The kind of that, such as `Deployment`.
    workload_kind: Option<Label<'a>>,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`, as it was last (OpenTelemetry `k8s.pod.status.phase`).
    phase: Label<'a>,
    /// Its addresses are its node's.
    host_network: bool,
    /// Its traffic is kept: it is among what was targeted.
    tapped: bool,
    /// The ports that its containers declare.
    ports: Texts<'a>,
    /// Its labels, as they were last (OpenTelemetry `k8s.pod.label`).
    labels: Json<'a>,
    /// Names it for ever (OpenTelemetry `k8s.pod.uid`).
    uid: Id<'a>,
}

/// A Service at one of its addresses, from when to when it had it. Known like `pods`.
#[derive(Record)]
pub(crate) struct Services<'a> {
    /// Since when it has the address; if it has none, when it was made.
    valid_from: Time,
    /// Since when it has it no more, or is gone; null as long as it has it.
    valid_to: Option<Time>,
    /// The address; null of a headless Service.
    ip: Option<Address<'a>>,
    /// Its name.
    name: Label<'a>,
    /// Its namespace (OpenTelemetry `k8s.namespace.name`).
    namespace: Label<'a>,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    service_type: Label<'a>,
    /// The address is a load balancer's, or one given for others than the cluster: it has it for its ports only.
    external: bool,
    /// Its ports, such as `80/TCP`.
    ports: Texts<'a>,
    /// Its ports on every node, such as `30080/TCP`.
    node_ports: Texts<'a>,
    /// The labels of the pods behind it; null if it has no selector.
    selector: Option<Json<'a>>,
    /// Its labels, as they were last.
    labels: Json<'a>,
    /// Names it for ever.
    uid: Id<'a>,
}

/// A node of the cluster at one of its addresses, from when to when it had it. Known like `pods`.
#[derive(Record)]
pub(crate) struct Nodes<'a> {
    /// Since when it has the address.
    valid_from: Time,
    /// Since when it has it no more, or is gone; null as long as it has it.
    valid_to: Option<Time>,
    /// The address.
    ip: Option<Address<'a>>,
    /// Its name (OpenTelemetry `k8s.node.name`).
    name: Label<'a>,
    /// It takes pods, as it said last.
    ready: bool,
    /// Its operating system (OpenTelemetry `os.description`).
    os_image: Option<Label<'a>>,
    /// Its kernel.
    kernel_version: Option<Label<'a>>,
    /// What runs its containers, and which version.
    container_runtime: Option<Label<'a>>,
    /// The version of its kubelet.
    kubelet_version: Option<Label<'a>>,
    /// Its processors', such as `arm64` (OpenTelemetry `host.arch`).
    architecture: Option<Label<'a>>,
    /// Its labels, as they were last.
    labels: Json<'a>,
    /// Names it for ever (OpenTelemetry `k8s.node.uid`).
    uid: Id<'a>,
}

/// What happened to objects of the cluster, as Kubernetes tells: what happened again is one row, with how
/// often it did. Known like `pods`.
#[derive(Record)]
pub(crate) struct Events<'a> {
    /// When it happened last.
    ts: Time,
    /// When it happened first.
    first_seen: Time,
    /// `Normal` or `Warning`.
    event_type: Label<'a>,
    /// Why, in a word such as `BackOff`.
    reason: Label<'a>,
    /// What happened, in a sentence.
    message: Cow<'a, str>,
    /// How often.
    count: u64,
    /// The kind of the object, such as `Pod`.
    kind: Label<'a>,
    /// The object's name.
    name: Label<'a>,
    /// The object's namespace; null if it is in none.
    namespace: Option<Label<'a>>,
    /// Who told, such as `kubelet`.
    component: Option<Label<'a>>,
    /// The node from which it was told, if it was from one.
    node: Option<Label<'a>>,
    /// The object's uid, by which it is in `pods`, `services` or `nodes`.
    uid: Option<Id<'a>>,
}

/// The tables that a Hub has of its cluster.
#[must_use]
pub fn tables() -> &'static [Table] {
    static TABLES: LazyLock<[Table; 4]> = LazyLock::new(|| {
        [PodsColumns::TABLE, ServicesColumns::TABLE, NodesColumns::TABLE, EventsColumns::TABLE]
    });
    TABLES.as_slice()
}

/// All rows of one of them; nothing if it is none of them.
pub(crate) fn rows(table: &str, facts: &Facts) -> Option<RecordBatch> {
    match table {
        "pods" => finish(pods(facts)),
        "services" => finish(services(facts)),
        "nodes" => finish(nodes(facts)),
        "events" => finish(events(facts)),
        _ => None,
    }
}

fn finish<C: Columns>(mut columns: C) -> Option<RecordBatch> {
    RecordBatch::try_new(C::TABLE.arrow(), columns.finish()).ok()
}

fn pods(facts: &Facts) -> PodsColumns {
    let known = facts.all().filter_map(|(key, fact)| match &fact.of {
        Of::Pod(it) => Some((key, it)),
        _ => None,
    });
    let mut spans = Vec::new();
    let mut columns = PodsColumns::default();
    let nobody = PodAbout::default();
    for (key, pod) in known {
        let about = facts.pods.get(key).unwrap_or(&nobody);
        spans.extend(pod.held.iter().map(|it| Span { held: *it, pod, about }));
    }
    apart(&mut spans);
    for Span { held, pod, about } in &spans {
        columns.push(Pods {
            valid_from: Time(held.from),
            valid_to: held.to.map(Time),
            ip: Some(Address(&held.ip.to_string())),
            workload: pod.workload.as_ref().map(|it| it.name.as_str().into()),
            workload_kind: pod.workload.as_ref().map(|it| it.kind.as_str().into()),
            tapped: !pod.left_out,
            ports: Texts(pod.ports.iter().map(|it| it.to_string().into()).collect()),
            ..about.row(&pod.uid)
        });
    }
    for (key, about) in &facts.pods {
        if let Key::Pod(uid) = key
            && !facts.knows(key)
        {
            columns.push(about.row(uid));
        }
    }
    columns
}

impl PodAbout {
    /// Without an address.
    fn row<'a>(&'a self, uid: &'a str) -> Pods<'a> {
        Pods {
            valid_from: Time(self.created),
            valid_to: None,
            ip: None,
            name: self.name.as_str().into(),
            namespace: self.namespace.as_str().into(),
            node: self.node.as_deref().map(Label::from),
            workload: None,
            workload_kind: None,
            phase: self.phase.as_str().into(),
            host_network: self.host_network,
            tapped: false,
            ports: Texts::default(),
            labels: Json(json(&self.labels).into()),
            uid: Id(uid),
        }
    }
}

/// A pod at an address.
struct Span<'a> {
    held: Held,
    pod: &'a Pod,
    about: &'a PodAbout,
}

/// Gives every address one holder at a time: the API server tells seconds, and some things late, so that
/// the next may seem to have come before the last had gone. Nobody was certainly the one before `sure`.
fn apart(spans: &mut [Span<'_>]) {
    spans.sort_by_key(|it| (it.held.ip, it.held.from, it.held.sure));
    let mut last: HashMap<IpAddr, usize> = HashMap::new();
    for i in 0..spans.len() {
        let Some(Span { held: next, pod, .. }) = spans.get(i) else { continue };
        if pod.host_network {
            continue;
        }
        let next = *next;
        let before = last.insert(next.ip, i);
        let Some(before) = before.and_then(|it| spans.get_mut(it)) else { continue };
        if before.held.to.is_some_and(|it| it <= next.from) {
            continue;
        }
        let sure = next.sure.max(next.from);
        let change = before.held.to.unwrap_or(sure).clamp(next.from, sure).max(before.held.from);
        before.held.to = Some(change);
        if let Some(it) = spans.get_mut(i) {
            it.held.from = change;
            it.held.to = it.held.to.map(|to| to.max(change));
        }
    }
}

fn services(facts: &Facts) -> ServicesColumns {
    let mut columns = ServicesColumns::default();
    let nothing = ServiceAbout::default();
    for (key, fact) in facts.all() {
        let Of::Service(service) = &fact.of else { continue };
        let about = facts.services.get(key).unwrap_or(&nothing);
        let inside = service.held.iter().map(|it| (it, false));
        let held = inside.chain(service.outside.iter().map(|it| (it, true)));
        let held = held.map(|(it, external)| (Some(it.ip.to_string()), it.from, it.to, external));
        let mut held: Vec<_> = held.collect();
        if held.is_empty() {
            held.push((None, service.from, service.to, false));
        }
        for (ip, from, to, external) in held {
            columns.push(Services {
                valid_from: Time(from),
                valid_to: to.map(Time),
                ip: ip.as_deref().map(Address),
                name: service.name.as_str().into(),
                namespace: service.namespace.as_str().into(),
                service_type: about.kind.as_str().into(),
                external,
                ports: texts(&about.ports),
                node_ports: texts(&about.node_ports),
                selector: about.selector.as_ref().map(|it| Json(json(it).into())),
                labels: Json(json(&about.labels).into()),
                uid: Id(&service.uid),
            });
        }
    }
    columns
}

fn nodes(facts: &Facts) -> NodesColumns {
    let mut columns = NodesColumns::default();
    let nothing = NodeAbout::default();
    for (key, fact) in facts.all() {
        let Of::Node(node) = &fact.of else { continue };
        let about = facts.nodes.get(key).unwrap_or(&nothing);
        for it in &node.held {
            columns.push(Nodes {
                valid_from: Time(it.from),
                valid_to: it.to.map(Time),
                ip: Some(Address(&it.ip.to_string())),
                name: node.name.as_str().into(),
                ready: about.ready,
                os_image: some(&about.os_image),
                kernel_version: some(&about.kernel_version),
                container_runtime: some(&about.container_runtime),
                kubelet_version: some(&about.kubelet_version),
                architecture: some(&about.architecture),
                labels: Json(json(&about.labels).into()),
                uid: Id(&node.uid),
            });
        }
    }
    columns
}

fn events(facts: &Facts) -> EventsColumns {
    let mut columns = EventsColumns::default();
    for it in facts.events.iter() {
        let Happening { at, first, count, .. } = it;
        columns.push(Events {
            ts: Time(*at),
            first_seen: Time(*first),
            event_type: it.event_type.as_str().into(),
            reason: it.reason.as_str().into(),
            message: it.message.as_str().into(),
            count: *count,
            kind: it.kind.as_str().into(),
            name: it.name.as_str().into(),
            namespace: some(&it.namespace),
            component: some(&it.component),
            node: it.node.as_deref().map(Label::from),
            uid: (!it.uid.is_empty()).then_some(Id(&it.uid)),
        });
    }
    columns
}

fn some(text: &str) -> Option<Label<'_>> {
    (!text.is_empty()).then(|| text.into())
}

fn texts(all: &[String]) -> Texts<'_> {
    Texts(all.iter().map(|it| it.as_str().into()).collect())
}

fn json(labels: &Labels) -> String {
    serde_json::to_string(labels).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_times_overlap_follow_each_other() {
        let ip: IpAddr = [10, 0, 0, 1].into();
        let about = PodAbout::default();
        let pod = |host_network| Pod {
            uid: String::new(),
            name: String::new(),
            namespace: String::new(),
            node: None,
            workload: None,
            host_network,
            left_out: false,
            ports: Vec::new(),
            held: Vec::new(),
        };
        let told = |held: &[(i64, i64, Option<i64>)], host: bool| {
            let pod = pod(host);
            let held = held.iter().map(|&(from, sure, to)| Held { ip, from, sure, to });
            let mut spans: Vec<_> =
                held.map(|held| Span { held, pod: &pod, about: &about }).collect();
            apart(&mut spans);
            spans.iter().map(|it| (it.held.from, it.held.to)).collect::<Vec<_>>()
        };
        // It had gone before: nothing changes.
        assert_eq!(told(&[(1, 2, Some(5)), (6, 7, None)], false), [(1, Some(5)), (6, None)]);
        // It went while the next one came.
        assert_eq!(told(&[(1, 2, Some(9)), (6, 12, None)], false), [(1, Some(9)), (9, None)]);
        // Its end was heard late, or not at all: the next one had it certainly.
        assert_eq!(told(&[(1, 2, Some(20)), (6, 12, None)], false), [(1, Some(12)), (12, None)]);
        assert_eq!(told(&[(1, 2, None), (6, 12, None)], false), [(1, Some(12)), (12, None)]);
        // Three at once.
        let three = told(&[(1, 9, None), (2, 5, None), (3, 4, Some(6))], false);
        assert!(three.windows(2).all(|it| it[0].1 <= Some(it[1].0)), "{three:?}");
        // A node's address is many pods'.
        assert_eq!(told(&[(1, 2, None), (6, 12, None)], true), [(1, None), (6, None)]);
    }
}
