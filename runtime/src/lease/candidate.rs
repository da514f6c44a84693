//! One candidate's view of the Lease, and its single step: look, then take, renew or wait.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::Instant;

use super::LeaseConfig;
use crate::{CallError, within};

/// Where a candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Somebody else holds the Lease, or nobody is known to.
    Waits,
    /// Ours: steps may be sent from `from` on and before `until`.
    Holds { from: Instant, until: Instant },
}

/// Another holder's Lease as last seen. Any difference counts as a sign of life.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    holder: String,
    renewed: Option<MicroTime>,
    transitions: Option<i32>,
}

#[derive(Clone, Debug)]
struct Sighting {
    mark: Mark,
    /// When the mark was first seen, by our monotonic clock.
    at: Instant,
    /// The duration that its holder wrote.
    duration: Duration,
}

pub(super) struct Candidate {
    api: Api<Lease>,
    config: LeaseConfig,
    /// `pod/<start time>`: a restarted container is another holder than its predecessor.
    identity: String,
    standing: Standing,
    other: Option<Sighting>,
}

impl Candidate {
    pub(super) fn new(client: Client, config: LeaseConfig) -> Self {
        let api = Api::namespaced(client, &config.namespace);
        let identity = format!("{}/{:x}", config.pod, Timestamp::now().as_nanosecond());
        Self { api, config, identity, standing: Standing::Waits, other: None }
    }

    pub(super) fn config(&self) -> &LeaseConfig {
        &self.config
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    #[cfg(test)]
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Looks at the Lease and takes or renews it where that is due.
    ///
    /// On an error the standing is what it was: it ends by its deadline.
    pub(super) async fn step(&mut self) -> Result<Standing, CallError> {
        let found = within(self.config.request_timeout, self.api.get_opt(&self.config.name)).await?;
        let Some(lease) = found else { return self.create().await };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder == self.identity {
            let from = match self.standing {
                Standing::Holds { from, .. } => from,
                // Our own write, whose answer was lost: nobody can have led in between.
                Standing::Waits => self.earliest_start(),
            };
            return self.write(lease, from).await;
        }
        self.standing = Standing::Waits;
        if holder.is_empty() {
            // Released: its holder waits for the last answer before it lets go.
            self.other = None;
            return self.write(lease, Instant::now()).await;
        }
        let free_at = self.sight(holder, &spec);
        if Instant::now() < free_at {
            return Ok(self.standing);
        }
        let from = self.earliest_start();
        self.write(lease, from).await
    }

    /// Gives the Lease back, if it is ours.
    pub(super) async fn release(&mut self) -> Result<(), CallError> {
        self.standing = Standing::Waits;
        let found = within(self.config.request_timeout, self.api.get_opt(&self.config.name)).await?;
        let Some(mut lease) = found else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        within(
            self.config.request_timeout,
            self.api.replace(&self.config.name, &PostParams::default(), &lease),
        )
        .await
        .map(drop)
    }

    /// Notes what is seen of another holder; gives the moment from which its Lease may be taken.
    fn sight(&mut self, holder: String, spec: &LeaseSpec) -> Instant {
        let mark = Mark { holder, renewed: spec.renew_time.clone(), transitions: spec.lease_transitions };
        let predecessor = self.is_predecessor(&mark.holder);
        let written = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = written.map_or(self.config.duration, Duration::from_secs);
        let sighting = match self.other.take() {
            Some(known) if known.mark == mark => known,
            _ => Sighting { mark, at: Instant::now(), duration },
        };
        let free_at = if predecessor { sighting.at } else { sighting.at + sighting.duration };
        self.other = Some(sighting);
        free_at
    }

    /// A former process of this very pod: the kubelet has seen its end before it started us.
    fn is_predecessor(&self, holder: &str) -> bool {
        holder.rsplit_once('/').is_some_and(|(pod, _)| pod == self.config.pod)
    }

    /// When nothing that the last known holder sent can still be under way.
    fn earliest_start(&self) -> Instant {
        match &self.other {
            None => Instant::now(),
            Some(seen) if self.is_predecessor(&seen.mark.holder) => seen.at + self.config.request_timeout,
            Some(seen) => seen.at + seen.duration + self.config.request_timeout,
        }
    }

    async fn create(&mut self) -> Result<Standing, CallError> {
        let from = self.earliest_start();
        self.standing = Standing::Waits;
        let mut lease = Lease {
            metadata: ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() },
            spec: None,
        };
        self.sign(&mut lease);
        let sent = Instant::now();
        let params = PostParams::default();
        let answer = within(self.config.request_timeout, self.api.create(&params, &lease)).await;
        self.settle(answer, from, sent)
    }

    async fn write(&mut self, mut lease: Lease, from: Instant) -> Result<Standing, CallError> {
        self.sign(&mut lease);
        let sent = Instant::now();
        let params = PostParams::default();
        let call = self.api.replace(&self.config.name, &params, &lease);
        let answer = within(self.config.request_timeout, call).await;
        self.settle(answer, from, sent)
    }

    /// Puts our name, the time and, when the holder changes, the count into the Lease. Its resourceVersion stays:
    /// whoever wrote in between makes the API server refuse ours.
    fn sign(&self, lease: &mut Lease) {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
            spec.acquire_time = Some(now.clone());
            spec.holder_identity = Some(self.identity.clone());
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = Some(i32::try_from(self.config.duration.as_secs()).unwrap_or(i32::MAX));
    }

    fn settle(
        &mut self,
        answer: Result<Lease, CallError>,
        from: Instant,
        sent: Instant,
    ) -> Result<Standing, CallError> {
        match answer {
            Ok(_) => self.standing = Standing::Holds { from, until: sent + self.config.renew_deadline },
            // Somebody else wrote first. If it was a mere edit, the next look finds us as the holder still.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        Ok(self.standing)
    }
}
