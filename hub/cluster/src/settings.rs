//! The settings that can be changed while everything runs: a ConfigMap.

use crate::{Targeting, watched::Inner};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
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

fn take(map: &ConfigMap, inner: &Inner) -> Result<(), String> {
    let text = map.data.as_ref().and_then(|it| it.get(TARGETING));
    let text = text.ok_or_else(|| format!("the settings have no {TARGETING}"))?;
    let targeting: Targeting =
        serde_json::from_str(text).map_err(|why| format!("{TARGETING} can't be read: {why}"))?;
    let matcher = targeting.matcher().map_err(|why| format!("{TARGETING}: {why}"))?;
    inner.change(|facts, now| facts.target(matcher, now));
    Ok(())
}

/// Whose traffic is kept, in the ConfigMap.
const TARGETING: &str = "targeting.json";
