//! Captures made for a test: HTTP over TCP over Ethernet, every byte decided by the arguments.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;

/// One request with its response.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) nanoseconds: u64,
    pub(crate) body: String,
}

/// The `n`-th exchange of a mix: four statuses, durations in steps so that a percentile is one of them whoever sums
/// up how many rows, and bodies that make rows heavier than answers.
pub(crate) fn exchange(n: u64) -> Exchange {
    let status = match n % 10 {
        0..=6 => 200,
        7 => 201,
        8 => 404,
        _ => 503,
    };
    let milliseconds = if (n / 10) % 10 < 9 { 2 } else { 80 + u64::from(status % 7) };
    Exchange {
        path: format!("/items/{n}?page={}", n % 17),
        status,
        nanoseconds: milliseconds * 1_000_000,
        body: format!("{{\"item\":{n},\"note\":\"{}\"}}", "lorem ipsum ".repeat(20)),
    }
}

/// Writes a capture in which each connection carries `EXCHANGES` of the given exchanges.
pub(crate) fn write(path: &Path, exchanges: impl Iterator<Item = Exchange>) {
    let mut capture = Capture::create(path);
    let exchanges: Vec<_> = exchanges.collect();
    for (n, some) in exchanges.chunks(EXCHANGES).enumerate() {
        capture.connection(n, some);
    }
    capture.out.flush().unwrap();
}

struct Capture {
    out: BufWriter<File>,
    now: u64,
}

struct Flow {
    ends: [(Ipv4Addr, u16); 2],
    next: [u32; 2],
}

impl Capture {
    fn create(path: &Path) -> Self {
        let mut out = BufWriter::new(File::create(path).unwrap());
        // Nanoseconds, this machine's order, Ethernet.
        for word in [0xa1b2_3c4d, 4 << 16 | 2, 0, 0, 65_535, 1_u32] {
            out.write_all(&word.to_le_bytes()).unwrap();
        }
        Self { out, now: START }
    }

    fn connection(&mut self, n: usize, exchanges: &[Exchange]) {
        let client = Ipv4Addr::from(0x0a00_0000 + 0x100 + u32::try_from(n % 50_000).unwrap());
        let port = 32_768 + u16::try_from(n % 20_000).unwrap();
        let mut flow = Flow {
            ends: [(client, port), (Ipv4Addr::new(10, 9, 0, 1), 8080)],
            next: [1_000, 9_000],
        };
        self.segment(&mut flow, 0, SYN, b"");
        self.segment(&mut flow, 1, SYN | ACK, b"");
        self.segment(&mut flow, 0, ACK, b"");
        for it in exchanges {
            let request =
                format!("GET {} HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: test\r\n\r\n", it.path);
            self.segment(&mut flow, 0, ACK | PUSH, request.as_bytes());
            self.now += it.nanoseconds - GAP;
            let response = format!(
                "HTTP/1.1 {} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                it.status,
                it.body.len(),
                it.body
            );
            self.segment(&mut flow, 1, ACK | PUSH, response.as_bytes());
            self.segment(&mut flow, 0, ACK, b"");
        }
        self.segment(&mut flow, 0, FIN | ACK, b"");
        self.segment(&mut flow, 1, FIN | ACK, b"");
        self.segment(&mut flow, 0, ACK, b"");
    }

    fn segment(&mut self, flow: &mut Flow, from: usize, flags: u8, payload: &[u8]) {
        let (source, target) = (flow.ends[from], flow.ends[1 - from]);
        let mut ip = vec![0x45, 0];
        ip.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        ip.extend(source.0.octets());
        ip.extend(target.0.octets());
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut tcp = Vec::with_capacity(20 + payload.len());
        tcp.extend(source.1.to_be_bytes());
        tcp.extend(target.1.to_be_bytes());
        tcp.extend(flow.next[from].to_be_bytes());
        let ack = if flags & ACK == 0 { 0 } else { flow.next[1 - from] };
        tcp.extend(ack.to_be_bytes());
        tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        let mut pseudo = Vec::from(&ip[12..20]);
        pseudo.extend([0, 6]);
        pseudo.extend(u16::try_from(tcp.len()).unwrap().to_be_bytes());
        pseudo.extend(&tcp);
        let sum = checksum(&pseudo);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());

        let length = u32::try_from(14 + ip.len() + tcp.len()).unwrap();
        for word in
            [(self.now / 1_000_000_000) as u32, (self.now % 1_000_000_000) as u32, length, length]
        {
            self.out.write_all(&word.to_le_bytes()).unwrap();
        }
        self.out.write_all(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]).unwrap();
        self.out.write_all(&ip).unwrap();
        self.out.write_all(&tcp).unwrap();
        let synced = u32::from(flags & (SYN | FIN) != 0);
        flow.next[from] += u32::try_from(payload.len()).unwrap() + synced;
        self.now += GAP;
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const PUSH: u8 = 8;
const ACK: u8 = 16;
/// 2026-11-22 10:00 UTC.
const START: u64 = 1_795_341_600_000_000_000;
/// Between packets that do not wait for anybody.
const GAP: u64 = 10_000;
/// Exchanges of a connection.
const EXCHANGES: usize = 20;
