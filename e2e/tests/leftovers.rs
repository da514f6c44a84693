//! What stays on a node after pods with files have ended: nothing.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use e2e::install;
use e2e::layout::KUBELET_ROOT;
use e2e::namespace::{Namespace, shell_pod};
use e2e::process;
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// So many pods come and go.
const PODS: usize = 200;
/// So many of them at once: the node takes 250 in all.
const AT_ONCE: usize = 50;
/// For all of them, on a busy machine.
const ALL: Duration = Duration::from_secs(420);

/// Every mount that names one of these pods, as the node sees it and as the driver does.
fn mounts_of(pods: &[String]) -> Result<Vec<String>> {
    let drivers =
        process::every(|pid| process::arguments(pid).first().is_some_and(|first| first == "/coffer-node"));
    ensure!(!drivers.is_empty(), "no node driver runs");
    let mut found = Vec::new();
    for namespace in std::iter::once("self".to_owned()).chain(drivers.iter().map(|it| it.pid().to_string())) {
        let table = format!("/proc/{namespace}/mounts");
        let mounts = std::fs::read_to_string(&table).with_context(|| format!("read {table}"))?;
        found.extend(
            mounts.lines().filter(|line| pods.iter().any(|uid| line.contains(uid))).map(str::to_owned),
        );
    }
    Ok(found)
}

/// Every folder of the kubelet that is named for one of these pods.
fn folders_of(pods: &[String]) -> Vec<String> {
    let of = |uid: &String| Path::new(KUBELET_ROOT).join("pods").join(uid);
    pods.iter().map(of).filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn two_hundred_pods_that_had_files_leave_no_mount_and_no_folder_behind() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "leftovers", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
        let mut pod = shell_pod("", asking("web", "github"));
        pod["spec"]["containers"][0]["command"] = json!(["grep", "-q", "ghp_value", "/coffer/github/token"]);
        pod["spec"]["restartPolicy"] = "Never".into();
        let template =
            json!({"metadata": {"annotations": pod["metadata"]["annotations"]}, "spec": pod["spec"]});
        let job = json!({"metadata": {"name": "many"}, "spec": {
            "completions": PODS, "parallelism": AT_ONCE, "backoffLimit": 0, "template": template,
        }});
        ns.create::<Job>(job).await?;
        let complete = |job: Option<&Job>| {
            let succeeded = job.and_then(|job| job.status.as_ref()?.succeeded);
            usize::try_from(succeeded.unwrap_or_default()).is_ok_and(|count| count == PODS)
        };
        wait::object(&ns.api::<Job>(), "many", "all pods to succeed", ALL, complete).await?;

        let pods = ns.api::<Pod>().list(&ListParams::default()).await?;
        let pods: Vec<String> = pods.iter().filter_map(ResourceExt::uid).collect();
        assert_eq!(pods.len(), PODS);
        // The volumes of a pod that has ended go while its object stays.
        wait::until("the mounts to go", wait::SOON, async || {
            let left = mounts_of(&pods)?;
            ensure!(left.is_empty(), "{} are left, such as {}", left.len(), left[0]);
            Ok(Some(()))
        })
        .await?;
        ns.api::<Job>().delete("many", &DeleteParams::background()).await?;
        wait::until("the folders to go", ALL, async || {
            let left = folders_of(&pods);
            ensure!(left.is_empty(), "{} are left, such as {}", left.len(), left[0]);
            Ok(Some(()))
        })
        .await
    })
    .await
}
