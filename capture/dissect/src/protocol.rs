//! The protocols we speak, and what it takes to be one.
use schema::value::Columns;

use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::session::{Session, Work};
use crate::tables::{AnyRows, Rows};

mod dns;
mod http;
mod quic;
mod redis;
mod tls;

/// Every protocol. To add one: write its file, add its two lines here.
pub static PROTOCOLS: &[Protocol] = &[
    Protocol::of::<dns::Dissector>(),
    Protocol::of::<http::Dissector>(),
    Protocol::of::<quic::Dissector>(),
    Protocol::of::<redis::Dissector>(),
    Protocol::of::<tls::Dissector>(),
];

/// Reads one protocol. The struct holds what a flow must remember between messages.
pub trait Dissect: Default + Send + 'static {
    /// Its name in the `protocol` column.
    const NAME: &'static str;
    /// What carries it.
    const TRANSPORTS: &'static [Transport];
    /// The ports it usually listens on: a hint, never proof.
    const PORTS: &'static [u16];
    /// One request, response or notice, as it is kept until its row is written.
    type Body: Send + 'static;
    /// Its table.
    type Columns: Columns;

    /// Could a flow begin like this? Looks at the first bytes only; must be cheap.
    fn guess(head: &Head<'_>) -> Guess;

    /// The next message `side` sent; `open` has the requests without an answer so far. Change
    /// `self` only once nothing can stop any more, or right before [`Input::commit`].
    fn parse(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        open: &Open<Self::Body>,
    ) -> Result<Message<Self::Body>, Stop>;

    /// A request and its response, or one of them alone, as a row.
    fn record(
        exchange: Exchange<'_, Self::Body>,
    ) -> (Summary<'_>, <Self::Columns as Columns>::Row<'_>);

    /// About how many bytes a body holds on to, so that memory stays bounded.
    fn weight(body: &Self::Body) -> usize;

    /// About how many bytes the dissector itself holds on to: messages half read.
    fn held(&self) -> usize {
        0
    }

    /// `missing` bytes of `side` were not captured. `Ok` if the message under way can do without
    /// them (a body of known length); `Err` gives it up, and [`Dissect::resync`] is asked next.
    fn gap(&mut self, _side: Side, _missing: u64) -> Result<(), Stop> {
        Err(Stop::Lost)
    }

    /// After a gap or nonsense: forgets the message that `side` was in, and uses up what lies before
    /// the next place where one may begin. `More` keeps what was not committed. By default, the flow
    /// is given up.
    fn resync(&mut self, _side: Side, _input: &mut Input<'_>) -> Result<(), Stop> {
        Err(Stop::Lost)
    }

    /// `side` sends no more: the message that ends with the connection, if one is under way.
    fn end(&mut self, _side: Side) -> Option<Message<Self::Body>> {
        None
    }
}

/// What carries a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A stream of bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

/// The first bytes a side sent.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// All of them so far; of UDP, the first datagram.
    pub bytes: &'a [u8],
    /// Who sent them.
    pub side: Side,
    /// What carried them.
    pub transport: Transport,
    /// The server's port.
    pub port: u16,
}

/// How much a flow's first bytes look like a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guess {
    /// Not at all.
    No,
    /// Not to be told from so few bytes.
    More,
    /// Weak evidence: a known port decides.
    Maybe,
    /// No doubt.
    Sure,
}

/// One line of [`PROTOCOLS`]: a [`Dissect`] with its types erased.
#[derive(Debug)]
pub struct Protocol {
    /// Its name in the `protocol` column.
    pub name: &'static str,
    /// What carries it.
    pub transports: &'static [Transport],
    /// The ports it usually listens on.
    pub ports: &'static [u16],
    /// See [`Dissect::guess`].
    pub guess: fn(&Head<'_>) -> Guess,
    pub(crate) open: fn(table: usize) -> Box<dyn Work>,
    pub(crate) rows: fn() -> Box<dyn AnyRows>,
    /// The columns beside the envelope's.
    pub(crate) table: fn() -> schema::Table,
}

impl Protocol {
    const fn of<D: Dissect>() -> Self {
        Self {
            name: D::NAME,
            transports: D::TRANSPORTS,
            ports: D::PORTS,
            guess: D::guess,
            open: |table| Box::new(Session::<D>::new(table)),
            rows: || Box::new(Rows::<D::Columns>::default()),
            table: || D::Columns::TABLE,
        }
    }
}
