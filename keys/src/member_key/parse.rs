//! The written forms of public keys.

use super::{MemberPublicKey, PublicKeyError};
use crate::base58;
use crate::lp::Reader;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An X-Wing key in base64 has 1624 characters; nothing accepted is longer than this.
const LONGEST: usize = 4096;

/// SubjectPublicKeyInfo of RFC 8410 before the 32 bytes: id-Ed25519.
const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The same with id-X25519.
const SPKI_X25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00];

/// Multicodec prefixes of did:key.
const MULTICODEC_ED25519: [u8; 2] = [0xed, 0x01];
const MULTICODEC_X25519: [u8; 2] = [0xec, 0x01];

pub(super) fn parse(text: &str) -> Result<MemberPublicKey, PublicKeyError> {
    let text = text.trim();
    if text.contains("PRIVATE KEY-----") || text.starts_with("AGE-SECRET-KEY-") {
        return Err(PublicKeyError::PrivateKey);
    }
    if text.len() > LONGEST {
        return Err(PublicKeyError::UnknownForm);
    }
    if let Some(did) = text.strip_prefix("did:key:") {
        return did_key(did);
    }
    if let Some(base64) = text.strip_prefix("ed25519:") {
        return MemberPublicKey::ed25519(&decode(base64)?);
    }
    if let Some(base64) = text.strip_prefix("x25519:") {
        return MemberPublicKey::x25519(&decode(base64)?);
    }
    if let Some(base64) = text.strip_prefix("x-wing:") {
        return MemberPublicKey::xwing(&decode(base64)?);
    }
    if text.starts_with("-----BEGIN ") {
        return pem(text);
    }
    if let Some((algorithm, rest)) = text.split_once([' ', '\t']) {
        return ssh(algorithm, rest.trim_start());
    }
    let raw = STANDARD.decode(text).map_err(|_| PublicKeyError::UnknownForm)?;
    MemberPublicKey::ed25519(&raw)
}

fn decode(base64: &str) -> Result<Vec<u8>, PublicKeyError> {
    STANDARD.decode(base64).map_err(|_| PublicKeyError::NotBase64)
}

/// One line of `authorized_keys` without options, RFC 8709 section 4: string "ssh-ed25519", string key.
fn ssh(algorithm: &str, rest: &str) -> Result<MemberPublicKey, PublicKeyError> {
    if algorithm.starts_with("sk-") {
        return Err(PublicKeyError::HardwareKey);
    }
    if algorithm != "ssh-ed25519" {
        let names_a_key = ["ssh-", "ecdsa-", "rsa-"].iter().any(|prefix| algorithm.starts_with(prefix));
        return Err(if names_a_key { PublicKeyError::OtherSshKey } else { PublicKeyError::UnknownForm });
    }
    let blob = rest.split([' ', '\t']).next().unwrap_or_default();
    if rest.contains(['\n', '\r']) {
        return Err(PublicKeyError::UnknownForm);
    }
    let blob = decode(blob)?;
    let mut reader = Reader::new("ssh-ed25519", &blob);
    let name = reader.text().map_err(|_| PublicKeyError::NotAKey)?;
    if name.starts_with("sk-") {
        return Err(PublicKeyError::HardwareKey);
    }
    if name != "ssh-ed25519" {
        return Err(PublicKeyError::OtherSshKey);
    }
    let key = reader.bytes().map_err(|_| PublicKeyError::NotAKey)?;
    reader.end().map_err(|_| PublicKeyError::NotAKey)?;
    MemberPublicKey::ed25519(key)
}

/// PEM of RFC 7468 with the SubjectPublicKeyInfo of RFC 8410.
fn pem(text: &str) -> Result<MemberPublicKey, PublicKeyError> {
    let body = text
        .strip_prefix("-----BEGIN PUBLIC KEY-----")
        .and_then(|text| text.strip_suffix("-----END PUBLIC KEY-----"))
        .ok_or(PublicKeyError::UnknownForm)?;
    let base64: String = body.split_ascii_whitespace().collect();
    let der = decode(&base64)?;
    if let Some(key) = der.strip_prefix(&SPKI_ED25519) {
        MemberPublicKey::ed25519(key)
    } else if let Some(key) = der.strip_prefix(&SPKI_X25519) {
        MemberPublicKey::x25519(key)
    } else {
        Err(PublicKeyError::OtherAlgorithm)
    }
}

/// did:key (W3C CCG): multibase `z` (base58btc), multicodec, key. A fragment names the same key again.
fn did_key(did: &str) -> Result<MemberPublicKey, PublicKeyError> {
    let (identifier, fragment) = did.split_once('#').unwrap_or((did, did));
    if fragment != identifier {
        return Err(PublicKeyError::UnknownForm);
    }
    let base58 = identifier.strip_prefix('z').ok_or(PublicKeyError::UnknownForm)?;
    let bytes = base58::decode(base58).ok_or(PublicKeyError::UnknownForm)?;
    if let Some(key) = bytes.strip_prefix(&MULTICODEC_ED25519) {
        MemberPublicKey::ed25519(key)
    } else if let Some(key) = bytes.strip_prefix(&MULTICODEC_X25519) {
        MemberPublicKey::x25519(key)
    } else {
        Err(PublicKeyError::OtherAlgorithm)
    }
}
