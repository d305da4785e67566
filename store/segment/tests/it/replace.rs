//! Rows take the place of others at one moment, and what is said of them changes with them.
use segment::{Options, Store, Stretch};

use crate::rows::{all_numbers, batch, patient, store, table};

/// Rows of which the number is their time; replaced ones are numbered from 1000.
fn some(numbers: std::ops::Range<u64>) -> arrow_array::RecordBatch {
    batch(&table("http"), &numbers.collect::<Vec<_>>(), |n| (n % 1000) as i64)
}

fn numbers(ranges: &[std::ops::Range<u64>]) -> Vec<u64> {
    let mut all = ranges.iter().cloned().flatten().collect::<Vec<_>>();
    all.sort_unstable();
    all
}

fn files(store: &Store) -> usize {
    std::fs::read_dir(store.dir().join("http")).unwrap().count()
}

/// Three segments that overlap the stretch or don't, and rows in memory.
fn filled() -> (tempfile::TempDir, Store) {
    let (dir, store, _) = store(patient());
    for part in [0..30, 25..60, 90..100] {
        store.append("http", some(part)).unwrap();
        store.seal().unwrap();
    }
    store.append("http", some(50..70)).unwrap();
    (dir, store)
}

#[test]
fn rows_in_the_stretch_are_replaced_and_all_others_stay() {
    let (dir, store) = filled();
    let before = store.snapshot("http");
    let mut replacement = store.replace(&["http"], 28..55);
    replacement.add("http", &[some(1028..1031), some(1050..1055)]).unwrap();
    assert_eq!(all_numbers(&store.snapshot("http")), all_numbers(&before), "not yet");
    replacement.commit(55, Some(7)).unwrap();
    drop(replacement);

    let wanted = numbers(&[0..28, 25..28, 55..60, 55..70, 90..100, 1028..1031, 1050..1055]);
    assert_eq!(all_numbers(&store.snapshot("http")), wanted);
    assert_eq!(store.coverage(), [Stretch { from: 28, to: 55, version: 7 }]);
    // Whoever began to read before goes on reading what there was.
    assert_eq!(all_numbers(&before), numbers(&[0..30, 25..60, 50..70, 90..100]));
    let lost = store.maintain(0);
    assert!(lost.is_empty(), "{lost:?}");
    drop((before, store));
    for _ in 0..2 {
        let (store, recovery) = Store::open(dir.path(), &[table("http")], patient()).unwrap();
        assert_eq!((recovery.torn.len(), recovery.losses.len()), (0, 0));
        assert_eq!(all_numbers(&store.snapshot("http")), wanted);
        assert_eq!(store.coverage(), [Stretch { from: 28, to: 55, version: 7 }]);
    }
}

#[test]
fn rows_that_were_made_of_something_else_stay() {
    let (_dir, store) = filled();
    let mut replacement = store.replace(&["http"], 0..100).keeping("label", "label 54");
    replacement.add("http", &[some(1028..1031)]).unwrap();
    replacement.commit(100, Some(7)).unwrap();
    drop(replacement);
    let wanted = numbers(&[54..55, 54..55, 1028..1031]);
    assert_eq!(all_numbers(&store.snapshot("http")), wanted);
    // There is nothing else left to replace.
    let mut replacement = store.replace(&["http"], 40..100).keeping("label", "label 54");
    let before = files(&store);
    replacement.commit(100, Some(8)).unwrap();
    assert_eq!((files(&store), all_numbers(&store.snapshot("http"))), (before, wanted));
}

#[test]
fn a_stretch_is_replaced_in_parts_and_late_rows_are_added() {
    let (_dir, store) = filled();
    let mut replacement = store.replace(&["http"], 0..60);
    replacement.add("http", &[some(1000..1010)]).unwrap();
    replacement.commit(20, Some(1)).unwrap();
    assert_eq!(replacement.span(), 20..60);
    // Of before, but known only now.
    replacement.add("http", &[some(1012..1013), some(1030..1033)]).unwrap();
    replacement.commit(60, None).unwrap();
    drop(replacement);
    let wanted = numbers(&[60..70, 90..100, 1000..1010, 1012..1013, 1030..1033]);
    assert_eq!(all_numbers(&store.snapshot("http")), wanted);
    assert_eq!(store.coverage(), [Stretch { from: 0, to: 20, version: 1 }]);
}

#[test]
fn what_is_not_committed_leaves_no_trace() {
    let (dir, store) = filled();
    store.seal().unwrap();
    let (before, n) = (all_numbers(&store.snapshot("http")), files(&store));
    let mut replacement = store.replace(&["http"], 0..60);
    replacement.add("http", &[some(1000..1010)]).unwrap();
    assert_eq!(files(&store), n + 1);
    drop(replacement);
    assert_eq!((all_numbers(&store.snapshot("http")), files(&store)), (before.clone(), n));
    // The same if the process dies in the middle.
    let mut replacement = store.replace(&["http"], 0..60);
    replacement.add("http", &[some(1000..1010)]).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-r", "--"])
        .arg(dir.path().join("http"))
        .arg(copy.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let (store, recovery) = Store::open(copy.path(), &[table("http")], patient()).unwrap();
    assert_eq!(recovery.torn.len(), 0);
    assert_eq!((all_numbers(&store.snapshot("http")), files(&store)), (before, n));
}

#[test]
fn rows_that_come_meanwhile_keep_a_stretch_from_counting_as_made() {
    let (_dir, store) = filled();
    let mut replacement = store.replace(&["http"], 0..60);
    store.disturb(&(70..80));
    replacement.commit(20, Some(1)).unwrap();
    assert_eq!(store.coverage(), [Stretch { from: 0, to: 20, version: 1 }]);
    store.disturb(&(59..61));
    replacement.commit(60, Some(1)).unwrap();
    drop(replacement);
    assert_eq!(store.coverage(), [Stretch { from: 0, to: 20, version: 1 }]);
    // The next one has seen them.
    let mut replacement = store.replace(&["http"], 20..60);
    replacement.commit(60, Some(1)).unwrap();
    drop(replacement);
    assert_eq!(store.coverage(), [Stretch { from: 0, to: 60, version: 1 }]);
}

#[test]
fn nothing_counts_as_made_of_what_a_crash_lost() {
    let (dir, store) = filled();
    store.cover(0..1000, Some(1)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-r", "--"])
        .arg(dir.path().join("."))
        .arg(copy.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let (store, recovery) = Store::open(copy.path(), &[table("http")], Options::default()).unwrap();
    assert_eq!(recovery.losses.iter().map(|it| it.rows).sum::<u64>(), 20);
    let stretch = |from, to| Stretch { from, to, version: 1 };
    assert_eq!(store.coverage(), [stretch(0, 50), stretch(70, 1000)]);
}

#[test]
fn snapshots_of_several_tables_are_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let tables = [table("http"), table("dns")];
    let (store, _) = Store::open(dir.path(), &tables, patient()).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for n in 0..300 {
                for table in ["http", "dns"] {
                    store.append(table, some(n..n + 1)).unwrap();
                }
            }
        });
        for _ in 0..300 {
            let both = store.snapshots(["http", "dns"]);
            let n = |table: &str| all_numbers(&both[table]).len();
            assert!((0..=1).contains(&(n("http") - n("dns"))), "{} {}", n("http"), n("dns"));
        }
    });
}

#[test]
fn a_segment_gives_the_rows_that_are_wanted() {
    let mut options = patient();
    options.sealed.row_group_rows = 10;
    for options in [options.clone(), Options { scratch: true, ..options }] {
        let (_dir, store, _) = store(options);
        store.append("http", some(0..100)).unwrap();
        store.seal().unwrap();
        let segment = &store.snapshot("http").segments[0];
        let even = |batch: &arrow_array::RecordBatch| {
            let n = crate::rows::numbers(batch);
            n.iter().map(|it| Some((33..66).contains(it) && it % 2 == 0)).collect()
        };
        let found = segment.select(&["n"], &(33..66), &["n"], even).unwrap();
        let found = found.flat_map(|it| crate::rows::numbers(&it.unwrap())).collect::<Vec<_>>();
        assert_eq!(found, (34..66).step_by(2).collect::<Vec<_>>());
    }
}
