//! Pods that read one credential and tell it.

use super::{POD, READER};
use crate::images::SHELL;
use crate::namespace::{Namespace, shell_pod};
use crate::team::asking;
use crate::wait;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// A pod that reads one credential, tells it and ends.
#[must_use]
pub fn reader(name: &str, credential: &str) -> Value {
    let mut changes = asking(READER, credential);
    changes["spec"]["restartPolicy"] = json!("Never");
    changes["spec"]["containers"] = json!([{
        "name": "shell",
        "image": SHELL,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", format!("cat /coffer/{credential}/token > /dev/termination-log")],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    }]);
    shell_pod(name, changes)
}

/// Start a [`reader`] and give what it reads.
///
/// # Errors
/// If it is refused, fails or does not run in time.
pub async fn run_reader(namespace: &Namespace, name: &str, credential: &str) -> Result<String> {
    namespace.create::<Pod>(reader(name, credential)).await?;
    read_value(namespace, name).await
}

/// What a [`reader`] told when it ended.
///
/// # Errors
/// If it fails or does not run in time.
pub async fn read_value(namespace: &Namespace, name: &str) -> Result<String> {
    let pod = wait::pod_succeeded(&namespace.api(), name, POD).await?;
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let ended = statuses.and_then(|statuses| statuses.first()?.state.as_ref()?.terminated.as_ref());
    ended.and_then(|ended| ended.message.clone()).with_context(|| format!("pod '{name}' told nothing"))
}
