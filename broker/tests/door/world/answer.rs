//! A question at the workloads' door, and what is said to it.

use coffer_broker_api::{DOOR, ErrorBody, PodReference, ReleaseRequest, ReleaseResponse, Released};
use coffer_keys::{
    VaultId,
    answer::{AnswerContext, EphemeralKey},
};
use sha2::{Digest as _, Sha256};

use super::{Pod, rng};

/// What the door said.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Vec<u8>,
    pub(crate) key: EphemeralKey,
    pub(crate) request: ReleaseRequest,
}

impl Answer {
    pub(crate) fn error(&self) -> ErrorBody {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn sealed(&self) -> Vec<u8> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let response: ReleaseResponse = serde_json::from_slice(&self.body).unwrap();
        assert_eq!((response.v, &response.request_id), (1, &self.request.request_id));
        STANDARD.decode(response.sealed).unwrap()
    }

    /// Opens the answer as the node does.
    pub(crate) fn open(&self, pod: &Pod) -> Released {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let request_sha256: [u8; 32] = Sha256::digest(self.request.canonical()).into();
        let context = AnswerContext {
            door: DOOR,
            request_id: &self.request.request_id,
            requester_username: &pod.username,
            requester_uid: &pod.account_uid,
            request_sha256: &request_sha256,
        };
        Released::decode(self.key.open(&context, &self.sealed()).unwrap().expose()).ok().unwrap()
    }

    /// The `token` items, in the answer's order.
    pub(crate) fn values(&self, pod: &Pod) -> Vec<String> {
        let value = |c: &coffer_broker_api::ReleasedConnection| {
            String::from_utf8(c.items["token"].expose().to_vec()).unwrap()
        };
        self.open(pod).connections.iter().map(value).collect()
    }
}

pub(crate) fn request(pod: &Pod, key: &EphemeralKey, references: &[&str]) -> ReleaseRequest {
    ReleaseRequest {
        v: 1,
        request_id: VaultId::generate(&mut rng()).to_string(),
        connections: references.iter().map(|reference| (*reference).to_owned()).collect(),
        public_key: key.public().to_base64(),
        pod: PodReference { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() },
    }
}
