//! Which Vaults and Connections a change concerns. Pure but for the look into the caches.

use std::collections::BTreeSet;

use coffer_crds::{
    Connection, ConnectionStatus, Envelope, Keyring, RegisteredMember, Vault, VaultMember, VaultMemberStatus,
    conditions::READY,
};
use coffer_policy::roles;
use k8s_openapi::{
    api::{
        core::v1::{Namespace, ServiceAccount},
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, ResourceExt as _, core::PartialObjectMeta};

use crate::{
    cache::{Change, Key},
    caches::{
        Caches, VAULT_LABEL, account_term, claim_terms, member_term, namespace_term, vault_of, vault_term,
    },
};

/// What is to be reconciled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Vaults, at once.
    pub vaults: BTreeSet<Key>,
    /// Vaults whose counts may have changed; a moment later is fine.
    pub counts: BTreeSet<Key>,
    /// Connections, at once.
    pub connections: BTreeSet<Key>,
    /// Connections to seal anew in a new epoch, each when its turn comes: somebody is not to know the keys of this one.
    pub resealed: BTreeSet<Key>,
    /// The same for an epoch that began for nobody's sake; they let the others go first.
    pub renewed: BTreeSet<Key>,
}

/// A kind whose changes concern something.
pub trait Concerns: Sized {
    /// What the change concerns.
    fn touched(change: &Change<Self>, caches: &Caches) -> Touched;
}

impl Concerns for Vault {
    fn touched(change: &Change<Self>, caches: &Caches) -> Touched {
        let mut touched = Touched::default();
        let Some(vault) = change.versions().last() else { return touched };
        let key = Key::of(vault.as_ref());
        let relevant = |vault: &Vault| {
            (identity(vault), vault.spec.clone(), vault.labels().clone(), vault.annotations().clone())
        };
        if change.before.as_deref().map(relevant) == change.after.as_deref().map(relevant) {
            // A status, of our own making as a rule: it concerns no Connection, and at once it would call for the next
            // one as long as the counts in it change.
            touched.counts.insert(key);
            return touched;
        }
        if change.after.is_some() {
            touched.vaults.insert(key.clone());
        }
        touched.connections.extend(caches.connections.keys_having(&vault_term(&key)));
        touched.connections.extend(caches.connections.keys_having(DEFAULT_TERM));
        touched
    }
}

/// The search term of Connections that name no vault.
pub const DEFAULT_TERM: &str = "default-vault";

impl Concerns for VaultMember {
    fn touched(change: &Change<Self>, caches: &Caches) -> Touched {
        let mut touched = Touched::default();
        // The broker notes when a member was used last; nothing follows from that.
        let relevant = |member: &VaultMember| {
            let status = member.status.clone().unwrap_or_default();
            (identity(member), member.spec.clone(), VaultMemberStatus { last_used_at: None, ..status })
        };
        if change.before.as_deref().map(relevant) == change.after.as_deref().map(relevant) {
            return touched;
        }
        for member in change.versions() {
            let namespace = member.namespace().unwrap_or_default();
            touched.vaults.insert(Key::new(namespace, &member.spec.vault));
        }
        let standing = |member: &VaultMember| {
            let phase = member.status.as_ref().and_then(|status| status.phase);
            (member.metadata.uid.clone(), member.spec.clone(), phase)
        };
        let before = change.before.as_deref().map(standing);
        let after = change.after.as_deref().map(standing);
        if before != after {
            for member in change.versions() {
                let vault = Key::new(member.namespace().unwrap_or_default(), &member.spec.vault);
                concern_member(&mut touched, caches, &vault, &member.name_any(), &member.spec.role);
            }
        }
        touched
    }
}

/// What of an object's metadata matters.
fn identity<K: Resource>(object: &K) -> (Option<String>, bool, Option<Vec<OwnerReference>>) {
    let meta = object.meta();
    (meta.uid.clone(), meta.deletion_timestamp.is_some(), meta.owner_references.clone())
}

impl Concerns for Keyring {
    fn touched(change: &Change<Self>, caches: &Caches) -> Touched {
        let mut touched = Touched::default();
        let Some(keyring) = change.versions().last() else { return touched };
        let vault = Key::of(keyring.as_ref());
        touched.vaults.insert(vault.clone());
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            touched.connections = caches.connections_of(&vault);
            return touched;
        };
        if before.spec.vault_id != after.spec.vault_id {
            touched.connections = caches.connections_of(&vault);
            return touched;
        }
        if before.spec.current != after.spec.current {
            // What people wait for comes first.
            let (settled, waiting) = caches.connections_of(&vault).into_iter().partition(|key| {
                caches.connections.get(key).is_some_and(|connection| is_settled(&connection))
            });
            touched.connections = waiting;
            let mut begun = after.spec.epochs.iter().filter(|epoch| epoch.epoch > before.spec.current);
            let for_somebody = begun.any(|epoch| epoch.causes.iter().any(|cause| cause.member.is_some()));
            *(if for_somebody { &mut touched.resealed } else { &mut touched.renewed }) = settled;
        }
        for member in differing(&before.spec.members, &after.spec.members) {
            concern_member(&mut touched, caches, &vault, &member.name, &member.role);
        }
        touched
    }
}

/// Whether all that a Connection's spec asks for is in effect.
pub(crate) fn is_settled(connection: &Connection) -> bool {
    let status = connection.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY);
    status.observed_generation == connection.metadata.generation
        && ready.is_some_and(|ready| ready.status == "True")
}

/// Entries that are not in both registers alike.
fn differing<'a>(
    before: &'a [RegisteredMember],
    after: &'a [RegisteredMember],
) -> impl Iterator<Item = &'a RegisteredMember> {
    let gone = before.iter().filter(|entry| !after.contains(entry));
    gone.chain(after.iter().filter(|entry| !before.contains(entry)))
}

/// Connections that list the member or are its own; all of the vault if its role may be restricted by globs, since
/// such a member has a slot of its own in each that it covers.
fn concern_member(touched: &mut Touched, caches: &Caches, vault: &Key, name: &str, role: &str) {
    if roles::BUILT_IN.contains(&role) {
        touched.connections.extend(caches.connections.keys_having(&member_term(name)).into_iter().filter(
            |key| {
                caches
                    .connections
                    .get(key)
                    .is_some_and(|connection| caches.vault_key_of(&connection).is_none_or(|of| of == *vault))
            },
        ));
    } else {
        touched.connections.extend(caches.connections_of(vault));
    }
}

impl Concerns for Connection {
    fn touched(change: &Change<Self>, caches: &Caches) -> Touched {
        let mut touched = Touched::default();
        let relevant = |connection: &Connection| {
            let status = connection.status.clone().unwrap_or_default();
            (identity(connection), connection.spec.clone(), ConnectionStatus { last_used_at: None, ..status })
        };
        if change.before.as_deref().map(relevant) == change.after.as_deref().map(relevant) {
            return touched;
        }
        for connection in change.versions() {
            if let Some(vault) = vault_of(connection) {
                touched.counts.insert(vault);
            }
        }
        if let Some(connection) = &change.after {
            touched.connections.insert(Key::of(connection.as_ref()));
        }
        let claims = |connection: &Connection| (connection.metadata.uid.clone(), claim_terms(connection));
        let before = change.before.as_deref().map(claims);
        let after = change.after.as_deref().map(claims);
        if before != after {
            // Whoever was a younger duplicate may be the only one now, and the other way round.
            for term in before.iter().chain(&after).flat_map(|(_, terms)| terms) {
                touched.connections.extend(caches.connections.keys_having(term));
            }
        }
        touched
    }
}

impl Concerns for Envelope {
    fn touched(change: &Change<Self>, caches: &Caches) -> Touched {
        let mut touched = Touched::default();
        for envelope in change.versions() {
            let key = Key::of(envelope.as_ref());
            if let Some(connection) = caches.connections.get(&key) {
                touched.counts.extend(caches.vault_key_of(&connection));
                touched.connections.insert(key);
            }
        }
        touched
    }
}

impl Concerns for PartialObjectMeta<ServiceAccount> {
    fn touched(change: &Change<Self>, caches: &Caches) -> Touched {
        let mut touched = Touched::default();
        let matters = |account: &Self| (account.metadata.uid.clone(), account.metadata.annotations.clone());
        if change.before.as_deref().map(matters) == change.after.as_deref().map(matters) {
            return touched;
        }
        for account in change.versions() {
            for key in caches.members.keys_having(&account_term(&Key::of(account.as_ref()))) {
                if let Some(member) = caches.members.get(&key) {
                    let vault = Key::new(&key.namespace, &member.spec.vault);
                    concern_member(&mut touched, caches, &vault, &key.name, &member.spec.role);
                    touched.vaults.insert(vault);
                }
            }
        }
        touched
    }
}

impl Concerns for PartialObjectMeta<Namespace> {
    fn touched(change: &Change<Self>, caches: &Caches) -> Touched {
        let mut touched = Touched::default();
        let labels = |namespace: &Self| namespace.metadata.labels.clone();
        if change.before.as_deref().map(labels) != change.after.as_deref().map(labels) {
            for namespace in change.versions() {
                touched
                    .connections
                    .extend(caches.connections.keys_having(&namespace_term(&namespace.name_any())));
            }
        }
        touched
    }
}

impl Concerns for RoleBinding {
    fn touched(change: &Change<Self>, _: &Caches) -> Touched {
        let mut touched = Touched::default();
        for binding in change.versions() {
            if let Some(vault) = binding.labels().get(VAULT_LABEL) {
                touched.vaults.insert(Key::new(binding.namespace().unwrap_or_default(), vault));
            }
        }
        touched
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::sync::Arc;

    use coffer_crds::{EnvelopeMember, EpochCause};

    use super::*;
    use crate::world::{World, main_vault};

    fn changed<K: Concerns>(world: &World, before: Arc<K>, after: K) -> Touched {
        K::touched(&Change { before: Some(before), after: Some(Arc::new(after)) }, &world.caches)
    }

    /// Else a count that changes all the time, as in a turn-over, is written as fast as the API server can.
    #[test]
    fn a_status_of_a_vault_calls_for_a_look_a_moment_later_and_a_spec_at_once() {
        let world = World::with_vault();
        let (before, mut after) = (world.vault(), world.vault().as_ref().clone());
        after.status.as_mut().unwrap().rotation_advised = Some(7);
        after.metadata.resource_version = Some(String::from("another"));
        let only = Touched { counts: [main_vault()].into(), ..Touched::default() };
        assert_eq!(changed(&world, before.clone(), after.clone()), only);
        after.metadata.labels = Some([(String::from("team"), String::from("a"))].into());
        assert_eq!(changed(&world, before, after).vaults, [main_vault()].into());
    }

    /// A vault of two settled Connections and one that somebody waits for, before and after its next epoch took over.
    fn turned_over(member: Option<&str>) -> Touched {
        let mut world = World::with_vault();
        for name in ["a", "b", "waiting"] {
            world.add_connection(name, None, &[("token", "1")], "alice");
        }
        world.settle();
        world.edit_connection("waiting", "alice", |connection| connection.metadata.generation = Some(9));
        let (before, mut after) = (world.keyring(), world.keyring().as_ref().clone());
        let mut epoch = after.spec.epochs[0].clone();
        epoch.epoch = 2;
        let member = member.map(|name| EnvelopeMember { name: name.into(), uid: "1".into() });
        epoch.causes = vec![EpochCause { reason: String::from("for a test"), member }];
        after.spec.epochs.push(epoch);
        after.spec.current = 2;
        let touched = changed(&world, before, after.clone());
        world.update(|caches| &caches.keyrings, after);
        let again = world.caches.everything();
        assert_eq!(
            again.resealed,
            [&touched.resealed, &touched.renewed].into_iter().flatten().cloned().collect()
        );
        assert_eq!(again.connections, touched.connections);
        touched
    }

    #[test]
    fn whom_a_turn_over_is_for_decides_how_urgent_it_is_and_what_people_wait_for_is_at_once() {
        let keys =
            |names: &[&str]| names.iter().map(|name| Key::new("team-a", *name)).collect::<BTreeSet<_>>();
        for (member, [resealed, renewed]) in
            [(Some("bob"), [&["a", "b"][..], &[]]), (None, [&[], &["a", "b"]])]
        {
            let touched = turned_over(member);
            assert_eq!((touched.resealed, touched.renewed), (keys(resealed), keys(renewed)));
            assert_eq!(touched.connections, keys(&["waiting"]));
        }
    }
}
