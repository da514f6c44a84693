use serde_json::{Value, json};
use warp::test::RequestBuilder;

use super::*;
use crate::fixtures::{Custodian, OPERATOR, cluster, review, vault};

fn served() -> (BoxedFilter<(impl Reply,)>, coffer_runtime::Metrics) {
    let metrics = coffer_runtime::Metrics::new();
    let meters = Meters::register(&metrics);
    let webhook = Webhook {
        directory: cluster(&Custodian::new()),
        meters,
        operator: String::from(OPERATOR),
        restore_users: Vec::new(),
        pace: Pace::new(10, std::time::Duration::from_secs(1)),
    };
    (routes(Arc::new(webhook)), metrics)
}

fn post(path: &str) -> RequestBuilder {
    warp::test::request().method("POST").path(path)
}

async fn ask(path: &str, review: &Value) -> Value {
    let answer = post(path).json(review).reply(&served().0).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    serde_json::from_slice(answer.body()).expect("an answer is JSON")
}

fn connection() -> Value {
    json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Connection",
        "metadata": {"namespace": "a", "name": "github"},
        "spec": {"vault": {"name": "team"}, "stringData": {"token": "hunter2"}},
    })
}

#[tokio::test]
async fn every_path_answers_with_the_request_s_uid() {
    for path in ["vaults", "vaultmembers", "connections", "accesstokens", "releases", "pods"] {
        let answer =
            ask(&format!("/admit/{path}"), &review("CREATE", "alice", connection(), Value::Null)).await;
        assert_eq!(answer["response"]["uid"], "r-1", "{path}");
    }
    for path in ["vaults", "vaultmembers", "connections", "accesstokens"] {
        let answer =
            ask(&format!("/validate/{path}"), &review("DELETE", "alice", Value::Null, connection())).await;
        assert_eq!(answer["response"]["uid"], "r-1", "{path}");
    }
}

#[tokio::test]
async fn a_connection_is_answered_with_a_patch_and_a_refusal_with_a_code() {
    let answer = ask("/admit/connections", &review("CREATE", "alice", connection(), Value::Null)).await;
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    let answer = ask("/admit/connections", &review("CREATE", "mallory", connection(), Value::Null)).await;
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(answer["response"]["status"]["code"], 403);
    assert_eq!(answer["response"]["status"]["reason"], "Forbidden");
}

/// T44: clear 4xx, no panic, nothing repeated.
#[tokio::test]
async fn what_is_no_admission_request_gets_a_clear_4xx() {
    let (routes, _) = served();
    for (request, expected) in [
        (post("/admit/connections").body("hunter2"), StatusCode::BAD_REQUEST),
        (post("/admit/connections").body([0xff, 0xfe]), StatusCode::BAD_REQUEST),
        (post("/admit/connections"), StatusCode::LENGTH_REQUIRED),
        (post("/admit/secrets").body("{}"), StatusCode::NOT_FOUND),
        (post("/validate/pods").body("{}"), StatusCode::NOT_FOUND),
        (post("/").body("{}"), StatusCode::NOT_FOUND),
        (warp::test::request().path("/admit/pods"), StatusCode::METHOD_NOT_ALLOWED),
        (post("/admit/pods").body(vec![b' '; 9 << 20]), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = request.reply(&routes).await;
        assert_eq!(answer.status(), expected);
        assert!(!String::from_utf8_lossy(answer.body()).contains("hunter2"));
    }
}

#[tokio::test]
async fn a_status_is_never_touched() {
    for path in ["vaults", "vaultmembers", "connections", "accesstokens", "pods"] {
        let mut review = review("UPDATE", "mallory", connection(), connection());
        review["request"]["subResource"] = "status".into();
        let answer = ask(&format!("/admit/{path}"), &review).await;
        assert_eq!(answer["response"], json!({"uid": "r-1", "allowed": true}), "{path}");
    }
}

/// Garbage collection and namespace deletion are never held up, even if the configuration's exemption is gone.
#[tokio::test]
async fn collectors_of_garbage_delete_everything() {
    let old = vault("a", "team", json!({"owners": [{"user": {"name": "alice"}}]}), json!({}));
    for by in [
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:serviceaccount:kube-system:namespace-controller",
        "system:kube-controller-manager",
    ] {
        let answer = ask("/validate/vaults", &review("DELETE", by, Value::Null, old.clone())).await;
        assert_eq!(answer["response"]["allowed"], true, "{by}");
    }
    let answer = ask("/validate/vaults", &review("DELETE", "mallory", Value::Null, old)).await;
    assert_eq!(answer["response"]["allowed"], false);
}

/// T19: labels come from fixed sets, whatever is asked.
#[tokio::test]
async fn answers_are_counted_by_kind_and_outcome() {
    let (routes, metrics) = served();
    for by in ["alice", "mallory", "eve"] {
        post("/admit/connections")
            .json(&review("CREATE", by, connection(), Value::Null))
            .reply(&routes)
            .await;
    }
    post("/admit/pods").body("{").reply(&routes).await;
    let text = metrics.encode().expect("metrics encode");
    for line in [
        r#"coffer_webhook_admissions_total{kind="Connection",outcome="allowed"} 1"#,
        r#"coffer_webhook_admissions_total{kind="Connection",outcome="forbidden"} 2"#,
        r#"coffer_webhook_admissions_total{kind="Pod",outcome="malformed"} 1"#,
        r#"coffer_webhook_admission_seconds_count{kind="Connection"} 3"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
