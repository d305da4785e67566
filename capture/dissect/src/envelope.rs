//! The columns every exchange shares, whatever its protocol.
use std::borrow::Cow;

use schema::Record;
use schema::value::{Address, Code, Duration, Id, Label, Size, Time};

/// What every exchange of every protocol has.
#[derive(Record)]
pub(crate) struct Envelope<'a> {
    /// When the request's first byte was captured; the response's, if there is no request.
    ts: Time,
    /// From the request's first byte to the response's last, in nanoseconds; null without a response.
    duration: Option<Duration>,
    /// What was spoken, such as `http` (OpenTelemetry `network.protocol.name`).
    protocol: Label<'a>,
    /// What was asked: a method, command or type.
    verb: Label<'a>,
    /// Of what: a path, key, topic or name.
    target: Cow<'a, str>,
    /// How it ended, as the protocol's number, such as an HTTP status or a DNS response code.
    status: Option<Code>,
    /// Whether the protocol calls it an error, or a request was left without its answer.
    failed: bool,
    /// What went wrong, in the protocol's words.
    error: Option<Cow<'a, str>>,
    /// Who asked (OpenTelemetry `client.address`).
    client_ip: Address<'a>,
    /// The port it asked from (OpenTelemetry `client.port`).
    client_port: u16,
    /// The pod that asked (OpenTelemetry `k8s.pod.name`).
    client_pod: Option<Label<'a>>,
    /// Its namespace (OpenTelemetry `k8s.namespace.name`).
    client_namespace: Option<Label<'a>>,
    /// The Deployment, StatefulSet, DaemonSet or Job it belongs to.
    client_workload: Option<Label<'a>>,
    /// A Service in front of it.
    client_service: Option<Label<'a>>,
    /// The node it ran on (OpenTelemetry `k8s.node.name`).
    client_node: Option<Label<'a>>,
    /// The process that asked (OpenTelemetry `process.executable.name`).
    client_process: Option<Label<'a>>,
    /// Who was asked (OpenTelemetry `server.address`).
    server_ip: Address<'a>,
    /// The port it was asked on (OpenTelemetry `server.port`).
    server_port: u16,
    /// The pod that was asked.
    server_pod: Option<Label<'a>>,
    /// Its namespace.
    server_namespace: Option<Label<'a>>,
    /// The Deployment, StatefulSet, DaemonSet or Job it belongs to.
    server_workload: Option<Label<'a>>,
    /// The Service it was asked through.
    server_service: Option<Label<'a>>,
    /// The node it ran on.
    server_node: Option<Label<'a>>,
    /// The process that was asked.
    server_process: Option<Label<'a>>,
    /// Bytes of the request as sent, without TCP/IP headers.
    request_bytes: Size,
    /// Bytes of the response as sent, without TCP/IP headers.
    response_bytes: Size,
    /// Whether it was encrypted on the wire.
    encrypted: bool,
    /// Where it was seen: `packet`, or `plaintext` in a process's TLS library.
    capture: Label<'a>,
    /// Whether a part of it was not captured, so that columns may be missing or cut.
    incomplete: bool,
    /// The conversation it belongs to; sorts by the time it began.
    flow_id: Id<'a>,
    /// Its position among the conversation's exchanges, from 0.
    seq: u64,
    /// The node that captured it.
    node: Label<'a>,
}

/// What a row says of its conversation.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) id: [u8; 12],
    pub(crate) client: (String, u16),
    pub(crate) server: (String, u16),
}

impl Facts {
    /// The same, with the sides exchanged.
    pub(crate) fn turned(&self) -> Self {
        Self { id: self.id, client: self.server.clone(), server: self.client.clone() }
    }

    pub(crate) fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or_default()
    }
}

/// What a row says of one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occurrence {
    pub(crate) ts: i64,
    pub(crate) duration: Option<i64>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) incomplete: bool,
    pub(crate) seq: u64,
}

impl<'a> Envelope<'a> {
    pub(crate) fn new(
        protocol: &'static str,
        node: &'a str,
        facts: &'a Facts,
        it: &Occurrence,
        summary: crate::Summary<'a>,
    ) -> Self {
        Self {
            ts: Time(it.ts),
            duration: it.duration.map(Duration),
            protocol: protocol.into(),
            verb: Label(summary.verb),
            target: summary.target,
            status: summary.status.map(Code),
            failed: summary.failed,
            error: summary.error,
            client_ip: Address(&facts.client.0),
            client_port: facts.client.1,
            client_pod: None,
            client_namespace: None,
            client_workload: None,
            client_service: None,
            client_node: None,
            client_process: None,
            server_ip: Address(&facts.server.0),
            server_port: facts.server.1,
            server_pod: None,
            server_namespace: None,
            server_workload: None,
            server_service: None,
            server_node: None,
            server_process: None,
            request_bytes: Size(it.request_bytes),
            response_bytes: Size(it.response_bytes),
            encrypted: false,
            capture: "packet".into(),
            incomplete: it.incomplete,
            flow_id: Id(facts.id()),
            seq: it.seq,
            node: node.into(),
        }
    }
}
