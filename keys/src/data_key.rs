//! The data key of one version of a Connection's values: its commitment, its items, its slots.

use crate::context::{self, CommitmentContext, ItemContext, SlotContext};
use crate::wrap::{OpenWith, WrapTo, Wrapped};
use crate::{Kid, OpenError, SecretBytes, SecretKey, Suite, aead};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;

/// Opens one version of one Connection: random, fresh for every version, narrowing, owner change and epoch.
pub struct DataKey {
    key: SecretKey,
    commitment: Commitment,
}

/// A value that only one data key has: checked first, so that one ciphertext cannot open in two ways.
#[derive(Debug, Clone, Copy)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// Takes the bytes as an Envelope claims them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Commitment {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Commitment {}

impl DataKey {
    /// A new random key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_key(SecretKey::generate(rng))
    }

    pub(crate) fn from_key(key: SecretKey) -> Self {
        let info = context::encode(&CommitmentContext, Suite::Symmetric, &Kid::Data);
        let commitment = Commitment(*aead::derive(&key, &[], &info).expose());
        Self { key, commitment }
    }

    /// Its commitment.
    pub fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    /// Seals one item under its own key. Each item of a data key is sealed once.
    pub fn seal_item(&self, context: &ItemContext<'_>, plaintext: &[u8]) -> Vec<u8> {
        let context = context::encode(context, Suite::Symmetric, &Kid::Data);
        aead::seal(&self.item_key(&context), &context, plaintext)
    }

    /// Opens one item.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_item(&self, context: &ItemContext<'_>, ct: &[u8]) -> Result<SecretBytes, OpenError> {
        let context = context::encode(context, Suite::Symmetric, &Kid::Data);
        aead::open(&self.item_key(&context), &context, ct)
    }

    /// Wraps it into one slot.
    ///
    /// # Panics
    /// When the context holds another key's commitment: a mistake of the caller that would never open.
    pub fn seal_slot(&self, to: WrapTo<'_>, context: &SlotContext<'_>, rng: &mut impl CryptoRng) -> Wrapped {
        assert_eq!(*context.commitment, self.commitment, "a slot carries the key that it commits to");
        Wrapped::seal(to, context, &self.key, rng)
    }

    /// Opens a slot and checks the commitment before anything else is done with the key.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_slot(
        with: OpenWith<'_>,
        context: &SlotContext<'_>,
        slot: &Wrapped,
    ) -> Result<Self, OpenError> {
        let opened = Self::from_key(slot.open(with, context)?);
        if opened.commitment == *context.commitment { Ok(opened) } else { Err(OpenError) }
    }

    #[cfg(test)]
    pub(crate) fn key(&self) -> &SecretKey {
        &self.key
    }

    fn item_key(&self, context: &[u8]) -> SecretKey {
        aead::derive(&self.key, &[], context)
    }
}
