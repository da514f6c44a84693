//! What an administrator does on a working day: nobody notices.

use anyhow::{Result, bail, ensure};
use e2e::cluster::Cluster;
use e2e::fault;
use e2e::install::{self, NAMESPACE};
use e2e::load::Load;
use e2e::namespace::Namespace;
use e2e::team::INJECTED;
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::EvictParams;
use kube::{Api, ResourceExt};
use std::time::Duration;

async fn roll(cluster: &Cluster, workload: &str) -> Result<()> {
    let kubectl = cluster.kubectl().namespaced(NAMESPACE);
    kubectl.run(["rollout", "restart", workload]).ok().await?;
    kubectl.run(["rollout", "status", workload, "--timeout=180s"]).ok().await.map(drop)
}

/// C20: broker, webhook and operator are rolled and drained, and no write, pod start or release fails even once.
#[tokio::test]
async fn broker_webhook_and_operator_roll_and_are_drained_unnoticed() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "rolls", &[INJECTED], async |ns| {
        let seen = Load::during(ns, async |load| {
            load.goes_on().await?;
            for workload in
                ["statefulset/coffer-broker", "deployment/coffer-webhook", "deployment/coffer-operator"]
            {
                load.expect(&format!("roll of {workload}"));
                roll(&cluster, workload).await?;
                load.goes_on().await?;
            }
            for component in ["broker", "webhook"] {
                load.expect(&format!("drain of both pods of the {component}"));
                drain(&cluster, component).await?;
                fault::ready(&cluster, component, 2).await?;
                load.goes_on().await?;
            }
            Ok(())
        })
        .await?;
        fault::nothing_panicked(&cluster)?;
        seen.unnoticed()
    })
    .await
}

/// Evict both pods as `kubectl drain` does; the budget lets the second go only once the first is back.
async fn drain(cluster: &Cluster, component: &str) -> Result<()> {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(cluster.client().await?, NAMESPACE);
    let budget = format!("coffer-{component}");
    wait::object(
        &budgets,
        &budget,
        "to allow one eviction",
        Duration::from_secs(30),
        |found: Option<&PodDisruptionBudget>| {
            found.and_then(|found| Some(found.status.as_ref()?.disruptions_allowed)) == Some(1)
        },
    )
    .await?;
    let pods = fault::coffer_pods(cluster).await?;
    let both = fault::pods(cluster, component).await?;
    let [first, second] = both.as_slice() else { bail!("{} pods of the {component}", both.len()) };
    pods.evict(&first.name_any(), &EvictParams::default()).await?;
    // Until the budget allows it the API server answers 429, and the client asks again when it was told to.
    pods.evict(&second.name_any(), &EvictParams::default()).await?;
    let now = fault::pods(cluster, component).await?;
    let is_new = |pod: &Pod| both.iter().all(|old| old.uid() != pod.uid());
    let back = now.iter().any(|pod| is_new(pod) && wait::pod_condition(pod, "Ready"));
    ensure!(back, "the second {component} was let go before the first was back");
    Ok(())
}
