//! A restart of the operator: how long until it has looked at everything, and what it writes by it.

use super::memory;
use super::scrape;
use crate::cluster::Cluster;
use crate::install::NAMESPACE;
use crate::wait;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use std::time::{Duration, Instant};

const NAME: &str = "coffer-operator";

/// How long an operator may take to look at everything.
const OBSERVING: Duration = Duration::from_secs(120);
/// Nothing reconciled, or nothing written, for so long: everything has been.
const QUIET: Duration = Duration::from_secs(3);
/// How often its counters are read.
const LOOK: Duration = Duration::from_millis(20);

/// What a restart took.
#[derive(Clone, Copy, Debug)]
pub struct Restarted {
    /// From the start of the process to the last reconcile of the first look at everything.
    pub observed: Duration,
    /// How many reconciles of Connections that took.
    pub reconciles: f64,
    /// Changes of Coffer's objects and of rights that the API server was asked for meanwhile, by anybody.
    pub writes: f64,
    /// Changes that the operator says it asked for.
    pub own_writes: f64,
    /// Its memory afterwards.
    pub memory: memory::Resident,
}

/// End all operators, start one, and see what it does about this many Connections.
///
/// # Errors
/// If it does not look at all of them in two minutes.
pub async fn operator(cluster: &Cluster, connections: f64) -> Result<Restarted> {
    let client = cluster.client().await?;
    let operators = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    let replicas = operators.get(NAME).await?.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let result = restart(&client, &operators, connections).await;
    scale(&operators, replicas).await?;
    wait::object(&operators, NAME, "all operators ready", wait::SOON, |found: Option<&Deployment>| {
        found.and_then(|found| found.status.as_ref()?.ready_replicas) == Some(replicas)
    })
    .await?;
    result
}

async fn restart(client: &Client, operators: &Api<Deployment>, connections: f64) -> Result<Restarted> {
    settled(client).await?;
    scale(operators, 0).await?;
    wait::until("the operators to end", wait::SOON, async || {
        Ok(memory::pids("operator").is_empty().then_some(()))
    })
    .await?;
    let before = scrape::writes(client).await?;
    scale(operators, 1).await?;
    let started = born().await?;
    let (observed, reconciles) = observed(client, started, connections).await?;
    let own = scrape::component(client, "operator").await?;
    Ok(Restarted {
        observed,
        reconciles,
        writes: scrape::writes(client).await? - before,
        own_writes: scrape::sum(&own, "coffer_operator_writes_total", &[]),
        memory: memory::most("operator")?,
    })
}

/// Wait until nothing of Coffer is written any more: what was owed before the restart is not by the restart.
async fn settled(client: &Client) -> Result<()> {
    let mut writes = scrape::writes(client).await?;
    let mut last = Instant::now();
    wait::until("the writes to end", wait::SOON, async || {
        let found = scrape::writes(client).await?;
        if found > writes {
            (writes, last) = (found, Instant::now());
        }
        Ok((last.elapsed() >= QUIET).then_some(()))
    })
    .await
}

async fn scale(operators: &Api<Deployment>, replicas: i32) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    operators.patch_scale(NAME, &PatchParams::default(), &patch).await.context("scale the operator")?;
    Ok(())
}

/// When the operator's process is there, to a few milliseconds.
async fn born() -> Result<Instant> {
    let deadline = Instant::now() + wait::SOON;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while memory::pids("operator").is_empty() {
        if Instant::now() > deadline {
            bail!("no operator started in {} s", wait::SOON.as_secs());
        }
        ticks.tick().await;
    }
    Ok(Instant::now())
}

/// When the last Connection was looked at, and how many looks there were.
async fn observed(client: &Client, started: Instant, connections: f64) -> Result<(Duration, f64)> {
    let (mut reconciles, mut last) = (0.0, Instant::now());
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        // No address yet, or a port that is not open yet, is "none so far".
        let text = scrape::component(client, "operator").await.unwrap_or_default();
        let found = scrape::sum(&text, "coffer_operator_reconciles_total", &[("kind", "Connection")]);
        if found > reconciles {
            (reconciles, last) = (found, now);
        }
        if reconciles >= connections && last.elapsed() >= QUIET {
            return Ok((last - started, reconciles));
        }
        if started.elapsed() > OBSERVING {
            bail!("{reconciles} of {connections} Connections reconciled in {} s", OBSERVING.as_secs());
        }
    }
}
