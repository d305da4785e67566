//! SQL and filters over stores and fleets that are built here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod coverage;
mod damage;
mod filters;
mod fixture;
mod fleet;
mod kfl;
mod pipe;
mod safety;
mod sql;
