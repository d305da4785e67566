//! What is known of the cluster, and in what order it became known.

use crate::{
    Candidate, Kind, Matcher,
    about::{self, NodeAbout, PodAbout, ServiceAbout},
    events::Events,
    objects::{self, Owner, Seen},
    targeting::Meant,
};
use identity::{Fact, Key, Of, Pod, Workload};
use k8s_openapi::api::{core::v1 as core, discovery::v1::EndpointSlice};
use kube::core::ObjectMeta;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

/// One fact for each object, those that went lately included.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    all: HashMap<Key, Fact>,
    /// Every fact by when it became known: who has heard all up to a time is told what comes after it.
    order: BTreeMap<i64, Key>,
    /// Objects that are gone, by when.
    gone: BTreeSet<(i64, Key)>,
    /// ReplicaSets and Jobs, by uid, and who controls each.
    owners: HashMap<String, (Kind, Option<Owner>)>,
    /// Who controls each pod.
    owned: HashMap<Key, Owner>,
    /// What pods say besides, also those that have no address yet.
    pub(crate) pods: HashMap<Key, PodAbout>,
    /// What Services say besides.
    pub(crate) services: HashMap<Key, ServiceAbout>,
    /// What nodes say besides.
    pub(crate) nodes: HashMap<Key, NodeAbout>,
    /// What happened.
    pub(crate) events: Events,
    /// Objects that were gone and are not known any more.
    forgotten: u64,
    /// Whose traffic is kept, if not everybody's.
    targeting: Option<Matcher>,
    /// The facts of each slice, by uid.
    slices: HashMap<String, HashSet<Key>>,
    /// What a list that is under way has named.
    listed: HashMap<Kind, HashSet<String>>,
    last: i64,
}

/// How many objects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pods: usize,
    pub(crate) tapped: usize,
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    pub(crate) nodes: usize,
    pub(crate) gone: usize,
    pub(crate) forgotten: u64,
    pub(crate) events: usize,
    pub(crate) forgotten_events: u64,
}

impl Facts {
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts {
            gone: self.gone.len(),
            forgotten: self.forgotten,
            events: self.events.len(),
            forgotten_events: self.events.forgotten(),
            ..Counts::default()
        };
        for fact in self.all.values().filter(|it| it.gone().is_none()) {
            match &fact.of {
                Of::Pod(pod) => {
                    counts.pods += 1;
                    counts.tapped += usize::from(!pod.left_out);
                }
                Of::Service(_) => counts.services += 1,
                Of::Endpoint(_) => counts.endpoints += 1,
                Of::Node(_) => counts.nodes += 1,
            }
        }
        counts
    }

    /// Every object.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Fact)> {
        self.all.iter()
    }

    /// Whether that object has an address or had one.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.all.contains_key(key)
    }

    /// Differs once there is something to tell that was not known before.
    pub(crate) const fn told(&self) -> (i64, bool) {
        (self.last, self.is_targeted())
    }

    pub(crate) fn event(&mut self, event: &core::Event, now: i64) {
        if let (Some(uid), Some(it)) = (&event.metadata.uid, about::happening(event, now)) {
            self.events.put(uid, it);
        }
    }

    /// Lets go of what was too long ago, or is too much.
    pub(crate) fn forget(&mut self, now: i64) {
        let since = now.saturating_sub(KEPT);
        self.events.forget(since);
        while self.gone.len() > GONE || self.gone.first().is_some_and(|it| it.0 < since) {
            let Some((_, oldest)) = self.gone.pop_first() else { break };
            self.forgotten += 1;
            self.pods.remove(&oldest);
            self.services.remove(&oldest);
            self.nodes.remove(&oldest);
            if let Some(fact) = self.all.remove(&oldest) {
                self.order.remove(&fact.at);
            }
        }
    }

    /// The first facts, at most so many, that became known after a time.
    pub(crate) fn since(&self, at: i64, most: usize) -> Vec<Fact> {
        let after = (std::ops::Bound::Excluded(at), std::ops::Bound::Unbounded);
        let keys = self.order.range(after).take(most);
        keys.filter_map(|(_, key)| self.all.get(key).cloned()).collect()
    }

    /// A list begins: what it doesn't name is gone.
    pub(crate) fn list(&mut self, kind: Kind) {
        self.listed.insert(kind, HashSet::new());
    }

    /// A list has ended.
    pub(crate) fn listed(&mut self, kind: Kind, now: i64) {
        let Some(named) = self.listed.remove(&kind) else { return };
        if matches!(kind, Kind::ReplicaSets | Kind::Jobs) {
            self.owners.retain(|uid, it| it.0 != kind || named.contains(uid));
            return;
        }
        let left = |fact: &&Fact| {
            fact.gone().is_none() && kind_of(fact) == kind && !named.contains(uid_of(fact))
        };
        let left: Vec<Key> = self.all.values().filter(left).map(Fact::key).collect();
        left.iter().for_each(|key| self.close(key, now));
        if kind == Kind::Pods {
            // Those that never had an address.
            let all = &self.all;
            self.pods.retain(|key, _| match key {
                Key::Pod(uid) => all.contains_key(key) || named.contains(uid.as_ref()),
                _ => false,
            });
        }
    }

    fn name(&mut self, kind: Kind, meta: &ObjectMeta) {
        if let (Some(listed), Some(uid)) = (self.listed.get_mut(&kind), &meta.uid) {
            listed.insert(uid.clone());
        }
    }

    pub(crate) fn pod(&mut self, pod: &core::Pod, now: i64) {
        self.name(Kind::Pods, &pod.metadata);
        let Some(uid) = &pod.metadata.uid else { return };
        let key = Key::Pod(uid.as_str().into());
        let before = self.all.get(&key).and_then(|it| match &it.of {
            Of::Pod(it) => Some(it),
            _ => None,
        });
        let about = about::pod(pod, now);
        let Some(Seen { mut pod, owner }) = objects::pod(pod, before, now) else {
            self.pods.insert(key, about);
            return;
        };
        pod.left_out = self.leaves_out(&pod, &about.labels);
        self.pods.insert(key.clone(), about);
        if let Some(owner) = owner {
            if let Some(workload) = self.workload(&owner, pod.workload.as_ref()) {
                pod.workload = Some(workload);
            }
            self.owned.insert(key, owner);
        }
        self.put(Of::Pod(pod), now);
    }

    /// Whether only some pods' traffic is kept.
    pub(crate) const fn is_targeted(&self) -> bool {
        self.targeting.is_some()
    }

    /// Keeps the traffic of those pods from now on.
    pub(crate) fn target(&mut self, matcher: Matcher, now: i64) {
        self.targeting = (!matcher.is_all()).then_some(matcher);
        let pods = self.all.iter().filter_map(|(key, fact)| match &fact.of {
            Of::Pod(pod) if fact.gone().is_none() => {
                let left_out = self.leaves_out(pod, &self.pods.get(key)?.labels);
                (left_out != pod.left_out).then(|| Pod { left_out, ..pod.clone() })
            }
            _ => None,
        });
        for pod in pods.collect::<Vec<_>>() {
            self.put(Of::Pod(pod), now);
        }
    }

    /// What a choice means for each pod that has an address, in the order of their names.
    pub(crate) fn meant(&self, matcher: &Matcher) -> Vec<Meant> {
        let pods = self.all.iter().filter_map(|(key, fact)| match &fact.of {
            Of::Pod(pod) if fact.gone().is_none() => {
                let Pod { name, namespace, node, .. } = pod;
                let labels = &self.pods.get(key)?.labels;
                let candidate = Candidate { name, namespace, labels, node: node.as_deref() };
                Some(Meant {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    node: node.clone(),
                    // Without a choice, nothing is left out.
                    against: match matcher.is_all() {
                        true => Vec::new(),
                        false => matcher.against(&candidate),
                    },
                })
            }
            _ => None,
        });
        let mut pods: Vec<_> = pods.collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        pods
    }

    fn leaves_out(&self, pod: &Pod, labels: &BTreeMap<String, String>) -> bool {
        let Pod { name, namespace, node, .. } = pod;
        let candidate = Candidate { name, namespace, labels, node: node.as_deref() };
        self.targeting.as_ref().is_some_and(|it| !it.against(&candidate).is_empty())
    }

    /// What a pod of this owner is a part of.
    fn workload(&self, owner: &Owner, before: Option<&Workload>) -> Option<Workload> {
        match self.owners.get(&owner.uid) {
            Some((_, Some(above))) => Some(above.workload.clone()),
            Some((_, None)) => Some(owner.workload.clone()),
            // Not heard of yet, or no more.
            None if before.is_some() => None,
            None => Some(owner.above.clone().unwrap_or_else(|| owner.workload.clone())),
        }
    }

    /// A ReplicaSet or a Job.
    pub(crate) fn owner(&mut self, kind: Kind, meta: &ObjectMeta, now: i64) {
        self.name(kind, meta);
        let Some(uid) = &meta.uid else { return };
        let it = (kind, objects::owner(meta, None));
        if self.owners.get(uid) == Some(&it) {
            return;
        }
        self.owners.insert(uid.clone(), it);
        let pods = self.owned.iter().filter(|(_, owner)| owner.uid == *uid);
        let pods = pods.filter_map(|(key, owner)| match &self.all.get(key)?.of {
            Of::Pod(pod) => Some(Pod { workload: self.workload(owner, None), ..pod.clone() }),
            _ => None,
        });
        let pods: Vec<Pod> = pods.collect();
        for pod in pods {
            self.put(Of::Pod(pod), now);
        }
    }

    pub(crate) fn no_owner(&mut self, meta: &ObjectMeta) {
        if let Some(uid) = &meta.uid {
            self.owners.remove(uid);
        }
    }

    pub(crate) fn service(&mut self, service: &core::Service, now: i64) {
        self.name(Kind::Services, &service.metadata);
        let Some(uid) = &service.metadata.uid else { return };
        let key = Key::Service(uid.as_str().into());
        let before = self.all.get(&key).and_then(|it| match &it.of {
            Of::Service(it) => Some(it),
            _ => None,
        });
        let about = about::service(service);
        if let Some(service) = objects::service(service, before, now) {
            self.services.insert(key, about);
            self.put(Of::Service(service), now);
        }
    }

    pub(crate) fn node(&mut self, node: &core::Node, now: i64) {
        self.name(Kind::Nodes, &node.metadata);
        let Some(uid) = &node.metadata.uid else { return };
        let key = Key::Node(uid.as_str().into());
        let before = self.all.get(&key).and_then(|it| match &it.of {
            Of::Node(it) => Some(it),
            _ => None,
        });
        let about = about::node(node);
        if let Some(node) = objects::node(node, before, now) {
            self.nodes.insert(key, about);
            self.put(Of::Node(node), now);
        }
    }

    pub(crate) fn slice(&mut self, slice: &EndpointSlice, now: i64) {
        self.name(Kind::Endpoints, &slice.metadata);
        let Some(uid) = &slice.metadata.uid else { return };
        let before = |ip: IpAddr, pod: &str| {
            let key = Key::Endpoint(uid.as_str().into(), ip, pod.into());
            match &self.all.get(&key)?.of {
                Of::Endpoint(it) => Some(it.held),
                _ => None,
            }
        };
        let mut left = self.slices.get(uid).cloned().unwrap_or_default();
        for endpoint in objects::endpoints(slice, before, now) {
            let key = self.put(Of::Endpoint(endpoint), now);
            left.remove(&key);
            self.slices.entry(uid.clone()).or_default().insert(key);
        }
        left.iter().for_each(|key| self.close(key, now));
    }

    pub(crate) fn no_slice(&mut self, meta: &ObjectMeta, now: i64) {
        let keys = meta.uid.as_ref().and_then(|uid| self.slices.remove(uid));
        keys.into_iter().flatten().for_each(|key| self.close(&key, now));
    }

    pub(crate) fn close(&mut self, key: &Key, now: i64) {
        if !self.knows(key) {
            // A pod that never had an address.
            self.pods.remove(key);
        }
        let Some(mut fact) = self.all.get(key).filter(|it| it.gone().is_none()).cloned() else {
            return;
        };
        fact.close(now);
        self.put(fact.of, now);
    }

    /// Takes what an object is now, if that is something else than before.
    fn put(&mut self, of: Of, now: i64) -> Key {
        let at = now.max(self.last.saturating_add(1));
        let fact = Fact { at, of };
        let key = fact.key();
        if let Some(before) = self.all.get(&key) {
            if before.of == fact.of {
                return key;
            }
            self.order.remove(&before.at);
            if let Some(at) = before.gone() {
                self.gone.remove(&(at, key.clone()));
            }
        }
        self.last = at;
        self.order.insert(at, key.clone());
        if let Some(at) = fact.gone() {
            self.gone.insert((at, key.clone()));
            self.owned.remove(&key);
            if let Of::Endpoint(it) = &fact.of
                && let Some(keys) = self.slices.get_mut(&it.slice)
            {
                keys.remove(&key);
            }
        }
        self.all.insert(key.clone(), fact);
        key
    }
}

fn kind_of(fact: &Fact) -> Kind {
    match &fact.of {
        Of::Pod(_) => Kind::Pods,
        Of::Service(_) => Kind::Services,
        Of::Endpoint(_) => Kind::Endpoints,
        Of::Node(_) => Kind::Nodes,
    }
}

fn uid_of(fact: &Fact) -> &str {
    match &fact.of {
        Of::Pod(it) => &it.uid,
        Of::Service(it) => &it.uid,
        Of::Endpoint(it) => &it.slice,
        Of::Node(it) => &it.uid,
    }
}

/// Objects that are gone and still told to whoever comes: enough for what was captured in the minutes
/// before, few enough to be told to a thousand Workers.
const GONE: usize = 20_000;
/// How long what is gone, and what happened, is known at most, in nanoseconds: a week.
const KEPT: i64 = 7 * 24 * 3_600 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_gone_for_a_week_or_is_too_much_is_forgotten_and_counted() {
        let mut facts = Facts::default();
        let pod = |facts: &mut Facts, n: i64| {
            let pod = json!({"metadata": {"uid": format!("u{n}"), "name": format!("p{n}"), "labels": {"a": "b"}},
                "spec": {"containers": []}, "status": {"phase": "Running", "podIP": "10.0.0.1"}});
            facts.pod(&serde_json::from_value(pod).unwrap(), n);
            facts.close(&Key::Pod(format!("u{n}").into()), n + 1);
            facts.forget(n + 1);
        };
        pod(&mut facts, 1);
        pod(&mut facts, 2);
        assert_eq!((facts.counts().gone, facts.counts().forgotten), (2, 0));
        pod(&mut facts, 2 + KEPT);
        assert_eq!((facts.counts().gone, facts.counts().forgotten), (2, 1));
        facts.forget(i64::MAX);
        assert_eq!((facts.counts().gone, facts.counts().forgotten), (0, 3));
        let many = i64::try_from(GONE).unwrap() + 10;
        for n in 0..many {
            pod(&mut facts, n);
        }
        assert_eq!((facts.counts().gone, facts.counts().forgotten), (GONE, 13));
        assert_eq!((facts.all.len(), facts.order.len(), facts.pods.len()), (GONE, GONE, GONE));
    }
}
