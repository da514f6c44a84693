//! The files in which people keep Ed25519 keys: OpenSSH's, with or without a passphrase, and PKCS #8 without one.

use super::{MemberKeyKind, MemberPublicKey, MemberSecretKey};
use crate::{SecretBytes, SecretKey};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use rand_core::CryptoRng;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::{Algorithm, LineEnding, PrivateKey, public};
use zeroize::Zeroizing;

/// Why a key file is not used. Never repeats anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Neither OpenSSH's form nor PKCS #8.
    #[error(
        "is no private key in OpenSSH's form ('BEGIN OPENSSH PRIVATE KEY') or PKCS #8 ('BEGIN PRIVATE KEY')"
    )]
    UnknownForm,
    /// The public half was given.
    #[error("is a public key; the private one usually lies beside it, without '.pub'")]
    PublicKey,
    /// Of another algorithm.
    #[error(
        "is a key of another algorithm than Ed25519; make one with ssh-keygen -t ed25519 or kubectl coffer key new"
    )]
    OtherAlgorithm,
    /// Held by a security key, which cannot decrypt.
    #[error(
        "is held by a security key, which signs but cannot decrypt, so nothing could be wrapped to it; make a software \
         key with ssh-keygen -t ed25519 or kubectl coffer key new"
    )]
    HardwareKey,
    /// Encrypted, and no passphrase was given.
    #[error("is protected by a passphrase")]
    NeedsPassphrase,
    /// The passphrase is another.
    #[error("does not open with this passphrase")]
    WrongPassphrase,
    /// Looks like a key file and cannot be read.
    #[error("is damaged")]
    Damaged,
}

/// Reads the public half of a key file, which needs no passphrase.
///
/// # Errors
/// [`KeyFileError`].
pub fn public_half(content: &[u8]) -> Result<MemberPublicKey, KeyFileError> {
    let text = std::str::from_utf8(content).map_err(|_| KeyFileError::UnknownForm)?.trim();
    if !text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        return MemberSecretKey::from_file(content, None).map(|key| key.public().clone());
    }
    let key = openssh(text)?;
    let public = key.public_key().key_data().ed25519().ok_or(KeyFileError::Damaged)?;
    MemberPublicKey::ed25519(&public.0).map_err(|_| KeyFileError::Damaged)
}

fn openssh(text: &str) -> Result<PrivateKey, KeyFileError> {
    let key = PrivateKey::from_openssh(text).map_err(|_| KeyFileError::Damaged)?;
    let algorithm = key.algorithm();
    if algorithm == Algorithm::SkEd25519 || algorithm == Algorithm::SkEcdsaSha2NistP256 {
        return Err(KeyFileError::HardwareKey);
    }
    if algorithm == Algorithm::Ed25519 { Ok(key) } else { Err(KeyFileError::OtherAlgorithm) }
}

impl MemberSecretKey {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError`]; [`KeyFileError::NeedsPassphrase`] when it wants one.
    pub fn from_file(content: &[u8], passphrase: Option<&[u8]>) -> Result<Self, KeyFileError> {
        let text = std::str::from_utf8(content).map_err(|_| KeyFileError::UnknownForm)?.trim();
        if text.starts_with("-----BEGIN PRIVATE KEY-----") {
            let key = SigningKey::from_pkcs8_pem(text).map_err(|_| KeyFileError::OtherAlgorithm)?;
            return Ok(Self::of_seed(&Zeroizing::new(key.to_bytes())));
        }
        if text.starts_with("ssh-")
            || text.starts_with("sk-")
            || text.starts_with("-----BEGIN PUBLIC KEY-----")
        {
            return Err(KeyFileError::PublicKey);
        }
        if !text.starts_with("-----BEGIN ") || !text.contains("PRIVATE KEY-----") {
            return Err(KeyFileError::UnknownForm);
        }
        if !text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
            // The older forms hold RSA, DSA and ECDSA keys only.
            return Err(KeyFileError::OtherAlgorithm);
        }
        let key = openssh(text)?;
        let key = match (key.is_encrypted(), passphrase) {
            (false, _) => key,
            (true, None) => return Err(KeyFileError::NeedsPassphrase),
            (true, Some(passphrase)) => key.decrypt(passphrase).map_err(|_| KeyFileError::WrongPassphrase)?,
        };
        let pair = key.key_data().ed25519().ok_or(KeyFileError::Damaged)?;
        let read = Self::of_seed(&Zeroizing::new(pair.private.to_bytes()));
        // The file holds both halves, and nothing says that they belong together.
        if read.public().as_bytes() == pair.public.0 { Ok(read) } else { Err(KeyFileError::Damaged) }
    }

    /// Writes a key file in OpenSSH's form, encrypted when there is a passphrase. `None` for a key of another kind
    /// than Ed25519, which that form cannot hold.
    pub fn to_file(
        &self,
        comment: &str,
        passphrase: Option<&[u8]>,
        rng: &mut impl CryptoRng,
    ) -> Option<SecretBytes> {
        let MemberKeyKind::Ed25519 = self.public().kind() else { return None };
        let pair = Ed25519Keypair {
            public: public::Ed25519PublicKey(self.public().as_bytes().try_into().ok()?),
            private: Ed25519PrivateKey::from_bytes(self.seed().expose()),
        };
        let key = PrivateKey::new(KeypairData::Ed25519(pair), comment).ok()?;
        let key = match passphrase {
            Some(passphrase) => key.encrypt(rng, passphrase).ok()?,
            None => key,
        };
        let text = key.to_openssh(LineEnding::LF).ok()?;
        Some(SecretBytes::new(text.as_bytes().to_vec()))
    }

    fn of_seed(seed: &[u8; 32]) -> Self {
        Self::from_seed(MemberKeyKind::Ed25519, SecretKey::from_bytes(seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbg::Drbg;

    fn rng() -> Drbg {
        Drbg::new("key files")
    }

    fn key() -> MemberSecretKey {
        MemberSecretKey::generate(MemberKeyKind::Ed25519, &mut rng())
    }

    #[test]
    fn a_key_comes_back_from_its_file_with_and_without_a_passphrase() {
        let key = key();
        for passphrase in [None, Some(&b"correct horse"[..])] {
            let file = key.to_file("alice", passphrase, &mut rng()).expect("an Ed25519 key");
            let read =
                MemberSecretKey::from_file(file.expose(), passphrase).map(|read| read.public().clone());
            assert_eq!(read.as_ref(), Ok(key.public()));
            assert_eq!(public_half(file.expose()).as_ref(), Ok(key.public()));
        }
    }

    #[test]
    fn a_passphrase_is_asked_for_and_checked() {
        let file = key().to_file("alice", Some(b"correct horse"), &mut rng()).expect("an Ed25519 key");
        let read = |passphrase| MemberSecretKey::from_file(file.expose(), passphrase).map(drop);
        assert_eq!(read(None), Err(KeyFileError::NeedsPassphrase));
        assert_eq!(read(Some(b"battery staple")), Err(KeyFileError::WrongPassphrase));
    }

    /// Made by `ssh-keygen -t ed25519 -N ''`, with what `ssh-keygen -lf` says of it.
    #[test]
    fn a_key_of_openssh_has_the_fingerprint_that_openssh_prints() {
        let file = include_bytes!("testdata/id_ed25519");
        let read = MemberSecretKey::from_file(file, None).expect("a key of ssh-keygen");
        let told = include_str!("testdata/fingerprint");
        assert_eq!(read.public().fingerprint().to_string(), told.trim());
        let line = include_str!("testdata/id_ed25519.pub");
        assert!(line.starts_with(&read.public().to_text()), "{line}");
    }

    #[test]
    fn what_is_no_private_key_for_this_is_called_by_its_name() {
        for (text, expected) in [
            ("", KeyFileError::UnknownForm),
            ("hello", KeyFileError::UnknownForm),
            ("ssh-ed25519 AAAA", KeyFileError::PublicKey),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", KeyFileError::PublicKey),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
                KeyFileError::OtherAlgorithm,
            ),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
                KeyFileError::Damaged,
            ),
        ] {
            let read = MemberSecretKey::from_file(text.as_bytes(), None).map(drop);
            assert_eq!(read, Err(expected), "{text}");
        }
    }
}
