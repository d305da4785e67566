//! One kind of object: a list, and a watch from there on, for ever.
//!
//! Not `kube::runtime::watcher`: that doesn't tell that a watch stands again as long as nothing happens,
//! and who shows names must know whether they may be out of date.

use crate::{
    Kind,
    facts::Facts,
    now,
    watched::{Inner, Trouble},
};
use futures::StreamExt as _;
use identity::Key;
use k8s_openapi::api::{
    apps::v1::ReplicaSet, batch::v1::Job, core::v1 as core, discovery::v1::EndpointSlice,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, WatchParams},
    core::{PartialObjectMeta, WatchEvent},
};
use std::{
    pin::pin,
    time::{Duration, Instant},
};

/// An object that says something about who has an address.
pub(crate) trait Observed:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static
{
    const KIND: Kind;
    /// It is like this now.
    fn apply(&self, facts: &mut Facts, now: i64);
    /// It is gone.
    fn delete(&self, facts: &mut Facts, now: i64);
}

impl Observed for core::Pod {
    const KIND: Kind = Kind::Pods;
    fn apply(&self, facts: &mut Facts, now: i64) {
        facts.pod(self, now);
    }
    fn delete(&self, facts: &mut Facts, now: i64) {
        facts.close(&Key::Pod(self.uid().unwrap_or_default().into()), now);
    }
}

impl Observed for core::Service {
    const KIND: Kind = Kind::Services;
    fn apply(&self, facts: &mut Facts, now: i64) {
        facts.service(self, now);
    }
    fn delete(&self, facts: &mut Facts, now: i64) {
        facts.close(&Key::Service(self.uid().unwrap_or_default().into()), now);
    }
}

impl Observed for core::Node {
    const KIND: Kind = Kind::Nodes;
    fn apply(&self, facts: &mut Facts, now: i64) {
        facts.node(self, now);
    }
    fn delete(&self, facts: &mut Facts, now: i64) {
        facts.close(&Key::Node(self.uid().unwrap_or_default().into()), now);
    }
}

impl Observed for core::Event {
    const KIND: Kind = Kind::Events;
    fn apply(&self, facts: &mut Facts, now: i64) {
        facts.event(self, now);
    }
    // The API server forgets events after an hour: what happened did nonetheless.
    fn delete(&self, _: &mut Facts, _: i64) {}
}

impl Observed for EndpointSlice {
    const KIND: Kind = Kind::Endpoints;
    fn apply(&self, facts: &mut Facts, now: i64) {
        facts.slice(self, now);
    }
    fn delete(&self, facts: &mut Facts, now: i64) {
        facts.no_slice(&self.metadata, now);
    }
}

impl Observed for PartialObjectMeta<ReplicaSet> {
    const KIND: Kind = Kind::ReplicaSets;
    fn apply(&self, facts: &mut Facts, now: i64) {
        facts.owner(Self::KIND, &self.metadata, now);
    }
    fn delete(&self, facts: &mut Facts, _: i64) {
        facts.no_owner(&self.metadata);
    }
}

impl Observed for PartialObjectMeta<Job> {
    const KIND: Kind = Kind::Jobs;
    fn apply(&self, facts: &mut Facts, now: i64) {
        facts.owner(Self::KIND, &self.metadata, now);
    }
    fn delete(&self, facts: &mut Facts, _: i64) {
        facts.no_owner(&self.metadata);
    }
}

/// Follows all objects of a kind until dropped.
pub(crate) async fn follow<K: Observed>(api: Api<K>, inner: std::sync::Arc<Inner>) {
    let mut wait = Wait::default();
    loop {
        let ended = match list(&api, &inner).await {
            Ok(version) => watch(&api, &inner, version, &mut wait).await,
            Err(trouble) => trouble,
        };
        if let Trouble::Expired = ended {
            inner.relisted(K::KIND);
            // One that forgets at once is not asked for all at once again.
            tokio::time::sleep(wait.longer(&ended)).await;
            continue;
        }
        let after = wait.longer(&ended);
        inner.troubled(K::KIND, ended);
        tokio::time::sleep(after).await;
    }
}

/// Takes all objects there are, a page at a time; the version that this is.
async fn list<K: Observed>(api: &Api<K>, inner: &Inner) -> Result<String, Trouble> {
    let mut params = ListParams::default().limit(PAGE);
    inner.change(|facts, _| facts.list(K::KIND));
    loop {
        let page = match tokio::time::timeout(LIST, api.list(&params)).await {
            Ok(page) => page?,
            Err(_) => return Err(Trouble::Silent(LIST)),
        };
        let next = page.metadata.continue_.filter(|it| !it.is_empty());
        inner.change(|facts, now| {
            for it in &page.items {
                it.apply(facts, now);
            }
            if next.is_none() {
                facts.listed(K::KIND, now);
            }
        });
        match next {
            Some(token) => params.continue_token = Some(token),
            None => {
                return page
                    .metadata
                    .resource_version
                    .ok_or(Trouble::Odd("a list without a version"));
            }
        }
    }
}

/// Takes what changes from a version on, over as many watches as that takes, until there is to be a new list.
async fn watch<K: Observed>(
    api: &Api<K>,
    inner: &Inner,
    mut version: String,
    wait: &mut Wait,
) -> Trouble {
    loop {
        let ended = one_watch(api, inner, &mut version, wait).await;
        match ended {
            Ok(()) => {}
            Err(Trouble::Expired) => return Trouble::Expired,
            Err(trouble) => {
                let after = wait.longer(&trouble);
                inner.troubled(K::KIND, trouble);
                tokio::time::sleep(after).await;
            }
        }
    }
}

/// One watch: ends well when the server has had enough of it.
async fn one_watch<K: Observed>(
    api: &Api<K>,
    inner: &Inner,
    version: &mut String,
    wait: &mut Wait,
) -> Result<(), Trouble> {
    let params = WatchParams::default().timeout(inner.watch_s);
    let patience = Duration::from_secs(inner.watch_s.into()) + PATIENCE;
    let began = Instant::now();
    let opened = tokio::time::timeout(OPEN, api.watch(&params, version)).await;
    let mut events = pin!(opened.map_err(|_| Trouble::Silent(OPEN))??);
    inner.watching(K::KIND);
    loop {
        // Whatever the server says, it ends the watch in time; if not, nobody is there.
        let left = patience.saturating_sub(began.elapsed());
        let event = tokio::time::timeout(left, events.next()).await;
        let Some(event) = event.map_err(|_| Trouble::Silent(patience))? else {
            // One that ends at once is not begun again at once.
            tokio::time::sleep(SHORT.saturating_sub(began.elapsed())).await;
            if began.elapsed() > LONGEST_WAIT {
                *wait = Wait::default();
            }
            return Ok(());
        };
        let (object, gone) = match event? {
            WatchEvent::Added(it) | WatchEvent::Modified(it) => (it, false),
            WatchEvent::Deleted(it) => (it, true),
            WatchEvent::Bookmark(it) => {
                version.clone_from(&it.metadata.resource_version);
                inner.heard(K::KIND);
                *wait = Wait::default();
                continue;
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
        };
        if let Some(now) = object.resource_version() {
            *version = now;
        }
        inner.change(|facts, now| match gone {
            false => object.apply(facts, now),
            true => object.delete(facts, now),
        });
        inner.heard(K::KIND);
        *wait = Wait::default();
    }
}

/// How long to wait before the next attempt: longer each time, and not in step with others.
#[derive(Debug)]
struct Wait(Duration);

impl Default for Wait {
    fn default() -> Self {
        Self(FIRST_WAIT)
    }
}

impl Wait {
    fn longer(&mut self, trouble: &Trouble) -> Duration {
        let spread = 0.5 + (now() / 1_000 % 1_000) as f64 / 1_000.0;
        let wait = self.0.mul_f64(spread);
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
        wait.max(trouble.after().min(LONGEST_TOLD))
    }
}

/// Objects of a list at a time.
const PAGE: u32 = 500;
/// The longest that a page may take.
const LIST: Duration = Duration::from_secs(30);
/// The longest until a watch stands.
const OPEN: Duration = Duration::from_secs(5);
/// How much longer than it should a watch may last.
const PATIENCE: Duration = Duration::from_secs(5);
/// A watch is not begun again sooner.
const SHORT: Duration = Duration::from_millis(100);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The longest that the server may make us wait.
const LONGEST_TOLD: Duration = Duration::from_secs(60);
