//! What belongs to the installation and not to any vault: the custodian root, the certificates, and the trust that
//! callers of webhook and broker have in them.
//!
//! The two halves do not wait for each other: certificates come up when custody is in trouble, and the other way
//! round.

pub mod bundles;
pub mod certificates;
pub mod custody;
pub mod guards;
pub mod serving;

use k8s_openapi::{ByteString, api::core::v1::Secret};

/// The bytes under `key` of a Secret.
pub fn data<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|ByteString(bytes)| bytes.as_slice())
}
