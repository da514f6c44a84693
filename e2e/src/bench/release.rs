//! The broker under load: releases that are on record before they are made.

use super::Sizes;
use super::figure::Figure;
use super::load::{self, Load, Posted};
use super::memory;
use super::statistics::ms;
use crate::broker::{Door, Knock, pod_token};
use crate::cluster::Cluster;
use crate::namespace::Namespace;
use crate::team::Team;
use anyhow::{Context, Result, ensure};
use coffer_broker_api::RELEASE_PATH;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use serde_json::json;

/// How many pods ask, each with a token of its own.
const PODS: usize = 4;
/// A rate that a large cluster may have for hours.
const STEADY: u32 = 500;

/// Releases per second, their 99th percentile, the same at a steady rate, and the broker's memory.
///
/// # Errors
/// If the broker does not answer, or refuses.
pub async fn measure(cluster: &Cluster, sizes: &Sizes) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    Namespace::lend_alone(cluster, "bench-release", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("username", "bot"), ("token", "ghp_value")]).await?;
        let door = Door::find(cluster).await?;
        let load = Load {
            path: RELEASE_PATH,
            requests: askers(ns, &door).await?,
            expected: "\"sealed\":\"",
            time: sizes.load,
            rate: None,
        };
        let busy = load::run(door.target(), load.clone()).await?;
        let memory = memory::most("broker")?;
        let steady = load::run(door.target(), Load { rate: Some(STEADY), ..load }).await?;
        let how = format!(
            "{} kept connections over TLS, {} requests of {PODS} pods, each on record on disk before its answer; \
             the client needs a part of the same processors",
            load::CONNECTIONS,
            busy.requests()
        );
        figures = vec![
            Figure::new("broker: releases", busy.per_second(), "/s")
                .at_least(5_000.0)
                .others("OpenBao KV read, no audit, 4,600/s")
                .note(how),
            Figure::new("broker: release, p99", ms(busy.percentile(99)), "ms")
                .at_most(12.0)
                .others("OpenBao KV read, no audit, 15 ms")
                .note(format!("p50 {:.2} ms", ms(busy.percentile(50)))),
            Figure::new(format!("broker: release at {STEADY}/s, p99"), ms(steady.percentile(99)), "ms")
                .at_most(5.0)
                .note(format!("p50 {:.2} ms, {} requests", ms(steady.percentile(50)), steady.requests())),
            memory.figure("memory: broker under load").at_most(20.0),
        ];
        Ok(())
    })
    .await?;
    Ok(figures)
}

/// A request of each of some pods, seen to be answered with the values.
async fn askers(ns: &Namespace, door: &Door) -> Result<Vec<Posted>> {
    let accounts: Api<ServiceAccount> = ns.api();
    let account = accounts.get("web").await?;
    let pods = (0..PODS).map(async |number| {
        ns.shell(&format!("asker-{number}"), json!({"spec": {"serviceAccountName": "web"}})).await
    });
    let pods: Vec<Pod> = try_join_all(pods).await?;
    try_join_all(pods.iter().map(async |pod| {
        let token = pod_token(&accounts, pod).await?;
        let knock = Knock::new(pod, &["github"])?;
        let released = knock.open(&door.ask_as(&token, &knock).await?, &account)?;
        ensure!(released.connections.len() == 1, "one Connection was asked for");
        Ok(Posted {
            headers: vec![("authorization", format!("Bearer {token}"))],
            body: serde_json::to_vec(&knock.request).context("write a request")?,
        })
    }))
    .await
}
