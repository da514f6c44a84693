//! An acceptance is made once and for all, so what the operator would refuse is refused before it is stored.

use coffer_crds::{CustodyPolicy, Subject, Vault, VaultMember, Verb};
use coffer_keys::{
    VaultId,
    acceptance::{Acceptance, ProofError},
    hierarchy::SubjectRef,
    member_key::MemberPublicKey,
};
use coffer_policy::roles::role;

use crate::refusal::Refusal;

/// Checks the key of a new acceptance, and the proof where the key can sign. What a key that cannot sign proves, only
/// the operator can check: the answer to `status.challenge`.
///
/// # Errors
/// [`Refusal::AcceptField`], or [`Refusal::AwaitReadiness`] while the vault has no id yet.
pub fn check(member: &VaultMember, vault: &Vault) -> Result<(), Refusal> {
    let Some(acceptance) = &member.spec.acceptance else { return Ok(()) };
    let vault_name = vault.metadata.name.as_deref().unwrap_or_default();
    let refuse = |problem: String| Err(Refusal::field("spec.acceptance.publicKey", problem));
    let Some(text) = &acceptance.public_key else {
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
    let subject = match &member.spec.subject {
        Subject::User(user) => SubjectRef::User(&user.name),
        Subject::External(_) => SubjectRef::External,
        Subject::ServiceAccount(_) | Subject::Group(_) => {
            return refuse(String::from(
                "ServiceAccounts and groups hold no key of their own: accept without one",
            ));
        }
    };
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
    let id = vault.status.as_ref().and_then(|status| status.vault_id.as_deref());
    let Some(vault_id) = id.and_then(|id| VaultId::parse(id).ok()) else {
        return Err(Refusal::AwaitReadiness(format!("Vault '{vault_name}' is not ready, it has no id yet")));
    };
    let accepted = Acceptance {
        vault_id,
        namespace: member.metadata.namespace.as_deref().unwrap_or_default(),
        name: member.metadata.name.as_deref().unwrap_or_default(),
        uid: member.metadata.uid.as_deref().unwrap_or_default(),
        subject,
        public_key: &key,
    };
    match accepted.verify(acceptance.proof.as_deref().unwrap_or_default()) {
        Ok(()) | Err(ProofError::CannotSign) => Ok(()),
        Err(error @ (ProofError::Malformed(_) | ProofError::DoesNotHold)) => {
            Err(Refusal::field("spec.acceptance.proof", error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
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

        /// What is said when `carol` accepts with these, in a vault and under an invite changed by these.
        fn accept(&self, acceptance: Value, vault_spec: Value, invite: Value) -> Result<(), String> {
            let mut spec = user("team", "carol", "member");
            spec["acceptance"] = acceptance;
            spec.as_object_mut().expect("an object").extend(invite.as_object().expect("an object").clone());
            let member = object::<VaultMember>(member("a", "carol", spec, "Invited"));
            let vault = object::<Vault>(vault("a", "team", vault_spec, self.custodian.status()));
            check(&member, &vault).map_err(|refusal| refusal.to_string())
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
    fn a_key_that_cannot_sign_is_the_operators_to_check() {
        for kind in [MemberKeyKind::X25519, MemberKeyKind::XWing] {
            let invite = Invite::new(kind);
            let acceptance = json!({"publicKey": invite.public(), "proof": "bm90aGluZw=="});
            assert_eq!(invite.accept(acceptance, json!({}), json!({})), Ok(()));
        }
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
