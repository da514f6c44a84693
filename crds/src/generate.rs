//! The CRDs and the API reference as text, generated from the types. `crdgen` writes them; a test keeps them fresh.

mod chart;
mod reference;

pub use chart::chart_template;
pub use reference::api_reference;

use crate::{AccessToken, AuditQuery, Connection, Envelope, Keyring, Release, Vault, VaultMember};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

/// Where the chart's templates lie, from the repository's root.
pub const CHART_FOLDER: &str = "charts/coffer/templates/crds";
/// Where the API reference lies, from the repository's root.
pub const REFERENCE_FILE: &str = "docs/reference/api.md";

/// The definitions of all eight kinds, as JSON, in the order in which they are documented.
pub fn crds() -> Vec<Value> {
    [
        Vault::crd(),
        VaultMember::crd(),
        Connection::crd(),
        AccessToken::crd(),
        Keyring::crd(),
        Envelope::crd(),
        Release::crd(),
        AuditQuery::crd(),
    ]
    .iter()
    .map(definition)
    .collect()
}

/// Every generated file: its path from the repository's root, and its text.
pub fn files() -> Vec<(String, String)> {
    let crds = crds();
    let mut files: Vec<_> = crds
        .iter()
        .map(|crd| {
            let plural = crd.pointer("/spec/names/plural").and_then(Value::as_str).unwrap_or_default();
            (format!("{CHART_FOLDER}/{plural}.yaml"), chart_template(crd))
        })
        .collect();
    files.push((REFERENCE_FILE.to_owned(), api_reference(&crds)));
    files
}

fn definition(crd: &CustomResourceDefinition) -> Value {
    let mut crd = serde_json::to_value(crd).expect("a CRD is JSON");
    strip_unknown_formats(&mut crd);
    crd
}

/// schemars writes `format: uint32` and the like, of which the API server warns at every apply.
fn strip_unknown_formats(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
                object.remove("format");
            }
            object.values_mut().for_each(strip_unknown_formats);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_unknown_formats),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
