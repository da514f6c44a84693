use serde_json::json;

use super::*;
use crate::fixtures::{Custodian, circumstances, cluster, patched, request};

fn token(member: &str) -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "AccessToken",
        "metadata": {"namespace": "a", "name": "laptop"},
        "spec": {
            "member": member, "sha256": "0".repeat(64), "prefix": "cof_abcd",
            "issuedBy": {"username": "root"},
        },
    })
}

const WEB: &str = "system:serviceaccount:a:web";

/// T20.
#[tokio::test]
async fn a_token_is_its_members_own_and_stamped_as_made_by_whoever_sent_it() {
    let directory = cluster(&Custodian::new());
    let admit = |by: &str, member: &str| {
        let (request, directory) = (request("CREATE", by, token(member), Value::Null), directory.clone());
        async move { admit(request, &directory, &circumstances()).await }
    };
    let admitted = admit(WEB, "web").await.expect("its own");
    let stored = patched(&token("web"), &admitted.patch);
    assert_eq!(stored["spec"]["issuedBy"]["username"], WEB);
    assert!(matches!(admit("mallory", "web").await, Err(Refusal::Authorize(_))));
    let unknown = admit("alice", "nobody").await.expect_err("there is none").to_string();
    assert!(unknown.contains("spec.member") && unknown.contains("no VaultMember 'nobody'"), "{unknown}");
}

/// T32: whoever may remove a member may revoke its tokens, and nobody else but itself.
#[tokio::test]
async fn a_token_is_revoked_by_its_member_and_by_whoever_may_remove_that() {
    let directory = cluster(&Custodian::new());
    let by = |user: &str| {
        let (request, directory) = (request("DELETE", user, Value::Null, token("web")), directory.clone());
        async move { delete(&request, &directory, &circumstances()).await }
    };
    for user in [WEB, "alice", "bob"] {
        assert!(by(user).await.is_ok(), "{user}");
    }
    for user in ["mallory", "system:serviceaccount:a:intern"] {
        assert!(matches!(by(user).await, Err(Refusal::Authorize(_))), "{user}");
    }
}

#[tokio::test]
async fn a_token_that_does_not_fit_its_schema_is_refused_by_name() {
    let mut wrong = token("web");
    wrong["spec"]["sha256"] = json!("short");
    let request = request("CREATE", WEB, wrong, Value::Null);
    let refusal = admit(request, &cluster(&Custodian::new()), &circumstances()).await.expect_err("too short");
    assert!(refusal.to_string().contains("spec.sha256"), "{refusal}");
}

/// T45: nobody can tell whose it is, and somebody must be able to clear it up.
#[tokio::test]
async fn what_does_not_fit_its_schema_is_deleted_by_an_owner_and_where_nobody_owns_anything_by_whoever_rbac_lets()
 {
    let directory = cluster(&Custodian::new());
    let mut malformed = token("web");
    malformed["spec"]["prefix"] = json!(7);
    let mut elsewhere = malformed.clone();
    elsewhere["metadata"]["namespace"] = json!("empty");
    let by = |user: &str, old: &Value| {
        let (request, directory) = (request("DELETE", user, Value::Null, old.clone()), directory.clone());
        async move { delete(&request, &directory, &circumstances()).await.map(drop) }
    };
    let told = by("mallory", &malformed).await.expect_err("a stranger").to_string();
    assert!(told.contains("Ask an owner (alice) to delete it"), "{told}");
    assert!(by(WEB, &malformed).await.is_err());
    assert_eq!(by("alice", &malformed).await, Ok(()));
    assert_eq!(by("mallory", &elsewhere).await, Ok(()));
    elsewhere["spec"]["vault"] = json!({"namespace": "a", "name": "team"});
    assert!(by("mallory", &elsewhere).await.is_err(), "it names whose it is");
}
