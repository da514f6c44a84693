//! Leader election on a `Lease`, with optimistic concurrency.
//!
//! A Lease does not fence: the API server does not know who leads and takes everybody's writes. What keeps two
//! leaders from writing at the same time is time alone, measured so that no two clocks are compared:
//!
//! * The holder renews every [`LeaseConfig::retry_period`] and may send only until
//!   [`LeaseConfig::renew_deadline`] after the moment in which it *sent* its last successful renewal.
//! * A candidate counts from the moment in which *it saw* the Lease change, never from the times written in it. It
//!   takes the Lease when nothing changed for the lease duration, and starts no step before
//!   [`LeaseConfig::request_timeout`] has passed on top, so that the old holder's last request has ended.
//! * Seen is later than sent, and the deadline is shorter than the duration: whatever the clocks say, the old
//!   holder's last request is over before the new one's first.

mod candidate;
#[cfg(test)]
mod tests;

use std::time::Duration;

use kube::Client;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until, timeout_at},
};

use candidate::{Candidate, Standing};

/// Which Lease, on whose behalf, and how fast.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// The pod that stands for election; shown as the part of `holderIdentity` before the slash.
    pub pod: String,
    /// For how long a Lease holds without being renewed; whole seconds, as the Lease stores it. Default 8 s.
    pub duration: Duration,
    /// For how long after sending its last successful renewal the holder may send. Shorter than `duration`.
    /// Default 6.5 s.
    pub renew_deadline: Duration,
    /// How often the holder renews and others look. Default 1.5 s.
    pub retry_period: Duration,
    /// Upper bound of any request that the leader sends under this Lease; the leader must keep to it
    /// ([`crate::within`]). Default 4 s.
    pub request_timeout: Duration,
}

impl LeaseConfig {
    /// With the defaults, by which a standby's first step comes at most 13.5 s after a leader's last renewal.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, pod: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            pod: pod.into(),
            duration: Duration::from_secs(8),
            renew_deadline: Duration::from_millis(6500),
            retry_period: Duration::from_millis(1500),
            request_timeout: Duration::from_secs(4),
        }
    }
}

/// Whether this process leads, and until when that is certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    until: Option<Instant>,
}

/// Said where a step is refused because this process does not lead (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the leader")]
pub struct NotLeader;

impl Leadership {
    /// Leads until `deadline`: for tests of what depends on it, and for tools that need no election.
    pub fn until(deadline: Instant) -> Self {
        Self { until: Some(deadline) }
    }

    /// Does not lead.
    pub fn none() -> Self {
        Self { until: None }
    }

    /// The moment after which nothing may be sent; `None` for a process that does not lead.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Whether a request may be sent at this very moment.
    pub fn may_send(&self) -> bool {
        self.remaining().is_ok()
    }

    /// The time left in which requests may be sent.
    ///
    /// # Errors
    /// When there is none.
    pub fn remaining(&self) -> Result<Duration, NotLeader> {
        let left = self.until.and_then(|until| until.checked_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero()).ok_or(NotLeader)
    }
}

/// A running election. Dropping it stops renewing without releasing: others then wait the full time.
#[derive(Debug)]
pub struct Election {
    leadership: watch::Receiver<Leadership>,
    release: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Election {
    /// The current state, to be borrowed before each request, and its changes. A renewal changes it, too.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Resolves when this process leads.
    pub async fn elected(&self) {
        // The sender lives in a task that ends only by release(), which takes self.
        let _ = self.leadership.clone().wait_for(Leadership::may_send).await;
    }

    /// Resolves when this process does not lead (any more).
    pub async fn lost(&self) {
        let _ = self.leadership.clone().wait_for(|now| !now.may_send()).await;
    }

    /// Gives the Lease back, so that another takes over at its next look. To be called on shutdown, after the last
    /// request has been answered: the next leader starts at once.
    pub async fn release(self) {
        let _ = self.release.send(());
        let _ = self.task.await;
    }
}

/// Stands for election in the background until [`Election::release`].
pub fn run(client: Client, config: LeaseConfig) -> Election {
    let (publish, leadership) = watch::channel(Leadership::none());
    let (release, released) = oneshot::channel();
    let task = tokio::spawn(campaign(Candidate::new(client, config), publish, released));
    Election { leadership, release, task }
}

async fn campaign(
    mut candidate: Candidate,
    publish: watch::Sender<Leadership>,
    mut released: oneshot::Receiver<()>,
) {
    let mut leadership = Leadership::none();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            asked = &mut released => match asked {
                Ok(()) => break,
                // The Election was dropped: no more renewals, and nobody is told that we are gone.
                Err(_) => return,
            },
            () = sleep_until(next) => {}
        }
        let began = Instant::now();
        let give_up = leadership.deadline().unwrap_or(began + candidate.config().renew_deadline);
        let standing = match timeout_at(give_up, candidate.step()).await {
            Ok(Ok(standing)) => standing,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease could not be read or renewed");
                candidate.standing()
            }
            Err(_) => candidate.standing(),
        };
        let now = Instant::now();
        next = began + candidate.config().retry_period;
        let updated = match standing {
            Standing::Holds { from, until } if from <= now && now < until => Leadership::until(until),
            Standing::Holds { from, until } if now < until => {
                next = next.min(from);
                Leadership::none()
            }
            Standing::Holds { .. } | Standing::Waits => Leadership::none(),
        };
        if let Some(deadline) = updated.deadline() {
            // Wake at the deadline at the latest, so that those who wait for the loss hear of it.
            next = next.min(deadline);
        }
        next = next.max(now);
        report(leadership, updated, candidate.config());
        leadership = updated;
        publish.send_replace(leadership);
    }
    publish.send_replace(Leadership::none());
    match candidate.release().await {
        Ok(()) => tracing::info!(lease = candidate.config().name, "Lease released"),
        Err(error) => tracing::warn!(%error, "the Lease could not be released; it runs out by itself"),
    }
}

fn report(before: Leadership, after: Leadership, config: &LeaseConfig) {
    match (before.deadline(), after.deadline()) {
        (None, Some(_)) => tracing::info!(lease = config.name, "leading"),
        (Some(_), None) => tracing::warn!(lease = config.name, "no longer leading"),
        (None, None) | (Some(_), Some(_)) => {}
    }
}
