//! MySQL, MariaDB, and what else speaks their protocol, such as TiDB and ProxySQL:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html> and
//! <https://mariadb.com/kb/en/clientserver-protocol/>.
use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use schema::value::{Code, Json, Label, Size, Texts, text};

use super::common::sql::{self, List};
use super::{Dissect, Guess, Head, Transport};
use crate::body::decompress;
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

mod packet;
mod value;

use packet::{Fields, Packet, Partial};

/// What clients ask of MySQL, MariaDB and the servers that speak their protocol, with the answers:
/// a row for each command, and for the greeting and login before them. Passwords in statements and
/// logins are replaced by `***` before anything is kept.
#[derive(schema::Record)]
pub(super) struct Mysql<'a> {
    /// What was sent: `COM_QUERY`, `COM_STMT_EXECUTE`, `COM_PING`, …, or `Login`, `SSLRequest`,
    /// `AuthResponse` (a later step of a login), `LocalInfile` (a file's content for LOAD DATA); from
    /// the server by itself, `Greeting`, `Error`, or `Reply` to something not captured.
    command: Label<'a>,
    /// Number of the command.
    command_code: Option<Code>,
    /// First word of the statement, such as `SELECT`. OpenTelemetry: `db.operation.name`.
    operation: Option<Label<'a>>,
    /// The SQL, of a prepared statement too, cut at 64 KiB. OpenTelemetry: `db.query.text`.
    statement: Option<Cow<'a, str>>,
    /// Bytes of the whole statement.
    statement_length: Option<Size>,
    /// Number of the prepared statement.
    statement_id: Option<u64>,
    /// Values of the statement's parameters, a JSON array, cut at 8 KiB and each value at 1 KiB.
    parameters: Option<Json<'a>>,
    /// How many parameters the statement has.
    parameter_count: Option<u64>,
    /// Attributes sent with the query, a JSON object.
    query_attributes: Option<Json<'a>>,
    /// The user who logged in, if the login was captured.
    user: Option<Label<'a>>,
    /// The database the command works on, or that it chooses. OpenTelemetry: `db.namespace`.
    database: Option<Label<'a>>,
    /// What the client calls itself.
    application_name: Option<Label<'a>>,
    /// How the client logs in, such as `caching_sha2_password`; of a greeting, what the server offers.
    auth_plugin: Option<Label<'a>>,
    /// How the server wants the login instead.
    auth_switch: Option<Label<'a>>,
    /// Version of the server, of a greeting.
    server_version: Option<Label<'a>>,
    /// Number of the connection on the server, of a greeting.
    connection_id: Option<u64>,
    /// What packets are compressed with from here on: `zlib` or `zstd`.
    compression: Option<Label<'a>>,
    /// How it was answered: `ok`, `rows`, `eof`, `error`, `infile` (with a wish for a file), `text`,
    /// `columns`.
    outcome: Option<Label<'a>>,
    /// Number of the error, such as 1062. OpenTelemetry: `db.response.status_code`.
    error_code: Option<Code>,
    /// SQLSTATE of the error, such as `23000`.
    sqlstate: Option<Label<'a>>,
    /// Rows that the statement changed.
    affected_rows: Option<u64>,
    /// What an auto-increment column got.
    insert_id: Option<u64>,
    /// Warnings that the statement caused.
    warning_count: Option<u64>,
    /// What the server says about the result, such as `Rows matched: 1  Changed: 1  Warnings: 0`.
    info: Option<Cow<'a, str>>,
    /// Columns of the result.
    column_count: Option<u64>,
    /// Names of the columns, the first 64; of several results, those of the first.
    columns: Texts<'a>,
    /// Rows that were sent. OpenTelemetry: `db.response.returned_rows`.
    row_count: Option<u64>,
    /// The first 20 rows of the first result, a JSON array of arrays, cut at 8 KiB and each value at 1 KiB.
    rows: Option<Json<'a>>,
    /// How many results came, if more than one.
    result_count: Option<u64>,
    /// Whether a transaction is open after the answer.
    in_transaction: Option<bool>,
    /// Name of the file that the server wishes for.
    infile_name: Option<Cow<'a, str>>,
    /// Bytes of a file's content or of a long parameter.
    data_length: Option<Size>,
}

/// What a connection has agreed on, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    stage: Stage,
    /// Whether the server greeted and the login that must have followed was not captured.
    lacks_login: bool,
    capabilities: Option<u64>,
    server_capabilities: u64,
    login: Option<Arc<Login>>,
    schema: Option<Arc<str>>,
    /// What it was before a command that waits for its answer.
    schema_before: Option<Option<Arc<str>>>,
    statements: FxHashMap<u32, Prepared>,
    statement_bytes: usize,
    client: Half,
    server: Half,
    /// Bytes of a file that the client sends.
    infile: Option<u64>,
    reply: Option<Box<Response>>,
    compression: Option<Compression>,
    is_compressed: bool,
}

/// What a side is in the middle of.
#[derive(Debug, Default)]
struct Half {
    partial: Option<Partial>,
    /// Bytes out of compressed frames that no packet has used.
    opened: Vec<u8>,
    /// Bytes of the frame that are not used: each message uses one at least.
    tail: usize,
    /// Bytes of the frame that were not opened.
    unopened: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing was read.
    #[default]
    Start,
    /// The server has greeted.
    Login,
    /// Commands are sent.
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Zlib,
    Zstd,
}

/// A request or a response.
#[derive(Debug)]
pub(super) enum Body {
    Request(Box<Request>),
    Response(Box<Response>),
}

#[derive(Debug, Default)]
struct Login {
    user: String,
    application: String,
}

#[derive(Clone, Debug)]
struct Text {
    text: Arc<str>,
    length: u64,
}

/// A prepared statement.
#[derive(Debug)]
struct Prepared {
    sql: Option<Text>,
    parameters: u16,
    /// Types of the parameters as they were last sent, and whether they are unsigned.
    types: Vec<(u8, bool)>,
    columns: Option<Arc<Columns>>,
}

#[derive(Debug, Default)]
struct Columns {
    /// All names in a row.
    names: String,
    list: Vec<Column>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Where its name ends.
    end: usize,
    kind: value::Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Command(u8),
    Login,
    SslRequest,
    AuthResponse,
    LocalInfile,
}

/// What was asked.
#[derive(Debug)]
pub(super) struct Request {
    what: What,
    sql: Option<Text>,
    statement: Option<u32>,
    parameters: Option<String>,
    count: Option<u64>,
    attributes: Option<String>,
    login: Option<Arc<Login>>,
    schema: Option<Arc<str>>,
    plugin: Option<String>,
    data: Option<u64>,
    /// Columns of a prepared statement, which need not be sent again.
    columns: Option<Arc<Columns>>,
}

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Response {
    outcome: Option<&'static str>,
    greeting: Option<Box<Greeting>>,
    failure: Option<Box<Failure>>,
    affected: Option<u64>,
    insert_id: Option<u64>,
    warnings: Option<u16>,
    info: String,
    status: Option<u16>,
    column_count: Option<u64>,
    columns: Option<Arc<Columns>>,
    rows: u64,
    kept: List,
    results: u64,
    statement: Option<u32>,
    parameters: Option<u64>,
    auth_switch: Option<String>,
    infile: Option<String>,
    compression: Option<Compression>,
    incomplete: bool,
    phase: Phase,
    building: Columns,
    /// Columns of the first result are kept.
    is_first: bool,
    /// Answers something that was not captured.
    is_lone: bool,
}

/// What of an answer comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    First,
    /// Definitions of columns, and whether the next packet may be the EOF behind them.
    Columns(u64),
    AfterColumns,
    Rows,
    /// Definitions of a prepared statement's parameters and columns.
    Parameters(u64, u64),
    PreparedColumns(u64),
    /// Definitions until an EOF.
    FieldList,
    Infile,
}

#[derive(Debug)]
struct Greeting {
    version: String,
    connection: u32,
    plugin: String,
}

#[derive(Debug)]
struct Failure {
    code: u16,
    state: String,
    message: String,
}

impl Dissect for Dissector {
    const NAME: &'static str = "mysql";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[3306, 6033, 4000];
    type Body = Body;
    type Columns = MysqlColumns;

    fn guess(head: &Head<'_>) -> Guess {
        packet::guess(head.side, head.bytes)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        if side == Side::Client
            && self.stage == Stage::Login
            && self.compression.is_some()
            && input.rest().get(3) == Some(&0)
        {
            // A command: that the login was accepted was not captured.
            self.stage = Stage::Ready;
            self.is_compressed = true;
        }
        if self.is_compressed {
            return self.parse_compressed(side, input, open);
        }
        self.parse_plain(side, input, open)
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Mysql<'_>) {
        let request = match exchange.request {
            Some(Body::Request(it)) => Some(&**it),
            _ => None,
        };
        let response = match exchange.response {
            Some(Body::Response(it)) => Some(&**it),
            _ => None,
        };
        record(request, response)
    }

    fn weight(body: &Body) -> usize {
        match body {
            Body::Request(it) => {
                let sql = it.sql.as_ref().map_or(0, |it| it.text.len());
                let parameters = it.parameters.as_ref().map_or(0, String::capacity);
                size_of::<Request>() + sql + parameters
            }
            Body::Response(it) => size_of::<Response>() + it.kept.heap(),
        }
    }

    fn held(&self) -> usize {
        let halves = [&self.client, &self.server];
        let halves = halves
            .into_iter()
            .map(|it| it.opened.capacity() + it.partial.as_ref().map_or(0, |it| it.payload.held()));
        let reply = self.reply.as_ref().map_or(0, |it| it.kept.heap());
        halves.sum::<usize>() + reply + self.statement_bytes
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        if self.is_compressed {
            return Err(Stop::Lost);
        }
        self.half(side).gap(missing)
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let reply = self.reply.take_if(|it| side == Side::Server && it.is_lone)?;
        Some(Message::notice(Body::Response(reply)))
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        *self.half(side) = Half::default();
        if side == Side::Server {
            self.reply = None;
        } else {
            self.infile = None;
        }
        packet::resync(side, self.is_compressed, input)
    }
}

impl Dissector {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn parse_plain(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        loop {
            if side == Side::Server
                && self.server.partial.is_none()
                && self.reply.as_ref().is_some_and(|it| it.is_lone)
                && packet::begins_answer(input.rest())?
                && let Some(reply) = self.reply.take()
            {
                return Ok(Message::notice(Body::Response(reply)));
            }
            let skips = match side {
                Side::Client => self.infile.is_some(),
                Side::Server => self.reply.as_ref().is_some_and(|it| !it.kept.has_room()),
            };
            let packet = packet::next(&mut self.half(side).partial, skips, input)?;
            let message = match side {
                Side::Client => self.client_packet(&packet)?,
                Side::Server => self.server_packet(&packet, open)?,
            };
            if let Some(message) = message {
                return Ok(message);
            }
            input.commit();
        }
    }

    /// Packets in compressed frames: a length, a number, the length when opened, and the bytes.
    fn parse_compressed(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        let limits = input.limits();
        loop {
            if self.half(side).tail > 0 {
                let opened = std::mem::take(&mut self.half(side).opened);
                let mut inner = Input::new(&opened, false, limits);
                let parsed = self.parse_plain(side, &mut inner, open);
                let used = if parsed.is_ok() { inner.used() } else { inner.committed() };
                let half = self.half(side);
                half.opened = opened.get(used..).unwrap_or_default().to_vec();
                match parsed {
                    Ok(message) => {
                        // What is left of the frame would make the next message look older.
                        let used = if half.opened.is_empty() { half.tail } else { 1 };
                        input.take(used)?;
                        half.tail -= used;
                        return Ok(message);
                    }
                    Err(Stop::Lost) => return Err(Stop::Lost),
                    Err(Stop::More) => {}
                }
                if half.unopened > 0 {
                    half.opened.clear();
                    let missing = std::mem::take(&mut half.unopened);
                    half.gap(missing)?;
                }
                input.take(half.tail)?;
                half.tail = 0;
                input.commit();
            }
            let Some(frame) = packet::frame(input.rest())? else { return Err(Stop::More) };
            let bytes =
                input.rest().get(packet::FRAME_HEAD_BYTES..frame.length).unwrap_or_default();
            let coding: &[u8] = match self.compression {
                Some(Compression::Zstd) => b"zstd",
                _ => b"deflate",
            };
            let opened = match frame.opened {
                0 => Cow::Borrowed(bytes),
                _ => decompress(&[coding], bytes, OPENED_BYTES).bytes,
            };
            let half = self.half(side);
            half.opened.extend_from_slice(&opened);
            if half.opened.len() > 2 * OPENED_BYTES {
                return Err(Stop::Lost);
            }
            if frame.opened > 0 {
                half.unopened = frame.opened.saturating_sub(opened.len() as u64);
            }
            half.tail = TAIL_BYTES.min(frame.length - 1);
            let tail = half.tail;
            input.take(frame.length - tail)?;
            input.commit();
        }
    }

    /// One packet of the client; `None` if it is a part of something.
    fn client_packet(&mut self, packet: &Packet<'_>) -> Result<Option<Message<Body>>, Stop> {
        let body: &[u8] = &packet.body;
        if packet.number != 0 || self.infile.is_some() {
            return self.client_answer(packet);
        }
        let mut fields = Fields(body);
        let command = fields.u8().ok_or(Stop::Lost)?;
        if name_of(command).is_none() {
            return Err(Stop::Lost);
        }
        self.stage = Stage::Ready;
        let mut request = self.request(What::Command(command));
        let mut wants_answer = true;
        let mut is_known = !self.lacks_login;
        match command {
            COM_QUERY => {
                request.attributes = self.attributes(&mut fields);
                let length = packet.size.saturating_sub((body.len() - fields.0.len()) as u64);
                request.sql = Some(Text::of(fields.0, length));
            }
            COM_STMT_PREPARE => request.sql = Some(Text::of(fields.0, packet.size - 1)),
            COM_INIT_DB | COM_CREATE_DB | COM_DROP_DB => {
                request.schema = Some(text(fields.0).into());
            }
            COM_STMT_EXECUTE => {
                is_known &= self.execute(&mut request, fields, packet).is_some();
            }
            COM_STMT_CLOSE
            | COM_STMT_SEND_LONG_DATA
            | COM_STMT_RESET
            | COM_STMT_FETCH
            | COM_STMT_BULK_EXECUTE => {
                let statement = fields.u32().ok_or(Stop::Lost)?;
                is_known &= self.refer(&mut request, statement);
                if command == COM_STMT_SEND_LONG_DATA {
                    request.data = Some(packet.size.saturating_sub(7));
                }
                if command == COM_STMT_CLOSE
                    && let Some(old) = self.statements.remove(&statement)
                {
                    self.statement_bytes = self.statement_bytes.saturating_sub(old.weight());
                }
                wants_answer = !matches!(command, COM_STMT_CLOSE | COM_STMT_SEND_LONG_DATA);
            }
            COM_CHANGE_USER => {
                // The program stays the same.
                let application = self.login.as_ref().map(|it| it.application.clone());
                let user = lossless(fields.name());
                let login = Login { user, application: application.unwrap_or_default() };
                let is_new = self.has(SECURE_CONNECTION) || self.capabilities.is_none();
                let secret = if is_new { usize::from(fields.u8().unwrap_or(0)) } else { 0 };
                if is_new {
                    fields.take(secret);
                } else {
                    fields.name();
                }
                let schema = text(fields.name());
                fields.take(2);
                request.plugin = Some(lossless(fields.name())).filter(|it| !it.is_empty());
                self.schema = (!schema.is_empty()).then(|| schema.into());
                self.login = Some(Arc::new(login));
                request.login.clone_from(&self.login);
                request.schema.clone_from(&self.schema);
                self.statements.clear();
                self.statement_bytes = 0;
            }
            COM_RESET_CONNECTION => {
                self.statements.clear();
                self.statement_bytes = 0;
            }
            COM_QUIT => wants_answer = false,
            _ => {}
        }
        self.choose(&request);
        let body = Body::Request(request);
        let message = if wants_answer { Message::request(body) } else { Message::notice(body) };
        Ok(Some(message.incomplete(packet.incomplete || !is_known)))
    }

    /// What the client sends when the server wishes for it.
    fn client_answer(&mut self, packet: &Packet<'_>) -> Result<Option<Message<Body>>, Stop> {
        if let Some(bytes) = &mut self.infile {
            *bytes = bytes.saturating_add(packet.size);
            if packet.size > 0 {
                return Ok(None);
            }
            let mut request = self.request(What::LocalInfile);
            request.data = self.infile.take();
            return Ok(Some(Message::notice(Body::Request(request))));
        }
        if self.stage == Stage::Ready || packet.number > 1 && self.stage == Stage::Login {
            if packet.number > MOST_AUTH_STEPS {
                return Err(Stop::Lost);
            }
            let request = self.request(What::AuthResponse);
            return Ok(Some(Message::notice(Body::Request(request))));
        }
        self.log_in(&packet.body).map(Some)
    }

    /// The client's first packet: who it is and what it can do.
    fn log_in(&mut self, body: &[u8]) -> Result<Message<Body>, Stop> {
        let mut fields = Fields(body);
        let low = u64::from(fields.u16().ok_or(Stop::Lost)?);
        let mut login = Login::default();
        let mut schema = Cow::Borrowed("");
        let mut request = self.request(What::Login);
        if low & PROTOCOL_41 == 0 {
            self.capabilities = Some(low);
            fields.take(3).ok_or(Stop::Lost)?;
            if fields.0.is_empty() && low & SSL != 0 {
                request.what = What::SslRequest;
                return Ok(self.secure(request));
            }
            login.user = lossless(fields.name());
            if low & CONNECT_WITH_DB != 0 {
                fields.name();
                schema = text(fields.name());
            }
        } else {
            let high = u64::from(fields.u16().ok_or(Stop::Lost)?);
            let capabilities = high << 16 | low;
            let filler = fields.take(28).ok_or(Stop::Lost)?;
            self.capabilities = Some(capabilities);
            if capabilities & LONG_PASSWORD == 0 {
                // MariaDB's own capabilities stand in what MySQL leaves empty.
                let more = filler.last_chunk::<4>().copied().unwrap_or_default();
                let more = u64::from(u32::from_le_bytes(more));
                self.capabilities = Some(capabilities | more << 32);
            }
            if fields.0.is_empty() {
                request.what = What::SslRequest;
                return Ok(self.secure(request));
            }
            login.user = lossless(fields.name());
            if capabilities & AUTH_LENENC != 0 {
                fields.text();
            } else if capabilities & SECURE_CONNECTION != 0 {
                let secret = usize::from(fields.u8().unwrap_or(0));
                fields.take(secret);
            } else {
                fields.name();
            }
            if capabilities & CONNECT_WITH_DB != 0 {
                schema = text(fields.name());
            }
            if capabilities & PLUGIN_AUTH != 0 {
                request.plugin = Some(lossless(fields.name())).filter(|it| !it.is_empty());
            }
            if capabilities & CONNECT_ATTRIBUTES != 0 {
                let mut attributes = Fields(fields.text().unwrap_or_default());
                while let Some(name) = attributes.text() {
                    let Some(value) = attributes.text() else { break };
                    let is_name = match name {
                        b"program_name" => true,
                        b"_client_name" => login.application.is_empty(),
                        _ => false,
                    };
                    if is_name {
                        login.application = lossless(value);
                    }
                }
            }
        }
        // Clients ask for nothing that the server does not offer.
        let both = |it: u64| {
            self.has(it) && (self.server_capabilities & it != 0 || self.server_capabilities == 0)
        };
        self.compression = if both(COMPRESS) {
            Some(Compression::Zlib)
        } else if both(COMPRESS_ZSTD) {
            Some(Compression::Zstd)
        } else {
            None
        };
        self.schema = (!schema.is_empty()).then(|| schema.into());
        self.login = Some(Arc::new(login));
        self.lacks_login = false;
        self.stage = Stage::Login;
        request.login.clone_from(&self.login);
        request.schema.clone_from(&self.schema);
        Ok(Message::request(Body::Request(request)))
    }

    fn secure(&mut self, request: Box<Request>) -> Message<Body> {
        Message::notice(Body::Request(request)).becomes("tls")
    }

    fn request(&self, what: What) -> Box<Request> {
        Box::new(Request {
            what,
            sql: None,
            statement: None,
            parameters: None,
            count: None,
            attributes: None,
            login: self.login.clone(),
            schema: self.schema.clone(),
            plugin: None,
            data: None,
            columns: None,
        })
    }

    fn has(&self, capability: u64) -> bool {
        self.capabilities.is_some_and(|it| it & capability != 0)
    }

    /// Names the statement that a request works on; whether it is known.
    fn refer(&self, request: &mut Request, statement: u32) -> bool {
        request.statement = Some(statement);
        let Some(prepared) = self.statements.get(&statement) else { return false };
        request.sql.clone_from(&prepared.sql);
        request.columns.clone_from(&prepared.columns);
        prepared.sql.is_some()
    }

    /// Attributes in front of a query, as a JSON object. A client whose login was not seen may send
    /// them too: no statement begins with a zero byte.
    fn attributes(&self, fields: &mut Fields<'_>) -> Option<String> {
        let may_have = match self.capabilities {
            Some(it) => it & QUERY_ATTRIBUTES != 0,
            None => matches!(fields.0, [0, 1, ..]),
        };
        if !may_have {
            return None;
        }
        let start = *fields;
        let read = |fields: &mut Fields<'_>| -> Option<Option<String>> {
            let count = usize::try_from(fields.length()?).ok()?;
            fields.length()?;
            if count == 0 {
                return Some(None);
            }
            let nulls = fields.take(count.div_ceil(8))?;
            let is_bound = fields.u8()?;
            if is_bound != 1 || count > MOST_PARAMETERS {
                return None;
            }
            let mut kinds = Vec::with_capacity(count);
            for _ in 0..count {
                let kind = value::Kind::of_parameter(fields.u16()?);
                kinds.push((kind, fields.text()?));
            }
            let mut json = String::from("{");
            for (place, (kind, name)) in kinds.into_iter().enumerate() {
                if place > 0 {
                    json.push(',');
                }
                sql::json_text(&mut json, &text(name));
                json.push(':');
                match is_null(nulls, place) {
                    true => json.push_str("null"),
                    false => value::write_binary(&mut json, fields, kind)?,
                }
            }
            json.push('}');
            Some(Some(json))
        };
        match read(fields) {
            Some(attributes) => attributes,
            None => {
                *fields = start;
                None
            }
        }
    }

    /// A prepared statement is run with parameters; `None` if it is not known, or what their types
    /// are: it was prepared, or run first, before the capture began.
    fn execute(
        &mut self,
        request: &mut Request,
        mut fields: Fields<'_>,
        packet: &Packet<'_>,
    ) -> Option<()> {
        let statement = fields.u32()?;
        let is_known = self.refer(request, statement);
        let has_attributes = self.has(QUERY_ATTRIBUTES);
        let prepared = self.statements.get_mut(&statement)?;
        request.count = Some(u64::from(prepared.parameters));
        let flags = fields.u8()?;
        fields.take(4)?;
        let mut count = usize::from(prepared.parameters);
        if has_attributes && flags & PARAMETER_COUNT != 0 {
            count = usize::try_from(fields.length()?).ok()?;
        }
        if count == 0 {
            return is_known.then_some(());
        }
        if count > usize::from(u16::MAX) {
            return None;
        }
        let nulls = fields.take(count.div_ceil(8))?;
        if fields.u8()? == 1 {
            prepared.types.clear();
            for _ in 0..count {
                let kind = fields.u16()?;
                if has_attributes {
                    fields.text()?;
                }
                prepared.types.push(value::Kind::parts(kind));
            }
        }
        if prepared.types.len() < count {
            return None;
        }
        let mut parameters = List::default();
        let mut fits = true;
        for (place, (code, is_unsigned)) in prepared.types.iter().enumerate() {
            let kind = value::Kind { code: *code, is_unsigned: *is_unsigned, is_binary: false };
            parameters.add(MOST_PARAMETERS, JSON_BYTES, |to| {
                if is_null(nulls, place) {
                    to.push_str("null");
                } else if value::write_binary(to, &mut fields, kind).is_none() {
                    to.push_str("null");
                    fits = false;
                }
            });
            if !fits || !parameters.has_room() {
                break;
            }
        }
        // Values sent as long data before are not here; then what is left does not fit.
        let is_odd = !fields.0.is_empty() && parameters.has_room() && packet.is_whole();
        request.parameters = if is_odd { None } else { parameters.finished() };
        is_known.then_some(())
    }

    /// One packet of the server; `None` if it is a part of an answer.
    fn server_packet(
        &mut self,
        packet: &Packet<'_>,
        open: &Open<Body>,
    ) -> Result<Option<Message<Body>>, Stop> {
        let body: &[u8] = &packet.body;
        let request = match open.oldest(0) {
            Some(Body::Request(it)) => Some(&**it),
            _ => None,
        };
        let Some(request) = request else {
            return self.told(packet);
        };
        let mut reply = match self.reply.take() {
            Some(reply) if !reply.is_lone => reply,
            _ => Box::new(Response { is_first: true, ..Response::default() }),
        };
        reply.incomplete |= packet.incomplete;
        let ends = match request.what {
            What::Command(command) => {
                self.command_answer(command, request, &mut reply, packet).ok_or(Stop::Lost)?
            }
            _ => self.login_answer(&mut reply, body, packet.size).ok_or(Stop::Lost)?,
        };
        if !ends {
            self.reply = Some(reply);
            return Ok(None);
        }
        if let Some(before) = self.schema_before.take()
            && reply.failure.is_some()
        {
            self.schema = before;
        }
        let incomplete = reply.incomplete;
        Ok(Some(Message::response(Body::Response(reply)).incomplete(incomplete)))
    }

    /// What the server says while nothing waits for an answer: the greeting, an error, or the answer
    /// to a command that was not captured.
    fn told(&mut self, packet: &Packet<'_>) -> Result<Option<Message<Body>>, Stop> {
        let body: &[u8] = &packet.body;
        let mut reply = match self.reply.take() {
            Some(reply) if reply.is_lone => reply,
            _ => Box::new(Response { is_lone: true, ..Response::default() }),
        };
        let is_first = reply.phase == Phase::First && reply.results == 0;
        match body.first() {
            Some(10 | 9) if packet.number == 0 && self.stage == Stage::Start => {
                let greeting = self.greet(body).ok_or(Stop::Lost)?;
                reply.greeting = Some(Box::new(greeting));
            }
            Some(0xff) => {
                reply.failure = Some(Box::new(Failure::of(body).ok_or(Stop::Lost)?));
                reply.outcome = Some("error");
            }
            // Steps of a login whose start was not captured.
            Some(1 | 0xfe) if self.stage == Stage::Login => return Ok(None),
            _ => {
                let is_prepared =
                    matches!(reply.phase, Phase::Parameters(..) | Phase::PreparedColumns(_))
                        || is_first && looks_prepared(body);
                let command = if is_prepared { COM_STMT_PREPARE } else { COM_QUERY };
                let request = self.request(What::Command(command));
                // Whether its rows are text is not known.
                reply.kept.close();
                // Where it ends is not known for sure: with what begins the next answer.
                let ends = self.command_answer(command, &request, &mut reply, packet);
                if ends == Some(true) && self.stage == Stage::Login {
                    self.begin_commands(&mut reply);
                }
                self.reply = Some(reply);
                return Ok(None);
            }
        }
        Ok(Some(Message::notice(Body::Response(reply)).incomplete(packet.incomplete)))
    }

    fn greet(&mut self, body: &[u8]) -> Option<Greeting> {
        let mut fields = Fields(body);
        let protocol = fields.u8()?;
        let version = lossless(fields.name());
        let connection = fields.u32()?;
        let mut greeting = Greeting { version, connection, plugin: String::new() };
        self.stage = Stage::Login;
        self.lacks_login = true;
        if protocol == 9 {
            return Some(greeting);
        }
        fields.take(9)?;
        let mut capabilities = u64::from(fields.u16().unwrap_or(0));
        fields.take(3);
        capabilities |= u64::from(fields.u16().unwrap_or(0)) << 16;
        let secret = usize::from(fields.u8().unwrap_or(0));
        fields.take(10);
        if capabilities & SECURE_CONNECTION != 0 {
            fields.take(secret.saturating_sub(8).max(13));
        }
        if capabilities & PLUGIN_AUTH != 0 {
            greeting.plugin = lossless(fields.name());
        }
        self.server_capabilities = capabilities;
        Some(greeting)
    }

    /// Whether this packet ends a login.
    fn login_answer(&mut self, reply: &mut Response, body: &[u8], size: u64) -> Option<bool> {
        match body.first()? {
            0 => {
                reply.outcome = Some("ok");
                self.ok(reply, body);
                self.begin_commands(reply);
                Some(true)
            }
            0xff => {
                reply.failure = Some(Box::new(Failure::of(body)?));
                reply.outcome = Some("error");
                Some(true)
            }
            0xfe if size == 5 => {
                // Servers before 4.1 end a login so.
                reply.outcome = Some("eof");
                self.begin_commands(reply);
                Some(true)
            }
            0xfe => {
                let plugin = Fields(body.get(1..)?).name();
                let plugin = if plugin.is_empty() { b"mysql_old_password" } else { plugin };
                reply.auth_switch = Some(lossless(plugin));
                Some(false)
            }
            // More data for the plugin.
            1 => Some(false),
            _ => None,
        }
    }

    fn begin_commands(&mut self, reply: &mut Response) {
        self.stage = Stage::Ready;
        if let Some(compression) = self.compression {
            self.is_compressed = true;
            reply.compression = Some(compression);
        }
    }

    /// Whether this packet ends the answer to a command.
    fn command_answer(
        &mut self,
        command: u8,
        request: &Request,
        reply: &mut Response,
        packet: &Packet<'_>,
    ) -> Option<bool> {
        let body: &[u8] = &packet.body;
        let first = *body.first()?;
        if first == 0xff && (packet.is_whole() || packet.size < 1 << 16) {
            let failure = Failure::of(body)?;
            if failure.code == PROGRESS {
                return Some(false);
            }
            reply.failure = Some(Box::new(failure));
            reply.outcome = Some("error");
            return Some(true);
        }
        let is_end = first == 0xfe && packet.size < 0xff_ffff;
        match reply.phase {
            Phase::First if command == COM_STMT_PREPARE && first == 0 => {
                self.prepared(request, reply, Fields(body.get(1..)?))
            }
            Phase::First if command == COM_STATISTICS => {
                reply.outcome = Some("text");
                reply.info = lossless(body);
                Some(true)
            }
            Phase::First if command == COM_FIELD_LIST => {
                reply.outcome = Some("columns");
                reply.phase = Phase::FieldList;
                reply.column_count = Some(0);
                self.command_answer(command, request, reply, packet)
            }
            Phase::First if command == COM_STMT_FETCH => {
                reply.outcome = Some("rows");
                reply.columns.clone_from(&request.columns);
                reply.phase = Phase::Rows;
                self.command_answer(command, request, reply, packet)
            }
            Phase::First if command == COM_CHANGE_USER && first != 0 => {
                self.login_answer(reply, body, packet.size)
            }
            Phase::First if matches!(command, COM_BINLOG_DUMP | COM_BINLOG_DUMP_GTID) => {
                reply.outcome = Some("ok");
                Some(true)
            }
            Phase::First => match first {
                0 => {
                    reply.outcome.get_or_insert("ok");
                    self.ok(reply, body);
                    Some(!self.has_more(reply))
                }
                0xfe if packet.size <= 5 || is_end => {
                    reply.outcome.get_or_insert("eof");
                    self.eof(reply, body, packet.size);
                    Some(true)
                }
                0xfb => {
                    reply.outcome.get_or_insert("infile");
                    reply.infile = Some(lossless(body.get(1..)?));
                    reply.phase = Phase::Infile;
                    self.infile = Some(0);
                    Some(false)
                }
                _ => {
                    let mut fields = Fields(body);
                    let count = fields.length()?;
                    if count == 0 || count > MOST_RESULT_COLUMNS || fields.0.len() > 1 {
                        return None;
                    }
                    reply.outcome.get_or_insert("rows");
                    reply.column_count.get_or_insert(count);
                    // Columns that the client knows from the preparation may be left out.
                    reply.phase = match fields.u8() {
                        Some(0) => {
                            reply.columns.clone_from(&request.columns);
                            Phase::AfterColumns
                        }
                        _ => Phase::Columns(count),
                    };
                    Some(false)
                }
            },
            Phase::Infile => {
                reply.phase = Phase::First;
                self.infile = None;
                self.command_answer(command, request, reply, packet)
            }
            Phase::Columns(left) => {
                if reply.is_first {
                    reply.building.add(body)?;
                }
                reply.phase = match left {
                    1 => {
                        if reply.is_first {
                            reply.columns = Some(Arc::new(std::mem::take(&mut reply.building)));
                        }
                        Phase::AfterColumns
                    }
                    left => Phase::Columns(left - 1),
                };
                Some(false)
            }
            Phase::AfterColumns if is_end && packet.size <= 5 => {
                self.eof(reply, body, packet.size);
                reply.phase = Phase::Rows;
                // The rows wait behind a cursor.
                Some(reply.status.is_some_and(|it| it & CURSOR_EXISTS != 0))
            }
            Phase::AfterColumns | Phase::Rows if is_end => {
                self.eof(reply, body, packet.size);
                Some(!self.has_more(reply))
            }
            Phase::AfterColumns | Phase::Rows => {
                reply.phase = Phase::Rows;
                reply.rows += 1;
                if reply.is_first && reply.kept.has_room() {
                    let is_binary = matches!(
                        command,
                        COM_STMT_EXECUTE | COM_STMT_FETCH | COM_STMT_BULK_EXECUTE
                    );
                    reply.keep_row(body, is_binary);
                }
                Some(false)
            }
            Phase::Parameters(parameters, columns) => {
                if is_end {
                    reply.phase = Phase::PreparedColumns(columns);
                    return Some(columns == 0);
                }
                if parameters == 0 {
                    // No EOF stands between parameters and columns.
                    reply.phase = Phase::PreparedColumns(columns);
                    return self.command_answer(command, request, reply, packet);
                }
                reply.phase = Phase::Parameters(parameters - 1, columns);
                Some(parameters == 1 && columns == 0 && !self.ends_lists())
            }
            Phase::PreparedColumns(left) => {
                if !is_end {
                    reply.building.add(body)?;
                }
                if left > 1 && !is_end {
                    reply.phase = Phase::PreparedColumns(left - 1);
                    return Some(false);
                }
                if !is_end && self.ends_lists() {
                    reply.phase = Phase::PreparedColumns(0);
                    return Some(false);
                }
                let columns = Arc::new(std::mem::take(&mut reply.building));
                if let Some(it) = reply.statement.and_then(|it| self.statements.get_mut(&it)) {
                    it.columns = Some(Arc::clone(&columns));
                }
                reply.columns = Some(columns);
                Some(true)
            }
            Phase::FieldList if is_end => {
                reply.columns = Some(Arc::new(std::mem::take(&mut reply.building)));
                Some(true)
            }
            Phase::FieldList => {
                reply.column_count = reply.column_count.map(|it| it + 1);
                reply.building.add(body)?;
                Some(false)
            }
        }
    }

    /// Whether an EOF stands behind definitions of columns.
    fn ends_lists(&self) -> bool {
        !self.has(DEPRECATE_EOF) && self.capabilities.is_some()
    }

    /// Whether another result follows.
    fn has_more(&self, reply: &mut Response) -> bool {
        reply.results += 1;
        let more = reply.status.is_some_and(|it| it & MORE_RESULTS != 0);
        if more {
            reply.phase = Phase::First;
            reply.is_first = reply.columns.is_none();
        }
        more
    }

    fn prepared(
        &mut self,
        request: &Request,
        reply: &mut Response,
        mut fields: Fields<'_>,
    ) -> Option<bool> {
        let statement = fields.u32()?;
        let columns = fields.u16()?;
        let parameters = fields.u16()?;
        fields.u8();
        reply.warnings = fields.u16();
        reply.outcome = Some("ok");
        reply.statement = Some(statement);
        reply.parameters = Some(u64::from(parameters));
        reply.column_count = Some(u64::from(columns));
        let prepared =
            Prepared { sql: request.sql.clone(), parameters, types: Vec::new(), columns: None };
        while self.statements.len() >= MOST_STATEMENTS || self.statement_bytes > STATEMENTS_BYTES {
            let Some(some) = self.statements.keys().next().copied() else { break };
            if let Some(old) = self.statements.remove(&some) {
                self.statement_bytes = self.statement_bytes.saturating_sub(old.weight());
            }
        }
        self.statement_bytes += prepared.weight();
        if let Some(old) = self.statements.insert(statement, prepared) {
            self.statement_bytes = self.statement_bytes.saturating_sub(old.weight());
        }
        // Definitions may be left out altogether.
        if fields.u8() == Some(0) {
            return Some(true);
        }
        reply.phase = match (parameters, columns) {
            (0, 0) => return Some(true),
            (0, columns) => Phase::PreparedColumns(columns.into()),
            (parameters, columns) => Phase::Parameters(parameters.into(), columns.into()),
        };
        Some(false)
    }

    /// A command may choose another database. It holds from here on, though the answer may refuse
    /// it, or may not be captured.
    fn choose(&mut self, request: &Request) {
        let name = match (request.what, &request.sql) {
            (What::Command(COM_INIT_DB), _) => request.schema.clone(),
            (What::Command(COM_QUERY), Some(sql)) if sql::operation(&sql.text) == "USE" => {
                let name = sql.text.split_whitespace().nth(1).unwrap_or_default();
                Some(name.trim_matches(|it| it == '`' || it == ';').into())
            }
            _ => return,
        };
        self.schema_before = Some(std::mem::replace(&mut self.schema, name));
    }

    /// An OK packet: counts, state, and what changed in the session.
    fn ok(&mut self, reply: &mut Response, body: &[u8]) {
        let mut fields = Fields(body.get(1..).unwrap_or_default());
        let affected = fields.length();
        let insert_id = fields.length();
        reply.affected = reply.affected.or(affected);
        reply.insert_id = reply.insert_id.or_else(|| insert_id.filter(|it| *it > 0));
        let Some(status) = fields.u16() else { return };
        reply.status = Some(status);
        reply.warnings = fields.u16().or(reply.warnings);
        // Servers put a length in front also where they need not.
        let plain = fields.0;
        let info = match fields.text() {
            Some(info) if fields.0.is_empty() || status & SESSION_CHANGED != 0 => info,
            _ => plain,
        };
        if reply.info.is_empty() && !info.is_empty() {
            reply.info = lossless(info.get(..INFO_BYTES).unwrap_or(info));
        }
        if status & SESSION_CHANGED == 0 {
            return;
        }
        let mut changes = Fields(fields.text().unwrap_or_default());
        while let (Some(kind), Some(data)) = (changes.u8(), changes.text()) {
            if kind == TRACK_SCHEMA {
                let name = text(Fields(data).text().unwrap_or_default());
                self.schema = (!name.is_empty()).then(|| name.into());
            }
        }
    }

    /// The end of rows, in its old form or in that of an OK packet.
    fn eof(&mut self, reply: &mut Response, body: &[u8], size: u64) {
        if size >= 7 {
            let affected = reply.affected;
            self.ok(reply, body);
            reply.affected = affected;
            return;
        }
        let mut fields = Fields(body.get(1..).unwrap_or_default());
        reply.warnings = fields.u16().or(reply.warnings);
        reply.status = fields.u16().or(reply.status);
    }
}

impl Half {
    fn gap(&mut self, missing: u64) -> Result<(), Stop> {
        self.partial.as_mut().ok_or(Stop::Lost)?.skip(missing)
    }
}

impl Response {
    fn keep_row(&mut self, body: &[u8], is_binary: bool) {
        let columns = self.columns.as_ref().map(|it| &*it.list).unwrap_or_default();
        let mut fields = Fields(body);
        if is_binary && columns.is_empty() {
            return;
        }
        self.kept.add(MOST_ROWS, JSON_BYTES, |to| {
            to.push('[');
            if is_binary {
                fields.take(1);
                let nulls = fields.take((columns.len() + 9) / 8).unwrap_or_default();
                for (place, column) in columns.iter().enumerate() {
                    if place > 0 {
                        to.push(',');
                    }
                    // The first two bits mean nothing.
                    if is_null(nulls, place + 2) {
                        to.push_str("null");
                    } else if value::write_binary(to, &mut fields, column.kind).is_none() {
                        to.push_str("null");
                        break;
                    }
                    if to.len() > JSON_BYTES {
                        break;
                    }
                }
            } else {
                for place in 0.. {
                    if fields.0.is_empty() || to.len() > JSON_BYTES {
                        break;
                    }
                    if place > 0 {
                        to.push(',');
                    }
                    if fields.0.first() == Some(&0xfb) {
                        fields.take(1);
                        to.push_str("null");
                        continue;
                    }
                    let kind = columns.get(place).map(|it| it.kind);
                    match fields.text() {
                        Some(cell) => value::write_text(to, cell, kind),
                        None => {
                            to.push_str("null");
                            break;
                        }
                    }
                }
            }
            to.push(']');
        });
    }
}

impl Prepared {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.sql.as_ref().map_or(0, |it| it.text.len())
    }
}

impl Text {
    /// A statement, or what was kept of one that takes `length` bytes.
    fn of(bytes: &[u8], length: u64) -> Self {
        // Some clients end it as C does.
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        let kept = text(bytes.get(..STATEMENT_BYTES).unwrap_or(bytes));
        Self { text: sql::without_secrets(&kept).into(), length }
    }
}

impl Columns {
    /// One definition; `None` if it is none.
    fn add(&mut self, body: &[u8]) -> Option<()> {
        let mut fields = Fields(body);
        let first = fields.text()?;
        let (name, kind) = if first == b"def" {
            for _ in 0..3 {
                fields.text()?;
            }
            let name = fields.text()?;
            fields.text()?;
            // MariaDB may say more about the type.
            if fields.0.first() != Some(&0x0c) {
                fields.text()?;
            }
            fields.take(1)?;
            let charset = fields.u16()?;
            fields.take(4)?;
            let code = fields.u8()?;
            let flags = fields.u16()?;
            (name, value::Kind::of_column(code, flags, charset))
        } else {
            // As before 4.1.
            let name = fields.text()?;
            fields.text()?;
            let code = fields.text()?.first().copied()?;
            (name, value::Kind::of_column(code, 0, 0))
        };
        if self.list.len() < KEPT_COLUMNS {
            self.names.push_str(sql::cut(&text(name), NAME_BYTES));
            self.list.push(Column { end: self.names.len(), kind });
        }
        Some(())
    }

    fn names(&self) -> Vec<Cow<'_, str>> {
        let mut start = 0;
        let names = self.list.iter().take(MOST_COLUMNS).map(|it| {
            let name = self.names.get(start..it.end).unwrap_or_default();
            start = it.end;
            Cow::Borrowed(name)
        });
        names.collect()
    }
}

impl Failure {
    fn of(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body.get(1..)?);
        let code = fields.u16()?;
        let mut state = "";
        if let [b'#', rest @ ..] = fields.0
            && let Some((name, rest)) = rest.split_at_checked(5)
        {
            state = std::str::from_utf8(name).unwrap_or_default();
            fields.0 = rest;
        }
        let message = fields.0.get(..INFO_BYTES).unwrap_or(fields.0);
        Some(Self { code, state: state.to_owned(), message: lossless(message) })
    }
}

fn record<'a>(
    request: Option<&'a Request>,
    response: Option<&'a Response>,
) -> (Summary<'a>, Mysql<'a>) {
    let failure = response.and_then(|it| it.failure.as_deref());
    let greeting = response.and_then(|it| it.greeting.as_deref());
    let command: Cow<'_, str> = match (request.map(|it| it.what), greeting) {
        (Some(What::Command(code)), _) => match name_of(code) {
            Some(name) => name.into(),
            None => format!("COM_{code}").into(),
        },
        (Some(What::Login), _) => "Login".into(),
        (Some(What::SslRequest), _) => "SSLRequest".into(),
        (Some(What::AuthResponse), _) => "AuthResponse".into(),
        (Some(What::LocalInfile), _) => "LocalInfile".into(),
        (None, Some(_)) => "Greeting".into(),
        (None, None) if failure.is_some() => "Error".into(),
        (None, None) => "Reply".into(),
    };
    let code = match request.map(|it| it.what) {
        Some(What::Command(code)) => Some(Code(code.into())),
        _ => None,
    };
    let statement = request.and_then(|it| it.sql.as_ref());
    let operation = statement.map(|it| sql::operation(&it.text)).filter(|it| !it.is_empty());
    let login = request.and_then(|it| it.login.as_deref());
    let schema = request.and_then(|it| it.schema.as_deref());
    let filled = |it: &'a str| (!it.is_empty()).then_some(Label(Cow::Borrowed(it)));
    let target = match (statement, request.map(|it| it.what), greeting) {
        (Some(it), ..) => sql::headline(&it.text),
        (None, Some(What::Command(COM_INIT_DB | COM_CREATE_DB | COM_DROP_DB)), _) => {
            Cow::Borrowed(schema.unwrap_or_default())
        }
        (None, Some(What::Login), _) => Cow::Borrowed(login.map_or("", |it| &it.user)),
        (None, None, Some(it)) => Cow::Borrowed(&*it.version),
        _ => Cow::Borrowed(""),
    };
    let columns = response.and_then(|it| it.columns.as_ref());
    let summary = Summary {
        // Preparing is not running.
        verb: match (&operation, request.map(|it| it.what)) {
            (_, Some(What::Command(COM_QUERY | COM_STMT_EXECUTE))) => {
                operation.clone().unwrap_or_else(|| command.clone())
            }
            _ => command.clone(),
        },
        target,
        status: failure.map(|it| i32::from(it.code)),
        failed: failure.is_some(),
        error: failure.map(|it| Cow::Borrowed(&*it.message)),
    };
    let compression = response.and_then(|it| it.compression).map(|it| match it {
        Compression::Zlib => "zlib",
        Compression::Zstd => "zstd",
    });
    let is_result = |it: &&Response| it.columns.is_some() || it.rows > 0;
    let gives_rows = |it: &&Response| is_result(it) && it.outcome != Some("columns");
    let record = Mysql {
        command: Label(command),
        command_code: code,
        operation: operation.map(Label),
        statement: statement.map(|it| Cow::Borrowed(&*it.text)),
        statement_length: statement.map(|it| Size(it.length)),
        statement_id: request
            .and_then(|it| it.statement)
            .or_else(|| response.and_then(|it| it.statement))
            .map(u64::from),
        parameters: request.and_then(|it| it.parameters.as_deref()).map(|it| Json(it.into())),
        parameter_count: request
            .and_then(|it| it.count)
            .or_else(|| response.and_then(|it| it.parameters)),
        query_attributes: request.and_then(|it| it.attributes.as_deref()).map(|it| Json(it.into())),
        user: login.and_then(|it| filled(&it.user)),
        database: schema.and_then(filled),
        application_name: login.and_then(|it| filled(&it.application)),
        auth_plugin: request
            .and_then(|it| it.plugin.as_deref())
            .or_else(|| greeting.map(|it| &*it.plugin))
            .and_then(filled),
        auth_switch: response.and_then(|it| it.auth_switch.as_deref()).and_then(filled),
        server_version: greeting.and_then(|it| filled(&it.version)),
        connection_id: greeting.map(|it| u64::from(it.connection)),
        compression: compression.map(Label::from),
        outcome: response.and_then(|it| it.outcome).map(Label::from),
        error_code: failure.map(|it| Code(i32::from(it.code))),
        sqlstate: failure.and_then(|it| filled(&it.state)),
        affected_rows: response.and_then(|it| it.affected),
        insert_id: response.and_then(|it| it.insert_id),
        warning_count: response.and_then(|it| it.warnings).map(u64::from),
        info: response.map(|it| &*it.info).filter(|it| !it.is_empty()).map(Cow::Borrowed),
        column_count: response.and_then(|it| it.column_count),
        columns: Texts(columns.map(|it| it.names()).unwrap_or_default()),
        row_count: response
            .filter(|it| it.statement.is_none())
            .filter(gives_rows)
            .map(|it| it.rows),
        rows: response.and_then(|it| it.kept.finished()).map(|it| Json(it.into())),
        result_count: response.map(|it| it.results).filter(|it| *it > 1),
        in_transaction: response.and_then(|it| it.status).map(|it| it & IN_TRANSACTION != 0),
        infile_name: response.and_then(|it| it.infile.as_deref()).map(Cow::Borrowed),
        data_length: request.and_then(|it| it.data).map(Size),
    };
    (summary, record)
}

/// A command's name; `None` if there is no such command.
fn name_of(command: u8) -> Option<&'static str> {
    let name = match command {
        0x00 => "COM_SLEEP",
        COM_QUIT => "COM_QUIT",
        COM_INIT_DB => "COM_INIT_DB",
        COM_QUERY => "COM_QUERY",
        COM_FIELD_LIST => "COM_FIELD_LIST",
        COM_CREATE_DB => "COM_CREATE_DB",
        COM_DROP_DB => "COM_DROP_DB",
        0x07 => "COM_REFRESH",
        0x08 => "COM_SHUTDOWN",
        COM_STATISTICS => "COM_STATISTICS",
        0x0a => "COM_PROCESS_INFO",
        0x0b => "COM_CONNECT",
        0x0c => "COM_PROCESS_KILL",
        0x0d => "COM_DEBUG",
        0x0e => "COM_PING",
        0x0f => "COM_TIME",
        0x10 => "COM_DELAYED_INSERT",
        COM_CHANGE_USER => "COM_CHANGE_USER",
        COM_BINLOG_DUMP => "COM_BINLOG_DUMP",
        0x13 => "COM_TABLE_DUMP",
        0x14 => "COM_CONNECT_OUT",
        0x15 => "COM_REGISTER_SLAVE",
        COM_STMT_PREPARE => "COM_STMT_PREPARE",
        COM_STMT_EXECUTE => "COM_STMT_EXECUTE",
        COM_STMT_SEND_LONG_DATA => "COM_STMT_SEND_LONG_DATA",
        COM_STMT_CLOSE => "COM_STMT_CLOSE",
        COM_STMT_RESET => "COM_STMT_RESET",
        0x1b => "COM_SET_OPTION",
        COM_STMT_FETCH => "COM_STMT_FETCH",
        0x1d => "COM_DAEMON",
        COM_BINLOG_DUMP_GTID => "COM_BINLOG_DUMP_GTID",
        COM_RESET_CONNECTION => "COM_RESET_CONNECTION",
        0x20 => "COM_CLONE",
        COM_STMT_BULK_EXECUTE => "COM_STMT_BULK_EXECUTE",
        0xfe => "COM_MULTI",
        _ => return None,
    };
    Some(name)
}

/// Whether this is the answer to a preparation: numbers and a zero byte where an OK has no such.
fn looks_prepared(body: &[u8]) -> bool {
    matches!(body.len(), 12 | 13) && body.first() == Some(&0) && body.get(9) == Some(&0)
}

fn is_null(nulls: &[u8], place: usize) -> bool {
    nulls.get(place / 8).is_some_and(|it| it >> (place % 8) & 1 == 1)
}

fn lossless(bytes: &[u8]) -> String {
    text(bytes).into_owned()
}

const COM_QUIT: u8 = 0x01;
const COM_INIT_DB: u8 = 0x02;
const COM_QUERY: u8 = 0x03;
const COM_FIELD_LIST: u8 = 0x04;
const COM_CREATE_DB: u8 = 0x05;
const COM_DROP_DB: u8 = 0x06;
const COM_STATISTICS: u8 = 0x09;
const COM_CHANGE_USER: u8 = 0x11;
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
const COM_STMT_CLOSE: u8 = 0x19;
const COM_STMT_RESET: u8 = 0x1a;
const COM_STMT_FETCH: u8 = 0x1c;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
const COM_RESET_CONNECTION: u8 = 0x1f;
/// MariaDB's.
const COM_STMT_BULK_EXECUTE: u8 = 0xfa;

const LONG_PASSWORD: u64 = 1;
const CONNECT_WITH_DB: u64 = 1 << 3;
const COMPRESS: u64 = 1 << 5;
const PROTOCOL_41: u64 = 1 << 9;
const SSL: u64 = 1 << 11;
const SECURE_CONNECTION: u64 = 1 << 15;
const PLUGIN_AUTH: u64 = 1 << 19;
const CONNECT_ATTRIBUTES: u64 = 1 << 20;
const AUTH_LENENC: u64 = 1 << 21;
const DEPRECATE_EOF: u64 = 1 << 24;
const COMPRESS_ZSTD: u64 = 1 << 26;
const QUERY_ATTRIBUTES: u64 = 1 << 27;

/// Flags of the server's state.
const IN_TRANSACTION: u16 = 1;
const MORE_RESULTS: u16 = 1 << 3;
const CURSOR_EXISTS: u16 = 1 << 6;
const SESSION_CHANGED: u16 = 1 << 14;

/// What MariaDB sends in the form of an error while a statement takes long.
const PROGRESS: u16 = 0xffff;

/// A change of the session's database.
const TRACK_SCHEMA: u8 = 1;

/// A flag of COM_STMT_EXECUTE.
const PARAMETER_COUNT: u8 = 8;

/// Packets of a login that goes on and on; the longest plugins take a handful.
const MOST_AUTH_STEPS: u8 = 64;

/// What the server itself allows.
const MOST_RESULT_COLUMNS: u64 = 4096;

/// Columns remembered of a result.
const KEPT_COLUMNS: usize = 1024;

/// Columns named of a result.
const MOST_COLUMNS: usize = 64;

/// Rows kept of a result: enough to see what it is.
const MOST_ROWS: usize = 20;

/// Parameters kept.
const MOST_PARAMETERS: usize = 256;

/// Bytes of rows or parameters, as JSON.
const JSON_BYTES: usize = 8 << 10;

/// Bytes kept of a statement.
const STATEMENT_BYTES: usize = 64 << 10;

/// Bytes kept of a message.
const INFO_BYTES: usize = 4 << 10;

/// Bytes kept of a column's name; the server itself allows 64 characters.
const NAME_BYTES: usize = 256;

/// Prepared statements remembered of a connection, and their bytes.
const MOST_STATEMENTS: usize = 1000;
const STATEMENTS_BYTES: usize = 1 << 20;

/// Bytes of a compressed frame that are opened; of a larger one, the rest counts as not captured.
const OPENED_BYTES: usize = 1 << 20;

/// Bytes of a frame that are left for the messages in it.
const TAIL_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression as Level;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{Step, client, however_cut, server, stream};

    fn packet(number: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        [&length[..3], &[number], body].concat()
    }

    fn command(code: u8, rest: impl AsRef<[u8]>) -> Vec<u8> {
        packet(0, [&[code], rest.as_ref()].concat())
    }

    fn ok(number: u8) -> Vec<u8> {
        packet(number, b"\0\0\0\x02\0\0\0")
    }

    fn eof(number: u8, status: u8) -> Vec<u8> {
        packet(number, [0xfe, 0, 0, status, 0])
    }

    fn greeting(capabilities: u64) -> Vec<u8> {
        let [a, b, c, d, ..] = capabilities.to_le_bytes();
        let mut body = b"\x0a8.0.36\0\x07\0\0\0saltsalt\0".to_vec();
        body.extend([a, b, 33, 2, 0, c, d, 21]);
        body.extend([0; 10]);
        body.extend(b"saltsaltsalt\0mysql_native_password\0");
        packet(0, body)
    }

    fn login(capabilities: u64) -> Vec<u8> {
        let mut body = u32::try_from(capabilities).unwrap().to_le_bytes().to_vec();
        body.extend([0, 0, 0, 1, 33]);
        body.extend([0; 23]);
        body.extend(b"ann\0\x04hush");
        body.extend(b"shop\0");
        packet(1, body)
    }

    const CAPABILITIES: u64 = LONG_PASSWORD | CONNECT_WITH_DB | PROTOCOL_41 | SECURE_CONNECTION;

    fn column(number: u8, name: &str, kind: u8) -> Vec<u8> {
        let mut body = b"\x03def\0\0\0".to_vec();
        body.push(u8::try_from(name.len()).unwrap());
        body.extend(name.bytes());
        body.extend([0, 0x0c, 33, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0, 0]);
        packet(number, body)
    }

    /// Some columns of each row.
    fn show(rows: &[Value], names: &[&str]) -> Vec<Value> {
        let pick = |it: &Value| names.iter().map(|name| it[*name].clone()).collect();
        rows.iter().map(pick).collect()
    }

    #[test]
    fn a_login_keeps_no_password() {
        let steps = [
            server(greeting(CAPABILITIES)),
            client(login(CAPABILITIES)),
            server(packet(2, b"\xfemysql_clear_password\0")),
            client(packet(3, b"hush\0")),
            server(ok(4)),
            client(command(COM_QUERY, "create user a identified by 'hush'")),
            server(ok(1)),
        ];
        let rows = however_cut::<Dissector>(&steps);
        assert!(!format!("{rows:?}").contains("hush"), "{rows:?}");
        assert_eq!(
            show(&rows, &["command", "outcome", "user", "database", "auth_switch"]),
            [
                json!(["Greeting", null, null, null, null]),
                json!(["AuthResponse", null, "ann", "shop", null]),
                json!(["Login", "ok", "ann", "shop", "mysql_clear_password"]),
                json!(["COM_QUERY", "ok", "ann", "shop", null]),
            ]
        );
    }

    #[test]
    fn a_result_has_its_rows_with_and_without_eof() {
        let head = [packet(1, [1]), column(2, "id", 3)].concat();
        let row = |number| packet(number, b"\x0242");
        let old = [head.clone(), eof(3, 2), row(4), eof(5, 2)].concat();
        let new = [head, row(3), packet(4, b"\xfe\0\0\x02\0\0\0")].concat();
        for told in [old, new] {
            let steps = [client(command(COM_QUERY, "select id from t")), server(told)];
            let rows = however_cut::<Dissector>(&steps);
            assert_eq!(
                show(&rows, &["outcome", "columns", "rows", "row_count"]),
                [json!(["rows", ["id"], "[[42]]", 1])]
            );
        }
    }

    #[test]
    fn a_prepared_statement_is_known_by_its_number() {
        let prepared = [
            packet(1, b"\0\x07\0\0\0\x01\0\x01\0\0\0\0"),
            column(2, "?", 253),
            eof(3, 2),
            column(4, "id", 3),
            eof(5, 2),
        ];
        let run = b"\x07\0\0\0\0\x01\0\0\0\0\x01\xfd\0\x03abc";
        let told = [
            packet(1, [1]),
            column(2, "id", 3),
            eof(3, 2),
            packet(4, b"\0\0\x2a\0\0\0"),
            eof(5, 2),
        ];
        let steps = [
            server(greeting(CAPABILITIES)),
            client(login(CAPABILITIES)),
            server(ok(2)),
            client(command(COM_STMT_PREPARE, "select id from t where a = ?")),
            server(prepared.concat()),
            client(command(COM_STMT_EXECUTE, run)),
            server(told.concat()),
            client(command(COM_STMT_CLOSE, b"\x07\0\0\0")),
            client(command(COM_STMT_EXECUTE, run)),
            server(ok(1)),
        ];
        let rows = however_cut::<Dissector>(&steps);
        assert_eq!(
            show(&rows[2..], &["command", "statement", "parameters", "rows", "incomplete"]),
            [
                json!(["COM_STMT_PREPARE", "select id from t where a = ?", null, null, null]),
                json!([
                    "COM_STMT_EXECUTE",
                    "select id from t where a = ?",
                    "[\"abc\"]",
                    "[[42]]",
                    null
                ]),
                json!(["COM_STMT_CLOSE", "select id from t where a = ?", null, null, null]),
                json!(["COM_STMT_EXECUTE", null, null, null, true]),
            ]
        );
    }

    #[test]
    fn several_results_are_one_answer() {
        let told = [
            packet(1, [1]),
            column(2, "a", 3),
            eof(3, 10),
            packet(4, b"\x011"),
            eof(5, 10),
            packet(6, b"\0\x05\0\x02\0\0\0"),
        ];
        let steps = [
            client(command(COM_QUERY, "select 1; update t set a = 1")),
            server(told.concat()),
            client(command(0x0e, "")),
            server(ok(1)),
        ];
        let rows = however_cut::<Dissector>(&steps);
        assert_eq!(
            show(&rows, &["command", "outcome", "rows", "affected_rows", "result_count"]),
            [json!(["COM_QUERY", "rows", "[[1]]", 5, 2]), json!(["COM_PING", "ok", null, 0, null]),]
        );
    }

    #[test]
    fn packets_in_compressed_frames_are_read() {
        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        for (capability, name) in [(COMPRESS, "zlib"), (COMPRESS_ZSTD, "zstd")] {
            let capabilities = CAPABILITIES | capability;
            let frame = |bytes: &[u8]| {
                let packed = if capability == COMPRESS {
                    let mut packed = ZlibEncoder::new(Vec::new(), Level::default());
                    packed.write_all(bytes).unwrap();
                    packed.finish().unwrap()
                } else {
                    compress_to_vec(bytes, CompressionLevel::Fastest)
                };
                let length = u32::try_from(packed.len()).unwrap().to_le_bytes();
                let opened = u32::try_from(bytes.len()).unwrap().to_le_bytes();
                [&length[..3], &[0], &opened[..3], &packed].concat()
            };
            let steps = [
                server(greeting(capabilities)),
                client(login(capabilities)),
                server(ok(2)),
                client(frame(&command(COM_QUERY, format!("select '{}'", "x".repeat(5000))))),
                server(frame(&ok(1))),
                client(frame(
                    &[command(COM_STMT_CLOSE, b"\x07\0\0\0"), command(0x0e, "")].concat(),
                )),
                server(frame(&ok(1))),
            ];
            let rows = however_cut::<Dissector>(&steps);
            assert_eq!(
                show(&rows, &["command", "outcome", "compression"]),
                [
                    json!(["Greeting", null, null]),
                    json!(["Login", "ok", name]),
                    json!(["COM_QUERY", "ok", null]),
                    json!(["COM_STMT_CLOSE", null, null]),
                    json!(["COM_PING", "ok", null]),
                ]
            );
        }
    }

    #[test]
    fn a_statement_of_more_than_one_packet_is_one() {
        let text = [b"select '", vec![b'x'; 0xff_ffff].as_slice(), b"'"].concat();
        let whole = [&[COM_QUERY], text.as_slice()].concat();
        let (first, second) = whole.split_at(0xff_ffff);
        let steps = [
            client([packet(0, first), packet(1, second)].concat()),
            server(ok(2)),
            client(command(0x0e, "")),
            server(ok(1)),
        ];
        let rows = stream::<Dissector>(&steps, 64 << 10);
        assert_eq!(
            show(&rows, &["command", "statement_length", "outcome"]),
            [json!(["COM_QUERY", text.len(), "ok"]), json!(["COM_PING", null, "ok"])]
        );
    }

    #[test]
    fn encryption_hands_over() {
        let flags = u32::try_from(CAPABILITIES | SSL).unwrap().to_le_bytes();
        let wish = packet(1, [&flags[..], &[0, 0, 0, 1, 33], &[0; 23]].concat());
        let steps = [server(greeting(CAPABILITIES | SSL)), client(wish)];
        let rows = however_cut::<Dissector>(&steps);
        assert_eq!(rows[1]["command"], "SSLRequest");
        assert_eq!(rows[2], "becomes tls");
    }

    #[test]
    fn a_hole_in_a_result_costs_only_that() {
        let steps = [
            client(command(COM_QUERY, "select 1")),
            server(packet(1, [1])),
            Step::Loses(Side::Server, 100),
            server([packet(7, b"\x011"), eof(8, 2)].concat()),
            client(command(COM_QUERY, "select nonsense")),
            server(packet(1, b"\xff\x1e\x04#42S22Unknown column")),
        ];
        let rows = stream::<Dissector>(&steps, usize::MAX);
        assert_eq!(rows.len(), 2, "{rows:?}");
        let failed = rows.iter().find(|it| it["failed"] == true).unwrap();
        assert_eq!(failed["sqlstate"], "42S22");
        assert_eq!(failed["status"], 1054);
    }

    #[test]
    fn recognised_by_content() {
        let guess = |side, bytes: &[u8]| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port: 1 })
        };
        assert_eq!(guess(Side::Server, &greeting(CAPABILITIES)), Guess::Sure);
        assert_eq!(guess(Side::Client, &command(COM_QUERY, "select 1")), Guess::Sure);
        assert_eq!(guess(Side::Client, &command(0x0e, "")), Guess::Maybe);
        assert_eq!(guess(Side::Server, &ok(1)), Guess::Sure);
        for noise in
            [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\0\xa5\x01", b"\0\0\0\x08\x04\xd2\x16\x2f"]
        {
            assert_eq!(guess(Side::Client, noise), Guess::No, "{noise:?}");
        }
    }
    fn pieces() -> Vec<Vec<u8>> {
        [
            greeting(CAPABILITIES),
            login(CAPABILITIES),
            greeting(CAPABILITIES | COMPRESS),
            login(CAPABILITIES | COMPRESS),
            ok(1),
            ok(2),
            eof(3, 2),
            eof(2, 10),
            command(COM_QUERY, "select 1"),
            command(COM_STMT_PREPARE, "select ?"),
            packet(1, b"\0\x07\0\0\0\x01\0\x01\0\0\0\0"),
            command(COM_STMT_EXECUTE, b"\x07\0\0\0\0\x01\0\0\0\0\x01\x0c\0\x0b\xff\xff\xff"),
            command(COM_FIELD_LIST, "t"),
            command(COM_CHANGE_USER, "ann\0\x01"),
            packet(1, [1]),
            packet(1, [0xfc, 1]),
            column(2, "a", 7),
            column(2, "b", 11),
            packet(3, b"\0\0\x08\0\xff\xff\xff\xff\x30\x30\x30"),
            packet(1, b"\xfbfile"),
            packet(2, b""),
            packet(1, b"\xff\x1e\x04#42S22no"),
            vec![0xff, 0xff, 0xff, 0],
            vec![9, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0],
        ]
        .to_vec()
    }

    proptest! {
        #[test]
        fn noise_is_no_accident(
            told in proptest::collection::vec((0_usize..30, 0_u8..5), 0..60),
            piece in 1_usize..40,
        ) {
            let pieces = pieces();
            let steps: Vec<_> = told
                .into_iter()
                .map(|(place, what)| {
                    let bytes = pieces.get(place).cloned().unwrap_or_default();
                    match what {
                        0 | 1 => Step::Sends(Side::Client, bytes),
                        2 | 3 => Step::Sends(Side::Server, bytes),
                        _ if place % 2 == 0 => Step::Loses(Side::Client, place as u64 + 1),
                        _ => Step::Loses(Side::Server, place as u64 + 1),
                    }
                })
                .collect();
            stream::<Dissector>(&steps, piece);
        }
    }
}
