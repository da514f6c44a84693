//! The gRPC side: what the kubelet calls, and how it learns of us.

mod identity;
mod node;
mod registration;
mod socket;
#[cfg(test)]
mod tests;

pub use identity::IdentityService;
pub use node::NodeService;
pub use registration::RegistrationService;
pub use socket::{Socket, SocketError};

/// The messages of CSI, from `proto/csi.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod proto {
    tonic::include_proto!("csi.v1");
}

/// The messages of the kubelet's plugin registration, from `proto/pluginregistration.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod registration_proto {
    tonic::include_proto!("pluginregistration");
}
