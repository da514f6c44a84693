mod plaintext;
mod vaults;

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::{
    applied::LAST_APPLIED,
    fixtures::{
        Custodian, account, circumstances, cluster, connection, member, patched, put, request, review, rng,
        user, vault,
    },
    review::answer,
    state::Patience,
};

struct World {
    custodian: Custodian,
    directory: Directory,
}

impl World {
    fn new() -> Self {
        let custodian = Custodian::new();
        let directory = cluster(&custodian);
        Self { custodian, directory }
    }

    async fn write(&self, by: &str, object: &Value, old: &Value) -> Result<(Value, Vec<String>), Refusal> {
        let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
        let request = request(operation, by, object.clone(), old.clone());
        let admitted = admit(request, &self.directory, &circumstances(), &mut rng()).await?;
        Ok((patched(object, &admitted.patch), admitted.warnings))
    }

    async fn create(&self, by: &str, spec: Value) -> Result<Value, Refusal> {
        Ok(self.write(by, &manifest(spec), &Value::Null).await?.0)
    }

    async fn update(&self, by: &str, object: &Value, old: &Value) -> Result<Value, Refusal> {
        Ok(self.write(by, object, old).await?.0)
    }

    async fn refused(&self, by: &str, spec: Value) -> String {
        self.create(by, spec).await.expect_err("must be refused").to_string()
    }
}

fn manifest(mut spec: Value) -> Value {
    if spec.get("vault").is_none() {
        spec["vault"] = json!({"name": "team"});
    }
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Connection",
        "metadata": {"namespace": "a", "name": "github"}, "spec": spec,
    })
}

fn stamp_of(username: &str) -> Value {
    json!({"username": username, "uid": format!("uid-of-{username}"), "groups": ["system:authenticated"]})
}

#[tokio::test]
async fn what_was_plain_is_stored_sealed_and_opens_for_the_custodian() {
    let world = World::new();
    let stored = world
        .create("alice", json!({"stringData": {"token": "hunter2", "user": "bot"}}))
        .await
        .expect("alice may");
    assert_eq!(stored["spec"].get("stringData"), None);
    assert_eq!(world.custodian.open(&stored, "token").as_deref(), Some("hunter2"));
    assert_eq!(world.custodian.open(&stored, "user").as_deref(), Some("bot"));
    assert_eq!(stored["spec"]["owner"], "alice");
    assert_eq!(stored["spec"]["lastWriter"], stamp_of("alice"));
}

/// T2: sealed bytes copied to another name, owner or item do not open.
#[tokio::test]
async fn sealed_bytes_open_at_their_own_place_only() {
    let world = World::new();
    let stored = world.create("alice", json!({"stringData": {"token": "hunter2"}})).await.expect("alice may");
    for (pointer, value) in
        [("/metadata/name", "other"), ("/metadata/namespace", "b"), ("/spec/owner", "bob")]
    {
        let mut moved = stored.clone();
        *moved.pointer_mut(pointer).expect("there") = value.into();
        assert_eq!(world.custodian.open(&moved, "token"), None, "{pointer}");
    }
    let mut renamed = stored.clone();
    renamed["spec"]["sealedData"]["other"] = stored["spec"]["sealedData"]["token"].clone();
    assert_eq!(world.custodian.open(&renamed, "other"), None);
}

/// T20: the author is whom the API server authenticated: a user, or a ServiceAccount; with its groups.
#[tokio::test]
async fn a_client_sent_author_is_overwritten_for_users_and_service_accounts() {
    let world = World::new();
    put(&world.directory, member("a", "ci", account("team", "ci", "admin"), "Active"));
    for by in ["alice", "bob", "system:serviceaccount:a:ci"] {
        let forged = json!({"username": "root", "groups": ["system:masters"]});
        let stored = world
            .create(by, json!({"lastWriter": forged, "stringData": {"k": "v"}}))
            .await
            .expect("a member may");
        assert_eq!(stored["spec"]["lastWriter"], stamp_of(by));
    }
}

/// T20: and an update that changes nothing but the author changes nothing.
#[tokio::test]
async fn an_author_alone_cannot_be_changed() {
    let world = World::new();
    let stored = world.create("alice", json!({"stringData": {"k": "v"}})).await.expect("alice may");
    let mut forged = stored.clone();
    forged["spec"]["lastWriter"] = json!({"username": "root"});
    assert_eq!(world.update("mallory", &forged, &stored).await, Ok(stored.clone()));
    forged["spec"].as_object_mut().expect("an object").remove("lastWriter");
    assert_eq!(world.update("bob", &forged, &stored).await, Ok(stored));
}

/// Garbage collection, storage migration and tools that write metadata must pass, whoever they are.
#[tokio::test]
async fn an_update_of_metadata_passes_untouched_for_everybody() {
    let world = World::new();
    let stored = world.create("alice", json!({"stringData": {"k": "v"}})).await.expect("alice may");
    let mut labelled = stored.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    labelled["metadata"]["finalizers"] = json!(["x/y"]);
    assert_eq!(world.update("system:serviceaccount:kube-system:x", &labelled, &stored).await, Ok(labelled));
}

#[tokio::test]
async fn a_change_is_stamped_with_who_made_it_and_the_owner_stays() {
    let world = World::new();
    let stored = world.create("alice", json!({"stringData": {"k": "v"}})).await.expect("alice may");
    let mut changed = stored.clone();
    changed["spec"]["stringData"] = json!({"k": "w"});
    changed["spec"].as_object_mut().expect("an object").remove("owner");
    changed["spec"].as_object_mut().expect("an object").remove("vault");
    let after = world.update("bob", &changed, &stored).await.expect("an admin may");
    assert_eq!(after["spec"]["lastWriter"], stamp_of("bob"));
    assert_eq!(after["spec"]["owner"], "alice");
    assert_eq!(after["spec"]["vault"], stored["spec"]["vault"]);
    assert_eq!(world.custodian.open(&after, "k").as_deref(), Some("w"));
}

#[tokio::test]
async fn a_creator_cannot_make_another_the_owner() {
    let world = World::new();
    let text = world.refused("bob", json!({"owner": "alice", "stringData": {"k": "v"}})).await;
    assert!(text.starts_with("spec.owner: whoever creates a Connection owns it"), "{text}");
    assert!(world.create("bob", json!({"owner": "bob"})).await.is_ok());
}

#[tokio::test]
async fn who_is_no_member_or_may_not_write_is_refused() {
    let world = World::new();
    let text = world.refused("mallory", json!({"stringData": {"k": "hunter2"}})).await;
    assert!(text.contains("'mallory' is no member of vault 'team'"), "{text}");
    let text = world.refused("system:serviceaccount:a:web", json!({"stringData": {"k": "hunter2"}})).await;
    assert!(text.contains("does not allow 'write'"), "{text}");
}

/// A ServiceAccount by another's name, a group of nobody's, an empty name: none of them is alice (T25).
#[tokio::test]
async fn no_identity_is_not_more_than_any() {
    let world = World::new();
    for by in [
        "system:anonymous",
        "*",
        "Alice",
        "alice ",
        "system:serviceaccount:b:web",
        "system:serviceaccount:a:",
    ] {
        assert!(world.create(by, json!({"stringData": {"k": "v"}})).await.is_err(), "{by}");
    }
}

#[tokio::test]
async fn a_name_must_be_known_when_values_are_sealed() {
    let world = World::new();
    let mut object = manifest(json!({"stringData": {"k": "v"}}));
    object["metadata"] = json!({"generateName": "x-", "namespace": "a"});
    let text = world.update("alice", &object, &Value::Null).await.expect_err("no name").to_string();
    assert!(text.starts_with("metadata.name: ") && text.contains("generateName"), "{text}");
}

/// T31
#[tokio::test]
async fn everybody_and_somebody_in_one_scope_is_refused() {
    let world = World::new();
    let text = world.refused("alice", json!({"members": ["*", "bob"]})).await;
    assert_eq!(text, "spec.members: is either [\"*\"], every member, or a list of names");
    let many: Vec<String> = (0..257).map(|n| format!("m{n}")).collect();
    let text = world.refused("alice", json!({ "members": many })).await;
    assert_eq!(text, "spec.members: lists 257 entries; at most 256");
}

#[tokio::test]
async fn bad_fields_are_refused_with_field_problem_and_accepted_form() {
    let world = World::new();
    for (spec, expected) in [
        (json!({"ttl": "1y"}), "spec.ttl: must be a whole number above 0 and h, d, w or m"),
        (json!({"ttl": "-90d"}), "spec.ttl: must be a whole number above 0 and h, d, w or m"),
        (json!({"alias": "a b"}), "spec.alias: must be 1 to 64 letters, digits, '_' or '-'"),
        (json!({"type": "apikey"}), "spec.type: must be one of opaque, api-key, access-token, "),
        (json!({"onChange": "reload"}), "spec.onChange: must be one of None, Signal, Restart"),
        (json!({"members": "bob"}), "spec.members: must be a list, not a string"),
        (json!({"members": ["web", "Bob"]}), "spec.members[1]: must be the name of a VaultMember"),
        (json!({"vault": "hunter2"}), "spec.vault: must be an object, not a string"),
        (json!({"owner": "Alice"}), "spec.owner: must be a name of 1 to 63 lower-case letters"),
        (json!({"expiresAt": "hunter2"}), "spec.expiresAt: must be a time such as 2026-01-31T00:00:00Z"),
        (
            json!({"stringData": {"a/b": "hunter2"}}),
            "spec.stringData.a/b: an item's name has 1 to 253 letters",
        ),
        (
            json!({"stringData": {"a": 1}}),
            "spec.stringData.a: must be a string, not a number; put the value in quotes",
        ),
        (
            json!({"stringData": {"a": "x".repeat(65 << 10)}}),
            "spec.stringData.a: is 65 KiB long; an item holds at most 64 KiB",
        ),
        (
            json!({"stringData": (0..65).map(|n| (format!("i{n}"), json!("x"))).collect::<Map<_, _>>()}),
            "spec.stringData: holds 65 items; a Connection has at most 64",
        ),
        (
            json!({"stringData": (0..5).map(|n| (format!("i{n}"), json!("x".repeat(60 << 10)))).collect::<Map<_, _>>()}),
            "spec.stringData: the values together are 300 KiB; a Connection holds at most 256 KiB",
        ),
        (
            json!({"sealedData": {"a": "hunter2"}}),
            "spec.sealedData.a: is not standard base64; put plain values into",
        ),
        (json!({"sealedData": {"a": "aHVudGVyMg=="}}), "spec.sealedData.a: is not sealed input: "),
    ] {
        let text = world.refused("alice", spec).await;
        assert!(text.starts_with(expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_scope_may_name_a_member_that_is_still_to_come() {
    let world = World::new();
    let object = manifest(json!({"members": ["web", "later"], "stringData": {"k": "v"}}));
    let (_, warnings) = world.write("alice", &object, &Value::Null).await.expect("alice may");
    assert_eq!(
        warnings,
        ["spec.members: 'later' is no member of vault 'a/team' yet, and gains nothing before it is"]
    );
}

#[tokio::test]
async fn one_owner_has_one_connection_per_provider_name_and_alias() {
    let world = World::new();
    let other = json!({"vault": {"name": "team"}, "owner": "alice", "provider": "github"});
    put(&world.directory, connection("a", "other", other));
    let text = world.refused("alice", json!({"provider": "github"})).await;
    assert_eq!(
        text,
        "spec.connectionName: Connection 'a/other' of the same owner is 'github/default' already"
    );
    let text = world.refused("alice", json!({"alias": "other"})).await;
    assert_eq!(text, "spec.alias: Connection 'a/other' of the same owner is 'other' already");
    assert!(world.create("alice", json!({"provider": "github", "connectionName": "second"})).await.is_ok());
    assert!(world.create("alice", json!({})).await.is_ok(), "without a provider only the alias counts");
    // C12: another owner's do not collide; who sees both is told.
    let (_, warnings) = world
        .write("bob", &manifest(json!({"provider": "github", "alias": "other"})), &Value::Null)
        .await
        .expect("bob may");
    assert!(warnings[0].contains("also the alias of Connection 'a/other'"), "{warnings:?}");
}

/// The API server's own limit on annotations, met by client-side apply of much sealed data.
#[tokio::test]
async fn too_much_for_client_side_apply_names_the_way_out() {
    let world = World::new();
    let mut object = manifest(json!({"alias": "x"}));
    let manifest = json!({"spec": {"sealedData": {"k": "x".repeat(300 << 10)}}}).to_string();
    object["metadata"]["annotations"] = json!({LAST_APPLIED: manifest});
    let text = world.update("alice", &object, &Value::Null).await.expect_err("too large").to_string();
    assert!(text.contains("--server-side"), "{text}");
}

/// T27: client-side apply, twice, with one item less.
#[tokio::test]
async fn an_item_taken_out_of_the_manifest_is_gone() {
    let world = World::new();
    let apply = |items: Value| {
        let spec = json!({"vault": {"name": "team"}, "stringData": items});
        let mut object = manifest(spec.clone());
        object["metadata"]["annotations"] = json!({LAST_APPLIED: json!({ "spec": spec }).to_string()});
        object
    };
    let one =
        world.update("alice", &apply(json!({"a": "1", "b": "2"})), &Value::Null).await.expect("alice may");
    let mut second = apply(json!({"a": "1"}));
    second["spec"]["sealedData"] = one["spec"]["sealedData"].clone();
    second["metadata"]["annotations"]["coffer.dev/applied-items"] = "a,b".into();
    let two = world.update("alice", &second, &one).await.expect("alice may");
    assert_eq!(world.custodian.open(&two, "a").as_deref(), Some("1"));
    assert_eq!(two["spec"]["sealedData"].get("b"), None);
}

#[tokio::test]
async fn who_may_delete_is_decided_by_vault() {
    let world = World::new();
    put(&world.directory, member("a", "carol", user("team", "carol", "member"), "Active"));
    let stored = world.create("bob", json!({"stringData": {"k": "v"}})).await.expect("bob may");
    let delete = |by: &str| {
        let request = request("DELETE", by, Value::Null, stored.clone());
        let directory = world.directory.clone();
        async move { delete(&request, &directory, &circumstances()).await.map(|_| ()) }
    };
    assert_eq!(delete("alice").await, Ok(()));
    assert_eq!(delete("bob").await, Ok(()));
    for by in ["carol", "mallory"] {
        assert!(matches!(delete(by).await, Err(Refusal::Authorize(_))), "{by}");
    }
    world.directory.change(crate::state::Change::NoVault(Key::new("a", "team")));
    assert_eq!(delete("mallory").await, Ok(()), "of a vault that is gone, RBAC alone decides");
}

/// DESIGN §6: whoever breaks glass does what an owner may who owns nothing, and it is told.
#[tokio::test]
async fn by_break_glass_a_connection_is_shared_and_deleted_and_none_is_made_or_given_away() {
    let world = World::new();
    let plain = json!({"members": ["*"], "stringData": {"token": "hunter2"}});
    let stored = world.create("alice", plain.clone()).await.expect("alice may");
    let by_glass = |operation: &str, object: &Value, old: &Value| {
        let mut review = review(operation, "eve", object.clone(), old.clone());
        review["request"]["userInfo"]["groups"] = json!(["oncall"]);
        crate::review::parse(&serde_json::to_vec(&review).expect("JSON")).expect("a review")
    };
    let group = |admitted: Admitted| admitted.broken.map(|broken| broken.group);
    let mut shared = stored.clone();
    shared["spec"]["members"] = json!(["web"]);
    let update = by_glass("UPDATE", &shared, &stored);
    let admitted = admit(update, &world.directory, &circumstances(), &mut rng()).await.expect("as an owner");
    assert_eq!(group(admitted).as_deref(), Some("oncall"));
    let deletion = by_glass("DELETE", &Value::Null, &stored);
    let admitted = delete(&deletion, &world.directory, &circumstances()).await.expect("as an owner");
    assert_eq!(group(admitted).as_deref(), Some("oncall"));

    let mut given = shared.clone();
    given["spec"]["owner"] = json!("bob");
    for request in [by_glass("CREATE", &manifest(plain), &Value::Null), by_glass("UPDATE", &given, &stored)] {
        let refused = admit(request, &world.directory, &circumstances(), &mut rng()).await;
        assert!(matches!(refused, Err(Refusal::Authorize(_))));
    }
}

/// T45: whose it is cannot be told, so that a change could take it over.
#[tokio::test]
async fn a_stored_connection_that_fits_no_schema_is_told_of_with_the_way_out() {
    let world = World::new();
    let good = world.create("alice", json!({"sealedData": {}})).await.expect("alice may");
    let mut malformed = good.clone();
    malformed["spec"]["owner"] = json!(7);
    for by in ["alice", "bob", "mallory"] {
        let mut changed = good.clone();
        changed["spec"]["provider"] = "github".into();
        let told = world.update(by, &changed, &malformed).await.expect_err(by).to_string();
        assert!(told.starts_with("spec.owner: must be a string, not a number. This is about the object as it is stored, not as you sent it"), "{told}");
        assert!(told.ends_with("An owner of the vault can delete this Connection, and its owner apply it again with its values"), "{told}");
    }
    let mut labelled = malformed.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(world.update("mallory", &labelled, &malformed).await, Ok(labelled));
}
