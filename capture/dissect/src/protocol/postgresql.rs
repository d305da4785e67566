//! PostgreSQL, and what else speaks its protocol 3, such as CockroachDB, PgBouncer and Redshift:
//! <https://www.postgresql.org/docs/current/protocol.html>.
use std::borrow::Cow;
use std::sync::Arc;

use memchr::{memchr, memmem};
use rustc_hash::FxHashMap;
use schema::value::{Json, Label, Size, Texts, text};

use super::common::sql::{self, List};
use super::{Dissect, Guess, Head, Transport};
use crate::body::Payload;
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};

mod message;
mod value;

use message::Raw;

/// What clients ask of PostgreSQL and the servers that speak its protocol, with the answers: simple
/// queries, the steps of the extended protocol up to the one that ends each answer, logins, and what
/// the server tells by itself. Passwords in statements and logins are replaced by `***` before
/// anything is kept.
#[derive(schema::Record)]
pub(super) struct Postgresql<'a> {
    /// What was sent: `Query`, `Execute` (of a prepared statement, with the Parse, Bind and Describe
    /// before it), `Parse`, `Bind`, `Describe` or `Close` (where no Execute follows), `Sync`,
    /// `FunctionCall`, `CopyData`, `Startup`, `Password`, `SASLInitialResponse`, `SASLResponse`,
    /// `GSSResponse`, `SSLRequest`, `GSSRequest`, `CancelRequest`, `Terminate`; what the server says
    /// by itself is a `Notification`, an `Error`, or the answer to something not captured.
    message: Label<'a>,
    /// First word of the statement, such as `SELECT`. OpenTelemetry: `db.operation.name`.
    operation: Option<Label<'a>>,
    /// The SQL, of a prepared statement too, cut at 64 KiB. OpenTelemetry: `db.query.text`.
    statement: Option<Cow<'a, str>>,
    /// Bytes of the whole statement.
    statement_length: Option<Size>,
    /// Name of the prepared statement; empty is the unnamed one.
    statement_name: Option<Cow<'a, str>>,
    /// Name of the portal; empty is the unnamed one.
    portal: Option<Cow<'a, str>>,
    /// Values of the statement's parameters, a JSON array, cut at 8 KiB and each value at 1 KiB.
    parameters: Option<Json<'a>>,
    /// How many parameters were sent.
    parameter_count: Option<u64>,
    /// The most rows that an Execute asks for.
    fetch_limit: Option<u64>,
    /// The role that logged in, if the login was captured.
    user: Option<Label<'a>>,
    /// The database, if the login was captured. OpenTelemetry: `db.namespace`.
    database: Option<Label<'a>>,
    /// What the client calls itself.
    application_name: Option<Label<'a>>,
    /// How the server asked for the password: `none`, `password`, `md5`, `scram-sha-256`, `gss`, …
    auth_method: Option<Label<'a>>,
    /// Version of the server, as told at login.
    server_version: Option<Label<'a>>,
    /// How it ended: `complete`, `suspended` (more rows wait), `empty` (no statement), `error`,
    /// `skipped` (after an error before it), `ok`, `ready`, `accepted` or `refused` (encryption).
    outcome: Option<Label<'a>>,
    /// What the server says it did, such as `INSERT 0 1`; of several statements, the first.
    command_tag: Option<Label<'a>>,
    /// How many statements were done.
    statement_count: Option<u64>,
    /// Rows that were sent. OpenTelemetry: `db.response.returned_rows`.
    row_count: Option<u64>,
    /// Rows the statement touched or gave, as the tag says.
    affected_rows: Option<u64>,
    /// Names of the columns, the first 64; of several results, those of the first.
    columns: Texts<'a>,
    /// The first 20 rows of the first result, a JSON array of arrays, cut at 8 KiB and each value at 1 KiB.
    rows: Option<Json<'a>>,
    /// `ERROR`, `FATAL` or `PANIC`.
    severity: Option<Label<'a>>,
    /// SQLSTATE of the error, such as `23505`. OpenTelemetry: `db.response.status_code`.
    sqlstate: Option<Label<'a>>,
    /// More about the error.
    detail: Option<Cow<'a, str>>,
    /// What the server suggests against the error.
    hint: Option<Cow<'a, str>>,
    /// Name of the constraint that was violated.
    constraint_name: Option<Cow<'a, str>>,
    /// Warnings and notices that came with the answer, the first 8.
    notices: Texts<'a>,
    /// Direction of a COPY: `in`, `out` or `both`.
    copy_direction: Option<Label<'a>>,
    /// Bytes that were copied, in the direction of this row.
    copy_bytes: Option<Size>,
    /// In how many messages, as a rule a row each.
    copy_messages: Option<u64>,
    /// Channel of a notification.
    channel: Option<Cow<'a, str>>,
    /// What was notified.
    payload: Option<Cow<'a, str>>,
    /// Process on the server that notified, or that is to be cancelled.
    backend_pid: Option<u64>,
    /// State after the answer: `idle`, `transaction` or `failed`.
    transaction_status: Option<Label<'a>>,
}

/// What a connection has agreed on, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    login: Option<Arc<Login>>,
    statements: FxHashMap<Box<[u8]>, Statement>,
    statement_bytes: usize,
    portals: FxHashMap<Box<[u8]>, Arc<Bound>>,
    client: Client,
    server: Server,
}

/// A request or a response.
#[derive(Debug)]
pub(super) enum Body {
    Request(Box<Request>),
    Response(Box<Response>),
}

/// Who logged in where.
#[derive(Debug, Default)]
struct Login {
    user: String,
    database: String,
    application: String,
}

/// A statement as it was sent.
#[derive(Clone, Debug)]
struct Text {
    text: Arc<str>,
    length: u64,
}

/// A prepared statement.
#[derive(Debug)]
struct Statement {
    sql: Text,
    types: Arc<[u32]>,
    columns: Option<Arc<Columns>>,
    /// Whether the client asked what its parameters and columns are, and was told.
    asked: bool,
    told: bool,
}

/// A statement with its parameters.
#[derive(Debug, Default)]
struct Bound {
    name: Box<[u8]>,
    sql: Option<Text>,
    parameters: Option<String>,
    count: u64,
    /// Format codes of the result's columns; one is for all.
    formats: Vec<u16>,
}

/// The columns of a result.
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
    oid: u32,
    format: u16,
}

#[derive(Debug, Default)]
struct Client {
    partial: Option<Partial>,
    unit: Unit,
    copy: Option<Copied>,
    /// Counts the points at which the server says that it is ready.
    batch: u64,
    /// Requests since the last of them.
    index: u64,
    /// Whether the connection was seen to begin, so that a login must have come.
    is_new: bool,
}

#[derive(Debug, Default)]
struct Server {
    partial: Option<Partial>,
    reply: Option<Box<Response>>,
    /// How many batches were answered.
    done: u64,
    /// Which request of which batch is answered next.
    batch: u64,
    index: u64,
    /// After an error, the server skips what comes before the next Sync.
    failed: bool,
    /// Bytes left of a ReadyForQuery, which is used up byte by byte when it ends several requests.
    ready: Option<(u8, u8)>,
    /// Answers still to come to Close messages behind an Execute.
    closes: u64,
    auth: Option<&'static str>,
    /// Messages were missed: the answer may have begun among them.
    is_gapped: bool,
}

/// A message too long to wait for.
#[derive(Debug)]
struct Partial {
    kind: u8,
    left: u64,
    payload: Payload,
    incomplete: bool,
}

/// Messages of the extended protocol that make one request.
#[derive(Debug, Default)]
struct Unit {
    /// The kind of the message that names it; `None` while there is none.
    kind: Option<Kind>,
    sql: Option<Text>,
    bound: Option<Arc<Bound>>,
    name: Option<Box<[u8]>>,
    portal: Option<Box<[u8]>>,
    limit: u32,
    /// Answers that the server gives before the one to an Execute.
    expects: u64,
    /// Close messages behind the Execute.
    closes: u64,
    incomplete: bool,
}

/// What went through COPY.
#[derive(Clone, Copy, Debug, Default)]
struct Copied {
    direction: Option<&'static str>,
    bytes: u64,
    messages: u64,
}

/// In the order of what a unit is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Sync,
    Close,
    Describe,
    Bind,
    Parse,
    Execute,
    Query,
    FunctionCall,
    CopyData,
    Startup,
    Password,
    SaslInitialResponse,
    SaslResponse,
    GssResponse,
    SslRequest,
    GssRequest,
    CancelRequest,
    Terminate,
}

/// What was asked.
#[derive(Debug)]
pub(super) struct Request {
    kind: Kind,
    sql: Option<Text>,
    bound: Option<Arc<Bound>>,
    name: Option<Box<[u8]>>,
    portal: Option<Box<[u8]>>,
    limit: u32,
    login: Option<Arc<Login>>,
    copy: Option<Copied>,
    pid: Option<u32>,
    error: Option<String>,
    batch: u64,
    index: u64,
    /// Whether the server says afterwards that it is ready.
    is_synced: bool,
    /// How many answers end the response, if it has no Execute.
    expects: u64,
    closes: u64,
}

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Response {
    outcome: Option<&'static str>,
    tag: String,
    tags: u64,
    rows: u64,
    kept: List,
    columns: Option<Arc<Columns>>,
    failure: Option<Box<Failure>>,
    notices: Vec<String>,
    auth: Option<&'static str>,
    version: String,
    status: Option<u8>,
    copy: Option<Copied>,
    notification: Option<Box<Notification>>,
    /// Answers so far that are not an end.
    answers: u64,
    incomplete: bool,
}

/// An error as the server reports it.
#[derive(Debug, Default)]
struct Failure {
    severity: String,
    code: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    constraint: Option<String>,
}

#[derive(Debug)]
struct Notification {
    pid: u32,
    channel: String,
    payload: String,
}

impl Dissect for Dissector {
    const NAME: &'static str = "postgresql";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[5432, 6432, 26_257];
    type Body = Body;
    type Columns = PostgresqlColumns;

    fn guess(head: &Head<'_>) -> Guess {
        match head.side {
            Side::Client if head.bytes.first() == Some(&0) => message::guess_startup(head.bytes),
            side => message::guess(side, head.bytes),
        }
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        match side {
            Side::Client => self.parse_client(input),
            Side::Server => self.parse_server(input, open),
        }
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, Postgresql<'_>) {
        let (request, response) = sides(&exchange);
        record(request, response)
    }

    fn summary(exchange: Exchange<'_, Body>) -> Summary<'_> {
        let (request, response) = sides(&exchange);
        summary(request, response)
    }

    fn weight(body: &Body) -> usize {
        match body {
            Body::Request(it) => {
                let bound = it.bound.as_ref().and_then(|it| it.parameters.as_ref());
                let sql = it.sql.as_ref().map_or(0, |it| it.text.len());
                size_of::<Request>() + sql + bound.map_or(0, String::capacity)
            }
            Body::Response(it) => {
                let notices: usize = it.notices.iter().map(String::capacity).sum();
                size_of::<Response>() + it.kept.heap() + notices
            }
        }
    }

    fn held(&self) -> usize {
        let partials = [&self.client.partial, &self.server.partial];
        let partials: usize = partials.into_iter().flatten().map(|it| it.payload.held()).sum();
        let reply = self.server.reply.as_ref().map_or(0, |it| it.kept.heap());
        let portals = self.portals.len() * (size_of::<Bound>() + NAME_BYTES);
        partials + reply + portals + self.statement_bytes
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let partial = match side {
            Side::Client => self.client.partial.as_mut(),
            Side::Server => self.server.partial.as_mut(),
        };
        let partial = partial.ok_or(Stop::Lost)?;
        partial.left = partial.left.checked_sub(missing).ok_or(Stop::Lost)?;
        partial.payload.skip(missing);
        partial.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        match side {
            Side::Client => {
                // What was bound or prepared without a name may have been replaced meanwhile.
                self.portals.clear();
                self.statements.remove(&b""[..]);
                self.client.partial = None;
                self.client.unit = Unit::default();
                self.client.copy = None;
                message::resync_client(input)
            }
            Side::Server => {
                self.server = Server { is_gapped: true, ..self.server.afresh() };
                // While an answer is awaited, only what belongs to it says which one comes next.
                let awaits = self.client.batch > self.server.done;
                message::resync_server(awaits, input)
            }
        }
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        match side {
            Side::Client if self.client.unit.kind == Some(Kind::Execute) => {
                Some(self.finish_unit(false))
            }
            Side::Client => {
                let copy = self.client.copy.take()?;
                Some(Message::notice(self.copied(copy, None)).incomplete(true))
            }
            Side::Server => {
                let reply = self.server.reply.take_if(|it| it.outcome.is_some())?;
                Some(respond(reply))
            }
        }
    }
}

impl Dissector {
    fn parse_client(&mut self, input: &mut Input<'_>) -> Result<Message<Body>, Stop> {
        loop {
            let is_over = self.client.partial.as_ref().is_some_and(|it| it.left == 0);
            if self.client.partial.is_none() {
                let Some(kind) = input.rest().first() else { return Err(Stop::More) };
                if *kind == 0 {
                    return self.parse_startup(input);
                }
                if self.ends_unit(*kind) {
                    return Ok(self.finish_unit(false));
                }
            } else if input.rest().is_empty() && !is_over {
                return Err(Stop::More);
            }
            let raw = message::next(&mut self.client.partial, Side::Client, false, input)?;
            if let Some(message) = self.client_message(&raw)? {
                return Ok(message);
            }
            input.commit();
        }
    }

    /// Whether a message of this kind begins the next request.
    fn ends_unit(&self, kind: u8) -> bool {
        let unit = &self.client.unit;
        let Some(named) = unit.kind else { return false };
        match kind {
            b'S' | b'H' | b'C' => false,
            b'P' => named >= Kind::Bind,
            b'B' => named >= Kind::Execute || unit.bound.is_some(),
            b'D' | b'E' => named >= Kind::Execute,
            _ => true,
        }
    }

    /// What is sent before anything else, without a type in front.
    fn parse_startup(&mut self, input: &mut Input<'_>) -> Result<Message<Body>, Stop> {
        let length = input.u32()?;
        let code = input.u32()?;
        let body = match (code, length) {
            (message::SSL_REQUEST, 8) => {
                self.client.is_new = true;
                self.request(Kind::SslRequest)
            }
            (message::GSS_REQUEST, 8) => {
                self.client.is_new = true;
                self.request(Kind::GssRequest)
            }
            (message::CANCEL_REQUEST, 12..=message::STARTUP_BYTES) => {
                let pid = input.u32()?;
                input.take(message::size(length - 12))?;
                let mut request = self.request(Kind::CancelRequest);
                request.pid = Some(pid);
                return Ok(Message::notice(Body::Request(request)));
            }
            (version, 9..=message::STARTUP_BYTES) if version >> 16 == 3 => {
                let parameters = input.take(message::size(length - 8))?;
                let login = Login::of(parameters).ok_or(Stop::Lost)?;
                self.login = Some(Arc::new(login));
                self.request(Kind::Startup)
            }
            _ => return Err(Stop::Lost),
        };
        Ok(self.ask(body, true, false))
    }

    /// One message of the client; `None` if it is a part of a request.
    fn client_message(&mut self, raw: &Raw<'_>) -> Result<Option<Message<Body>>, Stop> {
        let body: &[u8] = &raw.body;
        let incomplete = raw.incomplete;
        let unit = &mut self.client.unit;
        match raw.kind {
            b'Q' => {
                let sql = Text::of(body, raw.size);
                let mut request = self.request(Kind::Query);
                request.sql = Some(sql);
                return Ok(Some(self.ask(request, true, incomplete)));
            }
            b'P' => {
                let mut fields = Fields(body);
                let name = fields.name().ok_or(Stop::Lost)?;
                let (query, is_whole) = fields.rest_of_text();
                let length = if is_whole { query.len() as u64 } else { raw.size };
                let sql = Text::of(query, length.saturating_add(1));
                let count = fields.u16().unwrap_or(0);
                let types: Arc<[u32]> =
                    (0..count.min(MOST_PARAMETERS)).map_while(|_| fields.u32()).collect();
                unit.begin(Kind::Parse, incomplete);
                unit.name = Some(name.into());
                unit.sql = Some(sql.clone());
                self.prepare(
                    name,
                    Statement { sql, types, columns: None, asked: false, told: false },
                );
            }
            b'B' => self.bind(body, raw)?,
            b'D' | b'C' => {
                let (what, name) = match body {
                    [what @ (b'S' | b'P'), name @ .., 0] => (*what, name),
                    _ => return Err(Stop::Lost),
                };
                if raw.kind == b'C' {
                    if unit.kind == Some(Kind::Execute) {
                        unit.closes += 1;
                        return Ok(None);
                    }
                    if what == b'P' {
                        self.portals.remove(name);
                    }
                    unit.begin(Kind::Close, incomplete);
                } else {
                    unit.begin(Kind::Describe, incomplete);
                }
                if raw.kind == b'D'
                    && what == b'S'
                    && let Some(statement) = self.statements.get_mut(name)
                {
                    statement.asked = true;
                }
                match what {
                    b'S' if unit.name.is_none() => {
                        unit.sql = self.statements.get(name).map(|it| it.sql.clone());
                        unit.name = Some(name.into());
                    }
                    b'P' if unit.portal.is_none() => unit.portal = Some(name.into()),
                    _ => {}
                }
            }
            b'E' => {
                let mut fields = Fields(body);
                let portal = fields.name().ok_or(Stop::Lost)?;
                unit.limit = fields.u32().ok_or(Stop::Lost)?;
                if !fields.0.is_empty() {
                    return Err(Stop::Lost);
                }
                let expects = unit.expects;
                unit.begin(Kind::Execute, incomplete);
                unit.expects = expects;
                if unit.bound.is_none() || unit.portal.as_deref() != Some(portal) {
                    unit.bound = self.portals.get(portal).cloned();
                }
                unit.portal = Some(portal.into());
                match &unit.bound {
                    Some(bound) => {
                        unit.sql.clone_from(&bound.sql);
                        unit.name = Some(bound.name.clone());
                    }
                    None => (unit.sql, unit.name) = (None, None),
                }
            }
            b'S' => {
                unit.kind.get_or_insert(Kind::Sync);
                unit.incomplete |= incomplete;
                return Ok(Some(self.finish_unit(true)));
            }
            b'H' if unit.kind.is_some() => return Ok(Some(self.finish_unit(false))),
            b'H' => {}
            b'F' => {
                let request = self.request(Kind::FunctionCall);
                return Ok(Some(self.ask(request, true, incomplete)));
            }
            b'd' => {
                let copy = self.client.copy.get_or_insert_default();
                copy.bytes = copy.bytes.saturating_add(raw.size);
                copy.messages += 1;
            }
            b'c' | b'f' => {
                let copy = self.client.copy.take().unwrap_or_default();
                let error = (raw.kind == b'f').then(|| lossless(Fields(body).text()));
                let message = Message::notice(self.copied(copy, error));
                return Ok(Some(message.incomplete(incomplete)));
            }
            b'p' => {
                let kind = match self.server.auth {
                    Some("gss" | "sspi") => Kind::GssResponse,
                    Some(_) if body.last() == Some(&0) => Kind::Password,
                    Some(it) if it.starts_with("scram") && memchr(0, body).is_some() => {
                        Kind::SaslInitialResponse
                    }
                    Some(it) if it.starts_with("scram") => Kind::SaslResponse,
                    _ => Kind::Password,
                };
                let request = self.request(kind);
                return Ok(Some(Message::notice(Body::Request(request)).incomplete(incomplete)));
            }
            b'X' => {
                let request = self.request(Kind::Terminate);
                return Ok(Some(Message::notice(Body::Request(request))));
            }
            _ => return Err(Stop::Lost),
        }
        Ok(None)
    }

    /// Parameters are given to a statement.
    fn bind(&mut self, body: &[u8], raw: &Raw<'_>) -> Result<(), Stop> {
        let mut fields = Fields(body);
        let portal = fields.name().ok_or(Stop::Lost)?;
        let name = fields.name().ok_or(Stop::Lost)?;
        let unit_is_new = self.client.unit.kind.is_none();
        let formats = fields.u16_list().ok_or(Stop::Lost)?;
        let count = fields.u16().ok_or(Stop::Lost)?;
        let statement = self.statements.get(name);
        let types = statement.map(|it| &*it.types).unwrap_or_default();
        let mut parameters = List::default();
        let is_cut = u64::try_from(body.len()).is_ok_and(|it| it < raw.size);
        for place in 0..usize::from(count) {
            let Some(value) = fields.value() else {
                if is_cut {
                    break;
                }
                return Err(Stop::Lost);
            };
            let format = formats.at(place);
            let oid = types.get(place).copied().unwrap_or(0);
            parameters.add(usize::from(MOST_PARAMETERS), JSON_BYTES, |to| {
                value::write(to, value, oid, format == 1);
            });
        }
        let results = if is_cut { None } else { Some(fields.u16_list().ok_or(Stop::Lost)?) };
        let bound = Arc::new(Bound {
            name: name.into(),
            sql: statement.map(|it| it.sql.clone()),
            parameters: parameters.finished(),
            count: u64::from(count),
            formats: results.map(|it| it.collect()).unwrap_or_default(),
        });
        // The answer that says what the parameters are was not captured.
        let lacks_types = statement.is_some_and(|it| it.asked && !it.told) && unit_is_new;
        let unit = &mut self.client.unit;
        unit.begin(Kind::Bind, raw.incomplete || lacks_types);
        unit.name = Some(name.into());
        unit.sql.clone_from(&bound.sql);
        unit.portal = Some(portal.into());
        unit.bound = Some(Arc::clone(&bound));
        if let Some(it) = self.portals.get_mut(portal) {
            *it = bound;
        } else {
            if self.portals.len() >= MOST_PORTALS {
                self.portals.clear();
            }
            self.portals.insert(portal.into(), bound);
        }
        Ok(())
    }

    /// Remembers a statement, of so many at most.
    fn prepare(&mut self, name: &[u8], statement: Statement) {
        let weight =
            |it: &Statement| it.sql.text.len() + size_of::<Statement>() + 4 * it.types.len();
        let bytes = weight(&statement);
        if let Some(old) = self.statements.get_mut(name) {
            self.statement_bytes = (self.statement_bytes + bytes).saturating_sub(weight(old));
            *old = statement;
            return;
        }
        while self.statements.len() >= MOST_STATEMENTS || self.statement_bytes > STATEMENTS_BYTES {
            let Some(some) = self.statements.keys().next().cloned() else { break };
            if let Some(old) = self.statements.remove(&some) {
                self.statement_bytes = self.statement_bytes.saturating_sub(weight(&old));
            }
        }
        self.statement_bytes += bytes;
        self.statements.insert(name.into(), statement);
    }

    /// The messages so far become a request.
    fn finish_unit(&mut self, is_synced: bool) -> Message<Body> {
        let unit = std::mem::take(&mut self.client.unit);
        let mut request = self.request(unit.kind.unwrap_or(Kind::Sync));
        request.sql = unit.sql;
        request.bound = unit.bound;
        request.name = unit.name;
        request.portal = unit.portal;
        request.limit = unit.limit;
        request.expects = unit.expects;
        request.closes = unit.closes;
        // A statement prepared before the capture began, or while a part of it is missing.
        let names_one = unit.kind == Some(Kind::Execute) || request.name.is_some();
        let is_unknown = names_one && request.sql.is_none();
        self.ask(request, is_synced, unit.incomplete || is_unknown)
    }

    fn request(&self, kind: Kind) -> Box<Request> {
        Box::new(Request {
            kind,
            sql: None,
            bound: None,
            name: None,
            portal: None,
            limit: 0,
            login: self.login.clone(),
            copy: None,
            pid: None,
            error: None,
            batch: 0,
            index: 0,
            is_synced: false,
            expects: 0,
            closes: 0,
        })
    }

    /// Gives a request its place: of those between two Syncs, the first pairs by order with what is
    /// answered first, the others by their number. So the ones that an error skips do not take the
    /// answers of those that come later.
    fn ask(
        &mut self,
        mut request: Box<Request>,
        is_synced: bool,
        incomplete: bool,
    ) -> Message<Body> {
        request.batch = self.client.batch;
        request.index = self.client.index;
        request.is_synced = is_synced;
        let key = key(request.batch, request.index);
        if is_synced {
            self.client.batch += 1;
            self.client.index = 0;
        } else {
            self.client.index += 1;
        }
        let lacks_login = self.client.is_new && self.login.is_none();
        let needs_login = !matches!(request.kind, Kind::SslRequest | Kind::GssRequest);
        Message::request(Body::Request(request))
            .key(key)
            .incomplete(incomplete || lacks_login && needs_login)
    }

    fn copied(&self, copy: Copied, error: Option<String>) -> Body {
        let mut request = self.request(Kind::CopyData);
        request.copy = Some(Copied { direction: Some("in"), ..copy });
        request.error = error;
        Body::Request(request)
    }

    fn parse_server(
        &mut self,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        if self.server.reply.is_none()
            && self.server.partial.is_none()
            && let Some(Body::Request(request)) = open.oldest(0)
            && matches!(request.kind, Kind::SslRequest | Kind::GssRequest)
            && let Some(byte @ (b'S' | b'N' | b'G')) = input.rest().first()
        {
            let becomes = match (byte, request.kind) {
                (b'S', Kind::SslRequest) => Some("tls"),
                (b'G', Kind::GssRequest) => Some("gssapi"),
                (b'N', _) => None,
                _ => return Err(Stop::Lost),
            };
            input.take(1)?;
            let outcome = if becomes.is_some() { "accepted" } else { "refused" };
            let reply = Response { outcome: Some(outcome), ..Response::default() };
            let message = respond(Box::new(reply));
            return Ok(match becomes {
                Some(name) => message.becomes(name),
                None => message,
            });
        }
        if self.server.partial.is_none() && input.rest().starts_with(b"NR\0\0\0") {
            // No encryption, said to a request that was not captured.
            input.take(1)?;
            input.commit();
        }
        loop {
            match &self.server.partial {
                Some(partial) if partial.left == 0 => {}
                _ if input.rest().is_empty() => return Err(Stop::More),
                _ => {}
            }
            if self.server.partial.is_none() && self.is_ready(input)? {
                return self.ready(input, open);
            }
            let skips_rows = self.server.reply.as_ref().is_some_and(|it| !it.kept.has_room());
            let raw = message::next(&mut self.server.partial, Side::Server, skips_rows, input)?;
            if let Some(message) = self.server_message(&raw, open)? {
                return Ok(message);
            }
            input.commit();
        }
    }

    /// Whether the next message is a ReadyForQuery, or what is left of one.
    fn is_ready(&mut self, input: &Input<'_>) -> Result<bool, Stop> {
        if self.server.ready.is_some() {
            return Ok(true);
        }
        match input.rest() {
            [b'Z', 0, 0, 0, 5, status, ..] => {
                self.server.ready = Some((message::READY_BYTES, *status));
                Ok(true)
            }
            [b'Z', rest @ ..] if b"\0\0\0\x05".starts_with(rest) => Err(Stop::More),
            [b'Z', ..] => Err(Stop::Lost),
            _ => Ok(false),
        }
    }

    /// The server is ready: what waits for that is answered. After an error, each request that the
    /// server skipped is answered too, with one byte of the message: a message has one at least.
    fn ready(&mut self, input: &mut Input<'_>, open: &Open<Body>) -> Result<Message<Body>, Stop> {
        let (left, status) = self.server.ready.ok_or(Stop::Lost)?;
        let waiting = self.waiting(open);
        if self.server.failed
            && self.server.reply.is_none()
            && let Some(request) = waiting.filter(|it| !it.is_synced)
            && left > 1
        {
            input.take(1)?;
            self.server.ready = Some((left - 1, status));
            let reply = Response { outcome: Some("skipped"), ..Response::default() };
            return Ok(self.answer(Box::new(reply), Some(request)));
        }
        input.take(usize::from(left))?;
        let failed = self.server.failed;
        let mut last = waiting;
        while let Some(request) = last.filter(|it| failed && !it.is_synced) {
            self.server.index = request.index + 1;
            last = self.waiting(open);
        }
        let mut reply = self.server.reply.take().unwrap_or_default();
        reply.status = Some(status);
        reply.incomplete |= self.server.is_gapped;
        // What runs something ends with more than this; the end was missed, or it was skipped.
        let runs = |it: &Request| (Kind::Execute..=Kind::FunctionCall).contains(&it.kind);
        match last {
            _ if reply.outcome.is_some() => {}
            Some(request) if failed && request.kind != Kind::Sync => {
                reply.outcome = Some("skipped")
            }
            Some(request) if runs(request) => reply.incomplete = true,
            _ => reply.outcome = Some("ready"),
        }
        let message = self.answer(reply, last);
        self.server = self.server.afresh();
        Ok(message)
    }

    /// The request that is answered next.
    fn waiting<'o>(&self, open: &'o Open<Body>) -> Option<&'o Request> {
        match open.oldest(key(self.server.batch, self.server.index)) {
            Some(Body::Request(it)) => Some(it),
            _ => None,
        }
    }

    fn answer(&mut self, reply: Box<Response>, request: Option<&Request>) -> Message<Body> {
        let Some(request) = request else { return respond(reply) };
        self.server.batch = request.batch;
        self.server.done = request.batch + u64::from(request.is_synced);
        self.server.index = if request.is_synced { 0 } else { request.index + 1 };
        self.server.closes += request.closes;
        respond(reply).key(key(request.batch, request.index))
    }

    /// One message of the server; `None` if it is a part of an answer.
    fn server_message(
        &mut self,
        raw: &Raw<'_>,
        open: &Open<Body>,
    ) -> Result<Option<Message<Body>>, Stop> {
        let body: &[u8] = &raw.body;
        let mut fields = Fields(body);
        let request = self.waiting(open);
        match raw.kind {
            b'A' => {
                let pid = fields.u32().ok_or(Stop::Lost)?;
                let channel = lossless(fields.name().ok_or(Stop::Lost)?);
                let payload = lossless(fields.text());
                let notification = Some(Box::new(Notification { pid, channel, payload }));
                let reply = Response { notification, ..Response::default() };
                let message = Message::notice(Body::Response(Box::new(reply)));
                return Ok(Some(message.incomplete(raw.incomplete)));
            }
            b'3' if self.server.closes > 0 => {
                self.server.closes -= 1;
                return Ok(None);
            }
            b'S' if request.is_none_or(|it| it.kind != Kind::Startup) => return Ok(None),
            _ => {}
        }
        let mut reply = self.server.reply.take().unwrap_or_default();
        // These begin an answer, or lie before anything that says much.
        let begins = matches!(raw.kind, b'1' | b'2' | b'T' | b'G' | b'H' | b'W' | b'I');
        let lacks_start = std::mem::take(&mut self.server.is_gapped) && !begins;
        reply.incomplete |= raw.incomplete || lacks_start;
        let mut ends = false;
        match raw.kind {
            b'1' | b'2' | b'3' | b'n' | b'T' => {
                reply.answers += 1;
                if raw.kind == b'T' {
                    let columns = Arc::new(Columns::of(fields).ok_or(Stop::Lost)?);
                    self.describe(request, |it| it.columns = Some(Arc::clone(&columns)));
                    if reply.columns.is_some() && reply.tags > 0 {
                        // Of several results, the first is kept.
                        reply.kept.close();
                    } else {
                        reply.columns = Some(columns);
                    }
                }
                ends = request.is_some_and(|it| {
                    it.kind < Kind::Execute && !it.is_synced && it.expects == reply.answers
                });
                if ends {
                    reply.outcome.get_or_insert("ok");
                }
            }
            b't' => {
                let count = fields.u16().ok_or(Stop::Lost)?;
                let types: Arc<[u32]> =
                    (0..count.min(MOST_PARAMETERS)).map_while(|_| fields.u32()).collect();
                self.describe(request, |it| {
                    it.types = types;
                    it.told = true;
                });
            }
            b'D' => {
                reply.rows += 1;
                if reply.kept.has_room() {
                    self.keep_row(&mut reply, fields, request);
                }
            }
            b'C' | b'I' | b's' => {
                let outcome = match raw.kind {
                    b'C' => "complete",
                    b'I' => "empty",
                    _ => "suspended",
                };
                reply.outcome.get_or_insert(outcome);
                if raw.kind == b'C' {
                    reply.tags += 1;
                    if reply.tag.is_empty() {
                        reply.tag = lossless(cut(fields.text()));
                    }
                }
                // Whoever asks for some rows at a time rather flushes than syncs.
                ends = match request {
                    Some(it) => it.kind == Kind::Execute && !it.is_synced,
                    None => raw.kind == b's',
                };
            }
            b'V' => reply.outcome = Some("ok"),
            b'E' => {
                let failure = Failure::of(body);
                let is_last = matches!(&*failure.severity, "FATAL" | "PANIC");
                reply.outcome = Some("error");
                reply.failure = Some(Box::new(failure));
                self.server.failed = true;
                ends = is_last
                    || request.is_some_and(|it| {
                        let starts = [Kind::Startup, Kind::SslRequest, Kind::GssRequest];
                        !it.is_synced || starts.contains(&it.kind)
                    });
            }
            b'N' => {
                if reply.notices.len() < MOST_NOTICES {
                    let notice = Failure::of(body);
                    reply.notices.push(format!("{}: {}", notice.severity, notice.message));
                }
            }
            b'S' => {
                if fields.name() == Some(b"server_version") {
                    reply.version = lossless(fields.text());
                }
            }
            b'R' => {
                let code = fields.u32().ok_or(Stop::Lost)?;
                let method = match code {
                    0 => reply.auth.or(Some("none")),
                    2 => Some("kerberos"),
                    3 => Some("password"),
                    5 => Some("md5"),
                    7 => Some("gss"),
                    9 => Some("sspi"),
                    10 if memmem::find(body, b"SCRAM-SHA-256-PLUS").is_some() => {
                        Some("scram-sha-256-plus")
                    }
                    10 => Some("scram-sha-256"),
                    _ => reply.auth,
                };
                reply.auth = method;
                self.server.auth = method;
            }
            b'G' | b'H' | b'W' => {
                let direction = match raw.kind {
                    b'G' => "in",
                    b'H' => "out",
                    _ => "both",
                };
                reply.copy.get_or_insert_default().direction = Some(direction);
            }
            b'd' => {
                let copy = reply.copy.get_or_insert_default();
                copy.bytes = copy.bytes.saturating_add(raw.size);
                copy.messages += 1;
            }
            b'K' | b'c' | b'v' => {}
            _ => return Err(Stop::Lost),
        }
        if ends {
            return Ok(Some(self.answer(reply, request)));
        }
        self.server.reply = Some(reply);
        Ok(None)
    }

    /// Notes what the server says about the statement that a request prepared or runs.
    fn describe(&mut self, request: Option<&Request>, note: impl FnOnce(&mut Statement)) {
        if let Some(request) = request
            && let Some(name) = &request.name
            && let Some(sql) = &request.sql
            && let Some(statement) = self.statements.get_mut(name)
            && Arc::ptr_eq(&statement.sql.text, &sql.text)
        {
            note(statement);
        }
    }

    fn keep_row(&self, reply: &mut Response, mut fields: Fields<'_>, request: Option<&Request>) {
        if reply.columns.is_none() {
            let statement = request.and_then(|it| self.statements.get(it.name.as_ref()?));
            reply.columns = statement.and_then(|it| it.columns.clone());
            reply.incomplete |= statement.is_some_and(|it| it.asked && it.columns.is_none());
        }
        let formats = request.and_then(|it| it.bound.as_ref()).map(|it| &*it.formats);
        let columns = reply.columns.as_ref().map(|it| &*it.list).unwrap_or_default();
        let Some(count) = fields.u16() else { return };
        reply.kept.add(MOST_ROWS, JSON_BYTES, |to| {
            to.push('[');
            for place in 0..usize::from(count) {
                let Some(cell) = fields.value() else { break };
                if place > 0 {
                    to.push(',');
                }
                let column = columns.get(place);
                let format = match formats {
                    Some([one]) => *one,
                    Some([_, ..]) => formats.and_then(|it| it.get(place)).copied().unwrap_or(0),
                    _ => column.map_or(0, |it| it.format),
                };
                value::write(to, cell, column.map_or(0, |it| it.oid), format == 1);
                if to.len() > JSON_BYTES {
                    break;
                }
            }
            to.push(']');
        });
    }
}

impl Server {
    /// Before an answer.
    fn afresh(&self) -> Self {
        Self { auth: self.auth, done: self.done, ..Self::default() }
    }
}

impl Unit {
    /// Takes in a message of this kind, which the server answers once.
    fn begin(&mut self, kind: Kind, incomplete: bool) {
        self.kind = self.kind.max(Some(kind));
        self.expects += 1;
        self.incomplete |= incomplete;
    }
}

impl Login {
    /// Names and values, each ended by a zero byte.
    fn of(parameters: &[u8]) -> Option<Self> {
        let mut login = Self::default();
        let mut fields = Fields(parameters);
        loop {
            let name = fields.name()?;
            if name.is_empty() {
                break;
            }
            let value = lossless(fields.name()?);
            match name {
                b"user" => login.user = value,
                b"database" => login.database = value,
                b"application_name" => login.application = value,
                _ => {}
            }
        }
        if login.database.is_empty() {
            login.database.clone_from(&login.user);
        }
        Some(login)
    }
}

impl Text {
    /// A statement with its zero byte, or what was kept of one that takes `size` bytes with it.
    fn of(bytes: &[u8], size: u64) -> Self {
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        let length = size.saturating_sub(1);
        let kept = text(bytes.get(..STATEMENT_BYTES).unwrap_or(bytes));
        Self { text: sql::without_secrets(&kept).into(), length }
    }
}

impl Columns {
    fn of(mut fields: Fields<'_>) -> Option<Self> {
        let count = usize::from(fields.u16()?);
        let mut columns = Self { names: String::new(), list: Vec::with_capacity(count.min(64)) };
        for _ in 0..count {
            let Some(name) = fields.name() else { break };
            columns.names.push_str(&text(name.get(..NAME_BYTES).unwrap_or(name)));
            let Some([_, _, _, _, _, _, a, b, c, d, _, _, _, _, _, _, high, low]) = fields.take(18)
            else {
                break;
            };
            columns.list.push(Column {
                end: columns.names.len(),
                oid: u32::from_be_bytes([*a, *b, *c, *d]),
                format: u16::from_be_bytes([*high, *low]),
            });
        }
        Some(columns)
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
    /// Fields, each a type, a text and a zero byte.
    fn of(body: &[u8]) -> Self {
        let mut failure = Self::default();
        let mut fields = Fields(body);
        while let Some([kind]) = fields.take(1).filter(|it| *it != [0]) {
            let value = cut(fields.text());
            match kind {
                b'S' if failure.severity.is_empty() => failure.severity = lossless(value),
                // Not translated, unlike S.
                b'V' => failure.severity = lossless(value),
                b'C' => failure.code = lossless(value),
                b'M' => failure.message = lossless(value),
                b'D' => failure.detail = Some(lossless(value)),
                b'H' => failure.hint = Some(lossless(value)),
                b'n' => failure.constraint = Some(lossless(value)),
                _ => {}
            }
        }
        failure
    }
}

/// Reads the fields of a message. `None` at its end.
#[derive(Clone, Copy)]
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Up to the next zero byte.
    fn name(&mut self) -> Option<&'b [u8]> {
        let end = memchr(0, self.0)?;
        let name = self.take(end)?;
        self.take(1)?;
        Some(name)
    }

    /// The same, or all that is left.
    fn text(&mut self) -> &'b [u8] {
        self.rest_of_text().0
    }

    fn rest_of_text(&mut self) -> (&'b [u8], bool) {
        match self.name() {
            Some(text) => (text, true),
            None => (std::mem::take(&mut self.0), false),
        }
    }

    /// A count, and so many numbers.
    fn u16_list(&mut self) -> Option<Numbers<'b>> {
        let count = usize::from(self.u16()?);
        self.take(2 * count).map(Numbers)
    }

    /// A length and so many bytes; inside, `None` is NULL.
    fn value(&mut self) -> Option<Option<&'b [u8]>> {
        match self.u32()? {
            u32::MAX => Some(None),
            length => self.take(message::size(length)).map(Some),
        }
    }
}

/// Format codes.
#[derive(Clone, Copy)]
struct Numbers<'b>(&'b [u8]);

impl Numbers<'_> {
    fn collect(self) -> Vec<u16> {
        self.0.chunks_exact(2).filter_map(|it| it.try_into().ok()).map(u16::from_be_bytes).collect()
    }

    /// The format of one value: one code is for all, none is for text.
    fn at(self, place: usize) -> u16 {
        let place = if self.0.len() == 2 { 0 } else { 2 * place };
        let bytes = self.0.get(place..place + 2).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u16::from_be_bytes)
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sync => "Sync",
            Self::Close => "Close",
            Self::Describe => "Describe",
            Self::Bind => "Bind",
            Self::Parse => "Parse",
            Self::Execute => "Execute",
            Self::Query => "Query",
            Self::FunctionCall => "FunctionCall",
            Self::CopyData => "CopyData",
            Self::Startup => "Startup",
            Self::Password => "Password",
            Self::SaslInitialResponse => "SASLInitialResponse",
            Self::SaslResponse => "SASLResponse",
            Self::GssResponse => "GSSResponse",
            Self::SslRequest => "SSLRequest",
            Self::GssRequest => "GSSRequest",
            Self::CancelRequest => "CancelRequest",
            Self::Terminate => "Terminate",
        }
    }
}

fn sides<'a>(exchange: &Exchange<'a, Body>) -> (Option<&'a Request>, Option<&'a Response>) {
    let request = match exchange.request {
        Some(Body::Request(it)) => Some(&**it),
        _ => None,
    };
    let response = match exchange.response {
        Some(Body::Response(it)) => Some(&**it),
        _ => None,
    };
    (request, response)
}

fn message_name(request: Option<&Request>, response: Option<&Response>) -> &'static str {
    match (request, response) {
        (Some(it), _) => it.kind.name(),
        (None, Some(it)) if it.notification.is_some() => "Notification",
        (None, Some(it)) if it.failure.is_some() => "Error",
        (None, _) => "Reply",
    }
}

fn operation(request: Option<&Request>) -> Option<Cow<'_, str>> {
    let statement = request.and_then(|it| it.sql.as_ref());
    statement.map(|it| sql::operation(&it.text)).filter(|it| !it.is_empty())
}

fn error<'a>(request: Option<&'a Request>, response: Option<&'a Response>) -> Option<&'a str> {
    let failure = response.and_then(|it| it.failure.as_deref());
    failure.map(|it| &*it.message).or_else(|| request.and_then(|it| it.error.as_deref()))
}

fn summary<'a>(request: Option<&'a Request>, response: Option<&'a Response>) -> Summary<'a> {
    let statement = request.and_then(|it| it.sql.as_ref());
    let notification = response.and_then(|it| it.notification.as_deref());
    let startup = request.filter(|it| it.kind == Kind::Startup);
    let login = startup.and_then(|it| it.login.as_deref());
    let target = match (statement, notification, login) {
        (Some(it), ..) => sql::headline(&it.text),
        (None, Some(it), _) => some(&it.channel),
        (None, None, Some(it)) => some(&it.database),
        _ => Cow::Borrowed(""),
    };
    let error = error(request, response);
    Summary {
        // Preparing or closing is not running.
        verb: match (operation(request), request.map(|it| it.kind)) {
            (Some(operation), Some(Kind::Query | Kind::Execute)) => operation,
            _ => Cow::Borrowed(message_name(request, response)),
        },
        target,
        status: None,
        failed: error.is_some(),
        error: error.map(Cow::Borrowed),
    }
}

fn record<'a>(
    request: Option<&'a Request>,
    response: Option<&'a Response>,
) -> (Summary<'a>, Postgresql<'a>) {
    let failure = response.and_then(|it| it.failure.as_deref());
    let notification = response.and_then(|it| it.notification.as_deref());
    let message = message_name(request, response);
    let statement = request.and_then(|it| it.sql.as_ref());
    let operation = operation(request);
    let login = request.and_then(|it| it.login.as_deref());
    let bound = request.and_then(|it| it.bound.as_deref());
    let summary = summary(request, response);
    let copy = request.and_then(|it| it.copy).or_else(|| response.and_then(|it| it.copy));
    let columns = response.and_then(|it| it.columns.as_ref());
    let is_result = |it: &&Response| it.columns.is_some() || it.rows > 0;
    let names = |it: &'a [u8]| text(it);
    let filled = |it: &'a str| (!it.is_empty()).then_some(Label(Cow::Borrowed(it)));
    let record = Postgresql {
        message: message.into(),
        operation: operation.map(Label),
        statement: statement.map(|it| Cow::Borrowed(&*it.text)),
        statement_length: statement.map(|it| Size(it.length)),
        statement_name: request.and_then(|it| it.name.as_deref()).map(names),
        portal: request.and_then(|it| it.portal.as_deref()).map(names),
        parameters: bound.and_then(|it| it.parameters.as_deref()).map(|it| Json(it.into())),
        parameter_count: bound.map(|it| it.count),
        fetch_limit: request.map(|it| u64::from(it.limit)).filter(|it| *it > 0),
        user: login.and_then(|it| filled(&it.user)),
        database: login.and_then(|it| filled(&it.database)),
        application_name: login.and_then(|it| filled(&it.application)),
        auth_method: response.and_then(|it| it.auth).map(Label::from),
        server_version: response.and_then(|it| filled(&it.version)),
        outcome: response.and_then(|it| it.outcome).map(Label::from),
        command_tag: response.and_then(|it| filled(&it.tag)),
        statement_count: response.map(|it| it.tags).filter(|it| *it > 0),
        row_count: response.filter(is_result).map(|it| it.rows),
        affected_rows: response.and_then(|it| it.tag.rsplit(' ').next()?.parse().ok()),
        columns: Texts(columns.map(|it| it.names()).unwrap_or_default()),
        rows: response.and_then(|it| it.kept.finished()).map(|it| Json(it.into())),
        severity: failure.and_then(|it| filled(&it.severity)),
        sqlstate: failure.and_then(|it| filled(&it.code)),
        detail: failure.and_then(|it| it.detail.as_deref()).map(some),
        hint: failure.and_then(|it| it.hint.as_deref()).map(some),
        constraint_name: failure.and_then(|it| it.constraint.as_deref()).map(some),
        notices: Texts(
            response.map_or(&[][..], |it| &it.notices).iter().map(|it| some(it)).collect(),
        ),
        copy_direction: copy.and_then(|it| it.direction).map(Label::from),
        copy_bytes: copy.map(|it| Size(it.bytes)),
        copy_messages: copy.map(|it| it.messages),
        channel: notification.map(|it| some(&it.channel)),
        payload: notification.map(|it| some(&it.payload)),
        backend_pid: notification
            .map(|it| it.pid)
            .or_else(|| request.and_then(|it| it.pid))
            .map(u64::from),
        transaction_status: response.and_then(|it| it.status).and_then(|it| match it {
            b'I' => Some(Label::from("idle")),
            b'T' => Some(Label::from("transaction")),
            b'E' => Some(Label::from("failed")),
            _ => None,
        }),
    };
    (summary, record)
}

fn some(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn respond(reply: Box<Response>) -> Message<Body> {
    let incomplete = reply.incomplete;
    Message::response(Body::Response(reply)).incomplete(incomplete)
}

/// What pairs a request of a batch with its answer; zero is for the first of each.
fn key(batch: u64, index: u64) -> u64 {
    if index == 0 { 0 } else { batch << 20 | index }
}

fn lossless(bytes: &[u8]) -> String {
    text(bytes).into_owned()
}

fn cut(bytes: &[u8]) -> &[u8] {
    bytes.get(..ERROR_BYTES).unwrap_or(bytes)
}

/// Bytes kept of a statement.
const STATEMENT_BYTES: usize = 64 << 10;

/// Bytes kept of each text of an error.
const ERROR_BYTES: usize = 4 << 10;

/// Bytes kept of a column's name; PostgreSQL itself cuts names at 63.
const NAME_BYTES: usize = 256;

/// Bytes of rows or parameters, as JSON.
const JSON_BYTES: usize = 8 << 10;

/// Rows kept of a result: enough to see what it is.
const MOST_ROWS: usize = 20;

/// Columns named of a result.
const MOST_COLUMNS: usize = 64;

/// Parameters kept of an Execute.
const MOST_PARAMETERS: u16 = 256;

const MOST_NOTICES: usize = 8;

/// Prepared statements remembered of a connection; poolers and ORMs keep some hundreds.
const MOST_STATEMENTS: usize = 1000;

/// Bytes of them.
const STATEMENTS_BYTES: usize = 1 << 20;

/// Portals remembered of a connection; few use any but the unnamed one.
const MOST_PORTALS: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::drive::{Step, client, however_cut, server, stream};

    fn message(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
        let body = body.as_ref();
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn query(text: &str) -> Vec<u8> {
        message(b'Q', format!("{text}\0"))
    }

    fn parse(name: &str, text: &str) -> Vec<u8> {
        message(b'P', format!("{name}\0{text}\0\0\0"))
    }

    /// One text parameter.
    fn bind(name: &str, value: &str) -> Vec<u8> {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        let head = format!("\0{name}\0\0\0\0\x01");
        message(b'B', [head.as_bytes(), &length, value.as_bytes(), b"\0\0"].concat())
    }

    fn execute() -> Vec<u8> {
        message(b'E', b"\0\0\0\0\0")
    }

    fn sync() -> Vec<u8> {
        message(b'S', b"")
    }

    fn done(tag: &str) -> Vec<u8> {
        message(b'C', format!("{tag}\0"))
    }

    fn ready() -> Vec<u8> {
        message(b'Z', b"I")
    }

    fn failure(code: &str, text: &str) -> Vec<u8> {
        message(b'E', format!("SERROR\0VERROR\0C{code}\0M{text}\0\0"))
    }

    fn startup() -> Vec<u8> {
        let parameters = b"\0\x03\0\0user\0ann\0database\0shop\0\0";
        let length = u32::try_from(parameters.len() + 4).unwrap().to_be_bytes();
        [&length[..], parameters].concat()
    }

    /// Some columns of each row.
    fn show(rows: &[Value], names: &[&str]) -> Vec<Value> {
        let pick = |it: &Value| names.iter().map(|name| it[*name].clone()).collect();
        rows.iter().map(pick).collect()
    }

    #[test]
    fn a_query_has_its_rows_and_its_tag() {
        let columns = b"\0\x02id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
        let row = b"\0\x02\0\0\0\x017\xff\xff\xff\xff";
        let steps = [
            client(query("select id, name from t")),
            server(
                [message(b'T', columns), message(b'D', row), done("SELECT 1"), ready()].concat(),
            ),
            client(message(b'X', b"")),
        ];
        let rows = however_cut::<Dissector>(&steps);
        assert_eq!(rows[0]["verb"], "SELECT");
        assert_eq!(rows[0]["rows"], "[[7,null]]");
        assert_eq!(rows[0]["columns"], json!(["id", "name"]));
        assert_eq!(rows[0]["affected_rows"], 1);
        assert_eq!(rows[0]["transaction_status"], "idle");
        assert_eq!(rows[1]["message"], "Terminate");
    }

    #[test]
    fn a_prepared_statement_is_known_by_its_name() {
        let steps = [
            client([parse("s", "update t set a = $1"), sync()].concat()),
            server([message(b'1', b""), ready()].concat()),
            client([bind("s", "x"), execute(), sync()].concat()),
            server([message(b'2', b""), done("UPDATE 3"), ready()].concat()),
        ];
        let rows = however_cut::<Dissector>(&steps);
        let names = ["message", "statement", "parameters", "outcome", "affected_rows"];
        assert_eq!(
            show(&rows, &names),
            [
                json!(["Parse", "update t set a = $1", null, "ready", null]),
                json!(["Execute", "update t set a = $1", "[\"x\"]", "complete", 3]),
            ]
        );
    }

    #[test]
    fn after_an_error_a_pipeline_is_skipped_up_to_its_sync() {
        let one = |value| [bind("", value), execute()].concat();
        let asked =
            [parse("", "insert into t values ($1)"), one("1"), one("2"), one("3"), sync()].concat();
        let told = [
            message(b'1', b""),
            message(b'2', b""),
            failure("23505", "taken"),
            ready(),
            message(b'2', b""),
            done("INSERT 0 1"),
            ready(),
        ]
        .concat();
        let steps = [client(asked), client([one("4"), sync()].concat()), server(told)];
        let rows = however_cut::<Dissector>(&steps);
        assert_eq!(
            show(&rows, &["parameters", "outcome", "sqlstate"]),
            [
                json!(["[\"1\"]", "error", "23505"]),
                json!(["[\"2\"]", "skipped", null]),
                json!(["[\"3\"]", "skipped", null]),
                json!(["[\"4\"]", "complete", null]),
            ]
        );
    }

    #[test]
    fn a_login_keeps_no_password() {
        let steps = [
            client([8_u32.to_be_bytes(), message::SSL_REQUEST.to_be_bytes()].concat()),
            server("N"),
            client(startup()),
            server(message(b'R', b"\0\0\0\x03")),
            client(message(b'p', b"hush\0")),
            server(
                [message(b'R', b"\0\0\0\0"), message(b'S', b"server_version\x0016.1\0"), ready()]
                    .concat(),
            ),
            client(query("alter role ann password 'hush'")),
            server([done("ALTER ROLE"), ready()].concat()),
        ];
        let rows = however_cut::<Dissector>(&steps);
        assert!(!format!("{rows:?}").contains("hush"), "{rows:?}");
        assert_eq!(
            show(&rows, &["message", "outcome", "auth_method", "user"]),
            [
                json!(["SSLRequest", "refused", null, null]),
                json!(["Password", null, null, "ann"]),
                json!(["Startup", "ready", "password", "ann"]),
                json!(["Query", "complete", null, "ann"]),
            ]
        );
    }

    #[test]
    fn encryption_hands_over() {
        let steps = [
            client([8_u32.to_be_bytes(), message::SSL_REQUEST.to_be_bytes()].concat()),
            server("S"),
        ];
        let rows = however_cut::<Dissector>(&steps);
        assert_eq!(rows[0]["outcome"], "accepted");
        assert_eq!(rows[1], "becomes tls");
    }

    #[test]
    fn a_copy_is_counted_and_not_kept() {
        let data = message(b'd', vec![b'x'; 200_000]);
        let steps = [
            client(query("copy t to stdout")),
            server(message(b'H', b"\0\0\0")),
            server(data.repeat(3)),
            server([message(b'c', b""), done("COPY 3"), ready()].concat()),
        ];
        let rows = stream::<Dissector>(&steps, 1460);
        assert_eq!(
            show(&rows, &["copy_direction", "copy_bytes", "copy_messages", "affected_rows"]),
            [json!(["out", 600_000, 3, 3])]
        );
    }

    #[test]
    fn a_hole_in_a_result_costs_only_that() {
        let row = message(b'D', b"\0\x01\0\0\0\x011");
        let steps = [
            client(query("select 1")),
            server(row.repeat(3)),
            Step::Loses(Side::Server, 100),
            server([&row[4..], &done("SELECT 20"), &ready()].concat()),
            client(query("select 2")),
            server([row.clone(), done("SELECT 1"), ready()].concat()),
        ];
        let rows = however_cut::<Dissector>(&steps);
        assert_eq!(
            show(&rows, &["statement", "command_tag", "incomplete"]),
            [json!(["select 1", "SELECT 20", true]), json!(["select 2", "SELECT 1", null])]
        );
    }

    #[test]
    fn a_long_statement_is_cut() {
        let long = format!("select '{}'", "x".repeat(300_000));
        let steps = [client(query(&long)), server([done("SELECT 0"), ready()].concat())];
        let rows = stream::<Dissector>(&steps, 1460);
        assert_eq!(rows[0]["statement"].as_str().unwrap().len(), STATEMENT_BYTES);
        assert_eq!(rows[0]["statement_length"], 300_009);
    }

    #[test]
    fn nothing_grows_with_what_is_said() {
        let mut dissector = Dissector::default();
        let limits = crate::Limits::default();
        for n in 0..5000 {
            let bytes = [parse(&format!("s{n}"), &"x".repeat(5000)), sync()].concat();
            let mut input = Input::new(&bytes, false, &limits);
            dissector.parse(Side::Client, &mut input, &Open::default()).unwrap();
        }
        assert!(dissector.held() < 2 << 20, "{}", dissector.held());
    }

    #[test]
    fn recognised_by_content() {
        let guess = |side, bytes: &[u8]| {
            Dissector::guess(&Head { bytes, side, transport: Transport::Tcp, port: 1 })
        };
        assert_eq!(guess(Side::Client, &startup()), Guess::Sure);
        assert_eq!(guess(Side::Client, &query("select 1")), Guess::Sure);
        assert_eq!(guess(Side::Client, &[bind("", "x"), execute(), sync()].concat()), Guess::Sure);
        assert_eq!(guess(Side::Client, &message(b'X', b"")), Guess::Maybe);
        assert_eq!(guess(Side::Server, &ready()), Guess::Sure);
        assert_eq!(guess(Side::Server, &failure("42601", "no")), Guess::Sure);
        for noise in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PING\r\n",
            b"\x16\x03\x01\0\xa5",
            b"SSH-2.0-x",
            b"Q\0\0\0\x06\x01\0",
        ] {
            assert_eq!(guess(Side::Client, noise), Guess::No, "{noise:?}");
        }
    }
    fn pieces() -> Vec<Vec<u8>> {
        [
            query("select 1"),
            parse("s", "select $1"),
            bind("s", "x"),
            bind("nowhere", ""),
            execute(),
            sync(),
            ready(),
            done("SELECT 1"),
            failure("XX000", "no"),
            startup(),
            message(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\x06\xa4\0\x04\xff\xff\xff\xff\0\x01"),
            message(b'D', b"\0\x02\0\0\0\x08\0\x01\0\0\0\0\0\x02\xff\xff\xff\xff"),
            message(b'D', b"\xff\xff\0\0\0\x01"),
            message(b't', b"\0\x01\0\0\x06\xa4"),
            message(b'B', b"\0s\0\0\x01\0\x01\0\x01\0\0\0\x08\x7f\xff\xff\xff\xff\xff\xff\xff\0\0"),
            message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
            message(b'd', b"data"),
            vec![b'd', 0, 1, 0, 0],
            vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f],
            vec![b'N'],
            vec![0xff, 0, 0],
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
