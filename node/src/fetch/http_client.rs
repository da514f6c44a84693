//! HTTPS to the broker: one pool of connections, made anew when the certificates to trust change.

use std::{
    error::Error,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use coffer_broker_api::{DRIVER_TOKEN_HEADER, MAX_RELEASED_BYTES};
use http::{
    HeaderValue, Method, Request, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use super::ReleaseError;
use crate::token::PodToken;

/// Items, base64 twice (in the answer, and around the seal), names, and room.
const MAX_ANSWER: usize = 3 * MAX_RELEASED_BYTES;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two republishes (60 to 90 s) the connection stays.
const IDLE_TIMEOUT: Duration = Duration::from_secs(100);

type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(super) struct HttpClient {
    uri: Uri,
    ca_file: PathBuf,
    token_file: PathBuf,
    /// The pool, and the certificates that it trusts, as they stood in the file.
    pool: Mutex<Option<(Vec<u8>, Pool)>>,
}

/// What came back.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl HttpClient {
    pub(super) fn new(uri: Uri, ca_file: PathBuf, token_file: PathBuf) -> Self {
        Self { uri, ca_file, token_file, pool: Mutex::new(None) }
    }

    pub(super) async fn post(&self, body: Vec<u8>, token: &PodToken) -> Result<Answered, ReleaseError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.uri)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, token.bearer())
            .header(DRIVER_TOKEN_HEADER, self.driver_token().await?)
            .body(Full::new(Bytes::from(body)))
            .expect("every part was parsed before");
        let response = self.pool().await?.request(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body =
            Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| unreachable(error.as_ref()))?;
        let retry_after = retry_after.map(Duration::from_secs);
        Ok(Answered { status: head.status, retry_after, body: body.to_bytes() })
    }

    async fn driver_token(&self) -> Result<HeaderValue, ReleaseError> {
        let not_set_up =
            |problem: &str| ReleaseError::NotSetUp(format!("{}: {problem}", self.token_file.display()));
        let text = tokio::fs::read_to_string(&self.token_file).await;
        let text = Zeroizing::new(text.map_err(|error| not_set_up(&error.kind().to_string()))?);
        let mut value = HeaderValue::from_str(text.trim()).map_err(|_| not_set_up("not a token"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn pool(&self) -> Result<Pool, ReleaseError> {
        let not_set_up =
            |problem: &str| ReleaseError::NotSetUp(format!("{}: {problem}", self.ca_file.display()));
        let pem =
            tokio::fs::read(&self.ca_file).await.map_err(|error| not_set_up(&error.kind().to_string()))?;
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((trusted, pool)) = pool.as_ref()
            && *trusted == pem
        {
            return Ok(pool.clone());
        }
        let made = make_pool(&pem).ok_or_else(|| not_set_up("expected PEM certificates"))?;
        *pool = Some((pem, made.clone()));
        Ok(made)
    }
}

fn make_pool(pem: &[u8]) -> Option<Pool> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    if roots.is_empty() {
        return None;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);
    let mut pool = Client::builder(TokioExecutor::new());
    Some(pool.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector))
}

/// The chain in one line: hyper's own text says only "client error (Connect)".
fn unreachable(error: &(dyn Error + 'static)) -> ReleaseError {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        texts.push(inner.to_string());
        source = inner.source();
    }
    texts.dedup();
    ReleaseError::Unreachable(texts.join(": "))
}
