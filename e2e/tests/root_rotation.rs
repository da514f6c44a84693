//! The custodian root is turned over, as the operations guide says, while a team has credentials in its vault and in Git.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use coffer_crds::{Connection, Envelope, Keyring, SlotRecipient, Vault};
use coffer_envelope::custody::CUSTODIAN_SECRET;
use e2e::cluster::Cluster;
use e2e::install::{self, NAMESPACE};
use e2e::namespace::Namespace;
use e2e::team::{INJECTED, Team, asking};
use e2e::terminal::Person;
use e2e::wait;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

/// An earlier build made the Secret immutable. It is made again without that, as the guide says.
async fn can_grow(secrets: &Api<Secret>) -> Result<()> {
    let mut secret = secrets.get(CUSTODIAN_SECRET).await?;
    if secret.immutable.take() != Some(true) {
        return Ok(());
    }
    secret.metadata.uid = None;
    secret.metadata.resource_version = None;
    secret.metadata.managed_fields = None;
    secrets.delete(CUSTODIAN_SECRET, &DeleteParams::default()).await?;
    wait::absent(secrets, CUSTODIAN_SECRET, wait::SOON).await?;
    secrets.create(&PostParams::default(), &secret).await.context("put the custodian root back")?;
    Ok(())
}

fn generations(secret: &Secret) -> Vec<i64> {
    let names = secret.data.iter().flatten().filter_map(|(name, _)| name.strip_prefix("generation-"));
    names.filter_map(|number| number.parse().ok()).collect()
}

/// Asks for a generation above all that there are, and gives it. It stays: nothing takes a root back.
async fn turn_over(cluster: &Cluster, secrets: &Api<Secret>) -> Result<i64> {
    let newest = generations(&secrets.get(CUSTODIAN_SECRET).await?).into_iter().max().context("no root")?;
    let folder = tempfile::tempdir()?;
    let values = folder.path().join("values.json");
    std::fs::write(&values, install::values(cluster).await?)?;
    let chart = cluster.layout().checkout().join("charts/coffer");
    install::release(cluster, &chart, &values, &[&format!("custodian.rootGeneration={}", newest + 1)])
        .await
        .context("ask for a new root")?;
    Ok(newest + 1)
}

/// Wait until everything of the vault is sealed under this root, and nothing else is going on.
async fn under(ns: &Namespace, root: i64) -> Result<()> {
    wait::object(
        &ns.api::<Keyring>(),
        "team",
        "the Keyring to go to the new root",
        wait::SOON,
        |found: Option<&Keyring>| found.is_some_and(|found| found.spec.root_generation == root),
    )
    .await?;
    let done = |found: Option<&Vault>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.rotation.is_none() && status.key_epoch > Some(1))
    };
    wait::object(&ns.api::<Vault>(), "team", "the turn-over to end", wait::SOON, done).await?;
    for envelope in ns.api::<Envelope>().list(&ListParams::default()).await? {
        let custodian = envelope.spec.slots.iter().find(|slot| slot.to == SlotRecipient::Custodian);
        let kid = custodian.map(|slot| slot.wrap.kid.clone()).unwrap_or_default();
        ensure!(kid == format!("custodian/{root}"), "{:?} is under {kid}", envelope.metadata.name);
    }
    Ok(())
}

/// How many Connections of the vault are said to need an older root.
async fn needing(ns: &Namespace, expected: Option<i64>) -> Result<()> {
    let said = |found: Option<&Vault>| {
        found.and_then(|found| found.status.as_ref()?.sealed_to_older_roots) == expected
    };
    wait::object(&ns.api::<Vault>(), "team", "the count of what needs an older root", wait::SOON, said)
        .await
        .map(drop)
}

/// Issue 6 §1, C25: nothing is lost and nothing gets a new version, what lies in Git is applied as before, and is found.
#[tokio::test]
async fn a_new_custodian_root_takes_every_vault_along_and_what_needs_the_old_one_is_found_and_sealed_again()
-> Result<()> {
    let cluster = install::installed().await?;
    // Alone: every vault of the cluster is turned over, and the operators restart.
    Namespace::lend_alone(&cluster, "new-root", &[INJECTED], async |ns| {
        let secrets = Api::<Secret>::namespaced(cluster.client().await?, NAMESPACE);
        can_grow(&secrets).await?;
        let before = secrets.get(CUSTODIAN_SECRET).await?;
        let alice = Person::new(&cluster, "alice", &[])?;
        let edit = ["create", "rolebinding", "alice", "--clusterrole=edit", "--user=alice"];
        ns.kubectl().run(edit).ok().await?;
        let coffer = |words: &str| format!("kubectl coffer -n {} {words}", ns.name());
        alice.done(&coffer("init --brokered")).await?;
        let team = Team::existing(ns);
        team.active("alice").await?;
        ns.service_account("web").await?;
        alice.done(&coffer("invite sa:web")).await?;
        team.active("web").await?;
        let given = [("shared", "'*'", "of everybody"), ("listed", "web", "of some")];
        for (name, members, value) in given {
            let set = coffer(&format!("set {name} --from-file token=- --members {members}"));
            let said = alice.types(&set, Some(value)).await?;
            ensure!(said.code == 0, "{said:?}");
        }
        let seal = coffer("seal kept --owner alice --members web --from-file token=- > ~/kept.yaml");
        let said = alice.types(&seal, Some("of Git")).await?;
        ensure!(said.code == 0, "{said:?}");
        ns.shell("before", asking("web", "shared,listed")).await?;
        let reads = async |pod: &str, name: &str, value: &str| {
            let read = ns.kubectl().exec(pod, &["cat", &format!("/coffer/{name}/token")]).await?;
            ensure!(read == value, "pod '{pod}' reads '{read}' of {name}");
            anyhow::Ok(())
        };

        let root = turn_over(&cluster, &secrets).await?;
        under(ns, root).await?;
        let after = secrets.get(CUSTODIAN_SECRET).await?;
        ensure!(generations(&after).contains(&root), "{:?}", generations(&after));
        for (name, bytes) in before.data.iter().flatten() {
            ensure!(after.data.as_ref().and_then(|data| data.get(name)) == Some(bytes), "{name} was changed");
        }

        // Through both doors that people use, and by the pod of before.
        ns.shell("after", asking("web", "shared,listed")).await?;
        for (name, _, value) in given {
            for pod in ["before", "after"] {
                reads(pod, name, value).await?;
            }
            let read = alice.done(&coffer(&format!("get {name} token"))).await?;
            ensure!(read == value, "alice reads '{read}' of {name}");
            ensure!(team.version(name).await? == 1, "{name} has a new version");
        }

        // What lies in Git is applied as before, and what needs the old root is told by every means.
        needing(ns, Some(2)).await?;
        alice.done(&format!("kubectl -n {} apply -f ~/kept.yaml", ns.name())).await?;
        team.ready("kept").await?;
        ensure!(alice.done(&coffer("get kept token")).await? == "of Git");
        needing(ns, Some(3)).await?;
        let doctor = alice.done(&coffer("doctor")).await?;
        ensure!(doctor.contains("3 connections need an older custodian root"), "{doctor}");
        let listed = alice.done(&coffer("reseal --dry-run")).await?;
        for name in ["shared", "listed", "kept"] {
            let line = listed.lines().find(|line| line.starts_with(name)).context("not listed")?;
            ensure!(line.contains("alice") && line.contains(&format!("intake/{root}/")), "{listed}");
        }

        // In Git first, then in the cluster.
        alice.done(&coffer("reseal -f ~/kept.yaml > ~/new.yaml")).await?;
        let manifest = std::fs::read_to_string(alice.home().join("new.yaml"))?;
        ensure!(
            manifest != std::fs::read_to_string(alice.home().join("kept.yaml"))?,
            "nothing was sealed again"
        );
        alice.done(&format!("kubectl -n {} apply -f ~/new.yaml", ns.name())).await?;
        needing(ns, Some(2)).await?;
        let said = alice.done(&coffer("reseal --all")).await?;
        ensure!(said.lines().count() == 2 && said.contains("no new version"), "{said}");
        needing(ns, None).await?;
        let left = alice.types(&coffer("reseal --dry-run"), None).await?;
        ensure!(left.code == 0 && left.out.is_empty() && left.err.contains("Nothing"), "{left:?}");
        ensure!(!alice.done(&coffer("doctor")).await?.contains("older custodian root"));
        for (name, value) in [("shared", "of everybody"), ("listed", "of some"), ("kept", "of Git")] {
            ensure!(team.version(name).await? == 1, "{name} has a new version");
            ensure!(alice.done(&coffer(&format!("get {name} token"))).await? == value, "{name}");
        }
        let connection: Connection = ns.api().get("kept").await?;
        ensure!(connection.status.is_some_and(|status| status.history.len() == 1), "one version, one entry");
        Ok(())
    })
    .await
}
