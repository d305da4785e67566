//! The page under load: rows come in steadily over the wire, and a real browser shows them as they come.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::fleet::started;

/// Has a browser look at the live tail of so many rows a second, and prints what that costs it and how late they are.
pub(crate) fn compare(binary: &Path, work: &Path, rows_per_s: u32, seconds: u64) -> Result<()> {
    let mut command = Command::new(binary);
    command.args(["tap", "-i", "lo", "--port", "0", "--no-browser", "--filter", "udp", "--store"]);
    let (_tap, url) = started(command.arg(work.join("store")))?;
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    println!("\n{rows_per_s} rows/s for {seconds} s, a browser of {WIDTH} by {HEIGHT} points");
    std::thread::scope(|scope| -> Result<()> {
        let _stopped = StopOnDrop(&stop);
        scope.spawn(|| {
            if let Err(error) = talk(rows_per_s, &stop, &asked) {
                println!("the traffic failed: {error}");
            }
        });
        measure(work, &url, &asked, seconds)
    })
}

fn measure(work: &Path, url: &str, asked: &AtomicU64, seconds: u64) -> Result<()> {
    let browser = Browser::start(work)?;
    browser.post("/url", &json!({ "url": url }))?;
    let until = Instant::now() + PATIENCE;
    while browser.run("return document.querySelectorAll('[data-testid=row]').length")? == 0 {
        ensure!(Instant::now() < until, "no row came to the page within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0";
    let paint = browser.run(paint)?.as_f64().unwrap_or_default();
    std::thread::sleep(WARM);
    browser.devtools("Performance.enable", &json!({}))?;
    browser.run(PROBE)?;
    let (before, asked_before, began) = (browser.metrics()?, asked.load(Relaxed), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let (after, wall) = (browser.metrics()?, began.elapsed().as_secs_f64());
    let rows = asked.load(Relaxed) - asked_before;
    let told = browser.run("return [probe.updates, probe.frames]")?;
    let (updates, frames) = serde_json::from_value(told)?;
    let seen = Seen { updates, frames };
    ensure!(seen.updates.len() > 10, "only {} updates of the list were seen", seen.updates.len());
    let kept = browser.run("return document.querySelector('[role=grid]').ariaRowCount ?? ''")?;
    let skipped =
        browser.run("return document.body.innerText.match(/([\\d,]+) skipped/)?.[1] ?? '0'")?;
    let private = browser.private_bytes()? as f64 / 1e6;

    let spent = |name: &str| {
        let of = |it: &Value| it[name].as_f64().unwrap_or(f64::NAN);
        (of(&after) - of(&before)) * 1_000.0 / wall
    };
    let newest = sorted(seen.updates.iter().map(|(at, sent)| at - sent).collect());
    let late = seen.late();
    let frames = sorted(seen.frames);
    // At 60 frames a second one stands for 16.7 ms.
    let missed = frames.iter().map(|ms| (ms / FRAME_MS).round() - 1.0).fold(0.0, |a, b| a + b);
    let line = |name: &str, value: f64, unit: &str, most: Option<f64>| {
        let told = most.map_or_else(String::new, |most| {
            format!("{} at most {most:.0}", if value <= most { "ok" } else { "MISSED" })
        });
        println!("{name:44} {value:9.1} {unit:6} {told}");
    };
    line("rows over the wire", rows as f64 / wall, "/s", None);
    line("first paint after the address was opened", paint, "ms", Some(1_000.0));
    line("script", spent("ScriptDuration"), "ms/s", Some(100.0));
    line("layout", spent("LayoutDuration"), "ms/s", None);
    line("style", spent("RecalcStyleDuration"), "ms/s", None);
    line("all of the page's thread", spent("TaskDuration"), "ms/s", None);
    line("a frame, median", at(&frames, 0.5), "ms", None);
    line("a frame, p95", at(&frames, 0.95), "ms", Some(33.0));
    line("frames missed, of 60 a second", missed / wall, "/s", None);
    line("updates of the list", seen.updates.len() as f64 / wall, "/s", None);
    line("an update's newest row, wire to document, p50", at(&newest, 0.5), "ms", None);
    line("every row, wire to document, p50", at(&late, 0.5), "ms", Some(100.0));
    line("every row, wire to document, p99", at(&late, 0.99), "ms", Some(300.0));
    line("the page's process, private memory", private, "MB", Some(300.0));
    println!(
        "rows in the list at the end: {}; left out of it: {}",
        kept.as_str().unwrap_or_default(),
        skipped.as_str().unwrap_or_default()
    );
    Ok(())
}

/// What the browser saw.
struct Seen {
    /// When the list had a newer row on top, and when that one was sent; milliseconds since 1970.
    updates: Vec<(f64, f64)>,
    /// How long each frame took, in milliseconds.
    frames: Vec<f64>,
}

impl Seen {
    /// How late the rows were, also those that were pushed out of view by newer ones in the same update: of each
    /// millisecond's rows, when the list had them.
    fn late(&self) -> Vec<f64> {
        let mut late = Vec::new();
        for pair in self.updates.windows(2) {
            let [(_, from), (at, until)] = pair else { continue };
            let mut sent = *until;
            while sent > *from {
                late.push(at - sent);
                sent -= 1.0;
            }
        }
        sorted(late)
    }
}

fn sorted(mut list: Vec<f64>) -> Vec<f64> {
    list.sort_by(f64::total_cmp);
    list
}

/// The value below which that part of a sorted list lies.
fn at(list: &[f64], part: f64) -> f64 {
    list.get((list.len() as f64 * part) as usize)
        .or_else(|| list.last())
        .copied()
        .unwrap_or(f64::NAN)
}

/// Asks and answers DNS questions whose names are the microsecond they were sent in.
fn talk(rows_per_s: u32, stop: &AtomicBool, asked: &AtomicU64) -> Result<()> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let to = server.local_addr()?;
    let clients = (0..16).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let (mut id, mut buffer, mut next) = (0_u16, [0_u8; 512], Instant::now());
    let mut due = 0.0;
    while !stop.load(Relaxed) {
        due += f64::from(rows_per_s) / 1_000.0;
        while due >= 1.0 {
            due -= 1.0;
            id = id.wrapping_add(1);
            let micros = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
            let name = format!("t{micros}");
            let client = clients.get(usize::from(id % 16)).context("sixteen clients")?;
            client.send_to(&question(id, &name), to)?;
            let (length, from) = server.recv_from(&mut buffer)?;
            // the same again, as an answer without records
            let answer = buffer.get_mut(..length).context("it was received")?;
            if let Some(flags) = answer.get_mut(2..4) {
                flags.copy_from_slice(&[0x81, 0x80]);
            }
            server.send_to(answer, from)?;
            client.recv(&mut [0; 512])?;
            asked.fetch_add(1, Relaxed);
        }
        next += Duration::from_millis(1);
        let now = Instant::now();
        next = next.max(now.checked_sub(Duration::from_millis(50)).unwrap_or(now));
        std::thread::sleep(next.saturating_duration_since(now));
    }
    Ok(())
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [name, "bench"] {
        packet.push(u8::try_from(label.len()).unwrap_or(63));
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// A browser with one page, spoken to as WebDriver has it.
struct Browser {
    driver: Child,
    session: String,
    profile: String,
}

impl Browser {
    fn start(work: &Path) -> Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver (Debian's chromium-driver) is needed")?;
        let stdout = driver.stdout.take().context("it has an output")?;
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = lines
            .find_map(|it| it.split("started successfully on port ").nth(1).map(str::to_owned))
            .context("chromedriver says where it listens")?;
        std::thread::spawn(move || lines.for_each(drop));
        let profile = work.join("profile").display().to_string();
        let session = format!("http://127.0.0.1:{}/session", port.trim_end_matches('.'));
        let mut browser = Self { driver, session, profile };
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            format!("--window-size={WIDTH},{HEIGHT}"),
            format!("--user-data-dir={}", browser.profile),
        ];
        let options = json!({ "goog:chromeOptions": { "args": arguments } });
        let made = browser.post("", &json!({ "capabilities": { "alwaysMatch": options } }))?;
        let id = made["sessionId"].as_str().context("a session has an id")?;
        browser.session = format!("{}/{id}", browser.session);
        Ok(browser)
    }

    fn post(&self, command: &str, body: &Value) -> Result<Value> {
        let mut response = ureq::post(format!("{}{command}", self.session)).send_json(body)?;
        let mut answer: Value = response.body_mut().read_json()?;
        Ok(answer["value"].take())
    }

    fn run(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn devtools(&self, command: &str, params: &Value) -> Result<Value> {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    fn metrics(&self) -> Result<Value> {
        let told = self.devtools("Performance.getMetrics", &json!({}))?;
        let metrics = told["metrics"].as_array().context("it has metrics")?.iter();
        Ok(metrics
            .filter_map(|it| Some((it["name"].as_str()?.to_owned(), it["value"].clone())))
            .collect::<serde_json::Map<_, _>>()
            .into())
    }

    /// What the largest of its processes that show pages has for itself.
    fn private_bytes(&self) -> Result<u64> {
        let mut most = 0;
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if !line.contains("--type=renderer") || !self.is_ours(&path) {
                continue;
            }
            let Ok(rollup) = std::fs::read_to_string(path.join("smaps_rollup")) else { continue };
            let private = rollup.lines().filter(|it| it.starts_with("Private_"));
            let kib = private.filter_map(|it| it.split_whitespace().nth(1)?.parse::<u64>().ok());
            most = most.max(kib.sum::<u64>() * 1024);
        }
        ensure!(most > 0, "the page's process is not to be found");
        Ok(most)
    }

    /// Whether a process descends from the driver: others may run a browser, too.
    fn is_ours(&self, process: &Path) -> bool {
        let mut path = process.to_owned();
        for _ in 0..8 {
            let Ok(status) = std::fs::read_to_string(path.join("status")) else { return false };
            let Some(parent) = status.lines().find_map(|it| it.strip_prefix("PPid:")) else {
                return false;
            };
            if parent.trim() == self.driver.id().to_string() {
                return true;
            }
            path = Path::new("/proc").join(parent.trim());
        }
        false
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        ureq::delete(&self.session).call().ok();
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Each frame: how long it took, and if the newest row is another one, when that one was sent. It looks at one row only,
/// as it is on the page's own bill.
const PROBE: &str = "
    window.probe = { updates: [], frames: [] };
    let last = performance.now(), newest = '';
    const look = () => {
      const now = performance.now();
      probe.frames.push(now - last);
      last = now;
      const row = document.querySelector('[data-testid=row]');
      const sent = row && /t(\\d{16})/.exec(row.textContent);
      if (sent && sent[1] !== newest) {
        newest = sent[1];
        probe.updates.push([Date.now(), Number(newest) / 1000]);
      }
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);";
const PATIENCE: Duration = Duration::from_secs(60);
const WARM: Duration = Duration::from_secs(10);
const FRAME_MS: f64 = 1_000.0 / 60.0;
const WIDTH: u32 = 1_400;
const HEIGHT: u32 = 900;
