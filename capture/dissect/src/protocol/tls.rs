//! TLS 1.0 to 1.3 and SSL 3.0 over TCP, DTLS over UDP, up to where they encrypt: RFC 8446,
//! RFC 5246, RFC 6101, RFC 6347, RFC 9147, and the hello of SSL 2.0 by RFC 5246 appendix E.2.
use std::borrow::Cow;

use schema::value::{Label, Texts, Time, text};
use sha2::{Digest, Sha256};

use self::hello::{CLIENT_HELLO, Carrier, ClientHello, Offer, Reader, SERVER_HELLO, ServerHello};
use self::pieces::Pieces;
use self::x509::Certificate;
use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Learned, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

pub(crate) mod decrypt;
pub(super) mod fingerprint;
pub(super) mod hello;
pub(super) mod names;
pub(super) mod pieces;
pub(super) mod schedule;
mod x509;

/// Handshakes of TLS and DTLS: what the client offers (`request_…`), what the server chooses, and
/// how it ends. A client that is asked for another hello (`retry`) gets a row for each. What is
/// spoken inside is in other tables, if it could be decrypted.
#[derive(schema::Record)]
pub(super) struct Tls<'a> {
    /// The server that the client wants to reach (SNI). OpenTelemetry: `tls.client.server_name`.
    server_name: Option<Cow<'a, str>>,
    /// The version chosen, such as `TLS 1.3`; null without an answer. OpenTelemetry:
    /// `tls.protocol.version`, with `tls.protocol.name` in front.
    version: Option<Label<'a>>,
    /// The cipher suite chosen, by its IANA name. OpenTelemetry: `tls.cipher`.
    cipher: Option<Label<'a>>,
    /// The group in which keys are exchanged, such as `x25519`, if the server's hello says it.
    /// OpenTelemetry: `tls.curve`.
    group: Option<Label<'a>>,
    /// The protocol chosen to be spoken inside (ALPN), such as `h2`; encrypted since TLS 1.3.
    /// OpenTelemetry: `tls.next_protocol`.
    alpn: Option<Label<'a>>,
    /// Whether both sides finished the handshake; null if neither that nor a refusal was seen.
    /// OpenTelemetry: `tls.established`.
    established: Option<bool>,
    /// Whether they go on with an earlier session, without certificates. OpenTelemetry:
    /// `tls.resumed`.
    resumed: Option<bool>,
    /// Whether the server asked for another hello: with another key, or of DTLS, with a cookie.
    retry: Option<bool>,
    /// The alert that ended the handshake, such as `unknown_ca`; `encrypted` if its name is.
    alert: Option<Label<'a>>,
    /// Who sent that alert: `client` or `server`.
    alert_from: Option<Label<'a>>,
    /// All alerts, each as who sent it, how bad it is and its name.
    alerts: Texts<'a>,
    /// What carries it: `tcp`, or `udp` for DTLS. OpenTelemetry: `network.transport`.
    transport: Label<'a>,
    /// Versions the client offers; of those before TLS 1.3, the newest stands for all.
    request_versions: Texts<'a>,
    /// Cipher suites the client offers, in its order. OpenTelemetry:
    /// `tls.client.supported_ciphers`.
    request_ciphers: Texts<'a>,
    /// Protocols the client would speak inside (ALPN), in its order.
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
    /// Subject of the client's certificate. OpenTelemetry: `tls.client.subject`.
    request_certificate_subject: Option<Cow<'a, str>>,
    /// Issuer of the client's certificate. OpenTelemetry: `tls.client.issuer`.
    request_certificate_issuer: Option<Cow<'a, str>>,
    /// When the client's certificate ends to hold. OpenTelemetry: `tls.client.not_after`.
    request_certificate_not_after: Option<Time>,
    /// SHA-256 of the client's certificate, in hexadecimal. OpenTelemetry:
    /// `tls.client.hash.sha256`, in lower case.
    request_certificate_sha256: Option<Cow<'a, str>>,
    /// Extensions of the server's hello, in its order.
    response_extensions: Texts<'a>,
    /// Whether the server asked for the client's certificate; encrypted since TLS 1.3, then null.
    response_asks_certificate: Option<bool>,
    /// Subject of the server's certificate, the last part first; certificates are encrypted since
    /// TLS 1.3. OpenTelemetry: `tls.server.subject`.
    certificate_subject: Option<Cow<'a, str>>,
    /// Issuer of the server's certificate. OpenTelemetry: `tls.server.issuer`.
    certificate_issuer: Option<Cow<'a, str>>,
    /// When the server's certificate begins to hold. OpenTelemetry: `tls.server.not_before`.
    certificate_not_before: Option<Time>,
    /// When the server's certificate ends to hold. OpenTelemetry: `tls.server.not_after`.
    certificate_not_after: Option<Time>,
    /// Names and addresses that the server's certificate holds for.
    certificate_names: Texts<'a>,
    /// Serial number of the server's certificate, in hexadecimal.
    certificate_serial: Option<Cow<'a, str>>,
    /// SHA-256 of the server's certificate, in hexadecimal. OpenTelemetry:
    /// `tls.server.hash.sha256`, in lower case.
    certificate_sha256: Option<Cow<'a, str>>,
    /// Kind and length of the key in the server's certificate, such as `RSA 2048` or `EC P-256`.
    certificate_key: Option<Label<'a>>,
    /// Subjects of all certificates the server sent, its own first.
    certificate_chain: Texts<'a>,
    /// Fingerprint of the client by what it offers (MD5). OpenTelemetry: `tls.client.ja3`.
    ja3: Option<Cow<'a, str>>,
    /// Fingerprint of the client that does not depend on the order of its offers (FoxIO).
    ja4: Option<Cow<'a, str>>,
    /// Fingerprint of the server by what it chooses (MD5). OpenTelemetry: `tls.server.ja3s`.
    ja3s: Option<Cow<'a, str>>,
}

/// One connection, up to where it goes on encrypted. All that a client sends up to the end of its
/// handshake is one message, and so is what the server sends.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Half,
    server: Half,
    /// A hello was read: this is TLS.
    begun: bool,
    /// What the client sends, as far as it came.
    ask: Option<Box<Ask>>,
    /// What answers it, as far as it came.
    answer: Option<Box<Answer>>,
    /// A hello of the client was seen.
    asked: bool,
    /// The client said that data comes before the server's answer.
    early_data: bool,
    /// The server asked for another hello, which did not come yet.
    retries: bool,
    /// What the server's hello says of all that follows.
    hides: Option<bool>,
}

/// What one side sends.
#[derive(Debug, Default)]
struct Half {
    record: Option<Record>,
    /// A record that nobody can read, and that is over.
    passed: Option<Record>,
    /// The handshake message under way.
    message: Vec<u8>,
    /// Bytes left of a handshake message that is too long to be kept.
    skip: usize,
    /// The alert under way.
    alert: Vec<u8>,
    /// It said that what follows is encrypted.
    changed: bool,
    /// Something of it went missing.
    holed: bool,
    /// Its part of the handshake is over: nothing that follows can be read.
    done: bool,
    /// Messages under way, of DTLS.
    flight: Vec<Parts>,
    /// Which of the latest messages were read already, of DTLS; a bit each.
    read: u64,
}

/// A record under way.
#[derive(Clone, Copy, Debug)]
struct Record {
    kind: u8,
    length: usize,
    left: usize,
    /// Whether nobody can read it.
    is_opaque: bool,
}

/// A message of DTLS, which may come in pieces.
#[derive(Debug)]
struct Parts {
    number: u16,
    kind: u8,
    length: usize,
    pieces: Pieces,
}

/// One side's part of a handshake.
#[derive(Debug)]
pub(super) enum Body {
    /// The client's.
    Ask(Box<Ask>),
    /// The server's.
    Answer(Box<Answer>),
}

/// The client's part of a handshake.
#[derive(Debug)]
pub(super) struct Ask {
    carrier: Carrier,
    hello: Box<[u8]>,
    chain: Vec<Box<[u8]>>,
    alerts: Vec<Alert>,
    /// Whether it came to its end, encrypted.
    is_finished: bool,
}

/// The server's part of a handshake.
#[derive(Debug, Default)]
pub(super) struct Answer {
    carrier: Option<Carrier>,
    hello: Option<Box<[u8]>>,
    /// The server only wants to see a cookie first (HelloVerifyRequest).
    verifies: bool,
    /// It is not TLS.
    is_foreign: bool,
    /// It said all it has to say before the client's keys (ServerHelloDone).
    is_full: bool,
    chain: Vec<Box<[u8]>>,
    asks_certificate: bool,
    alerts: Vec<Alert>,
    /// Whether it came to its end, encrypted.
    is_finished: bool,
}

/// Something one side complains of.
#[derive(Clone, Copy, Debug)]
struct Alert {
    side: Side,
    /// Level and description, if they can be read.
    says: Option<(u8, u8)>,
    is_fatal: bool,
}

impl Dissect for Dissector {
    const NAME: &'static str = "tls";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp, Transport::Udp];
    const PORTS: &'static [u16] = &[
        443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 2376, 3269, 4433, 5061, 5228, 5349,
        5671, 5684, 6443, 6697, 8443, 8883, 9443, 10250, 15017,
    ];
    type Body = Body;
    type Columns = TlsColumns;

    fn guess(head: &Head<'_>) -> Guess {
        match head.transport {
            Transport::Tcp => guess_stream(head),
            Transport::Udp => guess_datagram(head),
            Transport::Sctp | Transport::Icmp | Transport::Icmpv6 => Guess::No,
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        _open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        loop {
            if let Some(message) =
                self.half(side).passed.take().and_then(|it| self.opaque(side, it))
            {
                return Ok(message);
            }
            let rest = input.rest();
            if rest.is_empty() {
                return Err(Stop::More);
            }
            if self.half(side).done && (!input.datagram() || self.is_over()) {
                input.take(rest.len())?;
                input.commit();
                return Err(Stop::More);
            }
            let read = match (input.datagram(), self.half(side).record) {
                (true, _) => self.datagram_record(side, input),
                (false, None) => self.record_head(side, input),
                (false, Some(record)) => {
                    let part = input.some(record.left as u64)?;
                    input.commit();
                    self.record_part(side, record, part)
                }
            };
            let message = match read {
                Err(Stop::Lost) if self.begun => {
                    let rest = input.rest();
                    let start = rest.get(..HTTP.len()).unwrap_or(rest);
                    // A web server says so in its own words.
                    let unanswered = side == Side::Server && self.asked && self.answer.is_none();
                    let complains = unanswered && HTTP.starts_with(start);
                    if complains && start.len() < HTTP.len() {
                        return Err(Stop::More);
                    }
                    let message = self.nonsense(side);
                    if complains && let Some(message) = message {
                        return Ok(message.becomes("http"));
                    }
                    input.take(rest.len())?;
                    input.commit();
                    message
                }
                read => read?,
            };
            if let Some(message) = message {
                return Ok(message);
            }
        }
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Tls<'_>) {
        let ask = exchange.request.and_then(Body::ask);
        let answer = exchange.response.and_then(Body::answer);
        let hello = ask.and_then(Ask::hello);
        let offer = hello.as_ref().map(Offer::of).unwrap_or_default();
        let chosen = answer.and_then(Answer::hello);
        // A client that refuses is answered by no more than its own words.
        let of_client = ask.map(|it| &*it.alerts).unwrap_or_default();
        let of_server = answer.map(|it| &*it.alerts).unwrap_or_default();
        let alerts = || of_server.iter().chain(of_client);
        let final_alert = alerts().find(|it| it.is_fatal);
        let chain = answer.map(|it| &*it.chain).unwrap_or_default();
        let certificate = chain.first().and_then(|it| Certificate::of(it));
        let client_chain = ask.map(|it| &*it.chain).unwrap_or_default();
        let client_certificate = client_chain.first().and_then(|it| Certificate::of(it));
        let is_clear = chosen.is_some_and(|it| !it.hides_the_rest());
        let sha256 = |it: &[u8]| Cow::Owned(crate::render::hex(&Sha256::digest(it)));
        let carrier = hello.map(|it| it.carrier).or_else(|| answer.and_then(|it| it.carrier));

        let is_foreign = answer.is_some_and(|it| it.is_foreign);

        let summary = Summary {
            verb: match (&hello, answer) {
                (Some(_), _) => "ClientHello".into(),
                (None, Some(it)) if it.verifies => "HelloVerifyRequest".into(),
                (None, Some(it)) if it.hello.is_some() => "ServerHello".into(),
                (None, _) => "Alert".into(),
            },
            target: offer.server_name.clone().unwrap_or_default(),
            status: None,
            failed: final_alert.is_some() || is_foreign,
            error: final_alert.map(Alert::name).or_else(|| is_foreign.then(|| FOREIGN.into())),
        };
        let record = Tls {
            server_name: offer.server_name,
            version: chosen.map(|it| names::version(it.chosen()).into()),
            cipher: chosen.map(|it| names::cipher(it.cipher).into()),
            group: chosen.and_then(|it| it.group()).map(|it| names::group(it).into()),
            alpn: chosen.and_then(|it| it.alpn()).map(|it| text(it).into()),
            established: match final_alert {
                Some(_) => Some(false),
                None if is_foreign => Some(false),
                None => ask.zip(answer).and_then(|(ask, answer)| answer.established(ask)),
            },
            resumed: answer.and_then(|it| it.resumed(hello.as_ref())),
            retry: answer
                .filter(|it| it.verifies || it.hello.is_some())
                .map(|it| it.verifies || chosen.is_some_and(|it| it.is_retry())),
            alert: final_alert.map(|it| it.name().into()),
            alert_from: final_alert.map(|it| side_name(it.side).into()),
            alerts: Texts(alerts().map(Alert::text).collect()),
            transport: match carrier {
                Some(Carrier::Dtls) => "udp".into(),
                _ => "tcp".into(),
            },
            request_versions: Texts(offer.versions),
            request_ciphers: Texts(offer.ciphers),
            request_alpn: Texts(offer.alpn),
            request_groups: Texts(offer.groups),
            request_signature_algorithms: Texts(offer.signatures),
            request_extensions: Texts(offer.extensions),
            request_resumption: hello.map(|it| it.wants_resumption()),
            request_early_data: hello.map(|it| it.has_early_data()),
            request_encrypted_hello: hello.map(|it| it.has_encrypted_hello()),
            request_certificate_subject: client_certificate.map(|it| it.subject().into()),
            request_certificate_issuer: client_certificate.map(|it| it.issuer().into()),
            request_certificate_not_after: client_certificate.and_then(|it| it.not_after).map(Time),
            request_certificate_sha256: client_chain.first().map(|it| sha256(it)),
            response_extensions: Texts(
                chosen
                    .into_iter()
                    .flat_map(|it| it.extensions())
                    .map(|(code, _)| names::extension(code))
                    .collect(),
            ),
            response_asks_certificate: answer.filter(|_| is_clear).map(|it| it.asks_certificate),
            certificate_subject: certificate.map(|it| it.subject().into()),
            certificate_issuer: certificate.map(|it| it.issuer().into()),
            certificate_not_before: certificate.and_then(|it| it.not_before).map(Time),
            certificate_not_after: certificate.and_then(|it| it.not_after).map(Time),
            certificate_names: Texts(certificate.map(|it| it.names()).unwrap_or_default()),
            certificate_serial: certificate.map(|it| it.serial().into()),
            certificate_sha256: chain.first().map(|it| sha256(it)),
            certificate_key: certificate.and_then(|it| it.key()).map(Label),
            certificate_chain: Texts(
                chain
                    .iter()
                    .filter_map(|it| Certificate::of(it))
                    .map(|it| it.subject().into())
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
            encrypted: matches!(body, Body::Answer(it) if it.hello().is_some()),
            announces: None,
        })
    }

    fn weight(body: &Body) -> usize {
        match body {
            Body::Ask(ask) => ask.held(),
            Body::Answer(answer) => answer.held(),
        }
    }

    fn held(&self) -> usize {
        let ask = self.ask.as_ref().map_or(0, |it| it.held());
        let answer = self.answer.as_ref().map_or(0, |it| it.held());
        ask + answer + self.client.held() + self.server.held()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let half = self.half(side);
        if half.done {
            return Ok(());
        }
        if let Some(record) = half.record.as_mut().filter(|it| it.is_opaque)
            && let Ok(missing) = usize::try_from(missing)
            && missing <= record.left
        {
            record.left -= missing;
            if record.left == 0 {
                half.passed = half.record.take();
            }
            return Ok(());
        }
        self.hole(side);
        Err(Stop::Lost)
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        let rest = input.rest();
        if self.half(side).done || input.datagram() {
            input.take(rest.len())?;
            input.commit();
            return Ok(());
        }
        self.hole(side);
        let half = self.half(side);
        half.message = Vec::new();
        half.alert = Vec::new();
        // The tail may be the start of a head.
        let tail = rest.len().saturating_sub(HEAD_BYTES - 1);
        let found = (0..tail).find(|at| rest.get(*at..).is_some_and(is_record_chain));
        input.take(found.unwrap_or(tail))?;
        input.commit();
        found.map(|_| ()).ok_or(Stop::More)
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let half = self.half(side);
        if half.done {
            return None;
        }
        let part = std::mem::take(&mut half.message);
        match (side, part.as_slice()) {
            (Side::Client, [CLIENT_HELLO, _, _, _, body @ ..]) if self.ask.is_none() => {
                ClientHello::of(Carrier::Tls, body)?;
                self.ask(Carrier::Tls, body);
                self.half(side).holed = true;
            }
            (Side::Server, [SERVER_HELLO, _, _, _, body @ ..]) if self.hides.is_none() => {
                ServerHello::of(body)?;
                self.answer(Carrier::Tls).hello = Some(body.into());
                self.half(side).holed = true;
            }
            _ => {}
        }
        self.respond(side, false)
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn hole(&mut self, side: Side) {
        let half = self.half(side);
        half.holed = true;
        half.record = None;
        half.passed = None;
        half.skip = 0;
    }

    /// Whether nothing that follows matters any more.
    fn is_over(&self) -> bool {
        self.server.done && (self.client.done || !self.asked)
    }

    /// The head of the next record of a stream.
    fn record_head(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
    ) -> Result<Option<Message<Body>>, Stop> {
        let rest = input.rest();
        if !self.begun && side == Side::Client && rest.first().is_some_and(|it| it & 0x80 != 0) {
            self.ssl2_hello(input)?;
            return Ok(None);
        }
        let Some((head, rest)) = rest.split_at_checked(HEAD_BYTES) else {
            return if could_be_head(rest) { Err(Stop::More) } else { Err(Stop::Lost) };
        };
        let (kind, length) = record_of(head).ok_or(Stop::Lost)?;
        let half = self.half(side);
        let is_opaque = match kind {
            APPLICATION_DATA => true,
            ALERT => half.changed && length != ALERT_BYTES,
            HANDSHAKE if half.holed => true,
            // Since TLS 1.3 the change means nothing, and the next hello may come after it.
            HANDSHAKE if half.changed => match (self.hides, side) {
                (Some(hides), _) => !hides,
                (None, Side::Server) => false,
                (None, Side::Client) => {
                    let Some(start) = rest.get(..4) else { return Err(Stop::More) };
                    let size = length.wrapping_sub(4).to_be_bytes();
                    let [.., high, middle, low] = size;
                    start != [CLIENT_HELLO, high, middle, low]
                }
            },
            _ => false,
        };
        if side == Side::Client && self.ask.is_some() && self.retries {
            return Ok(self.part_with_last_hello());
        }
        if kind == HANDSHAKE && !is_opaque && side == Side::Client && self.ask.is_some() {
            let Some(first) = rest.first() else { return Err(Stop::More) };
            if *first == CLIENT_HELLO && self.client.message.is_empty() {
                return Ok(self.part_with_last_hello());
            }
        }
        input.take(HEAD_BYTES)?;
        input.commit();
        let half = self.half(side);
        half.record = (length > 0).then_some(Record { kind, length, left: length, is_opaque });
        Ok(None)
    }

    /// A part of a record of a stream.
    fn record_part(
        &mut self,
        side: Side,
        record: Record,
        part: &[u8],
    ) -> Result<Option<Message<Body>>, Stop> {
        let half = self.half(side);
        let left = record.left.saturating_sub(part.len());
        half.record = (left > 0).then_some(Record { left, ..record });
        if record.is_opaque {
            half.passed = (left == 0).then_some(record);
            return Ok(None);
        }
        match record.kind {
            HANDSHAKE => {
                let skipped = half.skip.min(part.len());
                half.skip -= skipped;
                half.message.extend_from_slice(part.get(skipped..).unwrap_or_default());
                self.messages(side)
            }
            ALERT => {
                half.alert.extend_from_slice(part);
                if left > 0 && half.alert.len() < ALERT_BYTES {
                    return Ok(None);
                }
                let alert = std::mem::take(&mut half.alert);
                Ok(self.alert(side, &alert))
            }
            CHANGE_CIPHER_SPEC => {
                half.changed = true;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The handshake messages that have all arrived, up to one that makes a row.
    fn messages(&mut self, side: Side) -> Result<Option<Message<Body>>, Stop> {
        loop {
            let begun = self.begun;
            let half = self.half(side);
            let Some(kind) = half.message.first() else { return Ok(None) };
            if !begun && !is_first(side, *kind) {
                return Err(Stop::Lost);
            }
            let mut head = Reader(&half.message);
            let (Some(kind), Some(length)) = (head.u8(), head.number(3)) else { return Ok(None) };
            let whole = length + 4;
            if length > MOST_MESSAGE_BYTES {
                if !begun {
                    return Err(Stop::Lost);
                }
                half.skip = whole.saturating_sub(half.message.len());
                half.message = Vec::new();
                return Ok(None);
            }
            if half.message.len() < whole {
                return Ok(None);
            }
            let rest = half.message.split_off(whole);
            let message = std::mem::replace(&mut half.message, rest);
            let body = message.get(4..).unwrap_or_default();
            if let Some(message) = self.handshake(side, Carrier::Tls, kind, body)? {
                return Ok(Some(message));
            }
        }
    }

    /// One record of a datagram.
    fn datagram_record(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
    ) -> Result<Option<Message<Body>>, Stop> {
        let rest = input.rest();
        let mut from = Reader(rest);
        let record =
            DatagramRecord::of(&mut from).filter(|it| it.is_hidden || from.0.len() >= it.length);
        let Some(record) = record else {
            if !self.begun {
                return Err(Stop::Lost);
            }
            // Nothing that we know, such as a cut record: the next datagram may say more.
            input.take(rest.len())?;
            input.commit();
            return Ok(None);
        };
        let content = from.take(record.length).unwrap_or_default();
        let is_clear = record.kind == HANDSHAKE && record.epoch == 0 && !record.is_hidden;
        if is_clear && side == Side::Client && self.ask.is_some() && self.is_new_hello(content) {
            return Ok(self.part_with_last_hello());
        }
        input.take(rest.len() - from.0.len())?;
        input.commit();
        if record.is_hidden || record.epoch > 0 {
            let (kind, length) = (record.kind, record.length);
            return Ok(self.opaque(side, Record { kind, length, left: 0, is_opaque: true }));
        }
        match record.kind {
            HANDSHAKE => self.fragments(side, content),
            ALERT => Ok(self.alert(side, content)),
            _ => Ok(None),
        }
    }

    /// Whether a record of DTLS begins with a hello that was not read yet.
    fn is_new_hello(&self, record: &[u8]) -> bool {
        Fragment::of(&mut Reader(record)).is_some_and(|it| {
            let is_begun = self.client.flight.iter().any(|parts| parts.number == it.number);
            it.kind == CLIENT_HELLO && !is_begun && self.client.read & it.bit() == 0
        })
    }

    /// The pieces of handshake messages in one record of DTLS.
    fn fragments(&mut self, side: Side, record: &[u8]) -> Result<Option<Message<Body>>, Stop> {
        let mut from = Reader(record);
        while let Some(it) = Fragment::of(&mut from) {
            if !self.begun && !is_first(side, it.kind) {
                return Err(Stop::Lost);
            }
            let half = self.half(side);
            let bit = it.bit();
            if half.read & bit != 0 || it.length > MOST_MESSAGE_BYTES {
                continue;
            }
            let place = half.flight.iter().position(|parts| {
                (parts.number, parts.kind, parts.length) == (it.number, it.kind, it.length)
            });
            let place = place.unwrap_or_else(|| {
                if half.flight.len() >= MOST_PARTS {
                    half.flight.remove(0);
                }
                let (number, kind, length) = (it.number, it.kind, it.length);
                half.flight.push(Parts { number, kind, length, pieces: Pieces::default() });
                half.flight.len() - 1
            });
            let Some(parts) = half.flight.get_mut(place) else { continue };
            parts.pieces.put(it.at, it.content, it.length);
            if parts.pieces.front().len() < it.length {
                continue;
            }
            let parts = half.flight.remove(place);
            half.read |= bit;
            // Numbers may come around, but not within one handshake.
            half.read &= !(1_u64 << (it.number.wrapping_add(32) & 63));
            let body = parts.pieces.front();
            if let Some(message) = self.handshake(side, Carrier::Dtls, parts.kind, body)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The hello of SSL 2.0, which other versions may answer.
    fn ssl2_hello(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let rest = input.rest();
        if judge_ssl2(rest) == Guess::No {
            return Err(Stop::Lost);
        }
        let length = usize::from(input.u16()? & 0x7fff);
        let message = input.take(length)?;
        let body = message.get(1..).unwrap_or_default();
        ClientHello::of(Carrier::Ssl2, body).ok_or(Stop::Lost)?;
        input.commit();
        self.ask(Carrier::Ssl2, body);
        Ok(())
    }

    /// One handshake message; what it completes.
    fn handshake(
        &mut self,
        side: Side,
        carrier: Carrier,
        kind: u8,
        body: &[u8],
    ) -> Result<Option<Message<Body>>, Stop> {
        match (side, kind) {
            (Side::Client, CLIENT_HELLO) => {
                ClientHello::of(carrier, body).ok_or(Stop::Lost)?;
                self.ask(carrier, body);
            }
            (Side::Server, SERVER_HELLO) => {
                let hello = ServerHello::of(body).ok_or(Stop::Lost)?;
                self.begun = true;
                self.answer(carrier).hello = Some(body.into());
                if hello.is_retry() {
                    return Ok(self.retry());
                }
                self.hides = Some(hello.hides_the_rest());
            }
            (Side::Server, HELLO_VERIFY_REQUEST) if carrier == Carrier::Dtls => {
                self.begun = true;
                self.answer(carrier).verifies = true;
                return Ok(self.retry());
            }
            (Side::Client, CERTIFICATE) => {
                if let Some(ask) = &mut self.ask {
                    ask.chain = chain(body);
                }
            }
            (Side::Server, CERTIFICATE) => self.answer(carrier).chain = chain(body),
            (Side::Server, CERTIFICATE_REQUEST) => self.answer(carrier).asks_certificate = true,
            (Side::Server, SERVER_HELLO_DONE) => self.answer(carrier).is_full = true,
            _ => {}
        }
        Ok(None)
    }

    /// The client's hello, with which its part begins anew.
    fn ask(&mut self, carrier: Carrier, body: &[u8]) {
        let hello = ClientHello::of(carrier, body);
        self.begun = true;
        self.asked = true;
        self.early_data = hello.is_some_and(|it| it.has_early_data());
        self.client.changed = false;
        let hello = body.into();
        let (chain, alerts) = (Vec::new(), Vec::new());
        self.ask = Some(Box::new(Ask { carrier, hello, chain, alerts, is_finished: false }));
    }

    fn answer(&mut self, carrier: Carrier) -> &mut Answer {
        let answer = self.answer.get_or_insert_default();
        answer.carrier = Some(carrier);
        answer
    }

    /// What the client sent up to another hello: its answer asked for that.
    fn part_with_last_hello(&mut self) -> Option<Message<Body>> {
        self.client.changed = false;
        self.retries = false;
        self.ask.take().map(|it| Message::request(Body::Ask(it)))
    }

    /// The server asks for another hello.
    fn retry(&mut self) -> Option<Message<Body>> {
        self.server.changed = false;
        self.retries = self.ask.is_some();
        self.answer.take().map(|it| Message::response(Body::Answer(it)))
    }

    /// One side's part is over, if there was any.
    fn respond(&mut self, side: Side, is_finished: bool) -> Option<Message<Body>> {
        let message = match side {
            Side::Client => {
                let ask = self.ask.take()?;
                Message::request(Body::Ask(Box::new(Ask { is_finished, ..*ask })))
            }
            Side::Server => {
                let answer = self.answer.take()?;
                Message::response(Body::Answer(Box::new(Answer { is_finished, ..*answer })))
            }
        };
        let half = std::mem::take(self.half(side));
        self.half(side).done = true;
        let message = message.incomplete(half.holed);
        Some(if self.is_over() { message.becomes("encrypted") } else { message })
    }

    /// What a side sends is no TLS, such as a web server's words to whoever knocks on the wrong port.
    fn nonsense(&mut self, side: Side) -> Option<Message<Body>> {
        if side == Side::Server && self.asked {
            self.answer.get_or_insert_default().is_foreign = true;
        }
        let message = self.respond(side, false);
        self.half(side).done = true;
        message
    }

    /// A record that nobody can read, but everybody can count.
    fn opaque(&mut self, side: Side, record: Record) -> Option<Message<Body>> {
        let is_early = side == Side::Client && self.early_data;
        if is_early && self.hides.is_none() {
            return None;
        }
        // Since TLS 1.3 only its length tells an alert: the messages expected here are longer.
        let shortest = if side == Side::Client { FINISHED_BYTES } else { EXTENSIONS_BYTES };
        let is_alert = match record.kind {
            APPLICATION_DATA => self.hides == Some(true) && !is_early && record.length < shortest,
            kind => kind == ALERT,
        };
        let is_hidden = match side {
            Side::Client => self.ask.is_none(),
            Side::Server => self.answer.is_none(),
        };
        if is_hidden {
            // What came before it was not captured.
            self.half(side).done = true;
            return None;
        }
        if is_alert {
            return self.complain(Alert { side, says: None, is_fatal: true }, true);
        }
        self.respond(side, true)
    }

    fn alert(&mut self, side: Side, content: &[u8]) -> Option<Message<Body>> {
        let [level, description, ..] = content else { return None };
        let is_ending = *level == FATAL
            || *description == CLOSE_NOTIFY
            || (self.hides == Some(true) && *description != USER_CANCELED);
        let is_fatal = is_ending && *description != CLOSE_NOTIFY;
        self.complain(Alert { side, says: Some((*level, *description)), is_fatal }, is_ending)
    }

    fn complain(&mut self, alert: Alert, is_ending: bool) -> Option<Message<Body>> {
        let alerts = match alert.side {
            Side::Client => &mut self.ask.as_mut()?.alerts,
            Side::Server => &mut self.answer.get_or_insert_default().alerts,
        };
        if alerts.len() < MOST_ALERTS {
            alerts.push(alert);
        }
        if is_ending { self.respond(alert.side, false) } else { None }
    }
}

impl Half {
    fn held(&self) -> usize {
        let flight: usize = self.flight.iter().map(|it| it.pieces.held()).sum();
        self.message.capacity() + flight
    }
}

impl Body {
    /// The name of the server that the client wants to reach.
    fn server_name(&self) -> Option<&str> {
        std::str::from_utf8(self.ask()?.hello()?.server_name()?).ok()
    }

    /// The protocol spoken inside: the one that the server chose, or the only one offered.
    fn alpn(&self) -> Option<&str> {
        let name = match self {
            Self::Ask(ask) => {
                let mut offered = ask.hello()?.alpn();
                offered.next().filter(|_| offered.next().is_none())
            }
            Self::Answer(answer) => answer.hello()?.alpn(),
        };
        std::str::from_utf8(name?).ok()
    }

    fn ask(&self) -> Option<&Ask> {
        match self {
            Self::Ask(ask) => Some(ask),
            Self::Answer(_) => None,
        }
    }

    fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Ask(_) => None,
        }
    }
}

impl Ask {
    fn hello(&self) -> Option<ClientHello<'_>> {
        ClientHello::of(self.carrier, &self.hello)
    }

    fn held(&self) -> usize {
        self.hello.len() + self.chain.iter().map(|it| it.len()).sum::<usize>()
    }
}

impl Answer {
    fn hello(&self) -> Option<ServerHello<'_>> {
        self.hello.as_deref().and_then(ServerHello::of)
    }

    fn held(&self) -> usize {
        let hello = self.hello.as_ref().map_or(0, |it| it.len());
        hello + self.chain.iter().map(|it| it.len()).sum::<usize>()
    }

    /// Whether both sides finished, if that can be told.
    fn established(&self, ask: &Ask) -> Option<bool> {
        let is_retry = self.verifies || self.hello()?.is_retry();
        let is_finished = ask.is_finished && self.is_finished;
        let is_closed = ask.alerts.iter().chain(&self.alerts).any(Alert::is_closing);
        // Without a word of it, the capture may only have ended too early.
        (!is_retry && (is_finished || is_closed)).then_some(is_finished)
    }

    /// Whether an earlier session goes on.
    fn resumed(&self, asked: Option<&ClientHello<'_>>) -> Option<bool> {
        let hello = self.hello().filter(|it| !it.is_retry())?;
        if hello.hides_the_rest() {
            return Some(hello.extension(hello::PRE_SHARED_KEY).is_some());
        }
        // Before TLS 1.3 the server says so by giving back the client's id.
        let is_same = asked.map(|it| !it.session.is_empty() && it.session == hello.session);
        match (self.is_full || !self.chain.is_empty(), self.is_finished) {
            (true, _) => Some(false),
            (false, true) => Some(true),
            (false, false) => is_same,
        }
    }
}

impl Alert {
    fn is_closing(&self) -> bool {
        self.says.is_some_and(|(_, description)| description == CLOSE_NOTIFY)
    }

    fn name(&self) -> Cow<'static, str> {
        match self.says {
            Some((_, description)) => names::alert(description),
            None => "encrypted".into(),
        }
    }

    fn text(&self) -> Cow<'static, str> {
        let level = match self.says {
            Some((FATAL, _)) => "fatal ",
            Some(_) => "warning ",
            None => "",
        };
        format!("{} {level}{}", side_name(self.side), self.name()).into()
    }
}

/// The head of a record in a datagram.
struct DatagramRecord {
    kind: u8,
    epoch: u16,
    length: usize,
    /// Whether even its kind is encrypted (DTLS 1.3).
    is_hidden: bool,
}

impl DatagramRecord {
    fn of(from: &mut Reader<'_>) -> Option<Self> {
        if from.0.first()? & 0xe0 == 0x20 {
            let length = from.0.len();
            return Some(Self { kind: APPLICATION_DATA, epoch: 1, length, is_hidden: true });
        }
        let kind = from.u8().filter(|it| (CHANGE_CIPHER_SPEC..=MOST_KIND).contains(it))?;
        from.u16().filter(|it| is_datagram_version(*it))?;
        let epoch = from.u16()?;
        from.take(6)?;
        let length = from.number(2)?;
        Some(Self { kind, epoch, length, is_hidden: false })
    }
}

/// A piece of a handshake message (RFC 6347 §4.2.2).
struct Fragment<'a> {
    kind: u8,
    length: usize,
    number: u16,
    at: usize,
    content: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Which bit of a set stands for it.
    fn bit(&self) -> u64 {
        1 << (self.number & 63)
    }

    fn of(from: &mut Reader<'a>) -> Option<Self> {
        let (kind, length, number, at) =
            (from.u8()?, from.number(3)?, from.u16()?, from.number(3)?);
        let content = from.list(3)?;
        (at + content.len() <= length).then_some(Self { kind, length, number, at, content })
    }
}

/// The certificates in a message, up to a bound; since TLS 1.3 nobody sees one.
fn chain(body: &[u8]) -> Vec<Box<[u8]>> {
    let mut list = Reader(Reader(body).list(3).unwrap_or_default());
    let certificates = std::iter::from_fn(|| list.list(3));
    certificates.take(MOST_CERTIFICATES).map(Into::into).collect()
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

/// Whether a conversation may begin with this handshake message.
fn is_first(side: Side, kind: u8) -> bool {
    match side {
        Side::Client => kind == CLIENT_HELLO,
        Side::Server => matches!(kind, SERVER_HELLO | HELLO_VERIFY_REQUEST | HELLO_REQUEST),
    }
}

/// Kind and length in a record's head.
fn record_of(head: &[u8]) -> Option<(u8, usize)> {
    let mut head = Reader(head);
    let kind = head.u8().filter(|it| (CHANGE_CIPHER_SPEC..=MOST_KIND).contains(it))?;
    head.u16().filter(|it| *it >> 8 == 3 && it & 0xff <= 4)?;
    let length = head.number(2).filter(|it| *it <= MOST_RECORD_BYTES)?;
    Some((kind, length))
}

/// Whether these few bytes may begin a record's head.
fn could_be_head(bytes: &[u8]) -> bool {
    let ranges = [(CHANGE_CIPHER_SPEC, MOST_KIND), (3, 3), (0, 4)];
    bytes.iter().zip(ranges).all(|(it, (low, high))| (low..=high).contains(it))
}

/// Whether a record begins here, and others follow it as far as there are bytes.
fn is_record_chain(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    for place in 0..CHAIN {
        let Some(head) = rest.get(..HEAD_BYTES) else { return place > 0 && could_be_head(rest) };
        let Some((_, length)) = record_of(head).filter(|(_, length)| *length > 0) else {
            return false;
        };
        match rest.get(HEAD_BYTES + length..) {
            Some(next) => rest = next,
            None => return true,
        }
    }
    true
}

fn guess_stream(head: &Head<'_>) -> Guess {
    let bytes = head.bytes;
    match bytes.first() {
        Some(first) if first & 0x80 != 0 && head.side == Side::Client => return judge_ssl2(bytes),
        Some(&HANDSHAKE) => {}
        Some(&ALERT) if head.side == Side::Server => return judge_alert(bytes),
        _ => return Guess::No,
    }
    if !could_be_head(bytes) {
        return Guess::No;
    }
    let Some((head_bytes, message)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Guess::More;
    };
    let Some((_, record)) = record_of(head_bytes).filter(|(_, length)| *length > 0) else {
        return Guess::No;
    };
    let mut from = Reader(message);
    let Some(kind) = from.u8() else { return Guess::More };
    let is_hello = match head.side {
        Side::Client => kind == CLIENT_HELLO,
        Side::Server => kind == SERVER_HELLO,
    };
    if !is_hello {
        return Guess::No;
    }
    let Some(length) = from.number(3) else { return Guess::More };
    if !(LEAST_HELLO_BYTES..=MOST_MESSAGE_BYTES).contains(&length) {
        return Guess::No;
    }
    let Some(version) = from.u16() else { return Guess::More };
    match (version >> 8, head.side) {
        (3, _) if version & 0xff <= 4 => {}
        // Servers of drafts of TLS 1.3.
        (0x7f, Side::Server) => {}
        _ => return Guess::No,
    }
    // A hello is cut into several records only by those who try to hide it.
    if length + 4 <= record || record == MAX_PLAIN_BYTES { Guess::Sure } else { Guess::Maybe }
}

/// A server that wants nothing to do with a hello that was not captured.
fn judge_alert(bytes: &[u8]) -> Guess {
    if bytes.len() < HEAD_BYTES + ALERT_BYTES {
        return if could_be_head(bytes) { Guess::More } else { Guess::No };
    }
    let is_alert = match bytes {
        [_, 3, 0..=4, 0, 2, level, description, rest @ ..] => {
            matches!(*level, 1 | FATAL) && names::alert(*description).len() > 3 && rest.is_empty()
        }
        _ => false,
    };
    if is_alert { Guess::Maybe } else { Guess::No }
}

/// Length, kind, version and three lengths that must add up.
fn judge_ssl2(bytes: &[u8]) -> Guess {
    let is_other = |place, known: &[u8]| bytes.get(place).is_some_and(|it| !known.contains(it));
    if is_other(2, &[CLIENT_HELLO]) || is_other(3, &[0, 3]) {
        return Guess::No;
    }
    let mut from = Reader(bytes);
    let numbers = (from.u16(), from.u8(), from.u16());
    let (Some(length), Some(_), Some(version)) = numbers else { return Guess::More };
    if !matches!(version, 0x0002 | 0x0300..=0x0304) {
        return Guess::No;
    }
    let lengths = (from.number(2), from.number(2), from.number(2));
    let (Some(ciphers), Some(session), Some(challenge)) = lengths else { return Guess::More };
    let is_sound = ciphers > 0
        && ciphers % 3 == 0
        && matches!(session, 0 | 16)
        && (16..=32).contains(&challenge)
        && usize::from(length & 0x7fff) == 9 + ciphers + session + challenge;
    if is_sound { Guess::Sure } else { Guess::No }
}

fn guess_datagram(head: &Head<'_>) -> Guess {
    let mut from = Reader(head.bytes);
    let Some(record) = DatagramRecord::of(&mut from) else { return Guess::No };
    let is_clear = record.kind == HANDSHAKE && record.epoch == 0 && !record.is_hidden;
    let content = from.take(record.length).filter(|_| is_clear);
    let Some(fragment) = content.and_then(|it| Fragment::of(&mut Reader(it))) else {
        return Guess::No;
    };
    let is_hello = fragment.kind != HELLO_REQUEST && is_first(head.side, fragment.kind);
    let is_sized = (4..=MOST_MESSAGE_BYTES).contains(&fragment.length);
    let is_versioned =
        fragment.at > 0 || Reader(fragment.content).u16().is_some_and(is_datagram_version);
    if is_hello && is_sized && is_versioned { Guess::Sure } else { Guess::No }
}

/// 1.0, 1.2, 1.3, and what OpenSSL called 1.0 before it was one.
fn is_datagram_version(version: u16) -> bool {
    matches!(version, 0xfefc..=0xfeff | 0x0100)
}

/// What an answer of HTTP/1 begins with.
const HTTP: &[u8] = b"HTTP/1.";

const HEAD_BYTES: usize = 5;
const ALERT_BYTES: usize = 2;
/// What a record holds at most: as such, and with what encryption and compression add.
const MAX_PLAIN_BYTES: usize = 1 << 14;
const MOST_RECORD_BYTES: usize = MAX_PLAIN_BYTES + 2048;
/// Version, random, and the lengths of what follows.
const LEAST_HELLO_BYTES: usize = 38;
/// Chains of certificates have some ten thousand.
const MOST_MESSAGE_BYTES: usize = 128 << 10;
const MOST_CERTIFICATES: usize = 32;
/// Warnings kept.
const MOST_ALERTS: usize = 16;
/// Messages of DTLS under way at once.
const MOST_PARTS: usize = 16;
/// Records that must follow each other where bytes were lost.
const CHAIN: usize = 3;

/// The least that a client's Finished takes since TLS 1.3: 36 bytes, its kind, and a short tag.
const FINISHED_BYTES: usize = 36 + 1 + 8;
/// The least that a server's EncryptedExtensions take: 6 bytes, their kind, and a tag; an alert has
/// 2, its kind, and a tag.
const EXTENSIONS_BYTES: usize = 20;

/// Kinds of records; those from 24 on are heartbeats, connection ids and acknowledgements.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const MOST_KIND: u8 = 26;

/// Kinds of handshake messages.
const HELLO_REQUEST: u8 = 0;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;

/// What became of a hello to someone who does not understand it.
const FOREIGN: &str = "the answer is not TLS";

const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::hello::{ALPN, SERVER_NAME};
    use super::*;
    use crate::drive::{self, Step, client, server};

    /// A record with this content.
    fn record(kind: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
        let content = content.as_ref();
        [&[kind, 3, 3], &(content.len() as u16).to_be_bytes()[..], content].concat()
    }

    /// A handshake message with this body.
    fn message(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
    }

    fn sized(bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let bytes = bytes.as_ref();
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn extension(code: u16, content: impl AsRef<[u8]>) -> Vec<u8> {
        [code.to_be_bytes().to_vec(), sized(content)].concat()
    }

    fn client_hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        let name = [&[0][..], &sized("example.org")].concat();
        let name = extension(SERVER_NAME, sized(name));
        let alpn = extension(ALPN, sized(b"\x02h2\x08http/1.1"));
        let extensions = [name, alpn, extensions.concat()].concat();
        let parts = [
            &[3, 3][..],
            &[7; 32],
            b"\x04abcd",
            &sized([0x13, 0x01, 0xc0, 0x2f]),
            &[1, 0],
            &sized(extensions),
        ];
        message(CLIENT_HELLO, parts.concat())
    }

    fn hello_13() -> Vec<u8> {
        client_hello(&[extension(43, [4, 3, 4, 3, 3])])
    }

    fn server_hello(random: [u8; 32], cipher: u16, extensions: &[Vec<u8>]) -> Vec<u8> {
        let parts =
            [&[3, 3][..], &random, &[0], &cipher.to_be_bytes(), &[0], &sized(extensions.concat())];
        message(SERVER_HELLO, parts.concat())
    }

    fn answer_12() -> Vec<u8> {
        server_hello([9; 32], 0xc02f, &[extension(ALPN, b"\0\x03\x02h2")])
    }

    fn answer_13() -> Vec<u8> {
        let share = [0, 29, 0, 2, 1, 2];
        server_hello([9; 32], 0x1301, &[extension(43, [3, 4]), extension(51, share)])
    }

    fn changed() -> Vec<u8> {
        record(CHANGE_CIPHER_SPEC, [1])
    }

    fn column(rows: &[Value], name: &str) -> Vec<Value> {
        rows.iter().filter(|it| it.is_object()).map(|it| it[name].clone()).collect()
    }

    fn handshake_13() -> Vec<Step> {
        vec![
            client(record(HANDSHAKE, hello_13())),
            server([record(HANDSHAKE, answer_13()), changed()].concat()),
            server(record(APPLICATION_DATA, [1; 700])),
            client([changed(), record(APPLICATION_DATA, [2; 53])].concat()),
            client(record(APPLICATION_DATA, [2; 100])),
        ]
    }

    fn handshake_12() -> Vec<Step> {
        let flight = [answer_12(), message(SERVER_HELLO_DONE, [])].concat();
        vec![
            client(record(HANDSHAKE, client_hello(&[]))),
            server(record(HANDSHAKE, flight)),
            client(record(HANDSHAKE, message(16, [5; 66]))),
            client([changed(), record(HANDSHAKE, [6; 40])].concat()),
            server([changed(), record(HANDSHAKE, [7; 40])].concat()),
            server(record(APPLICATION_DATA, [2; 100])),
        ]
    }

    #[test]
    fn tls_13() {
        let rows = drive::however_cut::<Dissector>(&handshake_13());
        let row = &rows[0];
        assert_eq!(row["verb"], "ClientHello");
        assert_eq!(row["target"], "example.org");
        assert_eq!(row["server_name"], "example.org");
        assert_eq!(row["version"], "TLS 1.3");
        assert_eq!(row["cipher"], "TLS_AES_128_GCM_SHA256");
        assert_eq!(row["group"], "x25519");
        assert_eq!(row["established"], true);
        assert_eq!(row["resumed"], false);
        assert_eq!(row["request_versions"], json!(["TLS 1.3", "TLS 1.2"]));
        assert_eq!(row["request_alpn"], json!(["h2", "http/1.1"]));
        assert_eq!(row["transport"], "tcp");
        assert_eq!(rows[1..], ["becomes encrypted"]);
    }

    #[test]
    fn tls_12() {
        let rows = drive::however_cut::<Dissector>(&handshake_12());
        let row = &rows[0];
        assert_eq!(row["version"], "TLS 1.2");
        assert_eq!(row["cipher"], "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(row["alpn"], "h2");
        assert_eq!(row["established"], true);
        assert_eq!(row["resumed"], false);
        assert_eq!(row["response_asks_certificate"], false);
        assert_eq!(rows[1..], ["becomes encrypted"]);
    }

    #[test]
    fn hellos_in_many_records() {
        let cut = |message: Vec<u8>| -> Vec<u8> {
            message.chunks(10).flat_map(|it| record(HANDSHAKE, it)).collect()
        };
        let mut steps = handshake_13();
        steps[0] = client(cut(hello_13()));
        steps[1] = server(cut(answer_13()));
        let rows = drive::however_cut::<Dissector>(&steps);
        assert_eq!(rows[0]["cipher"], "TLS_AES_128_GCM_SHA256");
        assert_eq!(rows[0]["established"], true);
    }

    #[test]
    fn an_earlier_session_goes_on() {
        let steps = [
            client(record(HANDSHAKE, client_hello(&[]))),
            server(
                [record(HANDSHAKE, answer_12()), changed(), record(HANDSHAKE, [7; 40])].concat(),
            ),
            client([changed(), record(HANDSHAKE, [6; 40])].concat()),
        ];
        let rows = drive::however_cut::<Dissector>(&steps);
        assert_eq!((&rows[0]["resumed"], &rows[0]["established"]), (&json!(true), &json!(true)));
    }

    #[test]
    fn another_hello_is_another_row() {
        let retry = server_hello(
            fingerprint_of_retry(),
            0x1301,
            &[extension(43, [3, 4]), extension(51, [0, 23])],
        );
        let mut steps = vec![
            client(record(HANDSHAKE, hello_13())),
            server([record(HANDSHAKE, retry), changed()].concat()),
            client(changed()),
        ];
        steps.extend(handshake_13());
        let rows = drive::however_cut::<Dissector>(&steps);
        assert_eq!(column(&rows, "retry"), [true, false]);
        assert_eq!(column(&rows, "group"), ["secp256r1", "x25519"]);
        assert_eq!(column(&rows, "established"), [Value::Null, json!(true)]);
    }

    fn fingerprint_of_retry() -> [u8; 32] {
        Sha256::digest("HelloRetryRequest").into()
    }

    #[test]
    fn alerts_end_a_handshake() {
        let ask = client(record(HANDSHAKE, hello_13()));
        let refused = [ask.clone(), server(record(ALERT, [FATAL, 40]))];
        let rows = drive::however_cut::<Dissector>(&refused);
        let row = &rows[0];
        assert_eq!((&row["failed"], &row["error"]), (&json!(true), &json!("handshake_failure")));
        assert_eq!(
            (&row["alert"], &row["alert_from"]),
            (&json!("handshake_failure"), &json!("server"))
        );
        assert_eq!(row["alerts"], json!(["server fatal handshake_failure"]));
        assert_eq!(row["established"], false);

        // The client does not like the certificate.
        let mut steps = handshake_12();
        steps.truncate(2);
        steps.extend([client(record(ALERT, [FATAL, 48])), Step::Ends(Side::Server)]);
        let rows = drive::however_cut::<Dissector>(&steps);
        assert_eq!(
            (&rows[0]["alert"], &rows[0]["alert_from"]),
            (&json!("unknown_ca"), &json!("client"))
        );
        assert_eq!(rows[0]["version"], "TLS 1.2");

        // A warning is none of that.
        let mut steps = handshake_12();
        steps.insert(1, server(record(ALERT, [1, 112])));
        let rows = drive::however_cut::<Dissector>(&steps);
        assert_eq!(rows[0]["alerts"], json!(["server warning unrecognized_name"]));
        assert_eq!((&rows[0]["established"], &rows[0]["alert"]), (&json!(true), &Value::Null));
    }

    #[test]
    fn encrypted_alerts_are_known_by_their_length() {
        let mut steps = handshake_13();
        steps.truncate(3);
        steps.push(client([changed(), record(APPLICATION_DATA, [2; 19])].concat()));
        let rows = drive::however_cut::<Dissector>(&steps);
        assert_eq!((&rows[0]["failed"], &rows[0]["alert"]), (&json!(true), &json!("encrypted")));
        assert_eq!(rows[0]["alerts"], json!(["client encrypted"]));

        let mut steps = handshake_12();
        steps.truncate(4);
        steps.push(server([changed(), record(ALERT, [2; 26])].concat()));
        let rows = drive::however_cut::<Dissector>(&steps);
        assert_eq!(
            (&rows[0]["alert"], &rows[0]["alert_from"]),
            (&json!("encrypted"), &json!("server"))
        );
    }

    #[test]
    fn one_half_is_enough() {
        let is_client = |it: &Step| matches!(it, Step::Sends(Side::Client, _));
        let (asks, answers): (Vec<_>, Vec<_>) = handshake_13().into_iter().partition(is_client);
        let rows = drive::however_cut::<Dissector>(&asks);
        assert_eq!(column(&rows, "target"), ["example.org"]);
        let rows = drive::however_cut::<Dissector>(&answers);
        assert_eq!(column(&rows, "verb"), ["ServerHello"]);
        assert_eq!(column(&rows, "established"), [Value::Null]);

        let (asks, answers): (Vec<_>, Vec<_>) = handshake_12().into_iter().partition(is_client);
        let rows = drive::however_cut::<Dissector>(&asks);
        assert_eq!(column(&rows, "target"), ["example.org"]);
        let rows = drive::however_cut::<Dissector>(&answers);
        assert_eq!(column(&rows, "alpn"), ["h2"]);
    }

    #[test]
    fn loss_leaves_what_was_seen() {
        // Within what is encrypted, nothing is lost.
        let mut steps = handshake_13();
        steps[2] = server([APPLICATION_DATA, 3, 3, 2, 188]);
        steps.insert(3, Step::Loses(Side::Server, 700));
        let rows = drive::stream::<Dissector>(&steps, usize::MAX);
        assert_eq!((&rows[0]["established"], &rows[0]["incomplete"]), (&json!(true), &Value::Null));

        // Without the end of the server's messages.
        let mut steps = handshake_12();
        let flight = [answer_12(), message(CERTIFICATE, [0; 900])].concat();
        steps[1] = server(&record(HANDSHAKE, flight)[..300]);
        steps.insert(2, Step::Loses(Side::Server, 2000));
        let rows = drive::stream::<Dissector>(&steps, usize::MAX);
        assert_eq!(rows[0]["cipher"], "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!((&rows[0]["established"], &rows[0]["incomplete"]), (&Value::Null, &json!(true)));

        // Without the end of the client's hello.
        let hello = record(HANDSHAKE, hello_13());
        let steps = [client(&hello[..90]), Step::Loses(Side::Client, 1000)];
        let rows = drive::stream::<Dissector>(&steps, usize::MAX);
        assert_eq!(
            (&rows[0]["target"], &rows[0]["incomplete"]),
            (&json!("example.org"), &json!(true))
        );
        assert_eq!(rows[0]["request_ciphers"][0], "TLS_AES_128_GCM_SHA256");
    }

    #[test]
    fn a_handshake_that_stops_is_a_row() {
        let mut steps = handshake_12();
        steps.truncate(2);
        steps.extend([Step::Ends(Side::Client), Step::Ends(Side::Server)]);
        let rows = drive::however_cut::<Dissector>(&steps);
        assert_eq!(column(&rows, "established"), [Value::Null]);
        assert_eq!(column(&rows, "version"), ["TLS 1.2"]);
    }

    #[test]
    fn a_server_that_speaks_something_else() {
        let steps = [
            client(record(HANDSHAKE, hello_13())),
            server(
                "HTTP/1.1 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.",
            ),
            Step::Ends(Side::Server),
            Step::Ends(Side::Client),
        ];
        let rows = drive::however_cut::<Dissector>(&steps);
        let (row, rest) = rows.split_first().unwrap();
        assert_eq!((&row["target"], &row["error"]), (&json!("example.org"), &json!(FOREIGN)));
        assert_eq!(row["established"], false);
        // Its words are a row of their own.
        assert_eq!(rest, ["becomes http"]);
        let noise = [client(record(HANDSHAKE, hello_13())), server("HTTP/2 or nothing at all")];
        let rows = drive::however_cut::<Dissector>(&noise);
        assert_eq!(column(&rows, "error"), [FOREIGN]);
    }

    #[test]
    fn the_hello_of_ssl_2() {
        let body =
            [&[CLIENT_HELLO, 3, 1, 0, 6, 0, 0, 0, 16][..], &[1, 0, 0x80, 0, 0, 0x2f], &[7; 16]];
        let body = body.concat();
        let hello = [&[0x80, body.len() as u8][..], &body].concat();
        let head = |bytes, side| Head { bytes, side, transport: Transport::Tcp, port: 9 };
        assert_eq!(Dissector::guess(&head(&hello, Side::Client)), Guess::Sure);
        let mut steps = handshake_12();
        steps[0] = client(&hello);
        let rows = drive::however_cut::<Dissector>(&steps);
        let ciphers = json!(["SSL2_RC4_128_WITH_MD5", "TLS_RSA_WITH_AES_128_CBC_SHA"]);
        assert_eq!(rows[0]["request_ciphers"], ciphers);
        assert_eq!(rows[0]["request_versions"], json!(["TLS 1.0"]));
        assert_eq!(rows[0]["version"], "TLS 1.2");
    }

    #[test]
    fn guesses_only_hellos() {
        let guess = |bytes: &[u8], side| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port: 443 })
        };
        let hello = record(HANDSHAKE, hello_13());
        let answer = record(HANDSHAKE, answer_13());
        for length in 1..11 {
            assert_eq!(guess(&hello[..length], Side::Client), Guess::More);
            assert_eq!(guess(&answer[..length], Side::Server), Guess::More);
        }
        assert_eq!(guess(&hello[..11], Side::Client), Guess::Sure);
        assert_eq!(guess(&hello, Side::Client), Guess::Sure);
        assert_eq!(guess(&answer, Side::Server), Guess::Sure);
        assert_eq!(guess(&hello, Side::Server), Guess::No);
        assert_eq!(guess(&record(ALERT, [2, 40]), Side::Server), Guess::Maybe);
        assert_eq!(guess(&record(APPLICATION_DATA, [1; 99]), Side::Client), Guess::No);
        assert_eq!(guess(b"GET / HTTP/1.1\r\n", Side::Client), Guess::No);
        assert_eq!(guess(&[0x16, 3, 1, 0xff, 0xff], Side::Client), Guess::No);
    }

    /// One record of DTLS with a piece of a handshake message.
    fn piece(kind: u8, number: u16, body: &[u8], at: usize, length: usize) -> Vec<u8> {
        let part = &body[at..at + length];
        let size = |n: usize| (n as u32).to_be_bytes()[1..].to_vec();
        let content = [
            vec![kind],
            size(body.len()),
            number.to_be_bytes().to_vec(),
            size(at),
            size(length),
            part.to_vec(),
        ];
        datagram(HANDSHAKE, 0, content.concat())
    }

    fn datagram(kind: u8, epoch: u16, content: impl AsRef<[u8]>) -> Vec<u8> {
        let parts =
            [vec![kind, 0xfe, 0xfd], epoch.to_be_bytes().to_vec(), vec![0; 6], sized(content)];
        parts.concat()
    }

    fn dtls_hello(cookie: &[u8]) -> Vec<u8> {
        let name = extension(SERVER_NAME, sized([&[0][..], &sized("thing.example")].concat()));
        let parts = [
            &[0xfe, 0xfd][..],
            &[7; 32],
            &[0, cookie.len() as u8],
            cookie,
            &sized([0xc0, 0xa8]),
            &[1, 0],
            &sized(name),
        ];
        parts.concat()
    }

    #[test]
    fn dtls_with_a_cookie_and_in_pieces() {
        let (first, second) = (dtls_hello(b""), dtls_hello(b"cookie"));
        let answer = [&[0xfe, 0xfd][..], &[9; 32], &[0, 0xc0, 0xa8, 0]].concat();
        let verify = [0xfe, 0xfd, 6, b'c', b'o', b'o', b'k', b'i', b'e'];
        let steps = [
            client(piece(CLIENT_HELLO, 0, &first, 0, first.len())),
            // Again, for no answer came.
            client(piece(CLIENT_HELLO, 0, &first, 0, first.len())),
            server(piece(HELLO_VERIFY_REQUEST, 0, &verify, 0, verify.len())),
            client(piece(CLIENT_HELLO, 1, &second, 30, second.len() - 30)),
            client(piece(CLIENT_HELLO, 1, &second, 0, 40)),
            server(
                [
                    piece(SERVER_HELLO, 1, &answer, 0, answer.len()),
                    piece(SERVER_HELLO_DONE, 2, &[], 0, 0),
                ]
                .concat(),
            ),
            client(
                [datagram(CHANGE_CIPHER_SPEC, 0, [1]), datagram(HANDSHAKE, 1, [5; 60])].concat(),
            ),
            server(
                [datagram(CHANGE_CIPHER_SPEC, 0, [1]), datagram(HANDSHAKE, 1, [5; 60])].concat(),
            ),
            server(datagram(APPLICATION_DATA, 1, [5; 60])),
        ];
        let rows = drive::datagrams::<Dissector>(&steps);
        assert_eq!(column(&rows, "retry"), [true, false]);
        assert_eq!(column(&rows, "transport"), ["udp", "udp"]);
        assert_eq!(column(&rows, "target"), ["thing.example", "thing.example"]);
        assert_eq!(column(&rows, "version"), [Value::Null, json!("DTLS 1.2")]);
        assert_eq!(column(&rows, "cipher"), [Value::Null, json!("TLS_PSK_WITH_AES_128_CCM_8")]);
        assert_eq!(column(&rows, "established"), [Value::Null, json!(true)]);
        assert_eq!(rows[2..], ["becomes encrypted"]);
        let Step::Sends(side, bytes) = &steps[0] else { unreachable!() };
        let head = Head { bytes, side: *side, transport: Transport::Udp, port: 9 };
        assert_eq!(Dissector::guess(&head), Guess::Sure);
    }

    #[test]
    fn what_the_connection_wants_to_know() {
        let mut dissector = Dissector::default();
        dissector.ask(Carrier::Tls, &client_hello(&[])[4..]);
        let body = Body::Ask(dissector.ask.unwrap());
        assert_eq!((body.server_name(), body.alpn()), (Some("example.org"), None));
        let hello = Some(answer_12()[4..].into());
        let body = Body::Answer(Box::new(Answer { hello, ..Answer::default() }));
        assert_eq!((body.server_name(), body.alpn()), (None, Some("h2")));
    }
}
