//! Reads everything that a Connection's plan is made from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coffer_crds::{
    Connection, Envelope, EnvelopeScope, Keyring, RegisteredMember, Subject, Vault, VaultMember,
};
use coffer_envelope::OpenKeyring;
use coffer_policy::{BreakGlass, Caller, roles};
use coffer_runtime::within;
use kube::{Api, ResourceExt as _};

use crate::{
    cache::Key,
    caches::{Caches, claim_terms, namespace_term},
    context::{Context, Judging, Keyrings, READ_TIMEOUT, ReconcileError},
    installation::custody::Custody,
    reads::Reads,
    standing::Account,
    vault::plan::restored,
};

/// The vault's keys, as far as they can be used.
pub enum Keys {
    /// No Keyring yet.
    Absent,
    /// The Keyring is another Vault's, or does not verify; the sentence says which.
    Unusable(String),
    /// Open; beside it the Keyring that was read.
    Open(Arc<OpenKeyring>, Arc<Keyring>),
}

/// The vault that a Connection belongs to.
pub struct OfVault {
    /// The Vault.
    pub vault: Arc<Vault>,
    /// Its keys.
    pub keys: Keys,
    /// Those of its VaultMembers that matter for the Connection: its owner and scope, before and after, members whose
    /// role is restricted, whoever the keys were turned over for, the owners of the vault, and whatever the
    /// Connection's author may be a member as.
    pub members: Vec<VaultMember>,
    /// The ServiceAccounts of these, as far as they exist.
    pub accounts: BTreeMap<Key, Account>,
}

impl OfVault {
    /// The VaultMember that a register's entry is about.
    pub fn member_of(&self, entry: &RegisteredMember) -> Option<&VaultMember> {
        self.members.iter().find(|member| {
            member.name_any() == entry.name
                && member.metadata.uid.as_ref() == Some(&entry.uid)
                && member.metadata.deletion_timestamp.is_none()
        })
    }

    /// The ServiceAccount of a member, if it has one that exists.
    pub fn account(&self, member: &VaultMember) -> Option<&Account> {
        let key = Account::key(&member.spec.subject, &member.namespace().unwrap_or_default())?;
        self.accounts.get(&key)
    }
}

/// What is known about a Connection.
pub struct Facts {
    /// The Connection.
    pub connection: Arc<Connection>,
    /// Its vault, if there is one.
    pub vault: Option<OfVault>,
    /// Which vault was looked for; `None` when none is named and there is no default.
    pub vault_key: Option<Key>,
    /// The object of the Connection's name, whosever it is.
    pub envelope: Option<Arc<Envelope>>,
    /// An older Connection that claims the same place.
    pub older: Option<Key>,
    /// Labels of the Connection's namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// What the audit logs say of members that lose access.
    pub reads: Reads,
    /// The operator's own user name.
    pub operator: String,
    /// Who may do what an owner may, without being a member.
    pub break_glass: Arc<BreakGlass>,
}

/// Reads the facts about `connection` from the caches, beside the `reads` that are known; `None` while there is no
/// custodian root to act with.
///
/// # Errors
/// When an object that the cache misses, but that must exist, cannot be read.
pub async fn fetch(
    connection: Arc<Connection>,
    reads: Reads,
    context: &Context,
) -> Result<Option<Facts>, ReconcileError> {
    let custody = context.custody.borrow().clone();
    if !matches!(custody, Custody::Open(_)) {
        return Ok(None);
    }
    let caches = &context.watched.caches;
    let key = Key::of(connection.as_ref());
    let mut envelope = caches.envelopes.get(&key);
    if envelope.is_none() && connection.status.as_ref().is_some_and(|status| status.version.is_some()) {
        // There was one. Whether it is gone is not for a cache to say.
        let envelopes: Api<Envelope> = Api::namespaced(context.client.clone(), &key.namespace);
        envelope = within(READ_TIMEOUT, envelopes.get_opt(&key.name)).await?.map(Arc::new);
    }
    let facts = gather(connection, envelope, &custody, caches, &context.keyrings, context.judge());
    Ok(Some(Facts { reads, ..facts }))
}

/// Takes everything else from the caches. Nobody is asked who read what.
pub fn gather(
    connection: Arc<Connection>,
    envelope: Option<Arc<Envelope>>,
    custody: &Custody,
    caches: &Caches,
    keyrings: &Keyrings,
    Judging { operator, break_glass }: Judging<'_>,
) -> Facts {
    let vault_key = caches.vault_key_of(&connection);
    let vault = vault_key.as_ref().and_then(|key| caches.vaults.get(key));
    let vault =
        vault.map(|vault| of_vault(vault, &connection, envelope.as_deref(), custody, caches, keyrings));
    let namespace = Key::new("", connection.namespace().unwrap_or_default());
    let namespace_labels = caches.namespaces.get(&namespace).and_then(|found| found.metadata.labels.clone());
    Facts {
        vault,
        vault_key,
        envelope,
        older: older(caches, &connection),
        namespace_labels: namespace_labels.unwrap_or_default(),
        reads: Reads::default(),
        operator: String::from(operator),
        break_glass: break_glass.clone(),
        connection,
    }
}

/// An older Connection that claims the same place; of the same age, the one with the lower uid is the older.
fn older(caches: &Caches, connection: &Connection) -> Option<Key> {
    let age = |connection: &Connection| {
        (connection.metadata.creation_timestamp.clone(), connection.metadata.uid.clone())
    };
    let others = claim_terms(connection).into_iter().flat_map(|term| caches.connections.having(&term));
    let mut older = others.filter(|other| {
        other.metadata.uid != connection.metadata.uid
            && other.metadata.deletion_timestamp.is_none()
            && age(other) < age(connection)
    });
    older.next().map(|other| Key::of(other.as_ref()))
}

fn of_vault(
    vault: Arc<Vault>,
    connection: &Connection,
    envelope: Option<&Envelope>,
    custody: &Custody,
    caches: &Caches,
    keyrings: &Keyrings,
) -> OfVault {
    let key = Key::of(vault.as_ref());
    let keys = match caches.keyrings.get(&key) {
        None => Keys::Absent,
        Some(keyring) if Some(&keyring.spec.vault_uid) != vault.metadata.uid.as_ref() => {
            Keys::Unusable(String::from("its Keyring belongs to another Vault"))
        }
        Some(keyring) if restored::is_older(&vault, &keyring) => {
            Keys::Unusable(String::from("somebody has put an older Keyring back"))
        }
        Some(keyring) => match keyrings.open(custody, &keyring) {
            Ok(keys) => Keys::Open(keys, keyring),
            Err(error) => Keys::Unusable(error),
        },
    };
    let mut names = names(connection, envelope);
    if let Keys::Open(keys, _) = &keys {
        let restricted =
            keys.members().iter().filter(|entry| !roles::BUILT_IN.contains(&entry.role.as_str()));
        names.extend(restricted.map(|entry| entry.name.clone()));
        let causes = keys.epochs().flat_map(|epoch| &epoch.causes);
        names.extend(causes.filter_map(|cause| cause.member.as_ref().map(|member| member.name.clone())));
    }
    let author = connection.spec.last_writer.as_ref().map(Caller::from);
    let matters = |member: &VaultMember| {
        member.spec.vault == key.name
            && (names.contains(&member.name_any())
                || member.spec.role == roles::OWNER
                || author.as_ref().is_some_and(|author| may_be(&member.spec.subject, author)))
    };
    let members: Vec<VaultMember> = caches
        .members
        .having(&namespace_term(&key.namespace))
        .iter()
        .filter(|member| matters(member))
        .map(|member| member.as_ref().clone())
        .collect();
    let accounts = members.iter().filter_map(|member| {
        let account = Account::key(&member.spec.subject, &key.namespace)?;
        let found = caches.accounts.get(&account)?;
        Some((account, Account::of(&found)))
    });
    let accounts = accounts.collect();
    OfVault { vault, keys, members, accounts }
}

/// Names of members that the Connection or its Envelope speaks of.
fn names(connection: &Connection, envelope: Option<&Envelope>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = connection.spec.members.iter().flatten().cloned().collect();
    names.extend(connection.spec.owner.clone());
    if let Some(envelope) = envelope {
        names.insert(envelope.spec.owner.name.clone());
        if let EnvelopeScope::Listed(listed) = &envelope.spec.members {
            names.extend(listed.iter().map(|member| member.name.clone()));
        }
    }
    names
}

/// Whether a subject may be the author's: a coarse sieve, policy looks closely.
fn may_be(subject: &Subject, author: &Caller) -> bool {
    match subject {
        Subject::ServiceAccount(account) => author.username.ends_with(&format!(":{}", account.name)),
        Subject::User(user) => user.name == author.username,
        Subject::Group(group) => author.groups.contains(&group.name),
        Subject::External(_) => false,
    }
}
