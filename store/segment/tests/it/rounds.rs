//! Process after process writes to a store until it is killed, at no moment in particular.
//!
//! `cargo xtask crash --rounds 1000` does it for long.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use segment::{Options, Snapshot, Store, stage};

use crate::rows::{batch, numbers, table};

/// Set in the child.
const DIR: &str = "SEGMENT_TEST_ROUNDS";
/// The first number of each table's rows, and the seed of what the child does.
const FROM: &str = "SEGMENT_TEST_FROM";

const TABLES: [&str; 3] = ["http", "dns", "packets"];

/// Everything that writes is on, and has something to do within milliseconds.
fn options(random: &mut Random) -> Options {
    Options {
        hot_bytes: 200 << 10,
        seal_after: Duration::from_millis(20),
        append_wait: Duration::from_secs(60),
        keep_bytes_records: [40 << 10, 4 << 30][random.below(2) as usize],
        // Half of the time the checks go on while it writes.
        verify_bytes: [0, 256 << 20][random.below(2) as usize],
        merge_inputs: [4, 16][random.below(2) as usize],
        merge_share: 1.0,
        ..Options::default()
    }
}

/// The child: says what it is about to do, does it, and says that it is done, until it is killed.
#[test]
fn child_that_lives_until_it_is_killed() {
    let (Some(dir), Ok(from)) = (std::env::var_os(DIR), std::env::var(FROM)) else { return };
    let mut from = from.split(',').map(|it| it.parse::<u64>().unwrap());
    let mut random = Random::new(from.next().unwrap());
    let mut next = from.collect::<Vec<_>>();
    let tables = TABLES.map(table);
    let (store, recovery) = Store::open(Path::new(&dir), &tables, options(&mut random)).unwrap();
    assert!(recovery.losses.is_empty(), "the parent was told: {:?}", recovery.losses);
    say("open");
    loop {
        match random.below(40) {
            0 => {
                store.seal().unwrap();
                say("sealed");
            }
            1 => {
                say("telling");
                for loss in store.maintain(0) {
                    say(&format!("lost {} {} {}", loss.table, loss.stage, loss.rows));
                }
                say("told");
            }
            _ => {
                let at = random.below(TABLES.len() as u64) as usize;
                let rows = 1 + random.below(80);
                say(&format!("begin {} {rows}", TABLES[at]));
                let n = (next[at]..next[at] + rows).collect::<Vec<_>>();
                next[at] += rows;
                store.append(TABLES[at], batch(&tables[at], &n, |it| it as i64)).unwrap();
                say("end");
            }
        }
    }
}

/// The test harness captures what `println!` writes, and begins the first line with the test's name.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}").unwrap();
    out.flush().unwrap();
}

#[test]
fn whenever_a_process_is_killed_every_row_is_there_or_counted() {
    let number = |name| std::env::var(name).ok().map(|it: String| it.parse::<u64>().unwrap());
    let seed = number("SEED").unwrap_or(1);
    let rounds = number("ROUNDS").unwrap_or(12);
    let mut random = Random::new(seed);
    let mut sum = Sum::default();
    // On a busy machine it takes more lives until one has merged before it ends.
    let whole = |it: &Sum| it.sealed > 0 && it.crashed > 0 && it.merged > 0;
    while sum.rounds < rounds || (!whole(&sum) && sum.rounds < 20 * rounds) {
        let mut life = Life::new();
        for _ in 0..1 + random.below(8) {
            life.round(&mut random, &mut sum);
        }
    }
    println!("SEED={seed}: {sum:?}");
    assert!(whole(&sum), "{sum:?}");
}

/// What the rounds came to.
#[derive(Debug, Default)]
struct Sum {
    rounds: u64,
    /// Rows found in segments.
    sealed: u64,
    /// Segments found that others were merged into.
    merged: usize,
    /// Rows that were in memory only.
    crashed: u64,
    /// Rows given up for others.
    expired: u64,
    /// Files set aside half written.
    unfinished: usize,
}

/// A store through several processes.
struct Life {
    dir: tempfile::TempDir,
    tables: BTreeMap<String, Rows>,
}

/// What is known of one table's rows.
#[derive(Debug, Default)]
struct Rows {
    /// The number of the next row.
    next: u64,
    /// How many were appended.
    appended: u64,
    /// How many that may have been, and nobody could say so.
    pending: u64,
    /// How many were appended when the store was sealed last, and of those lost before that.
    durable: (u64, u64),
    lost: BTreeMap<String, u64>,
}

impl Rows {
    fn sealed(&mut self) {
        self.durable = (self.appended, self.lost.values().sum());
    }
}

impl Life {
    fn new() -> Self {
        let tables = TABLES.map(|it| (it.to_owned(), Rows::default()));
        Self { dir: tempfile::tempdir().unwrap(), tables: tables.into() }
    }

    fn round(&mut self, random: &mut Random, sum: &mut Sum) {
        let from = TABLES.iter().map(|it| self.tables[*it].next.to_string());
        let from = [random.below(u64::MAX >> 12).to_string()].into_iter().chain(from);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rounds::child_that_lives_until_it_is_killed", "--nocapture"])
            .env(DIR, self.dir.path())
            .env(FROM, from.collect::<Vec<_>>().join(","))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let moment = Duration::from_micros(random.below(150_000));
        let mut killer = None;
        // Told, but not heard.
        let mut telling = false;
        for line in lines {
            let line = line.unwrap();
            let Some((_, line)) = line.rsplit_once('@') else { continue };
            let words = line.split(' ').collect::<Vec<_>>();
            match words.as_slice() {
                ["open"] => {
                    let pid = child.id().to_string();
                    killer = Some(std::thread::spawn(move || {
                        std::thread::sleep(moment);
                        Command::new("kill").args(["-9", &pid]).status().unwrap();
                    }));
                }
                ["begin", table, rows] => {
                    let table = self.tables.get_mut(*table).unwrap();
                    table.pending = rows.parse().unwrap();
                    table.next += table.pending;
                }
                ["end"] => self.tables.values_mut().for_each(|it| {
                    it.appended += std::mem::take(&mut it.pending);
                }),
                ["sealed"] => self.tables.values_mut().for_each(Rows::sealed),
                ["lost", table, stage, rows] => self.lose(table, stage, rows.parse().unwrap()),
                ["telling"] => telling = true,
                ["told"] => telling = false,
                _ => {}
            }
        }
        let status = child.wait().unwrap();
        killer.unwrap_or_else(|| panic!("it did not open the store: {status}")).join().unwrap();
        self.check(telling, sum);
        sum.rounds += 1;
    }

    fn lose(&mut self, table: &str, stage: &str, rows: u64) {
        *self.tables.get_mut(table).unwrap().lost.entry(stage.to_owned()).or_default() += rows;
    }

    /// Opens the store as the next process would.
    fn check(&mut self, telling: bool, sum: &mut Sum) {
        let (store, recovery) =
            Store::open(self.dir.path(), &TABLES.map(table), Options::default()).unwrap();
        for torn in &recovery.torn {
            assert!(torn.file.ends_with(".tmp"), "{torn:?}");
        }
        sum.unfinished += recovery.torn.len();
        for loss in recovery.losses.into_iter().chain(store.maintain(0)) {
            assert!([stage::CRASH, stage::QUOTA].contains(&loss.stage), "{loss:?}");
            self.lose(&loss.table, loss.stage, loss.rows);
        }
        for (name, rows) in &mut self.tables {
            let snapshot = store.snapshot(name);
            let merged = snapshot.segments.iter().filter(|it| it.file.contains('_'));
            sum.merged += merged.count();
            let found = whole(name, &snapshot);
            assert!(found.is_sorted_by(|a, b| a < b), "a row of {name} twice");
            assert!(found.last().is_none_or(|it| *it < rows.next));
            let lost = rows.lost.values().sum::<u64>();
            let there = found.len() as u64;
            let known = there + lost;
            let all = [rows.appended, rows.appended + rows.pending];
            assert!(
                all.contains(&known) || telling && known < all[0],
                "{name}: {there} rows are there and {lost} lost, of {rows:?}"
            );
            let (appended, before) = rows.durable;
            let expired = rows.lost.get(stage::QUOTA).copied().unwrap_or_default();
            let kept = (appended - before).saturating_sub(expired);
            assert!(there >= kept || telling, "{name}: {there} rows of {kept} sealed: {rows:?}");
            rows.appended = known;
            rows.pending = 0;
            rows.sealed();
            sum.sealed += there;
        }
        let lost = |of: &str| self.tables.values().filter_map(|it| it.lost.get(of)).sum::<u64>();
        sum.crashed += lost(stage::CRASH);
        sum.expired += lost(stage::QUOTA);
    }
}

/// The numbers of the rows, sorted; every row is as it was written.
fn whole(name: &str, snapshot: &Snapshot) -> Vec<u64> {
    let declared = TABLES.iter().find(|it| **it == name).map(|it| table(it)).unwrap();
    let mut found = Vec::new();
    for segment in &snapshot.segments {
        for rows in segment.read(None).unwrap() {
            let rows = rows.unwrap();
            let numbers = numbers(&rows);
            assert_eq!(rows.columns(), batch(&declared, &numbers, |it| it as i64).columns());
            found.extend(numbers);
        }
    }
    assert!(snapshot.hot.is_empty(), "nobody wrote yet");
    found.sort_unstable();
    found
}

/// Xorshift: the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
