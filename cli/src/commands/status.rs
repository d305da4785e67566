//! `kubeshark status`.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use api::{WorkerStatus, processes_sql};
use clap::Args;
use deploy::{Cluster, Verdict};
use serde::Serialize;
use serde_json::Value;

use super::runtime;
use crate::Outcome;
use crate::cluster::{Shape, Where};
use crate::hub::Hub;
use crate::output::Output;

/// Say how Kubeshark does in a cluster, or whether a pod is tapped, and why; and of whom what is said within TLS is read.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// A pod to say it of.
    pod: Option<String>,
    /// The pod's namespace.
    #[arg(short, long, value_name = "NAME", default_value = "default", requires = "pod")]
    namespace: String,
    #[command(flatten)]
    place: Where,
    /// Ask this Hub, such as one on this machine, and no cluster.
    #[arg(long, value_name = "URL", conflicts_with_all = ["context", "release_namespace", "release"])]
    hub: Option<String>,
    /// The token that Hub wants, if it is not on this machine.
    #[arg(long, env = "KUBESHARK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    output: Shape,
}

/// All there is to say.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    cluster: Option<deploy::Status>,
    #[serde(flatten)]
    pod: Option<Verdict>,
    tls: Tls,
}

/// Of whom what is said within TLS is read.
#[derive(Debug, Default, Serialize)]
struct Tls {
    /// Rows of the table `processes`, those of processes that run.
    processes: Vec<Value>,
    /// Why there are no more, a sentence each.
    reasons: Vec<String>,
}

impl Status {
    pub(crate) fn run(self) -> Result<Outcome> {
        let Self { pod, namespace, place, hub, token, output } = self;
        let of = pod.as_deref().map(|it| (namespace.as_str(), it));
        if let Some(url) = hub {
            let tls = Tls::of(&Hub::at(url, token), of)?;
            return Told { cluster: None, pod: None, tls }.write(output, of);
        }
        runtime()?.block_on(async {
            let cluster = place.connect().await?;
            let (status, verdict) = match of {
                Some((namespace, pod)) => (None, Some(cluster.verdict(namespace, pod).await?)),
                None => (Some(cluster.status().await?), None),
            };
            let tls = Tls::within(&cluster, of).await;
            Told { cluster: status, pod: verdict, tls }.write(output, of)
        })
    }
}

impl Told {
    fn write(&self, output: Shape, of: Option<(&str, &str)>) -> Result<Outcome> {
        output.write(self, |it, out| {
            if let Some(status) = &it.cluster {
                installation(status, out)?;
            }
            if let (Some(verdict), Some((_, pod))) = (&it.pod, of) {
                let tapped = if verdict.tapped { "is tapped" } else { "is not tapped" };
                writeln!(out, "{pod} {tapped}: {}", verdict.why.join("; "))?;
            }
            it.tls.write(out)
        })?;
        let is_ready = self.cluster.as_ref().is_none_or(deploy::Status::is_ready);
        Ok(if is_ready { Outcome::Done } else { Outcome::Incomplete })
    }
}

fn installation(it: &deploy::Status, out: &mut Output) -> io::Result<()> {
    writeln!(out, "{it} (version {}, by {})", it.version, it.managed_by)?;
    for pod in &it.pods {
        let node = pod.node.as_deref().unwrap_or("no node");
        let state = if pod.ready { "ready" } else { "not ready" };
        let again = match pod.restarts {
            0 => String::new(),
            n => format!(", began anew {n} times"),
        };
        writeln!(out, "  {} on {node}: {state}{again}", pod.name)?;
    }
    it.reasons.iter().try_for_each(|it| writeln!(out, "  {it}"))
}

impl Tls {
    /// As the Hub in a cluster tells it. That it can't be reached is one of the things to say.
    async fn within(cluster: &Cluster, of: Option<(&str, &str)>) -> Self {
        let asked = async {
            let forward = cluster.forward(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
            let hub =
                Hub::at(format!("http://{}", forward.address()), Some(cluster.token().await?));
            let of = of.map(|(namespace, pod)| (namespace.to_owned(), pod.to_owned()));
            // The way to the Hub is kept open meanwhile.
            let asked = tokio::task::spawn_blocking(move || {
                Self::of(&hub, of.as_ref().map(|it| (&*it.0, &*it.1)))
            });
            asked.await.context("asking the Hub")?
        };
        asked.await.unwrap_or_else(|why: anyhow::Error| Self {
            reasons: vec![format!("the Hub does not say: {why:#}")],
            ..Self::default()
        })
    }

    fn of(hub: &Hub, of: Option<(&str, &str)>) -> Result<Self> {
        let workers = hub.workers()?.workers;
        let alive: Vec<_> =
            workers.iter().filter(|it| it.status == WorkerStatus::Connected).collect();
        let mut reasons = Vec::new();
        for it in &alive {
            let problem = it.health.tracing.as_ref().and_then(|it| it.problem.as_ref());
            reasons.extend(problem.map(|why| format!("{}: {why}", it.node)));
        }
        if alive.iter().all(|it| it.health.tracing.is_none()) {
            reasons.push(OFF.to_owned());
            return Ok(Self { processes: Vec::new(), reasons });
        }
        let answer = hub.answer(&processes_sql(of))?;
        if !answer.accounting.complete {
            reasons.push("not all nodes have answered".to_owned());
        }
        let processes: Vec<_> = answer.rows.into_iter().map(Value::Object).collect();
        if processes.is_empty() && reasons.is_empty() {
            reasons.push("no process that is traced has a TLS library, or speaks TLS".to_owned());
        }
        Ok(Self { processes, reasons })
    }

    fn write(&self, out: &mut Output) -> io::Result<()> {
        let count = |word: &str| self.processes.iter().filter(|it| it["coverage"] == word).count();
        if !self.processes.is_empty() {
            let words = ["plaintext", "handshake", "opaque"];
            let counts = words.map(|it| format!("{} {it}", count(it)));
            writeln!(out, "TLS of processes: {}", counts.join(", "))?;
        }
        for it in &self.processes {
            writeln!(out, "  {}", line(it))?;
        }
        self.reasons.iter().try_for_each(|it| writeln!(out, "TLS: {it}"))
    }
}

/// A row of `processes`, for people.
fn line(row: &Value) -> String {
    let text = |name: &str| row[name].as_str();
    let pod = match (text("namespace"), text("pod")) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod} "),
        _ => String::new(),
    };
    let library = text("library").map(|it| match text("library_version") {
        Some(version) => format!(", {it} {version}"),
        None => format!(", {it}"),
    });
    let reason = text("reason").map(|it| format!(": {it}"));
    format!(
        "{pod}{} {} on {}: {}{}{}",
        text("name").unwrap_or_default(),
        row["pid"],
        text("node").unwrap_or_default(),
        text("coverage").unwrap_or_default(),
        library.unwrap_or_default(),
        reason.unwrap_or_default()
    )
}

const OFF: &str =
    "nobody's is read in processes (`--trace` says whose is, in a cluster tracing.enabled=true)";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_process_is_one_line_with_its_pod_its_library_and_the_reason() {
        let mut row = json!({
            "namespace": "shop", "pod": "cart-1", "name": "cart", "pid": 7, "node": "n1",
            "coverage": "opaque", "library": "openssl", "library_version": "3.0.19",
            "reason": "it is stripped",
        });
        assert_eq!(line(&row), "shop/cart-1 cart 7 on n1: opaque, openssl 3.0.19: it is stripped");
        for name in ["namespace", "pod", "library", "library_version", "reason"] {
            row[name] = Value::Null;
        }
        assert_eq!(line(&row), "cart 7 on n1: opaque");
    }
}
