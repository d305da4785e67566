//! Small segments become large ones, and nobody notices but by their number.
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use arrow_select::concat::concat_batches;
use proptest::prelude::*;
use schema::Table;
use segment::{Layout, Options, Store, stage};

use crate::rows::{all_numbers, batch, numbers, patient, store, table};

/// Merges every few segments at once.
fn eager() -> Options {
    let merged = Layout { zstd_level: 1, ..Layout::MERGED };
    Options { merge_bytes: 32 << 20, merge_inputs: 4, merge_share: 1.0, merged, ..patient() }
}

fn open(dir: &Path, options: Options) -> (Store, segment::Recovery) {
    Store::open(dir, &[table("http"), table("dns")], options).unwrap()
}

/// Appends `rows` rows in segments of their own, from number `from` on.
pub(crate) fn fill(store: &Store, table: &Table, from: u64, segments: u64, rows: u64) {
    for part in 0..segments {
        let first = from + part * rows;
        let n = (first..first + rows).collect::<Vec<_>>();
        store.append(&table.name, batch(table, &n, |it| it as i64)).unwrap();
        store.seal().unwrap();
    }
}

pub(crate) fn wait(what: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !what() {
        assert!(Instant::now() < until, "waited for a minute");
        thread::sleep(Duration::from_millis(2));
    }
}

fn files(dir: &Path, table: &str) -> Vec<String> {
    let entries = fs::read_dir(dir.join(table)).unwrap();
    let mut names =
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn small_segments_become_few_and_every_row_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (table("http"), table("dns"));
    let (store, _) = open(dir.path(), eager());
    for part in 0..64 {
        fill(&store, &own, part * 100, 1, 100);
        // Seals of other tables take numbers in between.
        fill(&store, &other, part * 10, 1, 10);
    }
    wait(|| {
        store.snapshot("http").segments.len() <= 9 && store.snapshot("dns").segments.len() <= 9
    });
    assert_eq!(all_numbers(&store.snapshot("http")), (0..6_400).collect::<Vec<_>>());
    assert_eq!(all_numbers(&store.snapshot("dns")), (0..640).collect::<Vec<_>>());
    assert!(store.maintain(0).is_empty(), "nothing was lost");
    let state = store.state();
    assert!(state.merged_segments >= 100, "{state:?}");
    // A row is rewritten once or twice.
    assert!(state.merged_bytes < 5 * state.segment_bytes, "{state:?}");
    wait(|| files(dir.path(), "http").len() == store.snapshot("http").segments.len());
    drop(store);
    let (store, recovery) = open(dir.path(), eager());
    assert_eq!(recovery.rows, 7_040);
    assert!(recovery.losses.is_empty() && recovery.torn.is_empty(), "{recovery:?}");
    assert_eq!(all_numbers(&store.snapshot("http")), (0..6_400).collect::<Vec<_>>());
}

#[test]
fn no_row_is_doubled_or_missing_while_merging() {
    let (_dir, store, table) = store(eager());
    let written = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for part in 0..60_u64 {
                fill(&store, &table, part * 50, 1, 50);
                written.store(part * 50 + 50, Ordering::Release);
            }
            wait(|| store.state().merged_segments >= 40);
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
}

#[test]
fn a_scan_keeps_the_segments_it_began_with() {
    let (dir, store, table) = store(eager());
    fill(&store, &table, 0, 3, 100);
    let scan = store.snapshot("http");
    assert_eq!(scan.segments.len(), 3);
    fill(&store, &table, 300, 1, 100);
    wait(|| store.snapshot("http").segments.len() == 1);
    // Three of the scan, and the merged one.
    wait(|| files(dir.path(), "http").len() == 4);
    assert_eq!(all_numbers(&scan), (0..300).collect::<Vec<_>>());
    drop(scan);
    assert_eq!(files(dir.path(), "http").len(), 1);
}

#[test]
fn what_goes_with_the_process_is_not_merged() {
    let (_dir, store, table) = store(Options { scratch: true, ..eager() });
    fill(&store, &table, 0, 12, 10);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(store.snapshot("http").segments.len(), 12);
}

#[test]
fn a_merged_segment_is_a_small_part_of_what_is_kept() {
    let (_dir, store, table) = store(Options { keep_bytes_records: 1 << 20, ..eager() });
    fill(&store, &table, 0, 40, 20);
    thread::sleep(Duration::from_millis(200));
    let segments = store.snapshot("http").segments;
    let largest = segments.iter().map(|it| it.bytes).max().unwrap();
    assert!(largest <= (1 << 20) / 16, "{largest}");
}

#[test]
fn what_expires_while_it_is_merged_stays_gone() {
    // So slow that the merge is still running when its segments expire.
    let slow = Options {
        merge_share: 0.01,
        merge_inputs: 40,
        keep_age: Some(Duration::from_secs(3600)),
        ..eager()
    };
    let (dir, store, table) = store(slow);
    fill(&store, &table, 0, 40, 100);
    wait(|| files(dir.path(), "http").iter().any(|it| it.ends_with(".merge")));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let mut losses = store.maintain(now + 3_601_000_000_000);
    assert_eq!(store.snapshot("http").segments.len(), 0);
    // The merge is given up; what it read is lost once that is gone.
    wait(|| files(dir.path(), "http").is_empty());
    losses.extend(store.maintain(0));
    assert!(losses.iter().all(|it| it.stage == stage::QUOTA), "{losses:?}");
    assert_eq!(losses.iter().map(|it| it.rows).sum::<u64>(), 4_000);
    assert_eq!(store.snapshot("http").segments.len(), 0);
    assert_eq!(store.state().merged_segments, 0);
}

#[test]
fn a_damaged_segment_is_counted_and_not_merged() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), patient());
    fill(&store, &table("http"), 0, 4, 100);
    let second = store.snapshot("http").segments[1].path().unwrap().to_path_buf();
    drop(store);
    let mut bytes = fs::read(&second).unwrap();
    bytes[200] ^= 1;
    fs::write(&second, bytes).unwrap();
    // Nothing is checked at the start, so that merging comes upon it or the background does.
    let (store, _) = open(dir.path(), Options { verify_bytes: 0, ..eager() });
    wait(|| store.state().tables.iter().any(|it| it.rows == 300));
    let losses = store.maintain(0);
    assert_eq!(
        losses.iter().map(|it| (it.stage, it.rows)).collect::<Vec<_>>(),
        [(stage::TORN, 100)]
    );
    let mut left = (0..400).collect::<Vec<_>>();
    left.retain(|it| !(100..200).contains(it));
    assert_eq!(all_numbers(&store.snapshot("http")), left);
}

/// What a crash right after the merged segment was finished leaves: four segments of 100 rows, and
/// the one they were merged into.
fn both() -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), patient());
    fill(&store, &table("http"), 0, 4, 100);
    drop(store);
    let http = dir.path().join("http");
    let inputs = files(dir.path(), "http");
    let bytes = inputs.iter().map(|it| fs::read(http.join(it)).unwrap()).collect::<Vec<_>>();
    let (store, _) = open(dir.path(), eager());
    wait(|| files(dir.path(), "http").len() == 1 && store.state().merged_segments == 4);
    drop(store);
    for (name, bytes) in inputs.iter().zip(bytes) {
        fs::write(http.join(name), bytes).unwrap();
    }
    let names = files(dir.path(), "http");
    assert_eq!(names.len(), 5, "{names:?}");
    (dir, names)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_between_merging_and_deleting_costs_nothing(
        there in prop::collection::vec(any::<bool>(), 4),
        harm in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (dir, names) = both();
        let merged = names.iter().find(|it| it.contains('_')).unwrap();
        let inputs = names.iter().filter(|it| !it.contains('_')).collect::<Vec<_>>();
        for (name, there) in inputs.iter().zip(&there) {
            if !there {
                fs::remove_file(dir.path().join("http").join(name)).unwrap();
            }
        }
        let path = dir.path().join("http").join(merged);
        if let Some(at) = harm {
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 0x40;
            fs::write(&path, bytes).unwrap();
        }
        // Another merge was begun.
        fs::write(dir.path().join("http/00000001.merge"), "begun").unwrap();
        let (store, recovery) = open(dir.path(), patient());
        let mut expected = (0..400_u64).collect::<Vec<_>>();
        if harm.is_some() {
            expected.retain(|it| there[(*it / 100) as usize]);
        }
        prop_assert_eq!(all_numbers(&store.snapshot("http")), expected.clone());
        let lost = recovery.losses.iter().map(|it| it.rows).sum::<u64>();
        prop_assert_eq!(lost, 400 - expected.len() as u64, "{:?}", recovery);
        prop_assert_eq!(recovery.torn.len(), usize::from(harm.is_some()));
        let segments = store.snapshot("http").segments.len();
        drop(store);
        prop_assert_eq!(files(dir.path(), "http").len(), segments, "what is not served is gone");
    }

    #[test]
    fn merged_rows_are_whole_and_in_the_order_of_time(
        parts in prop::collection::vec(prop::collection::vec(0_i64..500, 1..60), 4..9),
    ) {
        let options = Options { merge_inputs: parts.len(), ..eager() };
        let (_dir, store, table) = store(options);
        let (mut ts, mut n) = (Vec::new(), 0_u64);
        for part in &parts {
            let own = (n..n + part.len() as u64).collect::<Vec<_>>();
            n += part.len() as u64;
            ts.extend_from_slice(part);
            store.append("http", batch(&table, &own, |it| ts[it as usize])).unwrap();
            store.seal().unwrap();
        }
        wait(|| store.snapshot("http").segments.len() == 1);
        let segment = &store.snapshot("http").segments[0];
        let read = segment.read(None).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let read = concat_batches(&table.arrow(), &read).unwrap();
        // Rows of the same time stay in the order in which they came.
        let mut expected = (0..n).collect::<Vec<_>>();
        expected.sort_by_key(|it| ts[*it as usize]);
        prop_assert_eq!(numbers(&read), expected.clone());
        prop_assert_eq!(&read, &batch(&table, &expected, |it| ts[it as usize]));
        prop_assert_eq!(segment.min_ts, *ts.iter().min().unwrap());
        prop_assert_eq!(segment.max_ts, *ts.iter().max().unwrap());
        segment.verify().unwrap();
    }
}
