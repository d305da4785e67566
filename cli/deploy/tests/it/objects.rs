//! What the API server would say to the objects, as far as it can be known without one.

use std::collections::BTreeSet;

use deploy::Object;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{cases, nothing, rendered};

#[test]
fn every_field_is_one_of_the_api() {
    let mut kinds = BTreeSet::new();
    for (name, text) in cases() {
        for object in rendered(&name, &text).objects {
            kinds.insert(object.kind());
            let again = match object.kind() {
                "ClusterRole" => through::<ClusterRole>(&object),
                "ClusterRoleBinding" => through::<ClusterRoleBinding>(&object),
                "ConfigMap" => through::<ConfigMap>(&object),
                "DaemonSet" => through::<DaemonSet>(&object),
                "Deployment" => through::<Deployment>(&object),
                "Ingress" => through::<Ingress>(&object),
                "NetworkPolicy" => through::<NetworkPolicy>(&object),
                "PodDisruptionBudget" => through::<PodDisruptionBudget>(&object),
                "PriorityClass" => through::<PriorityClass>(&object),
                "Role" => through::<Role>(&object),
                "RoleBinding" => through::<RoleBinding>(&object),
                "Secret" => through::<Secret>(&object),
                "Service" => through::<Service>(&object),
                "ServiceAccount" => through::<ServiceAccount>(&object),
                // Not of Kubernetes itself.
                "ServiceMonitor" => continue,
                other => panic!("{other} is not tried"),
            };
            let mut lost = Vec::new();
            missing(object.json(), &again, "", &mut lost);
            assert!(lost.is_empty(), "{name}: {}: {lost:?}", object.shown());
        }
    }
    assert_eq!(kinds.len(), 15, "{kinds:?}");
}

fn through<T: Serialize + DeserializeOwned>(object: &Object) -> Value {
    let typed: T = serde_json::from_value(object.json().clone())
        .unwrap_or_else(|why| panic!("{}: {why}\n{}", object.shown(), object.json()));
    serde_json::to_value(typed).unwrap()
}

/// What of `given` is not in `kept`.
fn missing(given: &Value, kept: &Value, path: &str, lost: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                match kept.get(key) {
                    Some(kept) => missing(value, kept, &format!("{path}.{key}"), lost),
                    // What is empty says nothing.
                    None if value.as_array().is_some_and(Vec::is_empty) => {}
                    None => lost.push(format!("{path}.{key}")),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => {
            for (at, (given, kept)) in given.iter().zip(kept).enumerate() {
                missing(given, kept, &format!("{path}[{at}]"), lost);
            }
        }
        (given, kept) if given == kept => {}
        (given, kept) => lost.push(format!("{path}: {given} became {kept}")),
    }
}

#[test]
fn what_belongs_together_has_the_same_names() {
    for (name, text) in cases() {
        let plan = rendered(&name, &text);
        let find = |kind: &'static str| plan.objects.iter().filter(move |it| it.kind() == kind);
        for object in &plan.objects {
            let labels = object.json().pointer("/metadata/labels").unwrap();
            assert_eq!(labels["app.kubernetes.io/name"], "kubeshark", "{}", object.shown());
            assert_eq!(labels["app.kubernetes.io/managed-by"], "kubeshark", "{}", object.shown());
        }
        for kind in ["Deployment", "DaemonSet"] {
            let workload = find(kind).next().unwrap().json();
            let template = &workload["spec"]["template"];
            let labels = template["metadata"]["labels"].as_object().unwrap();
            for (key, value) in workload["spec"]["selector"]["matchLabels"].as_object().unwrap() {
                assert_eq!(labels.get(key), Some(value));
            }
            let account = &template["spec"]["serviceAccountName"];
            assert!(find("ServiceAccount").any(|it| it.name() == account), "{account}");
            let token = template["spec"]["containers"][0]["env"]
                .as_array()
                .unwrap()
                .iter()
                .find(|it| it["name"] == "KUBESHARK_TOKEN")
                .unwrap();
            let secret = token["valueFrom"]["secretKeyRef"]["name"].as_str().unwrap();
            assert!(find("Secret").any(|it| it.name() == secret) || secret == "mine");
            let volumes = template["spec"]["volumes"].as_array().unwrap();
            let link = volumes.iter().find(|it| it["name"] == "link").map(|it| &it["secret"]);
            assert_eq!(link.is_some(), plan.values["link"]["tls"] == true, "{name}");
            if let Some(secret) = link.and_then(|it| it["secretName"].as_str()) {
                let own = plan.values["link"]["hubSecret"] == "";
                assert_eq!(find("Secret").any(|it| it.name() == secret), own, "{name} {secret}");
            }
        }
        let hub = find("Deployment").next().unwrap().json();
        let port = &hub["spec"]["template"]["spec"]["containers"][0]["ports"][0];
        let service = find("Service").next().unwrap().json();
        assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
        // Workers know their own traffic by its port, on both sides of the Service.
        assert_eq!(service["spec"]["ports"][0]["port"], port["containerPort"]);
        let worker = find("DaemonSet").next().unwrap().json();
        let args = worker["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
        let address = format!(
            "--hub={}://{}.kubeshark.svc:{}",
            if plan.values["link"]["tls"] == true { "wss" } else { "ws" },
            service["metadata"]["name"].as_str().unwrap(),
            port["containerPort"]
        );
        assert!(args.contains(&address), "{args}");
    }
}

#[test]
fn nobody_has_more_rights_than_it_says() {
    for (name, text) in cases() {
        let plan = rendered(&name, &text);
        let pod = |kind: &str| {
            let of = plan.objects.iter().find(|it| it.kind() == kind).unwrap();
            of.json()["spec"]["template"]["spec"].clone()
        };
        let unprivileged = name.contains("unprivileged");
        let traced = plan.values["tracing"]["enabled"] == true;
        for (kind, restricted) in [("Deployment", true), ("DaemonSet", unprivileged)] {
            let pod = pod(kind);
            let container = &pod["containers"][0]["securityContext"];
            assert_eq!(container["readOnlyRootFilesystem"], true);
            assert_eq!(container["allowPrivilegeEscalation"], false);
            assert_eq!(container["privileged"], Value::Null);
            assert_eq!(container["capabilities"]["drop"], serde_json::json!(["ALL"]));
            let added = &container["capabilities"]["add"];
            if restricted {
                assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
                assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
                assert_eq!((added, &pod["hostNetwork"]), (&Value::Null, &Value::Null));
                let volumes = pod["volumes"].as_array().unwrap();
                assert!(volumes.iter().all(|it| it["hostPath"].is_null()));
            } else if traced {
                let wanted = ["NET_RAW", "BPF", "PERFMON", "SYS_ADMIN", "SYS_PTRACE"];
                assert_eq!(*added, serde_json::json!(wanted));
            } else {
                assert_eq!(*added, serde_json::json!(["NET_RAW"]));
                assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            }
            let processes = kind == "DaemonSet" && traced;
            assert_eq!(pod["hostPID"] == true, processes, "{name} {kind}");
        }
        assert_eq!(pod("DaemonSet")["automountServiceAccountToken"], false);
        for role in plan.objects.iter().filter(|it| it.kind().ends_with("Role")) {
            let text = role.json()["rules"].to_string();
            for never in ["*", "secrets", "delete", "update", "escalate", "exec"] {
                assert!(!text.contains(never), "{}: {never}", role.shown());
            }
        }
    }
}

#[test]
fn the_token_is_made_once() {
    let options = deploy::Options::default();
    let token = |plan: &deploy::Plan| {
        let secret = plan.objects.iter().find(|it| it.name() == "kubeshark-token").unwrap();
        secret.json()["data"]["token"].as_str().unwrap().to_owned()
    };
    let first = deploy::render(&options, &nothing).unwrap();
    let other = deploy::render(&options, &nothing).unwrap();
    assert_ne!(token(&first), token(&other));
    assert_eq!(token(&first).len(), 56, "40 letters in base64");
    let there =
        first.objects.iter().find(|it| it.name() == "kubeshark-token").unwrap().json().clone();
    let again = deploy::render(&options, &|version, kind, namespace, name| {
        let asked = (version, kind, namespace, name);
        (asked == ("v1", "Secret", "kubeshark", "kubeshark-token")).then(|| there.clone())
    });
    assert_eq!(token(&again.unwrap()), token(&first));
}

#[test]
fn the_links_certificates_are_kept_while_they_are_good() {
    let options = deploy::Options::default();
    let secrets = |plan: &deploy::Plan| {
        let names = ["kubeshark-link-hub", "kubeshark-link-worker"];
        names.map(|name| plan.objects.iter().find(|it| it.name() == name).unwrap().json().clone())
    };
    let first = secrets(&deploy::render(&options, &nothing).unwrap());
    let [hub, worker] = &first;
    assert_eq!(hub["data"]["ca.crt"], worker["data"]["ca.crt"]);
    assert_ne!(hub["data"]["tls.key"], worker["data"]["tls.key"]);
    assert!(
        hub["data"].as_object().unwrap().keys().eq(["ca.crt", "tls.crt", "tls.key"]),
        "the CA's key is kept nowhere"
    );
    let again = |there: [Value; 2]| {
        let plan = deploy::render(&options, &|_, kind, _, name| {
            let mut found =
                there.iter().filter(|it| kind == "Secret" && it["metadata"]["name"] == name);
            found.next().cloned()
        });
        secrets(&plan.unwrap())
    };
    assert_eq!(again(first.clone()), first);

    let mut old = first.clone();
    for secret in &mut old {
        secret["metadata"]["annotations"]["kubeshark.io/renew-after"] = "2020-01-01".into();
    }
    let [renewed, other] = again(old);
    assert_ne!(renewed["data"]["ca.crt"], hub["data"]["ca.crt"]);
    assert_eq!(renewed["data"]["ca.crt"], other["data"]["ca.crt"]);

    // One of the two alone is of no use.
    let mut half = first.clone();
    half[1]["metadata"]["name"] = "gone".into();
    let [renewed, other] = again(half);
    assert_ne!(renewed["data"]["ca.crt"], hub["data"]["ca.crt"]);
    assert_eq!(renewed["data"]["ca.crt"], other["data"]["ca.crt"]);
}

#[test]
fn values_that_cannot_be_are_refused_with_a_reason() {
    let why = |set: &[&str]| {
        let set = set.iter().map(|it| (*it).to_owned()).collect();
        let options = deploy::Options { set, ..deploy::Options::default() };
        deploy::render(&options, &nothing).map(|_| ()).unwrap_err().to_string()
    };
    for (set, wanted) in [
        (&["hub.prot=1"][..], "there is no value hub.prot"),
        (&["hub.port=70000"], "hub.port is 65535 at most, not 70000"),
        (&["worker.storage.kind=floppy"], "worker.storage.kind is one of"),
        (&["worker.storage.rows=lots"], "worker.storage.rows looks like"),
        (&["hub=1"], "hub wants a map, not 1"),
        (&["worker.extraArgs={a,1}"], "worker.extraArgs[1] wants a text, not 1"),
        (&["hub.ingress.enabled=true"], "hub.ingress.host is needed for an Ingress"),
        (&["profile=unprivileged", "tracing.enabled=true"], "tracing needs the node's processes"),
        (&["profile=unprivileged", "worker.storage.kind=hostPath"], "has no folders of the node"),
    ] {
        let why = why(set);
        assert!(why.contains(wanted), "{set:?}: {why}");
    }
}
