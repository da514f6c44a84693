//! The bare cluster: what every other test takes for granted.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result};
use e2e::cluster::Cluster;
use e2e::namespace::{Namespace, shell_pod};
use e2e::{etcd, wait};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Secret, Service};
use kube::Api;
use serde_json::json;

#[tokio::test]
async fn the_node_is_ready_and_runs_the_pinned_kubernetes() -> Result<()> {
    let cluster = Cluster::up().await?;
    let node = Api::<Node>::all(cluster.client().await?).get("node").await?;
    let info = node.status.context("the node has a status")?.node_info.context("and tells about itself")?;
    assert_eq!(info.kubelet_version, "v1.37.2");
    assert_eq!(info.container_runtime_version, "containerd://2.4.2");
    Ok(())
}

#[tokio::test]
async fn a_restricted_pod_runs_a_command_resolves_names_and_reaches_the_api() -> Result<()> {
    let cluster = Cluster::up().await?;
    let labels = [("pod-security.kubernetes.io/enforce", "restricted")];
    Namespace::lend(&cluster, "pod", &labels, async |ns| {
        ns.shell("shell", json!({})).await?;
        let kubectl = ns.kubectl();
        assert_eq!(kubectl.exec("shell", &["id", "-u"]).await?.trim(), "1000");
        let answer = kubectl.exec("shell", &["nslookup", "kubernetes.default.svc.cluster.local"]).await?;
        assert!(answer.contains("10.96.0.1"), "{answer}");
        kubectl.exec("shell", &["sh", "-c", "nc -w 5 kubernetes.default 443 < /dev/null"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_service_is_reached_from_another_pod_from_its_own_pod_and_from_the_node() -> Result<()> {
    let cluster = Cluster::up().await?;
    Namespace::lend(&cluster, "service", &[], async |ns| {
        let serve = "echo served > /tmp/index.html && exec httpd -f -p 8000 -h /tmp";
        ns.shell(
            "server",
            json!({"metadata": {"labels": {"app": "server"}}, "spec": {"containers": [{
                "name": "shell",
                "image": e2e::images::SHELL,
                "command": ["sh", "-c", serve],
                "readinessProbe": {"httpGet": {"port": 8000}, "periodSeconds": 1},
            }]}}),
        )
        .await?;
        ns.shell("client", json!({})).await?;
        let service: Service = ns
            .create(json!({
                "metadata": {"name": "backend"},
                "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8000}]},
            }))
            .await?;
        let ask = ["wget", "-q", "-O", "-", "http://backend"];
        for pod in ["client", "server"] {
            let answer = wait::until(&format!("an answer to {pod}"), wait::SOON, async || {
                Ok(Some(ns.kubectl().exec(pod, &ask).await?))
            })
            .await?;
            assert_eq!(answer, "served\n");
        }
        let address = service.spec.and_then(|spec| spec.cluster_ip).context("the Service has an address")?;
        tokio::net::TcpStream::connect((address.as_str(), 80))
            .await
            .context("reach the Service from the node")?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_claim_of_the_default_class_binds_and_its_volume_is_writable_by_the_pods_group() -> Result<()> {
    let cluster = Cluster::up().await?;
    Namespace::lend(&cluster, "claim", &[], async |ns| {
        ns.create::<PersistentVolumeClaim>(json!({
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }))
        .await?;
        ns.create::<Pod>(shell_pod(
            "writer",
            json!({"spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "shell",
                    "image": e2e::images::SHELL,
                    "command": ["sh", "-c", "echo kept > /data/file && cat /data/file"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            }}),
        ))
        .await?;
        wait::pod_succeeded(&ns.api(), "writer", wait::SOON).await?;
        assert_eq!(ns.kubectl().run(["logs", "writer"]).ok().await?, "kept\n");
        Ok(())
    })
    .await
}

/// T13 and T35 rest on this: what is in etcd, or was, is found there.
#[tokio::test]
async fn a_stored_value_is_found_in_etcd_itself_also_after_it_was_deleted() -> Result<()> {
    let cluster = Cluster::up().await?;
    Namespace::lend(&cluster, "etcd", &[], async |ns| {
        let value = format!("findable-{}", ns.name());
        ns.create::<Secret>(json!({"metadata": {"name": "plain"}, "stringData": {"key": value}})).await?;
        let key = format!("/registry/secrets/{}/plain", ns.name());
        assert!(cluster.etcd().search(value.as_bytes()).await?.found.contains(&key));
        ns.api::<Secret>().delete("plain", &Default::default()).await?;
        let found = cluster.etcd().search(value.as_bytes()).await?.found;
        assert!(!found.contains(&key), "{found:?}");
        assert!(found.iter().any(|place| place.contains("/etcd/member/")), "{found:?}");
        let stored = cluster.etcd().dump().await?;
        assert!(stored.iter().any(|stored| etcd::holds(stored.key.as_bytes(), &[ns.name().into()])));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_user_by_certificate_is_in_their_groups_and_may_do_nothing_before_rbac_says_so() -> Result<()> {
    let cluster = Cluster::up().await?;
    Namespace::lend(&cluster, "user", &[], async |ns| {
        let alice = ns.kubectl_as("alice", &["developers"])?;
        let who = alice.run(["auth", "whoami", "-o", "json"]).ok().await?;
        let who: serde_json::Value = serde_json::from_str(&who)?;
        assert_eq!(who["status"]["userInfo"]["username"], "alice");
        assert_eq!(who["status"]["userInfo"]["groups"], json!(["developers", "system:authenticated"]));
        let refused = alice.run(["get", "pods"]).refused().await?;
        assert!(refused.contains("forbidden"), "{refused}");
        Ok(())
    })
    .await
}
