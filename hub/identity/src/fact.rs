//! What is known of the cluster, as the Hub tells it.

use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};

/// What is known of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When this became known. Of two facts about one object the later holds, in whatever order they come.
    pub at: i64,
    /// What it is about.
    pub of: Of,
}

/// What a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// A pod.
    Pod(Pod),
    /// A Service.
    Service(Service),
    /// One address behind a Service.
    Endpoint(Endpoint),
    /// A node.
    Node(Node),
}

/// Names the object that a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A pod, by its uid.
    Pod(Arc<str>),
    /// A Service, by its uid.
    Service(Arc<str>),
    /// An address in an EndpointSlice, by the slice's uid, and its pod's if it has one.
    Endpoint(Arc<str>, IpAddr, Arc<str>),
    /// A node, by its uid.
    Node(Arc<str>),
}

/// An address somebody has, and from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The address.
    pub ip: IpAddr,
    /// It was not its own before.
    pub from: i64,
    /// It certainly was its own from then on: the API server tells seconds, and some things late. In
    /// between it was, if nobody else had it.
    pub sure: i64,
    /// It is no more from then on; open as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its uid: a name is given again.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Its addresses are its node's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// Its traffic is not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// The ports that its containers declare.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Its addresses.
    pub held: Vec<Held>,
}

/// What a pod is a part of: a Deployment, StatefulSet, DaemonSet, Job or CronJob, or whatever else made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Its ports on every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_ports: Vec<u16>,
    /// From when to when it was there.
    pub from: i64,
    /// See `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Its addresses in the cluster, which nothing else has.
    pub held: Vec<Held>,
    /// Its addresses for others, a load balancer's or a node's: it has them for its ports only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Held>,
}

/// One address behind a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The uid of the EndpointSlice that has it.
    pub slice: String,
    /// The Service's name.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The ports behind the Service.
    pub ports: Vec<u16>,
    /// The uid of the pod that it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The address.
    pub held: Held,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub held: Vec<Held>,
}

/// What a Hub tells a Worker: all it knows, in pieces, and from then on what changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Here begins all it knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// Here it ends: an object that was not named since is gone, and was by this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<i64>,
    /// What is known.
    pub facts: Vec<Fact>,
    /// Only the traffic of pods is kept that are not left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub targeted: bool,
    /// Since when changes may be missing, if they may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<i64>,
}

impl Fact {
    /// The object.
    #[must_use]
    pub fn key(&self) -> Key {
        match &self.of {
            Of::Pod(it) => Key::Pod(it.uid.as_str().into()),
            Of::Service(it) => Key::Service(it.uid.as_str().into()),
            Of::Endpoint(it) => {
                let pod = it.pod.as_deref().unwrap_or_default();
                Key::Endpoint(it.slice.as_str().into(), it.held.ip, pod.into())
            }
            Of::Node(it) => Key::Node(it.uid.as_str().into()),
        }
    }

    /// Since when the object is gone; nothing if it is there.
    #[must_use]
    pub fn gone(&self) -> Option<i64> {
        let held = |held: &[Held]| {
            let ends = held.iter().map(|it| it.to).collect::<Option<Vec<_>>>();
            ends.map(|it| it.into_iter().max().unwrap_or(self.at))
        };
        match &self.of {
            Of::Pod(it) => held(&it.held),
            Of::Service(it) => it.to,
            Of::Endpoint(it) => it.held.to,
            Of::Node(it) => held(&it.held),
        }
    }

    /// The object is gone, and was by then.
    pub fn close(&mut self, at: i64) {
        let close = |held: &mut [Held]| {
            for it in held {
                it.close(at);
            }
        };
        match &mut self.of {
            Of::Pod(it) => close(&mut it.held),
            Of::Service(it) => {
                it.to = Some(it.to.map_or(at, |to| to.min(at)));
                close(&mut it.held);
                close(&mut it.outside);
            }
            Of::Endpoint(it) => it.held.close(at),
            Of::Node(it) => close(&mut it.held),
        }
        self.at = self.at.max(at);
    }
}

impl Held {
    /// An address that was its own at a time at the latest, and not before another.
    #[must_use]
    pub const fn open(ip: IpAddr, from: i64, sure: i64) -> Self {
        Self { ip, from, sure, to: None }
    }

    /// It ended then, if not before.
    pub fn close(&mut self, at: i64) {
        self.to = Some(self.to.map_or(at, |to| to.min(at)));
    }

    pub(crate) fn spans(&self, ts: i64) -> bool {
        self.from <= ts && self.to.is_none_or(|to| ts < to)
    }
}
