//! The Services of Coffer, at the addresses where the API server reaches them.

use crate::cluster::Cluster;
use crate::install::NAMESPACE;
use crate::wait;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// So many connections in a row reach a Service that has no endpoint left which is gone: kube-proxy gives each to any.
const IN_A_ROW: usize = 20;

/// A pod that is there answers the handshake of TCP (RFC 9293, section 3.5) at once.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// Address and port of a component's Service, if it has one.
///
/// # Errors
/// If the API server does not answer, or the Service has no address.
pub async fn find(cluster: &Cluster, component: &str) -> Result<Option<String>> {
    let services = Api::<Service>::namespaced(cluster.client().await?, NAMESPACE);
    let Some(service) = services.get_opt(&format!("coffer-{component}")).await? else { return Ok(None) };
    let spec = service.spec.unwrap_or_default();
    let port = spec.ports.unwrap_or_default().first().map(|port| port.port);
    let address = spec.cluster_ip.zip(port).map(|(ip, port)| format!("{ip}:{port}"));
    address.with_context(|| format!("the Service of the {component} has no address")).map(Some)
}

/// Address and port of a component's Service.
///
/// # Errors
/// As for [`find`], and if it has none.
pub async fn address(cluster: &Cluster, component: &str) -> Result<String> {
    find(cluster, component).await?.with_context(|| format!("the {component} has no Service"))
}

/// Wait until every connection to a component's Service reaches a pod.
///
/// A pod is ready in the API a moment before kube-proxy knows, which programs the node once a second at most
/// (`iptables.minSyncPeriod` of its configuration): until then a connection is refused, or goes to a pod that is gone.
///
/// # Errors
/// If that takes too long.
pub async fn reached(cluster: &Cluster, component: &str, within: Duration) -> Result<()> {
    let Some(address) = find(cluster, component).await? else { return Ok(()) };
    wait::until(&format!("the Service of the {component} to reach its pods"), within, async || {
        for _ in 0..IN_A_ROW {
            timeout(HANDSHAKE, TcpStream::connect(&address)).await.context("nobody answers")??;
        }
        Ok(Some(()))
    })
    .await
}
