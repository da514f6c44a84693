//! Objects of the installation that a test harms, kept to be put back.

use crate::cluster::Cluster;
use anyhow::{Context, Result};
use serde_json::Value;

/// An object without a namespace, as it was.
#[derive(Clone, Debug)]
pub struct Kept {
    manager: String,
    object: Value,
}

impl Kept {
    /// As it is now.
    ///
    /// # Errors
    /// If there is none.
    pub async fn of(cluster: &Cluster, kind: &str, name: &str) -> Result<Self> {
        let get = ["get", kind, name, "--show-managed-fields", "-o", "json"];
        let text = cluster.kubectl().run(get).ok().await?;
        let mut object: Value = serde_json::from_str(&text).context("read an object")?;
        // Whoever installed it stays the owner of its fields, or the next upgrade meets a stranger's.
        let managers = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        // Not of a status, and not of the one field of a webhook configuration that is the operator's.
        let whole = managers.filter(|entry| entry["subresource"].is_null());
        let names: Vec<_> = whole.filter_map(|entry| entry["manager"].as_str()).collect();
        let manager =
            names.iter().find(|name| **name == "helm").or(names.first()).map_or("helm", |name| *name);
        let manager = manager.to_owned();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
                metadata.remove(field);
            }
        }
        Ok(Self { manager, object })
    }

    /// As it was, whether it is gone or another.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn put_back(&self, cluster: &Cluster) -> Result<()> {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-", "--field-manager"];
        let apply = cluster.kubectl().run(apply).arg(&self.manager).input(&self.object.to_string());
        apply.ok().await.context("put an object back").map(drop)
    }
}
