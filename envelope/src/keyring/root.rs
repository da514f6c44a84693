//! The custodian root that a Keyring is wrapped under, and the way to a newer one.

use super::{OpenKeyring, signed_number};
use crate::encoding::wrap;
use crate::error::EnvelopeError;
use coffer_crds::IntakeGeneration;
use coffer_keys::hierarchy::{self, CustodianRoot};
use coffer_keys::wrap::WrappingKey;
use coffer_keys::{Kid, OpenError};
use rand_core::CryptoRng;

/// How many intake generations are kept: what their schema allows.
const MAX_INTAKE: usize = 64;

impl OpenKeyring {
    /// The generation of the custodian root that wraps this Keyring's keys.
    pub fn root_generation(&self) -> u64 {
        self.root
    }

    /// Whether the custodian holds a newer root than the one that wraps these keys.
    pub fn is_behind_root(&self) -> bool {
        self.custodian.newest_root() > self.root
    }

    /// Goes to the newest root: the signing key and every epoch's vault key, the same as before, are wrapped under its
    /// custodian key, and users seal to an intake key of it from now on. What was sealed to older ones opens as long as
    /// their roots are held. Does nothing when it is there already.
    pub fn rewrap(&mut self, rng: &mut impl CryptoRng) {
        let newest = self.custodian.newest_root();
        let key = self.custodian.root(newest).filter(|_| newest > self.root);
        let Some(key) = key.map(|root| root.custodian_key(&self.vault_id)) else { return };
        self.signing_wrap = wrap(&hierarchy::wrap_signing_key(&key, self.vault_id, &self.signing, rng));
        for epoch in self.epochs.values_mut() {
            let wrapped = epoch.key.wrap_for_custodian(&key, self.vault_id, self.signing.public(), rng);
            epoch.entry.wrapped = wrap(&wrapped);
        }
        self.add_intake(newest);
        (self.key, self.root) = (key, newest);
        self.changed = true;
    }

    /// Adds the next intake generation, of this root. Where there is no room, one goes that opens nothing any more because
    /// its root is gone, else the oldest.
    fn add_intake(&mut self, root: u64) {
        let next = self.intake.last().map_or(0, |newest| newest.generation) + 1;
        while self.intake.len() >= MAX_INTAKE {
            let held = |root: i64| u64::try_from(root).is_ok_and(|root| self.custodian.root(root).is_some());
            let useless = self.intake.iter().position(|intake| !held(intake.root)).unwrap_or(0);
            self.intake.remove(useless);
        }
        self.intake.push(IntakeGeneration { root: signed_number(root), generation: next });
    }

    /// The custodian's wrapping key that a slot names, if it is of another root than the Keyring's own.
    pub(crate) fn key_of_another_root(&self, kid: &str) -> Result<Option<WrappingKey>, EnvelopeError> {
        let Kid::Custodian(root) = Kid::parse(kid)? else { return Err(OpenError.into()) };
        if root == self.root {
            return Ok(None);
        }
        let held = self.custodian.root(root).ok_or(EnvelopeError::UnknownRoot(root))?;
        Ok(Some(held.custodian_key(&self.vault_id)))
    }

    /// The custodian's wrapping key of this vault under every root that is held but the Keyring's own.
    pub(super) fn keys_of_other_roots(&self) -> impl Iterator<Item = WrappingKey> {
        let others = self.custodian.root_generations().filter(|root| *root != self.root);
        let others = others.filter_map(|root| self.custodian.root(root));
        others.map(|root: &CustodianRoot| root.custodian_key(&self.vault_id))
    }
}
