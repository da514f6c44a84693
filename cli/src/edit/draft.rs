//! What an editor shows of a Connection, and what was changed in it. Pure.

use std::collections::BTreeSet;

use coffer_crds::{Connection, annotations::APPLIED_ITEMS};
use serde_json::{Map, Value, json};

use crate::Failure;

/// Fields of the spec that are written here.
const SETTINGS: [&str; 8] =
    ["provider", "connectionName", "alias", "type", "expiresAt", "ttl", "inject", "onChange"];
/// Parts of the metadata that are written here.
const METADATA: [&str; 2] = ["labels", "annotations"];
/// Written by programs for programs; the first holds the whole manifest once more.
const UNSEEN: [&str; 2] = ["kubectl.kubernetes.io/last-applied-configuration", APPLIED_ITEMS];

const OPENING: &str = "\
# Labels, annotations and settings of a credential; never its values. A description goes into the annotation
# kubernetes.io/description. Save and leave the editor to go on; leave the text as it is to change nothing.
# In spec can be changed: provider, connectionName, alias, type, expiresAt or ttl, inject, onChange.
";

/// One part that is another after the editing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// `spec` and a field, or `metadata`, `labels` or `annotations`, and a key.
    path: Vec<String>,
    was: Option<Value>,
    is: Option<Value>,
}

/// The part of a Connection that is edited, and what makes sense of it.
pub(super) fn document(connection: &Connection) -> Value {
    let mut document = serde_json::to_value(connection).unwrap_or_default();
    let spec = match document.get_mut("spec").map(Value::take) {
        Some(Value::Object(mut spec)) => {
            spec.retain(|field, _| !["sealedData", "lastWriter"].contains(&field.as_str()));
            spec
        }
        Some(_) | None => Map::new(),
    };
    let part = |name: &str| {
        let mut part = document.pointer(&format!("/metadata/{name}")).cloned().unwrap_or_else(|| json!({}));
        if let Some(part) = part.as_object_mut() {
            part.retain(|key, _| !UNSEEN.contains(&key.as_str()));
        }
        part
    };
    json!({
        "metadata": {"name": document.pointer("/metadata/name"), "namespace": document.pointer("/metadata/namespace"),
            "labels": part("labels"), "annotations": part("annotations")},
        "spec": spec,
    })
}

/// As it is shown.
pub(super) fn text(document: &Value) -> Result<String, Failure> {
    let yaml = serde_saphyr::to_string(document).map_err(|error| Failure::Unexpected(error.to_string()))?;
    Ok(format!("{OPENING}{yaml}"))
}

/// What was made of it. A problem is told by its line, without what stands there.
pub(super) fn read(text: &str) -> Result<Value, Failure> {
    let read: Value = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|at| format!(" (line {})", at.line())).unwrap_or_default();
        Failure::Usage(format!("what was written is no YAML{line}"))
    })?;
    if read.is_object() {
        Ok(without_nulls(read))
    } else {
        Err(Failure::Usage(String::from("what was written has not the parts metadata and spec")))
    }
}

/// A key without anything after it is one that is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let there = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value,
    }
}

/// Every change, or the names of those that are not made here.
pub(super) fn changes(before: &Value, after: &Value) -> Result<Vec<Change>, Failure> {
    let before = without_nulls(before.clone());
    let mut all = BTreeSet::new();
    for document in [&before, after] {
        paths(document, &mut Vec::new(), &mut all);
    }
    let changes: Vec<_> = all.into_iter().filter_map(|path| change(&before, after, path)).collect();
    let refused: Vec<_> = changes.iter().filter_map(Change::refusal).collect();
    if refused.is_empty() {
        Ok(changes)
    } else {
        Err(Failure::Usage(format!(
            "edit changes settings, labels and annotations only: {}",
            refused.join("; ")
        )))
    }
}

/// The parts that are compared, each as a whole: fields of the spec, single labels and annotations.
fn paths(value: &Value, here: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    let goes_on = match here.as_slice() {
        [] | [_] => true,
        [part, field] => part == "metadata" && METADATA.contains(&field.as_str()),
        _ => false,
    };
    if let (Value::Object(fields), true) = (value, goes_on) {
        for (key, value) in fields {
            here.push(key.clone());
            paths(value, here, found);
            here.pop();
        }
    } else {
        found.insert(here.clone());
    }
}

fn change(before: &Value, after: &Value, path: Vec<String>) -> Option<Change> {
    let (was, is) = (at(before, &path).cloned(), at(after, &path).cloned());
    (was != is).then_some(Change { path, was, is })
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

impl Change {
    fn name(&self) -> String {
        self.path.join(".")
    }

    /// Why this is not changed here, and where it is.
    fn refusal(&self) -> Option<String> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let instead = match path.as_slice() {
            ["metadata", part, key] if METADATA.contains(part) && !UNSEEN.contains(key) => return None,
            ["spec", field] if SETTINGS.contains(field) => return None,
            ["spec", "members"] => "is changed by kubectl coffer share",
            ["spec", "owner"] => "is changed by kubectl coffer transfer",
            ["spec", "sealedData" | "stringData"] => "is changed by kubectl coffer set",
            ["spec", "vault"] => "never changes: delete it and make it there",
            ["metadata", "name" | "namespace"] => "never changes",
            ["metadata", "labels" | "annotations"] => "holds names with a text each",
            _ => "is not changed here",
        };
        Some(format!("{} {instead}", self.name()))
    }

    /// For people to read.
    pub(super) fn line(&self) -> String {
        let shown = |value: &Option<Value>| match value {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::from("not set"),
        };
        format!("{}: {} → {}", self.name(), shown(&self.was), shown(&self.is))
    }
}

/// The merge patch (RFC 7396) that makes all of them.
pub(super) fn patch(changes: &[Change]) -> Value {
    let mut patch = json!({});
    for change in changes {
        let mut place = &mut patch;
        for key in &change.path {
            place = &mut place[key.as_str()];
        }
        *place = difference(change.was.as_ref(), change.is.as_ref());
    }
    patch
}

fn difference(was: Option<&Value>, is: Option<&Value>) -> Value {
    let (Some(Value::Object(was)), Some(Value::Object(is))) = (was, is) else {
        return is.cloned().unwrap_or_default();
    };
    let gone = was.keys().filter(|key| !is.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let other = is
        .iter()
        .filter(|(key, value)| was.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), difference(was.get(key), Some(value))));
    Value::Object(gone.chain(other).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn github() -> Connection {
        let object = json!({"metadata": {"name": "github", "namespace": "team", "resourceVersion": "9",
                "labels": {"tier": "one"}, "annotations": {"note": "old",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "spec": {"vault": {"name": "team"}, "owner": "alice", "members": ["bob"], "provider": "github",
                "inject": {"env": {"variables": {"A": "token", "B": "user"}}},
                "sealedData": {"token": "c2VhbGVk"}, "lastWriter": {"username": "alice"}},
            "status": {"version": 2}});
        serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"))
    }

    fn edited(edit: impl Fn(&mut Value)) -> Result<(Vec<String>, Value), String> {
        let before = document(&github());
        let mut after = before.clone();
        edit(&mut after);
        let after = read(&text(&after).map_err(|failure| failure.to_string())?);
        let found =
            after.and_then(|after| changes(&before, &after)).map_err(|failure| failure.to_string())?;
        Ok((found.iter().map(Change::line).collect(), patch(&found)))
    }

    /// C27: values, sealed or not, are no part of what is edited.
    #[test]
    fn an_editor_sees_settings_and_no_values() {
        let shown = text(&document(&github())).unwrap_or_else(|failure| panic!("{failure}"));
        for unseen in ["c2VhbGVk", "sealedData", "last-applied", "lastWriter", "status", "resourceVersion"] {
            assert!(!shown.contains(unseen), "{unseen}: {shown}");
        }
        assert!(shown.contains("provider: github") && shown.contains("tier: one"), "{shown}");
        assert_eq!(edited(|_| {}), Ok((Vec::new(), json!({}))));
    }

    #[test]
    fn what_was_edited_is_told_and_becomes_one_patch() {
        let said = edited(|after| {
            after["metadata"]["annotations"] = json!({"kubernetes.io/description": "for builds"});
            after["spec"]["provider"] = json!("gitlab");
            after["spec"]["alias"] = json!("gl");
            after["spec"]["inject"]["env"]["variables"] = json!({"A": "token"});
            after["metadata"]["labels"] = Value::Null;
        });
        let lines = [
            "metadata.annotations.kubernetes.io/description: not set → for builds",
            "metadata.annotations.note: old → not set",
            "metadata.labels.tier: one → not set",
            "spec.alias: not set → gl",
            "spec.inject: {\"env\":{\"variables\":{\"A\":\"token\",\"B\":\"user\"}}} → {\"env\":{\"variables\":{\"A\":\"token\"}}}",
            "spec.provider: github → gitlab",
        ];
        let patch = json!({
            "metadata": {"annotations": {"kubernetes.io/description": "for builds", "note": null}, "labels": {"tier": null}},
            "spec": {"alias": "gl", "provider": "gitlab", "inject": {"env": {"variables": {"B": null}}}},
        });
        assert_eq!(said, Ok((lines.map(str::to_owned).to_vec(), patch)));
    }

    #[test]
    fn anything_else_is_refused_by_name_and_with_the_verb_that_does_it() {
        for (path, value, text) in [
            ("/spec/owner", json!("bob"), "spec.owner is changed by kubectl coffer transfer"),
            ("/spec/members", json!(["*"]), "spec.members is changed by kubectl coffer share"),
            ("/spec/vault", Value::Null, "spec.vault never changes"),
            ("/metadata/name", json!("x"), "metadata.name never changes"),
        ] {
            let said = edited(|after| {
                if let Some(place) = after.pointer_mut(path) {
                    *place = value.clone();
                }
            });
            assert!(said.as_ref().is_err_and(|said| said.contains(text)), "{path}: {said:?}");
        }
        for (part, field) in
            [("spec", "stringData"), ("spec", "sync"), ("metadata", "finalizers"), ("status", "phase")]
        {
            let said = edited(|after| after[part][field] = json!({"token": "hunter2"}));
            let named = format!("{part}.{field} is");
            assert!(
                said.as_ref().is_err_and(|said| said.contains(&named) && !said.contains("hunter2")),
                "{said:?}"
            );
        }
        for (part, field) in [("spec", None), ("metadata", Some("labels"))] {
            let said = edited(|after| match field {
                Some(field) => after[part][field] = json!("hunter2"),
                None => after[part] = json!("hunter2"),
            });
            assert!(said.as_ref().is_err_and(|said| !said.contains("hunter2")), "{said:?}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_told_by_its_line_and_not_repeated() {
        let said = read("metadata: {}\nspec: [hunter2").map_err(|failure| failure.to_string());
        assert!(
            said.as_ref().is_err_and(|said| said.contains("line") && !said.contains("hunter2")),
            "{said:?}"
        );
        assert!(read("just a word").is_err());
    }
}
