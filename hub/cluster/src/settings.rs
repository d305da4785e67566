//! The settings that can be changed while everything runs: a ConfigMap.

use crate::{Targeting, Unclear, watched::Inner};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Follows the ConfigMap of that name until dropped. What can't be read changes nothing: what was in
/// force before stays.
pub(crate) async fn follow(api: Api<ConfigMap>, name: String, inner: Arc<Inner>) {
    let mut maps = pin!(watcher::watch_object(api, &name).default_backoff());
    while let Some(map) = maps.next().await {
        let wrong = match map {
            Ok(Some(map)) => take(&map, &inner).err(),
            Ok(None) => Some(format!("there is no ConfigMap {name}")),
            Err(error) => Some(format!("ConfigMap {name} is not watched: {error}")),
        };
        let mut settings = inner.settings();
        if let Some(why) = wrong.as_ref().filter(|it| settings.as_ref() != Some(*it)) {
            tracing::warn!(why, "the settings stay as they were");
        }
        *settings = wrong;
        drop(settings);
        inner.awaited.store(false, Relaxed);
        inner.changed();
    }
}

/// The settings in force, and which version of the ConfigMap was seen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct InForce {
    pub(crate) targeting: Targeting,
    pub(crate) version: Option<String>,
}

/// Why the settings stay as they were.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// It can't be understood.
    #[error(transparent)]
    Unclear(#[from] Unclear),
    /// Nobody said where they are kept.
    #[error("this Hub follows no settings: it was started without --settings")]
    Nowhere,
    /// There is no ConfigMap, or it was not seen yet.
    #[error("there is no ConfigMap {0}: installing Kubeshark makes it")]
    Absent(String),
    /// Somebody else was faster.
    #[error("the settings were changed by somebody else meanwhile: look at them again")]
    Conflict,
    /// The API server said no, or nothing.
    #[error("the settings could not be written: {0}")]
    Failed(String),
}

/// Writes whose traffic is kept into the ConfigMap, and has it in force at once. `version` is the one that was looked
/// at: with another one, nothing is changed.
pub(crate) async fn write(
    inner: &Inner,
    targeting: &Targeting,
    version: Option<&str>,
) -> Result<(), NotChanged> {
    targeting.matcher()?;
    let (api, name) = inner.place.as_ref().ok_or(NotChanged::Nowhere)?;
    let seen = inner.in_force().version.clone();
    let Some(version) = version.or(seen.as_deref()) else {
        return Err(NotChanged::Absent(name.clone()));
    };
    let failed = |why: &dyn std::fmt::Display| NotChanged::Failed(why.to_string());
    let text = serde_json::to_string(targeting).map_err(|why| failed(&why))?;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "resourceVersion": version},
        "data": {TARGETING: text},
    });
    // Whoever installs it again says it anew, and takes it from this manager.
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(&map);
    let written = tokio::time::timeout(WRITE, api.patch(name, &params, &patch)).await;
    match written {
        Err(_) => Err(failed(&format!("no answer within {WRITE:?}"))),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(NotChanged::Conflict),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            Err(NotChanged::Absent(name.clone()))
        }
        Ok(Err(why)) => Err(failed(&why)),
        Ok(Ok(map)) => {
            tracing::info!(targeting = text, "whose traffic is kept was changed");
            let now = inner.in_force().version.clone();
            if now != seen && now != map.metadata.resource_version {
                // What is watched has come further meanwhile.
                return Ok(());
            }
            take(&map, inner).map_err(NotChanged::Failed)
        }
    }
}

fn take(map: &ConfigMap, inner: &Inner) -> Result<(), String> {
    inner.in_force().version.clone_from(&map.metadata.resource_version);
    let text = map.data.as_ref().and_then(|it| it.get(TARGETING));
    let text = text.ok_or_else(|| format!("the settings have no {TARGETING}"))?;
    let targeting: Targeting =
        serde_json::from_str(text).map_err(|why| format!("{TARGETING} can't be read: {why}"))?;
    let matcher = targeting.matcher().map_err(|why| format!("{TARGETING}: {why}"))?;
    inner.change(|facts, now| facts.target(matcher, now));
    inner.in_force().targeting = targeting;
    Ok(())
}

/// Whose traffic is kept, in the ConfigMap.
const TARGETING: &str = "targeting.json";
/// As whom the Hub writes: whoever installs knows by that name whose changes are.
const MANAGER: &str = "kubeshark-hub";
/// The longest that the API server may take.
const WRITE: Duration = Duration::from_secs(10);
