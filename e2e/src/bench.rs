//! Figures beside their goals, measured side by side in one run.
#![allow(clippy::print_stdout, reason = "the table is what this program prints")]

use crate::install;
use crate::namespace::{Namespace, shell_pod};
use crate::progress::step;
use crate::team::{INJECTED, Team, asking};
use crate::wait;
use anyhow::Result;
use coffer_crds::annotations;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How many pods of each sort are started.
const PODS: usize = 30;
/// The most that files may add to a pod's start: half of the pods, and nearly all.
const GOALS: [(&str, usize, Duration); 2] =
    [("p50", 50, Duration::from_millis(30)), ("p99", 99, Duration::from_millis(150))];

/// Measure and print; goals that are missed are marked, not failed: a busy machine is no defect.
///
/// # Errors
/// If the cluster or a pod fails.
pub async fn run() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "bench", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("username", "bot"), ("token", "ghp_value")]).await?;
        let (with, without) = step("starting pods, alternating", alternate(ns)).await?;
        table(&with, &without);
        Ok(())
    })
    .await
}

/// The times of pods with files and of the same pods without, sorted.
async fn alternate(ns: &Namespace) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let plain = json!({
        "metadata": {"labels": {annotations::INJECT: "false"}},
        "spec": {"serviceAccountName": "web"},
    });
    let (mut with, mut without) = (Vec::with_capacity(PODS), Vec::with_capacity(PODS));
    for number in 0..PODS {
        without.push(start(ns, &format!("without-{number}"), plain.clone()).await?);
        with.push(start(ns, &format!("with-{number}"), asking("web", "github")).await?);
    }
    with.sort_unstable();
    without.sort_unstable();
    Ok((with, without))
}

/// From create to Running.
async fn start(ns: &Namespace, name: &str, changes: Value) -> Result<Duration> {
    let started = Instant::now();
    ns.create::<Pod>(shell_pod(name, changes)).await?;
    wait::object(&ns.api::<Pod>(), name, "running", wait::SOON, |pod: Option<&Pod>| {
        pod.is_some_and(|pod| wait::phase(pod) == "Running")
    })
    .await?;
    let spent = started.elapsed();
    ns.api::<Pod>()
        .delete(name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
        .await?;
    wait::absent(&ns.api::<Pod>(), name, wait::SOON).await?;
    Ok(spent)
}

fn table(with: &[Duration], without: &[Duration]) {
    println!("pod create → Running, {PODS} each, alternating");
    println!("{:>6} {:>12} {:>12} {:>12} {:>12}", "", "without", "with files", "extra", "goal");
    for (name, percent, goal) in GOALS {
        let (with, without) = (percentile(with, percent), percentile(without, percent));
        let extra = with.saturating_sub(without);
        let verdict = if extra <= goal { "met" } else { "missed" };
        println!(
            "{name:>6} {:>9} ms {:>9} ms {:>9} ms ≤ {:>6} ms  {verdict}",
            without.as_millis(),
            with.as_millis(),
            extra.as_millis(),
            goal.as_millis()
        );
    }
}

/// The nearest-rank percentile of sorted times.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times: Vec<_> = (1..=30).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(15));
        assert_eq!(percentile(&times, 99), Duration::from_millis(30));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
