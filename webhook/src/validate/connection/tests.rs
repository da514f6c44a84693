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
async fn an_unknown_vault_is_refused_by_name() {
    let world = World::new();
    let text = world.refused("alice", json!({"vault": {"name": "tema"}})).await;
    assert_eq!(text, "spec.vault: there is no Vault 'tema' in namespace 'a'");
    let text = world.refused("alice", json!({"vault": {}})).await;
    assert!(text.contains("set spec.vault.name"), "{text}");
}

#[tokio::test]
async fn a_namespace_that_the_vault_does_not_admit_is_refused() {
    let world = World::new();
    let mut object = manifest(json!({"vault": {"name": "team", "namespace": "a"}}));
    object["metadata"]["namespace"] = "b".into();
    let text = world.update("alice", &object, &Value::Null).await.expect_err("Same").to_string();
    assert_eq!(
        text,
        "spec.vault: Vault 'a/team' takes no Connections of namespace 'b': its spec.access.namespaces does not hold it; an owner of the vault can add it"
    );
    let spec = json!({"owners": [{"user": {"name": "alice"}}], "access": {"namespaces": {"selector": {"matchLabels": {"team": "x"}}}}});
    put(&world.directory, vault("a", "team", spec, world.custodian.status()));
    assert!(world.update("alice", &object, &Value::Null).await.is_err());
    put(&world.directory, json!({"kind": "Namespace", "metadata": {"name": "b", "labels": {"team": "x"}}}));
    assert!(world.update("alice", &object, &Value::Null).await.is_ok());
}

/// T28: of another namespace's vaults nobody learns more than its members: the same bytes after the same patience.
#[tokio::test(start_paused = true)]
async fn a_vault_of_another_namespace_looks_absent_to_whoever_is_no_member() {
    let custodian = Custodian::new();
    for access in ["Same", "All"] {
        let mut answers = Vec::new();
        for name in ["team", "absent"] {
            let directory = Directory::new(Patience::default());
            let spec = json!({"owners": [{"user": {"name": "alice"}}], "access": {"namespaces": access}});
            put(&directory, vault("a", "team", spec, custodian.status()));
            let mut object =
                manifest(json!({"vault": {"name": name, "namespace": "a"}, "stringData": {"k": "v"}}));
            object["metadata"]["namespace"] = "b".into();
            let request = request("CREATE", "mallory", object, Value::Null);
            let start = tokio::time::Instant::now();
            let refusal =
                admit(request, &directory, &circumstances(), &mut rng()).await.expect_err("a stranger");
            answers.push((refusal.status(), refusal.to_string().replace(name, "…"), start.elapsed()));
        }
        assert_eq!(answers[0], answers[1], "{access}");
        assert!(answers[0].1.contains("that 'mallory' is a member of"), "{answers:?}");
    }
}

/// C2: the namespace's default, else the cluster's; and what was found is written down.
#[tokio::test]
async fn a_connection_without_a_vault_goes_to_the_default_one() {
    let world = World::new();
    let owners = json!([{"user": {"name": "alice"}}]);
    let marked = |namespace: &str, name: &str, access: &str, made: &str| {
        let spec = json!({"owners": owners, "access": {"namespaces": access}});
        let mut vault = vault(namespace, name, spec, world.custodian.status());
        vault["metadata"]["annotations"] = json!({"coffer.dev/is-default-vault": "true"});
        vault["metadata"]["creationTimestamp"] = made.into();
        vault
    };
    put(&world.directory, marked("z", "closed", "Same", "2026-01-01T00:00:01Z"));
    put(&world.directory, marked("z", "second", "All", "2026-01-01T00:00:03Z"));
    put(&world.directory, marked("z", "shared", "All", "2026-01-01T00:00:02Z"));
    let stored =
        world.create("alice", json!({"vault": {}, "stringData": {"k": "v"}})).await.expect("cluster");
    assert_eq!(stored["spec"]["vault"], json!({"name": "shared", "namespace": "z"}));
    put(&world.directory, marked("a", "own", "Same", "2026-01-01T00:00:04Z"));
    let stored = world.create("alice", json!({"vault": null})).await.expect("namespace");
    assert_eq!(stored["spec"]["vault"], json!({"name": "own", "namespace": "a"}));
    // An update that names none keeps it, whatever is the default by then.
    let mut manifest = stored.clone();
    for said in [Value::Null, json!({})] {
        manifest["spec"]["vault"] = said;
        manifest["spec"]["alias"] = "x".into();
        let after = world.update("alice", &manifest, &stored).await.expect("alice may");
        assert_eq!(after["spec"]["vault"], stored["spec"]["vault"]);
    }
    let mut moved = stored.clone();
    moved["spec"]["vault"] = json!({"name": "team"});
    let text = world.update("alice", &moved, &stored).await.expect_err("sealed for the other").to_string();
    assert!(text.starts_with("spec.vault: never changes"), "{text}");
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

#[tokio::test]
async fn a_vault_without_an_intake_key_is_waited_for_and_then_said_to_be_unready() {
    let world = World::new();
    put(&world.directory, vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}]}), json!({})));
    let refusal = world.create("alice", json!({"stringData": {"k": "v"}})).await.expect_err("no key");
    assert_eq!(refusal.status().0, http::StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        refusal.to_string().starts_with("Vault 'a/team' is not ready, it has no intake key yet"),
        "{refusal}"
    );
    // Without plain values no key is needed.
    assert!(world.create("alice", json!({})).await.is_ok());
}

/// One `kubectl apply` of a folder: the vault is seconds old, and nothing of it is finished.
#[tokio::test(start_paused = true)]
async fn a_folder_applied_at_once_works_on_the_first_try() {
    let custodian = Custodian::new();
    let directory = Directory::new(Patience::default());
    let writer = directory.clone();
    let status = custodian.status();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let spec = json!({"owners": [{"user": {"name": "alice"}}]});
        put(&writer, vault("a", "team", spec.clone(), json!({})));
        tokio::time::sleep(std::time::Duration::from_millis(2_000)).await;
        put(&writer, vault("a", "team", spec, status));
    });
    let object = manifest(json!({"stringData": {"k": "hunter2"}}));
    let admitted = admit(
        request("CREATE", "alice", object.clone(), Value::Null),
        &directory,
        &circumstances(),
        &mut rng(),
    )
    .await
    .expect("within patience");
    let stored = patched(&object, &admitted.patch);
    assert_eq!(stored["spec"]["owner"], "alice");
    assert_eq!(custodian.open(&stored, "k").as_deref(), Some("hunter2"));
}

/// The author was invited in the same folder, and is a ServiceAccount that the operator accepts at once.
#[tokio::test(start_paused = true)]
async fn an_author_who_is_just_becoming_a_member_is_waited_for() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    let patient = Directory::new(Patience::default());
    put(&patient, vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}]}), custodian.status()));
    put(&patient, member("a", "ci", account("team", "ci", "admin"), "Invited"));
    let writer = patient.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        put(&writer, member("a", "ci", account("team", "ci", "admin"), "Active"));
    });
    let by = "system:serviceaccount:a:ci";
    let object = manifest(json!({"stringData": {"k": "v"}}));
    let write = |directory| {
        let request = request("CREATE", by, object.clone(), Value::Null);
        async move { admit(request, directory, &circumstances(), &mut rng()).await }
    };
    assert!(write(&directory).await.is_err());
    let admitted = write(&patient).await.expect("within patience");
    assert_eq!(patched(&object, &admitted.patch)["spec"]["owner"], "ci");
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

/// Everything that can be said about a request: patch, warnings or refusal.
fn everything_said(decision: Result<Admitted, Refusal>) -> String {
    use base64::Engine as _;
    let body = answer("u", decision);
    let patch = serde_json::from_slice::<Value>(&body).ok().and_then(|answer| {
        let patch = answer["response"]["patch"].as_str()?.to_owned();
        base64::engine::general_purpose::STANDARD.decode(patch).ok()
    });
    String::from_utf8_lossy(&[body, patch.unwrap_or_default()].concat()).into_owned()
}

/// Values that cannot come about by chance, with characters that JSON escapes around them.
fn plaintext() -> impl Strategy<Value = String> {
    ("[ -~]{0,8}", "[a-zA-Z0-9]{16}", "[\n\"\\\\ü]{0,3}")
        .prop_map(|(before, marker, after)| format!("{before}{marker}{after}"))
}

fn marker(value: &str) -> Vec<String> {
    value
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| part.len() >= 16)
        .map(str::to_owned)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// T35: whatever is written and however it is refused, no answer holds a value; what is stored opens.
    #[test]
    fn no_answer_holds_plaintext_and_what_is_stored_opens(
        values in proptest::collection::btree_map("[a-z][a-z0-9._-]{0,12}", plaintext(), 1..4),
        by in proptest::sample::select(vec!["alice", "bob", "mallory", "system:serviceaccount:a:web"]),
        spoil in 0..6_u8,
        with_annotation in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let world = World::new();
        let mut string_data: Map<String, Value> =
            values.iter().map(|(item, value)| (item.clone(), json!(value))).collect();
        let any_value = values.values().next().expect("at least one").clone();
        let mut spec = json!({"vault": {"name": "team"}});
        match spoil {
            0 => { string_data.insert("nested".into(), json!({"deep": [any_value]})); }
            1 => { string_data.insert("large".into(), json!(any_value.repeat(5_000))); }
            2 => spec["sealedData"] = json!({"mine": any_value}),
            3 => spec["type"] = json!(any_value),
            _ => {}
        }
        spec["stringData"] = string_data.into();
        let mut object = manifest(spec.clone());
        if with_annotation {
            object["metadata"]["annotations"] = json!({LAST_APPLIED: json!({"spec": spec}).to_string()});
        }
        let request = request("CREATE", by, object.clone(), Value::Null);
        let decision = runtime.block_on(admit(request, &world.directory, &circumstances(), &mut rng()));
        if let Ok(admitted) = &decision {
            let stored = patched(&object, &admitted.patch);
            prop_assert_eq!(stored["spec"].get("stringData"), None);
            for (item, value) in &values {
                prop_assert_eq!(world.custodian.open(&stored, item), Some(value.clone()));
                for part in marker(value) {
                    prop_assert!(!stored.to_string().contains(&part), "stored");
                }
            }
        } else {
            prop_assert!(spoil < 4 || by == "mallory" || by.contains("serviceaccount"));
        }
        let said = everything_said(decision);
        for part in values.values().flat_map(|value| marker(value)) {
            prop_assert!(!said.contains(&part), "said: {}", said);
        }
    }

    /// T44: objects of any shape are refused or admitted, without a panic.
    #[test]
    fn no_shape_of_an_object_makes_a_panic(
        spec in any_json(), annotations in any_json(), fields in any_json(), update in any::<bool>()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let world = World::new();
        let object = json!({"metadata": {"name": "c", "namespace": "a", "annotations": annotations, "managedFields": fields}, "spec": spec});
        let old = if update { json!({"metadata": {"name": "c", "managedFields": fields}, "spec": annotations}) } else { Value::Null };
        let mut review = review(if update { "UPDATE" } else { "CREATE" }, "alice", object.clone(), old);
        review["request"]["namespace"] = "a".into();
        let bytes = serde_json::to_vec(&review).expect("JSON encodes");
        let request = crate::review::parse(&bytes).expect("a review");
        if let Ok(admitted) = runtime.block_on(admit(request, &world.directory, &circumstances(), &mut rng())) {
            patched(&object, &admitted.patch);
        }
    }
}

/// Names that the program looks at, at any place and depth.
fn any_json() -> impl Strategy<Value = Value> {
    let names = proptest::sample::select(vec![
        "stringData",
        "sealedData",
        "vault",
        "name",
        "owner",
        "lastWriter",
        "members",
        "alias",
        "fieldsV1",
        "manager",
        "operation",
        "f:spec",
        "f:stringData",
        LAST_APPLIED,
        "coffer.dev/applied-items",
        "ttl",
        "a",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,6}".prop_map(Value::from),
        Just(json!("team")),
        Just(json!("{\"spec\":{\"stringData\":{\"a\":1}}}")),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names.clone(), inner), 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
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
