//! A disk that gives back other bits than it was given.
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::fixture::{Where, ask, local, sql, table_of};

/// Between them they read every column, footers, page indices and bloom filters.
const QUERIES: [&str; 5] = [
    "select * from http",
    "select status, count(*), sum(request_bytes), max(duration) from http group by status",
    "select count(*) from http where flow_id = '000000000007'",
    "select distinct client_namespace from http order by 1",
    "select ts, target from http where status >= 500 order by ts desc limit 5",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_over_a_flipped_bit_names_the_file_or_is_right() {
    let (data, engine) = local(400, Where::Segments);
    let mut expected = Vec::new();
    for text in QUERIES {
        expected.push(table_of(&ask(&engine, sql(text)).await.unwrap().0));
    }
    let segment = data.store.snapshot("http").segments.remove(0);
    let file = File::options().read(true).write(true).open(segment.path().unwrap()).unwrap();
    let mut named = [0; QUERIES.len()];
    for at in (0..segment.bytes).step_by(173) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << (at % 8))], at).unwrap();
        for (i, text) in QUERIES.iter().enumerate() {
            match ask(&engine, sql(text)).await {
                Ok((rows, _)) => assert_eq!(table_of(&rows), expected[i], "byte {at}: {text}"),
                Err(error) => {
                    named[i] += 1;
                    assert!(error.to_string().contains(&segment.file), "byte {at}: {error}");
                }
            }
        }
        file.write_all_at(&byte, at).unwrap();
    }
    // The last finds its rows in newer segments.
    assert!(named[..4].iter().all(|it| *it > 0), "noticed: {named:?}");
    for (text, expected) in QUERIES.iter().zip(expected) {
        assert_eq!(table_of(&ask(&engine, sql(text)).await.unwrap().0), expected, "{text}");
    }
}
