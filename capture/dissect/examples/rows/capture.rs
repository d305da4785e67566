//! Reads captures: pcap and pcapng, as far as the corpus needs it.
use dissect::{Config, Dissection, Keep, Link, Packet};
use serde_json::{Map, Value};

/// The rows that a capture gives, as JSON, each with its table; no packets.
pub(crate) fn rows(capture: &[u8]) -> Vec<(String, Map<String, Value>)> {
    let keep = Keep { packets: false, ..Keep::default() };
    let mut dissection = Dissection::new(Config { keep, ..Config::default() });
    let mut rows = Vec::new();
    let mut take = |dissection: &mut Dissection| {
        for (table, batch) in dissection.take() {
            let objects = crate::json::objects(&batch);
            rows.extend(objects.into_iter().map(|it| (table.name.to_string(), it)));
        }
    };
    for packet in packets(capture) {
        dissection.packet(&packet);
        if dissection.pending_rows() > 1000 {
            take(&mut dissection);
        }
    }
    dissection.finish();
    take(&mut dissection);
    rows
}

pub(crate) fn packets(capture: &[u8]) -> Vec<Packet<'_>> {
    match capture.get(..4) {
        Some([0xd4, 0xc3, 0xb2, 0xa1]) => pcap(capture, 1000, false),
        Some([0xa1, 0xb2, 0xc3, 0xd4]) => pcap(capture, 1000, true),
        Some([0x4d, 0x3c, 0xb2, 0xa1]) => pcap(capture, 1, false),
        Some([0xa1, 0xb2, 0x3c, 0x4d]) => pcap(capture, 1, true),
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => pcapng(capture),
        _ => Vec::new(),
    }
}

/// The number at a place, if it is there.
fn number(bytes: &[u8], at: usize, width: usize, big: bool) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
}

fn pcap(capture: &[u8], unit: i64, big: bool) -> Vec<Packet<'_>> {
    let mut packets = Vec::new();
    let dlt = number(capture, 20, 4, big).unwrap_or_default() as u32 & 0xffff;
    let mut at = 24;
    while let Some(length) = number(capture, at + 8, 4, big) {
        let field = |offset| number(capture, at + offset, 4, big).unwrap_or_default();
        let Some(data) = capture.get(at + 16..at + 16 + length as usize) else { break };
        packets.push(Packet {
            ts: field(0) as i64 * 1_000_000_000 + field(4) as i64 * unit,
            link: Link::from_dlt(dlt),
            interface: 0,
            wire_len: field(12) as u32,
            data,
        });
        at += 16 + length as usize;
    }
    packets
}

fn pcapng(capture: &[u8]) -> Vec<Packet<'_>> {
    let mut packets = Vec::new();
    let mut interfaces: Vec<(Link, u64)> = Vec::new();
    let (mut at, mut big) = (0, false);
    while at + 12 <= capture.len() {
        if capture[at..].starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            big = capture[at + 8..].starts_with(&[0x1a, 0x2b, 0x3c, 0x4d]);
            interfaces.clear();
        }
        let kind = number(capture, at, 4, big).unwrap_or_default();
        let length = number(capture, at + 4, 4, big).unwrap_or_default() as usize;
        let Some(block) = capture.get(at..at + length.max(12)) else { break };
        let field = |offset, width| number(block, offset, width, big).unwrap_or_default();
        match kind {
            1 => {
                let mut per_second = 1_000_000;
                let mut option = 16;
                while field(option, 2) != 0 {
                    if field(option, 2) == 9 {
                        let exponent = field(option + 4, 1) as u32;
                        per_second = match exponent & 0x80 {
                            0 => 10_u64.pow(exponent),
                            _ => 1 << (exponent & 0x7f),
                        };
                    }
                    option += 4 + (field(option + 2, 2) as usize).next_multiple_of(4);
                }
                interfaces.push((Link::from_dlt(field(8, 2) as u32), per_second));
            }
            6 => {
                let (link, per_second) = interfaces[field(8, 4) as usize];
                let ticks = u128::from(field(12, 4) << 32 | field(16, 4));
                packets.push(Packet {
                    ts: (ticks * 1_000_000_000 / u128::from(per_second)) as i64,
                    link,
                    interface: field(8, 4) as u32,
                    wire_len: field(24, 4) as u32,
                    data: &block[28..28 + field(20, 4) as usize],
                });
            }
            _ => {}
        }
        at += length.max(12);
    }
    packets
}
