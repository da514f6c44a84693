use std::time::Duration;

use super::*;
use crate::{
    fixtures::{
        Custodian, OPERATOR, account, circumstances, cluster, member, patched, put, request, user, vault,
    },
    state::Patience,
};

fn stamp_of(username: &str) -> Value {
    json!({"username": username, "uid": format!("uid-of-{username}"), "groups": ["system:authenticated"]})
}

fn manifest(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember",
        "metadata": {"namespace": "a", "name": name}, "spec": spec,
    })
}

async fn write(directory: &Directory, by: &str, object: &Value, old: &Value) -> Result<Value, Refusal> {
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    let admitted =
        admit(request(operation, by, object.clone(), old.clone()), directory, &circumstances()).await?;
    Ok(patched(object, &admitted.patch))
}

async fn refused(directory: &Directory, by: &str, object: &Value, old: &Value) -> String {
    write(directory, by, object, old).await.expect_err("must be refused").to_string()
}

/// T20
#[tokio::test]
async fn an_invite_is_stamped_with_who_invites_whatever_the_client_sent() {
    let directory = cluster(&Custodian::new());
    let forged = json!({"username": "root"});
    let mut spec = user("team", "carol", "member");
    spec["invitedBy"] = forged.clone();
    spec["lastWriter"] = forged;
    for by in ["alice", "bob", OPERATOR] {
        let stored =
            write(&directory, by, &manifest("carol", spec.clone()), &Value::Null).await.expect("may invite");
        assert_eq!(stored["spec"]["invitedBy"], stamp_of(by));
        assert_eq!(stored["spec"]["lastWriter"], stamp_of(by));
    }
}

/// Each stamp vouches for its own part, so that the operator can judge each part by who wrote it.
#[tokio::test]
async fn an_acceptance_is_stamped_apart_from_what_it_accepts() {
    let directory = cluster(&Custodian::new());
    let invite =
        write(&directory, "alice", &manifest("carol", user("team", "carol", "member")), &Value::Null)
            .await
            .expect("alice may");
    put(&directory, member("a", "carol", invite["spec"].clone(), "Invited"));
    let mut accepted = invite.clone();
    accepted["spec"]["acceptance"] = json!({"by": {"username": "alice"}});
    let stored = write(&directory, "carol", &accepted, &invite).await.expect("her own");
    assert_eq!(stored["spec"]["acceptance"]["by"], stamp_of("carol"));
    assert_eq!(stored["spec"]["invitedBy"], stamp_of("alice"));
    assert_eq!(stored["spec"]["lastWriter"], stamp_of("carol"));
    let text = refused(&directory, "bob", &accepted, &invite).await;
    assert!(text.starts_with("spec.acceptance: only the subject of member 'carol' may accept"), "{text}");

    put(&directory, member("a", "carol", stored["spec"].clone(), "Active"));
    let mut raised = stored.clone();
    raised["spec"]["role"] = "admin".into();
    raised["spec"]["acceptance"]["by"] = json!({"username": "root"});
    let after = write(&directory, "bob", &raised, &stored).await.expect("an admin makes admins");
    assert_eq!(after["spec"]["invitedBy"], stamp_of("bob"));
    assert_eq!(after["spec"]["acceptance"]["by"], stamp_of("carol"));
    let text = refused(&directory, "carol", &raised, &stored).await;
    assert!(text.contains("does not allow 'invite'"), "{text}");
}

#[tokio::test]
async fn an_update_of_metadata_passes_untouched_for_everybody() {
    let directory = cluster(&Custodian::new());
    let stored = manifest("web", account("team", "web", "member"));
    let mut labelled = stored.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(write(&directory, "mallory", &labelled, &stored).await, Ok(labelled));
}

/// T25: nobody stands for everybody.
#[tokio::test]
async fn a_subject_that_is_no_single_identity_is_refused() {
    let directory = cluster(&Custodian::new());
    for (subject, field) in [
        (json!({"user": {"name": "*"}}), "spec.subject.user.name"),
        (json!({"user": {"name": ""}}), "spec.subject.user.name"),
        (json!({"user": {"name": "system:anonymous"}}), "spec.subject.user.name"),
        (json!({"user": {"name": "system:serviceaccount:a:web"}}), "spec.subject.user.name"),
        (json!({"group": {"name": "*"}}), "spec.subject.group.name"),
        (json!({"group": {"name": "system:authenticated"}}), "spec.subject.group.name"),
        (json!({"serviceAccount": {"name": "*"}}), "spec.subject.serviceAccount.name"),
        (json!({"everybody": {}}), "spec.subject"),
        (json!({}), "spec.subject"),
    ] {
        let object = manifest("x", json!({"vault": "team", "role": "member", "subject": subject}));
        let text = refused(&directory, "alice", &object, &Value::Null).await;
        assert!(text.starts_with(&format!("{field}: ")), "{text}");
    }
}

#[tokio::test]
async fn bad_fields_are_refused_with_field_problem_and_accepted_form() {
    let directory = cluster(&Custodian::new());
    for (field, value, expected) in [
        (
            "ttl",
            "soon",
            "spec.ttl: must be a whole number above 0 and h, d, w or m (m is 30 days), such as 24h",
        ),
        ("inviteTTL", "48", "spec.inviteTTL: must be a whole number above 0 and h, d, w or m"),
        ("rateLimit", "30", "spec.rateLimit: must be requests per seconds as N/Ws, such as 30/60s"),
        ("role", "boss", "spec.role: vault 'team' has no role 'boss'. It has: owner, admin, member"),
        ("vault", "tema", "spec.vault: there is no Vault 'tema' in namespace 'a'"),
        ("expiresAt", "soon", "spec.expiresAt: must be a time such as 2026-01-31T00:00:00Z"),
    ] {
        let mut spec = user("team", "carol", "member");
        spec[field] = value.into();
        let text = refused(&directory, "alice", &manifest("carol", spec), &Value::Null).await;
        assert!(text.starts_with(expected), "{text}");
    }
}

#[tokio::test]
async fn nobody_but_the_operator_and_inviters_makes_members() {
    let directory = cluster(&Custodian::new());
    let invite = manifest("carol", user("team", "carol", "member"));
    for by in ["mallory", "system:serviceaccount:a:web", "carol"] {
        assert!(
            matches!(write(&directory, by, &invite, &Value::Null).await, Err(Refusal::Authorize(_))),
            "{by}"
        );
    }
    // The operator makes owners only of those that the vault lists.
    let owner = manifest("mallory", user("team", "mallory", "owner"));
    assert!(write(&directory, OPERATOR, &owner, &Value::Null).await.is_err());
    let owner = manifest("alice", user("team", "alice", "owner"));
    assert!(write(&directory, OPERATOR, &owner, &Value::Null).await.is_ok());
}

/// One `kubectl apply` of a folder: the Vault is not in this replica's cache yet.
#[tokio::test(start_paused = true)]
async fn a_vault_applied_a_moment_ago_is_waited_for() {
    let directory = Directory::new(Patience::default());
    let writer = directory.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        put(&writer, vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}]}), json!({})));
    });
    let invite = manifest("web", account("team", "web", "member"));
    assert!(write(&directory, "alice", &invite, &Value::Null).await.is_ok());
}

#[tokio::test]
async fn the_last_owner_stays_and_others_leave_or_are_removed() {
    let directory = cluster(&Custodian::new());
    let remove = |by: &'static str, name: &'static str, spec: Value| {
        let request = request("DELETE", by, Value::Null, manifest(name, spec));
        let directory = directory.clone();
        async move { delete(&request, &directory, &circumstances()).await.map(|_| ()) }
    };
    let web = account("team", "web", "member");
    assert_eq!(remove("bob", "web", web.clone()).await, Ok(()));
    assert_eq!(remove("system:serviceaccount:a:web", "web", web.clone()).await, Ok(()), "leaves");
    for by in ["mallory", "system:serviceaccount:a:intern"] {
        assert!(matches!(remove(by, "web", web.clone()).await, Err(Refusal::Authorize(_))), "{by}");
    }
    let text =
        remove("alice", "alice", user("team", "alice", "owner")).await.expect_err("the last").to_string();
    assert!(text.contains("last owner"), "{text}");
    directory.change(crate::state::Change::NoVault(Key::new("a", "team")));
    assert_eq!(remove("mallory", "web", web).await, Ok(()), "of a vault that is gone, RBAC alone decides");
}

/// T45: what a change of it would give to whom cannot be told, not even to an owner.
#[tokio::test]
async fn a_stored_member_that_fits_no_schema_is_told_of_with_the_way_out_and_metadata_tools_pass() {
    let directory = cluster(&Custodian::new());
    let good = manifest("carol", user("team", "carol", "member"));
    let mut malformed = good.clone();
    malformed["spec"]["role"] = json!(7);
    for by in ["alice", "carol", "mallory"] {
        let told = refused(&directory, by, &good, &malformed).await;
        assert!(told.starts_with("spec.role: must be a string, not a number. This is about the object as it is stored, not as you sent it"), "{told}");
        assert!(
            told.ends_with("An owner of the vault can delete this VaultMember and invite again"),
            "{told}"
        );
    }
    let mut labelled = malformed.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(write(&directory, "mallory", &labelled, &malformed).await, Ok(labelled));
}
