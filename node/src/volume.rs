//! What the kubelet asks for, parsed once. After this nothing can be missing.

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};

use coffer_broker_api::{ConnectionReference, MAX_CONNECTIONS, PodReference};

use crate::{
    csi::proto::{
        NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
        volume_capability::{AccessType, MountVolume},
    },
    token::{PodToken, TokenError},
};

/// Everything under this prefix is the kubelet's.
const KUBELET_PREFIX: &str = "csi.storage.k8s.io/";
const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";
const POD_NAMESPACE: &str = "csi.storage.k8s.io/pod.namespace";
const POD_NAME: &str = "csi.storage.k8s.io/pod.name";
const POD_UID: &str = "csi.storage.k8s.io/pod.uid";
const CONNECTIONS: &str = "connections";
const ON_REVOKE: &str = "onRevoke";

/// A volume to publish.
pub struct PublishVolume {
    /// Where the pod's folder is to be.
    pub target: PathBuf,
    /// The pod's `fsGroup`, if it has one: the group that may read.
    pub group: Option<u32>,
    /// The pod, as the kubelet names it.
    pub pod: PodReference,
    /// The pod's own token.
    pub token: PodToken,
    /// The Connections, as they are asked for: `namespace/name`, or an alias or name.
    pub connections: Vec<String>,
    /// What becomes of files whose credential is no longer allowed.
    pub on_revoke: OnRevoke,
}

/// `volumeAttributes.onRevoke`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRevoke {
    /// The files stay as they are, and an event tells: the default.
    #[default]
    Keep,
    /// The files go.
    Remove,
}

/// A volume to take away.
#[derive(Debug, PartialEq, Eq)]
pub struct UnpublishVolume {
    /// Where the pod's folder is.
    pub target: PathBuf,
}

/// Why a request is refused: the field, its problem, the accepted form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVolume {
    /// `volume_id` is empty.
    #[error("volume_id: must be set")]
    MissingVolumeId,
    /// `target_path` is empty.
    #[error("target_path: must be set")]
    MissingTarget,
    /// `target_path` is no pod's: nothing else is ever mounted over or unmounted.
    #[error("target_path: must be an absolute path below {0}, without `.` and `..`")]
    ForeignTarget(PathBuf),
    /// `volume_capability` is missing.
    #[error("volume_capability: must be set")]
    MissingCapability,
    /// Not a mount.
    #[error("volume_capability: only volumes of type mount are served")]
    NotAMount,
    /// `volume_mount_group` is no group id.
    #[error("volume_mount_group: must be a group id, 0 to 4294967295")]
    MalformedGroup,
    /// A volume of a PersistentVolume.
    #[error(
        "this driver serves inline volumes only: use `csi:` in the pod's `volumes`, not a PersistentVolume"
    )]
    NotInline,
    /// The pod could write.
    #[error("readOnly: must be true in the pod's volume")]
    NotReadOnly,
    /// The kubelet did not say whose volume it is.
    #[error("{0}: must be set; does the CSIDriver object have podInfoOnMount: true?")]
    MissingPodInfo(&'static str),
    /// The kubelet gave no tokens, or gave them where users can write.
    #[error(
        "secrets[{TOKENS}]: must be set; does the CSIDriver object have tokenRequests and \
         serviceAccountTokenInSecrets: true?"
    )]
    MissingTokens,
    /// The tokens are of no use.
    #[error("secrets[{TOKENS}]: {0}")]
    UnusableTokens(TokenError),
    /// `connections` is missing or empty.
    #[error(
        "volumeAttributes.connections: must list at least one Connection, as `namespace/name,namespace/name`"
    )]
    MissingConnections,
    /// `connections` lists too many.
    #[error("volumeAttributes.connections: at most {MAX_CONNECTIONS} in one volume")]
    TooManyConnections,
    /// An entry of `connections` cannot name a Connection.
    #[error(
        "volumeAttributes.connections: entry {0} must be `namespace/name`, an alias or a name, each of 1 to 64 [A-Za-z0-9_-]"
    )]
    MalformedConnection(usize),
    /// An entry of `connections` repeats an earlier one.
    #[error("volumeAttributes.connections: entry {0} is listed twice")]
    RepeatedConnection(usize),
    /// `onRevoke` is something else.
    #[error("volumeAttributes.onRevoke: must be `Keep` or `Remove`")]
    MalformedOnRevoke,
    /// An attribute that means nothing, such as a misspelt one.
    #[error("volumeAttributes: `{0}` is unknown; accepted: connections, onRevoke")]
    UnknownAttribute(String),
}

impl PublishVolume {
    /// Parses a request. The token is taken from `secrets` only: `volume_context` holds what users wrote (T20).
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(mut request: NodePublishVolumeRequest, pods_dir: &Path) -> Result<Self, InvalidVolume> {
        if request.volume_id.is_empty() {
            return Err(InvalidVolume::MissingVolumeId);
        }
        let target = target(&request.target_path, pods_dir)?;
        let group = group(request.volume_capability.as_ref())?;
        let context = &request.volume_context;
        if context.get(EPHEMERAL).map(String::as_str) != Some("true") {
            return Err(InvalidVolume::NotInline);
        }
        if !request.readonly {
            return Err(InvalidVolume::NotReadOnly);
        }
        if let Some(unknown) = unknown_attribute(context) {
            return Err(InvalidVolume::UnknownAttribute(unknown));
        }
        let pod = PodReference {
            namespace: pod_info(context, POD_NAMESPACE)?,
            name: pod_info(context, POD_NAME)?,
            uid: pod_info(context, POD_UID)?,
        };
        let connections = connections(context.get(CONNECTIONS).map_or("", String::as_str))?;
        let on_revoke = on_revoke(context.get(ON_REVOKE).map(String::as_str))?;
        let tokens =
            zeroize::Zeroizing::new(request.secrets.remove(TOKENS).ok_or(InvalidVolume::MissingTokens)?);
        let token = PodToken::from_kubelet(&tokens).map_err(InvalidVolume::UnusableTokens)?;
        Ok(Self { target, group, pod, token, connections, on_revoke })
    }
}

impl UnpublishVolume {
    /// Parses a request.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(request: &NodeUnpublishVolumeRequest, pods_dir: &Path) -> Result<Self, InvalidVolume> {
        if request.volume_id.is_empty() {
            return Err(InvalidVolume::MissingVolumeId);
        }
        Ok(Self { target: target(&request.target_path, pods_dir)? })
    }
}

fn target(path: &str, pods_dir: &Path) -> Result<PathBuf, InvalidVolume> {
    if path.is_empty() {
        return Err(InvalidVolume::MissingTarget);
    }
    // `components` drops inner `.`, so those are looked for in the text.
    let plain = path.split('/').all(|part| part != "." && part != "..") && !path.contains('\0');
    let path = Path::new(path);
    let below = path.strip_prefix(pods_dir).is_ok_and(|rest| {
        rest.components().count() > 0 && rest.components().all(|part| matches!(part, Component::Normal(_)))
    });
    if plain && below {
        Ok(path.components().collect())
    } else {
        Err(InvalidVolume::ForeignTarget(pods_dir.into()))
    }
}

fn group(capability: Option<&VolumeCapability>) -> Result<Option<u32>, InvalidVolume> {
    let access = capability.ok_or(InvalidVolume::MissingCapability)?.access_type.as_ref();
    let Some(AccessType::Mount(MountVolume { volume_mount_group, .. })) = access else {
        return Err(InvalidVolume::NotAMount);
    };
    if volume_mount_group.is_empty() {
        return Ok(None);
    }
    // chown(2) takes the highest id as "unchanged".
    let group = volume_mount_group.parse().ok().filter(|group| *group != u32::MAX);
    group.map(Some).ok_or(InvalidVolume::MalformedGroup)
}

fn unknown_attribute(context: &HashMap<String, String>) -> Option<String> {
    let known = |key: &str| key.starts_with(KUBELET_PREFIX) || key == CONNECTIONS || key == ON_REVOKE;
    let mut unknown: Vec<&String> = context.keys().filter(|key| !known(key)).collect();
    unknown.sort();
    unknown.first().map(|key| key.chars().filter(|c| !c.is_control()).take(64).collect())
}

fn pod_info(context: &HashMap<String, String>, key: &'static str) -> Result<String, InvalidVolume> {
    context.get(key).filter(|value| !value.is_empty()).cloned().ok_or(InvalidVolume::MissingPodInfo(key))
}

fn connections(list: &str) -> Result<Vec<String>, InvalidVolume> {
    let mut connections: Vec<String> = Vec::new();
    for (index, entry) in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).enumerate() {
        if index == MAX_CONNECTIONS {
            return Err(InvalidVolume::TooManyConnections);
        }
        entry.parse::<ConnectionReference>().map_err(|_| InvalidVolume::MalformedConnection(index + 1))?;
        if connections.iter().any(|earlier| earlier == entry) {
            return Err(InvalidVolume::RepeatedConnection(index + 1));
        }
        connections.push(entry.to_owned());
    }
    if connections.is_empty() { Err(InvalidVolume::MissingConnections) } else { Ok(connections) }
}

fn on_revoke(value: Option<&str>) -> Result<OnRevoke, InvalidVolume> {
    match value {
        None | Some("Keep") => Ok(OnRevoke::Keep),
        Some("Remove") => Ok(OnRevoke::Remove),
        Some(_) => Err(InvalidVolume::MalformedOnRevoke),
    }
}
