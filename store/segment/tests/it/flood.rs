//! Memory stays bounded however much comes.
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::{RecordBatch, TimestampNanosecondArray, UInt64Array};
use schema::{Field, Kind, Table};
use segment::{Options, Store};

/// Set in the children of [`flood`].
const DIR: &str = "SEGMENT_TEST_FLOOD";
/// Set where it is to be sealed in small segments, which are merged.
const MERGED: &str = "SEGMENT_TEST_FLOOD_MERGED";
const PACKETS: u64 = 96 << 10;
const PACKET_BYTES: usize = 1400;

fn packets() -> Table {
    let field = |name: &'static str, kind| Field {
        name: name.into(),
        doc: "What it says.".into(),
        kind,
        nullable: false,
    };
    let fields = vec![field("ts", Kind::Time), field("n", Kind::Count), field("data", Kind::Body)];
    Table { name: "packets".into(), doc: "Packets.".into(), fields: fields.into() }
}

/// The child: 130 MB of packets that don't compress, as fast as they are taken.
#[test]
fn child_that_floods() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let table = packets();
    let tables = std::slice::from_ref(&table);
    let merges = std::env::var_os(MERGED).is_some();
    let options = Options {
        hot_bytes: if merges { 2 << 20 } else { 20 << 20 },
        merge_share: 1.0,
        ..Options::default()
    };
    let (store, _) = Store::open(Path::new(&dir), tables, options).unwrap();
    let before = peak_kib();
    let mut noise = vec![0; PACKET_BYTES];
    let mut state = 1_u64;
    for part in 0..PACKETS / 1024 {
        let n = (part * 1024..(part + 1) * 1024).collect::<Vec<_>>();
        let mut data = BinaryViewBuilder::new();
        for _ in &n {
            for chunk in noise.chunks_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
            }
            data.append_value(&noise);
        }
        let ts = n.iter().map(|it| Some(*it as i64)).collect::<TimestampNanosecondArray>();
        let ts = Arc::new(ts.with_timezone("UTC"));
        let columns: Vec<arrow_array::ArrayRef> =
            vec![ts, Arc::new(UInt64Array::from(n)), Arc::new(data.finish())];
        store.append("packets", RecordBatch::try_new(table.arrow(), columns).unwrap()).unwrap();
        let held = store.state().hot_bytes;
        assert!(held <= 32 << 20, "{held}");
    }
    store.seal().unwrap();
    if merges {
        crate::merges::wait(|| store.state().tables[0].segments < 40);
        // A row is rewritten once or twice.
        let state = store.state();
        assert!(state.merged_bytes < 3 * state.segment_bytes, "{state:?}");
    }
    let used = peak_kib() - before;
    println!("{used} KiB more than before");
    assert!(used < 120 << 10, "{used} KiB");
}

/// The largest resident set this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends a child a flood. Returns how many segments came of it.
fn flood(merges: bool) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "flood::child_that_floods", "--nocapture"]).env(DIR, dir.path());
    if merges {
        child.env(MERGED, "1");
    }
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let options = Options { merge_bytes: 0, ..Options::default() };
    let (store, recovery) = Store::open(dir.path(), &[packets()], options).unwrap();
    assert_eq!(recovery.rows, PACKETS);
    assert!(recovery.losses.is_empty());
    assert!(store.maintain(0).is_empty());
    recovery.segments
}

#[test]
fn a_flood_is_written_in_bounded_memory() {
    assert!(flood(false) > 3);
}

#[test]
fn a_flood_is_merged_in_bounded_memory_and_rewritten_at_most_twice() {
    assert!((4..40).contains(&flood(true)));
}

#[test]
fn a_slow_disk_holds_the_writer_up() {
    // So little memory that every append waits for the seal of the one before.
    let dir = tempfile::tempdir().unwrap();
    let options = Options { hot_bytes: 16 << 10, ..crate::rows::patient() };
    let table = crate::rows::table("http");
    let tables = std::slice::from_ref(&table);
    let (store, _) = Store::open(dir.path(), tables, options).unwrap();
    for n in 0..30_u64 {
        let n = (n * 40..n * 40 + 40).collect::<Vec<_>>();
        store.append("http", crate::rows::batch(&table, &n, |it| it as i64)).unwrap();
        let held = store.state().hot_bytes;
        assert!(held < 60 << 10, "{held}");
    }
    let found = crate::rows::all_numbers(&store.snapshot("http"));
    assert_eq!(found, (0..1200).collect::<Vec<_>>());
    assert!(store.snapshot("http").segments.len() >= 10);
}
