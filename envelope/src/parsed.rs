//! An Envelope read once into typed values; the contexts come from its own fields, never from live objects.

use crate::access::digest;
use crate::encoding::{decode, decode32, number, unwrap};
use crate::error::EnvelopeError;
use crate::signed;
use coffer_crds::{EnvelopeSpec, Slot, SlotRecipient};
use coffer_keys::context::{ItemContext, SlotContext, SlotTo, ValuesContext};
use coffer_keys::data_key::{Commitment, DataKey};
use coffer_keys::digest::MembersDigest;
use coffer_keys::signature::{CheckedSignatures, VaultPublicKey};
use coffer_keys::wrap::{OpenWith, Wrapped};
use coffer_keys::{FormatError, OpenError, SecretBytes, Suite, VERSION, VaultId};

/// An Envelope whose form is known, and whose digest is that of its members. Nothing is authentic yet.
pub(crate) struct Parsed<'a> {
    pub(crate) spec: &'a EnvelopeSpec,
    pub(crate) vault_id: VaultId,
    version: u64,
    epoch: u64,
    digest: MembersDigest,
    commitment: Commitment,
}

impl<'a> Parsed<'a> {
    pub(crate) fn new(spec: &'a EnvelopeSpec) -> Result<Self, EnvelopeError> {
        if u64::from(spec.v) != VERSION {
            return Err(FormatError::UnknownVersion(u64::from(spec.v)).into());
        }
        if Suite::parse(&spec.suite)? != Suite::Symmetric {
            return Err(FormatError::malformed("suite", "is not hkdf-sha256-aes256gcm").into());
        }
        let digest = digest(&spec.members)?;
        if decode32("membersDigest", &spec.members_digest)? != *digest.as_bytes() {
            return Err(OpenError.into());
        }
        Ok(Self {
            spec,
            vault_id: VaultId::parse(&spec.vault_id)?,
            version: number("version", spec.version)?,
            epoch: number("epoch", spec.epoch)?,
            digest,
            commitment: Commitment::from_bytes(decode32("commitment", &spec.commitment)?),
        })
    }

    /// What items and slots are bound to.
    pub(crate) fn values(&self) -> ValuesContext<'a> {
        ValuesContext {
            vault_id: self.vault_id,
            namespace: &self.spec.connection.namespace,
            connection: &self.spec.connection.name,
            owner_name: &self.spec.owner.name,
            owner_uid: &self.spec.owner.uid,
            version: self.version,
        }
    }

    /// The slot of one recipient; members by name and uid.
    pub(crate) fn slot(&self, to: SlotTo<'_>) -> Option<&'a Slot> {
        self.spec.slots.iter().find(|slot| match (slot.to, to) {
            (SlotRecipient::Vault, SlotTo::Vault) | (SlotRecipient::Custodian, SlotTo::Custodian) => true,
            (SlotRecipient::Member, SlotTo::Member { name, uid }) => {
                slot.name.as_deref() == Some(name) && slot.uid.as_deref() == Some(uid)
            }
            (SlotRecipient::Vault | SlotRecipient::Custodian | SlotRecipient::Member, _) => false,
        })
    }

    /// Reads the wrap of a slot.
    pub(crate) fn wrapped(slot: &Slot) -> Result<Wrapped, EnvelopeError> {
        Ok(unwrap(&slot.wrap)?)
    }

    /// Opens a slot. The signing key is authentic when this succeeds with a key that its claimant cannot know.
    pub(crate) fn open_slot(
        &self,
        with: OpenWith<'_>,
        to: SlotTo<'_>,
        signing_key: &VaultPublicKey,
        slot: &Slot,
    ) -> Result<DataKey, EnvelopeError> {
        let context = SlotContext {
            values: self.values(),
            epoch: self.epoch,
            members: &self.digest,
            commitment: &self.commitment,
            signing_key,
            to,
        };
        Ok(DataKey::open_slot(with, &context, &Self::wrapped(slot)?)?)
    }

    /// Checks the signature over everything.
    pub(crate) fn verify(
        &self,
        signing_key: &VaultPublicKey,
        checked: &CheckedSignatures,
    ) -> Result<(), EnvelopeError> {
        let signature = signed::signature(&self.spec.signature)?;
        Ok(checked.verify(signing_key, &signed::envelope(self.spec)?, &signature)?)
    }

    /// Opens one item.
    pub(crate) fn open_item(&self, key: &DataKey, name: &str) -> Result<SecretBytes, EnvelopeError> {
        let item = self.spec.items.get(name).ok_or_else(|| EnvelopeError::NoSuchItem(name.to_owned()))?;
        let context = ItemContext { values: self.values(), item: name };
        Ok(key.open_item(&context, &decode("items.ct", &item.ct)?)?)
    }
}
