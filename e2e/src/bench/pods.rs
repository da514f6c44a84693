//! What files cost a pod's start, and the node driver's memory.

use super::figure::Figure;
use super::memory;
use super::statistics::{ms, percentile};
use super::{Sizes, statistics};
use crate::cluster::Cluster;
use crate::namespace::{Namespace, shell_pod};
use crate::progress::step;
use crate::team::{INJECTED, Team, asking};
use crate::wait;
use anyhow::Result;
use coffer_crds::annotations;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long many pods that start at once may take.
const MANY: Duration = Duration::from_secs(180);

/// Pods with files beside the same pods without.
///
/// # Errors
/// If the cluster or a pod fails.
pub async fn measure(cluster: &Cluster, sizes: &Sizes) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    Namespace::lend_alone(cluster, "bench-pods", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("username", "bot"), ("token", "ghp_value")]).await?;
        let (with, without) = step("starting pods, alternating", alternate(ns, sizes.pods)).await?;
        figures.extend(extra(&with, &without));
        figures.extend(step("starting many pods at once", bursts(ns, sizes)).await?);
        Ok(())
    })
    .await?;
    Ok(figures)
}

/// The same pod without files.
fn plain() -> Value {
    json!({"metadata": {"labels": {annotations::INJECT: "false"}}, "spec": {"serviceAccountName": "web"}})
}

/// The times of pods with files and of the same pods without, sorted.
async fn alternate(ns: &Namespace, pods: usize) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut with, mut without) = (Vec::with_capacity(pods), Vec::with_capacity(pods));
    for number in 0..pods {
        for (times, name, changes) in
            [(&mut without, "without", plain()), (&mut with, "with", asking("web", "github"))]
        {
            let name = format!("{name}-{number}");
            times.push(start(ns, &name, changes, wait::SOON).await?);
            remove(&ns.api(), &name).await?;
        }
    }
    with.sort_unstable();
    without.sort_unstable();
    Ok((with, without))
}

/// From create to Running.
async fn start(ns: &Namespace, name: &str, changes: Value, within: Duration) -> Result<Duration> {
    let started = Instant::now();
    ns.create::<Pod>(shell_pod(name, changes)).await?;
    wait::object(&ns.api::<Pod>(), name, "running", within, |pod: Option<&Pod>| {
        pod.is_some_and(|pod| wait::phase(pod) == "Running")
    })
    .await?;
    Ok(started.elapsed())
}

async fn remove(pods: &Api<Pod>, name: &str) -> Result<()> {
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete(name, &at_once).await?;
    wait::absent(pods, name, wait::SOON).await
}

fn extra(with: &[Duration], without: &[Duration]) -> Vec<Figure> {
    let others = "Secrets Store CSI driver with a mock provider 10–30 ms; Vault agent 400 or 1,250 ms";
    [(50, 30.0, Some(others)), (99, 150.0, None)]
        .map(|(percent, goal, others)| {
            let (with, without) = (ms(percentile(with, percent)), ms(percentile(without, percent)));
            let mut figure =
                Figure::new(format!("pod start: extra for files, p{percent}"), with - without, "ms")
                    .at_most(goal);
            figure.others = others;
            figure.note(format!("{with:.0} ms with files, {without:.0} ms without, alternating"))
        })
        .into()
}

/// Many pods at once, with files and without; then the node driver's memory while some of them run.
async fn bursts(ns: &Namespace, sizes: &Sizes) -> Result<Vec<Figure>> {
    let without = burst(ns, "plain", &plain(), sizes.burst).await?;
    clear(ns, "plain", 0..sizes.burst).await?;
    let with = burst(ns, "many", &asking("web", "github"), sizes.burst).await?;
    clear(ns, "many", sizes.resident..sizes.burst).await?;
    let resident = memory::most("node")?;
    let others = ms(percentile(&without, 100)) / 1e3;
    let all = Figure::new(
        format!("pod start: {} at once, all running", sizes.burst),
        ms(percentile(&with, 100)) / 1e3,
        "s",
    );
    let pods = statistics::count(sizes.resident);
    Ok(vec![
        all.note(format!("{others:.1} s without files")),
        resident
            .figure(format!("memory: node driver, {pods} injected pods"))
            .at_most(12.0)
            .others("Secrets Store CSI driver 46 MiB"),
    ])
}

async fn burst(ns: &Namespace, name: &str, changes: &Value, pods: usize) -> Result<Vec<Duration>> {
    let starts = (0..pods).map(async |number| {
        let name = format!("{name}-{number}");
        start(ns, &name, changes.clone(), MANY).await
    });
    let mut times = try_join_all(starts).await?;
    times.sort_unstable();
    Ok(times)
}

async fn clear(ns: &Namespace, name: &str, pods: std::ops::Range<usize>) -> Result<()> {
    let pods = pods.map(|number| format!("{name}-{number}"));
    try_join_all(pods.map(async |name| remove(&ns.api(), &name).await)).await.map(drop)
}
