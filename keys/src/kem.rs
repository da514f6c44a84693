//! HPKE (RFC 9180) in base mode, one message per encapsulation.

use crate::{OpenError, SecretBytes, SecretKey, Suite};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use rand_core::CryptoRng;

/// Length of a serialized X-Wing public key: ML-KEM-768, then X25519 (draft-connolly-cfrg-xwing-kem section 5).
pub(crate) const XWING_PUBLIC_BYTES: usize = 1216;

/// Why a public key cannot be encapsulated to; only keys that were not checked by their parser can meet this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnusableKey;

/// An X-Wing public key, checked and expanded once; expanding is a good part of what sealing to one costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct XWingKey {
    bytes: Vec<u8>,
    expanded: <XWing as Kem>::PublicKey,
}

impl XWingKey {
    /// Expands a serialized public key; `None` when its KEM does not take it.
    pub(crate) fn parse(bytes: &[u8; XWING_PUBLIC_BYTES]) -> Option<Self> {
        let expanded = <XWing as Kem>::PublicKey::from_bytes(bytes).ok()?;
        Some(Self { bytes: bytes.to_vec(), expanded })
    }

    /// The public key of a seed.
    pub(crate) fn of(seed: &SecretKey) -> Self {
        let secret = <XWing as Kem>::PrivateKey::from_bytes(seed.expose())
            .expect("any 32 bytes are an X-Wing private key");
        let expanded = XWing::sk_to_pk(&secret);
        Self { bytes: expanded.to_bytes().to_vec(), expanded }
    }

    /// The 1216 bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Seals to it (RFC 9180 section 6.1, `SealBase`): `enc` and ciphertext.
    pub(crate) fn seal(
        &self,
        (info, aad): (&[u8], &[u8]),
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> (Vec<u8>, Vec<u8>) {
        seal_to::<XWing>(&self.expanded, (info, aad), plaintext, rng)
            .expect("X-Wing encapsulates to every key that it takes")
    }
}

/// Seals to a serialized public key (RFC 9180 section 6.1, `SealBase`): `enc` and ciphertext.
pub(crate) fn seal(
    suite: PublicSuite,
    public: &[u8],
    (info, aad): (&[u8], &[u8]),
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, Vec<u8>), UnusableKey> {
    match suite {
        PublicSuite::X25519 => seal_with::<X25519HkdfSha256>(public, (info, aad), plaintext, rng),
        PublicSuite::XWing => seal_with::<XWing>(public, (info, aad), plaintext, rng),
    }
}

/// Opens with a serialized private key (RFC 9180 section 6.1, `OpenBase`).
pub(crate) fn open(
    suite: PublicSuite,
    secret: &SecretKey,
    enc: &[u8],
    (info, aad): (&[u8], &[u8]),
    ct: &[u8],
) -> Result<SecretBytes, OpenError> {
    match suite {
        PublicSuite::X25519 => open_with::<X25519HkdfSha256>(secret, enc, (info, aad), ct),
        PublicSuite::XWing => open_with::<XWing>(secret, enc, (info, aad), ct),
    }
}

/// The public key of a private key, serialized; `None` when the bytes are no private key of this suite.
pub(crate) fn public(suite: PublicSuite, secret: &SecretKey) -> Option<Vec<u8>> {
    match suite {
        PublicSuite::X25519 => public_with::<X25519HkdfSha256>(secret),
        PublicSuite::XWing => public_with::<XWing>(secret),
    }
}

/// The suites that have a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublicSuite {
    X25519,
    XWing,
}

impl PublicSuite {
    /// The same among all suites; `None` for the symmetric one.
    pub(crate) fn of(suite: Suite) -> Option<Self> {
        match suite {
            Suite::X25519 => Some(Self::X25519),
            Suite::XWing => Some(Self::XWing),
            Suite::Symmetric => None,
        }
    }

    pub(crate) fn suite(self) -> Suite {
        match self {
            Self::X25519 => Suite::X25519,
            Self::XWing => Suite::XWing,
        }
    }

    /// Length of `enc` in bytes (RFC 9180 section 7.1, draft-connolly-cfrg-xwing-kem section 5).
    pub(crate) fn enc_length(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::XWing => 1120,
        }
    }
}

fn seal_with<K: Kem>(
    public: &[u8],
    (info, aad): (&[u8], &[u8]),
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, Vec<u8>), UnusableKey> {
    let public = K::PublicKey::from_bytes(public).map_err(|_| UnusableKey)?;
    seal_to::<K>(&public, (info, aad), plaintext, rng)
}

fn seal_to<K: Kem>(
    public: &K::PublicKey,
    (info, aad): (&[u8], &[u8]),
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, Vec<u8>), UnusableKey> {
    let (enc, ct) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, K>(
        &OpModeS::Base,
        public,
        info,
        plaintext,
        aad,
        rng,
    )
    .map_err(|_| UnusableKey)?;
    Ok((enc.to_bytes().to_vec(), ct))
}

fn open_with<K: Kem>(
    secret: &SecretKey,
    enc: &[u8],
    (info, aad): (&[u8], &[u8]),
    ct: &[u8],
) -> Result<SecretBytes, OpenError> {
    let secret = K::PrivateKey::from_bytes(secret.expose()).map_err(|_| OpenError)?;
    let enc = K::EncappedKey::from_bytes(enc).map_err(|_| OpenError)?;
    hpke::single_shot_open::<AesGcm256, HkdfSha256, K>(&OpModeR::Base, &secret, &enc, info, ct, aad)
        .map(SecretBytes::new)
        .map_err(|_| OpenError)
}

fn public_with<K: Kem>(secret: &SecretKey) -> Option<Vec<u8>> {
    let secret = K::PrivateKey::from_bytes(secret.expose()).ok()?;
    Some(K::sk_to_pk(&secret).to_bytes().to_vec())
}

#[cfg(test)]
mod tests;
