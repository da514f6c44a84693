//! A broker on loopback, with real TLS and real seals, whose decisions are the test's.

#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_broker_api::{
    DOOR, DRIVER_TOKEN_HEADER, ErrorBody, ItemValue, ReleaseRequest, ReleaseResponse, Released,
    ReleasedConnection,
};
use coffer_keys::answer::{AnswerContext, AnswerPublicKey, seal};
use coffer_runtime::{Readiness, ServeTls, Shutdown, tls::serve_tls_on};
use getrandom::{SysRng, rand_core::UnwrapErr};
use http::{Response, StatusCode, header::RETRY_AFTER};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use warp::Filter as _;

use crate::{fetch::Broker, token::PodToken};

/// The ServiceAccount behind [`pod_token`].
pub(crate) const USERNAME: &str = "system:serviceaccount:team-a:web";
pub(crate) const UID: &str = "sa-1";

/// What the fake answers to one request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These values, in the request's order: alias, items.
    Release(Vec<(&'static str, Vec<(&'static str, &'static str)>)>),
    /// An error body under this status, with Retry-After.
    Refuse(u16, &'static str, Option<u64>),
    /// Any bytes under 200.
    Raw(&'static str),
    /// A release that is sealed for somebody else.
    SealedForAnother,
}

pub(crate) fn token_json() -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = json!({"sub": USERNAME, "kubernetes.io": {"serviceaccount": {"name": "web", "uid": UID}}});
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    json!({"coffer": {"token": token, "expirationTimestamp": "2026-11-23T21:06:40Z"}}).to_string()
}

pub(crate) fn pod_token() -> PodToken {
    PodToken::from_kubelet(&token_json()).unwrap_or_else(|error| panic!("{error}"))
}

/// One request as it came in.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) request: ReleaseRequest,
    pub(crate) authorization: String,
    pub(crate) driver_token: String,
}

type Decide = dyn Fn(&ReleaseRequest) -> Answer + Send + Sync;

pub(crate) struct FakeBroker {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) received: Arc<Mutex<Vec<Received>>>,
    decide: Arc<Mutex<Arc<Decide>>>,
    ca: CertifiedIssuer<'static, KeyPair>,
    port: u16,
    shutdown: Shutdown,
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

impl FakeBroker {
    pub(crate) async fn start(decide: impl Fn(&ReleaseRequest) -> Answer + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = authority();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        std::fs::write(dir.path().join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(dir.path().join("tls.crt"), leaf.pem()).unwrap();
        std::fs::write(dir.path().join("ca.crt"), ca.pem()).unwrap();
        std::fs::write(dir.path().join("token"), "driver-token\n").unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let decide: Arc<Mutex<Arc<Decide>>> = Arc::new(Mutex::new(Arc::new(decide)));
        let (seen, decision) = (received.clone(), decide.clone());
        let routes = warp::path!("v1" / "release")
            .and(warp::post())
            .and(warp::header::<String>("authorization"))
            .and(warp::header::<String>(DRIVER_TOKEN_HEADER))
            .and(warp::body::json())
            .map(move |authorization, driver_token, request: ReleaseRequest| {
                seen.lock().unwrap().push(Received { request: request.clone(), authorization, driver_token });
                let decide = decision.lock().unwrap().clone();
                respond(&request, &decide(&request))
            });
        let (shutdown, config) = (Shutdown::new(), ServeTls::new(([127, 0, 0, 1], 0).into(), dir.path()));
        tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                let service = warp::service(routes.boxed());
                serve_tls_on(listener, config, service, &Readiness::new(), &shutdown).await
            }
        });
        Self { dir, received, decide, ca, port, shutdown }
    }

    /// Changes the decision from now on.
    pub(crate) fn decide(&self, decide: impl Fn(&ReleaseRequest) -> Answer + Send + Sync + 'static) {
        *self.decide.lock().unwrap() = Arc::new(decide);
    }

    pub(crate) fn client(&self) -> Broker {
        Broker::new(&self.address(), self.ca_file(), self.dir.path().join("token")).unwrap()
    }

    pub(crate) fn address(&self) -> http::Uri {
        format!("https://localhost:{}", self.port).parse().unwrap()
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    pub(crate) fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    /// The Connections of each request so far.
    pub(crate) fn asked(&self) -> Vec<Vec<String>> {
        self.received.lock().unwrap().iter().map(|received| received.request.connections.clone()).collect()
    }
}

pub(crate) fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn respond(request: &ReleaseRequest, answer: &Answer) -> Response<String> {
    match answer {
        Answer::Release(values) => Response::new(sealed(request, UID, values)),
        Answer::SealedForAnother => Response::new(sealed(request, "sa-2", &[])),
        Answer::Raw(body) => Response::new((*body).to_owned()),
        Answer::Refuse(code, message, retry_after) => {
            let body = ErrorBody { code: *code, message: (*message).to_owned() };
            let mut response = Response::new(serde_json::to_string(&body).unwrap());
            *response.status_mut() = StatusCode::from_u16(*code).unwrap();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, (*seconds).into());
            }
            response
        }
    }
}

fn sealed(request: &ReleaseRequest, uid: &str, values: &[(&str, Vec<(&str, &str)>)]) -> String {
    let connections = values.iter().map(|(alias, items)| ReleasedConnection {
        namespace: "team-a".into(),
        name: (*alias).to_owned(),
        alias: (*alias).to_owned(),
        type_: "opaque".into(),
        version: 1,
        items: items
            .iter()
            .map(|(name, value)| ((*name).to_owned(), ItemValue::new(value.as_bytes().to_vec())))
            .collect::<BTreeMap<_, _>>(),
    });
    let plaintext = Released { connections: connections.collect() }.encode();
    let context = AnswerContext {
        door: DOOR,
        request_id: &request.request_id,
        requester_username: USERNAME,
        requester_uid: uid,
        request_sha256: &Sha256::digest(request.canonical()).into(),
    };
    let key = AnswerPublicKey::parse(&request.public_key).unwrap();
    let sealed = STANDARD.encode(seal(&key, &context, &plaintext, &mut UnwrapErr(SysRng)));
    let response = ReleaseResponse { v: 1, request_id: request.request_id.clone(), sealed };
    serde_json::to_string(&response).unwrap()
}
