//! The broker's wire types: what is sent to it, and what it answers.
//!
//! People ask by Release objects: see [`people`]; who may look into the audit logs, by AuditQuery objects: see [`audit`].
//! Workloads' agents and the CSI driver make one call: `POST` [`RELEASE_PATH`] over TLS with a JSON [`ReleaseRequest`], the pod's own token as
//! `Authorization: Bearer …` and, when the node's driver asks for a pod, the driver's own token as
//! [`DRIVER_TOKEN_HEADER`]. Both tokens have the audience [`TOKEN_AUDIENCE`]. The answer is a
//! [`ReleaseResponse`] whose `sealed` opens to a [`Released`], or an [`ErrorBody`] under the same HTTP status
//! as its `code`.
//!
//! Nothing in the body says who asks: that is the tokens' business alone. `pod` is what the kubelet told the
//! driver; the broker compares it with the tokens and refuses a difference.

pub mod audit;
mod lp;
pub mod people;
mod released;
mod request;

pub use released::{ItemValue, MalformedAnswer, Released, ReleasedConnection, item_bound};
pub use request::{ConnectionReference, InvalidRequest, PodReference, ReleaseRequest};

use serde::{Deserialize, Serialize};

/// The version of this protocol: the value of every `v`.
pub const VERSION: u32 = 1;
/// Where a [`ReleaseRequest`] is posted to.
pub const RELEASE_PATH: &str = "/v1/release";
/// The header in which the CSI driver sends its own token, as the bare token without `Bearer`.
pub const DRIVER_TOKEN_HEADER: &str = "coffer-driver-token";
/// The audience that both tokens must be issued for.
pub const TOKEN_AUDIENCE: &str = "coffer";
/// The door's name in the answer's context and in the audit record.
pub const DOOR: &str = "workload";
/// The longest request body that is read, in bytes; above it the answer is 413.
pub const MAX_REQUEST_BYTES: usize = 128 * 1024;
/// The most Connections that one request may name; above it the answer is 413.
pub const MAX_CONNECTIONS: usize = 256;
/// The most plaintext that one answer may carry, as the sum of all items in bytes; above it the answer is 413.
pub const MAX_RELEASED_BYTES: usize = 4 * 1024 * 1024;

/// The answer to an allowed request, status 200.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ReleaseResponse {
    /// [`VERSION`].
    pub v: u32,
    /// The request's id, unchanged.
    #[serde(rename = "requestID")]
    pub request_id: String,
    /// Standard base64 of the answer, sealed to the request's `publicKey`. Its context is the door ([`DOOR`]),
    /// the request id, the username and uid of the pod's ServiceAccount, and the SHA-256 of
    /// [`ReleaseRequest::canonical`]. It opens to [`Released::encode`]'s bytes.
    pub sealed: String,
}

/// The answer to everything else.
///
/// | code | meaning | ask again? |
/// | --- | --- | --- |
/// | 400 | the request is malformed; `message` names field, problem and accepted form | no |
/// | 401 | no identity: a token is missing, invalid, expired, for another audience, or not this pod's | with new tokens |
/// | 403 | a member that is not allowed; `message` is the denial text | no |
/// | 404 | absent, or nothing that the caller may know of; `message` never tells which | no |
/// | 413 | too many Connections or too much data in one request | smaller |
/// | 429 | the member's rate limit; header `Retry-After` in seconds, at least 1 | after that |
/// | 503 | the audit, a key or the API server is not available; nothing was released | soon |
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// The HTTP status, repeated.
    pub code: u16,
    /// One sentence for people. Never a value, never the inside of the broker.
    pub message: String,
}
