//! The watched kinds, and how a request's facts are found in them.

use super::{
    AskedFacts, Facts, Hidden, Key, SubjectIndex, TargetFacts, VaultFacts, Word, WordIndex, index::vault_of,
    is_for, is_of, views,
};
use coffer_broker_api::ConnectionReference;
use coffer_crds::{Connection, Envelope, Keyring, Vault, VaultMember, conditions::GUARDED};
use coffer_policy::{
    BreakGlass, Caller, MemberView, access,
    resolve::{ResolveError, all_candidates, candidates, connection_ref},
};
use coffer_runtime::{Readiness, Shutdown, Store, StoreOptions, store, store::observed_store};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Resource, ResourceExt as _, runtime::reflector::ObjectRef};
use std::{collections::BTreeSet, hash::Hash, sync::Arc};

/// What kubectl remembers of an object for its next apply: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is released comes from the Envelope; who may have it, from the rest of the Connection.
fn slim_connection(connection: &mut Connection) {
    connection.annotations_mut().remove(LAST_APPLIED);
    connection.spec.sealed_data.clear();
    if let Some(status) = &mut connection.status {
        status.conditions.clear();
    }
}

fn slim_member(member: &mut VaultMember) {
    member.annotations_mut().remove(LAST_APPLIED);
    if let Some(status) = &mut member.status {
        status.conditions.clear();
    }
}

/// Only its labels count.
fn slim_namespace(namespace: &mut Namespace) {
    namespace.metadata.annotations = None;
    namespace.status = None;
}

/// The watched kinds. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Vaults, of all namespaces as all of these.
    pub vaults: Store<Vault>,
    /// Keyrings.
    pub keyrings: Store<Keyring>,
    /// VaultMembers.
    pub members: Store<VaultMember>,
    /// Connections.
    pub connections: Store<Connection>,
    /// Envelopes.
    pub envelopes: Store<Envelope>,
    /// Namespaces, for their labels.
    pub namespaces: Store<Namespace>,
    /// Whose VaultMembers are whose.
    pub subjects: Arc<SubjectIndex>,
    /// Which Connections a word may mean.
    pub words: Arc<WordIndex>,
}

impl Stores {
    /// Starts the watches; each adds a readiness check.
    pub fn watch(client: &kube::Client, readiness: &Readiness, shutdown: &Shutdown) -> Self {
        let subjects = Arc::new(SubjectIndex::default());
        let words = Arc::new(WordIndex::default());
        let (by_subject, by_word) = (subjects.clone(), words.clone());
        Self {
            vaults: store(Api::all(client.clone()), StoreOptions::default(), readiness, shutdown),
            keyrings: store(Api::all(client.clone()), StoreOptions::default(), readiness, shutdown),
            members: observed_store(
                Api::all(client.clone()),
                StoreOptions::slim(slim_member),
                readiness,
                shutdown,
                move |event| by_subject.observe(event),
            ),
            connections: observed_store(
                Api::all(client.clone()),
                StoreOptions::slim(slim_connection),
                readiness,
                shutdown,
                move |event| by_word.observe(event),
            ),
            envelopes: store(Api::all(client.clone()), StoreOptions::default(), readiness, shutdown),
            namespaces: store(
                Api::all(client.clone()),
                StoreOptions::slim(slim_namespace),
                readiness,
                shutdown,
            ),
            subjects,
            words,
        }
    }

    /// The facts of a request at `now`: of whoever's memberships count, from `place`.
    ///
    /// # Errors
    /// A word that means several Connections, or cannot mean any.
    pub fn gather(
        &self,
        whose: Whose<'_>,
        place: Place<'_>,
        references: &[String],
        now: Timestamp,
    ) -> Result<Facts, Unresolved> {
        let Place { namespace, vault } = place;
        let (memberships, caller, glass) = match whose {
            Whose::Callers(caller) => (self.subjects.of(caller), Some(caller), None),
            Whose::Everybodys(glass) => (self.everybody(vault), None, Some(glass.clone())),
        };
        let mut facts = Facts::at(now, glass);
        let resolve = |within: Option<&str>, word: &str| {
            let search = Search { caller, memberships: &memberships, from: namespace, vault, within, now };
            self.resolve(word, &search)
        };
        for (index, reference) in references.iter().enumerate() {
            let key = match reference.parse() {
                // In one vault an alias has its namespace too; elsewhere an object is named.
                Ok(ConnectionReference::Named { namespace, name }) if vault.is_some() => {
                    resolve(Some(&namespace), &name)
                }
                Ok(ConnectionReference::Named { namespace, name }) => Ok(Some(Key { namespace, name })),
                Ok(ConnectionReference::Bare(word)) => resolve(None, &word),
                Err(_) => Ok(None),
            };
            let key = key.map_err(|error| Unresolved { index, error })?;
            let target = key
                .and_then(|key| find(&self.connections, &key))
                .ok_or(Hidden::Absent)
                .and_then(|connection| self.target(connection, &memberships, namespace, &mut facts));
            facts.asked.push(AskedFacts { reference: reference.clone(), target });
        }
        Ok(facts)
    }

    /// A vault and the caller's memberships of it at `now`; `None` when there is no such vault.
    pub fn memberships(
        &self,
        vault: &Key,
        caller: &Caller,
        now: Timestamp,
    ) -> Option<(Arc<Vault>, Vec<MemberView>)> {
        let found = find(&self.vaults, vault)?;
        let keyring = find(&self.keyrings, vault).filter(|keyring| is_of(keyring, &found));
        let members = self.members_of(vault, &self.subjects.of(caller));
        let views = views(&found, keyring.as_deref(), &members, now);
        Some((found, views))
    }

    /// Whether the operator says that what vouches for authors and requesters is missing in the API server.
    pub fn is_unguarded(&self, vault: &Key) -> bool {
        let conditions = find(&self.vaults, vault).and_then(|vault| Some(vault.status.clone()?.conditions));
        conditions.into_iter().flatten().any(|found| found.type_ == GUARDED && found.status == "False")
    }

    fn target(
        &self,
        connection: Arc<Connection>,
        memberships: &BTreeSet<Key>,
        from: &str,
        facts: &mut Facts,
    ) -> Result<TargetFacts, Hidden> {
        let vault = vault_of(&connection).ok_or(Hidden::NoVault)?;
        let vault = self.vault(&vault, memberships, facts).ok_or(Hidden::NoVault)?;
        let known = &facts.vaults[vault];
        let home = connection.metadata.namespace.as_deref().unwrap_or_default();
        if !self.admits(&known.vault, home) || !self.admits(&known.vault, from) {
            return Err(Hidden::NamespaceNotAdmitted);
        }
        let envelope = find(&self.envelopes, &Key::of(connection.as_ref()))
            .filter(|envelope| is_for(envelope, &connection, known.keyring.as_deref()));
        Ok(TargetFacts { vault, connection, envelope })
    }

    /// The vault's place in `facts`: one entry however many Connections are in it, so that it is charged once.
    fn vault(&self, key: &Key, memberships: &BTreeSet<Key>, facts: &mut Facts) -> Option<usize> {
        if let Some(known) = facts.vaults.iter().position(|known| Key::of(known.vault.as_ref()) == *key) {
            return Some(known);
        }
        let vault = find(&self.vaults, key)?;
        let keyring = find(&self.keyrings, key).filter(|keyring| is_of(keyring, &vault));
        let members = self.members_of(key, memberships);
        let views = views(&vault, keyring.as_deref(), &members, facts.now);
        facts.vaults.push(VaultFacts { vault, keyring, members, views });
        Some(facts.vaults.len() - 1)
    }

    /// All VaultMembers of a vault. Asked only by who breaks glass: nobody else needs an index of these.
    fn everybody(&self, vault: Option<&Key>) -> BTreeSet<Key> {
        let Some(vault) = vault else { return BTreeSet::new() };
        let members = self.members.state();
        let of_vault = members.iter().filter(|member| {
            member.namespace().as_deref() == Some(vault.namespace.as_str()) && member.spec.vault == vault.name
        });
        of_vault.map(|member| Key::of(member.as_ref())).collect()
    }

    fn members_of(&self, vault: &Key, memberships: &BTreeSet<Key>) -> Vec<Arc<VaultMember>> {
        memberships
            .iter()
            .filter(|member| member.namespace == vault.namespace)
            .filter_map(|member| find(&self.members, member))
            .filter(|member| member.spec.vault == vault.name)
            .collect()
    }

    fn admits(&self, vault: &Vault, namespace: &str) -> bool {
        let labels =
            self.namespaces.get(&ObjectRef::new(namespace)).and_then(|ns| ns.metadata.labels.clone());
        access::admits(vault, namespace, &labels.unwrap_or_default())
    }

    /// A word, among the Connections of the vaults that the caller is a member of and that admit where it asks from.
    fn resolve(&self, word: &str, search: &Search<'_>) -> Result<Option<Key>, ResolveError> {
        let &Search { caller, memberships, from, vault, within, now } = search;
        let vaults: BTreeSet<Key> = memberships
            .iter()
            .filter_map(|member| find(&self.members, member))
            .map(|member| Key { name: member.spec.vault.clone(), ..Key::of(member.as_ref()) })
            .filter(|key| vault.is_none_or(|only| only == key))
            .collect();
        let mut view = Vec::new();
        for key in vaults {
            let Some(vault) = find(&self.vaults, &key) else { continue };
            if !self.admits(&vault, from) {
                continue;
            }
            let keyring = find(&self.keyrings, &key).filter(|keyring| is_of(keyring, &vault));
            let members = self.members_of(&key, memberships);
            let views = views(&vault, keyring.as_deref(), &members, now);
            let connections = self.meant(word, &key, within);
            let connections = connections.iter().map(Arc::as_ref);
            view.extend(match caller {
                Some(caller) => candidates(caller, &vault, &views, connections),
                None => all_candidates(connections),
            });
        }
        match connection_ref(word, &view) {
            Ok(found) => Ok(Some(Key { namespace: found.namespace, name: found.name })),
            Err(ResolveError::NotFound { .. }) => Ok(None),
            Err(error @ (ResolveError::Ambiguous { .. } | ResolveError::Malformed { .. })) => Err(error),
        }
    }

    /// The Connections of a vault, and of one namespace if only those count, that a word may mean.
    fn meant(&self, word: &str, vault: &Key, within: Option<&str>) -> Vec<Arc<Connection>> {
        let keys = self.words.having([Word { vault: vault.clone(), word: word.to_owned() }]);
        keys.iter()
            .filter(|key| within.is_none_or(|within| key.namespace == within))
            .filter_map(|key| find(&self.connections, key))
            // The index and the store take in each event one after the other.
            .filter(|connection| vault_of(connection).as_ref() == Some(vault))
            .collect()
    }
}

/// Whose memberships a request is looked up for.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// The caller's.
    Callers(&'a Caller),
    /// Everybody's of the one vault that is asked: the caller breaks glass.
    Everybodys(&'a Arc<BreakGlass>),
}

/// Where a request is made.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The namespace that the credentials go to: the vault must admit it.
    pub namespace: &'a str,
    /// The one vault that is asked; absent: all that the caller is a member of.
    pub vault: Option<&'a Key>,
}

/// Among what a word is looked for.
struct Search<'a> {
    /// `None`: somebody who breaks glass.
    caller: Option<&'a Caller>,
    memberships: &'a BTreeSet<Key>,
    from: &'a str,
    vault: Option<&'a Key>,
    /// Only Connections of this namespace.
    within: Option<&'a str>,
    now: Timestamp,
}

/// An entry of a request that means nothing for sure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Which entry.
    pub index: usize,
    /// Why; its text is for the caller.
    pub error: ResolveError,
}

fn find<K>(store: &Store<K>, key: &Key) -> Option<Arc<K>>
where
    K: Resource<DynamicType: Default + Eq + Hash + Clone> + Clone + 'static,
{
    store.get(&ObjectRef::new(&key.name).within(&key.namespace))
}
