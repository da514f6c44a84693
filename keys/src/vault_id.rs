use crate::FormatError;
use rand_core::CryptoRng;
use std::fmt;
use std::str::FromStr;

/// A vault's random identity: 16 bytes, written as 32 lower-case hexadecimal digits.
///
/// It lives in the Keyring and not in an object's UID, so that a restored vault still opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultId([u8; 16]);

impl VaultId {
    /// A new random id.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        Self(id)
    }

    /// Reads 32 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for any other form, upper-case digits included.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let malformed = || FormatError::malformed("vaultID", "is not 32 lower-case hexadecimal digits");
        let text: &[u8; 32] = text.as_bytes().try_into().map_err(|_| malformed())?;
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(malformed()),
        };
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(id))
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for VaultId {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Self::parse(text)
    }
}
