//! `stringData` becomes `sealedData`: plaintext goes in, and only sealed bytes go on.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crds::limits::{
    MAX_CONNECTION_BYTES, MAX_ITEM_BYTES, MAX_ITEMS, SEALING_OVERHEAD_BYTES, is_item_key,
};
use coffer_keys::{
    VaultId,
    intake::{InputContext, IntakePublicKey, sealed_to},
};
use rand_core::CryptoRng;
use serde_json::{Map, Value};

use crate::{applied::Items, draft::Draft, refusal::Refusal};

/// Bytes of an object's annotations together: the API server's limit.
pub const MAX_ANNOTATIONS: usize = 256 << 10;
/// Where values are sealed for; they open nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The vault.
    pub vault_id: VaultId,
    /// The Connection's namespace.
    pub namespace: &'a str,
    /// The Connection's name.
    pub connection: &'a str,
    /// Name of the owning member.
    pub owner: &'a str,
}

/// Whether the object brings values to be sealed. An empty `stringData` brings none.
pub fn brings_values(object: &Value) -> bool {
    object.pointer("/spec/stringData").and_then(Value::as_object).is_some_and(|items| !items.is_empty())
}

/// Checks names, types and sizes of `stringData`, and that `sealedData` can take more.
///
/// # Errors
/// [`Refusal::AcceptField`], which names the item and never the value.
pub fn check_values(object: &Value) -> Result<(), Refusal> {
    match object.get("spec") {
        None | Some(Value::Null | Value::Object(_)) => {}
        Some(_) => return Err(Refusal::field("spec", "must be an object")),
    }
    let Some(items) = map(object, "stringData")? else { return Ok(()) };
    for (item, value) in items {
        check_name("stringData", item)?;
        let found = match value {
            Value::String(text) if text.len() <= MAX_ITEM_BYTES => continue,
            Value::String(text) => return Err(too_large("stringData", item, text.len())),
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let problem = format!("must be a string, not {found}; put the value in quotes");
        return Err(Refusal::field(path("stringData", item), problem));
    }
    Ok(())
}

/// Seals every item of `stringData` to `key` for `place`, merges them into `sealedData`, takes `dropped` out of it and
/// removes `stringData`.
///
/// # Errors
/// [`Refusal::AcceptField`] for what [`check_values`] refuses.
pub fn seal_values(
    draft: &mut Draft,
    dropped: &Items,
    key: Option<(&IntakePublicKey, Place<'_>)>,
    rng: &mut impl CryptoRng,
) -> Result<(), Refusal> {
    check_values(draft.object())?;
    for item in dropped {
        draft.remove(["spec", "sealedData", item]);
    }
    let mut sealed = BTreeMap::new();
    if let Some((key, place)) = key {
        for (item, value) in map(draft.object(), "stringData")?.into_iter().flatten() {
            let Value::String(plaintext) = value else { continue };
            let context = InputContext {
                vault_id: place.vault_id,
                namespace: place.namespace,
                connection: place.connection,
                owner: place.owner,
                item,
            };
            sealed.insert(item.clone(), STANDARD.encode(key.seal(&context, plaintext.as_bytes(), rng)));
        }
    }
    for (item, value) in sealed {
        draft.set(["spec", "sealedData", &item], value.into())?;
    }
    draft.remove(["spec", "stringData"]);
    Ok(())
}

/// Checks `sealedData` as it would be stored: names, sizes, and the form of what changed against `old`.
///
/// # Errors
/// [`Refusal::AcceptField`] with the limit, or the part that is malformed.
pub fn check_sealed(object: &Value, old: &Value) -> Result<(), Refusal> {
    let Some(items) = map(object, "sealedData")? else { return Ok(()) };
    if items.len() > MAX_ITEMS {
        let problem = format!("holds {} items; a Connection has at most {MAX_ITEMS}", items.len());
        return Err(Refusal::field("spec.sealedData", problem));
    }
    let before = map(old, "sealedData").ok().flatten();
    let mut total = 0;
    for (item, value) in items {
        let Some(text) = value.as_str() else {
            return Err(Refusal::field(path("sealedData", item), "must be sealed input in base64"));
        };
        let value_length = (text.len() / 4 * 3).saturating_sub(SEALING_OVERHEAD_BYTES);
        total += value_length;
        if before.and_then(|before| before.get(item)) == Some(value) {
            continue;
        }
        check_name("sealedData", item)?;
        if value_length > MAX_ITEM_BYTES {
            return Err(too_large("sealedData", item, value_length));
        }
        check_form(item, text)?;
    }
    if total > MAX_CONNECTION_BYTES {
        let problem = format!(
            "the values together are {} KiB; a Connection holds at most {} KiB",
            total.div_ceil(1024),
            MAX_CONNECTION_BYTES >> 10
        );
        return Err(Refusal::field("spec.sealedData", problem));
    }
    Ok(())
}

/// Sums up all values of `stringData`, before anything is sealed.
///
/// # Errors
/// [`Refusal::AcceptField`] with the limit in the text.
pub fn check_total(object: &Value) -> Result<(), Refusal> {
    let items = map(object, "stringData")?;
    let total: usize = items.into_iter().flatten().filter_map(|(_, value)| Some(value.as_str()?.len())).sum();
    let count = items.map_or(0, Map::len);
    let problem = if count > MAX_ITEMS {
        format!("holds {count} items; a Connection has at most {MAX_ITEMS}")
    } else if total > MAX_CONNECTION_BYTES {
        let (total, limit) = (total.div_ceil(1024), MAX_CONNECTION_BYTES >> 10);
        format!("the values together are {total} KiB; a Connection holds at most {limit} KiB")
    } else {
        return Ok(());
    };
    Err(Refusal::field("spec.stringData", problem))
}

/// Refuses what the API server would refuse a moment later with a text that helps nobody: client-side apply keeps a
/// second copy of all sealed data in an annotation.
///
/// # Errors
/// [`Refusal::AcceptField`] that names `--server-side`.
pub fn check_annotations(object: &Value) -> Result<(), Refusal> {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let total: usize = annotations
        .into_iter()
        .flatten()
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if total <= MAX_ANNOTATIONS {
        return Ok(());
    }
    let problem = format!(
        "are {} KiB and may be {} KiB: client-side apply keeps a copy of the manifest there; use kubectl apply --server-side",
        total.div_ceil(1024),
        MAX_ANNOTATIONS >> 10
    );
    Err(Refusal::field("metadata.annotations", problem))
}

fn check_form(item: &str, text: &str) -> Result<(), Refusal> {
    let problem = match STANDARD.decode(text) {
        Err(_) => String::from("is not standard base64"),
        Ok(bytes) => match sealed_to(&bytes) {
            Ok(_) => return Ok(()),
            Err(error) => format!("is not sealed input: {error}"),
        },
    };
    let hint = "; put plain values into spec.stringData: they are sealed on the way in";
    Err(Refusal::field(path("sealedData", item), problem + hint))
}

fn check_name(field: &str, item: &str) -> Result<(), Refusal> {
    if is_item_key(item) {
        return Ok(());
    }
    let problem = "an item's name has 1 to 253 letters, digits, '.', '_' or '-', and is not '.' or '..'";
    Err(Refusal::field(path(field, item), problem))
}

fn too_large(field: &str, item: &str, length: usize) -> Refusal {
    let (length, limit) = (length.div_ceil(1024), MAX_ITEM_BYTES >> 10);
    Refusal::field(path(field, item), format!("is {length} KiB long; an item holds at most {limit} KiB"))
}

/// The item's path, with control characters escaped and cut so that a text stays one line.
fn path(field: &str, item: &str) -> String {
    let shown: String = item.escape_debug().take(80).collect();
    format!("spec.{field}.{shown}")
}

fn map<'a>(object: &'a Value, field: &str) -> Result<Option<&'a Map<String, Value>>, Refusal> {
    match object.pointer("/spec").and_then(|spec| spec.get(field)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(items)) => Ok(Some(items)),
        Some(_) => Err(Refusal::field(format!("spec.{field}"), "must be a map from item names to strings")),
    }
}

#[cfg(test)]
mod tests;
