//! A watched cache that never goes backwards.
//!
//! kube's reflector keeps what the watch delivered. A reconcile that has just written needs a little more: it must not
//! meet the state from before its own write, or it would seal and wrap everything a second time, only to be refused
//! for a stale resourceVersion. So every answer to a write is taken in at once ([`Cache::written`]), and a watch event
//! that is older than what is held is ignored.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use coffer_runtime::store::Watchable;
use kube::{
    ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher::Event,
    },
};

/// Namespace and name of an object; the namespace is empty for kinds without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty for kinds that have none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object that the API server returned.
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        Self::new(object.meta().namespace.clone().unwrap_or_default(), object.name_any())
    }

    /// What kube's controllers queue.
    pub fn to_ref<K: kube::Resource<DynamicType: Default>>(&self) -> ObjectRef<K> {
        let mut reference = ObjectRef::new(&self.name);
        if !self.namespace.is_empty() {
            reference.namespace = Some(self.namespace.clone());
        }
        reference
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One object before and after; one of both is set.
#[derive(Debug)]
pub struct Change<K> {
    /// What the cache held.
    pub before: Option<Arc<K>>,
    /// What it holds now.
    pub after: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The versions that exist, older first.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<K>> {
        self.before.iter().chain(self.after.iter())
    }
}

/// Objects of one kind, found by name or by the terms that `terms` gives for each.
pub struct Cache<K: Watchable>
where
    K::DynamicType: Eq + Hash + Clone,
{
    reader: Store<K>,
    state: Mutex<State<K>>,
    terms: fn(&K) -> Vec<String>,
}

struct State<K: Watchable>
where
    K::DynamicType: Eq + Hash + Clone,
{
    writer: Writer<K>,
    listed: Vec<K>,
    complete: bool,
    index: HashMap<String, BTreeSet<Key>>,
}

impl<K: Watchable> Cache<K>
where
    K::DynamicType: Default + Eq + Hash + Clone,
{
    /// An empty cache. `terms` gives the search terms of an object; see [`Cache::having`].
    pub fn new(terms: fn(&K) -> Vec<String>) -> Self {
        let writer = Writer::default();
        let reader = writer.as_reader();
        let state = State { writer, listed: Vec::new(), complete: false, index: HashMap::new() };
        Self { reader, state: Mutex::new(state), terms }
    }

    /// The store that kube's controllers read.
    pub fn store(&self) -> Store<K> {
        self.reader.clone()
    }

    /// Whether a complete list has been taken in.
    pub fn is_complete(&self) -> bool {
        self.locked().complete
    }

    /// The object of this name.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.reader.get(&key.to_ref())
    }

    /// Every object, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.reader.state()
    }

    /// The objects with this search term, by namespace and name.
    pub fn having(&self, term: &str) -> Vec<Arc<K>> {
        self.keys_having(term).iter().filter_map(|key| self.get(key)).collect()
    }

    /// The keys of the objects with this search term.
    pub fn keys_having(&self, term: &str) -> Vec<Key> {
        self.locked().index.get(term).map(|keys| keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// How many objects have this search term.
    pub fn count_having(&self, term: &str) -> usize {
        self.locked().index.get(term).map_or(0, BTreeSet::len)
    }

    /// Takes in the API server's answer to a write of ours.
    pub fn written(&self, object: K) -> Option<Change<K>> {
        self.put(object)
    }

    /// Takes in a watch event and gives what changed by it.
    pub fn observe(&self, event: Event<K>) -> Vec<Change<K>> {
        match event {
            Event::Apply(object) => self.put(object).into_iter().collect(),
            Event::Delete(object) => self.remove(&object).into_iter().collect(),
            Event::Init => {
                self.locked().listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.locked().listed.push(object);
                Vec::new()
            }
            Event::InitDone => self.replace(),
        }
    }

    fn put(&self, object: K) -> Option<Change<K>> {
        let mut state = self.locked();
        let before = self.get(&Key::of(&object));
        if before.as_ref().is_some_and(|held| revision(held.as_ref()) >= revision(&object)) {
            return None;
        }
        state.forget(before.as_deref(), self.terms);
        state.learn(&object, self.terms);
        let key = Key::of(&object);
        state.writer.apply_watcher_event(&Event::Apply(object));
        Some(Change { before, after: self.get(&key) })
    }

    fn remove(&self, object: &K) -> Option<Change<K>> {
        let mut state = self.locked();
        let before = self.get(&Key::of(object))?;
        if revision(before.as_ref()) > revision(object) {
            return None;
        }
        state.forget(Some(&before), self.terms);
        state.writer.apply_watcher_event(&Event::Delete(object.clone()));
        Some(Change { before: Some(before), after: None })
    }

    /// The list is complete: it replaces what is held, but for objects that are held in a newer state.
    fn replace(&self) -> Vec<Change<K>> {
        let mut state = self.locked();
        let before: HashMap<Key, Arc<K>> =
            self.all().into_iter().map(|object| (Key::of(object.as_ref()), object)).collect();
        let listed = std::mem::take(&mut state.listed);
        state.index.clear();
        state.writer.apply_watcher_event(&Event::Init);
        let mut seen = HashSet::new();
        for object in listed {
            let key = Key::of(&object);
            let newest = match before.get(&key) {
                Some(held) if revision(held.as_ref()) > revision(&object) => held.as_ref().clone(),
                Some(_) | None => object,
            };
            state.learn(&newest, self.terms);
            state.writer.apply_watcher_event(&Event::InitApply(newest));
            seen.insert(key);
        }
        state.writer.apply_watcher_event(&Event::InitDone);
        state.complete = true;
        let mut changes: Vec<Change<K>> = Vec::new();
        for key in &seen {
            let (held, now) = (before.get(key).cloned(), self.get(key));
            let unchanged = held
                .as_deref()
                .zip(now.as_deref())
                .is_some_and(|(held, now)| held.resource_version() == now.resource_version());
            if !unchanged {
                changes.push(Change { before: held, after: now });
            }
        }
        let gone = before.into_iter().filter(|(key, _)| !seen.contains(key));
        changes.extend(gone.map(|(_, held)| Change { before: Some(held), after: None }));
        changes
    }

    fn locked(&self) -> MutexGuard<'_, State<K>> {
        // Index and store are written one after the other under the lock by code that does not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Watchable> State<K>
where
    K::DynamicType: Eq + Hash + Clone,
{
    fn learn(&mut self, object: &K, terms: fn(&K) -> Vec<String>) {
        for term in terms(object) {
            self.index.entry(term).or_default().insert(Key::of(object));
        }
    }

    fn forget(&mut self, object: Option<&K>, terms: fn(&K) -> Vec<String>) {
        let Some(object) = object else { return };
        let key = Key::of(object);
        for term in terms(object) {
            if let Some(keys) = self.index.get_mut(&term) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.index.remove(&term);
                }
            }
        }
    }
}

/// resourceVersions are decimal numbers that grow (Kubernetes 1.35 made that a promise); anything else counts as
/// oldest, so that it is replaced by whatever comes.
fn revision<K: kube::Resource>(object: &K) -> u128 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(name: &str, version: u64, colour: &str) -> ConfigMap {
        let mut labels = std::collections::BTreeMap::new();
        labels.insert(String::from("colour"), String::from(colour));
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(String::from(name)),
                namespace: Some(String::from("ns")),
                resource_version: Some(version.to_string()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn colours() -> Cache<ConfigMap> {
        Cache::new(|object: &ConfigMap| object.labels().values().cloned().collect())
    }

    #[test]
    fn an_event_from_before_our_own_write_is_ignored() {
        let cache = colours();
        assert!(cache.written(object("a", 7, "red")).is_some());
        assert!(cache.observe(Event::Apply(object("a", 5, "blue"))).is_empty());
        assert!(cache.observe(Event::Delete(object("a", 6, "blue"))).is_empty());
        assert_eq!(cache.having("red").len(), 1);
        assert!(cache.having("blue").is_empty());
    }

    #[test]
    fn the_echo_of_our_own_write_is_no_change() {
        let cache = colours();
        cache.written(object("a", 7, "red"));
        assert!(cache.observe(Event::Apply(object("a", 7, "red"))).is_empty());
    }

    #[test]
    fn the_index_follows_changes_and_deletions() {
        let cache = colours();
        cache.observe(Event::Apply(object("a", 1, "red")));
        cache.observe(Event::Apply(object("b", 2, "red")));
        assert_eq!(cache.keys_having("red").len(), 2);
        cache.observe(Event::Apply(object("a", 3, "blue")));
        cache.observe(Event::Delete(object("b", 4, "red")));
        assert!(cache.keys_having("red").is_empty());
        assert_eq!(cache.keys_having("blue"), vec![Key::new("ns", "a")]);
    }

    #[test]
    fn a_new_list_reports_what_vanished_and_keeps_what_is_newer() {
        let cache = colours();
        cache.written(object("a", 9, "red"));
        cache.written(object("b", 3, "red"));
        cache.observe(Event::Init);
        cache.observe(Event::InitApply(object("a", 8, "blue")));
        cache.observe(Event::InitApply(object("c", 5, "red")));
        let changes = cache.observe(Event::InitDone);
        assert!(cache.is_complete());
        let gone: Vec<_> = changes.iter().filter(|change| change.after.is_none()).collect();
        assert_eq!(gone.len(), 1);
        assert_eq!(changes.len(), 2, "a is held in a newer state and does not count as changed");
        assert_eq!(cache.keys_having("red"), vec![Key::new("ns", "a"), Key::new("ns", "c")]);
    }
}
