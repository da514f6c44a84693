use crate::FormatError;

/// The format version that this crate writes and reads: the `v` of every structure.
pub const VERSION: u64 = 1;

/// The algorithms of a structure, named in its `suite` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// HKDF-SHA256 and AES-256-GCM: symmetric wraps, items.
    Symmetric,
    /// HPKE base mode (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
    X25519,
    /// HPKE base mode: X-Wing (X25519 and ML-KEM-768), HKDF-SHA256, AES-256-GCM.
    XWing,
}

impl Suite {
    /// The name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Symmetric => "hkdf-sha256-aes256gcm",
            Self::X25519 => "x25519-hkdf-sha256-aes256gcm",
            Self::XWing => "xwing-hkdf-sha256-aes256gcm",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`FormatError::UnknownSuite`] for any name but the three.
    pub fn parse(name: &str) -> Result<Self, FormatError> {
        [Self::Symmetric, Self::X25519, Self::XWing]
            .into_iter()
            .find(|suite| suite.as_str() == name)
            .ok_or_else(|| FormatError::UnknownSuite {
                found: FormatError::excerpt(name),
                accepted: "hkdf-sha256-aes256gcm, x25519-hkdf-sha256-aes256gcm, xwing-hkdf-sha256-aes256gcm",
            })
    }
}

/// Refuses every version but [`VERSION`], by name.
///
/// # Errors
/// [`FormatError::UnknownVersion`].
pub(crate) fn check_version(v: u64) -> Result<(), FormatError> {
    if v == VERSION { Ok(()) } else { Err(FormatError::UnknownVersion(v)) }
}
