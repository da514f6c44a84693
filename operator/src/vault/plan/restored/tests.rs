#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::{Connection, ConnectionPhase, Envelope, EnvelopeScope, MemberPhase, VaultMember};
use coffer_keys::{
    acceptance::Acceptance,
    hierarchy::SubjectRef,
    member_key::{MemberKeyKind, MemberSecretKey},
};
use k8s_openapi::jiff::SignedDuration;
use kube::api::ObjectMeta;
use serde_json::json;

use super::*;
use crate::{
    cache::Key,
    context::rng,
    world::{World, author, condition, ready_of_connection, ready_of_member, ready_of_vault, user},
};

/// Vault `main` of alice; bob with a key of its own; ServiceAccount web; carol, invited; one Connection for everybody and
/// one for bob and web.
fn team() -> World {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    for name in ["bob", "carol"] {
        world.invite(name, json!({"user": {"name": name}}), "member", "alice");
    }
    world.settle();
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut rng());
    let member = world.member("bob");
    let proof = Acceptance {
        vault_id: world.keys().vault_id(),
        namespace: "team-a",
        name: "bob",
        uid: member.metadata.uid.as_deref().unwrap(),
        subject: SubjectRef::User("bob"),
        public_key: key.public(),
    };
    let proof = proof.sign(&key).unwrap();
    let acceptance = json!({
        "by": {"username": "bob"}, "publicKey": STANDARD.encode(key.public().as_bytes()), "proof": proof,
    });
    world.edit_member("bob", "bob", |member| {
        member.spec.acceptance = serde_json::from_value(acceptance).unwrap();
    });
    world.settle();
    world.add_connection("everybody", None, &[("token", "1")], "alice");
    world.add_connection("some", Some(&["bob", "web"]), &[("token", "2")], "alice");
    world.settle();
    assert_eq!(world.member_status("bob").phase, Some(MemberPhase::Active));
    world
}

fn name_only(metadata: &ObjectMeta) -> ObjectMeta {
    let ObjectMeta { name, namespace, .. } = metadata.clone();
    ObjectMeta { name, namespace, ..ObjectMeta::default() }
}

/// What a backup tool brings into a cluster of the same custodian, without whatever `but` names.
fn restored(backup: &World, but: &[&str]) -> World {
    let mut world = World::new();
    world.custody = backup.custody.clone();
    world.now = backup.now + SignedDuration::from_hours(1);
    // Nothing has the uid that it had.
    world.skip(1000);
    let keyring =
        Keyring { metadata: name_only(&backup.keyring().metadata), spec: backup.keyring().spec.clone() };
    world.create(|caches| &caches.keyrings, keyring);
    for envelope in backup.caches.envelopes.all() {
        let envelope = Envelope { metadata: name_only(&envelope.metadata), spec: envelope.spec.clone() };
        world.create(|caches| &caches.envelopes, envelope);
    }
    let by = Some(author("velero"));
    for member in
        backup.caches.members.all().iter().filter(|member| !but.contains(&member.name_any().as_str()))
    {
        let mut member =
            VaultMember { metadata: name_only(&member.metadata), status: None, spec: member.spec.clone() };
        (member.spec.invited_by, member.spec.last_writer) = (by.clone(), by.clone());
        if let Some(acceptance) = &mut member.spec.acceptance {
            acceptance.by = by.clone();
        }
        world.create(|caches| &caches.members, member);
    }
    let mut vault = Vault {
        metadata: name_only(&backup.vault().metadata),
        status: None,
        spec: backup.vault().spec.clone(),
    };
    vault.spec.last_writer = by.clone();
    world.create(|caches| &caches.vaults, vault);
    for connection in backup.caches.connections.all() {
        let mut connection = Connection {
            metadata: name_only(&connection.metadata),
            status: None,
            spec: connection.spec.clone(),
        };
        connection.spec.last_writer = by.clone();
        world.create(|caches| &caches.connections, connection);
    }
    world
}

fn annotate(world: &mut World, uid: &str) {
    let mut vault = world.vault().as_ref().clone();
    vault.annotations_mut().insert(String::from(annotations::RESTORE), String::from(uid));
    world.update(|caches| &caches.vaults, vault);
    world.settle();
}

fn reason_of_vault(world: &World) -> String {
    let status = world.vault().status.clone().unwrap();
    ready_of_vault(&status).1.to_owned()
}

/// C16: nothing of a backup is in effect by itself, and everything is once a restore user says so.
#[test]
fn a_restored_vault_goes_on_where_it_was_once_a_restore_user_says_so() {
    let backup = team();
    let old = backup.vault().uid().unwrap();
    let mut world = restored(&backup, &[]);
    world.add_account("team-a", "web");
    world.settle();
    assert_eq!(reason_of_vault(&world), "NotAdopted");
    assert_eq!(world.keyring().spec, backup.keyring().spec, "it is left as it is");
    annotate(&mut world, "another uid");
    assert_eq!(reason_of_vault(&world), "NotAdopted");
    assert_eq!(world.keyring().spec, backup.keyring().spec);

    annotate(&mut world, &old);
    assert_eq!(reason_of_vault(&world), "Available");
    let keyring = world.keyring().spec.clone();
    assert_eq!(
        (keyring.vault_uid.clone(), keyring.vault_id),
        (world.vault().uid().unwrap(), backup.keyring().spec.vault_id.clone())
    );
    assert!(keyring.current >= world.now.as_second(), "above all that clients may have seen");
    assert_eq!(keyring.epochs.len(), 1, "the older keys are gone");
    for name in ["alice", "bob"] {
        let status = world.member_status(name);
        assert_eq!((status.phase, status.wrapped_keys.len()), (Some(MemberPhase::Active), 1), "{name}");
        assert_eq!(
            keyring.members.iter().find(|entry| entry.name == name).unwrap().uid,
            world.member(name).uid().unwrap()
        );
    }
    // Another ServiceAccount object, and an invite that nobody vouches for any more.
    assert_eq!(ready_of_member(&world.member_status("web")), ("False", "SubjectChanged"));
    assert_eq!(ready_of_member(&world.member_status("carol")), ("False", "NotAuthorized"));
    for (name, value) in [("everybody", "1"), ("some", "2")] {
        assert_eq!(world.values(name), [(String::from("token"), String::from(value))]);
        let connection = world.connection(name);
        let status = connection.status.clone().unwrap();
        assert_eq!(
            (status.phase, ready_of_connection(&status)),
            (Some(ConnectionPhase::Ready), ("True", "Available"))
        );
        let envelope = world.envelope(name);
        assert_eq!(envelope.spec.connection.uid, connection.uid().unwrap());
        assert_eq!((envelope.spec.epoch, envelope.spec.version), (keyring.current, 1));
        assert_eq!(envelope.spec.owner.uid, world.member("alice").uid().unwrap());
        assert!(envelope.metadata.owner_references.is_some(), "it goes with its Connection again");
    }
    let some = world.envelope("some");
    let EnvelopeScope::Listed(listed) = &some.spec.members else { panic!("a list") };
    let bob = listed.iter().find(|member| member.name == "bob").unwrap();
    assert_eq!(bob.uid, world.member("bob").uid().unwrap());
    let names: Vec<&str> = some.spec.advised.iter().map(|advised| advised.member.as_str()).collect();
    assert_eq!(names, ["web"], "the others lost nothing");
    assert!(world.envelope("everybody").spec.advised.is_empty());
    assert_eq!(world.settle(), 0);
}

/// The turn-over that a restore begins ends when everything is sealed anew, and is seen until then.
#[test]
fn what_is_still_to_be_adopted_keeps_the_turn_over_going() {
    let backup = team();
    let mut world = restored(&backup, &[]);
    world.add_account("team-a", "web");
    let mut vault = world.vault().as_ref().clone();
    vault.annotations_mut().insert(String::from(annotations::RESTORE), backup.vault().uid().unwrap());
    world.update(|caches| &caches.vaults, vault);
    for _ in 0..6 {
        for write in world.plan_vault().writes {
            world.apply_vault(write);
        }
    }
    let status = world.vault().status.clone().unwrap();
    assert_eq!(
        status.rotation.map(|it| it.connections_resealed),
        Some(Some(0)),
        "no Connection was looked at"
    );
    assert!(world.keyring().spec.epochs.len() > 1);
    world.settle();
    assert_eq!(
        (world.vault().status.clone().unwrap().rotation, world.keyring().spec.epochs.len()),
        (None, 1)
    );
}

/// C16: accepted anew, a ServiceAccount of the new cluster is who it was, in every list that names it.
#[test]
fn a_service_account_that_accepts_again_has_what_it_had() {
    let backup = team();
    let mut world = restored(&backup, &[]);
    world.add_account("team-a", "web");
    annotate(&mut world, &backup.vault().uid().unwrap());
    let mut account = world.caches.accounts.get(&Key::new("team-a", "web")).unwrap().as_ref().clone();
    account.annotations_mut().insert(String::from(annotations::ACCEPT), String::from("team-a/main"));
    world.update(|caches| &caches.accounts, account);
    world.settle();
    assert_eq!(world.member_status("web").phase, Some(MemberPhase::Active));
    assert!(world.envelope("some").spec.slots.iter().any(|slot| slot.name.as_deref() == Some("web")));
}

/// A member that is not in the backup, or that comes back with another key or subject, is not the one in the register.
#[test]
fn who_does_not_come_back_is_removed_and_who_comes_back_as_another_gains_nothing() {
    let backup = team();
    let mut world = restored(&backup, &["web", "bob"]);
    world.invite("bob", json!({"user": {"name": "mallory"}}), "member", "velero");
    annotate(&mut world, &backup.vault().uid().unwrap());
    let names: Vec<String> = world.keyring().spec.members.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(names, ["alice"]);
    assert_eq!(ready_of_member(&world.member_status("bob")), ("False", "NotAuthorized"));
    let slots = world.envelope("some").spec.slots.clone();
    assert!(slots.iter().all(|slot| slot.name.as_deref() != Some("bob")), "{slots:?}");
    assert_eq!(world.values("some"), [(String::from("token"), String::from("2"))], "and nothing is lost");
}

/// A stranger's Vault takes nobody's place, whatever it is annotated with; nor does one without the owners' consent.
#[test]
fn a_vault_of_other_owners_is_not_adopted() {
    let backup = team();
    let mut world = restored(&backup, &[]);
    world.edit_vault("mallory", |vault| vault.spec.owners.push(user("mallory")));
    annotate(&mut world, &backup.vault().uid().unwrap());
    assert_eq!(reason_of_vault(&world), "NotAdopted");
    assert_eq!(world.keyring().spec, backup.keyring().spec);
    let conditions = world.vault().status.clone().unwrap().conditions;
    let message = &condition(&conditions, "Ready").message;
    assert!(message.contains("spec.owners[1]"), "{message}");
}

/// Another key than the register's is not the member's, whoever brings it under the name.
#[test]
fn a_member_that_comes_back_with_another_key_is_not_the_one_in_the_register() {
    let backup = team();
    let mut world = restored(&backup, &[]);
    let key = MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut rng());
    let text = STANDARD.encode(key.public().as_bytes());
    world.edit_member("bob", "velero", |member| {
        member.spec.acceptance.as_mut().unwrap().public_key = Some(text);
    });
    annotate(&mut world, &backup.vault().uid().unwrap());
    assert!(world.keyring().spec.members.iter().all(|entry| entry.name != "bob"));
    assert_ne!(world.member_status("bob").phase, Some(MemberPhase::Active));
    let slots = world.envelope("some").spec.slots.clone();
    assert!(slots.iter().all(|slot| slot.name.as_deref() != Some("bob")), "{slots:?}");
}

/// Whoever makes a Connection of the name of one that did not come back has nothing of it, and takes nothing with it.
#[test]
fn an_envelope_that_came_back_alone_is_not_a_strangers() {
    let backup = team();
    let mut world = restored(&backup, &[]);
    let gone = world.connection("everybody").as_ref().clone();
    world.delete(|caches| &caches.connections, &Key::of(&gone));
    annotate(&mut world, &backup.vault().uid().unwrap());
    world.add_connection("everybody", None, &[("token", "mine")], "bob");
    world.settle();
    let status = world.connection("everybody").status.clone().unwrap();
    assert_eq!(ready_of_connection(&status), ("False", "NotAdopted"));
    assert_eq!(world.envelope("everybody").spec, backup.envelope("everybody").spec, "it is left as it is");
}

/// What was sealed after the restore belongs to the Connection that it names, and to no other of that name.
#[test]
fn an_envelope_from_after_the_restore_is_not_adopted_by_another_connection() {
    let backup = team();
    let mut world = restored(&backup, &[]);
    annotate(&mut world, &backup.vault().uid().unwrap());
    let connection = world.connection("everybody").as_ref().clone();
    let envelope = world.envelope("everybody").as_ref().clone();
    world.delete(|caches| &caches.connections, &Key::of(&connection));
    world
        .create(|caches| &caches.envelopes, Envelope { metadata: name_only(&envelope.metadata), ..envelope });
    let again = Connection { metadata: name_only(&connection.metadata), status: None, spec: connection.spec };
    world.create(|caches| &caches.connections, again);
    world.settle();
    let status = world.connection("everybody").status.clone().unwrap();
    assert_eq!(ready_of_connection(&status), ("False", "NotAdopted"));
}

/// T2, T22: neither the Keyring of before a restore nor one of an epoch that is over comes back by being put back.
#[test]
fn an_older_keyring_that_is_put_back_is_told_of_and_nothing_is_written() {
    let mut world = team();
    let before = world.keyring().spec.clone();
    world.delete_member("web");
    world.settle();
    let put_back = |world: &mut World, spec: coffer_crds::KeyringSpec| {
        let keyring = Keyring { metadata: world.keyring().metadata.clone(), spec };
        world.update(|caches| &caches.keyrings, keyring);
        world.settle();
        let conditions = world.vault().status.clone().unwrap().conditions;
        let ready = condition(&conditions, "Ready");
        (ready.reason.clone(), ready.message.clone())
    };
    let (reason, message) = put_back(&mut world, before.clone());
    assert!(reason == "KeyringInvalid" && message.contains("an older one back"), "{message}");
    assert_eq!(world.keyring().spec, before, "it is left as evidence");
    world.add_connection("later", None, &[("token", "3")], "alice");
    world.settle();
    let status = world.connection("later").status.clone().unwrap();
    assert_eq!(ready_of_connection(&status), ("False", "VaultNotReady"), "nothing is sealed under its keys");

    let backup = team();
    let mut world = restored(&backup, &[]);
    annotate(&mut world, &backup.vault().uid().unwrap());
    assert_eq!(reason_of_vault(&world), "Available");
    let (reason, _) = put_back(&mut world, backup.keyring().spec.clone());
    assert_eq!(reason, "NotAdopted", "it was adopted once, and that was it");
}
