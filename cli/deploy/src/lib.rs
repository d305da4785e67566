//! Kubeshark into a cluster, and out of it again.
//!
//! The chart in `helm/` is part of this program; [`render`] makes objects of it without Helm, and what it makes is what
//! Helm makes of the same values.

mod chart;
mod check;
mod cluster;
mod error;
mod forward;
mod install;
mod logs;
mod object;
mod status;
mod target;
mod template;
mod uninstall;
mod values;
mod zip;

pub use ::cluster::Targeting;
pub use chart::{Options, Plan, RELEASE, render};
pub use check::{Finding, Grade, Right, rights};
pub use cluster::Cluster;
pub use error::Error;
pub use forward::{Forward, Way};
pub use install::News;
pub use logs::Collected;
pub use object::Object;
pub use status::{Count, PodStatus, Status};
pub use target::{Target, Verdict};
