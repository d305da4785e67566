//! Whose traffic is kept, and what another choice would mean.

use serde::{Deserialize, Serialize};

/// Which pods' traffic is kept: what is empty leaves nobody out. As the chart's value `targeting` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Targeting {
    /// A regular expression that a pod's name must match.
    pub pods: String,
    /// Namespaces; all if empty.
    pub namespaces: Vec<String>,
    /// Namespaces that are left out.
    pub exclude_namespaces: Vec<String>,
    /// A label selector, as kubectl reads it.
    pub selector: String,
    /// Nodes; all if empty.
    pub nodes: Vec<String>,
}

/// The body of `PUT /api/targeting`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TargetingRequest {
    /// Whose traffic is to be kept.
    pub targeting: Targeting,
    /// The [`Targets::version`] that was looked at: if somebody has changed the settings since, nothing is changed.
    pub version: Option<String>,
    /// Only say what it would mean.
    pub preview: bool,
}

/// Whose traffic is kept, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Targets {
    /// The choice.
    pub targeting: Targeting,
    /// The version of the settings it was read from.
    pub version: Option<String>,
    /// Why it can't be changed here, if it can't.
    pub fixed: Option<String>,
    /// What is wrong with the settings as they are kept: those before them are in force.
    pub wrong: Option<String>,
    /// How many of the pods that run are meant.
    pub tapped: usize,
    /// How many are not.
    pub left_out: usize,
    /// The pods, those that are meant first; of many, only the first.
    pub pods: Vec<TargetedPod>,
}

/// A pod that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct TargetedPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: Option<String>,
    /// All that is against it; nothing if it is meant.
    pub against: Vec<String>,
}
