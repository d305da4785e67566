//! Whether exchanges are read from packets as they come, or when somebody asks.

use serde::{Deserialize, Serialize};

/// When a Worker dissects packets. It keeps packets and connections always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Dissection {
    /// As they come.
    #[default]
    Live,
    /// When a query asks for their rows.
    OnDemand,
    /// Never.
    Off,
}

impl Dissection {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Live, Self::OnDemand, Self::Off];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::OnDemand => "on-demand",
            Self::Off => "off",
        }
    }
}

impl std::fmt::Display for Dissection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Dissection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text.trim());
        found.ok_or_else(|| format!("{text:?} is none of live, on-demand, off"))
    }
}

/// What is to change about dissection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DissectionRequest {
    /// The node it is about; all that are connected, if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The mode from now on; as it is, if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Dissection>,
    /// Dissect again, in the background, what an older version dissected, and replace its rows.
    pub again: bool,
    /// With `again`: no packet before this, an RFC 3339 time or an age such as `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// With `again`: no packet from this on, an RFC 3339 time or an age such as `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// With `again`: also what this version dissected.
    pub all: bool,
}

/// What a Worker is asked to change, with times as nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DissectionChange {
    /// The mode from now on.
    pub mode: Option<Dissection>,
    /// Dissect again what lies between these times.
    pub again: Option<Again>,
}

/// What is to be dissected again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// From this time on.
    pub from: Option<i64>,
    /// Before this time.
    pub to: Option<i64>,
    /// Also what this version dissected.
    pub all: bool,
}

/// How dissection stands at every node that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dissections {
    /// Each node.
    pub nodes: Vec<NodeDissection>,
}

/// How dissection stands at one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeDissection {
    /// Its name.
    pub node: String,
    /// Its mode.
    pub mode: Dissection,
    /// What makes its rows: the number of its dissectors' version.
    pub parser_version: u32,
    /// Seconds of captured traffic of which no rows were made.
    pub undissected_s: u64,
    /// Seconds of captured traffic whose rows an older version made.
    pub outdated_s: u64,
    /// Whether it dissects something now that somebody asked for.
    pub busy: bool,
    /// Why it did not do as asked, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
