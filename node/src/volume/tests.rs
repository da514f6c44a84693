#![allow(clippy::unwrap_used, reason = "a test's own set-up must not fail quietly")]

use proptest::prelude::*;

use super::*;
use crate::{
    csi::proto::volume_capability::{AccessMode, BlockVolume, access_mode::Mode},
    fake_broker::{UID, token_json},
};

const PODS: &str = "/var/lib/kubelet/pods";
const TARGET: &str = "/var/lib/kubelet/pods/pod-1/volumes/kubernetes.io~csi/coffer/mount";

pub(crate) fn request() -> NodePublishVolumeRequest {
    let context = [
        (EPHEMERAL, "true"),
        (POD_NAMESPACE, "team-a"),
        (POD_NAME, "web-0"),
        (POD_UID, "pod-1"),
        ("csi.storage.k8s.io/serviceAccount.name", "web"),
        (CONNECTIONS, "team-a/github, slack"),
    ];
    NodePublishVolumeRequest {
        volume_id: "csi-1".into(),
        target_path: TARGET.into(),
        readonly: true,
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(MountVolume::default())),
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        }),
        secrets: [(TOKENS.to_owned(), token_json())].into(),
        volume_context: context.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..NodePublishVolumeRequest::default()
    }
}

fn parse(request: NodePublishVolumeRequest) -> Result<PublishVolume, InvalidVolume> {
    PublishVolume::parse(request, Path::new(PODS))
}

fn refused(change: impl FnOnce(&mut NodePublishVolumeRequest)) -> InvalidVolume {
    let mut request = request();
    change(&mut request);
    parse(request).err().expect("it must be refused")
}

fn attribute(key: &str, value: &str) -> impl FnOnce(&mut NodePublishVolumeRequest) {
    let (key, value) = (key.to_owned(), value.to_owned());
    move |request| drop(request.volume_context.insert(key, value))
}

#[test]
fn the_kubelet_s_request_is_understood() {
    let volume = parse(request()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(volume.target, Path::new(TARGET));
    assert_eq!((volume.pod.namespace.as_str(), volume.pod.name.as_str()), ("team-a", "web-0"));
    assert_eq!(volume.pod.uid, "pod-1");
    assert_eq!(volume.connections, ["team-a/github", "slack"]);
    assert_eq!((volume.group, volume.on_revoke), (None, OnRevoke::Keep));
    assert_eq!(volume.token.requester().uid, UID);
}

#[test]
fn a_pod_s_group_and_what_becomes_of_revoked_files_are_understood() {
    let mut request = request();
    request.volume_capability.as_mut().unwrap().access_type =
        Some(AccessType::Mount(MountVolume { volume_mount_group: "2000".into(), ..MountVolume::default() }));
    request.volume_context.insert(ON_REVOKE.into(), "Remove".into());
    let volume = parse(request).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((volume.group, volume.on_revoke), (Some(2000), OnRevoke::Remove));
}

/// T20: attributes are what users write, so a token there is not a token.
#[test]
fn a_token_in_the_attributes_is_ignored() {
    let error = refused(|request| {
        let token = request.secrets.remove(TOKENS).unwrap();
        request.volume_context.insert(TOKENS.into(), token);
    });
    assert_eq!(error, InvalidVolume::MissingTokens);
    let mut both = request();
    both.volume_context.insert(TOKENS.into(), "{}".into());
    assert!(parse(both).is_ok(), "the kubelet's counts");
}

#[test]
fn whatever_is_missing_is_named() {
    assert_eq!(refused(|request| request.volume_id.clear()), InvalidVolume::MissingVolumeId);
    assert_eq!(refused(|request| request.target_path.clear()), InvalidVolume::MissingTarget);
    assert_eq!(refused(|request| request.volume_capability = None), InvalidVolume::MissingCapability);
    assert_eq!(refused(|request| request.readonly = false), InvalidVolume::NotReadOnly);
    for key in [POD_NAMESPACE, POD_NAME, POD_UID] {
        let error = refused(|request| drop(request.volume_context.remove(key)));
        assert_eq!(error, InvalidVolume::MissingPodInfo(key));
        assert_eq!(refused(attribute(key, "")), InvalidVolume::MissingPodInfo(key));
    }
    let gone = refused(|request| drop(request.volume_context.remove(CONNECTIONS)));
    assert_eq!(gone, InvalidVolume::MissingConnections);
    assert_eq!(refused(attribute(CONNECTIONS, " , ")), InvalidVolume::MissingConnections);
    let error = refused(|request| drop(request.secrets.insert(TOKENS.into(), "{}".into())));
    assert_eq!(error, InvalidVolume::UnusableTokens(TokenError::NoAudience));
}

#[test]
fn what_is_not_an_inline_mount_is_refused() {
    assert_eq!(refused(|request| drop(request.volume_context.remove(EPHEMERAL))), InvalidVolume::NotInline);
    assert_eq!(refused(attribute(EPHEMERAL, "false")), InvalidVolume::NotInline);
    let block = refused(|request| {
        request.volume_capability.as_mut().unwrap().access_type = Some(AccessType::Block(BlockVolume {}));
    });
    assert_eq!(block, InvalidVolume::NotAMount);
    let none = refused(|request| request.volume_capability.as_mut().unwrap().access_type = None);
    assert_eq!(none, InvalidVolume::NotAMount);
    for group in ["root", "-1", "4294967295", "4294967296", "1 "] {
        let error = refused(|request| {
            request.volume_capability.as_mut().unwrap().access_type = Some(AccessType::Mount(MountVolume {
                volume_mount_group: group.into(),
                ..MountVolume::default()
            }));
        });
        assert_eq!(error, InvalidVolume::MalformedGroup, "{group}");
    }
}

#[test]
fn a_misspelt_attribute_is_told_rather_than_dropped() {
    let unknown = refused(attribute("onrevoke", "Remove"));
    assert_eq!(
        unknown.to_string(),
        "volumeAttributes: `onrevoke` is unknown; accepted: connections, onRevoke"
    );
    assert_eq!(refused(attribute(ON_REVOKE, "remove")), InvalidVolume::MalformedOnRevoke);
    assert_eq!(refused(attribute(CONNECTIONS, "a,b/c/d")), InvalidVolume::MalformedConnection(2));
    assert_eq!(refused(attribute(CONNECTIONS, "a,b,a")), InvalidVolume::RepeatedConnection(3));
    let many = (0..=MAX_CONNECTIONS).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    assert_eq!(refused(attribute(CONNECTIONS, &many)), InvalidVolume::TooManyConnections);
}

/// Nothing but a pod's volume is ever mounted over, unmounted or removed.
#[test]
fn a_target_outside_the_pods_folder_is_refused_for_publish_and_unpublish() {
    let foreign = [
        "/etc",
        PODS,
        "/var/lib/kubelet/pods/",
        "/var/lib/kubelet/podsx/a",
        "/var/lib/kubelet/pods/../x",
        "/var/lib/kubelet/pods/a/./b",
        "/var/lib/kubelet/pods/a/../../../../../etc",
        "var/lib/kubelet/pods/a",
        "/var/lib/kubelet/pods/a\0b",
    ];
    for path in foreign {
        let error = InvalidVolume::ForeignTarget(PODS.into());
        assert_eq!(refused(|request| request.target_path = path.into()), error, "{path}");
        let unpublish = NodeUnpublishVolumeRequest { volume_id: "csi-1".into(), target_path: path.into() };
        assert_eq!(UnpublishVolume::parse(&unpublish, Path::new(PODS)), Err(error));
    }
    let unpublish =
        NodeUnpublishVolumeRequest { volume_id: "csi-1".into(), target_path: format!("{TARGET}/") };
    let parsed = UnpublishVolume::parse(&unpublish, Path::new(PODS)).unwrap();
    assert_eq!(parsed.target, Path::new(TARGET), "the same volume has one name");
}

proptest! {
    /// T44.
    #[test]
    fn any_text_anywhere_is_understood_or_refused(
        target in ".*", connections in ".*", group in ".*", tokens in ".*", key in ".*", value in ".*",
    ) {
        let mut request = request();
        request.target_path = target;
        request.volume_context.insert(CONNECTIONS.into(), connections);
        request.volume_context.insert(key, value);
        request.secrets.insert(TOKENS.into(), tokens);
        request.volume_capability.as_mut().unwrap().access_type =
            Some(AccessType::Mount(MountVolume { volume_mount_group: group, ..MountVolume::default() }));
        let _ = parse(request);
    }
}
