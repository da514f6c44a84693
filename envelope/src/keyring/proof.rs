//! Whether a member holds the key that it brings.

use super::OpenKeyring;
use coffer_keys::acceptance::{Acceptance, ProofError, encode_challenge};
use coffer_keys::member_key::MemberKeyKind;
use rand_core::CryptoRng;

impl OpenKeyring {
    /// `VaultMember.status.challenge` for a key that cannot sign; `None` for Ed25519, which proves itself by a
    /// signature. Another text at each call, all of them answered by the same proof.
    pub fn challenge(&self, acceptance: &Acceptance<'_>, rng: &mut impl CryptoRng) -> Option<String> {
        match acceptance.public_key.kind() {
            MemberKeyKind::Ed25519 => None,
            MemberKeyKind::X25519 | MemberKeyKind::XWing => {
                Some(encode_challenge(&acceptance.challenge(&self.key, rng)))
            }
        }
    }

    /// Checks the proof that a member holds the key it brings, whichever kind it is.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check_proof(&self, acceptance: &Acceptance<'_>, proof: &str) -> Result<(), ProofError> {
        if acceptance.vault_id != self.vault_id {
            return Err(ProofError::DoesNotHold);
        }
        match acceptance.public_key.kind() {
            MemberKeyKind::Ed25519 => acceptance.verify(proof),
            MemberKeyKind::X25519 | MemberKeyKind::XWing => {
                let answered = acceptance.verify_answer(&self.key, proof);
                // Who was asked before the root was turned over answers what they were asked.
                let mut others = self.keys_of_other_roots();
                if others.any(|key| acceptance.verify_answer(&key, proof).is_ok()) {
                    Ok(())
                } else {
                    answered
                }
            }
        }
    }
}
