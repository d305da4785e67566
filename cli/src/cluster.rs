//! What the verbs about a cluster have in common: which cluster, which installation, what of the chart.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use deploy::{Cluster, Forward, News, Options, Plan, Status, Target, Targeting, Way};
use serde::Serialize;

use crate::capture::Age;
use crate::commands::complain;
use crate::output;

/// Which cluster, and which installation in it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Where {
    /// The kubeconfig's context; else the current one.
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    context: Option<String>,
    /// The namespace that Kubeshark itself lives in.
    #[arg(long, value_name = "NAME", default_value = deploy::RELEASE, help_heading = "Cluster")]
    release_namespace: String,
    /// The installation's name.
    #[arg(long, value_name = "NAME", default_value = deploy::RELEASE, help_heading = "Cluster")]
    release: String,
}

impl Where {
    pub(crate) async fn connect(&self) -> Result<Cluster> {
        Ok(Cluster::connect(self.context.as_deref(), &self.release, &self.release_namespace)
            .await?)
    }

    fn is_named(&self) -> bool {
        self.context.is_some()
            || self.release_namespace != deploy::RELEASE
            || self.release != deploy::RELEASE
    }
}

/// What to make of the chart.
#[derive(Debug, Clone, Args)]
struct Chart {
    /// A value of the chart, such as `worker.storage.rows=8Gi`.
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Cluster")]
    set: Vec<String>,
    /// A file of values of the chart; the last one wins, and --set wins over files.
    #[arg(short = 'f', long, value_name = "FILE", help_heading = "Cluster")]
    values: Vec<PathBuf>,
}

/// Whose traffic is kept.
#[derive(Debug, Clone, Args)]
struct Targets {
    /// Pods of a cluster whose name matches this regular expression.
    #[arg(value_name = "POD-REGEX")]
    pods: Option<String>,
    /// Only pods of these namespaces.
    #[arg(
        short = 'n',
        long = "namespaces",
        visible_alias = "namespace",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Cluster"
    )]
    namespaces: Vec<String>,
    /// Pods of all namespaces, whatever values say.
    #[arg(short = 'A', long, conflicts_with = "namespaces", help_heading = "Cluster")]
    all_namespaces: bool,
    /// Only pods with these labels, such as `app=cart,tier!=test`.
    #[arg(short = 'l', long, value_name = "LABELS", help_heading = "Cluster")]
    selector: Option<String>,
    /// No pods of these namespaces.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Cluster")]
    exclude_namespaces: Vec<String>,
    /// Only these nodes get a Worker.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Cluster")]
    nodes: Vec<String>,
}

/// What is to be installed, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Installation {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    chart: Chart,
    #[command(flatten)]
    place: Where,
}

impl Installation {
    /// Whether anything was said.
    pub(crate) fn is_named(&self) -> bool {
        self.targets.is_named() || self.chart.is_named() || self.place.is_named()
    }

    /// The cluster, and what to make of the chart there.
    pub(crate) async fn connect(&self) -> Result<(Cluster, Options)> {
        let cluster = self.place.connect().await?;
        let options = self.chart.options(&cluster, &self.targets)?;
        Ok((cluster, options))
    }

    /// The cluster, what it is to have, and the pods that are meant.
    pub(crate) async fn plan(&self) -> Result<(Cluster, Plan, Vec<Target>)> {
        let (cluster, options) = self.connect().await?;
        let plan = cluster.plan(&options).await?;
        let targets = cluster.targets(&Targeting::of(&plan.values)).await?;
        Ok((cluster, plan, targets))
    }
}

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// For people.
    #[default]
    Text,
    /// One JSON value.
    Json,
}

impl Shape {
    /// Writes one result, as JSON or as the text that is made of it.
    pub(crate) fn write<T: Serialize>(
        self,
        result: &T,
        text: impl FnOnce(&T, &mut output::Output) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut out = output::stdout();
        match self {
            Self::Json => {
                serde_json::to_writer_pretty(&mut out, result)?;
                writeln!(out)?;
            }
            Self::Text => text(result, &mut out)?,
        }
        Ok(out.flush()?)
    }
}

impl Chart {
    fn is_named(&self) -> bool {
        !self.set.is_empty() || !self.values.is_empty()
    }

    fn options(&self, cluster: &Cluster, targets: &Targets) -> Result<Options> {
        let read = |path: &PathBuf| {
            let name = path.display().to_string();
            let text =
                std::fs::read_to_string(path).with_context(|| format!("can't read {name}"))?;
            Ok((name, text))
        };
        Ok(Options {
            release: cluster.release().to_owned(),
            namespace: cluster.namespace().to_owned(),
            files: self.values.iter().map(read).collect::<Result<_>>()?,
            set: self.set.clone(),
            over: targets.values(),
        })
    }
}

impl Targets {
    fn is_named(&self) -> bool {
        self.pods.is_some()
            || self.selector.is_some()
            || self.all_namespaces
            || [&self.namespaces, &self.exclude_namespaces, &self.nodes]
                .iter()
                .any(|it| !it.is_empty())
    }

    fn values(&self) -> serde_json::Value {
        let targeting = Targeting {
            pods: self.pods.clone().unwrap_or_default(),
            namespaces: self.namespaces.clone(),
            exclude_namespaces: self.exclude_namespaces.clone(),
            selector: self.selector.clone().unwrap_or_default(),
            nodes: self.nodes.clone(),
        };
        let mut values = targeting.values();
        if self.all_namespaces {
            values["targeting"]["namespaces"] = serde_json::json!([]);
        }
        values
    }
}

/// Installs and waits, saying on standard error how it goes.
pub(crate) async fn bring_up(cluster: &Cluster, plan: &Plan, patience: Age) -> Result<Status> {
    cluster
        .install(plan, &mut |news| match news {
            News::Same(_) => {}
            news => complain(format_args!("{news}")),
        })
        .await?;
    let mut said = Vec::new();
    let status = cluster
        .wait(patience.0, &mut |status| {
            let mut lines = status.reasons.clone();
            lines.push(status.to_string());
            for line in lines.iter().filter(|it| !said.contains(*it)) {
                complain(format_args!("{line}"));
            }
            said = lines;
        })
        .await?;
    Ok(status)
}

/// Names the pods that are meant, as many as fit.
pub(crate) fn name_targets(targets: &[Target]) {
    if targets.is_empty() {
        return complain(format_args!(
            "no pod is meant as of now; those that come and match will be tapped"
        ));
    }
    match targets.len() {
        1 => complain(format_args!("1 pod is meant:")),
        n => complain(format_args!("{n} pods are meant:")),
    }
    for it in targets.iter().take(SHOWN) {
        complain(format_args!("  {}/{}", it.namespace, it.name));
    }
    if targets.len() > SHOWN {
        complain(format_args!("  and {} more", targets.len() - SHOWN));
    }
}

/// A way to the Hub from this machine, with its address in a browser.
pub(crate) async fn open_way(cluster: &Cluster, port: u16) -> Result<(Forward, String)> {
    let forward = cluster.forward(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let token = cluster.token().await?;
    // The page keeps it in a cookie and forgets the address.
    let token: String = token
        .bytes()
        .map(|it| match it {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(it).to_string(),
            it => format!("%{it:02X}"),
        })
        .collect();
    let url = format!("http://{}/?token={token}", forward.address());
    Ok((forward, url))
}

/// Keeps the way open, and says when it closes and opens, until the program is to end.
pub(crate) async fn keep_way(mut forward: Forward) {
    let said = async {
        loop {
            match forward.changed().await {
                Way::Open => complain(format_args!("the Hub is reached again")),
                Way::Closed(why) => complain(format_args!("the Hub is not reached: {why}")),
            }
        }
    };
    tokio::select! {
        () = crate::commands::interrupted() => {}
        () = said => {}
    }
}

/// How long to wait for pods: images may have to be pulled.
pub(crate) const PATIENCE: Age = Age(Duration::from_secs(300));
const SHOWN: usize = 20;
