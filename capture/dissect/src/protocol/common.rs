//! What several protocols are made of.

pub(in crate::protocol) mod blocks;
pub(in crate::protocol) mod brokers;
pub(in crate::protocol) mod fields;
pub(in crate::protocol) mod reply;
pub(in crate::protocol) mod sql;
