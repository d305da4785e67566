//! Messages, and the one rule by which they become exchanges.
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;

use crate::session::Arrival;

/// Who of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that asks.
    Client,
    /// The one that answers.
    Server,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a message is to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Wants an answer.
    Request,
    /// Answers the oldest request with the same key.
    Response,
    /// Wants no answer and answers nothing.
    Notice,
    /// Not a message but a part of the one under way: no row of its own, but perhaps in other tables.
    Part,
}

/// One protocol-level unit a side sent.
#[derive(Debug)]
pub struct Message<B> {
    /// What it is to its peer.
    pub role: Role,
    /// Which request a response answers: its id, stream or channel; zero where order decides.
    pub key: u64,
    /// The protocol's own part.
    pub body: B,
    /// Whether parts of it were not captured.
    pub incomplete: bool,
    /// What the flow speaks from here on: a protocol's name, or "" for whatever comes.
    pub becomes: Option<&'static str>,
    /// As what its sender counts in the row, where that is not what it is in the conversation: among
    /// equals either side asks.
    pub sender: Option<Side>,
    /// What that protocol should know, see [`crate::Dissect::handed`].
    pub note: String,
    /// When it began, if not with the bytes it was read from: streams may be interleaved.
    pub begun: Option<Moment>,
    /// When its last byte came, in nanoseconds since 1970, if not with the bytes it was read from.
    pub ended: Option<i64>,
    /// How long it was, if not as long as the bytes it was read from.
    pub bytes: Option<u64>,
}

/// What a message tells of its conversation, or of another to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The name by which the client calls the server (TLS's SNI).
    pub server_name: Option<String>,
    /// The protocol agreed on within the encryption (TLS's ALPN), or the first one offered.
    pub alpn: Option<String>,
    /// Whether what follows is encrypted.
    pub encrypted: bool,
    /// Where somebody will listen for a conversation that belongs to this one, and what it speaks.
    pub announces: Option<(IpAddr, u16, &'static str)>,
}

impl<B> Message<B> {
    /// One that wants an answer.
    pub fn request(body: B) -> Self {
        Self {
            role: Role::Request,
            key: 0,
            body,
            incomplete: false,
            becomes: None,
            sender: None,
            note: String::new(),
            begun: None,
            ended: None,
            bytes: None,
        }
    }

    /// One that answers.
    pub fn response(body: B) -> Self {
        Self { role: Role::Response, ..Self::request(body) }
    }

    /// One that stands alone.
    pub fn notice(body: B) -> Self {
        Self { role: Role::Notice, ..Self::request(body) }
    }

    /// What has come so far of a message under way, for [`crate::Dissect::also`]: as the response, with
    /// the request that its key finds.
    pub fn part(body: B) -> Self {
        Self { role: Role::Part, ..Self::request(body) }
    }

    /// Whose sender counts as the client, whoever opened the conversation.
    #[must_use]
    pub fn by_client(self) -> Self {
        Self { sender: Some(Side::Client), ..self }
    }

    /// Whose sender counts as the server, whoever opened the conversation.
    #[must_use]
    pub fn by_server(self) -> Self {
        Self { sender: Some(Side::Server), ..self }
    }

    /// With the key that pairs it.
    #[must_use]
    pub fn key(self, key: u64) -> Self {
        Self { key, ..self }
    }

    /// With parts missing.
    #[must_use]
    pub fn incomplete(self, incomplete: bool) -> Self {
        Self { incomplete, ..self }
    }

    /// After which the flow speaks something else.
    #[must_use]
    pub fn becomes(self, name: &'static str) -> Self {
        Self { becomes: Some(name), ..self }
    }

    /// With a note for the protocol that it becomes.
    #[must_use]
    pub fn note(self, note: String) -> Self {
        Self { note, ..self }
    }

    /// Whose first byte came before those it was read from.
    #[must_use]
    pub fn begun(self, at: Moment) -> Self {
        Self { begun: Some(at), ..self }
    }

    /// Whose last byte came before those it was read from.
    #[must_use]
    pub fn ended(self, at: Moment) -> Self {
        Self { ended: Some(at.ts()), ..self }
    }

    /// Of so many bytes.
    #[must_use]
    pub fn bytes(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }
}

/// When and where in its side's stream a byte was read; see [`crate::Input::now`].
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub(crate) arrival: Arrival,
    pub(crate) offset: u64,
}

impl Moment {
    /// When the byte was captured: nanoseconds since 1970.
    pub fn ts(self) -> i64 {
        self.arrival.ts
    }
}

/// A request with its response, or one of them alone. A notice stands as the request, or as the
/// response if the server sent it.
#[derive(Debug)]
pub struct Exchange<'a, B> {
    /// What was asked.
    pub request: Option<&'a B>,
    /// What was answered.
    pub response: Option<&'a B>,
}

/// The words every traffic list shows, whatever the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary<'a> {
    /// What was asked: a method, command or operation.
    pub verb: Cow<'a, str>,
    /// Of what: a path, key, topic or name.
    pub target: Cow<'a, str>,
    /// How it ended, as a number, where the protocol has one.
    pub status: Option<i32>,
    /// Whether the protocol calls it an error.
    pub failed: bool,
    /// What went wrong, in the protocol's words.
    pub error: Option<Cow<'a, str>>,
}

/// The requests of a flow that wait for an answer, oldest first.
#[derive(Debug)]
pub struct Open<B> {
    pub(crate) requests: VecDeque<Waiting<B>>,
    /// Up to where the server had seen the client's stream when it began its present message: it
    /// answers nothing that lies behind.
    pub(crate) reach: u64,
}

/// A message with what the flow knows of it.
#[derive(Debug)]
pub(crate) struct Waiting<B> {
    pub(crate) key: u64,
    /// Whether the sides change places in its row.
    pub(crate) turned: bool,
    pub(crate) body: B,
    pub(crate) times: Times,
    pub(crate) bytes: u64,
    pub(crate) incomplete: bool,
    /// Where in its side's stream it began.
    pub(crate) start: u64,
    /// Up to where its sender had seen the other side's stream when it began.
    pub(crate) seen: u64,
}

/// When a message's first and last byte were captured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl<B> Default for Open<B> {
    fn default() -> Self {
        Self { requests: VecDeque::new(), reach: u64::MAX }
    }
}

impl<B> Open<B> {
    /// The request which the next response with this key answers.
    pub fn oldest(&self, key: u64) -> Option<&B> {
        self.place(key).and_then(|at| self.requests.get(at)).map(|it| &it.body)
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn take(&mut self, key: u64) -> Option<Waiting<B>> {
        self.requests.remove(self.place(key)?)
    }

    fn place(&self, key: u64) -> Option<usize> {
        let at = self.requests.iter().position(|it| it.key == key)?;
        // A key says by itself which request is answered.
        let found = |it: &Waiting<B>| it.key != 0 || it.start < self.reach;
        self.requests.get(at).is_some_and(found).then_some(at)
    }
}
