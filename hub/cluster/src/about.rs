//! What objects say besides who has which address: only tables tell it.

use crate::objects::{created, time};
use k8s_openapi::api::core::v1 as core;
use std::collections::BTreeMap;

/// Names and values, as the API has them.
pub(crate) type Labels = BTreeMap<String, String>;

/// What a pod says, as it was last.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodAbout {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) node: Option<String>,
    pub(crate) created: i64,
    pub(crate) phase: String,
    pub(crate) host_network: bool,
    pub(crate) labels: Labels,
}

/// What a Service says, as it was last.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceAbout {
    pub(crate) kind: String,
    /// Such as `80/TCP`.
    pub(crate) ports: Vec<String>,
    /// Likewise, on every node.
    pub(crate) node_ports: Vec<String>,
    pub(crate) selector: Option<Labels>,
    pub(crate) labels: Labels,
}

/// What a node says, as it was last.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeAbout {
    pub(crate) ready: bool,
    pub(crate) labels: Labels,
    pub(crate) os_image: String,
    pub(crate) kernel_version: String,
    pub(crate) container_runtime: String,
    pub(crate) kubelet_version: String,
    pub(crate) architecture: String,
}

/// Something that happened to an object, as often as it did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Happening {
    /// The last time.
    pub(crate) at: i64,
    /// The first time.
    pub(crate) first: i64,
    /// Of the object, not of the event.
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) event_type: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) count: u64,
    pub(crate) component: String,
    pub(crate) node: Option<String>,
}

pub(crate) fn pod(pod: &core::Pod, now: i64) -> PodAbout {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    PodAbout {
        name: pod.metadata.name.clone().unwrap_or_default(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        node: spec.and_then(|it| it.node_name.clone()),
        created: created(&pod.metadata).unwrap_or(now),
        phase: status.and_then(|it| it.phase.clone()).unwrap_or_default(),
        host_network: spec.is_some_and(|it| it.host_network == Some(true)),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
    }
}

pub(crate) fn service(service: &core::Service) -> ServiceAbout {
    let spec = service.spec.as_ref();
    let ports = || spec.into_iter().flat_map(|it| it.ports.iter().flatten());
    let named = |number: i32, it: &core::ServicePort| {
        format!("{number}/{}", it.protocol.as_deref().unwrap_or("TCP"))
    };
    ServiceAbout {
        kind: spec.and_then(|it| it.type_.clone()).unwrap_or_else(|| "ClusterIP".to_owned()),
        ports: ports().map(|it| named(it.port, it)).collect(),
        node_ports: ports().filter_map(|it| Some(named(it.node_port?, it))).collect(),
        selector: spec.and_then(|it| it.selector.clone()),
        labels: service.metadata.labels.clone().unwrap_or_default(),
    }
}

pub(crate) fn node(node: &core::Node) -> NodeAbout {
    let status = node.status.as_ref();
    let mut conditions = status.into_iter().flat_map(|it| it.conditions.iter().flatten());
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let ready = conditions.any(|it| it.type_ == "Ready" && it.status == "True");
    let Some(info) = status.and_then(|it| it.node_info.as_ref()) else {
        return NodeAbout { ready, labels, ..NodeAbout::default() };
    };
    NodeAbout {
        ready,
        labels,
        os_image: info.os_image.clone(),
        kernel_version: info.kernel_version.clone(),
        container_runtime: info.container_runtime_version.clone(),
        kubelet_version: info.kubelet_version.clone(),
        architecture: info.architecture.clone(),
    }
}

/// `None` if it doesn't say when. Whoever may make objects may make events: none is kept longer than others.
pub(crate) fn happening(event: &core::Event, now: i64) -> Option<Happening> {
    let series = event.series.as_ref();
    let once = event.event_time.as_ref().map(|it| nanos(&it.0));
    let observed = series.and_then(|it| it.last_observed_time.as_ref()).map(|it| nanos(&it.0));
    let last = observed.or_else(|| event.last_timestamp.as_ref().map(time)).or(once);
    let first = event.first_timestamp.as_ref().map(time).or(once);
    let at = last.or(first).or_else(|| created(&event.metadata))?.min(now);
    let count = series.and_then(|it| it.count).or(event.count).unwrap_or(1);
    let source = event.source.as_ref();
    let component = event.reporting_component.as_ref().filter(|it| !it.is_empty());
    let component = component.or_else(|| source?.component.as_ref());
    let it = &event.involved_object;
    Some(Happening {
        at,
        first: first.unwrap_or(at).min(at),
        uid: short(it.uid.as_ref()),
        namespace: short(it.namespace.as_ref()),
        kind: short(it.kind.as_ref()),
        name: short(it.name.as_ref()),
        event_type: short(event.type_.as_ref()),
        reason: short(event.reason.as_ref()),
        message: short(event.message.as_ref()),
        count: u64::try_from(count).unwrap_or(1).max(1),
        component: short(component),
        node: source
            .and_then(|it| it.host.as_ref())
            .filter(|it| !it.is_empty())
            .map(|it| short(Some(it))),
    })
}

fn nanos(it: &k8s_openapi::jiff::Timestamp) -> i64 {
    i64::try_from(it.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The text, or its beginning.
fn short(text: Option<&String>) -> String {
    let Some(text) = text else { return String::new() };
    text.get(..text.floor_char_boundary(TEXT)).unwrap_or(text).to_owned()
}

/// What the API server allows for the message of a new event.
const TEXT: usize = 1024;
