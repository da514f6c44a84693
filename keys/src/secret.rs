use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, Zeroizing};

/// Secret bytes of any length. Wiped when dropped; cannot be printed, serialized or cloned.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over; they are wiped when this is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Whoever calls this answers for where they go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in time that depends only on the lengths.
    pub fn equals(&self, other: &SecretBytes) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

/// A secret key of 32 bytes. Wiped when dropped; cannot be printed, serialized or cloned.
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// A new random key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Self::zeroed();
        rng.fill_bytes(&mut *key.0);
        key
    }

    /// Copies the key in; the caller's copy stays the caller's to wipe.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut key = Self::zeroed();
        key.0.copy_from_slice(bytes);
        key
    }

    /// Takes a key of exactly 32 bytes; anything else is `None`.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_bytes)
    }

    /// The key itself. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn zeroed() -> Self {
        Self(Zeroizing::new([0; 32]))
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }

    /// A copy for a holder that lives longer than this one.
    pub(crate) fn duplicate(&self) -> Self {
        Self::from_bytes(&self.0)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
