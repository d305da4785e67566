//! Many nodes answer as one with everything would.
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use futures::StreamExt;
use query::fleet::Fleet;
use query::{Engine, Error, NodeState, Tables};

use crate::fixture::{
    Where, ask, count, engine, fill, filter, open, options, sql, table_of, tables,
};
use crate::pipe::{Node, fleet, over};

const QUERIES: &[&str] = &[
    "select count(*) from http",
    "select status, count(*), sum(request_bytes), min(ts), max(duration) from http group by status",
    "select ts, node, flow_id, seq, status from http order by ts desc, node limit 7",
    "select ts, node, status from http where status >= 500 order by ts desc, node limit 5",
    "select node, count(*) from traffic group by node",
    "select protocol, table_name, count(*), avg(duration) from traffic group by 1, 2",
    "select count(distinct client_ip), count(distinct target) from traffic",
    "select count(*) from (select flow_id from http where status = 404 limit 25)",
    "select h.status, c.state, count(*), sum(c.bytes) from http h join connections c on h.flow_id = c.flow_id and h.node = c.node group by 1, 2",
    "select count(*) from http h left join connections c on h.flow_id = c.flow_id where c.flow_id is null",
    "select count(*) from http where flow_id in (select flow_id from connections where state = 'closed')",
    "select count(*) from http where flow_id not in (select flow_id from redis where error is not null)",
    "select count(*), max(v.x) from http, (values (1), (2)) v(x) where http.seq = v.x",
    "select node, ts, row_number() over (partition by node order by ts desc) as n from dns order by node, n limit 9",
    "select * from (select node, status, sum(request_bytes) over (partition by node, status) s from http) where s > 0 order by 1, 2, 3 limit 4",
    "select count(*) from http where duration > (select avg(duration) from http)",
    "select target, count(*) c from http where path like '/items/%' group by target having count(*) > 3 order by c desc, target limit 3",
    "select count(*) from http where response_body like '%error%'",
    "select count(*) from http where header(request_headers, 'User-Agent') = 'curl/8' and client.namespace is null",
    "select json_get_int(response_body, 'id') % 3 as r, count(*) from http group by 1",
    "select question, count(*) from dns where array_has(answers, '10.1.0.2') group by 1",
    "select flow_id from connections union select flow_id from http where seq > 8",
    "select node from http intersect select node from dns",
    "select date_trunc('second', ts) s, count(*) from traffic group by 1",
    "with slow as (select * from http where duration > 100000000) select a.node, count(*) from slow a join slow b on a.flow_id = b.flow_id and a.seq < b.seq group by 1",
    "select count(*) from traffic t join tables on t.table_name = tables.table_name",
    "select count(*) from http where ts > now() - interval '5000 days'",
    "select count(*) from (select distinct on (node, status) * from http where ts < now() order by node, status, ts desc) where seq >= 0",
    "select 1 + 1",
    "select count(*) from traffic where http.status >= 500",
    // the first rows, whole: their keys are fetched first
    "select * from http order by duration desc, node, flow_id, seq limit 20",
    "select node, seq, request_headers, response_body from http order by duration nulls first, node, flow_id, seq limit 40",
    "select * from http where status = 404 order by status, client_namespace desc, node, flow_id, seq limit 30 offset 7",
    "select upper(target), response_body from http order by length(target), upper(target) desc, node, flow_id, seq limit 50",
    "select * from traffic where failed order by ts desc, node, flow_id, seq limit 60",
    // a traffic table, connections, and a small table of names
    "select n.name, c.state, count(*), sum(c.bytes) from traffic t join connections c on t.flow_id = c.flow_id and t.node = c.node join (values ('node-0', 'a'), ('node-1', 'b'), ('node-2', 'c')) n(node, name) on n.node = t.node group by 1, 2",
    "with names as (select 200 as status, 'fine' as name union all select 500, 'broken') select name, count(*) from http join names using (status) group by 1",
    "select t.table_name, c.state is null, count(*) from traffic t left join connections c on t.flow_id = c.flow_id and t.node = c.node and c.state = 'open' group by 1, 2",
    // protocols, united by hand
    "select target, count(*) from (select target from http union all select target from dns union all select target from redis) group by 1",
    "select protocol, count(*) from (select protocol, status from http union all select protocol, status from dns) where status > 0 group by 1",
    "select table_name, protocol, count(*) from traffic where table_name in ('http', 'redis') and status is distinct from 404 group by 1, 2",
    "select distinct table_name from traffic where table_name <> 'dns'",
];

async fn agree(place: Where) {
    let (_nodes, fleet) = fleet(200, place);
    let all = open();
    fill(&all.store, &[0, 1, 2], 200, place);
    let one = engine(&all);
    let mut failures = Vec::new();
    for text in QUERIES {
        let expected = ask(&one, sql(text)).await.map(|it| table_of(&it.0));
        let answer = ask(&fleet, sql(text)).await;
        match (expected, answer) {
            (Ok(expected), Ok((rows, cost))) => {
                if table_of(&rows) != expected {
                    failures
                        .push(format!("{text}\n  one: {expected:?}\n  all: {:?}", table_of(&rows)));
                }
                if !cost.complete {
                    failures.push(format!("{text}: incomplete: {cost:?}"));
                }
            }
            (expected, answer) => failures.push(format!(
                "{text}\n  one: {:?}\n  all: {:?}",
                expected.err().map(|it| it.to_string()),
                answer.err().map(|it| it.to_string())
            )),
        }
    }
    assert!(
        failures.is_empty(),
        "{place:?}: {} of {}\n{}",
        failures.len(),
        QUERIES.len(),
        failures.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_answer_as_one_from_memory() {
    agree(Where::Hot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_answer_as_one_from_segments() {
    agree(Where::Segments).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_answer_as_one_from_both() {
    agree(Where::Mixed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sketches_of_nodes_merge() {
    let text = "select status, count(*), approx_percentile_cont(duration, 0.99), approx_distinct(client_ip) from http group by status order by status";
    let (_nodes, fleet) = fleet(500, Where::Mixed);
    let all = open();
    fill(&all.store, &[0, 1, 2], 500, Where::Mixed);
    let (one, _) = ask(&engine(&all), sql(text)).await.unwrap();
    let (many, cost) = ask(&fleet, sql(text)).await.unwrap();
    let column = |it: &[RecordBatch], i: usize| -> Vec<f64> {
        let cast = |it: &RecordBatch| {
            datafusion::arrow::compute::cast(
                it.column(i),
                &datafusion::arrow::datatypes::DataType::Float64,
            )
            .unwrap()
        };
        it.iter().flat_map(|it| cast(it).as_primitive::<Float64Type>().values().to_vec()).collect()
    };
    assert_eq!(column(&one, 0), column(&many, 0));
    assert_eq!(column(&one, 1), column(&many, 1));
    assert_eq!(column(&one, 3), column(&many, 3));
    for (a, b) in column(&one, 2).into_iter().zip(column(&many, 2)) {
        assert!((a - b).abs() <= a * 0.02, "{a} and {b}");
    }
    let answered = cost.nodes.iter().filter(|it| it.state == NodeState::Answered).count();
    assert_eq!(answered, 3);
    assert!(cost.nodes.iter().all(|it| it.cost.rows_scanned == 500), "{cost:?}");
    assert!(cost.bytes_moved > 0 && cost.bytes_moved < 60_000, "{cost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_match_is_not_scanned() {
    let (_nodes, fleet) = fleet(200, Where::Mixed);
    let (rows, cost) =
        ask(&fleet, sql("select * from traffic where protocol = 'dns'")).await.unwrap();
    assert_eq!(count(&rows), 300);
    assert!(cost.nodes.iter().all(|it| it.cost.rows_scanned == 100), "{cost:?}");
    let (rows, cost) = ask(&fleet, filter("dns and status = 3")).await.unwrap();
    assert_eq!(count(&rows), 102);
    assert!(cost.nodes.iter().all(|it| it.cost.rows_scanned == 100), "{cost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_exchanges_of_all_nodes_come_first() {
    let (_nodes, fleet) = fleet(200, Where::Mixed);
    let all = open();
    fill(&all.store, &[0, 1, 2], 200, Where::Mixed);
    for text in
        ["", "http.status >= 500 or redis.error is not null", "duration > 200ms and not dns"]
    {
        let (one, _) = ask(&engine(&all), filter(text)).await.unwrap();
        let (many, _) = ask(&fleet, filter(text)).await.unwrap();
        assert!(count(&one) > 0, "{text}");
        assert_eq!(table_of(&one), table_of(&many), "{text}");
    }
}

/// What the answer itself takes, as Arrow IPC.
fn ipc(batches: &[RecordBatch]) -> u64 {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD));
    let schema = batches[0].schema();
    let mut written =
        StreamWriter::try_new_with_options(Vec::new(), &schema, options.unwrap()).unwrap();
    let all = datafusion::arrow::compute::concat_batches(&schema, batches).unwrap();
    written.write(&all).unwrap();
    written.into_inner().unwrap().len() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_more_is_moved_than_the_answer() {
    let (nodes, engine) = fleet(3000, Where::Mixed);
    let bytes = || nodes.iter().map(|it| it.wire.bytes()).sum::<u64>();
    // Of all envelopes, the keys that are asked for first weigh as much as the rows.
    let envelopes = "select * from traffic order by ts desc, node, flow_id, seq limit 100";
    for text in [
        "select * from http where flow_id = '010000000007'",
        "select status, count(*), sum(request_bytes), max(duration) from http group by status",
        "select protocol, count(*) from traffic group by protocol",
        "select * from http order by duration desc, node, flow_id, seq limit 100",
        envelopes,
        "select ts, target from http order by ts desc limit 10",
    ] {
        let before = bytes();
        let (rows, cost) = ask(&engine, sql(text)).await.unwrap();
        // The streams are closed in the background.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let moved = bytes() - before;
        let answer = if rows.is_empty() { 0 } else { ipc(&rows) };
        let factor = if text == envelopes { 2.0 } else { 1.25 };
        let most = (answer as f64 * factor) as u64 + 3 * (2 << 10);
        println!(
            "{moved:6} of {most:6} bytes, counted {:6}, answer {answer:6}: {text}",
            cost.bytes_moved
        );
        assert!(moved <= most, "{text}: {moved} bytes moved of {most}, the answer has {answer}");
        // What is counted is what is sent, but for the frames of HTTP/2.
        assert!(cost.bytes_moved <= moved && cost.bytes_moved * 2 > moved, "{text}: {cost:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_goes_while_rows_are_fetched_late_does_not_cost_others_rows() {
    let text = "select * from http order by duration desc, node, flow_id, seq limit 100";
    let (nodes, engine) = fleet(3000, Where::Mixed);
    let whole = ask(&engine, sql(text)).await.unwrap();
    assert!(whole.1.complete);
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Keys are few bytes: it breaks while it sends its rows.
    let sent = nodes[0].wire.from_node.load(Relaxed);
    nodes[0].wire.breaks_at.store(sent + sent * 3 / 4, Relaxed);
    let (rows, cost) = ask(&engine, sql(text)).await.unwrap();
    assert_eq!(count(&rows), 100);
    assert!(!cost.complete);
    let (expected, _) = ask(&over(&nodes[1..]), sql(text)).await.unwrap();
    assert_eq!(table_of(&rows), table_of(&expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_left_out_and_named() {
    let (nodes, engine) = fleet(200, Where::Mixed);
    nodes[1].stall();
    let answer = tokio::spawn(async move { ask(&engine, sql("select count(*) from http")).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!answer.is_finished());
    nodes[1].kill();
    let (rows, cost) = answer.await.unwrap().unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 400);
    assert!(!cost.complete);
    let lost = cost.nodes.iter().find(|it| it.node == "node-1").unwrap();
    assert_eq!(lost.state, NodeState::Failed);
    assert!(lost.reason.is_some());
    assert_eq!(cost.nodes.iter().filter(|it| it.state == NodeState::Answered).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_from_the_start_is_left_out_and_named() {
    let (nodes, engine) = fleet(100, Where::Hot);
    nodes[2].kill();
    for text in [
        "select count(*) from http",
        "select count(*) from traffic",
        "select ts from http order by ts limit 300",
    ] {
        let (rows, cost) = ask(&engine, sql(text)).await.unwrap();
        assert!(count(&rows) > 0);
        let lost: Vec<_> = cost.nodes.iter().filter(|it| it.state == NodeState::Failed).collect();
        assert_eq!(lost.len(), 1, "{text}: {cost:?}");
        assert_eq!(lost[0].node, "node-2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_costs_its_deadline_and_is_named() {
    let (nodes, engine) = fleet(200, Where::Mixed);
    nodes[0].stall();
    for text in [
        "select count(*) from http",
        "select h.node, count(*) from http h join connections c on h.flow_id = c.flow_id group by 1",
        "select ts from http order by ts desc limit 3",
    ] {
        let mut query = sql(text);
        query.limits.deadline = Duration::from_secs(4);
        let begun = Instant::now();
        let (rows, cost) = ask(&engine, query).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(4), "{text}");
        assert!(count(&rows) > 0, "{text}");
        assert!(!cost.complete);
        let lost: Vec<_> = cost.nodes.iter().filter(|it| it.state != NodeState::Answered).collect();
        assert_eq!(lost.len(), 1, "{text}: {cost:?}");
        assert_eq!(
            (lost[0].node.as_str(), lost[0].state),
            ("node-0", NodeState::Missing),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_break_off_say_so() {
    let (nodes, engine) = fleet(30_000, Where::Hot);
    let mut query = sql("select * from http");
    query.limits.rows = 1_000_000;
    let mut answer = engine.run(query).await.unwrap();
    let first = answer.rows.next().await.unwrap().unwrap();
    assert!(first.num_rows() > 0);
    nodes[0].kill();
    let mut rows = first.num_rows();
    while let Some(Ok(batch)) = answer.rows.next().await {
        rows += batch.num_rows();
    }
    let cost = answer.accounting.await;
    if rows < 90_000 {
        assert!(!cost.complete, "{rows} rows: {cost:?}");
        assert!(
            cost.nodes.iter().any(|it| it.node == "node-0" && it.state == NodeState::Failed),
            "{cost:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_is_not_asked_and_named() {
    let (mut nodes, _) = fleet(100, Where::Hot);
    nodes[1].member.version = "0.0.0".to_owned();
    let engine = over(&nodes);
    let (rows, cost) = ask(&engine, sql("select count(*) from http")).await.unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 200);
    let skewed = cost.nodes.iter().find(|it| it.node == "node-1").unwrap();
    assert_eq!(skewed.state, NodeState::Missing);
    assert!(skewed.reason.as_deref().unwrap().contains("0.0.0"));
    assert!(!cost.complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_gives_no_rows_and_one_gives_its_own() {
    let engine = Engine::fleet(Fleet::new(Vec::new(), Tables::new(tables()), None), options());
    let (rows, cost) = ask(&engine, sql("select count(*) from http")).await.unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 0);
    assert!(cost.nodes.is_empty());

    let data = open();
    fill(&data.store, &[0], 100, Where::Mixed);
    let nodes = [Node::new("node-0", data)];
    let (rows, cost) = ask(&over(&nodes), sql("select count(*) from http")).await.unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 100);
    assert!(cost.complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_fails_everywhere_fails_at_once() {
    let (_nodes, engine) = fleet(100, Where::Hot);
    let begun = Instant::now();
    let error = ask(&engine, sql("select 1 / (status - 200) from http where status = 200")).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(error.to_string().to_lowercase().contains("divide by zero"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_leaves_ends_the_query_everywhere() {
    let (nodes, engine) = fleet(20_000, Where::Mixed);
    let mut query = sql("select a.ts from http a join http b on a.target = b.target");
    query.id = "left".to_owned();
    query.limits.rows = usize::MAX - 1;
    let mut answer = engine.run(query).await.unwrap();
    answer.rows.next().await.unwrap().unwrap();
    drop(answer);
    let begun = Instant::now();
    loop {
        let costs = futures::future::join_all(nodes.iter().map(|it| it.service.accounting("left")));
        if costs.await.into_iter().flatten().all(|it| it.finished) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "still running");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_shows_every_node() {
    let (_nodes, engine) = fleet(100, Where::Mixed);
    let (rows, _) =
        ask(&engine, sql("explain analyze select status, count(*) from http group by 1"))
            .await
            .unwrap();
    let text = table_of(&rows).join("\n");
    assert!(text.contains("Stage 1"), "{text}");
}
