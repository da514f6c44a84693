use std::sync::Arc;

use coffer_crds::{Connection, Vault, VaultMember};
use coffer_runtime::{
    Readiness, Shutdown, StoreOptions,
    store::{Watchable, tolerant_watcher},
};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        reflector::{self, ObjectRef},
        watcher::Event,
    },
};

use super::{Change, Directory, Key};

/// Fills `directory` by watches, for as long as the program runs. Readiness has one check per kind, met after its
/// first complete list.
pub fn watch_cluster(directory: &Directory, client: &Client, readiness: &Readiness, shutdown: &Shutdown) {
    watch::<Vault>(directory, client, readiness, shutdown);
    watch::<VaultMember>(directory, client, readiness, shutdown);
    watch::<Connection>(directory, client, readiness, shutdown);
    watch::<Namespace>(directory, client, readiness, shutdown);
}

/// A kind that is kept in the tables.
trait Kept: Watchable {
    /// Takes out what no decision here looks at, so that ten thousand objects stay small.
    fn slim(&mut self);
    fn put(object: Arc<Self>) -> Change;
    fn gone(key: Key) -> Change;
    fn all(objects: Vec<Arc<Self>>) -> Change;
}

impl Kept for Vault {
    fn slim(&mut self) {
        if let Some(status) = &mut self.status {
            status.conditions.clear();
        }
    }
    fn put(object: Arc<Self>) -> Change {
        Change::Vault(object)
    }
    fn gone(key: Key) -> Change {
        Change::NoVault(key)
    }
    fn all(objects: Vec<Arc<Self>>) -> Change {
        Change::Vaults(objects)
    }
}

impl Kept for VaultMember {
    fn slim(&mut self) {
        self.metadata.annotations = None;
        if let Some(status) = &mut self.status {
            status.conditions.clear();
            status.wrapped_keys.clear();
        }
    }
    fn put(object: Arc<Self>) -> Change {
        Change::Member(object)
    }
    fn gone(key: Key) -> Change {
        Change::NoMember(key)
    }
    fn all(objects: Vec<Arc<Self>>) -> Change {
        Change::Members(objects)
    }
}

impl Kept for Connection {
    fn slim(&mut self) {
        self.metadata.annotations = None;
        self.spec.sealed_data.clear();
        if let Some(status) = &mut self.status {
            status.conditions.clear();
        }
    }
    fn put(object: Arc<Self>) -> Change {
        Change::Connection(object)
    }
    fn gone(key: Key) -> Change {
        Change::NoConnection(key)
    }
    fn all(objects: Vec<Arc<Self>>) -> Change {
        Change::Connections(objects)
    }
}

impl Kept for Namespace {
    fn slim(&mut self) {
        self.metadata.annotations = None;
        self.status = None;
    }
    fn put(object: Arc<Self>) -> Change {
        Change::Namespace(object)
    }
    fn gone(key: Key) -> Change {
        Change::NoNamespace(key.name)
    }
    fn all(objects: Vec<Arc<Self>>) -> Change {
        Change::Namespaces(objects)
    }
}

fn watch<K: Kept>(directory: &Directory, client: &Client, readiness: &Readiness, shutdown: &Shutdown) {
    let plural = K::plural(&K::DynamicType::default()).into_owned();
    let check = readiness.check(format!("watch/{plural}"));
    let directory = directory.clone();
    let (reader, mut writer) = reflector::store::<K>();
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let events =
        tolerant_watcher(api, StoreOptions::slim(K::slim), reader.clone()).take_until(shutdown.requested());
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    tracing::warn!(kind = plural, %error, "watch interrupted; it starts again");
                    continue;
                }
            };
            writer.apply_watcher_event(&event);
            match event {
                Event::Init | Event::InitApply(_) => {}
                Event::InitDone => {
                    directory.change(K::all(reader.state()));
                    check.ready();
                }
                Event::Apply(object) => {
                    // The store's own copy, so that each object is held once.
                    if let Some(object) = reader.get(&ObjectRef::from_obj(&object)) {
                        directory.change(K::put(object));
                    }
                }
                Event::Delete(object) => {
                    let key =
                        Key::new(object.meta().namespace.clone().unwrap_or_default(), object.name_any());
                    directory.change(K::gone(key));
                }
            }
        }
    });
}

#[cfg(test)]
mod tests;
