use super::*;
use crate::fixtures::{Custodian, circumstances, cluster, member, patched, put, request, user, vault};

fn manifest(spec: Value) -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Vault",
        "metadata": {"namespace": "a", "name": "new"}, "spec": spec,
    })
}

async fn write(directory: &Directory, by: &str, object: &Value, old: &Value) -> Result<Value, Refusal> {
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    let admitted =
        admit(request(operation, by, object.clone(), old.clone()), directory, &circumstances()).await?;
    Ok(patched(object, &admitted.patch))
}

async fn refused(directory: &Directory, by: &str, spec: Value) -> String {
    write(directory, by, &manifest(spec), &Value::Null).await.expect_err("must be refused").to_string()
}

/// T20
#[tokio::test]
async fn whoever_makes_a_vault_owns_it_and_is_stamped() {
    let directory = cluster(&Custodian::new());
    for (by, owner) in [
        ("carol", json!({"user": {"name": "carol"}})),
        ("system:serviceaccount:ci:deploy", json!({"serviceAccount": {"namespace": "ci", "name": "deploy"}})),
    ] {
        for spec in
            [json!({}), json!({"owners": []}), Value::Null, json!({"lastWriter": {"username": "root"}})]
        {
            let stored = write(&directory, by, &manifest(spec), &Value::Null).await.expect("RBAC let it in");
            assert_eq!(stored["spec"]["owners"], json!([owner]));
            assert_eq!(stored["spec"]["lastWriter"]["username"], by);
        }
    }
    let owners = json!([{"user": {"name": "dave"}}]);
    let stored = write(&directory, "carol", &manifest(json!({"owners": owners})), &Value::Null)
        .await
        .expect("for dave");
    assert_eq!(stored["spec"]["owners"], owners);
}

#[tokio::test]
async fn a_change_takes_an_owner_and_keeps_owners_that_the_manifest_never_named() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    let stored = vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}]}), custodian.status());
    let mut replaced = stored.clone();
    replaced["spec"] = json!({"memberTTL": "90d"});
    let after = write(&directory, "alice", &replaced, &stored).await.expect("the owner may");
    assert_eq!(after["spec"]["owners"], stored["spec"]["owners"]);
    assert_eq!(after["spec"]["lastWriter"]["username"], "alice");
    for by in ["bob", "mallory"] {
        assert!(
            matches!(write(&directory, by, &replaced, &stored).await, Err(Refusal::Authorize(_))),
            "{by}"
        );
    }
    let mut labelled = stored.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(write(&directory, "mallory", &labelled, &stored).await, Ok(labelled));
}

/// C2: one default vault per namespace; only an owner marks one.
#[tokio::test]
async fn a_second_default_vault_of_a_namespace_is_refused() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    let mark = json!({"coffer.dev/is-default-vault": "true"});
    let stored = vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}]}), custodian.status());
    let mut marked = stored.clone();
    marked["metadata"]["annotations"] = mark.clone();
    assert!(matches!(write(&directory, "mallory", &marked, &stored).await, Err(Refusal::Authorize(_))));
    let after = write(&directory, "alice", &marked, &stored).await.expect("the owner may");
    assert_eq!(after["spec"].get("lastWriter"), None, "the spec did not change");
    put(&directory, marked);
    let mut second = manifest(json!({}));
    second["metadata"]["annotations"] = mark;
    let text = write(&directory, "carol", &second, &Value::Null).await.expect_err("two").to_string();
    assert_eq!(
        text,
        "metadata.annotations: Vault 'a/team' is this namespace's default already; take its mark away first"
    );
    second["metadata"]["namespace"] = "b".into();
    assert!(write(&directory, "carol", &second, &Value::Null).await.is_ok());
}

/// C2: one default vault for the cluster, in whatever namespace; a namespace's own ones do not count.
#[tokio::test]
async fn a_second_default_vault_of_the_cluster_is_refused() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    let marked = |namespace: &str, name: &str, access: &str| {
        let spec = json!({"owners": [{"user": {"name": "carol"}}], "access": {"namespaces": access}});
        let mut vault = vault(namespace, name, spec, custodian.status());
        vault["metadata"]["annotations"] = json!({"coffer.dev/is-default-vault": "true"});
        vault
    };
    put(&directory, marked("x", "own", "Same"));
    let first = marked("platform", "everyones", "All");
    assert!(write(&directory, "carol", &first, &Value::Null).await.is_ok());
    put(&directory, first.clone());
    let refusal = "metadata.annotations: Vault 'platform/everyones' is the cluster's default already; take its mark away first, or let this one be its own namespace's alone, with spec.access.namespaces: Same";
    let second = marked("z", "second", "All");
    let text = write(&directory, "carol", &second, &Value::Null).await.expect_err("two").to_string();
    assert_eq!(text, refusal);
    // Nor by opening one that was its own namespace's.
    let own = marked("z", "second", "Same");
    assert!(write(&directory, "carol", &own, &Value::Null).await.is_ok());
    put(&directory, own.clone());
    put(&directory, member("z", "carol", user("second", "carol", "owner"), "Active"));
    let text = write(&directory, "carol", &second, &own).await.expect_err("two").to_string();
    assert_eq!(text, refusal);
    // What is one already is not asked about again, also where a race made two.
    put(&directory, second.clone());
    let mut changed = second.clone();
    changed["spec"]["memberTTL"] = "90d".into();
    assert!(write(&directory, "carol", &changed, &second).await.is_ok());
}

#[tokio::test]
async fn a_default_mark_that_is_neither_true_nor_false_is_refused() {
    let directory = cluster(&Custodian::new());
    let mut object = vault("a", "v", json!({}), Value::Null);
    object["metadata"]["annotations"] = json!({"coffer.dev/is-default-vault": "yes"});
    let text = write(&directory, "carol", &object, &Value::Null).await.expect_err("neither").to_string();
    assert_eq!(text, "metadata.annotations[coffer.dev/is-default-vault]: must be true or false");
    let stored = object.clone();
    object["metadata"]["labels"] = json!({"a": "b"});
    assert!(
        write(&directory, "carol", &object, &stored).await.is_ok(),
        "what did not change is no mistake of now"
    );
}

#[tokio::test]
async fn bad_fields_are_refused_with_field_problem_and_accepted_form() {
    let directory = cluster(&Custodian::new());
    let role = |name: &str| json!({"name": name, "verbs": ["use"]});
    for (spec, expected) in [
        (json!({"memberTTL": "1y"}), "spec.memberTTL: must be a whole number above 0 and h, d, w or m"),
        (
            json!({"rotation": {"interval": "x"}}),
            "spec.rotation.interval: must be a whole number above 0 and h, d, w or m",
        ),
        (json!({"roles": [role("admin")]}), "spec.roles[0].name: 'admin' is built in and cannot be changed"),
        (json!({"roles": [role("ci"), role("ci")]}), "spec.roles[1].name: 'ci' is defined twice"),
        (
            json!({"roles": [{"name": "ci", "verbs": [], "rateLimit": "x"}]}),
            "spec.roles[0].rateLimit: must be requests per seconds as N/Ws",
        ),
        (
            json!({"roles": [{"name": "ci", "verbs": ["fly"]}]}),
            "spec.roles[0].verbs[0]: must be one of list, use, read, ",
        ),
        (
            json!({"owners": [{"user": {"name": "*"}}]}),
            "spec.owners[0].user.name: must be one identity's own name",
        ),
        (
            json!({"access": {"namespaces": "Some"}}),
            "spec.access.namespaces: not understood: write Same, All, or",
        ),
    ] {
        let text = refused(&directory, "carol", spec).await;
        assert!(text.starts_with(expected), "{text}");
    }
}

#[tokio::test]
async fn a_vault_is_deleted_by_its_owners_and_one_that_nobody_owns_by_whoever_rbac_lets() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    let remove = |by: &'static str, object: Value| {
        let request = request("DELETE", by, Value::Null, object);
        let directory = directory.clone();
        async move { delete(&request, &directory, &circumstances()).await.map(|_| ()) }
    };
    let owned = vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}]}), json!({}));
    assert_eq!(remove("alice", owned.clone()).await, Ok(()));
    assert!(matches!(remove("bob", owned).await, Err(Refusal::Authorize(_))));
    assert_eq!(remove("bob", vault("b", "orphan", json!({}), json!({}))).await, Ok(()));
}

/// T45: deleting it would delete all that is in it, so its own owners mend it, and nobody else.
#[tokio::test]
async fn a_stored_vault_that_fits_no_schema_is_mended_by_an_owner_in_force_and_by_nobody_else() {
    let custodian = Custodian::new();
    let directory = cluster(&custodian);
    // An owner of another vault of this namespace could delete it, but gains nothing by that.
    put(&directory, member("a", "otto", user("other", "otto", "owner"), "Active"));
    let owners = json!([{"user": {"name": "alice"}}]);
    let good = vault("a", "team", json!({"owners": owners, "memberTTL": "90d"}), custodian.status());
    for (field, value, expected) in [
        (
            "sharing",
            json!("Some"),
            "spec.sharing: must be one of All, Owner. This is about the object as it is stored",
        ),
        ("owners", json!("mallory"), "spec.owners: must be a list, not a string. This is about"),
        (
            "owners",
            json!([{"user": {"name": "mallory"}}, 7]),
            "spec.owners[1]: must be an object, not a number. This is",
        ),
    ] {
        let mut malformed = good.clone();
        malformed["spec"][field] = value;
        let mended = write(&directory, "alice", &good, &malformed).await.expect("an owner may");
        assert_eq!(mended["spec"]["lastWriter"]["username"], "alice");
        for by in ["bob", "otto", "mallory"] {
            let told = write(&directory, by, &good, &malformed).await.expect_err(by).to_string();
            assert!(told.starts_with(expected), "{told}");
            assert!(told.ends_with("An owner (alice) can mend it by applying it whole"), "{told}");
        }
        // Not by half: what is sent must be in order.
        let told = write(&directory, "alice", &changed(&malformed), &malformed).await.expect_err("by half");
        assert!(told.to_string().starts_with(&expected[..12]), "{told}");
        let mut labelled = malformed.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(write(&directory, "mallory", &labelled, &malformed).await, Ok(labelled));
    }
}

fn changed(vault: &Value) -> Value {
    let mut changed = vault.clone();
    changed["spec"]["memberTTL"] = "30d".into();
    changed
}

/// T45
#[tokio::test]
async fn a_stored_vault_that_fits_no_schema_and_nobody_owns_is_nobody_s_to_take() {
    let directory = cluster(&Custodian::new());
    let mut malformed = manifest(json!({"owners": [{"user": {"name": "mallory"}}]}));
    let good = changed(&malformed);
    malformed["spec"]["custody"] = json!(7);
    let told = write(&directory, "mallory", &good, &malformed).await.expect_err("not an owner").to_string();
    assert!(told.starts_with("spec.custody: must be"), "{told}");
    assert!(told.ends_with("It has no Active owner who could mend it: restore it from a backup, or delete it with all that is in it"), "{told}");
}
