//! SMTP and LMTP: RFC 5321 and 2033, with PIPELINING (RFC 2920), CHUNKING (RFC 3030), STARTTLS
//! (RFC 3207), AUTH (RFC 4954) and enhanced status codes (RFC 2034).
use std::borrow::Cow;

use memchr::memchr;
use schema::value::{Body, Headers, Label, Size, Texts, text};

use super::common::reply::{Between, Coded, LINE_BYTES, Replies, Reply, command, next_line};
use super::{Dissect, Guess, Head, Transport};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

mod message;

use message::{Mail, from_base64};

/// Mail on its way from server to server, or from a program to its server: commands with their
/// replies, and each message as a row of its own (verb `(data)`; with `BDAT`, the command's row).
/// What a server says unasked, as its greeting, has the verb `(reply)`; steps of a login after the
/// first, `(auth)`. `status` is the reply's code. Passwords are replaced by `***` before anything
/// is kept.
#[derive(schema::Record)]
pub(super) struct Smtp<'a> {
    /// The command in capitals, or `(data)`, `(auth)` or `(reply)`.
    command: Label<'a>,
    /// What follows the command, such as `FROM:<a@example.org>`.
    argument: Option<Cow<'a, str>>,
    /// The reply without its code, a line each.
    reply: Option<Cow<'a, str>>,
    /// The reply's enhanced status code, such as `5.1.1` (RFC 3463).
    enhanced_status: Option<Label<'a>>,
    /// Who logs in, if a login in clear text says it.
    username: Option<Cow<'a, str>>,
    /// Of a message: the sender on its envelope, where errors go to.
    envelope_from: Option<Cow<'a, str>>,
    /// Of a message: the recipients on its envelope that the server accepted; the first 64.
    envelope_to: Texts<'a>,
    /// Of a message: its header `From`, decoded.
    header_from: Option<Cow<'a, str>>,
    /// Of a message: its header `To`, decoded.
    header_to: Option<Cow<'a, str>>,
    /// Of a message: its header `Subject`, decoded.
    subject: Option<Cow<'a, str>>,
    /// Of a message: its header `Message-ID`.
    message_id: Option<Cow<'a, str>>,
    /// Of a message: its header `Content-Type`.
    request_content_type: Option<Cow<'a, str>>,
    /// Of a message: its headers as sent.
    request_headers: Option<Headers<'a>>,
    /// Of a message: the start of what follows its headers, as sent.
    request_body: Option<Body<'a>>,
    /// Of a message: its size as sent, headers included.
    request_body_bytes: Option<Size>,
    /// Whether headers and body are not all of the message.
    request_body_truncated: bool,
}

/// What a connection is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Client,
    replies: Replies,
    /// Whether the client has said anything that is a command.
    is_known: bool,
    /// The server answers for each recipient of a message (LMTP).
    is_lmtp: bool,
    /// What the server said of the recipients so far, and how many are left.
    each: Option<(Reply, usize)>,
    envelope: Envelope,
    /// A hole in a message may hide its end; an answer then says that it has ended.
    is_over: bool,
}

/// What the client's next bytes are.
#[derive(Debug, Default)]
enum Client {
    #[default]
    Command,
    /// `DATA` was sent, and no reply has come: most likely a message.
    AwaitsGo,
    Data(Box<Data>),
    /// A chunk of known length, whose command came before.
    Chunk {
        sent: Box<Sent>,
        left: u64,
        incomplete: bool,
    },
    /// Steps of a login, as long as the server asks for more.
    Login {
        mechanism: Mechanism,
        step: u8,
        is_asked: bool,
    },
}

/// A message that ends with a dot on a line.
#[derive(Debug)]
struct Data {
    payload: Payload,
    incomplete: bool,
    /// The last two bytes.
    tail: [u8; 2],
}

/// Who sends a message to whom.
#[derive(Clone, Debug, Default)]
struct Envelope {
    from: Option<String>,
    to: Vec<String>,
    /// Bytes of the message went by, in a chunk.
    is_begun: bool,
    /// Something about it may have been missed.
    is_cut: bool,
}

/// How a client logs in, as far as it matters for what is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Login,
    Other,
}

/// A command, message or reply, as it is kept until its row is written.
#[derive(Debug)]
pub(super) enum Unit {
    Sent(Sent),
    Told(Reply),
}

/// What a client sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    kind: Kind,
    word: String,
    argument: String,
    user: Option<String>,
    envelope: Option<Envelope>,
    payload: Option<Payload>,
}

/// What a reply must be read by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    Hello,
    From,
    To,
    Data,
    Message,
    Chunk,
    Login,
    StartTls,
    Reset,
    #[default]
    Other,
}

impl Dissect for Dissector {
    const NAME: &'static str = "smtp";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[25, 587, 24, 465, 2525, 10025];
    type Body = Unit;
    type Columns = SmtpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        let Some(end) = memchr(b'\n', head.bytes) else {
            let may = match head.side {
                Side::Client => may_become_command(head.bytes),
                Side::Server => may_become_reply(head.bytes),
            };
            return if may { Guess::More } else { Guess::No };
        };
        let line = head.bytes.get(..end).unwrap_or_default().trim_ascii_end();
        match head.side {
            Side::Client => guess_command(line),
            Side::Server => guess_reply(line),
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Unit>,
    ) -> Result<Message<Unit>, Stop> {
        match side {
            Side::Client => self.parse_sent(input),
            Side::Server => self.parse_told(input, open),
        }
    }

    fn record(exchange: Exchange<'_, Unit>) -> (Summary<'_>, Smtp<'_>) {
        let sent = match exchange.request {
            Some(Unit::Sent(sent)) => Some(sent),
            _ => None,
        };
        let reply = match exchange.response {
            Some(Unit::Told(reply)) => Some(reply),
            _ => None,
        };
        record(sent, reply)
    }

    fn weight(unit: &Unit) -> usize {
        size_of::<Unit>()
            + match unit {
                Unit::Sent(sent) => sent.held(),
                Unit::Told(reply) => reply.held(),
            }
    }

    fn held(&self) -> usize {
        let client = match &self.client {
            Client::Data(data) => data.payload.held(),
            Client::Chunk { sent, .. } => sent.held(),
            Client::Command | Client::AwaitsGo | Client::Login { .. } => 0,
        };
        let each = self.each.as_ref().map_or(0, |it| it.0.held());
        client + each + self.replies.held() + self.envelope.held()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        match (side, &mut self.client) {
            (Side::Client, Client::Data(data)) => {
                data.payload.skip(missing);
                data.incomplete = true;
                data.tail = [0; 2];
                Ok(())
            }
            (Side::Client, Client::Chunk { sent, left, incomplete }) if missing <= *left => {
                *incomplete = true;
                if let Some(payload) = &mut sent.payload {
                    payload.skip(missing);
                }
                *left -= missing;
                Ok(())
            }
            _ => Err(Stop::Lost),
        }
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        self.envelope.is_cut = true;
        match side {
            Side::Server => self.replies.resync(input),
            Side::Client => {
                self.client = Client::Command;
                self.is_over = false;
                next_line(input, |line| guess_command(line) != Guess::No)
            }
        }
    }

    fn end(&mut self, side: Side) -> Option<Message<Unit>> {
        if side == Side::Server {
            let (reply, _) = self.each.take()?;
            return Some(Message::response(Unit::Told(reply)).incomplete(true));
        }
        match std::mem::take(&mut self.client) {
            Client::Data(data) => Some(self.message(*data).incomplete(true)),
            Client::Chunk { sent, .. } => {
                Some(Message::request(Unit::Sent(*sent)).incomplete(true))
            }
            Client::Command | Client::AwaitsGo | Client::Login { .. } => None,
        }
    }
}

impl Dissector {
    fn parse_sent(&mut self, input: &mut Input<'_>) -> Result<Message<Unit>, Stop> {
        loop {
            match &mut self.client {
                Client::Data(data) => {
                    if !std::mem::take(&mut self.is_over) {
                        data.read(input)?;
                    } else {
                        data.incomplete = true;
                    }
                    let Client::Data(data) = std::mem::take(&mut self.client) else {
                        return Err(Stop::Lost);
                    };
                    return Ok(self.message(*data));
                }
                Client::Chunk { sent, left, incomplete } => {
                    while *left > 0 {
                        let some = input.some(*left)?;
                        *left -= some.len() as u64;
                        let limit = input.limits().body_bytes;
                        if let Some(payload) = &mut sent.payload {
                            payload.push(some, limit);
                        }
                        input.commit();
                    }
                    let (sent, incomplete) = (std::mem::take(&mut **sent), *incomplete);
                    self.client = Client::Command;
                    return Ok(Message::request(Unit::Sent(sent)).incomplete(incomplete));
                }
                Client::Command | Client::AwaitsGo | Client::Login { .. } => {}
            }
            let rest = input.rest();
            let Some(end) = memchr(b'\n', rest) else {
                let is_bounded = rest.len() <= LINE_BYTES;
                return Err(if is_bounded { Stop::More } else { Stop::Lost });
            };
            let line = rest.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if matches!(self.client, Client::AwaitsGo) && guess_command(line) == Guess::No {
                // No command, so it is the message's first line.
                self.client = Client::Data(Box::default());
                continue;
            }
            input.take(end + 1)?;
            match self.client {
                Client::Login { mechanism, step, is_asked }
                    if is_asked || guess_command(line) == Guess::No =>
                {
                    self.client = Client::Login { mechanism, step: step + 1, is_asked: false };
                    return Ok(Message::request(Unit::Sent(login_step(mechanism, step, line))));
                }
                _ => {
                    self.client = Client::Command;
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    if let Some(message) = self.command(line, input)? {
                        return Ok(message);
                    }
                }
            }
        }
    }

    /// `None` if what it announces is still to come.
    fn command(
        &mut self,
        line: &[u8],
        input: &mut Input<'_>,
    ) -> Result<Option<Message<Unit>>, Stop> {
        if !self.is_known && guess_command(line) == Guess::No {
            return Err(Stop::Lost);
        }
        self.is_known = true;
        let (word, argument) = command(line);
        let mut sent = Sent { argument: text(argument).into_owned(), ..Sent::default() };
        match word.as_str() {
            "HELO" | "EHLO" | "LHLO" => {
                self.is_lmtp = word == "LHLO";
                self.envelope = Envelope::default();
                sent.kind = Kind::Hello;
            }
            "MAIL" => {
                self.envelope = Envelope { from: path(argument), ..Envelope::default() };
                sent.kind = Kind::From;
            }
            "RCPT" => {
                if let Some(to) = path(argument)
                    && self.envelope.to.len() < RECIPIENTS
                {
                    self.envelope.to.push(to);
                }
                sent.kind = Kind::To;
            }
            "RSET" => {
                self.envelope = Envelope::default();
                sent.kind = Kind::Reset;
            }
            "DATA" => {
                self.client = Client::AwaitsGo;
                sent.kind = Kind::Data;
            }
            "STARTTLS" => sent.kind = Kind::StartTls,
            "AUTH" => {
                sent.kind = Kind::Login;
                let mut words = argument.split(|it| *it == b' ').filter(|it| !it.is_empty());
                let name = words.next().unwrap_or_default();
                let mechanism = Mechanism::named(name);
                let mut step = 0;
                if let Some(initial) = words.next() {
                    sent.user = mechanism.user(0, initial);
                    step = 1;
                    // Who logs in is no secret, where it stands alone.
                    sent.argument = match mechanism {
                        Mechanism::Login => format!("{} {}", text(name), text(initial)),
                        Mechanism::Plain | Mechanism::Other => format!("{} ***", text(name)),
                    };
                }
                self.client = Client::Login { mechanism, step, is_asked: false };
            }
            "BDAT" => {
                let mut words = argument.split(|it| *it == b' ');
                let size = words.next().and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
                if let Some(left) = size {
                    let mut payload = Payload::default();
                    payload.expect(left, input.limits().body_bytes);
                    sent.kind = Kind::Chunk;
                    sent.payload = Some(payload);
                    sent.envelope = Some(self.envelope.clone());
                    sent.word = word;
                    let incomplete = self.envelope.is_cut;
                    self.envelope.is_begun = true;
                    if words.any(|it| it.eq_ignore_ascii_case(b"LAST")) {
                        self.envelope = Envelope::default();
                    }
                    self.client = Client::Chunk { sent: Box::new(sent), left, incomplete };
                    input.commit();
                    return Ok(None);
                }
            }
            // A client that lost its place may send a secret where a command should be.
            _ if guess_command(line) == Guess::No && looks_secret(line) => {
                sent.word = "***".to_owned();
                sent.argument.clear();
                return Ok(Some(Message::request(Unit::Sent(sent))));
            }
            _ => {}
        }
        sent.word = word;
        Ok(Some(Message::request(Unit::Sent(sent))))
    }

    /// A message that has ended.
    fn message(&mut self, data: Data) -> Message<Unit> {
        let incomplete = data.incomplete || self.envelope.is_cut;
        let sent = Sent {
            kind: Kind::Message,
            word: "(data)".to_owned(),
            envelope: Some(std::mem::take(&mut self.envelope)),
            payload: Some(data.payload),
            ..Sent::default()
        };
        Message::request(Unit::Sent(sent)).incomplete(incomplete)
    }

    fn parse_told(
        &mut self,
        input: &mut Input<'_>,
        open: &Open<Unit>,
    ) -> Result<Message<Unit>, Stop> {
        loop {
            let reply = self.replies.read(input, Between::Coded)?;
            let asked = match open.oldest(0) {
                Some(Unit::Sent(sent)) => Some(sent),
                _ => None,
            };
            let kind = asked.map(|it| it.kind);
            let incomplete = reply.incomplete;
            if reply.code == 220 && kind != Some(Kind::StartTls) {
                // A greeting answers nothing, even if a client in a hurry has asked already.
                return Ok(Message::notice(Unit::Told(reply)).incomplete(incomplete));
            }
            if self.is_lmtp && kind == Some(Kind::Message) {
                let recipients =
                    asked.and_then(|it| it.envelope.as_ref()).map_or(0, |it| it.to.len());
                let (mut all, left) = self.each.take().map_or_else(
                    || (None, recipients.saturating_sub(1)),
                    |(all, left)| (Some(all), left.saturating_sub(1)),
                );
                match &mut all {
                    Some(all) => all.and(&reply),
                    None => all = Some(reply),
                }
                let all = all.unwrap_or_default();
                if left > 0 {
                    self.each = Some((all, left));
                    input.commit();
                    continue;
                }
                let incomplete = all.incomplete;
                return Ok(Message::response(Unit::Told(all)).incomplete(incomplete));
            }
            let becomes_tls = kind == Some(Kind::StartTls) && reply.code == 220;
            self.answered(kind, asked, &reply);
            let message = Message::response(Unit::Told(reply)).incomplete(incomplete);
            return Ok(if becomes_tls { message.becomes("tls") } else { message });
        }
    }

    /// What a reply says of what the client sends next.
    fn answered(&mut self, kind: Option<Kind>, asked: Option<&Sent>, reply: &Reply) {
        match (kind, &mut self.client) {
            (Some(Kind::Data), Client::AwaitsGo) => {
                self.client = match reply.code {
                    354 => Client::Data(Box::default()),
                    _ => Client::Command,
                };
            }
            (Some(Kind::Login), Client::Login { is_asked, .. }) => match reply.code {
                334 => *is_asked = true,
                _ => self.client = Client::Command,
            },
            (Some(Kind::To), _) if reply.is_failure() => {
                let refused = asked.and_then(|it| path(it.argument.as_bytes()));
                self.envelope.to.retain(|it| Some(it) != refused.as_ref());
            }
            (None, Client::Data(data)) if data.incomplete => self.is_over = true,
            _ => {}
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { payload: Payload::default(), incomplete: false, tail: *b"\r\n" }
    }
}

impl Data {
    /// Uses up the message to its end, which is not part of it.
    fn read(&mut self, input: &mut Input<'_>) -> Result<(), Stop> {
        let limit = input.limits().body_bytes;
        loop {
            let rest = input.rest();
            if self.tail[1] == b'\n' {
                match rest {
                    [b'.', b'\r', b'\n', ..] => {
                        input.take(3)?;
                        return Ok(());
                    }
                    // Where lines end without a carriage return, the last one does.
                    [b'.', b'\n', ..] if self.tail[0] != b'\r' => {
                        input.take(2)?;
                        return Ok(());
                    }
                    [b'.'] | [b'.', b'\r'] => return Err(Stop::More),
                    [b'.', ..] => {
                        input.take(1)?;
                    }
                    _ => {}
                }
            }
            let rest = input.rest();
            let n = memchr(b'\n', rest).map_or(rest.len(), |it| it + 1);
            let line = input.some(n as u64)?;
            self.payload.push(line, limit);
            self.tail = match *line {
                [.., first, second] => [first, second],
                [only] => [self.tail[1], only],
                [] => self.tail,
            };
            input.commit();
        }
    }
}

impl Envelope {
    fn held(&self) -> usize {
        let from = self.from.as_ref().map_or(0, String::capacity);
        from + self.to.iter().map(String::capacity).sum::<usize>()
    }
}

impl Sent {
    fn held(&self) -> usize {
        self.word.capacity()
            + self.argument.capacity()
            + self.envelope.as_ref().map_or(0, Envelope::held)
            + self.payload.as_ref().map_or(0, Payload::held)
    }
}

impl Reply {
    /// With what the server says of the next recipient; the worst counts.
    fn and(&mut self, other: &Self) {
        self.code = self.code.max(other.code);
        self.incomplete |= other.incomplete;
        if self.text.len() + other.text.len() < LINE_BYTES {
            self.text.push(b'\n');
            self.text.extend_from_slice(&other.text);
        }
    }
}

impl Mechanism {
    fn named(name: &[u8]) -> Self {
        match name {
            it if it.eq_ignore_ascii_case(b"PLAIN") => Self::Plain,
            it if it.eq_ignore_ascii_case(b"LOGIN") => Self::Login,
            _ => Self::Other,
        }
    }

    /// Who logs in, if this step says it.
    fn user(self, step: u8, coded: &[u8]) -> Option<String> {
        let plain = match (self, step) {
            (Self::Plain, _) | (Self::Login, 0) => from_base64(coded)?,
            _ => return None,
        };
        let name = match self {
            // RFC 4616: who to act as, who logs in, the password.
            Self::Plain => plain.split(|it| *it == 0).nth(1)?,
            _ => &plain,
        };
        std::str::from_utf8(name).ok().filter(|it| !it.is_empty()).map(str::to_owned)
    }
}

fn login_step(mechanism: Mechanism, step: u8, line: &[u8]) -> Sent {
    let word = "(auth)".to_owned();
    Sent { kind: Kind::Login, word, user: mechanism.user(step, line), ..Sent::default() }
}

fn record<'a>(sent: Option<&'a Sent>, reply: Option<&'a Reply>) -> (Summary<'a>, Smtp<'a>) {
    let word = sent.map_or("(reply)", |it| &it.word);
    let argument = sent.map_or("", |it| &it.argument);
    let envelope = sent.and_then(|it| it.envelope.as_ref());
    let payload = sent.and_then(|it| it.payload.as_ref());
    let mail = match payload {
        Some(payload) if envelope.is_some_and(|it| it.is_begun) => {
            Mail { body: payload.bytes(), ..Mail::default() }
        }
        Some(payload) => Mail::of(payload.bytes()),
        None => Mail::default(),
    };
    let target = match payload {
        Some(_) => mail.subject.clone().unwrap_or_default(),
        None => argument.into(),
    };
    let failed = reply.is_none_or(Reply::is_failure);
    let summary = Summary {
        verb: word.into(),
        target,
        status: reply.map(|it| it.code.into()),
        failed,
        error: reply.and_then(Reply::error),
    };
    let row = Smtp {
        command: word.into(),
        argument: (!argument.is_empty()).then(|| argument.into()),
        reply: reply.and_then(Reply::text),
        enhanced_status: reply.and_then(|it| enhanced_status(&it.text)).map(Label::from),
        username: sent.and_then(|it| it.user.as_deref()).map(Cow::Borrowed),
        envelope_from: envelope.and_then(|it| it.from.as_deref()).map(Cow::Borrowed),
        envelope_to: Texts(
            envelope.into_iter().flat_map(|it| &it.to).map(|it| it.as_str().into()).collect(),
        ),
        header_from: mail.from,
        header_to: mail.to,
        subject: mail.subject,
        message_id: mail.message_id,
        request_content_type: mail.content_type,
        request_headers: (!mail.headers.is_empty()).then_some(Headers(mail.headers)),
        request_body: payload.map(|_| Body(mail.body.into())),
        request_body_bytes: payload.map(|it| Size(it.size())),
        request_body_truncated: payload.is_some_and(|it| !it.is_whole()),
    };
    (summary, row)
}

/// Class, subject and detail, at the start of a reply.
fn enhanced_status(reply: &[u8]) -> Option<Cow<'_, str>> {
    let word = reply.split(|it| it.is_ascii_whitespace()).next()?;
    let mut parts = word.split(|it| *it == b'.');
    let is_number = |it: Option<&[u8]>| {
        it.is_some_and(|it| (1..=3).contains(&it.len()) && it.iter().all(u8::is_ascii_digit))
    };
    let is_class = matches!(parts.next(), Some(b"2" | b"4" | b"5"));
    let is_status =
        is_class && is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none();
    is_status.then(|| text(word))
}

/// The address in `FROM:<a@b> SIZE=1` or `TO:<a@b>`; empty for `<>`.
fn path(argument: &[u8]) -> Option<String> {
    let at = memchr(b':', argument)?;
    let after = argument.get(at + 1..)?.trim_ascii_start();
    let address = match after.strip_prefix(b"<") {
        Some(inner) => inner.split(|it| *it == b'>').next()?,
        None => after.split(|it| *it == b' ').next()?,
    };
    Some(text(address).into_owned())
}

/// How much a client's line looks like a command.
fn guess_command(line: &[u8]) -> Guess {
    let (word, argument) = command(line);
    let names =
        |start: &[u8]| argument.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
    let is_plain = line.iter().all(|it| !it.is_ascii_control() || *it == b'\t');
    match word.as_str() {
        _ if !is_plain => Guess::No,
        "EHLO" | "LHLO" => Guess::Sure,
        "HELO" if !argument.is_empty() => Guess::Sure,
        "MAIL" if names(b"FROM:") => Guess::Sure,
        "RCPT" if names(b"TO:") => Guess::Sure,
        "HELO" | "VRFY" | "EXPN" | "HELP" | "NOOP" | "XCLIENT" | "XFORWARD" => Guess::Maybe,
        "BDAT" if argument.first().is_some_and(u8::is_ascii_digit) => Guess::Maybe,
        "AUTH" if !argument.is_empty() => Guess::Maybe,
        "QUIT" | "RSET" | "DATA" | "STARTTLS" | "TURN" | "ETRN" if argument.is_empty() => {
            Guess::Maybe
        }
        _ => Guess::No,
    }
}

/// Whether a line without its end may yet be a command.
fn may_become_command(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|it| *it == b' ' || *it == b'\r').unwrap_or(bytes.len());
    let word = bytes.get(..end).unwrap_or_default();
    bytes.len() < LINE_BYTES
        && WORDS.iter().any(|it| match it.get(..word.len()) {
            Some(start) if end == bytes.len() => start.eq_ignore_ascii_case(word),
            Some(start) => start.eq_ignore_ascii_case(word) && it.len() == word.len(),
            None => false,
        })
}

/// How much a server's first line looks like this protocol's.
fn guess_reply(line: &[u8]) -> Guess {
    let Some(reply) = Coded::of(line) else { return Guess::No };
    let says = |word: &[u8]| reply.text.windows(word.len()).any(|it| it.eq_ignore_ascii_case(word));
    match reply.code {
        220 if says(b"SMTP") || says(b"LMTP") => Guess::Sure,
        220 if says(b"FTP") => Guess::No,
        // No other protocol says it twice.
        code if enhanced_status(reply.text).is_some_and(|it| it.starts_with(class(code))) => {
            Guess::Sure
        }
        220
        | 221
        | 235
        | 250..=252
        | 334
        | 354
        | 421
        | 450..=455
        | 500..=504
        | 530
        | 535
        | 550..=556 => Guess::Maybe,
        _ => Guess::No,
    }
}

/// What the enhanced status of such a reply begins with.
fn class(code: u16) -> char {
    char::from_digit(u32::from(code / 100), 10).unwrap_or_default()
}

/// Whether a line without its end may yet be a reply.
fn may_become_reply(bytes: &[u8]) -> bool {
    let digits = bytes.iter().take(3).all(u8::is_ascii_digit);
    digits
        && bytes.get(3).is_none_or(|it| matches!(it, b' ' | b'-' | b'\r'))
        && bytes.len() < LINE_BYTES
}

/// A lone word of base64, which no command is, may be a password.
fn looks_secret(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let has = |is: fn(&u8) -> bool| line.iter().any(is);
    let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    line.len() >= 8
        && (is_mixed || has(u8::is_ascii_digit) || line.ends_with(b"="))
        && !line.contains(&b' ')
        && from_base64(line).is_some()
}

/// Commands that a flow may begin with.
const WORDS: &[&[u8]] = &[
    b"EHLO",
    b"HELO",
    b"LHLO",
    b"MAIL",
    b"RCPT",
    b"DATA",
    b"BDAT",
    b"RSET",
    b"VRFY",
    b"EXPN",
    b"HELP",
    b"NOOP",
    b"QUIT",
    b"AUTH",
    b"STARTTLS",
    b"TURN",
    b"ETRN",
    b"XCLIENT",
    b"XFORWARD",
];

/// Recipients of one message that are kept.
const RECIPIENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::{self, Step, client, server};

    fn rows(steps: &[Step]) -> Vec<String> {
        let text = |row: &serde_json::Value, name: &str| match &row[name] {
            serde_json::Value::String(it) => it.clone(),
            other => other.to_string(),
        };
        let rows = drive::however_cut::<Dissector>(steps);
        let line = |row: &serde_json::Value| match row.as_str() {
            Some(ended) => ended.to_owned(),
            None => {
                let incomplete = if row["incomplete"] == true { " (incomplete)" } else { "" };
                ["verb", "target", "status"].map(|it| text(row, it)).join(" ") + incomplete
            }
        };
        rows.iter().map(line).collect()
    }

    const START: &str = "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\n";

    #[test]
    fn a_mail_is_a_row_of_its_own() {
        let steps = [
            server("220 mx ESMTP\r\n"),
            client("EHLO me\r\n"),
            server("250-mx\r\n250-PIPELINING\r\n250 SIZE\r\n"),
            client(START),
            server("250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 who?\r\n354 go\r\n"),
            client(
                "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nTo: b@y\r\n\r\nHi\r\n..\r\n.x\r\n.\r\nQUIT\r\n",
            ),
            server("250 2.0.0 taken\r\n221 bye\r\n"),
        ];
        let expected = [
            "(reply)  220",
            "EHLO me 250",
            "MAIL FROM:<a@x> 250",
            "RCPT TO:<b@y> 250",
            "RCPT TO:<c@y> 550",
            "DATA  354",
            "(data) Grüße 250",
            "QUIT  221",
        ];
        assert_eq!(rows(&steps), expected);
        let mail = &drive::stream::<Dissector>(&steps, 1000)[6];
        assert_eq!(mail["envelope_to"], serde_json::json!(["b@y"]));
        assert_eq!((&mail["envelope_from"], &mail["header_to"]), (&"a@x".into(), &"b@y".into()));
        // Without the dots that only keep lines apart from the last one.
        assert_eq!(mail["request_body"], "48690d0a2e0d0a780d0a");
        assert_eq!(mail["enhanced_status"], "2.0.0");
    }

    #[test]
    fn refused_data_is_followed_by_commands() {
        let steps = [
            client("EHLO me\r\n"),
            server("250 mx\r\n"),
            client("DATA\r\n"),
            server("503 first MAIL\r\n"),
            client("Hello, Bob\r\n"),
            server("500 what?\r\n"),
            client("RSET\r\n"),
            server("250 ok\r\n"),
        ];
        assert_eq!(rows(&steps), ["EHLO me 250", "DATA  503", "HELLO, Bob 500", "RSET  250"]);
    }

    #[test]
    fn chunks_belong_to_their_command() {
        let steps = [
            client("EHLO me\r\nMAIL FROM:<a@x>\r\n"),
            server("250 mx\r\n250 ok\r\n"),
            client("BDAT 14\r\nSubject: s\r\n\r\nBDAT 6 LAST\r\nQUIT\r\nQUIT\r\n"),
            server("250 ok\r\n250 taken\r\n221 bye\r\n"),
        ];
        let expected =
            ["EHLO me 250", "MAIL FROM:<a@x> 250", "BDAT s 250", "BDAT  250", "QUIT  221"];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn lmtp_answers_for_each_recipient() {
        let steps = [
            server("220 LMTP\r\n"),
            client("LHLO me\r\n"),
            server("250 mx\r\n"),
            client(START),
            server("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
            client("Subject: s\r\n\r\nx\r\n.\r\n"),
            server("250 b\r\n452 c is full\r\n"),
            client("QUIT\r\n"),
            server("221 bye\r\n"),
        ];
        let rows = rows(&steps);
        assert_eq!(rows[6..], ["(data) s 452", "QUIT  221"]);
    }

    #[test]
    fn secrets_are_not_kept() {
        let steps = [
            client("EHLO me\r\n"),
            server("250 mx\r\n"),
            client("AUTH PLAIN AGFsaWNlAHMzY3JldA==\r\n"),
            server("535 no\r\n"),
            client("AUTH LOGIN\r\n"),
            server("334 VXNlcm5hbWU6\r\n"),
            client("YWxpY2U=\r\n"),
            server("334 UGFzc3dvcmQ6\r\n"),
            client("czNjcmV0\r\n"),
            server("235 in\r\n"),
            client("czNjcmV0\r\n"),
            server("500 what?\r\n"),
        ];
        let expected = [
            "EHLO me 250",
            "AUTH PLAIN *** 535",
            "AUTH LOGIN 334",
            "(auth)  334",
            "(auth)  235",
            "***  500",
        ];
        assert_eq!(rows(&steps), expected);
        let rows = drive::stream::<Dissector>(&steps, 1000);
        let users: Vec<_> = rows.iter().map(|it| it["username"].as_str().unwrap_or("")).collect();
        assert_eq!(users, ["", "alice", "", "alice", "", ""]);
        assert!(!rows.iter().any(|it| it.to_string().contains("3cret")));
    }

    #[test]
    fn tls_takes_over() {
        let steps = [
            server("220 mx ESMTP\r\n"),
            client("STARTTLS\r\n"),
            server("220 go\r\n"),
            client("\x16\x03\x01"),
        ];
        assert_eq!(rows(&steps), ["(reply)  220", "STARTTLS  220", "becomes tls"]);
    }

    #[test]
    fn a_greeting_answers_nothing() {
        let steps = [client("HELO me\r\n"), server("220 mx\r\n250 mx\r\n")];
        assert_eq!(rows(&steps), ["(reply)  220", "HELO me 250"]);
    }

    #[test]
    fn one_direction_alone_is_read() {
        let steps =
            [client("EHLO me\r\n"), client(START), client("Subject: s\r\n\r\nx\r\n.\r\nQUIT\r\n")];
        let rows = rows(&steps);
        assert_eq!(rows[4..], ["DATA  null", "(data) s null", "QUIT  null"]);
    }

    #[test]
    fn a_hole_costs_what_it_touches() {
        let steps = [
            client("EHLO me\r\n"),
            server("250 mx\r\n"),
            client("DATA\r\n"),
            server("354 go\r\n"),
            client("Subject: s\r\n\r\nHi\r\n"),
            Step::Loses(Side::Client, 20),
            server("250 taken\r\n"),
            client("RSET\r\n"),
            server("250 ok\r\n"),
        ];
        assert_eq!(
            rows(&steps),
            ["EHLO me 250", "DATA  354", "(data) s 250 (incomplete)", "RSET  250"]
        );
        let steps = [
            client("EHLO me\r\n"),
            Step::Loses(Side::Server, 9),
            server("250 SIZE\r\n"),
            client("NOOP\r\n"),
            server("250 ok\r\n"),
        ];
        assert_eq!(rows(&steps), ["EHLO me 250 (incomplete)", "NOOP  250"]);
    }

    #[test]
    fn recognised_by_content() {
        for (line, expected) in [
            (&b"EHLO a"[..], Guess::Sure),
            (b"mail from:<a@b>", Guess::Sure),
            (b"QUIT", Guess::Maybe),
            (b"DATA x", Guess::No),
            (b"USER bob", Guess::No),
            (b"\x16\x03\x01", Guess::No),
        ] {
            assert_eq!(guess_command(line), expected, "{}", line.escape_ascii());
        }
        assert_eq!(guess_reply(b"220 mx ESMTP Postfix"), Guess::Sure);
        assert_eq!(guess_reply(b"220 ProFTPD"), Guess::No);
        assert_eq!(guess_reply(b"220 mx"), Guess::Maybe);
        assert_eq!(guess_reply(b"250 2.1.5 Ok"), Guess::Sure);
        assert_eq!(guess_reply(b"250 5.1.5 Ok"), Guess::Maybe);
        assert!(may_become_command(b"EH") && may_become_command(b"EHLO a"));
        assert!(!may_become_command(b"GET /") && may_become_reply(b"22"));
    }

    const PIECES: &[&str] = &[
        "EHLO a\r\n",
        "LHLO a\r\n",
        "MAIL FROM:<a@b>\r\n",
        "RCPT TO:<c@d>\r\n",
        "DATA\r\n",
        "BDAT 5\r\n",
        "BDAT 3 LAST\r\n",
        "AUTH LOGIN\r\n",
        "AUTH PLAIN YQ==\r\n",
        "YWJjZA==\r\n",
        "Subject: x\r\n\r\n",
        "hi\n",
        ".\r\n",
        ".\n",
        "..\r\n",
        "\r\n",
        "QUIT\r\n",
        "STARTTLS\r\n",
        "RSET\r\n",
        "220 a\r\n",
        "250 ok\r\n",
        "250-a\r\n",
        "354 go\r\n",
        "334 x\r\n",
        "235 in\r\n",
        "550 5.1.1 no\r\n",
        "\0\r",
        "x",
    ];

    proptest::proptest! {
        /// Whatever either side says, in whatever order, makes the same rows however it is cut.
        #[test]
        fn noise_is_no_accident(
            said in proptest::collection::vec(
                (proptest::prelude::any::<bool>(), proptest::sample::select(PIECES)),
                0..40,
            ),
            piece in 1_usize..30,
            missing in 0_u64..40,
        ) {
            let step = |(is_client, bytes): &(bool, &str)| match is_client {
                true => client(bytes),
                false => server(bytes),
            };
            let steps: Vec<Step> = said.iter().map(step).collect();
            let whole = drive::stream::<Dissector>(&steps, usize::MAX);
            proptest::prop_assert_eq!(drive::stream::<Dissector>(&steps, piece), whole);
            let lossy = said.iter().enumerate().flat_map(|(place, it)| {
                let side = if it.0 { Side::Client } else { Side::Server };
                let lost = (place % 5 == 4).then_some(Step::Loses(side, missing));
                lost.into_iter().chain([step(it)])
            });
            let lossy: Vec<Step> = lossy.chain([Step::Ends(Side::Client), Step::Ends(Side::Server)]).collect();
            drive::stream::<Dissector>(&lossy, piece);
        }
    }
}
