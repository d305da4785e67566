use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use arrow_array::cast::AsArray;
use worker::{Inputs, Progress, Worker};

use crate::{capture, config, counts, packets, rows, start};

/// What tshark finds in `rec_mix_0.pcap`. The dissectors' own tests compare content.
const MIX: [(&str, u64); 6] = [
    ("http", 2_362 + 2_700 + 2_700),
    ("grpc", 2_700),
    ("kafka", 3_602),
    ("postgresql", 2_761),
    ("dns", 3_200),
    ("redis", 22_193),
];

#[tokio::test]
async fn a_capture_becomes_rows_of_every_table() {
    let Some(path) = capture("rec_mix_0.pcap") else { return };
    let worker = start(config(Inputs::Files(vec![path.clone()])));
    let import = worker.imported().await;
    assert_eq!(import.errors, [""; 0]);
    assert_eq!(import.packets, packets(&path));
    let counts = counts(worker.store());
    assert_eq!(counts["packets"], import.packets);
    assert_eq!(counts.values().sum::<u64>(), import.rows);
    assert!(counts["connections"] >= 591, "{counts:?}");
    for (table, wanted) in MIX {
        let found = counts[table];
        assert!(found.abs_diff(wanted) * 100 <= wanted, "{table}: {found} of {wanted}");
    }

    let health = worker.health();
    assert!(!health.capturing);
    assert_eq!((health.packets, health.empty_because), (import.packets, None));
    assert_eq!(health.inputs[0].read_bytes, health.inputs[0].total_bytes);
    assert!(!health.inputs[0].active);
    worker.stop().unwrap();
}

#[tokio::test]
async fn raw_packets_come_out_as_they_went_in() {
    let Some(path) = capture("rec_http_0.pcap") else { return };
    let worker = start(config(Inputs::Files(vec![path.clone()])));
    worker.imported().await;
    let mut source = source::open_file(&path).unwrap();
    for batch in rows(worker.store(), "packets") {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let ts = column("ts").as_primitive::<arrow_array::types::TimestampNanosecondType>();
        let wire = column("wire_bytes").as_primitive::<arrow_array::types::UInt64Type>();
        let data = column("data").as_binary_view();
        for row in 0..batch.num_rows() {
            let packet = source.next().unwrap().unwrap();
            let got = (ts.value(row), wire.value(row), data.value(row));
            assert_eq!(got, (packet.ts, u64::from(packet.wire_len), packet.data));
        }
    }
    assert!(source.next().unwrap().is_none());
}

#[tokio::test]
async fn a_torn_file_gives_what_is_good_and_a_loss() {
    let Some(path) = capture("rec_dns_0.pcap") else { return };
    let folder = tempfile::tempdir().unwrap();
    let torn = folder.path().join("torn.pcap");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&torn, &bytes[..bytes.len() - 7]).unwrap();
    let worker = start(config(Inputs::Files(vec![torn.clone()])));
    let import = worker.imported().await;
    assert_eq!(import.packets, packets(&path) - 1);
    let [error] = &import.errors[..] else { panic!("{import:?}") };
    assert!(
        error.starts_with(&format!("{} ends in the middle of a record at byte ", torn.display()))
    );

    let losses = rows(worker.store(), "losses");
    let stages =
        losses.iter().flat_map(|it| it.column_by_name("stage").unwrap().as_string_view().iter());
    assert_eq!(stages.flatten().filter(|it| *it == "file").count(), 1);
    assert_eq!(worker.health().losses["file"], 1);
    assert_eq!(worker.health().last_error.as_ref(), Some(error));
}

#[tokio::test]
async fn one_bad_file_keeps_no_other_from_being_read() {
    let (Some(dns), Some(redis)) = (capture("rec_dns_0.pcap"), capture("rec_redis_0.pcap")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "hello, world").unwrap();
    let missing = folder.path().join("missing.pcap");
    // The later capture first: time goes back between them.
    let files = vec![redis.clone(), text.clone(), missing.clone(), dns.clone()];
    let worker = start(config(Inputs::Files(files)));
    let import = worker.imported().await;
    assert_eq!(import.packets, packets(&dns) + packets(&redis));
    assert_eq!(
        import.errors,
        [
            format!(
                "{} is not a pcap or pcapng capture: it begins with 68 65 6c 6c 6f 2c 20 77",
                text.display()
            ),
            format!("can't open {}: No such file or directory (os error 2)", missing.display()),
        ]
    );
    let counts = counts(worker.store());
    assert!(counts["dns"] > 0 && counts["redis"] > 0, "{counts:?}");
}

#[tokio::test]
async fn order_of_files_changes_no_row() {
    let files: Option<Vec<_>> = ["rec_dns_0.pcap", "rec_redis_0.pcap", "rec_http_0.pcap"]
        .into_iter()
        .map(capture)
        .collect();
    let Some(files) = files else { return };
    let count = async |files: Vec<PathBuf>| {
        let worker = start(config(Inputs::Files(files)));
        worker.imported().await;
        let mut counts = counts(worker.store());
        counts.remove("losses");
        counts
    };
    let forward = count(files.clone()).await;
    let backward = count(files.into_iter().rev().collect()).await;
    assert_eq!(forward, backward);
}

#[tokio::test]
async fn progress_is_told() {
    let Some(path) = capture("rec_mix_0.pcap") else { return };
    let told = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let report = Arc::clone(&told);
    let report = Box::new(move |progress| report.lock().unwrap().push(progress));
    let inputs = Inputs::Files(vec![path.clone(), path.clone()]);
    let worker = Worker::start(config(inputs), Some(report)).unwrap();
    worker.imported().await;
    let told = told.lock().unwrap();
    let [.., one, two] = &told[..] else { panic!("{told:?}") };
    assert!(told.is_sorted_by_key(|it| (it.index, it.read_bytes)));
    let size = std::fs::metadata(&path).unwrap().len();
    assert_eq!((two.index, two.files, two.read_bytes, two.total_bytes), (1, 2, size, Some(size)));
    assert_eq!(two.packets, 2 * packets(&path));
    assert!(one.packets <= two.packets && one.rows <= two.rows);
}

#[test]
fn nothing_to_read_says_so() {
    let worker = start(config(Inputs::None));
    let health = worker.health();
    assert!(!health.capturing);
    assert!(health.empty_because.unwrap().starts_with("no input was given"));
    worker.stop().unwrap();
    worker.stop().unwrap();
}

#[tokio::test]
async fn a_temporary_store_leaves_nothing_behind() {
    let Some(path) = capture("rec_dns_0.pcap") else { return };
    let worker = start(config(Inputs::Files(vec![path])));
    worker.imported().await;
    let folder = worker.store().dir().to_owned();
    assert!(folder.exists());
    worker.stop().unwrap();
    drop(worker);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_stopped_worker_has_everything_on_disk() {
    let Some(path) = capture("rec_mix_0.pcap") else { return };
    let folder = tempfile::tempdir().unwrap();
    let with_store = |inputs| {
        let mut config = config(inputs);
        config.store = Some(folder.path().to_owned());
        start(config)
    };
    let worker = with_store(Inputs::Files(vec![path]));
    let import = worker.imported().await;
    let before = counts(worker.store());
    worker.stop().unwrap();
    drop(worker);

    let worker = with_store(Inputs::None);
    assert_eq!(worker.recovery().rows, import.rows);
    assert_eq!((worker.recovery().torn.len(), worker.recovery().losses.len()), (0, 0));
    assert_eq!(counts(worker.store()), before);
}
