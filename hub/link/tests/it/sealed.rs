//! The link by TLS: who is taken, who isn't, and what whoever looks is told.

use super::{Fake, check};
use axum::{Router, extract::WebSocketUpgrade, routing::any};
use link::{Certificates, Client, DialError, DialState, Dialer, Doors, Heartbeat, Routes};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
        version::TLS13,
    },
};
use tracing_subscriber::fmt::MakeWriter;

/// A CA that signs for both sides.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// All have the same name, as after a renewal.
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "the link");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Writes what one side needs: a certificate of this CA for that name, and the CA that it trusts.
    fn write(&self, folder: &Path, name: &str, good: bool, trusted: &Self) -> Certificates {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        params.not_before = (now - 2 * day).into();
        params.not_after = (if good { now + day } else { now - day }).into();
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Certificates {
            ca: file("ca.crt", trusted.pem.clone()),
            certificate: file("tls.crt", signed.pem()),
            key: file("tls.key", key.serialize_pem()),
        }
    }
}

/// A Hub that only takes links.
struct Hub {
    address: SocketAddr,
    clients: mpsc::Receiver<Client>,
}

impl Hub {
    async fn start(certificates: Option<&Certificates>) -> Self {
        let (sender, clients) = mpsc::channel(8);
        let take = move |upgrade: WebSocketUpgrade| {
            let sender = sender.clone();
            async move {
                link::accept(upgrade, Heartbeat::HUB, move |client| {
                    sender.try_send(client).unwrap();
                })
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let doors = Doors::open(listener, certificates).unwrap();
        let router = Router::new().route("/worker", any(take));
        tokio::spawn(async move { axum::serve(doors, router).await.unwrap() });
        Self { address, clients }
    }

    fn dial(&self, certificates: Option<Certificates>) -> Dialled {
        let dialer = Dialer::new(&self.address.to_string(), None, certificates).unwrap();
        let state = dialer.state();
        let task = tokio::spawn(dialer.run(Arc::new(Fake::default()), Routes::default()));
        Dialled { task, state }
    }
}

/// A Worker that dials until this is dropped.
struct Dialled {
    task: tokio::task::JoinHandle<DialError>,
    state: watch::Receiver<DialState>,
}

impl Dialled {
    /// Why it has no link.
    async fn says(&self) -> String {
        let mut state = self.state.clone();
        let said = state.wait_for(|it| *it != DialState::Dialing);
        match timeout(PATIENCE, said).await.expect("it said nothing").unwrap().clone() {
            DialState::Waiting(reason) => reason,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    async fn wait_for(&self, what: &str) {
        let said = async {
            while !self.text().contains(what) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, said).await.is_ok(), "no {what:?} in\n{}", self.text());
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_worker_and_a_hub_of_one_ca_are_linked_as_without_tls() {
    let ca = Authority::new();
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut hub = Hub::start(Some(&ca.write(ours.path(), "127.0.0.1", true, &ca))).await;
    let certificates = ca.write(theirs.path(), "anybody", true, &ca);
    let node = Fake::default();
    let dropped: Arc<AtomicBool> = Arc::clone(&node.tail_dropped);
    let dialer = Dialer::new(&hub.address.to_string(), None, Some(certificates)).unwrap();
    let _task = tokio::spawn(dialer.run(Arc::new(node), Routes::default()));
    let client = timeout(PATIENCE, hub.clients.recv()).await.unwrap().unwrap();
    check(&client, &dropped).await;
}

#[tokio::test]
async fn who_is_not_taken_is_told_why_and_goes_on_dialling() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let (ca, other) = (Authority::new(), Authority::new());
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut hub = Hub::start(Some(&ca.write(ours.path(), "127.0.0.1", true, &ca))).await;

    for (signer, good, trusted, told, logged) in [
        (
            &ca,
            true,
            &other,
            "the hub's certificate is not of the CA known here",
            "the worker does not take this side's certificate: it is not of its CA",
        ),
        (
            &other,
            true,
            &ca,
            "the hub does not take this side's certificate: it is not of its CA",
            "the worker's certificate is not of the CA known here",
        ),
        (
            &ca,
            false,
            &ca,
            "the hub does not take this side's certificate: it has expired",
            "the worker's certificate has expired",
        ),
    ] {
        let certificates = signer.write(theirs.path(), "w", good, trusted);
        let dialled = hub.dial(Some(certificates));
        assert_eq!(dialled.says().await, format!("wss://{}/worker: {told}", hub.address));
        log.wait_for(logged).await;
        // As soon as its files are good it is taken.
        ca.write(theirs.path(), "w", true, &ca);
        timeout(PATIENCE, hub.clients.recv()).await.expect("it gave up").unwrap();
    }

    // Not by its first byte, but by what it shows.
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Lines are told once a second at most.
    let nothing_shown = async {
        while !log.text().contains("the worker shows no certificate") {
            let socket = TcpStream::connect(hub.address).await.unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let connector = TlsConnector::from(Arc::new(config.clone()));
            if let Ok(mut stream) = connector.connect(name, socket).await {
                let asked = stream.write_all(b"GET /worker HTTP/1.1\r\nhost: h\r\n\r\n").await;
                let mut answer = Vec::new();
                let heard = stream.read_to_end(&mut answer).await;
                assert!(asked.is_err() || heard.is_err(), "it was let in");
                assert_eq!(answer, b"");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(PATIENCE, nothing_shown).await.is_ok(), "{}", log.text());
}

#[tokio::test]
async fn a_hub_is_taken_only_by_its_name_and_while_it_is_good() {
    let ca = Authority::new();
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shown = ca.write(theirs.path(), "w", true, &ca);
    for (name, good, told) in [
        ("hub.example", true, "the hub's certificate is for another name than the one dialled"),
        ("127.0.0.1", false, "the hub's certificate has expired"),
    ] {
        let mut hub = Hub::start(Some(&ca.write(ours.path(), name, good, &ca))).await;
        let dialled = hub.dial(Some(shown.clone()));
        assert_eq!(dialled.says().await, format!("wss://{}/worker: {told}", hub.address));
        // Its files are renewed while it runs.
        ca.write(ours.path(), "127.0.0.1", true, &ca);
        timeout(PATIENCE, hub.clients.recv()).await.expect("they were not read").unwrap();
    }
    let plain = Hub::start(None).await;
    let dialled = plain.dial(Some(shown));
    let told = format!("wss://{}/worker: the hub speaks no TLS there", plain.address);
    assert_eq!(dialled.says().await, told);
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named_at_once() {
    let ca = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let good = ca.write(folder.path(), "w", true, &ca);
    let other = tempfile::tempdir().unwrap();
    let key_of_other = ca.write(other.path(), "w", true, &ca).key;
    for (wrong, told) in [
        (Certificates { ca: "/nowhere".into(), ..good.clone() }, "/nowhere: No such file"),
        (Certificates { ca: good.key.clone(), ..good.clone() }, "there is no certificate in it"),
        (Certificates { key: good.ca.clone(), ..good.clone() }, "there is no private key in it"),
        (Certificates { key: key_of_other, ..good.clone() }, "tls.crt: "),
    ] {
        let error = Dialer::new("127.0.0.1:1", None, Some(wrong.clone())).unwrap_err();
        assert!(matches!(error, DialError::Certificates(_)), "{error}");
        assert!(error.to_string().contains(told), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(Doors::open(listener, Some(&wrong)).is_err());
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
