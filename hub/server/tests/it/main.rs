//! The Hub with Workers that keep real rows, in one process: what a caller sees.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod data;
mod fake;
mod faults;
mod names;
mod questions;
mod rights;

use api::{Accounting, ApiError, JsonAnswer, NodeState, Tables, TailStatus, WorkerStatus, Workers};
use arrow_array::{RecordBatch, cast::AsArray as _};
use arrow_ipc::reader::{StreamDecoder, StreamReader};
use axum::{
    Router,
    body::{Body, Bytes},
};
use fake::{Fake, row};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, StatusCode, header};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use server::{Config, Registry, StartError};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest as _};
use tower::ServiceExt as _;

// --- queries

#[tokio::test]
async fn rows_as_json() {
    let hub = Hub::with([
        Fake::new("n1").rows([row(1).body("hello"), row(2).status(500).bytes(&[0xff, 0])])
    ])
    .await;
    let sql = "SELECT seq, status, ts, node, body, headers, status / 3.0 AS third FROM notes ORDER BY seq";
    let reply = hub.post(json!({ "sql": sql })).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
    let answer: JsonAnswer = serde_json::from_slice(&reply.body).unwrap();
    let columns: Vec<_> = answer.columns.iter().map(|it| it.name.as_ref()).collect();
    assert_eq!(columns, ["seq", "status", "ts", "node", "body", "headers", "third"]);
    assert_eq!(
        Value::from(answer.rows[0].clone()),
        json!({
            "seq": 1, "status": 200, "ts": "1970-01-01T00:00:01.000000001Z", "node": "n1", "body": "hello",
            "headers": { "host": ["a"], "set-cookie": ["x=1", "y=2"] }, "third": answer.rows[0]["third"],
        })
    );
    assert_eq!(answer.rows[1]["body"], json!({ "base64": "/wA=" }));
    let accounting = answer.accounting;
    assert_eq!((accounting.rows, accounting.complete, accounting.truncated), (2, true, false));
    assert_eq!(accounting.nodes[0].node, "n1");
    assert_eq!(accounting.nodes[0].state, NodeState::Answered);
    assert_eq!(accounting.rows_scanned, 2);
    assert!(accounting.bytes_moved > 0);
}

#[tokio::test]
async fn rows_as_lines_with_their_accounting_at_the_end_or_apart() {
    let hub = Hub::with([Fake::new("n1").rows([row(1), row(2)])]).await;
    let reply = hub.get("/api/query?sql=SELECT+seq+FROM+notes+ORDER+BY+seq&format=ndjson").await;
    assert_eq!(reply.text(), "{\"seq\":1}\n{\"seq\":2}\n");
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/x-ndjson");

    let id = reply.headers[api::header::QUERY_ID].to_str().unwrap();
    let apart: Accounting = hub.get(&api::route::accounting(id)).await.json();
    assert_eq!((apart.query_id.as_str(), apart.rows, apart.complete), (id, 2, true));
    assert_eq!(hub.get(&api::route::accounting("never")).await.status, StatusCode::NOT_FOUND);

    let reply = hub.get("/api/query?sql=SELECT+1&format=ndjson&accounting=1").await;
    let last: Value = serde_json::from_str(reply.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["accounting"]["complete"], true);
}

#[tokio::test]
async fn rows_as_csv() {
    let hub = Hub::with([
        Fake::new("n1").rows([row(1).body("say \"hi\",\nplease"), row(2).bytes(&[0xff])])
    ])
    .await;
    let sql = "SELECT seq, body, headers FROM notes ORDER BY seq";
    let reply = hub
        .send(Method::POST, "/api/query", &[("accept", "text/csv")], Some(json!({ "sql": sql })))
        .await;
    let headers = r#""{""host"":[""a""],""set-cookie"":[""x=1"",""y=2""]}""#;
    let expected = format!(
        "seq,body,headers\n1,\"say \"\"hi\"\",\nplease\",{headers}\n2,base64:/w==,{headers}\n"
    );
    assert_eq!(reply.text(), expected);
}

#[tokio::test]
async fn rows_as_arrow_even_if_there_are_none() {
    let hub = Hub::with([Fake::new("n1").rows([row(1), row(2)])]).await;
    for (sql, rows) in [("SELECT * FROM notes", 2), ("SELECT * FROM notes WHERE seq > 9", 0)] {
        let accept = [("accept", "application/vnd.apache.arrow.stream")];
        let reply =
            hub.send(Method::POST, "/api/query", &accept, Some(json!({ "sql": sql }))).await;
        let reader = StreamReader::try_new(&*reply.body, None).unwrap();
        assert!(reader.schema().column_with_name("headers").is_some());
        assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), rows);
    }
}

#[tokio::test]
async fn rows_as_parquet_even_if_there_are_none() {
    let hub = Hub::with([Fake::new("n1").rows([row(1), row(2)])]).await;
    for (sql, rows) in [("SELECT * FROM notes", 2), ("SELECT * FROM notes WHERE seq > 9", 0)] {
        let reply = hub.post(json!({ "sql": sql, "format": "parquet" })).await;
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/vnd.apache.parquet");
        let file = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(reply.body)).unwrap();
        assert!(file.schema().column_with_name("headers").is_some());
        let read = file.build().unwrap();
        assert_eq!(read.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), rows);
    }
}

#[tokio::test]
async fn a_filter_yields_traffic_newest_first() {
    let hub = Hub::with([
        Fake::new("n1").rows([row(1), row(2).status(500)]),
        Fake::new("n2").rows([row(3).status(503), row(4)]),
    ])
    .await;
    let asked = json!({ "filter": "notes.status >= 500", "columns": ["seq", "node"], "limit": 10 });
    let answer: JsonAnswer = hub.post(asked).await.json();
    let rows: Vec<_> = answer.rows.into_iter().map(Value::from).collect();
    assert_eq!(rows, [json!({ "seq": 3, "node": "n2" }), json!({ "seq": 2, "node": "n1" })]);
    assert_eq!(answer.accounting.nodes.len(), 2);

    let asked =
        json!({ "filter": "", "since": "1970-01-01T00:00:02Z", "until": "1970-01-01T00:00:04Z" });
    let answer: JsonAnswer = hub.post(asked).await.json();
    assert_eq!(
        answer.rows.iter().map(|row| row["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        [3, 2]
    );
}

#[tokio::test]
async fn more_rows_than_asked_for_are_cut_and_that_is_said() {
    let hub = Hub::with([Fake::new("n1").rows((1..=100).map(row))]).await;
    let answer: JsonAnswer =
        hub.post(json!({ "sql": "SELECT seq FROM notes", "max_rows": 10 })).await.json();
    assert_eq!((answer.rows.len(), answer.accounting.truncated), (10, true));
}

#[tokio::test]
async fn an_aggregate_moves_less_than_the_rows_it_is_made_of() {
    let many = |node| {
        Fake::new(node)
            .rows((1..=5_000).map(|n| row(n).body("a body that nobody needs to see moved")))
    };
    let hub = Hub::with([many("n1"), many("n2")]).await;
    let answer: JsonAnswer = hub
        .post(json!({ "sql": "SELECT status, count(*) AS n FROM notes GROUP BY status" }))
        .await
        .json();
    assert_eq!(answer.rows[0]["n"], 10_000);
    let accounting = answer.accounting;
    assert_eq!(accounting.rows_scanned, 10_000);
    assert!(accounting.bytes_moved < 10_000, "{}", accounting.bytes_moved);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_place() {
    let hub = Hub::with([Fake::new("n1").rows([row(1)])]).await;
    for (asked, status, at) in [
        (json!({ "filter": "statsu >= 500" }), 400, Some((0, 6))),
        (json!({ "sql": "SELECT nothing FROM notes" }), 400, None),
        (json!({ "sql": "DROP TABLE notes" }), 403, None),
        (json!({ "sql": "SELECT 1", "filter": "" }), 400, None),
        (json!({ "sql": "SELECT 1", "colums": [] }), 400, None),
        (json!({ "filter": "", "since": "soon" }), 400, None),
        (json!({ "filter": "", "columns": ["nothing"] }), 400, None),
        (json!([]), 400, None),
    ] {
        let reply = hub.post(asked.clone()).await;
        assert_eq!(reply.status.as_u16(), status, "{asked} {}", reply.text());
        let error: ApiError = reply.json();
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{asked} {error:?}");
        if let Some((start, end)) = at {
            assert_eq!(
                error.at.map(|at| (at.start, at.end)),
                Some((start, end)),
                "{asked} {error:?}"
            );
        }
    }
    let check = hub.get("/api/check?filter=statsu+%3D+1").await;
    assert_eq!(check.json::<ApiError>().at.map(|at| at.end), Some(6));
    assert_eq!(hub.get("/api/check?filter=status+%3D+1").await.status, StatusCode::NO_CONTENT);
    let reply =
        hub.send(Method::GET, "/api/query?sql=SELECT+1", &[("accept", "image/png")], None).await;
    assert_eq!(reply.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn without_workers_there_is_nobody_to_ask() {
    let hub = Hub::with([]).await;
    let reply = hub.post(json!({ "sql": "SELECT 1" })).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.json::<ApiError>().hint.unwrap().contains("kubeshark worker"));
    let health: api::Health = hub.get("/api/health").await.json();
    assert!(health.empty_because.unwrap().contains("no worker"));
}

#[tokio::test]
async fn as_many_queries_run_as_may_and_one_more_is_turned_away() {
    let mut config = config();
    config.limits.queries = 0;
    let hub = Hub::start(&config, [Fake::new("n1")]).await;
    let reply = hub.post(json!({ "sql": "SELECT 1" })).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn one_caller_leaves_room_for_others() {
    let mut config = config();
    config.limits.queries_of_one = 1;
    let hub = Hub::start(&config, [Fake::new("n1").rows((1..=2_000).map(row))]).await;
    let sql = "SELECT a.body, b.body FROM notes a CROSS JOIN notes b".replace(' ', "+");
    let address = format!("/api/query?format=ndjson&sql={sql}");
    let request = hub.request(Method::GET, &address, &[], None);
    let response = hub.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    let reply = hub.post(json!({ "sql": "SELECT 1" })).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
    let error: ApiError = reply.json();
    assert!(error.message.contains("you have 1 queries running already"), "{error}");

    // Somebody else is answered meanwhile, and the first one again when it is done.
    let mut request = hub.request(Method::GET, "/api/query?sql=SELECT+1", &[], None);
    let other: std::net::SocketAddr = ([10, 0, 0, 9], 5000).into();
    request.extensions_mut().insert(axum::extract::ConnectInfo(other));
    assert_eq!(hub.router.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
    drop(response);
    assert_eq!(hub.post(json!({ "sql": "SELECT 1" })).await.status, StatusCode::OK);
}

#[tokio::test]
async fn kfl_is_refused_with_the_filter_that_it_is() {
    let hub = Hub::with([Fake::new("n1").rows([row(1)])]).await;
    let check = hub.get("/api/check?filter=node_name+%3D%3D+%22n1%22").await;
    assert_eq!(check.status, StatusCode::BAD_REQUEST);
    assert_eq!(check.json::<ApiError>().instead.as_deref(), Some("node = 'n1'"));
    let asked = hub.post(json!({ "filter": "timestamp > now() - duration(\"5m\")" })).await;
    assert_eq!(
        asked.json::<ApiError>().instead.as_deref(),
        Some("ts > now() - interval '5 minutes'")
    );
    let check = hub.get("/api/check?filter=statsu+%3D+1").await;
    assert_eq!(check.json::<ApiError>().instead, None);
}

#[tokio::test]
async fn an_asker_who_leaves_ends_the_query_on_every_node() {
    let hub = Hub::with([Fake::new("n1").rows((1..=2_000).map(row))]).await;
    // Four million rows and more: nobody reads them.
    let sql = "SELECT a.body, b.body FROM notes a CROSS JOIN notes b";
    let request =
        hub.request(Method::GET, "/api/query", &[("accept", "application/x-ndjson")], None);
    let (mut parts, body) = request.into_parts();
    parts.uri = format!("/api/query?sql={}", sql.replace(' ', "+")).parse().unwrap();
    let response = hub.router.clone().oneshot(Request::from_parts(parts, body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let id = response.headers()[api::header::QUERY_ID].to_str().unwrap().to_owned();
    let mut body = response.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    assert_eq!(hub.get("/api/health").await.json::<api::Health>().queries_running, 1);

    drop(body);
    assert_eq!(hub.get("/api/health").await.json::<api::Health>().queries_running, 0);
    let kept: Accounting = hub.get(&api::route::accounting(&id)).await.json();
    assert!(!kept.complete && kept.error.is_some());
    let node = &hub.clients[0];
    let stopped = async {
        while node.accounting(&id).await.unwrap().is_some_and(|work| work.unfinished > 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The Hub has seen it too.
        loop {
            let kept: Accounting = hub.get(&api::route::accounting(&id)).await.json();
            if let [node] = kept.nodes.as_slice() {
                return node.reason.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reason = timeout(Duration::from_secs(1), stopped).await.expect("the node goes on");
    assert_eq!(reason.as_deref(), Some("it has stopped"));
}

// --- workers

#[tokio::test]
async fn a_worker_that_went_is_named_in_the_answer() {
    let hub = Hub::with([Fake::new("n1").rows([row(1)]), Fake::new("n2").rows([row(2)])]).await;
    hub.clients[1].end("its node burns");
    hub.until(|workers| {
        workers.workers.iter().any(|it| it.node == "n2" && it.status == WorkerStatus::Gone)
    })
    .await;
    let answer: JsonAnswer = hub.post(json!({ "sql": "SELECT seq FROM notes" })).await.json();
    assert_eq!(answer.rows.len(), 1);
    assert!(!answer.accounting.complete);
    let n2 = answer.accounting.nodes.iter().find(|it| it.node == "n2").unwrap();
    assert_eq!((n2.state, n2.reason.as_deref()), (NodeState::Missing, Some("its node burns")));
}

#[tokio::test]
async fn a_name_is_taken_once_as_long_as_its_holder_answers() {
    let hub = Hub::with([Fake::new("n1").rows([row(1)])]).await;
    let second = Fake::new("n1").rows([row(2)]).attach();
    hub.registry.attach(second.clone());
    let reason = timeout(Duration::from_secs(5), second.ended()).await.unwrap();
    assert!(reason.contains("another worker named \"n1\""), "{reason}");
    let answer: JsonAnswer = hub.post(json!({ "sql": "SELECT seq FROM notes" })).await.json();
    assert_eq!(answer.rows[0]["seq"], 1);

    // Its restart is welcome.
    hub.clients[0].end("killed");
    hub.until(|workers| workers.workers[0].status == WorkerStatus::Gone).await;
    hub.registry.attach(Fake::new("n1").rows([row(3)]).attach());
    hub.until(|workers| workers.workers[0].status == WorkerStatus::Connected).await;
    let answer: JsonAnswer = hub.post(json!({ "sql": "SELECT seq FROM notes" })).await.json();
    assert_eq!((answer.rows[0]["seq"].clone(), answer.accounting.complete), (json!(3), true));
}

#[tokio::test]
async fn a_node_whose_table_differs_is_left_out_and_named() {
    let hub =
        Hub::with([Fake::new("n1").rows([row(1)]), Fake::new("n2").with_status_as_text()]).await;
    let tables: Tables = hub.get("/api/tables").await.json();
    assert_eq!(tables.refused[0].node, "n2");
    assert!(tables.refused[0].reason.contains("status"), "{}", tables.refused[0].reason);
    let answer: JsonAnswer = hub.post(json!({ "sql": "SELECT status FROM notes" })).await.json();
    assert_eq!(answer.rows.len(), 1);
    assert!(
        answer.accounting.nodes.iter().any(|it| it.node == "n2" && it.state == NodeState::Missing)
    );
}

#[tokio::test]
async fn a_worker_of_another_version_is_linked_but_not_asked() {
    let hub = Hub::with([Fake::new("n1").rows([row(1)])]).await;
    hub.registry.attach(Fake::new("old").version("0.0.1").rows([row(2)]).attach());
    hub.until(|workers| workers.workers.len() == 2).await;
    let answer: JsonAnswer = hub.post(json!({ "sql": "SELECT seq FROM notes" })).await.json();
    assert_eq!(answer.rows.len(), 1);
    let old = answer.accounting.nodes.iter().find(|it| it.node == "old").unwrap();
    assert!(old.reason.as_ref().unwrap().contains("0.0.1"));
}

#[tokio::test]
async fn tables_workers_metrics_and_the_description_are_served() {
    let hub = Hub::with([Fake::new("n1").rows([row(1)])]).await;
    let tables: Tables = hub.get("/api/tables").await.json();
    let names: Vec<_> = tables.tables.iter().map(|it| it.name.as_ref()).collect();
    assert_eq!(names, ["notes", "traffic"]);
    assert_eq!(tables.tables[0].doc, "What a test needs.");

    hub.until(|workers| workers.workers[0].health.packets == 42).await;
    let workers: Workers = hub.get("/api/workers").await.json();
    assert_eq!(workers.workers[0].node, "n1");

    hub.post(json!({ "sql": "SELECT 1" })).await;
    let metrics = hub.get("/metrics").await;
    for line in [
        "kubeshark_queries_total{outcome=\"complete\"} 1",
        "kubeshark_worker_up{node=\"n1\"} 1",
        "kubeshark_worker_packets_total{node=\"n1\"} 42",
        "kubeshark_worker_losses_total{node=\"n1\",stage=\"kernel\"} 3",
        "kubeshark_query_rows_total 1",
    ] {
        assert!(metrics.text().contains(line), "{line} is missing in\n{}", metrics.text());
    }

    let description: Value = hub.get("/api/openapi.json").await.json();
    use api::route::{ACCOUNTING, CHECK, HEALTH, METRICS, QUERY, TABLES, TAIL, WORKERS};
    for route in [QUERY, ACCOUNTING, CHECK, TAIL, TABLES, WORKERS, HEALTH, METRICS] {
        assert!(description["paths"][route].is_object(), "{route} is not described");
    }
    assert!(description["components"]["schemas"]["TailStatus"].is_object());
    let nowhere = hub.get("/api/nowhere").await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert!(nowhere.json::<ApiError>().message.contains("openapi.json"));
}

// --- who may

#[tokio::test]
async fn off_loopback_it_does_not_start_without_a_token() {
    let mut config = Config::new(([0, 0, 0, 0], 0).into());
    let error = server::start(config.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::NoToken(_)));
    assert!(error.to_string().contains("needs a token"), "{error}");
    config.token = Some(" ".into());
    assert!(matches!(server::start(config.clone()).await.unwrap_err(), StartError::EmptyToken));
    config.token = Some("secret".into());
    server::start(config).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let first = server::start(Config::new(([127, 0, 0, 1], 0).into())).await.unwrap();
    let error = server::start(Config::new(first.address())).await.unwrap_err();
    assert!(error.to_string().contains(&first.address().to_string()), "{error}");
}

#[tokio::test]
async fn a_token_opens_and_nothing_else_does() {
    let mut config = Config::new(([0, 0, 0, 0], 0).into());
    config.token = Some("secret".into());
    let hub = Hub::start(&config, []).await;
    for (headers, status) in [
        (&[][..], 401),
        (&[("authorization", "Bearer wrong")], 401),
        (&[("authorization", "Basic secret")], 401),
        (&[("cookie", "kubeshark-token=secret")], 401),
        (&[("authorization", "Bearer secret")], 200),
        (&[("authorization", "bearer secret"), ("host", "hub.example")], 200),
        (&[("authorization", "Bearer secret"), ("origin", "http://evil.example")], 403),
    ] {
        for path in ["/api/health", "/metrics", "/api/openapi.json"] {
            let reply = hub.send(Method::GET, path, headers, None).await;
            assert_eq!(reply.status.as_u16(), status, "{path} {headers:?}");
        }
    }
    // A browser is given the token once, in the address, and keeps it.
    let visit = hub.get("/?token=secret").await;
    assert_eq!(visit.status, StatusCode::SEE_OTHER);
    let cookie = visit.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Strict")
            && !cookie.contains("secret"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(
        hub.send(Method::GET, "/api/health", &[("cookie", cookie)], None).await.status,
        StatusCode::OK
    );
    assert!(!hub.get("/?token=wrong").await.headers.contains_key(header::SET_COOKIE));
    // The links of workers need it as well.
    assert_eq!(hub.get("/worker").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn on_loopback_another_sites_page_cannot_ask() {
    let hub = Hub::with([]).await;
    for (headers, status) in [
        (&[("host", "localhost:8899")][..], 200),
        (&[("host", "[::1]:8899")], 200),
        (&[("host", "127.0.0.1:8899"), ("origin", "http://127.0.0.1:8899")], 200),
        (&[("host", "127.0.0.1:8899"), ("sec-fetch-site", "same-origin")], 200),
        (&[("host", "evil.example")], 403),
        (&[("host", "localhost.evil.example:8899")], 403),
        (&[("host", "")], 403),
        (&[("host", "127.0.0.1:8899"), ("origin", "http://evil.example")], 403),
        (&[("host", "127.0.0.1:8899"), ("origin", "http://127.0.0.1:9000")], 403),
        (&[("host", "127.0.0.1:8899"), ("origin", "null")], 403),
        (&[("host", "127.0.0.1:8899"), ("sec-fetch-site", "cross-site")], 403),
        (&[("host", "127.0.0.1:8899"), ("sec-fetch-site", "same-site")], 403),
    ] {
        for path in ["/api/health", "/metrics", "/worker", "/api/tail"] {
            let reply = hub.send(Method::GET, path, headers, None).await;
            // Without an upgrade, a WebSocket's route can only complain about that.
            let expected = if status == 200 && ["/worker", "/api/tail"].contains(&path) {
                400
            } else {
                status
            };
            assert_eq!(reply.status.as_u16(), expected, "{path} {headers:?}");
        }
    }
    // A form elsewhere can post text, but not JSON under its name.
    let form = hub.request(
        Method::POST,
        "/api/query",
        &[("content-type", "text/plain")],
        Some(json!({ "sql": "SELECT 1" })),
    );
    assert_eq!(hub.router.clone().oneshot(form).await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_answer_forbids_what_is_not_ours() {
    let hub = Hub::with([]).await;
    for path in ["/", "/api/health", "/api/nowhere", "/nothing.js"] {
        let headers = hub.get(path).await.headers;
        let csp = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(csp.contains("default-src 'none'") && csp.contains("'wasm-unsafe-eval'"), "{csp}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}

// --- live

#[tokio::test]
async fn a_tail_joins_all_nodes_and_says_when_one_goes() {
    let hub = server::start(config()).await.unwrap();
    let (n1, n2) = (Fake::new("n1"), Fake::new("n2"));
    let (publish1, publish2) = (n1.publisher(), n2.publisher());
    // One in this process, one as in a cluster.
    let first = n1.attach();
    hub.workers().attach(first.clone());
    let node = n2.dial(hub.address(), None);
    hub.workers().linked(2).await;

    let mut tail = Tail::open(hub.address(), r#"{"filter":"status >= 500"}"#).await;
    let TailStatus::Started { nodes } = tail.status().await else { panic!("it did not start") };
    assert_eq!(nodes, ["n1", "n2"]);
    tokio::time::sleep(Duration::from_millis(300)).await;

    publish1(vec![row(1).status(500), row(2)]);
    publish2(vec![row(3).status(503)]);
    let mut rows = tail.rows(2).await;
    rows.sort_unstable();
    assert_eq!(rows, [(1, "n1".to_owned()), (3, "n2".to_owned())]);

    node.abort();
    let gone = tail.until(|status| matches!(status, TailStatus::NodeGone { .. })).await;
    let TailStatus::NodeGone { node, reason } = gone else { unreachable!() };
    assert!(node == "n2" && !reason.is_empty(), "{node} {reason}");

    // The others go on, and one that comes later is heard.
    publish1(vec![row(4).status(500)]);
    assert_eq!(tail.rows(1).await, [(4, "n1".to_owned())]);
    let n3 = Fake::new("n3");
    let publish3 = n3.publisher();
    let third = n3.attach();
    hub.workers().attach(third.clone());
    tail.until(|status| matches!(status, TailStatus::NodeJoined { node } if node == "n3")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    publish3(vec![row(5).status(500)]);
    assert_eq!(tail.rows(1).await, [(5, "n3".to_owned())]);

    let rate = tail.until(|status| matches!(status, TailStatus::Rate { rows: 4, .. })).await;
    assert!(matches!(rate, TailStatus::Rate { skipped: 0, .. }), "{rate:?}");
    hub.stop().await;
}

#[tokio::test]
async fn a_tail_with_a_wrong_filter_says_where() {
    let hub = server::start(config()).await.unwrap();
    hub.workers().attach(Fake::new("n1").attach());
    hub.workers().linked(1).await;
    for (request, at) in [(r#"{"filter":"statsu = 1"}"#, Some((0, 6))), ("what?", None)] {
        let mut tail = Tail::open(hub.address(), request).await;
        let TailStatus::Error(error) = tail.status().await else { panic!("it started") };
        assert_eq!(error.at.map(|at| (at.start, at.end)), at, "{error:?}");
    }
}

#[tokio::test]
async fn a_tail_may_begin_before_there_is_a_worker() {
    let hub = server::start(config()).await.unwrap();
    let mut tail = Tail::open(hub.address(), "{}").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let n1 = Fake::new("n1");
    let publish = n1.publisher();
    hub.workers().attach(n1.attach());
    assert!(matches!(tail.status().await, TailStatus::Started { .. }));
    tokio::time::sleep(Duration::from_millis(300)).await;
    publish(vec![row(1)]);
    assert_eq!(tail.rows(1).await, [(1, "n1".to_owned())]);
}

#[tokio::test]
async fn a_worker_with_a_wrong_token_is_turned_away() {
    let mut config = Config::new(([0, 0, 0, 0], 0).into());
    config.token = Some("secret".into());
    let hub = server::start(config).await.unwrap();
    let address = ([127, 0, 0, 1], hub.address().port()).into();
    let refused = Fake::new("n1").dial(address, Some("wrong"));
    let error = timeout(Duration::from_secs(5), refused).await.unwrap().unwrap();
    assert!(error.to_string().contains("refused"), "{error}");
    let _linked = Fake::new("n1").dial(address, Some("secret"));
    timeout(Duration::from_secs(5), hub.workers().linked(1)).await.unwrap();
}

// --- what the tests stand on

fn config() -> Config {
    Config::new(([127, 0, 0, 1], 0).into())
}

/// A Hub without a socket.
struct Hub {
    router: Router,
    registry: Registry,
    clients: Vec<link::Client>,
}

impl Hub {
    async fn with(fakes: impl IntoIterator<Item = Fake>) -> Self {
        Self::start(&config(), fakes).await
    }

    async fn start(config: &Config, fakes: impl IntoIterator<Item = Fake>) -> Self {
        let (router, registry) = server::router(config);
        let clients: Vec<_> = fakes.into_iter().map(Fake::attach).collect();
        let hub = Self { router, registry, clients };
        for (n, client) in hub.clients.iter().enumerate() {
            hub.registry.attach(client.clone());
            hub.until(|workers| workers.workers.len() == n + 1).await;
        }
        hub
    }

    async fn until(&self, done: impl Fn(&Workers) -> bool) {
        for _ in 0..500 {
            if done(&self.registry.workers()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to that: {:?}", self.registry.workers());
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in [("host", "127.0.0.1:8899"), ("content-type", "application/json")] {
            if headers.iter().all(|(given, _)| *given != name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let request = self.request(method, path, headers, body);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await
    }

    async fn post(&self, query: Value) -> Reply {
        self.send(Method::POST, "/api/query", &[], Some(query)).await
    }

    async fn put(&self, path: &str, change: Value) -> Reply {
        self.send(Method::PUT, path, &[], Some(change)).await
    }
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }
}

/// What a page has of a tail.
struct Tail {
    socket: tokio_tungstenite::WebSocketStream<
        tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>,
    >,
    decoder: StreamDecoder,
    rows: Vec<(u64, String)>,
    status: Vec<TailStatus>,
}

impl Tail {
    async fn open(hub: std::net::SocketAddr, request: &str) -> Self {
        let mut upgrade = format!("ws://{hub}/api/tail").into_client_request().unwrap();
        upgrade.headers_mut().insert("origin", format!("http://{hub}").parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(upgrade).await.unwrap();
        socket.send(tungstenite::Message::text(request)).await.unwrap();
        Self { socket, decoder: StreamDecoder::new(), rows: Vec::new(), status: Vec::new() }
    }

    /// The next status; rates are left out unless asked for.
    async fn status(&mut self) -> TailStatus {
        self.until(|status| !matches!(status, TailStatus::Rate { .. })).await
    }

    async fn until(&mut self, wanted: impl Fn(&TailStatus) -> bool) -> TailStatus {
        loop {
            if let Some(at) = self.status.iter().position(&wanted) {
                return self.status.drain(..=at).next_back().unwrap();
            }
            self.read().await;
        }
    }

    async fn rows(&mut self, count: usize) -> Vec<(u64, String)> {
        while self.rows.len() < count {
            self.read().await;
        }
        std::mem::take(&mut self.rows)
    }

    async fn read(&mut self) {
        let message = timeout(Duration::from_secs(10), self.socket.next())
            .await
            .expect("the tail says nothing");
        match message.expect("the tail ended").unwrap() {
            tungstenite::Message::Text(text) => {
                self.status.push(serde_json::from_str(&text).unwrap())
            }
            tungstenite::Message::Binary(bytes) => {
                let mut buffer = bytes.to_vec().into();
                while let Some(batch) = self.decoder.decode(&mut buffer).unwrap() {
                    self.take(&batch);
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, batch: &RecordBatch) {
        let seq =
            batch.column_by_name("seq").unwrap().as_primitive::<arrow_array::types::UInt64Type>();
        let node = batch.column_by_name("node").unwrap().as_string_view();
        assert!(batch.schema().field_with_name("seq").unwrap().metadata().contains_key("kind"));
        self.rows.extend((0..seq.len()).map(|row| (seq.value(row), node.value(row).to_owned())));
    }
}
