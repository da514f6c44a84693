//! Coffer's API: the eight kinds of group `coffer.dev`, version `v1alpha1`.
//!
//! Types, their rules and their documentation; no client, no I/O.
#![allow(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]
#![allow(clippy::duplicated_attributes, reason = "each printer column has its own type and priority")]

mod access_token;
pub mod annotations;
mod audit_query;
pub mod conditions;
mod connection;
pub mod duration;
mod envelope;
pub mod form;
pub mod generate;
mod identity;
mod keyring;
pub mod limits;
mod namespace_access;
pub mod rate_limit;
mod release;
mod rules;
mod vault;
mod vault_member;
mod wrap;

/// The node driver's name, as its CSIDriver object and the volumes of pods have it.
pub const CSI_DRIVER: &str = "csi.coffer.dev";

pub use access_token::*;
pub use audit_query::*;
pub use connection::*;
pub use envelope::*;
pub use identity::*;
pub use keyring::*;
pub use namespace_access::NamespaceAccess;
pub use rate_limit::RateLimit;
pub use release::*;
pub use vault::*;
pub use vault_member::*;
pub use wrap::*;
