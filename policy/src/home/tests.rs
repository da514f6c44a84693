use super::*;
use crate::fixtures::{connection, vault};
use serde_json::{Value, json};

/// A marked vault `namespace/name` that was made at this second.
fn marked(namespace: &str, name: &str, access: Value, second: u32) -> Vault {
    let mut vault = vault(json!({"access": {"namespaces": access}}));
    let meta = &mut vault.metadata;
    (meta.namespace, meta.name, meta.uid) = (Some(namespace.into()), Some(name.into()), Some(name.into()));
    meta.annotations = Some([(DEFAULT_VAULT.to_owned(), "true".to_owned())].into());
    let at = format!("2026-01-01T00:00:{second:02}Z");
    meta.creation_timestamp = serde_json::from_value(json!(at)).expect("a time");
    vault
}

fn default_in(vaults: &[Vault], namespace: &str, labels: &[(&str, &str)]) -> Option<String> {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    default_of(vaults, namespace, &labels)?.metadata.name.clone()
}

/// C2
#[test]
fn the_namespaces_own_default_goes_before_the_clusters_however_young_it_is() {
    let vaults = [
        marked("platform", "closed", json!("Same"), 1),
        marked("platform", "shared", json!("All"), 2),
        marked("team", "own", json!("Same"), 3),
    ];
    assert_eq!(default_in(&vaults, "team", &[]).as_deref(), Some("own"));
    assert_eq!(default_in(&vaults, "other", &[]).as_deref(), Some("shared"));
    assert_eq!(default_in(&vaults[..1], "other", &[]), None, "closed to others");
    let mut unmarked = vaults[1].clone();
    unmarked.metadata.annotations = None;
    assert_eq!(default_in(&[unmarked], "other", &[]), None);
}

#[test]
fn a_default_with_a_selector_is_that_of_the_namespaces_it_selects() {
    let vaults = [marked("platform", "v", json!({"selector": {"matchLabels": {"team": "a"}}}), 1)];
    assert_eq!(default_in(&vaults, "other", &[("team", "a")]).as_deref(), Some("v"));
    assert_eq!(default_in(&vaults, "other", &[("team", "b")]), None);
    assert_eq!(default_in(&vaults, "platform", &[]).as_deref(), Some("v"));
}

#[test]
fn of_two_that_a_race_made_the_oldest_counts() {
    let vaults = [marked("z", "late", json!("All"), 5), marked("y", "early", json!("All"), 4)];
    assert_eq!(default_in(&vaults, "other", &[]).as_deref(), Some("early"));
}

#[test]
fn a_default_of_other_namespaces_is_marked_and_open_to_them() {
    for (access, expected) in [
        (json!("All"), true),
        (json!({"selector": {}}), true),
        (json!("Same"), false),
        (json!("nonsense"), false),
    ] {
        let vault = marked("platform", "v", access.clone(), 1);
        assert_eq!(is_cluster_default(&vault), expected, "{access}");
        assert!(is_default(&vault));
        let mut off = vault.clone();
        off.metadata.annotations = Some([(DEFAULT_VAULT.to_owned(), "false".to_owned())].into());
        assert!(!is_default(&off) && !is_cluster_default(&off));
    }
}

#[test]
fn a_connection_names_a_vault_of_its_own_namespace_unless_it_says_another() {
    for (reference, expected) in [
        (json!({"name": "v"}), Some(("team", "v"))),
        (json!({"name": "v", "namespace": "x"}), Some(("x", "v"))),
        (json!({"name": "v", "namespace": ""}), Some(("team", "v"))),
        (json!({"name": "", "namespace": "x"}), None),
        (json!({}), None),
        (Value::Null, None),
    ] {
        let connection = connection("c", json!({"vault": reference}));
        assert_eq!(named(&connection), expected, "{reference}");
    }
}
