use coffer_crds::CSI_DRIVER;
use serde_json::{Value, json};

use super::{MOUNT_PATH, VOLUME};
use crate::{draft::Draft, refusal::Refusal, state::Key};

/// Adds the volume. One that is there already and names its Connections is left as it is: it is ours from an earlier
/// call for the same pod, or its author wrote it by hand, and the broker judges it either way.
pub(super) fn add_volume(
    draft: &mut Draft,
    connections: &[Key],
    on_revoke: Option<&'static str>,
) -> Result<(), Refusal> {
    let volumes = draft.get(["spec", "volumes"]).and_then(Value::as_array);
    let present = volumes
        .into_iter()
        .flatten()
        .position(|volume| volume.get("name").and_then(Value::as_str) == Some(VOLUME));
    let names: Vec<String> = connections.iter().map(Key::to_string).collect();
    let mut attributes = json!({"connections": names.join(",")});
    if let Some(on_revoke) = on_revoke {
        attributes["onRevoke"] = on_revoke.into();
    }
    let Some(index) = present else {
        let csi = json!({"driver": CSI_DRIVER, "readOnly": true, "volumeAttributes": attributes});
        return draft.push(["spec", "volumes"], json!({"name": VOLUME, "csi": csi}));
    };
    let index = index.to_string();
    if draft.text(["spec", "volumes", &index, "csi", "driver"]) != Some(CSI_DRIVER) {
        let problem =
            format!("the name '{VOLUME}' is taken by a volume that is not of driver {CSI_DRIVER}: rename it");
        return Err(Refusal::field(format!("spec.volumes[{index}].name"), problem));
    }
    if draft.text(["spec", "volumes", &index, "csi", "volumeAttributes", "connections"]).is_some() {
        return Ok(());
    }
    draft.set(["spec", "volumes", &index, "csi", "volumeAttributes"], attributes)?;
    draft.set(["spec", "volumes", &index, "csi", "readOnly"], true.into())
}

/// Mounts it in every container and init container that has nothing at that path.
pub(super) fn add_mounts(draft: &mut Draft) -> Result<(), Refusal> {
    for list in ["initContainers", "containers"] {
        let count = draft.get(["spec", list]).and_then(Value::as_array).map_or(0, Vec::len);
        for index in 0..count {
            let index = index.to_string();
            if draft
                .get(["spec", list, &index])
                .is_some_and(|container| container.is_object() && !is_mounted(container))
            {
                let mount = json!({"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": true});
                draft.push(["spec", list, &index, "volumeMounts"], mount)?;
            }
        }
    }
    Ok(())
}

fn is_mounted(container: &Value) -> bool {
    let mounts = container.get("volumeMounts").and_then(Value::as_array);
    mounts.into_iter().flatten().any(|mount| {
        let path = mount.get("mountPath").and_then(Value::as_str).unwrap_or_default();
        path.trim_end_matches('/') == MOUNT_PATH
    })
}
