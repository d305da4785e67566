//! The native protocol of Cassandra, versions 3 to 5, as ScyllaDB and others speak it too:
//! <https://github.com/apache/cassandra/blob/trunk/doc/native_protocol_v5.spec>.
//!
//! Since version 5, what follows the first exchange comes in frames with checksums, each with
//! several envelopes in it, or a part of one.
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use schema::value::{self, Code, Json, Label, Size, Texts};

use super::common::blocks;
use super::{Dissect, Guess, Head, Transport};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Role, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::Limits;
use crate::render::hex;

/// Requests to Cassandra and other servers that speak its native protocol, with their responses,
/// and the events that servers report (verb `EVENT`). Passwords in statements and what a login
/// exchanges are replaced by `***` before anything is kept.
#[derive(schema::Record)]
pub(super) struct Cassandra<'a> {
    /// Kind of the request: `QUERY`, `PREPARE`, `EXECUTE`, `BATCH`, `STARTUP` and so on.
    opcode: Option<Label<'a>>,
    /// First word of the statement in capitals, such as `SELECT`; of a batch, `BATCH`.
    /// OpenTelemetry: `db.operation.name`.
    operation: Option<Label<'a>>,
    /// The statement, also that which an `EXECUTE` names, if its preparation was seen; of a batch
    /// its statements, with a line end between them. Cut at 16 KiB. OpenTelemetry: `db.query.text`.
    query: Option<Cow<'a, str>>,
    /// The keyspace that the statement or the connection names. OpenTelemetry: `db.namespace`.
    keyspace: Option<Cow<'a, str>>,
    /// The table that the statement names. OpenTelemetry: `db.collection.name`.
    collection: Option<Cow<'a, str>>,
    /// What is bound to the statement's variables, by name as far as the preparation told them,
    /// else as a list; bytes of unknown type in hexadecimal.
    parameters: Option<Json<'a>>,
    /// How many replicas must answer, such as `LOCAL_QUORUM`. OpenTelemetry:
    /// `cassandra.consistency.level`.
    consistency: Option<Label<'a>>,
    /// The same for the condition of a lightweight transaction.
    serial_consistency: Option<Label<'a>>,
    /// Rows that a page may have. OpenTelemetry: `cassandra.page.size`.
    page_size: Option<u64>,
    /// Name of the prepared statement, in hexadecimal.
    prepared_id: Option<Cow<'a, str>>,
    /// `LOGGED`, `UNLOGGED` or `COUNTER`.
    batch_type: Option<Label<'a>>,
    /// Statements in a batch. OpenTelemetry: `db.operation.batch.size`.
    batch_size: Option<u64>,
    /// What the client tells at the start, or asks to be told of.
    options: Option<Json<'a>>,
    /// The user that logs in, where the password is sent as it is.
    user: Option<Cow<'a, str>>,
    /// Kind of the response: `RESULT`, `ERROR`, `READY`, `AUTHENTICATE`, `SUPPORTED`, `EVENT` and
    /// so on.
    response_opcode: Option<Label<'a>>,
    /// Of a result: `void`, `rows`, `set_keyspace`, `prepared` or `schema_change`.
    result_kind: Option<Label<'a>>,
    /// Rows in the response. OpenTelemetry: `db.response.returned_rows`.
    row_count: Option<u64>,
    /// Names of the columns, the first 64 of them.
    columns: Texts<'a>,
    /// The first rows, at most 100 and 16 KiB. Times stand as in the protocol: milliseconds, days
    /// or nanoseconds; bytes and types made of others in hexadecimal.
    rows: Option<Json<'a>>,
    /// Whether there are more rows, in a page to be asked for.
    has_more_pages: Option<bool>,
    /// Number of the error. OpenTelemetry: `db.response.status_code`.
    error_code: Option<Code>,
    /// Name of the error, such as `Unavailable`.
    error_name: Option<Label<'a>>,
    /// What the server says beside an answer: the authenticator's class, what changed in the
    /// schema or in the cluster.
    message: Option<Cow<'a, str>>,
    /// What the server warns of.
    warnings: Texts<'a>,
    /// Whether the client wants the request traced.
    tracing: Option<bool>,
    /// Name of the trace.
    tracing_id: Option<Cow<'a, str>>,
    /// Version of the protocol.
    protocol_version: Code,
    /// How the connection compresses, if this exchange was compressed.
    compression: Option<Label<'a>>,
    /// The number that pairs request and response.
    stream: Code,
    /// Bytes of the request's body, unpacked.
    request_size: Option<Size>,
    /// Bytes of the response's body, unpacked.
    response_size: Option<Size>,
}

/// What a connection has agreed on so far, and the messages under way.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Half,
    server: Half,
    compression: Option<Compression>,
    keyspace: Option<Box<str>>,
    prepared: VecDeque<(Box<[u8]>, Arc<Prepared>)>,
    prepared_bytes: usize,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// A message that has not all arrived, or not in all its frames.
    partial: Option<Partial>,
    /// Envelopes of the frame under way, each with how much of the frame it uses up.
    ready: VecDeque<(usize, Header, Vec<u8>, Packing)>,
}

#[derive(Debug)]
struct Partial {
    header: Header,
    payload: Payload,
    left: u64,
    /// Whether the rest comes in frames.
    is_framed: bool,
    packing: Packing,
    incomplete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Lz4,
    Snappy,
}

/// What of a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Nothing,
    Body,
    /// The frame it came in, which is opened already.
    Frame,
}

/// What is kept of a message.
#[derive(Debug)]
pub(super) struct Body {
    version: u8,
    stream: i16,
    opcode: u8,
    size: u64,
    compression: Option<Compression>,
    words: Words,
}

#[derive(Debug)]
enum Words {
    Ask(Box<Ask>),
    Tell(Box<Tell>),
}

#[derive(Debug, Default)]
struct Ask {
    query: Option<Arc<str>>,
    keyspace: Option<Box<str>>,
    parameters: Option<String>,
    consistency: Option<u16>,
    serial_consistency: Option<u16>,
    page_size: Option<u64>,
    prepared_id: Option<Box<[u8]>>,
    prepared: Option<Arc<Prepared>>,
    batch_type: Option<u8>,
    batch_size: Option<u64>,
    options: Option<String>,
    user: Option<Box<str>>,
    tracing: bool,
    /// Whether it names what nobody saw prepared.
    lacks: bool,
}

#[derive(Debug, Default)]
struct Tell {
    result_kind: Option<&'static str>,
    keyspace: Option<Box<str>>,
    table: Option<Box<str>>,
    row_count: Option<u64>,
    columns: Vec<Box<str>>,
    rows: Option<String>,
    has_more_pages: Option<bool>,
    error_code: Option<i32>,
    message: Option<Box<str>>,
    warnings: Vec<Box<str>>,
    tracing_id: Option<Box<[u8]>>,
    prepared_id: Option<Box<[u8]>>,
}

/// What a server has prepared.
#[derive(Debug)]
struct Prepared {
    query: Arc<str>,
    variables: Spec,
    results: Spec,
}

/// Columns of a result, or variables of a statement.
#[derive(Clone, Debug, Default)]
struct Spec {
    keyspace: Option<Box<str>>,
    table: Option<Box<str>>,
    columns: Vec<(Box<str>, Type)>,
    /// With those that are not kept.
    count: usize,
    has_more_pages: bool,
}

#[derive(Clone, Debug)]
enum Type {
    Simple(u16),
    List(Box<Self>),
    Map(Box<(Self, Self)>),
    /// A user's own: its fields.
    User(Box<[(Box<str>, Self)]>),
    Tuple(Box<[Self]>),
    Other,
}

impl Dissect for Dissector {
    const NAME: &'static str = "cassandra";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[9042, 9142];
    type Body = Body;
    type Columns = CassandraColumns;

    fn guess(head: &Head<'_>) -> Guess {
        judge(head.bytes, head.side)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        loop {
            let half = self.half(side);
            if let Some((used, header, bytes, packing)) = half.ready.pop_front() {
                input.take(used)?;
                return Ok(self.message(side, header, &bytes, packing, input.limits(), open));
            }
            if let Some(partial) = half.partial.as_mut().filter(|it| !it.is_framed) {
                if partial.left > 0 {
                    let bytes = input.some(partial.left)?;
                    partial.payload.push(bytes, input.limits().body_bytes);
                    partial.left -= bytes.len() as u64;
                    input.commit();
                }
                if partial.left > 0 {
                    return Err(Stop::More);
                }
                let partial = half.partial.take().ok_or(Stop::Lost)?;
                return self.finish(side, partial, input.limits(), open).ok_or(Stop::Lost);
            }
            let start = input.rest().get(..HEADER_BYTES).ok_or(Stop::More)?;
            if let Some(frame) = Frame::of(start) {
                if let Some(message) = self.frame(side, frame, input, open)? {
                    return Ok(message);
                }
                continue;
            }
            if half.partial.is_some() {
                return Err(Stop::Lost);
            }
            let header = Header::of(input.take(HEADER_BYTES)?, side).ok_or(Stop::Lost)?;
            let length = usize::try_from(header.length).map_err(|_| Stop::Lost)?;
            if let Some(bytes) = input.rest().get(..length) {
                input.take(length)?;
                let kept = bytes.get(..input.limits().body_bytes).unwrap_or(bytes);
                let packing = header.packing();
                return Ok(self.message(side, header, kept, packing, input.limits(), open));
            }
            // The message may be long, so it had better make sense.
            if input.rest().is_empty() {
                return Err(Stop::More);
            }
            let mut payload = Payload::default();
            payload.expect(length as u64, input.limits().body_bytes);
            let bytes = input.take(input.rest().len())?;
            payload.push(bytes, input.limits().body_bytes);
            self.half(side).partial = Some(Partial {
                header,
                payload,
                left: (length - bytes.len()) as u64,
                is_framed: false,
                packing: header.packing(),
                incomplete: false,
            });
            input.commit();
        }
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Cassandra<'_>) {
        let (asked, told) = (exchange.request, exchange.response);
        let ask = asked.and_then(|it| match &it.words {
            Words::Ask(ask) => Some(&**ask),
            Words::Tell(_) => None,
        });
        let tell = told.and_then(|it| match &it.words {
            Words::Tell(tell) => Some(&**tell),
            Words::Ask(_) => None,
        });
        let query = ask.and_then(|it| it.query.as_deref());
        let subject = query.map(Subject::of).unwrap_or_default();
        let prepared = ask.and_then(|it| it.prepared.as_deref());
        let keyspace = subject
            .keyspace
            .map(Cow::Borrowed)
            .or_else(|| tell.and_then(|it| it.keyspace.as_deref()).map(Cow::Borrowed))
            .or_else(|| prepared.and_then(|it| it.keyspace()).map(Cow::Borrowed))
            .or_else(|| ask.and_then(|it| it.keyspace.as_deref()).map(Cow::Borrowed));
        let collection = subject
            .table
            .map(Cow::Borrowed)
            .or_else(|| tell.and_then(|it| it.table.as_deref()).map(Cow::Borrowed));
        let is_batch = asked.is_some_and(|it| it.opcode == BATCH);
        let operation = match is_batch {
            true => Some(Cow::Borrowed("BATCH")),
            false => Some(subject.operation).filter(|it| !it.is_empty()),
        };
        let prepared_id = ask
            .and_then(|it| it.prepared_id.as_deref())
            .or_else(|| tell.and_then(|it| it.prepared_id.as_deref()));
        let error_name = tell.and_then(|it| it.error_code).map(error_name);
        let opcode = asked.map(|it| opcode_name(it.opcode));
        let told_opcode = told.map(|it| opcode_name(it.opcode));
        let is_event = told.is_some_and(|it| it.opcode == EVENT);
        let either = asked.or(told);

        let summary = Summary {
            verb: opcode.or_else(|| told_opcode.filter(|_| is_event)).unwrap_or_default().into(),
            target: match (query, is_event) {
                (Some(query), _) => query.into(),
                (None, true) => {
                    tell.and_then(|it| it.message.as_deref()).unwrap_or_default().into()
                }
                (None, false) => prepared_id.map(hex).unwrap_or_default().into(),
            },
            status: tell.and_then(|it| it.error_code),
            failed: error_name.is_some(),
            error: error_name
                .map(|name| tell.and_then(|it| it.message.as_deref()).unwrap_or(name).into()),
        };
        let record = Cassandra {
            opcode: opcode.map(Label::from),
            operation: operation.map(Label),
            query: query.map(Cow::Borrowed),
            keyspace,
            collection,
            parameters: ask.and_then(|it| it.parameters.as_deref()).map(|it| Json(it.into())),
            consistency: ask.and_then(|it| it.consistency).map(consistency_name).map(Label::from),
            serial_consistency: ask
                .and_then(|it| it.serial_consistency)
                .map(consistency_name)
                .map(Label::from),
            page_size: ask.and_then(|it| it.page_size),
            prepared_id: prepared_id.map(hex).map(Cow::Owned),
            batch_type: ask
                .and_then(|it| it.batch_type)
                .map(|it| {
                    ["LOGGED", "UNLOGGED", "COUNTER"].get(usize::from(it)).unwrap_or(&"UNKNOWN")
                })
                .map(|it| Label::from(*it)),
            batch_size: ask.and_then(|it| it.batch_size),
            options: ask.and_then(|it| it.options.as_deref()).map(|it| Json(it.into())),
            user: ask.and_then(|it| it.user.as_deref()).map(Cow::Borrowed),
            response_opcode: told_opcode.map(Label::from),
            result_kind: tell.and_then(|it| it.result_kind).map(Label::from),
            row_count: tell.and_then(|it| it.row_count),
            columns: texts(tell.map(|it| &it.columns)),
            rows: tell.and_then(|it| it.rows.as_deref()).map(|it| Json(it.into())),
            has_more_pages: tell.and_then(|it| it.has_more_pages),
            error_code: tell.and_then(|it| it.error_code).map(Code),
            error_name: error_name.map(Label::from),
            message: tell
                .filter(|it| it.error_code.is_none())
                .and_then(|it| it.message.as_deref())
                .map(Cow::Borrowed),
            warnings: texts(tell.map(|it| &it.warnings)),
            tracing: ask.map(|it| it.tracing),
            tracing_id: tell.and_then(|it| it.tracing_id.as_deref()).map(|it| uuid(it).into()),
            protocol_version: Code(either.map_or(0, |it| (it.version & 0x3f).into())),
            compression: [asked, told]
                .into_iter()
                .flatten()
                .find_map(|it| it.compression)
                .map(|it| match it {
                    Compression::Lz4 => "lz4",
                    Compression::Snappy => "snappy",
                })
                .map(Label::from),
            stream: Code(either.map_or(0, |it| it.stream.into())),
            request_size: asked.map(|it| Size(it.size)),
            response_size: told.map(|it| Size(it.size)),
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        let words = match &body.words {
            Words::Ask(ask) => {
                size_of::<Ask>()
                    + ask.query.as_ref().map_or(0, |it| it.len())
                    + ask.parameters.as_ref().map_or(0, String::capacity)
                    + ask.options.as_ref().map_or(0, String::capacity)
            }
            Words::Tell(tell) => size_of::<Tell>() + tell.rows.as_ref().map_or(0, String::capacity),
        };
        size_of::<Body>() + words
    }

    fn held(&self) -> usize {
        let half = |it: &Half| {
            it.partial.as_ref().map_or(0, |it| it.payload.held())
                + it.ready.iter().map(|it| it.2.capacity()).sum::<usize>()
        };
        half(&self.client) + half(&self.server) + self.prepared_bytes
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let partial = self.half(side).partial.as_mut().ok_or(Stop::Lost)?;
        if partial.is_framed {
            return Err(Stop::Lost);
        }
        partial.left = partial.left.checked_sub(missing).ok_or(Stop::Lost)?;
        partial.payload.skip(missing);
        partial.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        let half = self.half(side);
        half.partial = None;
        half.ready.clear();
        let rest = input.rest();
        let found = (0..rest.len()).find_map(|at| {
            let guess = judge(rest.get(at..)?, side);
            // Only the tail may be too short to tell.
            let is_tail = guess == Guess::More && rest.len() - at < START_BYTES;
            (guess == Guess::Sure || is_tail).then_some((at, guess))
        });
        input.take(found.map_or(rest.len(), |it| it.0))?;
        input.commit();
        match found {
            Some((_, Guess::Sure)) => Ok(()),
            _ => Err(Stop::More),
        }
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let half = self.half(side);
        half.ready.clear();
        let partial = half.partial.take()?;
        let message = self.finish(side, partial, &Limits::default(), &Open::default())?;
        Some(message.incomplete(true))
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn finish(
        &mut self,
        side: Side,
        partial: Partial,
        limits: &Limits,
        open: &Open<Body>,
    ) -> Option<Message<Body>> {
        let kept = partial.payload.bytes();
        let message = self.message(side, partial.header, kept, partial.packing, limits, open);
        let incomplete = message.incomplete || partial.incomplete;
        Some(message.incomplete(incomplete))
    }

    /// A frame: what it completes, if it does. Frames are small, so they are waited for.
    fn frame(
        &mut self,
        side: Side,
        frame: Frame,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Option<Message<Body>>, Stop> {
        let whole = input.rest().get(..frame.total()).ok_or(Stop::More)?;
        let payload = frame.payload(whole).ok_or(Stop::Lost)?;
        let limits = input.limits();
        let packing = match frame.is_compressed {
            true => Packing::Frame,
            false => Packing::Nothing,
        };
        let half = self.half(side);
        if !frame.is_alone {
            let mut rest = &*payload;
            let partial = match &mut half.partial {
                Some(partial) => partial,
                slot => {
                    let (head, body) = rest.split_at_checked(HEADER_BYTES).ok_or(Stop::Lost)?;
                    let header = Header::of(head, side).ok_or(Stop::Lost)?;
                    rest = body;
                    slot.insert(Partial {
                        header,
                        payload: Payload::default(),
                        left: header.length.into(),
                        is_framed: true,
                        packing,
                        incomplete: false,
                    })
                }
            };
            partial.left = partial.left.checked_sub(rest.len() as u64).ok_or(Stop::Lost)?;
            partial.payload.push(rest, limits.body_bytes);
            input.take(frame.total())?;
            input.commit();
            if partial.left > 0 {
                return Ok(None);
            }
            let partial = half.partial.take().ok_or(Stop::Lost)?;
            return self.finish(side, partial, limits, open).map(Some).ok_or(Stop::Lost);
        }
        half.partial = None;
        // Each envelope uses up its share of the frame, and never nothing.
        let mut ready = VecDeque::new();
        let (mut rest, mut used) = (&*payload, 0);
        while let Some((head, body)) = rest.split_at_checked(HEADER_BYTES) {
            let header = Header::of(head, side).ok_or(Stop::Lost)?;
            let length = usize::try_from(header.length).map_err(|_| Stop::Lost)?;
            let (body, behind) = body.split_at_checked(length).ok_or(Stop::Lost)?;
            rest = behind;
            let end = match rest.len() {
                0 => frame.total(),
                left => frame.total() * (payload.len() - left) / payload.len(),
            };
            if end > used {
                let kept = body.get(..limits.body_bytes).unwrap_or(body);
                ready.push_back((end - used, header, kept.to_vec(), packing));
                used = end;
            }
        }
        if !rest.is_empty() {
            return Err(Stop::Lost);
        }
        if ready.is_empty() {
            input.take(frame.total())?;
            input.commit();
        }
        half.ready = ready;
        Ok(None)
    }

    /// A message of which these bytes are kept behind its header.
    fn message(
        &mut self,
        side: Side,
        header: Header,
        kept: &[u8],
        packing: Packing,
        limits: &Limits,
        open: &Open<Body>,
    ) -> Message<Body> {
        let mut compression = None;
        let mut size = u64::from(header.length);
        let mut bytes = Cow::Borrowed(kept);
        match packing {
            Packing::Nothing => {}
            Packing::Frame => compression = Some(Compression::Lz4),
            Packing::Body => {
                let opened = unpack(self.compression, kept, limits);
                let (opened, how, told) =
                    opened.map_or((Vec::new(), None, size), |it| (it.0, Some(it.1), it.2));
                (bytes, compression, size) = (opened.into(), how, told);
                self.compression = compression.or(self.compression);
            }
        }
        let mut from = Reader(&bytes);
        // What was prepared before the capture began, or in what it lacks, is missing.
        let mut lacks = false;
        let words = match side {
            Side::Client => {
                let mut ask = Box::<Ask>::default();
                ask.tracing = header.flags & TRACING != 0;
                self.ask(&header, &mut from, &mut ask);
                lacks = ask.lacks;
                Words::Ask(ask)
            }
            Side::Server => {
                let mut tell = Box::<Tell>::default();
                let asked = open.oldest(header.key());
                self.tell(&header, &mut from, &mut tell, asked);
                Words::Tell(tell)
            }
        };
        let body = Body {
            version: header.version,
            stream: header.stream,
            opcode: header.opcode,
            size,
            compression,
            words,
        };
        let role = match side {
            Side::Client => Role::Request,
            Side::Server if header.opcode == EVENT => Role::Notice,
            Side::Server => Role::Response,
        };
        let message = Message { role, ..Message::request(body) };
        message.key(header.key()).incomplete(lacks)
    }

    /// Takes what a request says, as far as it is there.
    fn ask(&mut self, header: &Header, from: &mut Reader<'_>, ask: &mut Ask) -> Option<()> {
        ask.keyspace.clone_from(&self.keyspace);
        if header.flags & CUSTOM_PAYLOAD != 0 {
            from.bytes_map()?;
        }
        let is_5 = header.version() >= 5;
        match header.opcode {
            STARTUP => {
                let options = from.string_map();
                for (name, value) in &options {
                    if name.eq_ignore_ascii_case(b"COMPRESSION") {
                        self.compression = match *value {
                            b"lz4" => Some(Compression::Lz4),
                            b"snappy" => Some(Compression::Snappy),
                            _ => None,
                        };
                    }
                }
                let mut json = JsonText::new('{');
                for (name, value) in options {
                    json.name(name);
                    json.text(value);
                }
                ask.options = Some(json.end('}'));
            }
            REGISTER => {
                let mut json = JsonText::new('[');
                for name in from.string_list() {
                    json.next();
                    json.text(name);
                }
                ask.options = Some(json.end(']'));
            }
            AUTH_RESPONSE => {
                // SASL PLAIN: who acts, who logs in, and the password.
                let token = from.bytes().flatten()?;
                let mut parts = token.split(|it| *it == 0);
                if let (Some(_), Some(user), Some(_), None) =
                    (parts.next(), parts.next(), parts.next(), parts.next())
                {
                    ask.user = Some(name(user));
                }
            }
            QUERY => {
                let query = statement(from.long_string()?);
                let subject = Subject::of(&query);
                if subject.operation == "USE" {
                    // Its answer may not be captured.
                    self.keyspace = subject.keyspace.map(Box::from);
                }
                ask.query = Some(query);
                ask.parameters(from, is_5, None)?;
            }
            PREPARE => {
                ask.query = Some(statement(from.long_string()?));
                if is_5 && from.u32()? & 1 != 0 {
                    ask.keyspace = Some(name(from.string()?));
                }
            }
            EXECUTE => {
                let id = from.short_bytes()?;
                if id.len() <= ID_BYTES {
                    ask.prepared_id = Some(id.into());
                }
                let prepared = self.prepared.iter().find(|it| &*it.0 == id);
                ask.prepared = prepared.map(|it| Arc::clone(&it.1));
                ask.query = ask.prepared.as_ref().map(|it| Arc::clone(&it.query));
                ask.lacks = ask.prepared.is_none();
                if is_5 {
                    from.short_bytes()?;
                }
                let prepared = ask.prepared.clone();
                ask.parameters(from, is_5, prepared.as_deref())?;
            }
            BATCH => {
                ask.batch_type = Some(from.u8()?);
                let count = from.u16()?;
                ask.batch_size = Some(count.into());
                let mut text = String::new();
                let read = self.batch(from, count, &mut text, &mut ask.lacks);
                ask.query = (!text.is_empty()).then(|| text.into());
                read?;
                ask.consistency = Some(from.u16()?);
                let flags = if is_5 { from.u32()? } else { from.u8()?.into() };
                if flags & WITH_SERIAL != 0 {
                    ask.serial_consistency = Some(from.u16()?);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The statements of a batch.
    fn batch(
        &self,
        from: &mut Reader<'_>,
        count: u16,
        text: &mut String,
        lacks: &mut bool,
    ) -> Option<()> {
        for _ in 0..count {
            let query = match from.u8()? {
                0 => statement(from.long_string()?),
                _ => {
                    let id = from.short_bytes()?;
                    match self.prepared.iter().find(|it| &*it.0 == id) {
                        Some((_, prepared)) => Arc::clone(&prepared.query),
                        None => {
                            *lacks = true;
                            format!("(prepared {})", hex(id)).into()
                        }
                    }
                }
            };
            if text.len() + query.len() < QUERY_BYTES {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&query);
            }
            for _ in 0..from.u16()? {
                from.bytes()?;
            }
        }
        Some(())
    }

    /// Takes what a response says, as far as it is there.
    fn tell(
        &mut self,
        header: &Header,
        from: &mut Reader<'_>,
        tell: &mut Tell,
        asked: Option<&Body>,
    ) -> Option<()> {
        if header.flags & TRACING != 0 {
            tell.tracing_id = Some(from.take(16)?.into());
        }
        if header.flags & WARNING != 0 {
            let warnings = from.string_list();
            tell.warnings = warnings.iter().take(WARNINGS).map(|it| words(it)).collect();
        }
        if header.flags & CUSTOM_PAYLOAD != 0 {
            from.bytes_map()?;
        }
        let ask = asked.and_then(|it| match &it.words {
            Words::Ask(ask) => Some(&**ask),
            Words::Tell(_) => None,
        });
        match header.opcode {
            ERROR => {
                if ask
                    .and_then(|it| it.query.as_deref())
                    .is_some_and(|it| Subject::of(it).operation == "USE")
                {
                    self.keyspace = ask.and_then(|it| it.keyspace.clone());
                }
                tell.error_code = Some(from.u32()?.cast_signed());
                tell.message = Some(words(from.string()?));
            }
            AUTHENTICATE => tell.message = Some(words(from.string()?)),
            SUPPORTED => {
                let mut text = String::new();
                for _ in 0..from.u16()? {
                    let name = from.string()?;
                    let values = from.string_list();
                    let values: Vec<_> = values.iter().map(|it| value::text(it)).collect();
                    if text.len() < TEXT_BYTES {
                        let gap = if text.is_empty() { "" } else { "; " };
                        let name = value::text(name);
                        text += &format!("{gap}{name}: {}", values.join(", "));
                    }
                }
                tell.message = Some(text.into());
            }
            EVENT => {
                let kind = from.string()?;
                let text = match kind {
                    b"SCHEMA_CHANGE" => from.schema_change().0,
                    _ => {
                        let change = value::text(from.string()?);
                        let address = from.address().unwrap_or_default();
                        format!("{change} {address}")
                    }
                };
                tell.message = Some(format!("{} {text}", value::text(kind)).into());
            }
            RESULT => match from.u32()? {
                1 => tell.result_kind = Some("void"),
                2 => {
                    tell.result_kind = Some("rows");
                    let prepared = ask.and_then(|it| it.prepared.as_deref());
                    tell.rows(from, prepared)?;
                }
                3 => {
                    tell.result_kind = Some("set_keyspace");
                    let keyspace = name(from.string()?);
                    self.keyspace = Some(keyspace.clone());
                    tell.keyspace = Some(keyspace);
                }
                4 => {
                    tell.result_kind = Some("prepared");
                    let id = from.short_bytes().filter(|it| it.len() <= ID_BYTES)?;
                    tell.prepared_id = Some(id.into());
                    if header.version() >= 5 {
                        from.short_bytes()?;
                    }
                    let variables = from.spec(header.version() >= 4);
                    let results = variables.is_some().then(|| from.spec(false)).flatten();
                    if let Some(query) = ask.and_then(|it| it.query.as_ref()) {
                        let (variables, results) =
                            (variables.unwrap_or_default(), results.unwrap_or_default());
                        tell.keyspace.clone_from(&variables.keyspace);
                        let query = Arc::clone(query);
                        self.remember(id, Prepared { query, variables, results });
                    }
                }
                5 => {
                    tell.result_kind = Some("schema_change");
                    let (text, keyspace) = from.schema_change();
                    tell.message = Some(text.into());
                    tell.keyspace = keyspace;
                }
                _ => {}
            },
            _ => {}
        }
        Some(())
    }

    /// Notes a prepared statement; forgets the oldest if they get too many.
    fn remember(&mut self, id: &[u8], prepared: Prepared) {
        if let Some(at) = self.prepared.iter().position(|it| &*it.0 == id)
            && let Some((_, old)) = self.prepared.remove(at)
        {
            self.prepared_bytes = self.prepared_bytes.saturating_sub(old.weight());
        }
        self.prepared_bytes += prepared.weight();
        self.prepared.push_back((id.into(), Arc::new(prepared)));
        while self.prepared.len() > PREPARED || self.prepared_bytes > PREPARED_BYTES {
            let Some((_, old)) = self.prepared.pop_front() else { break };
            self.prepared_bytes = self.prepared_bytes.saturating_sub(old.weight());
        }
    }
}

impl Prepared {
    fn weight(&self) -> usize {
        let spec = |it: &Spec| it.columns.iter().map(|it| it.0.len() + 40).sum::<usize>();
        size_of::<Self>() + self.query.len() + spec(&self.variables) + spec(&self.results)
    }

    fn keyspace(&self) -> Option<&str> {
        self.variables.keyspace.as_deref().or(self.results.keyspace.as_deref())
    }
}

impl Ask {
    /// What stands behind a statement: consistency, values, and how to answer.
    fn parameters(
        &mut self,
        from: &mut Reader<'_>,
        is_5: bool,
        prepared: Option<&Prepared>,
    ) -> Option<()> {
        self.consistency = Some(from.u16()?);
        let flags = if is_5 { from.u32()? } else { from.u8()?.into() };
        if flags & WITH_VALUES != 0 {
            let has_names = flags & WITH_NAMES != 0;
            let variables = prepared.map_or(&[][..], |it| &*it.variables.columns);
            let is_object = has_names || !variables.is_empty();
            let mut json = JsonText::new(if is_object { '{' } else { '[' });
            for place in 0..usize::from(from.u16()?) {
                let given = if has_names { Some(from.string()?) } else { None };
                let value = from.maybe_unset()?;
                if json.is_full() {
                    continue;
                }
                let variable = variables.get(place);
                let name = given.or_else(|| variable.map(|it| it.0.as_bytes()));
                match name {
                    _ if !is_object => json.next(),
                    Some(name) => json.name(name),
                    None => json.name(place.to_string().as_bytes()),
                }
                match value {
                    _ if name.is_some_and(is_secret) => json.text(b"***"),
                    Value::Unset => json.raw("\"(unset)\""),
                    Value::Null => json.raw("null"),
                    Value::Bytes(bytes) => {
                        json.value(bytes, variable.map_or(&Type::Other, |it| &it.1));
                    }
                }
            }
            self.parameters = Some(json.end(if is_object { '}' } else { ']' }));
        }
        if flags & WITH_PAGE_SIZE != 0 {
            self.page_size = u64::try_from(from.u32()?.cast_signed()).ok();
        }
        if flags & WITH_PAGING_STATE != 0 {
            from.bytes()?;
        }
        if flags & WITH_SERIAL != 0 {
            self.serial_consistency = Some(from.u16()?);
        }
        if flags & WITH_TIMESTAMP != 0 {
            from.take(8)?;
        }
        if is_5 && flags & WITH_KEYSPACE != 0 {
            self.keyspace = Some(name(from.string()?));
        }
        Some(())
    }
}

impl Tell {
    fn rows(&mut self, from: &mut Reader<'_>, prepared: Option<&Prepared>) -> Option<()> {
        let spec = from.spec(false)?;
        self.has_more_pages = Some(spec.has_more_pages);
        // A server need not say again what it said when it prepared the statement.
        let known = prepared.map(|it| &it.results).filter(|it| it.count == spec.count);
        let columns = match (&*spec.columns, known) {
            ([], Some(known)) => &known.columns,
            _ => &spec.columns,
        };
        self.columns = columns.iter().take(COLUMNS).map(|it| it.0.clone()).collect();
        (self.keyspace, self.table) = (spec.keyspace, spec.table);
        let count = from.u32()?;
        self.row_count = Some(count.into());
        if spec.count == 0 {
            return Some(());
        }
        let mut json = JsonText::new('[');
        for _ in 0..count.min(ROWS) {
            if json.is_full() {
                break;
            }
            let mut row = JsonText::new('{');
            row.limit = json.limit.saturating_sub(json.out.len());
            for place in 0..spec.count {
                let Some(value) = from.bytes() else {
                    // The rest was not kept.
                    self.rows = Some(json.end(']'));
                    return None;
                };
                if row.is_full() {
                    continue;
                }
                let column = columns.get(place);
                match column {
                    Some((name, _)) => row.name(name.as_bytes()),
                    None => row.name(place.to_string().as_bytes()),
                }
                match value {
                    None => row.raw("null"),
                    Some(_) if column.is_some_and(|it| is_secret(it.0.as_bytes())) => {
                        row.text(b"***");
                    }
                    Some(bytes) => row.value(bytes, column.map_or(&Type::Other, |it| &it.1)),
                }
            }
            json.next();
            json.raw(&row.end('}'));
        }
        self.rows = Some(json.end(']'));
        Some(())
    }
}

/// What every envelope begins with.
#[derive(Clone, Copy, Debug)]
struct Header {
    /// With the highest bit for responses taken away.
    version: u8,
    flags: u8,
    stream: i16,
    opcode: u8,
    length: u32,
}

impl Header {
    /// `None` if nothing that `side` sends has such a header.
    fn of(bytes: &[u8], side: Side) -> Option<Self> {
        let mut from = Reader(bytes);
        let version = from.u8()?;
        let header = Self {
            version: version & 0x7f,
            flags: from.u8()?,
            stream: from.u16()?.cast_signed(),
            opcode: from.u8()?,
            length: from.u32()?,
        };
        let is_response = version & 0x80 != 0;
        let fits = is_response == (side == Side::Server)
            && matches!(header.version, 3..=6 | 0x41 | 0x42)
            && header.flags <= 0x1f
            && header.length <= LONGEST
            && match header.opcode {
                STARTUP | OPTIONS | QUERY | PREPARE | EXECUTE | REGISTER | BATCH
                | AUTH_RESPONSE => !is_response && header.stream >= 0,
                ERROR | READY | AUTHENTICATE | SUPPORTED | RESULT | AUTH_CHALLENGE
                | AUTH_SUCCESS => is_response && header.stream >= 0,
                EVENT => is_response && header.stream == -1,
                _ => false,
            };
        fits.then_some(header)
    }

    /// DataStax counts its own versions from 0x41; they go on from 4.
    fn version(&self) -> u8 {
        match self.version {
            0x41.. => 4,
            version => version,
        }
    }

    fn packing(&self) -> Packing {
        let is_packed = self.flags & COMPRESSED != 0 && self.version() < 5;
        if is_packed { Packing::Body } else { Packing::Nothing }
    }

    /// Never zero, which would mean that order decides.
    fn key(&self) -> u64 {
        1 << 32 | u64::from(self.stream.cast_unsigned())
    }
}

/// What envelopes come in since version 5.
#[derive(Clone, Copy, Debug)]
struct Frame {
    is_compressed: bool,
    /// Whether its envelopes are whole.
    is_alone: bool,
    length: usize,
    /// Zero if the payload is as it is.
    unpacked: usize,
}

impl Frame {
    /// Its checksum tells a frame from anything else.
    fn of(bytes: &[u8]) -> Option<Self> {
        let little = |from: usize, to: usize| {
            let bytes = bytes.get(from..to)?;
            Some(bytes.iter().rev().fold(0_u64, |it, byte| it << 8 | u64::from(*byte)))
        };
        let size = |bits: u64| usize::try_from(bits & 0x1_ffff).ok();
        // The bits that mean nothing are looked at first: they cost less than a checksum.
        let head = little(0, 3)?;
        if head >> 18 == 0 && u64::from(crc24(bytes.get(..3)?)) == little(3, 6)? {
            return Some(Self {
                is_compressed: false,
                is_alone: head >> 17 & 1 == 1,
                length: size(head)?,
                unpacked: 0,
            });
        }
        let head = little(0, 5)?;
        if head >> 35 == 0 && u64::from(crc24(bytes.get(..5)?)) == little(5, 8)? {
            return Some(Self {
                is_compressed: true,
                is_alone: head >> 34 & 1 == 1,
                length: size(head)?,
                unpacked: size(head >> 17)?,
            });
        }
        None
    }

    fn before(&self) -> usize {
        if self.is_compressed { 8 } else { 6 }
    }

    fn total(&self) -> usize {
        self.before() + self.length + 4
    }

    /// What it brings, if the checksum fits.
    fn payload<'b>(&self, whole: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        let (bytes, check) = whole.get(self.before()..)?.split_at_checked(self.length)?;
        let mut crc = flate2::Crc::new();
        crc.update(&[0xfa, 0x2d, 0x55, 0xca]);
        crc.update(bytes);
        if check.first_chunk() != Some(&crc.sum().to_le_bytes()) {
            return None;
        }
        if !self.is_compressed || self.unpacked == 0 {
            return Some(Cow::Borrowed(bytes));
        }
        let (opened, whole) = blocks::lz4(bytes, self.unpacked);
        (whole && opened.len() == self.unpacked).then_some(Cow::Owned(opened))
    }
}

fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x87_5060, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc, _| {
            let crc = crc << 1;
            if crc & 0x100_0000 == 0 { crc } else { crc ^ 0x197_4f0b }
        })
    })
}

/// Opens a compressed body as far as it is there; with how it was compressed, and its full size.
fn unpack(
    known: Option<Compression>,
    bytes: &[u8],
    limits: &Limits,
) -> Option<(Vec<u8>, Compression, u64)> {
    let limit = limits.decompressed_bytes;
    let lz4 = || {
        let size = bytes.first_chunk().map(|it| u32::from_be_bytes(*it))?;
        let limit = limit.min(usize::try_from(size).ok()?);
        let (opened, is_whole) = blocks::lz4(bytes.get(4..)?, limit);
        let fits = is_whole || size as usize > limit || known.is_some();
        (size <= LONGEST && fits).then_some((opened, Compression::Lz4, size.into()))
    };
    let snappy = || {
        let (opened, is_whole) = blocks::snappy(bytes, limit);
        let size = opened.len() as u64;
        (is_whole || known.is_some()).then_some((opened, Compression::Snappy, size))
    };
    match known {
        Some(Compression::Lz4) => lz4(),
        Some(Compression::Snappy) => snappy(),
        None => lz4().or_else(snappy),
    }
}

/// How much the first bytes look like what `side` would send.
fn judge(bytes: &[u8], side: Side) -> Guess {
    if let Some(head) = bytes.get(..8)
        && let Some(frame) = Frame::of(head)
    {
        let least = if frame.length >= HEADER_BYTES { Guess::Sure } else { Guess::No };
        let body = bytes.get(frame.before()..).unwrap_or_default();
        // The first envelope shows in what is not compressed.
        return match body.get(..HEADER_BYTES) {
            Some(head) if frame.is_alone && !frame.is_compressed => {
                Header::of(head, side).map_or(Guess::No, |_| least)
            }
            _ => least,
        };
    }
    let Some(head) = bytes.get(..HEADER_BYTES) else {
        let magic = if side == Side::Client { 0 } else { 0x80 };
        let is_start = match bytes {
            [] => true,
            [first, ..] if !matches!(first ^ magic, 3..=6 | 0x41 | 0x42) => false,
            [_, flags, ..] if *flags > 0x1f => false,
            [_, _, _, _, opcode, ..] if *opcode > 0x10 => false,
            _ => true,
        };
        // A frame's first bytes may be anything.
        return if is_start { Guess::More } else { Guess::No };
    };
    let Some(header) = Header::of(head, side) else { return Guess::No };
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    if header.flags & COMPRESSED != 0 && header.version() < 5 {
        return if length > 4 { Guess::Maybe } else { Guess::No };
    }
    if header.flags & (CUSTOM_PAYLOAD | WARNING | TRACING) != 0 && side == Side::Server
        || header.flags & CUSTOM_PAYLOAD != 0
    {
        return Guess::Maybe;
    }
    let mut from = Reader(body.get(..length).unwrap_or(body));
    let is_cut = body.len() < length;
    match header.fits(&mut from, length) {
        Some(guess) => guess,
        None if is_cut && body.len() < START_BYTES => Guess::More,
        None => Guess::No,
    }
}

impl Header {
    /// How much a body of `length` bytes looks like what the header says; `None` if it ends early.
    fn fits(&self, from: &mut Reader<'_>, length: usize) -> Option<Guess> {
        let said = |it: bool| Some(if it { Guess::Sure } else { Guess::No });
        let is_word = |it: &[u8]| {
            !it.is_empty() && it.iter().all(|it| it.is_ascii_alphanumeric() || b"_.-".contains(it))
        };
        match self.opcode {
            OPTIONS | READY => said(length == 0),
            STARTUP => {
                let count = from.u16()?;
                let name = from.string()?;
                let is_name = name.iter().all(|it| it.is_ascii_uppercase() || *it == b'_');
                said((1..=32).contains(&count) && is_word(name) && is_name)
            }
            SUPPORTED => {
                let count = from.u16()?;
                said((1..=64).contains(&count) && is_word(from.string()?))
            }
            AUTHENTICATE => {
                let name = from.string()?;
                said(name.len() + 2 == length && is_word(name))
            }
            QUERY | PREPARE => {
                let size = usize::try_from(from.u32()?).ok()?;
                let behind = match (self.opcode, self.version()) {
                    (QUERY, ..5) => 3,
                    (QUERY, _) => 6,
                    (_, ..5) => 0,
                    _ => 4,
                };
                if size < 3 || size.saturating_add(4 + behind) > length {
                    return said(false);
                }
                let text = from.0.get(..size.min(64)).unwrap_or(from.0);
                let first = text.trim_ascii_start().first()?;
                let is_text = text.iter().all(|it| *it >= b' ' || it.is_ascii_whitespace());
                said(is_text && (first.is_ascii_alphabetic() || b"/-(".contains(first)))
            }
            EXECUTE => {
                let id = from.short_bytes()?.len();
                if self.version() >= 5 {
                    from.short_bytes()?;
                }
                said(id == 16 && from.u16()? <= 10)
            }
            BATCH => {
                let (kind, count, first) = (from.u8()?, from.u16()?, from.u8()?);
                said(kind <= 2 && count > 0 && first <= 1)
            }
            REGISTER => {
                from.u16()?;
                let kinds: [&[u8]; 3] = [b"TOPOLOGY_CHANGE", b"STATUS_CHANGE", b"SCHEMA_CHANGE"];
                said(kinds.contains(&from.string()?))
            }
            EVENT => {
                let kind = from.string()?;
                said(kind.ends_with(b"_CHANGE"))
            }
            ERROR => {
                let is_known = error_name(from.u32()?.cast_signed()) != "Unknown";
                let size = usize::from(from.u16()?);
                said(is_known && size + 6 <= length)
            }
            RESULT => match from.u32()? {
                1 => said(length == 4),
                2 => said(from.u32()? <= 15 && from.u32()? <= MOST_COLUMNS),
                3 => said(from.string()?.len() + 6 == length),
                4 => said(from.short_bytes()?.len() == 16),
                5 => said([&b"CREATED"[..], b"UPDATED", b"DROPPED"].contains(&from.string()?)),
                _ => said(false),
            },
            AUTH_RESPONSE | AUTH_CHALLENGE | AUTH_SUCCESS => {
                let size = from.u32()?.cast_signed();
                let fits = size == -1 && length == 4
                    || usize::try_from(size).is_ok_and(|it| it + 4 == length);
                Some(if fits { Guess::Maybe } else { Guess::No })
            }
            _ => said(false),
        }
    }
}

/// A value that a client binds.
enum Value<'a> {
    Unset,
    Null,
    Bytes(&'a [u8]),
}

/// Bytes in big endian, and what the protocol makes of them.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    fn short_bytes(&mut self) -> Option<&'a [u8]> {
        self.string()
    }

    /// As much as is there of a statement.
    fn long_string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let there = length.min(self.0.len());
        self.take(there)
    }

    /// `Some(None)` is null.
    fn bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.u32()?.cast_signed()) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Some(None),
        }
    }

    fn maybe_unset(&mut self) -> Option<Value<'a>> {
        match self.u32()?.cast_signed() {
            -1 => Some(Value::Null),
            -2 => Some(Value::Unset),
            length => self.take(usize::try_from(length).ok()?).map(Value::Bytes),
        }
    }

    fn string_list(&mut self) -> Vec<&'a [u8]> {
        let count = self.u16().unwrap_or_default();
        (0..count).map_while(|_| self.string()).collect()
    }

    fn string_map(&mut self) -> Vec<(&'a [u8], &'a [u8])> {
        let count = self.u16().unwrap_or_default();
        (0..count).map_while(|_| Some((self.string()?, self.string()?))).collect()
    }

    fn bytes_map(&mut self) -> Option<()> {
        for _ in 0..self.u16()? {
            self.string()?;
            self.bytes()?;
        }
        Some(())
    }

    fn address(&mut self) -> Option<String> {
        let length = self.u8()?;
        let address = ip(self.take(length.into())?)?;
        let port = self.u32()?;
        Some(if length == 16 { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
    }

    /// What changed, and in which keyspace.
    fn schema_change(&mut self) -> (String, Option<Box<str>>) {
        let mut text = String::new();
        let Some(change) = self.string() else { return (text, None) };
        let Some(target) = self.string() else { return (text, None) };
        let keyspace = self.string().map(name);
        text = format!("{} {}", value::text(change), value::text(target));
        if let Some(keyspace) = &keyspace {
            text += &format!(" {keyspace}");
        }
        if let Some(name) = self.string().filter(|_| target != b"KEYSPACE") {
            text += &format!(".{}", value::text(name));
        }
        if matches!(target, b"FUNCTION" | b"AGGREGATE") {
            let arguments = self.string_list();
            let arguments: Vec<_> = arguments.iter().map(|it| value::text(it)).collect();
            text += &format!("({})", arguments.join(", "));
        }
        (text, keyspace)
    }

    /// What columns there are. What a statement's variables are has the places of the partition
    /// key in it.
    fn spec(&mut self, has_places: bool) -> Option<Spec> {
        let flags = self.u32()?;
        let count = self.u32()?;
        let mut spec = Spec {
            count: usize::try_from(count.min(MOST_COLUMNS)).ok()?,
            has_more_pages: flags & 2 != 0,
            ..Spec::default()
        };
        if has_places {
            for _ in 0..self.u32()? {
                self.u16()?;
            }
        }
        if flags & 2 != 0 {
            self.bytes()?;
        }
        if flags & 8 != 0 {
            self.short_bytes()?;
        }
        if flags & 4 != 0 {
            return Some(spec);
        }
        if flags & 1 != 0 {
            spec.keyspace = Some(name(self.string()?));
            spec.table = Some(name(self.string()?));
        }
        for place in 0..spec.count {
            if flags & 1 == 0 {
                let (keyspace, table) = (self.string()?, self.string()?);
                if place == 0 {
                    (spec.keyspace, spec.table) = (Some(name(keyspace)), Some(name(table)));
                }
            }
            let column = self.string()?;
            let kind = self.kind(0)?;
            if spec.columns.len() < COLUMNS {
                spec.columns.push((name(column), kind));
            }
        }
        Some(spec)
    }

    fn kind(&mut self, depth: usize) -> Option<Type> {
        if depth > DEEPEST {
            return None;
        }
        Some(match self.u16()? {
            0 => {
                self.string()?;
                Type::Other
            }
            0x20 | 0x22 => Type::List(Box::new(self.kind(depth + 1)?)),
            0x21 => Type::Map(Box::new((self.kind(depth + 1)?, self.kind(depth + 1)?))),
            0x30 => {
                // Its keyspace and its name.
                self.string()?;
                self.string()?;
                let mut fields = Vec::new();
                for _ in 0..self.u16()? {
                    let field = (name(self.string()?), self.kind(depth + 1)?);
                    if fields.len() < COLUMNS {
                        fields.push(field);
                    }
                }
                Type::User(fields.into())
            }
            0x31 => {
                let mut items = Vec::new();
                for _ in 0..self.u16()? {
                    let item = self.kind(depth + 1)?;
                    if items.len() < COLUMNS {
                        items.push(item);
                    }
                }
                Type::Tuple(items.into())
            }
            simple => Type::Simple(simple),
        })
    }
}

/// Writes a JSON object or array up to a bound.
struct JsonText {
    out: String,
    limit: usize,
}

impl JsonText {
    fn new(open: char) -> Self {
        Self { out: String::from(open), limit: JSON_BYTES }
    }

    fn is_full(&self) -> bool {
        self.out.len() >= self.limit
    }

    fn end(mut self, close: char) -> String {
        self.out.push(close);
        self.out
    }

    fn next(&mut self) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
    }

    fn name(&mut self, name: &[u8]) {
        self.next();
        self.text(name);
        self.out.push(':');
    }

    fn raw(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn text(&mut self, bytes: &[u8]) {
        let kept = bytes.get(..TEXT_BYTES).unwrap_or(bytes);
        self.out.push('"');
        for letter in value::text(kept).chars() {
            match letter {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                it if it < ' ' => self.out.push('\u{fffd}'),
                it => self.out.push(it),
            }
        }
        if kept.len() < bytes.len() {
            self.out.push('…');
        }
        self.out.push('"');
    }

    /// A value of a known type; as hexadecimal if it does not fit.
    fn value(&mut self, bytes: &[u8], kind: &Type) {
        if self.is_full() {
            return self.raw("\"…\"");
        }
        match kind {
            Type::Simple(0x01 | 0x0d) => self.text(bytes),
            Type::Simple(kind) => match simple(*kind, bytes) {
                Some(text) => self.raw(&text),
                None => self.hex(bytes),
            },
            Type::List(kind) => {
                let mut from = Reader(bytes);
                self.out.push('[');
                let count = from.u32().unwrap_or_default();
                for place in 0..count {
                    let Some(item) = from.bytes() else { break };
                    if place > 0 {
                        self.out.push(',');
                    }
                    self.item(item, kind);
                    if self.is_full() {
                        break;
                    }
                }
                self.out.push(']');
            }
            Type::Map(kinds) => {
                let mut from = Reader(bytes);
                self.out.push('{');
                let count = from.u32().unwrap_or_default();
                for place in 0..count {
                    let (Some(key), Some(item)) = (from.bytes(), from.bytes()) else { break };
                    if place > 0 {
                        self.out.push(',');
                    }
                    let mut name = Self { out: String::new(), limit: TEXT_BYTES };
                    name.item(key, &kinds.0);
                    match name.out.starts_with('"') {
                        true => self.raw(&name.out),
                        false => self.text(name.out.as_bytes()),
                    }
                    self.out.push(':');
                    match key.is_some_and(is_secret) {
                        true => self.text(b"***"),
                        false => self.item(item, &kinds.1),
                    }
                    if self.is_full() {
                        break;
                    }
                }
                self.out.push('}');
            }
            // Fields added to the type later than the value was written are not there.
            Type::User(fields) => {
                let mut from = Reader(bytes);
                self.out.push('{');
                for (place, (name, kind)) in fields.iter().enumerate() {
                    let item = from.bytes().flatten();
                    if place > 0 {
                        self.out.push(',');
                    }
                    self.text(name.as_bytes());
                    self.out.push(':');
                    match item.is_some() && is_secret(name.as_bytes()) {
                        true => self.text(b"***"),
                        false => self.item(item, kind),
                    }
                    if self.is_full() {
                        break;
                    }
                }
                self.out.push('}');
            }
            Type::Tuple(kinds) => {
                let mut from = Reader(bytes);
                self.out.push('[');
                for (place, kind) in kinds.iter().enumerate() {
                    let item = from.bytes().flatten();
                    if place > 0 {
                        self.out.push(',');
                    }
                    self.item(item, kind);
                    if self.is_full() {
                        break;
                    }
                }
                self.out.push(']');
            }
            Type::Other => self.hex(bytes),
        }
    }

    fn item(&mut self, item: Option<&[u8]>, kind: &Type) {
        match item {
            Some(bytes) => self.value(bytes, kind),
            None => self.raw("null"),
        }
    }

    fn hex(&mut self, bytes: &[u8]) {
        let kept = bytes.get(..HEX_BYTES).unwrap_or(bytes);
        self.raw("\"0x");
        self.raw(&hex(kept));
        self.raw(if kept.len() < bytes.len() { "…\"" } else { "\"" });
    }
}

/// A value as JSON; `None` if it has another size than its type.
fn simple(kind: u16, bytes: &[u8]) -> Option<String> {
    Some(match kind {
        0x02 | 0x05 | 0x0b | 0x12 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        0x04 => (bytes.first()? != &0).to_string(),
        0x07 => float(f64::from_be_bytes(bytes.try_into().ok()?)),
        0x08 => {
            let number = f32::from_be_bytes(bytes.try_into().ok()?);
            if number.is_finite() { format!("{number:?}") } else { float(number.into()) }
        }
        0x09 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        0x0c | 0x0f if bytes.len() == 16 => format!("\"{}\"", uuid(bytes)),
        0x10 => format!("\"{}\"", ip(bytes)?),
        // Days, of which 1970 begins with the one in the middle.
        0x11 => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)) - (1 << 31)).to_string(),
        0x13 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        0x14 => i8::from_be_bytes(bytes.try_into().ok()?).to_string(),
        0x0e => whole(bytes)?.to_string(),
        0x06 => {
            let (scale, digits) = bytes.split_first_chunk()?;
            let scale = i32::from_be_bytes(*scale);
            let number = whole(digits)?;
            match usize::try_from(scale) {
                Ok(scale @ ..40) => {
                    let sign = if number < 0 { "-" } else { "" };
                    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
                    let (before, behind) = digits.split_at_checked(digits.len() - scale)?;
                    let point = if behind.is_empty() { "" } else { "." };
                    format!("\"{sign}{before}{point}{behind}\"")
                }
                _ => format!("\"{number}E{}\"", scale.checked_neg()?),
            }
        }
        _ => return None,
    })
}

fn float(number: f64) -> String {
    if number.is_finite() { format!("{number:?}") } else { format!("\"{number}\"") }
}

/// A number of any length, if it is not too long.
fn whole(bytes: &[u8]) -> Option<i128> {
    let first = bytes.first()?;
    let start = if first & 0x80 == 0 { 0 } else { -1 };
    (bytes.len() <= 16)
        .then(|| bytes.iter().fold(start, |number, it| number << 8 | i128::from(*it)))
}

fn ip(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

fn texts(list: Option<&Vec<Box<str>>>) -> Texts<'_> {
    Texts(list.map_or_else(Vec::new, |it| it.iter().map(|it| Cow::Borrowed(&**it)).collect()))
}

fn name(bytes: &[u8]) -> Box<str> {
    value::text(bytes.get(..NAME_BYTES).unwrap_or(bytes)).into()
}

fn words(bytes: &[u8]) -> Box<str> {
    value::text(bytes.get(..TEXT_BYTES).unwrap_or(bytes)).into()
}

/// A statement without the passwords in it.
fn statement(bytes: &[u8]) -> Arc<str> {
    let clean = without_passwords(bytes);
    value::text(clean.get(..QUERY_BYTES).unwrap_or(&clean)).into()
}

/// Replaces texts that stand behind `PASSWORD`, `PASSWORD =` or `'password':`.
fn without_passwords(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut clean: Option<Vec<u8>> = None;
    let mut done = 0;
    for at in memchr::memchr2_iter(b'p', b'P', bytes) {
        let is_it = bytes.get(at..at + 8).is_some_and(|it| it.eq_ignore_ascii_case(b"password"));
        if !is_it || at < done {
            continue;
        }
        let rest = bytes.get(at + 8..).unwrap_or_default();
        let behind = rest.iter().position(|it| !b" \t\r\n\"'=:".contains(it)).unwrap_or(rest.len());
        let between = rest.get(..behind).unwrap_or_default();
        let opens = between.last() == Some(&b'\'') && between.len() > 1;
        if !opens {
            continue;
        }
        let start = at + 8 + behind;
        let text = bytes.get(start..).unwrap_or_default();
        // Two quotes are one that belongs to the text.
        let mut end = 0;
        while let Some(quote) = memchr::memchr(b'\'', text.get(end..).unwrap_or_default()) {
            end += quote;
            if text.get(end + 1) != Some(&b'\'') {
                break;
            }
            end += 2;
        }
        let is_closed = text.get(end) == Some(&b'\'');
        let end = if is_closed { end } else { text.len() };
        let clean = clean.get_or_insert_with(Vec::new);
        clean.extend_from_slice(bytes.get(done..start).unwrap_or_default());
        clean.extend_from_slice(b"***");
        done = start + end;
    }
    match clean {
        Some(mut clean) => {
            clean.extend_from_slice(bytes.get(done..).unwrap_or_default());
            clean.into()
        }
        None => bytes.into(),
    }
}

fn is_secret(name: &[u8]) -> bool {
    let names: [&[u8]; 4] = [b"password", b"passwd", b"pwd", b"salted_hash"];
    names.iter().any(|it| name.eq_ignore_ascii_case(it))
}

/// What a statement does, and to what.
#[derive(Default)]
struct Subject<'a> {
    operation: Cow<'a, str>,
    keyspace: Option<&'a str>,
    table: Option<&'a str>,
}

impl<'a> Subject<'a> {
    fn of(query: &'a str) -> Self {
        let is_split = |it: char| it.is_whitespace() || matches!(it, '(' | ')' | ',' | ';');
        let query = without_comments(query);
        let mut words = query.split(is_split).filter(|it| !it.is_empty()).take(WORDS);
        let first = words.next().unwrap_or_default();
        let is_word = first.len() <= 32 && first.bytes().all(|it| it.is_ascii_alphabetic());
        let operation: Cow<'a, str> = match first.bytes().all(|it| it.is_ascii_uppercase()) {
            _ if !is_word => Cow::Borrowed(""),
            true => first.into(),
            false => first.to_ascii_uppercase().into(),
        };
        let behind = |it: &str| match &*operation {
            "SELECT" | "DELETE" => it.eq_ignore_ascii_case("FROM"),
            "INSERT" => it.eq_ignore_ascii_case("INTO"),
            "CREATE" | "ALTER" | "DROP" => it.eq_ignore_ascii_case("TABLE"),
            _ => false,
        };
        let named = match &*operation {
            "UPDATE" | "TRUNCATE" | "USE" => words.next(),
            _ => words.find(|it| behind(it)).and_then(|_| words.next()),
        };
        // TRUNCATE TABLE t, CREATE TABLE IF NOT EXISTS t.
        let fillers = ["IF", "NOT", "EXISTS", "TABLE"];
        let is_filler = |it: &str| fillers.iter().any(|word| it.eq_ignore_ascii_case(word));
        let named = match named {
            Some(word) if is_filler(word) => words.find(|it| !is_filler(it)),
            named => named,
        };
        let plain = |it: &'a str| it.trim_matches('"');
        let (keyspace, table) = match named {
            Some(keyspace) if operation == "USE" => (Some(plain(keyspace)), None),
            Some(named) => match named.split_once('.') {
                Some((keyspace, table)) => (Some(plain(keyspace)), Some(plain(table))),
                None => (None, Some(plain(named))),
            },
            None => (None, None),
        };
        Self { operation, keyspace, table }
    }
}

/// A statement from its first word on.
fn without_comments(query: &str) -> &str {
    let mut rest = query.trim_start();
    loop {
        let end = match rest.get(..2) {
            Some("--" | "//") => rest.find('\n').map(|at| at + 1),
            Some("/*") => rest.find("*/").map(|at| at + 2),
            _ => return rest,
        };
        rest = end.and_then(|at| rest.get(at..)).unwrap_or_default().trim_start();
    }
}

fn opcode_name(opcode: u8) -> &'static str {
    match opcode {
        ERROR => "ERROR",
        STARTUP => "STARTUP",
        READY => "READY",
        AUTHENTICATE => "AUTHENTICATE",
        OPTIONS => "OPTIONS",
        SUPPORTED => "SUPPORTED",
        QUERY => "QUERY",
        RESULT => "RESULT",
        PREPARE => "PREPARE",
        EXECUTE => "EXECUTE",
        REGISTER => "REGISTER",
        EVENT => "EVENT",
        BATCH => "BATCH",
        AUTH_CHALLENGE => "AUTH_CHALLENGE",
        AUTH_RESPONSE => "AUTH_RESPONSE",
        AUTH_SUCCESS => "AUTH_SUCCESS",
        _ => "UNKNOWN",
    }
}

fn error_name(code: i32) -> &'static str {
    match code {
        0x0000 => "ServerError",
        0x000a => "ProtocolError",
        0x0100 => "AuthenticationError",
        0x1000 => "Unavailable",
        0x1001 => "Overloaded",
        0x1002 => "IsBootstrapping",
        0x1003 => "TruncateError",
        0x1100 => "WriteTimeout",
        0x1200 => "ReadTimeout",
        0x1300 => "ReadFailure",
        0x1400 => "FunctionFailure",
        0x1500 => "WriteFailure",
        0x1600 => "CdcWriteFailure",
        0x1700 => "CasWriteUnknown",
        0x2000 => "SyntaxError",
        0x2100 => "Unauthorized",
        0x2200 => "Invalid",
        0x2300 => "ConfigError",
        0x2400 => "AlreadyExists",
        0x2500 => "Unprepared",
        _ => "Unknown",
    }
}

fn consistency_name(level: u16) -> &'static str {
    match level {
        0 => "ANY",
        1 => "ONE",
        2 => "TWO",
        3 => "THREE",
        4 => "QUORUM",
        5 => "ALL",
        6 => "LOCAL_QUORUM",
        7 => "EACH_QUORUM",
        8 => "SERIAL",
        9 => "LOCAL_SERIAL",
        10 => "LOCAL_ONE",
        _ => "UNKNOWN",
    }
}

const ERROR: u8 = 0x00;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const AUTHENTICATE: u8 = 0x03;
const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0a;
const REGISTER: u8 = 0x0b;
const EVENT: u8 = 0x0c;
const BATCH: u8 = 0x0d;
const AUTH_CHALLENGE: u8 = 0x0e;
const AUTH_RESPONSE: u8 = 0x0f;
const AUTH_SUCCESS: u8 = 0x10;

/// Flags of an envelope.
const COMPRESSED: u8 = 0x01;
const TRACING: u8 = 0x02;
const CUSTOM_PAYLOAD: u8 = 0x04;
const WARNING: u8 = 0x08;

/// Flags of what stands behind a statement.
const WITH_VALUES: u32 = 0x01;
const WITH_PAGE_SIZE: u32 = 0x04;
const WITH_PAGING_STATE: u32 = 0x08;
const WITH_SERIAL: u32 = 0x10;
const WITH_TIMESTAMP: u32 = 0x20;
const WITH_NAMES: u32 = 0x40;
const WITH_KEYSPACE: u32 = 0x80;

const HEADER_BYTES: usize = 9;

/// What a message may have.
const LONGEST: u32 = 256 << 20;

/// By then a message has shown what it is.
const START_BYTES: usize = 256;

/// More columns than a table has.
const MOST_COLUMNS: u32 = 10_000;

/// What is kept of a result: columns, rows, and bytes of JSON.
const COLUMNS: usize = 64;
const ROWS: u32 = 100;
const JSON_BYTES: usize = 16 << 10;

/// What is kept of a statement, a text, a name, and of bytes without a type.
const QUERY_BYTES: usize = 16 << 10;
const TEXT_BYTES: usize = 4 << 10;
const NAME_BYTES: usize = 256;
const HEX_BYTES: usize = 256;

/// A hash by which servers call what they prepared has 16.
const ID_BYTES: usize = 64;

/// Prepared statements remembered of a connection, and their bytes.
const PREPARED: usize = 256;
const PREPARED_BYTES: usize = 256 << 10;

/// Warnings kept of a response.
const WARNINGS: usize = 16;

/// Words of a statement looked at for the table's name.
const WORDS: usize = 512;

/// Types in types.
const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Shown, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    fn rows(steps: &[Step]) -> Vec<Shown> {
        drive::however_cut::<Dissector>(steps)
    }

    fn columns(row: &Shown, names: &str) -> String {
        let shown = |it: &Shown| match it {
            Shown::Null => "-".to_owned(),
            Shown::String(text) => text.clone(),
            other => other.to_string(),
        };
        names.split(' ').map(|it| shown(&row[it])).collect::<Vec<_>>().join(" | ")
    }

    fn json(row: &Shown, name: &str) -> Shown {
        serde_json::from_str(row[name].as_str().unwrap()).unwrap()
    }

    fn envelope(version: u8, flags: u8, stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![version, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.push(opcode);
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn ask(stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
        envelope(4, 0, stream, opcode, body)
    }

    fn tell(stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
        envelope(0x84, 0, stream, opcode, body)
    }

    fn short(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    /// A query at consistency ONE without parameters.
    fn query(stream: i16, text: &str) -> Vec<u8> {
        ask(stream, QUERY, &[&long(text.as_bytes())[..], &[0, 1, 0]].concat())
    }

    fn void(stream: i16) -> Vec<u8> {
        tell(stream, RESULT, &[0, 0, 0, 1])
    }

    /// What columns a table `ks.t` has.
    fn spec(columns: &[(&str, &[u8])]) -> Vec<u8> {
        let columns = columns.iter().flat_map(|(name, kind)| [short(name), kind.to_vec()].concat());
        [short("ks"), short("t"), columns.collect()].concat()
    }

    fn frame(payload: &[u8], is_alone: bool) -> Vec<u8> {
        let head = payload.len() as u32 | u32::from(is_alone) << 17;
        let head = &head.to_le_bytes()[..3];
        closed(head, payload)
    }

    fn packed_frame(payload: &[u8], is_alone: bool) -> Vec<u8> {
        let packed = lz4_flex::block::compress(payload);
        let head = packed.len() as u64 | (payload.len() as u64) << 17 | u64::from(is_alone) << 34;
        closed(&head.to_le_bytes()[..5], &packed)
    }

    fn closed(head: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(b"\xfa\x2d\x55\xca");
        crc.update(payload);
        let check = crc24(head).to_le_bytes();
        [head, &check[..3], payload, &crc.sum().to_le_bytes()].concat()
    }

    #[test]
    fn responses_find_their_requests_by_stream() {
        let rows = rows(&[
            client(
                [query(1, "SELECT a FROM ks.t"), query(2, "insert into t (a) values (1)")].concat(),
            ),
            server(
                [void(2), tell(1, ERROR, &[&[0, 0, 0x22, 0][..], &short("no")].concat())].concat(),
            ),
            server(tell(
                -1,
                EVENT,
                &[short("STATUS_CHANGE"), short("UP"), vec![4, 10, 0, 0, 1, 0, 0, 0x23, 0x52]]
                    .concat(),
            )),
        ]);
        let names = "verb operation keyspace collection consistency result_kind error_name status failed error";
        let shown: Vec<_> = rows.iter().map(|it| columns(it, names)).collect();
        let expected = [
            "QUERY | INSERT | - | t | ONE | void | - | - | - | -",
            "QUERY | SELECT | ks | t | ONE | - | Invalid | 8704 | true | no",
            "EVENT | - | - | - | - | - | - | - | - | -",
        ];
        assert_eq!(shown, expected);
        assert_eq!(rows[2]["message"], "STATUS_CHANGE UP 10.0.0.1:9042");
    }

    #[test]
    fn what_was_prepared_is_known_when_it_is_executed() {
        let id = [7; 16];
        let named = [&[0, 16][..], &id].concat();
        let variables = [
            &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0][..],
            &spec(&[("a", &[0, 9]), ("password", &[0, 13])]),
        ]
        .concat();
        let results = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &spec(&[("n", &[0, 2])])].concat();
        let prepared = [&[0, 0, 0, 4][..], &named, &variables, &results].concat();
        let values = [&[0, 2][..], &long(&[0, 0, 0, 5]), &long(b"s3cret")].concat();
        let execute = [&named[..], &[0, 6, 3], &values].concat();
        // The columns are left out, as the client wished.
        let told = [
            &[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1][..],
            &long(&[0, 0, 0, 0, 0, 0, 0, 9]),
        ];
        let rows = rows(&[
            client(ask(1, PREPARE, &long(b"SELECT n FROM t WHERE a = ? AND password = ?"))),
            server(tell(1, RESULT, &prepared)),
            client(ask(2, EXECUTE, &execute)),
            server(tell(2, RESULT, &told.concat())),
            client(ask(3, EXECUTE, &[&[0, 16][..], &[8; 16], &[0, 1, 0]].concat())),
            server(void(3)),
        ]);
        assert_eq!(rows[0]["prepared_id"], "07070707070707070707070707070707");
        let names = "operation keyspace collection consistency row_count query";
        let expected =
            "SELECT | ks | t | LOCAL_QUORUM | 1 | SELECT n FROM t WHERE a = ? AND password = ?";
        assert_eq!(columns(&rows[1], names), expected);
        assert_eq!(json(&rows[1], "parameters"), json!({"a": 5, "password": "***"}));
        assert_eq!(json(&rows[1], "rows"), json!([{"n": 9}]));
        assert_eq!(columns(&rows[2], "query incomplete result_kind"), "- | true | void");
    }

    #[test]
    fn rows_are_shown_with_names_and_types() {
        let fields: [(&str, &[u8]); 4] = [
            ("street", &[0, 13]),
            ("password", &[0, 13]),
            ("rooms", &[0, 32, 0, 9]),
            ("added", &[0, 9]),
        ];
        let fields: Vec<u8> =
            fields.iter().flat_map(|it| [&short(it.0)[..], it.1].concat()).collect();
        let user = [&[0, 48][..], &short("ks"), &short("address"), &[0, 4], &fields].concat();
        let kinds: &[(&str, &[u8])] = &[
            ("text", &[0, 13]),
            ("int", &[0, 9]),
            ("none", &[0, 9]),
            ("bool", &[0, 4]),
            ("double", &[0, 7]),
            ("decimal", &[0, 6]),
            ("inet", &[0, 16]),
            ("blob", &[0, 3]),
            ("list", &[0, 32, 0, 13]),
            ("map", &[0, 33, 0, 9, 0, 4]),
            ("user", &user),
            ("tuple", &[0, 49, 0, 2, 0, 9, 0, 13]),
        ];
        let list = [&[0, 0, 0, 2][..], &long(b"x"), &long(b"y")].concat();
        let map = [&[0, 0, 0, 1][..], &long(&[0, 0, 0, 3]), &long(&[1])].concat();
        let rooms = [&[0, 0, 0, 1][..], &long(&[0, 0, 0, 5])].concat();
        let values = [
            long(b"a\"b"),
            long(&[255; 4]),
            vec![255; 4],
            long(&[0]),
            long(&1.5_f64.to_be_bytes()),
            long(&[0, 0, 0, 2, 255]),
            long(&[127, 0, 0, 1]),
            long(&[0xca, 0xfe]),
            long(&list),
            long(&map),
            // The last field is younger than the value.
            long(&[long(b"High St"), long(b"s3cret"), long(&rooms)].concat()),
            long(&[long(&[0, 0, 0, 7]), vec![255; 4]].concat()),
        ];
        let told = [
            &[0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 12][..],
            &long(b"state"),
            &spec(kinds),
            &[0, 0, 0, 1],
            &values.concat(),
        ]
        .concat();
        let warned = [&[0, 1][..], &short("slow"), &told].concat();
        let rows = rows(&[
            client(query(1, "SELECT * FROM ks.t")),
            server(envelope(0x84, WARNING, 1, RESULT, &warned)),
        ]);
        assert_eq!(columns(&rows[0], "row_count has_more_pages keyspace"), "1 | true | ks");
        assert_eq!(rows[0]["warnings"], json!(["slow"]));
        let expected = json!([{
            "text": "a\"b", "int": -1, "none": null, "bool": false, "double": 1.5, "decimal": "-0.01",
            "inet": "127.0.0.1", "blob": "0xcafe", "list": ["x", "y"], "map": {"3": true},
            "user": {"street": "High St", "password": "***", "rooms": [5], "added": null},
            "tuple": [7, null],
        }]);
        assert_eq!(json(&rows[0], "rows"), expected);
    }

    #[test]
    fn frames_of_version_5_are_opened() {
        let startup = [&[0, 1][..], &short("CQL_VERSION"), &short("3.0.0")].concat();
        let ask = |stream, text: &str| {
            envelope(
                5,
                0,
                stream,
                QUERY,
                &[&long(text.as_bytes())[..], &[0, 1, 0, 0, 0, 0]].concat(),
            )
        };
        let void = |stream| envelope(0x85, 0, stream, RESULT, &[0, 0, 0, 1]);
        for close in [frame, packed_frame] {
            let long = ask(3, &format!("SELECT '{}' FROM ks.t", "x".repeat(50_000)));
            let (start, end) = long.split_at(20_000);
            let rows = rows(&[
                client(envelope(5, 0, 0, STARTUP, &startup)),
                server(envelope(0x85, 0, 0, READY, &[])),
                client(close(
                    &[ask(1, "SELECT 1 FROM a"), ask(2, "SELECT 2 FROM b")].concat(),
                    true,
                )),
                server(close(&[void(2), void(1)].concat(), true)),
                client([close(start, false), close(end, false)].concat()),
                server(close(&void(3), true)),
            ]);
            let shown: Vec<_> = rows
                .iter()
                .map(|it| columns(it, "verb collection stream response_opcode"))
                .collect();
            let expected = [
                "STARTUP | - | 0 | READY",
                "QUERY | b | 2 | RESULT",
                "QUERY | a | 1 | RESULT",
                "QUERY | - | 3 | RESULT",
            ];
            assert_eq!(shown, expected);
            assert_eq!(rows[3]["request_size"], 4 + 50_000 + 19 + 6);
            // Without the start, too.
            let rows =
                drive::however_cut::<Dissector>(&[client(close(&ask(1, "SELECT 1 FROM a"), true))]);
            assert_eq!(rows[0]["collection"], "a");
            assert_eq!(judge(&close(&ask(1, "SELECT 1 FROM a"), true), Side::Client), Guess::Sure);
        }
    }

    #[test]
    fn compressed_bodies_are_opened() {
        let body = [&long(b"SELECT a FROM ks.t")[..], &[0, 1, 0]].concat();
        let lz4 =
            [&(body.len() as u32).to_be_bytes()[..], &lz4_flex::block::compress(&body)].concat();
        let snappy = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        for (name, packed) in [("lz4", lz4), ("snappy", snappy)] {
            let startup = [&[0, 1][..], &short("COMPRESSION"), &short(name)].concat();
            let asked = envelope(4, COMPRESSED, 1, QUERY, &packed);
            let rows_of =
                |steps: &[Step]| columns(rows(steps).last().unwrap(), "compression collection");
            let expected = format!("{name} | t");
            assert_eq!(rows_of(&[client(ask(0, STARTUP, &startup)), client(&asked)]), expected);
            assert_eq!(rows_of(&[client(&asked)]), expected);
        }
    }

    #[test]
    fn batches_list_their_statements() {
        let body = [
            &[1, 0, 2, 0][..],
            &long(b"UPDATE ks.t SET a = 1"),
            &[0, 0, 0],
            &long(b"DELETE FROM ks.t"),
            &[0, 1],
            &long(b"x"),
            &[0, 4, 0],
        ];
        let rows = rows(&[client(ask(1, BATCH, &body.concat())), server(void(1))]);
        let names = "operation collection batch_type batch_size consistency query";
        let expected =
            "BATCH | t | UNLOGGED | 2 | QUORUM | UPDATE ks.t SET a = 1\nDELETE FROM ks.t";
        assert_eq!(columns(&rows[0], names), expected);
    }

    #[test]
    fn secrets_are_not_kept() {
        let rows = rows(&[
            client(ask(1, AUTH_RESPONSE, &long(b"\0bob\0s3cret"))),
            client(query(2, "CREATE ROLE a WITH PASSWORD = 's3cret' AND LOGIN = true")),
            client(query(3, "alter user a with password 's3cret'")),
            client(query(4, "CREATE ROLE a WITH OPTIONS = {'password':'it''s3cret'}")),
            client(query(5, "CREATE ROLE a WITH HASHED PASSWORD='s3cret")),
        ]);
        for row in &rows {
            assert!(!row.to_string().contains("s3cret"), "{row}");
        }
        assert_eq!(rows[0]["user"], "bob");
        assert_eq!(rows[1]["query"], "CREATE ROLE a WITH PASSWORD = '***' AND LOGIN = true");
        assert_eq!(rows[3]["query"], "CREATE ROLE a WITH OPTIONS = {'password':'***'}");
    }

    #[test]
    fn statements_say_what_they_work_on() {
        for (query, expected) in [
            ("select a, b from \"Ks\".\"T\" where c = 1", "SELECT Ks T"),
            ("-- why\n/* how */ INSERT INTO t(a) VALUES (1)", "INSERT - t"),
            ("UPDATE ks.t SET a = 1", "UPDATE ks t"),
            ("DELETE a FROM ks.t WHERE b = 1", "DELETE ks t"),
            ("TRUNCATE TABLE t", "TRUNCATE - t"),
            ("CREATE TABLE IF NOT EXISTS ks.t(a int)", "CREATE ks t"),
            ("USE \"Ks\";", "USE Ks -"),
            ("DROP KEYSPACE ks", "DROP - -"),
            ("/* only", " - -"),
            ("", " - -"),
        ] {
            let Subject { operation, keyspace, table } = Subject::of(query);
            let shown = [&operation, keyspace.unwrap_or("-"), table.unwrap_or("-")].join(" ");
            assert_eq!(shown, expected, "{query}");
        }
    }

    #[test]
    fn the_keyspace_is_the_one_in_use() {
        let used = [&[0, 0, 0, 3][..], &short("shop")].concat();
        let rows = rows(&[
            client(query(1, "USE shop")),
            server(tell(1, RESULT, &used)),
            client(query(2, "SELECT a FROM t")),
            server(void(2)),
        ]);
        assert_eq!(columns(&rows[1], "keyspace collection"), "shop | t");
    }

    #[test]
    fn huge_messages_need_little_room_and_holes_in_them_are_absorbed() {
        let asked = query(1, &format!("INSERT INTO ks.t (a) VALUES ('{}')", "x".repeat(3 << 20)));
        let rows = drive::stream::<Dissector>(
            &[
                client(&asked[..100_000]),
                Step::Loses(Side::Client, 100_000),
                client(&asked[200_000..]),
                server(void(1)),
            ],
            1460,
        );
        assert_eq!(
            columns(&rows[0], "operation collection incomplete result_kind"),
            "INSERT | t | true | void"
        );
        assert!(rows[0]["query"].as_str().unwrap().len() <= QUERY_BYTES);
    }

    #[test]
    fn after_a_hole_the_next_message_is_found() {
        let rows = rows(&[
            client([query(1, "SELECT 1 FROM a"), query(2, "SELECT 2 FROM b")].concat()),
            server(&void(1)[..3]),
            Step::Loses(Side::Server, 4),
            server([&void(1)[7..], &void(2)].concat()),
        ]);
        let shown: Vec<_> = rows.iter().map(|it| columns(it, "collection result_kind")).collect();
        assert_eq!(shown, ["b | void", "a | -"]);
    }

    #[test]
    fn recognised_by_content() {
        let startup = [&[0, 1][..], &short("CQL_VERSION"), &short("3.0.0")].concat();
        for (asked, guess) in [
            (ask(0, OPTIONS, &[]), Guess::Sure),
            (ask(0, STARTUP, &startup), Guess::Sure),
            (query(1, "SELECT 1"), Guess::Sure),
            (ask(1, AUTH_RESPONSE, &long(b"x")), Guess::Maybe),
            (ask(1, QUERY, &[0; 40]), Guess::No),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), Guess::No),
            (b"GET / HTTP/1.1\r\n".to_vec(), Guess::No),
        ] {
            assert_eq!(judge(&asked, Side::Client), guess, "{asked:?}");
            assert_eq!(judge(&asked, Side::Server), Guess::No);
        }
        assert_eq!(judge(&void(1), Side::Server), Guess::Sure);
        assert_eq!(judge(&void(1)[..8], Side::Server), Guess::More);
    }

    proptest! {
        #[test]
        fn damage_is_no_accident(
            order in proptest::collection::vec(0_usize..64, 1..12),
            bent in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
            side in any::<bool>(), piece in 1_usize..200, missing in 0_u64..40,
        ) {
            let messages = [
                query(1, "SELECT a FROM ks.t"),
                ask(1, PREPARE, &long(b"SELECT n FROM t WHERE a = ?")),
                ask(2, EXECUTE, &[&[0, 2, 1, 1, 0, 6, 3, 0, 1][..], &long(b"x")].concat()),
                ask(3, BATCH, &[&[1, 0, 1, 0][..], &long(b"DELETE FROM t"), &[0, 0, 0, 4, 0]].concat()),
                tell(1, RESULT, &[&[0, 0, 0, 4, 0, 2, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0][..], &spec(&[("a", &[0, 9])]), &[0, 0, 0, 1, 0, 0, 0, 1], &spec(&[("n", &[0, 33, 0, 9, 0, 13])])].concat()),
                tell(1, RESULT, &[&[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1][..], &spec(&[("n", &[0, 32, 0, 6])]), &[0, 0, 0, 1], &long(&[0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 2, 9])].concat()),
                tell(1, ERROR, &[&[0, 0, 0x22, 0][..], &short("no")].concat()),
                tell(-1, EVENT, &[short("STATUS_CHANGE"), short("UP"), vec![4, 10, 0, 0, 1, 0, 0, 1, 1]].concat()),
                frame(&envelope(5, 0, 1, QUERY, &[&long(b"SELECT 1")[..], &[0, 1, 0, 0, 0, 0]].concat()), true),
                packed_frame(&envelope(0x85, 0, 1, RESULT, &[0, 0, 0, 1]), true),
                packed_frame(&envelope(0x85, 0, 1, RESULT, &[0, 0, 0, 1])[..11], false),
                envelope(4, COMPRESSED, 1, QUERY, &[0, 0, 0, 30, 0x1f, 7, 1, 0, 9, 0x50, 1, 2, 3, 4, 5]),
            ];
            let mut bytes: Vec<u8> =
                order.iter().flat_map(|it| messages[it % messages.len()].clone()).collect();
            for (at, with) in bent {
                let at = usize::from(at) % bytes.len();
                bytes[at] = with;
            }
            let side = if side { Side::Client } else { Side::Server };
            let sends = |side| Step::Sends(side, bytes.clone());
            let steps =
                [sends(side), sends(side.other()), Step::Loses(side, missing), sends(side), Step::Ends(side)];
            drive::stream::<Dissector>(&steps, piece);

        }
    }
}
