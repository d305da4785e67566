//! What stands in the way of an installation, before it is tried.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::install::level;
use crate::object::KINDS;
use crate::uninstall::LIVES_IN;
use crate::{Error, Plan};

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works, but not all of it, or it can't be known from here.
    Warning,
    /// It will not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub about: String,
    /// How it stands.
    pub verdict: Grade,
    /// What was found.
    pub found: String,
    /// What to do, if something is to be done.
    pub fix: Option<String>,
}

impl Finding {
    fn good(about: &str, found: impl Into<String>) -> Self {
        Self { about: about.to_owned(), verdict: Grade::Good, found: found.into(), fix: None }
    }

    fn new(about: &str, verdict: Grade, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), verdict, ..Self::good(about, found) }
    }
}

/// A right that is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Right {
    /// What is done.
    pub verb: String,
    /// The API's group; empty for the core.
    pub group: String,
    /// The plural, with the subresource behind a slash.
    pub resource: String,
    /// Empty for all, and for what is in none.
    pub namespace: String,
}

impl Right {
    fn shown(&self) -> String {
        let mut text = format!("{} {}", self.verb, self.resource);
        if !self.group.is_empty() {
            text.push('.');
            text.push_str(&self.group);
        }
        text
    }
}

impl Cluster {
    /// Looks at everything that the plan needs.
    pub async fn check(&self, plan: &Plan) -> Result<Vec<Finding>, Error> {
        let mut findings = vec![self.check_version().await?];
        findings.extend(self.check_rights(plan).await?);
        findings.extend(self.check_pod_security(plan).await?);
        findings.extend(self.check_nodes(plan).await?);
        findings.extend(self.check_storage(plan).await?);
        Ok(findings)
    }

    async fn check_version(&self) -> Result<Finding, Error> {
        let about = "Kubernetes";
        let version = match self.client.apiserver_version().await {
            Ok(version) => version,
            Err(kube::Error::Api(status)) => {
                let found = format!("its version is not told: {}", status.message);
                return Ok(Finding::new(about, Grade::Warning, found, "it is to be 1.25 at least"));
            }
            Err(why) => return Err(Error::of("asking for the version")(why)),
        };
        let minor: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
        let minor = minor.parse::<u32>().unwrap_or_default();
        if version.major == "1" && minor < 25 {
            let fix = "Kubeshark needs 1.25 at least";
            return Ok(Finding::new(about, Grade::Bad, version.git_version, fix));
        }
        Ok(Finding::good(about, version.git_version))
    }

    async fn check_rights(&self, plan: &Plan) -> Result<Vec<Finding>, Error> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let rights = rights(plan, &self.namespace);
        let count = rights.len();
        let answers = stream::iter(rights).map(|right| {
            let api = api.clone();
            async move {
                let (resource, sub) =
                    right.resource.split_once('/').unwrap_or((&right.resource, ""));
                let review = SelfSubjectAccessReview {
                    spec: SelfSubjectAccessReviewSpec {
                        resource_attributes: Some(ResourceAttributes {
                            verb: Some(right.verb.clone()),
                            group: Some(right.group.clone()),
                            resource: Some(resource.to_owned()),
                            subresource: some(sub),
                            namespace: some(&right.namespace),
                            ..ResourceAttributes::default()
                        }),
                        ..SelfSubjectAccessReviewSpec::default()
                    },
                    ..SelfSubjectAccessReview::default()
                };
                let answer = api.create(&PostParams::default(), &review).await;
                let answer = answer.map_err(Error::of("asking what is permitted"))?;
                let status = answer.status.unwrap_or_default();
                Ok::<_, Error>((right, status.allowed, status.reason.unwrap_or_default()))
            }
        });
        let answers: Vec<_> = answers.buffered(AT_ONCE).collect().await;
        let mut findings = Vec::new();
        for answer in answers {
            let (right, allowed, reason) = answer?;
            if allowed {
                continue;
            }
            let place = match right.namespace.as_str() {
                "" => "in the whole cluster".to_owned(),
                namespace => format!("in namespace {namespace}"),
            };
            let mut found = format!("you may not {} {place}", right.shown());
            if !reason.is_empty() {
                found = format!("{found}: {reason}");
            }
            let fix = "ask for a role that permits it, such as cluster-admin, or let somebody who \
                       has it install the chart";
            findings.push(Finding::new("permissions", Grade::Bad, found, fix));
        }
        if findings.is_empty() {
            let found = format!("all {count} rights that are needed are there");
            findings.push(Finding::good("permissions", found));
        }
        Ok(findings)
    }

    async fn check_pod_security(&self, plan: &Plan) -> Result<Vec<Finding>, Error> {
        let about = "Pod Security";
        let needed = level(&plan.values);
        let api: Api<Namespace> = Api::all(self.client.clone());
        let name = &self.namespace;
        Ok(vec![match api.get_opt(name).await {
            Ok(None) => {
                let found = format!("namespace {name} will be made, and admit `{needed}`");
                Finding::good(about, found)
            }
            Ok(Some(namespace)) => {
                let admits = namespace.labels().get("pod-security.kubernetes.io/enforce");
                let admits = admits.map(String::as_str);
                match (needed, admits) {
                    ("privileged", Some(level @ ("baseline" | "restricted"))) => Finding::new(
                        about,
                        Grade::Bad,
                        format!(
                            "namespace {name} admits only `{level}`, Workers need `privileged`"
                        ),
                        format!(
                            "`kubectl label --overwrite namespace {name} \
                             pod-security.kubernetes.io/enforce=privileged`, or profile=unprivileged, \
                             which does not capture by itself"
                        ),
                    ),
                    (_, None) if needed == "privileged" => Finding::good(
                        about,
                        format!("namespace {name} says nothing, so the cluster's default counts"),
                    ),
                    (_, level) => {
                        let level = level.unwrap_or("the cluster's default");
                        Finding::good(about, format!("namespace {name} admits `{level}`"))
                    }
                }
            }
            Err(kube::Error::Api(status)) if status.code == 403 => Finding::new(
                about,
                Grade::Warning,
                format!("namespace {name} can't be looked at"),
                format!("its label pod-security.kubernetes.io/enforce is to be `{needed}`"),
            ),
            Err(why) => return Err(Error::of("looking at the namespace")(why)),
        }])
    }

    async fn check_nodes(&self, plan: &Plan) -> Result<Vec<Finding>, Error> {
        let about = "nodes";
        let api: Api<Node> = Api::all(self.client.clone());
        let nodes = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let fix = format!(
                    "they are to run Linux on amd64 or arm64, for tracing with a kernel of \
                     {}.{} at least",
                    TRACING.0, TRACING.1
                );
                let found = "nodes can't be looked at";
                return Ok(vec![Finding::new(about, Grade::Warning, found, fix)]);
            }
            Err(why) => return Err(Error::of("looking at the nodes")(why)),
        };
        let tracing = plan.values["tracing"]["enabled"] == Value::Bool(true);
        let mut findings = Vec::new();
        let mut kernels = BTreeSet::new();
        for node in &nodes {
            let name = node.name_any();
            let info = node.status.clone().unwrap_or_default().node_info.unwrap_or_default();
            kernels.insert(info.kernel_version.clone());
            if info.operating_system != "linux" {
                let found = format!("{name} runs {}", info.operating_system);
                let fix = "Workers run on Linux: worker.nodeSelector keeps them from it";
                findings.push(Finding::new(about, Grade::Bad, found, fix));
            }
            if !["amd64", "arm64"].contains(&info.architecture.as_str()) {
                let found = format!("{name} is {}", info.architecture);
                let fix = "there are images for amd64 and arm64";
                findings.push(Finding::new(about, Grade::Bad, found, fix));
            }
            if tracing && kernel(&info.kernel_version).is_some_and(|it| it < TRACING) {
                let found = format!("{name} has kernel {}", info.kernel_version);
                let fix = format!(
                    "tracing needs {}.{} at least; without it, tracing.enabled=false",
                    TRACING.0, TRACING.1
                );
                findings.push(Finding::new(about, Grade::Bad, found, fix));
            }
        }
        if tracing && findings.is_empty() {
            findings.push(Finding::new(
                "BTF",
                Grade::Warning,
                "whether kernels describe their types can't be seen from here",
                "/sys/kernel/btf/vmlinux is to be there on every node; Workers say so when it is not",
            ));
        }
        if findings.iter().all(|it| it.verdict != Grade::Bad) {
            let kernels: Vec<_> = kernels.into_iter().collect();
            let found = format!("{} nodes, kernels {}", nodes.len(), kernels.join(", "));
            findings.push(match nodes.len() {
                0 => Finding::new(about, Grade::Bad, "there are none", "add one"),
                _ => Finding::good(about, found),
            });
        }
        Ok(findings)
    }

    async fn check_storage(&self, plan: &Plan) -> Result<Vec<Finding>, Error> {
        let about = "storage";
        let storage = &plan.values["worker"]["storage"];
        let kind = storage["kind"].as_str().unwrap_or_default();
        if kind != "volumeClaim" {
            let found = format!("{kind} of {}", storage["size"].as_str().unwrap_or_default());
            return Ok(vec![Finding::good(about, found)]);
        }
        let wanted = storage["storageClass"].as_str().unwrap_or_default();
        let api: Api<StorageClass> = Api::all(self.client.clone());
        let classes = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let fix = format!("there is to be a StorageClass `{wanted}`");
                let found = "StorageClasses can't be looked at";
                return Ok(vec![Finding::new(about, Grade::Warning, found, fix)]);
            }
            Err(why) => return Err(Error::of("looking at StorageClasses")(why)),
        };
        let is_default = |it: &StorageClass| {
            let usual = it.annotations().get("storageclass.kubernetes.io/is-default-class");
            usual.is_some_and(|it| it == "true")
        };
        let found = match wanted {
            "" => classes.iter().find(|it| is_default(it)),
            wanted => classes.iter().find(|it| it.name_any() == wanted),
        };
        Ok(vec![match found {
            Some(class) => Finding::good(about, format!("StorageClass {}", class.name_any())),
            None => {
                let names: Vec<_> = classes.iter().map(ResourceExt::name_any).collect();
                let found = match wanted {
                    "" => "no StorageClass is the default".to_owned(),
                    wanted => format!("there is no StorageClass {wanted}"),
                };
                let fix =
                    format!("set worker.storage.storageClass to one of: {}", names.join(", "));
                Finding::new(about, Grade::Bad, found, fix)
            }
        }])
    }
}

/// Every right that whoever installs, watches and removes it needs.
#[must_use]
pub fn rights(plan: &Plan, home: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let mut add = |verb: &str, group: &str, resource: &str, namespace: &str| {
        rights.insert(Right {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
        });
    };
    for object in &plan.objects {
        let kind = object.of();
        let namespace = if kind.namespaced { home } else { "" };
        for verb in ["get", "list", "create", "patch", "delete"] {
            add(verb, kind.group, kind.plural, namespace);
        }
        // Nobody can give rights that they don't have.
        if ["ClusterRole", "Role"].contains(&kind.kind) {
            let rules = object.json()["rules"].as_array().into_iter().flatten();
            for rule in rules {
                let all = |name: &str| {
                    let of = rule[name].as_array().into_iter().flatten();
                    of.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
                };
                for group in all("apiGroups") {
                    for resource in all("resources") {
                        for verb in all("verbs") {
                            add(&verb, &group, &resource, namespace);
                        }
                    }
                }
            }
        }
    }
    // What an earlier version made is to go, and a namespace only if nobody else is in it.
    for kind in KINDS.iter().filter(|it| !it.is_foreign()) {
        add("list", kind.group, kind.plural, if kind.namespaced { home } else { "" });
    }
    for (group, _, plural) in LIVES_IN {
        add("list", group, plural, home);
    }
    add("get", "", "pods", home);
    add("get", "", "pods/log", home);
    // Over web sockets it is a get, over SPDY a create.
    add("get", "", "pods/portforward", home);
    add("create", "", "pods/portforward", home);
    add("list", "", "events", home);
    for verb in ["get", "patch", "delete"] {
        add(verb, "", "namespaces", "");
    }
    // Which pods there are to tap.
    add("list", "", "pods", "");
    rights
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// `6.1.0-13-amd64` is 6.1.
fn kernel(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|it: char| !it.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Since when kernels have the ring buffer that tracing writes to.
const TRACING: (u32, u32) = (5, 8);
/// Questions that are under way together.
const AT_ONCE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_version_is_its_first_two_numbers() {
        assert_eq!(kernel("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(kernel("5.4.0+"), Some((5, 4)));
        assert!(kernel("4.19.112+") < Some(TRACING));
        assert_eq!(kernel("linux"), None);
    }
}
