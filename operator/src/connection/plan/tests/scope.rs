//! Who has a slot, and what a change of scope or members does.

use std::sync::Arc;

use super::*;
use crate::reads::{About, LastReads, Reads, Told};

#[test]
fn a_listed_scope_has_slots_for_the_owner_the_listed_and_the_custodian_and_none_for_the_vault() {
    let world = world();
    let envelope = world.envelope("github");
    assert_eq!(slots(&envelope.spec), ["custodian", "alice", "web"]);
    let names: Vec<_> = listed(&envelope.spec).into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["alice", "web"], "the owner is always in scope");
}

#[test]
fn a_scope_of_everybody_has_one_slot_under_the_vault_key() {
    let mut world = world();
    world.add_connection("open", None, &[("a", "1")], "alice");
    world.settle();
    assert_eq!(slots(&world.envelope("open").spec), ["custodian", "vault"]);
}

#[test]
fn an_unshared_connection_of_an_owner_sharing_vault_is_its_owner_s_alone() {
    let mut world = world();
    world.edit_vault("alice", |vault| vault.spec.sharing = coffer_crds::Sharing::Owner);
    world.add_connection("mine", None, &[("a", "1")], "alice");
    world.settle();
    assert_eq!(slots(&world.envelope("mine").spec), ["custodian", "alice"]);
}

/// C13.
#[test]
fn sharing_with_one_more_keeps_the_items_byte_for_byte() {
    let mut world = world();
    let before = world.envelope("github").spec.clone();
    world.edit_connection("github", "alice", |connection| {
        connection.spec.members = Some(vec![String::from("web"), String::from("job")]);
    });
    world.settle();
    let after = world.envelope("github").spec.clone();
    assert_eq!(slots(&after), ["custodian", "alice", "job", "web"]);
    assert_eq!((ciphertexts(&after), &after.commitment), (ciphertexts(&before), &before.commitment));
    assert_eq!(after.version, before.version);
}

/// C33.
#[test]
fn taking_one_out_of_the_scope_makes_a_new_data_key_and_no_new_version() {
    let mut world = world();
    let before = world.envelope("github").spec.clone();
    world.edit_connection("github", "alice", |connection| connection.spec.members = Some(Vec::new()));
    world.settle();
    let after = world.envelope("github").spec.clone();
    assert_eq!(slots(&after), ["custodian", "alice"]);
    assert_ne!(after.commitment, before.commitment);
    assert_ne!(ciphertexts(&after), ciphertexts(&before));
    assert_eq!(after.version, before.version);
    assert_eq!(world.values("github").len(), 2);
}

#[test]
fn a_scope_may_name_a_member_that_does_not_exist_yet_and_it_gains_when_it_does() {
    let mut world = world();
    world.edit_connection("github", "alice", |connection| {
        connection.spec.members = Some(vec![String::from("web"), String::from("later")]);
    });
    world.settle();
    let first = status(&world, "github");
    assert_eq!(ready_of_connection(&first), ("True", "Available"));
    let resolved = condition(&first.conditions, "ScopeResolved");
    assert_eq!((resolved.status.as_str(), resolved.reason.as_str()), ("False", "UnknownMember"));
    assert!(resolved.message.contains("later"));
    let before = world.envelope("github").spec.clone();
    assert!(listed(&before).iter().any(|member| member.name == "later" && member.uid.is_empty()));

    world.add_account("team-a", "later");
    world.invite_account("later", "member", "alice");
    world.settle();
    let after = world.envelope("github").spec.clone();
    assert_eq!(slots(&after), ["custodian", "alice", "later", "web"]);
    assert_eq!(ciphertexts(&after), ciphertexts(&before), "somebody gained, nobody lost");
    assert_eq!(condition(&status(&world, "github").conditions, "ScopeResolved").status, "True");
}

/// What a member owned stays of use to the others in scope; that somebody should look after it is said.
#[test]
fn a_connection_whose_owner_left_says_so_and_who_can_mend_it() {
    let mut world = world();
    world.edit_vault("alice", |vault| vault.spec.owners.push(crate::world::user("bob")));
    world.settle();
    world.add_connection("bobs", Some(&["web"]), &[("a", "1")], "bob");
    world.settle();
    world.edit_vault("alice", |vault| vault.spec.owners.retain(|owner| *owner != crate::world::user("bob")));
    world.delete_member("bob");
    world.settle();
    let left = status(&world, "bobs");
    assert_eq!(left.phase, Some(ConnectionPhase::Ready));
    let resolved = condition(&left.conditions, "ScopeResolved");
    assert_eq!((resolved.status.as_str(), resolved.reason.as_str()), ("False", "UnknownOwner"));
    assert_eq!(
        resolved.message,
        "spec.owner: 'bob' is no Active member any more; an owner of the vault can set it to one that is"
    );
    assert_eq!(slots(&world.envelope("bobs").spec), ["custodian", "web"]);

    world.edit_connection("bobs", "alice", |connection| connection.spec.owner = Some(String::from("alice")));
    world.settle();
    assert_eq!(condition(&status(&world, "bobs").conditions, "ScopeResolved").status, "True");
    assert_eq!(world.values("bobs"), [(String::from("a"), String::from("1"))]);
}

#[test]
fn a_removed_member_s_slot_goes_at_once_and_a_new_member_of_that_name_gains_nothing_until_listed_again() {
    let mut world = world();
    let before = world.envelope("github").spec.clone();
    world.delete_member("web");
    world.settle();
    let after = world.envelope("github").spec.clone();
    assert_eq!(slots(&after), ["custodian", "alice"]);
    assert_ne!(after.commitment, before.commitment);
    assert_eq!(condition(&status(&world, "github").conditions, "ScopeResolved").status, "False");

    world.invite_account("web", "member", "alice");
    world.settle();
    assert_eq!(slots(&world.envelope("github").spec), ["custodian", "alice"], "the name is another's now");
    for members in [vec![], vec![String::from("web")]] {
        world.edit_connection("github", "alice", |connection| connection.spec.members = Some(members));
        world.settle();
    }
    assert_eq!(slots(&world.envelope("github").spec), ["custodian", "alice", "web"]);
}

#[test]
fn a_suspended_member_loses_its_slot_and_gets_it_back_when_resumed() {
    let mut world = world();
    world.edit_member("web", "alice", |member| member.spec.suspended = true);
    world.settle();
    assert_eq!(slots(&world.envelope("github").spec), ["custodian", "alice"]);
    world.edit_member("web", "mallory", |member| member.spec.suspended = false);
    assert!(world.plan_connection("github").writes.is_empty(), "not before it is judged who resumes it");
    world.settle();
    assert_eq!(slots(&world.envelope("github").spec), ["custodian", "alice"]);
    world.edit_member("web", "alice", |member| member.spec.suspended = true);
    world.edit_member("web", "alice", |member| member.spec.suspended = false);
    world.settle();
    assert_eq!(slots(&world.envelope("github").spec), ["custodian", "alice", "web"]);
}

/// T26: the slot for the account that is gone is under a key of its own; the new account gets another one.
#[test]
fn an_account_that_is_accepted_again_gets_a_slot_of_its_own_under_a_new_data_key() {
    let mut world = world();
    let before = world.envelope("github").spec.clone();
    world.delete(|caches| &caches.accounts, &Key::new("team-a", "web"));
    world.add_account("team-a", "web");
    let mut account = world.caches.accounts.get(&Key::new("team-a", "web")).unwrap().as_ref().clone();
    account.annotations_mut().insert(String::from("coffer.dev/accept"), String::from("team-a/main"));
    world.update(|caches| &caches.accounts, account);
    world.settle();
    let after = world.envelope("github").spec.clone();
    assert_eq!(slots(&after), ["custodian", "alice", "web"]);
    assert_ne!(after.commitment, before.commitment, "there was a moment without a slot for web");
}

#[test]
fn members_with_restricted_roles_have_slots_of_their_own_in_what_they_cover() {
    let mut world = world();
    world.edit_vault("alice", |vault| {
        vault.spec.roles =
            serde_json::from_value(json!([{"name": "ci", "verbs": ["use"], "connections": ["gh-*"]}]))
                .unwrap();
    });
    world.add_account("team-a", "ci");
    world.invite_account("ci", "ci", "alice");
    world.add_connection("gh-one", None, &[("a", "1")], "alice");
    world.add_connection("aws", None, &[("a", "1")], "alice");
    world.add_connection("aws-ci", Some(&["ci"]), &[("a", "1")], "alice");
    world.settle();
    assert_eq!(slots(&world.envelope("gh-one").spec), ["custodian", "vault", "ci"]);
    assert_eq!(slots(&world.envelope("aws").spec), ["custodian", "vault"]);
    assert_eq!(
        slots(&world.envelope("aws-ci").spec),
        ["custodian", "alice"],
        "listed, but outside its globs"
    );
    let before = world.envelope("gh-one").spec.commitment.clone();
    world.delete_member("ci");
    world.settle();
    let after = world.envelope("gh-one").spec.clone();
    assert_eq!(slots(&after), ["custodian", "vault"]);
    assert_ne!(after.commitment, before);
}

/// C7: who could read a value and cannot any more is named until there is another value.
#[test]
fn whoever_loses_access_is_named_until_the_value_is_another() {
    let mut world = world();
    world.add_connection("open", None, &[("a", "1")], "alice");
    world.settle();
    let advised = |world: &World, name: &str| {
        let envelope = world.envelope(name);
        envelope.spec.advised.iter().map(|advised| advised.member.clone()).collect::<Vec<_>>()
    };
    world.edit_member("web", "alice", |member| member.spec.suspended = true);
    world.settle();
    assert_eq!(advised(&world, "open"), ["web"], "suspended, and still in the register");
    world.edit_member("web", "alice", |member| member.spec.suspended = false);
    world.settle();
    world.delete_member("job");
    world.settle();
    assert_eq!(advised(&world, "open"), ["web", "job"]);
    let said = condition(&status(&world, "open").conditions, "ProviderRotationAdvised").clone();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("True", "MemberCouldRead"));
    let sealed = world.seal("open", "alice", "a", "2");
    world.edit_connection("open", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("a"), sealed);
    });
    world.settle();
    assert!(advised(&world, "open").is_empty());
    let said = condition(&status(&world, "open").conditions, "ProviderRotationAdvised").clone();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("False", "ValueChanged"));
    // Closing it to a list names everybody else who had the vault key, and nobody twice.
    world.edit_connection("open", "alice", |connection| connection.spec.members = Some(vec![]));
    world.settle();
    let closed = advised(&world, "open");
    assert!(closed.contains(&String::from("web")) && !closed.contains(&String::from("alice")), "{closed:?}");
}

/// What the logs say of reads, at the time that the world has.
fn told(world: &World, reads: &[(&str, &str, i64)]) -> BTreeMap<About, Told> {
    let read = |(member, connection, second): &(&str, &str, i64)| {
        let at = world.now + k8s_openapi::jiff::SignedDuration::from_secs(*second);
        ((String::from(*member), Key::new("team-a", *connection)), at)
    };
    let all: LastReads = reads.iter().map(read).collect();
    let told = Told { asked_at: world.now, out: Some(String::new()), reads: Arc::new(all) };
    reads.iter().map(|(member, ..)| (About::Member(String::from(*member)), told.clone())).collect()
}

fn reasons(world: &World, name: &str) -> Vec<(String, String)> {
    let advised = world.envelope(name).spec.advised.clone();
    advised.into_iter().map(|advised| (advised.member, advised.reason)).collect()
}

fn named(member: &str, reason: &str) -> (String, String) {
    (String::from(member), String::from(reason))
}

/// C7, C10: of what a leaver could read, what the audit logs say that it did read; of the present value only.
#[test]
fn whoever_did_read_the_present_value_is_named_for_that() {
    let mut world = world();
    for name in ["one", "two", "three"] {
        world.add_connection(name, None, &[("a", "1")], "alice");
    }
    world.settle();
    world.pass(1);
    let sealed = world.seal("three", "alice", "a", "2");
    world.edit_connection("three", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("a"), sealed);
    });
    world.settle();
    // The last read of `three` was of the value before, by a second.
    world.reads = Reads::settled(told(&world, &[("job", "one", 0), ("job", "three", -1)]));
    world.delete_member("job");
    world.settle();
    assert_eq!(reasons(&world, "one"), [named("job", "MemberDidRead")]);
    assert_eq!(reasons(&world, "two"), [named("job", "MemberCouldRead")]);
    assert_eq!(reasons(&world, "three"), [named("job", "MemberCouldRead")]);
    let said = |name: &str| condition(&status(&world, name).conditions, "ProviderRotationAdvised").clone();
    assert_eq!(
        (said("one").reason.as_str(), said("one").message.as_str()),
        ("MemberDidRead", "the value was read by job")
    );
    assert_eq!(said("two").message, "the value could have been read by job");
    assert_eq!(status(&world, "one").advised, world.envelope("one").spec.advised);

    // Somebody else goes who did not read it: both are named, and a new value ends it.
    world.delete_member("web");
    world.settle();
    assert_eq!(reasons(&world, "one"), [named("job", "MemberDidRead"), named("web", "MemberCouldRead")]);
    let said = condition(&status(&world, "one").conditions, "ProviderRotationAdvised").clone();
    assert_eq!(said.message, "the value was read by job; could have been read by web");
    let sealed = world.seal("one", "alice", "a", "2");
    world.edit_connection("one", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("a"), sealed);
    });
    world.settle();
    assert!(reasons(&world, "one").is_empty() && status(&world, "one").advised.is_empty());
}

/// A read in the very second in which the value was written counts.
#[test]
fn times_are_compared_in_whole_seconds() {
    let mut world = world();
    world.add_connection("one", None, &[("a", "1")], "alice");
    world.settle();
    world.reads = Reads::settled(told(&world, &[("job", "one", 0)]));
    world.edit_connection("one", "alice", |connection| connection.spec.members = Some(vec![]));
    world.settle();
    assert!(reasons(&world, "one").contains(&named("job", "MemberDidRead")));
    assert!(reasons(&world, "one").contains(&named("web", "MemberCouldRead")));
}

/// Nothing is written before the logs were asked, and nothing but what they say depends on it.
#[test]
fn a_plan_that_is_to_name_somebody_asks_first_and_writes_nothing_meanwhile() {
    let mut world = world();
    world.add_connection("one", None, &[("a", "1")], "alice");
    world.settle();
    world.reads = Reads::asking(BTreeMap::new(), world.now);
    assert!(world.plan_connection("one").unasked.is_empty(), "nobody loses anything");
    world.edit_connection("one", "alice", |connection| {
        connection.spec.members = Some(vec![String::from("web")]);
    });
    let plan = world.plan_connection("one");
    let asked: Vec<&str> = plan.unasked.iter().map(|loss| loss.member.as_str()).collect();
    assert_eq!(asked, ["job"]);
    assert!(plan.writes.is_empty() && plan.notices.is_empty());
    world.reads = Reads::asking(told(&world, &[("job", "one", 0)]), world.now);
    assert!(world.plan_connection("one").unasked.is_empty());
    world.settle();
    assert_eq!(reasons(&world, "one"), [named("job", "MemberDidRead")]);
}

/// A scope that is to be for everybody waits with the vault's keys, and says so meanwhile; one that is as asked for does not.
#[test]
fn a_scope_that_waits_for_an_epoch_is_not_said_to_be_in_effect() {
    let mut world = world();
    world.add_connection("one", Some(&["web"]), &[("a", "1")], "alice");
    world.add_connection("two", None, &[("a", "1")], "alice");
    world.settle();
    world.delete_member("job");
    let begin = world.plan_vault().writes.into_iter().next().unwrap();
    world.apply_vault(begin);
    world.edit_connection("one", "alice", |connection| {
        connection.spec.members = Some(vec![String::from("*")]);
    });
    for name in ["one", "two"] {
        for write in world.plan_connection(name).writes {
            world.apply_connection(name, write);
        }
    }
    assert_eq!(ready_of_connection(&status(&world, "one")), ("False", "Pending"));
    assert_eq!(ready_of_connection(&status(&world, "two")), ("True", "Available"));
    world.settle();
    assert_eq!(ready_of_connection(&status(&world, "one")), ("True", "Available"));
}
