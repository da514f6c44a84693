//! The HTTP surface: which path decides what. Everything below is pure but for waiting on the watches.

use std::{convert::Infallible, sync::Arc, time::Instant};

use bytes::Bytes;
use coffer_policy::BreakGlass;
use coffer_runtime::{Events, Notice};
use getrandom::{SysRng, rand_core::UnwrapErr};
use http::{Response, StatusCode, header};
use jiff::Timestamp;
use warp::{Filter, Rejection, Reply, filters::BoxedFilter};
use zeroize::Zeroize as _;

use crate::{
    inject,
    metrics::Meters,
    pace::Pace,
    refusal::Refusal,
    review::{self, Admitted, Broken, Operation, Request},
    state::Directory,
    validate::{self, Circumstances, restored},
};

/// Two objects of the API server's own limit of 3 MiB, and room for the review around them.
const MAX_BODY: u64 = 8 << 20;

/// What the routes share.
pub struct Webhook {
    /// What is known of the cluster.
    pub directory: Directory,
    /// The meters.
    pub meters: Meters,
    /// The operator's user name.
    pub operator: String,
    /// Users who make objects anew from a backup.
    pub restore_users: Vec<String>,
    /// Who may do what an owner may, without being a member.
    pub break_glass: BreakGlass,
    /// Events about it.
    pub events: Events,
    /// How fast one requester may make Releases and AuditQueries.
    pub pace: Pace,
}

/// What a path decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    AdmitVault,
    AdmitVaultMember,
    AdmitConnection,
    AdmitAccessToken,
    AdmitRelease,
    AdmitAuditQuery,
    AdmitPod,
    ValidateVault,
    ValidateVaultMember,
    ValidateConnection,
    ValidateAccessToken,
}

impl Door {
    fn of(stage: &str, plural: &str) -> Option<Self> {
        Some(match (stage, plural) {
            ("admit", "vaults") => Self::AdmitVault,
            ("admit", "vaultmembers") => Self::AdmitVaultMember,
            ("admit", "connections") => Self::AdmitConnection,
            ("admit", "accesstokens") => Self::AdmitAccessToken,
            ("admit", "releases") => Self::AdmitRelease,
            ("admit", "auditqueries") => Self::AdmitAuditQuery,
            ("admit", "pods") => Self::AdmitPod,
            ("validate", "vaults") => Self::ValidateVault,
            ("validate", "vaultmembers") => Self::ValidateVaultMember,
            ("validate", "connections") => Self::ValidateConnection,
            ("validate", "accesstokens") => Self::ValidateAccessToken,
            _ => return None,
        })
    }

    /// The metric label `kind`.
    fn kind(self) -> &'static str {
        match self {
            Self::AdmitVault | Self::ValidateVault => "Vault",
            Self::AdmitVaultMember | Self::ValidateVaultMember => "VaultMember",
            Self::AdmitConnection | Self::ValidateConnection => "Connection",
            Self::AdmitPod => "Pod",
            Self::AdmitRelease => "Release",
            Self::AdmitAuditQuery => "AuditQuery",
            Self::AdmitAccessToken | Self::ValidateAccessToken => "AccessToken",
        }
    }
}

/// All routes: `POST /admit/<plural>` (mutating, CREATE and UPDATE) and `POST /validate/<plural>` (DELETE).
pub fn routes(webhook: Arc<Webhook>) -> BoxedFilter<(impl Reply,)> {
    warp::path!(String / String)
        .and_then(|stage: String, plural: String| async move {
            Door::of(&stage, &plural).ok_or_else(warp::reject::not_found)
        })
        .and(warp::post())
        .and(warp::body::content_length_limit(MAX_BODY))
        .and(warp::body::bytes())
        .then(move |door: Door, body: Bytes| {
            let webhook = webhook.clone();
            async move { webhook.answer(door, body).await }
        })
        .recover(refuse_request)
        .boxed()
}

impl Webhook {
    async fn answer(&self, door: Door, body: Bytes) -> Response<Vec<u8>> {
        let start = Instant::now();
        let parsed = review::parse(&body);
        // The body holds what was applied; the parsed copy wipes itself.
        if let Ok(mut body) = body.try_into_mut() {
            body.zeroize();
        }
        let request = match parsed {
            Ok(request) => request,
            Err(refusal) => {
                self.meters.count(door.kind(), refusal.outcome(), start.elapsed());
                return plain(StatusCode::BAD_REQUEST, format!("{refusal}\n"));
            }
        };
        let uid = request.uid.clone();
        let (namespace, name) = (request.namespace.clone(), request.name.clone());
        let attempt = Attempt::of(door, &request);
        let decision = self.decide(door, request).await;
        let outcome = match &decision {
            Ok(admitted) => {
                if let Some(broken) = &admitted.broken {
                    self.note_broken(attempt, broken);
                }
                "allowed"
            }
            Err(refusal) => {
                // Identifiers only: the text may repeat what the caller wrote.
                tracing::info!(kind = door.kind(), namespace, name, outcome = refusal.outcome(), "refused");
                refusal.outcome()
            }
        };
        self.meters.count(door.kind(), outcome, start.elapsed());
        with_type(StatusCode::OK, "application/json", review::answer(&uid, decision))
    }

    /// Each use of break glass is on record: in the log, in the API server's audit log by the answer, counted, and as an
    /// event on the Vault, which stays when the object is deleted and where its owners look.
    fn note_broken(&self, attempt: Attempt, broken: &Broken) {
        let Attempt { user, operation, kind, namespace, name, dry_run } = attempt;
        let group = broken.group.as_str();
        tracing::warn!(break_glass = group, user, operation, kind, namespace, name, dry_run, "allowed");
        if dry_run {
            return;
        }
        self.meters.count_broken(kind);
        let note = format!("user '{user}' of group '{group}': {operation} {kind} {namespace}/{name}");
        self.events.announce(broken.vault.clone(), vec![Notice::alarm(BREAK_GLASS, note)]);
    }

    async fn decide(&self, door: Door, request: Request) -> Result<Admitted, Refusal> {
        let circumstances =
            Circumstances { operator: &self.operator, break_glass: &self.break_glass, now: Timestamp::now() };
        let directory = &self.directory;
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let deletes =
            request.operation == Operation::Delete && !validate::collects_garbage(&request.user_info);
        // A status is its process's own, and vouched for by policies inside the API server.
        if !request.sub_resource.is_empty() {
            return Ok(Admitted::default());
        }
        let restores = restored::is_restored(&request, &self.restore_users);
        match door {
            Door::AdmitVault if restores && restored::has_owners(&request) => restored::vault(request),
            Door::AdmitVaultMember if restores => restored::vault_member(request),
            Door::AdmitConnection if restores => restored::connection(request),
            Door::AdmitPod => inject::admit(request, directory, &circumstances).await,
            Door::AdmitVault if writes => validate::vault::admit(request, directory, &circumstances).await,
            Door::AdmitVaultMember if writes => {
                validate::vault_member::admit(request, directory, &circumstances).await
            }
            Door::AdmitConnection if writes => {
                let mut rng = UnwrapErr(SysRng);
                validate::connection::admit(request, directory, &circumstances, &mut rng).await
            }
            Door::AdmitAccessToken => validate::access_token::admit(request, directory, &circumstances).await,
            Door::AdmitRelease => validate::release::admit(request, &self.pace, Instant::now()),
            Door::AdmitAuditQuery => {
                validate::audit_query::admit(request, &self.operator, &self.pace, Instant::now())
            }
            Door::ValidateVault if deletes => {
                validate::vault::delete(&request, directory, &circumstances).await
            }
            Door::ValidateVaultMember if deletes => {
                validate::vault_member::delete(&request, directory, &circumstances).await
            }
            Door::ValidateConnection if deletes => {
                validate::connection::delete(&request, directory, &circumstances).await
            }
            Door::ValidateAccessToken if deletes => {
                validate::access_token::delete(&request, directory, &circumstances).await
            }
            Door::AdmitVault
            | Door::AdmitVaultMember
            | Door::AdmitConnection
            | Door::ValidateVault
            | Door::ValidateVaultMember
            | Door::ValidateConnection
            | Door::ValidateAccessToken => Ok(Admitted::default()),
        }
    }
}

/// The reason of an event about break glass.
const BREAK_GLASS: &str = "BreakGlass";

/// Who does what, as far as it is worth a record.
struct Attempt {
    user: String,
    operation: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
    dry_run: bool,
}

impl Attempt {
    fn of(door: Door, request: &Request) -> Self {
        let operation = match request.operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Connect => "connect",
        };
        Self {
            user: request.user_info.username.clone(),
            operation,
            kind: door.kind(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            dry_run: request.dry_run.unwrap_or(false),
        }
    }
}

/// What never reached a decision. Texts are fixed: nothing of the request is repeated.
async fn refuse_request(rejection: Rejection) -> Result<Response<Vec<u8>>, Infallible> {
    let (status, text) = if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "paths: /admit/<plural> and /validate/<plural>\n")
    } else if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        (StatusCode::METHOD_NOT_ALLOWED, "only POST is answered here\n")
    } else if rejection.find::<warp::reject::PayloadTooLarge>().is_some() {
        (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 8 MiB\n")
    } else if rejection.find::<warp::reject::LengthRequired>().is_some() {
        (StatusCode::LENGTH_REQUIRED, "the length of the body must be given\n")
    } else {
        (StatusCode::BAD_REQUEST, "the request cannot be read\n")
    };
    Ok(plain(status, String::from(text)))
}

fn plain(status: StatusCode, text: String) -> Response<Vec<u8>> {
    with_type(status, "text/plain; charset=utf-8", text.into_bytes())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
