//! The worker as a Hub in the same process sees it: over the real link, only in memory.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use api::TailRequest;
use arrow_array::cast::AsArray;
use futures::StreamExt;
use link::{CallError, Client, attach};
use query::{
    Ask, Engine, Limits, Options, Query, Tables,
    fleet::{Channel, Fleet, Member},
};
use worker::{Error, Hub, Inputs, LiveConfig, Worker};

use crate::{capture, config, start};

async fn linked(name: &str) -> Option<(Worker, Client)> {
    let worker = start(config(Inputs::Files(vec![capture(name)?])));
    worker.imported().await;
    let client = attach(worker.node(), worker.engine());
    Some((worker, client))
}

/// Asks the fleet of this one worker.
pub(crate) async fn ask(
    client: &Client,
    query_id: &str,
    sql: &str,
) -> (Vec<arrow_array::RecordBatch>, query::Accounting) {
    let hello = client.hello().await.unwrap();
    let member = Member {
        node: hello.node,
        channel: Channel::new(client.channel()),
        version: hello.version,
    };
    let fleet = Fleet::new(vec![member], Tables::new(hello.tables), None);
    let query =
        Query { id: query_id.to_owned(), ask: Ask::Sql(sql.to_owned()), limits: Limits::default() };
    let answer = Engine::fleet(fleet, Options::default()).run(query).await.unwrap();
    let rows = answer.rows.map(Result::unwrap).collect().await;
    (rows, answer.accounting.await)
}

#[tokio::test]
async fn it_says_who_it_is_and_how_it_does() {
    let Some((worker, client)) = linked("rec_dns_0.pcap").await else { return };
    let hello = client.hello().await.unwrap();
    assert_eq!((hello.node.as_str(), hello.version), ("here", query::version()));
    assert_eq!(hello.tables, dissect::tables());

    let health = client.health().await.unwrap();
    let own = worker.health();
    assert_eq!((health.packets, health.inputs), (own.packets, own.inputs));
    let dns = health.tables.iter().find(|it| it.name == "dns").unwrap();
    assert!(dns.rows > 0 && dns.oldest_ms <= dns.newest_ms);
}

#[tokio::test]
async fn sql_over_the_link_finds_the_rows_and_says_what_it_cost() {
    let Some((worker, client)) = linked("rec_mix_0.pcap").await else { return };
    let sql = "select status, count(*) as n from http group by status order by status";
    let (rows, accounting) = ask(&client, "one", sql).await;
    let total: i64 = rows
        .iter()
        .flat_map(|it| it.column(1).as_primitive::<arrow_array::types::Int64Type>().iter())
        .flatten()
        .sum();
    let health = worker.health();
    let http = health.tables.iter().find(|it| it.name == "http").unwrap().rows;
    assert_eq!(total, i64::try_from(http).unwrap());
    assert!(accounting.complete && accounting.nodes.len() == 1, "{accounting:?}");
    let work = client.accounting("one").await.unwrap().unwrap();
    assert_eq!(work.rows_scanned, http);
    assert!(work.bytes_scanned > 0);
    assert!(client.accounting("never asked").await.unwrap().is_none());
}

#[tokio::test]
async fn a_wrong_filter_is_refused_with_its_place() {
    let worker = start(config(Inputs::None));
    let client = attach(worker.node(), worker.engine());
    let request = TailRequest { filter: "status >=".to_owned() };
    let refused = client.tail(&request, &query::Rights::all().to_text()).await.unwrap_err();
    assert!(matches!(&refused, CallError::Refused(error) if error.at.is_some()), "{refused:?}");
}

#[tokio::test]
async fn a_live_tail_gets_what_matches_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let live = LiveConfig {
        interface: "lo".to_owned(),
        filter: Some(format!("tcp port {port}")),
        ..LiveConfig::default()
    };
    let worker = match Worker::start(config(Inputs::Live(live)), None) {
        Ok(worker) => worker,
        Err(Error::Source(error @ source::Error::Permission { .. })) => {
            eprintln!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let client = attach(worker.node(), worker.engine());
    let request = TailRequest { filter: "http.status >= 500".to_owned() };
    let mut tail = client.tail(&request, &query::Rights::all().to_text()).await.unwrap();
    assert_eq!(worker.health().tails, 1);

    let traffic = std::thread::spawn(move || {
        for n in 0..20 {
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let request = format!("GET /item/{n} HTTP/1.1\r\nHost: here\r\n\r\n");
            client.write_all(request.as_bytes()).unwrap();
            server.read_exact(&mut vec![0; request.len()]).unwrap();
            let status = if n % 5 == 0 { "503 Busy" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nhi");
            server.write_all(answer.as_bytes()).unwrap();
            client.read_exact(&mut vec![0; answer.len()]).unwrap();
        }
    });
    let mut targets: Vec<String> = Vec::new();
    while targets.len() < 4 {
        let next = tokio::time::timeout(Duration::from_secs(5), tail.rows.next()).await;
        let rows = next.expect("rows come").unwrap().unwrap();
        assert_eq!(rows.schema(), Arc::clone(&tail.schema));
        let column = rows.column_by_name("target").unwrap().as_string_view();
        targets.extend(column.iter().flatten().map(str::to_owned));
    }
    assert_eq!(targets, ["/item/0", "/item/5", "/item/10", "/item/15"]);
    traffic.join().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), tail.rows.next()).await.is_err());

    // Whoever leaves is no longer served.
    drop(tail);
    for _ in 0..50 {
        if worker.health().tails == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the tail still has a listener");
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error() {
    let worker = start(config(Inputs::None));
    let hub = Hub { address: "ftp://nowhere".to_owned(), token: None, certificates: None };
    let error = worker::serve(&worker, &hub).await.to_string();
    assert!(error.contains("is not a Hub's address"), "{error}");
}
