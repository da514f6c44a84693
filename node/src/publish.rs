//! What becomes of the kubelet's requests.

mod in_flight;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    events::Announce,
    fetch::{Broker, ReleaseError},
    files::{Files, Replaced},
    metrics::{NodeMetrics, Outcome},
    mount::{Access, Mounts},
    payload::{Payload, PayloadError},
    volume::{OnRevoke, PublishVolume, UnpublishVolume},
};
use in_flight::InFlight;

/// For how long a first publish waits for the broker before the kubelet is told to try again.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Why the kubelet's request was not done.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another request for the same volume is not finished.
    #[error("another request for this volume is under way")]
    UnderWay,
    /// The broker released nothing.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// What the broker released cannot be files.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The node's file system refused.
    #[error("{step}: {source}")]
    Volume {
        /// What was being done.
        step: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A bug: the work ended in a panic, which is in the log.
    #[error("the driver failed; its log says why")]
    Panicked,
}

/// Does publishes and unpublishes. Everything it must know about a volume lies in the volume.
pub struct Publisher {
    mounts: Arc<dyn Mounts>,
    broker: Broker,
    announce: Arc<dyn Announce>,
    metrics: NodeMetrics,
    clock: fn() -> Timestamp,
    in_flight: InFlight,
    /// Which denials have been announced, by target: once per revocation and not at every republish. Lost at a
    /// restart, after which they are announced once more.
    announced: Mutex<HashMap<PathBuf, Vec<String>>>,
}

impl Publisher {
    /// With its surroundings.
    pub fn new(
        mounts: Arc<dyn Mounts>,
        broker: Broker,
        announce: Arc<dyn Announce>,
        metrics: NodeMetrics,
    ) -> Self {
        Self {
            mounts,
            broker,
            announce,
            metrics,
            clock: Timestamp::now,
            in_flight: InFlight::default(),
            announced: Mutex::default(),
        }
    }

    /// Puts the pod's files in place, or brings them up to date.
    ///
    /// Once files are there this fails only if the node does: a broker that does not answer leaves them as they are,
    /// and a denial does what the volume's `onRevoke` says.
    ///
    /// The work goes on when the caller stops waiting, so that a volume is never left half done.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(self: &Arc<Self>, volume: PublishVolume) -> Result<(), PublishError> {
        let entered = self.in_flight.enter(&volume.target).ok_or(PublishError::UnderWay)?;
        let publisher = self.clone();
        let work = tokio::spawn(async move {
            let _entered = entered;
            let began = Instant::now();
            let result = publisher.publish_now(&volume).await;
            let outcome = match &result {
                Ok(outcome) => *outcome,
                Err(PublishError::Release(error)) if error.is_denial() => Outcome::Denied,
                Err(_) => Outcome::Failed,
            };
            publisher.metrics.published(outcome, began.elapsed().as_secs_f64());
            tracing::info!(
                pod = volume.pod.name,
                namespace = volume.pod.namespace,
                ?outcome,
                connections = volume.connections.len(),
                "publish"
            );
            result.map(drop)
        });
        work.await.map_err(|_| PublishError::Panicked)?
    }

    /// Takes the pod's files away; done already is done.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn unpublish(self: &Arc<Self>, volume: UnpublishVolume) -> Result<(), PublishError> {
        let entered = self.in_flight.enter(&volume.target).ok_or(PublishError::UnderWay)?;
        self.announced().remove(&volume.target);
        let mounts = self.mounts.clone();
        let work = spawn_blocking(move || {
            let _entered = entered;
            clear(mounts.as_ref(), &volume.target)
        });
        work.await.map_err(|_| PublishError::Panicked)??;
        self.metrics.unpublished();
        Ok(())
    }

    async fn publish_now(&self, volume: &PublishVolume) -> Result<Outcome, PublishError> {
        let (mounts, target, access) = (self.mounts.clone(), volume.target.clone(), access(volume));
        let there = spawn_blocking(move || published(mounts.as_ref(), &target, access));
        match there.await.map_err(|_| PublishError::Panicked)?? {
            None => self.publish_first(volume).await,
            Some(there) => self.republish(volume, there).await,
        }
    }

    async fn publish_first(&self, volume: &PublishVolume) -> Result<Outcome, PublishError> {
        let PublishVolume { connections, pod, token, .. } = volume;
        let released = self.broker.release_patiently(connections, pod, token, PATIENCE).await?;
        let payload = Payload::from_released(connections, released)?;
        let (mounts, target, access, now) =
            (self.mounts.clone(), volume.target.clone(), access(volume), (self.clock)());
        let work = spawn_blocking(move || {
            establish(mounts.as_ref(), &target, access, &payload, now).inspect_err(|_| {
                // Half a volume must not look like one that is there; the kubelet comes again.
                if let Err(error) = clear(mounts.as_ref(), &target) {
                    tracing::warn!(%error, "a volume that could not be written could not be taken away either");
                }
            })
        });
        work.await.map_err(|_| PublishError::Panicked)??;
        Ok(Outcome::Published)
    }

    async fn republish(&self, volume: &PublishVolume, there: Payload) -> Result<Outcome, PublishError> {
        let PublishVolume { connections, pod, token, .. } = volume;
        let (next, denials) = match self.broker.release(connections, pod, token).await {
            Ok(released) => match Payload::from_released(connections, released) {
                Ok(next) => (next, Vec::new()),
                Err(error) => return Ok(keep(volume, &error)),
            },
            Err(error) if error.is_denial() => match self.one_by_one(volume, there, error).await {
                Ok(found) => found,
                Err(error) => return Ok(keep(volume, &error)),
            },
            Err(error) => return Ok(keep(volume, &error)),
        };
        let (target, access, now) = (volume.target.clone(), access(volume), (self.clock)());
        let work = spawn_blocking(move || {
            Files::new(&target, access).replace(&next, now).map_err(at("write the volume's files"))
        });
        let replaced = work.await.map_err(|_| PublishError::Panicked)??;
        let revoked = !denials.is_empty();
        self.tell(volume, denials);
        Ok(match replaced {
            _ if revoked => Outcome::Revoked,
            Replaced::Swapped => Outcome::Changed,
            Replaced::Unchanged => Outcome::Unchanged,
        })
    }

    /// One denied Connection denies them all; which one, and what the others are now, is found out by asking for each
    /// by itself. Gives the next content, and the denials as (Connection, text).
    async fn one_by_one(
        &self,
        volume: &PublishVolume,
        there: Payload,
        denial: ReleaseError,
    ) -> Result<(Payload, Vec<(String, String)>), PayloadError> {
        let mut next = Payload::default();
        let mut denials = Vec::new();
        for connection in &volume.connections {
            let alone = std::slice::from_ref(connection);
            let answer = match volume.connections.len() {
                1 => Err(denial.clone()),
                _ => self.broker.release(alone, &volume.pod, &volume.token).await,
            };
            let kept = match answer {
                Ok(released) => {
                    for connection in Payload::from_released(alone, released)?.folders {
                        next.insert(connection.0, connection.1)?;
                    }
                    false
                }
                Err(error) if error.is_denial() => {
                    denials.push((connection.clone(), error.to_string()));
                    volume.on_revoke == OnRevoke::Keep
                }
                Err(_) => true,
            };
            if kept && let Some((alias, folder)) = there.folder_of(connection) {
                next.insert(alias.clone(), folder.clone())?;
            }
        }
        Ok((next, denials))
    }

    fn tell(&self, volume: &PublishVolume, denials: Vec<(String, String)>) {
        let denied: Vec<String> = denials.iter().map(|(connection, _)| connection.clone()).collect();
        let mut announced = self.announced();
        let before = if denied.is_empty() {
            announced.remove(&volume.target)
        } else {
            announced.insert(volume.target.clone(), denied)
        };
        drop(announced);
        let before = before.unwrap_or_default();
        for (connection, text) in denials {
            if !before.contains(&connection) {
                let files = match volume.on_revoke {
                    OnRevoke::Keep => "its files stay as they are until the pod ends",
                    OnRevoke::Remove => "its files were removed",
                };
                let note = format!("{connection}: {text} ({files})");
                self.announce.revoked(volume.pod.clone(), &connection, note);
            }
        }
    }

    fn announced(&self) -> MutexGuard<'_, HashMap<PathBuf, Vec<String>>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn access(volume: &PublishVolume) -> Access {
    Access { group: volume.group }
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> PublishError {
    move |source| PublishError::Volume { step, source }
}

/// A republish that cannot be done now: the files stay, and the kubelet comes again by itself.
fn keep(volume: &PublishVolume, error: &dyn std::error::Error) -> Outcome {
    tracing::warn!(pod = volume.pod.name, namespace = volume.pod.namespace, %error, "the files stay as they are");
    Outcome::Kept
}

/// What a complete earlier publish left. Anything less counts as nothing.
fn published(mounts: &dyn Mounts, target: &Path, access: Access) -> Result<Option<Payload>, PublishError> {
    if !mounts.is_mounted(target).map_err(at("look at the volume's mount"))? {
        return Ok(None);
    }
    // A volume that cannot be read is written anew.
    Ok(Files::new(target, access).read().unwrap_or_default())
}

fn establish(
    mounts: &dyn Mounts,
    target: &Path,
    access: Access,
    payload: &Payload,
    now: Timestamp,
) -> Result<(), PublishError> {
    // The kubelet makes the parents only.
    match fs::create_dir(target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(at("create the target folder")(error));
        }
        Ok(()) | Err(_) => {}
    }
    if !mounts.is_mounted(target).map_err(at("look at the volume's mount"))? {
        mounts.mount(target, access).map_err(at("mount a tmpfs"))?;
    }
    Files::new(target, access).replace(payload, now).map_err(at("write the volume's files"))?;
    Ok(())
}

fn clear(mounts: &dyn Mounts, target: &Path) -> Result<(), PublishError> {
    // More than one only if something else than this driver mounted there.
    while mounts.is_mounted(target).map_err(at("look at the volume's mount"))? {
        mounts.unmount(target).map_err(at("unmount the volume"))?;
    }
    match fs::remove_dir(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove the target folder")(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
