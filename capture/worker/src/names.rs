//! Who had an address when, as the Hub tells it: kept here, asked by whoever dissects.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use api::NameState;
use identity::{Index, Of, Update};

/// What is known of the cluster. Empty as long as no Hub tells anything.
#[derive(Debug, Default)]
pub(crate) struct Names {
    index: RwLock<Index>,
    /// The index's, where it can be read for every row.
    version: AtomicU64,
    targeted: AtomicBool,
    told: RwLock<Told>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    whole: bool,
    stale_since: Option<i64>,
}

impl Names {
    /// Takes what a Hub tells, a little at a time: the capture waits for nobody.
    pub(crate) fn update(&self, update: Update) {
        let Update { first, whole, facts, targeted, stale_since } = update;
        let mut facts = facts.into_iter();
        let mut first = first;
        loop {
            let piece: Vec<_> = facts.by_ref().take(PIECE).collect();
            let last = facts.len() == 0;
            let whole = whole.filter(|_| last);
            let piece = Update { first, whole, facts: piece, targeted, stale_since };
            let version = {
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                index.update(piece);
                index.version()
            };
            self.version.store(version, Relaxed);
            self.targeted.store(targeted, Relaxed);
            if last {
                break;
            }
            first = false;
        }
        let mut told = self.told.write().unwrap_or_else(PoisonError::into_inner);
        told.whole |= whole.is_some();
        told.stale_since = stale_since;
    }

    /// The uids of the pods on a node whose traffic is kept.
    pub(crate) fn tapped_on(&self, node: &str) -> HashSet<String> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let pods = index.facts().filter_map(|it| match &it.of {
            Of::Pod(pod) => Some(pod),
            _ => None,
        });
        let here = pods.filter(|it| it.node.as_deref() == Some(node) && !it.left_out);
        here.filter(|it| it.held.iter().any(|held| held.to.is_none()))
            .map(|it| it.uid.clone())
            .collect()
    }

    /// Which pod has this uid.
    pub(crate) fn of_pod(&self, uid: &str) -> dissect::Who {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = index.pod(uid) else { return dissect::Who::default() };
        let shared = |it: &String| Arc::from(it.as_str());
        dissect::Who {
            pod: Some(shared(&pod.name)),
            namespace: Some(shared(&pod.namespace)),
            workload: pod.workload.as_ref().map(|it| shared(&it.name)),
            ..dissect::Who::default()
        }
    }

    /// How it stands; nothing if no Hub told of a cluster.
    pub(crate) fn health(&self) -> Option<NameState> {
        let told = *self.told.read().unwrap_or_else(PoisonError::into_inner);
        if !told.whole {
            return None;
        }
        let counters = self.index.read().unwrap_or_else(PoisonError::into_inner).counters();
        Some(NameState {
            objects: counters.facts as u64,
            forgotten: counters.forgotten,
            refused: counters.refused,
            stale_since_ms: told.stale_since.map(|it| it / MILLI),
        })
    }
}

impl dissect::Names for Names {
    fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    fn who(&self, ip: IpAddr, port: u16, ts: i64) -> dissect::Answer {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let identity::Answer { who, from, until } = index.who(ip, port, ts);
        let who = who.map(|it| {
            let identity::Who { pod, namespace, workload, node, service, front } = (*it).clone();
            Arc::new(dissect::Who { pod, namespace, workload, node, service, front })
        });
        dissect::Answer { who, from, until }
    }

    fn is_targeted(&self) -> bool {
        self.targeted.load(Relaxed)
    }

    fn taps(&self, ip: IpAddr) -> bool {
        self.index.read().unwrap_or_else(PoisonError::into_inner).taps(ip)
    }
}

/// Facts taken before those who ask get their turn.
const PIECE: usize = 128;
const MILLI: i64 = 1_000_000;
