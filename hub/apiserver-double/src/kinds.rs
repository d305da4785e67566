//! The kinds that the double serves.

/// A kind of object and where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The name in a path.
    pub plural: &'static str,
    /// The name in an object.
    pub kind: &'static str,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// What an object of it says as `apiVersion`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The kind with that name in a path.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        let is = |it: &&Self| it.group == group && it.version == version && it.plural == plural;
        KINDS.iter().find(is)
    }

    /// The kind of an object.
    pub fn of(api_version: &str, kind: &str) -> Option<&'static Self> {
        KINDS.iter().find(|it| it.kind == kind && it.api_version() == api_version)
    }
}

const fn kind(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Kind {
    Kind { group, version, plural, kind, namespaced }
}

/// All of them.
pub const KINDS: &[Kind] = &[
    kind("", "v1", "configmaps", "ConfigMap", true),
    kind("", "v1", "endpoints", "Endpoints", true),
    kind("", "v1", "events", "Event", true),
    kind("", "v1", "namespaces", "Namespace", false),
    kind("", "v1", "nodes", "Node", false),
    kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    kind("", "v1", "pods", "Pod", true),
    kind("", "v1", "resourcequotas", "ResourceQuota", true),
    kind("", "v1", "secrets", "Secret", true),
    kind("", "v1", "serviceaccounts", "ServiceAccount", true),
    kind("", "v1", "services", "Service", true),
    kind("apps", "v1", "daemonsets", "DaemonSet", true),
    kind("apps", "v1", "deployments", "Deployment", true),
    kind("apps", "v1", "replicasets", "ReplicaSet", true),
    kind("apps", "v1", "statefulsets", "StatefulSet", true),
    kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", false),
    kind(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        false,
    ),
    kind("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", false),
    kind("batch", "v1", "cronjobs", "CronJob", true),
    kind("batch", "v1", "jobs", "Job", true),
    kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true),
    kind("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor", true),
    kind("networking.k8s.io", "v1", "ingresses", "Ingress", true),
    kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true),
    kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
    kind("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false),
    kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false),
    kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true),
    kind("rbac.authorization.k8s.io", "v1", "roles", "Role", true),
    kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false),
    kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", false),
];
