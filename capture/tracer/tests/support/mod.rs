//! Processes in cgroups of the tests' own, and what was read of them.
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tracer::{Event, Options, Role, Tracer, What, cgroup_id};

/// One test at a time: they look at what is attached in the kernel. `None`, and a word why, where nothing can be traced.
pub(crate) fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let capabilities = Tracer::probe();
    match capabilities.no_plaintext().or_else(|| capabilities.no_sockets()) {
        None => Some(turn),
        Some(reason) => {
            eprintln!("SKIPPED: {reason}");
            None
        }
    }
}

/// Whether a program is there; a word if it is not.
pub(crate) fn has(program: &str) -> bool {
    let there =
        Command::new("which").arg(program).stdout(Stdio::null()).status().unwrap().success();
    if !there {
        eprintln!("SKIPPED: there is no {program}");
    }
    there
}

/// Go's compiler; a word if there is none.
#[cfg(target_arch = "x86_64")]
pub(crate) fn go() -> Option<PathBuf> {
    // Debian installs it where no shell looks.
    let installed = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let installed = installed.map(|it| it.path().join("bin/go"));
    let mut places = installed.chain([PathBuf::from("/usr/local/go/bin/go"), "/usr/bin/go".into()]);
    let found = places.find(|it| it.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: there is no Go");
    }
    found
}

pub(crate) fn options() -> Options {
    Options { rescan: Duration::from_millis(100), ..Options::default() }
}

/// A cgroup; when it is dropped, its processes are killed and it is gone.
pub(crate) struct Cgroup {
    path: PathBuf,
    servers: Mutex<Vec<Child>>,
}

impl Cgroup {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("kubeshark-test-{}-{number}", std::process::id()))
    }

    pub(crate) fn named(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts.lines().find(|it| it.contains(" - cgroup2 ")).unwrap();
        let root = Path::new(root.split(' ').nth(4).unwrap());
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        Self { path, servers: Mutex::default() }
    }

    pub(crate) fn id(&self) -> u64 {
        cgroup_id(&self.path).unwrap()
    }

    /// A program that is in the cgroup from its beginning.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.path.display());
        command.args(["-c", &enter, "sh", program]);
        command
    }

    /// A server that says its port.
    pub(crate) fn server(&self, program: &str, arguments: &[&str]) -> u16 {
        let mut command = self.command(program);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.keep(child);
        line.trim().parse().unwrap_or_else(|_| panic!("{program} did not say its port: {line}"))
    }

    /// Ends with the cgroup.
    pub(crate) fn keep(&self, server: Child) {
        self.servers.lock().unwrap().push(server);
    }

    /// Returns once a process is in it.
    pub(crate) fn wait_for_life(&self) {
        let processes = self.path.join("cgroup.procs");
        while fs::read_to_string(&processes).unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn python(&self, host: &str, kind: &str) -> u16 {
        let [certificate, key] = certificate();
        self.server("python3", &[&peer("server.py"), host, &certificate, &key, kind])
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let late = Instant::now() + Duration::from_secs(10);
        while Instant::now() < late {
            fs::write(self.path.join("cgroup.kill"), "1").unwrap_or_default();
            for mut server in std::mem::take(&mut *self.servers.lock().unwrap()) {
                server.wait().unwrap();
            }
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} is still there", self.path.display());
    }
}

pub(crate) fn peer(name: &str) -> String {
    format!("{}/tests/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A certificate and its key.
pub(crate) fn certificate() -> [String; 2] {
    static FOLDER: Mutex<Option<tempfile::TempDir>> = Mutex::new(None);
    let mut folder = FOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = folder.get_or_insert_with(|| {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    });
    ["cert.pem", "key.pem"].map(|it| folder.path().join(it).to_str().unwrap().to_owned())
}

/// What one process said and heard on one connection.
#[derive(Default)]
pub(crate) struct Talk {
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    pub(crate) comm: String,
    pub(crate) pid: u32,
    pub(crate) role: Option<Role>,
    pub(crate) cgroup_ids: [u64; 2],
}

/// What was read, by the process's end and the other one.
#[derive(Default)]
pub(crate) struct Talks {
    pub(crate) talks: BTreeMap<(SocketAddr, SocketAddr), Talk>,
    pub(crate) sockets: Vec<(What, SocketAddr, SocketAddr, Option<String>)>,
}

impl Talks {
    /// Adds an event. A piece must begin where the last one ended.
    pub(crate) fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Plaintext(it) => {
                let talk = self.talks.entry((it.ends.local, it.ends.remote)).or_default();
                let stream = if it.sent { &mut talk.sent } else { &mut talk.received };
                assert_eq!(it.offset, stream.len() as u64, "{:?}", it.ends);
                stream.extend(it.bytes);
                assert!(talk.pid == 0 || talk.pid == it.process.pid, "{:?}", it.ends);
                talk.pid = it.process.pid;
                talk.role = it.role;
                talk.comm = it.process.comm.to_owned();
                talk.cgroup_ids = [it.process.cgroup_id, it.ends.cgroup_id];
            }
            Event::Socket(it) => {
                let name = it.process.map(|it| it.comm.to_owned());
                self.sockets.push((it.what, it.ends.local, it.ends.remote, name));
            }
        }
    }

    /// Reads until the processes have ended well, and all that they said was read.
    pub(crate) fn read(&mut self, tracer: &mut Tracer, children: Vec<Child>) {
        self.read_with(tracer, children, &mut |_| ());
    }

    /// The same; others may listen.
    pub(crate) fn read_with(
        &mut self,
        tracer: &mut Tracer,
        children: Vec<Child>,
        also: &mut dyn FnMut(Event<'_>),
    ) {
        let late = Instant::now() + Duration::from_secs(120);
        let mut children = children;
        let mut quiet = 0;
        while quiet < 3 {
            let read = tracer.read(Duration::from_millis(50), &mut |event| {
                also(event);
                self.add(event);
            });
            children.retain_mut(|it| match it.try_wait().unwrap() {
                Some(status) => {
                    assert!(status.success(), "a peer failed: {status}");
                    false
                }
                None => true,
            });
            quiet = if read == 0 && children.is_empty() { quiet + 1 } else { 0 };
            assert!(Instant::now() < late, "still waiting for {} peers", children.len());
        }
    }

    /// The two sides of each connection that `port` was called on: client's and server's.
    pub(crate) fn pairs(&self, port: u16) -> Vec<(&Talk, &Talk)> {
        let clients = self.talks.iter().filter(|it| it.0.1.port() == port);
        clients.map(|((local, remote), it)| (it, &self.talks[&(*remote, *local)])).collect()
    }
}
