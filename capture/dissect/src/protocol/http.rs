//! HTTP/1.0 and HTTP/1.1: RFC 9110 and 9112, and what senders make of them.
//!
//! A message is its head, kept as sent, and its payload. Framing reads the head once when it
//! arrives; the row reads it again and borrows from it, so no header is copied in between.
use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr2, memmem, memrchr};
use schema::value::{Body, Headers, Label, Size};

use super::{Dissect, Guess, Head, Transport};
use crate::body::{Opened, Payload, decompress};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

/// Requests and responses of HTTP/1.0 and HTTP/1.1. `verb` is the method, `target` the request's
/// target as sent, `status` the status code; a status from 400 on counts as failed.
#[derive(schema::Record)]
pub(super) struct Http<'a> {
    /// The protocol's version, such as `1.1` (OpenTelemetry `network.protocol.version`).
    version: Label<'a>,
    /// The host asked for, with its port if one was sent: from the target, else the header `host`.
    host: Option<Label<'a>>,
    /// The target's path (OpenTelemetry `url.path`); null for `CONNECT`.
    path: Option<Cow<'a, str>>,
    /// The target's query without its `?` (OpenTelemetry `url.query`).
    query: Option<Cow<'a, str>>,
    /// What the client says it is (OpenTelemetry `user_agent.original`).
    user_agent: Option<Cow<'a, str>>,
    /// What the server says of the status, such as `Not Found`.
    reason: Option<Label<'a>>,
    /// The request's headers as sent, then its trailers (OpenTelemetry `http.request.header.<name>`).
    request_headers: Option<Headers<'a>>,
    /// The cookies the client sent, by name.
    request_cookies: Option<Headers<'a>>,
    /// The media type of the request's body, from its header `content-type`.
    request_content_type: Option<Label<'a>>,
    /// The start of the request's body, decompressed.
    request_body: Option<Body<'a>>,
    /// The size of the request's body as sent, without chunk headers (OpenTelemetry `http.request.body.size`).
    request_body_bytes: Option<Size>,
    /// Whether `request_body` is not all of it.
    request_body_truncated: bool,
    /// The response's headers as sent, then its trailers (OpenTelemetry `http.response.header.<name>`).
    response_headers: Option<Headers<'a>>,
    /// The cookies the server set, by name; their attributes stand in the header `set-cookie`.
    response_cookies: Option<Headers<'a>>,
    /// The media type of the response's body, from its header `content-type`.
    response_content_type: Option<Label<'a>>,
    /// The start of the response's body, decompressed.
    response_body: Option<Body<'a>>,
    /// The size of the response's body as sent, without chunk headers (OpenTelemetry `http.response.body.size`).
    response_body_bytes: Option<Size>,
    /// Whether `response_body` is not all of it.
    response_body_truncated: bool,
}

/// Reads HTTP/1.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<UnderWay>,
    server: Option<UnderWay>,
    /// The client asked to speak something else, and the server has not answered yet.
    asked_switch: bool,
}

/// A request or response, as it is kept until its row is written.
#[derive(Debug)]
pub(super) struct Sent {
    /// The first line, the headers and the trailers, without the empty line.
    head: Vec<u8>,
    payload: Payload,
    /// Bytes that the payload may grow to when opened.
    decompressed_bytes: usize,
}

/// A message whose head has arrived.
#[derive(Debug)]
struct UnderWay {
    sent: Sent,
    left: Left,
    incomplete: bool,
    becomes: Option<&'static str>,
}

/// What must still come to end a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Bytes(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Everything until the connection closes.
    Close,
}

impl Dissect for Dissector {
    const NAME: &'static str = "http";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[80, 8080, 8000, 8008, 8081, 3000, 5000, 9090, 9200, 3128];
    type Body = Sent;
    type Columns = HttpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        opening(head.side, head.bytes)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Sent>,
    ) -> Result<Message<Sent>, Stop> {
        let mut under_way = match self.half(side).take() {
            Some(it) => it,
            None => self.begin(side, input, open)?,
        };
        match under_way.read(input) {
            Ok(()) => Ok(under_way.message(side)),
            Err(stop) => {
                *self.half(side) = Some(under_way);
                Err(stop)
            }
        }
    }

    fn record(exchange: Exchange<'_, Sent>) -> (Summary<'_>, Http<'_>) {
        record(exchange.request, exchange.response)
    }

    fn weight(sent: &Sent) -> usize {
        size_of::<Sent>() + sent.head.capacity() + sent.payload.held()
    }

    fn held(&self) -> usize {
        [&self.client, &self.server].into_iter().flatten().map(|it| Self::weight(&it.sent)).sum()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let under_way = self.half(side).as_mut().ok_or(Stop::Lost)?;
        match &mut under_way.left {
            Left::Close if missing < u64::MAX => {}
            Left::Bytes(left) | Left::Chunk(left) if missing <= *left => *left -= missing,
            _ => return Err(Stop::Lost),
        }
        under_way.sent.payload.skip(missing);
        under_way.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.half(side) = None;
        let rest = input.rest();
        let (at, found) = match side {
            Side::Client => find_request(rest),
            Side::Server => find_response(rest),
        };
        input.take(at)?;
        input.commit();
        if found { Ok(()) } else { Err(Stop::More) }
    }

    fn end(&mut self, side: Side) -> Option<Message<Sent>> {
        let mut under_way = self.half(side).take()?;
        let complete = matches!(under_way.left, Left::Close | Left::Nothing | Left::Bytes(0));
        under_way.incomplete |= !complete;
        Some(under_way.message(side))
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Option<UnderWay> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Reads a head, and interim responses before it; from here on its bytes are used.
    fn begin(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Sent>,
    ) -> Result<UnderWay, Stop> {
        loop {
            let head = read_head(side, input).inspect_err(|_| {})?;
            let framed = match side {
                Side::Client => {
                    let framed = frame_request(head).ok_or(Stop::Lost)?;
                    self.asked_switch = framed.switches;
                    framed
                }
                Side::Server => {
                    let request = open.oldest(0).map(|it| it.head.as_slice());
                    let framed = frame_response(head, request).ok_or(Stop::Lost)?;
                    self.asked_switch &= framed.interim;
                    framed
                }
            };
            input.commit();
            if framed.interim {
                continue;
            }
            let limits = input.limits();
            let mut payload = Payload::default();
            if let Left::Bytes(size) = framed.left {
                payload.expect(size, limits.body_bytes);
            }
            let decompressed_bytes = limits.decompressed_bytes;
            let sent = Sent { head: head.to_vec(), payload, decompressed_bytes };
            let (left, becomes) = (framed.left, framed.becomes);
            return Ok(UnderWay { sent, left, incomplete: false, becomes });
        }
    }
}
