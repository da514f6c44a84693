//! Which vault does a Connection belong to?

use crate::access::admits;
use coffer_crds::{Connection, NamespaceAccess, Vault, annotations::DEFAULT_VAULT};
use std::collections::BTreeMap;

/// Namespace and name of the vault that a Connection names; `None` when it leaves that to the default. The namespace
/// defaults to the Connection's.
pub fn named(connection: &Connection) -> Option<(&str, &str)> {
    let vault = connection.spec.vault.as_ref()?;
    let name = vault.name.as_deref().filter(|name| !name.is_empty())?;
    let namespace = vault.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    Some((namespace.or(connection.metadata.namespace.as_deref()).unwrap_or_default(), name))
}

/// Whether a vault is marked as a default one: of its own namespace, if of no more.
pub fn is_default(vault: &Vault) -> bool {
    let mark = vault.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_VAULT));
    mark.is_some_and(|mark| mark == "true")
}

/// Whether a vault is the default of other namespaces too: marked, and open to them.
pub fn is_cluster_default(vault: &Vault) -> bool {
    let reaches = match vault.spec.access.namespaces {
        NamespaceAccess::All | NamespaceAccess::Selector(_) => true,
        NamespaceAccess::Same | NamespaceAccess::Unknown(_) => false,
    };
    reaches && is_default(vault)
}

/// The vault of Connections in `namespace` that name none: the default one there, else the cluster's if it admits the
/// namespace (C2). Of several, which admission refuses and a race can make, the oldest counts: whoever comes later
/// moves nobody's credentials.
pub fn default_of<'a>(
    vaults: impl IntoIterator<Item = &'a Vault>,
    namespace: &str,
    namespace_labels: &BTreeMap<String, String>,
) -> Option<&'a Vault> {
    let mut marked: Vec<&Vault> = vaults.into_iter().filter(|vault| is_default(vault)).collect();
    marked.sort_by_key(|vault| (&vault.metadata.creation_timestamp, &vault.metadata.uid));
    let own = marked.iter().find(|vault| vault.metadata.namespace.as_deref() == Some(namespace));
    own.or_else(|| marked.iter().find(|vault| admits(vault, namespace, namespace_labels))).copied()
}

#[cfg(test)]
mod tests;
