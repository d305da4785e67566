//! The chart as it is rendered here and by Helm, and the API that applies it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod cluster;
mod helm;
mod objects;
mod schema;

use deploy::{Options, Plan};
use serde_json::Value;

/// The files of values that the chart is tried with.
fn cases() -> Vec<(String, String)> {
    let folder = "../../helm/tests";
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "yaml"))
        .map(|it| (it.display().to_string(), std::fs::read_to_string(&it).unwrap()))
        .collect();
    cases.sort();
    assert!(cases.len() >= 4);
    cases
}

fn rendered(name: &str, text: &str) -> Plan {
    let options = Options { files: vec![(name.to_owned(), text.to_owned())], ..Options::default() };
    deploy::render(&options, &nothing).unwrap()
}

fn nothing(_: &str, _: &str, _: &str, _: &str) -> Option<Value> {
    None
}
