use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use arrow_array::cast::AsArray;
use worker::{Error, Inputs, LiveConfig, Worker};

use crate::{config, counts, rows};

/// Answers `n` requests on one connection.
fn serve(listener: &TcpListener, n: usize) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut buffer = Vec::new();
    for _ in 0..n {
        while !buffer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            buffer.push(byte[0]);
        }
        buffer.clear();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    }
}

#[test]
fn real_requests_on_loopback_are_rows_while_the_connection_is_open() {
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
    assert!(worker.health().capturing || worker.health().inputs[0].active);
    assert!(worker.health().empty_because.unwrap().contains("came on lo yet"));

    const REQUESTS: usize = 50;
    let server = std::thread::spawn(move || serve(&listener, REQUESTS));
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for n in 0..REQUESTS {
        write!(client, "GET /item/{n} HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        let mut answer = [0; 43];
        client.read_exact(&mut answer).unwrap();
    }
    server.join().unwrap();

    let sent = Instant::now();
    while counts(worker.store())["http"] < REQUESTS as u64 {
        assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", counts(worker.store()));
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut targets: Vec<String> = Vec::new();
    for batch in rows(worker.store(), "http") {
        let column = batch.column_by_name("target").unwrap().as_string_view();
        targets.extend(column.iter().flatten().map(str::to_owned));
    }
    let wanted: Vec<_> = (0..REQUESTS).map(|n| format!("/item/{n}")).collect();
    assert_eq!(targets, wanted);
    assert_eq!(worker.health().empty_because, None);
    drop(client);
    worker.stop().unwrap();
    assert!(!worker.health().capturing);
}

#[test]
fn an_interface_that_is_not_there_is_an_error_at_once() {
    let live = LiveConfig { interface: "nosuch0".to_owned(), ..LiveConfig::default() };
    let error = Worker::start(config(Inputs::Live(live)), None).unwrap_err().to_string();
    assert!(error.starts_with("there is no interface nosuch0; there are: "), "{error}");
}
