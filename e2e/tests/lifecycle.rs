//! A platform team's year with the chart: install, upgrade, roll back, uninstall, install again. What teams have
//! made is there afterwards, to the byte, and opens.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is a failed test, whose reader wants to know the chart"
)]

use anyhow::{Context, Result, ensure};
use coffer_crds::{Connection, Envelope, Keyring, Vault, VaultMember};
use e2e::cluster::Cluster;
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::progress::note;
use e2e::team::{INJECTED, Team, asking};
use e2e::wait;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What OpenShift assigns to pods that ask for no UID (T23): of no image, in no image's /etc/passwd.
const ASSIGNED: &str = "podSecurityContext.runAsUser=1000650000,podSecurityContext.runAsGroup=0,\
     podSecurityContext.fsGroup=1000650000";

/// The chart as it was before its last change: of HEAD where the checkout differs from it, else of the parent of the
/// last commit that touched it. `None` where Git or that commit is not there, as in a shallow clone.
fn earlier_chart(cluster: &Cluster, into: &Path) -> Option<PathBuf> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "safe.directory=*", "-C"]).arg(cluster.layout().checkout()).args(arguments);
        command.output().ok().filter(|output| output.status.success())
    };
    let commit = if git(&["diff", "--quiet", "HEAD", "--", "charts/coffer"]).is_some() {
        let last = git(&["log", "-1", "--format=%H", "--", "charts/coffer"])?;
        format!("{}^", String::from_utf8(last.stdout).ok()?.trim())
    } else {
        "HEAD".into()
    };
    let archive = git(&["archive", "--format=tar", &commit, "charts/coffer"])?;
    tar::Archive::new(archive.stdout.as_slice()).unpack(into).ok()?;
    note(format!("upgrading from the chart of {commit}"));
    Some(into.join("charts/coffer"))
}

/// Everything of one kind in a namespace that must survive: which objects, and what they say.
async fn specs<K>(ns: &Namespace) -> Result<Vec<Value>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let list = ns.api::<K>().list(&ListParams::default()).await?;
    list.items
        .iter()
        .map(|found| Ok(json!([found.name_any(), found.uid(), serde_json::to_value(found)?["spec"]])))
        .collect()
}

async fn data(ns: &Namespace) -> Result<Value> {
    let definitions =
        ns.kubectl().run(["get", "crds", "-o", "jsonpath={.items[*]['metadata.name','metadata.uid']}"]);
    Ok(json!({
        "definitions": definitions.ok().await?,
        "vaults": specs::<Vault>(ns).await?,
        "members": specs::<VaultMember>(ns).await?,
        "connections": specs::<Connection>(ns).await?,
        "keyrings": specs::<Keyring>(ns).await?,
        "envelopes": specs::<Envelope>(ns).await?,
    }))
}

/// A new pod gets its credential.
async fn opens(ns: &Namespace, pod: &str) -> Result<()> {
    ns.shell(pod, asking("web", "github")).await?;
    let read = ns.kubectl().exec(pod, &["cat", "/coffer/github/token"]).await?;
    ensure!(read == "kept", "pod '{pod}' reads {read}");
    Ok(())
}

/// Gracefully: such a pod is gone when the kubelet has taken its volumes down, for which it needs the driver.
async fn remove_pods(ns: &Namespace) -> Result<()> {
    let pods = ns.api::<Pod>();
    for pod in pods.list(&ListParams::default()).await? {
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(1)).await?;
        wait::absent(&pods, &pod.name_any(), wait::SOON).await?;
    }
    Ok(())
}

/// The uids of what is the operator's or the brokers' in Coffer's own namespace, and no chart's.
async fn belongings(ns: &Namespace) -> Result<Vec<String>> {
    let secrets = Api::<Secret>::namespaced(ns.client(), NAMESPACE);
    let claims = Api::<PersistentVolumeClaim>::namespaced(ns.client(), NAMESPACE);
    let mut uids = Vec::new();
    for name in ["coffer-root", "coffer-custodian", "coffer-brokered"] {
        uids.push(secrets.get(name).await?.uid().unwrap());
    }
    for claim in claims.list(&ListParams::default().labels("app.kubernetes.io/component=broker")).await? {
        uids.push(claim.uid().unwrap());
    }
    Ok(uids)
}

/// How many releases of this namespace's credential the brokers have on record.
async fn releases(ns: &Namespace) -> Result<usize> {
    let coffer = ns.kubectl().namespaced(NAMESPACE);
    let brokers =
        coffer.run(["get", "pods", "-l", "app.kubernetes.io/component=broker", "-o", "name"]).ok().await?;
    let mut count = 0;
    for broker in brokers.lines() {
        let log = coffer.exec(broker, &["/coffer-broker", "audit"]).await?;
        let wanted = format!("\"connection\":\"{}/github\"", ns.name());
        count += log.lines().filter(|line| line.contains(&wanted) && line.contains("allowed")).count();
    }
    Ok(count)
}

/// The values that a chart's schema has a place for: one that came since is refused by name.
fn known_to(chart: &Path, values: &Path) -> Result<tempfile::NamedTempFile> {
    let schema: Value = serde_json::from_slice(&std::fs::read(chart.join("values.schema.json"))?)?;
    let mut given: serde_json::Map<String, Value> = serde_json::from_slice(&std::fs::read(values)?)?;
    given.retain(|name, _| !schema["properties"][name].is_null());
    let known = tempfile::NamedTempFile::new()?;
    std::fs::write(known.path(), serde_json::to_vec(&given)?)?;
    Ok(known)
}

/// The revisions of one life of the release, each asserted; ends with Coffer uninstalled.
async fn live(ns: &Namespace, charts: (&Path, &Path), values: &Path, before: &Value) -> Result<()> {
    let (earlier, present) = charts;
    let cluster = ns.cluster();
    let undamaged = async |what: &str| {
        ensure!(data(ns).await? == *before, "{what} changed what the team has");
        anyhow::Ok(())
    };
    // The programs are this checkout's. Helm applies new rules before new programs, so these need not be at ease
    // under the earlier chart's: what is asked of it is that it installs, upgrades, and harms nothing.
    let known = known_to(earlier, values)?;
    install::released(cluster, earlier, known.path()).run().await.context("install the earlier chart")?;
    undamaged("installing the earlier chart").await?;
    install::release(cluster, present, values, &[]).await.context("upgrade")?;
    opens(ns, "upgraded").await?;
    undamaged("the upgrade").await?;

    install::release(cluster, present, values, &["logLevel=debug", "webhook.replicas=3", ASSIGNED])
        .await
        .context("change values")?;
    opens(ns, "other-uid").await?;
    let history = ["rollback", "coffer", "2", "--namespace", NAMESPACE, "--wait", "--timeout", "4m"];
    install::helm(cluster, &history).run().await.context("roll back a change of values")?;
    let level =
        "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].env[?(@.name=='RUST_LOG')].value}";
    let coffer = ns.kubectl().namespaced(NAMESPACE);
    let rolled = coffer.run(["get", "deployment", "coffer-webhook", "-o", level]).ok().await?;
    ensure!(rolled == "2 info", "rolled back to: {rolled}");
    opens(ns, "rolled-back").await?;
    let running = ns.kubectl().exec("upgraded", &["cat", "/coffer/github/token"]).await?;
    ensure!(running == "kept", "the pod of before reads {running}");

    install::helm(cluster, &["rollback", "coffer", "1", "--namespace", NAMESPACE])
        .run()
        .await
        .context("roll back to the earlier chart")?;
    undamaged("rolling back").await?;
    // As it should be before uninstalling: the driver takes the volumes down.
    install::release(cluster, present, values, &[]).await?;
    remove_pods(ns).await?;
    install::uninstall(cluster).await.context("uninstall")?;
    undamaged("uninstalling").await
}

/// C16 in part, C42, T23, T40: an upgrade makes no new version of anything, and uninstalling loses nothing.
#[tokio::test]
async fn vaults_outlive_upgrade_rollback_and_uninstalling_and_open_again() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "lifecycle", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "kept")]).await?;
        opens(ns, "before").await?;
        let (before, belongs) = (data(ns).await?, belongings(ns).await?);
        let folder = tempfile::tempdir()?;
        let values = folder.path().join("values.json");
        std::fs::write(&values, install::values(&cluster).await?)?;
        let present = cluster.layout().checkout().join("charts/coffer");
        let earlier = earlier_chart(&cluster, folder.path()).unwrap_or_else(|| {
            note("no earlier chart in this checkout (no Git, or shallow): upgrading from the present one");
            present.clone()
        });
        let recorded = releases(ns).await?;
        ensure!(recorded >= 1, "no release is on record");

        remove_pods(ns).await?;
        install::uninstall(&cluster).await?;
        let lived = async {
            live(ns, (&earlier, &present), &values, &before).await?;
            // With the webhooks gone nobody waits for them; kubectl still shows what is there.
            ns.shell("meanwhile", json!({})).await?;
            ensure!(belongings(ns).await? == belongs, "uninstalling took more than the chart's own");
            anyhow::Ok(())
        }
        .await;
        let again = install::release(&cluster, &present, &values, &[]).await.context("install again");
        lived?;
        again?;

        opens(ns, "again").await?;
        ensure!(data(ns).await? == before, "installing again changed what the team has");
        let after = releases(ns).await?;
        ensure!(after > recorded, "the audit log was lost: {after} records of more than {recorded}");
        team.connection("github", &["web"], &[("token", "kept")]).await?;
        team.connection("second", &["web"], &[("token", "new")]).await?;
        ns.shell("writes", asking("web", "second")).await?;
        Ok(())
    })
    .await
}
