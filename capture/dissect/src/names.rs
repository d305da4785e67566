//! The names of a conversation's two ends, as somebody else knows them.
use std::net::IpAddr;
use std::sync::Arc;

use crate::packet::Ip;

/// Knows who had an address when.
pub trait Names: std::fmt::Debug + Send + Sync {
    /// Another number whenever an answer may have changed; 0 as long as nothing at all is known. Asked for
    /// every row.
    fn version(&self) -> u64;
    /// Who was at this address and port at a time, nanoseconds since 1970. Asked for a conversation's
    /// first row, and then only when an answer may have changed.
    fn who(&self, ip: IpAddr, port: u16, ts: i64) -> Answer;
    /// Whether only the traffic of some is kept. Asked for every packet.
    fn is_targeted(&self) -> bool {
        false
    }
    /// Whether the traffic of whoever has this address is kept. Asked for two addresses' first packet,
    /// and then only when an answer may have changed.
    fn taps(&self, ip: IpAddr) -> bool {
        let _ = ip;
        true
    }
}

/// Whose packets are kept, as it was answered last.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    version: u64,
    known: rustc_hash::FxHashMap<(Ip, Ip), bool>,
}

impl Gate {
    /// Whether a packet between these two is kept: if either's traffic is.
    pub(crate) fn lets(&mut self, names: &dyn Names, ends: Option<(Ip, Ip)>) -> bool {
        if !names.is_targeted() {
            return true;
        }
        // What is nobody's is not asked for.
        let Some(ends) = ends else { return false };
        let version = names.version();
        if self.version != version || self.known.len() >= KNOWN {
            self.known.clear();
            self.version = version;
        }
        let address = |it: Ip| std::net::Ipv6Addr::from(it).to_canonical();
        let ask = || names.taps(address(ends.0)) || names.taps(address(ends.1));
        *self.known.entry(ends).or_insert_with(ask)
    }
}

/// Pairs of addresses whose answers are kept.
const KNOWN: usize = 100_000;

/// Who it was, and from when until before when that is the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Nobody, if it isn't known.
    pub who: Option<Arc<Who>>,
    /// From then on.
    pub from: i64,
    /// Until before then.
    pub until: i64,
}

/// One end of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The pod.
    pub pod: Option<Arc<str>>,
    /// Its namespace, or the Service's.
    pub namespace: Option<Arc<str>>,
    /// What it is a part of.
    pub workload: Option<Arc<str>>,
    /// The node it ran on.
    pub node: Option<Arc<str>>,
    /// The Service that is asked at this address and port.
    pub service: Option<Arc<str>>,
    /// A Service in front of the pod.
    pub front: Option<Arc<str>>,
}

/// The two ends, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Both {
    pub(crate) client: Option<Arc<Who>>,
    pub(crate) server: Option<Arc<Who>>,
}

impl Both {
    pub(crate) fn client(&self, name: impl Fn(&Who) -> &Option<Arc<str>>) -> Option<&str> {
        name(self.client.as_ref()?).as_deref()
    }

    pub(crate) fn server(&self, name: impl Fn(&Who) -> &Option<Arc<str>>) -> Option<&str> {
        name(self.server.as_ref()?).as_deref()
    }
}

/// What was answered last about a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    version: u64,
    from: i64,
    until: i64,
    both: Both,
}

impl Default for Asked {
    /// Nothing was asked yet.
    fn default() -> Self {
        Self { version: 0, from: i64::MAX, until: i64::MIN, both: Both::default() }
    }
}

impl Asked {
    /// The two ends at a time: what was answered last, as long as that holds.
    pub(crate) fn both(&mut self, names: &dyn Names, ends: [(&str, u16); 2], ts: i64) -> &Both {
        let version = names.version();
        if version == 0 {
            // Whoever captures without a cluster doesn't pay for it.
            return &self.both;
        }
        if self.version != version || ts < self.from || ts >= self.until {
            let ask = |(ip, port): (&str, u16)| {
                let nobody = Answer { who: None, from: i64::MIN, until: i64::MAX };
                ip.parse().map_or(nobody, |ip| names.who(ip, port, ts))
            };
            let [client, server] = ends.map(ask);
            let both = Both { client: client.who, server: server.who };
            let (from, until) = (client.from.max(server.from), client.until.min(server.until));
            *self = Self { version, from, until, both };
        }
        &self.both
    }

    /// The same, with the sides exchanged.
    pub(crate) fn turned(&self) -> Self {
        let Both { client, server } = self.both.clone();
        Self { both: Both { client: server, server: client }, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use arrow_array::RecordBatch;
    use arrow_json::writer::{LineDelimited, WriterBuilder};
    use arrow_schema::DataType;
    use serde_json::Value;

    use super::*;
    use crate::{Config, Dissection, Link, Packet};

    /// Knows what it is told, and counts what it is asked.
    #[derive(Debug, Default)]
    struct Known {
        version: AtomicU64,
        asked: AtomicU64,
        holders: Mutex<Vec<(IpAddr, i64, i64, &'static str)>>,
        /// Whose traffic is kept, if not everybody's.
        taps: Mutex<Option<IpAddr>>,
    }

    impl Known {
        fn tell(&self, ip: [u8; 4], from: i64, until: i64, pod: &'static str) {
            self.holders.lock().unwrap().push((ip.into(), from, until, pod));
            self.version.fetch_add(1, Relaxed);
        }
    }

    impl Names for Known {
        fn version(&self) -> u64 {
            self.version.load(Relaxed)
        }

        fn who(&self, ip: IpAddr, port: u16, ts: i64) -> Answer {
            self.asked.fetch_add(1, Relaxed);
            let (mut who, mut answer_from, mut answer_until) = (None, i64::MIN, i64::MAX);
            for &(_, from, until, pod) in
                self.holders.lock().unwrap().iter().filter(|it| it.0 == ip)
            {
                for at in [from, until] {
                    if at <= ts {
                        answer_from = answer_from.max(at);
                    } else {
                        answer_until = answer_until.min(at);
                    }
                }
                if from <= ts && ts < until {
                    who = Some(Arc::new(Who {
                        pod: Some(pod.into()),
                        namespace: Some("shop".into()),
                        workload: Some("all".into()),
                        node: Some("n1".into()),
                        service: (port == 53).then(|| "dns".into()),
                        front: Some("front".into()),
                    }));
                }
            }
            Answer { who, from: answer_from, until: answer_until }
        }

        fn is_targeted(&self) -> bool {
            self.taps.lock().unwrap().is_some()
        }

        fn taps(&self, ip: IpAddr) -> bool {
            *self.taps.lock().unwrap() == Some(ip)
        }
    }

    /// A question or an answer of DNS in a UDP packet.
    fn dns(answer: bool, id: u16) -> Vec<u8> {
        let mut message = id.to_be_bytes().to_vec();
        message.extend(if answer { [0x81, 0x80] } else { [1, 0] });
        message.extend([0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 3, b'c', b'o', b'm', 0, 0, 1, 0, 1]);
        let (mut source, mut destination) = ((CLIENT, 40_000_u16), (SERVER, 53_u16));
        if answer {
            std::mem::swap(&mut source, &mut destination);
        }
        let udp = u16::try_from(8 + message.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend((20 + udp).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(source.0);
        packet.extend(destination.0);
        packet.extend(source.1.to_be_bytes());
        packet.extend(destination.1.to_be_bytes());
        packet.extend(udp.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(message);
        packet
    }

    const CLIENT: [u8; 4] = [10, 0, 0, 1];
    const SERVER: [u8; 4] = [10, 0, 0, 2];

    struct Run {
        names: Arc<Known>,
        dissection: Dissection,
    }

    impl Run {
        fn new() -> Self {
            let names = Arc::new(Known::default());
            let config = Config { names: Some(Arc::clone(&names) as _), ..Config::default() };
            Self { names, dissection: Dissection::new(config) }
        }

        fn ask(&mut self, ts: i64) {
            for (answer, ts) in [(false, ts), (true, ts + 1)] {
                let data = dns(answer, u16::try_from(ts / 10).unwrap());
                let wire_len = u32::try_from(data.len()).unwrap();
                self.dissection.packet(&Packet {
                    ts,
                    link: Link::Raw,
                    interface: 0,
                    wire_len,
                    data: &data,
                });
            }
        }

        fn rows(&mut self, table: &str) -> Vec<Value> {
            self.dissection.finish();
            let batches = self.dissection.take();
            let batches = batches.into_iter().filter(|it| it.0.name == table);
            batches.flat_map(|it| lines(&it.1)).collect()
        }
    }

    /// The rows as JSON, without their times.
    fn lines(batch: &RecordBatch) -> Vec<Value> {
        let fields = batch.schema();
        let timeless =
            |it: &usize| !matches!(fields.field(*it).data_type(), DataType::Timestamp(..));
        let columns: Vec<_> = (0..fields.fields().len()).filter(timeless).collect();
        let mut writer = WriterBuilder::new().build::<_, LineDelimited>(Vec::new());
        writer.write(&batch.project(&columns).unwrap()).unwrap();
        writer.finish().unwrap();
        let text = String::from_utf8(writer.into_inner()).unwrap();
        text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    #[test]
    fn nothing_is_kept_of_packets_between_others_than_those_targeted() {
        let mut run = Run::new();
        let target = |run: &Run, ip: [u8; 4]| {
            *run.names.taps.lock().unwrap() = Some(ip.into());
            run.names.version.fetch_add(1, Relaxed);
        };
        target(&run, [10, 0, 0, 9]);
        (1..10).for_each(|n| run.ask(10 * n));
        assert_eq!(run.dissection.counters().left_out, 18);
        assert_eq!(run.dissection.live_flows(), 0);
        // Either end will do.
        for end in [CLIENT, SERVER] {
            target(&run, end);
            run.ask(1_000);
        }
        target(&run, [10, 0, 0, 9]);
        run.ask(2_000);
        assert_eq!(run.dissection.counters().left_out, 20);
        // What was captured is read again, whoever is targeted by then.
        let data = dns(false, 7);
        let wire_len = u32::try_from(data.len()).unwrap();
        let packet = Packet { ts: 3_000, link: Link::Raw, interface: 0, wire_len, data: &data };
        run.dissection.again(&packet, None);
        run.dissection.finish();
        let rows = run.dissection.take();
        let of = |name: &str| rows.iter().find(|it| it.0.name == name).unwrap().1.num_rows();
        assert_eq!((of("packets"), of("dns")), (5, 3));
    }

    #[test]
    fn both_ends_are_named_in_exchanges_and_connections() {
        let mut run = Run::new();
        run.names.tell(CLIENT, 0, i64::MAX, "cart");
        run.names.tell(SERVER, 0, i64::MAX, "coredns");
        (1..100).for_each(|n| run.ask(10 * n));
        let asked = run.names.asked.load(Relaxed);
        assert_eq!(asked, 2, "once for each end of the conversation");
        run.dissection.finish();
        let batches = run.dissection.take();
        for table in ["dns", "connections"] {
            let batch = &batches.iter().find(|it| it.0.name == table).unwrap().1;
            for row in lines(batch) {
                assert_eq!(row["client_pod"], "cart");
                assert_eq!(row["client_service"], "front", "what stands before it");
                assert_eq!(row["server_pod"], "coredns");
                assert_eq!(row["server_service"], "dns", "what was asked");
                assert_eq!(row["server_namespace"], "shop");
                assert_eq!(row["server_workload"], "all");
                assert_eq!(row["client_node"], "n1");
            }
        }
    }

    #[test]
    fn a_row_has_the_names_of_its_time() {
        let mut run = Run::new();
        run.names.tell(CLIENT, 100, 200, "old");
        run.names.tell(CLIENT, 300, i64::MAX, "new");
        [50, 100, 150, 190, 250, 310].into_iter().for_each(|ts| run.ask(ts));
        let rows = run.rows("dns");
        let pods: Vec<_> = rows.iter().map(|it| it["client_pod"].as_str()).collect();
        assert_eq!(pods, [None, Some("old"), Some("old"), Some("old"), None, Some("new")]);
    }

    #[test]
    fn who_becomes_known_late_is_named_from_then_on() {
        let mut run = Run::new();
        run.ask(10);
        run.ask(20);
        assert_eq!(run.names.asked.load(Relaxed), 0, "nothing known, nothing asked");
        run.names.tell([10, 9, 9, 9], 0, i64::MAX, "somebody");
        run.ask(21);
        run.ask(22);
        assert_eq!(run.names.asked.load(Relaxed), 2, "nothing new, nothing asked");
        run.names.tell(CLIENT, 0, i64::MAX, "cart");
        run.ask(30);
        let rows = run.rows("dns");
        let pods: Vec<_> = rows.iter().map(|it| it["client_pod"].as_str()).collect();
        assert_eq!(pods, [None, None, None, None, Some("cart")]);
    }

    #[test]
    fn turned_around_the_ends_keep_their_names() {
        let known = Known::default();
        known.tell(CLIENT, 0, i64::MAX, "cart");
        let facts = crate::envelope::Facts {
            id: schema::FlowId::new(0, 0),
            client: ("10.0.0.1".to_owned(), 1),
            server: ("10.0.0.2".to_owned(), 2),
            asked: std::cell::RefCell::default(),
            processes: (None, None),
            plaintext: false,
        };
        let pod = |both: &Both| {
            (both.client(|it| &it.pod).is_some(), both.server(|it| &it.pod).is_some())
        };
        assert_eq!(pod(&facts.both(Some(&known), 5)), (true, false));
        assert_eq!(pod(&facts.turned().both(Some(&known), 5)), (false, true));
        assert_eq!(known.asked.load(Relaxed), 2, "nobody is asked again");
    }
}
