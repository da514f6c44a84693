use serde_json::{Map, json};

use super::*;
use crate::fixtures::{patched, request, review};

fn items<const N: usize>(names: [&str; N]) -> Items {
    names.into_iter().map(str::to_owned).collect()
}

fn object(spec: Value, annotations: Value, managed_fields: Value) -> Value {
    json!({
        "metadata": {"name": "c", "namespace": "a", "annotations": annotations, "managedFields": managed_fields},
        "spec": spec,
    })
}

fn settled(new: &Value, old: Value) -> (Items, Value) {
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    let mut request = request(operation, "alice", new.clone(), old);
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    let dropped = settle(&request, &mut draft).expect("well-formed");
    let after = draft.object().clone();
    assert_eq!(patched(new, &draft.into_patch()), after);
    (dropped, after)
}

fn applied(spec: &Value) -> String {
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "Connection", "spec": spec}).to_string() + "\n"
}

/// A client-side apply of `manifest` on `stored`, as kubectl's three-way merge sends it.
fn client_side_apply(manifest: &Value, stored: &Value) -> Value {
    let mut sent = if stored.is_null() { object(json!({}), json!({}), json!([])) } else { stored.clone() };
    for (field, value) in manifest.as_object().expect("an object") {
        let Value::Object(fields) = value else {
            sent["spec"][field] = value.clone();
            continue;
        };
        let at = sent["spec"].as_object_mut().expect("an object");
        let at = at.entry(field.clone()).or_insert_with(|| Map::new().into());
        at.as_object_mut().expect("an object").extend(fields.clone());
    }
    sent["metadata"]["annotations"][LAST_APPLIED] = applied(manifest).into();
    sent
}

/// What the webhook makes of `sent`, with `sealed` in place of sealing.
fn stored(sent: &Value, old: Value, sealed: &str) -> (Items, Value) {
    let (dropped, mut after) = settled(sent, old);
    let strings = after["spec"].as_object_mut().expect("an object").remove("stringData");
    for item in &dropped {
        after["spec"]["sealedData"].as_object_mut().expect("an object").remove(item);
    }
    for (item, _) in strings.iter().filter_map(Value::as_object).flatten() {
        after["spec"]["sealedData"][item] = sealed.into();
    }
    (dropped, after)
}

/// T35: the annotation is stored, so it must not keep what the object does not.
#[test]
fn only_string_data_is_cut_out_of_the_last_applied_annotation() {
    let text = concat!(
        r#"{"apiVersion":"coffer.dev/v1alpha1","metadata":{"annotations":{},"name":"c"},"#,
        r#""spec":{"alias":"x","number":1.50,"stringData":{"token":"hunter2"},"vault":{"name":"team"}},"z":[1,2]}"#,
        "\n"
    );
    let (dropped, after) = settled(
        &object(
            json!({"stringData": {"token": "hunter2"}}),
            json!({LAST_APPLIED: text, "other": "kept"}),
            json!([]),
        ),
        Value::Null,
    );
    assert!(dropped.is_empty());
    let cut = after["metadata"]["annotations"][LAST_APPLIED].as_str().expect("text");
    assert_eq!(cut, text.replace(r#""stringData":{"token":"hunter2"},"#, ""));
    assert_eq!(after["metadata"]["annotations"]["other"], "kept");
    assert_eq!(after["metadata"]["annotations"][APPLIED_ITEMS], "token");
}

/// T35: escapes and repeated members hide nothing.
#[test]
fn string_data_is_cut_however_its_name_is_written() {
    for spec in [
        r#"{"string\u0044ata":{"token":"hunter2"}}"#,
        r#"{"stringData":"hunter2"}"#,
        r#"{"stringData":["hunter2"]}"#,
        r#"{"stringData":{"a":"hunter2"},"stringData":{"b":"hunter2"}}"#,
    ] {
        for text in [format!(r#"{{"spec":{spec}}}"#), format!(r#"{{"spec":{spec},"spec":{spec}}}"#)] {
            let (_, after) = settled(&object(json!({}), json!({LAST_APPLIED: text}), json!([])), Value::Null);
            assert_eq!(after["metadata"]["annotations"][LAST_APPLIED], r#"{"spec":{}}"#, "{text}");
        }
    }
}

#[test]
fn an_annotation_that_kubectl_did_not_write_is_refused_when_it_is_new() {
    for text in ["hunter2", "[1]", "\"hunter2\"", "{\"spec\":"] {
        let new = object(json!({}), json!({LAST_APPLIED: text}), json!([]));
        let mut request = request("CREATE", "alice", new.clone(), Value::Null);
        let mut draft = Draft::new(std::mem::take(&mut request.object));
        let refusal = settle(&request, &mut draft).expect_err("cannot be read").to_string();
        assert!(refusal.contains(LAST_APPLIED) && !refusal.contains("hunter2"), "{refusal}");
        let (dropped, after) = settled(&new, new.clone());
        assert!(dropped.is_empty());
        assert_eq!(after, new, "what is stored already is left alone");
    }
}

/// T27: an item taken out of the manifest is taken out of the Connection.
#[test]
fn client_side_apply_removes_items_that_the_manifest_no_longer_lists() {
    let first = json!({"alias": "x", "stringData": {"token": "1", "user": "2"}});
    let (_, one) = stored(&client_side_apply(&first, &Value::Null), Value::Null, "s1");
    assert_eq!(one["metadata"]["annotations"][APPLIED_ITEMS], "token,user");

    let second = json!({"alias": "x", "stringData": {"token": "1"}});
    let (dropped, two) = stored(&client_side_apply(&second, &one), one.clone(), "s2");
    assert_eq!(dropped, items(["user"]));
    assert_eq!(two["spec"]["sealedData"], json!({"token": "s2"}));
    assert_eq!(two["metadata"]["annotations"][APPLIED_ITEMS], "token");

    let third = json!({"alias": "y"});
    let (dropped, three) = stored(&client_side_apply(&third, &two), two.clone(), "s3");
    assert_eq!(dropped, items(["token"]), "none is listed any more");
    assert_eq!(three["metadata"]["annotations"].get(APPLIED_ITEMS), None);
}

#[test]
fn items_of_other_writers_stay() {
    let (_, mut one) = stored(
        &client_side_apply(&json!({"stringData": {"token": "1", "user": "2"}}), &Value::Null),
        Value::Null,
        "s1",
    );
    one["spec"]["sealedData"]["extra"] = "theirs".into();
    let (dropped, two) =
        stored(&client_side_apply(&json!({"stringData": {"token": "1"}}), &one), one.clone(), "s2");
    assert_eq!(dropped, items(["user"]));
    assert_eq!(two["spec"]["sealedData"], json!({"token": "s2", "extra": "theirs"}));
}

#[test]
fn an_item_that_the_manifest_now_brings_sealed_stays() {
    let (_, one) =
        stored(&client_side_apply(&json!({"stringData": {"token": "1"}}), &Value::Null), Value::Null, "s1");
    for sealed in ["s1", "other"] {
        let (dropped, two) =
            stored(&client_side_apply(&json!({"sealedData": {"token": sealed}}), &one), one.clone(), "s2");
        assert!(dropped.is_empty());
        assert_eq!(two["metadata"]["annotations"].get(APPLIED_ITEMS), None, "kubectl itself keeps track now");
    }
}

/// A patch or an edit says nothing about what is listed.
#[test]
fn writes_that_are_no_apply_remove_nothing() {
    let (_, one) = stored(
        &client_side_apply(&json!({"stringData": {"token": "1", "user": "2"}}), &Value::Null),
        Value::Null,
        "s1",
    );
    let mut patch = one.clone();
    patch["spec"]["stringData"] = json!({"token": "new"});
    assert_eq!(settled(&patch, one.clone()).0, items([]));
    let mut edit = one.clone();
    edit["spec"]["alias"] = "y".into();
    assert_eq!(settled(&edit, one.clone()).0, items([]));
    // kubectl apply set-last-applied: the annotation alone.
    let mut set = one.clone();
    set["metadata"]["annotations"][LAST_APPLIED] = applied(&json!({"stringData": {"token": "1"}})).into();
    let (dropped, after) = settled(&set, one.clone());
    assert_eq!(dropped, items([]));
    assert_eq!(after["metadata"]["annotations"][LAST_APPLIED], applied(&json!({})));
    assert_eq!(after["metadata"]["annotations"][APPLIED_ITEMS], "token");
}

/// A second call in the same request sees the first one's patch.
#[test]
fn a_second_call_changes_nothing() {
    for manifest in [
        json!({"alias": "y", "stringData": {"token": "1"}}),
        json!({"alias": "y"}),
        json!({"alias": "y", "sealedData": {"user": "z"}}),
    ] {
        let first = json!({"alias": "x", "stringData": {"token": "1", "user": "2"}});
        let (_, one) = stored(&client_side_apply(&first, &Value::Null), Value::Null, "s1");
        let (_, two) = stored(&client_side_apply(&manifest, &one), one.clone(), "s2");
        let (dropped, again) = settled(&two, one);
        assert!(dropped.is_empty(), "{manifest}: {dropped:?}");
        assert_eq!(again, two, "{manifest}");
    }
}

/// T35: an annotation that got past this program once is mended by the next write of any kind.
#[test]
fn string_data_in_a_stored_annotation_is_cut_without_being_taken_for_an_apply() {
    let stored = object(
        json!({"sealedData": {"token": "s"}}),
        json!({LAST_APPLIED: applied(&json!({"stringData": {"token": "hunter2"}}))}),
        json!([]),
    );
    let (dropped, after) = settled(&stored, stored.clone());
    assert!(dropped.is_empty());
    assert_eq!(after["metadata"]["annotations"], json!({LAST_APPLIED: applied(&json!({}))}));
}

fn entry(manager: &str, operation: &str, strings: &[&str], sealed: &[&str]) -> Value {
    let fields = |names: &[&str]| -> Value {
        names.iter().map(|name| (format!("f:{name}"), json!({}))).collect::<Map<_, _>>().into()
    };
    json!({
        "manager": manager, "operation": operation, "apiVersion": "coffer.dev/v1alpha1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:alias": {}, "f:stringData": fields(strings), "f:sealedData": fields(sealed)}},
    })
}

/// A server-side apply by `manager`: the dropped items.
fn server_side(manager: &str, new_fields: Value, old_fields: Value, listed: &[&str]) -> Items {
    let sealed = json!({"token": "s", "user": "s"});
    let old = object(json!({"sealedData": sealed}), json!({}), old_fields);
    let strings: Map<String, Value> = listed.iter().map(|item| ((*item).to_owned(), json!("v"))).collect();
    let new = object(json!({"sealedData": sealed, "stringData": strings}), json!({}), new_fields);
    let mut review = review("UPDATE", "alice", new, old);
    review["request"]["options"]["fieldManager"] = manager.into();
    let bytes = serde_json::to_vec(&review).expect("JSON encodes");
    let mut request = crate::review::parse(&bytes).expect("a review");
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    settle(&request, &mut draft).expect("well-formed")
}

/// T27: the API server records the names of what each manager applied, and only names.
#[test]
fn server_side_apply_removes_items_that_its_manager_no_longer_lists() {
    let old = json!([entry("flux", "Apply", &["token", "user"], &[])]);
    let new = json!([entry("flux", "Apply", &["token"], &[])]);
    assert_eq!(server_side("flux", new, old, &["token"]), items(["user"]));
    let old = json!([entry("flux", "Apply", &["token", "user"], &[])]);
    let new = json!([entry("flux", "Apply", &[], &[])]);
    assert_eq!(server_side("flux", new, old, &[]), items(["token", "user"]));
}

#[test]
fn server_side_apply_leaves_what_another_manager_lists() {
    let old = json!([entry("flux", "Apply", &["token", "user"], &[])]);
    for other in [
        entry("carol", "Apply", &["user"], &[]),
        entry("carol", "Apply", &[], &["user"]),
        entry("kubectl-patch", "Update", &["user"], &[]),
    ] {
        let new = json!([entry("flux", "Apply", &["token"], &[]), other]);
        assert_eq!(server_side("flux", new, old.clone(), &["token"]), items([]));
    }
    // The manager itself brings it sealed now.
    let new = json!([entry("flux", "Apply", &["token"], &["user"])]);
    assert_eq!(server_side("flux", new, old, &["token"]), items([]));
}

#[test]
fn what_is_no_apply_by_that_manager_removes_nothing() {
    let old = json!([entry("flux", "Apply", &["token", "user"], &[])]);
    let same = json!([entry("flux", "Apply", &["token", "user"], &[])]);
    // Another manager's write that happens to take a field over.
    let taken = json!([entry("flux", "Apply", &["token"], &[]), entry("carol", "Update", &["user"], &[])]);
    assert_eq!(server_side("carol", taken, old.clone(), &["user"]), items([]));
    assert_eq!(server_side("flux", same, old.clone(), &[]), items([]));
    // managedFields reset by hand.
    assert_eq!(server_side("flux", json!([]), old.clone(), &[]), items([]));
    assert_eq!(server_side("flux", json!([{}]), old.clone(), &[]), items([]));
    assert_eq!(server_side("flux", json!("nonsense"), old, &[]), items([]));
}
