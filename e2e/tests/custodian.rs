//! The root of trust is lost and comes back: nothing replaces it by itself, nothing is lost.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use coffer_crds::{Vault, conditions};
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};

const ROOT: &str = "coffer-root";

async fn restart_operators(pods: &Api<Pod>) -> Result<()> {
    let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
    for pod in pods.list(&operators).await? {
        pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

/// The reason of the Vault's `Ready` when that is what it should be.
async fn told(ns: &Namespace, status: &str, reason: &str) -> Result<()> {
    let vaults = ns.api::<Vault>();
    wait::object(&vaults, "team", reason, wait::SOON, |found: Option<&Vault>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|found| {
            found.conditions.iter().any(|condition| {
                condition.type_ == conditions::READY
                    && condition.status == status
                    && condition.reason == reason
            })
        })
    })
    .await
    .map(drop)
}

/// T34 for root `local`; part of C26: no silent fallback.
#[tokio::test]
async fn a_root_that_is_gone_is_missed_aloud_and_never_replaced() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "rootless", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "value")]).await?;
        ns.shell("before", asking("web", "github")).await?;
        let client = cluster.client().await?;
        let secrets = Api::<Secret>::namespaced(client.clone(), NAMESPACE);
        let pods = Api::<Pod>::namespaced(client, NAMESPACE);
        let mut copy = secrets.get(ROOT).await?;
        copy.metadata.resource_version = None;
        copy.metadata.uid = None;

        secrets.delete(ROOT, &DeleteParams::default()).await?;
        let missed = async {
            restart_operators(&pods).await?;
            told(ns, "False", conditions::reason::CUSTODIAN_UNAVAILABLE).await?;
            ensure!(secrets.get_opt(ROOT).await?.is_none(), "the root was replaced");
            // What runs goes on: the broker still holds its branch.
            ns.shell("meanwhile", asking("web", "github")).await.map(drop)
        }
        .await;
        secrets.create(&PostParams::default(), &copy).await.context("put the root back")?;
        missed?;

        told(ns, "True", conditions::reason::AVAILABLE).await?;
        team.connection("github", &["web"], &[("token", "next")]).await?;
        ns.shell("after", asking("web", "github")).await?;
        assert_eq!(ns.kubectl().exec("after", &["cat", "/coffer/github/token"]).await?, "next");
        Ok(())
    })
    .await
}
