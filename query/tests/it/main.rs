//! SQL and filters over stores and fleets that are built here.
mod filters;
mod fixture;
mod fleet;
mod pipe;
mod safety;
#[cfg(not(noslt))]
mod sql;
