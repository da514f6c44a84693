#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod authors;
mod scope;

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
        world.judge(),
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
        world.judge(),
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

/// T2: an older Envelope is a valid one, and is not taken for the present one.
#[test]
fn an_older_envelope_that_is_put_back_is_told_of_and_deleting_it_brings_the_present_values() {
    let mut world = world();
    world.add_connection("api", None, &[("a", "1")], "alice");
    world.settle();
    let old = world.envelope("api").as_ref().clone();
    let sealed = world.seal("api", "alice", "a", "2");
    world.edit_connection("api", "alice", |connection| {
        connection.spec.sealed_data.insert(String::from("a"), sealed);
    });
    world.settle();
    let key = crate::cache::Key::new("team-a", "api");
    world.delete(|caches| &caches.envelopes, &key);
    world.create(|caches| &caches.envelopes, old);
    world.settle();
    let said = status(&world, "api");
    assert_eq!(ready_of_connection(&said), ("False", "EnvelopeInvalid"));
    assert_eq!(said.version, Some(2), "what was known stays to be seen");
    world.delete(|caches| &caches.envelopes, &key);
    world.settle();
    assert_eq!(world.values("api"), [(String::from("a"), String::from("2"))]);
    assert_eq!(world.envelope("api").spec.version, 3);
}
