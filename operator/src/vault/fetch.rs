//! Reads everything that a Vault's plan is made from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use coffer_crds::{ConnectionPhase, Envelope, Keyring, RegisteredMember, Vault, VaultMember};
use coffer_envelope::Custodian;
use coffer_policy::BreakGlass;
use coffer_runtime::within;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api, Resource,
    api::ListParams,
    core::{DeserializeGuard, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;

use super::plan::restored;
use crate::{
    cache::Key,
    caches::{Caches, namespace_term, vault_term},
    context::{Context, Judging, READ_TIMEOUT, ReconcileError},
    installation::custody::Custody,
    rotation::Epochs,
    standing::Account,
    usage,
};

/// What is known about a Vault and everything that belongs to it.
pub struct Facts {
    /// The Vault.
    pub vault: Arc<Vault>,
    /// The custodian root, or the sentence that says why there is none.
    pub custodian: Result<Custodian, String>,
    /// The object of the Vault's name, whoever it belongs to.
    pub keyring: Option<Arc<Keyring>>,
    /// Every VaultMember of the namespace, other vaults' too: names of owners depend on which are taken.
    pub neighbours: Vec<VaultMember>,
    /// The ServiceAccounts that members of this vault stand for, as far as they exist.
    pub accounts: BTreeMap<Key, Account>,
    /// The RoleBindings that carry the vault's name and the operator's label.
    pub bindings: Vec<Arc<RoleBinding>>,
    /// The Envelopes sealed under this vault's id.
    pub envelopes: Vec<Arc<Envelope>>,
    /// How many Envelopes of Connections that can be released are of an older epoch than the current one.
    pub behind: usize,
    /// How many Connections name this vault.
    pub connections: usize,
    /// How many of them need an older custodian root than the Keyring.
    pub on_older_roots: usize,
    /// The operator's own user name.
    pub operator: String,
    /// Who may do what an owner may, without being a member.
    pub break_glass: Arc<BreakGlass>,
}

impl Facts {
    /// The vault's key.
    pub fn key(&self) -> Key {
        Key::of(self.vault.as_ref())
    }

    /// The VaultMembers of this vault. One that is being deleted is gone, whatever finalizer somebody gave it.
    pub fn members(&self) -> impl Iterator<Item = &VaultMember> {
        let name = self.vault.metadata.name.as_deref().unwrap_or_default();
        self.neighbours
            .iter()
            .filter(move |member| member.spec.vault == name && member.metadata.deletion_timestamp.is_none())
    }

    /// Whether somebody in the register is not among the members, or a register is about to be bound to them.
    fn misses_a_member(&self) -> bool {
        let Some(keyring) = &self.keyring else { return false };
        let is_here = |entry: &RegisteredMember| {
            self.members().any(|member| {
                member.metadata.name.as_ref() == Some(&entry.name)
                    && member.metadata.uid.as_ref() == Some(&entry.uid)
            })
        };
        restored::is_asked(&self.vault, keyring)
            || (Some(&keyring.spec.vault_uid) == self.vault.metadata.uid.as_ref()
                && !keyring.spec.members.iter().all(is_here))
    }

    /// Whether nothing seems to need the keys of older epochs any more.
    fn may_finish(&self) -> bool {
        let epochs = self.keyring.as_ref().and_then(|keyring| {
            let held = || keyring.spec.epochs.iter().map(|epoch| epoch.epoch);
            Some(Epochs { oldest: held().min()?, current: keyring.spec.current, newest: held().max()? })
        });
        epochs.is_some_and(|epochs| epochs.may_finish(self.behind == 0))
    }

    /// The ServiceAccount that a member stands for, if it stands for one that exists.
    pub fn account(&self, member: &VaultMember) -> Option<&Account> {
        let namespace = member.metadata.namespace.as_deref().unwrap_or_default();
        Account::key(&member.spec.subject, namespace).and_then(|key| self.accounts.get(&key))
    }
}

/// Reads the facts about `vault`; `None` while the custodian root has not been looked at.
///
/// # Errors
/// When an object that the cache misses, but that must exist, cannot be read.
pub async fn fetch(vault: Arc<Vault>, context: &Context) -> Result<Option<Facts>, ReconcileError> {
    let custodian = match &*context.custody.borrow() {
        Custody::Unknown => return Ok(None),
        Custody::Open(opened) => Ok(opened.custodian.clone()),
        Custody::Unavailable(why) => Err(why.to_string()),
    };
    let caches = &context.watched.caches;
    let key = Key::of(vault.as_ref());
    let mut keyring = caches.keyrings.get(&key);
    if keyring.is_none() && vault.status.as_ref().is_some_and(|status| status.vault_id.is_some()) {
        // There was one. Whether it is gone is not for a cache to say.
        let keyrings: Api<Keyring> = Api::namespaced(context.client.clone(), &key.namespace);
        keyring = within(READ_TIMEOUT, keyrings.get_opt(&key.name)).await?.map(Arc::new);
    }
    let mut facts = gather(vault, custodian, keyring, caches, context.judge());
    if facts.misses_a_member() {
        // Nobody is taken for gone because a cache has not seen them yet.
        facts.neighbours = read_members(&key.namespace, context).await?;
        facts.accounts = accounts(&key, &facts.neighbours, caches);
    }
    if facts.may_finish() {
        // No key goes because a cache has not seen what needs it.
        facts.behind = read_behind(&facts, context).await?;
    }
    Ok(Some(facts))
}

/// The VaultMembers of a namespace, as the API server has them now.
async fn read_members(namespace: &str, context: &Context) -> Result<Vec<VaultMember>, ReconcileError> {
    let mut members = Vec::new();
    read_all(namespace, context, |member| members.push(member)).await?;
    Ok(members)
}

/// How many Envelopes are behind, as the API server has them now.
async fn read_behind(facts: &Facts, context: &Context) -> Result<usize, ReconcileError> {
    let Some(keyring) = &facts.keyring else { return Ok(0) };
    let caches = &context.watched.caches;
    let namespaces: BTreeSet<String> =
        caches.connections_of(&facts.key()).into_iter().map(|key| key.namespace).collect();
    let mut behind = 0;
    for namespace in namespaces {
        let count = |envelope: Envelope| behind += usize::from(is_behind(caches, keyring, &envelope));
        read_all(&namespace, context, count).await?;
    }
    Ok(behind)
}

/// Reads every object of a kind in a namespace, page by page. A malformed one stops only itself.
async fn read_all<K>(
    namespace: &str,
    context: &Context,
    mut take: impl FnMut(K),
) -> Result<(), ReconcileError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    const PAGE: u32 = 500;
    let api: Api<DeserializeGuard<K>> = Api::namespaced(context.client.clone(), namespace);
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = within(READ_TIMEOUT, api.list(&params)).await?;
        page.items.into_iter().filter_map(|found| found.0.ok()).for_each(&mut take);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Whether an Envelope of this vault can be released and is of an older epoch than the current one. One whose
/// Connection is gone or `Invalid` keeps no key: the custodian's slot opens it whenever it comes right.
fn is_behind(caches: &Caches, keyring: &Keyring, envelope: &Envelope) -> bool {
    let lives = || {
        let connection = caches.connections.get(&Key::of(envelope));
        connection.is_some_and(|connection| {
            let phase = connection.status.as_ref().and_then(|status| status.phase);
            let adopted = keyring.spec.restored_epoch.is_some_and(|restored| envelope.spec.epoch < restored);
            (adopted || connection.metadata.uid.as_ref() == Some(&envelope.spec.connection.uid))
                && connection.metadata.deletion_timestamp.is_none()
                && phase != Some(ConnectionPhase::Invalid)
        })
    };
    envelope.spec.vault_id == keyring.spec.vault_id && envelope.spec.epoch < keyring.spec.current && lives()
}

/// Takes everything else from the caches.
pub fn gather(
    vault: Arc<Vault>,
    custodian: Result<Custodian, String>,
    keyring: Option<Arc<Keyring>>,
    caches: &Caches,
    Judging { operator, break_glass }: Judging<'_>,
) -> Facts {
    let key = Key::of(vault.as_ref());
    let neighbours: Vec<VaultMember> = caches
        .members
        .having(&namespace_term(&key.namespace))
        .iter()
        .map(|member| member.as_ref().clone())
        .collect();
    let accounts = accounts(&key, &neighbours, caches);
    let vault_id = keyring.as_ref().map(|keyring| keyring.spec.vault_id.clone());
    let vault_id = vault_id.or_else(|| vault.status.as_ref()?.vault_id.clone());
    let envelopes = vault_id.map(|id| caches.envelopes.having(&id)).unwrap_or_default();
    let behind = keyring
        .iter()
        .flat_map(|keyring| envelopes.iter().filter(move |envelope| is_behind(caches, keyring, envelope)));
    let on_older_roots =
        keyring.as_ref().map_or(0, |keyring| usage::on_older_roots(caches, &key, &keyring.spec));
    Facts {
        custodian,
        behind: behind.count(),
        on_older_roots,
        neighbours,
        accounts,
        bindings: caches.bindings.having(&vault_term(&key)),
        envelopes,
        keyring,
        connections: caches.connections_of(&key).len(),
        operator: String::from(operator),
        break_glass: break_glass.clone(),
        vault,
    }
}

/// The ServiceAccounts that members of a vault stand for, as far as they exist.
fn accounts(vault: &Key, neighbours: &[VaultMember], caches: &Caches) -> BTreeMap<Key, Account> {
    let members = neighbours.iter().filter(|member| member.spec.vault == vault.name);
    let accounts = members.filter_map(|member| {
        let account = Account::key(&member.spec.subject, &vault.namespace)?;
        let found = caches.accounts.get(&account)?;
        Some((account, Account::of(&found)))
    });
    accounts.collect()
}
