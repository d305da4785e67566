//! KFL as filters of ours: what each documented expression becomes, and for which rows that holds.
use std::fmt::Write as _;
use std::path::Path;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use query::Tables;
use query::filter::parse;
use query::kfl::{Generation, translate};
use schema::{Field, Kind, Table};

use crate::fixture::{Cell, batch};

/// The tables that dissectors make, as their reference lists them.
fn tables() -> Vec<Table> {
    let reference = include_str!("../../../capture/dissect/TABLES.md");
    let sections = reference.split("\n## ").skip(1);
    sections
        .map(|section| {
            let name = section.lines().next().unwrap().to_owned();
            let rows = section.lines().filter(|it| it.starts_with("| `"));
            let fields = rows.map(|row| {
                let cells: Vec<_> = row.split('|').map(str::trim).collect();
                Field {
                    name: cells[1].trim_matches('`').to_owned().into(),
                    doc: "".into(),
                    kind: Kind::from_name(cells[2]).unwrap(),
                    nullable: cells[3] == "yes",
                }
            });
            Table { name: name.into(), doc: "".into(), fields: fields.collect::<Vec<_>>().into() }
        })
        .collect()
}

/// Every example of the original's pages stands in a file with what it becomes, or with the part
/// that can't be said. `UPDATE=1` writes the files anew.
#[test]
fn documented_examples_become_filters_or_say_which_part_does_not() {
    let tables = Tables::new(tables());
    for (name, generation) in [("newer", Generation::Newer), ("older", Generation::Older)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kfl/{name}.txt"));
        let file = std::fs::read_to_string(&path).unwrap();
        let mut out = String::new();
        for line in file.lines() {
            if line.is_empty() || line.starts_with('#') {
                writeln!(out, "{line}").unwrap();
            }
            if line.is_empty() || line.starts_with(['#', ' ']) {
                continue;
            }
            writeln!(out, "{line}").unwrap();
            match translate(line, &tables) {
                Ok(it) => {
                    let filter =
                        parse(&it.filter, &tables).unwrap_or_else(|e| panic!("{line}: {e}"));
                    assert!(filter.tables().next().is_some(), "{line}: {}", it.filter);
                    if line.contains("&&") || line.contains(" and ") {
                        assert_eq!(it.generation, generation, "{line}");
                    }
                    writeln!(out, "    {}", it.filter).unwrap();
                }
                Err(error) => {
                    let part = line.get(error.at.clone()).unwrap().trim();
                    assert!(!error.message.is_empty() && !error.message.contains('\n'), "{line}");
                    writeln!(out, "    ! {part}: {error}").unwrap();
                }
            }
        }
        #[allow(clippy::disallowed_methods, reason = "a switch for whoever runs the tests")]
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &out).unwrap();
        }
        assert_eq!(file, out, "{}: if this is as it should be, UPDATE=1", path.display());
    }
}

/// A row of a table: some of its columns, and nothing in the others.
struct Row(&'static str, &'static str, Vec<(&'static str, Cell)>);

fn pairs(it: &[(&str, &str)]) -> Cell {
    Cell::Pairs(it.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
}

fn list(it: &[&str]) -> Cell {
    Cell::List(it.iter().map(|it| (*it).to_owned()).collect())
}

/// One row each, by a name that stands in `flow_id`.
fn rows() -> Vec<Row> {
    let at = |(client, server): (&'static str, &'static str), port: i64| {
        vec![
            ("client_ip", client.into()),
            ("server_ip", server.into()),
            ("server_port", Cell::from(port)),
            ("ts", Cell::from(crate::fixture::T0)),
            ("capture", "packet".into()),
        ]
    };
    let http = |own: Vec<(&'static str, Cell)>| {
        let mut all = at(("10.0.0.1", "10.1.0.1"), 80);
        all.extend([
            ("request_bytes", Cell::from(100)),
            ("response_bytes", 200.into()),
            ("version", "1.1".into()),
        ]);
        all.retain(|it| own.iter().all(|own| own.0 != it.0));
        all.into_iter().chain(own).collect::<Vec<_>>()
    };
    let other = |port, own: Vec<(&'static str, Cell)>| {
        let mut all = at(("10.0.0.2", "192.168.0.1"), port);
        all.extend(own);
        all
    };
    vec![
        Row(
            "http",
            "ok",
            http(vec![
                ("verb", "GET".into()),
                ("path", "/api/items".into()),
                ("target", "/api/items?id=50&q=a%20b".into()),
                ("query", "id=50&q=a%20b".into()),
                ("status", 200.into()),
                ("duration", 6_000_000_000.into()),
                ("request_headers", pairs(&[("host", "shop"), ("x-id", "7")])),
                ("response_body", Cell::Bytes(br#"{"brand":{"name":"Chevrolet"}}"#.to_vec())),
                ("client_namespace", "web".into()),
                ("server_namespace", "prod".into()),
                ("server_service", "items".into()),
            ]),
        ),
        Row(
            "http",
            "broken",
            http(vec![
                ("verb", "POST".into()),
                ("path", "/api/pay".into()),
                ("target", "/api/pay".into()),
                ("status", 503.into()),
                ("duration", 40_000_000.into()),
                ("request_headers", pairs(&[("authorization", "Token x")])),
                ("client_namespace", "prod".into()),
                ("server_namespace", "prod".into()),
                ("capture", "plaintext".into()),
            ]),
        ),
        // No response, no path, no headers.
        Row(
            "http",
            "unanswered",
            http(vec![("verb", "CONNECT".into()), ("response_bytes", 0.into())]),
        ),
        Row(
            "http",
            "call",
            http(vec![
                ("verb", "POST".into()),
                ("version", "2".into()),
                ("path", "/shop.Cart/Add".into()),
                ("status", 200.into()),
                ("request_content_type", "application/grpc".into()),
            ]),
        ),
        Row(
            "grpc",
            "call-row",
            http(vec![("verb", "Add".into()), ("status", 5.into()), ("failed", true.into())]),
        ),
        Row(
            "dns",
            "found",
            other(
                53,
                vec![
                    ("question_name", "google.com".into()),
                    ("question_type", "A".into()),
                    ("questions", list(&["google.com IN A"])),
                    ("answers", list(&["1.2.3.4"])),
                    ("answer_count", 1.into()),
                    ("status", 0.into()),
                    ("request_bytes", 30.into()),
                    ("response_bytes", 60.into()),
                ],
            ),
        ),
        Row(
            "dns",
            "several",
            other(
                5353,
                vec![
                    ("question_name", "a.local".into()),
                    ("question_type", "PTR".into()),
                    ("questions", list(&["a.local IN PTR", "xgoogle.com IN AAAA"])),
                    ("request_bytes", 30.into()),
                ],
            ),
        ),
        Row(
            "dns",
            "missing",
            other(
                53,
                vec![
                    ("question_name", "x.shop.svc".into()),
                    ("question_type", "AAAA".into()),
                    ("questions", list(&["x.shop.svc IN AAAA"])),
                    ("status", 3.into()),
                    ("request_bytes", 30.into()),
                    ("response_bytes", 30.into()),
                ],
            ),
        ),
        Row(
            "redis",
            "get",
            other(
                6379,
                vec![
                    ("verb", "GET".into()),
                    ("command", "GET".into()),
                    ("key", "session:1".into()),
                    ("arguments", list(&["session:1"])),
                ],
            ),
        ),
        Row(
            "kafka",
            "produce",
            other(9092, vec![("api", "Produce".into()), ("topics", list(&["orders"]))]),
        ),
        Row("mqtt", "mqtt", other(1883, Vec::new())),
    ]
}

/// The rows that a filter holds for, by name.
fn matching(filter: &str, tables: &Tables) -> Vec<String> {
    let filter = parse(filter, tables).unwrap_or_else(|it| panic!("{filter}: {it}"));
    let live = filter.live(&std::sync::Arc::new(query::Rights::all())).unwrap();
    let mut names = Vec::new();
    for Row(table, name, columns) in rows() {
        let table = tables.get(table).unwrap();
        let cells = table.fields.iter().map(|field| {
            if field.name == "flow_id" {
                return name.into();
            }
            let given = columns.iter().find(|it| it.0 == field.name).map(|it| it.1.clone());
            given.unwrap_or_else(|| match (field.nullable, field.kind) {
                (true, _) => Cell::Null,
                (_, Kind::Flag) => false.into(),
                (_, Kind::Code | Kind::Port | Kind::Count | Kind::Size | Kind::Duration) => {
                    0.into()
                }
                (_, Kind::Time) => 0.into(),
                (_, Kind::Texts) => list(&[]),
                (_, Kind::Headers) => pairs(&[]),
                (_, Kind::Body) => Cell::Bytes(Vec::new()),
                _ => "".into(),
            })
        });
        let row = batch(table, &[cells.collect()]);
        if let Some(found) = live.apply(&table.name, &row).unwrap() {
            let found: RecordBatch = concat_batches(&found.schema(), [&found]).unwrap();
            let found = found.column_by_name("flow_id").unwrap().as_string_view().value(0);
            names.push(found.to_owned());
        }
    }
    names
}

#[test]
fn a_translation_holds_for_the_rows_that_the_original_would_show() {
    let tables = Tables::new(tables());
    let check = |kfl: &str, expected: &str| {
        let it = translate(kfl, &tables).unwrap_or_else(|it| panic!("{kfl}: {it}"));
        let found = matching(&it.filter, &tables).join(" ");
        assert_eq!(found, expected, "{kfl}: {}", it.filter);
    };
    let all = "ok broken unanswered call call-row found several missing get produce mqtt";

    check("http", "ok broken unanswered call");
    check("!http", "found several missing get produce mqtt");
    check("!(http || dns)", "get produce mqtt");
    check("!tcp", all);
    check("http && status_code >= 500", "broken");
    // What was not answered has the status 0.
    check("http && status_code != 200", "broken unanswered");
    check("http && status_code < 300", "ok unanswered call");
    check("status_code == 0 && http", "unanswered");
    check("status_code == 200", "ok call");
    check("!(status_code == 200) && (http || redis)", "broken unanswered get");
    check("http && !path.contains(\"/api\")", "unanswered call");
    check("http && path == \"\"", "unanswered");
    check("path.startsWith(\"/api\") || redis_key.startsWith(\"session:\")", "ok broken get");
    check("http && elapsed_time > 5000000", "ok");
    check("http && elapsed_time <= 40000", "broken unanswered call");
    check("http && url.matches(\"id=[0-9]+\")", "ok");
    // An entry that isn't there is an error, which is neither true nor false.
    check("http && request.headers[\"x-id\"] == \"7\"", "ok");
    check("http && request.headers[\"x-id\"] != \"8\"", "ok");
    check("http && !(request.headers[\"x-id\"] == \"7\")", "");
    check("http && (request.headers[\"x-id\"] == \"7\" || status_code == 503)", "ok broken");
    check("http && map_get(request.headers, \"X-Id\", \"\") != \"7\"", "broken unanswered call");
    check("\"authorization\" in request.headers", "broken");
    check("http && !(\"authorization\" in request.headers)", "ok unanswered call");
    check("query_string[\"q\"] == \"a b\"", "ok");
    check("http && http_version == \"HTTP/1.1\"", "ok broken unanswered");
    check("method in [\"POST\", \"PUT\"]", "broken call");
    check("src.pod.namespace != dst.pod.namespace", "ok");
    check("\"prod\" in namespaces && src.namespace != \"web\"", "broken");
    check("dst.service.namespace == \"prod\"", "ok");
    check("namespaces.all(n, n == \"prod\") && http && namespaces.exists(n, n != \"\")", "broken");
    check("tls && http", "broken");
    check("grpc", "call-row");
    check("grpc && grpc_status != 0", "call-row");
    check("grpc && method == \"POST\" && status_code == 200", "call");
    check("grpc && grpc_method == \"Add\" && path.startsWith(\"/shop\")", "call");
    check("http && !grpc", "ok broken unanswered");
    check("dns && \"google.com\" in dns_questions", "found");
    check("dns && \"xgoogle.com\" in dns_questions", "several");
    check("dns && !(\"google.com\" in dns_questions)", "several missing");
    check("dns_questions.exists(q, q.endsWith(\"google.com\"))", "found several");
    check("dns_questions.exists(q, q.contains(\".svc\") || q == \"a.local\")", "several missing");
    check("dns && \"AAAA\" in dns_question_types", "several missing");
    check("dns && size(dns_questions) > 1", "several");
    check("dns && \"1.2.3.4\" in dns_answers", "found");
    check("dns && size(dns_answers) == 0", "several missing");
    check("dns && dns_response && status_code != 0", "missing");
    check("dns && !dns_response", "several");
    check("redis && redis_command == \"GET session:1\"", "get");
    check(
        "kafka_api_key_name == \"PRODUCE\" && kafka_request_summary.contains(\"orders\")",
        "produce",
    );
    check("protocol == \"DNS\" && dst.port == 53", "found missing");
    check("protocol != \"HTTP\" && dst.port < 100", "found missing");
    check("dst.port == 53 || http && status_code >= 500", "broken found missing");
    check("http ? status_code == 503 : dst.port == 6379", "broken get");
    check("size(path) > 12 && http", "call");
    check("request_body_size + 5 > 4 && dst.port == 6379", "get");
    check("timestamp > timestamp(\"2025-12-31T23:59:59Z\") && redis", "get");
    check("timestamp > now() - duration(\"5m\") && http", "");
    check("elapsed_time * 2 == 80000", "broken");

    // In the older KFL, what isn't there makes the expression false.
    check("response.status == 503", "broken");
    check("http and response.status == r\"^2\"", "ok");
    check("response.status == r\"5\"", "broken");
    check("http and request.path != \"/api/pay\"", "ok unanswered");
    check("request.query.id > 42", "ok");
    check("request.query.id > 42 or response.status == 503", "ok");
    check("response.status == 503 or request.query.id > 42", "ok broken");
    check("request.headers[\"Authorization\"] == r\"Token.*\" and src.ip != \"1.1.1.1\"", "broken");
    check("request.method == \"GET\" or redis", "ok");
    check("redis or request.method == \"GET\"", "ok get");
    check("(request.method == \"GET\") or redis", "ok get");
    check("!(request.method == \"GET\") and (http or redis)", "broken unanswered get");
    check("response.body.json().brand.name == \"Chevrolet\"", "ok");
    check(
        "(src.namespace == \"web\" and dst.namespace == \"prod\") or dns",
        "ok found several missing",
    );
    check("elapsedTime > 100", "ok");
    check("tls and (http or http2)", "broken");
    check("timestamp >= minutes(-5)", "");
}

#[test]
fn a_part_that_cannot_be_said_is_named_and_the_rest_is_not_offered() {
    let tables = Tables::new(tables());
    let check = |kfl: &str, at: &str, message: &str| {
        let error = translate(kfl, &tables).err().unwrap_or_else(|| panic!("{kfl} is translated"));
        assert_eq!(kfl.get(error.at.clone()).map(str::trim), Some(at), "{kfl}: {error}");
        assert!(error.message.contains(message), "{kfl}: {error}");
    };
    // Any row the original would show beside the others is reason enough.
    check("http || tcp_error_type != \"\"", "tcp_error_type", "connections");
    check("http || conn", "conn", "connections");
    check("dst.dns == \"x\" || http", "dst.dns", "no names from DNS");
    check("http && local_labels[\"app\"] == \"x\"", "local_labels", "no labels");
    check("status_code == \"200\"", "status_code == \"200\"", "can't be compared");
    check("http && path > 5", "path > 5", "compared with a number");
    check("http && response.status == 500", "response.status", "older KFL");
    check("http and dns or redis", "or", "disagree");
    check("sttaus_code == 500", "sttaus_code", "no `sttaus_code`");
    check("http && dns", "http && dns", "no row");
    check("http && 5 / request_body_size > 1", "5 / request_body_size", "divided");
    let many = vec!["dst.port == 80"; 1500].join(" || ");
    assert!(translate(&many, &tables).is_err());
    let nested = (0..40).fold("request.query.a > 1".to_owned(), |it, _| format!("({it} or redis)"));
    // Answered at once, with a filter or without.
    let _either = translate(&nested, &tables);
}

#[test]
fn kfl_where_a_filter_is_expected_is_offered_as_one() {
    let tables = Tables::new(tables());
    let offered = |text: &str| parse(text, &tables).err().and_then(|it| it.instead);
    assert_eq!(offered("http && status_code >= 500").as_deref(), Some("http.status >= 500"));
    assert_eq!(offered("request.path == \"/a\"").as_deref(), Some("http.path = '/a'"));
    // It reads as a filter of ours, but no table has it all.
    assert_eq!(offered("http && method == \"GET\"").as_deref(), Some("http.verb = 'GET'"));
    assert_eq!(offered("http.statsu = 200"), None);
    assert_eq!(offered("http and status >= 500"), None);
    assert_eq!(offered("conn && conn_state == \"open\""), None);
}
