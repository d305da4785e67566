//! Every bound of the capture path, each with the reason for its size.

/// How much a dissection may hold and keep. Nothing on the capture path grows past one of these.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Conversations followed at once. A busy node has some ten thousand open.
    pub flows: usize,
    /// Bytes of all conversations that wait for something: out of order, half a message, or a
    /// request without its answer. Past it, the conversation idle longest is given up.
    pub held_bytes: usize,
    /// Bytes of one direction that wait for a missing segment: two seconds at 4 MB/s.
    pub pending_bytes: usize,
    /// Bytes of half a message; dissectors use up long bodies as they come, so only heads wait.
    pub message_bytes: usize,
    /// Bytes kept of one message's body.
    pub body_bytes: usize,
    /// Bytes a compressed body may grow to.
    pub decompressed_bytes: usize,
    /// Bytes of one conversation's requests that wait for an answer; the oldest goes unanswered.
    pub flow_bytes: usize,
    /// Requests of one conversation that wait for an answer.
    pub open_requests: usize,
    /// Bytes looked at before a conversation's protocol is called unknown.
    pub guess_bytes: usize,
    /// Nanoseconds without a packet after which a TCP conversation has ended. Idle pools keep
    /// connections for minutes.
    pub tcp_idle: i64,
    /// The same for UDP, as conntrack has it for streams.
    pub udp_idle: i64,
    /// Nanoseconds a closed conversation is remembered, for packets that come late.
    pub linger: i64,
    /// Nanoseconds a request waits for its answer.
    pub answer: i64,
    /// Nanoseconds between two rows of a conversation that stays open.
    pub report: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 65_536,
            held_bytes: 64 << 20,
            pending_bytes: 8 << 20,
            message_bytes: 1 << 20,
            body_bytes: 64 << 10,
            decompressed_bytes: 256 << 10,
            flow_bytes: 4 << 20,
            open_requests: 1024,
            guess_bytes: 4096,
            tcp_idle: 300 * SECOND,
            udp_idle: 60 * SECOND,
            linger: 2 * SECOND,
            answer: 60 * SECOND,
            report: 60 * SECOND,
        }
    }
}

pub(crate) const SECOND: i64 = 1_000_000_000;
