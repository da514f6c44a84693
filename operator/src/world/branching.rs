//! A world from which several ways are gone, and whether what was decided in one still fits.

use kube::ResourceExt as _;

use super::{Object, World};
use crate::{
    cache::{Cache, Key},
    caches::Caches,
    connection,
    context::Keyrings,
    vault,
};

impl World {
    /// The same cluster, to go another way from here.
    pub(crate) fn fork(&self) -> Self {
        fn copy<K: Object>(from: &Cache<K>, to: &Cache<K>) {
            for object in from.all() {
                to.written(object.as_ref().clone());
            }
        }
        let (caches, from) = (Caches::new(), &self.caches);
        copy(&from.vaults, &caches.vaults);
        copy(&from.members, &caches.members);
        copy(&from.connections, &caches.connections);
        copy(&from.keyrings, &caches.keyrings);
        copy(&from.envelopes, &caches.envelopes);
        copy(&from.accounts, &caches.accounts);
        copy(&from.bindings, &caches.bindings);
        Self {
            caches,
            custody: self.custody.clone(),
            keyrings: Keyrings::default(),
            now: self.now,
            serial: self.serial,
            break_glass: self.break_glass.clone(),
            reads: self.reads.clone(),
        }
    }

    /// Whether a write of a Vault's plan finds its object as it was read.
    pub(crate) fn fits(&self, write: &vault::plan::Write) -> bool {
        use vault::plan::Write;
        let caches = &self.caches;
        match write {
            Write::CreateKeyring(object) => caches.keyrings.get(&Key::of(object.as_ref())).is_none(),
            Write::ReplaceKeyring(object) => is_as_read(&caches.keyrings, object.as_ref()),
            Write::MemberStatus(change) => is_as_read(&caches.members, &change.0),
            Write::CreateMember(object) => caches.members.get(&Key::of(object.as_ref())).is_none(),
            Write::RaiseOwner(object) | Write::DeleteMember(object) => {
                caches.members.get(&Key::of(object.as_ref())).is_some()
            }
            Write::CreateBinding(object) => caches.bindings.get(&Key::of(object.as_ref())).is_none(),
            Write::ApplyBinding(object) | Write::DeleteBinding(object) => {
                caches.bindings.get(&Key::of(object.as_ref())).is_some()
            }
            Write::VaultStatus(_) => true,
        }
    }

    /// The same for a Connection's.
    pub(crate) fn fits_connection(&self, name: &str, write: &connection::plan::Write) -> bool {
        use connection::plan::Write;
        match write {
            Write::CreateEnvelope(object) => self.caches.envelopes.get(&Key::of(object.as_ref())).is_none(),
            Write::ReplaceEnvelope(object) => is_as_read(&self.caches.envelopes, object.as_ref()),
            Write::Status(_) => self.caches.connections.get(&Key::new("team-a", name)).is_some(),
        }
    }
}

fn is_as_read<K: Object>(cache: &Cache<K>, read: &K) -> bool {
    let held = cache.get(&Key::of(read));
    held.is_some_and(|held| held.uid() == read.uid() && held.resource_version() == read.resource_version())
}
