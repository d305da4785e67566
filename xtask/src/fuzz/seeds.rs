//! The fixtures' captures in the shape that the fuzz targets read, so that fuzzing begins inside the protocols.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Writes the seeds of a target into `folder`; a target that is not known here begins with nothing.
pub(super) fn write(target: &str, fixtures: &Path, corpus: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut captures_of_both = captures(fixtures)?;
    if corpus.is_dir() {
        captures_of_both.extend(captures(corpus)?);
    }
    for capture in captures_of_both {
        if fs::metadata(&capture)?.len() > CAPTURE_BYTES {
            continue;
        }
        let bytes = fs::read(&capture).with_context(|| capture.display().to_string())?;
        let name = capture.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let packets = packets(&bytes);
        let seeds = match target {
            "packets" => corridors(&packets),
            "protocols" => conversations(&packets),
            _ => Vec::new(),
        };
        for (n, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("{name}-{n}")), seed)?;
        }
    }
    Ok(())
}

/// Packets as the target `packets` reads them: link, time step, length, bytes.
fn corridors(packets: &[&[u8]]) -> Vec<Vec<u8>> {
    let seed = |some: &[&[u8]]| {
        let mut seed = Vec::new();
        for packet in some {
            let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
            seed.extend([ETHERNET, 1]);
            seed.extend(length.to_be_bytes());
            seed.extend(&packet[..usize::from(length)]);
        }
        seed
    };
    packets.chunks(PACKETS).map(seed).collect()
}

/// What the two sides sent as the target `protocols` reads it: transport and port, then pieces of a side and a length.
fn conversations(packets: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut flows: Vec<([u8; 3], Vec<u8>)> = Vec::new();
    for it in packets.iter().filter_map(|it| payload(it)) {
        let Payload { udp, from, to, bytes } = it;
        let place = flows
            .iter()
            .position(|(client, _)| client[0] == udp && (client[1..] == from || client[1..] == to));
        let place = place.unwrap_or_else(|| {
            flows.push(([udp, from[0], from[1]], vec![udp, to[0], to[1]]));
            flows.len() - 1
        });
        let (client, script) = &mut flows[place];
        for piece in bytes.chunks(usize::from(u8::MAX)) {
            script.push(u8::from(client[1..] != from));
            script.push(u8::try_from(piece.len()).unwrap_or(u8::MAX));
            script.extend(piece);
        }
    }
    let scripts = flows.into_iter().map(|(_, script)| script).filter(|it| it.len() > 3).take(FLOWS);
    scripts.map(|it| it[..it.len().min(SCRIPT_BYTES)].to_vec()).collect()
}

/// What a packet carried from one port to another.
struct Payload<'a> {
    /// 1 for UDP, 0 for TCP.
    udp: u8,
    from: [u8; 2],
    to: [u8; 2],
    bytes: &'a [u8],
}

/// Of a TCP segment or UDP datagram in IPv4 over Ethernet.
fn payload(packet: &[u8]) -> Option<Payload<'_>> {
    let ip = packet.strip_prefix(packet.get(..12)?)?.strip_prefix(&[8, 0])?;
    let header = usize::from(ip.first()? & 15) * 4;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let inner = ip.get(header..total)?;
    let (udp, bytes) = match *ip.get(9)? {
        6 => (0, inner.get(usize::from(inner.get(12)? >> 4) * 4..)?),
        17 => (1, inner.get(8..)?),
        _ => return None,
    };
    Some(Payload { udp, from: [inner[0], inner[1]], to: [inner[2], inner[3]], bytes })
}

/// The packets of a classic capture of a little-endian machine, which is what fixtures are.
fn packets(capture: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    if !capture.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]) || capture.get(20) != Some(&1) {
        return packets;
    }
    let mut rest = capture.get(24..).unwrap_or_default();
    while let Some(length) = rest.get(8..12) {
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
        let Some(packet) = rest.get(16..16 + length) else { break };
        packets.push(packet);
        rest = &rest[16 + length..];
    }
    packets
}

fn captures(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(captures(&path)?);
        } else if path.extension().is_some_and(|it| it == "pcap") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The place of Ethernet among the target's link types.
const ETHERNET: u8 = 0;
/// Packets of a seed.
const PACKETS: usize = 40;
/// Conversations taken of a capture.
const FLOWS: usize = 8;
/// Larger captures say no more about a protocol.
const CAPTURE_BYTES: u64 = 64 << 10;
/// Longer inputs are slow and find no more.
const SCRIPT_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_becomes_a_piece_of_its_side() {
        let mut ip = vec![0x45, 0, 0, 43, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        ip.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 24, 0, 0, 0, 0, 0, 0]);
        ip.extend(b"abc");
        let packet = [&[0; 12][..], &[8, 0], &ip].concat();
        let mut capture = vec![0xd4, 0xc3, 0xb2, 0xa1];
        capture.extend([0; 16]);
        capture.extend([1, 0, 0, 0]);
        capture.extend([0; 8]);
        let length = u32::try_from(packet.len()).unwrap().to_le_bytes();
        capture.extend(length.into_iter().chain(length));
        capture.extend(&packet);

        let packets = packets(&capture);
        assert_eq!(packets, [&packet[..]]);
        assert_eq!(conversations(&packets)[0], b"\x00\x00\x50\x00\x03abc");
        assert_eq!(corridors(&packets)[0][..4], [0, 1, 0, 57]);
        assert!(payload(&packet[..30]).is_none());
    }
}
