//! A node whose driver is not there: new, or being exchanged.

use anyhow::{Result, ensure};
use coffer_crds::CSI_DRIVER;
use e2e::fault;
use e2e::install::{self, NAMESPACE};
use e2e::load;
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::CSINode;
use kube::Api;

const AWAY: &str = r#"{"spec":{"template":{"spec":{"nodeSelector":{"coffer.dev/e2e":"nowhere"}}}}}"#;
const BACK: &str = r#"{"spec":{"template":{"spec":{"nodeSelector":{"coffer.dev/e2e":null}}}}}"#;

/// T38: pods wait for the driver and then start; what runs keeps its files, the same ones, without the driver and after.
#[tokio::test]
async fn pods_wait_for_a_driver_that_is_not_there_yet_and_running_ones_keep_their_files() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "driverless", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("reader").await?;
        team.connection("github", &["reader"], &[("token", "value")]).await?;
        ns.shell("runs", asking("reader", "github")).await?;
        let kubectl = ns.kubectl();
        let look =
            async || kubectl.exec("runs", &["stat", "-L", "-c", "%i %d", "/coffer/github/token"]).await;
        let before = look().await?;
        let coffer = cluster.kubectl().namespaced(NAMESPACE);
        let nodes: Api<CSINode> = Api::all(cluster.client().await?);
        let registered = |node: Option<&CSINode>| {
            node.is_some_and(|node| node.spec.drivers.iter().any(|driver| driver.name == CSI_DRIVER))
        };

        coffer.run(["patch", "daemonset", "coffer-node", "-p", AWAY]).ok().await?;
        let waited: Result<()> = async {
            fault::ready(&cluster, "node", 0).await?;
            wait::object(&nodes, "node", "without the driver", wait::SOON, |node: Option<&CSINode>| {
                !registered(node)
            })
            .await?;
            ensure!(look().await? == before, "the running pod's file is another");
            ns.create::<Pod>(load::reader("early", "github")).await?;
            wait::until("the kubelet to say what the pod waits for", wait::SOON, async || {
                let events = kubectl.run(["get", "events", "--field-selector", "involvedObject.name=early"]);
                Ok(events.ok().await?.contains("FailedMount").then_some(()))
            })
            .await
        }
        .await;
        coffer.run(["patch", "daemonset", "coffer-node", "--type", "merge", "-p", BACK]).ok().await?;
        fault::ready(&cluster, "node", 1).await?;
        waited?;

        ensure!(load::read_value(ns, "early").await? == "value");
        ensure!(look().await? == before, "the running pod's file is another after the driver's return");
        // The mount is not only there, it goes on being served.
        team.connection("github", &["reader"], &[("token", "next")]).await?;
        wait::until("the running pod to see the next value", fault::RECOVERY, async || {
            Ok((kubectl.exec("runs", &["cat", "/coffer/github/token"]).await? == "next").then_some(()))
        })
        .await?;
        fault::nothing_panicked(&cluster)
    })
    .await
}
