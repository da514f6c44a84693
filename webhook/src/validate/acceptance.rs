//! An acceptance is made once and for all, so what the operator would refuse is refused before it is stored.

use coffer_crds::{Custody, CustodyPolicy, Subject, Vault, VaultMember, VaultMemberStatus, Verb};
use coffer_keys::{
    VaultId,
    acceptance::{Acceptance, ProofError},
    hierarchy::SubjectRef,
    member_key::MemberPublicKey,
};
use coffer_policy::roles::role;

use crate::refusal::Refusal;

/// Checks the key of a new acceptance, and the proof where the key can sign. `status` is the stored one: what is sent may
/// claim any. What a key that cannot sign proves, only
/// the operator can check: the answer to `status.challenge`.
///
/// # Errors
/// [`Refusal::AcceptField`], or [`Refusal::AwaitReadiness`] while the vault has no id yet.
pub fn check(member: &VaultMember, status: &VaultMemberStatus, vault: &Vault) -> Result<(), Refusal> {
    let Some(acceptance) = &member.spec.acceptance else { return Ok(()) };
    let vault_name = vault.metadata.name.as_deref().unwrap_or_default();
    let refuse = |problem: String| Err(Refusal::field("spec.acceptance.publicKey", problem));
    let Some(text) = &acceptance.public_key else {
        if member.spec.key_fingerprint.is_some() {
            return refuse(String::from("the invite pins a key (spec.keyFingerprint): accept with that one"));
        }
        return match vault.spec.custody {
            CustodyPolicy::Any => Ok(()),
            CustodyPolicy::SelfOnly => refuse(format!(
                "vault '{vault_name}' takes only members with a key of their own (spec.custody: SelfOnly): bring one"
            )),
        };
    };
    let key = match MemberPublicKey::parse(text) {
        Ok(key) => key,
        Err(error) => return refuse(error.to_string()),
    };
    if subject(member).is_none() {
        return refuse(String::from(NO_KEY));
    }
    if role(&vault.spec, &member.spec.role).is_some_and(|role| !role.allows(Verb::Read)) {
        return refuse(format!(
            "a member with a key of its own can read, and role '{}' does not allow 'read': accept without a key",
            member.spec.role
        ));
    }
    let pinned = member.spec.key_fingerprint.as_deref();
    if pinned.is_some_and(|pinned| pinned != key.fingerprint().to_string()) {
        return refuse(format!(
            "is the key {}, and the invite pins another (spec.keyFingerprint)",
            key.fingerprint()
        ));
    }
    let accepted = self::acceptance(member, vault, &key)?;
    match accepted.verify(acceptance.proof.as_deref().unwrap_or_default()) {
        Ok(()) => Ok(()),
        Err(ProofError::CannotSign) => match acceptance.proof {
            // Nobody can know the answer to a challenge that was not asked yet.
            Some(_) if status.challenge.is_none() => Err(Refusal::field(
                "spec.acceptance.proof",
                "this key cannot sign: give publicKey alone, then answer status.challenge",
            )),
            Some(_) | None => Ok(()),
        },
        Err(error @ (ProofError::Malformed(_) | ProofError::DoesNotHold)) => {
            Err(Refusal::field("spec.acceptance.proof", error.to_string()))
        }
    }
}

/// Checks a change of keys: both are Ed25519 keys that signed the acceptance of the new one, and the old one is in force.
///
/// # Errors
/// As [`check`].
pub fn check_change(member: &VaultMember, status: &VaultMemberStatus, vault: &Vault) -> Result<(), Refusal> {
    let Some(change) = &member.spec.key_change else { return Ok(()) };
    let new = parse("spec.keyChange.publicKey", &change.public_key)?;
    if status.key_fingerprint.as_deref() == Some(new.fingerprint().to_string().as_str()) {
        return Err(Refusal::field("spec.keyChange.publicKey", "is the key in force already: give another"));
    }
    let accepted = acceptance(member, vault, &new)?;
    let signed = |field: &str, by: &MemberPublicKey, proof: &str| {
        accepted.verify_by(by, proof).map_err(|error| {
            let text = match error {
                ProofError::CannotSign => String::from(
                    "only Ed25519 keys, which sign, can be changed: ask to be removed and invited again",
                ),
                ProofError::Malformed(_) | ProofError::DoesNotHold => error.to_string(),
            };
            Refusal::field(field, text)
        })
    };
    signed("spec.keyChange.proof", &new, &change.proof)?;
    let old = change
        .old_public_key
        .as_deref()
        .map(|text| parse("spec.keyChange.oldPublicKey", text))
        .transpose()?;
    match (&old, status.custody) {
        (Some(old), Some(Custody::Own)) => {
            if status.key_fingerprint.as_deref() != Some(old.fingerprint().to_string().as_str()) {
                return Err(Refusal::field(
                    "spec.keyChange.oldPublicKey",
                    "is not the key in force (status.keyFingerprint)",
                ));
            }
            signed("spec.keyChange.oldProof", old, change.old_proof.as_deref().unwrap_or_default())
        }
        (None, Some(Custody::Own)) => Err(Refusal::field(
            "spec.keyChange.oldPublicKey",
            "is required, with oldProof: the member has a key, which must vouch for the next",
        )),
        (Some(_), Some(Custody::Brokered) | None) => {
            Err(Refusal::field("spec.keyChange.oldPublicKey", "must be left out: the member has no key"))
        }
        (None, Some(Custody::Brokered) | None) => Ok(()),
    }
}

/// What is signed for a key that a member brings.
fn acceptance<'a>(
    member: &'a VaultMember,
    vault: &Vault,
    public_key: &'a MemberPublicKey,
) -> Result<Acceptance<'a>, Refusal> {
    let id = vault.status.as_ref().and_then(|status| status.vault_id.as_deref());
    let Some(vault_id) = id.and_then(|id| VaultId::parse(id).ok()) else {
        let name = vault.metadata.name.as_deref().unwrap_or_default();
        return Err(Refusal::AwaitReadiness(format!("Vault '{name}' is not ready, it has no id yet")));
    };
    Ok(Acceptance {
        vault_id,
        namespace: member.metadata.namespace.as_deref().unwrap_or_default(),
        name: member.metadata.name.as_deref().unwrap_or_default(),
        uid: member.metadata.uid.as_deref().unwrap_or_default(),
        subject: subject(member).ok_or_else(|| Refusal::field("spec.subject", NO_KEY))?,
        public_key,
    })
}

const NO_KEY: &str = "ServiceAccounts and groups hold no key of their own: accept without one";

/// The subject as it is signed; `None` for those that hold no key.
fn subject(member: &VaultMember) -> Option<SubjectRef<'_>> {
    match &member.spec.subject {
        Subject::User(user) => Some(SubjectRef::User(&user.name)),
        Subject::External(_) => Some(SubjectRef::External),
        Subject::ServiceAccount(_) | Subject::Group(_) => None,
    }
}

fn parse(field: &str, text: &str) -> Result<MemberPublicKey, Refusal> {
    MemberPublicKey::parse(text).map_err(|error| Refusal::field(field, error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coffer_keys::member_key::{MemberKeyKind, MemberSecretKey};
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{Custodian, member, object, rng, user, vault};

    struct Invite {
        custodian: Custodian,
        key: MemberSecretKey,
    }

    impl Invite {
        fn new(kind: MemberKeyKind) -> Self {
            Self { custodian: Custodian::new(), key: MemberSecretKey::generate(kind, &mut rng()) }
        }

        fn public(&self) -> String {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.encode(self.key.public().as_bytes());
            match self.key.public().kind() {
                MemberKeyKind::Ed25519 => bytes,
                MemberKeyKind::X25519 => format!("x25519:{bytes}"),
                MemberKeyKind::XWing => format!("x-wing:{bytes}"),
            }
        }

        fn proof(&self, name: &str) -> String {
            let accepted = Acceptance {
                vault_id: self.custodian.public().0,
                namespace: "a",
                name,
                uid: &format!("uid-a-{name}"),
                subject: SubjectRef::User("carol"),
                public_key: self.key.public(),
            };
            accepted.sign(&self.key).unwrap_or_default()
        }

        /// Carol's signature for her changing to this invite's key.
        fn proof_by(&self, key: &MemberSecretKey) -> String {
            let accepted = Acceptance {
                vault_id: self.custodian.public().0,
                namespace: "a",
                name: "carol",
                uid: "uid-a-carol",
                subject: SubjectRef::User("carol"),
                public_key: self.key.public(),
            };
            accepted.sign(key).unwrap_or_default()
        }

        /// What is said when `carol`, of this status, changes to a key.
        fn change(&self, change: Value, status: Value) -> Result<(), String> {
            let mut spec = user("team", "carol", "member");
            spec["keyChange"] = change;
            let member = object::<VaultMember>(member("a", "carol", spec, "Active"));
            let status = serde_json::from_value(status).expect("a status");
            check_change(&member, &status, &self.vault(json!({}))).map_err(|refusal| refusal.to_string())
        }

        fn vault(&self, spec: Value) -> Arc<Vault> {
            object::<Vault>(vault("a", "team", spec, self.custodian.status()))
        }

        /// What is said when `carol` accepts with these, in a vault and under an invite changed by these.
        fn accept(&self, acceptance: Value, vault_spec: Value, invite: Value) -> Result<(), String> {
            self.answer(acceptance, json!({}), vault_spec, invite)
        }

        fn answer(
            &self,
            acceptance: Value,
            status: Value,
            vault_spec: Value,
            invite: Value,
        ) -> Result<(), String> {
            let mut spec = user("team", "carol", "member");
            spec["acceptance"] = acceptance;
            spec.as_object_mut().expect("an object").extend(invite.as_object().expect("an object").clone());
            let member = object::<VaultMember>(member("a", "carol", spec, "Invited"));
            let status: VaultMemberStatus = serde_json::from_value(status).expect("a status");
            let vault = self.vault(vault_spec);
            check(&member, &status, &vault).map_err(|refusal| refusal.to_string())
        }
    }

    #[test]
    fn a_signature_by_the_key_over_this_very_invite_is_accepted_and_no_other() {
        let invite = Invite::new(MemberKeyKind::Ed25519);
        let with = |proof: String| json!({"publicKey": invite.public(), "proof": proof});
        assert_eq!(invite.accept(with(invite.proof("carol")), json!({}), json!({})), Ok(()));
        for proof in
            [invite.proof("dave"), Invite::new(MemberKeyKind::Ed25519).proof("carol"), String::from("x")]
        {
            let text = invite.accept(with(proof), json!({}), json!({})).expect_err("another's");
            assert!(text.starts_with("spec.acceptance.proof: proof "), "{text}");
        }
    }

    #[test]
    fn a_key_that_cannot_sign_comes_alone_and_then_answers_the_challenge() {
        for kind in [MemberKeyKind::X25519, MemberKeyKind::XWing] {
            let invite = Invite::new(kind);
            let alone = json!({"publicKey": invite.public()});
            assert_eq!(invite.accept(alone, json!({}), json!({})), Ok(()));
            let answer = json!({"publicKey": invite.public(), "proof": "bm90aGluZw=="});
            let text = invite.accept(answer.clone(), json!({}), json!({})).expect_err("nothing was asked");
            assert!(text.contains("give publicKey alone, then answer status.challenge"), "{text}");
            let asked = json!({"challenge": "…"});
            assert_eq!(invite.answer(answer, asked, json!({}), json!({})), Ok(()), "the operator's to check");
        }
        let signs = Invite::new(MemberKeyKind::Ed25519);
        let text =
            signs.accept(json!({"publicKey": signs.public()}), json!({}), json!({})).expect_err("unsigned");
        assert!(text.starts_with("spec.acceptance.proof: proof is not"), "{text}");
    }

    /// DESIGN §6: anybody may deliver the proof of a pinned key, and spoils nothing by delivering another's.
    #[test]
    fn an_external_invite_that_pins_a_key_takes_no_other_one_of_whatever_kind() {
        for kind in [MemberKeyKind::X25519, MemberKeyKind::XWing] {
            let (pinned, other) = (Invite::new(kind), Invite::new(kind));
            let external = json!({
                "subject": {"external": {}}, "keyFingerprint": pinned.key.public().fingerprint().to_string(),
            });
            let asked = json!({"challenge": "…"});
            let answer = |by: &Invite| json!({"publicKey": by.public(), "proof": "bm90aGluZw=="});
            let alone = |by: &Invite| json!({"publicKey": by.public()});
            assert_eq!(pinned.accept(alone(&pinned), json!({}), external.clone()), Ok(()));
            for acceptance in [answer(&other), alone(&other), json!({})] {
                let said = pinned.answer(acceptance, asked.clone(), json!({}), external.clone());
                assert!(said.is_err_and(|text| text.contains("the invite pins")));
            }
        }
    }

    /// C5.
    #[test]
    fn a_change_of_keys_needs_the_signature_of_the_old_one_and_of_the_new() {
        let (new, old, other) = (
            Invite::new(MemberKeyKind::Ed25519),
            Invite::new(MemberKeyKind::Ed25519),
            Invite::new(MemberKeyKind::Ed25519),
        );
        let own = json!({"custody": "Self", "keyFingerprint": old.key.public().fingerprint().to_string()});
        let good = json!({
            "publicKey": new.public(), "proof": new.proof_by(&new.key),
            "oldPublicKey": old.public(), "oldProof": new.proof_by(&old.key),
        });
        assert_eq!(new.change(good.clone(), own.clone()), Ok(()));
        for (field, value, expected) in [
            ("proof", json!(new.proof_by(&other.key)), "spec.keyChange.proof: proof does not hold"),
            ("oldProof", json!(new.proof_by(&other.key)), "spec.keyChange.oldProof: proof does not hold"),
            ("oldProof", Value::Null, "spec.keyChange.oldProof: proof is not standard base64"),
            ("oldPublicKey", json!(other.public()), "spec.keyChange.oldPublicKey: is not the key in force"),
            ("oldPublicKey", Value::Null, "spec.keyChange.oldPublicKey: is required"),
            ("publicKey", json!(old.public()), "spec.keyChange.publicKey: is the key in force already"),
            ("publicKey", json!("x"), "spec.keyChange.publicKey: public key is in no known form"),
            (
                "publicKey",
                json!(Invite::new(MemberKeyKind::X25519).public()),
                "spec.keyChange.proof: only Ed25519 keys, which sign, can be changed",
            ),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let text = new.change(bad, own.clone()).expect_err(expected);
            assert!(text.starts_with(expected), "{text}");
        }
        let brought = json!({"publicKey": new.public(), "proof": new.proof_by(&new.key)});
        assert_eq!(new.change(brought, json!({"custody": "Brokered"})), Ok(()), "there was none");
        let text = new.change(good, json!({"custody": "Brokered"})).expect_err("there was none");
        assert!(text.starts_with("spec.keyChange.oldPublicKey: must be left out"), "{text}");
    }

    #[test]
    fn keys_that_would_be_refused_later_are_refused_before_they_are_stored() {
        let invite = Invite::new(MemberKeyKind::Ed25519);
        let good = json!({"publicKey": invite.public(), "proof": invite.proof("carol")});
        let use_only = json!({"roles": [{"name": "ci", "verbs": ["use"]}]});
        for (acceptance, vault, changed, expected) in [
            (
                json!({"publicKey": "x", "proof": "x"}),
                json!({}),
                json!({}),
                "spec.acceptance.publicKey: public key",
            ),
            (good.clone(), json!({}), json!({"keyFingerprint": "SHA256:other"}), "the invite pins another"),
            (json!({}), json!({}), json!({"keyFingerprint": "SHA256:other"}), "the invite pins a key"),
            (good.clone(), use_only, json!({"role": "ci"}), "role 'ci' does not allow 'read'"),
            (good, json!({}), json!({"subject": {"group": {"name": "devs"}}}), "hold no key of their own"),
            (
                json!({}),
                json!({"custody": "SelfOnly"}),
                json!({}),
                "takes only members with a key of their own",
            ),
        ] {
            let text = invite.accept(acceptance, vault, changed).expect_err(expected);
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(invite.accept(json!({}), json!({}), json!({})), Ok(()), "without a key: Brokered");
    }
}
