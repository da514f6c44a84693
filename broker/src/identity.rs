//! Who a token is: what the API server said of it, and nothing else.

mod cache;
mod review;

pub use cache::{CachedReviews, MAX_CACHE_AGE, MAX_CACHED};
pub use review::{ApiServerReviews, ReviewUnavailable, TokenReviewer};

use crate::audit::{Actor, ActorKind};
use coffer_policy::Caller;

/// An identity that the API server vouched for, with what the token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIdentity {
    /// Name, uid and groups.
    pub caller: Caller,
    /// The pod that the token lives and dies with.
    pub pod: Option<BoundObject>,
    /// The node that this pod is on.
    pub node: Option<BoundObject>,
}

/// An object that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundObject {
    /// Its name; empty when the token does not say.
    pub name: String,
    /// Its uid, never empty.
    pub uid: String,
}

impl TokenIdentity {
    /// The same as the audit log writes it.
    pub fn actor(&self) -> Actor {
        let account = self.caller.service_account();
        Actor {
            kind: if account.is_some() { ActorKind::ServiceAccount } else { ActorKind::User },
            name: Some(self.caller.username.clone()),
            uid: self.caller.uid.clone(),
            pod: account
                .zip(self.pod.as_ref())
                .map(|((namespace, _), pod)| format!("{namespace}/{}", pod.name)),
            node: self.node.as_ref().map(|node| node.name.clone()),
        }
    }
}
