//! The signed messages: each decoded value in the order of `docs/format.md`.

use crate::encoding::{base64, decode, decode32, length, number, seconds, unwrap};
use crate::error::KeyringError;
use crate::register::subject_ref;
use coffer_crds::{
    Author, Custody, EnvelopeScope, EnvelopeSpec, EpochCause, IntakeKey, KeyringSpec, RegisteredMember,
    SlotRecipient,
};
use coffer_keys::intake::IntakePublicKey;
use coffer_keys::signature::{Message, Signature, SignatureKind, VaultPublicKey};
use coffer_keys::wrap::Wrapped;
use coffer_keys::{FormatError, VaultId};

/// Reads a signature in base64.
pub(crate) fn signature(text: &str) -> Result<Signature, FormatError> {
    Signature::from_slice(&decode("signature", text)?)
}

/// A signature as the kinds write it.
pub(crate) fn encode(signature: &Signature) -> String {
    base64(signature.as_bytes())
}

/// Everything in a Keyring but its signature.
pub(crate) fn keyring(spec: &KeyringSpec) -> Result<Message, FormatError> {
    let mut message = Message::new(SignatureKind::Keyring);
    message
        .bytes(VaultId::parse(&spec.vault_id)?.as_bytes())
        .text(&spec.vault_uid)
        .number(number("revision", spec.revision)?)
        .number(number("rootGeneration", spec.root_generation)?)
        .number(number("brokeredGeneration", spec.brokered_generation)?)
        .number(length(spec.intake_generations.len()));
    for intake in &spec.intake_generations {
        message
            .number(number("intakeGenerations.root", intake.root)?)
            .number(number("intakeGenerations.generation", intake.generation)?);
    }
    message
        .wrap(&unwrap(&spec.signing_key)?)
        .number(number("current", spec.current)?)
        .number(number("restoredEpoch", spec.restored_epoch.unwrap_or(0))?)
        .number(length(spec.epochs.len()));
    for epoch in &spec.epochs {
        message
            .number(number("epochs.epoch", epoch.epoch)?)
            .time(seconds("epochs.createdAt", epoch.created_at.0)?)
            .wrap(&unwrap(&epoch.wrapped)?)
            .number(length(epoch.causes.len()));
        for EpochCause { reason, member } in &epoch.causes {
            message
                .text(reason)
                .optional(member.as_ref().map(|member| member.name.as_bytes()))
                .optional(member.as_ref().map(|member| member.uid.as_bytes()));
        }
    }
    message.number(length(spec.members.len()));
    for member in &spec.members {
        registered(&mut message, member)?;
    }
    Ok(message)
}

fn registered(message: &mut Message, member: &RegisteredMember) -> Result<(), FormatError> {
    let key_hash = member.key_hash.as_deref().map(|hash| decode32("members.keyHash", hash)).transpose()?;
    message
        .text(&member.name)
        .text(&member.uid)
        .subject(&subject_ref(&member.subject)?)
        .optional(member.subject_uid.as_deref().map(str::as_bytes))
        .text(&member.role)
        .text(match member.custody {
            Custody::Own => "Self",
            Custody::Brokered => "Brokered",
        })
        .optional(key_hash.as_ref().map(<[u8; 32]>::as_slice))
        .time(seconds("members.acceptedAt", member.accepted_at.0)?)
        .number(length(member.former_uids.len()));
    for uid in &member.former_uids {
        message.text(uid);
    }
    Ok(())
}

/// Everything in an Envelope but its signature.
pub(crate) fn envelope(spec: &EnvelopeSpec) -> Result<Message, FormatError> {
    let mut message = Message::new(SignatureKind::Envelope);
    message
        .number(u64::from(spec.v))
        .text(&spec.suite)
        .bytes(VaultId::parse(&spec.vault_id)?.as_bytes())
        .text(&spec.connection.namespace)
        .text(&spec.connection.name)
        .text(&spec.connection.uid)
        .text(&spec.owner.name)
        .text(&spec.owner.uid)
        .number(number("version", spec.version)?)
        .number(number("revision", spec.revision)?)
        .number(number("epoch", spec.epoch)?);
    match &spec.members {
        EnvelopeScope::All(_) => {
            message.text("*");
        }
        EnvelopeScope::Listed(members) => {
            message.text("listed").number(length(members.len()));
            for member in members {
                message.text(&member.name).text(&member.uid);
            }
        }
    }
    message
        .bytes(&decode32("membersDigest", &spec.members_digest)?)
        .bytes(&decode32("commitment", &spec.commitment)?)
        .number(length(spec.items.len()));
    for (name, item) in &spec.items {
        message
            .text(name)
            .bytes(&decode("items.ct", &item.ct)?)
            .bytes(&decode32("items.sealedSHA256", &item.sealed_sha256)?);
    }
    message.number(length(spec.slots.len()));
    for slot in &spec.slots {
        message
            .text(recipient(slot.to))
            .optional(slot.name.as_deref().map(str::as_bytes))
            .optional(slot.uid.as_deref().map(str::as_bytes))
            .wrap(&unwrap(&slot.wrap)?);
    }
    envelope_notes(&mut message, spec)?;
    Ok(message)
}

fn envelope_notes(message: &mut Message, spec: &EnvelopeSpec) -> Result<(), FormatError> {
    message.time(seconds("createdAt", spec.created_at.0)?).text(&spec.created_by);
    author(message, &spec.writer);
    message.number(length(spec.history.len()));
    for entry in &spec.history {
        message
            .number(number("history.version", entry.version)?)
            .time(seconds("history.at", entry.at.0)?)
            .text(&entry.writer);
    }
    message.number(length(spec.advised.len()));
    for advised in &spec.advised {
        message.text(&advised.member).text(&advised.reason).time(seconds("advised.at", advised.at.0)?);
    }
    Ok(())
}

fn author(message: &mut Message, author: &Author) {
    message
        .text(&author.username)
        .optional(author.uid.as_deref().map(str::as_bytes))
        .number(length(author.groups.len()));
    for group in &author.groups {
        message.text(group);
    }
}

fn recipient(to: SlotRecipient) -> &'static str {
    match to {
        SlotRecipient::Vault => "vault",
        SlotRecipient::Custodian => "custodian",
        SlotRecipient::Member => "member",
    }
}

/// A vault key wrapped for a member.
pub(crate) fn vault_key(vault_id: VaultId, epoch: u64, name: &str, uid: &str, wrapped: &Wrapped) -> Message {
    let mut message = Message::new(SignatureKind::VaultKey);
    message.bytes(vault_id.as_bytes()).number(epoch).text(name).text(uid).wrap(wrapped);
    message
}

/// A vault's intake key.
pub(crate) fn intake(vault_id: VaultId, key: &IntakePublicKey) -> Message {
    let mut message = Message::new(SignatureKind::IntakeKey);
    message.bytes(vault_id.as_bytes()).text(&key.kid().to_string()).bytes(key.as_bytes());
    message
}

/// Reads `Vault.status.intakeKey` and checks that the vault's signing key vouches for it.
///
/// # Errors
/// [`KeyringError`] when a part has no known form or the signature is another's.
pub fn intake_public_key(
    vault_id: &VaultId,
    custodian_key: &VaultPublicKey,
    key: &IntakeKey,
) -> Result<IntakePublicKey, KeyringError> {
    let public = IntakePublicKey::parse(&key.kid, &key.public_key)?;
    custodian_key.verify(&intake(*vault_id, &public), &signature(&key.signature)?)?;
    Ok(public)
}

/// Checks that a vault's signing key vouches for a Keyring: for whoever holds no custodian key and has learned the
/// signing key otherwise, as the broker does from what it opened for a member.
///
/// # Errors
/// [`KeyringError`] when a part has no known form or the signature is another's.
pub fn verify_keyring(spec: &KeyringSpec, custodian_key: &VaultPublicKey) -> Result<(), KeyringError> {
    Ok(custodian_key.verify(&keyring(spec)?, &signature(&spec.signature)?)?)
}
