//! Live interfaces, through libpcap.

use std::{fmt, os::fd::AsFd, time::Duration};

use dissect::{Link, Packet};
use pcap::{Active, Capture, Device, Linktype, Precision};

use crate::{Error, wait};

/// What to capture, and how.
#[derive(Debug, Clone)]
pub struct LiveConfig {
    /// The interface's name, or `any` for all.
    pub interface: String,
    /// A BPF filter, as tcpdump takes it.
    pub filter: Option<String>,
    /// Ports whose packets are not captured, whatever the filter says: those of our own pages and links, which
    /// would otherwise show themselves.
    pub ignore_ports: Vec<u16>,
    /// Bytes kept of each packet.
    pub snaplen: u32,
    /// The kernel's buffer, for when this side is slow.
    pub buffer_bytes: u32,
    /// Hand over each packet at once. Costs a wake-up per packet; without it a packet waits up to `timeout` in
    /// the kernel's buffer.
    pub immediate: bool,
    /// Also see what is not addressed to this machine.
    pub promiscuous: bool,
    /// How long to wait for packets before the caller gets to do something else.
    pub timeout: Duration,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            interface: "any".to_owned(),
            filter: None,
            ignore_ports: Vec::new(),
            snaplen: 256 << 10,
            buffer_bytes: 16 << 20,
            immediate: false,
            promiscuous: false,
            timeout: Duration::from_millis(20),
        }
    }
}

impl LiveConfig {
    /// The filter and the ignored ports, as one BPF program.
    fn program(&self) -> Option<String> {
        let ignored = self.ignore_ports.iter().map(|port| format!("not port {port}"));
        let given = self.filter.iter().filter(|filter| !filter.trim().is_empty());
        let terms: Vec<String> = given.map(|filter| format!("({filter})")).chain(ignored).collect();
        (!terms.is_empty()).then(|| terms.join(" and "))
    }
}

/// An open interface.
pub struct Live {
    capture: Capture<Active>,
    interface: String,
    link: Link,
    /// The last look found nothing, so that the next one waits first.
    drained: bool,
    timeout: Duration,
    drops: Drops,
}

impl Live {
    /// Begins to capture.
    pub fn open(config: &LiveConfig) -> Result<Self, Error> {
        let interface = config.interface.clone();
        let live = |cause: pcap::Error| describe(&interface, &cause);
        // A kernel that can't capture says so in many ways; a name that doesn't exist is better looked up.
        if let Ok(devices) = Device::list()
            && interface != "any"
            && !devices.iter().any(|device| device.name == interface)
        {
            let existing = devices.into_iter().filter(is_plain).map(|device| device.name).collect();
            return Err(Error::NoInterface { interface, existing });
        }
        let millis = i32::try_from(config.timeout.as_millis()).unwrap_or(i32::MAX).max(1);
        let mut capture = Capture::from_device(interface.as_str())
            .map_err(live)?
            .snaplen(i32::try_from(config.snaplen).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(config.buffer_bytes).unwrap_or(i32::MAX))
            .promisc(config.promiscuous)
            .immediate_mode(config.immediate)
            .timeout(millis)
            .precision(if NANOS { Precision::Nano } else { Precision::Micro })
            .open()
            .map_err(live)?;
        if capture.get_datalink() == Linktype::LINUX_SLL {
            // Version 2 also tells the interface. Where libpcap is too old for it, version 1 stays.
            if let Err(error) = capture.set_datalink(Linktype::LINUX_SLL2) {
                tracing::debug!(%error, "cooked packets stay at version 1");
            }
        }
        if let Some(program) = config.program() {
            // The user's own part first, so that its error is about what the user wrote.
            if let Some(filter) = &config.filter {
                let failed = |cause: pcap::Error| Error::Filter {
                    filter: filter.clone(),
                    cause: text(&cause),
                };
                capture.compile(filter, true).map_err(failed)?;
            }
            capture
                .filter(&program, true)
                .map_err(|cause| Error::Filter { filter: program.clone(), cause: text(&cause) })?;
        }
        let link = Link::from_dlt(capture.get_datalink().0.cast_unsigned());
        let capture = capture.setnonblock().map_err(live)?;
        Ok(Self {
            capture,
            interface,
            link,
            drained: true,
            timeout: config.timeout,
            drops: Drops::default(),
        })
    }

    /// The next packet; `None` if there is none now. A call after `None` waits first, for as long as the
    /// configuration says.
    #[expect(
        clippy::should_implement_trait,
        reason = "a packet is lent, which `Iterator` can't say"
    )]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, Error> {
        if self.drained {
            wait::readable(self.capture.as_fd(), self.timeout);
        }
        match self.capture.next_packet() {
            Ok(packet) => {
                self.drained = false;
                let unit = if NANOS { 1 } else { 1_000 };
                let ts = packet.header.ts;
                #[allow(
                    clippy::useless_conversion,
                    reason = "the fields are narrower on some systems"
                )]
                let ts = i64::from(ts.tv_sec) * 1_000_000_000 + i64::from(ts.tv_usec) * unit;
                Ok(Some(Packet {
                    ts,
                    link: self.link,
                    interface: 0,
                    wire_len: packet.header.len,
                    data: packet.data,
                }))
            }
            Err(pcap::Error::TimeoutExpired) => {
                self.drained = true;
                Ok(None)
            }
            Err(error) => Err(describe(&self.interface, &error)),
        }
    }

    /// What was received and dropped since the beginning.
    pub fn stats(&mut self) -> Result<Drops, Error> {
        let stat = self.capture.stats().map_err(|error| describe(&self.interface, &error))?;
        // libpcap counts in 32 bits, which a busy interface wraps in minutes.
        let drops = &mut self.drops;
        advance(&mut drops.received, stat.received);
        advance(&mut drops.dropped_kernel, stat.dropped);
        advance(&mut drops.dropped_interface, stat.if_dropped);
        Ok(*drops)
    }

    /// The link layer of its packets.
    pub fn link(&self) -> Link {
        self.link
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("interface", &self.interface)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// Packets that came, and packets that were lost before anyone could look at them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Passed the filter, kept or not.
    pub received: u64,
    /// Lost because the kernel's buffer was full.
    pub dropped_kernel: u64,
    /// Lost by the interface or its driver.
    pub dropped_interface: u64,
}

/// An interface that can be captured.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What the system says about it.
    pub description: Option<String>,
    /// Its addresses.
    pub addresses: Vec<std::net::IpAddr>,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is the machine talking to itself.
    pub loopback: bool,
}

/// The interfaces of this machine, `any` among them.
pub fn interfaces() -> Result<Vec<Interface>, Error> {
    let devices = Device::list().map_err(|cause| describe("this machine", &cause))?;
    let interface = |device: Device| Interface {
        addresses: device.addresses.iter().map(|address| address.addr).collect(),
        up: device.flags.is_up(),
        loopback: device.flags.is_loopback(),
        name: device.name,
        description: device.desc,
    };
    Ok(devices.into_iter().filter(is_plain).map(interface).collect())
}

/// Network interfaces, as opposed to the buses and queues that libpcap also lists.
fn is_plain(device: &Device) -> bool {
    const OTHERS: [&str; 5] = ["bluetooth", "dbus-", "nflog", "nfqueue", "usbmon"];
    !OTHERS.iter().any(|other| device.name.starts_with(other))
}

/// Adds what a 32-bit counter went on since it was seen last.
fn advance(total: &mut u64, counter: u32) {
    *total += u64::from(counter.wrapping_sub(*total as u32));
}

fn describe(interface: &str, error: &pcap::Error) -> Error {
    let interface = interface.to_owned();
    let cause = text(error);
    let denied = ["permission", "permitted"].iter().any(|word| cause.to_lowercase().contains(word));
    if denied {
        return Error::Permission { interface };
    }
    if cause.contains("not up") {
        let cause = format!("it is down (`ip link set {interface} up`)");
        return Error::Live { interface, cause };
    }
    Error::Live { interface, cause }
}

/// libpcap's words, without those of its binding.
fn text(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

/// Whether times come in nanoseconds. Elsewhere than on Linux libpcap may refuse them.
const NANOS: bool = cfg!(target_os = "linux");

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
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
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
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
}
