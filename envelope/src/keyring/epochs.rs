//! The epochs of an opened Keyring: which keys it holds, which one writes use, and why each began.

use super::{OpenEpoch, OpenKeyring};
use crate::encoding::{whole_seconds, wrap};
use crate::error::KeyringError;
use coffer_crds::{Epoch, EpochCause};
use coffer_keys::hierarchy::VaultKey;
use jiff::Timestamp;
use rand_core::CryptoRng;
use std::collections::BTreeSet;

/// How many causes of an epoch are kept: what its schema allows.
const MAX_CAUSES: usize = 4096;

impl OpenKeyring {
    /// The epoch that writes use.
    pub fn current(&self) -> i64 {
        self.current
    }

    /// The newest epoch whose key is held: the current one, or the one that waits to take its place.
    pub fn newest(&self) -> i64 {
        self.epochs.last_key_value().map_or(self.current, |(epoch, _)| *epoch)
    }

    /// The oldest epoch whose key is held: something may still be sealed in it.
    pub fn oldest(&self) -> i64 {
        self.epochs.first_key_value().map_or(self.current, |(epoch, _)| *epoch)
    }

    /// Every epoch whose key is held, oldest first.
    pub fn epochs(&self) -> impl Iterator<Item = &Epoch> {
        self.epochs.values().map(|epoch| &epoch.entry)
    }

    /// Adds the next epoch beside the others, with a new vault key; [`OpenKeyring::set_current`] makes it current.
    ///
    /// An epoch that was added before and never became current goes: nothing is sealed in it, and whoever the new one
    /// is to shut out may know its key. Its causes are the new one's too; its number is not used again.
    pub fn add_epoch(
        &mut self,
        causes: impl IntoIterator<Item = EpochCause>,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> i64 {
        self.add_epoch_from(self.newest() + 1, causes, now, rng)
    }

    /// [`OpenKeyring::add_epoch`], under a number that no epoch had yet.
    pub(super) fn add_epoch_from(
        &mut self,
        next: i64,
        causes: impl IntoIterator<Item = EpochCause>,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> i64 {
        let waiting = self.epochs.split_off(&(self.current + 1));
        let mut all: BTreeSet<EpochCause> =
            waiting.into_values().flat_map(|epoch| epoch.entry.causes).collect();
        all.extend(causes);
        self.insert_epoch(next, all.into_iter().take(MAX_CAUSES).collect(), now, rng);
        next
    }

    /// Makes the key of an epoch.
    pub(super) fn insert_epoch(
        &mut self,
        epoch: i64,
        causes: Vec<EpochCause>,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) {
        let unsigned = u64::try_from(epoch).expect("epochs count up from 1");
        let key = VaultKey::generate(unsigned, rng);
        let wrapped = key.wrap_for_custodian(&self.key, self.vault_id, self.signing.public(), rng);
        let entry = Epoch { epoch, created_at: whole_seconds(now).into(), wrapped: wrap(&wrapped), causes };
        self.epochs.insert(epoch, OpenEpoch { key, entry });
        self.changed = true;
    }

    /// Makes an epoch the one that writes use. It never goes back.
    ///
    /// # Errors
    /// [`KeyringError::UnknownEpoch`] when the epoch is not in the Keyring or is older than the current one.
    pub fn set_current(&mut self, epoch: i64) -> Result<(), KeyringError> {
        if !self.epochs.contains_key(&epoch) || epoch < self.current {
            return Err(KeyringError::UnknownEpoch(epoch));
        }
        self.changed |= self.current != epoch;
        self.current = epoch;
        Ok(())
    }

    /// Drops every older epoch that is not to be kept, the current one and what waits never.
    pub fn retain_epochs(&mut self, keep: impl Fn(i64) -> bool) {
        let before = self.epochs.len();
        let current = self.current;
        self.epochs.retain(|epoch, _| *epoch >= current || keep(*epoch));
        self.changed |= self.epochs.len() != before;
    }

    /// Drops every epoch older than `epoch`, the current one never.
    pub fn drop_epochs_before(&mut self, epoch: i64) {
        let oldest = epoch.min(self.current);
        let before = self.epochs.len();
        self.epochs.retain(|epoch, _| *epoch >= oldest);
        self.changed |= self.epochs.len() != before;
    }
}
