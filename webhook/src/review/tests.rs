use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn body(review: &Value) -> Vec<u8> {
    serde_json::to_vec(review).expect("JSON encodes")
}

fn minimal() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "operation": "CREATE", "userInfo": {"username": "alice"}},
    })
}

/// T44: any bytes give a clear refusal and no panic.
#[test]
fn a_body_that_is_no_review_is_refused_without_being_quoted() {
    let mut wrong_version = minimal();
    wrong_version["apiVersion"] = "admission.k8s.io/v1beta1".into();
    let mut nobody = minimal();
    nobody["request"]["userInfo"] = json!({"username": ""});
    let mut no_operation = minimal();
    no_operation["request"]["operation"] = "hunter2".into();
    let mut no_request = minimal();
    no_request["request"] = Value::Null;
    for (bytes, expected) in [
        (b"hunter2".to_vec(), "not valid JSON"),
        (b"{\"request\": \"hunter2\"}".to_vec(), "not a valid AdmissionReview"),
        (b"".to_vec(), "not valid JSON"),
        (vec![b'['; 100_000], "not a valid AdmissionReview"),
        (body(&wrong_version), "must be an AdmissionReview of admission.k8s.io/v1"),
        (body(&nobody), "names no user"),
        (body(&no_operation), "not a valid AdmissionReview"),
        (body(&no_request), "holds no request"),
    ] {
        let Err(refusal) = parse(&bytes) else { panic!("{expected}: must not be read") };
        let text = refusal.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(refusal.status().0, http::StatusCode::BAD_REQUEST);
    }
}

#[test]
fn a_refusal_carries_code_and_reason_and_no_patch() {
    let answer = answer("u", Err(Refusal::Authorize(String::from("no"))));
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let expected = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {
            "uid": "u", "allowed": false,
            "status": {"code": 403, "reason": "Forbidden", "message": "no"},
        },
    });
    assert_eq!(answer, expected);
}

#[test]
fn a_patch_is_written_as_base64_text() {
    let op = Op::Add { path: String::from("/spec/a"), value: json!(1) };
    let answer =
        answer("u", Ok(Admitted { patch: vec![op], warnings: vec![String::from("w")], broken: None }));
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let response = &answer["response"];
    assert_eq!(response["patchType"], "JSONPatch");
    assert_eq!(response["warnings"], json!(["w"]));
    let patch = STANDARD.decode(response["patch"].as_str().expect("text")).expect("base64");
    let patch: Value = serde_json::from_slice(&patch).expect("a patch is JSON");
    assert_eq!(patch, json!([{"op": "add", "path": "/spec/a", "value": 1}]));
}

#[test]
fn an_empty_patch_is_left_out() {
    let answer: Value = serde_json::from_slice(&answer("u", Ok(Admitted::default()))).expect("JSON");
    assert_eq!(answer["response"], json!({"uid": "u", "allowed": true}));
}

#[test]
fn wiping_leaves_no_string_of_the_object() {
    let mut value = json!({"a": "hunter2", "b": ["hunter2", {"c": "hunter2"}], "d": 1});
    wipe(&mut value);
    assert_eq!(value, json!({"a": "", "b": ["", {"c": ""}], "d": 1}));
}

proptest! {
    /// T44
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&bytes);
    }
}
