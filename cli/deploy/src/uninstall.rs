//! Everything of ours out of the cluster, and nothing else.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, PropagationPolicy};
use kube::core::ApiResource;
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::cluster::{Cluster, MANAGED, US, selector};
use crate::install::News;

impl Cluster {
    /// Removes what is labelled as ours. True if there is nothing of it left by `patience`.
    pub async fn uninstall(
        &self,
        patience: Duration,
        tell: &mut (dyn FnMut(News) + Send),
    ) -> Result<bool, Error> {
        let all = self.everything().await?;
        let by = |it: &DynamicObject| it.labels().get(MANAGED).cloned().unwrap_or_default();
        // Another tool would bring it back, or trip over what is missing.
        if let Some((kind, it)) = all.iter().find(|it| by(&it.1) != US) {
            let by = match by(it).as_str() {
                "Helm" => format!("Helm (`helm uninstall {}` removes it)", self.release),
                "" => "somebody else".to_owned(),
                other => other.to_owned(),
            };
            return Err(Error::Managed { what: format!("{} {}", kind.kind, it.name_any()), by });
        }
        let delete = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        for (kind, it) in all.iter().rev() {
            let shown = format!("{} {}", kind.kind, it.name_any());
            let api = kind.api(&self.client, &self.namespace);
            match api.delete(&it.name_any(), &delete).await {
                Ok(_) => tell(News::Removed(shown)),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(why) => return Err(Error::of(format!("removing {shown}"))(why)),
            }
        }
        let end = Instant::now() + patience;
        let mut gone = self.gone(end).await?;
        if gone {
            gone = self.remove_namespace(end, tell).await?;
        }
        Ok(gone)
    }

    /// Waits until our pods are gone: until then a namespace is not empty.
    async fn gone(&self, end: Instant) -> Result<bool, Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let ours = ListParams::default().labels(&selector(&self.release));
        loop {
            let left = pods.list_metadata(&ours).await.map_err(Error::of("looking for pods"))?;
            if left.items.is_empty() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            sleep(STEP).await;
        }
    }

    /// The namespace goes if we made it and nobody else lives in it.
    async fn remove_namespace(
        &self,
        end: Instant,
        tell: &mut (dyn FnMut(News) + Send),
    ) -> Result<bool, Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let shown = format!("Namespace {}", self.namespace);
        let namespace = match api.get_opt(&self.namespace).await {
            Ok(Some(namespace)) => namespace,
            Ok(None) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(true),
            Err(why) => return Err(Error::of(format!("looking for {shown}"))(why)),
        };
        let labels = namespace.labels();
        let is = |label: &str, value: &str| labels.get(label).is_some_and(|it| it == value);
        if !is(MANAGED, US) || !is("app.kubernetes.io/instance", &self.release) {
            return Ok(true);
        }
        if namespace.metadata.deletion_timestamp.is_none() {
            if let Some(other) = self.somebody_else().await? {
                tell(News::Left(shown, format!("{other} is in it")));
                return Ok(true);
            }
            api.delete(&self.namespace, &DeleteParams::default())
                .await
                .map_err(Error::of(format!("removing {shown}")))?;
        }
        loop {
            let there = api.get_opt(&self.namespace).await;
            if there.map_err(Error::of(format!("looking for {shown}")))?.is_none() {
                tell(News::Removed(shown));
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            sleep(STEP).await;
        }
    }

    /// Anything in the namespace that is not a cluster's own.
    async fn somebody_else(&self) -> Result<Option<String>, Error> {
        for (group, kind, plural) in LIVES_IN {
            let resource = ApiResource {
                group: (*group).to_owned(),
                version: "v1".to_owned(),
                api_version: if group.is_empty() { "v1".into() } else { format!("{group}/v1") },
                kind: (*kind).to_owned(),
                plural: (*plural).to_owned(),
            };
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
            let list = match api.list_metadata(&ListParams::default()).await {
                Ok(list) => list.items,
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                // What can't be seen may be there.
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    return Ok(Some(format!(
                        "what may be there of {plural}, which can't be seen,"
                    )));
                }
                Err(why) => return Err(Error::of(format!("looking for {plural}"))(why)),
            };
            let other = list.iter().find(|it| {
                let name = it.name_any();
                let owned = !it.owner_references().is_empty();
                let usual = (*plural == "configmaps" && name == "kube-root-ca.crt")
                    || (*plural == "serviceaccounts" && name == "default");
                !owned && !usual && it.metadata.deletion_timestamp.is_none()
            });
            if let Some(other) = other {
                return Ok(Some(format!("{kind} {}", other.name_any())));
            }
        }
        Ok(None)
    }
}

/// What people put into namespaces.
pub(crate) const LIVES_IN: &[(&str, &str, &str)] = &[
    ("", "Pod", "pods"),
    ("apps", "Deployment", "deployments"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps", "DaemonSet", "daemonsets"),
    ("batch", "Job", "jobs"),
    ("batch", "CronJob", "cronjobs"),
    ("", "Service", "services"),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("", "ConfigMap", "configmaps"),
    ("", "Secret", "secrets"),
    ("", "ServiceAccount", "serviceaccounts"),
];
const STEP: Duration = Duration::from_millis(500);
