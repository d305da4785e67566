//! FTP: RFC 959, with the data addresses of RFC 2428 (EPRT, EPSV) and TLS of RFC 4217.
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use memchr::memchr;
use schema::value::{Address, Code, Label, text};

use super::common::reply::{Between, Coded, LINE_BYTES, Replies, Reply, command, next_line};
use super::{Dissect, Guess, Head, Transport};
use crate::exchange::{Exchange, Learned, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

/// Commands of FTP's control connections with their replies. `status` is the code of the reply
/// that ends a command. What a server says unasked, as its greeting, has the verb `(reply)`.
/// Passwords are replaced by `***` before anything is kept, but for those of anonymous users, which
/// are none.
#[derive(schema::Record)]
pub(super) struct Ftp<'a> {
    /// The command in capitals, or `(reply)`.
    command: Label<'a>,
    /// What follows the command, such as a path.
    argument: Option<Cow<'a, str>>,
    /// The reply without its code, a line each.
    reply: Option<Cow<'a, str>>,
    /// Code of the reply that said a transfer begins, such as 150.
    preliminary_status: Option<Code>,
    /// What that reply said.
    preliminary_reply: Option<Cow<'a, str>>,
    /// Who is logged in, or logs in.
    username: Option<Label<'a>>,
    /// Where a data connection goes to, as PORT, EPRT or the reply to PASV names it; null where
    /// only a port is named, which is then the server's.
    data_ip: Option<Address<'a>>,
    /// The port there; of EPSV, the server's.
    data_port: Option<u16>,
}

/// What a control connection is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    replies: Replies,
    /// The client has said something that is a command.
    is_known: bool,
    user: Option<String>,
    /// Who logs in may have been missed.
    is_cut: bool,
    /// A preliminary reply, until the final one.
    preliminary: Option<Reply>,
}

/// A command or reply, as it is kept until its row is written.
#[derive(Debug)]
pub(super) enum Unit {
    Sent(Sent),
    Told(Told),
}

/// What a client sent.
#[derive(Debug)]
pub(super) struct Sent {
    word: String,
    argument: String,
    user: Option<String>,
    announced: Option<Announced>,
}

/// What a server said.
#[derive(Debug)]
pub(super) struct Told {
    reply: Reply,
    preliminary: Option<Reply>,
    announced: Option<Announced>,
}

/// Where a data connection will go to.
#[derive(Debug)]
struct Announced {
    /// None: the address that the reply comes from.
    ip: Option<IpAddr>,
    ip_text: String,
    port: u16,
}

impl Unit {
    /// Where a data connection will go to, if this says so; an unspecified address stands for the
    /// server's own.
    pub(super) fn announced(&self) -> Option<(IpAddr, u16)> {
        let it = match self {
            Self::Sent(sent) => sent.announced.as_ref(),
            Self::Told(told) => told.announced.as_ref(),
        }?;
        Some((it.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), it.port))
    }

    fn ip_text(&self) -> Option<&str> {
        let it = match self {
            Self::Sent(sent) => sent.announced.as_ref(),
            Self::Told(told) => told.announced.as_ref(),
        }?;
        it.ip.map(|_| it.ip_text.as_str())
    }
}

impl Dissect for Dissector {
    const NAME: &'static str = "ftp";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[21, 2121, 990];
    type Body = Unit;
    type Columns = FtpColumns;

    fn guess(head: &Head<'_>) -> Guess {
        match head.side {
            Side::Client => guess_commands(head.bytes),
            Side::Server => guess_reply(head.bytes),
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

    fn learned(unit: &Unit) -> Option<Learned> {
        let (ip, port) = unit.announced()?;
        Some(Learned { announces: Some((ip, port, "ftp-data")), ..Learned::default() })
    }

    fn record(exchange: Exchange<'_, Unit>) -> (Summary<'_>, Ftp<'_>) {
        record(exchange.request, exchange.response)
    }

    fn weight(unit: &Unit) -> usize {
        size_of::<Unit>()
            + match unit {
                Unit::Sent(sent) => sent.word.capacity() + sent.argument.capacity(),
                Unit::Told(told) => {
                    told.reply.held() + told.preliminary.as_ref().map_or(0, Reply::held)
                }
            }
    }

    fn held(&self) -> usize {
        self.replies.held() + self.preliminary.as_ref().map_or(0, Reply::held)
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        match side {
            Side::Server => self.replies.resync(input),
            Side::Client => {
                self.is_cut |= self.user.is_none();
                next_line(input, |line| is_command(without_telnet(line)))
            }
        }
    }

    fn end(&mut self, side: Side) -> Option<Message<Unit>> {
        if side == Side::Client {
            return None;
        }
        // A transfer that was said to begin, and never to end.
        let reply = self.preliminary.take()?;
        let told = Told { reply, preliminary: None, announced: None };
        Some(Message::response(Unit::Told(told)).incomplete(true))
    }
}

impl Dissector {
    fn parse_sent(&mut self, input: &mut Input<'_>) -> Result<Message<Unit>, Stop> {
        let (line, word, argument) = loop {
            let line = input.until(b"\n", LINE_BYTES)?;
            let line = without_telnet(line.strip_suffix(b"\r").unwrap_or(line));
            if !line.trim_ascii().is_empty() {
                let (word, argument) = command(line);
                break (line, word, argument);
            }
        };
        if !self.is_known && !is_command(line) {
            return Err(Stop::Lost);
        }
        self.is_known = true;
        let mut said = text(argument).into_owned();
        let mut announced = None;
        match word.as_str() {
            "USER" => self.user = (!said.is_empty()).then(|| said.clone()),
            // RFC 1635: the password of an anonymous user is an address, and known to all.
            "PASS" if self.user.as_deref().is_some_and(is_anonymous) => {}
            "PASS" | "ACCT" | "ADAT" if !said.is_empty() => "***".clone_into(&mut said),
            "SITE" if is_secret_site(argument) => {
                let name = argument.split(|it| *it == b' ').next().unwrap_or_default();
                said = format!("{} ***", text(name));
            }
            "PORT" => announced = six_numbers(argument),
            "EPRT" => announced = extended(argument),
            "LPRT" => announced = None,
            // A client that lost its place may send a password where a command should be.
            _ if !is_command(line) && argument.is_empty() && line.len() > LONGEST_WORD => {
                let sent = Sent {
                    word: "***".to_owned(),
                    argument: String::new(),
                    user: self.user.clone(),
                    announced: None,
                };
                return Ok(Message::request(Unit::Sent(sent)));
            }
            _ => {}
        }
        let sent = Sent { word, argument: said, user: self.user.clone(), announced };
        let incomplete = self.is_cut && self.user.is_none();
        Ok(Message::request(Unit::Sent(sent)).incomplete(incomplete))
    }

    fn parse_told(
        &mut self,
        input: &mut Input<'_>,
        open: &Open<Unit>,
    ) -> Result<Message<Unit>, Stop> {
        loop {
            let reply = self.replies.read(input, Between::Free)?;
            let asked = match open.oldest(0) {
                Some(Unit::Sent(sent)) => Some(sent),
                _ => None,
            };
            if asked.is_some() && reply.code < 200 {
                self.preliminary.get_or_insert(reply);
                input.commit();
                continue;
            }
            let incomplete = reply.incomplete;
            let word = asked.map_or("", |it| &it.word);
            let becomes_tls = reply.code == 234 && word == "AUTH";
            // A greeting answers nothing, even if a client in a hurry has asked already.
            let is_greeting = reply.code == 220 && word != "REIN" && asked.is_some();
            let announced = match reply.code {
                227 => memchr(b'(', &reply.text)
                    .and_then(|at| six_numbers(reply.text.get(at + 1..)?))
                    .or_else(|| six_numbers(&reply.text)),
                229 => memchr(b'(', &reply.text).and_then(|at| extended(reply.text.get(at + 1..)?)),
                _ => None,
            };
            let told = Unit::Told(Told { reply, preliminary: self.preliminary.take(), announced });
            let message = match is_greeting {
                true => Message::notice(told),
                false => Message::response(told),
            };
            let message = message.incomplete(incomplete);
            return Ok(if becomes_tls { message.becomes("tls") } else { message });
        }
    }
}

fn record<'a>(request: Option<&'a Unit>, response: Option<&'a Unit>) -> (Summary<'a>, Ftp<'a>) {
    let sent = match request {
        Some(Unit::Sent(sent)) => Some(sent),
        _ => None,
    };
    let told = match response {
        Some(Unit::Told(told)) => Some(told),
        _ => None,
    };
    let word = sent.map_or("(reply)", |it| &it.word);
    let argument = sent.map_or("", |it| &it.argument);
    let reply = told.map(|it| &it.reply);
    let preliminary = told.and_then(|it| it.preliminary.as_ref());
    let says = [response, request].into_iter().flatten().find(|it| it.announced().is_some());
    let summary = Summary {
        verb: word.into(),
        target: argument.into(),
        status: reply.map(|it| it.code.into()),
        failed: reply.is_none_or(Reply::is_failure),
        error: reply.and_then(Reply::error),
    };
    let row = Ftp {
        command: word.into(),
        argument: (!argument.is_empty()).then(|| argument.into()),
        reply: reply.and_then(Reply::text),
        preliminary_status: preliminary.map(|it| Code(it.code.into())),
        preliminary_reply: preliminary.and_then(Reply::text),
        username: sent.and_then(|it| it.user.as_deref()).map(Label::from),
        data_ip: says.and_then(Unit::ip_text).map(Address),
        data_port: says.and_then(Unit::announced).map(|it| it.1),
    };
    (summary, row)
}

/// `h1,h2,h3,h4,p1,p2`, as in PORT and replies to PASV; what is no digit may stand around it.
fn six_numbers(bytes: &[u8]) -> Option<Announced> {
    let start = bytes.iter().position(u8::is_ascii_digit)?;
    let bytes = bytes.get(start..)?;
    let end = bytes.iter().position(|it| !it.is_ascii_digit() && *it != b',');
    let bytes = bytes.get(..end.unwrap_or(bytes.len()))?;
    let mut numbers =
        bytes.split(|it| *it == b',').map(|it| std::str::from_utf8(it).ok()?.parse().ok());
    let mut next = || -> Option<u8> { numbers.next()? };
    let ip = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    let port = u16::from_be_bytes([next()?, next()?]);
    Some(Announced { ip: Some(ip.into()), ip_text: ip.to_string(), port })
}

/// `|1|132.235.1.2|6275|` with any sign for `|`, as in EPRT and, without an address, replies to
/// EPSV (RFC 2428).
fn extended(bytes: &[u8]) -> Option<Announced> {
    let (sign, rest) = bytes.split_first()?;
    let mut parts = rest.split(|it| it == sign);
    let (_, ip, port) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next()?;
    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
    let ip: Option<IpAddr> = match ip {
        [] => None,
        ip => Some(std::str::from_utf8(ip).ok()?.parse().ok()?),
    };
    Some(Announced { ip, ip_text: ip.map(|it| it.to_string()).unwrap_or_default(), port })
}

/// A user that everybody may be (RFC 1635).
fn is_anonymous(user: &str) -> bool {
    user.eq_ignore_ascii_case("anonymous") || user.eq_ignore_ascii_case("ftp")
}

/// Commands of some servers that change a password.
fn is_secret_site(argument: &[u8]) -> bool {
    let name = argument.split(|it| *it == b' ').next().unwrap_or_default();
    SECRET_SITES.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// Without the signs that a client sends before ABOR: interrupt and synch (RFC 959 §4.1.3).
fn without_telnet(mut line: &[u8]) -> &[u8] {
    while let [255, _, rest @ ..] | [242, rest @ ..] = line {
        line = rest;
    }
    line
}

fn is_command(line: &[u8]) -> bool {
    let (word, _) = command(line);
    let is_plain = line.iter().all(|it| !it.is_ascii_control() || *it == b'\t');
    is_plain && WORDS.contains(&word.as_str())
}

/// How much what a client sent looks like FTP: other protocols log in with USER and PASS too, but
/// none has all of its commands.
fn guess_commands(bytes: &[u8]) -> Guess {
    let mut guess = Guess::More;
    let mut lines = bytes.split(|it| *it == b'\n');
    let last = lines.next_back().unwrap_or_default();
    for line in lines {
        let line = without_telnet(line.strip_suffix(b"\r").unwrap_or(line));
        let (word, argument) = command(line);
        if !is_command(line) {
            return Guess::No;
        }
        let is_own = match word.as_str() {
            "PORT" => six_numbers(argument).is_some(),
            "EPRT" => extended(argument).is_some(),
            "TYPE" => matches!(argument, b"I" | b"A" | b"i" | b"a"),
            "CWD" | "STOR" | "MLSD" | "MDTM" | "RNFR" => !argument.is_empty(),
            "PASV" | "EPSV" | "SYST" | "PBSZ" => true,
            _ => false,
        };
        guess = if is_own {
            Guess::Sure
        } else if guess == Guess::Sure {
            guess
        } else {
            Guess::Maybe
        };
    }
    let last = without_telnet(last);
    let end = last.iter().position(|it| *it == b' ' || *it == b'\r').unwrap_or(last.len());
    let word = text(last.get(..end).unwrap_or_default()).to_ascii_uppercase();
    let fits = match end == last.len() {
        true => WORDS.iter().any(|it| it.starts_with(&word)),
        false => WORDS.contains(&word.as_str()),
    };
    if fits { guess } else { Guess::No }
}

/// How much a server's first line looks like FTP's.
fn guess_reply(bytes: &[u8]) -> Guess {
    let Some(end) = memchr(b'\n', bytes) else {
        let digits = bytes.iter().take(3).all(u8::is_ascii_digit);
        let fits = bytes.get(3).is_none_or(|it| matches!(it, b' ' | b'-' | b'\r'));
        return if digits && fits && bytes.len() < LINE_BYTES { Guess::More } else { Guess::No };
    };
    let line = bytes.get(..end).unwrap_or_default().trim_ascii_end();
    let Some(reply) = Coded::of(line) else { return Guess::No };
    let says = |word: &[u8]| reply.text.windows(word.len()).any(|it| it.eq_ignore_ascii_case(word));
    match reply.code {
        220 if says(b"SMTP") || says(b"LMTP") => Guess::No,
        220 if says(b"FTP") => Guess::Sure,
        227 if six_numbers(reply.text).is_some() => Guess::Sure,
        229 if says(b"(|||") => Guess::Sure,
        110
        | 120
        | 125
        | 150
        | 200..=232
        | 234
        | 250..=257
        | 331
        | 332
        | 350
        | 421..=426
        | 450..=452
        | 500..=504
        | 530..=534
        | 550..=553 => Guess::Maybe,
        _ => Guess::No,
    }
}

/// Commands that a flow may begin with: RFC 959, 2228, 2389, 2428, 3659 and what is in use beside.
const WORDS: &[&str] = &[
    "ABOR", "ACCT", "ADAT", "ALLO", "APPE", "AUTH", "CCC", "CDUP", "CLNT", "CSID", "CWD", "DELE",
    "EPRT", "EPSV", "FEAT", "HASH", "HELP", "HOST", "LANG", "LIST", "LPRT", "LPSV", "MDTM", "MFMT",
    "MKD", "MLSD", "MLST", "MODE", "NLST", "NOOP", "OPTS", "PASS", "PASV", "PBSZ", "PORT", "PROT",
    "PWD", "QUIT", "REIN", "REST", "RETR", "RMD", "RNFR", "RNTO", "SITE", "SIZE", "SMNT", "STAT",
    "STOR", "STOU", "STRU", "SYST", "TYPE", "USER", "XCUP", "XCWD", "XMKD", "XPWD", "XRMD",
];

/// What SITE changes a password by.
const SECRET_SITES: &[&[u8]] = &[b"PSWD", b"PASSWD", b"GPASS", b"ADDUSER", b"CHPASS"];

/// No command's name is longer.
const LONGEST_WORD: usize = 8;

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

    #[test]
    fn transfers_end_with_their_final_reply() {
        let steps = [
            server("220-hello\r\nanything\r\n220 FTP ready\r\n"),
            client("USER anonymous\r\n"),
            server("331 your address?\r\n"),
            client("PASS me@example.org\r\n"),
            server("230 in\r\n"),
            client("RETR a file\r\n"),
            server("150 here it comes\r\n"),
            client(b"\xff\xf4\xff\xf2ABOR\r\n"),
            server("426 broken off\r\n225 done\r\n"),
            server("421 too slow\r\n"),
        ];
        let expected = [
            "(reply)  220",
            "USER anonymous 331",
            "PASS me@example.org 230",
            "RETR a file 426",
            "ABOR  225",
            "(reply)  421",
        ];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn secrets_are_not_kept() {
        let steps = [
            client("USER bob\r\nPASS s3cret\r\nACCT s3cret\r\nSITE PSWD old s3cret\r\n"),
            server("331 a\r\n230 b\r\n230 c\r\n200 d\r\n"),
        ];
        let expected = ["USER bob 331", "PASS *** 230", "ACCT *** 230", "SITE PSWD *** 200"];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn tls_takes_over() {
        let steps = [client("AUTH TLS\r\n"), server("234 go\r\n"), client("\x16\x03\x01")];
        assert_eq!(rows(&steps), ["AUTH TLS 234", "becomes tls"]);
    }

    #[test]
    fn data_addresses_are_announced() {
        let find = |steps: &[Step]| {
            let rows = drive::however_cut::<Dissector>(steps);
            (rows[0]["data_ip"].clone(), rows[0]["data_port"].clone())
        };
        let told = |asked: &str, said: &str| find(&[client(asked), server(said)]);
        assert_eq!(
            told("PASV\r\n", "227 Entering (192,0,2,1,4,1).\r\n"),
            ("192.0.2.1".into(), 1025.into())
        );
        assert_eq!(told("PASV\r\n", "227 =192,0,2,1,4,1\r\n").1, 1025);
        assert_eq!(
            told("EPSV\r\n", "229 Extended (|||6446|)\r\n"),
            (serde_json::Value::Null, 6446.into())
        );
        assert_eq!(
            told("PORT 192,0,2,2,0,80\r\n", "200 fine\r\n"),
            ("192.0.2.2".into(), 80.into())
        );
        assert_eq!(
            told("EPRT |2|2001:db8::1|5282|\r\n", "200 fine\r\n"),
            ("2001:db8::1".into(), 5282.into())
        );
        assert_eq!(told("PORT 192,0,2,2,0,999\r\n", "501 no\r\n").1, serde_json::Value::Null);
    }

    #[test]
    fn a_hole_costs_what_it_touches() {
        let steps = [
            client("PWD\r\n"),
            server("257 /\r\n"),
            client("FEAT\r\n"),
            Step::Loses(Side::Server, 12),
            server("211 End\r\n"),
            client("NOOP\r\n"),
            server("200 ok\r\n"),
            client("RETR a\r\n"),
            server("150 here\r\n"),
            Step::Ends(Side::Server),
        ];
        let expected =
            ["PWD  257", "FEAT  211 (incomplete)", "NOOP  200", "RETR a 150 (incomplete)"];
        assert_eq!(rows(&steps), expected);
    }

    #[test]
    fn recognised_by_content() {
        let guess = |bytes: &[u8], side| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port: 21 })
        };
        for (bytes, expected) in [
            (&b"USER bob\r\n"[..], Guess::Maybe),
            (b"USER bob\r\nPASS x\r\nSYST\r\n", Guess::Sure),
            (b"US", Guess::More),
            (b"PORT 1,2,3,4,5,6\r\n", Guess::Sure),
            (b"EHLO a\r\n", Guess::No),
            (b"GET / HTTP/1.1\r\n", Guess::No),
            (b"UIDL\r\n", Guess::No),
            (b"\x16\x03\x01", Guess::No),
        ] {
            assert_eq!(guess(bytes, Side::Client), expected, "{}", bytes.escape_ascii());
        }
        for (bytes, expected) in [
            (&b"220 (vsFTPd 3.0.3)\r\n"[..], Guess::Sure),
            (b"220 mail ESMTP\r\n", Guess::No),
            (b"220 Welcome\r\n", Guess::Maybe),
            (b"22", Guess::More),
            (b"+OK POP3\r\n", Guess::No),
            (b"227 Entering (1,2,3,4,5,6)\r\n", Guess::Sure),
        ] {
            assert_eq!(guess(bytes, Side::Server), expected, "{}", bytes.escape_ascii());
        }
    }

    const PIECES: &[&str] = &[
        "USER a\r\n",
        "USER ftp\r\n",
        "PASS b\r\n",
        "RETR x\r\n",
        "PASV\r\n",
        "PORT 1,2,3,4,5,6\r\n",
        "EPRT |1|1.2.3.4|5|\r\n",
        "ABOR\r\n",
        "AUTH TLS\r\n",
        "QUIT\r\n",
        "\r\n",
        "FROB\n",
        "220 FTP\r\n",
        "150 here\r\n",
        "226 done\r\n",
        "227 (1,2,3,4,5,6)\r\n",
        "229 (|||7|)\r\n",
        "211-a\r\n",
        " b\r\n",
        "211 c\r\n",
        "500 what\r\n",
        "234 go\r\n",
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
