//! The kernel's side of an event, as `bpf/shared.h` lays it out.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::find::Containers;
use crate::{Ends, Process, Role};

pub(super) const PLAINTEXT: u8 = 1;
pub(super) const CONNECT: u8 = 2;
pub(super) const ACCEPT: u8 = 3;
pub(super) const OPEN: u8 = 4;
pub(super) const CLOSE: u8 = 5;
pub(super) const EXEC: u8 = 6;

/// The counters, by place.
pub(super) mod counter {
    pub(in super::super) const CALLS: u32 = 0;
    pub(in super::super) const PIECES: u32 = 1;
    pub(in super::super) const BYTES: u32 = 2;
    pub(in super::super) const LOST: u32 = 3;
    pub(in super::super) const LOST_BYTES: u32 = 4;
    pub(in super::super) const CUT_BYTES: u32 = 5;
    pub(in super::super) const FAULTS: u32 = 6;
    pub(in super::super) const UNBOUND: u32 = 7;
    pub(in super::super) const ORPHANS: u32 = 8;
    pub(in super::super) const REBOUND: u32 = 9;
}

/// What every event begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) ts: u64,
    cgroup: u64,
    pub(super) session: u64,
    pub(super) offset: u64,
    pub(super) seen: u64,
    pub(super) pid: u32,
    tid: u32,
    pub(super) kind: u8,
    pub(super) sent: bool,
    pub(super) role: Option<Role>,
    pub(super) from_start: bool,
    comm: [u8; 16],
    pub(super) ends: Option<Ends>,
}

impl Head {
    /// The head, and the bytes that follow it.
    pub(super) fn read(event: &[u8]) -> Option<(Self, &[u8])> {
        let mut at = Cursor(event);
        let [ts, cgroup, session, offset] = [at.u64()?, at.u64()?, at.u64()?, at.u64()?];
        let seen = at.u64()?;
        let [pid, tid, length] = [at.u32()?, at.u32()?, at.u32()?];
        let [kind, sent, role, flags] = at.take::<4>()?;
        let comm = at.take()?;
        let (local, remote) = (at.take()?, at.take()?);
        let (local_port, remote_port, family) = (at.u16()?, at.u16()?, at.u16()?);
        let _how = at.u16()?;
        let netns = at.u32()?;
        let _unused = at.u32()?;
        let cgroup_id = at.u64()?;
        let _sock = at.u64()?;
        let ends = address(family, local).zip(address(family, remote));
        let ends = ends.map(|(local, remote)| Ends {
            local: SocketAddr::new(local, local_port),
            remote: SocketAddr::new(remote, remote_port),
            netns,
            cgroup_id,
        });
        let role = match role {
            1 => Some(Role::Client),
            2 => Some(Role::Server),
            _ => None,
        };
        let head = Self {
            ts,
            cgroup,
            session,
            offset,
            seen,
            pid,
            tid,
            kind,
            sent: sent != 0,
            role,
            from_start: flags & 1 != 0,
            comm,
            ends,
        };
        Some((head, at.0.get(..usize::try_from(length).ok()?)?))
    }

    /// Who did it; of the containers, each is known by its cgroup.
    pub(super) fn process<'a>(&'a self, containers: &'a Containers) -> Process<'a> {
        let name = self.comm.split(|it| *it == 0).next().unwrap_or_default();
        let comm = name.utf8_chunks().next().map_or("", |it| it.valid());
        let container_id = containers.get(&self.cgroup).map(|it| &**it);
        Process { pid: self.pid, tid: self.tid, comm, cgroup_id: self.cgroup, container_id }
    }
}

/// An IPv4 address that an IPv6 socket talks to is what it stands for.
fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => {
            let [a, b, c, d, ..] = bytes;
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        libc::AF_INET6 => Some(Ipv6Addr::from(bytes).to_canonical()),
        _ => None,
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event as the C structures lay it out.
    fn event(family: u16, local: &[u8], length: u32, data: &[u8]) -> Vec<u8> {
        let mut it = Vec::new();
        for word in [1_u64, 2, 3, 4, 5] {
            it.extend(word.to_ne_bytes());
        }
        for word in [5_u32, 6, length] {
            it.extend(word.to_ne_bytes());
        }
        it.extend([PLAINTEXT, 1, 2, 1]);
        it.extend(b"curl\0garbage\xff\xff\xff\xff");
        let mut address = [0; 16];
        address[..local.len()].copy_from_slice(local);
        it.extend(address);
        it.extend(address);
        for word in [443_u16, 50_000, family, 0] {
            it.extend(word.to_ne_bytes());
        }
        it.extend(7_u32.to_ne_bytes());
        it.extend(0_u32.to_ne_bytes());
        it.extend(8_u64.to_ne_bytes());
        it.extend(9_u64.to_ne_bytes());
        assert_eq!(it.len(), 136);
        it.extend(data);
        it
    }

    #[test]
    fn an_event_is_read_as_the_kernel_wrote_it() {
        let bytes = event(2, &[10, 0, 0, 1], 3, b"abcpadding");
        let (head, data) = Head::read(&bytes).unwrap();
        assert_eq!(data, b"abc");
        assert_eq!((head.ts, head.session, head.offset, head.seen), (1, 3, 4, 5));
        assert!(head.from_start && head.sent);
        let containers = [(2, "c0ffee".into())].into();
        let (pid, tid, comm, cgroup_id) = (5, 6, "curl", 2);
        let process = Process { pid, tid, comm, cgroup_id, container_id: Some("c0ffee") };
        assert_eq!(head.process(&containers), process);
        let ends = head.ends.unwrap();
        assert_eq!(ends.local, "10.0.0.1:443".parse().unwrap());
        assert_eq!((ends.netns, ends.cgroup_id, head.role), (7, 8, Some(Role::Server)));
        let mapped = event(10, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1], 0, b"");
        let (head, _) = Head::read(&mapped).unwrap();
        assert_eq!(head.ends.unwrap().local, "10.0.0.1:443".parse().unwrap());
    }

    #[test]
    fn what_is_cut_off_is_no_event() {
        let bytes = event(2, &[10, 0, 0, 1], 3, b"abc");
        for length in 0..bytes.len() {
            assert_eq!(Head::read(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Head::read(&event(0, &[], 0, b"")).unwrap().0.ends, None);
    }
}
