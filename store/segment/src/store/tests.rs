//! What needs a look inside the store.
use arrow_array::{ArrayRef, StringViewArray, TimestampNanosecondArray};
use schema::{Field, Kind};

use super::*;
use crate::faults::Moody;
use crate::journal::Entry;

fn table(name: &'static str) -> Table {
    let field = |name: &'static str, kind| Field {
        name: name.into(),
        doc: "What it says.".into(),
        kind,
        nullable: false,
    };
    let fields = vec![field("ts", Kind::Time), field("text", Kind::Text)];
    Table { name: name.into(), doc: "Rows.".into(), fields: fields.into() }
}

/// `rows` rows that don't compress.
fn batch(ts: i64, rows: usize) -> RecordBatch {
    let mut state = ts as u64 * 2 + 1;
    let text = (0..rows).map(|_| {
        let word = |_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            format!("{:016x}", state ^ (state >> 29))
        };
        (0..8).map(word).collect::<String>()
    });
    let text = Arc::new(text.map(Some).collect::<StringViewArray>()) as ArrayRef;
    let ts = TimestampNanosecondArray::from(vec![ts; rows]).with_timezone("UTC");
    RecordBatch::try_new(table("http").arrow(), vec![Arc::new(ts), text]).unwrap()
}

fn open(dir: &Path, capacity: u64) -> Store {
    let options = Options {
        hot_bytes: 256 << 10,
        append_wait: Duration::from_secs(30),
        ..Options::default()
    };
    let tables = [table("http"), table("packets")];
    let full = Arc::new(crate::faults::Full(capacity));
    Store::open_on(dir, &tables, options, Some(full), None).unwrap().0
}

fn rows(store: &Store) -> u64 {
    store.state().tables.iter().map(|it| it.rows).sum()
}

#[test]
fn a_full_disk_costs_the_oldest_segments_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 600 << 10);
    for part in 0..100 {
        let table = if part % 2 == 0 { "http" } else { "packets" };
        store.append(table, batch(part, 200)).unwrap();
    }
    store.seal().unwrap();
    assert!(writer_used(dir.path()) <= 600 << 10);
    let losses = store.maintain(0);
    assert!(losses.iter().all(|it| it.stage == stage::DISK), "{losses:?}");
    let lost = losses.iter().map(|it| it.rows).sum::<u64>();
    assert!(lost > 0);
    assert_eq!(lost + rows(&store), 20_000);
    // The newest are there, of both.
    assert!(store.state().tables.iter().all(|it| it.newest >= Some(98)));
    assert_eq!(store.state().failing, None);
}

#[test]
fn a_scratch_store_writes_only_what_memory_can_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let hot_bytes = 8_u64 << 20;
    let options = Options { hot_bytes: hot_bytes as usize, scratch: true, ..Options::default() };
    let (store, _) = Store::open(dir.path(), &[table("http")], options).unwrap();
    for part in 0..400 {
        store.append("http", batch(part, 200)).unwrap();
        assert!(store.state().hot_bytes <= hot_bytes);
    }
    let enough = || store.state().hot_bytes < hot_bytes / 4 * 3;
    wait(enough);
    assert!(store.state().hot_bytes >= hot_bytes / 2, "{} bytes", store.state().hot_bytes);
    assert_eq!(rows(&store), 80_000);
    assert!(!store.snapshot("http").segments.is_empty());
    store.seal().unwrap();
    assert_eq!((store.state().hot_bytes, rows(&store)), (0, 80_000));
}

#[test]
fn wherever_a_disk_is_full_it_is_known_for_that() {
    let schema = table("http").arrow();
    // All of the one is written at its end; the other is written in pieces before.
    for rows in [3, 400] {
        let rows = [Rows::new(batch(1, rows), 0).unwrap()];
        let write = |capacity| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("http")).unwrap();
            let disk = Disk::new(dir.path(), Some(Arc::new(crate::faults::Full(capacity))));
            let target = Target { table: "http", schema: &schema, ts: 0 };
            let draft = Draft { target, rows: &rows, seq: 1, sealed_at: 1, origin: 1 };
            let path = writer::write(&disk, &draft, &Options::default());
            path.map(|it| it.metadata().unwrap().len())
        };
        let whole = write(u64::MAX).unwrap();
        for capacity in (0..whole).step_by(whole as usize / 100) {
            let error = write(capacity).unwrap_err();
            assert!(error.is_full_disk(), "{capacity} of {whole} bytes: {error}");
        }
    }
}

#[test]
fn no_disk_at_all_costs_the_oldest_rows_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 0);
    for part in 0..20 {
        store.append("http", batch(part, 200)).unwrap();
    }
    assert!(matches!(store.seal(), Err(Error::NotSealed(_))));
    assert!(store.state().failing.is_some());
    let losses = store.maintain(0);
    let lost = losses.iter().map(|it| it.rows).sum::<u64>();
    assert!(lost > 0 && rows(&store) > 0);
    assert_eq!(lost + rows(&store), 4_000);
    assert!(store.state().hot_bytes <= 256 << 10);
    assert_eq!(store.state().tables[0].newest, Some(19), "the newest stay");
    let left = rows(&store);
    drop(store);
    // What could not be written was in memory only: the next process says so.
    let (_, recovery) = Store::open(dir.path(), &[table("http")], Options::default()).unwrap();
    let lost = recovery.losses.iter().map(|it| it.rows).sum::<u64>();
    assert_eq!((lost, recovery.rows), (left, 0));
}

#[test]
fn a_segment_under_a_scan_survives_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 400 << 10);
    store.append("http", batch(0, 200)).unwrap();
    store.seal().unwrap();
    let scan = store.snapshot("http");
    for part in 1..30 {
        store.append("http", batch(part, 200)).unwrap();
    }
    store.seal().unwrap();
    let read = scan.segments[0].read(None).unwrap();
    assert_eq!(read.map(|it| it.unwrap().num_rows()).sum::<usize>(), 200);
}

#[test]
fn rows_whose_segment_was_finished_before_the_crash_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), &[table("http")], Options::default()).unwrap();
    let (store, _) = open();
    store.append("http", batch(1, 10)).unwrap();
    store.seal().unwrap();
    let seq = store.snapshot("http").segments[0].covers().first;
    drop(store);
    for (said, lost) in [(seq, 0), (seq + 1, 10)] {
        // As the process left it that died after renaming the segment, or before.
        let table = "http".to_owned();
        let seq = Some(said);
        let entry = Entry { table, seq, rows: 10, bytes: 1, from: 1, to: 1, ..Entry::default() };
        let disk = Disk::new(dir.path(), None);
        Journal::open(&disk).unwrap().0.write(&[entry]);
        let (store, recovery) = open();
        assert_eq!(recovery.losses.iter().map(|it| it.rows).sum::<u64>(), lost);
        assert_eq!(rows(&store), 10);
    }
}

/// A disk that takes no new `coverage`.
#[derive(Debug)]
struct Forgetful;

impl Faults for Forgetful {
    fn step(&self, _: Step, path: &Path) -> std::io::Result<()> {
        match path.file_name().is_some_and(|it| it == "coverage.tmp") {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn write(&self, _: &Path, bytes: usize) -> std::io::Result<usize> {
        Ok(bytes)
    }

    fn overwrite(&self, bytes: usize) -> std::io::Result<usize> {
        Ok(bytes)
    }
}

/// What is set aside is not looked at again: a store that did not open for that would never count it.
#[test]
fn a_damaged_segment_is_counted_though_it_can_not_be_written_what_it_leaves_uncovered() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &[table("http")], Options::default()).unwrap().0;
    store.append("http", batch(5, 10)).unwrap();
    store.seal().unwrap();
    store.cover(0..100, Some(1)).unwrap();
    let file = dir.path().join(&store.snapshot("http").segments[0].file);
    drop(store);
    std::fs::write(&file, "not a segment").unwrap();
    let disk = Some(Arc::new(Forgetful) as Arc<_>);
    let opened = Store::open_on(dir.path(), &[table("http")], Options::default(), disk, None);
    let (store, recovery) = opened.unwrap();
    assert_eq!(recovery.losses.iter().map(|it| it.rows).sum::<u64>(), 10);
    let covered: Vec<_> = store.coverage().iter().map(|it| it.from..it.to).collect();
    assert_eq!(covered, [0..5, 6..100]);
}

fn writer_used(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let used = entries.map(|it| match it.metadata().unwrap() {
        found if found.is_dir() => writer_used(&it.path()),
        found => found.len(),
    });
    used.sum()
}

fn wait(what: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !what() {
        assert!(Instant::now() < until, "waited for a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn open_with(dir: &Path, bucket: &Arc<Moody>) -> Store {
    let bucket_options = Bucket {
        url: "memory:///".to_owned(),
        settings: Vec::new(),
        node: "node-1".to_owned(),
        after: Duration::ZERO,
        keep_age: None,
        keep_bytes: None,
        cache_bytes: 1 << 20,
    };
    let options = Options {
        merge_bytes: 0,
        keep_age: Some(Duration::from_secs(3600)),
        bucket: Some(bucket_options),
        ..Options::default()
    };
    let store = Arc::clone(bucket) as Arc<dyn object_store::ObjectStore>;
    Store::open_on(dir, &[table("http")], options, None, Some(store)).unwrap().0
}

#[test]
fn capture_goes_on_while_the_bucket_refuses_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Arc::new(Moody::default());
    let store = open_with(dir.path(), &bucket);
    wait(|| store.state().bucket_listed);
    bucket.refuses.store(true, Ordering::Relaxed);
    for part in 0..5 {
        store.append("http", batch(part, 100)).unwrap();
        store.seal().unwrap();
    }
    wait(|| store.state().bucket_failing.is_some());
    let why = store.state().bucket_failing.unwrap();
    assert!(why.starts_with("bucket memory:///: ") && why.contains("not now"), "{why}");
    assert_eq!((rows(&store), store.state().bucket_bytes), (500, 0));
    // It is asked again, but not all the time.
    wait(|| bucket.refused.load(Ordering::Relaxed) >= 2);
    assert!(bucket.refused.load(Ordering::Relaxed) < 10);
    bucket.refuses.store(false, Ordering::Relaxed);
    wait(|| store.state().bucket_bytes == store.state().segment_bytes);
    assert_eq!(store.state().bucket_failing, None);
    assert!(store.maintain(i64::MAX).is_empty(), "moved, not lost");
    assert_eq!((rows(&store), store.state().segment_bytes), (500, 0));
}

#[test]
fn what_was_read_of_the_bucket_is_not_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Arc::new(Moody::default());
    let store = open_with(dir.path(), &bucket);
    store.append("http", batch(1, 5_000)).unwrap();
    store.seal().unwrap();
    wait(|| store.state().bucket_bytes == store.state().segment_bytes);
    store.maintain(i64::MAX);
    let segment = Arc::clone(&store.snapshot("http").segments[0]);
    assert!(!segment.is_local() && segment.bytes > 200_000, "{segment:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = |range: std::ops::Range<u64>| {
        let before = bucket.gets.load(Ordering::Relaxed);
        let mut reader = crate::Reader::new(Arc::clone(&segment));
        let bytes = runtime.block_on(reader.read(vec![range.clone()])).unwrap();
        assert_eq!(bytes[0].len() as u64, range.end - range.start);
        bucket.gets.load(Ordering::Relaxed) - before
    };
    assert!(read(1_000..90_000) > 0);
    assert_eq!(read(1_000..90_000), 0);
    assert_eq!(read(5_000..80_000), 0, "a part of it");
}
