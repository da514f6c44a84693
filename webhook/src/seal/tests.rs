use serde_json::json;

use super::*;
use crate::{
    fixtures::{Custodian, rng},
    review::Confidential,
};

fn refusal(spec: Value) -> String {
    let object = json!({"spec": spec});
    check_values(&object)
        .and_then(|()| check_total(&object))
        .and_then(|()| check_sealed(&object, &Value::Null))
        .expect_err("must be refused")
        .to_string()
}

/// The error names the item and never the value.
#[test]
fn a_value_that_is_no_string_is_refused_by_its_name() {
    for (value, found) in [
        (json!(12345678), "a number"),
        (json!(true), "true or false"),
        (json!(null), "null"),
        (json!(["hunter2"]), "a list"),
        (json!({"hunter2": "hunter2"}), "an object"),
    ] {
        let text = refusal(json!({"stringData": {"token": value}}));
        assert_eq!(
            text,
            format!("spec.stringData.token: must be a string, not {found}; put the value in quotes")
        );
    }
    for value in [json!("hunter2"), json!(["hunter2"]), json!(12345678)] {
        let text = refusal(json!({ "stringData": value }));
        assert_eq!(text, "spec.stringData: must be a map from item names to strings");
    }
    assert_eq!(
        check_values(&json!({"spec": "hunter2"})).expect_err("no object").to_string(),
        "spec: must be an object"
    );
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    for name in ["", ".", "..", "a/b", "a b", "ü", "a\nb", &"x".repeat(254)] {
        let text = refusal(json!({"stringData": {name: "hunter2"}}));
        assert!(text.contains("an item's name has 1 to 253"), "{name}: {text}");
        assert!(!text.contains('\n'), "{text}");
    }
    for name in ["token", "a.b", "A_1-", "...", &"x".repeat(253)] {
        assert_eq!(check_values(&json!({"spec": {"stringData": {name: "v"}}})), Ok(()), "{name}");
    }
}

/// §10: the limit stands in the text.
#[test]
fn more_than_the_limits_is_refused_with_the_limit() {
    let large = "x".repeat(MAX_ITEM_BYTES + 1);
    assert_eq!(
        refusal(json!({"stringData": {"token": large}})),
        "spec.stringData.token: is 65 KiB long; an item holds at most 64 KiB"
    );
    let many: Map<String, Value> = (0..65).map(|n| (format!("i{n}"), json!("v"))).collect();
    let text = refusal(json!({"stringData": many}));
    assert_eq!(text, "spec.stringData: holds 65 items; a Connection has at most 64");
    let full = "x".repeat(MAX_ITEM_BYTES);
    let five: Map<String, Value> = (0..5).map(|n| (format!("i{n}"), json!(full))).collect();
    let text = refusal(json!({"stringData": five}));
    assert_eq!(text, "spec.stringData: the values together are 320 KiB; a Connection holds at most 256 KiB");
    let four: Map<String, Value> = (0..4).map(|n| (format!("i{n}"), json!(full))).collect();
    let object = json!({"spec": {"stringData": four}});
    assert_eq!(check_values(&object).and_then(|()| check_total(&object)), Ok(()), "exactly at the limit");
}

fn seal(custodian: &Custodian, spec: Value) -> Value {
    let object = json!({"metadata": {"namespace": "a", "name": "c"}, "spec": spec});
    let (vault_id, key) = custodian.public();
    let place = Place { vault_id, namespace: "a", connection: "c", owner: "alice" };
    let mut draft = Draft::new(Confidential::from(object));
    seal_values(&mut draft, &Items::new(), Some((&key, place)), &mut rng()).expect("well-formed");
    draft.object().clone()
}

#[test]
fn values_at_every_limit_seal_and_pass_as_stored() {
    let custodian = Custodian::new();
    let full = "x".repeat(MAX_ITEM_BYTES);
    let four: Map<String, Value> = (0..4).map(|n| (format!("i{n}"), json!(full))).collect();
    let stored = seal(&custodian, json!({"owner": "alice", "stringData": four}));
    assert_eq!(check_sealed(&stored, &Value::Null), Ok(()));
    assert_eq!(custodian.open(&stored, "i3").as_deref(), Some(full.as_str()));
    let stored = seal(&custodian, json!({"owner": "alice", "stringData": {"empty": ""}}));
    assert_eq!(check_sealed(&stored, &Value::Null), Ok(()));
    assert_eq!(custodian.open(&stored, "empty").as_deref(), Some(""));
}

#[test]
fn a_plain_value_in_sealed_data_is_refused_and_not_repeated() {
    for value in ["hunter2", "aHVudGVyMg==", ""] {
        let text = refusal(json!({"sealedData": {"token": value}}));
        assert!(text.starts_with("spec.sealedData.token: is not s"), "{text}");
        assert!(text.contains("spec.stringData"), "{text}");
        assert!(value.is_empty() || !text.contains(value), "{text}");
    }
    assert_eq!(
        refusal(json!({"sealedData": {"token": 3}})),
        "spec.sealedData.token: must be sealed input in base64"
    );
}

/// What is stored is not judged again: a rule that becomes stricter must not block a change of something else.
#[test]
fn sealed_data_that_did_not_change_is_not_judged() {
    let object = json!({"spec": {"sealedData": {"token": "hunter2"}}});
    assert_eq!(check_sealed(&object, &object), Ok(()));
}

#[test]
fn annotations_beyond_the_api_servers_limit_name_the_way_out() {
    let object = json!({"metadata": {"annotations": {"a": "x".repeat(MAX_ANNOTATIONS)}}});
    let text = check_annotations(&object).expect_err("too large").to_string();
    assert!(text.contains("--server-side"), "{text}");
    assert_eq!(check_annotations(&json!({"metadata": {"annotations": {"a": "x"}}})), Ok(()));
}
