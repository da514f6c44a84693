//! The main job: a pod gets its team's credential by its ServiceAccount, and nobody else does.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::Result;
use e2e::install::{self, NAMESPACE};
use e2e::kubectl::Kubectl;
use e2e::namespace::{Namespace, shell_pod};
use e2e::team::{INJECTED, Team, asking};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

/// What the API server says of a refused pod, without its own words before it.
async fn refusal(ns: &Namespace, pod: Value) -> Result<String> {
    let said = ns.kubectl().apply_refused(&pod.to_string()).await?;
    Ok(said.trim().rsplit_once("denied the request: ").map_or(said.clone(), |(_, text)| text.to_owned()))
}

/// Every audit record of every broker about this namespace, oldest first within each.
async fn audit(ns: &Namespace, coffer: &Kubectl) -> Result<Vec<Value>> {
    let brokers =
        coffer.run(["get", "pods", "-l", "app.kubernetes.io/component=broker", "-o", "name"]).ok().await?;
    let mut records = Vec::new();
    for broker in brokers.lines() {
        let lines = coffer.exec(broker, &["/coffer-broker", "audit"]).await?;
        let all = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.extend(all.filter(|record| {
            record["connection"].as_str().is_some_and(|name| name.starts_with(&format!("{}/", ns.name())))
        }));
    }
    Ok(records)
}

#[tokio::test]
async fn a_listed_member_finds_both_items_as_files_that_only_its_group_reads() -> Result<()> {
    let cluster = install::installed().await?;
    let labels = [INJECTED, ("pod-security.kubernetes.io/enforce", "restricted")];
    Namespace::lend(&cluster, "files", &labels, async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("username", "bot"), ("token", "ghp_value")]).await?;

        let pod = ns.shell("web", asking("web", "github")).await?;
        let kubectl = ns.kubectl();
        assert_eq!(kubectl.exec("web", &["cat", "/coffer/github/token"]).await?, "ghp_value");
        assert_eq!(kubectl.exec("web", &["cat", "/coffer/github/username"]).await?, "bot");
        let mode = kubectl.exec("web", &["stat", "-L", "-c", "%a %g", "/coffer/github/token"]).await?;
        assert_eq!(mode.trim(), "440 1000");
        let write =
            kubectl.run(["exec", "web", "--", "sh", "-c", "echo x > /coffer/github/token"]).refused().await?;
        assert!(write.contains("Read-only file system") || write.contains("Permission denied"), "{write}");
        let text = serde_json::to_string(&pod)?;
        assert!(!text.contains("ghp_value") && !text.contains("\"secretName\""), "{text}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_the_annotation_a_pod_gets_everything_in_its_scope_and_a_stranger_is_left_alone() -> Result<()>
{
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "scope", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        team.connection("mine", &["web"], &[("key", "one")]).await?;
        team.connection("everyones", &["*"], &[("key", "two")]).await?;

        ns.shell("web", json!({"spec": {"serviceAccountName": "web"}})).await?;
        let kubectl = ns.kubectl();
        assert_eq!(kubectl.exec("web", &["ls", "/coffer"]).await?, "everyones\nmine\n");
        ns.shell("intern", json!({"spec": {"serviceAccountName": "intern"}})).await?;
        assert_eq!(kubectl.exec("intern", &["ls", "/coffer"]).await?, "everyones\n");
        let stranger = ns.shell("stranger", json!({})).await?;
        let volumes = stranger.spec.unwrap().volumes.unwrap_or_default();
        assert!(volumes.iter().all(|volume| volume.csi.is_none()), "{volumes:?}");
        Ok(())
    })
    .await
}

/// C34, T28.
#[tokio::test]
async fn who_may_not_is_told_who_may_and_a_stranger_is_told_what_an_absent_credential_is() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "denied", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        ns.service_account("stranger").await?;
        team.connection("github", &["web"], &[("token", "ghp_value")]).await?;

        assert_eq!(
            refusal(ns, shell_pod("intern", asking("intern", "github"))).await?,
            "Credential 'github' is not accessible to member 'intern'. Allowed: web"
        );
        let there = refusal(ns, shell_pod("stranger", asking("stranger", "github"))).await?;
        let absent = refusal(ns, shell_pod("stranger", asking("stranger", "absent"))).await?;
        assert_eq!(there, "Credential 'github' not found");
        assert_eq!(absent, "Credential 'absent' not found");
        Ok(())
    })
    .await
}

/// C10.
#[tokio::test]
async fn each_release_has_one_record_with_who_what_and_where() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "audit", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
        let pod = ns.shell("web", asking("web", "github")).await?;

        let records = audit(ns, &cluster.kubectl().namespaced(NAMESPACE)).await?;
        let record = records.iter().find(|record| record["decision"] == "allowed").unwrap();
        assert_eq!(record["event"], "release");
        assert_eq!(record["member"], "web");
        assert_eq!(record["verb"], "use");
        assert_eq!(record["connection"], format!("{}/github", ns.name()));
        assert_eq!(record["actor"]["name"], format!("system:serviceaccount:{}:web", ns.name()));
        assert_eq!(record["actor"]["pod"], format!("{}/web", ns.name()));
        assert_eq!(record["actor"]["node"], pod.spec.clone().unwrap().node_name.unwrap());
        assert!(!serde_json::to_string(&records)?.contains("ghp_value"));
        Ok(())
    })
    .await
}

/// The scope is asked again at each release: a change acts on the next pod.
#[tokio::test]
async fn sharing_lets_the_next_pod_in_and_unsharing_keeps_it_out() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "share", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.workload("intern").await?;
        team.connection("github", &["web"], &[("token", "ghp_value")]).await?;
        let share = |members: &'static str| {
            let kubectl = ns.kubectl();
            let patch = json!({"spec": {"members": members.split(',').collect::<Vec<_>>()}}).to_string();
            async move {
                kubectl.run(["patch", "connection", "github", "--type", "merge", "-p", &patch]).ok().await
            }
        };
        share("web,intern").await?;
        team.ready("github").await?;
        ns.shell("intern", asking("intern", "github")).await?;
        assert_eq!(ns.kubectl().exec("intern", &["cat", "/coffer/github/token"]).await?, "ghp_value");

        share("web").await?;
        team.ready("github").await?;
        let refused = e2e::wait::until("the next pod to be refused", e2e::wait::SOON, async || {
            let pod: Result<Pod> = ns.create(shell_pod("intern-2", asking("intern", "github"))).await;
            match pod {
                Err(error) => Ok(Some(format!("{error:#}"))),
                Ok(pod) => {
                    ns.api::<Pod>().delete(&pod.name_any(), &Default::default()).await?;
                    e2e::wait::absent(&ns.api::<Pod>(), &pod.name_any(), e2e::wait::SOON).await?;
                    Ok(None)
                }
            }
        })
        .await?;
        assert!(
            refused.contains("Credential 'github' is not accessible to member 'intern'. Allowed: web"),
            "{refused}"
        );
        Ok(())
    })
    .await
}
