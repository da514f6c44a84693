//! The file of a backup: a `v1` List, in the order in which `kubectl create -f` may make it.

use std::{collections::BTreeSet, path::Path};

use coffer_crds::{Connection, Envelope, Keyring, Vault, VaultMember, annotations};
use coffer_keys::SecretBytes;
use kube::{ResourceExt as _, api::DynamicObject};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{Failure, decision::is_of, desk::Desk};

/// What is kept of an object's metadata: what its next incarnation has, too.
const KEPT: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// Whose status is kept: a member's has what is wrapped for it, and a Vault's the key that vouches for everything. No
/// restore writes them back; `recover` needs them.
const WITH_STATUS: [&str; 2] = ["Vault", "VaultMember"];

/// What a backup keeps of an object.
pub(crate) fn saved(object: DynamicObject) -> Value {
    let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
    let mut object = serde_json::to_value(object).unwrap_or_default();
    let Some(fields) = object.as_object_mut() else { return object };
    if !WITH_STATUS.contains(&kind.as_str()) {
        fields.remove("status");
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| KEPT.contains(&field.as_str()));
        if let Some(notes) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            notes.remove(annotations::RESTORE);
        }
    }
    object
}

/// A backup that was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backup {
    pub(crate) keyrings: Vec<Keyring>,
    pub(crate) envelopes: Vec<Envelope>,
    pub(crate) members: Vec<VaultMember>,
    pub(crate) vaults: Vec<Vault>,
    pub(crate) connections: Vec<Connection>,
}

impl Backup {
    /// Reads a file, or standard input if it is named `-`; of one namespace only, if one is named.
    pub(crate) fn read(desk: &mut Desk<'_>, path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let bytes = if path == Path::new("-") {
            desk.person.standard_input()
        } else {
            std::fs::read(path).map(SecretBytes::new)
        };
        let bytes = bytes.map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
        let text = std::str::from_utf8(bytes.expose())
            .map_err(|_| Failure::Usage(format!("{shown} is no text: a backup is YAML or JSON")))?;
        let mut backup = Self::parse(text).map_err(|problem| {
            Failure::Usage(format!("{shown} is no backup that kubectl coffer backup wrote: {problem}"))
        })?;
        if let Some(namespace) = &desk.options.namespace {
            backup.keep(namespace);
        }
        if backup.vaults.is_empty() {
            let place = desk.options.namespace.as_ref().map(|name| format!(" of namespace '{name}'"));
            return Err(Failure::NotFound(format!("{shown} holds no vault{}", place.unwrap_or_default())));
        }
        Ok(backup)
    }

    /// Reads the text of a List.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let list: Value = match serde_json::from_str(text) {
            Ok(list) => list,
            Err(_) => {
                // As large as the vaults are.
                let mut options = serde_saphyr::Options::default();
                options.budget = None;
                serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?
            }
        };
        if list.get("kind") != Some(&json!("List")) {
            return Err(String::from("kind is not List"));
        }
        let items = list.get("items").and_then(Value::as_array).ok_or("items is no list")?;
        let mut backup = Self::default();
        for (place, item) in items.iter().enumerate() {
            let kind = item.get("kind").and_then(Value::as_str).unwrap_or_default();
            let taken = match kind {
                "Keyring" => take(item, &mut backup.keyrings),
                "Envelope" => take(item, &mut backup.envelopes),
                "VaultMember" => take(item, &mut backup.members),
                "Vault" => take(item, &mut backup.vaults),
                "Connection" => take(item, &mut backup.connections),
                other => Err(format!("kind '{other}' is none that a vault is made of")),
            };
            taken.map_err(|problem| format!("items[{place}]: {problem}"))?;
        }
        Ok(backup)
    }

    /// Keeps the vaults of one namespace, with all that is theirs wherever it lies.
    fn keep(&mut self, namespace: &str) {
        let is_here = |found: Option<String>| found.as_deref() == Some(namespace);
        self.keyrings.retain(|object| is_here(object.namespace()));
        self.members.retain(|object| is_here(object.namespace()));
        self.vaults.retain(|object| is_here(object.namespace()));
        let vaults = &self.vaults;
        self.connections.retain(|connection| vaults.iter().any(|vault| is_of(connection, vault)));
        let kept: BTreeSet<_> =
            self.connections.iter().map(|kept| (kept.namespace(), kept.name_any())).collect();
        self.envelopes.retain(|envelope| kept.contains(&(envelope.namespace(), envelope.name_any())));
    }

    /// The Keyring of a vault.
    pub(crate) fn keyring(&self, vault: &Vault) -> Option<&Keyring> {
        self.keyrings.iter().find(|keyring| {
            keyring.name_any() == vault.name_any() && keyring.namespace() == vault.namespace()
        })
    }
}

fn take<K: DeserializeOwned>(item: &Value, into: &mut Vec<K>) -> Result<(), String> {
    let named =
        |field: &str| item.pointer(field).and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if !named("/metadata/name") || !named("/metadata/namespace") {
        return Err(String::from("metadata.name and metadata.namespace are needed"));
    }
    let apart: Map<String, Value> = item.as_object().cloned().unwrap_or_default();
    into.push(serde_json::from_value(Value::Object(apart)).map_err(|error| error.to_string())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a failed expectation is the test's failure")]
    use super::*;

    fn vault() -> Value {
        json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "Vault",
            "metadata": {
                "name": "team", "namespace": "a", "uid": "1", "resourceVersion": "7", "ownerReferences": [],
                "labels": {"x": "y"}, "annotations": {"coffer.dev/restore": "0", "note": "kept"},
            },
            "spec": {}, "status": {"vaultID": "00"},
        })
    }

    #[test]
    fn what_the_next_incarnation_has_too_is_kept_and_nothing_else() {
        let object: DynamicObject = serde_json::from_value(vault()).expect("an object");
        let kept = saved(object);
        let metadata =
            json!({"name": "team", "namespace": "a", "labels": {"x": "y"}, "annotations": {"note": "kept"}});
        assert_eq!(kept["metadata"], metadata);
        assert_eq!(kept["status"]["vaultID"], "00");
    }

    #[test]
    fn a_list_is_read_from_yaml_and_json_and_what_is_wrong_is_named() {
        let list = json!({"kind": "List", "items": [vault()]});
        let yaml = serde_saphyr::to_string(&list).expect("YAML");
        for text in [list.to_string(), yaml] {
            assert_eq!(Backup::parse(&text).expect("a backup").vaults.len(), 1);
        }
        for (text, problem) in [
            (json!({"kind": "Vault"}), "kind is not List"),
            (json!({"kind": "List"}), "items is no list"),
            (json!({"kind": "List", "items": [{"kind": "Secret"}]}), "items[0]: kind 'Secret' is none"),
            (
                json!({"kind": "List", "items": [{"kind": "Vault", "metadata": {"name": "a"}}]}),
                "items[0]: metadata",
            ),
        ] {
            let said = Backup::parse(&text.to_string()).expect_err("it is wrong");
            assert!(said.starts_with(problem), "{said}");
        }
    }
}
