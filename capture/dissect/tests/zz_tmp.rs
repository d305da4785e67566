#[path = "truth/capture.rs"]
mod capture;
#[path = "support/json.rs"]
mod json;
use dissect::*;
#[test]
fn tmp() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus");
    for name in ["rec_mix_0.pcap", "zeek__redis__bulk-loading.pcap", "rec_dns_0.pcap", "rec_redis_0.pcap"] {
        let b = std::fs::read(format!("{root}/pcap/{name}")).unwrap();
        let packets = capture::packets(&b);
        for protocols in [false, true] {
            let t = std::time::Instant::now();
            let mut n = 0;
            let rounds = if b.len() > 1 << 20 { 3 } else { 100 };
            for _ in 0..rounds {
            let keep = Keep { packets: false, connections: false, protocols };
            let mut d = Dissection::new(Config { keep, ..Config::default() });
            for p in &packets { d.packet(p); if d.pending_rows() > 4000 { n += d.take().iter().map(|(_, b)| b.num_rows()).sum::<usize>(); } }
            d.finish();
            n += d.take().iter().map(|(_, b)| b.num_rows()).sum::<usize>();
            }
            println!("{name} {protocols} {} packets {} rows {:?} each round", packets.len(), n / rounds, t.elapsed() / rounds as u32);
        }
    }
}
