//! Being written.
use crate::exchange::{Exchange, Message, Open, Side, Summary};
use crate::input::{Input, Stop};
use super::{Dissect, Guess, Head, Transport};

/// Being written.
#[derive(schema::Record)]
pub(super) struct Redis {
    /// Being written.
    id: u64,
}

/// Being written.
#[derive(Debug, Default)]
pub(super) struct Dissector;

impl Dissect for Dissector {
    const NAME: &'static str = "redis";
    const TRANSPORTS: &'static [Transport] = &[Transport::Tcp];
    const PORTS: &'static [u16] = &[6379];
    type Body = u64;
    type Columns = RedisColumns;
    fn guess(_: &Head<'_>) -> Guess { Guess::No }
    fn parse(&mut self, _: Side, _: &mut Input<'_>, _: &Open<u64>) -> Result<Message<u64>, Stop> { Err(Stop::Lost) }
    fn record(it: Exchange<'_, u64>) -> (Summary<'_>, Redis) {
        (Summary::default(), Redis { id: it.request.or(it.response).copied().unwrap_or_default() })
    }
    fn weight(_: &u64) -> usize { 0 }
}
