//! The chart's promises, asked of the cluster that it is installed on.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use serde_json::{Value, json};
use std::fs;

async fn list(ns: &Namespace, kinds: &str) -> Result<Vec<Value>> {
    let coffer = ns.kubectl().namespaced(NAMESPACE);
    let said = coffer.run(["get", kinds, "-o", "json", "-l", "app.kubernetes.io/name=coffer"]).ok().await?;
    let mut list: Value = serde_json::from_str(&said)?;
    Ok(list["items"].as_array_mut().context("no list")?.drain(..).collect())
}

/// T23, judged by the API server's own Pod Security admission: with the chart's UID, one that OpenShift assigns, none.
#[tokio::test]
async fn all_pods_but_the_node_drivers_are_admitted_where_restricted_pod_security_is_enforced() -> Result<()>
{
    let cluster = install::installed().await?;
    let labels = [("pod-security.kubernetes.io/enforce", "restricted")];
    Namespace::lend(&cluster, "restricted", &labels, async |ns| {
        let workloads = list(ns, "deployments,statefulsets,daemonsets").await?;
        assert_eq!(workloads.len(), 4);
        for workload in workloads {
            let name = workload["metadata"]["name"].as_str().unwrap();
            for uid in [None, Some(json!(1_000_650_000)), Some(Value::Null)] {
                let mut spec = workload["spec"]["template"]["spec"].clone();
                // What the StatefulSet's controller adds.
                for claim in workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
                    let volume = json!({"name": claim["metadata"]["name"], "emptyDir": {}});
                    spec["volumes"].as_array_mut().unwrap().push(volume);
                }
                // Of Coffer's own namespace.
                spec.as_object_mut().unwrap().remove("serviceAccountName");
                spec.as_object_mut().unwrap().remove("serviceAccount");
                if let Some(uid) = uid {
                    spec["securityContext"]["runAsUser"] = uid;
                }
                let pod =
                    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
                let said = ns
                    .kubectl()
                    .run(["create", "--dry-run=server", "-f", "-"])
                    .input(&pod.to_string())
                    .said()
                    .await?;
                if name == "coffer-node" {
                    ensure!(
                        said.err.contains("violates PodSecurity"),
                        "the driver was admitted: {}",
                        said.out
                    );
                } else {
                    ensure!(said.ok, "{name}: {}", said.err);
                }
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn helm_test_takes_a_credential_its_whole_way_and_leaves_nothing() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "helm-test", &[], async |ns| {
        // Twice: what the first run has made is in no way of the second.
        for _ in 0..2 {
            let told =
                install::helm(&cluster, &["test", "coffer", "--namespace", NAMESPACE, "--timeout", "3m"])
                    .output()
                    .await?;
            ensure!(told.contains("Phase:") && told.contains("Succeeded"), "{told}");
        }
        let kinds = "serviceaccount,vault,vaultmember,connection,pod";
        let left = ns.kubectl().namespaced(NAMESPACE);
        let left =
            left.run(["get", kinds, "-o", "name", "-l", "app.kubernetes.io/component=test"]).ok().await?;
        ensure!(left.is_empty(), "left behind: {left}");
        Ok(())
    })
    .await
}

/// T18: a dashboard that is made from the reference knows all that there is.
#[tokio::test]
async fn whatever_a_real_scrape_shows_is_in_the_metrics_reference() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "scrapes", &[], async |ns| {
        let reference = fs::read_to_string(cluster.layout().checkout().join("docs/reference/metrics.md"))?;
        let mut scraped = String::new();
        for pod in list(ns, "pods").await? {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics");
            scraped += &ns.kubectl().run(["get", "--raw", &path]).ok().await?;
        }
        let names = |line: &str| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            Some(format!("{name}{}", if kind == "counter" { "_total" } else { "" }))
        };
        let shown: Vec<_> = scraped.lines().filter_map(names).collect();
        for name in &shown {
            ensure!(reference.contains(&format!("| `{name}` |")), "{name} is not in the reference");
        }
        // A family shows once something of it has happened.
        ensure!(shown.len() > 12, "only these are shown: {shown:?}");
        Ok(())
    })
    .await
}
