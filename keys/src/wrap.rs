//! One key carried under another: symmetric wraps and wraps to a public key.

use crate::context::{self, Context};
use crate::kem::{self, PublicSuite};
use crate::member_key::{MemberPublicKey, MemberSecretKey};
use crate::suite::{Suite, check_version};
use crate::{FormatError, Kid, OpenError, SecretKey, VERSION, aead};
use rand_core::CryptoRng;

/// A symmetric key that wraps others, and the id by which wraps name it. Made by [`crate::hierarchy`].
pub struct WrappingKey {
    kid: Kid,
    key: SecretKey,
}

impl WrappingKey {
    pub(crate) fn new(kid: Kid, key: SecretKey) -> Self {
        Self { kid, key }
    }

    /// The id that its wraps name.
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    pub(crate) fn key(&self) -> &SecretKey {
        &self.key
    }
}

/// What to wrap under.
#[derive(Clone, Copy)]
pub enum WrapTo<'a> {
    /// A key of the hierarchy.
    Key(&'a WrappingKey),
    /// A member's public key.
    Public(&'a MemberPublicKey),
}

/// What to open with.
#[derive(Clone, Copy)]
pub enum OpenWith<'a> {
    /// A key of the hierarchy.
    Key(&'a WrappingKey),
    /// A member's private key.
    Secret(&'a MemberSecretKey),
}

/// A wrapped key of 32 bytes, every part in its one form. Public: it may lie anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    kid: Kid,
    body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Symmetric { salt: [u8; 32], ct: [u8; WRAPPED_LENGTH] },
    Public { suite: PublicSuite, enc: Vec<u8>, ct: [u8; WRAPPED_LENGTH] },
}

/// A key and the tag of AES-GCM.
const WRAPPED_LENGTH: usize = 32 + 16;

/// The fields of a wrap as they are written, before or after encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapParts<'a> {
    /// Format version.
    pub v: u64,
    /// Name of the suite.
    pub suite: &'a str,
    /// Name of the wrapping key.
    pub kid: &'a str,
    /// Salt of a symmetric wrap, 32 bytes.
    pub salt: Option<&'a [u8]>,
    /// Encapsulated key of a wrap to a public key.
    pub enc: Option<&'a [u8]>,
    /// Ciphertext and tag.
    pub ct: &'a [u8],
}

impl Wrapped {
    /// Wraps `secret` for one recipient and one context.
    pub fn seal<C: Context>(
        to: WrapTo<'_>,
        context: &C,
        secret: &SecretKey,
        rng: &mut impl CryptoRng,
    ) -> Self {
        match to {
            WrapTo::Key(WrappingKey { kid, key }) => {
                let mut salt = [0; 32];
                rng.fill_bytes(&mut salt);
                let context = context::encode(context, Suite::Symmetric, kid);
                let key = aead::derive(key, &salt, &context);
                let ct = fixed(aead::seal(&key, &context, secret.expose()));
                Self { kid: kid.clone(), body: Body::Symmetric { salt, ct } }
            }
            WrapTo::Public(public) => {
                let kid = Kid::Public(public.fingerprint());
                let (suite, recipient) = public.recipient();
                let context = context::encode(context, suite.suite(), &kid);
                let (enc, ct) = kem::seal(suite, &recipient, (&context, &context), secret.expose(), rng)
                    .expect("a MemberPublicKey was checked when it was parsed");
                Self { kid, body: Body::Public { suite, enc, ct: fixed(ct) } }
            }
        }
    }

    /// Unwraps what was wrapped for this key and this context.
    ///
    /// # Errors
    /// [`OpenError`] for anything else: another key, another context, altered bytes.
    pub fn open<C: Context>(&self, with: OpenWith<'_>, context: &C) -> Result<SecretKey, OpenError> {
        let context = context::encode(context, self.suite(), &self.kid);
        let opened = match (with, &self.body) {
            (OpenWith::Key(kek), Body::Symmetric { salt, ct }) if *kek.kid() == self.kid => {
                aead::open(&aead::derive(kek.key(), salt, &context), &context, ct)?
            }
            (OpenWith::Secret(secret), Body::Public { suite, enc, ct })
                if Kid::Public(secret.public().fingerprint()) == self.kid =>
            {
                let (own, key) = secret.recipient();
                if own != *suite {
                    return Err(OpenError);
                }
                kem::open(*suite, &key, enc, (&context, &context), ct)?
            }
            (OpenWith::Key(_) | OpenWith::Secret(_), Body::Symmetric { .. } | Body::Public { .. }) => {
                return Err(OpenError);
            }
        };
        SecretKey::from_slice(opened.expose()).ok_or(OpenError)
    }

    /// Reads the fields of a wrap.
    ///
    /// # Errors
    /// [`FormatError`] names the unknown version, suite or key id, or the part that has the wrong length.
    pub fn from_parts(parts: &WrapParts<'_>) -> Result<Self, FormatError> {
        check_version(parts.v)?;
        let suite = Suite::parse(parts.suite)?;
        let kid = Kid::parse(parts.kid)?;
        let ct = parts
            .ct
            .try_into()
            .map_err(|_| FormatError::malformed("wrap.ct", "is not 48 bytes: a key of 32 and a tag of 16"))?;
        let body = match (PublicSuite::of(suite), parts.salt, parts.enc) {
            (None, Some(salt), None) => {
                let salt =
                    salt.try_into().map_err(|_| FormatError::malformed("wrap.salt", "is not 32 bytes"))?;
                Body::Symmetric { salt, ct }
            }
            (Some(suite), None, Some(enc)) => {
                if enc.len() != suite.enc_length() {
                    return Err(FormatError::malformed("wrap.enc", "has not the length that its suite says"));
                }
                Body::Public { suite, enc: enc.to_vec(), ct }
            }
            (Some(_), _, _) => {
                return Err(FormatError::malformed("wrap", "must have enc and no salt with this suite"));
            }
            (None, _, _) => {
                return Err(FormatError::malformed("wrap", "must have salt and no enc with this suite"));
            }
        };
        Ok(Self { kid, body })
    }

    /// The format version.
    pub fn v(&self) -> u64 {
        VERSION
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        match &self.body {
            Body::Symmetric { .. } => Suite::Symmetric,
            Body::Public { suite, .. } => suite.suite(),
        }
    }

    /// The wrapping key's id.
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The salt of a symmetric wrap.
    pub fn salt(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Symmetric { salt, .. } => Some(salt),
            Body::Public { .. } => None,
        }
    }

    /// The encapsulated key of a wrap to a public key.
    pub fn enc(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Symmetric { .. } => None,
            Body::Public { enc, .. } => Some(enc),
        }
    }

    /// Ciphertext and tag.
    pub fn ct(&self) -> &[u8] {
        match &self.body {
            Body::Symmetric { ct, .. } | Body::Public { ct, .. } => ct,
        }
    }
}

fn fixed(ct: Vec<u8>) -> [u8; WRAPPED_LENGTH] {
    ct.try_into().expect("AES-GCM adds exactly its tag to the 32 bytes of a key")
}
