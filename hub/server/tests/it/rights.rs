//! Who may not see everything learns nothing of the rest: random rights, random questions.
//!
//! Every word in the rows carries whose it is. A question is asked of a Hub with three Workers by a user who may see some
//! namespaces, and of another Hub whose one Worker has nothing but what she may see, by its owner. The answers
//! must be the same, and no byte of the first may carry a word that she may not read.

use crate::{
    Hub, Reply, config,
    data::{Dice, Nodes, Rights, forbidden_word},
};
use api::{Accounting, Dissections, Health, NodeState, Workers};
use apiserver_double::{Asked, Double, Fault};
use arrow_array::RecordBatch;
use arrow_ipc::reader::{StreamDecoder, StreamReader};
use cluster::{Access, Cluster};
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use server::Config;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest as _};

/// Users and what they may see, as the API server's rules have it.
type Rules = Arc<Mutex<HashMap<String, Rights>>>;

/// A Hub whose users a double of an API server knows.
struct World {
    hub: Hub,
    double: Double,
    rules: Rules,
}

const OWNER: &str = "the hub's own token";

impl World {
    async fn new(nodes: &Nodes) -> Self {
        Self::of(nodes, true, config()).await
    }

    /// The same, with a pod in each namespace or in none.
    async fn of(nodes: &Nodes, pods: bool, config: Config) -> Self {
        let double = Double::start().await.unwrap();
        for it in crate::data::NAMESPACES {
            let named = json!({"name": it});
            double.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": named}));
            if !pods {
                continue;
            }
            double.put(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("pod-{it}"), "namespace": it},
                "spec": {"containers": [{"name": "main", "image": "x"}]},
                "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}}));
        }
        let rules = Rules::default();
        let known = Arc::clone(&rules);
        double.allow(move |asked| {
            known.lock().unwrap().get(asked.user).is_none_or(|it| allows(it, asked))
        });
        let client = kube::Config::new(double.url().parse().unwrap());
        let client = kube::Client::try_from(client).unwrap();
        let cluster = Cluster::watch_for(&client, Duration::from_secs(60), None);
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        let seen = if pods { crate::data::NAMESPACES.len() } else { 0 };
        while !cluster.state().ready || cluster.namespaces().len() < seen {
            assert!(tokio::time::Instant::now() < until, "the pods are not seen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let access = Some(Access::new(&client));
        let (cluster, token) = (Some(cluster), Some(OWNER.to_owned()));
        let hub = Hub::start(&Config { cluster, access, token, ..config }, nodes.fakes()).await;
        Self { hub, double, rules }
    }

    /// A user with these rights; her token is her name.
    fn user(&self, name: &str, rights: &Rights) {
        self.rules.lock().unwrap().insert(name.to_owned(), rights.clone());
        self.double.token(name, name, &["system:authenticated"]);
    }

    async fn ask(&self, token: &str, question: &Value) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        self.hub.send(Method::POST, "/api/query", &headers, Some(question.clone())).await
    }

    async fn get(&self, token: &str, path: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        self.hub.send(Method::GET, path, &[("authorization", bearer.as_str())], None).await
    }
}

impl World {
    /// How often it was asked whose a token is.
    fn asked(&self) -> usize {
        self.double.requests().iter().filter(|it| it.resource == "tokenreviews").count()
    }

    async fn until_asked(&self, times: usize) {
        let asked = async {
            while self.asked() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, asked).await.is_ok(), "{} of {times}", self.asked());
    }

    /// Where the Hub listens.
    async fn listen(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.hub.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

/// An open live tail.
struct Watched(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Watched {
    /// Opens it; else the status it was refused with.
    async fn open(address: std::net::SocketAddr, user: &str) -> Result<Self, StatusCode> {
        let mut upgrade = format!("ws://{address}/api/tail").into_client_request().unwrap();
        upgrade.headers_mut().insert("authorization", format!("Bearer {user}").parse().unwrap());
        match tokio_tungstenite::connect_async(upgrade).await {
            Ok((mut socket, _)) => {
                socket.send(tungstenite::Message::text("{}")).await.unwrap();
                Ok(Self(socket))
            }
            Err(tungstenite::Error::Http(answer)) => Err(answer.status()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next of what it says once a second; or why it ended.
    async fn rate(&mut self) -> Result<(), String> {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("it says nothing");
            let Some(Ok(message)) = message else { return Err("closed".to_owned()) };
            if let tungstenite::Message::Text(text) = message {
                let status: Value = serde_json::from_str(&text).unwrap();
                match status["type"].as_str().unwrap() {
                    "rate" => return Ok(()),
                    "error" => return Err(status.to_string()),
                    _ => {}
                }
            }
        }
    }

    /// Why it ends.
    async fn end(mut self) -> String {
        let end = async {
            loop {
                if let Err(why) = self.rate().await {
                    return why;
                }
            }
        };
        timeout(PATIENCE, end).await.expect("it goes on")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_come_with_one_new_token_are_one_question() {
    let nodes = Nodes::new();
    let world = World::new(&nodes).await;
    world.user("ann", &Rights::of("alpha", true, true, true));
    let all = futures::future::join_all((0..40).map(|_| world.get("ann", "/api/health"))).await;
    assert!(all.iter().all(|it| it.status == StatusCode::OK));
    assert_eq!(world.asked(), 1);
    // An error is everybody's as well, and asked about again by who comes later.
    world.double.fail("create", "tokenreviews", Fault::Status(500), 1);
    let ben = world.get("ben", "/api/health").await;
    assert_eq!(ben.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get("ben", "/api/health").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tries_tokens_out_keeps_no_known_user_waiting() {
    let nodes = Nodes::new();
    let hold = Duration::from_millis(200);
    let world = World::of(&nodes, true, Config { answers_hold: hold, ..config() }).await;
    world.user("ann", &Rights::of("alpha", true, true, true));
    assert_eq!(world.get("ann", "/api/health").await.status, StatusCode::OK);
    world.double.fail("create", "tokenreviews", Fault::Stall, 8);
    let address = world.listen().await;
    let strangers: Vec<_> = (0..20)
        .map(|n| {
            tokio::spawn(async move { Watched::open(address, &format!("no-{n}")).await.err() })
        })
        .collect();
    // As many as are asked about at a time hang.
    world.until_asked(9).await;
    tokio::time::sleep(hold).await;
    assert_eq!(world.get("ann", "/api/health").await.status, StatusCode::OK);
    assert_eq!(world.asked(), 10, "she was asked about anew");
    assert!(strangers.iter().all(|it| !it.is_finished()), "they wait, and she does not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_outlives_a_hiccup_of_the_api_server_but_not_what_was_taken_away() {
    let nodes = Nodes::new();
    let hold = Duration::from_secs(2);
    let world = World::of(&nodes, true, Config { answers_hold: hold, ..config() }).await;
    let address = world.listen().await;
    let alpha = Rights::of("alpha", true, true, true);
    world.user("ann", &alpha);
    world.user("ben", &alpha);
    let mut tail = Watched::open(address, "ann").await.unwrap();
    tail.rate().await.unwrap();
    let asked = world.asked();
    world.double.fail("create", "tokenreviews", Fault::Status(500), 3);
    world.until_asked(asked + 4).await;
    for _ in 0..2 {
        tail.rate().await.unwrap();
    }
    world.rules.lock().unwrap().insert("ann".to_owned(), Rights::of("alpha", true, false, false));
    let why = tail.end().await;
    assert!(why.contains("what you may see has changed"), "{why}");

    // There is an end to going on without an answer.
    let mut tail = Watched::open(address, "ben").await.unwrap();
    tail.rate().await.unwrap();
    world.double.away(true);
    let away = std::time::Instant::now();
    let why = tail.end().await;
    assert!(why.contains("whose this token is"), "{why}");
    assert!(away.elapsed() < hold * 3 / 2 + Duration::from_secs(10), "{:?}", away.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_so_many_tails_and_leaves_the_others_theirs() {
    let nodes = Nodes::new();
    let mut config = config();
    config.limits.tails_of_one = 1;
    let world = World::of(&nodes, true, config).await;
    let address = world.listen().await;
    world.user("ann", &Rights::of("alpha", true, true, true));
    world.user("ben", &Rights::of("alpha", true, true, true));
    let mut first = Watched::open(address, "ann").await.unwrap();
    first.rate().await.unwrap();
    let second = Watched::open(address, "ann").await;
    assert_eq!(second.err(), Some(StatusCode::TOO_MANY_REQUESTS));
    Watched::open(address, "ben").await.unwrap().rate().await.unwrap();
    drop(first);
    let again = async {
        while Watched::open(address, "ann").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, again).await.is_ok(), "her place was not given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_namespace_that_has_nothing_in_it_any_more_are_seen_by_who_may() {
    let nodes = Nodes::new();
    let world = World::of(&nodes, false, config()).await;
    let alpha = Rights::of("alpha", true, true, true);
    world.user("ann", &alpha);
    let question = json!({"sql": "select count(*) as n from http", "format": "ndjson"});
    let reply = world.ask("ann", &question).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.json::<Value>()["n"].as_u64().unwrap() as usize, nodes.http(&alpha));
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Whether rules with these rights allow it.
fn allows(rights: &Rights, asked: &Asked<'_>) -> bool {
    if asked.group != "kubeshark.io" || asked.verb != "get" {
        return false;
    }
    let namespace = Some(asked.namespace).filter(|it| !it.is_empty());
    let grant = match namespace {
        None => rights.everywhere,
        Some(it) => rights.grant(Some(it)),
    };
    match asked.resource {
        "traffic" => grant.rows,
        "traffic/payload" => grant.payload,
        "traffic/packets" => grant.packets,
        _ => false,
    }
}

/// The rows of an Arrow stream, in no order, or in theirs; nothing if the question failed, before its first row or after.
fn rows(reply: &Reply, ordered: bool) -> Option<Vec<String>> {
    if reply.status != StatusCode::OK {
        return None;
    }
    let reader = StreamReader::try_new(&*reply.body, None).ok()?;
    let options = arrow_cast::display::FormatOptions::new().with_null("∅");
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.ok()?;
        let columns = batch.columns().iter();
        let columns: Vec<_> = columns
            .map(|it| arrow_cast::display::ArrayFormatter::try_new(it.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|it| it.value(row).to_string());
            rows.push(cells.collect::<Vec<_>>().join(" | "));
        }
    }
    if !ordered {
        rows.sort();
    }
    Some(rows)
}

/// A case of its own: it can be run again by its number.
async fn case(world: &World, oracle: &Hub, user: &str, rights: &Rights, seed: u64, nodes: &Nodes) {
    let mut dice = Dice::new(seed);
    let question = crate::questions::any(&mut dice, nodes);
    let asked = question.json();
    let told = |what: &str| {
        format!(
            "{what}\n  question: {asked}\n  rights: {rights:?}\n  again: RIGHTS_SEED={} RIGHTS_CASE={} \
             cargo test --release -p server --test it rights_and_questions",
            base_seed(),
            seed - base_seed(),
        )
    };
    let none = |reply: &Reply| {
        if let Some(word) = forbidden_word(&reply.body, rights, &question.text) {
            let body = String::from_utf8_lossy(&reply.body).into_owned();
            panic!("{}\n{body}", told(&format!("a word that she may not read: {word}")));
        }
    };
    let hers = world.ask(user, &asked).await;
    if *rights == Rights::default() {
        assert_eq!(hers.status, StatusCode::FORBIDDEN, "{}", told("she may see nothing"));
        return;
    }
    none(&hers);
    let all = rights.everywhere == Rights::all().everywhere;
    if !question.is_plan {
        let whole = oracle.post(asked.clone()).await;
        let both = || format!("\n  hers: {}\n  whole: {}", brief(&hers), brief(&whole));
        let same = match question.is_packets {
            true => hers.status == whole.status && hers.body == whole.body,
            false => rows(&hers, question.ordered) == rows(&whole, question.ordered),
        };
        assert!(same, "{}{}", told("not the same answer"), both());
    } else if !all {
        let text = rows(&hers, true).unwrap_or_default().join("\n");
        for counted in ["bytes_scanned", ", segments=", ", batches=", "row_groups", "pushdown_rows"]
        {
            assert!(!text.contains(counted), "{}\n{text}", told(counted));
        }
        let most = nodes.visible(rights);
        for part in text.split("output_rows=").skip(1) {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            assert!(digits.parse::<usize>().unwrap() <= most, "{}\n{text}", told("too many rows"));
        }
    }
    // What it cost tells no more than it gave; who may see everything is told all of it.
    if let Some(id) = hers.headers.get(api::header::QUERY_ID).filter(|_| !all) {
        let cost = world.get(user, &api::route::accounting(id.to_str().unwrap())).await;
        let cost: Accounting = cost.json();
        let tells = cost.bytes_scanned > 0 || cost.oldest_ms.is_some() || !cost.losses.is_empty();
        let segments: u64 = cost.nodes.iter().map(|it| it.segments).sum();
        assert!(!tells && segments == 0, "{}\n{cost:?}", told("the cost tells of others"));
        let most = nodes.visible(rights) as u64 * question.scans;
        assert!(cost.rows_scanned <= most, "{}\n{cost:?}", told("rows of others are counted"));
    }
    // In another form, which is made of the same rows.
    if !question.is_packets && dice.one_of(4) {
        let mut other = asked.clone();
        other["format"] = dice.pick(&["json", "ndjson", "csv", "parquet"]).into();
        none(&world.ask(user, &other).await);
    }
}

fn brief(reply: &Reply) -> String {
    if reply.status != StatusCode::OK {
        return String::from_utf8_lossy(&reply.body).into_owned();
    }
    match rows(reply, true) {
        Some(rows) => rows.into_iter().take(40).collect::<Vec<_>>().join("\n    "),
        None => format!("{} bytes", reply.body.len()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a failure is run again by its number")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap())
}

fn base_seed() -> u64 {
    number("RIGHTS_SEED").unwrap_or(20_261_201)
}

/// Questions by each user.
const EACH: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_and_questions_at_random() {
    let nodes = Nodes::new();
    let world = World::new(&nodes).await;
    let cases = match number("RIGHTS_CASE") {
        Some(it) => it..it + 1,
        None => 0..number("RIGHTS_CASES").unwrap_or(500),
    };
    let mut before: Option<(u64, Rights, Hub)> = None;
    for i in cases {
        let group = i / EACH;
        let same = before.take().filter(|it| it.0 == group);
        let (_, rights, oracle) = match same {
            Some(it) => it,
            None => {
                let mut dice = Dice::new(base_seed() ^ (group + 1).wrapping_mul(0x9e37_79b9));
                let rights = Rights::any(&mut dice);
                let user = format!("user-{group}");
                world.user(&user, &rights);
                let oracle = Hub::with([nodes.only(&rights)]).await;
                tail(&world, &user, &rights, &nodes).await;
                (group, rights, oracle)
            }
        };
        let user = format!("user-{group}");
        case(&world, &oracle, &user, &rights, base_seed() + i, &nodes).await;
        before = Some((group, rights, oracle));
    }
}

/// Rows as they come: those that she may see, and no others.
async fn tail(world: &World, user: &str, rights: &Rights, nodes: &Nodes) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world.hub.router.clone();
    let served = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut upgrade = format!("ws://{address}/api/tail").into_client_request().unwrap();
    upgrade.headers_mut().insert("authorization", format!("Bearer {user}").parse().unwrap());
    let opened = tokio_tungstenite::connect_async(upgrade).await;
    if *rights == Rights::default() {
        assert!(opened.is_err(), "she may see nothing");
        return;
    }
    let (mut socket, _) = opened.unwrap();
    socket.send(tungstenite::Message::text("{}")).await.unwrap();
    let mut decoder = StreamDecoder::new();
    let mut batches: Vec<RecordBatch> = Vec::new();
    let expected = nodes.traffic(rights);
    let mut got = 0;
    let mut published = false;
    while got < expected || !published {
        let message = timeout(Duration::from_secs(20), socket.next()).await;
        let message = message.unwrap_or_else(|_| panic!("{got} of {expected} rows: {rights:?}"));
        match message.unwrap().unwrap() {
            tungstenite::Message::Binary(bytes) => {
                let word = forbidden_word(&bytes, rights, "");
                assert_eq!(word, None, "a word that she may not read: {rights:?}");
                let mut buffer = bytes.to_vec().into();
                while let Some(batch) = decoder.decode(&mut buffer).unwrap() {
                    got += batch.num_rows();
                    batches.push(batch);
                }
            }
            tungstenite::Message::Text(text) => {
                let status: Value = serde_json::from_str(&text).unwrap();
                assert_ne!(status["type"], "error", "{status}");
                // Once it says how many, the Workers have been asked for a second.
                if status["type"] == "rate" && !published {
                    nodes.publish();
                    published = true;
                }
            }
            _ => {}
        }
    }
    assert_eq!(got, expected, "{rights:?}");
    served.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_cluster_does_not_know_is_turned_away_and_whom_it_knows_sees_what_she_may() {
    let nodes = Nodes::new();
    let world = World::new(&nodes).await;
    let all = json!({"sql": "select count(*) as n from http", "format": "ndjson"});
    let count = async |token: &str| {
        let reply = world.ask(token, &all).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.json::<Value>()["n"].as_u64().unwrap() as usize
    };
    assert_eq!(world.ask("nobody's", &all).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(count(OWNER).await, nodes.http(&Rights::all()));

    let alpha = Rights::of("alpha", true, true, true);
    world.user("ann", &alpha);
    assert_eq!(count("ann").await, nodes.http(&alpha));
    assert!(nodes.http(&alpha) < nodes.http(&Rights::all()));
    // A second one's token gives what is hers.
    let bravo = Rights::of("bravo", true, false, false);
    world.user("ben", &bravo);
    assert_eq!(count("ben").await, nodes.http(&bravo));

    // Of the cluster's own tables, what is of her namespaces.
    let pods = json!({"sql": "select namespace, name from pods", "format": "ndjson"});
    let pods = world.ask("ann", &pods).await;
    assert_eq!(pods.text(), "{\"namespace\":\"alpha\",\"name\":\"pod-alpha\"}\n");
    // What is about everybody is not hers.
    let losses = json!({"sql": "select count(*) as n from losses", "format": "ndjson"});
    assert_eq!(world.ask("ann", &losses).await.json::<Value>()["n"], 0);
    assert!(world.ask(OWNER, &losses).await.json::<Value>()["n"].as_u64().unwrap() > 0);
    for path in ["/metrics", "/api/dissection"] {
        assert_eq!(world.get("ann", path).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(world.get(OWNER, path).await.status, StatusCode::OK, "{path}");
    }
    let workers: Workers = world.get("ann", "/api/workers").await.json();
    assert!(workers.workers.iter().all(|it| it.health.packets == 0 && it.link_sent_bytes == 0));
    let health: Health = world.get("ann", "/api/health").await.json();
    assert!(health.workers_connected == 3 && health.cluster.is_none());
    let bearer = [("authorization", "Bearer ann")];
    let change = json!({"mode": "off"});
    let changed = world.hub.send(Method::PUT, "/api/dissection", &bearer, Some(change)).await;
    assert_eq!(changed.status, StatusCode::FORBIDDEN);
    let now: Dissections = world.get(OWNER, "/api/dissection").await.json();
    assert_eq!(now.nodes.len(), 3);
    // Nor is she a Worker.
    let upgrade = [
        ("authorization", "Bearer ann"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let linked = world.hub.send(Method::GET, "/worker", &upgrade, None).await;
    assert_ne!(linked.status, StatusCode::SWITCHING_PROTOCOLS);

    // Nobody is told of another's queries.
    let reply = world.ask("ann", &all).await;
    let id = reply.headers[api::header::QUERY_ID].to_str().unwrap();
    let path = api::route::accounting(id);
    assert_eq!(world.get("ann", &path).await.status, StatusCode::OK);
    assert_eq!(world.get("ben", &path).await.status, StatusCode::NOT_FOUND);
    let cost: Accounting = world.get(OWNER, &path).await.json();
    assert!(cost.nodes.iter().all(|it| it.state == NodeState::Answered));

    // Who is known and may see nothing is told so, and what would help.
    world.user("eve", &Rights::default());
    let nothing = world.ask("eve", &all).await;
    assert_eq!(nothing.status, StatusCode::FORBIDDEN);
    assert!(nothing.text().contains("eve may see no namespace's traffic"), "{}", nothing.text());
    assert!(nothing.text().contains("kubeshark.io"), "{}", nothing.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_is_away_nobody_new_is_let_in() {
    let nodes = Nodes::new();
    let world = World::new(&nodes).await;
    let all = json!({"sql": "select count(*) as n from http", "format": "ndjson"});
    let alpha = Rights::of("alpha", true, true, true);
    world.user("ann", &alpha);
    world.user("ben", &alpha);
    assert_eq!(world.ask("ann", &all).await.status, StatusCode::OK);
    let asked = world.double.requests().len();
    world.double.away(true);
    // What was said of her lately holds.
    assert_eq!(world.ask("ann", &all).await.status, StatusCode::OK);
    let unknown = world.ask("ben", &all).await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE, "{}", unknown.text());
    assert!(unknown.text().contains("whose this token is"), "{}", unknown.text());
    assert_eq!(world.ask(OWNER, &all).await.status, StatusCode::OK);
    world.double.away(false);
    assert_eq!(world.ask("ben", &all).await.status, StatusCode::OK);
    let reviews = |it: &&apiserver_double::Request| it.resource == "tokenreviews";
    let requests = world.double.requests();
    assert!(
        requests.iter().skip(asked).filter(reviews).count() <= 2,
        "ann was not asked about again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_keeps_a_token_of_the_cluster() {
    let nodes = Nodes::new();
    let world = World::new(&nodes).await;
    world.user("ann-s.token_1", &Rights::of("alpha", true, false, false));
    let visit = world.hub.get("/?token=ann-s.token_1").await;
    assert_eq!(visit.status, StatusCode::SEE_OTHER);
    let cookie = visit.headers["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let reply = world.hub.send(Method::GET, "/api/health", &[("cookie", cookie)], None).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_ne!(world.hub.get("/?token=nobody").await.status, StatusCode::SEE_OTHER);
}
