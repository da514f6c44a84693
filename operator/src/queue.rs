//! What waits to be reconciled. While this process does not lead nothing waits: whoever becomes leader looks at
//! everything anyway.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use coffer_crds::{Connection, Vault};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::{cache::Key, triggers::Touched};

/// The two queues, and the Vaults whose counts are to be looked at a moment later.
#[derive(Default)]
pub struct Queues {
    open: Mutex<Option<Senders>>,
    counts: Mutex<BTreeSet<Key>>,
    counts_wanted: Notify,
    list_complete: Notify,
}

struct Senders {
    vaults: UnboundedSender<ObjectRef<Vault>>,
    connections: UnboundedSender<ObjectRef<Connection>>,
}

/// The reading ends. The controllers that read them take each name once, however often it was queued.
pub struct Receivers {
    /// Vaults to reconcile.
    pub vaults: UnboundedReceiver<ObjectRef<Vault>>,
    /// Connections to reconcile.
    pub connections: UnboundedReceiver<ObjectRef<Connection>>,
}

impl Queues {
    /// Opens the queues for a leader; the reading ends of a former one get no more.
    pub fn open(&self) -> Receivers {
        let (vaults, vault_receiver) = unbounded_channel();
        let (connections, connection_receiver) = unbounded_channel();
        *locked(&self.open) = Some(Senders { vaults, connections });
        Receivers { vaults: vault_receiver, connections: connection_receiver }
    }

    /// Closes the queues: this process does not lead any more.
    pub fn close(&self) {
        *locked(&self.open) = None;
        locked(&self.counts).clear();
    }

    /// Queues what a change concerns.
    pub fn add(&self, touched: &Touched) {
        let open = locked(&self.open);
        let Some(senders) = open.as_ref() else { return };
        // A send fails only when its controller is gone, and then another leader, or the next term, looks at all.
        for vault in &touched.vaults {
            let _ = senders.vaults.send(vault.to_ref());
        }
        for connection in &touched.connections {
            let _ = senders.connections.send(connection.to_ref());
        }
        if !touched.counts.is_empty() {
            locked(&self.counts).extend(touched.counts.iter().cloned());
            self.counts_wanted.notify_one();
        }
    }

    /// Resolves when there are counts to look at.
    pub async fn counts_wanted(&self) {
        self.counts_wanted.notified().await;
    }

    /// Queues the Vaults whose counts are to be looked at.
    pub fn flush_counts(&self) {
        let vaults = std::mem::take(&mut *locked(&self.counts));
        self.add(&Touched { vaults, ..Touched::default() });
    }

    /// Tells that one more cache holds a complete list.
    pub fn list_completed(&self) {
        self.list_complete.notify_waiters();
        self.list_complete.notify_one();
    }

    /// Resolves when a cache has got a complete list since the last call.
    pub async fn list_complete(&self) {
        self.list_complete.notified().await;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder makes one change that cannot be half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(name: &str) -> BTreeSet<Key> {
        BTreeSet::from([Key::new("ns", name)])
    }

    #[tokio::test]
    async fn a_standby_queues_nothing_and_a_leader_gets_what_is_queued_after_it_was_elected() {
        let queues = Queues::default();
        queues.add(&Touched { vaults: vault("before"), ..Touched::default() });
        let mut receivers = queues.open();
        queues.add(&Touched { vaults: vault("a"), ..Touched::default() });
        assert_eq!(receivers.vaults.recv().await.map(|found| found.name), Some(String::from("a")));
        queues.close();
        assert!(receivers.vaults.recv().await.is_none(), "closed");
    }

    #[tokio::test]
    async fn counts_are_looked_at_once_however_often_they_changed() {
        let queues = Queues::default();
        let mut receivers = queues.open();
        for _ in 0..100 {
            queues.add(&Touched { counts: vault("a"), ..Touched::default() });
        }
        queues.counts_wanted().await;
        queues.flush_counts();
        assert!(receivers.vaults.try_recv().is_ok());
        assert!(receivers.vaults.try_recv().is_err());
    }
}
