//! A vault's Keyring, opened: its signing key, its epoch keys, its register of members.

use crate::access::Recipient;
use crate::custody::Custodian;
use crate::encoding::{number, unwrap, whole_seconds, wrap};
use crate::error::{EnvelopeError, KeyringError, SealError};
use crate::register::{MemberKek, subject_ref};
use crate::{signed, vault_key};
use coffer_crds::{Epoch, IntakeGeneration, KeyringSpec, RegisteredMember, Wrap, WrappedVaultKey};
use coffer_keys::context::{EpochContext, VaultKeyContext};
use coffer_keys::hierarchy::{self, CustodianRoot, VaultKey};
use coffer_keys::member_key::MemberPublicKey;
use coffer_keys::signature::{CheckedSignatures, VaultPublicKey, VaultSigningKey};
use coffer_keys::wrap::WrappingKey;
use coffer_keys::{FormatError, VaultId};
use jiff::Timestamp;
use rand_core::CryptoRng;
use std::collections::BTreeMap;

mod epochs;
mod intake;
mod proof;
mod restored;
mod root;

/// An opened Keyring. Changes are made here and written with [`OpenKeyring::to_spec`].
pub struct OpenKeyring {
    custodian: Custodian,
    key: WrappingKey,
    vault_id: VaultId,
    vault_uid: String,
    revision: i64,
    root: u64,
    branch: u64,
    intake: Vec<IntakeGeneration>,
    signing: VaultSigningKey,
    signing_wrap: Wrap,
    current: i64,
    restored: Option<i64>,
    epochs: BTreeMap<i64, OpenEpoch>,
    members: Vec<RegisteredMember>,
    changed: bool,
    checked: CheckedSignatures,
}

/// One epoch: its key, and its entry as it is written.
struct OpenEpoch {
    key: VaultKey,
    entry: Epoch,
}

impl Custodian {
    /// A Keyring for a new vault: epoch 1, intake generation 1, nobody registered, revision 0 until it is written.
    ///
    /// # Panics
    /// When this custodian holds no generation at all, which its makers refuse.
    pub fn new_keyring(
        &self,
        vault_id: VaultId,
        vault_uid: &str,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> OpenKeyring {
        let root = self.root(self.newest_root()).expect("a custodian holds at least one generation");
        let key = root.custodian_key(&vault_id);
        let signing = VaultSigningKey::generate(rng);
        let signing_wrap = wrap(&hierarchy::wrap_signing_key(&key, vault_id, &signing, rng));
        let mut keyring = OpenKeyring {
            custodian: self.clone(),
            key,
            vault_id,
            vault_uid: vault_uid.to_owned(),
            revision: 0,
            root: root.generation(),
            branch: self.branches().newest(),
            intake: vec![IntakeGeneration { root: signed_number(root.generation()), generation: 1 }],
            signing,
            signing_wrap,
            current: 1,
            restored: None,
            epochs: BTreeMap::new(),
            members: Vec::new(),
            changed: true,
            checked: CheckedSignatures::default(),
        };
        keyring.insert_epoch(1, Vec::new(), now, rng);
        keyring
    }

    /// Opens a Keyring and checks its signature before anything in it is believed.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn open_keyring(&self, spec: &KeyringSpec) -> Result<OpenKeyring, KeyringError> {
        let vault_id = VaultId::parse(&spec.vault_id)?;
        let root = self.held_root(number("rootGeneration", spec.root_generation)?)?;
        let branch = number("brokeredGeneration", spec.brokered_generation)?;
        let key = root.custodian_key(&vault_id);
        let signing = hierarchy::open_signing_key(&key, vault_id, &unwrap(&spec.signing_key)?)?;
        signing.public().verify(&signed::keyring(spec)?, &signed::signature(&spec.signature)?)?;
        if self.branches().get(branch).is_none() {
            return Err(KeyringError::UnknownGeneration { branch: "brokered branch", generation: branch });
        }
        let mut epochs = BTreeMap::new();
        for entry in &spec.epochs {
            let epoch = number("epochs.epoch", entry.epoch)?;
            let context = EpochContext { vault_id, epoch, signing_key: signing.public() };
            let opened = VaultKey::open_as_custodian(&key, &context, &unwrap(&entry.wrapped)?)?;
            epochs.insert(entry.epoch, OpenEpoch { key: opened, entry: entry.clone() });
        }
        if !epochs.contains_key(&spec.current) {
            return Err(KeyringError::UnknownEpoch(spec.current));
        }
        Ok(OpenKeyring {
            custodian: self.clone(),
            key,
            vault_id,
            vault_uid: spec.vault_uid.clone(),
            revision: spec.revision,
            root: root.generation(),
            branch,
            intake: spec.intake_generations.clone(),
            signing,
            signing_wrap: spec.signing_key.clone(),
            current: spec.current,
            restored: spec.restored_epoch,
            epochs,
            members: spec.members.clone(),
            changed: false,
            checked: CheckedSignatures::default(),
        })
    }

    fn held_root(&self, generation: u64) -> Result<&CustodianRoot, KeyringError> {
        self.root(generation).ok_or(KeyringError::UnknownGeneration { branch: "custodian root", generation })
    }
}

impl OpenKeyring {
    /// The vault's random id.
    pub fn vault_id(&self) -> VaultId {
        self.vault_id
    }

    /// uid of the Vault that this Keyring belongs to.
    pub fn vault_uid(&self) -> &str {
        &self.vault_uid
    }

    /// The register, sorted by name.
    pub fn members(&self) -> &[RegisteredMember] {
        &self.members
    }

    /// The register's entry of a name.
    pub fn member(&self, name: &str) -> Option<&RegisteredMember> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The generation of the brokered branch that wraps use.
    pub fn branch_generation(&self) -> u64 {
        self.branch
    }

    /// Replaces the register.
    ///
    /// # Errors
    /// [`FormatError`] when a ServiceAccount has no namespace or a name stands twice; nothing changes then.
    pub fn set_members(&mut self, members: Vec<RegisteredMember>) -> Result<(), FormatError> {
        let mut members: Vec<_> = members
            .into_iter()
            .map(|member| RegisteredMember {
                accepted_at: whole_seconds(member.accepted_at.0).into(),
                ..member
            })
            .collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members.iter().try_for_each(|member| subject_ref(&member.subject).map(|_| ()))?;
        if members.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(FormatError::malformed("members", "name someone twice"));
        }
        self.changed |= self.members != members;
        self.members = members;
        Ok(())
    }

    /// Puts one member into the register, in place of an entry of the same name.
    ///
    /// # Errors
    /// As [`OpenKeyring::set_members`].
    pub fn register(&mut self, member: RegisteredMember) -> Result<(), FormatError> {
        let mut members = self.members.clone();
        members.retain(|other| other.name != member.name);
        members.push(member);
        self.set_members(members)
    }

    /// Takes a member out of the register; whether it was in it.
    pub fn deregister(&mut self, name: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.name != name);
        self.changed |= self.members.len() != before;
        self.members.len() != before
    }

    /// Whether there is anything to write.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The Keyring as it is to be written: one revision on, signed. Calling it again gives the same.
    pub fn to_spec(&self) -> KeyringSpec {
        let mut spec = KeyringSpec {
            vault_id: self.vault_id.to_string(),
            vault_uid: self.vault_uid.clone(),
            revision: self.revision + 1,
            root_generation: signed_number(self.root),
            brokered_generation: signed_number(self.branch),
            intake_generations: self.intake.clone(),
            signing_key: self.signing_wrap.clone(),
            current: self.current,
            restored_epoch: self.restored,
            epochs: self.epochs.values().map(|epoch| epoch.entry.clone()).collect(),
            members: self.members.clone(),
            signature: String::new(),
        };
        let message = signed::keyring(&spec).expect("every part was checked when it came in");
        spec.signature = signed::encode(&self.signing.sign(&message));
        spec
    }

    /// `Vault.status.custodianKey`: the public half of the signing key, base64.
    pub fn custodian_key(&self) -> String {
        self.signing.public().to_base64()
    }

    /// The public half of the signing key.
    pub fn public_key(&self) -> &VaultPublicKey {
        self.signing.public()
    }

    /// Wraps the vault key of an epoch for one member of the register.
    ///
    /// # Errors
    /// [`SealError`] when the epoch is unknown or `key` is not the member's.
    pub fn wrap_vault_key(
        &self,
        member: &RegisteredMember,
        key: Option<&MemberPublicKey>,
        epoch: i64,
        rng: &mut impl CryptoRng,
    ) -> Result<WrappedVaultKey, SealError> {
        let opened = self.epochs.get(&epoch).ok_or(SealError::UnknownEpoch(epoch))?;
        let kek = self.member_kek(&Recipient { member, key })?;
        let context = VaultKeyContext {
            vault_id: self.vault_id,
            epoch: opened.key.epoch(),
            signing_key: self.signing.public(),
            name: &member.name,
            uid: &member.uid,
        };
        Ok(vault_key::seal(&opened.key, epoch, kek.wrap_to(), &context, &self.signing, rng))
    }

    /// Whether anything can be wrapped for a member: its key, if it brought one, is at hand and is the register's.
    pub fn can_wrap(&self, member: &RegisteredMember, key: Option<&MemberPublicKey>) -> bool {
        self.member_kek(&Recipient { member, key }).is_ok()
    }

    /// Whether a member's wrapped vault key is of this Keyring, for this member and its present key, so that it
    /// need not be made again. Signatures that held are remembered: a vault of many members asks about the same ones at
    /// each look.
    pub fn is_wrapped(&self, member: &RegisteredMember, wrapped: &WrappedVaultKey) -> bool {
        let kid = crate::register::kid(self.branch, member).map(|kid| kid.to_string());
        self.epochs.contains_key(&wrapped.epoch)
            && kid.is_ok_and(|kid| kid == wrapped.wrap.kid)
            && vault_key::verify(
                self.vault_id,
                &member.name,
                &member.uid,
                self.signing.public(),
                wrapped,
                &self.checked,
            )
            .is_ok()
    }

    pub(crate) fn member_kek<'a>(&self, recipient: &Recipient<'a>) -> Result<MemberKek<'a>, SealError> {
        let branches = self.custodian.branches();
        MemberKek::of(branches, self.branch, self.vault_id, recipient.member, recipient.key)
    }

    /// The custodian's wrapping key of this vault.
    pub(crate) fn custodian_wrapping_key(&self) -> &WrappingKey {
        &self.key
    }

    pub(crate) fn signing(&self) -> &VaultSigningKey {
        &self.signing
    }

    /// The current epoch's vault key.
    pub(crate) fn current_key(&self) -> &VaultKey {
        &self.epochs.get(&self.current).expect("the current epoch is always among the epochs").key
    }

    /// Checks that an Envelope claims this vault.
    pub(crate) fn owns(&self, vault_id: VaultId) -> Result<(), EnvelopeError> {
        if vault_id == self.vault_id { Ok(()) } else { Err(EnvelopeError::Displaced) }
    }
}

/// A generation as the API writes it.
fn signed_number(value: u64) -> i64 {
    i64::try_from(value).expect("generations count up from 1")
}
