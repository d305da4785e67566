//! The programs: loading them into the kernel, and attaching them.
use std::{
    fs::{self, File},
    path::Path,
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, include_bytes_aligned,
    programs::{
        BtfTracePoint, ProgramError, UProbe,
        tp_btf::BtfTracePointLinkId,
        uprobe::{UProbeLinkId, UProbeScope},
    },
};

#[cfg(target_arch = "x86_64")]
use super::golang;
use super::{elf, find};
use crate::{Capabilities, Error, Hook, Purpose};

/// The programs in the kernel. Dropping it takes them out, with all that they are attached to.
pub(super) struct Hooks {
    ebpf: Ebpf,
    /// Of the tracepoints that are there: the program, and its link while it is attached.
    tracepoints: Vec<(&'static str, Option<BtfTracePointLinkId>)>,
    reads_plaintext: bool,
}

/// The probes in one file.
pub(super) type Links = Vec<(&'static str, UProbeLinkId)>;

impl Hooks {
    /// Loads what this kernel takes. Nothing is attached.
    pub(super) fn load(ring_bytes: u32) -> Result<(Self, Capabilities), Error> {
        let mut hooks = Vec::new();
        let btf =
            Btf::from_sys_fs().map_err(|_| Error::Unsupported { reason: NO_BTF.to_owned() })?;
        if find::cgroup_root().is_none() {
            return Err(Error::Unsupported { reason: NO_CGROUPS.to_owned() });
        }
        let reader = std::process::id();
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .map_max_entries("events", ring_bytes.next_power_of_two().max(4096))
            .override_global("reader", &reader, true)
            .load(OBJECT)
            .map_err(load_failed)?;
        let mut tracepoints = Vec::new();
        for (program, hook, purpose) in TRACEPOINTS {
            let loaded = tracepoint(&mut ebpf, program).and_then(|it| {
                it.load(hook, &btf).map_err(|cause| match cause {
                    ProgramError::Btf(_) => {
                        "this kernel does not have it (it came with Linux 6.3)".to_owned()
                    }
                    other => words(&other),
                })
            });
            match &loaded {
                Ok(()) => tracepoints.push((*program, None)),
                Err(error) => tracing::debug!(program, error, "a hook is missing"),
            }
            hooks.push(Hook { name: hook, purpose: *purpose, missing: loaded.err() });
        }
        let mut probes = Ok(());
        for program in PROBES {
            probes = probes.and_then(|()| {
                uprobe(&mut ebpf, program).and_then(|it| it.load().map_err(|cause| words(&cause)))
            });
        }
        if !Path::new("/sys/bus/event_source/devices/uprobe").exists() {
            probes = Err("the kernel was built without it (CONFIG_UPROBES)".to_owned());
        } else if missing().contains(&"SYS_ADMIN") {
            probes = Err("the capability SYS_ADMIN is missing".to_owned());
        }
        let reads_plaintext = probes.is_ok();
        hooks.push(Hook { name: "uprobe", purpose: Purpose::Plaintext, missing: probes.err() });
        Ok((Self { ebpf, tracepoints, reads_plaintext }, Capabilities { hooks }))
    }

    pub(super) fn take_map(&mut self, name: &str) -> Result<aya::maps::Map, Error> {
        self.ebpf.take_map(name).ok_or_else(|| kernel("find a map of the programs", name))
    }

    /// Attaches the tracepoints.
    pub(super) fn arm(&mut self) -> Result<(), Error> {
        for (program, link) in self.tracepoints.iter_mut().filter(|it| it.1.is_none()) {
            let attached = tracepoint(&mut self.ebpf, program)
                .and_then(|it| it.attach().map_err(|cause| words(&cause)));
            *link = Some(attached.map_err(|cause| kernel("attach to a tracepoint", &cause))?);
        }
        Ok(())
    }

    /// Takes them off again.
    pub(super) fn disarm(&mut self) {
        for (program, link) in &mut self.tracepoints {
            if let Some(link) = link.take()
                && let Ok(program) = tracepoint(&mut self.ebpf, program)
                && let Err(error) = program.detach(link)
            {
                tracing::warn!(%error, "a tracepoint can't be left");
            }
        }
    }

    /// Puts probes into a file: these programs at these places.
    pub(super) fn attach(&mut self, way: &Path, places: &[Place]) -> Result<Links, String> {
        if !self.reads_plaintext {
            return Err("the kernel has no uprobes for us".to_owned());
        }
        let mut links = Links::new();
        for (program, at) in places {
            let attached = uprobe(&mut self.ebpf, program).and_then(|it| {
                it.attach(*at, way, UProbeScope::AllProcesses).map_err(|cause| words(&cause))
            });
            match attached {
                Ok(link) => links.push((program, link)),
                Err(error) => {
                    self.detach(links);
                    return Err(error);
                }
            }
        }
        Ok(links)
    }

    pub(super) fn detach(&mut self, links: Links) {
        for (program, link) in links {
            if let Ok(program) = uprobe(&mut self.ebpf, program)
                && let Err(error) = program.detach(link)
            {
                tracing::warn!(%error, "a probe can't be taken out");
            }
        }
    }
}

fn tracepoint<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint, String> {
    let program = ebpf.program_mut(name).ok_or("the program is missing")?;
    program.try_into().map_err(|cause: ProgramError| words(&cause))
}

fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, String> {
    let program = ebpf.program_mut(name).ok_or("the program is missing")?;
    program.try_into().map_err(|cause: ProgramError| words(&cause))
}

/// A program, and where in a file it is to be put.
pub(super) type Place = (&'static str, u64);

/// Where the programs go in a file, and what kind of file that makes it; `None` if it has no function that is read.
pub(super) fn places(file: &File) -> Option<(&'static str, Vec<Place>)> {
    // What is no ELF file, or a damaged one, has no functions.
    let symbols: Vec<&str> = FUNCTIONS.iter().map(|it| it.symbol).collect();
    let found = elf::functions(file, &symbols).unwrap_or_default();
    let mut places = Vec::new();
    for function in FUNCTIONS {
        let Some((_, at)) = found.iter().find(|it| it.0 == function.symbol) else { continue };
        places.push((function.entry, *at));
        places.extend(function.returns.then_some((RETURN, *at)));
    }
    let kind = FUNCTIONS.iter().find(|it| found.iter().any(|found| found.0 == it.symbol));
    kind.map(|it| (it.kind, places)).or_else(|| go_places(file))
}

#[cfg(target_arch = "x86_64")]
fn go_places(file: &File) -> Option<(&'static str, Vec<Place>)> {
    let mut places = Vec::new();
    for it in golang::functions(file).unwrap_or_default() {
        let (entry, leave) = match it.name {
            golang::WRITE => ("go_write", "go_return"),
            golang::READ => ("go_read", "go_return"),
            _ => ("go_handshake", "go_shaken"),
        };
        places.push((entry, it.entry));
        places.extend(it.returns.iter().map(|at| (leave, *at)));
    }
    (!places.is_empty()).then_some(("go", places))
}

#[cfg(not(target_arch = "x86_64"))]
fn go_places(_: &File) -> Option<(&'static str, Vec<Place>)> {
    None
}

/// What a library's functions are, and which programs read them.
struct Function {
    symbol: &'static str,
    kind: &'static str,
    entry: &'static str,
    returns: bool,
}

const FUNCTIONS: &[Function] = &[
    openssl("SSL_write", "tls_write", true),
    openssl("SSL_read", "tls_read", true),
    openssl("SSL_write_ex", "tls_write_ex", true),
    openssl("SSL_read_ex", "tls_read_ex", true),
    openssl("SSL_do_handshake", "tls_handshake", true),
    openssl("SSL_free", "tls_free", false),
    gnutls("gnutls_record_send", "tls_write", true),
    gnutls("gnutls_record_recv", "tls_read", true),
    gnutls("gnutls_handshake", "tls_handshake", true),
    gnutls("gnutls_deinit", "tls_free", false),
];

const fn openssl(symbol: &'static str, entry: &'static str, returns: bool) -> Function {
    Function { symbol, kind: "openssl", entry, returns }
}

const fn gnutls(symbol: &'static str, entry: &'static str, returns: bool) -> Function {
    Function { symbol, kind: "gnutls", entry, returns }
}

const RETURN: &str = "tls_return";
const PROBES: &[&str] = &[
    "tls_write",
    "tls_read",
    "tls_write_ex",
    "tls_read_ex",
    "tls_handshake",
    "tls_free",
    RETURN,
    "go_write",
    "go_read",
    "go_handshake",
    "go_return",
    "go_shaken",
];
const TRACEPOINTS: &[(&str, &str, Purpose)] = &[
    ("socket_state", "inet_sock_set_state", Purpose::Sockets),
    ("socket_sends", "sock_send_length", Purpose::Plaintext),
    ("socket_receives", "sock_recv_length", Purpose::Plaintext),
    ("process_exec", "sched_process_exec", Purpose::Starts),
];

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer.bpf.o"));

/// Why the kernel does not take any program: mostly because we may not.
fn load_failed(cause: EbpfError) -> Error {
    let locked = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if locked.contains("[confidentiality]") {
        return Error::Unsupported { reason: LOCKED.to_owned() };
    }
    let missing = missing();
    if !missing.is_empty() {
        return Error::Permission { missing: missing.join(", ") };
    }
    kernel("load programs into the kernel", &words(&cause))
}

/// Which capabilities this process lacks.
fn missing() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("CapEff:"));
    let has = line.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0);
    let lacks = |bit: u32| has & (1 << bit) == 0;
    let admin = !lacks(21);
    // SYS_ADMIN contains the two that came later.
    let mut missing = Vec::new();
    for (name, bit, within) in [
        ("SYS_ADMIN", 21, false),
        ("SYS_PTRACE", 19, false),
        ("PERFMON", 38, true),
        ("BPF", 39, true),
    ] {
        if lacks(bit) && !(within && admin) {
            missing.push(name);
        }
    }
    missing
}

fn kernel(what: &str, cause: &str) -> Error {
    Error::Kernel { what: what.to_owned(), cause: cause.to_owned() }
}

/// An error with what lies behind it; of the verifier's words, the last lines.
pub(super) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref() {
        let log = verifier_log.to_string();
        let lines: Vec<&str> = log.lines().rev().take(4).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        return format!("{io_error}: {}", last.join("; "));
    }
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_says = cause.to_string();
        if !said.contains(&cause_says) {
            said = format!("{said}: {cause_says}");
        }
        next = cause.source();
    }
    said
}

const NO_BTF: &str = "the kernel does not describe its types (/sys/kernel/btf/vmlinux is missing: CONFIG_DEBUG_INFO_BTF)";
const NO_CGROUPS: &str =
    "no cgroup hierarchy of version 2 is mounted, by which processes are chosen";
const LOCKED: &str =
    "the kernel is locked down for confidentiality (/sys/kernel/security/lockdown)";
