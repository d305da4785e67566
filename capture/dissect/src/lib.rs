//! From packets to rows.
//!
//! ```text
//! Packet → Flow → ordered bytes → Message → Exchange → Record → RecordBatch
//! ```
//!
//! Pure: a function of bytes and of the times that come with them. No I/O, clock, async, unsafe
//! or panic; what is wrong on the wire is counted ([`Counters`]) and marked, never an error.
//!
//! ```
//! use dissect::{Config, Dissection, Link, Packet};
//!
//! let mut dissection = Dissection::new(Config::default());
//! dissection.packet(&Packet { ts: 0, link: Link::Raw, interface: 0, wire_len: 3, data: b"abc" });
//! dissection.finish();
//! let names: Vec<_> = dissection.take().iter().map(|(table, _)| table.name.clone()).collect();
//! assert_eq!(names, ["packets", "losses"]);
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic,
        clippy::expect_used
    )
)]

mod association;
mod ber;
mod body;
mod carrier;
mod connection;
mod copies;
mod dissection;
#[cfg(test)]
#[allow(dead_code, reason = "not every protocol needs every kind of step")]
mod drive;
mod envelope;
mod exchange;
mod expected;
mod flow;
mod fragment;
mod input;
mod limits;
mod link;
mod loss;
mod names;
mod packet;
mod packet_row;
mod plaintext;
mod process_row;
mod protocol;
mod render;
mod session;
mod speech;
mod stream;
mod tables;

pub use dissection::{Config, Counters, Dissection, Keep};
pub use exchange::{Exchange, Learned, Message, Moment, Open, Role, Side, Summary};
pub use input::{Input, Stop};
pub use limits::Limits;
pub use link::Link;
pub use loss::Loss;
pub use names::{Answer, Names, Who};
pub use packet::Packet;
pub use plaintext::{Actor, Owner, PLAINTEXT, Plaintext};
pub use process_row::{Coverage, Library, Process};
pub use protocol::{Dissect, Guess, Head, PARSER_VERSION, PROTOCOLS, Protocol, Secrets, Transport};
pub use schema::FlowId;
pub use tables::{Also, tables};
