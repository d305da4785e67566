//! MongoDB's wire protocol, also as other databases speak it:
//! <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>.
use std::borrow::Cow;

use memchr::memchr;
use schema::value::{self, Code, Json, Label};

use super::common::blocks;
use super::{Dissect, Guess, Head, Transport};
use crate::body::{Payload, decompress};
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::limits::Limits;
use bson::{Document, Value};

mod bson;

/// Commands sent to MongoDB and other servers that speak its wire protocol, with their replies.
/// Passwords and what a login exchanges are replaced by `***` before anything is kept.
#[derive(schema::Record)]
pub(super) struct MongoDb<'a> {
    /// Kind of the request's message: `MSG`, or of old drivers `QUERY`, `INSERT`, `UPDATE`,
    /// `DELETE`, `GET_MORE`, `KILL_CURSORS`, `COMMAND`; what is inside if it is compressed.
    opcode: Option<Label<'a>>,
    /// Name of the command, such as `find`; of a reply that comes unasked because the client allowed
    /// several, the command it still answers. OpenTelemetry: `db.operation.name`.
    command: Option<Label<'a>>,
    /// Name of the database. OpenTelemetry: `db.namespace`.
    database: Option<Cow<'a, str>>,
    /// Name of the collection that the command works on. OpenTelemetry: `db.collection.name`.
    collection: Option<Cow<'a, str>>,
    /// Database and collection in one, as messages older than `MSG` name them.
    full_collection: Option<Cow<'a, str>>,
    /// Documents to insert, or updates or deletions to make, in one command. OpenTelemetry:
    /// `db.operation.batch.size`.
    batch_size: Option<u64>,
    /// Whether the reply says `ok`; a command may be `ok` and yet report errors of single writes.
    ok: Option<bool>,
    /// Number of the error, or of the first write error. OpenTelemetry: `db.response.status_code`.
    error_code: Option<Code>,
    /// Name of the error, such as `NamespaceNotFound`.
    error_name: Option<Label<'a>>,
    /// How many writes of a batch failed.
    write_errors: Option<u64>,
    /// What the reply counts as `n`: documents inserted, matched, deleted or counted.
    matched: Option<u64>,
    /// Documents that an update changed.
    modified: Option<u64>,
    /// Documents in the reply. OpenTelemetry: `db.response.returned_rows`.
    returned: Option<u64>,
    /// Name of the cursor that has more documents, in the reply or in the request for more; null if
    /// there is none.
    cursor_id: Option<Cow<'a, str>>,
    /// The command as relaxed Extended JSON, with the documents sent beside it; cut at 64 KiB.
    request_document: Option<Json<'a>>,
    /// The reply as relaxed Extended JSON, cut at 64 KiB.
    response_document: Option<Json<'a>>,
    /// The user that logs in.
    user: Option<Cow<'a, str>>,
    /// What the client calls itself when it says hello.
    application: Option<Cow<'a, str>>,
    /// Whether the client wants no reply.
    unacknowledged: Option<bool>,
    /// Whether the client lets the server send several replies, one after the other.
    exhaust_allowed: Option<bool>,
    /// Whether another reply follows without being asked for.
    more_to_come: Option<bool>,
    /// How the request was compressed: `snappy`, `zlib`, `zstd` or `noop`; null if it was not.
    request_compressor: Option<Label<'a>>,
    /// How the reply was compressed.
    response_compressor: Option<Label<'a>>,
    /// Kind of the reply's message: `MSG`, or of old servers `REPLY` or `COMMANDREPLY`.
    response_opcode: Option<Label<'a>>,
    /// The request's number; of a reply alone, the number of the request that it answers.
    request_id: Code,
}

/// The messages under way.
#[derive(Debug, Default)]
pub(super) struct Dissector {
    client: Option<Partial>,
    server: Option<Partial>,
    /// The number of a reply that another follows without being asked for, and to what command.
    stream: Option<(i32, String)>,
}

/// What is kept of a message.
#[derive(Debug)]
pub(super) struct Body {
    /// The number of the request, of a reply that of the request it answers.
    id: i32,
    /// The message's own number.
    own_id: i32,
    opcode: i32,
    compressor: Option<&'static str>,
    flags: u32,
    document: Option<Box<str>>,
    cursor: Option<i64>,
    words: Words,
}

/// What a message says, by who sent it.
#[derive(Debug)]
enum Words {
    Ask(Box<Ask>),
    Tell(Box<Tell>),
}

#[derive(Debug, Default)]
struct Ask {
    command: String,
    /// The command's own value, if it is a text: mostly the collection.
    argument: Option<String>,
    database: Option<String>,
    collection: Option<String>,
    full_collection: Option<String>,
    batch: Option<u64>,
    user: Option<String>,
    application: Option<String>,
}

#[derive(Debug, Default)]
struct Tell {
    /// Of a reply that nobody asked for again: what was asked once.
    command: Option<String>,
    ok: Option<bool>,
    failed: bool,
    code: Option<i32>,
    name: Option<String>,
    error: Option<String>,
    write_errors: Option<u64>,
    matched: Option<u64>,
    modified: Option<u64>,
    returned: Option<u64>,
}

/// A message that has not all arrived.
#[derive(Debug)]
struct Partial {
    header: Header,
    payload: Payload,
    left: u64,
    incomplete: bool,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    length: u32,
    id: i32,
    to: i32,
    opcode: i32,
}

impl Dissect for Dissector {
    const NAME: &'static str = "mongodb";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[27017, 27018, 27019];
    type Body = Body;
    type Columns = MongoDbColumns;

    fn guess(head: &Head<'_>) -> Guess {
        judge(head.bytes, head.side)
    }

    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Body>,
    ) -> Result<Message<Body>, Stop> {
        let message = self.next(side, input)?;
        Ok(self.followed(message, open))
    }

    fn record(exchange: Exchange<'_, Body>) -> (Summary<'_>, MongoDb<'_>) {
        let (asked, told) = (exchange.request, exchange.response);
        let ask = asked.and_then(|it| match &it.words {
            Words::Ask(ask) => Some(&**ask),
            Words::Tell(_) => None,
        });
        let tell = told.and_then(|it| match &it.words {
            Words::Tell(tell) => Some(&**tell),
            Words::Ask(_) => None,
        });
        let compressor = |it: Option<&Body>| it.and_then(|it| it.compressor).map(Label::from);
        let cursor = told.and_then(|it| it.cursor).or_else(|| asked.and_then(|it| it.cursor));

        let command =
            ask.map(|it| it.command.as_str()).or_else(|| tell.and_then(|it| it.command.as_deref()));

        let summary = Summary {
            verb: command.unwrap_or_default().into(),
            target: ask
                .and_then(|it| it.argument.as_deref().or(it.collection.as_deref()))
                .unwrap_or_default()
                .into(),
            status: tell.and_then(|it| it.code),
            failed: tell.is_some_and(|it| it.failed),
            error: tell.and_then(|it| it.error.as_deref()).map(Cow::Borrowed),
        };
        let record = MongoDb {
            opcode: asked.map(|it| opcode_name(it.opcode).into()),
            command: command.map(Label::from),
            database: ask.and_then(|it| it.database.as_deref()).map(Cow::Borrowed),
            collection: ask.and_then(|it| it.collection.as_deref()).map(Cow::Borrowed),
            full_collection: ask.and_then(|it| it.full_collection.as_deref()).map(Cow::Borrowed),
            batch_size: ask.and_then(|it| it.batch),
            ok: tell.and_then(|it| it.ok),
            error_code: tell.and_then(|it| it.code).map(Code),
            error_name: tell.and_then(|it| it.name.as_deref()).map(Label::from),
            write_errors: tell.and_then(|it| it.write_errors),
            matched: tell.and_then(|it| it.matched),
            modified: tell.and_then(|it| it.modified),
            returned: tell.and_then(|it| it.returned),
            cursor_id: cursor.filter(|it| *it != 0).map(|it| it.to_string().into()),
            request_document: asked.and_then(Body::json),
            response_document: told.and_then(Body::json),
            user: ask.and_then(|it| it.user.as_deref()).map(Cow::Borrowed),
            application: ask.and_then(|it| it.application.as_deref()).map(Cow::Borrowed),
            unacknowledged: asked
                .map(|it| is_one_way(it.opcode) || it.opcode == MSG && it.flags & MORE != 0),
            exhaust_allowed: asked
                .filter(|it| it.opcode == MSG)
                .map(|it| it.flags & EXHAUST_ALLOWED != 0),
            more_to_come: told.filter(|it| it.opcode == MSG).map(|it| it.flags & MORE != 0),
            request_compressor: compressor(asked),
            response_compressor: compressor(told),
            response_opcode: told.map(|it| opcode_name(it.opcode).into()),
            request_id: Code(asked.or(told).map_or(0, |it| it.id)),
        };
        (summary, record)
    }

    fn weight(body: &Body) -> usize {
        size_of::<Body>() + size_of::<Ask>() + body.document.as_ref().map_or(0, |it| it.len())
    }

    fn held(&self) -> usize {
        let parts = [&self.client, &self.server];
        parts.into_iter().flatten().map(|it| it.payload.held()).sum()
    }

    fn gap(&mut self, side: Side, missing: u64) -> Result<(), Stop> {
        let partial = match side {
            Side::Client => self.client.as_mut(),
            Side::Server => self.server.as_mut(),
        };
        let partial = partial.ok_or(Stop::Lost)?;
        partial.left = partial.left.checked_sub(missing).ok_or(Stop::Lost)?;
        partial.payload.skip(missing);
        partial.incomplete = true;
        Ok(())
    }

    fn resync(&mut self, side: Side, input: &mut Input<'_>) -> Result<(), Stop> {
        match side {
            Side::Client => self.client = None,
            Side::Server => self.server = None,
        }
        let rest = input.rest();
        let found = (0..rest.len()).find_map(|at| {
            let guess = judge(rest.get(at..)?, side);
            matches!(guess, Guess::Sure | Guess::More).then_some((at, guess))
        });
        input.take(found.map_or(rest.len(), |it| it.0))?;
        input.commit();
        match found {
            Some((_, Guess::Sure)) => Ok(()),
            _ => Err(Stop::More),
        }
    }

    fn end(&mut self, side: Side) -> Option<Message<Body>> {
        let partial = match side {
            Side::Client => self.client.take(),
            Side::Server => self.server.take(),
        };
        let limits = Limits::default();
        partial?.message(side, &limits).map(|it| it.incomplete(true))
    }
}

impl Dissector {
    /// The next message of one side.
    fn next(&mut self, side: Side, input: &mut Input<'_>) -> Result<Message<Body>, Stop> {
        let limits = input.limits();
        let slot = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let Some(partial) = slot else {
            let header = Header::of(input.take(HEADER_BYTES)?, side).ok_or(Stop::Lost)?;
            let length = usize::try_from(header.length).map_err(|_| Stop::Lost)? - HEADER_BYTES;
            let there = input.rest();
            if let Some(bytes) = there.get(..length) {
                input.take(length)?;
                let kept = bytes.get(..limits.body_bytes).unwrap_or(bytes);
                return message(header, kept, length, side, limits);
            }
            let mut payload = Payload::default();
            payload.expect(length as u64, limits.body_bytes);
            payload.push(input.take(there.len())?, limits.body_bytes);
            *slot = Some(Partial {
                header,
                payload,
                left: (length - there.len()) as u64,
                incomplete: false,
            });
            input.commit();
            return Err(Stop::More);
        };
        if partial.left > 0 {
            let bytes = input.some(partial.left)?;
            partial.payload.push(bytes, limits.body_bytes);
            partial.left -= bytes.len() as u64;
            input.commit();
        }
        if partial.left > 0 {
            return Err(Stop::More);
        }
        let partial = slot.take().ok_or(Stop::Lost)?;
        partial.message(side, limits).ok_or(Stop::Lost)
    }

    /// Says of replies that come without being asked for what they belong to.
    fn followed(&mut self, mut message: Message<Body>, open: &Open<Body>) -> Message<Body> {
        let (key, body) = (message.key, &mut message.body);
        let Words::Tell(tell) = &mut body.words else { return message };
        let mut command = None;
        if let Some(asked) = open.oldest(key) {
            if let Words::Ask(ask) = &asked.words {
                command = Some(ask.command.clone());
            }
        } else if let Some((_, name)) = self.stream.take_if(|it| it.0 == body.id) {
            tell.command = Some(name.clone());
            command = Some(name);
        }
        if body.opcode == MSG && body.flags & MORE != 0 {
            self.stream = command.map(|it| (body.own_id, it));
        }
        message
    }
}

impl Header {
    /// `None` if no message that `side` sends has such a header.
    fn of(bytes: &[u8], side: Side) -> Option<Self> {
        let number = |at: usize| {
            let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map(|it: &[u8; 4]| i32::from_le_bytes(*it))
        };
        let length = u32::try_from(number(0)?).ok()?;
        let header = Self { length, id: number(4)?, to: number(8)?, opcode: number(12)? };
        let shortest = match header.opcode {
            REPLY => 36,
            UPDATE | DELETE => 30,
            INSERT => 22,
            QUERY => 30,
            GET_MORE => 30,
            KILL_CURSORS => 24,
            COMMAND => 28,
            COMMAND_REPLY => 26,
            COMPRESSED => 25,
            MSG => 26,
            _ => return None,
        };
        let is_for = match side {
            Side::Client => !matches!(header.opcode, REPLY | COMMAND_REPLY),
            Side::Server => matches!(header.opcode, REPLY | COMMAND_REPLY | COMPRESSED | MSG),
        };
        (is_for && (shortest..=LONGEST).contains(&header.length)).then_some(header)
    }
}

impl Partial {
    fn message(self, side: Side, limits: &Limits) -> Option<Message<Body>> {
        let length = usize::try_from(self.header.length).ok()?.checked_sub(HEADER_BYTES)?;
        let message = message(self.header, self.payload.bytes(), length, side, limits).ok()?;
        Some(message.incomplete(self.incomplete))
    }
}

/// A message of `length` bytes behind its header, of which these are kept.
fn message(
    header: Header,
    kept: &[u8],
    length: usize,
    side: Side,
    limits: &Limits,
) -> Result<Message<Body>, Stop> {
    let mut body = Body {
        id: if side == Side::Client { header.id } else { header.to },
        own_id: header.id,
        opcode: header.opcode,
        compressor: None,
        flags: 0,
        document: None,
        cursor: None,
        words: match side {
            Side::Client => Words::Ask(Box::default()),
            Side::Server => Words::Tell(Box::default()),
        },
    };
    let is_whole = kept.len() == length;
    let read = if header.opcode == COMPRESSED {
        let mut from = Reader(kept);
        (|| {
            body.opcode = from.i32()?;
            let size = usize::try_from(from.i32()?).ok()?;
            body.compressor = Some(compressor(from.u8()?));
            let limit = size.min(limits.decompressed_bytes);
            let opened = unpack(body.compressor, from.0, limit);
            match opened {
                Some((opened, _)) if is_known(body.opcode) => {
                    let is_whole = is_whole && opened.len() == size;
                    // A message whose start cannot be unpacked still is one.
                    body.read(&opened, is_whole, limits).or(Some(()))
                }
                Some(_) => None,
                None => Some(()),
            }
        })()
    } else {
        body.read(kept, is_whole, limits)
    };
    if read.is_none() && is_whole {
        return Err(Stop::Lost);
    }
    let key = key(body.id);
    let wants_reply = !(is_one_way(body.opcode) || body.opcode == MSG && body.flags & MORE != 0);
    Ok(match side {
        Side::Client if wants_reply => Message::request(body).key(key),
        Side::Client => Message::notice(body),
        Side::Server => Message::response(body).key(key),
    })
}

/// Never zero, which would mean that order decides.
fn key(id: i32) -> u64 {
    1 << 32 | u64::from(id.cast_unsigned())
}

impl Body {
    fn json(&self) -> Option<Json<'_>> {
        self.document.as_deref().map(|it| Json(it.into()))
    }

    /// Takes what is worth keeping from the bytes behind the header.
    fn read(&mut self, bytes: &[u8], is_whole: bool, limits: &Limits) -> Option<()> {
        let mut from = Reader(bytes);
        let mut json = bson::Json::new(limits.body_bytes);
        match self.opcode {
            MSG => {
                self.flags = from.i32()?.cast_unsigned();
                if is_whole && self.flags & CHECKSUM != 0 {
                    from.0 = from.0.get(..from.0.len().checked_sub(4)?)?;
                }
                let sections = Sections::of(from)?;
                match &mut self.words {
                    Words::Ask(ask) => ask.message(&sections, &mut self.cursor),
                    Words::Tell(tell) => tell.reply(sections.body?, &mut self.cursor),
                }
                json.document(sections.body, sections.lists());
            }
            REPLY => {
                self.flags = from.i32()?.cast_unsigned();
                let cursor = from.i64()?;
                from.i32()?;
                let returned = u64::try_from(from.i32()?).ok()?;
                let (list, first) = (from.0, Document::of(from.0));
                let Words::Tell(tell) = &mut self.words else { return None };
                if let Some((document, _)) = first {
                    // Documents of a collection may have any names in them.
                    if document.get("ok").is_some() || document.get("$err").is_some() {
                        tell.reply(document, &mut self.cursor);
                    }
                }
                if cursor != 0 {
                    self.cursor = Some(cursor);
                }
                tell.returned = tell.returned.or(Some(returned));
                tell.failed |= self.flags & (CURSOR_NOT_FOUND | QUERY_FAILURE) != 0;
                if self.flags & CURSOR_NOT_FOUND != 0 {
                    tell.error.get_or_insert_with(|| "cursor not found".to_owned());
                }
                match first {
                    Some((document, _)) if returned == 1 => json.document(Some(document), []),
                    _ => json.document(None, [(&b"documents"[..], list)]),
                }
            }
            COMMAND_REPLY => {
                let (first, length) = Document::of(from.0)?;
                let second = from.0.get(length..).and_then(Document::of).map(|it| it.0);
                // Servers disagree about the order of the reply and what they say about it.
                let reply = second.filter(|_| first.get("ok").is_none()).unwrap_or(first);
                let Words::Tell(tell) = &mut self.words else { return None };
                tell.reply(reply, &mut self.cursor);
                json.document(Some(reply), []);
            }
            opcode => {
                let Words::Ask(ask) = &mut self.words else { return None };
                ask.old(opcode, &mut from, &mut json, &mut self.cursor)?;
            }
        }
        let json = json.finish();
        self.document = (json.len() > 2).then_some(json);
        Some(())
    }
}

impl Ask {
    fn message(&mut self, sections: &Sections<'_>, cursor: &mut Option<i64>) {
        if let Some(body) = sections.body {
            self.command(body, cursor);
            self.database = body.text("$db").map(owned).or_else(|| self.database.take());
        }
        let sent: usize = sections.lists().map(|(_, list)| documents(list)).sum();
        if sent > 0 {
            self.batch = Some(sent as u64);
        }
    }

    /// What a command says, whatever message brings it.
    fn command(&mut self, body: Document<'_>, cursor: &mut Option<i64>) {
        let Some(first) = body.first() else { return };
        self.command = owned(first.name);
        self.argument = first.value.text().map(owned);
        self.collection = match first.name {
            b"getMore" => {
                *cursor = first.value.number();
                body.text("collection").map(owned)
            }
            b"explain" => match first.value {
                Value::Document(inner) => inner.first().and_then(|it| it.value.text()).map(owned),
                _ => None,
            },
            name if NOT_OF_COLLECTIONS.contains(&name) => None,
            _ => self.argument.clone(),
        };
        self.user = match first.name {
            b"saslStart" => user(body),
            b"authenticate" => body.text("user").map(owned),
            _ => body.document("speculativeAuthenticate").and_then(user),
        };
        let client = body.document("client").and_then(|it| it.document("application"));
        self.application = client.and_then(|it| it.text("name")).map(owned);
        let batch = ["documents", "updates", "deletes", "ops"];
        if let Some(list) = batch.iter().find_map(|it| match body.get(it) {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        }) {
            self.batch = Some(list.elements().count() as u64);
        }
    }

    /// Messages that came before `MSG`.
    fn old(
        &mut self,
        opcode: i32,
        from: &mut Reader<'_>,
        json: &mut bson::Json,
        cursor: &mut Option<i64>,
    ) -> Option<()> {
        let name = match opcode {
            QUERY => "find",
            INSERT => "insert",
            UPDATE => "update",
            DELETE => "delete",
            GET_MORE => "getMore",
            KILL_CURSORS => "killCursors",
            COMMAND => "",
            _ => return None,
        };
        self.command = name.to_owned();
        match opcode {
            COMMAND => {
                self.database = Some(owned(from.text()?));
                let name = owned(from.text()?);
                let (first, length) = Document::of(from.0)?;
                let second = from.0.get(length..).and_then(Document::of).map(|it| it.0);
                let is_command =
                    |it: &Document<'_>| it.first().is_some_and(|it| it.name == name.as_bytes());
                let body = second.filter(|_| !is_command(&first)).unwrap_or(first);
                self.command(body, cursor);
                self.command = name;
                json.document(Some(body), []);
                return Some(());
            }
            KILL_CURSORS => {
                from.i32()?;
                self.batch = u64::try_from(from.i32()?).ok();
                *cursor = from.i64();
                return Some(());
            }
            _ => {}
        }
        // Flags of queries and insertions, a zero for all others.
        from.i32()?;
        let full = owned(from.text()?);
        let (database, collection) = full.split_once('.')?;
        self.database = Some(database.to_owned());
        let collection = collection.to_owned();
        self.full_collection = Some(full);
        match opcode {
            QUERY => {
                from.i64()?;
                let (query, _) = Document::of(from.0)?;
                if collection.starts_with("$cmd") {
                    let wrapped = ["$query", "query"].iter().find_map(|it| query.document(it));
                    let first = query.first().map(|it| it.name);
                    let is_wrapped = matches!(first, Some(b"$query" | b"query"));
                    self.command(wrapped.filter(|_| is_wrapped).unwrap_or(query), cursor);
                } else {
                    self.collection = Some(collection);
                }
                json.document(Some(query), []);
                return Some(());
            }
            INSERT => {
                self.batch = Some(documents(from.0) as u64);
                json.document(None, [(&b"documents"[..], from.0)]);
            }
            UPDATE => {
                from.i32()?;
                let (selector, length) = Document::of(from.0)?;
                let update = from.0.get(length..).and_then(Document::of).map(|it| it.0);
                let both = [(&b"q"[..], Some(selector)), (&b"u"[..], update)];
                json.documents(both.into_iter().filter_map(|(name, it)| Some((name, it?))));
                self.batch = Some(1);
            }
            DELETE => {
                from.i32()?;
                json.documents([(&b"q"[..], Document::of(from.0)?.0)]);
                self.batch = Some(1);
            }
            _ => {
                from.i32()?;
                *cursor = from.i64();
            }
        }
        self.collection = Some(collection);
        Some(())
    }
}

impl Tell {
    fn reply(&mut self, body: Document<'_>, cursor: &mut Option<i64>) {
        let count = |it: Value<'_>| it.number().and_then(|it| u64::try_from(it).ok());
        let mut found: Option<Document<'_>> = None;
        for element in body.elements() {
            match (element.name, element.value) {
                (b"ok", value) => self.ok = value.number().map(|it| it != 0),
                (b"n", value) => self.matched = count(value),
                (b"nModified", value) => self.modified = count(value),
                (b"code", value) => self.code = value.number().and_then(|it| it.try_into().ok()),
                (b"codeName", value) => self.name = value.text().map(owned),
                (b"errmsg" | b"$err", value) => self.error = value.text().map(owned),
                (b"writeErrors", Value::Array(list)) => {
                    self.write_errors = Some(list.elements().count() as u64);
                    found = list.first().and_then(|it| match it.value {
                        Value::Document(error) => Some(error),
                        _ => None,
                    });
                }
                (b"writeConcernError", Value::Document(error)) => found = found.or(Some(error)),
                (b"cursor", Value::Document(it)) => {
                    *cursor = it.get("id").and_then(Value::number);
                    let batch = it.document("firstBatch").or_else(|| it.document("nextBatch"));
                    self.returned = batch.map(|it| it.elements().count() as u64);
                }
                _ => {}
            }
        }
        if let Some(error) = found {
            let code = || error.get("code")?.number()?.try_into().ok();
            self.code = self.code.or_else(code);
            self.name = self.name.take().or_else(|| error.text("codeName").map(owned));
            self.error = self.error.take().or_else(|| error.text("errmsg").map(owned));
        }
        self.failed = self.ok == Some(false) || found.is_some() || body.get("$err").is_some();
        if !self.failed {
            // Some commands say `errmsg: null`, or have a field of that name.
            (self.code, self.name, self.error) = (None, None, None);
        }
    }
}

/// What a `MSG` is made of: a command, and lists of documents with their names.
struct Sections<'a> {
    body: Option<Document<'a>>,
    lists: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Sections<'a> {
    /// `None` if the bytes make no sense from the start.
    fn of(mut from: Reader<'a>) -> Option<Self> {
        let mut sections = Self { body: None, lists: Vec::new() };
        while let Some(kind) = from.u8() {
            let read = match kind {
                0 => (|| {
                    let (body, length) = Document::of(from.0)?;
                    sections.body = Some(body);
                    from.0 = from.0.get(length..).unwrap_or_default();
                    Some(())
                })(),
                1 if sections.lists.len() < SECTIONS => (|| {
                    let size = usize::try_from(from.i32()?).ok()?.checked_sub(4)?;
                    let section = from.0.get(..size).unwrap_or(from.0);
                    from.0 = from.0.get(size..).unwrap_or_default();
                    let mut section = Reader(section);
                    sections.lists.push((section.text()?, section.0));
                    Some(())
                })(),
                _ => None,
            };
            if read.is_none() {
                break;
            }
        }
        (sections.body.is_some() || !sections.lists.is_empty()).then_some(sections)
    }

    fn lists(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.lists.iter().copied()
    }
}

/// Who logs in, by the first message of SCRAM (RFC 5802) or the only one of PLAIN (RFC 4616).
fn user(login: Document<'_>) -> Option<String> {
    let (Value::Binary(_, payload) | Value::Text(payload)) = login.get("payload")? else {
        return None;
    };
    let mechanism = login.text("mechanism")?;
    if mechanism == b"PLAIN" {
        return payload.split(|it| *it == 0).nth(1).map(owned);
    }
    let is_scram = mechanism.starts_with(b"SCRAM-");
    let name = payload.split(|it| *it == b',').find_map(|it| it.strip_prefix(b"n="));
    name.filter(|_| is_scram).map(|it| owned(it).replace("=2C", ",").replace("=3D", "="))
}

/// How many documents follow each other.
fn documents(mut list: &[u8]) -> usize {
    let mut count = 0;
    while let Some((_, length)) = Document::of(list) {
        count += 1;
        list = list.get(length..).unwrap_or_default();
    }
    count
}

/// Bytes in little endian.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Up to a zero.
    fn text(&mut self) -> Option<&'a [u8]> {
        let text = self.take(memchr(0, self.0)?)?;
        self.take(1)?;
        Some(text)
    }
}

fn owned(bytes: &[u8]) -> String {
    value::text(bytes.get(..NAME_BYTES).unwrap_or(bytes)).into_owned()
}

/// Opens a compressed message, as far as it is there.
fn unpack(compressor: Option<&str>, bytes: &[u8], limit: usize) -> Option<(Vec<u8>, bool)> {
    let coding: &[u8] = match compressor? {
        "noop" => return Some((bytes.get(..limit).unwrap_or(bytes).to_vec(), true)),
        "snappy" => return Some(blocks::snappy(bytes, limit)),
        "zlib" => b"deflate",
        "zstd" => b"zstd",
        _ => return None,
    };
    let opened = decompress(&[coding], bytes, limit);
    Some((opened.bytes.into_owned(), opened.whole))
}

/// How much the first bytes look like a message that `side` would send.
fn judge(bytes: &[u8], side: Side) -> Guess {
    let Some(head) = bytes.get(..HEADER_BYTES) else {
        let length = bytes.first_chunk().map(|it| u32::from_le_bytes(*it));
        let possible = length.is_none_or(|it| (SHORTEST..=LONGEST).contains(&it));
        // The opcode's last bytes are zeros or, of newer ones, a seven before them.
        let opcode = bytes.get(13..).unwrap_or_default();
        let is_opcode = opcode
            .iter()
            .zip([0_u8, 0, 0])
            .enumerate()
            .all(|(place, (byte, zero))| *byte == zero || place == 0 && *byte == 7);
        return if possible && is_opcode { Guess::More } else { Guess::No };
    };
    let Some(header) = Header::of(head, side) else { return Guess::No };
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let length = usize::try_from(header.length).unwrap_or_default().saturating_sub(HEADER_BYTES);
    let body = body.get(..length).unwrap_or(body);
    let answers = header.to != 0;
    match fits(header.opcode, body, length) {
        None => Guess::No,
        Some(false) => Guess::More,
        // Requests of number zero are rare, and so are those that say they answer something.
        Some(true) if side == Side::Client && answers => Guess::Maybe,
        Some(true) if side == Side::Server && !answers && header.opcode != REPLY => Guess::Maybe,
        Some(true) => Guess::Sure,
    }
}

/// Whether the bytes behind a header can be a message of `length` bytes: not at all, not to be told
/// yet, or yes.
fn fits(opcode: i32, body: &[u8], length: usize) -> Option<bool> {
    let mut from = Reader(body);
    let number = |from: &mut Reader<'_>| from.i32().map(i32::cast_unsigned);
    // A document's length, and the first of its elements.
    let document = |from: &Reader<'_>, most: usize| -> Option<bool> {
        let Some(size) = from.0.first_chunk().map(|it| u32::from_le_bytes(*it)) else {
            return Some(false);
        };
        let size = usize::try_from(size).ok()?;
        if size < 5 || size > most {
            return None;
        }
        match from.0.get(4) {
            None => Some(false),
            Some(0) => (size == 5).then_some(true),
            Some(0x01..=0x13 | 0xff | 0x7f) => Some(true),
            Some(_) => None,
        }
    };
    match opcode {
        MSG => {
            let Some(flags) = number(&mut from) else { return Some(false) };
            if flags & !(CHECKSUM | MORE | EXHAUST_ALLOWED) != 0 {
                return None;
            }
            match from.u8() {
                None => Some(false),
                Some(0) => document(&from, length.checked_sub(5)?),
                Some(1) => {
                    let Some(size) = number(&mut from) else { return Some(false) };
                    let size = usize::try_from(size).ok()?;
                    if size < 6 || size > length.checked_sub(5)? {
                        return None;
                    }
                    match from.text() {
                        Some(name) => (!name.is_empty() && name.iter().all(u8::is_ascii_graphic))
                            .then_some(true),
                        None if from.0.len() < 64 => Some(false),
                        None => None,
                    }
                }
                Some(_) => None,
            }
        }
        COMPRESSED => {
            let Some(inner) = number(&mut from) else { return Some(false) };
            if !is_known(inner.cast_signed()) {
                return None;
            }
            let Some(size) = number(&mut from) else { return Some(false) };
            match from.u8() {
                None => Some(false),
                Some(compressor) => (compressor <= 3 && size <= LONGEST).then_some(true),
            }
        }
        REPLY => {
            let Some(flags) = number(&mut from) else { return Some(false) };
            let Some(_) = from.i64() else { return Some(false) };
            let Some(start) = number(&mut from) else { return Some(false) };
            let Some(returned) = number(&mut from) else { return Some(false) };
            if flags > 15 || start > MOST_DOCUMENTS || returned > MOST_DOCUMENTS {
                return None;
            }
            if returned == 0 {
                return (length == 20).then_some(true);
            }
            document(&from, length.checked_sub(20)?)
        }
        KILL_CURSORS => {
            let Some(zero) = number(&mut from) else { return Some(false) };
            let Some(count) = number(&mut from) else { return Some(false) };
            let size = usize::try_from(count).ok()?.checked_mul(8)?.checked_add(8)?;
            (zero == 0 && size == length).then_some(true)
        }
        COMMAND_REPLY => document(&from, length),
        QUERY | INSERT | UPDATE | DELETE | GET_MORE | COMMAND => {
            if opcode != COMMAND {
                let Some(flags) = number(&mut from) else { return Some(false) };
                let most = match opcode {
                    QUERY => 0xff,
                    INSERT => 1,
                    _ => 0,
                };
                if flags > most {
                    return None;
                }
            }
            let Some(name) = from.text() else {
                let is_name = from.0.iter().all(|it| *it > b' ' && *it != 0x7f);
                return (is_name && from.0.len() < 256).then_some(false);
            };
            let is_name = name.iter().all(|it| *it > b' ' && *it != 0x7f);
            if name.is_empty() || !is_name || opcode != COMMAND && !name.contains(&b'.') {
                return None;
            }
            let before = match opcode {
                QUERY => 8,
                INSERT | COMMAND => 0,
                UPDATE | DELETE => 4,
                _ => return Some(true),
            };
            if opcode == COMMAND {
                let Some(name) = from.text() else { return Some(false) };
                if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                    return None;
                }
            }
            let Some(_) = from.take(before) else { return Some(false) };
            document(&from, length)
        }
        _ => None,
    }
}

fn compressor(id: u8) -> &'static str {
    match id {
        0 => "noop",
        1 => "snappy",
        2 => "zlib",
        3 => "zstd",
        _ => "unknown",
    }
}

fn opcode_name(opcode: i32) -> &'static str {
    match opcode {
        REPLY => "REPLY",
        UPDATE => "UPDATE",
        INSERT => "INSERT",
        QUERY => "QUERY",
        GET_MORE => "GET_MORE",
        DELETE => "DELETE",
        KILL_CURSORS => "KILL_CURSORS",
        COMMAND => "COMMAND",
        COMMAND_REPLY => "COMMANDREPLY",
        COMPRESSED => "COMPRESSED",
        MSG => "MSG",
        _ => "UNKNOWN",
    }
}

fn is_known(opcode: i32) -> bool {
    !matches!(opcode_name(opcode), "UNKNOWN" | "COMPRESSED")
}

/// Whether nobody answers such a message.
fn is_one_way(opcode: i32) -> bool {
    matches!(opcode, UPDATE | INSERT | DELETE | KILL_CURSORS)
}

const REPLY: i32 = 1;
const UPDATE: i32 = 2001;
const INSERT: i32 = 2002;
const QUERY: i32 = 2004;
const GET_MORE: i32 = 2005;
const DELETE: i32 = 2006;
const KILL_CURSORS: i32 = 2007;
const COMMAND: i32 = 2010;
const COMMAND_REPLY: i32 = 2011;
const COMPRESSED: i32 = 2012;
const MSG: i32 = 2013;

/// Flags of a `MSG`.
const CHECKSUM: u32 = 1;
const MORE: u32 = 1 << 1;
const EXHAUST_ALLOWED: u32 = 1 << 16;

/// Flags of a `REPLY`.
const CURSOR_NOT_FOUND: u32 = 1;
const QUERY_FAILURE: u32 = 1 << 1;

const HEADER_BYTES: usize = 16;
const SHORTEST: u32 = 22;

/// What servers accept, in bytes.
const LONGEST: u32 = 48_000_000;

/// More than a reply of 48 MB has room for.
const MOST_DOCUMENTS: u32 = 9_600_000;

/// More lists than any command has.
const SECTIONS: usize = 8;

/// What is kept of a name or an error's words.
const NAME_BYTES: usize = 1024;

/// Commands whose value is a text, but not a collection.
const NOT_OF_COLLECTIONS: &[&[u8]] = &[
    b"createRole",
    b"createUser",
    b"dropRole",
    b"dropUser",
    b"getLog",
    b"getParameter",
    b"grantPrivilegesToRole",
    b"grantRolesToRole",
    b"grantRolesToUser",
    b"moveChunk",
    b"movePrimary",
    b"enableSharding",
    b"renameCollection",
    b"revokePrivilegesFromRole",
    b"revokeRolesFromRole",
    b"revokeRolesFromUser",
    b"rolesInfo",
    b"shardCollection",
    b"split",
    b"updateRole",
    b"updateUser",
    b"usersInfo",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Shown, json};

    use super::*;
    use crate::drive::{self, Step, client, server};

    /// An element: its type, name and value.
    fn element(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
        [&[kind], name.as_bytes(), &[0], value].concat()
    }

    fn text(name: &str, value: &str) -> Vec<u8> {
        let length = (value.len() as i32 + 1).to_le_bytes();
        element(2, name, &[&length[..], value.as_bytes(), &[0]].concat())
    }

    fn int(name: &str, value: i32) -> Vec<u8> {
        element(16, name, &value.to_le_bytes())
    }

    fn long(name: &str, value: i64) -> Vec<u8> {
        element(18, name, &value.to_le_bytes())
    }

    fn double(name: &str, value: f64) -> Vec<u8> {
        element(1, name, &value.to_le_bytes())
    }

    fn binary(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
        element(5, name, &[&(value.len() as i32).to_le_bytes()[..], &[kind], value].concat())
    }

    fn list(name: &str, values: &[Vec<u8>]) -> Vec<u8> {
        let places = values.iter().enumerate();
        let values: Vec<_> = places.map(|(place, it)| element(3, &place.to_string(), it)).collect();
        element(4, name, &document(&values))
    }

    fn document(elements: &[Vec<u8>]) -> Vec<u8> {
        let elements = elements.concat();
        let length = (elements.len() as i32 + 5).to_le_bytes();
        [&length[..], &elements, &[0]].concat()
    }

    fn packet(id: i32, to: i32, opcode: i32, body: &[u8]) -> Vec<u8> {
        let numbers = [body.len() as i32 + 16, id, to, opcode];
        let header: Vec<u8> = numbers.into_iter().flat_map(i32::to_le_bytes).collect();
        [&header[..], body].concat()
    }

    fn msg(id: i32, to: i32, flags: u32, elements: &[Vec<u8>]) -> Vec<u8> {
        packet(id, to, MSG, &[&flags.to_le_bytes()[..], &[0], &document(elements)].concat())
    }

    fn rows(steps: &[Step]) -> Vec<Shown> {
        drive::however_cut::<Dissector>(steps)
    }

    /// Columns of a row, as text.
    fn columns(row: &Shown, names: &str) -> String {
        names.split(' ').map(|it| row[it].to_string()).collect::<Vec<_>>().join(" ")
    }

    fn json(row: &Shown, name: &str) -> Shown {
        serde_json::from_str(row[name].as_str().unwrap()).unwrap()
    }

    #[test]
    fn replies_find_their_requests_out_of_order() {
        let find = msg(7, 0, 0, &[text("find", "orders"), text("$db", "shop")]);
        let ping = msg(8, 0, 1 << 16, &[int("ping", 1), text("$db", "admin")]);
        let batch = list("firstBatch", &[document(&[int("a", 1)]), document(&[])]);
        let cursor = document(&[batch, long("id", 99), text("ns", "shop.orders")]);
        let found = msg(100, 7, 0, &[element(3, "cursor", &cursor), double("ok", 1.0)]);
        let rows = rows(&[
            client([find, ping].concat()),
            server(msg(101, 8, 0, &[double("ok", 1.0)])),
            server(found),
        ]);
        assert_eq!(
            columns(&rows[0], "command verb target database exhaust_allowed ok request_id"),
            r#""ping" "ping" "" "admin" true true 8"#
        );
        assert_eq!(
            columns(&rows[1], "command target database collection cursor_id returned opcode"),
            r#""find" "orders" "shop" "orders" "99" 2 "MSG""#
        );
        assert_eq!(json(&rows[1], "request_document"), json!({"find": "orders", "$db": "shop"}));
        assert_eq!(
            json(&rows[1], "response_document")["cursor"]["firstBatch"],
            json!([{"a": 1}, {}])
        );
    }

    #[test]
    fn documents_sent_beside_a_command_are_part_of_it() {
        let body = document(&[text("insert", "orders"), text("$db", "shop")]);
        let sent = [document(&[int("a", 1)]), document(&[int("a", 2)])].concat();
        let section = [&(sent.len() as i32 + 14).to_le_bytes()[..], b"documents\0", &sent].concat();
        // With a checksum, and the list before the command.
        let bytes = [&[1, 0, 0, 0, 1][..], &section, &[0], &body, &[9, 9, 9, 9]].concat();
        let error = document(&[int("index", 0), int("code", 11000), text("errmsg", "dup")]);
        let told = [int("n", 1), list("writeErrors", &[error]), double("ok", 1.0)];
        let rows = rows(&[client(packet(1, 0, MSG, &bytes)), server(msg(2, 1, 0, &told))]);
        assert_eq!(
            columns(
                &rows[0],
                "verb target batch_size matched write_errors error_code error failed ok"
            ),
            r#""insert" "orders" 2 1 1 11000 "dup" true true"#
        );
        assert_eq!(
            json(&rows[0], "request_document"),
            json!({"insert": "orders", "$db": "shop", "documents": [{"a": 1}, {"a": 2}]})
        );
    }

    #[test]
    fn errors_have_code_and_name() {
        let told = [
            double("ok", 0.0),
            text("errmsg", "ns not found"),
            int("code", 26),
            text("codeName", "NamespaceNotFound"),
        ];
        let asked = msg(1, 0, 0, &[text("drop", "x"), text("$db", "shop")]);
        let rows = rows(&[client(asked), server(msg(5, 1, 0, &told))]);
        assert_eq!(
            columns(&rows[0], "ok failed status error_code error_name error"),
            r#"false true 26 26 "NamespaceNotFound" "ns not found""#
        );
    }

    #[test]
    fn messages_of_old_drivers_are_read() {
        let zero = [0; 4];
        let query = document(&[element(3, "$query", &document(&[int("isMaster", 1)]))]);
        let asked = [&zero[..], b"admin.$cmd\0", &zero, &[255; 4], &query].concat();
        let told = document(&[element(8, "ismaster", &[1]), double("ok", 1.0)]);
        let told = [&[8, 0, 0, 0][..], &[0; 8], &zero, &[1, 0, 0, 0], &told].concat();
        let insert = [&zero[..], b"shop.a.b\0", &document(&[int("x", 1)])].concat();
        let update =
            [&zero[..], b"shop.a\0", &zero, &document(&[int("x", 1)]), &document(&[])].concat();
        let delete = [&zero[..], b"shop.a\0", &zero, &document(&[int("x", 1)])].concat();
        let more = [&zero[..], b"shop.a\0", &[1, 0, 0, 0], &[9, 0, 0, 0, 0, 0, 0, 0]].concat();
        let gone = [&[1, 0, 0, 0][..], &[0; 8], &zero, &zero].concat();
        let kill = [&zero[..], &[1, 0, 0, 0], &[9, 0, 0, 0, 0, 0, 0, 0]].concat();
        let rows = rows(&[
            client(packet(0, 0, QUERY, &asked)),
            server(packet(9, 0, REPLY, &told)),
            client(packet(1, 0, INSERT, &insert)),
            client(packet(2, 0, UPDATE, &update)),
            client(packet(3, 0, DELETE, &delete)),
            client(packet(4, 0, KILL_CURSORS, &kill)),
            client(packet(5, 0, GET_MORE, &more)),
            server(packet(9, 5, REPLY, &gone)),
        ]);
        let names = "verb opcode database collection full_collection cursor_id unacknowledged";
        let shown: Vec<_> = rows.iter().map(|it| columns(it, names)).collect();
        let expected = [
            r#""isMaster" "QUERY" "admin" null "admin.$cmd" null false"#,
            r#""insert" "INSERT" "shop" "a.b" "shop.a.b" null true"#,
            r#""update" "UPDATE" "shop" "a" "shop.a" null true"#,
            r#""delete" "DELETE" "shop" "a" "shop.a" null true"#,
            r#""killCursors" "KILL_CURSORS" null null null "9" true"#,
            r#""getMore" "GET_MORE" "shop" "a" "shop.a" "9" false"#,
        ];
        assert_eq!(shown, expected);
        assert_eq!(rows[0]["ok"], true);
        assert_eq!(columns(&rows[5], "failed error"), r#"true "cursor not found""#);
        assert_eq!(json(&rows[2], "request_document"), json!({"q": {"x": 1}, "u": {}}));
    }

    #[test]
    fn compressed_messages_are_opened() {
        let inner = msg(1, 0, 0, &[text("find", "orders"), text("$db", "shop")]);
        let inner = &inner[16..];
        let zlib = {
            use std::io::Write;
            let mut to = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
            to.write_all(inner).unwrap();
            to.finish().unwrap()
        };
        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        let packed = [
            inner.to_vec(),
            snap::raw::Encoder::new().compress_vec(inner).unwrap(),
            zlib,
            compress_to_vec(inner, CompressionLevel::Fastest),
        ];
        for (id, packed) in packed.iter().enumerate() {
            let head = [MSG, inner.len() as i32].map(i32::to_le_bytes).concat();
            let asked = packet(1, 0, COMPRESSED, &[&head, &[id as u8][..], packed].concat());
            assert_eq!(judge(&asked, Side::Client), Guess::Sure);
            let rows = rows(&[client(asked), server(msg(2, 1, 0, &[double("ok", 1.0)]))]);
            assert_eq!(
                columns(&rows[0], "opcode command collection request_compressor ok"),
                format!(r#""MSG" "find" "orders" "{}" true"#, compressor(id as u8))
            );
        }
    }

    #[test]
    fn secrets_are_not_kept() {
        let sasl = document(&[
            int("saslStart", 1),
            text("mechanism", "SCRAM-SHA-256"),
            binary("payload", 0, b"s3cret"),
        ]);
        let asked = [
            msg(1, 0, 0, &[int("saslContinue", 1), binary("payload", 0, b"s3cret")]),
            msg(2, 0, 0, &[text("createUser", "bob"), text("pwd", "s3cret")]),
            msg(3, 0, 0, &[int("hello", 1), element(3, "speculativeAuthenticate", &sasl)]),
            msg(4, 0, 0, &[int("authenticate", 1), text("key", "s3cret")]),
        ];
        let told = [int("conversationId", 1), binary("payload", 0, b"s3cret"), double("ok", 1.0)];
        let mut steps: Vec<_> = asked.iter().map(client).collect();
        steps.push(server(msg(9, 1, 0, &told)));
        let rows = rows(&steps);
        assert_eq!(rows.len(), 4);
        let secret = "s3cret";
        let packed = "czNjcmV0";
        for row in rows {
            let text = row.to_string();
            assert!(
                text.contains("***") && !text.contains(secret) && !text.contains(packed),
                "{text}"
            );
        }
    }

    #[test]
    fn who_logs_in_is_told() {
        let login = |mechanism: &str, payload: &[u8]| {
            [int("saslStart", 1), text("mechanism", mechanism), binary("payload", 0, payload)]
        };
        let scram = login("SCRAM-SHA-256", b"n,,n=a=2Cb,r=nonce");
        let named = element(3, "application", &document(&[text("name", "shop")]));
        let hello = [
            int("hello", 1),
            element(3, "client", &document(&[named])),
            element(3, "speculativeAuthenticate", &document(&scram)),
        ];
        let rows = rows(&[
            client(msg(1, 0, 0, &login("PLAIN", b"\0bob\0s3cret"))),
            client(msg(2, 0, 0, &hello)),
            client(msg(3, 0, 0, &login("GSSAPI", b"n=x"))),
        ]);
        let shown: Vec<_> = rows.iter().map(|it| columns(it, "user application")).collect();
        assert_eq!(shown, [r#""bob" null"#, r#""a,b" "shop""#, "null null"]);
    }

    #[test]
    fn every_type_is_written_as_extended_json() {
        let asked = msg(
            1,
            0,
            0,
            &[
                text("insert", "a\"b\n"),
                double("nan", f64::NAN),
                binary("bin", 0, b"foo"),
                binary("uuid", 4, &[0xab; 16]),
                element(7, "id", &[1; 12]),
                element(9, "date", &1_000_i64.to_le_bytes()),
                element(10, "null", &[]),
                element(11, "regex", b"^a\0i\0"),
                element(17, "time", &[1, 0, 0, 0, 2, 0, 0, 0]),
                element(19, "decimal", &(5_u128 | 6175_u128 << 113).to_le_bytes()),
                element(0xff, "min", &[]),
                long("long", i64::MAX),
            ],
        );
        let rows = rows(&[client(asked)]);
        let expected = json!({
            "insert": "a\"b\n",
            "nan": {"$numberDouble": "NaN"},
            "bin": {"$binary": {"base64": "Zm9v", "subType": "00"}},
            "uuid": {"$uuid": "abababab-abab-abab-abab-abababababab"},
            "id": {"$oid": "010101010101010101010101"},
            "date": {"$date": "1970-01-01T00:00:01Z"},
            "null": null,
            "regex": {"$regularExpression": {"pattern": "^a", "options": "i"}},
            "time": {"$timestamp": {"t": 2, "i": 1}},
            "decimal": {"$numberDecimal": "0.5"},
            "min": {"$minKey": 1},
            "long": i64::MAX,
        });
        assert_eq!(json(&rows[0], "request_document"), expected);
    }

    #[test]
    fn unacknowledged_writes_and_streams_of_replies_stand_alone() {
        let rows = rows(&[
            client(msg(1, 0, MORE, &[text("insert", "a"), text("$db", "b")])),
            client(msg(2, 0, EXHAUST_ALLOWED, &[int("hello", 1), text("$db", "b")])),
            server(msg(10, 2, MORE, &[double("ok", 1.0)])),
            server(msg(11, 10, MORE, &[double("ok", 1.0)])),
        ]);
        let shown: Vec<_> =
            rows.iter().map(|it| columns(it, "verb unacknowledged more_to_come ok")).collect();
        let expected = [
            r#""insert" true null null"#,
            r#""hello" false true true"#,
            r#""hello" null true true"#,
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn huge_messages_need_little_room_and_holes_in_them_are_absorbed() {
        let value = "x".repeat(3 << 20);
        let asked = msg(1, 0, 0, &[text("insert", "a"), text("$db", "b"), text("big", &value)]);
        let rows = drive::stream::<Dissector>(
            &[
                client(&asked[..100_000]),
                Step::Loses(Side::Client, 100_000),
                client(&asked[200_000..]),
                server(msg(2, 1, 0, &[double("ok", 1.0)])),
            ],
            1460,
        );
        assert_eq!(
            columns(&rows[0], "verb target database ok incomplete"),
            r#""insert" "a" "b" true true"#
        );
        assert!(rows[0]["request_document"].as_str().unwrap().len() < 70_000);
        assert!(json(&rows[0], "request_document")["big"].as_str().unwrap().ends_with('…'));
    }

    #[test]
    fn after_a_hole_the_next_message_is_found() {
        let ping = |id| msg(id, 0, 0, &[int("ping", 1), text("$db", "admin")]);
        let pong = |to| msg(9, to, 0, &[double("ok", 1.0)]);
        let rows = rows(&[
            client([ping(1), ping(2), ping(3)].concat()),
            server(pong(1)),
            Step::Loses(Side::Server, 20),
            server([&pong(2)[13..], &pong(3)].concat()),
        ]);
        let shown: Vec<_> = rows.iter().map(|it| columns(it, "request_id ok")).collect();
        assert_eq!(shown, ["1 true", "3 true", "2 null"]);
    }

    #[test]
    fn what_must_be_escaped_has_a_bound() {
        let asked = msg(1, 0, 0, &[int("ping", 1), text("a", &"\u{1}".repeat(60_000))]);
        let rows = rows(&[client(asked)]);
        assert!(rows[0]["request_document"].as_str().unwrap().len() < 66_000);
        json(&rows[0], "request_document");
    }

    #[test]
    fn nesting_has_a_bound() {
        let mut deep = document(&[]);
        for _ in 0..10_000 {
            deep = document(&[element(3, "a", &deep)]);
        }
        let rows = rows(&[client(msg(1, 0, 0, &[int("ping", 1), element(3, "deep", &deep)]))]);
        assert!(rows[0]["request_document"].as_str().unwrap().contains('…'));
        json(&rows[0], "request_document");
    }

    #[test]
    fn recognised_by_content() {
        let asked = msg(1, 0, 0, &[int("ping", 1), text("$db", "admin")]);
        for n in 0..25 {
            assert_eq!(judge(&asked[..n], Side::Client), Guess::More, "{n} bytes");
        }
        assert_eq!(judge(&asked, Side::Client), Guess::Sure);
        assert_eq!(judge(&asked, Side::Server), Guess::Maybe);
        let told = msg(1, 7, 0, &[double("ok", 1.0)]);
        assert_eq!(judge(&told, Side::Server), Guess::Sure);
        assert_eq!(judge(&told, Side::Client), Guess::Maybe);
        for noise in [
            &b"GET / HTTP/1.1\r\nHost"[..],
            b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03abcdefgh",
        ] {
            assert_eq!(judge(noise, Side::Client), Guess::No);
        }
    }

    proptest! {
        #[test]
        fn damage_is_no_accident(
            order in proptest::collection::vec(0_usize..64, 1..12),
            bent in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8),
            side in any::<bool>(), piece in 1_usize..200, missing in 0_u64..40,
        ) {
            let messages = [
                msg(1, 0, 0, &[text("find", "a"), text("$db", "b"), list("c", &[document(&[])])]),
                msg(2, 1, 1, &[double("ok", 1.0), binary("d", 0, b"abc"), long("e", 7)]),
                packet(3, 0, COMPRESSED, &[&[0xdd, 7, 0, 0, 40, 0, 0, 0, 1][..], &[40, 9, 0, 0, 9]].concat()),
                packet(3, 0, COMPRESSED, &[&[0xdd, 7, 0, 0, 40, 0, 0, 0, 3][..], &[40; 20]].concat()),
                packet(4, 0, QUERY, &[&[0; 4][..], b"a.b\0", &[0; 8], &document(&[int("x", 1)])].concat()),
                packet(5, 4, REPLY, &[&[0; 16][..], &[1, 0, 0, 0], &document(&[int("x", 1)])].concat()),
                packet(6, 0, UPDATE, &[&[0; 4][..], b"a.b\0", &[0; 4], &document(&[]), &document(&[])].concat()),
            ];
            let mut bytes: Vec<u8> =
                order.iter().flat_map(|it| messages[it % messages.len()].clone()).collect();
            for (at, with) in bent {
                let at = usize::from(at) % bytes.len();
                bytes[at] = with;
            }
            let side = if side { Side::Client } else { Side::Server };
            let sends = |side| Step::Sends(side, bytes.clone());
            let steps =
                [sends(side), sends(side.other()), Step::Loses(side, missing), sends(side), Step::Ends(side)];
            drive::stream::<Dissector>(&steps, piece);

        }
    }
}
