//! No webhook at all: whom it concerns waits, nobody else notices.

use anyhow::{Result, ensure};
use e2e::fault;
use e2e::install;
use e2e::load;
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{self as core, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

const FREE: &str = r#"{"metadata":{"finalizers":null}}"#;

/// T36, T37.
#[tokio::test]
async fn without_the_webhook_labelled_pods_wait_and_start_later_and_others_never_notice() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "webhookless", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("reader").await?;
        team.connection("github", &["reader"], &[("token", "value")]).await?;
        let mut changes = asking("reader", "github");
        changes["metadata"]["finalizers"] = json!(["example.com/keep"]);
        ns.shell("runs", changes).await?;
        let other = plain_namespace(ns).await?;

        let waited: Result<()> = async {
            fault::scale(&cluster, "webhook", 0).await?;
            let refused = ns.create::<Pod>(load::reader("refused", "github")).await;
            ensure!(refused.is_err(), "a labelled pod started without its credentials");
            ns.create::<Job>(job()).await?;

            let pods: Api<Pod> = Api::namespaced(ns.client(), &other);
            let pod: Pod = serde_json::from_value(shell_pod("plain", json!({})))?;
            pods.create(&PostParams::default(), &pod).await?;
            wait::pod_ready(&pods, "plain", wait::SOON).await?;
            // Deleting and letting go are updates of a pod: none of the webhook's business.
            ns.api::<Pod>().delete("runs", &DeleteParams::default()).await?;
            ns.kubectl().run(["patch", "pod", "runs", "--type", "merge", "-p", FREE]).ok().await?;
            wait::absent(&ns.api::<Pod>(), "runs", wait::SOON).await
        }
        .await;
        fault::scale(&cluster, "webhook", 2).await?;
        let namespaces: Api<core::Namespace> = Api::all(ns.client());
        namespaces.delete(&other, &DeleteParams::default()).await?;
        if waited.is_err() {
            // Or its namespace could never go.
            ns.kubectl().run(["patch", "pod", "runs", "--type", "merge", "-p", FREE]).said().await?;
        }
        waited?;

        let done = |job: Option<&Job>| {
            job.is_some_and(|job| job.status.iter().any(|status| status.succeeded == Some(1)))
        };
        wait::object(&ns.api::<Job>(), "waits", "to be done", fault::RECOVERY, done).await?;
        fault::nothing_panicked(&cluster)
    })
    .await
}

fn job() -> serde_json::Value {
    let mut pod = load::reader("waits", "github");
    pod["metadata"]["name"].take();
    json!({
        "metadata": {"name": "waits"},
        "spec": {"backoffLimit": 0, "template": {"metadata": pod["metadata"], "spec": pod["spec"]}},
    })
}

/// A namespace that knows nothing of Coffer.
async fn plain_namespace(ns: &Namespace) -> Result<String> {
    let name = format!("{}-plain", ns.name());
    let object: core::Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    Api::all(ns.client()).create(&PostParams::default(), &object).await?;
    let accounts: Api<core::ServiceAccount> = Api::namespaced(ns.client(), &name);
    let there = |found: Option<&core::ServiceAccount>| found.is_some();
    wait::object(&accounts, "default", "to appear", wait::SOON, there).await?;
    Ok(name)
}
