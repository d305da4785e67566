//! Facts, found by address, port and time.

use crate::{Fact, Held, Key, Of, Pod, Update};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

/// Who had an address at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The pod.
    pub pod: Option<Arc<str>>,
    /// Its namespace, or the Service's if there is no pod.
    pub namespace: Option<Arc<str>>,
    /// The name of what the pod is a part of.
    pub workload: Option<Arc<str>>,
    /// The node.
    pub node: Option<Arc<str>>,
    /// The Service that is asked at this address and port.
    pub service: Option<Arc<str>>,
    /// A Service in front of the pod, whatever the port.
    pub front: Option<Arc<str>>,
}

/// Who had an address, and for which time that is the answer as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Nobody, if it isn't known, or not for sure.
    pub who: Option<Arc<Who>>,
    /// From then on.
    pub from: i64,
    /// Until before then.
    pub until: i64,
}

/// What an index holds, and what it has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Objects it knows.
    pub facts: usize,
    /// Those that are gone.
    pub gone: usize,
    /// Objects long gone that it forgot, to have room for others.
    pub forgotten: u64,
    /// Facts that it refused: there was no room, or they make no sense.
    pub refused: u64,
}

/// Facts, found by address, port and time.
#[derive(Debug)]
pub struct Index {
    limit: usize,
    entries: HashMap<Key, Entry>,
    by_ip: HashMap<IpAddr, Vec<Key>>,
    by_node_port: HashMap<u16, Vec<Key>>,
    /// Objects that are gone, by when.
    gone: BTreeSet<(i64, Key)>,
    /// What was named since the beginning of all that a Hub knows, until its end.
    named: Option<HashSet<Key>>,
    /// Only the traffic of pods is kept that are not left out.
    targeted: bool,
    version: u64,
    counters: Counters,
}

/// A fact with its texts in a form that costs nothing to hand out.
#[derive(Debug)]
struct Entry {
    fact: Fact,
    name: Arc<str>,
    namespace: Arc<str>,
    workload: Option<Arc<str>>,
    node: Option<Arc<str>>,
}

/// The time around a moment in which no fact begins or ends.
struct Span {
    ts: i64,
    from: i64,
    until: i64,
}

impl Default for Index {
    fn default() -> Self {
        Self::new(FACTS)
    }
}

impl Index {
    /// An empty one that holds so many objects; those that went first are forgotten first.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: HashMap::new(),
            by_ip: HashMap::new(),
            by_node_port: HashMap::new(),
            gone: BTreeSet::new(),
            named: None,
            targeted: false,
            version: 0,
            counters: Counters::default(),
        }
    }

    /// Another number whenever an answer may have changed.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What it holds.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { facts: self.entries.len(), gone: self.gone.len(), ..self.counters }
    }

    /// Every fact it holds, in no order.
    pub fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.entries.values().map(|it| &it.fact)
    }

    /// The pod with this uid.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<&Pod> {
        match &self.entries.get(&Key::Pod(uid.into()))?.fact.of {
            Of::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    /// Takes what a Hub tells.
    pub fn update(&mut self, update: Update) {
        let Update { first, whole, facts, targeted, stale_since: _ } = update;
        self.version += u64::from(std::mem::replace(&mut self.targeted, targeted) != targeted);
        if first {
            self.named = Some(HashSet::new());
        }
        for fact in facts {
            let key = fact.key();
            self.apply(fact);
            if let Some(named) = &mut self.named
                && self.entries.contains_key(&key)
            {
                named.insert(key);
            }
        }
        if let Some(at) = whole
            && let Some(named) = self.named.take()
        {
            let left = |it: &&Entry| it.fact.gone().is_none() && it.fact.at < at;
            let left = self.entries.iter().filter(|(key, it)| !named.contains(*key) && left(it));
            let left: Vec<Fact> = left.map(|(_, it)| it.fact.clone()).collect();
            for mut fact in left {
                fact.close(at);
                self.apply(fact);
            }
        }
    }

    /// Takes one fact, unless it knows a later one about the same object.
    pub fn apply(&mut self, fact: Fact) {
        let key = fact.key();
        if self.entries.get(&key).is_some_and(|it| it.fact.at >= fact.at) {
            return;
        }
        if !fact.is_sound() {
            self.counters.refused += 1;
            return;
        }
        self.remove(&key);
        while self.entries.len() >= self.limit {
            let Some((_, oldest)) = self.gone.first().cloned() else {
                self.counters.refused += 1;
                return;
            };
            self.remove(&oldest);
            self.counters.forgotten += 1;
        }
        if let Some(at) = fact.gone() {
            self.gone.insert((at, key.clone()));
        }
        for ip in fact.addresses() {
            self.by_ip.entry(ip).or_default().push(key.clone());
        }
        if let Of::Service(it) = &fact.of {
            for port in &it.node_ports {
                self.by_node_port.entry(*port).or_default().push(key.clone());
            }
        }
        self.entries.insert(key, Entry::of(fact));
        self.version += 1;
    }

    fn remove(&mut self, key: &Key) {
        let Some(Entry { fact, .. }) = self.entries.remove(key) else { return };
        if let Some(at) = fact.gone() {
            self.gone.remove(&(at, key.clone()));
        }
        for ip in fact.addresses() {
            forget(&mut self.by_ip, &ip, key);
        }
        if let Of::Service(it) = &fact.of {
            for port in &it.node_ports {
                forget(&mut self.by_node_port, port, key);
            }
        }
        self.version += 1;
    }

    /// Whether only some pods' traffic is kept.
    #[must_use]
    pub const fn is_targeted(&self) -> bool {
        self.targeted
    }

    /// Whether the traffic of whoever has this address is kept; if nobody has it, of whoever had it.
    #[must_use]
    pub fn taps(&self, ip: IpAddr) -> bool {
        if !self.targeted {
            return true;
        }
        let keys = self.by_ip.get(&ip.to_canonical()).into_iter().flatten();
        let pods = keys.filter_map(|key| match &self.entries.get(key)?.fact.of {
            Of::Pod(pod) => Some(pod),
            _ => None,
        });
        let (mut now, mut before) = (None, false);
        for pod in pods {
            if pod.held.iter().any(|it| it.ip == ip.to_canonical() && it.to.is_none()) {
                now = Some(now.unwrap_or_default() || !pod.left_out);
            } else {
                before |= !pod.left_out;
            }
        }
        now.unwrap_or(before)
    }

    /// Who was at this address and port.
    #[must_use]
    pub fn who(&self, ip: IpAddr, port: u16, ts: i64) -> Answer {
        let ip = ip.to_canonical();
        let mut span = Span { ts, from: i64::MIN, until: i64::MAX };
        let who = self.find(ip, port, &mut span);
        let who = (who != Who::default()).then(|| Arc::new(who));
        Answer { who, from: span.from, until: span.until }
    }

    fn find(&self, ip: IpAddr, port: u16, span: &mut Span) -> Who {
        let keys = self.by_ip.get(&ip).map_or(&[][..], Vec::as_slice);
        let here: Vec<&Entry> = keys.iter().filter_map(|key| self.entries.get(key)).collect();
        let pods = here.iter().filter(|it| it.is_pod(false));
        if let Some(pod) = holder(pods.flat_map(|it| it.claims(ip)), span) {
            return pod.named(services(&here, pod.uid(), ip, port, span));
        }
        let clusters = here.iter().filter(|it| matches!(it.fact.of, Of::Service(_)));
        if let Some(service) = holder(clusters.flat_map(|it| it.claims(ip)), span) {
            return service.asked();
        }
        let nodes = here.iter().filter(|it| matches!(it.fact.of, Of::Node(_)));
        let node = holder(nodes.flat_map(|it| it.claims(ip)), span);
        let mut who = Who::default();
        if let Some(node) = node {
            let declare = |it: &&&Entry| it.declares(port) && it.node == node.node;
            let pods = here.iter().filter(|it| it.is_pod(true)).filter(declare);
            if let Some(pod) = only(pods.flat_map(|it| it.claims(ip)), span) {
                who = pod.named(services(&here, pod.uid(), ip, port, span));
            }
            who.node = node.node.clone();
        }
        if who.service.is_none() {
            let outside = here.iter().flat_map(|it| it.outside(ip, port));
            let on_nodes = self.by_node_port.get(&port).filter(|_| node.is_some());
            let on_nodes = on_nodes.into_iter().flatten().filter_map(|key| self.entries.get(key));
            let on_nodes = on_nodes.filter_map(|it| Some((it, it.lifetime(ip)?)));
            let behind = here.iter().filter(|it| it.serves(port));
            let asked = only(outside, span).or_else(|| only(on_nodes, span));
            let asked = asked.or_else(|| only(behind.flat_map(|it| it.claims(ip)), span));
            if let Some(service) = asked {
                who.namespace = who.namespace.or_else(|| Some(Arc::clone(&service.namespace)));
                who.service = Some(Arc::clone(&service.name));
            }
        }
        who
    }
}

/// The Services in front of a pod: at the port, and at any.
fn services(
    here: &[&Entry],
    pod: &str,
    ip: IpAddr,
    port: u16,
    span: &mut Span,
) -> [Option<Arc<str>>; 2] {
    [Some(port), None].map(|port| {
        let mut found: Option<&Arc<str>> = None;
        for it in here.iter().filter(|it| it.is_behind(pod, port)) {
            for (it, held) in it.claims(ip) {
                span.note(&held);
                // Of `cart` and `cart-headless` the former.
                let rank = |it: &Arc<str>| (it.len(), Arc::clone(it));
                let better = found.is_none_or(|other| rank(&it.name) < rank(other));
                if held.spans(span.ts) && better {
                    found = Some(&it.name);
                }
            }
        }
        found.cloned()
    })
}

/// Who holds an address that one can hold at a time. Whoever certainly has it has taken it from all
/// before; as long as that isn't certain, nobody is said to have it.
fn holder<'a>(
    claims: impl Iterator<Item = (&'a Entry, Held)> + Clone,
    span: &mut Span,
) -> Option<&'a Entry> {
    claims.clone().for_each(|(_, it)| span.note(&it));
    let ts = span.ts;
    let later = claims.clone().map(|it| it.1.sure).filter(|sure| *sure <= ts).max();
    only(claims.filter(|(_, it)| later.is_none_or(|later| it.sure >= later)), span)
}

/// Whoever it is, if it is one.
fn only<'a>(claims: impl Iterator<Item = (&'a Entry, Held)>, span: &mut Span) -> Option<&'a Entry> {
    let mut found: Option<&Entry> = None;
    let mut several = false;
    for (it, held) in claims {
        span.note(&held);
        if held.spans(span.ts) {
            several |= found.is_some_and(|other| !std::ptr::eq(other, it));
            found = Some(it);
        }
    }
    found.filter(|_| !several)
}

fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<Key>>, at: &K, key: &Key) {
    if let Some(keys) = map.get_mut(at) {
        keys.retain(|it| it != key);
        if keys.is_empty() {
            map.remove(at);
        }
    }
}

impl Span {
    fn note(&mut self, held: &Held) {
        for at in [Some(held.from), Some(held.sure), held.to].into_iter().flatten() {
            if at <= self.ts {
                self.from = self.from.max(at);
            } else {
                self.until = self.until.min(at);
            }
        }
    }
}

impl Entry {
    fn of(fact: Fact) -> Self {
        let text = |it: &str| -> Arc<str> { it.into() };
        let (name, namespace, workload, node) = match &fact.of {
            Of::Pod(it) => {
                let workload = it.workload.as_ref().map(|it| text(&it.name));
                (text(&it.name), text(&it.namespace), workload, it.node.as_deref().map(text))
            }
            Of::Service(it) => (text(&it.name), text(&it.namespace), None, None),
            Of::Endpoint(it) => (text(&it.service), text(&it.namespace), None, None),
            Of::Node(it) => {
                let name = text(&it.name);
                (Arc::clone(&name), text(""), None, Some(name))
            }
        };
        Self { fact, name, namespace, workload, node }
    }

    fn is_pod(&self, host_network: bool) -> bool {
        matches!(&self.fact.of, Of::Pod(it) if it.host_network == host_network)
    }

    /// Whether it puts the pod behind a Service, on the port if there is one.
    fn is_behind(&self, pod: &str, port: Option<u16>) -> bool {
        let is_pod = matches!(&self.fact.of, Of::Endpoint(it) if it.pod.as_deref() == Some(pod));
        is_pod && port.is_none_or(|port| self.serves(port))
    }

    /// Whether it is an endpoint with the port.
    fn serves(&self, port: u16) -> bool {
        matches!(&self.fact.of, Of::Endpoint(it) if it.ports.contains(&port))
    }

    fn declares(&self, port: u16) -> bool {
        matches!(&self.fact.of, Of::Pod(it) if it.ports.contains(&port))
    }

    fn uid(&self) -> &str {
        match &self.fact.of {
            Of::Pod(it) => &it.uid,
            _ => "",
        }
    }

    /// When it had the address.
    fn claims(&self, ip: IpAddr) -> impl Iterator<Item = (&Self, Held)> + Clone {
        let held = match &self.fact.of {
            Of::Pod(it) => &it.held[..],
            Of::Service(it) => &it.held[..],
            Of::Endpoint(it) => std::slice::from_ref(&it.held),
            Of::Node(it) => &it.held[..],
        };
        held.iter().filter(move |it| it.ip == ip).map(move |it| (self, *it))
    }

    /// When a Service had the address of others for its port.
    fn outside(&self, ip: IpAddr, port: u16) -> impl Iterator<Item = (&Self, Held)> {
        let outside = match &self.fact.of {
            Of::Service(it) if it.ports.contains(&port) => &it.outside[..],
            _ => &[],
        };
        outside.iter().filter(move |it| it.ip == ip).map(move |it| (self, *it))
    }

    /// When a Service was there, on whatever address.
    fn lifetime(&self, ip: IpAddr) -> Option<Held> {
        let Of::Service(it) = &self.fact.of else { return None };
        Some(Held { ip, from: it.from, sure: it.from, to: it.to })
    }

    fn named(&self, [service, front]: [Option<Arc<str>>; 2]) -> Who {
        Who {
            pod: Some(Arc::clone(&self.name)),
            namespace: Some(Arc::clone(&self.namespace)),
            workload: self.workload.clone(),
            node: self.node.clone(),
            service,
            front,
        }
    }

    fn asked(&self) -> Who {
        Who {
            namespace: Some(Arc::clone(&self.namespace)),
            service: Some(Arc::clone(&self.name)),
            ..Who::default()
        }
    }
}

impl Fact {
    /// Its addresses, each once.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let (held, outside): (&[Held], &[Held]) = match &self.of {
            Of::Pod(it) => (&it.held, &[]),
            Of::Service(it) => (&it.held, &it.outside),
            Of::Endpoint(it) => (std::slice::from_ref(&it.held), &[]),
            Of::Node(it) => (&it.held, &[]),
        };
        held.iter().chain(outside).map(|it| it.ip).collect()
    }

    /// Whether it is of a size that objects of an API server have.
    fn is_sound(&self) -> bool {
        let short = |texts: &[&str]| texts.iter().all(|it| it.len() <= TEXT);
        let few = |held: &[Held], ports: &[u16]| held.len() <= ADDRESSES && ports.len() <= PORTS;
        match &self.of {
            Of::Pod(it) => {
                let node = it.node.as_deref().unwrap_or_default();
                let workload = it.workload.as_ref().map_or(["", ""], |it| [&it.kind, &it.name]);
                short(&[&it.uid, &it.name, &it.namespace, node])
                    && short(&workload)
                    && few(&it.held, &it.ports)
            }
            Of::Service(it) => {
                short(&[&it.uid, &it.name, &it.namespace])
                    && few(&it.held, &it.ports)
                    && few(&it.outside, &it.node_ports)
            }
            Of::Endpoint(it) => {
                let pod = it.pod.as_deref().unwrap_or_default();
                short(&[&it.slice, &it.service, &it.namespace, pod]) && few(&[], &it.ports)
            }
            Of::Node(it) => short(&[&it.uid, &it.name]) && few(&it.held, &[]),
        }
    }
}

/// Objects held: a large cluster's, and those that went in the hours before.
const FACTS: usize = 200_000;
/// Bytes of a text: names in Kubernetes have 253 at most.
const TEXT: usize = 512;
/// Addresses of one object, with those it had.
const ADDRESSES: usize = 256;
/// Ports of one object: a Service may have many.
const PORTS: usize = 1_024;

#[cfg(test)]
mod tests;
