use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use coffer_crds::{Connection, Subject, Vault, VaultMember};
use coffer_policy::{home, release::alias};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// Of these.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Of an object.
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        Self::new(object.meta().namespace.clone().unwrap_or_default(), object.name_any())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// News of one object, or of all objects of a kind.
pub enum Change {
    /// A Vault was made or changed.
    Vault(Arc<Vault>),
    /// A VaultMember was made or changed.
    Member(Arc<VaultMember>),
    /// A Connection was made or changed.
    Connection(Arc<Connection>),
    /// A namespace was made or changed.
    Namespace(Arc<Namespace>),
    /// A Vault is gone.
    NoVault(Key),
    /// A VaultMember is gone.
    NoMember(Key),
    /// A Connection is gone.
    NoConnection(Key),
    /// A namespace is gone.
    NoNamespace(String),
    /// All Vaults that exist.
    Vaults(Vec<Arc<Vault>>),
    /// All VaultMembers that exist.
    Members(Vec<Arc<VaultMember>>),
    /// All Connections that exist.
    Connections(Vec<Arc<Connection>>),
    /// All namespaces that exist.
    Namespaces(Vec<Arc<Namespace>>),
}

/// What a Connection claims in its Vault: a Vault of thousands is not searched for each that is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// An alias, of whatever owner.
    Alias {
        /// The Vault.
        vault: Key,
        /// The alias.
        alias: String,
    },
    /// An owner's provider and connection name.
    Provider {
        /// The Vault.
        vault: Key,
        /// The owner; empty when it is not known yet.
        owner: String,
        /// The provider.
        provider: String,
        /// The connection name.
        name: String,
    },
}

impl Claim {
    /// A Connection's alias in `vault`.
    pub fn alias(vault: &Key, connection: &Connection) -> Self {
        Self::Alias { vault: vault.clone(), alias: alias(connection).to_owned() }
    }

    /// A Connection's provider and connection name in `vault`, if it has a provider.
    pub fn provider(vault: &Key, connection: &Connection) -> Option<Self> {
        let spec = &connection.spec;
        Some(Self::Provider {
            vault: vault.clone(),
            owner: spec.owner.clone().unwrap_or_default(),
            provider: spec.provider.clone()?,
            name: spec.connection_name.clone().unwrap_or_else(|| String::from("default")),
        })
    }

    fn all(vault: &Key, connection: &Connection) -> impl Iterator<Item = Self> {
        std::iter::once(Self::alias(vault, connection)).chain(Self::provider(vault, connection))
    }
}

/// The objects, and what finds them quickly.
#[derive(Default)]
pub struct Tables {
    vaults: HashMap<Key, Arc<Vault>>,
    /// By namespace, then name.
    members: HashMap<String, BTreeMap<String, Arc<VaultMember>>>,
    /// VaultMembers by the ServiceAccount that is their subject.
    by_account: HashMap<Key, BTreeSet<Key>>,
    connections: HashMap<Key, Arc<Connection>>,
    /// Connections by the Vault that they name. Every Connection that came through this program names one.
    by_vault: HashMap<Key, BTreeSet<Key>>,
    /// Connections by what they claim in their Vault.
    by_claim: HashMap<Claim, Vec<Arc<Connection>>>,
    namespaces: HashMap<String, BTreeMap<String, String>>,
}

impl Tables {
    /// The Vault.
    pub fn vault(&self, key: &Key) -> Option<&Arc<Vault>> {
        self.vaults.get(key)
    }

    /// Every Vault.
    pub fn vaults(&self) -> impl Iterator<Item = &Arc<Vault>> {
        self.vaults.values()
    }

    /// The VaultMembers of a namespace, of whatever vault, by name.
    pub fn members_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<VaultMember>> {
        self.members.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    /// The VaultMember.
    pub fn member(&self, key: &Key) -> Option<&Arc<VaultMember>> {
        self.members.get(&key.namespace)?.get(&key.name)
    }

    /// The VaultMembers whose subject is this ServiceAccount, in every namespace, by namespace and name.
    pub fn members_of_account(&self, account: &Key) -> impl Iterator<Item = &Arc<VaultMember>> {
        let keys = self.by_account.get(account).into_iter().flatten();
        keys.filter_map(|key| self.member(key))
    }

    /// The Connection.
    pub fn connection(&self, key: &Key) -> Option<&Arc<Connection>> {
        self.connections.get(key)
    }

    /// The Connections that name this Vault, by namespace and name.
    pub fn connections_of(&self, vault: &Key) -> impl Iterator<Item = &Arc<Connection>> {
        let keys = self.by_vault.get(vault).into_iter().flatten();
        keys.filter_map(|key| self.connections.get(key))
    }

    /// The Connections that claim this of the Vault that they name, in no order.
    pub fn claiming(&self, claim: &Claim) -> impl Iterator<Item = &Arc<Connection>> {
        self.by_claim.get(claim).into_iter().flatten()
    }

    /// The labels of a namespace; none when it is not known.
    pub fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        self.namespaces.get(namespace).cloned().unwrap_or_default()
    }

    /// Takes in a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Vault(vault) => {
                self.vaults.insert(Key::of(&*vault), vault);
            }
            Change::Member(member) => self.put_member(member),
            Change::Connection(connection) => self.put_connection(connection),
            Change::Namespace(namespace) => self.put_namespace(&namespace),
            Change::NoVault(key) => {
                self.vaults.remove(&key);
            }
            Change::NoMember(key) => self.drop_member(&key),
            Change::NoConnection(key) => self.drop_connection(&key),
            Change::NoNamespace(name) => {
                self.namespaces.remove(&name);
            }
            Change::Vaults(vaults) => {
                self.vaults = vaults.into_iter().map(|vault| (Key::of(&*vault), vault)).collect();
            }
            Change::Members(members) => {
                self.members.clear();
                self.by_account.clear();
                members.into_iter().for_each(|member| self.put_member(member));
            }
            Change::Connections(connections) => {
                self.connections.clear();
                self.by_vault.clear();
                self.by_claim.clear();
                connections.into_iter().for_each(|connection| self.put_connection(connection));
            }
            Change::Namespaces(namespaces) => {
                self.namespaces.clear();
                namespaces.iter().for_each(|namespace| self.put_namespace(namespace));
            }
        }
    }

    fn put_member(&mut self, member: Arc<VaultMember>) {
        let key = Key::of(&*member);
        self.drop_member(&key);
        if let Some(account) = account(&member) {
            self.by_account.entry(account).or_default().insert(key.clone());
        }
        self.members.entry(key.namespace).or_default().insert(key.name, member);
    }

    fn drop_member(&mut self, key: &Key) {
        let Some(of_namespace) = self.members.get_mut(&key.namespace) else { return };
        let Some(member) = of_namespace.remove(&key.name) else { return };
        if of_namespace.is_empty() {
            self.members.remove(&key.namespace);
        }
        if let Some(account) = account(&member) {
            drop_from(&mut self.by_account, &account, key);
        }
    }

    fn put_connection(&mut self, connection: Arc<Connection>) {
        let key = Key::of(&*connection);
        self.drop_connection(&key);
        if let Some(vault) = named_vault(&connection) {
            for claim in Claim::all(&vault, &connection) {
                self.by_claim.entry(claim).or_default().push(connection.clone());
            }
            self.by_vault.entry(vault).or_default().insert(key.clone());
        }
        self.connections.insert(key, connection);
    }

    fn drop_connection(&mut self, key: &Key) {
        let Some(connection) = self.connections.remove(key) else { return };
        if let Some(vault) = named_vault(&connection) {
            for claim in Claim::all(&vault, &connection) {
                if let Entry::Occupied(mut claiming) = self.by_claim.entry(claim) {
                    claiming.get_mut().retain(|other| !Arc::ptr_eq(other, &connection));
                    if claiming.get().is_empty() {
                        claiming.remove();
                    }
                }
            }
            drop_from(&mut self.by_vault, &vault, key);
        }
    }

    fn put_namespace(&mut self, namespace: &Namespace) {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        self.namespaces.insert(namespace.name_any(), labels.into_iter().collect());
    }
}

/// The ServiceAccount that is a member's subject; its namespace defaults to the VaultMember's.
fn account(member: &VaultMember) -> Option<Key> {
    match &member.spec.subject {
        Subject::ServiceAccount(account) => {
            let namespace = account.namespace.clone().or_else(|| member.metadata.namespace.clone());
            Some(Key::new(namespace.unwrap_or_default(), &account.name))
        }
        Subject::User(_) | Subject::Group(_) | Subject::External(_) => None,
    }
}

/// The Vault that a Connection names.
pub fn named_vault(connection: &Connection) -> Option<Key> {
    home::named(connection).map(|(namespace, name)| Key::new(namespace, name))
}

fn drop_from<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<Key>>, at: &K, key: &Key) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}
