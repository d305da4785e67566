use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::*;
use ::pcapng::Writer;

/// A packet that outlives the source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    ts: i64,
    link: Link,
    interface: u32,
    wire_len: u32,
    data: Vec<u8>,
}

impl Owned {
    fn lend(&self) -> Packet<'_> {
        Packet {
            ts: self.ts,
            link: self.link,
            interface: self.interface,
            wire_len: self.wire_len,
            data: &self.data,
        }
    }
}

/// All packets, and the error if there was one.
fn read(bytes: &[u8]) -> (Vec<Owned>, Option<Error>) {
    match FileSource::from_reader("test", Cursor::new(bytes.to_vec())) {
        Ok(source) => drain(source),
        Err(error) => (Vec::new(), Some(error)),
    }
}

fn drain(mut source: FileSource) -> (Vec<Owned>, Option<Error>) {
    let mut packets = Vec::new();
    loop {
        match source.next() {
            Ok(Some(packet)) => packets.push(Owned {
                ts: packet.ts,
                link: packet.link,
                interface: packet.interface,
                wire_len: packet.wire_len,
                data: packet.data.to_vec(),
            }),
            Ok(None) => return (packets, None),
            Err(error) => {
                assert!(source.next().expect("after its error a source is at its end").is_none());
                return (packets, Some(error));
            }
        }
    }
}

/// The shared captures, if they are here.
fn corpus() -> Vec<PathBuf> {
    let folder = PathBuf::from("../../../shared/corpus/pcap");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: there are no captures at {}", folder.display());
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it != "snoop"));
    files.sort();
    files
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// libpcap reads the same files with other code. It gives up on files with several link layers.
#[test]
fn agrees_with_libpcap_on_every_packet() {
    let mut compared = 0;
    for path in corpus() {
        let (ours, error) = drain(open_file(&path).unwrap());
        let Ok(mut theirs) =
            ::pcap::Capture::from_file_with_precision(&path, ::pcap::Precision::Nano)
        else {
            continue;
        };
        let link = theirs.get_datalink().0.cast_unsigned();
        let mut n = 0;
        let end = loop {
            let packet = match theirs.next_packet() {
                Ok(packet) => packet,
                Err(end) => break end,
            };
            let ours = ours.get(n).unwrap_or_else(|| panic!("{}: {error:?}", path.display()));
            let header = packet.header;
            let ts = header.ts.tv_sec * 1_000_000_000 + header.ts.tv_usec;
            let wanted = (ts, header.len, Link::from_dlt(link), packet.data);
            assert_eq!(
                (ours.ts, ours.wire_len, ours.link, &*ours.data),
                wanted,
                "{} packet {n}",
                path.display()
            );
            n += 1;
        };
        if end != ::pcap::Error::NoMorePackets {
            // Where libpcap gives up, capinfos still compares the counts.
            continue;
        }
        assert_eq!(ours.len(), n, "{}: {error:?}", path.display());
        compared += 1;
    }
    assert!(compared > 200 || corpus().is_empty(), "{compared} files were compared");
}

#[test]
fn agrees_with_capinfos_on_every_file() {
    let files = corpus();
    if files.is_empty() {
        return;
    }
    let Ok(output) = Command::new("capinfos").arg("-TrBNcdaeS").args(&files).output() else {
        eprintln!("skipped: capinfos is not installed");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut compared = 0;
    for line in text.lines() {
        let [name, count, bytes, first, last] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (packets, error) = drain(open_file(name.as_ref()).unwrap());
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!(packets.len().to_string(), count, "{name}");
        let total: u64 = packets.iter().map(|packet| u64::from(packet.wire_len)).sum();
        assert_eq!(total.to_string(), bytes, "{name}");
        let edge = |ts: Option<i64>, text: &str| {
            let (seconds, fraction) = text.split_once('.').unwrap();
            let fraction = format!("{fraction:0<9}");
            assert_eq!(
                ts.map(|ts| format!("{}.{:09}", ts / 1_000_000_000, ts % 1_000_000_000)),
                Some(format!("{seconds}.{fraction}")),
                "{name}"
            );
        };
        edge(packets.iter().map(|packet| packet.ts).min(), first);
        edge(packets.iter().map(|packet| packet.ts).max(), last);
        compared += 1;
    }
    assert!(compared > 200, "{compared} files were compared");
}

#[test]
fn compressed_files_give_the_same() {
    for path in corpus() {
        let bytes = std::fs::read(&path).unwrap();
        if bytes.len() > 2 << 20 {
            continue;
        }
        let (plain, _) = read(&bytes);
        assert_eq!(read(&gzip(&bytes)).0, plain, "{}", path.display());
        assert_eq!(read(&zstandard(&bytes)).0, plain, "{}", path.display());
        // Several members, as parallel compressors write.
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        assert_eq!(read(&[gzip(head), gzip(tail)].concat()).0, plain, "{}", path.display());
        assert_eq!(
            read(&[zstandard(head), zstandard(tail)].concat()).0,
            plain,
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_is_written_reads_the_same() {
    for path in corpus() {
        let (packets, _) = drain(open_file(&path).unwrap());
        let (again, error) = read(&write(&packets));
        assert!(error.is_none(), "{error:?}");
        // Interfaces are numbered as they come.
        let without = |packets: Vec<Owned>| -> Vec<Owned> {
            packets.into_iter().map(|packet| Owned { interface: 0, ..packet }).collect()
        };
        assert_eq!(without(again), without(packets), "{}", path.display());
    }
}

fn write(packets: &[Owned]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for packet in packets {
        let Packet { ts, link, interface, wire_len, data } = packet.lend();
        let link = link.dlt();
        let (node, comment) = ("a node", Some("what is known of it"));
        let packet = ::pcapng::Packet { ts, link, interface, node, wire_len, data, comment };
        writer.write(&packet).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_written_file_opens_in_wireshark() {
    let Ok(mut child) = Command::new("tshark")
        .args([
            "-nr",
            "-",
            "-T",
            "fields",
            "-e",
            "frame.time_epoch",
            "-e",
            "frame.len",
            "-e",
            "frame.cap_len",
        ])
        .args(["-e", "frame.encap_type", "-e", "frame.interface_id"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
    else {
        eprintln!("skipped: tshark is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(&write(&several())).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    let wanted = "1700000000.123456789\t60\t14\t1\t0\n1700000000.123456790\t3\t3\t7\t1\n1700000001.000000000\t0\t0\t1\t2\n";
    assert_eq!(text, wanted);
}

/// Three packets of three interfaces.
fn several() -> Vec<Owned> {
    let packet = |ts, link, interface, wire_len, data: &[u8]| Owned {
        ts,
        link,
        interface,
        wire_len,
        data: data.to_vec(),
    };
    vec![
        packet(1_700_000_000_123_456_789, Link::Ethernet, 0, 60, &[7; 14]),
        packet(1_700_000_000_123_456_790, Link::Raw, 0, 3, &[1, 2, 3]),
        packet(1_700_000_001_000_000_000, Link::Ethernet, 1, 0, &[]),
    ]
}

#[test]
fn times_before_1970_survive() {
    let packets: Vec<_> = [i64::MIN, -1, 0, i64::MAX]
        .into_iter()
        .map(|ts| Owned { ts, link: Link::Raw, interface: 0, wire_len: 1, data: vec![0] })
        .collect();
    let times: Vec<_> = read(&write(&packets)).0.iter().map(|packet| packet.ts).collect();
    assert_eq!(times, [i64::MIN, -1, 0, i64::MAX]);
}

/// Every way to cut a file: nothing panics, and what is whole before the cut is returned.
#[test]
fn cut_anywhere_gives_what_is_whole() {
    let packets = several();
    let pcapng = write(&packets);
    let mut files = vec![(pcapng, packets)];
    for big in [false, true] {
        for nanos in [false, true] {
            files.push(classic(big, nanos));
        }
    }
    for (bytes, packets) in files {
        let mut last = 0;
        for cut in 0..=bytes.len() {
            let (got, error) = read(&bytes[..cut]);
            assert!(got.len() >= last && got.len() <= packets.len());
            assert!(
                got.iter()
                    .zip(&packets)
                    .all(|(got, wanted)| got.data == wanted.data && got.ts == wanted.ts)
            );
            // A packet is there as soon as its last byte is.
            if got.len() > last {
                assert!(error.is_none(), "at {cut}: {error:?}");
            }
            last = got.len();
            if let Some(Error::Torn { offset, packets, .. }) = error {
                assert!(offset < cut as u64 || cut == 0, "{offset} {cut}");
                assert_eq!(packets, got.len() as u64);
            }
        }
        assert_eq!(last, packets.len());
    }
}

/// Three packets in the classic format.
fn classic(big: bool, nanos: bool) -> (Vec<u8>, Vec<Owned>) {
    let u32 = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let u16 = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let magic = if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut bytes =
        [&u32(magic)[..], &u16(2), &u16(4), &u32(0), &u32(0), &u32(65_535), &u32(101)].concat();
    let mut packets = Vec::new();
    for (n, length) in [40_usize, 0, 7].into_iter().enumerate() {
        let data = vec![n as u8; length];
        bytes.extend([u32(1_700_000_000), u32(n as u32 + 1), u32(length as u32), u32(99)].concat());
        bytes.extend(&data);
        let fraction = (n as i64 + 1) * if nanos { 1 } else { 1_000 };
        let ts = 1_700_000_000_000_000_000 + fraction;
        packets.push(Owned { ts, link: Link::Raw, interface: 0, wire_len: 99, data });
    }
    (bytes, packets)
}

#[test]
fn classic_files_of_both_orders_and_units() {
    for big in [false, true] {
        for nanos in [false, true] {
            let (bytes, packets) = classic(big, nanos);
            let (got, error) = read(&bytes);
            assert!(error.is_none());
            assert_eq!(got, packets);
        }
    }
}

/// Blocks in a chosen byte order.
struct Blocks {
    big: bool,
    bytes: Vec<u8>,
}

impl Blocks {
    fn new(big: bool) -> Self {
        Self { big, bytes: Vec::new() }
    }

    fn u16(&self, n: u16) -> [u8; 2] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    fn u32(&self, n: u32) -> [u8; 4] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    fn u64(&self, n: u64) -> [u8; 8] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> &mut Self {
        let body = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
        let length = self.u32(body.len() as u32 + 12);
        self.bytes = [&self.bytes[..], &self.u32(kind), &length, &body, &length].concat();
        self
    }

    fn section(&mut self) -> &mut Self {
        let body =
            [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &self.u64(u64::MAX)].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(
        &mut self,
        link: u16,
        snaplen: u32,
        resolution: Option<u8>,
        offset: i64,
    ) -> &mut Self {
        let mut body = [&self.u16(link)[..], &self.u16(0), &self.u32(snaplen)].concat();
        if let Some(resolution) = resolution {
            body.extend([&self.u16(9)[..], &self.u16(1), &[resolution, 0, 0, 0]].concat());
        }
        body.extend([&self.u16(14)[..], &self.u16(8), &self.u64(offset.cast_unsigned())].concat());
        body.extend([0; 4]);
        self.block(1, &body)
    }

    fn packet(&mut self, interface: u32, ts: u64, wire_len: u32, data: &[u8]) -> &mut Self {
        let body = [
            &self.u32(interface)[..],
            &self.u32((ts >> 32) as u32),
            &self.u32(ts as u32),
            &self.u32(data.len() as u32),
            &self.u32(wire_len),
            data,
        ]
        .concat();
        self.block(6, &body)
    }
}

#[test]
fn secrets_come_where_they_stand_between_packets() {
    for big in [true, false] {
        let mut blocks = Blocks::new(big);
        let secrets = |blocks: &Blocks, kind: u32, claimed: usize, log: &[u8]| {
            [&blocks.u32(kind)[..], &blocks.u32(claimed as u32), log].concat()
        };
        // Longer than the window, and not a multiple of four.
        let long = vec![b'#'; (2 << 20) + 3];
        blocks.section().interface(1, 0, None, 0).packet(0, 1, 1, b"1");
        let first = secrets(&blocks, TLS_KEYS, 5, b"first");
        let foreign = secrets(&blocks, 0x5747_4b4c, 5, b"wires");
        let second = secrets(&blocks, TLS_KEYS, long.len(), &long);
        blocks.block(10, &first).block(10, &foreign).packet(0, 2, 1, b"2").block(10, &second);
        blocks.packet(0, 3, 1, b"3");
        let mut source = FileSource::from_reader("test", Cursor::new(blocks.bytes)).unwrap();
        let mut found = Vec::new();
        while let Some(item) = source.next_item().unwrap() {
            found.push(match item {
                Item::Packet(it) => it.data.to_vec(),
                Item::Secrets(log) => log,
            });
        }
        assert_eq!(found, [&b"1"[..], b"first", b"2", &long, b"3"]);

        // More than there is room for, and more than is held.
        for claimed in [9, u32::MAX as usize] {
            let mut blocks = Blocks::new(big);
            let wrong = secrets(&blocks, TLS_KEYS, claimed, b"12345678");
            blocks.section().interface(1, 0, None, 0).packet(0, 1, 1, b"1").block(10, &wrong);
            let (packets, error) = read(&blocks.bytes);
            assert_eq!(packets.len(), 1);
            let error = error.unwrap().to_string();
            assert!(error.contains("secrets"), "{error}");
        }
        // Cut off in the middle.
        let mut blocks = Blocks::new(big);
        let whole = secrets(&blocks, TLS_KEYS, long.len(), &long);
        blocks.section().block(10, &whole);
        let (_, error) = read(&blocks.bytes[..blocks.bytes.len() / 2]);
        assert!(matches!(error, Some(Error::Torn { .. })), "{error:?}");
    }
}

/// The kind of secrets that a key log has.
const TLS_KEYS: u32 = u32::from_be_bytes(*b"TLSK");

#[test]
fn sections_interfaces_and_every_packet_block() {
    let mut bytes = Vec::new();
    for big in [true, false] {
        let mut blocks = Blocks::new(big);
        blocks.section().interface(1, 4, None, 0).interface(101, 0, Some(0x80 | 10), 1_000);
        // Unknown, and larger than the window.
        blocks.block(0x0bad, &vec![9; 3 << 20]);
        blocks.packet(0, 5_000_001, 9, b"first").packet(1, 1 << 11 | 512, 5, b"other");
        // A simple packet, cut by its interface's limit.
        let simple = [&blocks.u32(6)[..], b"cut!"].concat();
        blocks.block(3, &simple);
        let obsolete = [
            &blocks.u16(1)[..],
            &blocks.u16(77),
            &blocks.u32(0),
            &blocks.u32(1024),
            &blocks.u32(3),
            &blocks.u32(4),
            b"old",
        ]
        .concat();
        blocks.block(2, &obsolete);
        // Totals, twice: the later ones count.
        for dropped in [1, 5] {
            let statistics = [
                &blocks.u32(0)[..],
                &[0; 8],
                &blocks.u16(4),
                &blocks.u16(8),
                &blocks.u64(100),
                &blocks.u16(7),
                &blocks.u16(8),
                &blocks.u64(dropped),
                &[0; 4],
            ]
            .concat();
            blocks.block(5, &statistics);
        }
        bytes.extend(blocks.bytes);
    }
    let mut source = FileSource::from_reader("test", Cursor::new(bytes)).unwrap();
    for base in [0, 2] {
        let mut check = |ts, link, interface: u32, wire_len, data: &[u8]| {
            let got = source.next().unwrap().unwrap();
            assert_eq!((got.ts, got.link, got.interface), (ts, link, base + interface));
            assert_eq!((got.wire_len, got.data), (wire_len, data));
        };
        check(5_000_001_000, Link::Ethernet, 0, 9, b"first");
        check(1_002_500_000_000, Link::Raw, 1, 5, b"other");
        check(1_002_500_000_000, Link::Ethernet, 0, 6, b"cut!");
        check(1_001_000_000_000, Link::Raw, 1, 4, b"old");
    }
    assert!(source.next().unwrap().is_none());
    assert_eq!(source.drops(), Drops { received: 200, dropped_kernel: 10, dropped_interface: 0 });
}

#[test]
fn resolutions_from_seconds_to_absurd() {
    for (resolution, raw, wanted) in [
        (0, 7, 7_000_000_000),
        (3, 7, 7_000_000),
        (9, 7, 7),
        (12, 7_999, 7),
        (127, u64::MAX, 0),
        (0x80, 7, 7_000_000_000),
        (0x80 | 1, 3, 1_500_000_000),
        (0x80 | 127, u64::MAX, 0),
        (0, u64::MAX, i64::MAX),
    ] {
        let mut blocks = Blocks::new(false);
        blocks.section().interface(1, 0, Some(resolution), 0).packet(0, raw, 1, b"x");
        assert_eq!(read(&blocks.bytes).0[0].ts, wanted, "{resolution}");
    }
}

#[test]
fn absurd_lengths_are_refused_with_their_place() {
    let (mut bytes, _) = classic(false, false);
    let at = bytes.len() as u64;
    bytes.extend([&[0; 8][..], &(300_000u32).to_le_bytes(), &[0; 4], &[0; 400_000]].concat());
    let (packets, error) = read(&bytes);
    assert_eq!(packets.len(), 3);
    assert!(
        matches!(error, Some(Error::Corrupt { offset, packets: 3, .. }) if offset == at),
        "{error:?}"
    );

    for (captured, length) in [(300_000, 300_032u32), (64, 36), (u32::MAX, 32), (0, !3)] {
        let mut blocks = Blocks::new(false);
        blocks.section().interface(1, 0, None, 0).packet(0, 1, 1, b"good");
        let at = blocks.bytes.len() as u64;
        let mut bytes = blocks.bytes;
        bytes.extend([&6u32.to_le_bytes()[..], &length.to_le_bytes(), &[0; 12]].concat());
        bytes.extend([&captured.to_le_bytes()[..], &[0; 4]].concat());
        let body = (length as usize).min(1 << 20) - 32;
        bytes.extend([&vec![0; body][..], &length.to_le_bytes()].concat());
        let (packets, error) = read(&bytes);
        assert_eq!(packets.len(), 1);
        assert!(
            matches!(error, Some(Error::Corrupt { offset, .. }) if offset == at),
            "{captured}: {error:?}"
        );
    }
}

/// Neither a panic nor more than the window, whatever byte is wrong.
#[test]
fn any_damaged_byte_is_survived() {
    let mut blocks = Blocks::new(false);
    blocks.section().interface(1, 0, Some(6), 0).packet(0, 1, 1, b"good").packet(0, 2, 1, b"also");
    for bytes in
        [blocks.bytes, write(&several()), classic(false, false).0, gzip(&classic(true, true).0)]
    {
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let (packets, _) = read(&damaged);
                assert!(packets.len() <= 4);
            }
        }
    }
}

#[test]
fn a_torn_compressed_file_gives_what_is_whole() {
    let packets: Vec<_> = (0..20_000)
        .map(|n| Owned {
            ts: n,
            link: Link::Raw,
            interface: 0,
            wire_len: 50,
            data: n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).to_be_bytes().to_vec(),
        })
        .collect();
    let bytes = write(&packets);
    for compressed in [gzip(&bytes), zstandard(&bytes)] {
        let (got, error) = read(&compressed[..compressed.len() / 2]);
        assert!(got.len() > 5_000, "{}", got.len());
        assert_eq!(got, packets[..got.len()]);
        assert!(matches!(error, Some(Error::Torn { offset, .. }) if offset > 0), "{error:?}");
    }
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let check = |bytes: &[u8], wanted: &str| {
        let error = read(bytes).1.unwrap().to_string();
        assert_eq!(error, format!("test is not a pcap or pcapng capture: {wanted}"));
    };
    check(b"", "it is empty");
    check(&gzip(b""), "it is empty");
    check(b"\x7fELF\x02\x01\x01\0\0\0", "it begins with 7f 45 4c 46 02 01 01 00");
    check(b"ab", "it begins with 61 62");
    check(b"snoop\0\0\0\0\0\0\x02", "it is a snoop capture (`editcap -F pcapng` converts it)");
    check(&zstandard(b"hello, world"), "it begins with 68 65 6c 6c 6f 2c 20 77");

    let missing = open_file("/nowhere/to/be.pcap".as_ref()).unwrap_err().to_string();
    assert_eq!(missing, "can't open /nowhere/to/be.pcap: No such file or directory (os error 2)");
    let folder = open_file("/".as_ref()).unwrap_err().to_string();
    assert_eq!(folder, "can't open /: is a directory");
}

#[test]
fn the_shared_snoop_file_is_refused() {
    let path = PathBuf::from(
        "../../../shared/corpus/pcap/pcpp__ExamplesTest__pcap_examples__solaris.snoop",
    );
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return;
    }
    assert!(
        matches!(open_file(&path), Err(Error::NotACapture { found, .. }) if found.contains("snoop"))
    );
}

/// Runs this test executable again, with a capture on its standard input.
#[test]
#[allow(clippy::disallowed_methods, reason = "how a test tells its child that it is the child")]
fn standard_input() {
    const CHILD: &str = "KUBESHARK_TEST_READS_STDIN";
    if std::env::var_os(CHILD).is_some() {
        let mut source = open_file("-".as_ref()).unwrap();
        assert_eq!(source.name(), "standard input");
        assert_eq!(source.progress().1, None);
        while !source.ready(Duration::from_millis(1)) {}
        assert!(source.next().unwrap().is_some());
        // The second packet comes when the parent has seen that the first was read, not before.
        eprintln!("read one");
        assert!(!source.ready(Duration::from_millis(1)));
        while !source.ready(Duration::from_millis(10)) {}
        assert_eq!(drain(source).0.len(), 2);
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "file::tests::standard_input", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (bytes, _) = classic(false, true);
    let (one, rest) = bytes.split_at(24 + 16 + 40);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(one).unwrap();
    let mut said = [0; 8];
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"read one");
    std::thread::sleep(Duration::from_millis(50));
    stdin.write_all(rest).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn progress_counts_the_files_own_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.pcap.gz");
    let compressed = gzip(&classic(false, false).0);
    std::fs::write(&path, &compressed).unwrap();
    let mut source = open_file(&path).unwrap();
    assert_eq!(source.progress().1, Some(compressed.len() as u64));
    while source.next().unwrap().is_some() {}
    assert_eq!(source.progress().0, compressed.len() as u64);
}
