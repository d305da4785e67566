//! DNS over UDP and TCP: RFC 1035 and its successors; multicast DNS and LLMNR.
use std::borrow::Cow;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use schema::value::{Code, Duration, Json, Label, Size, Texts};

use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::SECOND;

/// Questions to DNS servers and their answers, over UDP and TCP. Names stand without the final
/// dot and with the escapes of zone files; the root is `.`. What groups ask and answer among
/// themselves is here too: multicast DNS on port 5353 (RFC 6762), LLMNR on 5355 (RFC 4795).
#[derive(schema::Record)]
pub(super) struct Dns<'a> {
    /// Name of the first question; of an update, the zone. OpenTelemetry: `dns.question.name`.
    question_name: Option<Cow<'a, str>>,
    /// Type of the first question, such as `AAAA`.
    question_type: Option<Label<'a>>,
    /// Class of the first question: `IN` as a rule.
    question_class: Option<Label<'a>>,
    /// All questions, each as name, class and type.
    questions: Texts<'a>,
    /// How it ended, such as `NOERROR` or `NXDOMAIN`; null without an answer.
    response_code: Option<Label<'a>>,
    /// What the records of the answer section say, in the notation of zone files: addresses,
    /// names, texts. Signatures only if they were asked for. OpenTelemetry: `dns.answers`.
    answers: Texts<'a>,
    /// How many records the answer section has; of a zone transfer, in all its messages.
    answer_count: Option<u64>,
    /// The shortest time for which a record of the answer section may be kept.
    ttl: Option<Duration>,
    /// Every record of the answer (of an update: of the request), as a list of objects with
    /// `section` (`answer`, `authority`, `additional`; of an update also `prerequisite` and
    /// `update`), `name`, `class`, `type`, `ttl` and `data`. The list is cut at 64 KiB.
    records: Option<Json<'a>>,
    /// The server speaks for the zone (AA).
    authoritative: Option<bool>,
    /// The answer did not fit and was cut (TC).
    truncated: Option<bool>,
    /// The client asks the server to ask others (RD).
    recursion_desired: bool,
    /// The server asks others for its clients (RA).
    recursion_available: Option<bool>,
    /// The server has checked the answer's signatures (AD).
    authenticated: Option<bool>,
    /// The client wants no such check (CD).
    checking_disabled: bool,
    /// The client wants signatures (DO).
    dnssec_ok: Option<bool>,
    /// The largest datagram the client takes, if it says so (EDNS).
    edns_udp_size: Option<Size>,
    /// The network on whose behalf it was asked, such as `192.0.2.0/24` (RFC 7871).
    client_subnet: Option<Cow<'a, str>>,
    /// Why it failed, in more detail than the response code (RFC 8914).
    extended_error: Option<Cow<'a, str>>,
    /// What kind of message: 0 query, 1 inverse query, 2 status, 4 notify, 5 update, 6 session.
    opcode: Code,
    /// The number that pairs answer and question.
    id: Code,
}

/// The zone transfer that a connection is in the middle of: many answers to one question.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    transfer: Option<Transfer>,
}

/// One message as it was sent, known to have a sound header and sound questions.
#[derive(Debug)]
pub(super) struct Body {
    message: Box<[u8]>,
    /// The messages after the first, of a zone transfer.
    more: Vec<Box<[u8]>>,
    /// Records of all answer sections.
    answers: u64,
}

impl Dissect for Dissector {
    const NAME: &'static str = "dns";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp, Transport::Tcp];
    const PORTS: &'static [u16] = &[53, 5353, 5355];
    type Body = Body;
    type Columns = DnsColumns;

    fn guess(head: &Head<'_>) -> Guess {
        if LOOKALIKE_PORTS.contains(&head.port) {
            return Guess::No;
        }
        match head.transport {
            Transport::Udp => judge(head.bytes, head.bytes.len(), head.side),
            Transport::Sctp | Transport::Icmp | Transport::Icmpv6 => Guess::No,
            Transport::Tcp => match head.bytes {
                [high, low, message @ ..] => {
                    judge(message, u16::from_be_bytes([*high, *low]).into(), head.side)
                }
                _ => Guess::More,
            },
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        loop {
            let length = match input.datagram() {
                true => input.rest().len(),
                false => input.u16()?.into(),
            };
            if length < HEADER_BYTES {
                return Err(Stop::Lost);
            }
            let message = input.take(length)?;
            let header = Header::of(message).ok_or(Stop::Lost)?;
            let outline = Outline::of(message).ok_or(Stop::Lost)?;
            // Of a group, everybody asks and answers from the same port (RFC 6762 §6 and §18.1), and who
            // asks waits for no answer in particular.
            let to_group = input.datagram() && header.id == 0 && !header.has(RECURSION_DESIRED);
            if header.is_response() != (side == Side::Server) && !to_group {
                return Err(Stop::Lost);
            }
            let answers = header.counts[1].into();
            let body = Body { message: message.into(), more: Vec::new(), answers };
            if !header.is_response() && to_group {
                return Ok(Message::notice(body).by_client().incomplete(!outline.whole));
            }
            if !header.is_response() {
                return Ok(Message::request(body).key(header.id.into()).incomplete(!outline.whole));
            }
            if to_group {
                return Ok(Message::notice(body).by_server().incomplete(!outline.whole));
            }
            if input.datagram() || !self.transfers(&header, open) {
                return Ok(Message::response(body)
                    .key(header.id.into())
                    .incomplete(!outline.whole));
            }
            // Only the last message of a transfer completes the answer.
            let transfer = self.transfer.get_or_insert_with(|| Transfer::new(header.id));
            let done = transfer.add(body, &outline, input.limits().body_bytes);
            input.commit();
            if done && let Some(transfer) = self.transfer.take() {
                return transfer.message().ok_or(Stop::Lost);
            }
        }
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Dns<'_>) {
        let request = exchange.request.map(|it| View::of(&it.message));
        let response = exchange.response.map(|it| View::of(&it.message));
        let asked = request.as_ref().or(response.as_ref());
        let header = asked.map(|it| it.header).unwrap_or_default();
        let answer = response.as_ref().map(|it| it.header);
        let question = asked.and_then(|it| it.questions.first()).or_else(|| {
            // What a server says about a question it could not read.
            response.as_ref().and_then(|it| it.questions.first())
        });
        let opcode = header.opcode();
        let wanted = question.map(|it| it.kind);

        let told = match opcode {
            UPDATE => exchange.request.or(exchange.response),
            _ => exchange.response.or(exchange.request),
        };
        let mut list = Records { wanted, ..Records::default() };
        for message in told.into_iter().flat_map(Body::messages) {
            list.add(message);
        }
        let edns = request.as_ref().and_then(|it| it.edns());
        let answer_edns = response.as_ref().and_then(|it| it.edns());
        let status = response.as_ref().map(|it| it.code(answer_edns.as_ref()));
        let summary = summary(opcode, question, status);
        let record = Dns {
            question_name: question.map(|it| Cow::Owned(it.name.clone())),
            question_type: wanted.map(|it| type_name(it).into()),
            question_class: question.map(|it| class_name(it.class).into()),
            questions: Texts(
                asked.into_iter().flat_map(|it| &it.questions).map(Question::text).collect(),
            ),
            response_code: status.map(|it| Label(code_name(it))),
            answers: Texts(list.answers),
            answer_count: exchange.response.filter(|_| opcode != UPDATE).map(|it| it.answers),
            ttl: list.ttl.filter(|_| answer.is_some()).map(|it| Duration(i64::from(it) * SECOND)),
            records: (list.shown > 0).then(|| {
                list.json.push(']');
                Json(list.json.into())
            }),
            authoritative: answer.map(|it| it.has(AUTHORITATIVE)),
            truncated: answer.map(|it| it.has(TRUNCATED)),
            recursion_desired: header.has(RECURSION_DESIRED),
            recursion_available: answer.map(|it| it.has(RECURSION_AVAILABLE)),
            authenticated: answer.map(|it| it.has(AUTHENTICATED)),
            checking_disabled: header.has(CHECKING_DISABLED),
            dnssec_ok: edns.as_ref().map(|it| it.dnssec_ok),
            edns_udp_size: edns.as_ref().map(|it| Size(it.udp_size.into())),
            client_subnet: edns
                .and_then(|it| it.subnet)
                .or_else(|| answer_edns.as_ref().and_then(|it| it.subnet.clone()))
                .map(Cow::Owned),
            extended_error: answer_edns.and_then(|it| it.error).map(Cow::Owned),
            opcode: Code(opcode.into()),
            id: Code(header.id.into()),
        };
        (summary, record)
    }

    fn summary(exchange: Exchange<'_, Body>) -> Summary<'_> {
        let asked = exchange.request.or(exchange.response).map(|it| View::of(&it.message));
        let answer = exchange.response.map(|it| View::without_questions(&it.message));
        let told = || exchange.response.map(|it| View::of(&it.message));
        let question = match &asked {
            Some(View { questions, .. }) if !questions.is_empty() => questions.first().cloned(),
            _ => told().and_then(|it| it.questions.first().cloned()),
        };
        let header = asked.map(|it| it.header).unwrap_or_default();
        let code = answer.as_ref().map(|it| it.code(it.edns().as_ref()));
        summary(header.opcode(), question.as_ref(), code)
    }

    fn weight(body: &Body) -> usize {
        body.messages().map(<[u8]>::len).sum()
    }

    fn held(&self) -> usize {
        self.transfer.as_ref().map_or(0, |it| it.kept)
    }

    fn gap(&mut self, side: Side, _: u64) -> Result<(), Stop> {
        if let (Side::Server, Some(transfer)) = (side, &mut self.transfer) {
            transfer.incomplete = true;
        }
        Err(Stop::Lost)
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        let rest = input.rest();
        if input.datagram() {
            input.take(rest.len())?;
            input.commit();
            return Ok(());
        }
        // Where a length, a header and a question follow each other. The tail may be the start of one.
        let is_start = |at: &usize| match rest.get(*at..) {
            Some([high, low, message @ ..]) => {
                judge(message, u16::from_be_bytes([*high, *low]).into(), side) == Guess::Sure
            }
            _ => false,
        };
        let tail = rest.len().saturating_sub(START_BYTES);
        let found = (0..rest.len()).find(is_start);
        input.take(found.unwrap_or(tail))?;
        input.commit();
        found.map(|_| ()).ok_or(Stop::More)
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let transfer = self.transfer.take_if(|_| side == Side::Server)?;
        Transfer { incomplete: true, ..transfer }.message()
    }
}

impl Dissector {
    /// Whether this answer is part of a zone transfer.
    fn transfers(&self, header: &Header, open: &Open<Body>) -> bool {
        if header.code() != 0 {
            return false;
        }
        let in_one = self.transfer.as_ref().is_some_and(|it| it.id == header.id);
        in_one
            || open.oldest(header.id.into()).is_some_and(|it| {
                let kind = Outline::of(&it.message).and_then(|it| it.kind);
                matches!(kind, Some(AXFR | IXFR))
            })
    }
}

/// What a question of this kind asks, and how it ended.
fn summary(opcode: u8, question: Option<&Question>, status: Option<u16>) -> Summary<'static> {
    let failed = status.is_some_and(|it| it != 0);
    Summary {
        verb: match (opcode, question) {
            (QUERY, Some(it)) => type_name(it.kind),
            (opcode, _) => opcode_name(opcode),
        },
        target: question.map(|it| it.name.clone()).unwrap_or_default().into(),
        status: status.map(i32::from),
        failed,
        error: status.filter(|_| failed).map(code_name),
    }
}

impl Body {
    fn messages(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&*self.message).chain(self.more.iter().map(|it| &**it))
    }
}

/// The messages that answer one AXFR or IXFR question (RFC 5936, RFC 1995).
#[derive(Debug)]
struct Transfer {
    id: u16,
    body: Option<Body>,
    /// The serial of the zone's new version: what its last record says again.
    serial: Option<u32>,
    /// How often that serial must still be said.
    left: u32,
    kept: usize,
    incomplete: bool,
}

impl Transfer {
    fn new(id: u16) -> Self {
        Self { id, body: None, serial: None, left: 1, kept: 0, incomplete: false }
    }

    /// Adds a message; true if it is the last one.
    fn add(&mut self, body: Body, outline: &Outline, keep: usize) -> bool {
        let mut serials = Records::serials(&body.message);
        let is_first = self.serial.is_none();
        if is_first {
            self.serial = serials.next().map(|(_, serial)| serial);
        }
        let mut is_last = self.serial.is_none();
        for (place, serial) in serials {
            // A second record that is a SOA starts a list of differences, in which the new
            // serial is said once more, before what the last difference adds.
            if is_first && place == 1 && Some(serial) != self.serial {
                self.left = 2;
            }
            if Some(serial) == self.serial {
                self.left = self.left.saturating_sub(1);
                is_last |= self.left == 0;
            }
        }
        // A lone SOA says that the client's version is the newest.
        is_last |= is_first && body.answers == 1;
        self.incomplete |= !outline.whole;
        let size = body.message.len();
        match &mut self.body {
            None => {
                self.kept += size;
                self.body = Some(body);
            }
            Some(first) => {
                first.answers += body.answers;
                if self.kept + size <= keep {
                    self.kept += size;
                    first.more.push(body.message);
                }
            }
        }
        is_last
    }

    fn message(self) -> Option<Message<Body>> {
        let message = Message::response(self.body?).key(self.id.into());
        Some(message.incomplete(self.incomplete))
    }
}

/// How much the first `length` bytes of a message look like one that `side` would send.
fn judge(bytes: &[u8], length: usize, side: Side) -> Guess {
    if length < HEADER_BYTES {
        return Guess::No;
    }
    let Some(header) = Header::of(bytes) else {
        let is_odd = bytes.get(2).is_some_and(|it| (it & 0x80 != 0) != (side == Side::Server));
        return if is_odd || bytes.len() >= length { Guess::No } else { Guess::More };
    };
    let [questions, answers, authorities, additional] = header.counts;
    let opcode = header.opcode();
    let records = usize::from(answers) + usize::from(authorities) + usize::from(additional);
    let says_nothing = questions == 0 && records == 0 && header.code() == 0;
    if header.is_response() != (side == Side::Server) || matches!(opcode, 3 | 7..) || says_nothing {
        return Guess::No;
    }
    // Some servers cut their answer and still count what they left out.
    let fits =
        usize::from(questions) * QUESTION_BYTES + records * RECORD_BYTES <= length - HEADER_BYTES;
    let message = bytes.get(..length).unwrap_or(bytes);
    let Some(outline) = Outline::of(message) else {
        let may_grow = message.len() < length && message.len() < START_BYTES;
        return if may_grow { Guess::More } else { Guess::No };
    };
    let is_plain = opcode == QUERY
        && questions == 1
        && !header.has(RESERVED)
        && outline.kind.is_some_and(|it| TYPES.iter().any(|(known, _)| *known == it))
        // The first bit asks for an answer to the asker alone (RFC 6762 §5.4).
        && matches!(outline.class.map(|it| it & 0x7fff), Some(1 | 3 | 4 | 254 | 255));
    let is_sound = match side {
        Side::Client => answers == 0 && additional <= 2 && header.code() == 0,
        Side::Server => header.code() <= 10,
    };
    let is_exact = fits && (outline.end == length || message.len() < length);
    // What is told to a group answers no question (RFC 6762 §6), and is signed by nothing else.
    let is_told = header.is_response()
        && header.id == 0
        && header.flags & !AUTHORITATIVE == RESPONSE
        && questions == 0
        && answers > 0
        && outline.whole;
    if (is_plain || is_told) && is_sound && is_exact { Guess::Sure } else { Guess::Maybe }
}

/// The twelve bytes in front of every message.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    id: u16,
    flags: u16,
    /// Questions, answers, authorities, additional records.
    counts: [u16; 4],
}

impl Header {
    fn of(message: &[u8]) -> Option<Self> {
        let mut words = message.get(..HEADER_BYTES)?.chunks_exact(2).map(|it| match it {
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        });
        let (id, flags) = (words.next()?, words.next()?);
        let counts = [words.next()?, words.next()?, words.next()?, words.next()?];
        Some(Self { id, flags, counts })
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn is_response(&self) -> bool {
        self.has(RESPONSE)
    }

    fn opcode(&self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }

    fn code(&self) -> u16 {
        self.flags & 0xf
    }
}

/// What a walk over a message finds out without keeping anything.
#[derive(Debug)]
struct Outline {
    /// Type and class of the first question.
    kind: Option<u16>,
    class: Option<u16>,
    /// Whether all records are there.
    whole: bool,
    /// Where the walk ended.
    end: usize,
}

impl Outline {
    /// `None` if the questions are not sound.
    fn of(message: &[u8]) -> Option<Self> {
        let header = Header::of(message)?;
        let mut reader = Reader { message, at: HEADER_BYTES };
        let (mut kind, mut class) = (None, None);
        for place in 0..header.counts[0] {
            reader.name(None)?;
            let (this_kind, this_class) = (reader.u16()?, reader.u16()?);
            if place == 0 {
                (kind, class) = (Some(this_kind), Some(this_class));
            }
        }
        let records = header.counts.iter().skip(1).map(|it| usize::from(*it)).sum::<usize>();
        let whole = (0..records).all(|_| reader.skip_record().is_some());
        Some(Self { kind, class, whole, end: reader.at })
    }
}

/// A message with its questions read.
struct View<'m> {
    header: Header,
    questions: Vec<Question>,
    /// From the first record on.
    records: Reader<'m>,
}

#[derive(Clone)]
struct Question {
    name: String,
    kind: u16,
    class: u16,
}

impl Question {
    fn text(&self) -> Cow<'static, str> {
        format!("{} {} {}", self.name, class_name(self.class), type_name(self.kind)).into()
    }
}

impl<'m> View<'m> {
    fn of(message: &'m [u8]) -> Self {
        let header = Header::of(message).unwrap_or_default();
        let mut records = Reader { message, at: HEADER_BYTES };
        let mut questions = Vec::new();
        for _ in 0..header.counts[0] {
            let Some(question) = records.question() else { break };
            if questions.len() < QUESTIONS_SHOWN {
                questions.push(question);
            }
        }
        Self { header, questions, records }
    }

    /// The same for when the questions are known already.
    fn without_questions(message: &'m [u8]) -> Self {
        let header = Header::of(message).unwrap_or_default();
        let mut records = Reader { message, at: HEADER_BYTES };
        for _ in 0..header.counts[0] {
            if records.name(None).and_then(|()| records.u32()).is_none() {
                break;
            }
        }
        Self { header, questions: Vec::new(), records }
    }

    /// How it ended; the upper bits stand in the OPT record.
    fn code(&self, edns: Option<&Edns>) -> u16 {
        edns.map_or(0, |it| u16::from(it.extended_code)) << 4 | self.header.code()
    }

    /// What its OPT record says (RFC 6891).
    fn edns(&self) -> Option<Edns> {
        let mut reader = self.records;
        let [_, answers, authorities, additional] = self.header.counts;
        for _ in 0..usize::from(answers) + usize::from(authorities) {
            reader.skip_record()?;
        }
        for _ in 0..additional {
            let record = reader.record()?;
            if record.kind == OPT {
                return Some(Edns::of(&record));
            }
        }
        None
    }
}

/// What the two sides say about themselves and the question.
#[derive(Debug, Default)]
struct Edns {
    udp_size: u16,
    /// The upper bits of the response code.
    extended_code: u8,
    version: u8,
    dnssec_ok: bool,
    subnet: Option<String>,
    error: Option<String>,
}

impl Edns {
    fn of(record: &RawRecord<'_>) -> Self {
        let [extended_code, version, flags, _] = record.ttl.to_be_bytes();
        let mut edns = Self {
            udp_size: record.class,
            extended_code,
            version,
            dnssec_ok: flags & 0x80 != 0,
            ..Self::default()
        };
        let mut options = record.data_reader();
        while let (Some(code), Some(length)) = (options.u16(), options.u16()) {
            let Some(value) = options.take(length.into()) else { break };
            match code {
                8 => edns.subnet = subnet(value),
                15 => edns.error = extended_error(value),
                _ => {}
            }
        }
        edns
    }
}

fn subnet(value: &[u8]) -> Option<String> {
    let [0, family, prefix, _, address @ ..] = value else { return None };
    Some(match family {
        1 => format!("{}/{prefix}", Ipv4Addr::from(padded::<4>(address)?)),
        2 => format!("{}/{prefix}", Ipv6Addr::from(padded::<16>(address)?)),
        _ => return None,
    })
}

/// The first bytes of an address, the rest zero.
fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut address = [0; N];
    address.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(address)
}

fn extended_error(value: &[u8]) -> Option<String> {
    let [high, low, text @ ..] = value else { return None };
    let code = u16::from_be_bytes([*high, *low]);
    let name = EXTENDED_ERRORS.get(usize::from(code)).copied().unwrap_or("Unknown");
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end_matches('\0');
    Some(if text.is_empty() { format!("{code} {name}") } else { format!("{code} {name}: {text}") })
}

/// The records of one answer, being written down.
#[derive(Debug)]
struct Records {
    /// The type that was asked for.
    wanted: Option<u16>,
    json: String,
    shown: usize,
    answers: Vec<Cow<'static, str>>,
    ttl: Option<u32>,
    name: String,
    data: String,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            wanted: None,
            json: "[".to_owned(),
            shown: 0,
            answers: Vec::new(),
            ttl: None,
            name: String::new(),
            data: String::new(),
        }
    }
}

impl Records {
    fn add(&mut self, message: &[u8]) {
        let View { header, mut records, .. } = View::of(message);
        let names = if header.opcode() == UPDATE { UPDATE_SECTIONS } else { SECTIONS };
        for (section, count) in names.iter().zip(header.counts.iter().skip(1)) {
            for _ in 0..*count {
                let Some(record) = records.record() else { return };
                if self.json.len() > RECORDS_BYTES {
                    return;
                }
                self.record(section, &record);
            }
        }
    }

    fn record(&mut self, section: &str, record: &RawRecord<'_>) {
        self.name.clear();
        self.data.clear();
        let mut owner = record.owner;
        if owner.name(Some(&mut self.name)).is_none() {
            self.name.clear();
        }
        write_data(record, &mut self.data);

        let is_signature = matches!(record.kind, RRSIG | NSEC | NSEC3);
        if section == "answer" {
            self.ttl = Some(self.ttl.map_or(record.ttl, |it| it.min(record.ttl)));
            if !is_signature || self.wanted == Some(record.kind) {
                self.answers.push(Cow::Owned(self.data.clone()));
            }
        }
        if self.shown > 0 {
            self.json.push(',');
        }
        self.shown += 1;
        let json = &mut self.json;
        json.push_str("{\"section\":\"");
        json.push_str(section);
        json.push_str("\",\"name\":");
        quote_json(json, &self.name);
        if record.kind != OPT {
            json.push_str(",\"class\":");
            quote_json(json, &class_name(record.class));
        }
        json.push_str(",\"type\":");
        quote_json(json, &type_name(record.kind));
        if record.kind != OPT {
            put(json, format_args!(",\"ttl\":{}", record.ttl));
        }
        json.push_str(",\"data\":");
        quote_json(json, &self.data);
        json.push('}');
    }

    /// The serials of the SOA records in the answer section, with their places.
    fn serials(message: &[u8]) -> impl Iterator<Item = (usize, u32)> {
        let View { header, mut records, .. } = View::of(message);
        let answers = (0..header.counts[1]).map_while(move |_| records.record());
        answers.enumerate().filter(|(_, it)| it.kind == SOA).filter_map(|(place, it)| {
            let mut data = it.data_reader();
            data.name(None)?;
            data.name(None)?;
            Some((place, data.u32()?))
        })
    }
}

/// A record, its owner's name and its data not read yet.
#[derive(Clone, Copy, Debug)]
struct RawRecord<'m> {
    owner: Reader<'m>,
    kind: u16,
    class: u16,
    ttl: u32,
    /// The message up to the end of the data, at the data's start: names in it may point back.
    data: Reader<'m>,
}

impl<'m> RawRecord<'m> {
    fn data_reader(&self) -> Reader<'m> {
        self.data
    }
}

/// A place in a message.
#[derive(Clone, Copy, Debug)]
struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn rest(&self) -> &'m [u8] {
        self.message.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, n: usize) -> Option<&'m [u8]> {
        let taken = self.rest().get(..n)?;
        self.at += n;
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

    /// A length and as many bytes.
    fn counted(&mut self) -> Option<&'m [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A name, written as zone files do if anyone wants it. Pointers must lead backwards, each
    /// further than the one before, so that they cannot go round in circles.
    fn name(&mut self, mut text: Option<&mut String>) -> Option<()> {
        let mut reader = *self;
        let mut bound = self.at;
        let mut jumped = false;
        let mut length = 0;
        let mut is_empty = true;
        loop {
            let first = reader.u8()?;
            match first >> 6 {
                0 if first == 0 => break,
                0 => {
                    length += usize::from(first) + 1;
                    if length >= NAME_BYTES {
                        return None;
                    }
                    let label = reader.take(first.into())?;
                    if let Some(text) = text.as_deref_mut() {
                        if !is_empty {
                            text.push('.');
                        }
                        write_label(label, text);
                    }
                    is_empty = false;
                }
                3 => {
                    let low = reader.u8()?;
                    if !jumped {
                        self.at = reader.at;
                        jumped = true;
                    }
                    let target = usize::from(u16::from_be_bytes([first & 0x3f, low]));
                    if target >= bound || target < HEADER_BYTES {
                        return None;
                    }
                    bound = target;
                    reader.at = target;
                }
                _ => return None,
            }
        }
        if !jumped {
            self.at = reader.at;
        }
        if let Some(text) = text.filter(|_| is_empty) {
            text.push('.');
        }
        Some(())
    }

    /// Past a name, without looking where a pointer leads.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            let first = self.u8()?;
            match first >> 6 {
                0 if first == 0 => return Some(()),
                0 => self.take(first.into())?,
                3 => return self.u8().map(|_| ()),
                _ => return None,
            };
        }
    }

    fn question(&mut self) -> Option<Question> {
        let mut name = String::new();
        self.name(Some(&mut name))?;
        Some(Question { name, kind: self.u16()?, class: self.u16()? })
    }

    fn record(&mut self) -> Option<RawRecord<'m>> {
        let owner = *self;
        self.skip_name()?;
        let (kind, class, ttl, length) = (self.u16()?, self.u16()?, self.u32()?, self.u16()?);
        let at = self.at;
        self.take(length.into())?;
        let data = Reader { message: self.message.get(..self.at)?, at };
        Some(RawRecord { owner, kind, class, ttl, data })
    }

    fn skip_record(&mut self) -> Option<()> {
        self.record().map(|_| ())
    }
}

/// A label with the escapes of zone files, as BIND writes them; letters of other scripts, which
/// services are named in (RFC 6763 §4.1.1), stay as they are.
fn write_label(label: &[u8], text: &mut String) {
    if !label.is_ascii()
        && let Ok(letters) = std::str::from_utf8(label)
        && !letters.contains(|it: char| it.is_control() && !it.is_ascii())
    {
        for letter in letters.chars() {
            match letter.is_ascii() {
                true => write_label(letter.encode_utf8(&mut [0; 4]).as_bytes(), text),
                false => text.push(letter),
            }
        }
        return;
    }
    for byte in label {
        match byte {
            b'"' | b'(' | b')' | b'.' | b';' | b'\\' | b'@' | b'$' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            0x21..=0x7e => text.push(char::from(*byte)),
            _ => put(text, format_args!("\\{byte:03}")),
        }
    }
}

/// A text in quotes.
fn write_string(bytes: &[u8], text: &mut String) {
    text.push('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => put(text, format_args!("\\{byte:03}")),
        }
    }
    text.push('"');
}

/// A record's data in the notation of zone files; what we can't read, as RFC 3597 has it.
fn write_data(record: &RawRecord<'_>, text: &mut String) {
    let start = text.len();
    let mut data = record.data_reader();
    if write_known(record, &mut data, text).is_some() && data.rest().is_empty() {
        return;
    }
    text.truncate(start);
    let bytes = record.data.rest();
    put(text, format_args!("\\# {}", bytes.len()));
    if !bytes.is_empty() {
        text.push(' ');
        write_hex(bytes, text);
    }
}

fn write_known(record: &RawRecord<'_>, data: &mut Reader<'_>, text: &mut String) -> Option<()> {
    match record.kind {
        // Address records of other classes hold something else (Chaosnet).
        1 if record.class == 3 => return None,
        1 => {
            let octets: [u8; 4] = data.take(4)?.try_into().ok()?;
            put(text, format_args!("{}", Ipv4Addr::from(octets)));
        }
        28 => {
            let octets: [u8; 16] = data.take(16)?.try_into().ok()?;
            put(text, format_args!("{}", Ipv6Addr::from(octets)));
        }
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NSAP-PTR, DNAME
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 23 | 39 => data.name(Some(text))?,
        SOA => {
            data.name(Some(text))?;
            text.push(' ');
            data.name(Some(text))?;
            for _ in 0..5 {
                put(text, format_args!(" {}", data.u32()?));
            }
        }
        13 => write_strings(data, text)?, // HINFO
        14 | 17 => {
            // MINFO, RP
            data.name(Some(text))?;
            text.push(' ');
            data.name(Some(text))?;
        }
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => {
            put(text, format_args!("{} ", data.u16()?));
            data.name(Some(text))?;
        }
        16 | 99 => write_strings(data, text)?, // TXT, SPF
        19 | 20 => write_strings(data, text)?, // X25, ISDN
        29 => write_location(data, text)?,
        33 => {
            put(text, format_args!("{} {} {} ", data.u16()?, data.u16()?, data.u16()?));
            data.name(Some(text))?;
        }
        35 => {
            put(text, format_args!("{} {} ", data.u16()?, data.u16()?));
            for _ in 0..3 {
                write_string(data.counted()?, text);
                text.push(' ');
            }
            data.name(Some(text))?;
        }
        37 => {
            put(text, format_args!("{} {} {} ", data.u16()?, data.u16()?, data.u8()?));
            write_base64(rest(data), text);
        }
        OPT => write_options(record, data, text),
        // DS, CDS, DLV, TA
        43 | 59 | 32768 | 32769 => {
            put(text, format_args!("{} {} {} ", data.u16()?, data.u8()?, data.u8()?));
            write_hex(rest(data), text);
        }
        44 => {
            put(text, format_args!("{} {} ", data.u8()?, data.u8()?));
            write_hex(rest(data), text);
        }
        // SIG, RRSIG
        24 | RRSIG => {
            text.push_str(&type_name(data.u16()?));
            put(text, format_args!(" {} {} {} ", data.u8()?, data.u8()?, data.u32()?));
            write_time(data.u32()?, text);
            text.push(' ');
            write_time(data.u32()?, text);
            put(text, format_args!(" {} ", data.u16()?));
            data.name(Some(text))?;
            text.push(' ');
            write_base64(rest(data), text);
        }
        NSEC => {
            data.name(Some(text))?;
            write_types(data, text)?;
        }
        // KEY, DNSKEY, CDNSKEY
        25 | 48 | 60 => {
            put(text, format_args!("{} {} {} ", data.u16()?, data.u8()?, data.u8()?));
            write_base64(rest(data), text);
        }
        // DHCID, OPENPGPKEY
        49 | 61 => write_base64(rest(data), text),
        // NSEC3, NSEC3PARAM
        NSEC3 | 51 => {
            put(text, format_args!("{} {} {} ", data.u8()?, data.u8()?, data.u16()?));
            match data.counted()? {
                [] => text.push('-'),
                salt => write_hex(salt, text),
            }
            if record.kind == NSEC3 {
                text.push(' ');
                write_base32(data.counted()?, text);
                write_types(data, text)?;
            }
        }
        // TLSA, SMIMEA
        52 | 53 => {
            put(text, format_args!("{} {} {} ", data.u8()?, data.u8()?, data.u8()?));
            write_hex(rest(data), text);
        }
        62 => {
            put(text, format_args!("{} {}", data.u32()?, data.u16()?));
            write_types(data, text)?;
        }
        63 => {
            put(text, format_args!("{} {} {} ", data.u32()?, data.u8()?, data.u8()?));
            write_hex(rest(data), text);
        }
        // SVCB, HTTPS
        64 | 65 => {
            put(text, format_args!("{} ", data.u16()?));
            data.name(Some(text))?;
            while let Some(key) = data.u16() {
                let length = data.u16()?;
                text.push(' ');
                write_parameter(key, data.take(length.into())?, text)?;
            }
        }
        // EUI48, EUI64
        108 | 109 => {
            for (place, byte) in rest(data).iter().enumerate() {
                put(text, format_args!("{}{byte:02x}", if place == 0 { "" } else { "-" }));
            }
        }
        250 => {
            // TSIG: algorithm, time, fudge, signature, original id, error
            data.name(Some(text))?;
            let (high, low, fudge) = (data.u16()?, data.u32()?, data.u16()?);
            put(text, format_args!(" {} {fudge} ", u64::from(high) << 32 | u64::from(low)));
            let length = data.u16()?;
            write_base64(data.take(length.into())?, text);
            put(text, format_args!(" {} ", data.u16()?));
            text.push_str(&code_name(data.u16()?));
            let length = data.u16()?;
            put(text, format_args!(" {length}"));
            data.take(length.into())?;
        }
        256 => {
            put(text, format_args!("{} {} ", data.u16()?, data.u16()?));
            write_string(rest(data), text);
        }
        257 => {
            put(text, format_args!("{} ", data.u8()?));
            text.push_str(std::str::from_utf8(data.counted()?).ok()?);
            text.push(' ');
            write_string(rest(data), text);
        }
        _ => return None,
    }
    Some(())
}

/// All that is left.
fn rest<'m>(data: &mut Reader<'m>) -> &'m [u8] {
    let rest = data.rest();
    data.at += rest.len();
    rest
}

fn write_strings(data: &mut Reader<'_>, text: &mut String) -> Option<()> {
    let mut space = "";
    while !data.rest().is_empty() {
        text.push_str(space);
        write_string(data.counted()?, text);
        space = " ";
    }
    Some(())
}

/// The types a name has, as NSEC says it: bits in windows of 256.
fn write_types(data: &mut Reader<'_>, text: &mut String) -> Option<()> {
    while let Some(window) = data.u8() {
        for (place, byte) in data.counted()?.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & 0x80 >> bit != 0) {
                let low = u16::try_from(place * 8 + bit).ok()?;
                text.push(' ');
                text.push_str(&type_name((u16::from(window) << 8).checked_add(low)?));
            }
        }
    }
    Some(())
}

/// A parameter of a service binding (RFC 9460).
fn write_parameter(key: u16, value: &[u8], text: &mut String) -> Option<()> {
    match SERVICE_KEYS.get(usize::from(key)) {
        Some(name) => text.push_str(name),
        None => put(text, format_args!("key{key}")),
    }
    if value.is_empty() {
        return Some(());
    }
    text.push('=');
    let mut data = Reader { message: value, at: 0 };
    let mut comma = "";
    match key {
        0 => {
            while let Some(key) = data.u16() {
                text.push_str(comma);
                match SERVICE_KEYS.get(usize::from(key)) {
                    Some(name) => text.push_str(name),
                    None => put(text, format_args!("key{key}")),
                }
                comma = ",";
            }
        }
        1 => {
            text.push('"');
            while let Some(protocol) = data.counted() {
                text.push_str(comma);
                write_label(protocol, text);
                comma = ",";
            }
            text.push('"');
        }
        3 => put(text, format_args!("{}", data.u16()?)),
        4 => {
            while let Some(address) = data.take(4) {
                let octets: [u8; 4] = address.try_into().ok()?;
                put(text, format_args!("{comma}{}", Ipv4Addr::from(octets)));
                comma = ",";
            }
        }
        5 => write_base64(rest(&mut data), text),
        6 => {
            while let Some(address) = data.take(16) {
                let octets: [u8; 16] = address.try_into().ok()?;
                put(text, format_args!("{comma}{}", Ipv6Addr::from(octets)));
                comma = ",";
            }
        }
        _ => write_string(rest(&mut data), text),
    }
    data.rest().is_empty().then_some(())
}

fn write_options(record: &RawRecord<'_>, data: &mut Reader<'_>, text: &mut String) {
    let edns = Edns::of(record);
    put(text, format_args!("version {} udp {}", edns.version, edns.udp_size));
    if edns.dnssec_ok {
        text.push_str(" do");
    }
    if let Some(subnet) = edns.subnet {
        put(text, format_args!(" client-subnet={subnet}"));
    }
    if let Some(error) = edns.error {
        put(text, format_args!(" extended-error=\"{error}\""));
    }
    while let (Some(code), Some(length)) = (data.u16(), data.u16()) {
        let Some(value) = data.take(length.into()) else { break };
        let name = match code {
            8 | 15 => continue,
            3 => "nsid",
            9 => "expire",
            10 => "cookie",
            11 => "keepalive",
            12 => "padding",
            _ => "",
        };
        match (code, name) {
            (12, _) => put(text, format_args!(" padding={length}")),
            (_, "") => put(text, format_args!(" option{code}=")),
            _ => put(text, format_args!(" {name}=")),
        }
        if code != 12 {
            write_hex(value, text);
        }
    }
    data.at = data.message.len();
}

/// A place on earth (RFC 1876).
fn write_location(data: &mut Reader<'_>, text: &mut String) -> Option<()> {
    let (0, sizes) = (data.u8()?, data.take(3)?) else { return None };
    let (latitude, longitude, altitude) = (data.u32()?, data.u32()?, data.u32()?);
    write_angle(latitude, ['N', 'S'], text);
    text.push(' ');
    write_angle(longitude, ['E', 'W'], text);
    // Centimetres, counted from 100 km below the sea.
    let metres = |cm: i64| (if cm < 0 { "-" } else { "" }, cm.abs() / 100, cm.abs() % 100);
    let (sign, whole, part) = metres(i64::from(altitude) - 10_000_000);
    put(text, format_args!(" {sign}{whole}.{part:02}m"));
    for size in sizes {
        let centimetres = i64::from(size >> 4) * 10_i64.pow(u32::from(size & 0xf).min(9));
        let (_, whole, part) = metres(centimetres);
        put(text, format_args!(" {whole}.{part:02}m"));
    }
    Some(())
}

/// Thousandths of an arc second around 2³¹.
fn write_angle(angle: u32, [positive, negative]: [char; 2], text: &mut String) {
    let distance = i64::from(angle) - (1 << 31);
    let side = if distance < 0 { negative } else { positive };
    let distance = distance.abs();
    let (seconds, thousandths) = (distance / 1000, distance % 1000);
    put(
        text,
        format_args!(
            "{} {} {}.{thousandths:03} {side}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
    );
}

/// Seconds since 1970 as `YYYYMMDDHHMMSS`.
fn write_time(seconds: u32, text: &mut String) {
    let (days, of_day) = (i64::from(seconds) / 86_400, seconds % 86_400);
    // Days to civil date, with years that begin in March.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    put(text, format_args!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"));
}

fn write_hex(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
}

fn write_base64(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    write_digits(bytes, DIGITS, 6, text);
    for _ in 0..(3 - bytes.len() % 3) % 3 {
        text.push('=');
    }
}

fn write_base32(bytes: &[u8], text: &mut String) {
    write_digits(bytes, b"0123456789abcdefghijklmnopqrstuv", 5, text);
}

/// Digits of `width` bits each, the last filled up with zeros.
fn write_digits(bytes: &[u8], digits: &[u8], width: u32, text: &mut String) {
    let mask = (1_u32 << width) - 1;
    let (mut bits, mut n_bits) = (0_u32, 0);
    let mut push = |value: u32| {
        let digit = usize::try_from(value & mask).ok().and_then(|it| digits.get(it));
        text.extend(digit.map(|it| char::from(*it)));
    };
    for byte in bytes {
        bits = bits << 8 & 0xffff | u32::from(*byte);
        n_bits += 8;
        while n_bits >= width {
            n_bits -= width;
            push(bits >> n_bits);
        }
    }
    if n_bits > 0 {
        push(bits << (width - n_bits));
    }
}

fn quote_json(json: &mut String, text: &str) {
    json.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => {
                json.push('\\');
                json.push(char);
            }
            '\0'..='\x1f' => put(json, format_args!("\\u{:04x}", u32::from(char))),
            _ => json.push(char),
        }
    }
    json.push('"');
}

/// Writes to a string, which cannot fail.
fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).unwrap_or_default();
}

fn named(table: &[(u16, &'static str)], number: u16, other: &str) -> Cow<'static, str> {
    match table.iter().find(|(it, _)| *it == number) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("{other}{number}")),
    }
}

fn type_name(kind: u16) -> Cow<'static, str> {
    named(TYPES, kind, "TYPE")
}

fn class_name(class: u16) -> Cow<'static, str> {
    named(CLASSES, class, "CLASS")
}

fn code_name(code: u16) -> Cow<'static, str> {
    named(CODES, code, "RCODE")
}

fn opcode_name(opcode: u8) -> Cow<'static, str> {
    named(OPCODES, opcode.into(), "OPCODE")
}

const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const RESERVED: u16 = 0x0040;
const AUTHENTICATED: u16 = 0x0020;
const CHECKING_DISABLED: u16 = 0x0010;

const QUERY: u8 = 0;
const UPDATE: u8 = 5;

const SOA: u16 = 6;
const OPT: u16 = 41;
const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const NSEC3: u16 = 50;
const IXFR: u16 = 251;
const AXFR: u16 = 252;

const HEADER_BYTES: usize = 12;
/// The shortest question, and the shortest record.
const QUESTION_BYTES: usize = 5;
const RECORD_BYTES: usize = 11;
/// The longest name, RFC 1035 §2.3.4.
const NAME_BYTES: usize = 255;
/// A header and the longest question.
const START_BYTES: usize = 2 + HEADER_BYTES + NAME_BYTES + 4;
/// Nobody asks more than one; a few, so that oddities are seen.
const QUESTIONS_SHOWN: usize = 16;
/// About the largest list of records kept of one exchange.
const RECORDS_BYTES: usize = 64 << 10;
/// Multicast DNS, LLMNR and NetBIOS name service: the same format, other protocols.
const LOOKALIKE_PORTS: [u16; 2] = [137, 138];
const SECTIONS: [&str; 3] = ["answer", "authority", "additional"];
/// RFC 2136 §2.
const UPDATE_SECTIONS: [&str; 3] = ["prerequisite", "update", "additional"];

const OPCODES: &[(u16, &str)] =
    &[(0, "QUERY"), (1, "IQUERY"), (2, "STATUS"), (4, "NOTIFY"), (5, "UPDATE"), (6, "DSO")];

const CLASSES: &[(u16, &str)] = &[(1, "IN"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY")];

const CODES: &[(u16, &str)] = &[
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
    (16, "BADVERS"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

/// Registered types, the frequent ones first.
const TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (28, "AAAA"),
    (65, "HTTPS"),
    (5, "CNAME"),
    (12, "PTR"),
    (33, "SRV"),
    (15, "MX"),
    (16, "TXT"),
    (2, "NS"),
    (6, "SOA"),
    (41, "OPT"),
    (46, "RRSIG"),
    (255, "ANY"),
    (43, "DS"),
    (48, "DNSKEY"),
    (47, "NSEC"),
    (50, "NSEC3"),
    (257, "CAA"),
    (64, "SVCB"),
    (52, "TLSA"),
    (35, "NAPTR"),
    (252, "AXFR"),
    (251, "IXFR"),
    (3, "MD"),
    (4, "MF"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (13, "HINFO"),
    (14, "MINFO"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (22, "NSAP"),
    (23, "NSAP-PTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (29, "LOC"),
    (30, "NXT"),
    (36, "KX"),
    (37, "CERT"),
    (38, "A6"),
    (39, "DNAME"),
    (42, "APL"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (49, "DHCID"),
    (51, "NSEC3PARAM"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (99, "SPF"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (249, "TKEY"),
    (250, "TSIG"),
    (253, "MAILB"),
    (254, "MAILA"),
    (256, "URI"),
    (258, "AVC"),
    (260, "AMTRELAY"),
    (32768, "TA"),
    (32769, "DLV"),
];

const SERVICE_KEYS: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

/// RFC 8914 §4, by number.
const EXTENDED_ERRORS: [&str; 25] = [
    "Other",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDomain Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Limits;

    /// A message from its parts: names as in `a.b`, a name `@12` as a pointer, other words as hex.
    fn message(header: [u16; 6], parts: &[&str]) -> Vec<u8> {
        let mut bytes: Vec<u8> = header.iter().flat_map(|it| it.to_be_bytes()).collect();
        for part in parts {
            if let Some(place) = part.strip_prefix('@') {
                bytes.extend((0xc000 | place.parse::<u16>().unwrap()).to_be_bytes());
            } else if let Some(hex) = part.strip_prefix('#') {
                let digits: Vec<u8> = hex.bytes().filter(|it| *it != b' ').collect();
                for pair in digits.chunks(2) {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
                }
            } else {
                for label in part.split('.').filter(|it| !it.is_empty()) {
                    bytes.push(label.len() as u8);
                    bytes.extend(label.bytes());
                }
                bytes.push(0);
            }
        }
        bytes
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u16).to_be_bytes()[..], message].concat()
    }

    /// What a row says, in short.
    fn show(exchange: Exchange<'_, Body>) -> String {
        let (summary, row) = Dissector::record(exchange);
        let answers = row.answers.0.join(" | ");
        format!(
            "{} {} {:?} [{answers}]",
            summary.verb,
            summary.target,
            row.response_code.map(|it| it.0)
        )
    }

    /// The rows of one connection or conversation, in the order in which they are complete.
    fn rows(script: &[(Side, Vec<u8>)], datagram: bool, piece: usize) -> Vec<String> {
        let limits = Limits::default();
        let mut dissector = Dissector::default();
        let mut asked: Vec<Message<Body>> = Vec::new();
        let mut rows = Vec::new();
        for (side, bytes) in script {
            let mut held = Vec::new();
            for part in bytes.chunks(piece) {
                held.extend_from_slice(part);
                loop {
                    let mut input = Input::new(&held, datagram, &limits);
                    let open = waiting(&asked);
                    let parsed = dissector.parse(*side, &mut input, &open);
                    let used = if parsed.is_ok() { input.used() } else { input.committed() };
                    held.drain(..used);
                    match parsed {
                        Ok(it) if *side == Side::Client => asked.push(it),
                        Ok(it) => {
                            let place = asked.iter().position(|asked| asked.key == it.key);
                            let request = place.map(|place| asked.remove(place));
                            let request = request.as_ref().map(|it| &it.body);
                            rows.push(show(Exchange { request, response: Some(&it.body) }));
                        }
                        Err(Stop::More) => break,
                        Err(Stop::Lost) => {
                            rows.push("lost".to_owned());
                            break;
                        }
                    }
                    if held.is_empty() {
                        break;
                    }
                }
            }
        }
        let alone =
            asked.iter().map(|it| show(Exchange { request: Some(&it.body), response: None }));
        rows.extend(alone);
        rows
    }

    fn waiting(asked: &[Message<Body>]) -> Open<Body> {
        let requests = asked.iter().map(|it| crate::exchange::Waiting {
            key: it.key,
            body: Body { message: it.body.message.clone(), more: Vec::new(), answers: 0 },
            times: crate::exchange::Times { first: 0, last: 0 },
            bytes: 0,
            incomplete: false,
            start: 0,
            turned: false,
            seen: 0,
        });
        Open { requests: requests.collect(), ..Open::default() }
    }

    const QUESTION: [&str; 2] = ["www.example.org", "#0001 0001"];
    const ADDRESS: [&str; 2] = ["@12", "#0001 0001 0000003c 0004 c0000201"];

    fn query(id: u16) -> Vec<u8> {
        message([id, 0x0100, 1, 0, 0, 0], &QUESTION)
    }

    fn answer(id: u16) -> Vec<u8> {
        message([id, 0x8180, 1, 1, 0, 0], &[&QUESTION[..], &ADDRESS].concat())
    }

    fn judged(bytes: &[u8], side: Side) -> Guess {
        judge(bytes, bytes.len(), side)
    }

    #[test]
    fn a_question_gets_its_answer() {
        let script = [(Side::Client, query(7)), (Side::Server, answer(7))];
        let expected = ["A www.example.org Some(\"NOERROR\") [192.0.2.1]"];
        assert_eq!(rows(&script, true, usize::MAX), expected);
        let script = script.map(|(side, it)| (side, framed(&it)));
        for piece in 1..60 {
            assert_eq!(rows(&script, false, piece), expected);
        }
    }

    #[test]
    fn answers_find_their_questions_by_number() {
        let other = message([8, 0x0100, 1, 0, 0, 0], &["other.example", "#001c 0001"]);
        let refused = message([8, 0x8185, 1, 0, 0, 0], &["other.example", "#001c 0001"]);
        let script = [
            (Side::Client, query(7)),
            (Side::Client, other),
            (Side::Server, refused),
            (Side::Server, answer(7)),
            (Side::Server, answer(9)),
        ];
        let expected = [
            "AAAA other.example Some(\"REFUSED\") []",
            "A www.example.org Some(\"NOERROR\") [192.0.2.1]",
            "A www.example.org Some(\"NOERROR\") [192.0.2.1]",
        ];
        assert_eq!(rows(&script, true, usize::MAX), expected);
    }

    #[test]
    fn names_that_run_in_circles_are_refused() {
        for name in ["@12", "@14", "@0", "#01 61 c00c", "#c00e c00c", "#41 61 00", "#ff"] {
            let looped = message([1, 0x0100, 1, 0, 0, 0], &[name, "#0001 0001"]);
            assert_eq!(rows(&[(Side::Client, looped.clone())], true, 999), ["lost"; 1], "{name}");
            assert_eq!(judged(&looped, Side::Client), Guess::No, "{name}");
        }
        let long = ["abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz.".repeat(5)].concat();
        let long = message([1, 0x0100, 1, 0, 0, 0], &[&long, "#0001 0001"]);
        assert_eq!(rows(&[(Side::Client, long)], true, 999), ["lost"]);
    }

    #[test]
    fn a_record_that_makes_no_sense_does_not_hide_the_question() {
        let parts = ["@33", "#0005 0001 0000003c 0002 c02d"];
        let bytes = message([7, 0x8180, 1, 1, 0, 0], &[&QUESTION[..], &parts].concat());
        let script = [(Side::Server, bytes.clone())];
        assert_eq!(rows(&script, true, 999), ["A www.example.org Some(\"NOERROR\") [\\# 2 c02d]"]);
        let cut = bytes.get(..bytes.len() - 1).unwrap();
        let limits = Limits::default();
        let parsed = Dissector::default().parse(
            Side::Server,
            &mut Input::new(cut, true, &limits),
            &Open::default(),
        );
        assert!(parsed.unwrap().incomplete);
    }

    #[test]
    fn names_are_escaped_as_in_zone_files() {
        let name = "#05 61 2e 22 00 ff 03 636f6d 00";
        let bytes = message([1, 0x0100, 1, 0, 0, 0], &[name, "#0001 0001"]);
        assert_eq!(rows(&[(Side::Client, bytes)], true, 999), ["A a\\.\\\"\\000\\255.com None []"]);
        let root = message([1, 0x0100, 1, 0, 0, 0], &["", "#0002 0001"]);
        assert_eq!(rows(&[(Side::Client, root)], true, 999), ["NS . None []"]);
        let name = "#07 4d c3 bc 20 2e 28 61 00";
        let service = message([1, 0x0100, 1, 0, 0, 0], &[name, "#0001 0001"]);
        assert_eq!(rows(&[(Side::Client, service)], true, 999), ["A Mü\\032\\.\\(a None []"]);
    }

    #[test]
    fn what_is_told_to_a_group_needs_no_question() {
        let record = "#05 6c6f63616c 00 0001 8001 00000078 0004 c0000201";
        let told = message([0, 0x8400, 0, 1, 0, 0], &[record]);
        assert_eq!(judge(&told, told.len(), Side::Server), Guess::Sure);
        assert_eq!(judge(&told, told.len(), Side::Client), Guess::No);
        let longer = [&told[..], b"more"].concat();
        assert_eq!(judge(&longer, longer.len(), Side::Server), Guess::Maybe);
    }

    fn data(kind: u16, hex: &str) -> String {
        let record = format!("#{kind:04x} 0001 0000003c");
        let mut length = message([0; 6], &[hex]).len() - HEADER_BYTES;
        let length = format!("#{:04x}", std::mem::take(&mut length));
        let parts = [&QUESTION[..], &["@12", &record, &length, hex]].concat();
        let bytes = message([7, 0x8180, 1, 1, 0, 0], &parts);
        let mut list = Records { wanted: Some(kind), ..Records::default() };
        list.add(&bytes);
        list.answers.first().unwrap().to_string()
    }

    #[test]
    fn records_are_written_as_in_zone_files() {
        // What dig prints, but for the final dots of names.
        let table = [
            (28, "#20010db8000000000000000000000001", "2001:db8::1"),
            (5, "@12", "www.example.org"),
            (15, "#000a 02 6d78 c010", "10 mx.example.org"),
            (16, "#03 613d22 02 0a20", r#""a=\"" "\010 ""#),
            (
                6,
                "#c010 c00c 00000001 00000002 00000003 00000004 00000005",
                "example.org www.example.org 1 2 3 4 5",
            ),
            (33, "#0000 0005 13c4 c00c", "0 5 5060 www.example.org"),
            (257, "#00 05 6973737565 6c652e6f7267", "0 issue \"le.org\""),
            (35, "#0064 000a 01 75 03 736970 00 00", "100 10 \"u\" \"sip\" \"\" ."),
            (43, "#ec45 05 01 2bb183af", "60485 5 1 2bb183af"),
            (48, "#0101 03 08 0301", "257 3 8 AwE="),
            (
                46,
                "#0001 08 03 0000003c 65920080 65920000 1234 c010 00ff",
                "A 8 3 60 20240101000000 20231231235752 4660 example.org AP8=",
            ),
            (47, "#c010 00 02 4001 01 01 40", "example.org A MX CAA"),
            (50, "#01 00 000a 02 aabb 05 0011223344 00 01 40", "1 0 10 aabb 008i4cq4 A"),
            (51, "#01 00 0000 00", "1 0 0 -"),
            (52, "#03 01 01 0aff", "3 1 1 0aff"),
            (
                65,
                "#0001 00 0001 0003 02 6832 0004 0004 c0000201 0003 0002 01bb",
                "1 . alpn=\"h2\" ipv4hint=192.0.2.1 port=443",
            ),
            (64, "#0000 c00c", "0 www.example.org"),
            (256, "#000a 0001 68747470", "10 1 \"http\""),
            (13, "#03 783836 05 4c696e7578", "\"x86\" \"Linux\""),
            (44, "#04 02 0aff", "4 2 0aff"),
            (
                29,
                "#00 12 16 13 8b0d2c8c 7ff8fc50 00989a6c",
                "51 30 12.748 N 0 7 39.696 W 10.04m 1.00m 10000.00m 10.00m",
            ),
            (62345, "#0aff", "\\# 2 0aff"),
            (1, "#c0000201 00", "\\# 5 c000020100"),
            (1, "#", "\\# 0"),
        ];
        for (kind, hex, expected) in table {
            assert_eq!(data(kind, hex), expected, "type {kind}");
        }
    }

    #[test]
    fn edns_tells_size_subnet_and_reason() {
        let options = "#00 0029 04d0 00 00 8000 000b 0008 0007 0001 18 00 c00002";
        let asked = message([7, 0x0120, 1, 0, 0, 1], &[&QUESTION[..], &[options]].concat());
        let options = "#00 0029 04d0 01 00 0000 000a 000f 0006 0006 62616421";
        let told = message([7, 0x8180, 1, 0, 0, 1], &[&QUESTION[..], &[options]].concat());
        let body =
            |message: Vec<u8>| Body { message: message.into(), more: Vec::new(), answers: 0 };
        let (asked, told) = (body(asked), body(told));
        let (summary, row) =
            Dissector::record(Exchange { request: Some(&asked), response: Some(&told) });
        assert_eq!((summary.status, summary.failed), (Some(16), true));
        assert_eq!(summary.error.as_deref(), Some("BADVERS"));
        assert_eq!(row.edns_udp_size, Some(Size(1232)));
        assert_eq!(row.dnssec_ok, Some(true));
        assert_eq!(row.client_subnet.as_deref(), Some("192.0.2.0/24"));
        assert_eq!(row.extended_error.as_deref(), Some("6 DNSSEC Bogus: bad!"));
        assert_eq!(
            row.records.unwrap().0,
            r#"[{"section":"additional","name":".","type":"OPT","data":"version 0 udp 1232 extended-error=\"6 DNSSEC Bogus: bad!\""}]"#
        );
    }

    #[test]
    fn updates_show_what_they_change() {
        let parts = ["example.org", "#0006 0001", "www.example.org", "#0001 00ff 00000000 0000"];
        let asked = message([7, 0x2800, 1, 0, 1, 0], &parts);
        let told = message([7, 0xa805, 1, 0, 0, 0], &["example.org", "#0006 0001"]);
        let body =
            |message: Vec<u8>| Body { message: message.into(), more: Vec::new(), answers: 0 };
        let (asked, told) = (body(asked), body(told));
        let (summary, row) =
            Dissector::record(Exchange { request: Some(&asked), response: Some(&told) });
        assert_eq!(
            (&*summary.verb, &*summary.target, summary.status),
            ("UPDATE", "example.org", Some(5))
        );
        let record = r#"[{"section":"update","name":"www.example.org","class":"ANY","type":"A","ttl":0,"data":"\\# 0"}]"#;
        assert_eq!(row.records.unwrap().0, record);
        assert_eq!(row.answer_count, None);
    }

    #[test]
    fn a_zone_transfer_is_one_answer() {
        let zone = ["example.org", "#00fc 0001"];
        let soa = [
            "@12",
            "#0006 0001 0000003c 0018 c00c c00c 00000001 00000002 00000003 00000004 00000005",
        ];
        let host = ["@12", "#0001 0001 0000003c 0004 c0000201"];
        let asked = message([7, 0, 1, 0, 0, 0], &zone);
        let first = message([7, 0x8400, 1, 2, 0, 0], &[&zone[..], &soa, &host].concat());
        let middle = message([7, 0x8400, 1, 1, 0, 0], &[&zone[..], &host].concat());
        let last = message([7, 0x8400, 1, 1, 0, 0], &[&zone[..], &soa].concat());
        let told = [framed(&first), framed(&middle), framed(&last), framed(&answer(9))].concat();
        let script = [(Side::Client, framed(&asked)), (Side::Server, told)];
        for piece in [1, 7, 999] {
            let rows = rows(&script, false, piece);
            assert_eq!(rows.len(), 2);
            assert!(
                rows[0].starts_with("AXFR example.org Some(\"NOERROR\") [example.org"),
                "{rows:?}"
            );
            assert_eq!(rows[0].matches("192.0.2.1").count(), 2);
            assert!(rows[1].starts_with("A www.example.org"));
        }
    }

    #[test]
    fn recognised_by_content() {
        assert_eq!(judged(&query(1), Side::Client), Guess::Sure);
        assert_eq!(judged(&answer(1), Side::Server), Guess::Sure);
        assert_eq!(judged(&query(1), Side::Server), Guess::No);
        assert_eq!(judged(&answer(1), Side::Client), Guess::No);
        for noise in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 40], &[0xff; 40], b"*1\r\n$4\r\nPING\r\n"]
        {
            assert_eq!(judged(noise, Side::Client), Guess::No);
        }
        let whole = framed(&query(1));
        for n in 0..whole.len() {
            let head = |port| Head {
                bytes: whole.get(..n).unwrap(),
                side: Side::Client,
                transport: Transport::Tcp,
                port,
            };
            assert_ne!(Dissector::guess(&head(53)), Guess::No, "{n} bytes");
            assert_eq!(Dissector::guess(&head(137)), Guess::No);
        }
    }

    #[test]
    fn inverse_queries_have_no_question() {
        let parts = ["", "#0001 0001 00007a69 0004 04030201"];
        let asked = framed(&message([7, 0x0980, 0, 1, 0, 0], &parts));
        let head = |bytes| Head { bytes, side: Side::Client, transport: Transport::Tcp, port: 53 };
        assert_eq!(Dissector::guess(&head(asked.get(..2).unwrap())), Guess::More);
        assert_eq!(Dissector::guess(&head(&asked)), Guess::Maybe);
        assert_eq!(rows(&[(Side::Client, asked)], false, 999), ["IQUERY  None [4.3.2.1]"]);
    }

    proptest! {
        #[test]
        fn noise_is_no_accident(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
            flags in any::<u16>(), counts in proptest::array::uniform4(0_u16..4), stream in any::<bool>(),
        ) {
            let header = [1, flags, counts[0], counts[1], counts[2], counts[3]];
            let head = message(header, &[]);
            bytes.splice(..0, if stream { framed(&head) } else { head });
            for side in [Side::Client, Side::Server] {
                let script = [(side, bytes.clone())];
                rows(&script, !stream, 999);
                judged(&bytes, side);
                let limits = Limits::default();
                let mut input = Input::new(&bytes, false, &limits);
                Dissector::default().resync(side, &mut input).unwrap_or(());
            }
        }
    }
}
