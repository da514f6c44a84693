use kube::client::Body;
use serde_json::{Value, json};
use warp::test::RequestBuilder;

use super::*;
use crate::fixtures::{Custodian, GLASS, OPERATOR, cluster, member, review, user, vault};

/// Where events go.
type ApiServer = tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>;

fn served() -> (BoxedFilter<(impl Reply,)>, coffer_runtime::Metrics) {
    let (routes, metrics, _) = served_before_an_api_server();
    (routes, metrics)
}

fn served_before_an_api_server() -> (BoxedFilter<(impl Reply,)>, coffer_runtime::Metrics, ApiServer) {
    let (service, api_server) = tower_test::mock::pair();
    let metrics = coffer_runtime::Metrics::new();
    let meters = Meters::register(&metrics);
    let webhook = Webhook {
        directory: cluster(&Custodian::new()),
        meters,
        operator: String::from(OPERATOR),
        restore_users: Vec::new(),
        break_glass: GLASS.clone(),
        events: Events::new(kube::Client::new(service, "default"), "coffer-webhook", "one", "Admit"),
        pace: Pace::new(10, std::time::Duration::from_secs(1)),
    };
    (routes(Arc::new(webhook)), metrics, api_server)
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
    for path in ["vaults", "vaultmembers", "connections", "accesstokens", "releases", "auditqueries", "pods"]
    {
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

/// DESIGN §6: the caller, the API server's audit log, the metrics and whoever looks at the Vault are told; of what is only
/// tried, not the last two.
#[tokio::test]
async fn breaking_glass_is_told_to_everybody_whom_it_concerns() {
    let (routes, metrics, mut api_server) = served_before_an_api_server();
    let bob = member("a", "bob", user("team", "bob", "admin"), "Active");
    let mut review = review("DELETE", "eve", Value::Null, bob);
    review["request"]["userInfo"]["groups"] = json!(["oncall"]);
    for dry_run in [true, false] {
        review["request"]["dryRun"] = json!(dry_run);
        let answer = post("/validate/vaultmembers").json(&review).reply(&routes).await;
        let answer: Value = serde_json::from_slice(answer.body()).expect("an answer is JSON");
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"]["auditAnnotations"], json!({"break-glass": "oncall"}));
        let warning = answer["response"]["warnings"][0].as_str().expect("a warning");
        assert!(warning.contains("by break glass, as one of group 'oncall'"), "{warning}");
    }
    let (request, _) = api_server.next_request().await.expect("an event");
    let event = request.into_body().collect_bytes().await.expect("it is in memory");
    let event: Value = serde_json::from_slice(&event).expect("an event is JSON");
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("BreakGlass")));
    assert_eq!(event["note"], "user 'eve' of group 'oncall': delete VaultMember a/bob");
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["name"]), (&json!("Vault"), &json!("team")));
    let text = metrics.encode().expect("metrics encode");
    assert!(text.contains(r#"coffer_webhook_break_glass_total{kind="VaultMember"} 1"#), "{text}");
    // Without the group: what to do. As the admin that bob is: nothing is broken.
    review["request"]["userInfo"]["groups"] = json!(["system:masters"]);
    let answer = ask("/validate/vaultmembers", &review).await;
    let told = answer["response"]["status"]["message"].as_str().expect("a refusal");
    assert!(
        told.contains("Ask an owner (alice) to invite you: kubectl coffer invite user:eve --vault team -n a")
    );
    review["request"]["userInfo"] = json!({"username": "bob", "groups": ["oncall"]});
    let answer = ask("/validate/vaultmembers", &review).await;
    assert_eq!(answer["response"], json!({"uid": "r-1", "allowed": true}));
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
