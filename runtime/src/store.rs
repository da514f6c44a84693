//! Watched caches.
//!
//! kube's own reflector gives up on a whole list when one object in it does not match its type. Coffer's kinds are
//! written by users and restored from backups, so here such an object is left out, as if it were deleted, and
//! everything else goes on (T45).

use std::{fmt::Debug, future::ready, hash::Hash};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use crate::{Readiness, Shutdown};

pub use kube::runtime::reflector::Store;

/// A kind that can be watched and kept.
pub trait Watchable:
    Resource<DynamicType: Default + Eq + Hash + Clone + Send>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}
impl<K> Watchable for K where
    K: Resource<DynamicType: Default + Eq + Hash + Clone + Send>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// What is watched, and what of it is kept.
#[derive(Clone, Debug)]
pub struct StoreOptions<K> {
    /// Selectors, page size and list strategy.
    pub watch: watcher::Config,
    /// Whether to keep `metadata.managedFields`, often half of an object. Off by default.
    pub managed_fields: bool,
    /// Takes out what nobody will look at, so that ten thousand objects stay small. Nothing by default.
    pub slim: fn(&mut K),
}

impl<K> Default for StoreOptions<K> {
    fn default() -> Self {
        Self { watch: watcher::Config::default(), managed_fields: false, slim: |_| {} }
    }
}

impl<K> StoreOptions<K> {
    /// The defaults, without what `slim` takes out.
    pub fn slim(slim: fn(&mut K)) -> Self {
        Self { slim, ..Self::default() }
    }
}

/// Watches `api` in the background and gives the cache. Adds the readiness check `watch/<plural>`, which is met once
/// the first complete list is in the cache.
///
/// ```no_run
/// # use coffer_runtime::{Readiness, Shutdown, StoreOptions, store};
/// # use k8s_openapi::api::core::v1::ServiceAccount;
/// # fn example(client: kube::Client, readiness: &Readiness, shutdown: &Shutdown) {
/// let accounts = store::<ServiceAccount>(kube::Api::all(client), StoreOptions::default(), readiness, shutdown);
/// # }
/// ```
pub fn store<K: Watchable>(
    api: Api<DeserializeGuard<K>>,
    options: StoreOptions<K>,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Store<K> {
    observed_store(api, options, readiness, shutdown, |_| {})
}

/// [`store()`], and `observe` is called with each event after the cache has taken it in: for indexes and triggers.
pub fn observed_store<K: Watchable>(
    api: Api<DeserializeGuard<K>>,
    options: StoreOptions<K>,
    readiness: &Readiness,
    shutdown: &Shutdown,
    mut observe: impl FnMut(&Event<K>) + Send + 'static,
) -> Store<K> {
    let plural = K::plural(&K::DynamicType::default()).into_owned();
    let check = readiness.check(format!("watch/{plural}"));
    let (reader, mut writer) = reflector::store();
    let events = tolerant_watcher(api, options, reader.clone()).take_until(shutdown.requested());
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    writer.apply_watcher_event(&event);
                    observe(&event);
                    if matches!(event, Event::InitDone) {
                        check.ready();
                    }
                }
                Err(error) => tracing::warn!(kind = plural, %error, "watch interrupted; it starts again"),
            }
        }
    });
    reader
}

/// kube's watcher with backoff, whose malformed objects are left out; `known` is the cache that its events are
/// applied to. For a kube `Controller`: `.reflect(writer)` it and go on.
pub fn tolerant_watcher<K: Watchable>(
    api: Api<DeserializeGuard<K>>,
    options: StoreOptions<K>,
    known: Store<K>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    let (keep, slim) = (options.managed_fields, options.slim);
    watcher::watcher(api, options.watch).default_backoff().filter_map(move |event| {
        ready(match event {
            Ok(event) => well_formed(event, &known, keep, slim).map(Ok),
            Err(error) => Some(Err(error)),
        })
    })
}

/// The same event about well-formed objects. One that has become malformed counts as deleted: what it said before
/// must not stay in force.
fn well_formed<K: Watchable>(
    event: Event<DeserializeGuard<K>>,
    known: &Store<K>,
    keep: bool,
    slim: fn(&mut K),
) -> Option<Event<K>> {
    let prune = |mut object: K| {
        if !keep {
            object.meta_mut().managed_fields = None;
        }
        slim(&mut object);
        object
    };
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(DeserializeGuard(Ok(object))) => Some(Event::InitApply(prune(object))),
        Event::Apply(DeserializeGuard(Ok(object))) => Some(Event::Apply(prune(object))),
        Event::Delete(DeserializeGuard(Ok(object))) => Some(Event::Delete(prune(object))),
        Event::InitApply(ref guard @ DeserializeGuard(Err(_))) => {
            report_malformed(guard);
            None
        }
        Event::Apply(ref guard @ DeserializeGuard(Err(_))) => {
            report_malformed(guard);
            previous(guard, known).map(Event::Delete)
        }
        Event::Delete(ref guard @ DeserializeGuard(Err(_))) => previous(guard, known).map(Event::Delete),
    }
}

fn previous<K: Watchable>(guard: &DeserializeGuard<K>, known: &Store<K>) -> Option<K> {
    let mut key = ObjectRef::<K>::new(&guard.name_any());
    key.namespace = guard.meta().namespace.clone();
    known.get(&key).map(|object| object.as_ref().clone())
}

/// Says which object, not what is wrong with it: serde's text quotes the value.
fn report_malformed<K: Watchable>(guard: &DeserializeGuard<K>) {
    tracing::warn!(
        kind = %K::kind(&K::DynamicType::default()),
        namespace = guard.meta().namespace.clone().unwrap_or_default(),
        name = guard.name_any(),
        "object does not match its schema and is left out"
    );
}

#[cfg(test)]
mod tests;
