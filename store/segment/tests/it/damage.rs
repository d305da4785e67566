//! A disk that gives back other bits than it was given.
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use arrow_select::concat::concat_batches;
use segment::{Options, stage};

use crate::rows::{all_numbers, batch, patient, store};

#[test]
fn a_flipped_bit_is_an_error_that_names_the_file_and_never_a_wrong_row() {
    // No footer stays in memory: each is read again, too.
    let (dir, store, table) = store(Options { footer_bytes: 0, ..patient() });
    for part in 0..2_u64 {
        let n = (part * 400..part * 400 + 400).collect::<Vec<_>>();
        store.append("http", batch(&table, &n, |it| it as i64)).unwrap();
        store.seal().unwrap();
    }
    let expected = batch(&table, &(0..400).collect::<Vec<_>>(), |it| it as i64);
    let segments = store.snapshot("http").segments;
    // A store that is open would set the file aside some time after the first flip.
    drop(store);
    // The footer of the other one takes its place in the cache.
    segments[1].metadata().unwrap();
    let segment = &segments[0];
    let path = dir.path().join(&segment.file);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut wrong = 0;
    for at in (0..segment.bytes).step_by(61).chain(segment.bytes - 12..segment.bytes) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << (at % 8))], at).unwrap();
        let read = segment.read(None).and_then(|it| it.collect::<Result<Vec<_>, _>>());
        segments[1].metadata().unwrap();
        match read {
            Ok(rows) => {
                let rows = concat_batches(&table.arrow(), &rows).unwrap();
                assert_eq!(rows, expected, "byte {at}");
            }
            Err(error) => {
                wrong += 1;
                assert!(error.to_string().contains(&segment.file), "byte {at}: {error}");
            }
        }
        file.write_all_at(&byte, at).unwrap();
    }
    // What nobody reads hurts nobody: bloom filters, for one.
    assert!(wrong > segment.bytes / 61 / 3, "{wrong} flips were noticed");
    let read = segment.read(None).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(concat_batches(&table.arrow(), &read).unwrap(), expected);
}

#[test]
fn what_a_reader_found_damaged_is_set_aside_and_counted() {
    let (dir, store, table) = store(patient());
    for part in 0..2_u64 {
        let n = (part * 400..part * 400 + 400).collect::<Vec<_>>();
        store.append("http", batch(&table, &n, |it| it as i64)).unwrap();
        store.seal().unwrap();
    }
    let segment = store.snapshot("http").segments.remove(0);
    let path = dir.path().join(&segment.file);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 2_000).unwrap();
    file.write_all_at(&[!byte[0]], 2_000).unwrap();
    assert!(store.maintain(0).is_empty(), "nobody has read it yet");
    assert!(segment.read(None).unwrap().any(|it| it.is_err()));
    let mut losses = Vec::new();
    for _ in 0..1_000 {
        losses = store.maintain(0);
        if !losses.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let [loss] = losses.as_slice() else { panic!("{losses:?}") };
    assert_eq!((loss.stage, loss.rows), (stage::TORN, 400));
    assert!(!path.exists() && dir.path().join("torn").join(&segment.file).exists());
    assert_eq!(all_numbers(&store.snapshot("http")), (400..800).collect::<Vec<_>>());
}
