//! What a Hub tells of the cluster stands in rows, at the time of their packets.

use std::{
    io::Write,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arrow_array::cast::AsArray;
use identity::{Fact, Held, Of, Pod, Service, Update, Workload};
use link::attach;
use worker::{Config, Dissection, DissectionConfig, Inputs, Worker};

use crate::{config, rows, start};

const CLIENT: [u8; 4] = [10, 244, 0, 7];
const DNS: [u8; 4] = [10, 96, 0, 10];
const SECOND: i64 = 1_000_000_000;

/// A question of DNS and its answer, at a second.
fn exchange(second: u32, id: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for answer in [false, true] {
        let mut message = id.to_be_bytes().to_vec();
        message.extend(if answer { [0x81, 0x80] } else { [1, 0] });
        message.extend([0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 3, b'c', b'o', b'm', 0, 0, 1, 0, 1]);
        let (mut source, mut destination) = ((CLIENT, 40_000 + id), (DNS, 53_u16));
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
        let length = u32::try_from(packet.len()).unwrap();
        for number in [second, u32::from(answer), length, length] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(packet);
    }
    bytes
}

/// The beginning of a capture file of bare IP packets.
fn header() -> Vec<u8> {
    let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    bytes.extend([2, 0, 4, 0]);
    for number in [0, 0, 65_535, 101_u32] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

fn second() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}

fn pod(name: &str, from: u32, to: Option<u32>) -> Fact {
    let at = |second: u32| i64::from(second) * SECOND;
    let from = at(from);
    let held = Held { ip: IpAddr::from(CLIENT), from, sure: from, to: to.map(at) };
    let pod = Pod {
        uid: name.to_owned(),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        node: Some("n1".to_owned()),
        workload: Some(Workload { kind: "Deployment".to_owned(), name: format!("{name}s") }),
        host_network: false,
        left_out: false,
        ports: Vec::new(),
        held: vec![held],
    };
    Fact { at: from + i64::from(to.is_some()), of: Of::Pod(pod) }
}

fn dns() -> Fact {
    let service = Service {
        uid: "kube-dns".to_owned(),
        name: "kube-dns".to_owned(),
        namespace: "kube-system".to_owned(),
        ports: vec![53],
        node_ports: Vec::new(),
        from: 0,
        to: None,
        held: vec![Held::open(IpAddr::from(DNS), 0, 0)],
        outside: Vec::new(),
    };
    Fact { at: 1, of: Of::Service(service) }
}

/// Tells a worker over its link, as a Hub does.
async fn tell(worker: &Worker, facts: Vec<Fact>) {
    let client = attach(worker.node(), worker.engine());
    let update = Update { first: true, whole: Some(1), facts, ..Update::default() };
    assert!(client.identity(&update).await.unwrap());
}

/// A column of the table's rows, in the order of time.
fn column(worker: &Worker, name: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for batch in rows(worker.store(), "dns") {
        let ts = batch.column_by_name("ts").unwrap();
        let ts = ts.as_primitive::<arrow_array::types::TimestampNanosecondType>();
        let names = batch.column_by_name(name).unwrap().as_string_view();
        found.extend(ts.values().iter().copied().zip(names.iter().map(|it| it.map(str::to_owned))));
    }
    found.sort();
    found.into_iter().map(|it| it.1).collect()
}

fn texts<const N: usize>(texts: [Option<&str>; N]) -> Vec<Option<String>> {
    texts.map(|it| it.map(str::to_owned)).into()
}

#[tokio::test]
async fn rows_dissected_on_demand_have_the_names_of_their_packets_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dns.pcap");
    let now = second() - 100;
    let exchanges = [0, 20, 40, 60].map(|it| exchange(now + it, u16::try_from(it).unwrap()));
    std::fs::write(&path, [header(), exchanges.concat()].concat()).unwrap();
    let slice = Duration::from_secs(10);
    let dissection = DissectionConfig { mode: Some(Dissection::OnDemand), slice };
    let worker = start(Config { dissection, ..config(Inputs::Files(vec![path])) });
    worker.imported().await;
    assert!(rows(worker.store(), "dns").is_empty());
    assert_eq!(worker.health().names, None, "nobody told it anything");
    tell(&worker, vec![pod("old", now + 10, Some(now + 30)), pod("new", now + 50, None), dns()])
        .await;
    let names = worker.health().names.unwrap();
    assert_eq!((names.objects, names.forgotten, names.refused), (3, 0, 0));
    let supply = worker.supply();
    assert_eq!(supply.supply(supply.lacking()).await.lacks, None);
    assert_eq!(column(&worker, "client_pod"), texts([None, Some("old"), None, Some("new")]));
    assert_eq!(column(&worker, "client_workload"), texts([None, Some("olds"), None, Some("news")]));
    assert_eq!(column(&worker, "server_service"), texts([Some("kube-dns"); 4]));
    assert_eq!(column(&worker, "server_pod"), texts([None; 4]));
    worker.stop().unwrap();
}

#[tokio::test]
async fn rows_dissected_live_are_named_from_when_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let worker = start(config(Inputs::Files(vec![pipe.clone()])));
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let now = second() - 100;
    let write = |writer: &mut std::fs::File, bytes: &[u8]| {
        writer.write_all(bytes).unwrap();
        writer.flush().unwrap();
    };
    write(&mut writer, &[header(), exchange(now, 1)].concat());
    while worker.health().packets < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tell(&worker, vec![pod("cart", now - 10, None)]).await;
    write(&mut writer, &exchange(now + 1, 2));
    drop(writer);
    worker.imported().await;
    assert_eq!(column(&worker, "client_pod"), texts([None, Some("cart")]));
    assert_eq!(column(&worker, "client_node"), texts([None, Some("n1")]));
    worker.stop().unwrap();
}
