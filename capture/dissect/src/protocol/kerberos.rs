//! Kerberos 5 over UDP and TCP: RFC 4120, with what RFC 4556, RFC 6113, RFC 6806 and MS-KILE and
//! MS-SFU add.
use std::borrow::Cow;

use schema::value::{Label, Texts, Time, text};

use super::{Dissect, Guess, Head, Transport};
use crate::ber::{self, INTEGER, OCTETS, Reader, SEQUENCE, Value};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::SECOND;

/// Tickets asked of a key distribution centre: for a user's first (AS) and for services (TGS). What
/// is encrypted in them isn't read.
#[derive(schema::Record)]
pub(super) struct Kerberos<'a> {
    /// What was asked: `AS-REQ` for a first ticket, `TGS-REQ` for a service's.
    request_type: Option<Label<'a>>,
    /// What was answered: `AS-REP`, `TGS-REP` or `KRB-ERROR`.
    response_type: Option<Label<'a>>,
    /// Who wants the ticket, such as `alice` or `host/www.example.org`. A request for a service's
    /// ticket says it only under encryption: then it is from the answer.
    client_name: Option<Cow<'a, str>>,
    /// The realm of who wants it.
    client_realm: Option<Label<'a>>,
    /// For which service it is, such as `krbtgt/EXAMPLE.ORG` or `HTTP/www.example.org`.
    service: Option<Cow<'a, str>>,
    /// The service's realm.
    realm: Option<Label<'a>>,
    /// On whose behalf a service asks (S4U2Self).
    impersonated: Option<Cow<'a, str>>,
    /// What the ticket shall be good for, such as `forwardable` or `renewable`.
    options: Texts<'a>,
    /// Until when it shall be valid.
    valid_until: Option<Time>,
    /// Until when it shall be renewable.
    renewable_until: Option<Time>,
    /// The ways to encrypt that the client knows, the best first.
    encryption_types: Texts<'a>,
    /// How the ticket is encrypted: with the service's key.
    ticket_encryption: Option<Label<'a>>,
    /// How the answer is encrypted: with the client's key.
    response_encryption: Option<Label<'a>>,
    /// What comes with the request to prove who asks, such as `PA-ENC-TIMESTAMP`.
    preauthentication: Texts<'a>,
    /// What comes with the response; of an error, what the server would take as a proof.
    response_preauthentication: Texts<'a>,
    /// Why there is no ticket, such as `KDC_ERR_PREAUTH_REQUIRED`.
    error_name: Option<Label<'a>>,
    /// What the server says about it.
    error_text: Option<Cow<'a, str>>,
    /// The server's clock, which errors tell.
    server_time: Option<Time>,
    /// The same request was sent before.
    retransmission: bool,
    /// The number in the request that makes it unlike others.
    nonce: Option<u64>,
    /// What carried it: `tcp` or `udp`.
    transport: Label<'a>,
}

/// The last datagram that asked.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    last: Box<[u8]>,
    /// Tells it from those before.
    generation: u64,
    is_answered: bool,
}

/// One message, read.
#[derive(Debug)]
pub(super) struct Body {
    datagram: bool,
    retransmission: bool,
    fields: Box<Fields>,
}

impl Dissect for Dissector {
    const NAME: &'static str = "kerberos";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp, Transport::Tcp];
    const PORTS: &'static [u16] = &[88];
    type Body = Body;
    type Columns = KerberosColumns;

    fn guess(head: &Head<'_>) -> Guess {
        match head.transport {
            Transport::Sctp | Transport::Icmp | Transport::Icmpv6 => Guess::No,
            Transport::Udp => judge(head.bytes, None, head.side),
            Transport::Tcp => judge_stream(head.bytes, head.side),
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        let datagram = input.datagram();
        let length = if datagram {
            input.rest().len()
        } else {
            usize::try_from(input.u32()?).map_err(|_| Stop::Lost)?
        };
        if length > MESSAGE_BYTES {
            return Err(Stop::Lost);
        }
        if !datagram && judge(input.rest(), Some(length), side) == Guess::No {
            return Err(Stop::Lost);
        }
        let message = input.take(length)?;
        let value = Reader::new(message).next().ok_or(Stop::Lost)?;
        let fields = Fields::of(&value).filter(|it| it.sender() == side).ok_or(Stop::Lost)?;
        let asks = side == Side::Client;
        let mut body = Body { datagram, retransmission: false, fields: Box::new(fields) };
        if !datagram {
            return Ok(if asks { Message::request(body) } else { Message::response(body) });
        }
        // Only the answer's hidden part says what it answers: it is the latest request, which may
        // have been sent more than once.
        if asks {
            body.retransmission = *self.last == *message;
            if !body.retransmission {
                self.last = message.into();
                self.generation += 1;
                self.is_answered = false;
            }
            let key = self.generation + 1;
            return Ok(Message::request(body).key(key).incomplete(value.cut));
        }
        let key = self.generation + 1;
        if std::mem::replace(&mut self.is_answered, true) && open.oldest(key).is_none() {
            // The same answer once more.
            input.commit();
            return Err(Stop::More);
        }
        Ok(Message::response(body).key(key).incomplete(value.cut))
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Kerberos<'_>) {
        let asked = exchange.request.map(|it| &*it.fields);
        let told = exchange.response.map(|it| &*it.fields);
        let first = exchange.request.or(exchange.response);
        let either = |of: fn(&Fields) -> &Option<String>| {
            let text = asked.and_then(|it| of(it).as_deref());
            text.or_else(|| told.and_then(|it| of(it).as_deref())).map(Cow::Borrowed)
        };
        let request_type = asked.map(|it| type_name(it.tag));
        let response_type = told.map(|it| type_name(it.tag));
        let status = told.and_then(|it| it.error);
        let error_name = status.map(error_name);
        let error_text = told.and_then(|it| it.error_text.as_deref());
        let service = either(|it| &it.service);
        let client_name = either(|it| &it.client);
        let list = |it: Option<&[i64]>, table: &'static [(i64, &'static str)]| {
            Texts(it.into_iter().flatten().map(|it| number_name(table, *it)).collect())
        };

        let summary = Summary {
            verb: request_type.or(response_type).unwrap_or_default().into(),
            target: service.clone().or_else(|| client_name.clone()).unwrap_or_default(),
            status,
            // To be told which proof is wanted is how a dialogue begins.
            failed: status.is_some_and(|it| it != PREAUTH_REQUIRED),
            error: error_name.clone().filter(|_| status != Some(PREAUTH_REQUIRED)).map(|name| {
                match error_text {
                    Some(text) => format!("{name}: {text}").into(),
                    None => name,
                }
            }),
        };
        let record = Kerberos {
            request_type: request_type.map(Label::from),
            response_type: response_type.map(Label::from),
            client_name,
            client_realm: told
                .and_then(|it| it.client_realm.as_deref())
                .or_else(|| asked.and_then(|it| it.client_realm.as_deref()))
                .map(Label::from),
            service,
            realm: either(|it| &it.realm).map(Label),
            impersonated: either(|it| &it.impersonated),
            options: Texts(asked.map(|it| options(it.options)).unwrap_or_default()),
            valid_until: asked.and_then(|it| it.until).map(Time),
            renewable_until: asked.and_then(|it| it.renewable).map(Time),
            encryption_types: list(asked.map(|it| &*it.encryptions), ENCRYPTIONS),
            ticket_encryption: told
                .and_then(|it| it.ticket_encryption)
                .map(|it| Label(number_name(ENCRYPTIONS, it))),
            response_encryption: told
                .and_then(|it| it.encryption)
                .map(|it| Label(number_name(ENCRYPTIONS, it))),
            preauthentication: list(asked.map(|it| &*it.proofs), PROOFS),
            response_preauthentication: list(told.map(|it| &*it.proofs), PROOFS),
            error_name: error_name.map(Label),
            error_text: error_text.map(Cow::Borrowed),
            server_time: told.and_then(|it| it.server_time).map(Time),
            retransmission: exchange.request.is_some_and(|it| it.retransmission),
            nonce: asked.and_then(|it| it.nonce),
            transport: if first.is_some_and(|it| it.datagram) { "udp" } else { "tcp" }.into(),
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        let it = &body.fields;
        let texts = [
            &it.client,
            &it.client_realm,
            &it.service,
            &it.realm,
            &it.impersonated,
            &it.error_text,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::capacity).sum();
        size_of::<Fields>() + texts + 8 * (it.encryptions.len() + it.proofs.len())
    }

    fn held(&self) -> usize {
        self.last.len()
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        let rest = input.rest();
        if input.datagram() {
            input.take(rest.len())?;
            input.commit();
            return Ok(());
        }
        // Lengths begin with a zero.
        for at in memchr::memchr_iter(0, rest) {
            let found = judge_stream(rest.get(at..).unwrap_or_default(), side);
            if found == Guess::No {
                continue;
            }
            input.take(at)?;
            input.commit();
            return if found == Guess::More { Err(Stop::More) } else { Ok(()) };
        }
        input.take(rest.len())?;
        input.commit();
        Err(Stop::More)
    }
}

fn judge_stream(bytes: &[u8], side: Side) -> Guess {
    match bytes {
        [0, a, b, c, message @ ..] => {
            let length = u32::from_be_bytes([0, *a, *b, *c]);
            judge(message, usize::try_from(length).ok(), side)
        }
        [0, ..] => Guess::More,
        _ => Guess::No,
    }
}

/// How much these bytes look like a message that `side` would send, of this length where one stood
/// before it.
fn judge(bytes: &[u8], length: Option<usize>, side: Side) -> Guess {
    let read = || {
        let message = ber::Head::of(bytes)?;
        let is_ours = SENDERS.contains(&(message.tag, side));
        let whole = length.unwrap_or(bytes.len()) as u64;
        // A datagram may not have been captured to its end.
        let fits = message.total() == whole || length.is_none() && message.total() > whole;
        if !is_ours || !fits || whole > MESSAGE_BYTES as u64 {
            return Err(Stop::Lost);
        }
        let after = bytes.get(message.size..).unwrap_or_default();
        let list = ber::Head::of(after)?;
        if list.tag != SEQUENCE || list.total() != message.length {
            return Err(Stop::Lost);
        }
        let version = after.get(list.size..list.size + 5).ok_or(Stop::More)?;
        let first = if side == Side::Client { 0xa1 } else { 0xa0 };
        if version == [first, 3, INTEGER, 1, 5] { Ok(()) } else { Err(Stop::Lost) }
    };
    match read() {
        Ok(()) => Guess::Sure,
        Err(Stop::More) => Guess::More,
        Err(Stop::Lost) => Guess::No,
    }
}

/// What of a message stands in columns.
#[derive(Debug, Default)]
struct Fields {
    tag: u8,
    client: Option<String>,
    client_realm: Option<String>,
    service: Option<String>,
    realm: Option<String>,
    impersonated: Option<String>,
    options: u32,
    until: Option<i64>,
    renewable: Option<i64>,
    nonce: Option<u64>,
    encryptions: Vec<i64>,
    proofs: Vec<i64>,
    encryption: Option<i64>,
    ticket_encryption: Option<i64>,
    error: Option<i32>,
    error_text: Option<String>,
    server_time: Option<i64>,
}

impl Fields {
    fn of(message: &Value<'_>) -> Option<Self> {
        let mut fields = Self { tag: message.tag, ..Self::default() };
        let parts = message.inside().expect(SEQUENCE)?.inside();
        match message.tag {
            AS_REQUEST | TGS_REQUEST => parts.for_each(|it| fields.request(&it)),
            AS_RESPONSE | TGS_RESPONSE => parts.for_each(|it| fields.response(&it)),
            ERROR => parts.for_each(|it| fields.error(&it)),
            _ => return None,
        }
        Some(fields)
    }

    fn sender(&self) -> Side {
        match self.tag {
            AS_REQUEST | TGS_REQUEST => Side::Client,
            _ => Side::Server,
        }
    }

    fn request(&mut self, part: &Value<'_>) {
        match part.tag {
            0xa3 => self.note_proofs(part),
            0xa4 => {
                let body = part.inside().expect(SEQUENCE);
                body.iter().flat_map(Value::inside).for_each(|it| self.request_body(&it));
            }
            _ => {}
        }
    }

    fn request_body(&mut self, part: &Value<'_>) {
        match part.tag {
            0xa0 => {
                let bits = part.inside().next().map_or(&[][..], |it| it.bytes);
                // How many of the last bits don't count stands before them.
                let bits = bits.get(1..5).and_then(|it| it.try_into().ok());
                self.options = bits.map(u32::from_be_bytes).unwrap_or_default();
            }
            0xa1 => self.client = principal(part),
            0xa2 => {
                self.realm = string(part);
                if self.tag == AS_REQUEST {
                    self.client_realm = string(part);
                }
            }
            0xa3 => self.service = principal(part),
            0xa5 => self.until = time(part),
            0xa6 => self.renewable = time(part),
            0xa7 => self.nonce = integer(part).and_then(|it| u64::try_from(it).ok()),
            0xa8 => {
                let list = part.inside().expect(SEQUENCE);
                let list = list.iter().flat_map(Value::inside).take(MOST_TYPES);
                self.encryptions = list.filter_map(|it| it.integer()).collect();
            }
            _ => {}
        }
    }

    fn response(&mut self, part: &Value<'_>) {
        match part.tag {
            0xa2 => self.note_proofs(part),
            0xa3 => self.client_realm = string(part),
            0xa4 => self.client = principal(part),
            0xa5 => {
                let ticket = part.inside().next().and_then(|it| it.inside().expect(SEQUENCE));
                for part in ticket.iter().flat_map(Value::inside) {
                    match part.tag {
                        0xa1 => self.realm = string(&part),
                        0xa2 => self.service = principal(&part),
                        0xa3 => self.ticket_encryption = encryption(&part),
                        _ => {}
                    }
                }
            }
            0xa6 => self.encryption = encryption(part),
            _ => {}
        }
    }

    fn error(&mut self, part: &Value<'_>) {
        match part.tag {
            0xa4 => self.server_time = time(part),
            0xa6 => self.error = integer(part).and_then(|it| i32::try_from(it).ok()),
            0xa7 => self.client_realm = string(part),
            0xa8 => self.client = principal(part),
            0xa9 => self.realm = string(part),
            0xaa => self.service = principal(part),
            0xab => self.error_text = string(part),
            // Where a proof is wanted: which ones.
            0xac => {
                let inside = part.inside().expect(OCTETS);
                if let Some(list) = inside.filter(|it| it.bytes.first() == Some(&SEQUENCE)) {
                    self.note_proofs(&list);
                }
            }
            _ => {}
        }
    }

    fn note_proofs(&mut self, part: &Value<'_>) {
        let list = part.inside().expect(SEQUENCE);
        for proof in list.iter().flat_map(Value::inside).take(MOST_TYPES) {
            let mut parts = proof.inside();
            let kind = parts.expect(0xa1).and_then(|it| integer(&it));
            let Some(kind) = kind else { continue };
            self.proofs.push(kind);
            if kind == FOR_USER {
                let value = parts.expect(0xa2).and_then(|it| it.inside().expect(OCTETS));
                let user = value.and_then(|it| it.inside().expect(SEQUENCE));
                let mut user = user.map(|it| it.inside());
                let mut next = |tag| user.as_mut().and_then(|it| it.expect(tag));
                let name = next(0xa0).and_then(|it| principal(&it));
                let realm = next(0xa1).and_then(|it| string(&it));
                self.impersonated = match (name, realm) {
                    (Some(name), Some(realm)) => Some(format!("{name}@{realm}")),
                    (name, _) => name,
                };
            }
        }
    }
}

/// The parts of a name, as they are usually written.
fn principal(part: &Value<'_>) -> Option<String> {
    let mut inside = part.inside().expect(SEQUENCE)?.inside();
    inside.expect(0xa0);
    let names = inside.expect(0xa1)?.inside().expect(SEQUENCE)?;
    let mut text = String::new();
    for (place, name) in names.inside().take(MOST_NAMES).enumerate() {
        if place > 0 {
            text.push('/');
        }
        text.push_str(&schema::value::text(name.bytes));
    }
    Some(text)
}

fn string(part: &Value<'_>) -> Option<String> {
    let bytes = part.inside().next()?.bytes;
    // Some servers end their texts as C does.
    Some(text(bytes).trim_end_matches('\0').to_owned()).filter(|it| !it.is_empty())
}

fn integer(part: &Value<'_>) -> Option<i64> {
    part.inside().expect(INTEGER)?.integer()
}

/// Of something encrypted: how.
fn encryption(part: &Value<'_>) -> Option<i64> {
    integer(&part.inside().expect(SEQUENCE)?.inside().expect(0xa0)?)
}

/// `20370913024805Z` as nanoseconds since 1970. The year 1970 stands for "as long as possible".
fn time(part: &Value<'_>) -> Option<i64> {
    let bytes = part.inside().next()?.bytes;
    let digits = bytes.strip_suffix(b"Z").filter(|it| it.len() == 14)?;
    let number = |from: usize, to: usize| {
        digits.get(from..to)?.iter().try_fold(0_i64, |number, it| {
            it.is_ascii_digit().then(|| number * 10 + i64::from(it - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year <= 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the odd day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    (days * 86_400 + hour * 3_600 + minute * 60 + second).checked_mul(SECOND)
}

fn options(bits: u32) -> Vec<Cow<'static, str>> {
    let set = OPTIONS.iter().filter(|(bit, _)| bits >> (31 - bit) & 1 == 1);
    set.map(|(_, name)| (*name).into()).collect()
}

fn type_name(tag: u8) -> &'static str {
    match tag {
        AS_REQUEST => "AS-REQ",
        AS_RESPONSE => "AS-REP",
        TGS_REQUEST => "TGS-REQ",
        TGS_RESPONSE => "TGS-REP",
        _ => "KRB-ERROR",
    }
}

fn number_name(table: &[(i64, &'static str)], number: i64) -> Cow<'static, str> {
    match table.iter().find(|it| it.0 == number) {
        Some((_, name)) => (*name).into(),
        None => number.to_string().into(),
    }
}

fn error_name(code: i32) -> Cow<'static, str> {
    number_name(ERRORS, code.into())
}

const AS_REQUEST: u8 = 0x6a;
const AS_RESPONSE: u8 = 0x6b;
const TGS_REQUEST: u8 = 0x6c;
const TGS_RESPONSE: u8 = 0x6d;
const ERROR: u8 = 0x7e;

const SENDERS: &[(u8, Side)] = &[
    (AS_REQUEST, Side::Client),
    (AS_RESPONSE, Side::Server),
    (TGS_REQUEST, Side::Client),
    (TGS_RESPONSE, Side::Server),
    (ERROR, Side::Server),
];

/// Longer ones are none: tickets with everything in them have tens of kilobytes.
const MESSAGE_BYTES: usize = 256 << 10;

const MOST_TYPES: usize = 64;
const MOST_NAMES: usize = 8;

const PREAUTH_REQUIRED: i32 = 25;
const FOR_USER: i64 = 129;

const OPTIONS: &[(u32, &str)] = &[
    (1, "forwardable"),
    (2, "forwarded"),
    (3, "proxiable"),
    (4, "proxy"),
    (5, "allow-postdate"),
    (6, "postdated"),
    (8, "renewable"),
    (11, "opt-hardware-auth"),
    (14, "cname-in-addl-tkt"),
    (15, "canonicalize"),
    (16, "request-anonymous"),
    (26, "disable-transited-check"),
    (27, "renewable-ok"),
    (28, "enc-tkt-in-skey"),
    (30, "renew"),
    (31, "validate"),
];

/// RFC 3961, RFC 3962, RFC 4757, RFC 6803, RFC 8009.
const ENCRYPTIONS: &[(i64, &str)] = &[
    (1, "des-cbc-crc"),
    (2, "des-cbc-md4"),
    (3, "des-cbc-md5"),
    (5, "des3-cbc-md5"),
    (7, "des3-cbc-sha1"),
    (9, "dsaWithSHA1-CmsOID"),
    (10, "md5WithRSAEncryption-CmsOID"),
    (11, "sha1WithRSAEncryption-CmsOID"),
    (12, "rc2CBC-EnvOID"),
    (13, "rsaEncryption-EnvOID"),
    (14, "rsaES-OAEP-ENV-OID"),
    (15, "des-ede3-cbc-Env-OID"),
    (16, "des3-cbc-sha1-kd"),
    (17, "aes128-cts-hmac-sha1-96"),
    (18, "aes256-cts-hmac-sha1-96"),
    (19, "aes128-cts-hmac-sha256-128"),
    (20, "aes256-cts-hmac-sha384-192"),
    (23, "rc4-hmac"),
    (24, "rc4-hmac-exp"),
    (25, "camellia128-cts-cmac"),
    (26, "camellia256-cts-cmac"),
    (-128, "rc4-md4"),
    (-133, "rc4-hmac-old"),
    (-135, "rc4-hmac-old-exp"),
];

/// RFC 4120, RFC 4556, RFC 6113, RFC 8070, MS-KILE, MS-SFU.
const PROOFS: &[(i64, &str)] = &[
    (1, "PA-TGS-REQ"),
    (2, "PA-ENC-TIMESTAMP"),
    (3, "PA-PW-SALT"),
    (11, "PA-ETYPE-INFO"),
    (13, "PA-SAM-CHALLENGE"),
    (14, "PA-PK-AS-REQ-OLD"),
    (15, "PA-PK-AS-REP-OLD"),
    (16, "PA-PK-AS-REQ"),
    (17, "PA-PK-AS-REP"),
    (19, "PA-ETYPE-INFO2"),
    (20, "PA-SVR-REFERRAL-INFO"),
    (111, "TD-CMS-DIGEST-ALGORITHMS"),
    (128, "PA-PAC-REQUEST"),
    (129, "PA-FOR-USER"),
    (130, "PA-FOR-X509-USER"),
    (132, "PA-AS-CHECKSUM"),
    (133, "PA-FX-COOKIE"),
    (134, "PA-AUTHENTICATION-SET"),
    (136, "PA-FX-FAST"),
    (137, "PA-FX-ERROR"),
    (138, "PA-ENCRYPTED-CHALLENGE"),
    (141, "PA-OTP-CHALLENGE"),
    (142, "PA-OTP-REQUEST"),
    (145, "PA-OTP-PIN-CHANGE"),
    (147, "PA-PKINIT-KX"),
    (149, "PA-REQ-ENC-PA-REP"),
    (150, "PA-AS-FRESHNESS"),
    (151, "PA-SPAKE"),
    (161, "KERB-KEY-LIST-REQ"),
    (165, "PA-SUPPORTED-ENCTYPES"),
    (167, "PA-PAC-OPTIONS"),
];

/// RFC 4120, RFC 4556, RFC 6113.
const ERRORS: &[(i64, &str)] = &[
    (0, "KDC_ERR_NONE"),
    (1, "KDC_ERR_NAME_EXP"),
    (2, "KDC_ERR_SERVICE_EXP"),
    (3, "KDC_ERR_BAD_PVNO"),
    (4, "KDC_ERR_C_OLD_MAST_KVNO"),
    (5, "KDC_ERR_S_OLD_MAST_KVNO"),
    (6, "KDC_ERR_C_PRINCIPAL_UNKNOWN"),
    (7, "KDC_ERR_S_PRINCIPAL_UNKNOWN"),
    (8, "KDC_ERR_PRINCIPAL_NOT_UNIQUE"),
    (9, "KDC_ERR_NULL_KEY"),
    (10, "KDC_ERR_CANNOT_POSTDATE"),
    (11, "KDC_ERR_NEVER_VALID"),
    (12, "KDC_ERR_POLICY"),
    (13, "KDC_ERR_BADOPTION"),
    (14, "KDC_ERR_ETYPE_NOSUPP"),
    (15, "KDC_ERR_SUMTYPE_NOSUPP"),
    (16, "KDC_ERR_PADATA_TYPE_NOSUPP"),
    (17, "KDC_ERR_TRTYPE_NOSUPP"),
    (18, "KDC_ERR_CLIENT_REVOKED"),
    (19, "KDC_ERR_SERVICE_REVOKED"),
    (20, "KDC_ERR_TGT_REVOKED"),
    (21, "KDC_ERR_CLIENT_NOTYET"),
    (22, "KDC_ERR_SERVICE_NOTYET"),
    (23, "KDC_ERR_KEY_EXPIRED"),
    (24, "KDC_ERR_PREAUTH_FAILED"),
    (25, "KDC_ERR_PREAUTH_REQUIRED"),
    (26, "KDC_ERR_SERVER_NOMATCH"),
    (27, "KDC_ERR_MUST_USE_USER2USER"),
    (28, "KDC_ERR_PATH_NOT_ACCEPTED"),
    (29, "KDC_ERR_SVC_UNAVAILABLE"),
    (31, "KRB_AP_ERR_BAD_INTEGRITY"),
    (32, "KRB_AP_ERR_TKT_EXPIRED"),
    (33, "KRB_AP_ERR_TKT_NYV"),
    (34, "KRB_AP_ERR_REPEAT"),
    (35, "KRB_AP_ERR_NOT_US"),
    (36, "KRB_AP_ERR_BADMATCH"),
    (37, "KRB_AP_ERR_SKEW"),
    (38, "KRB_AP_ERR_BADADDR"),
    (39, "KRB_AP_ERR_BADVERSION"),
    (40, "KRB_AP_ERR_MSG_TYPE"),
    (41, "KRB_AP_ERR_MODIFIED"),
    (42, "KRB_AP_ERR_BADORDER"),
    (44, "KRB_AP_ERR_BADKEYVER"),
    (45, "KRB_AP_ERR_NOKEY"),
    (46, "KRB_AP_ERR_MUT_FAIL"),
    (47, "KRB_AP_ERR_BADDIRECTION"),
    (48, "KRB_AP_ERR_METHOD"),
    (49, "KRB_AP_ERR_BADSEQ"),
    (50, "KRB_AP_ERR_INAPP_CKSUM"),
    (51, "KRB_AP_PATH_NOT_ACCEPTED"),
    (52, "KRB_ERR_RESPONSE_TOO_BIG"),
    (60, "KRB_ERR_GENERIC"),
    (61, "KRB_ERR_FIELD_TOOLONG"),
    (62, "KDC_ERR_CLIENT_NOT_TRUSTED"),
    (63, "KDC_ERR_KDC_NOT_TRUSTED"),
    (64, "KDC_ERR_INVALID_SIG"),
    (65, "KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED"),
    (66, "KDC_ERR_CERTIFICATE_MISMATCH"),
    (67, "KRB_AP_ERR_NO_TGT"),
    (68, "KDC_ERR_WRONG_REALM"),
    (69, "KRB_AP_ERR_USER_TO_USER_REQUIRED"),
    (70, "KDC_ERR_CANT_VERIFY_CERTIFICATE"),
    (71, "KDC_ERR_INVALID_CERTIFICATE"),
    (72, "KDC_ERR_REVOKED_CERTIFICATE"),
    (73, "KDC_ERR_REVOCATION_STATUS_UNKNOWN"),
    (74, "KDC_ERR_REVOCATION_STATUS_UNAVAILABLE"),
    (75, "KDC_ERR_CLIENT_NAME_MISMATCH"),
    (76, "KDC_ERR_KDC_NAME_MISMATCH"),
    (90, "KDC_ERR_PREAUTH_EXPIRED"),
    (91, "KDC_ERR_MORE_PREAUTH_DATA_REQUIRED"),
    (93, "KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let inside = parts.concat();
        let length = inside.len() as u16;
        let [high, low] = length.to_be_bytes();
        let head = if length < 128 { vec![tag, low] } else { vec![tag, 0x82, high, low] };
        [head, inside].concat()
    }

    fn number(tag: u8, number: u8) -> Vec<u8> {
        value(tag, &[&[INTEGER, 1, number]])
    }

    fn name(tag: u8, parts: &[&str]) -> Vec<u8> {
        let parts: Vec<_> = parts.iter().flat_map(|it| value(0x1b, &[it.as_bytes()])).collect();
        let parts = value(0xa1, &[&value(SEQUENCE, &[&parts])]);
        value(tag, &[&value(SEQUENCE, &[&number(0xa0, 1), &parts])])
    }

    fn text(tag: u8, text: &str) -> Vec<u8> {
        value(tag, &[&value(0x1b, &[text.as_bytes()])])
    }

    fn request(tag: u8, nonce: u8, proof: &[u8]) -> Vec<u8> {
        let body = [
            b"\xa0\x07\x03\x05\0\x40\x81\0\x10".to_vec(),
            name(0xa1, &["alice"]),
            text(0xa2, "X.ORG"),
            name(0xa3, &["krbtgt", "X.ORG"]),
            text(0xa5, "20370913024805Z"),
            number(0xa7, nonce),
            value(0xa8, &[&value(SEQUENCE, &[&[INTEGER, 1, 18, INTEGER, 1, 17, INTEGER, 1, 99]])]),
        ];
        let body = value(0xa4, &[&value(SEQUENCE, &[&body.concat()])]);
        let proofs = value(0xa3, &[&value(SEQUENCE, &[proof])]);
        let parts = [number(0xa1, 5), number(0xa2, tag & 0x1f), proofs, body].concat();
        value(tag, &[&value(SEQUENCE, &[&parts])])
    }

    fn proof(kind: u8, inside: &[u8]) -> Vec<u8> {
        let inside = value(0xa2, &[&value(OCTETS, &[inside])]);
        value(SEQUENCE, &[&number(0xa1, kind), &inside])
    }

    fn error(code: u8, said: &str) -> Vec<u8> {
        let methods = value(SEQUENCE, &[&proof(2, b""), &proof(19, b"salt")]);
        let parts = [
            number(0xa0, 5),
            number(0xa1, 30),
            text(0xa4, "20260228235959Z"),
            number(0xa6, code),
            text(0xa9, "X.ORG"),
            name(0xaa, &["krbtgt", "X.ORG"]),
            text(0xab, said),
            value(0xac, &[&value(OCTETS, &[&methods])]),
        ];
        value(ERROR, &[&value(SEQUENCE, &[&parts.concat()])])
    }

    fn ticket(tag: u8) -> Vec<u8> {
        let sealed = |tag: u8, kind: u8| {
            let cipher = value(0xa2, &[&value(OCTETS, &[b"sealed"])]);
            value(tag, &[&value(SEQUENCE, &[&number(0xa0, kind), &cipher])])
        };
        let inside =
            [number(0xa0, 5), text(0xa1, "X.ORG"), name(0xa2, &["HTTP", "www"]), sealed(0xa3, 18)];
        let inside = value(0x61, &[&value(SEQUENCE, &[&inside.concat()])]);
        let parts = [
            number(0xa0, 5),
            number(0xa1, tag & 0x1f),
            text(0xa3, "X.ORG"),
            name(0xa4, &["alice"]),
            value(0xa5, &[&inside]),
            sealed(0xa6, 17),
        ];
        value(tag, &[&value(SEQUENCE, &[&parts.concat()])])
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u32).to_be_bytes(), message].concat()
    }

    fn outline(rows: &[Json]) -> Vec<String> {
        let text = |it: &Json| it.as_str().unwrap_or("-").to_owned();
        let line = |it: &Json| {
            let again = if it["retransmission"] == true { " again" } else { "" };
            format!("{}{again} {}", text(&it["request_type"]), text(&it["response_type"]))
        };
        rows.iter().map(line).collect()
    }

    #[test]
    fn a_ticket_is_asked_for_and_given() {
        let steps = [
            client(framed(&request(AS_REQUEST, 1, b""))),
            server(framed(&error(25, "NEEDED\0"))),
            client(framed(&request(AS_REQUEST, 2, &proof(2, b"time")))),
            server(framed(&ticket(AS_RESPONSE))),
        ];
        let told = drive::however_cut::<Dissector>(&steps);
        assert_eq!(outline(&told), ["AS-REQ KRB-ERROR", "AS-REQ AS-REP"]);
        let expected = json!({
            "verb": "AS-REQ", "target": "krbtgt/X.ORG", "status": 25, "transport": "tcp",
            "request_type": "AS-REQ", "response_type": "KRB-ERROR", "retransmission": false,
            "client_name": "alice", "client_realm": "X.ORG", "service": "krbtgt/X.ORG", "realm": "X.ORG",
            "options": ["forwardable", "renewable", "canonicalize", "renewable-ok"],
            "valid_until": told[0]["valid_until"], "nonce": 1,
            "encryption_types": ["aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha1-96", "99"],
            "preauthentication": [], "response_preauthentication": ["PA-ENC-TIMESTAMP", "PA-ETYPE-INFO2"],
            "error_name": "KDC_ERR_PREAUTH_REQUIRED", "error_text": "NEEDED",
            "server_time": told[0]["server_time"],
        });
        assert_eq!(told[0], expected);
        assert_eq!(told[1]["ticket_encryption"], "aes256-cts-hmac-sha1-96");
        assert_eq!(told[1]["response_encryption"], "aes128-cts-hmac-sha1-96");
        assert_eq!(
            (&told[1]["preauthentication"], &told[1]["service"]),
            (&json!(["PA-ENC-TIMESTAMP"]), &json!("krbtgt/X.ORG"))
        );
    }

    #[test]
    fn times_are_counted() {
        let time = |it: &str| time(&Reader::new(&text(0xa4, it)).next().unwrap());
        assert_eq!(time("20260228235959Z"), Some(1_772_323_199 * SECOND));
        assert_eq!(time("20000229000000Z"), Some(951_782_400 * SECOND));
        assert_eq!(time("19710101000000Z"), Some(31_536_000 * SECOND));
        for none in [
            "19700101000000Z",
            "99990101000000Z",
            "2026022823595Z",
            "20261328235959Z",
            "2026022823595 Z",
        ] {
            assert_eq!(time(none), None, "{none}");
        }
    }

    #[test]
    fn failures_are_errors() {
        let told = drive::datagrams::<Dissector>(&[
            client(request(TGS_REQUEST, 1, &proof(1, b""))),
            server(error(7, "LOOKING_UP_SERVER")),
            server(ticket(TGS_RESPONSE)),
        ]);
        // Nobody asked for the second.
        assert_eq!(outline(&told), ["TGS-REQ KRB-ERROR"]);
        assert_eq!(told[0]["error"], "KDC_ERR_S_PRINCIPAL_UNKNOWN: LOOKING_UP_SERVER");
        let told = drive::datagrams::<Dissector>(&[server(ticket(TGS_RESPONSE))]);
        assert_eq!((&told[0]["verb"], &told[0]["target"]), (&json!("TGS-REP"), &json!("HTTP/www")));
    }

    #[test]
    fn each_transmission_is_a_row() {
        let told = drive::datagrams::<Dissector>(&[
            client(request(AS_REQUEST, 1, b"")),
            client(request(AS_REQUEST, 1, b"")),
            server(error(25, "")),
            client(request(AS_REQUEST, 2, b"")),
            server(ticket(AS_RESPONSE)),
        ]);
        assert_eq!(outline(&told), ["AS-REQ KRB-ERROR", "AS-REQ AS-REP", "AS-REQ again -"]);
        assert_eq!(told[1]["nonce"], 2);
    }

    #[test]
    fn services_ask_for_users() {
        let user = [name(0xa0, &["bob"]), text(0xa1, "Y.ORG")].concat();
        // 129 in one octet would be negative.
        let user = value(SEQUENCE, &[&user]);
        let kind = value(0xa1, &[&[INTEGER, 2, 0, 129]]);
        let wanted = value(SEQUENCE, &[&kind, &value(0xa2, &[&value(OCTETS, &[&user])])]);
        let told = drive::datagrams::<Dissector>(&[client(request(TGS_REQUEST, 1, &wanted))]);
        assert_eq!(told[0]["impersonated"], "bob@Y.ORG");
    }

    #[test]
    fn after_a_hole_the_next_message_is_found() {
        let (first, second) =
            (framed(&request(AS_REQUEST, 1, b"")), framed(&request(AS_REQUEST, 2, b"")));
        let told = drive::however_cut::<Dissector>(&[
            client([&first[..], &second[..30]].concat()),
            Step::Loses(Side::Client, 20),
            client([&second[50..], &first].concat()),
        ]);
        assert_eq!(outline(&told), ["AS-REQ -", "AS-REQ -"]);
    }

    #[test]
    fn recognised_by_content() {
        for (message, side) in [
            (request(AS_REQUEST, 1, b""), Side::Client),
            (ticket(TGS_RESPONSE), Side::Server),
            (error(6, ""), Side::Server),
        ] {
            assert_eq!(judge(&message, None, side), Guess::Sure);
            assert_eq!(judge(&message, None, side.other()), Guess::No);
            assert_eq!(judge(&message[1..], None, side), Guess::No);
            let stream = framed(&message);
            assert_eq!(judge_stream(&stream, side), Guess::Sure);
            for n in 1..12 {
                assert_eq!(judge_stream(&stream[..n], side), Guess::More);
            }
        }
    }

    proptest! {
        #[test]
        fn noise_is_no_accident(
            pieces in proptest::collection::vec((any::<bool>(), 0_usize..4, 0_usize..120, any::<u8>()), 0..30),
            piece in 1_usize..60,
        ) {
            let known = [request(AS_REQUEST, 1, &proof(2, b"x")), ticket(AS_RESPONSE), error(7, "no"), vec![0; 9]];
            let steps: Vec<_> = pieces.iter().map(|(is_client, place, at, odd)| {
                let mut bytes = framed(&known[*place]);
                if let Some(byte) = bytes.get_mut(*at) { *byte = *odd }
                if *is_client { client(bytes) } else { server(bytes) }
            }).collect();
            drive::stream::<Dissector>(&steps, piece);
            drive::datagrams::<Dissector>(&steps);
        }
    }
}
