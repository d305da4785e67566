//! A worker on real captures, up to what its store holds.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::explicit_write,
    reason = "a test fails by panicking, and says what it skips"
)]

mod demand;
mod hub;
mod imports;
mod kill;
mod live;
mod names;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use arrow_array::RecordBatch;
use segment::Store;
use worker::{
    Config, DissectionConfig, Inputs, Keep, Limits, Secrets, StoreOptions, TracingConfig, Worker,
};

/// A shared capture, if it is here.
fn capture(name: &str) -> Option<PathBuf> {
    let path = Path::new("../../../shared/corpus/pcap").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

fn config(inputs: Inputs) -> Config {
    Config {
        node: "here".to_owned(),
        store: None,
        inputs,
        limits: Limits::default(),
        keep: Keep::default(),
        storage: StoreOptions::default(),
        dissection: DissectionConfig::default(),
        secrets: Secrets::default(),
        tracing: TracingConfig::default(),
    }
}

fn start(config: Config) -> Worker {
    Worker::start(config, None).unwrap()
}

/// All rows of a table, those in memory after those in segments.
fn rows(store: &Store, table: &str) -> Vec<RecordBatch> {
    let snapshot = store.snapshot(table);
    let mut batches = Vec::new();
    for segment in &snapshot.segments {
        segment.verify().unwrap();
        batches.extend(segment.read(None).unwrap().map(Result::unwrap));
    }
    batches.extend(snapshot.hot);
    batches
}

/// Rows by table.
fn counts(store: &Store) -> BTreeMap<String, u64> {
    let count = |table: &str| rows(store, table).iter().map(|it| it.num_rows() as u64).sum();
    store.tables().iter().map(|it| (it.name.to_string(), count(&it.name))).collect()
}

/// Packets of a file, read with nothing but `source`.
fn packets(path: &Path) -> u64 {
    let mut source = source::open_file(path).unwrap();
    let mut n = 0;
    while let Ok(Some(_)) = source.next() {
        n += 1;
    }
    n
}
