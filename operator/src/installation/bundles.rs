//! The trust that the API server has in the webhook: `caBundle` of the webhook configurations, kept as it should be.
//!
//! The chart never writes the field; server-side apply makes it the operator's. The configurations are watched, one
//! by one and by name, so that a new or a tampered one is put right at once.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use coffer_runtime::Shutdown;
use futures::StreamExt as _;
use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    core::ClusterResourceScope,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    apply::{MANAGER, WriteError, Writer},
    cache::Key,
};

/// A webhook configuration, of either kind.
pub trait Configuration:
    Resource<Scope = ClusterResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Name and `caBundle` of each webhook in it.
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)>;
}

impl Configuration for MutatingWebhookConfiguration {
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)> {
        let hooks = self.webhooks.iter().flatten();
        hooks.map(|hook| (hook.name.as_str(), bytes(hook.client_config.ca_bundle.as_ref()))).collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)> {
        let hooks = self.webhooks.iter().flatten();
        hooks.map(|hook| (hook.name.as_str(), bytes(hook.client_config.ca_bundle.as_ref()))).collect()
    }
}

fn bytes(bundle: Option<&ByteString>) -> Option<&[u8]> {
    bundle.map(|ByteString(bytes)| bytes.as_slice())
}

/// The fields to apply so that every webhook of `configuration` trusts `bundle`; `None` when each does.
pub fn wanted<C: Configuration>(configuration: &C, bundle: &str) -> Option<Value> {
    let hooks = configuration.bundles();
    if hooks.iter().all(|(_, present)| *present == Some(bundle.as_bytes())) {
        return None;
    }
    let bundle = json!(ByteString(bundle.as_bytes().to_vec()));
    let hooks: Vec<Value> =
        hooks.iter().map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": bundle}})).collect();
    Some(json!({
        "apiVersion": C::api_version(&()),
        "kind": C::kind(&()),
        // With its uid, an apply that comes late cannot make the configuration anew.
        "metadata": {"name": configuration.name_any(), "uid": configuration.meta().uid},
        "webhooks": hooks,
    }))
}

/// The webhook configurations of this installation, as last seen.
#[derive(Default)]
pub struct Configurations {
    mutating: Mutex<BTreeMap<String, MutatingWebhookConfiguration>>,
    validating: Mutex<BTreeMap<String, ValidatingWebhookConfiguration>>,
    changed: Notify,
}

impl Configurations {
    /// Watches the three configurations in the background.
    pub fn watch(client: &Client, shutdown: &Shutdown) -> Arc<Self> {
        let seen = Arc::new(Self::default());
        for name in ["coffer", "coffer-pods"] {
            follow::<MutatingWebhookConfiguration>(client, &seen, |seen| &seen.mutating, name, shutdown);
        }
        follow::<ValidatingWebhookConfiguration>(client, &seen, |seen| &seen.validating, "coffer", shutdown);
        seen
    }

    /// Resolves when one of them changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes every webhook trust `bundle`.
    ///
    /// # Errors
    /// The first that failed; the others were tried.
    pub async fn trust(&self, writer: &Writer, bundle: &str) -> Result<(), WriteError> {
        let mutating: Vec<_> =
            self.mutating.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let validating: Vec<_> =
            self.validating.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut outcome = Ok(());
        for configuration in &mutating {
            outcome = outcome.and(trust(writer, configuration, bundle).await);
        }
        for configuration in &validating {
            outcome = outcome.and(trust(writer, configuration, bundle).await);
        }
        outcome
    }
}

type Seen<C> = Mutex<BTreeMap<String, C>>;

fn follow<C: Configuration>(
    client: &Client,
    seen: &Arc<Configurations>,
    pick: fn(&Configurations) -> &Seen<C>,
    name: &'static str,
    shutdown: &Shutdown,
) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events =
        watcher(Api::<C>::all(client.clone()), config).default_backoff().take_until(shutdown.requested());
    let seen = seen.clone();
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let mut all = pick(&seen).lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found)) => {
                    all.insert(found.name_any(), found);
                }
                Ok(watcher::Event::Delete(gone)) => {
                    tracing::warn!(kind = %C::kind(&()), name, "webhook configuration is gone: nobody seals or stamps");
                    all.remove(&gone.name_any());
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
                Err(error) => {
                    tracing::warn!(kind = %C::kind(&()), name, %error, "watch interrupted; it starts again");
                    continue;
                }
            }
            drop(all);
            seen.changed.notify_one();
        }
    });
}

async fn trust<C: Configuration>(writer: &Writer, configuration: &C, bundle: &str) -> Result<(), WriteError> {
    let Some(fields) = wanted(configuration, bundle) else { return Ok(()) };
    let key = Key::of(configuration);
    let api = Api::<C>::all(writer.client());
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(&fields);
    let call = api.patch(&key.name, &params, &patch);
    let kind = C::kind(&()).into_owned();
    writer.send("apply", kind.clone(), key.clone(), call).await?;
    tracing::info!(kind, name = key.name, "caBundle written");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

    use super::*;

    fn configuration(bundles: [Option<&str>; 2]) -> MutatingWebhookConfiguration {
        let hook = |(name, bundle): (&str, Option<&str>)| {
            let bundle = bundle.map(|bundle| json!(ByteString(bundle.as_bytes().to_vec())));
            json!({"name": name, "clientConfig": {"caBundle": bundle}, "sideEffects": "None", "admissionReviewVersions": ["v1"]})
        };
        let hooks: Vec<_> = [("a.coffer.dev", bundles[0]), ("b.coffer.dev", bundles[1])].map(hook).to_vec();
        serde_json::from_value(json!({"metadata": {"name": "coffer", "uid": "u"}, "webhooks": hooks}))
            .unwrap()
    }

    #[test]
    fn a_bundle_that_is_as_it_should_be_is_not_written() {
        assert_eq!(wanted(&configuration([Some("PEM"), Some("PEM")]), "PEM"), None);
    }

    #[test]
    fn one_wrong_bundle_is_put_right_and_nothing_else_is_touched() {
        let fields = wanted(&configuration([Some("PEM"), None]), "PEM").unwrap();
        assert_eq!(
            fields["webhooks"][1],
            json!({"name": "b.coffer.dev", "clientConfig": {"caBundle": "UEVN"}})
        );
        assert_eq!(fields["metadata"]["uid"], "u");
    }
}
