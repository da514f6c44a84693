//! Whose writes take effect, and whose sealed input opens.

use super::*;

#[test]
fn a_change_by_somebody_who_may_not_make_it_leaves_the_envelope_as_it_is() {
    let mut world = world();
    let before = world.envelope("github").spec.clone();
    world.edit_connection("github", "mallory", |connection| {
        connection.spec.members = Some(vec![String::from("*")])
    });
    let plan = world.plan_connection("github");
    assert!(plan.refused);
    world.settle();
    assert_eq!(world.envelope("github").spec, before);
    let status = status(&world, "github");
    assert_eq!(
        (status.phase, ready_of_connection(&status)),
        (Some(ConnectionPhase::Ready), ("False", "NotAuthorized"))
    );
    assert_eq!(status.version, Some(1), "the last good values stay");
}

#[test]
fn a_removal_takes_effect_even_while_a_change_waits_for_an_author_who_may() {
    let mut world = world();
    world.edit_connection("github", "mallory", |connection| {
        connection.spec.members = Some(vec![String::from("*")])
    });
    world.settle();
    world.delete_member("web");
    world.settle();
    assert_eq!(slots(&world.envelope("github").spec), ["custodian", "alice"]);
    assert_eq!(ready_of_connection(&status(&world, "github")), ("False", "NotAuthorized"));
}

#[test]
fn a_connection_made_by_a_stranger_or_for_another_owner_is_not_sealed() {
    let mut world = world();
    world.add_connection("theirs", None, &[("a", "1")], "mallory");
    world.settle();
    assert!(world.caches.envelopes.get(&Key::new("team-a", "theirs")).is_none());
    let status = status(&world, "theirs");
    assert_eq!(
        (status.phase, ready_of_connection(&status)),
        (Some(ConnectionPhase::Invalid), ("False", "NotAuthorized"))
    );
}

/// T2: sealed bytes open only where they were sealed for.
#[test]
fn sealed_bytes_copied_from_another_connection_or_item_do_not_open_and_the_last_values_stay() {
    let mut world = world();
    let foreign = world.seal("gitlab", "alice", "token", "x");
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("token"), foreign);
    });
    world.settle();
    assert_eq!(ready_of_connection(&status(&world, "github")), ("False", "SealedDataUnreadable"));
    assert!(condition(&status(&world, "github").conditions, "Ready").message.contains("sealedData[token]"));
    assert_eq!(world.values("github")[0].1, "t0p");
    let copied = world.connection("github").spec.sealed_data["user"].clone();
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("token"), copied);
    });
    world.settle();
    assert_eq!(ready_of_connection(&status(&world, "github")), ("False", "SealedDataUnreadable"));
}

#[test]
fn a_transfer_keeps_the_values_although_they_were_sealed_for_the_former_owner() {
    let mut world = world();
    world.edit_vault("alice", |vault| vault.spec.owners.push(crate::world::user("bob")));
    world.settle();
    world.edit_connection("github", "alice", |connection| connection.spec.owner = Some(String::from("bob")));
    world.settle();
    let envelope = world.envelope("github");
    assert_eq!((envelope.spec.owner.name.as_str(), envelope.spec.version), ("bob", 1));
    assert_eq!(slots(&envelope.spec), ["custodian", "bob", "web"]);
    assert_eq!(world.values("github")[0].1, "t0p");
}

#[test]
fn a_connection_without_a_stamped_author_is_not_sealed() {
    let mut world = World::with_vault();
    world.add_connection("github", None, &[("a", "1")], "alice");
    let mut connection = world.connection("github").as_ref().clone();
    connection.spec.last_writer = None;
    world.update(|caches| &caches.connections, connection);
    world.settle();
    assert_eq!(ready_of_connection(&status(&world, "github")), ("False", "NotAuthorized"));
}
