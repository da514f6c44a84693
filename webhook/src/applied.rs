//! What a writer applied before and no longer lists.
//!
//! `stringData` is never stored, so the API server's own three-way merge cannot see that an item was taken out of an
//! applied manifest. Two records are left that name items and hold no value (docs/adr/0003-writing-stringdata.md):
//! `metadata.managedFields` for server-side apply, and our annotation `coffer.dev/applied-items` for client-side
//! apply, whose own record, the last-applied annotation, loses `spec.stringData` here.

use std::collections::{BTreeMap, BTreeSet};

use coffer_crds::annotations::APPLIED_ITEMS;
use serde::de::IgnoredAny;
use serde_json::{Value, value::RawValue};

use crate::{draft::Draft, refusal::Refusal, review::Request};

/// Where client-side `kubectl apply` keeps the manifest as it was applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Names of items.
pub type Items = BTreeSet<String>;

/// Cuts `spec.stringData` out of the last-applied annotation, brings our record of applied items up to date, and
/// gives the items that are to be removed from `sealedData` because their writer no longer lists them.
///
/// An item is kept when this very request gives it a value, in whichever field, and when another writer lists it.
/// The first rule also makes a second call in the same request (reinvocation) change nothing.
///
/// # Errors
/// [`Refusal::AcceptField`] when the annotation is not what kubectl writes: then nobody can say whether it holds a
/// plaintext value.
pub fn settle(request: &Request, draft: &mut Draft) -> Result<Items, Refusal> {
    let (new, old) = (draft.object(), request.old_object.expose());
    let listed = keys(new, "stringData");
    let renewed: Items =
        keys(new, "sealedData").into_iter().filter(|item| sealed(new, item) != sealed(old, item)).collect();
    let mut dropped = dropped_by_server_side_apply(request.field_manager(), new, old);

    let client_side = ClientSide::read(request, new, old)?;
    if let Some(client_side) = &client_side {
        dropped.extend(client_side.dropped.iter().cloned());
    }
    dropped.retain(|item| !listed.contains(item) && !renewed.contains(item));
    dropped.retain(|item| sealed(new, item).is_some());

    if let Some(client_side) = client_side {
        client_side.record(draft, &dropped)?;
    }
    Ok(dropped)
}

/// What the last-applied annotation says.
struct ClientSide {
    /// Whether this request changed the annotation.
    changed: bool,
    /// The annotation without `spec.stringData`, when it held one.
    cut: Option<String>,
    /// Items that the request lists there, if it lists any field of that name.
    strings: Option<Items>,
    /// Items of `spec.sealedData` there.
    sealed: Items,
    /// Items applied before that it no longer lists anywhere.
    dropped: Items,
}

impl ClientSide {
    fn read(request: &Request, new: &Value, old: &Value) -> Result<Option<Self>, Refusal> {
        let Some(text) = annotation(new, LAST_APPLIED) else { return Ok(None) };
        let changed = annotation(old, LAST_APPLIED) != Some(text);
        let mut this = match parse(text) {
            Some(this) => this,
            None if !changed => return Ok(None),
            None => {
                let field = format!("metadata.annotations[{LAST_APPLIED}]");
                let problem =
                    "must be the JSON object that kubectl apply writes; take it out and apply again";
                return Err(Refusal::field(field, problem));
            }
        };
        this.changed = changed;
        let is_apply = match &this.strings {
            _ if !changed => false,
            // `kubectl apply set-last-applied` changes the annotation alone; an apply always sends the field, too,
            // because it never finds it in the stored object.
            Some(_) => new.pointer("/spec/stringData").is_some(),
            // Without the field an apply tells itself from others by naming its field manager.
            None => request.field_manager().is_some(),
        };
        if is_apply {
            this.dropped = recorded(old);
            this.dropped.retain(|item| !this.sealed.contains(item));
        }
        Ok(Some(this))
    }

    fn record(self, draft: &mut Draft, dropped: &Items) -> Result<(), Refusal> {
        if let Some(cut) = self.cut {
            draft.set(["metadata", "annotations", LAST_APPLIED], cut.into())?;
        }
        if !self.changed {
            return Ok(());
        }
        let items: Items = match self.strings {
            Some(items) => items,
            None => recorded(draft.object()).into_iter().filter(|item| !self.sealed.contains(item)).collect(),
        };
        let items: Vec<&str> =
            items.iter().filter(|item| !dropped.contains(*item)).map(String::as_str).collect();
        if items.is_empty() {
            draft.remove(["metadata", "annotations", APPLIED_ITEMS]);
        } else {
            draft.set(["metadata", "annotations", APPLIED_ITEMS], items.join(",").into())?;
        }
        Ok(())
    }
}

/// Reads the annotation; `None` when it is no JSON object. Everything but `spec.stringData` keeps its bytes.
fn parse(text: &str) -> Option<ClientSide> {
    let mut manifest: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let mut spec: BTreeMap<String, &RawValue> =
        manifest.get("spec").and_then(|spec| serde_json::from_str(spec.get()).ok()).unwrap_or_default();
    let sealed = spec.get("sealedData").map(|field| names(field)).unwrap_or_default();
    let strings = spec.remove("stringData").map(names);
    let cut = match &strings {
        None => None,
        Some(_) => {
            let spec = serde_json::value::to_raw_value(&spec).ok()?;
            manifest.insert(String::from("spec"), &spec);
            // kubectl ends the annotation with a newline; keep its form.
            let end = if text.ends_with('\n') { "\n" } else { "" };
            Some(serde_json::to_string(&manifest).ok()? + end)
        }
    };
    Some(ClientSide { changed: false, cut, strings, sealed, dropped: Items::new() })
}

fn names(field: &RawValue) -> Items {
    let fields: BTreeMap<String, IgnoredAny> = serde_json::from_str(field.get()).unwrap_or_default();
    fields.into_keys().collect()
}

/// The items that our annotation records. Anything that cannot be an item's name removes nothing.
fn recorded(object: &Value) -> Items {
    let text = annotation(object, APPLIED_ITEMS).unwrap_or_default();
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Items that `manager` listed in its last server-side apply and does not list in this one, and that nobody else
/// lists.
fn dropped_by_server_side_apply(manager: Option<&str>, new: &Value, old: &Value) -> Items {
    let Some(manager) = manager else { return Items::new() };
    // Without an entry in the new object this is no apply: managedFields were reset.
    let (Some(now), Some(before)) = (apply_entry(new, manager), apply_entry(old, manager)) else {
        return Items::new();
    };
    let now_listed = owned(now, "f:stringData");
    let mut dropped: Items = owned(before, "f:stringData").difference(&now_listed).cloned().collect();
    for entry in entries(new) {
        let listed = if std::ptr::eq(entry, now) { Items::new() } else { owned(entry, "f:stringData") };
        let sealed = owned(entry, "f:sealedData");
        dropped.retain(|item| !listed.contains(item) && !sealed.contains(item));
    }
    dropped
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

fn apply_entry<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    entries(object).find(|entry| {
        entry.get("operation").and_then(Value::as_str) == Some("Apply")
            && entry.get("manager").and_then(Value::as_str) == Some(manager)
            && entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty()
    })
}

/// The items below `field` that a managedFields entry names: members are written `f:<name>`.
fn owned(entry: &Value, field: &str) -> Items {
    let fields =
        entry.pointer("/fieldsV1/f:spec").and_then(|spec| spec.get(field)).and_then(Value::as_object);
    fields.into_iter().flatten().filter_map(|(name, _)| name.strip_prefix("f:")).map(str::to_owned).collect()
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

fn keys(object: &Value, field: &str) -> Items {
    let fields = object.pointer("/spec").and_then(|spec| spec.get(field)).and_then(Value::as_object);
    fields.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn sealed<'a>(object: &'a Value, item: &str) -> Option<&'a Value> {
    object.pointer("/spec/sealedData")?.get(item)
}

#[cfg(test)]
mod tests;
