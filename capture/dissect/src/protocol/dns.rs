//! Being written.
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use super::{Dissect, Guess, Head, Transport};

/// Being written.
#[derive(schema::Record)]
pub(super) struct Dns {
    /// Being written.
    id: u64,
}

/// Being written.
#[derive(Debug, Default)]
pub(super) struct Dissector;

impl Dissect for Dissector {
    const NAME: &'static str = "dns";
    const TRANSPORTS: &'static [Transport] = &[Transport::Udp];
    const PORTS: &'static [u16] = &[53];
    type Body = u64;
    type Columns = DnsColumns;
    fn guess(_: &Head<'_>) -> Guess { Guess::No }
    fn parse(&mut self, _: Side, _: &mut Input<'_>, _: &Open<u64>) -> Result<Message<u64>, Stop> { Err(Stop::Lost) }
    fn record(it: Exchange<'_, u64>) -> (Summary<'_>, Dns) {
        (Summary::default(), Dns { id: it.request.or(it.response).copied().unwrap_or_default() })
    }
    fn weight(_: &u64) -> usize { 0 }
}
