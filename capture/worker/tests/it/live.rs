use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use arrow_array::{cast::AsArray, types::UInt64Type};
use worker::{Error, Inputs, LiveConfig, Way, Worker};

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

/// On a worker whose kernel has next to no room for packets, they are sent until some of them are lost.
#[test]
fn what_the_kernel_drops_is_in_losses_whichever_way_packets_come() {
    for way in [Way::Ring, Way::Libpcap] {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = silent.local_addr().unwrap();
        let live = LiveConfig {
            interface: "lo".to_owned(),
            filter: Some(format!("udp port {}", to.port())),
            buffer_bytes: 512 << 10,
            way,
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
        assert_eq!(worker.health().inputs[0].way.as_deref(), Some(way.name()));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let began = Instant::now();
        while worker.health().dropped_kernel == 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "{way}: nothing was lost");
            for _ in 0..200 {
                sender.send_to(&[0; 60_000], to).unwrap();
            }
        }
        // What was lost last has been counted once the capture has ended.
        worker.stop().unwrap();
        let dropped = worker.health().dropped_kernel;
        let mut entered = 0;
        for batch in rows(worker.store(), "losses") {
            let stages = batch.column_by_name("stage").unwrap().as_string_view();
            let counts = batch.column_by_name("count").unwrap().as_primitive::<UInt64Type>();
            let kernel = stages.iter().zip(counts.values()).filter(|it| it.0 == Some("kernel"));
            entered += kernel.map(|it| it.1).sum::<u64>();
        }
        assert_eq!(entered, dropped, "{way}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_an_error_at_once() {
    let live = LiveConfig { interface: "nosuch0".to_owned(), ..LiveConfig::default() };
    let error = Worker::start(config(Inputs::Live(live)), None).unwrap_err().to_string();
    assert!(error.starts_with("there is no interface nosuch0; there are: "), "{error}");
}
