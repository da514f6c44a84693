//! Whose invites, grants and owners take effect.

use super::*;

#[test]
fn an_invite_by_somebody_who_may_not_invite_is_not_applied_and_says_so() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "admin", "mallory");
    let plan = world.plan_vault();
    assert_eq!(plan.refused, 1);
    world.settle();
    let status = world.member_status("web");
    assert_eq!(ready_of_member(&status), ("False", "NotAuthorized"));
    assert!(status.wrapped_keys.is_empty() && world.keys().member("web").is_none());
    assert!(condition(&status.conditions, "Ready").message.contains("mallory"));
}

#[test]
fn a_role_that_its_author_may_not_grant_leaves_the_member_as_it_was() {
    let mut world = World::with_vault();
    world.add_account("team-a", "web");
    world.invite_account("web", "member", "alice");
    world.settle();
    world.edit_member("web", "mallory", |member| {
        member.spec.role = String::from("owner");
        member.spec.invited_by = Some(author("mallory"));
    });
    world.settle();
    assert_eq!(world.keys().member("web").unwrap().role, "member");
    let status = world.member_status("web");
    assert_eq!(
        (status.phase, ready_of_member(&status)),
        (Some(MemberPhase::Active), ("False", "NotAuthorized"))
    );
}

#[test]
fn owners_added_by_somebody_who_is_no_owner_are_not_made() {
    let mut world = World::with_vault();
    world.edit_vault("mallory", |vault| vault.spec.owners.push(user("mallory")));
    world.settle();
    assert_eq!(ready_of_vault(&world.vault().status.clone().unwrap()), ("False", "NotAuthorized"));
    assert_eq!(world.keys().members().len(), 1);
    world.edit_vault("alice", |vault| vault.spec.owners = vec![user("alice"), user("bob")]);
    world.settle();
    assert_eq!(world.member_status("bob").phase, Some(MemberPhase::Active));
}

#[test]
fn an_owner_taken_out_of_the_list_loses_the_membership_that_the_operator_made() {
    let mut world = World::with_vault();
    world.edit_vault("alice", |vault| vault.spec.owners.push(user("bob")));
    world.settle();
    world.edit_vault("alice", |vault| vault.spec.owners = vec![user("alice")]);
    world.settle();
    assert!(world.caches.members.get(&Key::new("team-a", "bob")).is_none());
    assert!(world.keys().member("bob").is_none());
    assert_eq!(world.keys().current(), 2);
}

#[test]
fn a_listed_owner_that_was_deleted_or_demoted_comes_back() {
    let mut world = World::with_vault();
    world.delete_member("alice");
    world.settle();
    assert_eq!(world.member_status("alice").phase, Some(MemberPhase::Active));
    world.edit_member("alice", "alice", |member| member.spec.role = String::from("member"));
    world.settle();
    assert_eq!(world.keys().member("alice").unwrap().role, "owner");
    world.edit_member("alice", "alice", |member| member.spec.suspended = true);
    world.settle();
    assert_eq!(
        world.member_status("alice").phase,
        Some(MemberPhase::Active),
        "the last owner is not suspended"
    );
}
