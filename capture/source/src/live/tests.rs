use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::Command,
    time::Instant,
};

use super::*;

/// Opens, or says why the test can't run here.
fn open(config: &LiveConfig) -> Option<Live> {
    match Live::open(config) {
        Ok(live) => Some(live),
        Err(error @ Error::Permission { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn traffic_on_loopback_is_seen_within_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for interface in ["lo", "any"] {
        let config = LiveConfig {
            interface: interface.to_owned(),
            filter: Some(format!("tcp port {}", address.port())),
            ..LiveConfig::default()
        };
        let Some(mut live) = open(&config) else { return };
        let wanted = if interface == "any" { Link::LinuxSll2 } else { Link::Ethernet };
        assert_eq!(live.link(), wanted);
        // Nothing yet: the wait is bounded.
        let begin = Instant::now();
        assert!(live.next().unwrap().is_none());
        assert!(begin.elapsed() < Duration::from_secs(2));

        let needle = format!("seen on {interface}");
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(needle.as_bytes()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut got = vec![0; needle.len()];
        server.read_exact(&mut got).unwrap();

        let deadline = Instant::now() + Duration::from_secs(5);
        let mut found = false;
        while !found && Instant::now() < deadline {
            let Some(packet) = live.next().unwrap() else { continue };
            found = packet.data.windows(needle.len()).any(|window| window == needle.as_bytes());
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            assert!((now.as_nanos() as i64 - packet.ts).abs() < 5_000_000_000);
        }
        assert!(found, "on {interface}");
        assert!(live.stats().unwrap().received > 0);
    }
}

#[test]
fn ignored_ports_are_not_captured() {
    let [ours, theirs] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let config = LiveConfig {
        interface: "lo".to_owned(),
        filter: Some(format!("tcp port {} or tcp port {}", port(&ours), port(&theirs))),
        ignore_ports: vec![port(&ours)],
        ..LiveConfig::default()
    };
    let Some(mut live) = open(&config) else { return };
    for listener in [&ours, &theirs] {
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    }
    let deadline = Instant::now() + Duration::from_millis(500);
    let mut seen = 0;
    while Instant::now() < deadline {
        let Some(packet) = live.next().unwrap() else { continue };
        let ports = &packet.data[14 + 20..][..4];
        assert!(!ports.chunks(2).any(|it| it == port(&ours).to_be_bytes()));
        seen += 1;
    }
    assert!(seen >= 3);
}

#[test]
fn errors_say_what_to_do() {
    let config = LiveConfig { interface: "nosuch0".to_owned(), ..LiveConfig::default() };
    let error = Live::open(&config).unwrap_err();
    let Error::NoInterface { existing, .. } = &error else { panic!("{error}") };
    assert!(existing.iter().any(|name| name == "lo"));
    assert!(error.to_string().starts_with("there is no interface nosuch0; there are: "));

    let config = LiveConfig { filter: Some("tcp prot 80".to_owned()), ..LiveConfig::default() };
    if let Err(error) = Live::open(&config) {
        let error = error.to_string();
        assert!(
            error.contains("`tcp prot 80` is not valid") || error.contains("setcap"),
            "{error}"
        );
    } else {
        panic!("the filter was taken");
    }
}

#[test]
fn a_32_bit_counter_may_wrap() {
    let mut total = 0;
    for counter in [5, u32::MAX, 3, 3, 10] {
        advance(&mut total, counter);
    }
    assert_eq!(total, (1 << 32) + 10);
}

#[test]
fn programs_keep_the_users_precedence() {
    let config = LiveConfig {
        filter: Some("port 1 or port 2".to_owned()),
        ignore_ports: vec![3],
        ..LiveConfig::default()
    };
    assert_eq!(config.program().unwrap(), "(port 1 or port 2) and not port 3");
    assert_eq!(LiveConfig::default().program(), None);
}

#[test]
fn loopback_is_among_the_interfaces() {
    let all = interfaces().unwrap();
    assert!(all.iter().any(|it| it.loopback && it.addresses.contains(&[127, 0, 0, 1].into())));
}

/// In a network of its own, with nothing but a pair of interfaces in it, `a` and `b`. Nothing if that can't be had.
fn apart(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // SAFETY: of this thread alone, which ends with the test.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            eprintln!("skipped: {}", std::io::Error::last_os_error());
            return;
        }
        // The kernel's own questions about neighbours would be packets, too.
        for of in ["all", "default"] {
            let switch = format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6");
            std::fs::write(switch, "1").unwrap_or_default();
        }
        ip("link set lo up");
        ip("link add name a type veth peer name b");
        for name in ["a", "b"] {
            ip(&format!("link set dev {name} arp off up"));
        }
        // What is sent before both ends have noticed each other is lost.
        for name in ["a", "b"] {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !ip(&format!("link show dev {name}")).contains("state UP") {
                assert!(Instant::now() < deadline, "{name} does not come up");
            }
        }
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Puts frames onto a wire as they are.
struct Wire(OwnedFd);

impl Wire {
    fn of(interface: &str) -> Self {
        // SAFETY: numbers; the descriptor is new.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)) };
        ring::bind_to_send(&fd, interface).unwrap();
        Self(fd)
    }

    fn send(&self, frame: &[u8]) {
        // SAFETY: a pointer to bytes and their number.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(usize::try_from(sent).unwrap(), frame.len());
    }
}

/// A UDP datagram in an Ethernet frame, over IPv4 or IPv6, in a VLAN or not.
fn frame(port: u16, payload: &[u8], six: bool, vlan: Option<u16>) -> Vec<u8> {
    let udp = [
        &port.to_be_bytes()[..],
        &53_u16.to_be_bytes(),
        &(8 + payload.len() as u16).to_be_bytes(),
        &[0, 0],
        payload,
    ]
    .concat();
    let length = udp.len() as u16;
    let (kind, header) = if six {
        let head = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[17, 64]].concat();
        (0x86dd_u16, [&head[..], &[0xfd; 16], &[0xfe; 16]].concat())
    } else {
        let length = (20 + length).to_be_bytes();
        let head = [&[0x45, 0][..], &length, &[0, 1, 0, 0, 64, 17, 0, 0]].concat();
        (0x0800_u16, [&head[..], &[10, 0, 0, 1], &[10, 0, 0, 2]].concat())
    };
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    if let Some(tag) = vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(tag.to_be_bytes());
    }
    [&frame[..], &kind.to_be_bytes(), &header, &udp].concat()
}

/// What a capture says of a packet, but its time.
type Seen = (Link, u32, u32, Vec<u8>);

/// Takes what has come; how many that was.
fn take(live: &mut Live, into: &mut Vec<(i64, Seen)>) -> usize {
    let before = into.len();
    while let Some(it) = live.next().unwrap() {
        let mut data = it.data.to_vec();
        if it.link == Link::LinuxSll2 {
            // Behind the sender's address of six bytes, libpcap leaves what happens to stand there.
            let rest = 12 + usize::from(data[11]);
            data[rest..20].fill(0);
        }
        into.push((it.ts, (it.link, it.interface, it.wire_len, data)));
    }
    into.len() - before
}

/// A cooked packet without the tag that stands in it.
fn untagged((link, interface, wire_len, mut data): Seen) -> Seen {
    if data.starts_with(&[0x81, 0x00]) {
        data.copy_within(22..24, 0);
        data.drain(20..24);
        return (link, interface, wire_len - 4, data);
    }
    (link, interface, wire_len, data)
}

/// Captures with each way at the same time; what each has seen.
fn both(config: &LiveConfig, send: impl FnOnce()) -> [Vec<(i64, Seen)>; 2] {
    let mut ways = [Way::Ring, Way::Libpcap].map(|way| {
        let live = Live::open(&LiveConfig { way, ..config.clone() }).unwrap();
        assert_eq!(live.way(), way);
        live
    });
    send();
    let mut seen = [Vec::new(), Vec::new()];
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut quiet = 0;
    while (quiet < 4 || seen[0].len() != seen[1].len()) && Instant::now() < deadline {
        let new =
            ways.iter_mut().zip(&mut seen).map(|(live, seen)| take(live, seen)).sum::<usize>();
        quiet = if new == 0 { quiet + 1 } else { 0 };
    }
    seen
}

#[test]
fn the_ring_and_libpcap_give_the_same_packets() {
    apart(|| {
        let wire = Wire::of("a");
        // Somebody listens, or else there would be answers that nobody does.
        let _listener = UdpSocket::bind("127.0.0.1:53").unwrap();
        let send = || {
            for n in 0..20_u16 {
                let payload = vec![n as u8; 40 + usize::from(n) * 60];
                for six in [false, true] {
                    wire.send(&frame(1_000 + n, &payload, six, None));
                }
                wire.send(&frame(2_000 + n, &payload, false, Some(5)));
            }
            // To the machine itself, one larger than any wire takes.
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            for length in [10, 60_000] {
                socket.send_to(&vec![7; length], "127.0.0.1:53").unwrap();
            }
        };
        for (interface, filter, snaplen, wanted) in [
            ("b", None, 256 << 10, 60),
            ("b", None, 64, 60),
            ("b", Some("udp src port 1003"), 256 << 10, 2),
            ("b", Some("ip6 and greater 200"), 256 << 10, 18),
            ("b", Some("vlan 5"), 256 << 10, 20),
            ("b", Some("vlan 5"), 100, 20),
            ("b", Some("outbound"), 256 << 10, 0),
            ("lo", None, 256 << 10, 2),
            ("lo", Some("udp[8] = 7"), 256 << 10, 2),
            ("any", Some("udp src port 1003"), 256 << 10, 4),
            ("any", Some("ip6"), 256 << 10, 40),
            ("any", Some("ip6"), 64, 40),
            ("any", Some("inbound and ip6"), 256 << 10, 20),
            ("any", Some("udp[8] = 7"), 256 << 10, 5),
            ("any", Some("net 127.0.0.0/8"), 256 << 10, 2),
        ] {
            let config = LiveConfig {
                interface: interface.to_owned(),
                filter: filter.map(str::to_owned),
                snaplen,
                ..LiveConfig::default()
            };
            let [ring, libpcap] = both(&config, send);
            let what = format!("{interface}, {filter:?}, {snaplen}");
            // Of all interfaces together, libpcap forgets the tags that the kernel has taken out.
            let of = |it: &[(i64, Seen)]| {
                let seen = it.iter().map(|it| it.1.clone());
                seen.map(|it| if interface == "any" { untagged(it) } else { it }).collect()
            };
            let (ours, theirs): (Vec<_>, Vec<_>) = (of(&ring), of(&libpcap));
            for (n, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                let begin = |it: &Seen| it.3.iter().take(64).copied().collect::<Vec<_>>();
                assert_eq!(begin(ours), begin(theirs), "{what}: packet {n}");
                assert!(ours == theirs, "{what}: packet {n}");
            }
            assert_eq!((ours.len(), theirs.len()), (wanted, wanted), "{what}");
            for (ring, libpcap) in ring.iter().zip(&libpcap) {
                assert!((ring.0 - libpcap.0).abs() < 1_000_000_000, "{what}");
            }
            assert!(ring.is_sorted_by_key(|it| it.0), "{what}");
        }
    });
}

/// Reads until there are so many, or for long enough.
fn read(live: &mut Live, wanted: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen.len() < wanted && Instant::now() < deadline {
        take(live, &mut seen);
    }
    seen.into_iter().map(|it| it.1).collect()
}

fn ring_on(interface: &str) -> LiveConfig {
    LiveConfig { interface: interface.to_owned(), way: Way::Ring, ..LiveConfig::default() }
}

#[test]
fn the_ring_tells_tags_on_all_interfaces_and_the_direction_from_the_first_packet_on() {
    apart(|| {
        let wire = Wire::of("a");
        let mut all = Live::open(&ring_on("any")).unwrap();
        let outbound = LiveConfig { filter: Some("outbound".to_owned()), ..ring_on("a") };
        let mut outbound = Live::open(&outbound).unwrap();
        wire.send(&frame(1, b"tagged", false, Some(5)));
        let seen = read(&mut all, 2);
        assert_eq!(seen.iter().map(|it| it.3[10]).collect::<Vec<_>>(), [4, 3]);
        for (_, _, wire_len, data) in &seen {
            // 802.1Q, in VLAN 5, IPv4.
            assert_eq!((&data[..2], &data[20..24]), (&[0x81, 0][..], &[0, 5, 8, 0][..]));
            assert_eq!(*wire_len as usize, data.len());
        }
        assert_eq!(read(&mut outbound, 1).len(), 1);
    });
}

#[test]
fn what_a_full_ring_drops_is_counted() {
    apart(|| {
        let wire = Wire::of("a");
        // Blocks wait long to be full, so that who is held up here does not have them handed over half empty.
        let timeout = Duration::from_millis(500);
        let config = LiveConfig { buffer_bytes: 512 << 10, timeout, ..ring_on("b") };
        let mut live = Live::open(&config).unwrap();
        let sent = 2_000_u64;
        for _ in 0..sent {
            wire.send(&frame(1, &[0; 1_000], false, None));
        }
        let Drops { received, dropped_kernel, .. } = live.stats().unwrap();
        assert_eq!(received, sent);
        assert!((1_000..sent).contains(&dropped_kernel), "{dropped_kernel}");
        let kept = usize::try_from(sent - dropped_kernel).unwrap();
        assert_eq!(read(&mut live, kept).len(), kept);
        // There is room again, and no block is lost.
        for round in 1..=10 {
            for _ in 0..100 {
                wire.send(&frame(round, &[0; 1_000], false, None));
            }
            assert_eq!(read(&mut live, 100).len(), 100, "{round}");
        }
        assert_eq!(live.stats().unwrap().dropped_kernel, dropped_kernel);
    });
}

#[test]
fn nothing_is_left_of_a_ring_that_is_closed() {
    apart(|| {
        let live = Live::open(&ring_on("b")).unwrap();
        let From::Ring(ring) = &live.from else { panic!("{live:?}") };
        let socket = std::fs::read_link(format!("/proc/self/fd/{}", ring.socket())).unwrap();
        let socket = socket.to_str().unwrap().to_owned();
        let is_mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().any(|it| it.ends_with(&socket))
        };
        let is_open = || {
            let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            open.filter_map(|it| std::fs::read_link(it.path()).ok())
                .any(|it| it.to_str() == Some(&socket))
        };
        assert!(is_mapped() && is_open());
        drop(live);
        assert!(!is_mapped() && !is_open());
    });
}

#[test]
fn the_ring_outlives_an_interface_that_is_down_and_says_when_it_is_gone() {
    apart(|| {
        let mut live = Live::open(&ring_on("b")).unwrap();
        let wire = Wire::of("a");
        wire.send(&frame(1, b"before", false, None));
        assert_eq!(read(&mut live, 1).len(), 1);
        ip("link set dev b down");
        for _ in 0..3 {
            assert!(live.next().unwrap().is_none());
        }
        ip("link set dev b up");
        // The other end of the wire notices a little later.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut after = Vec::new();
        while take(&mut live, &mut after) == 0 {
            assert!(Instant::now() < deadline, "nothing came any more");
            wire.send(&frame(1, b"after", false, None));
        }

        ip("link del dev b");
        let deadline = Instant::now() + Duration::from_secs(20);
        let error = loop {
            match live.next() {
                Ok(_) => assert!(Instant::now() < deadline),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(error, "can't capture on b: the interface is gone");
    });
}

#[test]
fn where_there_is_no_ring_libpcap_captures_unless_the_ring_was_asked_for() {
    apart(|| {
        // What only libpcap's own header of a cooked packet has: the length of the sender's address.
        let filter = Some("link[11] = 6".to_owned());
        let config = |way| LiveConfig { filter: filter.clone(), way, ..LiveConfig::default() };
        let live = Live::open(&config(Way::Auto)).unwrap();
        assert_eq!(live.way(), Way::Libpcap);
        let error = Live::open(&config(Way::Ring)).unwrap_err().to_string();
        assert_eq!(
            error,
            "can't capture on any: there is no ring: the filter asks for what the kernel does not know of a packet \
             (`libpcap` may be a way)"
        );
        let plain = LiveConfig { interface: "a".to_owned(), ..LiveConfig::default() };
        assert_eq!(Live::open(&plain).unwrap().way(), Way::Ring);
    });
}
