#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeMap;

use coffer_crds::{ConnectionPhase, EnvelopeMember, EnvelopeScope, EnvelopeSpec, SlotRecipient};
use kube::ResourceExt as _;
use serde_json::json;

use super::*;
use crate::{
    cache::Key,
    installation::custody::Custody as CustodyState,
    world::{World, condition, ready_of_connection},
};

fn kinds(writes: &[Write]) -> Vec<&'static str> {
    let kind = |write: &Write| match write {
        Write::CreateEnvelope(_) => "create envelope",
        Write::ReplaceEnvelope(_) => "replace envelope",
        Write::Status(_) => "status",
    };
    writes.iter().map(kind).collect()
}

/// Slots as `vault`, `custodian`, or the member's name.
fn slots(spec: &EnvelopeSpec) -> Vec<String> {
    let name = |slot: &coffer_crds::Slot| match slot.to {
        SlotRecipient::Vault => String::from("vault"),
        SlotRecipient::Custodian => String::from("custodian"),
        SlotRecipient::Member => slot.name.clone().unwrap(),
    };
    spec.slots.iter().map(name).collect()
}

fn ciphertexts(spec: &EnvelopeSpec) -> BTreeMap<String, String> {
    spec.items.iter().map(|(name, item)| (name.clone(), item.ct.clone())).collect()
}

fn listed(spec: &EnvelopeSpec) -> Vec<EnvelopeMember> {
    match &spec.members {
        EnvelopeScope::All(_) => panic!("everybody"),
        EnvelopeScope::Listed(members) => members.clone(),
    }
}

/// alice, web and job are Active; `github` is shared with web.
fn world() -> World {
    let mut world = World::with_vault();
    for name in ["web", "job"] {
        world.add_account("team-a", name);
        world.invite_account(name, "member", "alice");
    }
    world.settle();
    world.add_connection("github", Some(&["web"]), &[("token", "t0p"), ("user", "octocat")], "alice");
    world.settle();
    world
}

fn status(world: &World, name: &str) -> coffer_crds::ConnectionStatus {
    world.connection(name).status.clone().unwrap()
}

#[test]
fn sealed_input_becomes_an_envelope_before_the_status_says_so() {
    let mut world = World::with_vault();
    world.add_connection("github", None, &[("token", "t0p")], "alice");
    let plan = world.plan_connection("github");
    assert_eq!(kinds(&plan.writes), ["create envelope", "status"]);
    let Write::CreateEnvelope(envelope) = &plan.writes[0] else { panic!("an Envelope") };
    let owner = &envelope.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.controller), ("Connection", Some(true)));
    world.settle();
    assert_eq!(world.values("github"), [(String::from("token"), String::from("t0p"))]);
    let status = status(&world, "github");
    assert_eq!(
        (status.phase, ready_of_connection(&status)),
        (Some(ConnectionPhase::Ready), ("True", "Available"))
    );
    assert_eq!((status.version, status.key_epoch), (Some(1), Some(1)));
    assert_eq!(status.items, ["token"]);
    assert_eq!(status.created_by.as_deref(), Some("alice"));
    assert!(status.last_refreshed.is_some() && status.created_at.is_some());
}

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

#[test]
fn the_same_value_sealed_again_makes_no_new_version_and_keeps_the_ciphertext() {
    let mut world = world();
    let before = world.envelope("github").spec.clone();
    let again = world.seal("github", "alice", "token", "t0p");
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("token"), again);
    });
    world.settle();
    let after = world.envelope("github").spec.clone();
    assert_eq!((after.version, after.revision), (1, before.revision + 1));
    assert_eq!(ciphertexts(&after), ciphertexts(&before));
    assert_eq!(world.plan_connection("github").writes, []);
}

#[test]
fn a_new_value_makes_a_new_version_under_a_new_data_key() {
    let mut world = world();
    let before = world.envelope("github").spec.clone();
    let new = world.seal("github", "alice", "token", "n3w");
    world.pass(1);
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("token"), new);
    });
    world.settle();
    let after = world.envelope("github").spec.clone();
    assert_eq!(after.version, 2);
    assert_ne!(after.commitment, before.commitment);
    assert_eq!(after.history.len(), 2);
    assert_eq!(world.values("github")[0].1, "n3w");
    assert_ne!(status(&world, "github").last_refreshed, status(&world, "github").created_at);
}

#[test]
fn an_item_taken_out_is_gone_and_makes_a_new_version() {
    let mut world = world();
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.remove("user");
    });
    world.settle();
    assert_eq!(world.values("github"), [(String::from("token"), String::from("t0p"))]);
    assert_eq!(status(&world, "github").version, Some(2));
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

#[test]
fn a_connection_for_everybody_says_that_its_turn_over_is_to_come_and_a_listed_one_needs_none() {
    let mut world = world();
    world.add_connection("open", None, &[("a", "1")], "alice");
    world.settle();
    world.delete_member("job");
    world.settle();
    let pending = |name: &str| {
        let status = status(&world, name);
        let found = condition(&status.conditions, "RotationPending").clone();
        (found.status, found.reason)
    };
    assert_eq!(pending("open"), (String::from("True"), String::from("MemberRemoved")));
    assert_eq!(pending("github").0, "False");
}

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

/// T22.
#[test]
fn an_envelope_that_is_altered_or_cut_off_is_left_alone_and_says_so() {
    let alterations: [fn(&mut EnvelopeSpec); 5] = [
        |spec| spec.version += 1,
        |spec| spec.items.values_mut().for_each(|item| item.ct.truncate(item.ct.len() - 4)),
        |spec| spec.items.values_mut().for_each(|item| item.ct.clear()),
        |spec| drop(spec.slots.pop()),
        |spec| spec.signature.truncate(20),
    ];
    for (number, alter) in alterations.into_iter().enumerate() {
        let mut world = world();
        let mut bad = world.envelope("github").as_ref().clone();
        alter(&mut bad.spec);
        world.update(|caches| &caches.envelopes, bad.clone());
        world.settle();
        assert_eq!(world.envelope("github").spec, bad.spec, "alteration {number}");
        let status = status(&world, "github");
        assert_eq!(
            (status.phase, ready_of_connection(&status)),
            (Some(ConnectionPhase::Invalid), ("False", "EnvelopeInvalid")),
            "alteration {number}"
        );
    }
}

#[test]
fn an_envelope_of_another_object_is_not_adopted() {
    let mut world = world();
    let mut left = world.envelope("github").as_ref().clone();
    world.delete(|caches| &caches.connections, &Key::new("team-a", "github"));
    left.metadata.owner_references = None;
    world.create(|caches| &caches.envelopes, left.clone());
    world.add_connection("github", Some(&["job"]), &[("token", "other")], "alice");
    world.settle();
    assert_eq!(world.envelope("github").spec, left.spec);
    assert_eq!(ready_of_connection(&status(&world, "github")), ("False", "NotAdopted"));
}

#[test]
fn an_envelope_that_is_gone_is_sealed_again_from_the_spec_above_the_version_that_clients_saw() {
    let mut world = world();
    world.delete(|caches| &caches.envelopes, &Key::new("team-a", "github"));
    world.settle();
    assert_eq!(world.envelope("github").spec.version, 2);
    assert_eq!(world.values("github")[0].1, "t0p");
}

#[test]
fn of_two_connections_for_one_place_the_younger_is_invalid_until_the_older_goes() {
    let mut world = world();
    let claim = |connection: &mut Connection| {
        connection.spec.provider = Some(String::from("github"));
        connection.spec.connection_name = Some(String::from("default"));
    };
    world.edit_connection("github", "alice", claim);
    world.pass(1);
    world.add_connection("again", None, &[("a", "1")], "alice");
    world.edit_connection("again", "alice", claim);
    world.settle();
    let again = status(&world, "again");
    assert_eq!(
        (again.phase, ready_of_connection(&again)),
        (Some(ConnectionPhase::Invalid), ("False", "Duplicate"))
    );
    assert!(world.caches.envelopes.get(&Key::new("team-a", "again")).is_none());
    assert_eq!(ready_of_connection(&status(&world, "github")), ("True", "Available"));
    world.delete(|caches| &caches.connections, &Key::new("team-a", "github"));
    world.settle();
    assert_eq!(ready_of_connection(&status(&world, "again")), ("True", "Available"));
}

#[test]
fn a_namespace_that_the_vault_does_not_admit_is_invalid() {
    let world = world();
    let mut connection = world.connection("github").as_ref().clone();
    connection.metadata.namespace = Some(String::from("elsewhere"));
    connection.status = None;
    connection.spec.vault = Some(coffer_crds::VaultRef {
        name: Some(String::from("main")),
        namespace: Some(String::from("team-a")),
    });
    let facts = crate::connection::fetch::gather(
        std::sync::Arc::new(connection),
        None,
        &world.custody,
        &world.caches,
        &world.keyrings,
        crate::world::OPERATOR,
    );
    let plan = plan(&facts, world.now, &mut crate::context::rng());
    let [Write::Status(status)] = plan.writes.as_slice() else { panic!("a status only") };
    assert_eq!(
        (status.phase, ready_of_connection(status)),
        (Some(ConnectionPhase::Invalid), ("False", "NamespaceNotAllowed"))
    );
}

#[test]
fn an_unknown_vault_and_a_vault_without_keys_are_waited_for() {
    let mut world = World::new();
    let mut connection = Connection::new("github", coffer_crds::ConnectionSpec::default());
    connection.metadata.namespace = Some(String::from("team-a"));
    connection.spec.vault = Some(coffer_crds::VaultRef { name: Some(String::from("main")), namespace: None });
    world.create(|caches| &caches.connections, connection);
    world.settle();
    let first = status(&world, "github");
    assert_eq!(
        (first.phase, ready_of_connection(&first)),
        (Some(ConnectionPhase::Pending), ("False", "UnknownVault"))
    );
    world.add_vault(json!({"owners": [{"user": {"name": "alice"}}]}), "alice");
    for write in world.plan_connection("github").writes {
        world.apply_connection("github", write);
    }
    assert_eq!(ready_of_connection(&status(&world, "github")), ("False", "VaultNotReady"));
}

#[test]
fn a_connection_expires_to_the_second_and_a_new_value_begins_its_ttl_again() {
    let mut world = world();
    world.edit_connection("github", "alice", |connection| connection.spec.ttl = Some(String::from("2h")));
    world.settle();
    let next = world.plan_connection("github").next.unwrap();
    assert_eq!(next, world.now + k8s_openapi::jiff::SignedDuration::from_hours(2));
    world.pass(2);
    world.settle();
    let expired = status(&world, "github");
    assert_eq!(
        (expired.phase, ready_of_connection(&expired)),
        (Some(ConnectionPhase::Expired), ("False", "Expired"))
    );
    let new = world.seal("github", "alice", "token", "n3w");
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("token"), new);
    });
    world.settle();
    assert_eq!(ready_of_connection(&status(&world, "github")), ("True", "Available"));
}

/// T31.
#[test]
fn everybody_and_a_name_together_change_nothing() {
    let mut world = world();
    let before = world.envelope("github").spec.clone();
    world.edit_connection("github", "alice", |connection| {
        connection.spec.members = Some(vec![String::from("*"), String::from("web")]);
    });
    world.settle();
    assert_eq!(world.envelope("github").spec, before);
    assert_eq!(ready_of_connection(&status(&world, "github")), ("False", "InvalidSpec"));
}

#[test]
fn without_the_custodian_root_a_connection_is_left_exactly_as_it_is() {
    let mut world = world();
    world.custody = CustodyState::Unavailable("gone".into());
    world.keyrings.forget();
    let facts = crate::connection::fetch::gather(
        world.connection("github"),
        Some(world.envelope("github")),
        &world.custody,
        &world.caches,
        &world.keyrings,
        crate::world::OPERATOR,
    );
    // `fetch` gives nothing to plan from; should it ever, no Envelope is written.
    let plan = plan(&facts, world.now, &mut crate::context::rng());
    assert!(!kinds(&plan.writes).iter().any(|kind| kind.contains("envelope")));
}

/// T40.
#[test]
fn a_second_look_hours_later_writes_nothing() {
    let mut world = world();
    world.add_connection("open", None, &[("a", "1")], "alice");
    world.settle();
    world.pass(7);
    for name in ["github", "open"] {
        assert_eq!(world.plan_connection(name).writes, []);
    }
}

#[test]
fn too_much_is_refused_with_the_limit_in_the_text() {
    let mut world = world();
    let big = "x".repeat(64 * 1024 + 1);
    let sealed = world.seal("github", "alice", "token", &big);
    world.edit_connection("github", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("token"), sealed);
    });
    world.settle();
    assert_eq!(ready_of_connection(&status(&world, "github")), ("False", "TooLarge"));
    assert!(condition(&status(&world, "github").conditions, "Ready").message.contains("65536"));
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
