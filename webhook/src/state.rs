//! What this program knows of the cluster: Vaults, VaultMembers, Connections and namespaces' labels, by watches.
//!
//! Everything here may be some milliseconds old. Decisions that would be different a moment later wait for it
//! ([`Directory::wait`]), so that one `kubectl apply` of a whole folder works on the first try.

mod tables;
mod watch;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

pub use tables::{Change, Claim, Key, Tables, named_vault};
pub use watch::watch_cluster;

/// What a look at the tables gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// Final.
    Settled(T),
    /// The answer, unless something written a moment ago is still on its way to this replica.
    Unless(T),
    /// The answer, unless what is being made now (by the operator) is finished.
    Until(T),
}

/// How long a request may be kept waiting. Both together stay far below the webhook's timeout of 10 s.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the watch to catch up with what was written before the request.
    pub lag: Duration,
    /// For the operator to finish what was written before the request.
    pub making: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lag: Duration::from_millis(500), making: Duration::from_secs(5) }
    }
}

/// The tables and the news of their changes. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    tables: Arc<RwLock<Tables>>,
    changed: tokio::sync::watch::Sender<u64>,
    patience: Patience,
}

impl Directory {
    /// Empty, to be filled by [`watch_cluster`] or [`Directory::change`].
    pub fn new(patience: Patience) -> Self {
        Self { tables: Arc::default(), changed: tokio::sync::watch::Sender::new(0), patience }
    }

    /// Reads the tables. `look` must be quick: writers wait for it.
    pub fn look<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        // A writer that panicked leaves at worst one object stale; the next event about it mends that.
        look(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in a change, and wakes whoever waits.
    pub fn change(&self, change: Change) {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).apply(change);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Looks again after every change until the answer is final or patience ends; then the last answer stands.
    pub async fn wait<T>(&self, mut look: impl FnMut(&Tables) -> Look<T>) -> T {
        let start = Instant::now();
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            let (answer, patience) = match self.look(&mut look) {
                Look::Settled(answer) => return answer,
                Look::Unless(answer) => (answer, self.patience.lag),
                Look::Until(answer) => (answer, self.patience.making),
            };
            match timeout_at(start + patience, changes.changed()).await {
                Ok(Ok(())) => {}
                // Time is up, or nobody can change anything any more.
                Ok(Err(_)) | Err(_) => return answer,
            }
        }
    }
}

#[cfg(test)]
mod tests;
