//! Objects into the cluster, by server-side apply.
//!
//! What others have set stays: a field that they own is left out of what we apply, and said.

use std::fmt;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::Status;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::{Cluster, MANAGED, US};
use crate::object::Object;
use crate::{Error, Plan};

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// It is new.
    Made(String),
    /// It was there, and is different now.
    Changed(String),
    /// It was there already as it should be.
    Same(String),
    /// Somebody else set a field, and it was left as it is.
    Kept {
        /// The object.
        object: String,
        /// The field.
        field: String,
        /// Who set it.
        by: String,
    },
    /// It went.
    Removed(String),
    /// It stays, for that reason.
    Left(String, String),
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(it) => write!(f, "made {it}"),
            Self::Changed(it) => write!(f, "changed {it}"),
            Self::Same(it) => write!(f, "{it} is as it should be"),
            Self::Kept { object, field, by } => {
                write!(f, "left {field} of {object} as {by} has set it")
            }
            Self::Removed(it) => write!(f, "removed {it}"),
            Self::Left(it, why) => write!(f, "left {it}: {why}"),
        }
    }
}

impl Cluster {
    /// Makes or changes everything of the plan, and removes what an earlier one had made and this one has not.
    pub async fn install(
        &self,
        plan: &Plan,
        tell: &mut (dyn FnMut(News) + Send),
    ) -> Result<(), Error> {
        let before = self.look(plan).await?;
        if let Some(news) = self.make_namespace(plan).await? {
            tell(news);
        }
        for (object, there) in plan.objects.iter().zip(before) {
            let version = there.as_ref().and_then(|it| it.resource_version());
            let now = self.apply(object, tell).await?;
            tell(match there {
                None => News::Made(object.shown()),
                Some(_) if version == now.resource_version() => News::Same(object.shown()),
                Some(_) => News::Changed(object.shown()),
            });
        }
        self.prune(plan, tell).await
    }

    /// What is there of the plan, before anything is changed: nothing is, if something is not ours.
    async fn look(&self, plan: &Plan) -> Result<Vec<Option<DynamicObject>>, Error> {
        let mut there = Vec::with_capacity(plan.objects.len());
        for object in &plan.objects {
            let api = object.of().api(&self.client, &self.namespace);
            let found = api.get_opt(object.name()).await;
            let found = found.map_err(Error::of(format!("looking for {}", object.shown())))?;
            if let Some(it) = &found {
                let by = it.labels().get(MANAGED).map(String::as_str);
                if by != Some(US) {
                    let by = match by {
                        Some("Helm") => "Helm (`helm upgrade` changes it)".to_owned(),
                        Some(other) => other.to_owned(),
                        None => "somebody else".to_owned(),
                    };
                    return Err(Error::Managed { what: object.shown(), by });
                }
            }
            there.push(found);
        }
        Ok(there)
    }

    /// The namespace, unless it is there: then it is not ours to change.
    async fn make_namespace(&self, plan: &Plan) -> Result<Option<News>, Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.get_opt(&self.namespace).await {
            Ok(Some(_)) => return Ok(None),
            Ok(None) => {}
            // Those who may not look may still have been given one.
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
            Err(why) => return Err(Error::of("looking for the namespace")(why)),
        }
        let level = level(&plan.values);
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {
                "app.kubernetes.io/name": "kubeshark",
                "app.kubernetes.io/instance": self.release,
                MANAGED: US,
                "pod-security.kubernetes.io/enforce": level,
            }},
        });
        let shown = format!("Namespace {}", self.namespace);
        let params = PatchParams::apply(US);
        api.patch(&self.namespace, &params, &Patch::Apply(&namespace))
            .await
            .map_err(Error::of(format!("making {shown}")))?;
        Ok(Some(News::Made(shown)))
    }

    async fn apply(
        &self,
        object: &Object,
        tell: &mut (dyn FnMut(News) + Send),
    ) -> Result<DynamicObject, Error> {
        let api = object.of().api(&self.client, &self.namespace);
        let mut json = object.json().clone();
        let mut params = PatchParams::apply(US);
        // Whoever sets fields while we look at them may do so once or twice.
        for _ in 0..TRIES {
            let status = match api.patch(object.name(), &params, &Patch::Apply(&json)).await {
                Ok(now) => return Ok(now),
                Err(kube::Error::Api(status)) if status.code == 409 => status,
                Err(why) => return Err(Error::of(format!("applying {}", object.shown()))(why)),
            };
            let conflicts = conflicts(&status);
            let failed = || Error::Api {
                what: format!("applying {}", object.shown()),
                why: status.message.clone(),
            };
            if conflicts.is_empty() {
                return Err(failed());
            }
            for (field, by) in conflicts {
                // The Hub writes down what is changed while it runs; what is installed now is newer.
                if by == US || by.strip_prefix(US).is_some_and(|it| it.starts_with('-')) {
                    params.force = true;
                } else if take(&mut json, &field) {
                    tell(News::Kept { object: object.shown(), field, by });
                } else {
                    return Err(failed());
                }
            }
        }
        Err(Error::Api {
            what: format!("applying {}", object.shown()),
            why: "somebody else sets the same fields all the time".to_owned(),
        })
    }

    async fn prune(&self, plan: &Plan, tell: &mut (dyn FnMut(News) + Send)) -> Result<(), Error> {
        for (kind, it) in self.everything().await? {
            let name = it.name_any();
            let planned = plan.objects.iter().any(|it| it.of() == kind && it.name() == name);
            let ours = it.labels().get(MANAGED).map(String::as_str) == Some(US);
            if planned || !ours || it.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let shown = format!("{} {name}", kind.kind);
            let api = kind.api(&self.client, &self.namespace);
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => tell(News::Removed(shown)),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(why) => return Err(Error::of(format!("removing {shown}"))(why)),
            }
        }
        Ok(())
    }
}

/// The Pod Security level that what these values make needs.
pub(crate) fn level(values: &Value) -> &'static str {
    match values["profile"].as_str() {
        Some("unprivileged") => "restricted",
        _ => "privileged",
    }
}

/// The fields that others own, with who does.
fn conflicts(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|it| &it.causes);
    let of = causes.filter(|it| it.reason == "FieldManagerConflict").filter_map(|it| {
        let by = it.message.split('"').nth(1)?;
        Some((it.field.clone(), by.to_owned()))
    });
    of.collect()
}

/// Takes a field away, named as the API server does: `.spec.ports[name="http"].port`, where a key may hold dots. Whether
/// there was one.
fn take(json: &mut Value, field: &str) -> bool {
    match json {
        Value::Object(map) => {
            let Some(rest) = field.strip_prefix('.') else { return false };
            // The longest key that fits: `a.b/c` before `a`.
            let keys = map.keys().filter(|key| {
                let behind = rest.strip_prefix(key.as_str());
                behind.is_some_and(|it| it.is_empty() || it.starts_with(['.', '[']))
            });
            let Some(key) = keys.max_by_key(|it| it.len()).cloned() else { return false };
            match rest.strip_prefix(key.as_str()) {
                None | Some("") => map.remove(&key).is_some(),
                Some(behind) => map.get_mut(&key).is_some_and(|it| take(it, behind)),
            }
        }
        Value::Array(list) => {
            let Some((step, behind)) = field.strip_prefix('[').and_then(|it| it.split_once(']'))
            else {
                return false;
            };
            let at = match step.strip_prefix('=') {
                Some(value) => list.iter().position(|it| is(it, value)),
                None if step.contains('=') => list.iter().position(|it| {
                    step.split(',').all(|part| {
                        part.split_once('=').is_some_and(|(key, value)| is(&it[key], value))
                    })
                }),
                None => step.parse().ok(),
            };
            let Some(at) = at.filter(|it| *it < list.len()) else { return false };
            if behind.is_empty() {
                list.remove(at);
                return true;
            }
            list.get_mut(at).is_some_and(|it| take(it, behind))
        }
        _ => false,
    }
}

/// Whether it is what a path says in JSON.
fn is(value: &Value, said: &str) -> bool {
    serde_json::from_str::<Value>(said).is_ok_and(|it| it == *value)
}

const TRIES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_the_api_servers_name_for_it() {
        let all = json!({"metadata": {"annotations": {"a.b/c": "1", "a": "2"}, "finalizers": ["x"]},
            "spec": {"containers": [{"name": "hub", "image": "i",
                "ports": [{"containerPort": 1, "protocol": "TCP", "hostPort": 2}]}]}});
        let without = |field: &str, pointer: &str| {
            let mut json = all.clone();
            let taken = take(&mut json, field);
            let gone = json.pointer(pointer) != all.pointer(pointer);
            assert_eq!(taken, gone, "{field}");
            taken
        };
        let container = "/spec/containers/0";
        assert!(without(".metadata.annotations.a.b/c", "/metadata/annotations/a.b~1c"));
        assert!(without(".metadata.annotations.a", "/metadata/annotations/a"));
        assert!(without(".metadata.finalizers[=\"x\"]", "/metadata/finalizers/0"));
        assert!(without(".spec.containers[name=\"hub\"].image", &format!("{container}/image")));
        let port =
            ".spec.containers[name=\"hub\"].ports[containerPort=1,protocol=\"TCP\"].hostPort";
        assert!(without(port, &format!("{container}/ports/0/hostPort")));
        for none in
            ["", ".", ".spec.x", ".spec.containers[name=\"y\"].image", ".spec.containers[7]"]
        {
            assert!(!without(none, "/spec"), "{none}");
        }
    }
}
