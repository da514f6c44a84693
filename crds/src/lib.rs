//! Coffer's API: the eight kinds of group `coffer.dev`, version `v1alpha1`.
//!
//! Types, their rules and their documentation; no client, no I/O.

mod access_token;
mod audit_query;
mod connection;
mod envelope;
mod identity;
mod keyring;
mod release;
mod vault;
mod vault_member;
mod wrap;

pub use access_token::*;
pub use audit_query::*;
pub use connection::*;
pub use envelope::*;
pub use identity::*;
pub use keyring::*;
pub use release::*;
pub use vault::*;
pub use vault_member::*;
pub use wrap::*;
