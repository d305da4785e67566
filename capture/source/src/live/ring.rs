//! Packets in memory shared with the kernel (AF_PACKET, TPACKET_V3): it fills blocks, one after the other, and a block
//! is given back once its last packet has been looked at. Nothing is copied on this side.

use std::{
    ffi::CString,
    io,
    mem::{offset_of, size_of},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use dissect::{Link, Packet};
use libc::{
    c_int, sock_filter, sockaddr_ll, tpacket_block_desc, tpacket_hdr_v1, tpacket_hdr_variant1,
    tpacket_req3, tpacket_stats_v3, tpacket3_hdr,
};

use super::{Drops, LiveConfig, program};
use crate::wait;

pub(super) struct Ring {
    socket: OwnedFd,
    blocks: Blocks,
    link: Link,
    /// The most that is handed over of a packet.
    snaplen: usize,
    /// The block at hand.
    block: usize,
    /// Whether it is ours: its packets were not all looked at.
    held: bool,
    /// Packets left in it, and where the next one begins.
    left: u32,
    at: usize,
    /// The interface was taken down.
    down: bool,
    drops: Drops,
    /// Where the interface's own losses are told, and what they were at the beginning.
    interface: Option<(String, u64)>,
}

impl Ring {
    /// Begins to capture packets of that kind. `filter` is the user's program.
    pub(super) fn open(
        config: &LiveConfig,
        link: Link,
        filter: &[sock_filter],
    ) -> Result<Self, String> {
        let cooked = link == Link::LinuxSll2;
        let header = if cooked { program::HEADER } else { 0 };
        let keep = config.snaplen.saturating_sub(header).max(1);
        let mut filter = program::for_socket(filter, cooked, keep)
            .ok_or("the filter asks for what the kernel does not know of a packet")?;
        let index = match config.interface.as_str() {
            "any" => 0,
            name => index_of(name).ok_or("it is no network interface")?,
        };
        // What is behind the link's header is all that several interfaces have in common.
        let kind = if cooked { libc::SOCK_DGRAM } else { libc::SOCK_RAW };
        // SAFETY: numbers. Without a protocol it receives nothing until it is bound.
        let socket = unsafe { libc::socket(libc::AF_PACKET, kind | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(failed("open a packet socket"));
        }
        // SAFETY: it was just opened, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        set(&socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as c_int))
            .map_err(|_| failed("have version 3 of the ring"))?;
        set(&socket, libc::PACKET_RESERVE, &RESERVE).map_err(|_| failed("have room for tags"))?;
        let blocks = (config.buffer_bytes as usize / BLOCK).max(LEAST_BLOCKS);
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let millis = u32::try_from(config.timeout.as_millis()).unwrap_or(u32::MAX);
        let room = tpacket_req3 {
            tp_block_size: BLOCK as u32,
            tp_block_nr: blocks,
            // Packets take what they need; these two only have to fit each other.
            tp_frame_size: BLOCK as u32,
            tp_frame_nr: blocks,
            tp_retire_blk_tov: if config.immediate { 1 } else { millis.clamp(1, 1_000) },
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&socket, libc::PACKET_RX_RING, &room).map_err(|_| failed("have room for packets"))?;
        let blocks = Blocks::map(&socket, blocks as usize).map_err(|_| failed("map the ring"))?;
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).map_err(|_| "the filter is too long".to_owned())?,
            filter: filter.as_mut_ptr(),
        };
        set_at(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
            .map_err(|_| failed("run the filter in the kernel"))?;
        bind(&socket, index).map_err(|_| failed("bind to the interface"))?;
        if config.promiscuous && index != 0 {
            let wish = libc::packet_mreq {
                mr_ifindex: index,
                mr_type: libc::PACKET_MR_PROMISC as u16,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            set(&socket, libc::PACKET_ADD_MEMBERSHIP, &wish)
                .map_err(|_| failed("see what is for others"))?;
        }
        let interface = (index != 0).then(|| {
            let lost = lost_by(&config.interface);
            (config.interface.clone(), lost)
        });
        Ok(Self {
            socket,
            blocks,
            link,
            snaplen: config.snaplen as usize,
            block: 0,
            held: false,
            left: 0,
            at: 0,
            down: false,
            drops: Drops::default(),
            interface,
        })
    }

    /// Waits for packets, for so long at most. The error says why there will be none any more.
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<(), String> {
        let ready = wait::readable(self.socket.as_fd(), timeout);
        if ready && !self.blocks.is_full(self.block) {
            match self.error() {
                0 => {}
                libc::ENETDOWN if !self.down => {
                    self.down = true;
                    tracing::warn!("the interface is down; the capture goes on once it is up");
                }
                libc::ENETDOWN => {}
                other => return Err(io::Error::from_raw_os_error(other).to_string()),
            }
        }
        // Asked only when nothing came, so that all that had come is read before.
        if !ready && self.is_gone() {
            return Err("the interface is gone".to_owned());
        }
        Ok(())
    }

    /// The next packet, if there is one.
    pub(super) fn next(&mut self) -> Option<Packet<'_>> {
        while self.left == 0 {
            if self.held {
                self.held = false;
                self.blocks.give_back(self.block);
                self.block = (self.block + 1) % self.blocks.count;
            }
            if !self.blocks.is_full(self.block) {
                return None;
            }
            let block = self.blocks.block(self.block);
            let of = |field| offset_of!(tpacket_block_desc, hdr) + field;
            self.left = u32_at(block, of(offset_of!(tpacket_hdr_v1, num_pkts))).unwrap_or(0);
            let at = u32_at(block, of(offset_of!(tpacket_hdr_v1, offset_to_first_pkt)));
            self.at = at.unwrap_or(u32::MAX) as usize;
            self.held = true;
            self.down = false;
        }
        self.left -= 1;
        let block = self.blocks.block(self.block);
        let begin = self.at;
        self.at = begin.saturating_add(u32_at(block, begin).unwrap_or(u32::MAX) as usize);
        let bytes = block.get_mut(begin..);
        let packet = bytes.and_then(|it| read(it, self.link, self.snaplen));
        if packet.is_none() {
            // Not what the kernel writes: what is left of the block can't be found.
            self.drops.dropped_kernel += u64::from(self.left) + 1;
            self.left = 0;
        }
        packet
    }

    /// What was received and dropped since the beginning.
    pub(super) fn stats(&mut self) -> Result<Drops, String> {
        let mut since = tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        // It counts from zero after each look.
        get(&self.socket, libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut since)
            .map_err(|error| error.to_string())?;
        self.drops.received += u64::from(since.tp_packets);
        self.drops.dropped_kernel += u64::from(since.tp_drops);
        if let Some((name, before)) = &self.interface {
            let lost = lost_by(name).saturating_sub(*before);
            self.drops.dropped_interface = self.drops.dropped_interface.max(lost);
        }
        Ok(self.drops)
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> c_int {
        self.socket.as_raw_fd()
    }

    /// What the kernel has to say of the socket, once.
    fn error(&self) -> c_int {
        let mut error: c_int = 0;
        let asked = get(&self.socket, libc::SOL_SOCKET, libc::SO_ERROR, &mut error);
        asked.map_or(0, |()| error)
    }

    /// Whether the interface it is bound to does not exist any more.
    fn is_gone(&self) -> bool {
        let mut address = address(0);
        let mut length = size_of::<sockaddr_ll>() as libc::socklen_t;
        // SAFETY: pointers to variables of this function, and the size of what the first one points to.
        let asked = unsafe {
            let address = (&raw mut address).cast();
            libc::getsockname(self.socket.as_raw_fd(), address, &raw mut length)
        };
        asked == 0 && address.sll_ifindex < 0
    }
}

/// A packet whose header these bytes begin with; what the kernel keeps beside it is put in front.
#[inline]
fn read(bytes: &mut [u8], link: Link, snaplen: usize) -> Option<Packet<'_>> {
    // All fields lie within it, so that no more has to be checked for each.
    let head = *bytes.first_chunk::<LEAST_BEGIN>()?;
    let (u16_of, u32_of) = (|at: usize| u16_at(&head, at), |at: usize| u32_at(&head, at));
    let seconds = u32_of(offset_of!(tpacket3_hdr, tp_sec))?;
    let nanos = u32_of(offset_of!(tpacket3_hdr, tp_nsec))?;
    let captured = u32_of(offset_of!(tpacket3_hdr, tp_snaplen))? as usize;
    let mut wire_len = u32_of(offset_of!(tpacket3_hdr, tp_len))?;
    let status = u32_of(offset_of!(tpacket3_hdr, tp_status))?;
    let mut begin = usize::from(u16_of(offset_of!(tpacket3_hdr, tp_mac))?);
    let end = begin.checked_add(captured)?;
    // Network cards, and the kernel, take the tag out of a packet.
    let tci = u32_of(VARIANT + offset_of!(tpacket_hdr_variant1, tp_vlan_tci))?;
    let tag = if tci != 0 || status & libc::TP_STATUS_VLAN_VALID != 0 {
        let kind = match status & libc::TP_STATUS_VLAN_TPID_VALID {
            0 => DOT1Q,
            _ => u16_of(VARIANT + offset_of!(tpacket_hdr_variant1, tp_vlan_tpid))?,
        };
        Some([kind.to_be_bytes(), (tci as u16).to_be_bytes()])
    } else {
        None
    };
    if link == Link::LinuxSll2 {
        let from = head.get(ADDRESS..)?;
        let mut protocol = u16_at(from, offset_of!(sockaddr_ll, sll_protocol))?.to_ne_bytes();
        let mut put = |front: &[u8]| {
            let to = begin.checked_sub(front.len()).filter(|it| *it >= LEAST_BEGIN)?;
            bytes.get_mut(to..begin)?.copy_from_slice(front);
            (begin, wire_len) = (to, wire_len.saturating_add(front.len() as u32));
            Some(())
        };
        if let Some([kind, tci]) = tag {
            put(&[tci, protocol].concat())?;
            protocol = kind;
        }
        let mut header = [0; program::HEADER as usize];
        header[0..2].copy_from_slice(&protocol);
        let index = u32_at(from, offset_of!(sockaddr_ll, sll_ifindex))?;
        header[4..8].copy_from_slice(&index.to_be_bytes());
        let kind = u16_at(from, offset_of!(sockaddr_ll, sll_hatype))?;
        header[8..10].copy_from_slice(&kind.to_be_bytes());
        header[10] = *from.get(offset_of!(sockaddr_ll, sll_pkttype))?;
        header[11] = *from.get(offset_of!(sockaddr_ll, sll_halen))?;
        let sender = from.get(offset_of!(sockaddr_ll, sll_addr)..)?.first_chunk::<8>()?;
        header[12..20].copy_from_slice(sender);
        put(&header)?;
    } else if let (Some(tag), Link::Ethernet) = (tag, link)
        && captured >= ADDRESSES
        && begin >= LEAST_BEGIN + TAG
        && end <= bytes.len()
    {
        bytes.copy_within(begin..begin + ADDRESSES, begin - TAG);
        begin -= TAG;
        wire_len = wire_len.saturating_add(TAG as u32);
        let place = bytes.get_mut(begin + ADDRESSES..)?.first_chunk_mut::<TAG>()?;
        place.copy_from_slice(tag.as_flattened());
    }
    let data = bytes.get(begin..end)?;
    let data = data.get(..snaplen).unwrap_or(data);
    let ts = i64::from(seconds) * 1_000_000_000 + i64::from(nanos);
    Some(Packet { ts, link, interface: 0, wire_len, data })
}

/// The memory.
struct Blocks {
    begin: NonNull<u8>,
    count: usize,
}

// SAFETY: memory belongs to no thread, and nothing refers to it but its one owner.
unsafe impl Send for Blocks {}

impl Blocks {
    fn map(socket: &OwnedFd, count: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let length = count * BLOCK;
        // SAFETY: a new mapping, of as many bytes as the kernel was just asked to have behind this socket.
        let begin = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                access,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(begin.cast()).filter(|_| begin != libc::MAP_FAILED) {
            Some(begin) => Ok(Self { begin, count }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// Whether the kernel has filled a block, and left it to us.
    fn is_full(&self, block: usize) -> bool {
        self.status(block).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    fn give_back(&mut self, block: usize) {
        self.status(block).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    fn status(&self, block: usize) -> &AtomicU32 {
        assert!(block < self.count, "there is no such block");
        let at = block * BLOCK
            + offset_of!(tpacket_block_desc, hdr)
            + offset_of!(tpacket_hdr_v1, block_status);
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as blocks are pages; and this word is only
        // ever accessed atomically while the block may be the kernel's. `block` needs `&mut self`.
        unsafe { AtomicU32::from_ptr(self.begin.as_ptr().add(at).cast()) }
    }

    /// A block that is [full](Self::is_full), and was not given back.
    fn block(&mut self, block: usize) -> &mut [u8] {
        assert!(block < self.count, "there is no such block");
        // SAFETY: within the mapping, and nothing else refers to it, for `self` is borrowed. The kernel leaves a block
        // alone until its status is changed back.
        unsafe { std::slice::from_raw_parts_mut(self.begin.as_ptr().add(block * BLOCK), BLOCK) }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: what `map` mapped, and nobody refers to it any more.
        unsafe { libc::munmap(self.begin.as_ptr().cast(), self.count * BLOCK) };
    }
}

fn set<T>(socket: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    set_at(socket, libc::SOL_PACKET, option, value)
}

fn set_at<T>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: a pointer to a value and its size; the kernel reads it, and what it points to, during the call.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get<T: Copy>(socket: &OwnedFd, level: c_int, option: c_int, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: a pointer to a value made of numbers, and its size, which the kernel does not write beyond.
    let got = unsafe {
        let value = (&raw mut *value).cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, value, &raw mut length)
    };
    if got == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(socket: &OwnedFd, index: c_int) -> io::Result<()> {
    let address = address(index);
    let length = size_of::<sockaddr_ll>() as libc::socklen_t;
    // SAFETY: a pointer to an address of this function, and its size.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// All that passes an interface.
fn address(index: c_int) -> sockaddr_ll {
    sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn index_of(name: &str) -> Option<c_int> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    i32::try_from(index).ok().filter(|it| *it > 0)
}

/// Packets that an interface says it has lost, as it has no room for them or they come too fast.
fn lost_by(interface: &str) -> u64 {
    let counter = |name| {
        let path = format!("/sys/class/net/{interface}/statistics/{name}");
        std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
    };
    ["rx_missed_errors", "rx_fifo_errors"].into_iter().filter_map(counter).sum()
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What could not be done, and what the kernel says.
fn failed(what: &str) -> String {
    format!("can't {what}: {}", io::Error::last_os_error())
}

/// A block holds the largest packet, and many of the usual ones. A timer hands over one that is not full, so
/// the more there are, the longer this side may be busy while little comes.
const BLOCK: usize = 256 << 10;
const LEAST_BLOCKS: usize = 2;
/// Room in front of each packet, for a tag and for a cooked header.
const RESERVE: c_int = 32;
/// Where a packet's sender stands,
const ADDRESS: usize = size_of::<tpacket3_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
/// and where it ends: a packet may begin from here.
const LEAST_BEGIN: usize = ADDRESS + size_of::<sockaddr_ll>();
const VARIANT: usize = offset_of!(tpacket3_hdr, hv1);
/// The EtherType of a tag, where the kernel does not say it.
const DOT1Q: u16 = 0x8100;
/// Bytes of a tag, and of the addresses in front of it.
const TAG: usize = 4;
const ADDRESSES: usize = 12;

/// Makes a socket's packets go out of an interface.
#[cfg(test)]
pub(super) fn bind_to_send(socket: &OwnedFd, interface: &str) -> io::Result<()> {
    bind(socket, index_of(interface).unwrap_or_default())
}
