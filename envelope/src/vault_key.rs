//! Vault keys wrapped for members: `VaultMember.status.wrappedKeys`.

use crate::encoding::{number, unwrap, wrap};
use crate::error::EnvelopeError;
use crate::signed;
use coffer_crds::WrappedVaultKey;
use coffer_keys::VaultId;
use coffer_keys::context::VaultKeyContext;
use coffer_keys::hierarchy::VaultKey;
use coffer_keys::signature::{CheckedSignatures, VaultPublicKey, VaultSigningKey};
use coffer_keys::wrap::{OpenWith, WrapTo};
use rand_core::CryptoRng;

/// Wraps and signs.
pub(crate) fn seal(
    key: &VaultKey,
    epoch: i64,
    to: WrapTo<'_>,
    context: &VaultKeyContext<'_>,
    signing: &VaultSigningKey,
    rng: &mut impl CryptoRng,
) -> WrappedVaultKey {
    let wrapped = key.wrap_for_member(to, context, rng);
    let message = signed::vault_key(context.vault_id, context.epoch, context.name, context.uid, &wrapped);
    WrappedVaultKey { epoch, wrap: wrap(&wrapped), signature: signed::encode(&signing.sign(&message)) }
}

/// Checks the signature without opening.
pub(crate) fn verify(
    vault_id: VaultId,
    name: &str,
    uid: &str,
    signing_key: &VaultPublicKey,
    key: &WrappedVaultKey,
    checked: &CheckedSignatures,
) -> Result<(), EnvelopeError> {
    let message =
        signed::vault_key(vault_id, number("wrappedKeys.epoch", key.epoch)?, name, uid, &unwrap(&key.wrap)?);
    Ok(checked.verify(signing_key, &message, &signed::signature(&key.signature)?)?)
}

/// Opens and checks the signature. Success makes the claimed signing key authentic: it is part of the context.
pub(crate) fn open(
    with: OpenWith<'_>,
    vault_id: VaultId,
    (name, uid): (&str, &str),
    signing_key: &VaultPublicKey,
    key: &WrappedVaultKey,
    checked: &CheckedSignatures,
) -> Result<VaultKey, EnvelopeError> {
    let epoch = number("wrappedKeys.epoch", key.epoch)?;
    let context = VaultKeyContext { vault_id, epoch, signing_key, name, uid };
    let opened = VaultKey::open_as_member(with, &context, &unwrap(&key.wrap)?)?;
    verify(vault_id, name, uid, signing_key, key, checked)?;
    Ok(opened)
}
