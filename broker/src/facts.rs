//! What is known when a release is decided: the watched objects, gathered for one request.

mod index;
mod reread;
mod stores;

pub use index::{SubjectIndex, Word, WordIndex};
pub use reread::{ApiServerReread, Fresh, Reread, RereadFailed, Versions, Wanted};
pub use stores::{Place, Stores, Whose};

use coffer_crds::{
    Author, Connection, Envelope, EnvelopeConnection, EnvelopeMember, EnvelopeScope, EnvelopeSpec, Keyring,
    RegisteredMember, SlotRecipient, Vault, VaultMember,
};
use coffer_policy::{
    BreakGlass, Caller, MemberView, memberships,
    release::{Asked, Target},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// A namespaced object's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The place of an object.
    pub fn of<K: kube::ResourceExt>(object: &K) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything about the Connections of one request, as far as its caller is concerned.
pub struct Facts {
    now: Timestamp,
    /// Set where the caller breaks glass: then everybody's memberships are here.
    glass: Option<Arc<BreakGlass>>,
    vaults: Vec<VaultFacts>,
    asked: Vec<AskedFacts>,
}

/// One vault and the caller's memberships of it.
struct VaultFacts {
    vault: Arc<Vault>,
    keyring: Option<Arc<Keyring>>,
    members: Vec<Arc<VaultMember>>,
    views: Vec<MemberView>,
}

/// One entry of the request.
struct AskedFacts {
    reference: String,
    target: Result<TargetFacts, Hidden>,
}

struct TargetFacts {
    /// Into [`Facts::vaults`].
    vault: usize,
    connection: Arc<Connection>,
    envelope: Option<Arc<Envelope>>,
}

/// Why there is nothing behind a word. The caller is told the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// There is no such Connection, or none that the caller may know of.
    Absent,
    /// Its vault does not exist.
    NoVault,
    /// The vault does not admit the Connection's namespace, or not the one that the credentials go to.
    NamespaceNotAdmitted,
}

impl Hidden {
    /// The word for it in the audit record; `None` when `policy`'s own word says it.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Absent => None,
            Self::NoVault => Some("VaultNotFound"),
            Self::NamespaceNotAdmitted => Some("NamespaceNotAdmitted"),
        }
    }
}

/// What one granted Connection is opened with.
pub struct Opening<'a> {
    /// The vault.
    pub vault: &'a Vault,
    /// The register's entry of the member that serves.
    pub registered: &'a RegisteredMember,
    /// That member's live object, which carries its wrapped vault keys.
    pub member: &'a VaultMember,
    /// The vault's Keyring.
    pub keyring: &'a Arc<Keyring>,
    /// The Envelope.
    pub envelope: &'a Envelope,
}

impl Facts {
    /// Nothing yet, at `now`.
    pub fn at(now: Timestamp, glass: Option<Arc<BreakGlass>>) -> Self {
        Self { now, glass, vaults: Vec::new(), asked: Vec::new() }
    }

    /// Who may break glass, where the caller does.
    pub fn glass(&self) -> Option<&BreakGlass> {
        self.glass.as_deref()
    }

    /// The request in `policy`'s terms, in its order.
    pub fn asked(&self) -> Vec<Asked<'_>> {
        self.asked
            .iter()
            .map(|asked| Asked {
                reference: &asked.reference,
                target: asked.target.as_ref().ok().map(|target| self.target(target)),
            })
            .collect()
    }

    /// Why there is nothing behind entry `index`, if so.
    pub fn hidden(&self, index: usize) -> Option<Hidden> {
        self.asked[index].target.as_ref().err().copied()
    }

    /// The vault of entry `index`, if there is one.
    pub fn vault(&self, index: usize) -> Option<Key> {
        let target = self.asked[index].target.as_ref().ok()?;
        Some(Key::of(self.vaults[target.vault].vault.as_ref()))
    }

    /// The Connection of entry `index`, if there is one.
    pub fn connection(&self, index: usize) -> Option<&Arc<Connection>> {
        self.asked[index].target.as_ref().ok().map(|target| &target.connection)
    }

    /// What entry `index` is opened with for `member`; `None` while something of it is missing.
    pub fn opening(&self, index: usize, member: &MemberView) -> Option<Opening<'_>> {
        let target = self.asked[index].target.as_ref().ok()?;
        let vault = &self.vaults[target.vault];
        let keyring = vault.keyring.as_ref()?;
        let registered =
            keyring.spec.members.iter().find(|r| r.name == member.name && r.uid == member.uid)?;
        let live = vault.members.iter().find(|m| m.name_any() == member.name)?;
        let envelope = target.envelope.as_deref()?;
        Some(Opening { vault: &vault.vault, registered, member: live, keyring, envelope })
    }

    /// The time that the facts are judged at.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The live object behind a membership of entry `index`, and when it was last used.
    pub fn member(&self, index: usize, member: &MemberView) -> Option<(Key, Option<Timestamp>)> {
        let target = self.asked[index].target.as_ref().ok()?;
        let live = self.vaults[target.vault].members.iter().find(|m| m.name_any() == member.name)?;
        let used_at = live.status.as_ref().and_then(|status| status.last_used_at.as_ref()).map(|at| at.0);
        Some((Key::of(live.as_ref()), used_at))
    }

    /// The membership that a denial of entry `index` names: the caller's first.
    pub fn membership(&self, index: usize, caller: &Caller) -> Option<&MemberView> {
        let target = self.asked[index].target.as_ref().ok()?;
        memberships(caller, &self.vaults[target.vault].views).first().copied()
    }

    /// What must be read again for entry `index`: its Envelope, Keyring, and the caller's memberships.
    pub fn wanted(&self, index: usize) -> Option<Wanted> {
        let target = self.asked[index].target.as_ref().ok()?;
        let vault = &self.vaults[target.vault];
        Some(Wanted {
            envelope: Key::of(target.connection.as_ref()),
            keyring: Key::of(vault.vault.as_ref()),
            members: vault.members.iter().map(|member| Key::of(member.as_ref())).collect(),
        })
    }

    /// The resourceVersions of what is wanted for entry `index`; of what is absent none.
    pub fn versions(&self, index: usize) -> Versions {
        let Some(AskedFacts { target: Ok(target), .. }) = self.asked.get(index) else { return Vec::new() };
        let vault = &self.vaults[target.vault];
        let envelope = target.envelope.as_ref().and_then(|envelope| envelope.resource_version());
        let keyring = vault.keyring.as_ref().and_then(|keyring| keyring.resource_version());
        let members = vault.members.iter().map(|member| member.resource_version());
        [envelope, keyring].into_iter().chain(members).collect()
    }

    /// Puts what was read again in the place of what was watched.
    pub fn refresh(&mut self, index: usize, fresh: Fresh) {
        let Some(AskedFacts { target: Ok(target), .. }) = self.asked.get_mut(index) else { return };
        let vault = &mut self.vaults[target.vault];
        vault.keyring = fresh.keyring.filter(|keyring| is_of(keyring, &vault.vault));
        vault.members = fresh.members;
        vault.views = views(&vault.vault, vault.keyring.as_deref(), &vault.members, self.now);
        let keyring = vault.keyring.as_deref();
        target.envelope = fresh.envelope.filter(|e| is_for(e, &target.connection, keyring));
    }

    fn target<'a>(&'a self, target: &'a TargetFacts) -> Target<'a> {
        let vault = &self.vaults[target.vault];
        // `None` would mean that wrapping does not matter here. It does: nothing wrapped is nothing recorded.
        let envelope = target.envelope.as_deref().map_or(&*NOTHING_WRAPPED, |envelope| &envelope.spec);
        Target {
            vault: &vault.vault,
            members: &vault.views,
            connection: &target.connection,
            envelope: Some(envelope),
        }
    }
}

impl Opening<'_> {
    /// Whether something is wrapped for this member in the Envelope's epoch: a slot of its own, or the vault key.
    /// If not, one of the two objects is older than the other.
    pub fn is_wrapped(&self) -> bool {
        let envelope = &self.envelope.spec;
        let own_slot = envelope.slots.iter().any(|slot| {
            slot.to == SlotRecipient::Member
                && slot.name.as_deref() == Some(&self.registered.name)
                && slot.uid.as_deref() == Some(&self.registered.uid)
        });
        let wrapped = || self.member.status.iter().flat_map(|status| &status.wrapped_keys);
        own_slot
            || matches!(envelope.members, EnvelopeScope::All(_))
                && wrapped().any(|wrapped| wrapped.epoch == envelope.epoch)
    }
}

/// Whether a Keyring belongs to this very vault, not to a deleted one of the same name.
fn is_of(keyring: &Keyring, vault: &Vault) -> bool {
    vault.metadata.uid.as_deref() == Some(keyring.spec.vault_uid.as_str())
}

/// Whether an Envelope belongs to this very Connection and vault.
fn is_for(envelope: &Envelope, connection: &Connection, keyring: Option<&Keyring>) -> bool {
    let recorded = &envelope.spec.connection;
    keyring.is_some_and(|keyring| keyring.spec.vault_id == envelope.spec.vault_id)
        && connection.metadata.uid.as_deref() == Some(recorded.uid.as_str())
        && connection.metadata.namespace.as_deref() == Some(recorded.namespace.as_str())
        && connection.metadata.name.as_deref() == Some(recorded.name.as_str())
}

/// The memberships by the register. Owners that are only declared are none here: nothing is wrapped for them.
fn views(
    vault: &Vault,
    keyring: Option<&Keyring>,
    members: &[Arc<VaultMember>],
    now: Timestamp,
) -> Vec<MemberView> {
    let register = keyring.map(|keyring| keyring.spec.members.as_slice()).unwrap_or_default();
    members
        .iter()
        .map(|member| {
            let registered = register.iter().find(|registered| registered.name == member.name_any());
            MemberView::registered(member, registered, vault, now)
        })
        .collect()
}

/// Stands for an Envelope that is not there: it records nobody.
static NOTHING_WRAPPED: LazyLock<EnvelopeSpec> = LazyLock::new(|| EnvelopeSpec {
    v: 0,
    suite: String::new(),
    vault_id: String::new(),
    connection: EnvelopeConnection { namespace: String::new(), name: String::new(), uid: String::new() },
    owner: EnvelopeMember { name: String::new(), uid: String::new() },
    version: 0,
    revision: 0,
    epoch: 0,
    members: EnvelopeScope::Listed(Vec::new()),
    members_digest: String::new(),
    commitment: String::new(),
    items: BTreeMap::new(),
    slots: Vec::new(),
    created_at: Time(Timestamp::UNIX_EPOCH),
    created_by: String::new(),
    writer: Author::default(),
    history: Vec::new(),
    advised: Vec::new(),
    signature: String::new(),
});
