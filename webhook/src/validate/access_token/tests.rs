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

#[tokio::test]
async fn a_token_that_does_not_fit_its_schema_is_refused_by_name() {
    let mut wrong = token("web");
    wrong["spec"]["sha256"] = json!("short");
    let request = request("CREATE", WEB, wrong, Value::Null);
    let refusal = admit(request, &cluster(&Custodian::new()), &circumstances()).await.expect_err("too short");
    assert!(refusal.to_string().contains("spec.sha256"), "{refusal}");
}

/// T45: nobody has anything of it, and it must be possible to clear it up.
#[tokio::test]
async fn what_does_not_fit_its_schema_may_be_deleted_by_whoever_rbac_lets() {
    let directory = cluster(&Custodian::new());
    let stranger = |old: Value| {
        let (request, directory) = (request("DELETE", "mallory", Value::Null, old), directory.clone());
        async move { delete(&request, &directory, &circumstances()).await.map(drop) }
    };
    assert!(matches!(stranger(token("web")).await, Err(Refusal::Authorize(_))));
    let mut malformed = token("web");
    malformed["spec"]["prefix"] = json!(7);
    assert_eq!(stranger(malformed).await, Ok(()));
}
