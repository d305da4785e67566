//! What others make of the bucket: DuckDB reads it, a server of S3's protocol holds it.
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use segment::{Bucket, Options, Store};

use crate::buckets::{bucket, everywhere, tree, try_everywhere};
use crate::merges::{fill, wait};
use crate::rows::{patient, table};

/// A Python with the packages of [`PACKAGES`], made in the target folder if it isn't there.
fn python() -> &'static PathBuf {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let venv = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("python");
        let (python, done) = (venv.join("bin/python"), venv.join(PACKAGES.join("+")));
        if done.exists() {
            return python;
        }
        let run = |command: &mut Command| {
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "python3-venv and PyPI are needed: {said}");
        };
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        run(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(PACKAGES));
        std::fs::write(done, "").unwrap();
        python
    });
    &PYTHON
}

/// Stops with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn duckdb_reads_the_bucket_without_us() {
    let (dir, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bucket = bucket(format!("file://{}", objects.path().display()));
    let options =
        Options { bucket: Some(bucket), merge_bytes: 32 << 20, merge_share: 1.0, ..patient() };
    let (store, _) = Store::open(dir.path(), &[table("http")], options).unwrap();
    // Forty hours of rows: on two days.
    let hour = 3_600_000_000_000;
    for part in 0..4_u64 {
        let n = (part * 100..part * 100 + 100).collect::<Vec<_>>();
        let rows = crate::rows::batch(&table("http"), &n, |it| it as i64 * hour / 10);
        store.append("http", rows).unwrap();
        store.seal().unwrap();
        wait(|| store.state().tables[0].bucket_bytes == store.state().segment_bytes);
    }
    drop(store);
    let script = format!(
        "import duckdb\n\
         sql = lambda it: duckdb.sql(it).fetchall()\n\
         all = \"read_parquet('{0}/*/http/*/*.parquet')\"\n\
         print(sql(f'select count(*), sum(n), count(distinct ts), max(label) from {{all}}'))\n\
         print(sql(f'select count(*) from {{all}} where headers[\\'set-cookie\\'] is not null'))\n\
         print(sql(f'select octet_length(body) from {{all}} where n = 123'))\n\
         day = \"read_parquet('{0}/*/http/1970-01-02/*.parquet')\"\n\
         print(sql(f'select min(ts) >= \\'1970-01-02\\' from {{day}}'))\n",
        objects.path().display()
    );
    let output = Command::new(python()).args(["-c", &script]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = said.lines().collect::<Vec<_>>();
    let [all, cookies, body, day] = lines[..] else { panic!("{said}") };
    assert_eq!(all, "[(400, 79800, 400, 'label 99')]");
    // Of four rows three have headers, of seven one has none at all.
    let expected = (0..400_u64).filter(|it| it % 7 != 3 && it % 4 != 0).count();
    assert_eq!(cookies, format!("[({expected},)]"));
    assert_eq!(body, format!("[({},)]", 123 % 97));
    assert_eq!(day, "[(True,)]");
}

/// A server of S3's protocol with an empty bucket `traffic`, on a port of this machine.
fn s3() -> (Running, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new(python())
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let server = Running(server.unwrap());
    wait(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let put = "PUT /traffic HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n";
    let answer = exchange(port, put.as_bytes().to_vec());
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    (server, port)
}

/// Sends one request, and gives what comes until the server closes.
fn exchange(port: u16, mut request: Vec<u8>) -> Vec<u8> {
    let line = request.windows(2).position(|it| it == b"\r\n").unwrap();
    request.splice(line..line, b"\r\nconnection: close".iter().copied());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// The bucket on that port.
fn on(port: u16) -> Bucket {
    let mut bucket = bucket("s3://traffic/deep/down".to_owned());
    bucket.settings = [
        ("AWS_ENDPOINT", format!("http://127.0.0.1:{port}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "any".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "thing".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    bucket
}

/// What stands between us and the server does with a request.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Passes,
    /// Says 503.
    Busy,
    /// Says 403.
    Denies,
    /// Cuts the answer in the middle of its body.
    Cuts,
}

/// What the next requests meet, how many of them, and how many met it.
type Moods = Arc<Mutex<(Mood, usize, usize)>>;

/// A way to the server that is not always free.
fn troubled(server: u16) -> (u16, Moods) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let moods: Moods = Arc::new(Mutex::new((Mood::Passes, 0, 0)));
    let shared = Arc::clone(&moods);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, moods) = (stream.unwrap(), Arc::clone(&shared));
            std::thread::spawn(move || answer(stream, server, &moods));
        }
    });
    (port, moods)
}

/// Answers one request, and closes. A caller that goes away is no failure.
fn answer(mut stream: TcpStream, server: u16, moods: &Moods) {
    let mut request = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let body = loop {
        let end = request.windows(4).position(|it| it == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
            break end + 4 + length.map_or(0, |it| it.parse::<usize>().unwrap());
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    };
    while request.len() < body {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
    let is_get = request.starts_with(b"GET");
    let mood = {
        let (mood, left, met) = &mut *moods.lock().unwrap();
        let meets = *left > 0 && (is_get || !matches!(mood, Mood::Cuts));
        if meets {
            (*left, *met) = (*left - 1, *met + 1);
        }
        if meets { *mood } else { Mood::Passes }
    };
    let refusal = |status: &str, code: &str| {
        let body = format!("<Error><Code>{code}</Code><Message>It is a test.</Message></Error>");
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let said = match mood {
        Mood::Busy => refusal("503 Slow Down", "SlowDown"),
        Mood::Denies => refusal("403 Forbidden", "AccessDenied"),
        Mood::Passes => exchange(server, request),
        Mood::Cuts => {
            let mut whole = exchange(server, request);
            let head = whole.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
            whole.truncate(head + (whole.len() - head) / 2);
            whole
        }
    };
    drop(stream.write_all(&said));
}

#[test]
fn what_s3_refuses_is_told_and_tried_again_and_what_it_cuts_is_never_a_wrong_row() {
    let (_server, port) = s3();
    let (port, moods) = troubled(port);
    let next = |mood, n| *moods.lock().unwrap() = (mood, n, 0);
    let met = || moods.lock().unwrap().2;
    let mut bucket = on(port);
    // Nothing of what was read stays.
    bucket.cache_bytes = 0;
    let options =
        Options { bucket: Some(bucket), keep_age: Some(Duration::from_secs(3600)), ..patient() };
    let dir = tempfile::tempdir().unwrap();
    next(Mood::Denies, usize::MAX);
    let (store, _) = Store::open(dir.path(), &[table("http")], options).unwrap();
    fill(&store, &table("http"), 0, 1, 1_000);
    wait(|| store.state().bucket_failing.is_some());
    let why = store.state().bucket_failing.unwrap();
    assert!(why.starts_with("bucket s3://traffic/deep/down: "), "{why}");
    assert!(why.contains("403") && why.contains("AccessDenied"), "{why}");
    assert_eq!((store.state().bucket_bytes, store.state().bucket_listed), (0, false));

    next(Mood::Busy, 3);
    wait(|| store.state().bucket_bytes == store.state().segment_bytes);
    assert_eq!((store.state().bucket_failing, met()), (None, 3));
    fill(&store, &table("http"), 1_000, 2, 1_000);
    wait(|| store.state().bucket_bytes == store.state().segment_bytes);
    assert!(store.maintain(i64::MAX).is_empty(), "moved, not lost");

    let rows = (0..3_000).collect::<Vec<_>>();
    let read = || try_everywhere(&store.snapshot("http"));
    next(Mood::Cuts, 2);
    // It asks for the rest.
    assert_eq!((read().unwrap(), met()), (rows.clone(), 2));
    next(Mood::Denies, usize::MAX);
    let error = read().unwrap_err().to_string();
    assert!(error.contains("bucket s3://traffic/deep/down: ") && error.contains("403"), "{error}");
    next(Mood::Passes, 0);
    assert_eq!(read().unwrap(), rows);
    next(Mood::Cuts, usize::MAX);
    // Half of what is left each time: in the end it may be there.
    assert!(read().is_err() || read().unwrap() == rows);
    assert!(met() > 3);
}

#[test]
fn a_server_of_s3_holds_what_expires_here() {
    let (_server, port) = s3();
    let bucket = on(port);
    let options =
        Options { bucket: Some(bucket), keep_age: Some(Duration::from_secs(3600)), ..patient() };
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), &[table("http")], options.clone()).unwrap().0;
    let store = open();
    fill(&store, &table("http"), 0, 3, 1_000);
    // More than a part of an upload.
    fill(&store, &table("http"), 3_000, 1, 150_000);
    let large = store.snapshot("http").segments.iter().map(|it| it.bytes).max().unwrap();
    assert!(large > 8 << 20, "{large}");
    wait(|| store.state().tables[0].bucket_bytes == store.state().segment_bytes);
    assert_eq!(store.state().bucket_failing, None);
    assert!(store.maintain(i64::MAX).is_empty(), "moved, not lost");
    assert!(store.snapshot("http").segments.iter().all(|it| !it.is_local()));
    let rows = (0..153_000).collect::<Vec<_>>();
    assert_eq!(everywhere(&store.snapshot("http")), rows);
    let kept = tree(&dir.path().join("cache"));
    assert!(!kept.is_empty());
    drop(store);

    let store = open();
    wait(|| store.state().bucket_listed);
    assert_eq!(everywhere(&store.snapshot("http")), rows);
}

/// DuckDB, and a server of Amazon's protocols.
const PACKAGES: &[&str] = &["duckdb==2.0.1", "moto[server]==5.2.5"];
