//! Memory stays bounded however much comes.
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::{RecordBatch, TimestampNanosecondArray, UInt64Array};
use schema::{Field, Kind, Table};
use segment::{Options, Store};

/// Set in the child of [`a_flood_is_written_in_bounded_memory`].
const DIR: &str = "SEGMENT_TEST_FLOOD";
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
    let (store, _) = Store::open(Path::new(&dir), tables, Options::default()).unwrap();
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
    let used = peak_kib() - before;
    assert!(used < 120 << 10, "{used} KiB");
}

/// The largest resident set this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_flood_is_written_in_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "flood::child_that_floods", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let (store, recovery) = Store::open(dir.path(), &[packets()], Options::default()).unwrap();
    assert_eq!(recovery.rows, PACKETS);
    assert!(recovery.losses.is_empty());
    assert!(recovery.segments > 3);
    assert!(store.maintain(0).is_empty());
}

#[test]
fn a_slow_disk_holds_the_writer_up() {
    // So little memory that every append waits for the seal of the one before.
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { hot_bytes: 16 << 10, append_wait: Duration::from_secs(60), ..Options::default() };
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
