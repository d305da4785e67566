//! Whatever happens to the files, what is served is whole and what is lost is counted.
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use arrow_select::concat::concat_batches;
use proptest::prelude::*;
use segment::{Options, Store, stage};

use crate::buckets::{bucket, everywhere};
use crate::merges::wait;
use crate::rows::{all_numbers, batch, numbers, patient, table};

/// What can happen to a file.
#[derive(Clone, Debug)]
enum Harm {
    Cut,
    Flip(u8),
    Zero,
    Grow,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        Just(Harm::Cut),
        (1_u8..=255).prop_map(Harm::Flip),
        Just(Harm::Zero),
        Just(Harm::Grow)
    ]
}

/// Three segments of 300 rows of each of two tables.
fn original() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let tables = [table("http"), table("dns")];
        let (store, _) = Store::open(dir.path(), &tables, patient()).unwrap();
        for part in 0..3_u64 {
            for table in &tables {
                let n = (part * 300..part * 300 + 300).collect::<Vec<_>>();
                store.append(&table.name, batch(table, &n, |it| it as i64)).unwrap();
            }
            store.seal().unwrap();
        }
        drop(store);
        dir
    });
    dir.path()
}

fn copy(from: &Path, to: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            files.extend(copy(&entry.path(), &target));
        } else {
            fs::copy(entry.path(), &target).unwrap();
            files.push(target);
        }
    }
    files.sort();
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damaged_row_is_served(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        near_end in any::<bool>(),
        harm in harm(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let files = copy(original(), dir.path());
        let file = which.get(&files);
        let mut bytes = fs::read(file).unwrap();
        // Half of the cases hit the end, where footer and index are.
        let range = if near_end { bytes.len().min(4_000) } else { bytes.len() };
        let at = bytes.len() - 1 - at.index(range.max(1)).min(bytes.len() - 1);
        match harm {
            Harm::Cut => bytes.truncate(at),
            Harm::Flip(mask) => bytes[at] ^= mask,
            Harm::Zero => bytes[at..].fill(0),
            Harm::Grow => bytes.extend_from_within(at..),
        }
        let changed = fs::read(file).unwrap() != bytes;
        fs::write(file, bytes).unwrap();

        let tables = [table("http"), table("dns")];
        let (store, recovery) = Store::open(dir.path(), &tables, patient()).unwrap();
        let is_segment = file.extension().is_some_and(|it| it == "parquet");
        let torn = usize::from(changed && is_segment);
        prop_assert_eq!(recovery.torn.len(), torn);
        prop_assert_eq!(recovery.segments, 6 - torn);
        let lost = recovery.losses.iter().filter(|it| it.stage == stage::TORN);
        prop_assert_eq!(lost.map(|it| it.rows).sum::<u64>(), 300 * torn as u64);
        prop_assert!(recovery.losses.iter().all(|it| it.stage == stage::TORN || it.rows == 0));
        for torn in &recovery.torn {
            prop_assert!(dir.path().join(&torn.now).exists());
            prop_assert!(!dir.path().join(&torn.file).exists());
        }
        for table in &tables {
            for segment in store.snapshot(&table.name).segments {
                let read = segment.read(None).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
                let read = concat_batches(&table.arrow(), &read).unwrap();
                prop_assert_eq!(&read, &batch(table, &numbers(&read), |it| it as i64));
                prop_assert_eq!(read.num_rows(), 300);
            }
        }
        // Set aside once: the next start finds nothing.
        drop(store);
        let (_, recovery) = Store::open(dir.path(), &tables, patient()).unwrap();
        prop_assert!(recovery.torn.is_empty() && recovery.losses.is_empty());
        prop_assert_eq!(recovery.segments, 6 - torn);
    }
}

#[test]
fn foreign_and_unfinished_files_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    copy(original(), dir.path());
    let http = dir.path().join("http");
    let segments = fs::read_dir(&http).unwrap().map(|it| it.unwrap().path()).collect::<Vec<_>>();
    let half = fs::read(&segments[0]).unwrap();
    fs::write(http.join("00000009.tmp"), &half[..half.len() / 2]).unwrap();
    fs::write(http.join("mine.parquet"), &half).unwrap();
    // A whole segment, but of another table.
    let stray = dir.path().join("dns").join(segments[0].file_name().unwrap());
    fs::copy(&segments[0], &stray).unwrap();
    fs::create_dir(http.join("deep")).unwrap();
    let tables = [table("http"), table("dns")];
    for round in 0..2 {
        let (store, recovery) = Store::open(dir.path(), &tables, patient()).unwrap();
        assert_eq!(recovery.segments, 6);
        assert_eq!(recovery.torn.len(), if round == 0 { 4 } else { 1 }, "{:?}", recovery.torn);
        assert_eq!(all_numbers(&store.snapshot("http")), (0..900).collect::<Vec<_>>());
        // The same name again does not replace what was set aside before.
        fs::write(http.join("00000009.tmp"), b"again").unwrap();
    }
    assert_eq!(fs::read(dir.path().join("torn/http/00000009.tmp")).unwrap().len(), half.len() / 2);
    assert_eq!(fs::read(dir.path().join("torn/http/00000009.tmp.2")).unwrap(), b"again");
}

#[test]
fn old_segments_are_checked_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    copy(original(), dir.path());
    let oldest = fs::read_dir(dir.path().join("http")).unwrap().map(|it| it.unwrap().path());
    let oldest = oldest.min().unwrap();
    let mut bytes = fs::read(&oldest).unwrap();
    bytes[100] ^= 1;
    fs::write(&oldest, bytes).unwrap();
    let options = Options { verify_bytes: 0, ..patient() };
    let tables = [table("http"), table("dns")];
    let (store, recovery) = Store::open(dir.path(), &tables, options).unwrap();
    assert_eq!(recovery.segments, 6);
    let mut losses = Vec::new();
    for _ in 0..1_000 {
        losses = store.maintain(0);
        if !losses.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let [loss] = losses.as_slice() else { panic!("{losses:?}") };
    assert_eq!((loss.stage, loss.rows), (stage::TORN, 300));
    assert_eq!(all_numbers(&store.snapshot("http")), (300..900).collect::<Vec<_>>());
}

/// Set in the children of [`killed`].
const DIR: &str = "SEGMENT_TEST_DIR";
const MERGING: &str = "SEGMENT_TEST_MERGING";
const BUCKET: &str = "SEGMENT_TEST_BUCKET";
/// How many children are killed in each test; for a long night, more.
const ROUNDS: &str = "ROUNDS";

/// The child: appends until it is killed, says what was acknowledged.
#[test]
fn child_that_writes() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let merging = std::env::var_os(MERGING).is_some();
    let tables = [table("http"), table("dns")];
    let bucket = std::env::var(BUCKET).ok().map(bucket);
    let options = if merging {
        let merge_bytes = 32 << 20;
        Options { merge_bytes, merge_inputs: 3, merge_share: 1.0, bucket, ..patient() }
    } else {
        Options { hot_bytes: 300 << 10, ..patient() }
    };
    let seal_every = if merging { 2 } else { 20 };
    let (store, recovery) = Store::open(Path::new(&dir), &tables, options).unwrap();
    let first = recovery.rows / 100;
    for part in first.. {
        for table in &tables {
            let n = (part * 50..part * 50 + 50).collect::<Vec<_>>();
            store.append(&table.name, batch(table, &n, |it| it as i64)).unwrap();
            say(&table.name);
        }
        if part % seal_every == seal_every - 1 {
            store.seal().unwrap();
            say("sealed");
        }
    }
}

/// The test harness captures what `println!` writes.
fn say(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}").unwrap();
    out.flush().unwrap();
}

/// What was found after children were killed.
#[derive(Debug, Default)]
struct Aftermath {
    sealed_rows: u64,
    lost_rows: u64,
    /// Files of seals that were not finished.
    temporary: usize,
    merged_segments: usize,
    uploaded_bytes: u64,
}

fn killed(merging: bool, uploading: bool) -> Aftermath {
    let rounds = std::env::var(ROUNDS).map_or(10, |it| it.parse().unwrap());
    let tables = [table("http"), table("dns")];
    let mut aftermath = Aftermath::default();
    for round in 0..rounds {
        let (dir, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let url = format!("file://{}", objects.path().display());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "crash::child_that_writes", "--nocapture"]).env(DIR, dir.path());
        if merging {
            command.env(MERGING, "1");
        }
        if uploading {
            command.env(BUCKET, &url);
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // What was said before a seal is the least that must be there.
        let mut appended = BTreeMap::<String, u64>::new();
        let mut sealed = BTreeMap::new();
        let moment = 30 + round * 17 % 400;
        for (count, line) in lines.enumerate() {
            let line = line.unwrap();
            // The harness begins the first line with the name of the test.
            match line.rsplit_once('@') {
                Some((_, "sealed")) => sealed = appended.clone(),
                Some((_, table)) => *appended.entry(table.to_owned()).or_default() += 50,
                None => {}
            }
            if count as u64 == moment {
                std::thread::sleep(Duration::from_micros(round % 50 * 331));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let bucket = uploading.then(|| bucket(url));
        let options = Options { bucket, ..patient() };
        let (store, recovery) = Store::open(dir.path(), &tables, options).unwrap();
        wait(|| !uploading || store.state().bucket_listed);
        aftermath.uploaded_bytes += store.state().bucket_bytes;
        aftermath.temporary += recovery.torn.len();
        for torn in &recovery.torn {
            assert!(torn.file.ends_with(".tmp"), "{torn:?}");
        }
        for (table, appended) in &appended {
            let snapshot = store.snapshot(table);
            let merged = snapshot.segments.iter().filter(|it| it.file.contains('_'));
            aftermath.merged_segments += merged.count();
            let found = everywhere(&snapshot);
            let rows = found.len() as u64;
            assert_eq!(found, (0..rows).collect::<Vec<_>>(), "no gap, no row twice");
            let least = sealed.get(table).copied().unwrap_or_default();
            assert!(rows >= least, "{rows} rows of {least} sealed ones");
            let losses = recovery.losses.iter().filter(|it| it.table == *table);
            let lost = losses.map(|it| {
                assert_eq!(it.stage, stage::CRASH);
                it.rows
            });
            let lost = lost.sum::<u64>();
            // The last append may have been made and not been said.
            assert!(
                [*appended, appended + 50].contains(&(rows + lost)),
                "{rows} rows and {lost} lost ones of {appended}"
            );
            aftermath.sealed_rows += rows;
            aftermath.lost_rows += lost;
        }
        // What is not served is not there.
        for table in &tables {
            let files = fs::read_dir(dir.path().join(&*table.name)).unwrap().count();
            let segments = store.snapshot(&table.name).segments;
            assert_eq!(files, segments.iter().filter(|it| it.is_local()).count());
        }
    }
    aftermath
}

#[test]
fn every_acknowledged_row_is_there_or_counted_after_kill_9() {
    let found = killed(false, false);
    assert!(found.sealed_rows > 0 && found.lost_rows > 0, "{found:?}");
}

#[test]
fn no_row_is_doubled_or_lost_after_kill_9_while_merging() {
    let found = killed(true, false);
    assert!(found.sealed_rows > 0 && found.merged_segments > 0, "{found:?}");
}

#[test]
fn no_row_is_doubled_or_lost_after_kill_9_while_uploading() {
    let found = killed(true, true);
    assert!(found.sealed_rows > 0 && found.uploaded_bytes > 0, "{found:?}");
}

#[test]
fn another_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_writes", "--nocapture"])
        .env(DIR, dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|it| it.unwrap().contains('@')));
    let error = Store::open(dir.path(), &[table("http")], patient()).unwrap_err().to_string();
    let expected = format!("is in use by process {}: stop it", child.id());
    assert!(error.contains(&expected), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    Store::open(dir.path(), &[table("http")], patient()).unwrap();
}
