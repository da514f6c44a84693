//! The keys that members bring: Ed25519 (mapped to X25519), X25519 and X-Wing.

use crate::kem::{self, PublicSuite, XWING_PUBLIC_BYTES, XWingKey};
use crate::lp::Lp;
use crate::{Fingerprint, SecretKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

#[cfg(feature = "key-files")]
mod file;
mod parse;

#[cfg(feature = "key-files")]
pub use file::{KeyFileError, public_half};

/// What kind of key a member brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberKeyKind {
    /// Ed25519; wraps go to the X25519 key that it maps to. Proves itself by a signature.
    Ed25519,
    /// X25519. Proves itself by opening a challenge.
    X25519,
    /// X-Wing (X25519 and ML-KEM-768). Proves itself by opening a challenge.
    XWing,
}

impl MemberKeyKind {
    /// The kind as it stands in fingerprints; for Ed25519 it is OpenSSH's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::X25519 => "x25519",
            Self::XWing => "x-wing",
        }
    }
}

/// A member's public key, checked: on its curve, canonical, of full order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPublicKey {
    kind: MemberKeyKind,
    bytes: Vec<u8>,
}

/// Why a public key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// The text is in none of the accepted forms.
    #[error(
        "public key is in no known form; accepted: an OpenSSH line 'ssh-ed25519 AAAA…', PEM 'BEGIN PUBLIC KEY' \
         (Ed25519 or X25519), did:key:z6Mk… or z6LS…, x25519:<base64>, x-wing:<base64>, or the 32 bytes of an \
         Ed25519 key in base64"
    )]
    UnknownForm,
    /// Not base64 in its one canonical form.
    #[error("public key is not in standard base64 with padding")]
    NotBase64,
    /// A private key was given.
    #[error("this is a private key: keep it, and give the public key (ssh-keygen -y prints it)")]
    PrivateKey,
    /// Hardware-held: signs, but cannot agree on a key.
    #[error(
        "sk-ssh-ed25519 and sk-ecdsa keys live in a security key that signs but cannot decrypt, so nothing could \
         be wrapped to them; bring a software Ed25519 key (ssh-keygen -t ed25519)"
    )]
    HardwareKey,
    /// Some other SSH key or certificate.
    #[error(
        "SSH keys and certificates other than ssh-ed25519 are not accepted; make one with ssh-keygen -t ed25519"
    )]
    OtherSshKey,
    /// A key of some other algorithm.
    #[error("public key is of an algorithm other than Ed25519, X25519 and X-Wing")]
    OtherAlgorithm,
    /// The wrong length for its kind.
    #[error("public key has {found} bytes instead of {expected}")]
    WrongLength {
        /// Bytes found.
        found: usize,
        /// Bytes of this kind.
        expected: usize,
    },
    /// Not a public key of its kind at all.
    #[error("public key is not a valid key: its bytes are on no curve, or not in their one canonical form")]
    NotAKey,
    /// A point of small order, or with a part of small order: everybody could compute what is wrapped to it.
    #[error("public key is weak: a point of small order, or mixed with one")]
    Weak,
}

impl MemberPublicKey {
    /// Reads a public key in any accepted form; [`PublicKeyError::UnknownForm`] lists them.
    ///
    /// # Errors
    /// [`PublicKeyError`] says what is wrong or why such keys are refused.
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        parse::parse(text)
    }

    /// An Ed25519 key of 32 bytes.
    ///
    /// # Errors
    /// [`PublicKeyError`] when it is not of 32 bytes, not a canonical point, or weak.
    pub fn ed25519(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        let key: &[u8; 32] = exactly(bytes, 32)?;
        let point = VerifyingKey::from_bytes(key).map_err(|_| PublicKeyError::NotAKey)?.to_edwards();
        if point.compress().as_bytes() != key {
            return Err(PublicKeyError::NotAKey);
        }
        if point.is_small_order() || !point.is_torsion_free() {
            return Err(PublicKeyError::Weak);
        }
        Ok(Self { kind: MemberKeyKind::Ed25519, bytes: bytes.to_vec() })
    }

    /// An X25519 key of 32 bytes.
    ///
    /// # Errors
    /// [`PublicKeyError`] when it is not of 32 bytes, not canonical, or of small order.
    pub fn x25519(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        check_x25519(exactly(bytes, 32)?)?;
        Ok(Self { kind: MemberKeyKind::X25519, bytes: bytes.to_vec() })
    }

    /// An X-Wing key of 1216 bytes: ML-KEM-768, then X25519.
    ///
    /// # Errors
    /// [`PublicKeyError`] when it is not of 1216 bytes or either half is no key.
    pub fn xwing(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        checked_xwing(bytes)?;
        Ok(Self { kind: MemberKeyKind::XWing, bytes: bytes.to_vec() })
    }

    /// Its kind.
    pub fn kind(&self) -> MemberKeyKind {
        self.kind
    }

    /// Its bytes: 32, or 1216 for X-Wing.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As [`MemberPublicKey::parse`] reads it: for Ed25519 OpenSSH's line without a comment.
    pub fn to_text(&self) -> String {
        match self.kind {
            MemberKeyKind::Ed25519 => {
                let mut blob = Lp::new();
                blob.text(self.kind.as_str()).bytes(&self.bytes);
                format!("{} {}", self.kind.as_str(), STANDARD.encode(blob.as_bytes()))
            }
            MemberKeyKind::X25519 | MemberKeyKind::XWing => {
                format!("{}:{}", self.kind.as_str(), STANDARD.encode(&self.bytes))
            }
        }
    }

    /// SHA-256 over LP(kind) ‖ LP(bytes).
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.kind, &self.bytes)
    }

    /// The HPKE recipient: suite and serialized key.
    pub(crate) fn recipient(&self) -> (PublicSuite, Vec<u8>) {
        match self.kind {
            MemberKeyKind::Ed25519 => {
                let montgomery = self.verifying_key().expect("the kind is Ed25519").to_montgomery();
                (PublicSuite::X25519, montgomery.to_bytes().to_vec())
            }
            MemberKeyKind::X25519 => (PublicSuite::X25519, self.bytes.clone()),
            MemberKeyKind::XWing => (PublicSuite::XWing, self.bytes.clone()),
        }
    }

    /// The key that verifies signatures; only Ed25519 keys have one.
    pub(crate) fn verifying_key(&self) -> Option<VerifyingKey> {
        match self.kind {
            MemberKeyKind::Ed25519 => {
                let bytes = self.bytes.as_slice().try_into().expect("an Ed25519 key has 32 bytes");
                Some(VerifyingKey::from_bytes(bytes).expect("the key was checked when it was parsed"))
            }
            MemberKeyKind::X25519 | MemberKeyKind::XWing => None,
        }
    }
}

/// A member's private key, on the member's own machine. Wiped when dropped.
pub struct MemberSecretKey {
    seed: SecretKey,
    public: MemberPublicKey,
}

impl MemberSecretKey {
    /// A new random key.
    pub fn generate(kind: MemberKeyKind, rng: &mut impl CryptoRng) -> Self {
        Self::from_seed(kind, SecretKey::generate(rng))
    }

    /// The key of 32 secret bytes: an Ed25519 seed (RFC 8032), an X25519 private key, or an X-Wing seed.
    pub fn from_seed(kind: MemberKeyKind, seed: SecretKey) -> Self {
        let bytes = match kind {
            MemberKeyKind::Ed25519 => {
                SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes().to_vec()
            }
            MemberKeyKind::X25519 => {
                kem::public(PublicSuite::X25519, &seed).expect("any 32 bytes are an X25519 private key")
            }
            MemberKeyKind::XWing => {
                kem::public(PublicSuite::XWing, &seed).expect("any 32 bytes are an X-Wing private key")
            }
        };
        Self { seed, public: MemberPublicKey { kind, bytes } }
    }

    /// Its public half.
    pub fn public(&self) -> &MemberPublicKey {
        &self.public
    }

    /// A signature by an Ed25519 key; other kinds cannot sign.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        match self.public.kind {
            MemberKeyKind::Ed25519 => {
                Some(SigningKey::from_bytes(self.seed.expose()).sign(message).to_bytes())
            }
            MemberKeyKind::X25519 | MemberKeyKind::XWing => None,
        }
    }

    #[cfg(any(test, feature = "key-files"))]
    pub(crate) fn seed(&self) -> &SecretKey {
        &self.seed
    }

    /// The HPKE private key. Ed25519: the first half of SHA-512 over the seed (RFC 8032 section 5.1.5), which
    /// X25519 clamps itself.
    pub(crate) fn recipient(&self) -> (PublicSuite, SecretKey) {
        match self.public.kind {
            MemberKeyKind::Ed25519 => {
                let hash = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(self.seed.expose())));
                let half = hash.first_chunk().expect("64 bytes begin with 32");
                (PublicSuite::X25519, SecretKey::from_bytes(half))
            }
            MemberKeyKind::X25519 => (PublicSuite::X25519, self.seed.duplicate()),
            MemberKeyKind::XWing => (PublicSuite::XWing, self.seed.duplicate()),
        }
    }
}

fn exactly<const N: usize>(bytes: &[u8], expected: usize) -> Result<&[u8; N], PublicKeyError> {
    bytes.try_into().map_err(|_| PublicKeyError::WrongLength { found: bytes.len(), expected })
}

/// SHA-256 over LP(kind) ‖ LP(bytes).
pub(crate) fn fingerprint(kind: MemberKeyKind, bytes: &[u8]) -> Fingerprint {
    let mut lp = Lp::new();
    lp.text(kind.as_str()).bytes(bytes);
    Fingerprint::new(Sha256::digest(lp.as_bytes()).into())
}

/// An X-Wing key whose halves were both looked at.
pub(crate) fn checked_xwing(bytes: &[u8]) -> Result<XWingKey, PublicKeyError> {
    let key: &[u8; XWING_PUBLIC_BYTES] = exactly(bytes, XWING_PUBLIC_BYTES)?;
    check_x25519(key.last_chunk().expect("1216 bytes end in 32"))?;
    XWingKey::parse(key).ok_or(PublicKeyError::NotAKey)
}

/// The canonical u-coordinates of small order, of Curve25519 and of its twist: of order 1 or 2 (0), of order 4 (1 and,
/// on the twist, −1), and the two of order 8 (<https://cr.yp.to/ecdh.html#validate>).
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = PRIME;
        minus_one[0] -= 1;
        minus_one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

/// 2^255 − 19, little-endian.
const PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// Refuses u-coordinates of small order and those that are not below the prime (RFC 7748 section 5 would reduce
/// them silently, and one key would have several fingerprints). By comparison: a ladder would cost the broker as much
/// as the key agreement itself.
fn check_x25519(bytes: &[u8; 32]) -> Result<(), PublicKeyError> {
    if bytes.iter().rev().ge(PRIME.iter().rev()) {
        return Err(PublicKeyError::NotAKey);
    }
    if SMALL_ORDER.contains(bytes) {
        return Err(PublicKeyError::Weak);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::{constants::EIGHT_TORSION, montgomery::MontgomeryPoint};
    use proptest::prelude::*;

    /// Every clamped scalar is a multiple of the cofactor: it takes exactly the points of small order to zero.
    fn of_small_order(u: &[u8; 32]) -> bool {
        MontgomeryPoint(*u).mul_clamped([0; 32]).to_bytes() == [0; 32]
    }

    #[test]
    fn the_list_of_weak_keys_is_that_of_the_curve_and_of_its_twist() {
        for weak in &SMALL_ORDER {
            assert!(of_small_order(weak), "{weak:?}");
        }
        for point in EIGHT_TORSION {
            assert!(SMALL_ORDER.contains(&point.to_montgomery().to_bytes()));
        }
    }

    proptest! {
        #[test]
        fn a_key_is_weak_just_when_a_clamped_scalar_takes_it_to_zero(
            key in prop_oneof![any::<[u8; 32]>(), proptest::sample::select(SMALL_ORDER.to_vec())],
        ) {
            let canonical = check_x25519(&key) != Err(PublicKeyError::NotAKey);
            prop_assert_eq!(check_x25519(&key) == Err(PublicKeyError::Weak), canonical && of_small_order(&key));
        }
    }
}
