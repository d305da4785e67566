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
    /// Topics of the request, or of the response if the request names none: the first 1024. Where
    /// only an id was sent, the name that a response on the same connection gave it, else the id.
    /// OpenTelemetry: `messaging.destination.name`.
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
    /// The request's fields by their names in Kafka's protocol: the first 2 KiB of them.
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
    type Body = Body;
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
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        loop {
            let mut reader = match self.under_way(side).take() {
                Some(reader) => reader,
                None => {
                    let reader = match side {
                        Side::Client => self.begin_request(input)?,
                        Side::Server => self.begin_response(input, open)?,
                    };
                    match self.read_at_once(side, reader, input)? {
                        Some(message) => return Ok(message),
                        None => continue,
                    }
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

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Kafka<'_>) {
        let (request, response) = (exchange.request, exchange.response);
        let both = || [request, response].into_iter().flatten();
        let word = |word| both().find_map(|it| it.word(word));
        let asked = |word| request.and_then(|it| it.word(word));

        let api = match request {
            Some(Body { key: Some(key), .. }) => match api(*key) {
                Some(api) => Cow::Borrowed(api.name),
                None => Cow::Owned(format!("Unknown {key}")),
            },
            Some(_) => Cow::Borrowed(SASL_TOKEN),
            None => Cow::Borrowed(""),
        };
        let with_topics = both().find(|it| it.topics().len() > 0);
        let with_partitions = both()
            .find(|it| it.partitions.iter().any(|it| it.offset.is_some()))
            .or_else(|| both().find(|it| !it.partitions.is_empty()));
        let with_records = both().find(|it| it.has_records);
        let of_key = |key_type| {
            let keyed = request.filter(|it| it.key_type == key_type);
            keyed.and_then(|it| it.word(Word::Key))
        };
        let group = word(Word::Group).or_else(|| of_key(0));
        let transaction = word(Word::Transaction).or_else(|| of_key(1));
        let mechanism = asked(Word::Mechanism);
        let error = response.filter(|it| it.has_errors).map(first_error);
        let error_name = error.map(|code| match error_name(code) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(code.to_string()),
        });
        let failed = error.is_some_and(|it| it != 0);
        let error_message = word(Word::ErrorMessage);
        let client_software = match (asked(Word::Software), asked(Word::SoftwareVersion)) {
            (Some(name), Some(version)) => Some(Label(format!("{name} {version}").into())),
            (name, _) => name.map(Label::from),
        };

        let topic = with_topics.map(joined).unwrap_or_default();
        let target = match group {
            Some(group) => Cow::Borrowed(group),
            None if !topic.is_empty() => topic,
            None => {
                transaction.or_else(|| asked(Word::User)).or(mechanism).unwrap_or_default().into()
            }
        };
        let summary = Summary {
            verb: api.clone(),
            target,
            status: error.map(i32::from),
            failed,
            error: error_name.clone().filter(|_| failed).map(|name| match error_message {
                Some(said) => Cow::Owned(format!("{name}: {said}")),
                None => name,
            }),
        };
        let record = Kafka {
            api: Label(api),
            api_key: request.and_then(|it| it.key).map(|it| Code(it.into())),
            api_version: request.filter(|it| it.key.is_some()).map(|it| Code(it.version.into())),
            correlation_id: both().find_map(|it| it.correlation).map(Code),
            client_id: asked(Word::Client).map(Label::from),
            topics: Texts(
                with_topics.map(|it| it.topics().map(Cow::Borrowed).collect()).unwrap_or_default(),
            ),
            partitions: Texts(with_partitions.map(partitions).unwrap_or_default()),
            offsets: Texts(with_partitions.map(offsets).unwrap_or_default()),
            acks: request.and_then(|it| it.acks).map(Code),
            record_count: with_records.map(|it| it.records.count),
            record_bytes: with_records.map(|it| Size(it.records.bytes)),
            compression: with_records
                .and_then(|it| CODECS.get(usize::from(it.records.codec?)))
                .map(|it| Label::from(*it)),
            records: with_records.and_then(|it| it.records.json()).map(Json),
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
            error_name: error_name.map(Label),
            error_message: error_message.map(Cow::Borrowed),
            throttle: response.and_then(|it| it.throttle).map(|it| Duration(it * 1_000_000)),
            request_fields: request.and_then(fields),
            response_fields: response.and_then(fields),
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
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

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
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
    ) -> Result<Option<Message<Body>>, Stop> {
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
            let mut body = Body::default();
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
    fn begin_response(&self, input: &mut Input<'_>, open: &Open<Body>) -> Result<Reader, Stop> {
        let rest = input.rest();
        let size = size(rest).ok_or_else(|| input.short())?;
        if self.is_bare_sasl && size <= TOKEN_BYTES && open.oldest(TOKEN).is_some() {
            input.take(4)?;
            return Ok(Reader::new(&[], Body::default(), u64::from(size)));
        }
        if !(4..=MOST_BYTES).contains(&size) {
            return Err(Stop::Lost);
        }
        let correlation = i32_at(rest, 4).ok_or_else(|| input.short())?;
        let left = u64::from(size) - 4;
        let mut body = Body::default();
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
    fn message(&mut self, side: Side, reader: Reader) -> Option<Message<Body>> {
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
        let mut body = Body::default();
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
    (!body.fields.is_empty()).then(|| Json(Cow::Borrowed(&*body.fields)))
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

fn partitions(body: &Body) -> Vec<Cow<'_, str>> {
    let name = |it: &Partition| {
        let topic = body.topic(it);
        let mut text = String::with_capacity(topic.len() + 4);
        text.push_str(topic);
        text.push('-');
        json::number(&mut text, it.number.into());
        text.into()
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
