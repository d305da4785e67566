//! Capture goes first: what a node drops under a steady load, left alone and while it answers heavy questions.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cost::usage;
use crate::fleet::{ask, started};

/// Sends so many packets a second over loopback, in three phases of so many seconds, and prints what was captured.
pub(crate) fn compare(binary: &Path, work: &Path, packets_per_s: u32, seconds: u64) -> Result<()> {
    let mut command = Command::new(binary);
    command.args(["tap", "-i", "lo", "--port", "0", "--no-browser", "--filter", "udp", "--store"]);
    let (tap, url) = started(command.arg(work.join("store")))?;
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    let to = sink.local_addr()?;
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    println!("\n{packets_per_s} packets/s over loopback, {seconds} s each");
    println!(
        "{:24} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "", "sent", "seen", "dropped", "CPU s", "answers"
    );
    std::thread::scope(|scope| -> Result<()> {
        let _stopped = StopOnDrop(&stop);
        scope.spawn(|| {
            if let Err(error) = send(to, packets_per_s, &stop, &sent) {
                println!("the sender failed: {error}");
            }
        });
        for (name, askers) in
            [("left alone", 0), ("8 heavy questions at once", 8), ("left alone", 0)]
        {
            let (before, sent_before) = (health(&url)?, sent.load(Relaxed));
            let cpu = usage(tap.0.id())?;
            let answers = AtomicU64::new(0);
            let until = Instant::now() + Duration::from_secs(seconds);
            std::thread::scope(|scope| {
                for _ in 0..askers {
                    scope.spawn(|| {
                        while Instant::now() < until {
                            if ask(&url, HEAVY, Duration::from_secs(5)).is_ok() {
                                answers.fetch_add(1, Relaxed);
                            }
                        }
                    });
                }
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
            });
            // What was sent last has been looked at by then.
            std::thread::sleep(Duration::from_secs(2));
            let (after, sent_after) = (health(&url)?, sent.load(Relaxed));
            let rose = |of: &str| -> Result<u64> {
                let number = |it: &Value| it[of].as_u64().with_context(|| format!("no {of}"));
                Ok(number(&after)? - number(&before)?)
            };
            println!(
                "{name:24} {:10} {:10} {:10} {:10.1} {:10}",
                sent_after - sent_before,
                rose("packets")?,
                rose("dropped_kernel")?,
                usage(tap.0.id())?.cpu_seconds - cpu.cpu_seconds,
                answers.load(Relaxed)
            );
        }
        Ok(())
    })
}

/// Every packet against every other of its length, and all their bytes.
const HEAVY: &str = "select count(*), count(distinct a.data), approx_percentile_cont(a.wire_bytes, 0.9) \
                     from packets a join packets b on a.wire_bytes = b.wire_bytes and a.ts < b.ts";

/// What the one worker of the Hub says of itself.
fn health(url: &str) -> Result<Value> {
    let mut response = ureq::get(format!("{url}/api/workers")).call()?;
    let mut workers: Value = response.body_mut().read_json()?;
    let health = workers["workers"][0]["health"].take();
    ensure!(health.is_object(), "the tap has no worker");
    Ok(health)
}

/// Sends until it is stopped, a millisecond's worth at a time; what could not be sent in time is not made up for.
fn send(
    to: std::net::SocketAddr,
    packets_per_s: u32,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> Result<()> {
    let sockets = (0..16).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let mut payload = [0x5a_u8; 300];
    let mut turn = 0_u64;
    let mut next = Instant::now();
    while !stop.load(Relaxed) {
        for _ in 0..(packets_per_s / 1_000).max(1) {
            turn += 1;
            payload[..8].copy_from_slice(&turn.to_le_bytes());
            let length = 100 + usize::try_from(turn % 200)?;
            let socket = &sockets[usize::try_from(turn % 16)?];
            // The receiver reads nothing: what it has no room for goes over the interface all the same.
            if socket.send_to(payload.get(..length).unwrap_or(&payload), to).is_ok() {
                sent.fetch_add(1, Relaxed);
            }
        }
        next += Duration::from_millis(1);
        let now = Instant::now();
        next = next.max(now.checked_sub(Duration::from_millis(5)).unwrap_or(now));
        std::thread::sleep(next.saturating_duration_since(now));
    }
    Ok(())
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
