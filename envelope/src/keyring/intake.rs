//! What users seal to, and opening what they sealed.

use super::OpenKeyring;
use crate::encoding::number;
use crate::error::KeyringError;
use crate::signed;
use coffer_crds::IntakeKey;
use coffer_keys::intake::{InputContext, sealed_to};
use coffer_keys::{FormatError, Kid, OpenError, SecretBytes};

impl OpenKeyring {
    /// `Vault.status.intakeKey`: the newest intake key, signed. The same at every call.
    ///
    /// # Errors
    /// [`KeyringError::UnknownGeneration`] when its root is no longer held.
    pub fn intake_key(&self) -> Result<IntakeKey, KeyringError> {
        let newest = self
            .intake
            .last()
            .ok_or(FormatError::malformed("intakeGenerations", "are none; there is always one"))?;
        let root = self.custodian.held_root(number("intakeGenerations.root", newest.root)?)?;
        let generation = number("intakeGenerations.generation", newest.generation)?;
        let secret = root.intake_key(&self.vault_id, generation);
        let public = secret.public();
        let signature = self.signing.sign(&signed::intake(self.vault_id, public));
        Ok(IntakeKey {
            kid: public.kid().to_string(),
            public_key: public.to_base64(),
            signature: signed::encode(&signature),
        })
    }

    /// Opens sealed input with the intake key that it names, if the Keyring still lists it.
    ///
    /// # Errors
    /// [`KeyringError`]: malformed bytes and a root that is not held by name, everything else as one.
    pub fn open_sealed(&self, context: &InputContext<'_>, bytes: &[u8]) -> Result<SecretBytes, KeyringError> {
        let Kid::Intake { root, generation } = sealed_to(bytes)? else { return Err(OpenError.into()) };
        // Told apart from all else: there is something to be done about it.
        let held = self.custodian.held_root(root)?;
        let is_listed = self.intake.iter().any(|intake| {
            u64::try_from(intake.root) == Ok(root) && u64::try_from(intake.generation) == Ok(generation)
        });
        if !is_listed || context.vault_id != self.vault_id {
            return Err(OpenError.into());
        }
        Ok(held.intake_key(&self.vault_id, generation).open(context, bytes)?)
    }
}
