//! The admin port: plain HTTP for the kubelet's probes and for Prometheus, apart from the port that serves.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::{Metrics, Readiness, Shutdown, metrics};

/// `/healthz` (the process runs), `/readyz` (every check of [`Readiness`] is met and no end was asked for) and
/// `/metrics`.
#[derive(Clone, Debug)]
pub struct Admin {
    readiness: Readiness,
    metrics: Metrics,
}

impl Admin {
    /// Answers about these.
    pub fn new(readiness: Readiness, metrics: Metrics) -> Self {
        Self { readiness, metrics }
    }

    /// Listens and serves in the background until the process ends: during the drain, too, so that the kubelet
    /// sees "not ready" and no failed probe. Gives the bound address (useful with port 0).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(self, listen: SocketAddr, shutdown: &Shutdown) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        tokio::spawn(self.accept(listener, shutdown.clone()));
        tracing::info!(%address, "admin port open");
        Ok(address)
    }

    async fn accept(self, listener: TcpListener, shutdown: Shutdown) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors: the next accept would fail at once, so do not spin.
                    tracing::warn!(%error, "admin port: accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (admin, shutdown) = (self.clone(), shutdown.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer =
                        admin.answer(request.method(), request.uri().path(), shutdown.is_requested());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut server = http1::Builder::new();
                server
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .max_buf_size(16 << 10);
                if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                    tracing::debug!(%error, "admin connection ended");
                }
            });
        }
    }

    fn answer(&self, method: &Method, path: &str, ending: bool) -> Response<String> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if ending => text(StatusCode::SERVICE_UNAVAILABLE, "[-]shutdown draining\n"),
            "/readyz" if self.readiness.is_ready() => {
                text(StatusCode::OK, self.readiness.report() + "ready\n")
            }
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, self.readiness.report()),
            "/metrics" => match self.metrics.encode() {
                Ok(body) => with_type(StatusCode::OK, metrics::CONTENT_TYPE, body),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "paths: /healthz /readyz /metrics\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<String> {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[test]
    fn readyz_follows_the_checks_and_the_wish_to_end() {
        let readiness = Readiness::new();
        let admin = Admin::new(readiness.clone(), Metrics::new());
        let check = readiness.check("tls");
        let status = |ending| admin.answer(&Method::GET, "/readyz", ending).status();
        assert_eq!(status(false), StatusCode::SERVICE_UNAVAILABLE);
        check.ready();
        assert_eq!(status(false), StatusCode::OK);
        assert_eq!(status(true), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(admin.answer(&Method::GET, "/healthz", true).status(), StatusCode::OK);
        assert_eq!(admin.answer(&Method::POST, "/healthz", false).status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(admin.answer(&Method::GET, "/", false).status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_port_answers_a_probe_and_a_scrape_also_while_the_program_ends() {
        let (metrics, shutdown) = (Metrics::new(), Shutdown::new());
        metrics.register("releases", "Credentials released", Counter::<u64>::default()).inc();
        let admin = Admin::new(Readiness::new(), metrics);
        let address =
            admin.start(([127, 0, 0, 1], 0).into(), &shutdown).await.expect("loopback has free ports");
        let get = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("it answers in UTF-8");
            answer
        };
        assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
        shutdown.request();
        assert!(get("/readyz").await.starts_with("HTTP/1.1 503"));
        let scrape = get("/metrics").await;
        assert!(
            scrape.contains(metrics::CONTENT_TYPE) && scrape.contains("coffer_releases_total 1"),
            "{scrape}"
        );
    }
}
