//! One packet, captured in several places of a node: on the interface of the pod that sends it, on a bridge, on the
//! interface of the pod that it is for; and, where an address is translated on the way, under another name.
//!
//! A packet is a copy if the same was seen a moment ago on another interface; on the same one, it was sent again. A
//! conversation is another's under a translated address if it begins with the same packet on another interface: of a
//! Service's address and the pod behind it, the pod is kept; of a pod's address and the node's that it goes out with,
//! the pod's. Packets of the other name are copies from then on.
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::flow::Key;
use crate::limits::SECOND;
use crate::link::Link;
use crate::packet::{Carried, Ends, Packet};
use crate::protocol::Transport;

/// What was seen lately.
pub(crate) struct Copies {
    /// By a part of the hash; the latest one has the place.
    seen: Box<[Seen]>,
    /// How conversations began, by what no translation changes.
    begun: FxHashMap<u64, Begun>,
    /// The other names of conversations.
    names: FxHashMap<Key, Name>,
    swept: i64,
}

#[derive(Clone, Copy)]
struct Seen {
    hash: u64,
    ts: i64,
    interface: u32,
}

#[derive(Clone, Copy)]
struct Begun {
    ts: i64,
    interface: u32,
    ends: Ends,
}

struct Name {
    /// The other one, and whether its low end is the high end here.
    of: Key,
    turned: bool,
    /// The first packet's sequence number: another one begins another conversation.
    seq: Option<u32>,
    ts: i64,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Not seen before.
    First,
    /// Seen before.
    Copy,
    /// Not seen before, but the conversation of that name is its own under another one: see [`Copies::kept`].
    InsteadOf(Key),
}

impl Default for Copies {
    fn default() -> Self {
        let nothing = Seen { hash: 0, ts: i64::MIN, interface: 0 };
        Self {
            seen: vec![nothing; 1 << PLACES].into(),
            begun: FxHashMap::default(),
            names: FxHashMap::default(),
            swept: i64::MIN,
        }
    }
}

impl Copies {
    /// Looks at a packet; `is_known` says whether a conversation goes on already.
    pub(crate) fn look(
        &mut self,
        packet: &Packet<'_>,
        carried: &Carried<'_>,
        is_known: impl FnOnce(&Key) -> bool,
    ) -> Sight {
        let (Some(interface), ts) = (interface(packet), packet.ts) else { return Sight::First };
        let conversation = match carried {
            Carried::Tcp(ends, it) => Some((*ends, Transport::Tcp, it.syn.then_some(it.seq))),
            Carried::Datagram(ends, it) => Some((*ends, it.transport, None)),
            Carried::Fragment(_) => None,
            Carried::Other | Carried::Malformed => return Sight::First,
        };
        let key = conversation.map(|(ends, transport, _)| Key::of(&ends, transport));
        if let (Some((key, _)), Some((_, _, begins))) = (key, conversation)
            && let Some(name) = self.names.get_mut(&key)
        {
            let ours = begins.is_none() || begins == name.seq;
            // The answer to a SYN has a number of its own.
            let answers = matches!(carried, Carried::Tcp(_, it) if it.syn && it.ack.is_some());
            if ours || answers {
                name.ts = ts;
                return Sight::Copy;
            }
            self.names.remove(&key);
        }
        if self.was_seen(hash(carried, true), ts, interface) {
            return Sight::Copy;
        }
        let (Some((key, way)), Some((ends, transport, seq))) = (key, conversation) else {
            return Sight::First;
        };
        let begins = match carried {
            Carried::Tcp(_, it) => it.syn && it.ack.is_none(),
            _ => transport == Transport::Udp && !is_known(&key),
        };
        if !begins {
            return Sight::First;
        }
        self.sweep(ts);
        let hash = hash(carried, false);
        let new = Begun { ts, interface, ends };
        let Some(begun) = self.begun.insert(hash, new) else { return Sight::First };
        let is_other = begun.interface != interface && begun.ends != ends;
        if !is_other || ts.saturating_sub(begun.ts) >= LATELY || self.names.len() >= MOST {
            return Sight::First;
        }
        let same_source = begun.ends.source == ends.source;
        // What gets the node's address on its way out keeps its port, as a rule.
        let same_target =
            begun.ends.destination == ends.destination && begun.ends.source.1 == ends.source.1;
        let (before, way_before) = Key::of(&begun.ends, transport);
        let turned = way != way_before;
        if same_source {
            self.names.insert(before, Name { of: key, turned, seq, ts });
            return Sight::InsteadOf(before);
        }
        // Two who ask for the same may send the same datagram, but not a segment with the same number.
        if same_target || transport == Transport::Tcp {
            self.begun.insert(hash, begun);
            self.names.insert(key, Name { of: before, turned, seq, ts });
            return Sight::Copy;
        }
        Sight::First
    }

    /// What a conversation goes by that is known by two names, and the direction in it.
    pub(crate) fn kept(&self, key: &Key, way: usize) -> Option<(Key, usize)> {
        let name = self.names.get(key)?;
        Some((name.of, if name.turned { 1 - way } else { way }))
    }

    fn was_seen(&mut self, hash: u64, ts: i64, interface: u32) -> bool {
        let place = usize::try_from(hash >> (64 - PLACES)).unwrap_or_default();
        let Some(seen) = self.seen.get_mut(place) else { return false };
        let same = seen.hash == hash && ts.saturating_sub(seen.ts).saturating_abs() < LATELY;
        if same && seen.interface != interface {
            return true;
        }
        *seen = Seen { hash, ts, interface };
        false
    }

    /// Forgets what is long ago.
    fn sweep(&mut self, ts: i64) {
        if ts.saturating_sub(self.swept) < SECOND && self.begun.len() < MOST {
            return;
        }
        self.swept = ts;
        self.begun.retain(|_, it| ts.saturating_sub(it.ts) < LATELY);
        if self.begun.len() >= MOST {
            self.begun.clear();
        }
        self.names.retain(|_, it| ts.saturating_sub(it.ts) < SILENT);
    }
}

/// The interface a packet was captured on, where the capture is of several: in the header of Linux cooked captures
/// (LINKTYPE_LINUX_SLL2).
fn interface(packet: &Packet<'_>) -> Option<u32> {
    let index = packet.data.get(4..8)?.first_chunk().copied().map(u32::from_be_bytes);
    index.filter(|_| packet.link == Link::LinuxSll2)
}

/// What makes it that packet; without its ends, what is left of that where they are translated.
fn hash(carried: &Carried<'_>, ends: bool) -> u64 {
    let mut to = FxHasher::default();
    let mut of = |between: &Ends| {
        if ends {
            (between.source, between.destination).hash(&mut to);
        }
    };
    match carried {
        Carried::Tcp(between, it) => {
            of(between);
            (it.seq, it.ack, it.syn, it.fin, it.rst, it.window, it.window_scale).hash(&mut to);
            (it.sent, start(it.payload)).hash(&mut to);
        }
        Carried::Datagram(between, it) => {
            of(between);
            (it.transport as u64, it.sent, start(it.payload)).hash(&mut to);
        }
        Carried::Fragment(it) => it.hash(&mut to),
        Carried::Other | Carried::Malformed => {}
    }
    to.finish()
}

/// As much of it as tells it from others.
fn start(payload: &[u8]) -> &[u8] {
    payload.get(..TELLING).unwrap_or(payload)
}

/// How long a packet is on its way through a node, at most, and short of when it is sent again.
const LATELY: i64 = SECOND / 5;
/// How long a conversation may be silent and still go on under two names.
const SILENT: i64 = 600 * SECOND;
/// Two to the power of: packets that pass within a moment.
const PLACES: u32 = 16;
/// Conversations that go by two names at once, or begin within a moment.
const MOST: usize = 65_536;
/// Bytes of a payload.
const TELLING: usize = 128;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use etherparse::PacketBuilder;

    use crate::{Config, Dissection, Link, Packet};

    type End = ([u8; 4], u16);

    const POD: End = ([10, 1, 0, 5], 40_000);
    const SERVICE: End = ([10, 96, 0, 10], 80);
    const BEHIND: End = ([10, 1, 0, 9], 8080);
    const NODE: End = ([192, 168, 0, 1], 40_000);

    /// A node's capture of all its interfaces.
    struct Node {
        dissection: Dissection,
        ts: i64,
    }

    impl Node {
        fn new() -> Self {
            let config = Config { merge_copies: true, ..Config::default() };
            Self { dissection: Dissection::new(config), ts: 1_000_000_000 }
        }

        /// A packet, on one interface after the other.
        fn sees(&mut self, interfaces: &[u32], ip: &[u8]) {
            for interface in interfaces {
                self.ts += 10_000;
                let mut data = [8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0];
                data[4..8].copy_from_slice(&interface.to_be_bytes());
                let data = [&data[..], ip].concat();
                let wire_len = u32::try_from(data.len()).unwrap();
                let (ts, link) = (self.ts, Link::LinuxSll2);
                self.dissection.packet(&Packet { ts, link, interface: 0, wire_len, data: &data });
            }
        }

        /// How many rows there are of each table.
        fn rows(mut self) -> Vec<(String, usize)> {
            self.dissection.finish();
            let taken = self.dissection.take().into_iter();
            let mut rows: Vec<_> =
                taken.map(|it| (it.0.name.to_string(), it.1.num_rows())).collect();
            rows.retain(|it| it.0 != "losses");
            rows.sort();
            rows
        }
    }

    fn tcp(from: End, to: End, flags: &str, (seq, ack): (u32, u32), payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ipv4(from.0, to.0, 64).tcp(from.1, to.1, seq, 64_240);
        let builder = if flags.contains('S') { builder.syn() } else { builder };
        let builder = if flags.contains('F') { builder.fin() } else { builder };
        let builder = if flags.contains('.') { builder.ack(ack) } else { builder };
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).unwrap();
        bytes
    }

    fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4(from.0, to.0, 64).udp(from.1, to.1);
        builder.write(&mut bytes, payload).unwrap();
        bytes
    }

    const ASKS: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const ANSWERS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    /// An exchange of HTTP; each of its packets passes the places of which the ends have these names.
    fn exchange(node: &mut Node, first: u32, places: &[(&[u32], End, End)]) {
        let asks = (first + 1, 501);
        let answers = (501, first + 29);
        let there = [("S", (first, 0), &b""[..]), (".", asks, b""), (".", asks, ASKS)];
        let back = [("S.", (500, first + 1), &b""[..]), (".", answers, ANSWERS)];
        let back_ends = places.iter().rev();
        let mut there = there.iter();
        let mut send = |node: &mut Node| {
            let (flags, numbers, payload) = there.next().unwrap();
            for (interfaces, client, server) in places {
                node.sees(interfaces, &tcp(*client, *server, flags, *numbers, payload));
            }
        };
        let answer = |node: &mut Node, (flags, numbers, payload): (&str, (u32, u32), &[u8])| {
            for (interfaces, client, server) in back_ends.clone() {
                let interfaces: Vec<_> = interfaces.iter().rev().copied().collect();
                node.sees(&interfaces, &tcp(*server, *client, flags, numbers, payload));
            }
        };
        send(node);
        answer(node, back[0]);
        send(node);
        send(node);
        answer(node, back[1]);
    }

    fn counts(connections: usize, http: usize, packets: usize) -> Vec<(String, usize)> {
        let of = |name: &str, n| (name.to_owned(), n);
        vec![of("connections", connections), of("http", http), of("packets", packets)]
    }

    #[test]
    fn a_packet_on_the_way_from_pod_to_pod_is_one() {
        let mut node = Node::new();
        exchange(&mut node, 100, &[(&[3, 2, 4], POD, BEHIND)]);
        assert_eq!(node.dissection.counters().copies, 10);
        assert_eq!(node.rows(), counts(1, 1, 5));
    }

    #[test]
    fn what_is_sent_again_is_no_copy() {
        let mut node = Node::new();
        for _ in 0..3 {
            node.sees(&[3, 2], &tcp(POD, BEHIND, ".", (1, 1), b"lost on the way"));
        }
        assert_eq!(node.dissection.counters().copies, 3);
    }

    #[test]
    fn behind_a_service_the_pod_is_the_server() {
        let mut node = Node::new();
        let places: &[(&[u32], _, _)] = &[(&[3, 2], POD, SERVICE), (&[2, 4], POD, BEHIND)];
        exchange(&mut node, 100, places);
        // Another one between the same ends, right after.
        exchange(&mut node, 90_000, places);
        node.dissection.finish();
        let taken = node.dissection.take();
        let http = taken.iter().find(|it| it.0.name == "http").unwrap();
        let port = http.1.column_by_name("server_port").unwrap();
        let ports =
            arrow_array::cast::AsArray::as_primitive::<arrow_array::types::UInt16Type>(port);
        assert_eq!(ports.values(), &[BEHIND.1, BEHIND.1]);
        let connections = taken.iter().find(|it| it.0.name == "connections").unwrap();
        assert_eq!(connections.1.num_rows(), 2);
    }

    #[test]
    fn processes_are_named_whichever_address_they_know() {
        let address = |it: End| std::net::SocketAddr::from(it);
        let mut node = Node::new();
        let places: &[(&[u32], _, _)] = &[(&[3, 2], POD, SERVICE), (&[2, 4], POD, BEHIND)];
        for (first, before) in [(100, true), (90_000, false)] {
            let owns = |node: &mut Node, local, remote, process| {
                let (local, remote) = (address(local), address(remote));
                let (ts, side) = (node.ts, None);
                let process = crate::Actor { pid: 7, name: process, container_id: None };
                node.dissection.owner(&crate::Owner { ts, local, remote, side, process });
            };
            if before {
                owns(&mut node, POD, SERVICE, "cart");
            }
            exchange(&mut node, first, places);
            if !before {
                owns(&mut node, POD, SERVICE, "cart");
            }
            owns(&mut node, BEHIND, POD, "shop");
        }
        node.dissection.finish();
        let taken = node.dissection.take();
        let connections = taken.iter().find(|it| it.0.name == "connections").unwrap();
        for (column, wanted) in [("client_process", "cart"), ("server_process", "shop")] {
            let names = connections.1.column_by_name(column).unwrap();
            let names = arrow_array::cast::AsArray::as_string_view(names);
            assert_eq!(names.iter().collect::<Vec<_>>(), [Some(wanted); 2], "{column}");
        }
    }

    #[test]
    fn what_a_process_says_to_a_service_stands_beside_its_packets() {
        let address = |it: End| std::net::SocketAddr::from(it);
        let says = |node: &mut Node, sent, offset: usize, seen: usize, bytes: &[u8]| {
            let (ts, local, remote) = (node.ts, address(POD), address(SERVICE));
            let (offset, seen) = (offset as u64, seen as u64);
            let (side, session) = (Some(crate::Side::Client), 1);
            let process = crate::Actor { pid: 7, name: "cart", container_id: None };
            node.dissection.plaintext(&crate::Plaintext {
                ts,
                local,
                remote,
                side,
                sent,
                session,
                offset,
                seen,
                bytes,
                process,
            });
        };
        let mut node = Node::new();
        // What the process said is known before the packets are.
        says(&mut node, true, 0, 0, ASKS);
        let opaque = |node: &mut Node, flags, numbers| {
            node.sees(&[3, 2], &tcp(POD, SERVICE, flags, numbers, b""));
            node.sees(&[2, 4], &tcp(POD, BEHIND, flags, numbers, b""));
        };
        opaque(&mut node, "S", (1, 0));
        opaque(&mut node, ".", (2, 0));
        says(&mut node, false, 0, ASKS.len(), ANSWERS);
        node.dissection.tick(node.ts + 100_000_000);
        node.dissection.closed(node.ts, address(POD), address(SERVICE));
        node.dissection.finish();
        let taken = node.dissection.take();
        let rows = |table: &str| taken.iter().find(|it| it.0.name == table).unwrap().1.clone();
        let (http, connections) = (rows("http"), rows("connections"));
        assert_eq!((http.num_rows(), connections.num_rows()), (1, 1));
        assert_eq!(http.column_by_name("flow_id"), connections.column_by_name("flow_id"));
        let ips = http.column_by_name("server_ip").unwrap();
        let ips = arrow_array::cast::AsArray::as_string_view(ips);
        assert_eq!(ips.value(0), "10.1.0.9");
    }

    #[test]
    fn what_goes_out_as_the_node_stays_the_pods() {
        let mut node = Node::new();
        let outside = ([8, 8, 4, 4], 80);
        exchange(&mut node, 100, &[(&[3, 2], POD, outside), (&[1], NODE, outside)]);
        node.dissection.finish();
        let taken = node.dissection.take();
        let http = taken.iter().filter(|it| it.0.name == "http").collect::<Vec<_>>();
        assert_eq!(http.len(), 1);
        let ips = http[0].1.column_by_name("client_ip").unwrap();
        let ips = arrow_array::cast::AsArray::as_string_view(ips);
        assert_eq!(ips.iter().collect::<Vec<_>>(), [Some("10.1.0.5")]);
    }

    #[test]
    fn names_asked_of_a_service_are_asked_once() {
        let query = |id: u8| {
            let mut query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend(b"\x04shop\x00\x00\x01\x00\x01");
            query
        };
        let (service, behind) = (([10, 96, 0, 10], 53), ([10, 1, 0, 2], 53));
        let mut node = Node::new();
        for id in 0..4 {
            let mut answer = query(id);
            answer[2] = 0x81;
            node.sees(&[3, 2], &udp(POD, service, &query(id)));
            node.sees(&[2, 4], &udp(POD, behind, &query(id)));
            node.sees(&[4, 2], &udp(behind, POD, &answer));
            node.sees(&[2, 3], &udp(service, POD, &answer));
        }
        let rows = node.rows();
        assert!(rows.contains(&("dns".to_owned(), 4)), "{rows:?}");
        assert!(rows.contains(&("connections".to_owned(), 1)), "{rows:?}");
    }

    #[test]
    fn two_servers_that_are_asked_the_same_at_once_are_two() {
        let mut node = Node::new();
        let query = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x00\x00\x01\x00\x01";
        for server in [([10, 96, 0, 10], 53), ([10, 96, 0, 11], 53)] {
            node.sees(&[3, 2], &udp(POD, server, query));
        }
        // And two who ask one.
        node.sees(&[5, 2], &udp(([10, 1, 0, 6], 40_001), ([10, 96, 0, 10], 53), query));
        assert!(node.rows().contains(&("connections".to_owned(), 3)));
    }

    #[test]
    fn on_one_interface_nothing_is_a_copy() {
        let mut node = Node::new();
        exchange(&mut node, 100, &[(&[3], POD, SERVICE), (&[3], POD, BEHIND)]);
        assert_eq!(node.dissection.counters().copies, 0);
    }
}
