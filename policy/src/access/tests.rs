use super::*;
use crate::fixtures::vault;
use serde_json::{Value, json};

fn admits_ns(namespaces: Value, namespace: &str, labels: &[(&str, &str)]) -> bool {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    admits(&vault(json!({"access": {"namespaces": namespaces}})), namespace, &labels)
}

#[test]
fn the_vaults_own_namespace_is_always_admitted() {
    let odd = json!({"selector": {"matchLabels": {"a": "b"}}});
    for access in [json!("Same"), json!("All"), odd, json!("nonsense"), json!(3)] {
        assert!(admits_ns(access, "team", &[]));
    }
}

#[test]
fn others_are_admitted_by_all_or_by_their_labels() {
    assert!(!admits_ns(json!("Same"), "other", &[]));
    assert!(admits_ns(json!("All"), "other", &[]));
    let by_label = json!({"selector": {"matchLabels": {"team": "a"}}});
    assert!(admits_ns(by_label.clone(), "other", &[("team", "a"), ("x", "y")]));
    assert!(!admits_ns(by_label.clone(), "other", &[("team", "b")]));
    assert!(!admits_ns(by_label, "other", &[]));
    // Kubernetes' own meaning of an empty selector: everything.
    assert!(admits_ns(json!({"selector": {}}), "other", &[]));
}

#[test]
fn expressions_mean_what_they_mean_in_kubernetes() {
    let rule = |operator: &str, values: Value| json!({"selector": {"matchExpressions": [{"key": "env", "operator": operator, "values": values}]}});
    let prod = [("env", "prod")];
    let table = [
        ("In", json!(["prod"]), true, false),
        ("NotIn", json!(["prod"]), false, true),
        ("Exists", json!([]), true, false),
        ("DoesNotExist", json!([]), false, true),
        ("Like", json!(["prod"]), false, false),
    ];
    for (operator, values, with, without) in table {
        assert_eq!(admits_ns(rule(operator, values.clone()), "other", &prod), with, "{operator}");
        assert_eq!(admits_ns(rule(operator, values), "other", &[]), without, "{operator}");
    }
}

/// T45: what cannot be read admits nobody else.
#[test]
fn what_cannot_be_read_admits_no_other_namespace() {
    for access in [json!("all"), json!(true), json!({"selector": "a=b"}), json!({"selector": {}, "x": 1})] {
        assert!(!admits_ns(access, "other", &[("a", "b")]));
    }
}
