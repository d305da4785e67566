//! What the chart has containers run is what this program understands.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use deploy::{Object, Options, Plan};
use k8s_openapi::ByteString;
use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{Hub, Process, kubeshark, run, wait_until};

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
    let mut secrets = plan.objects.clone();
    if plan.values["link"]["hubSecret"] != "" {
        secrets = deploy::render(&Options::default(), &|_, _, _, _| None).unwrap().objects;
    }
    let secrets: Vec<_> = secrets.iter().map(|it| it.json().clone()).collect();
    link(&plan, &secrets, name);
}

/// Runs what the chart runs, with the link's files of these Secrets. Says whether the Worker linked to the Hub; else it
/// ended.
fn link(plan: &Plan, secrets: &[Value], name: &str) -> bool {
    let folder = TempDir::new().unwrap();
    let object = |kind: &str| plan.objects.iter().find(|it| it.kind() == kind).unwrap();
    let mounted = |side: &str| {
        let folder = folder.path().join(side);
        std::fs::create_dir(&folder).unwrap();
        let suffix = format!("-link-{side}");
        let named = |it: &&Value| it["metadata"]["name"].as_str().unwrap().ends_with(&suffix);
        for (file, text) in
            secrets.iter().find(named).into_iter().flat_map(|it| it["data"].as_object().unwrap())
        {
            let bytes: ByteString = serde_json::from_value(text.clone()).unwrap();
            std::fs::write(folder.join(file), bytes.0).unwrap();
        }
        ["ca.crt", "tls.crt", "tls.key"].map(|it| folder.join(it).display().to_string())
    };

    let [ca, cert, key] = mounted("hub");
    let instead = [
        ("--listen", "127.0.0.1:0"),
        ("--link-ca", &ca),
        ("--link-cert", &cert),
        ("--link-key", &key),
    ];
    let hub = Hub::of(&mut container(object("Deployment"), &instead));
    let [ca, cert, key] = mounted("worker");
    let args = &object("DaemonSet").json()["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    let dial = args.clone().find_map(|it| it.strip_prefix("--hub=")).unwrap();
    let (dial, _) = dial.rsplit_once(':').unwrap();
    let (_, name_of_hub) = dial.split_once("://").unwrap();
    let dial = format!("{dial}:{}", hub.url.rsplit(':').next().unwrap());
    let instead = [
        ("--link-ca", ca.as_str()),
        ("--link-cert", &cert),
        ("--link-key", &key),
        ("--hub", dial.as_str()),
        ("--store", folder.path().to_str().unwrap()),
        ("--interface", "lo"),
        ("--read", "/nonexistent.pcap"),
        // What follows is of clouds and nodes that are not here.
        ("--bucket", ""),
        ("--bucket-keep-age", ""),
    ];
    let worker = container(object("DaemonSet"), &instead);
    let mut worker = Process::start(&mut where_named(&worker, name_of_hub, folder.path()));
    let mut ended = None;
    wait_until("the worker has linked, or has said why not", || {
        ended = (!worker.is_running()).then(|| worker.wait(Duration::ZERO).code());
        ended.is_some() || is_linked(&hub)
    });
    // Its capture files are not here, which is told with 1; a command line that is not understood, with 2.
    let reads = plan.values["worker"]["read"] != serde_json::json!([]);
    assert!(ended.is_none() || (reads && ended == Some(Some(1))), "{name}: {ended:?}");
    ended.is_none()
}

/// The command where that name is this machine's: a certificate is for a name, and there is no cluster to know it.
fn where_named(command: &Command, name: &str, folder: &Path) -> Command {
    let hosts = folder.join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost {name}\n")).unwrap();
    let mut within = Command::new("unshare");
    within.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
    within.arg(hosts).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => within.env(name, value),
            None => within.env_remove(name),
        };
    }
    within
}

#[test]
fn certificates_that_helm_made_link_as_well() {
    for variable in ["HELM3", "HELM4"] {
        let Some(helm) = std::env::var_os(variable) else {
            let skipped = format!("SKIPPED: {variable} names no Helm to make certificates with\n");
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            continue;
        };
        let output = Command::new(helm)
            .args(["template", "kubeshark", "../helm/kubeshark", "--namespace", "kubeshark"])
            .args(["--show-only", "templates/link-secrets.yaml"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let secrets: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let set = vec!["hub.cluster=false".to_owned()];
        let options = Options { set, ..Options::default() };
        let plan = deploy::render(&options, &|_, _, _, _| None).unwrap();
        assert!(link(&plan, &secrets, variable));
    }
}

#[test]
fn a_worker_without_tls_is_told_that_the_hub_wants_it_and_goes_on_dialling() {
    let folder = TempDir::new().unwrap();
    let plan = deploy::render(&Options::default(), &|_, _, _, _| None).unwrap();
    let hub_object = plan.objects.iter().find(|it| it.name() == "kubeshark-link-hub").unwrap();
    for (file, text) in hub_object.json()["data"].as_object().unwrap() {
        let bytes: ByteString = serde_json::from_value(text.clone()).unwrap();
        std::fs::write(folder.path().join(file), bytes.0).unwrap();
    }
    let mut hub = kubeshark();
    hub.args(["hub", "--listen", "127.0.0.1:0"]);
    for (flag, file) in
        [("--link-ca", "ca.crt"), ("--link-cert", "tls.crt"), ("--link-key", "tls.key")]
    {
        hub.arg(flag).arg(folder.path().join(file));
    }
    let hub = Hub::of(&mut hub);
    let mut worker = kubeshark();
    worker.args(["worker", "--node", "n", "--hub", &hub.url, "--store"]);
    let mut worker = worker.arg(folder.path()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(worker.stderr.take().unwrap());
    let mut worker = Process::of(worker);
    let line = said.lines().map_while(Result::ok).find(|it| it.contains("not linked to the hub"));
    let line = line.expect("it ended without saying why");
    assert!(
        line.contains("takes workers by TLS only: dial wss:// and give certificates"),
        "{line}"
    );
    assert!(worker.is_running());
    // People ask as before.
    assert_eq!(hub.get("/api/workers")["workers"], serde_json::json!([]));

    let output = run(kubeshark().args(["hub", "--link-ca", "ca.crt"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--link-cert <FILE>"));
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
