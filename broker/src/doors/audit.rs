//! The audit door: AuditQuery objects. Every replica has a log of its own, so every replica answers, each with an entry of
//! its own in the status.
//!
//! An answer is written by server-side apply under the replica's own name: entries of a list that is a map have their
//! own owners, so no answer stands in another's way and none is a read-modify-write.

mod decide;
mod page;
mod status;

pub use super::requests::Seen;
pub use status::{Answers, ApiServerAnswers};

use super::{
    people::Turns,
    requests::{self, AGAIN, Attends},
};
use crate::{facts::Key, limits::LocalWindows, peers::Peers, release::SharedReleaser};
use coffer_crds::{AuditQuery, RateLimit, RequestPhase};
use coffer_runtime::{Readiness, Shutdown, Store};
use kube::runtime::reflector::ObjectRef;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How long one question may keep the log's disk busy. Whoever asks waits a little longer for everybody's answers.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The door.
pub struct AuditDoor {
    /// This replica's name: `answeredBy`.
    pub replica: String,
    /// The AuditQueries.
    pub queries: Store<AuditQuery>,
    /// Who else has a log.
    pub peers: Box<dyn Peers>,
    /// The folder of this replica's log.
    pub log: PathBuf,
    /// The operator's user name.
    pub operator: String,
    /// Writes answers.
    pub answers: Box<dyn Answers>,
    /// Whose turn it is among the requesters.
    pub turns: Turns,
    /// What this replica answers of one requester at most; the operator is not counted.
    pub limit: RateLimit,
    /// How much of it each has used.
    pub windows: LocalWindows,
    /// Facts, log and limits of the decisions.
    pub releaser: SharedReleaser,
}

/// Starts the watch; what it sees comes out of the channel.
pub fn watch(
    client: &kube::Client,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> (Store<AuditQuery>, mpsc::UnboundedReceiver<Seen>) {
    requests::watch(client, without_results, readiness, shutdown)
}

/// Up to 1 MiB that nobody here looks at.
fn without_results(query: &mut AuditQuery) {
    for answer in query.status.iter_mut().flat_map(|status| &mut status.answers) {
        answer.result = String::new();
    }
}

impl AuditDoor {
    /// Answers what is seen, once this program is ready and until the end is asked for.
    pub async fn run(
        self: Arc<Self>,
        readiness: Readiness,
        seen: mpsc::UnboundedReceiver<Seen>,
        shutdown: Shutdown,
    ) {
        requests::attend_to_all(self, readiness, seen, shutdown).await;
    }

    /// The AuditQuery, if this replica still is to answer it.
    fn open(&self, key: &Key, uid: &str) -> Option<Arc<AuditQuery>> {
        let query = self.queries.get(&ObjectRef::new(&key.name).within(&key.namespace))?;
        if query.metadata.uid.as_deref() != Some(uid) || query.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let another = |page: &str| page::replica_of(page) != self.replica;
        if query.spec.page.as_deref().is_some_and(another) {
            return None;
        }
        let status = query.status.as_ref();
        let answered = status
            .is_some_and(|status| status.answers.iter().any(|answer| answer.answered_by == self.replica));
        let failed = status.is_some_and(|status| status.phase == Some(RequestPhase::Failed));
        (!answered && !failed).then_some(query)
    }
}

impl Attends for AuditDoor {
    type Request = AuditQuery;

    fn requests(&self) -> &Store<AuditQuery> {
        &self.queries
    }

    fn is_open(&self, key: &Key, uid: &str) -> bool {
        self.open(key, uid).is_some()
    }

    /// Decides once, and writes the answer as often as it takes.
    async fn attend(&self, key: &Key, uid: &str) {
        let Some(query) = self.open(key, uid) else { return };
        let requester = query.spec.requester.as_ref().map(|author| author.username.as_str());
        let status = {
            let _turn = self.turns.take(requester.unwrap_or_default()).await;
            if self.open(key, uid).is_none() {
                return;
            }
            self.decide(&query).await
        };
        while self.open(key, uid).is_some() {
            match self.answers.answer(&query, &self.replica, &status).await {
                Ok(()) => return,
                Err(error) if error.is_not_found() => return,
                Err(error) => {
                    tracing::debug!(query = %key, %error, "not answered; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}
