//! The trust that the API server has in the webhook: `caBundle` of the webhook configurations, kept as it should be.
//!
//! The chart never writes the field; server-side apply makes it the operator's. The configurations are watched, one
//! by one and by name, so that a new or a tampered one is put right at once.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use coffer_runtime::{Check, Readiness, Shutdown};
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
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::{
    apply::{MANAGER, WriteError, Writer},
    cache::Key,
    installation::guards::Found,
};

/// A webhook configuration, of either kind.
pub trait Configuration:
    Resource<Scope = ClusterResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
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

/// Names of the configurations of each kind.
const MUTATING: [&str; 2] = ["coffer", "coffer-pods"];
const VALIDATING: [&str; 1] = ["coffer"];

/// The webhook configurations of this installation, as last seen.
pub struct Configurations {
    mutating: Seen<MutatingWebhookConfiguration>,
    validating: Seen<ValidatingWebhookConfiguration>,
    changed: Notify,
    revisions: watch::Sender<()>,
    trusted: Trusted,
}

/// The readiness check `webhooks-trusted`.
struct Trusted {
    check: Check,
    wanted: Mutex<Wanted>,
}

/// Whom the configurations are to trust, as far as this replica knows.
#[derive(Default)]
enum Wanted {
    /// Not said: this replica stands by, or certificates are somebody else's. Any trust will do.
    #[default]
    Somebody,
    /// This bundle, which was not seen in all of them yet.
    This(Vec<u8>),
    /// The operator's own, which was seen in all of them.
    Seen,
}

impl Configurations {
    /// Watches the three configurations in the background. Adds the readiness check `webhooks-trusted`, which is met once
    /// each of them has its `caBundle`: before, an installation that Helm waits for cannot be used. Where the operator
    /// makes the certificates, whoever leads knows the bundle, and takes no other for it. It stays met.
    pub fn watch(client: &Client, readiness: &Readiness, shutdown: &Shutdown) -> Arc<Self> {
        let seen = Arc::new(Self {
            mutating: Seen::default(),
            validating: Seen::default(),
            changed: Notify::default(),
            revisions: watch::Sender::default(),
            trusted: Trusted { check: readiness.check("webhooks-trusted"), wanted: Mutex::default() },
        });
        for name in MUTATING {
            follow::<MutatingWebhookConfiguration>(client, &seen, |seen| &seen.mutating, name, shutdown);
        }
        for name in VALIDATING {
            follow::<ValidatingWebhookConfiguration>(client, &seen, |seen| &seen.validating, name, shutdown);
        }
        seen
    }

    /// Whether every configuration is there and trusts `bundle`; `None`: anybody.
    fn trust_all(&self, bundle: Option<&[u8]>) -> bool {
        let (mutating, validating) = (locked(&self.mutating), locked(&self.validating));
        MUTATING.iter().all(|name| trusts(mutating.get(*name), bundle))
            && VALIDATING.iter().all(|name| trusts(validating.get(*name), bundle))
    }

    /// Brings the readiness check up to date.
    fn judge(&self) {
        let Trusted { check, wanted } = &self.trusted;
        let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*wanted {
            Wanted::Somebody if self.trust_all(None) => check.ready(),
            Wanted::This(bundle) if self.trust_all(Some(bundle)) => {
                check.ready();
                *wanted = Wanted::Seen;
            }
            Wanted::This(_) => {
                check.not_ready("a webhook configuration does not trust the operator's authority")
            }
            Wanted::Somebody | Wanted::Seen => {}
        }
    }

    /// Takes no other bundle than this for trust, until it was seen in every configuration.
    fn expect(&self, bundle: &str) {
        let mut wanted = self.trusted.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*wanted, Wanted::Seen) {
            *wanted = Wanted::This(bundle.as_bytes().to_vec());
        }
        drop(wanted);
        self.judge();
    }

    /// Resolves when one of them changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Sees every change, beside [`Self::changed`].
    pub fn revisions(&self) -> watch::Receiver<()> {
        self.revisions.subscribe()
    }

    /// Those that exist, as guards; `None` before each was looked for.
    pub fn listed(&self) -> Option<Found> {
        let mut found = Found::new();
        add(&mut found, &locked(&self.mutating))?;
        add(&mut found, &locked(&self.validating))?;
        Some(found)
    }

    /// Makes every webhook trust `bundle`.
    ///
    /// # Errors
    /// The first that failed; the others were tried.
    pub async fn trust(&self, writer: &Writer, bundle: &str) -> Result<(), WriteError> {
        self.expect(bundle);
        let mutating: Vec<_> = locked(&self.mutating).values().flatten().cloned().collect();
        let validating: Vec<_> = locked(&self.validating).values().flatten().cloned().collect();
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

/// By name: those that were looked for, and what was found.
type Seen<C> = Mutex<BTreeMap<String, Option<C>>>;

fn locked<C>(seen: &Seen<C>) -> MutexGuard<'_, BTreeMap<String, Option<C>>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether each webhook of a configuration trusts `wanted`; `None`: anybody.
fn trusts<C: Configuration>(seen: Option<&Option<C>>, wanted: Option<&[u8]>) -> bool {
    let bundles = seen.and_then(Option::as_ref).map(Configuration::bundles);
    let trusted = |bundle: &[u8]| wanted.map_or(!bundle.is_empty(), |wanted| bundle == wanted);
    bundles.is_some_and(|bundles| bundles.iter().all(|(_, bundle)| bundle.is_some_and(trusted)))
}

/// Injection's configuration is not among them: it vouches for nobody.
fn add<C: Configuration>(found: &mut Found, seen: &BTreeMap<String, Option<C>>) -> Option<()> {
    let name = String::from("coffer");
    if let Some(configuration) = seen.get(&name)? {
        let webhooks = serde_json::to_value(configuration).unwrap_or_default()["webhooks"].take();
        found.insert((C::kind(&()).into_owned(), name), json!({"webhooks": webhooks}));
    }
    Some(())
}

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
        let mut listed = None;
        while let Some(event) = events.next().await {
            let now = match event {
                Ok(watcher::Event::Apply(found)) => Some(found),
                Ok(watcher::Event::Init) => {
                    listed = None;
                    continue;
                }
                Ok(watcher::Event::InitApply(found)) => {
                    listed = Some(found);
                    continue;
                }
                // Also what was deleted while the watch was interrupted is gone.
                Ok(watcher::Event::InitDone) => listed.take(),
                Ok(watcher::Event::Delete(_)) => None,
                Err(error) => {
                    tracing::warn!(kind = %C::kind(&()), name, %error, "watch interrupted; it starts again");
                    continue;
                }
            };
            if now.is_none() {
                tracing::warn!(kind = %C::kind(&()), name, "webhook configuration is gone: nobody seals or stamps");
            }
            locked(pick(&seen)).insert(String::from(name), now);
            seen.judge();
            seen.changed.notify_one();
            seen.revisions.send_replace(());
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
        let complete = configuration([Some("PEM"), Some("PEM")]);
        assert_eq!(wanted(&complete, "PEM"), None);
        assert!(trusts(Some(&Some(complete.clone())), None) && trusts(Some(&Some(complete)), Some(b"PEM")));
    }

    #[test]
    fn one_wrong_bundle_is_put_right_and_nothing_else_is_touched() {
        let fields = wanted(&configuration([Some("PEM"), None]), "PEM").unwrap();
        assert_eq!(
            fields["webhooks"][1],
            json!({"name": "b.coffer.dev", "clientConfig": {"caBundle": "UEVN"}})
        );
        assert_eq!(fields["metadata"]["uid"], "u");
        for incomplete in [[Some("PEM"), None], [Some(""), Some("PEM")]] {
            assert!(!trusts(Some(&Some(configuration(incomplete))), None), "{incomplete:?}");
        }
        let absent = [Some(&None), None];
        assert!(absent.iter().all(|seen| !trusts::<MutatingWebhookConfiguration>(*seen, None)));
    }

    /// Three configurations that all trust `bundle`, and the check on them.
    fn seen(bundle: &str) -> (Configurations, Readiness) {
        let readiness = Readiness::new();
        let configurations = Configurations {
            mutating: Seen::default(),
            validating: Seen::default(),
            changed: Notify::default(),
            revisions: watch::Sender::default(),
            trusted: Trusted { check: readiness.check("webhooks-trusted"), wanted: Mutex::default() },
        };
        see(&configurations, bundle);
        (configurations, readiness)
    }

    fn see(configurations: &Configurations, bundle: &str) {
        let of_pods = configuration([Some(bundle), Some(bundle)]);
        // The two kinds look alike.
        let validating =
            json!({"metadata": {}, "webhooks": serde_json::to_value(&of_pods.webhooks).unwrap()});
        for name in MUTATING {
            locked(&configurations.mutating).insert(String::from(name), Some(of_pods.clone()));
        }
        for name in VALIDATING {
            let validating = serde_json::from_value(validating.clone()).unwrap();
            locked(&configurations.validating).insert(String::from(name), Some(validating));
        }
        configurations.judge();
    }

    #[test]
    fn whoever_makes_the_certificates_takes_no_other_bundle_for_trust() {
        let (configurations, readiness) = seen("ANOTHER");
        assert!(readiness.is_ready(), "a standby, or with cert-manager: nobody said which");
        configurations.expect("PEM");
        assert!(!readiness.is_ready(), "the leader knows");
        let mixed = configuration([Some("PEM"), Some("ANOTHER")]);
        locked(&configurations.mutating).insert(String::from("coffer-pods"), Some(mixed));
        configurations.judge();
        assert!(!readiness.is_ready(), "one of them will not do");
        see(&configurations, "PEM");
        assert!(readiness.is_ready());
        // It is put right again at once; meanwhile nothing is gained by a leader that is not ready.
        see(&configurations, "ANOTHER");
        configurations.expect("NEXT");
        assert!(readiness.is_ready(), "it stays met");
    }
}
