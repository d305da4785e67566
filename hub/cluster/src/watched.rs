//! The cluster as it is watched.

use crate::{
    Subscription,
    facts::{Counts, Facts},
    follow::{Observed, follow},
    now,
    settings::{self, InForce, NotChanged},
    tables,
    targeting::{Meant, Targeting, Unclear},
};
use arrow_array::RecordBatch;
use k8s_openapi::api::{
    apps::v1::ReplicaSet, batch::v1::Job, core::v1 as core, discovery::v1::EndpointSlice,
};
use kube::{Api, Client, core::PartialObjectMeta};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

/// The cluster, watched until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Cluster {
    inner: Arc<Inner>,
    _watches: Arc<JoinSet<()>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    facts: Mutex<Facts>,
    kinds: Mutex<BTreeMap<Kind, KindState>>,
    /// Grows with whatever changes.
    changes: watch::Sender<u64>,
    pub(crate) watch_s: u32,
    /// The settings were not read yet.
    pub(crate) awaited: AtomicBool,
    /// What is wrong with them.
    settings: Mutex<Option<String>>,
    /// Where they are kept.
    pub(crate) place: Option<(Api<core::ConfigMap>, String)>,
    in_force: Mutex<InForce>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// EndpointSlices.
    Endpoints,
    /// Nodes.
    Nodes,
    /// ReplicaSets, of which only the metadata.
    ReplicaSets,
    /// Jobs, of which only the metadata.
    Jobs,
    /// Events, which say nothing about who has an address: only the table tells them.
    Events,
}

/// How the watch of one kind does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindState {
    /// All objects were listed once.
    pub listed: bool,
    /// The server says that this must not be read.
    pub refused: bool,
    /// Since when it is not watched, nanoseconds since 1970.
    pub away_since: Option<i64>,
    /// Why.
    pub reason: Option<String>,
    /// Events, bookmarks included.
    pub events: u64,
    /// Watches begun.
    pub watches: u64,
    /// Lists made because the server had forgotten where we were.
    pub relists: u64,
}

/// How the cluster is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// All that can be listed was, once.
    pub ready: bool,
    /// Pods that have an address.
    pub pods: usize,
    /// Services.
    pub services: usize,
    /// Addresses behind Services.
    pub endpoints: usize,
    /// Nodes.
    pub nodes: usize,
    /// Objects that are gone and still known.
    pub gone: usize,
    /// Objects that are gone and no longer known: there were too many, or it was too long ago.
    pub forgotten: u64,
    /// Events that are known.
    pub events: usize,
    /// Events that are no longer known, likewise.
    pub forgotten_events: u64,
    /// Since when something is not watched, nanoseconds since 1970.
    pub stale_since: Option<i64>,
    /// What that is, and why.
    pub reason: Option<String>,
    /// How many pods' traffic is kept, if not that of all.
    pub tapped: Option<usize>,
    /// What is wrong with the settings: those before are in force.
    pub settings: Option<String>,
    /// Each kind.
    pub kinds: BTreeMap<Kind, KindState>,
}

/// Why a list or a watch ended.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server has forgotten the version: there is to be a new list.
    Expired,
    /// Nothing came for so long.
    Silent(Duration),
    Odd(&'static str),
    Failed(kube::Error),
}

impl Cluster {
    /// Watches a cluster. Must be called in a Tokio runtime.
    #[must_use]
    pub fn watch(client: &Client) -> Self {
        Self::watch_for(client, WATCH, None)
    }

    /// The same, and the ConfigMap of that namespace and name, which says whose traffic is kept.
    #[must_use]
    pub fn watch_with(client: &Client, namespace: &str, name: &str) -> Self {
        Self::watch_for(client, WATCH, Some((namespace, name)))
    }

    /// The same, with watches that last so long: one that fell silent is noticed after that.
    #[must_use]
    pub fn watch_for(client: &Client, each: Duration, settings: Option<(&str, &str)>) -> Self {
        let kinds = Kind::ALL.map(|it| (it, KindState::default()));
        let inner = Arc::new(Inner {
            facts: Mutex::default(),
            kinds: Mutex::new(kinds.into()),
            changes: watch::Sender::default(),
            awaited: AtomicBool::new(settings.is_some()),
            settings: Mutex::default(),
            place: settings.map(|(namespace, name)| {
                (Api::namespaced(client.clone(), namespace), name.to_owned())
            }),
            in_force: Mutex::default(),
            watch_s: u32::try_from(each.as_secs()).unwrap_or(u32::MAX).clamp(1, 290),
        });
        let mut watches = JoinSet::new();
        if let Some((namespace, name)) = settings {
            let api = Api::namespaced(client.clone(), namespace);
            watches.spawn(settings::follow(api, name.to_owned(), Arc::clone(&inner)));
        }
        start::<PartialObjectMeta<ReplicaSet>>(&mut watches, client, &inner);
        start::<PartialObjectMeta<Job>>(&mut watches, client, &inner);
        start::<core::Node>(&mut watches, client, &inner);
        start::<core::Service>(&mut watches, client, &inner);
        start::<EndpointSlice>(&mut watches, client, &inner);
        start::<core::Pod>(&mut watches, client, &inner);
        start::<core::Event>(&mut watches, client, &inner);
        Self { inner, _watches: Arc::new(watches) }
    }

    /// How it is known.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.state()
    }

    /// All rows of one of the [`tables`](crate::tables()) as they are now; nothing if it is none of them.
    #[must_use]
    pub fn rows(&self, table: &str) -> Option<RecordBatch> {
        let mut facts = self.inner.facts();
        facts.forget(now());
        tables::rows(table, &facts)
    }

    /// The namespaces of all pods and Services that are known.
    #[must_use]
    pub fn namespaces(&self) -> BTreeSet<String> {
        let facts = self.inner.facts();
        let of_pods = facts.pods.values().map(|it| &it.namespace);
        let of_services = facts.all().filter_map(|(_, fact)| match &fact.of {
            identity::Of::Service(it) => Some(&it.namespace),
            _ => None,
        });
        of_pods.chain(of_services).filter(|it| !it.is_empty()).cloned().collect()
    }

    /// Whose traffic is kept, and the version of the settings that says so; no version without settings.
    #[must_use]
    pub fn targeting(&self) -> (Targeting, Option<String>) {
        let InForce { targeting, version } = self.inner.in_force().clone();
        (targeting, version)
    }

    /// Why the settings can't be changed here, if nobody said where they are kept.
    #[must_use]
    pub fn is_fixed(&self) -> Option<NotChanged> {
        self.inner.place.is_none().then_some(NotChanged::Nowhere)
    }

    /// Changes whose traffic is kept, for good: in the settings' ConfigMap. `version` is the one that was looked at;
    /// if there is another one by now, nothing is changed.
    pub async fn retarget(
        &self,
        targeting: &Targeting,
        version: Option<&str>,
    ) -> Result<(), NotChanged> {
        settings::write(&self.inner, targeting, version).await
    }

    /// What a choice means for each pod that runs.
    pub fn meant(&self, targeting: &Targeting) -> Result<Vec<Meant>, Unclear> {
        let matcher = targeting.matcher()?;
        Ok(self.inner.facts().meant(&matcher))
    }

    /// All that is known, and then what changes.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(Arc::clone(&self.inner))
    }
}

fn start<K: Observed>(watches: &mut JoinSet<()>, client: &Client, inner: &Arc<Inner>) {
    watches.spawn(follow::<K>(Api::all(client.clone()), Arc::clone(inner)));
}

impl Inner {
    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the settings.
    pub(crate) fn settings(&self) -> MutexGuard<'_, Option<String>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<Kind, KindState>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Changes what is known, at the present time, and tells those who listen if it is for them.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Facts, i64)) {
        let told = {
            let mut facts = self.facts();
            let before = facts.told();
            let now = now();
            change(&mut facts, now);
            facts.forget(now);
            before != facts.told()
        };
        if told {
            self.changed();
        }
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|it| *it += 1);
    }

    fn of_kind(&self, kind: Kind, change: impl FnOnce(&mut KindState)) {
        let changed = {
            let mut kinds = self.kinds();
            let state = kinds.entry(kind).or_default();
            let before = (state.listed, state.refused, state.away_since.is_some());
            change(state);
            before != (state.listed, state.refused, state.away_since.is_some())
        };
        if changed {
            self.changed();
        }
    }

    /// A watch stands.
    pub(crate) fn watching(&self, kind: Kind) {
        self.of_kind(kind, |it| {
            if let Some(reason) = it.reason.take() {
                tracing::info!(%kind, reason, "watched again");
            }
            (it.listed, it.refused, it.away_since) = (true, false, None);
            it.watches += 1;
        });
    }

    pub(crate) fn heard(&self, kind: Kind) {
        self.of_kind(kind, |it| it.events += 1);
    }

    pub(crate) fn relisted(&self, kind: Kind) {
        self.of_kind(kind, |it| it.relists += 1);
    }

    pub(crate) fn troubled(&self, kind: Kind, trouble: Trouble) {
        let reason = trouble.to_string();
        self.of_kind(kind, |it| {
            if it.reason.as_ref() != Some(&reason) {
                tracing::warn!(%kind, reason, "not watched");
            }
            it.away_since.get_or_insert_with(now);
            it.refused = trouble.is_refusal();
            it.reason = Some(reason);
        });
    }

    /// Whether all that can be known of addresses is, and since when changes of them may be missing.
    pub(crate) fn standing(&self) -> (bool, Option<i64>) {
        let kinds = self.kinds();
        let naming = || kinds.iter().filter(|it| *it.0 != Kind::Events).map(|it| it.1);
        let listed = naming().all(|it| it.listed || it.refused);
        let ready = listed && !self.awaited.load(Relaxed);
        (ready, naming().filter_map(|it| it.away_since).min())
    }

    fn state(&self) -> State {
        let (ready, stale_since) = self.standing();
        let (counts, targeted) = {
            let facts = self.facts();
            (facts.counts(), facts.is_targeted())
        };
        let Counts { pods, services, endpoints, nodes, gone, .. } = counts;
        let Counts { forgotten, events, forgotten_events, .. } = counts;
        let settings = self.settings().clone();
        let kinds = self.kinds().clone();
        let naming = |it: &(&Kind, &KindState)| *it.0 != Kind::Events || stale_since.is_none();
        let away = kinds.iter().filter(naming).filter(|it| it.1.away_since.is_some());
        let away = away.min_by_key(|it| it.1.away_since);
        let reason = away.map(|(kind, it)| {
            format!("{kind} are not watched: {}", it.reason.as_deref().unwrap_or("not yet"))
        });
        State {
            ready,
            pods,
            services,
            endpoints,
            nodes,
            gone,
            forgotten,
            events,
            forgotten_events,
            stale_since,
            reason,
            tapped: targeted.then_some(counts.tapped),
            settings,
            kinds,
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pods,
        Self::Services,
        Self::Endpoints,
        Self::Nodes,
        Self::ReplicaSets,
        Self::Jobs,
        Self::Events,
    ];

    /// Its name, as the API has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Services => "services",
            Self::Endpoints => "endpointslices",
            Self::Nodes => "nodes",
            Self::ReplicaSets => "replicasets",
            Self::Jobs => "jobs",
            Self::Events => "events",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Trouble {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Failed(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    fn is_refusal(&self) -> bool {
        self.status().is_some_and(|it| it.code == 403 || it.code == 404)
    }

    /// How long the server wants to be left alone.
    pub(crate) fn after(&self) -> Duration {
        let details = self.status().and_then(|it| it.details.as_ref());
        Duration::from_secs(details.map_or(0, |it| it.retry_after_seconds.into()))
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            _ => Self::Failed(error),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("the server has forgotten where we were"),
            Self::Silent(time) => write!(f, "no answer in {time:?}"),
            Self::Odd(what) => write!(f, "the server answered {what}"),
            Self::Failed(kube::Error::Api(status)) => f.write_str(&status.message),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

/// How long one watch lasts: one that fell silent is noticed that late.
const WATCH: Duration = Duration::from_secs(60);
