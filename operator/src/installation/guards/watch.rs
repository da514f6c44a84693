//! Watches the guards and what the chart ships, and says how they stand.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coffer_runtime::{Readiness, Shutdown};
use futures::StreamExt as _;
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::ConfigMap,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt as _, watcher, watcher::Event},
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{Found, SHIPPED_KEY, Standing, judge};
use crate::{installation::bundles::Configurations, meters::Meters};

/// How long a change must have lasted before it is told: Helm replaces one object after the other, and a policy that
/// is new takes about a second to act. Nothing is applied meanwhile.
const SETTLE: Duration = Duration::from_secs(5);

/// Objects by name; `None` before the first complete list.
type Listed = Option<BTreeMap<String, DynamicObject>>;

#[derive(Default)]
struct Seen {
    shipped: Listed,
    policies: Listed,
    bindings: Listed,
}

/// The guards as last seen.
pub struct Guards {
    seen: Mutex<Seen>,
    changed: watch::Sender<()>,
    configurations: Arc<Configurations>,
}

impl Guards {
    /// Watches in the background; `readiness` is met once everything has been listed.
    pub fn watch(
        client: &Client,
        namespace: &str,
        configurations: &Arc<Configurations>,
        meters: &Meters,
        readiness: &Readiness,
        shutdown: &Shutdown,
    ) -> watch::Receiver<Standing> {
        let guards = Arc::new(Self {
            seen: Mutex::default(),
            changed: watch::Sender::new(()),
            configurations: configurations.clone(),
        });
        let shipped = watcher::Config::default().fields("metadata.name=coffer-guards");
        // A guard that has lost the label is a guard that is not as shipped.
        let ours = || watcher::Config::default().labels("app.kubernetes.io/part-of=coffer");
        let maps = Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<ConfigMap>(&()));
        follow(&guards, maps, shipped, |seen| &mut seen.shipped, shutdown);
        let policies = cluster::<ValidatingAdmissionPolicy>(client);
        follow(&guards, policies, ours(), |seen| &mut seen.policies, shutdown);
        let bindings = cluster::<ValidatingAdmissionPolicyBinding>(client);
        follow(&guards, bindings, ours(), |seen| &mut seen.bindings, shutdown);

        let (publish, standing) = watch::channel(Standing::Unknown);
        let (check, meters, ended) = (readiness.check("watch/guards"), meters.clone(), shutdown.clone());
        let told = move |standing: &Standing| {
            check.ready();
            tell(standing, &meters);
        };
        tokio::spawn(async move { ended.or_requested(guards.keep(publish, told)).await });
        standing
    }

    /// Publishes how the guards stand, when a change has lasted. What is good from the start is told at once, and what
    /// was good is doubted at once.
    async fn keep(&self, publish: watch::Sender<Standing>, told: impl Fn(&Standing)) {
        let (mut ours, mut theirs) = (self.changed.subscribe(), self.configurations.revisions());
        let (mut first, mut since) = (true, (Standing::Unknown, Instant::now()));
        loop {
            let found = self.judged();
            if found != since.0 {
                since = (found.clone(), Instant::now());
            }
            let present = publish.borrow().clone();
            let settled = since.1 + SETTLE;
            let differs = found != present && found != Standing::Unknown;
            if differs && ((first && found == Standing::AsShipped) || Instant::now() >= settled) {
                first = false;
                told(&found);
                publish.send_replace(found);
                continue;
            }
            if differs && present == Standing::AsShipped {
                publish.send_replace(Standing::Unknown);
            }
            tokio::select! {
                () = tokio::time::sleep_until(settled), if differs => {}
                _ = ours.changed() => {}
                _ = theirs.changed() => {}
            }
        }
    }

    fn judged(&self) -> Standing {
        let Some(mut found) = self.configurations.listed() else { return Standing::Unknown };
        let seen = self.locked();
        let (Some(shipped), Some(policies), Some(bindings)) = (&seen.shipped, &seen.policies, &seen.bindings)
        else {
            return Standing::Unknown;
        };
        add(&mut found, &ValidatingAdmissionPolicy::kind(&()), policies);
        add(&mut found, &ValidatingAdmissionPolicyBinding::kind(&()), bindings);
        let shipped = shipped.values().next().and_then(|map| map.data["data"][SHIPPED_KEY].as_str());
        judge(shipped, &found)
    }

    fn locked(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(found: &mut Found, kind: &str, objects: &BTreeMap<String, DynamicObject>) {
    let specs = objects.iter().map(|(name, object)| {
        let spec = object.data.get("spec").cloned().unwrap_or_else(|| json!({}));
        ((String::from(kind), name.clone()), spec)
    });
    found.extend::<Vec<((String, String), Value)>>(specs.collect());
}

fn tell(standing: &Standing, meters: &Meters) {
    meters.guards_as_shipped(*standing == Standing::AsShipped);
    match standing {
        Standing::Missing(why) => {
            tracing::error!(why = %why, "guards are not as shipped: nothing is applied")
        }
        Standing::AsShipped => tracing::info!("guards are as shipped"),
        Standing::Unknown => {}
    }
}

/// Read with every field, also ones that this program knows nothing of.
fn cluster<K: Resource<DynamicType = ()>>(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<K>(&()))
}

fn follow(
    guards: &Arc<Guards>,
    api: Api<DynamicObject>,
    config: watcher::Config,
    pick: fn(&mut Seen) -> &mut Listed,
    shutdown: &Shutdown,
) {
    let events = watcher(api, config).default_backoff().take_until(shutdown.requested());
    let guards = guards.clone();
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        let mut list = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => list.clear(),
                Ok(Event::InitApply(object)) => {
                    list.insert(object.name_any(), object);
                }
                Ok(Event::InitDone) => *pick(&mut guards.locked()) = Some(std::mem::take(&mut list)),
                Ok(Event::Apply(object)) => {
                    pick(&mut guards.locked()).get_or_insert_default().insert(object.name_any(), object);
                }
                Ok(Event::Delete(object)) => {
                    pick(&mut guards.locked()).get_or_insert_default().remove(&object.name_any());
                }
                Err(error) => tracing::warn!(%error, "watch of guards interrupted; it starts again"),
            }
            guards.changed.send_replace(());
        }
    });
}
