//! What a vault vouches for: Ed25519 signatures over decoded values, never over JSON.

use crate::hierarchy::SubjectRef;
use crate::lp::Lp;
use crate::wrap::Wrapped;
use crate::{FormatError, OpenError, SecretKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// What is signed: the end of the label that every signed message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureKind {
    /// An Envelope.
    Envelope,
    /// A Keyring.
    Keyring,
    /// A vault key wrapped for a member.
    VaultKey,
    /// A vault's intake key.
    IntakeKey,
}

impl SignatureKind {
    /// The name as it stands in the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Keyring => "keyring",
            Self::VaultKey => "vault-key",
            Self::IntakeKey => "intake-key",
        }
    }
}

/// A message to sign: LP("coffer/v1/sig/<kind>"), then each decoded value in the order of `docs/format.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Lp);

impl Message {
    /// Begins a message.
    pub fn new(kind: SignatureKind) -> Self {
        let mut lp = Lp::new();
        lp.text(&format!("coffer/v1/sig/{}", kind.as_str()));
        Self(lp)
    }

    /// Adds bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.bytes(value);
        self
    }

    /// Adds text.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.0.text(value);
        self
    }

    /// Adds a number, or the count of a list's elements before them.
    pub fn number(&mut self, value: u64) -> &mut Self {
        self.0.number(value);
        self
    }

    /// Adds a time in seconds since 1970-01-01T00:00:00Z.
    pub fn time(&mut self, unix_seconds: i64) -> &mut Self {
        self.0.time(unix_seconds);
        self
    }

    /// Adds a value that may be absent.
    pub fn optional(&mut self, value: Option<&[u8]>) -> &mut Self {
        self.0.optional(value);
        self
    }

    /// Adds a subject: its kind and the kind's fields.
    pub fn subject(&mut self, subject: &SubjectRef<'_>) -> &mut Self {
        subject.write(&mut self.0);
        self
    }

    /// Adds a wrap: v, suite, kid, salt, enc, ct.
    pub fn wrap(&mut self, wrap: &Wrapped) -> &mut Self {
        self.number(wrap.v())
            .text(wrap.suite().as_str())
            .text(&wrap.kid().to_string())
            .optional(wrap.salt())
            .optional(wrap.enc())
            .bytes(wrap.ct())
    }

    /// The bytes that are signed.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A signature, 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Takes exactly 64 bytes.
    ///
    /// # Errors
    /// [`FormatError::Malformed`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, FormatError> {
        bytes.try_into().map(Self).map_err(|_| FormatError::malformed("signature", "is not 64 bytes"))
    }

    /// The 64 bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// A vault's signing key: random, held by the operator alone. Wiped when dropped.
pub struct VaultSigningKey {
    seed: SecretKey,
    public: VaultPublicKey,
}

impl VaultSigningKey {
    /// A new random key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_seed(SecretKey::generate(rng))
    }

    pub(crate) fn from_seed(seed: SecretKey) -> Self {
        let public = VaultPublicKey(SigningKey::from_bytes(seed.expose()).verifying_key());
        Self { seed, public }
    }

    pub(crate) fn seed(&self) -> &SecretKey {
        &self.seed
    }

    /// Its public half, the vault's custodian key.
    pub fn public(&self) -> &VaultPublicKey {
        &self.public
    }

    /// Signs a message (RFC 8032 Ed25519).
    pub fn sign(&self, message: &Message) -> Signature {
        Signature(SigningKey::from_bytes(self.seed.expose()).sign(message.as_bytes()).to_bytes())
    }
}

/// The public half of a vault's signing key: `Vault.status.custodianKey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultPublicKey(VerifyingKey);

impl VaultPublicKey {
    /// Takes 32 bytes.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when they are no point, or a weak one.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, FormatError> {
        bytes
            .try_into()
            .ok()
            .and_then(|bytes| VerifyingKey::from_bytes(bytes).ok())
            .filter(|key| !key.is_weak())
            .map(Self)
            .ok_or(FormatError::malformed("custodianKey", "is not an Ed25519 public key of 32 bytes"))
    }

    /// Reads it as the status writes it: standard base64.
    ///
    /// # Errors
    /// [`FormatError::Malformed`].
    pub fn parse(base64: &str) -> Result<Self, FormatError> {
        let bytes = STANDARD
            .decode(base64)
            .map_err(|_| FormatError::malformed("custodianKey", "is not standard base64"))?;
        Self::from_slice(&bytes)
    }

    /// As the status writes it: standard base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0.as_bytes())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Checks a signature, strictly: no weak key, no malleable form (RFC 8032 section 5.1.7).
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn verify(&self, message: &Message, signature: &Signature) -> Result<(), OpenError> {
        self.0
            .verify_strict(message.as_bytes(), &ed25519_dalek::Signature::from_bytes(&signature.0))
            .map_err(|_| OpenError)
    }
}

/// How many signatures are remembered before the memory begins anew; 32 bytes each.
const MAX_REMEMBERED: usize = 10_000;

/// Signatures that held, so that a reader that meets the same ones again and again computes each once. It remembers a
/// digest over key, message and signature, all three in full: whatever differs anywhere is checked.
#[derive(Default)]
pub struct CheckedSignatures(Mutex<HashSet<[u8; 32]>>);

impl CheckedSignatures {
    /// As [`VaultPublicKey::verify`]; a second time only by memory.
    ///
    /// # Errors
    /// [`OpenError`]. Failures are not remembered.
    pub fn verify(
        &self,
        key: &VaultPublicKey,
        message: &Message,
        signature: &Signature,
    ) -> Result<(), OpenError> {
        let mut all = Lp::new();
        all.bytes(key.as_bytes()).bytes(signature.as_bytes()).bytes(message.as_bytes());
        let digest: [u8; 32] = Sha256::digest(all.as_bytes()).into();
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(&digest) {
            return Ok(());
        }
        key.verify(message, signature)?;
        let mut known = known();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> VaultSigningKey {
        VaultSigningKey::from_seed(SecretKey::from_bytes(&[seed; 32]))
    }

    fn message(text: &str) -> Message {
        let mut message = Message::new(SignatureKind::Envelope);
        message.text(text);
        message
    }

    /// T22.
    #[test]
    fn what_was_remembered_vouches_for_nothing_else() {
        let (checked, ours, theirs) = (CheckedSignatures::default(), key(1), key(2));
        let said = message("said");
        let signature = ours.sign(&said);
        for _ in 0..2 {
            assert_eq!(checked.verify(ours.public(), &said, &signature), Ok(()));
            assert_eq!(checked.verify(theirs.public(), &said, &signature), Err(OpenError));
            assert_eq!(checked.verify(ours.public(), &message("other"), &signature), Err(OpenError));
            assert_eq!(checked.verify(ours.public(), &said, &theirs.sign(&said)), Err(OpenError));
        }
    }
}
