//! The table of processes: of whom what is said within TLS can be read.
use std::borrow::Cow;

use schema::Record;
use schema::value::{Code, Id, Label, Time};

use crate::names::Who;

/// Processes that speak TLS, and what can be read of it: for each of those that are traced (`--trace`, in a cluster
/// `tracing.enabled`) and have a TLS library or shook hands in packets, a row when that is found out, one when it changes, one
/// each ten minutes while it lasts, and one when the process has ended. How they all stand now:
/// `select * from (select distinct on (node, pid) * from processes where ts > now() - interval '15 minutes' order by node,
/// pid, ts desc) where until is null`.
#[derive(Record)]
pub(crate) struct Processes<'a> {
    /// When this was found to be so, or found to be so still.
    ts: Time,
    /// When the process was found to have ended; null while it runs.
    until: Option<Time>,
    /// Its number on its node (OpenTelemetry `process.pid`).
    pid: Code,
    /// Its name, 15 bytes at most (OpenTelemetry `process.executable.name`).
    name: Label<'a>,
    /// The program it runs, in its own file system (OpenTelemetry `process.executable.path`).
    executable: Option<Cow<'a, str>>,
    /// When it began (OpenTelemetry `process.creation.time`).
    started: Time,
    /// Its pod (OpenTelemetry `k8s.pod.name`).
    pod: Option<Label<'a>>,
    /// The pod's namespace (OpenTelemetry `k8s.namespace.name`).
    namespace: Option<Label<'a>>,
    /// The Deployment, StatefulSet, DaemonSet or Job the pod belongs to.
    workload: Option<Label<'a>>,
    /// The pod's uid, as its cgroup says (OpenTelemetry `k8s.pod.uid`).
    pod_uid: Option<Id<'a>>,
    /// Its container, as its cgroup says (OpenTelemetry `container.id`).
    container_id: Option<Id<'a>>,
    /// How much of what it says within TLS can be read: `plaintext`, `handshake` (its handshakes are seen in packets, and
    /// nothing more) or `opaque` (not even those).
    coverage: Label<'a>,
    /// Why not all, in a sentence: what is amiss with its library, or with the kernel.
    reason: Option<Cow<'a, str>>,
    /// Since when `coverage` and `reason` have been so.
    since: Time,
    /// Its TLS library (of several, one that is read): `openssl`, `boringssl`, `gnutls`, `go`, `rustls`, `nss`, `mbedtls`, `wolfssl` or `s2n`; null if it has
    /// none that is known.
    library: Option<Label<'a>>,
    /// The library's version, or Go's, as its file says.
    library_version: Option<Label<'a>>,
    /// The file it is in: a library, or the program itself.
    library_path: Option<Cow<'a, str>>,
    /// The file's build id, by which debug symbols are found (of ELF's note `NT_GNU_BUILD_ID`).
    library_build_id: Option<Id<'a>>,
    /// Whether the library is built into a program, or another library, and not a file of its own.
    library_static: Option<bool>,
    /// Whether the file has no symbols but those that others may call.
    library_stripped: Option<bool>,
    /// The node it runs on (OpenTelemetry `k8s.node.name`).
    node: Label<'a>,
}

/// A process as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// When this was found to be so, in nanoseconds since 1970.
    pub ts: i64,
    /// When the process was found to have ended.
    pub until: Option<i64>,
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The program it runs.
    pub executable: Option<String>,
    /// When it began.
    pub started: i64,
    /// Its pod, as far as that is known.
    pub who: Who,
    /// The pod's uid.
    pub pod_uid: Option<String>,
    /// Its container.
    pub container_id: Option<String>,
    /// How much can be read.
    pub coverage: Coverage,
    /// Why not all.
    pub reason: Option<String>,
    /// Since when that has been so.
    pub since: i64,
    /// Its TLS library.
    pub library: Option<Library>,
}

/// A TLS library of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Library {
    /// Which one.
    pub kind: &'static str,
    /// Its version.
    pub version: Option<String>,
    /// The file it is in.
    pub path: String,
    /// The file's build id.
    pub build_id: Option<String>,
    /// It is not a file of its own.
    pub is_static: bool,
    /// The file has no symbols but those that others may call.
    pub is_stripped: bool,
}

/// How much of what a process says within TLS can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All, in the process itself.
    Plaintext,
    /// Its handshakes, in packets.
    Handshake,
    /// Nothing.
    Opaque,
}

impl Coverage {
    /// As rows say it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Handshake => "handshake",
            Self::Opaque => "opaque",
        }
    }
}

impl Process {
    pub(crate) fn row<'a>(&'a self, node: &'a str) -> Processes<'a> {
        let library = self.library.as_ref();
        Processes {
            ts: Time(self.ts),
            until: self.until.map(Time),
            pid: Code(self.pid.cast_signed()),
            name: self.name.as_str().into(),
            executable: self.executable.as_deref().map(Cow::Borrowed),
            started: Time(self.started),
            pod: self.who.pod.as_deref().map(Label::from),
            namespace: self.who.namespace.as_deref().map(Label::from),
            workload: self.who.workload.as_deref().map(Label::from),
            pod_uid: self.pod_uid.as_deref().map(Id),
            container_id: self.container_id.as_deref().map(Id),
            coverage: self.coverage.word().into(),
            reason: self.reason.as_deref().map(Cow::Borrowed),
            since: Time(self.since),
            library: library.map(|it| it.kind.into()),
            library_version: library.and_then(|it| it.version.as_deref().map(Label::from)),
            library_path: library.map(|it| Cow::Borrowed(it.path.as_str())),
            library_build_id: library.and_then(|it| it.build_id.as_deref().map(Id)),
            library_static: library.map(|it| it.is_static),
            library_stripped: library.map(|it| it.is_stripped),
            node: node.into(),
        }
    }
}
