//! Keeps the sealing of Connections and the turning of a vault's epochs apart.
//!
//! What a Connection's plan seals, and for whom, depends on the Keyring that it saw. Were that to change between the plan
//! and its write, a value could be written for a member that was removed a moment ago, or under a key that it knows. So a
//! look at a Connection holds its vault's gate from the reading of facts to the last write, and each write of the
//! Keyring passes it alone. That one process leads at a time is the Lease's matter.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::cache::Key;

/// One gate for each vault.
#[derive(Default)]
pub struct Gates {
    gates: Mutex<HashMap<Key, Arc<RwLock<()>>>>,
}

impl Gates {
    /// Passed together with others that seal for the same vault.
    pub async fn sealing(&self, vault: &Key) -> OwnedRwLockReadGuard<()> {
        self.of(vault).read_owned().await
    }

    /// Passed alone.
    pub async fn turning(&self, vault: &Key) -> OwnedRwLockWriteGuard<()> {
        self.of(vault).write_owned().await
    }

    /// Forgets the gate of a vault that is gone. Whoever is in it still has it.
    pub fn forget_one(&self, vault: &Key) {
        self.locked().remove(vault);
    }

    fn of(&self, vault: &Key) -> Arc<RwLock<()>> {
        self.locked().entry(vault.clone()).or_default().clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<RwLock<()>>>> {
        // Each holder makes one change that cannot be half done.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_keyring_is_written_when_what_was_being_sealed_is_and_the_next_waits_for_it() {
        let (gates, vault) = (Gates::default(), Key::new("ns", "a"));
        let first = gates.sealing(&vault).await;
        let second = gates.sealing(&vault).await;
        let mut turning = Box::pin(gates.turning(&vault));
        assert!((&mut turning).now_or_never().is_none());
        drop(gates.turning(&Key::new("ns", "b")).await);
        drop((first, second));
        let turning = turning.await;
        let mut third = Box::pin(gates.sealing(&vault));
        assert!((&mut third).now_or_never().is_none());
        drop(turning);
        drop(third.await);
    }
}
