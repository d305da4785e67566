//! Reads one message by its steps, however it is cut, and keeps what a row needs.
use std::collections::VecDeque;

use schema::value::text;

use super::json;
use super::messages::{DEPTH, FETCH, Kind, PRODUCE, Step, What};
use super::records::{Head, Kept};
use crate::input::Input;

/// What is kept of one request or response.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Body {
    /// `None` of an answer to a request that was not captured, and of a SASL token.
    pub(super) key: Option<i16>,
    pub(super) version: i16,
    pub(super) correlation: Option<i32>,
    /// All texts, one behind the other.
    text: String,
    words: [Span; WORDS],
    topics: Vec<Span>,
    brokers: Vec<Span>,
    pub(super) partitions: Vec<Partition>,
    /// Without the zeros; in order.
    pub(super) errors: Vec<i16>,
    /// Whether there was any place for an error.
    pub(super) has_errors: bool,
    pub(super) acks: Option<i32>,
    pub(super) generation: Option<i32>,
    pub(super) key_type: i64,
    pub(super) producer: Option<i64>,
    pub(super) throttle: Option<i64>,
    /// Whether there was a place for records.
    pub(super) has_records: bool,
    pub(super) records: Kept,
    /// All plain fields, as a JSON object.
    fields: Vec<u8>,
}

/// A partition that was named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partition {
    /// Its topic's place.
    topic: u32,
    pub(super) number: i32,
    pub(super) offset: Option<i64>,
}

/// A part of the texts.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: u32,
    to: u32,
}

/// Texts of which a message has one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    Client,
    ErrorMessage,
    Group,
    Key,
    Mechanism,
    Member,
    Software,
    SoftwareVersion,
    Transaction,
    User,
}

impl Body {
    /// A text; `None` if there was none, or an empty one.
    pub(super) fn word(&self, word: Word) -> Option<&str> {
        self.words.get(word as usize).map(|it| self.span(*it)).filter(|it| !it.is_empty())
    }

    pub(super) fn topics(&self) -> impl ExactSizeIterator<Item = &str> {
        self.topics.iter().map(|it| self.span(*it))
    }

    pub(super) fn brokers(&self) -> impl ExactSizeIterator<Item = &str> {
        self.brokers.iter().map(|it| self.span(*it))
    }

    pub(super) fn topic(&self, partition: &Partition) -> &str {
        let topic = usize::try_from(partition.topic).ok().and_then(|it| self.topics.get(it));
        topic.map_or("", |it| self.span(*it))
    }

    /// All plain fields; `None` if there are none.
    pub(super) fn fields(&self) -> Option<&str> {
        (!self.fields.is_empty()).then(|| json::text(&self.fields))
    }

    pub(super) fn held(&self) -> usize {
        self.text.capacity()
            + (self.topics.capacity() + self.brokers.capacity()) * size_of::<Span>()
            + self.partitions.capacity() * size_of::<Partition>()
            + self.records.held()
            + self.fields.capacity()
    }

    /// Keeps a text that comes once; of several, the first.
    pub(super) fn set_word(&mut self, word: Word, bytes: &[u8]) {
        if self.word(word).is_none()
            && let Some(span) = self.keep(bytes)
            && let Some(slot) = self.words.get_mut(word as usize)
        {
            *slot = span;
        }
    }

    fn span(&self, span: Span) -> &str {
        self.text.get(span.from as usize..span.to as usize).unwrap_or_default()
    }

    fn keep(&mut self, bytes: &[u8]) -> Option<Span> {
        if self.text.len() > TEXT_BYTES {
            return None;
        }
        let text = text(bytes);
        if self.text.is_empty() {
            self.text.reserve(EXPECTED_TEXT_BYTES);
        }
        let from = u32::try_from(self.text.len()).ok()?;
        self.text.push_str(json::start(&text, WORD_BYTES));
        Some(Span { from, to: u32::try_from(self.text.len()).ok()? })
    }
}

/// Names of topics by their ids, as a connection was told them.
#[derive(Debug, Default)]
pub(super) struct TopicNames(VecDeque<([u8; 16], Box<str>)>);

impl TopicNames {
    pub(super) fn held(&self) -> usize {
        self.0.iter().map(|it| size_of_val(it) + it.1.len()).sum()
    }

    fn name(&self, id: &[u8]) -> Option<&str> {
        self.0.iter().find(|it| it.0 == id).map(|it| &*it.1)
    }

    fn learn(&mut self, id: &[u8], name: &str) {
        let Ok(id) = <[u8; 16]>::try_from(id) else { return };
        if self.0.iter().any(|it| it.0 == id && &*it.1 == name) {
            return;
        }
        self.0.retain(|it| it.0 != id);
        if self.0.len() >= TOPIC_NAMES {
            self.0.pop_front();
        }
        self.0.push_back((id, name.into()));
    }
}

/// One message under way.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) body: Box<Body>,
    /// Whether bytes were not captured.
    pub(super) is_holed: bool,
    /// Whether its bytes don't fit the steps: the rest of it is left unread.
    pub(super) is_broken: bool,
    steps: &'static [Step],
    /// The next step.
    at: usize,
    frames: [Frame; DEPTH],
    depth: usize,
    /// Bytes of the message that have not come.
    left: u64,
    /// Bytes that nobody reads.
    skip: u64,
    /// The start of a value that has not all come.
    carry: Vec<u8>,
    /// Bytes of records that have not been read.
    records: u64,
    batch: Option<Batch>,
    /// Whether the element being read has said its topic's name.
    is_named: bool,
    /// Whether the topic being read is kept.
    has_topic: bool,
    /// Whether the partition being read is kept.
    has_partition: bool,
    /// Whether the setting being read is a secret.
    is_secret: bool,
    /// Arrays and groups of which no fields are kept, each within the other.
    muted: u32,
    /// Bytes kept of a batch.
    most_kept: usize,
    /// Bytes that a batch may be opened to.
    most_decompressed: usize,
}

/// An array or group being read.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// The first step of an element.
    begin: usize,
    /// Elements left, with the one being read.
    left: u64,
    shape: Shape,
    is_mute: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    #[default]
    Plain,
    Named,
    Group,
}

/// A batch of records that has not all come.
#[derive(Debug)]
struct Batch {
    head: Head,
    left: u64,
    /// Its start, if it is kept.
    kept: Option<Vec<u8>>,
}

/// Why a step was not taken.
enum Halt {
    /// The value has not all come.
    Short,
    /// This is no such value.
    Broken,
}

impl Reader {
    /// For a message of which `left` bytes follow.
    pub(super) fn new(steps: &'static [Step], body: Box<Body>, left: u64) -> Self {
        // What these say stands in columns; most of all messages are such.
        let is_quiet = matches!(body.key, Some(PRODUCE | FETCH));
        Self {
            body,
            is_holed: false,
            is_broken: false,
            steps,
            at: 0,
            frames: [Frame::default(); DEPTH],
            depth: 0,
            left,
            skip: 0,
            carry: Vec::new(),
            records: 0,
            batch: None,
            is_named: false,
            has_topic: false,
            has_partition: false,
            is_secret: false,
            muted: u32::from(is_quiet),
            most_kept: 0,
            most_decompressed: 0,
        }
    }

    /// Keeps neither records nor fields: nobody will look at them.
    pub(super) fn keep_little(&mut self) {
        self.muted += 1;
        self.body.records = Kept::default();
    }

    /// Reads what came of the message; whether that was its end.
    pub(super) fn feed(&mut self, input: &mut Input<'_>, names: &mut TopicNames) -> bool {
        self.most_kept = input.limits().body_bytes;
        self.most_decompressed = input.limits().decompressed_bytes;
        if self.left > 0 {
            let Ok(bytes) = input.some(self.left) else { return false };
            self.left -= bytes.len() as u64;
            if self.carry.is_empty() {
                let used = self.run(bytes, names);
                if self.left > 0 {
                    self.carry.extend_from_slice(bytes.get(used..).unwrap_or_default());
                }
            } else {
                let mut carry = std::mem::take(&mut self.carry);
                carry.extend_from_slice(bytes);
                let used = self.run(&carry, names);
                carry.drain(..used.min(carry.len()));
                self.carry = carry;
            }
        } else if self.at == 0 {
            self.run(&[], names);
        }
        if self.left > 0 {
            return false;
        }
        self.finish();
        true
    }

    /// `missing` bytes did not come; whether the message reaches beyond them.
    pub(super) fn hole(&mut self, missing: u64) -> bool {
        if missing > self.left {
            return false;
        }
        self.left -= missing;
        self.is_holed = true;
        let carried = std::mem::take(&mut self.carry).len() as u64;
        if carried == 0 && missing <= self.skip {
            self.skip -= missing;
            return true;
        }
        let in_batch = self.batch.as_ref().map_or(0, |it| it.left);
        if carried == 0 && self.skip == 0 && missing <= in_batch {
            self.keep_batch();
            if let Some(batch) = &mut self.batch {
                batch.left -= missing;
            }
            self.records = self.records.saturating_sub(missing);
        } else if self.skip == 0 && carried + missing <= self.records {
            // Where the next batch begins is not known.
            self.keep_batch();
            self.batch = None;
            self.skip = self.records - carried - missing;
            self.records = 0;
        } else {
            self.give_up();
        }
        true
    }

    /// About how many bytes it holds on to.
    pub(super) fn held(&self) -> usize {
        let batch = self.batch.as_ref().and_then(|it| it.kept.as_ref());
        size_of::<Self>()
            + self.body.held()
            + self.carry.capacity()
            + batch.map_or(0, Vec::capacity)
    }

    /// Ends what is under way, as no more comes.
    pub(super) fn finish(&mut self) {
        self.keep_batch();
        self.body.records.finish();
        self.close_fields();
    }

    /// What follows is not read.
    fn give_up(&mut self) {
        self.at = self.steps.len();
        self.records = 0;
        self.batch = None;
        self.skip = 0;
    }

    /// Reads as far as it goes; how many bytes were used.
    fn run(&mut self, bytes: &[u8], names: &mut TopicNames) -> usize {
        let mut cursor = Cursor { bytes, at: 0 };
        loop {
            let before = cursor.at;
            let taken = if self.skip > 0 {
                let n = self.skip.min(cursor.rest().len() as u64);
                self.skip -= n;
                cursor.advance(n);
                if self.skip > 0 { Err(Halt::Short) } else { Ok(()) }
            } else if self.records > 0 {
                self.batches(&mut cursor)
            } else if let Some(step) = self.steps.get(self.at) {
                self.step(step, &mut cursor, names)
            } else {
                // Behind the last field nothing should follow.
                let is_known = self.steps.len() > 1;
                self.is_broken |= is_known && !self.is_holed && !cursor.rest().is_empty();
                return bytes.len();
            };
            match taken {
                Ok(()) => {}
                Err(Halt::Short) if self.left > 0 => {
                    if self.records == 0 && self.skip == 0 {
                        cursor.at = before;
                    }
                    return cursor.at;
                }
                Err(_) => {
                    self.is_broken |= !self.is_holed;
                    self.give_up();
                }
            }
        }
    }

    fn step(
        &mut self,
        step: &Step,
        cursor: &mut Cursor<'_>,
        names: &mut TopicNames,
    ) -> Result<(), Halt> {
        let there = cursor.rest().len() as u64 + self.left;
        let mut next = self.at + 1;
        match step.kind {
            Kind::Flag => {
                let value = cursor.u8()? != 0;
                if self.begin_field(step) {
                    self.body.fields.extend_from_slice(if value {
                        b"true".as_slice()
                    } else {
                        b"false"
                    });
                }
            }
            Kind::I8 => {
                let value = i64::from(cursor.u8()?.cast_signed());
                self.number(step, value);
            }
            Kind::I16 => {
                let value = i64::from(i16::from_be_bytes(cursor.array()?));
                self.number(step, value);
            }
            Kind::U16 => {
                let value = i64::from(u16::from_be_bytes(cursor.array()?));
                self.number(step, value);
            }
            Kind::I32 => {
                let value = i64::from(i32::from_be_bytes(cursor.array()?));
                self.number(step, value);
            }
            Kind::U32 => {
                let value = i64::from(u32::from_be_bytes(cursor.array()?));
                self.number(step, value);
            }
            Kind::I64 => {
                let value = i64::from_be_bytes(cursor.array()?);
                self.number(step, value);
            }
            Kind::F64 => {
                let value = f64::from_be_bytes(cursor.array()?);
                if self.begin_field(step) {
                    let value = if value.is_finite() { value.to_string() } else { "null".into() };
                    self.body.fields.extend_from_slice(value.as_bytes());
                }
            }
            Kind::Uuid => {
                let id: [u8; 16] = cursor.array()?;
                self.uuid(step, &id, names);
            }
            Kind::Text | Kind::CompactText => {
                let length = match step.kind {
                    Kind::Text => i64::from(i16::from_be_bytes(cursor.array()?)),
                    _ => i64::from(cursor.varint()?) - 1,
                };
                if length > i64::from(i16::MAX) {
                    return Err(Halt::Broken);
                }
                let bytes = match usize::try_from(length) {
                    Ok(length) if length as u64 > there => return Err(Halt::Broken),
                    Ok(length) => Some(cursor.take(length)?),
                    Err(_) => None,
                };
                self.text(step, bytes);
            }
            Kind::Bytes | Kind::CompactBytes => {
                let length = cursor.long_length(step.kind == Kind::CompactBytes)?;
                if length.is_some_and(|it| it > there) {
                    return Err(Halt::Broken);
                }
                match length {
                    Some(length) if step.what == What::Auth && length <= AUTH_BYTES => {
                        let bytes = cursor.take(usize::try_from(length).unwrap_or_default())?;
                        if let Some(user) = user(bytes) {
                            self.body.set_word(Word::User, user);
                        }
                    }
                    Some(length) => self.skip = length,
                    None => {}
                }
                if self.begin_field(step) {
                    self.bytes_field(step.what, length);
                }
            }
            Kind::Records | Kind::CompactRecords => {
                let length = cursor.long_length(step.kind == Kind::CompactRecords)?.unwrap_or(0);
                if length > there {
                    return Err(Halt::Broken);
                }
                self.records = length;
                self.body.has_records = true;
                self.body.records.bytes += length;
            }
            Kind::Plain | Kind::Array | Kind::CompactPlain | Kind::CompactArray => {
                let count = match step.kind {
                    Kind::Plain | Kind::Array => i64::from(i32::from_be_bytes(cursor.array()?)),
                    _ => i64::from(cursor.varint()?) - 1,
                };
                let shape = match step.kind {
                    Kind::Plain | Kind::CompactPlain => Shape::Plain,
                    _ => Shape::Named,
                };
                next = self.begin_array(step, shape, count, there)?;
            }
            Kind::Next => next = self.next_element(),
            Kind::Group | Kind::OptionalGroup => {
                let is_there = step.kind == Kind::Group || cursor.u8()?.cast_signed() >= 0;
                let is_kept = self.begin_field(step);
                if is_there {
                    if is_kept {
                        self.body.fields.push(b'{');
                    }
                    self.push(Frame { shape: Shape::Group, ..Frame::default() })?;
                } else {
                    if is_kept {
                        self.body.fields.extend_from_slice(b"null");
                    }
                    next = step.end;
                }
            }
            Kind::GroupEnd => {
                self.depth = self.depth.saturating_sub(1);
                if self.muted == 0 {
                    self.body.fields.push(b'}');
                }
            }
            Kind::Tags => {
                let from = cursor.at;
                let count = cursor.varint()?;
                for _ in 0..count {
                    cursor.varint()?;
                    let size = cursor.varint()? as usize;
                    if size as u64 > there || cursor.at - from > TAGS_BYTES {
                        return Err(Halt::Broken);
                    }
                    cursor.take(size)?;
                }
            }
        }
        self.at = next;
        Ok(())
    }

    fn push(&mut self, frame: Frame) -> Result<(), Halt> {
        *self.frames.get_mut(self.depth).ok_or(Halt::Broken)? = frame;
        self.depth += 1;
        Ok(())
    }

    /// An array of `count` elements begins; the step that is next.
    fn begin_array(
        &mut self,
        step: &Step,
        shape: Shape,
        count: i64,
        there: u64,
    ) -> Result<usize, Halt> {
        let count = u64::try_from(count).ok();
        // An element takes a byte at least.
        if count.is_some_and(|it| it > there) {
            return Err(Halt::Broken);
        }
        let is_kept = self.begin_field(step);
        match count {
            None | Some(0) => {
                if is_kept {
                    self.body.fields.extend_from_slice(if count.is_none() {
                        b"null".as_slice()
                    } else {
                        b"[]"
                    });
                }
                Ok(step.end)
            }
            Some(left) => {
                if is_kept {
                    self.body.fields.push(b'[');
                }
                let begin = self.at + 1;
                self.push(Frame { begin, left, shape, is_mute: false })?;
                self.begin_element();
                Ok(begin)
            }
        }
    }

    fn begin_element(&mut self) {
        let is_full = self.body.fields.len() > FIELDS_BYTES;
        let Some(frame) = self.depth.checked_sub(1).and_then(|it| self.frames.get_mut(it)) else {
            return;
        };
        if is_full && !frame.is_mute {
            frame.is_mute = true;
            self.muted += 1;
        }
        self.is_named = false;
        if self.muted == 0 && frame.shape == Shape::Named {
            if self.body.fields.ends_with(b"}") {
                self.body.fields.push(b',');
            }
            self.body.fields.push(b'{');
        }
    }

    /// An element ends; the step that is next.
    fn next_element(&mut self) -> usize {
        let Some(frame) = self.depth.checked_sub(1).and_then(|it| self.frames.get_mut(it)) else {
            return self.steps.len();
        };
        if self.muted == 0 && frame.shape == Shape::Named {
            self.body.fields.push(b'}');
        }
        frame.left = frame.left.saturating_sub(1);
        if frame.left > 0 {
            let begin = frame.begin;
            self.begin_element();
            return begin;
        }
        if frame.is_mute {
            self.muted -= 1;
        }
        if self.muted == 0 {
            self.body.fields.push(b']');
        }
        self.depth -= 1;
        self.at + 1
    }

    /// Writes a field's name, unless it is not kept.
    fn begin_field(&mut self, step: &Step) -> bool {
        if self.muted > 0 || step.what == What::Client {
            return false;
        }
        let fields = &mut self.body.fields;
        let label = step.label.as_bytes();
        // The label begins with a comma.
        match fields.last() {
            None => {
                fields.reserve(EXPECTED_BYTES);
                fields.push(b'{');
                fields.extend_from_slice(label.get(1..).unwrap_or_default());
            }
            Some(b'{' | b'[') => {
                fields.extend_from_slice(label.get(1..).unwrap_or_default());
            }
            Some(_) => fields.extend_from_slice(label),
        }
        true
    }

    /// Closes what is open: a message cut short leaves it so.
    fn close_fields(&mut self) {
        if self.body.fields.is_empty() {
            return;
        }
        while let Some(depth) = self.depth.checked_sub(1) {
            let frame = self.frames.get(depth).copied().unwrap_or_default();
            if self.muted == 0 && frame.shape != Shape::Plain {
                self.body.fields.push(b'}');
            }
            if frame.is_mute {
                self.muted -= 1;
            }
            if self.muted == 0 && frame.shape != Shape::Group {
                self.body.fields.push(b']');
            }
            self.depth = depth;
        }
        self.body.fields.push(b'}');
    }

    fn number(&mut self, step: &Step, value: i64) {
        if self.begin_field(step) {
            json::number(&mut self.body.fields, value);
        }
        let narrow = i32::try_from(value).unwrap_or_default();
        let body = &mut self.body;
        match step.what {
            What::Acks => body.acks = Some(narrow),
            What::Error => {
                body.has_errors = true;
                let code = i16::try_from(value).unwrap_or_default();
                if code != 0
                    && body.errors.len() < ERRORS
                    && let Err(place) = body.errors.binary_search(&code)
                {
                    body.errors.insert(place, code);
                }
            }
            What::Generation => body.generation = body.generation.or(Some(narrow)),
            What::KeyType => body.key_type = value,
            What::Offset => {
                let last = body.partitions.last_mut().filter(|_| self.has_partition);
                if let Some(partition) = last {
                    partition.offset = partition.offset.or(Some(value));
                }
            }
            What::Partition => {
                self.has_partition = self.has_topic && body.partitions.len() < PARTITIONS;
                if self.has_partition {
                    let topic =
                        u32::try_from(body.topics.len()).unwrap_or_default().wrapping_sub(1);
                    body.partitions.push(Partition { topic, number: narrow, offset: None });
                }
            }
            What::Port => {
                if let Some(broker) = body.brokers.last_mut()
                    && broker.to as usize == body.text.len()
                {
                    body.text.push(':');
                    body.text.push_str(&value.to_string());
                    broker.to = u32::try_from(body.text.len()).unwrap_or_default();
                }
            }
            What::Producer => body.producer = body.producer.or(Some(value)),
            What::Throttle => body.throttle = Some(value),
            _ => {}
        }
    }

    fn text(&mut self, step: &Step, bytes: Option<&[u8]>) {
        let is_hidden = match step.what {
            What::Secret => true,
            What::ConfigValue => self.is_secret,
            _ => false,
        };
        if self.begin_field(step) {
            let fields = &mut self.body.fields;
            match bytes {
                None => fields.extend_from_slice(b"null"),
                Some(_) if is_hidden => fields.extend_from_slice(b"\"***\""),
                Some(bytes) => {
                    fields.push(b'"');
                    json::escape(fields, json::start(&text(bytes), FIELD_BYTES));
                    fields.push(b'"');
                }
            }
        }
        if step.what == What::Topic {
            self.is_named = bytes.is_some();
        }
        let Some(bytes) = bytes else { return };
        let word = match step.what {
            What::Client => Word::Client,
            What::ErrorMessage => Word::ErrorMessage,
            What::Group => Word::Group,
            What::Key => Word::Key,
            What::Mechanism => Word::Mechanism,
            What::Member => Word::Member,
            What::Software => Word::Software,
            What::SoftwareVersion => Word::SoftwareVersion,
            What::Transaction => Word::Transaction,
            What::Topic => return self.topic(bytes),
            What::Host => {
                if self.body.brokers.len() < BROKERS
                    && let Some(span) = self.body.keep(bytes)
                {
                    self.body.brokers.push(span);
                }
                return;
            }
            What::Config => {
                let name = bytes.to_ascii_lowercase();
                let is_in = |it: &&[u8]| memchr::memmem::find(&name, it).is_some();
                self.is_secret = SECRETS.iter().any(is_in);
                return;
            }
            _ => return,
        };
        self.body.set_word(word, bytes);
    }

    fn topic(&mut self, name: &[u8]) {
        let body = &mut self.body;
        let span = if body.topics.len() < TOPICS { body.keep(name) } else { None };
        self.has_topic = span.is_some();
        body.topics.extend(span);
    }

    fn uuid(&mut self, step: &Step, id: &[u8; 16], names: &mut TopicNames) {
        let is_none = *id == [0; 16];
        if self.begin_field(step) {
            if is_none {
                self.body.fields.extend_from_slice(b"null");
            } else {
                self.body.fields.push(b'"');
                json::uuid(&mut self.body.fields, id);
                self.body.fields.push(b'"');
            }
        }
        if step.what != What::TopicId || is_none {
            return;
        }
        if self.is_named {
            if self.has_topic
                && let Some(topic) = self.body.topics.last()
            {
                names.learn(id, self.body.span(*topic));
            }
        } else if let Some(name) = names.name(id) {
            self.topic(name.as_bytes());
        } else {
            let mut name = Vec::with_capacity(22);
            json::uuid(&mut name, id);
            self.topic(&name);
        }
    }

    fn bytes_field(&mut self, what: What, length: Option<u64>) {
        let fields = &mut self.body.fields;
        match length {
            None => fields.extend_from_slice(b"null"),
            Some(_) if matches!(what, What::Auth | What::Secret) => {
                fields.extend_from_slice(b"\"***\"")
            }
            Some(length) => {
                fields.push(b'"');
                json::number(fields, i64::try_from(length).unwrap_or(i64::MAX));
                fields.extend_from_slice(b" bytes\"");
            }
        }
    }

    /// Reads batches of records, until they end or no more has come.
    fn batches(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Halt> {
        while self.records > 0 {
            let rest = cursor.rest();
            if let Some(batch) = &mut self.batch {
                let n = batch.left.min(rest.len() as u64);
                let part = usize::try_from(n).ok().and_then(|it| rest.get(..it)).unwrap_or(rest);
                if let Some(kept) = &mut batch.kept {
                    let room = self.most_kept.saturating_sub(kept.len());
                    kept.extend_from_slice(part.get(..room).unwrap_or(part));
                }
                batch.left -= n;
                self.records -= n;
                cursor.advance(n);
                if batch.left > 0 {
                    return Err(Halt::Short);
                }
                self.keep_batch();
                self.batch = None;
                continue;
            }
            let most = self.records.min(Head::BYTES as u64);
            if (rest.len() as u64) < most {
                return Err(Halt::Short);
            }
            let head = Head::of(rest).filter(|it| it.size <= self.records);
            let Some(head) = head else {
                // The last one may be cut short, as the size of an answer is bounded.
                self.skip = self.records;
                self.records = 0;
                return Ok(());
            };
            self.body.records.begin(head);
            let whole = usize::try_from(head.size).ok().and_then(|it| rest.get(..it));
            if let Some(bytes) = whole {
                self.decode(head, bytes);
                self.records -= head.size;
                cursor.advance(head.size);
                continue;
            }
            let is_kept = !self.body.records.is_full();
            let size = usize::try_from(head.size).unwrap_or(usize::MAX);
            let kept = is_kept.then(|| Vec::with_capacity(size.min(self.most_kept)));
            self.batch = Some(Batch { head, left: head.size, kept });
        }
        Ok(())
    }

    /// Keeps the records of the batch under way, of which no more comes.
    fn keep_batch(&mut self) {
        let batch = self.batch.as_mut().and_then(|it| Some((it.head, it.kept.take()?)));
        if let Some((head, bytes)) = batch {
            self.decode(head, &bytes);
        }
    }

    fn decode(&mut self, head: Head, bytes: &[u8]) {
        let body = &mut self.body;
        if body.records.is_full() {
            return;
        }
        let last = body.partitions.last().filter(|_| self.has_partition);
        let topic = match last {
            Some(partition) => body.topics.get(partition.topic as usize).copied(),
            None => None,
        };
        let number = last.map_or(-1, |it| it.number);
        let span = topic.unwrap_or_default();
        let topic = body.text.get(span.from as usize..span.to as usize).unwrap_or_default();
        body.records.batch(head, bytes, topic, number, self.most_decompressed);
    }
}

/// A place in the bytes that have come.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, n: u64) {
        self.at += usize::try_from(n).unwrap_or(0);
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Halt> {
        let taken = self.rest().get(..n).ok_or(Halt::Short)?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Halt> {
        let taken = self.rest().first_chunk().ok_or(Halt::Short)?;
        self.at += N;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Halt> {
        self.array::<1>().map(|[it]| it)
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self) -> Result<u32, Halt> {
        let mut value = 0;
        for place in 0..5 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Halt::Broken)
    }

    /// The length of bytes or records; `None` for none.
    fn long_length(&mut self, is_compact: bool) -> Result<Option<u64>, Halt> {
        Ok(if is_compact {
            self.varint()?.checked_sub(1).map(u64::from)
        } else {
            u64::try_from(i32::from_be_bytes(self.array()?)).ok()
        })
    }
}

/// Who says to be who in the first words of SASL: PLAIN (RFC 4616), SCRAM (RFC 5802), or
/// OAUTHBEARER (RFC 7628). What proves it is not looked at.
pub(super) fn user(bytes: &[u8]) -> Option<&[u8]> {
    let mut parts = bytes.split(|it| *it == 0);
    if let (Some(_), Some(user), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    {
        return Some(user);
    }
    let head = bytes.strip_prefix(b"n,").or_else(|| bytes.strip_prefix(b"y,"))?;
    let mut parts = head.split(|it| matches!(it, b',' | 1)).take(2);
    let first = parts.next()?;
    match first.strip_prefix(b"a=") {
        Some(user) => Some(user),
        None => parts.next()?.strip_prefix(b"n="),
    }
}

/// Kinds of [`Word`].
const WORDS: usize = 10;

/// Bytes of all texts kept of a message, about.
const TEXT_BYTES: usize = 64 << 10;

/// Bytes of all texts of most messages.
const EXPECTED_TEXT_BYTES: usize = 64;

/// Bytes kept of one text; a topic's name has up to 249.
const WORD_BYTES: usize = 1024;

/// Bytes of the fields kept of a message, about.
const FIELDS_BYTES: usize = 2 << 10;

/// Bytes of the fields of most messages.
const EXPECTED_BYTES: usize = 256;

/// Bytes kept of a text among the fields.
const FIELD_BYTES: usize = 256;

/// Topics kept of a message.
const TOPICS: usize = 1024;

/// Partitions kept of a message.
const PARTITIONS: usize = 256;

/// Brokers kept of a message.
const BROKERS: usize = 64;

/// Errors kept of a message.
const ERRORS: usize = 16;

/// Names remembered on a connection.
const TOPIC_NAMES: usize = 256;

/// Bytes of SASL's first words, at most.
const AUTH_BYTES: u64 = 4096;

/// Bytes of tagged fields, at most; they wait until all have come.
const TAGS_BYTES: usize = 8 << 10;

/// What settings that hold secrets are called.
const SECRETS: &[&[u8]] = &[b"password", b"secret", b"jaas", b"token", b"credential", b"key"];
