//! Opening as a member: the broker for Brokered members, a client with its own key for Self members.

use crate::access::scope_contains;
use crate::custody::Branches;
use crate::error::EnvelopeError;
use crate::parsed::Parsed;
use crate::{encoding, register, vault_key};
use coffer_crds::{
    Custody, EnvelopeConnection, EnvelopeScope, EnvelopeSpec, RegisteredMember, Wrap, WrappedVaultKey,
};
use coffer_keys::context::SlotTo;
use coffer_keys::data_key::DataKey;
use coffer_keys::hierarchy::MemberIdentity;
use coffer_keys::member_key::MemberSecretKey;
use coffer_keys::signature::{CheckedSignatures, VaultPublicKey};
use coffer_keys::wrap::{OpenWith, WrappingKey};
use coffer_keys::{Kid, OpenError, SecretBytes, VaultId};
use std::collections::BTreeMap;

/// Item name to value.
pub type OpenedItems = BTreeMap<String, SecretBytes>;

/// Where the caller found an Envelope. It must be where the Envelope says that it is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The vault of the live Connection.
    pub vault_id: VaultId,
    /// The vault's signing key, as the Vault's status claims it or as the client pinned it. What was wrapped for
    /// the member opens only if the claim is true.
    pub custodian_key: &'a VaultPublicKey,
    /// Namespace, name and uid of the live Connection.
    pub connection: &'a EnvelopeConnection,
}

/// A member with a key of its own.
#[derive(Clone, Copy)]
pub struct SelfMember<'a> {
    /// Name of the VaultMember.
    pub name: &'a str,
    /// uid of the VaultMember object.
    pub uid: &'a str,
    /// Its private key.
    pub key: &'a MemberSecretKey,
}

/// Opens an Envelope for a Brokered member, and only with what was wrapped for that member.
///
/// `items` narrows the answer; absent means all. `checked` remembers the signatures that held, for whoever opens the same
/// Envelopes often.
///
/// # Errors
/// [`EnvelopeError::Displaced`], [`EnvelopeError::OutsideScope`] and [`EnvelopeError::NoSlot`] tell what the
/// Envelope's own public fields show; [`EnvelopeError::Open`] never says more. A caller whose copies may lag reads
/// Envelope and member again after `NoSlot` and `Open`, as [`crate::Looks`] says.
pub fn open_as_brokered(
    branches: &Branches,
    member: &RegisteredMember,
    wrapped_keys: &[WrappedVaultKey],
    place: &Place<'_>,
    spec: &EnvelopeSpec,
    items: Option<&[String]>,
    checked: &CheckedSignatures,
) -> Result<OpenedItems, EnvelopeError> {
    if member.custody != Custody::Brokered {
        return Err(EnvelopeError::NoSlot);
    }
    let envelope = Parsed::at(place, spec, &member.name, &member.uid)?;
    let holder = Holder {
        name: &member.name,
        uid: &member.uid,
        keys: Keys::Brokered(branches, register::identity(place.vault_id, member)?),
    };
    let data_key = envelope.open_for(place, &holder, wrapped_keys, checked)?;
    envelope.take(&data_key, place, items, checked)
}

/// Opens an Envelope with a member's own key.
///
/// # Errors
/// As [`open_as_brokered`].
pub fn open_as_self(
    member: &SelfMember<'_>,
    wrapped_keys: &[WrappedVaultKey],
    place: &Place<'_>,
    spec: &EnvelopeSpec,
    items: Option<&[String]>,
) -> Result<OpenedItems, EnvelopeError> {
    let envelope = Parsed::at(place, spec, member.name, member.uid)?;
    let holder = Holder { name: member.name, uid: member.uid, keys: Keys::Own(member.key) };
    let checked = CheckedSignatures::default();
    let data_key = envelope.open_for(place, &holder, wrapped_keys, &checked)?;
    envelope.take(&data_key, place, items, &checked)
}

/// A member that opens, and where its keys come from.
struct Holder<'a> {
    name: &'a str,
    uid: &'a str,
    keys: Keys<'a>,
}

enum Keys<'a> {
    Brokered(&'a Branches, MemberIdentity<'a>),
    Own(&'a MemberSecretKey),
}

/// The key for one wrap.
enum Key<'a> {
    Derived(WrappingKey),
    Own(&'a MemberSecretKey),
}

impl Keys<'_> {
    /// The key that a wrap names, as far as it can be this member's.
    fn of(&self, wrap: &Wrap) -> Result<Key<'_>, EnvelopeError> {
        match self {
            Self::Own(key) => Ok(Key::Own(key)),
            Self::Brokered(branches, identity) => {
                let Kid::Member(generation) = *encoding::unwrap(wrap)?.kid() else {
                    return Err(OpenError.into());
                };
                let branch = branches.get(generation).ok_or(EnvelopeError::UnknownGeneration(generation))?;
                Ok(Key::Derived(branch.member_key(identity)))
            }
        }
    }
}

impl Key<'_> {
    fn open_with(&self) -> OpenWith<'_> {
        match self {
            Self::Derived(key) => OpenWith::Key(key),
            Self::Own(key) => OpenWith::Secret(key),
        }
    }
}

impl<'a> Parsed<'a> {
    /// Reads an Envelope at its place, for a member of its scope.
    fn at(place: &Place<'_>, spec: &'a EnvelopeSpec, name: &str, uid: &str) -> Result<Self, EnvelopeError> {
        let envelope = Self::new(spec)?;
        if envelope.vault_id != place.vault_id || spec.connection != *place.connection {
            return Err(EnvelopeError::Displaced);
        }
        if !scope_contains(&spec.members, name, uid) {
            return Err(EnvelopeError::OutsideScope);
        }
        Ok(envelope)
    }

    /// The data key from the member's own slot or, in scope `*`, from the vault slot through the member's vault key
    /// of the epoch.
    fn open_for(
        &self,
        place: &Place<'_>,
        holder: &Holder<'_>,
        wrapped_keys: &[WrappedVaultKey],
        checked: &CheckedSignatures,
    ) -> Result<DataKey, EnvelopeError> {
        let own = SlotTo::Member { name: holder.name, uid: holder.uid };
        if let Some(slot) = self.slot(own) {
            let key = holder.keys.of(&slot.wrap)?;
            return self.open_slot(key.open_with(), own, place.custodian_key, slot);
        }
        let EnvelopeScope::All(_) = self.spec.members else { return Err(EnvelopeError::NoSlot) };
        let slot = self.slot(SlotTo::Vault).ok_or(EnvelopeError::NoSlot)?;
        let wrapped = wrapped_keys
            .iter()
            .find(|wrapped| wrapped.epoch == self.spec.epoch)
            .ok_or(EnvelopeError::NoSlot)?;
        let key = holder.keys.of(&wrapped.wrap)?;
        let vault_key = vault_key::open(
            key.open_with(),
            self.vault_id,
            (holder.name, holder.uid),
            place.custodian_key,
            wrapped,
            checked,
        )?;
        self.open_slot(OpenWith::Key(vault_key.wrapping_key()), SlotTo::Vault, place.custodian_key, slot)
    }

    /// The items, once the signature holds over everything.
    fn take(
        &self,
        data_key: &DataKey,
        place: &Place<'_>,
        items: Option<&[String]>,
        checked: &CheckedSignatures,
    ) -> Result<OpenedItems, EnvelopeError> {
        self.verify(place.custodian_key, checked)?;
        let open = |name: &String| Ok((name.clone(), self.open_item(data_key, name)?));
        match items {
            Some(names) => names.iter().map(open).collect(),
            None => self.spec.items.keys().map(open).collect(),
        }
    }
}
