//! What may not go before the pods that need it: the node driver.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::Result;
use e2e::install::{self, NAMESPACE, RELEASE, helm};
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, ResourceExt};

/// Without the driver the pod could never end. Helm is told so before it has removed anything, and the release can be
/// used as before.
#[tokio::test]
async fn uninstalling_is_refused_while_an_injected_pod_runs_and_names_it() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "in-use", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
        ns.shell("web", asking("web", "github")).await?;
        let drivers = Api::<DaemonSet>::namespaced(ns.client(), NAMESPACE);
        let before = drivers.get("coffer-node").await?.uid();

        let said = helm(&cluster, &["uninstall", RELEASE, "--namespace", NAMESPACE]).refused().await;
        // Helm calls the release `uninstalling` from now on, and takes it back by the very command that was told.
        let told = said.as_ref().ok().and_then(|said| said.split("or keep Coffer: helm ").nth(1));
        let told = told
            .and_then(|rest| rest.split(" (until").next())
            .unwrap_or("rollback coffer --namespace coffer-system");
        let told: Vec<_> = told.split(' ').chain(["--wait", "--timeout", "2m"]).collect();
        helm(&cluster, &told).run().await?;
        let said = said?;
        assert!(said.contains(&format!("or keep Coffer: helm rollback {RELEASE} ")), "{said}");
        assert!(said.contains(&format!("could never end: {}/web on node ", ns.name())), "{said}");
        assert_eq!(drivers.get("coffer-node").await?.uid(), before, "the driver was removed");
        assert_eq!(ns.kubectl().exec("web", &["cat", "/coffer/github/token"]).await?, "ghp_value");
        // Nothing of the question stays.
        for kind in ["job", "serviceaccount", "clusterrole", "clusterrolebinding"] {
            let left = cluster.kubectl().namespaced(NAMESPACE).run(["get", kind, "coffer-uninstall"]);
            let said = left.refused().await?;
            assert!(said.contains("NotFound"), "{kind}: {said}");
        }
        Ok(())
    })
    .await
}
