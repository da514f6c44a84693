//! Doors whose requests are objects: what the watch sees, and who attends to each.

use crate::{
    audit::{Actor, ActorKind},
    facts::Key,
};
use coffer_policy::Caller;
use coffer_runtime::{Readiness, Shutdown, Store, StoreOptions, store::Watchable, store::observed_store};
use kube::{Api, ResourceExt as _, runtime::watcher::Event};
use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::{self, JoinSet},
};

/// How long after a write that failed the object is looked at again.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

/// What a watch saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This object, by its uid, is there or has changed.
    One(Key, String),
    /// The list was made anew: any may be there.
    All,
}

/// Starts the watch of a kind, of which `slim` takes out what nobody looks at; what it sees comes out of the channel.
pub(super) fn watch<K: Watchable<DynamicType = ()>>(
    client: &kube::Client,
    slim: fn(&mut K),
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> (Store<K>, mpsc::UnboundedReceiver<Seen>) {
    let (seen, receiver) = mpsc::unbounded_channel();
    let store = observed_store(
        Api::all(client.clone()),
        StoreOptions::slim(slim),
        readiness,
        shutdown,
        move |event| {
            let saw = match event {
                Event::Apply(request) => request.uid().map(|uid| Seen::One(Key::of(request), uid)),
                Event::InitDone => Some(Seen::All),
                Event::Init | Event::InitApply(_) | Event::Delete(_) => None,
            };
            // Nobody listens any more once the program ends.
            let _ = saw.map(|saw| seen.send(saw));
        },
    );
    (store, receiver)
}

/// A door whose requests are objects.
pub(super) trait Attends: Send + Sync + 'static {
    /// Their kind.
    type Request: Watchable<DynamicType = ()>;

    /// Those that there are.
    fn requests(&self) -> &Store<Self::Request>;

    /// Whether there is something to do about one.
    fn is_open(&self, key: &Key, uid: &str) -> bool;

    /// Sees to it that one is answered.
    fn attend(&self, key: &Key, uid: &str) -> impl Future<Output = ()> + Send;
}

/// Answers what is seen, once this program is ready and until the end is asked for.
pub(super) async fn attend_to_all<D: Attends>(
    door: Arc<D>,
    readiness: Readiness,
    mut seen: mpsc::UnboundedReceiver<Seen>,
    shutdown: Shutdown,
) {
    // Before, members and Connections that are there would be told to be absent. What is seen waits in the channel.
    while !readiness.is_ready() {
        if shutdown.or_requested(tokio::time::sleep(AGAIN)).await.is_none() {
            return;
        }
    }
    let mut attending = Attending::default();
    let mut end = std::pin::pin!(shutdown.requested());
    loop {
        tokio::select! {
            () = &mut end => return,
            () = attending.next_end() => {}
            saw = seen.recv() => match saw {
                Some(Seen::One(key, uid)) => attending.add(&door, key, uid),
                Some(Seen::All) => {
                    for request in door.requests().state() {
                        if let Some(uid) = request.uid() {
                            attending.add(&door, Key::of(request.as_ref()), uid);
                        }
                    }
                }
                None => return,
            },
        }
    }
}

/// The tasks that attend to one request each.
#[derive(Default)]
struct Attending {
    tasks: JoinSet<()>,
    uids: HashSet<String>,
    by_task: HashMap<task::Id, String>,
}

impl Attending {
    fn add<D: Attends>(&mut self, door: &Arc<D>, key: Key, uid: String) {
        if self.uids.contains(&uid) || !door.is_open(&key, &uid) {
            return;
        }
        let (door, whose) = (door.clone(), uid.clone());
        let task = self.tasks.spawn(async move { door.attend(&key, &whose).await });
        self.uids.insert(uid.clone());
        self.by_task.insert(task.id(), uid);
    }

    /// Waits for a task to end; for ever while there is none.
    async fn next_end(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                tracing::error!(%error, "a request was not attended to");
                error.id()
            }
        };
        if let Some(uid) = self.by_task.remove(&id) {
            self.uids.remove(&uid);
        }
    }
}

/// A requester, as admission stamped it and the API server's own policy checked, for the audit log.
pub(super) fn actor(caller: &Caller) -> Actor {
    let kind = match caller.service_account() {
        Some(_) => ActorKind::ServiceAccount,
        None => ActorKind::User,
    };
    Actor { kind, name: Some(caller.username.clone()), uid: caller.uid.clone(), ..Actor::ANONYMOUS }
}
