use super::*;
use crate::{Endpoint, Node, Pod, Service, Workload};
use proptest::prelude::*;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn held(last: u8, from: i64, to: Option<i64>) -> Held {
    Held { ip: ip(last), from, sure: from, to }
}

fn pod(uid: &str, at: i64, held: Vec<Held>) -> Pod {
    let workload = Workload { kind: "Deployment".to_owned(), name: format!("{uid}-all") };
    let _ = at;
    Pod {
        uid: uid.to_owned(),
        name: uid.to_owned(),
        namespace: "shop".to_owned(),
        node: Some("n1".to_owned()),
        workload: Some(workload),
        host_network: false,
        left_out: false,
        ports: vec![80],
        held,
    }
}

fn fact(uid: &str, at: i64, held: Vec<Held>) -> Fact {
    Fact { at, of: Of::Pod(pod(uid, at, held)) }
}

fn host(uid: &str, ports: &[u16], held: Held) -> Fact {
    let pod = Pod { host_network: true, ports: ports.to_vec(), ..pod(uid, 1, vec![held]) };
    Fact { at: 1, of: Of::Pod(pod) }
}

fn node(name: &str, held: Held) -> Fact {
    let node = Node { uid: name.to_owned(), name: name.to_owned(), held: vec![held] };
    Fact { at: 1, of: Of::Node(node) }
}

fn service(name: &str, held: Vec<Held>) -> Service {
    Service {
        uid: name.to_owned(),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        ports: vec![80],
        node_ports: Vec::new(),
        from: 0,
        to: None,
        held,
        outside: Vec::new(),
    }
}

fn endpoint(service: &str, pod: &str, held: Held) -> Fact {
    let slice = format!("{service}-1");
    let (service, namespace, pod) = (service.to_owned(), "shop".to_owned(), Some(pod.to_owned()));
    let ports = vec![8080];
    Fact { at: 1, of: Of::Endpoint(Endpoint { slice, service, namespace, ports, pod, held }) }
}

fn index(facts: impl IntoIterator<Item = Fact>) -> Index {
    let mut index = Index::default();
    facts.into_iter().for_each(|it| index.apply(it));
    index
}

fn who(index: &Index, last: u8, port: u16, ts: i64) -> Who {
    let answer = index.who(ip(last), port, ts);
    assert!(answer.from <= ts && ts < answer.until, "{answer:?} is about {ts}");
    answer.who.map(|it| (*it).clone()).unwrap_or_default()
}

fn name(index: &Index, last: u8, ts: i64) -> Option<String> {
    who(index, last, 1, ts).pod.map(|it| it.to_string())
}

#[test]
fn an_address_is_given_again() {
    let index = index([
        fact("old", 1, vec![held(1, 10, Some(20))]),
        fact("new", 2, vec![held(1, 30, None)]),
    ]);
    let names = [9, 10, 19, 20, 29, 30, 99].map(|ts| name(&index, 1, ts));
    let names = names.each_ref().map(Option::as_deref);
    let (old, new) = (Some("old"), Some("new"));
    assert_eq!(names, [None, old, old, None, None, new, new]);
    let found = who(&index, 1, 80, 35);
    assert_eq!(found.namespace.as_deref(), Some("shop"));
    assert_eq!(found.workload.as_deref(), Some("new-all"));
    assert_eq!(found.node.as_deref(), Some("n1"));
}

#[test]
fn whoever_certainly_has_it_has_taken_it() {
    // That the old one is gone was never told, or is told later.
    let taken = Held { sure: 40, ..held(1, 30, None) };
    let index = index([fact("old", 1, vec![held(1, 10, None)]), fact("new", 2, vec![taken])]);
    let names = [29, 30, 39, 40].map(|ts| name(&index, 1, ts));
    let names = names.each_ref().map(Option::as_deref);
    assert_eq!(names, [Some("old"), None, None, Some("new")]);
}

#[test]
fn the_latest_fact_holds_in_whatever_order_they_come() {
    let (early, late) =
        (fact("a", 1, vec![held(1, 10, None)]), fact("a", 2, vec![held(1, 10, Some(20))]));
    for facts in [[early.clone(), late.clone()], [late, early]] {
        let index = index(facts);
        assert_eq!(name(&index, 1, 15).as_deref(), Some("a"));
        assert_eq!(name(&index, 1, 25), None);
    }
}

#[test]
fn an_address_of_a_node_is_a_pods_only_where_one_declares_the_port() {
    let shared = held(9, 10, None);
    let index = index([
        node("n1", shared),
        host("proxy", &[53, 10256], shared),
        host("agent", &[53, 9100], shared),
        endpoint("agents", "agent", shared),
    ]);
    let found = |port| {
        let it = who(&index, 9, port, 20);
        (it.pod.map(|it| it.to_string()), it.node.map(|it| it.to_string()))
    };
    let n1 = Some("n1".to_owned());
    assert_eq!(found(10256), (Some("proxy".to_owned()), n1.clone()));
    assert_eq!(found(9100), (Some("agent".to_owned()), n1.clone()));
    assert_eq!(found(53), (None, n1.clone()), "two of them");
    assert_eq!(found(40_000), (None, n1));
    assert_eq!(who(&index, 9, 10256, 9), Who::default(), "before the node was there");
}

#[test]
fn services_are_found_by_their_addresses_and_by_what_is_behind_them() {
    let cart = Service {
        node_ports: vec![30_080],
        outside: vec![held(200, 0, None)],
        ..service("cart", vec![held(100, 5, Some(50))])
    };
    let index = index([
        Fact { at: 1, of: Of::Service(cart) },
        node("n1", held(9, 0, None)),
        fact("cart-0", 1, vec![held(1, 10, None)]),
        endpoint("cart-headless", "cart-0", held(1, 0, None)),
        endpoint("cart", "cart-0", held(1, 0, None)),
        endpoint("other", "somebody-else", held(1, 0, None)),
    ]);
    let asked = |last, port, ts| who(&index, last, port, ts).service.map(|it| it.to_string());
    let cart = Some("cart".to_owned());
    assert_eq!(asked(100, 80, 10), cart, "its address");
    assert_eq!(asked(100, 80, 50), None, "no more");
    assert_eq!(asked(200, 80, 10), cart, "a load balancer's");
    assert_eq!(asked(200, 443, 10), None, "which has other ports too");
    assert_eq!(asked(9, 30_080, 10), cart, "a node's port");
    assert_eq!(asked(9, 30_081, 10), None);
    assert_eq!(asked(1, 8080, 10), cart, "the pod itself");
    let found = who(&index, 1, 45_678, 10);
    assert_eq!((found.service, found.front.as_deref()), (None, Some("cart")), "asking itself");
}

#[test]
fn what_a_hub_knows_as_a_whole_ends_what_it_does_not_know() {
    let mut index = index([fact("gone", 10, vec![held(1, 5, None)])]);
    let pieces = [
        Update {
            first: true,
            facts: vec![fact("a", 20, vec![held(2, 5, None)])],
            ..Update::default()
        },
        Update {
            whole: Some(30),
            facts: vec![fact("b", 20, vec![held(3, 5, None)])],
            ..Update::default()
        },
    ];
    pieces.into_iter().for_each(|it| index.update(it));
    assert_eq!(name(&index, 1, 29).as_deref(), Some("gone"));
    assert_eq!(name(&index, 1, 30), None);
    assert_eq!([2, 3].map(|it| name(&index, it, 99)), [Some("a".to_owned()), Some("b".to_owned())]);
}

#[test]
fn what_went_first_is_forgotten_first_and_counted() {
    let mut index = Index::new(2);
    index.apply(fact("a", 1, vec![held(1, 0, Some(20))]));
    index.apply(fact("b", 1, vec![held(2, 0, Some(10))]));
    index.apply(fact("c", 1, vec![held(3, 0, None)]));
    assert_eq!([1, 2, 3].map(|it| name(&index, it, 5).is_some()), [true, false, true]);
    index.apply(fact("d", 1, vec![held(4, 0, None)]));
    index.apply(fact("e", 1, vec![held(5, 0, None)]));
    let Counters { facts, forgotten, refused, .. } = index.counters();
    assert_eq!((facts, forgotten, refused), (2, 2, 1));
    let long = Pod { name: "x".repeat(TEXT + 1), ..pod("f", 1, vec![held(6, 0, None)]) };
    index.apply(Fact { at: 1, of: Of::Pod(long) });
    assert_eq!(index.counters().refused, 2);
    assert!(index.by_ip.len() == 2 && index.gone.is_empty());
}

#[test]
fn an_update_is_json() {
    let update = Update {
        first: true,
        whole: Some(7),
        facts: vec![
            fact("a", 1, vec![held(1, 0, Some(2))]),
            endpoint("cart", "a", held(1, 0, None)),
            Fact { at: 3, of: Of::Service(service("cart", vec![held(9, 1, None)])) },
            node("n1", held(9, 0, None)),
        ],
        targeted: true,
        stale_since: None,
    };
    let text = serde_json::to_string(&update).unwrap();
    assert_eq!(serde_json::from_str::<Update>(&text).unwrap(), update);
}

/// Pods on few addresses, one after the other on each, as a cluster gives them out.
fn history() -> impl Strategy<Value = Vec<Fact>> {
    let life = (0..3_u8, 1..20_i64, 0..20_i64, 0..5_i64);
    proptest::collection::vec(life, 1..24).prop_map(|lives| {
        let mut free = [0_i64; 3];
        let mut facts = Vec::new();
        for (number, (last, wait, length, doubt)) in lives.into_iter().enumerate() {
            let free = &mut free[usize::from(last)];
            let from = *free + wait;
            let sure = from + doubt.min(length);
            let to = from + length.max(1);
            *free = to;
            let uid = format!("p{number}");
            let open = Held { ip: ip(last), from, sure, to: None };
            facts.push(fact(&uid, 2 * number as i64, vec![open]));
            let closed = Held { to: Some(to), ..open };
            facts.push(fact(&uid, 2 * number as i64 + 1, vec![closed]));
        }
        facts
    })
}

fn truth(facts: &[Fact], last: u8, ts: i64) -> Option<String> {
    facts.iter().find_map(|it| match &it.of {
        Of::Pod(pod) => {
            let held =
                pod.held.iter().any(|it| it.ip == ip(last) && it.to.is_some() && it.spans(ts));
            held.then(|| pod.name.clone())
        }
        _ => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However facts come, late, twice or not at all: who is named had the address.
    #[test]
    fn a_name_is_never_wrong_where_it_is_certain(
        facts in history(),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..96),
        ts in 0..400_i64,
    ) {
        let told: Vec<Fact> = order.iter().map(|it| it.get(&facts).clone()).collect();
        let index = index(told.clone());
        for last in 0..3 {
            let Some(named) = name(&index, last, ts) else { continue };
            let of = |it: &&Fact| matches!(&it.of, Of::Pod(pod) if pod.name == named);
            let latest = told.iter().filter(of).max_by_key(|it| it.at).unwrap();
            let Of::Pod(pod) = &latest.of else { unreachable!() };
            prop_assert!(pod.held.iter().any(|it| it.ip == ip(last) && it.spans(ts)));
            // Nobody who is known to have got it later had it by then.
            let taken = told.iter().any(|it| match &it.of {
                Of::Pod(other) => other.held.iter().any(|it| {
                    it.ip == ip(last) && it.sure <= ts && it.sure > pod.held[0].sure
                }),
                _ => false,
            });
            prop_assert!(!taken);
        }
    }

    /// All is told, in any order, with repetitions: the answer is who had it, or nobody where the time
    /// is not certain.
    #[test]
    fn all_facts_in_any_order_tell_who_had_it(
        facts in history(),
        order in any::<u64>(),
        ts in 0..400_i64,
    ) {
        let mut told = [facts.clone(), facts.clone()].concat();
        let mut state = order | 1;
        for at in (1..told.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            told.swap(at, (state >> 33) as usize % (at + 1));
        }
        let index = index(told);
        for last in 0..3 {
            prop_assert_eq!(name(&index, last, ts), truth(&facts, last, ts));
        }
    }

    /// An answer holds for as long as it says.
    #[test]
    fn an_answer_says_for_how_long(facts in history(), ts in 0..400_i64, other in 0..400_i64) {
        let index = index(facts);
        for last in 0..3 {
            let answer = index.who(ip(last), 80, ts);
            if answer.from <= other && other < answer.until {
                prop_assert_eq!(answer.who, index.who(ip(last), 80, other).who);
            }
        }
    }
}
