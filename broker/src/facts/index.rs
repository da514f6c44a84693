//! What finds objects quickly: a request looks at its caller's VaultMembers and at the Connections that its words may
//! mean, not at all there are.

use super::Key;
use coffer_crds::{Connection, Subject, VaultMember};
use coffer_policy::{Caller, identity::with_namespace, release::alias};
use kube::{ResourceExt, runtime::watcher::Event};
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{PoisonError, RwLock},
};

/// VaultMembers by the subject in their spec. What a subject may do is the register's to say; this only finds
/// candidates, so a subject that the register does not confirm gains nothing by it.
pub type SubjectIndex = Index<VaultMember>;

/// Connections by the vault that they name and the words that they go by there: alias and name.
pub type WordIndex = Index<Connection>;

/// Objects of a kind by their terms.
pub struct Index<K: Indexed> {
    maps: RwLock<Maps<K::Term>>,
}

/// A kind that is looked up by something else than its key.
pub trait Indexed: ResourceExt {
    /// What it is looked up by.
    type Term: Clone + Eq + Hash;

    /// All that this object is found by.
    fn terms(&self) -> Vec<Self::Term>;
}

/// A word, as those say it who look in one vault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Word {
    /// The vault.
    pub vault: Key,
    /// An alias, or an object's name.
    pub word: String,
}

impl Indexed for VaultMember {
    type Term = Subject;

    fn terms(&self) -> Vec<Subject> {
        vec![with_namespace(&self.spec.subject, &Key::of(self).namespace)]
    }
}

impl Indexed for Connection {
    type Term = Word;

    fn terms(&self) -> Vec<Word> {
        let Some(vault) = vault_of(self) else { return Vec::new() };
        let mut words = vec![alias(self).to_owned(), self.name_any()];
        words.dedup();
        words.into_iter().map(|word| Word { vault: vault.clone(), word }).collect()
    }
}

/// The vault that a Connection names; its namespace defaults to the Connection's.
pub(super) fn vault_of(connection: &Connection) -> Option<Key> {
    let (namespace, name) = coffer_policy::home::named(connection)?;
    Some(Key { namespace: namespace.to_owned(), name: name.to_owned() })
}

struct Maps<T> {
    current: Map<T>,
    /// Filled while a new list comes in, as the store does.
    incoming: Map<T>,
}

struct Map<T> {
    keys: HashMap<T, BTreeSet<Key>>,
    terms: HashMap<Key, Vec<T>>,
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self { keys: HashMap::new(), terms: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Map<T> {
    fn put<K: Indexed<Term = T>>(&mut self, object: &K) {
        let key = Key::of(object);
        self.remove(&key);
        let terms = object.terms();
        for term in &terms {
            self.keys.entry(term.clone()).or_default().insert(key.clone());
        }
        self.terms.insert(key, terms);
    }

    fn remove(&mut self, key: &Key) {
        for term in self.terms.remove(key).unwrap_or_default() {
            if let Some(keys) = self.keys.get_mut(&term) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&term);
                }
            }
        }
    }
}

impl<K: Indexed> Default for Index<K> {
    fn default() -> Self {
        Self { maps: RwLock::new(Maps { current: Map::default(), incoming: Map::default() }) }
    }
}

impl<K: Indexed> Index<K> {
    /// Takes in what the store of this kind has taken in.
    pub fn observe(&self, event: &Event<K>) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => maps.incoming = Map::default(),
            Event::InitApply(object) => maps.incoming.put(object),
            Event::InitDone => maps.current = std::mem::take(&mut maps.incoming),
            Event::Apply(object) => maps.current.put(object),
            Event::Delete(object) => maps.current.remove(&Key::of(object)),
        }
    }

    /// Everything that is found by one of these.
    pub fn having(&self, terms: impl IntoIterator<Item = K::Term>) -> BTreeSet<Key> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        terms.into_iter().filter_map(|term| maps.current.keys.get(&term)).flatten().cloned().collect()
    }
}

impl SubjectIndex {
    /// The VaultMembers, in all vaults, whose subject the caller is or, for a group, belongs to.
    pub fn of(&self, caller: &Caller) -> BTreeSet<Key> {
        self.having(subjects_of(caller))
    }
}

fn subjects_of(caller: &Caller) -> impl Iterator<Item = Subject> {
    use coffer_crds::{NamedSubject, ServiceAccountSubject};
    let own = match caller.service_account() {
        Some((namespace, name)) => Subject::ServiceAccount(ServiceAccountSubject {
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }),
        None => Subject::User(NamedSubject { name: caller.username.clone() }),
    };
    let groups = caller.groups.iter().map(|group| Subject::Group(NamedSubject { name: group.clone() }));
    std::iter::once(own).chain(groups)
}

#[cfg(test)]
mod tests;
