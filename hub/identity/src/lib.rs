//! Who had an address when.
//!
//! ```text
//!  API server ─ objects ─▶ facts (Hub) ─ updates over the link ─▶ Index (Worker) ─▶ names of both ends
//! ```
//!
//! A [`Fact`] is all that is known of one pod, Service, endpoint or node, with the times at which its
//! addresses were its own: an address is given to another pod as soon as its holder is gone, so that
//! it means nothing without a time. An [`Index`] answers who had one. Pure: no I/O, and no clock but the
//! times that come with facts. All times are nanoseconds since 1970, UTC.

mod fact;
mod index;

pub use fact::{Endpoint, Fact, Held, Key, Node, Of, Pod, Service, Update, Workload};
pub use index::{Answer, Counters, Index, Who};
