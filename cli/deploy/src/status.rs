//! How an installation does, and why it does not.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::cluster::{Cluster, MANAGED, selector};

/// How an installation does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version that is installed.
    pub version: String,
    /// Which tool looks after it.
    pub managed_by: String,
    /// The Hub's pod.
    pub hub: Count,
    /// The Workers' pods.
    pub workers: Count,
    /// Every pod.
    pub pods: Vec<PodStatus>,
    /// Why not everything is ready, one sentence each.
    pub reasons: Vec<String>,
}

/// How many of those wanted are ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How many there are to be.
    pub wanted: i32,
    /// How many are, in this version.
    pub ready: i32,
    /// The cluster has taken note of the last change.
    pub settled: bool,
}

/// A pod of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodStatus {
    /// Its name.
    pub name: String,
    /// `hub` or `worker`.
    pub component: String,
    /// Where it runs, if it does.
    pub node: Option<String>,
    /// It does what it is for.
    pub ready: bool,
    /// How often its container began anew.
    pub restarts: i32,
    /// Why it is not ready.
    pub reason: Option<String>,
}

impl Status {
    /// Whether there is nothing more to wait for.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.hub.is_ready() && self.workers.is_ready()
    }
}

impl Count {
    const fn is_ready(&self) -> bool {
        self.settled && self.ready >= self.wanted
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { wanted, ready, .. } = self.workers;
        let hub = if self.hub.is_ready() && self.hub.wanted > 0 { "ready" } else { "not ready" };
        write!(f, "Hub {hub}, {ready} of {wanted} Workers ready")
    }
}

impl Cluster {
    pub(crate) async fn deployment(&self) -> Result<Option<Deployment>, Error> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut all = api.list(&self.ours()).await.map_err(Error::of("looking for the Hub"))?.items;
        Ok(all.pop())
    }

    pub(crate) async fn pods(&self) -> Result<Vec<Pod>, Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(api.list(&self.ours()).await.map_err(Error::of("looking for pods"))?.items)
    }

    fn ours(&self) -> ListParams {
        ListParams::default().labels(&selector(&self.release))
    }

    /// How it does.
    pub async fn status(&self) -> Result<Status, Error> {
        let hub = self.deployment().await?.ok_or_else(|| self.not_installed())?;
        let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let sets = sets.list(&self.ours()).await.map_err(Error::of("looking for Workers"))?.items;
        let workers = sets.first();
        let label = |name: &str| hub.labels().get(name).cloned().unwrap_or_default();
        let mut status = Status {
            version: label("app.kubernetes.io/version"),
            managed_by: label(MANAGED),
            hub: of_deployment(&hub),
            workers: workers.map(of_daemon_set).unwrap_or_default(),
            pods: self.pods().await?.iter().map(of_pod).collect(),
            reasons: Vec::new(),
        };
        status.pods.sort_by(|a, b| (&a.component, &a.name).cmp(&(&b.component, &b.name)));
        if workers.is_none() {
            status.reasons.push("there are no Workers: their DaemonSet is gone".to_owned());
        }
        for pod in &status.pods {
            if let Some(reason) = &pod.reason {
                let on = pod.node.as_ref().map(|it| format!(" on {it}")).unwrap_or_default();
                status.reasons.push(format!("{}{on}: {reason}", pod.name));
            }
        }
        if status.workers.settled && status.workers.wanted == 0 && workers.is_some() {
            let none = "no node is to have a Worker: see targeting.nodes and worker.nodeSelector";
            status.reasons.push(none.to_owned());
        }
        if !status.is_ready() && status.reasons.is_empty() {
            let sets = workers.map(|it| it.name_any());
            status.reasons = self.refused(&hub.name_any(), sets.as_deref()).await?;
        }
        Ok(status)
    }

    /// Why there are fewer pods than there should be: quota, Pod Security and webhooks say it in events only.
    async fn refused(&self, hub: &str, workers: Option<&str>) -> Result<Vec<String>, Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = match api.list(&ListParams::default().limit(EVENTS)).await {
            Ok(list) => list.items,
            // The state itself is still worth telling.
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(Vec::new()),
            Err(why) => return Err(Error::of("looking for events")(why)),
        };
        let mut last = BTreeMap::new();
        for event in &all {
            let of = event.involved_object.name.as_deref().unwrap_or_default();
            let kind = event.involved_object.kind.as_deref().unwrap_or_default();
            let ours = match kind {
                "DaemonSet" => Some(of) == workers,
                "ReplicaSet" => of.strip_prefix(hub).is_some_and(|it| it.starts_with('-')),
                _ => false,
            };
            if ours && event.reason.as_deref() == Some("FailedCreate") {
                last.insert(of, event.message.clone().unwrap_or_default());
            }
        }
        Ok(last
            .into_iter()
            .map(|(of, why)| {
                let fix = if why.contains("PodSecurity") {
                    format!(
                        " (`kubectl label namespace {} pod-security.kubernetes.io/enforce=privileged` \
                         permits Workers, profile=unprivileged does without)",
                        self.namespace
                    )
                } else {
                    String::new()
                };
                format!("{of}: {why}{fix}")
            })
            .collect())
    }

    /// Waits until everything is ready, telling whenever something has changed.
    pub async fn wait(
        &self,
        patience: Duration,
        tell: &mut (dyn FnMut(&Status) + Send),
    ) -> Result<Status, Error> {
        let end = Instant::now() + patience;
        let mut told = None;
        loop {
            let status = match self.status().await {
                Ok(status) => status,
                // An API server that is busy or away comes back.
                Err(Error::Api { .. }) if Instant::now() < end => {
                    sleep(STEP).await;
                    continue;
                }
                Err(why) => return Err(why),
            };
            if told.as_ref() != Some(&status) {
                tell(&status);
            }
            if status.is_ready() {
                return Ok(status);
            }
            if Instant::now() >= end {
                let why = match status.reasons.as_slice() {
                    [] => status.to_string(),
                    reasons => format!("{status}; {}", reasons.join("; ")),
                };
                return Err(Error::NotReady { seconds: patience.as_secs(), why });
            }
            told = Some(status);
            sleep(STEP).await;
        }
    }
}

fn of_deployment(it: &Deployment) -> Count {
    let status = it.status.clone().unwrap_or_default();
    let wanted = it.spec.as_ref().and_then(|it| it.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or_default();
    Count {
        wanted,
        ready: status.ready_replicas.unwrap_or_default().min(updated),
        settled: status.observed_generation >= it.metadata.generation,
    }
}

fn of_daemon_set(it: &DaemonSet) -> Count {
    let status = it.status.clone().unwrap_or_default();
    let updated = status.updated_number_scheduled.unwrap_or_default();
    Count {
        wanted: status.desired_number_scheduled,
        ready: status.number_ready.min(updated),
        settled: status.observed_generation >= it.metadata.generation,
    }
}

fn of_pod(pod: &Pod) -> PodStatus {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |name: &str| conditions.iter().find(|it| it.type_ == name);
    let ready = condition("Ready").is_some_and(|it| it.status == "True");
    let waiting = containers.iter().find_map(|it| {
        let waiting = it.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or_default();
        // It is on its way.
        if ["ContainerCreating", "PodInitializing"].contains(&reason) {
            return None;
        }
        let ended = it.last_state.as_ref().and_then(|it| it.terminated.as_ref());
        let ended = ended.map(|it| match it.reason.as_deref() {
            Some("OOMKilled") => " (its memory did not suffice)".to_owned(),
            _ => format!(" (it ended with {})", it.exit_code),
        });
        let message = waiting.message.as_deref().unwrap_or_default();
        Some(format!("{reason}: {message}{}", ended.unwrap_or_default()))
    });
    let unscheduled = condition("PodScheduled").filter(|it| it.status == "False");
    let unscheduled = unscheduled.map(|it| {
        let reason = it.reason.as_deref().unwrap_or("not scheduled");
        format!("{reason}: {}", it.message.as_deref().unwrap_or_default())
    });
    let failed = (status.phase.as_deref() == Some("Failed")).then(|| {
        let reason = status.reason.as_deref().unwrap_or("Failed");
        format!("{reason}: {}", status.message.as_deref().unwrap_or_default())
    });
    PodStatus {
        name: pod.name_any(),
        component: pod.labels().get("app.kubernetes.io/component").cloned().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|it| it.node_name.clone()),
        ready,
        restarts: containers.iter().map(|it| it.restart_count).sum(),
        reason: if ready { None } else { failed.or(unscheduled).or(waiting) },
    }
}

/// Events of an hour, in a namespace that is as good as ours alone.
const EVENTS: u32 = 1000;
const STEP: Duration = Duration::from_millis(500);
