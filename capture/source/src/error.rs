use std::io;

/// Why there are no (more) packets. Every message is one sentence that says what to do or where to look.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be opened.
    #[error("can't open {name}: {cause}")]
    Open {
        /// The file.
        name: String,
        /// What the system says.
        cause: io::Error,
    },
    /// The file is something else.
    #[error("{name} is not a pcap or pcapng capture: {found}")]
    NotACapture {
        /// The file.
        name: String,
        /// What it seems to be.
        found: String,
    },
    /// The file stops inside a record. Every whole packet before it was returned.
    #[error(
        "{name} ends in the middle of a record at byte {offset}; the {packets} packets before it were read"
    )]
    Torn {
        /// The file.
        name: String,
        /// Where the record begins, counted in the capture as it is without compression.
        offset: u64,
        /// Packets read before.
        packets: u64,
    },
    /// The file says something impossible. Every packet before that was returned.
    #[error(
        "{name} is damaged at byte {offset}: {what}; the {packets} packets before it were read"
    )]
    Corrupt {
        /// The file.
        name: String,
        /// Where the record begins, counted in the capture as it is without compression.
        offset: u64,
        /// What is wrong.
        what: String,
        /// Packets read before.
        packets: u64,
    },
    /// Reading failed.
    #[error(
        "reading {name} failed at byte {offset}: {cause}; the {packets} packets before it were read"
    )]
    Read {
        /// The file.
        name: String,
        /// Where, counted in the capture as it is without compression.
        offset: u64,
        /// What the system, or the decompressor, says.
        cause: io::Error,
        /// Packets read before.
        packets: u64,
    },
    /// The process may not capture.
    #[error(
        "no permission to capture on {interface}: run as root, or allow it once with \
         `sudo setcap cap_net_raw,cap_net_admin=eip \"$(command -v kubeshark)\"`"
    )]
    Permission {
        /// The interface.
        interface: String,
    },
    /// There is no such interface.
    #[error("there is no interface {interface}; there are: {}", existing.join(", "))]
    NoInterface {
        /// The one asked for.
        interface: String,
        /// Those that exist.
        existing: Vec<String>,
    },
    /// The BPF filter doesn't compile.
    #[error("the capture filter `{filter}` is not valid: {cause}")]
    Filter {
        /// The filter.
        filter: String,
        /// What libpcap says.
        cause: String,
    },
    /// Something else about a live capture.
    #[error("can't capture on {interface}: {cause}")]
    Live {
        /// The interface.
        interface: String,
        /// What libpcap says.
        cause: String,
    },
}
