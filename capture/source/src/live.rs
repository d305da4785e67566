//! Live interfaces: through a ring shared with the kernel, or through libpcap.

#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod ring;

use std::{fmt, os::fd::AsFd, str::FromStr, time::Duration};

use dissect::{Link, Packet};
use pcap::{Active, BpfProgram, Capture, Device, Linktype, Precision};

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
    /// How packets are got from the kernel.
    pub way: Way,
}

/// How packets are got from the kernel. All give the same packets, but that
/// libpcap leaves VLAN tags out on `any`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// The ring, and where there is none, libpcap.
    #[default]
    Auto,
    /// A ring of our own, shared with the kernel (Linux).
    Ring,
    /// libpcap.
    Libpcap,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Ring, Self::Libpcap];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ring => "ring",
            Self::Libpcap => "libpcap",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| format!("it is one of {}", Self::ALL.map(Self::name).join(", ")))
    }
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
            way: Way::Auto,
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
    from: From,
    interface: String,
    link: Link,
    /// The last look found nothing, so that the next one waits first.
    drained: bool,
    timeout: Duration,
}

enum From {
    #[cfg(target_os = "linux")]
    Ring(ring::Ring),
    Libpcap(Capture<Active>, Drops),
}

impl Live {
    /// Begins to capture.
    pub fn open(config: &LiveConfig) -> Result<Self, Error> {
        let interface = config.interface.clone();
        // A kernel that can't capture says so in many ways; a name that doesn't exist is better looked up.
        if let Ok(devices) = Device::list()
            && interface != "any"
            && !devices.iter().any(|device| device.name == interface)
        {
            let existing = devices.into_iter().filter(is_plain).map(|device| device.name).collect();
            return Err(Error::NoInterface { interface, existing });
        }
        let (from, link) = match config.way {
            Way::Libpcap => through_libpcap(config)?,
            #[cfg(target_os = "linux")]
            way => match through_ring(config)? {
                Ok(found) => found,
                Err(reason) if way == Way::Auto => {
                    tracing::warn!(interface, reason, "packets come through libpcap, not the ring");
                    through_libpcap(config)?
                }
                Err(reason) => {
                    let cause = format!("there is no ring: {reason} (`libpcap` may be a way)");
                    return Err(Error::Live { interface, cause });
                }
            },
            #[cfg(not(target_os = "linux"))]
            Way::Auto => through_libpcap(config)?,
            #[cfg(not(target_os = "linux"))]
            Way::Ring => {
                let cause = "only Linux has the ring (`libpcap` is the way here)".to_owned();
                return Err(Error::Live { interface, cause });
            }
        };
        Ok(Self { from, interface, link, drained: true, timeout: config.timeout })
    }

    /// The next packet; `None` if there is none now. A call after `None` waits first, for as long as the
    /// configuration says.
    #[expect(
        clippy::should_implement_trait,
        reason = "a packet is lent, which `Iterator` can't say"
    )]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, Error> {
        let waits = std::mem::replace(&mut self.drained, false);
        match &mut self.from {
            #[cfg(target_os = "linux")]
            From::Ring(ring) => {
                if waits {
                    ring.wait(self.timeout).map_err(|cause| {
                        let interface = self.interface.clone();
                        Error::Live { interface, cause }
                    })?;
                }
                let packet = ring.next();
                self.drained = packet.is_none();
                Ok(packet)
            }
            From::Libpcap(capture, _) => {
                if waits {
                    wait::readable(capture.as_fd(), self.timeout);
                }
                match capture.next_packet() {
                    Ok(packet) => Ok(Some(packet_of(self.link, &packet))),
                    Err(pcap::Error::TimeoutExpired) => {
                        self.drained = true;
                        Ok(None)
                    }
                    Err(error) => Err(describe(&self.interface, &error)),
                }
            }
        }
    }

    /// What was received and dropped since the beginning.
    pub fn stats(&mut self) -> Result<Drops, Error> {
        match &mut self.from {
            #[cfg(target_os = "linux")]
            From::Ring(ring) => ring.stats().map_err(|cause| {
                let interface = self.interface.clone();
                Error::Live { interface, cause }
            }),
            From::Libpcap(capture, drops) => {
                let stat = capture.stats().map_err(|error| describe(&self.interface, &error))?;
                // libpcap counts in 32 bits, which a busy interface wraps in minutes.
                advance(&mut drops.received, stat.received);
                advance(&mut drops.dropped_kernel, stat.dropped);
                advance(&mut drops.dropped_interface, stat.if_dropped);
                Ok(*drops)
            }
        }
    }

    /// How its packets are got; never [`Way::Auto`].
    pub fn way(&self) -> Way {
        match self.from {
            #[cfg(target_os = "linux")]
            From::Ring(_) => Way::Ring,
            From::Libpcap(..) => Way::Libpcap,
        }
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
            .field("way", &self.way())
            .finish_non_exhaustive()
    }
}

fn through_libpcap(config: &LiveConfig) -> Result<(From, Link), Error> {
    let (mut capture, program) = open(config, config.buffer_bytes)?;
    let live = |cause: pcap::Error| describe(&config.interface, &cause);
    if program.is_some()
        && let Some(filter) = config.program()
    {
        capture.filter(&filter, true).map_err(live)?;
    }
    let link = link_of(&capture);
    Ok((From::Libpcap(capture.setnonblock().map_err(live)?, Drops::default()), link))
}

/// The inner error says why there is no ring, the outer one what would be wrong in any case.
#[cfg(target_os = "linux")]
fn through_ring(config: &LiveConfig) -> Result<Result<(From, Link), String>, Error> {
    // libpcap knows what the packets of an interface begin with, and compiles the filter for that.
    let (capture, program) = open(config, PROBE_BYTES)?;
    let link = link_of(&capture);
    drop(capture);
    if link == Link::LinuxSll {
        return Ok(Err("libpcap is too old to know version 2 of cooked packets".to_owned()));
    }
    let mut filter = Vec::new();
    for it in program.iter().flat_map(BpfProgram::get_instructions) {
        match program::instruction(&it.to_string()) {
            Some(it) => filter.push(it),
            None => return Ok(Err("the filter's program can't be read".to_owned())),
        }
    }
    Ok(ring::Ring::open(config, link, &filter).map(|it| (From::Ring(it), link)))
}

/// Opens an interface with libpcap, and compiles the filter for it.
fn open(
    config: &LiveConfig,
    buffer_bytes: u32,
) -> Result<(Capture<Active>, Option<BpfProgram>), Error> {
    let live = |cause: pcap::Error| describe(&config.interface, &cause);
    let millis = i32::try_from(config.timeout.as_millis()).unwrap_or(i32::MAX).max(1);
    let mut capture = Capture::from_device(config.interface.as_str())
        .map_err(live)?
        .snaplen(i32::try_from(config.snaplen).unwrap_or(i32::MAX))
        .buffer_size(i32::try_from(buffer_bytes).unwrap_or(i32::MAX))
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
    let Some(program) = config.program() else { return Ok((capture, None)) };
    let compiled = |filter: &str| {
        let failed =
            |cause: pcap::Error| Error::Filter { filter: filter.to_owned(), cause: text(&cause) };
        capture.compile(filter, true).map_err(failed)
    };
    // The user's own part first, so that its error is about what the user wrote.
    if let Some(filter) = &config.filter {
        compiled(filter)?;
    }
    let program = compiled(&program)?;
    Ok((capture, Some(program)))
}

fn link_of(capture: &Capture<Active>) -> Link {
    Link::from_dlt(capture.get_datalink().0.cast_unsigned())
}

fn packet_of<'a>(link: Link, packet: &pcap::Packet<'a>) -> Packet<'a> {
    let unit = if NANOS { 1 } else { 1_000 };
    let ts = packet.header.ts;
    #[allow(clippy::useless_conversion, reason = "the fields are narrower on some systems")]
    let ts = i64::from(ts.tv_sec) * 1_000_000_000 + i64::from(ts.tv_usec) * unit;
    Packet { ts, link, interface: 0, wire_len: packet.header.len, data: packet.data }
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

/// Room for packets that nobody is going to look at.
#[cfg(target_os = "linux")]
const PROBE_BYTES: u32 = 1 << 20;
/// Whether times come in nanoseconds. Elsewhere than on Linux libpcap may refuse them.
const NANOS: bool = cfg!(target_os = "linux");

#[cfg(test)]
mod tests;
