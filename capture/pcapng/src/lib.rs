//! Captures as files again: rows of the table `packets` in, pcapng (draft-ietf-opsawg-pcapng) out.
//!
//! What was read from a file and is written again has the same bytes, lengths and times.

mod rows;
mod writer;

pub use rows::{COLUMNS, Error, Rows, are_packets};
pub use writer::{Packet, Writer, block};
