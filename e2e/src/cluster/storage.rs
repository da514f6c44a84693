//! The default StorageClass: folders of this machine as static volumes.

use super::network::NODE_NAME;
use crate::layout::{Layout, create_folder};
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// The default class's name.
const CLASS: &str = "standard";
/// How many volumes there are; the brokers take two for each installation.
const COUNT: usize = 24;

/// Make the class and its volumes, and those whose claim is gone anew and empty.
///
/// # Errors
/// If the API server refuses, or a folder cannot be made.
pub(super) async fn replenish(client: &Client, layout: &Layout) -> Result<()> {
    let ours = PatchParams::apply("coffer-e2e").force();
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    Api::<StorageClass>::all(client.clone())
        .patch(CLASS, &ours, &Patch::Apply(class))
        .await
        .context("make the default StorageClass")?;

    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let existing = volumes.list(&Default::default()).await.context("list volumes")?.items;
    for number in 0..COUNT {
        let name = format!("volume-{number:02}");
        let found = existing.iter().find(|volume| volume.name_any() == name);
        if found.is_some_and(|volume| !used_up(volume)) {
            continue;
        }
        let folder = layout.volumes().join(&name);
        if found.is_some() {
            volumes
                .delete(&name, &DeleteParams::default())
                .await
                .with_context(|| format!("remove {name}"))?;
            crate::wait::absent(&volumes, &name, crate::wait::SOON).await?;
            std::fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
        }
        create_folder(&folder)?;
        let volume = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": CLASS,
                "local": {"path": folder},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]},
                ]}]}},
            },
        });
        volumes.patch(&name, &ours, &Patch::Apply(volume)).await.with_context(|| format!("make {name}"))?;
    }
    Ok(())
}

/// Whether a volume's claim has been deleted.
fn used_up(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Released" | "Failed"))
}
