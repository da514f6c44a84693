//! Looks past the watches: when an Envelope and a member do not fit together, one of them is older than the other in this
//! replica's eyes, and the API server knows. How many there may be is [`coffer_envelope::Looks`]' word.

use super::Key;
use coffer_crds::{Envelope, Keyring, VaultMember};
use coffer_runtime::{CallError, within};
use futures::future::{BoxFuture, try_join_all};
use kube::{Api, Resource, core::DeserializeGuard};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks at one time: callers of a broken Connection must not become a load on the API server.
const MAX_PARALLEL: usize = 16;

/// What is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The Envelope.
    pub envelope: Key,
    /// The Keyring.
    pub keyring: Key,
    /// The caller's VaultMembers in that vault.
    pub members: Vec<Key>,
}

/// What there is now; absent ones are gone.
#[derive(Clone, Debug, Default)]
pub struct Fresh {
    /// The Envelope.
    pub envelope: Option<Arc<Envelope>>,
    /// The Keyring.
    pub keyring: Option<Arc<Keyring>>,
    /// Those of the VaultMembers that exist.
    pub members: Vec<Arc<VaultMember>>,
}

/// Which of the objects were seen, by resourceVersion, in the order of [`Wanted`]; of what is absent none.
pub type Versions = Vec<Option<String>>;

/// The API server could not be asked.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("the API server could not be asked again")]
pub struct RereadFailed;

/// Reads objects again, past the watches.
pub trait Reread: Send + Sync + 'static {
    /// Reads what is wanted, consistent with everything written before.
    fn read<'a>(&'a self, wanted: &'a Wanted) -> BoxFuture<'a, Result<Fresh, RereadFailed>>;
}

/// Asks the API server. Needs `get` on Envelopes, Keyrings and VaultMembers.
pub struct ApiServerReread {
    client: kube::Client,
    parallel: Semaphore,
}

impl ApiServerReread {
    /// Through this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client, parallel: Semaphore::new(MAX_PARALLEL) }
    }

    async fn get<K>(&self, key: &Key) -> Result<Option<Arc<K>>, CallError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<DeserializeGuard<K>> = Api::namespaced(self.client.clone(), &key.namespace);
        // A malformed object is as good as none, as in the watches (T45).
        let found = within(PATIENCE, api.get_opt(&key.name)).await?;
        Ok(found.and_then(|guard| guard.0.ok()).map(Arc::new))
    }

    async fn read_all(&self, wanted: &Wanted) -> Result<Fresh, CallError> {
        let members = try_join_all(wanted.members.iter().map(|key| self.get(key)));
        let (envelope, keyring, members) =
            futures::try_join!(self.get(&wanted.envelope), self.get(&wanted.keyring), members)?;
        Ok(Fresh { envelope, keyring, members: members.into_iter().flatten().collect() })
    }
}

impl Reread for ApiServerReread {
    fn read<'a>(&'a self, wanted: &'a Wanted) -> BoxFuture<'a, Result<Fresh, RereadFailed>> {
        Box::pin(async move {
            let look = async {
                let _place = self.parallel.acquire().await.map_err(|_| RereadFailed)?;
                self.read_all(wanted).await.map_err(|error| {
                    tracing::warn!(%error, envelope = %wanted.envelope, "could not read again");
                    RereadFailed
                })
            };
            tokio::time::timeout(PATIENCE, look).await.unwrap_or(Err(RereadFailed))
        })
    }
}
