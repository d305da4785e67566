//! Which pods are meant.

use cluster::{Candidate, Matcher, Targeting};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::Serialize;

use crate::Error;
use crate::cluster::{Cluster, selector};

/// A pod that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Its address, once it has one.
    pub address: Option<String>,
    /// It shares its node's address.
    pub host_network: bool,
}

/// Whether a pod is tapped, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its traffic is kept.
    pub tapped: bool,
    /// Why, or all that is against it.
    pub why: Vec<String>,
}

/// All that is against a pod; nothing if it is meant.
fn against(matcher: &Matcher, pod: &Pod) -> Vec<String> {
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    let node = pod.spec.as_ref().and_then(|it| it.node_name.as_deref());
    let candidate = Candidate { name: &name, namespace: &namespace, labels: pod.labels(), node };
    let mut against = matcher.against(&candidate);
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        against.push("it has ended".to_owned());
    }
    against
}

fn matcher(of: &Targeting) -> Result<Matcher, Error> {
    of.matcher().map_err(|why| Error::Values(why.to_string()))
}

impl Cluster {
    /// The pods that are meant, as of now.
    pub async fn targets(&self, of: &Targeting) -> Result<Vec<Target>, Error> {
        let matcher = matcher(of)?;
        let mut params = ListParams::default().limit(PAGE);
        if !of.selector.is_empty() {
            params = params.labels(&of.selector);
        }
        let mut targets = Vec::new();
        let namespaces = match of.namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().map(Some).collect(),
        };
        for namespace in namespaces {
            let api: Api<Pod> = match namespace {
                None => Api::all(self.client.clone()),
                Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            };
            let mut params = params.clone();
            loop {
                let page = api.list(&params).await.map_err(Error::of("listing pods"))?;
                targets.extend(
                    page.items.iter().filter(|it| against(&matcher, it).is_empty()).map(target),
                );
                match page.metadata.continue_.filter(|it| !it.is_empty()) {
                    Some(next) => params = params.continue_token(&next),
                    None => break,
                }
            }
        }
        targets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(targets)
    }

    /// The targeting that is in force.
    pub async fn targeting(&self) -> Result<Targeting, Error> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let list = ListParams::default().labels(&selector(&self.release));
        let all = api.list(&list).await.map_err(Error::of("reading the settings"))?.items;
        let text = all.iter().find_map(|it| it.data.as_ref()?.get(TARGETING));
        let text = text.ok_or_else(|| self.not_installed())?;
        serde_json::from_str(text).map_err(|why| Error::Api {
            what: "reading the settings".to_owned(),
            why: format!("{TARGETING} of the ConfigMap can't be read: {why}"),
        })
    }

    /// Whether a pod is tapped, and why.
    pub async fn verdict(&self, namespace: &str, name: &str) -> Result<Verdict, Error> {
        let targeting = self.targeting().await?;
        let matcher = matcher(&targeting)?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("looking for pod {name} in namespace {namespace}");
        let pod = api.get(name).await.map_err(Error::of(what))?;
        let mut why = against(&matcher, &pod);
        let node = pod.spec.as_ref().and_then(|it| it.node_name.as_deref());
        let worker = self.pods().await?.into_iter().find(|it| {
            let component = it.labels().get("app.kubernetes.io/component");
            component.is_some_and(|it| it == "worker")
                && it.spec.as_ref().and_then(|it| it.node_name.as_deref()) == node
        });
        match (worker, node) {
            (_, None) => {}
            (None, Some(node)) => why.push(format!("there is no Worker on its node {node}")),
            (Some(worker), Some(node)) => {
                let conditions = worker.status.unwrap_or_default().conditions.unwrap_or_default();
                if !conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True") {
                    why.push(format!("the Worker on its node {node} is not ready"));
                }
            }
        }
        let tapped = why.is_empty();
        if tapped {
            why.push(match targeting.is_all() {
                true => "all pods are".to_owned(),
                false => "it is what was asked for".to_owned(),
            });
            if target(&pod).host_network {
                why.push(
                    "it shares its node's address, so its traffic may carry the node's name"
                        .to_owned(),
                );
            }
        }
        Ok(Verdict { tapped, why })
    }
}

fn target(pod: &Pod) -> Target {
    let spec = pod.spec.as_ref();
    Target {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        node: spec.and_then(|it| it.node_name.clone()),
        address: pod.status.as_ref().and_then(|it| it.pod_ip.clone()),
        host_network: spec.and_then(|it| it.host_network).unwrap_or_default(),
    }
}

const TARGETING: &str = "targeting.json";
/// Pods of one answer of the API server.
const PAGE: u32 = 500;
