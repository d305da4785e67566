//! What must hold for every protocol. A new one is held to it as soon as it has a fixture.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and asks the environment whether to rewrite its files"
)]
mod support;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use arrow_array::cast::AsArray;
use dissect::{Config, FlowId, Keep, Limits, Link, PROTOCOLS, Packet, tables};
use proptest::prelude::*;
use support::{
    Frame, Row, all_rows, by_place, by_table, cut, dissection, fixtures, objects, payload, read,
    rows, tcp, timeless,
};

/// Compares with the file, or writes it with `UPDATE=1`.
fn golden(path: &Path, now: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, now).unwrap();
    }
    let then = std::fs::read_to_string(path).unwrap_or_default();
    assert!(then == now, "{} differs; run with UPDATE=1 and look at the change", path.display());
}

#[test]
fn every_protocol_has_a_fixture() {
    let with: BTreeSet<_> = fixtures().into_iter().map(|(protocol, _)| protocol).collect();
    let told: BTreeSet<_> = fixtures()
        .iter()
        .flat_map(|(_, path)| rows(&read(path)))
        .filter_map(|it| it["protocol"].as_str().map(str::to_owned))
        .collect();
    for protocol in PROTOCOLS {
        // What is derived from another comes with that one's.
        let derived = protocol.transports.is_empty();
        let has = if derived { &told } else { &with };
        assert!(has.contains(protocol.name), "no fixtures/{}/*.pcap", protocol.name);
    }
}

#[test]
fn fixtures_give_their_records() {
    for (protocol, path) in fixtures() {
        let mut text = String::new();
        // Besides the protocol itself: what leads to it by an upgrade, and what is derived from it.
        let expected: Vec<_> = PROTOCOLS
            .iter()
            .filter(|it| it.name == protocol || it.name == "http" || it.transports.is_empty())
            .map(|it| it.spoken)
            .collect();
        for row in rows(&read(&path)) {
            let spoken = row["protocol"].as_str().unwrap();
            assert!(expected.contains(&spoken), "{}: {spoken}", path.display());
            text += &serde_json::to_string(&row).unwrap();
            text.push('\n');
        }
        golden(&path.with_extension("jsonl"), &text);
    }
}

#[test]
fn connections_of_fixtures_are_measured() {
    let keep = Keep { packets: false, ..Keep::default() };
    for (_, path) in fixtures() {
        let mut text = String::new();
        for row in all_rows(&read(&path), keep.clone())
            .iter()
            .filter(|it| it.contains_key("goodput_bytes"))
        {
            text += &serde_json::to_string(row).unwrap();
            text.push('\n');
        }
        golden(&path.with_extension("connections.jsonl"), &text);
    }
}

#[test]
fn who_asks_for_less_is_told_the_same() {
    for (_, path) in fixtures() {
        let frames = read(&path);
        let all = by_table(&frames, Keep::default());
        for (table, rows) in all.iter().filter(|it| it.0 != "losses") {
            let columns = &tables().iter().find(|it| it.name == *table).unwrap().fields;
            let names = columns.iter().map(|it| it.name.to_string());
            let shared = columns.iter().position(|it| it.name == "node").unwrap();
            let brief = PROTOCOLS.iter().filter(|it| it.spoken == *table).flat_map(|it| it.brief);
            let questions: [BTreeSet<_>; 5] = [
                BTreeSet::new(),
                names.clone().take(shared).filter(|it| it != "seq").collect(),
                names.clone().filter(|it| it == "seq" || it == "flow_id").collect(),
                brief.map(|it| (*it).to_owned()).chain(["verb".to_owned()]).collect(),
                names.clone().skip(shared).chain(["target".to_owned()]).collect(),
            ];
            for asked in questions {
                let only = Some([(table.clone(), asked.clone())].into());
                let told = by_table(&frames, Keep { only, ..Keep::default() });
                let told = |name: &str| told.iter().find(|it| it.0 == name).map(|it| &it.1);
                let less = rows.iter().cloned().map(|mut row| {
                    row.retain(|name, _| name == "ts" || asked.contains(name));
                    row
                });
                let less: Vec<_> = less.collect();
                assert_eq!(told(table), Some(&less), "{table} of {}: {asked:?}", path.display());
                let lost = all.iter().find(|it| it.0 == "losses").map(|it| &it.1);
                assert_eq!(told("losses"), lost, "{table} of {}: {asked:?}", path.display());
            }
        }
    }
}

#[test]
fn the_reference_matches_the_tables() {
    let mut text = String::from(
        "# Tables\n\nEvery table and column, made from the declarations: \
         `UPDATE=1 cargo test -p dissect` rewrites this page.\n",
    );
    text.extend(tables().iter().map(schema::Table::reference));
    golden(Path::new("TABLES.md"), &text);
}

#[test]
fn names_are_unique() {
    for table in tables() {
        let mut names = HashSet::new();
        for field in table.fields.iter() {
            assert!(names.insert(&field.name), "{}.{} stands twice", table.name, field.name);
        }
    }
    let names: HashSet<_> = tables().iter().map(|it| &it.name).collect();
    assert_eq!(names.len(), tables().len());
    assert!(PROTOCOLS.len() <= 64, "a flow notes what it tried in 64 bits");
}

#[test]
fn records_do_not_depend_on_single_bytes() {
    for (_, path) in fixtures() {
        let frames = read(&path);
        let single: Vec<_> =
            frames.iter().flat_map(|it| cut(it, &mut std::iter::repeat(1))).collect();
        assert_eq!(timeless(&single), timeless(&frames), "{}", path.display());
    }
}

#[test]
fn loss_of_any_segment_costs_only_what_it_touches() {
    for (_, path) in fixtures() {
        let frames = read(&path);
        let whole: HashSet<_> = complete(&frames);
        let mut kept = 0;
        let with_payload = (0..frames.len()).filter(|at| !payload(&frames[*at]).is_empty());
        let dropped: Vec<_> = with_payload.collect();
        for at in &dropped {
            let mut fewer = frames.clone();
            fewer.remove(*at);
            let left = complete(&fewer);
            for row in &left {
                assert!(whole.contains(row), "{}: without {at}: invented {row}", path.display());
            }
            kept += left.len();
        }
        // One lost segment of a few dozen must not cost most of the rows.
        assert!(kept * 10 >= whole.len() * dropped.len() * 7, "{}: {kept}", path.display());
    }
}

#[test]
fn connections_say_since_when_bytes_are_missing() {
    let (_, path) = fixtures().into_iter().find(|(protocol, _)| protocol == "redis").unwrap();
    let frames = read(&path);
    let ports = |frame: &Frame| {
        let (_, at, _) = tcp(frame).unwrap();
        (frame.data[at..at + 2].to_vec(), frame.data[at + 2..at + 4].to_vec())
    };
    let said: Vec<_> = (0..frames.len()).filter(|at| !payload(&frames[*at]).is_empty()).collect();
    // In Redis, the client speaks first.
    let (client, server) = ports(&frames[said[0]]);
    let columns = ["client_missing_since", "server_missing_since"];
    for (column, way) in columns.iter().zip([(&client, &server), (&server, &client)]) {
        let is_of = |at: &&usize| ports(&frames[**at]) == (way.0.clone(), way.1.clone());
        let of: Vec<_> = said.iter().filter(is_of).collect();
        let mut fewer = frames.clone();
        fewer.remove(*of[1]);
        let keep = Keep { packets: false, ..Keep::default() };
        let since: Vec<_> = all_rows(&fewer, keep)
            .into_iter()
            .flat_map(|row| columns.map(|it| (it, row.get(it).and_then(|it| it.as_i64()))))
            .filter(|it| it.1.is_some())
            .collect();
        assert_eq!(since, [(*column, Some(frames[*of[2]].ts))]);
    }
}

/// The rows that have all their parts, without what depends on their number and time.
fn complete(frames: &[Frame]) -> HashSet<String> {
    let mut rows = rows(frames);
    rows.retain(|it| it["incomplete"] == false && it.contains_key("duration"));
    for row in &mut rows {
        // A lost interim response (100) leaves the exchange whole, only smaller.
        for name in ["ts", "duration", "seq", "response_bytes"] {
            row.remove(name);
        }
    }
    rows.into_iter().map(|it| serde_json::Value::Object(it).to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn records_do_not_depend_on_how_a_stream_is_cut(sizes in prop::collection::vec(1usize..200, 1..40)) {
        for (_, path) in fixtures() {
            let frames = read(&path);
            let mut sizes = sizes.iter().copied().cycle();
            let parts: Vec<_> = frames.iter().flat_map(|it| cut(it, &mut sizes)).collect();
            prop_assert_eq!(timeless(&parts), timeless(&frames));
        }
    }

    #[test]
    fn records_do_not_depend_on_order_or_repetition(seed in any::<u64>()) {
        for (_, path) in fixtures() {
            let frames: Vec<_> = read(&path).into_iter().filter(|it| tcp(it).is_some()).collect();
            prop_assert_eq!(timeless(&disturb(&frames, seed)), timeless(&frames));
        }
    }

    #[test]
    fn records_do_not_depend_on_other_conversations(seed in any::<u64>()) {
        let captures: Vec<_> = fixtures().iter().map(|(_, path)| at_once(read(path))).collect();
        let mut alone: Vec<_> = captures.iter().flat_map(|it| timeless(it)).collect();
        let mut together = timeless(&interleave(captures, seed));
        alone.sort();
        together.sort();
        prop_assert_eq!(together, alone);
    }

    #[test]
    fn noise_never_panics(seed in any::<u64>(), port in prop::sample::select(vec![53u16, 80, 6379, 9999])) {
        let mut noise = Noise(seed | 1);
        let mut dissection = dissection(Config::default());
        for ts in 0..200 {
            let data: Vec<u8> = (0..noise.below(200)).map(|_| noise.next() as u8).collect();
            for link in [Link::Ethernet, Link::Raw, Link::LinuxSll, Link::LinuxSll2, Link::Null] {
                dissection.packet(&Packet { ts, link, interface: 0, wire_len: data.len() as u32, data: &data });
            }
            let frame = segment(port, noise.next() as u32 % 4000, noise.next() as u8, &data);
            dissection.packet(&Packet { ts, link: Link::Raw, interface: 0, wire_len: frame.len() as u32, data: &frame });
        }
        dissection.finish();
        dissection.take();
    }

    #[test]
    fn damaged_captures_never_panic(seed in any::<u64>()) {
        let mut noise = Noise(seed | 1);
        for (_, path) in fixtures() {
            let mut frames = read(&path);
            for frame in &mut frames {
                for _ in 0..noise.below(3) {
                    let at = noise.below(frame.data.len());
                    frame.data[at] = noise.next() as u8;
                }
                if noise.below(20) == 0 {
                    let length = noise.below(frame.data.len());
                    frame.data.truncate(length);
                }
            }
            all_rows(&frames, Keep::default());
        }
    }
}

#[test]
fn memory_is_bounded_whatever_is_sent() {
    let limits = Limits { flows: 1000, held_bytes: 1 << 20, ..Limits::default() };
    let mut dissection = dissection(Config { limits, ..Config::default() });
    let head = [
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n".to_vec(),
        vec![b'x'; 1200],
    ]
    .concat();
    for n in 0..20_000u32 {
        let mut frame = segment(80, 1, 0x10, &head);
        frame[12..16].copy_from_slice(&n.to_be_bytes());
        dissection.packet(&Packet {
            ts: i64::from(n),
            link: Link::Raw,
            interface: 0,
            wire_len: 0,
            data: &frame,
        });
        // A hole, and bytes behind it.
        let mut frame = segment(80, 500_000, 0x10, &[b'y'; 1200]);
        frame[12..16].copy_from_slice(&n.to_be_bytes());
        dissection.packet(&Packet {
            ts: i64::from(n),
            link: Link::Raw,
            interface: 0,
            wire_len: 0,
            data: &frame,
        });
        assert!(dissection.held_bytes() <= 1 << 20);
        assert!(dissection.live_flows() <= 1000);
        dissection.take();
    }
    assert!(dissection.counters().evicted >= 19_000);
}

#[test]
fn a_port_used_again_is_another_conversation() {
    let (_, path) = fixtures().into_iter().find(|(protocol, _)| protocol == "http").unwrap();
    let frames = read(&path);
    let later: Vec<_> = frames
        .iter()
        .map(|it| {
            let mut it = it.clone();
            it.ts += 1_000_000_000;
            if let Some((_, tcp, _)) = tcp(&it) {
                // Other initial sequence numbers, in both directions.
                for at in [tcp + 4, tcp + 8] {
                    let old = u32::from_be_bytes(it.data[at..at + 4].try_into().unwrap());
                    it.data[at..at + 4].copy_from_slice(&old.wrapping_add(77_777).to_be_bytes());
                }
            }
            it
        })
        .collect();
    let once = rows(&frames).len();
    assert_eq!(rows(&[frames, later].concat()).len(), 2 * once);
}

#[test]
fn an_overlay_may_number_each_direction_otherwise() {
    let (_, path) = fixtures().into_iter().find(|(protocol, _)| protocol == "http").unwrap();
    let frames: Vec<_> = read(&path).into_iter().filter(|it| tcp(it).is_some()).collect();
    let wrapped: Vec<_> = frames
        .iter()
        .map(|it| {
            let (_, at, _) = tcp(it).unwrap();
            // Some networks put the sender's identity where the network's number stands.
            let network = it.data[at + 1];
            let udp = (8 + 8 + it.data.len()) as u16;
            let ip = (20 + udp).to_be_bytes();
            let udp = udp.to_be_bytes();
            let parts: [&[u8]; 9] = [
                &[0; 12],
                &[8, 0, 0x45, 0, ip[0], ip[1], 0, 0, 0, 0, 64, 17, 0, 0],
                &[192, 0, 2, 1],
                &[192, 0, 2, 2],
                &[200, 0, 0x12, 0xb5],
                &[udp[0], udp[1], 0, 0],
                &[8, 0, 0, 0],
                &[0, 0, network, 0],
                &it.data,
            ];
            Frame { ts: it.ts, data: parts.concat() }
        })
        .collect();
    assert_eq!(rows(&wrapped), rows(&frames));
}

#[test]
fn packets_read_again_give_the_rows_they_would_have_given_at_once() {
    for (_, path) in fixtures() {
        let frames = read(&path);
        let again: Vec<_> = read_again(&captured(&frames))
            .into_iter()
            .filter(|it| it.contains_key("seq"))
            .collect();
        assert_eq!(by_place(again), rows(&frames), "{}", path.display());
    }
}

#[test]
fn a_conversation_read_from_its_middle_numbers_its_rows_apart() {
    let (_, path) = fixtures().into_iter().find(|(protocol, _)| protocol == "redis").unwrap();
    let packets = captured(&read(&path));
    let places = |packets: &[(Frame, Option<FlowId>)]| -> HashSet<(String, u64)> {
        let rows = read_again(packets);
        let place = |it: &Row| Some((it.get("flow_id")?.to_string(), it.get("seq")?.as_u64()?));
        rows.iter().filter_map(place).collect()
    };
    let whole = places(&packets);
    // From every packet on: those that read a conversation from its beginning give the same places,
    // the others give places of their own.
    for from in 1..packets.len() {
        let began = packets[from..].iter().filter_map(|it| it.1).collect::<HashSet<_>>();
        let before = packets[..from].iter().filter_map(|it| it.1).collect::<HashSet<_>>();
        for (flow, seq) in places(&packets[from..]) {
            let id = FlowId::parse(flow.trim_matches('"')).unwrap();
            assert!(began.contains(&id));
            let middle = before.contains(&id);
            assert_eq!(whole.contains(&(flow, seq)), !middle, "from packet {from}, {id:?}");
        }
    }
}

#[test]
fn reading_protocols_can_stop_and_begin_in_the_middle() {
    for (_, path) in fixtures() {
        let frames = read(&path);
        for stop in (0..frames.len()).step_by(7) {
            let mut dissection = dissection(Config::default());
            for (at, frame) in frames.iter().enumerate() {
                dissection.read_protocols(at < stop || at >= stop + 4);
                dissection.packet(&packet(frame));
            }
            dissection.finish();
            let found: Vec<Row> = dissection.take().iter().flat_map(|it| objects(&it.1)).collect();
            let places: Vec<_> = found
                .iter()
                .filter_map(|it| Some((it.get("flow_id")?.to_string(), it.get("seq")?.as_u64())))
                .collect();
            let distinct: HashSet<_> = places.iter().collect();
            assert_eq!(distinct.len(), places.len(), "{}: two rows in one place", path.display());
            assert_eq!(dissection.held_bytes(), 0, "{}", path.display());
        }
    }
}

/// Captured while no protocol is read: the packets and what they were found to belong to.
fn captured(frames: &[Frame]) -> Vec<(Frame, Option<FlowId>)> {
    let keep = Keep { packets: true, connections: false, protocols: false, ..Keep::default() };
    let mut dissection = dissection(Config { keep, ..Config::default() });
    frames.iter().for_each(|it| dissection.packet(&packet(it)));
    dissection.finish();
    let batches = dissection.take();
    let (_, batch) = batches.iter().find(|it| it.0.name == "packets").unwrap();
    let ids = batch.column_by_name("flow_id").unwrap().as_string_view();
    let ids = ids.iter().map(|it| Some(FlowId::parse(it?).unwrap()));
    frames.iter().cloned().zip(ids).collect()
}

fn read_again(packets: &[(Frame, Option<FlowId>)]) -> Vec<Row> {
    let keep = Keep { packets: false, connections: false, ..Keep::default() };
    let mut dissection = dissection(Config { keep, ..Config::default() });
    packets.iter().for_each(|(frame, id)| dissection.again(&packet(frame), *id));
    dissection.finish();
    dissection.take().iter().flat_map(|it| objects(&it.1)).collect()
}

fn packet(frame: &Frame) -> Packet<'_> {
    let wire_len = frame.data.len() as u32;
    Packet { ts: frame.ts, link: Link::Ethernet, interface: 0, wire_len, data: &frame.data }
}

/// Random numbers, the same for the same seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n.max(1)
    }
}

/// Packets late by up to eight others, some twice; each conversation still begins with its SYN. None is late by a second:
/// that long after its receiver has confirmed it, a packet counts as lost.
fn disturb(frames: &[Frame], seed: u64) -> Vec<Frame> {
    let mut noise = Noise(seed | 1);
    let mut out: Vec<(usize, Frame)> = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let is_syn = tcp(frame).is_some_and(|(_, tcp, _)| frame.data[tcp + 13] & 2 != 0);
        let soon = |it: &&Frame| it.ts - frame.ts < 1_000_000_000;
        let others = frames.iter().skip(at + 1).take(8).take_while(soon).count();
        let late = if is_syn { 0 } else { others };
        out.push((at + noise.below(late + 1), frame.clone()));
        if noise.below(4) == 0 && !is_syn {
            out.push((at + noise.below(late + 1), frame.clone()));
        }
    }
    out.sort_by_key(|(at, _)| *at);
    out.into_iter().map(|(_, frame)| frame).collect()
}

/// As if it had begun when all others did.
fn at_once(mut frames: Vec<Frame>) -> Vec<Frame> {
    let first = frames.first().map_or(0, |it| it.ts);
    frames.iter_mut().for_each(|it| it.ts -= first);
    frames
}

fn interleave(captures: Vec<Vec<Frame>>, seed: u64) -> Vec<Frame> {
    let mut noise = Noise(seed | 1);
    let mut sources: Vec<_> = captures.into_iter().map(|it| it.into_iter().peekable()).collect();
    let mut out = Vec::new();
    while !sources.is_empty() {
        let at = noise.below(sources.len());
        match sources[at].next() {
            Some(frame) => out.push(frame),
            None => drop(sources.remove(at)),
        }
    }
    out
}

/// A TCP segment over IPv4.
fn segment(port: u16, seq: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    out.extend_from_slice(&40_000u16.to_be_bytes());
    out.extend_from_slice(&port.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend_from_slice(data);
    let total = out.len() as u16;
    out[2..4].copy_from_slice(&total.to_be_bytes());
    out
}
