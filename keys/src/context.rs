//! What everything sealed is bound to. A context is both the derivation's info and the associated data, so that
//! whatever is moved to another place does not open there.

use crate::data_key::Commitment;
use crate::digest::MembersDigest;
use crate::kid::RootName;
use crate::lp::Lp;
use crate::signature::VaultPublicKey;
use crate::suite::VERSION;
use crate::{Kid, Suite, VaultId};

/// One kind of context: its purpose and its fields in order.
pub trait Context {
    /// What is sealed, as it stands in the context.
    const PURPOSE: &'static str;

    /// Writes the fields that follow the purpose.
    fn write(&self, fields: &mut Lp);
}

/// The canonical bytes: v, suite, kid, purpose, then the fields.
pub(crate) fn encode<C: Context>(context: &C, suite: Suite, kid: &Kid) -> Vec<u8> {
    let mut lp = Lp::new();
    lp.number(VERSION).text(suite.as_str()).text(&kid.to_string()).text(C::PURPOSE);
    context.write(&mut lp);
    lp.into_bytes()
}

/// A branch of the installation, under the root of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootContext {
    /// Which branch.
    pub name: RootName,
    /// Its generation.
    pub generation: u64,
}

impl Context for RootContext {
    const PURPOSE: &'static str = "coffer/v1/root";

    fn write(&self, fields: &mut Lp) {
        fields.text(self.name.as_str()).number(self.generation);
    }
}

/// A vault's signing key, under its custodian key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningKeyContext {
    /// The vault.
    pub vault_id: VaultId,
}

impl Context for SigningKeyContext {
    const PURPOSE: &'static str = "coffer/v1/signing-key";

    fn write(&self, fields: &mut Lp) {
        fields.bytes(self.vault_id.as_bytes());
    }
}

/// A vault key in the Keyring, under the vault's custodian key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochContext<'a> {
    /// The vault.
    pub vault_id: VaultId,
    /// The epoch that the key belongs to.
    pub epoch: u64,
    /// The public half of the vault's signing key.
    pub signing_key: &'a VaultPublicKey,
}

impl Context for EpochContext<'_> {
    const PURPOSE: &'static str = "coffer/v1/epoch";

    fn write(&self, fields: &mut Lp) {
        fields.bytes(self.vault_id.as_bytes()).number(self.epoch).bytes(self.signing_key.as_bytes());
    }
}

/// A vault key wrapped for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultKeyContext<'a> {
    /// The vault.
    pub vault_id: VaultId,
    /// The epoch that the key belongs to.
    pub epoch: u64,
    /// The public half of the vault's signing key: whoever opens the wrap learns it from here.
    pub signing_key: &'a VaultPublicKey,
    /// The member's name.
    pub name: &'a str,
    /// The member object's uid.
    pub uid: &'a str,
}

impl Context for VaultKeyContext<'_> {
    const PURPOSE: &'static str = "coffer/v1/vault-key";

    fn write(&self, fields: &mut Lp) {
        fields
            .bytes(self.vault_id.as_bytes())
            .number(self.epoch)
            .bytes(self.signing_key.as_bytes())
            .text(self.name)
            .text(self.uid);
    }
}

/// Which values of which Connection: what items and slots share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValuesContext<'a> {
    /// The vault.
    pub vault_id: VaultId,
    /// The Connection's namespace.
    pub namespace: &'a str,
    /// The Connection's name.
    pub connection: &'a str,
    /// The owning member's name.
    pub owner_name: &'a str,
    /// The owning member object's uid.
    pub owner_uid: &'a str,
    /// Counts the Connection's values.
    pub version: u64,
}

impl ValuesContext<'_> {
    fn write(&self, fields: &mut Lp) {
        fields
            .bytes(self.vault_id.as_bytes())
            .text(self.namespace)
            .text(self.connection)
            .text(self.owner_name)
            .text(self.owner_uid)
            .number(self.version);
    }
}

/// One item, under the data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemContext<'a> {
    /// The values it belongs to.
    pub values: ValuesContext<'a>,
    /// The item's name.
    pub item: &'a str,
}

impl Context for ItemContext<'_> {
    const PURPOSE: &'static str = "coffer/v1/item";

    fn write(&self, fields: &mut Lp) {
        self.values.write(fields);
        fields.text(self.item);
    }
}

/// The commitment to a data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitmentContext;

impl Context for CommitmentContext {
    const PURPOSE: &'static str = "coffer/v1/commitment";

    fn write(&self, _fields: &mut Lp) {}
}

/// A data key in one slot of an Envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotContext<'a> {
    /// The values that the data key opens.
    pub values: ValuesContext<'a>,
    /// The epoch in which the Envelope was sealed.
    pub epoch: u64,
    /// The Envelope's scope.
    pub members: &'a MembersDigest,
    /// The commitment to the data key.
    pub commitment: &'a Commitment,
    /// The public half of the vault's signing key: whoever opens the slot learns it from here.
    pub signing_key: &'a VaultPublicKey,
    /// Whom the slot is for.
    pub to: SlotTo<'a>,
}

/// Whom a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotTo<'a> {
    /// Whoever holds the vault key of the epoch.
    Vault,
    /// The custodian.
    Custodian,
    /// One member.
    Member {
        /// The member's name.
        name: &'a str,
        /// The member object's uid.
        uid: &'a str,
    },
}

impl Context for SlotContext<'_> {
    const PURPOSE: &'static str = "coffer/v1/slot";

    fn write(&self, fields: &mut Lp) {
        self.values.write(fields);
        fields
            .number(self.epoch)
            .bytes(self.members.as_bytes())
            .bytes(self.commitment.as_bytes())
            .bytes(self.signing_key.as_bytes());
        match self.to {
            SlotTo::Vault => fields.text("vault"),
            SlotTo::Custodian => fields.text("custodian"),
            SlotTo::Member { name, uid } => fields.text("member").text(name).text(uid),
        };
    }
}
