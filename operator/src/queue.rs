//! What waits to be reconciled. While this process does not lead nothing waits: whoever becomes leader looks at
//! everything anyway.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use coffer_crds::{Connection, Vault};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::{cache::Key, triggers::Touched};

/// The two queues, the Vaults whose counts are to be looked at a moment later, and the Connections whose turn to be
/// sealed anew comes when others have been.
#[derive(Default)]
pub struct Queues {
    open: Mutex<Option<Senders>>,
    resealing: Mutex<Resealing>,
    counts: Mutex<BTreeSet<Key>>,
    counts_wanted: Notify,
    list_complete: Notify,
}

struct Senders {
    vaults: UnboundedSender<ObjectRef<Vault>>,
    connections: UnboundedSender<ObjectRef<Connection>>,
}

/// Connections of turn-overs. One at a time: the controller has room for more, which is for whatever people do meanwhile,
/// and so has the API server, which several at once would keep busy (`docs/performance.md`).
#[derive(Default)]
struct Resealing {
    /// Of turn-overs after which somebody is not to know what the keys before open.
    urgent: VecDeque<Key>,
    /// Of the others.
    waiting: VecDeque<Key>,
    running: Option<Key>,
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
        *locked(&self.resealing) = Resealing::default();
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
        if !touched.resealed.is_empty() || !touched.renewed.is_empty() {
            let mut resealing = locked(&self.resealing);
            resealing.add(touched);
            resealing.start(senders);
        }
        if !touched.counts.is_empty() {
            locked(&self.counts).extend(touched.counts.iter().cloned());
            self.counts_wanted.notify_one();
        }
    }

    /// A Connection has been looked at: if a turn-over waited for it, the next one's turn has come.
    pub fn looked_at(&self, connection: &Key) {
        let open = locked(&self.open);
        let Some(senders) = open.as_ref() else { return };
        let mut resealing = locked(&self.resealing);
        if resealing.running.as_ref() == Some(connection) {
            resealing.running = None;
            resealing.start(senders);
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

impl Resealing {
    fn add(&mut self, touched: &Touched) {
        let urgent: BTreeSet<Key> = self.urgent.iter().cloned().collect();
        self.urgent.extend(touched.resealed.difference(&urgent).cloned());
        self.waiting.retain(|key| !touched.resealed.contains(key));
        let known: BTreeSet<Key> = self.urgent.iter().chain(&self.waiting).cloned().collect();
        self.waiting.extend(touched.renewed.difference(&known).cloned());
    }

    fn start(&mut self, senders: &Senders) {
        if self.running.is_none() {
            self.running = self.urgent.pop_front().or_else(|| self.waiting.pop_front());
            if let Some(next) = &self.running {
                let _ = senders.connections.send(next.to_ref());
            }
        }
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

    /// Issue 6 §1: a turn-over throttles itself so that other work keeps going.
    #[tokio::test]
    async fn a_turn_over_of_a_thousand_connections_leaves_room_for_others_and_comes_to_its_end() {
        let queues = Queues::default();
        let mut receivers = queues.open();
        let all: BTreeSet<Key> = (0..1000).map(|n| Key::new("ns", format!("c{n}"))).collect();
        queues.add(&Touched { resealed: all.clone(), ..Touched::default() });
        queues.add(&Touched { resealed: all.clone(), ..Touched::default() });
        let other = Key::new("ns", "other");
        queues.add(&Touched { connections: [other.clone()].into(), ..Touched::default() });
        let mut queued = || receivers.connections.try_recv().ok().map(|next| Key::new("ns", next.name));
        let first = queued();
        assert_eq!(queued(), Some(other.clone()), "one of them, then the other");
        queues.looked_at(&other);
        assert_eq!(queued(), None, "it was none of them");
        let (mut done, mut running) = (BTreeSet::new(), first);
        while let Some(key) = running {
            queues.looked_at(&key);
            done.insert(key);
            running = queued();
            assert_eq!(queued(), None, "one at a time");
        }
        assert_eq!(done, all);
    }

    /// A new root for every vault keeps no removal waiting, and what both concern is not looked at twice.
    #[tokio::test]
    async fn whoever_was_removed_goes_before_what_only_grew_old() {
        let keys = |names: &[&str]| names.iter().map(|name| Key::new("ns", *name)).collect::<BTreeSet<_>>();
        let queues = Queues::default();
        let mut receivers = queues.open();
        queues.add(&Touched { renewed: keys(&["a", "b", "c", "d"]), ..Touched::default() });
        queues.add(&Touched { resealed: keys(&["c", "x"]), ..Touched::default() });
        queues.add(&Touched { renewed: keys(&["c", "d", "e"]), ..Touched::default() });
        let mut seen = Vec::new();
        while let Ok(next) = receivers.connections.try_recv() {
            queues.looked_at(&Key::new("ns", &next.name));
            seen.push(next.name);
        }
        assert_eq!(seen, ["a", "c", "x", "b", "d", "e"]);
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
