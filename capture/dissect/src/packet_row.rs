//! The table of raw packets.
use schema::Record;
use schema::value::{Body, Code, Id, Label, Size, Time};

/// Packets as they were captured.
#[derive(Record)]
pub(crate) struct Packets<'a> {
    /// When it was captured.
    pub(crate) ts: Time,
    /// What its bytes begin with: a LINKTYPE number of tcpdump.org, such as 1 for Ethernet.
    pub(crate) link: Code,
    /// The capture's number of the interface it was seen on.
    pub(crate) interface: Code,
    /// Its length on the wire.
    pub(crate) wire_bytes: Size,
    /// What was captured of it, from the link layer on.
    pub(crate) data: Body<'a>,
    /// The conversation it belongs to; null if it is neither TCP nor UDP.
    pub(crate) flow_id: Option<Id<'a>>,
    /// The node that captured it.
    pub(crate) node: Label<'a>,
}
