//! What travels between kubelet, node driver and broker.

use std::path::Path;

use coffer_broker_api::{ConnectionReference, ReleaseRequest, Released, people::Answer};
use coffer_keys::answer::AnswerPublicKey;
use coffer_node::{
    csi::proto::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest},
    payload::Payload,
    token::PodToken,
    volume::{PublishVolume, UnpublishVolume},
};
use prost::Message as _;

const PODS: &str = "/var/lib/kubelet/pods";

/// A body at the broker's door.
pub(crate) fn release_request(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<ReleaseRequest>(data) {
        let valid = request.validate();
        let _ = AnswerPublicKey::parse(&request.public_key);
        assert!(!request.canonical().is_empty(), "every request has one form");
        assert!(valid.is_err() || request.connections.len() <= coffer_broker_api::MAX_CONNECTIONS, "bounded");
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(reference) = text.parse::<ConnectionReference>() {
        assert_eq!(reference.to_string(), text, "one form only");
    }
}

/// An opened answer at the node, and the files it becomes.
pub(crate) fn released(data: &[u8]) {
    let Ok(released) = Released::decode(data) else { return };
    let again = Released::decode(&released.encode());
    assert!(again.is_ok_and(|again| again == released), "what is read is what was written");
    let names: Vec<String> =
        released.connections.iter().map(|found| format!("{}/{}", found.namespace, found.name)).collect();
    if let Ok(payload) = Payload::from_released(&names, released) {
        let paths = payload
            .folders
            .iter()
            .flat_map(|(alias, folder)| folder.items.keys().map(move |item| format!("{alias}/{item}")));
        for path in paths {
            let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
            assert!(plain && path.matches('/').count() == 1, "a file stays in its folder");
        }
    }
}

/// An opened answer on a person's machine.
pub(crate) fn people_answer(data: &[u8]) {
    let Ok(answer) = Answer::decode(data) else { return };
    let again = Answer::decode(&answer.encode());
    assert!(again.is_ok_and(|again| again == answer), "what is read is what was written");
    let granted = answer.code == 200;
    assert_eq!(answer.granted().is_ok(), granted, "nothing is taken from a denial");
}

/// The kubelet's requests, as they come over the socket.
pub(crate) fn csi_volume(data: &[u8]) {
    if let Ok(request) = NodePublishVolumeRequest::decode(data)
        && let Ok(volume) = PublishVolume::parse(request, Path::new(PODS))
    {
        assert!(volume.target.starts_with(PODS) && !volume.connections.is_empty(), "only pods' folders");
    }
    if let Ok(request) = NodeUnpublishVolumeRequest::decode(data)
        && let Ok(volume) = UnpublishVolume::parse(&request, Path::new(PODS))
    {
        assert!(volume.target.starts_with(PODS), "only pods' folders");
    }
}

/// The kubelet's tokens. Whatever is read as one can be sent as a header.
pub(crate) fn pod_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(token) = PodToken::from_kubelet(text) {
        assert!(token.bearer().is_sensitive(), "never printed");
    }
}
