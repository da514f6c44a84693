//! Whether a register is the operator's: each Keyring's signature is checked once, not at each release.

use crate::facts::Key;
use coffer_crds::Keyring;
use coffer_envelope::{KeyringError, verify_keyring};
use coffer_keys::signature::VaultPublicKey;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How many vaults are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// The Keyrings whose signature held, as the very objects that were checked.
#[derive(Default)]
pub struct Registers {
    verified: Mutex<HashMap<Key, (Arc<Keyring>, VaultPublicKey)>>,
}

impl Registers {
    /// Checks that `custodian_key`, which something has opened with, signed this Keyring.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(&self, keyring: &Arc<Keyring>, custodian_key: &VaultPublicKey) -> Result<(), KeyringError> {
        let key = Key::of(keyring.as_ref());
        let locked = || self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        // The same object, not an equal name or signature: any other content must be checked again.
        if locked().get(&key).is_some_and(|(known, by)| Arc::ptr_eq(known, keyring) && by == custodian_key) {
            return Ok(());
        }
        verify_keyring(&keyring.spec, custodian_key)?;
        let mut verified = locked();
        if verified.len() >= MAX_REMEMBERED {
            verified.clear();
        }
        verified.insert(key, (keyring.clone(), *custodian_key));
        Ok(())
    }
}
