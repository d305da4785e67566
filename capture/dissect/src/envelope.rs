//! The columns every exchange shares, whatever its protocol.
use std::borrow::Cow;
use std::cell::RefCell;

use schema::Record;
use schema::value::{Address, Code, Duration, Id, Label, Size, Time};

use crate::names::{Asked, Both, Names};
use crate::plaintext::{Acting, Actor, PLAINTEXT};
use schema::FlowId;

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
    /// Its number on its node (OpenTelemetry `process.pid`).
    client_pid: Option<Code>,
    /// Its container, as its cgroup says (OpenTelemetry `container.id`).
    client_container_id: Option<Label<'a>>,
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
    /// Its number on its node.
    server_pid: Option<Code>,
    /// Its container.
    server_container_id: Option<Label<'a>>,
    /// Bytes of the request as sent, without TCP/IP headers.
    request_bytes: Size,
    /// Bytes of the response as sent, without TCP/IP headers.
    response_bytes: Size,
    /// Whether it was encrypted on the wire.
    encrypted: bool,
    /// Where it was seen: `packet`, or `plaintext` within TLS: in a process's library, or with the session's secrets.
    capture: Label<'a>,
    /// Whether a part of it was not captured, so that columns may be missing or cut.
    incomplete: bool,
    /// The conversation it belongs to; sorts by the time it began.
    flow_id: Id<'a>,
    /// Its position among the conversation's exchanges, from 0; among those read within TLS, from 2^32.
    seq: u64,
    /// The node that captured it.
    node: Label<'a>,
}

/// What a row says of its conversation.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) id: FlowId,
    pub(crate) client: (String, u16),
    pub(crate) server: (String, u16),
    pub(crate) asked: RefCell<Asked>,
    /// The processes of both, where they are known.
    pub(crate) processes: (Option<Acting>, Option<Acting>),
    /// Whether it was read within TLS.
    pub(crate) plaintext: bool,
}

impl Facts {
    /// The same, with the sides exchanged.
    pub(crate) fn turned(&self) -> Self {
        let (client, server) = self.processes.clone();
        Self {
            id: self.id,
            client: self.server.clone(),
            server: self.client.clone(),
            asked: RefCell::new(self.asked.borrow().turned()),
            processes: (server, client),
            plaintext: self.plaintext,
        }
    }

    /// Who the two ends were at a time.
    pub(crate) fn both(&self, names: Option<&dyn Names>, ts: i64) -> Both {
        let Some(names) = names else { return Both::default() };
        let ends = [&self.client, &self.server].map(|it| (it.0.as_str(), it.1));
        self.asked.borrow_mut().both(names, ends, ts).clone()
    }

    /// The client's process.
    pub(crate) fn client_process(&self) -> Option<Actor<'_>> {
        self.processes.0.as_ref().map(Acting::get)
    }

    /// The server's process.
    pub(crate) fn server_process(&self) -> Option<Actor<'_>> {
        self.processes.1.as_ref().map(Acting::get)
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_str()
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
        both: &'a Both,
        it: &Occurrence,
        summary: crate::Summary<'a>,
    ) -> Self {
        let (client_process, server_process) = (facts.client_process(), facts.server_process());
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
            client_pod: both.client(|it| &it.pod).map(Label::from),
            client_namespace: both.client(|it| &it.namespace).map(Label::from),
            client_workload: both.client(|it| &it.workload).map(Label::from),
            client_service: both.client(|it| &it.front).map(Label::from),
            client_node: both.client(|it| &it.node).map(Label::from),
            client_process: client_process.map(|it| it.name.into()),
            client_pid: client_process.map(|it| Code(it.pid.cast_signed())),
            client_container_id: client_process.and_then(|it| Some(it.container_id?.into())),
            server_ip: Address(&facts.server.0),
            server_port: facts.server.1,
            server_pod: both.server(|it| &it.pod).map(Label::from),
            server_namespace: both.server(|it| &it.namespace).map(Label::from),
            server_workload: both.server(|it| &it.workload).map(Label::from),
            server_service: both.server(|it| &it.service).map(Label::from),
            server_node: both.server(|it| &it.node).map(Label::from),
            server_process: server_process.map(|it| it.name.into()),
            server_pid: server_process.map(|it| Code(it.pid.cast_signed())),
            server_container_id: server_process.and_then(|it| Some(it.container_id?.into())),
            request_bytes: Size(it.request_bytes),
            response_bytes: Size(it.response_bytes),
            encrypted: facts.plaintext,
            capture: if facts.plaintext { PLAINTEXT } else { "packet" }.into(),
            incomplete: it.incomplete,
            flow_id: Id(facts.id()),
            seq: it.seq,
            node: node.into(),
        }
    }
}
