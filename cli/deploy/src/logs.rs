//! What there is to know when something does not work, as one zip file.

use std::io::Write;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Error;
use crate::cluster::Cluster;
use crate::template::yaml;
use crate::zip::Zip;

/// What was collected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// The files, by name.
    pub files: Vec<String>,
    /// What could not be had, and why.
    pub missing: Vec<String>,
}

impl Cluster {
    /// Writes logs (of the container before, too, if it began anew), events, objects, nodes and status. Tokens are left
    /// out.
    pub async fn logs(&self, out: impl Write) -> Result<Collected, Error> {
        let mut zip = Zip::new(out);
        let mut collected = Collected::default();
        let pods = self.pods().await?;
        if pods.is_empty() && self.deployment().await?.is_none() {
            return Err(self.not_installed());
        }
        for pod in &pods {
            self.logs_of(pod, &mut zip, &mut collected).await?;
        }
        let status = self.status().await.map(|it| json!(it));
        add(&mut zip, &mut collected, "status.json", status)?;
        let objects = self.everything().await.map(|all| {
            let all: Vec<_> = all
                .into_iter()
                .map(|(_, it)| redacted(serde_json::to_value(it).unwrap_or_default()))
                .collect();
            Value::from(all)
        });
        add(&mut zip, &mut collected, "objects.yaml", objects)?;
        let pods: Vec<_> = pods
            .into_iter()
            .map(|it| redacted(serde_json::to_value(it).unwrap_or_default()))
            .collect();
        add(&mut zip, &mut collected, "pods.yaml", Ok(pods.into()))?;
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = events.list(&ListParams::default().limit(EVENTS)).await;
        let events = events.map(|it| json!(it.items)).map_err(Error::of("listing events"));
        add(&mut zip, &mut collected, "events.yaml", events)?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes.list(&ListParams::default()).await.map(|it| {
            let of = it.items.iter().map(|it| {
                let status = it.status.clone().unwrap_or_default();
                json!({"name": it.name_any(), "info": status.node_info,
                    "conditions": status.conditions, "allocatable": status.allocatable,
                    "taints": it.spec.as_ref().and_then(|it| it.taints.clone())})
            });
            Value::from_iter(of)
        });
        add(&mut zip, &mut collected, "nodes.yaml", nodes.map_err(Error::of("listing nodes")))?;
        let version = self.client.apiserver_version().await;
        let version = version.map(|it| json!(it)).map_err(Error::of("asking for the version"));
        add(&mut zip, &mut collected, "version.yaml", version)?;
        zip.finish().map_err(written)?;
        Ok(collected)
    }

    async fn logs_of<W: Write>(
        &self,
        pod: &Pod,
        zip: &mut Zip<W>,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let statuses = pod.status.clone().unwrap_or_default().container_statuses;
        let name = pod.name_any();
        for container in pod.spec.iter().flat_map(|it| &it.containers) {
            let status = statuses.iter().flatten().find(|it| it.name == container.name);
            let again = status.is_some_and(|it| it.restart_count > 0);
            for previous in [false, true].into_iter().take(1 + usize::from(again)) {
                let params = LogParams {
                    container: Some(container.name.clone()),
                    previous,
                    limit_bytes: Some(LOG_BYTES),
                    timestamps: true,
                    tail_lines: Some(LOG_LINES),
                    ..LogParams::default()
                };
                let kind = if previous { "previous.log" } else { "log" };
                let file = format!("logs/{name}.{}.{kind}", container.name);
                match api.logs(&name, &params).await {
                    Ok(text) => {
                        zip.add(&file, text.as_bytes()).map_err(written)?;
                        collected.files.push(file);
                    }
                    Err(why) => {
                        let why = Error::of(format!("reading {file}"))(why);
                        collected.missing.push(why.to_string());
                    }
                }
            }
        }
        Ok(())
    }
}

fn add<W: Write>(
    zip: &mut Zip<W>,
    collected: &mut Collected,
    name: &str,
    what: Result<Value, Error>,
) -> Result<(), Error> {
    match what {
        Ok(value) => {
            let text = match name.ends_with(".json") {
                true => value.to_string(),
                false => yaml::write(&value),
            };
            zip.add(name, text.as_bytes()).map_err(written)?;
            collected.files.push(name.to_owned());
        }
        Err(why) => collected.missing.push(why.to_string()),
    }
    Ok(())
}

fn written(why: std::io::Error) -> Error {
    Error::Here { what: "writing the zip file".to_owned(), why }
}

/// Without what only the cluster is to know: Secrets, and what variables say outright. Who owns which field is long, and
/// nobody reads it.
fn redacted(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            // The whole object again, as kubectl keeps it.
            all.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    if object["kind"] == "Secret"
        && let Some(map) = object.as_object_mut()
    {
        for of in ["data", "stringData"] {
            for value in map.get_mut(of).and_then(Value::as_object_mut).into_iter().flatten() {
                *value.1 = REDACTED.into();
            }
        }
    }
    variables(&mut object);
    object
}

fn variables(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key != "env" {
                    variables(value);
                    continue;
                }
                for variable in value.as_array_mut().into_iter().flatten() {
                    if let Some(text) = variable.get_mut("value").filter(|it| it.is_string()) {
                        *text = REDACTED.into();
                    }
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(variables),
        _ => {}
    }
}

const REDACTED: &str = "(left out)";
/// Of each container: a week of a Hub that has much to say.
const LOG_BYTES: i64 = 8 << 20;
const LOG_LINES: i64 = 100_000;
const EVENTS: u32 = 1000;
