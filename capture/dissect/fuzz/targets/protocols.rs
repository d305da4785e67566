//! One conversation in one protocol's hands: the first byte says whether it is TCP or UDP, two bytes
//! say on which port it is (from 0xff00 on: on which of those that protocols listen on), then come
//! pieces, each with a side and a length. Whole and cut small, it must end without a panic, and
//! every row needs bytes it was made of. That rows do not depend on the cuts is a law of streams
//! that make sense (`tests/it.rs`); where nonsense is skipped, they may.
#![no_main]

use dissect::{Config, Dissection, Keep, Link, PROTOCOLS, Packet};
use libfuzzer_sys::fuzz_target;

/// What opens TLS in the fixtures.
const KEY_LOGS: [&[u8]; 2] = [
    include_bytes!("../../fixtures/tls/sessions.keys"),
    include_bytes!("../../fixtures/tls/turns.keys"),
];

fuzz_target!(|input: &[u8]| {
    let [transport, high, low, script @ ..] = input else { return };
    let ports: Vec<u16> = PROTOCOLS.iter().flat_map(|it| it.ports).copied().chain([9999]).collect();
    let port = match high {
        0xff => ports[usize::from(*low) % ports.len()],
        _ => u16::from_be_bytes([*high, *low]),
    };
    let udp = transport & 1 == 1;
    for cut in [usize::MAX, 7] {
        // One exchange may be told in more than one table.
        assert!(run(udp, port, script, cut) <= 2 * script.len(), "more rows than bytes");
    }
});

/// How many rows the protocols get.
fn run(udp: bool, port: u16, script: &[u8], cut: usize) -> usize {
    let keep = Keep { packets: false, connections: false, ..Keep::default() };
    let mut dissection = Dissection::new(Config { keep, ..Config::default() });
    for log in KEY_LOGS {
        dissection.learn_secrets(log);
    }
    let mut sent = [1u32; 2];
    let (mut rest, mut ts) = (script, 0);
    for (from, flags) in [(0, 2), (1, 18)].into_iter().filter(|_| !udp) {
        segment(&mut dissection, port, from, [0; 2], flags, &[], ts);
    }
    while let [side, length, body @ ..] = rest {
        let from = usize::from(side & 1);
        let (data, after) = body.split_at(usize::from(*length).min(body.len()));
        ts += 1000;
        if udp {
            datagram(&mut dissection, port, from, data, ts);
            rest = after;
            continue;
        }
        for part in data.chunks(cut) {
            segment(&mut dissection, port, from, [sent[from], sent[1 - from]], 16, part, ts);
            sent[from] += part.len() as u32;
        }
        rest = after;
    }
    dissection.finish();
    let rows = dissection.take();
    rows.iter().filter(|(table, _)| table.name != "losses").map(|(_, batch)| batch.num_rows()).sum()
}

fn segment(
    dissection: &mut Dissection,
    port: u16,
    from: usize,
    [seq, ack]: [u32; 2],
    flags: u8,
    data: &[u8],
    ts: i64,
) {
    let mut out = header(6, port, from, 20 + data.len());
    out.extend(seq.to_be_bytes());
    out.extend(ack.to_be_bytes());
    out.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(data);
    read(dissection, &out, ts);
}

fn datagram(dissection: &mut Dissection, port: u16, from: usize, data: &[u8], ts: i64) {
    let mut out = header(17, port, from, 8 + data.len());
    out.extend(((8 + data.len()) as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(data);
    read(dissection, &out, ts);
}

/// An IPv4 header, and the ports behind it.
fn header(protocol: u8, port: u16, from: usize, length: usize) -> Vec<u8> {
    let mut ports = [40_000, port];
    let mut hosts = [1, 2];
    ports.rotate_left(from);
    hosts.rotate_left(from);
    let total = (20 + length) as u16;
    let mut out = vec![0x45, 0];
    out.extend(total.to_be_bytes());
    out.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, hosts[0], 10, 0, 0, hosts[1]]);
    out.extend(ports[0].to_be_bytes());
    out.extend(ports[1].to_be_bytes());
    out
}

fn read(dissection: &mut Dissection, out: &[u8], ts: i64) {
    let wire_len = out.len() as u32;
    dissection.packet(&Packet { ts, link: Link::Raw, interface: 0, wire_len, data: out });
}
