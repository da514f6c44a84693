#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod authors;
mod removal;
mod root;

use coffer_crds::{Custody, CustodyPolicy, MemberPhase, WrappedVaultKey};
use kube::ResourceExt as _;
use serde_json::json;

use super::*;
use crate::{
    cache::Key,
    installation::custody::Custody as CustodyState,
    world::{World, author, condition, main_vault, ready_of_member, ready_of_vault, subjects, user},
};

fn kinds(writes: &[Write]) -> Vec<&'static str> {
    let kind = |write: &Write| match write {
        Write::CreateKeyring(_) => "create keyring",
        Write::ReplaceKeyring(_) => "replace keyring",
        Write::MemberStatus(_) => "member status",
        Write::CreateMember(_) => "create member",
        Write::RaiseOwner(_) => "raise owner",
        Write::DeleteMember(_) => "delete member",
        Write::CreateBinding(_) => "create binding",
        Write::ApplyBinding(_) => "apply binding",
        Write::DeleteBinding(_) => "delete binding",
        Write::VaultStatus(_) => "vault status",
    };
    writes.iter().map(kind).collect()
}

fn epochs(wrapped: &[WrappedVaultKey]) -> Vec<i64> {
    wrapped.iter().map(|wrapped| wrapped.epoch).collect()
}

#[test]
fn a_new_vault_gets_its_keyring_and_its_intake_key_before_anything_else() {
    let mut world = World::new();
    world.add_vault(json!({"owners": [{"user": {"name": "alice"}}]}), "alice");
    let plan = world.plan_vault();
    assert_eq!(kinds(&plan.writes), ["create keyring", "vault status", "create member"]);
    let Write::VaultStatus(status) = &plan.writes[1] else { panic!("a status") };
    assert!(status.intake_key.is_some() && status.custodian_key.is_some() && status.vault_id.is_some());
    let Write::CreateKeyring(keyring) = &plan.writes[0] else { panic!("a Keyring") };
    let owner = &keyring.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.controller), ("Vault", Some(true)));
    assert_eq!(keyring.spec.vault_uid, world.vault().uid().unwrap());
}

#[test]
fn owners_are_active_members_at_once_with_the_vault_key_and_a_role_binding() {
    let world = World::with_vault();
    let status = world.vault().status.clone().unwrap();
    assert_eq!(ready_of_vault(&status), ("True", "Available"));
    assert_eq!(condition(&status.conditions, "RotationPending").status, "False");
    assert_eq!(status.members.unwrap().active, 1);
    let alice = world.member_status("alice");
    assert_eq!(alice.phase, Some(MemberPhase::Active));
    assert_eq!(epochs(&alice.wrapped_keys), [1]);
    assert_eq!(world.keys().members()[0].role, "owner");
    let bindings = world.caches.bindings.all();
    assert_eq!(bindings[0].role_ref.name, "coffer-vault-owner");
    assert_eq!(subjects(&bindings[0]), ["alice"]);
}

/// Who is bound to the chart's ClusterRole of that level.
fn bound(world: &World, level: &str) -> Vec<String> {
    let role = format!("coffer-vault-{level}");
    let all = world.caches.bindings.all();
    all.iter()
        .filter(|binding| binding.role_ref.name == role)
        .flat_map(|binding| subjects(binding))
        .map(String::from)
        .collect()
}

/// DESIGN §6: a listed owner is one without an invite, in a `SelfOnly` vault once it brings a key. It needs no other
/// right than an invitee's for that.
#[test]
fn an_owner_of_a_self_only_vault_may_bring_its_key_whether_it_was_registered_before_or_not() {
    let mut world = World::new();
    let owners = json!([{"user": {"name": "alice"}}]);
    world.add_vault(json!({"owners": owners, "custody": "SelfOnly"}), "alice");
    world.settle();
    assert_eq!(ready_of_member(&world.member_status("alice")), ("False", "CustodyRefused"));
    assert_eq!(bound(&world, "invited"), ["alice"]);

    let mut world = World::with_vault();
    world.edit_vault("alice", |vault| vault.spec.custody = CustodyPolicy::SelfOnly);
    world.settle();
    assert_eq!((bound(&world, "invited"), bound(&world, "owner")), (vec![String::from("alice")], vec![]));
    // One who accepted without a key has nothing left to say.
    world.edit_member("alice", "alice", |member| member.spec.acceptance = Some(Default::default()));
    world.settle();
    assert!(bound(&world, "invited").is_empty());
}

/// C4: whoever is invited needs no right from anybody else to answer, and gets no other.
#[test]
fn an_invite_binds_its_subject_to_the_right_to_answer_until_it_is_answered_or_over() {
    let mut world = World::with_vault();
    world.invite("bob", json!({"user": {"name": "bob"}}), "member", "alice");
    world.invite("carol", json!({"user": {"name": "carol"}}), "member", "alice");
    world.invite("devs", json!({"group": {"name": "devs"}}), "member", "alice");
    world.invite("ci", json!({"serviceAccount": {"namespace": "ci", "name": "ci"}}), "member", "alice");
    world.invite("forged", json!({"user": {"name": "mallory"}}), "member", "mallory");
    world.settle();
    assert_eq!(bound(&world, "invited"), ["bob", "carol", "devs"]);
    world.edit_member("bob", "bob", |member| member.spec.acceptance = Some(Default::default()));
    world.edit_member("carol", "carol", |member| member.spec.declined = true);
    world.settle();
    // The stamp of whoever accepts is missing: nothing is accepted, and nothing more can be said.
    assert_eq!(bound(&world, "invited"), ["devs"]);
    world.edit_member("bob", "bob", |member| {
        member.spec.acceptance = serde_json::from_value(json!({"by": {"username": "bob"}})).unwrap();
    });
    world.settle();
    assert_eq!(bound(&world, "member"), ["bob"]);
    world.pass(49);
    world.settle();
    assert!(bound(&world, "invited").is_empty());
}

#[test]
fn several_owners_of_a_new_vault_need_no_owner_to_vouch_for_them() {
    let mut world = World::new();
    let owners = json!({"owners": [{"user": {"name": "bob"}}, {"serviceAccount": {"name": "bot"}}]});
    world.add_account("team-a", "bot");
    world.add_vault(owners, "kubernetes-admin");
    world.settle();
    let names: Vec<_> = world.keys().members().iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(names, ["bob", "bot"]);
    assert_eq!(ready_of_vault(&world.vault().status.clone().unwrap()), ("True", "Available"));
}

#[test]
fn a_service_account_of_the_vault_s_namespace_is_accepted_at_once_and_its_uid_recorded() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    let plan = world.plan_vault();
    assert_eq!(
        kinds(&plan.writes),
        ["replace keyring", "member status", "create binding", "vault status"],
        "the Keyring goes before the member's status"
    );
    world.settle();
    let keys = world.keys();
    let entry = keys.member("web").unwrap();
    assert_eq!(entry.custody, Custody::Brokered);
    assert!(entry.subject_uid.as_deref().unwrap().starts_with("uid-"));
    let status = world.member_status("web");
    assert_eq!((status.phase, epochs(&status.wrapped_keys)), (Some(MemberPhase::Active), vec![1]));
    assert!(keys.is_wrapped(entry, &status.wrapped_keys[0]));
}

#[test]
fn one_keyring_write_serves_a_hundred_new_members() {
    let mut world = World::with_vault();
    for number in 0..100 {
        let name = format!("sa-{number:03}");
        world.add_account("team-a", &name);
        world.invite_account(&name, "member", "alice");
    }
    let plan = world.plan_vault();
    assert_eq!(kinds(&plan.writes).iter().filter(|kind| kind.contains("keyring")).count(), 1);
    world.settle();
    assert_eq!(world.keys().members().len(), 101);
    assert_eq!(world.vault().status.clone().unwrap().members.unwrap().active, 101);
}

#[test]
fn a_vault_with_a_member_whose_account_does_not_exist_says_so_and_accepts_it_when_it_appears() {
    let mut world = World::with_vault();
    world.invite_account("web", "member", "alice");
    world.settle();
    assert_eq!(ready_of_member(&world.member_status("web")), ("False", "SubjectMissing"));
    assert!(world.keys().member("web").is_none());
    world.add_account("team-a", "web");
    world.settle();
    assert_eq!(world.member_status("web").phase, Some(MemberPhase::Active));
}

#[test]
fn an_account_of_another_namespace_waits_for_its_own_annotation() {
    let mut world = World::with_vault();
    world.add_account("ci", "builder");
    world.invite(
        "builder",
        json!({"serviceAccount": {"namespace": "ci", "name": "builder"}}),
        "member",
        "alice",
    );
    world.settle();
    assert_eq!(ready_of_member(&world.member_status("builder")), ("False", "Invited"));
    let mut account = world.caches.accounts.get(&Key::new("ci", "builder")).unwrap().as_ref().clone();
    account
        .annotations_mut()
        .insert(String::from("coffer.dev/accept"), String::from("team-b/other, team-a/main"));
    world.update(|caches| &caches.accounts, account);
    world.settle();
    assert_eq!(world.member_status("builder").phase, Some(MemberPhase::Active));
}

/// T26.
#[test]
fn an_account_that_was_made_again_is_a_stranger_until_accepted_again() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    let first = world.keys().member("web").unwrap().subject_uid.clone();
    world.delete(|caches| &caches.accounts, &Key::new("team-a", "web"));
    world.settle();
    assert_eq!(ready_of_member(&world.member_status("web")), ("False", "SubjectMissing"));
    assert!(world.member_status("web").wrapped_keys.is_empty());
    world.add_account("team-a", "web");
    world.settle();
    let status = world.member_status("web");
    assert_eq!(ready_of_member(&status), ("False", "SubjectChanged"));
    assert!(status.wrapped_keys.is_empty());
    assert_eq!(world.keys().member("web").unwrap().subject_uid, first, "the register remembers whom it knew");

    let mut account = world.caches.accounts.get(&Key::new("team-a", "web")).unwrap().as_ref().clone();
    account.annotations_mut().insert(String::from("coffer.dev/accept"), String::from("team-a/main"));
    world.update(|caches| &caches.accounts, account);
    world.settle();
    assert_eq!(world.member_status("web").phase, Some(MemberPhase::Active));
    assert_ne!(world.keys().member("web").unwrap().subject_uid, first);
}

#[test]
fn a_vault_of_self_custody_takes_no_member_without_a_key() {
    let mut world = World::new();
    world.add_vault(json!({"owners": [{"user": {"name": "alice"}}], "custody": "SelfOnly"}), "alice");
    world.settle();
    assert_eq!(ready_of_member(&world.member_status("alice")), ("False", "CustodyRefused"));
    assert!(world.keys().members().is_empty());
}

/// T25.
#[test]
fn subjects_that_stand_for_everybody_are_refused() {
    let mut world = World::with_vault();
    world.invite("star", json!({"user": {"name": "*"}}), "member", "alice");
    world.invite("all", json!({"group": {"name": "system:authenticated"}}), "member", "alice");
    world.settle();
    for name in ["star", "all"] {
        assert_eq!(ready_of_member(&world.member_status(name)), ("False", "InvalidSpec"));
        assert!(world.keys().member(name).is_none());
    }
}

#[test]
fn of_two_members_for_one_subject_the_older_one_counts() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.pass(1);
    world.invite("twin", json!({"serviceAccount": {"name": "web"}}), "admin", "alice");
    world.settle();
    assert_eq!(ready_of_member(&world.member_status("twin")), ("False", "Duplicate"));
    assert_eq!(world.member_status("web").phase, Some(MemberPhase::Active));
}

/// T22: nothing is overwritten.
#[test]
fn a_keyring_with_a_flipped_bit_stops_its_vault_and_stays_as_it_is() {
    let mut world = World::with_vault();
    let good = world.keyring().as_ref().clone();
    let mut bad = good.clone();
    bad.spec.members[0].role = String::from("member");
    world.update(|caches| &caches.keyrings, bad.clone());
    let plan = world.plan_vault();
    assert_eq!(kinds(&plan.writes), ["vault status"]);
    world.settle();
    assert_eq!(ready_of_vault(&world.vault().status.clone().unwrap()), ("False", "KeyringInvalid"));
    assert_eq!(world.keyring().spec, bad.spec);
    world.update(|caches| &caches.keyrings, good);
    world.settle();
    assert_eq!(ready_of_vault(&world.vault().status.clone().unwrap()), ("True", "Available"));
}

#[test]
fn a_keyring_that_is_gone_is_not_made_anew() {
    let mut world = World::with_vault();
    world.delete(|caches| &caches.keyrings, &main_vault());
    world.settle();
    assert_eq!(ready_of_vault(&world.vault().status.clone().unwrap()), ("False", "KeyringInvalid"));
    assert!(world.caches.keyrings.get(&main_vault()).is_none());
}

#[test]
fn a_vault_that_a_stranger_makes_again_does_not_inherit_the_keyring() {
    let mut world = World::with_vault();
    let mut left = world.keyring().as_ref().clone();
    world.delete(|caches| &caches.vaults, &main_vault());
    left.metadata.owner_references = None;
    world.create(|caches| &caches.keyrings, left.clone());
    world.add_vault(json!({"owners": [{"user": {"name": "mallory"}}]}), "mallory");
    world.settle();
    assert_eq!(ready_of_vault(&world.vault().status.clone().unwrap()), ("False", "NotAdopted"));
    assert_eq!(world.keyring().spec, left.spec);
    assert!(world.vault().status.clone().unwrap().intake_key.is_none());
}

#[test]
fn without_the_custodian_root_nothing_is_written_but_that_it_is_gone_and_it_recovers() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    let open =
        std::mem::replace(&mut world.custody, CustodyState::Unavailable("Secret coffer-root is gone".into()));
    let plan = world.plan_vault();
    assert_eq!(kinds(&plan.writes), ["vault status"]);
    world.settle();
    let status = world.vault().status.clone().unwrap();
    assert_eq!(ready_of_vault(&status), ("False", "CustodianUnavailable"));
    assert!(status.intake_key.is_some(), "what was known stays to be seen");
    world.custody = open;
    world.settle();
    assert_eq!(world.member_status("web").phase, Some(MemberPhase::Active));
}

/// T40: what a restart looks at is what was written.
#[test]
fn a_second_look_hours_later_writes_nothing() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    world.delete_member("web");
    world.settle();
    world.pass(5);
    assert_eq!(kinds(&world.plan_vault().writes), Vec::<&str>::new());
}

#[test]
fn the_broker_s_part_of_a_status_is_not_touched() {
    let mut world = World::with_vault();
    let mut member = world.member("alice").as_ref().clone();
    let used = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now);
    member.status.as_mut().unwrap().last_used_at = Some(used);
    world.update(|caches| &caches.members, member);
    // The metadata.generation of a status change stays; the world's update raises it.
    for write in world.plan_vault().writes {
        let Write::MemberStatus(change) = write else { continue };
        assert_eq!(
            change.1.last_used_at, None,
            "a field that is not sent is not changed by server-side apply"
        );
    }
}

#[test]
fn a_vault_that_is_being_deleted_is_left_to_the_garbage_collector() {
    let mut world = World::with_vault();
    let mut vault = world.vault().as_ref().clone();
    vault.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now));
    vault.spec.owners.clear();
    world.update(|caches| &caches.vaults, vault);
    assert!(world.plan_vault().writes.is_empty());
}
