//! The HTTPS port: one accept loop for every server.

mod certificate;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, error::Error, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tower::{Service, util::MapRequest};

use crate::{Readiness, Shutdown};

pub use certificate::CertificateError;

/// The address that a request came from. In the extensions of every request that [`serve_tls`] hands on; with warp:
/// `warp::ext::get::<Peer>()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// How [`serve_tls`] serves.
#[derive(Clone, Debug)]
pub struct ServeTls {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Folder with `tls.crt` (chain, leaf first) and `tls.key`, both PEM.
    pub tls_dir: PathBuf,
    /// How often the files are read again; they are compared by content, since the kubelet swaps a link.
    pub reload_every: Duration,
    /// For how long new connections are still taken once an end was asked for: the Service's endpoints need a
    /// moment to forget this pod.
    pub linger: Duration,
    /// For how long, after that, answers under way may take.
    pub drain: Duration,
    /// Connections at one time; more wait in the kernel's queue.
    pub max_connections: usize,
}

impl ServeTls {
    /// With the defaults: reload every 2 s, linger 3 s, drain 10 s, 4,096 connections.
    pub fn new(listen: SocketAddr, tls_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            tls_dir: tls_dir.into(),
            reload_every: Duration::from_secs(2),
            linger: Duration::from_secs(3),
            drain: Duration::from_secs(10),
            max_connections: 4096,
        }
    }
}

impl From<crate::TlsArgs> for ServeTls {
    fn from(args: crate::TlsArgs) -> Self {
        Self::new(args.listen, args.tls_dir)
    }
}

/// A client that has not finished its handshake by now is not going to.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the next request's headers may take, on a connection that is kept as well. Longer than the 90 s for which
/// clients in Go keep an idle connection (`net/http`, `Transport.IdleConnTimeout`), the API server among them: whoever
/// gives up first must be the client, or a request that it sends at that moment is lost.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);

/// Serves `service` (such as `warp::service(routes)`) over TLS until an end is asked for, then drains. HTTP/2 and
/// HTTP/1.1. Adds the readiness check `tls`, which is met once the certificate is loaded and the port is open: at the
/// first start the files may be long in coming, since the operator makes them.
///
/// Returns after the drain, or at once when an end is asked for before the files appear.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_tls<S, B>(
    config: ServeTls,
    service: S,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::bind(config.listen).await?;
    serve_tls_on(listener, config, service, readiness, shutdown).await
}

/// [`serve_tls`] on a socket that is bound already (`config.listen` is not looked at), so that a test knows the port.
///
/// # Errors
/// None after binding; the type is [`serve_tls`]'s.
pub async fn serve_tls_on<S, B>(
    listener: TcpListener,
    config: ServeTls,
    service: S,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let check = readiness.check("tls");
    let first = certificate::wait_for(&config.tls_dir, config.reload_every, &check);
    let Some(certificate) = shutdown.or_requested(first).await else { return Ok(()) };
    let reloading = tokio::spawn(certificate.clone().keep_fresh(config.tls_dir.clone(), config.reload_every));
    let acceptor = TlsAcceptor::from(Arc::new(server_config(certificate)));
    let connections = Arc::new(Semaphore::new(config.max_connections));
    let graceful = GracefulShutdown::new();
    check.ready();
    tracing::info!(address = ?listener.local_addr().ok(), "serving TLS");

    let end = async {
        shutdown.requested().await;
        tokio::time::sleep(config.linger).await;
    };
    tokio::pin!(end);
    loop {
        let (stream, peer, permit) = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut end => break,
        };
        let (acceptor, service, watcher) = (acceptor.clone(), service.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            let Ok(Ok(tls)) = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else {
                tracing::debug!(%peer, "TLS handshake failed or took too long");
                return;
            };
            let service = MapRequest::new(service, move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Peer(peer));
                request
            });
            let connection = http_server()
                .serve_connection(TokioIo::new(tls), TowerToHyperService::new(service))
                .into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%peer, error, "connection ended");
            }
        });
    }
    drop(listener);
    reloading.abort();
    if timeout(config.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(after = ?config.drain, "answers were still under way at the drain's end");
    }
    Ok(())
}

/// The next connection; never fails, since what can fail here (a peer gone already, no file descriptor left) passes.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and latency is promised: do not wait to fill a segment.
                let _ = stream.set_nodelay(true);
                return (stream, peer, permit);
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn server_config(certificate: certificate::Current) -> ServerConfig {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn http_server() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    builder
}
