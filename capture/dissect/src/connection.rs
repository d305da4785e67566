//! The table of conversations, and what is measured of each.
use std::borrow::Cow;

use schema::Record;
use schema::value::{Address, Code, Duration, Id, Label, Size, Time};

use crate::carrier::Outer;
use crate::envelope::Facts;
use crate::names::Both;
use crate::packet::Tcp;

/// Conversations: TCP connections, SCTP associations, and whoever exchanges UDP datagrams or ICMP
/// messages. One that stays open has a row for each minute, with what happened in
/// it; `part` counts them, so sums over rows are right and `part = 0` counts conversations.
#[derive(Record)]
pub(crate) struct Connections<'a> {
    /// When the conversation, or this part of it, began.
    ts: Time,
    /// From the first packet of this part to its last, in nanoseconds.
    duration: Duration,
    /// `tcp`, `udp`, `sctp`, `icmp` or `icmpv6` (OpenTelemetry `network.transport`).
    transport: Label<'a>,
    /// What was spoken, such as `http`; null if it was not recognised.
    protocol: Option<Label<'a>>,
    /// How it stands: `open`, `closed`, `reset`, `timeout` (no packet for long) or `evicted` (too
    /// many at once).
    state: Label<'a>,
    /// Which row of the conversation this is, from 0.
    part: u64,
    /// Who opened it (OpenTelemetry `client.address`).
    client_ip: Address<'a>,
    /// Its port (OpenTelemetry `client.port`).
    client_port: u16,
    /// The pod that opened it (OpenTelemetry `k8s.pod.name`).
    client_pod: Option<Label<'a>>,
    /// Its namespace (OpenTelemetry `k8s.namespace.name`).
    client_namespace: Option<Label<'a>>,
    /// The Deployment, StatefulSet, DaemonSet or Job it belongs to.
    client_workload: Option<Label<'a>>,
    /// A Service in front of it.
    client_service: Option<Label<'a>>,
    /// The node it ran on (OpenTelemetry `k8s.node.name`).
    client_node: Option<Label<'a>>,
    /// The process that opened it (OpenTelemetry `process.executable.name`).
    client_process: Option<Label<'a>>,
    /// Its number on its node (OpenTelemetry `process.pid`).
    client_pid: Option<Code>,
    /// Its container, as its cgroup says (OpenTelemetry `container.id`).
    client_container_id: Option<Label<'a>>,
    /// Who was called (OpenTelemetry `server.address`).
    server_ip: Address<'a>,
    /// Its port (OpenTelemetry `server.port`).
    server_port: u16,
    /// The pod that was called.
    server_pod: Option<Label<'a>>,
    /// Its namespace.
    server_namespace: Option<Label<'a>>,
    /// The Deployment, StatefulSet, DaemonSet or Job it belongs to.
    server_workload: Option<Label<'a>>,
    /// The Service it was called through.
    server_service: Option<Label<'a>>,
    /// The node it ran on.
    server_node: Option<Label<'a>>,
    /// The process that was called.
    server_process: Option<Label<'a>>,
    /// Its number on its node.
    server_pid: Option<Code>,
    /// Its container.
    server_container_id: Option<Label<'a>>,
    /// Packets the client sent.
    client_packets: u64,
    /// Packets the server sent.
    server_packets: u64,
    /// Payload bytes the client sent, those sent again included.
    client_bytes: Size,
    /// Payload bytes the server sent, those sent again included.
    server_bytes: Size,
    /// Payload bytes of both sides, each counted once.
    goodput_bytes: Size,
    /// From the first SYN to the SYN-ACK, in nanoseconds.
    initial_rtt: Option<Duration>,
    /// From the first SYN to the client's acknowledgement, in nanoseconds.
    handshake_time: Option<Duration>,
    /// From the client's first byte to the server's first, in nanoseconds.
    time_to_first_byte: Option<Duration>,
    /// The shortest time from data to its acknowledgement, in nanoseconds.
    rtt_min: Option<Duration>,
    /// The longest.
    rtt_max: Option<Duration>,
    /// The mean.
    rtt_avg: Option<Duration>,
    /// How many times were measured.
    rtt_samples: u64,
    /// The mean difference between one such time and the next, in nanoseconds.
    jitter: Option<Duration>,
    /// Segments the client sent again.
    client_retransmissions: u64,
    /// Segments the server sent again.
    server_retransmissions: u64,
    /// Segments sent again after two or more duplicate acknowledgements.
    fast_retransmissions: u64,
    /// Segments that came after later ones.
    out_of_order: u64,
    /// Acknowledgements that said the same again.
    dup_acks: u64,
    /// Holes that never filled: bytes the capture has not seen.
    missing_segments: u64,
    /// How many bytes those were.
    missing_bytes: Size,
    /// When the client's first bytes behind such a hole came: from here on, what it sent may be lacking.
    client_missing_since: Option<Time>,
    /// The same of the server's.
    server_missing_since: Option<Time>,
    /// Times a receiver had no room left.
    zero_windows: u64,
    /// Segments that filled the receiver's window.
    window_full: u64,
    /// The client's window scale, as a shift; null if its SYN was not seen.
    client_window_scale: Option<Code>,
    /// The server's window scale, as a shift; null if its SYN was not seen.
    server_window_scale: Option<Code>,
    /// The mean receive window of both sides.
    avg_receive_window: Option<Size>,
    /// Segments with RST.
    resets: u64,
    /// Segments with FIN.
    fins: u64,
    /// Keep-alive probes.
    keepalives: u64,
    /// What was seen, as a sum: SYN 1, SYN-ACK 2, ACK 4, data 8, FIN 16, RST 32.
    completeness: Code,
    /// The name by which the client calls the server, from a TLS or QUIC handshake (SNI).
    /// OpenTelemetry: `tls.client.server_name`.
    server_name: Option<Cow<'a, str>>,
    /// What is spoken within the encryption, such as `h2`, from the same handshake (ALPN).
    /// OpenTelemetry: `tls.next_protocol`.
    alpn: Option<Label<'a>>,
    /// Whether it was encrypted, at least from some moment on.
    encrypted: bool,
    /// The conversation that announced this one, as FTP's commands do for each transfer of data.
    parent_flow_id: Option<Id<'a>>,
    /// What carried its first packet, from the outermost, such as `vxlan` or `gre+erspan`; null if
    /// nothing did.
    tunnel: Option<Cow<'a, str>>,
    /// The innermost carrier's number: VXLAN or GENEVE network, GRE key, MPLS label, PPPoE or ERSPAN
    /// session, GTP endpoint.
    tunnel_id: Option<u64>,
    /// The carrier's end on the client's side.
    tunnel_client_ip: Option<Cow<'a, str>>,
    /// The carrier's end on the server's side.
    tunnel_server_ip: Option<Cow<'a, str>>,
    /// The VLAN of its first packet; the innermost, if there are several.
    vlan_id: Option<Code>,
    /// The conversation; sorts by the time it began.
    flow_id: Id<'a>,
    /// The node that captured it.
    node: Label<'a>,
}

/// What is known of a conversation beside what was measured.
pub(crate) struct Known<'a> {
    pub(crate) transport: &'static str,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) wrapping: Option<&'a Wrapping>,
    pub(crate) server_name: Option<&'a str>,
    pub(crate) alpn: Option<&'a str>,
    pub(crate) encrypted: bool,
    pub(crate) parent: Option<&'a str>,
}

/// What a conversation was wrapped in, as text.
pub(crate) struct Wrapping {
    name: Option<String>,
    id: Option<u64>,
    client: Option<String>,
    server: Option<String>,
    vlan: Option<i32>,
}

impl Wrapping {
    /// `answered` says that the packet it was seen on came from the server.
    pub(crate) fn of(outer: &Outer, answered: bool) -> Self {
        let text = |ip| std::net::Ipv6Addr::from(ip).to_canonical().to_string();
        let ends = outer.ends.map(|(from, to)| if answered { (to, from) } else { (from, to) });
        Self {
            name: outer.name(),
            id: outer.id.map(u64::from),
            client: ends.map(|it| text(it.0)),
            server: ends.map(|it| text(it.1)),
            vlan: outer.vlan.map(i32::from),
        }
    }
}

/// How a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Closed,
    Reset,
    Timeout,
    Evicted,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Evicted => "evicted",
        }
    }
}

/// What is measured of a conversation. The array's index is the direction.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) part: u64,
    /// First and last packet of this part.
    pub(crate) first: i64,
    pub(crate) last: i64,
    packets: [u64; 2],
    bytes: [u64; 2],
    pub(crate) goodput: u64,
    retransmissions: [u64; 2],
    fast_retransmissions: u64,
    out_of_order: u64,
    dup_acks: u64,
    missing_segments: u64,
    missing_bytes: u64,
    /// When the first bytes behind a hole came.
    missing_since: [Option<i64>; 2],
    zero_windows: u64,
    window_full: u64,
    windows: (u64, u64),
    resets: u64,
    fins: u64,
    keepalives: u64,
    completeness: i32,
    rtt: Rtt,
    jitter: (i64, i64),
    syn: Option<i64>,
    initial_rtt: Option<i64>,
    handshake: Option<i64>,
    scale: [Option<u8>; 2],
    first_data: [Option<i64>; 2],
    ways: [Way; 2],
}

#[derive(Debug, Default)]
struct Rtt {
    min: i64,
    max: i64,
    sum: i64,
    samples: i64,
    last: Option<i64>,
}

/// What one direction looked like last.
#[derive(Debug, Default)]
struct Way {
    /// The end of the latest segment, and when it was seen first.
    highest: u32,
    highest_ts: i64,
    sent_any: bool,
    ack: u32,
    window: u32,
    dups: u32,
    /// A segment whose acknowledgement is timed: its end and when it was sent.
    timed: Option<(u32, i64)>,
}

impl Metrics {
    pub(crate) fn datagram(&mut self, way: usize, ts: i64, bytes: usize) {
        self.packet(way, ts, bytes);
        self.goodput += bytes as u64;
        self.first_byte(way, ts, bytes);
    }

    /// Notes when there was a first packet, and no more.
    pub(crate) fn begin(&mut self, ts: i64) {
        if self.packets == [0, 0] {
            self.packets = [1, 0];
            self.first = ts;
        }
    }

    /// Notes that something was read of it while there was no packet.
    pub(crate) fn without_packets(&mut self, ts: i64) {
        if self.first == 0 {
            self.first = ts;
        }
        self.last = self.last.max(ts);
    }

    fn packet(&mut self, way: usize, ts: i64, bytes: usize) {
        if self.packets == [0, 0] {
            self.first = ts;
        }
        self.last = self.last.max(ts);
        bump(&mut self.packets, way, 1);
        bump(&mut self.bytes, way, bytes as u64);
    }

    fn first_byte(&mut self, way: usize, ts: i64, bytes: usize) {
        if bytes > 0
            && let Some(first) = self.first_data.get_mut(way)
        {
            first.get_or_insert(ts);
        }
    }

    /// Notes a TCP segment. `new` says whether any of its bytes had not been handed on.
    pub(crate) fn segment(&mut self, way: usize, ts: i64, it: &Tcp<'_>, new: bool) {
        self.packet(way, ts, it.sent);
        self.first_byte(way, ts, it.sent);
        self.resets += u64::from(it.rst);
        self.fins += u64::from(it.fin);
        self.completeness |= match (it.syn, it.ack) {
            (true, None) => 1,
            (true, Some(_)) => 2,
            (false, Some(_)) => 4,
            (false, None) => 0,
        };
        self.completeness |=
            8 * i32::from(it.sent > 0) + 16 * i32::from(it.fin) + 32 * i32::from(it.rst);
        self.handshake(way, ts, it);
        let scale = match self.scale {
            // A scale counts only if both sides offered one (RFC 7323 §2.2).
            [Some(_), Some(_)] if !it.syn => self.scale.get(way).copied().flatten().unwrap_or(0),
            _ => 0,
        };
        let window = u32::from(it.window) << scale;
        let peer_window = self.ways.get(1 - way).map_or(0, |it| it.window);
        let peer_ack = self.ways.get(1 - way).map(|it| it.ack);
        let peer_dups = self.ways.get(1 - way).map_or(0, |it| it.dups);
        let Some(own) = self.ways.get_mut(way) else { return };
        if !it.rst {
            self.windows.0 += u64::from(window);
            self.windows.1 += 1;
            self.zero_windows += u64::from(window == 0 && own.window != 0 && !it.syn);
        }
        #[allow(clippy::cast_possible_truncation, reason = "a segment is shorter than 2³²")]
        let length = it.sent as u32 + u32::from(it.syn) + u32::from(it.fin);
        let end = it.seq.wrapping_add(length);
        if length > 0 {
            let ahead = end.wrapping_sub(own.highest).cast_signed();
            if !own.sent_any || ahead > 0 {
                own.highest = end;
                own.highest_ts = ts;
                own.sent_any = true;
                if own.timed.is_none() && it.sent > 0 {
                    own.timed = Some((end, ts));
                }
            } else if it.sent <= 1 && ahead == 0 && !it.fin && !it.syn && !new {
                self.keepalives += 1;
            } else if new && ts.saturating_sub(own.highest_ts) < REORDER_NANOS {
                self.out_of_order += 1;
                own.timed = None;
            } else {
                bump(&mut self.retransmissions, way, 1);
                self.fast_retransmissions += u64::from(peer_dups >= 2);
                // Which of the two is acknowledged cannot be told (Karn's algorithm).
                own.timed = None;
            }
            let full = peer_ack.map(|ack| end.wrapping_sub(ack));
            let is_full = peer_window > 0 && it.sent > 0 && full == Some(peer_window);
            self.window_full += u64::from(is_full);
        }
        if let Some(ack) = it.ack {
            let same = own.ack == ack && own.window == window && length == 0 && !it.rst;
            own.window = window;
            if same && self.ways.get(1 - way).is_some_and(|peer| peer.highest != ack) {
                self.dup_acks += 1;
                if let Some(own) = self.ways.get_mut(way) {
                    own.dups += 1;
                }
            } else if let Some(own) = self.ways.get_mut(way) {
                if own.ack != ack {
                    own.dups = 0;
                }
                own.ack = ack;
            }
            self.acknowledged(1 - way, ack, ts);
        }
    }

    fn handshake(&mut self, way: usize, ts: i64, it: &Tcp<'_>) {
        if it.syn {
            if let Some(scale) = self.scale.get_mut(way) {
                *scale = it.window_scale;
            }
            match (it.ack, self.syn) {
                (None, _) => {
                    self.syn.get_or_insert(ts);
                }
                (Some(_), Some(syn)) => {
                    self.initial_rtt.get_or_insert(ts - syn);
                }
                (Some(_), None) => {}
            }
        } else if let (Some(syn), Some(_), None) = (self.syn, self.initial_rtt, self.handshake)
            && it.ack.is_some()
        {
            self.handshake = Some(ts - syn);
        }
    }

    fn acknowledged(&mut self, way: usize, ack: u32, ts: i64) {
        let Some(it) = self.ways.get_mut(way) else { return };
        let Some((end, sent)) = it.timed else { return };
        if ack.wrapping_sub(end).cast_signed() < 0 {
            return;
        }
        it.timed = None;
        let sample = ts.saturating_sub(sent);
        let rtt = &mut self.rtt;
        rtt.min = if rtt.samples == 0 { sample } else { rtt.min.min(sample) };
        rtt.max = rtt.max.max(sample);
        rtt.sum = rtt.sum.saturating_add(sample);
        rtt.samples += 1;
        if let Some(last) = rtt.last.replace(sample) {
            self.jitter.0 = self.jitter.0.saturating_add((sample - last).abs());
            self.jitter.1 += 1;
        }
    }

    /// The row of this part.
    pub(crate) fn row<'a>(
        &self,
        facts: &'a Facts,
        both: &'a Both,
        client: usize,
        known: &'a Known<'a>,
        state: State,
        node: &'a str,
    ) -> Connections<'a> {
        let server = 1 - client;
        let (client_process, server_process) = (facts.client_process(), facts.server_process());
        let of = |both: &[u64; 2], way: usize| both.get(way).copied().unwrap_or_default();
        let mean = |sum: i64, n: i64| (n > 0).then(|| Duration(sum / n));
        let measured = |it: i64| (self.rtt.samples > 0).then_some(Duration(it));
        let scale =
            |way: usize| self.scale.get(way).copied().flatten().map(|it| Code(i32::from(it)));
        let data = |way: usize| self.first_data.get(way).copied().flatten();
        let since = |way: usize| self.missing_since.get(way).copied().flatten().map(Time);
        let first_byte =
            data(client).zip(data(server)).filter(|(asked, answered)| answered >= asked);
        Connections {
            ts: Time(self.first),
            duration: Duration(self.last - self.first),
            transport: known.transport.into(),
            protocol: known.protocol.map(Label::from),
            state: state.name().into(),
            part: self.part,
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
            client_packets: of(&self.packets, client),
            server_packets: of(&self.packets, server),
            client_bytes: Size(of(&self.bytes, client)),
            server_bytes: Size(of(&self.bytes, server)),
            goodput_bytes: Size(self.goodput),
            initial_rtt: self.initial_rtt.map(Duration),
            handshake_time: self.handshake.map(Duration),
            time_to_first_byte: first_byte.map(|(asked, answered)| Duration(answered - asked)),
            rtt_min: measured(self.rtt.min),
            rtt_max: measured(self.rtt.max),
            rtt_avg: mean(self.rtt.sum, self.rtt.samples),
            rtt_samples: self.rtt.samples.cast_unsigned(),
            jitter: mean(self.jitter.0, self.jitter.1),
            client_retransmissions: of(&self.retransmissions, client),
            server_retransmissions: of(&self.retransmissions, server),
            fast_retransmissions: self.fast_retransmissions,
            out_of_order: self.out_of_order,
            dup_acks: self.dup_acks,
            missing_segments: self.missing_segments,
            missing_bytes: Size(self.missing_bytes),
            client_missing_since: since(client),
            server_missing_since: since(server),
            zero_windows: self.zero_windows,
            window_full: self.window_full,
            client_window_scale: scale(client),
            server_window_scale: scale(server),
            avg_receive_window: self.windows.0.checked_div(self.windows.1).map(Size),
            resets: self.resets,
            fins: self.fins,
            keepalives: self.keepalives,
            completeness: Code(self.completeness),
            server_name: known.server_name.map(Cow::Borrowed),
            alpn: known.alpn.map(Label::from),
            encrypted: known.encrypted,
            parent_flow_id: known.parent.map(Id),
            tunnel: known.wrapping.and_then(|it| it.name.as_deref()).map(Cow::Borrowed),
            tunnel_id: known.wrapping.and_then(|it| it.id),
            tunnel_client_ip: known.wrapping.and_then(|it| it.client.as_deref()).map(Cow::Borrowed),
            tunnel_server_ip: known.wrapping.and_then(|it| it.server.as_deref()).map(Cow::Borrowed),
            vlan_id: known.wrapping.and_then(|it| it.vlan).map(Code),
            flow_id: Id(facts.id()),
            node: node.into(),
        }
    }

    /// So many bytes will not come; those behind them came at a time.
    pub(crate) fn missed(&mut self, way: usize, bytes: u64, since: i64) {
        self.missing_segments += 1;
        self.missing_bytes += bytes;
        if let Some(it) = self.missing_since.get_mut(way) {
            it.get_or_insert(since);
        }
    }

    /// Begins the next part: counts start anew, what the connection is known by stays.
    pub(crate) fn next_part(&mut self) {
        let old = std::mem::take(self);
        *self = Self {
            part: old.part + 1,
            last: old.last,
            scale: old.scale,
            syn: old.syn,
            initial_rtt: old.initial_rtt,
            handshake: old.handshake,
            first_data: old.first_data,
            missing_since: old.missing_since,
            ways: old.ways,
            ..Self::default()
        };
    }
}

fn bump(both: &mut [u64; 2], way: usize, by: u64) {
    if let Some(it) = both.get_mut(way) {
        *it += by;
    }
}

/// A segment that comes this soon after later ones was overtaken, not sent again; Wireshark's bound.
const REORDER_NANOS: i64 = 3_000_000;
