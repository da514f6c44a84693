//! Answers: what the broker seals to the one-time key of a request.

use crate::context::Context;
use crate::kem::XWingKey;
use crate::lp::Lp;
use crate::member_key::{self, MemberKeyKind, PublicKeyError};
use crate::sealed::{self, Sealed};
use crate::{Kid, OpenError, SecretBytes, SecretKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_core::CryptoRng;

/// The request that an answer belongs to; it opens for no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerContext<'a> {
    /// The door that the request came through: `workload`, `request`, `audit` or `external`.
    pub door: &'a str,
    /// The Release's uid, or the client's 16 random bytes in hexadecimal.
    pub request_id: &'a str,
    /// The requester's name, as a server authenticated it.
    pub requester_username: &'a str,
    /// The requester's uid, empty where it has none.
    pub requester_uid: &'a str,
    /// SHA-256 of the canonical request.
    pub request_sha256: &'a [u8; 32],
}

impl Context for AnswerContext<'_> {
    const PURPOSE: &'static str = "coffer/v1/answer";

    fn write(&self, fields: &mut Lp) {
        fields
            .text(self.door)
            .text(self.request_id)
            .text(self.requester_username)
            .text(self.requester_uid)
            .bytes(self.request_sha256);
    }
}

/// The public half of a request's one-time key: X-Wing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerPublicKey(XWingKey);

impl AnswerPublicKey {
    /// Reads 1216 bytes of X-Wing public key in standard base64.
    ///
    /// # Errors
    /// [`PublicKeyError`] says what is accepted.
    pub fn parse(base64: &str) -> Result<Self, PublicKeyError> {
        let bytes = STANDARD.decode(base64).map_err(|_| PublicKeyError::NotBase64)?;
        member_key::checked_xwing(&bytes).map(Self)
    }

    /// Standard base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0.as_bytes())
    }

    /// The 1216 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn kid(&self) -> Kid {
        Kid::Public(member_key::fingerprint(MemberKeyKind::XWing, self.as_bytes()))
    }
}

/// Seals an answer to a request. The bytes are complete in themselves.
pub fn seal(
    to: &AnswerPublicKey,
    context: &AnswerContext<'_>,
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    sealed::seal(&to.kid(), &to.0, context, plaintext, rng)
}

/// A request's one-time key: made for one request, dropped with its answer.
pub struct EphemeralKey {
    seed: SecretKey,
    public: AnswerPublicKey,
}

impl EphemeralKey {
    /// A new key pair.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_seed(SecretKey::generate(rng))
    }

    pub(crate) fn from_seed(seed: SecretKey) -> Self {
        Self { public: AnswerPublicKey(XWingKey::of(&seed)), seed }
    }

    /// The public half, for the request.
    pub fn public(&self) -> &AnswerPublicKey {
        &self.public
    }

    /// Opens the answer to this request.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, context: &AnswerContext<'_>, bytes: &[u8]) -> Result<SecretBytes, OpenError> {
        Sealed::parse("answer", bytes).map_err(|_| OpenError)?.open(&self.public.kid(), &self.seed, context)
    }
}
