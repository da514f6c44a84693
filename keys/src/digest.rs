//! The digest of a Connection's scope.

use crate::FormatError;
use crate::lp::Lp;
use sha2::{Digest as _, Sha256};

/// SHA-256 over an Envelope's scope: everybody, or the listed members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembersDigest([u8; 32]);

impl MembersDigest {
    /// The digest of `*`: every member, those added later too.
    pub fn all() -> Self {
        let mut lp = Lp::new();
        lp.text("coffer/v1/members").text("*");
        Self(Sha256::digest(lp.as_bytes()).into())
    }

    /// The digest of a list of (name, uid), owner included, sorted by the bytes of the name.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when the list is empty, not sorted, or names someone twice.
    pub fn listed<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, FormatError> {
        let mut lp = Lp::new();
        lp.text("coffer/v1/members");
        let mut last: Option<&str> = None;
        for (name, uid) in members {
            if last.is_some_and(|last| last.as_bytes() >= name.as_bytes()) {
                return Err(FormatError::malformed(
                    "members",
                    "are not sorted by name, or someone is named twice",
                ));
            }
            lp.text(name).text(uid);
            last = Some(name);
        }
        if last.is_none() {
            return Err(FormatError::malformed("members", "are none; the owner is always one"));
        }
        Ok(Self(Sha256::digest(lp.as_bytes()).into()))
    }

    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
