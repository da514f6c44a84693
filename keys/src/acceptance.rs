//! How a member proves that it holds the key it brings: a signature, or the answer to a challenge.

use crate::context::Context;
use crate::hierarchy::{SubjectRef, derive};
use crate::lp::Lp;
use crate::member_key::{MemberPublicKey, MemberSecretKey};
use crate::wrap::{OpenWith, WrapParts, WrapTo, Wrapped, WrappingKey};
use crate::{FormatError, Kid, OpenError, SecretKey, VaultId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;

/// What an acceptance is about. A proof made for one does not hold for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptance<'a> {
    /// The vault.
    pub vault_id: VaultId,
    /// Namespace of the VaultMember.
    pub namespace: &'a str,
    /// Name of the VaultMember.
    pub name: &'a str,
    /// uid of the VaultMember object.
    pub uid: &'a str,
    /// The identity that it stands for.
    pub subject: SubjectRef<'a>,
    /// The key that is brought.
    pub public_key: &'a MemberPublicKey,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// An X25519 or X-Wing key cannot sign.
    #[error("this key cannot sign: open status.challenge with it and give what it holds as proof")]
    CannotSign,
    /// Not base64 of the right length.
    #[error("proof is not standard base64 of {0} bytes")]
    Malformed(usize),
    /// Made by another key, for another member, or altered.
    #[error("proof does not hold for this key, vault and member")]
    DoesNotHold,
}

impl Acceptance<'_> {
    /// The message that an Ed25519 key signs: LP("coffer/v1/accept") and the fields.
    pub fn message(&self) -> Vec<u8> {
        let mut lp = Lp::new();
        lp.text("coffer/v1/accept");
        self.write(&mut lp);
        lp.into_bytes()
    }

    /// Signs the acceptance; only an Ed25519 key can. A member that changes its key signs with both.
    ///
    /// # Errors
    /// [`ProofError::CannotSign`] for other keys.
    pub fn sign(&self, key: &MemberSecretKey) -> Result<String, ProofError> {
        key.sign(&self.message()).map(|signature| STANDARD.encode(signature)).ok_or(ProofError::CannotSign)
    }

    /// Checks the signature of an Ed25519 key, strictly.
    ///
    /// # Errors
    /// [`ProofError`]; for X25519 and X-Wing keys always [`ProofError::CannotSign`].
    pub fn verify(&self, proof: &str) -> Result<(), ProofError> {
        self.verify_by(self.public_key, proof)
    }

    /// Checks that another Ed25519 key signed this acceptance: a member's former key, when it vouches for the next.
    ///
    /// # Errors
    /// As [`Acceptance::verify`].
    pub fn verify_by(&self, key: &MemberPublicKey, proof: &str) -> Result<(), ProofError> {
        let key = key.verifying_key().ok_or(ProofError::CannotSign)?;
        let proof = STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let signature = ed25519_dalek::Signature::from_bytes(&proof.ok_or(ProofError::Malformed(64))?);
        key.verify_strict(&self.message(), &signature).map_err(|_| ProofError::DoesNotHold)
    }

    /// Makes `status.challenge` for a key that cannot sign: the nonce, wrapped to the key.
    pub fn challenge(&self, custodian: &WrappingKey, rng: &mut impl CryptoRng) -> Wrapped {
        let nonce = self.nonce(custodian);
        Wrapped::seal(WrapTo::Public(self.public_key), &ChallengeContext(self), &nonce, rng)
    }

    /// Answers a challenge with the private key; the text is the proof.
    ///
    /// # Errors
    /// [`OpenError`] when the challenge is for another key or another acceptance.
    pub fn answer(&self, key: &MemberSecretKey, challenge: &Wrapped) -> Result<String, OpenError> {
        challenge
            .open(OpenWith::Secret(key), &ChallengeContext(self))
            .map(|nonce| STANDARD.encode(nonce.expose()))
    }

    /// Checks the answer to a challenge. The nonce is derived again, so that no challenge has to be kept.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify_answer(&self, custodian: &WrappingKey, proof: &str) -> Result<(), ProofError> {
        let proof = STANDARD.decode(proof).ok().and_then(|proof| SecretKey::from_slice(&proof));
        let proof = proof.ok_or(ProofError::Malformed(32))?;
        if self.nonce(custodian).expose().ct_eq(proof.expose()).into() {
            Ok(())
        } else {
            Err(ProofError::DoesNotHold)
        }
    }

    fn nonce(&self, custodian: &WrappingKey) -> SecretKey {
        derive(custodian.key(), "challenge", |info| self.write(info))
    }

    fn write(&self, lp: &mut Lp) {
        lp.bytes(self.vault_id.as_bytes()).text(self.namespace).text(self.name).text(self.uid);
        self.subject.write(lp);
        lp.text(self.public_key.kind().as_str()).bytes(self.public_key.as_bytes());
    }
}

/// A challenge's nonce, under the key that is brought.
struct ChallengeContext<'a, 'b>(&'a Acceptance<'b>);

impl Context for ChallengeContext<'_, '_> {
    const PURPOSE: &'static str = "coffer/v1/challenge";

    fn write(&self, fields: &mut Lp) {
        self.0.write(fields);
    }
}

/// Writes a challenge as `status.challenge` holds it: the values of a wrap, length-prefixed, in base64.
pub fn encode_challenge(challenge: &Wrapped) -> String {
    let mut lp = Lp::new();
    lp.number(challenge.v())
        .text(challenge.suite().as_str())
        .text(&challenge.kid().to_string())
        .bytes(challenge.enc().unwrap_or_default())
        .bytes(challenge.ct());
    STANDARD.encode(lp.as_bytes())
}

/// Reads `status.challenge`.
///
/// # Errors
/// [`FormatError`].
pub fn decode_challenge(text: &str) -> Result<Wrapped, FormatError> {
    let malformed = |problem| FormatError::malformed("challenge", problem);
    let bytes = STANDARD.decode(text).map_err(|_| malformed("is not standard base64"))?;
    let mut reader = crate::lp::Reader::new("challenge", &bytes);
    let (v, suite, kid) = (reader.number()?, reader.text()?, reader.text()?);
    let (enc, ct) = (reader.bytes()?, reader.bytes()?);
    reader.end()?;
    if !matches!(Kid::parse(kid)?, Kid::Public(_)) {
        return Err(malformed("is not wrapped to a public key"));
    }
    Wrapped::from_parts(&WrapParts { v, suite, kid, salt: None, enc: Some(enc), ct })
}
