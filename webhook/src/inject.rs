//! Pods: which credentials a new one gets, and the volume that brings them.
//!
//! The volume is the real gate: admission only wires it, and the broker decides again at every release.

mod choose;
mod wire;

use serde_json::Value;

use crate::{
    draft::Draft,
    refusal::Refusal,
    review::{Admitted, Operation, Request},
    state::Directory,
    validate::Circumstances,
};
use coffer_crds::annotations::{CONNECTIONS, INJECT, ON_REVOKE, PREFIX};

pub use choose::Choice;

/// Name of the volume that is added.
pub const VOLUME: &str = "coffer";
/// Where every container finds it.
pub const MOUNT_PATH: &str = "/coffer";
/// Connections of one pod: the broker answers a volume in one request, which names no more.
pub const MAX_CONNECTIONS: usize = 256;

/// Decides the CREATE of a pod and gives the patch that wires its volume. Anything but a CREATE of a pod itself is
/// never touched (T36).
///
/// # Errors
/// [`Refusal`]: a credential that the pod names and may not have, in policy's words, or a volume in the way.
pub async fn admit(
    mut request: Request,
    directory: &Directory,
    circumstances: &Circumstances<'_>,
) -> Result<Admitted, Refusal> {
    if request.operation != Operation::Create || !request.sub_resource.is_empty() {
        return Ok(Admitted::default());
    }
    let mut draft = Draft::new(std::mem::take(&mut request.object));
    match draft.text(["metadata", "labels", INJECT]) {
        None | Some("true") => {}
        Some("false") => return Ok(Admitted::default()),
        Some(_) => {
            let problem = "must be true, or false for a pod that gets nothing";
            return Err(Refusal::field(format!("metadata.labels[{INJECT}]"), problem));
        }
    }
    let pod = choose::Pod::read(draft.object(), &request.namespace);
    let on_revoke = on_revoke(draft.object())?;
    let Choice { connections, mut warnings } =
        directory.wait(|tables| choose::choose(tables, &pod, circumstances.now)).await?;
    if !connections.is_empty() {
        wire::add_volume(&mut draft, &connections, on_revoke)?;
        wire::add_mounts(&mut draft)?;
    }
    warnings.extend(unknown_annotations(draft.object()));
    Ok(Admitted { patch: draft.into_patch(), warnings, broken: None })
}

/// A word for each annotation that only looks like one of Coffer's: a misspelt `connections` narrows nothing.
fn unknown_annotations(pod: &Value) -> Vec<String> {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    let names = annotations.into_iter().flatten().map(|(name, _)| name);
    let unknown =
        names.filter(|name| name.starts_with(PREFIX) && ![CONNECTIONS, ON_REVOKE].contains(&name.as_str()));
    unknown
        .map(|name| {
            format!("metadata.annotations[{name}]: is not known and does nothing; a pod may have {CONNECTIONS} and {ON_REVOKE}")
        })
        .collect()
}

/// What happens to the file of a credential that is no longer allowed, where the pod says so.
fn on_revoke(pod: &Value) -> Result<Option<&'static str>, Refusal> {
    let annotation = pod.pointer("/metadata/annotations").and_then(|all| all.get(ON_REVOKE));
    match annotation.and_then(Value::as_str) {
        None => Ok(None),
        Some("Keep") => Ok(Some("Keep")),
        Some("Remove") => Ok(Some("Remove")),
        Some(_) => {
            Err(Refusal::field(format!("metadata.annotations[{ON_REVOKE}]"), "must be Keep or Remove"))
        }
    }
}

#[cfg(test)]
mod tests;
