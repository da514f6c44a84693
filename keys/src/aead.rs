//! HKDF-SHA256 and AES-256-GCM, with the one nonce that is right when no key sees a second message.

use crate::{OpenError, SecretBytes, SecretKey};
use aes_gcm::aead::{Aead as _, Payload, array::Array};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use hkdf::Hkdf;
use sha2::Sha256;

/// Twelve zero bytes: every key is derived for exactly one message.
const NONCE: [u8; 12] = [0; 12];

/// HKDF-SHA256 (RFC 5869) to 32 bytes.
pub(crate) fn derive(key: &SecretKey, salt: &[u8], info: &[u8]) -> SecretKey {
    let mut derived = SecretKey::zeroed();
    Hkdf::<Sha256>::new(Some(salt), key.expose())
        .expand(info, derived.expose_mut())
        .expect("32 bytes are within HKDF's limit of 255 blocks");
    derived
}

/// Seals the one message of `key`, `context` being the associated data. The tag is at the end.
pub(crate) fn seal(key: &SecretKey, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    cipher(key)
        .encrypt(&Array::from(NONCE), Payload { msg: plaintext, aad: context })
        .expect("AES-GCM seals anything under 64 GiB")
}

/// Opens what [`seal`] sealed.
pub(crate) fn open(key: &SecretKey, context: &[u8], ct: &[u8]) -> Result<SecretBytes, OpenError> {
    cipher(key)
        .decrypt(&Array::from(NONCE), Payload { msg: ct, aad: context })
        .map(SecretBytes::new)
        .map_err(|_| OpenError)
}

fn cipher(key: &SecretKey) -> Aes256Gcm {
    Aes256Gcm::new(key.expose().into())
}
