//! SQL and filters over stores and fleets that are built here.
mod fixture;
mod fleet;
mod filters;
mod pipe;
mod safety;
mod sql;
