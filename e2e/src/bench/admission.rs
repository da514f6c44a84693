//! The webhook under load: pods that get a credential, asked about as the API server asks.

use super::Sizes;
use super::figure::Figure;
use super::load::{self, Load, Posted, Target};
use super::memory;
use super::statistics::ms;
use crate::broker;
use crate::cluster::Cluster;
use crate::install::NAMESPACE;
use crate::namespace::{Namespace, shell_pod};
use crate::service;
use crate::team::{INJECTED, Team, asking};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::sync::Arc;

/// Mutations per second, their 99th percentile, and the webhook's memory meanwhile.
///
/// # Errors
/// If the webhook does not answer, or refuses.
pub async fn measure(cluster: &Cluster, sizes: &Sizes) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    Namespace::lend_alone(cluster, "bench-admission", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("username", "bot"), ("token", "ghp_value")]).await?;
        let load = Load {
            path: "/admit/pods",
            requests: vec![Posted {
                headers: Vec::new(),
                body: serde_json::to_vec(&review(ns.name())).context("write a review")?,
            }],
            // A patch, not only a permission.
            expected: "\"patchType\":\"JSONPatch\"",
            time: sizes.load,
            rate: None,
        };
        let answered = load::run(webhook(cluster).await?, load).await?;
        let how = format!(
            "{} connections over TLS, {} requests; the client needs a part of the same processors",
            load::CONNECTIONS,
            answered.requests()
        );
        figures = vec![
            Figure::new("webhook: pod mutations", answered.per_second(), "/s")
                .at_least(8_000.0)
                .others("Vault's injector 2,250/s")
                .note(how),
            Figure::new("webhook: pod mutation, p99", ms(answered.percentile(99)), "ms")
                .at_most(5.0)
                .others("Vault's injector 38 ms")
                .note(format!("p50 {:.2} ms", ms(answered.percentile(50)))),
            memory::most("webhook")?
                .figure("memory: webhook under load")
                .at_most(12.0)
                .others("Vault's injector 42 MiB"),
        ];
        Ok(())
    })
    .await?;
    Ok(figures)
}

async fn webhook(cluster: &Cluster) -> Result<Target> {
    Ok(Target {
        address: service::address(cluster, "webhook").await?,
        host: format!("coffer-webhook.{NAMESPACE}.svc"),
        tls: Arc::new(broker::trust(&cluster.client().await?).await?),
    })
}

/// What the API server sends for a pod of a Deployment.
fn review(namespace: &str) -> Value {
    let mut pod = shell_pod("web-5f6c7d8b9-x2x4z", asking("web", "github"));
    pod["metadata"]["namespace"] = namespace.into();
    pod["metadata"]["labels"] = json!({"app": "web", "pod-template-hash": "5f6c7d8b9"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": "web-5f6c7d8b9-x2x4z", "namespace": namespace, "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "a7e0ab33-5f29-11e8-8a3c-36e6bb280816",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
            },
            "object": pod, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
