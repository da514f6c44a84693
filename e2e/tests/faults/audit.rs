//! The audit log cannot be written: nothing is released, everybody is told, and it recovers by itself.

use anyhow::{Context, Result, ensure};
use e2e::broker::{Door, Knock, pod_token};
use e2e::cluster::Cluster;
use e2e::fault;
use e2e::install::{self, NAMESPACE};
use e2e::load;
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ServiceAccount};
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The brokers' volumes as small file systems of their own, until dropped.
struct SmallVolumes {
    folders: Vec<PathBuf>,
}

impl SmallVolumes {
    async fn mount(cluster: &Cluster) -> Result<Self> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client().await?, NAMESPACE);
        let mut volumes = Self { folders: Vec::new() };
        for pod in fault::pods(cluster, "broker").await? {
            let claim = claims.get(&format!("audit-{}", pod.name_any())).await?;
            let volume = claim.spec.and_then(|spec| spec.volume_name).context("the claim has a volume")?;
            let folder = cluster.layout().volumes().join(volume);
            command("mount", &["-t", "tmpfs", "-o", "size=1m,mode=0777", "coffer-small"], &folder)?;
            volumes.folders.push(folder);
        }
        Ok(volumes)
    }

    fn fill(&self) -> Result<()> {
        for folder in &self.folders {
            let full = std::fs::write(folder.join("filler"), vec![0; 2 << 20]);
            ensure!(full.is_err(), "{} is not full", folder.display());
        }
        Ok(())
    }

    fn free(&self) -> Result<()> {
        self.each(|folder| std::fs::remove_file(folder.join("filler")))
    }

    /// The folder of the log is away, and nothing can be made in its place.
    fn lose(&self) -> Result<()> {
        self.each(|folder| {
            std::fs::rename(folder.join("audit"), folder.join("away"))?;
            std::fs::write(folder.join("audit"), "")
        })
    }

    fn find(&self) -> Result<()> {
        self.each(|folder| {
            std::fs::remove_file(folder.join("audit"))?;
            std::fs::rename(folder.join("away"), folder.join("audit"))
        })
    }

    fn each(&self, act: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
        self.folders.iter().try_for_each(|folder| act(folder).with_context(|| folder.display().to_string()))
    }
}

impl Drop for SmallVolumes {
    fn drop(&mut self) {
        for folder in &self.folders {
            let _ = command("umount", &["--lazy"], folder);
        }
    }
}

fn command(program: &str, arguments: &[&str], path: &Path) -> Result<()> {
    let status = Command::new(program).args(arguments).arg(path).status()?;
    ensure!(status.success(), "{program} {}", path.display());
    Ok(())
}

async fn renew_brokers(cluster: &Cluster) -> Result<()> {
    for pod in fault::pods(cluster, "broker").await? {
        fault::replace(cluster, &pod).await?;
    }
    fault::ready(cluster, "broker", 2).await
}

/// One caller with its credentials, and what it was given.
struct Caller<'a> {
    cluster: &'a Cluster,
    door: Door,
    pod: Pod,
    token: String,
    given: Vec<String>,
}

impl Caller<'_> {
    /// Ask a broker itself, since a Service leaves out one that is not ready; the status and what it said.
    async fn ask(&mut self, broker: &Pod) -> Result<(u16, String)> {
        let knock = Knock::new(&self.pod, &["github"])?;
        let answer = self.door.of_pod(&fault::address(broker)?).ask_as(&self.token, &knock).await?;
        if answer.status == 200 {
            self.given.push(knock.request.request_id.clone());
        }
        Ok((answer.status, answer.message()))
    }

    async fn ask_each(&mut self) -> Result<()> {
        for broker in fault::pods(self.cluster, "broker").await? {
            let (status, said) = self.ask(&broker).await?;
            ensure!(status == 200, "{status}: {said}");
        }
        Ok(())
    }

    /// Each broker refuses with 503, is not ready and counts it; and no pod starts, though none fails.
    async fn refused(&mut self, ns: &Namespace, reader: &str) -> Result<()> {
        for broker in fault::pods(self.cluster, "broker").await? {
            // The last page of a full file system has room for a record or two, so a broker may recover a few times.
            let pods = fault::coffer_pods(self.cluster).await?;
            let said =
                wait::until("the broker to refuse and to be seen as not ready", wait::SOON, async || {
                    let (status, said) = self.ask(&broker).await?;
                    ensure!(matches!(status, 200 | 503), "{status}: {said}");
                    let metrics = fault::admin(&broker, "/metrics").await?;
                    ensure!(metrics.contains("coffer_broker_audit_writable 0"), "{metrics}");
                    let ready = fault::admin(&broker, "/readyz").await?;
                    ensure!(ready.contains("audit log cannot be written"), "{ready}");
                    let seen = pods.get(&broker.name_any()).await?;
                    Ok((status == 503 && !wait::pod_condition(&seen, "Ready")).then_some(said))
                })
                .await?;
            ensure!(said.contains("audit"), "the refusal does not say why: {said}");
        }
        ns.create::<Pod>(load::reader(reader, "github")).await?;
        let events = ns.kubectl();
        wait::until("the pod to be told why it waits", wait::SOON, async || {
            let told =
                events.run(["get", "events", "--field-selector", &format!("involvedObject.name={reader}")]);
            Ok(told.ok().await?.contains("FailedMount").then_some(()))
        })
        .await
    }
}

/// T4.
#[tokio::test]
async fn without_room_or_place_for_the_audit_log_nothing_is_released_and_it_recovers_by_itself() -> Result<()>
{
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "auditless", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("reader").await?;
        team.connection("github", &["reader"], &[("token", "value")]).await?;
        let pod = ns.shell("runs", asking("reader", "github")).await?;

        let volumes = SmallVolumes::mount(&cluster).await?;
        let tried: Result<()> = async {
            renew_brokers(&cluster).await?;
            let mut caller = Caller {
                cluster: &cluster,
                door: Door::find(&cluster).await?,
                token: pod_token(&ns.api::<ServiceAccount>(), &pod).await?,
                pod,
                given: Vec::new(),
            };
            trouble(ns, &volumes, &mut caller).await?;
            records_are_complete(&caller).await
        }
        .await;
        drop(volumes);
        renew_brokers(&cluster).await?;
        tried?;
        ensure!(load::run_reader(ns, "after", "github").await? == "value");
        fault::nothing_panicked(&cluster)
    })
    .await
}

async fn trouble(ns: &Namespace, volumes: &SmallVolumes, caller: &mut Caller<'_>) -> Result<()> {
    caller.ask_each().await?;
    volumes.fill()?;
    caller.refused(ns, "while-full").await?;
    volumes.free()?;
    fault::ready(caller.cluster, "broker", 2).await?;
    caller.ask_each().await?;
    ensure!(load::read_value(ns, "while-full").await? == "value");

    volumes.lose()?;
    caller.refused(ns, "while-gone").await?;
    volumes.find()?;
    fault::ready(caller.cluster, "broker", 2).await?;
    caller.ask_each().await?;
    ensure!(load::read_value(ns, "while-gone").await? == "value");

    for broker in fault::pods(caller.cluster, "broker").await? {
        for _ in 0..20 {
            caller.ask(&broker).await?;
        }
        fault::kill(&broker).await?;
        fault::restarted(caller.cluster, &broker).await?;
    }
    Ok(())
}

/// N releases are N records, over all that happened, and the chain of each broker holds.
async fn records_are_complete(caller: &Caller<'_>) -> Result<()> {
    let kubectl = caller.cluster.kubectl().namespaced(NAMESPACE);
    let mut allowed: BTreeMap<String, usize> = BTreeMap::new();
    for broker in fault::pods(caller.cluster, "broker").await? {
        let text = kubectl.exec(&broker.name_any(), &["/coffer-broker", "audit", "--verify"]).await?;
        for record in text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
            if let (Some(id), "allowed") =
                (record["requestID"].as_str(), record["decision"].as_str().unwrap_or(""))
            {
                *allowed.entry(id.to_owned()).or_default() += 1;
            }
        }
    }
    ensure!(caller.given.len() > 40, "only {} releases", caller.given.len());
    let wrong: Vec<_> = caller.given.iter().filter(|id| allowed.get(*id) != Some(&1)).collect();
    ensure!(wrong.is_empty(), "released without exactly one record: {wrong:?}");
    Ok(())
}
