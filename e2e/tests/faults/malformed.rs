//! An object that no API server would have taken, written straight into etcd.

use anyhow::{Result, ensure};
use e2e::cluster::Cluster;
use e2e::fault;
use e2e::install;
use e2e::load;
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team};
use serde_json::json;

const KINDS: [(&str, &str); 8] = [
    ("vaults", "Vault"),
    ("vaultmembers", "VaultMember"),
    ("connections", "Connection"),
    ("accesstokens", "AccessToken"),
    ("keyrings", "Keyring"),
    ("envelopes", "Envelope"),
    ("releases", "Release"),
    ("auditqueries", "AuditQuery"),
];

fn key(ns: &Namespace, plural: &str) -> String {
    format!("/registry/coffer.dev/{plural}/{}/malformed", ns.name())
}

/// One object of each kind whose fields are all of another type.
async fn plant(cluster: &Cluster, ns: &Namespace) -> Result<()> {
    for (number, (plural, kind)) in KINDS.into_iter().enumerate() {
        let object = json!({
            "apiVersion": "coffer.dev/v1alpha1",
            "kind": kind,
            "metadata": {
                "name": "malformed", "namespace": ns.name(), "generation": 1,
                "uid": format!("00000000-0000-4000-8000-{number:012x}"),
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"vault": 7, "subject": "nobody", "owners": "all", "members": {"a": 1}, "items": "none", "epochs": true},
            "status": {"conditions": "fine", "phase": 3},
        });
        cluster.etcd().put(&key(ns, plural), object.to_string().as_bytes()).await?;
    }
    Ok(())
}

/// The main job, from nothing.
async fn the_main_job_is_done(ns: &Namespace, number: usize) -> Result<()> {
    let team = Team::existing(ns);
    let name = format!("github-{number}");
    team.connection(&name, &["reader"], &[("token", "value")]).await?;
    ensure!(load::run_reader(ns, &format!("reads-{number}"), &name).await? == "value");
    Ok(())
}

/// T45: the malformed object of each kind stops only itself, for processes that see it come and for those that start.
#[tokio::test]
async fn a_malformed_object_of_any_kind_stops_only_itself() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "malformed", &[INJECTED], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("reader").await?;
        plant(&cluster, ns).await?;
        let tried: Result<()> = async {
            the_main_job_is_done(ns, 0).await?;
            for (component, count) in [("operator", 2), ("webhook", 2), ("broker", 2)] {
                for pod in fault::pods(&cluster, component).await? {
                    fault::replace(&cluster, &pod).await?;
                }
                fault::ready(&cluster, component, count).await?;
            }
            the_main_job_is_done(ns, 1).await?;
            // An owner takes it away in the ordinary way; what people cannot delete goes with the namespace.
            for (plural, _) in &KINDS[..4] {
                ns.kubectl().run(["delete", plural, "malformed"]).ok().await?;
            }
            Ok(())
        }
        .await;
        if tried.is_err() {
            for (plural, _) in KINDS {
                cluster.etcd().delete(&key(ns, plural)).await?;
            }
        }
        tried?;
        fault::nothing_panicked(&cluster)
    })
    .await
}
