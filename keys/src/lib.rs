//! Coffer's key hierarchy and formats, as `docs/format.md` gives them byte for byte.
//!
//! Pure: no I/O, no clock, no Kubernetes. Randomness is passed in as `rng: &mut impl rand_core::CryptoRng`.
//! Secrets are types that zeroize themselves and that nothing can print or serialize.
//!
//! Where to look: [`hierarchy`] derives the keys of an installation, [`wrap`] carries one key under another,
//! [`data_key`] seals a Connection's items, [`intake`] what users write, [`answer`] what the broker sends back,
//! [`signature`] what a vault vouches for, [`member_key`] the keys that members bring.

pub mod acceptance;
pub mod answer;
pub mod context;
pub mod data_key;
pub mod digest;
pub mod hierarchy;
pub mod intake;
pub mod lp;
pub mod member_key;
pub mod signature;
pub mod wrap;

mod aead;
mod base58;
mod error;
mod kem;
mod kid;
mod sealed;
mod secret;
mod suite;
mod vault_id;

pub use error::{FormatError, OpenError};
pub use kid::{Fingerprint, Kid, RootName};
pub use secret::{SecretBytes, SecretKey};
pub use suite::{Suite, VERSION};
pub use vault_id::VaultId;

#[cfg(test)]
mod drbg;
#[cfg(test)]
mod vectors;
