//! Door 1: pods, through the node's driver or their own agent. `POST /v1/release`.

use super::authenticate::{Rejected, Rejection, Tokens, Workload, authenticate};
use crate::{
    audit::{Decision, DenialBudget, Entry, Event, timestamp},
    identity::TokenReviewer,
    refusal::Refusal,
    release::{Asker, Asking, SharedReleaser, Takes},
};
use bytes::Buf;
use coffer_broker_api::{
    DOOR, DRIVER_TOKEN_HEADER, ErrorBody, InvalidRequest, MAX_REQUEST_BYTES, ReleaseRequest, ReleaseResponse,
    Released, VERSION,
};
use coffer_crds::Verb;
use coffer_keys::answer::{self, AnswerContext, AnswerPublicKey};
use coffer_runtime::Peer;
use futures::{Stream, StreamExt as _};
use getrandom::{SysRng, rand_core::UnwrapErr};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use std::{
    convert::Infallible,
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use warp::{Filter, Rejection as WarpRejection, filters::BoxedFilter, reject};

/// How long a client may take to send its request.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// The door.
pub struct WorkloadDoor {
    /// Says whose a token is.
    pub reviews: Box<dyn TokenReviewer>,
    /// The node driver's user name, `system:serviceaccount:<namespace>:<name>`.
    pub driver_user: String,
    /// How fast requests without an identity may fill the audit log, by address.
    pub anonymous: DenialBudget<Option<IpAddr>>,
    /// The decision and all behind it.
    pub releaser: SharedReleaser,
}

/// The door's routes. Every answer, also to what is no request at all, is JSON; none is a panic (T44).
pub fn routes(door: Arc<WorkloadDoor>) -> BoxedFilter<(Response<String>,)> {
    warp::path!("v1" / "release")
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .then(move |headers: HeaderMap, peer: Option<Peer>, body| {
            let door = door.clone();
            async move {
                let started = Instant::now();
                let source_ip = peer.map(|Peer(address)| address.ip());
                let result = door.answer(&headers, source_ip, body).await;
                let reason = result.as_ref().err().map(Failure::reason);
                door.releaser.metrics.answered(DOOR, reason, started.elapsed());
                match result {
                    Ok(answer) => json(StatusCode::OK, &answer),
                    Err(failure) => failure.into_response(),
                }
            }
        })
        .recover(elsewhere)
        .unify()
        .boxed()
}

/// Why a request got no credentials.
enum Failure {
    Malformed(String),
    TooLarge(String),
    Rejected(Rejection),
    Refused(Refusal),
}

impl Failure {
    fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed",
            Self::TooLarge(_) => "TooLarge",
            Self::Rejected(rejection) => rejection.reason(),
            Self::Refused(refusal) => refusal.reason(),
        }
    }

    fn into_response(self) -> Response<String> {
        match self {
            Self::Malformed(message) => error(400, message, None),
            Self::TooLarge(message) => error(413, message, None),
            Self::Rejected(Rejection::Unavailable) => error(503, Rejection::Unavailable.to_string(), Some(1)),
            Self::Rejected(rejection) => error(rejection.code(), rejection.to_string(), None),
            Self::Refused(refusal) => {
                error(refusal.code(), refusal.to_string(), refusal.retry_after_seconds())
            }
        }
    }
}

impl WorkloadDoor {
    async fn answer<B: Buf>(
        &self,
        headers: &HeaderMap,
        source_ip: Option<IpAddr>,
        body: impl Stream<Item = Result<B, warp::Error>> + Send,
    ) -> Result<ReleaseResponse, Failure> {
        let body = read(body).await?;
        let (request, key) = parse(&body)?;
        let identified = match tokens(headers) {
            Ok(tokens) => authenticate(self.reviews.as_ref(), &self.driver_user, tokens, &request.pod).await,
            Err(why) => Err(Rejected { why, actor: crate::audit::Actor::ANONYMOUS }),
        };
        let workload = identified.map_err(|rejected| self.turn_away(rejected, &request, source_ip))?;
        let asker = Asker {
            caller: workload.caller.clone(),
            actor: workload.actor.clone(),
            namespace: workload.namespace.clone(),
            vault: None,
            verb: Verb::Use,
            door: DOOR,
            takes: Takes::Items,
            source_ip,
            impersonation_possible: false,
            may_break_glass: false,
        };
        let references = &request.connections;
        let asking = Asking { request_id: &request.request_id, references, items: &[], purpose: None };
        let released = self.releaser.release_items(&asker, asking).await.map_err(Failure::Refused)?;
        Ok(seal(&request, &key, &workload, &released))
    }

    /// Puts it on record that somebody came without an identity. Nothing waits for it: nothing is released anyway.
    fn turn_away(&self, rejected: Rejected, request: &ReleaseRequest, source_ip: Option<IpAddr>) -> Failure {
        let Rejected { why, actor } = rejected;
        match self.anonymous.take(source_ip, Instant::now()) {
            Some(suppressed) => {
                let now = timestamp((self.releaser.clock)());
                self.releaser.audit.record_soon(Entry {
                    door: Some(DOOR.to_owned()),
                    decision: Decision::Denied,
                    request_id: Some(request.request_id.clone()),
                    source_ip,
                    suppressed,
                    ..Entry::about_itself(Event::Authentication, actor, now, why.reason().to_owned())
                });
            }
            None => self.releaser.metrics.suppressed(),
        }
        Failure::Rejected(why)
    }
}

/// The two tokens. One header each: with several, nobody could say which one counts.
fn tokens(headers: &HeaderMap) -> Result<Tokens<'_>, Rejection> {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| Rejection::Missing),
            (Some(_), Some(_)) => Err(Rejection::Missing),
        }
    };
    let authorization = only(header::AUTHORIZATION.as_str())?.ok_or(Rejection::Missing)?;
    let pod = authorization.strip_prefix("Bearer ").ok_or(Rejection::Missing)?.trim();
    Ok(Tokens { pod, driver: only(DRIVER_TOKEN_HEADER)?.map(str::trim) })
}

async fn read<B: Buf>(body: impl Stream<Item = Result<B, warp::Error>> + Send) -> Result<Vec<u8>, Failure> {
    let mut body = pin!(body);
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| Failure::Malformed("The request's body ended early".into()))?;
            if bytes.len() + chunk.remaining() > MAX_REQUEST_BYTES {
                let text = format!("The request is larger than {MAX_REQUEST_BYTES} bytes");
                return Err(Failure::TooLarge(text));
            }
            while chunk.has_remaining() {
                let part = chunk.chunk();
                bytes.extend_from_slice(part);
                let length = part.len();
                chunk.advance(length);
            }
        }
        Ok(bytes)
    };
    match tokio::time::timeout(BODY_PATIENCE, reading).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Malformed("The request's body did not come in time".into())),
    }
}

/// Fields that are not the request's, such as one that names an actor, are not even looked at (T20).
fn parse(body: &[u8]) -> Result<(ReleaseRequest, AnswerPublicKey), Failure> {
    let malformed = |text: &str| Failure::Malformed(text.to_owned());
    // serde's own text would repeat parts of the body.
    let request: ReleaseRequest = serde_json::from_slice(body).map_err(|_| {
        malformed("The body must be a JSON object with v, requestID, connections, publicKey, pod")
    })?;
    request.validate().map_err(|invalid| match invalid {
        InvalidRequest::TooManyConnections => Failure::TooLarge(invalid.to_string()),
        InvalidRequest::UnknownVersion
        | InvalidRequest::MalformedRequestId
        | InvalidRequest::NoConnections
        | InvalidRequest::MalformedReference(_)
        | InvalidRequest::RepeatedReference(_)
        | InvalidRequest::MalformedPod => Failure::Malformed(invalid.to_string()),
    })?;
    let key = AnswerPublicKey::parse(&request.public_key)
        .map_err(|_| malformed("publicKey: must be an X-Wing public key, 1216 bytes in standard base64"))?;
    Ok((request, key))
}

fn seal(
    request: &ReleaseRequest,
    key: &AnswerPublicKey,
    workload: &Workload,
    released: &Released,
) -> ReleaseResponse {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let request_sha256: [u8; 32] = Sha256::digest(request.canonical()).into();
    let context = AnswerContext {
        door: DOOR,
        request_id: &request.request_id,
        requester_username: &workload.caller.username,
        requester_uid: workload.caller.uid.as_deref().unwrap_or_default(),
        request_sha256: &request_sha256,
    };
    let sealed = answer::seal(key, &context, &released.encode(), &mut UnwrapErr(SysRng));
    ReleaseResponse { v: VERSION, request_id: request.request_id.clone(), sealed: STANDARD.encode(sealed) }
}

/// What is no request to this door.
async fn elsewhere(rejection: WarpRejection) -> Result<Response<String>, Infallible> {
    Ok(if rejection.find::<reject::MethodNotAllowed>().is_some() {
        let mut response = error(405, "Only POST is answered here".into(), None);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        response
    } else if rejection.is_not_found() {
        error(404, "There is nothing at this path".into(), None)
    } else {
        error(400, "This is not a request that the broker understands".into(), None)
    })
}

fn error(code: u16, message: String, retry_after_seconds: Option<u64>) -> Response<String> {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &ErrorBody { code: status.as_u16(), message });
    if let Some(seconds) = retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Response<String> {
    let text = serde_json::to_string(body).expect("strings and numbers always serialize into memory");
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // An answer is one caller's; no proxy keeps it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
