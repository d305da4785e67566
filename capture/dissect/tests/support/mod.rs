//! Captures in, rows out, and ways to disturb what lies between.
mod json;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dissect::{Config, Dissection, Keep, Link, Packet, Secrets};
use serde_json::{Map, Value};

pub(crate) use json::objects;

/// A row, as JSON.
pub(crate) type Row = Map<String, Value>;

/// A packet of its own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) ts: i64,
    pub(crate) data: Vec<u8>,
}

/// The protocols' fixtures, with the protocol each belongs to.
pub(crate) fn fixtures() -> Vec<(String, PathBuf)> {
    let root = Path::new("fixtures");
    let mut found = Vec::new();
    for folder in std::fs::read_dir(root).unwrap().map(|it| it.unwrap().path()) {
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()) {
            if file.extension().is_some_and(|it| it == "pcap") {
                let protocol = folder.file_name().unwrap().to_string_lossy().into_owned();
                found.push((protocol, file));
            }
        }
    }
    found.sort();
    found
}

/// What opens TLS in any of the fixtures: a key log lies beside the capture.
static SECRETS: LazyLock<Secrets> = LazyLock::new(|| {
    let mut secrets = Secrets::default();
    for (_, path) in fixtures() {
        if let Ok(log) = std::fs::read(path.with_extension("keys")) {
            assert!(secrets.learn(&log) > 0, "{}", path.display());
        }
    }
    secrets
});

/// A dissection that knows the fixtures' secrets.
pub(crate) fn dissection(config: Config) -> Dissection {
    Dissection::new(Config { secrets: SECRETS.clone(), ..config })
}

/// Reads a little-endian pcap of microseconds, as tcpdump writes it.
pub(crate) fn read(path: &Path) -> Vec<Frame> {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(bytes[..4], [0xd4, 0xc3, 0xb2, 0xa1], "{}", path.display());
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut frames = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let ts = i64::from(number(at)) * 1_000_000_000 + i64::from(number(at + 4)) * 1000;
        let length = number(at + 8) as usize;
        frames.push(Frame { ts, data: bytes[at + 16..at + 16 + length].to_vec() });
        at += 16 + length;
    }
    frames
}

/// The rows of every protocol, as JSON; by flow, then in order.
pub(crate) fn rows(frames: &[Frame]) -> Vec<Row> {
    let keep = Keep { packets: false, connections: false, ..Keep::default() };
    by_place(all_rows(frames, keep).into_iter().filter(|it| it.contains_key("seq")).collect())
}

/// In the order of conversations, and in theirs.
pub(crate) fn by_place(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|it| (it["flow_id"].to_string(), it["seq"].as_u64()));
    rows
}

/// The rows of all tables that are kept, as JSON.
pub(crate) fn all_rows(frames: &[Frame], keep: Keep) -> Vec<Row> {
    by_table(frames, keep).into_iter().flat_map(|it| it.1).collect()
}

/// The same, apart: those of a table in the order in which they came.
pub(crate) fn by_table(frames: &[Frame], keep: Keep) -> Vec<(String, Vec<Row>)> {
    let mut dissection = dissection(Config { keep, ..Config::default() });
    for frame in frames {
        dissection.packet(&Packet {
            ts: frame.ts,
            link: Link::Ethernet,
            interface: 0,
            wire_len: frame.data.len() as u32,
            data: &frame.data,
        });
    }
    dissection.finish();
    let tables = dissection.take().into_iter();
    tables.map(|(table, batch)| (table.name.to_string(), objects(&batch))).collect()
}

/// Rows without what depends on when packets arrive.
pub(crate) fn timeless(frames: &[Frame]) -> Vec<String> {
    let mut rows = rows(frames);
    for row in &mut rows {
        row.remove("ts");
        row.remove("duration");
    }
    rows.into_iter().map(|it| Value::Object(it).to_string()).collect()
}

/// Where the parts of a TCP segment over IPv4 over Ethernet lie: IP header, TCP header, payload.
pub(crate) fn tcp(frame: &Frame) -> Option<(usize, usize, usize)> {
    let data = &frame.data;
    let ip = 14;
    let is_tcp = data.get(12..14) == Some(&[8, 0]) && data.get(ip + 9) == Some(&6);
    let tcp = ip + usize::from(data.get(ip)? & 15) * 4;
    let payload = tcp + usize::from(data.get(tcp + 12)? >> 4) * 4;
    is_tcp.then_some((ip, tcp, payload))
}

pub(crate) fn payload(frame: &Frame) -> &[u8] {
    tcp(frame).map_or(&[], |(.., payload)| &frame.data[payload..])
}

/// The segment as several, cut after the given numbers of bytes.
pub(crate) fn cut(frame: &Frame, sizes: &mut dyn Iterator<Item = usize>) -> Vec<Frame> {
    let Some((ip, tcp, start)) = tcp(frame) else { return vec![frame.clone()] };
    let bytes = &frame.data[start..];
    if bytes.is_empty() {
        return vec![frame.clone()];
    }
    let seq = u32::from_be_bytes(frame.data[tcp + 4..tcp + 8].try_into().unwrap());
    let flags = frame.data[tcp + 13];
    let mut parts = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end =
            (at + sizes.next().unwrap_or(usize::MAX).max(1).min(bytes.len())).min(bytes.len());
        let mut data = frame.data[..start].to_vec();
        data.extend_from_slice(&bytes[at..end]);
        let total = (data.len() - ip) as u16;
        data[ip + 2..ip + 4].copy_from_slice(&total.to_be_bytes());
        data[tcp + 4..tcp + 8].copy_from_slice(&seq.wrapping_add(at as u32).to_be_bytes());
        // FIN belongs to the last part.
        data[tcp + 13] = if end < bytes.len() { flags & !1 } else { flags };
        parts.push(Frame { ts: frame.ts, data });
        at = end;
    }
    parts
}
