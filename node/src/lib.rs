//! The CSI driver `csi.coffer.dev`: puts a pod's credentials into a folder of memory that only this pod sees.
//!
//! One publish, file by file:
//!
//! | module | does |
//! | --- | --- |
//! | [`csi`] | speaks gRPC with the kubelet, and registers with it |
//! | [`volume`] | parses a request once, into a type in which nothing is missing |
//! | [`token`] | holds the pod's token and reads from it whom the broker will see |
//! | [`publish`] | decides what a request needs: first publish, republish, unpublish |
//! | [`fetch`] | asks the broker over HTTPS, with a key made for this one request |
//! | [`payload`] | what was released, checked and ordered |
//! | [`mount`] | makes and removes the tmpfs |
//! | [`files`] | writes the files into it, swapped in one step |
//! | [`events`] | tells the pod's owner about a revocation |
//!
//! The driver keeps nothing: mounts and files outlive its restart, and what it must know about a volume lies in the
//! volume.

pub mod config;
pub mod csi;
pub mod driver;
pub mod events;
#[cfg(test)]
mod fake_broker;
pub mod fetch;
pub mod files;
pub mod metrics;
pub mod mount;
pub mod payload;
pub mod publish;
pub mod token;
pub mod verify;
pub mod volume;

pub use coffer_crds::CSI_DRIVER as DRIVER_NAME;
