//! A filter means the same over history and over rows as they come.
use query::filter::{Filter, FilterError, complete, parse};
use query::{Ask, Engine, Tables};

use crate::fixture::{
    Where, ask, count, engine, fill, filter, local, open, rows, table_of, tables,
};

fn read(text: &str) -> Result<Filter, FilterError> {
    parse(text, &Tables::new(tables()))
}

/// How many rows of the fixture match; history and live must agree on which.
async fn check(engine: &Engine, text: &str, expected: usize, scanned: &[&str]) {
    let (batches, _) = ask(engine, filter(text)).await.unwrap_or_else(|it| panic!("{text}: {it}"));
    let filter = read(text).unwrap();
    let live = filter.live(&std::sync::Arc::new(query::Rights::all())).unwrap();
    let mut seen = Vec::new();
    for (table, batch) in rows(0, 0..200) {
        seen.extend(live.apply(&table.name, &batch).unwrap());
    }
    assert_eq!(table_of(&batches), table_of(&seen), "{text}");
    assert_eq!(count(&batches), expected, "{text}");
    assert_eq!(filter.tables().collect::<Vec<_>>(), scanned, "{text}");
}

const ALL: &[&str] = &["http", "dns", "redis"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_and_live_agree() {
    let (_data, engine) = local(200, Where::Mixed);
    check(&engine, "", 367, ALL).await;
    check(&engine, "http", 200, &["http"]).await;
    check(&engine, "not http", 167, &["dns", "redis"]).await;
    check(&engine, "http or dns", 300, &["http", "dns"]).await;
    check(&engine, "http and status >= 500", 40, &["http"]).await;
    check(&engine, "http.status >= 500", 40, &["http"]).await;
    check(&engine, "not http.status >= 500", 160, &["http"]).await;
    check(&engine, "http.status >= 500 or redis.error is not null", 57, &["http", "redis"]).await;
    check(&engine, "http.status is null", 167, ALL).await;
    check(&engine, "http.status >= 500 and dns.question = 'x'", 0, &[]).await;
    check(&engine, "client_ip = '10.0.0.7'", 1, ALL).await;
    check(&engine, "client.ip = \"10.0.0.7\"", 1, ALL).await;
    check(&engine, "client.namespace = 'shop' and redis", 0, &["redis"]).await;
    check(&engine, "duration > 100ms", 296, ALL).await;
    check(&engine, "duration between 0.1s and 200000us", 76, ALL).await;
    check(&engine, "method = 'POST'", 50, &["http"]).await;
    check(&engine, "http.path like '/items/3' && !failed", 23, &["http"]).await;
    check(&engine, "path = '/items/1' || question = 'svc-0.local'", 79, &["http", "dns"]).await;
    check(&engine, "response_body like '%error%'", 19, &["http"]).await;
    check(&engine, "response_body like '%\u{fffd}%'", 19, &["http"]).await;
    check(&engine, "header(http.request_headers, 'Host') = 'shop.local'", 200, &["http"]).await;
    check(&engine, "cookie(request_headers, 'sid') = 's17'", 1, &["http"]).await;
    check(&engine, "json_get_int(response_body, 'id') = 17", 1, &["http"]).await;
    check(&engine, "cidr_match(client_ip, '10.0.0.0/30')", 8, ALL).await;
    check(&engine, "array_has(dns.answers, '10.1.0.2')", 66, &["dns"]).await;
    check(&engine, "request_bytes >= 0.105kb and http", 100, &["http"]).await;
    check(&engine, "table_name = 'dns'", 100, &["dns"]).await;
    check(&engine, "protocol = 'dns'", 100, ALL).await;
    check(&engine, "protocol in ('dns', 'redis') and seq = 0", 27, ALL).await;
    check(&engine, "status = 200 or status is null", 187, ALL).await;
    check(&engine, "coalesce(http.status, redis.seq) = 3", 7, &["http", "redis"]).await;
    check(&engine, "case when http then status = 404 else false end", 40, &["http"]).await;
    check(&engine, "ts >= '2026-01-01T00:00:00.190Z' and http", 10, &["http"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_range_bounds_history() {
    let (_data, engine) = local(200, Where::Mixed);
    let from = Some(crate::fixture::T0 + 50 * crate::fixture::MS);
    let to = Some(crate::fixture::T0 + 60 * crate::fixture::MS);
    let mut query = filter("http");
    query.ask = Ask::Filter { filter: "http".to_owned(), limit: Some(4), from, to };
    let (newest, _) = ask(&engine, query.clone()).await.unwrap();
    assert_eq!(count(&newest), 4);
    query.ask = Ask::Filter { filter: "http".to_owned(), limit: None, from, to };
    let (all, _) = ask(&engine, query).await.unwrap();
    assert_eq!(count(&all), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_segments_in_the_time_range_are_read() {
    let data = open();
    fill(&data.store, &[0], 400, Where::Segments);
    let engine = engine(&data);
    let from = Some(crate::fixture::T0 + 350 * crate::fixture::MS);
    let mut query = filter("http");
    query.ask = Ask::Filter { filter: "http".to_owned(), limit: None, from, to: None };
    let (rows, cost) = ask(&engine, query).await.unwrap();
    assert_eq!(count(&rows), 50);
    assert_eq!(cost.nodes[0].cost.segments_scanned, 1, "{cost:?}");
}

#[test]
fn a_filter_that_does_not_read_says_where_and_what_was_meant() {
    let check = |text: &str, at: &str, message: &str, hint: &str| {
        let error = read(text).err().unwrap_or_else(|| panic!("{text} reads"));
        assert_eq!(text.get(error.at.clone()), Some(at), "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{text}: {error}");
    };
    check("statsu = 200", "statsu", "no column statsu", "did you mean status");
    check("http.statsu = 200", "http.statsu", "http has no column statsu", "http.status");
    check("dns and htp.status = 200", "htp.status", "no column htp.status", "");
    check("namespace = 'x'", "namespace", "no column", "client_namespace");
    check("connections.bytes > 1", "connections.bytes", "no protocol", "select * from connections");
    check("status >=", "", "ends where", "");
    check("status = 200 200", "200", "stands where", "");
    check("(status = 200", "", "ends where", "");
    check("status = 'abc", "'abc", "unterminated", "");
    check("status + 1", "status + 1", "a value, not a condition", "compare");
    check("count(*) > 1", "count", "one row at a time", "SQL");
    check("lowr(target) = 'x'", "lowr", "no function lowr()", "lower()");
    check("status in (select 1)", "status in (select 1)", "can't contain a query", "SQL");
    check("duration > 5parsecs", "5parsecs", "no number", "ms");
    check("client_ip = 10.0.0.7", ".0.7", "", "quotes");
    let deep = format!("{}status = 1{}", "(".repeat(500), ")".repeat(500));
    assert!(read(&deep).is_err());
    assert!(read(&"x".repeat(100_000)).is_err());
}

#[test]
fn what_could_come_next_is_offered() {
    let tables = Tables::new(tables());
    let offered = |text: &str| -> Vec<String> {
        complete(text, text.len(), &tables).into_iter().map(|it| it.text).collect()
    };
    assert_eq!(offered("http.sta"), ["http.status"]);
    assert_eq!(offered("ht"), ["http"]);
    assert!(offered("client.n").contains(&"client_namespace".to_owned()));
    assert!(offered("status ").contains(&">=".to_owned()));
    assert!(offered("http.path ").contains(&"like".to_owned()));
    assert!(offered("status >= 500 and que").contains(&"dns.question".to_owned()));
    assert!(offered("hea").contains(&"header(request_headers, 'user-agent')".to_owned()));
}
