//! A Keyring that comes back from a backup: its Vault and its members are other objects than those it was written for.

use super::OpenKeyring;
use coffer_crds::{EpochCause, limits::MAX_FORMER_UIDS};
use jiff::Timestamp;
use rand_core::CryptoRng;

impl OpenKeyring {
    /// Binds the Keyring to another Vault object, which the caller has found to be allowed: every Envelope from before
    /// is to be adopted, so a new epoch is added, numbered by the Unix time. That is above all that clients may have
    /// seen of this vault, whatever was written after the backup was made.
    pub fn adopt(
        &mut self,
        vault_uid: &str,
        causes: impl IntoIterator<Item = EpochCause>,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> i64 {
        vault_uid.clone_into(&mut self.vault_uid);
        let next = (self.newest() + 1).max(now.as_second());
        let epoch = self.add_epoch_from(next, causes, now, rng);
        self.restored = Some(epoch);
        self.changed = true;
        epoch
    }

    /// The epoch that began when the Keyring was bound to its present Vault, if it was bound to another before.
    pub fn restored_epoch(&self) -> Option<i64> {
        self.restored
    }

    /// Binds a member's entry to another VaultMember object, which the caller has found to be the same member. Whoever
    /// is not in the register stays out of it.
    pub fn rebind(&mut self, name: &str, uid: &str) {
        let Some(entry) = self.members.iter_mut().find(|entry| entry.name == name && entry.uid != uid) else {
            return;
        };
        let before = std::mem::replace(&mut entry.uid, uid.to_owned());
        entry.former_uids.push(before);
        let forgotten = entry.former_uids.len().saturating_sub(MAX_FORMER_UIDS);
        entry.former_uids.drain(..forgotten);
        self.changed = true;
    }

    /// The uid that a member has now of whom something speaks that was sealed before a restore. Anybody else's is given
    /// back as it is.
    pub fn present_uid<'a>(&'a self, name: &str, uid: &'a str) -> &'a str {
        let entry = self.member(name).filter(|entry| entry.former_uids.iter().any(|former| former == uid));
        entry.map_or(uid, |entry| &entry.uid)
    }
}
