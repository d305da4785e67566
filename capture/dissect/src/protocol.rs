//! The protocols we speak, and what it takes to be one.
use std::any::TypeId;

use schema::value::Columns;

pub use self::tls::decrypt::Secrets;
pub(crate) use self::tls::decrypt::{Decryption, Said};

use crate::exchange::{Exchange, Learned, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use crate::session::{Session, Silence, Work};
use crate::tables::{Also, builder_of};

mod amqp;
mod cassandra;
mod common;
mod dhcp;
mod dhcpv6;
mod diameter;
mod dns;
mod ftp;
mod graphql;
mod grpc;
mod http;
mod http2;
mod icmp;
mod kafka;
mod kerberos;
mod ldap;
mod memcached;
mod mongodb;
mod mqtt;
mod mysql;
mod nats;
mod ntp;
mod postgresql;
mod quic;
mod radius;
mod redis;
mod sctp;
mod sip;
mod smtp;
mod sse;
mod tls;
mod websocket;

/// Which rows the dissectors make of the same packets. Whoever changes that, be it a new protocol or
/// a repaired column, adds one: nodes then know which of their rows `kubeshark dissect --again` would
/// make anew.
pub const PARSER_VERSION: u32 = 1;

/// Every protocol. To add one: write its file, add its two lines here.
pub static PROTOCOLS: &[Protocol] = &[
    Protocol::of::<amqp::Dissector>(),
    Protocol::of::<cassandra::Dissector>(),
    Protocol::of::<dhcp::Dissector>(),
    Protocol::of::<dhcpv6::Dissector>(),
    Protocol::of::<diameter::Dissector>(),
    Protocol::of::<dns::Dissector>(),
    Protocol::of::<ftp::Dissector>(),
    Protocol::derived::<graphql::GraphqlColumns>("graphql"),
    Protocol::derived::<grpc::GrpcColumns>("grpc"),
    Protocol::of::<http2::Dissector>(),
    Protocol::of::<http::Dissector>(),
    Protocol::of::<icmp::Dissector>(),
    Protocol::of::<icmp::DissectorV6>(),
    Protocol::of::<kafka::Dissector>(),
    Protocol::of::<kerberos::Dissector>(),
    Protocol::of::<ldap::Dissector>(),
    Protocol::of::<memcached::Dissector>(),
    Protocol::of::<mongodb::Dissector>(),
    Protocol::of::<mqtt::Dissector>(),
    Protocol::of::<mysql::Dissector>(),
    Protocol::of::<nats::Dissector>(),
    Protocol::of::<ntp::Dissector>(),
    Protocol::of::<postgresql::Dissector>(),
    Protocol::of::<quic::Dissector>(),
    Protocol::of::<radius::Dissector>(),
    Protocol::of::<redis::Dissector>(),
    Protocol::of::<sctp::Dissector>(),
    Protocol::of::<sip::Dissector>(),
    Protocol::of::<smtp::Dissector>(),
    Protocol::derived::<sse::SseColumns>("sse"),
    Protocol::of::<tls::Dissector>(),
    Protocol::of::<websocket::Dissector>(),
];

/// Reads one protocol. The struct holds what a flow must remember between messages.
pub trait Dissect: Default + Send + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its name in the `protocol` column: the same, unless several are versions of one. Those have
    /// one table, too.
    const SPOKEN: &'static str = Self::NAME;
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

    /// The same without the row, for when nobody looks at its own columns.
    fn summary(exchange: Exchange<'_, Self::Body>) -> Summary<'_> {
        Self::record(exchange).0
    }

    /// Columns of its own that cost no more to tell than the summary does.
    const BRIEF: &'static [&'static str] = &[];

    /// The same with the row, for when nobody looks at other columns of its own than [`Self::BRIEF`].
    fn brief(
        exchange: Exchange<'_, Self::Body>,
    ) -> (Summary<'_>, <Self::Columns as Columns>::Row<'_>) {
        Self::record(exchange)
    }

    /// Rows in other tables that the exchange gives besides its own.
    fn also(_exchange: &Exchange<'_, Self::Body>, _also: &mut Also<'_>) {}

    /// Another protocol led here, by an upgrade, and left a note. Not asked if there is none.
    fn handed(&mut self, _note: &str) {}

    /// Another message that ended where the last one did.
    fn more(&mut self, _side: Side) -> Option<Message<Self::Body>> {
        None
    }

    /// Whether a message of `side` with this key, which is not zero, has begun and not ended: an
    /// answer waits for its request, and a request for its answer, however long it takes.
    fn under_way(&self, _side: Side, _key: u64) -> bool {
        false
    }

    /// What a message tells of its conversation, or of another to come.
    fn learned(_body: &Self::Body) -> Option<Learned> {
        None
    }

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

    /// Bytes are missing, and the message under way, if there is one, is cut off there: what there
    /// is of it.
    fn cut(&mut self, side: Side) -> Option<Message<Self::Body>> {
        self.end(side)
    }

    /// After a gap or nonsense: forgets the message that `side` was in, and uses up what lies before
    /// the next place where one may begin. `More` keeps what was not committed. By default, the flow
    /// is given up.
    fn resync(&mut self, _side: Side, _input: &mut Input<'_>) -> Result<(), Stop> {
        Err(Stop::Lost)
    }

    /// `side` sends no more: the message that ends with the connection, if one is under way. Asked
    /// until there is none.
    fn end(&mut self, _side: Side) -> Option<Message<Self::Body>> {
        None
    }
}

/// What carries a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A stream of bytes.
    Tcp,
    /// Datagrams.
    Udp,
    /// Messages of an SCTP association, each a unit like a datagram.
    Sctp,
    /// ICMP messages.
    Icmp,
    /// ICMPv6 messages.
    Icmpv6,
}

impl Transport {
    /// Its name in the `transport` column (OpenTelemetry `network.transport`, where it has one).
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        }
    }

    /// Whether what it carries comes in whole units.
    pub(crate) const fn is_datagram(self) -> bool {
        !matches!(self, Self::Tcp)
    }
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
    /// Its name.
    pub name: &'static str,
    /// Its name in the `protocol` column.
    pub spoken: &'static str,
    /// What carries it; nothing, if its rows are derived from those of another.
    pub transports: &'static [Transport],
    /// The ports it usually listens on.
    pub ports: &'static [u16],
    /// See [`Dissect::guess`].
    pub guess: fn(&Head<'_>) -> Guess,
    pub(crate) open: fn(place: usize) -> Box<dyn Work>,
    /// What its rows are made of.
    pub(crate) columns: TypeId,
    /// See [`Dissect::BRIEF`].
    pub brief: &'static [&'static str],
    /// The columns beside the envelope's.
    pub(crate) table: fn() -> schema::Table,
}

impl Protocol {
    const fn of<D: Dissect>() -> Self {
        Self {
            name: D::NAME,
            spoken: D::SPOKEN,
            transports: D::TRANSPORTS,
            ports: D::PORTS,
            guess: D::guess,
            open: |place| Box::new(Session::<D>::new(builder_of(place))),
            columns: TypeId::of::<D::Columns>(),
            brief: D::BRIEF,
            table: || D::Columns::TABLE,
        }
    }

    /// Never spoken itself: its rows are told by another protocol, see [`Dissect::also`].
    const fn derived<C: Columns>(name: &'static str) -> Self {
        Self {
            name,
            spoken: name,
            transports: &[],
            ports: &[],
            guess: |_| Guess::No,
            open: |_| Box::new(Silence),
            columns: TypeId::of::<C>(),
            brief: &[],
            table: || C::TABLE,
        }
    }
}
