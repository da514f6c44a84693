//! Asks the broker for a pod's credentials.

mod http_client;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_broker_api::{
    DOOR, ErrorBody, PodReference, RELEASE_PATH, ReleaseRequest, ReleaseResponse, Released, VERSION,
};
use coffer_keys::answer::{AnswerContext, EphemeralKey};
use getrandom::{SysRng, rand_core::UnwrapErr};
use http::{StatusCode, Uri, uri::Scheme};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};

use crate::token::{PodToken, Requester};
use http_client::{Answered, HttpClient};

/// One question and its answer; a broker that takes longer is as good as gone.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pauses between attempts: from the first, doubling, to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// The longest message that is passed on, in characters.
const MAX_MESSAGE: usize = 512;

/// Why nothing was released.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The pod is a member that is not allowed (403). The text is the broker's.
    #[error("{0}")]
    Forbidden(String),
    /// Absent, or nothing the pod may know of (404). The text is the broker's.
    #[error("{0}")]
    NotFound(String),
    /// The broker does not accept a token (401). The text is the broker's.
    #[error("{0}")]
    Unauthenticated(String),
    /// The broker does not accept the request's form (400). The text is the broker's.
    #[error("{0}")]
    Malformed(String),
    /// More than one answer may hold (413). The text is the broker's.
    #[error("{0}")]
    TooLarge(String),
    /// The member's rate limit (429). The text is the broker's.
    #[error("{message}")]
    RateLimited {
        /// What the broker says.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The broker, its audit or a key is not available (503 and other 5xx). The text is the broker's.
    #[error("{message}")]
    Unavailable {
        /// What the broker says.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// No answer.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// This driver lacks a file that it needs for asking.
    #[error("the node driver is not set up: {0}")]
    NotSetUp(String),
    /// An answer that is none, or one that was not sealed for this request.
    #[error("the broker's answer cannot be used: {0}")]
    UnusableAnswer(&'static str),
}

impl ReleaseError {
    /// Whether the decision itself was "no".
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::NotFound(_))
    }

    /// For how long to wait before asking again; `None` if asking again is of no use.
    fn pause(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Unreachable(_) | Self::NotSetUp(_) => Some(Duration::ZERO),
            Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::Unauthenticated(_)
            | Self::Malformed(_)
            | Self::TooLarge(_)
            | Self::UnusableAnswer(_) => None,
        }
    }
}

/// A broker address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--broker: must be https://host:port, without path and query")]
pub struct InvalidBroker;

/// The broker, as one node's driver sees it. Connections are kept open between requests.
pub struct Broker {
    http: HttpClient,
}

impl Broker {
    /// The one at `address`, whose certificate chains to `ca_file`. `token_file` holds the driver's own token.
    ///
    /// # Errors
    /// When the address is not plain `https://host:port`.
    pub fn new(address: &Uri, ca_file: PathBuf, token_file: PathBuf) -> Result<Self, InvalidBroker> {
        let bare = matches!(address.path_and_query().map(|path| path.as_str()), None | Some("" | "/"));
        let authority = address.authority().filter(|_| address.scheme() == Some(&Scheme::HTTPS) && bare);
        let authority = authority.ok_or(InvalidBroker)?.clone();
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(authority).path_and_query(RELEASE_PATH);
        let uri = uri.build().map_err(|_| InvalidBroker)?;
        Ok(Self { http: HttpClient::new(uri, ca_file, token_file) })
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub async fn release(
        &self,
        connections: &[String],
        pod: &PodReference,
        token: &PodToken,
    ) -> Result<Released, ReleaseError> {
        let key = EphemeralKey::generate(&mut UnwrapErr(SysRng));
        let request = ReleaseRequest {
            v: VERSION,
            request_id: request_id(),
            connections: connections.to_vec(),
            public_key: key.public().to_base64(),
            pod: pod.clone(),
        };
        let body = serde_json::to_vec(&request).expect("strings and numbers always serialize");
        let answered = timeout(ATTEMPT, self.http.post(body, token))
            .await
            .map_err(|_| ReleaseError::Unreachable(format!("no answer within {} s", ATTEMPT.as_secs())))??;
        if answered.status != StatusCode::OK {
            return Err(refusal(&answered));
        }
        open(&key, &request, token.requester(), &answered.body)
    }

    /// Asks until there is a decision, for at most `patience`; a restarting broker is no reason to fail a pod.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn release_patiently(
        &self,
        connections: &[String],
        pod: &PodReference,
        token: &PodToken,
        patience: Duration,
    ) -> Result<Released, ReleaseError> {
        let deadline = Instant::now() + patience;
        let (mut pause, longest) = PAUSES;
        let mut last = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match timeout(left, self.release(connections, pod, token)).await {
                Ok(Ok(released)) => return Ok(released),
                Ok(Err(error)) => error,
                // The attempt before says more than "time is up".
                Err(_) => {
                    return Err(last.unwrap_or_else(|| ReleaseError::Unreachable("no answer in time".into())));
                }
            };
            let Some(asked) = error.pause() else { return Err(error) };
            let wait = asked.max(pause) + jitter(pause);
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::info!(pod = pod.name, namespace = pod.namespace, %error, ?wait, "asking again");
            last = Some(error);
            sleep(wait).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// Up to half of `pause`, so that the pods of a node do not ask in step.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is no jitter; keys are made elsewhere.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(f64::from(byte[0]) / 512.0)
}

fn request_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's randomness is available, or no key could be made");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refusal(answered: &Answered) -> ReleaseError {
    let message = serde_json::from_slice::<ErrorBody>(&answered.body).map(|body| body.message);
    let message =
        message.unwrap_or_else(|_| format!("the broker answered with status {}", answered.status.as_u16()));
    let message: String = message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    let retry_after = answered.retry_after.unwrap_or(Duration::ZERO);
    match answered.status {
        StatusCode::BAD_REQUEST => ReleaseError::Malformed(message),
        StatusCode::UNAUTHORIZED => ReleaseError::Unauthenticated(message),
        StatusCode::FORBIDDEN => ReleaseError::Forbidden(message),
        StatusCode::NOT_FOUND => ReleaseError::NotFound(message),
        StatusCode::PAYLOAD_TOO_LARGE => ReleaseError::TooLarge(message),
        StatusCode::TOO_MANY_REQUESTS => ReleaseError::RateLimited { message, retry_after },
        status if status.is_server_error() => ReleaseError::Unavailable { message, retry_after },
        _ => ReleaseError::UnusableAnswer("its status is not of the protocol"),
    }
}

fn open(
    key: &EphemeralKey,
    request: &ReleaseRequest,
    requester: &Requester,
    body: &[u8],
) -> Result<Released, ReleaseError> {
    let unusable = ReleaseError::UnusableAnswer;
    let response: ReleaseResponse =
        serde_json::from_slice(body).map_err(|_| unusable("it is not of the protocol"))?;
    if response.v != VERSION {
        return Err(unusable("its version is unknown"));
    }
    if response.request_id != request.request_id {
        return Err(unusable("it belongs to another request"));
    }
    let sealed = STANDARD.decode(&response.sealed).map_err(|_| unusable("its sealed part is not base64"))?;
    let context = AnswerContext {
        door: DOOR,
        request_id: &request.request_id,
        requester_username: &requester.username,
        requester_uid: &requester.uid,
        request_sha256: &Sha256::digest(request.canonical()).into(),
    };
    let opened = key.open(&context, &sealed).map_err(|_| unusable("it was not sealed for this request"))?;
    Released::decode(opened.expose()).map_err(|_| unusable("its content is not of the protocol"))
}
