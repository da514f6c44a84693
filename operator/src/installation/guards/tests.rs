#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const POLICY: &str = "ValidatingAdmissionPolicy";

fn policy() -> Value {
    json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"apiGroups": ["coffer.dev"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["vaults", "connections"]}]},
        "validations": [{"expression": "a == b", "message": "no", "reason": "Forbidden"}],
    })
}

/// As the API server stores it.
fn stored() -> Value {
    let mut stored = policy();
    stored["matchConstraints"]["matchPolicy"] = json!("Equivalent");
    stored["matchConstraints"]["namespaceSelector"] = json!({});
    stored["matchConstraints"]["objectSelector"] = json!({});
    stored["matchConstraints"]["resourceRules"][0]["scope"] = json!("*");
    stored
}

fn webhooks() -> Value {
    json!({"webhooks": [{"name": "vaults.coffer.dev", "failurePolicy": "Fail", "clientConfig": {"service": {"name": "coffer-webhook"}}}]})
}

fn shipped() -> String {
    json!([
        {"kind": POLICY, "name": "coffer-authors", "spec": policy()},
        {"kind": "MutatingWebhookConfiguration", "name": "coffer", "spec": webhooks()},
    ])
    .to_string()
}

fn found(policy: Value, webhooks: Value) -> Found {
    [
        ((String::from(POLICY), String::from("coffer-authors")), policy),
        ((String::from("MutatingWebhookConfiguration"), String::from("coffer")), webhooks),
    ]
    .into()
}

fn complaint(shipped: Option<&str>, found: &Found) -> String {
    match judge(shipped, found) {
        Standing::Missing(why) => why.to_string(),
        other @ (Standing::Unknown | Standing::AsShipped) => panic!("{other:?}"),
    }
}

#[test]
fn what_the_api_server_fills_in_is_no_difference() {
    let mut webhooks = webhooks();
    webhooks["webhooks"][0]["clientConfig"]["caBundle"] = json!("UEVN");
    webhooks["webhooks"][0]["namespaceSelector"] = json!({"matchExpressions": []});
    webhooks["webhooks"][0]["objectSelector"] = json!({});
    assert_eq!(judge(Some(&shipped()), &found(stored(), webhooks)), Standing::AsShipped);
}

#[test]
fn each_way_to_weaken_a_guard_is_named_with_its_place() {
    let weaken = |place: &str, value: Value| {
        let mut stored = stored();
        match stored.pointer_mut(place) {
            Some(present) => *present = value,
            None => {
                let (parent, name) = place.rsplit_once('/').unwrap();
                stored.pointer_mut(parent).unwrap()[name] = value;
            }
        }
        complaint(Some(&shipped()), &found(stored, webhooks()))
    };
    for (place, value, named) in [
        ("/failurePolicy", json!("Ignore"), "failurePolicy"),
        ("/validations/0/expression", json!("true"), "validations[0].expression"),
        ("/validations", json!([]), "validations"),
        ("/matchConditions", json!([{"name": "never", "expression": "false"}]), "matchConditions"),
        (
            "/matchConstraints/namespaceSelector",
            json!({"matchLabels": {"a": "b"}}),
            "matchConstraints.namespaceSelector",
        ),
        (
            "/matchConstraints/excludeResourceRules",
            json!([{"resources": ["*"]}]),
            "matchConstraints.excludeResourceRules",
        ),
        (
            "/matchConstraints/resourceRules/0/operations",
            json!(["CREATE"]),
            "matchConstraints.resourceRules[0].operations",
        ),
        (
            "/matchConstraints/resourceRules/0/scope",
            json!("Cluster"),
            "matchConstraints.resourceRules[0].scope",
        ),
        ("/matchConstraints/matchPolicy", json!("Exact"), "matchConstraints.matchPolicy"),
    ] {
        let said = weaken(place, value);
        assert!(
            said.contains(&format!("{POLICY} 'coffer-authors' is not as shipped at {named}")),
            "{place}: {said}"
        );
    }
}

#[test]
fn what_is_missing_is_named_and_a_list_that_says_nothing_is_no_list() {
    let all = found(stored(), webhooks());
    let mut fewer = all.clone();
    fewer.retain(|(kind, _), _| kind != POLICY);
    let said = complaint(Some(&shipped()), &fewer);
    assert!(said.contains("ValidatingAdmissionPolicy 'coffer-authors' is missing"), "{said}");
    assert!(said.contains("helm upgrade"), "{said}");
    for (text, words) in [(None, "is missing"), (Some("[]"), "does not list"), (Some("no"), "does not list")]
    {
        let said = complaint(text, &all);
        assert!(said.contains("ConfigMap 'coffer-guards'") && said.contains(words), "{said}");
    }
    let mut open = webhooks();
    open["webhooks"][0]["failurePolicy"] = json!("Ignore");
    let said = complaint(Some(&shipped()), &found(stored(), open));
    assert!(said.contains("MutatingWebhookConfiguration 'coffer'"), "{said}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-e]{1,2}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// No field is overlooked: only equal specs are the same, as long as no default is in play.
    #[test]
    fn specs_are_the_same_exactly_when_they_are_equal(shipped in any_json(), found in any_json()) {
        prop_assert_eq!(difference(&shipped, &shipped), None);
        prop_assert_eq!(difference(&shipped, &found).is_none(), shipped == found);
    }
}
