//! The guards in the API server: what they refuse, what they leave alone, and what happens without them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use anyhow::{Context, Result, ensure};
use coffer_crds::conditions::{GUARDED, READY, reason};
use coffer_crds::{Connection, Envelope, Keyring, Vault};
use e2e::cluster::Cluster;
use e2e::install;
use e2e::kept::Kept;
use e2e::namespace::Namespace;
use e2e::team::Team;
use e2e::wait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

fn has(conditions: Option<&Vec<Condition>>, type_: &str, status: &str, reason: &str) -> bool {
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == type_ && condition.status == status && condition.reason == reason)
}

/// Wait until the vault says how the guards stand; what it says.
async fn guarded(ns: &Namespace, status: &str, reason: &str) -> Result<String> {
    let vault = wait::object(&ns.api::<Vault>(), "team", reason, wait::SOON, |found: Option<&Vault>| {
        let status_of = found.and_then(|found| found.status.as_ref());
        has(status_of.map(|status| &status.conditions), GUARDED, status, reason)
    })
    .await?;
    let conditions = vault.status.unwrap_or_default().conditions;
    Ok(conditions.into_iter().find(|found| found.type_ == GUARDED).unwrap().message)
}

/// One guard is taken away or weakened while somebody shares a Connection: nothing is applied, and it is said.
/// The author stays the same, so that even without the webhook no policy refuses it: only the operator is left.
async fn without(cluster: &Cluster, ns: &Namespace, harm: &[&str], names: &str) -> Result<()> {
    let before = ns.api::<Envelope>().get("github").await?;
    cluster.kubectl().run(harm).ok().await?;
    let said = guarded(ns, "False", reason::GUARD_MISSING).await?;
    ensure!(said.contains(names), "{said}");
    let members = json!({"spec": {"expiresAt": "2099-01-01T00:00:00Z", "onChange": "Signal"}}).to_string();
    let patch = ["patch", "connection", "github", "--type", "merge", "-p", &members];
    ns.kubectl().run(patch).ok().await?;
    wait::object(&ns.api::<Connection>(), "github", "to wait", wait::SOON, |found: Option<&Connection>| {
        let status = found.and_then(|found| found.status.as_ref());
        has(status.map(|status| &status.conditions), READY, "False", reason::GUARD_MISSING)
    })
    .await?;
    let after = ns.api::<Envelope>().get("github").await?;
    ensure!(before.metadata.resource_version == after.metadata.resource_version, "the Envelope was written");
    // And whoever would use the moment to write in another's name meets the policy.
    if harm[1] == "mutatingwebhookconfiguration" {
        let forged = json!({"spec": {"onChange": "Restart", "lastWriter": {"username": "alice"}}});
        let forge = ["patch", "connection", "github", "--type", "merge", "-p", &forged.to_string()];
        let said = ns.kubectl().run(forge).refused().await?;
        ensure!(said.contains("spec.lastWriter must name whoever sends this request"), "{said}");
    }
    let events = ["get", "events", "--field-selector", "reason=GuardMissing", "-o", "name"];
    wait::until("the event", wait::SOON, async || {
        let events = ns.kubectl().run(events).ok().await?;
        Ok((!events.trim().is_empty()).then_some(()))
    })
    .await?;
    Ok(())
}

/// Without a guard authors cannot be believed. Deleted, unbound or weakened: each is noticed, and each comes right.
#[tokio::test]
async fn while_a_guard_is_missing_nothing_is_applied_and_the_vault_says_which() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend_alone(&cluster, "unguarded", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.connection("github", &["*"], &[("token", "value")]).await?;
        guarded(ns, "True", reason::AS_SHIPPED).await?;
        let weaker = json!([{"op": "replace", "path": "/spec/failurePolicy", "value": "Ignore"}]).to_string();
        for (kind, name, harm) in [
            ("validatingadmissionpolicybinding", "coffer-authors", vec!["delete"]),
            ("validatingadmissionpolicy", "coffer-status", vec!["patch", "--type", "json", "-p", &weaker]),
            ("mutatingwebhookconfiguration", "coffer", vec!["delete"]),
        ] {
            let kept = Kept::of(&cluster, kind, name).await?;
            let harm: Vec<&str> =
                harm[..1].iter().copied().chain([kind, name]).chain(harm[1..].iter().copied()).collect();
            let outcome = without(&cluster, ns, &harm, &format!("'{name}' is")).await;
            kept.put_back(&cluster).await?;
            outcome.with_context(|| format!("{kind} {name}"))?;
            guarded(ns, "True", reason::AS_SHIPPED)
                .await
                .with_context(|| format!("{kind} {name} is back"))?;
            // The trust in the webhook is put back as well.
            wait::until("what waited to be applied", wait::SOON, async || {
                let touch = json!({"spec": {"onChange": "None"}}).to_string();
                let patch = ["patch", "connection", "github", "--type", "merge", "-p", &touch];
                Ok(ns.kubectl().run(patch).said().await?.ok.then_some(()))
            })
            .await?;
            team.ready("github").await?;
        }
        Ok(())
    })
    .await
}

/// Everybody would seal to a stranger's key.
#[tokio::test]
async fn not_even_a_cluster_administrator_swaps_a_key_or_ciphertext() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "swapped", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.connection("github", &["*"], &[("token", "value")]).await?;
        let key = json!({"status": {"intakeKey": {"kid": "intake/1/1", "publicKey": "AAAA"}}}).to_string();
        let status = ["patch", "vault", "team", "--subresource", "status", "--type", "merge", "-p", &key];
        let said = ns.kubectl().run(status).refused().await?;
        assert!(said.contains("only the Coffer operator changes this status"), "{said}");
        let revision = json!({"spec": {"revision": 1000}}).to_string();
        for (kind, name) in [("keyring", "team"), ("envelope", "github")] {
            let patch = ["patch", kind, name, "--type", "merge", "-p", &revision];
            let said = ns.kubectl().run(patch).refused().await?;
            assert!(said.contains("only the Coffer operator changes Keyrings and Envelopes"), "{said}");
        }
        Ok(())
    })
    .await
}

/// Every object rewritten as it is, labelled, and taken by the garbage collector.
#[tokio::test]
async fn storage_migration_labels_and_garbage_collection_pass() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "migrated", &[], async |ns| {
        let team = Team::make(ns).await?;
        team.workload("web").await?;
        team.connection("github", &["web"], &[("token", "value")]).await?;
        let kinds = "vaults,vaultmembers,connections,keyrings,envelopes";
        let all = ns.kubectl().run(["get", kinds, "-o", "json"]).ok().await?;
        let list: Value = serde_json::from_str(&all)?;
        for object in list["items"].as_array().unwrap() {
            assert_eq!(object["metadata"].get("finalizers"), None, "{object}");
        }
        ensure!(list["items"].as_array().unwrap().len() >= 6, "{all}");
        // The operator may write in between: then the next try carries the newer state, as the migrator's does.
        wait::until("every object to be rewritten", wait::SOON, async || {
            let all = ns.kubectl().run(["get", kinds, "-o", "json"]).ok().await?;
            let said = ns.kubectl().run(["replace", "-f", "-"]).input(&all).said().await?;
            ensure!(
                said.ok || said.err.contains("Conflict") || said.err.contains("modified"),
                "{}",
                said.err
            );
            Ok(said.ok.then_some(()))
        })
        .await?;
        ns.kubectl().run(["label", kinds, "--all", "tool=was-here"]).ok().await?;
        assert_eq!(team.version("github").await?, 1);

        ns.kubectl().run(["delete", "connection", "github"]).ok().await?;
        wait::absent(&ns.api::<Envelope>(), "github", wait::SOON).await?;
        ns.kubectl().run(["delete", "vault", "team"]).ok().await?;
        wait::absent(&ns.api::<Keyring>(), "team", wait::SOON).await
    })
    .await
}

/// Keys that outlived their Vault are nobody's: a namesake gets neither them nor what they opened.
#[tokio::test]
async fn a_deleted_vault_that_a_stranger_makes_again_inherits_nothing() -> Result<()> {
    let cluster = install::installed().await?;
    Namespace::lend(&cluster, "namesake", &[], async |ns| {
        let owned = json!({"owners": [{"user": {"name": "alice"}}, {"user": {"name": "admin"}}]});
        let team = Team::with_spec(ns, "team", owned).await?;
        let alice = ns.member("alice", &[]).await?;
        alice.apply(&team.manifest("github", &[], &[("token", "of-alice")]).to_string()).await?;
        team.ready("github").await?;
        let before = ns.api::<Keyring>().get("team").await?;
        ns.kubectl().run(["delete", "vault", "team", "--cascade=orphan"]).ok().await?;
        let bobs = json!({
            "apiVersion": "coffer.dev/v1alpha1", "kind": "Vault", "metadata": {"name": "team"},
            "spec": {"owners": [{"user": {"name": "bob"}}]},
        });
        ns.kubectl().apply(&bobs.to_string()).await?;
        let vault =
            wait::object(&ns.api::<Vault>(), "team", "to be told", wait::SOON, |found: Option<&Vault>| {
                let status = found.and_then(|found| found.status.as_ref());
                has(status.map(|status| &status.conditions), READY, "False", reason::NOT_ADOPTED)
            })
            .await?;
        let status = vault.status.unwrap();
        assert_eq!((status.vault_id, status.intake_key.is_none()), (None, true));
        assert_eq!(ns.api::<Keyring>().get("team").await?.spec.vault_uid, before.spec.vault_uid);
        Ok(())
    })
    .await
}
