//! Helm 3 and Helm 4 make of the chart what this crate makes of it. They are found by the variables HELM3 and HELM4.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{cases, rendered};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../helm/kubeshark");

#[test]
#[expect(clippy::disallowed_methods, reason = "tests have no command line")]
fn helm_makes_the_same_objects() {
    for variable in ["HELM3", "HELM4"] {
        let Some(helm) = std::env::var_os(variable) else {
            // Past the test's own standard error, which nobody is shown.
            let skipped = format!("SKIPPED: {variable} names no Helm to compare the chart with\n");
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            continue;
        };
        for (name, text) in cases() {
            let linted = Command::new(&helm)
                .args(["lint", "--strict", CHART, "-f", &name])
                .output()
                .unwrap();
            assert!(linted.status.success(), "{name}: {}", String::from_utf8_lossy(&linted.stdout));
            let theirs = template(helm.as_ref(), &name);
            let mut ours = BTreeMap::new();
            for object in rendered(&name, &text).objects {
                let mut json = object.json().clone();
                as_helm(&mut json);
                masked(&mut json);
                assert!(ours.insert(object.shown(), json).is_none(), "{}", object.shown());
            }
            let names = |it: &BTreeMap<String, Value>| it.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&ours), names(&theirs), "{variable} {name}");
            for (shown, our) in &ours {
                assert_eq!(our, &theirs[shown], "{variable} {name}: {shown}");
            }
        }
    }
}

fn template(helm: &Path, values: &str) -> BTreeMap<String, Value> {
    let output = Command::new(helm)
        .args(["template", "kubeshark", CHART, "--namespace", "kubeshark", "-f", values])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    documents
        .into_iter()
        .filter(|it| !it.is_null())
        .map(|mut it| {
            masked(&mut it);
            let name = it["metadata"]["name"].as_str().unwrap();
            (format!("{} {name}", it["kind"].as_str().unwrap()), it)
        })
        .collect()
}

/// What is made at random differs; that it is there does not.
fn masked(json: &mut Value) {
    if json["type"] == "kubernetes.io/tls" {
        for value in json["data"].as_object_mut().unwrap().values_mut() {
            assert!(value.as_str().is_some_and(|it| it.len() > 100));
            *value = "made".into();
        }
    }
}

/// Who manages an object is the one thing that differs.
fn as_helm(json: &mut Value) {
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "app.kubernetes.io/managed-by" {
                    *value = "Helm".into();
                }
                as_helm(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(as_helm),
        _ => {}
    }
}
