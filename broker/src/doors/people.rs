//! Door 2: people, by Release objects. Each is answered in its status by one replica.
//!
//! The first replica by [`Peers`] claims it at once; the next one when it has stood unanswered for [`TAKEOVER`], and so
//! on. A claim and an answer are writes against the resourceVersion that was read, so that there is never a second
//! answer: whoever was overtaken finds its write refused.

mod decide;
mod status;
mod turns;

pub use super::requests::Seen;
pub use status::{Answers, ApiServerAnswers};
pub use turns::Turns;

use super::requests::{self, AGAIN, Attends};
use crate::{facts::Key, limits::LocalWindows, peers::Peers, release::SharedReleaser};
use coffer_broker_api::people::DOOR;
use coffer_crds::{RateLimit, Release, RequestPhase};
use coffer_runtime::{CallError, Readiness, Shutdown, Store};
use kube::{ResourceExt as _, runtime::reflector::ObjectRef};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// How long a Release may stand unanswered before the next replica takes it up.
pub const TAKEOVER: Duration = Duration::from_secs(2);

/// The door.
pub struct PeopleDoor {
    /// This replica's name: `status.answeredBy`.
    pub replica: String,
    /// The Releases.
    pub releases: Store<Release>,
    /// Whose turn it is among the replicas.
    pub peers: Box<dyn Peers>,
    /// Writes claims and answers.
    pub answers: Box<dyn Answers>,
    /// Whose turn it is among the requesters.
    pub turns: Turns,
    /// What this replica answers of one requester at most.
    pub limit: RateLimit,
    /// How much of it each has used.
    pub windows: LocalWindows,
    /// The decision and all behind it.
    pub releaser: SharedReleaser,
}

/// Starts the watch; what it sees comes out of the channel.
pub fn watch(
    client: &kube::Client,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> (Store<Release>, mpsc::UnboundedReceiver<Seen>) {
    requests::watch(client, without_result, readiness, shutdown)
}

/// Up to 1 MiB that nobody here looks at.
fn without_result(release: &mut Release) {
    if let Some(status) = &mut release.status {
        status.result = None;
    }
}

impl PeopleDoor {
    /// Answers what is seen, once this program is ready and until the end is asked for. What is claimed then is another
    /// replica's to take over.
    pub async fn run(
        self: Arc<Self>,
        readiness: Readiness,
        seen: mpsc::UnboundedReceiver<Seen>,
        shutdown: Shutdown,
    ) {
        requests::attend_to_all(self, readiness, seen, shutdown).await;
    }

    /// The Release, if it still waits for an answer, and which replica has claimed it.
    fn open(&self, key: &Key, uid: &str) -> Option<(Arc<Release>, Option<String>)> {
        let release = self.releases.get(&ObjectRef::new(&key.name).within(&key.namespace))?;
        if release.metadata.uid.as_deref() != Some(uid) || release.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = release.status.clone().unwrap_or_default();
        match status.phase {
            Some(RequestPhase::Answered | RequestPhase::Failed) => None,
            Some(RequestPhase::Claimed) => Some((release, status.answered_by)),
            Some(RequestPhase::Pending) | None => Some((release, None)),
        }
    }

    /// How long a Release may stand as it does before this replica takes it up.
    fn patience(&self, holder: Option<&str>, uid: &str) -> Duration {
        let before = self.peers.before_us(uid);
        let turns = match holder {
            // Claimed before a restart.
            Some(holder) if holder == self.replica => 0,
            Some(_) => before.max(1),
            None => before,
        };
        TAKEOVER * u32::try_from(turns).unwrap_or(u32::MAX)
    }

    /// Claims, decides and answers.
    async fn answer(&self, release: &Release) -> Result<(), CallError> {
        let started = Instant::now();
        let claimed = self.answers.claim(release, &self.replica).await?;
        let (status, reason) = self.decide(release).await;
        self.answers.answer(&claimed, &status).await?;
        self.releaser.metrics.answered(DOOR, reason, started.elapsed());
        Ok(())
    }
}

impl Attends for PeopleDoor {
    type Request = Release;

    fn requests(&self) -> &Store<Release> {
        &self.releases
    }

    fn is_open(&self, key: &Key, uid: &str) -> bool {
        self.open(key, uid).is_some()
    }

    /// Sees to it that one Release is answered, by this replica or another one.
    async fn attend(&self, key: &Key, uid: &str) {
        let mut stands = (String::new(), Instant::now());
        loop {
            let Some((release, holder)) = self.open(key, uid) else { return };
            let version = release.resource_version().unwrap_or_default();
            if stands.0 != version {
                stands = (version.clone(), Instant::now());
            }
            let due = stands.1 + self.patience(holder.as_deref(), uid);
            if Instant::now() < due {
                tokio::time::sleep_until(due).await;
                continue;
            }
            let requester = release.spec.requester.as_ref().map(|author| author.username.as_str());
            let _turn = self.turns.take(requester.unwrap_or_default()).await;
            // Another replica may have been quicker while this one waited for the requester's turn.
            if self.open(key, uid).and_then(|(now, _)| now.resource_version()).as_ref() != Some(&version) {
                continue;
            }
            match self.answer(&release).await {
                Ok(()) => return,
                Err(error) if error.is_not_found() => return,
                Err(error) => {
                    tracing::debug!(release = %key, %error, "not answered; looking at it again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}
