//! Everything that the operator watches, with the terms by which it is found.

use std::{collections::BTreeSet, sync::Arc};

use coffer_crds::{Connection, Envelope, Keyring, Subject, Vault, VaultMember};
use coffer_policy::{home, release::alias};
use k8s_openapi::api::{
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::RoleBinding,
};
use kube::{ResourceExt as _, core::PartialObjectMeta};

use crate::{
    cache::{Cache, Key},
    triggers::{DEFAULT_TERM, Touched, is_settled},
    usage,
};

/// Label of RoleBindings that the operator made: the vault's name.
pub const VAULT_LABEL: &str = "coffer.dev/vault";

/// The caches. No Secret is ever among them.
pub struct Caches {
    /// All Vaults.
    pub vaults: Cache<Vault>,
    /// All VaultMembers, by namespace and by ServiceAccount.
    pub members: Cache<VaultMember>,
    /// All Connections, by vault, namespace, claim, owner, listed members and the roots that they need.
    pub connections: Cache<Connection>,
    /// All Keyrings, by the root that they need.
    pub keyrings: Cache<Keyring>,
    /// All Envelopes, by vault id and by the root that they need.
    pub envelopes: Cache<Envelope>,
    /// Metadata of all ServiceAccounts.
    pub accounts: Cache<PartialObjectMeta<ServiceAccount>>,
    /// Metadata of all namespaces.
    pub namespaces: Cache<PartialObjectMeta<Namespace>>,
    /// The RoleBindings that the operator made, by vault.
    pub bindings: Cache<RoleBinding>,
}

impl Caches {
    /// Empty caches.
    pub fn new() -> Self {
        Self {
            vaults: Cache::new(|vault| {
                if home::is_default(vault) { vec![String::from(DEFAULT_TERM)] } else { Vec::new() }
            }),
            members: Cache::new(member_terms),
            connections: Cache::new(connection_terms),
            keyrings: Cache::new(usage::of_keyring),
            envelopes: Cache::new(|envelope| {
                [vec![envelope.spec.vault_id.clone()], usage::of_envelope(envelope)].concat()
            }),
            accounts: Cache::new(|_| Vec::new()),
            namespaces: Cache::new(|_| Vec::new()),
            bindings: Cache::new(|binding| {
                let namespace = binding.namespace().unwrap_or_default();
                let vault = binding.labels().get(VAULT_LABEL);
                vault.map(|vault| vault_term(&Key::new(namespace, vault))).into_iter().collect()
            }),
        }
    }

    /// Whether each holds a complete list.
    pub fn are_complete(&self) -> bool {
        self.vaults.is_complete()
            && self.members.is_complete()
            && self.connections.is_complete()
            && self.keyrings.is_complete()
            && self.envelopes.is_complete()
            && self.accounts.is_complete()
            && self.namespaces.is_complete()
            && self.bindings.is_complete()
    }

    /// Everything that is reconciled. What a turn-over of before has left behind waits for its turn again.
    pub fn everything(&self) -> Touched {
        let all = self.connections.all();
        let (behind, others): (Vec<_>, Vec<_>) =
            all.iter().partition(|connection| is_settled(connection) && self.is_behind(connection));
        let keys = |connections: Vec<&Arc<Connection>>| {
            connections.into_iter().map(|connection| Key::of(connection.as_ref())).collect()
        };
        Touched {
            vaults: self.vaults.all().iter().map(|vault| Key::of(vault.as_ref())).collect(),
            connections: keys(others),
            resealed: keys(behind),
            ..Touched::default()
        }
    }

    /// Whether a Connection's values are sealed in an older epoch than its vault's current one.
    fn is_behind(&self, connection: &Connection) -> bool {
        let keyring = self.vault_key_of(connection).and_then(|vault| self.keyrings.get(&vault));
        let envelope = self.envelopes.get(&Key::of(connection));
        keyring.zip(envelope).is_some_and(|(keyring, envelope)| envelope.spec.epoch < keyring.spec.current)
    }

    /// The vault that a Connection belongs to: the one it names, else its namespace's default, else the cluster's.
    pub fn vault_key_of(&self, connection: &Connection) -> Option<Key> {
        if let Some(named) = vault_of(connection) {
            return Some(named);
        }
        let defaults = self.vaults.having(DEFAULT_TERM);
        let namespace = connection.namespace().unwrap_or_default();
        let labels = self.namespaces.get(&Key::new("", &namespace)).and_then(|it| it.metadata.labels.clone());
        let found =
            home::default_of(defaults.iter().map(AsRef::as_ref), &namespace, &labels.unwrap_or_default());
        found.map(Key::of)
    }

    /// The Connections of a vault, those that name none included.
    pub fn connections_of(&self, vault: &Key) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = self.connections.keys_having(&vault_term(vault)).into_iter().collect();
        if self.vaults.get(vault).is_some_and(|vault| home::is_default(&vault)) {
            let unnamed = self.connections.having(DEFAULT_TERM);
            let ours = unnamed.iter().filter(|found| self.vault_key_of(found).as_ref() == Some(vault));
            keys.extend(ours.map(|found| Key::of(found.as_ref())));
        }
        keys
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self::new()
    }
}

/// The vault that a Connection names, if it names one.
pub fn vault_of(connection: &Connection) -> Option<Key> {
    home::named(connection).map(|(namespace, name)| Key::new(namespace, name))
}

/// Term of what belongs to a vault.
pub fn vault_term(vault: &Key) -> String {
    format!("vault:{vault}")
}

/// Term of Connections that list a member or are owned by it, in whatever vault.
pub fn member_term(name: &str) -> String {
    format!("member:{name}")
}

/// Term of the members and Connections in a namespace.
pub fn namespace_term(namespace: &str) -> String {
    format!("namespace:{namespace}")
}

/// Term of the members whose subject is a ServiceAccount.
pub fn account_term(account: &Key) -> String {
    format!("account:{account}")
}

/// Terms of the Connections that claim the same place in a vault: one owner has one Connection per provider and
/// connection name, and one per alias.
pub fn claim_terms(connection: &Connection) -> Vec<String> {
    let vault = vault_of(connection).map_or_else(|| String::from(DEFAULT_TERM), |vault| vault.to_string());
    let spec = &connection.spec;
    let owner = spec.owner.as_deref().unwrap_or_default();
    // A character that no name may hold keeps the parts apart.
    let term = |kind: &str, parts: &[&str]| [&[kind, &vault, owner], parts].concat().join("\n");
    let mut terms = vec![term("alias", &[alias(connection)])];
    if let Some(provider) = &spec.provider {
        terms.push(term("provider", &[provider, spec.connection_name.as_deref().unwrap_or("default")]));
    }
    terms
}

fn member_terms(member: &VaultMember) -> Vec<String> {
    let namespace = member.namespace().unwrap_or_default();
    let mut terms = vec![namespace_term(&namespace)];
    if let Subject::ServiceAccount(account) = &member.spec.subject {
        let of = account.namespace.clone().unwrap_or(namespace);
        terms.push(account_term(&Key::new(of, &account.name)));
    }
    terms
}

fn connection_terms(connection: &Connection) -> Vec<String> {
    let vault = vault_of(connection).map_or_else(|| String::from(DEFAULT_TERM), |key| vault_term(&key));
    let mut terms = vec![vault, namespace_term(&connection.namespace().unwrap_or_default())];
    terms.extend(claim_terms(connection));
    terms.extend(connection.spec.owner.as_deref().map(member_term));
    terms.extend(connection.spec.members.iter().flatten().map(|name| member_term(name)));
    terms.extend(usage::of_connection(connection));
    terms.sort();
    terms.dedup();
    terms
}
