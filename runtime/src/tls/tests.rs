//! Real sockets on loopback, real handshakes.

#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use std::{path::Path, sync::Arc};

use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::{TlsConnector, rustls::ClientConfig, rustls::RootCertStore};
use warp::Filter as _;

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue_into(&self, dir: &Path) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(dir.join("tls.crt"), leaf.pem()).unwrap();
        leaf.der().to_vec()
    }

    fn client_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

struct Server {
    address: SocketAddr,
    authority: Authority,
    dir: tempfile::TempDir,
    readiness: Readiness,
    shutdown: Shutdown,
    entered: Arc<Notify>,
    proceed: Arc<Notify>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Routes: `/peer` says who asks, `/slow` answers when told to.
    async fn start(adjust: impl FnOnce(&mut ServeTls)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = ServeTls::new(address, dir.path());
        (config.reload_every, config.linger) = (Duration::from_millis(5), Duration::ZERO);
        adjust(&mut config);
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let (entered, proceed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (in_route, may_answer) = (entered.clone(), proceed.clone());
        let slow = warp::path!("slow").then(move || {
            let (entered, proceed) = (in_route.clone(), may_answer.clone());
            async move {
                entered.notify_one();
                proceed.notified().await;
                String::from("done")
            }
        });
        let peer = warp::path!("peer").and(warp::ext::get::<Peer>()).map(|Peer(address)| address.to_string());
        let service = warp::service(peer.or(slow).boxed());
        let task = tokio::spawn({
            let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
            async move { serve_tls_on(listener, config, service, &readiness, &shutdown).await }
        });
        Self { address, authority: Authority::new(), dir, readiness, shutdown, entered, proceed, task }
    }

    async fn ready(&self) {
        within_deadline(|| self.readiness.is_ready() && self.readiness.report().contains("tls")).await;
    }

    fn http(&self) -> Client<hyper_rustls::HttpsConnector<HttpConnector>, Empty<bytes::Bytes>> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(self.authority.client_config())
            .https_only()
            .enable_http1()
            .build();
        Client::builder(TokioExecutor::new()).build(connector)
    }

    fn url(&self, path: &str) -> http::Uri {
        format!("https://localhost:{}{path}", self.address.port()).parse().unwrap()
    }

    /// The leaf certificate that a fresh handshake shows.
    async fn leaf(&self) -> Vec<u8> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(self.authority.client_config()));
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

async fn within_deadline(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition was never met");
        tokio::task::yield_now().await;
    }
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// The API server keeps an idle connection for 90 s, and loses the request that meets its end.
#[tokio::test]
async fn an_idle_connection_is_there_for_as_long_as_the_api_server_may_use_it() {
    let server = Server::start(|_| {}).await;
    server.authority.issue_into(server.dir.path());
    server.ready().await;
    let client = server.http();
    let peer = async || text(client.get(server.url("/peer")).await.unwrap()).await;
    let first = peer().await;
    tokio::time::pause();
    for _ in 0..95 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    assert_eq!(peer().await, first, "the server closed the connection");
}

#[tokio::test]
async fn the_port_waits_for_its_certificate_and_then_serves_and_knows_who_asks() {
    let server = Server::start(|_| {}).await;
    within_deadline(|| server.readiness.report().contains("waiting for a certificate")).await;
    assert!(!server.readiness.is_ready());
    server.authority.issue_into(server.dir.path());
    server.ready().await;
    let response = server.http().get(server.url("/peer")).await.unwrap();
    assert!(text(response).await.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn an_end_asked_for_before_there_is_a_certificate_ends_the_wait() {
    let server = Server::start(|_| {}).await;
    server.shutdown.request();
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_used_for_new_connections_and_a_broken_one_is_not() {
    let server = Server::start(|_| {}).await;
    let first = server.authority.issue_into(server.dir.path());
    server.ready().await;
    assert_eq!(server.leaf().await, first);

    std::fs::write(server.dir.path().join("tls.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    for _ in 0..20 {
        assert_eq!(server.leaf().await, first, "the key does not belong to the certificate");
    }

    let second = server.authority.issue_into(server.dir.path());
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.leaf().await != second {
        assert!(Instant::now() < deadline, "the new certificate was never used");
    }
}

#[tokio::test]
async fn an_answer_under_way_is_finished_while_new_connections_are_refused() {
    let server = Server::start(|_| {}).await;
    server.authority.issue_into(server.dir.path());
    server.ready().await;
    let request = tokio::spawn(server.http().get(server.url("/slow")));
    server.entered.notified().await;
    server.shutdown.request();
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(server.address).await.is_ok() {
        assert!(Instant::now() < deadline, "the port never closed");
    }
    assert!(!server.task.is_finished());
    server.proceed.notify_one();
    assert_eq!(text(request.await.unwrap().unwrap()).await, "done");
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_that_never_comes_does_not_hold_the_end_up() {
    let server = Server::start(|config| config.drain = Duration::from_millis(50)).await;
    server.authority.issue_into(server.dir.path());
    server.ready().await;
    let request = tokio::spawn(server.http().get(server.url("/slow")));
    server.entered.notified().await;
    server.shutdown.request();
    server.task.await.unwrap().unwrap();
    request.abort();
}

#[tokio::test]
async fn bytes_that_are_no_handshake_end_their_own_connection_only() {
    let server = Server::start(|_| {}).await;
    server.authority.issue_into(server.dir.path());
    server.ready().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /peer HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "nothing is answered in plain");
    let response = server.http().get(server.url("/peer")).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::OK);
}
