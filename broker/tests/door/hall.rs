//! The people's door of several replicas, before an API server that keeps Releases and refuses stale writes.

use crate::world::World;
use coffer_broker::{
    doors::people::{Answers, PeopleDoor, Seen, Turns},
    facts::Key,
    limits::LocalWindows,
    peers::Peers,
};
use coffer_broker_api::people::{Answer, PendingRelease, Progress};
use coffer_crds::{Author, RateLimit, Release, ReleaseConnection, ReleaseStatus, RequestPhase};
use coffer_runtime::{CallError, Readiness, Shutdown};
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    ResourceExt as _,
    core::Status,
    runtime::{reflector, watcher::Event},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

/// Where Releases are kept, as far as replicas see it.
#[derive(Default)]
pub(crate) struct Shelf {
    kept: Mutex<BTreeMap<String, Release>>,
    watchers: Mutex<Vec<Watcher>>,
    version: AtomicUsize,
    changed: Notify,
    /// Every write that was taken, `claim replica` or `answer replica`, and every refused one.
    pub(crate) taken: Mutex<Vec<String>>,
    pub(crate) refused: Mutex<Vec<String>>,
    /// This replica's answers wait until it is let go on.
    pub(crate) held: Mutex<Option<String>>,
    pub(crate) let_go: Notify,
}

struct Watcher {
    writer: reflector::store::Writer<Release>,
    seen: mpsc::UnboundedSender<Seen>,
    is_dead: Arc<AtomicBool>,
}

impl Shelf {
    fn put(&self, mut release: Release) -> Release {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        release.metadata.resource_version = Some(version.to_string());
        self.kept.lock().unwrap().insert(release.name_any(), release.clone());
        for watcher in self.watchers.lock().unwrap().iter_mut() {
            watcher.writer.apply_watcher_event(&Event::Apply(release.clone()));
            if !watcher.is_dead.load(Ordering::SeqCst) {
                let _ = watcher.seen.send(Seen::One(Key::of(&release), release.uid().unwrap()));
            }
        }
        self.changed.notify_waiters();
        release
    }

    pub(crate) fn get(&self, name: &str) -> Release {
        self.kept.lock().unwrap()[name].clone()
    }

    fn write(
        &self,
        what: String,
        read: &Release,
        change: impl FnOnce(&mut ReleaseStatus),
    ) -> Result<Release, CallError> {
        let mut stored = self.get(&read.name_any());
        if stored.resource_version() != read.resource_version() {
            self.refused.lock().unwrap().push(what);
            let status = Status { code: 409, ..Status::default() };
            return Err(CallError::Kube(Box::new(kube::Error::Api(Box::new(status)))));
        }
        self.taken.lock().unwrap().push(what);
        change(stored.status.get_or_insert_default());
        Ok(self.put(stored))
    }
}

struct Clerk {
    shelf: Arc<Shelf>,
    replica: String,
    is_dead: Arc<AtomicBool>,
}

impl Answers for Clerk {
    fn claim<'a>(&'a self, read: &'a Release, replica: &'a str) -> BoxFuture<'a, Result<Release, CallError>> {
        Box::pin(async move {
            if self.is_dead.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            self.shelf.write(format!("claim {}", self.replica), read, |status| {
                status.phase = Some(RequestPhase::Claimed);
                status.answered_by = Some(replica.to_owned());
                status.message = None;
            })
        })
    }

    fn answer<'a>(
        &'a self,
        claimed: &'a Release,
        status: &'a ReleaseStatus,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            while self.shelf.held.lock().unwrap().as_ref() == Some(&self.replica) {
                self.shelf.let_go.notified().await;
            }
            self.shelf
                .write(format!("answer {}", self.replica), claimed, |stored| *stored = status.clone())?;
            Ok(())
        })
    }
}

/// An order that a test fixes.
struct Order(usize);

impl Peers for Order {
    fn before_us(&self, _: &str) -> usize {
        self.0
    }

    fn all(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// A world with people's doors.
pub(crate) struct Hall {
    pub(crate) world: World,
    pub(crate) shelf: Arc<Shelf>,
    shutdown: Shutdown,
    dead: Vec<Arc<AtomicBool>>,
    asked: AtomicUsize,
}

impl Hall {
    /// Replicas 0, 1, …, in the order in which they take things up. Each answers four Releases of one requester a minute.
    pub(crate) fn new(world: World, replicas: usize) -> Self {
        Self::starting(world, replicas, &Readiness::new())
    }

    /// The same in programs that are ready when this says so.
    pub(crate) fn starting(world: World, replicas: usize, readiness: &Readiness) -> Self {
        let (shelf, shutdown) = (Arc::<Shelf>::default(), Shutdown::new());
        let mut dead = Vec::new();
        for index in 0..replicas {
            let (releases, writer) = reflector::store();
            let (seen, receiver) = mpsc::unbounded_channel();
            let is_dead = Arc::<AtomicBool>::default();
            shelf.watchers.lock().unwrap().push(Watcher { writer, seen, is_dead: is_dead.clone() });
            let replica = format!("coffer-broker-{index}");
            let door = PeopleDoor {
                replica: replica.clone(),
                releases,
                peers: Box::new(Order(index)),
                answers: Box::new(Clerk { shelf: shelf.clone(), replica, is_dead: is_dead.clone() }),
                turns: Turns::new(4, 2),
                limit: RateLimit { count: 4, window_seconds: 60 },
                windows: LocalWindows::default(),
                releaser: world.door.releaser.clone(),
            };
            tokio::spawn(Arc::new(door).run(readiness.clone(), receiver, shutdown.clone()));
            dead.push(is_dead);
        }
        Self { world, shelf, shutdown, dead, asked: AtomicUsize::new(0) }
    }

    /// This replica sees and writes nothing from now on.
    pub(crate) fn kill(&self, replica: usize) {
        self.dead[replica].store(true, Ordering::SeqCst);
    }

    /// Creates a Release as this user; `change` stands for what admission stamps, and for what somebody may have forged.
    pub(crate) fn create(&self, pending: &PendingRelease, by: &str, change: impl FnOnce(&mut Release)) {
        let mut release = pending.object();
        release.metadata.uid = Some(format!("uid-{}", self.asked.fetch_add(1, Ordering::SeqCst)));
        release.metadata.creation_timestamp = Some(Time(crate::world::now()));
        let groups = vec!["devs".to_owned()];
        release.spec.requester = Some(Author { username: by.to_owned(), uid: None, groups });
        change(&mut release);
        self.shelf.put(release);
    }

    /// Waits until a Release is answered or failed.
    pub(crate) async fn finished(&self, pending: &PendingRelease) -> Release {
        let wait = async {
            loop {
                let changed = self.shelf.changed.notified();
                let release = self.shelf.get(pending.name());
                if !matches!(pending.progress(&release), Progress::Waiting(_)) {
                    return release;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
    }

    /// Asks as this user, and opens the answer.
    pub(crate) async fn ask(&self, by: &str, connections: Vec<ReleaseConnection>) -> Answer {
        let pending = asking("main", connections);
        self.create(&pending, by, |_| {});
        let release = self.finished(&pending).await;
        pending.open(&release).ok().unwrap()
    }

    /// Code and text of a refusal.
    pub(crate) async fn refused(&self, by: &str, connection: &str) -> (u16, String) {
        let denied = self.ask(by, vec![all_of(connection)]).await.granted().err().unwrap();
        (denied.code, denied.message)
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

pub(crate) fn asking(vault: &str, connections: Vec<ReleaseConnection>) -> PendingRelease {
    let reason = Some("on call".to_owned());
    PendingRelease::new("team-a", vault, connections, reason, &mut crate::world::rng())
}

pub(crate) fn all_of(name: &str) -> ReleaseConnection {
    ReleaseConnection { name: name.into(), namespace: None, items: Vec::new() }
}
