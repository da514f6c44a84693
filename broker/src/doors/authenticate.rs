//! Who a workload is: two tokens and a pod, which must all say the same.

use crate::{
    audit::Actor,
    identity::{BoundObject, ReviewUnavailable, TokenIdentity, TokenReviewer},
};
use coffer_broker_api::PodReference;
use coffer_policy::Caller;

/// A workload whose identity was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The pod's ServiceAccount.
    pub caller: Caller,
    /// The pod's namespace, by its token.
    pub namespace: String,
    /// The same, for the audit log.
    pub actor: Actor,
}

/// The tokens of one request, as they came.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// The pod's.
    pub pod: &'a str,
    /// The node driver's, when it asks for the pod; absent when the pod asks for itself.
    pub driver: Option<&'a str>,
}

/// Why no identity was accepted.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No token, or no single one.
    #[error("No identity: a token of audience 'coffer' is required")]
    Missing,
    /// The API server does not know the pod's token, or not for this audience.
    #[error("The pod's token was not accepted")]
    PodToken,
    /// The token is not bound to a pod, or is not a ServiceAccount's.
    #[error("The pod's token is not bound to a pod")]
    NotPodBound,
    /// The API server does not know the driver's token, or not for this audience.
    #[error("The driver's token was not accepted")]
    DriverToken,
    /// The driver's token is somebody else's.
    #[error("The driver's token is not the node driver's")]
    NotTheDriver,
    /// The driver runs on another node than the pod.
    #[error("The pod is not on the driver's node")]
    OtherNode,
    /// The token is another pod's than the one that the request is for.
    #[error("The token is not this pod's")]
    OtherPod,
    /// The API server could not be asked.
    #[error("Tokens cannot be reviewed at the moment: try again")]
    Unavailable,
}

impl Rejection {
    /// The HTTP status.
    pub fn code(self) -> u16 {
        match self {
            Self::Missing
            | Self::PodToken
            | Self::NotPodBound
            | Self::DriverToken
            | Self::NotTheDriver
            | Self::OtherNode
            | Self::OtherPod => 401,
            Self::Unavailable => 503,
        }
    }

    /// One word for the audit record and for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "TokenMissing",
            Self::PodToken => "TokenNotAccepted",
            Self::NotPodBound => "TokenNotPodBound",
            Self::DriverToken => "DriverTokenNotAccepted",
            Self::NotTheDriver => "NotTheDriver",
            Self::OtherNode => "OtherNode",
            Self::OtherPod => "OtherPod",
            Self::Unavailable => "TokenReviewUnavailable",
        }
    }
}

impl From<ReviewUnavailable> for Rejection {
    fn from(ReviewUnavailable: ReviewUnavailable) -> Self {
        Self::Unavailable
    }
}

/// A [`Rejection`], and whom the tokens named as far as they were accepted: for the audit log only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub why: Rejection,
    /// The driver, if its token was accepted, else the pod's ServiceAccount, if that was, else nobody.
    pub actor: Actor,
}

/// Finds out which workload asks.
///
/// The pod's token must be bound to the pod that the request is for. A driver must be the configured
/// ServiceAccount and on that pod's node. Without a driver's token the caller is the pod itself, and then too
/// only its own token names it: a token stolen from one pod speaks for that pod and no other.
///
/// # Errors
/// The first check that failed.
pub async fn authenticate(
    reviews: &dyn TokenReviewer,
    driver_user: &str,
    tokens: Tokens<'_>,
    claimed: &PodReference,
) -> Result<Workload, Rejected> {
    let nobody = |why| Rejected { why, actor: Actor::ANONYMOUS };
    let driver = match tokens.driver {
        None => None,
        Some(token) => Some(
            reviewed(reviews, token)
                .await
                .and_then(|found| found.ok_or(Rejection::DriverToken))
                .map_err(nobody)?,
        ),
    };
    let actor =
        |pod: Option<&TokenIdentity>| driver.as_ref().or(pod).map_or(Actor::ANONYMOUS, TokenIdentity::actor);
    if driver.as_ref().is_some_and(|driver| !is_driver(driver, driver_user)) {
        return Err(Rejected { why: Rejection::NotTheDriver, actor: actor(None) });
    }
    let pod = reviewed(reviews, tokens.pod)
        .await
        .and_then(|found| found.ok_or(Rejection::PodToken))
        .map_err(|why| Rejected { why, actor: actor(None) })?;
    check_binding(&pod, driver.as_ref(), claimed).map_err(|why| Rejected { why, actor: actor(Some(&pod)) })
}

async fn reviewed(reviews: &dyn TokenReviewer, token: &str) -> Result<Option<TokenIdentity>, Rejection> {
    if !looks_like_a_token(token) {
        return Ok(None);
    }
    Ok(reviews.review(token).await?)
}

/// Whether it is worth a question to the API server: three parts of base64url, as every ServiceAccount token.
fn looks_like_a_token(token: &str) -> bool {
    let part =
        |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    token.len() <= 16 * 1024 && token.split('.').count() == 3 && token.split('.').all(part)
}

/// The configured ServiceAccount, with a token bound to one of its pods, not one that somebody minted.
fn is_driver(identity: &TokenIdentity, driver_user: &str) -> bool {
    identity.caller.username == driver_user && identity.pod.is_some() && identity.node.is_some()
}

fn check_binding(
    pod: &TokenIdentity,
    driver: Option<&TokenIdentity>,
    claimed: &PodReference,
) -> Result<Workload, Rejection> {
    let Some(((namespace, _), bound)) = pod.caller.service_account().zip(pod.pod.as_ref()) else {
        return Err(Rejection::NotPodBound);
    };
    if let Some(driver) = driver {
        let uid =
            |identity: &TokenIdentity| identity.node.as_ref().map(|BoundObject { uid, .. }| uid.clone());
        if uid(driver).is_none() || uid(driver) != uid(pod) {
            return Err(Rejection::OtherNode);
        }
    }
    // The claim is only ever compared. What goes on from here is what the token says.
    if bound.uid != claimed.uid || bound.name != claimed.name || namespace != claimed.namespace {
        return Err(Rejection::OtherPod);
    }
    Ok(Workload { caller: pod.caller.clone(), namespace: namespace.to_owned(), actor: pod.actor() })
}
