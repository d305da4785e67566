//! What it costs to get packets from the kernel: libpcap and our own ways beside it, at rising rates over a pair of
//! interfaces in two network namespaces.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use source::{Live, LiveConfig, Way};

use crate::mirror::Mirror;

use crate::cost::thread_ns;
use crate::fleet::Killed;

/// One way at one rate.
#[derive(Clone, Copy, Default)]
struct Taken {
    sent: u64,
    seconds: f64,
    seen: u64,
    dropped: u64,
    /// CPU time of one who takes them, and of the one who sends, in whose time the kernel makes its copies.
    taker_ns: u64,
    sender_ns: u64,
}

impl Taken {
    fn per_cpu_second(&self) -> f64 {
        self.seen as f64 * 1e9 / self.taker_ns.max(1) as f64
    }
}

/// Takes them each way, all ways in turn so many times, and prints the run in the middle of each.
pub(crate) fn compare(seconds: u64, runs: u32) -> Result<()> {
    let pair = Pair::new()?;
    println!("\npackets over a veth pair, {seconds} s each, the middle of {runs} runs");
    println!(
        "{:>6} {:>10} {:10} {:>10} {:>10} {:>9} {:>9} {:>14} {:>11} {:>10}",
        "bytes",
        "asked /s",
        "",
        "sent /s",
        "seen",
        "dropped",
        "ns/packet",
        "packets/CPU s",
        "× libpcap",
        "sender ns"
    );
    for (bytes, rate) in
        [(200, 20_000), (200, 100_000), (200, FASTEST), (1_400, 20_000), (1_400, FASTEST)]
    {
        let ways = [None, Some("libpcap"), Some("ring"), Some(EBPF)];
        let mut measured = vec![Vec::new(); ways.len()];
        for _ in 0..runs.max(1) {
            for (way, measured) in ways.iter().zip(&mut measured) {
                measured.push(pair.taken(*way, rate, bytes, seconds)?);
            }
        }
        let mut libpcap = None;
        for (way, mut runs) in ways.into_iter().zip(measured) {
            runs.sort_by_key(|it| it.taker_ns + it.sender_ns);
            let it = runs.get(runs.len() / 2).copied().unwrap_or_default();
            let asked = if rate == FASTEST { "all".to_owned() } else { rate.to_string() };
            let sent = it.sent as f64 / it.seconds;
            let sender = it.sender_ns / it.sent.max(1);
            let Some(way) = way else {
                println!("{bytes:6} {asked:>10} {:10} {sent:10.0} {sender:>67}", "nobody");
                continue;
            };
            let ratio = it.per_cpu_second() / *libpcap.get_or_insert_with(|| it.per_cpu_second());
            println!(
                "{bytes:6} {asked:>10} {way:10} {sent:10.0} {:10} {:9} {:9} {:14.0} {ratio:11.2} {sender:10}",
                it.seen,
                it.dropped,
                it.taker_ns / it.seen.max(1),
                it.per_cpu_second(),
            );
        }
    }
    Ok(())
}

/// Two namespaces with a wire between them; gone at the end.
struct Pair {
    names: [String; 2],
}

impl Pair {
    fn new() -> Result<Self> {
        let id = std::process::id();
        let pair = Self { names: [format!("bench-{id}-a"), format!("bench-{id}-b")] };
        let [a, b] = &pair.names;
        for command in [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("-n {a} link add name wire type veth peer name wire netns {b}"),
            format!("-n {a} address add 10.99.0.1/24 dev wire"),
            format!("-n {b} address add 10.99.0.2/24 dev wire"),
            format!("-n {a} link set dev wire address 02:00:00:00:00:01 up"),
            format!("-n {b} link set dev wire address 02:00:00:00:00:02 up"),
            format!("-n {a} neighbour add 10.99.0.2 lladdr 02:00:00:00:00:02 dev wire"),
            // To nobody, so that nobody answers.
            format!("-n {a} route add 10.99.9.0/24 via 10.99.0.2"),
        ] {
            let output = Command::new("ip").args(command.split(' ')).output()?;
            ensure!(
                output.status.success(),
                "ip {command}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(pair)
    }

    /// This program in one of them, in another mode.
    fn own(&self, name: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).arg(std::env::current_exe()?).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(command)
    }

    fn taken(&self, way: Option<&str>, rate: u64, bytes: usize, seconds: u64) -> Result<Taken> {
        let [a, b] = &self.names;
        let taker = way.map(|way| -> Result<_> {
            let mut taker = Killed(self.own(b, &["take", "wire", way])?.spawn()?);
            let mut said = BufReader::new(taker.0.stdout.take().context("its output")?);
            let mut line = String::new();
            said.read_line(&mut line)?;
            ensure!(line == "ready\n", "no packets through {way}: {line}");
            Ok((taker, said))
        });
        let taker = taker.transpose()?;
        let (rate, bytes, seconds) = (rate.to_string(), bytes.to_string(), seconds.to_string());
        let sent = self.own(a, &["send", "10.99.9.9:53", &rate, &bytes, &seconds])?.output()?;
        ensure!(sent.status.success(), "the sender: {}", sent.status);
        let [sent, sender_ns, nanos] = numbers(&String::from_utf8_lossy(&sent.stdout))?;
        let mut taken = Taken { sent, sender_ns, seconds: nanos as f64 / 1e9, ..Taken::default() };
        if let Some((mut taker, mut said)) = taker {
            // What is in the ring still is taken, too.
            std::thread::sleep(Duration::from_millis(200));
            drop(taker.0.stdin.take());
            let mut text = String::new();
            said.read_to_string(&mut text)?;
            [taken.seen, taken.dropped, taken.taker_ns] = numbers(&text)?;
        }
        Ok(taken)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in &self.names {
            let gone = Command::new("ip").args(["netns", "del", name]).status();
            if !gone.is_ok_and(|it| it.success()) {
                println!("the namespace {name} is still there");
            }
        }
    }
}

/// Takes packets until its input ends, and prints how many, how many were dropped, and its CPU time.
pub(crate) fn take(interface: &str, way: &str) -> Result<()> {
    let mut sum = 0_u64;
    let mut look = |packet: &[u8]| sum += u64::from(packet.last().copied().unwrap_or_default());
    if way == EBPF {
        let mut mirror = Mirror::open(interface)?;
        let seen = until_over(|| {
            let taken = mirror.take(&mut look);
            if taken == 0 {
                std::thread::sleep(TIMEOUT / 4);
            }
            Ok(taken)
        })?;
        println!("{} {} {}", seen[0], mirror.dropped()?, seen[1]);
    } else {
        let config = LiveConfig {
            interface: interface.to_owned(),
            filter: Some("udp port 53".to_owned()),
            buffer_bytes: 16 << 20,
            timeout: TIMEOUT,
            way: way.parse::<Way>().map_err(anyhow::Error::msg)?,
            ..LiveConfig::default()
        };
        let mut live = Live::open(&config)?;
        let seen = until_over(|| {
            let packet = live.next()?;
            packet.iter().for_each(|it| look(it.data));
            Ok(u64::from(packet.is_some()))
        })?;
        println!("{} {} {}", seen[0], live.stats()?.dropped_kernel, seen[1]);
    }
    std::hint::black_box(sum);
    Ok(())
}

/// Does it until the input has ended and there is nothing left; how much that was, and this thread's CPU time.
fn until_over(mut some: impl FnMut() -> Result<u64>) -> Result<[u64; 2]> {
    println!("ready");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // An error is an end as well.
            let _end = std::io::stdin().read(&mut [0]);
            over.store(true, Relaxed);
        });
        let begin = thread_ns()?;
        let mut seen = 0;
        loop {
            match some()? {
                0 if over.load(Relaxed) => return Ok([seen, thread_ns()? - begin]),
                taken => seen += taken,
            }
        }
    })
}

/// Sends so many packets a second, evenly; prints how many it was, its CPU time and how long it took.
pub(crate) fn send(to: SocketAddr, rate: u64, bytes: usize, seconds: u64) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    // Without the headers of UDP, IP and Ethernet.
    let payload = vec![0x5a; bytes.saturating_sub(42)];
    let (began, begin) = (Instant::now(), thread_ns()?);
    let until = Duration::from_secs(seconds);
    let mut sent = 0_u64;
    while began.elapsed() < until {
        let due = match rate {
            FASTEST => u64::MAX,
            rate => (began.elapsed().as_secs_f64() * rate as f64) as u64,
        };
        if sent >= due {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        for _ in 0..(due - sent).min(64) {
            sent += u64::from(socket.send(&payload).is_ok());
        }
    }
    println!("{sent} {} {}", thread_ns()? - begin, began.elapsed().as_nanos());
    Ok(())
}

fn numbers(text: &str) -> Result<[u64; 3]> {
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
    match numbers?.try_into() {
        Ok(numbers) => Ok(numbers),
        Err(other) => bail!("three numbers, not {}", other.len()),
    }
}

/// How long one who takes packets waits for some.
const TIMEOUT: Duration = Duration::from_millis(20);
/// The way that the product does not have.
const EBPF: &str = "ebpf";
/// As many as there can be.
const FASTEST: u64 = 0;
