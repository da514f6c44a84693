//! The register of a Keyring: who a member is, and which key is its own.

use crate::custody::Branches;
use crate::encoding::{base64, decode32};
use crate::error::SealError;
use coffer_crds::{Custody, RegisteredMember, Subject};
use coffer_keys::hierarchy::{MemberIdentity, SubjectRef};
use coffer_keys::member_key::MemberPublicKey;
use coffer_keys::wrap::{WrapTo, WrappingKey};
use coffer_keys::{FormatError, Kid, VaultId};

/// A subject as keys and proofs are derived from it.
///
/// # Errors
/// [`FormatError::Malformed`] for a ServiceAccount without a namespace: whoever writes the register, or checks a
/// proof, fills in the VaultMember's own first.
pub fn subject_ref(subject: &Subject) -> Result<SubjectRef<'_>, FormatError> {
    Ok(match subject {
        Subject::ServiceAccount(account) => SubjectRef::ServiceAccount {
            namespace: account
                .namespace
                .as_deref()
                .filter(|namespace| !namespace.is_empty())
                .ok_or(FormatError::malformed("subject.serviceAccount.namespace", "is missing"))?,
            name: &account.name,
        },
        Subject::User(user) => SubjectRef::User(&user.name),
        Subject::Group(group) => SubjectRef::Group(&group.name),
        Subject::External(_) => SubjectRef::External,
    })
}

/// A public key as the register names it: its fingerprint's 32 bytes in base64.
pub fn key_hash(key: &MemberPublicKey) -> String {
    base64(key.fingerprint().as_bytes())
}

/// Everything that a Brokered member's key is derived from.
pub(crate) fn identity(
    vault_id: VaultId,
    member: &RegisteredMember,
) -> Result<MemberIdentity<'_>, FormatError> {
    Ok(MemberIdentity {
        vault_id,
        name: &member.name,
        uid: &member.uid,
        subject: subject_ref(&member.subject)?,
        subject_uid: member.subject_uid.as_deref().unwrap_or_default(),
    })
}

/// The key that wraps for a member.
pub(crate) enum MemberKek<'a> {
    /// Derived, for a Brokered member.
    Derived(WrappingKey),
    /// The member's own.
    Own(&'a MemberPublicKey),
}

impl<'a> MemberKek<'a> {
    /// The key of a member as the register has it; `key` is the public key of a Self member, and none else's.
    pub(crate) fn of(
        branches: &Branches,
        generation: u64,
        vault_id: VaultId,
        member: &RegisteredMember,
        key: Option<&'a MemberPublicKey>,
    ) -> Result<Self, SealError> {
        let wrong = || SealError::WrongMemberKey(member.name.clone());
        match (member.custody, key) {
            (Custody::Brokered, None) => {
                let branch = branches.get(generation).ok_or(SealError::UnknownGeneration(generation))?;
                Ok(Self::Derived(branch.member_key(&identity(vault_id, member)?)))
            }
            (Custody::Own, Some(key)) if member.key_hash.as_deref() == Some(key_hash(key).as_str()) => {
                Ok(Self::Own(key))
            }
            (Custody::Brokered, Some(_)) | (Custody::Own, Some(_) | None) => Err(wrong()),
        }
    }

    pub(crate) fn wrap_to(&self) -> WrapTo<'_> {
        match self {
            Self::Derived(key) => WrapTo::Key(key),
            Self::Own(key) => WrapTo::Public(key),
        }
    }
}

/// The key id that a member's wraps name, told without any secret.
pub(crate) fn kid(generation: u64, member: &RegisteredMember) -> Result<Kid, SealError> {
    match (member.custody, member.key_hash.as_deref()) {
        (Custody::Brokered, _) => Ok(Kid::Member(generation)),
        (Custody::Own, Some(hash)) => {
            let text = format!("pub/SHA256:{}", base64(&decode32("keyHash", hash)?).trim_end_matches('='));
            Ok(Kid::parse(&text)?)
        }
        (Custody::Own, None) => Err(SealError::WrongMemberKey(member.name.clone())),
    }
}
