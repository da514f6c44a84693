//! `status.lastUsedAt` of members and Connections: rough, late, and never in a release's way.

use crate::facts::Key;
use coffer_crds::{Connection, VaultMember};
use coffer_runtime::{CallError, within};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// How exact `lastUsedAt` is: it is written again when it is older than this.
pub const PRECISION: SignedDuration = SignedDuration::from_mins(5);
/// How many writes may wait; more are left out, the next release tries again.
const MAX_WAITING: usize = 256;
/// How many recent writes are remembered, so that none is repeated before the watch has brought it back.
const MAX_REMEMBERED: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// What was used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Used {
    /// A VaultMember served a release.
    Member(Key),
    /// A Connection was released.
    Connection(Key),
}

/// Writes one `lastUsedAt`.
pub trait StatusWriter: Send + Sync + 'static {
    /// Sets it to `at`.
    fn write<'a>(&'a self, used: &'a Used, at: Timestamp) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Patches the objects' status. Needs `patch` on the status of VaultMembers and Connections.
pub struct ApiServerStatus(pub kube::Client);

impl StatusWriter for ApiServerStatus {
    fn write<'a>(&'a self, used: &'a Used, at: Timestamp) -> BoxFuture<'a, Result<(), CallError>> {
        let patch = Patch::Merge(serde_json::json!({"status": {"lastUsedAt": Time(at)}}));
        let client = self.0.clone();
        let params = PatchParams::default();
        Box::pin(async move {
            match used {
                Used::Member(key) => {
                    let api: Api<VaultMember> = Api::namespaced(client, &key.namespace);
                    within(PATIENCE, api.patch_status(&key.name, &params, &patch)).await.map(drop)
                }
                Used::Connection(key) => {
                    let api: Api<Connection> = Api::namespaced(client, &key.namespace);
                    within(PATIENCE, api.patch_status(&key.name, &params, &patch)).await.map(drop)
                }
            }
        })
    }
}

/// Takes note of what was used and writes it in the background.
pub struct LastUsed {
    queue: mpsc::Sender<(Used, Timestamp)>,
    recent: Mutex<HashMap<Used, Timestamp>>,
}

impl LastUsed {
    /// Starts the writer; it ends with this.
    pub fn start(writer: impl StatusWriter) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(Used, Timestamp)>(MAX_WAITING);
        tokio::spawn(async move {
            while let Some((used, at)) = waiting.recv().await {
                if let Err(error) = writer.write(&used, at).await {
                    tracing::debug!(?used, %error, "lastUsedAt was not written; the next use tries again");
                }
            }
        });
        Self { queue, recent: Mutex::default() }
    }

    /// `used` was used at `now`; its status says `known`.
    pub fn note(&self, used: Used, known: Option<Timestamp>, now: Timestamp) {
        let recent_enough = |at: Timestamp| now.duration_since(at) < PRECISION;
        if known.is_some_and(recent_enough) {
            return;
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.get(&used).copied().is_some_and(recent_enough) {
            return;
        }
        if recent.len() >= MAX_REMEMBERED {
            recent.retain(|_, at| recent_enough(*at));
        }
        if recent.len() < MAX_REMEMBERED && self.queue.try_send((used.clone(), now)).is_ok() {
            recent.insert(used, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Recording(mpsc::UnboundedSender<(Used, Timestamp)>);

    impl StatusWriter for Recording {
        fn write<'a>(&'a self, used: &'a Used, at: Timestamp) -> BoxFuture<'a, Result<(), CallError>> {
            let _ = self.0.send((used.clone(), at));
            Box::pin(async { Ok(()) })
        }
    }

    /// A thousand releases are one write, and another one five minutes later, whichever replica served.
    #[tokio::test]
    async fn last_used_is_written_once_per_precision_and_not_at_all_when_another_replica_did() {
        let (sender, mut written) = mpsc::unbounded_channel();
        let last_used = LastUsed::start(Recording(sender));
        let web = || Used::Member(Key { namespace: "a".into(), name: "web".into() });
        let github = || Used::Connection(Key { namespace: "a".into(), name: "github".into() });
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a valid timestamp");
        for _ in 0..1000 {
            last_used.note(web(), None, start);
        }
        let later = start + PRECISION;
        last_used.note(web(), Some(later), later);
        last_used.note(web(), Some(start), later);
        last_used.note(github(), None, later);
        for expected in [(web(), start), (web(), later), (github(), later)] {
            assert_eq!(written.recv().await, Some(expected));
        }
        drop(last_used);
        assert_eq!(written.recv().await, None);
    }
}
