//! The one way in which the operator writes: bounded in time, by the leader only, and never over what it has not seen.

use std::{fmt, future::Future, hash::Hash, time::Duration};

use coffer_runtime::{CallError, Leadership, lease::NotLeader, within};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{cache::Key, meters::Meters};

/// Field manager of everything that the operator applies, and the value of `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "coffer-operator";

/// Label that marks what the operator made.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Why a write did not happen, or may not have happened.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// This process does not lead (any more): nothing was sent.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// The object is not in the state that the plan was made for. The next plan sees the new one.
    #[error("{0} changed in between")]
    Conflict(Target),
    /// The API server refuses this write and would refuse it again.
    #[error("the API server refuses to {0}")]
    Refused(Target, #[source] CallError),
    /// No answer, or one that says "later".
    #[error("could not {0}")]
    Unavailable(Target, #[source] CallError),
}

/// What a write does to what; for logs and errors, without any content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `create`, `replace`, `apply`, `delete` or `apply status of`.
    pub verb: &'static str,
    /// The kind.
    pub kind: String,
    /// Where it is.
    pub key: Key,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.verb, self.kind, self.key)
    }
}

/// A kind with a namespace that the operator writes.
pub trait Writable:
    Resource<Scope = NamespaceResourceScope, DynamicType: Default + Eq + Hash + Clone>
    + Clone
    + fmt::Debug
    + Serialize
    + DeserializeOwned
{
}
impl<K> Writable for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType: Default + Eq + Hash + Clone>
        + Clone
        + fmt::Debug
        + Serialize
        + DeserializeOwned
{
}

/// Sends writes while this process leads.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    leadership: watch::Receiver<Leadership>,
    request_timeout: Duration,
    meters: Meters,
}

impl Writer {
    /// A writer that sends as long as `leadership` allows, each request for at most `request_timeout`.
    pub fn new(
        client: Client,
        leadership: watch::Receiver<Leadership>,
        request_timeout: Duration,
        meters: Meters,
    ) -> Self {
        Self { client, leadership, request_timeout, meters }
    }

    /// Creates an object; one of that name must not exist.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] when it exists.
    pub async fn create<K: Writable>(&self, object: &K) -> Result<K, WriteError> {
        let key = Key::of(object);
        let params = PostParams { field_manager: Some(String::from(MANAGER)), ..PostParams::default() };
        let api = self.api::<K>(&key);
        self.send("create", kind::<K>(), key, api.create(&params, object)).await
    }

    /// Replaces an object in exactly the state that was read: `object` carries its resourceVersion.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] when it changed since.
    pub async fn replace<K: Writable>(&self, object: &K) -> Result<K, WriteError> {
        let key = Key::of(object);
        let params = PostParams { field_manager: Some(String::from(MANAGER)), ..PostParams::default() };
        let api = self.api::<K>(&key);
        self.send("replace", kind::<K>(), key.clone(), api.replace(&key.name, &params, object)).await
    }

    /// Applies fields of an object by server-side apply, creating it if it is absent. Fields that another manager
    /// owns are not taken from it, unless `force`.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] when another manager owns a field.
    pub async fn apply<K: Writable>(&self, key: &Key, fields: Value, force: bool) -> Result<K, WriteError> {
        let body = with_type::<K>(fields, key);
        let mut params = PatchParams::apply(MANAGER);
        params.force = force;
        let api = self.api::<K>(key);
        self.send("apply", kind::<K>(), key.clone(), api.patch(&key.name, &params, &Patch::Apply(&body)))
            .await
    }

    /// Applies the operator's part of a status to the very object and state that was read.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] when it changed since, or is another object of the same name.
    pub async fn apply_status<K: Writable>(
        &self,
        read: &K,
        status: &impl Serialize,
    ) -> Result<K, WriteError> {
        let key = Key::of(read);
        let metadata = json!({"uid": read.meta().uid, "resourceVersion": read.meta().resource_version});
        let body = with_type::<K>(json!({"metadata": metadata, "status": status}), &key);
        let params = PatchParams::apply(MANAGER).force();
        let api = self.api::<K>(&key);
        let patch = Patch::Apply(&body);
        let call = api.patch_status(&key.name, &params, &patch);
        self.send("apply status of", kind::<K>(), key.clone(), call).await
    }

    /// Deletes the very object that was read. One that is gone already is fine.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] when another object has taken its name.
    pub async fn delete<K: Writable>(&self, read: &K) -> Result<(), WriteError> {
        let key = Key::of(read);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: read.meta().uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let api = self.api::<K>(&key);
        match self.send("delete", kind::<K>(), key.clone(), api.delete(&key.name, &params)).await {
            Ok(_) => Ok(()),
            Err(WriteError::Refused(_, error)) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends any other request that changes something, under the same rules.
    ///
    /// # Errors
    /// As the others.
    pub async fn send<T>(
        &self,
        verb: &'static str,
        kind: String,
        key: Key,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let remaining = self.leadership.borrow().remaining()?;
        let outcome = within(self.request_timeout.min(remaining), call).await;
        self.meters.write(&kind, verb);
        let target = Target { verb, kind, key };
        outcome.map_err(|error| {
            if error.is_conflict() {
                WriteError::Conflict(target)
            } else if error.is_transient() {
                WriteError::Unavailable(target, error)
            } else {
                WriteError::Refused(target, error)
            }
        })
    }

    /// Whether this process leads at this very moment.
    pub fn may_send(&self) -> bool {
        self.leadership.borrow().may_send()
    }

    /// For requests of kinds that the other methods do not fit.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    fn api<K: Writable>(&self, key: &Key) -> Api<K> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

fn kind<K: Writable>() -> String {
    K::kind(&K::DynamicType::default()).into_owned()
}

/// Adds apiVersion, kind and name, which server-side apply wants in the body.
fn with_type<K: Writable>(mut fields: Value, key: &Key) -> Value {
    let kind = K::DynamicType::default();
    fields["apiVersion"] = json!(K::api_version(&kind));
    fields["kind"] = json!(K::kind(&kind));
    fields["metadata"]["name"] = json!(key.name);
    fields["metadata"]["namespace"] = json!(key.namespace);
    fields
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use coffer_runtime::Metrics;
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;
    use tokio::time::Instant;

    use super::*;

    /// A writer, and how many requests it sent. Nobody answers.
    fn writer(leadership: Leadership) -> (Writer, Arc<AtomicUsize>) {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let (publish, leadership) = watch::channel(leadership);
        // The last known state stays to be read.
        drop(publish);
        let client = Client::new(service, "default");
        (Writer::new(client, leadership, Duration::from_secs(4), Meters::new(&Metrics::new())), sent)
    }

    #[tokio::test]
    async fn whoever_does_not_lead_sends_nothing() {
        let (writer, sent) = writer(Leadership::none());
        let outcome = writer.apply::<ConfigMap>(&Key::new("ns", "a"), json!({"metadata": {}}), true).await;
        assert!(matches!(outcome, Err(WriteError::NotLeader(_))));
        assert_eq!(sent.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_given_up_when_the_lease_is_and_nothing_is_sent_after_it() {
        let began = Instant::now();
        let (writer, sent) = writer(Leadership::until(began + Duration::from_millis(1500)));
        let outcome = writer.apply::<ConfigMap>(&Key::new("ns", "a"), json!({"metadata": {}}), true).await;
        assert!(matches!(outcome, Err(WriteError::Unavailable(..))));
        assert_eq!(began.elapsed(), Duration::from_millis(1500));
        let outcome = writer.apply::<ConfigMap>(&Key::new("ns", "a"), json!({"metadata": {}}), true).await;
        assert!(matches!(outcome, Err(WriteError::NotLeader(_))));
        assert_eq!(sent.load(Ordering::Relaxed), 1);
    }
}
