//! AMQP 0-9-1 with RabbitMQ's extensions, and its near ancestors 0-8 and 0-9:
//! <https://www.rabbitmq.com/amqp-0-9-1-reference>.
use std::borrow::Cow;
use std::fmt::Write;

use schema::value::{Body as Bytes, Code, Duration, Json, Label, Size, Texts, Time, text};

use super::common::brokers::{Order, SECRET, quote, sender};
use super::{Dissect, Guess, Head, Transport};
use crate::body::{Payload, decompress};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::SECOND;

/// Methods of AMQP 0-9-1, each with the method that answers it and the message that goes with it.
/// What a broker asks of a client, or delivers, is a method whose sender is `server`. Heartbeats
/// (verb `heartbeat`) and the header that opens a connection (verb `protocol-header`) have rows of
/// their own. What a client logs in with is replaced by `***` before anything is kept.
#[derive(schema::Record)]
pub(super) struct Amqp<'a> {
    /// Class and method, such as `basic.publish`; of an answer without its request, the answer's.
    /// OpenTelemetry: `messaging.operation.name`.
    method: Label<'a>,
    /// Which side sent it, `client` or `server`; of an answer without its request, the side that it
    /// was sent to.
    sender: Label<'a>,
    /// The method that answers it, such as `queue.declare-ok`.
    response_method: Option<Label<'a>>,
    /// The channel that it was sent on; 0 is the connection itself.
    channel: Code,
    /// Name of an exchange; empty is the default exchange.
    exchange: Option<Cow<'a, str>>,
    /// Type of an exchange that is declared, such as `topic`.
    exchange_type: Option<Label<'a>>,
    /// The exchange that another one is bound to, or unbound from.
    source_exchange: Option<Cow<'a, str>>,
    /// Key by which a message finds its queues.
    /// OpenTelemetry: `messaging.rabbitmq.destination.routing_key`.
    routing_key: Option<Cow<'a, str>>,
    /// Name of a queue; of one that the broker named, the name from the answer.
    queue: Option<Cow<'a, str>>,
    /// Name of a consumer. OpenTelemetry: `messaging.consumer.group.name`.
    consumer_tag: Option<Cow<'a, str>>,
    /// Number of a delivery. OpenTelemetry: `messaging.rabbitmq.message.delivery_tag`.
    delivery_tag: Option<u64>,
    /// Options that are set, such as `durable` or `no-wait`.
    flags: Texts<'a>,
    /// Arguments of a declaration, binding or consumer; of `connection.start` and its answer, what
    /// the two sides say of themselves.
    arguments: Option<Json<'a>>,
    /// What the answer to `connection.start` says of the client.
    response_arguments: Option<Json<'a>>,
    /// Messages in a queue, or purged or deleted with it.
    message_count: Option<u64>,
    /// Consumers of a queue.
    consumer_count: Option<u64>,
    /// How many messages may be sent before they are acknowledged; 0 is any number.
    prefetch_count: Option<u64>,
    /// Why something is closed or returned, as a number.
    reply_code: Option<Code>,
    /// The same in words.
    reply_text: Option<Cow<'a, str>>,
    /// The method that made the sender close the channel or connection.
    failed_method: Option<Label<'a>>,
    /// Of `connection.open`: the virtual host.
    virtual_host: Option<Cow<'a, str>>,
    /// How the client logs in, such as `PLAIN`; of `connection.start`, how it may, until it is
    /// answered.
    mechanism: Option<Label<'a>>,
    /// Whom the client logs in as. OpenTelemetry: `user.name`.
    user_name: Option<Cow<'a, str>>,
    /// Of `connection.tune`: how many channels there may be, as the answer settles it.
    channel_max: Option<u64>,
    /// Of `connection.tune`: the longest frame.
    frame_max: Option<Size>,
    /// Of `connection.tune`: time between heartbeats, in nanoseconds.
    heartbeat: Option<Duration>,
    /// Type of the message, such as `application/json`.
    content_type: Option<Label<'a>>,
    /// How the message is encoded, such as `gzip`.
    content_encoding: Option<Label<'a>>,
    /// Headers that the application gave the message.
    headers: Option<Json<'a>>,
    /// 1: the message is kept in memory only; 2: it outlives the broker.
    delivery_mode: Option<Code>,
    /// Priority of the message, from 0.
    priority: Option<Code>,
    /// What a reply has in common with its request. OpenTelemetry: `messaging.message.conversation_id`.
    correlation_id: Option<Cow<'a, str>>,
    /// The queue that a reply is to be sent to.
    reply_to: Option<Cow<'a, str>>,
    /// After how many milliseconds the message is dropped, as it was sent.
    expiration: Option<Cow<'a, str>>,
    /// The application's name for the message. OpenTelemetry: `messaging.message.id`.
    message_id: Option<Cow<'a, str>>,
    /// When the application says that it made the message.
    timestamp: Option<Time>,
    /// The application's name for this type of message.
    message_type: Option<Cow<'a, str>>,
    /// The user who published the message, as the broker has checked it.
    user_id: Option<Cow<'a, str>>,
    /// The application that published the message. OpenTelemetry: `messaging.client.id`.
    app_id: Option<Cow<'a, str>>,
    /// The message, decompressed, as far as it was kept.
    body: Option<Bytes<'a>>,
    /// Bytes of the message as it was sent. OpenTelemetry: `messaging.message.body.size`.
    body_size: Option<Size>,
}

/// What a connection is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Half,
    server: Half,
    /// How often a channel was opened or closed, by its number.
    lives: Vec<(u16, u16)>,
    order: Order,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Messages that have not all arrived, by their channels: frames of several may be mixed.
    contents: Vec<Content>,
    /// The frame of a message's body that is under way.
    frame: Option<Frame>,
    /// Looks for a method, and not for the first time.
    is_searching: bool,
}

#[derive(Debug)]
struct Content {
    body: Body,
    key: u64,
    /// How much of the message is still to come; `None` before its header.
    left: Option<u64>,
    incomplete: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    channel: u16,
    left: u64,
}

/// A frame that is no part of a message, or a method with its message.
#[derive(Debug)]
pub(super) struct Body {
    side: Side,
    kind: Kind,
    channel: u16,
    /// The method's arguments, without secrets.
    arguments: Vec<u8>,
    /// Properties of the message.
    properties: Vec<u8>,
    /// Whether a message belongs to it.
    has_content: bool,
    payload: Payload,
    user: Option<Box<str>>,
    decompressed_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Header,
    Heartbeat,
    Method(u16, u16),
}

impl Dissect for Dissector {
    const NAME: &'static str = "amqp";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[5672];
    type Body = Body;
    type Columns = AmqpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        let bytes = head.bytes;
        if bytes.starts_with(b"AMQP") || b"AMQP".starts_with(bytes) {
            return match bytes.get(..8).and_then(|it| it.try_into().ok()) {
                Some(header) if version(header).is_some() => Guess::Sure,
                Some(_) => Guess::No,
                None => Guess::More,
            };
        }
        match frame_start(bytes) {
            Start::Yes => Guess::Sure,
            Start::Perhaps if Self::PORTS.contains(&head.port) => Guess::Maybe,
            Start::Perhaps | Start::No => Guess::No,
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        loop {
            if let Some(content) = self.body_frame(side, input)? {
                return Ok(content.message());
            }
            if let Some(message) = self.frame(side, input, open)? {
                return Ok(message);
            }
            input.commit();
        }
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Amqp<'_>) {
        let is_answer = |it: &&Body| it.answers().is_some();
        let answer = exchange.response.filter(is_answer);
        let asked = exchange.request.or_else(|| exchange.response.filter(|it| !is_answer(it)));
        let from = match (asked, answer) {
            (Some(it), _) => it.side,
            (None, Some(it)) => it.side.other(),
            (None, None) => Side::Client,
        };
        let method = asked.map(Arguments::of).unwrap_or_default();
        let reply = answer.map(Arguments::of).unwrap_or_default();
        let name = asked.or(answer).map(Body::name).unwrap_or_default();
        let with_content = answer.or(asked).filter(|it| it.has_content);
        let properties = with_content.map(|it| Properties::of(&it.properties)).unwrap_or_default();

        let code = method.reply_code.filter(|it| *it >= 300);
        let refused = asked.filter(|it| it.kind == Kind::Header && it.side == Side::Server);
        let is_nack = |it: &Body| it.kind == Kind::Method(60, 120) && it.side == Side::Server;
        let problem = match (refused, asked) {
            (Some(_), _) => Some("the server speaks another version"),
            (None, Some(it)) if is_nack(it) => Some("the broker did not take the message"),
            _ => None,
        };
        let exchange = method.exchange.or(reply.exchange);
        let routing_key = method.routing_key.or(reply.routing_key);
        let asked_queue = method.queue.filter(|it| !it.is_empty());
        let queue = asked_queue.or(reply.queue).or(method.queue);
        let consumer_tag = method.consumer_tag.filter(|it| !it.is_empty());
        let consumer_tag = consumer_tag.or(reply.consumer_tag).or(method.consumer_tag);
        let version = asked.and_then(Body::version);
        let target = match (asked.map(|it| it.kind), exchange, routing_key, queue) {
            (Some(Kind::Header), ..) => version.unwrap_or_default(),
            (Some(Kind::Method(50 | 60, 10..=39 | 70)), .., Some(queue)) => text(queue),
            (Some(Kind::Method(60, _)), Some(b""), Some(key), _) => text(key),
            (Some(Kind::Method(60, _)), Some(exchange), Some(b""), _) => text(exchange),
            (Some(Kind::Method(60, _)), Some(exchange), Some(key), _) => {
                format!("{}:{}", text(exchange), text(key)).into()
            }
            (.., Some(queue)) => text(queue),
            (_, Some(exchange), ..) => text(exchange),
            _ => match method.failed_method.filter(|it| *it != (0, 0)) {
                Some((class, method)) => method_name(class, method),
                None => text(method.virtual_host.or(consumer_tag).unwrap_or_default()),
            },
        };
        let summary = Summary {
            verb: name.clone(),
            target,
            status: method.reply_code.map(i32::from),
            failed: code.is_some() || problem.is_some(),
            error: problem.map(Cow::Borrowed).or_else(|| {
                code.map(|code| match method.reply_text {
                    Some(it) if !it.is_empty() => text(it),
                    _ => code.to_string().into(),
                })
            }),
        };
        let label = |it: Option<&'_ [u8]>| it.map(|it| Label(Cow::Owned(text(it).into_owned())));
        let flags = method.flags.iter().chain(&reply.flags);
        let tuned = if reply.frame_max.is_some() { &reply } else { &method };
        let user = [asked, answer].into_iter().flatten().find_map(|it| it.user.as_deref());
        let failed_method = method.failed_method.filter(|it| *it != (0, 0));
        let record = Amqp {
            method: Label(name),
            sender: sender(from),
            response_method: answer.map(|it| Label(it.name())),
            channel: Code(asked.or(answer).map_or(0, |it| it.channel.into())),
            exchange: exchange.map(text),
            exchange_type: method.exchange_type.map(|it| Label(text(it))),
            source_exchange: method.source.map(text),
            routing_key: routing_key.map(text),
            queue: queue.map(text),
            consumer_tag: consumer_tag.map(text),
            delivery_tag: method.delivery_tag.or(reply.delivery_tag),
            flags: Texts(flags.map(|it| Cow::Borrowed(*it)).collect()),
            arguments: method.table.map(|it| Json(table(it).into())),
            response_arguments: reply.table.map(|it| Json(table(it).into())),
            message_count: method.message_count.or(reply.message_count).map(u64::from),
            consumer_count: reply.consumer_count.map(u64::from),
            prefetch_count: method.prefetch_count.map(u64::from),
            reply_code: method.reply_code.map(|it| Code(it.into())),
            reply_text: method.reply_text.map(text),
            failed_method: failed_method.map(|(class, method)| Label(method_name(class, method))),
            virtual_host: method.virtual_host.map(text),
            mechanism: label(reply.mechanism.or(method.mechanism)),
            user_name: user.map(Cow::Borrowed),
            channel_max: tuned.channel_max.map(u64::from),
            frame_max: tuned.frame_max.map(|it| Size(it.into())),
            heartbeat: tuned.heartbeat.map(|it| Duration(i64::from(it) * SECOND)),
            content_type: properties.content_type.map(|it| Label(text(it))),
            content_encoding: properties.content_encoding.map(|it| Label(text(it))),
            headers: properties.headers.map(|it| Json(table(it).into())),
            delivery_mode: properties.delivery_mode.map(|it| Code(it.into())),
            priority: properties.priority.map(|it| Code(it.into())),
            correlation_id: properties.correlation_id.map(text),
            reply_to: properties.reply_to.map(text),
            expiration: properties.expiration.map(text),
            message_id: properties.message_id.map(text),
            timestamp: properties
                .timestamp
                .and_then(|it| i64::try_from(it).ok()?.checked_mul(SECOND))
                .map(Time),
            message_type: properties.message_type.map(text),
            user_id: properties.user_id.map(text),
            app_id: properties.app_id.map(text),
            body: with_content.map(|it| {
                let coding = properties.content_encoding.unwrap_or_default();
                Bytes(decompress(&[coding], it.payload.bytes(), it.decompressed_bytes).bytes)
            }),
            body_size: with_content.map(|it| Size(it.payload.size())),
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        let user = body.user.as_ref().map_or(0, |it| it.len());
        size_of::<Body>()
            + body.arguments.capacity()
            + body.properties.capacity()
            + body.payload.held()
            + user
    }

    fn held(&self) -> usize {
        let contents = self.client.contents.iter().chain(&self.server.contents);
        let contents: usize = contents.map(|it| Self::weight(&it.body)).sum();
        contents + self.lives.capacity() * size_of::<(u16, u16)>()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let half = self.half(side);
        let frame = half.frame.as_mut().filter(|it| it.left >= missing).ok_or(Stop::Lost)?;
        frame.left -= missing;
        let channel = frame.channel;
        if let Some(content) = half.content(channel) {
            content.body.payload.skip(missing);
            content.left = content.left.map(|it| it.saturating_sub(missing));
            content.incomplete = true;
        }
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        let half = self.half(side);
        let is_searching = half.is_searching;
        *half = Half { is_searching: true, ..Half::default() };
        if !is_searching {
            self.order.lose(side);
        }
        let rest = input.rest();
        // A message whose method was lost is nothing: the next method is looked for.
        let is_start = |at: &usize| {
            let bytes = rest.get(*at..).unwrap_or_default();
            matches!(bytes.first(), Some(&METHOD | &HEARTBEAT)) && frame_start(bytes) == Start::Yes
        };
        match (0..rest.len()).find(is_start) {
            Some(at) => {
                self.half(side).is_searching = false;
                input.take(at)?;
                input.commit();
                Ok(())
            }
            None => {
                input.take(rest.len().saturating_sub(LOOKED_BYTES))?;
                input.commit();
                Err(Stop::More)
            }
        }
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let half = self.half(side);
        let channel = half.frame.take().map(|it| it.channel);
        let place =
            half.contents.iter().position(|it| channel.is_none_or(|at| at == it.body.channel));
        let mut content = half.contents.drain(..).nth(place?)?;
        content.incomplete = true;
        Some(content.message())
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Reads on in the body frame that is under way; gives its message if it ends with it.
    fn body_frame(&mut self, side: Side, input: &mut Input<'_>) -> Result<Option<Content>, Stop> {
        let limit = input.limits().body_bytes;
        let half = self.half(side);
        let Some(mut frame) = half.frame else { return Ok(None) };
        while frame.left > 0 {
            let some = input.some(frame.left)?;
            frame.left -= some.len() as u64;
            half.frame = Some(frame);
            if let Some(content) = half.content(frame.channel) {
                content.body.payload.push(some, limit);
                content.left = content.left.map(|it| it.saturating_sub(some.len() as u64));
            }
            input.commit();
        }
        if input.u8()? != FRAME_END {
            return Err(Stop::Lost);
        }
        half.frame = None;
        let is_done = |it: &Content| it.body.channel == frame.channel && it.left == Some(0);
        let done = half.contents.iter().position(is_done).map(|it| half.contents.remove(it));
        input.commit();
        Ok(done)
    }

    /// Reads the next frame, of a body only its start.
    fn frame(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Option<Message<Body>>, Stop> {
        if input.rest().first() == Some(&b'A') {
            return self.header(side, input).map(Some);
        }
        let limits = input.limits();
        let kind = input.u8()?;
        if !matches!(kind, METHOD..=BODY | OLD_HEARTBEAT | HEARTBEAT) {
            return Err(Stop::Lost);
        }
        let channel = input.u16()?;
        let size = input.u32()?;
        let most = limits.message_bytes.saturating_sub(FRAME_BYTES);
        let whole = usize::try_from(size).ok().filter(|it| *it <= most);
        match kind {
            BODY => {
                let half = self.half(side);
                half.frame = Some(Frame { channel, left: size.into() });
                Ok(None)
            }
            HEADER => {
                let bytes = input.take(whole.ok_or(Stop::Lost)?)?;
                end(input)?;
                self.content_header(side, channel, bytes, limits.body_bytes)
            }
            METHOD => {
                let bytes = input.take(whole.ok_or(Stop::Lost)?)?;
                end(input)?;
                self.method(side, channel, bytes, input, open)
            }
            _ if size == 0 && channel == 0 => {
                end(input)?;
                Ok(Some(Message::notice(Body::new(side, Kind::Heartbeat, 0, input))))
            }
            _ => Err(Stop::Lost),
        }
    }

    /// `AMQP` and a version: how a client begins, and how a server refuses.
    fn header(&mut self, side: Side, input: &mut Input<'_>) -> Result<Message<Body>, Stop> {
        let bytes: [u8; 8] = input.take(8)?.try_into().map_err(|_| Stop::Lost)?;
        let name = version(bytes).ok_or(Stop::Lost)?;
        let mut body = Body::new(side, Kind::Header, 0, input);
        body.arguments = bytes.to_vec();
        let message = Message::notice(body);
        // They share no more than the header.
        Ok(if name.starts_with("0-9") || name.starts_with("0-8") {
            message
        } else {
            message.becomes("amqp-other")
        })
    }

    fn method(
        &mut self,
        side: Side,
        channel: u16,
        bytes: &[u8],
        input: &Input<'_>,
        open: &Open<Body>,
    ) -> Result<Option<Message<Body>>, Stop> {
        let mut it = Reader(bytes);
        let (Some(class), Some(method)) = (it.u16(), it.u16()) else { return Err(Stop::Lost) };
        let kind = Kind::Method(class, method);
        let layout = layout(class, method);
        if layout.is_none() && !METHODS.iter().any(|it| it.0 == class) {
            return Err(Stop::Lost);
        }
        let mut body = Body::new(side, kind, channel, input);
        let (arguments, user) = without_secrets(class, method, it.0);
        body.arguments = arguments;
        body.user = user;
        let no_wait = match layout {
            Some(layout) => {
                let it = Arguments::read(layout.3, &body.arguments).ok_or(Stop::Lost)?;
                it.flags.contains(&"no-wait")
            }
            None => true,
        };
        let limit = input.limits().body_bytes;
        body.arguments.truncate(limit);
        body.arguments.shrink_to_fit();
        let half = self.half(side);
        // What was under way on the channel has no end.
        half.contents.retain(|it| it.body.channel != channel);
        // What was asked on a channel before is not answered after it is opened again.
        if (class, method) == (20, 10) {
            self.renew(channel);
        }
        let key = self.key(&body, open);
        if matches!((class, method), (60, 40 | 50 | 60 | 71)) {
            body.has_content = true;
            let half = self.half(side);
            if half.contents.len() >= CONTENTS {
                return Err(Stop::Lost);
            }
            half.contents.push(Content { body, key, left: None, incomplete: false });
            return Ok(None);
        }
        if matches!((class, method), (20, 41)) {
            self.renew(channel);
        }
        let is_one_way = no_wait || ONE_WAY.contains(&(class, method));
        Ok(Some(match body.answers() {
            Some(_) => Message::response(body).key(key),
            None if is_one_way => Message::notice(body),
            None => Message::request(body).key(key),
        }))
    }

    fn content_header(
        &mut self,
        side: Side,
        channel: u16,
        bytes: &[u8],
        limit: usize,
    ) -> Result<Option<Message<Body>>, Stop> {
        let mut it = Reader(bytes);
        let (Some(_class), Some(_weight), Some(size)) = (it.u16(), it.u16(), it.u64()) else {
            return Err(Stop::Lost);
        };
        let half = self.half(side);
        // Of a message whose method was not captured.
        let Some(place) = half.contents.iter().position(|it| it.body.channel == channel) else {
            return Ok(None);
        };
        let Some(content) = half.contents.get_mut(place) else { return Ok(None) };
        content.left = Some(size);
        content.body.properties = it.0.get(..limit).unwrap_or(it.0).to_vec();
        content.body.payload.expect(size, limit);
        Ok((size == 0).then(|| half.contents.remove(place).message()))
    }

    /// What a request and its answer have in common.
    fn key(&self, body: &Body, open: &Open<Body>) -> u64 {
        let Kind::Method(class, method) = body.kind else { return 0 };
        let life = self.lives.iter().find(|it| it.0 == body.channel).map_or(0, |it| it.1);
        let kind = |awaited: u16| {
            u64::from(life) << 32
                | u64::from(class & 0xff) << 24
                | u64::from(awaited & 0xff) << 16
                | u64::from(body.channel)
        };
        match body.answers() {
            Some(asked) => self.order.answer(body.side.other(), kind(asked), open),
            None => self.order.ask(body.side, kind(method), open),
        }
    }

    fn renew(&mut self, channel: u16) {
        if let Some(it) = self.lives.iter_mut().find(|it| it.0 == channel) {
            it.1 = it.1.wrapping_add(1);
        } else if self.lives.len() < CHANNELS {
            self.lives.push((channel, 1));
        }
    }
}

impl Half {
    fn content(&mut self, channel: u16) -> Option<&mut Content> {
        self.contents.iter_mut().find(|it| it.body.channel == channel)
    }
}

impl Content {
    fn message(self) -> Message<Body> {
        let message = match self.body.answers() {
            Some(_) => Message::response(self.body).key(self.key),
            None => Message::notice(self.body),
        };
        message.incomplete(self.incomplete)
    }
}

impl Body {
    fn new(side: Side, kind: Kind, channel: u16, input: &Input<'_>) -> Self {
        Self {
            side,
            kind,
            channel,
            arguments: Vec::new(),
            properties: Vec::new(),
            has_content: false,
            payload: Payload::default(),
            user: None,
            decompressed_bytes: input.limits().decompressed_bytes,
        }
    }

    fn name(&self) -> Cow<'static, str> {
        match self.kind {
            Kind::Header => "protocol-header".into(),
            Kind::Heartbeat => "heartbeat".into(),
            Kind::Method(class, method) => method_name(class, method),
        }
    }

    /// Of its class, the method that it answers.
    fn answers(&self) -> Option<u16> {
        let Kind::Method(class, method) = self.kind else { return None };
        layout(class, method)?.4
    }

    fn version(&self) -> Option<Cow<'static, str>> {
        let bytes = self.arguments.get(..8)?.try_into().ok()?;
        version(bytes).filter(|_| self.kind == Kind::Header)
    }
}

fn end(input: &mut Input<'_>) -> Result<(), Stop> {
    if input.u8()? == FRAME_END { Ok(()) } else { Err(Stop::Lost) }
}

/// The name of the version that a header asks for.
fn version(header: [u8; 8]) -> Option<Cow<'static, str>> {
    let name = match &header {
        b"AMQP\x01\x01\x00\x09" => "0-9",
        b"AMQP\x01\x01\x08\x00" | b"AMQP\x01\x01\x00\x08" => "0-8",
        b"AMQP\x01\x01\x00\x0a" => "0-10",
        b"AMQP\x00\x01\x00\x00" => "1.0",
        b"AMQP\x02\x01\x00\x00" => "1.0 with TLS",
        b"AMQP\x03\x01\x00\x00" => "1.0 with SASL",
        [b'A', b'M', b'Q', b'P', 0..=3, major @ 0..=9, minor @ 0..=19, revision @ 0..=99] => {
            return Some(format!("{major}-{minor}-{revision}").into());
        }
        _ => return None,
    };
    Some(name.into())
}

#[derive(PartialEq, Eq)]
enum Start {
    Yes,
    Perhaps,
    No,
}

/// Whether a frame begins here.
fn frame_start(bytes: &[u8]) -> Start {
    let mut it = Reader(bytes);
    let (Some(kind), Some(channel), Some(size)) = (it.u8(), it.u16(), it.u32()) else {
        return Start::No;
    };
    let Ok(size) = usize::try_from(size) else { return Start::No };
    let (content, ends) = match it.0.get(..size.saturating_add(1)) {
        Some(whole) => {
            (whole.get(..size).unwrap_or_default(), Some(whole.last() == Some(&FRAME_END)))
        }
        None => (it.0, None),
    };
    if ends == Some(false) || size > FRAME_MOST {
        return Start::No;
    }
    let mut it = Reader(content);
    let class = it.u16();
    let method = it.u16();
    match (kind, class, method) {
        (HEARTBEAT, ..) if size == 0 && channel == 0 && ends.is_some() => Start::Yes,
        (METHOD, Some(class), Some(method)) => match (layout(class, method), ends) {
            (Some(layout), Some(_)) if Arguments::read(layout.3, it.0).is_some() => Start::Yes,
            (Some(_), None) if (class == 10) == (channel == 0) => Start::Perhaps,
            _ => Start::No,
        },
        (HEADER, Some(60), Some(0)) if size >= 14 && channel > 0 => Start::Perhaps,
        (BODY, ..) if channel > 0 && ends.is_some() && size > 0 => Start::Perhaps,
        _ => Start::No,
    }
}

/// Where secrets stand: the answer to how a client may log in is not kept, but for its name.
fn without_secrets(class: u16, method: u16, bytes: &[u8]) -> (Vec<u8>, Option<Box<str>>) {
    let mut it = Reader(bytes);
    let mut clean = || -> Option<(Vec<u8>, Option<Box<str>>)> {
        let mut mechanism: &[u8] = b"";
        if method == 11 {
            it.long()?;
            mechanism = it.short()?;
        }
        let before = bytes.get(..bytes.len() - it.0.len())?;
        let secret = it.long()?;
        let user = user(mechanism, secret);
        let length = u32::try_from(SECRET.len()).ok()?;
        Some(([before, &length.to_be_bytes(), SECRET.as_bytes(), it.0].concat(), user))
    };
    match (class, method) {
        // What cannot be read may be a secret anywhere.
        (10, 11 | 20 | 21 | 70) => clean().unwrap_or_default(),
        _ => (bytes.to_vec(), None),
    }
}

/// Who logs in, where the mechanism says so in clear.
fn user(mechanism: &[u8], secret: &[u8]) -> Option<Box<str>> {
    let name = match mechanism {
        b"PLAIN" => secret.split(|it| *it == 0).nth(1)?,
        b"AMQPLAIN" => {
            let mut it = Reader(secret);
            loop {
                let name = it.short()?;
                let kind = it.u8()?;
                let value = if kind == b'S' { it.long()? } else { return None };
                if name == b"LOGIN" {
                    break value;
                }
            }
        }
        _ => return None,
    };
    Some(text(name.get(..NAME_BYTES).unwrap_or(name)).into())
}

/// A method's arguments.
#[derive(Debug, Default)]
struct Arguments<'b> {
    exchange: Option<&'b [u8]>,
    source: Option<&'b [u8]>,
    exchange_type: Option<&'b [u8]>,
    routing_key: Option<&'b [u8]>,
    queue: Option<&'b [u8]>,
    consumer_tag: Option<&'b [u8]>,
    delivery_tag: Option<u64>,
    flags: Vec<&'static str>,
    table: Option<&'b [u8]>,
    message_count: Option<u32>,
    consumer_count: Option<u32>,
    prefetch_count: Option<u16>,
    reply_code: Option<u16>,
    reply_text: Option<&'b [u8]>,
    failed_method: Option<(u16, u16)>,
    virtual_host: Option<&'b [u8]>,
    mechanism: Option<&'b [u8]>,
    channel_max: Option<u16>,
    frame_max: Option<u32>,
    heartbeat: Option<u16>,
}

impl<'b> Arguments<'b> {
    fn of(body: &'b Body) -> Self {
        let Kind::Method(class, method) = body.kind else { return Self::default() };
        let layout = layout(class, method).map(|it| it.3).unwrap_or_default();
        let mut arguments = Self::default();
        // Long ones were cut: what is there is read.
        arguments.fill(layout, Reader(&body.arguments));
        arguments
    }

    fn read(layout: &[Part], bytes: &'b [u8]) -> Option<Self> {
        let mut arguments = Self::default();
        arguments.fill(layout, Reader(bytes))?;
        Some(arguments)
    }

    fn fill(&mut self, layout: &[Part], mut it: Reader<'b>) -> Option<()> {
        for part in layout {
            match part {
                Part::Skip(n) => drop(it.take(*n)?),
                Part::Short => drop(it.short()?),
                Part::Long => drop(it.long()?),
                Part::Exchange => self.exchange = Some(it.short()?),
                Part::Source => self.source = Some(it.short()?),
                Part::Type => self.exchange_type = Some(it.short()?),
                Part::RoutingKey => self.routing_key = Some(it.short()?),
                Part::Queue => self.queue = Some(it.short()?),
                Part::ConsumerTag => self.consumer_tag = Some(it.short()?),
                Part::DeliveryTag => self.delivery_tag = Some(it.u64()?),
                Part::Flags(names) => {
                    let bits = it.u8()?;
                    let set = names.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
                    self.flags.extend(set.map(|it| *it.1));
                }
                Part::Table => self.table = Some(it.long()?),
                Part::MaybeTable if it.0.is_empty() => {}
                Part::MaybeTable => self.table = Some(it.long()?),
                Part::MessageCount => self.message_count = Some(it.u32()?),
                Part::ConsumerCount => self.consumer_count = Some(it.u32()?),
                Part::PrefetchCount => self.prefetch_count = Some(it.u16()?),
                Part::Reply => {
                    self.reply_code = Some(it.u16()?);
                    self.reply_text = Some(it.short()?);
                }
                Part::Text => self.reply_text = Some(it.short()?),
                Part::Cause => self.failed_method = Some((it.u16()?, it.u16()?)),
                Part::VirtualHost => self.virtual_host = Some(it.short()?),
                Part::Mechanism => self.mechanism = Some(it.short()?),
                Part::Mechanisms => self.mechanism = Some(it.long()?),
                Part::Tune => {
                    self.channel_max = Some(it.u16()?);
                    self.frame_max = Some(it.u32()?);
                    self.heartbeat = Some(it.u16()?);
                }
            }
        }
        Some(())
    }
}

/// What the header of a message says.
#[derive(Debug, Default)]
struct Properties<'b> {
    content_type: Option<&'b [u8]>,
    content_encoding: Option<&'b [u8]>,
    headers: Option<&'b [u8]>,
    delivery_mode: Option<u8>,
    priority: Option<u8>,
    correlation_id: Option<&'b [u8]>,
    reply_to: Option<&'b [u8]>,
    expiration: Option<&'b [u8]>,
    message_id: Option<&'b [u8]>,
    timestamp: Option<u64>,
    message_type: Option<&'b [u8]>,
    user_id: Option<&'b [u8]>,
    app_id: Option<&'b [u8]>,
}

impl<'b> Properties<'b> {
    fn of(bytes: &'b [u8]) -> Self {
        let mut properties = Self::default();
        properties.read(Reader(bytes));
        properties
    }

    fn read(&mut self, mut it: Reader<'b>) -> Option<()> {
        let flags = it.u16()?;
        // The last bit says that more flags follow; no property has one.
        let mut more = flags;
        while more & 1 != 0 {
            more = it.u16()?;
        }
        let has = |bit: u16| flags & (1 << bit) != 0;
        if has(15) {
            self.content_type = Some(it.short()?);
        }
        if has(14) {
            self.content_encoding = Some(it.short()?);
        }
        if has(13) {
            self.headers = Some(it.long()?);
        }
        if has(12) {
            self.delivery_mode = Some(it.u8()?);
        }
        if has(11) {
            self.priority = Some(it.u8()?);
        }
        if has(10) {
            self.correlation_id = Some(it.short()?);
        }
        if has(9) {
            self.reply_to = Some(it.short()?);
        }
        if has(8) {
            self.expiration = Some(it.short()?);
        }
        if has(7) {
            self.message_id = Some(it.short()?);
        }
        if has(6) {
            self.timestamp = Some(it.u64()?);
        }
        if has(5) {
            self.message_type = Some(it.short()?);
        }
        if has(4) {
            self.user_id = Some(it.short()?);
        }
        if has(3) {
            self.app_id = Some(it.short()?);
        }
        Some(())
    }
}

/// Reads what lies in memory.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
    /// Bytes behind a short length.
    fn short(&mut self) -> Option<&'b [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }
    /// Bytes behind a long length: a text, or a table.
    fn long(&mut self) -> Option<&'b [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// A table as a JSON object, up to a bound.
fn table(bytes: &[u8]) -> String {
    let mut json = String::new();
    write_table(&mut json, bytes, 0);
    json
}

fn write_table(json: &mut String, bytes: &[u8], depth: usize) {
    let mut it = Reader(bytes);
    json.push('{');
    let mut comma = "";
    while json.len() < JSON_BYTES {
        let Some(name) = it.short() else { break };
        json.push_str(comma);
        comma = ",";
        quote(json, name);
        json.push(':');
        if write_value(json, &mut it, depth).is_none() {
            json.push_str("null");
            break;
        }
    }
    json.push('}');
}

fn write_value(json: &mut String, it: &mut Reader<'_>, depth: usize) -> Option<()> {
    let number = |json: &mut String, it: i128| write!(json, "{it}").ok();
    match it.u8()? {
        b't' => json.push_str(if it.u8()? == 0 { "false" } else { "true" }),
        b'b' => number(json, i8::from_be_bytes(it.array()?).into())?,
        b'B' => number(json, it.u8()?.into())?,
        // The specification has a short text here, which nobody sends.
        b's' | b'U' => number(json, i16::from_be_bytes(it.array()?).into())?,
        b'u' => number(json, it.u16()?.into())?,
        b'I' => number(json, i32::from_be_bytes(it.array()?).into())?,
        b'i' => number(json, it.u32()?.into())?,
        b'l' | b'L' => number(json, i64::from_be_bytes(it.array()?).into())?,
        b'T' => number(json, it.u64()?.into())?,
        b'f' => write_float(json, f32::from_be_bytes(it.array()?).into()),
        b'd' => write_float(json, f64::from_be_bytes(it.array()?)),
        b'D' => {
            let scale = it.u8()?;
            let value = i32::from_be_bytes(it.array()?);
            write!(json, "{value}e-{scale}").ok()?;
        }
        b'S' | b'x' => quote(json, it.long()?),
        b'F' => {
            let inner = it.long()?;
            if depth < DEPTH {
                write_table(json, inner, depth + 1);
            } else {
                json.push_str("null");
            }
        }
        b'A' => {
            let mut inner = Reader(it.long()?);
            json.push('[');
            let mut comma = "";
            while !inner.0.is_empty() && depth < DEPTH && json.len() < JSON_BYTES {
                json.push_str(comma);
                comma = ",";
                if write_value(json, &mut inner, depth + 1).is_none() {
                    json.push_str("null");
                    break;
                }
            }
            json.push(']');
        }
        b'V' => json.push_str("null"),
        _ => return None,
    }
    Some(())
}

fn write_float(json: &mut String, number: f64) {
    match number.is_finite() {
        true => write!(json, "{number}").unwrap_or_default(),
        false => json.push_str("null"),
    }
}

fn layout(class: u16, method: u16) -> Option<&'static Method> {
    METHODS.iter().find(|it| (it.0, it.1) == (class, method))
}

fn method_name(class: u16, method: u16) -> Cow<'static, str> {
    if let Some(it) = layout(class, method) {
        return it.2.into();
    }
    let class_name = METHODS.iter().find(|it| it.0 == class).and_then(|it| it.2.split('.').next());
    match class_name {
        Some(name) => format!("{name}.{method}").into(),
        None => format!("{class}.{method}").into(),
    }
}

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const OLD_HEARTBEAT: u8 = 4;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xce;

/// One or more arguments, by what they mean.
enum Part {
    Skip(usize),
    Short,
    Long,
    Exchange,
    Source,
    Type,
    RoutingKey,
    Queue,
    ConsumerTag,
    DeliveryTag,
    /// Bits, from the lowest.
    Flags(&'static [&'static str]),
    Table,
    /// One that early versions do not have.
    MaybeTable,
    MessageCount,
    ConsumerCount,
    PrefetchCount,
    Reply,
    Text,
    Cause,
    VirtualHost,
    Mechanism,
    Mechanisms,
    Tune,
}

/// Class, method, name, arguments, and which method of its class it answers.
type Method = (u16, u16, &'static str, &'static [Part], Option<u16>);

#[rustfmt::skip]
const METHODS: &[Method] = {
    use Part::*;
    &[
        (10, 10, "connection.start", &[Skip(2), Table, Mechanisms, Long], None),
        (10, 11, "connection.start-ok", &[Table, Mechanism, Long, Short], Some(10)),
        (10, 20, "connection.secure", &[Long], None),
        (10, 21, "connection.secure-ok", &[Long], Some(20)),
        (10, 30, "connection.tune", &[Tune], None),
        (10, 31, "connection.tune-ok", &[Tune], Some(30)),
        (10, 40, "connection.open", &[VirtualHost, Short, Flags(&["insist"])], None),
        (10, 41, "connection.open-ok", &[Short], Some(40)),
        (10, 50, "connection.close", &[Reply, Cause], None),
        (10, 51, "connection.close-ok", &[], Some(50)),
        (10, 60, "connection.blocked", &[Text], None),
        (10, 61, "connection.unblocked", &[], None),
        (10, 70, "connection.update-secret", &[Long, Text], None),
        (10, 71, "connection.update-secret-ok", &[], Some(70)),
        (20, 10, "channel.open", &[Short], None),
        (20, 11, "channel.open-ok", &[], Some(10)),
        (20, 20, "channel.flow", &[Flags(&["active"])], None),
        (20, 21, "channel.flow-ok", &[Flags(&["active"])], Some(20)),
        (20, 40, "channel.close", &[Reply, Cause], None),
        (20, 41, "channel.close-ok", &[], Some(40)),
        (30, 10, "access.request", &[Short, Flags(&["exclusive", "passive", "active", "write", "read"])], None),
        (30, 11, "access.request-ok", &[], Some(10)),
        (40, 10, "exchange.declare", &[Skip(2), Exchange, Type, Flags(&["passive", "durable", "auto-delete", "internal", "no-wait"]), Table], None),
        (40, 11, "exchange.declare-ok", &[], Some(10)),
        (40, 20, "exchange.delete", &[Skip(2), Exchange, Flags(&["if-unused", "no-wait"])], None),
        (40, 21, "exchange.delete-ok", &[], Some(20)),
        (40, 30, "exchange.bind", &[Skip(2), Exchange, Source, RoutingKey, Flags(&["no-wait"]), Table], None),
        (40, 31, "exchange.bind-ok", &[], Some(30)),
        (40, 40, "exchange.unbind", &[Skip(2), Exchange, Source, RoutingKey, Flags(&["no-wait"]), Table], None),
        (40, 51, "exchange.unbind-ok", &[], Some(40)),
        (50, 10, "queue.declare", &[Skip(2), Queue, Flags(&["passive", "durable", "exclusive", "auto-delete", "no-wait"]), Table], None),
        (50, 11, "queue.declare-ok", &[Queue, MessageCount, ConsumerCount], Some(10)),
        (50, 20, "queue.bind", &[Skip(2), Queue, Exchange, RoutingKey, Flags(&["no-wait"]), Table], None),
        (50, 21, "queue.bind-ok", &[], Some(20)),
        (50, 30, "queue.purge", &[Skip(2), Queue, Flags(&["no-wait"])], None),
        (50, 31, "queue.purge-ok", &[MessageCount], Some(30)),
        (50, 40, "queue.delete", &[Skip(2), Queue, Flags(&["if-unused", "if-empty", "no-wait"])], None),
        (50, 41, "queue.delete-ok", &[MessageCount], Some(40)),
        (50, 50, "queue.unbind", &[Skip(2), Queue, Exchange, RoutingKey, Table], None),
        (50, 51, "queue.unbind-ok", &[], Some(50)),
        (60, 10, "basic.qos", &[Skip(4), PrefetchCount, Flags(&["global"])], None),
        (60, 11, "basic.qos-ok", &[], Some(10)),
        (60, 20, "basic.consume", &[Skip(2), Queue, ConsumerTag, Flags(&["no-local", "no-ack", "exclusive", "no-wait"]), MaybeTable], None),
        (60, 21, "basic.consume-ok", &[ConsumerTag], Some(20)),
        (60, 30, "basic.cancel", &[ConsumerTag, Flags(&["no-wait"])], None),
        (60, 31, "basic.cancel-ok", &[ConsumerTag], Some(30)),
        (60, 40, "basic.publish", &[Skip(2), Exchange, RoutingKey, Flags(&["mandatory", "immediate"])], None),
        (60, 50, "basic.return", &[Reply, Exchange, RoutingKey], None),
        (60, 60, "basic.deliver", &[ConsumerTag, DeliveryTag, Flags(&["redelivered"]), Exchange, RoutingKey], None),
        (60, 70, "basic.get", &[Skip(2), Queue, Flags(&["no-ack"])], None),
        (60, 71, "basic.get-ok", &[DeliveryTag, Flags(&["redelivered"]), Exchange, RoutingKey, MessageCount], Some(70)),
        (60, 72, "basic.get-empty", &[], Some(70)),
        (60, 80, "basic.ack", &[DeliveryTag, Flags(&["multiple"])], None),
        (60, 90, "basic.reject", &[DeliveryTag, Flags(&["requeue"])], None),
        (60, 100, "basic.recover-async", &[Flags(&["requeue"])], None),
        (60, 110, "basic.recover", &[Flags(&["requeue"])], None),
        (60, 111, "basic.recover-ok", &[], Some(110)),
        (60, 120, "basic.nack", &[DeliveryTag, Flags(&["multiple", "requeue"])], None),
        (85, 10, "confirm.select", &[Flags(&["no-wait"])], None),
        (85, 11, "confirm.select-ok", &[], Some(10)),
        (90, 10, "tx.select", &[], None),
        (90, 11, "tx.select-ok", &[], Some(10)),
        (90, 20, "tx.commit", &[], None),
        (90, 21, "tx.commit-ok", &[], Some(20)),
        (90, 30, "tx.rollback", &[], None),
        (90, 31, "tx.rollback-ok", &[], Some(30)),
    ]
};

/// Methods that want no answer.
const ONE_WAY: &[(u16, u16)] =
    &[(10, 60), (10, 61), (60, 40), (60, 50), (60, 60), (60, 80), (60, 90), (60, 100), (60, 120)];

/// Bytes of a frame beside its content.
const FRAME_BYTES: usize = 8;

/// The longest frame that is believed in where a place may be any; RabbitMQ's is 128 KiB.
const FRAME_MOST: usize = 256 << 10;

/// Bytes kept of a stream in which no frame was found: its end may be the start of a method.
const LOOKED_BYTES: usize = 4 << 10;

/// Messages of one direction under way at once, each on its channel.
const CONTENTS: usize = 64;

/// Channels whose lives are counted.
const CHANNELS: usize = 4096;

/// Bytes of a user's name.
const NAME_BYTES: usize = 256;

/// Bytes of a table written as JSON.
const JSON_BYTES: usize = 32 << 10;

/// How deep tables lie in each other.
const DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    fn frame(kind: u8, channel: u16, content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len()).unwrap();
        [&[kind], &channel.to_be_bytes()[..], &size.to_be_bytes(), content, &[FRAME_END]].concat()
    }

    fn method(channel: u16, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
        frame(METHOD, channel, &[&class.to_be_bytes(), &method.to_be_bytes(), arguments].concat())
    }

    fn content(channel: u16, properties: &[u8], body: &[u8]) -> Vec<u8> {
        let size = u64::try_from(body.len()).unwrap();
        let header = [&[0, 60, 0, 0], &size.to_be_bytes()[..], properties].concat();
        let mut bytes = frame(HEADER, channel, &header);
        for part in body.chunks(10) {
            bytes.extend(frame(BODY, channel, part));
        }
        bytes
    }

    fn short(text: &str) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn publish(channel: u16, exchange: &str, key: &str, body: &[u8]) -> Vec<u8> {
        let arguments = [&[0, 0], &short(exchange)[..], &short(key), &[0]].concat();
        [method(channel, 60, 40, &arguments), content(channel, &[0, 0], body)].concat()
    }

    fn declare(channel: u16, queue: &str, bits: u8) -> Vec<u8> {
        method(channel, 50, 10, &[&[0, 0], &short(queue)[..], &[bits], &long(b"")].concat())
    }

    fn rows(steps: &[Step]) -> Vec<Value> {
        drive::however_cut::<Dissector>(steps)
    }

    /// Of each row, what the columns named say.
    fn columns(rows: &[Value], names: &[&str]) -> Value {
        rows.iter().map(|row| names.iter().map(|it| row[it].clone()).collect::<Value>()).collect()
    }

    #[test]
    fn a_message_is_one_row_with_its_properties() {
        let table = [
            &short("a")[..],
            b"I",
            &7_i32.to_be_bytes(),
            &short("b"),
            b"F",
            &long(&[&short("c")[..], b"t\x01"].concat()),
        ]
        .concat();
        let properties = [
            &0b1011_1000_0000_0000_u16.to_be_bytes()[..],
            &short("text/plain"),
            &long(&table),
            &[2, 5],
        ];
        let arguments = [&[0, 0], &short("orders")[..], &short("new"), &[1]].concat();
        let bytes =
            [method(3, 60, 40, &arguments), content(3, &properties.concat(), b"fourteen bytes")];
        let rows = rows(&[client(bytes.concat())]);
        assert_eq!(
            rows,
            [json!({
                "verb": "basic.publish", "target": "orders:new", "method": "basic.publish",
                "sender": "client", "channel": 3, "exchange": "orders", "routing_key": "new",
                "flags": ["mandatory"], "content_type": "text/plain", "delivery_mode": 2, "priority": 5,
                "headers": r#"{"a":7,"b":{"c":true}}"#, "body": "666f75727465656e206279746573", "body_size": 14,
            })]
        );
    }

    #[test]
    fn answers_find_their_methods_on_their_channel() {
        let ok = |channel, name: &str| {
            method(
                channel,
                50,
                11,
                &[&short(name)[..], &3_u32.to_be_bytes(), &[0, 0, 0, 1]].concat(),
            )
        };
        let rows = rows(&[
            client([declare(1, "", 2), declare(2, "b", 0)].concat()),
            server([ok(2, "b"), ok(1, "made.up")].concat()),
            client([method(1, 60, 70, &[&[0, 0], &short("b")[..], &[0]].concat())].concat()),
            server(
                [
                    method(
                        1,
                        60,
                        71,
                        &[&9_u64.to_be_bytes(), &[1][..], &short(""), &short("b"), &[0, 0, 0, 4]]
                            .concat(),
                    ),
                    content(1, &[0, 0], b"hello"),
                ]
                .concat(),
            ),
            client(method(1, 60, 70, &[&[0, 0], &short("b")[..], &[0]].concat())),
            server(method(1, 60, 72, &short(""))),
        ]);
        let names = ["method", "response_method", "channel", "queue", "message_count", "body"];
        assert_eq!(
            columns(&rows, &names),
            json!([
                ["queue.declare", "queue.declare-ok", 2, "b", 3, null],
                ["queue.declare", "queue.declare-ok", 1, "made.up", 3, null],
                ["basic.get", "basic.get-ok", 1, "b", 4, "68656c6c6f"],
                ["basic.get", "basic.get-empty", 1, "b", null, null],
            ])
        );
    }

    #[test]
    fn a_closed_channel_answers_nothing_any_more() {
        let close = [&404_u16.to_be_bytes()[..], &short("NOT_FOUND"), &[0, 50, 0, 10]].concat();
        let rows = rows(&[
            client(declare(1, "none", 1)),
            server(method(1, 20, 40, &close)),
            client(
                [method(1, 20, 41, b""), method(1, 20, 10, &short("")), declare(1, "some", 0)]
                    .concat(),
            ),
            server(
                [
                    method(1, 20, 11, &long(b"")),
                    method(1, 50, 11, &[&short("some")[..], &[0; 8]].concat()),
                ]
                .concat(),
            ),
        ]);
        let names =
            ["method", "sender", "response_method", "target", "status", "error", "failed_method"];
        assert_eq!(
            columns(&rows, &names),
            json!([
                [
                    "channel.close",
                    "server",
                    "channel.close-ok",
                    "queue.declare",
                    404,
                    "NOT_FOUND",
                    "queue.declare"
                ],
                ["channel.open", "client", "channel.open-ok", "", null, null, null],
                ["queue.declare", "client", "queue.declare-ok", "some", null, null, null],
                ["queue.declare", "client", null, "none", null, null, null],
            ])
        );
    }

    #[test]
    fn what_lets_someone_in_is_not_kept() {
        let start = [&[0, 9], &long(b"")[..], &long(b"PLAIN AMQPLAIN"), &long(b"en_US")].concat();
        let answer =
            [&long(b"")[..], &short("PLAIN"), &long(b"\0guest\0secret"), &short("en_US")].concat();
        let rows = rows(&[
            client(b"AMQP\x00\x00\x09\x01"),
            server(method(0, 10, 10, &start)),
            client(method(0, 10, 11, &answer)),
            client(method(0, 10, 70, &[&long(b"secret")[..], &short("old")].concat())),
        ]);
        let names = ["method", "sender", "mechanism", "user_name"];
        assert_eq!(
            columns(&rows, &names),
            json!([
                ["protocol-header", "client", null, null],
                ["connection.start", "server", "PLAIN", "guest"],
                ["connection.update-secret", "client", null, null],
            ])
        );
        let (kept, user) = without_secrets(10, 11, &answer);
        assert!(!text(&kept).contains("secret") && text(&kept).contains("***"), "{kept:?}");
        assert_eq!(user.as_deref(), Some("guest"));
        let table =
            [&short("LOGIN")[..], b"S", &long(b"me"), &short("PASSWORD"), b"S", &long(b"secret")];
        let answer =
            [&long(b"")[..], &short("AMQPLAIN"), &long(&table.concat()), &short("")].concat();
        let (kept, user) = without_secrets(10, 11, &answer);
        assert!(!text(&kept).contains("secret"), "{kept:?}");
        assert_eq!(user.as_deref(), Some("me"));
        assert_eq!(without_secrets(10, 21, b"\0\0\0\x09secret").0, b"");
    }

    #[test]
    fn messages_of_several_channels_may_be_mixed() {
        let first = publish(1, "", "one", b"0123456789abcdefghij");
        let second = publish(2, "", "two", b"x");
        let (head, tail) = first.split_at(first.len() - 18);
        let rows = rows(&[client([head, &second, &frame(HEARTBEAT, 0, b""), tail].concat())]);
        assert_eq!(
            columns(&rows, &["verb", "target", "body_size"]),
            json!([
                ["basic.publish", "two", 1],
                ["heartbeat", "", null],
                ["basic.publish", "one", 20]
            ])
        );
    }

    #[test]
    fn loss_costs_what_it_touches() {
        let message = publish(1, "", "one", b"0123456789");
        let (head, tail) = message.split_at(message.len() - 6);
        let within = [
            client(head),
            Step::Loses(Side::Client, 5),
            client(tail.get(5..).unwrap()),
            client(declare(1, "a", 16)),
        ];
        let rows = rows(&within);
        assert_eq!(
            columns(&rows, &["target", "incomplete", "body_size", "flags"]),
            json!([["one", true, 10, []], ["a", null, null, ["no-wait"]]])
        );
        let across = [
            client(head),
            Step::Loses(Side::Client, 5000),
            client(b"rest of a body\xce"),
            client(&message),
        ];
        assert_eq!(
            columns(&self::rows(&across), &["target", "incomplete", "body_size"]),
            json!([["one", true, 5], ["one", null, 10]])
        );
    }

    #[test]
    fn other_versions_are_named_and_left_alone() {
        let rows = rows(&[client(b"AMQP\x03\x01\x00\x00"), server(b"AMQP\x03\x01\x00\x00")]);
        assert_eq!(rows[0]["target"], "1.0 with SASL");
        assert_eq!(rows[1], "becomes amqp-other");
        let refused =
            self::rows(&[client(b"AMQP\x00\x00\x09\x01"), server(b"AMQP\x00\x01\x00\x00")]);
        assert_eq!(refused[1]["error"], "the server speaks another version");
    }

    #[test]
    fn tables_in_tables_end_somewhere() {
        let mut bytes = short("a");
        bytes.push(b'V');
        for _ in 0..40 {
            bytes = [&short("a")[..], b"F", &long(&bytes)].concat();
        }
        let json = table(&bytes);
        assert!(json.starts_with(r#"{"a":{"a":"#) && json.contains("null"), "{json}");
        assert!(serde_json::from_str::<Value>(&json).is_ok(), "{json}");
        let odd = [
            &short("f")[..],
            b"d",
            &f64::NAN.to_be_bytes(),
            &short("d"),
            b"D\x02",
            &150_i32.to_be_bytes(),
            &short("l"),
            b"A",
            &long(b"b\xffu\x01\x00V"),
            &short("?"),
            b"?",
        ]
        .concat();
        assert_eq!(table(&odd), r#"{"f":null,"d":150e-2,"l":[-1,256,null],"?":null}"#);
    }

    #[test]
    fn only_its_own_bytes_are_taken_for_it() {
        let guess = |bytes: &[u8], side, port| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port })
        };
        assert_eq!(guess(b"AMQP\x00\x00\x09\x01", Side::Client, 1), Guess::Sure);
        assert_eq!(guess(b"AM", Side::Client, 1), Guess::More);
        assert_eq!(guess(b"AMQPlain", Side::Client, 5672), Guess::No);
        assert_eq!(guess(&declare(1, "a", 0), Side::Client, 1), Guess::Sure);
        assert_eq!(guess(&frame(BODY, 1, b"abc"), Side::Client, 1), Guess::No);
        assert_eq!(guess(&frame(BODY, 1, b"abc"), Side::Client, 5672), Guess::Maybe);
        assert_eq!(guess(b"\x01\x00\x01\x00\x00\x00\x08\x00\x01", Side::Client, 5672), Guess::No);
    }
}
