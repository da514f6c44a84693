//! Faults: what happens to Coffer's pods and to the network sooner or later, done to them on purpose.
//!
//! Whoever cuts something mends it: a [`Cut`] that is dropped is mended.

use crate::cluster::Cluster;
use crate::cluster::component::Component;
use crate::install::NAMESPACE;
use crate::process::{self, Process};
use crate::service;
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a component may take to be well again: a killed container may wait for the kubelet's back-off.
pub const RECOVERY: Duration = Duration::from_secs(120);

/// The Lease of the operator that leads.
const LEASE: &str = "coffer-operator";

/// The pods of one component of Coffer (`operator`, `webhook`, `broker`, `node`), by name.
///
/// # Errors
/// If the API server does not answer.
pub async fn pods(cluster: &Cluster, component: &str) -> Result<Vec<Pod>> {
    let mut found = with_those_that_end(cluster, component).await?;
    found.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    found.sort_by_key(ResourceExt::name_any);
    Ok(found)
}

/// One that is ending still answers for a while.
async fn with_those_that_end(cluster: &Cluster, component: &str) -> Result<Vec<Pod>> {
    let label = format!("app.kubernetes.io/part-of=coffer,app.kubernetes.io/component={component}");
    Ok(coffer_pods(cluster).await?.list(&ListParams::default().labels(&label)).await?.items)
}

/// One pod of a component.
///
/// # Errors
/// If there is none.
pub async fn one_pod(cluster: &Cluster, component: &str) -> Result<Pod> {
    pods(cluster, component).await?.into_iter().next().with_context(|| format!("no pod of the {component}"))
}

/// Where a pod of Coffer's is reached.
///
/// # Errors
/// If it has no address.
pub fn address(pod: &Pod) -> Result<String> {
    pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("the pod has no address")
}

/// What a pod of Coffer's tells at a path of its admin port, whatever the status.
///
/// # Errors
/// If it does not answer.
pub async fn admin(pod: &Pod, path: &str) -> Result<String> {
    let address = format!("{}:8080", address(pod)?);
    let stream = tokio::net::TcpStream::connect(&address).await.context("reach the admin port")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    // Ends with the sender.
    tokio::spawn(connection);
    let request = http::Request::get(path).header("host", address).body(String::new())?;
    let body = sender.send_request(request).await.context("ask the admin port")?.into_body();
    let body = http_body_util::BodyExt::collect(body).await.context("read its answer")?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The pods of Coffer's namespace.
///
/// # Errors
/// If the kubeconfig cannot be read.
pub async fn coffer_pods(cluster: &Cluster) -> Result<Api<Pod>> {
    Ok(Api::namespaced(cluster.client().await?, NAMESPACE))
}

/// The pod of the operator that leads.
///
/// # Errors
/// If nobody does.
pub async fn leader(cluster: &Cluster) -> Result<Pod> {
    let holder = lease_holder(cluster).await?;
    let name = holder.split('/').next().unwrap_or_default();
    coffer_pods(cluster).await?.get(name).await.with_context(|| format!("the leader is '{holder}'"))
}

/// Who holds the operator's Lease: the pod's name, a slash, and what tells this process from the one before.
///
/// # Errors
/// If nobody does.
pub async fn lease_holder(cluster: &Cluster) -> Result<String> {
    let lease = Api::<Lease>::namespaced(cluster.client().await?, NAMESPACE).get(LEASE).await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
    holder.context("nobody holds the operator's Lease")
}

/// `kill -9` every process of a pod's containers; the kubelet starts them again.
///
/// # Errors
/// If there is none, or it does not die.
pub async fn kill(pod: &Pod) -> Result<()> {
    let processes = processes(pod)?;
    for process in processes {
        process.kill().await?;
    }
    Ok(())
}

/// Ask a pod to end as a drain does, and let its controller make another.
///
/// # Errors
/// If the API server refuses, or it does not end.
pub async fn replace(cluster: &Cluster, pod: &Pod) -> Result<()> {
    let pods = coffer_pods(cluster).await?;
    let (name, uid) = (pod.name_any(), pod.uid());
    pods.delete(&name, &DeleteParams::default()).await?;
    wait::until(&format!("pod '{name}' to be another"), RECOVERY, async || {
        Ok(pods.get_opt(&name).await?.is_none_or(|now| now.uid() != uid).then_some(()))
    })
    .await
}

/// How often the containers of a pod were started again.
#[must_use]
pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).sum()
}

/// Wait until a pod of this name was started again and is ready.
///
/// # Errors
/// If that takes too long.
pub async fn restarted(cluster: &Cluster, before: &Pod) -> Result<()> {
    let name = before.name_any();
    let again = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| restarts(pod) > restarts(before) && wait::pod_condition(pod, "Ready"))
    };
    wait::object(&coffer_pods(cluster).await?, &name, "to be started again and ready", RECOVERY, again)
        .await
        .map(drop)
}

/// Wait until `count` pods of a component are ready, no other is left, and its Service reaches them.
///
/// # Errors
/// If that takes too long.
pub async fn ready(cluster: &Cluster, component: &str, count: usize) -> Result<()> {
    wait::until(&format!("{count} ready pods of the {component}"), RECOVERY, async || {
        let pods = with_those_that_end(cluster, component).await?;
        let ready = pods.iter().filter(|pod| wait::pod_condition(pod, "Ready")).count();
        Ok((pods.len() == count && ready == count).then_some(()))
    })
    .await?;
    if count == 0 { Ok(()) } else { service::reached(cluster, component, RECOVERY).await }
}

/// Run so many replicas of a Deployment of Coffer's, and wait until there are just these: with none, nobody answers
/// any more, not even on the connections that the API server keeps.
///
/// # Errors
/// If that takes too long.
pub async fn scale(cluster: &Cluster, component: &str, count: usize) -> Result<()> {
    let (deployment, replicas) = (format!("deployment/coffer-{component}"), format!("--replicas={count}"));
    cluster.kubectl().namespaced(NAMESPACE).run(["scale", &deployment, &replicas]).ok().await?;
    ready(cluster, component, count).await
}

/// A network that is cut until this is mended or dropped.
#[derive(Debug)]
#[must_use = "the network is whole again when this is dropped"]
pub struct Cut {
    undo: Vec<Vec<String>>,
}

impl Cut {
    /// Nothing reaches a pod and nothing leaves it; its link stays up, as when a cable is pulled further away.
    ///
    /// # Errors
    /// If the pod does not run, or the rules are refused.
    pub fn off(pod: &Pod) -> Result<Self> {
        let pid = processes(pod)?.first().context("the pod runs nothing")?.pid().to_string();
        let within = ["nsenter", "--target", &pid, "--net"].map(ToOwned::to_owned);
        let rules = [["INPUT", "-i"], ["OUTPUT", "-o"]]
            .map(|[chain, side]| [chain, side, "eth0", "-j", "DROP"].map(ToOwned::to_owned).to_vec());
        Self::make(&within, &rules)
    }

    /// Nobody reaches a process of the node that listens on this port: neither its neighbours nor the pods.
    ///
    /// # Errors
    /// If the rules are refused.
    pub fn port(port: u16) -> Result<Self> {
        let port = port.to_string();
        let rules = ["--dport", "--sport"]
            .map(|side| ["INPUT", "-p", "tcp", side, &port, "-j", "DROP"].map(ToOwned::to_owned).to_vec());
        Self::make(&[], &rules)
    }

    fn make(within: &[String], rules: &[Vec<String>]) -> Result<Self> {
        let mut cut = Self { undo: Vec::new() };
        for rule in rules {
            let words = |action: &str| {
                let command = ["iptables".to_owned(), "-w".to_owned(), action.to_owned()];
                within.iter().cloned().chain(command).chain(rule.iter().cloned()).collect::<Vec<_>>()
            };
            run(&words("-I"))?;
            cut.undo.push(words("-D"));
        }
        Ok(cut)
    }

    /// Mend it.
    pub fn mend(self) {
        drop(self);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        for words in self.undo.drain(..) {
            // A pod that is gone took its rules with it.
            let _ = run(&words);
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let [program, arguments @ ..] = words else { bail!("no command") };
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("start {program}"))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The processes of a pod's containers, told by their control group: it is named after the container.
fn processes(pod: &Pod) -> Result<Vec<Process>> {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ids: Vec<String> = statuses
        .filter_map(|status| Some(status.container_id.as_ref()?.rsplit_once("://")?.1.to_owned()))
        .collect();
    let found = process::every(|pid| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        ids.iter().any(|id| groups.contains(id.as_str()))
    });
    ensure!(!found.is_empty(), "pod '{}' runs nothing", pod.name_any());
    Ok(found)
}

/// Nothing of Coffer panicked: no log of any container, the present one and the one before it, says so.
///
/// # Errors
/// If one did, with the line.
pub fn nothing_panicked(cluster: &Cluster) -> Result<()> {
    for log in logs_below(&cluster.layout().pod_logs(), &format!("{NAMESPACE}_"))? {
        let text = std::fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if let Some(line) = text.lines().find(|line| line.contains("panicked")) {
            bail!("{}: {line}", log.display());
        }
    }
    Ok(())
}

fn logs_below(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for pod in std::fs::read_dir(folder).with_context(|| format!("look into {}", folder.display()))? {
        let pod = pod?;
        if !pod.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        // A pod that goes meanwhile takes its folder with it.
        let Ok(containers) = std::fs::read_dir(pod.path()) else { continue };
        for container in containers.flatten() {
            let Ok(logs) = std::fs::read_dir(container.path()) else { continue };
            found.extend(logs.flatten().map(|log| log.path()));
        }
    }
    Ok(found)
}

/// What an installation at rest does: requests about Coffer's kinds, and processor time.
#[derive(Clone, Copy, Debug)]
pub struct Unrest {
    /// Requests about Coffer's kinds in a second, watches aside.
    pub requests_per_second: f64,
    /// The busiest process of Coffer's: the part of one processor that it takes.
    pub busiest: f64,
}

/// Observe for `time` what goes on.
///
/// # Errors
/// If the API server or the kernel does not tell.
pub async fn unrest(cluster: &Cluster, time: Duration) -> Result<Unrest> {
    let mut all = Vec::new();
    for component in ["operator", "webhook", "broker", "node"] {
        for pod in pods(cluster, component).await? {
            all.extend(processes(&pod)?);
        }
    }
    let ticks = || all.iter().map(|process| ticks(process.pid()).unwrap_or(0)).collect::<Vec<_>>();
    let (requests, busy) = (requests(cluster).await?, ticks());
    // The one wait for time itself: a rate has no other condition.
    tokio::time::sleep(time).await;
    let (requests_after, busy_after) = (self::requests(cluster).await?, ticks());
    let most = busy_after.iter().zip(&busy).map(|(after, before)| after.saturating_sub(*before)).max();
    // USER_HZ, a part of the kernel's interface on every architecture that Coffer runs on.
    let per_second = 100.0;
    Ok(Unrest {
        requests_per_second: (requests_after - requests) / time.as_secs_f64(),
        busiest: most.unwrap_or(0) as f64 / per_second / time.as_secs_f64(),
    })
}

/// Processor time of a process so far, in clock ticks: fields 14 and 15 of `/proc/<pid>/stat`, proc(5).
fn ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// How many requests about Coffer's kinds the API server has answered, watches aside.
async fn requests(cluster: &Cluster) -> Result<f64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text =
        cluster.client().await?.request_text(request).await.context("ask for the API server's metrics")?;
    let ours = text.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && line.contains("group=\"coffer.dev\"")
            && !line.contains("verb=\"WATCH\"")
    });
    Ok(ours.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
}

/// Start whichever of the cluster's components has ended, as a machine's own supervisor would, until all answer and the
/// node is ready.
///
/// # Errors
/// If that takes too long.
pub async fn cluster_well(cluster: &Cluster) -> Result<()> {
    wait::until("the cluster to be well", RECOVERY, async || {
        for component in Component::ALL {
            cluster.start(component)?;
        }
        cluster.settle(Duration::from_secs(15)).await.map(Some)
    })
    .await
}
