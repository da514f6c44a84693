//! Which key a member brings, how it proves that it holds it, and how it changes it.

use coffer_crds::{
    Custody, KeyChange, MemberPhase, RegisteredMember, Subject, VaultMember, VaultMemberStatus, Verb,
    conditions::reason,
};
use coffer_envelope::{KeyringError, OpenKeyring, key_hash, subject_ref};
use coffer_keys::{
    Kid,
    acceptance::{Acceptance, decode_challenge},
    member_key::{MemberKeyKind, MemberPublicKey},
};
use coffer_policy::{Caller, MemberView, identity::with_namespace, roles::role};
use kube::ResourceExt as _;
use rand_core::CryptoRng;

use super::register::Judge;
use crate::standing::Out;

/// What is said of a key that another member holds.
pub(super) const ANOTHERS: &str = "this key is another member's; bring one of your own";
const HOW_TO_PROVE: &str =
    "the key cannot sign: open status.challenge with it, and give what it holds as spec.acceptance.proof";

/// Whether another member of the register has this entry's key.
pub(super) fn is_anothers<'a>(
    register: impl IntoIterator<Item = &'a RegisteredMember>,
    entry: &RegisteredMember,
) -> bool {
    let mut others = register.into_iter().filter(|other| other.name != entry.name);
    entry.key_hash.is_some() && others.any(|other| other.key_hash == entry.key_hash)
}

/// What `status.challenge` is to be: for a key that cannot sign and has not answered yet. What is there already and is
/// for this key stays: each one made is another text (T40). One of a vault of this name that is gone is not told apart by
/// that: a new vault forgets them all ([`forgotten`]).
pub(super) fn challenge(
    keys: &OpenKeyring,
    member: &VaultMember,
    standing: &Out,
    before: Option<&str>,
    rng: &mut impl CryptoRng,
) -> Option<String> {
    let asked = member.spec.acceptance.as_ref().filter(|_| standing.reason == reason::PROOF_REQUIRED)?;
    let key = MemberPublicKey::parse(asked.public_key.as_deref()?).ok()?;
    let is_for_key = |text: &&str| {
        decode_challenge(text).is_ok_and(|wrapped| *wrapped.kid() == Kid::Public(key.fingerprint()))
    };
    if let Some(before) = before.filter(is_for_key) {
        return Some(String::from(before));
    }
    let subject = with_namespace(&member.spec.subject, &member.namespace().unwrap_or_default());
    keys.challenge(&acceptance_of(keys, member, &subject, &key).ok()?, rng)
}

/// The members that still show what a vault of this name before this one asked of them. No proof answers that any more,
/// and nobody but the key's holder can see whose question it is: it goes before there is a Keyring to ask under.
pub(super) fn forgotten<'a>(
    members: impl Iterator<Item = &'a VaultMember>,
) -> impl Iterator<Item = (VaultMember, VaultMemberStatus)> {
    members.filter_map(|member| {
        let status = member.status.clone().filter(|status| status.challenge.is_some())?;
        let without = VaultMemberStatus { challenge: None, last_used_at: None, ..status };
        Some((member.clone(), without))
    })
}

/// What a member signs, or is challenged about, for a key that it brings.
fn acceptance_of<'a>(
    keys: &OpenKeyring,
    member: &'a VaultMember,
    subject: &'a Subject,
    public_key: &'a MemberPublicKey,
) -> Result<Acceptance<'a>, KeyringError> {
    Ok(Acceptance {
        vault_id: keys.vault_id(),
        namespace: member.metadata.namespace.as_deref().unwrap_or_default(),
        name: member.metadata.name.as_deref().unwrap_or_default(),
        uid: member.metadata.uid.as_deref().unwrap_or_default(),
        subject: subject_ref(subject)?,
        public_key,
    })
}

impl Judge<'_> {
    /// The public key of an acceptance, if everything about it holds. The register's own key needs no proof again.
    pub(super) fn brought_key(
        &self,
        member: &VaultMember,
        role_name: &str,
        recorded: Option<&RegisteredMember>,
        views: &[MemberView],
    ) -> Result<MemberPublicKey, Out> {
        let phase = if recorded.is_some() { MemberPhase::Active } else { MemberPhase::Invited };
        let out = |reason, message: String| Out::new(phase, reason, message);
        let acceptance = member.spec.acceptance.clone().unwrap_or_default();
        let text = acceptance.public_key.unwrap_or_default();
        let key =
            MemberPublicKey::parse(&text).map_err(|error| out(reason::KEY_REFUSED, error.to_string()))?;
        let recorded_hash = recorded.and_then(|entry| entry.key_hash.as_deref());
        if recorded_hash == Some(key_hash(&key).as_str()) {
            return Ok(key);
        }
        if recorded_hash.is_some() {
            let message =
                "acceptance holds another key than the one accepted; change keys through spec.keyChange";
            return Err(out(reason::KEY_REFUSED, String::from(message)));
        }
        let namespace = member.namespace().unwrap_or_default();
        let subject = with_namespace(&member.spec.subject, &namespace);
        if matches!(subject, Subject::ServiceAccount(_) | Subject::Group(_)) {
            return Err(out(reason::KEY_REFUSED, String::from(HOLDS_NONE)));
        }
        if role(&self.facts.vault.spec, role_name).is_some_and(|role| !role.allows(Verb::Read)) {
            return Err(out(reason::KEY_REFUSED, cannot_read(role_name)));
        }
        let pinned = member.spec.key_fingerprint.as_deref();
        if pinned.is_some_and(|pinned| pinned != key.fingerprint().to_string()) {
            let message = format!("the invite pins another key than {}", key.fingerprint());
            return Err(out(reason::KEY_REFUSED, message));
        }
        let by = acceptance.by.as_ref().map(Caller::from).unwrap_or_default();
        let view = views.iter().find(|view| view.name == member.name_any());
        let delivered = matches!(subject, Subject::External(_)) && pinned.is_some();
        if !delivered && !view.is_some_and(|view| view.is_of(&by)) {
            return Err(out(reason::ACCEPTANCE_REFUSED, String::from("whoever accepted is not the subject")));
        }
        let accepted = acceptance_of(self.keys, member, &subject, &key)
            .map_err(|error| out(reason::INVALID_SPEC, error.to_string()))?;
        let Some(proof) = acceptance.proof else {
            return Err(out(reason::PROOF_REQUIRED, String::from(HOW_TO_PROVE)));
        };
        match (self.keys.check_proof(&accepted, &proof), key.kind()) {
            (Ok(()), _) => Ok(key),
            (Err(error), MemberKeyKind::Ed25519) => Err(out(reason::ACCEPTANCE_REFUSED, error.to_string())),
            // Admission cannot check this answer, so one that is wrong says nothing about whoever holds the key.
            (Err(error), MemberKeyKind::X25519 | MemberKeyKind::XWing) => {
                Err(out(reason::PROOF_REQUIRED, format!("spec.acceptance.proof: {error}; {HOW_TO_PROVE}")))
            }
        }
    }

    /// The key that a registered member has or changes to; `None` for one without. Else why what it asks for is not done.
    pub(super) fn key_of_registered(
        &self,
        member: &VaultMember,
        role_name: &str,
        entry: &RegisteredMember,
        views: &[MemberView],
    ) -> Result<Option<MemberPublicKey>, Out> {
        if let Some(change) = &member.spec.key_change {
            return self.changed_key(member, change, role_name, entry, views).map(Some);
        }
        match &member.spec.acceptance {
            Some(acceptance) if acceptance.public_key.is_some() => {
                self.brought_key(member, role_name, Some(entry), views).map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// The key of `spec.keyChange`, if the old one vouches for it and it for itself. Without an old one it is the subject
    /// who vouches, by having written it. The register's own key needs no proof again.
    fn changed_key(
        &self,
        member: &VaultMember,
        change: &KeyChange,
        role_name: &str,
        entry: &RegisteredMember,
        views: &[MemberView],
    ) -> Result<MemberPublicKey, Out> {
        let refused = |message: String| Out::new(MemberPhase::Active, reason::KEY_REFUSED, message);
        let parse = |field: &str, text: &str| {
            MemberPublicKey::parse(text).map_err(|error| refused(format!("spec.keyChange.{field}: {error}")))
        };
        let key = parse("publicKey", &change.public_key)?;
        let next = RegisteredMember { key_hash: Some(key_hash(&key)), ..entry.clone() };
        if entry.key_hash == next.key_hash {
            return Ok(key);
        }
        if is_anothers(self.keys.members(), &next) {
            return Err(refused(String::from(ANOTHERS)));
        }
        if role(&self.facts.vault.spec, role_name).is_some_and(|role| !role.allows(Verb::Read)) {
            return Err(refused(cannot_read(role_name)));
        }
        let subject = with_namespace(&member.spec.subject, &member.namespace().unwrap_or_default());
        if matches!(subject, Subject::ServiceAccount(_) | Subject::Group(_)) {
            return Err(refused(String::from(HOLDS_NONE)));
        }
        let accepted =
            acceptance_of(self.keys, member, &subject, &key).map_err(|error| refused(error.to_string()))?;
        self.keys
            .check_proof(&accepted, &change.proof)
            .map_err(|error| refused(format!("spec.keyChange.proof: {error}")))?;
        match entry.custody {
            Custody::Own => {
                let old = parse("oldPublicKey", change.old_public_key.as_deref().unwrap_or_default())?;
                if entry.key_hash.as_deref() != Some(key_hash(&old).as_str()) {
                    return Err(refused(String::from(
                        "spec.keyChange.oldPublicKey: is not the key in force",
                    )));
                }
                accepted
                    .verify_by(&old, change.old_proof.as_deref().unwrap_or_default())
                    .map_err(|error| refused(format!("spec.keyChange.oldProof: {error}")))?;
            }
            Custody::Brokered => {
                let pinned = member.spec.key_fingerprint.as_deref();
                if pinned.is_some_and(|pinned| pinned != key.fingerprint().to_string()) {
                    return Err(refused(format!("the invite pins another key than {}", key.fingerprint())));
                }
                let by = member.spec.last_writer.as_ref().map(Caller::from).unwrap_or_default();
                let view = views.iter().find(|view| view.name == member.name_any());
                if !view.is_some_and(|view| view.is_of(&by)) {
                    let message =
                        "spec.keyChange: only the subject can bring a key; the subject has to write one";
                    return Err(refused(String::from(message)));
                }
            }
        }
        Ok(key)
    }
}

const HOLDS_NONE: &str = "ServiceAccounts and groups hold no key of their own; accept without one";

fn cannot_read(role_name: &str) -> String {
    format!("a member with a key of its own can read; role '{role_name}' does not allow 'read'")
}

#[cfg(test)]
mod tests;
