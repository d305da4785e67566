//! One module a view.

pub(crate) mod dashboards;
pub(crate) mod map;
pub(crate) mod missing;
pub(crate) mod sql;
pub(crate) mod traffic;
pub(crate) mod workers;
