//! Sealed input: what anyone may write without being able to read it.

use crate::context::Context;
use crate::kem::XWingKey;
use crate::lp::Lp;
use crate::member_key;
use crate::sealed::{self, Sealed};
use crate::{FormatError, Kid, OpenError, SecretBytes, SecretKey, VaultId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_core::CryptoRng;

/// The place that input is sealed for; it opens nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputContext<'a> {
    /// The vault.
    pub vault_id: VaultId,
    /// The Connection's namespace.
    pub namespace: &'a str,
    /// The Connection's name.
    pub connection: &'a str,
    /// The name of the owning member.
    pub owner: &'a str,
    /// The item's name.
    pub item: &'a str,
}

impl Context for InputContext<'_> {
    const PURPOSE: &'static str = "coffer/v1/input";

    fn write(&self, fields: &mut Lp) {
        fields
            .bytes(self.vault_id.as_bytes())
            .text(self.namespace)
            .text(self.connection)
            .text(self.owner)
            .text(self.item);
    }
}

/// What users seal to: the public half of a vault's intake key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakePublicKey {
    kid: Kid,
    public: XWingKey,
}

impl IntakePublicKey {
    /// Reads `Vault.status.intakeKey`: a kid `intake/R/G` and 1216 bytes of X-Wing public key in base64.
    ///
    /// # Errors
    /// [`FormatError`] names the part that is wrong.
    pub fn parse(kid: &str, public_key: &str) -> Result<Self, FormatError> {
        let kid = Kid::parse(kid)?;
        if !matches!(kid, Kid::Intake { .. }) {
            return Err(FormatError::malformed("intakeKey.kid", "is not of the form intake/N/N"));
        }
        let malformed = || {
            FormatError::malformed(
                "intakeKey.publicKey",
                "is not an X-Wing public key of 1216 bytes in base64",
            )
        };
        let bytes = STANDARD.decode(public_key).map_err(|_| malformed())?;
        let public = member_key::checked_xwing(&bytes).map_err(|_| malformed())?;
        Ok(Self { kid, public })
    }

    /// Its id.
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The 1216 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.public.as_bytes()
    }

    /// As the status writes it: standard base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.as_bytes())
    }

    /// Seals one item's value for one place. The bytes are complete in themselves.
    pub fn seal(&self, context: &InputContext<'_>, plaintext: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        sealed::seal(&self.kid, &self.public, context, plaintext, rng)
    }
}

/// The private half, derived from the custodian root by [`crate::hierarchy::CustodianRoot::intake_key`].
pub struct IntakeSecretKey {
    seed: SecretKey,
    public: IntakePublicKey,
}

impl IntakeSecretKey {
    pub(crate) fn from_seed(kid: Kid, seed: SecretKey) -> Self {
        Self { public: IntakePublicKey { kid, public: XWingKey::of(&seed) }, seed }
    }

    #[cfg(test)]
    pub(crate) fn seed(&self) -> &SecretKey {
        &self.seed
    }

    /// The public half.
    pub fn public(&self) -> &IntakePublicKey {
        &self.public
    }

    /// Opens input that was sealed to this key for this place.
    ///
    /// # Errors
    /// [`OpenError`], also when the bytes are not sealed input at all; [`sealed_to`] tells that apart.
    pub fn open(&self, context: &InputContext<'_>, bytes: &[u8]) -> Result<SecretBytes, OpenError> {
        Sealed::parse(PART, bytes).map_err(|_| OpenError)?.open(&self.public.kid, &self.seed, context)
    }
}

/// Which intake key sealed input names, without opening it.
///
/// # Errors
/// [`FormatError`] when the bytes are not sealed input of a known version and suite.
pub fn sealed_to(bytes: &[u8]) -> Result<Kid, FormatError> {
    let kid = Sealed::parse(PART, bytes)?.kid().clone();
    if matches!(kid, Kid::Intake { .. }) {
        Ok(kid)
    } else {
        Err(FormatError::malformed(PART, "is sealed to a key that is no intake key"))
    }
}

const PART: &str = "sealedData";
