//! QUIC up to where it can be read: the Initial packets of versions 1 and 2, of drafts from 21 on,
//! and of Google's versions with the same shape. RFC 9000 §17, RFC 9001 §5, RFC 9369.
use std::borrow::Cow;

use schema::value::{Duration, Label, Texts, text};

use self::initial::{Keys, Q050, T050, T051, VERSION_2, VERSION_2_DRAFT};
use super::tls::fingerprint;
use super::tls::hello::{
    CLIENT_HELLO, Carrier, ClientHello, Offer, PRE_SHARED_KEY, Reader, SERVER_HELLO, ServerHello,
};
use super::tls::names;
use super::tls::pieces::Pieces;
use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Learned, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::render::hex;

mod initial;

/// How QUIC connections begin: what the client offers (`request_…`), what the server chooses. A
/// client that is asked for another hello or another version gets a row for each; of Google's own
/// versions, so does one that sends its hello again. What follows is encrypted.
#[derive(schema::Record)]
pub(super) struct Quic<'a> {
    /// The server that the client wants to reach (SNI). OpenTelemetry: `tls.client.server_name`.
    server_name: Option<Cow<'a, str>>,
    /// The version of QUIC: `1`, `2`, `draft-29`, `Q050`. OpenTelemetry: `network.protocol.version`.
    version: Option<Label<'a>>,
    /// The version of TLS chosen, such as `TLS 1.3`; null without an answer. OpenTelemetry:
    /// `tls.protocol.version`, with `tls.protocol.name` in front.
    tls_version: Option<Label<'a>>,
    /// The cipher suite chosen, by its IANA name. OpenTelemetry: `tls.cipher`.
    cipher: Option<Label<'a>>,
    /// The group in which keys are exchanged, such as `x25519`. OpenTelemetry: `tls.curve`.
    group: Option<Label<'a>>,
    /// Whether they go on with an earlier session. OpenTelemetry: `tls.resumed`.
    resumed: Option<bool>,
    /// Whether the server first wanted to see the client's address again (Retry).
    retry: Option<bool>,
    /// Whether the server asked for another hello (HelloRetryRequest).
    hello_retry: Option<bool>,
    /// Versions the server speaks, if it does not speak the client's.
    versions: Texts<'a>,
    /// Why the connection was closed before it was set up: an alert's name, such as
    /// `no_application_protocol`, or that of QUIC's own error.
    close_error: Option<Label<'a>>,
    /// The same in the words of the side that closed it.
    close_reason: Option<Cow<'a, str>>,
    /// Who closed it: `client` or `server`.
    close_from: Option<Label<'a>>,
    /// The connection as the client names it to the server at first, in hexadecimal.
    destination_id: Option<Cow<'a, str>>,
    /// The connection as the server names it to the client, in hexadecimal.
    client_id: Option<Cow<'a, str>>,
    /// The connection as the client names it to the server from then on, in hexadecimal.
    server_id: Option<Cow<'a, str>>,
    /// Whether the client shows a token that the server gave it before.
    request_token: Option<bool>,
    /// Versions of TLS the client offers.
    request_versions: Texts<'a>,
    /// Cipher suites the client offers, in its order. OpenTelemetry:
    /// `tls.client.supported_ciphers`.
    request_ciphers: Texts<'a>,
    /// Protocols the client would speak inside (ALPN), in its order, such as `h3`.
    request_alpn: Texts<'a>,
    /// Groups in which the client would exchange keys, in its order.
    request_groups: Texts<'a>,
    /// Signatures the client understands, in its order.
    request_signature_algorithms: Texts<'a>,
    /// Extensions of the client's hello, in its order.
    request_extensions: Texts<'a>,
    /// Whether the client asks to go on with an earlier session.
    request_resumption: Option<bool>,
    /// Whether the client sends data before the server answers (0-RTT).
    request_early_data: Option<bool>,
    /// Whether an encrypted hello lies inside the client's (ECH), or what looks like one.
    request_encrypted_hello: Option<bool>,
    /// After how much silence the client gives the connection up; null if never.
    request_idle_timeout: Option<Duration>,
    /// What the client's program calls itself; Google's tell. OpenTelemetry:
    /// `user_agent.original`.
    request_user_agent: Option<Cow<'a, str>>,
    /// Extensions of the server's hello, in its order.
    response_extensions: Texts<'a>,
    /// Fingerprint of the client by what it offers (MD5). OpenTelemetry: `tls.client.ja3`.
    ja3: Option<Cow<'a, str>>,
    /// Fingerprint of the client that does not depend on the order of its offers (FoxIO).
    ja4: Option<Cow<'a, str>>,
    /// Fingerprint of the server by what it chooses (MD5). OpenTelemetry: `tls.server.ja3s`.
    ja3s: Option<Cow<'a, str>>,
}

/// One connection, up to the server's hello.
#[derive(Default)]
pub(super) struct Dissector {
    version: u32,
    /// What opens the Initials; made of the destination that the client named first.
    keys: Option<Box<Keys>>,
    destination: Vec<u8>,
    /// How often keys were made.
    tries: u32,
    client: Crypto,
    server: Crypto,
    /// The name under which a client that was told to come again will come.
    retried: Option<Vec<u8>>,
    done: bool,
}

/// The stream of handshake messages of one side.
#[derive(Debug, Default)]
struct Crypto {
    pieces: Pieces,
    /// How much of it was read.
    read: usize,
}

/// A client's hello, or what answers it.
#[derive(Debug)]
pub(super) enum Body {
    /// The client's hello.
    Hello(Box<Hello>),
    /// What the server says to it, or why there is no more.
    Answer(Box<Answer>),
}

/// A client's hello with what came around it.
#[derive(Debug)]
pub(super) struct Hello {
    version: u32,
    destination: Box<[u8]>,
    source: Box<[u8]>,
    token: bool,
    /// Of TLS; of QUIC before there was TLS in it, Google's.
    message: Box<[u8]>,
}

/// The server's hello with what came around it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    version: u32,
    source: Box<[u8]>,
    hello: Option<Box<[u8]>>,
    retry: bool,
    versions: Vec<u32>,
    close: Option<Close>,
}

/// The end of a connection before it was set up.
#[derive(Debug)]
struct Close {
    side: Side,
    code: u64,
    reason: Box<[u8]>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "quic";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp];
    const PORTS: &'static [u16] = &[443, 80, 784, 853, 4433, 4434, 6121, 8443, 8853];
    type Body = Body;
    type Columns = QuicColumns;

    fn guess(head: &Head<'_>) -> Guess {
        let mut from = Reader(head.bytes);
        let Some(packet) = LongHead::of(&mut from) else { return Guess::No };
        if packet.kind != Kind::Initial || !initial::is_known(packet.version) {
            return Guess::No;
        }
        // What a client calls a server it has not met is long and random (RFC 9000 §7.2).
        if head.side == Side::Client && packet.destination.len() < LEAST_FIRST_ID {
            return Guess::No;
        }
        let token = varint(&mut from).and_then(|it| from.take(usize::try_from(it).ok()?));
        let length = token.and_then(|_| varint(&mut from));
        let fits = length.is_some_and(|it| {
            it >= LEAST_INITIAL && usize::try_from(it).is_ok_and(|it| it <= from.0.len())
        });
        if fits { Guess::Sure } else { Guess::No }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        _open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        loop {
            let rest = input.rest();
            if rest.is_empty() {
                return Err(Stop::More);
            }
            let mut from = Reader(rest);
            let message = match self.done {
                true => {
                    from = Reader(&[]);
                    None
                }
                false => self.packet(side, &mut from),
            };
            input.take(rest.len() - from.0.len())?;
            input.commit();
            if let Some(message) = message {
                return Ok(message);
            }
        }
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Quic<'_>) {
        let asked = exchange.request.and_then(|it| match it {
            Body::Hello(hello) => Some(&**hello),
            Body::Answer(_) => None,
        });
        let answer = exchange.response.and_then(|it| match it {
            Body::Answer(answer) => Some(&**answer),
            Body::Hello(_) => None,
        });
        let hello = asked.and_then(Hello::tls);
        let google = asked.and_then(Hello::google);
        let mut offer = hello.as_ref().map(Offer::of).unwrap_or_default();
        if let Some(google) = &google {
            offer.server_name = google.value(b"SNI\0").map(text);
        }
        let chosen = answer.and_then(Answer::tls);
        let close = answer.and_then(|it| it.close.as_ref());
        let has_failed = close.is_some_and(|it| it.code != 0)
            || answer.is_some_and(|it| !it.versions.is_empty());
        let close_error = close.map(Close::name);
        let parameters = hello.as_ref().map(Parameters::of).unwrap_or_default();
        let user_agent = parameters.user_agent.or_else(|| google.and_then(|it| it.value(b"UAID")));
        let id = |it: &[u8]| Cow::Owned(hex(it));

        let summary = Summary {
            verb: match (asked, answer) {
                (Some(_), _) => "ClientHello".into(),
                (None, Some(it)) if it.hello.is_some() => "ServerHello".into(),
                (None, Some(it)) if !it.versions.is_empty() => "VersionNegotiation".into(),
                (None, _) => "Close".into(),
            },
            target: offer.server_name.clone().unwrap_or_default(),
            status: None,
            failed: has_failed,
            error: match (&close_error, has_failed) {
                (Some(name), true) => Some(name.clone()),
                (None, true) => Some("version not supported".into()),
                (_, false) => None,
            },
        };
        let record = Quic {
            server_name: offer.server_name,
            version: asked
                .map(|it| it.version)
                .or_else(|| answer.map(|it| it.version))
                .map(|it| version_name(it).into()),
            tls_version: chosen.map(|it| names::version(it.chosen()).into()),
            cipher: chosen.map(|it| names::cipher(it.cipher).into()),
            group: chosen.and_then(|it| it.group()).map(|it| names::group(it).into()),
            resumed: chosen
                .filter(|it| !it.is_retry())
                .map(|it| it.extension(PRE_SHARED_KEY).is_some()),
            retry: answer.map(|it| it.retry),
            hello_retry: chosen.map(|it| it.is_retry()),
            versions: Texts(
                answer
                    .into_iter()
                    .flat_map(|it| &it.versions)
                    .map(|it| version_name(*it))
                    .collect(),
            ),
            close_error: close_error.map(Label),
            close_reason: close.filter(|it| !it.reason.is_empty()).map(|it| text(&it.reason)),
            close_from: close.map(|it| match it.side {
                Side::Client => "client".into(),
                Side::Server => "server".into(),
            }),
            destination_id: asked.map(|it| id(&it.destination)),
            client_id: asked.map(|it| id(&it.source)),
            server_id: answer.filter(|it| it.versions.is_empty()).map(|it| id(&it.source)),
            request_token: asked.map(|it| it.token),
            request_versions: Texts(offer.versions),
            request_ciphers: Texts(offer.ciphers),
            request_alpn: Texts(offer.alpn),
            request_groups: Texts(offer.groups),
            request_signature_algorithms: Texts(offer.signatures),
            request_extensions: Texts(offer.extensions),
            request_resumption: hello.map(|it| it.wants_resumption()),
            request_early_data: hello.map(|it| it.has_early_data()),
            request_encrypted_hello: hello.map(|it| it.has_encrypted_hello()),
            request_idle_timeout: parameters.idle_timeout.map(Duration),
            request_user_agent: user_agent.map(text),
            response_extensions: Texts(
                chosen
                    .into_iter()
                    .flat_map(|it| it.extensions())
                    .map(|(code, _)| names::extension(code))
                    .collect(),
            ),
            ja3: hello.and_then(|it| fingerprint::ja3(&it)).map(Cow::Owned),
            ja4: hello.and_then(|it| fingerprint::ja4(&it)).map(Cow::Owned),
            ja3s: chosen.and_then(|it| fingerprint::ja3s(&it)).map(Cow::Owned),
        };
        (summary, record)
    }

    fn learned(body: &Body) -> Option<Learned> {
        Some(Learned {
            server_name: body.server_name().map(str::to_owned),
            alpn: body.alpn().map(str::to_owned),
            encrypted: true,
            announces: None,
        })
    }

    fn weight(body: &Body) -> usize {
        match body {
            Body::Hello(hello) => hello.message.len(),
            Body::Answer(answer) => answer.hello.as_ref().map_or(0, |it| it.len()),
        }
    }

    fn held(&self) -> usize {
        let keys = self.keys.as_ref().map_or(0, |_| size_of::<Keys>());
        keys + self.client.pieces.held() + self.server.pieces.held()
    }

    fn resync(&mut self, _side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        // Every datagram begins anew.
        let rest = input.rest();
        input.take(rest.len())?;
        input.commit();
        Ok(())
    }
}

impl Dissector {
    /// The next packet of a datagram; what it completes.
    fn packet(&mut self, side: Side, from: &mut Reader<'_>) -> Option<Message<Body>> {
        let whole = from.0;
        let head = LongHead::of(from);
        let content = std::mem::take(from);
        // A short head, or nothing we know: the rest of the datagram is of no use.
        let head = head?;
        match head.kind {
            Kind::Negotiation => self.negotiation(side, content.0),
            Kind::Retry => {
                self.retry(side, &head);
                None
            }
            Kind::Initial | Kind::Other => {
                let mut content = content;
                let mut has_token = false;
                if head.kind == Kind::Initial {
                    let length = usize::try_from(varint(&mut content)?).ok()?;
                    has_token = !content.take(length)?.is_empty();
                }
                let length = usize::try_from(varint(&mut content)?).ok()?;
                let number_at = whole.len() - content.0.len();
                content.take(length)?;
                *from = content;
                if head.kind == Kind::Other {
                    return None;
                }
                let packet = whole.get(..number_at + length)?;
                let frames = self.open(side, &head, packet, number_at)?;
                self.frames(side, &head, has_token, &frames)
            }
        }
    }

    /// What an Initial holds.
    fn open(
        &mut self,
        side: Side,
        head: &LongHead<'_>,
        packet: &[u8],
        number_at: usize,
    ) -> Option<Vec<u8>> {
        let keys = self.keys.as_ref().filter(|_| head.version == self.version);
        if let Some(frames) = keys.and_then(|it| it.open(side, packet, number_at)) {
            return Some(frames);
        }
        if side == Side::Server || self.tries >= MOST_TRIES || head.destination == self.destination
        {
            return None;
        }
        self.tries += 1;
        let keys = Keys::new(head.version, head.destination)?;
        let frames = keys.open(side, packet, number_at)?;
        if self.retried.as_deref() != Some(head.destination) {
            // Another connection between the same ends.
            self.client = Crypto::default();
            self.server = Crypto::default();
            self.retried = None;
        }
        self.version = head.version;
        self.destination = head.destination.to_vec();
        self.keys = Some(keys);
        Some(frames)
    }

    /// The server wants to see the client again, under another name (RFC 9000 §8.1.2).
    fn retry(&mut self, side: Side, head: &LongHead<'_>) {
        if side == Side::Server && self.keys.is_some() && self.retried.is_none() {
            self.retried = Some(head.source.to_vec());
        }
    }

    /// The server does not speak the client's version.
    fn negotiation(&mut self, side: Side, content: &[u8]) -> Option<Message<Body>> {
        if side == Side::Client || self.client.read == 0 {
            return None;
        }
        let versions = content.chunks_exact(4).filter_map(|it| it.try_into().ok());
        let versions = versions.map(u32::from_be_bytes).take(MOST_VERSIONS).collect();
        let answer = Answer { version: self.version, versions, ..Answer::default() };
        self.client = Crypto::default();
        self.keys = None;
        self.destination = Vec::new();
        Some(Message::response(Body::Answer(Box::new(answer))))
    }

    fn frames(
        &mut self,
        side: Side,
        head: &LongHead<'_>,
        has_token: bool,
        frames: &[u8],
    ) -> Option<Message<Body>> {
        let is_google = matches!(head.version, Q050 | T050 | T051);
        let mut from = Reader(frames);
        let mut close = None;
        while let Some(frame) = frame(&mut from, is_google) {
            match frame {
                Frame::Crypto { at, content } => {
                    let crypto = match side {
                        Side::Client => &mut self.client,
                        Side::Server => &mut self.server,
                    };
                    if is_google && at == 0 && side == Side::Client {
                        crypto.read = 0;
                    }
                    crypto.pieces.put(at, content, MOST_CRYPTO_BYTES);
                }
                Frame::Close { code, reason } => {
                    close = Some(Close { side, code, reason: reason.into() });
                }
                Frame::Other => {}
            }
        }
        if let Some(message) = self.message(side, head, has_token) {
            return Some(message);
        }
        let close = close.filter(|_| self.client.read > 0)?;
        self.done = true;
        let close = Some(close);
        let answer = Answer { close, ..self.answer(head) };
        Some(Message::response(Body::Answer(Box::new(answer))).becomes("encrypted"))
    }

    fn answer(&self, head: &LongHead<'_>) -> Answer {
        Answer {
            version: self.version,
            source: head.source.into(),
            retry: self.retried.is_some(),
            ..Answer::default()
        }
    }

    /// The next handshake message, if it has all arrived.
    fn message(
        &mut self,
        side: Side,
        head: &LongHead<'_>,
        has_token: bool,
    ) -> Option<Message<Body>> {
        let crypto = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let unread = crypto.pieces.front().get(crypto.read..)?;
        let whole = match Google::length(unread) {
            Some(length) => length,
            None => Reader(unread.get(1..)?).number(3)? + 4,
        };
        let message = unread.get(..whole)?;
        let kind = *message.first()?;
        let body = message.get(4..)?;
        match side {
            Side::Client => {
                let is_google = Google::of(message).is_some();
                if !is_google
                    && (kind != CLIENT_HELLO || ClientHello::of(Carrier::Quic, body).is_none())
                {
                    return None;
                }
                let hello = Hello {
                    version: head.version,
                    destination: head.destination.into(),
                    source: head.source.into(),
                    token: has_token,
                    message: message.into(),
                };
                crypto.read += whole;
                Some(Message::request(Body::Hello(Box::new(hello))))
            }
            Side::Server => {
                let is_retry = ServerHello::of(body).filter(|_| kind == SERVER_HELLO)?.is_retry();
                let hello = Some(body.into());
                crypto.read += whole;
                let answer = Answer { hello, ..self.answer(head) };
                let message = Message::response(Body::Answer(Box::new(answer)));
                if is_retry {
                    return Some(message);
                }
                // Nothing that follows can be read.
                self.done = true;
                self.keys = None;
                Some(message.becomes("encrypted"))
            }
        }
    }
}

impl Body {
    /// The name of the server that the client wants to reach.
    fn server_name(&self) -> Option<&str> {
        let Self::Hello(hello) = self else { return None };
        let name = match hello.google() {
            Some(google) => google.value(b"SNI\0"),
            None => hello.tls()?.server_name(),
        };
        std::str::from_utf8(name?).ok()
    }

    /// The protocol spoken inside, if the client offers only one: the server's choice is encrypted.
    fn alpn(&self) -> Option<&str> {
        let Self::Hello(hello) = self else { return None };
        let mut offered = hello.tls()?.alpn();
        let first = offered.next().filter(|_| offered.next().is_none());
        std::str::from_utf8(first?).ok()
    }
}

impl Hello {
    fn tls(&self) -> Option<ClientHello<'_>> {
        match self.google() {
            Some(_) => None,
            None => ClientHello::of(Carrier::Quic, self.message.get(4..)?),
        }
    }

    fn google(&self) -> Option<Google<'_>> {
        Google::of(&self.message)
    }
}

impl Answer {
    fn tls(&self) -> Option<ServerHello<'_>> {
        self.hello.as_deref().and_then(ServerHello::of)
    }
}

impl Close {
    fn name(&self) -> Cow<'static, str> {
        let known = usize::try_from(self.code).ok().and_then(|it| ERRORS.get(it));
        match (known, self.code) {
            (Some(name), _) => Cow::Borrowed(*name),
            (None, 0x100..0x200) => names::alert((self.code & 0xff) as u8),
            (None, code) => format!("0x{code:x}").into(),
        }
    }
}

/// What a client says of itself and of the connection (RFC 9000 §18).
#[derive(Debug, Default)]
struct Parameters<'a> {
    /// In nanoseconds.
    idle_timeout: Option<i64>,
    user_agent: Option<&'a [u8]>,
}

impl<'a> Parameters<'a> {
    fn of(hello: &ClientHello<'a>) -> Self {
        let mut found = Self::default();
        let list = hello.extension(PARAMETERS).or_else(|| hello.extension(DRAFT_PARAMETERS));
        let mut from = Reader(list.unwrap_or_default());
        while let Some((code, value)) = parameter(&mut from) {
            match code {
                MAX_IDLE_TIMEOUT => {
                    found.idle_timeout = varint(&mut Reader(value))
                        .filter(|it| *it > 0)
                        .and_then(|it| i64::try_from(it).ok()?.checked_mul(1_000_000));
                }
                USER_AGENT => found.user_agent = Some(value),
                _ => {}
            }
        }
        found
    }
}

fn parameter<'a>(from: &mut Reader<'a>) -> Option<(u64, &'a [u8])> {
    let (code, length) = (varint(from)?, varint(from)?);
    Some((code, from.take(usize::try_from(length).ok()?)?))
}

/// A hello of Google's own handshake: tags and values.
struct Google<'a> {
    /// Tags, each with where its value ends.
    index: &'a [u8],
    values: &'a [u8],
}

impl<'a> Google<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let (index, values) = message
            .strip_prefix(b"CHLO")?
            .get(4..)?
            .split_at_checked(usize::from(*message.get(4)?) * 8)?;
        Some(Self { index, values })
    }

    /// How long it will be, once its index is there; a list without end if it is not.
    fn length(message: &'a [u8]) -> Option<usize> {
        if !message.starts_with(b"CHLO") {
            return None;
        }
        let last = Self::of(message).and_then(|it| {
            let end = it.index.chunks_exact(8).next_back()?.get(4..)?.try_into().ok()?;
            Some(8 + it.index.len() + usize::try_from(u32::from_le_bytes(end)).ok()?)
        });
        Some(last.unwrap_or(usize::MAX))
    }

    fn value(&self, tag: &[u8; 4]) -> Option<&'a [u8]> {
        let mut start = 0;
        for entry in self.index.chunks_exact(8) {
            let (name, end) = entry.split_at_checked(4)?;
            let end = usize::try_from(u32::from_le_bytes(end.try_into().ok()?)).ok()?;
            if name == tag {
                return self.values.get(start..end);
            }
            start = end;
        }
        None
    }
}

/// The part of a long head that all versions have alike (RFC 8999), and what kind it says.
struct LongHead<'a> {
    kind: Kind,
    version: u32,
    destination: &'a [u8],
    source: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Initial,
    /// Of which only the length can be read.
    Other,
    Retry,
    Negotiation,
}

impl<'a> LongHead<'a> {
    fn of(from: &mut Reader<'a>) -> Option<Self> {
        let first = from.u8().filter(|it| it & 0x80 != 0)?;
        let version = from.u32()?;
        let destination = from.list(1).filter(|it| it.len() <= MOST_ID_BYTES)?;
        let source = from.list(1).filter(|it| it.len() <= MOST_ID_BYTES)?;
        let code = first >> 4 & 3;
        // Version 2 counts from another one.
        let code = if initial::is_second(version) { (code + 3) & 3 } else { code };
        let kind = match (version, code) {
            (0, _) => Kind::Negotiation,
            (_, 0) => Kind::Initial,
            (_, 3) => Kind::Retry,
            _ => Kind::Other,
        };
        let is_fixed = first & 0x40 != 0 || kind == Kind::Negotiation;
        is_fixed.then_some(Self { kind, version, destination, source })
    }
}

/// A frame, as far as it matters here.
enum Frame<'a> {
    Crypto { at: usize, content: &'a [u8] },
    Close { code: u64, reason: &'a [u8] },
    Other,
}

/// The next frame; `None` at the end, or at one that has no place in an Initial.
fn frame<'a>(from: &mut Reader<'a>, is_google: bool) -> Option<Frame<'a>> {
    let kind = varint(from)?;
    match kind {
        PADDING | PING => Some(Frame::Other),
        ACK | ACK_ECN => {
            let (_largest, _delay) = (varint(from)?, varint(from)?);
            let ranges = varint(from)?;
            varint(from)?;
            // Each takes two bytes at least, so that a lie ends soon.
            for _ in 0..ranges {
                let (_hole, _length) = (varint(from)?, varint(from)?);
            }
            if kind == ACK_ECN {
                let _counts = (varint(from)?, varint(from)?, varint(from)?);
            }
            Some(Frame::Other)
        }
        CRYPTO => crypto(from),
        GOOGLE_CRYPTO if is_google => crypto(from),
        CLOSE | CLOSE_APPLICATION => {
            let code = varint(from)?;
            if kind == CLOSE {
                varint(from)?;
            }
            let length = varint(from)?;
            let reason = from.take(usize::try_from(length).ok()?)?;
            Some(Frame::Close { code, reason })
        }
        _ => None,
    }
}

fn crypto<'a>(from: &mut Reader<'a>) -> Option<Frame<'a>> {
    let at = usize::try_from(varint(from)?).ok()?;
    let length = usize::try_from(varint(from)?).ok()?;
    Some(Frame::Crypto { at, content: from.take(length)? })
}

/// A number whose first two bits say how long it is (RFC 9000 §16).
fn varint(from: &mut Reader<'_>) -> Option<u64> {
    let first = from.u8()?;
    let more = (1 << (first >> 6)) - 1;
    let rest = from.take(more)?;
    Some(rest.iter().fold(u64::from(first & 0x3f), |sum, byte| sum << 8 | u64::from(*byte)))
}

fn version_name(version: u32) -> Cow<'static, str> {
    match version {
        1 => "1".into(),
        VERSION_2 => "2".into(),
        VERSION_2_DRAFT => "2 draft".into(),
        0xff00_0000..=0xff00_00ff => format!("draft-{}", version & 0xff).into(),
        0xface_b001 => "mvfst draft-22".into(),
        0xface_b002 => "mvfst draft-27".into(),
        _ => {
            let letters = version.to_be_bytes();
            let [first, digits @ ..] = &letters;
            let is_named = first.is_ascii_uppercase() && digits.iter().all(u8::is_ascii_digit);
            match std::str::from_utf8(&letters) {
                Ok(name) if is_named => name.to_owned().into(),
                _ => format!("0x{version:08x}").into(),
            }
        }
    }
}

/// Names of a connection are no longer, in any version so far.
const MOST_ID_BYTES: usize = 20;
const LEAST_FIRST_ID: usize = 8;
/// A number, what the mask is made of, and a tag.
const LEAST_INITIAL: u64 = 20;
/// Handshake messages kept of one side; hellos with many keys have some two thousand bytes.
const MOST_CRYPTO_BYTES: usize = 64 << 10;
/// Connections between the same ends before they go on unread.
const MOST_TRIES: u32 = 16;
const MOST_VERSIONS: usize = 64;

const PADDING: u64 = 0;
const PING: u64 = 1;
const ACK: u64 = 2;
const ACK_ECN: u64 = 3;
const CRYPTO: u64 = 6;
const GOOGLE_CRYPTO: u64 = 8;
const CLOSE: u64 = 0x1c;
const CLOSE_APPLICATION: u64 = 0x1d;

const PARAMETERS: u16 = 57;
const DRAFT_PARAMETERS: u16 = 0xffa5;
const MAX_IDLE_TIMEOUT: u64 = 1;
const USER_AGENT: u64 = 0x3129;

/// RFC 9000 §20.1, by number.
const ERRORS: &[&str] = &[
    "NO_ERROR",
    "INTERNAL_ERROR",
    "CONNECTION_REFUSED",
    "FLOW_CONTROL_ERROR",
    "STREAM_LIMIT_ERROR",
    "STREAM_STATE_ERROR",
    "FINAL_SIZE_ERROR",
    "FRAME_ENCODING_ERROR",
    "TRANSPORT_PARAMETER_ERROR",
    "CONNECTION_ID_LIMIT_ERROR",
    "PROTOCOL_VIOLATION",
    "INVALID_TOKEN",
    "APPLICATION_ERROR",
    "CRYPTO_BUFFER_EXCEEDED",
    "KEY_UPDATE_ERROR",
    "AEAD_LIMIT_REACHED",
    "NO_VIABLE_PATH",
    "VERSION_NEGOTIATION_ERROR",
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    const FIRST: &[u8] = b"\x83\x94\xc8\xf0\x3e\x51\x57\x08";
    const SERVER: &[u8] = b"\xf0\x67\xa5\x50";

    /// An Initial with these frames, for which keys are made of `secret`.
    fn initial(
        version: u32,
        side: Side,
        secret: &[u8],
        [destination, source]: [&[u8]; 2],
        frames: &[u8],
    ) -> Vec<u8> {
        let mut frames = frames.to_vec();
        frames.resize(frames.len().max(200), 0);
        let kind = if initial::is_second(version) { 0xd0 } else { 0xc0 };
        let mut head = vec![kind];
        head.extend(version.to_be_bytes());
        for id in [destination, source] {
            head.push(id.len() as u8);
            head.extend(id);
        }
        if side == Side::Client {
            head.extend([2, 9, 9]);
        } else {
            head.push(0);
        }
        head.extend((0x4000 | (frames.len() + 17) as u16).to_be_bytes());
        head.push(5);
        initial::seal(version, secret, side, &head, &frames)
    }

    fn crypto(at: usize, content: &[u8]) -> Vec<u8> {
        let number = |n: usize| (0x4000 | n as u16).to_be_bytes();
        [&[CRYPTO as u8][..], &number(at), &number(content.len()), content].concat()
    }

    fn sized(bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let bytes = bytes.as_ref();
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn message(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
    }

    fn hello() -> Vec<u8> {
        let extension =
            |code: u16, content: Vec<u8>| [code.to_be_bytes().to_vec(), sized(content)].concat();
        let name = extension(0, sized([&[0][..], &sized("quic.example")].concat()));
        let alpn = extension(16, sized(b"\x02h3"));
        let versions = extension(43, vec![2, 3, 4]);
        let parameters = extension(57, vec![1, 2, 0x67, 0x10, 0x71, 0x29, 3, b'a', b'b', b'c']);
        let parts = [
            &[3, 3][..],
            &[7; 32],
            &[0],
            &sized([0x13, 0x01]),
            &[1, 0],
            &sized([name, alpn, versions, parameters].concat()),
        ];
        message(CLIENT_HELLO, parts.concat())
    }

    fn answer(random: [u8; 32]) -> Vec<u8> {
        let versions = [0, 43, 0, 2, 3, 4];
        let parts = [&[3, 3][..], &random, &[0, 0x13, 0x01, 0], &sized(versions)];
        message(SERVER_HELLO, parts.concat())
    }

    fn asks(version: u32) -> Step {
        client(initial(version, Side::Client, FIRST, [FIRST, b""], &crypto(0, &hello())))
    }

    fn answers(version: u32, secret: &[u8], frames: &[u8]) -> Vec<u8> {
        initial(version, Side::Server, secret, [b"", SERVER], frames)
    }

    fn column(rows: &[Value], name: &str) -> Vec<Value> {
        rows.iter().filter(|it| it.is_object()).map(|it| it[name].clone()).collect()
    }

    #[test]
    fn each_version() {
        for (version, name) in [
            (1, "1"),
            (VERSION_2, "2"),
            (VERSION_2_DRAFT, "2 draft"),
            (0xff00_001d, "draft-29"),
            (0xface_b002, "mvfst draft-27"),
        ] {
            let ack = [ACK as u8, 5, 0, 0, 0];
            let frames = [&ack[..], &crypto(0, &answer([9; 32]))].concat();
            // A Handshake packet and one with a short head come in the same datagram.
            let kind = if initial::is_second(version) { 0xf0 } else { 0xe0 };
            let more = [&[kind][..], &version.to_be_bytes(), &[0, 0, 3, 1, 2, 3], &[0x40; 30]];
            let steps = [
                asks(version),
                server([answers(version, FIRST, &frames), more.concat()].concat()),
                server([0x40; 50]),
            ];
            let rows = drive::datagrams::<Dissector>(&steps);
            let row = &rows[0];
            assert_eq!(row["version"], name);
            assert_eq!(row["target"], "quic.example");
            assert_eq!(row["request_alpn"], json!(["h3"]));
            assert_eq!(row["request_idle_timeout"], 10_000_000_000_i64);
            assert_eq!(row["request_user_agent"], "abc");
            assert_eq!(row["request_token"], true);
            assert_eq!(row["destination_id"], "8394c8f03e515708");
            assert_eq!(row["client_id"], "");
            assert_eq!(row["server_id"], "f067a550");
            assert_eq!(row["cipher"], "TLS_AES_128_GCM_SHA256");
            assert_eq!(row["tls_version"], "TLS 1.3");
            assert_eq!((&row["retry"], &row["hello_retry"]), (&json!(false), &json!(false)));
            assert!(row["ja4"].as_str().unwrap().starts_with("q13d0104h3_"), "{row}");
            assert_eq!(rows[1..], ["becomes encrypted"]);
        }
    }

    #[test]
    fn a_hello_in_shuffled_pieces_of_several_packets() {
        let hello = hello();
        let (a, b, c) = (&hello[..10], &hello[10..60], &hello[60..]);
        let first = [crypto(60, c), vec![PING as u8, 0, 0, 0], crypto(0, a)].concat();
        let ids = [FIRST, b"me".as_slice()];
        let steps = [
            client(initial(1, Side::Client, FIRST, ids, &first)),
            client(initial(1, Side::Client, FIRST, ids, &crypto(10, b))),
            client(initial(1, Side::Client, FIRST, ids, &crypto(10, b))),
        ];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!(column(&rows, "target"), ["quic.example"]);
        assert_eq!(column(&rows, "client_id"), ["6d65"]);
    }

    #[test]
    fn a_client_that_must_come_again_is_one_row() {
        let retry = [&[0xf0, 0, 0, 0, 1, 0, 4][..], SERVER, &[7; 30]].concat();
        let again = initial(1, Side::Client, SERVER, [SERVER, b""], &crypto(0, &hello()));
        let steps = [
            asks(1),
            server(retry),
            client(again),
            server(answers(1, SERVER, &crypto(0, &answer([9; 32])))),
        ];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!(column(&rows, "retry"), [true]);
        assert_eq!(column(&rows, "cipher"), ["TLS_AES_128_GCM_SHA256"]);
    }

    #[test]
    fn another_hello_or_version_is_another_row() {
        use sha2::{Digest, Sha256};
        let wants_more = answer(Sha256::digest("HelloRetryRequest").into());
        let second = crypto(hello().len(), &hello());
        let steps = [
            asks(1),
            server(answers(1, FIRST, &crypto(0, &wants_more))),
            client(initial(1, Side::Client, FIRST, [SERVER, b""], &second)),
            server(answers(1, FIRST, &crypto(wants_more.len(), &answer([9; 32])))),
        ];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!(column(&rows, "hello_retry"), [true, false]);

        let speaks = [&[0x80, 0, 0, 0, 0, 0, 0][..], &[0, 0, 0, 1], &VERSION_2.to_be_bytes()];
        let steps = [
            asks(0xff00_001d),
            server(speaks.concat()),
            asks(1),
            server(answers(1, FIRST, &crypto(0, &answer([9; 32])))),
        ];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!(column(&rows, "version"), ["draft-29", "1"]);
        assert_eq!(rows[0]["versions"], json!(["1", "2"]));
        assert_eq!(rows[0]["failed"], true);
        assert_eq!(rows[1]["failed"], Value::Null);
    }

    #[test]
    fn a_server_that_refuses() {
        // CRYPTO_ERROR with the alert no_application_protocol.
        let close = [&[CLOSE as u8, 0x41, 0x78, 0, 5][..], b"sorry"].concat();
        let rows = drive::datagrams::<Dissector>(&[asks(1), server(answers(1, FIRST, &close))]);
        let row = &rows[0];
        assert_eq!(
            (&row["failed"], &row["error"]),
            (&json!(true), &json!("no_application_protocol"))
        );
        assert_eq!((&row["close_reason"], &row["close_from"]), (&json!("sorry"), &json!("server")));
    }

    #[test]
    fn guesses_only_initials() {
        let guess = |bytes: &[u8], side| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Udp, port: 443 })
        };
        let Step::Sends(_, first) = asks(1) else { unreachable!() };
        assert_eq!(guess(&first, Side::Client), Guess::Sure);
        assert_eq!(guess(&first[..first.len() - 1], Side::Client), Guess::No);
        let reply = answers(1, FIRST, &crypto(0, &answer([9; 32])));
        assert_eq!(guess(&reply, Side::Server), Guess::Sure);
        assert_eq!(guess(&reply, Side::Client), Guess::No);
        let unknown = [&[0xc0, 1, 2, 3, 4, 8][..], &[7; 100]].concat();
        assert_eq!(guess(&unknown, Side::Client), Guess::No);
    }

    #[test]
    fn googles_own_hello() {
        let entry = |tag: &[u8; 4], end: u32| [&tag[..], &end.to_le_bytes()].concat();
        let parts = [
            b"CHLO\x02\0\0\0".to_vec(),
            entry(b"SNI\0", 11),
            entry(b"UAID", 17),
            b"example.org".to_vec(),
            b"Chrome".to_vec(),
        ];
        let mut frames = crypto(0, &parts.concat());
        frames[0] = GOOGLE_CRYPTO as u8;
        let steps = [client(initial(Q050, Side::Client, FIRST, [FIRST, b""], &frames))];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!(rows[0]["version"], "Q050");
        assert_eq!(rows[0]["target"], "example.org");
        assert_eq!(rows[0]["request_user_agent"], "Chrome");
        assert_eq!(rows[0]["ja3"], Value::Null);
    }
}
