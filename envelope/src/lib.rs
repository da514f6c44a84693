//! Reads and writes Keyrings, Envelopes and wrapped vault keys: the one place that knows both the kinds
//! (`coffer-crds`) and the keys (`coffer-keys`).
//!
//! * The operator opens its [`Custodian`] once ([`custody`]), a vault's [`OpenKeyring`] from it, and through that
//!   an [`OpenEnvelope`], which writes the Envelope that comes next.
//! * The broker opens what was wrapped for a Brokered member: [`open_as_brokered`].
//! * A member with a key of its own does the same with it: [`open_as_self`].
//!
//! Pure: no I/O, no clock. Time and randomness are passed in; Secrets come and go as bytes.

pub mod custody;

mod access;
mod encoding;
mod error;
mod freshness;
mod keyring;
mod looks;
mod open;
mod parsed;
mod register;
mod signed;
mod vault_key;
mod write;

pub use access::{Access, Change, Recipient, listed_scope, scope_contains};
pub use custody::{Branches, Custodian};
pub use error::{EnvelopeError, KeyringError, SealError};
pub use freshness::Freshness;
pub use keyring::OpenKeyring;
pub use looks::Looks;
pub use open::{OpenedItems, Place, SelfMember, open_as_brokered, open_as_self};
pub use register::{key_hash, subject_ref};
pub use signed::{intake_public_key, verify_keyring};
pub use write::{Item, NewEnvelope, NewVersion, Notes, OpenEnvelope};
