//! T44: whatever comes in, a clear 4xx goes out.

use crate::world::{World, account, request, rng};
use coffer_broker_api::{ErrorBody, MAX_CONNECTIONS, MAX_REQUEST_BYTES};
use coffer_keys::answer::EphemeralKey;
use proptest::prelude::*;
use std::sync::atomic::Ordering;

fn world() -> World {
    let mut world = World::new();
    world.member("web", account("web"), "member");
    world.connection("github", &["web"], "hunter2");
    world
}

fn check(status: http::StatusCode, body: &[u8]) -> ErrorBody {
    assert!(status.is_client_error(), "{status}: {}", String::from_utf8_lossy(body));
    let error: ErrorBody = serde_json::from_slice(body).unwrap();
    assert_eq!(error.code, status.as_u16());
    error
}

#[test]
fn any_bytes_as_body_and_headers_are_refused_without_a_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(async { world() });
    let token = world.tokens.pod("web").token;
    let value = proptest::collection::vec(
        any::<u8>().prop_filter("legal in a header", |b| http::HeaderValue::from_bytes(&[*b]).is_ok()),
        0..80,
    );
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        ".{0,200}".prop_map(String::into_bytes),
        r#"\{("[a-z]{1,4}":(\[|\{|1|null|"x"),?){0,6}\}?"#.prop_map(String::into_bytes),
    ];
    proptest!(|(body in body, authorization in value.clone(), driver in proptest::option::of(value), known in any::<bool>())| {
        let mut test = warp::test::request().method("POST").path("/v1/release").body(body);
        let authorization = if known { format!("Bearer {token}").into_bytes() } else { authorization };
        test = test.header("authorization", authorization);
        if let Some(driver) = driver {
            test = test.header("coffer-driver-token", driver);
        }
        let response = runtime.block_on(test.reply(&world.routes));
        check(response.status(), response.body());
    });
}

/// A well-formed request with one field replaced by anything.
#[test]
fn any_value_in_any_field_is_refused_or_denied() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(async { world() });
    let pod = world.tokens.pod("web");
    let good =
        serde_json::to_value(request(&pod, &EphemeralKey::generate(&mut rng()), &["team-a/other"])).unwrap();
    let any_json = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(Into::into),
        ".{0,100}".prop_map(serde_json::Value::String),
        proptest::collection::vec(".{0,40}", 0..4).prop_map(Into::into),
    ];
    let fields = prop_oneof![
        Just("/v"),
        Just("/requestID"),
        Just("/connections"),
        Just("/publicKey"),
        Just("/pod"),
        Just("/pod/uid")
    ];
    proptest!(|(field in fields, value in any_json)| {
        let mut body = good.clone();
        *body.pointer_mut(field).unwrap() = value;
        let test = warp::test::request().method("POST").path("/v1/release").header("authorization", format!("Bearer {}", pod.token));
        let response = runtime.block_on(test.json(&body).reply(&world.routes));
        check(response.status(), response.body());
    });
}

/// C21: each malformed request is told which field, what is wrong and what is accepted, and never reaches the
/// API server.
#[tokio::test]
async fn malformed_requests_are_named_before_any_token_is_looked_at() {
    let world = world();
    let pod = world.tokens.pod("web");
    let key = EphemeralKey::generate(&mut rng());
    let good = serde_json::to_value(request(&pod, &key, &["team-a/github"])).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut body = good.clone();
        *body.pointer_mut(field).unwrap() = value;
        body
    };
    let many: Vec<String> = (0..=MAX_CONNECTIONS).map(|index| format!("team-a/c{index}")).collect();
    for (body, status, word) in [
        (with("/v", 2.into()), 400, "v: "),
        (with("/requestID", "abc".into()), 400, "requestID: "),
        (with("/connections", serde_json::json!([])), 400, "connections: "),
        (with("/connections", serde_json::json!(["a b"])), 400, "connections[0]: "),
        (with("/connections", many.into()), 413, "connections: at most"),
        (with("/publicKey", "AAAA".into()), 400, "publicKey: "),
        (with("/pod/name", "".into()), 400, "pod: "),
        (with("/pod", "web-0".into()), 400, "JSON object with"),
        (with("/publicKey", "A".repeat(MAX_REQUEST_BYTES).into()), 413, "larger than"),
    ] {
        let test = warp::test::request().method("POST").path("/v1/release");
        let test = test.header("authorization", format!("Bearer {}", pod.token));
        let response = test.json(&body).reply(&world.routes).await;
        let error = check(response.status(), response.body());
        assert_eq!(error.code, status, "{}", error.message);
        assert!(error.message.contains(word), "{}", error.message);
    }
    assert_eq!(world.tokens.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn other_paths_and_methods_are_answered_in_json_too() {
    let world = world();
    for (method, path, status) in [
        ("GET", "/v1/release", 405),
        ("POST", "/", 404),
        ("GET", "/metrics", 404),
        ("POST", "/v1/release/x", 404),
    ] {
        let response = warp::test::request().method(method).path(path).reply(&world.routes).await;
        assert_eq!(check(response.status(), response.body()).code, status, "{method} {path}");
    }
}
