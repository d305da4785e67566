//! Segments in a bucket are served like those on the disk.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use segment::{Bucket, Options, Reader, Recovery, Segment, Snapshot, Store, stage};

use crate::merges::{fill, wait};
use crate::rows::{numbers, patient, table};

/// Uploads every segment at once.
pub(crate) fn bucket(url: String) -> Bucket {
    Bucket {
        url,
        settings: Vec::new(),
        node: "node-1".to_owned(),
        after: Duration::ZERO,
        keep_age: None,
        keep_bytes: None,
        cache_bytes: 1 << 20,
    }
}

fn at(bucket: &Path) -> Options {
    Options { bucket: Some(self::bucket(format!("file://{}", bucket.display()))), ..patient() }
}

fn open(dir: &Path, options: Options) -> (Store, Recovery) {
    Store::open(dir, &[table("http"), table("dns")], options).unwrap()
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn here(snapshot: &Snapshot) -> usize {
    snapshot.segments.iter().filter(|it| it.is_local()).count()
}

/// The numbers of a snapshot's rows, sorted, wherever they are.
pub(crate) fn everywhere(snapshot: &Snapshot) -> Vec<u64> {
    try_everywhere(snapshot).unwrap()
}

pub(crate) fn try_everywhere(snapshot: &Snapshot) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut found = snapshot.hot.iter().flat_map(numbers).collect::<Vec<_>>();
    for segment in &snapshot.segments {
        found.extend(runtime.block_on(read(segment))?);
    }
    found.sort_unstable();
    Ok(found)
}

async fn read(segment: &Arc<Segment>) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let reader = Reader::new(Arc::clone(segment));
    let batches = ParquetRecordBatchStreamBuilder::new(reader).await?.build()?;
    let batches = batches.try_collect::<Vec<_>>().await?;
    Ok(batches.iter().flat_map(numbers).collect())
}

/// Paths below a folder, relative to it.
pub(crate) fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn objects(bucket: &Path) -> Vec<PathBuf> {
    let objects = tree(bucket).into_iter().filter(|it| it.ends_with(".parquet"));
    objects.map(|it| bucket.join(it)).collect()
}

/// A store with `segments` segments of 100 rows, all in the bucket and none on the disk.
fn moved(dir: &Path, bucket: &Path, segments: u64) -> Store {
    let hour = Some(Duration::from_secs(3600));
    let (store, _) = open(dir, Options { keep_age: hour, ..at(bucket) });
    fill(&store, &table("http"), 0, segments, 100);
    wait(|| store.state().tables[1].bucket_bytes == store.state().segment_bytes);
    assert!(store.maintain(now() + 3_601_000_000_000).is_empty(), "moved, not lost");
    assert_eq!(here(&store.snapshot("http")), 0);
    store
}

#[test]
fn what_expires_here_is_served_from_the_bucket() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = moved(dir.path(), bucket.path(), 3);
    let rows = (0..300).collect::<Vec<_>>();
    assert_eq!(everywhere(&store.snapshot("http")), rows);
    assert_eq!(fs::read_dir(dir.path().join("http")).unwrap().count(), 0);
    let found = tree(bucket.path());
    assert!(found.iter().all(|it| it.starts_with("node-1/")), "{found:?}");
    assert!(found.contains(&"node-1/manifest-v1/1970-01-01.json".to_owned()), "{found:?}");
    let day = found.iter().filter(|it| it.starts_with("node-1/http/1970-01-01/"));
    assert_eq!(day.count(), 3, "{found:?}");

    // The next process finds them, and adds to them.
    drop(store);
    let (store, recovery) = open(dir.path(), at(bucket.path()));
    assert_eq!(recovery.rows, 0);
    fill(&store, &table("http"), 300, 1, 50);
    wait(|| store.snapshot("http").segments.len() == 4);
    assert_eq!(everywhere(&store.snapshot("http")), (0..350).collect::<Vec<_>>());
    assert!(store.maintain(0).is_empty());
}

#[test]
fn a_new_disk_finds_what_the_old_one_moved() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(moved(dir.path(), bucket.path(), 2));
    let other = tempfile::tempdir().unwrap();
    // Its seals have the same numbers: they are other rows all the same.
    let (store, _) = open(other.path(), at(bucket.path()));
    fill(&store, &table("http"), 200, 2, 100);
    wait(|| store.state().tables[1].segments == 4 && objects(bucket.path()).len() == 4);
    assert_eq!(everywhere(&store.snapshot("http")), (0..400).collect::<Vec<_>>());
}

#[test]
fn an_upload_that_no_manifest_names_is_found() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(moved(dir.path(), bucket.path(), 3));
    let manifest = bucket.path().join("node-1/manifest-v1/1970-01-01.json");
    let whole = fs::read(&manifest).unwrap();
    for left in [None, Some(&whole[..whole.len() / 2]), Some(&b"{\"version\":1}"[..])] {
        match left {
            None => fs::remove_file(&manifest).unwrap(),
            Some(bytes) => fs::write(&manifest, bytes).unwrap(),
        }
        let (store, _) = open(dir.path(), at(bucket.path()));
        wait(|| store.snapshot("http").segments.len() == 3);
        assert_eq!(everywhere(&store.snapshot("http")), (0..300).collect::<Vec<_>>());
        assert!(store.maintain(0).is_empty());
        wait(|| fs::read(&manifest).is_ok_and(|it| it.len() == whole.len()));
    }
}

#[test]
fn what_is_no_segment_of_ours_is_left_alone() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(moved(dir.path(), bucket.path(), 3));
    let day = bucket.path().join("node-1/http/1970-01-01");
    let whole = objects(bucket.path()).remove(0);
    let bytes = fs::read(&whole).unwrap();
    let name = |n: u32| format!("00000000000000000000-{n:08}-100-5f0c9e71a2b3d4e6.parquet");
    let others = bucket.path().join("node-1/dns/1970-01-01");
    let tomorrow = bucket.path().join("node-1/http/1970-01-02");
    let manifests = bucket.path().join("node-1/manifest-v1");
    let node = bucket.path().join("node-2/http/1970-01-01");
    for folder in [&others, &tomorrow, &node] {
        fs::create_dir_all(folder).unwrap();
    }
    let own = whole.file_name().unwrap();
    let put = [
        // Nothing, next to nothing, half of one, one of another name, one with more at its end.
        (day.join(name(900)), Vec::new()),
        (day.join(name(901)), b"PAR1".to_vec()),
        (day.join(name(902)), bytes[..bytes.len() / 2].to_vec()),
        (day.join(name(903)), bytes.clone()),
        (day.join(name(904)), [&bytes[..], b"PAR1"].concat()),
        (day.join(name(905)), [&[0xff; 4000][..], &u32::MAX.to_le_bytes(), b"PAR1"].concat()),
        // In the wrong place.
        (others.join(own), bytes.clone()),
        (tomorrow.join(own), bytes.clone()),
        (bucket.path().join("node-1").join(own), bytes.clone()),
        (node.join(own), bytes.clone()),
        // Others' files.
        (day.join("export.parquet"), bytes.clone()),
        (day.join("notes.txt"), b"hello".to_vec()),
        (manifests.join("notes.txt"), b"hello".to_vec()),
    ];
    for (path, bytes) in &put {
        fs::write(path, bytes).unwrap();
    }
    // One that is named is cut short: what it had is lost, and it stays for whoever wants to look.
    fs::write(&whole, &bytes[..bytes.len() - 100]).unwrap();
    // And a manifest that nobody wrote.
    fs::write(manifests.join("1970-01-03.json"), "[1, 2").unwrap();
    let (store, recovery) = open(dir.path(), at(bucket.path()));
    assert!(recovery.losses.is_empty(), "{recovery:?}");
    wait(|| store.state().bucket_listed);
    assert_eq!(everywhere(&store.snapshot("http")), (100..300).collect::<Vec<_>>());
    let losses = store.maintain(0);
    let losses = losses.iter().map(|it| (it.stage, it.rows, it.from_ts, it.to_ts));
    assert_eq!(losses.collect::<Vec<_>>(), [(stage::TORN, 100, 0, 99)]);
    fill(&store, &table("http"), 300, 1, 100);
    wait(|| store.state().bucket_bytes > 0 && store.state().bucket_failing.is_none());
    wait(|| everywhere(&store.snapshot("http")) == (100..400).collect::<Vec<_>>());
    for (path, bytes) in &put {
        assert_eq!(&fs::read(path).unwrap(), bytes, "{}", path.display());
    }
}

#[test]
fn a_damaged_segment_is_served_from_the_bucket_as_it_was() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = open(dir.path(), at(bucket.path()));
    fill(&store, &table("http"), 0, 2, 100);
    wait(|| store.state().bucket_bytes == store.state().segment_bytes);
    let harm = |path: PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        bytes[300] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    // Found while it runs, and found when it starts.
    let segment = store.snapshot("http").segments.remove(0);
    harm(segment.path().unwrap().to_path_buf());
    assert!(segment.read(None).unwrap().any(|it| it.is_err()));
    wait(|| store.maintain(0).is_empty() && here(&store.snapshot("http")) == 1);
    assert_eq!(everywhere(&store.snapshot("http")), (0..200).collect::<Vec<_>>());
    let other = store.snapshot("http").segments.remove(1);
    drop(store);
    harm(other.path().unwrap().to_path_buf());
    let (store, recovery) = open(dir.path(), at(bucket.path()));
    assert_eq!((recovery.losses, recovery.torn.len()), (Vec::new(), 1));
    wait(|| store.state().bucket_listed);
    assert_eq!(everywhere(&store.snapshot("http")), (0..200).collect::<Vec<_>>());
    assert_eq!((store.maintain(0), store.state().doubtful_rows), (Vec::new(), 0));
}

#[test]
fn what_is_damaged_here_and_not_in_the_bucket_is_counted_once_that_is_known() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = open(dir.path(), patient());
    fill(&store, &table("http"), 0, 2, 100);
    let segment = store.snapshot("http").segments.remove(0);
    drop(store);
    fs::write(segment.path().unwrap(), b"PAR1").unwrap();
    let (store, recovery) = open(dir.path(), at(bucket.path()));
    assert!(recovery.losses.is_empty());
    wait(|| store.state().bucket_listed);
    let losses = store.maintain(0);
    assert_eq!(
        losses.iter().map(|it| (it.stage, it.rows)).collect::<Vec<_>>(),
        [(stage::TORN, 100)]
    );
}

#[test]
fn numbers_are_not_taken_twice_though_nothing_is_left_here() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(moved(dir.path(), bucket.path(), 2));
    // The next process seals before it knows what the bucket has.
    let away = bucket.path().join("away");
    fs::rename(bucket.path().join("node-1"), &away).unwrap();
    let (store, _) = open(dir.path(), patient());
    fill(&store, &table("http"), 200, 2, 100);
    drop(store);
    fs::rename(&away, bucket.path().join("node-1")).unwrap();
    let (store, _) = open(dir.path(), at(bucket.path()));
    wait(|| store.state().bucket_listed);
    assert_eq!(everywhere(&store.snapshot("http")), (0..400).collect::<Vec<_>>());
}

#[test]
fn what_lay_elsewhere_when_its_neighbours_were_merged_is_no_part_of_them() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = open(dir.path(), at(bucket.path()));
    fill(&store, &table("http"), 0, 5, 100);
    wait(|| store.state().bucket_bytes == store.state().segment_bytes);
    let third = store.snapshot("http").segments.remove(2);
    drop(store);
    // The bucket has the third only; here are the others, which are merged.
    for path in objects(bucket.path()) {
        if path.file_name() != Path::new(&third.file).file_name() {
            fs::remove_file(path).unwrap();
        }
    }
    fs::remove_file(third.path().unwrap()).unwrap();
    fs::remove_dir_all(bucket.path().join("node-1/manifest-v1")).unwrap();
    let eager = Options { merge_bytes: 32 << 20, merge_inputs: 4, merge_share: 1.0, ..patient() };
    let (store, _) = open(dir.path(), eager);
    wait(|| store.snapshot("http").segments.len() == 1);
    drop(store);
    let (store, _) = open(dir.path(), at(bucket.path()));
    wait(|| store.state().bucket_listed);
    assert_eq!(everywhere(&store.snapshot("http")), (0..500).collect::<Vec<_>>());
}

#[test]
fn a_manifest_of_a_newer_program_is_left_alone() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(moved(dir.path(), bucket.path(), 1));
    let manifest = bucket.path().join("node-1/manifest-v1/1970-01-01.json");
    fs::write(&manifest, "{\"version\":2,\"files\":[]}").unwrap();
    let (store, _) = open(dir.path(), at(bucket.path()));
    wait(|| store.state().bucket_failing.is_some());
    let why = store.state().bucket_failing.unwrap();
    assert!(
        why.contains("1970-01-01 can't be used: it is of version 2: use a newer program"),
        "{why}"
    );
    // Capture goes on.
    fill(&store, &table("http"), 100, 1, 10);
    assert_eq!(everywhere(&store.snapshot("http")), (100..110).collect::<Vec<_>>());
    assert_eq!(fs::read(&manifest).unwrap(), b"{\"version\":2,\"files\":[]}");
}

#[test]
fn what_is_gone_from_the_bucket_is_counted() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(moved(dir.path(), bucket.path(), 3));
    fs::remove_file(&objects(bucket.path())[1]).unwrap();
    let (store, _) = open(dir.path(), at(bucket.path()));
    wait(|| store.snapshot("http").segments.len() == 2);
    let losses = store.maintain(0);
    let losses = losses.iter().map(|it| (it.stage, it.rows, it.from_ts, it.to_ts));
    assert_eq!(losses.collect::<Vec<_>>(), [(stage::TORN, 100, 100, 199)]);
    let mut left = (0..300).collect::<Vec<_>>();
    left.retain(|it| !(100..200).contains(it));
    assert_eq!(everywhere(&store.snapshot("http")), left);
}

#[test]
fn a_flipped_bit_in_the_bucket_is_an_error_that_names_the_segment() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = moved(dir.path(), bucket.path(), 1);
    drop(store);
    let path = &objects(bucket.path())[0];
    let whole = fs::read(path).unwrap();
    let rows = (0..100).collect::<Vec<_>>();
    let mut refused = 0;
    for at_byte in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at_byte] ^= 8;
        fs::write(path, bytes).unwrap();
        let (store, _) = open(dir.path(), at(bucket.path()));
        wait(|| store.snapshot("http").segments.len() == 1);
        let segment = Arc::clone(&store.snapshot("http").segments[0]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(read(&segment)) {
            Ok(found) => assert_eq!(found, rows, "byte {at_byte}"),
            Err(error) => {
                refused += 1;
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
    assert!(refused > 40, "{refused}");
}

#[test]
fn the_bucket_has_a_retention_of_its_own() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = moved(dir.path(), bucket.path(), 4);
    let each = store.state().bucket_bytes / 4;
    drop(store);
    let mut few = at(bucket.path());
    few.bucket.as_mut().unwrap().keep_bytes = Some(2 * each + each / 2);
    let (store, _) = open(dir.path(), few);
    wait(|| objects(bucket.path()).len() == 2);
    let losses = store.maintain(0);
    let losses = losses.iter().map(|it| (it.stage, it.rows, it.from_ts, it.to_ts));
    assert_eq!(losses.collect::<Vec<_>>(), [(stage::QUOTA, 200, 0, 199)]);
    assert_eq!(everywhere(&store.snapshot("http")), (200..400).collect::<Vec<_>>());
}

#[test]
fn small_segments_are_uploaded_as_one() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = open(dir.path(), patient());
    fill(&store, &table("http"), 0, 6, 50);
    drop(store);
    let options = Options { merge_bytes: 32 << 20, merge_share: 1.0, ..at(bucket.path()) };
    let (store, _) = open(dir.path(), options);
    wait(|| !objects(bucket.path()).is_empty() && store.snapshot("http").segments.len() == 1);
    let found = objects(bucket.path());
    assert!(found.len() == 1 && found[0].to_str().unwrap().contains('_'), "{found:?}");
    assert_eq!(everywhere(&store.snapshot("http")), (0..300).collect::<Vec<_>>());
}

#[test]
fn what_was_merged_and_uploaded_twice_is_served_once() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = open(dir.path(), at(bucket.path()));
    fill(&store, &table("http"), 0, 4, 100);
    wait(|| objects(bucket.path()).len() == 4);
    drop(store);
    // As if the process had died before it knew of the uploads, and had merged after that.
    let aside = bucket.path().join("aside");
    fs::rename(bucket.path().join("node-1"), &aside).unwrap();
    let eager = Options { merge_bytes: 32 << 20, merge_inputs: 4, merge_share: 1.0, ..patient() };
    let (store, _) = open(dir.path(), eager);
    wait(|| store.snapshot("http").segments.len() == 1);
    drop(store);
    fs::rename(&aside, bucket.path().join("node-1")).unwrap();
    let (store, _) = open(dir.path(), at(bucket.path()));
    wait(|| objects(bucket.path()).len() == 1);
    assert_eq!(everywhere(&store.snapshot("http")), (0..400).collect::<Vec<_>>());
    drop(store);
    // And the other way round: the disk has those that were merged still.
    let merged = objects(bucket.path());
    let (store, _) = open(dir.path(), at(bucket.path()));
    wait(|| store.state().bucket_bytes > 0);
    drop(store);
    for entry in fs::read_dir(dir.path().join("http")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let (store, _) = open(dir.path(), at(bucket.path()));
    wait(|| store.state().bucket_bytes > 0);
    assert_eq!(objects(bucket.path()), merged);
    assert_eq!(everywhere(&store.snapshot("http")), (0..400).collect::<Vec<_>>());
}

#[test]
fn a_scan_finishes_though_the_bucket_lets_its_segments_expire() {
    let (dir, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = moved(dir.path(), bucket.path(), 2);
    let both = store.state().bucket_bytes;
    drop(store);
    let mut options = at(bucket.path());
    options.bucket.as_mut().unwrap().keep_bytes = Some(both + both / 4);
    let (store, _) = open(dir.path(), options);
    wait(|| store.state().bucket_listed);
    let scan = store.snapshot("http");
    assert_eq!((scan.segments.len(), here(&scan)), (2, 0));
    // Two more, and the first two have to go.
    fill(&store, &table("http"), 200, 2, 100);
    let first = || store.snapshot("http").segments[0].min_ts;
    wait(|| store.snapshot("http").segments.len() == 2 && first() == 200);
    assert_eq!(everywhere(&scan), (0..200).collect::<Vec<_>>());
    assert_eq!(objects(bucket.path()).len(), 4);
    drop(scan);
    // Whatever is sealed makes it look about.
    let http = || {
        objects(bucket.path()).iter().filter(|it| it.to_string_lossy().contains("/http/")).count()
    };
    wait(|| {
        fill(&store, &table("dns"), 0, 1, 1);
        http() <= 2
    });
}

#[test]
fn a_bucket_that_can_not_be_is_refused_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    for (url, expected) in [
        ("nonsense", "bucket nonsense: relative URL without a base"),
        ("ftp://host/path", "bucket ftp://host/path: "),
    ] {
        let options = Options { bucket: Some(bucket(url.to_owned())), ..patient() };
        let error = Store::open(dir.path(), &[table("http")], options).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
