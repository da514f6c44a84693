//! The node's volumes.

use std::{path::PathBuf, sync::Arc};

use tonic::{Code, Request, Response, Status};

use super::proto::{
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability, NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse,
    node_server::Node,
    node_service_capability::{Rpc, Type, rpc},
};
use crate::{
    fetch::ReleaseError,
    publish::{PublishError, Publisher},
    volume::{InvalidVolume, PublishVolume, UnpublishVolume},
};

/// CSI's Node service.
pub struct NodeService {
    publisher: Arc<Publisher>,
    node_name: String,
    pods_dir: PathBuf,
}

impl NodeService {
    /// On the node `node_name`, whose pods' volumes lie below `pods_dir`.
    pub fn new(publisher: Arc<Publisher>, node_name: String, pods_dir: PathBuf) -> Self {
        Self { publisher, node_name, pods_dir }
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let volume =
            PublishVolume::parse(request.into_inner(), &self.pods_dir).map_err(|error| invalid(&error))?;
        self.publisher.publish(volume).await.map_err(|error| failed(&error))?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let volume =
            UnpublishVolume::parse(request.get_ref(), &self.pods_dir).map_err(|error| invalid(&error))?;
        self.publisher.unpublish(volume).await.map_err(|error| failed(&error))?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    /// `VOLUME_MOUNT_GROUP`: the pod's `fsGroup` comes with the request, and the driver applies it itself.
    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let mount_group = Type::Rpc(Rpc { r#type: rpc::Type::VolumeMountGroup.into() });
        let capabilities = vec![NodeServiceCapability { r#type: Some(mount_group) }];
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        // Zero volumes per node means no limit.
        let info = NodeGetInfoResponse { node_id: self.node_name.clone(), max_volumes_per_node: 0 };
        Ok(Response::new(info))
    }
}

fn invalid(error: &InvalidVolume) -> Status {
    tracing::warn!(%error, "request refused");
    Status::invalid_argument(error.to_string())
}

/// The gRPC twins of the broker's HTTP codes. The kubelet shows code and text as an event of the pod.
fn failed(error: &PublishError) -> Status {
    let code = match error {
        PublishError::UnderWay => Code::Aborted,
        PublishError::Release(error) => match error {
            ReleaseError::Forbidden(_) => Code::PermissionDenied,
            ReleaseError::NotFound(_) => Code::NotFound,
            ReleaseError::Unauthenticated(_) => Code::Unauthenticated,
            ReleaseError::Malformed(_) => Code::InvalidArgument,
            ReleaseError::TooLarge(_) => Code::OutOfRange,
            ReleaseError::RateLimited { .. } => Code::ResourceExhausted,
            ReleaseError::Unavailable { .. } | ReleaseError::Unreachable(_) | ReleaseError::NotSetUp(_) => {
                Code::Unavailable
            }
            ReleaseError::UnusableAnswer(_) => Code::Internal,
        },
        PublishError::Payload(_) => Code::FailedPrecondition,
        PublishError::Volume { .. } | PublishError::Panicked => Code::Internal,
    };
    tracing::warn!(%error, ?code, "request failed");
    Status::new(code, error.to_string())
}
