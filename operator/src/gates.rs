//! Keeps the sealing of Connections and the turning of a vault's epochs apart.
//!
//! What a Connection's plan seals depends on the epochs that it saw. Were the Keyring to change between the plan and its
//! write, a value could be written under a key that a member, removed a moment ago, knows; or under one that is about
//! to be dropped. So a look at a Connection holds its vault's gate from the reading of facts to the last write, and
//! the two writes that begin or switch an epoch pass it alone. That one process leads at a time is the Lease's matter.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::{cache::Key, rotation::Step};

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

    /// Passed alone, when a step is one that what is being sealed depends on.
    pub async fn turning(&self, vault: &Key, step: Option<Step>) -> Option<OwnedRwLockWriteGuard<()>> {
        match step {
            Some(Step::Begin | Step::Switch) => Some(self.of(vault).write_owned().await),
            Some(Step::Rest | Step::Finish) | None => None,
        }
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
    async fn an_epoch_begins_when_what_was_being_sealed_is_written_and_the_next_waits_for_it() {
        let (gates, vault) = (Gates::default(), Key::new("ns", "a"));
        let first = gates.sealing(&vault).await;
        let second = gates.sealing(&vault).await;
        assert!(gates.turning(&vault, Some(Step::Finish)).await.is_none(), "finishing waits for nobody");
        let mut turning = Box::pin(gates.turning(&vault, Some(Step::Begin)));
        assert!((&mut turning).now_or_never().is_none());
        let other = gates.turning(&Key::new("ns", "b"), Some(Step::Switch)).await;
        assert!(other.is_some(), "another vault's gate is another");
        drop((first, second));
        let turning = turning.await;
        assert!(turning.is_some());
        let mut third = Box::pin(gates.sealing(&vault));
        assert!((&mut third).now_or_never().is_none());
        drop(turning);
        drop(third.await);
    }
}
