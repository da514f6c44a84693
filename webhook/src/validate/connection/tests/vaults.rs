//! Which vault is meant, and vaults and members that are still being made.

use super::*;

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

/// C2, C12: one vault for everybody. Each has a `github/default` of their own, in a namespace of their own.
#[tokio::test]
async fn two_owners_in_the_default_vault_do_not_collide_and_one_owner_does() {
    let world = World::new();
    let spec =
        json!({"owners": [{"user": {"name": "alice"}}], "sharing": "Owner", "access": {"namespaces": "All"}});
    let mut everyones = vault("platform", "everyones", spec, world.custodian.status());
    everyones["metadata"]["annotations"] = json!({"coffer.dev/is-default-vault": "true"});
    put(&world.directory, everyones);
    put(&world.directory, member("platform", "alice", user("everyones", "alice", "owner"), "Active"));
    put(&world.directory, member("platform", "bob", user("everyones", "bob", "member"), "Active"));
    let in_namespace = |namespace: &str, name: &str, mut spec: Value| {
        spec["vault"] = Value::Null;
        let mut manifest = manifest(spec);
        manifest["metadata"] =
            json!({"namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}")});
        manifest
    };
    let github = json!({"provider": "github", "stringData": {"token": "v"}});
    for who in ["alice", "bob"] {
        let manifest = in_namespace(who, "github", github.clone());
        let (stored, warnings) = world.write(who, &manifest, &Value::Null).await.expect("a member");
        assert_eq!(stored["spec"]["owner"], who);
        assert_eq!(stored["spec"]["vault"], json!({"name": "everyones", "namespace": "platform"}));
        assert_eq!(warnings, Vec::<String>::new(), "nothing is told of what others have");
        put(&world.directory, stored);
    }
    let again = in_namespace("bob", "again", github.clone());
    let text = world.update("bob", &again, &Value::Null).await.expect_err("twice").to_string();
    assert_eq!(
        text,
        "spec.connectionName: Connection 'bob/github' of the same owner is 'github/default' already"
    );
    // C2: nobody is a member by the vault's being the default.
    let text = world
        .update("mallory", &in_namespace("m", "github", github), &Value::Null)
        .await
        .expect_err("no member");
    assert!(text.to_string().contains("that 'mallory' is a member of"), "{text}");
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
