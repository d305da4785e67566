//! A snapshot has every row once, whatever goes on; what is not kept is counted.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use segment::{Options, Store, stage};

use crate::rows::{all_numbers, batch, numbers, patient, store, table};

#[test]
fn rows_are_visible_at_once_in_few_batches() {
    let (_dir, store, table) = store(patient());
    for n in 0..3_000 {
        store.append("http", batch(&table, &[n], |it| it as i64)).unwrap();
        if n % 100 == 0 {
            let snapshot = store.snapshot("http");
            let found = snapshot.hot.iter().flat_map(numbers).collect::<Vec<_>>();
            assert_eq!(found, (0..=n).collect::<Vec<_>>(), "in the order of arrival");
            assert!(snapshot.hot.len() <= 16, "{} batches", snapshot.hot.len());
        }
    }
    let state = store.state();
    // A row of this table has about 500 bytes; alone in its builders it had a hundred times that.
    assert!(state.hot_bytes / 3_000 < 1_500, "{} bytes a row", state.hot_bytes / 3_000);
    assert_eq!((state.tables[0].oldest, state.tables[0].newest), (Some(0), Some(2_999)));
}

#[test]
fn a_slice_does_not_keep_its_whole_batch() {
    let (_dir, store, table) = store(patient());
    let large = batch(&table, &(0..50_000).collect::<Vec<_>>(), |it| it as i64);
    store.append("http", large.slice(1_000, 10)).unwrap();
    assert!(store.state().hot_bytes < 20_000, "{}", store.state().hot_bytes);
    assert_eq!(all_numbers(&store.snapshot("http")), (1_000..1_010).collect::<Vec<_>>());
}

#[test]
fn no_row_is_doubled_or_missing_while_sealing() {
    let (_dir, store, table) = store(Options { hot_bytes: 512 << 10, ..patient() });
    let written = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for part in 0..150_u64 {
                let n = (part * 100..part * 100 + 100).collect::<Vec<_>>();
                store.append("http", batch(&table, &n, |it| it as i64)).unwrap();
                written.store(part * 100 + 100, Ordering::Release);
                if part % 40 == 39 {
                    store.seal().unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let least = written.load(Ordering::Acquire);
                    let found = all_numbers(&store.snapshot("http"));
                    let rows = found.len() as u64;
                    assert!(rows >= least, "{rows} of {least}");
                    assert_eq!(found, (0..rows).collect::<Vec<_>>());
                }
            });
        }
    });
    let snapshot = store.snapshot("http");
    assert!(snapshot.segments.len() > 3, "{}", snapshot.segments.len());
    assert_eq!(all_numbers(&snapshot).len(), 15_000);
    assert!(store.maintain(0).is_empty());
}

#[test]
fn rows_are_sealed_by_age() {
    let (_dir, store, table) =
        store(Options { seal_after: Duration::from_millis(50), ..patient() });
    store.append("http", batch(&table, &[1], |_| 1)).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while store.snapshot("http").segments.is_empty() {
        assert!(Instant::now() < until);
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(all_numbers(&store.snapshot("http")), [1]);
}

#[test]
fn what_is_in_memory_is_sealed_when_the_store_closes() {
    let (dir, store, table) = store(patient());
    store.append("http", batch(&table, &[1, 2, 3], |it| it as i64)).unwrap();
    let clone = store.clone();
    drop(store);
    assert_eq!(clone.snapshot("http").hot.len(), 1);
    drop(clone);
    let (store, recovery) = Store::open(dir.path(), &[table], patient()).unwrap();
    assert_eq!((recovery.segments, recovery.rows), (1, 3));
    assert!(recovery.losses.is_empty() && recovery.torn.is_empty());
    assert_eq!(all_numbers(&store.snapshot("http")), [1, 2, 3]);
}

#[test]
fn a_store_whose_folder_was_removed_closes_quietly() {
    let (dir, store, table) = store(patient());
    store.append("http", batch(&table, &[1], |_| 1)).unwrap();
    let path = dir.path().to_path_buf();
    drop(dir);
    drop(store);
    assert!(!path.exists());
}

#[test]
fn others_can_not_read_what_was_captured() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = Store::open(&dir.path().join("a/b"), &[table("http")], patient()).unwrap();
    for folder in ["a", "a/b", "a/b/http"] {
        let mode = std::fs::metadata(dir.path().join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
}

#[test]
fn each_class_keeps_to_its_quota_and_the_oldest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let tables = [table("http"), table("dns"), table("packets")];
    let (store, _) = Store::open(dir.path(), &tables, patient()).unwrap();
    let fill = |store: &Store| {
        for n in 0..12 {
            let table = &tables[n as usize % 3];
            store.append(&table.name, batch(table, &[n], |it| it as i64)).unwrap();
            store.seal().unwrap();
        }
    };
    fill(&store);
    assert!(store.maintain(0).is_empty());
    let each = store.state().segment_bytes / 12;
    drop(store);
    let few = Options {
        keep_bytes_records: each * 3 + each / 2,
        keep_bytes_packets: each + each / 2,
        ..patient()
    };
    let (store, _) = Store::open(dir.path(), &tables, few).unwrap();
    let mut losses = store.maintain(0);
    losses.sort_by(|a, b| a.table.cmp(&b.table));
    let found = losses.iter().map(|it| (&*it.table, it.stage, it.rows, it.from_ts, it.to_ts));
    // Of http 0 3 6 9 and dns 1 4 7 10 the last three stay, of packets 2 5 8 11 the last.
    let expected = [
        ("dns", stage::QUOTA, 2, 1, 4),
        ("http", stage::QUOTA, 3, 0, 6),
        ("packets", stage::QUOTA, 3, 2, 8),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert!(store.maintain(0).is_empty(), "told once");
    assert_eq!(all_numbers(&store.snapshot("http")), [9]);
    assert_eq!(all_numbers(&store.snapshot("dns")), [7, 10]);
    assert_eq!(all_numbers(&store.snapshot("packets")), [11]);
    let files = |table: &str| std::fs::read_dir(dir.path().join(table)).unwrap().count();
    assert_eq!((files("http"), files("dns"), files("packets")), (1, 2, 1));
}

#[test]
fn the_quota_holds_without_anyone_asking() {
    let (_dir, store, table) = store(Options { keep_bytes_records: 60_000, ..patient() });
    for n in 0..20_u64 {
        store.append("http", batch(&table, &[n], |it| it as i64)).unwrap();
        store.seal().unwrap();
    }
    // The last segment may have come after the last look.
    let largest = store.snapshot("http").segments.iter().map(|it| it.bytes).max().unwrap();
    assert!(store.state().segment_bytes <= 60_000 + largest);
    // What expired last may not be gone yet.
    let mut lost = 0;
    for _ in 0..1_000 {
        lost += store.maintain(0).iter().map(|it| it.rows).sum::<u64>();
        if lost + store.state().tables[0].rows == 20 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(lost > 0);
    assert_eq!(lost + store.state().tables[0].rows, 20, "every row is kept or counted");
}

#[test]
fn old_segments_expire_but_not_under_a_scan() {
    let (_dir, store, table) =
        store(Options { keep_age: Some(Duration::from_secs(60)), ..patient() });
    store.append("http", batch(&table, &[1, 2], |_| 1)).unwrap();
    store.seal().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
    assert!(store.maintain(now).is_empty(), "rows of 1970, but sealed just now");
    let scan = store.snapshot("http");
    let path = scan.segments[0].path().unwrap().to_path_buf();

    let losses = store.maintain(now + 61_000_000_000);
    assert!(losses.is_empty(), "what is read yet is not lost yet: {losses:?}");
    assert!(store.snapshot("http").segments.is_empty());
    assert_eq!(all_numbers(&scan), [1, 2], "the scan goes on");
    assert!(path.exists());
    drop(scan);
    assert!(!path.exists());
    let losses = store.maintain(now);
    assert_eq!((losses.len(), losses[0].rows, losses[0].stage), (1, 2, stage::QUOTA));
}

#[test]
fn a_batch_larger_than_memory_is_taken() {
    let (_dir, store, table) = store(Options { hot_bytes: 64 << 10, ..patient() });
    for part in 0..5_u64 {
        let n = (part * 2_000..part * 2_000 + 2_000).collect::<Vec<_>>();
        store.append("http", batch(&table, &n, |it| it as i64)).unwrap();
    }
    assert_eq!(all_numbers(&store.snapshot("http")), (0..10_000).collect::<Vec<_>>());
}
