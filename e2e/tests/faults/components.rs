//! Coffer's own processes: killed, ended and cut off, one after the other, while a team works.

use anyhow::{Context, Result, ensure};
use e2e::cluster::Cluster;
use e2e::fault::{self, Cut};
use e2e::install;
use e2e::load::Load;
use e2e::namespace::Namespace;
use e2e::team::INJECTED;
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::time::{Duration, Instant};

/// Within which another operator leads after one was killed.
const TAKEOVER: Duration = Duration::from_secs(15);

/// How long a network is cut: longer than a readiness probe tolerates, shorter than a liveness probe does.
const CUT: Duration = Duration::from_secs(8);

/// How many pods of each component there are.
const COMPONENTS: [(&str, usize); 4] = [("operator", 2), ("webhook", 2), ("broker", 2), ("node", 1)];

/// A pod of the component to break: of the operators the one that stands by.
async fn victim(cluster: &Cluster, component: &str) -> Result<Pod> {
    if component != "operator" {
        return fault::one_pod(cluster, component).await;
    }
    let leader = fault::leader(cluster).await?.name_any();
    let operators = fault::pods(cluster, component).await?;
    operators.into_iter().find(|pod| pod.name_any() != leader).context("no operator stands by")
}

async fn well(cluster: &Cluster, load: &Load) -> Result<()> {
    for (component, count) in COMPONENTS {
        fault::ready(cluster, component, count).await?;
    }
    load.goes_on().await
}

/// Wait until another process leads.
async fn taken_over(cluster: &Cluster, before: &str, since: Instant) -> Result<()> {
    wait::until("another operator to lead", TAKEOVER.saturating_sub(since.elapsed()), async || {
        Ok((fault::lease_holder(cluster).await? != before).then_some(()))
    })
    .await
}

/// C20, T38: each component is killed, ended and cut off while Connections are written and pods start and run.
#[tokio::test]
async fn nothing_is_lost_when_a_process_of_coffer_is_killed_ended_or_cut_off() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "faults", &[INJECTED], async |ns| {
        Load::during(ns, async |load| break_each(&cluster, load).await).await?;
        fault::nothing_panicked(&cluster)?;
        let unrest = fault::unrest(&cluster, Duration::from_secs(5)).await?;
        ensure!(unrest.requests_per_second < 10.0 && unrest.busiest < 0.25, "no rest: {unrest:?}");
        Ok(())
    })
    .await
}

async fn break_each(cluster: &Cluster, load: &Load) -> Result<()> {
    load.goes_on().await?;
    for (component, _) in COMPONENTS {
        load.expect(&format!("kill -9 of the {component}"));
        let pod = victim(cluster, component).await?;
        fault::kill(&pod).await?;
        fault::restarted(cluster, &pod).await?;
        well(cluster, load).await?;

        load.expect(&format!("end of the {component}"));
        fault::replace(cluster, &victim(cluster, component).await?).await?;
        well(cluster, load).await?;

        load.expect(&format!("loss of the network of the {component}"));
        let cut = Cut::off(&victim(cluster, component).await?)?;
        tokio::time::sleep(CUT).await;
        cut.mend();
        well(cluster, load).await?;
    }

    load.expect("kill -9 of the operator that leads");
    let (pod, holder) = (fault::leader(cluster).await?, fault::lease_holder(cluster).await?);
    let killed = Instant::now();
    fault::kill(&pod).await?;
    taken_over(cluster, &holder, killed).await?;
    e2e::progress::note(format!("another leads after {:.1} s", killed.elapsed().as_secs_f32()));
    fault::restarted(cluster, &pod).await?;
    well(cluster, load).await?;

    load.expect("loss of the network of the operator that leads");
    let (pod, holder) = (fault::leader(cluster).await?, fault::lease_holder(cluster).await?);
    let began = Instant::now();
    let cut = Cut::off(&pod)?;
    taken_over(cluster, &holder, began).await?;
    cut.mend();
    well(cluster, load).await?;
    Ok(())
}
