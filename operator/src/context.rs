//! What every reconcile is given.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coffer_crds::Keyring;
use coffer_envelope::OpenKeyring;
use coffer_policy::BreakGlass;
use coffer_runtime::{CallError, Events};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, ResourceExt as _, runtime::controller::Action};
use rand_core::CryptoRng;
use tokio::sync::watch;

use crate::{
    apply::{WriteError, Writer},
    cache::Key,
    gates::Gates,
    installation::{
        custody::{Custody, Sources},
        guards::Standing,
    },
    meters::{Meters, Outcome, Reconciled},
    reads::Asking,
    report::Notice,
    watches::Watched,
};

/// Limit of each read that goes past the caches.
pub const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a reconcile did not get to its end; each is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Something that the caches miss could not be read.
    #[error("read past the cache")]
    Read(#[from] CallError),
    /// A write was not made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It panicked: a defect. Others go on, and it is tried again.
    #[error("the reconcile panicked")]
    Panicked,
}

impl ReconcileError {
    /// How metrics count it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Write(WriteError::Conflict(_)) => Outcome::Conflict,
            Self::Write(WriteError::NotLeader(_) | WriteError::Refused(..) | WriteError::Unavailable(..))
            | Self::Read(_)
            | Self::Panicked => Outcome::Error,
        }
    }
}

/// By what authors are judged, besides memberships.
#[derive(Clone, Copy)]
pub struct Judging<'a> {
    /// The operator's own user name.
    pub operator: &'a str,
    /// Who may do what an owner may, without being a member.
    pub break_glass: &'a Arc<BreakGlass>,
}

/// What every reconcile is given.
pub struct Context {
    /// For reads.
    pub client: Client,
    /// For writes.
    pub writer: Writer,
    /// Caches and queues.
    pub watched: Watched,
    /// The custodian root.
    pub custody: watch::Receiver<Custody>,
    /// The guards in the API server.
    pub guards: watch::Receiver<Standing>,
    /// For events.
    pub events: Events,
    /// Counts.
    pub meters: Meters,
    /// The operator's own user name, as admission sees it.
    pub operator: String,
    /// Who may do what an owner may, without being a member.
    pub break_glass: Arc<BreakGlass>,
    /// Opened Keyrings.
    pub keyrings: Keyrings,
    /// What keeps sealing and turn-overs apart.
    pub gates: Gates,
    /// What the brokers were asked of their audit logs.
    pub asking: Asking,
    /// Failures in a row.
    pub failures: Failures,
}

impl Context {
    /// By what authors are judged, besides memberships.
    pub fn judge(&self) -> Judging<'_> {
        Judging { operator: &self.operator, break_glass: &self.break_glass }
    }

    /// Publishes events in the background: nobody waits for them.
    pub fn announce(&self, about: ObjectReference, notices: Vec<Notice>) {
        if notices.is_empty() || !self.writer.may_send() {
            return;
        }
        self.events.announce(about, notices);
    }

    /// Logs why a reconcile did not get to its end. That somebody else was faster is no news.
    pub fn complain(&self, kind: Reconciled, key: &Key, error: &ReconcileError) {
        let quiet =
            matches!(error, ReconcileError::Write(WriteError::Conflict(_) | WriteError::NotLeader(_)));
        let error: &dyn std::error::Error = error;
        if quiet {
            tracing::debug!(?kind, %key, error, "tried again");
        } else {
            tracing::warn!(?kind, %key, error, "tried again later");
        }
    }
}

/// Keyrings that were opened before, by object and state and by what they were opened with: a vault's thousand Connections
/// open it once.
#[derive(Default)]
pub struct Keyrings {
    opened: Mutex<HashMap<Key, Held>>,
}

struct Held {
    state: (Option<String>, Option<String>, Arc<Sources>),
    keys: Result<Arc<OpenKeyring>, String>,
}

impl Keyrings {
    /// The Keyring, opened and its signature checked; else the sentence that says why not.
    ///
    /// # Errors
    /// That sentence.
    pub fn open(&self, custody: &Custody, keyring: &Keyring) -> Result<Arc<OpenKeyring>, String> {
        let opened = match custody {
            Custody::Open(opened) => opened,
            Custody::Unavailable(why) => return Err(why.to_string()),
            Custody::Unknown => return Err(String::from("the custodian root has not been looked at yet")),
        };
        let key = Key::of(keyring);
        let state = (keyring.uid(), keyring.resource_version(), opened.sources().clone());
        if let Some(held) = self.locked().get(&key).filter(|held| held.state == state) {
            return held.keys.clone();
        }
        let keys = opened.custodian.open_keyring(&keyring.spec);
        let keys = keys.map(Arc::new).map_err(|error| error.to_string());
        self.locked().insert(key, Held { state, keys: keys.clone() });
        keys
    }

    /// Forgets every key: the custodian root is another, or gone.
    pub fn forget(&self) {
        self.locked().clear();
    }

    /// Forgets the keys of a vault that is gone.
    pub fn forget_one(&self, key: &Key) {
        self.locked().remove(key);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often in a row each object's reconcile has failed.
#[derive(Default)]
pub struct Failures {
    counts: Mutex<HashMap<(Reconciled, Key), u32>>,
}

impl Failures {
    /// It went well.
    pub fn clear(&self, kind: Reconciled, key: Key) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, key));
    }

    /// It went wrong: when to try again.
    pub fn retry(&self, kind: Reconciled, key: Key, error: &ReconcileError) -> Action {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((kind, key)).or_default();
        *count = count.saturating_add(1);
        match error {
            // Whoever leads looks at everything.
            ReconcileError::Write(WriteError::NotLeader(_)) => Action::await_change(),
            ReconcileError::Write(WriteError::Conflict(_)) => {
                Action::requeue(backoff(*count, Duration::from_millis(20)))
            }
            ReconcileError::Write(WriteError::Unavailable(..)) | ReconcileError::Read(_) => {
                Action::requeue(backoff(*count, Duration::from_millis(250)))
            }
            ReconcileError::Write(WriteError::Refused(..)) | ReconcileError::Panicked => {
                Action::requeue(backoff(*count, Duration::from_secs(1)))
            }
        }
    }
}

/// `first`, doubled with each further failure, at most half a minute.
fn backoff(failures: u32, first: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_secs(30);
    first.saturating_mul(1 << failures.saturating_sub(1).min(12)).min(LONGEST)
}

/// The system's randomness.
///
/// A system without randomness is not one to make keys on: it panics.
pub fn rng() -> impl CryptoRng {
    getrandom::rand_core::UnwrapErr(getrandom::SysRng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_slow_down_to_half_a_minute_and_start_afresh_after_a_success() {
        let (failures, key) = (Failures::default(), Key::new("ns", "a"));
        let conflict = || {
            ReconcileError::Write(WriteError::Conflict(crate::apply::Target {
                verb: "replace",
                kind: String::from("Keyring"),
                key: Key::new("ns", "a"),
            }))
        };
        let first = failures.retry(Reconciled::Vault, key.clone(), &conflict());
        assert_eq!(first, Action::requeue(Duration::from_millis(20)));
        for _ in 0..40 {
            failures.retry(Reconciled::Vault, key.clone(), &conflict());
        }
        let late = failures.retry(Reconciled::Vault, key.clone(), &conflict());
        assert_eq!(late, Action::requeue(Duration::from_secs(30)));
        failures.clear(Reconciled::Vault, key.clone());
        assert_eq!(failures.retry(Reconciled::Vault, key, &conflict()), first);
    }
}
