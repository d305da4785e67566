//! What the chart has containers run is what this program understands.

use std::process::{Command, Stdio};
use std::time::Duration;

use deploy::{Object, Options};
use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{Hub, Process, kubeshark, wait_until};

#[test]
fn the_charts_hub_starts_and_its_workers_link_to_it() {
    let files = std::fs::read_dir("../helm/tests").unwrap().map(|it| it.unwrap().path());
    let mut cases: Vec<_> = files.filter(|it| it.extension().is_some()).collect();
    cases.sort();
    assert!(cases.len() >= 4, "{cases:?}");
    for case in cases {
        let text = std::fs::read_to_string(&case).unwrap();
        starts(&case.display().to_string(), &text, &[]);
    }
    starts("no cluster", "", &["hub.cluster=false"]);
    starts("capture files", "", &["profile=unprivileged", "worker.read={/tmp/a.pcap}"]);
}

fn starts(name: &str, text: &str, set: &[&str]) {
    println!("{name}");
    let options = Options {
        files: vec![(name.to_owned(), text.to_owned())],
        set: set.iter().map(|it| (*it).to_owned()).collect(),
        ..Options::default()
    };
    let plan = deploy::render(&options, &|_: &str, _: &str, _: &str, _: &str| None).unwrap();
    let folder = TempDir::new().unwrap();
    let object = |kind: &str| plan.objects.iter().find(|it| it.kind() == kind).unwrap();

    let hub = Hub::of(&mut container(object("Deployment"), &[("--listen", "127.0.0.1:0")]));
    let dial = hub.url.replacen("http", "ws", 1);
    let instead = [
        ("--hub", dial.as_str()),
        ("--store", folder.path().to_str().unwrap()),
        ("--interface", "lo"),
        ("--read", "/nonexistent.pcap"),
        // What follows is of clouds and nodes that are not here.
        ("--bucket", ""),
        ("--bucket-keep-age", ""),
    ];
    let mut worker = Process::start(&mut container(object("DaemonSet"), &instead));
    let mut ended = None;
    wait_until("the worker has linked, or has said why not", || {
        ended = (!worker.is_running()).then(|| worker.wait(Duration::ZERO).code());
        ended.is_some() || is_linked(&hub)
    });
    // 1 is an interface that may not be captured; 2 is a command line that is not understood.
    assert_ne!(ended, Some(Some(2)), "{name}");
}

fn is_linked(hub: &Hub) -> bool {
    let url = format!("{}/api/workers", hub.url);
    let asked = ureq::get(url).header("authorization", format!("Bearer {TOKEN}")).call();
    let workers: Value = asked.unwrap().body_mut().read_json().unwrap();
    workers["workers"][0]["status"] == "connected"
}

/// Runs what a pod's container runs, with its environment; `instead` says what stands for what is not here, and is
/// left out where it is empty.
fn container(object: &Object, instead: &[(&str, &str)]) -> Command {
    let container = &object.json()["spec"]["template"]["spec"]["containers"][0];
    let mut command = kubeshark();
    command.env("KUBECONFIG", "/nonexistent").stderr(Stdio::inherit());
    for variable in container["env"].as_array().unwrap() {
        let value = match variable["name"].as_str().unwrap() {
            "KUBESHARK_TOKEN" => TOKEN,
            "KUBESHARK_NODE" => "node-1",
            _ => variable["value"].as_str().unwrap_or("some"),
        };
        command.env(variable["name"].as_str().unwrap(), value);
    }
    for argument in container["args"].as_array().unwrap() {
        let argument = argument.as_str().unwrap().replace("$(KUBESHARK_NODE)", "node-1");
        let (flag, _) = argument.split_once('=').unwrap_or((&argument, ""));
        match instead.iter().find(|it| it.0 == flag) {
            Some((_, "")) => {}
            Some((flag, value)) => _ = command.arg(format!("{flag}={value}")),
            None => _ = command.arg(argument),
        }
    }
    command
}

const TOKEN: &str = "a-token-of-this-test";
