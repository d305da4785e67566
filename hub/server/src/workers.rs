//! Who is linked, what tables they have, and how they do.

use api::{ClusterState, NodeHealth, RefusedTable, Table, WorkerState, WorkerStatus, Workers};
use arrow_array::RecordBatch;
use cluster::Cluster;
use link::{CallError, Client, Hello};
use query::fleet::Own;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;
use tracing::{info, warn};

/// Every Worker that dialled, by its node's name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    workers: RwLock<BTreeMap<String, Entry>>,
    tables: watch::Sender<Arc<Merged>>,
    cluster: Option<Cluster>,
}

/// What was seen of the cluster, as tables of the Hub's own.
#[derive(Debug)]
struct Watched(Cluster);

impl Own for Watched {
    fn tables(&self) -> &[Table] {
        cluster::tables()
    }

    fn rows(&self, table: &str) -> Option<RecordBatch> {
        self.0.rows(table)
    }
}

#[derive(Debug)]
struct Entry {
    link: u64,
    version: String,
    /// The same as of every node with the same tables: a thousand nodes have a few sets.
    tables: Arc<Vec<Table>>,
    /// The link, as long as it stands.
    client: Option<Client>,
    gone: Option<(Instant, String)>,
    since_ms: i64,
    heard_ms: i64,
    address: Option<SocketAddr>,
    health: NodeHealth,
    traffic: link::Traffic,
}

/// The tables of all linked Workers and of the Hub as one set. A new one is published whenever somebody comes or goes.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) tables: query::Tables,
    pub(crate) refused: Vec<RefusedTable>,
    pub(crate) members: Vec<Member>,
    /// Who should be there and is not, or cannot be asked, with the reason.
    pub(crate) missing: Vec<(String, String)>,
    /// The Hub's own tables, which are among `tables`.
    pub(crate) own: Option<Arc<dyn Own>>,
    /// The sets that `tables` was made of, and where they disagree.
    sets: Vec<Arc<Vec<Table>>>,
    conflicts: Vec<query::Conflict>,
}

/// A linked Worker that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) node: String,
    pub(crate) version: String,
    /// Differs between two links of the same node.
    pub(crate) link: u64,
    pub(crate) client: Client,
}

impl Registry {
    pub(crate) fn new(cluster: Option<Cluster>) -> Self {
        let own = cluster.clone().map(|it| Arc::new(Watched(it)) as Arc<dyn Own>);
        let tables = own.iter().flat_map(|it| it.tables()).cloned();
        let tables = query::Tables::new(tables);
        let tables = watch::Sender::new(Arc::new(Merged { tables, own, ..Merged::default() }));
        Self(Arc::new(Inner { workers: RwLock::default(), tables, cluster }))
    }

    /// The cluster, if it is watched.
    pub(crate) fn watched(&self) -> Option<&Cluster> {
        self.0.cluster.as_ref()
    }

    /// How the cluster is known, if it is watched.
    pub(crate) fn cluster(&self) -> Option<ClusterState> {
        let state = self.0.cluster.as_ref()?.state();
        let cluster::State {
            ready,
            pods,
            tapped,
            services,
            endpoints,
            nodes,
            forgotten,
            events,
            forgotten_events,
            stale_since,
            reason,
            settings,
            ..
        } = state;
        Some(ClusterState {
            ready,
            pods: pods as u64,
            tapped: tapped.map(|it| it as u64),
            settings,
            services: services as u64,
            endpoints: endpoints as u64,
            nodes: nodes as u64,
            events: events as u64,
            forgotten: forgotten + forgotten_events,
            stale_since_ms: stale_since.map(|it| it / 1_000_000),
            reason,
        })
    }

    /// Takes a Worker that runs in this process: see [`link::attach`].
    pub fn attach(&self, client: Client) {
        self.take(client, None);
    }

    /// Greets whoever is on the link, and keeps it in the registry until it goes.
    pub(crate) fn take(&self, client: Client, address: Option<SocketAddr>) {
        let registry = self.clone();
        tokio::spawn(async move { registry.keep(client, address).await });
    }

    /// How everybody does.
    pub fn workers(&self) -> Workers {
        let mut workers = self.0.workers.write().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|_, entry| {
            entry.gone.as_ref().is_none_or(|(when, _)| when.elapsed() < REMEMBERED)
        });
        let state = |(node, entry): (&String, &Entry)| {
            let traffic = entry.client.as_ref().map_or(entry.traffic, Client::traffic);
            WorkerState {
                node: node.clone(),
                version: entry.version.clone(),
                status: if entry.client.is_some() {
                    WorkerStatus::Connected
                } else {
                    WorkerStatus::Gone
                },
                reason: entry
                    .gone
                    .as_ref()
                    .map(|(_, reason)| reason.clone())
                    .or_else(|| other_version(&entry.version)),
                connected_since_ms: entry.since_ms,
                last_heard_ms: entry.heard_ms,
                address: entry.address.map(|address| address.to_string()),
                link_received_bytes: traffic.received_bytes,
                link_sent_bytes: traffic.sent_bytes,
                health: entry.health.clone(),
            }
        };
        Workers { workers: workers.iter().map(state).collect() }
    }

    /// What can be asked now.
    pub(crate) fn merged(&self) -> Arc<Merged> {
        Arc::clone(&self.0.tables.borrow())
    }

    /// What can be asked, now and at every change.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Merged>> {
        self.0.tables.subscribe()
    }

    /// Tells every Worker that its link ends, and why.
    pub(crate) fn end(&self, reason: &str) {
        let workers = self.0.workers.read().unwrap_or_else(PoisonError::into_inner);
        for client in workers.values().filter_map(|entry| entry.client.as_ref()) {
            client.end(reason);
        }
    }

    /// Waits until so many Workers are linked.
    pub async fn linked(&self, count: usize) {
        let mut changes = self.changes();
        // The sender lives in `self`.
        let _merged = changes.wait_for(|merged| merged.members.len() >= count).await.is_ok();
    }

    async fn keep(&self, client: Client, address: Option<SocketAddr>) {
        let hello = match client.hello().await {
            Ok(hello) => hello,
            Err(error) => {
                warn!(?address, %error, "a worker dialled but did not say who it is");
                client.end(format!("the hub did not hear who you are: {error}"));
                return;
            }
        };
        if let Err(reason) = check(&hello) {
            warn!(?address, reason, "a worker was refused");
            client.end(reason);
            return;
        }
        let node = hello.node.clone();
        if let Some(holder) = self.holder(&node).await {
            let at = holder
                .map_or_else(|| "in the hub itself".to_owned(), |address| address.to_string());
            let reason = format!(
                "another worker named {node:?} is linked, {at}; give each its own --node name"
            );
            warn!(node, ?address, "a worker was refused: its name is taken");
            client.end(reason);
            return;
        }
        let link = NEXT_LINK.fetch_add(1, Relaxed);
        let since_ms = now_ms();
        {
            let mut workers = self.0.workers.write().unwrap_or_else(PoisonError::into_inner);
            if !workers.contains_key(&node) && workers.len() >= WORKERS {
                drop(workers);
                client.end("this hub has as many workers as it takes");
                return;
            }
            let tables = shared(&workers, hello.tables);
            let entry = Entry {
                link,
                version: hello.version,
                tables,
                client: Some(client.clone()),
                gone: None,
                since_ms,
                heard_ms: since_ms,
                address,
                health: NodeHealth::default(),
                traffic: client.traffic(),
            };
            if let Some(Entry { client: Some(former), .. }) = workers.insert(node.clone(), entry) {
                former.end("a newer link of the same node took over");
            }
        }
        info!(node, ?address, "a worker is linked");
        self.publish();
        let told = self.0.cluster.clone();
        let told = told.map(|it| tokio::spawn(tell(it, client.clone(), node.clone())));

        let reason = loop {
            if let Ok(health) = client.health().await {
                self.update(&node, link, |entry| {
                    entry.health = health;
                    entry.heard_ms = now_ms();
                });
            }
            tokio::select! {
                reason = client.ended() => break reason,
                () = tokio::time::sleep(HEALTH_EVERY) => {}
            }
        };
        if let Some(told) = told {
            told.abort();
        }
        info!(node, reason, "a worker is gone");
        self.update(&node, link, |entry| {
            entry.client = None;
            entry.traffic = client.traffic();
            entry.gone = Some((Instant::now(), reason));
        });
        self.publish();
    }

    /// Where the Worker of that name dialled from, if there is one and it still answers: then a second
    /// one is a mistake. If it doesn't, the newcomer is the same node, restarted.
    async fn holder(&self, node: &str) -> Option<Option<SocketAddr>> {
        let (client, address) = {
            let workers = self.0.workers.read().unwrap_or_else(PoisonError::into_inner);
            let entry = workers.get(node)?;
            (entry.client.clone()?, entry.address)
        };
        let answers = tokio::time::timeout(HOLDER, client.health()).await;
        matches!(answers, Ok(Ok(_))).then_some(address)
    }

    /// Changes the entry of this link, unless a newer one has replaced it.
    fn update(&self, node: &str, link: u64, change: impl FnOnce(&mut Entry)) {
        let mut workers = self.0.workers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = workers.get_mut(node).filter(|entry| entry.link == link) {
            change(entry);
        }
    }

    fn publish(&self) {
        let workers = self.0.workers.read().unwrap_or_else(PoisonError::into_inner);
        let merged = Arc::new(Merged::of(&workers, &self.merged()));
        // Under the lock, so that an older picture cannot overtake a newer one.
        self.0.tables.send_replace(merged);
    }
}

impl Merged {
    /// `before` is what was the case until now: often somebody comes or goes, seldom a table.
    fn of(workers: &BTreeMap<String, Entry>, before: &Self) -> Self {
        let mut merged = Self { own: before.own.clone(), ..Self::default() };
        let mut sets: Vec<(&Arc<Vec<Table>>, Vec<&str>)> = Vec::new();
        for (node, entry) in workers {
            let reason = match (&entry.client, &entry.gone) {
                (Some(client), _) => match other_version(&entry.version) {
                    None => {
                        match sets.iter_mut().find(|(set, _)| Arc::ptr_eq(set, &entry.tables)) {
                            Some((_, nodes)) => nodes.push(node),
                            None => sets.push((&entry.tables, vec![node])),
                        }
                        merged.members.push(Member {
                            node: node.clone(),
                            version: entry.version.clone(),
                            link: entry.link,
                            client: client.clone(),
                        });
                        continue;
                    }
                    Some(reason) => reason,
                },
                (None, Some((when, reason))) if when.elapsed() < MISSED => reason.clone(),
                (None, _) => continue,
            };
            merged.missing.push((node.clone(), reason));
        }
        let same = sets.len() == before.sets.len()
            && sets.iter().zip(&before.sets).all(|((set, _), other)| Arc::ptr_eq(set, other));
        (merged.tables, merged.conflicts) = if same {
            (before.tables.clone(), before.conflicts.clone())
        } else {
            // Of nodes with the same tables one speaks for all; its number stands for its name.
            let names: Vec<_> = (0..sets.len()).map(|set| set.to_string()).collect();
            let sets = names.iter().map(String::as_str).zip(sets.iter().map(|it| it.0.as_slice()));
            // The Hub's come first, so that whoever has another table of that name disagrees with it.
            let own = merged.own.iter().map(|it| (HUB, it.tables()));
            query::Tables::merge(own.chain(sets))
        };
        for conflict in &merged.conflicts {
            let reason =
                format!("its column {} is of another kind than on other nodes", conflict.column);
            let set = conflict.node.parse::<usize>().ok().and_then(|it| sets.get(it));
            for node in set.into_iter().flat_map(|it| &it.1) {
                let differs = format!("its table {} differs: {reason}", conflict.table);
                merged.missing.push(((*node).to_owned(), differs));
                merged.refused.push(RefusedTable {
                    node: (*node).to_owned(),
                    table: conflict.table.clone(),
                    reason: reason.clone(),
                });
            }
        }
        merged.sets = sets.into_iter().map(|(set, _)| Arc::clone(set)).collect();
        // Who has a table that differs is not asked at all: one plan goes to every node.
        merged
            .members
            .retain(|member| merged.refused.iter().all(|refused| refused.node != member.node));
        merged.missing.sort_by(|a, b| a.0.cmp(&b.0));
        merged.missing.dedup_by(|a, b| a.0 == b.0);
        merged
    }
}

/// A name that can stand in a log, a file and a table.
fn check(hello: &Hello) -> Result<(), String> {
    if hello.node.is_empty()
        || hello.node.len() > NAME_BYTES
        || hello.node.chars().any(char::is_control)
    {
        return Err(format!("{:?} is not a name for a node", hello.node));
    }
    if hello.tables.len() > TABLES || hello.tables.iter().any(|table| table.fields.len() > COLUMNS)
    {
        return Err(format!("more than {TABLES} tables, or {COLUMNS} columns in one"));
    }
    Ok(())
}

/// These tables, or those of another node if they are the same.
fn shared(workers: &BTreeMap<String, Entry>, tables: Vec<Table>) -> Arc<Vec<Table>> {
    let mut seen: Vec<&Arc<Vec<Table>>> = Vec::new();
    for entry in workers.values() {
        if seen.iter().any(|it| Arc::ptr_eq(it, &entry.tables)) {
            continue;
        }
        if *entry.tables == tables {
            return Arc::clone(&entry.tables);
        }
        seen.push(&entry.tables);
    }
    Arc::new(tables)
}

/// Why a node of that version cannot be sent plans, if so.
fn other_version(version: &str) -> Option<String> {
    let ours = query::version();
    (version != ours)
        .then(|| format!("it runs version {version}, this hub {ours}: upgrade the older one"))
}

/// Tells a Worker what is known of the cluster, as long as it is there and has a use for it.
async fn tell(cluster: Cluster, client: Client, node: String) {
    loop {
        let mut told = cluster.subscribe();
        while let Some(update) = told.next().await {
            match client.identity(&update).await {
                Ok(true) => {}
                Ok(false) | Err(CallError::Gone(_)) => return,
                Err(error @ CallError::Odd(_)) => {
                    info!(node, %error, "a worker has no use for names");
                    return;
                }
                Err(error) => {
                    warn!(node, %error, "a worker was not told who has which address");
                    break;
                }
            }
        }
        // What it has taken of that isn't known: again from the beginning.
        tokio::time::sleep(TELL_AGAIN).await;
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// No set's name, which are numbers.
const HUB: &str = "hub";
static NEXT_LINK: AtomicU64 = AtomicU64::new(0);
const TELL_AGAIN: Duration = Duration::from_secs(1);
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// How long the linked Worker of a name has to answer before a newcomer takes the name.
const HOLDER: Duration = Duration::from_secs(1);
/// How long a node that went is missed in answers: long enough to see an incident, short enough for a
/// cluster that shrank.
const MISSED: Duration = Duration::from_secs(15 * 60);
/// How long it is listed.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Ten times the largest cluster aimed at.
const WORKERS: usize = 10_000;
const NAME_BYTES: usize = 253;
const TABLES: usize = 1_000;
const COLUMNS: usize = 2_000;
