//! Which processes a cgroup has, and which files they run code of.
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::Error;

/// The cgroup that is the folder `path`: its number in events and as a target.
pub fn cgroup_id(path: &Path) -> Result<u64, Error> {
    let looked = fs::metadata(path);
    looked.map(|it| it.ino()).map_err(|cause| Error::Kernel {
        what: format!("look up the cgroup {}", path.display()),
        cause: cause.to_string(),
    })
}

/// The cgroup that is the folder `path`, and all below it.
pub fn cgroups_below(path: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    fs::metadata(path)?;
    walk(path, &mut |_, id| found.push(id));
    Ok(found)
}

/// The cgroups of the pods that are wanted, by their uids, and all below them; an error if there are no cgroups of
/// version 2.
pub fn pod_cgroups(wanted: &dyn Fn(&str) -> bool) -> Result<Vec<u64>, Error> {
    let root = cgroup_root().ok_or_else(|| Error::Unsupported {
        reason: "no cgroups of version 2 are mounted, by which pods are told apart".to_owned(),
    })?;
    let mut found = Vec::new();
    walk(&root, &mut |path, id| {
        let below = path.strip_prefix(&root).unwrap_or(path);
        let mut names = below.iter().filter_map(|it| it.to_str());
        if names.any(|it| pod_uid(it).is_some_and(|uid| wanted(&uid))) {
            found.push(id);
        }
    });
    Ok(found)
}

/// The uid of the pod whose cgroup has that name: `pod` and the uid for the kubelet's driver `cgroupfs`,
/// `kubepods-burstable-pod` and the uid with underscores, `.slice`, for `systemd`.
fn pod_uid(name: &str) -> Option<String> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (before, uid) = name.rsplit_once("pod")?;
    let is_pod = before.is_empty() || (before.starts_with("kubepods") && before.ends_with('-'));
    let uid = uid.replace('_', "-");
    // A static pod's is a hash, without dashes.
    let is_uid = uid.len() >= 32 && uid.bytes().all(|it| it == b'-' || it.is_ascii_hexdigit());
    (is_pod && is_uid).then_some(uid)
}

/// Where the cgroups of version 2 are mounted.
pub fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let path = mount.split(' ').nth(4)?;
        filesystem.starts_with("cgroup2 ").then(|| PathBuf::from(path))
    })
}

/// The folders of those of the cgroups `wanted` that exist.
pub(super) fn folders(root: &Path, wanted: &dyn Fn(u64) -> bool) -> HashMap<u64, PathBuf> {
    let mut found = HashMap::new();
    walk(root, &mut |path, id| {
        if wanted(id) {
            found.insert(id, path.to_owned());
        }
    });
    found
}

fn walk(root: &Path, each: &mut dyn FnMut(&Path, u64)) {
    let mut waiting = vec![root.to_owned()];
    let mut looked_at = 0;
    while let Some(folder) = waiting.pop() {
        looked_at += 1;
        let Ok(about) = fs::metadata(&folder) else { continue };
        each(&folder, about.ino());
        if looked_at >= MOST_CGROUPS {
            break;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|it| it.is_dir()) {
                waiting.push(entry.path());
            }
        }
    }
}

/// The processes of a cgroup.
pub(super) fn processes(folder: &Path) -> Vec<u32> {
    let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // 0 is one of another pid namespace, which can't be looked at.
    listed.lines().filter_map(|it| it.parse().ok()).filter(|it| *it != 0).collect()
}

/// When the process began: with its number, what tells it from all others.
pub(super) fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Which program a process runs, and where.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// Its first thread's name.
    pub(super) name: String,
    pub(super) executable: Option<String>,
    pub(super) pod_uid: Option<String>,
    pub(super) container_id: Option<String>,
}

pub(super) fn identity(pid: u32) -> Identity {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let folder = cgroups.lines().find_map(|it| it.strip_prefix("0::")).unwrap_or_default();
    Identity {
        name: String::from_utf8_lossy(&name).trim_end().to_owned(),
        executable: executable.map(|it| it.to_string_lossy().into_owned()),
        pod_uid: folder.split('/').find_map(pod_uid),
        container_id: folder.rsplit('/').find_map(container_id).map(str::to_owned),
    }
}

/// The containers whose cgroups are in these folders, or above them.
pub(super) fn containers(folders: &HashMap<u64, PathBuf>) -> Containers {
    let named = folders.iter().filter_map(|(id, folder)| {
        let names = folder.iter().rev().filter_map(|it| it.to_str());
        Some((*id, names.into_iter().find_map(container_id)?.into()))
    });
    named.collect()
}

/// Containers' ids, by the cgroups that belong to them.
pub(super) type Containers = HashMap<u64, Box<str>>;

/// The container whose cgroup has that name: its id, as it is or as `cri-containerd-ID.scope` and its like.
fn container_id(name: &str) -> Option<&str> {
    let mut words = name.split(|it: char| !it.is_ascii_alphanumeric());
    words.find(|it| it.len() == 64 && it.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// A file of which a process runs code.
pub(super) struct Mapped {
    /// Device, inode and path, as the kernel lists them.
    pub(super) name: String,
    /// The way to the file, wherever it is mounted and even if it was deleted.
    pub(super) way: PathBuf,
}

impl Mapped {
    /// Its path, in the process's own file system.
    pub(super) fn path(&self) -> &str {
        self.name.splitn(3, ' ').nth(2).unwrap_or_default()
    }
}

/// The files of which a process runs code.
pub(super) fn mapped(pid: u32) -> io::Result<Vec<Mapped>> {
    let mut listed = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MAPS_BYTES).read_to_end(&mut listed)?;
    let listed = String::from_utf8_lossy(&listed);
    let mut found: Vec<Mapped> = Vec::new();
    for line in listed.lines() {
        if let Some((name, range)) = executable(line)
            && found.iter().all(|it| it.name != name)
        {
            found.push(Mapped { name, way: format!("/proc/{pid}/map_files/{range}").into() });
        }
    }
    Ok(found)
}

/// Of a line of `/proc/PID/maps`: the file, and its entry in `map_files`.
fn executable(line: &str) -> Option<(String, String)> {
    let mut words = line.splitn(6, ' ');
    let (range, permissions, _) = (words.next()?, words.next()?, words.next()?);
    let (device, inode, path) = (words.next()?, words.next()?, words.next()?.trim_start());
    if !permissions.contains('x') || inode == "0" || !path.starts_with('/') {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    let number = |it| u64::from_str_radix(it, 16).ok();
    let range = format!("{:x}-{:x}", number(from)?, number(to)?);
    Some((format!("{device} {inode} {path}"), range))
}

/// A library that lies where programs load it from, whether one has or not.
pub(super) struct Shelved {
    pub(super) path: String,
    pub(super) way: PathBuf,
}

/// The TLS libraries in a process's file system, so that the next program to load one is read from its beginning.
pub(super) fn shelved(pid: u32) -> Vec<Shelved> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let mut found = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        for entry in entries.take(MOST_ENTRIES) {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_library = LIBRARIES.iter().any(|it| name.starts_with(it));
            // What a link leads to may lie outside of the container.
            if is_library && entry.file_type().is_ok_and(|it| it.is_file()) {
                found.push(Shelved { path: format!("/{folder}/{name}"), way: entry.path() });
            }
        }
    }
    found
}

/// The libcrypto that lies beside a libssl of a process.
pub(super) fn beside(pid: u32, path: &str) -> Option<File> {
    let (folder, name) = path.rsplit_once('/')?;
    let name = format!("libcrypto{}", name.strip_prefix("libssl")?);
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let way = root.join(folder.trim_start_matches('/')).join(name);
    Some(open(&way, false).ok()?.1)
}

/// What tells one file from all others, and the file. A pipe with a library's name must not make us wait.
pub(super) fn open(way: &Path, follow: bool) -> io::Result<(FileId, File)> {
    let flags = libc::O_NONBLOCK | if follow { 0 } else { libc::O_NOFOLLOW };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(way)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file"));
    }
    Ok(((about.dev(), about.ino()), file))
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// Which file system a process sees.
pub(super) fn mount_namespace(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|it| it.ino())
}

const FOLDERS: &[&str] = &[
    "lib",
    "lib64",
    "usr/lib",
    "usr/lib64",
    "usr/local/lib",
    "usr/local/lib64",
    #[cfg(target_arch = "x86_64")]
    "usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    "lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "usr/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "lib/aarch64-linux-gnu",
];
const LIBRARIES: &[&str] = &["libssl.so", "libgnutls.so"];

/// Far more than a node has; a walk must end.
const MOST_CGROUPS: usize = 100_000;
const MOST_ENTRIES: usize = 20_000;
/// A process with a hundred thousand mappings.
const MAPS_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_cgroup_is_told_by_its_name() {
        let uid = "1f2e3d4c-0000-4aaa-8bbb-0123456789ab";
        for name in [
            "pod1f2e3d4c-0000-4aaa-8bbb-0123456789ab",
            "kubepods-pod1f2e3d4c_0000_4aaa_8bbb_0123456789ab.slice",
            "kubepods-burstable-pod1f2e3d4c_0000_4aaa_8bbb_0123456789ab.slice",
        ] {
            assert_eq!(pod_uid(name).as_deref(), Some(uid), "{name}");
        }
        assert_eq!(pod_uid("podd41d8cd98f00b204e9800998ecf8427e").map(|it| it.len()), Some(32));
        for name in ["kubepods.slice", "pod", "tripod", "podman.service", "user-pod1.slice", ""] {
            assert_eq!(pod_uid(name), None, "{name}");
        }
    }

    #[test]
    fn a_container_is_told_by_its_cgroups_name() {
        let id = "0123456789abcdef".repeat(4);
        for name in [
            id.clone(),
            format!("cri-containerd-{id}.scope"),
            format!("crio-{id}.scope"),
            format!("docker-{id}.scope"),
        ] {
            assert_eq!(container_id(&name), Some(&*id), "{name}");
        }
        let short = "0123456789abcdef".repeat(3);
        for name in ["", "init.scope", "pod1f2e3d4c-0000-4aaa-8bbb-0123456789ab", &short] {
            assert_eq!(container_id(name), None, "{name}");
        }
        let own = identity(std::process::id());
        assert_eq!(own.executable, std::env::current_exe().unwrap().to_str().map(str::to_owned));
        assert!(!own.name.is_empty());
    }

    #[test]
    fn the_files_whose_code_runs_are_read_off_the_kernels_list() {
        let line = "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/my program";
        let expected = ("08:02 173521 /usr/bin/my program".to_owned(), "400000-452000".to_owned());
        assert_eq!(executable(line), Some(expected));
        for line in [
            "00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/dbus-daemon",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0 ",
            "7ffd1000-7ffd2000 r-xp 00000000 00:00 0          [vdso]",
            "7ffd1000-7ffd2000 r-xp 00000000 00:00 0",
            "zz-7ffd2000 r-xp 00000000 08:02 3 /x",
            "",
        ] {
            assert_eq!(executable(line), None, "{line}");
        }
        let own = mapped(std::process::id()).unwrap();
        let me = std::env::current_exe().unwrap();
        assert!(own.iter().any(|it| Path::new(it.path()) == me));
    }
}
