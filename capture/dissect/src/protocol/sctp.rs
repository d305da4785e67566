//! SCTP (RFC 9260): the chunks of an association. What its DATA chunks carry is read by the
//! protocols they carry.
use std::borrow::Cow;

use schema::value::{Code, Label, Size};

use super::{Dissect, Guess, Head, Transport};
use crate::association::{COOKIE_ACK, COOKIE_ECHO, DATA, INIT, INIT_ACK};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

/// Chunks of SCTP associations: those that ask for an answer with it in one row (INIT, COOKIE ECHO,
/// HEARTBEAT, SHUTDOWN), others alone.
#[derive(schema::Record)]
pub(super) struct Sctp<'a> {
    /// The chunk's type, such as `DATA`, `SACK` or `INIT`.
    chunk: Label<'a>,
    /// Its flags: of DATA, 1 ends a message, 2 begins one, 4 is out of order.
    flags: Code,
    /// Bytes of its value; of DATA, of the user's data.
    chunk_bytes: Size,
    /// Transmission sequence number of DATA; the first one of INIT.
    tsn: Option<u64>,
    /// The stream of DATA.
    stream_id: Option<Code>,
    /// DATA's place in its stream.
    stream_seq: Option<Code>,
    /// What DATA carries, by IANA's payload protocol identifier, such as `diameter`; its number if
    /// it has no name here.
    payload_protocol: Option<Label<'a>>,
    /// Of SACK and SHUTDOWN: everything up to this number has arrived.
    cumulative_tsn: Option<u64>,
    /// Bytes the sender has room for: INIT, SACK.
    receive_window: Option<Size>,
    /// Of INIT: streams the sender wants.
    outbound_streams: Option<Code>,
    /// Of INIT: streams the sender takes.
    inbound_streams: Option<Code>,
    /// Of ABORT and ERROR: number of the first cause.
    cause: Option<Code>,
}

/// Chunks stand alone: nothing to remember.
#[derive(Debug, Default)]
pub(super) struct Dissector;

/// A chunk's header and the first bytes of its value.
#[derive(Debug)]
pub(super) struct Body {
    kind: u8,
    flags: u8,
    size: usize,
    kept: [u8; 16],
    n_kept: usize,
}

impl Dissect for Dissector {
    const NAME: &'static str = "sctp";
    /// An association hands it its packets; no flow is guessed to be one.
    const TRANSPORTS: &'static [Transport] = &[];
    const PORTS: &'static [u16] = &[];
    type Body = Body;
    type Columns = SctpColumns;

    fn guess(_: &Head<'_>) -> Guess {
        Guess::No
    }

    fn parse(
        &mut self,
        _: Side,
        input: &mut Input<'_>,
        _: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        let (kind, flags) = (input.u8()?, input.u8()?);
        let length = usize::from(input.u16()?);
        let value = input.take(length.checked_sub(4).ok_or(Stop::Lost)?)?;
        let padding = (length.next_multiple_of(4) - length).min(input.rest().len());
        input.take(padding)?;
        let mut kept = [0; 16];
        let n_kept = value.len().min(kept.len());
        for (to, from) in kept.iter_mut().zip(value) {
            *to = *from;
        }
        let body = Body { kind, flags, size: value.len(), kept, n_kept };
        Ok(match kind {
            INIT | COOKIE_ECHO | HEARTBEAT | SHUTDOWN => {
                Message::request(body).key(u64::from(kind)).by_client()
            }
            INIT_ACK => Message::response(body).key(u64::from(INIT)).by_server(),
            COOKIE_ACK => Message::response(body).key(u64::from(COOKIE_ECHO)).by_server(),
            HEARTBEAT_ACK => Message::response(body).key(u64::from(HEARTBEAT)).by_server(),
            SHUTDOWN_ACK => Message::response(body).key(u64::from(SHUTDOWN)).by_server(),
            _ => Message::notice(body).by_client(),
        })
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Sctp<'_>) {
        let it = exchange.request.or(exchange.response).unwrap_or(&NOTHING);
        let chunk = name(it.kind);
        let failed = matches!(it.kind, ABORT | ERROR);
        let cause = failed.then(|| it.u16(0)).flatten().filter(|it| *it > 0);
        let is = |kinds: &[u8]| kinds.contains(&it.kind);
        let data = is(&[DATA]);
        let payload = data.then(|| it.u32(8)).flatten().map(payload_protocol);
        let summary = Summary {
            verb: chunk.clone(),
            target: payload.clone().unwrap_or_default(),
            status: cause.map(i32::from),
            failed,
            error: failed.then(|| cause.map_or("aborted", cause_name).into()),
        };
        let row = Sctp {
            chunk: Label(chunk),
            flags: Code(i32::from(it.flags)),
            chunk_bytes: Size(it.size.saturating_sub(if data { 12 } else { 0 }) as u64),
            tsn: match it.kind {
                DATA => it.u32(0),
                INIT | INIT_ACK => it.u32(12),
                _ => None,
            }
            .map(u64::from),
            stream_id: data.then(|| it.u16(4)).flatten().map(|it| Code(i32::from(it))),
            stream_seq: data.then(|| it.u16(6)).flatten().map(|it| Code(i32::from(it))),
            payload_protocol: payload.map(Label),
            cumulative_tsn: is(&[SACK, SHUTDOWN]).then(|| it.u32(0)).flatten().map(u64::from),
            receive_window: is(&[INIT, INIT_ACK, SACK])
                .then(|| it.u32(4))
                .flatten()
                .map(|it| Size(u64::from(it))),
            outbound_streams: is(&[INIT, INIT_ACK])
                .then(|| it.u16(8))
                .flatten()
                .map(|it| Code(i32::from(it))),
            inbound_streams: is(&[INIT, INIT_ACK])
                .then(|| it.u16(10))
                .flatten()
                .map(|it| Code(i32::from(it))),
            cause: cause.map(|it| Code(i32::from(it))),
        };
        (summary, row)
    }

    fn weight(_: &Body) -> usize {
        0
    }
}

impl Body {
    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.kept.get(..self.n_kept)?.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.kept.get(..self.n_kept)?.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }
}

fn name(kind: u8) -> Cow<'static, str> {
    match kind {
        DATA => "DATA",
        INIT => "INIT",
        INIT_ACK => "INIT ACK",
        SACK => "SACK",
        HEARTBEAT => "HEARTBEAT",
        HEARTBEAT_ACK => "HEARTBEAT ACK",
        ABORT => "ABORT",
        SHUTDOWN => "SHUTDOWN",
        SHUTDOWN_ACK => "SHUTDOWN ACK",
        ERROR => "ERROR",
        COOKIE_ECHO => "COOKIE ECHO",
        COOKIE_ACK => "COOKIE ACK",
        12 => "ECNE",
        13 => "CWR",
        14 => "SHUTDOWN COMPLETE",
        15 => "AUTH",
        64 => "I-DATA",
        128 => "ASCONF ACK",
        130 => "RE-CONFIG",
        132 => "PAD",
        192 => "FORWARD TSN",
        193 => "ASCONF",
        194 => "I-FORWARD TSN",
        other => return other.to_string().into(),
    }
    .into()
}

/// IANA's registry of payload protocol identifiers, the common part of it.
fn payload_protocol(number: u32) -> Cow<'static, str> {
    match number {
        0 => "unspecified",
        1 => "iua",
        2 => "m2ua",
        3 => "m3ua",
        4 => "sua",
        5 => "m2pa",
        7 => "h248",
        18 => "s1ap",
        24 => "sbcap",
        27 => "x2ap",
        44 => "diameter",
        46 => "diameter-dtls",
        47 => "diameter",
        51 => "webrtc-string",
        53 => "webrtc-binary",
        60 => "ngap",
        61 => "xnap",
        62 => "f1ap",
        64 => "e1ap",
        other => return other.to_string().into(),
    }
    .into()
}

/// RFC 9260 §3.3.10.
fn cause_name(number: u16) -> &'static str {
    match number {
        1 => "invalid stream identifier",
        2 => "missing mandatory parameter",
        3 => "stale cookie",
        4 => "out of resource",
        5 => "unresolvable address",
        6 => "unrecognized chunk type",
        7 => "invalid mandatory parameter",
        8 => "unrecognized parameters",
        9 => "no user data",
        10 => "cookie received while shutting down",
        11 => "restart with new addresses",
        12 => "aborted by the user",
        13 => "protocol violation",
        _ => "unknown cause",
    }
}

/// What a row of nothing would be made of.
static NOTHING: Body = Body { kind: 0, flags: 0, size: 0, kept: [0; 16], n_kept: 0 };

const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::drive::{client, datagrams, server};

    #[test]
    fn an_association_opens_and_carries_data() {
        let init = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 10, 0, 5, 0, 0, 0, 100];
        let init_ack = [2, 0, 0, 20, 0, 0, 0, 2, 0, 1, 0, 0, 0, 5, 0, 10, 0, 0, 0, 200];
        let data = [0, 3, 0, 19, 0, 0, 0, 100, 0, 1, 0, 0, 0, 0, 0, 46, b'a', b'b', b'c', 0];
        let sack = [3, 0, 0, 16, 0, 0, 0, 100, 0, 1, 0, 0, 0, 0, 0, 0];
        let rows = datagrams::<Dissector>(&[
            client(init),
            server(init_ack),
            client([&data[..], &sack].concat()),
            client([6, 0, 0, 8, 0, 12, 0, 4]),
        ]);
        assert_eq!(rows[0]["verb"], "INIT");
        assert_eq!(rows[0]["outbound_streams"], 10);
        assert_eq!(rows[1]["payload_protocol"], "diameter-dtls");
        assert_eq!(rows[1]["chunk_bytes"], 3);
        assert_eq!(rows[2]["cumulative_tsn"], 100);
        assert_eq!(rows[3]["error"], json!("aborted by the user"));
        assert_eq!(rows.len(), 4);
    }
}
