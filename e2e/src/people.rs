//! The people's door as a person's client uses it: create a Release, look until it is answered, open it, delete it.

use crate::cluster::{Cluster, impatient_client};
use crate::fault;
use crate::install::NAMESPACE;
use crate::namespace::Namespace;
use crate::users::User;
use crate::wait;
use anyhow::{Context, Result, bail};
use coffer_broker_api::people::{Answer, Delivered, PendingRelease, Progress};
use coffer_crds::{Release, ReleaseConnection};
use coffer_keys::answer::EphemeralKey;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How often a client looks.
const LOOK: Duration = Duration::from_millis(20);

/// Somebody with a certificate, in one namespace.
pub struct Person {
    releases: Api<Release>,
}

impl Person {
    /// A client of this user's own.
    ///
    /// # Errors
    /// If no certificate or client can be made.
    pub async fn new(ns: &Namespace, user: &str, groups: &[&str]) -> Result<Self> {
        let client = impatient_client(User::new(ns.cluster(), user, groups)?.kubeconfig()).await?;
        Ok(Self { releases: Api::namespaced(client, ns.name()) })
    }

    /// The Releases, with this user's rights.
    #[must_use]
    pub fn releases(&self) -> &Api<Release> {
        &self.releases
    }

    /// Create a Release.
    ///
    /// # Errors
    /// If it is refused, with the API server's words.
    pub async fn create(&self, pending: &PendingRelease) -> Result<Release> {
        Ok(self.releases.create(&PostParams::default(), &pending.object()).await?)
    }

    /// Look until it is answered, and open the answer.
    ///
    /// # Errors
    /// If nobody answers in time, or it does not open.
    pub async fn answer(&self, pending: &PendingRelease) -> Result<Answer> {
        let deadline = Instant::now() + wait::SOON;
        loop {
            let stored = self.releases.get(pending.name()).await?;
            match pending.progress(&stored) {
                Progress::Answered => return pending.open(&stored).context("open the answer"),
                Progress::Failed(why) => bail!("the Release failed: {why}"),
                Progress::Waiting(what) if Instant::now() >= deadline => {
                    bail!("nobody answered: {}", what.unwrap_or_default())
                }
                Progress::Waiting(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// The whole way: create, wait, open, delete. How long it took until it was open.
    ///
    /// # Errors
    /// If any of it fails.
    pub async fn ask(&self, pending: &PendingRelease) -> Result<(Answer, Duration)> {
        let began = Instant::now();
        self.create(pending).await?;
        let answer = self.answer(pending).await?;
        let took = began.elapsed();
        self.releases.delete(pending.name(), &DeleteParams::default()).await?;
        Ok((answer, took))
    }
}

/// A request for all of one Connection.
#[must_use]
pub fn wanting(ns: &Namespace, vault: &str, connection: &str) -> PendingRelease {
    let connection = ReleaseConnection { name: connection.to_owned(), namespace: None, items: Vec::new() };
    PendingRelease::new(ns.name(), vault, vec![connection], None, &mut UnwrapErr(SysRng))
}

/// The last record in the brokers' audit logs that has this request id.
///
/// # Errors
/// If there is none, or a log cannot be read.
pub async fn record(cluster: &Cluster, request_id: &str) -> Result<Value> {
    for pod in fault::pods(cluster, "broker").await? {
        let kubectl = cluster.kubectl().namespaced(NAMESPACE);
        let log = kubectl.exec(&pod.name_any(), &["/coffer-broker", "audit", "--last", "2000"]).await?;
        let found = log.lines().rfind(|line| line.contains(&format!("\"requestID\":\"{request_id}\"")));
        if let Some(line) = found {
            return Ok(serde_json::from_str(line)?);
        }
    }
    bail!("request {request_id} is on no record")
}

/// The value of one item of the first Connection of a grant to a member without a key.
///
/// # Errors
/// If it is a denial, or for a member with a key.
pub fn value(answer: Answer, item: &str) -> Result<String> {
    match answer.granted()?.into_iter().next() {
        Some(Delivered::Items(connection)) => {
            let value = connection.items.get(item).context("no such item")?;
            Ok(String::from_utf8(value.expose().to_vec())?)
        }
        Some(Delivered::Wrapped(_)) => bail!("wrapped for the member's own key"),
        None => bail!("an empty grant"),
    }
}

/// A key that something can be sealed to, and nobody opens.
#[must_use]
pub fn any_key() -> String {
    EphemeralKey::generate(&mut UnwrapErr(SysRng)).public().to_base64()
}
