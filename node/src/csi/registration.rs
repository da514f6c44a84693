//! Registration with the kubelet: it finds a socket in `plugins_registry`, asks who is there, and says whether it took
//! the driver.

use std::path::PathBuf;

use coffer_runtime::Check;
use tonic::{Request, Response, Status};

use super::registration_proto::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
    registration_server::Registration,
};
use crate::DRIVER_NAME;

/// The kubelet's plugin registration, `pluginregistration.v1`.
#[derive(Clone, Debug)]
pub struct RegistrationService {
    csi_socket: PathBuf,
    registered: Check,
}

impl RegistrationService {
    /// For the driver that listens on `csi_socket`; `registered` is met when the kubelet says so.
    pub fn new(csi_socket: PathBuf, registered: Check) -> Self {
        Self { csi_socket, registered }
    }
}

#[tonic::async_trait]
impl Registration for RegistrationService {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: DRIVER_NAME.to_owned(),
            endpoint: self.csi_socket.to_string_lossy().into_owned(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            self.registered.ready();
        } else {
            // The kubelet tries again by itself.
            self.registered.not_ready(format!("the kubelet refused the driver: {}", status.error));
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
