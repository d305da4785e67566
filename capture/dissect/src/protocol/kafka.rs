//! Apache Kafka and what else speaks its protocol: <https://kafka.apache.org/protocol>.
use std::borrow::Cow;
use std::collections::VecDeque;

use memchr::memmem;
use schema::value::{Code, Duration, Json, Label, Size, Texts};

use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::Limits;

use messages::{API_VERSIONS, PRODUCE, SASL_HANDSHAKE, api, error_name, steps};
use reader::{Body, Partition, Reader, TopicNames, Word, user};
use records::Kept;

mod json;
mod messages;
mod reader;
mod records;
mod unpack;

/// Requests to Kafka brokers, with their responses. Passwords and tokens are replaced by `***`
/// before anything is kept.
#[derive(schema::Record)]
pub(super) struct Kafka<'a> {
    /// The API's name, such as `Produce` or `Fetch`. OpenTelemetry: `messaging.operation.name`.
    api: Label<'a>,
    /// The API's key: 0 is Produce, 1 is Fetch.
    api_key: Option<Code>,
    /// Version of the request.
    api_version: Option<Code>,
    /// What the client numbered the request with.
    correlation_id: Option<Code>,
    /// What the client calls itself. OpenTelemetry: `messaging.client.id`.
    client_id: Option<Label<'a>>,
    /// Topics of the request, or of the response if the request names none: the first 1024, in
    /// order of the alphabet. Where only an id was sent, the name that a response on the same
    /// connection gave it, else the id. OpenTelemetry: `messaging.destination.name`.
    topics: Texts<'a>,
    /// Partitions, each as `topic-number`: the first 64. OpenTelemetry:
    /// `messaging.destination.partition.id`.
    partitions: Texts<'a>,
    /// The offset of each partition: fetched from, first written, committed or found. OpenTelemetry:
    /// `messaging.kafka.offset`.
    offsets: Texts<'a>,
    /// How many replicas must have what is produced: 0, 1, or -1 for all that are in sync.
    acks: Option<Code>,
    /// How many records were produced or fetched, those of compressed old message sets as far as
    /// they were opened. OpenTelemetry: `messaging.batch.message_count`.
    record_count: Option<u64>,
    /// Bytes that the records took, as sent.
    record_bytes: Option<Size>,
    /// How the records were compressed: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    compression: Option<Label<'a>>,
    /// The first records, up to about 32 KiB: topic, partition, offset, timestamp (milliseconds since
    /// 1970), key, value and headers. A key or value that is no text is `key_base64` or
    /// `value_base64`; one that is cut has its length in `key_bytes` or `value_bytes`.
    records: Option<Json<'a>>,
    /// The consumer group. OpenTelemetry: `messaging.consumer.group.name`.
    group_id: Option<Cow<'a, str>>,
    /// The member of the group, as the coordinator calls it.
    member_id: Option<Cow<'a, str>>,
    /// Generation or epoch of the group.
    generation: Option<Code>,
    /// The transactional id of a producer.
    transactional_id: Option<Cow<'a, str>>,
    /// The id given to a producer.
    producer_id: Option<u64>,
    /// How the client proves who it is, such as `PLAIN` or `SCRAM-SHA-256`.
    mechanism: Option<Label<'a>>,
    /// Who the client says it is.
    user: Option<Cow<'a, str>>,
    /// Name and version of the client's library.
    client_software: Option<Label<'a>>,
    /// Addresses of brokers that the response names: the first 64.
    brokers: Texts<'a>,
    /// Every error code in the response but 0, or only 0 if there is none: the first 16.
    error_codes: Option<Texts<'a>>,
    /// Name of the first error, such as `UNKNOWN_TOPIC_OR_PARTITION`. OpenTelemetry: `error.type`.
    error_name: Option<Label<'a>>,
    /// What the broker says about the error.
    error_message: Option<Cow<'a, str>>,
    /// How long the broker holds the client back, as a quota was exceeded.
    throttle: Option<Duration>,
    /// The request's fields by their names in Kafka's protocol: the first 2 KiB of them. Not of Produce
    /// and Fetch, which the columns above tell.
    request_fields: Option<Json<'a>>,
    /// The response's fields, likewise.
    response_fields: Option<Json<'a>>,
}

/// What a connection has agreed on so far, and the messages under way.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<Box<Reader>>,
    server: Option<Box<Reader>>,
    names: TopicNames,
    /// Correlation ids of requests without a response, as far as they may help to find one.
    asked: VecDeque<i32>,
    /// The latest correlation id the client sent.
    latest: Option<i32>,
    /// What the client calls itself, by which its next request is found after a gap.
    client_id: Vec<u8>,
    /// SASL's words follow without a header, as the first version of the handshake has it.
    is_bare_sasl: bool,
    mechanism: Vec<u8>,
    /// Correlation ids of the latest requests that want no answer.
    unasked: VecDeque<i32>,
    /// The server answers those too.
    answers_all: bool,
}

impl Dissect for Dissector {
    const NAME: &'static str = "kafka";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[9092, 9093, 9094, 19092, 29092];
    /// Boxed: it is large, and moves from hand to hand.
    type Body = Box<Body>;
    type Columns = KafkaColumns;

    fn guess(head: &Head<'_>) -> Guess {
        match head.side {
            Side::Client => guess_request(head.bytes),
            Side::Server => guess_response(head.bytes),
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Box<Body>>,
    ) -> Result<Message<Box<Body>>, Stop> {
        loop {
            let Some(mut reader) = self.under_way(side).take() else {
                let mut reader = match side {
                    Side::Client => self.begin_request(input)?,
                    Side::Server => self.begin_response(input, open)?,
                };
                if !input.is_detailed() {
                    reader.keep_little();
                }
                match self.read_at_once(side, reader, input)? {
                    Some(message) => return Ok(message),
                    None => continue,
                }
            };
            if !reader.feed(input, &mut self.names) {
                input.commit();
                *self.under_way(side) = Some(reader);
                return Err(Stop::More);
            }
            if let Some(message) = self.message(side, *reader) {
                return Ok(message);
            }
            input.commit();
        }
    }

    fn record(exchange: Exchange<'_, Box<Body>>) -> (Summary<'_>, Kafka<'_>) {
        let (request, response) = unboxed(&exchange);
        let both = || [request, response].into_iter().flatten();
        let word = |word| both().find_map(|it| it.word(word));
        let asked = |word| request.and_then(|it| it.word(word));

        let with_topics = both().find(|it| it.topics().len() > 0);
        let with_partitions = both()
            .find(|it| it.partitions.iter().any(|it| it.offset.is_some()))
            .or_else(|| both().find(|it| !it.partitions.is_empty()));
        let with_records = both().find(|it| it.has_records);
        let group = group(request, response);
        let transaction = transaction(request, response);
        let mechanism = asked(Word::Mechanism);
        let error_message = word(Word::ErrorMessage);
        let client_software = match (asked(Word::Software), asked(Word::SoftwareVersion)) {
            (Some(name), Some(version)) => Some(Label(format!("{name} {version}").into())),
            (name, _) => name.map(Label::from),
        };

        let summary = summary(request, response);
        let record = Kafka {
            api: Label(summary.verb.clone()),
            api_key: request.and_then(|it| it.key).map(|it| Code(it.into())),
            api_version: request.filter(|it| it.key.is_some()).map(|it| Code(it.version.into())),
            correlation_id: both().find_map(|it| it.correlation).map(Code),
            client_id: asked(Word::Client).map(Label::from),
            topics: Texts(with_topics.map(topics).unwrap_or_default()),
            partitions: Texts(with_partitions.map(partitions).unwrap_or_default()),
            offsets: Texts(with_partitions.map(offsets).unwrap_or_default()),
            acks: request.and_then(|it| it.acks).map(Code),
            record_count: with_records.map(|it| it.records.count),
            record_bytes: with_records.map(|it| Size(it.records.bytes)),
            compression: with_records
                .and_then(|it| CODECS.get(usize::from(it.records.codec?)))
                .map(|it| Label::from(*it)),
            records: with_records.and_then(|it| it.records.json()).map(|it| Json(it.into())),
            group_id: group.map(Cow::Borrowed),
            member_id: word(Word::Member).map(Cow::Borrowed),
            generation: [response, request]
                .into_iter()
                .flatten()
                .find_map(|it| it.generation)
                .map(Code),
            transactional_id: transaction.map(Cow::Borrowed),
            producer_id: [response, request]
                .into_iter()
                .flatten()
                .find_map(|it| u64::try_from(it.producer?).ok()),
            mechanism: mechanism.map(Label::from),
            user: asked(Word::User).map(Cow::Borrowed),
            client_software,
            brokers: Texts(
                response.map(|it| it.brokers().map(Cow::Borrowed).collect()).unwrap_or_default(),
            ),
            error_codes: response.filter(|it| it.has_errors).map(error_codes),
            error_name: failure(response).map(|code| Label(name_of_error(code))),
            error_message: error_message.map(Cow::Borrowed),
            throttle: response.and_then(|it| it.throttle).map(|it| Duration(it * 1_000_000)),
            request_fields: request.and_then(fields),
            response_fields: response.and_then(fields),
        };
        (summary, record)
    }

    fn summary(exchange: Exchange<'_, Box<Body>>) -> Summary<'_> {
        let (request, response) = unboxed(&exchange);
        summary(request, response)
    }

    fn weight(body: &Self::Body) -> usize {
        size_of::<Body>() + body.held()
    }

    fn held(&self) -> usize {
        let under_way = [&self.client, &self.server].into_iter().flatten();
        under_way.map(|it| it.held()).sum::<usize>()
            + self.names.held()
            + (self.asked.capacity() + self.unasked.capacity()) * size_of::<i32>()
            + self.client_id.capacity()
            + self.mechanism.capacity()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let reader = self.under_way(side).as_mut().ok_or(Stop::Lost)?;
        if reader.hole(missing) { Ok(()) } else { Err(Stop::Lost) }
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.under_way(side) = None;
        let rest = input.rest();
        let found = match side {
            Side::Client => self.next_request(rest),
            Side::Server => self.next_response(rest),
        };
        let (at, is_found) = match found {
            Found::At(at) => (at, true),
            Found::NotBefore(at) => (at, false),
        };
        input.take(at)?;
        input.commit();
        if is_found { Ok(()) } else { Err(Stop::More) }
    }

    fn end(&mut self, side: Side) -> Option<Message<Box<Body>>> {
        let mut reader = self.under_way(side).take()?;
        reader.finish();
        reader.is_holed = true;
        self.message(side, *reader)
    }
}

impl Dissector {
    fn under_way(&mut self, side: Side) -> &mut Option<Box<Reader>> {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Reads the rest of a message whose header was read; `None` if it stands for nothing.
    fn read_at_once(
        &mut self,
        side: Side,
        mut reader: Reader,
        input: &mut Input<'_>,
    ) -> Result<Option<Message<Box<Body>>>, Stop> {
        let is_whole = reader.feed(input, &mut self.names);
        // Without a name, only what follows the header tells that this is a request.
        if reader.is_broken && self.is_doubtful(side, &reader.body) {
            return Err(Stop::Lost);
        }
        if !is_whole {
            input.commit();
            *self.under_way(side) = Some(Box::new(reader));
            return Err(Stop::More);
        }
        let message = self.message(side, reader);
        if message.is_none() {
            input.commit();
        }
        Ok(message)
    }

    /// Reads a request's header.
    fn begin_request(&self, input: &mut Input<'_>) -> Result<Reader, Stop> {
        let rest = input.rest();
        let size = size(rest).ok_or_else(|| input.short())?;
        if let Some(header) = Header::of(rest)
            && header.is_likely()
        {
            input.take(Header::BYTES)?;
            let left = u64::from(header.size) - (Header::BYTES as u64 - 4);
            let most = input.limits().body_bytes.min(RECORDS_BYTES);
            return Ok(header.reader(most, left));
        }
        if self.is_bare_sasl && rest.len() > 4 && size <= TOKEN_BYTES {
            // Not to be told from a header by less.
            if rest.len() < Header::BYTES && rest.len() - 4 < size as usize {
                return Err(input.short());
            }
            input.take(4)?;
            let mut body = Box::<Body>::default();
            body.set_word(Word::Mechanism, &self.mechanism);
            let token = input.rest();
            let token = token.get(..size as usize).unwrap_or(token);
            if let Some(user) = user(token) {
                body.set_word(Word::User, user);
            }
            return Ok(Reader::new(&[], body, u64::from(size)));
        }
        if rest.len() < Header::BYTES && (Header::LEAST..=MOST_BYTES).contains(&size) {
            return Err(input.short());
        }
        Err(Stop::Lost)
    }

    /// Reads a response's header.
    fn begin_response(
        &self,
        input: &mut Input<'_>,
        open: &Open<Box<Body>>,
    ) -> Result<Reader, Stop> {
        let rest = input.rest();
        let size = size(rest).ok_or_else(|| input.short())?;
        if self.is_bare_sasl && size <= TOKEN_BYTES && open.oldest(TOKEN).is_some() {
            input.take(4)?;
            return Ok(Reader::new(&[], Box::default(), u64::from(size)));
        }
        if !(4..=MOST_BYTES).contains(&size) {
            return Err(Stop::Lost);
        }
        let correlation = i32_at(rest, 4).ok_or_else(|| input.short())?;
        let left = u64::from(size) - 4;
        let mut body = Box::<Body>::default();
        body.correlation = Some(correlation);
        let Some(request) = open.oldest(key(correlation)) else {
            self.check_lone(rest, size, correlation, input)?;
            input.take(8)?;
            return Ok(Reader::new(&[], body, left));
        };
        let (Some(key), mut version) = (request.key, request.version) else {
            return Err(Stop::Lost);
        };
        if key == API_VERSIONS && left >= 2 {
            // A broker that doesn't know the version answers as the first version has it.
            let error = rest.get(8..10).ok_or_else(|| input.short())?;
            if error == [0, UNSUPPORTED_VERSION] {
                version = 0;
            }
        }
        input.take(8)?;
        body.key = Some(key);
        body.version = version;
        body.records = Kept::new(input.limits().body_bytes.min(RECORDS_BYTES), true);
        Ok(Reader::new(steps(key, version, false), body, left))
    }

    /// Whether an answer to nothing that was captured may stand here.
    fn check_lone(
        &self,
        rest: &[u8],
        size: u32,
        correlation: i32,
        input: &Input<'_>,
    ) -> Result<(), Stop> {
        if let Some(latest) = self.latest {
            let is_near = correlation.abs_diff(latest) < NEAR;
            return if is_near { Ok(()) } else { Err(Stop::Lost) };
        }
        if correlation < 0 {
            return Err(Stop::Lost);
        }
        // Its length is all there is to say that it is one.
        match rest.get(4 + size as usize..) {
            None => Err(input.short()),
            Some([]) => Ok(()),
            Some(next) if next.len() < 8 => Err(input.short()),
            Some(next) => {
                let is_next = i32_at(next, 4).is_some_and(|it| it.abs_diff(correlation) < NEAR);
                if is_next { Ok(()) } else { Err(Stop::Lost) }
            }
        }
    }

    fn is_doubtful(&self, side: Side, body: &Body) -> bool {
        side == Side::Client && self.latest.is_none() && body.word(Word::Client).is_none()
    }

    /// What was read, as a message, if it is to be one; notes what the connection must remember of it.
    fn message(&mut self, side: Side, reader: Reader) -> Option<Message<Box<Body>>> {
        let is_incomplete = reader.is_holed;
        let mut body = reader.body;
        let Some(correlation) = body.correlation else {
            let message = match side {
                Side::Client => Message::request(body),
                Side::Server => Message::response(body),
            };
            return Some(message.key(TOKEN).incomplete(is_incomplete));
        };
        if side == Side::Server {
            if let Some(place) = self.asked.iter().position(|it| *it == correlation) {
                // Answers come in order.
                self.asked.drain(..=place);
            }
            if let Some(place) = self.unasked.iter().position(|it| *it == correlation)
                && body.key.is_none()
            {
                // Its request is a row already.
                self.unasked.drain(..=place);
                self.answers_all = true;
                return None;
            }
            let message = Message::response(body).key(key(correlation));
            return Some(message.incomplete(is_incomplete));
        }
        self.latest = Some(correlation);
        let client_id = body.word(Word::Client).unwrap_or_default();
        if self.client_id != client_id.as_bytes() {
            self.client_id = client_id.as_bytes().to_vec();
        }
        match body.key {
            Some(SASL_HANDSHAKE) => {
                self.is_bare_sasl = body.version == 0;
                let mechanism = body.word(Word::Mechanism).unwrap_or_default();
                self.mechanism = mechanism.as_bytes().to_vec();
            }
            Some(SASL_AUTHENTICATE) => body.set_word(Word::Mechanism, &self.mechanism),
            _ => {}
        }
        if body.key != Some(SASL_HANDSHAKE) {
            self.is_bare_sasl = false;
        }
        // Nobody waits for what nobody acknowledges; some servers answer nevertheless.
        let wants_answer = body.key != Some(PRODUCE) || body.acks != Some(0) || self.answers_all;
        let waiting = if wants_answer { &mut self.asked } else { &mut self.unasked };
        if waiting.len() >= ASKED {
            waiting.pop_front();
        }
        waiting.push_back(correlation);
        let message = if wants_answer { Message::request(body) } else { Message::notice(body) };
        Some(message.key(key(correlation)).incomplete(is_incomplete))
    }

    /// Where the next request begins.
    fn next_request(&self, bytes: &[u8]) -> Found {
        let length = u16::try_from(self.client_id.len()).unwrap_or_default();
        if length > 0 {
            let name = [&length.to_be_bytes(), &*self.client_id].concat();
            for at in memmem::find_iter(bytes, &name) {
                let start = at.checked_sub(Header::BYTES);
                if start.is_some_and(|it| self.is_request(bytes.get(it..).unwrap_or_default())) {
                    return Found::At(at - Header::BYTES);
                }
            }
            return Found::NotBefore(bytes.len().saturating_sub(Header::BYTES + name.len() - 1));
        }
        let starts = memchr::memchr_iter(0, bytes);
        for at in starts {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.len() < Header::BYTES + 2 {
                return Found::NotBefore(at);
            }
            if self.is_request(rest) && guess_request(rest) == Guess::Sure {
                return Found::At(at);
            }
        }
        Found::NotBefore(bytes.len())
    }

    fn is_request(&self, bytes: &[u8]) -> bool {
        Header::of(bytes).is_some_and(|it| {
            let is_later = self.latest.is_none_or(|latest| {
                (0..NEAR.cast_signed()).contains(&it.correlation.wrapping_sub(latest))
            });
            it.is_likely() && it.is_known() && is_later
        })
    }

    /// Where the next response begins.
    fn next_response(&self, bytes: &[u8]) -> Found {
        let is_start = |rest: &[u8]| {
            let size = size(rest).filter(|it| (4..=MOST_BYTES).contains(it))?;
            let correlation = i32_at(rest, 4)?;
            self.asked.contains(&correlation).then_some(size)
        };
        for at in memchr::memchr_iter(0, bytes) {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.len() < 8 {
                return Found::NotBefore(at);
            }
            let Some(size) = is_start(rest) else { continue };
            match rest.get(4 + size as usize..) {
                None | Some([]) => return Found::At(at),
                Some(next) if next.len() < 8 || is_start(next).is_some() => return Found::At(at),
                Some(_) => {}
            }
        }
        Found::NotBefore(bytes.len())
    }
}

/// Where a message begins: here, or nowhere before there.
enum Found {
    At(usize),
    NotBefore(usize),
}

/// What every request begins with.
struct Header {
    size: u32,
    key: i16,
    version: i16,
    correlation: i32,
}

impl Header {
    /// With the length in front.
    const BYTES: usize = 12;

    /// The least that the length in front may say: the rest of the header.
    const LEAST: u32 = 8;

    fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            size: size(bytes)?,
            key: i16_at(bytes, 4)?,
            version: i16_at(bytes, 6)?,
            correlation: i32_at(bytes, 8)?,
        })
    }

    /// Whether there may be such a request, by what we know or by what is to come.
    fn is_likely(&self) -> bool {
        (Self::LEAST..=MOST_BYTES).contains(&self.size)
            && (0..=MOST_KEY).contains(&self.key)
            && (0..=MOST_VERSION).contains(&self.version)
    }

    /// Whether there is such a request.
    fn is_known(&self) -> bool {
        api(self.key).is_some()
    }

    /// For what follows.
    fn reader(&self, most: usize, left: u64) -> Reader {
        let mut body = Box::<Body>::default();
        body.key = Some(self.key);
        body.version = self.version;
        body.correlation = Some(self.correlation);
        body.records = Kept::new(most, self.key != PRODUCE);
        Reader::new(steps(self.key, self.version, true), body, left)
    }
}

/// A request says its length, and must be one that fills it.
fn guess_request(bytes: &[u8]) -> Guess {
    let too_few = |is_likely| if is_likely { Guess::More } else { Guess::No };
    let Some(size) = size(bytes) else {
        return too_few(bytes.first().is_none_or(|it| u32::from(*it) <= MOST_BYTES >> 24));
    };
    if !(Header::LEAST..=MOST_BYTES).contains(&size) {
        return Guess::No;
    }
    if bytes.get(4..).is_some_and(|it| it.first().is_some_and(|it| *it != 0)) {
        return Guess::No;
    }
    let Some(header) = Header::of(bytes) else { return Guess::More };
    if !header.is_likely() || !header.is_known() || header.correlation < 0 {
        return Guess::No;
    }
    let Some(length) = i16_at(bytes, Header::BYTES) else { return Guess::More };
    let behind = bytes.get(Header::BYTES + 2..).unwrap_or_default();
    let name = match usize::try_from(length) {
        Ok(length) if length > MOST_NAME || length + 10 > size as usize => return Guess::No,
        Ok(length) => behind.get(..length),
        Err(_) if length == -1 => Some(&[][..]),
        Err(_) => return Guess::No,
    };
    if !name.unwrap_or(behind).iter().all(|it| matches!(it, b' '..=b'~')) {
        return Guess::No;
    }
    let Some(name) = name else { return Guess::More };
    let is_read = api(header.key).is_some_and(|it| it.knows(header.version));
    if !is_read {
        return if name.is_empty() { Guess::No } else { Guess::Maybe };
    }

    // As strict as reading it.
    let limits = Limits { body_bytes: 0, ..Limits::default() };
    let mut input = Input::new(bytes.get(Header::BYTES..).unwrap_or_default(), false, &limits);
    let mut reader = header.reader(0, u64::from(size) - 8);
    let is_whole = reader.feed(&mut input, &mut TopicNames::default());
    match (reader.is_broken, is_whole) {
        (true, _) if name.is_empty() => Guess::No,
        (true, _) => Guess::Maybe,
        (false, true) => Guess::Sure,
        (false, false) if name.is_empty() => Guess::Maybe,
        (false, false) => Guess::Sure,
    }
}

/// A response has nothing but its length to tell it by.
fn guess_response(bytes: &[u8]) -> Guess {
    let Some(size) = size(bytes) else { return Guess::More };
    let Some(correlation) = i32_at(bytes, 4) else { return Guess::More };
    let is_likely = (4..=MOST_BYTES).contains(&size) && correlation >= 0;
    if is_likely && size as usize + 4 >= bytes.len() { Guess::Maybe } else { Guess::No }
}

fn unboxed<'a>(exchange: &Exchange<'a, Box<Body>>) -> (Option<&'a Body>, Option<&'a Body>) {
    (exchange.request.map(|it| &**it), exchange.response.map(|it| &**it))
}

fn summary<'a>(request: Option<&'a Body>, response: Option<&'a Body>) -> Summary<'a> {
    let both = || [request, response].into_iter().flatten();
    let asked = |word| request.and_then(|it| it.word(word));
    let verb = match request {
        Some(Body { key: Some(key), .. }) => match api(*key) {
            Some(api) => Cow::Borrowed(api.name),
            None => Cow::Owned(format!("Unknown {key}")),
        },
        Some(_) => Cow::Borrowed(SASL_TOKEN),
        None => Cow::Borrowed(""),
    };
    let topic = || both().find(|it| it.topics().len() > 0).map(joined).unwrap_or_default();
    let target = match group(request, response) {
        Some(group) => Cow::Borrowed(group),
        None => match topic() {
            topic if !topic.is_empty() => topic,
            _ => {
                let other = transaction(request, response).or_else(|| asked(Word::User));
                other.or_else(|| asked(Word::Mechanism)).unwrap_or_default().into()
            }
        },
    };
    let error = failure(response).map(|code| {
        let name = name_of_error(code);
        match both().find_map(|it| it.word(Word::ErrorMessage)) {
            Some(said) => Cow::Owned(format!("{name}: {said}")),
            None => name,
        }
    });
    let status = response.filter(|it| it.has_errors).map(first_error).map(i32::from);
    Summary { verb, target, status, failed: error.is_some(), error }
}

fn group<'a>(request: Option<&'a Body>, response: Option<&'a Body>) -> Option<&'a str> {
    let said = [request, response].into_iter().flatten().find_map(|it| it.word(Word::Group));
    said.or_else(|| named_by_key(request, 0))
}

fn transaction<'a>(request: Option<&'a Body>, response: Option<&'a Body>) -> Option<&'a str> {
    let said = [request, response].into_iter().flatten().find_map(|it| it.word(Word::Transaction));
    said.or_else(|| named_by_key(request, 1))
}

/// Whose coordinator is looked for, of this type.
fn named_by_key(request: Option<&Body>, key_type: i64) -> Option<&str> {
    request.filter(|it| it.key_type == key_type).and_then(|it| it.word(Word::Key))
}

/// The first error, if there is one.
fn failure(response: Option<&Body>) -> Option<i16> {
    response.filter(|it| it.has_errors).map(first_error).filter(|it| *it != 0)
}

fn name_of_error(code: i16) -> Cow<'static, str> {
    error_name(code).map_or_else(|| Cow::Owned(code.to_string()), Cow::Borrowed)
}

/// The first error, or 0.
fn first_error(body: &Body) -> i16 {
    body.errors.first().copied().unwrap_or_default()
}

fn error_codes(body: &Body) -> Texts<'_> {
    if body.errors.is_empty() {
        return Texts(vec!["0".into()]);
    }
    Texts(body.errors.iter().map(|it| it.to_string().into()).collect())
}

fn fields(body: &Body) -> Option<Json<'_>> {
    body.fields().map(|it| Json(it.into()))
}

/// The topics of a message in one text: the first few of them.
fn joined(body: &Body) -> Cow<'_, str> {
    let mut topics = body.topics();
    let first = topics.next().unwrap_or_default();
    if topics.len() == 0 {
        return first.into();
    }
    let mut text = first.to_owned();
    for (place, topic) in topics.enumerate() {
        text.push(',');
        if place == TARGET_TOPICS {
            text.push('…');
            break;
        }
        text.push_str(topic);
    }
    text.into()
}

/// Each topic once.
fn topics(body: &Body) -> Vec<Cow<'_, str>> {
    let mut topics: Vec<_> = body.topics().map(Cow::Borrowed).collect();
    if topics.len() > 1 {
        topics.sort_unstable();
        topics.dedup();
    }
    topics
}

fn partitions(body: &Body) -> Vec<Cow<'_, str>> {
    let name = |it: &Partition| {
        let topic = body.topic(it);
        let mut text = Vec::with_capacity(topic.len() + 4);
        text.extend_from_slice(topic.as_bytes());
        text.push(b'-');
        json::number(&mut text, it.number.into());
        String::from_utf8(text).unwrap_or_default().into()
    };
    body.partitions.iter().take(PARTITIONS).map(name).collect()
}

fn offsets(body: &Body) -> Vec<Cow<'_, str>> {
    let kept = body.partitions.iter().take(PARTITIONS);
    kept.filter_map(|it| it.offset).map(|it| it.to_string().into()).collect()
}

/// What pairs a response with its request; never zero, which stands for order.
fn key(correlation: i32) -> u64 {
    1 << 32 | u64::from(correlation.cast_unsigned())
}

/// The length in front of every message; `None` before it has come.
fn size(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|it| u32::from_be_bytes(*it))
}

fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The key of SASL's words, which come in order.
const TOKEN: u64 = 0;

/// What SASL's words without a header are called.
const SASL_TOKEN: &str = "SaslToken";

const SASL_AUTHENTICATE: i16 = 36;

/// The error code, of which the high byte is zero.
const UNSUPPORTED_VERSION: u8 = 35;

/// Names of compressions by their numbers.
const CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

/// Bytes of the longest message: brokers refuse longer requests than 100 MiB.
const MOST_BYTES: u32 = 128 << 20;

/// Keys and versions that may come to be.
const MOST_KEY: i16 = 127;
const MOST_VERSION: i16 = 40;

/// Bytes of a client's name by which a request may be recognised.
const MOST_NAME: usize = 255;

/// Bytes of SASL's words, at most; Kerberos has the longest.
const TOKEN_BYTES: u32 = 64 << 10;

/// How far apart the correlation ids of neighbours may be.
const NEAR: u32 = 10_000;

/// Correlation ids remembered.
const ASKED: usize = 256;

/// Bytes of JSON kept of a message's records, about.
const RECORDS_BYTES: usize = 32 << 10;

/// Partitions shown.
const PARTITIONS: usize = 64;

/// Topics in a target, behind the first.
const TARGET_TOPICS: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{Step, client, however_cut, server, stream};

    /// A message with its length in front.
    fn framed(parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&(body.len() as u32).to_be_bytes(), &*body].concat()
    }

    fn request(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
        framed(&[
            &key.to_be_bytes(),
            &version.to_be_bytes(),
            &correlation.to_be_bytes(),
            &short("app"),
            body,
        ])
    }

    fn response(correlation: i32, body: &[u8]) -> Vec<u8> {
        framed(&[&correlation.to_be_bytes(), body])
    }

    fn short(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
    }

    fn compact(text: &str) -> Vec<u8> {
        [&[text.len() as u8 + 1], text.as_bytes()].concat()
    }

    fn int(value: i32) -> [u8; 4] {
        value.to_be_bytes()
    }

    fn long(value: i64) -> [u8; 8] {
        value.to_be_bytes()
    }

    fn zigzag(value: i64) -> Vec<u8> {
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        let mut bytes = Vec::new();
        while left >= 0x80 {
            bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes
    }

    /// A record as in a batch, of a key and a value.
    fn record(delta: i64, key: &str, value: &[u8]) -> Vec<u8> {
        let body = [
            &[0][..],
            &zigzag(delta),
            &zigzag(delta),
            &zigzag(key.len() as i64),
            key.as_bytes(),
            &zigzag(value.len() as i64),
            value,
            &zigzag(1),
            &zigzag(1),
            b"h",
            &zigzag(-1),
        ]
        .concat();
        [zigzag(body.len() as i64), body].concat()
    }

    fn batch(offset: i64, attributes: u16, count: i32, records: &[u8]) -> Vec<u8> {
        [
            &long(offset)[..],
            &int(49 + records.len() as i32),
            &int(0),
            &[2],
            &int(0),
            &attributes.to_be_bytes(),
            &int(count - 1),
            &long(1000),
            &long(2000),
            &long(-1),
            &[0, 0],
            &int(-1),
            &int(count),
            records,
        ]
        .concat()
    }

    /// A message of the older sets.
    fn message(offset: i64, magic: u8, attributes: u8, value: &[u8]) -> Vec<u8> {
        let time: &[u8] = if magic == 1 { &[0, 0, 0, 0, 0, 0, 0, 7] } else { &[] };
        let body =
            [&[0; 4][..], &[magic, attributes], time, &int(-1), &int(value.len() as i32), value]
                .concat();
        [&long(offset)[..], &int(body.len() as i32), &body].concat()
    }

    fn produce(correlation: i32, acks: i16, records: &[u8]) -> Vec<u8> {
        let body = [
            &short("tx")[..],
            &acks.to_be_bytes(),
            &int(1000),
            &int(1),
            &short("orders"),
            &int(1),
            &int(3),
            &int(records.len() as i32),
            records,
        ]
        .concat();
        request(PRODUCE, 7, correlation, &body)
    }

    fn produced(correlation: i32, error: i16) -> Vec<u8> {
        let body = [
            &int(1)[..],
            &short("orders"),
            &int(1),
            &int(3),
            &error.to_be_bytes(),
            &long(41),
            &long(-1),
            &long(0),
            &int(5),
        ]
        .concat();
        response(correlation, &body)
    }

    fn fetch(correlation: i32) -> Vec<u8> {
        let body = [
            &int(-1)[..],
            &int(500),
            &int(1),
            &int(1),
            &short("orders"),
            &int(1),
            &int(3),
            &long(41),
            &int(1 << 20),
        ]
        .concat();
        request(1, 2, correlation, &body)
    }

    fn fetched(correlation: i32, records: &[u8]) -> Vec<u8> {
        let body = [
            &int(0)[..],
            &int(1),
            &short("orders"),
            &int(1),
            &int(3),
            &[0, 0],
            &long(50),
            &int(records.len() as i32),
            records,
        ]
        .concat();
        response(correlation, &body)
    }

    fn heartbeat(correlation: i32) -> Vec<u8> {
        request(12, 0, correlation, &[short("g"), int(7).to_vec(), short("m")].concat())
    }

    fn rows(steps: &[Step]) -> Vec<Value> {
        however_cut::<Dissector>(steps)
    }

    fn records_of(row: &Value) -> Value {
        serde_json::from_str(row["records"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_produced_batch_is_told_with_its_records() {
        let records = [record(0, "a", b"one"), record(5, "", b"\xff")].concat();
        let steps = [client(produce(1, -1, &batch(0, 0, 2, &records))), server(produced(1, 0))];
        let rows = rows(&steps);
        let mut row = rows[0].clone();
        let kept = records_of(&row);
        assert_eq!(
            kept,
            json!([
                {"topic": "orders", "partition": 3, "timestamp": 1000, "key": "a", "value": "one",
                    "headers": {"h": null}},
                {"topic": "orders", "partition": 3, "timestamp": 1005, "key": "",
                    "value_base64": "/w==", "headers": {"h": null}},
            ])
        );
        row.as_object_mut().unwrap().remove("records");
        assert_eq!(
            row,
            json!({
                "verb": "Produce", "target": "orders", "status": 0,
                "api": "Produce", "api_key": 0, "api_version": 7, "correlation_id": 1,
                "client_id": "app", "topics": ["orders"], "partitions": ["orders-3"],
                "offsets": ["41"], "acks": -1, "record_count": 2,
                "record_bytes": 61 + records.len(), "compression": "none",
                "transactional_id": "tx", "brokers": [], "error_codes": ["0"],
                "throttle": 5_000_000,
            })
        );
    }

    #[test]
    fn what_nobody_acknowledges_is_told_at_once() {
        let batch = batch(0, 0, 1, &record(0, "a", b"one"));
        let steps =
            [client([produce(1, 0, &batch), heartbeat(2)].concat()), server(response(2, &[0, 0]))];
        let rows = rows(&steps);
        assert_eq!((rows[0]["api"].as_str(), rows[0].get("status")), (Some("Produce"), None));
        assert_eq!((rows[1]["api"].as_str(), &rows[1]["status"]), (Some("Heartbeat"), &json!(0)));
        assert_eq!(rows.len(), 2);
        // A server that answers nevertheless.
        let steps = [
            client(produce(1, 0, &batch)),
            server(produced(1, 0)),
            client(produce(2, 0, &batch)),
            server(produced(2, 0)),
        ];
        let rows = self::rows(&steps);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1]["offsets"], json!(["41"]));
    }

    #[test]
    fn compressed_batches_are_opened() {
        use std::io::Write;
        let text = [record(0, "a", &b"again and ".repeat(50)), record(1, "b", b"two")].concat();
        let gzip = {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            to.write_all(&text).unwrap();
            to.finish().unwrap()
        };
        let lz4 = {
            let mut to = lz4_flex::frame::FrameEncoder::new(Vec::new());
            to.write_all(&text).unwrap();
            to.finish().unwrap()
        };
        let snappy = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        let zstd = {
            use ruzstd::encoding::{CompressionLevel, compress_to_vec};
            compress_to_vec(&*text, CompressionLevel::Fastest)
        };
        for (codec, packed) in [(1, gzip), (2, snappy), (3, lz4), (4, zstd)] {
            let steps = [client(fetch(1)), server(fetched(1, &batch(40, codec, 2, &packed)))];
            let row = &rows(&steps)[0];
            let kept = records_of(row);
            assert_eq!(row["compression"], CODECS[usize::from(codec)]);
            assert_eq!((&kept[1]["value"], &kept[1]["offset"]), (&json!("two"), &json!(41)));
            assert_eq!(kept[0]["value"].as_str().unwrap().len(), 500);
        }
    }

    #[test]
    fn older_message_sets_are_read() {
        let set = [message(5, 0, 0, b"one"), message(6, 1, 0, b"two")].concat();
        let inner = [message(0, 1, 0, b"three"), message(1, 1, 0, b"four")].concat();
        let packed = snap::raw::Encoder::new().compress_vec(&inner).unwrap();
        let set =
            [set, message(8, 1, 2, &packed), message(9, 0, 0, b"cut")[..20].to_vec()].concat();
        let rows = rows(&[client(fetch(1)), server(fetched(1, &set))]);
        let kept = records_of(&rows[0]);
        let values: Vec<_> = kept.as_array().unwrap().iter().map(|it| &it["value"]).collect();
        let offsets: Vec<_> = kept.as_array().unwrap().iter().map(|it| &it["offset"]).collect();
        assert_eq!(values, ["one", "two", "three", "four"]);
        assert_eq!(offsets, [5, 6, 7, 8]);
        assert_eq!((&rows[0]["record_count"], kept[1]["timestamp"].as_i64()), (&json!(4), Some(7)));
    }

    #[test]
    fn errors_have_names() {
        let steps = [client(produce(1, 1, &[])), server(produced(1, 3))];
        let row = &rows(&steps)[0];
        assert_eq!((&row["status"], &row["failed"]), (&json!(3), &json!(true)));
        assert_eq!(row["error"], "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(row["error_codes"], json!(["3"]));
        // FindCoordinator says more.
        let asked = request(10, 1, 2, &[short("billing"), vec![0]].concat());
        let told = [&int(0)[..], &[0, 15], &short("wait"), &int(-1), &short(""), &int(-1)].concat();
        let row = &rows(&[client(asked), server(response(2, &told))])[0];
        assert_eq!(row["error"], "COORDINATOR_NOT_AVAILABLE: wait");
        assert_eq!((&row["group_id"], &row["target"]), (&json!("billing"), &json!("billing")));
    }

    #[test]
    fn ids_of_topics_get_their_names() {
        let id = [7; 16];
        let asked = request(3, 12, 1, &[&[0][..], &[0, 0, 0, 0]].concat());
        let told = [
            &[0][..],
            &int(0),
            &[2],
            &int(1),
            &compact("kafka-1"),
            &[0, 0, 0x23, 0x84, 0, 0],
            &compact("cluster"),
            &int(1),
            &[2, 0, 0],
            &compact("orders"),
            &id,
            &[0, 1],
            &int(0),
            &[0, 0],
        ]
        .concat();
        let fetch = |correlation, id: &[u8]| {
            let body = [
                &[0][..],
                &int(-1),
                &int(500),
                &int(1),
                &int(1),
                &[0],
                &int(0),
                &int(0),
                &[2],
                id,
                &[2],
                &int(3),
                &int(0),
                &long(41),
                &int(0),
                &long(0),
                &int(1),
                &[0, 0, 1, 1, 0],
            ]
            .concat();
            request(1, 13, correlation, &body)
        };
        let told_nothing =
            |correlation| response(correlation, &[[0; 11].as_slice(), &[1, 0]].concat());
        let steps = [
            client(asked),
            server(response(1, &told)),
            client(fetch(2, &id)),
            server(told_nothing(2)),
            client(fetch(3, &[9; 16])),
            server(told_nothing(3)),
        ];
        let rows = rows(&steps);
        assert_eq!(rows[0]["brokers"], json!(["kafka-1:9092"]));
        assert_eq!(rows[1]["partitions"], json!(["orders-3"]));
        assert_eq!(rows[2]["topics"], json!(["CQkJCQkJCQkJCQkJCQkJCQ"]));
        assert_eq!(rows[2]["status"], 0);
    }

    #[test]
    fn newer_versions_are_told_by_their_header() {
        let steps = [
            client(heartbeat(1)),
            server(response(1, &[0, 0])),
            client(request(1, 35, 2, b"whatever it is")),
            server(response(2, b"nobody knows")),
            client(request(99, 0, 3, b"?")),
            server(response(3, b"!")),
        ];
        let rows = rows(&steps);
        let told = |row: &Value| {
            format!("{} {} {}", row["api"], row["api_version"], row["correlation_id"])
        };
        assert_eq!(told(&rows[1]), "\"Fetch\" 35 2");
        assert_eq!(told(&rows[2]), "\"Unknown 99\" 0 3");
        assert_eq!((&rows[2]["client_id"], rows[2].get("status")), (&json!("app"), None));
        // A server that doesn't know what was asked answers as the first version has it.
        let asked = request(18, 4, 4, &[&[0][..], &compact("lib"), &compact("1.0"), &[0]].concat());
        let told = [&[0, 35][..], &int(1), &[0, 18, 0, 0, 0, 3]].concat();
        let row = &self::rows(&[client(asked), server(response(4, &told))])[0];
        assert_eq!(
            (&row["error"], &row["client_software"]),
            (&json!("UNSUPPORTED_VERSION"), &json!("lib 1.0"))
        );
        assert_eq!(row["response_fields"].as_str().unwrap().matches("max_version\":3").count(), 1);
    }

    #[test]
    fn secrets_are_not_kept() {
        let token = b"\0alice\0s3cret".as_slice();
        let with_header = [
            client(request(17, 1, 1, &short("PLAIN"))),
            server(response(1, &[&[0, 0][..], &int(1), &short("PLAIN")].concat())),
            client(request(36, 0, 2, &[&int(token.len() as i32)[..], token].concat())),
            server(response(2, &[&[0, 0, 0xff, 0xff][..], &int(0)].concat())),
            client(heartbeat(3)),
            server(response(3, &[0, 0])),
        ];
        let bare = [
            client(request(17, 0, 1, &short("PLAIN"))),
            server(response(1, &[&[0, 0][..], &int(1), &short("PLAIN")].concat())),
            client(framed(&[token])),
            server(framed(&[])),
            client(heartbeat(3)),
            server(response(3, &[0, 0])),
        ];
        for (steps, verb) in [(with_header, "SaslAuthenticate"), (bare, "SaslToken")] {
            let rows = rows(&steps);
            let verbs: Vec<_> = rows.iter().map(|it| &it["verb"]).collect();
            assert_eq!(verbs, ["SaslHandshake", verb, "Heartbeat"]);
            assert_eq!(
                (&rows[1]["user"], &rows[1]["mechanism"]),
                (&json!("alice"), &json!("PLAIN"))
            );
            assert!(!format!("{rows:?}").contains("s3cret"));
        }
        let body = [
            &[2, 2][..],
            &compact("t"),
            &[3],
            &compact("ssl.keystore.password"),
            &[0],
            &compact("s3cret"),
            &[0],
            &compact("retention.ms"),
            &[0],
            &compact("1000"),
            &[0, 0, 0, 0],
        ]
        .concat();
        let row = &rows(&[client(request(44, 1, 1, &[&[0][..], &body].concat()))])[0];
        let fields = row["request_fields"].as_str().unwrap();
        assert!(
            fields.contains("***") && fields.contains("1000") && !fields.contains("s3cret"),
            "{fields}"
        );
        assert_eq!(user(b"n,,n=bob,r=nonce"), Some(&b"bob"[..]));
        assert_eq!(user(b"n,a=bob@host,\x01auth=Bearer x\x01\x01"), Some(&b"bob@host"[..]));
        assert_eq!(user(b"\x60\x82\x02\x4e"), None);
    }

    #[test]
    fn long_answers_need_little_room() {
        let records: Vec<u8> = (0..40).flat_map(|it| record(it, "k", &[b'v'; 1000])).collect();
        let set: Vec<u8> = (0..80).flat_map(|it| batch(it * 40, 0, 40, &records)).collect();
        let told = fetched(1, &set);
        assert!(told.len() > 3 << 20);
        let limits = Limits::default();
        let mut open = Open::default();
        let mut dissector = Dissector::default();
        let asked = fetch(1);
        let mut input = Input::new(&asked, false, &limits);
        let body = dissector.parse(Side::Client, &mut input, &open).unwrap().body;
        open.requests.push_back(crate::exchange::Waiting {
            key: key(1),
            turned: false,
            body,
            times: crate::exchange::Times { first: 0, last: 0 },
            bytes: 0,
            incomplete: false,
            start: 0,
            seen: 0,
        });
        let mut answer = None;
        for part in told.chunks(1460) {
            let mut input = Input::new(part, false, &limits);
            answer = dissector.parse(Side::Server, &mut input, &open).ok();
            assert!(answer.is_some() || input.committed() == part.len());
            assert!(dissector.held() < 200 << 10, "{}", dissector.held());
        }
        let body = answer.unwrap().body;
        assert_eq!(body.records.count, 3200);
        assert!(body.held() < 100 << 10);
        let json = body.records.json().unwrap();
        assert_eq!(serde_json::from_str::<Value>(json).unwrap()[1]["offset"], 1);
    }

    #[test]
    fn a_hole_costs_what_it_touches() {
        let value = [b'v'; 500];
        let set =
            [batch(0, 0, 1, &record(0, "k", &value)), batch(1, 0, 1, &record(0, "k", &value))];
        let told = fetched(1, &set.concat());
        let lost = told.len() - 300;
        let steps = [
            client(fetch(1)),
            server(&told[..lost]),
            Step::Loses(Side::Server, 200),
            server(&told[lost + 200..]),
            client(heartbeat(2)),
            server(response(2, &[0, 0])),
        ];
        let rows = rows(&steps);
        assert_eq!((&rows[0]["api"], &rows[0]["incomplete"]), (&json!("Fetch"), &json!(true)));
        assert_eq!(rows[0]["record_count"], 2);
        assert_eq!(records_of(&rows[0])[0]["value"].as_str().unwrap().len(), 500);
        assert_eq!((&rows[1]["api"], rows[1].get("incomplete")), (&json!("Heartbeat"), None));
    }

    #[test]
    fn after_a_hole_the_next_message_is_found() {
        let (asked, told) = (fetch(2), fetched(2, &batch(0, 0, 1, &record(0, "k", b"v"))));
        let steps = [
            client([&*asked, &heartbeat(3), &heartbeat(9)].concat()),
            server(&told[..50]),
            Step::Loses(Side::Server, 1000),
            server([&told[60..], &response(9, &[0, 25])].concat()),
        ];
        let rows = rows(&steps);
        let told = |row: &Value| {
            (row["correlation_id"].as_i64(), row["error_name"].as_str().map(str::to_owned))
        };
        assert_eq!((told(&rows[0]), &rows[0]["incomplete"]), ((Some(2), None), &json!(true)));
        assert_eq!(told(&rows[1]), (Some(9), Some("UNKNOWN_MEMBER_ID".to_owned())));

        let steps = [
            client([&heartbeat(1), &asked[..30]].concat()),
            Step::Loses(Side::Client, 1000),
            client([&asked[40..], &heartbeat(9)].concat()),
        ];
        let rows = self::rows(&steps);
        let told: Vec<_> = rows
            .iter()
            .map(|it| (it["correlation_id"].as_i64(), it.get("incomplete").is_some()))
            .collect();
        assert_eq!(told, [(Some(1), false), (Some(2), true), (Some(9), false)]);
    }

    #[test]
    fn answers_to_what_was_not_captured_are_told() {
        let steps =
            [server(response(7, &[0, 0])), client(heartbeat(8)), server(response(8, &[0, 0]))];
        let rows = rows(&steps);
        assert_eq!((&rows[0]["verb"], &rows[0]["correlation_id"]), (&json!(""), &json!(7)));
        assert_eq!(rows[1]["status"], 0);
    }

    #[test]
    fn recognised_by_content() {
        let guess = |bytes: &[u8], side| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port: 1 })
        };
        let asked = produce(1, -1, &batch(0, 0, 1, &record(0, "k", b"v")));
        for n in 0..16 {
            assert_eq!(guess(&asked[..n], Side::Client), Guess::More, "{n} bytes");
        }
        for n in 17..=asked.len() {
            assert_eq!(guess(&asked[..n], Side::Client), Guess::Sure, "{n} bytes");
        }
        let nameless = framed(&[&[0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]]);
        assert_eq!(guess(&nameless, Side::Client), Guess::Sure);
        assert_eq!(guess(&request(1, 35, 1, b"new"), Side::Client), Guess::Maybe);
        assert_eq!(guess(&produced(1, 0), Side::Server), Guess::Maybe);
        for noise in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            // PostgreSQL
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"\x00\x00\x00\x54\x00\x03\x00\x00user\0postgres\0database\0postgres\0\0",
            // HTTP/2
            b"\x00\x00\x0c\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x00\xff\xff",
            // An answer of this protocol
            &produced(1, 0),
        ] {
            assert_ne!(guess(noise, Side::Client), Guess::Sure, "{noise:?}");
        }
    }

    proptest! {
        #[test]
        fn a_bent_message_is_only_noise(
            at in 0..400_usize, with: u8, piece in 1..200_usize, missing in 0..50_u64, codec in 0..5_u16,
        ) {
            let set = [batch(0, codec, 2, &record(0, "k", b"value")), message(3, 1, 0, b"old")].concat();
            let mut asked = [produce(1, -1, &set), fetch(2), heartbeat(3)].concat();
            let mut told = [produced(1, 0), fetched(2, &set), response(3, &[0, 0])].concat();
            let length = asked.len();
            asked[at % length] ^= with;
            let length = told.len();
            told[at % length] ^= with;
            let steps = [
                client(&asked), server(&told), Step::Loses(Side::Server, missing), client(&asked),
                Step::Loses(Side::Client, missing), server(&told[at % length..]), client(&asked),
                Step::Ends(Side::Client), Step::Ends(Side::Server),
            ];
            for row in stream::<Dissector>(&steps, piece) {
                for name in ["records", "request_fields", "response_fields"] {
                    if let Some(json) = row.get(name).and_then(Value::as_str) {
                        prop_assert!(serde_json::from_str::<Value>(json).is_ok(), "{json}");
                    }
                }
            }
            guess_request(&asked);
            guess_response(&told);
        }
    }
}
