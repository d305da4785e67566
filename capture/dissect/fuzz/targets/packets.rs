//! The whole corridor: the input is a sequence of packets, each of a link type, a time step and a
//! length. Seeds are the fixtures' own packets.
#![no_main]

use dissect::{Config, Dissection, Limits, Link, Packet};
use libfuzzer_sys::fuzz_target;

/// What opens TLS in the fixtures.
const KEY_LOGS: [&[u8]; 2] = [
    include_bytes!("../../fixtures/tls/sessions.keys"),
    include_bytes!("../../fixtures/tls/turns.keys"),
];

fuzz_target!(|input: &[u8]| {
    let limits = Limits { flows: 64, held_bytes: 1 << 20, ..Limits::default() };
    let held = limits.held_bytes;
    let mut dissection = Dissection::new(Config { limits, ..Config::default() });
    for log in KEY_LOGS {
        dissection.learn_secrets(log);
    }
    let (mut rest, mut ts) = (input, 0i64);
    while let [link, step, high, low, body @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(body.len());
        let (data, after) = body.split_at(length);
        ts += i64::from(*step) * 1_000_000;
        let link = Link::from_dlt([1, 101, 113, 276, 0, 108][usize::from(link % 6)]);
        dissection.packet(&Packet { ts, link, interface: 0, wire_len: length as u32, data });
        assert!(dissection.held_bytes() <= held);
        rest = after;
    }
    dissection.finish();
    assert_eq!(dissection.live_flows(), 0);
    dissection.take();
});
