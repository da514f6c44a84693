//! TokenReview: the API server says whose a token is.

use super::{BoundObject, TokenIdentity};
use coffer_broker_api::TOKEN_AUDIENCE;
use coffer_policy::Caller;
use coffer_runtime::within;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::{Api, api::PostParams};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::Semaphore;

/// How long one review may take, its place in the queue included.
const PATIENCE: Duration = Duration::from_secs(3);
/// Reviews under way at one time: a flood of tokens must not become a flood on the API server.
const MAX_PARALLEL: usize = 32;

/// Says whose a token is.
pub trait TokenReviewer: Send + Sync + 'static {
    /// The identity behind `token` for the audience `coffer`; `None` when the token is not accepted.
    fn review<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, ReviewUnavailable>>;
}

/// Nobody could be asked; says nothing about the token.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("tokens cannot be reviewed at the moment")]
pub struct ReviewUnavailable;

/// Asks the API server each time. Needs the right `create` on `tokenreviews`.
pub struct ApiServerReviews {
    api: Api<TokenReview>,
    parallel: Semaphore,
}

impl ApiServerReviews {
    /// Through this client.
    pub fn new(client: kube::Client) -> Self {
        Self { api: Api::all(client), parallel: Semaphore::new(MAX_PARALLEL) }
    }

    async fn ask(&self, token: &str) -> Result<Option<TokenIdentity>, ReviewUnavailable> {
        let _place = self.parallel.acquire().await.map_err(|_| ReviewUnavailable)?;
        let spec = TokenReviewSpec {
            token: Some(token.to_owned()),
            audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        match within(PATIENCE, self.api.create(&PostParams::default(), &review)).await {
            Ok(review) => Ok(identity_of(review)),
            Err(error) => {
                // The error is about the call: a refused token comes back as a status.
                tracing::warn!(%error, "TokenReview failed");
                Err(ReviewUnavailable)
            }
        }
    }
}

impl TokenReviewer for ApiServerReviews {
    fn review<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, ReviewUnavailable>> {
        Box::pin(async move {
            tokio::time::timeout(PATIENCE, self.ask(token)).await.unwrap_or(Err(ReviewUnavailable))
        })
    }
}

/// The identity in an answered review; `None` unless it is authenticated for our audience.
fn identity_of(review: TokenReview) -> Option<TokenIdentity> {
    let status = review.status?;
    let authenticated = status.authenticated == Some(true);
    // An API server that knows no audiences would leave the list empty: then the token may be meant for anybody.
    let for_us = status.audiences.iter().flatten().any(|audience| audience == TOKEN_AUDIENCE);
    let user = status.user.filter(|_| authenticated && for_us)?;
    let (pod, node) = (bound(&user, "pod"), bound(&user, "node"));
    let caller = Caller {
        username: user.username.filter(|name| !name.is_empty())?,
        uid: user.uid.filter(|uid| !uid.is_empty()),
        groups: user.groups.unwrap_or_default(),
    };
    Some(TokenIdentity { caller, pod, node })
}

/// What the token is bound to, by the API server's `extra`; a key with several values says nothing.
fn bound(user: &UserInfo, what: &str) -> Option<BoundObject> {
    let one = |part: &str| {
        let extra: &BTreeMap<String, Vec<String>> = user.extra.as_ref()?;
        match extra.get(&format!("authentication.kubernetes.io/{what}-{part}"))?.as_slice() {
            [only] if !only.is_empty() => Some(only.clone()),
            _ => None,
        }
    };
    Some(BoundObject { uid: one("uid")?, name: one("name").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answered(status: serde_json::Value) -> Option<TokenIdentity> {
        let review = json!({"metadata": {}, "spec": {}, "status": status});
        identity_of(serde_json::from_value(review).expect("a valid review"))
    }

    fn user() -> serde_json::Value {
        json!({
            "username": "system:serviceaccount:team-a:web", "uid": "sa-uid", "groups": ["system:serviceaccounts"],
            "extra": {
                "authentication.kubernetes.io/pod-name": ["web-0"], "authentication.kubernetes.io/pod-uid": ["pod-uid"],
                "authentication.kubernetes.io/node-name": ["n1"], "authentication.kubernetes.io/node-uid": ["node-uid"],
            },
        })
    }

    #[test]
    fn an_authenticated_pod_bound_token_is_read_with_its_pod_and_node() {
        let found = answered(json!({"authenticated": true, "audiences": ["coffer"], "user": user()}))
            .expect("it is authenticated");
        assert_eq!(found.caller.service_account(), Some(("team-a", "web")));
        assert_eq!(found.caller.uid.as_deref(), Some("sa-uid"));
        assert_eq!(found.pod, Some(BoundObject { name: "web-0".into(), uid: "pod-uid".into() }));
        assert_eq!(found.node, Some(BoundObject { name: "n1".into(), uid: "node-uid".into() }));
        assert_eq!(found.actor().pod.as_deref(), Some("team-a/web-0"));
    }

    /// T12, T25: anything less than "yes, for your audience, and this is who" is nobody.
    #[test]
    fn anything_less_is_nobody() {
        for status in [
            json!({}),
            json!({"authenticated": false, "audiences": ["coffer"], "user": user()}),
            json!({"audiences": ["coffer"], "user": user()}),
            json!({"authenticated": true, "user": user()}),
            json!({"authenticated": true, "audiences": [], "user": user()}),
            json!({"authenticated": true, "audiences": ["https://kubernetes.default.svc"], "user": user()}),
            json!({"authenticated": true, "audiences": ["coffer"]}),
            json!({"authenticated": true, "audiences": ["coffer"], "user": {}}),
            json!({"authenticated": true, "audiences": ["coffer"], "user": {"username": ""}}),
        ] {
            assert_eq!(answered(status.clone()), None, "{status}");
        }
    }

    #[test]
    fn a_binding_without_a_uid_or_with_two_is_none() {
        for extra in [
            json!({"authentication.kubernetes.io/pod-name": ["web-0"]}),
            json!({"authentication.kubernetes.io/pod-uid": []}),
            json!({"authentication.kubernetes.io/pod-uid": [""]}),
            json!({"authentication.kubernetes.io/pod-uid": ["a", "b"]}),
        ] {
            let user = json!({"username": "u", "extra": extra});
            let found = answered(json!({"authenticated": true, "audiences": ["coffer"], "user": user}));
            assert_eq!(found.and_then(|identity| identity.pod), None);
        }
    }
}
