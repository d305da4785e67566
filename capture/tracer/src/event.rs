//! What the kernel tells.
use std::{net::SocketAddr, sync::Arc};

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A process read or wrote through its TLS library.
    Plaintext(Plaintext<'a>),
    /// Something about a TCP socket.
    Socket(Socket<'a>),
}

/// A piece of what a process gave to its TLS library, or got from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plaintext<'a> {
    /// When, in nanoseconds since 1970.
    pub ts: i64,
    /// The connection.
    pub ends: Ends,
    /// Whether the process called or was called; `None` if the connection is older than the trace.
    pub role: Option<Role>,
    /// Whether the process sent this, or received it.
    pub sent: bool,
    /// Which TLS object of the process it was, so that two on one pair of ends are told apart.
    pub session: u64,
    /// Whether the handshake was seen, so that nothing was said before offset 0.
    pub from_start: bool,
    /// Where in its direction's stream this begins. What is missing between two pieces was lost, and counted.
    pub offset: u64,
    /// How far the other direction had come when the process sent or received this.
    pub seen: u64,
    /// The bytes.
    pub bytes: &'a [u8],
    /// Who.
    pub process: Process<'a>,
}

/// Something about a TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket<'a> {
    /// When, in nanoseconds since 1970.
    pub ts: i64,
    /// What happened.
    pub what: What,
    /// The connection.
    pub ends: Ends,
    /// Whether the process called or was called, if that was seen.
    pub role: Option<Role>,
    /// Whose it is; `None` if no process has used it while it was traced.
    pub process: Option<Process<'a>>,
}

/// What happened to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is connected, and its process called.
    Connect,
    /// Its process was called, and has used it for the first time.
    Accept,
    /// It was connected before the trace began, and was used for the first time since then.
    Open,
    /// It is closed.
    Close,
}

/// A socket's two ends and where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The process's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The network namespace: the inode of `/proc/PID/ns/net`.
    pub netns: u32,
    /// The cgroup that the socket was made in: the inode of its folder.
    pub cgroup_id: u64,
}

/// A process's part in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It called.
    Client,
    /// It was called.
    Server,
}

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process<'a> {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name, as a rule the program's (15 bytes at most).
    pub comm: &'a str,
    /// The process's cgroup: the inode of its folder.
    pub cgroup_id: u64,
    /// Its container, if its cgroup is named after one.
    pub container_id: Option<&'a str>,
}

/// What was seen and what was lost since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads and writes of targeted processes.
    pub calls: u64,
    /// Pieces of plaintext that the kernel handed on.
    pub pieces: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Events lost because the reader was behind.
    pub lost: u64,
    /// Bytes of plaintext lost with them, or because they could not be read.
    pub lost_bytes: u64,
    /// Bytes of single calls beyond the 64 MiB that are read of one.
    pub cut_bytes: u64,
    /// Calls of which the bytes could not be read, because they had been paged out.
    pub faults: u64,
    /// Calls whose connection was not known when they returned.
    pub unbound: u64,
    /// Pieces of which the connection never became known, and which were not told for that.
    pub unplaced: u64,
    /// Bytes in those.
    pub unplaced_bytes: u64,
    /// Calls that began before the trace did.
    pub orphans: u64,
    /// TLS objects that went on to another connection.
    pub rebound: u64,
    /// Libraries that probes were attached to, ever.
    pub attached: u64,
    /// Libraries that probes could not be attached to.
    pub attach_failed: u64,
}

/// A file with functions that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its path, in its processes' file system.
    pub path: String,
    /// `openssl` (and its kin), `gnutls` or `go`, or one that is not read.
    pub kind: &'static str,
    /// The targeted processes that have it loaded.
    pub processes: Vec<u32>,
    /// Why it is not read, if it is not.
    pub problem: Option<String>,
}

/// A targeted process, and what it has to speak TLS with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The process.
    pub pid: u32,
    /// When it began, in nanoseconds since 1970.
    pub started: i64,
    /// Its first thread's name (15 bytes at most).
    pub name: String,
    /// The program it runs, in its own file system.
    pub executable: Option<String>,
    /// The pod that its cgroup belongs to.
    pub pod_uid: Option<String>,
    /// The container that its cgroup belongs to.
    pub container_id: Option<String>,
    /// Its TLS library: of several, one that is read.
    pub library: Option<Arc<dissect::Library>>,
    /// Whether that one is read.
    pub is_read: bool,
    /// Why it is not, or another one of the same process is not.
    pub problem: Option<String>,
}

/// Processes with a TLS library that have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// As they last were.
    pub processes: Vec<Arc<Running>>,
    /// How many more there were, too many to be listed.
    pub more: u64,
}
