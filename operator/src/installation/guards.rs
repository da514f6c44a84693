//! The guards in the API server: admission policies with their bindings, and the webhook configurations. Authors are
//! worth believing only while these are as the chart ships them; otherwise nothing is applied.
//!
//! What the chart ships lies in the ConfigMap `coffer-guards`, made from the same templates.

pub mod watch;

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value};

/// What is known of the guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not looked at yet, or they have just changed: nothing is applied, and nothing is said.
    Unknown,
    /// All there, each as shipped.
    AsShipped,
    /// The sentence names what is missing or changed.
    Missing(Arc<str>),
}

/// A guard as the chart ships it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Guard {
    /// Kind of `admissionregistration.k8s.io`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Its `spec`; of a webhook configuration, `{webhooks: […]}`.
    pub spec: Value,
}

/// Guards that exist: kind and name to what [`Guard::spec`] describes.
pub type Found = BTreeMap<(String, String), Value>;

/// Key of the ConfigMap that holds the list.
pub const SHIPPED_KEY: &str = "guards.json";

/// Compares what is with what was shipped. `shipped` is the text in the ConfigMap, if there is one.
pub fn judge(shipped: Option<&str>, found: &Found) -> Standing {
    let problems = match shipped.map(serde_json::from_str::<Vec<Guard>>) {
        Some(Ok(guards)) if !guards.is_empty() => {
            guards.iter().filter_map(|guard| problem(guard, found)).collect()
        }
        Some(_) => vec![String::from("ConfigMap 'coffer-guards' does not list what the chart ships")],
        None => vec![String::from("ConfigMap 'coffer-guards' is missing")],
    };
    if problems.is_empty() {
        return Standing::AsShipped;
    }
    let problems = problems.join("; ");
    Standing::Missing(format!("{problems}. Nothing is applied until helm upgrade has put this right").into())
}

fn problem(guard: &Guard, found: &Found) -> Option<String> {
    let (kind, name) = (&guard.kind, &guard.name);
    let Some(present) = found.get(&(kind.clone(), name.clone())) else {
        return Some(format!("{kind} '{name}' is missing"));
    };
    let (mut shipped, mut present) = (guard.spec.clone(), present.clone());
    without_platforms_part(&mut shipped);
    without_platforms_part(&mut present);
    let place = difference(&shipped, &present)?;
    Some(format!("{kind} '{name}' is not as shipped at {}", place.trim_start_matches('.')))
}

/// `caBundle` is the operator's own, and managed platforms narrow the `namespaceSelector` of everybody's webhooks. The
/// policies, which no platform touches, cover what then comes past the webhook.
fn without_platforms_part(spec: &mut Value) {
    for webhook in spec.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = webhook.as_object_mut() {
            fields.remove("namespaceSelector");
        }
        if let Some(config) = webhook.get_mut("clientConfig").and_then(Value::as_object_mut) {
            config.remove("caBundle");
        }
    }
}

/// The first place where they differ by more than what the API server fills in.
fn difference(shipped: &Value, found: &Value) -> Option<String> {
    match (shipped, found) {
        (Value::Object(shipped), Value::Object(found)) => difference_of_fields(shipped, found),
        (Value::Array(shipped), Value::Array(found)) if shipped.len() == found.len() => {
            let mut pairs = shipped.iter().zip(found).enumerate();
            pairs.find_map(|(index, (shipped, found))| {
                difference(shipped, found).map(|place| format!("[{index}]{place}"))
            })
        }
        (shipped, found) => (shipped != found).then(String::new),
    }
}

fn difference_of_fields(shipped: &Map<String, Value>, found: &Map<String, Value>) -> Option<String> {
    let names = shipped.keys().chain(found.keys().filter(|name| !shipped.contains_key(*name)));
    names.into_iter().find_map(|name| {
        let place = match (present(shipped, name), present(found, name)) {
            (Some(shipped), Some(found)) => difference(shipped, found)?,
            (None, Some(found)) if is_default(name, found) => return None,
            (None, None) => return None,
            (Some(_), None) | (None, Some(_)) => String::new(),
        };
        Some(format!(".{name}{place}"))
    })
}

fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// What the API server fills in where the chart says nothing, none of which lets anything pass.
fn is_default(name: &str, value: &Value) -> bool {
    match name {
        "matchPolicy" => value == "Equivalent",
        "scope" => value == "*",
        "namespaceSelector" | "objectSelector" => value.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
