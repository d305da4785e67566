//! An object of the cluster, and how the API server names its kind.

use kube::api::DynamicObject;
use kube::core::{ApiResource, TypeMeta};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::Value;

/// One object of the chart.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Object {
    json: Value,
    #[serde(skip)]
    kind: &'static Kind,
}

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
}

/// Every kind that the chart makes, in the order in which objects can be made; they go in the opposite one.
pub(crate) static KINDS: &[Kind] = &[
    Kind::clusterwide("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses"),
    Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts"),
    Kind::namespaced("", "v1", "Secret", "secrets"),
    Kind::namespaced("", "v1", "ConfigMap", "configmaps"),
    Kind::clusterwide("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
    Kind::clusterwide(
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
    ),
    Kind::namespaced("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    Kind::namespaced("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    Kind::namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    Kind::namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind::namespaced("", "v1", "Service", "services"),
    Kind::namespaced("apps", "v1", "Deployment", "deployments"),
    Kind::namespaced("apps", "v1", "DaemonSet", "daemonsets"),
    Kind::namespaced("networking.k8s.io", "v1", "Ingress", "ingresses"),
    Kind::namespaced("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
];

impl Kind {
    const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self { group, version, kind, plural, namespaced: true }
    }

    const fn clusterwide(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self { group, version, kind, plural, namespaced: false }
    }

    pub(crate) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether Kubernetes itself does not have it.
    pub(crate) fn is_foreign(&self) -> bool {
        self.group.ends_with(".com")
    }

    /// The object, saying that it is of this kind.
    pub(crate) fn of(&self, object: DynamicObject) -> DynamicObject {
        let types = TypeMeta { api_version: self.api_version(), kind: self.kind.to_owned() };
        DynamicObject { types: Some(types), ..object }
    }

    pub(crate) fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        };
        if self.namespaced {
            Api::namespaced_with(client.clone(), namespace, &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        }
    }
}

impl Object {
    /// Takes a document, if it is of a kind that is known and has a name.
    pub(crate) fn new(json: Value) -> Result<Self, String> {
        let text = |at: &str| json.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let known = KINDS.iter().find(|it| it.kind == kind && it.api_version() == version);
        let known = known.ok_or_else(|| format!("{version} {kind} is no kind that is known"))?;
        if name.is_empty() {
            return Err(format!("a {kind} has no name"));
        }
        Ok(Self { kind: known, json })
    }

    /// The kind's name, such as `Deployment`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind.kind
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.json.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// All of it.
    #[must_use]
    pub const fn json(&self) -> &Value {
        &self.json
    }

    pub(crate) const fn of(&self) -> &'static Kind {
        self.kind
    }

    pub(crate) fn order(&self) -> usize {
        KINDS.iter().position(|it| it == self.kind).unwrap_or_default()
    }

    /// As people name it: `Deployment kubeshark-hub`.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} {}", self.kind(), self.name())
    }
}
