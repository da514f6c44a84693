//! The watches: each event goes into its cache, and from there to whatever it concerns.

use std::{sync::Arc, time::Duration};

use coffer_runtime::{Readiness, Shutdown, StoreOptions, store::Watchable, store::tolerant_watcher};
use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};

use crate::{
    apply::{MANAGED_BY, MANAGER},
    cache::{Cache, Change},
    caches::Caches,
    queue::Queues,
    triggers::Concerns,
};

/// Counts in a Vault's status may lag by that much, so that a thousand Connections do not mean a thousand looks.
const COUNT_DELAY: Duration = Duration::from_millis(250);

/// Caches and queues together: what a change goes through.
#[derive(Clone)]
pub struct Watched {
    /// What is known.
    pub caches: Arc<Caches>,
    /// What is to be reconciled.
    pub queues: Arc<Queues>,
}

impl Watched {
    /// Takes in the API server's answer to a write of ours, as if the watch had delivered it.
    pub fn written<K: Watchable + Concerns>(&self, cache: &Cache<K>, object: K) {
        if let Some(change) = cache.written(object) {
            self.dispatch(&change);
        }
    }

    fn dispatch<K: Concerns>(&self, change: &Change<K>) {
        self.queues.add(&K::touched(change, &self.caches));
    }
}

/// Starts every watch in the background; each adds a readiness check that its first complete list meets.
pub fn start(client: &Client, watched: &Watched, readiness: &Readiness, shutdown: &Shutdown) {
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    custom(client, watched, |caches| &caches.vaults, readiness, shutdown);
    custom(client, watched, |caches| &caches.members, readiness, shutdown);
    custom(client, watched, |caches| &caches.connections, readiness, shutdown);
    custom(client, watched, |caches| &caches.keyrings, readiness, shutdown);
    custom(client, watched, |caches| &caches.envelopes, readiness, shutdown);
    plain(client, watched, |caches| &caches.accounts, watcher::Config::default(), readiness, shutdown);
    plain(client, watched, |caches| &caches.namespaces, watcher::Config::default(), readiness, shutdown);
    plain(client, watched, |caches| &caches.bindings, ours, readiness, shutdown);
    let (queues, ended) = (watched.queues.clone(), shutdown.clone());
    tokio::spawn(async move { ended.or_requested(drain_counts(queues)).await });
}

type Pick<K> = fn(&Caches) -> &Cache<K>;

/// A kind of ours, whose malformed objects are left out.
fn custom<K: Watchable + Concerns>(
    client: &Client,
    watched: &Watched,
    pick: Pick<K>,
    readiness: &Readiness,
    shutdown: &Shutdown,
) where
    K::DynamicType: Default,
{
    let api = Api::<DeserializeGuard<K>>::all_with(client.clone(), &K::DynamicType::default());
    let store = pick(&watched.caches).store();
    let events = tolerant_watcher(api, StoreOptions::default(), store);
    feed(events, watched, pick, readiness, shutdown);
}

/// A kind of Kubernetes, which the API server keeps well formed; metadata only where the type says so.
fn plain<K: Watchable + Concerns>(
    client: &Client,
    watched: &Watched,
    pick: Pick<K>,
    config: watcher::Config,
    readiness: &Readiness,
    shutdown: &Shutdown,
) where
    K::DynamicType: Default,
{
    let api = Api::<K>::all_with(client.clone(), &K::DynamicType::default());
    let events = watcher::watcher(api, config).default_backoff().modify(|object| {
        object.meta_mut().managed_fields = None;
    });
    feed(events, watched, pick, readiness, shutdown);
}

fn feed<K: Watchable + Concerns>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    watched: &Watched,
    pick: Pick<K>,
    readiness: &Readiness,
    shutdown: &Shutdown,
) {
    let kind = K::plural(&K::DynamicType::default()).into_owned();
    let check = readiness.check(format!("watch/{kind}"));
    let watched = watched.clone();
    let events = events.take_until(shutdown.requested());
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let complete = matches!(event, Event::InitDone);
                    for change in pick(&watched.caches).observe(event) {
                        watched.dispatch(&change);
                    }
                    if complete {
                        check.ready();
                        watched.queues.list_completed();
                    }
                }
                Err(error) => tracing::warn!(kind, %error, "watch interrupted; it starts again"),
            }
        }
    });
}

async fn drain_counts(queues: Arc<Queues>) {
    loop {
        queues.counts_wanted().await;
        tokio::time::sleep(COUNT_DELAY).await;
        queues.flush_counts();
    }
}
