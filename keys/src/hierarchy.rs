//! The keys of an installation: two independent random branches under the root of trust, and everything that is
//! derived from them or random beside them.

use crate::context::{EpochContext, RootContext, SigningKeyContext, VaultKeyContext};
use crate::intake::IntakeSecretKey;
use crate::kid::RootName;
use crate::lp::Lp;
use crate::signature::{VaultPublicKey, VaultSigningKey};
use crate::wrap::{OpenWith, WrapTo, Wrapped, WrappingKey};
use crate::{Kid, OpenError, SecretKey, VaultId, aead};
use rand_core::CryptoRng;

/// A named key of the root of trust `local`: 32 random bytes of the one Secret that opens an installation.
pub struct RootOfTrustKey {
    name: RootName,
    key: WrappingKey,
}

impl RootOfTrustKey {
    /// A new random key.
    pub fn generate(name: RootName, rng: &mut impl CryptoRng) -> Self {
        Self::from_key(name, SecretKey::generate(rng))
    }

    /// The key as it is stored; the caller's copy stays the caller's to wipe.
    pub fn new(name: RootName, bytes: &[u8; 32]) -> Self {
        Self::from_key(name, SecretKey::from_bytes(bytes))
    }

    fn from_key(name: RootName, key: SecretKey) -> Self {
        Self { name, key: WrappingKey::new(Kid::Root(name), key) }
    }

    /// Which branch it wraps.
    pub fn name(&self) -> RootName {
        self.name
    }

    /// The bytes that go into the one Secret.
    pub fn expose(&self) -> &[u8; 32] {
        self.key.key().expose()
    }

    /// Wraps a custodian root. Opens again only with the key named `custodian`.
    pub fn wrap_custodian(&self, root: &CustodianRoot, rng: &mut impl CryptoRng) -> Wrapped {
        self.wrap(RootName::Custodian, root.generation, &root.key, rng)
    }

    /// Unwraps the custodian root of this generation.
    ///
    /// # Errors
    /// [`OpenError`] when it is another key's, another branch's, another generation's or altered.
    pub fn unwrap_custodian(&self, generation: u64, wrapped: &Wrapped) -> Result<CustodianRoot, OpenError> {
        self.unwrap(RootName::Custodian, generation, wrapped).map(|key| CustodianRoot { generation, key })
    }

    /// Wraps a brokered branch. Opens again only with the key named `brokered`.
    pub fn wrap_brokered(&self, branch: &BrokeredBranch, rng: &mut impl CryptoRng) -> Wrapped {
        self.wrap(RootName::Brokered, branch.generation, &branch.key, rng)
    }

    /// Unwraps the brokered branch of this generation.
    ///
    /// # Errors
    /// [`OpenError`] when it is another key's, another branch's, another generation's or altered.
    pub fn unwrap_brokered(&self, generation: u64, wrapped: &Wrapped) -> Result<BrokeredBranch, OpenError> {
        self.unwrap(RootName::Brokered, generation, wrapped).map(|key| BrokeredBranch { generation, key })
    }

    fn wrap(&self, name: RootName, generation: u64, key: &SecretKey, rng: &mut impl CryptoRng) -> Wrapped {
        Wrapped::seal(WrapTo::Key(&self.key), &RootContext { name, generation }, key, rng)
    }

    fn unwrap(&self, name: RootName, generation: u64, wrapped: &Wrapped) -> Result<SecretKey, OpenError> {
        wrapped.open(OpenWith::Key(&self.key), &RootContext { name, generation })
    }
}

/// The custodian root: what the operator holds. Every vault's custodian and intake keys come from it.
pub struct CustodianRoot {
    generation: u64,
    key: SecretKey,
}

impl CustodianRoot {
    /// A new random root.
    pub fn generate(generation: u64, rng: &mut impl CryptoRng) -> Self {
        Self { generation, key: SecretKey::generate(rng) }
    }

    /// The root as a root of trust other than `local` gave it back.
    pub fn from_key(generation: u64, key: SecretKey) -> Self {
        Self { generation, key }
    }

    /// Its generation, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The custodian wrapping key of a vault: opens its Keyring and one slot of each of its Envelopes.
    pub fn custodian_key(&self, vault_id: &VaultId) -> WrappingKey {
        let key = derive(&self.key, "custodian", |info| {
            info.bytes(vault_id.as_bytes());
        });
        WrappingKey::new(Kid::Custodian(self.generation), key)
    }

    /// The intake key pair of a vault, of one generation: what users seal to.
    pub fn intake_key(&self, vault_id: &VaultId, generation: u64) -> IntakeSecretKey {
        let seed = derive(&self.key, "intake", |info| {
            info.bytes(vault_id.as_bytes()).number(generation);
        });
        IntakeSecretKey::from_seed(Kid::Intake { root: self.generation, generation }, seed)
    }
}

/// The brokered branch: what the broker holds. The wrapping keys of Brokered members come from it, and nothing else.
pub struct BrokeredBranch {
    generation: u64,
    key: SecretKey,
}

impl BrokeredBranch {
    /// A new random branch.
    pub fn generate(generation: u64, rng: &mut impl CryptoRng) -> Self {
        Self { generation, key: SecretKey::generate(rng) }
    }

    /// The branch as a root of trust other than `local` gave it back.
    pub fn from_key(generation: u64, key: SecretKey) -> Self {
        Self { generation, key }
    }

    /// Its generation, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The wrapping key of one Brokered member, as the register in the Keyring describes it.
    pub fn member_key(&self, member: &MemberIdentity<'_>) -> WrappingKey {
        let key = derive(&self.key, "member", |info| {
            info.bytes(member.vault_id.as_bytes()).text(member.name).text(member.uid);
            member.subject.write(info);
            info.text(member.subject_uid);
        });
        WrappingKey::new(Kid::Member(self.generation), key)
    }
}

/// A Brokered member: all that its wrapping key is derived from. Another value anywhere is another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberIdentity<'a> {
    /// The vault.
    pub vault_id: VaultId,
    /// Name of the VaultMember.
    pub name: &'a str,
    /// uid of the VaultMember object.
    pub uid: &'a str,
    /// The identity that it stands for.
    pub subject: SubjectRef<'a>,
    /// uid of the subject where it has one (ServiceAccounts), else empty.
    pub subject_uid: &'a str,
}

/// The identity behind a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectRef<'a> {
    /// A ServiceAccount.
    ServiceAccount {
        /// Its namespace, never empty.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A user, by name.
    User(&'a str),
    /// A group, by name.
    Group(&'a str),
    /// Someone without a Kubernetes identity.
    External,
}

impl SubjectRef<'_> {
    /// Writes the kind and then the kind's fields; the kind tells how many follow.
    pub fn write(&self, lp: &mut Lp) {
        match *self {
            Self::ServiceAccount { namespace, name } => lp.text("serviceAccount").text(namespace).text(name),
            Self::User(name) => lp.text("user").text(name),
            Self::Group(name) => lp.text("group").text(name),
            Self::External => lp.text("external"),
        };
    }
}

/// The key of a vault in one epoch: random, wrapped for the custodian and for every member whose role covers all.
pub struct VaultKey {
    epoch: u64,
    key: WrappingKey,
}

impl VaultKey {
    /// A new random key for an epoch.
    pub fn generate(epoch: u64, rng: &mut impl CryptoRng) -> Self {
        Self::from_key(epoch, SecretKey::generate(rng))
    }

    fn from_key(epoch: u64, key: SecretKey) -> Self {
        Self { epoch, key: WrappingKey::new(Kid::Epoch(epoch), key) }
    }

    /// Its epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The key as one that wraps: the vault slots of the epoch's Envelopes.
    pub fn wrapping_key(&self) -> &WrappingKey {
        &self.key
    }

    /// Wraps it for the Keyring.
    pub fn wrap_for_custodian(
        &self,
        custodian: &WrappingKey,
        vault_id: VaultId,
        signing_key: &VaultPublicKey,
        rng: &mut impl CryptoRng,
    ) -> Wrapped {
        let context = EpochContext { vault_id, epoch: self.epoch, signing_key };
        Wrapped::seal(WrapTo::Key(custodian), &context, self.key.key(), rng)
    }

    /// Opens the Keyring's copy.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_as_custodian(
        custodian: &WrappingKey,
        context: &EpochContext<'_>,
        wrapped: &Wrapped,
    ) -> Result<Self, OpenError> {
        wrapped.open(OpenWith::Key(custodian), context).map(|key| Self::from_key(context.epoch, key))
    }

    /// Wraps it for one member. `context.epoch` must be this key's.
    ///
    /// # Panics
    /// When the context names another epoch: a mistake of the caller that would never open.
    pub fn wrap_for_member(
        &self,
        to: WrapTo<'_>,
        context: &VaultKeyContext<'_>,
        rng: &mut impl CryptoRng,
    ) -> Wrapped {
        assert_eq!(context.epoch, self.epoch, "a vault key is wrapped as its own epoch's");
        Wrapped::seal(to, context, self.key.key(), rng)
    }

    /// Opens a member's copy.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_as_member(
        with: OpenWith<'_>,
        context: &VaultKeyContext<'_>,
        wrapped: &Wrapped,
    ) -> Result<Self, OpenError> {
        wrapped.open(with, context).map(|key| Self::from_key(context.epoch, key))
    }
}

/// Wraps a vault's signing key for its Keyring.
pub fn wrap_signing_key(
    custodian: &WrappingKey,
    vault_id: VaultId,
    key: &VaultSigningKey,
    rng: &mut impl CryptoRng,
) -> Wrapped {
    Wrapped::seal(WrapTo::Key(custodian), &SigningKeyContext { vault_id }, key.seed(), rng)
}

/// Opens the signing key in a Keyring.
///
/// # Errors
/// [`OpenError`].
pub fn open_signing_key(
    custodian: &WrappingKey,
    vault_id: VaultId,
    wrapped: &Wrapped,
) -> Result<VaultSigningKey, OpenError> {
    wrapped.open(OpenWith::Key(custodian), &SigningKeyContext { vault_id }).map(VaultSigningKey::from_seed)
}

/// HKDF-SHA256 without salt, info = LP("coffer/v1/<label>") and the fields.
pub(crate) fn derive(key: &SecretKey, label: &str, fields: impl FnOnce(&mut Lp)) -> SecretKey {
    let mut info = Lp::new();
    info.text(&format!("coffer/v1/{label}"));
    fields(&mut info);
    aead::derive(key, &[], info.as_bytes())
}
