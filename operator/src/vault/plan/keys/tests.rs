#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_keys::{
    hierarchy::SubjectRef,
    member_key::{MemberKeyKind, MemberSecretKey},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    context::rng,
    world::{World, condition, main_vault, ready_of_member, ready_of_vault},
};

/// Vault `main` of alice, and bob, invited as member.
fn invited() -> World {
    let mut world = World::with_vault();
    world.invite("bob", json!({"user": {"name": "bob"}}), "member", "alice");
    world.settle();
    assert_eq!(ready_of_member(&world.member_status("bob")), ("False", "Invited"));
    world
}

fn secret(kind: MemberKeyKind) -> MemberSecretKey {
    MemberSecretKey::generate(kind, &mut rng())
}

fn public(secret: &MemberSecretKey) -> String {
    let bytes = STANDARD.encode(secret.public().as_bytes());
    match secret.public().kind() {
        MemberKeyKind::Ed25519 => bytes,
        MemberKeyKind::X25519 => format!("x25519:{bytes}"),
        MemberKeyKind::XWing => format!("x-wing:{bytes}"),
    }
}

/// Bob's signature over his acceptance of `key`, or his answer to the challenge.
fn with_acceptance<T>(world: &World, key: &MemberPublicKey, of: impl FnOnce(&Acceptance<'_>) -> T) -> T {
    let (keys, member) = (world.keys(), world.member("bob"));
    of(&Acceptance {
        vault_id: keys.vault_id(),
        namespace: "team-a",
        name: "bob",
        uid: member.metadata.uid.as_deref().unwrap(),
        subject: SubjectRef::User("bob"),
        public_key: key,
    })
}

fn signed(world: &World, key: &MemberSecretKey, by: &MemberSecretKey) -> String {
    with_acceptance(world, key.public(), |acceptance| acceptance.sign(by).unwrap())
}

fn accept(world: &mut World, mut acceptance: Value) {
    acceptance["by"] = json!({"username": "bob"});
    world.edit_member("bob", "bob", |member| {
        member.spec.acceptance = serde_json::from_value(acceptance).unwrap();
    });
    world.settle();
}

fn change(world: &mut World, by: &str, key_change: Value) {
    world.edit_member("bob", by, |member| {
        member.spec.key_change = serde_json::from_value(key_change).unwrap();
    });
    world.settle();
}

/// Whether bob is Active, and everything is wrapped to this key.
fn is_in_force(world: &World, key: &MemberSecretKey) -> bool {
    let status = world.member_status("bob");
    status.phase == Some(MemberPhase::Active)
        && status.custody == Some(Custody::Own)
        && status.key_fingerprint == Some(key.public().fingerprint().to_string())
        && !status.wrapped_keys.is_empty()
        && status
            .wrapped_keys
            .iter()
            .all(|wrapped| wrapped.wrap.kid == Kid::Public(key.public().fingerprint()).to_string())
}

#[test]
fn a_member_with_a_key_of_its_own_is_wrapped_to_that_key_once_the_proof_holds() {
    let mut world = invited();
    let key = secret(MemberKeyKind::Ed25519);
    let proof = signed(&world, &key, &key);
    let wrong = proof.replace(&proof[..4], "AAAA");
    accept(&mut world, json!({"publicKey": public(&key), "proof": wrong}));
    assert_eq!(ready_of_member(&world.member_status("bob")), ("False", "AcceptanceRefused"));
    accept(&mut world, json!({"publicKey": public(&key), "proof": proof}));
    assert!(is_in_force(&world, &key));
}

/// C3: nothing is wrapped before the answer, and the challenge is written once (T40).
#[test]
fn a_key_that_cannot_sign_is_challenged_and_wrapped_to_once_it_answered() {
    for kind in [MemberKeyKind::X25519, MemberKeyKind::XWing] {
        let mut world = invited();
        let key = secret(kind);
        accept(&mut world, json!({"publicKey": public(&key)}));
        let status = world.member_status("bob");
        assert_eq!(ready_of_member(&status), ("False", "ProofRequired"));
        assert_eq!((status.phase, status.wrapped_keys.len()), (Some(MemberPhase::Invited), 0));
        assert!(world.keys().member("bob").is_none());
        world.pass(1);
        assert_eq!(world.settle(), 0, "the same challenge stays");
        let challenge = decode_challenge(&status.challenge.unwrap()).unwrap();
        let answer = with_acceptance(&world, key.public(), |acceptance| {
            assert!(acceptance.answer(&secret(kind), &challenge).is_err(), "another's key opens nothing");
            acceptance.answer(&key, &challenge).unwrap()
        });
        for wrong in [STANDARD.encode([0; 32]), String::from("x")] {
            accept(&mut world, json!({"publicKey": public(&key), "proof": wrong}));
            let status = world.member_status("bob");
            assert_eq!(
                ready_of_member(&status),
                ("False", "ProofRequired"),
                "whoever answered, it is asked still"
            );
            assert!(condition(&status.conditions, "Ready").message.starts_with("spec.acceptance.proof: "));
            assert_eq!(decode_challenge(&status.challenge.unwrap()).unwrap().kid(), challenge.kid());
            assert!(world.keys().member("bob").is_none());
        }
        accept(&mut world, json!({"publicKey": public(&key), "proof": answer}));
        assert!(is_in_force(&world, &key));
        assert_eq!(world.member_status("bob").challenge, None);
    }
}

#[test]
fn an_invite_whose_challenge_is_not_answered_expires_like_any_other() {
    let mut world = invited();
    accept(&mut world, json!({"publicKey": public(&secret(MemberKeyKind::X25519))}));
    world.pass(49);
    world.settle();
    let status = world.member_status("bob");
    assert_eq!((status.phase, status.challenge), (Some(MemberPhase::Expired), None));
}

/// The VaultMember of somebody that no operator made outlives the Vault; its challenge was made for another vault id.
#[test]
fn a_vault_made_again_under_the_same_name_asks_anew() {
    let mut world = invited();
    let key = secret(MemberKeyKind::X25519);
    accept(&mut world, json!({"publicKey": public(&key)}));
    let stale = world.member_status("bob").challenge.unwrap();
    world.delete(|caches| &caches.vaults, &main_vault());
    world.add_vault(json!({"owners": [{"user": {"name": "alice"}}]}), "alice");
    world.settle();
    let challenge = world.member_status("bob").challenge.unwrap();
    let answer = |text: &str| {
        let challenge = decode_challenge(text).unwrap();
        with_acceptance(&world, key.public(), |acceptance| acceptance.answer(&key, &challenge).ok())
    };
    assert!(answer(&stale).is_none());
    let proof = answer(&challenge).unwrap();
    accept(&mut world, json!({"publicKey": public(&key), "proof": proof}));
    assert!(is_in_force(&world, &key));
}

#[test]
fn another_key_is_challenged_anew() {
    let mut world = invited();
    let keys = [secret(MemberKeyKind::X25519), secret(MemberKeyKind::X25519)];
    let asked = keys.map(|key| {
        accept(&mut world, json!({"publicKey": public(&key)}));
        world.member_status("bob").challenge.unwrap()
    });
    assert_ne!(asked[0], asked[1]);
}

/// C5: both keys vouch, everything is wrapped anew, and whoever has the old one is not to have the next vault key.
#[test]
fn a_member_changes_its_key_with_the_proof_of_both() {
    let mut world = invited();
    let (old, new) = (secret(MemberKeyKind::Ed25519), secret(MemberKeyKind::Ed25519));
    let proof = signed(&world, &old, &old);
    accept(&mut world, json!({"publicKey": public(&old), "proof": proof}));
    let good = json!({
        "publicKey": public(&new), "proof": signed(&world, &new, &new),
        "oldPublicKey": public(&old), "oldProof": signed(&world, &new, &old),
    });
    let stranger = secret(MemberKeyKind::Ed25519);
    for (field, value) in [
        ("proof", signed(&world, &new, &stranger)),
        ("proof", signed(&world, &old, &new)),
        ("oldProof", signed(&world, &new, &stranger)),
        ("oldProof", signed(&world, &old, &old)),
        ("oldPublicKey", public(&stranger)),
        ("publicKey", public(&stranger)),
        ("publicKey", String::from("x")),
    ] {
        let mut bad = good.clone();
        bad[field] = json!(value);
        change(&mut world, "bob", bad);
        let status = world.member_status("bob");
        assert_eq!(
            (status.phase, ready_of_member(&status)),
            (Some(MemberPhase::Active), ("False", "KeyRefused")),
            "{field}"
        );
        assert_eq!(
            status.key_fingerprint,
            Some(old.public().fingerprint().to_string()),
            "{field}: nothing is said of a key that is not in force"
        );
        assert!(
            status
                .wrapped_keys
                .iter()
                .all(|wrapped| wrapped.wrap.kid.contains(&old.public().fingerprint().to_string()))
        );
    }
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("oldProof");
    change(&mut world, "bob", without);
    assert_eq!(ready_of_member(&world.member_status("bob")), ("False", "KeyRefused"));

    change(&mut world, "bob", good);
    assert!(is_in_force(&world, &new));
    assert_eq!(world.keys().current(), 2);
    assert_eq!(world.keyring().spec.epochs[0].causes[0].reason, "KeyChanged");
    assert_eq!(world.settle(), 0);

    // And again: the key before the last has nothing to say any more.
    let third = secret(MemberKeyKind::Ed25519);
    let by = |world: &World, old: &MemberSecretKey| {
        json!({
            "publicKey": public(&third), "proof": signed(world, &third, &third),
            "oldPublicKey": public(old), "oldProof": signed(world, &third, old),
        })
    };
    let change_by_old = by(&world, &old);
    change(&mut world, "bob", change_by_old);
    assert_eq!(ready_of_member(&world.member_status("bob")), ("False", "KeyRefused"));
    let change_by_new = by(&world, &new);
    change(&mut world, "bob", change_by_new);
    assert!(is_in_force(&world, &third));
}

/// C5: a member that had none brings one; nobody else brings one for it.
#[test]
fn a_member_without_a_key_brings_one_itself() {
    let mut world = invited();
    accept(&mut world, json!({}));
    assert_eq!(world.member_status("bob").custody, Some(Custody::Brokered));
    let key = secret(MemberKeyKind::Ed25519);
    let brings = json!({"publicKey": public(&key), "proof": signed(&world, &key, &key)});
    change(&mut world, "alice", brings.clone());
    assert_eq!(ready_of_member(&world.member_status("bob")), ("False", "KeyRefused"));
    assert_eq!(world.member_status("bob").custody, Some(Custody::Brokered));
    change(&mut world, "bob", brings);
    assert!(is_in_force(&world, &key));
    let vault = world.vault().status.clone().unwrap();
    assert_eq!(ready_of_vault(&vault), ("True", "Available"));
}

/// C4: whoever has only the subject's login does not come in past the pin, nor later.
#[test]
fn a_pinned_invite_takes_no_acceptance_without_the_key() {
    let mut world = invited();
    let pinned = secret(MemberKeyKind::Ed25519);
    world.edit_member("bob", "alice", |member| {
        member.spec.key_fingerprint = Some(pinned.public().fingerprint().to_string());
    });
    accept(&mut world, json!({}));
    assert_eq!(ready_of_member(&world.member_status("bob")), ("False", "KeyRefused"));
    assert!(world.keys().member("bob").is_none());
    let proof = signed(&world, &pinned, &pinned);
    accept(&mut world, json!({"publicKey": public(&pinned), "proof": proof}));
    assert!(is_in_force(&world, &pinned));
}

/// C5: what lists a member is wrapped anew for the next key, and never for none.
#[test]
fn connections_that_list_a_member_follow_its_change_of_keys() {
    let mut world = invited();
    let (old, new) = (secret(MemberKeyKind::Ed25519), secret(MemberKeyKind::Ed25519));
    let proof = signed(&world, &old, &old);
    accept(&mut world, json!({"publicKey": public(&old), "proof": proof}));
    world.add_connection("github", Some(&["bob"]), &[("token", "1")], "alice");
    world.settle();
    let kids = |world: &World| -> Vec<String> {
        let envelope = world.envelope("github");
        let own = envelope.spec.slots.iter().filter(|slot| slot.name.as_deref() == Some("bob"));
        own.map(|slot| slot.wrap.kid.clone()).collect()
    };
    let kid = |key: &MemberSecretKey| Kid::Public(key.public().fingerprint()).to_string();
    assert_eq!(kids(&world), [kid(&old)]);
    let good = json!({
        "publicKey": public(&new), "proof": signed(&world, &new, &new),
        "oldPublicKey": public(&old), "oldProof": signed(&world, &new, &old),
    });
    change(&mut world, "bob", good);
    assert!(is_in_force(&world, &new));
    assert_eq!(kids(&world), [kid(&new)]);
}

#[test]
fn a_change_that_is_taken_back_leaves_the_key_in_force_known() {
    let mut world = invited();
    let (old, new) = (secret(MemberKeyKind::Ed25519), secret(MemberKeyKind::Ed25519));
    let proof = signed(&world, &old, &old);
    accept(&mut world, json!({"publicKey": public(&old), "proof": proof}));
    let bad = json!({
        "publicKey": public(&new), "proof": signed(&world, &new, &old),
        "oldPublicKey": public(&old), "oldProof": signed(&world, &new, &old),
    });
    change(&mut world, "bob", bad);
    assert_eq!(ready_of_member(&world.member_status("bob")), ("False", "KeyRefused"));
    world.edit_member("bob", "bob", |member| member.spec.key_change = None);
    world.settle();
    assert!(is_in_force(&world, &old));
}

#[test]
fn a_key_of_another_member_is_not_changed_to() {
    let mut world = invited();
    accept(&mut world, json!({}));
    let key = secret(MemberKeyKind::Ed25519);
    let proof = {
        let (keys, member) = (world.keys(), world.member("alice"));
        let acceptance = Acceptance {
            vault_id: keys.vault_id(),
            namespace: "team-a",
            name: "alice",
            uid: member.metadata.uid.as_deref().unwrap(),
            subject: SubjectRef::User("alice"),
            public_key: key.public(),
        };
        acceptance.sign(&key).unwrap()
    };
    world.edit_member("alice", "alice", |member| {
        let change = json!({"publicKey": public(&key), "proof": proof});
        member.spec.key_change = serde_json::from_value(change).unwrap();
    });
    world.settle();
    assert_eq!(world.member_status("alice").custody, Some(Custody::Own));
    let copied = json!({"publicKey": public(&key), "proof": signed(&world, &key, &key)});
    change(&mut world, "bob", copied);
    let status = world.member_status("bob");
    assert_eq!(
        (status.custody, ready_of_member(&status)),
        (Some(Custody::Brokered), ("False", "KeyRefused"))
    );
}
