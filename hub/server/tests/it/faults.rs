//! A Hub and its Workers while links are slow, parted and cut, and while either of them restarts. Whatever happens,
//! an answer comes, is right for the nodes that it says answered, and names all others; once it is over, everybody is
//! back.
//!
//! What happens when is drawn from a seed, and a failure names it. `KUBESHARK_FAULTS=SEED` runs that one alone,
//! `KUBESHARK_FAULTS=FROM-TO` those; see CONTRIBUTING.md.

#![allow(clippy::print_stdout, reason = "for whoever runs it with --nocapture")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::{JsonAnswer, NodeState};
use axum::{Router, body::Body};
use futures::StreamExt as _;
use http::{Method, Request};
use link::Heartbeat;
use serde_json::{Value, json};
use server::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

use crate::config;
use crate::fake::{Fake, row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_faults_every_answer_is_right_for_whom_it_says_answered() {
    #[allow(clippy::disallowed_methods, reason = "a switch for whoever runs the tests")]
    let seeds = match std::env::var("KUBESHARK_FAULTS") {
        Err(_) => 0..500,
        Ok(it) => {
            let number = |it: &str| it.parse::<u64>().expect("SEED or FROM-TO");
            let (from, to) = it.split_once('-').unwrap_or((&it, &it));
            number(from)..number(to) + 1
        }
    };
    let begun = Instant::now();
    let worlds = seeds.map(|seed| tokio::spawn(World::run(seed)));
    let seen = futures::stream::iter(worlds).buffer_unordered(TOGETHER);
    let seen =
        seen.map(|it| it.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())));
    let seen = seen.fold(Seen::default(), async |sum, it| sum.and(it)).await;
    println!("{seen:?} in {:.1} s", begun.elapsed().as_secs_f64());
    // Else nothing of it was put to the test.
    assert!(seen.whole > 0 && seen.partial > 0 && seen.cut > 0, "{seen:?}");
}

/// Seeds at a time.
const TOGETHER: usize = 12;
const NODES: usize = 4;
/// How long things go wrong.
const TROUBLE: Duration = Duration::from_millis(900);
/// Far more than any wait of ours: only who waits for ever takes so long.
const FOREVER: Duration = Duration::from_secs(60);
/// As in earnest, but ten times as impatient.
const HEARTBEAT: Heartbeat =
    Heartbeat { every: Duration::from_millis(80), patience: Duration::from_millis(160) };

/// What came of the questions.
#[derive(Debug, Default)]
struct Seen {
    /// Answers of all nodes.
    whole: u64,
    /// Answers that name somebody who is missing.
    partial: u64,
    /// Of those, from somebody who had begun.
    cut: u64,
    /// Questions that the Hub would not answer.
    refused: u64,
}

impl Seen {
    fn and(mut self, other: Self) -> Self {
        self.whole += other.whole;
        self.partial += other.partial;
        self.cut += other.cut;
        self.refused += other.refused;
        self
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// A Hub that may be replaced by another one.
#[derive(Clone)]
struct Hub {
    router: Router,
    registry: Registry,
    number: u64,
}

impl Hub {
    fn new(number: u64) -> Self {
        let mut config = config();
        config.limits.queries_of_one = 64;
        config.limits.queries = 64;
        let (router, registry) = server::router(&config);
        Self { router, registry, number }
    }
}

/// What the way between a node and the Hub is like.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    delay: Duration,
    /// Nothing comes through to the Hub, or to the node.
    up_parted: bool,
    down_parted: bool,
    /// Counts how often it was cut, or the node restarted.
    cuts: u64,
    restarts: u64,
}

/// A node: rows numbered from 1 on, and a way to the Hub.
struct Place {
    name: String,
    fake: Mutex<Arc<Fake>>,
    /// How many it has at least, and at most: it may just be given one.
    rows: AtomicU64,
    most: AtomicU64,
    way: watch::Sender<Way>,
}

struct World {
    seed: u64,
    places: Vec<Place>,
    hub: watch::Sender<Hub>,
    over: AtomicBool,
}

impl World {
    async fn run(seed: u64) -> Seen {
        let mut dice = Dice(seed);
        let places = (0..NODES).map(|i| {
            let name = format!("n{i}");
            let rows = 1 + dice.below(200);
            let fake = Fake::new(&name).rows((1..=rows).map(noted));
            Place {
                fake: Mutex::new(Arc::new(fake)),
                name,
                rows: AtomicU64::new(rows),
                most: AtomicU64::new(rows),
                way: watch::Sender::new(Way::default()),
            }
        });
        let world = Arc::new(Self {
            seed,
            places: places.collect(),
            hub: watch::Sender::new(Hub::new(0)),
            over: AtomicBool::new(false),
        });
        let lives = (0..NODES).map(|i| tokio::spawn(Arc::clone(&world).live(i)));
        let lives: Vec<_> = lives.collect();
        world.is_whole().await;
        let asking = [1, 2].map(|it| {
            let dice = Dice(seed.wrapping_mul(3).wrapping_add(it << 40));
            tokio::spawn(Arc::clone(&world).ask_on(dice))
        });
        world.trouble(dice).await;
        let mut seen = Seen::default();
        for asking in asking {
            let asked = timeout(FOREVER, asking).await;
            let asked = asked.unwrap_or_else(|_| panic!("seed {seed}: a question never ended"));
            seen = seen.and(asked.unwrap_or_else(|it| std::panic::resume_unwind(it.into_panic())));
        }
        world.is_whole().await;
        lives.iter().for_each(|it| it.abort());
        seen
    }

    /// What goes wrong, one thing after the other; in the end, all is well.
    async fn trouble(&self, mut dice: Dice) {
        let begun = Instant::now();
        let mut hubs = 0;
        while begun.elapsed() < TROUBLE {
            sleep(dice.millis(5, 90)).await;
            let place = &self.places[dice.below(NODES as u64) as usize];
            let what = dice.below(24);
            let delay = dice.millis(0, 40);
            match what {
                0..=5 => place.way.send_modify(|it| it.delay = delay),
                6 => place.way.send_modify(|it| it.up_parted = true),
                7 => place.way.send_modify(|it| it.down_parted = true),
                8 => place.way.send_modify(|it| (it.up_parted, it.down_parted) = (true, true)),
                9..=14 => {
                    place.way.send_modify(|it| (it.up_parted, it.down_parted) = (false, false))
                }
                15..=17 => place.way.send_modify(|it| it.cuts += 1),
                18 | 19 => place.way.send_modify(|it| it.restarts += 1),
                20..=22 => {
                    let next = place.rows.load(SeqCst) + 1;
                    place.most.store(next, SeqCst);
                    place.fake.lock().unwrap().append([noted(next)]);
                    place.rows.store(next, SeqCst);
                }
                _ => {
                    hubs += 1;
                    self.hub.send_replace(Hub::new(hubs));
                }
            }
        }
        self.over.store(true, SeqCst);
        for place in &self.places {
            place.way.send_modify(|it| {
                *it = Way { cuts: it.cuts, restarts: it.restarts, ..Way::default() };
            });
        }
    }

    /// A node's life: it goes to the Hub, and again whenever the way there ends.
    async fn live(self: Arc<Self>, i: usize) {
        let place = &self.places[i];
        let mut dice = Dice(self.seed ^ (i as u64 + 1) << 32);
        loop {
            let (hub, way) = (self.hub.borrow().clone(), *place.way.borrow());
            let fake = Arc::clone(&place.fake.lock().unwrap());
            let (hub_end, hub_far) = tokio::io::duplex(64 << 10);
            let (node_end, node_far) = tokio::io::duplex(64 << 10);
            link::serve(Arc::clone(&fake) as _, fake.engine(), node_end, Some(HEARTBEAT)).await;
            hub.registry.attach(link::over(hub_end, Some(HEARTBEAT)));
            let ((hub_read, hub_write), (node_read, node_write)) =
                (tokio::io::split(hub_far), tokio::io::split(node_far));
            let mut hubs = self.hub.subscribe();
            let mut ways = place.way.subscribe();
            let restarted = tokio::select! {
                () = carry(node_read, hub_write, place.way.subscribe(), |it| it.up_parted) => false,
                () = carry(hub_read, node_write, place.way.subscribe(), |it| it.down_parted) => false,
                _ = hubs.wait_for(|it| it.number != hub.number) => false,
                it = ways.wait_for(|it| it.cuts != way.cuts || it.restarts != way.restarts) =>
                    it.is_ok_and(|it| it.restarts != way.restarts),
            };
            if restarted {
                let again = Arc::new(fake.restarted());
                *place.fake.lock().unwrap() = again;
            }
            sleep(dice.millis(1, 30)).await;
        }
    }

    /// Asks until it is over.
    async fn ask_on(self: Arc<Self>, mut dice: Dice) -> Seen {
        let mut seen = Seen::default();
        while !self.over.load(SeqCst) {
            let question = &QUESTIONS[dice.below(QUESTIONS.len() as u64) as usize];
            let deadline = dice.millis(100, 700);
            match self.ask(question, deadline).await {
                None => seen.refused += 1,
                Some(answer) if answer.accounting.complete => seen.whole += 1,
                Some(answer) => {
                    seen.partial += 1;
                    let mut nodes = answer.accounting.nodes.iter();
                    seen.cut += u64::from(nodes.any(|it| it.state == NodeState::Failed));
                }
            }
            sleep(dice.millis(0, 30)).await;
        }
        seen
    }

    /// Asks once, and compares the answer with what the nodes have that it says answered. `None` if the Hub
    /// refuses, and says why.
    async fn ask(&self, question: &Question, deadline: Duration) -> Option<JsonAnswer> {
        let hub = self.hub.borrow().clone();
        let told =
            |it: &str| format!("seed {}, hub {}, {}: {it}", self.seed, hub.number, question.sql);
        let workers = hub.registry.workers();
        let known: BTreeSet<String> = workers.workers.into_iter().map(|it| it.node).collect();
        let before: Vec<u64> = self.places.iter().map(|it| it.rows.load(SeqCst)).collect();
        let body = json!({ "sql": question.sql, "deadline_ms": deadline.as_millis() as u64 });
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/query")
            .header("host", "127.0.0.1:8899")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let begun = Instant::now();
        let asked = async {
            let response = hub.router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            (status, axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap())
        };
        let asked = timeout(FOREVER, asked).await;
        let (status, body) = asked.unwrap_or_else(|_| panic!("{}", told("no answer, ever")));
        // Much more than it may take, for many are asked at a time and the machine is small.
        let late = begun.elapsed().saturating_sub(deadline);
        assert!(late < Duration::from_secs(20), "{}", told(&format!("{late:?} too late")));
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(!status.is_client_error() && text.contains("message"), "{}", told(&text));
            return None;
        }
        let answer: JsonAnswer = serde_json::from_slice(&body).unwrap();
        let after: Vec<u64> = self.places.iter().map(|it| it.most.load(SeqCst)).collect();
        let wrong = |it: &str| {
            let nodes: Vec<_> =
                answer.accounting.nodes.iter().map(|it| (&it.node, it.state)).collect();
            let rows: Vec<_> =
                answer.rows.iter().take(20).map(|it| Value::from(it.clone())).collect();
            told(&format!("{it}: {nodes:?} of {before:?} to {after:?}: {rows:?}"))
        };
        let accounting = &answer.accounting;
        let named: BTreeSet<String> = accounting.nodes.iter().map(|it| it.node.clone()).collect();
        assert!(known.is_subset(&named), "{}", wrong("somebody is not named"));
        let answered = |it: &str| {
            accounting.nodes.iter().any(|node| node.node == it && node.state == NodeState::Answered)
        };
        let all = accounting.nodes.iter().all(|it| it.state == NodeState::Answered);
        assert_eq!(accounting.complete, all, "{}", wrong("complete or not"));
        assert!(!accounting.truncated, "{}", wrong("truncated"));
        if answer.error.is_some() {
            // Its rows broke off after some had been sent, and that is said.
            assert!(!accounting.complete, "{}", wrong("broken off and whole"));
            return Some(answer);
        }
        // What each node may have had when it was asked.
        let had = self.places.iter().zip(before.iter().zip(&after));
        let had = had.map(|(place, (before, after))| match answered(&place.name) {
            true => (place.name.as_str(), *before..=*after),
            false => (place.name.as_str(), 0..=0),
        });
        if let Err(it) = (question.check)(&answer, &had.collect()) {
            panic!("{}", wrong(&it));
        }
        Some(answer)
    }

    /// With nothing in the way, everybody comes and the answers are whole.
    async fn is_whole(&self) {
        let begun = Instant::now();
        loop {
            let answer = self.ask(&QUESTIONS[0], Duration::from_secs(10)).await;
            let whole = answer
                .as_ref()
                .is_some_and(|it| it.accounting.complete && it.accounting.nodes.len() == NODES);
            if whole {
                break;
            }
            let waited = begun.elapsed();
            assert!(waited < FOREVER, "seed {}: not whole: {answer:?}", self.seed);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The row of that number.
fn noted(seq: u64) -> crate::fake::Row {
    let status = if seq.is_multiple_of(3) { 500 } else { 200 };
    row(seq).status(status).body(&format!("the body of row {seq} ").repeat(40))
}

/// Carries bytes from one end to the other, as slowly as the way is, until one of them ends.
async fn carry(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    mut way: watch::Receiver<Way>,
    parted: impl Fn(&Way) -> bool,
) {
    let mut piece = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut piece).await else { return };
        let delay = way.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if way.wait_for(|it| !parted(it)).await.is_err()
            || to.write_all(&piece[..read]).await.is_err()
        {
            return;
        }
    }
}

/// How many rows each node may have had.
type Had<'a> = BTreeMap<&'a str, std::ops::RangeInclusive<u64>>;

struct Question {
    sql: &'static str,
    check: fn(&JsonAnswer, &Had<'_>) -> Result<(), String>,
}

/// Aggregates in two stages and in one, first rows whole and in part, all rows, a join.
const QUESTIONS: [Question; 6] = [
    Question {
        sql: "select node, count(*) as n, sum(seq) as total from notes group by node",
        check: |answer, had| {
            let mut left = had.clone();
            for row in &answer.rows {
                let (node, n) = (text(row, "node"), number(row, "n"));
                let may = left.remove(node).ok_or("a node twice")?;
                if !may.contains(&n) || number(row, "total") != n * (n + 1) / 2 {
                    return Err(format!("{node} has not {n} rows"));
                }
            }
            let silent = left.values().all(|it| *it.start() == 0);
            silent.then_some(()).ok_or_else(|| "a node's rows are lacking".to_owned())
        },
    },
    Question {
        sql: "select count(*) as n, max(octet_length(body)) as longest from notes",
        check: |answer, had| {
            let n = answer.rows.first().map(|it| number(it, "n")).ok_or("no row")?;
            let least = had.values().map(|it| it.start()).sum::<u64>();
            let most = had.values().map(|it| it.end()).sum::<u64>();
            (least..=most)
                .contains(&n)
                .then_some(())
                .ok_or_else(|| format!("{n} of {least} to {most}"))
        },
    },
    Question {
        sql: "select node, seq from notes order by seq desc, node limit 7",
        check: |answer, had| first(answer, had, 7, |_| true),
    },
    Question {
        sql: "select * from notes where status >= 500 order by seq desc, node limit 5",
        check: |answer, had| first(answer, had, 5, |it| it % 3 == 0),
    },
    Question {
        sql: "select node, seq from notes",
        check: |answer, had| {
            let rows: Vec<_> =
                answer.rows.iter().map(|it| (text(it, "node"), number(it, "seq"))).collect();
            let once: BTreeSet<_> = rows.iter().copied().collect();
            if once.len() < rows.len() {
                return Err("a row twice".to_owned());
            }
            for (node, may) in had {
                let has = rows.iter().filter(|it| it.0 == *node).count() as u64;
                let last = rows.iter().filter(|it| it.0 == *node).map(|it| it.1).max();
                if !may.contains(&has) || last.unwrap_or_default() != has {
                    return Err(format!("{has} rows of {node}"));
                }
            }
            Ok(())
        },
    },
    Question {
        sql: "select a.node, count(*) as n from notes a join notes b on a.node = b.node and a.seq = b.seq group by a.node",
        check: |answer, had| {
            let rows = answer.rows.iter().map(|it| (text(it, "node"), number(it, "n")));
            let rows: BTreeMap<_, _> = rows.collect();
            let right = |(node, may): (&&str, &std::ops::RangeInclusive<u64>)| {
                may.contains(&rows.get(node).copied().unwrap_or_default())
            };
            had.iter().all(right).then_some(()).ok_or_else(|| "a join that lacks rows".to_owned())
        },
    },
];

/// The first rows by number, of nodes whose rows are known exactly.
fn first(
    answer: &JsonAnswer,
    had: &Had<'_>,
    limit: usize,
    wanted: fn(u64) -> bool,
) -> Result<(), String> {
    if had.values().any(|it| it.start() != it.end()) {
        return Ok(());
    }
    let all = had.iter().flat_map(|(node, had)| {
        (1..=*had.end()).filter(|it| wanted(*it)).map(|it| (std::cmp::Reverse(it), *node))
    });
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.truncate(limit);
    let rows =
        answer.rows.iter().map(|it| (std::cmp::Reverse(number(it, "seq")), text(it, "node")));
    let rows: Vec<_> = rows.collect();
    (rows == all).then_some(()).ok_or_else(|| format!("the first are {all:?}"))
}

fn number(row: &serde_json::Map<String, Value>, column: &str) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(row: &'a serde_json::Map<String, Value>, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}
