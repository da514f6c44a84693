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
    assert_eq!(kinds(&plan.writes), ["replace keyring", "delete binding", "member status", "vault status"]);
    let Write::ReplaceKeyring(keyring) = &plan.writes[0] else { panic!("a Keyring") };
    assert!(keyring.spec.members.iter().all(|entry| entry.name != "web"));
    assert_eq!((keyring.spec.current, keyring.spec.epochs.len()), (1, 2));
    let cause = &keyring.spec.epochs[1].causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.member.as_ref().unwrap().name.as_str()),
        ("MemberRemoved", "web")
    );
}

/// Issue 6 §1: each step is one write of the Keyring, and is seen in the status.
#[test]
fn a_turn_over_goes_step_by_step_and_says_how_far_it_is() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.add_connection("everybody", None, &[("token", "1")], "alice");
    world.settle();
    let before = world.envelope("everybody").spec.clone();
    let step = |world: &mut World| {
        let writes = world.plan_vault().writes;
        for write in writes {
            world.apply_vault(write);
        }
        let status = world.vault().status.clone().unwrap();
        let says = |type_: &str| {
            let found = condition(&status.conditions, type_);
            format!("{} {}", found.status, found.reason)
        };
        let rotation = status.rotation.clone().unwrap_or_default();
        let held: Vec<i64> = world.keyring().spec.epochs.iter().map(|epoch| epoch.epoch).collect();
        let counts = (rotation.members_wrapped, rotation.connections_resealed);
        (
            held,
            world.keyring().spec.current,
            status.key_epoch,
            counts,
            says("RotationPending"),
            says("Rotating"),
        )
    };
    let (yes, no) = (String::from("True MemberRemoved"), String::from("False UpToDate"));
    world.delete_member("web");
    let begun = (vec![1, 2], 1, Some(1), (Some(1), Some(0)), yes.clone(), yes.clone());
    assert_eq!(step(&mut world), begun);
    assert_eq!(epochs(&world.member_status("alice").wrapped_keys), [1, 2]);
    let switched = (vec![1, 2], 2, Some(1), (Some(1), Some(0)), no.clone(), yes.clone());
    assert_eq!(step(&mut world), switched);
    assert!(world.plan_vault().writes.is_empty(), "the old epoch stays while something is sealed in it");
    for write in world.plan_connection("everybody").writes {
        world.apply_connection("everybody", write);
    }
    let after = world.envelope("everybody").spec.clone();
    assert_eq!((after.epoch, after.version), (2, before.version));
    assert_ne!(after.commitment, before.commitment);
    assert_eq!(after.advised[0].member, "web");
    let finished = (vec![2], 2, Some(2), (None, None), no.clone(), no);
    assert_eq!(step(&mut world), finished);
    assert_eq!(epochs(&world.member_status("alice").wrapped_keys), [2]);
    assert_eq!(world.settle(), 0);
}

#[test]
fn keys_are_turned_over_at_the_interval_and_when_it_is_asked_for() {
    let mut world = World::with_vault();
    let hour = k8s_openapi::jiff::SignedDuration::from_hours(1);
    let (first, requested) = (world.now, world.now + hour);
    world.edit_vault("alice", |vault| {
        let rotation = coffer_crds::RotationSpec {
            interval: Some(String::from("2d")),
            requested_at: Some(Time(requested)),
        };
        vault.spec.rotation = Some(rotation);
    });
    let plan = world.plan_vault();
    assert_eq!((plan.next, plan.step), (Some(requested), None));
    world.pass(2);
    world.settle();
    assert_eq!(world.keys().current(), 2);
    assert_eq!(world.keyring().spec.epochs[0].causes[0].reason, "Requested");
    assert_eq!(world.plan_vault().next, Some(first + hour * 50), "two days after these keys were made");
    world.pass(47);
    world.settle();
    assert_eq!(world.keys().current(), 2);
    world.pass(1);
    world.settle();
    assert_eq!(world.keys().current(), 3);
    assert_eq!(world.keyring().spec.epochs[0].causes[0].reason, "Interval");
    assert!(world.plan_vault().writes.is_empty(), "a request is answered once");
}

/// Several causes at once coalesce: whoever goes while an epoch waits is shut out by a newer one in its place.
#[test]
fn whoever_goes_while_an_epoch_waits_is_shut_out_too_and_no_step_is_taken_twice() {
    let mut world = World::with_vault();
    for name in ["web", "job"] {
        world.add_account("team-a", name);
        world.invite_account(name, "member", "alice");
    }
    world.settle();
    world.delete_member("web");
    for write in world.plan_vault().writes {
        world.apply_vault(write);
    }
    assert_eq!(epochs(&world.member_status("job").wrapped_keys), [1, 2]);
    world.delete_member("job");
    for write in world.plan_vault().writes {
        world.apply_vault(write);
    }
    let keyring = world.keyring();
    let held: Vec<i64> = keyring.spec.epochs.iter().map(|epoch| epoch.epoch).collect();
    assert_eq!((held, keyring.spec.current, keyring.spec.epochs[1].causes.len()), (vec![1, 3], 1, 2));
    world.settle();
    assert_eq!((world.keys().oldest(), world.keys().current()), (3, 3));
}

#[test]
fn members_that_go_together_take_one_epoch() {
    let mut world = World::with_vault();
    for name in ["web", "job"] {
        world.add_account("team-a", name);
        world.invite_account(name, "member", "alice");
    }
    world.settle();
    world.delete_member("web");
    world.delete_member("job");
    world.settle();
    assert_eq!(world.keys().current(), 2);
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
    assert_eq!(world.keys().newest(), 1);
}

#[test]
fn suspending_takes_the_wrapped_keys_after_the_new_epoch_is_recorded_and_resuming_needs_no_new_acceptance() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    world.edit_member("web", "alice", |member| member.spec.suspended = true);
    let plan = world.plan_vault();
    let taken_first = ["replace keyring", "member status", "delete binding", "member status", "vault status"];
    assert_eq!(kinds(&plan.writes), taken_first);
    let Write::MemberStatus(taken) = &plan.writes[1] else { panic!("a status") };
    assert_eq!(taken.0.name_any(), "web");
    world.settle();
    let status = world.member_status("web");
    assert_eq!((status.phase, status.wrapped_keys.len()), (Some(MemberPhase::Suspended), 0));
    assert!(world.keys().member("web").is_some(), "its place in the register stays");
    world.edit_member("web", "alice", |member| member.spec.suspended = false);
    world.settle();
    let status = world.member_status("web");
    assert_eq!((status.phase, epochs(&status.wrapped_keys)), (Some(MemberPhase::Active), vec![2]));
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
        assert_eq!(world.keys().oldest(), 2, "interrupted after {interrupted_after}");
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
    assert_eq!(world.keyring().spec.epochs[0].causes[0].reason, "MemberExpired");
    world.pass(46);
    world.settle();
    assert_eq!(world.member_status("bob").phase, Some(MemberPhase::Expired));
}

/// A Keyring has room for 64 epochs: however fast causes come, it is never full, and nothing that can be released
/// loses the key that it is sealed under.
#[test]
fn causes_that_come_faster_than_connections_are_sealed_anew_never_fill_the_keyring() {
    let mut world = World::with_vault();
    world.add_connection("everybody", None, &[("token", "1")], "alice");
    world.settle();
    for round in 0..80 {
        let name = format!("web-{round}");
        world.add_account("team-a", &name);
        world.invite_account(&name, "member", "alice");
        let vault_only = |world: &mut World| {
            for _ in 0..4 {
                for write in world.plan_vault().writes {
                    world.apply_vault(write);
                }
            }
        };
        vault_only(&mut world);
        world.delete_member(&name);
        vault_only(&mut world);
        let keyring = world.keyring();
        assert!(keyring.spec.epochs.len() <= 33, "{}", keyring.spec.epochs.len());
        assert!(keyring.spec.epochs.iter().any(|epoch| epoch.epoch == 1), "something is sealed in the first");
    }
    world.settle();
    assert_eq!(world.keys().oldest(), world.keys().current());
    assert_eq!(world.values("everybody"), [(String::from("token"), String::from("1"))]);
}
