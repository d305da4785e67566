//! The double of an API server is installed into, looked at, and cleaned.

use std::time::Duration;

use apiserver_double::{Double, Key};
use deploy::{Cluster, Error, Grade, News, Options, Plan, Right, Status, Targeting};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(20);

async fn double() -> (Double, Cluster) {
    let double = Double::start().await.unwrap();
    double.add_node("n-1", "10.0.0.1");
    double.add_node("n-2", "10.0.0.2");
    let cluster = client(&double, None).await;
    (double, cluster)
}

/// By a kubeconfig, as people come.
async fn client(double: &Double, token: Option<&str>) -> Cluster {
    let config = kube::config::Kubeconfig::from_yaml(&double.kubeconfig(token)).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.unwrap();
    Cluster::new(kube::Client::try_from(config).unwrap(), "kubeshark", "kubeshark")
}

async fn plan(cluster: &Cluster, set: &[&str]) -> Plan {
    let set = set.iter().map(|it| (*it).to_owned()).collect();
    cluster.plan(&Options { set, ..Options::default() }).await.unwrap()
}

async fn install(cluster: &Cluster, plan: &Plan) -> Result<Vec<News>, Error> {
    let mut news = Vec::new();
    cluster.install(plan, &mut |it| news.push(it)).await?;
    Ok(news)
}

async fn clean(cluster: &Cluster) -> Result<Vec<News>, Error> {
    let mut news = Vec::new();
    assert!(cluster.uninstall(PATIENCE, &mut |it| news.push(it)).await?);
    Ok(news)
}

fn key(group: &str, plural: &str, name: &str) -> Key {
    Key::new(group, plural, "kubeshark", name)
}

fn hub() -> Key {
    key("apps", "deployments", "kubeshark-hub")
}

#[tokio::test]
async fn a_second_installation_changes_nothing_and_a_different_one_upgrades() {
    let (double, cluster) = double().await;
    let first = plan(&cluster, &[]).await;
    let news = install(&cluster, &first).await.unwrap();
    assert!(news.iter().all(|it| matches!(it, News::Made(_))), "{news:?}");
    let status = cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
    assert_eq!((status.hub.ready, status.workers.ready, status.workers.wanted), (1, 2, 2));
    assert_eq!(status.managed_by, "kubeshark");
    let token = cluster.token().await.unwrap();
    assert_eq!(token.len(), 40);

    let again = plan(&cluster, &[]).await;
    let news = install(&cluster, &again).await.unwrap();
    assert!(news.iter().all(|it| matches!(it, News::Same(_))), "{news:?}");

    let upgrade = plan(&cluster, &["image.tag=2.0", "networkPolicy.enabled=false"]).await;
    let news = install(&cluster, &upgrade).await.unwrap();
    let changed: Vec<_> = news.iter().filter(|it| !matches!(it, News::Same(_))).collect();
    let wanted = [
        News::Changed("Deployment kubeshark-hub".into()),
        News::Changed("DaemonSet kubeshark-worker".into()),
        News::Removed("NetworkPolicy kubeshark-hub".into()),
        News::Removed("NetworkPolicy kubeshark-worker".into()),
    ];
    assert_eq!(changed, wanted.iter().collect::<Vec<_>>());
    assert_eq!(cluster.token().await.unwrap(), token, "an upgrade keeps the token");
    let image = &double.get(&hub()).unwrap()["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "kubeshark/kubeshark:2.0");
    cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
}

#[tokio::test]
async fn what_others_set_stays_and_is_said() {
    let (double, cluster) = double().await;
    install(&cluster, &plan(&cluster, &[]).await).await.unwrap();
    let theirs = json!({
        "metadata": {"annotations": {"somebody.else/note": "keep"}},
        "spec": {"replicas": 0, "template": {"spec": {"containers": [{
            "name": "hub", "image": "mirror.local/kubeshark:1"}]}}},
    });
    // As a merge patch replaces lists, the container is taken as it is.
    let mut container =
        double.get(&hub()).unwrap()["spec"]["template"]["spec"]["containers"][0].clone();
    container["image"] = "mirror.local/kubeshark:1".into();
    let mut patch = theirs;
    patch["spec"]["template"]["spec"]["containers"][0] = container;
    double.patch(&hub(), &patch, "their-tool");

    let upgrade = plan(&cluster, &["image.tag=2.0", "hub.resources.limits.memory=1Gi"]).await;
    let news = install(&cluster, &upgrade).await.unwrap();
    let kept: Vec<_> = news.iter().filter(|it| matches!(it, News::Kept { .. })).collect();
    let of = |field: &str| News::Kept {
        object: "Deployment kubeshark-hub".into(),
        field: field.into(),
        by: "their-tool".into(),
    };
    let image = ".spec.template.spec.containers[name=\"hub\"].image";
    assert_eq!(kept, [&of(".spec.replicas"), &of(image)]);
    let now = double.get(&hub()).unwrap();
    assert_eq!(now["metadata"]["annotations"]["somebody.else/note"], "keep");
    assert_eq!(now["spec"]["replicas"], 0);
    let container = &now["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "mirror.local/kubeshark:1");
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi", "the rest is ours");
}

#[tokio::test]
async fn what_the_hub_wrote_down_gives_way_to_what_is_installed() {
    let (double, cluster) = double().await;
    install(&cluster, &plan(&cluster, &[]).await).await.unwrap();
    let settings = key("", "configmaps", "kubeshark-settings");
    let live = json!({"data": {"targeting.json": "{\"pods\":\"^live\"}"}});
    double.patch(&settings, &live, "kubeshark-hub");
    assert_eq!(cluster.targeting().await.unwrap().pods, "^live");
    install(&cluster, &plan(&cluster, &["targeting.pods=^cart"]).await).await.unwrap();
    assert_eq!(cluster.targeting().await.unwrap().pods, "^cart");
}

#[tokio::test]
async fn cleaning_leaves_nothing_of_ours_and_all_that_is_not() {
    let (double, cluster) = double().await;
    let labels = json!({"app.kubernetes.io/name": "kubeshark", "app.kubernetes.io/instance": "kubeshark",
        "app.kubernetes.io/managed-by": "kubeshark", "kubeshark.io/namespace": "another"});
    double.put(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "another-kubeshark", "labels": labels}, "rules": []}));
    double.put(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "theirs", "namespace": "default", "labels": labels}}));
    let before = names(&double);
    for set in [&[][..], &["priorityClass.create=true", "serviceMonitor.enabled=true"]] {
        install(&cluster, &plan(&cluster, set).await).await.unwrap();
        cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
        let news = clean(&cluster).await.unwrap();
        assert_eq!(news.last(), Some(&News::Removed("Namespace kubeshark".into())));
        assert_eq!(names(&double), before);
    }
    assert_eq!(clean(&cluster).await.unwrap(), [], "there is nothing any more");
}

fn names(double: &Double) -> Vec<Key> {
    double.all().into_iter().map(|it| it.0).collect()
}

#[tokio::test]
async fn a_namespace_that_others_use_or_made_stays() {
    let (double, cluster) = double().await;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "theirs", "namespace": "kubeshark"}});
    install(&cluster, &plan(&cluster, &[]).await).await.unwrap();
    double.put(theirs.clone());
    let left = News::Left("Namespace kubeshark".into(), "ConfigMap theirs is in it".into());
    assert_eq!(clean(&cluster).await.unwrap().last(), Some(&left));
    assert!(double.get(&key("", "configmaps", "theirs")).is_some());

    double.delete(&Key::new("", "namespaces", "", "kubeshark"));
    double.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeshark"}}));
    let before = names(&double);
    install(&cluster, &plan(&cluster, &[]).await).await.unwrap();
    clean(&cluster).await.unwrap();
    assert_eq!(names(&double), before);
}

#[tokio::test]
async fn what_helm_installed_is_left_to_helm() {
    let (double, cluster) = double().await;
    double.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeshark"}}));
    double.put(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "kubeshark-hub", "namespace": "kubeshark", "labels": {
            "app.kubernetes.io/name": "kubeshark", "app.kubernetes.io/instance": "kubeshark",
            "app.kubernetes.io/managed-by": "Helm"}}}));
    let before = double.all();
    let why = install(&cluster, &plan(&cluster, &[]).await).await.unwrap_err();
    assert!(why.to_string().contains("Helm (`helm upgrade` changes it)"), "{why}");
    let why = cluster.uninstall(PATIENCE, &mut |_| {}).await.unwrap_err();
    assert!(why.to_string().contains("helm uninstall kubeshark"), "{why}");
    assert_eq!(double.all(), before);
}

#[tokio::test]
async fn what_does_not_come_up_says_why() {
    let (double, cluster) = double().await;
    double.break_node("n-2", "0/2 nodes are available: 1 node(s) had untolerated taint {gpu: }");
    double.break_image("kubeshark:broken");
    install(&cluster, &plan(&cluster, &["image.tag=broken"]).await).await.unwrap();
    let mut seen: Vec<Status> = Vec::new();
    let why = cluster.wait(Duration::from_secs(3), &mut |it| seen.push(it.clone())).await;
    let why = why.unwrap_err().to_string();
    assert!(why.starts_with("it is not ready after 3 s: Hub not ready, 0 of 2"), "{why}");
    assert!(why.contains("untolerated taint {gpu: }"), "{why}");
    let pull = "on n-1: ImagePullBackOff: Back-off pulling image \"kubeshark/kubeshark:broken\"";
    assert!(why.contains(pull), "{why}");
    assert!(!seen.is_empty());
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let (double, cluster) = double().await;
    install(&cluster, &plan(&cluster, &["targeting.nodes={none}"]).await).await.unwrap();
    cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
    let set = key("apps", "daemonsets", "kubeshark-worker");
    // As the controller says it when Pod Security admits no pod.
    double.patch(
        &set,
        &json!({"status": {"desiredNumberScheduled": 2, "numberReady": 0}}),
        "controller",
    );
    double.put(json!({"apiVersion": "v1", "kind": "Event",
        "metadata": {"name": "worker.1", "namespace": "kubeshark"},
        "involvedObject": {"kind": "DaemonSet", "name": "kubeshark-worker", "namespace": "kubeshark"},
        "type": "Warning", "reason": "FailedCreate",
        "message": "pods \"kubeshark-worker-x\" is forbidden: violates PodSecurity \"restricted:latest\""}));
    let status = cluster.status().await.unwrap();
    let [why] = status.reasons.as_slice() else { panic!("{:?}", status.reasons) };
    assert!(
        why.contains("violates PodSecurity") && why.contains("kubectl label namespace"),
        "{why}"
    );
}

#[tokio::test]
async fn check_names_what_is_missing() {
    let (double, cluster) = double().await;
    let plan = plan(&cluster, &["tracing.enabled=true"]).await;
    let findings = cluster.check(&plan).await.unwrap();
    assert!(findings.iter().all(|it| it.verdict < Grade::Bad), "{findings:?}");
    let rights = findings.iter().find(|it| it.about == "permissions").unwrap();
    assert!(rights.found.starts_with("all ") && rights.verdict == Grade::Good, "{rights:?}");

    for verb in ["create", "patch"] {
        double.deny(verb, "rbac.authorization.k8s.io", "clusterroles");
    }
    double.deny("get", "", "pods/log");
    double.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeshark",
        "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}));
    let node = Key::new("", "nodes", "", "n-2");
    let old = json!({"status": {"nodeInfo": {"kernelVersion": "4.18.0-80.el8"}}});
    double.patch(&node, &old, "kubelet");
    let findings = cluster.check(&plan).await.unwrap();
    let bad: Vec<_> = findings.iter().filter(|it| it.verdict == Grade::Bad).collect();
    let said = |text: &str| bad.iter().any(|it| it.found.contains(text) && it.fix.is_some());
    assert!(said("you may not create clusterroles.rbac.authorization.k8s.io in the whole cluster"));
    assert!(said("admits only `baseline`, Workers need `privileged`"), "{bad:?}");
    assert!(said("n-2 has kernel 4.18.0-80.el8"), "{bad:?}");
    let why = install(&cluster, &plan).await.unwrap_err().to_string();
    assert!(why.contains("does not permit it") && why.contains("kubeshark check"), "{why}");
}

/// Who has the rights that `check` asks for, and no others, can do all of it.
#[tokio::test]
async fn check_asks_for_all_that_is_done() {
    let (double, cluster) = double().await;
    let full = plan(&cluster, &["serviceMonitor.enabled=true", "priorityClass.create=true"]).await;
    let rights = deploy::rights(&full, "kubeshark");
    double.token("t", "somebody", &[]);
    double.require_token();
    double.allow(move |it| {
        let reviews = it.resource.starts_with("selfsubject");
        let has = |namespace: &str| {
            rights.contains(&Right {
                verb: it.verb.to_owned(),
                group: it.group.to_owned(),
                resource: it.resource.to_owned(),
                namespace: namespace.to_owned(),
            })
        };
        reviews || has(it.namespace) || has("")
    });
    let before = names(&double);
    let why = cluster.status().await.unwrap_err();
    assert!(matches!(why, Error::Forbidden { .. }), "{why}");
    let cluster = client(&double, Some("t")).await;
    let findings = cluster.check(&full).await.unwrap();
    assert!(findings.iter().all(|it| it.verdict < Grade::Bad), "{findings:?}");
    install(&cluster, &full).await.unwrap();
    let news = install(&cluster, &plan(&cluster, &[]).await).await.unwrap();
    assert!(news.contains(&News::Removed("ServiceMonitor kubeshark-hub".into())), "{news:?}");
    cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
    cluster.token().await.unwrap();
    cluster.targets(&Targeting::default()).await.unwrap();
    let collected = cluster.logs(Vec::new()).await.unwrap();
    assert!(collected.missing.iter().all(|it| it.starts_with("listing nodes")), "{collected:?}");
    clean(&cluster).await.unwrap();
    assert_eq!(names(&double), before);
}

#[tokio::test]
async fn pods_are_found_by_what_was_asked() {
    let (double, cluster) = double().await;
    for (namespace, name, app, node) in [
        ("shop", "cart-1", "cart", Some("n-1")),
        ("shop", "cart-2", "cart", None),
        ("shop", "pay-1", "pay", Some("n-2")),
        ("test", "cart-1", "cart", Some("n-2")),
    ] {
        let space =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        double.put(space);
        double.put(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Running", "podIP": "10.1.0.1"}}));
    }
    let found = async |targeting: Value| {
        let targeting: Targeting = serde_json::from_value(targeting).unwrap();
        let all = cluster.targets(&targeting).await.unwrap();
        all.iter().map(|it| format!("{}/{}", it.namespace, it.name)).collect::<Vec<_>>()
    };
    assert_eq!(found(json!({})).await, ["shop/cart-1", "shop/pay-1", "test/cart-1"]);
    assert_eq!(found(json!({"pods": "^cart"})).await, ["shop/cart-1", "test/cart-1"]);
    assert_eq!(found(json!({"namespaces": ["shop"]})).await, ["shop/cart-1", "shop/pay-1"]);
    assert_eq!(found(json!({"excludeNamespaces": ["shop"]})).await, ["test/cart-1"]);
    assert_eq!(found(json!({"selector": "app=pay"})).await, ["shop/pay-1"]);
    assert_eq!(found(json!({"nodes": ["n-1"]})).await, ["shop/cart-1"]);
    let wrong = Targeting { pods: "(".into(), ..Targeting::default() };
    let why = cluster.targets(&wrong).await.unwrap_err().to_string();
    assert!(why.contains("`(` is no regular expression"), "{why}");

    let targeting =
        json!({"targeting": {"pods": "^cart", "namespaces": ["shop"], "selector": "app=cart"}});
    let options = Options { over: targeting, ..Options::default() };
    let plan = cluster.plan(&options).await.unwrap();
    install(&cluster, &plan).await.unwrap();
    cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
    let yes = cluster.verdict("shop", "cart-1").await.unwrap();
    assert!(yes.tapped, "{yes:?}");
    let no = cluster.verdict("shop", "pay-1").await.unwrap();
    assert_eq!(no.why, ["its name does not match `^cart`", "its labels do not match `app=cart`"]);
    let no = cluster.verdict("test", "cart-1").await.unwrap();
    assert_eq!(no.why, ["namespace test is none of those tapped (shop)"]);
    assert!(!no.tapped);
    install(&cluster, &cluster.plan(&Options::default()).await.unwrap()).await.unwrap();
    cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
    // Ourselves are never meant.
    assert_eq!(found(json!({})).await, ["shop/cart-1", "shop/pay-1", "test/cart-1"]);
}

#[tokio::test]
async fn logs_are_a_zip_without_secrets() {
    let (_double, cluster) = double().await;
    let why = cluster.logs(Vec::new()).await.unwrap_err();
    assert!(matches!(why, Error::NotInstalled { .. }), "{why}");
    let plan = plan(
        &cluster,
        &[
            "auth.token=s3cret-token",
            "hub.extraEnv[0].name=KEY",
            "hub.extraEnv[0].value=s3cret-value",
        ],
    )
    .await;
    install(&cluster, &plan).await.unwrap();
    cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs.zip");
    let collected = cluster.logs(std::fs::File::create(&path).unwrap()).await.unwrap();
    assert_eq!(collected.missing, Vec::<String>::new());
    // Somebody else's reader.
    let python = std::process::Command::new("python3")
        .args([
            "-c",
            "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
            for n in z.namelist(): print('==', n); print(z.read(n).decode())",
        ])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(python.stdout).unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    for file in &collected.files {
        assert!(text.contains(&format!("== {file}\n")), "{file}");
    }
    assert!(text.contains("kubeshark-hub-") && text.contains("says hello"), "{text}");
    // `s3cret-token` and its base64.
    for secret in ["s3cret-token", "czNjcmV0LXRva2Vu", "s3cret-value"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_said() {
    let (double, cluster) = double().await;
    install(&cluster, &plan(&cluster, &[]).await).await.unwrap();
    double.fail("list", "pods", apiserver_double::Fault::Status(500), 2);
    cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
    let gone = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let gone = Cluster::new(kube::Client::try_from(gone).unwrap(), "kubeshark", "kubeshark");
    let why = gone.status().await.unwrap_err().to_string();
    assert!(why.starts_with("looking for the Hub: ") && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn the_way_to_the_hub_heals() {
    let (double, cluster) = double().await;
    install(&cluster, &plan(&cluster, &[]).await).await.unwrap();
    cluster.wait(PATIENCE, &mut |_| {}).await.unwrap();
    let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
    double.forward_to(Some(hub.local_addr().unwrap()));
    // Says again what it hears.
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = hub.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = connection.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    let mut forward = cluster.forward("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let echo = async |text: Vec<u8>| {
        let mut connection = TcpStream::connect(forward.address()).await?;
        let (mut from, mut to) = connection.split();
        let mut heard = vec![0; text.len()];
        let said = async { to.write_all(&text).await };
        tokio::try_join!(said, from.read_exact(&mut heard))?;
        std::io::Result::Ok(heard == text)
    };
    // More than any buffer on the way.
    let much: Vec<u8> = (0..4_000_000_u32).map(|it| (it % 251) as u8).collect();
    assert!(echo(much).await.unwrap());
    let many = (0..20_u8).map(|it| echo(vec![it; 1000]));
    assert!(futures::future::join_all(many).await.into_iter().all(|it| it.unwrap()));

    // The Hub gets another pod while somebody is connected, and somebody connects before it is there.
    let mut left = TcpStream::connect(forward.address()).await.unwrap();
    left.write_all(b"x").await.unwrap();
    left.read_exact(&mut [0]).await.unwrap();
    let upgrade = plan(&cluster, &["image.tag=2.0"]).await;
    install(&cluster, &upgrade).await.unwrap();
    double.cut();
    assert_eq!(left.read(&mut [0]).await.unwrap_or_default(), 0, "the connection has ended");
    assert!(echo(b"again".to_vec()).await.unwrap());

    // The API server is away for a moment.
    double.away(true);
    let (heard, ()) = tokio::join!(echo(b"later".to_vec()), async {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        double.away(false);
    });
    assert!(heard.unwrap());

    // Nobody listens in the pod: the connection ends at once, and why is told.
    double.forward_to(None);
    let mut refused = TcpStream::connect(forward.address()).await.unwrap();
    assert_eq!(refused.read(&mut [0]).await.unwrap_or_default(), 0);
    // Whether it had closed before is a matter of luck: the latest is what counts.
    let deploy::Way::Closed(why) = forward.changed().await else { panic!("it is not open") };
    assert!(
        why.starts_with("kubeshark-hub-") && why.ends_with("refuses: connection refused"),
        "{why}"
    );
}
