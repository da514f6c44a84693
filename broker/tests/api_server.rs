//! What the broker asks of the API server: exactly the requests that its ClusterRole allows.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use coffer_broker::{
    doors::{
        audit::{self, Answers as _},
        people::{Answers as _, ApiServerAnswers},
    },
    facts::{ApiServerReread, Key, Reread as _, RereadFailed, Wanted},
    identity::{ApiServerReviews, ReviewUnavailable, TokenReviewer as _},
    last_used::{ApiServerStatus, StatusWriter as _, Used},
};
use coffer_crds::{AuditQuery, AuditQueryAnswer, AuditQueryStatus, Release, ReleaseStatus, RequestPhase};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, sync::Mutex};

/// A request as the API server sees it: method, path with query, body.
type Seen = (String, String, Value);

/// An API server that answers by path, and everything that it was asked.
fn api_server(answers: Vec<(&str, u16, Value)>) -> (Client, Arc<Mutex<Vec<Seen>>>) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let seen = Arc::<Mutex<Vec<Seen>>>::default();
    let answers: BTreeMap<String, (u16, Value)> =
        answers.into_iter().map(|(path, code, body)| (path.to_owned(), (code, body))).collect();
    let log = seen.clone();
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let path = parts.uri.to_string();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            log.lock().unwrap().push((parts.method.to_string(), path.clone(), body));
            let not_found = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": ""});
            let (code, answer) = answers.get(parts.uri.path()).cloned().unwrap_or((404, not_found));
            let answer = Body::from(answer.to_string().into_bytes());
            respond.send_response(Response::builder().status(code).body(answer).unwrap());
        }
    });
    (Client::new(service, "default"), seen)
}

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

#[tokio::test]
async fn a_token_is_reviewed_for_the_audience_coffer() {
    let status = json!({
        "authenticated": true, "audiences": ["coffer"],
        "user": {"username": "system:serviceaccount:team-a:web", "uid": "sa-web",
                 "extra": {"authentication.kubernetes.io/pod-uid": ["p"], "authentication.kubernetes.io/pod-name": ["web-0"]}},
    });
    let review = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {}, "status": status});
    let (client, seen) = api_server(vec![(REVIEWS, 201, review)]);
    let identity = ApiServerReviews::new(client).review("a.b.c").await.unwrap().unwrap();
    assert_eq!(identity.caller.username, "system:serviceaccount:team-a:web");
    let seen = seen.lock().unwrap();
    let [(method, path, body)] = seen.as_slice() else { panic!("{} requests", seen.len()) };
    assert_eq!((method.as_str(), path.trim_end_matches('?')), ("POST", REVIEWS));
    assert_eq!(body["spec"], json!({"token": "a.b.c", "audiences": ["coffer"]}));
}

#[tokio::test]
async fn an_api_server_that_cannot_answer_is_no_verdict() {
    for code in [403, 429, 500, 503] {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": ""});
        let (client, _) = api_server(vec![(REVIEWS, code, status)]);
        assert_eq!(ApiServerReviews::new(client).review("a.b.c").await, Err(ReviewUnavailable));
    }
}

fn wanted() -> Wanted {
    let key = |name: &str| Key { namespace: "team-a".into(), name: name.into() };
    Wanted { envelope: key("github"), keyring: key("main"), members: vec![key("web"), key("gone")] }
}

/// T45: one that is malformed there is as good as none, and the others count.
#[tokio::test]
async fn a_second_look_gets_each_object_by_name_and_passes_over_what_is_gone_or_malformed() {
    let member = json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember", "metadata": {"name": "web", "namespace": "team-a"},
        "spec": {"vault": "main", "role": "member", "subject": {"user": {"name": "web"}}},
    });
    let malformed = json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Keyring", "metadata": {"name": "main", "namespace": "team-a"},
        "spec": {"members": "everybody"},
    });
    let base = "/apis/coffer.dev/v1alpha1/namespaces/team-a";
    let (client, seen) = api_server(vec![
        (&format!("{base}/vaultmembers/web"), 200, member),
        (&format!("{base}/keyrings/main"), 200, malformed),
    ]);
    let fresh = ApiServerReread::new(client).read(&wanted()).await.unwrap();
    assert!(fresh.envelope.is_none() && fresh.keyring.is_none());
    assert_eq!(fresh.members.iter().map(|m| m.spec.role.as_str()).collect::<Vec<_>>(), ["member"]);
    let mut asked: Vec<_> =
        seen.lock().unwrap().iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    asked.sort();
    let expected = ["envelopes/github", "keyrings/main", "vaultmembers/gone", "vaultmembers/web"];
    assert_eq!(asked, expected.map(|object| format!("GET {base}/{object}")));
}

#[tokio::test]
async fn a_second_look_that_fails_gives_nothing() {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": ""});
    let path = "/apis/coffer.dev/v1alpha1/namespaces/team-a/envelopes/github";
    let (client, _) = api_server(vec![(path, 500, status)]);
    assert!(matches!(ApiServerReread::new(client).read(&wanted()).await, Err(RereadFailed)));
}

#[tokio::test]
async fn last_used_is_a_merge_patch_of_that_one_field() {
    let (client, seen) = api_server(vec![]);
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    let key = Key { namespace: "team-a".into(), name: "x".into() };
    for used in [Used::Member(key.clone()), Used::Connection(key)] {
        assert!(ApiServerStatus(client.clone()).write(&used, at).await.is_err(), "there is no such object");
    }
    let seen = seen.lock().unwrap();
    let paths: Vec<_> =
        seen.iter().map(|(method, path, _)| format!("{method} {}", path.trim_end_matches('?'))).collect();
    let base = "/apis/coffer.dev/v1alpha1/namespaces/team-a";
    assert_eq!(
        paths,
        [format!("PATCH {base}/vaultmembers/x/status"), format!("PATCH {base}/connections/x/status")]
    );
    assert!(
        seen.iter().all(|(_, _, body)| *body == json!({"status": {"lastUsedAt": "2026-01-02T03:04:05Z"}}))
    );
}

/// Never two answers: every write names the state that was read.
#[tokio::test]
async fn a_claim_and_an_answer_are_merge_patches_of_the_very_state_that_was_read() {
    let release: Release = serde_json::from_value(json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": "r", "namespace": "team-a", "resourceVersion": "7"},
        "spec": {"vault": "main", "connections": [{"name": "github"}], "publicKey": "k"},
    }))
    .unwrap();
    let path = "/apis/coffer.dev/v1alpha1/namespaces/team-a/releases/r/status";
    let mut claimed = serde_json::to_value(&release).unwrap();
    claimed["metadata"]["resourceVersion"] = json!("8");
    let (client, seen) = api_server(vec![(path, 200, claimed)]);
    let answers = ApiServerAnswers(client);
    let claimed = answers.claim(&release, "coffer-broker-0").await.unwrap();
    let status = ReleaseStatus {
        phase: Some(RequestPhase::Answered),
        answered_by: Some("coffer-broker-0".into()),
        result: Some("c2VhbGVk".into()),
        ..ReleaseStatus::default()
    };
    answers.answer(&claimed, &status).await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(method, at, _)| method == "PATCH" && at.trim_end_matches('?') == path));
    let bodies: Vec<_> = seen.iter().map(|(_, _, body)| body.clone()).collect();
    let claim = json!({"phase": "Claimed", "answeredBy": "coffer-broker-0", "message": null});
    let answer = json!({"phase": "Answered", "answeredBy": "coffer-broker-0", "result": "c2VhbGVk"});
    assert_eq!(
        bodies,
        [
            json!({"metadata": {"resourceVersion": "7"}, "status": claim}),
            json!({"metadata": {"resourceVersion": "8"}, "status": answer}),
        ]
    );
}

/// Every replica adds what is its own: a field manager of its own, the very object, and no state that others change.
#[tokio::test]
async fn an_answer_from_the_audit_log_is_applied_as_the_replica_s_own_entry() {
    let query: AuditQuery = serde_json::from_value(json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": "AuditQuery",
        "metadata": {"name": "q", "namespace": "team-a", "uid": "u", "resourceVersion": "7"},
        "spec": {"vault": "main", "publicKey": "k"},
    }))
    .unwrap();
    let path = "/apis/coffer.dev/v1alpha1/namespaces/team-a/auditqueries/q/status";
    let (client, seen) = api_server(vec![(path, 200, serde_json::to_value(&query).unwrap())]);
    let answer = AuditQueryAnswer { answered_by: "coffer-broker-1".into(), result: "c2VhbGVk".into() };
    let status = AuditQueryStatus {
        phase: Some(RequestPhase::Answered),
        answers: vec![answer],
        ..AuditQueryStatus::default()
    };
    audit::ApiServerAnswers(client).answer(&query, "coffer-broker-1", &status).await.unwrap();
    let seen = seen.lock().unwrap();
    let [(method, at, body)] = seen.as_slice() else { panic!("{} requests", seen.len()) };
    let (at, options) = at.split_once('?').unwrap();
    assert_eq!((method.as_str(), at), ("PATCH", path));
    assert!(options.contains("fieldManager=coffer-broker-1") && options.contains("force=true"), "{options}");
    assert_eq!(
        *body,
        json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "AuditQuery",
            "metadata": {"name": "q", "namespace": "team-a", "uid": "u"},
            "status": {
                "phase": "Answered",
                "answers": [{"answeredBy": "coffer-broker-1", "result": "c2VhbGVk"}],
            },
        })
    );
}
