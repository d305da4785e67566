//! The way to a cluster.

use k8s_openapi::api::core::v1::Secret;
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config};
use serde_json::Value;

use crate::chart::{Options, Plan, render};
use crate::object::KINDS;
use crate::{Error, error};

/// An installation in a cluster, there or yet to be.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Client,
    pub(crate) release: String,
    pub(crate) namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("release", &self.release)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// By the kubeconfig's current context or the one named; within a cluster by the pod's account.
    pub async fn connect(
        context: Option<&str>,
        release: &str,
        namespace: &str,
    ) -> Result<Self, Error> {
        let no = |why: &dyn std::error::Error| Error::NoCluster(error::chain(why));
        let mut config = match context {
            None => Config::infer().await.map_err(|why| no(&why))?,
            Some(context) => {
                let context = Some(context.to_owned());
                let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
                Config::from_kubeconfig(&options).await.map_err(|why| no(&why))?
            }
        };
        config.connect_timeout = Some(CONNECT);
        let client = Client::try_from(config).map_err(|why| no(&why))?;
        Ok(Self::new(client, release, namespace))
    }

    /// Through a client that is there already.
    #[must_use]
    pub fn new(client: Client, release: &str, namespace: &str) -> Self {
        Self { client, release: release.to_owned(), namespace: namespace.to_owned() }
    }

    /// Where it lives.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Renders the chart, with what of the cluster it keeps: the token of an earlier installation.
    pub async fn plan(&self, options: &Options) -> Result<Plan, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &options.namespace);
        let ours = selector(&options.release);
        let list = kube::api::ListParams::default().labels(&ours);
        let secrets = match secrets.list(&list).await {
            Ok(list) => list.items,
            // Then it is not there either.
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(why) => return Err(Error::of("reading the token of the installation")(why)),
        };
        render(options, &|_, kind, namespace, name| {
            if kind != "Secret" || namespace != options.namespace {
                return None;
            }
            let found = secrets.iter().find(|it| it.metadata.name.as_deref() == Some(name));
            found.and_then(|it| serde_json::to_value(it).ok())
        })
    }

    /// What the Hub wants to hear of those who ask.
    pub async fn token(&self) -> Result<String, Error> {
        let hub = self.deployment().await?.ok_or_else(|| self.not_installed())?;
        let hub = serde_json::to_value(hub).unwrap_or_default();
        let env = hub.pointer("/spec/template/spec/containers/0/env").and_then(Value::as_array);
        let secret = env.into_iter().flatten().find(|it| it["name"] == TOKEN).map(|it| {
            let of = &it["valueFrom"]["secretKeyRef"];
            (of["name"].as_str().unwrap_or_default(), of["key"].as_str().unwrap_or_default())
        });
        let (name, key) = secret.ok_or_else(|| self.not_installed())?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let what = format!("reading the token in Secret {name}");
        let secret = secrets.get(name).await.map_err(Error::of(what.clone()))?;
        let token = secret.data.unwrap_or_default().remove(key);
        token
            .and_then(|it| String::from_utf8(it.0).ok())
            .ok_or_else(|| Error::Api { what, why: format!("it has no text under {key}") })
    }

    pub(crate) fn not_installed(&self) -> Error {
        Error::NotInstalled { release: self.release.clone(), namespace: self.namespace.clone() }
    }

    /// What lists find of one kind, whoever manages it; nothing where the cluster has no such kind.
    pub(crate) async fn of_kind(
        &self,
        kind: &'static crate::object::Kind,
    ) -> Result<Vec<kube::api::DynamicObject>, Error> {
        let mut labels = selector(&self.release);
        if !kind.namespaced {
            labels = format!("{labels},{HOME}={}", self.namespace);
        }
        let list = kube::api::ListParams::default().labels(&labels);
        match kind.api(&self.client, &self.namespace).list(&list).await {
            // Items of a list don't say what they are.
            Ok(list) => Ok(list.items.into_iter().map(|it| kind.of(it)).collect()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            // Those who may not see a kind of somebody else's have made none.
            Err(kube::Error::Api(status)) if status.code == 403 && kind.is_foreign() => {
                Ok(Vec::new())
            }
            Err(why) => Err(Error::of(format!("looking for {}", kind.plural))(why)),
        }
    }

    /// Everything there is of this installation, whoever manages it.
    pub(crate) async fn everything(
        &self,
    ) -> Result<Vec<(&'static crate::object::Kind, kube::api::DynamicObject)>, Error> {
        let mut all = Vec::new();
        for kind in KINDS {
            all.extend(self.of_kind(kind).await?.into_iter().map(|it| (kind, it)));
        }
        Ok(all)
    }
}

/// What every object of an installation is labelled with.
pub(crate) fn selector(release: &str) -> String {
    format!("app.kubernetes.io/name=kubeshark,app.kubernetes.io/instance={release}")
}

/// Who manages an object, as it says itself.
pub(crate) const MANAGED: &str = "app.kubernetes.io/managed-by";
/// The namespace of an object that is in none.
pub(crate) const HOME: &str = "kubeshark.io/namespace";
/// Who we are: in labels, and to server-side apply.
pub(crate) const US: &str = "kubeshark";
const TOKEN: &str = "KUBESHARK_TOKEN";
/// A cluster that does not accept a connection by then is not there.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);
