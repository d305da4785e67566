//! Disks that fail, and what the store must still do on them.
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, RecordBatch, StringViewArray, TimestampNanosecondArray, UInt64Array};
use futures::TryStreamExt;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use schema::{Field, Kind, Table};

mod objects;

pub(crate) use self::objects::Moody;
use crate::disk::{Faults, Step};
use crate::{Bucket, Layout, Loss, Options, Reader, Segment, Store};

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
    /// The segments that could not be read.
    unread: Mutex<HashSet<PathBuf>>,
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
            Step::Read => drop(self.unread.lock().unwrap().insert(path.to_path_buf())),
            Step::Remove if self.unread.lock().unwrap().contains(path) => {
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
    bucket: Arc<Moody>,
    runtime: tokio::runtime::Runtime,
    /// Rows appended to each table: those numbered below.
    appended: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
    /// Segments that were merged into others.
    merged: u64,
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
            sealed: Layout { row_group_rows: 64, ..Layout::SEALED },
            merged: Layout { row_group_rows: 100, zstd_level: 1, ..Layout::MERGED },
            merge_bytes: [0, 32 << 20][random.below(2) as usize],
            merge_inputs: [2, 4][random.below(2) as usize],
            merge_share: 1.0,
            bucket: (random.below(3) == 0).then(|| Bucket {
                url: "memory:///".to_owned(),
                settings: Vec::new(),
                node: "node-1".to_owned(),
                after: Duration::from_millis(random.below(40)),
                keep_age: None,
                keep_bytes: None,
                cache_bytes: 1 << 20,
            }),
            ..Options::default()
        };
        let faults = Arc::new(faults);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            dir: tempfile::tempdir().unwrap(),
            bucket: Arc::new(Moody { failing: Some(Arc::clone(&faults)), ..Moody::default() }),
            runtime: runtime.unwrap(),
            faults,
            random,
            options,
            appended: BTreeMap::new(),
            lost: BTreeMap::new(),
            merged: 0,
        }
    }

    fn failing(&self, on: bool) {
        self.faults.on.store(on, Relaxed);
    }

    fn open(&mut self) -> Store {
        let open = |it: &Self| {
            let faults = Arc::clone(&it.faults) as Arc<dyn Faults>;
            let bucket = Arc::clone(&it.bucket) as Arc<dyn object_store::ObjectStore>;
            Store::open_on(it.dir.path(), &tables(), it.options.clone(), Some(faults), Some(bucket))
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
                self.merged += store.as_ref().map_or(0, |it| it.state().merged_segments);
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
            let mut batches = snapshot.hot;
            for segment in &snapshot.segments {
                batches.extend(self.read(segment));
            }
            let mut found = Vec::new();
            for rows in batches {
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

    fn read(&self, segment: &Arc<Segment>) -> Vec<RecordBatch> {
        if segment.is_local() {
            return segment.read(None).unwrap().collect::<Result<_, _>>().unwrap();
        }
        let read = async {
            let reader = Reader::new(Arc::clone(segment));
            let batches = ParquetRecordBatchStreamBuilder::new(reader).await?.build()?;
            batches.try_collect::<Vec<_>>().await
        };
        let read = self.runtime.block_on(read);
        // A bucket that fails says so; it serves nothing else.
        assert!(read.is_ok() || self.faults.on.load(Relaxed), "{read:?}");
        read.unwrap_or_default()
    }

    /// Waits until it is known what the bucket has.
    fn wait(&self, store: &Store) {
        let until = Instant::now() + Duration::from_secs(60);
        let settled = |it: &crate::StoreState| it.bucket_listed && it.doubtful_rows == 0;
        while !settled(&store.state()) {
            assert!(Instant::now() < until, "{:?}", store.state());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn live(&mut self) {
        let mut store = Some(self.open());
        self.failing(true);
        for _ in 0..40 {
            self.step(&mut store);
        }
        self.recover(store);
    }

    /// The disk is well again: capture goes on, and everything comes to its sum.
    fn recover(&mut self, store: Option<Store>) {
        self.failing(false);
        drop(store);
        let store = self.open();
        let next = self.appended.entry("http".to_owned()).or_default();
        *next += 1;
        store.append("http", batch(&[*next - 1])).unwrap();
        store.seal().unwrap();
        self.wait(&store);
        let losses = store.maintain(0);
        self.count(losses);
        let kept = self.check(&store);
        drop(store);
        let store = self.open();
        self.wait(&store);
        let served = self.check(&store);
        assert_eq!(served, kept, "what is sealed stays");
        // What expired while somebody read it is told now.
        let losses = store.maintain(0);
        self.count(losses);
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
    let (mut failed, mut exact, mut merged, mut moved) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let mut life = Life::new(seed);
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.live()));
        if let Err(panic) = lived {
            println!("again: SEED={seed} cargo test -p segment on_a_failing_disk");
            std::panic::resume_unwind(panic);
        }
        failed += life.faults.failed.load(Relaxed);
        exact += u64::from(life.faults.journal.load(Relaxed) == 0);
        merged += life.merged;
        moved += life.runtime.block_on(life.bucket.objects()).len();
    }
    println!(
        "{failed} steps failed in {} lives; in {exact} the journal never did; {merged} segments were merged, and {moved} \
         objects are in buckets",
        seeds.clone().count()
    );
    assert!(seeds.count() < 300 || (failed > 0 && exact > 0 && merged > 0 && moved > 0));
}

#[test]
fn a_disk_that_fails_while_segments_are_merged_costs_no_row() {
    let (mut failed, mut merged, mut given_up) = (0, 0, 0);
    for seed in 1000..1030 {
        let mut life = Life::new(seed);
        life.options.merge_bytes = 0;
        life.options.keep_bytes_records = 4 << 30;
        let store = life.open();
        for part in 0..12 {
            store.append("http", batch(&(part * 50..part * 50 + 50).collect::<Vec<_>>())).unwrap();
            store.seal().unwrap();
        }
        life.appended.insert("http".to_owned(), 600);
        drop(store);
        life.options.merge_bytes = 32 << 20;
        for _ in 0..6 {
            // Nothing fails while it opens: this is about merging.
            let store = life.open();
            life.failing(true);
            // On a busy machine it takes its time.
            let until = Instant::now() + Duration::from_millis(500);
            let before = life.faults.failed.load(Relaxed);
            while store.state().merged_segments < 3
                && life.faults.failed.load(Relaxed) < before + 4
                && Instant::now() < until
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            life.check(&store);
            merged += store.state().merged_segments;
            drop(store);
            life.failing(false);
        }
        life.recover(None);
        failed += life.faults.failed.load(Relaxed);
        given_up += u64::from(life.faults.given_up.load(Relaxed));
        assert!(life.lost.is_empty() || life.options.bucket.is_some(), "{:?}", life.lost);
    }
    println!(
        "{failed} steps failed, {merged} segments were merged, {given_up} files were given up"
    );
    assert!(failed > 50 && merged > 50, "{failed} {merged}");
}
