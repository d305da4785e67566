//! Disks that fail, and what the store must still do on them.
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, RecordBatch, StringViewArray, TimestampNanosecondArray, UInt64Array};
use schema::{Field, Kind, Table};

use crate::disk::{Faults, Step};
use crate::{Loss, Options, Store};

/// A disk of so many bytes.
#[derive(Debug)]
pub(crate) struct Full(pub(crate) u64);

impl Faults for Full {
    fn step(&self, _: Step, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, dir: &Path, bytes: usize) -> io::Result<usize> {
        if used(dir) + bytes as u64 > self.0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(bytes)
    }

    fn overwrite(&self, bytes: usize) -> io::Result<usize> {
        Ok(bytes)
    }
}

/// The bytes of the files in a directory.
fn used(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let used = entries.flatten().map(|it| match it.metadata() {
        Ok(found) if found.is_dir() => used(&it.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    used.sum()
}

/// A disk on which things fail at random.
#[derive(Debug)]
struct Failing {
    random: Mutex<Random>,
    /// Of a thousand steps, so many fail.
    odds: u64,
    on: AtomicBool,
    failed: AtomicU64,
    /// Whether writes of the journal do, too.
    journal_fails: bool,
    /// How many of them failed.
    journal: AtomicU64,
    /// The segment that could not be read last.
    unread: Mutex<PathBuf>,
    /// Whether there was one that could then not be removed either: its rows are lost until it is
    /// found again.
    given_up: AtomicBool,
}

impl Failing {
    fn draw(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    fn strikes(&self) -> bool {
        let strikes = self.on.load(Relaxed) && self.draw(1000) < self.odds;
        self.failed.fetch_add(u64::from(strikes), Relaxed);
        strikes
    }

    fn error(&self) -> io::Error {
        let full = self.draw(2) == 0;
        if full {
            io::ErrorKind::StorageFull.into()
        } else {
            io::Error::other("input/output error")
        }
    }
}

impl Faults for Failing {
    fn step(&self, step: Step, path: &Path) -> io::Result<()> {
        if !self.strikes() {
            return Ok(());
        }
        match step {
            Step::Read => *self.unread.lock().unwrap() = path.to_path_buf(),
            Step::Remove if *self.unread.lock().unwrap() == path => {
                self.given_up.store(true, Relaxed);
            }
            _ => {}
        }
        Err(self.error())
    }

    fn write(&self, _: &Path, bytes: usize) -> io::Result<usize> {
        if !self.strikes() {
            return Ok(bytes);
        }
        // Short writes are no errors.
        match self.draw(2) {
            0 if bytes > 1 => Ok(bytes / 2),
            _ => Err(self.error()),
        }
    }

    fn overwrite(&self, bytes: usize) -> io::Result<usize> {
        if !self.journal_fails || !self.strikes() {
            return Ok(bytes);
        }
        self.journal.fetch_add(1, Relaxed);
        match self.draw(2) {
            0 => Ok(bytes / 2),
            _ => Err(self.error()),
        }
    }
}

/// Xorshift: the same numbers from the same seed.
#[derive(Debug)]
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

fn tables() -> [Table; 2] {
    ["http", "packets"].map(|name| {
        let field = |name: &'static str, kind| Field {
            name: name.into(),
            doc: "What it says.".into(),
            kind,
            nullable: false,
        };
        let fields = vec![
            field("ts", Kind::Time),
            field("n", Kind::Count),
            field("text", Kind::Text),
            field("flow_id", Kind::Id),
        ];
        Table { name: name.into(), doc: "Rows.".into(), fields: fields.into() }
    })
}

/// Rows that follow from their numbers.
fn batch(numbers: &[u64]) -> RecordBatch {
    let text = |of: &dyn Fn(u64) -> String| {
        Arc::new(numbers.iter().map(|it| Some(of(*it))).collect::<StringViewArray>()) as ArrayRef
    };
    let times = numbers.iter().map(|it| Some(*it as i64)).collect::<TimestampNanosecondArray>();
    let columns = vec![
        Arc::new(times.with_timezone("UTC")) as ArrayRef,
        Arc::new(UInt64Array::from(numbers.to_vec())),
        text(&|it| format!("{:0>200}", it.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        text(&|it| format!("flow {it}")),
    ];
    RecordBatch::try_new(tables()[0].arrow(), columns).unwrap()
}

/// One life of a store on a failing disk, and what it must come to.
struct Life {
    dir: tempfile::TempDir,
    faults: Arc<Failing>,
    random: Random,
    options: Options,
    /// Rows appended to each table: those numbered below.
    appended: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let odds = [5, 20, 100, 400][random.below(4) as usize];
        let faults = Failing {
            random: Mutex::new(Random::new(!seed)),
            odds,
            on: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            journal_fails: random.below(3) == 0,
            journal: AtomicU64::new(0),
            unread: Mutex::default(),
            given_up: AtomicBool::new(false),
        };
        let options = Options {
            hot_bytes: [64 << 10, 1 << 20][random.below(2) as usize],
            seal_after: Duration::from_secs(3600),
            append_wait: Duration::from_secs(10),
            keep_bytes_records: [40 << 10, 4 << 30][random.below(2) as usize],
            row_group_rows: 64,
            ..Options::default()
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            faults: Arc::new(faults),
            random,
            options,
            appended: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    fn failing(&self, on: bool) {
        self.faults.on.store(on, Relaxed);
    }

    fn open(&mut self) -> Store {
        let open = |it: &Self| {
            let faults = Arc::clone(&it.faults) as Arc<dyn Faults>;
            Store::open_on(it.dir.path(), &tables(), it.options.clone(), Some(faults))
        };
        // A disk that fails at the start may keep the store closed, but may not harm it.
        let opened = open(self).or_else(|_| {
            self.failing(false);
            open(self)
        });
        let (store, recovery) = opened.unwrap();
        self.count(recovery.losses);
        store
    }

    fn count(&mut self, losses: Vec<Loss>) {
        for loss in losses {
            *self.lost.entry(loss.table).or_default() += loss.rows;
        }
    }

    fn step(&mut self, store: &mut Option<Store>) {
        let table = ["http", "packets"][self.random.below(2) as usize];
        match (self.random.below(12), store.as_ref()) {
            (0..6, Some(store)) => {
                let next = self.appended.entry(table.to_owned()).or_default();
                let rows = 1 + self.random.below(120);
                let numbers = (*next..*next + rows).collect::<Vec<_>>();
                *next += rows;
                // Whether it could be kept is counted, not told.
                drop(store.append(table, batch(&numbers)));
            }
            (6..9, Some(store)) => drop(store.seal()),
            (9, Some(store)) => {
                let losses = store.maintain(0);
                self.count(losses);
            }
            (10, Some(store)) => drop(self.check(store)),
            _ => {
                *store = None;
                *store = Some(self.open());
                self.failing(true);
            }
        }
    }

    /// Nothing is served that is not what was appended, and nothing twice. Returns how many rows are.
    fn check(&self, store: &Store) -> BTreeMap<String, u64> {
        let mut served = BTreeMap::new();
        for (table, appended) in &self.appended {
            let snapshot = store.snapshot(table);
            let segments = snapshot.segments.iter().flat_map(|it| it.read(None).unwrap());
            let batches = snapshot.hot.into_iter().map(Ok).chain(segments);
            let mut found = Vec::new();
            for rows in batches {
                let rows = rows.unwrap();
                let numbers = rows.column(1).as_primitive::<UInt64Type>().values().to_vec();
                assert_eq!(rows.columns(), batch(&numbers).columns(), "a torn row");
                found.extend(numbers);
            }
            found.sort_unstable();
            assert!(found.is_sorted_by(|a, b| a < b), "a row twice in {table}");
            assert!(found.last().is_none_or(|it| it < appended));
            served.insert(table.clone(), found.len() as u64);
        }
        served
    }

    fn live(&mut self) {
        let mut store = Some(self.open());
        self.failing(true);
        for _ in 0..40 {
            self.step(&mut store);
        }
        // The disk is well again: capture goes on, and everything comes to its sum.
        self.failing(false);
        drop(store);
        let store = self.open();
        let next = self.appended.entry("http".to_owned()).or_default();
        *next += 1;
        store.append("http", batch(&[*next - 1])).unwrap();
        store.seal().unwrap();
        let losses = store.maintain(0);
        self.count(losses);
        let kept = self.check(&store);
        drop(store);
        let store = self.open();
        let served = self.check(&store);
        assert_eq!(served, kept, "what is sealed stays");
        assert!(store.append("http", batch(&[])).is_ok());
        for (table, served) in served {
            let appended = self.appended[&table];
            let told = served + self.lost.get(&table).copied().unwrap_or_default();
            // What a failing journal said last is older than what it should say.
            if self.faults.journal.load(Relaxed) == 0 {
                assert!(told >= appended, "{table}: {told} of {appended} rows are accounted for");
                let exact = told == appended || self.faults.given_up.load(Relaxed);
                assert!(exact, "{table}: {told} rows are accounted for, and there were {appended}");
            }
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a failure is run again by its seed")]
fn on_a_failing_disk_nothing_torn_is_served_and_every_row_is_there_or_counted() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse::<u64>().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..300,
    };
    let (mut failed, mut exact) = (0, 0);
    for seed in seeds.clone() {
        let mut life = Life::new(seed);
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.live()));
        if let Err(panic) = lived {
            println!("again: SEED={seed} cargo test -p segment on_a_failing_disk");
            std::panic::resume_unwind(panic);
        }
        failed += life.faults.failed.load(Relaxed);
        exact += u64::from(life.faults.journal.load(Relaxed) == 0);
    }
    println!("{failed} steps failed in {} lives; in {exact} the journal never did", seeds.count());
}
