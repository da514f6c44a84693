use serde_json::json;

use super::*;
use crate::fixtures::patched;

fn draft(object: &Value) -> Draft {
    Draft::new(Confidential::from(object.clone()))
}

#[test]
fn the_patch_makes_of_the_object_what_the_draft_shows() {
    let object =
        json!({"spec": {"stringData": {"a": "x"}, "keep": 1}, "metadata": {"annotations": {"a/b~c": "1"}}});
    let mut draft = draft(&object);
    draft.set(["spec", "sealedData", "a"], "sealed".into()).expect("spec is an object");
    draft.remove(["spec", "stringData"]);
    draft.remove(["spec", "absent"]);
    draft.remove(["metadata", "annotations", "a/b~c"]);
    draft.push(["spec", "volumes"], json!({"name": "one"})).expect("made");
    draft.push(["spec", "volumes"], json!({"name": "two"})).expect("a list");
    draft.set(["metadata", "labels", "x/y"], "z".into()).expect("made");
    let expected = json!({
        "metadata": {"annotations": {}, "labels": {"x/y": "z"}},
        "spec": {"keep": 1, "sealedData": {"a": "sealed"}, "volumes": [{"name": "one"}, {"name": "two"}]},
    });
    assert_eq!(draft.object(), &expected);
    assert_eq!(patched(&object, &draft.into_patch()), expected);
}

#[test]
fn what_is_there_already_is_not_set_again() {
    let mut draft = draft(&json!({"spec": {"owner": "alice"}}));
    draft.set(["spec", "owner"], "alice".into()).expect("spec is an object");
    assert!(draft.into_patch().is_empty());
}

#[test]
fn a_parent_that_is_no_object_is_refused_by_name() {
    let mut draft = draft(&json!({"spec": {"sealedData": 3, "volumes": {}}}));
    let refusal = draft.set(["spec", "sealedData", "a"], "x".into()).expect_err("3 is no object");
    assert_eq!(refusal.to_string(), "spec.sealedData: must be an object");
    let refusal = draft.push(["spec", "volumes"], json!(1)).expect_err("an object is no list");
    assert_eq!(refusal.to_string(), "spec.volumes: must be a list");
}

#[test]
fn a_parent_that_is_null_counts_as_absent() {
    let object = json!({"spec": null});
    let mut draft = draft(&object);
    draft.set(["spec", "owner"], "alice".into()).expect("null is absent");
    assert_eq!(patched(&object, &draft.into_patch()), json!({"spec": {"owner": "alice"}}));
}
