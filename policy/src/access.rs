//! In which namespaces a vault's Connections and pods may be.

use coffer_crds::{NamespaceAccess, Vault};
use std::collections::BTreeMap;

/// Whether the vault admits this namespace. Its own always; what cannot be read admits no other.
pub fn admits(vault: &Vault, namespace: &str, namespace_labels: &BTreeMap<String, String>) -> bool {
    if vault.metadata.namespace.as_deref() == Some(namespace) {
        return true;
    }
    match &vault.spec.access.namespaces {
        NamespaceAccess::Same | NamespaceAccess::Unknown(_) => false,
        NamespaceAccess::All => true,
        NamespaceAccess::Selector(selector) => {
            let labels = selector.match_labels.iter().flatten();
            let equal = labels.into_iter().all(|(k, v)| namespace_labels.get(k) == Some(v));
            equal
                && selector.match_expressions.iter().flatten().all(|rule| {
                    let value = namespace_labels.get(&rule.key);
                    let listed = |v: &String| rule.values.iter().flatten().any(|allowed| allowed == v);
                    match rule.operator.as_str() {
                        "In" => value.is_some_and(listed),
                        "NotIn" => !value.is_some_and(listed),
                        "Exists" => value.is_some(),
                        "DoesNotExist" => value.is_none(),
                        _ => false,
                    }
                })
        }
    }
}

#[cfg(test)]
mod tests;
