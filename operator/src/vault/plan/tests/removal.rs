//! Members that are put out of force, and come back.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

#[test]
fn a_removed_member_s_entry_goes_with_the_new_epoch_in_one_write_and_its_binding_after_it() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    world.delete_member("web");
    let plan = world.plan_vault();
    assert_eq!(kinds(&plan.writes), ["replace keyring", "delete binding", "vault status"]);
    let Write::ReplaceKeyring(keyring) = &plan.writes[0] else { panic!("a Keyring") };
    assert!(keyring.spec.members.iter().all(|entry| entry.name != "web"));
    assert_eq!((keyring.spec.current, keyring.spec.epochs.len()), (1, 2));
    world.settle();
    let status = world.vault().status.clone().unwrap();
    let pending = condition(&status.conditions, "RotationPending");
    assert_eq!((pending.status.as_str(), pending.reason.as_str()), ("True", "MemberRemoved"));
    assert_eq!(status.rotation.unwrap().target_epoch, Some(2));
    assert_eq!(epochs(&world.member_status("alice").wrapped_keys), [1], "epoch 2 is wrapped for nobody yet");
}

#[test]
fn a_second_removal_before_the_turn_over_needs_no_further_epoch() {
    let mut world = World::with_vault();
    for name in ["web", "job"] {
        world.add_account("team-a", name);
        world.invite_account(name, "member", "alice");
    }
    world.settle();
    world.delete_member("web");
    world.settle();
    world.delete_member("job");
    world.settle();
    assert_eq!(world.keyring().spec.epochs.len(), 2);
    assert_eq!(world.keys().members().len(), 1);
}

#[test]
fn the_removal_of_a_member_that_never_had_the_vault_key_turns_nothing_over() {
    let mut world = World::with_vault();
    world.edit_vault("alice", |vault| {
        vault.spec.roles =
            serde_json::from_value(json!([{"name": "ci", "verbs": ["use"], "connections": ["gh-*"]}]))
                .unwrap();
    });
    world.add_account("team-a", "ci");
    world.invite_account("ci", "ci", "alice");
    world.settle();
    let status = world.member_status("ci");
    assert_eq!((status.phase, status.wrapped_keys.len()), (Some(MemberPhase::Active), 0));
    world.delete_member("ci");
    world.settle();
    assert_eq!(world.keyring().spec.epochs.len(), 1);
}

#[test]
fn suspending_takes_the_wrapped_keys_after_the_new_epoch_is_recorded_and_resuming_needs_no_new_acceptance() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    world.edit_member("web", "alice", |member| member.spec.suspended = true);
    let plan = world.plan_vault();
    assert_eq!(kinds(&plan.writes), ["replace keyring", "member status", "delete binding", "vault status"]);
    world.settle();
    let status = world.member_status("web");
    assert_eq!((status.phase, status.wrapped_keys.len()), (Some(MemberPhase::Suspended), 0));
    assert!(world.keys().member("web").is_some(), "its place in the register stays");
    world.edit_member("web", "alice", |member| member.spec.suspended = false);
    world.settle();
    let status = world.member_status("web");
    assert_eq!((status.phase, epochs(&status.wrapped_keys)), (Some(MemberPhase::Active), vec![1]));
}

/// DESIGN §3: coming back into force re-wraps keys, so the operator decides again who may bring it about.
#[test]
fn nobody_is_brought_back_into_force_by_somebody_who_may_not_grant_their_role() {
    let later = |world: &World| {
        let day = k8s_openapi::jiff::SignedDuration::from_hours(24);
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now + day))
    };
    for expired in [false, true] {
        let mut world = World::with_vault();
        world.edit_vault("alice", |vault| vault.spec.owners.push(user("bob")));
        world.settle();
        let end = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now));
        world.edit_member("bob", "alice", |member| match expired {
            true => member.spec.expires_at = end,
            false => member.spec.suspended = true,
        });
        world.settle();
        let phase = world.member_status("bob").phase;
        assert_eq!(phase, Some(if expired { MemberPhase::Expired } else { MemberPhase::Suspended }));
        // A listed owner, and bob himself: neither makes it so.
        for stranger in ["mallory", "bob"] {
            let end = later(&world);
            world.edit_member("bob", stranger, |member| match expired {
                true => member.spec.expires_at = end,
                false => member.spec.suspended = false,
            });
            world.edit_member("bob", stranger, |member| member.spec.invited_by = Some(author(stranger)));
            let bindings = world.caches.bindings.all().len();
            world.settle();
            let status = world.member_status("bob");
            assert_eq!((status.phase, ready_of_member(&status)), (phase, ("False", "NotAuthorized")));
            assert!(status.wrapped_keys.is_empty() && world.caches.bindings.all().len() == bindings);
            world.pass(1);
            assert_eq!(kinds(&world.plan_vault().writes), Vec::<&str>::new(), "a restart writes nothing");
            assert_eq!(world.plan_vault().refused, 1);
        }
        let end = later(&world);
        world.edit_member("bob", "alice", |member| {
            member.spec.expires_at = end;
            member.spec.invited_by = Some(author("alice"));
        });
        world.settle();
        let status = world.member_status("bob");
        assert_eq!((status.phase, status.wrapped_keys.len()), (Some(MemberPhase::Active), 1));
        world.pass(1);
        assert_eq!(kinds(&world.plan_vault().writes), Vec::<&str>::new());
    }
}

/// A membership that is in force is not judged again, whoever granted it and whatever they may today.
#[test]
fn a_member_resumed_by_an_owner_who_left_since_stays() {
    let mut world = World::with_vault();
    world.edit_vault("alice", |vault| vault.spec.owners.push(user("bob")));
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    world.edit_member("web", "bob", |member| member.spec.suspended = true);
    world.settle();
    world.edit_member("web", "bob", |member| member.spec.suspended = false);
    world.settle();
    world.edit_vault("alice", |vault| vault.spec.owners = vec![user("alice")]);
    world.settle();
    assert!(world.keys().member("bob").is_none());
    assert_eq!(world.member_status("web").phase, Some(MemberPhase::Active));
}

/// A crash after any write of a suspension leaves a state from which the same end is reached.
#[test]
fn a_suspension_that_is_interrupted_after_any_write_ends_with_the_epoch_recorded() {
    for interrupted_after in 0..4 {
        let mut world = World::with_vault();
        world.add_account("team-a", "web");
        world.invite_account("web", "member", "alice");
        world.settle();
        world.edit_member("web", "alice", |member| member.spec.suspended = true);
        for write in world.plan_vault().writes.into_iter().take(interrupted_after) {
            world.apply_vault(write);
        }
        world.settle();
        assert_eq!(world.keyring().spec.epochs.len(), 2, "interrupted after {interrupted_after}");
        assert!(world.member_status("web").wrapped_keys.is_empty());
    }
}

/// C6, T26: a finalizer that a member puts on its own VaultMember keeps the object, not the membership.
#[test]
fn a_member_that_is_being_deleted_is_removed_whatever_holds_its_object() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    assert!(world.keys().member("web").is_some());
    let mut held = world.member("web").as_ref().clone();
    held.metadata.finalizers = Some(vec![String::from("example.com/stay")]);
    held.metadata.deletion_timestamp = Some(Time(world.now));
    world.update(|caches| &caches.members, held);
    world.settle();
    assert!(world.keys().member("web").is_none());
    let bound = world.caches.bindings.all();
    assert!(bound.iter().all(|binding| !subjects(binding).contains(&"web")));
}

#[test]
fn a_membership_ends_to_the_second_and_an_invite_after_48_hours() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.edit_member("web", "alice", |member| member.spec.ttl = Some(String::from("2h")));
    world.invite("bob", json!({"user": {"name": "bob"}}), "member", "alice");
    world.settle();
    assert_eq!(world.plan_vault().next, Some(world.now + k8s_openapi::jiff::SignedDuration::from_hours(2)));
    world.pass(2);
    world.settle();
    assert_eq!(world.member_status("web").phase, Some(MemberPhase::Expired));
    let status = world.vault().status.clone().unwrap();
    assert_eq!(condition(&status.conditions, "RotationPending").reason, "MemberExpired");
    world.pass(46);
    world.settle();
    assert_eq!(world.member_status("bob").phase, Some(MemberPhase::Expired));
}
